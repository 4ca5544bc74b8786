/* ==== [jam] one processor, where several are in each other's way ================================
 * What        Goroutines that run for a moment each, and wake such as have run elsewhere last, wait
 *             most of their turns for another processor's cache: ten thousand senders and one
 *             receiver. There one processor gets more done than all. No goroutine or thief can tell
 *             from its own turns; so [sysmon] tries it, and counts everybody's.
 * Invariants  J1 It is tried when for GOR__JAM_LOOKS looks all processors were busy, each with
 *                turns of GOR__JAM_TURN_NS at most, on average: nobody computes for long. And not
 *                where timers would have to move over.
 *             J2 All but the first processor retire then, as if gor_procs had said so. That goes on
 *                while it is busy, and takes half as many turns again as all together did before,
 *                in each GOR__JAM_LOOKS looks. The first such time is over as soon as it takes
 *                turns as quickly as in J1, but too few: after two looks, most often. And at any
 *                look that finds it computing.
 *             J3 Nothing is for ever: after GOR__JAM_HOLD_NS alone all are back, and it is tried
 *                again, for what all get done may have changed. A try that failed is not repeated
 *                for GOR__JAM_WAIT_NS. Each time is twice the last, until the other answer comes.
 *             J4 Who calls gor_procs meanwhile has what he says.
 * Locks       gor__rt.lock (SCHED); the rest is the watch's own.
 * Source      Finding the number of threads by trying: Suleman, Qureshi and Patt, "Feedback-Driven
 *             Threading" (2008).
 * Tests       tests/procs.c; under stress it is tried at random, and goes on at random
 */
typedef struct gor__pace { uint64_t turns; int64_t ns; } gor__pace;

enum gor__jam_state {
    GOR__JAM_ALL,                      /* as many processors run as gor_procs says             */
    GOR__JAM_BEGINS,                   /* one takes over: that look does not count             */
    GOR__JAM_ONE,
    GOR__JAM_PROVED                    /* one, for GOR__JAM_LOOKS looks at least               */
};

static struct {
    enum gor__jam_state state;
    int64_t   at, since;               /* of the last look; from here on turns are counted     */
    uint32_t  looks;                   /* since then                                           */
    uint32_t  tick;                    /* the first processor's, at the last look              */
    gor__pace all;                     /* before one was alone                                 */
    int64_t   until;                   /* one till then; all: not tried before                 */
    int64_t   hold, wait;              /* J3: the next ones                                    */
} gor__jam;

/* Count from here on. */
static void gor__jam_count(void)
{
    uint32_t n = gor__au32_load_acq(&gor__rt.n_allp);
    for (uint32_t i = 0; i < n; i++)
        gor__p_at(i)->jam_tick = gor__au32_load_rlx(&gor__p_at(i)->tick);
    gor__jam.since = gor__jam.at;
    gor__jam.looks = 0;
}

static void gor__jam_begin(void)
{
    memset(&gor__jam, 0, sizeof gor__jam);
    gor__jam.at = gor__os_now();
    gor__jam.hold = GOR__JAM_HOLD_NS;
    gor__jam.wait = GOR__JAM_WAIT_NS;
    gor__jam_count();
}

/* Everybody's turns so far. True: those of each processor are quick (J1). */
static bool gor__jam_pace(gor__pace *pace)
{
    uint32_t n = gor__au32_load_acq(&gor__rt.n_allp);
    bool quick = true;
    pace->turns = 0;
    pace->ns = gor__jam.at - gor__jam.since;
    for (uint32_t i = 0; i < n; i++) {
        gor__p *p = gor__p_at(i);
        uint32_t turns = gor__au32_load_rlx(&p->tick) - p->jam_tick;
        pace->turns += turns;
        if (!gor__au32_load_rlx(&p->retire))
            quick = quick && (int64_t)turns * GOR__JAM_TURN_NS >= pace->ns;
    }
    return quick;
}

/* Has one processor, alone, half as many turns again as all had? */
static bool gor__jam_pays(const gor__pace *one)
{
    const gor__pace *all = &gor__jam.all;
    return one->turns * 2 * (uint64_t)all->ns >= all->turns * 3 * (uint64_t)one->ns ||
           gor__stress_hit(2);
}

static bool gor__jam_may_retire(void)
{
    uint32_t n = gor__au32_load_acq(&gor__rt.n_allp);
    for (uint32_t i = 1; i < n; i++)
        if (gor__ai64_load_sc(&gor__p_at(i)->timers.first) != GOR_FOREVER)
            return false;
    return !(gor__rt.opt.flags & GOR_ALL_PROCS);
}

/* Let one processor be wanted, or as many as gor_procs says. */
static void gor__jam_set(enum gor__jam_state state)
{
    gor__lock_sched();
    gor__procs_set(state == GOR__JAM_ALL ? (int)gor__au32_load_rlx(&gor__rt.n_asked) : 1);
    gor__unlock_sched();
    gor__procs_retire_idle();
    gor__submitted();
    gor__jam.state = state;
    gor__jam_count();
}

static void gor__jam_try(bool busy)
{
    bool full = gor__jam.looks >= GOR__JAM_LOOKS;
    bool quick = gor__jam_pace(&gor__jam.all);
    bool jam = full && quick && gor__jam.at >= gor__jam.until;
    if (busy && (jam || gor__stress_hit(4)) && gor__jam_may_retire()) {
        gor__jam.until = gor__jam.at + gor__jam.hold;
        gor__jam_set(GOR__JAM_BEGINS);
    } else if (full || !busy) {
        gor__jam_count();
    }
}

static int64_t gor__jam_twice(int64_t ns, int64_t most) { return 2 * ns < most ? 2 * ns : most; }

/* All are back. When is it tried next, and how long does it hold? failed: by J2's measure. */
static void gor__jam_end(bool failed)
{
    int64_t wait = gor__jam.wait, hold = gor__jam.hold;
    bool paid = gor__jam.state == GOR__JAM_PROVED;
    gor__jam.until = gor__jam.at + (paid ? 0 : wait);
    gor__jam.hold = paid ? gor__jam_twice(hold, GOR__JAM_HOLD_MAX) : GOR__JAM_HOLD_NS;
    if (paid)
        gor__jam.wait = GOR__JAM_WAIT_NS;
    else if (failed)
        gor__jam.wait = gor__jam_twice(wait, GOR__JAM_WAIT_MAX);
    gor__jam_set(GOR__JAM_ALL);
}

/* Is a goroutine on the first processor that runs since the last look, and never is in a call? Who
 * takes what ten thousand have sent runs as long, but in calls. */
static bool gor__jam_computes(void)
{
    gor__p *p = gor__p_at(0);
    uint32_t before = gor__jam.tick, in_call = 0;
    gor__jam.tick = gor__au32_load_rlx(&p->tick);
    for (int i = 0; i < 16 && !in_call; i++)
        if (before != gor__au32_load_rlx(&p->tick) || !gor__p_holder(p, &in_call))
            return false;
    return !in_call;
}

static void gor__jam_one(bool busy)
{
    gor__pace one;
    bool quick = gor__jam_pace(&one), full = gor__jam.looks >= GOR__JAM_LOOKS;
    bool judge = full || (quick && gor__jam.state == GOR__JAM_ONE);
    bool failed = judge && !gor__jam_pays(&one);
    if (failed || !busy || gor__jam.at >= gor__jam.until || gor__jam_computes()) {
        gor__jam_end(failed);
    } else if (full) {
        gor__jam.state = GOR__JAM_PROVED;
        gor__jam_count();
    }
}

/* [sysmon] is about to sleep: so there is no jam. */
static void gor__jam_leave(void)
{
    if (gor__jam.state != GOR__JAM_ALL)
        gor__jam_end(false);
}

/* By [sysmon], at each of its rounds. */
static void gor__watch_jam(void)
{
    int64_t now = gor__ai64_load_rlx(&gor__rt.coarse_ns);
    bool several = gor__au32_load_rlx(&gor__rt.n_procs) > 1;
    bool busy = gor__au32_load_sc(&gor__rt.n_idle_p) == 0;
    if (now - gor__jam.at < GOR__JAM_NS)
        return;
    gor__jam.at = now;
    gor__jam.looks++;
    if (several && gor__jam.state != GOR__JAM_ALL) {
        gor__jam_set(GOR__JAM_ALL);                /* J4; or one more would not retire */
    } else if (several) {
        gor__jam_try(busy);
    } else if (gor__jam.state == GOR__JAM_ALL) {
        gor__jam_count();
    } else if (gor__jam.state == GOR__JAM_BEGINS) {
        gor__jam.state = GOR__JAM_ONE;
        gor__jam_count();
    } else {
        gor__jam_one(busy);
    }
}

/* ==== [sysmon] the watch =====================================================================
 * What        A thread without a P. While goroutines run it looks around four times a quantum, or
 *             each 5 ms: keeps the coarse clock and the date, tells the sleeper of timers that are
 *             near, asks goroutines past their quantum to yield, takes the P of those that do not
 *             hear ([retake]). While all is asleep it sleeps too, after it has made sure that this
 *             is no deadlock.
 * Poller      If fds are waited for and nobody has looked at them for two rounds, it has someone do
 *             it: an idle M, or who schedules next. It does not look itself: it has no P to run
 *             with what it finds, and may not take elided locks.
 * Deadlock    Every P is idle, nothing is queued, no timer is pending, no gor_block is in flight,
 *             nobody waits for an fd or a signal, and every thread of the process is one of ours,
 *             or asleep in a gor call without a deadline, or was there before main (a tool's).
 *             Then nobody can wake anybody.
 *             Otherwise the question is asked again, as long as it may be answered differently:
 *             after a second, then after as long as nobody has run, so that a program at rest is
 *             left alone. The first to run on a processor that was at rest pays for its cold
 *             caches, and threads are listed by a dozen system calls.
 */
#define GOR__SYSMON_MIN_NS (25 * GOR_US)
#define GOR__RECHECK_MIN_NS (1 * GOR_SEC)
#define GOR__RECHECK_MAX_NS (8 * GOR_SEC)
#define GOR__MAX_TOOLS   16

static int gor__tool_tids[GOR__MAX_TOOLS];     /* older than main: of sanitizers, emulators */
static int gor__n_tools;

static bool gor__remember_tool(int tid, void *arg)
{
    (void)arg;
    if (tid != (int)getpid() && gor__n_tools < GOR__MAX_TOOLS)
        gor__tool_tids[gor__n_tools++] = tid;
    return true;
}

static void *gor__no_work(void *arg) { return arg; }

/* ThreadSanitizer starts a thread of its own with the first one of the program: let that be now. */
__attribute__((constructor)) static void gor__before_main(void)
{
    pthread_t first;
    if (GOR__TSAN && pthread_create(&first, NULL, gor__no_work, NULL) == 0)
        pthread_join(first, NULL);
    gor__os_unknown_threads(gor__remember_tool, NULL);
}

static int gor__sysmon_tid;

static bool gor__thread_known(int tid, void *arg)
{
    (void)arg;
    if (tid == gor__sysmon_tid)
        return true;
    for (int i = 0; i < gor__n_tools; i++)
        if (gor__tool_tids[i] == tid)
            return true;
    for (gor__m *m = gor__rt.all_m; m; m = m->all_next)
        if (gor__au32_load_rlx(&m->tid) == (uint32_t)tid &&
            gor__au32_load_rlx(&m->state) != GOR__M_GONE)
            return true;
    return false;
}

/* Never fewer than were alive at some moment of the call: whoever is seen to have ended, first, has
 * been counted as started. */
static size_t gor__n_goroutines(void)
{
    uint64_t started, ended = 0;
    uint32_t procs = gor__au32_load_acq(&gor__rt.n_allp);
    for (uint32_t i = 0; i < procs; i++)
        ended += gor__au64_load_acq(&gor__p_at(i)->ended);
    started = gor__au64_load_rlx(&gor__rt.outside_started);
    procs = gor__au32_load_acq(&gor__rt.n_allp);
    for (uint32_t i = 0; i < procs; i++)
        started += gor__au64_load_rlx(&gor__p_at(i)->started);
    return (size_t)(started - ended);
}

/* Somebody waits for an fd, or for a signal. Exact when all Ms are asleep. */
static bool gor__outside_may_wake(void)
{
    uint64_t n = 0;
    uint32_t procs = gor__au32_load_acq(&gor__rt.n_allp);
    for (uint32_t i = 0; i < procs; i++)
        n += gor__au64_load_rlx(&gor__p_at(i)->fd_waits);
    return n != 0 || gor__au32_load_sc(&gor__rt.signals) != 0;
}

/* Nothing runs and nothing is about to. Under the scheduler's lock. */
static bool gor__all_asleep_locked(void)
{
    uint32_t n = gor__au32_load_rlx(&gor__rt.n_allp);
    for (uint32_t i = 0; i < n; i++) {
        gor__p *p = gor__p_at(i);
        if (gor__aptr_load_acq(&p->m))
            return false;
    }
    return gor__au32_load_sc(&gor__rt.n_spinning) == 0 && !gor__work_anywhere();
}

enum gor__quiet { GOR__BUSY, GOR__QUIET, GOR__QUIET_ASK_AGAIN, GOR__DEADLOCK, GOR__ALL_GONE };

/* A timer, an fd or a signal will wake somebody. */
static bool gor__something_will_wake(void)
{
    return gor__timers_first() != GOR_FOREVER || gor__outside_may_wake();
}

/* All of ours are asleep, and nothing will wake them. Is nobody else left who might? While the
 * threads are counted none of them may have moved: who had not been asleep before is counted
 * himself, and what he left behind before he went is looked for after it. */
static enum gor__quiet gor__who_is_left_locked(void)
{
    uint32_t asleep = gor__au32_load_sc(&gor__n_foreign), asleep_now;
    uint64_t moves = gor__au64_load_sc(&gor__foreign);
    int unknown;
    if (gor__au32_load_sc(&gor__rt.n_blocked) != 0)
        return GOR__QUIET_ASK_AGAIN;
    unknown = gor__os_unknown_threads(gor__thread_known, NULL);
    asleep_now = gor__au32_load_sc(&gor__n_foreign);
    if (unknown < 0)
        return GOR__QUIET;
    if (unknown > (int32_t)asleep || unknown > (int32_t)asleep_now ||
        gor__au64_load_sc(&gor__foreign) != moves || gor__something_will_wake())
        return GOR__QUIET_ASK_AGAIN;
    return GOR__DEADLOCK;
}

static enum gor__quiet gor__how_quiet(void)
{
    enum gor__quiet q;
    gor__lock_sched();
    if (!gor__all_asleep_locked() || gor__au32_load_sc(&gor__rt.stopping))
        q = GOR__BUSY;                             /* asleep at the end of a run is no deadlock */
    else if (gor__n_goroutines() == 0 && gor__timers_first() == GOR_FOREVER &&
             gor__au32_load_sc(&gor__rt.main_left))
        q = GOR__ALL_GONE;
    else if (gor__something_will_wake())           /* if nobody minds that, we do */
        q = gor__aptr_load_sc(&gor__rt.sleeper) ? GOR__QUIET : GOR__BUSY;
    else
        q = gor__n_goroutines() == 0 ? GOR__QUIET : gor__who_is_left_locked();
    gor__unlock_sched();
    return q;
}

/* How long it sleeps while goroutines run. */
static int64_t gor__sysmon_period(void)
{
    int64_t ns = gor__rt.opt.quantum / 4;
    return ns > GOR__SYSMON_NS ? GOR__SYSMON_NS :
           ns < GOR__SYSMON_MIN_NS ? GOR__SYSMON_MIN_NS : ns;
}

static void gor__ask(gor__p *p, gor__m *m)
{
    p->asked = true;
    p->signals = 0;
    p->seen_refused = gor__au32_load_rlx(&m->refused);
    p->seen_cpu = gor__rt.preempt_signal ? gor__cpu_time(m) : 0;
    gor__call_on(m, GOR__ASK);
}

/* Ask the goroutine of a P that has run for a quantum; the next times, switch it off by signal, or
 * take the P from it. */
static void gor__watch_p(gor__p *p, int64_t now)
{
    uint32_t tick = gor__au32_load_rlx(&p->tick);
    gor__m *m = (gor__m *)gor__aptr_load_acq(&p->m);
    if (!m || m == &gor__in_transit || tick != p->seen_tick) {
        p->seen_tick = tick;
        p->seen_ns = now;
        p->asked = false;
    } else if (now - p->seen_ns >= gor__rt.opt.quantum) {
        if (!p->asked)
            gor__ask(p, m);
        else if (gor__rt.opt.preempt != GOR_PREEMPT_ASK && gor__somebody_waits(p, m) &&
                 !gor__preempt_ask(p, m))
            gor__retake(p, m);
    }
}

static void gor__watch_all(void)
{
    int64_t now = gor__date_renew();
    uint32_t n = gor__au32_load_acq(&gor__rt.n_allp);
    gor__tidy_behind(now, now - gor__ai64_load_rlx(&gor__rt.coarse_ns));
    gor__ai64_store_rlx(&gor__rt.coarse_ns, now);
    if (gor__rt.opt.preempt != GOR_PREEMPT_OFF)
        for (uint32_t i = 0; i < n; i++)
            gor__watch_p(gor__p_at(i), now);
}

/* Wake a P for work that nobody looks for: a thread could not be had when it was wanted, or wakes
 * are in vain ([idle] I7). True: there is work, and a free P. */
static bool gor__watch_queues(void)
{
    if (gor__au32_load_sc(&gor__rt.n_idle_p) == 0 ||
        (!gor__work_anywhere() && gor__timers_first() > gor__os_now()))
        return false;
    if (gor__au32_load_sc(&gor__rt.n_spinning) == 0 && gor__thread_to_be_had())
        gor__wake_p();
    return true;
}

/* The oldest of those that have not begun have their turn: [ready] I4. */
static void gor__watch_fresh(void)
{
    int64_t now = gor__ai64_load_rlx(&gor__rt.coarse_ns);
    if (gor__au32_load_sc(&gor__rt.fresh.n) == 0 || now - gor__rt.fresh_ns < gor__rt.opt.quantum)
        return;
    gor__rt.fresh_ns = now;
    gor__lock_sched();
    for (int i = 0; i < GOR__RUNQ_CAP / 2; i++) {
        gor__crate *c = gor__rt.fresh.oldest;
        if (!c || now - gor__ai64_load_rlx(&gor__crate_at(c, 0)->since) < gor__rt.opt.quantum)
            break;
        gor__gr_add(&gor__rt.global, gor__gs_take(&gor__rt.fresh, c));
    }
    gor__gs_tell(&gor__rt.fresh);
    gor__gr_tell(&gor__rt.global);
    gor__unlock_sched();
}

/* Tell the sleeper of a timer that is near: who started it may not have ([idle] I4). If there is no
 * sleeper, tell before the next look comes too late. Who stands by looks himself. */
static void gor__watch_timers(void)
{
    bool sleeper = gor__aptr_load_sc(&gor__rt.sleeper) != NULL;
    int64_t ahead = sleeper ? GOR__FAR_NS / 2 : GOR__SYSMON_NS, first;
    if (gor__au32_load_sc(&gor__rt.n_idle_p) == 0 ||
        (!sleeper && gor__aptr_load_sc(&gor__rt.standby)))
        return;
    first = gor__timers_first();
    if (first < gor__os_now() + ahead)
        gor__sleeper_tell(first);
}

/* Has the sleeper left, and does nobody stand by? */
static bool gor__poller_is_left(void)
{
    return gor__au32_load_sc(&gor__rt.poller) && !gor__aptr_load_sc(&gor__rt.sleeper) &&
           !gor__aptr_load_sc(&gor__rt.standby);
}

/* The sleeper minds fds. When it has left with an event it is nobody's turn until its M is idle
 * again: not for long. Where no P is idle, who runs next polls. */
static void gor__watch_poller(void)
{
    static uint32_t seen, stale;
    uint32_t polls = gor__au32_load_rlx(&gor__rt.polls);
    bool idle_p = gor__au32_load_sc(&gor__rt.n_idle_p) != 0;
    if (!gor__poller_is_left())
        return;
    stale = polls == seen ? stale + 1 : 0;
    seen = polls;
    if (idle_p && stale >= 2) {
        gor__wake_p();
    } else if (stale >= 2) {
        gor__lock_sched();
        gor__au32_store_rlx(&gor__rt.poll_due, 1);
        gor__urgent_update_locked();
        gor__unlock_sched();
    }
}

static void gor__report_deadlock(void)
{
    if (gor__rt.opt.on_deadlock)
        gor__rt.opt.on_deadlock(gor__rt.opt.user);
    gor__fatal("all goroutines are asleep - deadlock!", NULL);
}

/* Since when is the program at rest, as sysmon has seen it: nobody has run, nor called for it? */
static struct {
    uint64_t activity;                             /* what it was then */
    int64_t  since;
} gor__rest;

/* For how long has it been? */
static int64_t gor__rested(int64_t now)
{
    uint64_t activity = gor__activity();
    if (activity != gor__rest.activity) {
        gor__rest.activity = activity;
        gor__rest.since = now;
    }
    return now - gor__rest.since;
}

/* When to ask again whether all are asleep for ever. */
static int64_t gor__ask_again_at(void)
{
    int64_t now = gor__os_now(), ns = gor__rested(now);
    return now + (ns < GOR__RECHECK_MIN_NS ? GOR__RECHECK_MIN_NS :
                  ns > GOR__RECHECK_MAX_NS ? GOR__RECHECK_MAX_NS : ns);
}

/* Sleep until a P is taken; the flag first, then the question, or its answer would be old. */
static void gor__sysmon_sleep(void)
{
    uint32_t word = gor__au32_load_acq(&gor__rt.sysmon_park);
    enum gor__quiet q;
    int64_t until = GOR_FOREVER, tidy_at;
    gor__au32_xchg(&gor__rt.sysmon_idle, 1);
    q = gor__how_quiet();
    if (q == GOR__DEADLOCK)
        gor__report_deadlock();
    if (q == GOR__ALL_GONE)
        gor__stop_now();
    if (q == GOR__BUSY)
        until = gor__os_now() + gor__sysmon_period();
    else
        gor__date_end();
    if (q == GOR__QUIET_ASK_AGAIN)
        until = gor__ask_again_at();
    tidy_at = q == GOR__BUSY ? GOR_FOREVER : gor__tidy_all();
    until = until < tidy_at ? until : tidy_at;
    if (!gor__au32_load_sc(&gor__rt.stopping))
        gor__os_futex_wait(&gor__rt.sysmon_park, word, until);
    if (gor__au32_load_rlx(&gor__rt.sysmon_park) != word)      /* called; nobody need have run */
        gor__rest.since = gor__os_now();
    gor__au32_store_sc(&gor__rt.sysmon_idle, 0);
}

/* The run is over, and gor_run is to return on the thread that called it; but a goroutine computes
 * there. */
static void gor__call_main_home(void)
{
    static const char text[] = "gor: the main goroutine has returned; gor_run waits for a "
                               "goroutine that makes no gor call on its thread\n";
    gor__m *m = gor__rt.main_m;
    for (int i = 0; m && gor__au32_load_sc(&gor__rt.main_home) == 0; i++) {
        gor__call_on(m, GOR__ASK);
        if (gor__computes(m))
            gor__preempt_send(m);
        if (i == 1000 && write(2, text, sizeof text - 1) < 0)
            return;
        gor__os_futex_wait(&gor__rt.main_home, 0, gor__os_now() + GOR_MS);
    }
}

/* A look in between, while wakes are in vain ([idle] I7), for what nobody has been woken for. If
 * there is nothing for long, wakes are tried again. */
static void gor__watch_next(void)
{
    static uint32_t quiet;
    quiet = gor__watch_queues() ? 0 : quiet + 1;
    if (quiet >= GOR__IN_VAIN) {
        quiet = 0;
        gor__au32_store_rlx(&gor__rt.in_vain, 0);
    }
}

/* Sleep until it is time for the next round. In between, look for work while wakes are in vain, and
 * for who computes since it left the poller: what comes next there is another's. */
static void gor__sysmon_nap(void)
{
    int64_t until = gor__os_now() + gor__sysmon_period();
    for (;;) {
        uint32_t word = gor__au32_load_acq(&gor__rt.sysmon_park);
        uint32_t polls = gor__au32_load_rlx(&gor__rt.polls);
        bool vain = gor__waking_is_vain();
        bool left = gor__poller_is_left() && gor__au32_load_sc(&gor__rt.n_idle_p) != 0;
        int64_t now = gor__os_now(), soon = until;
        if (now >= until || gor__au32_load_sc(&gor__rt.stopping))
            return;
        if (vain || left)
            soon = now + (vain ? GOR__IN_VAIN_NS : GOR__STANDBY_NS);
        gor__os_futex_wait(&gor__rt.sysmon_park, word, soon < until ? soon : until);
        if (vain)
            gor__watch_next();
        if (left && gor__poller_is_left() && polls == gor__au32_load_rlx(&gor__rt.polls))
            gor__wake_p();
    }
}

static void *gor__sysmon_thread(void *arg)
{
    (void)arg;
    gor__sysmon_tid = gor__os_tid();
    gor__rest.activity = UINT64_MAX;               /* another run's */
    gor__jam_begin();
    while (!gor__au32_load_sc(&gor__rt.stopping)) {
        gor__watch_all();
        gor__watch_fresh();                        /* before who wakes a P for what it moves */
        gor__watch_queues();
        gor__watch_timers();
        gor__watch_poller();
        gor__watch_jam();
        gor__tidy_some();
        if (gor__au32_load_sc(&gor__rt.n_idle_p) < gor__au32_load_rlx(&gor__rt.n_procs)) {
            gor__sysmon_nap();
        } else {
            gor__jam_leave();
            gor__sysmon_sleep();
        }
    }
    gor__call_main_home();
    gor__au32_store_rel(&gor__rt.sysmon_gone, 1);
    gor__os_futex_wake(&gor__rt.sysmon_gone, 1);
    return NULL;
}

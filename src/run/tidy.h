/* ==== [tidy] pages of stacks that nobody needs go back ==========================================
 * What        sysmon looks at every goroutine once a second. One that has been parked for a second
 *             gives back what lies below its stack pointer, and is packed ([pack]) when it has
 *             been for as long as it takes for that; stacks that lay free for a second give back
 *             all.
 * Claim       A parked goroutine may be woken, and run, at any moment, by a switch that is a plain
 *             load and store of hold ([sched] gor__can_switch). To keep it from running:
 *             T1 sysmon swaps CLAIMED into hold; who takes the goroutine from a queue after that
 *                sees it, and waits in g0 until the bit is gone ([machine] gor__wait_for_stack).
 *             T2 Who has looked at hold before that does not see it. But its waker had stored
 *                RUNNABLE before it queued it; so after a membarrier sysmon finds the state
 *                changed, and lets go. If it finds WAITING again, of the next wait, then hold has
 *                changed: it was stored before that state was.
 *             T3 It may have been woken and have parked anew before T1: since tells, and it is let
 *                go, for it is too young.
 *             One membarrier serves a batch. Without membarrier parked stacks stay as they are.
 * Cost        While goroutines run, some 30 calls of madvise per look of sysmon: below 1 % of a
 *             core. While all is asleep, all of it at once; then sysmon sleeps.
 * Runs on     sysmon.
 * Tests       tests/stack.c, tests/scale.c
 */
#define GOR__TIDY_NS    (1 * GOR_SEC)  /* idle for so long; GORDEBUG=tidy=ns                   */
#define GOR__TIDY_STEPS 200            /* in that time, at most, while goroutines run          */
#define GOR__TIDY_LOOK  2048           /* Gs looked at in a step                               */
#define GOR__TIDY_BATCH 32             /* worked on                                            */
#define GOR__TIDY_REST_NS (10 * GOR_US)/* of rest for each G looked at: 1 % of the time        */

static struct {
    gor__gslab *at;                    /* where this round is, and the G in that               */
    size_t      i;
    bool        on;                    /* a round is under way                                 */
    int64_t     ns;                    /* GOR__TIDY_NS, or what a test wants                   */
    int64_t     next;                  /* when the next round begins                           */
    int64_t     next_step;             /* while goroutines run                                 */
    int64_t     looked;                /* Gs this round                                        */
    int64_t     behind[2];             /* what g.since may lack: in this period, and the last  */
    int64_t     next_period;
    bool        young;                 /* seen this round: something too young                 */
    uint64_t    activity;              /* of all Ps, when it began                             */
    size_t      surplus[GOR__STACK_CLASSES];   /* listed stacks not wanted during last round   */
    struct {
        gor__g *g;
        int64_t since;                 /* of the wait that was seen                            */
        bool    pack;                  /* for so long that it may be packed, if it wants that  */
    } batch[GOR__TIDY_BATCH];
    size_t      n;
} gor__tidy;

static void gor__tidy_init(int64_t ns)
{
    memset(&gor__tidy, 0, sizeof gor__tidy);
    gor__tidy.ns = ns > 0 ? ns : GOR__TIDY_NS;
}

/* g.since is of coarse_ns, which was late ns behind just now. A period is as long as anybody has to
 * be parked. */
static void gor__tidy_behind(int64_t now, int64_t late)
{
    if (now >= gor__tidy.next_period) {
        gor__tidy.behind[1] = gor__tidy.behind[0];
        gor__tidy.behind[0] = 0;
        gor__tidy.next_period = now + gor__tidy.ns + gor__packs.after;
    }
    if (late > gor__tidy.behind[0])
        gor__tidy.behind[0] = late;
}

/* Will g be packed, not just made smaller? The first that asks for it, each round, makes us look
 * whether that works now. */
static bool gor__tidy_packs(gor__g *g)
{
    if (!(gor__au32_load_rlx(&g->traits) & GOR__TRAIT_PACK))
        return false;
    if (!gor__packs.looked)
        gor__packs_look(gor__fault_is_ours(SIGSEGV));
    return gor__packs.works;
}

/* Is g, parked since then, worth a claim? It is made smaller first, and packed when the time for
 * that has come, too: until then tidied is -since. now is of the clock that since is of: who is old
 * by that cannot begin another wait with the same since, and be taken for seen to. */
static bool gor__tidy_wants(gor__g *g, int64_t since, int64_t now, bool *pack)
{
    const int64_t *behind = gor__tidy.behind;
    int64_t age = now - since - (behind[0] > behind[1] ? behind[0] : behind[1]);
    if (gor__au32_load_rlx(&g->state) != GOR__WAITING || g->tidied == since ||
        (gor__au32_load_rlx(&g->hold) & GOR__PACKED))
        return false;
    *pack = gor__tidy_packs(g) && age >= gor__packs.after;
    if (*pack || (age >= gor__tidy.ns && g->tidied != -since))
        return true;
    gor__tidy.young = true;
    return false;
}

/* T1 */
static bool gor__claim(gor__g *g)
{
    uint32_t hold = gor__au32_load_rlx(&g->hold);
    return (hold & ~(uint32_t)GOR__TIED) == 0 &&
           gor__au32_cas(&g->hold, hold, hold | GOR__CLAIMED);
}

/* T2, T3, after the membarrier: is g in the wait that was seen? */
static bool gor__claimed(gor__g *g, int64_t since)
{
    return gor__au32_load_acq(&g->state) == GOR__WAITING &&    /* acq g.state */
           (gor__au32_load_rlx(&g->hold) & ~(uint32_t)GOR__TIED) == GOR__CLAIMED &&
           gor__ai64_load_rlx(&g->since) == since;
}

static void gor__unclaim(gor__g *g) { gor__au32_and(&g->hold, ~(uint32_t)GOR__CLAIMED); }

/* The pages below the frames of a claimed goroutine, down to its guard. It may wait on a stack of
 * the user's: then none. */
GOR__NO_TSAN static void gor__shrink(gor__g *g)
{
    size_t page = gor__stacks.page_size;
    char *lo = (char *)gor__aptr_load_rlx(&g->stack) + page;
    char *top = (char *)((uintptr_t)g->sp & ~(uintptr_t)(page - 1));
    if (top > lo && (size_t)(top - lo) < gor__stack_size_of(g))
        gor__os_decommit(lo, (size_t)(top - lo));
}

static void gor__tidy_batch(void)
{
    size_t n = 0;
    for (size_t i = 0; i < gor__tidy.n; i++)
        if (gor__claim(gor__tidy.batch[i].g))
            gor__tidy.batch[n++] = gor__tidy.batch[i];
        else
            gor__tidy.young = true;                /* on its way out, or in */
    gor__tidy.n = 0;
    if (n == 0)
        return;
    gor__os_membarrier();
    for (size_t i = 0; i < n; i++) {
        gor__g *g = gor__tidy.batch[i].g;
        if (gor__claimed(g, gor__tidy.batch[i].since)) {
            bool pack = gor__tidy.batch[i].pack, later = !pack && gor__tidy_packs(g);
            int64_t since = gor__tidy.batch[i].since;      /* it may have been woken meanwhile */
            gor__shrink(g);
            g->tidied = later ? -since : since;
            gor__tidy.young |= later;
            if (pack && gor__pack_one(g))
                g->tidied = 0;                     /* again, should somebody unpack it */
        } else {
            gor__tidy.young = true;
        }
        gor__unclaim(g);
    }
}

/* What an idle P keeps goes to the list, and may become cold there. */
static void gor__tidy_caches(void)
{
    if (GOR__STACK_QUARANTINE)
        return;
    gor__lock_sched();
    for (gor__p *p = gor__rt.idle_p; p; p = p->idle_next) {
        if (gor__au32_load_rlx(&p->n_stacks) == 0)
            continue;
        gor__tidy.young = true;
        if (gor__au32_load_rlx(&p->tick) != p->tidy_tick) {
            p->tidy_tick = gor__au32_load_rlx(&p->tick);
            continue;
        }
        gor__p_drop_stacks(p);
    }
    gor__unlock_sched();
}

/* Changes whenever a goroutine runs. */
static uint64_t gor__activity(void)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < gor__au32_load_acq(&gor__rt.n_allp); i++) {
        gor__p *p = gor__p_at(i);
        n += gor__au32_load_rlx(&p->tick) + gor__au64_load_rlx(&p->switches);
    }
    return n;
}

static void gor__tidy_begin(void)
{
    gor__tidy.on = true;
    gor__tidy.looked = 0;
    gor__tidy.young = false;
    gor__packs_begin();
    gor__tidy.activity = gor__activity();
    gor__lock_sched();
    gor__tidy.at = gor__rt.membarrier ? gor__rt.slabs : NULL;
    gor__unlock_sched();
    gor__tidy.i = 0;
    gor__tidy_caches();
    gor__lock_stacks();
    for (int k = 0; k < GOR__STACK_CLASSES; k++) {
        gor__stack_class *cls = &gor__stacks.cls[k];
        gor__tidy.surplus[k] = (size_t)cls->n_free_least;
        cls->n_free_least = gor__au64_load_rlx(&cls->n_free);
        if (cls->n_free_least > 0)
            gor__tidy.young = true;
    }
    gor__unlock_stacks();
}

/* Some listed stacks become cold. False: there are no more. */
static bool gor__tidy_listed(void)
{
    for (int k = 0; k < GOR__STACK_CLASSES; k++)
        if (gor__tidy.surplus[k] > 0) {
            size_t n = gor__tidy.surplus[k];
            n = gor__stack_cool(k, n < GOR__TIDY_BATCH ? n : GOR__TIDY_BATCH);
            gor__tidy.surplus[k] = n ? gor__tidy.surplus[k] - n : 0;
            return true;
        }
    return false;
}

/* Look at some goroutines. False: it was the last of them. */
static bool gor__tidy_parked(void)
{
    int64_t now = gor__ai64_load_rlx(&gor__rt.coarse_ns);
    for (int looked = 0; gor__tidy.at && looked < GOR__TIDY_LOOK;) {
        gor__gslab *s = gor__tidy.at;
        while (gor__tidy.i < sizeof s->g / sizeof s->g[0]) {
            gor__g *g = &s->g[gor__tidy.i++];
            int64_t since = gor__ai64_load_rlx(&g->since);
            bool pack = false;
            looked++;
            if (gor__tidy_wants(g, since, now, &pack)) {
                gor__tidy.batch[gor__tidy.n].g = g;
                gor__tidy.batch[gor__tidy.n].since = since;
                gor__tidy.batch[gor__tidy.n++].pack = pack;
            }
            if (gor__tidy.n == GOR__TIDY_BATCH) {
                gor__tidy_batch();
                return true;
            }
        }
        gor__tidy.looked += (int64_t)gor__tidy.i;
        gor__tidy.at = s->next;
        gor__tidy.i = 0;
    }
    gor__tidy_batch();
    return gor__tidy.at != NULL;
}

/* One step of a round. False: it is done. */
static bool gor__tidy_step(int64_t now)
{
    if (!gor__tidy.on)
        gor__tidy_begin();
    if (gor__tidy_listed() || gor__tidy_parked())
        return true;
    gor__tidy.on = false;
    gor__tidy.next = now + gor__tidy.ns + gor__tidy.looked * GOR__TIDY_REST_NS;
    return false;
}

/* While goroutines run: a step now and then. */
static void gor__tidy_some(void)
{
    int64_t now = gor__os_now();
    if (now >= (gor__tidy.on ? gor__tidy.next_step : gor__tidy.next)) {
        gor__tidy.next_step = now + gor__tidy.ns / GOR__TIDY_STEPS;
        gor__tidy_step(now);
    }
}

/* Everything is asleep: finish this round, unless someone wakes. Returns when there will be more to
 * do. */
static int64_t gor__tidy_all(void)
{
    if (!gor__tidy.on && !gor__tidy.young && gor__activity() == gor__tidy.activity)
        return GOR_FOREVER;
    if (!gor__tidy.on && gor__os_now() < gor__tidy.next)
        return gor__tidy.next;
    while (gor__tidy_step(gor__os_now()))
        if (!gor__au32_load_sc(&gor__rt.sysmon_idle) || gor__au32_load_sc(&gor__rt.stopping))
            return 0;
    return gor__tidy.young ? gor__tidy.next : GOR_FOREVER;
}

/* ==== [sched] what runs next =====================================================================
 * What        An M with a P picks a goroutine and runs it; a goroutine that parks, yields or ends
 *             picks its successor itself, with one switch. Only when that is not simple does it go
 *             to the M's own stack (g0), whose loop looks everywhere, and at last lets the M
 *             sleep.
 * Fairness    Own ring first in, first out. The woken-next slot goes first at most GOR__STREAK
 *             times in a row, the global queue or forked tasks are looked at first every 61st turn,
 *             timers whenever some are pending and a few microseconds have passed, priorities by
 *             the clock. What has not begun and was spilled comes after the global queue, the
 *             newest first; its oldest are [sysmon]'s.
 * Order       gor__find_work lists its steps.
 * Source      schedule, findRunnable of the Go runtime; work stealing after Blumofe and Leiserson
 *             (1999).
 */
#define GOR__STREAK 32

/* -- picking ------------------------------------------------------------------------------- */

GOR__INLINE bool gor__timers_maybe_due(gor__p *p)
{
    uint64_t now;
    if (GOR__LIKELY(gor__ai64_load_rlx(&p->timers.first) == GOR_FOREVER))
        return false;
    now = gor__arch_ticks();
    if (now - gor__au64_load_rlx(&p->timer_ticks) < GOR__ARCH_TICKS)
        return false;
    gor__au64_store_rlx(&p->timer_ticks, now);
    return true;
}

GOR__INLINE gor__g *gor__pick_local(gor__p *p)
{
    uint32_t streak = gor__au32_load_rlx(&p->streak);
    gor__g *g = NULL;
    if (gor__aptr_load_rlx(&p->runq.next) && streak < GOR__STREAK)
        g = gor__runq_swap_next(&p->runq, NULL);
    if (g) {
        gor__au32_store_rlx(&p->streak, streak + 1);
        return g;
    }
    if (streak)
        gor__au32_store_rlx(&p->streak, 0);
    g = gor__runq_pop(&p->runq);
    return g ? g : gor__runq_swap_next(&p->runq, NULL);
}

/* Is g0 to look around in this turn, whatever there is to run? The timers are asked once in a few
 * microseconds: a second call may say no. */
GOR__INLINE bool gor__look_is_due(gor__m *m, gor__p *p, uint32_t tick)
{
    return gor__au32_load_rlx(&m->detour) || tick % 61 == 0 ||
           gor__au32_load_rlx(&gor__rt.urgent) || gor__au32_load_rlx(&p->retire) ||
           gor__timers_maybe_due(p) || gor__stress_hit(4);
}

/* A turn, as sysmon and the global queue count them. Its number. */
GOR__INLINE uint32_t gor__count_turn(gor__p *p)
{
    uint32_t tick = gor__au32_load_rlx(&p->tick) + 1;
    gor__au32_store_rlx(&p->tick, tick);
    return tick;
}

/* The quick choice, from any stack: NULL means that g0 should look. */
GOR__INLINE gor__g *gor__pick(gor__m *m, gor__p *p)
{
    uint32_t tick = gor__count_turn(p);
    return GOR__UNLIKELY(gor__look_is_due(m, p, tick)) ? NULL : gor__pick_local(p);
}

/* Can m switch to g at once? A fresh one gets its stack here. */
GOR__INLINE bool gor__can_switch(gor__p *p, gor__g *g)
{
    uint32_t hold = gor__au32_load_acq(&g->hold);
    if (GOR__LIKELY(hold == 0))
        return true;
    if (hold != GOR__NO_STACK)
        return false;
    gor__bind_stack(p, g);
    return true;
}

/* From here on g is ours: it is about to run on this M. */
GOR__INLINE void gor__hold_cpu(gor__g *g)
{
    gor__au32_store_rlx(&g->hold, (gor__au32_load_rlx(&g->hold) & GOR__TIED) | GOR__ON_CPU);
}

/* next is about to run on m: give it a stack, hold it. Returns it; if that is not simple, or it is
 * NULL, g0, to which it is handed. */
GOR__INLINE gor__g *gor__next_or_g0(gor__m *m, gor__p *p, gor__g *next)
{
    if (GOR__LIKELY(next && gor__can_switch(p, next))) {
        gor__au32_store_rlx(&next->hold, GOR__ON_CPU);
        return next;
    }
    gor__aptr_store_rlx(&m->handed, next);
    return &m->g0;
}

/* Switch from g, which waits or is queued, to who is next; if that is g, it goes on. */
GOR__INLINE void gor__switch_away(gor__m *m, gor__g *g)
{
    gor__p *p = gor__m_p(m);
    gor__g *next = gor__pick(m, p);
    if (next != g)
        gor__switch_finish(m, g, gor__next_or_g0(m, p, next));
}

/* After a switch, on the goroutine's own stack. */
GOR__INLINE void gor__resumed(gor__g *g)
{
    (void)gor__au32_load_acq(&g->state);           /* acq g.state: what the waker did */
    gor__au32_store_rlx(&g->state, GOR__RUNNING);
}

/* g, which runs, waits until someone who claims the wait calls gor__ready. state is WAITING
 * already: the wake-up may have come before this call. For functions that are GOR__SWITCHES. */
GOR__INLINE void gor__park_here(gor__g *g)
{
    gor__switch_begin(g);
    gor__switch_away(gor__self(), g);
    gor__resumed(g);
}

/* For what gor__arch_wait calls: before the wait, on m or NULL, and after it. */
GOR__INLINE void gor__left_at(gor__m *m, void *back)
{
    if (m)
        gor__aptr_store_rlx(&m->left_at, back);
}

GOR__INLINE gor__answer gor__answer_from(gor__m *m, int rc, void *back)
{
    gor__answer a;
    a.rc = rc;
    a.jump = m && gor__aptr_load_rlx(&m->left_at) != back;
    return a;
}

/* What gor__arch_wait calls to park g; it uses none of the other arguments. */
GOR__SWITCHES static gor__answer gor__park_waiter(void *g, void *b, void *c, uint64_t d, int64_t e,
                                                  void *back)
{
    (void)b, (void)c, (void)d, (void)e;
    gor__left_at(gor__self(), back);
    gor__park_here((gor__g *)g);
    return gor__answer_from(gor__self(), 0, back);
}

/* gor__park_here for the goroutine that runs, from any function. */
GOR__INLINE void gor__park(void)
{
    gor__arch_wait(gor__m_g(gor__self()), NULL, NULL, 0, 0, gor__park_waiter);
}

/* Would a turn that begins now look at the fds, having found nothing else? */
GOR__INLINE bool gor__next_is_to_poll(gor__m *m, gor__p *p)
{
    return gor__runq_empty(&p->runq) && gor__taskq_empty(&p->taskq) &&
           !(gor__au32_load_rlx(&gor__rt.global.n) | gor__au32_load_rlx(&gor__rt.fresh.n)) &&
           !gor__look_is_due(m, p, gor__au32_load_rlx(&p->tick) + 1);
}

/* g, which runs on m, goes to the end of the run queue. Returns who is next, g perhaps; NULL: g0 is
 * to choose. */
GOR__INLINE gor__g *gor__last_and_next(gor__m *m, gor__p *p, gor__g *g)
{
    gor__ready_last(m, g);
    return gor__pick(m, p);
}

/* look: g0 is to choose. */
static GOR__NOINLINE gor__g *gor__last_and_next_slow(gor__m *m, gor__p *p, gor__g *g, bool look)
{
    gor__ready_last(m, g);
    return look ? NULL : gor__pick_local(p);
}

/* The same while gor__shared is 0. Most often it is enough to turn the ring by one. */
GOR__INLINE gor__g *gor__last_and_next_alone(gor__m *m, gor__p *p, gor__g *g)
{
    bool look = gor__look_is_due(m, p, gor__count_turn(p)) || !gor__is_ordinary(g);
    if (GOR__UNLIKELY(look || gor__aptr_load_rlx(&p->runq.next)))
        return gor__last_and_next_slow(m, p, g, look);
    gor__set_runnable(g);
    if (gor__au32_load_rlx(&p->streak))
        gor__au32_store_rlx(&p->streak, 0);
    return gor__runq_turn(&p->runq, g);
}

/* Go to the end of the run queue. For functions that are GOR__SWITCHES, too. */
GOR__INLINE void gor__yield_here(gor__m *m)
{
    gor__g *g = gor__m_g(m), *next;
    gor__p *p = gor__m_p(m);
    gor__switch_begin(g);
    if (gor__au32_load_rlx(&gor__shared) == 0)
        next = gor__last_and_next_alone(m, p, g);
    else
        next = gor__last_and_next(m, p, g);
    if (next != g)
        gor__switch_finish(m, g, gor__next_or_g0(m, p, next));
    gor__resumed(g);
}

GOR__SWITCHES static void gor__yield(void) { gor__yield_here(gor__self()); }

/* Let those go first, too, whom every P looks for. */
GOR__SWITCHES static void gor__yield_to_all(void)
{
    gor__m *m = gor__self();
    gor__g *g = gor__m_g(m);
    gor__switch_begin(g);
    gor__set_runnable(g);
    gor__ready_global(g);
    gor__switch_away(m, g);
    gor__resumed(g);
}

/* -- looking everywhere, on g0 ------------------------------------------------------------- */

static GOR__NOINLINE gor__g *gor__try_share_slow(gor__p *p, const gor__au32 *count, bool fresh,
                                                 uint32_t most)
{
    uint32_t n, room = gor__runq_room(&p->runq) + 1;
    gor__g *first = NULL, *g;
    gor__lock_sched();
    n = gor__au32_load_rlx(count) / gor__au32_load_rlx(&gor__rt.n_procs) + 1;
    n = n < most ? n : most;
    for (n = n < room ? n : room; n > 0; n--) {
        g = fresh ? gor__gs_take(&gor__rt.fresh, gor__rt.fresh.newest)
                  : gor__gr_take(&gor__rt.global);
        if (!first)
            first = g;
        else if (g)
            gor__runq_push(&p->runq, g);
    }
    if (fresh)
        gor__gs_tell(&gor__rt.fresh);
    else
        gor__gr_tell(&gor__rt.global);
    gor__unlock_sched();
    return first;
}

/* A share of the global queue, or of those that have not begun, the newest of these first: one to
 * run, the rest to the ring. Most often there are none. */
GOR__INLINE gor__g *gor__try_share(gor__p *p, bool fresh, uint32_t most)
{
    const gor__au32 *count = fresh ? &gor__rt.fresh.n : &gor__rt.global.n;
    return gor__au32_load_sc(count) ? gor__try_share_slow(p, count, fresh, most) : NULL;
}

static GOR__NOINLINE gor__g *gor__try_queue_slow(gor__gqueue *q)
{
    gor__g *g;
    gor__lock_sched();
    g = gor__gq_pop(q);
    gor__urgent_update_locked();
    gor__unlock_sched();
    return g;
}

GOR__INLINE gor__g *gor__try_queue(gor__gqueue *q)
{
    return gor__au32_load_sc(&q->n) ? gor__try_queue_slow(q) : NULL;
}

/* High priority before others, unless these have had to wait for GOR__PRIORITY_NS; low priority if
 * it has waited for as long. */
static gor__g *gor__try_priority(gor__p *p)
{
    uint32_t tick = gor__au32_load_rlx(&p->tick);
    gor__g *g = NULL;
    int64_t now;
    if (!gor__au32_load_rlx(&gor__rt.urgent))
        return NULL;
    now = gor__os_now();
    if (tick - gor__au32_load_rlx(&p->high_tick) > 1)   /* the last turn was another's */
        gor__ai64_store_rlx(&p->normal_ns, now);
    if (gor__au32_load_rlx(&gor__rt.low.n) &&
        now - gor__ai64_load_rlx(&gor__rt.low_since) > GOR__PRIORITY_NS)
        g = gor__try_queue(&gor__rt.low);
    if (g) {
        gor__ai64_store_rlx(&gor__rt.low_since, now);
        gor__au32_store_rlx(&p->high_tick, tick);  /* no turn of normal priority: that waits on */
        return g;
    }
    if (now - gor__ai64_load_rlx(&p->normal_ns) <= GOR__PRIORITY_NS)
        g = gor__try_queue(&gor__rt.high);
    if (g)
        gor__au32_store_rlx(&p->high_tick, tick);
    else
        gor__ai64_store_rlx(&p->normal_ns, now);
    return g;
}

/* How many turns victim takes in a microsecond or so; if none, and it is in a gor call, which may
 * be no more than the wake that has brought us here, in some ten. */
static uint32_t gor__watch_turns(gor__p *victim)
{
    uint32_t tick = gor__au32_load_rlx(&victim->tick), in_call;
    uint64_t begin = gor__arch_ticks();
    gor__stay_away(begin, GOR__ARCH_TICKS / 4);
    if (tick == gor__au32_load_rlx(&victim->tick) && gor__p_holder(victim, &in_call) && in_call)
        gor__stay_away(begin, 2 * GOR__ARCH_TICKS);
    return gor__au32_load_rlx(&victim->tick) - tick;
}

/* What a processor runs next it most often runs at once, from a warm cache: take it only from one
 * that is busy with something else. */
static gor__g *gor__try_next_of(gor__p *victim)
{
    return gor__aptr_load_rlx(&victim->runq.next) && gor__watch_turns(victim) == 0
           ? gor__runq_steal_next(&victim->runq) : NULL;
}

/* Does who takes so many turns in so many ns come to n that wait, sooner than another would be done
 * with them? */
static bool gor__is_quick(uint32_t turns, uint32_t n, int64_t ns)
{
    return turns >= n && (int64_t)turns * GOR__STEAL_PAYS_NS >= ns;
}

/* Does victim come to the n in its ring at once? Not if its turns are those of high priority. */
static bool gor__runs_at_once(gor__p *victim, uint32_t n)
{
    int64_t begin = gor__os_now();
    uint32_t turns = gor__watch_turns(victim);
    return gor__is_quick(turns, n, gor__os_now() - begin) &&
           gor__au32_load_rlx(&victim->tick) - gor__au32_load_rlx(&victim->high_tick) > 1;
}

/* Take half of victim's ring. A few are looked at last, and left to who comes to them at once. */
static gor__g *gor__try_ring_of(gor__m *m, gor__p *p, gor__p *victim, bool last)
{
    uint32_t n = gor__runq_n(&victim->runq);
    bool few = n < GOR__FEW && !gor__stress_hit(2);
    gor__g *g = NULL;
    if (n == 0 || (few && !last))
        return NULL;
    if (few && gor__runs_at_once(victim, n)) {
        m->left++;
        return NULL;
    }
    g = gor__runq_steal(&p->runq, &victim->runq);
    if (g) {
        m->n_stolen = 1 + gor__runq_n(&p->runq);
        m->stolen_ns = gor__os_now();
    }
    return g;
}

/* Take work from one victim. last: also a few in its ring or, of one that is not quick, its next
 * slot, and its timers. */
static gor__g *gor__try_victim(gor__m *m, gor__p *p, gor__p *victim, bool last)
{
    uint32_t left = m->left;
    gor__g *g = gor__try_ring_of(m, p, victim, last);
    if (!g)
        g = gor__taskq_start(m, &victim->taskq);
    if (!g && last && m->left == left)
        g = gor__try_next_of(victim);
    if (!g && last && gor__timers_run(&victim->timers))
        g = gor__pick_local(p);
    return g;
}

static uint32_t gor__common_factor(uint32_t a, uint32_t b)
{
    while (b) {
        uint32_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

/* Four rounds over the others, each in a random order: start anywhere, step by a number that
 * shares no factor with the count. The last, which takes time, ends once a few were left alone. */
static gor__g *gor__try_steal(gor__m *m, gor__p *p)
{
    uint32_t n = gor__au32_load_acq(&gor__rt.n_allp);
    m->left = 0;
    for (int round = 0; round < 4; round++) {
        uint32_t at = gor__random_below(&m->rng, n), step = 1 + gor__random_below(&m->rng, n);
        while (gor__common_factor(n, step) != 1)
            step = step % n + 1;
        for (uint32_t i = 0; i < n && m->left < GOR__MOST_LEFT; i++, at = (at + step) % n) {
            gor__p *victim = gor__p_at(at);
            gor__g *g = victim == p ? NULL : gor__try_victim(m, p, victim, round == 3);
            if (g) {
                gor__au64_bump(&p->steals);
                return g;
            }
        }
    }
    return NULL;
}

/* -- goroutines that were switched off in place: [preempt] --------------------------------- */

/* The running goroutine is to go on on m, after those that wait for m's P now. */
static void gor__preempted_push(gor__m *m, gor__g *g)
{
    gor__p *p = gor__m_p(m);
    g->due_tick = gor__au32_load_rlx(&p->tick) + gor__runq_n(&p->runq);
    gor__gq_push(&m->preempted, g);
    gor__au32_store_rlx(&m->detour, gor__au32_load_rlx(&m->detour) | GOR__HAS_PREEMPTED);
}

static void gor__preempted_none(gor__m *m)
{
    uint32_t rest = gor__au32_load_rlx(&m->detour) & ~(uint32_t)GOR__HAS_PREEMPTED;
    gor__au32_store_rlx(&m->detour, rest);
}

/* Those that wait elsewhere, and may move, share p with those that may not. */
static gor__g *gor__try_one_victim(gor__m *m, gor__p *p)
{
    gor__p *victim = gor__p_at(gor__random_below(&m->rng, gor__au32_load_acq(&gor__rt.n_allp)));
    return victim == p ? NULL : gor__runq_steal(&p->runq, &victim->runq);
}

static gor__g *gor__preempted_pop(gor__m *m)
{
    gor__g *g = gor__gq_pop(&m->preempted);
    if (g && !m->preempted.head)
        gor__preempted_none(m);
    return g;
}

/* The first, once it is due; then every other time at most. */
static gor__g *gor__try_preempted_due(gor__m *m, gor__p *p)
{
    gor__g *g = m->preempted.head;
    m->preempted_turn = !m->preempted_turn;
    if (!g || !m->preempted_turn ||
        (int32_t)(gor__au32_load_rlx(&p->tick) - g->due_tick) < 0)
        return NULL;
    return gor__preempted_pop(m);
}

/* The first, due or not: p has nothing else to run. Whatever was seen elsewhere a moment ago may
 * have been stolen since, so this is asked last, and m does not go idle while it has some. */
static gor__g *gor__try_preempted(gor__m *m, gor__p *p)
{
    gor__g *stolen = m->preempted.head ? gor__try_one_victim(m, p) : NULL;
    return stolen ? stolen : gor__preempted_pop(m);
}

/* m's thread will run nothing else for a while: they go on wherever they can. By m, or by sysmon
 * while m waits for its answer. */
static void gor__preempted_spill(gor__m *m)
{
    gor__g *g;
    if (!m->preempted.head)
        return;
    gor__lock_sched();
    while ((g = gor__gq_pop(&m->preempted)) != NULL)
        gor__global_push_locked(g);
    gor__unlock_sched();
    gor__preempted_none(m);
}

/* Look at the fds, without waiting, unless who waits has just done so in vain. The first that is
 * ready runs, the others go into p's ring. */
static gor__g *gor__try_poll(gor__m *m, gor__p *p)
{
    gor__g *first;
    bool just_looked = gor__au32_load_rlx(&m->polled_in_vain) != 0;
    if (just_looked || gor__au32_load_acq(&gor__rt.poller) == 0)     /* acq rt.poller: its fds */
        return NULL;
    first = gor__up.poll(0);
    if (!first || !gor__is_ordinary(first)) {
        gor__ready_all(m, first, GOR__PICKS_NEXT);
        return gor__pick_local(p);
    }
    gor__ready_all(m, (gor__g *)gor__aptr_load_rlx(&first->link), GOR__RUNS_ANOTHER);
    gor__set_runnable(first);
    return first;
}

/* [sysmon] has found that nobody looked at the fds for long. */
static void gor__poll_overdue(gor__m *m)
{
    gor__lock_sched();
    gor__au32_store_rlx(&gor__rt.poll_due, 0);
    gor__urgent_update_locked();
    gor__unlock_sched();
    gor__up.signalled();
    gor__ready_all(m, gor__up.poll(0), GOR__RUNS_ANOTHER);
}

/* A task that a P has left which is retired: nobody steals there while all others have work. */
static gor__g *gor__try_left_task(gor__m *m)
{
    uint32_t n = gor__au32_load_acq(&gor__rt.n_allp);
    if (GOR__LIKELY(n == gor__au32_load_rlx(&gor__rt.n_procs)))
        return NULL;
    return gor__taskq_start(m, &gor__p_at(gor__random_below(&m->rng, n))->taskq);
}

/* Each 61st turn: what is not in the ring. The global queue first and tasks next, or the other way
 * round, by turns: the first might never be empty. */
static gor__g *gor__try_rare(gor__m *m, gor__p *p)
{
    bool tasks_first = gor__au32_load_rlx(&p->tick) / 61 % 2 != 0;
    gor__g *g = tasks_first ? NULL : gor__try_share(p, false, 1);
    if (!g)
        g = gor__taskq_start(m, &p->taskq);
    if (!g)
        g = gor__try_left_task(m);
    return g || !tasks_first ? g : gor__try_share(p, false, 1);
}

/* Everything that this P can run without stealing. */
static gor__g *gor__try_own(gor__m *m, gor__p *p)
{
    gor__g *g;
    if (GOR__UNLIKELY(gor__au32_load_rlx(&gor__rt.poll_due)))
        gor__poll_overdue(m);
    gor__timers_date(&p->timers);                  /* by the way: [date] */
    gor__timers_run(&p->timers);
    g = gor__try_priority(p);
    if (!g && gor__au32_load_rlx(&p->tick) % 61 == 0)
        g = gor__try_rare(m, p);
    if (!g)
        g = gor__try_preempted_due(m, p);
    if (gor__stress_hit(4))
        gor__os_yield();                           /* others steal meanwhile */
    if (!g)
        g = gor__pick_local(p);
    if (!g)
        g = gor__taskq_start(m, &p->taskq);
    if (!g)
        g = gor__try_share(p, false, GOR__RUNQ_CAP / 2);
    if (!g)
        g = gor__try_share(p, true, GOR__RUNQ_CAP / 2);
    if (!g)
        g = gor__try_queue(&gor__rt.high);
    if (!g)
        g = gor__try_preempted(m, p);
    if (!g)
        g = gor__try_queue(&gor__rt.low);
    return g;
}

/* Is there anything to run that no P has? */
static bool gor__work_for_all(void)
{
    return gor__au32_load_sc(&gor__rt.global.n) || gor__au32_load_sc(&gor__rt.fresh.n) ||
           gor__au32_load_sc(&gor__rt.high.n) || gor__au32_load_sc(&gor__rt.low.n) ||
           gor__au32_load_sc(&gor__rt.poll_due);
}

/* Is there anything to run, for an M that has just given up its P? */
static bool gor__work_anywhere(void)
{
    uint32_t n = gor__au32_load_acq(&gor__rt.n_allp);
    if (gor__work_for_all())
        return true;
    for (uint32_t i = 0; i < n; i++) {
        gor__p *p = gor__p_at(i);
        if (!gor__runq_empty(&p->runq) || gor__taskq_find(&p->taskq))
            return true;
    }
    return false;
}

static void gor__stop_spinning(gor__m *m)
{
    if (!m->spinning)
        return;
    m->spinning = false;
    gor__au32_add(&gor__rt.n_spinning, (uint32_t)-1);
}

/* m has found work: if it was the one that looked, another should look now ([idle] I2). */
static void gor__found(gor__m *m)
{
    gor__has_looked(m, true);
    if (!m->spinning)
        return;
    gor__stop_spinning(m);
    gor__submitted();
}

/* Take an idle P, if there is one. */
static bool gor__p_acquire(gor__m *m, gor__p *wanted)
{
    gor__p *p;
    if (gor__au32_load_sc(&gor__rt.n_idle_p) == 0)
        return false;
    gor__lock_idle_p();
    p = wanted ? gor__p_idle_pop_locked(wanted) : NULL;
    if (!p)
        p = gor__p_idle_pop_locked(NULL);
    if (p)
        gor__p_hold(m, p);
    gor__unlock_sched();
    if (p)
        gor__sysmon_wake();
    return p != NULL;
}

/* p, in transit, is not wanted any more: its timers go to the first P, which always is, and its
 * goroutines, and what it keeps for new ones, to all. Without memory for that it stays, one more
 * than was asked for. */
static void gor__p_retire(gor__p *p)
{
    bool moved = gor__timers_move(&gor__p_at(0)->timers, &p->timers);
    gor__g *g;
    gor__lock_idle_p();                            /* without a P there are no windows */
    if (!moved && gor__au32_load_rlx(&p->retire)) {
        gor__au32_store_rlx(&p->retire, 0);
        gor__au32_store_sc(&gor__rt.n_procs, gor__au32_load_rlx(&gor__rt.n_procs) + 1);
    }
    if (gor__au32_load_rlx(&p->retire)) {
        gor__runq_own_next(&p->runq, false);
        while ((g = gor__pick_local(p)) != NULL)
            gor__global_push_locked(g);
        gor__p_drop_gs_locked(p);
        if (!GOR__STACK_QUARANTINE)
            gor__p_drop_stacks(p);
        gor__aptr_store_rlx(&p->m, NULL);
    } else {
        gor__p_idle_push_locked(p);
    }
    gor__unlock_sched();
}

/* p, whose last holder has let go of it, goes to the idle list, or, if gor_procs wants it back, to
 * nobody. Work may have become visible: who calls looks for it, or wakes somebody who does. */
static void gor__p_give_back(gor__p *p)
{
    bool retire;
    gor__lock_sched();
    retire = gor__au32_load_rlx(&p->retire) != 0;
    if (retire)
        gor__aptr_store_rlx(&p->m, &gor__in_transit);
    else
        gor__p_idle_push_locked(p);
    gor__unlock_sched();
    if (retire)
        gor__p_retire(p);
}

static void gor__p_release(gor__m *m)
{
    gor__p *p = gor__m_p(m);
    gor__timers_date(&p->timers);                  /* while it is m's: they may be its P's own */
    gor__mine_end(m);
    gor__aptr_store_rlx(&m->p, NULL);
    gor__p_give_back(p);
}

/* A P was given up by an M that will not look for work again: somebody must, and mind the
 * timers. */
static void gor__p_left(void)
{
    gor__arch_fence();
    if (!gor__au32_load_rlx(&gor__rt.stopping) &&
        (gor__work_anywhere() || gor__timers_first() != GOR_FOREVER ||
         (gor__au32_load_rlx(&gor__rt.poller) && !gor__aptr_load_sc(&gor__rt.sleeper))))
        gor__wake_p();
}

/* Publish how long we will sleep, then look at the timers a last time ([idle] I4). If there is a
 * sleeper already, it may not know of timers that are far off, or were added while no P was idle;
 * now one is. */
static int64_t gor__sleeper_until(gor__m *m)
{
    int64_t until;
    if (!gor__aptr_cas(&gor__rt.sleeper, NULL, m)) {
        if (gor__timers_first() != GOR_FOREVER)
            gor__sleeper_tell(gor__timers_first());
        return GOR_FOREVER;
    }
    gor__ai64_store_sc(&gor__rt.sleep_until, INT64_MIN);       /* not known yet: do not wake */
    until = gor__timers_first();
    gor__ai64_store_sc(&gor__rt.sleep_until, until);
    gor__arch_fence();
    if (gor__timers_first() < until)
        return 0;
    if (gor__au32_load_sc(&gor__rt.n_idle_p) != 0)
        return until;
    gor__aptr_store_sc(&gor__rt.sleeper, NULL);    /* no P to run them with: who gives one up  */
    gor__arch_fence();                             /* sleeps itself, or wakes somebody         */
    return gor__au32_load_sc(&gor__rt.n_idle_p) != 0 ? 0 : GOR_FOREVER;
}

/* m has been idle for long, and as many as there are Ps are idle besides: its thread ends. */
static bool gor__m_spare_locked(const gor__m *m)
{
    return !m->is_main &&
           gor__au32_load_rlx(&gor__rt.n_idle_m) >= gor__au32_load_rlx(&gor__rt.n_procs);
}

/* Do others run, and poll, since m last asked? */
static bool gor__others_poll(gor__m *m)
{
    uint32_t polls = gor__au32_load_rlx(&gor__rt.polls);
    bool others = (int32_t)(polls - m->polls_seen - gor__au32_load_rlx(&m->polls_own)) > 0;
    m->polls_seen = polls;
    gor__au32_store_rlx(&m->polls_own, 0);
    return others && gor__au32_load_sc(&gor__rt.n_idle_p) < gor__au32_load_rlx(&gor__rt.n_procs);
}

/* Nothing to do while others poll: one M asks again soon ([idle] I6), the rest sleep. */
static bool gor__m_stand_by(gor__m *m)
{
    int64_t until = gor__os_now() + GOR__STANDBY_NS, first;
    bool woken;
    gor__ai64_store_sc(&gor__rt.standby_until, until);
    if (!gor__aptr_cas(&gor__rt.standby, NULL, m))
        return gor__m_sleep(m, GOR_FOREVER);
    gor__arch_fence();
    first = gor__timers_first();                   /* those that come later are before until, and */
    woken = gor__m_sleep(m, first < until ? first : until);    /* told; or seen then              */
    gor__aptr_store_sc(&gor__rt.standby, NULL);
    gor__arch_fence();
    return woken;
}

/* Sleep as an idle M does; the sleeper in the poller, if there is one ([idle] I5). Others until
 * leave_at at most. */
static bool gor__m_sleep_idle(gor__m *m, int64_t leave_at, gor__g **ready)
{
    int64_t until;
    *ready = NULL;
    if (gor__au32_load_sc(&gor__rt.stopping))
        return true;
    if (gor__au32_load_sc(&gor__rt.poller) && gor__others_poll(m))
        return gor__m_stand_by(m);
    until = gor__sleeper_until(m);
    if (until != 0 && gor__au32_load_sc(&gor__rt.poller) &&
        gor__aptr_load_rlx(&gor__rt.sleeper) == m)
        return gor__m_sleep_polling(m, until, ready);
    return gor__m_sleep(m, until < leave_at ? until : leave_at);
}

/* The sleeper has come back with fds that are ready. Timers that are due before [sysmon] next looks
 * are another's from now on; for later ones it sees that somebody minds them. */
static void gor__m_polled(gor__m *m, gor__g *ready)
{
    int64_t first = gor__timers_first();
    if (!gor__m_p(m))
        gor__p_acquire(m, NULL);
    gor__ready_all(m, ready, GOR__PICKS_NEXT);
    if (first != GOR_FOREVER && gor__au32_load_sc(&gor__rt.n_idle_p) &&
        first < gor__os_now() + 2 * GOR__SYSMON_NS)
        gor__wake_p();
}

/* Sleep until someone brings a P, the first timer is due, or fds are ready; or for so long that the
 * thread is not worth keeping: its state is ENDING then. */
static void gor__m_idle(gor__m *m)
{
    bool woken, listed, sleeper;
    gor__g *ready;
    int64_t leave_at;
    gor__check(!m->preempted.head, "an idle M has no goroutines of its own");
    gor__has_looked(m, false);
    m->n_stolen = m->left = 0;                     /* asleep it runs none of them: [idle] I8 */
    gor__lock_sched();
    m->next_p = NULL;
    gor__m_idle_push_locked(m);
    gor__unlock_sched();
    leave_at = gor__os_now() + gor__rt.keep_thread_ns;
    woken = gor__m_sleep_idle(m, leave_at, &ready);
    sleeper = gor__aptr_load_rlx(&gor__rt.sleeper) == m;
    gor__aptr_cas(&gor__rt.sleeper, m, NULL);
    gor__lock_sched();
    listed = gor__m_idle_pop_locked(m) != NULL;
    if (listed && !woken && !sleeper && gor__os_now() >= leave_at && gor__m_spare_locked(m))
        gor__au32_store_rlx(&m->state, GOR__M_ENDING);
    gor__unlock_sched();
    if (!listed && !woken)
        gor__m_sleep(m, GOR_FOREVER);              /* a waker took us: its word is on the way */
    if (gor__au32_load_sc(&gor__rt.stopping))
        return;                                    /* or it was the stop, before that word came */
    if (m->next_p)
        gor__p_hold(m, m->next_p);
    m->next_p = NULL;
    if (ready)
        gor__m_polled(m, ready);
}

/* Come by a P. One found idle makes m a spinner, so that it wakes the next one ([idle] I1, I4). Who
 * has left some alone, while another spins, leaves the look at them to that one (I8).
 * False: stopping, or m has been idle for too long. */
static bool gor__m_get_p(gor__m *m)
{
    while (!gor__m_p(m)) {
        if (gor__au32_load_sc(&gor__rt.stopping) ||
            gor__au32_load_rlx(&m->state) == GOR__M_ENDING)
            return false;
        if (!(m->left && gor__au32_load_sc(&gor__rt.n_spinning)) &&
            (gor__work_anywhere() || gor__timers_first() <= gor__os_now()) &&
            gor__p_acquire(m, NULL)) {
            m->spinning = true;
            gor__au32_add(&gor__rt.n_spinning, 1);
        } else {
            gor__m_idle(m);
        }
    }
    return true;
}

/* n more have been stolen, or come for, than paid; below 0: fewer. For how long is m to leave
 * stealing alone? ([idle] I8) */
static int64_t gor__lose(gor__m *m, int64_t n)
{
    int64_t loss = m->loss + n;
    m->loss = loss < 0 ? 0 : loss < GOR__MOST_LOSS ? loss : GOR__MOST_LOSS;
    return m->loss / GOR__LOSS * GOR__NAP_NS;
}

/* The same, when m has run all that it stole last. */
static int64_t gor__nap_due(gor__m *m, int64_t now)
{
    int64_t n = m->n_stolen;
    m->n_stolen = 0;
    return n ? gor__lose(m, n - (now - m->stolen_ns) / GOR__STEAL_PAYS_NS) : 0;
}

/* Leave stealing alone for ns, without a P, as I8 says. False: not at all. */
static bool gor__nap(gor__m *m, int64_t ns)
{
    int64_t until, first;
    if (ns == 0 && !gor__stress_hit(8))
        return false;
    until = gor__os_now() + ns;
    gor__p_release(m);
    gor__lone_begin();
    first = gor__timers_first();                   /* the P's, too, which nobody minds */
    gor__m_sleep(m, first < until ? first : until);
    gor__lone_end();
    return true;
}

/* Steal, or nap if that does not pay: m has a P no more then. */
static gor__g *gor__steal_or_nap(gor__m *m, gor__p *p)
{
    gor__g *g;
    if (gor__nap(m, gor__nap_due(m, gor__os_now())))
        return NULL;
    g = gor__try_steal(m, p);
    if (!g && m->left && gor__au32_load_sc(&gor__rt.n_spinning) == 1 && !gor__work_for_all())
        gor__nap(m, gor__lose(m, GOR__FEW));
    return g;
}

static void gor__spin_begin(gor__m *m)
{
    uint32_t busy = gor__au32_load_rlx(&gor__rt.n_procs) - gor__au32_load_rlx(&gor__rt.n_idle_p);
    if (m->spinning || 2 * gor__au32_load_rlx(&gor__rt.n_spinning) >= busy)
        return;
    m->spinning = true;
    gor__au32_add(&gor__rt.n_spinning, 1);
}

/* The next goroutine to run, waiting for one; NULL: the runtime stops. m comes back with a P. */
static gor__g *gor__find_work(gor__m *m)
{
    for (;;) {
        gor__p *p;
        gor__g *g;
        if (!gor__m_get_p(m) || gor__au32_load_rlx(&gor__rt.stopping))
            return NULL;
        p = gor__m_p(m);
        if (gor__au32_load_rlx(&p->retire)) {
            gor__preempted_spill(m);
            gor__stop_spinning(m);
            gor__p_release(m);
            gor__submitted();
            continue;
        }
        g = gor__stress_hit(2) ? gor__try_steal(m, p) : NULL;
        if (!g)
            g = gor__try_own(m, p);
        if (!g)
            g = gor__try_poll(m, p);
        gor__au32_store_rlx(&m->polled_in_vain, 0);
        if (!g && gor__au32_load_rlx(&gor__shared)) {
            gor__spin_begin(m);
            if (m->spinning)
                g = gor__steal_or_nap(m, p);
        }
        if (g) {
            gor__found(m);
            return g;
        }
        if (gor__m_p(m))                           /* else a nap has given it up */
            gor__p_release(m);
        gor__stop_spinning(m);                     /* [idle] I2: first this, then look again */
        gor__arch_fence();
    }
}

/* -- locked goroutines --------------------------------------------------------------------- */

/* g may run only on its own M: lend that M our P. */
static void gor__run_locked_elsewhere(gor__m *m, gor__g *g)
{
    gor__m *its = (gor__m *)gor__aptr_load_rlx(&g->locked);
    gor__p *p = gor__m_p(m);
    gor__preempted_spill(m);
    gor__mine_end(m);
    gor__aptr_store_rlx(&m->p, NULL);
    gor__aptr_store_rel(&p->m, &gor__in_transit);  /* rel p.m: to who ends elision */
    its->next_p = p;
    its->spinning = false;
    gor__m_wake(its);
    gor__submitted();
}

/* This M's goroutine waits: give the P up, and sleep until someone finds the goroutine runnable and
 * brings a P. */
static void gor__wait_for_locked(gor__m *m)
{
    if (gor__m_p(m))                               /* none, if it comes from gor_block */
        gor__p_release(m);
    gor__au32_store_rlx(&m->state, GOR__M_IDLE);
    gor__p_left();
    gor__m_sleep(m, GOR_FOREVER);
    gor__au32_store_rlx(&m->state, GOR__M_RUNNING);
    if (gor__au32_load_sc(&gor__rt.stopping))
        return;
    if (m->next_p)
        gor__p_hold(m, m->next_p);
    m->next_p = NULL;
}

/* ==== [machine] the life of an M =================================================================
 * What        A thread of ours: g0's loop picks a goroutine and switches to it, until the runtime
 *             stops.
 * Invariants  I1 *m->in_call is not 0 whenever runtime code runs on m, at every switch too: so each
 *                goroutine finds and leaves it right on whatever M it is. A constant is stored, not
 *                a count kept: the chain of load and add would be the dearest part of a call. In a
 *                window ([window]) it is the window's mark, which is not 0 either.
 *             I2 An M that still ran user code when the runtime stopped is an orphan: its memory
 *                stays, and its thread ends at its next gor call.
 */
/* The first things an M does on its own thread. */
static void gor__m_begin(gor__m *m)
{
    gor__mine_end(m);
    m->in_call = gor__arch_in_call();
    gor__arch_call_begin();
    gor__arch_set_self(m);
    gor__au32_store_rlx(&m->tid, (uint32_t)gor__os_tid());
    m->errno_at = __errno_location();
    m->eh_at = __cxa_get_globals ? (void **)__cxa_get_globals() : NULL;
    gor__aptr_store_rlx(&m->g, &m->g0);
    gor__au32_store_rlx(&m->g0.hold, GOR__ON_CPU);
    gor__call_on(m, gor__rt.membarrier ? 0 : GOR__FENCE);
    gor__au64_store_rlx(&m->rng, ((uint64_t)(uintptr_t)m ^ (uint64_t)gor__os_now()) | 1);
    gor__g_set_fiber(&m->g0, gor__san_this_fiber());
    m->alt_stack = gor__os_alt_stack_on(m->alt_stack);
    if (!(gor__rt.opt.flags & GOR_NO_SIGNALS))
        gor__os_unblock(SIGSEGV);                  /* or a fault ends us without a word */
    pthread_sigmask(SIG_SETMASK, NULL, &m->mask);
    gor__san_hand_over(&m->alt_stack);
}

/* g may have been made runnable before its stack was left ([core] I1), or while somebody works on
 * its stack ([tidy], [pack]), or the bytes of that are elsewhere; g0 can afford to wait. */
static void gor__wait_for_stack(gor__g *g)
{
    uint32_t hold;
    for (int i = 0; (hold = gor__au32_load_acq(&g->hold)) & GOR__ON_CPU; i++)
        gor__spin_again(i);
    if (GOR__UNLIKELY(hold & (GOR__CLAIMED | GOR__PACKED)))
        gor__unpack(g);
}

/* Run g until its M comes back to g0. */
GOR__SWITCHES static void gor__execute(gor__m *m, gor__g *g)
{
    gor__p *p = gor__m_p(m);
    gor__m *its = (gor__m *)gor__aptr_load_rlx(&g->locked);
    gor__wait_for_stack(g);
    if (its && its != m) {
        gor__run_locked_elsewhere(m, g);
        return;
    }
    if (gor__au32_load_rlx(&g->hold) & GOR__NO_STACK)
        gor__bind_stack(p, g);
    gor__au64_bump(&p->switches);
    gor__hold_cpu(g);
    gor__switch_to(m, &m->g0, g);
}

static GOR__NOINLINE void gor__execute_traced(gor__m *m, gor__g *g)
{
    gor__turn e;
    gor__turn_begin(&e, m, g);
    gor__aptr_store_rlx(&m->prev, NULL);
    gor__execute(m, g);
    if (gor__aptr_load_rlx(&m->prev) == g)         /* and not others after it */
        gor__turn_end(&e, g);
}

/* What g0 does between goroutines, until the runtime stops or the M is told to leave. */
static void gor__m_loop(gor__m *m)
{
    for (;;) {
        gor__g *g = (gor__g *)gor__aptr_load_rlx(&m->handed);
        gor__g *locked = (gor__g *)gor__aptr_load_rlx(&m->locked_g);
        gor__aptr_store_rlx(&m->handed, NULL);
        if (gor__au32_load_rlx(&m->attention) & GOR__ORPHAN)
            return;
        if (!g && locked) {
            gor__wait_for_locked(m);
            if (gor__au32_load_sc(&gor__rt.stopping) || !gor__m_p(m))
                return;
            g = locked;
        }
        if (!g)
            g = gor__find_work(m);
        if (!g)
            return;
        if (gor__turns_are_noted())
            gor__execute_traced(m, g);
        else
            gor__execute(m, g);
        if (gor__au32_load_rlx(&m->state) == GOR__M_ENDING)
            return;
    }
}

/* The end of a run makes orphans, and asks them all whether they are in a call. */
static gor__au32 gor__orphaning;

/* Take m off the books. The last use of m by its own thread. An orphan's may be gone already; its
 * word, which goes with the thread, is in no call, and stays while it may be asked. */
static void gor__m_end(gor__m *m)
{
    bool orphan = (gor__au32_load_acq(&m->attention) & GOR__ORPHAN) != 0;
    gor__os_alt_stack_off(m->alt_stack);
    gor__arch_set_self(NULL);
    if (orphan) {
        gor__arch_call_end();
        while (gor__au32_load_acq(&gor__orphaning))
            gor__os_yield();
        return;
    }
    gor__lock_sched();
    gor__au32_store_rlx(&m->state, GOR__M_GONE);
    gor__rt.n_m--;
    gor__unlock_sched();
    gor__os_futex_wake(&gor__rt.stopped, 1);
}

static void *gor__m_thread(void *arg)
{
    gor__m *m = (gor__m *)arg;
    if (gor__rt.preempt_signal)
        gor__os_unblock(gor__rt.preempt_signal);
    gor__m_begin(m);
    if (m->next_p)
        gor__p_hold(m, m->next_p);
    m->next_p = NULL;
    gor__m_loop(m);
    if (gor__m_p(m) && !(gor__au32_load_rlx(&m->attention) & GOR__ORPHAN)) {
        /* its goroutine was tied, and ended */
        gor__p_release(m);
        gor__p_left();
    }
    gor__m_end(m);
    return NULL;
}

/* An M whose thread has ended, for another one. */
static gor__m *gor__m_reuse_locked(void)
{
    gor__m *m = gor__rt.all_m, *next;
    void *memory;
    while (m && gor__au32_load_rlx(&m->state) != GOR__M_GONE)
        m = m->all_next;
    if (m) {
        next = m->all_next;
        memory = m->memory;
        gor__san_quiet_begin();
        memset(m, 0, sizeof *m);
        gor__san_quiet_end();
        m->all_next = next;
        m->memory = memory;
    }
    return m;
}

/* An M, on the books. NULL: out of memory, or max_threads. */
static gor__m *gor__m_new(void)
{
    gor__m *m = NULL;
    void *memory;
    bool room;
    gor__lock_sched();
    room = gor__rt.n_m < gor__rt.opt.max_threads && !gor__au32_load_rlx(&gor__rt.stopping);
    gor__rt.n_m += room;
    if (room)
        m = gor__m_reuse_locked();
    gor__unlock_sched();
    if (!room || m)
        return m;
    m = (gor__m *)gor__zalloc_aligned(sizeof *m, &memory);
    gor__lock_sched();
    if (m) {
        m->memory = memory;
        m->all_next = gor__rt.all_m;
        gor__rt.all_m = m;
    } else {
        gor__rt.n_m--;
    }
    gor__unlock_sched();
    return m;
}

/* Start a thread that begins with p. 0, -ENOMEM, -EAGAIN. */
static int gor__m_start(gor__p *p, bool spinning)
{
    gor__m *m = gor__m_new();
    int rc;
    if (!m)
        return -ENOMEM;
    m->next_p = p;
    m->spinning = spinning;
    m->alt_stack = gor__os_alt_stack_new();
    rc = m->alt_stack || !gor__stacks.strict ? gor__os_thread(gor__m_thread, m) : -ENOMEM;
    if (rc != 0) {                                 /* m stays on the list, for the next one */
        gor__os_alt_stack_free(m->alt_stack);
        gor__lock_sched();
        gor__au32_store_rlx(&m->state, GOR__M_GONE);
        gor__rt.n_m--;
        gor__unlock_sched();
    }
    return rc;
}

/* -- stopping ---------------------------------------- */

static void gor__wake_everyone(uint32_t attention)
{
    gor__lock_sched();
    for (gor__m *m = gor__rt.all_m; m; m = m->all_next)
        if (gor__au32_load_rlx(&m->state) != GOR__M_GONE) {
            gor__call_on(m, attention);
            gor__m_wake(m);
        }
    gor__unlock_sched();
    gor__sysmon_hurry();
}

/* Every M leaves at its next look at the queues. */
static void gor__stop_now(void)
{
    gor__au32_store_sc(&gor__rt.stopping, 1);
    gor__lock_sched();
    gor__urgent_update_locked();
    gor__unlock_sched();
    gor__wake_everyone(0);
}

/* -- the border between the user's code and ours ------------------------------------------- */

/* The rare side of an asymmetric fence. Without membarrier each M fences itself: GOR__FENCE. */
static void gor__fence_all(void)
{
    if (gor__rt.membarrier)
        gor__os_membarrier();
    else
        gor__arch_fence();
}

/* [fast] May m's goroutine, which is in a call, take free mutexes by plain stores, and which? Who
 * calls on m, or ends elision, does that first and then ends this; here it is the other way round,
 * with a fence: so one of us sees the other. */
static GOR__NOINLINE void gor__mine_find(gor__m *m)
{
    uint32_t own = gor__au32_load_acq(&gor__shared) ? gor__own_word(m) : 0;
    if (own == GOR__MX_NOBODY)
        return;
    gor__au32_store_rlx(&m->mine, own);
    gor__arch_fence();
    if (gor__au32_load_rlx(&m->attention) || (!own && gor__au32_load_rlx(&gor__shared)))
        gor__mine_end(m);
}

/* At a lock that was not inlined: the next one may be, unless its goroutine has a context. */
GOR__INLINE void gor__mine_begin(gor__m *m)
{
    if (GOR__UNLIKELY(gor__au32_load_rlx(&m->mine) == GOR__MX_NOBODY) && !gor__m_g(m)->ctx &&
        !gor__au32_load_rlx(&m->attention))
        gor__mine_find(m);
}

/* Elision has ended. */
static void gor__mine_end_all(void)
{
    gor__lock_sched();
    for (gor__m *m = gor__rt.all_m; m; m = m->all_next)
        gor__mine_end(m);
    gor__unlock_sched();
}

/* The first † call of a foreign thread ends elision ([spin] I2): wait until the one processor is
 * between two gor calls, or asleep; every lock taken after the fence is a real one. */
static GOR__NOINLINE void gor__go_shared(void)
{
    gor__p *p;
    uint32_t in_call;
    while (gor__au32_load_acq(&gor__settled) == 0) {
        if (!gor__au32_cas(&gor__shared, 0, 1)) {  /* someone else is at it */
            gor__os_yield();
            continue;
        }
        gor__mine_end_all();
        gor__fence_all();
        p = gor__p_at(0);
        while (p && gor__p_holder(p, &in_call) && in_call && !gor__au32_load_acq(&gor__settled))
            gor__os_yield();                       /* settled: the run ends meanwhile */
        gor__au32_store_rel(&gor__settled, 1);
    }
}

/* A foreign thread begins a call, or goes on with one. Not inlined: its signal set would be a part
 * of the frame of every call, on each stack that waits. */
static GOR__NOINLINE void gor__foreign_enter(void)
{
    gor__foreign_in();
    gor__packs_hear();                             /* asked for meanwhile, perhaps */
    if (gor__au32_load_sc(&gor__settled) == 0)     /* sc: no later load comes before foreign_in */
        gor__go_shared();
}

/* What a call that has begun must look at, once sysmon has decided ([retake] R2). Without
 * membarrier each M orders its begin itself. */
static uint32_t gor__asked(gor__m *m)
{
    uint32_t what = gor__au32_load_acq(&m->attention);
    if (what & GOR__FENCE) {
        gor__arch_fence();
        what = gor__au32_load_acq(&m->attention);
    }
    while (what & GOR__RETAKE) {
        gor__os_yield();
        what = gor__au32_load_acq(&m->attention);
    }
    return what;
}

/* Back in a gor call, on m without a P: with one at once, or in turn. [retake] R2 */
GOR__SWITCHES static void gor__p_return(gor__m *m, gor__g *g, gor__p *old)
{
    gor__asked(m);
    gor__au32_and(&m->attention, ~(uint32_t)(GOR__RETAKEN | GOR__ASK));
    if (gor__au32_load_rlx(&m->attention) & GOR__ORPHAN)
        gor__switch_to(m, g, &m->g0);              /* never back */
    gor__au32_store_rel(&g->state, GOR__RUNNABLE);
    if (!gor__p_acquire(m, old)) {
        gor__ready_global(g);
        gor__switch_to(m, g, &m->g0);
    }
    gor__resumed(g);
    gor__au32_add(&gor__rt.n_blocked, (uint32_t)-1);
}

/* Do what was asked of m, which runs a goroutine or, in g0, nothing. Returns where we are then. */
GOR__SWITCHES static gor__m *gor__attend(gor__m *m)
{
    gor__g *g = gor__m_g(m);
    uint32_t what = gor__asked(m);
    if (what & GOR__ORPHAN)
        gor__switch_to(m, g, &m->g0);              /* never back */
    if (g == &m->g0)
        return m;
    gor__au32_store_rlx(&g->why, GOR__WHY_NONE);
    if (what & GOR__RETAKEN) {
        gor__p_return(m, g, NULL);
    } else if ((what & GOR__ASK) || gor__stress_hit(1)) {
        gor__au32_and(&m->attention, ~(uint32_t)GOR__ASK);
        gor__yield();
    }
    return gor__self();
}

/* The first step of a call: from now on nobody takes our P ([retake] R1). The last step. */
#if GOR__TSAN
GOR__INLINE void gor__call_begin(void) { gor__au32_store_rlx(gor__arch_in_call(), 1); }
GOR__INLINE void gor__call_end(void) { gor__au32_store_rel(gor__arch_in_call(), 0); }
#else
GOR__INLINE void gor__call_begin(void) { gor__arch_call_begin(); }
GOR__INLINE void gor__call_end(void) { gor__arch_call_end(); }
#endif

/* Back from the user's code, within a gor call. NULL in the child of a fork. */
GOR__INLINE gor__m *gor__reenter(void)
{
    gor__m *m;
    gor__call_begin();
    m = gor__self();
    if (m && GOR__UNLIKELY(gor__au32_load_rlx(&m->attention) || gor__stress_hit(16)))
        return gor__attend(m);
    return m;
}

/* A foreign thread's call; or one that first does what was asked of m meanwhile. */
GOR__SWITCHES static gor__m *gor__enter_slow(gor__m *m)
{
    if (m != (const void *)&gor__nobody)
        return gor__attend(m);
    gor__call_end();
    gor__foreign_enter();
    return NULL;
}

/* Begin a gor call. The M, or NULL for a foreign thread. */
GOR__INLINE gor__m *gor__enter(void)
{
    gor__m *m;
    gor__call_begin();
    m = (gor__m *)gor__arch_near();
    if (GOR__UNLIKELY(gor__au32_load_rlx(&m->attention) || gor__stress_hit(16)))
        return gor__enter_slow(m);
    if (!m)                                        /* so the caller need not ask */
        __builtin_unreachable();
    return m;
}

/* Begin a call that is short and does not wait; gor__call_end ends it in any case. False: it is a
 * foreign thread's, or something is to be done first: the caller does as if nothing had been. */
GOR__INLINE bool gor__call_quick(gor__m **m)
{
    gor__call_begin();
    *m = (gor__m *)gor__arch_near();
    return GOR__LIKELY(!gor__au32_load_rlx(&(*m)->attention) && !gor__stress_hit(2));
}

/* End it. m is where we are now: gor__self() if the call may have parked. */
GOR__INLINE void gor__leave(gor__m *m)
{
    GOR__COMPILER_BARRIER();
    if (GOR_CHECK)
        gor__check(!m || gor__mine_holds(m), "what is mine is free to take");
    if (GOR__LIKELY(m != NULL))
        gor__call_end();
    else
        gor__foreign_out();
}

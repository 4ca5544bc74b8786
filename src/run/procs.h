/* ==== [procs] how many processors there are ==================================================
 * What        Makes them, and has as many take part as are wanted. Who holds one that is not wanted
 *             any more gives it back himself ([sched]).
 * Invariants  I1 n_asked is what gor_procs was told, n_procs how many are wanted: as many, or one
 *                ([jam]).
 * Locks       gor__rt.lock (SCHED).
 */
static void gor__p_free(gor__p *p)
{
    gor__due_free(p->timers.heap, p->timers.cap);
    gor__free_aligned(p->memory, sizeof *p);
}

/* The word by which P number i owns locks ([owned]). Not without membarrier, nor if it has no room
 * there. */
static uint32_t gor__p_own_word(uint32_t i)
{
    bool can = gor__rt.membarrier && i < GOR__MX_P / GOR__MX_P_ONE;
    return can ? i * GOR__MX_P_ONE + GOR__MX_RUN : GOR__MX_NOBODY;
}

/* Make P number i. */
static gor__p *gor__p_new(int i)
{
    void *memory;
    gor__p *p = (gor__p *)gor__zalloc_aligned(sizeof *p, &memory);
    if (!p)
        return NULL;
    p->memory = memory;
    if (gor__timers_init(&p->timers) != 0) {
        gor__free_aligned(memory, sizeof *p);
        return NULL;
    }
    p->id = i;
    p->seen_ns = gor__os_now();
    gor__au32_store_rlx(&p->own, gor__p_own_word((uint32_t)i));
    gor__aptr_store_rlx(&p->dead, &p->crate[0]);
    gor__aptr_store_rlx(&p->spare, &p->crate[1]);
    gor__au32_store_rlx(&p->high_tick, (uint32_t)-2);   /* no turn yet */
    gor__au32_store_rlx(&p->way_after, GOR__WAY_SOON);
    return p;
}

/* Set the number of processors; they exist or come to be. Under the scheduler's lock, which is
 * let go to allocate. 0 or -ENOMEM. */
static int gor__procs_set(int n)
{
    while ((int)gor__au32_load_rlx(&gor__rt.n_allp) < n) {
        int i = (int)gor__au32_load_rlx(&gor__rt.n_allp);
        gor__p *p;
        gor__unlock_sched();
        p = gor__p_new(i);
        gor__lock_sched();
        if (!p)
            return -ENOMEM;
        if ((int)gor__au32_load_rlx(&gor__rt.n_allp) != i) {   /* someone else was quicker */
            gor__unlock_sched();
            gor__p_free(p);
            gor__lock_sched();
            continue;
        }
        gor__aptr_store_rel(&gor__rt.allp[i], p);
        gor__au32_store_rlx(&p->retire, 1);
        gor__au32_store_rel(&gor__rt.n_allp, (uint32_t)i + 1);
    }
    gor__au32_store_sc(&gor__rt.n_procs, (uint32_t)n);
    for (uint32_t i = 0; i < gor__au32_load_rlx(&gor__rt.n_allp); i++) {
        gor__p *p = gor__p_at(i);
        bool wanted = (int)i < n, retired = gor__au32_load_rlx(&p->retire) != 0;
        gor__au32_store_rlx(&p->retire, !wanted);
        if (wanted && retired && !gor__aptr_load_rlx(&p->m) && !p->idle)
            gor__p_idle_push_locked(p);
    }
    return 0;
}

/* The same, and it is what gor_procs says from now on. */
static int gor__procs_ask(int n)
{
    int rc = gor__procs_set(n);
    if (rc == 0)
        gor__au32_store_rlx(&gor__rt.n_asked, (uint32_t)n);
    return rc;
}

/* Those that are not wanted any more and idle; who holds one gives it back himself. */
static void gor__procs_retire_idle(void)
{
    uint32_t n = gor__au32_load_acq(&gor__rt.n_allp);
    for (uint32_t i = 0; i < n; i++) {
        gor__p *p = gor__p_at(i);
        gor__lock_idle_p();
        p = gor__au32_load_rlx(&p->retire) && p->idle ? gor__p_idle_pop_locked(p) : NULL;
        gor__unlock_sched();
        if (p)
            gor__p_retire(p);
    }
}

int gor_procs(int n)
{
    gor__m *m = gor__enter();
    int old = -ESRCH;
    if (gor__is_on()) {
        gor__lock_sched();
        old = (int)gor__au32_load_rlx(&gor__rt.n_asked);
        if (n > 1 && gor__au32_load_rlx(&gor__shared) == 0) {
            gor__share();                          /* we hold the only P, and no elided lock */
            gor__mine_end(m);
        }
        if (n > 0)
            gor__procs_ask(n > GOR__MAX_PROCS ? GOR__MAX_PROCS : n);
        gor__unlock_sched();
        gor__procs_retire_idle();
        gor__submitted();
    }
    gor__leave(m);
    return old;
}

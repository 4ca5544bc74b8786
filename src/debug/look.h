/* ==== [look] dump, leaks, stats, and the proof of the invariants ========================== */
void gor_dump(int fd)
{
    gor__out o;
    gor__packs_hear();
    gor__out_init(&o, fd);
    gor__each_g(gor__print_g, &o);
    gor__out_flush(&o);
}

int gor_leaks(int fd)
{
    gor__out o;
    int n = gor__each_g(NULL, NULL);
    gor__packs_hear();
    gor__out_init(&o, fd);
    if (n > 0) {
        gor__print(&o, "gor: %d goroutine%s left\n", n, n == 1 ? "" : "s");
        gor__each_g(gor__print_g, &o);
    }
    gor__out_flush(&o);
    return n;
}

size_t gor_num_goroutines(void)
{
    gor__m *m = gor__enter();
    size_t n = gor__is_on() ? gor__n_goroutines() : 0;
    gor__leave(m);
    return n;
}

static void gor__stats_of_p(gor_stats *s, gor__p *p)
{
    s->timers += gor__timers_n(&p->timers);
    s->started += gor__au64_load_rlx(&p->started);
    s->switches += gor__au64_load_rlx(&p->switches) + gor__au32_load_rlx(&p->tick);
    s->steals += gor__au64_load_rlx(&p->steals);
    s->preempted += gor__au64_load_rlx(&p->preempted);
    s->stacks_cached += gor__au32_load_rlx(&p->n_stacks);
}

static void gor__stats_of_all(gor_stats *s)
{
    s->goroutines = gor__n_goroutines();
    s->started = gor__au64_load_rlx(&gor__rt.outside_started);
    s->retaken = gor__au64_load_rlx(&gor__rt.retaken);
    for (uint32_t i = 0; i < gor__au32_load_acq(&gor__rt.n_allp); i++)
        gor__stats_of_p(s, gor__p_at(i));
    for (int k = 0; k < GOR__STACK_CLASSES; k++)
        s->stacks_cached += gor__au64_load_rlx(&gor__stacks.cls[k].n_free) +
                            gor__au64_load_rlx(&gor__stacks.cls[k].n_cold);
    s->stack_bytes = gor__stacks_resident();
    s->packed = gor__au64_load_rlx(&gor__packs.n);
    gor__lock_sched();
    s->threads = (size_t)gor__rt.n_m;
    s->idle_threads = gor__au32_load_rlx(&gor__rt.n_idle_m);
    for (gor__gslab *slab = gor__rt.slabs; slab; slab = slab->next)
        for (size_t i = 0; i < sizeof slab->g / sizeof slab->g[0]; i++)
            s->stacks += gor__aptr_load_rlx(&slab->g[i].stack) != NULL;
    s->procs = (int)gor__au32_load_rlx(&gor__rt.n_asked);
    s->idle_procs = (int)gor__au32_load_rlx(&gor__rt.n_idle_p);
    gor__unlock_sched();
    s->heap_bytes = gor__au64_load_rlx(&gor__heap_bytes);
}

int gor__get_stats(gor_stats *s)
{
    gor__m *m = gor__enter();
    bool on = gor__is_on();
    memset(s, 0, sizeof *s);
    if (on)
        gor__stats_of_all(s);
    gor__leave(m);
    return on ? 0 : -ESRCH;
}

/* Goroutines that wait, for tests. */
GOR__UNUSED static int gor__n_parked(void)
{
    int n = 0;
    gor__lock_sched();
    for (const gor__gslab *s = gor__rt.slabs; s; s = s->next)
        for (size_t i = 0; i < sizeof s->g / sizeof s->g[0]; i++)
            n += gor__au32_load_rlx(&s->g[i].state) == GOR__WAITING &&
                 !(gor__au32_load_acq(&s->g[i].hold) & GOR__ON_CPU);
    gor__unlock_sched();
    return n;
}

/* Walk everything and prove the invariants that hold at any moment. 0, or the number of the first
 * that does not, said on stderr. */
GOR__UNUSED static int gor__check_timers(gor__timers *h)
{
    const gor__timer_entry *first;
    uint32_t gaps = 0;
    int bad = 0;
    gor__timers_lock(h);
    for (uint32_t i = 0; i < h->n && !bad; i++) {
        const gor_timer *t = h->heap[i].timer;
        if (t->index != i || t->when != h->heap[i].when || gor__aptr_load_rlx(&t->owner) != h)
            bad = 1;                               /* [due] D1; [timer] I1 */
        else if (i && h->heap[(i - 1) / GOR__HEAP_ARITY].when > h->heap[i].when)
            bad = 2;                               /* [due] D1 */
    }
    for (uint32_t at = h->head; at != h->tail && !bad; at++) {
        const gor__timer_entry *e = gor__line_at(h, at);
        gaps += !e->timer;
        if (e->timer && (e->timer->index != (at | GOR__IN_LINE) || e->timer->when != e->when ||
                         gor__aptr_load_rlx(&e->timer->owner) != h))
            bad = 1;                               /* [due] D2; [timer] I1 */
        else if (at == h->head ? !e->timer : gor__line_at(h, at - 1)->when > e->when)
            bad = 2;                               /* [due] D2 */
    }
    first = gor__due_first(h);
    if (!bad && (gor__ai64_load_rlx(&h->first) != (first ? first->when : GOR_FOREVER) ||
                 gaps != h->gaps || h->n + gor__line_n(h) > h->cap ||
                 h->full != h->head + h->cap - h->n))
        bad = 3;                                   /* [timer] I2; [due] D3 */
    gor__timers_unlock(h);
    return bad;
}

GOR__UNUSED static int gor__check_queue_locked(const gor__gqueue *q)
{
    uint32_t n = 0;
    for (const gor__g *g = q->head; g; g = (const gor__g *)gor__aptr_load_rlx(&g->link), n++)
        if (gor__au32_load_rlx(&g->state) != GOR__RUNNABLE)
            return 4;                              /* queued: runnable */
    return n == gor__au32_load_rlx(&q->n) ? 0 : 5;
}

GOR__UNUSED static int gor__check_global_locked(const gor__gring *r)
{
    if (gor__rt.n_slabs * GOR__SLAB_CAP > r->cap)
        return 14;                                 /* there is room for all */
    for (uint32_t at = r->head; at != r->tail; at++)
        if (gor__au32_load_rlx(&r->slot[at & (r->cap - 1)]->state) != GOR__RUNNABLE)
            return 4;                              /* queued: runnable */
    return r->tail - r->head == gor__au32_load_rlx(&r->n) && r->tail - r->head <= r->cap ? 0 : 5;
}

GOR__UNUSED static int gor__check_fresh_locked(const gor__gstack *s)
{
    const gor__crate *newer = NULL;
    uint32_t n = 0;
    for (const gor__crate *c = s->newest; c; newer = c, c = c->older) {
        if (c->newer != newer || gor__crate_n(c) == 0)
            return 10;
        for (uint32_t i = 0; i < gor__crate_n(c); i++, n++) {
            const gor__g *g = gor__crate_at(c, i);
            if (gor__au32_load_rlx(&g->state) != GOR__RUNNABLE ||
                !(gor__au32_load_rlx(&g->hold) & GOR__NO_STACK))
                return 10;                         /* [ready] I4 */
        }
    }
    return s->oldest == newer && n == s->count && n == gor__au32_load_rlx(&s->n) ? 0 : 11;
}

/* No crate is lost; in those of dead Gs there are only such. */
GOR__UNUSED static int gor__check_crates_locked(void)
{
    size_t n = 0, all = 0;
    for (const gor__gslab *s = gor__rt.slabs; s; s = s->next)
        all += sizeof s->crate / sizeof s->crate[0];
    for (const gor__crate *c = gor__rt.fresh.newest; c; c = c->older)
        n++;
    for (const gor__crate *c = gor__rt.empty; c; c = c->older, n++)
        if (gor__crate_n(c) != 0)
            return 12;
    for (const gor__crate *c = gor__rt.full; c; c = c->older, n++) {
        if (gor__crate_n(c) == 0)
            return 12;
        for (uint32_t i = 0; i < gor__crate_n(c); i++)
            if (gor__au32_load_rlx(&gor__crate_at(c, i)->state) != GOR__DEAD)
                return 13;
    }
    return n == all ? 0 : 12;
}

GOR__UNUSED static int gor__check_lists_locked(void)
{
    uint32_t idle_p = 0, idle_m = 0;
    int bad = gor__check_global_locked(&gor__rt.global);
    bad = bad ? bad : gor__check_fresh_locked(&gor__rt.fresh);
    bad = bad ? bad : gor__check_crates_locked();
    bad = bad ? bad : gor__check_queue_locked(&gor__rt.high);
    bad = bad ? bad : gor__check_queue_locked(&gor__rt.low);
    for (gor__p *p = gor__rt.idle_p; p; p = p->idle_next, idle_p++)
        if (!p->idle || gor__aptr_load_rlx(&p->m))
            bad = 6;
    for (gor__m *m = gor__rt.idle_m; m; m = m->idle_next)
        idle_m++;
    if (idle_p != gor__au32_load_rlx(&gor__rt.n_idle_p) ||
        idle_m != gor__au32_load_rlx(&gor__rt.n_idle_m))
        bad = 7;
    for (uint32_t i = 0; i < gor__au32_load_rlx(&gor__rt.n_allp); i++) {
        gor__runq *q = &gor__p_at(i)->runq;
        uint32_t head = gor__au32_load_acq(&q->head), tail = gor__au32_load_acq(&q->tail);
        if ((int32_t)(tail - head) > GOR__RUNQ_CAP)
            bad = 8;                               /* [runq] I1 */
    }
    return bad;
}

GOR__UNUSED static int gor__check_promises(void)
{
    int bad = 0;
    gor__lock_stacks();
    for (int k = 0; k < GOR__STACK_CLASSES; k++)
        if (gor__stacks.cls[k].n_promised > gor__stacks.cls[k].n_all)
            bad = 9;                               /* [stack] I3 */
    gor__unlock_stacks();
    return bad;
}

GOR__UNUSED static int gor__check_world(void)
{
    int bad;
    gor__m *m = gor__enter();
    gor__lock_sched();
    bad = gor__check_lists_locked();
    gor__unlock_sched();
    for (uint32_t i = 0; !bad && i < gor__au32_load_acq(&gor__rt.n_allp); i++)
        bad = gor__check_timers(&gor__p_at(i)->timers);
    bad = bad ? bad : gor__check_promises();
    gor__leave(m);
    if (bad)
        fprintf(stderr, "gor: invariant %d does not hold\n", bad);
    return bad;
}

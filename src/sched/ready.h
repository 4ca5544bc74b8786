/* ==== [ready] making goroutines runnable, and their memory ======================================
 * What        gor__ready puts a G where it will be run; gor__g_get and gor__recycle keep Gs and
 *             warm stacks per P, so that spawning and ending touch nothing shared.
 * Invariants  I1 The caller of gor__ready owns the G: it made it, or claimed its wait.
 *             I2 A woken or new G runs next on this P; one that yields goes to the end.
 *             I3 Locked, high and low priority Gs go through queues under the scheduler's lock;
 *                gor__rt.urgent tells every P that there are some.
 *             I4 What a full ring spills goes to the global queue, first in, first out; but those
 *                that have not begun to a stack, last in, first out, as long as there are crates
 *                for it. So a tree of goroutines, each of which starts some and waits for them, is
 *                walked in depth: what is alive at once is a path and its siblings, not a level.
 *                The stack's oldest go to the global queue too, 128 each quantum: each has its turn
 *                however many newer ones there are.
 * Source      In depth by the owner: Blumofe and Leiserson, "Scheduling Multithreaded Computations
 *             by Work Stealing" (1999), which bounds the space.
 * Tests       tests/order.c
 */
static void gor__urgent_update_locked(void)
{
    uint32_t urgent = gor__rt.high.head || gor__rt.low.head ||
                      gor__au32_load_rlx(&gor__rt.poll_due) ||
                      gor__au32_load_rlx(&gor__rt.tracing) || gor__au32_load_rlx(&gor__rt.stopping);
    if (urgent != gor__au32_load_rlx(&gor__rt.urgent))         /* all read its line */
        gor__au32_store_rlx(&gor__rt.urgent, urgent);
}

static void gor__global_push_locked(gor__g *g)
{
    gor__gr_add(&gor__rt.global, g);
    gor__gr_tell(&gor__rt.global);
}

/* To the queue of its priority. The first of low priority starts its clock. */
static void gor__queue_push_locked(gor__g *g)
{
    uint32_t traits = gor__au32_load_rlx(&g->traits);
    if (!(traits & (GOR__TRAIT_HIGH | GOR__TRAIT_LOW))) {
        gor__global_push_locked(g);
        return;
    }
    if ((traits & GOR__TRAIT_LOW) && !gor__rt.low.head)
        gor__ai64_store_rlx(&gor__rt.low_since, gor__os_now());
    gor__gq_push(traits & GOR__TRAIT_LOW ? &gor__rt.low : &gor__rt.high, g);
    gor__urgent_update_locked();
}

static void gor__push_global(gor__g *g)
{
    gor__lock_sched();
    gor__queue_push_locked(g);
    gor__unlock_sched();
}

static GOR__NOINLINE void gor__ready_global(gor__g *g)
{
    gor__push_global(g);
    gor__submitted();
}

/* I4 */
static void gor__spill_locked(gor__g *g)
{
    bool fresh = (gor__au32_load_rlx(&g->hold) & GOR__NO_STACK) != 0;
    if (!fresh || !gor__gs_add(&gor__rt.fresh, g))
        gor__gr_add(&gor__rt.global, g);
}

/* The ring is full: half of it and g go where every P looks. */
static GOR__NOINLINE void gor__runq_spill(gor__p *p, gor__g *g)
{
    uint32_t n, from = gor__runq_take_half(&p->runq, &n);
    gor__lock_sched();
    for (uint32_t i = 0; i < n; i++)
        gor__spill_locked(gor__runq_at(&p->runq, from + i));
    gor__spill_locked(g);
    gor__gr_tell(&gor__rt.global);
    gor__gs_tell(&gor__rt.fresh);
    gor__unlock_sched();
}

GOR__INLINE void gor__runq_append(gor__p *p, gor__g *g)
{
    if (GOR__UNLIKELY(!gor__runq_push(&p->runq, g)))
        gor__runq_spill(p, g);
}

GOR__INLINE bool gor__is_ordinary(gor__g *g)
{
    return (gor__au32_load_rlx(&g->traits) & GOR__TRAIT_SPECIAL) == 0;
}

/* From here on it waits for a P: since when, for reports; then its state, which publishes. */
GOR__INLINE void gor__set_runnable(gor__g *g)
{
    gor__ai64_store_rlx(&g->since, gor__ai64_load_rlx(&gor__rt.coarse_ns));
    gor__au32_store_rel(&g->state, GOR__RUNNABLE); /* rel g.state: what its waker did before   */
}

/* g is runnable from here on. Returns the P whose ring it belongs in; NULL: it is in a queue for
 * all, because this thread has no P (m may be NULL), or because of what it is (I3). */
GOR__INLINE gor__p *gor__ready_where(gor__m *m, gor__g *g)
{
    gor__p *p = gor__p_of(m);
    gor__set_runnable(g);
    if (GOR__LIKELY(p && gor__is_ordinary(g)))
        return p;
    gor__ready_global(g);
    return NULL;
}

/* Make g, whose wait the caller has claimed, runnable: the last one of m's ring. */
GOR__INLINE void gor__ready_last(gor__m *m, gor__g *g)
{
    gor__p *p = gor__ready_where(m, g);
    if (GOR__UNLIKELY(!p))
        return;
    gor__runq_append(p, g);
    gor__submitted();
}

/* g runs next on p, and who was to goes to the end of the ring. There are other Ps. */
GOR__INLINE void gor__ready_next_shared(gor__p *p, gor__g *g)
{
    bool vain = gor__waking_is_vain(), own = vain || gor__stress_hit(2);       /* [idle] I7 */
    if (GOR__UNLIKELY(own != (gor__au32_load_rlx(&p->runq.next_owned) != 0)))
        gor__runq_own_next(&p->runq, own);
    g = gor__runq_swap_next_shared(&p->runq, g);
    if (g)
        gor__runq_append(p, g);
    else if (vain)
        return;
    gor__submitted_by(!g && !own);
}

/* Like gor__ready_last, but g runs next. */
GOR__INLINE void gor__ready_next(gor__m *m, gor__g *g)
{
    gor__p *p = gor__ready_where(m, g);
    if (GOR__UNLIKELY(!p))
        return;
    if (gor__au32_load_rlx(&gor__shared)) {
        gor__ready_next_shared(p, g);
        return;
    }                                              /* else nobody is to be told: [idle] I3 */
    g = gor__runq_swap_next_alone(&p->runq, g);
    if (g)
        gor__runq_append(p, g);
}

enum gor__after { GOR__PICKS_NEXT, GOR__RUNS_ANOTHER };

/* Make Gs that the poller has claimed, linked by link, runnable, in order. A single one in m's own
 * ring needs no other M, if m picks from the ring next. */
static void gor__ready_all(gor__m *m, gor__g *list, enum gor__after after)
{
    gor__p *p = gor__p_of(m);
    bool tell = list && (!p || after == GOR__RUNS_ANOTHER || gor__aptr_load_rlx(&list->link));
    while (list) {
        gor__g *g = list;
        list = (gor__g *)gor__aptr_load_rlx(&g->link);
        gor__set_runnable(g);
        if (p && gor__is_ordinary(g)) {
            gor__runq_append(p, g);
        } else {
            tell = true;
            gor__push_global(g);
        }
    }
    if (tell)
        gor__submitted();
}

/* Make g, whose wait the caller has claimed, runnable. Any thread. */
GOR__INLINE void gor__ready(gor__g *g) { gor__ready_next(gor__self(), g); }

/* -- a fiber each, for ThreadSanitizer ----------------------------------------------------- */
#if GOR__TSAN
static gor__au32 gor__n_fibers;
#define GOR__MAX_FIBERS 7800                   /* ThreadSanitizer has room for 8128 threads */
static bool gor__fiber_begin(gor__g *g)
{
    if (gor__au32_count(&gor__n_fibers, 1) >= GOR__MAX_FIBERS) {
        gor__au32_count(&gor__n_fibers, (uint32_t)-1);
        return false;
    }
    g->fiber = gor__san_fiber();
    return true;
}
GOR__NO_TSAN static void gor__fiber_end(gor__g *g)
{
    if (!g->fiber)
        return;
    gor__san_fiber_free(g->fiber);
    g->fiber = NULL;
    gor__au32_count(&gor__n_fibers, (uint32_t)-1);
}
#else
GOR__INLINE bool gor__fiber_begin(gor__g *g) { (void)g; return true; }
GOR__INLINE void gor__fiber_end(gor__g *g) { (void)g; }
#endif

/* -- memory of goroutines ------------------------------------------------------------------ */

static void gor__g_push(gor__g **list, gor__g *g)
{
    gor__aptr_store_rlx(&g->link, *list);
    *list = g;
}

static gor__g *gor__g_pop(gor__g **list)
{
    gor__g *g = *list;
    if (g)
        *list = (gor__g *)gor__aptr_load_rlx(&g->link);
    return g;
}

/* Move up to n Gs from one list to another. Returns how many. */
static uint32_t gor__g_move(gor__g **from, gor__g **to, uint32_t n)
{
    uint32_t moved = 0;
    for (; moved < n && *from; moved++)
        gor__g_push(to, gor__g_pop(from));
    return moved;
}

/* Into c, until it is full or the list empty. */
static void gor__crate_fill(gor__crate *c, gor__g **list)
{
    while (gor__crate_n(c) < GOR__CRATE_CAP && *list)
        gor__crate_put(c, gor__g_pop(list));
}

/* Take room in the global queue for the Gs of one more slab: all may come to be in it. False: there
 * is none, in *cap. */
static bool gor__global_try_reserve(uint32_t *cap)
{
    bool has;
    gor__lock_sched();
    *cap = gor__rt.global.cap;
    has = (gor__rt.n_slabs + 1) * GOR__SLAB_CAP <= *cap;
    gor__rt.n_slabs += has;
    gor__unlock_sched();
    return has;
}

/* The same, with more memory if need be, which is made and freed outside of the lock: allocators
 * may block. False: out of memory. */
static bool gor__global_reserve(void)
{
    uint32_t cap;
    while (!gor__global_try_reserve(&cap)) {
        gor__g **slot;
        uint32_t to_copy = gor__au32_load_rlx(&gor__rt.global.n);
        if (to_copy > cap)                         /* others have made room, and used it */
            to_copy = cap;
        cap = cap ? 2 * cap : GOR__SLAB_CAP;
        slot = (gor__g **)gor__alloc(cap * sizeof *slot);
        if (!slot)
            return false;
        memset(slot, 0, to_copy * sizeof *slot);   /* touched first here, and not under the lock */
        gor__lock_sched();
        if (cap > gor__rt.global.cap)
            slot = gor__gr_renew(&gor__rt.global, slot, &cap);
        gor__unlock_sched();
        gor__free(slot, cap * sizeof *slot);
    }
    return true;
}

/* The Gs of a new slab, linked; *n of them. NULL: out of memory. */
static gor__g *gor__g_slab(uint32_t *n)
{
    gor__gslab *s = (gor__gslab *)gor__zalloc(sizeof *s);
    gor__g *list = NULL;
    if (s && !gor__global_reserve()) {
        gor__free(s, sizeof *s);
        s = NULL;
    }
    *n = s ? GOR__SLAB_CAP : 0;
    for (uint32_t i = 0; i < *n; i++) {
        gor__au32_store_rlx(&s->g[i].state, GOR__DEAD);
        gor__g_push(&list, &s->g[i]);
    }
    if (s) {
        gor__lock_sched();
        s->next = gor__rt.slabs;
        gor__rt.slabs = s;
        for (size_t i = 0; i < sizeof s->crate / sizeof s->crate[0]; i++)
            gor__crate_push(&gor__rt.empty, &s->crate[i]);
        gor__unlock_sched();
    }
    return list;
}

/* Dead Gs, linked, into crates as long as they fill them. */
static void gor__crates_fill_locked(gor__g **list, uint32_t n)
{
    for (; n >= GOR__CRATE_CAP && gor__rt.empty; n -= GOR__CRATE_CAP) {
        gor__crate *c = gor__crate_pop(&gor__rt.empty);
        gor__crate_fill(c, list);
        gor__crate_push(&gor__rt.full, c);
    }
    gor__g_move(list, &gor__rt.gfree, n);
}

/* More Gs, each with the promise of a stack ([stack] I3). Those for which there is none stay bare.
 * False: out of memory or address space. */
static bool gor__g_more(void)
{
    gor__g *list = NULL;
    uint32_t n, promised;
    gor__lock_sched();
    n = gor__g_move(&gor__rt.gbare, &list, GOR__CACHE_CAP);
    gor__unlock_sched();
    if (!list)
        list = gor__g_slab(&n);
    promised = n ? (uint32_t)gor__stack_promise(gor__rt.stack_class, n) : 0;
    gor__lock_sched();
    gor__crates_fill_locked(&list, promised);
    gor__g_move(&list, &gor__rt.gbare, n);
    if (promised)
        gor__au32_store_rlx(&gor__rt.g_cap, GOR__CACHE_CAP);
    gor__unlock_sched();
    return promised > 0;
}

static void gor__g_give_back(gor__g *g)
{
    gor__lock_sched();
    gor__g_push(&gor__rt.gfree, g);
    gor__unlock_sched();
}

GOR__INLINE gor__crate *gor__p_dead(gor__p *p)
{
    return (gor__crate *)gor__aptr_load_rlx(&p->dead);
}

/* The other crate is p's first now. */
static gor__crate *gor__p_swap_crates(gor__p *p)
{
    gor__crate *c = (gor__crate *)gor__aptr_load_rlx(&p->spare);
    gor__aptr_store_rlx(&p->spare, gor__p_dead(p));
    gor__aptr_store_rlx(&p->dead, c);
    return c;
}

/* The dead Gs that p, which the caller runs on, or nobody does, keeps go to the global list. */
static void gor__p_drop_gs_locked(gor__p *p)
{
    for (int i = 0; i < 2; i++) {
        gor__crate *c = gor__p_swap_crates(p);
        while (gor__crate_n(c))
            gor__g_push(&gor__rt.gfree, gor__crate_take(c));
    }
}

/* No more can be made: from now on dead Gs are left where every processor finds them, and those
 * that idle processors keep come there at once. False: there were none. */
static bool gor__g_collect(void)
{
    bool found;
    gor__lock_sched();
    gor__au32_store_rlx(&gor__rt.g_cap, 0);
    for (gor__p *p = gor__rt.idle_p; p; p = p->idle_next)
        gor__p_drop_gs_locked(p);
    found = gor__rt.gfree || gor__rt.full;
    gor__unlock_sched();
    return found;
}

/* A single one from where all look, or NULL. */
static gor__g *gor__g_single_locked(void)
{
    gor__g *g = gor__g_pop(&gor__rt.gfree);
    gor__crate *c = gor__rt.full;
    if (!g && c) {
        g = gor__crate_take(c);
        if (gor__crate_n(c) == 0)
            gor__crate_push(&gor__rt.empty, gor__crate_pop(&gor__rt.full));
    }
    return g;
}

/* What a start writes of those that come next; another processor has written it last. */
static void gor__crate_fetch(const gor__crate *c)
{
    for (uint32_t i = gor__crate_n(c); i-- > 0;) {
        const gor__g *g = gor__crate_at(c, i);
        __builtin_prefetch(g, 1);
        __builtin_prefetch(&g->fn, 1);
    }
}

/* A full one instead of p's first crate, c, which is empty; or what is in no crate into c. */
static gor__crate *gor__crate_change_locked(gor__p *p, gor__crate *c)
{
    if (gor__rt.full) {
        gor__crate_push(&gor__rt.empty, c);
        c = gor__crate_pop(&gor__rt.full);
        gor__aptr_store_rlx(&p->dead, c);
    } else {
        gor__crate_fill(c, &gor__rt.gfree);
    }
    return c;
}

/* From p's other crate, from where all look, or NULL. p NULL: a foreign thread. */
static gor__g *gor__g_find(gor__p *p)
{
    gor__crate *c = p ? gor__p_swap_crates(p) : NULL;
    gor__g *g;
    if (c && gor__crate_n(c))
        return gor__crate_take(c);
    gor__lock_sched();
    if (c && gor__au32_load_rlx(&gor__rt.g_cap)) {
        c = gor__crate_change_locked(p, c);
        g = gor__crate_n(c) ? gor__crate_take(c) : NULL;
    } else {
        g = gor__g_single_locked();
    }
    gor__unlock_sched();
    if (c)
        gor__crate_fetch(c);
    return g;
}

static GOR__NOINLINE gor__g *gor__g_get_slow(gor__p *p)
{
    gor__g *g;
    if (p && gor__au32_load_rlx(&gor__rt.g_cap) == 0 &&
        gor__au64_load_rlx(&p->started) % 1024 == 0)
        gor__g_more();                             /* there may be room again */
    while ((g = gor__g_find(p)) == NULL)
        if (!gor__g_more() && !gor__g_collect())
            return NULL;
    return g;
}

/* A dead G for a new goroutine; NULL: out of memory. p NULL: from a foreign thread. */
GOR__INLINE gor__g *gor__g_get(gor__p *p)
{
    gor__crate *c = p ? gor__p_dead(p) : NULL;
    gor__g *g = GOR__LIKELY(c && gor__crate_n(c)) ? gor__crate_take(c) : gor__g_get_slow(p);
    if (g)
        gor__san_take_over(g);
    return g;
}

/* p's first crate, c, goes to where all look. An empty one instead, or NULL: there is none. */
static gor__crate *gor__p_send_off(gor__p *p, gor__crate *c)
{
    gor__crate *other;
    gor__lock_sched();
    other = gor__crate_pop(&gor__rt.empty);
    if (other) {
        gor__crate_push(&gor__rt.full, c);
        gor__aptr_store_rlx(&p->dead, other);
    }
    gor__unlock_sched();
    return other;
}

/* p's crate is full, or it may keep none. */
static GOR__NOINLINE void gor__g_put_slow(gor__p *p, gor__g *g)
{
    gor__crate *c;
    if (gor__au32_load_rlx(&gor__rt.g_cap) == 0) {
        gor__lock_sched();
        gor__g_push(&gor__rt.gfree, g);
        gor__p_drop_gs_locked(p);
        gor__unlock_sched();
        return;
    }
    c = gor__p_swap_crates(p);
    if (gor__crate_n(c) == GOR__CRATE_CAP)
        c = gor__p_send_off(p, c);
    if (c)
        gor__crate_put(c, g);
    else
        gor__g_give_back(g);
}

GOR__INLINE void gor__g_put(gor__p *p, gor__g *g)
{
    gor__crate *c = gor__p_dead(p);
    if (GOR__UNLIKELY(gor__crate_n(c) == GOR__CRATE_CAP ||
                      gor__au32_load_rlx(&gor__rt.g_cap) == 0))
        gor__g_put_slow(p, g);
    else
        gor__crate_put(c, g);
}

/* -- stacks: the P's warm ones first ------------------------------------------------------- */

#define GOR__STACKS_FEW 8              /* that a P keeps at first, and may always keep         */

/* Half of what p may keep comes from the list, and is there when the next ones are wanted. The
 * stack for now. */
static GOR__NOINLINE char *gor__stack_take_slow(gor__p *p, int k)
{
    uint32_t n = 0, most = gor__au32_load_rlx(&p->stacks_cap) / 2;
    char *lo = NULL;
    if (k != gor__rt.stack_class || GOR__STACK_QUARANTINE > 0)
        return gor__stack_get(k);
    gor__lock_stacks();
    while (n < most &&
           (lo = gor__stack_pop_locked(&gor__stacks.cls[k], GOR__MIN_STACK_SIZE << k)) != NULL)
        gor__aptr_store_rlx(&p->stacks[n++], lo);
    gor__unlock_stacks();
    if (n == 0)
        return gor__stack_get(k);
    gor__au32_store_rlx(&p->n_stacks, n - 1);
    return (char *)gor__aptr_load_rlx(&p->stacks[n - 1]);
}

static char *gor__stack_take(gor__p *p, int k)
{
    uint32_t n = gor__au32_load_rlx(&p->n_stacks), at;
    char *lo;
    if (k != gor__rt.stack_class || n <= GOR__STACK_QUARANTINE)
        return gor__stack_take_slow(p, k);
    at = GOR__STACK_QUARANTINE ? 0 : n - 1;        /* the warmest, or the longest rested */
    lo = (char *)gor__aptr_load_rlx(&p->stacks[at]);
    for (; at + 1 < n; at++)
        gor__aptr_store_rlx(&p->stacks[at], gor__aptr_load_rlx(&p->stacks[at + 1]));
    gor__au32_store_rlx(&p->n_stacks, n - 1);
    return lo;
}

/* How many stacks a P may keep: nobody looks how deep they are used ([stack] I2), so all Ps
 * together no more than a list that is not long, or a few each; but what it was once promised it
 * may keep, when gor_procs makes more of them. */
static uint32_t gor__stacks_kept(void)
{
    uint32_t n = GOR__STACK_WARM / gor__au32_load_rlx(&gor__rt.n_asked);
    uint32_t least = GOR__STACK_QUARANTINE + GOR__STACKS_FEW;
    return n < least ? least : n > GOR__CACHE_CAP ? GOR__CACHE_CAP : n;
}

/* May the P keep more stacks? Each needs a promise ([stack] I3). */
static bool gor__stack_keep_more(gor__p *p)
{
    uint32_t cap = gor__au32_load_rlx(&p->stacks_cap), most = gor__stacks_kept();
    if (cap >= most || gor__au32_load_rlx(&gor__stacks.exhausted))
        return false;
    cap += (uint32_t)gor__stack_promise(gor__rt.stack_class, cap ? most - cap : GOR__STACKS_FEW);
    if (cap == gor__au32_load_rlx(&p->stacks_cap))
        return false;
    gor__au32_store_rlx(&p->stacks_cap, cap);
    return true;
}

/* Half of what p keeps, the coldest, go to the list. False: too few to do so, or they rest. */
static bool gor__stack_spill(gor__p *p)
{
    int k = gor__rt.stack_class;
    uint32_t n = gor__au32_load_rlx(&p->n_stacks), half = n / 2, nth;
    if (half == 0 || GOR__STACK_QUARANTINE > 0)
        return false;
    nth = gor__au32_count(&gor__stacks.cls[k].n_put, half);
    for (uint32_t i = 0; i < half; i++)
        gor__stack_trim((char *)gor__aptr_load_rlx(&p->stacks[i]), k, nth + i);
    gor__lock_stacks();
    for (uint32_t i = 0; i < half; i++)
        gor__stack_push_locked(&gor__stacks.cls[k], GOR__MIN_STACK_SIZE << k,
                               (char *)gor__aptr_load_rlx(&p->stacks[i]));
    gor__unlock_stacks();
    for (uint32_t i = half; i < n; i++)
        gor__aptr_store_rlx(&p->stacks[i - half], gor__aptr_load_rlx(&p->stacks[i]));
    gor__au32_store_rlx(&p->n_stacks, n - half);
    return true;
}

static GOR__NOINLINE void gor__stack_drop_slow(gor__p *p, char *lo, int k)
{
    if (k == gor__rt.stack_class && (gor__stack_keep_more(p) || gor__stack_spill(p))) {
        uint32_t n = gor__au32_load_rlx(&p->n_stacks);
        gor__aptr_store_rlx(&p->stacks[n], lo);
        gor__au32_store_rlx(&p->n_stacks, n + 1);
        return;
    }
    gor__stack_put(lo, k);
    if (k != gor__rt.stack_class)
        gor__stack_unpromise(k, 1);
}

static void gor__stack_drop(gor__p *p, char *lo, int k)
{
    uint32_t n = gor__au32_load_rlx(&p->n_stacks);
    gor__san_clean(gor__stack_lo(lo), GOR__MIN_STACK_SIZE << k);
    if (k != gor__rt.stack_class || n == gor__au32_load_rlx(&p->stacks_cap)) {
        gor__stack_drop_slow(p, lo, k);
        return;
    }
    gor__aptr_store_rlx(&p->stacks[n], lo);
    gor__au32_store_rlx(&p->n_stacks, n + 1);
}

/* The stacks that p, which nobody runs on, keeps go to the list, where they may become cold. */
static void gor__p_drop_stacks(gor__p *p)
{
    int k = gor__rt.stack_class;
    uint32_t n = gor__au32_load_rlx(&p->n_stacks);
    gor__lock_stacks();
    while (n > 0)
        gor__stack_push_locked(&gor__stacks.cls[k], GOR__MIN_STACK_SIZE << k,
                               (char *)gor__aptr_load_rlx(&p->stacks[--n]));
    gor__unlock_stacks();
    gor__au32_store_rlx(&p->n_stacks, 0);
}

static size_t gor__stack_size_of(const gor__g *g)
{
    return GOR__MIN_STACK_SIZE << (gor__au32_load_rlx(&g->traits) & GOR__TRAIT_CLASS);
}

/* Give a fresh goroutine its first frame. */
GOR__NO_TSAN static void gor__first_frame(gor__g *g)
{
    size_t size = gor__stack_size_of(g);
    char *lo = (char *)gor__aptr_load_rlx(&g->stack);
    g->control = gor__arch_control_default;
    g->sp = gor__arch_make(gor__stack_top(lo, size), gor__up.g_main);
    gor__g_set_bounds(g, lo, size);
}

/* Bind a stack, with its first frame, to a goroutine that is about to run for the first time, and
 * count it. It was promised one. */
static void gor__bind_stack(gor__p *p, gor__g *g)
{
    int k = (int)(gor__au32_load_rlx(&g->traits) & GOR__TRAIT_CLASS);
    char *lo = gor__stack_take(p, k);
    gor__au64_bump(&p->begun);
    if (gor__stack_lo(lo) != lo)
        gor__g_add_trait(g, GOR__TRAIT_CANARY);
    gor__aptr_store_rlx(&g->stack, gor__stack_lo(lo));
    gor__first_frame(g);
    gor__au32_store_rlx(&g->hold, gor__au32_load_rlx(&g->hold) & ~(uint32_t)GOR__NO_STACK);
}

/* The stack of a goroutine that has ended, or will not begin, goes back. */
GOR__NO_TSAN static void gor__unbind_stack(gor__p *p, gor__g *g)
{
    uint32_t traits = gor__au32_load_rlx(&g->traits);
    char *lo = (char *)gor__aptr_load_rlx(&g->stack);
    if (traits & GOR__TRAIT_CANARY)
        lo += GOR__UNGUARDED;
    gor__aptr_store_rlx(&g->stack, NULL);
    gor__stack_drop(p, lo, (int)(traits & GOR__TRAIT_CLASS));
}

/* prev has ended and its stack has been left: keep both for the next goroutine. */
GOR__NO_TSAN static GOR__NOINLINE void gor__recycle(gor__m *m, gor__g *g)
{
    gor__p *p = gor__m_p(m);
    gor__unbind_stack(p, g);
    gor__fiber_end(g);
    gor__g_put(p, g);
}

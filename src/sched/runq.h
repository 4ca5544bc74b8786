/* ==== [runq] runnable goroutines of one P =======================================================
 * What        A ring of Gs and one slot before it. The owner P appends; the owner and any thief
 *             take the oldest.
 * Invariants  I1 tail - head is in 0..GOR__RUNQ_CAP; both counters run free and may wrap.
 *             I2 slots head..tail-1 hold runnable Gs. A G is in one queue at most.
 *             I3 only the owner writes tail and slots; anyone moves head, by compare-and-swap.
 *             I4 while gor__shared is 0 the owner is alone: plain stores move head and change next.
 *                So it is while it is lone, but in a window ([lone]).
 *             I5 Else next changes by an exchange; but while next_owned is set by plain loads and
 *                stores of the owner, in a window: while wakes for it are in vain ([idle] I7), when
 *                a thief, who pays a membarrier, is rare. One thief at a time, who holds `thief`,
 *                takes next, and ends ownership first. The owner sets next_owned, fences, and looks
 *                at thief; the thief sets thief, then looks at next_owned: one sees the other. The
 *                owner asks whether it is to be his when he puts something there.
 * Locks       None; but who steals next takes gor__rt.lock (SCHED), in gor__windows_close.
 *             A full ring is spilled by [ready].
 * Runs on     Any stack, holding the P. Never parks, never allocates.
 * Source      Ring of the Go 1.1 scheduler (Vyukov, 2012). We differ: slots are atomic, because a
 *             thief about to lose may still be reading one; I4.
 * Tests       all; tiny rings under GORDEBUG=stress; tests/preempt.c for I5
 */
#if GOR_CHECK
static uint32_t gor__runq_cap = GOR__RUNQ_CAP;         /* stress: tiny rings */
#else
static const uint32_t gor__runq_cap = GOR__RUNQ_CAP;
#endif

/* Append g. Owner only. False if the ring is full: the caller spills. */
GOR__INLINE bool gor__runq_push(gor__runq *q, gor__g *g)
{
    uint32_t tail = gor__au32_load_rlx(&q->tail);  /* rlx: we are the only writer (I3)       */
    uint32_t head = gor__au32_load_acq(&q->head);  /* acq runq.head: takers left these slots */
    if (tail - head >= gor__runq_cap)
        return false;
    gor__aptr_store_rlx(&q->slot[tail % GOR__RUNQ_CAP], g);  /* rlx: the next line publishes */
    gor__au32_store_rel(&q->tail, tail + 1);       /* rel runq.tail: slot before counter     */
    return true;
}

/* How many the ring holds, for the owner. Takers only make it less. */
GOR__INLINE uint32_t gor__runq_n(const gor__runq *q)
{
    return gor__au32_load_rlx(&q->tail) - gor__au32_load_acq(&q->head);        /* acq runq.head */
}

/* How many more the owner may append. */
GOR__INLINE uint32_t gor__runq_room(const gor__runq *q)
{
    uint32_t n = gor__runq_n(q);
    return n < gor__runq_cap ? gor__runq_cap - n : 0;
}

/* With many goroutines each has left the first cache by its next turn: of the n in the ring, from
 * head on, fetch what the switch to those that come soon needs. Hints only, for the G may be gone:
 * it is read as if it were ours. */
#define GOR__FETCH_STACK 3                     /* turns ahead; its G is here by then */
#define GOR__FETCH_G     6
#define GOR__FETCH_LINES 4                     /* of the stack: to where the user's frames are */
GOR__INLINE void gor__runq_fetch(const gor__runq *q, uint32_t head, uint32_t n)
{
#if !GOR__TSAN
    const gor__aptr *soon = &q->slot[(head + GOR__FETCH_STACK) % GOR__RUNQ_CAP];
    uintptr_t sp;                              /* of one that has not run yet: anything */
    const gor__g *g;
    if (n <= GOR__FETCH_G)
        return;
    g = (const gor__g *)gor__aptr_load_rlx(&q->slot[(head + GOR__FETCH_G) % GOR__RUNQ_CAP]);
    __builtin_prefetch(g);
    __builtin_prefetch(&g->fn);                /* it may begin, */
    __builtin_prefetch(&g->done_arg);          /* or end        */
    sp = (uintptr_t)((gor__g *)gor__aptr_load_rlx(soon))->sp;
    __builtin_prefetch((const void *)sp);
    for (uintptr_t i = 0; i < GOR__FETCH_LINES; i++)
        __builtin_prefetch((const void *)(sp + GOR__ARCH_NEXT + i * GOR__CACHE_LINE));
#else
    (void)q, (void)head, (void)n;
#endif
}

/* The next two, lone: out of the way of those who are not. */
static GOR__NOINLINE bool gor__runq_advance_lone(gor__runq *q, uint32_t head, uint32_t n)
{
    bool still;
    if (!gor__lone_open())
        return gor__au32_cas(&q->head, head, head + n);
    still = gor__au32_load_rlx(&q->head) == head;
    if (still)
        gor__au32_store_rel(&q->head, head + n);   /* rel runq.head: to a thief, later on */
    gor__window_shut();
    return still;
}

static GOR__NOINLINE gor__g *gor__runq_swap_next_lone(gor__runq *q, gor__g *g)
{
    gor__g *old;
    if (!gor__lone_open())
        return (gor__g *)gor__aptr_xchg(&q->next, g);
    old = (gor__g *)gor__aptr_load_rlx(&q->next);
    gor__aptr_store_rel(&q->next, g);              /* rel runq.next: to a thief, later on */
    gor__window_shut();
    return old;
}

/* Take the n from head on. Owner only: until he appends they can be read there. False: a thief has
 * some of them. */
GOR__INLINE bool gor__runq_advance(gor__runq *q, uint32_t head, uint32_t n)
{
    if (gor__au32_load_rlx(&gor__shared) == 0) {
        gor__au32_store_rel(&q->head, head + n);
        return true;
    }
    return GOR__UNLIKELY(gor__is_lone()) ? gor__runq_advance_lone(q, head, n)
                                         : gor__au32_cas(&q->head, head, head + n);
}

GOR__INLINE gor__g *gor__runq_at(const gor__runq *q, uint32_t at)
{
    return (gor__g *)gor__aptr_load_rlx(&q->slot[at % GOR__RUNQ_CAP]);
}

/* Take the oldest, half of a full ring at most: *n from the one returned on. Owner only. */
static uint32_t gor__runq_take_half(gor__runq *q, uint32_t *n)
{
    uint32_t head;
    do {
        head = gor__au32_load_acq(&q->head);
        *n = gor__au32_load_rlx(&q->tail) - head;
        *n = *n < gor__runq_cap / 2 ? *n : gor__runq_cap / 2;
    } while (!gor__runq_advance(q, head, *n));
    return head;
}

/* Take the oldest. Owner only. NULL if there is none. */
GOR__INLINE gor__g *gor__runq_pop(gor__runq *q)
{
    for (;;) {
        uint32_t head = gor__au32_load_acq(&q->head);
        uint32_t n = gor__au32_load_rlx(&q->tail) - head;
        gor__g *g;
        if (n == 0)
            return NULL;
        g = gor__runq_at(q, head);
        gor__runq_fetch(q, head, n);
        if (gor__runq_advance(q, head, 1))
            return g;
    }
}

/* Append g and take the oldest, g if there is no other, while gor__shared is 0 (I4: nobody else
 * sees it half done). Owner only. */
GOR__INLINE gor__g *gor__runq_turn(gor__runq *q, gor__g *g)
{
    uint32_t head = gor__au32_load_rlx(&q->head), tail = gor__au32_load_rlx(&q->tail);
    gor__g *oldest = gor__runq_at(q, head);
    if (head == tail)
        return g;
    gor__runq_fetch(q, head, tail - head);
    gor__au32_store_rel(&q->head, head + 1);       /* first: the ring may be full: I1 */
    gor__aptr_store_rlx(&q->slot[tail % GOR__RUNQ_CAP], g);
    gor__au32_store_rel(&q->tail, tail + 1);       /* rel runq.tail, head: to a thief later */
    return oldest;
}

/* Take or replace what runs next, while gor__shared is 0. Owner only. */
GOR__INLINE gor__g *gor__runq_swap_next_alone(gor__runq *q, gor__g *g)
{
    gor__g *old = (gor__g *)gor__aptr_load_rlx(&q->next);
    gor__aptr_store_rel(&q->next, g);
    return old;
}

/* The same while it is not. */
GOR__INLINE gor__g *gor__runq_swap_next_shared(gor__runq *q, gor__g *g)
{
    gor__g *old = (gor__g *)gor__aptr_load_rlx(&q->next);
    bool owned;
    if (!old && !g)
        return NULL;
    if (gor__au32_load_rlx(&q->next_owned)) {
        gor__window_open(&q->next_owned);
        owned = gor__au32_load_rlx(&q->next_owned) != 0;
        if (owned) {
            old = (gor__g *)gor__aptr_load_rlx(&q->next);
            gor__aptr_store_rel(&q->next, g);      /* rel runq.next: to a thief, later on */
        }
        gor__window_shut();
        if (owned)
            return old;
    }
    return GOR__UNLIKELY(gor__is_lone()) ? gor__runq_swap_next_lone(q, g)
                                         : (gor__g *)gor__aptr_xchg(&q->next, g);
}

/* The same, whoever is there. */
GOR__INLINE gor__g *gor__runq_swap_next(gor__runq *q, gor__g *g)
{
    return gor__au32_load_rlx(&gor__shared) == 0 ? gor__runq_swap_next_alone(q, g)
                                                 : gor__runq_swap_next_shared(q, g);
}

/* Begin to own next, unless a thief is at it; or cease to. Owner only. */
static GOR__NOINLINE void gor__runq_own_next(gor__runq *q, bool own)
{
    if (own && !gor__windows_matter())             /* [window] W4 */
        return;
    gor__au32_store_rel(&q->next_owned, own);      /* rel runq.next_owned: what was done with it */
    if (own) {
        gor__arch_fence();
        if (gor__au32_load_acq(&q->thief))         /* acq runq.thief */
            gor__au32_store_rlx(&q->next_owned, 0);
    }
}

/* Take what runs next from another. NULL: there is nothing, or another thief is at it. */
static gor__g *gor__runq_steal_next(gor__runq *victim)
{
    gor__g *g;
    if (!gor__au32_cas(&victim->thief, 0, 1))                  /* acq runq.thief: the last one's */
        return NULL;
    if (gor__au32_load_sc(&victim->next_owned)) {  /* after `thief`: I5; acq runq.next_owned */
        gor__au32_store_rlx(&victim->next_owned, 0);
        gor__windows_close(&victim->next_owned);
    }
    g = (gor__g *)gor__aptr_xchg(&victim->next, NULL);         /* acq runq.next */
    gor__au32_store_rel(&victim->thief, 0);        /* rel runq.thief */
    return g;
}

/* Move half of victim's ring, rounded up, to the ring of the caller, and one of them to the
 * caller's hands. The caller owns q, whose ring is empty. NULL if there was nothing. */
static gor__g *gor__runq_steal(gor__runq *q, gor__runq *victim)
{
    for (;;) {
        uint32_t head = gor__au32_load_acq(&victim->head);
        uint32_t tail = gor__au32_load_acq(&victim->tail);  /* acq runq.tail: the slots below it */
        uint32_t n = tail - head, mine = gor__au32_load_rlx(&q->tail);
        gor__g *first;
        n -= n / 2;
        if (n == 0)
            return NULL;
        if (n > GOR__RUNQ_CAP / 2)             /* head and tail were read at two moments */
            continue;
        first = (gor__g *)gor__aptr_load_rlx(&victim->slot[head % GOR__RUNQ_CAP]);
        for (uint32_t i = 1; i < n; i++)
            gor__aptr_store_rlx(&q->slot[(mine + i - 1) % GOR__RUNQ_CAP],
                                gor__aptr_load_rlx(&victim->slot[(head + i) % GOR__RUNQ_CAP]));
        if (gor__au32_cas(&victim->head, head, head + n)) {
            gor__au32_store_rel(&q->tail, mine + n - 1);    /* rel runq.tail */
            return first;
        }
    }
}

GOR__INLINE bool gor__runq_empty(const gor__runq *q)
{
    return gor__au32_load_sc(&q->head) == gor__au32_load_sc(&q->tail) &&
           gor__aptr_load_sc(&q->next) == NULL;
}

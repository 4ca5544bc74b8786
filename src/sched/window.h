/* ==== [window] plain loads and stores that others can wait for ===================================
 * What        The few instructions in which an M looks at a word and then changes it, or what
 *             goes with it, by plain loads and stores: what meets nobody saves the locked ones.
 *             Opened in [fast], [locks], [owned], [timer], [select], [lone] and [runq], by Ms that
 *             have a P.
 * Invariants  W1 In a window *m->in_call is the word's mark, or GOR__WINDOW_ANY, for several words:
 *                set before they are looked at, and taken off after the last store.
 *             W2 Who changes a word so that it bars windows, and then calls gor__windows_close,
 *                finds that each of them is over, or has seen it: a membarrier stands between the
 *                change and the look at the marks. It is a word that no window stores to: one that
 *                does reads what it stored last itself, and wipes out the change, again and again.
 *             W3 Nothing is touched after the last store but the thread's own mark: so the object
 *                may be freed by who comes next. The usual answer, to look for waiters after the
 *                store, would read freed memory.
 *             W4 Without membarrier there are none: GOR__FENCE keeps calls out of [fast], by mine
 *                and attention; [owned], [lone] and [runq] ask gor__windows_matter.
 * Locks       gor__windows_close takes gor__rt.lock (SCHED); not from within a window.
 */
static void gor__lock_sched(void) { gor__lock_always(&gor__rt.lock, GOR__RANK_SCHED); }
static void gor__unlock_sched(void) { gor__unlock(&gor__rt.lock, GOR__RANK_SCHED); }

/* Who holds a P on its way from the idle list to an M: nobody, but it is not free either. */
static gor__m gor__in_transit;

/* Who has p, and is he in a gor call ([machine] I1)? NULL: nobody. Under the lock a holder's thread
 * does not end, nor its words: both answers are of one moment. */
static gor__m *gor__p_holder(gor__p *p, uint32_t *in_call)
{
    gor__m *m;
    gor__lock_sched();
    m = (gor__m *)gor__aptr_load_acq(&p->m);
    if (m == &gor__in_transit)
        m = NULL;
    *in_call = m ? gor__au32_load_acq(m->in_call) : 0;
    gor__unlock_sched();
    return m;
}

#define GOR__WINDOW_ANY 3

#if GOR__TSAN
GOR__INLINE void gor__window_mark(uint32_t mark)
{
    gor__au32_store_rel(gor__arch_in_call(), mark);
    GOR__COMPILER_BARRIER();
}
#else
GOR__INLINE void gor__window_mark(uint32_t mark) { gor__arch_call_mark(mark); }
#endif

GOR__INLINE void gor__window_open(const gor__au32 *word) { gor__window_mark(gor__near_mark(word)); }
GOR__INLINE void gor__window_shut(void) { gor__window_mark(1); }    /* rel window: what it stored */

/* Can there be a window on another P? While locks are elided there is no other. */
GOR__INLINE bool gor__windows_matter(void)
{
    return gor__rt.membarrier && gor__au32_load_rlx(&gor__shared) != 0;
}

/* W2. An object's lock may be held: who is in a window waits for nobody. */
static GOR__NOINLINE void gor__windows_close(const gor__au32 *word)
{
    uint32_t mark;
    gor__os_membarrier();
    for (uint32_t i = 0; i < gor__au32_load_sc(&gor__rt.n_allp); i++)
        while (gor__p_holder(gor__p_at(i), &mark) &&       /* acq window */
               (mark == gor__near_mark(word) || mark == GOR__WINDOW_ANY))
            gor__os_yield();
}

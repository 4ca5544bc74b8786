/* ==== [lone] one processor runs, while the others nap ============================================
 * What        While a thief naps ([idle] I8) and only one P is out, nobody else takes from that P's
 *             ring, and whoever queues a G would wake nobody. So its owner moves head and changes
 *             next by plain loads and stores, in a window, and no submit needs a fence.
 * Invariants  L1 Set by an M that naps, and counts as spinning, under the scheduler's lock, when
 *                one P is neither idle nor retired: nobody steals, nor will before he takes a P.
 *             L2 Whoever takes a P from the idle list ends it first, and so does the M when its nap
 *                is over, before it ceases to count as spinning.
 *             L3 The end waits for the windows. What was queued without a fence by who saw it set
 *                is seen by who looks after that: there is a membarrier in between. So is what was
 *                put into next by a plain store just before the end, and submitted as if fenced:
 *                the M that naps looks everywhere after it.
 * Locks       gor__rt.lock (SCHED).
 * Tests       tests/go.c
 */
enum gor__lone_state { GOR__LONE_NOT, GOR__LONE, GOR__LONE_ENDS };

GOR__INLINE bool gor__is_lone(void)
{
    return gor__au32_load_rlx(&gor__rt.lone) == GOR__LONE;
}

/* Begin a window, if one P is alone. It is short, and ends with gor__window_shut. */
GOR__INLINE bool gor__lone_open(void)
{
    if (GOR__LIKELY(!gor__is_lone()))
        return false;
    gor__window_open(&gor__rt.lone);
    if (GOR__LIKELY(gor__au32_load_acq(&gor__rt.lone) == GOR__LONE))   /* acq rt.lone: no thief's */
        return true;                                                   /* doing is missed         */
    gor__window_shut();
    return false;
}

/* L1 */
static void gor__lone_begin(void)
{
    uint32_t out = 0;
    if (!gor__windows_matter())
        return;
    gor__lock_sched();
    for (uint32_t i = 0; i < gor__au32_load_rlx(&gor__rt.n_allp); i++)
        out += gor__aptr_load_rlx(&gor__p_at(i)->m) != NULL;
    if (out == 1 && gor__au32_load_rlx(&gor__rt.lone) == GOR__LONE_NOT)
        gor__au32_store_rel(&gor__rt.lone, GOR__LONE);     /* rel rt.lone: to who opens a window */
    gor__unlock_sched();
}

/* L3. When it returns it has ended, whoever has ended it. */
static void gor__lone_end(void)
{
    while (gor__au32_load_acq(&gor__rt.lone) != GOR__LONE_NOT) {
        if (gor__au32_cas(&gor__rt.lone, GOR__LONE, GOR__LONE_ENDS)) {
            gor__windows_close(&gor__rt.lone);
            gor__au32_store_rel(&gor__rt.lone, GOR__LONE_NOT);
        } else {
            gor__os_yield();
        }
    }
}

/* Take the scheduler's lock, to take a P from the idle list. */
static void gor__lock_idle_p(void)
{
    for (;;) {
        gor__lone_end();
        gor__lock_sched();
        if (gor__au32_load_rlx(&gor__rt.lone) == GOR__LONE_NOT)
            return;
        gor__unlock_sched();
    }
}

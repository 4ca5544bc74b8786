/* ==== [block] leaving the processor for a blocking call ======================================
 * What        gor_block gives the P away, runs the user's function on the goroutine's own stack
 *             and thread, and comes back by way of an idle P, its old one first, or the global
 *             queue.
 * Why         The thread counts as foreign meanwhile: what it calls of ours blocks it, not a
 *             goroutine.
 */

/* To have come back at once is a turn like any other: after so many the others have theirs. */
static void gor__take_turn(void)
{
    gor__p *p = gor__m_p(gor__self());
    uint32_t tick = gor__au32_load_rlx(&p->tick) + 1;
    gor__au32_store_rlx(&p->tick, tick);
    if (tick % 61 == 0)
        gor__yield();
}

int gor_block(int (*fn)(void *), void *arg)
{
    gor__m *m = gor__enter();
    gor__g *g;
    gor__p *old;
    int rc;
    if (!m) {
        gor__leave(m);
        return fn(arg);
    }
    g = gor__m_g(m);
    old = gor__m_p(m);
    gor__au32_store_rlx(&g->state, GOR__BLOCKED);
    gor__ai64_store_rlx(&g->since, gor__ai64_load_rlx(&gor__rt.coarse_ns));
    gor__au32_add(&gor__rt.n_blocked, 1);
    gor__preempted_spill(m);
    gor__p_release(m);
    gor__p_left();
    gor__arch_set_self(NULL);
    gor__leave(m);
    rc = fn(arg);
    gor__call_begin();
    gor__arch_set_self(m);
    gor__p_return(m, g, old);
    gor__take_turn();
    gor__leave(gor__self());
    return rc;
}

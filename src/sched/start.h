/* ==== [start] a new goroutine joins the queue ====================================================
 * What        gor__spawn_here makes a goroutine and has it run next on its P, as Go does: what it
 *             is to work on is still in the cache.
 * Pressure    A spawner that has filled the ring makes way for those in it, once per half a ring
 *             that it starts: most goroutines run to their ends, and then share a few warm stacks,
 *             and a loop that starts a million short ones never holds a million. If those that
 *             begin meanwhile park instead, or one of them takes long, it waits for many more
 *             starts before it does so again, and the ring spills. Those that are stolen count for
 *             neither.
 */
#define GOR__FEW_PARKED 16             /* so many may park, whatever the rest did              */
#define GOR__WAY_TICKS  (64 * (uint64_t)GOR__ARCH_TICKS)       /* a ring of short ones takes less */
#define GOR__WAY_SOON   (GOR__RUNQ_CAP / 2)                    /* starts                          */
#define GOR__WAY_LATE   (256 * GOR__RUNQ_CAP)  /* hardly any of a crowd that parks begins         */

/* After so many starts a spawner makes way again, by what began and ended meanwhile, and how long
 * that took. */
GOR__INLINE uint32_t gor__way_after(uint64_t begun, uint64_t ended, uint64_t ticks)
{
    return begun <= 2 * ended + GOR__FEW_PARKED && ticks < GOR__WAY_TICKS ? GOR__WAY_SOON
                                                                          : GOR__WAY_LATE;
}

static GOR__NOINLINE void gor__make_way(gor__m *m)
{
    gor__p *p = gor__m_p(m);
    uint64_t begun = gor__au64_load_rlx(&p->begun), ended = gor__au64_load_rlx(&p->ended), from;
    uint64_t started = gor__au64_load_rlx(&p->started);
    if (started - gor__au64_load_rlx(&p->way_mark) < gor__au32_load_rlx(&p->way_after) ||
        gor__m_g(m) == &m->g0 || !gor__is_ordinary(gor__m_g(m)))
        return;
    gor__au64_store_rlx(&p->way_mark, started);    /* before others do so, too */
    from = gor__arch_ticks();
    gor__yield();
    if (gor__m_p(gor__self()) != p)
        return;                                    /* others ran it, and count there */
    begun = gor__au64_load_rlx(&p->begun) - begun;
    ended = gor__au64_load_rlx(&p->ended) - ended;
    gor__au32_store_rlx(&p->way_after,
                        gor__way_after(begun, ended, gor__arch_ticks() - from));
}

/* Is there room for one more and the spawner? */
GOR__INLINE bool gor__runq_nearly_full(const gor__runq *q)
{
    return gor__runq_n(q) >= gor__runq_cap - 1;
}

/* Count g, which was made, and queue it. m NULL: foreign thread. */
GOR__INLINE void gor__start(gor__m *m, gor__g *g)
{
    gor__count_start(m);
    gor__ready_at(m, g, gor__stress_hit(2) ? GOR__LAST : GOR__NEXT);
}

/* Start a goroutine. 0, -ENOMEM, -EINVAL, -ESRCH. May yield: m is stale afterwards. For callers
 * whose spec the compiler knows: most of it goes away then. */
GOR__INLINE int gor__spawn_here(gor__m *m, const gor__spec *s)
{
    gor__g *g;
    int rc;
    if (m && GOR__UNLIKELY(gor__runq_nearly_full(&gor__m_p(m)->runq))) {
        gor__make_way(m);
        m = gor__self();
    }
    rc = gor__g_make(m, s, &g);
    if (GOR__UNLIKELY(rc != 0))
        return rc;
    if (s->attr && s->attr->lock_thread)
        g->lock_depth = 1;                         /* it ties itself when it starts: [life] */
    gor__start(m, g);
    return 0;
}

static int gor__spawn(gor__m *m, const gor__spec *s) { return gor__spawn_here(m, s); }

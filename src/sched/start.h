/* ==== [start] a new goroutine joins the queue ====================================================
 * What        gor__spawn_here makes a goroutine and has it run next on its P, as Go does: what it
 *             is to work on is still in the cache.
 * Pressure    A spawner that has filled the ring makes way, once per ring, for those in it, as long
 *             as most that begin here run to their ends: they then share a few warm stacks, and a
 *             loop that starts a million short goroutines never holds a million. If they park
 *             instead, the spawner goes on, and the ring spills. Those that are stolen before they
 *             begin count for neither.
 */
#define GOR__FEW_PARKED 16             /* so many may have parked, whatever the rest did       */

/* Since a spawner last made way: was half a ring started, and did half of those end that began? */
static bool gor__most_end(const gor__p *p)
{
    uint64_t started = gor__au64_load_rlx(&p->started) - gor__au64_load_rlx(&p->started_mark);
    uint64_t begun = gor__au64_load_rlx(&p->begun) - gor__au64_load_rlx(&p->begun_mark);
    uint64_t ended = gor__au64_load_rlx(&p->ended) - gor__au64_load_rlx(&p->ended_mark);
    return started >= GOR__RUNQ_CAP / 2 && begun <= 2 * ended + GOR__FEW_PARKED;
}

static GOR__NOINLINE void gor__make_way(gor__m *m)
{
    gor__p *p = gor__m_p(m);
    if (gor__m_g(m) == &m->g0 || !gor__is_ordinary(gor__m_g(m)) || !gor__most_end(p))
        return;
    gor__au64_store_rlx(&p->started_mark, gor__au64_load_rlx(&p->started));
    gor__au64_store_rlx(&p->begun_mark, gor__au64_load_rlx(&p->begun));
    gor__au64_store_rlx(&p->ended_mark, gor__au64_load_rlx(&p->ended));
    gor__yield();
}

/* Is there room for one more and the spawner? */
GOR__INLINE bool gor__runq_nearly_full(const gor__runq *q)
{
    return gor__au32_load_rlx(&q->tail) - gor__au32_load_rlx(&q->head) >= gor__runq_cap - 1;
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
    gor__count_start(m);
    if (s->attr && s->attr->lock_thread)
        g->lock_depth = 1;                         /* it ties itself when it starts: [life] */
    gor__ready_at(m, g, gor__stress_hit(2) ? GOR__LAST : GOR__NEXT);
    return 0;
}

static int gor__spawn(gor__m *m, const gor__spec *s) { return gor__spawn_here(m, s); }

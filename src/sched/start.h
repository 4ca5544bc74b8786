/* ==== [start] a new goroutine joins the queue ====================================================
 * What        gor__spawn_here makes a goroutine and has it run next on its P, as Go does: what it
 *             is to work on is still in the cache.
 * Pressure    A spawner that has filled the ring makes way for those in it, and in the global
 *             queue, once per half a ring that it starts: most goroutines run to their ends, and
 *             then share a few warm stacks, and a loop that starts a million short ones never holds
 *             a million. Those that park for a moment only are soon among those in the global
 *             queue, and end. If that takes long, or they park and have become a crowd, it waits
 *             for sixteen times as many starts before it does so again, GOR__WAY_LATE at most, and
 *             then lets those in the ring alone go first. Those that are stolen count for neither.
 */
#define GOR__FEW_PARKED 16             /* so many may park, whatever the rest did               */
#define GOR__WAY_CROWD  8192           /* goroutines with stacks                                */
#define GOR__WAY_TICKS  ((uint64_t)GOR__ARCH_TICKS)            /* a short turn: the first    */
                                                               /* touch of a page is 2 to 5 us */
#define GOR__WAY_TURNS  (4 * GOR__WAY_CROWD)   /* of others: that was a detour                   */
#define GOR__WAY_SOON   (GOR__RUNQ_CAP / 2)                    /* starts                         */
#define GOR__WAY_LATE   (256 * GOR__RUNQ_CAP)  /* hardly any of a crowd that parks begins        */

typedef struct gor__way { uint64_t begun, ended, ticks; uint32_t turns; } gor__way;

static gor__way gor__way_now(const gor__p *p)
{
    gor__way w = { gor__au64_load_rlx(&p->begun), gor__au64_load_rlx(&p->ended),
                   gor__arch_ticks(), gor__au32_load_rlx(&p->tick) };
    return w;
}

/* How many goroutines have stacks, more or less: others begin and end meanwhile. */
static int64_t gor__n_alive(void)
{
    uint32_t n = gor__au32_load_acq(&gor__rt.n_allp);
    int64_t alive = 0;
    for (uint32_t i = 0; i < n; i++)
        alive += (int64_t)(gor__au64_load_rlx(&gor__p_at(i)->begun) -
                           gor__au64_load_rlx(&gor__p_at(i)->ended));
    return alive;
}

/* After so many starts a spawner makes way again, by what began and ended since `from`. */
static uint32_t gor__way_after(const gor__p *p, gor__way from)
{
    gor__way now = gor__way_now(p);
    uint32_t turns = now.turns - from.turns, later = 16 * gor__au32_load_rlx(&p->way_after);
    bool they_end = now.begun - from.begun <= 2 * (now.ended - from.ended) + GOR__FEW_PARKED;
    if (turns >= GOR__WAY_TURNS)
        return GOR__WAY_LATE;
    if (now.ticks - from.ticks < turns * GOR__WAY_TICKS &&
        (they_end || gor__n_alive() < GOR__WAY_CROWD))
        return GOR__WAY_SOON;
    return later < GOR__WAY_LATE ? later : GOR__WAY_LATE;
}

static GOR__NOINLINE void gor__make_way(gor__m *m)
{
    gor__p *p = gor__m_p(m);
    uint64_t started = gor__au64_load_rlx(&p->started);
    gor__way from;
    if (started - gor__au64_load_rlx(&p->way_mark) < gor__au32_load_rlx(&p->way_after) ||
        gor__m_g(m) == &m->g0 || !gor__is_ordinary(gor__m_g(m)))
        return;
    gor__au64_store_rlx(&p->way_mark, started);    /* before others do so, too */
    from = gor__way_now(p);
    if (gor__au32_load_rlx(&gor__rt.global.n) &&
        gor__au32_load_rlx(&p->way_after) == GOR__WAY_SOON)
        gor__yield_to_all();
    else
        gor__yield();
    if (gor__m_p(gor__self()) == p)                /* else others ran it, and count there */
        gor__au32_store_rlx(&p->way_after, gor__way_after(p, from));
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
    if (gor__stress_hit(2))
        gor__ready_last(m, g);
    else
        gor__ready_next(m, g);
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

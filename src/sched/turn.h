/* ==== [turn] who ran when ======================================================================
 * What        While a trace is on, each turn of a goroutine is written down: when, how long, on
 *             which thread and processor, and what it did then. [trace] makes a file of that.
 * Cost        None while it is off: what is next is then chosen as ever. While it is on,
 *             gor__rt.urgent sends every choice to g0, whose loop notes the turn.
 * Invariants  I1 Who writes an event counts itself in `busy` and then looks at state; who stops
 *                sets state and then waits for busy to be 0. So nobody writes into what is gone.
 * Limits      GOR__TURN_CAP turns; later ones are counted, not kept.
 * Tests       tests/trace.c
 */
#define GOR__TURN_CAP ((size_t)1 << 20)

typedef struct gor__turn {            /* a turn                                               */
    int64_t  from, to;
    uint64_t id;
    uint32_t tid;                      /* the thread                                           */
    int32_t  p;
    uint32_t state, why;               /* when it had been left; a moment later, if it was     */
    char     name[24];                 /* woken at once                                        */
} gor__turn;

enum gor__turns_state { GOR__TURNS_OFF, GOR__TURNS_CHANGING, GOR__TURNS_ON };

static struct {
    gor__au32   state;                 /* enum gor__turns_state                                */
    gor__au32   busy;                  /* Ms that may be writing an event                      */
    gor__au64   n;
    gor__turn  *turn;                  /* GOR__TURN_CAP of them, as they are touched          */
    FILE       *file;
    int64_t     began;
} gor__turns;

/* What is known of a turn before it begins: after it, g may be another's. */
GOR__NO_TSAN static void gor__turn_begin(gor__turn *e, gor__m *m, gor__g *g)
{
    const char *name = gor__g_name(g);
    gor__p *p = gor__m_p(m);
    size_t n = 0;
    e->id = gor__au64_load_rlx(&g->id);
    e->tid = gor__au32_load_rlx(&m->tid);
    e->p = p ? p->id : -1;
    for (; name[n] && n < sizeof e->name - 1; n++)
        e->name[n] = name[n];
    e->name[n] = '\0';
    e->from = gor__os_now();
}

static void gor__turn_end(gor__turn *e, gor__g *g)
{
    uint64_t i;
    e->to = gor__os_now();
    e->state = gor__au32_load_rlx(&g->state);
    e->why = gor__au32_load_rlx(&g->why);
    gor__au32_add(&gor__turns.busy, 1);
    if (gor__au32_load_sc(&gor__turns.state) == GOR__TURNS_ON) {
        i = gor__au64_add(&gor__turns.n, 1);
        if (i < GOR__TURN_CAP)
            gor__turns.turn[i] = *e;
    }
    gor__au32_add(&gor__turns.busy, (uint32_t)-1);   /* rel turns.busy: the event */
}

static bool gor__turns_are_noted(void)
{
    return GOR__UNLIKELY(gor__au32_load_rlx(&gor__rt.tracing) != 0);
}

/* ==== [taskq] forked calls that nobody has started ===========================================
 * What        A ring of tasks per P. The owner appends at the bottom; the joiner takes its own
 *             task back, wherever it lies; an M without work takes the oldest and makes a
 *             goroutine of it.
 * Invariants  I1 A task is run by who swaps its slot from the task to NULL; before that nobody but
 *                its forker reads it. So the task's storage may go as soon as it has been joined.
 *             I2 Only the owner moves top and bottom; slots outside of them are NULL. Others read
 *                them as hints: a slot that is not NULL holds a task, wherever it lies.
 * Locks       None.
 * Source      Work-first deques (Frigo, Leiserson, Randall, 1998; Chase, Lev, 2005), with a claim
 *             per slot instead of one per end, for joins out of order.
 */

/* Append. Owner only. False if the ring is full. */
GOR__INLINE bool gor__taskq_push(gor__taskq *q, gor_task *t)
{
    uint32_t bottom = gor__au32_load_rlx(&q->bottom), top = gor__au32_load_rlx(&q->top);
    gor__aptr *slot = &q->slot[bottom % GOR__TASKQ_CAP];
    while (top != bottom && gor__aptr_load_rlx(&q->slot[top % GOR__TASKQ_CAP]) == NULL)
        top++;
    gor__au32_store_rlx(&q->top, top);
    if (bottom - top >= GOR__TASKQ_CAP)
        return false;
    t->slot = slot;
    gor__aptr_store_rel(slot, t);                  /* rel taskq.slot: the task */
    gor__au32_store_rel(&q->bottom, bottom + 1);
    return true;
}

/* Swap t out of its slot, by its forker. False: someone has started it. */
GOR__INLINE bool gor__taskq_claim(gor_task *t)
{
    if (gor__aptr_load_rlx(t->slot) != t)
        return false;
    if (gor__au32_load_rlx(&gor__shared) == 0) {
        gor__aptr_store_rlx(t->slot, NULL);
        return true;
    }
    return gor__aptr_cas(t->slot, t, NULL);
}

/* The newest that others have started go: then q is seen to be empty, if it is. Owner only. */
static GOR__NOINLINE void gor__taskq_trim(gor__taskq *q)
{
    uint32_t bottom = gor__au32_load_rlx(&q->bottom), top = gor__au32_load_rlx(&q->top);
    while (top != bottom && !gor__aptr_load_rlx(&q->slot[(bottom - 1) % GOR__TASKQ_CAP]))
        bottom--;
    gor__au32_store_rlx(&q->bottom, bottom);
}

/* Take back a task that the caller has forked, perhaps on another P. q is the caller's own.
 * False: someone has started it. */
GOR__INLINE bool gor__taskq_take_back(gor__taskq *q, gor_task *t)
{
    uint32_t bottom = gor__au32_load_rlx(&q->bottom);
    if (GOR__UNLIKELY(!gor__taskq_claim(t))) {
        gor__taskq_trim(q);
        return false;
    }
    if (gor__au32_load_rlx(&q->top) != bottom &&
        t->slot == &q->slot[(bottom - 1) % GOR__TASKQ_CAP])
        gor__au32_store_rlx(&q->bottom, bottom - 1);
    return true;
}

GOR__INLINE bool gor__taskq_empty(const gor__taskq *q)
{
    return gor__au32_load_rlx(&q->top) == gor__au32_load_rlx(&q->bottom);
}

/* The first slot with a task, or NULL. Any thread. */
static gor__aptr *gor__taskq_find(gor__taskq *q)
{
    uint32_t top = gor__au32_load_sc(&q->top), bottom = gor__au32_load_sc(&q->bottom);
    for (uint32_t i = top; i != bottom && i - top < GOR__TASKQ_CAP; i++)
        if (gor__aptr_load_sc(&q->slot[i % GOR__TASKQ_CAP]))
            return &q->slot[i % GOR__TASKQ_CAP];
    return NULL;
}

/* Swap the oldest task out. NULL: none. Any thread that holds a P. */
static gor_task *gor__taskq_take_oldest(gor__taskq *q)
{
    gor__aptr *slot;
    while ((slot = gor__taskq_find(q)) != NULL) {
        gor_task *t = (gor_task *)gor__aptr_xchg(slot, NULL);
        if (t)
            return t;
    }
    return NULL;
}

static void gor__taskq_run(void *arg)
{
    gor_task *t = (gor_task *)arg;
    t->run(t);
}

/* Make a goroutine of the oldest task of q, under the forker's own context. NULL: there is none, or
 * no memory: then it stays forked, for its joiner. The goroutine comes first: a task once taken
 * must run. */
static gor__g *gor__taskq_start(gor__m *m, gor__taskq *q)
{
    gor__spec spec;
    gor_task *t;
    gor__g *g;
    if (gor__taskq_empty(q) || !gor__taskq_find(q))
        return NULL;
    memset(&spec, 0, sizeof spec);
    spec.fn = gor__taskq_run;
    spec.site = "gor_fork\0";
    if (gor__g_make(m, &spec, &g) != 0)
        return NULL;
    t = gor__taskq_take_oldest(q);
    if (!t) {
        gor__g_discard(g);
        return NULL;
    }
    gor__count_start(m);
    g->arg = t;
    g->done = t->finish;                           /* however it ends */
    g->done_arg = t;
    gor__g_set_ctx(g, (gor__cancel *)t->ctx);
    gor__au32_store_rel(&g->state, GOR__RUNNABLE);
    return g;
}

/* ==== [fork] fork and join ===================================================================
 * What        gor_fork puts a task into the P's ring [taskq]; gor_join takes it back and runs it
 *             in place, or waits for who has taken it.
 * Invariants  I1 task.state is 0 until the result is there; it is set under task.lock, and read
 *                without.
 *             I2 The runner's last touch of the task is the unlock; the joiner passes the lock
 *                before it lets the storage go.
 *             I3 The tasks of gor_parallel_for lie on the stack of their forker: its goroutine does
 *                not end before they are taken back, or over. A deferred call sees to that.
 */
static void gor__task_run(void *p)
{
    gor_task *t = (gor_task *)p;
    t->result = t->fn(t->arg);
}

/* The task has run, or its goroutine has left by gor_exit: in a gor call. */
static void gor__task_finish(void *p)
{
    gor_task *t = (gor_task *)p;
    gor__node *list;
    gor__lock(&t->lock, GOR__RANK_OBJECT);
    list = gor__wq_take_all(&t->waiters, 0);
    gor__au32_store_rel(&t->state, 1);             /* rel task.state: the result */
    gor__unlock(&t->lock, GOR__RANK_OBJECT);
    gor__wake_all(list);
}

/* By the goroutine that runs on m, which is stale afterwards. 0; -ENOMEM: the ring is full, and
 * there is no memory for one more goroutine. */
GOR__INLINE int gor__task_fork(gor__m *m, gor_task *t, void *(*fn)(void *), void *arg)
{
    gor__spec spec;
    gor__cancel *own = gor__m_g(m)->ctx;
    int rc;
    t->ctx = own ? gor__cancel_retain(own) : NULL;
    t->fn = fn;
    t->arg = arg;
    t->run = gor__task_run;
    t->finish = gor__task_finish;
    t->result = NULL;
    t->slot = NULL;
    gor__aptr_store_rlx(&t->waiters.head, NULL);
    t->waiters.tail = NULL;
    gor__au32_store_rlx(&t->lock.word, 0);
    gor__au32_store_rlx(&t->state, 0);
    if (GOR__LIKELY(gor__taskq_push(&gor__m_p(m)->taskq, t))) {
        gor__submitted();
        return 0;
    }
    memset(&spec, 0, sizeof spec);
    spec.fn = gor__task_run;
    spec.arg = t;
    spec.done = gor__task_finish;
    spec.done_arg = t;
    spec.site = "gor_fork\0";
    rc = gor__spawn(m, &spec);
    gor__cancel_release(own);                      /* a goroutine has its own reference */
    return rc;
}

void gor_fork(gor_task *t, void *(*fn)(void *), void *arg)
{
    gor__m *m = gor__need_goroutine(gor__enter(), "gor_fork");
    if (GOR__UNLIKELY(gor__task_fork(m, t, fn, arg) != 0)) {   /* now is early enough */
        gor__call_user(gor__task_run, t);
        gor__task_finish(t);
    }
    gor__leave(gor__self());
}

/* Take the task back, to run it on this stack or not at all. False: someone else has begun it. */
GOR__INLINE bool gor__task_take_back(gor__m *m, gor_task *t)
{
    if (!t->slot || !gor__taskq_take_back(&gor__m_p(m)->taskq, t))
        return false;
    t->slot = NULL;
    gor__cancel_release((gor__cancel *)t->ctx);
    return true;
}

GOR__INLINE bool gor__task_run_here(gor__m *m, gor_task *t)
{
    if (!gor__task_take_back(m, t))
        return false;
    gor__leave(m);
    t->result = t->fn(t->arg);
    gor__reenter();
    gor__task_finish(t);
    return true;
}

static void gor__task_wait(gor_task *t)
{
    gor__wait w;
    gor__node n;
    gor__lock(&t->lock, GOR__RANK_OBJECT);         /* even if it is done: I2 */
    if (gor__au32_load_rlx(&t->state) != 0) {
        gor__unlock(&t->lock, GOR__RANK_OBJECT);
        return;
    }
    gor__wait_init(&w, GOR__WHY_JOIN, t, false);
    gor__node_init(&n, &w, 0, NULL);
    gor__wait_in(&t->lock, &t->waiters, &n, GOR_FOREVER, NULL, false);
}

void *gor_join(gor_task *t)
{
    gor__m *m = gor__need_goroutine(gor__enter(), "gor_join");
    void *result;
    if (!gor__task_run_here(m, t))
        gor__task_wait(t);
    result = t->result;
    gor__leave(gor__self());
    return result;
}

/* -- parallel for -------------------------------------------------------------------------- */

typedef struct gor__range {
    size_t begin, end, grain;
    void (*fn)(size_t lo, size_t hi, void *arg);
    void  *arg;
} gor__range;

/* The upper half, while it is forked. */
typedef struct gor__half {
    gor__range  range;
    gor_task    task;
    gor__defer  drop;                  /* I3 */
} gor__half;

static void *gor__range_run(void *range);
static char gor__range_over;           /* its address: what gor__range_run returns             */

/* The forker's goroutine ends, having joined nothing. */
static void gor__half_drop(void *half)
{
    gor_task *t = &((gor__half *)half)->task;
    gor__m *m = gor__need_goroutine(gor__enter(), "gor_parallel_for");
    if (!gor__task_take_back(m, t))
        gor__task_wait(t);
    gor__leave(gor__self());
}

/* False, for want of memory: it is not forked. */
static bool gor__half_fork(gor__half *half)
{
    gor__m *m = gor__need_goroutine(gor__enter(), "gor_parallel_for");
    gor__g *g = gor__m_g(m);
    bool forked = gor__defer_push(g, &half->drop, gor__half_drop, half) == 0;
    if (forked && gor__task_fork(m, &half->task, gor__range_run, &half->range) != 0) {
        gor__defer_remove(g, &half->drop);
        forked = false;
    }
    gor__leave(gor__self());
    return forked;
}

/* Run it here, or wait for who does. As gor__range_run. */
static void *gor__half_join(gor__half *half)
{
    gor__m *m = gor__need_goroutine(gor__enter(), "gor_parallel_for");
    gor__g *g = gor__m_g(m);
    bool here = gor__task_take_back(m, &half->task);
    if (!here)
        gor__task_wait(&half->task);
    gor__defer_remove(g, &half->drop);             /* before fn is called: it may end g */
    gor__leave(gor__self());
    return here ? gor__range_run(&half->range) : half->task.result;
}

/* Fork the upper half, do the lower: the ranges that others steal are the largest there are. NULL:
 * a goroutine ended before it was through with one. */
static void *gor__range_run(void *range)
{
    gor__range *r = (gor__range *)range;
    gor__half upper;
    bool forked;
    void *lower, *rest;
    if (r->end - r->begin <= r->grain) {
        r->fn(r->begin, r->end, r->arg);
        return &gor__range_over;
    }
    upper.range = *r;
    r->end = upper.range.begin = r->begin + (r->end - r->begin) / 2;
    forked = gor__half_fork(&upper);
    lower = gor__range_run(r);
    rest = forked ? gor__half_join(&upper) : gor__range_run(&upper.range);
    return lower ? rest : NULL;
}

int gor_parallel_for(size_t begin, size_t end, size_t grain,
                     void (*fn)(size_t lo, size_t hi, void *arg), void *arg)
{
    gor__range r;
    gor__leave(gor__need_goroutine(gor__enter(), "gor_parallel_for"));
    if (!fn)
        return -EINVAL;
    if (begin >= end)
        return 0;
    if (grain == 0) {                              /* eight ranges per processor even it out */
        size_t pieces = 8 * (size_t)gor__au32_load_rlx(&gor__rt.n_asked);
        grain = (end - begin) / (pieces ? pieces : 1);
        grain = grain ? grain : 1;
    }
    r.begin = begin;
    r.end = end;
    r.grain = grain;
    r.fn = fn;
    r.arg = arg;
    return gor__range_run(&r) ? 0 : -ECANCELED;
}

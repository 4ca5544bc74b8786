/* ==== [wait] the one mechanism of waiting ====================================================
 * What        A blocked operation is a gor__wait on the stack of who waits; each thing it waits
 *             for has a queue, and a gor__node of the wait in it. Channels, select, locks, joins,
 *             contexts, deadlines, goroutines and foreign threads: all through here, but for sleeps
 *             that nothing cuts short ([time] gor__doze).
 * Protocol    Waiter:  lock the object; look; put a node in its queue; unlock; block; leave.
 *             Waker:   lock the object; gor__wq_take a node: it is out of the queue, and its wait
 *                      is claimed; hand over the value; unlock; gor__wake.
 * Invariants  I1 A wait is claimed once: by swapping fired 0 -> 1, or, if it has one source only,
 *                by taking its node, or as its timer fires. Who claimed it must wake it, and is
 *                the only one who may.
 *             I2 A node is read and written under its object's lock, until it is taken; after that
 *                by the claimer; after the wake-up by nobody but the waiter.
 *             I3 A waiter returns only when it has been woken and none of its nodes is in a queue.
 *                So nodes may live on its stack.
 *             I4 A waker's last touch of the object is its unlock, before gor__wake: the waiter
 *                may free the object as soon as it runs.
 *             I5 A goroutine's state is WAITING before its first node can be seen.
 * Locks       The object's (OBJECT or CTX or TIMERS).
 * Source      sudog and gopark of the Go runtime; choose of libdill.
 */
typedef struct gor__wait {
    gor__g   *g;                       /* NULL: a foreign thread                                */
    bool      many;                    /* more than one source: claim by fired                  */
    gor__au32 fired;
    gor__au32 woken;                   /* foreign thread: futex                                 */
    int       which;                   /* out: index of the source that ended it                */
    int       rc;                      /* out: its result                                       */
} gor__wait;

enum { GOR__BY_DEADLINE = -1, GOR__BY_CONTEXT = -2 };      /* sources besides the cases 0, 1, ... */

typedef struct gor__node {
    struct gor__node *next, *prev;
    gor__wq   *queue;                  /* the one it is in, or NULL                             */
    gor__wait *wait;
    void      *value;                  /* to send from, to receive into; or what the object likes */
    int64_t    amount;                 /* a semaphore's, a lock's                               */
    int        index;                  /* which source                                          */
} gor__node;

/* -- queues -------------------------------------------------------------------------------- */

/* The lock held; else a hint, and not to be touched. */
GOR__INLINE gor__node *gor__wq_first(const gor__wq *q)
{
    return (gor__node *)gor__aptr_load_rlx(&q->head);
}

GOR__INLINE void gor__wq_put(gor__wq *q, gor__node *n)
{
    n->next = NULL;
    n->prev = q->tail;
    n->queue = q;
    if (q->tail)
        q->tail->next = n;
    else
        gor__aptr_store_rlx(&q->head, n);
    q->tail = n;
}

static void gor__wq_put_first(gor__wq *q, gor__node *n)
{
    n->prev = NULL;
    n->next = gor__wq_first(q);
    n->queue = q;
    if (n->next)
        n->next->prev = n;
    else
        q->tail = n;
    gor__aptr_store_rlx(&q->head, n);
}

GOR__INLINE void gor__wq_remove(gor__wq *q, gor__node *n)
{
    if (n->prev)
        n->prev->next = n->next;
    else
        gor__aptr_store_rlx(&q->head, n->next);
    *(n->next ? &n->next->prev : &q->tail) = n->prev;
    n->queue = NULL;
}

/* True: the caller is the one who ends the wait. Never elided: the sleeper has no P ([poll] I7). */
GOR__INLINE bool gor__wait_claim(gor__wait *w)
{
    return !w->many || (gor__au32_load_rlx(&w->fired) == 0 && gor__au32_cas(&w->fired, 0, 1));
}

/* Take the first node whose wait can still be claimed, by n->index and rc; the others have been
 * ended elsewhere and leave. The caller hands over, unlocks and calls gor__wake. NULL: nobody
 * waits. */
GOR__INLINE gor__node *gor__wq_take(gor__wq *q, int rc)
{
    gor__node *n;
    while ((n = gor__wq_first(q)) != NULL) {
        gor__wq_remove(q, n);
        if (gor__wait_claim(n->wait)) {
            n->wait->which = n->index;
            n->wait->rc = rc;
            return n;
        }
    }
    return NULL;
}

/* Let a claimed wait go on. */
GOR__INLINE void gor__wake(gor__node *n)
{
    gor__wait *w = n->wait;
    if (w->g) {
        gor__ready(w->g);
        return;
    }
    if (!w->many)                                  /* it is awake from here on, whenever it runs */
        gor__au32_add(&gor__n_foreign, (uint32_t)-1);
    gor__au32_store_rel(&w->woken, 1);             /* rel wait.woken; w may be gone at once: the */
    gor__os_futex_wake(&w->woken, 1);              /* wake-up then hits nobody                   */
}

/* Take all, linked by next; gor__wake_all them after unlocking. */
static gor__node *gor__wq_take_all(gor__wq *q, int rc)
{
    gor__node *list = NULL, **at = &list, *n;
    while ((n = gor__wq_take(q, rc)) != NULL) {
        n->next = NULL;
        *at = n;
        at = &n->next;
    }
    return list;
}

static void gor__wake_all(gor__node *list)
{
    while (list) {
        gor__node *next = list->next;
        gor__wake(list);
        list = next;
    }
}

/* Leave a queue, if still in one. */
GOR__INLINE void gor__wq_leave_locked(gor__node *n)
{
    if (n->queue)
        gor__wq_remove(n->queue, n);
}

static void gor__wq_leave(gor__spin *lock, enum gor__rank rank, gor__node *n)
{
    gor__lock(lock, rank);
    gor__wq_leave_locked(n);
    gor__unlock_owned(lock, rank);
}

/* -- waiting ------------------------------------------------------------------------------- */

GOR__INLINE gor__g *gor__this_g(void)
{
    gor__m *m = gor__self();
    return m ? gor__m_g(m) : NULL;
}

/* The context that ends this goroutine's waits, or NULL. */
GOR__INLINE gor__cancel *gor__own_ctx(void)
{
    gor__m *m = gor__self();
    return m ? gor__m_g(m)->ctx : NULL;
}

/* c, or none, is that of m's goroutine from now on, which inlined locks heed. */
GOR__INLINE void gor__set_own_ctx(gor__m *m, gor__cancel *c)
{
    gor__m_g(m)->ctx = c;
    gor__mine_end(m);
}

/* 0, or -ECANCELED, -ETIMEDOUT. A deadline that has passed counts even before its timer has fired,
 * if nobody has cancelled c before it passed: asked last. */
static int gor__cancel_err(gor__cancel *c)
{
    uint32_t err = c ? gor__au32_load_acq(&c->err) : 0;
    if (c && !err && gor__ai64_load_rlx(&c->deadline) != GOR_FOREVER &&
        gor__is_past(gor__ai64_load_rlx(&c->deadline))) {
        err = gor__au32_load_acq(&c->err);
        err = err ? err : ETIMEDOUT;
    }
    return -(int)err;
}

GOR__INLINE int gor__own_ctx_err(void)
{
    gor__cancel *c = gor__own_ctx();
    return GOR__LIKELY(c == NULL) ? 0 : gor__cancel_err(c);
}

/* The fields that gor__block and those who claim by fired read. */
GOR__INLINE void gor__wait_clear(gor__wait *w)
{
    gor__au32_store_rlx(&w->fired, 0);
    gor__au32_store_rlx(&w->woken, 0);
    w->which = GOR__BY_DEADLINE;
    w->rc = 0;
}

/* g, which runs, waits from now on. */
GOR__INLINE void gor__g_waits(gor__g *g, enum gor__why why, const void *object)
{
    union { const void *from; void *to; } u;
    u.from = object;
    gor__au32_store_rlx(&g->why, why);
    gor__aptr_store_rlx(&g->why_object, u.to);
    gor__ai64_store_rlx(&g->since, gor__ai64_load_rlx(&gor__rt.coarse_ns));
    gor__au32_store_rel(&g->state, GOR__WAITING);  /* rel g.state: [tidy] T2 */
}

/* Begin a wait of g, which runs; NULL: of this thread. many: more than one thing may end it. */
GOR__INLINE void gor__wait_begin(gor__wait *w, gor__g *g, enum gor__why why, const void *object,
                                 bool many)
{
    w->g = g;
    w->many = many;
    if (GOR__LIKELY(g))
        gor__g_waits(g, why, object);
}

GOR__INLINE void gor__wait_init(gor__wait *w, enum gor__why why, const void *object, bool many)
{
    gor__wait_clear(w);
    gor__wait_begin(w, gor__this_g(), why, object, many);
}

GOR__INLINE void gor__node_init(gor__node *n, gor__wait *w, int index, void *value)
{
    n->queue = NULL;
    n->wait = w;
    n->index = index;
    n->value = value;
    n->amount = 0;
}

/* The timer of a deadline fires: end the wait, if nobody has. Under the timers' lock. Both lie
 * on the waiter's stack: they may be gone once owner is cleared, or, if the wait is ours, once g
 * is ready. */
static bool gor__deadline_fire(gor_timer *t, int64_t now)
{
    gor__wait *w = (gor__wait *)t->arg;
    gor__g *g = w->g;
    bool ours = gor__wait_claim(w);
    (void)now;
    if (ours) {
        w->which = GOR__BY_DEADLINE;
        w->rc = -ETIMEDOUT;
    }
    gor__aptr_store_rel(&t->owner, NULL);
    if (ours)
        gor__ready(g);
    return true;
}

/* A timer on the stack of a goroutine that waits, or is about to. */
GOR__INLINE void gor__timer_for_wait(gor_timer *t, int64_t when,
                                     bool (*fire)(gor_timer *t, int64_t now), void *arg)
{
    gor__aptr_store_rlx(&t->owner, NULL);
    t->when = when;
    gor__aptr_store_rlx(&t->run, NULL);
    t->fire = fire;
    t->arg = arg;
}

/* Who waits until t fires, or NULL: it is no deadline. */
GOR__INLINE const gor__g *gor__deadline_waiter(const gor_timer *t)
{
    return t->fire == gor__deadline_fire ? ((const gor__wait *)t->arg)->g : NULL;
}

/* On p, the caller's; without one, on the first. */
static GOR__NOINLINE int gor__timer_begin_any(gor__p *p, gor_timer *t, int64_t ns)
{
    bool soonest;
    int64_t when = t->when;
    int rc = gor__timer_add(p ? &p->timers : &gor__p_at(0)->timers, t, &soonest);
    if (soonest)
        gor__timer_tell_if_near(p, when, ns);
    return rc;
}

/* gor__timer_begin on p, the caller's, if that locks nothing. False: it has not begun. */
GOR__INLINE bool gor__timer_begin_near(gor__p *p, gor_timer *t, int64_t ns)
{
    int64_t when = t->when;                        /* once added it may be gone */
    bool soonest = false;
    if (GOR__UNLIKELY(!gor__timer_add_near(p, t, 0, &soonest)))
        return false;
    if (soonest)
        gor__timer_tell_if_near(p, when, ns);
    return true;
}

/* Start a timer whose when and fire are set, on the caller's P. It is due in ns, if the caller
 * knows that without asking the clock, or GOR__UNKNOWN_NS. 0 or -ENOMEM. */
static GOR__NOINLINE int gor__timer_begin(gor_timer *t, int64_t ns)
{
    gor__p *p = gor__p_of(gor__self());
    if (GOR__LIKELY(p && gor__timer_begin_near(p, t, ns)))
        return 0;
    return gor__timer_begin_any(p, t, ns);
}

/* The waker counts n_foreign down: from then on this thread is awake, whenever it runs. */
static GOR__NOINLINE void gor__block_thread(gor__wait *w, int64_t deadline)
{
    if (!w->many)
        gor__au32_add(&gor__n_foreign, 1);
    gor__foreign_out();
    while (gor__au32_load_acq(&w->woken) == 0) {   /* acq wait.woken */
        gor__os_futex_wait(&w->woken, 0, deadline);
        if (deadline != GOR_FOREVER && gor__os_now() >= deadline &&
            gor__au32_load_acq(&w->woken) == 0) {
            if (gor__au32_cas(&w->fired, 0, 1)) {
                w->which = GOR__BY_DEADLINE;
                w->rc = -ETIMEDOUT;
                break;
            }
            deadline = GOR_FOREVER;                /* claimed by another: it will wake us */
        }
    }
    gor__foreign_enter();
}

/* End a wait that the caller itself claims, before blocking: it could not be begun, or is done. */
static void gor__wait_give_up(gor__wait *w, int which, int rc)
{
    if (gor__au32_cas(&w->fired, 0, 1)) {
        w->which = which;
        w->rc = rc;
        if (w->g)
            gor__au32_store_rel(&w->g->state, GOR__RUNNING);
        gor__au32_store_rel(&w->woken, 2);         /* ours: do not block */
    }
}

/* See to it that the deadline of c passes by itself. 0, -ENOMEM. */
GOR__INLINE int gor__cancel_time(gor__cancel *c)
{
    bool timed = gor__ai64_load_rlx(&c->deadline) == GOR_FOREVER ||
                 gor__au64_load_acq(&c->timed) == gor__rt.epoch;           /* acq cancel.timed */
    return GOR__LIKELY(timed) ? 0 : gor__up.cancel_time(c);
}

/* Queue n at c; the wait ends here if c is done, or no memory is left for its deadline. */
static void gor__cancel_watch(gor__cancel *c, gor__node *n)
{
    int err;
    if (GOR__UNLIKELY(gor__cancel_time(c) != 0)) {
        gor__wait_give_up(n->wait, GOR__BY_DEADLINE, -ENOMEM);
        return;
    }
    gor__lock(&c->lock, GOR__RANK_CTX);
    err = gor__cancel_err(c);
    if (err == 0)
        gor__wq_put(&c->waiters, n);
    gor__unlock(&c->lock, GOR__RANK_CTX);
    if (err != 0)
        gor__wait_give_up(n->wait, n->index, n->index >= 0 ? 0 : err);
}

/* The next three are the steps of gor__block, each with a frame of its own: what a wait does not
 * need is not on the stack that waits. */
static void gor__block_here(gor__wait *w, int64_t deadline)
{
    if (gor__au32_load_rlx(&w->woken) == 2)
        return;
    if (w->g)
        gor__park();
    else
        gor__block_thread(w, deadline);
}

static GOR__NOINLINE void gor__block_watching(gor__wait *w, int64_t deadline, gor__cancel *own)
{
    gor__node node;
    gor__node_init(&node, w, GOR__BY_CONTEXT, NULL);
    gor__cancel_watch(own, &node);
    gor__block_here(w, deadline);
    gor__wq_leave(&own->lock, GOR__RANK_CTX, &node);
}

static GOR__NOINLINE void gor__block_until(gor__wait *w, int64_t deadline, gor__cancel *own)
{
    gor_timer timer;
    gor__timer_for_wait(&timer, deadline, gor__deadline_fire, w);
    if (gor__timer_begin(&timer, GOR__UNKNOWN_NS) != 0)
        gor__wait_give_up(w, GOR__BY_DEADLINE, -ENOMEM);
    if (own)
        gor__block_watching(w, deadline, own);
    else
        gor__block_here(w, deadline);
    gor__timer_end(&timer);
}

/* Block until the wait has been ended, by its objects, the deadline or the own context. Its
 * nodes are in their queues, no lock is held. Returns w->rc. */
static int gor__block(gor__wait *w, int64_t deadline, gor__cancel *own)
{
    if (w->g && deadline != GOR_FOREVER)
        gor__block_until(w, deadline, own);
    else if (own)
        gor__block_watching(w, deadline, own);
    else
        gor__block_here(w, deadline);
    return w->rc;
}

/* gor__wait_in's less common ways. */
static GOR__NOINLINE int gor__wait_block(gor__spin *lock, gor__node *n, int64_t deadline,
                                         gor__cancel *own)
{
    gor__block(n->wait, deadline, own);
    if (n->wait->which < 0)
        gor__wq_leave(lock, GOR__RANK_OBJECT, n);
    return n->wait->rc;
}

/* Wait in q, under lock, which the caller holds and gets back released. n is initialised, w too,
 * with many true if there is a deadline or an own context. first: go before all others.
 * Returns the waker's rc; -ETIMEDOUT, -ECANCELED, -ENOMEM: the node has left the queue. */
static int gor__wait_in(gor__spin *lock, gor__wq *q, gor__node *n, int64_t deadline,
                        gor__cancel *own, bool first)
{
    if (first)
        gor__wq_put_first(q, n);
    else
        gor__wq_put(q, n);
    gor__unlock_owned(lock, GOR__RANK_OBJECT);
    if (n->wait->many || !n->wait->g)
        return gor__wait_block(lock, n, deadline, own);
    gor__park();
    return n->wait->rc;
}

/* A wait of g, NULL: of this thread, begins in q, whose lock is held. */
GOR__INLINE void gor__wait_queue(gor__wait *w, gor__node *n, gor__g *g, gor__wq *q, void *value,
                                 int64_t amount, bool many, enum gor__why why, const void *object)
{
    if (GOR__UNLIKELY(many || !g))
        gor__wait_clear(w);                        /* else only rc is read: who takes n sets it */
    gor__wait_begin(w, g, why, object, many);
    gor__node_init(n, w, 0, value);
    n->amount = amount;
    gor__wq_put(q, n);
}

/* gor__wait_in for the common case: one object, in turn. g: who waits, NULL: this thread. For
 * functions that are GOR__SWITCHES. */
GOR__INLINE int gor__wait_of(gor__g *g, gor__spin *lock, gor__wq *q, void *value, int64_t amount,
                             int64_t deadline, enum gor__why why, const void *object)
{
    gor__cancel *own = g ? g->ctx : NULL;
    bool many = own || deadline != GOR_FOREVER;
    gor__wait w;
    gor__node n;
    if (GOR__UNLIKELY(deadline != GOR_FOREVER && gor__is_past(deadline))) {
        gor__unlock_owned(lock, GOR__RANK_OBJECT);
        return -ETIMEDOUT;
    }
    gor__wait_queue(&w, &n, g, q, value, amount, many, why, object);
    gor__unlock_owned(lock, GOR__RANK_OBJECT);
    if (GOR__UNLIKELY(many || !g))
        return gor__wait_block(lock, &n, deadline, own);
    gor__park_here(g);
    return w.rc;
}

GOR__SWITCHES static int gor__wait_simple(gor__spin *lock, gor__wq *q, void *value, int64_t amount,
                                          int64_t deadline, enum gor__why why, const void *object)
{
    return gor__wait_of(gor__this_g(), lock, q, value, amount, deadline, why, object);
}

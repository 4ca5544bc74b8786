/* ==== [context] a tree of cancellation =======================================================
 * What        A context is a gor__cancel ([core]) with a place in a tree.
 * Invariants  I1 A child holds a reference to its parent; the parent's list of children holds
 *                none.
 *             I2 A child's links belong to its parent's lock while `linked`, then to the
 *                canceller.
 *             I3 err goes from 0 to its value once, under the lock; cause is there before.
 *             I4 A function for afterwards has its G, not yet counted or queued, from the start,
 *                and a deadline that can have no goroutine is acted on by the P that fires its
 *                timer: being done needs no memory. The function ends with the run of its G.
 *             I5 A deadline has a timer in the run that `timed` names: its context's, or that of
 *                the ancestor that it was taken from. Timers end with their run, contexts do not:
 *                who waits for one gives it a timer in this run (gor__cancel_time).
 * Locks       c->lock (CTX), one at a time: a tree is cancelled from a work list, so that a chain
 *             of any depth needs no stack.
 * Source      context.go of Go.
 */
struct gor_ctx {
    gor__cancel  base;                 /* first: a gor_ctx is a gor__cancel                     */
    gor_ctx     *parent;
    gor_ctx     *children, *next, *prev;
    bool         linked;
    bool         constant;             /* the background                                        */
    bool         never;                /* without cancel                                        */
    int          cause;
    const void  *key;
    void        *value;
    gor_chan    *done;
    gor__g      *afters;               /* I4, by link                                           */
    uint64_t     afters_epoch;         /* the run that they are of                              */
    gor_timer    timer;
};

static gor_ctx gor__background = {
    { { { 0 } }, { 0 }, { { NULL }, NULL }, { GOR_FOREVER }, { 1 }, NULL, { 0 } },
    NULL, NULL, NULL, NULL, false, true, true, 0, NULL, NULL, NULL, NULL, 0,
    { 0, NULL, NULL, NULL, { NULL }, 0, { 0 }, { NULL }, { { 0 } } }
};

static void gor__ctx_lock(gor_ctx *c) { gor__lock(&c->base.lock, GOR__RANK_CTX); }
static void gor__ctx_unlock(gor_ctx *c) { gor__unlock(&c->base.lock, GOR__RANK_CTX); }

static void gor__ctx_unlink_locked(gor_ctx *c)
{
    *(c->prev ? &c->prev->next : &c->parent->children) = c->next;
    if (c->next)
        c->next->prev = c->prev;
    c->linked = false;
}

/* Take the functions for afterwards; those of an earlier run are no more. */
static gor__g *gor__ctx_take_afters(gor_ctx *c)
{
    bool ours = gor__is_on() && c->afters_epoch == gor__rt.epoch;
    gor__g *list = ours ? c->afters : NULL;
    c->afters = NULL;
    return list;
}

static void gor__ctx_drop_afters(gor__g *list)
{
    gor__g *g;
    while ((g = gor__g_pop(&list)) != NULL)
        gor__g_discard(g);
}

static void gor__ctx_run_afters(gor__g *list)
{
    gor__g *g;
    while ((g = gor__g_pop(&list)) != NULL)
        gor__start(gor__self(), g);
}

/* The last reference is gone. Up the tree in a loop: chains may be long. */
static void gor__ctx_destroy(gor__cancel *base)
{
    gor_ctx *c = (gor_ctx *)(void *)base;
    while (c) {
        gor_ctx *parent = c->parent;
        if (parent) {
            gor__ctx_lock(parent);
            if (c->linked)
                gor__ctx_unlink_locked(c);
            gor__ctx_unlock(parent);
        }
        gor__timer_end(&c->timer);
        gor__ctx_lock(c);                          /* a canceller that had it is through */
        gor__ctx_unlock(c);
        gor__ctx_drop_afters(gor__ctx_take_afters(c));
        gor__chan_release(c->done);
        gor__free(c, sizeof *c);
        c = parent && !parent->constant && gor__au32_add(&parent->base.refs, (uint32_t)-1) == 1
            ? parent : NULL;
    }
}

static bool gor__ctx_try_retain(gor_ctx *c)
{
    for (;;) {
        uint32_t refs = gor__au32_load_rlx(&c->base.refs);
        if (refs == 0)
            return false;
        if (gor__au32_cas(&c->base.refs, refs, refs + 1))
            return true;
    }
}

/* Make one context done, and put its children, with a reference each, on the work list. If its
 * deadline has passed, that came first: whoever asked meanwhile has been told so. */
static gor_ctx *gor__ctx_cancel_one(gor_ctx *c, int err, int cause, gor_ctx *work)
{
    gor__node *list = NULL;
    gor__g *afters = NULL;
    gor__ctx_lock(c);
    if (gor__au32_load_rlx(&c->base.err) == 0) {
        if (gor__cancel_err(&c->base) != 0)
            err = cause = -ETIMEDOUT;
        c->cause = cause;
        gor__au32_store_rel(&c->base.err, (uint32_t)-err);
        list = gor__wq_take_all(&c->base.waiters, err);
        for (gor__node *n = list; n; n = n->next)
            if (n->index >= 0)
                n->wait->rc = 0;                   /* a case of a select: it has run */
        afters = gor__ctx_take_afters(c);
        if (c->done)
            gor__chan_close(c->done);
        while (c->children) {
            gor_ctx *child = c->children;
            gor__ctx_unlink_locked(child);
            if (gor__ctx_try_retain(child)) {
                child->next = work;
                work = child;
            }
        }
    }
    gor__ctx_unlock(c);
    gor__wake_all(list);
    gor__ctx_run_afters(afters);
    return work;
}

static void gor__ctx_cancel_tree(gor_ctx *c, int err, int cause)
{
    gor_ctx *work = gor__ctx_cancel_one(c, err, cause, NULL);
    while (work) {
        gor_ctx *child = work;
        work = gor__ctx_cancel_one(child, err, cause, child->next);
        gor__cancel_release(&child->base);
    }
}

static void gor__ctx_expire(void *c)
{
    gor__enter();
    gor__ctx_cancel_tree((gor_ctx *)c, -ETIMEDOUT, -ETIMEDOUT);
    gor__leave(gor__self());
}

/* On g0, for want of memory for a goroutine. */
static void gor__ctx_expire_here(void *p)
{
    gor_ctx *c = (gor_ctx *)p;
    gor__ctx_cancel_tree(c, -ETIMEDOUT, -ETIMEDOUT);
    gor__cancel_release(&c->base);
}

/* The deadline has come. Cancelling may release, and releasing stops timers: not under their
 * lock. And it may take long: others are to run meanwhile. The reference is the goroutine's, so
 * that it is given back even if the run ends before that does. */
static bool gor__ctx_fire(gor_timer *t, int64_t now)
{
    gor_ctx *c = (gor_ctx *)t->arg;
    gor__spec s = { gor__ctx_expire, c, "deadline of a context\0",
                    NULL, 0, NULL, NULL, NULL, &gor__no_ctx };
    gor__m *m = gor__self();
    gor__g *g;
    (void)now;
    if (gor__ctx_try_retain(c)) {
        if (gor__g_make(m, &s, &g) == 0) {
            gor__g_set_ctx(g, &c->base);
            gor__start(m, g);
        } else {
            gor__timer_defer(t);
        }
    }
    gor__aptr_store_rel(&t->owner, NULL);          /* last: who destroys c waits for this */
    return true;
}

static gor_ctx *gor__ctx_root(gor_ctx *c) { return c ? c : &gor__background; }

/* Link c under parent, or take over that the parent is done. */
static void gor__ctx_link(gor_ctx *c, gor_ctx *parent)
{
    int err, cause;
    if (parent->constant)
        return;
    gor__ctx_lock(parent);
    err = gor__cancel_err(&parent->base);
    cause = gor__au32_load_rlx(&parent->base.err) ? parent->cause : err;
    if (err == 0) {
        c->next = parent->children;
        if (c->next)
            c->next->prev = c;
        parent->children = c;
        c->linked = true;
    }
    gor__ctx_unlock(parent);
    if (err != 0) {                                /* nobody else knows c yet */
        c->cause = cause;
        gor__au32_store_rel(&c->base.err, (uint32_t)-err);
    }
}

/* Become the one who sets the timer of c, which may say that it is one of a run that has left
 * orphans, or forked. False: it is set, or nobody needs it. */
static bool gor__ctx_claim_timer(gor_ctx *c)
{
    for (;;) {
        void *owner = gor__aptr_load_acq(&c->timer.owner);             /* acq t.owner: its epoch */
        if (!gor__is_on() || gor__au32_load_acq(&c->base.err) != 0 ||
            gor__au64_load_acq(&c->base.timed) == gor__rt.epoch)
            return false;
        if (owner == &gor__timer_busy) {
            gor__os_yield();
            continue;
        }
        if (owner && gor__au32_load_rlx(&c->timer.epoch) == (uint32_t)gor__rt.epoch)
            return false;
        if (gor__aptr_cas(&c->timer.owner, owner, &gor__timer_busy))
            return true;
    }
}

/* A timer for the deadline, in this run; without a runtime the clock alone decides. 0, -ENOMEM. */
static int gor__ctx_time(gor__cancel *base)
{
    gor_ctx *c = (gor_ctx *)(void *)base;
    int rc;
    if (!gor__ctx_claim_timer(c))
        return 0;
    c->timer.when = gor__ai64_load_rlx(&base->deadline);
    c->timer.fire = gor__ctx_fire;
    c->timer.fn = gor__ctx_expire_here;
    c->timer.arg = c;
    gor__au32_store_rlx(&c->timer.epoch, (uint32_t)gor__rt.epoch);
    rc = gor__timer_begin(&c->timer, GOR__UNKNOWN_NS);
    if (rc == 0)
        gor__au64_store_rel(&base->timed, gor__rt.epoch);                   /* rel cancel.timed */
    else
        gor__aptr_store_rel(&c->timer.owner, NULL);
    return rc;
}

/* Arm the deadline, if it is c's own. */
static int gor__ctx_arm(gor_ctx *c, int64_t deadline)
{
    if (deadline >= gor__ai64_load_rlx(&c->base.deadline))
        return 0;
    gor__ai64_store_rlx(&c->base.deadline, deadline);
    gor__au64_store_rlx(&c->base.timed, 0);
    if (!gor__is_past(deadline))
        return gor__ctx_time(&c->base);
    gor__ctx_cancel_tree(c, -ETIMEDOUT, -ETIMEDOUT);
    return 0;
}

static gor_ctx *gor__ctx_new(gor_ctx *parent, bool linked, int64_t deadline, const void *key,
                             void *value)
{
    gor_ctx *c = NULL;
    gor__enter();
    parent = gor__ctx_root(parent);
    if (gor__cancel_time(&parent->base) == 0)
        c = (gor_ctx *)gor__zalloc(sizeof *c);
    if (c) {
        gor__au32_store_rlx(&c->base.refs, 1);
        c->base.destroy = gor__ctx_destroy;
        gor__ai64_store_rlx(&c->base.deadline,
                            linked ? gor__ai64_load_rlx(&parent->base.deadline) : GOR_FOREVER);
        gor__au64_store_rlx(&c->base.timed, gor__au64_load_rlx(&parent->base.timed));
        c->key = key;
        c->value = value;
        c->parent = parent;
        gor__cancel_retain(&parent->base);
        if (linked)
            gor__ctx_link(c, parent);
        c->never = !linked;
        if (gor__ctx_arm(c, deadline) != 0) {
            gor__cancel_release(&c->base);
            c = NULL;
        }
    }
    gor__leave(gor__self());
    return c;
}

gor_ctx *gor_ctx_background(void) { return &gor__background; }

gor_ctx *gor_ctx_with_cancel(gor_ctx *parent)
{
    return gor__ctx_new(parent, true, GOR_FOREVER, NULL, NULL);
}

gor_ctx *gor_ctx_with_deadline(gor_ctx *parent, int64_t t)
{
    return gor__ctx_new(parent, true, t, NULL, NULL);
}

gor_ctx *gor_ctx_with_timeout(gor_ctx *parent, int64_t ns)
{
    return gor__ctx_new(parent, true, gor__deadline_after(ns), NULL, NULL);
}

gor_ctx *gor_ctx_with_value(gor_ctx *parent, const void *key, void *value)
{
    return gor__ctx_new(parent, true, GOR_FOREVER, key, value);
}

gor_ctx *gor_ctx_without_cancel(gor_ctx *parent)
{
    return gor__ctx_new(parent, false, GOR_FOREVER, NULL, NULL);
}

void gor_ctx_cancel(gor_ctx *c, int cause)
{
    if (!c || c->never)
        return;
    gor__enter();
    gor__ctx_cancel_tree(c, -ECANCELED, cause ? cause : -ECANCELED);
    gor__timer_end(&c->timer);
    gor__leave(gor__self());
}

int gor_ctx_err(gor_ctx *c) { return gor__cancel_err(&gor__ctx_root(c)->base); }

int gor_ctx_cause(gor_ctx *c)
{
    c = gor__ctx_root(c);
    return gor__au32_load_acq(&c->base.err) ? c->cause : gor__cancel_err(&c->base);
}

void *gor_ctx_value(gor_ctx *c, const void *key)
{
    for (; c; c = c->parent)
        if (c->key == key && key)
            return c->value;
    return NULL;
}

gor_chan *gor_ctx_done(gor_ctx *c)
{
    gor_chan *mine, *done;
    bool timed;
    c = gor__ctx_root(c);
    if (c->never)
        return NULL;
    mine = gor_chan_new(0, 0);
    gor__enter();
    timed = gor__cancel_time(&c->base) == 0;
    gor__ctx_lock(c);
    if (!c->done && mine) {
        c->done = mine;
        mine = NULL;
        if (gor__au32_load_rlx(&c->base.err))
            gor__chan_close(c->done);
    }
    done = timed ? c->done : NULL;
    gor__ctx_unlock(c);
    gor__chan_release(mine);
    gor__leave(gor__self());
    return done;
}

int64_t gor_ctx_deadline(gor_ctx *c)
{
    return gor__ai64_load_rlx(&gor__ctx_root(c)->base.deadline);
}

/* False: c is done. */
static bool gor__ctx_add_after(gor_ctx *c, gor__g *g)
{
    bool live;
    gor__ctx_lock(c);
    live = gor__au32_load_rlx(&c->base.err) == 0;
    if (live) {
        gor__g *list = gor__ctx_take_afters(c);
        gor__g_push(&list, g);
        c->afters = list;
        c->afters_epoch = gor__rt.epoch;
    }
    gor__ctx_unlock(c);
    return live;
}

int gor_ctx_after(gor_ctx *c, void (*fn)(void *), void *arg)
{
    gor__spec s = { fn, arg, "gor_ctx_after\0", NULL, 0, NULL, NULL, NULL, &gor__no_ctx };
    gor__g *g = NULL;
    int rc;
    c = gor__ctx_root(c);
    if (!fn)
        return -EINVAL;
    if (c->never)
        return 0;
    gor__enter();
    rc = gor__cancel_time(&c->base);
    if (rc == 0)
        rc = gor__g_make(gor__self(), &s, &g);
    if (rc == 0 && !gor__ctx_add_after(c, g))
        gor__start(gor__self(), g);
    gor__leave(gor__self());
    return rc;
}

gor_ctx *gor_ctx_retain(gor_ctx *c)
{
    gor__m *m = gor__enter();
    if (c && !c->constant)
        gor__cancel_retain(&c->base);
    gor__leave(m);
    return c;
}

void gor_ctx_release(gor_ctx *c)
{
    gor__m *m = gor__enter();
    if (c && !c->constant)
        gor__cancel_release(&c->base);
    gor__leave(m);
}

gor_ctx *gor_ctx_enter(gor_ctx *c)
{
    gor__m *m = gor__need_goroutine(gor__enter(), "gor_ctx_enter");
    gor_ctx *old = (gor_ctx *)(void *)gor__m_g(m)->ctx;
    gor__set_own_ctx(m, c && !c->constant ? &c->base : NULL);
    gor__leave(m);
    return old;
}

/* -- groups -------------------------------------------------------------------------------- */

typedef struct gor__group_call { gor_group *g; int (*fn)(void *); void *arg; } gor__group_call;

static void gor__group_fail(gor_group *g, int rc)
{
    if (rc != 0 && gor__au32_cas(&g->error, 0, (uint32_t)rc))
        gor_ctx_cancel(g->ctx, rc);
}

static void gor__group_run(void *p)
{
    gor__group_call *call = (gor__group_call *)p;
    gor__group_fail(call->g, call->fn(call->arg));
}

/* However it ended. The last touch of the group is the wait group's. */
static void gor__group_done(void *p)
{
    gor_group *g = (gor_group *)p;
    if (g->limit > 0) {
        gor__lock(&g->slots.lock, GOR__RANK_OBJECT);
        g->slots.permits++;
        gor__sem_serve(&g->slots);
    }
    gor__wg_add(&g->wg, -1, "gor_group");
}

void gor_group_init(gor_group *g, gor_ctx *parent, int limit)
{
    memset(g, 0, sizeof *g);
    g->limit = limit;
    g->slots.permits = limit > 0 ? limit : 0;
    g->ctx = gor_ctx_with_cancel(parent);
    if (!g->ctx)
        gor__au32_store_rlx(&g->error, (uint32_t)-ENOMEM);
}

gor_ctx *gor_group_ctx(gor_group *g) { return g->ctx; }

int gor__group_go_at(gor_group *g, int (*fn)(void *), void *arg, const char *site)
{
    gor__group_call call = { g, fn, arg };
    gor__spec s = { gor__group_run, NULL, site, &call, sizeof call, NULL,
                    gor__group_done, g, NULL };
    int rc;
    if (!fn)
        return -EINVAL;
    if (!g->ctx)
        return -ENOMEM;
    rc = g->limit > 0 ? gor_sem_acquire(&g->slots, 1) : 0;
    if (rc != 0)
        return rc;
    s.ctx = &g->ctx->base;
    gor__enter();
    gor__wg_add(&g->wg, 1, "gor_group");
    rc = gor__spawn(gor__self(), &s);
    if (rc != 0)
        gor__group_done(g);
    gor__leave(gor__self());
    return rc;
}

int (gor_group_go)(gor_group *g, int (*fn)(void *), void *arg)
{
    return gor__group_go_at(g, fn, arg, "?\0?");
}

int gor_group_wait(gor_group *g)
{
    gor__m *m = gor__enter();
    gor__cancel *own = m ? gor__m_g(m)->ctx : NULL;
    if (own)                                       /* waits for all, whatever happens to it */
        gor__set_own_ctx(m, NULL);
    gor__wg_wait(&g->wg, GOR_FOREVER);
    if (own)
        gor__set_own_ctx(gor__self(), own);
    gor__leave(gor__self());
    gor_ctx_cancel(g->ctx, 0);
    gor_ctx_release(g->ctx);
    g->ctx = NULL;
    return (int)gor__au32_load_rlx(&g->error);
}

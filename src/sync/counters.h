/* ==== [counters] wait group, semaphore, barrier ==============================================
 * Each is a number and a queue under one small lock, which for a wait group is a bit of the number.
 * Whoever makes the number right takes the
 * waiters out under the lock, and wakes them after it: they may free the object.
 */

/* -- wait group -------------------------------------------------------------------------------
 * What        state: four times the count; QUEUED: somebody may wait; LOCKED: somebody is at the
 *             queue. Adding is one compare-and-swap, and so is each that locks.
 * Invariants  I1 While LOCKED nobody else changes state: an unlock is a plain store.
 *             I2 Who is about to wait locks and sets QUEUED in one, when the count is not 0. The
 *                add that ends a wait locks and makes the count 0 in one; when it unlocks, all of
 *                state becomes 0. So who finds that may return at once: whoever made the count 0
 *                has let go of the wait group, and it may be freed.
 */
enum { GOR__WG_QUEUED = 1, GOR__WG_LOCKED = 2, GOR__WG_ONE = 4 };

static GOR__NOINLINE uint64_t gor__wg_await_unlock(gor_wg *wg)
{
    uint64_t s;
    for (int i = 0; (s = gor__au64_load_acq(&wg->state)) & GOR__WG_LOCKED; i++)   /* acq wg.state */
        gor__spin_again(i);
    return s;
}

/* What state is while nobody is at the queue. */
GOR__INLINE uint64_t gor__wg_state(gor_wg *wg)
{
    uint64_t s = gor__au64_load_acq(&wg->state);   /* acq wg.state: the dones before ours */
    return GOR__LIKELY(!(s & GOR__WG_LOCKED)) ? s : gor__wg_await_unlock(wg);
}

/* Change state from `old`. Elided as locks are. */
GOR__INLINE bool gor__wg_swap(gor_wg *wg, uint64_t old, uint64_t to)
{
    if (GOR__LIKELY(gor__au32_load_rlx(&gor__shared) == 0)) {
        gor__au64_store_rel(&wg->state, to);
        return true;
    }
    return gor__au64_cas(&wg->state, old, to);     /* rel wg.state: what was done before it */
}

GOR__INLINE bool gor__wg_lock(gor_wg *wg, uint64_t old, uint64_t to)
{
    if (!gor__wg_swap(wg, old, to | GOR__WG_LOCKED))
        return false;
    gor__rank_push(GOR__RANK_OBJECT);
    return true;
}

GOR__INLINE void gor__wg_unlock(gor_wg *wg, uint64_t to)
{
    gor__rank_pop(GOR__RANK_OBJECT);
    gor__au64_store_rel(&wg->state, to);           /* rel wg.state; I1 */
}

/* The count becomes 0 while somebody waits. False: it does not any more. */
static GOR__NOINLINE bool gor__wg_zero(gor_wg *wg, uint64_t old)
{
    gor__node *list;
    if (!gor__wg_lock(wg, old, 0))
        return false;
    list = gor__wq_take_all(&wg->waiters, 0);
    gor__wg_unlock(wg, 0);
    gor__wake_all(list);
    return true;
}

GOR__INLINE void gor__wg_add(gor_wg *wg, int64_t n, const char *here)
{
    uint64_t old, to;
    bool done;
    do {
        old = gor__wg_state(wg);
        if (GOR__UNLIKELY(n > 0 ? (int64_t)old / GOR__WG_ONE > INT64_MAX / GOR__WG_ONE - n
                                : (int64_t)old / GOR__WG_ONE < INT64_MIN / GOR__WG_ONE - n))
            gor__panic_raise(here, n > 0 ? "wait group counter overflow"
                                         : "negative wait group counter");
        to = old + GOR__WG_ONE * (uint64_t)n;
        done = to == GOR__WG_QUEUED ? gor__wg_zero(wg, old) : gor__wg_swap(wg, old, to);
    } while (GOR__UNLIKELY(!done));
    if (GOR__UNLIKELY((int64_t)to < 0))
        gor__panic_raise(here, "negative wait group counter");
}

void gor__wg_add_at(gor_wg *wg, int64_t n, const char *here)
{
    gor__m *m = gor__enter();
    gor__wg_add(wg, n, here);
    gor__leave(m);
}

void (gor_wg_add)(gor_wg *wg, int64_t n) { gor__wg_add_at(wg, n, "?"); }
void (gor_wg_done)(gor_wg *wg) { gor__wg_add_at(wg, -1, "?"); }

/* A wait that was ended elsewhere leaves the queue. */
static void gor__wg_leave(gor_wg *wg, gor__node *n)
{
    uint64_t s;
    do
        s = gor__wg_state(wg);
    while (!gor__wg_lock(wg, s, s));
    gor__wq_leave_locked(n);
    gor__wg_unlock(wg, s);
}

/* Wait. wg is locked, s what state is to be after it. */
GOR__SWITCHES static int gor__wg_queue(gor_wg *wg, uint64_t s, int64_t deadline)
{
    gor__g *g = gor__this_g();
    gor__cancel *own = g ? g->ctx : NULL;
    bool many = own || deadline != GOR_FOREVER;
    gor__wait w;
    gor__node n;
    if (GOR__UNLIKELY(deadline != GOR_FOREVER && gor__is_past(deadline))) {
        gor__wg_unlock(wg, s);
        return -ETIMEDOUT;
    }
    gor__wait_queue(&w, &n, g, &wg->waiters, NULL, 0, many, GOR__WHY_WG, wg);
    gor__wg_unlock(wg, s);
    if (GOR__LIKELY(!many && g)) {
        gor__park_here(g);
        return w.rc;
    }
    gor__block(&w, deadline, own);
    if (w.which < 0)
        gor__wg_leave(wg, &n);
    return w.rc;
}

static int gor__wg_wait(gor_wg *wg, int64_t deadline)
{
    uint64_t s;
    do {
        s = gor__wg_state(wg);
        if (s == 0)
            return 0;                              /* I2 */
    } while (!gor__wg_lock(wg, s, s | GOR__WG_QUEUED));
    return gor__wg_queue(wg, s | GOR__WG_QUEUED, deadline);
}

int gor_wg_wait_until(gor_wg *wg, int64_t deadline)
{
    int rc;
    gor__enter();
    rc = gor__own_ctx_err();
    if (rc == 0)
        rc = gor__wg_wait(wg, deadline);
    gor__leave(gor__self());
    return rc;
}

int gor_wg_wait(gor_wg *wg) { return gor_wg_wait_until(wg, GOR_FOREVER); }

static void gor__wg_done(void *wg) { gor__wg_add((gor_wg *)wg, -1, "gor_wg_go"); }

int gor__wg_go_at(gor_wg *wg, void (*fn)(void *), void *arg, const char *site)
{
    gor__m *m = gor__enter();
    gor__spec s = { fn, arg, site, NULL, 0, NULL, gor__wg_done, wg, NULL };
    int rc;
    gor__wg_add(wg, 1, "gor_wg_go");
    rc = gor__spawn_here(m, &s);
    if (rc != 0)
        gor__wg_add(wg, -1, "gor_wg_go");
    gor__leave(gor__self());
    return rc;
}

int (gor_wg_go)(gor_wg *wg, void (*fn)(void *), void *arg)
{
    return gor__wg_go_at(wg, fn, arg, "?\0?");
}

/* -- semaphore ----------------------------------------------------------------------------- */

/* Serve the queue in order, as far as the permits go; unlock; wake. node.amount: what it wants. */
static void gor__sem_serve(gor_sem *s)
{
    gor__node *list = NULL, **at = &list, *n;
    while ((n = gor__wq_first(&s->waiters)) != NULL && n->amount <= s->permits) {
        int64_t amount = n->amount;
        gor__wq_remove(&s->waiters, n);
        if (!gor__wait_claim(n->wait))
            continue;
        s->permits -= amount;
        n->wait->which = n->index;
        n->wait->rc = 0;
        n->next = NULL;
        *at = n;
        at = &n->next;
    }
    gor__unlock(&s->lock, GOR__RANK_OBJECT);
    gor__wake_all(list);
}

static bool gor__sem_take_locked(gor_sem *s, int64_t n)
{
    if (gor__wq_first(&s->waiters) || s->permits < n)
        return false;
    s->permits -= n;
    return true;
}

static int gor__sem_acquire(gor_sem *s, int64_t n, int64_t deadline)
{
    int rc;
    gor__lock(&s->lock, GOR__RANK_OBJECT);
    if (gor__sem_take_locked(s, n)) {
        gor__unlock(&s->lock, GOR__RANK_OBJECT);
        return 0;
    }
    rc = gor__wait_simple(&s->lock, &s->waiters, NULL, n, deadline, GOR__WHY_SEM, s);
    if (rc != 0) {                                 /* those behind us may have room now */
        gor__lock(&s->lock, GOR__RANK_OBJECT);
        gor__sem_serve(s);
    }
    return rc;
}

int gor_sem_acquire_until(gor_sem *s, int64_t n, int64_t deadline)
{
    int rc;
    if (n < 0)
        return -EINVAL;
    gor__enter();
    rc = gor__own_ctx_err();
    if (rc == 0)
        rc = gor__sem_acquire(s, n, deadline);
    gor__leave(gor__self());
    return rc;
}

int gor_sem_acquire(gor_sem *s, int64_t n) { return gor_sem_acquire_until(s, n, GOR_FOREVER); }

int gor_sem_try_acquire(gor_sem *s, int64_t n)
{
    gor__m *m;
    bool taken;
    if (n < 0)
        return -EINVAL;
    m = gor__enter();
    gor__lock(&s->lock, GOR__RANK_OBJECT);
    taken = gor__sem_take_locked(s, n);
    gor__unlock(&s->lock, GOR__RANK_OBJECT);
    gor__leave(m);
    return taken ? 0 : -EAGAIN;
}

int gor_sem_release(gor_sem *s, int64_t n)
{
    gor__m *m;
    int rc = 0;
    if (n < 0)
        return -EINVAL;
    m = gor__enter();
    gor__lock(&s->lock, GOR__RANK_OBJECT);
    if (s->permits > INT64_MAX - n) {
        rc = -EOVERFLOW;
        gor__unlock(&s->lock, GOR__RANK_OBJECT);
    } else {
        s->permits += n;
        gor__sem_serve(s);
    }
    gor__leave(m);
    return rc;
}

/* -- barrier ------------------------------------------------------------------------------- */
bool gor_barrier_wait(gor_barrier *b)
{
    gor__node *list = NULL;
    bool last;
    gor__enter();
    gor__lock(&b->lock, GOR__RANK_OBJECT);
    last = b->arrived + 1 >= b->needed;
    if (last) {
        b->arrived = 0;
        list = gor__wq_take_all(&b->waiters, 0);
        gor__unlock(&b->lock, GOR__RANK_OBJECT);
        gor__wake_all(list);
    } else {
        gor__wait w;
        gor__node n;
        b->arrived++;
        gor__wait_init(&w, GOR__WHY_BARRIER, b, false);
        gor__node_init(&n, &w, 0, NULL);
        gor__wait_in(&b->lock, &b->waiters, &n, GOR_FOREVER, NULL, false);
    }
    gor__leave(gor__self());
    return last;
}

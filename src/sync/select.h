/* ==== [select] wait for one of several ===========================================================
 * What        Look at all cases at one moment, and run one of those that can, at random; if none
 *             can, queue at all of them and block.
 * Steps       1 check, and sort the channel cases by address; ask for fds; 2 lock all channels in
 *             that order; 3 draw one of the cases that can run; 4 default; 5 queue at the
 *             channels, unlock; 6 queue at contexts, tasks and fds, arm the deadline; 7 block;
 *             8 leave all queues. What woke an fd's case may have gone again: then from the
 *             beginning.
 * Why         Locking all channels makes looking and queueing one step: between two selects that
 *             meet, only one wait has to be claimed, the other's. One-sided sources only ever wake,
 *             so they are queued at one by one.
 * Source      selectgo of the Go runtime. We differ: a draw among the ready cases, instead of
 *             trying all in a shuffled order; most selects need no random number.
 * Tests       tests/select.c
 */
#define GOR__SELECT_INLINE 8           /* cases that need no memory                            */
#define GOR__SELECT_AGAIN  INT_MIN     /* an fd that was ready is not any more                  */

typedef struct gor__lane {             /* a channel case                                        */
    gor_chan *c;
    gor_case *k;
    int       i;                       /* which one                                             */
    bool      send;
    bool      hollow;                  /* it looked ready, and was not                          */
} gor__lane;

typedef struct gor__selection {
    gor_case  *cases;
    size_t     n;
    gor__node *node;                   /* n                                                     */
    gor__lane *lane;                   /* n_lanes: channel cases by rising address              */
    size_t     n_lanes;
    int        n_fds;                  /* fd cases                                              */
    int        n_watched;              /* these, contexts and tasks                             */
    int        fallback;               /* the default case, or -1                               */
    int        timer;                  /* the case with the first deadline, or -1               */
    bool       locked;                 /* the channels are, or else nobody else is there        */
    gor__wait  wait;
} gor__selection;

static bool gor__case_is_fd(const gor_case *k)
{
    return k->kind == GOR_CASE_READABLE || k->kind == GOR_CASE_WRITABLE;
}

/* Case i of a channel finds its place in the lanes, which end at l: insertion sort, for there are
 * few. */
GOR__INLINE void gor__select_insert(gor__selection *s, gor__lane *l, size_t i)
{
    gor_case *k = &s->cases[i];
    gor_chan *c = (gor_chan *)k->object;
    for (; l > s->lane && GOR__UNLIKELY((uintptr_t)l[-1].c > (uintptr_t)c); l--)
        *l = l[-1];
    l->c = c;
    l->k = k;
    l->i = (int)i;
    l->send = k->kind == GOR_CASE_SEND;
    l->hollow = false;
}

/* A case without a channel. 0 or what is wrong with it. */
static int gor__select_note(gor__selection *s, size_t i)
{
    gor_case *k = &s->cases[i];
    switch (k->kind) {
    case GOR_CASE_DEADLINE:
        if (s->timer < 0 || k->deadline < s->cases[s->timer].deadline)
            s->timer = (int)i;
        return 0;
    case GOR_CASE_READABLE:
    case GOR_CASE_WRITABLE:
        s->n_fds++;
        s->n_watched++;
        return 0;
    case GOR_CASE_DONE:
    case GOR_CASE_JOIN:
        s->n_watched += k->object != NULL;
        return 0;
    case GOR_CASE_DEFAULT:
        s->fallback = (int)i;
        return 0;
    default:
        return k->kind == GOR_CASE_NONE ? 0 : -EINVAL;
    }
}

/* Step 1: refuse before anything moves; the channel cases in the order of their addresses. */
static int gor__select_check(gor__selection *s)
{
    gor__lane *l = s->lane;
    s->fallback = s->timer = -1;
    s->n_fds = s->n_watched = 0;
    for (size_t i = 0, n = s->n; i < n; i++) {
        gor_case *k = &s->cases[i];
        k->rc = 0;
        if (k->kind != GOR_CASE_RECV && k->kind != GOR_CASE_SEND) {
            int rc = gor__select_note(s, i);
            if (rc != 0)
                return rc;
        } else if (k->object) {
            if (!gor__chan_size_ok((gor_chan *)k->object, k->value, k->size))
                return -EMSGSIZE;
            gor__select_insert(s, l++, i);
        }
    }
    s->n_lanes = (size_t)(l - s->lane);
    return 0;
}

/* The result of case i, which has run with rc. */
static int gor__select_done(gor__selection *s, size_t i, int rc)
{
    gor_case *k = &s->cases[i];
    k->rc = rc;
    if (k->kind == GOR_CASE_RECV && k->ok)
        *k->ok = rc == 0;
    return k->kind == GOR_CASE_SEND && rc != 0 ? rc : (int)i;
}

/* Can a case without a channel run now? */
static bool gor__case_ready(const gor_case *k)
{
    switch (k->kind) {
    case GOR_CASE_DONE:     return k->object && gor__cancel_err((gor__cancel *)k->object) != 0;
    case GOR_CASE_JOIN:     return k->object && gor__au32_load_acq(&((gor_task *)k->object)->state);
    case GOR_CASE_DEADLINE: return gor__is_past(k->deadline);
    case GOR_CASE_READABLE:
    case GOR_CASE_WRITABLE: return k->rc != GOR__WAIT;
    default:                return false;
    }
}

/* Can a channel case run now? Its lock is held. A queued wait that has ended elsewhere still counts
 * here; the transfer then finds that it does not. */
GOR__INLINE bool gor__lane_ready(const gor__lane *l)
{
    const gor_chan *c = l->c;
    size_t n = gor__au64_load_rlx(&c->count);
    if (!gor__au32_load_rlx(&c->closed) &&
        !(l->send ? n < c->cap || c->receivers.head : n > 0 || c->senders.head))
        return false;
    return !l->hollow;
}

/* A reservoir of one (Vitter, 1985): of those offered, each as likely to be kept. */
typedef struct gor__draw {
    int      chosen;                   /* a lane; or n_lanes and a case                         */
    uint32_t n;
} gor__draw;

static void gor__draw_offer(gor__draw *d, int which)
{
    gor__m *m = gor__self();
    gor__au64 foreign;
    if (d->n++ == 0) {
        d->chosen = which;
        return;
    }
    if (!m)
        gor__au64_store_rlx(&foreign, ((uint64_t)gor__os_now() * d->n) | 1);
    if (gor__random_below(m ? &m->rng : &foreign, d->n) == 0)
        d->chosen = which;
}

/* Step 3. What to run: one of those that can, each as likely; -1: none. */
static int gor__select_draw(gor__selection *s)
{
    gor__draw d = { -1, 0 };
    size_t n = s->n_lanes, others = s->n_watched || s->timer >= 0 ? s->n : 0;
    for (size_t i = 0; i < n; i++)
        if (gor__lane_ready(&s->lane[i]))
            gor__draw_offer(&d, (int)i);
    for (size_t i = 0; i < others; i++)
        if (gor__case_ready(&s->cases[i]))
            gor__draw_offer(&d, (int)(n + i));
    return d.chosen;
}

/* Steps 3 and 4, channels locked. True: *result is the answer, *woken is to be woken. */
static bool gor__select_try(gor__selection *s, gor__node **woken, int *result)
{
    int at;
    while ((at = gor__select_draw(s)) >= 0) {
        gor__lane *l;
        int rc;
        if ((size_t)at >= s->n_lanes) {
            size_t i = (size_t)at - s->n_lanes;
            *result = gor__select_done(s, i, gor__case_is_fd(&s->cases[i]) ? s->cases[i].rc : 0);
            return true;
        }
        l = &s->lane[at];
        rc = gor__chan_transfer(l->c, l->send, l->k->value, woken);
        if (rc != GOR__WAIT) {
            *result = gor__select_done(s, (size_t)l->i, rc);
            return true;
        }
        l->hollow = true;                          /* all who waited there have left: draw again */
    }
    if (s->fallback >= 0)
        *result = gor__select_done(s, (size_t)s->fallback, 0);
    return s->fallback >= 0;
}

static void gor__select_lock(gor__selection *s)
{
    const gor_chan *last = NULL;
    s->locked = !gor__locks_are_nothing();
    if (!s->locked)
        return;
    for (size_t i = 0; i < s->n_lanes; last = s->lane[i++].c)
        if (s->lane[i].c != last)
            gor__lock(&s->lane[i].c->lock, GOR__RANK_OBJECT);
}

static void gor__select_unlock(gor__selection *s)
{
    const gor_chan *last = NULL;
    if (!s->locked)
        return;
    for (size_t i = s->n_lanes; i-- > 0; last = s->lane[i].c)
        if (s->lane[i].c != last)
            gor__unlock(&s->lane[i].c->lock, GOR__RANK_OBJECT);
}

static void gor__select_queue(gor__selection *s)
{
    for (gor__lane *l = s->lane, *end = l + s->n_lanes; l < end; l++) {
        gor__node *n = &s->node[l->i];
        gor__node_init(n, &s->wait, l->i, l->k->value);
        gor__wq_put(l->send ? &l->c->senders : &l->c->receivers, n);
    }
}

/* -- fd cases. The case's fields hold the descriptor (object), its gen and seq (size) from before
 * the fd was asked; rc is the answer: GOR__WAIT, 0 ready, or -EBADF and the like, ready too -- */

static int gor__case_dir(const gor_case *k)
{
    return k->kind == GOR_CASE_READABLE ? GOR__IN : GOR__OUT;
}

static void gor__select_ask_fd(gor_case *k)
{
    gor__pd *pd;
    int rc = gor__pd_of(k->fd, &pd);
    k->object = NULL;
    if (rc == 0) {
        k->object = pd;
        k->size = (size_t)gor__au32_load_sc(&pd->gen) << 32 |
                  gor__au32_load_acq(&pd->seq[gor__case_dir(k)]);
        rc = gor__os_fd_ready(k->fd, k->kind == GOR_CASE_READABLE ? GOR_READ : GOR_WRITE);
    }
    k->rc = rc == 0 ? GOR__WAIT : rc > 0 ? 0 : rc;
}

/* Step 1, fds. Their poller, too. 0 or an errno. */
static int gor__select_ask(gor__selection *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (gor__case_is_fd(&s->cases[i]))
            gor__select_ask_fd(&s->cases[i]);
    return gor__poll_need();
}

/* Step 6. */
static void gor__select_watch(gor__selection *s)
{
    for (size_t i = 0; i < s->n && s->n_watched; i++) {
        gor_case *k = &s->cases[i];
        gor__node *n = &s->node[i];
        if (gor__case_is_fd(k)) {
            gor__node_init(n, &s->wait, (int)i, NULL);
            gor__pd_watch((gor__pd *)k->object, k->fd, (uint32_t)(k->size >> 32),
                          gor__case_dir(k), (uint32_t)k->size, n);
            continue;
        }
        if (!k->object || (k->kind != GOR_CASE_DONE && k->kind != GOR_CASE_JOIN))
            continue;
        gor__node_init(n, &s->wait, (int)i, NULL);
        if (k->kind == GOR_CASE_DONE) {
            gor__cancel_watch((gor__cancel *)k->object, n);
        } else {
            gor_task *t = (gor_task *)k->object;
            bool done;
            gor__lock(&t->lock, GOR__RANK_OBJECT);
            done = gor__au32_load_rlx(&t->state) != 0;
            if (!done)
                gor__wq_put(&t->waiters, n);
            gor__unlock(&t->lock, GOR__RANK_OBJECT);
            if (done)
                gor__wait_give_up(&s->wait, (int)i, 0);
        }
    }
}

/* Step 8. Not the case that ended the wait: its object may be gone. */
static void gor__select_leave(gor__selection *s)
{
    for (gor__lane *l = s->lane, *end = l + s->n_lanes; l < end; l++)
        if (l->i != s->wait.which)
            gor__wq_leave(&l->c->lock, GOR__RANK_OBJECT, &s->node[l->i]);
    for (size_t i = 0; i < s->n && s->n_watched; i++) {
        gor_case *k = &s->cases[i];
        gor__node *n = &s->node[i];
        if (gor__case_is_fd(k))
            gor__pd_leave((gor__pd *)k->object, n);
        else if ((int)i == s->wait.which || !k->object)
            continue;
        else if (k->kind == GOR_CASE_DONE)
            gor__wq_leave(&((gor__cancel *)k->object)->lock, GOR__RANK_CTX, n);
        else if (k->kind == GOR_CASE_JOIN)
            gor__wq_leave(&((gor_task *)k->object)->lock, GOR__RANK_OBJECT, n);
    }
}

/* Steps 6 to 8. */
static int gor__select_wait(gor__selection *s, gor__cancel *own)
{
    int64_t deadline = s->timer >= 0 ? s->cases[s->timer].deadline : GOR_FOREVER;
    if (s->n_fds)
        gor__fd_waits_add(1);
    gor__select_watch(s);
    gor__block(&s->wait, deadline, own);
    if (s->n_fds)
        gor__fd_waits_add((uint64_t)-1);
    gor__select_leave(s);
    if (s->wait.which >= 0 && gor__case_is_fd(&s->cases[s->wait.which]) && s->wait.rc == 0) {
        gor__select_ask_fd(&s->cases[s->wait.which]);
        s->wait.rc = s->cases[s->wait.which].rc;
        if (s->wait.rc == GOR__WAIT)
            return GOR__SELECT_AGAIN;
    }
    if (s->wait.which >= 0)
        return gor__select_done(s, (size_t)s->wait.which, s->wait.rc);
    if (s->wait.which == GOR__BY_DEADLINE && s->wait.rc == -ETIMEDOUT)
        return gor__select_done(s, (size_t)s->timer, 0);
    return s->wait.rc;
}

static int gor__select_once(gor__selection *s)
{
    gor__cancel *own = gor__own_ctx();
    gor__node *woken = NULL;
    int result = gor__own_ctx_err();
    if (result == 0 && s->n_fds)
        result = gor__select_ask(s);
    if (result != 0)
        return result;
    gor__select_lock(s);
    if (gor__select_try(s, &woken, &result)) {
        gor__select_unlock(s);
        if (woken)
            gor__wake(woken);
        return result;
    }
    gor__wait_init(&s->wait, s->n ? GOR__WHY_SELECT : GOR__WHY_SELECT_NONE, NULL, true);
    gor__select_queue(s);
    gor__select_unlock(s);
    return gor__select_wait(s, own);
}

static int gor__select_run(gor__selection *s)
{
    int result;
    do {
        result = gor__select_check(s);
        if (result == 0)
            result = gor__select_once(s);
    } while (result == GOR__SELECT_AGAIN);
    return result;
}

static int gor__select_large(gor__selection *s)
{
    size_t bytes = s->n * (sizeof *s->node + sizeof *s->lane);
    char *memory = (char *)gor__alloc(bytes);
    int result = -ENOMEM;
    if (memory) {
        s->node = (gor__node *)(void *)memory;
        s->lane = (gor__lane *)(void *)(memory + s->n * sizeof *s->node);
        result = gor__select_run(s);
        gor__free(memory, bytes);
    }
    return result;
}

int gor_select_n(gor_case *cases, size_t n)
{
    gor__node node[GOR__SELECT_INLINE];
    gor__lane lane[GOR__SELECT_INLINE];
    gor__selection s;
    int result;
    if ((n && !cases) || n > UINT16_MAX)
        return -EINVAL;
    s.cases = cases;
    s.n = n;
    gor__enter();
    if (n <= GOR__SELECT_INLINE) {
        s.node = node;
        s.lane = lane;
        result = gor__select_run(&s);
    } else {
        result = gor__select_large(&s);
    }
    gor__leave(gor__self());
    return result;
}

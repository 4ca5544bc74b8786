/* ==== [select] wait for one of several ===========================================================
 * What        Run one of the cases that can run, drawn at random; if none can, queue at all of them
 *             and block.
 * Steps       1 check, ask for fds, and draw one of the cases that look as if they could run; 2 run
 *             that one, under its channel's lock. There was none, or it cannot any more: 3 lock all
 *             channels, by rising address; 4 draw one of the cases that can run; 5 default; 6 queue
 *             at the channels, unlock; 7 queue at contexts, tasks and fds, arm the deadline; 8
 *             block; 9 leave all queues. What woke an fd's case may have gone again: then from the
 *             beginning.
 * Why         A case that can run may be run, whatever the others can. That none can, and that one
 *             waits now, must be true of all at one moment: so they are all locked, and between two
 *             selects that meet, only one wait has to be claimed, the other's. One-sided sources
 *             only ever wake, so they are queued at one by one.
 * Source      selectgo of the Go runtime. We differ: step 2; a draw among the ready cases, instead
 *             of trying all in a shuffled order: most selects need no random number.
 * Tests       tests/select.c
 */
#define GOR__SELECT_INLINE 8           /* cases that need no memory                            */
#define GOR__SELECT_AGAIN  INT_MIN     /* an fd that was ready is not any more                  */

/* A reservoir of one (Vitter, 1985): of those offered, each as likely to be kept. */
typedef struct gor__draw {
    int      chosen;                   /* a case, or -1                                         */
    uint32_t n;                        /* offered                                               */
} gor__draw;

typedef struct gor__selection {
    gor_case  *cases;
    size_t     n;
    gor__node *node;                   /* n                                                     */
    gor_chan **chan;                   /* n_chans, by rising address, once they are locked      */
    size_t     n_chans;
    int        n_fds;                  /* fd cases                                              */
    int        n_watched;              /* these, contexts and tasks                             */
    int        fallback;               /* the default case, or -1                               */
    int        timer;                  /* the case with the first deadline, or -1               */
    bool       locked;                 /* the channels are, or else nobody else is there        */
    gor__draw  draw;                   /* among the cases that can run, or look so              */
    gor__wait  wait;
} gor__selection;

static bool gor__case_is_fd(const gor_case *k)
{
    return k->kind == GOR_CASE_READABLE || k->kind == GOR_CASE_WRITABLE;
}

/* A channel case, and not one that is turned off. */
GOR__INLINE bool gor__case_is_chan(const gor_case *k)
{
    return (k->kind == GOR_CASE_RECV || k->kind == GOR_CASE_SEND) && k->object;
}

/* Can a channel case run now? Without its lock that is a hint; and with it, those who wait may have
 * been ended elsewhere: the transfer then finds that, and has emptied the queue. */
GOR__INLINE bool gor__chan_case_ready(const gor_case *k)
{
    const gor_chan *c = (const gor_chan *)k->object;
    bool send = k->kind == GOR_CASE_SEND;
    return gor__chan_has_way(c, send) || gor__chan_awaited(c, send) ||
           gor__au32_load_rlx(&c->closed);
}

/* True once in d->n times. */
static GOR__NOINLINE bool gor__draw_again(const gor__draw *d)
{
    gor__m *m = gor__self();
    gor__au64 foreign;
    if (!m)
        gor__au64_store_rlx(&foreign, ((uint64_t)gor__os_now() * d->n) | 1);
    return gor__random_below(m ? &m->rng : &foreign, d->n) == 0;
}

GOR__INLINE void gor__draw_offer(gor__draw *d, size_t which)
{
    if (d->n++ == 0 || gor__draw_again(d))
        d->chosen = (int)which;
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

/* Step 1: refuse before anything moves; draw among the channels, whose locks are not held. */
static int gor__select_check(gor__selection *s)
{
    gor_case *k = s->cases;
    gor__draw d = { -1, 0 };
    s->n_fds = s->n_watched = 0;
    s->fallback = s->timer = -1;
    for (size_t i = 0, n = s->n; i < n; i++, k++) {
        k->rc = 0;
        if (k->kind != GOR_CASE_RECV && k->kind != GOR_CASE_SEND) {
            int rc = gor__select_note(s, i);
            if (rc != 0)
                return rc;
        } else if (k->object) {
            if (!gor__chan_size_ok((gor_chan *)k->object, k->value, k->size))
                return -EMSGSIZE;
            if (gor__chan_case_ready(k))
                gor__draw_offer(&d, i);
        }
    }
    s->draw = d;
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

/* Those without a channel take part in the draw. */
GOR__INLINE void gor__select_draw_others(gor__selection *s)
{
    if (s->n_watched == 0 && s->timer < 0)
        return;
    for (size_t i = 0; i < s->n; i++)
        if (gor__case_ready(&s->cases[i]))
            gor__draw_offer(&s->draw, i);
}

/* Step 4 */
static void gor__select_draw(gor__selection *s)
{
    s->draw.chosen = -1;
    s->draw.n = 0;
    for (size_t i = 0; i < s->n; i++)
        if (gor__case_is_chan(&s->cases[i]) && gor__chan_case_ready(&s->cases[i]))
            gor__draw_offer(&s->draw, i);
    gor__select_draw_others(s);
}

/* Run the case that was drawn; if it has a channel, that is locked. True: *result is the answer,
 * *woken is to be woken. False: it cannot any more. */
static bool gor__select_drawn(gor__selection *s, gor__node **woken, int *result)
{
    size_t i = (size_t)s->draw.chosen;
    gor_case *k = &s->cases[i];
    int rc = gor__case_is_fd(k) ? k->rc : 0;
    if (gor__case_is_chan(k)) {
        rc = gor__chan_transfer((gor_chan *)k->object, k->kind == GOR_CASE_SEND, k->value, woken);
        if (rc == GOR__WAIT)
            return false;
    }
    *result = gor__select_done(s, i, rc);
    return true;
}

/* Step 2. True: *result is the answer. */
static bool gor__select_alone(gor__selection *s, int *result)
{
    gor_case *k = &s->cases[s->draw.chosen];
    gor__spin *lock = gor__case_is_chan(k) ? &((gor_chan *)k->object)->lock : NULL;
    gor__node *woken = NULL;
    bool done;
    if (lock)
        gor__lock(lock, GOR__RANK_OBJECT);
    done = gor__select_drawn(s, &woken, result);
    if (lock)
        gor__unlock(lock, GOR__RANK_OBJECT);
    if (woken)
        gor__wake(woken);
    return done;
}

/* Steps 4 and 5, channels locked. True: *result is the answer, *woken is to be woken. */
static bool gor__select_try(gor__selection *s, gor__node **woken, int *result)
{
    if (s->locked || s->draw.chosen >= 0)          /* else it is as step 1 saw it */
        gor__select_draw(s);
    for (; s->draw.chosen >= 0; gor__select_draw(s))
        if (gor__select_drawn(s, woken, result))
            return true;
    if (s->fallback >= 0)
        *result = gor__select_done(s, (size_t)s->fallback, 0);
    return s->fallback >= 0;
}

/* c finds its place among n others: insertion sort, for there are few. */
static void gor__select_insert(gor_chan **chan, size_t n, gor_chan *c)
{
    for (; n > 0 && (uintptr_t)chan[n - 1] > (uintptr_t)c; n--)
        chan[n] = chan[n - 1];
    chan[n] = c;
}

/* Step 3 */
static void gor__select_lock(gor__selection *s)
{
    const gor_chan *last = NULL;
    size_t n = 0;
    s->locked = !gor__locks_are_nothing();
    for (size_t i = 0; i < s->n && s->locked; i++)
        if (gor__case_is_chan(&s->cases[i]))
            gor__select_insert(s->chan, n++, (gor_chan *)s->cases[i].object);
    s->n_chans = n;
    for (size_t i = 0; i < n; last = s->chan[i++])
        if (s->chan[i] != last)
            gor__lock(&s->chan[i]->lock, GOR__RANK_OBJECT);
}

static void gor__select_unlock(gor__selection *s)
{
    const gor_chan *last = NULL;
    for (size_t i = s->n_chans; i-- > 0; last = s->chan[i])
        if (s->chan[i] != last)
            gor__unlock(&s->chan[i]->lock, GOR__RANK_OBJECT);
}

/* Step 6 */
static void gor__select_queue(gor__selection *s)
{
    const gor_case *k = s->cases;
    gor__node *n = s->node;
    for (size_t i = 0, end = s->n; i < end; i++, k++, n++) {
        gor_chan *c = (gor_chan *)k->object;
        if (!gor__case_is_chan(k))
            continue;
        gor__node_init(n, &s->wait, (int)i, k->value);
        gor__wq_put(k->kind == GOR_CASE_SEND ? &c->senders : &c->receivers, n);
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

/* Step 7 */
static void gor__select_watch(gor__selection *s)
{
    for (size_t i = 0; i < s->n; i++) {
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

/* Step 9. Not the case that ended the wait: its object may be gone. */
static void gor__select_leave(gor__selection *s)
{
    const gor_case *k = s->cases;
    gor__node *n = s->node;
    for (size_t i = 0, end = s->n; i < end; i++, k++, n++) {
        if (gor__case_is_chan(k) && (int)i != s->wait.which)
            gor__wq_leave(&((gor_chan *)k->object)->lock, GOR__RANK_OBJECT, n);
        else if (gor__case_is_fd(k))
            gor__pd_leave((gor__pd *)k->object, n);
        else if ((int)i == s->wait.which || !k->object)
            continue;
        else if (k->kind == GOR_CASE_DONE)
            gor__wq_leave(&((gor__cancel *)k->object)->lock, GOR__RANK_CTX, n);
        else if (k->kind == GOR_CASE_JOIN)
            gor__wq_leave(&((gor_task *)k->object)->lock, GOR__RANK_OBJECT, n);
    }
}

/* Steps 7 to 9 */
static int gor__select_wait(gor__selection *s, gor__cancel *own)
{
    int64_t deadline = s->timer >= 0 ? s->cases[s->timer].deadline : GOR_FOREVER;
    if (s->n_fds)
        gor__fd_waits_add(1);
    if (s->n_watched)
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
    bool done;
    int result = gor__own_ctx_err();
    if (result == 0 && s->n_fds)
        result = gor__select_ask(s);
    if (result != 0)
        return result;
    gor__select_draw_others(s);
    if (s->draw.chosen >= 0 && !gor__stress_hit(2) && gor__select_alone(s, &result))
        return result;
    gor__select_lock(s);
    done = gor__select_try(s, &woken, &result);
    if (!done) {
        gor__wait_init(&s->wait, s->n ? GOR__WHY_SELECT : GOR__WHY_SELECT_NONE, NULL, true);
        gor__select_queue(s);
    }
    gor__select_unlock(s);
    if (!done)
        return gor__select_wait(s, own);
    if (woken)
        gor__wake(woken);
    return result;
}

/* The answers of fds are not those of cases that have run. */
static void gor__select_forget_fds(gor__selection *s, int ran)
{
    for (size_t i = 0; i < s->n; i++)
        if (gor__case_is_fd(&s->cases[i]) && (int)i != ran)
            s->cases[i].rc = 0;
}

static int gor__select_run(gor__selection *s)
{
    int result;
    do {
        result = gor__select_check(s);
        if (result == 0)
            result = gor__select_once(s);
    } while (result == GOR__SELECT_AGAIN);
    if (s->n_fds)
        gor__select_forget_fds(s, result);
    return result;
}

static int gor__select_large(gor__selection *s)
{
    size_t bytes = s->n * (sizeof *s->node + sizeof *s->chan);
    char *memory = (char *)gor__alloc(bytes);
    int result = -ENOMEM;
    if (memory) {
        s->node = (gor__node *)(void *)memory;
        s->chan = (gor_chan **)(void *)(memory + s->n * sizeof *s->node);
        result = gor__select_run(s);
        gor__free(memory, bytes);
    }
    return result;
}

int gor_select_n(gor_case *cases, size_t n)
{
    gor__node node[GOR__SELECT_INLINE];
    gor_chan *chan[GOR__SELECT_INLINE];
    gor__selection s;
    int result;
    if ((n && !cases) || n > UINT16_MAX)
        return -EINVAL;
    s.cases = cases;
    s.n = n;
    gor__enter();
    if (n <= GOR__SELECT_INLINE) {
        s.node = node;
        s.chan = chan;
        result = gor__select_run(&s);
    } else {
        result = gor__select_large(&s);
    }
    gor__leave(gor__self());
    return result;
}

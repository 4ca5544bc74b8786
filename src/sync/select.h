/* ==== [select] wait for one of several ===========================================================
 * What        Run one of the cases that can run, drawn at random; if none can, queue at all of them
 *             and block.
 * Steps       1 check, and draw one of the channel cases that look as if they could run; ask for
 *             fds, and let what has no channel take part in the draw; 2 run the one that was drawn,
 *             under its channel's lock. There was none, or it cannot any more: 3 lock all channels,
 *             by rising address; if none was drawn, there is no default, and they are few and all
 *             the P's own, a window at all of them does ([window]); 4 draw one of the cases that
 *             can run; 5 default; 6 queue at the channels, unlock; 7 queue at contexts, tasks and
 *             fds, arm the deadline; 8 block; 9 leave all queues. What woke an fd's case may have
 *             gone again: then 1, and 3 on.
 * Frame       gor_select_n does 1, 2 and mostly 5, and calls gor__arch_wait last: its frame is
 *             gone by then, so the one jump of [arch] leads to where the user called it. What it
 *             has found goes along in two words. gor__select_full does the rest; what that needs
 *             for channels on one processor is inlined, all else is out of its way.
 * Why         A case that can run may be run, whatever the others can. That none can, and that one
 *             waits now, must be true of all at one moment: so they are all locked, and between two
 *             selects that meet, only one wait has to be claimed, the other's. One-sided sources
 *             only ever wake, so they are queued at one by one.
 * Source      selectgo of the Go runtime. We differ: step 2; a draw among the ready cases, instead
 *             of trying all in a shuffled order: most selects need no random number.
 * Tests       tests/select.c
 */
#define GOR__SELECT_INLINE 8           /* cases that need no memory                            */
#define GOR__NO_CASE       UINT16_MAX  /* no index: there are so many cases at most             */
#define GOR__SELECT_AGAIN  INT_MIN     /* an fd that was ready is not any more                  */

/* A reservoir of one (Vitter, 1985): of those offered, each as likely to be kept. */
typedef struct gor__draw {
    int      chosen;                   /* a case, or -1                                         */
    uint32_t n;                        /* offered                                               */
} gor__draw;

/* The cases, and what step 1 finds among them. A word, as the draw is: see Frame. */
typedef struct gor__shape {
    uint16_t n;                        /* cases                                                 */
    uint16_t fallback;                 /* the default case, or GOR__NO_CASE                     */
    uint16_t timer;                    /* the case with the first deadline, or GOR__NO_CASE     */
    bool     fds;                      /* there are fd cases                                    */
    bool     watched;                  /* there are these, contexts or tasks                    */
} gor__shape;

GOR__STATIC_ASSERT(sizeof(gor__shape) == 8 && sizeof(gor__draw) == 8, "a word each");

/* Are there cases without a channel that can run, or end the wait? */
GOR__INLINE bool gor__shape_is_mixed(const gor__shape *s)
{
    return s->watched || s->timer != GOR__NO_CASE;
}

typedef struct gor__selection {
    gor_case    *cases;
    gor__cancel *own;                  /* the context of who selects, or NULL                   */
    gor__shape   shape;
    gor__draw    draw;                 /* among the cases that can run, or look so              */
    gor__node   *node;                 /* one for each case                                     */
    gor_chan   **chan;                 /* n_chans, by rising address, once they are locked      */
    size_t       n_chans;
    uint64_t     owned;                /* bit i: chan[i], of the first 64, is this P's own      */
    bool         locked, in_window;    /* the channels are; neither: nobody else is there       */
    gor__wait    wait;
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

/* True once in n times. */
static GOR__NOINLINE bool gor__draw_again(uint32_t n)
{
    gor__m *m = gor__self();
    gor__au64 foreign;
    if (!m)
        gor__au64_store_rlx(&foreign, ((uint64_t)gor__os_now() * n) | 1);
    return gor__random_below(m ? &m->rng : &foreign, n) == 0;
}

GOR__INLINE void gor__draw_offer(gor__draw *d, size_t which)
{
    if (d->n++ == 0 || gor__draw_again(d->n))
        d->chosen = (int)which;
}

/* shape with case i, which has no channel. By value: so it stays in a register. */
static GOR__NOINLINE gor__shape gor__select_note(gor__shape shape, const gor_case *cases, size_t i)
{
    const gor_case *k = &cases[i];
    switch (k->kind) {
    case GOR_CASE_DEADLINE:
        if (shape.timer == GOR__NO_CASE || k->deadline < cases[shape.timer].deadline)
            shape.timer = (uint16_t)i;
        break;
    case GOR_CASE_READABLE:
    case GOR_CASE_WRITABLE:
        shape.fds = shape.watched = true;
        break;
    case GOR_CASE_DONE:
    case GOR_CASE_JOIN:
        shape.watched |= k->object != NULL;
        break;
    case GOR_CASE_DEFAULT:
        shape.fallback = (uint16_t)i;
        break;
    }
    return shape;
}

/* Step 1, channels, whose locks are not held. What is wrong is refused before anything moves. */
GOR__INLINE int gor__select_check(gor_case *cases, size_t n, gor__shape *shape, gor__draw *draw)
{
    gor__shape s = { (uint16_t)n, GOR__NO_CASE, GOR__NO_CASE, false, false };
    gor__draw d = { -1, 0 };
    for (size_t i = 0; i < n; i++) {
        gor_case *k = &cases[i];
        k->rc = 0;
        if (k->kind != GOR_CASE_RECV && k->kind != GOR_CASE_SEND) {
            if (k->kind < GOR_CASE_NONE || k->kind > GOR_CASE_DEFAULT)
                return -EINVAL;
            s = gor__select_note(s, cases, i);
        } else if (k->object) {
            if (!gor__chan_size_ok((gor_chan *)k->object, k->value, k->size))
                return -EMSGSIZE;
            if (gor__chan_case_ready(k))
                gor__draw_offer(&d, i);
        }
    }
    *shape = s;
    *draw = d;
    return 0;
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

/* The answers of fds are not those of cases that have run. */
static GOR__NOINLINE void gor__select_forget_fds(gor_case *cases, size_t n, int ran)
{
    for (size_t i = 0; i < n; i++)
        if (gor__case_is_fd(&cases[i]) && (int)i != ran)
            cases[i].rc = 0;
}

/* Step 1, fds. Their poller, too. 0 or an errno. */
static GOR__NOINLINE int gor__select_ask(gor_case *cases, size_t n)
{
    int rc;
    for (size_t i = 0; i < n; i++)
        if (gor__case_is_fd(&cases[i]))
            gor__select_ask_fd(&cases[i]);
    rc = gor__poll_need();
    if (rc != 0)
        gor__select_forget_fds(cases, n, -1);
    return rc;
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

/* The draw, with those that have no channel. */
static GOR__NOINLINE gor__draw gor__select_draw_others(const gor_case *cases, size_t n, gor__draw d)
{
    for (size_t i = 0; i < n; i++)
        if (gor__case_ready(&cases[i]))
            gor__draw_offer(&d, i);
    return d;
}

/* Step 1; own: the context of who selects, or NULL. 0 or an errno. */
GOR__INLINE int gor__select_look(gor_case *cases, size_t n, gor__cancel *own, gor__shape *shape,
                                 gor__draw *draw)
{
    int rc = gor__select_check(cases, n, shape, draw);
    if (GOR__UNLIKELY(rc == 0 && own))
        rc = gor__cancel_err(own);
    if (GOR__UNLIKELY(rc == 0 && shape->fds))
        rc = gor__select_ask(cases, n);
    if (GOR__UNLIKELY(rc == 0 && gor__shape_is_mixed(shape)))
        *draw = gor__select_draw_others(cases, n, *draw);
    return rc;
}

static GOR__NOINLINE int gor__select_look_again(gor__selection *s)
{
    return gor__select_look(s->cases, s->shape.n, s->own, &s->shape, &s->draw);
}

/* The result of case i, which has run with rc. */
GOR__INLINE int gor__select_done(gor_case *cases, size_t i, int rc)
{
    gor_case *k = &cases[i];
    k->rc = rc;
    if (k->kind == GOR_CASE_RECV && k->ok)
        *k->ok = rc == 0;
    return k->kind == GOR_CASE_SEND && rc != 0 ? rc : (int)i;
}

/* Step 4 */
static void gor__select_draw(gor__selection *s)
{
    s->draw.chosen = -1;
    s->draw.n = 0;
    for (size_t i = 0; i < s->shape.n; i++)
        if (gor__case_is_chan(&s->cases[i]) && gor__chan_case_ready(&s->cases[i]))
            gor__draw_offer(&s->draw, i);
    if (gor__shape_is_mixed(&s->shape))
        s->draw = gor__select_draw_others(s->cases, s->shape.n, s->draw);
}

/* Run case i, which was drawn; if it has a channel, that is locked. True: *result is the answer,
 * *woken is to be woken. False: it cannot any more. */
GOR__INLINE bool gor__select_drawn(gor_case *cases, size_t i, gor__node **woken, int *result)
{
    gor_case *k = &cases[i];
    int rc = gor__case_is_fd(k) ? k->rc : 0;
    if (gor__case_is_chan(k)) {
        rc = gor__chan_transfer((gor_chan *)k->object, k->kind == GOR_CASE_SEND, k->value, woken);
        if (rc == GOR__WAIT)
            return false;
    }
    *result = gor__select_done(cases, i, rc);
    return true;
}

/* Step 2: the case that was drawn, if any. True: *result is the answer. */
GOR__INLINE bool gor__select_alone(gor_case *cases, int chosen, int *result)
{
    const gor_case *k;
    gor__node *woken = NULL;
    gor_chan *c;
    uint32_t leave = 0;
    bool done;
    if (chosen < 0 || gor__stress_hit(2))
        return false;
    k = &cases[chosen];
    c = gor__case_is_chan(k) ? (gor_chan *)k->object : NULL;
    if (c)
        leave = gor__chan_lock(c);
    done = gor__select_drawn(cases, (size_t)chosen, &woken, result);
    if (c)
        gor__chan_unlock(c, leave);
    if (woken)
        gor__wake(woken);
    return done;
}

/* Steps 4 and 5, the channels locked, or nobody else there. True: *result is the answer, *woken is
 * to be woken. */
static bool gor__select_try(gor__selection *s, gor__node **woken, int *result)
{
    for (gor__select_draw(s); s->draw.chosen >= 0; gor__select_draw(s))
        if (gor__select_drawn(s->cases, (size_t)s->draw.chosen, woken, result))
            return true;
    if (s->shape.fallback == GOR__NO_CASE)
        return false;
    *result = gor__select_done(s->cases, s->shape.fallback, 0);
    return true;
}

/* c finds its place among n others: insertion sort, for there are few. */
static void gor__select_insert(gor_chan **chan, size_t n, gor_chan *c)
{
    for (; n > 0 && (uintptr_t)chan[n - 1] > (uintptr_t)c; n--)
        chan[n] = chan[n - 1];
    chan[n] = c;
}

/* Is the i-th the first of those that are the same? */
GOR__INLINE bool gor__select_first(const gor__selection *s, size_t i)
{
    return i == 0 || s->chan[i - 1] != s->chan[i];
}

/* Step 3 */
static void gor__select_lock(gor__selection *s)
{
    uint32_t own = gor__own_word(gor__self());
    size_t n = 0;
    for (size_t i = 0; i < s->shape.n; i++)
        if (gor__case_is_chan(&s->cases[i]))
            gor__select_insert(s->chan, n++, (gor_chan *)s->cases[i].object);
    s->n_chans = n;
    s->owned = 0;
    for (size_t i = 0; i < n; i++)
        if (gor__select_first(s, i) && gor__chan_lock_to_wait(s->chan[i], own) && i < 64)
            s->owned |= (uint64_t)1 << i;
}

static void gor__select_unlock(const gor__selection *s)
{
    uint32_t own = gor__own_word(gor__self());
    for (size_t i = s->n_chans; i-- > 0;) {
        if (!gor__select_first(s, i))
            continue;
        if (i < 64)
            gor__chan_unlock(s->chan[i], s->owned >> i & 1 ? own : 0);
        else                                       /* no bit tells: look */
            gor__unlock_owned(&s->chan[i]->own.lock, GOR__RANK_OBJECT);
    }
}

/* Steps 3 and 4 in a window, in which all channels are the P's own and free, and no case that has
 * one can run. It stays open if this returns true. */
static bool gor__select_open(const gor__selection *s)
{
    uint32_t own = gor__own_word(gor__self());
    bool open = own != GOR__MX_NOBODY && s->shape.n <= GOR__SELECT_INLINE;
    if (!open)
        return false;
    gor__window_mark(GOR__WINDOW_ANY);
    for (size_t i = 0; open && i < s->shape.n; i++) {
        const gor_case *k = &s->cases[i];
        if (gor__case_is_chan(k))
            open = gor__own_is_free(&((gor_chan *)k->object)->own, own) &&
                   !gor__chan_case_ready(k);
    }
    if (!open)
        gor__window_shut();
    return open;
}

static void gor__select_shut(const gor__selection *s)
{
    for (size_t i = 0; GOR__TSAN && i < s->shape.n; i++)
        if (gor__case_is_chan(&s->cases[i]))
            gor__own_release(&((gor_chan *)s->cases[i].object)->own);
    gor__window_shut();
}

/* Steps 3 to 5. True: *result is the answer. False: nobody else gets at the channels till
 * gor__select_release. */
GOR__INLINE bool gor__select_at_once(gor__selection *s, int *result)
{
    bool as_seen = s->draw.chosen < 0 && s->shape.fallback == GOR__NO_CASE;    /* by step 1 */
    gor__node *woken = NULL;
    s->locked = !gor__locks_are_nothing();
    s->in_window = s->locked && as_seen && gor__select_open(s);
    s->locked &= !s->in_window;
    if (s->locked)
        gor__select_lock(s);
    else if (as_seen)
        return false;
    if (!gor__select_try(s, &woken, result))
        return false;
    if (s->locked)
        gor__select_unlock(s);
    if (woken)
        gor__wake(woken);
    return true;
}

GOR__INLINE void gor__select_release(const gor__selection *s)
{
    if (s->locked)
        gor__select_unlock(s);
    else if (s->in_window)
        gor__select_shut(s);
}

/* Steps 3 to 5 with a default among few cases. */
static GOR__NOINLINE int gor__select_poll(gor_case *cases, gor__shape shape, gor__draw draw)
{
    gor_chan *chan[GOR__SELECT_INLINE];
    gor__selection s;
    int result = 0;
    s.cases = cases;
    s.shape = shape;
    s.draw = draw;
    s.chan = chan;
    gor__select_at_once(&s, &result);
    return result;
}

/* Step 5 before there is a frame for waiting. Without locks, if what step 1 saw is of one moment:
 * of one case, or nobody else is there. True: *result is the answer. */
GOR__INLINE bool gor__select_fall_back(gor_case *cases, const gor__shape *shape,
                                       const gor__draw *draw, int *result)
{
    if (shape->fallback == GOR__NO_CASE || shape->n > GOR__SELECT_INLINE)
        return false;
    if (draw->chosen < 0 && (shape->n <= 2 || gor__locks_are_nothing()))
        *result = gor__select_done(cases, shape->fallback, 0);
    else
        *result = gor__select_poll(cases, *shape, *draw);
    return true;
}

/* Step 6 */
GOR__INLINE void gor__select_queue(gor__selection *s)
{
    const gor_case *k = s->cases;
    gor__node *n = s->node;
    for (size_t i = 0, end = s->shape.n; i < end; i++, k++, n++) {
        gor_chan *c = (gor_chan *)k->object;
        if (!gor__case_is_chan(k))
            continue;
        gor__node_init(n, &s->wait, (int)i, k->value);
        gor__wq_put(k->kind == GOR_CASE_SEND ? &c->senders : &c->receivers, n);
    }
}

/* Step 7 */
static void gor__select_watch(gor__selection *s)
{
    for (size_t i = 0; i < s->shape.n; i++) {
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
GOR__INLINE void gor__select_leave(gor__selection *s)
{
    uint32_t own = gor__locks_are_nothing() ? GOR__MX_NOBODY : gor__own_word(gor__self());
    const gor_case *k = s->cases;
    gor__node *n = s->node;
    for (size_t i = 0, end = s->shape.n; i < end; i++, k++, n++) {
        if (gor__case_is_chan(k) && (int)i != s->wait.which)
            gor__chan_leave((gor_chan *)k->object, n, own);
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

/* Steps 7 and 8 */
static GOR__NOINLINE void gor__select_block(gor__selection *s)
{
    uint16_t timer = s->shape.timer;
    int64_t deadline = timer == GOR__NO_CASE ? GOR_FOREVER : s->cases[timer].deadline;
    if (s->shape.fds)
        gor__fd_waits_add(1);
    if (s->shape.watched)
        gor__select_watch(s);
    gor__block(&s->wait, deadline, s->own);
    if (s->shape.fds)
        gor__fd_waits_add((uint64_t)-1);
}

/* The result of the wait that has ended, or GOR__SELECT_AGAIN. */
GOR__INLINE int gor__select_ended(gor__selection *s)
{
    int which = s->wait.which, rc = s->wait.rc;
    if (which >= 0 && gor__case_is_fd(&s->cases[which]) && rc == 0) {
        gor__select_ask_fd(&s->cases[which]);
        rc = s->cases[which].rc;
        if (rc == GOR__WAIT)
            return GOR__SELECT_AGAIN;
    }
    if (which >= 0)
        return gor__select_done(s->cases, (size_t)which, rc);
    if (which == GOR__BY_DEADLINE && rc == -ETIMEDOUT)
        return gor__select_done(s->cases, s->shape.timer, 0);
    return rc;
}

/* Steps 6 to 9, channels locked, by g, or with NULL by this thread. With channels only, g parks in
 * this frame: gor__block would call a second gor__arch_wait, and only the inner one would jump. */
GOR__INLINE int gor__select_wait(gor__selection *s, gor__g *g)
{
    gor__wait_clear(&s->wait);                     /* gor__wait_init, of g */
    gor__wait_begin(&s->wait, g, s->shape.n ? GOR__WHY_SELECT : GOR__WHY_SELECT_NONE, NULL, true);
    gor__select_queue(s);
    gor__select_release(s);
    if (GOR__LIKELY(g && !s->own && !gor__shape_is_mixed(&s->shape)))
        gor__park_here(g);
    else
        gor__select_block(s);
    gor__select_leave(s);
    return gor__select_ended(s);
}

/* Steps 3 to 9, and what fds make of them. */
GOR__INLINE int gor__select_run(gor__selection *s, gor__g *g)
{
    int result = 0;
    do {
        if (GOR__UNLIKELY(result == GOR__SELECT_AGAIN))
            result = gor__select_look_again(s);
        if (GOR__LIKELY(result == 0) && !gor__select_at_once(s, &result))
            result = gor__select_wait(s, g);
    } while (GOR__UNLIKELY(result == GOR__SELECT_AGAIN));
    return result;
}

static size_t gor__select_bytes(const gor__selection *s)
{
    return s->shape.n * (sizeof *s->node + sizeof *s->chan);
}

/* Nodes and channels of more cases than the stack holds. 0 or -ENOMEM. */
static GOR__NOINLINE int gor__select_alloc(gor__selection *s)
{
    char *memory = (char *)gor__alloc(gor__select_bytes(s));
    if (!memory)
        return -ENOMEM;
    s->node = (gor__node *)(void *)memory;
    s->chan = (gor_chan **)(void *)(memory + s->shape.n * sizeof *s->node);
    return 0;
}

/* Steps 3 to 9, for gor__arch_wait. g: who selects, NULL: this thread. */
GOR__SWITCHES static gor__answer gor__select_full(void *g, void *cases, void *own, uint64_t shape,
                                                  int64_t draw, void *back)
{
    gor__node node[GOR__SELECT_INLINE];
    gor_chan *chan[GOR__SELECT_INLINE];
    gor__m *m = gor__self();
    gor__answer answer;
    gor__selection s;
    int result = 0;
    gor__left_at(m, back);
    memcpy(&s.shape, &shape, sizeof shape);
    memcpy(&s.draw, &draw, sizeof draw);
    s.cases = (gor_case *)cases;
    s.own = (gor__cancel *)own;
    s.node = node;
    s.chan = chan;
    if (GOR__UNLIKELY(s.shape.n > GOR__SELECT_INLINE))
        result = gor__select_alloc(&s);
    if (GOR__LIKELY(result == 0))
        result = gor__select_run(&s, (gor__g *)g);
    if (s.node != node)
        gor__free(s.node, gor__select_bytes(&s));
    if (GOR__UNLIKELY(s.shape.fds))
        gor__select_forget_fds(s.cases, s.shape.n, result);
    m = gor__self();
    answer = gor__answer_from(m, result, back);
    gor__leave(m);
    return answer;
}

/* Steps 1, 2 and mostly 5: who need not wait needs no more. Nothing of this frame may be in use at
 * the end: the call of gor__arch_wait is to be a jump. */
int gor_select_n(gor_case *cases, size_t n)
{
    gor__shape shape;
    gor__draw draw;
    gor__m *m;
    gor__g *g;
    gor__cancel *own;
    uint64_t shape_word;
    int64_t draw_word;
    int result;
    if ((n && !cases) || n > UINT16_MAX)
        return -EINVAL;
    m = gor__enter();
    g = m ? gor__m_g(m) : NULL;
    own = g ? g->ctx : NULL;
    result = gor__select_look(cases, n, own, &shape, &draw);
    if (GOR__LIKELY(result == 0)) {
        if (!gor__select_alone(cases, draw.chosen, &result) &&
            !gor__select_fall_back(cases, &shape, &draw, &result)) {
            memcpy(&shape_word, &shape, sizeof shape);
            memcpy(&draw_word, &draw, sizeof draw);
            return gor__arch_wait(g, cases, own, shape_word, draw_word, gor__select_full);
        }
        if (GOR__UNLIKELY(shape.fds))
            gor__select_forget_fds(cases, n, result);
    }
    gor__leave(m);
    return result;
}

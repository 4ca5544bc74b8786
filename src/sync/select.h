/* ==== [select] wait for one of several =======================================================
 * What        Look at the cases once, in random order; if none can run, queue at all of them and
 *             block.
 * Steps       1 check; 2 try each channel, and what is one-sided: done contexts, joined tasks,
 *             passed deadlines; 3 default; 4 lock all channels by rising address, try once more,
 *             queue; 5 queue at contexts and tasks, arm the deadline; 6 block; 7 leave all queues.
 * Why         Locking all channels at once makes trying and queueing one step: between two selects
 *             that meet, only one wait has to be claimed, the other's. One-sided sources only ever
 *             wake, so they are queued at one by one.
 * Source      selectgo of the Go runtime.
 * Tests       tests/select.c
 */
#define GOR__SELECT_INLINE 8           /* cases that need no memory */

typedef struct gor__selection {
    gor_case  *cases;
    size_t     n;
    gor__node *node;                   /* n                                                     */
    uint16_t  *order;                  /* n: the random order                                   */
    uint16_t  *locks;                  /* n_locks: channel cases by rising address              */
    size_t     n_locks;
    int        fallback;               /* the default case, or -1                               */
    int        timer;                  /* the case with the first deadline, or -1               */
    gor__wait  wait;
} gor__selection;

static bool gor__case_is_chan(const gor_case *k)
{
    return (k->kind == GOR_CASE_RECV || k->kind == GOR_CASE_SEND) && k->object;
}

/* Step 1: refuse before anything moves. */
static int gor__select_check(gor__selection *s)
{
    s->fallback = s->timer = -1;
    for (size_t i = 0; i < s->n; i++) {
        gor_case *k = &s->cases[i];
        k->rc = 0;
        if (k->kind == GOR_CASE_READABLE || k->kind == GOR_CASE_WRITABLE)
            return -ENOSYS;
        if (k->kind < GOR_CASE_NONE || k->kind > GOR_CASE_DEFAULT)
            return -EINVAL;
        if (gor__case_is_chan(k) && !gor__chan_size_ok((gor_chan *)k->object, k->value, k->size))
            return -EMSGSIZE;
        if (k->kind == GOR_CASE_DEFAULT)
            s->fallback = (int)i;
        if (k->kind == GOR_CASE_DEADLINE &&
            (s->timer < 0 || k->deadline < s->cases[s->timer].deadline))
            s->timer = (int)i;
    }
    return 0;
}

/* A random permutation. Source: Fisher and Yates, inside out. */
static void gor__select_shuffle(gor__selection *s)
{
    gor__m *m = gor__self();
    gor__au64 foreign = { (uint64_t)gor__os_now() | 1 };
    gor__au64 *rng = m ? &m->rng : &foreign;
    for (size_t i = 0; i < s->n; i++) {
        uint32_t j = gor__random_below(rng, (uint32_t)i + 1);
        s->order[i] = s->order[j];
        s->order[j] = (uint16_t)i;
    }
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
static bool gor__case_ready(const gor_case *k, int64_t now)
{
    switch (k->kind) {
    case GOR_CASE_DONE:     return k->object && gor__cancel_err((gor__cancel *)k->object) != 0;
    case GOR_CASE_JOIN:     return k->object && gor__au32_load_acq(&((gor_task *)k->object)->state);
    case GOR_CASE_DEADLINE: return k->deadline <= now;
    default:                return false;
    }
}

/* Step 2. True: a case has run, *result is the answer. locked: the channels are locked already. */
static bool gor__select_try(gor__selection *s, bool locked, gor__node **woken, int *result)
{
    int64_t now = s->timer >= 0 ? gor__os_now() : 0;
    for (size_t i = 0; i < s->n; i++) {
        gor_case *k = &s->cases[s->order[i]];
        gor_chan *c = (gor_chan *)k->object;
        int rc = GOR__WAIT;
        if (gor__case_is_chan(k)) {
            if (!locked)
                gor__lock(&c->lock, GOR__RANK_OBJECT);
            rc = gor__chan_transfer(c, k->kind == GOR_CASE_SEND, k->value, woken);
            if (!locked)
                gor__unlock(&c->lock, GOR__RANK_OBJECT);
        } else if (gor__case_ready(k, now)) {
            rc = 0;
        }
        if (rc != GOR__WAIT) {
            *result = gor__select_done(s, s->order[i], rc);
            return true;
        }
    }
    return false;
}

/* The channels by rising address; insertion sort, for there are few. */
static void gor__select_sort(gor__selection *s)
{
    s->n_locks = 0;
    for (size_t i = 0; i < s->n; i++) {
        size_t at = s->n_locks;
        if (!gor__case_is_chan(&s->cases[i]))
            continue;
        while (at > 0 && (uintptr_t)s->cases[s->locks[at - 1]].object >
                         (uintptr_t)s->cases[i].object) {
            s->locks[at] = s->locks[at - 1];
            at--;
        }
        s->locks[at] = (uint16_t)i;
        s->n_locks++;
    }
}

static gor_chan *gor__select_chan(gor__selection *s, size_t i)
{
    return (gor_chan *)s->cases[s->locks[i]].object;
}

static void gor__select_lock(gor__selection *s)
{
    for (size_t i = 0; i < s->n_locks; i++)
        if (i == 0 || gor__select_chan(s, i) != gor__select_chan(s, i - 1))
            gor__lock(&gor__select_chan(s, i)->lock, GOR__RANK_OBJECT);
}

static void gor__select_unlock(gor__selection *s)
{
    for (size_t i = s->n_locks; i-- > 0;)
        if (i == 0 || gor__select_chan(s, i) != gor__select_chan(s, i - 1))
            gor__unlock(&gor__select_chan(s, i)->lock, GOR__RANK_OBJECT);
}

static void gor__select_queue(gor__selection *s)
{
    for (size_t i = 0; i < s->n_locks; i++) {
        gor_case *k = &s->cases[s->locks[i]];
        gor_chan *c = (gor_chan *)k->object;
        gor__node *n = &s->node[s->locks[i]];
        gor__node_init(n, &s->wait, s->locks[i], k->value);
        gor__wq_put(k->kind == GOR_CASE_SEND ? &c->senders : &c->receivers, n);
    }
}

/* Step 5. */
static void gor__select_watch(gor__selection *s)
{
    for (size_t i = 0; i < s->n; i++) {
        gor_case *k = &s->cases[i];
        gor__node *n = &s->node[i];
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

/* Step 7. Not the case that ended the wait: its object may be gone. */
static void gor__select_leave(gor__selection *s)
{
    for (size_t i = 0; i < s->n; i++) {
        gor_case *k = &s->cases[i];
        gor__node *n = &s->node[i];
        if ((int)i == s->wait.which || !k->object)
            continue;
        if (gor__case_is_chan(k))
            gor__wq_leave(&((gor_chan *)k->object)->lock, GOR__RANK_OBJECT, n);
        else if (k->kind == GOR_CASE_DONE)
            gor__wq_leave(&((gor__cancel *)k->object)->lock, GOR__RANK_CTX, n);
        else if (k->kind == GOR_CASE_JOIN)
            gor__wq_leave(&((gor_task *)k->object)->lock, GOR__RANK_OBJECT, n);
    }
}

/* Steps 4 to 7. */
static int gor__select_wait(gor__selection *s)
{
    gor__cancel *own = gor__own_ctx();
    int64_t deadline = s->timer >= 0 ? s->cases[s->timer].deadline : GOR_FOREVER;
    gor__node *woken = NULL;
    int result;
    gor__select_sort(s);
    gor__select_lock(s);
    if (gor__select_try(s, true, &woken, &result)) {
        gor__select_unlock(s);
        if (woken)
            gor__wake(woken);
        return result;
    }
    gor__wait_init(&s->wait, s->n ? GOR__WHY_SELECT : GOR__WHY_SELECT_NONE, NULL, true);
    gor__select_queue(s);
    gor__select_unlock(s);
    gor__select_watch(s);
    gor__block(&s->wait, deadline, own);
    gor__select_leave(s);
    if (s->wait.which >= 0)
        return gor__select_done(s, (size_t)s->wait.which, s->wait.rc);
    if (s->wait.which == GOR__BY_DEADLINE && s->wait.rc == -ETIMEDOUT)
        return gor__select_done(s, (size_t)s->timer, 0);
    return s->wait.rc;
}

static int gor__select_run(gor__selection *s)
{
    gor__node *woken = NULL;
    int result = gor__own_ctx_err();
    if (result != 0)
        return result;
    gor__select_shuffle(s);
    if (gor__select_try(s, false, &woken, &result)) {
        if (woken)
            gor__wake(woken);
        return result;
    }
    if (s->fallback >= 0)
        return gor__select_done(s, (size_t)s->fallback, 0);
    return gor__select_wait(s);
}

static int gor__select_large(gor__selection *s)
{
    size_t bytes = s->n * (sizeof *s->node + 2 * sizeof *s->order);
    char *memory = (char *)gor__alloc(bytes);
    int result = -ENOMEM;
    if (memory) {
        s->node = (gor__node *)(void *)memory;
        s->order = (uint16_t *)(void *)(memory + s->n * sizeof *s->node);
        s->locks = s->order + s->n;
        result = gor__select_run(s);
        gor__free(memory, bytes);
    }
    return result;
}

int gor_select_n(gor_case *cases, size_t n)
{
    gor__node node[GOR__SELECT_INLINE];
    uint16_t order[GOR__SELECT_INLINE], locks[GOR__SELECT_INLINE];
    gor__selection s;
    int result;
    if ((n && !cases) || n > UINT16_MAX)
        return -EINVAL;
    s.cases = cases;
    s.n = n;
    result = gor__select_check(&s);
    if (result != 0)
        return result;
    gor__enter();
    if (n <= GOR__SELECT_INLINE) {
        s.node = node;
        s.order = order;
        s.locks = locks;
        result = gor__select_run(&s);
    } else {
        result = gor__select_large(&s);
    }
    gor__leave(gor__self());
    return result;
}

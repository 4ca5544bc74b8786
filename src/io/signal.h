/* ==== [signal] signals as values ==============================================================
 * What        The handler marks the signal as pending and wakes the poller; whoever polls with a P
 *             sends it to the channels that asked for it, without waiting.
 * Invariants  I1 The handler touches two words and makes one system call: it may interrupt
 *                anything, on any thread that does not block the signal (main, the user's own).
 *             I2 The handler of a signal is ours while somebody asks for it, and the earlier one
 *                otherwise.
 *             I3 A subscription holds a reference to its channel.
 * Locks       gor__signals.lock (CTX): channels (OBJECT) are sent to under it.
 * Source      os/signal of Go.
 */
#define GOR__MAX_SIGNAL 64

typedef struct gor__subscription {
    struct gor__subscription *next;
    gor_chan *c;
    uint64_t  set;                     /* bit sig - 1                                          */
} gor__subscription;

static struct {
    gor__au64 pending;                 /* set by the handler                                   */
    gor__spin lock;
    gor__subscription *list;
    uint64_t  ours;                    /* signals whose handler is ours                        */
    struct sigaction old[GOR__MAX_SIGNAL + 1];
} gor__signals;

static uint64_t gor__sig_bit(int sig) { return (uint64_t)1 << (sig - 1); }

/* Add to what is pending, and take away from it. */
static void gor__sig_pend(uint64_t more, uint64_t less)
{
    uint64_t old;
    do
        old = gor__au64_load_rlx(&gor__signals.pending);
    while (!gor__au64_cas(&gor__signals.pending, old, (old | more) & ~less));
}

static void gor__sig_handler(int sig)
{
    gor__sig_pend(gor__sig_bit(sig), 0);
    if (gor__au32_load_acq(&gor__rt.poller))
        gor__os_poll_wake();
}

/* Hand out what is pending. With a P. */
static void gor__signalled(void)
{
    uint64_t set;
    if (gor__au64_load_rlx(&gor__signals.pending) == 0)
        return;
    gor__lock(&gor__signals.lock, GOR__RANK_CTX);
    set = gor__au64_xchg(&gor__signals.pending, 0);        /* while nobody ceases to ask */
    for (int sig = 1; sig <= GOR__MAX_SIGNAL; sig++)
        for (gor__subscription *s = gor__signals.list; s; s = s->next)
            if (set & s->set & gor__sig_bit(sig)) {
                int value[2] = { sig, 0 };         /* gcc sees a copy of 8 bytes as possible */
                gor__chan_try(s->c, true, value);
            }
    gor__unlock(&gor__signals.lock, GOR__RANK_CTX);
}

/* Signals that nobody asks for any more get their earlier effect back; those that came are not for
 * who asks next. */
static void gor__sig_release_locked(void)
{
    uint64_t gone = gor__signals.ours;
    for (gor__subscription *s = gor__signals.list; s; s = s->next)
        gone &= ~s->set;
    for (int sig = 1; sig <= GOR__MAX_SIGNAL; sig++)
        if (gone & gor__sig_bit(sig))
            sigaction(sig, &gor__signals.old[sig], NULL);
    gor__signals.ours &= ~gone;
    gor__sig_pend(0, gone);
}

/* Take over what is wanted. False: a signal that cannot be caught. */
static bool gor__sig_take_locked(uint64_t set)
{
    struct sigaction a;
    memset(&a, 0, sizeof a);
    a.sa_handler = gor__sig_handler;
    a.sa_flags = SA_RESTART | SA_ONSTACK;
    sigemptyset(&a.sa_mask);
    for (int sig = 1; sig <= GOR__MAX_SIGNAL; sig++)
        if (set & ~gor__signals.ours & gor__sig_bit(sig)) {
            if (sigaction(sig, &a, &gor__signals.old[sig]) != 0)
                return false;
            gor__signals.ours |= gor__sig_bit(sig);
        }
    return true;
}

/* The set of signals, or 0 if one of them cannot be had. */
static uint64_t gor__sig_set(const int *sigs, size_t n)
{
    static const int never[] = { SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP };
    uint64_t set = 0;
    if (!sigs || n == 0)
        return 0;
    for (size_t i = 0; i < n; i++) {
        if (sigs[i] < 1 || sigs[i] > GOR__MAX_SIGNAL)
            return 0;
        for (size_t k = 0; k < sizeof never / sizeof *never; k++)
            if (sigs[i] == never[k])
                return 0;
        set |= gor__sig_bit(sigs[i]);
    }
    return set;
}

/* Where the subscription of c is linked, or where the list ends. */
static gor__subscription **gor__sig_place_locked(gor_chan *c)
{
    gor__subscription **at = &gor__signals.list;
    while (*at && (*at)->c != c)
        at = &(*at)->next;
    return at;
}

/* Add set to what c gets; if one of it cannot be had, nothing. Inside of a gor call. */
static int gor__sig_subscribe(gor_chan *c, uint64_t set)
{
    gor__subscription *fresh = (gor__subscription *)gor__zalloc(sizeof *fresh), **at;
    bool taken;
    if (!fresh)
        return -ENOMEM;
    gor__lock(&gor__signals.lock, GOR__RANK_CTX);
    at = gor__sig_place_locked(c);
    taken = gor__sig_take_locked(set);
    if (taken && !*at) {
        fresh->c = c;
        gor__au32_add(&c->refs, 1);
        gor__au32_add(&gor__rt.signals, 1);
        *at = fresh;
        fresh = NULL;
    }
    if (taken)
        (*at)->set |= set;
    else
        gor__sig_release_locked();
    gor__unlock(&gor__signals.lock, GOR__RANK_CTX);
    gor__free(fresh, sizeof *fresh);
    return taken ? 0 : -EINVAL;
}

static int gor__sig_unsubscribe(gor_chan *c)
{
    gor__subscription **at, *s;
    gor__lock(&gor__signals.lock, GOR__RANK_CTX);
    at = gor__sig_place_locked(c);
    s = *at;
    if (s)
        *at = s->next;
    gor__sig_release_locked();
    gor__unlock(&gor__signals.lock, GOR__RANK_CTX);
    if (!s)
        return -ENOENT;
    gor__au32_add(&gor__rt.signals, (uint32_t)-1);
    gor__sysmon_wake();                            /* was that all that could wake somebody? */
    gor__chan_release(s->c);
    gor__free(s, sizeof *s);
    return 0;
}

int gor_signal_notify(gor_chan *c, const int *sigs, size_t n)
{
    uint64_t set = gor__sig_set(sigs, n);
    int rc;
    if (!c || !set)
        return -EINVAL;
    if (c->elem_size != sizeof(int))
        return -EMSGSIZE;
    gor__enter();
    rc = gor__poll_need();
    if (rc == 0)
        rc = gor__sig_subscribe(c, set);
    gor__leave(gor__self());
    return rc;
}

int gor_signal_stop(gor_chan *c)
{
    gor__m *m = gor__enter();
    int rc = c ? gor__sig_unsubscribe(c) : -ENOENT;
    gor__leave(m);
    return rc;
}

/* At the end of a run. */
static void gor__signals_remove(void)
{
    while (gor__signals.list)
        gor__sig_unsubscribe(gor__signals.list->c);
    gor__au64_store_rlx(&gor__signals.pending, 0);
    gor__sigpipe_restore();
}

/* -- a context that signals cancel ----------------------------------------------------------- */

typedef struct gor__sig_ctx { gor_ctx *ctx; gor_chan *c; } gor__sig_ctx;

/* Until a signal comes or the context ends otherwise. */
static void gor__sig_ctx_wait(void *p)
{
    gor__sig_ctx *s = (gor__sig_ctx *)p;
    int sig;
    if (gor_select(gor_on_recv(s->c, &sig), gor_on_done(s->ctx)) == 0)
        gor_ctx_cancel(s->ctx, -EINTR);
    gor_signal_stop(s->c);
    gor_chan_release(s->c);
    gor_ctx_release(s->ctx);
}

gor_ctx *gor_signal_ctx(gor_ctx *parent, const int *sigs, size_t n)
{
    gor__sig_ctx s;
    gor__spec spec;
    int rc = -ENOMEM;
    s.ctx = gor_ctx_with_cancel(parent);
    s.c = gor_chan_new(sizeof(int), 1);
    if (s.ctx && s.c)
        rc = gor_signal_notify(s.c, sigs, n);
    if (rc == 0) {
        memset(&spec, 0, sizeof spec);
        spec.fn = gor__sig_ctx_wait;
        spec.site = "gor_signal_ctx\0";
        spec.copy = &s;
        spec.copy_size = sizeof s;
        spec.ctx = &gor__no_ctx;
        gor_ctx_retain(s.ctx);
        rc = gor__go(&spec);
        if (rc == 0)
            return s.ctx;
        gor_signal_stop(s.c);
        gor_ctx_release(s.ctx);
    }
    gor_chan_release(s.c);
    gor_ctx_release(s.ctx);
    return NULL;
}

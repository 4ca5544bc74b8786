/* ==== [time] sleeping, timers, tickers, rate limits ======================================= */

int64_t gor_now(void) { return gor__os_now(); }

/* The timer of a doze fires: nothing else ends that. t is gone once g is ready. */
static bool gor__doze_fire(gor_timer *t, int64_t now)
{
    gor__g *g = (gor__g *)t->arg;
    (void)now;
    gor__aptr_store_rel(&t->owner, NULL);
    gor__ready(g);
    return true;
}

/* A sleep of a goroutine that has no own context, for gor__arch_wait: with as little on its stack
 * as can be, for a crowd that sleeps is out of the caches when it wakes. until: not past, and not
 * GOR_FOREVER: who sleeps for ever needs no timer. */
GOR__SWITCHES static gor__answer gor__doze(void *goroutine, void *b, void *c, uint64_t d,
                                           int64_t until, void *back)
{
    gor__g *g = (gor__g *)goroutine;
    gor__answer answer;
    gor_timer timer;
    int rc;
    (void)b, (void)c, (void)d;
    gor__left_at(gor__self(), back);
    gor__timer_for_wait(&timer, until, gor__doze_fire, g);
    gor__g_waits(g, GOR__WHY_SLEEP, NULL);
    rc = gor__timer_begin(&timer, GOR__UNKNOWN_NS);
    if (GOR__LIKELY(rc == 0))
        gor__park_here(g);
    else
        gor__au32_store_rel(&g->state, GOR__RUNNING);
    if (GOR_CHECK)
        gor__check(!gor__aptr_load_rlx(&timer.owner), "what ends a doze is its timer");
    answer = gor__answer_from(gor__self(), rc, back);
    gor__leave(gor__self());
    return answer;
}

/* The same of anybody, in a call, which it ends. */
static GOR__NOINLINE int gor__sleep_any(int64_t t, bool has_come)
{
    int rc = gor__own_ctx_err();
    if (rc == 0 && !has_come) {
        rc = gor__wait_for_nothing(t, GOR__WHY_SLEEP);
        rc = rc == -ETIMEDOUT && gor__own_ctx_err() == 0 ? 0 : rc;
        if (rc == -ETIMEDOUT && gor__os_now() >= t)
            rc = 0;                                /* both at once: it has slept */
    }
    gor__leave(gor__self());
    return rc;
}

/* Until t. has_come: it is past, and there is nothing to wait for. */
GOR__INLINE int gor__sleep(int64_t t, bool has_come)
{
    gor__m *m = gor__enter();
    gor__g *g = m ? gor__m_g(m) : NULL;
    if (GOR__LIKELY(g && !g->ctx && !has_come && t != GOR_FOREVER))
        return gor__arch_wait(g, NULL, NULL, 0, t, gor__doze);
    return gor__sleep_any(t, has_come);
}

int gor_sleep_until(int64_t t) { return gor__sleep(t, gor__is_past(t)); }

int gor_sleep(int64_t ns) { return gor__sleep(gor__due_in(ns), ns <= 0); }

/* -- timers: what fires runs under a lock ([timer] I3) ---------------------------------- */

typedef struct gor__timer_call { void (*fn)(void *); void *arg; } gor__timer_call;

/* Who swaps the ticket out decides: the goroutine, and fn runs, or gor__timer_revoke. */
static void gor__timer_run(void *p)
{
    gor__timer_call *call = (gor__timer_call *)p;
    gor__g *g = gor__running();
    uint64_t id = gor__au64_load_rlx(&g->id);
    if (gor__au64_cas(&g->ticket, id, 0))
        call->fn(call->arg);
}

/* Take back a run that has been started and has not begun. A ticker's epoch stays 0, which no run
 * of the runtime has: what its `run` says is no G. Another thread may be starting t: epoch, read
 * first, tells that `run` is of this runtime; if run_id is another's, it is not its ticket. */
GOR__INLINE bool gor__timer_revoke(gor_timer *t)
{
    uint32_t epoch = gor__au32_load_acq(&t->epoch);                             /* acq t.epoch */
    bool ran = epoch != 0 && epoch == (uint32_t)gor__rt.epoch;
    gor__g *g = ran ? (gor__g *)gor__aptr_load_rlx(&t->run) : NULL;
    return g && gor__au64_cas(&g->ticket, gor__au64_load_rlx(&t->u.run_id), 0);
}

/* True: t was pending, or had fired and its run had not begun; now neither. */
GOR__INLINE bool gor__timer_cancel(gor_timer *t)
{
    return gor__timer_end(t) || gor__timer_revoke(t);
}

static GOR__NOINLINE bool gor__timer_claim_shared(gor_timer *t)
{
    bool pending = false;
    do
        pending |= gor__timer_cancel(t);
    while (!gor__aptr_cas(&t->owner, NULL, &gor__timer_busy));
    pending |= gor__timer_revoke(t);               /* started and fired before the swap */
    return pending;
}

/* Stop t, and keep others from setting it until gor__timer_set. True: it was pending. */
GOR__INLINE bool gor__timer_claim(gor_timer *t)
{
    return gor__locks_are_nothing() ? gor__timer_cancel(t) : gor__timer_claim_shared(t);
}

/* A function of the user's: in a goroutine of its own; without memory for one, later. */
static bool gor__timer_fire_go(gor_timer *t, int64_t now)
{
    gor__timer_call call = { t->fn, t->arg };
    gor__m *m = gor__self();
    gor__g *g;
    uint64_t id;
    gor__spec s = { gor__timer_run, NULL, "timer\0", &call, sizeof call, NULL, NULL, NULL, NULL };
    (void)now;
    if (gor__g_make(m, &s, &g) != 0)
        return false;
    gor__count_start(m);
    id = gor__au64_load_rlx(&g->id);
    gor__aptr_store_rlx(&t->run, g);
    gor__au64_store_rlx(&t->u.run_id, id);
    gor__au32_store_rel(&t->epoch, (uint32_t)gor__rt.epoch);       /* rel t.epoch */
    gor__au64_store_rlx(&g->ticket, id);
    gor__aptr_store_rel(&t->owner, NULL);
    gor__ready_last(m, g);
    return true;
}

static bool gor__timer_fire_send(gor_timer *t, int64_t now)
{
    gor__chan_try((gor_chan *)t->arg, true, &now);
    return true;
}

GOR__STATIC_ASSERT(GOR__UNDATED_NS > GOR__FAR_NS, "of what is undated nobody is told: [idle] I4");

/* Start t, ns from now, on p, the caller's, if it is far off, and that locks nothing, and asks no
 * clock. Nobody is told, even if it is the first. */
GOR__INLINE bool gor__timer_begin_undated(gor__p *p, gor_timer *t, int64_t ns)
{
    bool soonest;
    return ns >= GOR__UNDATED_NS && gor__timer_add_near(p, t, ns, &soonest);
}

/* Start t, which the caller has claimed, ns from now. 0, -ENOMEM, -ESRCH. */
GOR__INLINE int gor__timer_set(gor_timer *t, int64_t ns)
{
    gor__p *p = gor__p_of(gor__self());
    int rc = gor__is_on() ? 0 : -ESRCH;
    if (rc == 0 && !(p && gor__timer_begin_undated(p, t, ns))) {
        ns = ns > 0 ? ns : 0;
        t->when = gor__due_in(ns);
        rc = gor__timer_begin(t, ns);
    }
    if (rc != 0)
        gor__aptr_store_rel(&t->owner, NULL);
    return rc;
}

/* What t is to run. fire is set by its first start, and stays: who starts it anew reads that before
 * he claims it. */
GOR__INLINE void gor__timer_prepare(gor_timer *t, void (*fn)(void *), void *arg)
{
    gor__aptr_store_rlx(&t->run, NULL);
    if (!t->fire)
        t->fire = gor__timer_fire_go;
    t->fn = fn;
    t->arg = arg;
}

static GOR__NOINLINE int gor__timer_start(gor_timer *t, int64_t ns, void (*fn)(void *), void *arg)
{
    gor__m *m;
    int rc;
    if (!fn)
        return -EINVAL;
    m = gor__enter();
    if (!gor__is_on()) {
        rc = -ESRCH;
    } else {
        gor__timer_claim(t);
        gor__timer_prepare(t, fn, arg);
        rc = gor__timer_set(t, ns);
    }
    gor__leave(m);
    return rc;
}

static GOR__NOINLINE bool gor__timer_stop(gor_timer *t)
{
    gor__m *m = gor__enter();
    bool pending = gor__timer_cancel(t);
    gor__leave(m);
    return pending;
}

/* Start t, ns from now, on p, the caller's, if that locks nothing and the clock is a quick one. */
GOR__INLINE bool gor__timer_begin_dated(gor__p *p, gor_timer *t, int64_t ns)
{
    int64_t now;
    if (GOR__UNLIKELY(!gor__now_quick(&now)))
        return false;
    t->when = gor__later(now, ns);
    return gor__timer_begin_near(p, t, ns);
}

/* The usual case: a new timer, started and stopped where nothing is to be locked. Next to nothing
 * is called here, so that few registers are saved. False: it is not pending. The first start comes
 * before any other: so nothing is claimed. */
GOR__INLINE bool gor__timer_start_quick(gor_timer *t, int64_t ns, void (*fn)(void *), void *arg)
{
    gor__m *m;
    bool done = false;
    if (!fn || t->fire || ns <= 0)
        return false;
    if (gor__call_quick(&m) && GOR__LIKELY(gor__m_p(m) && gor__is_on())) {
        if (GOR_CHECK)
            gor__check(!gor__aptr_load_rlx(&t->owner), "nobody else starts a new timer");
        gor__timer_prepare(t, fn, arg);
        done = gor__timer_begin_undated(gor__m_p(m), t, ns) ||
               gor__timer_begin_dated(gor__m_p(m), t, ns);
    }
    gor__call_end();
    return done;
}

GOR__INLINE bool gor__timer_stop_quick(gor_timer *t)
{
    gor__timers *h;
    gor__m *m;
    bool done = false;
    if (gor__call_quick(&m)) {
        h = (gor__timers *)gor__aptr_load_acq(&t->owner);              /* acq t.owner */
        done = h && gor__timer_del_near(m, h, t);
    }
    gor__call_end();
    return done;
}

int gor_timer_start(gor_timer *t, int64_t ns, void (*fn)(void *), void *arg)
{
    if (GOR__LIKELY(gor__timer_start_quick(t, ns, fn, arg)))
        return 0;
    return gor__timer_start(t, ns, fn, arg);
}

bool gor_timer_stop(gor_timer *t)
{
    return GOR__LIKELY(gor__timer_stop_quick(t)) || gor__timer_stop(t);
}

/* Set t anew, if it is among h, and h are those of m's P. False: it is not, or not any more. */
static GOR__NOINLINE bool gor__timer_change_here(const gor__m *m, gor__timers *h, gor_timer *t,
                                                 int64_t ns)
{
    gor__p *p = gor__p_of(m);
    bool soonest;
    int64_t when;
    if (!p || h != &p->timers || !gor__is_on())
        return false;
    ns = ns > 0 ? ns : 0;
    when = gor__due_in(ns);
    if (!gor__timer_change(h, t, when, &soonest))
        return false;
    if (soonest)
        gor__timer_tell_if_near(p, when, ns);
    return true;
}

/* Set t anew, wherever it is pending, or if it is not. True: it was. */
GOR__INLINE bool gor__timer_set_anew(gor_timer *t, int64_t ns)
{
    bool pending = gor__timer_claim(t);
    if (t->fire)
        gor__timer_set(t, ns);
    else
        gor__aptr_store_rel(&t->owner, NULL);
    return pending;
}

bool gor_timer_reset(gor_timer *t, int64_t ns)
{
    gor__m *m = gor__enter();
    gor__timers *h = (gor__timers *)gor__aptr_load_acq(&t->owner);     /* acq t.owner */
    bool pending = (h && gor__timer_change_here(m, h, t, ns)) || gor__timer_set_anew(t, ns);
    gor__leave(m);
    return pending;
}

/* -- channels that carry the time ---------------------------------------------------------- */

/* The timer of a gor_after, and with it one reference to its channel. */
static bool gor__after_fire(gor_timer *t, int64_t now)
{
    gor_chan *c = (gor_chan *)t->arg;
    gor__chan_try(c, true, &now);
    gor__chan_release(c);
    gor__free(t, sizeof *t);
    return true;
}

gor_chan *gor_after(int64_t ns)
{
    gor_chan *c = gor_chan_new(sizeof(int64_t), 1);
    gor_timer *t;
    gor__enter();
    t = c ? (gor_timer *)gor__zalloc(sizeof *t) : NULL;
    if (t) {
        gor__aptr_store_rlx(&t->owner, &gor__timer_busy);
        t->fire = gor__after_fire;
        t->arg = c;
        gor__au32_add(&c->refs, 1);
        if (gor__timer_set(t, ns) != 0) {
            gor__chan_release(c);
            gor__free(t, sizeof *t);
            t = NULL;
        }
    }
    if (c && !t) {
        gor__chan_release(c);
        c = NULL;
    }
    gor__leave(gor__self());
    return c;
}

gor_chan *gor_ticker_start(gor_ticker *t, int64_t period)
{
    gor_chan *c;
    if (period < 1 || !gor__is_on())
        return NULL;
    c = gor_chan_new(sizeof(int64_t), 1);
    if (!c)
        return NULL;
    gor_ticker_stop(t);
    gor__enter();
    gor__timer_claim(&t->timer);
    t->c = c;
    t->timer.arg = c;
    gor__aptr_store_rlx(&t->timer.run, gor__timer_periodic);
    t->timer.u.period = period;
    t->timer.fire = gor__timer_fire_send;
    if (gor__timer_set(&t->timer, period) != 0) {
        gor__chan_release(c);
        t->c = c = NULL;
    }
    gor__leave(gor__self());
    return c;
}

void gor_ticker_reset(gor_ticker *t, int64_t period)
{
    gor__m *m = gor__enter();
    if (period >= 1 && t->c && gor__is_on()) {
        gor__timer_claim(&t->timer);
        gor__chan_try(t->c, false, NULL);          /* a tick of before */
        t->timer.u.period = period;
        gor__timer_set(&t->timer, period);
    }
    gor__leave(m);
}

void gor_ticker_stop(gor_ticker *t)
{
    gor__m *m = gor__enter();
    gor__timer_end(&t->timer);
    gor__chan_release(t->c);
    t->c = NULL;
    gor__leave(m);
}

/* -- token bucket: tokens below zero are owed to those who wait, each knows when its own will be
 * there --- */

void gor_limiter_init(gor_limiter *l, double per_second, int burst)
{
    memset(l, 0, sizeof *l);
    l->per_second = per_second;
    l->burst = burst;
    l->tokens = burst;
    l->last = gor__os_now();
}

static void gor__limiter_refill(gor_limiter *l, int64_t now)
{
    double more = (double)(now - l->last) * 1e-9 * l->per_second;
    l->tokens = l->tokens + more < l->burst ? l->tokens + more : l->burst;
    l->last = now;
}

/* Take n tokens now or, if they come by the deadline, in advance. When they will be there; -1:
 * too late. */
static int64_t gor__limiter_take(gor_limiter *l, int n, int64_t deadline)
{
    int64_t now, at = -1;
    double left;
    gor__enter();
    gor__mutex_lock(&l->mutex, GOR_FOREVER, NULL);
    now = gor__os_now();
    gor__limiter_refill(l, now);
    left = l->tokens - n;
    if (left >= 0)
        at = now;
    else if (l->per_second > 0 && -left / l->per_second < 9e9)
        at = now + (int64_t)(-left / l->per_second * 1e9) + 1;
    if (at > now && at > deadline)
        at = -1;
    if (at >= 0)
        l->tokens = left;
    gor__mutex_unlock(&l->mutex, "gor_limiter");
    gor__leave(gor__self());
    return at;
}

bool gor_limiter_allow(gor_limiter *l, int n)
{
    return n >= 0 && n <= l->burst && gor__limiter_take(l, n, 0) >= 0;
}

int gor_limiter_wait_until(gor_limiter *l, int n, int64_t deadline)
{
    int64_t at;
    int rc;
    if (n < 0 || n > l->burst)
        return -EINVAL;
    at = gor__limiter_take(l, n, deadline);
    if (at < 0)
        return -ETIMEDOUT;
    rc = gor_sleep_until(at);
    if (rc != 0) {                                 /* not slept to the end: the tokens go back */
        gor__enter();
        gor__mutex_lock(&l->mutex, GOR_FOREVER, NULL);
        l->tokens += n;
        gor__mutex_unlock(&l->mutex, "gor_limiter");
        gor__leave(gor__self());
    }
    return rc;
}

int gor_limiter_wait(gor_limiter *l, int n) { return gor_limiter_wait_until(l, n, GOR_FOREVER); }

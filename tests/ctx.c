/* Contexts and groups: trees of cancellation, and a goroutine's own context. */
#include "test.h"

static const int key_a, key_b;

static int done_now(gor_ctx *c)
{
    return gor_select(gor_on_done(c), gor_on_default()) == 0;
}

/* -- one context ------------------------------------------------------------------------------- */

TEST(the_background_is_never_done)
{
    gor_ctx *bg = gor_ctx_background();
    gor_ctx_cancel(bg, -EIO);
    IS(gor_ctx_err(bg), 0);
    IS(gor_ctx_err(NULL), 0);
    IS(gor_ctx_cause(bg), 0);
    IS(gor_ctx_deadline(bg), GOR_FOREVER);
    OK(gor_ctx_done(bg) == NULL);
    OK(gor_ctx_value(bg, &key_a) == NULL);
    OK(!done_now(bg));
    gor_ctx_release(bg);
    OK(gor_ctx_background() == bg);
}

TEST(cancel_makes_a_context_done)
{
    gor_ctx *c = gor_ctx_with_cancel(gor_ctx_background());
    IS(gor_ctx_err(c), 0);
    IS(gor_ctx_cause(c), 0);
    IS(gor_ctx_deadline(c), GOR_FOREVER);
    OK(!done_now(c));
    gor_ctx_cancel(c, 0);
    IS(gor_ctx_err(c), -ECANCELED);
    IS(gor_ctx_cause(c), -ECANCELED);
    OK(done_now(c));
    gor_ctx_release(c);
}

TEST(the_first_cause_counts)
{
    gor_ctx *c = gor_ctx_with_cancel(NULL);
    gor_ctx_cancel(c, -EIO);
    gor_ctx_cancel(c, -ENOENT);
    IS(gor_ctx_err(c), -ECANCELED);
    IS(gor_ctx_cause(c), -EIO);
    gor_ctx_release(c);
}

/* Whoever asks between the two has been told so. */
TEST(a_deadline_that_has_passed_is_the_first_cause)
{
    gor_ctx *c = gor_ctx_with_timeout(NULL, GOR_MS);
    while (gor_now() < gor_ctx_deadline(c))
        ;
    IS(gor_ctx_err(c), -ETIMEDOUT);
    gor_ctx_cancel(c, -EIO);
    IS(gor_ctx_err(c), -ETIMEDOUT);
    IS(gor_ctx_cause(c), -ETIMEDOUT);
    gor_ctx_release(c);
}

TEST(a_late_child_has_the_cause_of_its_parent)
{
    gor_ctx *c = gor_ctx_with_timeout(NULL, GOR_MS), *child;
    int err, cause;
    gor_ctx_cancel(c, -EIO);           /* or the deadline came first: either will do */
    err = gor_ctx_err(c);
    cause = gor_ctx_cause(c);
    while (gor_now() < gor_ctx_deadline(c))
        ;
    child = gor_ctx_with_cancel(c);
    IS(gor_ctx_err(child), err);
    IS(gor_ctx_cause(child), cause);
    gor_ctx_release(child);
    gor_ctx_release(c);
}

TEST(the_done_channel_is_closed_when_the_context_is_done)
{
    gor_ctx *c = gor_ctx_with_cancel(NULL);
    gor_chan *done = gor_ctx_done(c);
    OK(done != NULL);
    OK(gor_ctx_done(c) == done);
    IS(gor_chan_try_recv(done, NULL, 0), -EAGAIN);
    gor_ctx_cancel(c, 0);
    IS(gor_chan_recv(done, NULL, 0), -EPIPE);
    gor_ctx_release(c);
}

TEST(a_done_channel_asked_for_late_is_closed_already)
{
    gor_ctx *c = gor_ctx_with_cancel(NULL);
    gor_ctx_cancel(c, 0);
    gor_chan *done = gor_chan_retain(gor_ctx_done(c));
    IS(gor_chan_try_recv(done, NULL, 0), -EPIPE);
    gor_ctx_release(c);
    IS(gor_chan_try_recv(done, NULL, 0), -EPIPE);      /* retained: outlives its context */
    gor_chan_release(done);
}

struct watcher {
    gor_ctx *ctx;
    int      rc;
};

static void watch_done(void *p)
{
    struct watcher *w = (struct watcher *)p;
    w->rc = gor_chan_recv(gor_ctx_done(w->ctx), NULL, 0);
}

TEST(cancel_wakes_everyone_who_waits_for_done)
{
    gor_wg wg = { 0 };
    struct watcher w[8];
    gor_ctx *c = gor_ctx_with_cancel(NULL);
    for (int i = 0; i < 8; i++) {
        w[i] = (struct watcher){ c, 1 };
        START(&wg, watch_done, &w[i]);
    }
    wait_until_parked(8);
    gor_ctx_cancel(c, 0);
    gor_wg_wait(&wg);
    for (int i = 0; i < 8; i++)
        IS(w[i].rc, -EPIPE);
    gor_ctx_release(c);
}

TEST(a_deadline_makes_a_context_done)
{
    int64_t deadline = gor_now() + GOR_MS;
    gor_ctx *c = gor_ctx_with_deadline(NULL, deadline);
    IS(gor_ctx_deadline(c), deadline);
    IS(gor_chan_recv(gor_ctx_done(c), NULL, 0), -EPIPE);
    OK(gor_now() >= deadline);
    IS(gor_ctx_err(c), -ETIMEDOUT);
    IS(gor_ctx_cause(c), -ETIMEDOUT);
    gor_ctx_cancel(c, -EIO);
    IS(gor_ctx_err(c), -ETIMEDOUT);
    IS(gor_ctx_cause(c), -ETIMEDOUT);
    gor_ctx_release(c);
    no_timers_left();
}

TEST(a_timeout_is_a_deadline_from_now)
{
    int64_t before = gor_now();
    gor_ctx *c = gor_ctx_with_timeout(NULL, 60 * GOR_SEC);
    OK(gor_ctx_deadline(c) >= before + 60 * GOR_SEC);
    OK(gor_ctx_deadline(c) <= gor_now() + 60 * GOR_SEC);
    IS(gor_ctx_err(c), 0);
    gor_ctx_cancel(c, 0);
    IS(gor_ctx_err(c), -ECANCELED);
    gor_ctx_release(c);
    no_timers_left();
}

TEST(a_timeout_is_exact_however_often_the_clock_is_asked)
{
    int late = 0;
    for (int i = 0; i < scaled(100000); i++) {
        int64_t before = gor_now();
        gor_ctx *c = gor_ctx_with_timeout(NULL, 60 * GOR_SEC);
        int64_t from = gor_ctx_deadline(c) - 60 * GOR_SEC;
        late += from < before || from > gor_now();
        gor_ctx_release(c);
    }
    IS(late, 0);
}

TEST(a_past_deadline_makes_a_context_done_at_once)
{
    gor_ctx *c = gor_ctx_with_deadline(NULL, gor_now() - 1);
    IS(gor_ctx_err(c), -ETIMEDOUT);
    OK(done_now(c));
    IS(gor_chan_try_recv(gor_ctx_done(c), NULL, 0), -EPIPE);
    gor_ctx_release(c);
    c = gor_ctx_with_timeout(NULL, 0);
    IS(gor_ctx_err(c), -ETIMEDOUT);
    gor_ctx_release(c);
    c = gor_ctx_with_timeout(NULL, -GOR_SEC);
    IS(gor_ctx_err(c), -ETIMEDOUT);
    gor_ctx_release(c);
}

TEST(a_timeout_of_nothing_is_over_before_the_call_returns)
{
    int late = 0, n = scaled(100000);
    for (int i = 0; i < n; i++) {
        gor_ctx *c = gor_ctx_with_timeout(NULL, 0);
        late += gor_ctx_err(c) != -ETIMEDOUT;
        gor_ctx_release(c);
    }
    IS(late, 0);
}

TEST(a_released_context_leaves_no_timer)
{
    gor_ctx *c[50];
    for (int i = 0; i < 50; i++)
        c[i] = gor_ctx_with_timeout(NULL, (60 + i) * GOR_SEC);
    for (int i = 0; i < 50; i++)
        gor_ctx_release(c[i]);
    no_timers_left();
}

/* -- the tree ---------------------------------------------------------------------------------- */

TEST(cancel_reaches_all_descendants_and_nobody_else)
{
    gor_ctx *top = gor_ctx_with_cancel(NULL);
    gor_ctx *left = gor_ctx_with_cancel(top), *right = gor_ctx_with_cancel(top);
    gor_ctx *leaf = gor_ctx_with_value(left, &key_a, left);
    gor_ctx *timed = gor_ctx_with_timeout(leaf, 60 * GOR_SEC);
    gor_chan *done = gor_ctx_done(timed);
    gor_ctx_cancel(left, -EIO);
    IS(gor_ctx_err(top), 0);
    IS(gor_ctx_err(right), 0);
    IS(gor_ctx_err(left), -ECANCELED);
    IS(gor_ctx_err(leaf), -ECANCELED);
    IS(gor_ctx_err(timed), -ECANCELED);
    IS(gor_ctx_cause(timed), -EIO);
    IS(gor_chan_try_recv(done, NULL, 0), -EPIPE);
    gor_ctx_cancel(top, -ENOENT);
    IS(gor_ctx_cause(right), -ENOENT);
    IS(gor_ctx_cause(left), -EIO);
    IS(gor_ctx_cause(timed), -EIO);
    gor_ctx_release(top);
    gor_ctx_release(left);
    gor_ctx_release(right);
    gor_ctx_release(leaf);
    gor_ctx_release(timed);
    no_timers_left();
}

TEST(a_child_of_a_done_context_is_done_from_the_start)
{
    gor_ctx *top = gor_ctx_with_cancel(NULL);
    gor_ctx_cancel(top, -EIO);
    gor_ctx *child[4] = { gor_ctx_with_cancel(top), gor_ctx_with_value(top, &key_a, NULL),
                          gor_ctx_with_timeout(top, GOR_SEC), gor_ctx_with_deadline(top, 0) };
    for (int i = 0; i < 3; i++) {
        IS(gor_ctx_err(child[i]), -ECANCELED);
        IS(gor_ctx_cause(child[i]), -EIO);
        OK(done_now(child[i]));
    }
    OK(gor_ctx_err(child[3]) != 0);
    for (int i = 0; i < 4; i++)
        gor_ctx_release(child[i]);
    gor_ctx_release(top);
    no_timers_left();
}

TEST(a_parent_lives_as_long_as_its_children)
{
    gor_ctx *top = gor_ctx_with_value(NULL, &key_a, (void *)1);
    gor_ctx *mid = gor_ctx_with_cancel(top);
    gor_ctx *leaf = gor_ctx_with_cancel(mid);
    gor_ctx_release(top);
    OK(gor_ctx_retain(mid) == mid);
    gor_ctx_release(mid);
    OK(gor_ctx_value(leaf, &key_a) == (void *)1);
    gor_ctx_cancel(mid, 0);
    IS(gor_ctx_err(leaf), -ECANCELED);
    gor_ctx_release(mid);
    gor_ctx_release(leaf);
}

TEST(the_earlier_deadline_of_parent_and_child_counts)
{
    int64_t now = gor_now();
    gor_ctx *top = gor_ctx_with_deadline(NULL, now + 60 * GOR_SEC);
    gor_ctx *later = gor_ctx_with_deadline(top, now + 90 * GOR_SEC);
    gor_ctx *sooner = gor_ctx_with_deadline(top, now + 30 * GOR_SEC);
    gor_ctx *plain = gor_ctx_with_cancel(sooner);
    IS(gor_ctx_deadline(later), now + 60 * GOR_SEC);
    IS(gor_ctx_deadline(sooner), now + 30 * GOR_SEC);
    IS(gor_ctx_deadline(plain), now + 30 * GOR_SEC);
    gor_ctx_release(plain);
    gor_ctx_release(sooner);
    gor_ctx_release(later);
    gor_ctx_release(top);
    no_timers_left();
}

TEST(the_earlier_deadline_of_a_child_wakes_who_waits_for_it)
{
    gor_ctx *top = gor_ctx_with_timeout(NULL, 60 * GOR_SEC);
    gor_ctx *sooner = gor_ctx_with_timeout(top, GOR_MS);
    gor_ctx *plain = gor_ctx_with_cancel(sooner);
    IS(gor_select(gor_on_done(plain), gor_on_deadline(gor_now() + 30 * GOR_SEC)), 0);
    IS(gor_ctx_err(sooner), -ETIMEDOUT);
    IS(gor_ctx_err(top), 0);
    gor_ctx_release(plain);
    gor_ctx_release(sooner);
    gor_ctx_release(top);
    no_timers_left();
}

TEST(a_value_is_that_of_the_nearest_context_with_the_key)
{
    int x, y, z;
    gor_ctx *top = gor_ctx_with_value(NULL, &key_a, &x);
    gor_ctx *mid = gor_ctx_with_value(top, &key_b, &y);
    gor_ctx *cut = gor_ctx_with_cancel(mid);
    gor_ctx *leaf = gor_ctx_with_value(cut, &key_a, &z);
    OK(gor_ctx_value(leaf, &key_a) == &z);
    OK(gor_ctx_value(leaf, &key_b) == &y);
    OK(gor_ctx_value(cut, &key_a) == &x);
    OK(gor_ctx_value(top, &key_b) == NULL);
    OK(gor_ctx_value(leaf, &x) == NULL);
    gor_ctx_release(top);
    gor_ctx_release(mid);
    gor_ctx_release(cut);
    gor_ctx_release(leaf);
}

TEST(without_cancel_keeps_the_values_only)
{
    int x;
    gor_ctx *top = gor_ctx_with_value(NULL, &key_a, &x);
    gor_ctx *timed = gor_ctx_with_timeout(top, 60 * GOR_SEC);
    gor_ctx *free_one = gor_ctx_without_cancel(timed);
    gor_ctx *child = gor_ctx_with_cancel(free_one);
    OK(gor_ctx_done(free_one) == NULL);
    IS(gor_ctx_deadline(free_one), GOR_FOREVER);
    gor_ctx_cancel(timed, 0);
    IS(gor_ctx_err(free_one), 0);
    IS(gor_ctx_err(child), 0);
    OK(gor_ctx_value(child, &key_a) == &x);
    gor_ctx_cancel(child, 0);
    IS(gor_ctx_err(child), -ECANCELED);
    gor_ctx_release(top);
    gor_ctx_release(timed);
    gor_ctx_release(free_one);
    gor_ctx_release(child);
}

static void cancel_it(void *p)
{
    gor_ctx *c = (gor_ctx *)p;
    gor_ctx_cancel(c, -EIO);
    gor_ctx_release(c);
}

static void make_children(void *p)
{
    gor_ctx *c = (gor_ctx *)p;
    for (int i = 0; i < 20; i++) {
        gor_ctx *child = gor_ctx_with_timeout(c, 60 * GOR_SEC);
        gor_ctx *leaf = gor_ctx_with_cancel(child);
        gor_ctx_release(child);
        int err = gor_ctx_err(leaf);
        OK(err == 0 || err == -ECANCELED);
        gor_ctx_release(leaf);
    }
    gor_ctx_release(c);
}

TEST(children_come_and_go_while_the_parent_is_cancelled)
{
    for (int round = 0; round < scaled(100); round++) {
        gor_wg wg = { 0 };
        gor_ctx *c = gor_ctx_with_cancel(NULL);
        for (int i = 0; i < 3; i++)
            START(&wg, make_children, gor_ctx_retain(c));
        START(&wg, cancel_it, gor_ctx_retain(c));
        gor_wg_wait(&wg);
        IS(gor_ctx_cause(c), -EIO);
        gor_ctx_release(c);
    }
    no_timers_left();
}

/* -- gor_ctx_after ----------------------------------------------------------------------------- */

static void count_up(void *p)
{
    atomic_fetch_add((_Atomic int *)p, 1);
}

TEST(an_after_function_runs_once_the_context_is_done)
{
    _Atomic int n = 0;
    gor_ctx *c = gor_ctx_with_cancel(NULL), *child = gor_ctx_with_cancel(c);
    IS(gor_ctx_after(child, count_up, &n), 0);
    IS(gor_ctx_after(c, count_up, &n), 0);
    IS(gor_ctx_after(c, NULL, &n), -EINVAL);
    gor_yield();
    IS(n, 0);
    gor_ctx_cancel(c, 0);
    WAIT_FOR(atomic_load(&n) == 2);
    IS(gor_ctx_after(child, count_up, &n), 0);         /* done already: at once */
    WAIT_FOR(atomic_load(&n) == 3);
    gor_ctx_cancel(c, 0);
    gor_ctx_release(c);
    gor_ctx_release(child);
    gor_yield();
    IS(n, 3);
}

TEST(an_after_function_runs_when_the_deadline_passes)
{
    _Atomic int n = 0;
    gor_ctx *c = gor_ctx_with_timeout(NULL, GOR_MS);
    IS(gor_ctx_after(c, count_up, &n), 0);
    WAIT_FOR(atomic_load(&n) == 1);
    IS(gor_ctx_err(c), -ETIMEDOUT);
    gor_ctx_release(c);
}

TEST(an_after_function_whose_context_is_released_never_runs)
{
    _Atomic int n = 0;
    uint64_t before = test_stats().started;
    for (int i = 0; i < scaled(3000); i++) {
        gor_ctx *c = gor_ctx_with_cancel(NULL);
        IS(gor_ctx_after(c, count_up, &n), 0);
        IS(gor_ctx_after(c, count_up, &n), 0);
        gor_ctx_release(c);
    }
    IS(test_stats().started, before);
    IS(test_stats().goroutines, 1);
    IS(n, 0);
}

static int sleep_under(void *c)
{
    gor_ctx *old = gor_ctx_enter((gor_ctx *)c);
    IS(gor_sleep(100 * GOR_SEC), -ETIMEDOUT);
    gor_ctx_enter(old);
    return 0;
}

static int select_done(void *c)
{
    return gor_select(gor_on_done((gor_ctx *)c));
}

static int receive_done(void *c)
{
    IS(gor_chan_recv(gor_ctx_done((gor_ctx *)c), NULL, 0), -EPIPE);
    return 0;
}

static int select_done_of_child(void *c)
{
    gor_ctx *child = gor_ctx_with_cancel((gor_ctx *)c);
    int rc = select_done(child);
    IS(gor_ctx_err(child), -ETIMEDOUT);
    gor_ctx_release(child);
    return rc;
}

static int wait_for_after(void *c)
{
    _Atomic int n = 0;
    IS(gor_ctx_after((gor_ctx *)c, count_up, &n), 0);
    WAIT_FOR(atomic_load(&n) == 1);
    return 0;
}

static int make_timeout(void *c)
{
    *(gor_ctx **)c = gor_ctx_with_timeout(NULL, 20 * GOR_MS);
    return 0;
}

/* Made outside, and in another run; past when the run begins, and not. */
TESTF(a_deadline_of_before_the_run_passes_in_it)
{
    int (*const use[])(void *) = { sleep_under, select_done, receive_done, select_done_of_child,
                                   wait_for_after };
    for (size_t i = 0; i < sizeof use / sizeof use[0]; i++)
        for (int k = 0; k < 4; k++) {
            gor_ctx *c = NULL;
            IS(k & 1 ? gor_run(make_timeout, &c) : make_timeout(&c), 0);
            while (k & 2 && gor_ctx_err(c) == 0)
                sched_yield();
            IS(gor_run(use[i], c), 0);
            IS(gor_ctx_err(c), -ETIMEDOUT);
            gor_ctx_release(c);
        }
}

static int ask_for_after(void *c)
{
    static _Atomic int n;
    return gor_ctx_after((gor_ctx *)c, count_up, &n);
}

static int leave_functions_behind(void *c)
{
    int refused = 0;
    for (int i = 0; i < 2000; i++)
        refused += ask_for_after(c) != 0;
    return refused;
}

TESTF(functions_that_nobody_has_started_end_with_their_run)
{
    gor_ctx *c = gor_ctx_with_cancel(NULL);
    for (int run = 0; run < 5; run++)
        IS(gor_run(leave_functions_behind, c), 0);
    gor_ctx_release(c);
}

static int ask_and_cancel(void *c)
{
    _Atomic int n = 0;
    IS(gor_ctx_after((gor_ctx *)c, count_up, &n), 0);
    gor_ctx_cancel((gor_ctx *)c, 0);
    WAIT_FOR(atomic_load(&n) == 1);
    return 0;
}

static int only_cancel(void *c)
{
    gor_ctx_cancel((gor_ctx *)c, 0);
    gor_yield();
    return 0;
}

/* A context may outlive a run; goroutines do not, begun or not. */
TESTF(an_after_function_ends_with_its_run)
{
    int (*const then[])(void *) = { ask_and_cancel, only_cancel, NULL };
    for (size_t i = 0; i < sizeof then / sizeof then[0]; i++) {
        gor_ctx *c = gor_ctx_with_cancel(NULL);
        IS(ask_for_after(c), -ESRCH);
        IS(gor_run(ask_for_after, c), 0);
        IS(ask_for_after(c), -ESRCH);
        if (then[i])
            IS(gor_run(then[i], c), 0);
        gor_ctx_release(c);
    }
}

/* -- a goroutine's own context ----------------------------------------------------------------- */

/* Things that nobody gives, so that every operation on them waits. */
struct stage {
    gor_chan   *empty, *no_room, *gate;
    gor_mutex   held, free;
    gor_rwmutex rw_held;
    gor_cond    cond;
    gor_wg      never;
    gor_sem     no_permits;
    gor_once    busy;
    gor_limiter slow;
    gor_group   at_limit;
};

static int a_send(struct stage *s) { return gor_send(s->no_room, &(int){ 1 }); }
static int a_recv(struct stage *s) { return gor_recv(s->empty, &(int){ 0 }); }
static int a_send_until(struct stage *s)
{
    return gor_send_until(s->no_room, &(int){ 1 }, gor_now() + 600 * GOR_SEC);
}
static int a_recv_until(struct stage *s)
{
    return gor_recv_until(s->empty, &(int){ 0 }, GOR_FOREVER);
}
static int a_null_recv(struct stage *s)
{
    (void)s;
    return gor_recv((gor_chan *)NULL, &(int){ 0 });
}
static int a_select(struct stage *s)
{
    int v = 0;
    return gor_select(gor_on_recv(s->empty, &v), gor_on_send(s->no_room, &v),
                      gor_on_after(600 * GOR_SEC));
}
static int an_empty_select(struct stage *s)
{
    (void)s;
    return gor_select_n(NULL, 0);
}
static int a_lock(struct stage *s) { return gor_mutex_lock(&s->held); }
static int a_lock_until(struct stage *s)
{
    return gor_mutex_lock_until(&s->held, gor_now() + 600 * GOR_SEC);
}
static int an_rlock(struct stage *s) { return gor_rwmutex_rlock(&s->rw_held); }
static int a_wlock(struct stage *s) { return gor_rwmutex_lock(&s->rw_held); }
static int a_cond_wait_until(struct stage *s, int64_t deadline)
{
    if (!gor_mutex_try_lock(&s->free))
        return 1;
    int rc = gor_cond_wait_until(&s->cond, &s->free, deadline);
    OK(!gor_mutex_try_lock(&s->free));                  /* locked again, whatever the result */
    gor_mutex_unlock(&s->free);
    return rc;
}
static int a_cond_wait(struct stage *s) { return a_cond_wait_until(s, GOR_FOREVER); }
static int a_timed_cond_wait(struct stage *s)
{
    return a_cond_wait_until(s, gor_now() + 600 * GOR_SEC);
}
static int a_wg_wait(struct stage *s) { return gor_wg_wait(&s->never); }
static int a_wg_wait_until(struct stage *s)
{
    return gor_wg_wait_until(&s->never, gor_now() + 600 * GOR_SEC);
}
static int an_acquire(struct stage *s) { return gor_sem_acquire(&s->no_permits, 1); }
static int an_acquire_until(struct stage *s)
{
    return gor_sem_acquire_until(&s->no_permits, 1, gor_now() + 600 * GOR_SEC);
}
static int a_once(struct stage *s) { return gor_once_do(&s->busy, count_up, NULL); }
static int a_sleep(struct stage *s)
{
    (void)s;
    return gor_sleep(600 * GOR_SEC);
}
static int a_sleep_until(struct stage *s)
{
    (void)s;
    return gor_sleep_until(GOR_FOREVER);
}
static int a_limiter_wait(struct stage *s) { return gor_limiter_wait(&s->slow, 1); }
static int a_limiter_wait_until(struct stage *s)
{
    return gor_limiter_wait_until(&s->slow, 1, GOR_FOREVER);
}
static int return_zero(void *p)
{
    (void)p;
    return 0;
}
static int a_group_go(struct stage *s) { return gor_group_go(&s->at_limit, return_zero, NULL); }

static const struct operation {
    const char *name;
    int       (*fn)(struct stage *);
} operations[] = {
    { "send", a_send }, { "recv", a_recv }, { "send_until", a_send_until },
    { "recv_until", a_recv_until }, { "recv NULL", a_null_recv }, { "select", a_select },
    { "select of nothing", an_empty_select }, { "mutex_lock", a_lock },
    { "mutex_lock_until", a_lock_until }, { "rwmutex_rlock", an_rlock },
    { "rwmutex_lock", a_wlock }, { "cond_wait", a_cond_wait },
    { "cond_wait_until", a_timed_cond_wait }, { "wg_wait", a_wg_wait },
    { "wg_wait_until", a_wg_wait_until }, { "sem_acquire", an_acquire },
    { "sem_acquire_until", an_acquire_until }, { "once_do", a_once }, { "sleep", a_sleep },
    { "sleep_until", a_sleep_until }, { "limiter_wait", a_limiter_wait },
    { "limiter_wait_until", a_limiter_wait_until }, { "group_go", a_group_go },
};
enum { N_OPERATIONS = sizeof operations / sizeof *operations, N_STAGE_HANDS = 2 };

static void wait_at_gate(void *p)
{
    int v;
    IS(gor_recv(((struct stage *)p)->gate, &v), -EPIPE);
}

static void be_busy_once(void *p)
{
    struct stage *s = (struct stage *)p;
    gor_once_do(&s->busy, wait_at_gate, s);
}

static int fill_group(void *p)
{
    wait_at_gate(p);
    return 0;
}

/* Two hands stay parked behind the gate: one in the once, one in the group. */
static void set_stage(struct stage *s, gor_wg *hands)
{
    memset(s, 0, sizeof *s);
    s->empty = gor_chan_new(sizeof(int), 0);
    s->no_room = gor_chan_new(sizeof(int), 0);
    s->gate = gor_chan_new(sizeof(int), 0);
    gor_mutex_lock(&s->held);
    gor_rwmutex_lock(&s->rw_held);
    gor_wg_add(&s->never, 1);
    gor_limiter_init(&s->slow, 0.001, 1);
    OK(gor_limiter_allow(&s->slow, 1));
    gor_group_init(&s->at_limit, NULL, 1);
    IS(gor_group_go(&s->at_limit, fill_group, s), 0);
    START(hands, be_busy_once, s);
    wait_until_parked(N_STAGE_HANDS);
}

static void strike_stage(struct stage *s, gor_wg *hands)
{
    gor_chan_close(s->gate);
    gor_wg_wait(hands);
    IS(gor_group_wait(&s->at_limit), 0);
    gor_mutex_unlock(&s->held);        /* no cancelled waiter holds or wants them */
    OK(gor_mutex_try_lock(&s->held));
    gor_rwmutex_unlock(&s->rw_held);
    OK(gor_rwmutex_try_lock(&s->rw_held));
    gor_wg_done(&s->never);
    gor_sem_release(&s->no_permits, 1);
    IS(gor_sem_try_acquire(&s->no_permits, 1), 0);
    IS(gor_try_send(s->empty, &(int){ 0 }), -EAGAIN);
    IS(gor_try_recv(s->no_room, &(int){ 0 }), -EAGAIN);
    gor_chan_release(s->empty);
    gor_chan_release(s->no_room);
    gor_chan_release(s->gate);
}

struct actor {
    struct stage *stage;
    gor_ctx      *ctx;
    int         (*fn)(struct stage *);
    int           rc;
    gor_wg       *wg;                  /* for one that was not started in it */
};

static void act(void *p)
{
    struct actor *a = (struct actor *)p;
    OK(gor_ctx_enter(a->ctx) == NULL);
    a->rc = a->fn(a->stage);
    OK(gor_ctx_enter(NULL) == a->ctx);
}

static void check_operation(const struct operation *op, int got, int want)
{
    if (!IS(got, want))
        test_say("# in %s\n", op->name);
}

TEST(cancelling_the_own_context_ends_every_blocking_call)
{
    gor_wg hands = { 0 };
    struct stage s;
    set_stage(&s, &hands);
    for (int i = 0; i < N_OPERATIONS; i++) {
        gor_wg wg = { 0 };
        struct actor a = { &s, gor_ctx_with_cancel(NULL), operations[i].fn, 99, NULL };
        START(&wg, act, &a);
        wait_until_parked(N_STAGE_HANDS + 1);
        gor_ctx_cancel(a.ctx, -EIO);
        gor_wg_wait(&wg);
        check_operation(&operations[i], a.rc, -ECANCELED);
        gor_ctx_release(a.ctx);
    }
    strike_stage(&s, &hands);
    no_timers_left();
}

TEST(the_deadline_of_the_own_context_ends_every_blocking_call)
{
    gor_wg hands = { 0 };
    struct stage s;
    set_stage(&s, &hands);
    for (int i = 0; i < N_OPERATIONS; i++) {
        gor_wg wg = { 0 };
        struct actor a = { &s, gor_ctx_with_timeout(NULL, GOR_MS), operations[i].fn, 99, NULL };
        START(&wg, act, &a);
        gor_wg_wait(&wg);
        OK(gor_now() >= gor_ctx_deadline(a.ctx) || operations[i].fn == a_limiter_wait ||
           operations[i].fn == a_limiter_wait_until);
        check_operation(&operations[i], a.rc, -ETIMEDOUT);
        gor_ctx_release(a.ctx);
    }
    strike_stage(&s, &hands);
    no_timers_left();
}

TEST(a_call_that_would_block_under_a_done_context_ends_at_once)
{
    gor_wg hands = { 0 };
    struct stage s;
    set_stage(&s, &hands);
    for (int i = 0; i < N_OPERATIONS; i++) {
        gor_wg wg = { 0 };
        struct actor a = { &s, gor_ctx_with_cancel(NULL), operations[i].fn, 99, NULL };
        gor_ctx_cancel(a.ctx, 0);
        START(&wg, act, &a);
        gor_wg_wait(&wg);
        check_operation(&operations[i], a.rc, -ECANCELED);
        gor_ctx_release(a.ctx);
    }
    strike_stage(&s, &hands);
}

TEST(cancelling_an_ancestor_of_the_own_context_ends_a_wait)
{
    gor_wg hands = { 0 }, wg = { 0 };
    struct stage s;
    set_stage(&s, &hands);
    gor_ctx *top = gor_ctx_with_cancel(NULL);
    gor_ctx *mid = gor_ctx_with_value(top, &key_a, NULL);
    struct actor a = { &s, gor_ctx_with_cancel(mid), a_recv, 99, NULL };
    START(&wg, act, &a);
    wait_until_parked(N_STAGE_HANDS + 1);
    gor_ctx_cancel(top, 0);
    gor_wg_wait(&wg);
    IS(a.rc, -ECANCELED);
    gor_ctx_release(a.ctx);
    gor_ctx_release(mid);
    gor_ctx_release(top);
    strike_stage(&s, &hands);
}

TEST(the_own_context_yields_to_a_shorter_deadline_of_the_call)
{
    gor_ctx *c = gor_ctx_with_timeout(NULL, 600 * GOR_SEC);
    gor_chan *empty = gor_chan_new(sizeof(int), 0);
    OK(gor_ctx_enter(c) == NULL);
    IS(gor_recv_until(empty, &(int){ 0 }, gor_now() + GOR_MS), -ETIMEDOUT);
    IS(gor_ctx_err(c), 0);
    OK(gor_ctx_enter(NULL) == c);
    gor_ctx_release(c);
    gor_chan_release(empty);
}

TEST(a_goroutine_that_has_left_its_context_waits_undisturbed)
{
    gor_ctx *c = gor_ctx_with_cancel(NULL), *inner = gor_ctx_with_cancel(c);
    gor_chan *empty = gor_chan_new(sizeof(int), 0);
    OK(gor_ctx_enter(c) == NULL);
    OK(gor_ctx_enter(inner) == c);
    gor_ctx_cancel(inner, 0);
    IS(gor_recv(empty, &(int){ 0 }), -ECANCELED);
    OK(gor_ctx_enter(c) == inner);
    IS(gor_recv_until(empty, &(int){ 0 }, gor_now() + GOR_US), -ETIMEDOUT);
    gor_ctx_cancel(c, 0);
    IS(gor_recv(empty, &(int){ 0 }), -ECANCELED);
    OK(gor_ctx_enter(NULL) == c);
    IS(gor_sleep(GOR_US), 0);
    IS(gor_recv_until(empty, &(int){ 0 }, gor_now() + GOR_US), -ETIMEDOUT);
    gor_ctx_release(inner);
    gor_ctx_release(c);
    gor_chan_release(empty);
}

static void *recv_task(void *p)
{
    struct actor *a = (struct actor *)p;
    a->rc = a->fn(a->stage);
    return a;
}

static void recv_plainly(void *p)
{
    struct actor *a = (struct actor *)p;
    recv_task(p);
    if (a->wg != NULL)
        gor_wg_done(a->wg);
}

static void cancel_when_parked(void *p)
{
    wait_until_parked(N_STAGE_HANDS + 1);
    gor_ctx_cancel((gor_ctx *)p, 0);
}

TEST(goroutines_inherit_the_context_of_the_one_that_starts_them)
{
    gor_wg hands = { 0 }, wg = { 0 };
    struct stage s;
    gor_attr attr = { .name = "heir" };
    set_stage(&s, &hands);
    gor_ctx *top = gor_ctx_with_cancel(NULL), *c = gor_ctx_with_cancel(top);
    struct actor a[2] = { { &s, NULL, a_recv, 99, NULL }, { &s, NULL, a_recv, 99, &wg } };
    gor_ctx_enter(c);
    START(&wg, recv_plainly, &a[0]);
    gor_wg_add(&wg, 1);
    IS(gor_go_with(&attr, recv_plainly, &a[1]), 0);
    gor_ctx_enter(NULL);
    gor_ctx_release(c);                /* the goroutines keep it */
    wait_until_parked(N_STAGE_HANDS + 2);
    gor_ctx_cancel(top, 0);
    gor_wg_wait(&wg);
    IS(a[0].rc, -ECANCELED);
    IS(a[1].rc, -ECANCELED);
    gor_ctx_release(top);
    strike_stage(&s, &hands);
}

static void lock_and_unlock(void *p)
{
    gor_mutex m = { 0 };
    int rc = gor_mutex_lock(&m);
    IS(rc, *(int *)p);
    if (rc == 0)
        gor_mutex_unlock(&m);
}

/* One after the other, each begins where the last one ended. */
TEST(who_begins_after_another_has_ended_heeds_its_own_context)
{
    gor_wg wg = { 0 };
    gor_ctx *c = gor_ctx_with_cancel(NULL);
    int none = 0, cancelled = -ECANCELED;
    gor_ctx_cancel(c, 0);
    for (int i = 0; i < 100; i++) {
        gor_ctx_enter(i % 2 ? c : NULL);
        START(&wg, lock_and_unlock, i % 2 ? &cancelled : &none);
    }
    gor_ctx_enter(NULL);
    gor_wg_wait(&wg);
    gor_ctx_release(c);
}

TEST(goroutines_started_after_leaving_inherit_nothing)
{
    gor_wg wg = { 0 };
    gor_chan *c = gor_chan_new(sizeof(int), 0);
    struct stage s = { .empty = c };
    struct actor a = { &s, NULL, a_recv, 99, NULL };
    gor_ctx *ctx = gor_ctx_with_cancel(NULL);
    gor_ctx_enter(ctx);
    gor_ctx_cancel(ctx, 0);
    gor_ctx_enter(NULL);
    START(&wg, recv_plainly, &a);
    wait_until_parked(1);
    IS(gor_send(c, &(int){ 1 }), 0);
    gor_wg_wait(&wg);
    IS(a.rc, 0);
    gor_ctx_release(ctx);
    gor_chan_release(c);
}

TEST(a_forked_task_inherits_and_its_join_is_not_ended)
{
    gor_wg hands = { 0 }, wg = { 0 };
    struct stage s;
    gor_task t;
    set_stage(&s, &hands);
    gor_ctx *c = gor_ctx_with_cancel(NULL);
    struct actor a = { &s, NULL, a_recv, 99, NULL };
    START(&wg, cancel_when_parked, c);
    gor_ctx_enter(c);
    gor_fork(&t, recv_task, &a);
    OK(gor_join(&t) == &a);
    IS(a.rc, -ECANCELED);
    gor_ctx_enter(NULL);
    gor_wg_wait(&wg);
    gor_ctx_release(c);
    strike_stage(&s, &hands);
}

static void *note_begin(void *begun)
{
    atomic_store((_Atomic int *)begun, 1);
    return begun;
}

/* What it holds of the context, it gives back: leaks are looked for. */
TEST(a_forked_task_that_does_not_wait_for_its_join_leaves_the_context)
{
    _Atomic int begun = 0;
    gor_ctx *c = gor_ctx_with_cancel(NULL);
    gor_task t;
    gor_ctx_enter(c);
    gor_fork(&t, note_begin, &begun);
    while (!atomic_load(&begun))
        gor_yield();
    OK(gor_join(&t) == &begun);
    gor_ctx_enter(NULL);
    gor_ctx_release(c);
}

struct meeting {
    gor_barrier b;
    gor_ctx    *ctx;
};

static void meet(void *p)
{
    struct meeting *m = (struct meeting *)p;
    gor_ctx_enter(m->ctx);
    bool last = gor_barrier_wait(&m->b);
    gor_ctx_enter(NULL);
    OK(!last);
}

TEST(a_barrier_is_not_ended_by_the_own_context)
{
    gor_wg wg = { 0 };
    struct meeting m = { GOR_BARRIER_INIT(2), gor_ctx_with_cancel(NULL) };
    START(&wg, meet, &m);
    wait_until_parked(1);
    gor_ctx_cancel(m.ctx, 0);
    IS(gor_wg_wait_until(&wg, gor_now() + GOR_MS), -ETIMEDOUT);
    OK(gor_barrier_wait(&m.b));
    gor_wg_wait(&wg);
    gor_ctx_release(m.ctx);
}

/* A cancel and a value race for a parked receiver: the value is received or it stays. */
struct duel {
    gor_chan *c;
    gor_ctx  *ctx;
    int       rc, sent;
};

static void duel_recv(void *p)
{
    struct duel *d = (struct duel *)p;
    gor_ctx_enter(d->ctx);
    d->rc = gor_recv(d->c, &(int){ 0 });
    gor_ctx_enter(NULL);
}

static void duel_send(void *p)
{
    struct duel *d = (struct duel *)p;
    d->sent = gor_try_send(d->c, &(int){ 1 });
}

static void duel_cancel(void *p)
{
    gor_ctx_cancel(((struct duel *)p)->ctx, 0);
}

TEST(a_value_is_not_lost_between_a_cancel_and_a_send)
{
    for (int round = 0; round < scaled(500); round++) {
        gor_wg wg = { 0 };
        struct duel d = { gor_chan_new(sizeof(int), 0), gor_ctx_with_cancel(NULL), 99, 99 };
        START(&wg, duel_recv, &d);
        if (round % 2)
            gor_yield();
        START(&wg, duel_send, &d);
        START(&wg, duel_cancel, &d);
        gor_wg_wait(&wg);
        IS(d.rc == 0, d.sent == 0);
        OK(d.rc == 0 || d.rc == -ECANCELED);
        gor_ctx_release(d.ctx);
        gor_chan_release(d.c);
    }
}

/* -- groups ------------------------------------------------------------------------------------ */

static int count_in_group(void *p)
{
    gor_yield();
    atomic_fetch_add((_Atomic int *)p, 1);
    return 0;
}

TEST(a_group_waits_for_all)
{
    gor_group g;
    _Atomic int n = 0;
    for (int round = 0; round < 3; round++) {
        gor_group_init(&g, NULL, 0);
        IS(gor_ctx_err(gor_group_ctx(&g)), 0);
        for (int i = 0; i < 20; i++)
            IS(gor_group_go(&g, count_in_group, &n), 0);
        IS(gor_group_wait(&g), 0);
        IS(n, 20 * (round + 1));
    }
}

struct member {
    gor_chan *c;
    int       result, seen;
};

static int fail_with_result(void *p)
{
    return ((struct member *)p)->result;
}

static int wait_to_be_cancelled(void *p)
{
    struct member *m = (struct member *)p;
    m->seen = gor_recv(m->c, &(int){ 0 });
    return m->seen;
}

TEST(the_first_error_cancels_the_rest_and_is_the_result)
{
    gor_group g;
    struct member m[8];
    gor_chan *c = gor_chan_new(sizeof(int), 0);
    gor_group_init(&g, NULL, 0);
    for (int i = 0; i < 8; i++) {
        m[i] = (struct member){ c, -EIO, 99 };
        if (i < 7)
            IS(gor_group_go(&g, wait_to_be_cancelled, &m[i]), 0);
    }
    wait_until_parked(7);
    gor_ctx *ctx = gor_ctx_retain(gor_group_ctx(&g));
    IS(gor_group_go(&g, fail_with_result, &m[7]), 0);
    IS(gor_group_wait(&g), -EIO);
    for (int i = 0; i < 7; i++)
        IS(m[i].seen, -ECANCELED);
    IS(gor_ctx_err(ctx), -ECANCELED);
    IS(gor_ctx_cause(ctx), -EIO);
    gor_ctx_release(ctx);
    gor_chan_release(c);
}

TEST(the_context_of_a_group_ends_with_it)
{
    gor_group g;
    gor_group_init(&g, NULL, 0);
    gor_ctx *ctx = gor_ctx_retain(gor_group_ctx(&g));
    IS(gor_ctx_err(ctx), 0);
    IS(gor_group_wait(&g), 0);
    IS(gor_ctx_err(ctx), -ECANCELED);
    gor_ctx_release(ctx);
}

TEST(cancelling_the_parent_cancels_a_group)
{
    gor_group g;
    gor_ctx *top = gor_ctx_with_cancel(NULL);
    struct member m = { gor_chan_new(sizeof(int), 0), 0, 99 };
    gor_group_init(&g, top, 0);
    IS(gor_group_go(&g, wait_to_be_cancelled, &m), 0);
    wait_until_parked(1);
    gor_ctx_cancel(top, 0);
    IS(gor_group_wait(&g), -ECANCELED);
    IS(m.seen, -ECANCELED);
    gor_ctx_release(top);
    gor_chan_release(m.c);
}

struct crowd {
    _Atomic int inside, most;
    gor_group   g;
    gor_chan   *gate;
};

static int enter_crowd(void *p)
{
    struct crowd *c = (struct crowd *)p;
    int n = atomic_fetch_add(&c->inside, 1) + 1;
    int most = atomic_load(&c->most);
    while (n > most && !atomic_compare_exchange_weak(&c->most, &most, n))
        ;
    for (int i = 0; i < 5; i++)
        gor_yield();
    atomic_fetch_sub(&c->inside, 1);
    return 0;
}

TEST(a_group_runs_as_many_at_a_time_as_its_limit)
{
    struct crowd c = { .inside = 0 };
    gor_group_init(&c.g, NULL, 3);
    for (int i = 0; i < scaled(300); i++)
        IS(gor_group_go(&c.g, enter_crowd, &c), 0);
    IS(gor_group_wait(&c.g), 0);
    OK(c.most <= 3);
    IS(c.inside, 0);
}

static int wait_at_crowd_gate(void *p)
{
    struct crowd *c = (struct crowd *)p;
    IS(gor_recv(c->gate, &(int){ 0 }), -EPIPE);
    return 0;
}

static void add_third(void *p)
{
    struct crowd *c = (struct crowd *)p;
    IS(gor_group_go(&c->g, wait_at_crowd_gate, c), 0);
    atomic_fetch_add(&c->inside, 1);
}

TEST(a_group_at_its_limit_makes_its_caller_wait)
{
    gor_wg wg = { 0 };
    struct crowd c = { .gate = gor_chan_new(sizeof(int), 0) };
    gor_group_init(&c.g, NULL, 2);
    IS(gor_group_go(&c.g, wait_at_crowd_gate, &c), 0);
    IS(gor_group_go(&c.g, wait_at_crowd_gate, &c), 0);
    START(&wg, add_third, &c);
    wait_until_parked(3);
    IS(c.inside, 0);
    gor_chan_close(c.gate);
    gor_wg_wait(&wg);
    IS(c.inside, 1);
    IS(gor_group_wait(&c.g), 0);
    gor_chan_release(c.gate);
}

static void wait_for_group(void *p)
{
    struct crowd *c = (struct crowd *)p;
    gor_ctx *own = gor_ctx_with_cancel(NULL);
    gor_ctx_cancel(own, 0);
    gor_ctx_enter(own);
    IS(gor_group_wait(&c->g), 0);
    gor_ctx_enter(NULL);
    gor_ctx_release(own);
    atomic_fetch_add(&c->inside, 1);
}

TEST(a_group_wait_is_not_ended_by_the_own_context)
{
    gor_wg wg = { 0 };
    struct crowd c = { .gate = gor_chan_new(sizeof(int), 0) };
    gor_group_init(&c.g, NULL, 0);
    IS(gor_group_go(&c.g, wait_at_crowd_gate, &c), 0);
    START(&wg, wait_for_group, &c);
    wait_until_parked(2);
    IS(c.inside, 0);
    gor_chan_close(c.gate);
    gor_wg_wait(&wg);
    IS(c.inside, 1);
    gor_chan_release(c.gate);
}

static int nest_a_group(void *p)
{
    gor_group inner;
    gor_group_init(&inner, NULL, 2);
    for (int i = 0; i < 5; i++)
        IS(gor_group_go(&inner, count_in_group, p), 0);
    return gor_group_wait(&inner);
}

TEST(groups_nest)
{
    gor_group g;
    _Atomic int n = 0;
    gor_group_init(&g, NULL, 2);
    for (int i = 0; i < 5; i++)
        IS(gor_group_go(&g, nest_a_group, &n), 0);
    IS(gor_group_wait(&g), 0);
    IS(n, 25);
}

/* Sleeping, timers, tickers, rate limits. Nothing here measures how late something comes: only
 * that it comes, in the right number, and never early. */
#define TEST_INSIDE
#include "test.h"

TEST(the_clock_never_goes_back)
{
    int64_t last = gor_now();
    for (int i = 0; i < 10000; i++) {
        int64_t now = gor_now();
        if (!OK(now >= last))
            break;
        last = now;
        if (i % 100 == 0)
            gor_yield();
    }
}

/* -- sleep ------------------------------------------------------------------------------------- */

TEST(a_sleep_is_never_too_short)
{
    const int64_t ns[] = { 1, 1000, 50 * GOR_US, GOR_MS, 3 * GOR_MS };
    for (size_t i = 0; i < sizeof ns / sizeof *ns; i++) {
        int64_t before = gor_now();
        IS(gor_sleep(ns[i]), 0);
        OK(gor_now() - before >= ns[i]);
        int64_t until = gor_now() + ns[i];
        IS(gor_sleep_until(until), 0);
        OK(gor_now() >= until);
    }
}

TEST(a_sleep_of_nothing_returns_at_once)
{
    IS(gor_sleep(0), 0);
    IS(gor_sleep(-1), 0);
    IS(gor_sleep(INT64_MIN), 0);
    IS(gor_sleep_until(0), 0);
    IS(gor_sleep_until(gor_now() - 1), 0);
    IS(gor_sleep_until(INT64_MIN), 0);
}

struct dorm {
    int64_t     base;
    _Atomic int n_awake, n_early;
};

static void sleep_a_little(void *p)
{
    struct dorm *d = (struct dorm *)p;
    int64_t until = d->base + (int64_t)(test_random() % 100) * GOR_MS;
    IS(gor_sleep_until(until), 0);
    if (gor_now() < until)
        atomic_fetch_add(&d->n_early, 1);
    atomic_fetch_add(&d->n_awake, 1);
}

TEST(a_hundred_thousand_sleepers_all_wake_and_none_early)
{
    const int n = scaled_goroutines(100000);
    gor_wg wg = { 0 };
    struct dorm d = { .base = gor_now() + 100 * GOR_MS };
    for (int i = 0; i < n; i++)
        START(&wg, sleep_a_little, &d);
    IS(gor_wg_wait(&wg), 0);
    IS(d.n_awake, n);
    IS(d.n_early, 0);
    no_timers_left();
}

static void sleep_for_ever(void *p)
{
    gor_ctx_enter((gor_ctx *)p);
    IS(gor_sleep(1000 * GOR_SEC), -ECANCELED);
    gor_ctx_enter(NULL);
}

TEST(ten_thousand_pending_sleeps_are_pending_timers_and_cancel_cleanly)
{
    const int n = scaled_goroutines(10000);
    gor_wg wg = { 0 };
    gor_ctx *c = gor_ctx_with_cancel(NULL);
    for (int i = 0; i < n; i++)
        START(&wg, sleep_for_ever, c);
    wait_until_parked(n);
    OK(test_stats().timers >= (size_t)n);
    gor_ctx_cancel(c, 0);
    gor_wg_wait(&wg);
    no_timers_left();
    gor_ctx_release(c);
}

static void sleep_without_end(void *until)
{
    IS(until ? gor_sleep_until(GOR_FOREVER) : gor_sleep(GOR_FOREVER), 0);
}

static int leave_sleepers_for_ever(void *p)
{
    (void)p;
    for (int i = 0; i < 20; i++)
        IS(gor_go(sleep_without_end, i & 1 ? &i : NULL), 0);
    wait_until_parked(20);
    IS(test_stats().timers, 0);
    return 0;
}

TESTF(a_sleep_for_ever_is_no_timer)
{
    IS(gor_run(leave_sleepers_for_ever, NULL), 0);
}

/* -- after ------------------------------------------------------------------------------------- */

TEST(after_delivers_the_time_once)
{
    int64_t before = gor_now(), at = 0;
    gor_chan *c = gor_after(GOR_MS);
    IS(gor_recv(c, &at), 0);
    OK(at >= before + GOR_MS);
    OK(at <= gor_now());
    IS(gor_recv_until(c, &at, gor_now() + GOR_MS), -ETIMEDOUT);
    gor_chan_release(c);
    c = gor_after(0);
    IS(gor_recv(c, &at), 0);
    gor_chan_release(c);
    c = gor_after(-GOR_SEC);
    IS(gor_recv(c, &at), 0);
    gor_chan_release(c);
}

TEST(an_after_channel_may_be_released_before_its_time)
{
    for (int i = 0; i < 100; i++)
        gor_chan_release(gor_after(i * 10 * GOR_US));
    WAIT_FOR(test_stats().timers == 0);
}

TEST(after_serves_as_a_timeout_in_a_select)
{
    gor_chan *never = gor_chan_new(sizeof(int), 0), *timeout = gor_after(GOR_MS);
    int v = 0;
    int64_t at = 0;
    IS(gor_select(gor_on_recv(never, &v), gor_on_recv(timeout, &at)), 1);
    OK(at > 0);
    gor_chan_release(timeout);
    gor_chan_release(never);
}

/* -- timers ------------------------------------------------------------------------------------ */

struct alarm_clock {
    gor_timer   timer;
    _Atomic int n_rung;
    int64_t     due;
    int         n_more;                /* the function itself starts it again so many times */
    uint64_t    seen_by;
    _Atomic int stopped;
};

static void ring(void *p)
{
    struct alarm_clock *a = (struct alarm_clock *)p;
    OK(gor_now() >= a->due);
    a->seen_by = gor_id();
    atomic_fetch_add(&a->n_rung, 1);
}

TEST(a_timer_runs_its_function_in_a_goroutine_of_its_own)
{
    struct alarm_clock a = { .due = gor_now() + GOR_MS };
    IS(gor_timer_start(&a.timer, GOR_MS, ring, &a), 0);
    WAIT_FOR(atomic_load(&a.n_rung) == 1);
    OK(a.seen_by != 0);
    OK(a.seen_by != gor_id());
    OK(!gor_timer_stop(&a.timer));
    no_timers_left();
    IS(gor_timer_start(&a.timer, 0, ring, &a), 0);
    WAIT_FOR(atomic_load(&a.n_rung) == 2);
    IS(gor_timer_start(&a.timer, -1, ring, &a), 0);
    WAIT_FOR(atomic_load(&a.n_rung) == 3);
}

TEST(a_timer_without_a_function_is_refused)
{
    gor_timer t = { 0 };
    IS(gor_timer_start(&t, GOR_MS, NULL, NULL), -EINVAL);
    OK(!gor_timer_stop(&t));
    no_timers_left();
}

TEST(a_stopped_timer_does_not_run)
{
    struct alarm_clock a = { .due = INT64_MAX };
    IS(gor_timer_start(&a.timer, 600 * GOR_SEC, ring, &a), 0);
    IS(test_stats().timers, 1);
    OK(gor_timer_stop(&a.timer));
    OK(!gor_timer_stop(&a.timer));
    no_timers_left();
    IS(a.n_rung, 0);
}

TEST(reset_moves_a_pending_timer_and_starts_one_that_is_not)
{
    struct alarm_clock a = { .due = 0 };
    IS(gor_timer_start(&a.timer, 600 * GOR_SEC, ring, &a), 0);
    OK(gor_timer_reset(&a.timer, GOR_US));
    WAIT_FOR(atomic_load(&a.n_rung) == 1);
    OK(!gor_timer_reset(&a.timer, GOR_US));
    WAIT_FOR(atomic_load(&a.n_rung) == 2);
    OK(!gor_timer_reset(&a.timer, 600 * GOR_SEC));
    OK(gor_timer_stop(&a.timer));
    OK(!gor_timer_reset(&a.timer, GOR_US));
    WAIT_FOR(atomic_load(&a.n_rung) == 3);
    no_timers_left();
}

TEST(starting_a_pending_timer_moves_it)
{
    struct alarm_clock a = { .due = 0 };
    IS(gor_timer_start(&a.timer, 600 * GOR_SEC, ring, &a), 0);
    IS(gor_timer_start(&a.timer, 500 * GOR_SEC, ring, &a), 0);
    IS(test_stats().timers, 1);
    IS(gor_timer_start(&a.timer, GOR_US, ring, &a), 0);
    WAIT_FOR(atomic_load(&a.n_rung) == 1);
    no_timers_left();
}

static void ring_again(void *p)
{
    struct alarm_clock *a = (struct alarm_clock *)p;
    OK(!gor_timer_stop(&a->timer));
    if (a->n_more-- > 0)
        IS(a->n_more % 2 ? gor_timer_reset(&a->timer, 20 * GOR_US)
                         : gor_timer_start(&a->timer, 20 * GOR_US, ring_again, a), 0);
    atomic_fetch_add(&a->n_rung, 1);
}

TEST(a_timer_function_may_start_its_own_timer_again)
{
    struct alarm_clock a = { .n_more = 20 };
    IS(gor_timer_start(&a.timer, GOR_US, ring_again, &a), 0);
    WAIT_FOR(atomic_load(&a.n_rung) == 21);
    no_timers_left();
}

static void ring_and_park(void *p)
{
    struct alarm_clock *a = (struct alarm_clock *)p;
    atomic_fetch_add(&a->n_rung, 1);
    WAIT_FOR(atomic_load(&a->stopped));
    atomic_fetch_add(&a->n_rung, 1);
}

TEST(stop_does_not_end_a_run_that_has_begun)
{
    struct alarm_clock a = { .due = 0 };
    IS(gor_timer_start(&a.timer, GOR_US, ring_and_park, &a), 0);
    WAIT_FOR(atomic_load(&a.n_rung) == 1);
    OK(!gor_timer_stop(&a.timer));
    atomic_store(&a.stopped, 1);
    WAIT_FOR(atomic_load(&a.n_rung) == 2);
}

static void ring_plainly(void *p)
{
    atomic_fetch_add(&((struct alarm_clock *)p)->n_rung, 1);
}

/* A start is answered by one run or by one "it was pending", never by both or neither. */
static void race_with_timer(void *p)
{
    struct alarm_clock *a = (struct alarm_clock *)p;
    uint64_t rng = test_random();
    int n_started = 0, n_stopped = 0;
    for (int i = 0; i < scaled(300); i++) {
        int64_t ns = (int64_t)(test_random_r(&rng) % 40) * GOR_US;
        if (i % 2) {
            IS(gor_timer_start(&a->timer, ns, ring_plainly, a), 0);
        } else if (gor_timer_reset(&a->timer, ns)) {
            n_stopped++;
        }
        n_started++;
        for (int more = i % 4; more > 1; more--, n_started++)  /* most often it is pending */
            n_stopped += gor_timer_reset(&a->timer, ns + more * GOR_US);
        int64_t pause = (int64_t)(test_random_r(&rng) % 60) * GOR_US;
        if (i % 3 == 0)
            for (int64_t t = gor_now() + pause; gor_now() < t;)
                ;                      /* the timer falls due while we hold the processor */
        else if (i % 3 == 1)
            gor_sleep(pause);
        n_stopped += gor_timer_stop(&a->timer);
    }
    int64_t patience = gor_now() + 10 * GOR_SEC;       /* a lost run is a failure, not a hang */
    WAIT_FOR(atomic_load(&a->n_rung) + n_stopped >= n_started || gor_now() > patience);
    IS(atomic_load(&a->n_rung) + n_stopped, n_started);
}

TEST(every_start_of_a_timer_ends_in_one_run_or_one_successful_stop)
{
    enum { N = 8 };
    gor_wg wg = { 0 };
    struct alarm_clock *a = (struct alarm_clock *)calloc(N, sizeof *a);
    for (int i = 0; i < N; i++) {
        IS(gor_timer_start(&a[i].timer, 0, ring_plainly, &a[i]), 0);
        WAIT_FOR(atomic_load(&a[i].n_rung) == 1);
        atomic_store(&a[i].n_rung, 0);
        START(&wg, race_with_timer, &a[i]);
    }
    gor_wg_wait(&wg);
    no_timers_left();
    free(a);
}

static void ring_unless_stopped(void *p)
{
    struct alarm_clock *a = (struct alarm_clock *)p;
    OK(!atomic_load(&a->stopped));
    atomic_fetch_add(&a->n_rung, 1);
}

/* The timer has fired and its goroutine has not run yet: that run must not begin any more. With
 * more processors it may have begun without our knowing. */
TEST1(on_one_processor_no_stale_run_begins_after_a_stop)
{
    for (int i = 0; i < scaled(200); i++) {
        struct alarm_clock a = { .stopped = 0 };
        IS(gor_timer_start(&a.timer, 1, ring_unless_stopped, &a), 0);
        for (int64_t t = gor_now() + 5 * GOR_US; gor_now() < t;)
            ;
        if (i % 2)
            gor_yield();
        bool was_pending = gor_timer_stop(&a.timer);
        atomic_store(&a.stopped, 1);
        for (int k = 0; k < 3; k++)
            gor_yield();
        IS(atomic_load(&a.n_rung), !was_pending);
    }
}

static void stop_alarm(void *p)
{
    struct alarm_clock *a = (struct alarm_clock *)p;
    if (gor_timer_stop(&a->timer))
        atomic_fetch_add(&a->stopped, 1);
}

TEST(of_many_that_stop_a_timer_one_succeeds)
{
    for (int round = 0; round < scaled(50); round++) {
        gor_wg wg = { 0 };
        struct alarm_clock a = { .due = INT64_MAX };
        IS(gor_timer_start(&a.timer, 600 * GOR_SEC, ring, &a), 0);
        for (int i = 0; i < 8; i++)
            START(&wg, stop_alarm, &a);
        gor_wg_wait(&wg);
        IS(a.stopped, 1);
        IS(a.n_rung, 0);
    }
}

static void *stop_from_thread(void *p)
{
    struct alarm_clock *a = (struct alarm_clock *)p;
    OK(gor_timer_reset(&a[0].timer, 500 * GOR_SEC));
    OK(gor_timer_stop(&a[0].timer));
    IS(gor_timer_start(&a[1].timer, GOR_US, ring, &a[1]), 0);
    WAIT_FOR(atomic_load(&a[1].n_rung) == 1);
    IS(gor_timer_start(&a[1].timer, 600 * GOR_SEC, ring, &a[1]), 0);
    return NULL;
}

struct thread_job {
    void *(*fn)(void *);
    void   *arg;
};

static int run_thread(void *p)
{
    struct thread_job *job = (struct thread_job *)p;
    pthread_t t;
    IS(pthread_create(&t, NULL, job->fn, job->arg), 0);
    pthread_join(t, NULL);
    return 0;
}

TEST(a_thread_and_a_goroutine_stop_each_others_timers)
{
    struct alarm_clock a[2] = { { .due = INT64_MAX }, { .due = 0 } };
    struct thread_job job = { stop_from_thread, a };
    IS(gor_timer_start(&a[0].timer, 600 * GOR_SEC, ring, &a[0]), 0);
    IS(gor_block(run_thread, &job), 0);
    OK(!gor_timer_stop(&a[0].timer));
    OK(gor_timer_stop(&a[1].timer));
    IS(a[0].n_rung, 0);
    no_timers_left();
}

TEST(stopping_all_of_many_timers_leaves_none)
{
    const int n = scaled(100000);
    struct alarm_clock *a = (struct alarm_clock *)calloc((size_t)n, sizeof *a);
    for (int i = 0; i < n; i++) {
        int64_t ns = (int64_t)(1 + test_random() % 1000) * 600 * GOR_SEC;
        IS(gor_timer_start(&a[i].timer, ns, ring_plainly, &a[i]), 0);
    }
    IS(test_stats().timers, n);
    for (int i = 0; i < n; i++) {
        int k = (int)(((unsigned)i * 7919u) % (unsigned)n);    /* in another order */
        gor_timer_stop(&a[k].timer);
    }
    for (int i = 0; i < n; i++)
        gor_timer_stop(&a[i].timer);
    no_timers_left();
    free(a);
}

/* -- the order that timers are kept in ----------------------------------------------------------- */

enum { N_DUE = 400 };

struct due {
    gor__timers h;
    gor_timer   timer[N_DUE];
};

static struct due *due_new(uint32_t at)
{
    struct due *d = (struct due *)calloc(1, sizeof *d);
    IS(gor__timers_init(&d->h), 0);
    d->h.head = d->h.tail = at;
    gor__due_measure(&d->h);
    return d;
}

static void due_free(struct due *d)
{
    for (int i = 0; i < N_DUE; i++)
        gor__timer_del(&d->timer[i]);
    IS(gor__timers_n(&d->h), 0);
    gor__due_free(d->h.heap, d->h.cap);
    free(d);
}

static bool is_pending(const struct due *d, int i)
{
    return gor__aptr_load_acq(&d->timer[i].owner) != NULL;
}

static void due_add(struct due *d, int i, int64_t when)
{
    bool soonest, is_first = when < gor__ai64_load_acq(&d->h.first);
    d->timer[i].when = when;
    if (test_random() % 2 == 0 || !gor__timers_append(&d->h, &d->timer[i], 0, &soonest))
        IS(gor__timer_add(&d->h, &d->timer[i], &soonest), 0);
    IS(soonest, is_first);
}

static void due_del(struct due *d, int i)
{
    if (test_random() % 2 == 0 || !gor__timer_del_last(&d->h, &d->timer[i]))
        OK(gor__timer_del(&d->timer[i]));
    OK(!is_pending(d, i));
}

/* False: it stays as it was. */
static bool due_change(struct due *d, int i, int64_t when)
{
    int64_t was = d->timer[i].when;
    bool soonest = false, is_first = when < gor__ai64_load_acq(&d->h.first);
    bool changed = gor__timer_change(&d->h, &d->timer[i], when, &soonest);
    IS(d->timer[i].when, changed ? when : was);
    OK(changed || !gor__due_has_room(&d->h));
    IS(soonest, changed && is_first);
    OK(is_pending(d, i));
    return changed;
}

/* The earliest of those that are pending, found by looking at all. */
static int64_t due_first(const struct due *d)
{
    int64_t first = GOR_FOREVER;
    for (int i = 0; i < N_DUE; i++)
        if (is_pending(d, i) && d->timer[i].when < first)
            first = d->timer[i].when;
    return first;
}

static int due_pending(const struct due *d)
{
    int n = 0;
    for (int i = 0; i < N_DUE; i++)
        n += is_pending(d, i);
    return n;
}

/* How late a timer is due that is started at now: always as late; at random; two kinds; sooner and
 * sooner; mostly as late. */
static int64_t due_at(int kind, int64_t now)
{
    uint64_t r = test_random();
    switch (kind) {
    case 0: return now + 100;
    case 1: return now + (int64_t)(r % 10000);
    case 2: return now + (r % 2 ? 100 : 1000);
    case 3: return 1000000 - now;
    default: return now + (r % 16 ? 100 : (int64_t)(r / 16 % 100000));
    }
}

/* One started, changed or stopped, or the first one taken out, again and again. The places in the
 * line begin where their numbers wrap. */
static void due_at_random(int kind, uint32_t at)
{
    struct due *d = due_new(at);
    for (int64_t now = 0; now < 4000; now++) {
        int i = (int)(test_random() % N_DUE);
        bool soonest;
        if (!is_pending(d, i)) {
            OK(!gor__timer_change(&d->h, &d->timer[i], now, &soonest));
            due_add(d, i, due_at(kind, now));
        } else if (test_random() % 2) {
            due_change(d, i, due_at(kind, now));
        } else if (now % 3 == 0) {
            due_del(d, i);
        } else {
            gor__timer_del(gor__due_first(&d->h)->timer);
        }
        IS(gor__check_timers(&d->h), 0);
        IS(gor__ai64_load_acq(&d->h.first), due_first(d));
        IS(gor__timers_n(&d->h), due_pending(d));
    }
    due_free(d);
}

TESTF(the_first_timer_is_known_in_whatever_order_they_start_change_and_stop)
{
    for (int kind = 0; kind < 5; kind++) {
        due_at_random(kind, 0);
        due_at_random(kind, UINT32_MAX - 100);
        due_at_random(kind, UINT32_MAX / 2 - 100);
    }
}

/* As a server does that puts a connection's timeout off at each request. */
static void put_off_in_turn(int n)
{
    struct due *d = due_new(0);
    due_add(d, 0, 1000000);                        /* later than all others */
    for (int i = 1; i < n; i++)
        due_add(d, i, n - i);                      /* so these are in the heap */
    for (int i = 0; i < 10000; i++) {
        OK(due_change(d, 1 + i % (n - 1), 100 + i));
        IS(gor__check_timers(&d->h), 0);
    }
    IS(d->h.cap, GOR__TIMERS_CAP);
    IS(gor__timers_n(&d->h), n);
    OK(d->h.n <= 1);
    due_free(d);
}

TESTF(timers_that_are_put_off_in_turn_take_no_room_and_go_to_the_line)
{
    put_off_in_turn(40);
    put_off_in_turn(GOR__TIMERS_CAP);
}

TESTF(timers_that_move_to_another_processor_keep_their_order)
{
    for (int kind = 0; kind < 5; kind++) {
        struct due *to = due_new(0), *from = due_new(UINT32_MAX - 10);
        for (int i = 0; i < N_DUE; i++) {
            due_add(to, i, due_at(kind, i));
            due_add(from, i, due_at(kind, i));
        }
        for (int i = 0; i < N_DUE; i += 3)
            due_del(from, i);
        OK(gor__timers_move(&to->h, &from->h));
        IS(gor__check_timers(&to->h), 0);
        IS(gor__check_timers(&from->h), 0);
        IS(gor__timers_n(&from->h), 0);
        IS(gor__timers_n(&to->h), N_DUE + due_pending(from));
        IS(gor__ai64_load_acq(&from->h.first), GOR_FOREVER);
        due_free(from);
        due_free(to);
    }
}

/* As a server does: each request has a timeout, and ends before it. */
TESTF(timers_that_are_stopped_in_turn_leave_no_room_taken)
{
    struct due *d = due_new(0);
    due_add(d, 0, 50);                             /* one that stays, before all others */
    for (int i = 0; i < 100000; i++) {
        if (i >= 8)
            due_del(d, 1 + (i - 8) % 16);
        due_add(d, 1 + i % 16, 100 + i);
    }
    IS(d->h.cap, GOR__TIMERS_CAP);
    IS(d->h.n, 0);
    due_free(d);
}

static void *give_nothing(size_t size, void *user)
{
    (void)size, (void)user;
    return NULL;
}

TESTF(without_memory_timers_have_the_places_of_those_that_were_stopped)
{
    struct due *d = due_new(0);
    bool soonest;
    for (int i = 0; i < GOR__TIMERS_CAP; i++)
        due_add(d, i, i);
    for (int i = 1; i <= 10; i++)
        due_del(d, i);
    gor__hooks.malloc = give_nothing;
    for (int i = 1; i <= 10; i++)
        due_add(d, i, 100);
    d->timer[N_DUE - 1].when = 100;
    IS(gor__timer_add(&d->h, &d->timer[N_DUE - 1], &soonest), -ENOMEM);
    gor__hooks.malloc = NULL;
    IS(gor__check_timers(&d->h), 0);
    IS(gor__timers_n(&d->h), GOR__TIMERS_CAP);
    due_free(d);
}

TESTF(a_few_long_timers_do_not_keep_short_ones_out_of_the_line)
{
    struct due *d = due_new(0);
    for (int i = 0; i < 6; i++)
        due_add(d, i, 1000000);
    for (int i = 6; i < N_DUE; i++)
        due_add(d, i, i);
    IS(gor__check_timers(&d->h), 0);
    OK(d->h.n <= 6 + GOR__EARLY);
    due_free(d);
}

/* Without a gor call, until the timer's function has run, or 10 s are over. When was whoever sleeps
 * told of it? GOR_FOREVER: not seen. */
static int64_t compute_until_rung(struct alarm_clock *a, int64_t ns)
{
    int64_t patience = gor_now() + 10 * GOR_SEC, told_at = GOR_FOREVER;
    atomic_store(&a->n_rung, 0);
    for (int64_t begin = gor_now(); gor_now() < begin + 20 * GOR_MS;)
        ;                              /* the other one goes to sleep, and minds no timer */
    a->due = gor_now() + ns;
    IS(gor_timer_start(&a->timer, ns, ring_plainly, a), 0);
    while (!atomic_load(&a->n_rung) && gor_now() < patience) {
        int64_t until = gor__ai64_load_sc(&gor__rt.sleep_until);
        if (told_at == GOR_FOREVER && until >= a->due && until < a->due + 10 * GOR_MS)
            told_at = gor_now();
    }
    IS(atomic_load(&a->n_rung), 1);
    OK(gor_now() >= a->due);
    return told_at;
}

/* Nobody is told at the start, but by sysmon, when it is near: [idle] I4. Most rounds prove it; in
 * some a thread may lose its CPU, or go to sleep only then. */
static int compute_often(void *p)
{
    enum { TIMES = 5 };
    struct alarm_clock *a = (struct alarm_clock *)p;
    int n_at_once = 0, n_in_time = 0;
    for (int i = 0; i < TIMES; i++) {
        int64_t told_at = compute_until_rung(a, GOR__FAR_NS + 50 * GOR_MS);
        n_at_once += told_at < a->timer.when - GOR__FAR_NS;
        n_in_time += told_at >= a->timer.when - GOR__FAR_NS && told_at != GOR_FOREVER;
    }
    OK(n_at_once < TIMES);
    OK(n_in_time > 0);
    return 0;
}

TESTF(a_far_timer_of_one_that_computes_is_run_by_another)
{
    gor_options o = { .procs = 2, .preempt = GOR_PREEMPT_OFF };
    struct alarm_clock a = { .due = 0 };
    IS(gor_run_with(&o, compute_often, &a), 0);
}

/* -- timers that start without a look at the clock: [date] -------------------------------------- */

static const int64_t AGES = 3600 * GOR_SEC;        /* for which nobody waits */

static void ring_never(void *p) { OK(p != p); }

/* Is t among the last in the line, which are undated? */
static bool is_undated(const gor_timer *t)
{
    const gor__timers *h = (const gor__timers *)gor__aptr_load_acq(&t->owner);
    return h && (t->index & GOR__IN_LINE) &&
           h->tail - (t->index & ~GOR__IN_LINE) <= gor__au32_load_rlx(&h->undated);
}

/* Can any be? Where nothing is locked, or their lock may become their P's own. */
static bool may_be_undated(void) { return gor__locks_are_nothing() || gor__windows_matter(); }

/* Start t, of AGES, undated: in one of some tries it is, for a look may come at any time. When it is
 * due at the earliest. */
static int64_t start_undated(gor_timer *t)
{
    int64_t until = gor_now() + 10 * GOR_SEC;
    for (;;) {
        int64_t earliest;
        memset(t, 0, sizeof *t);
        WAIT_FOR(gor__ai64_load_acq(&gor__rt.date) != GOR__NO_DATE);
        earliest = gor_now() + AGES;
        IS(gor_timer_start(t, AGES, ring_never, NULL), 0);
        if (is_undated(t) || !may_be_undated() || !OK(gor_now() < until))
            return earliest;
        OK(gor_timer_stop(t));
    }
}

/* Its time counts from a moment between its start and now. To look under the lock would date it. */
static void is_dated(const gor_timer *t, int64_t earliest)
{
    gor__timers *h = (gor__timers *)gor__aptr_load_acq(&t->owner);
    int64_t when;
    OK(!is_undated(t));
    gor__timers_lock(h);
    when = t->when;
    gor__timers_unlock(h);
    OK(when >= earliest);
    OK(when <= gor_now() + AGES + GOR__CLOCK_READ_NS + GOR_US);
}

static void becomes_dated(const gor_timer *t, int64_t earliest)
{
    WAIT_FOR(!is_undated(t));
    is_dated(t, earliest);
}

TEST(an_undated_timer_is_dated_at_the_next_look_and_never_early)
{
    gor_timer t;
    for (int i = 0; i < 100; i++) {
        int64_t earliest = start_undated(&t), until = gor_now() + 10 * GOR_SEC;
        while (is_undated(&t) && gor_now() < until)
            gor_yield();               /* a sleep would date it itself */
        is_dated(&t, earliest);
        OK(gor_timer_stop(&t));
    }
    no_timers_left();
}

TEST(a_stop_leaves_other_undated_timers_to_be_dated)
{
    gor_timer t[3] = { { 0 } };
    for (int i = 0; i < 100; i++) {
        int64_t earliest = start_undated(&t[0]);
        for (int k = 1; k < 3; k++) {
            memset(&t[k], 0, sizeof t[k]);
            IS(gor_timer_start(&t[k], AGES, ring_never, NULL), 0);
        }
        OK(gor_timer_stop(&t[i % 3]));
        for (int k = 1; k < 3; k++)
            becomes_dated(&t[(i + k) % 3], earliest);
        for (int k = 1; k < 3; k++)
            OK(gor_timer_stop(&t[(i + k) % 3]));
    }
    no_timers_left();
}

/* Of one that is undated, or was until it was stopped. It may be undated again. */
static void reset_counts_from_now(bool pending)
{
    gor_timer t;
    for (int i = 0; i < 100; i++) {
        int64_t earliest;
        start_undated(&t);
        if (!pending)
            OK(gor_timer_stop(&t));
        earliest = gor_now() + AGES;
        IS(gor_timer_reset(&t, AGES), pending);
        becomes_dated(&t, earliest);
        OK(gor_timer_stop(&t));
    }
}

TEST(a_reset_of_an_undated_timer_counts_from_now) { reset_counts_from_now(true); }
TEST(a_stopped_timer_that_is_started_anew_counts_from_now) { reset_counts_from_now(false); }

TEST(not_too_many_timers_are_undated_at_once)
{
    enum { N = 4 * GOR__UNDATED_MOST };
    gor_timer *t = (gor_timer *)calloc(N, sizeof *t);
    int64_t earliest = start_undated(&t[0]);
    for (int i = 1; i < N; i++) {
        const gor__timers *h = (const gor__timers *)gor__aptr_load_acq(&t[i - 1].owner);
        OK(gor__au32_load_rlx(&h->undated) <= GOR__UNDATED_MOST);
        IS(gor_timer_start(&t[i], AGES, ring_never, NULL), 0);
    }
    for (int i = 0; i < N; i++) {
        becomes_dated(&t[i], earliest);
        OK(gor_timer_stop(&t[i]));
    }
    no_timers_left();
    free(t);
}

struct dating {
    gor_timer    t;
    int64_t      earliest;
    _Atomic bool started, seen;
};

/* On a thread without a processor, soon: its last one may be another than that of the timer, which
 * then is about to look. */
static int see_it_dated(void *p)
{
    struct dating *d = (struct dating *)p;
    int64_t until = gor_now() + 10 * GOR_SEC;
    while (is_undated(&d->t) && gor_now() < until)
        usleep(10);
    is_dated(&d->t, d->earliest);
    return 0;
}

TEST(nothing_stays_undated_on_a_processor_that_was_given_up)
{
    struct dating d;
    for (int i = 0; i < 100; i++) {
        d.earliest = start_undated(&d.t);
        IS(gor_block(see_it_dated, &d), 0);
        OK(gor_timer_stop(&d.t));
    }
}

static void see_it_dated_too(void *p)
{
    struct dating *d = (struct dating *)p;
    while (!atomic_load(&d->started))
        gor_yield();
    is_dated(&d->t, d->earliest);
    atomic_store(&d->seen, true);
}

/* By retake, or by a switch in place. */
static int compute_until_seen(void *p)
{
    struct dating *d = (struct dating *)p;
    gor_wg wg = { 0 };
    for (int i = 0; i < 5; i++) {
        atomic_store(&d->started, false);
        atomic_store(&d->seen, false);
        START(&wg, see_it_dated_too, d);
        d->earliest = start_undated(&d->t);
        atomic_store(&d->started, true);
        while (!atomic_load(&d->seen))
            ;
        gor_wg_wait(&wg);
        OK(gor_timer_stop(&d->t));
    }
    return 0;
}

TESTF(nothing_is_undated_on_a_processor_that_was_taken)
{
    struct dating d;
    gor_options one = { .procs = 1 };
    IS(gor_run_with(&one, compute_until_seen, &d), 0);
}

/* Without a gor call, for many dates after the first one that comes. */
static void compute_through_dates(void *p)
{
    int64_t earliest, first, next;
    gor_timer t;
    (void)p;
    earliest = start_undated(&t);
    first = gor__ai64_load_acq(&gor__rt.date);
    do
        next = gor__ai64_load_acq(&gor__rt.date);
    while (next == first || next == GOR__NO_DATE);
    for (int64_t begin = gor_now(); gor_now() < begin + 10 * GOR__SYSMON_NS;)
        ;
    gor_sleep(1);
    is_dated(&t, earliest);
    OK(t.when <= next + AGES);
    OK(gor_timer_stop(&t));
}

/* All of them at a time. */
static int compute_through_dates_all(void *p)
{
    gor_wg wg = { 0 };
    if (!may_be_undated()) {
        *(bool *)p = false;
        return 0;
    }
    for (int i = 0; i < gor_procs(0); i++)
        START(&wg, compute_through_dates, NULL);
    gor_wg_wait(&wg);
    return 0;
}

TESTF(those_that_compute_make_their_timers_late_by_one_date)
{
    bool all = true;                   /* while locks are elided, checks and TSan see them */
    for (int procs = GOR_CHECK || TEST_TSAN ? 2 : 1; procs <= 4; procs++) {
        gor_options o = { .procs = procs, .preempt = GOR_PREEMPT_OFF };
        IS(gor_run_with(&o, compute_through_dates_all, &all), 0);
    }
    if (!all)
        SKIP("kernel: no membarrier");
}

static int compute_until_it_rings(void *p)
{
    gor_timer t;
    start_undated(&t);                 /* now this P owns them */
    gor_timer_stop(&t);
    compute_until_rung((struct alarm_clock *)p, GOR__UNDATED_NS);
    return 0;
}

TESTF(an_undated_timer_of_one_that_computes_is_run_by_another)
{
    gor_options o = { .procs = 2, .preempt = GOR_PREEMPT_OFF };
    struct alarm_clock a = { .due = 0 };
    IS(gor_run_with(&o, compute_until_it_rings, &a), 0);
}

/* Dating by a model: how long after the date that dates it each is due; or when. */
struct dates {
    struct due *d;
    int64_t     date, owed[N_DUE], due[N_DUE];
};

static void renew_date(struct dates *s)
{
    s->date += 1 + (int64_t)(test_random() % 50);
    gor__ai64_store_rlx(&gor__rt.date, s->date);
}

static void dates_begin(struct dates *s, uint32_t at)
{
    memset(s, 0, sizeof *s);
    s->d = due_new(at);
    s->date = 1000;
    renew_date(s);
}

static void dates_end(struct dates *s)
{
    renew_date(s);
    due_free(s->d);
    gor__ai64_store_rlx(&gor__rt.date, GOR__NO_DATE);
}

static void start_dated(struct dates *s, int i, int64_t ns)
{
    gor_timer *t = &s->d->timer[i];
    bool soonest;
    t->when = s->due[i] = s->date + ns;
    if (!gor__timers_append(&s->d->h, t, 0, &soonest)) {
        renew_date(s);                 /* the lock dates */
        IS(gor__timer_add(&s->d->h, t, &soonest), 0);
    }
}

static void start_by_date(struct dates *s, int i, int64_t ns)
{
    gor_timer *t = &s->d->timer[i];
    bool soonest;
    t->when = -1;
    if (gor__timers_append(&s->d->h, t, ns, &soonest)) {
        s->owed[i] = ns;
        IS(t->when, s->date + ns);
    } else {
        IS(t->when, -1);
        start_dated(s, i, ns);
    }
}

/* What was owed until now has been paid, if nothing is undated any more. */
static void settle(struct dates *s)
{
    bool all = gor__au32_load_rlx(&s->d->h.undated) == 0;
    for (int i = 0; i < N_DUE; i++) {
        if (all && s->owed[i]) {
            s->due[i] = s->date + s->owed[i];
            s->owed[i] = 0;
        }
        if (!s->owed[i] && is_pending(s->d, i))
            IS(s->d->timer[i].when, s->due[i]);
    }
    OK(gor__ai64_load_acq(&s->d->h.first) <= due_first(s->d));
}

static void dates_at_random(int64_t spread, uint32_t at)
{
    struct dates s;
    dates_begin(&s, at);
    for (int n = 0; n < 4000; n++) {
        int i = (int)(test_random() % N_DUE);
        int64_t ns = 1000 + (int64_t)(test_random() % (uint64_t)spread);
        if (!is_pending(s.d, i) && test_random() % 4) {
            start_by_date(&s, i, ns);
        } else if (!is_pending(s.d, i)) {
            start_dated(&s, i, ns + spread);
        } else {
            s.owed[i] = 0;
            renew_date(&s);
            due_del(s.d, i);
        }
        settle(&s);
        if (n % 16 == 0) {
            renew_date(&s);
            IS(gor__check_timers(&s.d->h), 0);
            IS(gor__ai64_load_acq(&s.d->h.first), due_first(s.d));
            settle(&s);
        }
    }
    dates_end(&s);
}

TESTF(what_is_undated_becomes_due_by_the_next_date)
{
    for (int64_t spread = 1; spread <= 1000; spread *= 10) {
        dates_at_random(spread, 0);
        dates_at_random(spread, UINT32_MAX - 100);
    }
}

TESTF(the_first_date_after_their_own_is_remembered)
{
    struct dates s;
    int64_t next = 0;
    dates_begin(&s, 0);
    start_by_date(&s, 0, AGES);
    gor__date_remember(&s.d->h, s.date);           /* that is their own */
    for (int i = 0; i < 3; i++) {
        renew_date(&s);
        next = next ? next : s.date;
        gor__date_remember(&s.d->h, s.date);
    }
    IS(gor__check_timers(&s.d->h), 0);
    IS(s.d->timer[0].when, next + AGES);
    start_by_date(&s, 1, AGES);
    renew_date(&s);
    IS(gor__check_timers(&s.d->h), 0);
    IS(s.d->timer[1].when, s.date + AGES);
    dates_end(&s);
}

TESTF(without_a_date_nothing_is_undated)
{
    struct due *d = due_new(0);
    bool soonest;
    OK(!gor__timers_append(&d->h, &d->timer[0], AGES, &soonest));
    OK(!is_pending(d, 0));
    due_free(d);
}

/* -- tickers ----------------------------------------------------------------------------------- */

TEST(a_ticker_ticks)
{
    gor_ticker t = { 0 };
    int64_t before = gor_now(), last = 0, at = 0;
    gor_chan *c = gor_ticker_start(&t, GOR_MS);
    OK(c != NULL);
    for (int i = 0; i < 5; i++) {
        IS(gor_recv(c, &at), 0);
        OK(at > last);
        last = at;
    }
    OK(last >= before + 5 * GOR_MS);
    gor_ticker_stop(&t);
    no_timers_left();
}

TEST(a_slow_receiver_misses_ticks)
{
    gor_ticker t = { 0 };
    int64_t at = 0;
    gor_chan *c = gor_ticker_start(&t, 100 * GOR_US);
    WAIT_FOR(gor_chan_len(c) == gor_chan_cap(c));
    gor_sleep(5 * GOR_MS);             /* some fifty periods */
    size_t kept = gor_chan_len(c);
    OK(kept <= 2);
    while (kept-- > 0)
        IS(gor_recv(c, &at), 0);
    int64_t now = gor_now();
    do
        IS(gor_recv(c, &at), 0);       /* it goes on */
    while (at < now);
    gor_ticker_stop(&t);
    no_timers_left();
}

TEST(a_ticker_reset_has_the_new_period)
{
    gor_ticker t = { 0 };
    int64_t at = 0;
    gor_chan *c = gor_ticker_start(&t, 600 * GOR_SEC);
    gor_ticker_reset(&t, GOR_MS);
    IS(gor_recv(c, &at), 0);
    IS(gor_recv(c, &at), 0);
    gor_ticker_stop(&t);
    no_timers_left();
}

TEST(a_ticker_reset_takes_back_a_tick_that_nobody_took)
{
    gor_ticker t = { 0 };
    int64_t at = 0;
    gor_chan *c = gor_ticker_start(&t, 100 * GOR_US);
    WAIT_FOR(gor_chan_len(c) == 1);
    gor_ticker_reset(&t, 600 * GOR_SEC);
    IS(gor_try_recv(c, &at), -EAGAIN);
    gor_ticker_stop(&t);
    no_timers_left();
}

TEST(a_stopped_ticker_ticks_no_more)
{
    gor_ticker t = { 0 };
    int64_t at = 0;
    gor_chan *c = gor_chan_retain(gor_ticker_start(&t, 100 * GOR_US));
    IS(gor_recv(c, &at), 0);
    gor_ticker_stop(&t);
    while (gor_try_recv(c, &at) == 0)
        ;
    IS(gor_recv_until(c, &at, gor_now() + 2 * GOR_MS), -ETIMEDOUT);
    no_timers_left();
    gor_chan_release(c);
    c = gor_ticker_start(&t, 100 * GOR_US);            /* the storage is used again */
    IS(gor_recv(c, &at), 0);
    gor_ticker_stop(&t);
}

TEST(a_ticker_without_a_period_is_refused)
{
    gor_ticker t = { 0 };
    OK(gor_ticker_start(&t, 0) == NULL);
    OK(gor_ticker_start(&t, -GOR_SEC) == NULL);
    no_timers_left();
}

/* -- limiters ---------------------------------------------------------------------------------- */

TEST(a_limiter_allows_a_burst_and_then_refuses)
{
    gor_limiter l;
    gor_limiter_init(&l, 0.001, 5);
    OK(gor_limiter_allow(&l, 2));
    OK(!gor_limiter_allow(&l, 4));
    OK(gor_limiter_allow(&l, 3));
    OK(!gor_limiter_allow(&l, 1));
    OK(gor_limiter_allow(&l, 0));
}

TEST(a_limiter_wait_is_never_too_short)
{
    gor_limiter l;
    int64_t before = gor_now();
    gor_limiter_init(&l, 10000, 2);
    for (int i = 0; i < 22; i++)
        IS(gor_limiter_wait(&l, 1), 0);
    OK(gor_now() - before >= 20 * 100 * GOR_US - GOR_US);      /* 2 at once, 20 at 100 us each */
}

TEST(a_limiter_refuses_what_it_can_never_give)
{
    gor_limiter l;
    gor_limiter_init(&l, 1000, 3);
    IS(gor_limiter_wait(&l, 4), -EINVAL);
    IS(gor_limiter_wait(&l, -1), -EINVAL);
    IS(gor_limiter_wait_until(&l, 4, GOR_FOREVER), -EINVAL);
    IS(gor_limiter_wait(&l, 3), 0);
}

TEST(a_limiter_answers_a_hopeless_deadline_at_once_and_takes_nothing)
{
    gor_limiter l;
    gor_limiter_init(&l, 0.01, 2);
    OK(gor_limiter_allow(&l, 1));
    int64_t deadline = gor_now() + 30 * GOR_SEC;
    IS(gor_limiter_wait_until(&l, 2, deadline), -ETIMEDOUT);
    OK(gor_now() < deadline);
    IS(gor_limiter_wait_until(&l, 2, 0), -ETIMEDOUT);
    IS(gor_limiter_wait_until(&l, 1, 0), 0);
    OK(!gor_limiter_allow(&l, 1));
}

struct tap {
    gor_limiter l;
    _Atomic int n_drawn;
};

static void draw(void *p)
{
    struct tap *t = (struct tap *)p;
    for (int i = 0; i < 25; i++) {
        if (i % 2) {
            IS(gor_limiter_wait(&t->l, 1), 0);
            atomic_fetch_add(&t->n_drawn, 1);
        } else if (gor_limiter_allow(&t->l, 1)) {
            atomic_fetch_add(&t->n_drawn, 1);
        }
    }
}

TEST(many_goroutines_together_stay_within_the_rate)
{
    gor_wg wg = { 0 };
    struct tap t = { .n_drawn = 0 };
    int64_t before = gor_now();
    gor_limiter_init(&t.l, 20000, 5);
    for (int i = 0; i < 8; i++)
        START(&wg, draw, &t);
    gor_wg_wait(&wg);
    double most = 5 + 20000 * (double)(gor_now() - before) / 1e9;
    OK(t.n_drawn >= 96);
    OK(t.n_drawn <= most + 1);
}

/* -- [clock]: the time that timers are set by ------------------------------------------------- */

/* From here on the counter is in use, where it can be. */
static void clock_begins(void)
{
    int64_t until = gor_now() + GOR_SEC;
    while (gor__au64_load_acq(&gor__clock.until) == 0 && gor_now() < until)
        gor__now_above();
}

static void look_at_the_clock(void *p)
{
    (void)p;
    for (int i = 0; i < scaled(100000); i++) {
        int64_t before = gor_now(), said = gor__now_above(), after = gor_now();
        if (!OK(said >= before) ||
            (after - before < GOR_US && !OK(said <= after + GOR__CLOCK_READ_NS + GOR_US)))
            return;
        if (i % 64 == 0)
            gor_yield();               /* to another CPU, perhaps */
    }
}

TEST(the_time_that_timers_are_set_by_is_never_early_and_hardly_late)
{
    gor_wg wg = { 0 };
    clock_begins();
    if (gor__au64_load_acq(&gor__clock.until) == 0)
        SKIP("counter: none that is steady");
    for (int i = 0; i < 4; i++)
        START(&wg, look_at_the_clock, NULL);
    gor_wg_wait(&wg);
}

/* As on a machine whose CPUs count differently, or that was moved. Last: it is for good. */
TESTF(a_counter_that_jumps_is_not_used_any_more)
{
    clock_begins();
    if (gor__au64_load_acq(&gor__clock.until) == 0)
        SKIP("counter: the system does not say that it is steady");
    gor__au64_store_rlx(&gor__clock.at, gor__au64_load_rlx(&gor__clock.at) - GOR_SEC);
    WAIT_FOR(gor__au32_load_acq(&gor__clock.on) == 0 || gor__now_above() == 0);
    for (int i = 0; i < 1000; i++) {
        int64_t before = gor_now();
        OK(gor__now_above() >= before);
    }
}

static int tick_once(void *p)
{
    int64_t t;
    IS(gor_chan_recv(gor_ticker_start((gor_ticker *)p, GOR_MS), &t, sizeof t), 0);
    return 0;
}

static int tick_slowly(void *p)
{
    int64_t t;
    gor_ticker_reset((gor_ticker *)p, GOR_MS);
    IS(gor_chan_recv(((gor_ticker *)p)->c, &t, sizeof t), 0);
    IS(gor_chan_recv(((gor_ticker *)p)->c, &t, sizeof t), 0);
    return 0;
}

TESTF(a_ticker_may_be_reset_after_its_run)
{
    gor_ticker t = { 0 };
    IS(gor_run(tick_once, &t), 0);
    gor_ticker_reset(&t, GOR_MS);
    IS(gor_run(tick_slowly, &t), 0);
    gor_ticker_stop(&t);
}

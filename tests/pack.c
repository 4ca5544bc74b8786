/* Stacks of idle goroutines in small blocks (gor_attr.compact_idle): a goroutine does not notice,
 * and neither does who touches its stack. */
#define TEST_INSIDE
#include "test.h"

#include <sys/time.h>

static bool packs(void)
{
    if (TEST_TSAN || TEST_ASAN)
        test_skip("sanitizer: no stack is packed");
    return !TEST_TSAN && !TEST_ASAN && test_light_guards();
}

static const gor_attr packable = { .compact_idle = true };

#define START_PACKABLE(wg, fn, arg)                                                                \
    do {                                                                                           \
        gor_wg_add((wg), 1);                                                                       \
        IS(gor_go_with(&packable, fn, arg), 0);                                                    \
    } while (0)

/* Run fn with every idle stack packed at once, at several numbers of processors. */
static void with_packing(int (*fn)(void *))
{
    gor_options o = { .compact_idle = 1 };
    IS(setenv("GORDEBUG", "tidy=1", 1), 0);
    for (o.procs = 1; o.procs <= 8; o.procs *= 2)
        IS(gor_run_with(&o, fn, NULL), 0);
    unsetenv("GORDEBUG");
}

/* Unoptimised, a frame may fill its page: then packing it is not worth it. */
static void wait_until_packed(int n)
{
    wait_until_parked(n);
#ifdef __OPTIMIZE__
    if (packs())
        WAIT_FOR(test_stats().packed >= (size_t)n);
#else
    test_skip("unoptimised: a stack may not be worth packing");
    gor_sleep(20 * GOR_MS);
#endif
}

struct sleeper {
    gor_wg   *wg;
    gor_chan *c;
    uint64_t  seed;
    uint64_t *_Atomic shown;           /* a word on its stack, for others */
};

/* Does what was on the stack before a wait stay there? With values in registers, too. */
static void keep(void *arg)
{
    struct sleeper *s = arg;
    volatile uint64_t words[24];
    uint64_t rng = s->seed, got = 0;
    for (int i = 0; i < 24; i++)
        words[i] = test_random_r(&rng);
    atomic_store(&s->shown, (uint64_t *)(uintptr_t)&words[7]);
    IS(gor_recv(s->c, &got), 0);
    rng = s->seed;
    for (int i = 0; i < 24; i++) {
        uint64_t want = test_random_r(&rng);
        OK(words[i] == (i == 7 ? want + got : want));
    }
    gor_wg_done(s->wg);
}

enum { MANY = 200 };

/* MANY that sleep on one channel, all packed. */
static struct crew {
    gor_wg         wg;
    gor_chan      *c;
    struct sleeper s[MANY];
} crew;

static void crew_queue(void)
{
    crew.wg = (gor_wg){ 0 };
    crew.c = gor_chan_new(sizeof(uint64_t), 0);
}

static void crew_sleep(void)
{
    for (int i = 0; i < MANY; i++) {
        crew.s[i] = (struct sleeper){ .wg = &crew.wg, .c = crew.c, .seed = test_random() };
        START_PACKABLE(&crew.wg, keep, &crew.s[i]);
    }
    wait_until_packed(MANY);
}

static void crew_begin(void)
{
    crew_queue();
    crew_sleep();
}

/* added: what others have added to the word that each shows. */
static void crew_wake(uint64_t added)
{
    for (int i = 0; i < MANY; i++)
        IS(gor_send(crew.c, &added), 0);
}

static void crew_end(void)
{
    gor_wg_wait(&crew.wg);
    gor_chan_release(crew.c);
}

static int wake_all(void *arg)
{
    (void)arg;
    for (int round = 0; round < 3; round++) {
        crew_begin();
        crew_wake(0);
        crew_end();
        IS(test_stats().packed, 0);
    }
    return 0;
}

TESTF(a_goroutine_wakes_where_it_was)
{
    with_packing(wake_all);
}

static void *touch(void *arg)
{
    for (int i = 0; i < MANY; i++)
        __atomic_fetch_add(atomic_load(&crew.s[i].shown), 1, __ATOMIC_RELAXED);
    return arg;
}

/* Goroutines and a thread that is not ours, all at the same packed words. */
static void touch_too(void *arg)
{
    touch(arg);
}

static int touch_all(void *arg)
{
    (void)arg;
    for (int round = 0; round < 3; round++) {
        gor_wg touching = { 0 };
        pthread_t thread;
        crew_begin();
        IS(pthread_create(&thread, NULL, touch, NULL), 0);
        for (int i = 0; i < 3; i++)
            START(&touching, touch_too, NULL);
        gor_wg_wait(&touching);
        IS(pthread_join(thread, NULL), 0);
        wait_until_packed(MANY);       /* and again */
        crew_wake(4);
        crew_end();
    }
    return 0;
}

TESTF(who_touches_a_packed_stack_finds_it_as_it_was)
{
    with_packing(touch_all);
}

/* -- nodes and timers in queues with others, who come and go ----------------------------------- */

struct crowd {
    gor_chan    *c[2];
    gor_mutex    m;
    gor_wg       wg;
    uint64_t     sent;
    _Atomic uint64_t received;
    _Atomic int  stop;
};

static void wait_anywhere(void *arg)
{
    struct crowd *w = arg;
    uint64_t rng = test_random();
    while (!atomic_load(&w->stop)) {
        uint64_t got = 0;
        int64_t until = gor_now() + (int64_t)(test_random_r(&rng) % 2000) * GOR_US;
        int rc = 0;
        switch (test_random_r(&rng) % 4) {
        case 0:
            rc = gor_recv_until(w->c[0], &got, until);
            break;
        case 1:
            gor_select(gor_on_recv(w->c[0], &got), gor_on_recv(w->c[1], &got),
                       gor_on_deadline(until));
            break;
        case 2:
            IS(gor_mutex_lock(&w->m), 0);
            IS(gor_sleep_until(gor_now() + 100 * GOR_US), 0);
            gor_mutex_unlock(&w->m);
            break;
        default:
            IS(gor_sleep_until(until), 0);
        }
        OK(rc == 0 || rc == -ETIMEDOUT);
        atomic_fetch_add(&w->received, got);
    }
    gor_wg_done(&w->wg);
}

static int crowded(void *arg)
{
    static struct crowd w;
    int64_t end = gor_now() + GOR_SEC / 2;
    uint64_t most = 0;
    (void)arg;
    memset(&w, 0, sizeof w);
    for (int i = 0; i < 2; i++)
        w.c[i] = gor_chan_new(sizeof(uint64_t), 0);
    for (int i = 0; i < 100; i++)
        START_PACKABLE(&w.wg, wait_anywhere, &w);
    while (gor_now() < end) {
        uint64_t v = 1 + test_random() % 1000, packed = test_stats().packed;
        if (gor_send_until(w.c[test_random() % 2], &v, gor_now() + GOR_MS) == 0)
            w.sent += v;
        gor_sleep(50 * GOR_US);
        most = packed > most ? packed : most;
    }
    atomic_store(&w.stop, 1);
    gor_wg_wait(&w.wg);
    OK(most > 0 || !packs());
    IS(w.sent, atomic_load(&w.received));
    IS(test_stats().packed, 0);
    for (int i = 0; i < 2; i++)
        gor_chan_release(w.c[i]);
    return 0;
}

TESTF(nothing_is_lost_in_a_crowd_of_packed_goroutines)
{
    with_packing(crowded);
}

/* -- signals ----------------------------------------------------------------------------------- */

static _Atomic long n_ticks, ticks_begun, ticks_ended;
static _Atomic int ticking;            /* a tick that comes later, or late, does nothing */

static void tick(int sig)
{
    (void)sig;
    atomic_fetch_add(&ticks_begun, 1);
    if (atomic_load(&ticking)) {
        for (int i = 0; i < MANY; i += 10)
            __atomic_fetch_add(atomic_load(&crew.s[i].shown), 1, __ATOMIC_RELAXED);
        atomic_fetch_add(&n_ticks, 1);
    }
    atomic_fetch_add(&ticks_ended, 1);
}

static bool no_tick_under_way(void)
{
    long ended = atomic_load(&ticks_ended);
    return atomic_load(&ticks_begun) == ended;
}

/* Its own thread may be at work on that very stack. */
static int touch_by_signal(void *arg)
{
    uint64_t ticks;
    struct itimerval often = { { 0, 200 }, { 0, 200 } }, never = { { 0, 0 }, { 0, 0 } };
    (void)arg;
    crew_begin();
    atomic_store(&n_ticks, 0);
    atomic_store(&ticking, 1);
    IS(setitimer(ITIMER_REAL, &often, NULL), 0);
    for (int i = 0; i < 2000; i++) {
        __atomic_fetch_add(atomic_load(&crew.s[i % MANY].shown), 0, __ATOMIC_RELAXED);
        if (i % 100 == 0)
            gor_sleep(GOR_MS);         /* they are packed again */
    }
    IS(setitimer(ITIMER_REAL, &never, NULL), 0);
    atomic_store(&ticking, 0);
    WAIT_FOR(no_tick_under_way());
    ticks = (uint64_t)atomic_load(&n_ticks);
    for (int i = 0; i < MANY; i++)
        __atomic_fetch_add(atomic_load(&crew.s[i].shown), i % 10 == 0 ? 0 : ticks,
                           __ATOMIC_RELAXED);
    crew_wake(ticks);
    crew_end();
    OK(ticks > 0);
    return 0;
}

TESTF(a_signal_handler_may_touch_packed_stacks)
{
    struct sigaction a = { .sa_handler = tick, .sa_flags = SA_RESTART }, old;
    unsigned left = alarm(0);          /* the harness's clock */
    IS(sigaction(SIGALRM, &a, &old), 0);
    with_packing(touch_by_signal);
    IS(sigaction(SIGALRM, &old, NULL), 0);
    alarm(left);
}

static void *send_all(void *arg)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    crew_wake(0);
    return arg;
}

static int wake_from_deaf_thread(void *arg)
{
    pthread_t thread;
    (void)arg;
    crew_begin();
    IS(pthread_create(&thread, NULL, send_all, NULL), 0);
    crew_end();
    IS(pthread_join(thread, NULL), 0);
    return 0;
}

TESTF(threads_that_block_every_signal_wake_them_too)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    with_packing(wake_from_deaf_thread);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void *leave_by_deadline(void *arg)
{
    sigset_t all;
    uint64_t got;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    IS(gor_recv_until(crew.c, &got, gor_now() + 300 * GOR_MS), -ETIMEDOUT);
    return arg;
}

/* It came into the queue before anybody could be packed, and leaves neighbours that are. */
static int sleep_beside_deaf_thread(void *arg)
{
    pthread_t thread;
    (void)arg;
    crew_queue();
    IS(pthread_create(&thread, NULL, leave_by_deadline, NULL), 0);
    gor_sleep(50 * GOR_MS);
    crew_sleep();
    IS(pthread_join(thread, NULL), 0);
    crew_wake(0);
    crew_end();
    return 0;
}

TESTF(a_deaf_thread_that_was_asleep_before_leaves_in_peace)
{
    with_packing(sleep_beside_deaf_thread);
}

static _Atomic int may_touch;

static void *touch_apart(void *arg)
{
    bool apart = unshare(CLONE_FILES) == 0;
    if (!apart)
        test_say("# cannot have files of its own\n");
    while (!atomic_load(&may_touch))
        sched_yield();
    return touch(arg);
}

static void *touch_when_cancelled(void *arg)
{
    while (!atomic_load(&may_touch))
        ;
    return touch(arg);
}

/* The first has no file of the runtime's, the second is to be cancelled: there is no better place
 * for it than in the middle of bringing a stack back. */
static int touch_by_odd_threads(void *arg)
{
    pthread_t apart, cancelled;
    void *end = NULL;
    (void)arg;
    atomic_store(&may_touch, 0);
    IS(pthread_create(&apart, NULL, touch_apart, NULL), 0);
    gor_sleep(10 * GOR_MS);
    crew_begin();
    atomic_store(&may_touch, 1);
    IS(pthread_join(apart, NULL), 0);
    wait_until_packed(MANY);
    atomic_store(&may_touch, 0);
    IS(pthread_create(&cancelled, NULL, touch_when_cancelled, &crew), 0);
    IS(pthread_cancel(cancelled), 0);
    atomic_store(&may_touch, 1);
    IS(pthread_join(cancelled, &end), 0);
    OK(end == &crew);
    crew_wake(2);
    crew_end();
    return 0;
}

TESTF(threads_without_our_files_or_cancelled_bring_stacks_back)
{
    with_packing(touch_by_odd_threads);
}

/* -- what is refused --------------------------------------------------------------------------- */

static gor_chan *gate;

static char *_Atomic shown;

static void park_deep(void *arg)
{
    char much[60000];
    (void)arg;
    memset(much, 1, sizeof much);
    atomic_store(&shown, much);
    gor_chan_recv(gate, NULL, 0);
    atomic_store(&shown, NULL);
}

static void park(void *arg)
{
    (void)arg;
    gor_chan_recv(gate, NULL, 0);
}

static int refusals(void *arg)
{
    int64_t wait = gor_now() + 50 * GOR_MS;
    (void)arg;
    gate = gor_chan_new(0, 0);
    IS(gor_go_with(&packable, park_deep, NULL), 0);    /* too much to be worth it */
    IS(gor_go(park, NULL), 0);                         /* not asked for */
    wait_until_parked(2);
    while (gor_now() < wait) {
        gor_sleep(GOR_MS);
        IS(test_stats().packed, 0);
    }
    gor_chan_close(gate);
    WAIT_FOR(gor_num_goroutines() == 1);
    gor_chan_release(gate);
    return 0;
}

TESTF(only_what_is_asked_for_and_worth_it_is_packed)
{
    gor_options o = { .compact_idle = -1 };
    IS(gor_run_with(&o, refusals, NULL), -EINVAL);
    with_packing(refusals);
}

#define IDLE (500 * GOR_MS)

/* What is read before its time has come must be none. */
static int packed_in_time(void *arg)
{
    int64_t begin = gor_now();
    size_t n;
    (void)arg;
    gate = gor_chan_new(0, 0);
    for (int i = 0; i < 10; i++)
        IS(gor_go_with(&packable, park, NULL), 0);
    wait_until_parked(10);
    do {
        gor_sleep(GOR_MS);
        n = test_stats().packed;
    } while (gor_now() < begin + IDLE && IS(n, 0));
    wait_until_packed(10);
    gor_chan_close(gate);
    WAIT_FOR(gor_num_goroutines() == 1);
    gor_chan_release(gate);
    return 0;
}

TESTF(no_stack_is_packed_before_compact_idle_has_passed)
{
    gor_options o = { .procs = 2, .compact_idle = IDLE };
    IS(setenv("GORDEBUG", "tidy=1", 1), 0);            /* looked at all the time */
    IS(gor_run_with(&o, packed_in_time, NULL), 0);
    unsetenv("GORDEBUG");
}

static __attribute__((noinline)) int dig(size_t n)
{
    volatile char frame[1000];
    frame[0] = frame[999] = 1;
    return frame[0] + (n > 1000 ? dig(n - 1000) : 0) + frame[999];
}

static void dig_and_park(void *arg)
{
    OK(dig(100000) > 0);
    park(arg);
}

/* Smaller at once, packed later or never. */
static int smaller_first(void *at_last)
{
    enum { N = 10 };
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    gate = gor_chan_new(0, 0);
    for (int i = 0; i < N; i++)
        IS(gor_go_with(&packable, dig_and_park, NULL), 0);
    wait_until_parked(N);
    WAIT_FOR(test_stack_bytes() <= (N + 1) * 8 * page);
    if (at_last)
        wait_until_packed(N);
    else
        IS(test_stats().packed, 0);
    gor_chan_close(gate);
    WAIT_FOR(gor_num_goroutines() == 1);
    gor_chan_release(gate);
    return 0;
}

TESTF(who_may_be_packed_later_gives_back_its_pages_before)
{
    gor_options o = { .procs = 2, .compact_idle = GOR_FOREVER };
    IS(setenv("GORDEBUG", "tidy=1", 1), 0);
    IS(gor_run_with(&o, smaller_first, NULL), 0);
    o.compact_idle = IDLE;
    IS(gor_run_with(&o, smaller_first, &o), 0);
    unsetenv("GORDEBUG");
}

static gor_chan *gates[4];              /* which nobody can release any more */
static int n_gates;

static int abandon(void *arg)
{
    (void)arg;
    gates[n_gates++] = gate = gor_chan_new(0, 0);
    for (int i = 0; i < 10; i++)
        IS(gor_go_with(&packable, park, NULL), 0);
    wait_until_packed(10);
    return 0;
}

TESTF(what_is_packed_at_the_end_is_freed)
{
    uint64_t before = gor__au64_load_rlx(&gor__heap_bytes);
    with_packing(abandon);
    IS(gor__au64_load_rlx(&gor__heap_bytes), before + (size_t)n_gates * sizeof(gor_chan));
}

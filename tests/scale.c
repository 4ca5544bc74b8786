/* Many goroutines: how much memory each takes, and that it comes back. GORTEST_MANY=1000000 for
 * the numbers that are said of it; less by default, within the same bounds, and fewer packed, which
 * takes longer. These hold for optimised code, and where a stack's guard takes no page
 * (MADV_GUARD_INSTALL). Nothing of this under a
 * sanitizer, whose own memory for each stack is many times ours. bench/memory.go has the same rows
 * for Go. */
#define TEST_INSIDE
#include "test.h"

#include <malloc.h>

static int many(void)
{
    return scaled((int)test_env("GORTEST_MANY", 50000));
}

static int many_packed(void)
{
    return scaled((int)test_env("GORTEST_MANY", 10000));
}

/* Kilobytes of a line of /proc/self/status. */
static long status_kb(const char *key)
{
    char line[200];
    long kb = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, key, strlen(key)) == 0)
            kb = strtol(line + strlen(key), NULL, 10);
    if (f != NULL)
        fclose(f);
    return kb;
}

/* Memory of this process and the page tables that it takes. */
static double memory(void)
{
    return 1024.0 * (double)(status_kb("VmRSS:") + status_kb("VmPTE:"));
}

static bool too_small_here(int n)
{
    long pages = sysconf(_SC_AVPHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    if (TEST_TSAN || TEST_ASAN)
        test_skip("sanitizer: its memory for each stack is many times ours");
    else if ((double)pages * (double)size < 6e3 * n)
        test_skip("machine: less than 6 KB of memory free for each goroutine");
    else
        return false;
    return true;
}

static bool bounds_hold(void)
{
#ifdef __OPTIMIZE__
    return test_light_guards();
#else
    test_skip("unoptimised: frames take what they like");
    return false;
#endif
}

static gor_chan *gate;
static _Atomic long n_parked;

static void park(void *p)
{
    (void)p;
    atomic_fetch_add(&n_parked, 1);
    gor_chan_recv(gate, NULL, 0);
}

struct scene {
    int         n;
    size_t      stack_size;
    int         procs;
    double      most;                  /* bytes each */
};

static int parked_goroutines(void *arg)
{
    struct scene *s = (struct scene *)arg;
    double before = memory();
    int64_t begin = gor_now(), started, ready;
    gate = gor_chan_new(0, 0);
    atomic_store(&n_parked, 0);
    for (int i = 0; i < s->n; i++)
        if (!IS(gor_go(park, NULL), 0))
            return 1;
    started = gor_now() - begin;
    WAIT_FOR(atomic_load(&n_parked) == s->n);
    ready = gor_now() - begin;
    wait_until_parked(s->n);
    double each = (memory() - before) / s->n;
    test_say("# procs %d: %d parked, stacks of %zu KiB: %.0f bytes each, %.0f ns each to start, "
             "%.0f until parked\n", s->procs, s->n, s->stack_size >> 10, each,
             (double)started / s->n, (double)ready / s->n);
    if (bounds_hold())
        OK(each <= s->most);
    gor_chan_close(gate);
    WAIT_FOR(gor_num_goroutines() == 1);
    gor_chan_release(gate);
    return 0;
}

static void with_procs(struct scene *s, int (*fn)(void *))
{
    for (s->procs = 1; s->procs <= 2; s->procs++) {
        gor_options o = { .procs = s->procs, .stack_size = s->stack_size, .compact_idle = 1 };
        malloc_trim(0);                /* or the next run takes what the last one has freed */
        IS(gor_run_with(&o, fn, s), 0);
    }
}

TESTF(a_parked_goroutine_takes_a_page_its_share_of_a_page_table_and_a_G)
{
    struct scene small = { many(), 64u << 10, 0, 4.4 * 1024 };
    struct scene usual = { many(), 256u << 10, 0, 4.8 * 1024 };
    if (too_small_here(small.n))
        return;
    with_procs(&small, parked_goroutines);
    with_procs(&usual, parked_goroutines);
}

static int packed_goroutines(void *arg)
{
    struct scene *s = (struct scene *)arg;
    static const gor_attr packable = { .compact_idle = true };
    double before = memory();
    int64_t begin;
    if (!test_light_guards())
        return 0;
    gate = gor_chan_new(0, 0);
    atomic_store(&n_parked, 0);
    for (int i = 0; i < s->n; i++)
        if (!IS(gor_go_with(&packable, park, NULL), 0))
            return 1;
    begin = gor_now();
    while (test_stats().packed < (size_t)s->n && bounds_hold())
        gor_sleep(100 * GOR_MS);       /* while all sleeps, they are packed without a rest */
    double each = (memory() - before) / s->n, took = (double)(gor_now() - begin) / s->n;
    test_say("# procs %d: %d packed, stacks of %zu KiB: %.0f bytes each, %.0f ns each until then\n",
             s->procs, s->n, s->stack_size >> 10, each, took);
    if (bounds_hold())                 /* and a megabyte for all of them: slots, a free list */
        OK(each <= s->most + 1e6 / s->n);
    begin = gor_now();
    gor_chan_close(gate);
    WAIT_FOR(gor_num_goroutines() == 1);
    test_say("# %.0f ns each to come back\n", (double)(gor_now() - begin) / s->n);
    gor_chan_release(gate);
    return 0;
}

TESTF(a_packed_goroutine_takes_its_live_bytes_its_share_of_a_page_table_and_a_G)
{
    struct scene small = { many_packed(), 64u << 10, 0, 1.2 * 1024 };
    struct scene usual = { many_packed(), 256u << 10, 0, 1.4 * 1024 };
    if (too_small_here(small.n))
        return;
    IS(setenv("GORDEBUG", "tidy=1000000", 1), 0);      /* looked at each millisecond */
    with_procs(&small, packed_goroutines);
    with_procs(&usual, packed_goroutines);
    unsetenv("GORDEBUG");
}

static _Atomic long n_ran;

static void run_once(void *p)
{
    (void)p;
    atomic_fetch_add(&n_ran, 1);
}

static _Atomic int n_busy;
static _Atomic bool others_go;
static gor_wg starting;

static void keep_busy(void *p)
{
    atomic_fetch_add(&n_busy, 1);
    while (!atomic_load_explicit(&others_go, memory_order_relaxed))
        ;
    (void)p;
}

/* All processors are busy, one of them with starting, and none is taken: so nothing else runs. */
static void start_fresh(void *arg)
{
    struct scene *s = (struct scene *)arg;
    double before, each;
    int64_t begin;
    before = memory();
    begin = gor_now();
    for (int i = 0; i < s->n; i++)
        if (!IS(gor_go(park, NULL), 0))
            break;
    each = (memory() - before) / (double)s->n;
    test_say("# procs %d: %d started: %.0f bytes each, %.0f ns each\n", s->procs, s->n, each,
             (double)(gor_now() - begin) / s->n);
    IS(atomic_load(&n_parked), 0);
    if (bounds_hold())
        OK(each <= s->most);
    gor_wg_done(&starting);
}

/* They are started by one of high priority, which makes way for nobody. */
static int fresh_goroutines(void *arg)
{
    struct scene *s = (struct scene *)arg;
    gor_attr high = { .priority = GOR_HIGH };
    atomic_store(&n_busy, 0);
    atomic_store(&others_go, false);
    atomic_store(&n_parked, 0);
    for (int i = 1; i < s->procs; i++)
        IS(gor_go(keep_busy, NULL), 0);
    while (atomic_load(&n_busy) < s->procs - 1)
        usleep(100);                   /* not gor_sleep: this processor would run it */
    gor_wg_add(&starting, 1);
    IS(gor_go_with(&high, start_fresh, s), 0);
    gor_wg_wait(&starting);
    atomic_store(&others_go, true);
    return 0;
}

TESTF(a_goroutine_that_has_not_begun_takes_a_G_and_no_page)
{
    struct scene s = { 10 * many(), 0, 0, 256 };
    if (too_small_here(s.n / 10))
        return;
    gate = NULL;
    for (s.procs = 1; s.procs <= 2; s.procs++) {
        gor_options o = { .procs = s.procs, .preempt = GOR_PREEMPT_OFF };
        malloc_trim(0);
        IS(gor_run_with(&o, fresh_goroutines, &s), 0);
    }
}

/* Gs that exist, alive or dead: the most that ever were alive, which is the schedule's to say. */
static long n_gs(void)
{
    long n = 0;
    gor__lock_sched();
    for (gor__gslab *slab = gor__rt.slabs; slab != NULL; slab = slab->next)
        n += (long)(sizeof slab->g / sizeof slab->g[0]);
    gor__unlock_sched();
    return n;
}

static int waves(void *arg)
{
    struct scene *s = (struct scene *)arg;
    double after_first = 0, after = 0;
    long most_first = 0;
    for (int wave = 0; wave < 5; wave++) {
        gor_wg wg = { 0 };
        for (int i = 0; i < s->n / 5; i++)
            START(&wg, run_once, NULL);
        gor_wg_wait(&wg);
        WAIT_FOR(gor_num_goroutines() == 1);
        after = memory();
        if (wave == 0) {
            after_first = after;
            most_first = n_gs();
        }
    }
    test_say("# procs %d: %d in waves: %.0f KB and %ld Gs after the first, %.0f KB and %ld Gs after "
             "the last\n", s->procs, s->n, after_first / 1024, most_first, after / 1024, n_gs());
    if (bounds_hold())                 /* more alive at once may have needed a page and a G more */
        OK(after <= after_first + 1e6 + 4.8 * 1024 * (double)(n_gs() - most_first));
    return 0;
}

TESTF(waves_of_millions_leave_memory_where_it_was_after_the_first)
{
    struct scene s = { 10 * many(), 0, 0, 0 };
    if (!too_small_here(0))
        with_procs(&s, waves);
}

/* -- timers ------------------------------------------------------------------------------------ */

static void never(void *p)
{
    (void)p;
    OK(!"a timer of ten minutes has fired");
}

/* In another order than they were started: 7919 is prime, so each has its turn. */
static int pending_timers(void *arg)
{
    struct scene *s = (struct scene *)arg;
    gor_timer *t = (gor_timer *)calloc((size_t)s->n, sizeof *t);
    double before, each, start_ns, stop_ns;
    int64_t begin;
    for (int i = 0; i < s->n; i++)
        ((volatile gor_timer *)t)[i].when = 0;     /* their own memory is there from the start */
    before = memory();
    begin = gor_now();
    for (int i = 0; i < s->n; i++)
        IS(gor_timer_start(&t[i], (600 + (int64_t)(test_random() % 600)) * GOR_SEC, never, NULL), 0);
    start_ns = (double)(gor_now() - begin) / s->n;
    each = (memory() - before) / s->n;
    IS(test_stats().timers, s->n);
    begin = gor_now();
    for (int64_t i = 0; i < s->n; i++)
        OK(gor_timer_stop(&t[i * 7919 % s->n]));
    stop_ns = (double)(gor_now() - begin) / s->n;
    no_timers_left();
    test_say("# procs %d: %d timers: %.0f bytes each beside their own, %.0f ns each to start, "
             "%.0f to stop\n", s->procs, s->n, each, start_ns, stop_ns);
    OK(each <= s->most);
    OK(start_ns <= 20e3);              /* to look at each of the others takes ten times that */
    OK(stop_ns <= 20e3);
    free(t);
    return 0;
}

TESTF(a_million_timers_take_a_place_in_a_heap_each)
{
    struct scene s = { 20 * many(), 0, 1, 40 };
    gor_options o = { .procs = 1 };
    if (s.n > 1000000)
        s.n = 1000000;
    if (!too_small_here(0))
        IS(gor_run_with(&o, pending_timers, &s), 0);
}

static int64_t morning;
static _Atomic long n_awake, n_early;

static void sleep_until_morning(void *p)
{
    (void)p;
    IS(gor_sleep_until(morning), 0);
    atomic_fetch_add(&n_early, gor_now() < morning);
    atomic_fetch_add(&n_awake, 1);
}

static int64_t lead;                   /* ns from the first start until morning */
static bool all_asleep;                /* were they, all at once?               */

static int sleepers(void *arg)
{
    struct scene *s = (struct scene *)arg;
    double before = memory(), each;
    morning = gor_now() + lead;
    atomic_store(&n_awake, 0);
    for (int i = 0; i < s->n; i++)
        if (!IS(gor_go(sleep_until_morning, NULL), 0))
            return 1;
    while (test_stats().timers < (size_t)s->n && gor_now() < morning)
        gor_sleep(10 * GOR_MS);
    all_asleep = test_stats().timers >= (size_t)s->n;
    each = (memory() - before) / s->n;
    gor_sleep_until(morning);
    WAIT_FOR(gor_num_goroutines() == 1);
    test_say("# procs %d: %d sleepers: %.0f bytes each, all awake after %.0f ns each\n", s->procs,
             s->n, each, (double)(gor_now() - morning) / s->n);
    IS(n_awake, s->n);
    IS(n_early, 0);
    if (bounds_hold() && all_asleep)
        OK(each <= s->most);
    return 0;
}

TESTF(a_sleeper_takes_a_timer_more_than_who_is_parked)
{
    struct scene s = { many(), 64u << 10, 2, 4.4 * 1024 + 112 };
    gor_options o = { .procs = s.procs, .stack_size = s.stack_size };
    if (too_small_here(s.n))
        return;
    lead = GOR_SEC / 2 + s.n * 20 * GOR_US;
    for (all_asleep = false; !all_asleep; lead *= 2)   /* the night was too short */
        IS(gor_run_with(&o, sleepers, &s), 0);
}

static int burst(void *arg)
{
    struct scene *s = (struct scene *)arg;
    size_t page = gor__stacks.page_size;
    for (int round = 0; round < 2; round++) {
        gate = gor_chan_new(0, 0);
        for (int i = 0; i < s->n; i++)
            if (!IS(gor_go(park, NULL), 0))
                return 1;
        wait_until_parked(s->n);
        OK(test_stats().stack_bytes >= (size_t)s->n * page / 2);
        gor_chan_close(gate);
        WAIT_FOR(gor_num_goroutines() == 1);
        gor_chan_release(gate);
    }
    /* A fiftieth, and what the processors keep for the next ones. */
    WAIT_FOR(test_stack_bytes() / page <= (size_t)s->n / 50 + 512);
    return 0;
}

TESTF(stacks_of_goroutines_that_have_ended_go_back_to_the_system)
{
    struct scene s = { many() < 50000 ? many() : 50000, 0, 0, 0 };     /* 6,400 a second go back */
    if (!too_small_here(s.n))
        with_procs(&s, burst);
}

/* libc goes on working while goroutines that use it are switched off in place: never in libc itself,
 * so never with one of its locks held.
 *
 * Environment   GORTEST_SECONDS=60  instead of 5, for all; longer, until they were enough switches */
#include "test.h"

/* clang links ASan's allocator into the program: its code is "the program's own", and would be
 * switched off halfway. */
#if TEST_ASAN && defined(__clang__)
#define OWN_ALLOCATOR 1
#else
#define OWN_ALLOCATOR 0
#endif

#if TEST_TSAN || OWN_ALLOCATOR

TESTF(libc_goes_on_working_while_goroutines_are_switched_off_in_place)
{
    SKIP("sanitizer: nothing, or what it must not, is switched off in place");
}

#else

#define WORKERS  4                     /* of each kind */
#define SWITCHES 2000                  /* wanted, at each number of processors */
#define PATIENCE (50 * GOR_SEC)        /* with a machine that is too busy for them */

struct work {
    FILE        *null;
    _Atomic int  stop;
    _Atomic long prints, allocations, sorts;
    uint64_t     preempted, wanted;
};

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * GOR_SEC + t.tv_nsec;
}

/* Every few quanta a call: one that lost its processor instead, as it was in libc each time that it
 * was asked, waits for one again. */
static void now_and_then_a_call(_Atomic long *n, int every)
{
    if (atomic_fetch_add(n, 1) % every == 0)
        gor_yield();
}

static void print_on(void *p)
{
    struct work *w = (struct work *)p;
    uint64_t rng = test_random();
    while (!atomic_load(&w->stop)) {
        char text[100];
        unsigned n = (unsigned)test_random_r(&rng), back = 0;
        double x = (double)(n % 10000) / 8, y = 0;
        OK(fprintf(w->null, "%u %s %.3f\n", n, "text", x) > 0);
        snprintf(text, sizeof text, "%u %.3f", n, x);
        IS(sscanf(text, "%u %lf", &back, &y), 2);
        IS(back, n);
        OK(x == y);
        now_and_then_a_call(&w->prints, 200);
    }
}

struct block { unsigned char *at; size_t size; unsigned char mark; };

static void block_check(const struct block *b)
{
    for (size_t i = 0; i < b->size; i++)
        if (b->at[i] != b->mark) {
            IS(b->at[i], b->mark);
            return;
        }
}

static void allocate_on(void *p)
{
    struct work *w = (struct work *)p;
    struct block block[64] = { { NULL, 0, 0 } };
    uint64_t rng = test_random();
    while (!atomic_load(&w->stop)) {
        struct block *b = &block[test_random_r(&rng) % 64];
        block_check(b);
        free(b->at);
        b->size = 1 + test_random_r(&rng) % (test_random_r(&rng) % 50 ? 600 : 300000);
        b->mark = (unsigned char)test_random_r(&rng);
        b->at = (unsigned char *)malloc(b->size);
        memset(b->at, b->mark, b->size);
        now_and_then_a_call(&w->allocations, 500);
    }
    for (int i = 0; i < 64; i++) {
        block_check(&block[i]);
        free(block[i].at);
    }
}

static int in_order(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The comparison is the program's own: there it is switched off, with qsort underneath. */
static void sort_on(void *p)
{
    struct work *w = (struct work *)p;
    uint64_t rng = test_random();
    enum { N = 3000 };
    uint64_t *v = (uint64_t *)malloc(N * sizeof *v);
    while (!atomic_load(&w->stop)) {
        uint64_t sum = 0;
        for (int i = 0; i < N; i++)
            sum += v[i] = test_random_r(&rng);
        qsort(v, N, sizeof *v, in_order);
        sum -= v[0];
        for (int i = 1; i < N; i++) {
            sum -= v[i];
            OK(v[i - 1] <= v[i]);
        }
        IS(sum, 0);
        now_and_then_a_call(&w->sorts, 2);
    }
    free(v);
}

static int work_for_a_while(void *p)
{
    struct work *w = (struct work *)p;
    gor_wg wg = { 0 };
    int64_t end = now_ns() + test_env("GORTEST_SECONDS", 5) * GOR_SEC / 2;
    for (int i = 0; i < WORKERS; i++) {
        START(&wg, print_on, w);
        START(&wg, allocate_on, w);
        START(&wg, sort_on, w);
    }
    int64_t late = end + PATIENCE;
    while (now_ns() < end || ((atomic_load(&w->sorts) == 0 ||
                               test_stats().preempted < w->wanted) && now_ns() < late))
        gor_sleep(10 * GOR_MS);
    w->preempted = test_stats().preempted;
    atomic_store(&w->stop, 1);
    IS(gor_wg_wait(&wg), 0);
    return 0;
}

TESTF(printf_malloc_and_qsort_go_on_at_a_quantum_of_100_us)
{
    for (int procs = 1; procs <= 2; procs++) {
        gor_options o = { .procs = procs, .quantum = 100 * GOR_US, .preempt = GOR_PREEMPT_SWITCH };
        struct work w = { .null = fopen("/dev/null", "w"), .wanted = (uint64_t)scaled(SWITCHES) };
        IS(gor_run_with(&o, work_for_a_while, &w), 0);
        test_say("# procs %d: %llu switches; %ld prints, %ld allocations, %ld sorts\n", procs,
                 (unsigned long long)w.preempted, atomic_load(&w.prints),
                 atomic_load(&w.allocations), atomic_load(&w.sorts));
        OK(w.preempted >= w.wanted);
        OK(atomic_load(&w.prints) > 0 && atomic_load(&w.allocations) > 0);
        fclose(w.null);
    }
}

#endif

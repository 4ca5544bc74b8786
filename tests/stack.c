/* Stacks: as deep as reserved, of every size, reused, with every kind of guard. */
#include "test.h"

/* Use about n bytes of stack, a page at a time. */
static __attribute__((noinline)) int dig(size_t n)
{
    volatile char page[2048];
    page[0] = (char)n;
    page[sizeof page - 1] = 1;
    return n > sizeof page ? dig(n - sizeof page) + page[sizeof page - 1] : page[0];
}

static void dig_deep(void *p)
{
    OK(dig(*(size_t *)p) >= 0);
}

TEST(a_stack_can_be_used_down_to_near_its_reserved_size)
{
    size_t sizes[] = { 16u << 10, 64u << 10, 1u << 20, 16u << 20, 64u << 20 };
    size_t deep[5];
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        gor_attr a = { .name = "digger", .stack_size = sizes[i] };
        deep[i] = TEST_TSAN ? sizes[i] / 8 : sizes[i] / 2 - 4096;
        gor_chan *c = gor_chan_new(1, 0);
        IS(gor_go_with(&a, dig_deep, &deep[i]), 0);
        WAIT_FOR(gor_num_goroutines() == 1);
        gor_chan_release(c);
    }
}

static void wait_for_close(void *p)
{
    gor_chan_recv((gor_chan *)p, NULL, 0);
}

static size_t promised(gor__stack_class *cls)
{
    gor__lock_stacks();
    size_t n = cls->n_promised;
    gor__unlock_stacks();
    return n;
}

TEST(a_stack_of_an_odd_size_is_promised_until_its_goroutine_ends)
{
    enum { N = 40 };
    gor_attr a = { .stack_size = 128u << 10 };
    gor__stack_class *cls = &gor__stacks.cls[gor__stack_class_of(a.stack_size)];
    gor_chan *c = gor_chan_new(0, 0);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < N; i++)
            IS(gor_go_with(&a, wait_for_close, c), 0);
        IS(promised(cls), N);
        gor_chan_close(c);
        WAIT_FOR(promised(cls) == 0 && test_stats().goroutines == 1);
        gor_chan_release(c);
        c = gor_chan_new(0, 0);
    }
    gor_chan_release(c);
}

static void come_and_go(void *p)
{
    size_t n = 8192;
    (void)p;
    OK(dig(n) >= 0);
}

TEST(waves_of_goroutines_reuse_their_stacks)
{
    size_t after_first = 0;
    for (int wave = 0; wave < 20; wave++) {
        gor_wg wg = { 0 };
        for (int i = 0; i < 500; i++)
            IS(gor_wg_go(&wg, come_and_go, NULL), 0);
        gor_wg_wait(&wg);
        WAIT_FOR(test_stats().goroutines == 1);
        if (wave == 0)
            after_first = test_stats().stacks_cached;
    }
    /* 500 at a time, and what each processor keeps */
    OK(test_stats().stacks_cached <= after_first + 500 + (size_t)gor_procs(0) * GOR__CACHE_CAP);
}

static int waves(void *p)
{
    (void)p;
    test_case_waves_of_goroutines_reuse_their_stacks();
    return 0;
}

/* The fallbacks of kernels without MADV_GUARD_INSTALL, and at the limit of mappings. */
TESTF(goroutines_run_with_mprotect_guards_and_without_any)
{
    IS(setenv("GORDEBUG", "noguardinstall=1", 1), 0);
    IS(gor_run(waves, NULL), 0);
    IS(setenv("GORDEBUG", "noguard=1", 1), 0);
    IS(gor_run(waves, NULL), 0);
    unsetenv("GORDEBUG");
}

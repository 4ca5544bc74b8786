/* Out of memory: every allocation of the runtime fails in turn, through the allocator hooks. Each
 * call then answers with -ENOMEM or NULL, or does without; everything else goes on. */
#include "test.h"

struct memory {
    _Atomic long n_calls, n_live;
    long         fail_at;              /* the number of the call that fails */
    bool         fails_on;             /* and all after it */
};

static bool refuses(struct memory *m)
{
    long n = atomic_fetch_add(&m->n_calls, 1);
    return n == m->fail_at || (m->fails_on && n > m->fail_at);
}

static void *hook_malloc(size_t size, void *user)
{
    struct memory *m = (struct memory *)user;
    if (refuses(m))
        return NULL;
    void *p = malloc(size);
    atomic_fetch_add(&m->n_live, p != NULL);
    return p;
}

static void *hook_realloc(void *old, size_t size, void *user)
{
    struct memory *m = (struct memory *)user;
    if (refuses(m))
        return NULL;
    void *p = realloc(old, size);
    atomic_fetch_add(&m->n_live, p != NULL && old == NULL);
    return p;
}

static void hook_free(void *p, void *user)
{
    atomic_fetch_sub(&((struct memory *)user)->n_live, p != NULL);
    free(p);
}

static bool fine(int rc)
{
    return rc == 0 || rc == -ENOMEM;
}

static gor_local slot[40];
static _Atomic int n_deferred;

static void count_deferred(void *p)
{
    (void)p;
    atomic_fetch_add(&n_deferred, 1);
}

static void use_goroutine(void *p)
{
    int n = 0;
    atomic_store(&n_deferred, 0);
    for (int i = 0; i < 40; i++)
        OK(fine(gor_local_set(&slot[i], p)));
    for (int i = 0; i < 10; i++) {
        int rc = gor_defer(count_deferred, NULL);
        OK(fine(rc));
        n += rc == 0;
    }
    OK(n >= 0);
    OK(fine(gor_sleep(10 * GOR_US)));
}

static void check_big_copy(void *p)
{
    const unsigned char *b = (const unsigned char *)p;
    for (int i = 0; i < 500; i++)
        if (!IS(b[i], 0xC3))
            break;
}

static int use_group_member(void *p)
{
    (void)p;
    gor_yield();
    return 0;
}

static void count_range(size_t lo, size_t hi, void *p)
{
    atomic_fetch_add((_Atomic int *)p, (int)(hi - lo));
}

static void *count_task(void *p)
{
    atomic_fetch_add((_Atomic int *)p, 1);
    return p;
}

static void nothing_to_do(void *p)
{
    (void)p;
}

static void use_channels(void)
{
    enum { N = 40 };
    gor_chan *c[N];
    gor_case cases[N + 1];
    int v = 1;
    for (int i = 0; i < N; i++) {
        c[i] = gor_chan_new(sizeof(int), (size_t)i % 3);
        cases[i] = gor_on_recv(c[i], &v);              /* NULL: off */
    }
    cases[N] = gor_on_after(10 * GOR_US);
    int k = gor_select_n(cases, N + 1);
    OK(k == N || k == -ENOMEM);
    for (int i = 0; i < N; i++) {
        if (c[i] != NULL && i % 3 != 0) {
            IS(gor_send(c[i], &v), 0);
            IS(gor_recv(c[i], &v), 0);
        }
        int rc = gor_recv_until(c[i], &v, gor_now() + GOR_US);
        OK(rc == -ETIMEDOUT || rc == -ENOMEM);
        gor_chan_release(c[i]);
    }
}

static void use_time(void)
{
    gor_timer t = { 0 };
    gor_ticker ticker = { 0 };
    int64_t at;
    int rc = gor_timer_start(&t, 600 * GOR_SEC, nothing_to_do, NULL);
    OK(fine(rc));
    IS(gor_timer_stop(&t), rc == 0);
    if (gor_ticker_start(&ticker, 600 * GOR_SEC) != NULL)
        gor_ticker_stop(&ticker);
    gor_chan *c = gor_after(0);
    if (c != NULL)
        IS(gor_recv(c, &at), 0);
    gor_chan_release(c);
    OK(fine(gor_sleep(GOR_US)));
}

static void use_contexts(void)
{
    gor_ctx *a = gor_ctx_with_cancel(NULL);
    gor_ctx *b = gor_ctx_with_timeout(a, 600 * GOR_SEC);
    gor_ctx *c = gor_ctx_with_value(b, &slot, slot);
    gor_ctx *d = gor_ctx_without_cancel(c);
    if (a != NULL)
        (void)gor_ctx_done(a);         /* NULL is an answer too */
    if (c != NULL) {
        OK(gor_ctx_value(c, &slot) == slot);
        OK(fine(gor_ctx_after(c, nothing_to_do, NULL)));
    }
    if (a != NULL) {
        gor_ctx_cancel(a, 0);
        IS(gor_ctx_err(a), -ECANCELED);
    }
    if (a != NULL && b != NULL)
        IS(gor_ctx_err(b), -ECANCELED);
    gor_ctx *made[4] = { a, b, c, d };
    for (int i = 0; i < 4; i++)
        if (made[i] != NULL)
            gor_ctx_release(made[i]);
}

static void use_tasks(void)
{
    _Atomic int n = 0;
    gor_task t[20];
    gor_group g;
    for (int i = 0; i < 20; i++)
        gor_fork(&t[i], count_task, &n);
    for (int i = 0; i < 20; i++)
        OK(gor_join(&t[i]) == &n);
    IS(n, 20);
    atomic_store(&n, 0);
    IS(gor_parallel_for(0, 1000, 10, count_range, &n), 0);
    IS(n, 1000);
    gor_group_init(&g, NULL, 2);
    for (int i = 0; i < 5; i++)
        OK(fine(gor_group_go(&g, use_group_member, NULL)));
    OK(fine(gor_group_wait(&g)));      /* a group without its context answers -ENOMEM throughout */
}

static int use_everything(void *p)
{
    unsigned char big[500];
    gor_attr a = { .name = "odd", .stack_size = 32 * 1024 };
    (void)p;
    memset(big, 0xC3, sizeof big);
    for (int round = 0; round < 2; round++) {
        gor_wg wg = { 0 };
        for (int i = 0; i < 10; i++) {
            OK(fine(gor_wg_go(&wg, use_goroutine, &wg)));
            OK(fine(gor_go_copy(check_big_copy, big, sizeof big)));
            OK(fine(gor_go_with(&a, nothing_to_do, NULL)));
        }
        use_channels();
        use_time();
        use_contexts();
        use_tasks();
        IS(gor_wg_wait(&wg), 0);
    }
    return 7;
}

static void fail_each_in_turn(bool fails_on, int procs)
{
    int n_refused = 0;
    for (long k = 0; k < 20000; k += k < 200 ? 1 : 1 + (long)(test_random() % 20)) {
        struct memory m = { .fail_at = k, .fails_on = fails_on };
        gor_options o = { .procs = procs, .malloc = hook_malloc, .realloc = hook_realloc,
                          .free = hook_free, .user = &m };
        int rc = gor_run_with(&o, use_everything, NULL);
        bool reached = m.n_calls > k;
        if (!OK(rc == 7 || (rc == -ENOMEM && reached)) || !IS(m.n_live, 0))
            test_say("# allocation %ld failed%s, procs %d: run gave %d\n", k,
                     fails_on ? ", and all later ones" : "", procs, rc);
        n_refused += rc == -ENOMEM;
        if (!reached)
            break;
    }
    OK(n_refused > 0);                 /* the first ones make the runtime itself */
}

TESTF(one_failing_allocation_disturbs_only_its_caller)
{
    fail_each_in_turn(false, 1);
    fail_each_in_turn(false, 4);
}

TESTF(when_memory_has_run_out_everything_there_goes_on)
{
    fail_each_in_turn(true, 1);
    fail_each_in_turn(true, 4);
}

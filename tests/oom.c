/* Out of memory: every allocation of the runtime fails in turn, through the allocator hooks. Each
 * call then answers with -ENOMEM or NULL, or does without; everything else goes on. */
#include "test.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/wait.h>

struct memory {
    _Atomic long n_calls, n_live;
    _Atomic long fail_at;              /* the number of the call that fails */
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

static gor_options options(struct memory *m, int procs)
{
    return (gor_options){ .procs = procs, .malloc = hook_malloc, .realloc = hook_realloc,
                          .free = hook_free, .user = m };
}

static bool fine(int rc)
{
    return rc == 0 || rc == -ENOMEM;
}

static gor_local slot[5];
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
    for (int i = 0; i < 5; i++)
        OK(fine(gor_local_set(&slot[i], p)));
    for (int i = 0; i < 3; i++) {
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
    enum { N = 6, CASES = 40 };
    gor_chan *c[N];
    gor_case cases[CASES + 1];
    int v = 1;
    for (int i = 0; i < N; i++)
        c[i] = gor_chan_new(sizeof(int), (size_t)i % 3);
    for (int i = 0; i < CASES; i++)
        cases[i] = gor_on_recv(c[i % N], &v);          /* NULL: off */
    cases[CASES] = gor_on_after(10 * GOR_US);
    int k = gor_select_n(cases, CASES + 1);
    OK(k == CASES || k == -ENOMEM);
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
    gor_task t[5];
    gor_group g;
    for (int i = 0; i < 5; i++)
        gor_fork(&t[i], count_task, &n);
    for (int i = 0; i < 5; i++)
        OK(gor_join(&t[i]) == &n);
    IS(n, 5);
    atomic_store(&n, 0);
    IS(gor_parallel_for(0, 100, 10, count_range, &n), 0);
    IS(n, 100);
    gor_group_init(&g, NULL, 2);
    for (int i = 0; i < 5; i++)
        OK(fine(gor_group_go(&g, use_group_member, NULL)));
    OK(fine(gor_group_wait(&g)));      /* a group without its context answers -ENOMEM throughout */
}

/* What read gave: so many bytes, or no memory to wait or to know the descriptor by. */
static bool gave(ssize_t n, ssize_t want)
{
    return n == want || n == -ENOMEM;
}

static void write_a_byte(void *p)
{
    ssize_t n = gor_write(*(int *)p, "x", 1);
    OK(gave(n, 1));
    if (n < 0)
        IS(write(*(int *)p, "x", 1), 1);
}

static int64_t soon(void) { return gor_now() + 20 * GOR_US; }

/* Descriptors that gor.h did not make, of a number in a later block too. */
static void use_descriptors(void)
{
    int fd[2], later, v;
    char buf[4];
    gor_wg wg = { 0 };
    if (!IS(pipe2(fd, O_NONBLOCK | O_CLOEXEC), 0))
        return;
    later = fcntl(fd[0], F_DUPFD_CLOEXEC, 100);
    OK(gave(gor_wait_fd_until(later, GOR_READ, soon()), -ETIMEDOUT));
    v = gor_select(gor_on_readable(fd[0]), gor_on_deadline(soon()));
    OK(v == 1 || v == 0 || v == -ENOMEM);          /* 0: a read would fail */
    if (gor_wg_go(&wg, write_a_byte, &fd[1]) == 0) {
        OK(gave(gor_read(later, buf, 1), 1));
        IS(gor_wg_wait(&wg), 0);
    }
    IS(gor_fd_close(later), 0);
    IS(gor_fd_close(fd[0]), 0);
    IS(gor_fd_close(fd[1]), 0);
}

static void use_network(void)
{
    static _Atomic int n;
    gor_addr a[4];
    char name[60], buf[4];
    snprintf(name, sizeof name, "@gor-oom-%d-%d", (int)getpid(), atomic_fetch_add(&n, 1));
    int l = gor_listen("unix", name, 4), dialed = -1, accepted = -1;
    OK(l >= 0 || l == -ENOMEM);
    if (l >= 0) {
        OK(gave(gor_wait_fd_until(l, GOR_READ, soon()), -ETIMEDOUT));
        dialed = gor_dial("unix", name, GOR_FOREVER);
        OK(dialed >= 0 || dialed == -ENOMEM);
    }
    if (dialed >= 0) {
        accepted = gor_accept(l, NULL, NULL);
        OK(accepted >= 0 || accepted == -ENOMEM);
    }
    if (accepted >= 0) {
        OK(gave(gor_read_until(accepted, buf, 4, soon()), -ETIMEDOUT));
        OK(gave(gor_write(dialed, "four", 4), 4));
    }
    for (int i = 0; i < 3; i++) {
        int fd = i == 0 ? accepted : i == 1 ? dialed : l;
        if (fd >= 0)
            IS(gor_fd_close(fd), 0);
    }
    OK(gave(gor_resolve("tcp", "127.0.0.1:80", a, 4, GOR_FOREVER), 1));
    int found = gor_resolve("tcp4", "localhost:80", a, 4, GOR_FOREVER);
    OK(found >= 1 || found == -ENOMEM);
}

static void use_signals(void)
{
    const int sigs[] = { SIGUSR2 };
    gor_chan *c = gor_chan_new(sizeof(int), 1);
    gor_ctx *ctx = gor_signal_ctx(NULL, sigs, 1);
    int rc = c != NULL ? gor_signal_notify(c, sigs, 1) : -ENOMEM, v = 0;
    OK(fine(rc));
    if (rc == 0 || ctx != NULL)
        kill(getpid(), SIGUSR2);
    while (ctx != NULL && gor_ctx_err(ctx) == 0)
        gor_yield();
    if (rc == 0) {
        rc = gor_recv(c, &v);
        OK(fine(rc));
        IS(v, rc == 0 ? SIGUSR2 : 0);
        IS(gor_signal_stop(c), 0);
    }
    if (ctx != NULL) {
        IS(gor_ctx_cause(ctx), -EINTR);
        gor_ctx_release(ctx);
    }
    gor_chan_release(c);
}

static void use_child(void)
{
    int status = -1, rc;
    pid_t pid = fork();
    if (pid == 0) {
        usleep(100);
        _exit(7);
    }
    rc = gor_wait_pid(pid, &status);
    OK(rc == pid || rc == -ENOMEM);
    if (rc == -ENOMEM)
        OK(waitpid(pid, &status, 0) == pid);
    IS(WEXITSTATUS(status), 7);
}

static void use_io(void)
{
    use_network();                     /* first: a descriptor of ours may be the first of all */
    use_descriptors();
    if (!TEST_TSAN)                    /* it keeps a signal for the fiber that it met, which may  */
        use_signals();                 /* not run for long                                        */
    use_child();
}

static int open_descriptors(void)
{
    int n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static int use_everything(void *p)
{
    unsigned char big[500];
    gor_attr a = { .name = "odd", .stack_size = 32 * 1024 };
    (void)p;
    memset(big, 0xC3, sizeof big);
    for (int round = 0; round < 2; round++) {
        gor_wg wg = { 0 };
        for (int i = 0; i < 3; i++) {
            OK(fine(gor_wg_go(&wg, use_goroutine, &wg)));
            OK(fine(gor_go_copy(check_big_copy, big, sizeof big)));
            OK(fine(gor_go_with(&a, nothing_to_do, NULL)));
        }
        use_channels();
        use_time();
        use_contexts();
        use_tasks();
        if (round == 0)
            use_io();
        IS(gor_wg_wait(&wg), 0);
    }
    return 7;
}

/* All, where nothing is scaled down. */
static void fail_each_in_turn(bool fails_on, int procs)
{
    int n_refused = 0, fds = open_descriptors();
    for (long k = 0; k < 20000; k += 1 + (long)(test_random() % (uint64_t)test_scale)) {
        struct memory m = { .fail_at = k, .fails_on = fails_on };
        gor_options o = options(&m, procs);
        int rc = gor_run_with(&o, use_everything, NULL);
        bool reached = m.n_calls > k;
        if (!OK(rc == 7 || (rc == -ENOMEM && reached)) || !IS(m.n_live, 0))
            test_say("# allocation %ld failed%s, procs %d: run gave %d\n", k,
                     fails_on ? ", and all later ones" : "", procs, rc);
        if (!IS(open_descriptors(), fds))
            break;
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

/* -- nothing is left behind -------------------------------------------------------------------- */

/* Ends between the deadlines and what becomes of them: some are in front of it in the queue, some
 * behind it. */
static int end_as_they_expire(void *p)
{
    gor_ctx *c[100];
    int64_t t = gor_now() + 2 * GOR_MS;
    (void)p;
    for (size_t i = 0; i < sizeof c / sizeof c[0]; i++)
        c[i] = gor_ctx_with_deadline(NULL, t + (i & 1) * 2);
    gor_sleep_until(t + 1);
    for (size_t i = 0; i < sizeof c / sizeof c[0]; i++)
        gor_ctx_release(c[i]);
    return 0;
}

TESTF(a_run_that_ends_as_a_deadline_passes_leaks_no_context)
{
    for (int procs = 1; procs <= 4; procs++)
        for (int run = 0; run < 20; run++) {
            struct memory m = { .fail_at = LONG_MAX };
            gor_options o = options(&m, procs);
            IS(gor_run_with(&o, end_as_they_expire, NULL), 0);
            IS(m.n_live, 0);
        }
}

/* -- a cancel needs no memory ------------------------------------------------------------------ */

static _Atomic int n_after;

static void count_after(void *p)
{
    (void)p;
    atomic_fetch_add(&n_after, 1);
}

/* More than there are Gs lying about. */
static int cancel_without_memory(void *p)
{
    struct memory *m = (struct memory *)p;
    int n = scaled_goroutines(1000);
    gor_ctx *c = gor_ctx_with_cancel(NULL);
    atomic_store(&n_after, 0);
    for (int i = 0; i < n; i++)
        IS(gor_ctx_after(c, count_after, NULL), 0);
    IS(test_stats().goroutines, 1);
    atomic_store(&m->fail_at, atomic_load(&m->n_calls));
    gor_ctx_cancel(c, 0);
    WAIT_FOR(atomic_load(&n_after) == n);
    gor_ctx_release(c);
    return 0;
}

/* As many as there are Gs for: the deadline finds none left. */
static int expire_without_memory(void *p)
{
    struct memory *m = (struct memory *)p;
    gor_ctx *c = gor_ctx_with_timeout(NULL, 200 * GOR_MS);
    int n = 0;
    atomic_store(&n_after, 0);
    atomic_store(&m->fail_at, atomic_load(&m->n_calls) + 20);
    while (gor_ctx_err(c) == 0 && gor_ctx_after(c, count_after, NULL) == 0)
        n++;
    OK(n > 0);
    WAIT_FOR(atomic_load(&n_after) == n);
    gor_ctx_release(c);
    return 0;
}

static void run_without_memory(int (*fn)(void *))
{
    for (int procs = 1; procs <= 2; procs++) {
        struct memory m = { .fail_at = LONG_MAX, .fails_on = true };
        gor_options o = options(&m, procs);
        IS(gor_run_with(&o, fn, &m), 0);
        IS(m.n_live, 0);
    }
}

TESTF(functions_for_after_a_cancel_run_without_memory)
{
    run_without_memory(cancel_without_memory);
}

TESTF(functions_for_after_a_deadline_run_without_memory)
{
    run_without_memory(expire_without_memory);
}

/* Registered until there is no more memory; then released, and all of it comes back. */
static int register_until_refused(void *p)
{
    struct memory *m = (struct memory *)p;
    for (int round = 0; round < 3; round++) {
        int n = 0, rc = 0;
        gor_ctx *c = gor_ctx_with_cancel(NULL);
        atomic_store(&m->fail_at, atomic_load(&m->n_calls) + 3);
        while (n < 100000 && (rc = gor_ctx_after(c, count_after, NULL)) == 0)
            n++;
        IS(rc, -ENOMEM);
        OK(n > 0);
        atomic_store(&m->fail_at, LONG_MAX);
        gor_ctx_release(c);
    }
    IS(test_stats().goroutines, 1);
    return 0;
}

TESTF(who_cannot_be_started_after_a_cancel_is_refused_before)
{
    struct memory m = { .fail_at = LONG_MAX, .fails_on = true };
    gor_options o = options(&m, 1);
    atomic_store(&n_after, 0);
    if (TEST_TSAN)
        SKIP("sanitizer: fibers run out before memory does");
    IS(gor_run_with(&o, register_until_refused, &m), 0);
    IS(n_after, 0);
    IS(m.n_live, 0);
}

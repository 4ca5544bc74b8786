/* Threads that the runtime does not own; starting and stopping it; fork. */
#include "test.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/wait.h>

/* -- helpers ----------------------------------------------------------------------------------- */

static void start_runtime(int procs)
{
    gor_options o = { .procs = procs };
    IS(gor_start(&o), 0);
}

/* Run fn(arg) in n threads and wait for them. */
static void in_threads(int n, void *(*fn)(void *), void *arg)
{
    pthread_t t[16];
    for (int i = 0; i < n; i++)
        IS(pthread_create(&t[i], NULL, fn, arg), 0);
    for (int i = 0; i < n; i++)
        pthread_join(t[i], NULL);
}

static int n_entries(const char *dir)
{
    int n = 0;
    DIR *d = opendir(dir);
    if (d == NULL)
        return -1;
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static int n_threads(void) { return n_entries("/proc/self/task"); }
static int n_descriptors(void) { return n_entries("/proc/self/fd"); }

/* Areas of address space that are mapped. Not read by stdio, whose buffer may be one. */
static int n_mappings(void)
{
    char text[4096];
    int n = 0, fd = open("/proc/self/maps", O_RDONLY);
    for (ssize_t got; (got = read(fd, text, sizeof text)) > 0;)
        for (ssize_t i = 0; i < got; i++)
            n += text[i] == '\n';
    close(fd);
    return n;
}

static long resident_kib(void)
{
    long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f == NULL || fscanf(f, "%ld %ld", &size, &resident) != 2)
        resident = 0;
    if (f != NULL)
        fclose(f);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void nothing_to_do(void *p)
{
    (void)p;
}

static int nothing_in_group(void *p)
{
    (void)p;
    return 0;
}

static void take_int(int v)
{
    (void)v;
}

/* -- without a runtime ------------------------------------------------------------------------- */

TESTF(without_a_runtime_the_calls_that_need_one_say_so)
{
    gor_attr a = { .name = "nobody" };
    gor_timer t = { 0 };
    gor_ticker ticker = { 0 };
    gor_wg wg = { 0 };
    gor_stats s;
    memset(&s, 1, sizeof s);
    IS(gor_go(nothing_to_do, NULL), -ESRCH);
    IS(gor_go_copy(nothing_to_do, &t, sizeof t), -ESRCH);
    IS(gor_go_with(&a, nothing_to_do, NULL), -ESRCH);
    IS(GOR_GO(take_int, 1), -ESRCH);
    IS(gor_wg_go(&wg, nothing_to_do, NULL), -ESRCH);
    IS(gor_wg_wait_until(&wg, 0), 0);
    IS(gor_procs(0), -ESRCH);
    IS(gor_procs(3), -ESRCH);
    IS(gor_stop(), -ESRCH);
    IS(gor_stats(&s), -ESRCH);
    IS(s.goroutines + s.threads + s.timers + s.heap_bytes + (size_t)s.procs, 0);
    IS(gor_num_goroutines(), 0);
    IS(gor_timer_start(&t, GOR_MS, nothing_to_do, NULL), -ESRCH);
    OK(!gor_timer_stop(&t));
    OK(gor_ticker_start(&ticker, GOR_MS) == NULL);
    OK(gor_after(GOR_MS) == NULL);
    IS(gor_defer(nothing_to_do, NULL), -ESRCH);
    IS(gor_id(), 0);
    IS_STR(gor_name(), "");
}

struct pair {
    gor_chan *ping, *pong;
    int       n;
};

static void *pong(void *p)
{
    struct pair *x = (struct pair *)p;
    int v;
    while (gor_recv(x->ping, &v) == 0) {
        v++;
        IS(gor_send(x->pong, &v), 0);
    }
    return NULL;
}

TESTF(without_a_runtime_channels_connect_threads)
{
    for (size_t capacity = 0; capacity < 3; capacity++) {
        struct pair x = { gor_chan_new(sizeof(int), capacity), gor_chan_new(sizeof(int), capacity),
                          0 };
        pthread_t t;
        int v = 0;
        IS(pthread_create(&t, NULL, pong, &x), 0);
        for (int i = 0; i < scaled(1000); i++) {
            IS(gor_send(x.ping, &v), 0);
            IS(gor_recv(x.pong, &v), 0);
            IS(v, i + 1);
        }
        IS(gor_try_recv(x.pong, &v), -EAGAIN);
        IS(gor_recv_until(x.pong, &v, gor_now() + GOR_MS), -ETIMEDOUT);
        IS(gor_select(gor_on_recv(x.pong, &v), gor_on_after(GOR_MS)), 1);
        gor_chan_close(x.ping);
        pthread_join(t, NULL);
        gor_chan_release(x.ping);
        gor_chan_release(x.pong);
    }
}

struct locks {
    gor_mutex   m;
    gor_rwmutex rw;
    gor_sem     sem;
    gor_barrier barrier;
    gor_once    once;
    gor_cond    cond;
    gor_wg      wg;
    int         n_turns;               /* for each */
    int         count, rw_count;       /* plain: the locks order them */
    bool        open;
    _Atomic int in_sem, n_once, n_last;
};

static void count_once(void *p)
{
    atomic_fetch_add(&((struct locks *)p)->n_once, 1);
}

/* Every lock once a turn, from whatever runs this: a goroutine or a thread. */
static void use_locks(void *p)
{
    struct locks *l = (struct locks *)p;
    IS(gor_mutex_lock(&l->m), 0);
    while (!l->open)
        IS(gor_cond_wait(&l->cond, &l->m), 0);
    gor_mutex_unlock(&l->m);
    for (int i = 0; i < l->n_turns; i++) {
        IS(gor_mutex_lock(&l->m), 0);
        l->count++;
        gor_mutex_unlock(&l->m);
        IS(gor_rwmutex_lock(&l->rw), 0);
        l->rw_count++;
        gor_rwmutex_unlock(&l->rw);
        IS(gor_rwmutex_rlock(&l->rw), 0);
        OK(l->rw_count > 0);
        gor_rwmutex_runlock(&l->rw);
        IS(gor_sem_acquire(&l->sem, 1), 0);
        OK(atomic_fetch_add(&l->in_sem, 1) < 2);
        atomic_fetch_sub(&l->in_sem, 1);
        IS(gor_sem_release(&l->sem, 1), 0);
        IS(gor_once_do(&l->once, count_once, l), 0);
        if (i % 10 == 0)
            atomic_fetch_add(&l->n_last, gor_barrier_wait(&l->barrier));
    }
    gor_wg_done(&l->wg);
}

static void *use_locks_in_thread(void *p)
{
    use_locks(p);
    return NULL;
}

/* All locks between n_goroutines goroutines and n threads of ours. */
static void share_locks(int n_goroutines, int n)
{
    struct locks l = { .sem = GOR_SEM_INIT(2), .n_turns = scaled(300) };
    pthread_t t[16];
    int parties = n_goroutines + n;
    l.barrier = (gor_barrier)GOR_BARRIER_INIT((uint32_t)parties);
    gor_wg_add(&l.wg, parties);
    for (int i = 0; i < n_goroutines; i++)
        IS(gor_go(use_locks, &l), 0);
    for (int i = 0; i < n; i++)
        IS(pthread_create(&t[i], NULL, use_locks_in_thread, &l), 0);
    IS(gor_mutex_lock(&l.m), 0);
    l.open = true;
    gor_cond_broadcast(&l.cond);
    gor_mutex_unlock(&l.m);
    IS(gor_wg_wait(&l.wg), 0);
    for (int i = 0; i < n; i++)
        pthread_join(t[i], NULL);
    IS(l.count, parties * l.n_turns);
    IS(l.rw_count, parties * l.n_turns);
    IS(l.n_once, 1);
    IS(l.n_last, (l.n_turns + 9) / 10);
    IS(gor_sem_try_acquire(&l.sem, 2), 0);
}

TESTF(without_a_runtime_every_lock_works_between_threads)
{
    share_locks(0, 4);
}

TESTF(without_a_runtime_a_thread_sleeps_and_times_out)
{
    gor_mutex m = { 0 };
    gor_sem s = { 0 };
    gor_wg wg = { 0 };
    gor_cond c = { 0 };
    int64_t t = gor_now();
    IS(gor_sleep(GOR_MS), 0);
    OK(gor_now() >= t + GOR_MS);
    t = gor_now() + GOR_MS;
    IS(gor_sleep_until(t), 0);
    OK(gor_now() >= t);
    IS(gor_mutex_lock(&m), 0);
    OK(!gor_mutex_try_lock(&m));
    IS(gor_mutex_lock_until(&m, gor_now() + GOR_MS), -ETIMEDOUT);
    IS(gor_cond_wait_until(&c, &m, gor_now() + GOR_MS), -ETIMEDOUT);
    gor_mutex_unlock(&m);
    IS(gor_sem_acquire_until(&s, 1, gor_now() + GOR_MS), -ETIMEDOUT);
    gor_wg_add(&wg, 1);
    IS(gor_wg_wait_until(&wg, gor_now() + GOR_MS), -ETIMEDOUT);
    gor_wg_done(&wg);
    IS(gor_wg_wait(&wg), 0);
}

TESTF(without_a_runtime_contexts_can_be_cancelled)
{
    gor_ctx *c = gor_ctx_with_cancel(NULL), *child = gor_ctx_with_cancel(c);
    gor_ctx *past = gor_ctx_with_deadline(c, gor_now() - 1);
    IS(gor_ctx_err(past), -ETIMEDOUT);
    IS(gor_ctx_err(child), 0);
    gor_ctx_cancel(c, -EIO);
    IS(gor_ctx_cause(child), -EIO);
    IS(gor_chan_recv(gor_ctx_done(child), NULL, 0), -EPIPE);
    IS(gor_select(gor_on_done(child), gor_on_after(60 * GOR_SEC)), 0);
    gor_ctx_release(past);
    gor_ctx_release(child);
    gor_ctx_release(c);
}

/* -- starting and stopping --------------------------------------------------------------------- */

static int main_returns_three(void *p)
{
    (void)p;
    return 3;
}

TESTF(a_second_start_is_refused)
{
    start_runtime(2);
    IS(gor_start(NULL), -EBUSY);
    IS(gor_run(main_returns_three, NULL), -EBUSY);
    IS(gor_procs(0), 2);
    IS(gor_stop(), 0);
    IS(gor_stop(), -ESRCH);
    IS(gor_run(main_returns_three, NULL), 3);
}

static _Atomic int n_started, n_busy;

static void *start_one(void *p)
{
    (void)p;
    int rc = gor_start(NULL);
    atomic_fetch_add(&n_started, rc == 0);
    atomic_fetch_add(&n_busy, rc == -EBUSY);
    return NULL;
}

static void *stop_one(void *p)
{
    int rc = gor_stop();
    OK(rc == 0 || rc == -ESRCH);
    atomic_fetch_add((_Atomic int *)p, rc == 0);
    return NULL;
}

TESTF(of_many_threads_that_start_or_stop_one_succeeds)
{
    for (int round = 0; round < scaled(30); round++) {
        _Atomic int n_stopped = 0;
        atomic_store(&n_started, 0);
        atomic_store(&n_busy, 0);
        in_threads(4, start_one, NULL);
        IS(n_started, 1);
        IS(n_busy, 3);
        in_threads(4, stop_one, &n_stopped);
        IS(n_stopped, 1);
    }
}

TESTF(options_out_of_range_are_refused)
{
    gor_options bad[] = { { .procs = -1 }, { .stack_size = 1 }, { .max_threads = -1 },
                          { .quantum = -1 }, { .preempt = 99 } };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int rc = gor_start(&bad[i]);
        IS(rc, -EINVAL);
        if (rc == 0)
            gor_stop();
    }
}

static void *hook_malloc(size_t size, void *user)
{
    atomic_fetch_add((_Atomic long *)user, 1);
    return malloc(size);
}

static void *hook_realloc(void *p, size_t size, void *user)
{
    if (p == NULL)
        atomic_fetch_add((_Atomic long *)user, 1);
    return realloc(p, size);
}

static void hook_free(void *p, void *user)
{
    if (p != NULL)
        atomic_fetch_sub((_Atomic long *)user, 1);
    free(p);
}

static void hook_exit(void *user)
{
    atomic_fetch_add((_Atomic long *)user, 1000000);
}

static void park_for_ever(void *p)
{
    gor_recv((gor_chan *)p, &(int){ 0 });
}

static int use_memory(void *p)
{
    gor_wg wg = { 0 };
    (void)p;
    for (int i = 0; i < 100; i++)
        START(&wg, nothing_to_do, NULL);
    gor_wg_wait(&wg);
    gor_chan *c = gor_chan_new(sizeof(int), 100);
    gor_ctx *ctx = gor_ctx_with_timeout(NULL, GOR_SEC);
    gor_sleep(GOR_US);
    IS(gor_go(park_for_ever, NULL), 0);
    gor_chan_release(gor_after(600 * GOR_SEC));        /* pending at the stop */
    gor_ctx_release(ctx);
    gor_chan_release(c);
    return 0;
}

TESTF(what_was_allocated_through_the_hooks_is_freed_through_them)
{
    _Atomic long balance = 0;
    gor_options o = { .procs = 2, .malloc = hook_malloc, .realloc = hook_realloc,
                      .free = hook_free, .user = (void *)&balance };
    IS(gor_run_with(&o, use_memory, NULL), 0);
    IS(balance, 0);
    o.on_exit = hook_exit;
    IS(gor_run_with(&o, use_memory, NULL), 0);
    IS(balance, 1000000);
    o.realloc = NULL;                  /* all three or none */
    IS(gor_run_with(&o, use_memory, NULL), -EINVAL);
}

/* A descriptor may be known before there are hooks. */
TESTF(what_was_allocated_before_the_hooks_is_not_freed_through_them)
{
    _Atomic long balance = 0;
    gor_options o = { .procs = 2, .malloc = hook_malloc, .realloc = hook_realloc,
                      .free = hook_free, .user = (void *)&balance };
    int l = gor_listen("tcp4", "127.0.0.1:0", 0);
    OK(l >= 0);
    IS(gor_run_with(&o, use_memory, NULL), 0);
    IS(balance, 0);
    IS(gor_fd_close(l), 0);
}

static void yield_for_ever(void *p)
{
    (void)p;
    for (;;)
        gor_yield();
}

static void sleep_for_ever(void *p)
{
    (void)p;
    gor_sleep(GOR_FOREVER);
}

static void chatter_for_ever(void *p)
{
    gor_chan *c = (gor_chan *)p;
    for (int v = 0;; v++) {
        if (v % 2)
            gor_recv(c, &(int){ 0 });
        else
            gor_send_until(c, &v, gor_now() + GOR_US);
    }
}

/* Leave goroutines of every kind behind. Channel and timer must outlive them: hence static. */
static gor_chan *left_behind;
static gor_timer pending;

static int leave_all_kinds(void *p)
{
    (void)p;
    for (int i = 0; i < 5; i++) {
        IS(gor_go(yield_for_ever, NULL), 0);
        IS(gor_go(sleep_for_ever, NULL), 0);
        IS(gor_go(park_for_ever, NULL), 0);
        IS(gor_go(park_for_ever, left_behind), 0);
        IS(gor_go(chatter_for_ever, left_behind), 0);
        IS(gor_go(nothing_to_do, NULL), 0);
    }
    memset(&pending, 0, sizeof pending);
    IS(gor_timer_start(&pending, GOR_SEC, nothing_to_do, NULL), 0);
    gor_sleep(100 * GOR_US);
    return 9;
}

TESTF(a_stop_abandons_what_still_runs)
{
    for (int procs = 1; procs <= 8; procs *= 2) {
        gor_options o = { .procs = procs };
        for (int round = 0; round < 3; round++) {
            left_behind = gor_chan_new(sizeof(int), 1);
            IS(gor_run_with(&o, leave_all_kinds, NULL), 9);
            gor_chan_release(left_behind);
        }
        start_runtime(procs);
        IS(gor_go(yield_for_ever, NULL), 0);
        IS(gor_go(sleep_for_ever, NULL), 0);
        WAIT_FOR(gor_num_goroutines() == 2);
        IS(gor_stop(), 0);
        IS(gor_num_goroutines(), 0);
    }
}

/* Threads that have nothing to do with the runtime. */
struct bystanders {
    gor_mutex   m;
    gor_rwmutex rw;
    long        n, n_rw;
    _Atomic int stop;
};

static void *stand_by(void *p)
{
    struct bystanders *b = (struct bystanders *)p;
    while (!atomic_load(&b->stop)) {
        for (int i = 0; i < 100; i++) {
            IS(gor_mutex_lock(&b->m), 0);
            b->n++;
            gor_mutex_unlock(&b->m);
        }
        IS(gor_rwmutex_lock(&b->rw), 0);
        b->n_rw++;
        gor_rwmutex_unlock(&b->rw);
        IS(gor_rwmutex_rlock(&b->rw), 0);
        OK(b->n_rw > 0);
        gor_rwmutex_runlock(&b->rw);
    }
    return NULL;
}

TESTF(runs_come_and_go_while_threads_lock)
{
    struct bystanders b = { 0 };
    pthread_t t[3];
    for (int i = 0; i < 3; i++)
        IS(pthread_create(&t[i], NULL, stand_by, &b), 0);
    for (int round = 0; round < scaled(200); round++) {
        start_runtime(8);
        IS(gor_stop(), 0);
    }
    atomic_store(&b.stop, 1);
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    OK(b.n > 0);
}

static int spawn_some(void *p)
{
    gor_wg wg = { 0 };
    char c;
    int fd[2];
    IS(pipe(fd), 0);
    IS(gor_read_until(fd[0], &c, 1, gor_now() + GOR_US), -ETIMEDOUT);      /* there is a poller */
    IS(gor_fd_close(fd[0]), 0);
    close(fd[1]);
    for (int i = 0; i < 20; i++)
        START(&wg, nothing_to_do, NULL);
    for (int i = 0; i < 5; i++) {
        IS(gor_go(park_for_ever, NULL), 0);
        IS(gor_go(sleep_for_ever, NULL), 0);
    }
    gor_wg_wait(&wg);
    return *(int *)p;
}

TESTF(a_thousand_starts_and_stops_leave_nothing_behind)
{
    const int n = TEST_TSAN ? scaled(1000) : 1000;     /* few would measure warming up only */
    int threads = n_threads(), descriptors = 0, mappings = 0;
    long warm = 0;
    for (int i = 0; i < n; i++) {
        gor_options o = { .procs = 1 + i % 4 };
        IS(gor_run_with(&o, spawn_some, &i), i);
        if (i == 20) {                 /* libc has what it keeps, most of it */
            WAIT_FOR(n_threads() <= threads);
            descriptors = n_descriptors();
            mappings = n_mappings();
        }
        if (i == n / 2)
            warm = resident_kib();
    }
    WAIT_FOR(n_threads() <= threads);
    IS(n_descriptors(), descriptors);
    if (TEST_TSAN || TEST_ASAN)
        SKIP("sanitizer: its allocator keeps what is freed");
    if (test_emulated())
        SKIP("emulator: its own memory is in our figures");
    OK(n_mappings() - mappings < 32);  /* libc's arenas and stacks, of the most threads ever */
    OK(resident_kib() - warm < 4096);
}

/* -- every call from a thread ------------------------------------------------------------------ */

static _Atomic int n_ran;

static void count_run(void *p)
{
    (void)p;
    atomic_fetch_add(&n_ran, 1);
}

static void take_counted(int v)
{
    atomic_fetch_add(&n_ran, v);
}

TESTF(a_thread_starts_goroutines)
{
    gor_attr a = { .name = "guest" };
    gor_wg wg = { 0 };
    int v = 1;
    atomic_store(&n_ran, 0);
    start_runtime(2);
    IS(gor_go(count_run, NULL), 0);
    IS(gor_go_copy(count_run, &v, sizeof v), 0);
    IS(gor_go_with(&a, count_run, NULL), 0);
    IS(GOR_GO(take_counted, 1), 0);
    START(&wg, count_run, NULL);
    IS(gor_wg_wait(&wg), 0);
    WAIT_FOR(atomic_load(&n_ran) == 5);
    WAIT_FOR(gor_num_goroutines() == 0);
    IS(gor_procs(3), 2);
    IS(gor_procs(0), 3);
    IS(gor_id(), 0);
    IS_STR(gor_name(), "");
    IS(gor_defer(nothing_to_do, NULL), -ESRCH);
    gor_stats s;
    IS(gor_stats(&s), 0);
    IS(s.goroutines, 0);
    IS(s.procs, 3);
    IS(s.started, 5);
    IS(gor_stop(), 0);
}

static void *start_many(void *p)
{
    gor_wg wg = { 0 };
    (void)p;
    for (int i = 0; i < scaled(2000); i++)
        START(&wg, count_run, NULL);
    IS(gor_wg_wait(&wg), 0);
    return NULL;
}

TESTF(many_threads_start_goroutines_at_once)
{
    atomic_store(&n_ran, 0);
    start_runtime(4);
    in_threads(8, start_many, NULL);
    IS(n_ran, 8 * scaled(2000));
    IS(gor_stop(), 0);
}

TESTF(a_thread_uses_timers_tickers_and_limiters)
{
    gor_timer t = { 0 };
    gor_ticker ticker = { 0 };
    gor_limiter l;
    int64_t at = 0, before = gor_now();
    atomic_store(&n_ran, 0);
    start_runtime(2);
    IS(gor_timer_start(&t, GOR_MS, count_run, NULL), 0);
    WAIT_FOR(atomic_load(&n_ran) == 1);
    OK(gor_now() >= before + GOR_MS);
    OK(!gor_timer_reset(&t, 60 * GOR_SEC));
    IS(test_stats().timers, 1);
    OK(gor_timer_reset(&t, 50 * GOR_SEC));
    OK(gor_timer_stop(&t));
    gor_chan *c = gor_ticker_start(&ticker, 600 * GOR_SEC);
    gor_ticker_reset(&ticker, GOR_MS);
    IS(gor_recv(c, &at), 0);
    IS(gor_recv(c, &at), 0);
    gor_ticker_stop(&ticker);
    c = gor_after(GOR_MS);
    IS(gor_recv(c, &at), 0);
    gor_chan_release(c);
    no_timers_left();
    gor_limiter_init(&l, 1000, 1);
    OK(gor_limiter_allow(&l, 1));
    before = gor_now();
    IS(gor_limiter_wait(&l, 1), 0);
    IS(gor_limiter_wait_until(&l, 1, GOR_FOREVER), 0);
    OK(gor_now() - before >= GOR_MS);
    gor_limiter_init(&l, 0.001, 1);                    /* the next token is far away */
    OK(gor_limiter_allow(&l, 1));
    IS(gor_limiter_wait_until(&l, 1, 0), -ETIMEDOUT);
    IS(gor_stop(), 0);
}

static void echo(void *p)
{
    struct pair *x = (struct pair *)p;
    pong(x);
}

TESTF(a_thread_and_a_goroutine_play_ping_pong)
{
    start_runtime(2);
    for (size_t capacity = 0; capacity < 2; capacity++) {
        struct pair x = { gor_chan_new(sizeof(int), capacity), gor_chan_new(sizeof(int), capacity),
                          0 };
        gor_wg wg = { 0 };
        int v = 0;
        START(&wg, echo, &x);
        for (int i = 0; i < scaled(2000); i++) {
            if (i % 2) {
                IS(gor_send(x.ping, &v), 0);
                IS(gor_recv(x.pong, &v), 0);
            } else {
                IS(gor_send_until(x.ping, &v, GOR_FOREVER), 0);
                IS(gor_recv_until(x.pong, &v, GOR_FOREVER), 0);
            }
            IS(v, i + 1);
        }
        IS(gor_try_recv(x.pong, &v), -EAGAIN);
        IS(gor_chan_len(x.ping), 0);
        IS(gor_chan_cap(x.ping), capacity);
        IS(gor_chan_close(x.ping), 0);
        IS(gor_chan_close(x.ping), -EPIPE);
        IS(gor_send(x.ping, &v), -EPIPE);
        gor_wg_wait(&wg);
        gor_chan_release(x.ping);
        gor_chan_release(x.pong);
    }
    IS(gor_stop(), 0);
}

static void send_nine(void *p)
{
    IS(gor_send((gor_chan *)p, &(int){ 9 }), 0);
}

TESTF(a_thread_selects)
{
    start_runtime(2);
    gor_chan *a = gor_chan_new(sizeof(int), 0), *b = gor_chan_new(sizeof(int), 0);
    gor_ctx *ctx = gor_ctx_with_timeout(NULL, 60 * GOR_SEC);
    int v = 0, w = 1;
    bool ok = false;
    IS(gor_select(gor_on_recv(a, &v), gor_on_default()), 1);
    IS(gor_select(gor_on_recv(a, &v), gor_on_after(GOR_MS)), 1);
    IS(gor_go(send_nine, b), 0);
    IS(gor_select(gor_on_recv(a, &v), gor_on_recv_ok(b, &v, &ok), gor_on_done(ctx)), 1);
    IS(v, 9);
    OK(ok);
    IS(gor_go(park_for_ever, a), 0);
    IS(gor_select(gor_on_send(a, &w), gor_on_recv(b, &v)), 0);
    gor_ctx_cancel(ctx, 0);
    IS(gor_select(gor_on_recv(b, &v), gor_on_done(ctx)), 1);
    WAIT_FOR(gor_num_goroutines() == 0);
    gor_ctx_release(ctx);
    gor_chan_release(a);
    gor_chan_release(b);
    IS(gor_stop(), 0);
}

TESTF(threads_and_goroutines_share_every_lock)
{
    for (int procs = 1; procs <= 8; procs *= 8) {
        start_runtime(procs);
        share_locks(4, 4);
        IS(gor_stop(), 0);
    }
}

/* -- under load -------------------------------------------------------------------------------- */

struct hammer {
    gor_chan        *c;
    int              n;                /* values from each sender */
    gor_wg           senders, receivers;
    _Atomic uint64_t sum_sent, sum_received, n_received;
    gor_chan        *other;
};

static void hammer_send(void *p)
{
    struct hammer *h = (struct hammer *)p;
    uint64_t rng = test_random(), sum = 0;
    for (int i = 0; i < h->n; i++) {
        uint64_t v = test_random_r(&rng) >> 24;
        int rc = i % 4 == 3 ? gor_select(gor_on_send(h->c, &v), gor_on_recv(h->other, &v))
               : i % 4 == 2 ? gor_send_until(h->c, &v, GOR_FOREVER) : gor_send(h->c, &v);
        IS(rc, 0);
        sum += v;
    }
    atomic_fetch_add(&h->sum_sent, sum);
    gor_wg_done(&h->senders);
}

static void hammer_recv(void *p)
{
    struct hammer *h = (struct hammer *)p;
    uint64_t v = 0, sum = 0, n = 0;
    for (;;) {
        int rc;
        if (n % 4 == 3) {
            bool ok = true;
            rc = gor_select(gor_on_recv(h->other, &v), gor_on_recv_ok(h->c, &v, &ok));
            IS(rc, 1);
            rc = ok ? 0 : -EPIPE;
        } else {
            rc = gor_recv_until(h->c, &v, gor_now() + 50 * GOR_US);
        }
        if (rc == -EPIPE)
            break;
        if (rc == -ETIMEDOUT)
            continue;
        sum += v;
        n++;
    }
    atomic_fetch_add(&h->sum_received, sum);
    atomic_fetch_add(&h->n_received, n);
    gor_wg_done(&h->receivers);
}

static void *hammer_send_thread(void *p)
{
    hammer_send(p);
    return NULL;
}

static void *hammer_recv_thread(void *p)
{
    hammer_recv(p);
    return NULL;
}

TESTF(eight_threads_and_eight_goroutines_hammer_one_channel)
{
    const size_t capacity[] = { 0, 1, 16 };
    for (int procs = 1; procs <= 8; procs *= 2) {
        start_runtime(procs);
        for (int k = 0; k < 3; k++) {
            struct hammer h = { .c = gor_chan_new(sizeof(uint64_t), capacity[k]),
                                .n = scaled(500), .other = gor_chan_new(sizeof(uint64_t), 0) };
            pthread_t t[8];
            gor_wg_add(&h.senders, 8);
            gor_wg_add(&h.receivers, 8);
            for (int i = 0; i < 4; i++) {
                IS(pthread_create(&t[2 * i], NULL, hammer_send_thread, &h), 0);
                IS(pthread_create(&t[2 * i + 1], NULL, hammer_recv_thread, &h), 0);
                IS(gor_go(hammer_send, &h), 0);
                IS(gor_go(hammer_recv, &h), 0);
            }
            IS(gor_wg_wait(&h.senders), 0);
            IS(gor_chan_close(h.c), 0);
            IS(gor_wg_wait(&h.receivers), 0);
            for (int i = 0; i < 8; i++)
                pthread_join(t[i], NULL);
            IS(h.n_received, 8 * h.n);
            IS(h.sum_received, h.sum_sent);
            WAIT_FOR(gor_num_goroutines() == 0);
            gor_chan_release(h.c);
            gor_chan_release(h.other);
        }
        IS(gor_stop(), 0);
    }
}

static void *wait_for_close(void *p)
{
    IS(gor_recv((gor_chan *)p, &(int){ 0 }), -EPIPE);
    return NULL;
}

static void close_when_parked(void *p)
{
    wait_until_parked(1);
    IS(gor_chan_close((gor_chan *)p), 0);
}

TESTF(a_goroutine_wakes_blocked_threads_by_closing)
{
    start_runtime(2);
    gor_chan *c = gor_chan_new(sizeof(int), 0);
    IS(gor_go(park_for_ever, c), 0);
    IS(gor_go(close_when_parked, c), 0);
    in_threads(8, wait_for_close, c);
    WAIT_FOR(gor_num_goroutines() == 0);
    gor_chan_release(c);
    IS(gor_stop(), 0);
}

TESTF(an_idle_runtime_wakes_for_a_thread)
{
    start_runtime(4);
    gor_chan *c = gor_chan_new(sizeof(int), 0);
    for (int i = 0; i < 5; i++) {
        WAIT_FOR(test_stats().idle_procs == 4);        /* all asleep */
        IS(gor_go(send_nine, c), 0);
        IS(gor_recv(c, &(int){ 0 }), 0);
    }
    gor_chan_release(c);
    IS(gor_stop(), 0);
}

/* -- looking inside, and fork ------------------------------------------------------------------ */

static size_t read_back(FILE *f, char *text, size_t size)
{
    rewind(f);
    size_t n = fread(text, 1, size - 1, f);
    text[n] = '\0';
    return n;
}

TESTF(a_thread_dumps_and_counts_leaks)
{
    static char text[20000];
    gor_attr a = { .name = "sleepyhead" };
    FILE *f = tmpfile();
    OK(f != NULL);
    start_runtime(2);
    gor_chan *c = gor_chan_new(sizeof(int), 0);
    IS(gor_leaks(fileno(f)), 0);
    IS(gor_go_with(&a, park_for_ever, c), 0);
    IS(gor_go(park_for_ever, c), 0);
    wait_until_parked(2);
    gor_dump(fileno(f));
    read_back(f, text, sizeof text);
    OK(strstr(text, "sleepyhead") != NULL);
    OK(strstr(text, "park_for_ever") != NULL);
    OK(strstr(text, "foreign.c:") != NULL);
    rewind(f);
    IS(ftruncate(fileno(f), 0), 0);
    IS(gor_leaks(fileno(f)), 2);
    read_back(f, text, sizeof text);
    OK(strstr(text, "sleepyhead") != NULL);
    gor_chan_close(c);
    WAIT_FOR(gor_num_goroutines() == 0);
    IS(gor_leaks(fileno(f)), 0);
    gor_chan_release(c);
    IS(gor_stop(), 0);
    fclose(f);
}

TESTF(a_goroutine_that_is_not_counted_is_no_leak)
{
    int found = 0;
    start_runtime(4);
    for (int i = 0; i < 20000 / test_scale; i++) {
        gor_go(nothing_to_do, NULL);
        while (gor_num_goroutines() != 0)
            sched_yield();
        found += gor_leaks(1);
    }
    IS(found, 0);
    IS(gor_stop(), 0);
}

static atomic_bool enough;

static void start_and_wait(void *p)
{
    gor_wg wg = { 0 };
    (void)p;
    while (!atomic_load(&enough)) {
        for (int i = 0; i < 3; i++)
            gor_wg_go(&wg, nothing_to_do, NULL);
        gor_wg_wait(&wg);
    }
}

TESTF(the_count_of_goroutines_misses_none_that_are_alive)
{
    int too_few = 0, too_many = 0;
    start_runtime(4);
    atomic_store(&enough, false);
    IS(gor_go(start_and_wait, NULL), 0);
    for (int i = 0; i < 200000 / test_scale; i++) {
        size_t n = gor_num_goroutines();
        too_few += n < 1;
        too_many += n > SIZE_MAX / 2;              /* fewer than none */
    }
    IS(too_few, 0);
    IS(too_many, 0);
    atomic_store(&enough, true);
    WAIT_FOR(gor_num_goroutines() == 0);
    IS(gor_stop(), 0);
}

/* In a child of fork: there is no runtime here, and the calls say so. 0 if they do. */
static int look_from_child(void)
{
    if (gor_go(nothing_to_do, NULL) >= 0)
        return 1;
    if (gor_procs(0) >= 0)
        return 2;
    return 0;
}

static int fork_and_look(void)
{
    int status = -1;
    pid_t child = fork();
    if (child == 0)
        _exit(look_from_child());
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -status;
}

static int fork_in_goroutine(void *p)
{
    (void)p;
    return fork_and_look();
}

TESTF(a_child_of_fork_has_no_runtime_and_the_parent_keeps_its_own)
{
    start_runtime(2);
    gor_chan *c = gor_chan_new(sizeof(int), 0);
    IS(gor_go(park_for_ever, c), 0);
    IS(fork_and_look(), 0);
    IS(gor_send(c, &(int){ 1 }), 0);
    WAIT_FOR(gor_num_goroutines() == 0);
    gor_chan_release(c);
    IS(gor_stop(), 0);
    IS(gor_run(fork_in_goroutine, NULL), 0);
}

TESTF(a_group_works_from_a_thread)
{
    gor_group g;
    start_runtime(2);
    gor_group_init(&g, NULL, 2);
    for (int i = 0; i < 10; i++)
        IS(gor_group_go(&g, nothing_in_group, NULL), 0);
    IS(gor_group_wait(&g), 0);
    IS(gor_stop(), 0);
    gor_group_init(&g, NULL, 0);
    IS(gor_group_go(&g, nothing_in_group, NULL), -ESRCH);
    IS(gor_group_wait(&g), 0);
}

/* -- what others have yet to do is no deadlock ------------------------------------------------- */

struct waiting {
    gor_chan   *signals, *done;
    _Atomic int asleep;
    int64_t     delay;                 /* ns: any moment of the question may be hit */
};

static void mask_sigusr1(int how)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    IS(pthread_sigmask(how, &set, NULL), 0);
}

static void *wait_for_signal(void *p)
{
    struct waiting *w = (struct waiting *)p;
    int sig = SIGUSR1;
    mask_sigusr1(SIG_UNBLOCK);
    while (!atomic_load(&w->asleep))
        ;
    for (int64_t end = gor_now() + w->delay; gor_now() < end;)
        ;
    IS(gor_signal_notify(w->signals, &sig, 1), 0);
    IS(gor_recv(w->signals, &sig), 0);
    IS(gor_send(w->done, &sig), 0);
    return NULL;
}

static int sleep_beside_waiter(void *p)
{
    struct waiting *w = (struct waiting *)p;
    pthread_t t;
    int sig = 0, fd[2];
    IS(pipe(fd), 0);
    IS(gor_read_until(fd[0], &sig, 1, gor_now() + GOR_US), -ETIMEDOUT);    /* there is a poller */
    w->signals = gor_chan_new(sizeof(int), 1);
    w->done = gor_chan_new(sizeof(int), 0);
    IS(pthread_create(&t, NULL, wait_for_signal, w), 0);
    gor_sleep(GOR_MS);
    atomic_store(&w->asleep, 1);
    IS(gor_recv(w->done, &sig), 0);
    IS(sig, SIGUSR1);
    IS(pthread_join(t, NULL), 0);
    IS(gor_signal_stop(w->signals), 0);
    gor_chan_release(w->signals);
    gor_chan_release(w->done);
    IS(gor_fd_close(fd[0]), 0);
    close(fd[1]);
    return 0;
}

/* All sleep but the thread, which subscribes to a signal and sleeps too; the kernel sends it. No
 * other thread takes the signal, so none does while its handler is replaced: qemu (7.2) reads the
 * handler twice, and calls SIG_IGN. */
TESTF(a_thread_that_has_just_subscribed_is_no_deadlock)
{
    struct sigevent how = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
    struct itimerspec often = { { 0, 2 * GOR_MS }, { 0, 2 * GOR_MS } };
    timer_t timer;
    signal(SIGUSR1, SIG_IGN);
    mask_sigusr1(SIG_BLOCK);
    IS(timer_create(CLOCK_MONOTONIC, &how, &timer), 0);
    IS(timer_settime(timer, 0, &often, NULL), 0);
    for (int i = 0; i < scaled(200); i++) {
        struct waiting w = { .delay = (int64_t)(test_random() % 500) * GOR_US };
        gor_options o = { .procs = 2, .quantum = 100 * GOR_US };
        IS(gor_run_with(&o, sleep_beside_waiter, &w), 0);
    }
    IS(timer_delete(timer), 0);
    mask_sigusr1(SIG_UNBLOCK);
    signal(SIGUSR1, SIG_DFL);
}

static gor_timer far_timer;

static void never(void *p) { (void)p; OK(false); }

static void *stop_far_timer(void *p)
{
    usleep(300000);                    /* until all watching has come to rest */
    OK(gor_timer_stop(&far_timer));
    return p;
}

static int leave_a_timer(void *p)
{
    far_timer = (gor_timer){ 0 };
    IS(gor_timer_start(&far_timer, 3600 * GOR_SEC, never, NULL), 0);
    IS(pthread_create((pthread_t *)p, NULL, stop_far_timer, NULL), 0);
    gor_exit();
}

TESTF(a_run_ends_when_a_thread_stops_the_last_timer)
{
    pthread_t t;
    char debug[64];
    snprintf(debug, sizeof debug, "%s", getenv("GORDEBUG") ? getenv("GORDEBUG") : "");
    IS(setenv("GORDEBUG", "tidy=10000000", 1), 0);
    IS(gor_run(leave_a_timer, &t), 0);
    IS(pthread_join(t, NULL), 0);
    IS(setenv("GORDEBUG", debug, 1), 0);
}

struct latecomer {
    pthread_t    thread;
    gor_chan    *chan;
    unsigned     delay;                /* turns of a loop */
    _Atomic bool there, ending;
};

static void *come_late(void *p)
{
    struct latecomer *l = (struct latecomer *)p;
    atomic_store(&l->there, true);
    while (!atomic_load(&l->ending))
        sched_yield();
    for (volatile unsigned i = 0; i < l->delay; i++) {}
    IS(gor_try_send(l->chan, &(int){ 1 }), 0);
    return NULL;
}

/* No thread but this one yet: locks are elided until the other's call. */
static int end_as_it_comes(void *p)
{
    struct latecomer *l = (struct latecomer *)p;
    IS(pthread_create(&l->thread, NULL, come_late, l), 0);
    while (!atomic_load(&l->there))
        sched_yield();
    atomic_store(&l->ending, true);
    return 0;
}

TESTF(a_thread_makes_its_first_call_as_the_run_ends)
{
    gor_options o = { .procs = 1 };
    for (int i = 0; i < scaled(2000); i++) {
        struct latecomer l = { .chan = gor_chan_new(sizeof(int), 1),
                               .delay = (unsigned)(test_random() % 100000) };
        IS(gor_run_with(&o, end_as_it_comes, &l), 0);
        IS(pthread_join(l.thread, NULL), 0);
        gor_chan_release(l.chan);
    }
}

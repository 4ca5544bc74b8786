/* The benchmark cases for gor.h. Command line and output line: harness.h. The other programs hold
 * the same cases, or those of them that their runtime has: same names, same work. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE                    /* getrusage and sysconf under -std=c11 */
#endif
#define GOR_IMPLEMENTATION
#include "gor.h"
#include "harness.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>

/* -- helpers ---------------------------------------------------------------------------------- */

#define MUST(call)                                                                                \
    do {                                                                                          \
        int must_rc = (call);                                                                     \
        if (must_rc < 0)                                                                          \
            bench_die(#call, gor_strerror(must_rc));                                                                 \
    } while (0)

static gor_chan *must_chan(size_t elem_size, size_t capacity)
{
    gor_chan *c = gor_chan_new(elem_size, capacity);
    if (!c)
        bench_die("gor_chan_new", "out of memory");
    return c;
}

/* A goroutine of a case that starts several alike: does its work n times, leaves its sum. */
typedef struct worker {
    void    *shared;
    int64_t  n;
    uint64_t sum;
} worker;

static worker *start_workers(gor_wg *wg, int k, void (*fn)(void *), void *shared, int64_t n)
{
    worker *w = must_alloc(k, sizeof *w);
    for (int i = 0; i < k; i++) {
        w[i] = (worker){ shared, n, 0 };
        MUST(gor_wg_go(wg, fn, &w[i]));
    }
    return w;
}

static uint64_t join_workers(gor_wg *wg, int k, worker *w)
{
    uint64_t sum = 0;
    MUST(gor_wg_wait(wg));
    for (int i = 0; i < k; i++)
        sum += w[i].sum;
    free(w);
    return sum;
}

/* The whole of a case that is nothing but k workers, each of which adds up what it did n times. */
static void time_workers(bench *b, int k, void (*fn)(void *), void *shared)
{
    gor_wg wg = {0};
    int64_t n = share(b->n, k);

    start(b);
    worker *w = start_workers(&wg, k, fn, shared, n);
    uint64_t sum = join_workers(&wg, k, w);
    stop(b);
    result(b, n * k, sum, (uint64_t)(n * k));
}

/* -- switching -------------------------------------------------------------------------------- */

static void yield_worker(void *arg)
{
    worker *w = arg;
    uint64_t done = 0;
    for (int64_t i = 0; i < w->n; i++) {
        gor_yield();
        done++;
    }
    w->sum = done;
}

static void yield2(bench *b)
{
    time_workers(b, 2, yield_worker, NULL);
}

static void yield1000(bench *b)
{
    time_workers(b, 1000, yield_worker, NULL);
}

/* -- channels --------------------------------------------------------------------------------- */

static void echo(void *arg)
{
    gor_chan **c = arg;                /* ping, pong */
    int64_t v;
    while (gor_recv(c[0], &v) == 0)
        MUST(gor_send(c[1], &v));
}

static void pingpong(bench *b)
{
    gor_chan *c[2] = { must_chan(sizeof(int64_t), 0), must_chan(sizeof(int64_t), 0) };
    gor_wg wg = {0};
    uint64_t sum = 0;

    MUST(gor_wg_go(&wg, echo, c));
    start(b);
    for (int64_t i = 0; i < b->n; i++) {
        int64_t v;
        MUST(gor_send(c[0], &i));
        MUST(gor_recv(c[1], &v));
        sum += (uint64_t)v;
    }
    stop(b);
    result(b, b->n, sum, sum_below(b->n));
    MUST(gor_chan_close(c[0]));
    MUST(gor_wg_wait(&wg));
    gor_chan_release(c[0]);
    gor_chan_release(c[1]);
}

static void send_worker(void *arg)
{
    worker *w = arg;
    for (int64_t i = 0; i < w->n; i++)
        MUST(gor_send((gor_chan *)w->shared, &i));
}

static void recv_worker(void *arg)
{
    worker *w = arg;
    uint64_t sum = 0;
    int64_t v;
    while (gor_recv((gor_chan *)w->shared, &v) == 0)
        sum += (uint64_t)v;
    w->sum = sum;
}

/* k goroutines send, k others receive, all on one channel. */
static void stream(bench *b, size_t capacity, int k)
{
    gor_chan *c = must_chan(sizeof(int64_t), capacity);
    gor_wg senders = {0}, receivers = {0};
    int64_t n = share(b->n, k);

    start(b);
    worker *r = start_workers(&receivers, k, recv_worker, c, 0);
    worker *s = start_workers(&senders, k, send_worker, c, n);
    join_workers(&senders, k, s);
    MUST(gor_chan_close(c));
    uint64_t sum = join_workers(&receivers, k, r);
    stop(b);
    result(b, n * k, sum, (uint64_t)k * sum_below(n));
    gor_chan_release(c);
}

static void oneway(bench *b)
{
    stream(b, 0, 1);
}

static void buffered(bench *b)
{
    stream(b, 128, 1);
}

static void buffered8x8(bench *b)
{
    stream(b, 128, 8);
}

static void select4(bench *b)
{
    gor_chan *c[4];
    worker *w[4];
    gor_wg wg = {0};
    int64_t n = share(b->n, 4), v;
    uint64_t sum = 0;

    for (int i = 0; i < 4; i++)
        c[i] = must_chan(sizeof v, 0);
    start(b);
    for (int i = 0; i < 4; i++)
        w[i] = start_workers(&wg, 1, send_worker, c[i], n);
    for (int64_t i = 0; i < n * 4; i++) {
        MUST(gor_select(gor_on_recv(c[0], &v), gor_on_recv(c[1], &v),
                        gor_on_recv(c[2], &v), gor_on_recv(c[3], &v)));
        sum += (uint64_t)v;
    }
    stop(b);
    result(b, n * 4, sum, 4 * sum_below(n));
    for (int i = 0; i < 4; i++) {
        join_workers(&wg, 1, w[i]);
        gor_chan_release(c[i]);
    }
}

static void tryrecv_empty(bench *b)
{
    gor_chan *c = must_chan(sizeof(int64_t), 1);
    uint64_t empty = 0;
    int64_t v;

    start(b);
    for (int64_t i = 0; i < b->n; i++)
        empty += gor_try_recv(c, &v) == -EAGAIN;
    stop(b);
    result(b, b->n, empty, (uint64_t)b->n);
    gor_chan_release(c);
}

/* Member of a ring: takes the hops left from its left neighbour, hands one less to the right. */
typedef struct ring_member {
    gor_chan *in, *out, *done;
} ring_member;

static void ring_worker(void *arg)
{
    ring_member *m = arg;
    int64_t left;
    while (gor_recv(m->in, &left) == 0) {
        left--;
        MUST(gor_send(left > 0 ? m->out : m->done, &left));
    }
}

typedef struct ring {
    ring_member *m;
    int64_t      n;
    gor_chan    *done;
    gor_wg       wg;
} ring;

static void ring_start(ring *r, int64_t n)
{
    r->m = must_alloc(n, sizeof *r->m);
    r->n = n;
    r->done = must_chan(sizeof(int64_t), 0);
    for (int64_t i = 0; i < n; i++)
        r->m[i] = (ring_member){ must_chan(sizeof(int64_t), 0), NULL, r->done };
    for (int64_t i = 0; i < n; i++) {
        r->m[i].out = r->m[(i + 1) % n].in;
        MUST(gor_wg_go(&r->wg, ring_worker, &r->m[i]));
    }
}

/* So many hops. Returns how many are left at the end: 0. */
static int64_t ring_run(ring *r, int64_t hops)
{
    MUST(gor_send(r->m[0].in, &hops));
    MUST(gor_recv(r->done, &hops));
    return hops;
}

static void ring_free(ring *r)
{
    for (int64_t i = 0; i < r->n; i++)
        MUST(gor_chan_close(r->m[i].in));
    MUST(gor_wg_wait(&r->wg));
    for (int64_t i = 0; i < r->n; i++)
        gor_chan_release(r->m[i].in);
    gor_chan_release(r->done);
    free(r->m);
}

/* Once around before the clock starts: then all have started, and wait. */
static void ring_time(bench *b, int64_t members, int64_t hops)
{
    ring r = {0};

    ring_start(&r, members);
    ring_run(&r, members);
    start(b);
    int64_t left = ring_run(&r, hops);
    stop(b);
    result(b, hops, (uint64_t)(hops - left), (uint64_t)hops);
    ring_free(&r);
}

static void ring1000(bench *b)
{
    ring_time(b, 1000, b->n);
}

/* -- starting goroutines ---------------------------------------------------------------------- */

static void mark(void *arg)
{
    *(uint8_t *)arg = 1;
}

static void spawn_wait(bench *b)
{
    uint8_t *slot = must_alloc(b->n, 1);
    gor_wg wg = {0};

    start(b);
    for (int64_t i = 0; i < b->n; i++)
        MUST(gor_wg_go(&wg, mark, &slot[i]));
    MUST(gor_wg_wait(&wg));
    stop(b);
    result(b, b->n, sum_bytes(slot, b->n), (uint64_t)b->n);
    free(slot);
}

static void add_one(void *arg)
{
    *(int64_t *)arg += 1;
}

/* A wait group is the plain join here and a channel the quicker one in Go: to each its own. */
static void spawn_join(bench *b)
{
    uint64_t sum = 0;

    start(b);
    for (int64_t i = 0; i < b->n; i++) {
        gor_wg wg = {0};
        int64_t v = i;
        MUST(gor_wg_go(&wg, add_one, &v));
        MUST(gor_wg_wait(&wg));
        sum += (uint64_t)v;
    }
    stop(b);
    result(b, b->n, sum, sum_below(b->n + 1));
}

static void wg_done_one(void *arg)
{
    gor_wg_done((gor_wg *)arg);
}

static void wg10000(bench *b)
{
    enum { K = 10000 };
    int64_t rounds = share(b->n, K);
    gor_wg wg = {0};
    uint64_t sum = 0;

    start(b);
    for (int64_t r = 0; r < rounds; r++) {
        gor_wg_add(&wg, K);
        for (int i = 0; i < K; i++)
            MUST(gor_go(wg_done_one, &wg));
        MUST(gor_wg_wait(&wg));
        sum += K;
    }
    stop(b);
    result(b, rounds * K, sum, (uint64_t)(rounds * K));
}

/* A channel per inner node, as the original has it; a goroutine per node, leaves included. */
static void skynet_node(gor_chan *out, int64_t first, int64_t size)
{
    int64_t sum = first;
    if (size > 1) {
        gor_chan *in = must_chan(sizeof sum, 0);
        int64_t v;
        sum = 0;
        for (int i = 0; i < 10; i++)
            MUST(GOR_GO(skynet_node, in, first + i * (size / 10), size / 10));
        for (int i = 0; i < 10; i++) {
            MUST(gor_recv(in, &v));
            sum += v;
        }
        gor_chan_release(in);
    }
    MUST(gor_send(out, &sum));
}

/* N leaves, N taken down to a power of ten. */
static void skynet(bench *b)
{
    gor_chan *c = must_chan(sizeof(int64_t), 0);
    int64_t leaves = 1, nodes = 1, sum;

    while (leaves * 10 <= b->n) {
        leaves *= 10;
        nodes += leaves;
    }
    start(b);
    MUST(GOR_GO(skynet_node, c, 0, leaves));
    MUST(gor_recv(c, &sum));
    stop(b);
    result(b, nodes, (uint64_t)sum, sum_below(leaves));
    gor_chan_release(c);
}

/* -- fork-join -------------------------------------------------------------------------------- */

static void *fib_node(void *arg)
{
    intptr_t n = (intptr_t)arg;
    gor_task task;

    if (n < 2)
        return arg;
    gor_fork(&task, fib_node, (void *)(n - 1));
    intptr_t right = (intptr_t)fib_node((void *)(n - 2));
    intptr_t left = (intptr_t)gor_join(&task);
    return (void *)(left + right);
}

static void fib(bench *b)
{
    intptr_t sum;
    int64_t forks = 0;

    do {
        start(b);
        sum = (intptr_t)fib_node((void *)(intptr_t)b->n);
        stop(b);
        forks += fib_forks(b->n);
    } while (!enough(b));
    result(b, forks, (uint64_t)sum, (uint64_t)fib_value(b->n));
}

static void *queens_node(void *arg)
{
    board here = *(board *)arg, next[16];
    gor_task task[16];
    int n = 0;
    intptr_t found = 0;

    if (here.taken == here.all)
        return (void *)1;
    for (uint32_t rest = board_free(here); rest; rest &= rest - 1, n++) {
        next[n] = board_put(here, rest & -rest);
        gor_fork(&task[n], queens_node, &next[n]);
    }
    while (n > 0)                      /* youngest first: most likely still ours to run in place */
        found += (intptr_t)gor_join(&task[--n]);
    return (void *)found;
}

static void nqueens(bench *b)
{
    board root = board_of(b->n);
    intptr_t found;
    int64_t forks = 0, each = queens_count_forks(root);

    do {
        start(b);
        found = (intptr_t)queens_node(&root);
        stop(b);
        forks += each;
    } while (!enough(b));
    result(b, forks, (uint64_t)found, queens_value(b->n));
}

static void scale_range(size_t lo, size_t hi, void *arg)
{
    floats_scale(arg, lo, hi);
}

static void parallel_for(bench *b)
{
    float *x = floats_new(b->n);

    start(b);
    MUST(gor_parallel_for(0, (size_t)b->n, 0, scale_range, x));
    stop(b);
    floats_result(b, x);
}

/* -- locks ------------------------------------------------------------------------------------ */

typedef struct guarded {
    gor_mutex mutex;
    uint64_t  value;
} guarded;

static void mutex_worker(void *arg)
{
    worker *w = arg;
    guarded *g = w->shared;
    for (int64_t i = 0; i < w->n; i++) {
        MUST(gor_mutex_lock(&g->mutex));
        g->value++;
        gor_mutex_unlock(&g->mutex);
    }
    w->sum = (uint64_t)w->n;
}

static void mutex_by(bench *b, int k)
{
    guarded *g = must_alloc(1, sizeof *g);
    time_workers(b, k, mutex_worker, g);
    b->check = g->value;
    free(g);
}

static void mutex(bench *b)
{
    mutex_by(b, 1);
}

static void mutex8(bench *b)
{
    mutex_by(b, 8);
}

typedef struct rw_guarded {
    gor_rwmutex mutex;
    uint64_t    value;
} rw_guarded;

static void rwmutex_worker(void *arg)
{
    worker *w = arg;
    rw_guarded *g = w->shared;
    uint64_t sum = 0;
    for (int64_t i = 0; i < w->n; i++) {
        MUST(gor_rwmutex_rlock(&g->mutex));
        sum += g->value;
        gor_rwmutex_runlock(&g->mutex);
    }
    w->sum = sum;
}

static void rwmutex(bench *b)
{
    rw_guarded *g = must_alloc(1, sizeof *g);
    g->value = 1;
    time_workers(b, 8, rwmutex_worker, g);
    free(g);
}

/* -- time ------------------------------------------------------------------------------------- */

static void never(void *arg)
{
    (void)arg;
    bench_die("timer", "a stopped timer ran");
}

static void timer(bench *b)
{
    uint64_t pending = 0;

    start(b);
    for (int64_t i = 0; i < b->n; i++) {
        gor_timer t = {0};
        MUST(gor_timer_start(&t, 3600 * GOR_SEC, never, NULL));
        pending += gor_timer_stop(&t);
    }
    stop(b);
    result(b, b->n, pending, (uint64_t)b->n);
}

static void timer_reset(bench *b)
{
    gor_timer t = {0};
    uint64_t pending = 0;

    MUST(gor_timer_start(&t, 3600 * GOR_SEC, never, NULL));
    gor_timer_stop(&t);
    start(b);
    for (int64_t i = 0; i < b->n; i++) {
        gor_timer_reset(&t, 3600 * GOR_SEC);
        pending += gor_timer_stop(&t);
    }
    stop(b);
    result(b, b->n, pending, (uint64_t)b->n);
}

static void sleep_1ms(void *arg)
{
    int64_t begin = gor_now();
    MUST(gor_sleep(GOR_MS));
    *(uint8_t *)arg = gor_now() - begin >= GOR_MS;
}

static void sleepers(bench *b)
{
    uint8_t *slot = must_alloc(b->n, 1);
    gor_wg wg = {0};

    start(b);
    for (int64_t i = 0; i < b->n; i++)
        MUST(gor_wg_go(&wg, sleep_1ms, &slot[i]));
    MUST(gor_wg_wait(&wg));
    stop(b);
    result(b, b->n, sum_bytes(slot, b->n), (uint64_t)b->n);
    free(slot);
}

static void idle(bench *b)
{
    int64_t before = cpu_ns();
    MUST(gor_sleep(b->n * GOR_MS));
    idle_result(b, before);
}

static void wakeup(bench *b)
{
    int64_t *late = must_alloc(b->n, sizeof *late);

    for (int64_t i = 0; i < b->n; i++) {
        int64_t due = gor_now() + GOR_MS;
        MUST(gor_sleep(GOR_MS));
        late[i] = gor_now() - due;
    }
    late_result(b, late);
}

/* How late a sleep of 1 ms ends while one goroutine more than there are processors does what calls no
 * gor: in a loop, in the kernel, in a lock. The worst and the 99th of 100, whoever is to blame: */
static struct {
    _Atomic int     stop, running;
    int             fd[2];
    pthread_mutex_t plain, recursive;
    _Atomic int     sink;
} hogs;

static bool hogging(void)
{
    return !atomic_load_explicit(&hogs.stop, memory_order_relaxed);
}

static void hog_spin(void *p)
{
    atomic_fetch_add(&hogs.running, 1);
    while (hogging())
        ;
    (void)p;
}

static void hog_memcpy(void *p)
{
    enum { SIZE = 1 << 20 };
    char *a = must_alloc(1, SIZE), *b = must_alloc(1, SIZE);
    atomic_fetch_add(&hogs.running, 1);
    while (hogging()) {
        memcpy(a, b, SIZE);
        atomic_store(&hogs.sink, a[hogs.fd[0]]);   /* or no compiler would copy */
    }
    free(a);
    free(b);
    (void)p;
}

static void hog_malloc(void *p)
{
    atomic_fetch_add(&hogs.running, 1);
    for (size_t n = 1; hogging(); n = (n * 7 + 13) % 5000) {
        char *volatile a = must_alloc(1, n + 1);
        free(a);
    }
    (void)p;
}

static void hog_read(void *p)
{
    char byte;
    atomic_fetch_add(&hogs.running, 1);
    if (read(hogs.fd[0], &byte, 1) != 1)
        bench_die("read", strerror(errno));
    (void)p;
}

static void hog_sleep(void *p)
{
    atomic_fetch_add(&hogs.running, 1);
    while (hogging())
        if (sleep(1) != 0)
            bench_die("sleep", "interrupted");
    (void)p;
}

static void hold(pthread_mutex_t *m, int64_t ns)
{
    pthread_mutex_lock(m);
    for (int64_t end = bench_now() + ns; bench_now() < end;)
        ;
    pthread_mutex_unlock(m);
}

static void hog_mutex(void *p)
{
    atomic_fetch_add(&hogs.running, 1);
    while (hogging())
        hold(&hogs.plain, 50 * GOR_MS);
    (void)p;
}

static void hog_recursive(void *p)
{
    atomic_fetch_add(&hogs.running, 1);
    while (hogging()) {
        pthread_mutex_lock(&hogs.recursive);
        hold(&hogs.recursive, 5 * GOR_MS);
        pthread_mutex_unlock(&hogs.recursive);
    }
    (void)p;
}

static void hogs_begin(void)
{
    pthread_mutexattr_t a;
    atomic_store(&hogs.stop, 0);
    atomic_store(&hogs.running, 0);
    pthread_mutexattr_init(&a);
    pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&hogs.plain, NULL);
    pthread_mutex_init(&hogs.recursive, &a);
    if (pipe(hogs.fd) != 0)
        bench_die("pipe", strerror(errno));
}

/* What the machine does to anybody: a thread that sleeps as the goroutine does, by the kernel. */
typedef struct sleeping { int64_t *late, n; } sleeping;

static void *sleep_as_thread(void *p)
{
    sleeping *s = p;
    for (int64_t i = 0; i < s->n && hogging(); i++) {
        int64_t due = bench_now() + GOR_MS;
        usleep(1000);
        s->late[i] = bench_now() - due;
    }
    return NULL;
}

static void sleep_as_goroutine(sleeping *s)
{
    for (int64_t i = 0; i < s->n; i++) {
        int64_t due = bench_now() + GOR_MS;
        MUST(gor_sleep(GOR_MS));
        s->late[i] = bench_now() - due;
    }
}

static void late_add(bench *b, const char *what, int64_t ns)
{
    size_t used = strlen(b->extra);
    snprintf(b->extra + used, sizeof b->extra - used, " %s=%" PRId64, what, ns);
}

static void late(bench *b, void (*hog)(void *))
{
    sleeping ours = { must_alloc(b->n, sizeof(int64_t)), b->n };
    sleeping its = { must_alloc(b->n, sizeof(int64_t)), b->n };
    int k = b->procs + 1;
    pthread_t thread;
    gor_wg wg = {0};

    hogs_begin();
    for (int i = 0; i < k; i++)
        MUST(gor_wg_go(&wg, hog, NULL));
    while (atomic_load(&hogs.running) < k)
        MUST(gor_sleep(GOR_MS));
    if (pthread_create(&thread, NULL, sleep_as_thread, &its) != 0)
        bench_die("pthread_create", "no thread");
    sleep_as_goroutine(&ours);
    atomic_store(&hogs.stop, 1);
    for (int i = 0; i < k; i++)
        if (write(hogs.fd[1], "x", 1) != 1)
            bench_die("write", strerror(errno));
    MUST(gor_wg_wait(&wg));
    pthread_join(thread, NULL);
    close(hogs.fd[0]);
    close(hogs.fd[1]);
    qsort(its.late, (size_t)b->n, sizeof *its.late, bench_by_value);   /* zeros: it came to less */
    qsort(ours.late, (size_t)b->n, sizeof *ours.late, bench_by_value);
    int64_t worst = ours.late[b->n - 1];
    late_result(b, ours.late);
    late_add(b, "worst_ns", worst);
    late_add(b, "thread_p99_ns", its.late[b->n * 99 / 100]);
    late_add(b, "thread_worst_ns", its.late[b->n - 1]);
    free(its.late);
}

static void late_spin(bench *b)      { late(b, hog_spin); }
static void late_memcpy(bench *b)    { late(b, hog_memcpy); }
static void late_malloc(bench *b)    { late(b, hog_malloc); }
static void late_read(bench *b)      { late(b, hog_read); }
static void late_sleep(bench *b)     { late(b, hog_sleep); }
static void late_mutex(bench *b)     { late(b, hog_mutex); }
static void late_recursive(bench *b) { late(b, hog_recursive); }

/* -- many at once ----------------------------------------------------------------------------- */

/* Make a tree of n, cancel it through its root, let it go. Returns how many were cancelled. */
static uint64_t ctx_cycle(gor_ctx **c, int64_t n)
{
    uint64_t cancelled = 0;
    for (int64_t i = 0; i < n; i++)
        if (!(c[i] = gor_ctx_with_cancel(i ? c[(i - 1) / 10] : gor_ctx_background())))
            bench_die("gor_ctx_with_cancel", "out of memory");
    gor_ctx_cancel(c[0], 0);
    for (int64_t i = 0; i < n; i++)
        cancelled += gor_ctx_err(c[i]) == -ECANCELED;
    for (int64_t i = 0; i < n; i++)
        gor_ctx_release(c[i]);
    return cancelled;
}

static void ctx_tree(bench *b)
{
    gor_ctx **c = must_alloc(b->n, sizeof *c);
    uint64_t cancelled;
    int64_t ops = 0;

    do {
        start(b);
        cancelled = ctx_cycle(c, b->n);
        stop(b);
        ops += b->n;
    } while (!enough(b));
    result(b, ops, cancelled, (uint64_t)b->n);
    free(c);
}

typedef struct parking {
    gor_chan *gate;                    /* closed to release all */
    gor_wg    ready, ended;
} parking;

static void park(void *arg)
{
    parking *p = arg;
    gor_wg_done(&p->ready);
    gor_chan_recv(p->gate, NULL, 0);   /* -EPIPE: the gate was closed */
    gor_wg_done(&p->ended);
}

static void park_all(parking *p, int64_t n)
{
    gor_wg_add(&p->ready, n);
    gor_wg_add(&p->ended, n);
    for (int64_t i = 0; i < n; i++)
        MUST(gor_go(park, p));
    MUST(gor_wg_wait(&p->ready));
}

static void release_all(parking *p)
{
    MUST(gor_chan_close(p->gate));
    MUST(gor_wg_wait(&p->ended));
}

static void parked1m(bench *b)
{
    parking p = { .gate = must_chan(0, 0) };
    int64_t before = rss_bytes();

    start(b);
    park_all(&p, b->n);
    stop(b);
    int64_t spawn_ns = b->elapsed, bytes = rss_bytes() - before;

    start(b);
    release_all(&p);
    stop(b);
    parked_result(b, spawn_ns, bytes, (uint64_t)b->n);
    gor_chan_release(p.gate);
}

/* -- growth: the same operation among N goroutines -------------------------------------------- */

/* Many goroutines that all exist before the clock starts and after it stops: what it measures is
 * the operation. The gate holds them at both ends. */
typedef struct crowd {
    gor_chan *begin, *end;             /* gates: closed to open */
    gor_wg    ready, done;
    gor_chan *c;
    int64_t   turns;
    uint64_t  sum;                     /* of what each has done */
} crowd;

static crowd *crowd_new(int64_t n, void (*fn)(void *), int64_t n_turns, gor_chan *c)
{
    crowd *all = must_alloc(1, sizeof *all);
    all->begin = must_chan(0, 0);
    all->end = must_chan(0, 0);
    all->turns = n_turns;
    all->c = c;
    gor_wg_add(&all->ready, n);
    gor_wg_add(&all->done, n);
    for (int64_t i = 0; i < n; i++)
        MUST(gor_go(fn, all));
    MUST(gor_wg_wait(&all->ready));
    return all;
}

static void crowd_arrive(crowd *all)
{
    gor_wg_done(&all->ready);
    gor_chan_recv(all->begin, NULL, 0);
}

static void crowd_leave(crowd *all, int64_t did)
{
    __atomic_fetch_add(&all->sum, (uint64_t)did, __ATOMIC_RELAXED);
    gor_wg_done(&all->done);
    gor_chan_recv(all->end, NULL, 0);
    gor_wg_done(&all->ready);
}

static void crowd_free(crowd *all, int64_t n)
{
    gor_wg_add(&all->ready, n);
    MUST(gor_chan_close(all->end));
    MUST(gor_wg_wait(&all->ready));
    gor_chan_release(all->begin);
    gor_chan_release(all->end);
    free(all);
}

static void grow_yielder(void *arg)
{
    crowd *all = arg;
    int64_t i = 0;
    crowd_arrive(all);
    for (; i < all->turns; i++)
        gor_yield();
    crowd_leave(all, i);
}

static void grow_yield(bench *b)
{
    int64_t each = turns(b->n, 10000000, 10, 10000);
    crowd *all = crowd_new(b->n, grow_yielder, each, NULL);

    start(b);
    MUST(gor_chan_close(all->begin));
    MUST(gor_wg_wait(&all->done));
    stop(b);
    result(b, b->n * each, all->sum, (uint64_t)(b->n * each));
    crowd_free(all, b->n);
}

static void grow_sender(void *arg)
{
    crowd *all = arg;
    crowd_arrive(all);
    for (int64_t i = 0; i < all->turns; i++)
        MUST(gor_send(all->c, &i));
    crowd_leave(all, all->turns);
}

static void grow_channel(bench *b)
{
    int64_t each = turns(b->n, 4000000, 4, 4000), v;
    gor_chan *c = must_chan(sizeof v, 0);
    crowd *all = crowd_new(b->n, grow_sender, each, c);
    uint64_t sum = 0;

    start(b);
    MUST(gor_chan_close(all->begin));
    for (int64_t i = 0; i < b->n * each; i++) {
        MUST(gor_recv(c, &v));
        sum += (uint64_t)v;
    }
    stop(b);
    result(b, b->n * each, sum, (uint64_t)b->n * sum_below(each));
    MUST(gor_wg_wait(&all->done));
    crowd_free(all, b->n);
    gor_chan_release(c);
}

static void grow_ring(bench *b)
{
    ring_time(b, b->n, b->n * turns(b->n, 4000000, 4, 4000));
}

static uint64_t next_random(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

static void grow_timer(bench *b)
{
    gor_timer *t = must_alloc(b->n, sizeof *t);
    int64_t ops = b->n * turns(b->n, 4000000, 4, 4000);
    uint64_t pending = 0, x = 88172645463325252u;

    for (int64_t i = 0; i < b->n; i++)
        MUST(gor_timer_start(&t[i], (3600 + (int64_t)(next_random(&x) % 3600)) * GOR_SEC, never,
                             NULL));
    start(b);
    for (int64_t i = 0; i < ops; i++) {
        int64_t at = (int64_t)(next_random(&x) % (uint64_t)b->n);
        pending += gor_timer_reset(&t[at], (3600 + (int64_t)(next_random(&x) % 3600)) * GOR_SEC);
    }
    stop(b);
    result(b, ops, pending, (uint64_t)ops);
    for (int64_t i = 0; i < b->n; i++)
        gor_timer_stop(&t[i]);
    free(t);
}

/* Start n that park, release them, wait for their ends. */
static void park_round(int64_t n)
{
    parking p = { .gate = must_chan(0, 0) };

    park_all(&p, n);
    release_all(&p);
    gor_chan_release(p.gate);
}

static void grow_spawn(bench *b)
{
    int64_t rounds = turns(b->n, 1000000, 1, 1000);

    park_round(b->n);                  /* memory is there before the clock starts */
    start(b);
    for (int64_t i = 0; i < rounds; i++)
        park_round(b->n);
    stop(b);
    result(b, b->n * rounds, (uint64_t)(b->n * rounds), (uint64_t)(b->n * rounds));
}

/* A goroutine that waits for its datagram socket, and sends back what it gets; 0 ends it. */
static void grow_listener(void *arg)
{
    int fd = (int)(intptr_t)arg;
    uint64_t v;
    while (gor_read(fd, &v, sizeof v) == sizeof v && v != 0)
        MUST((int)gor_write(fd, &v, sizeof v));
    gor_fd_close(fd);
}

/* More descriptors or ports than the system gives: there is no such case here. */
static int must_dial(const char *addr)
{
    int fd = gor_dial("udp", addr, GOR_FOREVER);
    if (fd == -EMFILE || fd == -ENFILE || fd == -EADDRNOTAVAIL || fd == -EAGAIN)
        exit(BENCH_NO_SUCH_CASE);
    MUST(fd);
    return fd;
}

static struct sockaddr_in name_of(int fd)
{
    struct sockaddr_in a;
    socklen_t size = sizeof a;
    MUST(getsockname(fd, (struct sockaddr *)&a, &size));
    return a;
}

static void grow_netpoll(bench *b)
{
    int64_t ops = b->n * turns(b->n, 100000, 1, 100);
    uint64_t x = 88172645463325252u, sum = 0, want = 0, v;
    struct sockaddr_in *peer = must_alloc(b->n, sizeof *peer);
    int all = gor_listen("udp", "127.0.0.1:0", 0);
    gor_wg wg = { 0 };
    char addr[32];

    MUST(all);
    snprintf(addr, sizeof addr, "127.0.0.1:%d", ntohs(name_of(all).sin_port));
    for (int64_t i = 0; i < b->n; i++) {
        int fd = must_dial(addr);
        peer[i] = name_of(fd);
        MUST(gor_wg_go(&wg, grow_listener, (void *)(intptr_t)fd));
    }
    start(b);
    for (int64_t i = 0; i < ops; i++) {
        int64_t at = (int64_t)(next_random(&x) % (uint64_t)b->n);
        v = (uint64_t)at + 1;
        want += v;
        MUST((int)gor_sendto(all, &v, sizeof v, 0, (struct sockaddr *)&peer[at], sizeof *peer));
        MUST((int)gor_read(all, &v, sizeof v));
        sum += v;
    }
    stop(b);
    result(b, ops, sum, want);
    for (int64_t i = 0; i < b->n; i++) {
        v = 0;
        MUST((int)gor_sendto(all, &v, sizeof v, 0, (struct sockaddr *)&peer[i], sizeof *peer));
    }
    MUST(gor_wg_wait(&wg));
    gor_fd_close(all);
    free(peer);
}

/* -- the table -------------------------------------------------------------------------------- */

/* The comments say what one op is; the other programs mean the same. */
static const bench_case cases[] = {
    { "yield2",        10000000, yield2 },        /* a yield; 2 goroutines                       */
    { "yield1000",     10000000, yield1000 },     /* a yield; 1,000 goroutines                   */
    { "pingpong",       3000000, pingpong },      /* a round trip, two values; two unbuffered    */
    { "oneway",         5000000, oneway },        /* a value, 1 sender to 1 receiver; unbuffered */
    { "buffered",      20000000, buffered },      /* a value, 1 sender to 1 receiver; buffer 128 */
    { "buffered8x8",   20000000, buffered8x8 },   /* a value, 8 to 8, one channel; buffer 128    */
    { "select4",        2000000, select4 },       /* a receive by select; 4 unbuffered, a sender
                                                     on each                                     */
    { "tryrecv_empty", 50000000, tryrecv_empty }, /* a try-receive that finds nothing; buffer 1  */
    { "spawn_wait",     2000000, spawn_wait },    /* a goroutine that stores a byte; all under
                                                     one wait group                              */
    { "spawn_join",     2000000, spawn_join },    /* a goroutine, its result waited for before
                                                     the next is started                         */
    { "fib",                 30, fib },           /* a fork and its join; N is fib's argument    */
    { "skynet",         1000000, skynet },        /* a goroutine, inner nodes and N leaves;
                                                     fan-out 10, a channel per inner node        */
    { "nqueens",             12, nqueens },       /* a fork and its join, one per queen placed;
                                                     N is the size of the board                  */
    { "parallel_for", 100000000, parallel_for },  /* x = x * 0.5 + 1 on one float in memory      */
    { "ring1000",       5000000, ring1000 },      /* a hop in a ring of 1,000; unbuffered        */
    { "mutex",         50000000, mutex },         /* a lock, an increment, an unlock; alone      */
    { "mutex8",        50000000, mutex8 },        /* the same; 8 goroutines                      */
    { "rwmutex",       20000000, rwmutex },       /* a read lock, a read, an unlock; 8 readers   */
    { "wg10000",        4000000, wg10000 },       /* a goroutine that is done; rounds of: add
                                                     10,000, start 10,000, wait                  */
    { "timer",          3000000, timer },         /* a new timer of an hour started and stopped  */
    { "timer_reset",    5000000, timer_reset },   /* one timer set anew to an hour and stopped   */
    { "sleepers",        100000, sleepers },      /* a goroutine started, asleep 1 ms, ended     */
    { "ctx_tree",        100000, ctx_tree },      /* a context made, cancelled through the root,
                                                     looked at, released; fan-out 10             */
    { "parked1m",       1000000, parked1m },      /* a goroutine started, parked on one channel,
                                                     released by close, ended                    */
    { "idle",             10000, idle },          /* CPU time of 1 ms of idleness; N is in ms    */
    { "wakeup",            1000, wakeup },        /* how late a sleep of 1 ms ends with nothing
                                                     else to run: the median (p50_ns, p99_ns)    */
    { "late_spin",        10000, late_spin },     /* the same while all processors have more to do
                                                     than they like: for (;;); N sleeps; worst_ns */
    { "late_memcpy",      10000, late_memcpy },   /* a megabyte, again and again                 */
    { "late_malloc",      10000, late_malloc },   /* malloc and free                             */
    { "late_read",        10000, late_read },     /* read(2) on a silent pipe                    */
    { "late_sleep",       10000, late_sleep },    /* sleep(1)                                    */
    { "late_mutex",       10000, late_mutex },    /* a pthread mutex, held for 50 ms each time   */
    { "late_recursive",   10000, late_recursive },/* a recursive one, for 5 ms, taken twice      */
    { "grow_yield",        1000, grow_yield },    /* a yield; N goroutines                       */
    { "grow_channel",      1000, grow_channel },  /* a value, N senders to one receiver;
                                                     unbuffered                                  */
    { "grow_ring",         1000, grow_ring },     /* a hop in a ring of N; unbuffered            */
    { "grow_timer",        1000, grow_timer },    /* one of N pending timers, drawn at random,
                                                     set anew                                    */
    { "grow_spawn",        1000, grow_spawn },    /* a goroutine started, parked, released and
                                                     ended; N at once                            */
    { "grow_netpoll",      1000, grow_netpoll },  /* a datagram to one of N that each wait for a
                                                     socket, drawn at random, and its answer     */
};

/* -- main ------------------------------------------------------------------------------------- */

static struct { bench *b; void (*fn)(bench *b); } chosen;

static int run_chosen(void *arg)
{
    (void)arg;
    chosen.b->procs = gor_procs(0);
    chosen.fn(chosen.b);
    return 0;
}

static void run(bench *b, void (*fn)(bench *b))
{
    gor_options o = { .procs = b->procs };

    chosen.b = b;
    chosen.fn = fn;
    MUST(gor_run_with(&o, run_chosen, NULL));
}

int main(int argc, char **argv)
{
    return bench_main(argc, argv, cases, sizeof cases / sizeof cases[0], run);
}

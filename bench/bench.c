/* The benchmark cases for gor.h. bench/go/main.go holds the same cases for Go and floor.c some of
 * them for plain threads: same names, same work, same command line, same output line.
 *
 *     bench list               the cases, each with its default N
 *     bench CASE [N [PROCS]]   run one; N 0: the case's default; PROCS 0: the runtime's default
 *
 * A case makes what it needs, starts the clock, works, stops the clock. What it computes ends in
 * `check`, so that no compiler drops the work and run.py can tell that both sides did the same. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE                    /* getrusage and sysconf under -std=c11 */
#endif
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* -- the harness ------------------------------------------------------------------------------ */

typedef struct bench {
    int64_t  n;                        /* in: how much work                                      */
    int64_t  begin;                    /* ns, while the clock runs                               */
    int64_t  elapsed;                  /* ns on the clock so far                                 */
    int64_t  ops;                      /* out: what ns_per_op divides by                         */
    uint64_t check;                    /* out: a sum over the results                            */
    char     extra[96];                /* out: more " key=value" for the end of the line         */
} bench;

static void fail(const char *what, int rc)
{
    fprintf(stderr, "bench: %s: %s\n", what, gor_strerror(rc));
    exit(1);
}

#define MUST(call)                                                                                \
    do {                                                                                          \
        int must_rc = (call);                                                                     \
        if (must_rc < 0)                                                                          \
            fail(#call, must_rc);                                                                 \
    } while (0)

static void *must_alloc(size_t count, size_t size)
{
    void *p = calloc(count, size);
    if (!p)
        fail("calloc", -ENOMEM);
    return p;
}

static gor_chan *must_chan(size_t elem_size, size_t capacity)
{
    gor_chan *c = gor_chan_new(elem_size, capacity);
    if (!c)
        fail("gor_chan_new", -ENOMEM);
    return c;
}

static void start(bench *b)
{
    b->begin = gor_now();
}

static void stop(bench *b)
{
    b->elapsed += gor_now() - b->begin;
}

static void result(bench *b, int64_t ops, uint64_t check)
{
    b->ops = ops;
    b->check = check;
}

/* The share of n for each of k workers: at least 1, so that a tiny N still runs all of them. */
static int64_t share(int64_t n, int64_t k)
{
    return n < k ? 1 : n / k;
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

/* The whole of a case that is nothing but k workers. */
static void time_workers(bench *b, int k, void (*fn)(void *), void *shared)
{
    gor_wg wg = {0};
    int64_t n = share(b->n, k);

    start(b);
    worker *w = start_workers(&wg, k, fn, shared, n);
    uint64_t sum = join_workers(&wg, k, w);
    stop(b);
    result(b, n * k, sum);
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
    result(b, b->n, sum);
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
    result(b, n * k, sum);
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
    result(b, n * 4, sum);
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
    result(b, b->n, empty);
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

static void ring1000(bench *b)
{
    enum { K = 1000 };
    gor_chan *done = must_chan(sizeof(int64_t), 0);
    ring_member *m = must_alloc(K, sizeof *m);
    gor_wg wg = {0};
    int64_t left = b->n;

    for (int i = 0; i < K; i++)
        m[i] = (ring_member){ must_chan(sizeof left, 0), NULL, done };
    for (int i = 0; i < K; i++) {
        m[i].out = m[(i + 1) % K].in;
        MUST(gor_wg_go(&wg, ring_worker, &m[i]));
    }
    start(b);
    MUST(gor_send(m[0].in, &left));
    MUST(gor_recv(done, &left));
    stop(b);
    result(b, b->n, (uint64_t)(b->n - left));
    for (int i = 0; i < K; i++)
        MUST(gor_chan_close(m[i].in));
    MUST(gor_wg_wait(&wg));
    for (int i = 0; i < K; i++)
        gor_chan_release(m[i].in);
    gor_chan_release(done);
    free(m);
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
    uint64_t sum = 0;

    start(b);
    for (int64_t i = 0; i < b->n; i++)
        MUST(gor_wg_go(&wg, mark, &slot[i]));
    MUST(gor_wg_wait(&wg));
    stop(b);
    for (int64_t i = 0; i < b->n; i++)
        sum += slot[i];
    result(b, b->n, sum);
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
    result(b, b->n, sum);
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
    result(b, rounds * K, sum);
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
    result(b, nodes, (uint64_t)sum);
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

/* Forks that fib_node(n) makes: one in every call with n >= 2, which is fib(n + 1) - 1 of them. */
static int64_t fib_forks(int64_t n)
{
    int64_t low = 0, high = 1;         /* fib(i), fib(i + 1) */
    for (int64_t i = 0; i < n; i++) {
        int64_t next = low + high;
        low = high;
        high = next;
    }
    return high - 1;
}

static void fib(bench *b)
{
    start(b);
    intptr_t sum = (intptr_t)fib_node((void *)(intptr_t)b->n);
    stop(b);
    result(b, fib_forks(b->n), (uint64_t)sum);
}

/* Bit sets over the columns of the next row: all, taken, and attacked along both diagonals. */
typedef struct board {
    uint32_t all, taken, left, right;
} board;

static uint32_t board_free(board b)
{
    return b.all & ~(b.taken | b.left | b.right);
}

static board board_put(board b, uint32_t queen)
{
    return (board){ b.all, b.taken | queen, (b.left | queen) << 1, (b.right | queen) >> 1 };
}

static int64_t queens_count_forks(board b)
{
    int64_t forks = 0;
    for (uint32_t rest = board_free(b); rest; rest &= rest - 1)
        forks += 1 + queens_count_forks(board_put(b, rest & -rest));
    return forks;
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
    if (b->n < 1 || b->n > 16)
        fail("nqueens: N is 1 to 16", -EINVAL);
    board root = { (1u << b->n) - 1, 0, 0, 0 };

    start(b);
    intptr_t found = (intptr_t)queens_node(&root);
    stop(b);
    result(b, queens_count_forks(root), (uint64_t)found);
}

static void scale_range(size_t lo, size_t hi, void *arg)
{
    float *x = arg;
    for (size_t i = lo; i < hi; i++)
        x[i] = x[i] * 0.5f + 1.0f;
}

/* The values are such that floats hold them exactly, fused multiply-add or not. */
static void parallel_for(bench *b)
{
    float *x = must_alloc(b->n, sizeof *x);
    double sum = 0;

    for (int64_t i = 0; i < b->n; i++)
        x[i] = (float)(i & 1023);
    start(b);
    MUST(gor_parallel_for(0, (size_t)b->n, 0, scale_range, x));
    stop(b);
    for (int64_t i = 0; i < b->n; i++)
        sum += x[i];
    result(b, b->n, (uint64_t)sum);
    free(x);
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
    fail("a stopped timer ran", -EINVAL);
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
    result(b, b->n, pending);
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
    result(b, b->n, pending);
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
    uint64_t sum = 0;

    start(b);
    for (int64_t i = 0; i < b->n; i++)
        MUST(gor_wg_go(&wg, sleep_1ms, &slot[i]));
    MUST(gor_wg_wait(&wg));
    stop(b);
    for (int64_t i = 0; i < b->n; i++)
        sum += slot[i];
    result(b, b->n, sum);
    free(slot);
}

static int64_t cpu_ns(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * GOR_SEC +
           (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * GOR_US;
}

static void idle(bench *b)
{
    int64_t before = cpu_ns();
    MUST(gor_sleep(b->n * GOR_MS));
    b->elapsed = cpu_ns() - before;
    result(b, b->n, (uint64_t)(b->elapsed / GOR_US));
}

static int by_value(const void *x, const void *y)
{
    int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;
    return (a > b) - (a < b);
}

static void wakeup(bench *b)
{
    int64_t *late = must_alloc(b->n, sizeof *late);

    for (int64_t i = 0; i < b->n; i++) {
        int64_t due = gor_now() + GOR_MS;
        MUST(gor_sleep(GOR_MS));
        late[i] = gor_now() - due;
    }
    qsort(late, b->n, sizeof *late, by_value);
    b->elapsed = late[b->n / 2];
    snprintf(b->extra, sizeof b->extra, " p50_ns=%" PRId64 " p99_ns=%" PRId64,
             late[b->n / 2], late[b->n * 99 / 100]);
    result(b, 1, (uint64_t)b->n);
    free(late);
}

/* -- many at once ----------------------------------------------------------------------------- */

static void ctx_tree(bench *b)
{
    gor_ctx **c = must_alloc(b->n, sizeof *c);
    uint64_t cancelled = 0;

    start(b);
    for (int64_t i = 0; i < b->n; i++)
        if (!(c[i] = gor_ctx_with_cancel(i ? c[(i - 1) / 10] : gor_ctx_background())))
            fail("gor_ctx_with_cancel", -ENOMEM);
    gor_ctx_cancel(c[0], 0);
    for (int64_t i = 0; i < b->n; i++)
        cancelled += gor_ctx_err(c[i]) == -ECANCELED;
    for (int64_t i = 0; i < b->n; i++)
        gor_ctx_release(c[i]);
    stop(b);
    result(b, b->n, cancelled);
    free(c);
}

static int64_t rss_bytes(void)
{
    long total = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%ld %ld", &total, &resident) != 2)
        fail("/proc/self/statm", -EIO);
    fclose(f);
    return resident * sysconf(_SC_PAGESIZE);
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

static void parked1m(bench *b)
{
    parking p = { .gate = must_chan(0, 0) };
    int64_t before = rss_bytes();

    start(b);
    gor_wg_add(&p.ready, b->n);
    gor_wg_add(&p.ended, b->n);
    for (int64_t i = 0; i < b->n; i++)
        MUST(gor_go(park, &p));
    MUST(gor_wg_wait(&p.ready));
    stop(b);
    int64_t spawn_ns = b->elapsed, bytes = rss_bytes() - before;

    start(b);
    MUST(gor_chan_close(p.gate));
    MUST(gor_wg_wait(&p.ended));
    stop(b);
    snprintf(b->extra, sizeof b->extra,
             " spawn_ns=%" PRId64 " release_ns=%" PRId64 " bytes_per_goroutine=%" PRId64,
             spawn_ns / b->n, (b->elapsed - spawn_ns) / b->n, bytes / b->n);
    result(b, b->n, (uint64_t)b->n);
    gor_chan_release(p.gate);
}

/* -- the table -------------------------------------------------------------------------------- */

typedef struct bench_case {
    const char *name;
    int64_t     default_n;
    void      (*fn)(bench *b);
} bench_case;

/* The comments say what one op is; go/main.go has the same. */
static const bench_case cases[] = {
    { "yield2",        10000000, yield2 },        /* a yield; 2 goroutines                       */
    { "yield1000",      5000000, yield1000 },     /* a yield; 1,000 goroutines                   */
    { "pingpong",       3000000, pingpong },      /* a round trip, two values; two unbuffered    */
    { "oneway",         5000000, oneway },        /* a value, 1 sender to 1 receiver; unbuffered */
    { "buffered",      10000000, buffered },      /* a value, 1 sender to 1 receiver; buffer 128 */
    { "buffered8x8",   10000000, buffered8x8 },   /* a value, 8 to 8, one channel; buffer 128    */
    { "select4",        2000000, select4 },       /* a receive by select; 4 unbuffered, a sender
                                                     on each                                     */
    { "tryrecv_empty", 50000000, tryrecv_empty }, /* a try-receive that finds nothing; buffer 1  */
    { "spawn_wait",     2000000, spawn_wait },    /* a goroutine that stores a byte; all under
                                                     one wait group                              */
    { "spawn_join",     1000000, spawn_join },    /* a goroutine, its result waited for before
                                                     the next is started                         */
    { "fib",                 30, fib },           /* a fork and its join; N is fib's argument    */
    { "skynet",         1000000, skynet },        /* a goroutine, inner nodes and N leaves;
                                                     fan-out 10, a channel per inner node        */
    { "nqueens",             12, nqueens },       /* a fork and its join, one per queen placed;
                                                     N is the size of the board                  */
    { "parallel_for", 100000000, parallel_for },  /* x = x * 0.5 + 1 on one float in memory      */
    { "ring1000",       3000000, ring1000 },      /* a hop in a ring of 1,000; unbuffered        */
    { "mutex",         50000000, mutex },         /* a lock, an increment, an unlock; alone      */
    { "mutex8",        20000000, mutex8 },        /* the same; 8 goroutines                      */
    { "rwmutex",       20000000, rwmutex },       /* a read lock, a read, an unlock; 8 readers   */
    { "wg10000",        2000000, wg10000 },       /* a goroutine that is done; rounds of: add
                                                     10,000, start 10,000, wait                  */
    { "timer",          3000000, timer },         /* a new timer of an hour started and stopped  */
    { "timer_reset",    5000000, timer_reset },   /* one timer set anew to an hour and stopped   */
    { "sleepers",        100000, sleepers },      /* a goroutine started, asleep 1 ms, ended     */
    { "ctx_tree",        100000, ctx_tree },      /* a context made, cancelled through the root,
                                                     looked at, released; fan-out 10             */
    { "parked1m",       1000000, parked1m },      /* a goroutine started, parked on one channel,
                                                     released by close, ended                    */
    { "idle",             10000, idle },          /* CPU time of 1 ms of idleness; N is in ms,
                                                     check is the CPU time in us                 */
    { "wakeup",            1000, wakeup },        /* how late a sleep of 1 ms ends with nothing
                                                     else to run: the median (p50_ns, p99_ns)    */
};

enum { N_CASES = sizeof cases / sizeof cases[0] };

/* -- main ------------------------------------------------------------------------------------- */

static int list(void)
{
    for (int i = 0; i < N_CASES; i++)
        printf("%s %" PRId64 "\n", cases[i].name, cases[i].default_n);
    return 0;
}

static const bench_case *find_case(const char *name)
{
    for (int i = 0; i < N_CASES; i++)
        if (strcmp(cases[i].name, name) == 0)
            return &cases[i];
    return NULL;
}

/* Not getrusage: its peak outlives exec, so it is at least that of the program that started us. */
static long peak_rss_kb(void)
{
    char line[256];
    long kb = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %ld", &kb) == 1)
            break;
    if (f)
        fclose(f);
    return kb;
}

static const bench_case *chosen;

static int run_case(void *arg)
{
    bench *b = arg;
    int procs = gor_procs(0);

    chosen->fn(b);
    printf("case=%s n=%" PRId64 " procs=%d ns_per_op=%.3f rss_kb=%ld check=%" PRIu64 "%s\n",
           chosen->name, b->n, procs, (double)b->elapsed / (double)(b->ops ? b->ops : 1),
           peak_rss_kb(), b->check, b->extra);
    return 0;
}

int main(int argc, char **argv)
{
    bench b = {0};
    gor_options o = {0};

    if (argc == 2 && strcmp(argv[1], "list") == 0)
        return list();
    if (argc < 2 || argc > 4 || !(chosen = find_case(argv[1]))) {
        fprintf(stderr, "usage: bench list | bench CASE [N [PROCS]]\n");
        return 2;
    }
    if (argc > 2)
        b.n = atoll(argv[2]);
    if (argc > 3)
        o.procs = atoi(argv[3]);
    if (b.n < 0 || o.procs < 0) {
        fprintf(stderr, "bench: N and PROCS are 0 or more\n");
        return 2;
    }
    if (b.n == 0)
        b.n = chosen->default_n;
    int rc = gor_run_with(&o, run_case, &b);
    if (rc < 0)
        fail("gor_run_with", rc);
    return rc;
}

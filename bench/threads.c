/* What the same work costs with plain threads and futexes: the price of leaving it to the kernel.
 * Command line and output line: harness.h. What the C library has (mutexes, condition variables,
 * timers) is taken from there; a rendezvous of two threads is a futex, which is the quicker one.
 *
 * Threads have no notion of processors, so PROCS is kept by binding to that many CPUs. */
#define _GNU_SOURCE
#include "harness.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

static void must(const char *what, int err)
{
    if (err)
        bench_die(what, strerror(err));
}

/* Small stacks, so that many threads fit. */
static pthread_t spawn(void *(*fn)(void *), void *arg)
{
    pthread_attr_t attr;
    pthread_t t;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 65536);
    must("pthread_create", pthread_create(&t, &attr, fn, arg));
    pthread_attr_destroy(&attr);
    return t;
}

static void *join(pthread_t t)
{
    void *value;
    must("pthread_join", pthread_join(t, &value));
    return value;
}

/* A thread of a case that starts several alike: does its work n times, leaves its sum. */
typedef struct worker {
    pthread_t thread;
    void     *shared;
    int64_t   n;
    uint64_t  sum;
} worker;

static worker *start_workers(int64_t k, void *(*fn)(void *), void *shared, int64_t n)
{
    worker *w = must_alloc(k, sizeof *w);
    for (int64_t i = 0; i < k; i++) {
        w[i] = (worker){ .shared = shared, .n = n };
        w[i].thread = spawn(fn, &w[i]);
    }
    return w;
}

static uint64_t join_workers(int64_t k, worker *w)
{
    uint64_t sum = 0;
    for (int64_t i = 0; i < k; i++) {
        join(w[i].thread);
        sum += w[i].sum;
    }
    free(w);
    return sum;
}

static void time_workers(bench *b, int64_t k, void *(*fn)(void *), void *shared)
{
    int64_t n = share(b->n, k);

    start(b);
    uint64_t sum = join_workers(k, start_workers(k, fn, shared, n));
    stop(b);
    result(b, n * k, sum, (uint64_t)(n * k));
}

/* -- switching -------------------------------------------------------------------------------- */

static void *yield_worker(void *arg)
{
    worker *w = arg;
    uint64_t yields = 0;
    for (int64_t i = 0; i < w->n; i++) {
        sched_yield();
        yields++;
    }
    w->sum = yields;
    return NULL;
}

static void yield2(bench *b)
{
    time_workers(b, 2, yield_worker, NULL);
}

static void yield1000(bench *b)
{
    time_workers(b, 1000, yield_worker, NULL);
}

/* -- pingpong --------------------------------------------------------------------------------- */

enum { PING, PONG };

/* A value and whose turn it is to take it; the one whose turn it is not sleeps in the kernel. */
typedef struct baton {
    _Atomic uint32_t turn;
    int64_t          value;            /* belongs to the one whose turn it is */
    int64_t          n;
} baton;

static void futex_wait(_Atomic uint32_t *word, uint32_t value)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static int64_t baton_take(baton *b, uint32_t me)
{
    uint32_t turn;
    while ((turn = atomic_load_explicit(&b->turn, memory_order_acquire)) != me)
        futex_wait(&b->turn, turn);
    return b->value;
}

static void baton_give(baton *b, uint32_t to, int64_t value)
{
    b->value = value;
    atomic_store_explicit(&b->turn, to, memory_order_release);
    futex_wake(&b->turn);
}

static void *echo(void *arg)
{
    baton *b = arg;
    for (int64_t i = 0; i < b->n; i++)
        baton_give(b, PING, baton_take(b, PONG));
    return NULL;
}

static void pingpong(bench *b)
{
    baton baton = { .turn = PING, .n = b->n };
    pthread_t t = spawn(echo, &baton);
    uint64_t sum = 0;

    start(b);
    for (int64_t i = 0; i < b->n; i++) {
        baton_give(&baton, PONG, i);
        sum += (uint64_t)baton_take(&baton, PING);
    }
    stop(b);
    result(b, b->n, sum, sum_below(b->n));
    join(t);
}

/* -- a bounded queue -------------------------------------------------------------------------- */

enum { CAP = 128 };

typedef struct queue {
    pthread_mutex_t mutex;
    pthread_cond_t  not_empty, not_full;
    int64_t         slot[CAP];
    size_t          first, count;
    bool            closed;
} queue;

static void queue_send(queue *q, int64_t v)
{
    pthread_mutex_lock(&q->mutex);
    while (q->count == CAP)
        pthread_cond_wait(&q->not_full, &q->mutex);
    q->slot[(q->first + q->count++) % CAP] = v;
    pthread_cond_signal(&q->not_empty);
    pthread_mutex_unlock(&q->mutex);
}

static bool queue_recv(queue *q, int64_t *v)
{
    bool got;
    pthread_mutex_lock(&q->mutex);
    while (q->count == 0 && !q->closed)
        pthread_cond_wait(&q->not_empty, &q->mutex);
    got = q->count > 0;
    if (got) {
        *v = q->slot[q->first];
        q->first = (q->first + 1) % CAP;
        q->count--;
        pthread_cond_signal(&q->not_full);
    }
    pthread_mutex_unlock(&q->mutex);
    return got;
}

static void *send_worker(void *arg)
{
    worker *w = arg;
    for (int64_t i = 0; i < w->n; i++)
        queue_send(w->shared, i);
    return NULL;
}

static void *recv_worker(void *arg)
{
    worker *w = arg;
    uint64_t sum = 0;
    int64_t v;
    while (queue_recv(w->shared, &v))
        sum += (uint64_t)v;
    w->sum = sum;
    return NULL;
}

static void stream(bench *b, int k)
{
    queue q = { .mutex = PTHREAD_MUTEX_INITIALIZER, .not_empty = PTHREAD_COND_INITIALIZER,
                .not_full = PTHREAD_COND_INITIALIZER };
    int64_t n = share(b->n, k);

    start(b);
    worker *r = start_workers(k, recv_worker, &q, 0);
    worker *s = start_workers(k, send_worker, &q, n);
    join_workers(k, s);
    pthread_mutex_lock(&q.mutex);
    q.closed = true;
    pthread_cond_broadcast(&q.not_empty);
    pthread_mutex_unlock(&q.mutex);
    uint64_t sum = join_workers(k, r);
    stop(b);
    result(b, n * k, sum, (uint64_t)k * sum_below(n));
}

static void buffered(bench *b)
{
    stream(b, 1);
}

static void buffered8x8(bench *b)
{
    stream(b, 8);
}

/* -- threads ---------------------------------------------------------------------------------- */

static void *mark(void *arg)
{
    *(uint8_t *)arg = 1;
    return NULL;
}

static void spawn_wait(bench *b)
{
    uint8_t *slot = must_alloc(b->n, 1);
    pthread_t *t = must_alloc(b->n, sizeof *t);

    start(b);
    for (int64_t i = 0; i < b->n; i++)
        t[i] = spawn(mark, &slot[i]);
    for (int64_t i = 0; i < b->n; i++)
        join(t[i]);
    stop(b);
    result(b, b->n, sum_bytes(slot, b->n), (uint64_t)b->n);
    free(t);
    free(slot);
}

static void *add_one(void *arg)
{
    *(int64_t *)arg += 1;
    return NULL;
}

static void spawn_join(bench *b)
{
    uint64_t sum = 0;

    start(b);
    for (int64_t i = 0; i < b->n; i++) {
        int64_t v = i;
        join(spawn(add_one, &v));
        sum += (uint64_t)v;
    }
    stop(b);
    result(b, b->n, sum, sum_below(b->n + 1));
}

typedef struct part {
    pthread_t thread;
    float    *x;
    size_t    lo, hi;
} part;

static void *scale_part(void *arg)
{
    part *p = arg;
    floats_scale(p->x, p->lo, p->hi);
    return NULL;
}

static void parallel_for(bench *b)
{
    float *x = floats_new(b->n);
    size_t k = (size_t)b->procs, n = (size_t)b->n;
    part *p = must_alloc(b->procs, sizeof *p);

    start(b);
    for (size_t i = 0; i < k; i++) {
        p[i] = (part){ .x = x, .lo = i * n / k, .hi = (i + 1) * n / k };
        p[i].thread = spawn(scale_part, &p[i]);
    }
    for (size_t i = 0; i < k; i++)
        join(p[i].thread);
    stop(b);
    floats_result(b, x);
    free(p);
}

/* -- locks ------------------------------------------------------------------------------------ */

typedef struct guarded {
    pthread_mutex_t  mutex;
    pthread_rwlock_t rwlock;
    uint64_t         value;
} guarded;

static void *mutex_worker(void *arg)
{
    worker *w = arg;
    guarded *g = w->shared;
    for (int64_t i = 0; i < w->n; i++) {
        pthread_mutex_lock(&g->mutex);
        g->value++;
        pthread_mutex_unlock(&g->mutex);
    }
    w->sum = (uint64_t)w->n;
    return NULL;
}

static void *rwmutex_worker(void *arg)
{
    worker *w = arg;
    guarded *g = w->shared;
    uint64_t sum = 0;
    for (int64_t i = 0; i < w->n; i++) {
        pthread_rwlock_rdlock(&g->rwlock);
        sum += g->value;
        pthread_rwlock_unlock(&g->rwlock);
    }
    w->sum = sum;
    return NULL;
}

/* In threads of their own even for one: glibc's mutex is no real lock before the first thread. */
static void mutex_by(bench *b, int k)
{
    guarded g = { .mutex = PTHREAD_MUTEX_INITIALIZER };
    time_workers(b, k, mutex_worker, &g);
    b->check = g.value;
}

static void mutex(bench *b)
{
    mutex_by(b, 1);
}

static void mutex8(bench *b)
{
    mutex_by(b, 8);
}

static void rwmutex(bench *b)
{
    guarded g = { .rwlock = PTHREAD_RWLOCK_INITIALIZER, .value = 1 };
    time_workers(b, 8, rwmutex_worker, &g);
}

/* -- time ------------------------------------------------------------------------------------- */

static const struct itimerspec an_hour = { .it_value.tv_sec = 3600 }, off;

static uint64_t timer_cycle(int fd)
{
    struct itimerspec before;
    must("timerfd_settime", timerfd_settime(fd, 0, &an_hour, NULL) ? errno : 0);
    must("timerfd_settime", timerfd_settime(fd, 0, &off, &before) ? errno : 0);
    return before.it_value.tv_sec > 3000;
}

static int timer_new(void)
{
    int fd = timerfd_create(CLOCK_MONOTONIC, 0);
    if (fd < 0)
        must("timerfd_create", errno);
    return fd;
}

static void timer(bench *b)
{
    uint64_t pending = 0;

    start(b);
    for (int64_t i = 0; i < b->n; i++) {
        int fd = timer_new();
        pending += timer_cycle(fd);
        close(fd);
    }
    stop(b);
    result(b, b->n, pending, (uint64_t)b->n);
}

static void timer_reset(bench *b)
{
    uint64_t pending = 0;
    int fd = timer_new();

    start(b);
    for (int64_t i = 0; i < b->n; i++)
        pending += timer_cycle(fd);
    stop(b);
    result(b, b->n, pending, (uint64_t)b->n);
    close(fd);
}

static void sleep_ns(int64_t ns)
{
    struct timespec t = { ns / BENCH_SEC, ns % BENCH_SEC };
    clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
}

static void *sleep_1ms(void *arg)
{
    worker *w = arg;
    int64_t begin = bench_now();
    sleep_ns(BENCH_MS);
    w->sum = bench_now() - begin >= BENCH_MS;
    return NULL;
}

static void sleepers(bench *b)
{
    time_workers(b, b->n, sleep_1ms, NULL);
}

static void idle(bench *b)
{
    int64_t before = cpu_ns();
    sleep_ns(b->n * BENCH_MS);
    idle_result(b, before);
}

static void wakeup(bench *b)
{
    int64_t *late = must_alloc(b->n, sizeof *late);

    for (int64_t i = 0; i < b->n; i++) {
        int64_t due = bench_now() + BENCH_MS;
        sleep_ns(BENCH_MS);
        late[i] = bench_now() - due;
    }
    late_result(b, late);
}

/* -- many at once ----------------------------------------------------------------------------- */

typedef struct parking {
    pthread_barrier_t ready;
    pthread_rwlock_t  gate;            /* write-locked until all are let go */
} parking;

static void *park(void *arg)
{
    worker *w = arg;
    parking *p = w->shared;
    pthread_barrier_wait(&p->ready);
    pthread_rwlock_rdlock(&p->gate);
    pthread_rwlock_unlock(&p->gate);
    w->sum = 1;
    return NULL;
}

static void parked1m(bench *b)
{
    parking p;
    int64_t before = rss_bytes();

    must("pthread_barrier_init", pthread_barrier_init(&p.ready, NULL, (unsigned)b->n + 1));
    must("pthread_rwlock_init", pthread_rwlock_init(&p.gate, NULL));
    pthread_rwlock_wrlock(&p.gate);
    start(b);
    worker *w = start_workers(b->n, park, &p, 1);
    pthread_barrier_wait(&p.ready);
    stop(b);
    int64_t spawn_ns = b->elapsed, bytes = rss_bytes() - before;

    start(b);
    pthread_rwlock_unlock(&p.gate);
    uint64_t sum = join_workers(b->n, w);
    stop(b);
    parked_result(b, spawn_ns, bytes, sum);
}

/* -- the table -------------------------------------------------------------------------------- */

/* Smaller N than in bench.c where an op takes far longer; bench.c says what an op is. */
static const bench_case cases[] = {
    { "yield2",       1000000, yield2 },
    { "yield1000",    1000000, yield1000 },
    { "pingpong",      100000, pingpong },
    { "buffered",     2000000, buffered },
    { "buffered8x8",  2000000, buffered8x8 },
    { "spawn_wait",     10000, spawn_wait },
    { "spawn_join",     50000, spawn_join },
    { "parallel_for", 100000000, parallel_for },
    { "mutex",       50000000, mutex },
    { "mutex8",      20000000, mutex8 },
    { "rwmutex",     20000000, rwmutex },
    { "timer",         200000, timer },                /* of the kernel: timerfd */
    { "timer_reset",  1000000, timer_reset },
    { "sleepers",        2000, sleepers },
    { "parked1m",        5000, parked1m },
    { "idle",           10000, idle },
    { "wakeup",          1000, wakeup },
};

/* Bind to the first n of the CPUs allowed; n 0: to all. Returns how many that are. */
static int bind_cpus(int n)
{
    cpu_set_t allowed, chosen;
    int kept = 0;

    if (sched_getaffinity(0, sizeof allowed, &allowed))
        must("sched_getaffinity", errno);
    CPU_ZERO(&chosen);
    for (int cpu = 0; cpu < CPU_SETSIZE && (n == 0 || kept < n); cpu++)
        if (CPU_ISSET(cpu, &allowed)) {
            CPU_SET(cpu, &chosen);
            kept++;
        }
    if (sched_setaffinity(0, sizeof chosen, &chosen))
        must("sched_setaffinity", errno);
    return kept;
}

static void run(bench *b, void (*fn)(bench *b))
{
    b->procs = bind_cpus(b->procs);
    fn(b);
}

int main(int argc, char **argv)
{
    return bench_main(argc, argv, cases, sizeof cases / sizeof cases[0], run);
}

/* What the same work costs with plain threads and futexes: the price of leaving it to the kernel.
 * Cases, command line and output line are those of bench.c, which says what an op is.
 *
 *     floor list               the cases, each with its default N
 *     floor CASE [N [PROCS]]   run one; N 0: the case's default; PROCS 0: every CPU allowed
 *
 * Threads have no notion of processors, so PROCS is kept by binding to that many CPUs. */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

typedef struct bench {
    int64_t  n;                        /* in: how much work                                      */
    int64_t  begin;                    /* ns, while the clock runs                               */
    int64_t  elapsed;                  /* ns on the clock                                        */
    int64_t  ops;                      /* out: what ns_per_op divides by                         */
    uint64_t check;                    /* out: a sum over the results                            */
} bench;

static void fail(const char *what, int err)
{
    fprintf(stderr, "floor: %s: %s\n", what, strerror(err));
    exit(1);
}

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void start(bench *b)
{
    b->begin = now();
}

static void stop(bench *b, int64_t ops, uint64_t check)
{
    b->elapsed = now() - b->begin;
    b->ops = ops;
    b->check = check;
}

static pthread_t spawn(void *(*fn)(void *), void *arg)
{
    pthread_t t;
    int err = pthread_create(&t, NULL, fn, arg);
    if (err)
        fail("pthread_create", err);
    return t;
}

static void *join(pthread_t t)
{
    void *value;
    int err = pthread_join(t, &value);
    if (err)
        fail("pthread_join", err);
    return value;
}

/* -- pingpong --------------------------------------------------------------------------------- */

enum { PING, PONG };

/* A value and whose turn it is to take it; the one whose turn it is not sleeps in the kernel. */
typedef struct baton {
    _Atomic uint32_t turn;
    int64_t          value;            /* belongs to the one whose turn it is */
    int64_t          n;
} baton;

static int64_t baton_take(baton *b, uint32_t me)
{
    uint32_t turn;
    while ((turn = atomic_load_explicit(&b->turn, memory_order_acquire)) != me)
        syscall(SYS_futex, &b->turn, FUTEX_WAIT_PRIVATE, turn, NULL, NULL, 0);
    return b->value;
}

static void baton_give(baton *b, uint32_t to, int64_t value)
{
    b->value = value;
    atomic_store_explicit(&b->turn, to, memory_order_release);
    syscall(SYS_futex, &b->turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
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
    stop(b, b->n, sum);
    join(t);
}

/* -- mutex ------------------------------------------------------------------------------------ */

typedef struct guarded {
    pthread_mutex_t mutex;
    uint64_t        value;
    int64_t         n;                 /* for each thread */
} guarded;

static void *mutex_worker(void *arg)
{
    guarded *g = arg;
    for (int64_t i = 0; i < g->n; i++) {
        pthread_mutex_lock(&g->mutex);
        g->value++;
        pthread_mutex_unlock(&g->mutex);
    }
    return NULL;
}

/* In threads of their own even for one: glibc's mutex is no real lock before the first thread. */
static void mutex_by(bench *b, int k)
{
    guarded g = { .mutex = PTHREAD_MUTEX_INITIALIZER, .n = b->n < k ? 1 : b->n / k };
    pthread_t t[8];

    start(b);
    for (int i = 0; i < k; i++)
        t[i] = spawn(mutex_worker, &g);
    for (int i = 0; i < k; i++)
        join(t[i]);
    stop(b, g.n * k, g.value);
}

static void mutex(bench *b)
{
    mutex_by(b, 1);
}

static void mutex8(bench *b)
{
    mutex_by(b, 8);
}

/* -- spawn_join ------------------------------------------------------------------------------- */

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
    stop(b, b->n, sum);
}

/* -- main ------------------------------------------------------------------------------------- */

typedef struct bench_case {
    const char *name;
    int64_t     default_n;             /* smaller than in bench.c where an op takes far longer */
    void      (*fn)(bench *b);
} bench_case;

static const bench_case cases[] = {
    { "pingpong",    100000, pingpong },   /* a round trip, two values                           */
    { "spawn_join",   50000, spawn_join }, /* a thread, its result waited for before the next    */
    { "mutex",     50000000, mutex },      /* a lock, an increment, an unlock; alone             */
    { "mutex8",    20000000, mutex8 },     /* the same; 8 threads                                */
};

enum { N_CASES = sizeof cases / sizeof cases[0] };

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

/* Bind to the first n of the CPUs allowed; n 0: to all. Returns how many that are. */
static int bind_cpus(int n)
{
    cpu_set_t allowed, chosen;
    int kept = 0;

    if (sched_getaffinity(0, sizeof allowed, &allowed))
        fail("sched_getaffinity", errno);
    CPU_ZERO(&chosen);
    for (int cpu = 0; cpu < CPU_SETSIZE && (n == 0 || kept < n); cpu++)
        if (CPU_ISSET(cpu, &allowed)) {
            CPU_SET(cpu, &chosen);
            kept++;
        }
    if (sched_setaffinity(0, sizeof chosen, &chosen))
        fail("sched_setaffinity", errno);
    return kept;
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

int main(int argc, char **argv)
{
    const bench_case *c;
    bench b = {0};

    if (argc == 2 && strcmp(argv[1], "list") == 0)
        return list();
    if (argc < 2 || argc > 4 || !(c = find_case(argv[1]))) {
        fprintf(stderr, "usage: floor list | floor CASE [N [PROCS]]\n");
        return 2;
    }
    if (argc > 2)
        b.n = atoll(argv[2]);
    if (b.n <= 0)
        b.n = c->default_n;
    int procs = bind_cpus(argc > 3 ? atoi(argv[3]) : 0);
    c->fn(&b);
    printf("case=%s n=%" PRId64 " procs=%d ns_per_op=%.3f rss_kb=%ld check=%" PRIu64 "\n",
           c->name, b.n, procs, (double)b.elapsed / (double)b.ops, peak_rss_kb(), b.check);
    return 0;
}

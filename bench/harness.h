/* What the benchmark programs in C and C++ share: command line, clock, output line.
 *
 *     PROGRAM list               the cases, each with its default N
 *     PROGRAM CASE [N [PROCS]]   run one; N 0: the case's default; PROCS 0: the runtime's default
 *
 * A case makes what it needs, starts the clock, works, stops the clock, and says what it computed
 * and what that must have been: so no compiler drops the work, and a wrong result is no time.
 * Exit status: 0; 1 wrong or failed; 2 wrong usage; 3 this runtime has no such case. */
#ifndef BENCH_HARNESS_H
#define BENCH_HARNESS_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { BENCH_NO_SUCH_CASE = 3 };

typedef struct bench {
    int64_t  n;                        /* in: how much work                                      */
    int      procs;                    /* in: 0 the runtime's default; out: how many it had      */
    int64_t  begin;                    /* ns, while the clock runs                               */
    int64_t  elapsed;                  /* ns on the clock so far                                 */
    int64_t  ops;                      /* out: what ns_per_op divides by                         */
    uint64_t check, want;              /* out: a sum over the results, and what it must be       */
    char     extra[128];               /* out: more " key=value" for the end of the line         */
} bench;

typedef struct bench_case {
    const char *name;
    int64_t     default_n;
    void      (*fn)(bench *b);
} bench_case;

#define BENCH_SEC INT64_C(1000000000)
#define BENCH_MS  INT64_C(1000000)

static void bench_die(const char *what, const char *why)
{
    fprintf(stderr, "bench: %s: %s\n", what, why);
    exit(1);
}

/* The monotonic clock; ns. */
static inline int64_t bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * BENCH_SEC + t.tv_nsec;
}

static inline void start(bench *b)
{
    b->begin = bench_now();
}

static inline void stop(bench *b)
{
    b->elapsed += bench_now() - b->begin;
}

static inline void result(bench *b, int64_t ops, uint64_t check, uint64_t want)
{
    b->ops = ops;
    b->check = check;
    b->want = want;
}

/* A case of a fixed size that is short is done again until its clock has run for a while. */
static inline bool enough(const bench *b)
{
    return b->elapsed >= 100 * BENCH_MS;
}

static inline void *must_alloc(int64_t count, size_t size)
{
    void *p = calloc((size_t)count, size);
    if (!p)
        bench_die("calloc", "out of memory");
    return p;
}

/* The share of n for each of k workers: at least 1, so that a tiny N still runs all of them. */
static inline int64_t share(int64_t n, int64_t k)
{
    return n < k ? 1 : n / k;
}

/* How often each of n does its work in a growth case: about `total` in all, and for few of them
 * not more than `most` times, so that a tiny N is quick. */
static inline int64_t turns(int64_t n, int64_t total, int64_t least, int64_t most)
{
    int64_t each = total / n;
    return each < least ? least : each > most ? most : each;
}

/* -- what the results must be ------------------------------------------------------------------ */

static inline uint64_t sum_below(int64_t n)        /* 0 + 1 + ... + n - 1 */
{
    return n < 1 ? 0 : (uint64_t)n * (uint64_t)(n - 1) / 2;
}

static inline uint64_t sum_bytes(const uint8_t *slot, int64_t n)
{
    uint64_t sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += slot[i];
    return sum;
}

static inline int64_t fib_value(int64_t n)
{
    int64_t low = 0, high = 1;                     /* fib(i), fib(i + 1) */
    for (int64_t i = 0; i < n; i++) {
        int64_t next = low + high;
        low = high;
        high = next;
    }
    return low;
}

/* Forks that fib(n) makes: one in every call with n >= 2, which is fib(n + 1) - 1 of them. */
static inline int64_t fib_forks(int64_t n)
{
    return fib_value(n + 1) - 1;
}

/* -- the queens ------------------------------------------------------------------------------- */

/* Bit sets over the columns of the next row: all, taken, and attacked along both diagonals. */
typedef struct board {
    uint32_t all, taken, left, right;
} board;

static inline board board_of(int64_t n)
{
    board b = { 0, 0, 0, 0 };
    if (n < 1 || n > 16)
        bench_die("nqueens", "N is 1 to 16");
    b.all = (1u << n) - 1;
    return b;
}

static inline uint32_t board_free(board b)
{
    return b.all & ~(b.taken | b.left | b.right);
}

static inline board board_put(board b, uint32_t queen)
{
    board next = { b.all, b.taken | queen, (b.left | queen) << 1, (b.right | queen) >> 1 };
    return next;
}

static inline int64_t queens_count_forks(board b)
{
    int64_t forks = 0;
    for (uint32_t rest = board_free(b); rest; rest &= rest - 1)
        forks += 1 + queens_count_forks(board_put(b, rest & -rest));
    return forks;
}

static inline uint64_t queens_value(int64_t n)
{
    static const uint32_t found[] = { 1, 1, 0, 0, 2, 10, 4, 40, 92, 352, 724, 2680, 14200, 73712,
                                      365596, 2279184, 14772512 };
    return found[n];
}

/* -- the floats ------------------------------------------------------------------------------- */

/* Values such that floats hold every result exactly, fused multiply-add or not. */
static inline float *floats_new(int64_t n)
{
    float *x = (float *)must_alloc(n, sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(i & 1023);
    return x;
}

static inline void floats_scale(float *x, size_t lo, size_t hi)
{
    for (size_t i = lo; i < hi; i++)
        x[i] = x[i] * 0.5f + 1.0f;
}

/* Sums x up, says whether that is right, and frees it. */
static inline void floats_result(bench *b, float *x)
{
    double sum = 0;
    uint64_t before = 0;
    for (int64_t i = 0; i < b->n; i++) {
        sum += x[i];
        before += (uint64_t)(i & 1023);
    }
    result(b, b->n, (uint64_t)(2 * sum), before + 2 * (uint64_t)b->n);
    free(x);
}

/* -- memory and CPU time ---------------------------------------------------------------------- */

static inline int64_t rss_bytes(void)
{
    long total = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%ld %ld", &total, &resident) != 2)
        bench_die("/proc/self/statm", "not readable");
    fclose(f);
    return (int64_t)resident * sysconf(_SC_PAGESIZE);
}

/* Not getrusage: its peak outlives exec, so it is at least that of the program that started us. */
static inline long peak_rss_kb(void)
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

static inline int64_t cpu_ns(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (int64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * BENCH_SEC +
           (int64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000;
}

/* The CPU time that b->n ms of idleness took; `before` is cpu_ns() at their beginning. */
static inline void idle_result(bench *b, int64_t before)
{
    b->elapsed = cpu_ns() - before;
    result(b, b->n, (uint64_t)b->n, (uint64_t)b->n);
}

static inline int bench_by_value(const void *x, const void *y)
{
    int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;
    return (a > b) - (a < b);
}

/* The median of b->n lates is the result; frees them. None may be early. */
static inline void late_result(bench *b, int64_t *late)
{
    uint64_t on_time = 0;
    qsort(late, (size_t)b->n, sizeof *late, bench_by_value);
    for (int64_t i = 0; i < b->n; i++)
        on_time += late[i] >= 0;
    b->elapsed = late[b->n / 2];
    snprintf(b->extra, sizeof b->extra, " p50_ns=%" PRId64 " p99_ns=%" PRId64,
             late[b->n / 2], late[b->n * 99 / 100]);
    result(b, 1, on_time, (uint64_t)b->n);
    free(late);
}

/* Time to start and park, time to release, memory of each. */
static inline void parked_result(bench *b, int64_t spawn_ns, int64_t bytes, uint64_t check)
{
    snprintf(b->extra, sizeof b->extra,
             " spawn_ns=%" PRId64 " release_ns=%" PRId64 " bytes_per_goroutine=%" PRId64,
             spawn_ns / b->n, (b->elapsed - spawn_ns) / b->n, bytes / b->n);
    result(b, b->n, check, (uint64_t)b->n);
}

/* -- main ------------------------------------------------------------------------------------- */

static inline const bench_case *bench_find(const bench_case *cases, int n_cases, const char *name)
{
    for (int i = 0; i < n_cases; i++)
        if (strcmp(cases[i].name, name) == 0)
            return &cases[i];
    return NULL;
}

static inline int64_t bench_count(const char *text)
{
    char *end;
    long long v = strtoll(text, &end, 10);
    if (*end || end == text || v < 0) {
        fprintf(stderr, "bench: N and PROCS are 0 or more\n");
        exit(2);
    }
    return v;
}

/* The whole of main. `run` calls fn(b) inside the runtime, on b->procs processors, and leaves in
 * b->procs how many there were. */
static inline int bench_main(int argc, char **argv, const bench_case *cases, int n_cases,
                             void (*run)(bench *b, void (*fn)(bench *b)))
{
    bench b;
    const bench_case *c;

    if (argc == 2 && strcmp(argv[1], "list") == 0) {
        for (int i = 0; i < n_cases; i++)
            printf("%s %" PRId64 "\n", cases[i].name, cases[i].default_n);
        return 0;
    }
    if (argc < 2 || argc > 4) {
        fprintf(stderr, "usage: %s list | %s CASE [N [PROCS]]\n", argv[0], argv[0]);
        return 2;
    }
    c = bench_find(cases, n_cases, argv[1]);
    if (!c) {
        fprintf(stderr, "bench: no case %s here\n", argv[1]);
        return BENCH_NO_SUCH_CASE;
    }
    memset(&b, 0, sizeof b);
    b.n = argc > 2 ? bench_count(argv[2]) : 0;
    b.procs = argc > 3 ? (int)bench_count(argv[3]) : 0;
    if (b.n == 0)
        b.n = c->default_n;
    run(&b, c->fn);
    if (b.check != b.want) {
        fprintf(stderr, "bench: %s: wrong result %" PRIu64 ", not %" PRIu64 "\n", c->name, b.check,
                b.want);
        return 1;
    }
    printf("case=%s n=%" PRId64 " procs=%d ns_per_op=%.3f rss_kb=%ld check=%" PRIu64 "%s\n",
           c->name, b.n, b.procs, (double)b.elapsed / (double)(b.ops ? b.ops : 1), peak_rss_kb(),
           b.check, b.extra);
    return 0;
}

#endif /* BENCH_HARNESS_H */

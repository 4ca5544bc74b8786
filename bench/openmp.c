/* The fork-join cases of bench.c by OpenMP: a parallel loop, and tasks. Command line and output
 * line: harness.h. */
#define _GNU_SOURCE
#include "harness.h"

#include <omp.h>

/* fn(b) by one thread of a team of b->procs; the others take its tasks. */
static void in_team(bench *b, void (*fn)(bench *b))
{
#pragma omp parallel num_threads(b->procs)
#pragma omp single
    fn(b);
}

/* -- fork-join -------------------------------------------------------------------------------- */

static int64_t fib_node(int64_t n)
{
    int64_t left, right;
    if (n < 2)
        return n;
#pragma omp task shared(left)
    left = fib_node(n - 1);
    right = fib_node(n - 2);
#pragma omp taskwait
    return left + right;
}

static void fib_team(bench *b)
{
    int64_t sum, forks = 0;

    do {
        start(b);
        sum = fib_node(b->n);
        stop(b);
        forks += fib_forks(b->n);
    } while (!enough(b));
    result(b, forks, (uint64_t)sum, (uint64_t)fib_value(b->n));
}

static void fib(bench *b)
{
    in_team(b, fib_team);
}

static uint64_t queens_node(board here)
{
    uint64_t part[16], found = 0;
    int n = 0;

    if (here.taken == here.all)
        return 1;
    for (uint32_t rest = board_free(here); rest; rest &= rest - 1, n++) {
        board next = board_put(here, rest & -rest);
#pragma omp task shared(part) firstprivate(next, n)
        part[n] = queens_node(next);
    }
#pragma omp taskwait
    while (n > 0)
        found += part[--n];
    return found;
}

static void nqueens_team(bench *b)
{
    board root = board_of(b->n);
    uint64_t found;
    int64_t forks = 0, each = queens_count_forks(root);

    do {
        start(b);
        found = queens_node(root);
        stop(b);
        forks += each;
    } while (!enough(b));
    result(b, forks, found, queens_value(b->n));
}

static void nqueens(bench *b)
{
    in_team(b, nqueens_team);
}

/* The team exists before the clock starts, as the processors of a runtime do. */
static void parallel_for(bench *b)
{
    float *x = floats_new(b->n);

#pragma omp parallel num_threads(b->procs)
    __asm__ volatile("" ::: "memory");
    start(b);
#pragma omp parallel for num_threads(b->procs) schedule(static)
    for (int64_t i = 0; i < b->n; i++)
        x[i] = x[i] * 0.5f + 1.0f;
    stop(b);
    floats_result(b, x);
}

/* -- tasks ------------------------------------------------------------------------------------ */

static void spawn_wait_team(bench *b)
{
    uint8_t *slot = must_alloc(b->n, 1);

    start(b);
    for (int64_t i = 0; i < b->n; i++) {
#pragma omp task firstprivate(i)
        slot[i] = 1;
    }
#pragma omp taskwait
    stop(b);
    result(b, b->n, sum_bytes(slot, b->n), (uint64_t)b->n);
    free(slot);
}

static void spawn_wait(bench *b)
{
    in_team(b, spawn_wait_team);
}

static void spawn_join_team(bench *b)
{
    uint64_t sum = 0;

    start(b);
    for (int64_t i = 0; i < b->n; i++) {
        int64_t v = i;
#pragma omp task shared(v)
        v++;
#pragma omp taskwait
        sum += (uint64_t)v;
    }
    stop(b);
    result(b, b->n, sum, sum_below(b->n + 1));
}

static void spawn_join(bench *b)
{
    in_team(b, spawn_join_team);
}

/* -- the table -------------------------------------------------------------------------------- */

static const bench_case cases[] = {    /* bench.c says what an op is */
    { "spawn_wait",     2000000, spawn_wait },
    { "spawn_join",     1000000, spawn_join },
    { "fib",                 30, fib },
    { "nqueens",             12, nqueens },
    { "parallel_for", 100000000, parallel_for },
};

static void run(bench *b, void (*fn)(bench *b))
{
    if (b->procs == 0)
        b->procs = omp_get_max_threads();
    fn(b);
}

int main(int argc, char **argv)
{
    return bench_main(argc, argv, cases, sizeof cases / sizeof cases[0], run);
}

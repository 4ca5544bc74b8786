/* The fork-join cases of bench.c by oneTBB. Command line and output line: harness.h. */
#include "harness.h"

#include <tbb/blocked_range.h>
#include <tbb/global_control.h>
#include <tbb/info.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>
#include <tbb/task_group.h>

/* -- fork-join -------------------------------------------------------------------------------- */

static int64_t fib_node(int64_t n)
{
    if (n < 2)
        return n;
    int64_t left;
    tbb::task_group group;
    group.run([&left, n] { left = fib_node(n - 1); });
    int64_t right = fib_node(n - 2);
    group.wait();
    return left + right;
}

static void fib(bench *b)
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

static uint64_t queens_node(board here)
{
    uint64_t part[16], found = 0;
    int n = 0;

    if (here.taken == here.all)
        return 1;
    tbb::task_group group;
    for (uint32_t rest = board_free(here); rest; rest &= rest - 1, n++) {
        board next = board_put(here, rest & -rest);
        group.run([next, out = &part[n]] { *out = queens_node(next); });
    }
    group.wait();
    while (n > 0)
        found += part[--n];
    return found;
}

static void nqueens(bench *b)
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

static void parallel_for(bench *b)
{
    float *x = floats_new(b->n);

    start(b);
    tbb::parallel_for(tbb::blocked_range<size_t>(0, (size_t)b->n),
                      [x](const tbb::blocked_range<size_t> &r) {
                          floats_scale(x, r.begin(), r.end());
                      });
    stop(b);
    floats_result(b, x);
}

/* -- tasks ------------------------------------------------------------------------------------ */

static void spawn_wait(bench *b)
{
    uint8_t *slot = static_cast<uint8_t *>(must_alloc(b->n, 1));
    tbb::task_group group;

    start(b);
    for (int64_t i = 0; i < b->n; i++)
        group.run([at = &slot[i]] { *at = 1; });
    group.wait();
    stop(b);
    result(b, b->n, sum_bytes(slot, b->n), (uint64_t)b->n);
    free(slot);
}

static void spawn_join(bench *b)
{
    uint64_t sum = 0;

    start(b);
    for (int64_t i = 0; i < b->n; i++) {
        int64_t v = i;
        tbb::task_group group;
        group.run([&v] { v++; });
        group.wait();
        sum += (uint64_t)v;
    }
    stop(b);
    result(b, b->n, sum, sum_below(b->n + 1));
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
        b->procs = tbb::info::default_concurrency();
    tbb::global_control limit(tbb::global_control::max_allowed_parallelism, (size_t)b->procs);
    tbb::task_arena arena(b->procs);
    arena.execute([=] { fn(b); });
}

int main(int argc, char **argv)
{
    return bench_main(argc, argv, cases, sizeof cases / sizeof cases[0], run);
}

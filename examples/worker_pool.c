/* worker_pool: three workers share one queue of jobs; results come back in any order.
 * Closing the queue is how the workers learn that no job will follow.
 * Build: cc -O2 examples/worker_pool.c -I. -pthread */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <stdio.h>

enum { WORKERS = 3, JOBS = 12 };

struct pool {
    gor_chan *jobs;                    /* int: a number            */
    gor_chan *results;                 /* struct result            */
};

struct result {
    int n;
    int steps;
};

static void must(int rc)
{
    if (rc != 0)
        gor_panic("worker_pool: %s", gor_strerror(rc));
}

/* How many steps the Collatz sequence takes from n to 1. */
static int collatz(long n)
{
    int steps = 0;

    for (; n != 1; steps++)
        n = n % 2 == 0 ? n / 2 : 3 * n + 1;
    return steps;
}

static void worker(void *arg)
{
    struct pool *p = arg;
    int n;

    while (gor_recv(p->jobs, &n) == 0) {
        struct result r = { .n = n, .steps = collatz(n) };
        must(gor_send(p->results, &r));
    }
}

GOR_MAIN
{
    struct pool p = { gor_chan_new(sizeof(int), JOBS), gor_chan_new(sizeof(struct result), JOBS) };
    int steps[JOBS + 1] = {0};
    gor_wg wg = {0};

    if (p.jobs == NULL || p.results == NULL)
        return 1;
    for (int i = 0; i < WORKERS; i++)
        must(gor_wg_go(&wg, worker, &p));
    for (int n = 1; n <= JOBS; n++)
        must(gor_send(p.jobs, &n));
    must(gor_chan_close(p.jobs));

    for (int i = 0; i < JOBS; i++) {
        struct result r;
        must(gor_recv(p.results, &r));
        steps[r.n] = r.steps;
    }
    must(gor_wg_wait(&wg));

    for (int n = 1; n <= JOBS; n++)
        printf("%2d: %2d steps\n", n, steps[n]);
    gor_chan_release(p.jobs);
    gor_chan_release(p.results);
    return 0;
}

/* rate_limiter: a token bucket. Either ask whether a request may pass now, or wait for its turn.
 * Build: cc -O2 examples/rate_limiter.c -I. -pthread */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <stdio.h>

/* At a token an hour, a burst of three is all that passes: the rest is turned away. */
static void turn_away(void)
{
    gor_limiter door;
    int allowed = 0;

    gor_limiter_init(&door, 1.0 / 3600.0, 3);
    for (int i = 0; i < 10; i++)
        if (gor_limiter_allow(&door, 1))
            allowed++;
    printf("10 requests at once: %d allowed, %d turned away\n", allowed, 10 - allowed);

    /* A wait that cannot succeed in time is answered at once. */
    if (gor_limiter_wait_until(&door, 1, gor_now() + 50 * GOR_MS) == -ETIMEDOUT)
        printf("the next token comes too late to wait for\n");
}

static void five_requests(void *arg)
{
    gor_limiter *line = arg;

    for (int i = 0; i < 5; i++)
        if (gor_limiter_wait(line, 1) != 0)
            gor_panic("no token");
}

/* Four clients of five requests at 1000 a second: the first passes at once, then one each ms. */
static void wait_in_line(void)
{
    gor_limiter line;
    gor_wg wg = {0};
    int64_t start = gor_now();

    gor_limiter_init(&line, 1000.0, 1);
    for (int i = 0; i < 4; i++)
        if (gor_wg_go(&wg, five_requests, &line) != 0)
            gor_panic("cannot start client %d", i);
    if (gor_wg_wait(&wg) != 0)
        gor_panic("interrupted");

    printf("20 requests at 1000 a second took 19 ms at least: %s\n",
           gor_now() - start > 18900 * GOR_US ? "yes" : "no");
}

GOR_MAIN
{
    turn_away();
    wait_in_line();
    return 0;
}

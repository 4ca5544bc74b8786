/* ticker: something that is due again and again, until a timer says that it is enough.
 * Build: cc -O2 examples/ticker.c -I. -pthread */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <stdio.h>

static void ring_the_bell(void *arg)
{
    gor_chan *bell = arg;

    if (gor_chan_close(bell) != 0)
        gor_panic("the bell has rung before");
}

/* Five ticks of 2 ms. A tick carries its time; times only grow. */
static void count_ticks(void)
{
    gor_ticker ticker = {0};
    int64_t before = gor_now(), now;
    gor_chan *tick = gor_ticker_start(&ticker, 2 * GOR_MS);

    if (tick == NULL)
        gor_panic("out of memory");
    for (int i = 1; i <= 5 && gor_recv(tick, &now) == 0; i++) {
        printf("tick %d, later than the one before: %s\n", i, now > before ? "yes" : "no");
        before = now;
    }
    gor_ticker_stop(&ticker);
}

/* Work at each tick until a timer, after 20 ms, closes the channel. */
static void work_until_the_bell(void)
{
    gor_ticker ticker = {0};
    gor_timer timer = {0};
    gor_chan *tick = gor_ticker_start(&ticker, GOR_MS);
    gor_chan *bell = gor_chan_new(sizeof(char), 0);
    int64_t now;
    char none;

    if (tick == NULL || bell == NULL)
        gor_panic("out of memory");
    if (gor_timer_start(&timer, 20 * GOR_MS, ring_the_bell, bell) != 0)
        gor_panic("no timer");
    while (gor_select(gor_on_recv(tick, &now), gor_on_recv(bell, &none)) == 0)
        ;                              /* here is where the work would be done */
    printf("the bell: work is over\n");

    gor_ticker_stop(&ticker);
    gor_chan_release(bell);
}

GOR_MAIN
{
    count_ticks();
    work_until_the_bell();
    return 0;
}

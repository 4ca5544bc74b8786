/* A deliberate data race: two goroutines write one variable, and nothing orders the writes.
 * Both begin behind one gate: without it the first might end before the second is started, and the
 * wait group would order them. They take turns, so one processor is enough. */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <stdio.h>

static int shared;
static gor_chan *gate;

static void write_shared(void *arg)
{
    gor_recv(gate, (char *)NULL);
    for (int i = 0; i < 1000; i++) {
        shared += *(int *)arg;         /* the race */
        if (i % 10 == 0)
            gor_yield();
    }
}

GOR_MAIN
{
    static int one = 1, two = 2;
    gor_wg wg = { 0 };
    gate = gor_chan_new(1, 0);
    gor_wg_go(&wg, write_shared, &one);
    gor_wg_go(&wg, write_shared, &two);
    gor_chan_close(gate);
    gor_wg_wait(&wg);
    printf("done\n");
    return shared == 0;
}

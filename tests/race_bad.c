/* A deliberate data race: two goroutines write one variable, and nothing orders the writes.
 * Both are alive before either writes, and they take turns, so one processor is enough. */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <stdio.h>

static int shared;

static void write_shared(void *arg)
{
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
    gor_wg_go(&wg, write_shared, &one);
    gor_wg_go(&wg, write_shared, &two);
    gor_wg_wait(&wg);
    printf("done\n");
    return shared == 0;
}

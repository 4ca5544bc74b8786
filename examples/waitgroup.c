/* waitgroup: start several goroutines, wait until the last one has ended.
 * Each writes to a place of its own, so no lock is needed; the wait makes it all visible.
 * Build: cc -O2 examples/waitgroup.c -I. -pthread */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <stdio.h>

struct job {
    int n;
    int square;
};

static void work(void *arg)
{
    struct job *j = arg;

    j->square = j->n * j->n;
}

GOR_MAIN
{
    struct job job[5];
    gor_wg wg = {0};

    for (int i = 0; i < 5; i++) {
        job[i] = (struct job){ .n = i + 1 };
        if (gor_wg_go(&wg, work, &job[i]) != 0)
            gor_panic("cannot start goroutine %d", i);
    }
    if (gor_wg_wait(&wg) != 0)
        return 1;

    for (int i = 0; i < 5; i++)
        printf("%d squared is %d\n", job[i].n, job[i].square);
    return 0;
}

/* A file without the implementation. Compiled as C11, and again as C++17. */
#include "gor.h"
#include "tus.h"

GOR_CHAN_TYPE(ints, int)

struct job {
    ints *c;
    int   n;
};

static void count(void *arg)
{
    struct job *j = (struct job *)arg;
    for (int i = 1; i <= j->n; i++)
        ints_send(j->c, i);
    ints_close(j->c);
    ints_release(j->c);
}

int count_into(gor_chan *c, int n)
{
    struct job j;
    j.c = (ints *)(void *)gor_chan_retain(c);
    j.n = n;
    return gor_go_copy(count, &j, sizeof j);
}

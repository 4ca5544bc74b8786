/* mutex_vs_channel: one counter, eight goroutines. Share it and lock it, or let one goroutine own
 * it and send it what to add. Both are right; for a plain counter the mutex is the simpler one.
 * Build: cc -O2 examples/mutex_vs_channel.c -I. -pthread */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <stdio.h>

enum { GOROUTINES = 8, TIMES = 10000 };

static void must(int rc)
{
    if (rc != 0)
        gor_panic("mutex_vs_channel: %s", gor_strerror(rc));
}

/* Run fn(arg) in every goroutine, wait for all. */
static void run_all(void (*fn)(void *), void *arg)
{
    gor_wg wg = {0};

    for (int i = 0; i < GOROUTINES; i++)
        must(gor_wg_go(&wg, fn, arg));
    must(gor_wg_wait(&wg));
}

struct shared {
    gor_mutex lock;
    long count;
};

static void add_locked(void *arg)
{
    struct shared *s = arg;

    for (int i = 0; i < TIMES; i++) {
        must(gor_mutex_lock(&s->lock));
        s->count++;
        gor_mutex_unlock(&s->lock);
    }
}

struct owned {
    gor_chan *add;                     /* long: how much to add       */
    gor_chan *total;                   /* long: the count, at the end */
};

static void owner(void *arg)
{
    struct owned *o = arg;
    long n, count = 0;                 /* nobody else ever sees count */

    while (gor_recv(o->add, &n) == 0)
        count += n;
    must(gor_send(o->total, &count));
}

static void add_by_message(void *arg)
{
    struct owned *o = arg;
    long one = 1;

    for (int i = 0; i < TIMES; i++)
        must(gor_send(o->add, &one));
}

GOR_MAIN
{
    struct shared s = {0};
    struct owned o = { gor_chan_new(sizeof(long), 64), gor_chan_new(sizeof(long), 0) };
    long total = 0;

    run_all(add_locked, &s);
    printf("mutex:   %ld\n", s.count);

    if (o.add == NULL || o.total == NULL)
        return 1;
    must(gor_go(owner, &o));
    run_all(add_by_message, &o);
    must(gor_chan_close(o.add));
    must(gor_recv(o.total, &total));
    printf("channel: %ld\n", total);

    gor_chan_release(o.add);
    gor_chan_release(o.total);
    return 0;
}

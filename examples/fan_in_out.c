/* fan_in_out: one source feeds several workers (fan-out); each has an output of its own, and
 * a merge brings these together into one channel (fan-in).
 * Build: cc -O2 examples/fan_in_out.c -I. -pthread */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <stdio.h>

enum { WORKERS = 4, NUMBERS = 100 };

struct pipe {                          /* read from in, write to out */
    gor_chan *in;
    gor_chan *out;
};

static void must(int rc)
{
    if (rc != 0)
        gor_panic("fan_in_out: %s", gor_strerror(rc));
}

static gor_chan *new_chan(void)
{
    gor_chan *c = gor_chan_new(sizeof(int), 0);

    if (c == NULL)
        gor_panic("out of memory");
    return c;
}

static void count_up(void *arg)
{
    gor_chan *out = arg;

    for (int n = 1; n <= NUMBERS; n++)
        must(gor_send(out, &n));
    must(gor_chan_close(out));
}

static void square(void *arg)
{
    struct pipe *p = arg;
    int n;

    while (gor_recv(p->in, &n) == 0) {
        n *= n;
        must(gor_send(p->out, &n));
    }
    must(gor_chan_close(p->out));
}

static void forward(void *arg)
{
    struct pipe *p = arg;
    int n;

    while (gor_recv(p->in, &n) == 0)
        must(gor_send(p->out, &n));
}

struct merge {
    gor_wg forwarders;
    gor_chan *out;
};

static void close_when_done(void *arg)
{
    struct merge *m = arg;

    must(gor_wg_wait(&m->forwarders));
    must(gor_chan_close(m->out));
}

GOR_MAIN
{
    gor_chan *source = new_chan();
    struct merge m = { .out = new_chan() };
    struct pipe squarer[WORKERS], forwarder[WORKERS];
    int n, received = 0, sum = 0;

    must(gor_go(count_up, source));
    for (int i = 0; i < WORKERS; i++) {
        squarer[i] = (struct pipe){ .in = source, .out = new_chan() };
        forwarder[i] = (struct pipe){ .in = squarer[i].out, .out = m.out };
        must(gor_go(square, &squarer[i]));
        must(gor_wg_go(&m.forwarders, forward, &forwarder[i]));
    }
    must(gor_go(close_when_done, &m));

    for (; gor_recv(m.out, &n) == 0; received++)
        sum += n;
    printf("%d squares from %d workers, their sum is %d\n", received, WORKERS, sum);

    for (int i = 0; i < WORKERS; i++)
        gor_chan_release(squarer[i].out);
    gor_chan_release(source);
    gor_chan_release(m.out);
    return 0;
}

/* prime_sieve: a chain of goroutines, one for each prime, each dropping the multiples of its own.
 * A send on a closed channel is an answer (-EPIPE), not a crash. So the chain is taken down from
 * its end: whoever stops closes its input, and the one before it stops at its next send.
 * Build: cc -O2 examples/prime_sieve.c -I. -pthread */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <stdio.h>

enum { PRIMES = 20 };

struct filter {
    gor_chan *in, *out;
    int prime;
};

static void must(int rc)
{
    if (rc != 0)
        gor_panic("prime_sieve: %s", gor_strerror(rc));
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

    for (int n = 2; gor_send(out, &n) == 0; n++)
        ;
}

static void drop_multiples(void *arg)
{
    struct filter *f = arg;
    int n, rc = 0;

    while (rc == 0 && gor_recv(f->in, &n) == 0)
        if (n % f->prime != 0)
            rc = gor_send(f->out, &n);
    must(gor_chan_close(f->in));
}

GOR_MAIN
{
    struct filter filter[PRIMES];
    gor_chan *first = new_chan(), *last = first;
    gor_wg wg = {0};

    must(gor_wg_go(&wg, count_up, first));
    for (int i = 0; i < PRIMES; i++) {
        struct filter *f = &filter[i];

        *f = (struct filter){ .in = last, .out = new_chan() };
        must(gor_recv(f->in, &f->prime));
        printf("%d%c", f->prime, i + 1 < PRIMES ? ' ' : '\n');
        must(gor_wg_go(&wg, drop_multiples, f));
        last = f->out;
    }
    must(gor_chan_close(last));        /* the filters stop one after the other */
    must(gor_wg_wait(&wg));

    gor_chan_release(first);
    for (int i = 0; i < PRIMES; i++)
        gor_chan_release(filter[i].out);
    return 0;
}

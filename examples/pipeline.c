/* pipeline: stages joined by channels: count -> square -> keep the odd ones -> print.
 * The channels have a type of their own: a wrong value does not compile.
 * Build: cc -O2 examples/pipeline.c -I. -pthread */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <stdio.h>

GOR_CHAN_TYPE(ints, int)

struct stage {
    ints *in;
    ints *out;
};

static void must(int rc)
{
    if (rc != 0)
        gor_panic("pipeline: %s", gor_strerror(rc));
}

static void count(void *arg)
{
    struct stage *s = arg;

    for (int n = 1; n <= 10; n++)
        must(ints_send(s->out, n));
    must(ints_close(s->out));
}

static void square(void *arg)
{
    struct stage *s = arg;
    int n;

    while (ints_recv(s->in, &n) == 0)
        must(ints_send(s->out, n * n));
    must(ints_close(s->out));
}

static void keep_odd(void *arg)
{
    struct stage *s = arg;
    int n;

    while (ints_recv(s->in, &n) == 0)
        if (n % 2 != 0)
            must(ints_send(s->out, n));
    must(ints_close(s->out));
}

GOR_MAIN
{
    ints *numbers = ints_new(0), *squares = ints_new(0), *odd = ints_new(0);
    struct stage counter = { NULL, numbers }, squarer = { numbers, squares };
    struct stage filter = { squares, odd };
    int n;

    if (numbers == NULL || squares == NULL || odd == NULL)
        return 1;
    must(gor_go(count, &counter));
    must(gor_go(square, &squarer));
    must(gor_go(keep_odd, &filter));

    while (ints_recv(odd, &n) == 0)
        printf("%d\n", n);

    ints_release(numbers);
    ints_release(squares);
    ints_release(odd);
    return 0;
}

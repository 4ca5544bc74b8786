/* select: wait for the first of several things: a receive, a send, a time, or nothing at all.
 * Build: cc -O2 examples/select.c -I. -pthread */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <stdio.h>

static void must(int rc)
{
    if (rc != 0)
        gor_panic("select: %s", gor_strerror(rc));
}

/* With a default, select never waits. */
static void look(gor_chan *c)
{
    int v;
    bool open;

    if (gor_select(gor_on_recv_ok(c, &v, &open), gor_on_default()) == 1)
        printf("look: nothing there\n");
    else if (open)
        printf("look: got %d\n", v);
    else
        printf("look: closed\n");
}

/* With a time, it waits so long at most. */
static void wait_10_ms(gor_chan *c)
{
    int v;

    switch (gor_select(gor_on_recv(c, &v), gor_on_after(10 * GOR_MS))) {
    case 0:
        printf("wait: got %d\n", v);
        break;
    case 1:
        printf("wait: timed out\n");
        break;
    default:
        gor_panic("select failed");
    }
}

struct reader {
    gor_chan *numbers;                 /* long */
    gor_chan *quit;                    /* char */
};

static void read_ten(void *arg)
{
    struct reader *r = arg;
    long n;
    char enough = 1;

    for (int i = 0; i < 10; i++) {
        must(gor_recv(r->numbers, &n));
        printf("%ld%c", n, i < 9 ? ' ' : '\n');
    }
    must(gor_send(r->quit, &enough));
}

/* Send Fibonacci numbers until the reader has had enough. */
static void fibonacci(struct reader *r)
{
    long a = 0, b = 1, next;
    char enough;

    while (gor_select(gor_on_send(r->numbers, &a), gor_on_recv(r->quit, &enough)) == 0) {
        next = a + b;
        a = b;
        b = next;
    }
}

GOR_MAIN
{
    gor_chan *c = gor_chan_new(sizeof(int), 1);
    struct reader r = { gor_chan_new(sizeof(long), 0), gor_chan_new(sizeof(char), 0) };
    int v = 7;

    if (c == NULL || r.numbers == NULL || r.quit == NULL)
        return 1;
    look(c);
    wait_10_ms(c);
    must(gor_send(c, &v));
    look(c);
    must(gor_send(c, &v));
    wait_10_ms(c);
    must(gor_chan_close(c));
    look(c);

    must(gor_go(read_ten, &r));
    fibonacci(&r);
    gor_chan_release(c);
    gor_chan_release(r.numbers);
    gor_chan_release(r.quit);
    return 0;
}

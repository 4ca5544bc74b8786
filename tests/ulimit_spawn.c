/* Start goroutines that park, without ever making way for them, until gor_go says -ENOMEM. Then
 * everything must still work: every one that was started begins while all the others are there; so
 * do a channel, a timer, and as many goroutines in the place of those that ended. */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static gor_chan *gate, *pipe_in, *pipe_out;
static _Atomic long n_began, n_ended;

static void park(void *arg)
{
    (void)arg;
    atomic_fetch_add(&n_began, 1);
    gor_recv(gate, (char *)NULL);
    atomic_fetch_add(&n_ended, 1);
}

static void echo(void *arg)
{
    int v;
    (void)arg;
    while (gor_recv(pipe_in, &v) == 0)
        gor_send(pipe_out, &v);
    gor_chan_close(pipe_out);
}

static int fail(const char *what, long got)
{
    printf("failed: %s: %ld\n", what, got);
    return 1;
}

GOR_MAIN
{
    gor_attr attr = { .stack_size = argc > 1 ? (size_t)strtol(argv[1], NULL, 10) : 0 };
    long n = 0;
    int rc = 0, v = 0;

    gate = gor_chan_new(1, 0);
    pipe_in = gor_chan_new(sizeof(int), 0);
    pipe_out = gor_chan_new(sizeof(int), 0);
    if (gor_go(echo, NULL) != 0)
        return fail("the first gor_go", 0);
    while (n < 1000000 && (rc = gor_go_with(&attr, park, NULL)) == 0)
        n++;
    printf("%ld goroutines, then %s\n", n, gor_strerror(rc));
    if (rc != -ENOMEM)
        return fail("gor_go without address space gives", rc);
    for (int i = 0; i < 100; i++)
        if ((rc = gor_go_with(&attr, park, NULL)) == 0)
            n++;
        else if (rc != -ENOMEM)
            return fail("gor_go, once more", rc);

    /* The rest of the runtime goes on. */
    for (int i = 0; i < 1000; i++)
        if (gor_send(pipe_in, &i) != 0 || gor_recv(pipe_out, &v) != 0 || v != i)
            return fail("an echo", i);
    if ((rc = gor_sleep(GOR_MS)) != 0)
        return fail("gor_sleep", rc);

    /* Each that was started has its stack. */
    for (int i = 0; i < 20000 && atomic_load(&n_began) < n; i++)
        gor_sleep(GOR_MS);
    if (atomic_load(&n_began) != n || atomic_load(&n_ended) != 0)
        return fail("began", atomic_load(&n_began));
    gor_chan_close(gate);
    for (int i = 0; i < 20000 && gor_num_goroutines() > 2; i++)
        gor_sleep(GOR_MS);
    if (gor_num_goroutines() != 2 || atomic_load(&n_began) != n || atomic_load(&n_ended) != n)
        return fail("ended", atomic_load(&n_ended));

    /* What they held is there for others. */
    for (long i = 0; i < n; i++)
        if ((rc = gor_go_with(&attr, park, NULL)) != 0)
            return fail("gor_go after the others have ended", i);
    for (int i = 0; i < 20000 && gor_num_goroutines() > 2; i++)
        gor_sleep(GOR_MS);
    gor_chan_close(pipe_in);
    if (gor_recv(pipe_out, &v) != -EPIPE)
        return fail("the end of the echo", v);
    printf("all %ld ended\n", atomic_load(&n_ended));
    return atomic_load(&n_ended) == 2 * n ? 0 : fail("ended in all", atomic_load(&n_ended));
}

/* The counterpart of race_bad.c: the same variable, handed over in every way that orders. TSan has
 * nothing to say. */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <stdio.h>

enum { ROUNDS = 500 };

static int shared, counted, joined;
static gor_chan *ping, *pong, *closed;
static gor_mutex mutex;

/* The token is the right to touch the variable. */
static void play(void *arg)
{
    bool first = arg != NULL;
    char token = 0;
    for (int i = 0; i < ROUNDS; i++) {
        gor_recv(first ? ping : pong, &token);
        shared++;
        gor_send(first ? pong : ping, &token);
    }
}

static void count(void *arg)
{
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        gor_mutex_lock(&mutex);
        counted++;
        if (i % 50 == 0)
            gor_yield();
        gor_mutex_unlock(&mutex);
    }
}

static void close_after_write(void *arg)
{
    *(int *)arg = 1;
    gor_chan_close(closed);
}

static void *forked(void *arg)
{
    joined++;
    return arg;
}

GOR_MAIN
{
    gor_wg wg = { 0 };
    gor_task task;
    char token = 1;
    int written = 0;

    ping = gor_chan_new(1, 1);         /* holds the token after the last turn */
    pong = gor_chan_new(1, 0);
    closed = gor_chan_new(1, 0);
    gor_wg_go(&wg, play, &token);
    gor_wg_go(&wg, play, NULL);
    gor_wg_go(&wg, count, NULL);
    gor_wg_go(&wg, count, NULL);
    gor_send(ping, &token);
    gor_go(close_after_write, &written);
    gor_recv(closed, &token);
    written++;
    joined = 1;
    gor_fork(&task, forked, NULL);
    gor_join(&task);
    joined++;
    gor_wg_wait(&wg);
    printf("done %d %d %d %d\n", shared, counted, written, joined);
    return !(shared == 2 * ROUNDS && counted == 2 * ROUNDS && written == 2 && joined == 3);
}

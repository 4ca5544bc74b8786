/* ctx_timeout: a deadline for all that a goroutine does, handed down to its children; a value
 * that travels with the context; a single call with a deadline of its own.
 * Build: cc -O2 examples/ctx_timeout.c -I. -pthread */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <stdio.h>

static const char request_key = 0;         /* its address is the key */

static const char *outcome(int rc)
{
    return rc == 0 ? "done" : rc == -ETIMEDOUT ? "timed out" : gor_strerror(rc);
}

/* Asks a server that answers only if it has something to say. Knows nothing of deadlines. */
static int ask(gor_chan *server)
{
    int answer = 0;
    int rc = gor_recv(server, &answer);

    if (rc == 0)
        printf("the answer is %d\n", answer);
    return rc;
}

static int ask_within(gor_ctx *parent, gor_chan *server, int64_t ns)
{
    gor_ctx *ctx = gor_ctx_with_timeout(parent, ns);
    gor_ctx *old;
    int rc;

    if (ctx == NULL)
        return -ENOMEM;
    old = gor_ctx_enter(ctx);
    rc = ask(server);
    gor_ctx_enter(old);
    printf("%s: %s\n", (const char *)gor_ctx_value(ctx, &request_key), outcome(rc));
    gor_ctx_release(ctx);
    return rc;
}

GOR_MAIN
{
    static char quick_name[] = "quick request", slow_name[] = "slow request";
    gor_ctx *quick = gor_ctx_with_value(NULL, &request_key, quick_name);
    gor_ctx *slow = gor_ctx_with_value(NULL, &request_key, slow_name);
    gor_chan *server = gor_chan_new(sizeof(int), 1);
    int answer = 42, rc;

    if (quick == NULL || slow == NULL || server == NULL || gor_send(server, &answer) != 0)
        return 1;
    if (ask_within(quick, server, 60 * GOR_SEC) != 0)
        return 1;
    if (ask_within(slow, server, 20 * GOR_MS) != -ETIMEDOUT)
        return 1;

    rc = gor_recv_until(server, &answer, gor_now() + 5 * GOR_MS);
    printf("one call with a deadline: %s\n", outcome(rc));

    gor_chan_release(server);
    gor_ctx_release(slow);
    gor_ctx_release(quick);
    return 0;
}

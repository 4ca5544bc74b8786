/* ctx_cancel: a context tells goroutines to stop. Two ways to listen to it: as a case of a select,
 * or by entering it, after which every blocking call ends with -ECANCELED.
 * Build: cc -O2 examples/ctx_cancel.c -I. -pthread */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <stdio.h>

struct generator {
    gor_ctx *ctx;
    gor_chan *out;                     /* int */
    const char *ended_by;              /* result: what ended it */
};

static void must(int rc)
{
    if (rc != 0)
        gor_panic("ctx_cancel: %s", gor_strerror(rc));
}

static void with_select(void *arg)
{
    struct generator *g = arg;

    for (int n = 1; g->ended_by == NULL; n++)
        if (gor_select(gor_on_send(g->out, &n), gor_on_done(g->ctx)) != 0)
            g->ended_by = "its select";
}

static void with_enter(void *arg)
{
    struct generator *g = arg;
    int n = 1;

    gor_ctx_enter(g->ctx);
    while (gor_send(g->out, &n) == 0)
        n++;
    if (gor_ctx_err(g->ctx) == -ECANCELED)
        g->ended_by = "its send";
}

static void take_three(void (*generate)(void *))
{
    struct generator g = { gor_ctx_with_cancel(NULL), gor_chan_new(sizeof(int), 0), NULL };
    gor_wg wg = {0};
    int n;

    if (g.ctx == NULL || g.out == NULL)
        gor_panic("out of memory");
    must(gor_wg_go(&wg, generate, &g));
    for (int i = 0; i < 3; i++) {
        must(gor_recv(g.out, &n));
        printf("got %d\n", n);
    }
    gor_ctx_cancel(g.ctx, 0);
    must(gor_wg_wait(&wg));
    printf("cancelled: %s ended it\n", g.ended_by);

    gor_chan_release(g.out);
    gor_ctx_release(g.ctx);
}

GOR_MAIN
{
    take_three(with_select);
    take_three(with_enter);
    return 0;
}

/* hello: a goroutine is a function that runs on its own; a channel brings its result back.
 * Build: cc -O2 examples/hello.c -I. -pthread */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <stdio.h>

static void greet(void *arg)
{
    gor_chan *out = arg;
    const char *text = "hello from a goroutine";

    if (gor_send(out, &text) != 0)
        gor_panic("nobody listens");
}

GOR_MAIN
{
    const char *text = "";
    gor_chan *c = gor_chan_new(sizeof text, 0);

    if (c == NULL || gor_go(greet, c) != 0)
        return 1;
    if (gor_recv(c, &text) == 0)       /* waits until greet sends */
        printf("%s\n", text);
    gor_chan_release(c);

    printf("hello from main\n");
    return 0;
}

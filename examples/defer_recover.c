/* defer_recover: what must happen when a goroutine ends, however it ends; and a panic that is
 * caught, so that one bad request does not take the server down.
 * Build: cc -O2 examples/defer_recover.c -I. -pthread */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <stdio.h>
#include <stdlib.h>

static void must(int rc)
{
    if (rc != 0)
        gor_panic("defer_recover: %s", gor_strerror(rc));
}

static void say(void *text)
{
    printf("  deferred: %s\n", (const char *)text);
}

static void catch_panic(void *arg)
{
    const char *message = gor_recover();

    (void)arg;
    if (message != NULL)
        printf("  recovered: %s\n", message);
    else
        printf("  no panic\n");
}

static int element(const int *v, int n, int i)
{
    if (i < 0 || i >= n)
        gor_panic("index %d out of range 0..%d", i, n - 1);
    return v[i];
}

/* Deferred calls run when the goroutine ends, the last one first, panic or not. */
static void request(void *arg)
{
    static char first[] = "deferred first, runs last of the two";
    static char second[] = "deferred second, runs first";
    int index = *(int *)arg;
    int *v = malloc(3 * sizeof *v);

    if (v == NULL)
        gor_panic("out of memory");
    must(gor_defer(free, v));
    must(gor_defer(catch_panic, NULL));
    must(gor_defer(say, first));
    must(gor_defer(say, second));
    for (int i = 0; i < 3; i++)
        v[i] = 10 * (i + 1);
    printf("  v[%d] is %d\n", index, element(v, 3, index));
}

GOR_MAIN
{
    int index[] = { 1, 7, 2 };

    for (int i = 0; i < 3; i++) {
        gor_wg wg = {0};

        printf("request %d\n", i + 1);
        must(gor_wg_go(&wg, request, &index[i]));
        must(gor_wg_wait(&wg));
    }
    printf("still here\n");
    return 0;
}

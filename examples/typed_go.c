/* typed_go: GOR_GO(f, a, b) is Go's "go f(a, b)": the arguments are evaluated now and checked
 * against f's parameters by the compiler. GOR_GO(scale, "x", 2) would not compile.
 * Build: cc -O2 examples/typed_go.c -I. -pthread */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <stdio.h>

static void scale(const int *from, int *to, size_t n, int factor, gor_wg *wg)
{
    for (size_t i = 0; i < n; i++)
        to[i] = from[i] * factor;
    gor_wg_done(wg);
}

static int add(int a, int b, int *sum, gor_chan *done)
{
    *sum = a + b;
    return gor_chan_close(done);       /* a result is allowed; GOR_GO drops it */
}

GOR_MAIN
{
    static const int v[] = { 1, 2, 3, 4 };
    int by[3][4], sum = 0;
    gor_chan *done = gor_chan_new(0, 0);
    gor_wg wg = {0};

    if (done == NULL)
        return 1;
    for (int row = 0; row < 3; row++) {
        gor_wg_add(&wg, 1);
        if (GOR_GO(scale, v, by[row], 4, row + 1, &wg) != 0)   /* each with its own value of row */
            gor_panic("cannot start row %d", row);
    }
    if (GOR_GO(add, 40, 2, &sum, done) != 0)
        gor_panic("cannot start add");

    if (gor_wg_wait(&wg) != 0 || gor_chan_recv(done, NULL, 0) != -EPIPE)
        return 1;
    for (int row = 0; row < 3; row++)
        printf("%2d %2d %2d %2d\n", by[row][0], by[row][1], by[row][2], by[row][3]);
    printf("40 + 2 = %d\n", sum);
    gor_chan_release(done);
    return 0;
}

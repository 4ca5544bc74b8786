/* The one file with the implementation, and main. Compiled as C11, and again as C++17. */
#define GOR_IMPLEMENTATION
#include "gor.h"
#include "gor.h"                       /* twice does no harm */
#include "tus.h"

#include <stdio.h>

static int n_tests, n_failed;

void tap(bool passed, const char *name)
{
    n_tests++;
    n_failed += !passed;
    printf("%sok %d - %s\n", passed ? "" : "not ", n_tests, name);
    fflush(stdout);
}

static int run(void *arg)
{
    gor_chan *c = gor_chan_new(sizeof(int), 3);
    int v, n = 0, sum = 0;
    (void)arg;
    tap(count_into(c, 100) == 0, "a goroutine is started from another file");
    while (gor_recv(c, &v) == 0) {
        n++;
        sum += v;
    }
    tap(n == 100 && sum == 5050, "its values arrive");
    gor_chan_release(c);
    test_cxx();
    return 0;
}

int main(int argc, char **argv)
{
    gor_options o;
    memset(&o, 0, sizeof o);
    o.procs = argc > 1 ? atoi(argv[1]) : 4;
    int rc = gor_run_with(&o, run, NULL);
    tap(rc == 0, argv[0]);
    printf("1..%d\n", n_tests);
    return n_failed > 0;
}

/* ring: 100,000 goroutines, each tied to the next by a channel, pass a token around.
 * Prints one line: how long that took, the time of one hop, and the memory of one goroutine with
 * its channel.
 * Use:   ring [GOROUTINES [LAPS]]       100000 and 1
 * Build: cc -O2 examples/ring.c -I. -pthread */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct node {
    gor_chan *in, *out;                /* long: how many hops the token has made */
    gor_wg *ready;
    long laps;
};

/* Resident memory of this process in KiB; 0 if the system does not say. */
static long resident_kib(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    long kib = 0;

    while (f != NULL && kib == 0 && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "VmRSS:", 6) == 0)
            kib = strtol(line + 6, NULL, 10);
    if (f != NULL)
        fclose(f);
    return kib;
}

static void pass_on(void *arg)
{
    struct node *n = arg;
    long hops;

    gor_wg_done(n->ready);
    for (long i = 0; i < n->laps; i++) {
        if (gor_recv(n->in, &hops) != 0)
            return;
        hops++;
        if (gor_send(n->out, &hops) != 0)
            return;
    }
}

/* Node 0 is the main goroutine: it brings the token in and takes it out after each lap. */
static int start_ring(struct node *node, long n, long laps, gor_wg *ready, gor_wg *ended)
{
    int rc = 0;

    gor_wg_add(ready, n - 1);
    for (long i = 0; i < n; i++)
        node[i] = (struct node){ gor_chan_new(sizeof(long), 0), NULL, ready, laps };
    for (long i = 0; i < n; i++)
        node[i].out = node[(i + 1) % n].in;
    for (long i = 0; i < n; i++)
        if (node[i].in == NULL)
            return -ENOMEM;
    for (long i = 1; rc == 0 && i < n; i++)
        rc = gor_wg_go(ended, pass_on, &node[i]);
    return rc != 0 ? rc : gor_wg_wait(ready);
}

/* Returns how many hops the token made; a negative errno. */
static long run_laps(struct node *first, long laps)
{
    long hops = 0;
    int rc = 0;

    for (long i = 0; rc == 0 && i < laps; i++)
        if ((rc = gor_send(first->out, &hops)) == 0 && (rc = gor_recv(first->in, &hops)) == 0)
            hops++;
    return rc == 0 ? hops : rc;
}

GOR_MAIN
{
    long n = argc > 1 ? strtol(argv[1], NULL, 10) : 100000, hops;
    long laps = argc > 2 ? strtol(argv[2], NULL, 10) : 1, kib = resident_kib();
    gor_wg ready = {0}, ended = {0};
    int64_t start = gor_now(), up, end;
    struct node *node;
    int rc;

    if (n < 2 || laps < 1) {
        fprintf(stderr, "use: ring [GOROUTINES [LAPS]], at least 2 and 1\n");
        return 2;
    }
    node = calloc((size_t)n, sizeof *node);
    rc = node == NULL ? -ENOMEM : start_ring(node, n, laps, &ready, &ended);
    if (rc != 0) {
        fprintf(stderr, "ring: cannot start %ld goroutines: %s\n", n, gor_strerror(rc));
        return 1;                      /* leaves the goroutines and their channels to gor_run */
    }
    kib = resident_kib() - kib;
    up = gor_now();
    hops = run_laps(&node[0], laps);
    end = gor_now();

    printf("ring: %ld goroutines up in %.1f ms; %ld hops in %.1f ms, %.0f ns per hop; "
           "%.2f KiB per goroutine\n",
           n, (double)(up - start) / 1e6, hops, (double)(end - up) / 1e6,
           (double)(end - up) / (double)hops, (double)kib / (double)n);
    rc = gor_wg_wait(&ended) == 0 && hops == n * laps ? 0 : 1;
    for (long i = 0; i < n; i++)
        gor_chan_release(node[i].in);
    free(node);
    return rc;
}

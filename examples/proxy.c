/* proxy: forwards TCP connections, two goroutines each, until both directions have ended.
 *
 *     proxy LISTEN TARGET [network]    proxy 127.0.0.1:9000 127.0.0.1:8080
 *
 * The end of one direction is passed on as the end of that direction alone; an error in either ends
 * both. Build: cc -O2 examples/proxy.c -I. -pthread */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static const char *target, *network = "tcp";
static _Atomic long n_open, n_bytes;

struct link {
    gor_wg wg;
    int    fd[2];
};

struct half { struct link *link; int from; };

/* One direction. */
static void forward(void *arg)
{
    struct half *h = arg;
    int from = h->link->fd[h->from], to = h->link->fd[!h->from];
    char *buf = malloc(65536);
    ssize_t n = -ENOMEM;
    while (buf && (n = gor_read(from, buf, 65536)) > 0) {
        ssize_t sent = gor_write_all(to, buf, (size_t)n);
        if (sent < 0) {
            n = sent;
            break;
        }
        atomic_fetch_add(&n_bytes, n);
    }
    free(buf);
    if (n == 0) {
        shutdown(to, SHUT_WR);
    } else {                                    /* the other direction is of no use any more */
        shutdown(from, SHUT_RDWR);
        shutdown(to, SHUT_RDWR);
    }
}

static void serve(void *arg)
{
    struct link l = { .fd = { (int)(intptr_t)arg, -1 } };
    struct half there = { &l, 0 }, back = { &l, 1 };
    atomic_fetch_add(&n_open, 1);
    l.fd[1] = gor_dial(network, target, gor_now() + 10 * GOR_SEC);
    if (l.fd[1] >= 0) {
        if (gor_wg_go(&l.wg, forward, &there) == 0)
            forward(&back);
        gor_wg_wait(&l.wg);
        gor_fd_close(l.fd[1]);
    }
    gor_fd_close(l.fd[0]);
    atomic_fetch_sub(&n_open, 1);
}

static void accept_all(void *arg)
{
    int l = (int)(intptr_t)arg, fd;
    while ((fd = gor_accept(l, NULL, NULL)) != -EBADF)
        if (fd < 0)
            gor_sleep(10 * GOR_MS);             /* out of descriptors: others will leave */
        else if (gor_go(serve, (void *)(intptr_t)fd) != 0)
            gor_fd_close(fd);
}

GOR_MAIN
{
    const int sigs[] = { SIGTERM, SIGINT };
    gor_chan *quit = gor_chan_new(sizeof(int), 1);
    int l, sig;
    if (argc < 3) {
        fprintf(stderr, "usage: proxy LISTEN TARGET [network]\n");
        return 2;
    }
    target = argv[2];
    network = argc > 3 ? argv[3] : network;
    l = gor_listen("tcp", argv[1], 0);
    if (l < 0 || !quit || gor_signal_notify(quit, sigs, 2) != 0) {
        fprintf(stderr, "proxy: %s: %s\n", argv[1], gor_strerror(l));
        return 1;
    }
    gor_go(accept_all, (void *)(intptr_t)l);
    fprintf(stderr, "proxy: %s to %s\n", argv[1], target);
    gor_recv(quit, &sig);
    fprintf(stderr, "proxy: %ld open, %ld bytes forwarded\n", atomic_load(&n_open),
            atomic_load(&n_bytes));
    gor_fd_close(l);
    gor_signal_stop(quit);
    gor_chan_release(quit);
    return 0;
}

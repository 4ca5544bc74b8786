/* Ping-pong: clients and their echoing servers in one process, a goroutine each. Who reads has room
 * for more than a message, as one who does not know how long it will be.
 *     echo tcp|unix CONNECTIONS ROUND-TRIPS         prints the ns of a round trip */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SIZE = 64, ROOM = 4096 };

static const char *network, *addr;
static int each;

static void serve(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char buf[ROOM];
    ssize_t n;
    while ((n = gor_read(fd, buf, ROOM)) > 0)
        if (gor_write_all(fd, buf, (size_t)n) < 0)
            break;
    gor_fd_close(fd);
}

static void accept_all(void *arg)
{
    int fd;
    while ((fd = gor_accept((int)(intptr_t)arg, NULL, NULL)) >= 0)
        gor_go(serve, (void *)(intptr_t)fd);
}

static void ping(void *arg)
{
    int fd = *(int *)arg;
    char buf[ROOM] = "ping";
    for (int i = 0; i < each; i++) {
        ssize_t got = 0, n = gor_write_all(fd, buf, SIZE);
        for (; n > 0 && got < SIZE; got += n)
            n = gor_read(fd, buf + got, (size_t)(ROOM - got));
        if (n <= 0)
            gor_panic("echo: lost");
    }
}

GOR_MAIN
{
    int n = argc > 2 ? atoi(argv[2]) : 1, rounds = argc > 3 ? atoi(argv[3]) : 100000, l, *fd;
    char tcp[64], path[64];
    gor_wg wg = { 0 };
    network = argc > 1 ? argv[1] : "tcp";
    snprintf(path, sizeof path, "@gor-echo-%d", (int)getpid());
    l = gor_listen(network, strcmp(network, "unix") ? "127.0.0.1:0" : path, 0);
    if (l < 0)
        gor_panic("echo: %s", gor_strerror(l));
    addr = path;
    if (strcmp(network, "unix") != 0) {
        struct sockaddr_in a;
        socklen_t len = sizeof a;
        getsockname(l, (struct sockaddr *)&a, &len);
        snprintf(tcp, sizeof tcp, "127.0.0.1:%d", ntohs(a.sin_port));
        addr = tcp;
    }
    gor_go(accept_all, (void *)(intptr_t)l);
    fd = calloc((size_t)n, sizeof *fd);
    for (int i = 0; i < n; i++)
        if ((fd[i] = gor_dial(network, addr, GOR_FOREVER)) < 0)
            gor_panic("echo: %s", gor_strerror(fd[i]));
    each = rounds / n;
    int64_t begin = gor_now();
    for (int i = 0; i < n; i++)
        gor_wg_go(&wg, ping, &fd[i]);
    gor_wg_wait(&wg);
    printf("%.1f\n", (double)(gor_now() - begin) / ((double)each * n));
    return 0;
}

/* The floor for an HTTP server: two threads, an epoll instance and a listening socket each
 * (SO_REUSEPORT), plain read and write, no parser: it counts the ends of heads. What a server in C
 * without gor.h would do at its simplest.  usage: epoll_http PORT */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "answer.h"

enum { THREADS = 2, BATCH = 128 };

static int listen_at(int port)
{
    struct sockaddr_in a;
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    memset(&a, 0, sizeof a);
    a.sin_family = AF_INET;
    a.sin_port = htons((uint16_t)port);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, SOMAXCONN) != 0) {
        perror("epoll_http");
        exit(1);
    }
    return fd;
}

static void watch(int ep, int fd)
{
    struct epoll_event e;
    memset(&e, 0, sizeof e);
    e.events = EPOLLIN;
    e.data.fd = fd;
    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
}

/* One read; an answer for each end of a head. A head that is cut by the read is not seen: the
 * clients of this bench send it whole. */
static int serve(int fd)
{
    char in[8192], out[8192];
    size_t n_out;
    ssize_t n = read(fd, in, sizeof in - 1);
    if (n <= 0)
        return -1;
    in[n] = 0;
    n_out = answers(in, out, sizeof out);
    return write(fd, out, n_out) == (ssize_t)n_out ? 0 : -1;
}

static void *loop(void *arg)
{
    int l = listen_at(*(int *)arg), ep = epoll_create1(0), on = 1;
    struct epoll_event e[BATCH];
    watch(ep, l);
    for (;;) {
        int n = epoll_wait(ep, e, BATCH, -1);
        for (int i = 0; i < n; i++) {
            int fd = e[i].data.fd;
            if (fd == l) {
                while ((fd = accept4(l, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                    watch(ep, fd);
                }
            } else if (serve(fd) != 0) {
                close(fd);
            }
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    int port = argc > 1 ? atoi(argv[1]) : 8081;
    pthread_t t[THREADS];
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&t[i], NULL, loop, &port) != 0)
            return 1;
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    return 0;
}

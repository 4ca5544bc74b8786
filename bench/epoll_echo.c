/* The floor for a ping-pong over one connection: one thread with both of its ends and an epoll
 * instance; two writes, two reads and two waits per round trip, and nothing else. (A read that does
 * not fill its room has emptied the socket.) Beside it, threads that sleep: once there is a second
 * one, the kernel counts references to each file that a call is made on, and each of libc's is a
 * cancellation point.
 *     epoll_echo tcp|unix ROUND-TRIPS [THREADS]    prints the ns of a round trip */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 64, ROOM = 4096, CLIENT = 0, SERVER = 1 };

static void must(int ok, const char *what)
{
    if (!ok) {
        perror(what);
        exit(1);
    }
}

static void connect_tcp(int end[2])
{
    struct sockaddr_in a = { .sin_family = AF_INET };
    socklen_t size = sizeof a;
    int on = 1, l = socket(AF_INET, SOCK_STREAM, 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    must(bind(l, (struct sockaddr *)&a, size) == 0 && listen(l, 1) == 0, "listen");
    getsockname(l, (struct sockaddr *)&a, &size);
    end[CLIENT] = socket(AF_INET, SOCK_STREAM, 0);
    must(connect(end[CLIENT], (struct sockaddr *)&a, size) == 0, "connect");
    end[SERVER] = accept(l, NULL, NULL);
    for (int i = 0; i < 2; i++)
        setsockopt(end[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    close(l);
}

static void *sleep_on(void *p)
{
    pause();
    return p;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
    int end[2], ep = epoll_create1(0);
    long n = argc > 2 ? atol(argv[2]) : 100000, done = 0;
    char buf[ROOM] = "ping";
    pthread_t thread;
    for (int i = argc > 3 ? atoi(argv[3]) : 0; i > 0; i--)
        must(pthread_create(&thread, NULL, sleep_on, NULL) == 0, "pthread_create");
    if (argc > 1 && strcmp(argv[1], "unix") == 0)
        must(socketpair(AF_UNIX, SOCK_STREAM, 0, end) == 0, "socketpair");
    else
        connect_tcp(end);
    for (int i = 0; i < 2; i++) {
        struct epoll_event e = { .events = EPOLLIN | EPOLLET, .data.fd = end[i] };
        fcntl(end[i], F_SETFL, O_NONBLOCK);
        must(epoll_ctl(ep, EPOLL_CTL_ADD, end[i], &e) == 0, "epoll_ctl");
    }
    double begin = now();
    must(write(end[CLIENT], buf, SIZE) == SIZE, "write");
    while (done < n) {
        struct epoll_event e;
        must(epoll_wait(ep, &e, 1, -1) == 1, "epoll_wait");
        must(read(e.data.fd, buf, ROOM) == SIZE, "read");
        done += e.data.fd == end[CLIENT];
        must(write(e.data.fd, buf, SIZE) == SIZE, "write");
    }
    printf("%.1f\n", (now() - begin) / (double)n);
    return 0;
}

/* epoll_http.c with goroutines: the same answer, no parser either. What the runtime takes is the
 * difference to that; what httpd takes besides, the difference to this.  usage: plain_http PORT */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <stdio.h>
#include <string.h>

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
                             "Content-Length: 13\r\n\r\nHello, World!";

/* One read; an answer for each end of a head. A head that is cut by the read is not seen. */
static int answer_once(int fd)
{
    char in[8192], out[8192];
    size_t n_out = 0;
    ssize_t n = gor_read(fd, in, sizeof in - 1);
    if (n <= 0)
        return -1;
    in[n] = 0;
    for (char *p = in; (p = strstr(p, "\r\n\r\n")) != NULL; p += 4)
        if (n_out + sizeof answer < sizeof out) {
            memcpy(out + n_out, answer, sizeof answer - 1);
            n_out += sizeof answer - 1;
        }
    return gor_write_all(fd, out, n_out) == (ssize_t)n_out ? 0 : -1;
}

static void serve(void *arg)
{
    int fd = (int)(intptr_t)arg;
    while (answer_once(fd) == 0)
        ;
    gor_fd_close(fd);
}

GOR_MAIN
{
    char addr[32];
    int l, fd;
    snprintf(addr, sizeof addr, "127.0.0.1:%s", argc > 1 ? argv[1] : "8082");
    l = gor_listen("tcp", addr, 0);
    if (l < 0)
        gor_panic("plain_http: %s: %s", addr, gor_strerror(l));
    while ((fd = gor_accept(l, NULL, NULL)) >= 0)
        gor_go(serve, (void *)(intptr_t)fd);
    return 0;
}

/* epoll_http.c with goroutines: the same answer, no parser either. What the runtime takes is the
 * difference to that; what httpd takes besides, the difference to this.  usage: plain_http PORT */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <stdio.h>

#include "answer.h"

/* One read; an answer for each end of a head. A head that is cut by the read is not seen. */
static int answer_once(int fd)
{
    char in[8192], out[8192];
    size_t n_out;
    ssize_t n = gor_read(fd, in, sizeof in - 1);
    if (n <= 0)
        return -1;
    in[n] = 0;
    n_out = answers(in, out, sizeof out);
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

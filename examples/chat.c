/* chat: a room over TCP. The first line that a client sends is its name; each further one goes to
 * everybody else.
 *
 *     chat [host:port]         default 127.0.0.1:7000; then e.g.  nc 127.0.0.1 7000
 *
 * One goroutine owns the room and hears of everything through one channel, so nothing is locked. A
 * member has a queue and a goroutine that empties it; who does not keep up is sent away.
 * Build: cc -O2 examples/chat.c -I. -pthread */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 512, NAME = 32, QUEUE = 64, MEMBERS = 1000 };

struct line { char text[LINE]; };

struct member {
    int       fd;
    char      name[NAME];
    gor_chan *queue;                            /* of struct line, for the writer */
    gor_wg    writer;
};

enum what { JOINED, SAID, LEFT };

struct event {
    enum what what;
    struct member *who;
    gor_chan *done;                             /* closed when the room knows */
    struct line line;
};

static gor_chan *events;

static void write_lines(void *arg)
{
    struct member *m = arg;
    struct line l;
    while (gor_recv(m->queue, &l) == 0)
        if (gor_write_all(m->fd, l.text, strlen(l.text)) < 0)
            break;
}

static void tell_all(struct member **all, int n, const struct member *but, const struct line *l)
{
    for (int i = 0; i < n; i++)
        if (all[i] != but && gor_try_send(all[i]->queue, l) != 0)
            shutdown(all[i]->fd, SHUT_RDWR);    /* it does not read: its reader sees the end */
}

/* The owner of the room. */
static void room(void *arg)
{
    static struct member *all[MEMBERS];
    struct event e;
    int n = 0;
    (void)arg;
    while (gor_recv(events, &e) == 0) {
        struct line l;
        const char *form = e.what == JOINED ? "* %s joins\n" : "* %s leaves\n";
        if (e.what == SAID) {
            tell_all(all, n, e.who, &e.line);
            continue;
        }
        snprintf(l.text, sizeof l.text, form, e.who->name);
        if (e.what == JOINED && n < MEMBERS)
            all[n++] = e.who;
        for (int i = 0; e.what == LEFT && i < n; i++)
            if (all[i] == e.who)
                all[i--] = all[--n];
        tell_all(all, n, e.who, &l);
        gor_chan_close(e.done);
    }
}

/* Tell the room, and wait until it knows. */
static void announce(enum what what, struct member *m)
{
    struct event e = { .what = what, .who = m, .done = gor_chan_new(0, 0) };
    if (!e.done)
        gor_panic("chat: out of memory");
    gor_send(events, &e);
    gor_chan_recv(e.done, NULL, 0);
    gor_chan_release(e.done);
}

/* The next line, without its end, cut at size. False: the connection has ended. */
struct reader { int fd; size_t n, at; char buf[1024]; };

static bool read_line(struct reader *r, char *line, size_t size)
{
    size_t n = 0;
    for (;;) {
        while (r->at < r->n) {
            char c = r->buf[r->at++];
            if (c == '\n') {
                line[n] = 0;
                return true;
            }
            if (n + 1 < size && c != '\r')
                line[n++] = c;
        }
        ssize_t got = gor_read(r->fd, r->buf, sizeof r->buf);
        if (got <= 0)
            return false;
        r->n = (size_t)got;
        r->at = 0;
    }
}

static void talk(struct member *m, struct reader *r)
{
    char text[LINE - NAME - 8];
    announce(JOINED, m);
    while (read_line(r, text, sizeof text)) {
        struct event e = { .what = SAID, .who = m };
        snprintf(e.line.text, sizeof e.line.text, "%s: %s\n", m->name, text);
        gor_send(events, &e);
    }
    announce(LEFT, m);
}

static void serve(void *arg)
{
    struct member m = { .fd = (int)(intptr_t)arg, .queue = gor_chan_new(sizeof(struct line), QUEUE) };
    struct reader r = { .fd = m.fd };
    if (m.queue && gor_wg_go(&m.writer, write_lines, &m) == 0) {
        if (read_line(&r, m.name, sizeof m.name))
            talk(&m, &r);
        shutdown(m.fd, SHUT_RDWR);
        gor_chan_close(m.queue);
        gor_wg_wait(&m.writer);
    }
    gor_chan_release(m.queue);
    gor_fd_close(m.fd);
}

static void accept_all(void *arg)
{
    int l = (int)(intptr_t)arg, fd;
    while ((fd = gor_accept(l, NULL, NULL)) != -EBADF)
        if (fd < 0)
            gor_sleep(10 * GOR_MS);
        else if (gor_go(serve, (void *)(intptr_t)fd) != 0)
            gor_fd_close(fd);
}

GOR_MAIN
{
    const char *addr = argc > 1 ? argv[1] : "127.0.0.1:7000";
    const int sigs[] = { SIGTERM, SIGINT };
    gor_chan *quit = gor_chan_new(sizeof(int), 1);
    int l = gor_listen("tcp", addr, 0), sig;
    events = gor_chan_new(sizeof(struct event), 16);
    if (l < 0 || !quit || !events || gor_signal_notify(quit, sigs, 2) != 0) {
        fprintf(stderr, "chat: %s: %s\n", addr, gor_strerror(l));
        return 1;
    }
    gor_go(room, NULL);
    gor_go(accept_all, (void *)(intptr_t)l);
    fprintf(stderr, "chat: listening on %s\n", addr);
    gor_recv(quit, &sig);
    gor_fd_close(l);
    gor_signal_stop(quit);
    gor_chan_release(quit);
    return 0;
}

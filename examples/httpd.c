/* httpd: an HTTP/1.1 server, one goroutine per connection.
 *
 *     httpd [-a host:port] [-d directory] [-t seconds] [-k seconds]
 *                                      default 127.0.0.1:8080, no files, 10 and 60 seconds
 *
 * Keep-alive and pipelining; static files below the directory, a plain-text route and a JSON route,
 * and some that misbehave, for clients to be tested with. Limits: 8 KB of request line and headers,
 * -t seconds for a request to arrive, -k between requests. On SIGTERM or Ctrl-C it takes no more
 * connections, finishes the requests in flight and ends. llhttp parses; see the Makefile. */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include "llhttp.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { IN_SIZE = 8192, OUT_SIZE = 8192, URL_SIZE = 2048, HEAD_LIMIT = 8192 };
#define WARM_TIME (1 * GOR_SEC)                 /* how long an idle connection keeps its buffers */

struct buffers {                                /* a busy connection's; idle ones have none */
    struct buffers *next;
    size_t n_out, n_url;
    char   in[IN_SIZE], out[OUT_SIZE], url[URL_SIZE + 1];
};

struct conn {
    struct conn *next, *prev;                   /* of all, under server.lock */
    int          fd;
    _Atomic int  idle;                          /* waits for the first byte of a request */
    bool         failed;                        /* writing to it has */
    size_t       n_head;                        /* bytes of this request's line and headers */
    int64_t      since;                         /* when its first bytes came */
    struct buffers *b;
    llhttp_t     parser;
};

static struct {
    gor_mutex    lock;
    struct conn *conns;
    struct buffers *spare;
    gor_wg       wg;
    _Atomic int  stopping;
    _Atomic long n_requests, n_conns;
    const char  *dir;
    int64_t      request_time, idle_time;       /* for a request to arrive; between requests */
} server = { .request_time = 10 * GOR_SEC, .idle_time = 60 * GOR_SEC };

static llhttp_settings_t settings;

/* -- buffers ----------------------------------------------------------------------------------- */

static bool take_buffers(struct conn *c)
{
    gor_mutex_lock(&server.lock);
    c->b = server.spare;
    if (c->b)
        server.spare = c->b->next;
    gor_mutex_unlock(&server.lock);
    if (!c->b)
        c->b = malloc(sizeof *c->b);
    if (c->b)
        c->b->n_out = c->b->n_url = 0;
    return c->b != NULL;
}

static void drop_buffers(struct conn *c)
{
    if (!c->b)
        return;
    gor_mutex_lock(&server.lock);
    c->b->next = server.spare;
    server.spare = c->b;
    gor_mutex_unlock(&server.lock);
    c->b = NULL;
}

/* -- writing ----------------------------------------------------------------------------------- */

static void flush(struct conn *c)
{
    struct buffers *b = c->b;
    if (b->n_out && !c->failed &&
        gor_write_all_until(c->fd, b->out, b->n_out, c->since + server.request_time) < 0)
        c->failed = true;
    b->n_out = 0;
}

static void put(struct conn *c, const void *data, size_t n)
{
    const char *from = data;
    while (n) {
        size_t room = OUT_SIZE - c->b->n_out, part = n < room ? n : room;
        memcpy(c->b->out + c->b->n_out, from, part);
        c->b->n_out += part;
        from += part;
        n -= part;
        if (n)
            flush(c);
    }
}

static bool keeps_alive(struct conn *c)
{
    return llhttp_should_keep_alive(&c->parser) && !atomic_load(&server.stopping);
}

static void put_head(struct conn *c, const char *status, const char *type, long long length)
{
    char head[512];
    int n = snprintf(head, sizeof head,
                     "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %lld\r\n%s\r\n", status,
                     type, length, keeps_alive(c) ? "" : "Connection: close\r\n");
    put(c, head, (size_t)n);
}

static void put_text(struct conn *c, const char *status, const char *text)
{
    put_head(c, status, "text/plain", (long long)strlen(text));
    if (c->parser.method != HTTP_HEAD)
        put(c, text, strlen(text));
}

/* -- routes ------------------------------------------------------------------------------------ */

static void plain(struct conn *c)
{
    static const char keep[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
                               "Content-Length: 13\r\n\r\nHello, World!";
    if (keeps_alive(c) && c->parser.method == HTTP_GET)
        put(c, keep, sizeof keep - 1);
    else
        put_text(c, "200 OK", "Hello, World!");
}

static void json(struct conn *c)
{
    char text[200];
    int n = snprintf(text, sizeof text,
                     "{\"message\":\"Hello, World!\",\"requests\":%ld,\"connections\":%ld}\n",
                     atomic_load(&server.n_requests), atomic_load(&server.n_conns));
    put_head(c, "200 OK", "application/json", n);
    put(c, text, (size_t)n);
}

static const char *type_of(const char *path)
{
    static const char *const types[][2] = {
        { ".html", "text/html" }, { ".css", "text/css" }, { ".js", "text/javascript" },
        { ".txt", "text/plain" }, { ".c", "text/plain" }, { ".h", "text/plain" },
        { ".svg", "image/svg+xml" }, { ".png", "image/png" }
    };
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < sizeof types / sizeof *types; i++)
        if (strcmp(dot, types[i][0]) == 0)
            return types[i][1];
    return "application/octet-stream";
}

static void send_file(struct conn *c, int fd, long long left)
{
    while (left > 0 && !c->failed) {
        ssize_t n;
        c->since = gor_now();                   /* a large file may take its time */
        flush(c);
        n = gor_read(fd, c->b->out, left < OUT_SIZE ? (size_t)left : OUT_SIZE);
        if (n <= 0) {                           /* shorter than it was: the client must see that */
            c->failed = true;
            return;
        }
        c->b->n_out = (size_t)n;
        left -= n;
    }
}

static void file(struct conn *c, const char *url)
{
    char path[URL_SIZE + 300];
    struct stat st;
    int fd;
    if (!server.dir || strstr(url, "..") || strchr(url, '%')) {
        put_text(c, "404 Not Found", "not found\n");
        return;
    }
    snprintf(path, sizeof path, "%s%s%s", server.dir, url,
             url[strlen(url) - 1] == '/' ? "index.html" : "");
    fd = gor_open(path, O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        put_text(c, fd == -EACCES ? "403 Forbidden" : "404 Not Found", "not found\n");
    } else {
        put_head(c, "200 OK", type_of(path), (long long)st.st_size);
        if (c->parser.method != HTTP_HEAD)
            send_file(c, fd, (long long)st.st_size);
    }
    if (fd >= 0)
        gor_fd_close(fd);
}

/* Pages that misbehave: slow, broken off, redirecting, without end. */
static bool odd(struct conn *c, const char *url)
{
    if (strcmp(url, "/slow") == 0) {
        gor_sleep(2 * GOR_SEC);
        c->since = gor_now();
        put_text(c, "200 OK", "at last\n");
    } else if (strcmp(url, "/broken") == 0) {
        put(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nno mo", 45);
        flush(c);
        c->failed = true;
    } else if (strcmp(url, "/redirect") == 0) {
        static const char text[] = "HTTP/1.1 302 Found\r\nLocation: /json\r\n"
                                   "Content-Length: 0\r\n\r\n";
        put(c, text, sizeof text - 1);
    } else if (strcmp(url, "/endless") == 0) {
        static const char text[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        put(c, text, sizeof text - 1);
        while (!c->failed && !atomic_load(&server.stopping)) {
            put(c, "5\r\nmore\n\r\n", 10);
            c->since = gor_now();
            flush(c);
            gor_sleep(10 * GOR_MS);
        }
        c->failed = true;
    } else {
        return false;
    }
    return true;
}

/* -- requests: what llhttp tells ------------------------------------------------------------- */

static struct conn *conn_of(llhttp_t *p) { return p->data; }

static int on_begin(llhttp_t *p)
{
    conn_of(p)->b->n_url = 0;
    conn_of(p)->n_head = 0;
    return 0;
}

/* Each piece of a request's head counts. */
static int on_piece(llhttp_t *p, const char *at, size_t n)
{
    struct conn *c = conn_of(p);
    (void)at;
    c->n_head += n;
    return c->n_head > HEAD_LIMIT ? HPE_USER : 0;
}

static int on_url(llhttp_t *p, const char *at, size_t n)
{
    struct buffers *b = conn_of(p)->b;
    if (n > URL_SIZE - b->n_url)
        return HPE_USER;
    memcpy(b->url + b->n_url, at, n);
    b->n_url += n;
    return on_piece(p, at, n);
}

static int on_complete(llhttp_t *p)
{
    struct conn *c = conn_of(p);
    struct buffers *b = c->b;
    atomic_fetch_add_explicit(&server.n_requests, 1, memory_order_relaxed);
    b->url[b->n_url] = 0;
    if (strchr(b->url, '?'))
        *strchr(b->url, '?') = 0;
    if (p->method != HTTP_GET && p->method != HTTP_HEAD)
        put_text(c, "405 Method Not Allowed", "only GET and HEAD\n");
    else if (strcmp(b->url, "/plain") == 0)
        plain(c);
    else if (strcmp(b->url, "/json") == 0)
        json(c);
    else if (b->url[0] != '/' || !odd(c, b->url))
        file(c, b->url);
    b->n_url = 0;
    return c->failed || !keeps_alive(c) ? HPE_USER : 0;
}

static void refuse(struct conn *c)
{
    if (c->failed || c->parser.error == HPE_OK)
        return;
    c->parser.flags = 0;
    put_text(c, c->n_head > HEAD_LIMIT || c->b->n_url >= URL_SIZE
                    ? "431 Request Header Fields Too Large" : "400 Bad Request", "no\n");
}

/* -- connections ------------------------------------------------------------------------------- */

/* Between two requests: is there another one? Buffers are kept for a second. Returns the bytes. */
static ssize_t next_request(struct conn *c)
{
    ssize_t n;
    atomic_store(&c->idle, 1);
    if (atomic_load(&server.stopping))
        return 0;
    n = c->b ? gor_read_until(c->fd, c->b->in, IN_SIZE, c->since + WARM_TIME) : -ETIMEDOUT;
    if (n == -ETIMEDOUT) {
        drop_buffers(c);
        n = gor_wait_fd_until(c->fd, GOR_READ, c->since + server.idle_time);
        if (n > 0)
            n = take_buffers(c) ? gor_read(c->fd, c->b->in, IN_SIZE) : -ENOMEM;
    }
    atomic_store(&c->idle, 0);
    return n;
}

static void converse(struct conn *c)
{
    bool between = true;                        /* two requests */
    for (;;) {
        llhttp_errno_t err;
        ssize_t n = between ? next_request(c)
                            : gor_read_until(c->fd, c->b->in, IN_SIZE,
                                             c->since + server.request_time);
        if (n <= 0)
            return;
        if (between)
            c->since = gor_now();
        err = llhttp_execute(&c->parser, c->b->in, (size_t)n);
        if (err != HPE_OK && err != HPE_USER)
            refuse(c);
        else if (err == HPE_USER && c->n_head > HEAD_LIMIT)
            refuse(c);
        flush(c);
        if (err != HPE_OK || c->failed)
            return;
        between = c->b->n_url == 0;
    }
}

/* What the client still sends is read, or the last answer could be lost in a reset. Not inlined: an
 * idle connection would pay for the array with a page of its stack. */
__attribute__((noinline)) static void say_goodbye(struct conn *c)
{
    char sink[512];
    if (!c->failed && shutdown(c->fd, SHUT_WR) == 0)
        while (gor_read_until(c->fd, sink, sizeof sink, gor_now() + GOR_SEC / 5) > 0)
            ;
    gor_fd_close(c->fd);
}

static void enlist(struct conn *c)
{
    gor_mutex_lock(&server.lock);
    c->next = server.conns;
    if (c->next)
        c->next->prev = c;
    server.conns = c;
    gor_mutex_unlock(&server.lock);
    atomic_fetch_add(&server.n_conns, 1);
}

static void delist(struct conn *c)
{
    gor_mutex_lock(&server.lock);
    *(c->prev ? &c->prev->next : &server.conns) = c->next;
    if (c->next)
        c->next->prev = c->prev;
    gor_mutex_unlock(&server.lock);
    atomic_fetch_sub(&server.n_conns, 1);
}

static void serve(void *arg)
{
    struct conn *c = calloc(1, sizeof *c);
    int fd = (int)(intptr_t)arg;
    if (!c) {
        gor_fd_close(fd);
        return;
    }
    c->fd = fd;
    c->since = gor_now();
    llhttp_init(&c->parser, HTTP_REQUEST, &settings);
    c->parser.data = c;
    enlist(c);
    converse(c);
    delist(c);
    drop_buffers(c);
    say_goodbye(c);
    free(c);
}

static void accept_all(void *arg)
{
    int l = (int)(intptr_t)arg, fd;
    while ((fd = gor_accept(l, NULL, NULL)) != -EBADF) {
        if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM || fd == -ENOBUFS)
            gor_sleep(10 * GOR_MS);             /* others will leave */
        else if (fd >= 0 && gor_wg_go(&server.wg, serve, (void *)(intptr_t)fd) != 0)
            gor_fd_close(fd);
    }
}

/* The idle ones see the end of their input; the others find out by themselves. */
static void stop(int l)
{
    atomic_store(&server.stopping, 1);
    gor_fd_close(l);
    gor_mutex_lock(&server.lock);
    for (struct conn *c = server.conns; c; c = c->next)
        if (atomic_load(&c->idle))
            shutdown(c->fd, SHUT_RD);
    gor_mutex_unlock(&server.lock);
    gor_wg_wait(&server.wg);
}

static void init_settings(void)
{
    llhttp_settings_init(&settings);
    settings.on_message_begin = on_begin;
    settings.on_url = on_url;
    settings.on_header_field = on_piece;
    settings.on_header_value = on_piece;
    settings.on_message_complete = on_complete;
}

GOR_MAIN
{
    const char *addr = "127.0.0.1:8080";
    const int sigs[] = { SIGTERM, SIGINT };
    gor_chan *quit = gor_chan_new(sizeof(int), 1);
    int l, sig = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "-a") == 0)
            addr = argv[i + 1];
        else if (strcmp(argv[i], "-d") == 0)
            server.dir = argv[i + 1];
        else if (strcmp(argv[i], "-t") == 0)
            server.request_time = (int64_t)(atof(argv[i + 1]) * 1e9);
        else if (strcmp(argv[i], "-k") == 0)
            server.idle_time = (int64_t)(atof(argv[i + 1]) * 1e9);
    }
    init_settings();
    l = gor_listen("tcp", addr, 0);
    if (l < 0 || !quit || gor_signal_notify(quit, sigs, 2) != 0) {
        fprintf(stderr, "httpd: %s: %s\n", addr, gor_strerror(l));
        return 1;
    }
    gor_go(accept_all, (void *)(intptr_t)l);
    fprintf(stderr, "httpd: listening on %s\n", addr);
    gor_recv(quit, &sig);
    fprintf(stderr, "httpd: %s, finishing %ld connections\n", strsignal(sig),
            atomic_load(&server.n_conns));
    stop(l);
    fprintf(stderr, "httpd: %ld requests served\n", atomic_load(&server.n_requests));
    while (server.spare) {
        struct buffers *b = server.spare;
        server.spare = b->next;
        free(b);
    }
    gor_signal_stop(quit);
    gor_chan_release(quit);
    return 0;
}

/* The network, files, processes and signals. All traffic stays on loopback. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <fcntl.h>
#include <netdb.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The system calls that may take long go through here, so that a test can make one take long. */
enum slow_call { NONE, LOOK_UP, OPEN, READ, PREAD, WRITE, PWRITE, FSYNC, WAITPID, N_SLOW };
static void be_slow(enum slow_call call, int fd);

static int slow_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                            struct addrinfo **list);
#define GOR__RAW_SYSCALLS 0            /* what follows sees libc's calls only */
#define getaddrinfo(host, port, hints, list) slow_getaddrinfo(host, port, hints, list)
#define open(...) (be_slow(OPEN, -1), open(__VA_ARGS__))
#define read(fd, buf, n) (be_slow(READ, fd), read(fd, buf, n))
#define pread(fd, buf, n, at) (be_slow(PREAD, fd), pread(fd, buf, n, at))
#define write(fd, buf, n) (be_slow(WRITE, fd), write(fd, buf, n))
#define pwrite(fd, buf, n, at) (be_slow(PWRITE, fd), pwrite(fd, buf, n, at))
#define fsync(fd) (be_slow(FSYNC, fd), fsync(fd))
#define waitpid(pid, status, flags) (be_slow((flags) ? NONE : WAITPID, -1), \
                                     waitpid(pid, status, flags))
/* As in a kernel before 5.3, or in a container that forbids it: the error, or 0. */
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
static int refuse_pidfd(long number);
#define syscall(number, ...)                                                                       \
    (refuse_pidfd(number) ? -1L : syscall(number, ##__VA_ARGS__))
#define TEST_INSIDE
#include "test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>

static char *scratch(const char *name)
{
    static _Atomic int n;
    char *path = malloc(100);
    snprintf(path, 100, "/tmp/gor-test-%d-%d-%s", (int)getpid(), atomic_fetch_add(&n, 1), name);
    return path;
}

static void discard(char *path)
{
    unlink(path);
    free(path);
}

/* The port that a listening socket got. */
static int port_of(int fd)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    IS(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    return ntohs(sa.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&sa)->sin6_port
                                          : ((struct sockaddr_in *)&sa)->sin_port);
}

static char *addr_of(const char *host, int port)
{
    char *addr = malloc(100);
    snprintf(addr, 100, "%s:%d", host, port);
    return addr;
}

static bool have_ipv6(void)
{
    int fd = gor_listen("tcp6", "[::1]:0", 0);
    if (fd >= 0)
        gor_fd_close(fd);
    return fd >= 0;
}

/* -- listening and dialing --------------------------------------------------------------------- */

static void exchange(const char *network, const char *addr, int l)
{
    char buf[8] = "";
    int a = gor_dial(network, addr, gor_now() + 60 * GOR_SEC), b;
    if (!OK(a >= 0))
        return;
    b = gor_accept(l, NULL, NULL);
    OK(b >= 0);
    IS(gor_write_all(a, "ping", 4), 4);
    IS(gor_read_full(b, buf, 4), 4);
    IS_STR(buf, "ping");
    IS(gor_write_all(b, "pong", 4), 4);
    IS(gor_read_full(a, buf, 4), 4);
    IS_STR(buf, "pong");
    IS(gor_fd_close(a), 0);
    IS(gor_read(b, buf, 1), 0);
    IS(gor_fd_close(b), 0);
}

TEST(tcp_connects_by_every_form_of_address)
{
    const char *listen_at[] = { "127.0.0.1:0", "localhost:0", ":0", "127.0.0.1:", "[::]:0" };
    for (size_t i = 0; i < sizeof listen_at / sizeof *listen_at; i++) {
        int l;
        char *addr;
        if (i == 4 && !have_ipv6()) {
            test_skip("machine: no IPv6");
            continue;
        }
        l = gor_listen(i == 1 ? "tcp4" : "tcp", listen_at[i], 16);
        if (!OK(l >= 0))
            continue;
        if (i < 4) {
            addr = addr_of("127.0.0.1", port_of(l));
            exchange("tcp", addr, l);
            exchange("tcp4", addr, l);
            free(addr);
            addr = addr_of("localhost", port_of(l));
            exchange("tcp", addr, l);
            free(addr);
        }
        if ((i == 2 || i == 4) && have_ipv6()) {
            addr = addr_of("[::1]", port_of(l));
            exchange("tcp", addr, l);
            exchange("tcp6", addr, l);
            free(addr);
        }
        IS(gor_fd_close(l), 0);
    }
}

TEST(unix_sockets_connect_by_path_and_by_abstract_name)
{
    char *path = scratch("sock"), name[64];
    int l = gor_listen("unix", path, 0);
    OK(l >= 0);
    exchange("unix", path, l);
    IS(gor_listen("unix", path, 0), -EADDRINUSE);
    IS(gor_fd_close(l), 0);
    IS(gor_dial("unix", path, GOR_FOREVER), -ECONNREFUSED);
    discard(path);
    snprintf(name, sizeof name, "@gor-test-%d", (int)getpid());
    l = gor_listen("unix", name, 0);
    OK(l >= 0);
    exchange("unix", name, l);
    IS(gor_fd_close(l), 0);
}

TEST(datagrams_keep_their_borders_and_their_sender)
{
    struct sockaddr_in from;
    socklen_t len = sizeof from;
    char buf[16] = "", *addr;
    int s = gor_listen("udp4", "127.0.0.1:0", 0), c;
    OK(s >= 0);
    addr = addr_of("127.0.0.1", port_of(s));
    c = gor_dial("udp", addr, GOR_FOREVER);
    OK(c >= 0);
    IS(gor_recvfrom_until(s, buf, 16, 0, NULL, NULL, gor_now() + GOR_MS), -ETIMEDOUT);
    IS(gor_write(c, "one", 3), 3);
    IS(gor_sendto(c, "twelve", 6, 0, NULL, 0), 6);
    IS(gor_recvfrom(s, buf, sizeof buf, 0, (struct sockaddr *)&from, &len), 3);
    IS(gor_recvfrom(s, buf, 3, 0, (struct sockaddr *)&from, &len), 3);
    IS(len, sizeof from);
    IS(ntohs(from.sin_port), port_of(c));
    IS(gor_sendto(s, "back", 4, 0, (struct sockaddr *)&from, len), 4);
    IS(gor_read(c, buf, sizeof buf), 4);
    free(addr);
    IS(gor_fd_close(c), 0);
    IS(gor_fd_close(s), 0);
}

TEST(a_refused_connection_is_said_so)
{
    int l = gor_listen("tcp", "127.0.0.1:0", 0);
    char *addr = addr_of("127.0.0.1", port_of(l));
    IS(gor_fd_close(l), 0);
    IS(gor_dial("tcp", addr, gor_now() + 60 * GOR_SEC), -ECONNREFUSED);
    free(addr);
    IS(gor_dial("unix", "/nowhere/at/all", GOR_FOREVER), -ENOENT);
}

TEST(bad_networks_and_addresses_are_refused)
{
    const char *bad[] = { "", "localhost", "1.2.3.4", "127.0.0.1:65536", "127.0.0.1:-1",
                          "127.0.0.1:+1", "127.0.0.1:99999999999", "127.0.0.1: 80", "::1:80",
                          "[::1:80", "[::1]80", "a:b:c" };
    char path[200], host[400];
    gor_addr a[2];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        test_is(gor_dial("tcp", bad[i], GOR_FOREVER), -EINVAL, bad[i], TEST_WHERE);
        test_is(gor_listen("tcp", bad[i], 0), -EINVAL, bad[i], TEST_WHERE);
        test_is(gor_resolve("tcp", bad[i], a, 2, GOR_FOREVER), -EINVAL, bad[i], TEST_WHERE);
    }
    IS(gor_dial("tpc", "127.0.0.1:1", GOR_FOREVER), -EINVAL);
    IS(gor_dial("", "127.0.0.1:1", GOR_FOREVER), -EINVAL);
    IS(gor_dial(NULL, "127.0.0.1:1", GOR_FOREVER), -EINVAL);
    IS(gor_dial("tcp", NULL, GOR_FOREVER), -EINVAL);
    IS(gor_listen("unix", "", 0), -EINVAL);
    IS(gor_resolve("tcp", "127.0.0.1:1", NULL, 1, GOR_FOREVER), -EINVAL);
    IS(gor_resolve("tcp", "127.0.0.1:1", a, 0, GOR_FOREVER), -EINVAL);
    memset(path, 'x', sizeof path);
    path[sizeof path - 1] = 0;
    IS(gor_listen("unix", path, 0), -ENAMETOOLONG);
    IS(gor_dial("unix", path, GOR_FOREVER), -ENAMETOOLONG);
    path[108] = 0;
    IS(gor_listen("unix", path, 0), -ENAMETOOLONG);
    memset(host, 'x', sizeof host);
    strcpy(host + 300, ":80");
    IS(gor_dial("tcp", host, GOR_FOREVER), -ENAMETOOLONG);
    IS(gor_listen("tcp", "203.0.113.1:0", 0), -EADDRNOTAVAIL);
}

TEST(an_address_in_use_is_said_so)
{
    int l = gor_listen("tcp", "127.0.0.1:0", 0);
    char *addr = addr_of("127.0.0.1", port_of(l));
    IS(gor_listen("tcp", addr, 0), -EADDRINUSE);
    IS(gor_fd_close(l), 0);
    l = gor_listen("tcp", addr, 0);                /* free at once when closed */
    OK(l >= 0);
    IS(gor_fd_close(l), 0);
    free(addr);
}

TEST(numbers_resolve_without_asking)
{
    gor_addr a[4];
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)&a[0].sa;
    IS(gor_resolve("tcp", "127.0.0.1:8080", a, 4, 0), 1);
    IS(in->sin_family, AF_INET);
    IS(ntohs(in->sin_port), 8080);
    IS(ntohl(in->sin_addr.s_addr), 0x7f000001);
    IS(gor_resolve("tcp6", "[::1]:1", a, 4, 0), 1);
    IS(a[0].sa.ss_family, AF_INET6);
    IS(gor_resolve("unix", "/a/path", a, 4, 0), 1);
    IS(a[0].sa.ss_family, AF_UNIX);
    OK(gor_resolve("tcp4", "localhost:80", a, 4, gor_now() + 60 * GOR_SEC) >= 1);
    IS(ntohl(in->sin_addr.s_addr), 0x7f000001);
}

/* -- who counts while others may be stuck ------------------------------------------------------- */

struct progress {
    _Atomic int stop;
    _Atomic long n;
};

static void make_progress(void *p)
{
    struct progress *g = p;
    while (!atomic_load(&g->stop)) {
        atomic_fetch_add(&g->n, 1);
        gor_yield();
    }
}

/* The call that is slow now, until the counter has counted to a thousand meanwhile. */
static struct {
    _Atomic int      call;             /* enum slow_call                                       */
    _Atomic int      n_calls, n_held;  /* how many; of those, while their thread had a P       */
    int              fd;
    struct progress *beside;
} slow;

static void be_slow(enum slow_call call, int fd)
{
    if (call == NONE || (int)call != atomic_load(&slow.call) || (fd >= 0 && fd != slow.fd))
        return;
    atomic_fetch_add(&slow.n_held, gor__self() != NULL);
    for (long before = atomic_load(&slow.beside->n); atomic_load(&slow.beside->n) < before + 1000;)
        usleep(100);
    atomic_fetch_add(&slow.n_calls, 1);
}

static void slow_begins(enum slow_call call, struct progress *beside)
{
    slow.beside = beside;
    atomic_store(&slow.n_calls, 0);
    atomic_store(&slow.n_held, 0);
    atomic_store(&slow.call, call);
}

/* It is not enough that others go on: a processor that was held is taken away after a while. */
static bool slow_ends(int n_calls)
{
    atomic_store(&slow.call, NONE);
    return IS(slow.n_calls, n_calls) && IS(slow.n_held, 0);
}

#undef getaddrinfo
static int slow_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                            struct addrinfo **list)
{
    if (host && !(hints->ai_flags & AI_NUMERICHOST) && strcmp(host, "slow.invalid") == 0) {
        be_slow(LOOK_UP, -1);
        return EAI_NONAME;
    }
    return getaddrinfo(host, port, hints, list);
}

static void resolve_slowly(void *p)
{
    gor_addr a;
    IS(gor_resolve("tcp", "slow.invalid:80", &a, 1, GOR_FOREVER), -ENOENT);
    atomic_store((_Atomic int *)p, 1);
}

TEST(eight_slow_look_ups_stall_no_processor)
{
    struct progress g = { 0 };
    gor_wg wg = { 0 };
    _Atomic int done[8] = { 0 };
    slow_begins(LOOK_UP, &g);
    START(&wg, make_progress, &g);
    for (int i = 0; i < 8; i++)
        START(&wg, resolve_slowly, &done[i]);
    for (int i = 0; i < 8; i++)
        WAIT_FOR(atomic_load(&done[i]));
    slow_ends(8);
    atomic_store(&g.stop, 1);
    gor_wg_wait(&wg);
}

TEST(an_unresolvable_name_is_an_error)
{
    gor_addr a[4];
    OK(gor_resolve("tcp", "no-such-name.invalid:80", a, 4, gor_now() + 100 * GOR_SEC) < 0);
    OK(gor_dial("tcp", "no-such-name.invalid:80", gor_now() + 100 * GOR_SEC) < 0);
}

/* fd is a file of /proc, which no read can have from the page cache. */
static ssize_t make_call(enum slow_call call, int fd, const char *path)
{
    gor_addr a;
    char c = 0;
    switch (call) {
    case LOOK_UP: return gor_resolve("tcp", "slow.invalid:80", &a, 1, GOR_FOREVER);
    case OPEN:    return gor_fd_close(gor_open(path, O_RDWR, 0));
    case READ:    return gor_read(fd, &c, 1);
    case PREAD:   return gor_pread(fd, &c, 1, 0);
    case WRITE:   return gor_write(fd, &c, 1);
    case PWRITE:  return gor_pwrite(fd, &c, 1, 0);
    case FSYNC:   return gor_fsync(fd);
    default:      return gor_wait_pid(-1, NULL);
    }
}

TEST(whatever_may_take_long_gives_its_processor_away_first)
{
    struct progress g = { 0 };
    gor_wg wg = { 0 };
    char *path = scratch("slow");
    const int proc = open("/proc/version", O_RDONLY), file = open(path, O_CREAT | O_RDWR, 0600);
    const ssize_t want[N_SLOW] = { 0, -ENOENT, 0, 1, 1, 1, 1, 0, -ECHILD };
    OK(proc >= 0 && file >= 0);
    START(&wg, make_progress, &g);
    for (int call = LOOK_UP; call < N_SLOW; call++) {
        slow.fd = call == READ ? proc : file;
        IS(write(file, "x", 1), 1);
        slow_begins((enum slow_call)call, &g);
        IS(make_call((enum slow_call)call, slow.fd, path), want[call]);
        if (!slow_ends(1))
            test_say("# call %d\n", call);
    }
    atomic_store(&g.stop, 1);
    gor_wg_wait(&wg);
    IS(gor_fd_close(proc), 0);
    IS(gor_fd_close(file), 0);
    discard(path);
}

struct opening {
    char       *path;
    int         flags, fd;
    _Atomic int done;
};

static void open_it(void *p)
{
    struct opening *o = p;
    o->fd = gor_open(o->path, o->flags, 0);
    atomic_store(&o->done, 1);
}

TEST(opening_a_fifo_stalls_no_processor)
{
    struct progress g = { 0 };
    gor_wg wg = { 0 };
    struct opening in[8], out[8];
    char buf[4] = "";
    START(&wg, make_progress, &g);
    for (int i = 0; i < 8; i++) {
        in[i] = (struct opening){ .path = scratch("fifo"), .flags = O_RDONLY };
        IS(mkfifo(in[i].path, 0600), 0);
        START(&wg, open_it, &in[i]);
    }
    long before = atomic_load(&g.n);
    WAIT_FOR(atomic_load(&g.n) > before + 100);
    for (int i = 0; i < 8; i++) {
        IS(atomic_load(&in[i].done), 0);
        out[i] = (struct opening){ .path = in[i].path, .flags = O_WRONLY };
        START(&wg, open_it, &out[i]);
    }
    for (int i = 0; i < 8; i++) {
        WAIT_FOR(atomic_load(&in[i].done) && atomic_load(&out[i].done));
        OK(in[i].fd >= 0);
        IS(gor_read_until(in[i].fd, buf, 1, gor_now() + 1), -ETIMEDOUT);
        IS(gor_write(out[i].fd, "abc", 3), 3);
        IS(gor_read(in[i].fd, buf, 4), 3);
        IS(gor_fd_close(out[i].fd), 0);
        IS(gor_fd_close(in[i].fd), 0);
        discard(in[i].path);
    }
    atomic_store(&g.stop, 1);
    gor_wg_wait(&wg);
}

/* -- accept ------------------------------------------------------------------------------------ */

TEST(accept_survives_running_out_of_descriptors)
{
    int l = gor_listen("tcp", "127.0.0.1:0", 0), hoard[512], n = 0, c;
    char *addr = addr_of("127.0.0.1", port_of(l));
    struct rlimit old, few;
    getrlimit(RLIMIT_NOFILE, &old);
    c = gor_dial("tcp", addr, GOR_FOREVER);
    OK(c >= 0);
    OK(gor_wait_fd(l, GOR_READ) == GOR_READ);
    few = old;
    few.rlim_cur = 200;
    IS(setrlimit(RLIMIT_NOFILE, &few), 0);
    while (n < 512 && (hoard[n] = dup(l)) >= 0)
        n++;
    IS(gor_accept(l, NULL, NULL), -EMFILE);
    IS(gor_dial("tcp", addr, GOR_FOREVER), -EMFILE);
    while (n > 0)
        close(hoard[--n]);
    IS(setrlimit(RLIMIT_NOFILE, &old), 0);
    int s = gor_accept(l, NULL, NULL);             /* the connection has waited */
    OK(s >= 0);
    IS(gor_fd_close(s), 0);
    IS(gor_fd_close(c), 0);
    IS(gor_fd_close(l), 0);
    free(addr);
}

struct server {
    int         l;
    gor_wg      wg;
    _Atomic int n_served;
};

static void serve_one(void *p)
{
    int fd = (int)(intptr_t)p;
    char buf[256];
    ssize_t n;
    while ((n = gor_read(fd, buf, sizeof buf)) > 0)
        IS(gor_write_all(fd, buf, (size_t)n), n);
    gor_fd_close(fd);
}

static void serve(void *p)
{
    struct server *s = p;
    int fd;
    while ((fd = gor_accept(s->l, NULL, NULL)) >= 0) {
        atomic_fetch_add(&s->n_served, 1);
        START(&s->wg, serve_one, (void *)(intptr_t)fd);
    }
    IS(fd, -EBADF);
}

struct client {
    const char *network, *addr;
    int         n;
    _Atomic int n_wrong;
};

static void be_client(void *p)
{
    struct client *c = p;
    for (int i = 0; i < c->n; i++) {
        char out[64], in[64] = "";
        int fd = gor_dial(c->network, c->addr, gor_now() + 100 * GOR_SEC);
        snprintf(out, sizeof out, "hello from %llu, %d", (unsigned long long)gor_id(), i);
        size_t len = strlen(out);
        if (fd < 0 || gor_write_all(fd, out, len) != (ssize_t)len ||
            gor_read_full_until(fd, in, len, gor_now() + 100 * GOR_SEC) != (ssize_t)len ||
            strcmp(in, out) != 0)
            atomic_fetch_add(&c->n_wrong, 1);
        if (fd >= 0)
            gor_fd_close(fd);
    }
}

TEST(a_server_serves_many_clients)
{
    char *path = scratch("sock"), *addr;
    for (int k = 0; k < 2; k++) {
        struct server s = { 0 };
        gor_wg clients = { 0 }, acceptor = { 0 };
        struct client c = { .network = k ? "unix" : "tcp", .n = scaled(20) };
        s.l = gor_listen(c.network, k ? path : "127.0.0.1:0", 0);
        OK(s.l >= 0);
        addr = k ? strdup(path) : addr_of("127.0.0.1", port_of(s.l));
        c.addr = addr;
        START(&acceptor, serve, &s);
        for (int i = 0; i < 50; i++)
            START(&clients, be_client, &c);
        gor_wg_wait(&clients);
        IS(gor_fd_close(s.l), 0);
        gor_wg_wait(&acceptor);
        gor_wg_wait(&s.wg);
        IS(c.n_wrong, 0);
        IS(s.n_served, 50 * c.n);
        free(addr);
    }
    discard(path);
}

TEST(dial_ends_by_deadline_and_context)
{
    /* A full backlog does not answer. */
    int l = gor_listen("tcp", "127.0.0.1:0", 1), fd[64], n = 0;
    char *addr = addr_of("127.0.0.1", port_of(l));
    while (n < 64 && (fd[n] = gor_dial("tcp", addr, gor_now() + 20 * GOR_MS)) >= 0)
        n++;
    if (n < 64) {
        IS(fd[n], -ETIMEDOUT);
        gor_ctx *c = gor_ctx_with_timeout(NULL, 5 * GOR_MS), *old = gor_ctx_enter(c);
        IS(gor_dial("tcp", addr, GOR_FOREVER), -ETIMEDOUT);
        gor_ctx_enter(old);
        gor_ctx_release(c);
    }
    while (n > 0)
        IS(gor_fd_close(fd[--n]), 0);
    IS(gor_fd_close(l), 0);
    free(addr);
}

/* -- racing: ":PORT" is dialed at [::1] and at 127.0.0.1 ----------------------------------------- */

enum answer { REFUSES, ANSWERS, IS_SILENT };

/* One port at the two addresses, in the order in which they are dialed. */
struct two {
    gor_addr a[2];
    int      fd[2];
    int      crowd[2][8];              /* fill the backlog of a silent one */
    char     addr[32];
};

static void set_port(gor_addr *a, int port)
{
    if (a->sa.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)(void *)&a->sa)->sin6_port = htons((uint16_t)port);
    else
        ((struct sockaddr_in *)(void *)&a->sa)->sin_port = htons((uint16_t)port);
}

/* Bound, so that nobody else can answer there. */
static bool bind_one(struct two *t, int i, int port)
{
    int on = 1;
    set_port(&t->a[i], port);
    t->fd[i] = socket(t->a[i].sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (t->a[i].sa.ss_family == AF_INET6)
        setsockopt(t->fd[i], IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    return bind(t->fd[i], (struct sockaddr *)&t->a[i].sa, t->a[i].len) == 0;
}

/* What is in the backlog, is connected; what does not fit, gets no answer. */
static void fill_backlog(struct two *t, int i)
{
    for (int k = 0; k < 8; k++) {
        int type = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
        t->crowd[i][k] = socket(t->a[i].sa.ss_family, type, 0);
        IS(connect(t->crowd[i][k], (struct sockaddr *)&t->a[i].sa, t->a[i].len) < 0, 1);
    }
}

static void open_two(struct two *t, enum answer first, enum answer second)
{
    const enum answer how[2] = { first, second };
    memset(t, 0, sizeof *t);
    IS(gor_resolve("tcp", ":1", t->a, 2, GOR_FOREVER), 2);
    for (;;) {
        OK(bind_one(t, 0, 0));
        if (bind_one(t, 1, port_of(t->fd[0])))
            break;
        gor_fd_close(t->fd[0]);
        gor_fd_close(t->fd[1]);
    }
    snprintf(t->addr, sizeof t->addr, ":%d", port_of(t->fd[0]));
    set_port(&t->a[0], port_of(t->fd[0]));
    for (int i = 0; i < 2; i++) {
        if (how[i] != REFUSES)
            IS(listen(t->fd[i], how[i] == ANSWERS ? 16 : 1), 0);
        if (how[i] == IS_SILENT)
            fill_backlog(t, i);
    }
}

static void close_two(struct two *t)
{
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 8; k++)
            if (t->crowd[i][k] > 0)
                close(t->crowd[i][k]);
        IS(gor_fd_close(t->fd[i]), 0);
    }
}

static int n_fds(void)
{
    int n = 0;
    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* With the poller, which lives from the first wait on. */
static int fds_beside_poller(void)
{
    int fd[2];
    char c;
    IS(pipe2(fd, O_CLOEXEC), 0);
    IS(gor_read_until(fd[0], &c, 1, gor_now() + 1), -ETIMEDOUT);
    IS(gor_fd_close(fd[0]), 0);
    IS(gor_fd_close(fd[1]), 0);
    return n_fds();
}

/* Which of the two fd is connected to. */
static int winner(const struct two *t, int fd)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    IS(getpeername(fd, (struct sockaddr *)&sa, &len), 0);
    return sa.ss_family == t->a[1].sa.ss_family;
}

TEST(dial_takes_the_address_that_answers)
{
    int before, fd;
    struct two t;
    if (!have_ipv6())
        SKIP("machine: no IPv6");
    before = fds_beside_poller();
    for (int i = 0; i < 2; i++) {
        open_two(&t, i == 0 ? ANSWERS : REFUSES, i == 1 ? ANSWERS : REFUSES);
        exchange("tcp", t.addr, t.fd[i]);
        fd = gor_dial("tcp", t.addr, gor_now() + 60 * GOR_SEC);
        IS(winner(&t, fd), i);
        IS(gor_fd_close(fd), 0);
        close_two(&t);
    }
    open_two(&t, ANSWERS, ANSWERS);
    fd = gor_dial("tcp", t.addr, GOR_FOREVER);     /* the second one is not even asked */
    IS(winner(&t, fd), 0);
    IS(gor_accept_until(t.fd[1], NULL, NULL, 0), -ETIMEDOUT);
    IS(gor_fd_close(fd), 0);
    close_two(&t);
    open_two(&t, REFUSES, REFUSES);
    IS(gor_dial("tcp", t.addr, GOR_FOREVER), -ECONNREFUSED);
    close_two(&t);
    IS(n_fds(), before);
}

/* A race that takes its time, seen from outside: they all run at once. */
struct race {
    struct two t;
    int64_t    patience, took;         /* ns; patience 0: for ever */
    gor_ctx   *ctx;
    int        fd;
};

static void run_race(void *p)
{
    struct race *r = p;
    int64_t begin = gor_now();
    gor_ctx *old = gor_ctx_enter(r->ctx);
    r->fd = gor_dial("tcp", r->t.addr, r->patience ? begin + r->patience : GOR_FOREVER);
    gor_ctx_enter(old);
    r->took = gor_now() - begin;
}

TEST(a_silent_address_is_overtaken_after_a_quarter_second)
{
    enum { OVERTAKEN, REFUSED_LATER, EARLY, IN_MID_RACE, CANCELLED, TIMED_OUT, N };
    struct race r[N];
    gor_wg wg = { 0 };
    int64_t late;                      /* what this machine does to a sleep */
    int before;
    if (!have_ipv6())
        SKIP("machine: no IPv6");
    before = fds_beside_poller();
    memset(r, 0, sizeof r);
    for (int i = 0; i < N; i++)
        open_two(&r[i].t, IS_SILENT, i == OVERTAKEN ? ANSWERS : i == REFUSED_LATER ? REFUSES
                                                                                  : IS_SILENT);
    r[REFUSED_LATER].patience = 300 * GOR_MS;
    r[EARLY].patience = 20 * GOR_MS;               /* before there is a race */
    r[IN_MID_RACE].patience = 300 * GOR_MS;
    r[CANCELLED].ctx = gor_ctx_with_cancel(NULL);
    r[TIMED_OUT].ctx = gor_ctx_with_timeout(NULL, 300 * GOR_MS);
    for (int i = 0; i < N; i++)
        START(&wg, run_race, &r[i]);
    late = gor_now();
    gor_sleep(280 * GOR_MS);
    late = gor_now() - late - 280 * GOR_MS;
    gor_ctx_cancel(r[CANCELLED].ctx, 0);
    gor_wg_wait(&wg);
    if (OK(r[OVERTAKEN].fd >= 0)) {
        IS(winner(&r[OVERTAKEN].t, r[OVERTAKEN].fd), 1);
        OK(r[OVERTAKEN].took >= 250 * GOR_MS);
        IS(gor_fd_close(r[OVERTAKEN].fd), 0);
    }
    OK(r[REFUSED_LATER].fd == -ECONNREFUSED || r[REFUSED_LATER].fd == -ETIMEDOUT);
    OK(r[REFUSED_LATER].took >= 300 * GOR_MS);     /* the silent one might have answered */
    IS(r[EARLY].fd, -ETIMEDOUT);
    OK(r[EARLY].took < 250 * GOR_MS + 4 * late);
    IS(r[IN_MID_RACE].fd, -ETIMEDOUT);
    IS(r[CANCELLED].fd, -ECANCELED);
    IS(r[TIMED_OUT].fd, -ETIMEDOUT);
    for (int i = 0; i < N; i++) {
        OK(r[i].took < 950 * GOR_MS + 4 * late);
        if (r[i].ctx)
            gor_ctx_release(r[i].ctx);
        close_two(&r[i].t);
    }
    IS(n_fds(), before);
    no_timers_left();
}

struct late_cancel { struct race r; int turns; };

static void cancel_after_turns(void *p)
{
    struct late_cancel *c = (struct late_cancel *)p;
    for (int i = 0; i < c->turns; i++)
        gor_yield();
    gor_ctx_cancel(c->r.ctx, 0);
}

/* The turn of the second address comes, and the cancel, before who dials runs again. */
static int cancel_when_the_next_is_due(void *p)
{
    struct late_cancel c[4] = { 0 };
    gor_wg wg = { 0 };
    (void)p;
    for (int i = 0; i < 4; i++) {
        c[i].turns = i;
        c[i].r.ctx = gor_ctx_with_cancel(NULL);
        open_two(&c[i].r.t, IS_SILENT, IS_SILENT);
        START(&wg, run_race, &c[i].r);
    }
    wait_until_parked(8);                          /* with the first attempt of each */
    for (int i = 0; i < 4; i++)
        START(&wg, cancel_after_turns, &c[i]);
    for (int64_t end = gor_now() + 300 * GOR_MS; gor_now() < end;)
        ;
    gor_wg_wait(&wg);
    for (int i = 0; i < 4; i++) {
        IS(c[i].r.fd, -ECANCELED);
        gor_ctx_release(c[i].r.ctx);
        close_two(&c[i].r.t);
    }
    return 0;
}

TESTF(a_dial_that_is_cancelled_as_its_next_attempt_is_due_says_so)
{
    gor_options o = { .procs = 1, .preempt = GOR_PREEMPT_OFF };
    IS(gor_run_with(&o, cancel_when_the_next_is_due, NULL), 0);
}

/* -- files ------------------------------------------------------------------------------------- */

TEST(files_are_read_and_written)
{
    char *path = scratch("file"), buf[32] = "";
    int fd = gor_open(path, O_CREAT | O_RDWR | O_EXCL, 0600);
    OK(fd >= 0);
    IS(gor_write(fd, "0123456789", 10), 10);
    IS(gor_pwrite(fd, "abc", 3, 2), 3);
    IS(gor_pread(fd, buf, 32, 1), 9);
    IS_STR(buf, "1abc56789");
    IS(gor_fsync(fd), 0);
    IS(lseek(fd, 0, SEEK_SET), 0);
    IS(gor_read(fd, buf, 4), 4);
    IS(gor_read_full(fd, buf, 32), 6);
    IS(gor_read(fd, buf, 32), 0);
    IS(gor_pread(fd, buf, 1, -1), -EINVAL);
    IS(gor_wait_fd(fd, GOR_READ), GOR_READ);
    IS(gor_select(gor_on_writable(fd), gor_on_after(60 * GOR_SEC)), 0);
    IS(gor_open(path, O_CREAT | O_EXCL, 0600), -EEXIST);
    IS(gor_fd_close(fd), 0);
    IS(gor_read(fd, buf, 1), -EBADF);
    IS(gor_open("/nowhere/at/all", O_RDONLY, 0), -ENOENT);
    IS(gor_open(NULL, O_RDONLY, 0), -EINVAL);
    fd = open(path, O_RDONLY);                     /* one that no gor call has made */
    IS(gor_read(fd, buf, 3), 3);
    IS(gor_fd_close(fd), 0);
    fd = gor_open("/dev/null", O_RDWR, 0);
    IS(gor_write(fd, "x", 1), 1);
    IS(gor_read(fd, buf, 1), 0);
    IS(gor_fd_close(fd), 0);
    discard(path);
}

TEST(a_terminal_is_waited_for_and_left_blocking)
{
    char buf[8] = "", *name;
    int master = posix_openpt(O_RDWR | O_NOCTTY), slave;
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0 || !(name = ptsname(master)))
        SKIP("machine: no pseudo-terminals");
    slave = open(name, O_RDWR | O_NOCTTY);
    if (!OK(slave >= 0))
        return;
    IS(gor_read_until(slave, buf, 8, gor_now() + GOR_MS), -ETIMEDOUT);
    IS(fcntl(slave, F_GETFL) & O_NONBLOCK, 0);
    IS(gor_write(master, "hi\n", 3), 3);
    IS(gor_read(slave, buf, 8), 3);
    IS(gor_write(slave, "yo", 2), 2);
    IS(gor_fd_close(slave), 0);
    IS(gor_fd_close(master), 0);
}

/* -- processes --------------------------------------------------------------------------------- */

static pid_t child(int status, int fd)
{
    pid_t pid = fork();
    if (pid == 0) {
        char c;
        if (fd >= 0 && read(fd, &c, 1) < 0)
            _exit(99);
        _exit(status);
    }
    return pid;
}

struct waiting {
    pid_t       pid;
    int         rc, status;
    _Atomic int done;
};

static void wait_for_child(void *p)
{
    struct waiting *w = p;
    w->rc = gor_wait_pid(w->pid, &w->status);
    atomic_store(&w->done, 1);
}

TEST(children_are_waited_for)
{
    struct progress g = { 0 };
    gor_wg wg = { 0 };
    struct waiting w[5];
    int fd[2], status = 0;
    IS(pipe2(fd, O_CLOEXEC), 0);
    START(&wg, make_progress, &g);
    for (int i = 0; i < 5; i++) {
        w[i] = (struct waiting){ .pid = child(i, fd[0]) };
        START(&wg, wait_for_child, &w[i]);
    }
    long before = atomic_load(&g.n);
    WAIT_FOR(atomic_load(&g.n) > before + 100);
    IS(gor_wait_pid_until(w[0].pid, &status, gor_now() + GOR_MS), -ETIMEDOUT);
    IS(write(fd[1], "12345", 5), 5);
    for (int i = 0; i < 5; i++) {
        WAIT_FOR(atomic_load(&w[i].done));
        IS(w[i].rc, w[i].pid);
        OK(WIFEXITED(w[i].status));
        IS(WEXITSTATUS(w[i].status), i);
    }
    atomic_store(&g.stop, 1);
    gor_wg_wait(&wg);
    IS(gor_wait_pid(w[0].pid, NULL), -ECHILD);
    IS(gor_wait_pid(-1, NULL), -ECHILD);
    pid_t pid = child(7, -1);
    IS(gor_wait_pid(-1, &status), pid);
    IS(WEXITSTATUS(status), 7);
    close(fd[0]);
    close(fd[1]);
}

static _Atomic int pidfd_error;

static int refuse_pidfd(long number)
{
    int err = number == SYS_pidfd_open ? atomic_load(&pidfd_error) : 0;
    if (err != 0)
        gor__os_set_errno(err);
    return err;
}

TEST(without_pidfds_a_thread_waits_for_the_child)
{
    const int errors[] = { ENOSYS, EPERM };
    struct progress g = { 0 };
    gor_wg wg = { 0 };
    START(&wg, make_progress, &g);
    for (int i = 0; i < 2; i++) {
        int fd[2];
        gor_wg waiter = { 0 };
        IS(pipe2(fd, O_CLOEXEC), 0);
        struct waiting w = { .pid = child(5, fd[0]) };
        atomic_store(&pidfd_error, errors[i]);
        slow_begins(WAITPID, &g);
        START(&waiter, wait_for_child, &w);
        WAIT_FOR(atomic_load(&slow.n_calls) == 1 || atomic_load(&w.done));
        slow_ends(1);
        IS(write(fd[1], "x", 1), 1);
        gor_wg_wait(&waiter);
        atomic_store(&pidfd_error, 0);
        IS(w.rc, w.pid);
        IS(WEXITSTATUS(w.status), 5);
        close(fd[0]);
        close(fd[1]);
    }
    atomic_store(&g.stop, 1);
    gor_wg_wait(&wg);
}

/* -- signals ----------------------------------------------------------------------------------- */

TEST(signals_arrive_as_values)
{
    const int sigs[] = { SIGUSR1, SIGUSR2 };
    gor_chan *c = gor_chan_new(sizeof(int), 4), *d = gor_chan_new(sizeof(int), 1);
    int v = 0;
    IS(gor_signal_notify(c, sigs, 2), 0);
    IS(gor_signal_notify(d, sigs, 1), 0);
    for (int i = 0; i < scaled(100); i++) {
        kill(getpid(), SIGUSR1);
        IS(gor_recv(c, &v), 0);
        IS(v, SIGUSR1);
        IS(gor_recv(d, &v), 0);
        IS(v, SIGUSR1);
        kill(getpid(), SIGUSR2);
        IS(gor_recv(c, &v), 0);
        IS(v, SIGUSR2);
    }
    IS(gor_try_recv(d, &v), -EAGAIN);
    IS(gor_signal_stop(c), 0);
    IS(gor_signal_stop(c), -ENOENT);
    kill(getpid(), SIGUSR1);
    IS(gor_recv(d, &v), 0);
    IS(gor_try_recv(c, &v), -EAGAIN);
    IS(gor_signal_stop(d), 0);
    gor_chan_release(c);
    gor_chan_release(d);
}

static void send_signal(void *p)
{
    struct progress *g = p;
    long before = atomic_load(&g->n);
    WAIT_FOR(atomic_load(&g->n) > before + 10);
    kill(getpid(), SIGUSR1);
}

TEST(a_signal_is_seen_while_all_are_busy_and_while_all_sleep)
{
    const int sig = SIGUSR1;
    gor_chan *c = gor_chan_new(sizeof(int), 1);
    struct progress g = { 0 };
    gor_wg wg = { 0 };
    int v = 0;
    IS(gor_signal_notify(c, &sig, 1), 0);
    for (int i = 0; i < 4; i++)
        START(&wg, make_progress, &g);
    START(&wg, send_signal, &g);
    IS(gor_recv(c, &v), 0);
    atomic_store(&g.stop, 1);
    gor_wg_wait(&wg);
    pid_t pid = fork();
    if (pid == 0) {
        usleep(20000);
        kill(getppid(), SIGUSR1);
        _exit(0);
    }
    IS(gor_recv(c, &v), 0);                        /* nothing else can wake us: no deadlock */
    IS(gor_wait_pid(pid, NULL), pid);
    IS(gor_signal_stop(c), 0);
    gor_chan_release(c);
}

static _Atomic int n_handled;
static void count_signal(int sig) { atomic_fetch_add(&n_handled, sig == SIGUSR1); }

TEST(the_earlier_handler_comes_back)
{
    const int sig = SIGUSR1;
    struct sigaction old;
    gor_chan *c = gor_chan_new(sizeof(int), 1);
    int v = 0;
    struct sigaction a;
    memset(&a, 0, sizeof a);
    a.sa_handler = count_signal;
    a.sa_flags = SA_ONSTACK;
    sigaction(SIGUSR1, &a, &old);
    atomic_store(&n_handled, 0);
    IS(gor_signal_notify(c, &sig, 1), 0);
    raise(SIGUSR1);
    kill(getpid(), SIGUSR1);
    IS(gor_recv(c, &v), 0);
    IS(atomic_load(&n_handled), 0);
    IS(gor_signal_stop(c), 0);
    kill(getpid(), SIGUSR1);
    WAIT_FOR(atomic_load(&n_handled) == 1);
    sigaction(SIGUSR1, &old, NULL);
    gor_chan_release(c);
}

TEST(signals_that_cannot_be_had_are_refused)
{
    const int never[] = { SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, 0, -1, 1000 };
    gor_chan *c = gor_chan_new(sizeof(int), 1), *narrow = gor_chan_new(1, 1);
    const int sig = SIGUSR1;
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        IS(gor_signal_notify(c, &never[i], 1), -EINVAL);
    IS(gor_signal_notify(NULL, &sig, 1), -EINVAL);
    IS(gor_signal_notify(c, &sig, 0), -EINVAL);
    IS(gor_signal_notify(c, NULL, 1), -EINVAL);
    IS(gor_signal_notify(narrow, &sig, 1), -EMSGSIZE);
    IS(gor_signal_stop(c), -ENOENT);
    IS(gor_signal_stop(NULL), -ENOENT);
    gor_chan_release(c);
    gor_chan_release(narrow);
}

TEST(a_refused_signal_leaves_the_others_of_the_channel)
{
    gor_chan *c = gor_chan_new(sizeof(int), 1);
    const int sig = SIGUSR1, libcs = 33;   /* for pthread_setuid: glibc refuses it to all */
    int got = 0;
    IS(gor_signal_notify(c, &sig, 1), 0);
    IS(gor_signal_notify(c, &libcs, 1), -EINVAL);
    IS(kill(getpid(), sig), 0);
    IS(gor_recv(c, &got), 0);
    IS(got, sig);
    IS(gor_signal_stop(c), 0);
    gor_chan_release(c);
}

TEST(a_signal_of_before_is_not_for_who_asks_next)
{
    gor_chan *c[2] = { gor_chan_new(sizeof(int), 2), gor_chan_new(sizeof(int), 2) };
    const int sigs[] = { SIGUSR1, SIGUSR2 };
    int got = 0;
    IS(gor_signal_notify(c[0], sigs, 1), 0);
    IS(kill(getpid(), SIGUSR1), 0);
    while (!gor__au64_load_rlx(&gor__signals.pending) && gor_chan_len(c[0]) == 0)
        ;                              /* main's thread gets it, which may not be this one */
    IS(gor_signal_stop(c[0]), 0);
    IS(gor_signal_notify(c[1], sigs, 2), 0);
    IS(kill(getpid(), SIGUSR2), 0);
    IS(gor_recv(c[1], &got), 0);
    IS(got, SIGUSR2);
    IS(gor_signal_stop(c[1]), 0);
    for (int i = 0; i < 2; i++)
        gor_chan_release(c[i]);
}

TEST(a_signal_cancels_a_context_and_what_waits_under_it)
{
    const int sig = SIGUSR1;
    char c;
    int fd[2];
    gor_ctx *ctx = gor_signal_ctx(NULL, &sig, 1), *old;
    if (!OK(ctx != NULL))
        return;
    IS(pipe2(fd, O_CLOEXEC), 0);
    old = gor_ctx_enter(ctx);
    IS(gor_ctx_err(ctx), 0);
    kill(getpid(), SIGUSR1);
    IS(gor_read(fd[0], &c, 1), -ECANCELED);
    gor_ctx_enter(old);
    IS(gor_ctx_err(ctx), -ECANCELED);
    gor_ctx_release(ctx);
    ctx = gor_signal_ctx(NULL, &sig, 1);           /* and one that is cancelled otherwise */
    gor_ctx_cancel(ctx, 0);
    gor_ctx_release(ctx);
    IS(gor_fd_close(fd[0]), 0);
    IS(gor_fd_close(fd[1]), 0);
}

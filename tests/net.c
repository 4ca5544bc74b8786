/* The network, files, processes and signals. All traffic stays on loopback. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <netdb.h>

static int look_up(const char *host, const char *port, const struct addrinfo *hints,
                   struct addrinfo **out);
#define getaddrinfo look_up
#include "test.h"
#undef getaddrinfo

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

/* What gor.h calls: "both.test" has two addresses on every machine; others are libc's to find. */
static int look_up(const char *host, const char *port, const struct addrinfo *hints,
                   struct addrinfo **out)
{
    struct addrinfo *six;
    int rc;
    if (host == NULL || strcmp(host, "both.test") != 0)
        return getaddrinfo(host, port, hints, out);
    rc = getaddrinfo("127.0.0.1", port, hints, out);
    if (rc == 0 && getaddrinfo("::1", port, hints, &six) == 0)
        (*out)->ai_next = six;
    return rc;
}

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

static void resolve_nothing(void *p)
{
    gor_addr a[4];
    int rc = gor_resolve("tcp", "no-such-name.invalid:80", a, 4, gor_now() + 100 * GOR_SEC);
    OK(rc < 0);
    atomic_store((_Atomic int *)p, 1);
}

TEST(an_unresolvable_name_stalls_no_processor)
{
    struct progress g = { 0 };
    gor_wg wg = { 0 };
    _Atomic int done[8] = { 0 };
    START(&wg, make_progress, &g);
    for (int i = 0; i < 8; i++)
        START(&wg, resolve_nothing, &done[i]);
    for (int i = 0; i < 8; i++)
        WAIT_FOR(atomic_load(&done[i]));
    OK(atomic_load(&g.n) > 0);
    atomic_store(&g.stop, 1);
    gor_wg_wait(&wg);
    OK(gor_dial("tcp", "no-such-name.invalid:80", gor_now() + 100 * GOR_SEC) < 0);
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
    if (OK(n < 64)) {
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

/* Of two addresses only one listens. */
TEST(dial_tries_the_other_address)
{
    const char *network[] = { "tcp4", "tcp6" }, *host[] = { "127.0.0.1:0", "[::1]:0" };
    gor_addr a[4];
    if (!have_ipv6())
        SKIP("machine: no IPv6");
    IS(gor_resolve("tcp", "both.test:1", a, 4, GOR_FOREVER), 2);
    for (int i = 0; i < 2; i++) {
        int l = gor_listen(network[i], host[i], 0);
        char *addr = addr_of("both.test", port_of(l));
        exchange("tcp", addr, l);
        IS(gor_fd_close(l), 0);
        IS(gor_dial("tcp", addr, gor_now() + 60 * GOR_SEC), -ECONNREFUSED);
        free(addr);
    }
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

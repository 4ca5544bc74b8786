/* Clients for tests/network.sh, on gor.h themselves.
 *
 *     network_load sums PROXY LISTEN MB     100 connections send MB megabytes in all through a proxy
 *                                           to a server here, which answers with a checksum, while
 *                                           others are reset in the middle, at either end
 *     network_load idle SERVER N PID QUIET PID2
 *                                           N idle keep-alive connections: what each costs process
 *                                           PID, and how soon and for how much of the CPU a request
 *                                           on one is answered, beside a server, of process PID2,
 *                                           that has only one connection
 *     network_load crowd SERVER N PID       N clients at once, more than process PID can have
 *                                           descriptors: all are served, and it does not spin
 *     network_load chat SERVER              three members hear each other
 *     network_load odd SERVER               broken and greedy HTTP clients
 *     network_load slow SERVER T K          slow and idle ones, of whom the server (httpd -t T -k K)
 *                                           is rid after T and K seconds, and serves others */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static int failed;

__attribute__((format(printf, 2, 3))) static bool check(bool ok, const char *fmt, ...)
{
    va_list ap;
    if (ok)
        return true;
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    failed = 1;
    return false;
}

static int must_dial(const char *addr)
{
    int fd = gor_dial("tcp", addr, gor_now() + 30 * GOR_SEC);
    if (fd < 0) {
        printf("%s: %s\n", addr, gor_strerror(fd));
        exit(1);
    }
    return fd;
}

/* -- checksums through a proxy --------------------------------------------------------------- */

enum { CONNECTIONS = 100, KILLERS = 10, BLOCK = 65536 };

static struct {
    const char *proxy;
    size_t      each;
    _Atomic int stop, wrong;
    _Atomic long killed, reset;
} load;

/* The first byte of a connection: send me the sum of all; reset me. */
enum { SUM = 'S', RESET = 'R' };

static void close_hard(int fd)
{
    struct linger hard = { 1, 0 };
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    gor_fd_close(fd);
}

static uint64_t sum(uint64_t h, const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 1099511628211u;
    return h;
}

static void sum_up(void *arg)
{
    int fd = (int)(intptr_t)arg;
    unsigned char *buf = malloc(BLOCK);
    uint64_t h = 1;
    ssize_t n = gor_read(fd, buf, 1);
    bool resets = n == 1 && buf[0] == RESET;
    while (n > 0 && (n = gor_read(fd, buf, BLOCK)) > 0 && !resets)
        h = sum(h, buf, (size_t)n);
    if (resets) {
        free(buf);
        close_hard(fd);
        return;
    }
    if (n == 0)
        gor_write_all(fd, &h, sizeof h);
    free(buf);
    gor_fd_close(fd);
}

static void accept_sums(void *arg)
{
    int fd;
    while ((fd = gor_accept((int)(intptr_t)arg, NULL, NULL)) >= 0)
        gor_go(sum_up, (void *)(intptr_t)fd);
}

static void send_and_compare(void *arg)
{
    int fd = must_dial(load.proxy);
    unsigned char *buf = malloc(BLOCK);
    uint64_t h = 1, theirs = 0, x = (uint64_t)(intptr_t)arg * 2654435761u + 1;
    gor_write_all(fd, "S", 1);
    for (size_t left = load.each; left;) {
        size_t n = 1 + (size_t)(x >> 33) % BLOCK;
        n = n < left ? n : left;
        for (size_t i = 0; i < n; i += 8) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            memcpy(buf + i, &x, n - i < 8 ? n - i : 8);
        }
        if (gor_write_all(fd, buf, n) < 0)
            break;
        h = sum(h, buf, n);
        left -= n;
    }
    shutdown(fd, SHUT_WR);
    if (gor_read_full(fd, &theirs, sizeof theirs) != sizeof theirs || theirs != h)
        atomic_fetch_add(&load.wrong, 1);
    gor_fd_close(fd);
    free(buf);
}

/* Dies in the middle, again and again. */
static void be_killed(void *arg)
{
    static const char junk[30000] = { SUM };
    (void)arg;
    while (!atomic_load(&load.stop)) {
        int fd = must_dial(load.proxy);
        gor_write_until(fd, junk, (size_t)rand() % sizeof junk, gor_now() + GOR_SEC);
        gor_sleep(rand() % 5 * GOR_MS);
        close_hard(fd);
        atomic_fetch_add(&load.killed, 1);
    }
}

/* Is reset by the server in the middle, and must learn of it. */
static void be_reset(void *arg)
{
    static const char junk[BLOCK] = { RESET };
    char byte;
    (void)arg;
    while (!atomic_load(&load.stop)) {
        int fd = must_dial(load.proxy);
        ssize_t n = gor_write_until(fd, junk, sizeof junk, gor_now() + 10 * GOR_SEC);
        if (n > 0)
            n = gor_read_until(fd, &byte, 1, gor_now() + 10 * GOR_SEC);
        check(n == 0 || n == -ECONNRESET || n == -EPIPE, "reset by the server: %s",
              n > 0 ? "an answer" : gor_strerror((int)n));
        gor_fd_close(fd);
        atomic_fetch_add(&load.reset, 1);
        gor_sleep(rand() % 5 * GOR_MS);
    }
}

static void do_sums(char **argv)
{
    gor_wg wg = { 0 }, killers = { 0 };
    int l = gor_listen("tcp", argv[1], 0);
    if (!check(l >= 0, "%s: %s", argv[1], gor_strerror(l)))
        return;
    load.proxy = argv[0];
    load.each = (size_t)atol(argv[2]) * 1000000 / CONNECTIONS;
    gor_go(accept_sums, (void *)(intptr_t)l);
    for (int i = 0; i < CONNECTIONS; i++)
        gor_wg_go(&wg, send_and_compare, (void *)(intptr_t)(i + 1));
    for (int i = 0; i < KILLERS; i++)
        gor_wg_go(&killers, i % 2 ? be_killed : be_reset, NULL);
    gor_wg_wait(&wg);
    atomic_store(&load.stop, 1);
    gor_wg_wait(&killers);
    check(atomic_load(&load.wrong) == 0, "%d of %d sums are wrong", atomic_load(&load.wrong),
          CONNECTIONS);
    check(atomic_load(&load.killed) > 0 && atomic_load(&load.reset) > 0, "nobody was killed");
    printf("%ld reset in the middle, %ld by the server\n", atomic_load(&load.killed),
           atomic_load(&load.reset));
    gor_fd_close(l);
}

/* -- idle connections -------------------------------------------------------------------------- */

/* In kB, with the page tables that it takes. */
static long memory_of(const char *pid)
{
    char path[64], line[200];
    long sum = 0, kb;
    snprintf(path, sizeof path, "/proc/%s/status", pid);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmRSS: %ld", &kb) == 1 || sscanf(line, "VmPTE: %ld", &kb) == 1)
            sum += kb;
    if (f)
        fclose(f);
    return sum;
}

static int64_t ping(int fd)
{
    static const char ask[] = "GET /plain HTTP/1.1\r\nHost: a\r\n\r\n";
    char answer[512];
    size_t n = 0;
    int64_t begin = gor_now();
    if (gor_write_all(fd, ask, sizeof ask - 1) < 0)
        return -1;
    do {
        ssize_t got = gor_read_until(fd, answer + n, sizeof answer - 1 - n,
                                     gor_now() + 10 * GOR_SEC);
        if (got <= 0)
            return -1;
        n += (size_t)got;
        answer[n] = 0;
    } while (!strstr(answer, "World!"));
    return gor_now() - begin;
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

enum { PINGS = 1000, ROUNDS = 9 };

/* In each round: the 50th and the 99th percentile of what pings took, and what the server has had of
 * the CPU for one, on average; ns. */
struct pings { int64_t p50[ROUNDS], p99[ROUNDS], cpu[ROUNDS]; };

/* What a process has had of the CPU, in ns. */
static int64_t cpu_of(const char *pid)
{
    struct timespec t = { 0, 0 };
    clockid_t clock;
    check(clock_getcpuclockid(atoi(pid), &clock) == 0 && clock_gettime(clock, &t) == 0,
          "process %s has no clock", pid);
    return t.tv_sec * GOR_SEC + t.tv_nsec;
}

/* So many pings, each on one of n connections to the server of that process. */
static void ping_some(struct pings *p, int round, const int *fd, int n, const char *pid)
{
    static int64_t ns[PINGS];
    int64_t cpu = cpu_of(pid);
    for (int i = 0; i < PINGS; i++) {
        ns[i] = ping(fd[rand() % n]);
        if (!check(ns[i] >= 0, "a ping was not answered"))
            break;
    }
    p->cpu[round] = (cpu_of(pid) - cpu) / PINGS;
    qsort(ns, PINGS, sizeof *ns, by_size);
    p->p50[round] = ns[PINGS / 2];
    p->p99[round] = ns[PINGS * 99 / 100];
}

static void say_both(const char *what, int64_t *crowded, int64_t *alone)
{
    qsort(crowded, ROUNDS, sizeof *crowded, by_size);
    qsort(alone, ROUNDS, sizeof *alone, by_size);
    printf("%s of a ping, us: %ld to %ld; of the quiet server %ld to %ld\n", what,
           (long)(crowded[0] / 1000), (long)(crowded[ROUNDS - 1] / 1000), (long)(alone[0] / 1000),
           (long)(alone[ROUNDS - 1] / 1000));
}

/* Of the best rounds: what the server has to do shows in every round, what others do does not. */
static void compare(const char *what, int64_t *crowded, int64_t *alone, int64_t more)
{
    say_both(what, crowded, alone);
    check(crowded[0] <= alone[0] * 3 / 2 + more, "a ping takes longer beside idle connections");
}

/* In turn, so that what disturbs the machine for a while disturbs both. The one connection is warm,
 * and its server never sleeps; of the others one in a hundred waits until a sleeping processor has
 * woken, which takes what the machine takes for that. What grows with their number shows in the CPU's
 * time: 10 ns for each are too much. */
static void compare_pings(const int *fd, int n, const char *pid, int quiet, const char *quiet_pid)
{
    struct pings crowded, alone;
    for (int i = 0; i < ROUNDS; i++) {
        ping_some(&alone, i, &quiet, 1, quiet_pid);
        ping_some(&crowded, i, fd, n, pid);
    }
    compare("p50", crowded.p50, alone.p50, 150 * GOR_US);
    say_both("p99", crowded.p99, alone.p99);
    compare("CPU", crowded.cpu, alone.cpu, 100 * GOR_US);
}

static void do_idle(char **argv)
{
    int n = atoi(argv[1]), *fd = calloc((size_t)n, sizeof *fd), quiet = must_dial(argv[3]);
    struct rlimit r;
    long before, each;
    getrlimit(RLIMIT_NOFILE, &r);
    r.rlim_cur = r.rlim_max;
    setrlimit(RLIMIT_NOFILE, &r);
    if (r.rlim_cur < (rlim_t)n + 100)
        n = 5000;
    fd[0] = must_dial(argv[0]);
    for (int i = 0; i < PINGS; i++)
        check(ping(fd[0]) >= 0, "the first connection is not served");
    before = memory_of(argv[2]);
    for (int i = 1; i < n; i++)
        fd[i] = must_dial(argv[0]);
    check(ping(fd[n - 1]) >= 0, "the last connection is not served");
    gor_sleep(GOR_SEC);
    each = (memory_of(argv[2]) - before) * 1024 / (n - 1);
    printf("%d connections, %ld bytes each\n", n, each);
    check(each <= 6144, "an idle connection costs %ld bytes", each);
    compare_pings(fd, n, argv[2], quiet, argv[4]);
    for (int i = 0; i < n; i++)
        gor_fd_close(fd[i]);
    gor_fd_close(quiet);
    free(fd);
}

/* -- more clients than descriptors --------------------------------------------------------------- */

/* Keeps its place for a while, so that others have to wait for theirs. */
static void take_a_place(void *arg)
{
    int fd = must_dial(arg);
    check(ping(fd) >= 0, "one of the crowd is not served");
    gor_sleep(GOR_SEC / 5);
    gor_fd_close(fd);
}

static void do_crowd(char **argv)
{
    int n = atoi(argv[1]);
    gor_wg wg = { 0 };
    int64_t begin = gor_now(), cpu = cpu_of(argv[2]), took;
    for (int i = 0; i < n; i++)
        gor_wg_go(&wg, take_a_place, argv[0]);
    gor_wg_wait(&wg);
    took = gor_now() - begin;
    cpu = cpu_of(argv[2]) - cpu;
    printf("%d clients in %ld ms, %ld ms of CPU\n", n, (long)(took / GOR_MS), (long)(cpu / GOR_MS));
    check(took > 2 * GOR_SEC / 5, "nobody had to wait");
    check(cpu < took / 8, "%ld of %ld ms busy", (long)(cpu / GOR_MS), (long)(took / GOR_MS));
}

/* -- chat ---------------------------------------------------------------------------------------- */

static void expect(int fd, const char *want)
{
    char got[500];
    size_t n = strlen(want);
    ssize_t rc = gor_read_full_until(fd, got, n, gor_now() + 10 * GOR_SEC);
    check(rc == (ssize_t)n && memcmp(got, want, n) == 0, "no \"%s\"", want);
}

static void say(int fd, const char *line) { gor_write_all(fd, line, strlen(line)); }

static void do_chat(char **argv)
{
    int a = must_dial(argv[0]), b, c;
    say(a, "anna\n");
    gor_sleep(50 * GOR_MS);                        /* nobody tells a member that it is in */
    b = must_dial(argv[0]);
    say(b, "bert\n");
    expect(a, "* bert joins\n");
    c = must_dial(argv[0]);
    say(c, "carl\nhello\n");
    expect(a, "* carl joins\ncarl: hello\n");
    expect(b, "* carl joins\ncarl: hello\n");
    say(a, "hi\r\n");
    expect(b, "anna: hi\n");
    expect(c, "anna: hi\n");
    gor_fd_close(b);
    expect(a, "* bert leaves\n");
    expect(c, "* bert leaves\n");
    gor_fd_close(a);
    gor_fd_close(c);
}

/* -- odd clients --------------------------------------------------------------------------------- */

/* All until the end, which must come. */
static void read_all(int fd, char *buf, size_t size)
{
    ssize_t n = gor_read_full_until(fd, buf, size - 1, gor_now() + 20 * GOR_SEC);
    check(n >= 0, "no end: %s", gor_strerror((int)n));
    buf[n > 0 ? n : 0] = 0;
}

static int count(const char *text, const char *what)
{
    int n = 0;
    for (const char *p = text; (p = strstr(p, what)) != NULL; p++)
        n++;
    return n;
}

static void do_odd(char **argv)
{
    static char buf[100000];
    int fd = must_dial(argv[0]);
    for (int i = 0; i < 20; i++)                   /* pipelined, the last one closes */
        say(fd, i < 19 ? "GET /plain HTTP/1.1\r\nHost: a\r\n\r\n"
                       : "GET /plain HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    read_all(fd, buf, sizeof buf);
    check(count(buf, "Hello, World!") == 20, "%d of 20 pipelined", count(buf, "Hello, World!"));
    gor_fd_close(fd);
    fd = must_dial(argv[0]);                       /* one byte at a time */
    for (const char *p = "GET /plain HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"; *p; p++) {
        gor_write_all(fd, p, 1);
        gor_sleep(200 * GOR_US);
    }
    read_all(fd, buf, sizeof buf);
    check(count(buf, "Hello, World!") == 1, "byte by byte: %.40s", buf);
    gor_fd_close(fd);
    fd = must_dial(argv[0]);                       /* a head without end */
    say(fd, "GET / HTTP/1.1\r\n");
    for (int i = 0; i < 2000; i++)
        say(fd, "X-Header: ............................................................\r\n");
    read_all(fd, buf, sizeof buf);
    check(strncmp(buf, "HTTP/1.1 431", 12) == 0, "long head: %.40s", buf);
    gor_fd_close(fd);
    fd = must_dial(argv[0]);
    say(fd, "nonsense\r\n\r\n");
    read_all(fd, buf, sizeof buf);
    check(strncmp(buf, "HTTP/1.1 400", 12) == 0, "nonsense: %.40s", buf);
    gor_fd_close(fd);
}

/* -- slow clients -------------------------------------------------------------------------------- */

enum { DRIPPERS = 200, PATIENT = 3 };

static struct {
    const char  *server;
    double       seconds[2];                       /* for a request; between two */
    _Atomic int  cut_off;
    gor_wg       wg;
} slow;

/* Say what each step brings and wait for the end, which must come in time: t seconds after the
 * beginning, with one second for the goodbye and the machine. */
static void be_cut_off(const char *who, int fd, const char *drip, double t)
{
    char byte;
    ssize_t n = -ETIMEDOUT;
    int64_t begin = gor_now();
    double took = 0;
    while (n == -ETIMEDOUT && took < t + 5) {
        if (*drip && gor_write_until(fd, drip, 1, gor_now() + GOR_SEC) == 1 && drip[1])
            drip++;
        n = gor_read_until(fd, &byte, 1, gor_now() + 50 * GOR_MS);
        took = (double)(gor_now() - begin) / 1e9;
    }
    check(n == 0 || n == -ECONNRESET, "%s: %s", who, n > 0 ? "an answer" : gor_strerror((int)n));
    check(took > t - 0.3 && took < t + 1, "%s: cut off after %.1f s of %.1f", who, took, t);
    gor_fd_close(fd);
}

static void drip(void *arg)
{
    (void)arg;
    be_cut_off("a dripping client", must_dial(slow.server),
               "GET / HTTP/1.1\r\nHost: a\r\nX: ..............................................."
               "........................................................................",
               slow.seconds[0]);
    atomic_fetch_add(&slow.cut_off, 1);
}

static void stop_in_mid_request(void *arg)
{
    int fd = must_dial(slow.server);
    (void)arg;
    say(fd, "GET /plain HTT");
    be_cut_off("half a request", fd, "", slow.seconds[0]);
}

static void say_nothing(void *arg)
{
    (void)arg;
    be_cut_off("a silent client", must_dial(slow.server), "", slow.seconds[1]);
}

static void rest_after_a_request(void *arg)
{
    int fd = must_dial(slow.server);
    (void)arg;
    check(ping(fd) >= 0, "no answer");
    be_cut_off("an idle client", fd, "", slow.seconds[1]);
}

static void do_slow(char **argv)
{
    void (*const patient[PATIENT])(void *) = { stop_in_mid_request, say_nothing,
                                               rest_after_a_request };
    int fd = must_dial(argv[0]);
    int64_t late = 0, took;
    long pings = 0;
    slow.server = argv[0];
    slow.seconds[0] = atof(argv[1]);
    slow.seconds[1] = atof(argv[2]);
    for (int i = 0; i < DRIPPERS; i++)
        gor_wg_go(&slow.wg, drip, NULL);
    for (int i = 0; i < PATIENT; i++)
        gor_wg_go(&slow.wg, patient[i], NULL);
    while (atomic_load(&slow.cut_off) < DRIPPERS) {
        took = ping(fd);
        if (!check(took >= 0, "a ping beside slow clients was not answered"))
            break;
        late = took > late ? took : late;
        pings++;
        gor_sleep(5 * GOR_MS);
    }
    gor_wg_wait(&slow.wg);
    check(late < 500 * GOR_MS, "a ping beside slow clients took %ld ms", (long)(late / GOR_MS));
    printf("%d slow clients cut off; beside them %ld pings took %ld us at most\n", DRIPPERS, pings,
           (long)(late / 1000));
    gor_fd_close(fd);
}

GOR_MAIN
{
    if (argc == 5 && strcmp(argv[1], "sums") == 0)
        do_sums(argv + 2);
    else if (argc == 7 && strcmp(argv[1], "idle") == 0)
        do_idle(argv + 2);
    else if (argc == 5 && strcmp(argv[1], "crowd") == 0)
        do_crowd(argv + 2);
    else if (argc == 3 && strcmp(argv[1], "chat") == 0)
        do_chat(argv + 2);
    else if (argc == 3 && strcmp(argv[1], "odd") == 0)
        do_odd(argv + 2);
    else if (argc == 5 && strcmp(argv[1], "slow") == 0)
        do_slow(argv + 2);
    else
        return 2;
    return failed;
}

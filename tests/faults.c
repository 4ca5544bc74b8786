/* What the system can refuse is refused, each call in turn: once, or from then on for good. Linked
 * with --wrap, so that the calls of gor.h come here. Each run must end with its result, or with an
 * error from gor_run; a run that hangs is named and ends the program. TAP. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <stdatomic.h>
#include <sys/time.h>
#include <sys/wait.h>

/* A kind of call, and what the system says when it refuses it. EINTR is no refusal, but an end
 * before its time: once only, where a call that never waits is a service that is not there. */
#define KINDS(X)                                                                                   \
    X(MMAP,       "mmap",                ENOMEM, true)                                             \
    X(MADVISE,    "madvise",             ENOMEM, true)                                             \
    X(GUARD_EACH, "process_madvise",     ENOSYS, true)                                             \
    X(MPROTECT,   "mprotect",            ENOMEM, true)                                             \
    X(THREAD,     "pthread_create",      EAGAIN, true)                                             \
    X(MEMBARRIER, "membarrier",          ENOMEM, true)                                             \
    X(FUTEX,      "futex",               EINTR,  true)                                             \
    X(TIMED,      "futex with timeout",  EINTR,  true)                                             \
    X(EPOLL,      "epoll_create1",       EMFILE, true)                                             \
    X(EVENT,      "eventfd",             EMFILE, true)                                             \
    X(CTL,        "epoll_ctl",           ENOSPC, true)                                             \
    X(PWAIT2,     "epoll_pwait2",        ENOSYS, true)                                             \
    X(WAIT,       "epoll_wait",          EINTR,  false)                                            \
    X(MEM_OPEN,   "open of mem",         EMFILE, true)                                             \
    X(MEM_COPY,   "read, write of mem",  EIO,    true)
#define KIND_NAME(k, name, err, on) k,
#define KIND_TEXT(k, name, err, on) name,
#define KIND_ERR(k, name, err, on)  err,
#define KIND_ON(k, name, err, on)   on,
enum kind { KINDS(KIND_NAME) N_KINDS };
static const char *const kinds[] = { KINDS(KIND_TEXT) };
static const int errors[] = { KINDS(KIND_ERR) };
static const bool for_good[] = { KINDS(KIND_ON) };

static _Atomic long n_calls[N_KINDS], n_refused[N_KINDS], fail_at = -1;
static _Atomic int fail_kind = N_KINDS;
static bool fails_on;
static char what[200];

static bool refused(enum kind k)
{
    long n = atomic_fetch_add(&n_calls[k], 1);
    bool no = (int)k == fail_kind && (n == fail_at || (fails_on && n > fail_at));
    if (no) {
        atomic_fetch_add(&n_refused[k], 1);
        *__errno_location() = errors[k];
    }
    return no;
}

void *__real_mmap(void *p, size_t size, int prot, int flags, int fd, off_t at);
void *__wrap_mmap(void *p, size_t size, int prot, int flags, int fd, off_t at);
void *__wrap_mmap(void *p, size_t size, int prot, int flags, int fd, off_t at)
{
    return refused(MMAP) ? MAP_FAILED : __real_mmap(p, size, prot, flags, fd, at);
}

int __real_madvise(void *p, size_t size, int advice);
int __wrap_madvise(void *p, size_t size, int advice);
int __wrap_madvise(void *p, size_t size, int advice)
{
    return refused(MADVISE) ? -1 : __real_madvise(p, size, advice);
}

int __real_mprotect(void *p, size_t size, int prot);
int __wrap_mprotect(void *p, size_t size, int prot);
int __wrap_mprotect(void *p, size_t size, int prot)
{
    return refused(MPROTECT) ? -1 : __real_mprotect(p, size, prot);
}

int __real_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg)
{
    return refused(THREAD) ? EAGAIN : __real_pthread_create(t, a, fn, arg);
}

int __real_epoll_create1(int flags);
int __wrap_epoll_create1(int flags);
int __wrap_epoll_create1(int flags)
{
    return refused(EPOLL) ? -1 : __real_epoll_create1(flags);
}

int __real_eventfd(unsigned n, int flags);
int __wrap_eventfd(unsigned n, int flags);
int __wrap_eventfd(unsigned n, int flags)
{
    return refused(EVENT) ? -1 : __real_eventfd(n, flags);
}

/* To forget an fd is never refused. */
int __real_epoll_ctl(int epoll, int op, int fd, struct epoll_event *e);
int __wrap_epoll_ctl(int epoll, int op, int fd, struct epoll_event *e);
int __wrap_epoll_ctl(int epoll, int op, int fd, struct epoll_event *e)
{
    return op != EPOLL_CTL_DEL && refused(CTL) ? -1 : __real_epoll_ctl(epoll, op, fd, e);
}

int __real_epoll_wait(int epoll, struct epoll_event *e, int max, int timeout);
int __wrap_epoll_wait(int epoll, struct epoll_event *e, int max, int timeout);
int __wrap_epoll_wait(int epoll, struct epoll_event *e, int max, int timeout)
{
    return refused(WAIT) ? -1 : __real_epoll_wait(epoll, e, max, timeout);
}

/* Is this call without a function of its own refused? A futex call may return early with any
 * error. */
static bool refused_number(long number, const long *a)
{
    if (number == SYS_process_madvise)             /* -1 with an old libc, as others may be */
        return refused(GUARD_EACH);
    switch (number) {
    case SYS_membarrier:   return refused(MEMBARRIER);
    case SYS_futex:        return (a[1] & 127) != FUTEX_WAKE && refused(a[3] ? TIMED : FUTEX);
    case SYS_epoll_pwait2: return refused(PWAIT2);
    case SYS_openat:       return strstr((const char *)a[1], "/mem") && refused(MEM_OPEN);
    case SYS_pread64:
    case SYS_pwrite64:     return refused(MEM_COPY);
    default:               return false;
    }
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    long a[6];
    va_list args;
    va_start(args, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    return refused_number(number, a) ? -1
                                     : __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* -- work ---------------------------------------------------------------------------------- */

static bool failed;

static void check(bool good, const char *text)
{
    if (!good) {
        printf("# %s: %s\n", what, text);
        failed = true;
    }
}

static bool fine(int rc)
{
    return rc == 0 || rc == -ENOMEM;
}

/* Was it the refusal that this call ended with? Then once more: it was refused once only. */
static bool was_refused(ssize_t rc)
{
    int k = fail_kind;
    return rc < 0 && k < N_KINDS && (rc == -errors[k] || rc == -ENOMEM);
}

static __attribute__((noinline)) int dig(int n, volatile char *above)
{
    volatile char page[2000];
    int below = 0;
    page[0] = page[sizeof page - 1] = above ? above[0] : 1;
    if (n > (int)sizeof page)
        below = dig(n - (int)sizeof page, page);
    return below + page[0];
}

static gor_chan *gate;
static gor_wg wg;
static bool packable;
enum { EACH = 6 };                     /* goroutines: on large stacks, packable, others */
static int depth;                      /* as far as stacks can be used in this mode */

static void dig_and_park(void *p)
{
    (void)p;
    check(dig(depth, NULL) > 0, "a deep call");
    gor_chan_recv(gate, NULL, 0);
    check(dig(depth, NULL) > 0, "another deep call");
    gor_wg_done(&wg);
}

static int nap(void *p)
{
    (void)p;
    usleep(200);
    return 3;
}

static void *outside(void *p)
{
    int v = 5;
    int64_t due = gor_now() + 2 * GOR_MS;
    check(gor_chan_recv_until(gate, NULL, 0, due) == -ETIMEDOUT, "a wait from outside");
    check(gor_now() >= due, "a wait from outside ended early");
    check(gor_send((gor_chan *)p, &v) == 0, "a send from outside");
    return NULL;
}

static void write_later(void *p)
{
    gor_sleep(GOR_MS);
    check(write(((int *)p)[1], "x", 1) == 1, "write");
    gor_wg_done(&wg);
}

/* A read that must wait, for a pipe. */
static void read_a_pipe(void)
{
    int fd[2];
    char byte = 0;
    ssize_t n;
    check(pipe2(fd, O_NONBLOCK | O_CLOEXEC) == 0, "pipe2");
    gor_wg_add(&wg, 1);
    if (gor_go(write_later, fd) != 0)
        write_later(fd);
    n = gor_read(fd[0], &byte, 1);
    if (was_refused(n) && !fails_on)
        n = gor_read(fd[0], &byte, 1);
    check(n == 1 ? byte == 'x' : fails_on && was_refused(n), "gor_read");
    gor_wg_wait(&wg);
    gor_fd_close(fd[0]);
    gor_fd_close(fd[1]);
}

struct server { int fd, rc; };

static void accept_one(void *p)
{
    struct server *s = (struct server *)p;
    s->rc = gor_accept(s->fd, NULL, NULL);
    if (was_refused(s->rc) && !fails_on)
        s->rc = gor_accept(s->fd, NULL, NULL);
    if (s->rc >= 0)
        gor_fd_close(s->rc);
    gor_wg_done(&wg);
}

static void dial_a_server(void)
{
    struct server s = { gor_listen("tcp", "127.0.0.1:0", 8), 0 };
    struct sockaddr_in at;
    socklen_t size = sizeof at;
    char addr[40];
    int fd;
    check(s.fd >= 0 && getsockname(s.fd, (struct sockaddr *)&at, &size) == 0, "gor_listen");
    snprintf(addr, sizeof addr, "127.0.0.1:%d", ntohs(at.sin_port));
    gor_wg_add(&wg, 1);
    if (gor_go(accept_one, &s) != 0)
        gor_wg_done(&wg);
    gor_sleep(GOR_MS / 10);
    fd = gor_dial("tcp", addr, gor_now() + 10 * GOR_SEC);
    if (was_refused(fd) && !fails_on)
        fd = gor_dial("tcp", addr, gor_now() + 10 * GOR_SEC);
    check(fd >= 0 || (fails_on && was_refused(fd)), "gor_dial");
    if (fd < 0)
        gor_fd_close(s.fd);
    gor_wg_wait(&wg);
    check(s.rc >= 0 || fd < 0 || (fails_on && was_refused(s.rc)), "gor_accept");
    if (fd >= 0) {
        gor_fd_close(fd);
        gor_fd_close(s.fd);
    }
}

static int work(void *p)
{
    gor_chan *c = gor_chan_new(sizeof(int), 0);
    pthread_t thread;
    int v = 0;
    int64_t due;
    (void)p;
    gate = gor_chan_new(0, 0);
    for (int i = 0; i < 3 * EACH; i++) {
        gor_attr a = { .stack_size = i % 3 == 0 ? (size_t)1 << 20 : 0,
                       .compact_idle = packable && i % 3 == 1 };
        int rc;
        gor_wg_add(&wg, 1);
        rc = gor_go_with(&a, dig_and_park, NULL);
        check(fine(rc), "gor_go_with");
        if (rc != 0)
            gor_wg_done(&wg);
    }
    if (__real_pthread_create(&thread, NULL, outside, c) == 0) {
        check(gor_recv(c, &v) == 0 && v == 5, "a value from outside");
        pthread_join(thread, NULL);
    }
    due = gor_now() + 3 * GOR_MS;
    check(gor_sleep(3 * GOR_MS) == 0, "gor_sleep");
    check(gor_now() >= due, "gor_sleep ended early");
    check(gor_block(nap, NULL) == 3, "gor_block");
    gor_procs(3);
    gor_chan_close(gate);
    gor_wg_wait(&wg);
    read_a_pipe();
    dial_a_server();
    check(gor_sleep(3 * GOR_MS) == 0, "gor_sleep again");
    gor_chan_release(gate);
    gor_chan_release(c);
    return 7;
}

static void hangs(int sig)
{
    (void)sig;
    printf("# hangs: %s\nnot ok - none hangs\n", what);
    fflush(stdout);
    gor_dump(2);
    _exit(1);
}

static int n_files(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

/* What a packed stack comes back by: if that is refused for good, it does not. */
static bool brings_back(enum kind k)
{
    return k == MADVISE || k == MPROTECT || k == MEM_COPY;
}

static void forget_calls(void)
{
    for (int i = 0; i < N_KINDS; i++)
        atomic_store(&n_calls[i], 0);
    gor__au32_store_rlx(&gor__os_poller.coarse, 0);    /* each run finds out itself */
}

/* One run for each call, of procs processors. Returns the most calls that a run made. */
static void refuse_each(enum kind k, bool on, int procs, const char *debug, long most)
{
    depth = strstr(debug, "strict") && k == MPROTECT ? 20000 : 150000;
    packable = !on || !brings_back(k);
    setenv("GORDEBUG", debug, 1);
    for (long at = 0; at < most; at++) {
        gor_options o = { .procs = procs, .compact_idle = 1 };
        int rc, files = n_files();
        long before = n_refused[k];
        forget_calls();
        snprintf(what, sizeof what, "%s call %ld refused%s, procs %d, GORDEBUG=%s", kinds[k], at,
                 on ? ", and all later ones" : "", procs, debug);
        fails_on = on;
        atomic_store(&fail_at, at);
        atomic_store(&fail_kind, (int)k);
        alarm(30);
        rc = gor_run_with(&o, work, NULL);
        alarm(0);
        atomic_store(&fail_kind, N_KINDS);
        check(rc == 7 || (rc < 0 && n_calls[k] > at), "gor_run_with");
        check(n_files() == files, "a file was left open");
        if (k == PWAIT2)               /* a kernel that lacks it is not asked for ever */
            check(n_refused[k] - before <= 8, "epoll_pwait2 again and again");
        if (n_calls[k] <= at)
            break;
    }
}

/* -- a packed stack that cannot come back ---------------------------------------------------- */

static int pack_and_refuse(void *p)
{
    static const gor_attr packed = { .compact_idle = true };
    gor_stats s = { 0 };
    depth = 4000;
    gate = gor_chan_new(0, 0);
    gor_wg_add(&wg, EACH);
    for (int i = 0; i < EACH; i++)
        check(gor_go_with(&packed, dig_and_park, NULL) == 0, "gor_go_with");
    while (s.packed < EACH) {
        gor_sleep(GOR_MS);
        gor_stats(&s);
    }
    fails_on = true;
    atomic_store(&fail_at, 0);
    atomic_store(&fail_kind, *(int *)p);
    gor_chan_close(gate);
    gor_wg_wait(&wg);
    return 7;
}

/* In a process of its own, with its standard error in fd. */
static pid_t refuse_to_come_back(enum kind k, int fd)
{
    gor_options o = { .procs = 1, .compact_idle = 1 };
    int kind = k;
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    dup2(fd, 2);
    setenv("GORDEBUG", "tidy=1", 1);
    gor_run_with(&o, pack_and_refuse, &kind);
    _exit(0);
}

/* It may take ten seconds each, side by side with all else. */
struct coming { enum kind k; int fd[2]; pid_t pid; };

static bool said_and_ended(struct coming *c)
{
    char text[4000];
    int status = 0;
    ssize_t n;
    close(c->fd[1]);
    for (int ms = 0; waitpid(c->pid, &status, WNOHANG) == 0; ms++) {
        usleep(1000);
        if (ms == 30000)               /* it takes no other signal while it brings one back */
            kill(c->pid, SIGKILL);
    }
    n = read(c->fd[0], text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    close(c->fd[0]);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT &&
           strstr(text, "a packed stack cannot come back");
}

/* -- all --------------------------------------------------------------------------------------- */

static int n_tests, n_bad;

static void result(bool good, const char *format, ...)
{
    char text[200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    n_bad += !good;
    printf("%sok %d - %s\n", good ? "" : "not ", ++n_tests, text);
}

static void refuse_in_all_modes(enum kind k, bool on, long most)
{
    static const char *const modes[] = { "tidy=1", "tidy=1,noguardinstall=1", "tidy=1,noguard=1",
                                         "tidy=1,strict=1", "nomembarrier=1" };
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        failed = false;
        refuse_each(k, on, 1, modes[i], most);
        refuse_each(k, on, 2, modes[i], most);
        result(!failed, "%s refused %s, with %s", kinds[k],
               on ? "from each call on" : "once, at each call", modes[i]);
    }
}

/* Does the kernel know light guards, and some at once? */
static bool guards_each(void)
{
    size_t page = gor__os_page_size();
    char *p = (char *)gor__os_reserve(page);
    bool does = p && gor__os_guard(p, page, true) == 0 && gor__os_guard_each(p, page, 0, 1);
    gor__os_release(p, page);
    return does;
}

int main(int argc, char **argv)
{
    struct coming coming[N_KINDS];
    int n_coming = 0;
    const char *only = argc > 1 ? argv[1] : "";
    long most = argc > 2 ? strtol(argv[2], NULL, 10) : 2000;
    bool each = guards_each();
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int k = 0; k < N_KINDS; k++)
        if (brings_back((enum kind)k) && strstr(kinds[k], only)) {
            struct coming *c = &coming[n_coming++];
            c->k = (enum kind)k;
            if (pipe(c->fd) == 0)
                c->pid = refuse_to_come_back(c->k, c->fd[1]);
        }
    signal(SIGALRM, hangs);
    for (int k = 0; k < N_KINDS; k++)
        if (strstr(kinds[k], only)) {
            for (int on = 0; on <= for_good[k]; on++)
                refuse_in_all_modes((enum kind)k, on != 0, most);
            if (k == GUARD_EACH && !each)
                result(true, "%s was called, and refused # SKIP kernel: before 6.15 there are no "
                       "guards for some stacks at once", kinds[k]);
            else
                result(n_refused[k] > 0, "%s was called, and refused", kinds[k]);
            printf("# %s: %ld refused\n", kinds[k], atomic_load(&n_refused[k]));
        }
    for (int i = 0; i < n_coming; i++)
        result(said_and_ended(&coming[i]), "a packed stack that cannot come back, %s refused, "
               "is the end, and said", kinds[coming[i].k]);
    printf("1..%d\n", n_tests);
    return n_bad > 0;
}

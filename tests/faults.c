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

enum kind { MMAP, MADVISE, MPROTECT, THREAD, MEMBARRIER, FUTEX, TIMER, N_KINDS };
static const char *const kinds[] = {
    "mmap", "madvise", "mprotect", "pthread_create", "membarrier", "futex", "timer"
};
static _Atomic long n_calls[N_KINDS], fail_at = -1;
static _Atomic int fail_kind = N_KINDS;
static bool fails_on;
static char what[200];

static bool refused(enum kind k)
{
    long n = atomic_fetch_add(&n_calls[k], 1);
    return (int)k == fail_kind && (n == fail_at || (fails_on && n > fail_at));
}

static int refuse(int err)
{
    *__errno_location() = err;
    return -1;
}

void *__real_mmap(void *p, size_t size, int prot, int flags, int fd, off_t at);
void *__wrap_mmap(void *p, size_t size, int prot, int flags, int fd, off_t at);
void *__wrap_mmap(void *p, size_t size, int prot, int flags, int fd, off_t at)
{
    return refused(MMAP) ? (refuse(ENOMEM), MAP_FAILED)
                         : __real_mmap(p, size, prot, flags, fd, at);
}

int __real_madvise(void *p, size_t size, int advice);
int __wrap_madvise(void *p, size_t size, int advice);
int __wrap_madvise(void *p, size_t size, int advice)
{
    return refused(MADVISE) ? refuse(ENOMEM) : __real_madvise(p, size, advice);
}

int __real_mprotect(void *p, size_t size, int prot);
int __wrap_mprotect(void *p, size_t size, int prot);
int __wrap_mprotect(void *p, size_t size, int prot)
{
    return refused(MPROTECT) ? refuse(ENOMEM) : __real_mprotect(p, size, prot);
}

int __real_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg)
{
    return refused(THREAD) ? EAGAIN : __real_pthread_create(t, a, fn, arg);
}

int __real_timer_create(clockid_t clock, struct sigevent *e, timer_t *t);
int __wrap_timer_create(clockid_t clock, struct sigevent *e, timer_t *t);
int __wrap_timer_create(clockid_t clock, struct sigevent *e, timer_t *t)
{
    return refused(TIMER) ? refuse(EAGAIN) : __real_timer_create(clock, e, t);
}

/* membarrier has no function of its own; a futex call may return early with any error. */
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
    if (number == SYS_membarrier && refused(MEMBARRIER))
        return refuse(ENOMEM);
    if (number == SYS_futex && (a[1] & 127) != FUTEX_WAKE && refused(FUTEX))
        return refuse(EINTR);
    return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
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
static bool packable;                  /* a packed stack does not come back if all is refused */
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
    check(gor_send((gor_chan *)p, &v) == 0, "a send from outside");
    return NULL;
}

static int work(void *p)
{
    gor_chan *c = gor_chan_new(sizeof(int), 0);
    pthread_t thread;
    int v = 0;
    (void)p;
    gate = gor_chan_new(0, 0);
    for (int i = 0; i < 90; i++) {
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
    check(gor_sleep(3 * GOR_MS) == 0, "gor_sleep");
    check(gor_block(nap, NULL) == 3, "gor_block");
    gor_procs(3);
    gor_chan_close(gate);
    gor_wg_wait(&wg);
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

static void refuse_each(enum kind k, bool on, int procs, const char *debug, long most)
{
    long step = 1;
    depth = strstr(debug, "strict") && k == MPROTECT ? 20000 : 150000;
    packable = !on;
    setenv("GORDEBUG", debug, 1);
    for (long at = 0; at < most; at += step) {
        gor_options o = { .procs = procs, .compact_idle = 1 };
        int rc;
        for (int i = 0; i < N_KINDS; i++)
            atomic_store(&n_calls[i], 0);
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
        if (n_calls[k] <= at)
            break;
        step = 1 + at / 12;
    }
}

int main(int argc, char **argv)
{
    static const char *const modes[] = { "tidy=1", "tidy=1,noguardinstall=1", "tidy=1,noguard=1",
                                         "tidy=1,strict=1", "nomembarrier=1" };
    const char *only = argc > 1 ? argv[1] : "";
    long most = argc > 2 ? strtol(argv[2], NULL, 10) : 400;
    int n = 0, bad = 0;
    signal(SIGALRM, hangs);
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int k = 0; k < N_KINDS; k++)
        for (int on = 0; on <= 1 && strstr(kinds[k], only); on++)
            for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
                failed = false;
                refuse_each((enum kind)k, on != 0, 1, modes[i], most);
                refuse_each((enum kind)k, on != 0, 2, modes[i], most);
                bad += failed;
                printf("%sok %d - %s refused %s, with %s\n", failed ? "not " : "", ++n, kinds[k],
                       on ? "from each call on" : "once, at each call", modes[i]);
            }
    printf("1..%d\n", n);
    return bad > 0;
}

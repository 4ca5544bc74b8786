/* What a thread keeps for itself, a goroutine takes along: errno and the rounding mode. */
#include "test.h"

#include <sys/syscall.h>

/* The rounding mode by hand: fesetround would need -lm. 0: nearest, 1: down, 2: up, 3: to zero. */
#if defined(__x86_64__)
static void set_rounding(unsigned mode)
{
    unsigned mxcsr;
    unsigned short x87;
    __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
    mxcsr = (mxcsr & ~0x6000u) | mode << 13;
    __asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
    __asm__ volatile("fnstcw %0" : "=m"(x87));
    x87 = (unsigned short)((x87 & ~0x0C00u) | mode << 10);
    __asm__ volatile("fldcw %0" : : "m"(x87));
}

static unsigned get_rounding(void)
{
    unsigned mxcsr;
    unsigned short x87;
    __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
    __asm__ volatile("fnstcw %0" : "=m"(x87));
    unsigned sse = mxcsr >> 13 & 3;
    return sse == (x87 >> 10 & 3u) ? sse : 99;
}
#elif defined(__aarch64__)
static const unsigned swapped[4] = { 0, 2, 1, 3 };     /* ARM64 swaps up and down */

static void set_rounding(unsigned mode)
{
    uint64_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    fpcr = (fpcr & ~((uint64_t)3 << 22)) | (uint64_t)swapped[mode] << 22;
    __asm__ volatile("msr fpcr, %0" : : "r"(fpcr));
}

static unsigned get_rounding(void)
{
    uint64_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    return swapped[fpcr >> 22 & 3];
}
#endif

struct keeper {
    int         number;
    int         n;                     /* rounds */
    gor_chan   *c;
    gor_mutex  *m;
    long        first;                 /* the thread it began on */
    bool        migrated;
};

/* pthread_self is declared constant, so a compiler may take it to be the same after a wait. */
static long this_thread(void)
{
    return syscall(SYS_gettid);
}

/* Give the goroutine many occasions to wake up on another thread. */
static void wander(struct keeper *k, int i)
{
    switch ((i + k->number) % 6) {
    case 0:
        gor_yield();
        break;
    case 1:
        gor_sleep(GOR_US);
        break;
    case 2:
        gor_send_until(k->c, &(int){ i }, gor_now() + 20 * GOR_US);
        break;
    case 3:
        gor_recv_until(k->c, &(int){ 0 }, gor_now() + 20 * GOR_US);
        break;
    case 4:
        gor_mutex_lock(k->m);
        gor_yield();
        gor_mutex_unlock(k->m);
        break;
    default:
        gor_select(gor_on_recv(k->c, &(int){ 0 }), gor_on_after(10 * GOR_US));
        break;
    }
    k->migrated |= k->first != this_thread();
}

/* errno set and read across switches within one function: its address must not be kept. */
static void keep_errno(void *p)
{
    struct keeper *k = (struct keeper *)p;
    k->first = this_thread();
    errno = k->number;
    for (int i = 0; i < k->n; i++) {
        wander(k, i);
        if (!IS(errno, k->number))
            return;
        errno = k->number;
    }
}

static void keep_rounding(void *p)
{
    struct keeper *k = (struct keeper *)p;
    unsigned mode = (unsigned)k->number % 4;
    volatile double one = 1, three = 3;
    set_rounding(mode);
    double third = one / three;
    for (int i = 0; i < k->n; i++) {
        wander(k, i);
        if (!IS(get_rounding(), mode))
            break;
        OK(!(third < one / three) && !(third > one / three));
    }
    set_rounding(0);
}

/* Returns how many came to run on another thread. */
static int wander_once(void (*fn)(void *), int n)
{
    enum { N = 24 };
    gor_wg wg = { 0 };
    gor_mutex m = { 0 };
    struct keeper k[N];
    gor_chan *c = gor_chan_new(sizeof(int), 2);
    for (int i = 0; i < N; i++) {
        k[i] = (struct keeper){ .number = 1000 + i, .n = n, .c = c, .m = &m };
        START(&wg, fn, &k[i]);
    }
    gor_wg_wait(&wg);
    gor_chan_release(c);
    int n_migrated = 0;
    for (int i = 0; i < N; i++)
        n_migrated += k[i].migrated;
    return n_migrated;
}

/* Until somebody has migrated, where there are processors to go to: else nothing was looked at. */
static void let_wander(void (*fn)(void *), int n)
{
    int n_migrated;
    do
        n_migrated = wander_once(fn, n);
    while (n_migrated == 0 && gor_procs(0) >= 8);
}

TEST(errno_goes_with_the_goroutine)
{
    let_wander(keep_errno, scaled(1000));
}

TEST(the_rounding_mode_goes_with_the_goroutine)
{
    let_wander(keep_rounding, scaled(1000));
    IS(get_rounding(), 0);
}

static void exit_with_errno(void *p)
{
    (void)p;
    errno = 4711;
}

TEST(the_errno_of_one_goroutine_is_not_seen_by_another)
{
    gor_wg wg = { 0 };
    errno = 5;
    for (int i = 0; i < 20; i++)
        START(&wg, exit_with_errno, NULL);
    gor_wg_wait(&wg);
    IS(errno, 5);
}

struct finding {
    int      number;
    unsigned rounding;
};

static void note_and_change(void *p)
{
    struct finding *f = (struct finding *)p;
    f->number = errno;
    f->rounding = get_rounding();
    errno = 4711;
    set_rounding(1);
}

TEST(who_begins_after_another_has_ended_finds_nothing_of_its)
{
    enum { N = 100 };
    gor_wg wg = { 0 };
    struct finding f[N];
    for (int i = 0; i < N; i++)
        START(&wg, note_and_change, &f[i]);
    gor_wg_wait(&wg);
    for (int i = 0; i < N; i++) {
        IS(f[i].number, 0);
        IS(f[i].rounding, 0);
    }
    IS(get_rounding(), 0);
}

TEST(no_call_reports_in_errno)
{
    gor_chan *c = gor_chan_new(sizeof(int), 1);
    gor_mutex m = { 0 };
    gor_sem s = { 0 };
    int v = 0;
    errno = 42;
    IS(gor_try_recv(c, &v), -EAGAIN);
    IS(gor_recv_until(c, &v, gor_now() + 100 * GOR_US), -ETIMEDOUT);
    IS(gor_send(c, &(char){ 0 }), -EMSGSIZE);
    IS(gor_chan_close(c), 0);
    IS(gor_chan_close(c), -EPIPE);
    IS(gor_recv(c, &v), -EPIPE);
    gor_mutex_lock(&m);
    IS(gor_mutex_lock_until(&m, gor_now() + 100 * GOR_US), -ETIMEDOUT);
    gor_mutex_unlock(&m);
    IS(gor_sem_acquire(&s, -1), -EINVAL);
    IS(gor_sleep(100 * GOR_US), 0);
    OK(gor_chan_new(8, SIZE_MAX) == NULL);
    IS(errno, 42);
    gor_chan_release(c);
}

/* The real errno of libc must be the same thing, whichever way the code reaches it. */
TEST(errno_is_set_by_system_calls)
{
    for (int i = 0; i < 20; i++) {
        errno = 0;
        IS(close(-1), -1);
        IS(errno, EBADF);
        gor_yield();
        IS(errno, EBADF);
        IS(*__errno_location(), EBADF);
    }
}

/* ==== [epoll] the kernel's list of what is ready, on Linux ====================================
 * What        One epoll instance and one eventfd that breaks a sleep in it. The contract, which
 *             [kqueue] fulfils too:
 *               open, close   make and unmake the instance
 *               set           watch fd for GOR_READ, GOR_WRITE or both, edge-triggered, under a
 *                             tag that its events will carry; what is ready already is an event
 *               forget        watch fd no longer
 *               wait          up to GOR__POLL_BATCH events, sleeping until deadline (0: not at
 *                             all); may end early
 *               event         the i-th of what wait has left in its list, decoded
 *               wake          end one sleep, now or the next; async-signal-safe
 *               calm          take back a wake: for the one who slept
 * Runs on     Any stack, any thread. Leaves errno alone.
 */
typedef struct gor__os_event {
    int      fd;                       /* -1: a wake                                           */
    uint32_t tag;
    unsigned what;                     /* GOR_READ, GOR_WRITE, GOR__HUNG                       */
} gor__os_event;

enum { GOR__HUNG = 4 };                /* the other end is closed, or urgent data: see [poll]  */

static bool gor__os_fd_open(int fd)
{
    int saved = gor__os_errno();
    bool is_open = fcntl(fd, F_GETFD) >= 0;
    gor__os_set_errno(saved);
    return is_open;
}

/* What of what fd is ready for; closed and broken is everything. 0: nothing; -EBADF. */
static int gor__os_fd_ready(int fd, int what)
{
    struct pollfd p;
    int saved = gor__os_errno(), n, found = 0;
    p.fd = fd;
    p.events = (short)((what & GOR_READ ? POLLIN : 0) | (what & GOR_WRITE ? POLLOUT : 0));
    p.revents = 0;
    do
        n = poll(&p, 1, 0);
    while (n < 0 && gor__os_errno() == EINTR);
    gor__os_set_errno(saved);
    if (p.revents & POLLNVAL)
        return -EBADF;
    if (p.revents & (POLLERR | POLLHUP))
        found = what;
    if (p.revents & POLLIN)
        found |= GOR_READ;
    if (p.revents & POLLOUT)
        found |= GOR_WRITE;
    return found & what;
}

#if !GOR__KQUEUE
#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

static struct { int epoll, event; gor__au32 coarse; } gor__os_poller = { -1, -1, { 0 } };

typedef struct gor__os_events { struct epoll_event at[GOR__POLL_BATCH]; } gor__os_events;

static int gor__os_poll_open(void)
{
    struct epoll_event e;
    int saved = gor__os_errno(), rc = 0;
    memset(&e, 0, sizeof e);
    e.events = EPOLLIN;                            /* level-triggered: it stays until calmed */
    e.data.u64 = UINT64_MAX;
    gor__os_poller.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (gor__os_poller.epoll >= 0)
        gor__os_poller.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (gor__os_poller.event < 0 ||
        epoll_ctl(gor__os_poller.epoll, EPOLL_CTL_ADD, gor__os_poller.event, &e) != 0)
        rc = -gor__os_errno();
    gor__os_set_errno(saved);
    return rc;
}

static void gor__os_poll_close(void)
{
    if (gor__os_poller.event >= 0)
        close(gor__os_poller.event);
    if (gor__os_poller.epoll >= 0)
        close(gor__os_poller.epoll);
    gor__os_poller.event = gor__os_poller.epoll = -1;
}

static int gor__os_poll_ctl(int op, int fd, struct epoll_event *e)
{
    int saved = gor__os_errno();
    return (int)gor__os_result(epoll_ctl(gor__os_poller.epoll, op, fd, e), saved);
}

/* known: it is probably watched already. 0; -EPERM cannot be watched; -EBADF, -ENOMEM, -ENOSPC. */
static int gor__os_poll_set(int fd, uint32_t tag, unsigned what, bool known)
{
    struct epoll_event e;
    int rc;
    memset(&e, 0, sizeof e);
    e.events = EPOLLET | (what & GOR_READ ? EPOLLIN | EPOLLRDHUP | EPOLLPRI : 0u) |
               (what & GOR_WRITE ? EPOLLOUT : 0u);
    e.data.u64 = (uint64_t)tag << 32 | (uint32_t)fd;
    rc = gor__os_poll_ctl(known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &e);
    if (rc == -ENOENT || rc == -EEXIST)
        rc = gor__os_poll_ctl(known ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &e);
    return rc;
}

static void gor__os_poll_forget(int fd)
{
    struct epoll_event e;
    memset(&e, 0, sizeof e);
    gor__os_poll_ctl(EPOLL_CTL_DEL, fd, &e);
}

/* ms < 0: no deadline. */
static int gor__os_epoll_ms(struct epoll_event *e, int max, int ms)
{
#if GOR__RAW_SYSCALLS && defined(SYS_epoll_wait)
    return (int)gor__arch_syscall(SYS_epoll_wait, gor__os_poller.epoll, (long)e, max, ms, 0, 0);
#elif GOR__RAW_SYSCALLS                        /* newer processors have no other */
    return (int)gor__arch_syscall(SYS_epoll_pwait, gor__os_poller.epoll, (long)e, max, ms, 0, 0);
#else
    int saved = gor__os_errno();
    return (int)gor__os_result(epoll_wait(gor__os_poller.epoll, e, max, ms), saved);
#endif
}

/* Who sleeps by a deadline is in no hurry: not raw. */
static int gor__os_epoll_ns(struct epoll_event *e, int max, int64_t ns)
{
    struct timespec t;
    int saved = gor__os_errno();
    t.tv_sec = (time_t)(ns / GOR_SEC);
    t.tv_nsec = (long)(ns % GOR_SEC);
    return (int)gor__os_result(syscall(SYS_epoll_pwait2, gor__os_poller.epoll, e, max, &t, NULL,
                                       (size_t)0), saved);
}

/* Sleep in ns, or, where the kernel cannot (Linux before 5.11), in whole ms. */
static int gor__os_epoll_wait(struct epoll_event *e, int max, int64_t deadline)
{
    int64_t left = deadline == GOR_FOREVER || deadline == 0 ? deadline : deadline - gor__os_now();
    if (left <= 0)
        return gor__os_epoll_ms(e, max, 0);
    if (left == GOR_FOREVER)
        return gor__os_epoll_ms(e, max, -1);
    if (gor__au32_load_rlx(&gor__os_poller.coarse) == 0) {
        int n = gor__os_epoll_ns(e, max, left);
        if (n >= 0 || n == -EINTR)
            return n;
        gor__au32_store_rlx(&gor__os_poller.coarse, 1);
    }
    left = (left + GOR_MS - 1) / GOR_MS;
    return gor__os_epoll_ms(e, max, left < INT_MAX ? (int)left : INT_MAX);
}

/* How many events; < 0: -errno, it will not work any more. */
static int gor__os_poll_wait(gor__os_events *list, int64_t deadline)
{
    int n = gor__os_epoll_wait(list->at, GOR__POLL_BATCH,
                               deadline == 0 ? 0 : gor__os_sleep_until(deadline));
    return n == -EINTR ? 0 : n;
}

GOR__INLINE gor__os_event gor__os_poll_event(const gor__os_events *list, int i)
{
    uint32_t bits = list->at[i].events;
    uint64_t data = list->at[i].data.u64;
    gor__os_event e = { (int)(uint32_t)data, (uint32_t)(data >> 32), 0 };
    if (bits & (EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLHUP | EPOLLERR))
        e.what |= GOR_READ;
    if (bits & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        e.what |= GOR_WRITE;
    if (bits & (EPOLLRDHUP | EPOLLPRI | EPOLLHUP | EPOLLERR))
        e.what |= GOR__HUNG;
    return e;
}

/* Also from signal handlers, on the alternate stack: there a local variable would have the same
 * place in each goroutine that the thread runs, which ThreadSanitizer takes for sharing. */
static void gor__os_poll_wake(void)
{
    static const uint64_t one = 1;
    gor__os_write(gor__os_poller.event, &one, sizeof one);     /* full: awake as it can be */
}

static void gor__os_poll_calm(void)
{
    uint64_t count;
    gor__os_read(gor__os_poller.event, &count, sizeof count);
}
#endif

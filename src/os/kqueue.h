/* ==== [kqueue] the kernel's list of what is ready, on macOS and the BSDs ======================
 * What        The contract of [epoll] by one kqueue: a filter for each direction with EV_CLEAR is
 *             edge-triggered, EVFILT_USER breaks a sleep. The rest of [os] has no such systems yet;
 *             -DGOR__KQUEUE=1 compiles this part wherever there is a <sys/event.h>. `make check`
 *             has one that plays kqueue on epoll (tests/kqueue), for tests/io.c and tests/net.c.
 * Runs on     Any stack, any thread. Leaves errno alone.
 */
#if GOR__KQUEUE
static struct { int kq; } gor__os_poller = { -1 };

typedef struct gor__os_events { struct kevent at[GOR__POLL_BATCH]; } gor__os_events;

static int gor__os_kevent(int fd, int filter, int flags, unsigned fflags, uint32_t tag)
{
    struct kevent k;
    int saved = gor__os_errno(), rc;
    EV_SET(&k, (uintptr_t)fd, (short)filter, (unsigned short)flags, fflags, 0,
           (void *)(uintptr_t)tag);
    rc = kevent(gor__os_poller.kq, &k, 1, NULL, 0, NULL) < 0 ? -gor__os_errno() : 0;
    gor__os_set_errno(saved);
    return rc;
}

static int gor__os_poll_open(void)
{
    int saved = gor__os_errno(), rc;
    gor__os_poller.kq = kqueue();
    rc = gor__os_poller.kq < 0 ? -gor__os_errno() : 0;
    gor__os_set_errno(saved);
    if (rc != 0)
        return rc;
    fcntl(gor__os_poller.kq, F_SETFD, FD_CLOEXEC);
    return gor__os_kevent(0, EVFILT_USER, EV_ADD, 0, 0);
}

static void gor__os_poll_close(void)
{
    if (gor__os_poller.kq >= 0)
        close(gor__os_poller.kq);
    gor__os_poller.kq = -1;
}

/* What is not wanted is let go: the two filters stand for one registration. */
static int gor__os_poll_set(int fd, uint32_t tag, unsigned what, bool known)
{
    int rc = 0;
    if (what & GOR_READ)
        rc = gor__os_kevent(fd, EVFILT_READ, EV_ADD | EV_CLEAR, 0, tag);
    else if (known)
        gor__os_kevent(fd, EVFILT_READ, EV_DELETE, 0, 0);
    if (rc == 0 && (what & GOR_WRITE))
        rc = gor__os_kevent(fd, EVFILT_WRITE, EV_ADD | EV_CLEAR, 0, tag);
    else if (known && !(what & GOR_WRITE))
        gor__os_kevent(fd, EVFILT_WRITE, EV_DELETE, 0, 0);
    return rc;
}

static void gor__os_poll_forget(int fd)
{
    gor__os_kevent(fd, EVFILT_READ, EV_DELETE, 0, 0);
    gor__os_kevent(fd, EVFILT_WRITE, EV_DELETE, 0, 0);
}

/* How many events; < 0: -errno, it will not work any more. */
static int gor__os_poll_wait(gor__os_events *list, int64_t deadline)
{
    struct timespec t, *tp = &t;
    int64_t left = deadline == GOR_FOREVER || deadline == 0 ? deadline : deadline - gor__os_now();
    int saved = gor__os_errno(), n;
    left = left > 0 ? left : 0;
    t.tv_sec = (time_t)(left / GOR_SEC);
    t.tv_nsec = (long)(left % GOR_SEC);
    if (left == GOR_FOREVER)
        tp = NULL;
    n = kevent(gor__os_poller.kq, NULL, 0, list->at, GOR__POLL_BATCH, tp);
    if (n < 0)
        n = gor__os_errno() == EINTR ? 0 : -gor__os_errno();
    gor__os_set_errno(saved);
    return n;
}

GOR__INLINE gor__os_event gor__os_poll_event(const gor__os_events *list, int i)
{
    const struct kevent *k = &list->at[i];
    gor__os_event e = { (int)k->ident, (uint32_t)(uintptr_t)k->udata, GOR_READ };
    if (k->filter == EVFILT_USER)
        e.fd = -1;
    if (k->filter == EVFILT_WRITE)
        e.what = GOR_WRITE;
    if (k->flags & (EV_EOF | EV_ERROR))
        e.what |= GOR__HUNG | GOR_READ | GOR_WRITE;
    return e;
}

static void gor__os_poll_wake(void) { gor__os_kevent(0, EVFILT_USER, 0, NOTE_TRIGGER, 0); }
static void gor__os_poll_calm(void) { gor__os_kevent(0, EVFILT_USER, EV_CLEAR, 0, 0); }
#endif

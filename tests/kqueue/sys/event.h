/* As much of kqueue as [kqueue] uses, on epoll: so that the part for macOS and the BSDs is compiled,
 * and put through the tests, on Linux. For one queue and fds below KQ_FDS. */
#ifndef KQ_EVENT_H
#define KQ_EVENT_H

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define EVFILT_READ  (-1)
#define EVFILT_WRITE (-2)
#define EVFILT_USER  (-11)
#define EV_ADD       0x0001
#define EV_DELETE    0x0002
#define EV_CLEAR     0x0020
#define EV_EOF       0x8000
#define EV_ERROR     0x4000
#define NOTE_TRIGGER 0x01000000u

struct kevent {
    uintptr_t      ident;
    short          filter;
    unsigned short flags;
    unsigned       fflags;
    int64_t        data;
    void          *udata;
};

#define EV_SET(k, i, fi, fl, ff, d, u)                                                             \
    (*(k) = (struct kevent){ (i), (fi), (fl), (ff), (d), (u) })

enum { KQ_FDS = 1 << 16, KQ_BATCH = 64 };

struct kq_fd {
    uint32_t mask;                     /* of EPOLLIN and EPOLLOUT */
    void    *udata[2];
};

static struct {
    pthread_mutex_t lock;
    int             user;              /* an eventfd */
    struct kq_fd    fd[KQ_FDS];
} kq = { .lock = PTHREAD_MUTEX_INITIALIZER, .user = -1 };

static int kqueue(void)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = { .events = EPOLLIN, .data.fd = -1 };
    if (epoll < 0)
        return -1;
    if (kq.user >= 0)
        close(kq.user);
    kq.user = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    memset(kq.fd, 0, sizeof kq.fd);
    if (kq.user < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, kq.user, &e) != 0) {
        close(epoll);
        return -1;
    }
    return epoll;
}

static int kq_user(const struct kevent *k)
{
    uint64_t n = 1;
    ssize_t done = 0;
    if (k->fflags & NOTE_TRIGGER)
        done = write(kq.user, &n, sizeof n);
    else if (k->flags & EV_CLEAR)
        done = read(kq.user, &n, sizeof n);
    return done < 0 && errno != EAGAIN ? -1 : 0;
}

/* A number that was closed and opened anew is registered no more, whatever we believe. */
static int kq_set(int epoll, int fd, struct kq_fd *f, uint32_t bit)
{
    struct epoll_event e = { .events = f->mask | EPOLLRDHUP | EPOLLET, .data.fd = fd };
    if (f->mask == 0)
        return epoll_ctl(epoll, EPOLL_CTL_DEL, fd, &e);
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &e) == 0)
        return 0;
    if (errno != ENOENT || bit == 0)
        return -1;
    f->mask = bit;
    e.events = bit | EPOLLRDHUP | EPOLLET;
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e);
}

static int kq_change(int epoll, const struct kevent *k)
{
    uint32_t bit = k->filter == EVFILT_READ ? EPOLLIN : EPOLLOUT;
    struct kq_fd *f;
    int rc;
    if (k->ident >= KQ_FDS) {
        errno = EBADF;
        return -1;
    }
    f = &kq.fd[k->ident];
    pthread_mutex_lock(&kq.lock);
    f->mask = k->flags & EV_DELETE ? f->mask & ~bit : f->mask | bit;
    f->udata[bit == EPOLLOUT] = k->udata;
    rc = kq_set(epoll, (int)k->ident, f, k->flags & EV_DELETE ? 0 : bit);
    if (rc != 0)
        f->mask &= ~bit;
    pthread_mutex_unlock(&kq.lock);
    return rc;
}

static int kq_tell(struct kevent *out, int fd, short filter, void *udata, bool end)
{
    EV_SET(out, (uintptr_t)fd, filter, (unsigned short)(EV_CLEAR | (end ? EV_EOF : 0)), 0, 0, udata);
    return 1;
}

/* What one event of epoll is to kqueue: up to two. */
static int kq_translate(const struct epoll_event *e, struct kevent *out)
{
    int fd = e->data.fd, n = 0;
    struct kq_fd f;
    bool gone = (e->events & (EPOLLHUP | EPOLLERR)) != 0;
    if (fd < 0)
        return kq_tell(out, 0, EVFILT_USER, NULL, false);
    pthread_mutex_lock(&kq.lock);
    f = kq.fd[fd];
    pthread_mutex_unlock(&kq.lock);
    if ((f.mask & EPOLLIN) && (gone || (e->events & (EPOLLIN | EPOLLRDHUP))))
        n += kq_tell(out + n, fd, EVFILT_READ, f.udata[0], gone || (e->events & EPOLLRDHUP));
    if ((f.mask & EPOLLOUT) && (gone || (e->events & EPOLLOUT)))
        n += kq_tell(out + n, fd, EVFILT_WRITE, f.udata[1], gone);
    return n;
}

static int kevent(int epoll, const struct kevent *changes, int n_changes, struct kevent *out,
                  int max, const struct timespec *timeout)
{
    struct epoll_event e[KQ_BATCH];
    int n = 0, got = (max + 1) / 2;        /* who has room for one only watches one direction */
    if (n_changes > 0)
        return changes->filter == EVFILT_USER ? kq_user(changes) : kq_change(epoll, changes);
    got = epoll_pwait2(epoll, e, got < KQ_BATCH ? got : KQ_BATCH, timeout, NULL);
    for (int i = 0; i < got; i++)
        n += kq_translate(&e[i], out + n);
    return got < 0 ? -1 : n;
}

#endif

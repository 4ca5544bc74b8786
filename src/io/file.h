/* ==== [file] files and processes ==============================================================
 * What        Calls that block for real, each through gor_block; a child's end by its pidfd, which
 *             can be waited for like a socket.
 */
typedef struct gor__file_call {
    const char *path;
    int     fd, flags;
    mode_t  mode;
    void   *buf;
    size_t  n;
    int64_t offset;
    ssize_t result;
    pid_t   pid;
    int    *status;
} gor__file_call;

/* Run fn, which leaves its result in c, without a processor. */
static ssize_t gor__file_run(int (*fn)(void *), gor__file_call *c)
{
    int rc, saved;
    gor__enter();
    rc = gor__own_ctx_err();
    gor__leave(gor__self());
    if (rc != 0)
        return rc;
    saved = gor__os_errno();
    gor_block(fn, c);
    gor__os_set_errno(saved);
    return c->result;
}

/* Store what a system call said; again if a signal ended it. */
static bool gor__file_result(gor__file_call *c, ssize_t n)
{
    c->result = n < 0 ? -gor__os_errno() : n;
    return c->result != -EINTR;
}

static int gor__do_open(void *p)
{
    gor__file_call *c = (gor__file_call *)p;
    while (!gor__file_result(c, open(c->path, c->flags | O_CLOEXEC, c->mode)))
        ;
    return 0;
}

static int gor__do_pread(void *p)
{
    gor__file_call *c = (gor__file_call *)p;
    while (!gor__file_result(c, pread(c->fd, c->buf, c->n, (off_t)c->offset)))
        ;
    return 0;
}

static int gor__do_pwrite(void *p)
{
    gor__file_call *c = (gor__file_call *)p;
    while (!gor__file_result(c, pwrite(c->fd, c->buf, c->n, (off_t)c->offset)))
        ;
    return 0;
}

static int gor__do_fsync(void *p)
{
    gor__file_call *c = (gor__file_call *)p;
    while (!gor__file_result(c, fsync(c->fd)))
        ;
    return 0;
}

static int gor__do_waitpid(void *p)
{
    gor__file_call *c = (gor__file_call *)p;
    while (!gor__file_result(c, waitpid(c->pid, c->status, 0)))
        ;
    return 0;
}

/* The flags of an fd that open(2) made: what can be waited for is made non-blocking. */
static int gor__file_adopt(int fd)
{
    int saved = gor__os_errno(), flags = fcntl(fd, F_GETFL), kind, rc = fd;
    gor__m *m = gor__enter();
    kind = flags < 0 ? 0 : flags & O_NONBLOCK ? 0 : gor__fd_kind_slow(fd, flags);
    if (kind >= 0 && kind != GOR__SHARED_FD)       /* a terminal is looked at at each call */
        rc = gor__fd_adopted(fd, (uint32_t)kind);
    gor__leave(m);
    gor__os_set_errno(saved);
    return rc;
}

int gor_open(const char *path, int flags, mode_t mode)
{
    gor__file_call c;
    ssize_t fd;
    if (!path)
        return -EINVAL;
    memset(&c, 0, sizeof c);
    c.path = path;
    c.flags = flags;
    c.mode = mode;
    fd = gor__file_run(gor__do_open, &c);
    return fd < 0 ? (int)fd : gor__file_adopt((int)fd);
}

static ssize_t gor__file_at(int (*fn)(void *), int fd, void *buf, size_t n, int64_t offset)
{
    gor__file_call c;
    if (fd < 0)
        return -EBADF;
    if (offset < 0)
        return -EINVAL;
    memset(&c, 0, sizeof c);
    c.fd = fd;
    c.buf = buf;
    c.n = n;
    c.offset = offset;
    return gor__file_run(fn, &c);
}

ssize_t gor_pread(int fd, void *buf, size_t n, int64_t offset)
{
    return gor__file_at(gor__do_pread, fd, buf, n, offset);
}

ssize_t gor_pwrite(int fd, const void *buf, size_t n, int64_t offset)
{
    return gor__file_at(gor__do_pwrite, fd, gor__unconst(buf), n, offset);
}

int gor_fsync(int fd) { return (int)gor__file_at(gor__do_fsync, fd, NULL, 0, 0); }

/* -- processes ----------------------------------------------------------------------------- */
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

/* A pidfd, adopted; -ENOSYS where there is none, or what else is wrong. */
static int gor__pidfd(pid_t pid)
{
    int saved = gor__os_errno();
    int fd = (int)gor__os_result(syscall(SYS_pidfd_open, pid, 0u), saved);
    gor__m *m;
    if (fd < 0)
        return fd;
    m = gor__enter();
    fd = gor__fd_adopted(fd, 0);
    gor__leave(m);
    return fd;
}

/* waitpid that does not wait: the pid, 0: still running, or an errno. */
static int gor__waitpid_now(pid_t pid, int *status)
{
    int saved = gor__os_errno(), rc;
    do
        rc = (int)waitpid(pid, status, WNOHANG);
    while (rc < 0 && gor__os_errno() == EINTR);
    rc = rc < 0 ? -gor__os_errno() : rc;
    gor__os_set_errno(saved);
    return rc;
}

int gor_wait_pid_until(pid_t pid, int *status, int64_t deadline)
{
    gor__file_call c;
    int fd, rc;
    if (pid > 0) {
        rc = gor__waitpid_now(pid, status);
        if (rc != 0)
            return rc;
        fd = gor__pidfd(pid);
        if (fd >= 0) {
            while ((rc = gor_wait_fd_until(fd, GOR_READ, deadline)) > 0 &&
                   (rc = gor__waitpid_now(pid, status)) == 0)
                ;
            gor_fd_close(fd);
            return rc;
        }
        if (fd != -ENOSYS && fd != -EPERM && fd != -EINVAL)
            return fd == -ESRCH ? -ECHILD : fd;
    }
    memset(&c, 0, sizeof c);
    c.pid = pid;
    c.status = status;
    return (int)gor__file_run(gor__do_waitpid, &c);
}

int gor_wait_pid(pid_t pid, int *status) { return gor_wait_pid_until(pid, status, GOR_FOREVER); }

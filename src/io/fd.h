/* ==== [fd] reading and writing file descriptors ================================================
 * What        gor__io_run tries a system call, and waits while it would block. Each call below is
 *             an attempt, a function that makes the system call, and the arguments in a gor__io.
 * Kinds       What is known of an fd that a gor call made stays known (pd flags). Of any other the
 *             number may have changed hands: its O_NONBLOCK is asked for at each call, and what
 *             blocks is looked at more closely:
 *               sockets, pipes   made non-blocking
 *               terminals, fds 0 to 2   left as they are, because other programs share them:
 *                                asked before each attempt, and written to a page at a time
 *               all else         regular files, directories, devices: the call goes through
 *                                gor_block; a read that the page cache can serve does not need it
 * SIGPIPE     Sockets: MSG_NOSIGNAL. Elsewhere, at the first write, an empty handler takes the
 *             place of the default: unlike SIG_IGN it is not inherited through exec. GOR_NO_SIGNALS
 *             leaves it alone. The runtime's threads have it blocked; this is for the others.
 * Errno       Is left as it was: results are returned.
 */
typedef struct gor__io {               /* one call: its arguments                              */
    ssize_t (*attempt)(const struct gor__io *io);      /* a result, or a negative errno        */
    int       fd;
    int       dir;                     /* GOR__IN, GOR__OUT                                    */
    uint32_t  kind;                    /* flags of the pd; GOR__SHARED_FD                      */
    int       flags;
    int       n_vec;
    void     *buf;
    size_t    n;
    const struct iovec *vec;
    struct sockaddr *addr;
    socklen_t *addr_len;
    socklen_t addr_size;
    int64_t   offset;
} gor__io;

enum { GOR__SHARED_FD = 0x10000 };     /* besides the flags of a pd                            */
#define GOR__IOV_MAX 1024                       /* the kernel's                                   */
#define GOR__SHARED_PIECE ((size_t)4096)       /* POLLOUT promises so much of a pipe (PIPE_BUF) */

/* -- SIGPIPE ------------------------------------------------------------------------------- */
static gor__au32 gor__sigpipe_tamed;
static void gor__sigpipe_nothing(int sig) { (void)sig; }

static GOR__NOINLINE void gor__sigpipe_tame_slow(void)
{
    struct sigaction now, ours;
    if (!(gor__rt.opt.flags & GOR_NO_SIGNALS) && sigaction(SIGPIPE, NULL, &now) == 0 &&
        !(now.sa_flags & SA_SIGINFO) && now.sa_handler == SIG_DFL) {
        memset(&ours, 0, sizeof ours);
        ours.sa_handler = gor__sigpipe_nothing;
        ours.sa_flags = SA_RESTART | SA_ONSTACK;
        sigaction(SIGPIPE, &ours, NULL);
    }
    gor__au32_store_rel(&gor__sigpipe_tamed, 1);   /* now: others write at once */
}

GOR__INLINE void gor__sigpipe_tame(void)
{
    if (GOR__UNLIKELY(gor__au32_load_rlx(&gor__sigpipe_tamed) == 0))
        gor__sigpipe_tame_slow();
}

static void gor__sigpipe_restore(void)
{
    struct sigaction now;
    if (gor__au32_xchg(&gor__sigpipe_tamed, 0) && sigaction(SIGPIPE, NULL, &now) == 0 &&
        now.sa_handler == gor__sigpipe_nothing)
        signal(SIGPIPE, SIG_DFL);
}

/* -- what an fd is ----------------------------------------------------------------------------- */

/* A blocking fd: make it non-blocking, or say why not. FILE, GOR__SHARED_FD, 0, or an errno. */
static GOR__NOINLINE int gor__fd_kind_slow(int fd, int flags)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return -gor__os_errno();
    if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode) ||
        (S_ISCHR(st.st_mode) && !isatty(fd)))
        return GOR__PD_FILE;
    if (fd <= 2 || S_ISCHR(st.st_mode))
        return GOR__SHARED_FD;
    return fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 ? 0 : -gor__os_errno();
}

/* Of an fd that no gor call made. */
static GOR__NOINLINE int gor__fd_kind_asked(gor__io *io, gor__pd *pd, uint32_t gen)
{
    int saved = gor__os_errno(), rc = -EBADF;
    bool held = gor__pd_hold(pd);
    if (gor__au32_load_sc(&pd->gen) == gen) {
        rc = fcntl(io->fd, F_GETFL);
        if (rc < 0)
            rc = -gor__os_errno();
        else
            rc = rc & O_NONBLOCK ? 0 : gor__fd_kind_slow(io->fd, rc);
    }
    gor__pd_let_go(pd, held);
    gor__os_set_errno(saved);
    io->kind = rc > 0 ? (uint32_t)rc : 0;
    return rc < 0 ? rc : 0;
}

/* What io->fd is, into io->kind. 0, or -EBADF. */
GOR__INLINE int gor__fd_kind(gor__io *io, gor__pd *pd, uint32_t gen)
{
    io->kind = gor__au32_load_rlx(&pd->flags);
    if (GOR__LIKELY(io->kind & GOR__PD_OURS))
        return 0;
    return gor__fd_kind_asked(io, pd, gen);
}

/* -- the loop ------------------------------------------------------------------------------ */

static ssize_t gor__io_try(const gor__io *io)
{
    ssize_t n;
    do
        n = io->attempt(io);
    while (n == -EINTR);
    return n;
}

/* Ready is not for long: if another is quicker, this one blocks, and the others go on meanwhile. */
static GOR__NOINLINE ssize_t gor__io_try_shared(const gor__io *io)
{
    ssize_t n = gor__os_fd_ready(io->fd, io->dir == GOR__IN ? GOR_READ : GOR_WRITE);
    if (n <= 0)
        return n == 0 ? -EAGAIN : n;
    gor__leave(gor__self());
    n = gor__io_try(io);
    gor__enter();
    return n;
}

/* One attempt, unless the fd has changed hands since gen ([poll] I3). */
GOR__INLINE ssize_t gor__io_attempt(const gor__io *io, gor__pd *pd, uint32_t gen)
{
    ssize_t n = -EBADF;
    bool held;
    if (GOR__UNLIKELY(io->kind & GOR__SHARED_FD))
        return gor__au32_load_sc(&pd->gen) == gen ? gor__io_try_shared(io) : -EBADF;
    held = gor__pd_hold(pd);
    if (GOR__LIKELY(gor__au32_load_sc(&pd->gen) == gen))
        n = gor__io_try(io);
    gor__pd_let_go(pd, held);
    return n;
}

/* No runtime, or one that ends, so no poller: the thread blocks by itself. 0: try again. */
static int gor__io_block_thread(int fd, int what, int64_t deadline)
{
    struct pollfd p;
    int saved = gor__os_errno(), n;
    int64_t left = deadline == GOR_FOREVER ? GOR_FOREVER : deadline - gor__os_now();
    if (left <= 0)
        return -ETIMEDOUT;
    p.fd = fd;
    p.events = (short)((what & GOR_READ ? POLLIN : 0) | (what & GOR_WRITE ? POLLOUT : 0));
    left = left == GOR_FOREVER ? -1 : (left + GOR_MS - 1) / GOR_MS;
    gor__leave(gor__self());
    n = poll(&p, 1, left < INT_MAX ? (int)left : INT_MAX);
    gor__enter();
    n = n < 0 && gor__os_errno() != EINTR ? -gor__os_errno() : 0;
    gor__os_set_errno(saved);
    return n;
}

static ssize_t gor__try_read(const gor__io *io);

/* Does it empty the socket, if it gets less than it asks for? ([poll] Drained) */
GOR__INLINE bool gor__io_drains(const gor__io *io)
{
    return (io->kind & GOR__PD_STREAM) && io->attempt == gor__try_read && io->n > 0;
}

/* May it wait at once, because the last one emptied the socket, and an event will tell of more? */
GOR__INLINE bool gor__io_drained(const gor__io *io, gor__pd *pd, uint32_t seen, int64_t deadline)
{
    return gor__io_drains(io) && gor__au32_load_acq(&pd->drained) == seen &&   /* acq pd.drained */
           !gor__pd_is(pd, GOR__PD_HUNG) && gor__au32_load_rlx(&gor__rt.poller) &&
           (deadline == GOR_FOREVER || !gor__is_past(deadline));
}

/* Inside of a gor call. */
static ssize_t gor__io_loop(const gor__io *io, gor__pd *pd, uint32_t gen, int64_t deadline)
{
    for (;;) {
        uint32_t seen = gor__au32_load_acq(&pd->seq[io->dir]);     /* acq pd.seq */
        ssize_t n = -EAGAIN;
        if (!gor__io_drained(io, pd, seen, deadline)) {
            n = gor__io_attempt(io, pd, gen);
            if (n > 0 && (size_t)n < io->n && gor__io_drains(io))
                gor__au32_store_rel(&pd->drained, seen);   /* rel pd.drained: HUNG */
        }
        if (n != -EAGAIN)
            return n;
        n = gor__poll_need();
        if (n == 0)
            n = gor__pd_wait(pd, io->fd, gen, io->dir, seen, deadline);
        else if (n == -ESRCH)
            n = gor__io_block_thread(io->fd, io->dir == GOR__IN ? GOR_READ : GOR_WRITE, deadline);
        if (n != 0)
            return n;
    }
}

static int gor__io_blocking(void *p)
{
    gor__io *io = (gor__io *)p;
    ssize_t n;
    do
        n = io->attempt(io);
    while (n == -EINTR);
    io->offset = n;                                /* the result: it may not fit an int */
    return 0;
}

/* What epoll refuses: through gor_block, unless it is a read that the page cache can serve. Inside
 * of a gor call. */
static ssize_t gor__io_file(gor__io *io)
{
    struct iovec v;
    v.iov_base = io->buf;
    v.iov_len = io->n;
    if (io->attempt == gor__try_read) {
        ssize_t n = gor__os_read_cached(io->fd, &v);
        if (n >= 0)
            return n;
    }
    gor__leave(gor__self());
    gor_block(gor__io_blocking, io);
    gor__enter();
    return (ssize_t)io->offset;
}

/* The part that all calls share. */
static ssize_t gor__io_run(gor__io *io, int64_t deadline)
{
    gor__pd *pd;
    ssize_t n;
    gor__enter();
    n = gor__own_ctx_err();
    if (GOR__LIKELY(n == 0))
        n = gor__pd_of(io->fd, &pd);
    if (GOR__LIKELY(n == 0)) {                     /* gen first: what fd is holds for it alone */
        uint32_t gen = gor__au32_load_sc(&pd->gen);
        n = gor__fd_kind(io, pd, gen);
        if (GOR__UNLIKELY(n != 0))
            ;
        else if (GOR__UNLIKELY(io->kind & GOR__PD_FILE))
            n = gor__io_file(io);
        else
            n = gor__io_loop(io, pd, gen, deadline);
    }
    gor__leave(gor__self());
    return n;
}

static void gor__io_init(gor__io *io, ssize_t (*attempt)(const gor__io *), int fd, int dir,
                         const void *buf, size_t n)
{
    memset(io, 0, sizeof *io);
    io->attempt = attempt;
    io->fd = fd;
    io->dir = dir;
    io->buf = gor__unconst(buf);
    io->n = n;
}

/* -- reading and writing ----------------------------------------------------------------------- */

/* [poll] Drained: what came with the data is dropped, as by read, and noted. */
static ssize_t gor__try_read_unix(const gor__io *io)
{
    struct iovec v;
    struct msghdr msg;
    ssize_t n;
    memset(&msg, 0, sizeof msg);
    v.iov_base = io->buf;
    v.iov_len = io->n;
    msg.msg_iov = &v;
    msg.msg_iovlen = 1;
    n = gor__os_recvmsg(io->fd, &msg, 0);
    if (n >= 0 && (msg.msg_flags & MSG_CTRUNC))
        gor__pd_add_flag(gor__pd_seen(io->fd), GOR__PD_HUNG);
    return n;
}

/* From a socket by recvfrom, which has less to ask for than read. 0 bytes by read: recvfrom would
 * drop a message for them. ENOTSOCK: the number is another file's by now. */
static ssize_t gor__try_read(const gor__io *io)
{
    if (GOR__LIKELY((io->kind & GOR__PD_SOCKET) && io->n > 0)) {
        ssize_t n = io->kind & GOR__PD_UNIX
                  ? gor__try_read_unix(io)
                  : gor__os_recvfrom(io->fd, io->buf, io->n, 0, NULL, NULL);
        if (GOR__LIKELY(n != -ENOTSOCK))
            return n;
    }
    return gor__os_read(io->fd, io->buf, io->n);
}

/* May it be a socket? Of what a gor call made we know; send on anything else moves nothing. */
static bool gor__io_maybe_socket(const gor__io *io)
{
    return (io->kind & GOR__PD_SOCKET) ||
           !(io->kind & (GOR__PD_OURS | GOR__PD_FILE | GOR__SHARED_FD));
}

static ssize_t gor__try_write(const gor__io *io)
{
    size_t size = io->n;
    if (gor__io_maybe_socket(io)) {
        ssize_t n = gor__os_sendto(io->fd, io->buf, size, MSG_NOSIGNAL, NULL, 0);
        if (n != -ENOTSOCK)
            return n;
    }
    if ((io->kind & GOR__SHARED_FD) && size > GOR__SHARED_PIECE)
        size = GOR__SHARED_PIECE;
    gor__sigpipe_tame();
    return gor__os_write(io->fd, io->buf, size);
}

static ssize_t gor__try_readv(const gor__io *io)
{
    return gor__os_readv(io->fd, io->vec, io->n_vec);
}

static ssize_t gor__try_writev(const gor__io *io)
{
    int i = 0;
    size_t size;
    if (gor__io_maybe_socket(io)) {
        struct msghdr msg;
        ssize_t n;
        memset(&msg, 0, sizeof msg);
        msg.msg_iov = (struct iovec *)gor__unconst(io->vec);
        msg.msg_iovlen = (size_t)io->n_vec;
        n = gor__os_sendmsg(io->fd, &msg, MSG_NOSIGNAL);
        if (n != -ENOTSOCK)
            return n;
    }
    gor__sigpipe_tame();
    if (!(io->kind & GOR__SHARED_FD))
        return gor__os_writev(io->fd, io->vec, io->n_vec);
    while (i < io->n_vec - 1 && io->vec[i].iov_len == 0)
        i++;
    size = io->n_vec ? io->vec[i].iov_len : 0;
    if (size > GOR__SHARED_PIECE)
        size = GOR__SHARED_PIECE;
    return gor__os_write(io->fd, size ? io->vec[i].iov_base : NULL, size);
}

ssize_t gor_read_until(int fd, void *buf, size_t n, int64_t deadline)
{
    gor__io io;
    gor__io_init(&io, gor__try_read, fd, GOR__IN, buf, n);
    return gor__io_run(&io, deadline);
}

ssize_t gor_write_until(int fd, const void *buf, size_t n, int64_t deadline)
{
    gor__io io;
    gor__io_init(&io, gor__try_write, fd, GOR__OUT, buf, n);
    return gor__io_run(&io, deadline);
}

/* Again and again, until all is done, the end comes, or an error. */
static ssize_t gor__io_whole(gor__io *io, int64_t deadline)
{
    size_t n = io->n, done = 0;
    char *buf = (char *)io->buf;
    do {
        ssize_t now;
        io->buf = buf + done;
        io->n = n - done;
        now = gor__io_run(io, deadline);
        if (now < 0)
            return now;
        if (now == 0)
            break;
        done += (size_t)now;
    } while (done < n);
    return (ssize_t)done;
}

ssize_t gor_read_full_until(int fd, void *buf, size_t n, int64_t deadline)
{
    gor__io io;
    gor__io_init(&io, gor__try_read, fd, GOR__IN, buf, n);
    return gor__io_whole(&io, deadline);
}

ssize_t gor_write_all_until(int fd, const void *buf, size_t n, int64_t deadline)
{
    gor__io io;
    gor__io_init(&io, gor__try_write, fd, GOR__OUT, buf, n);
    return gor__io_whole(&io, deadline);
}

static ssize_t gor__io_vec(gor__io *io, const struct iovec *v, int n, int64_t deadline)
{
    if (n < 0 || n > GOR__IOV_MAX || (n > 0 && !v))
        return -EINVAL;
    io->vec = v;
    io->n_vec = n;
    return gor__io_run(io, deadline);
}

ssize_t gor_readv_until(int fd, const struct iovec *v, int n, int64_t deadline)
{
    gor__io io;
    gor__io_init(&io, gor__try_readv, fd, GOR__IN, NULL, 0);
    return gor__io_vec(&io, v, n, deadline);
}

ssize_t gor_writev_until(int fd, const struct iovec *v, int n, int64_t deadline)
{
    gor__io io;
    gor__io_init(&io, gor__try_writev, fd, GOR__OUT, NULL, 0);
    return gor__io_vec(&io, v, n, deadline);
}

ssize_t gor_read(int fd, void *buf, size_t n) { return gor_read_until(fd, buf, n, GOR_FOREVER); }

ssize_t gor_write(int fd, const void *buf, size_t n)
{
    return gor_write_until(fd, buf, n, GOR_FOREVER);
}

ssize_t gor_read_full(int fd, void *buf, size_t n)
{
    return gor_read_full_until(fd, buf, n, GOR_FOREVER);
}

ssize_t gor_write_all(int fd, const void *buf, size_t n)
{
    return gor_write_all_until(fd, buf, n, GOR_FOREVER);
}

ssize_t gor_readv(int fd, const struct iovec *v, int n)
{
    return gor_readv_until(fd, v, n, GOR_FOREVER);
}

ssize_t gor_writev(int fd, const struct iovec *v, int n)
{
    return gor_writev_until(fd, v, n, GOR_FOREVER);
}

/* -- waiting for an fd that a library reads ------------------------------------------------ */

/* Wait in both directions, a source each. */
static int gor__fd_wait_either(gor__pd *pd, int fd, uint32_t gen, const uint32_t *seen,
                               int64_t deadline)
{
    gor__wait w;
    gor__node n[2];
    gor__cancel *own = gor__own_ctx();
    if (deadline != GOR_FOREVER && deadline <= gor__os_now())
        return -ETIMEDOUT;
    gor__wait_init(&w, GOR__WHY_FD, gor__fd_object(fd), true);
    gor__fd_waits_add(1);
    for (int dir = 0; dir < 2; dir++) {
        gor__node_init(&n[dir], &w, dir, NULL);
        gor__pd_watch(pd, fd, gen, dir, seen[dir], &n[dir]);
    }
    gor__block(&w, deadline, own);
    gor__fd_waits_add((uint64_t)-1);
    gor__pd_leave(pd, &n[GOR__IN]);
    gor__pd_leave(pd, &n[GOR__OUT]);
    return w.rc;
}

/* Until poll(2) says so: an event alone may be somebody else's, or old. */
static int gor__wait_fd(gor__pd *pd, int fd, int what, int64_t deadline)
{
    uint32_t gen = gor__au32_load_sc(&pd->gen), seen[2];
    int dir = what == GOR_READ ? GOR__IN : GOR__OUT;
    for (;;) {
        int rc;
        seen[GOR__IN] = gor__au32_load_acq(&pd->seq[GOR__IN]);
        seen[GOR__OUT] = gor__au32_load_acq(&pd->seq[GOR__OUT]);
        rc = gor__os_fd_ready(fd, what);
        if (rc != 0)
            return rc;
        rc = gor__poll_need();
        if (rc == -ESRCH)
            rc = gor__io_block_thread(fd, what, deadline);
        else if (rc == 0 && what == (GOR_READ | GOR_WRITE))
            rc = gor__fd_wait_either(pd, fd, gen, seen, deadline);
        else if (rc == 0)
            rc = gor__pd_wait(pd, fd, gen, dir, seen[dir], deadline);
        if (rc != 0)
            return rc;
    }
}

int gor_wait_fd_until(int fd, int what, int64_t deadline)
{
    gor__pd *pd;
    int rc;
    if (what < GOR_READ || what > (GOR_READ | GOR_WRITE))
        return -EINVAL;
    gor__enter();
    rc = gor__own_ctx_err();
    if (rc == 0)
        rc = gor__pd_of(fd, &pd);
    if (rc == 0)
        rc = gor__wait_fd(pd, fd, what, deadline);
    gor__leave(gor__self());
    return rc;
}

int gor_wait_fd(int fd, int what) { return gor_wait_fd_until(fd, what, GOR_FOREVER); }

/* It may take long, on a socket that lingers or on a network's file: so it is made outside of the
 * call. */
int gor_fd_close(int fd)
{
    gor__pd *pd;
    int rc = -EBADF, saved;
    if (fd < 0)
        return rc;
    gor__enter();
    pd = gor__pd_seen(fd);
    if (pd)
        gor__pd_retire(pd, fd);
    saved = gor__os_errno();
    gor__leave(gor__self());
    rc = close(fd);
    gor__enter();
    rc = (int)gor__os_result(rc, saved);
    pd = gor__pd_seen(fd);                         /* anew: a run may have ended meanwhile */
    if (pd)
        gor__pd_closed(pd);
    gor__leave(gor__self());
    return rc == -EINTR ? 0 : rc;                  /* it is closed */
}

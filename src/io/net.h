/* ==== [net] sockets =========================================================================== */

/* A new fd of ours; without memory for its pd it is closed again. */
static int gor__fd_adopted(int fd, uint32_t flags)
{
    int rc = gor__pd_adopt(fd, flags);
    if (rc != 0)
        close(fd);
    return rc != 0 ? rc : fd;
}

/* What is known of a socket that we have made ([poll] Drained); with kqueue too little of Unix
 * ones. Somebody may have turned TCP into something else: mptcpize, or a BPF program. */
static uint32_t gor__socket_flags(int fd, int family, int type)
{
    uint32_t flags = GOR__PD_SOCKET;
    int protocol = 0;
    socklen_t size = sizeof protocol;
    if (type == SOCK_STREAM && family == AF_UNIX && !GOR__KQUEUE)
        flags |= GOR__PD_STREAM | GOR__PD_UNIX;
    else if (type == SOCK_STREAM && family != AF_UNIX &&
             getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) == 0 &&
             protocol == IPPROTO_TCP)
        flags |= GOR__PD_STREAM;
    return flags;
}

static void gor__socket_no_delay(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static ssize_t gor__try_accept(const gor__io *io)
{
    socklen_t size = io->addr_size;
    ssize_t n = gor__os_accept(io->fd, io->addr, &size);
    if (n >= 0)
        *io->addr_len = size;
    return n == -ECONNABORTED ? -EINTR : n;        /* it has gone again: the next one */
}

int gor_accept_until(int fd, struct sockaddr *addr, socklen_t *len, int64_t deadline)
{
    gor__io io;
    gor__m *m;
    struct sockaddr_storage own;
    socklen_t size = 0;
    ssize_t n;
    if (addr && !len)
        return -EINVAL;
    memset(&own, 0, sizeof own);
    gor__io_init(&io, gor__try_accept, fd, GOR__IN, NULL, 0);
    io.addr = (struct sockaddr *)&own;
    io.addr_size = sizeof own;
    io.addr_len = &size;
    n = gor__io_run(&io, deadline);
    if (n < 0)
        return (int)n;
    if (addr)
        memcpy(addr, &own, *len < size ? *len : size);
    if (len)
        *len = size;
    if (own.ss_family != AF_UNIX)
        gor__socket_no_delay((int)n);
    m = gor__enter();
    n = gor__fd_adopted((int)n, GOR__PD_SOCKET | (io.kind & (GOR__PD_STREAM | GOR__PD_UNIX)));
    gor__leave(m);
    return (int)n;
}

int gor_accept(int fd, struct sockaddr *addr, socklen_t *len)
{
    return gor_accept_until(fd, addr, len, GOR_FOREVER);
}

/* The first time it begins; after a wait it asks how that went. -EALREADY: a Unix socket whose
 * backlog is full, of which no event tells when it is not. */
static ssize_t gor__try_connect(const gor__io *io)
{
    int saved = gor__os_errno(), err = 0;
    socklen_t size = sizeof err;
    ssize_t n;
    if (!*io->addr_len) {
        *io->addr_len = 1;
        n = gor__os_result(connect(io->fd, io->addr, io->addr_size), saved);
        if (n == -EAGAIN)
            return -EALREADY;
        return n == -EINPROGRESS || n == -EINTR ? -EAGAIN : n;
    }
    if (gor__os_fd_ready(io->fd, GOR_WRITE) == 0)
        return -EAGAIN;
    n = gor__os_result(getsockopt(io->fd, SOL_SOCKET, SO_ERROR, &err, &size), saved);
    return n < 0 ? n : -err;
}

/* Not gor__io_run again: by then the number may be somebody else's ([poll] I2). */
static int gor__connect_again(gor__io *io, gor__pd *pd, uint32_t gen, int64_t deadline)
{
    int rc;
    gor__enter();
    rc = (int)gor__io_loop(io, pd, gen, deadline);
    gor__leave(gor__self());
    return rc;
}

int gor_connect_until(int fd, const struct sockaddr *addr, socklen_t len, int64_t deadline)
{
    gor__io io;
    gor__pd *pd;
    socklen_t begun = 0;
    uint32_t gen = 0;
    int rc, slept;
    gor__enter();
    rc = gor__pd_of(fd, &pd);
    if (rc == 0)
        gen = gor__au32_load_sc(&pd->gen);
    gor__leave(gor__self());
    if (rc != 0)
        return rc;
    gor__io_init(&io, gor__try_connect, fd, GOR__OUT, NULL, 0);
    io.addr = (struct sockaddr *)gor__unconst(addr);
    io.addr_size = len;
    io.addr_len = &begun;
    rc = (int)gor__io_run(&io, deadline);
    while (rc == -EALREADY) {
        if (deadline != GOR_FOREVER && deadline <= gor__os_now())
            return -ETIMEDOUT;
        slept = gor_sleep(GOR_MS);
        if (slept != 0)
            return slept;
        begun = 0;
        rc = gor__connect_again(&io, pd, gen, deadline);
    }
    return rc;
}

int gor_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    return gor_connect_until(fd, addr, len, GOR_FOREVER);
}

static ssize_t gor__try_recvfrom(const gor__io *io)
{
    socklen_t size = io->addr_size;
    ssize_t n = gor__os_recvfrom(io->fd, io->buf, io->n, io->flags | MSG_DONTWAIT, io->addr,
                                 io->addr ? &size : NULL);
    if (n >= 0 && io->addr_len)
        *io->addr_len = size;
    if (n >= 0 && (io->flags & MSG_OOB))           /* its event may not tell any more */
        gor__pd_add_flag(gor__pd_seen(io->fd), GOR__PD_HUNG);
    return n;
}

ssize_t gor_recvfrom_until(int fd, void *buf, size_t n, int flags, struct sockaddr *addr,
                           socklen_t *len, int64_t deadline)
{
    gor__io io;
    if (addr && !len)
        return -EINVAL;
    gor__io_init(&io, gor__try_recvfrom, fd, GOR__IN, buf, n);
    io.flags = flags;
    io.addr = addr;
    io.addr_len = len;
    io.addr_size = addr ? *len : 0;
    return gor__io_run(&io, deadline);
}

ssize_t gor_recvfrom(int fd, void *buf, size_t n, int flags, struct sockaddr *addr, socklen_t *len)
{
    return gor_recvfrom_until(fd, buf, n, flags, addr, len, GOR_FOREVER);
}

static ssize_t gor__try_sendto(const gor__io *io)
{
    return gor__os_sendto(io->fd, io->buf, io->n, io->flags | MSG_DONTWAIT | MSG_NOSIGNAL, io->addr,
                          io->addr_size);
}

ssize_t gor_sendto_until(int fd, const void *buf, size_t n, int flags,
                         const struct sockaddr *addr, socklen_t len, int64_t deadline)
{
    gor__io io;
    gor__io_init(&io, gor__try_sendto, fd, GOR__OUT, buf, n);
    io.flags = flags;
    io.addr = (struct sockaddr *)gor__unconst(addr);
    io.addr_size = addr ? len : 0;
    return gor__io_run(&io, deadline);
}

ssize_t gor_sendto(int fd, const void *buf, size_t n, int flags, const struct sockaddr *addr,
                   socklen_t len)
{
    return gor_sendto_until(fd, buf, n, flags, addr, len, GOR_FOREVER);
}

/* ==== [io] file descriptors, network, files, processes, signals ============================= */

/* What the calls of this part have in common:
 *   fd        sockets, pipes, terminals, files. A call tries at once, and parks only if it must;
 *             O_NONBLOCK is set on the way, but for standard streams and terminals, which are
 *             shared with others. What cannot be waited for (regular files) goes through gor_block.
 *   deadline  absolute ns on the gor_now() clock; GOR_FOREVER waits; a past time tries once
 * Returns   what it says; -EBADF not open, or closed by gor_fd_close meanwhile; -ETIMEDOUT;
 *           -ECANCELED own context done; -ENOMEM; or what the system said, as a negative errno.
 *           Never -EAGAIN, -EINTR. Nothing is lost by a call that ended early but what it says.
 * Any thread: outside of goroutines the thread blocks. Parks: yes. SIGPIPE kills nobody here: see
 * SIGNALS in the manual. */

enum gor_direction { GOR_READ = 1, GOR_WRITE = 2 };

/* Read up to n bytes. Returns the bytes read, at least one; 0: the end, or n is 0. */
GOR_API ssize_t gor_read(int fd, void *buf, size_t n);
GOR_API ssize_t gor_read_until(int fd, void *buf, size_t n, int64_t deadline);

/* Write up to n bytes. Returns the bytes written; -EPIPE nobody reads any more. */
GOR_API ssize_t gor_write(int fd, const void *buf, size_t n);
GOR_API ssize_t gor_write_until(int fd, const void *buf, size_t n, int64_t deadline);

/* Read n bytes. Returns n, or less if the end comes first. After an error the bytes that came
 * before it are in buf, uncounted. */
GOR_API ssize_t gor_read_full(int fd, void *buf, size_t n);
GOR_API ssize_t gor_read_full_until(int fd, void *buf, size_t n, int64_t deadline);

/* Write n bytes. Returns n. After an error some may have been written. */
GOR_API ssize_t gor_write_all(int fd, const void *buf, size_t n);
GOR_API ssize_t gor_write_all_until(int fd, const void *buf, size_t n, int64_t deadline);

/* As gor_read and gor_write, from and to n pieces. -EINVAL n is out of range. */
GOR_API ssize_t gor_readv(int fd, const struct iovec *v, int n);
GOR_API ssize_t gor_readv_until(int fd, const struct iovec *v, int n, int64_t deadline);
GOR_API ssize_t gor_writev(int fd, const struct iovec *v, int n);
GOR_API ssize_t gor_writev_until(int fd, const struct iovec *v, int n, int64_t deadline);

/* Take a connection. Returns its fd, non-blocking and close-on-exec, to be closed by gor_fd_close;
 * -EMFILE, -ENFILE out of descriptors: the connection stays in the queue, close some and go on.
 *   addr, len   as accept(2): the peer's address; both may be NULL */
GOR_API int gor_accept(int fd, struct sockaddr *addr, socklen_t *len);
GOR_API int gor_accept_until(int fd, struct sockaddr *addr, socklen_t *len, int64_t deadline);

/* Connect a socket. Returns 0; -ECONNREFUSED and the like. */
GOR_API int gor_connect(int fd, const struct sockaddr *addr, socklen_t len);
GOR_API int gor_connect_until(int fd, const struct sockaddr *addr, socklen_t len,
                              int64_t deadline);

/* As recvfrom(2) and sendto(2) on a socket of any kind; addr and len may be NULL. */
GOR_API ssize_t gor_recvfrom(int fd, void *buf, size_t n, int flags, struct sockaddr *addr,
                             socklen_t *len);
GOR_API ssize_t gor_recvfrom_until(int fd, void *buf, size_t n, int flags, struct sockaddr *addr,
                                   socklen_t *len, int64_t deadline);
GOR_API ssize_t gor_sendto(int fd, const void *buf, size_t n, int flags,
                           const struct sockaddr *addr, socklen_t len);
GOR_API ssize_t gor_sendto_until(int fd, const void *buf, size_t n, int flags,
                                 const struct sockaddr *addr, socklen_t len, int64_t deadline);

/* Wait until a read or a write of fd would not block: for libraries that have a socket of their
 * own (libpq, libcurl, hiredis). fd may be closed by close(2) when nobody waits for it.
 *   what   GOR_READ, GOR_WRITE, or both: either
 * Returns which of them, or-ed; an error or a hang-up counts as both. -EINVAL what. */
GOR_API int gor_wait_fd(int fd, int what);
GOR_API int gor_wait_fd_until(int fd, int what, int64_t deadline);

/* Close fd, and wake everyone who waits for it, with -EBADF. An fd that a gor call made, or read
 * or wrote, is closed by this call; close(2) would leave its waiters asleep.
 * Returns 0; -EBADF; what close(2) said. Any thread. Parks: never. */
GOR_API int gor_fd_close(int fd);

/* -- the network: "tcp" "tcp4" "tcp6" "udp" "udp4" "udp6" with "host:port", "[::1]:80", ":80";
 * "unix" with a path, "@name" without a file -------------------------------------------------- */

/* An address, as the socket calls want it. */
typedef struct gor_addr {
    struct sockaddr_storage sa;
    socklen_t len;
} gor_addr;

/* Listen, with SO_REUSEADDR; "udp": bind. An empty host is every address, port 0 any free one: ask
 * getsockname(2). A "unix" path that exists is -EADDRINUSE.
 *   backlog   connections that may wait; 0 or less: SOMAXCONN
 * Returns the fd; -EINVAL an unknown network, or an address of wrong form; -ENAMETOOLONG; -ENOENT
 * the name has no address; -EADDRINUSE, -EACCES, -EMFILE, ... */
GOR_API int gor_listen(const char *network, const char *addr, int backlog);

/* Connect to an address; a name's addresses are tried in turn, each a quarter second after the
 * one before or as soon as that has failed, the families alternating; the first to answer wins
 * (RFC 8305). TCP_NODELAY is set. Returns the fd; else as gor_listen and gor_connect. */
GOR_API int gor_dial(const char *network, const char *addr, int64_t deadline);

/* The addresses of addr, in the order in which gor_dial tries them.
 *   out, max   room for so many
 * Returns how many there are room for; -ENOENT the name has none; -ETIMEDOUT, ... as above. The
 * system's resolver runs on a thread of its own and may outlive the call. */
GOR_API int gor_resolve(const char *network, const char *addr, gor_addr *out, int max,
                        int64_t deadline);

/* -- files and processes: each call through gor_block, so a slow disk or a FIFO without a reader
 * holds a thread, never a processor; not ended by deadlines and contexts ----------------------- */

/* As open(2), close-on-exec. Returns the fd, to be closed by gor_fd_close. */
GOR_API int gor_open(const char *path, int flags, mode_t mode);

/* As pread(2), pwrite(2), fsync(2). */
GOR_API ssize_t gor_pread(int fd, void *buf, size_t n, int64_t offset);
GOR_API ssize_t gor_pwrite(int fd, const void *buf, size_t n, int64_t offset);
GOR_API int gor_fsync(int fd);

/* Wait for a child process to end, as waitpid(2).
 *   pid      above 0: by a pidfd where the kernel has one, so deadline and context end the wait;
 *            otherwise, and for -1 (any child) and the like, through gor_block
 *   status   out, may be NULL
 * Returns the child's pid; -ECHILD no such child; -ETIMEDOUT, -ECANCELED. */
GOR_API int gor_wait_pid(pid_t pid, int *status);
GOR_API int gor_wait_pid_until(pid_t pid, int *status, int64_t deadline);

/* -- signals as values ------------------------------------------------------------------------- */

/* Send each of n signals that arrives from now on, as an int, to c, whose element size is that of
 * an int; what c has no room for is dropped, so give it capacity. Several channels may ask for
 * one signal. The signal's usual effect is off meanwhile.
 * Returns 0; -EINVAL a signal that cannot be caught or is the runtime's (SIGSEGV, SIGBUS, ...), c
 * is NULL; -EMSGSIZE; -ESRCH no runtime; -ENOMEM. c is retained. Any thread. Parks: never. */
GOR_API int gor_signal_notify(gor_chan *c, const int *sigs, size_t n);

/* No more signals to c. Signals that nobody asks for any more have their earlier effect again.
 * Returns 0; -ENOENT c had none. */
GOR_API int gor_signal_stop(gor_chan *c);

/* A context that is cancelled when one of the signals comes, and until then holds them off; the
 * first one only: a second Ctrl-C has its usual effect. Cancel it before you release it: a release
 * alone leaves the signals held off, and a goroutine that waits for them. NULL: out of memory, no
 * runtime, or a signal that cannot be had. */
GOR_API struct gor_ctx *gor_signal_ctx(struct gor_ctx *parent, const int *sigs, size_t n);

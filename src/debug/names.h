/* ==== [names] results in words; errno that survives migration ============================= */
#define GOR__ERRNO_LAST 133                    /* above, libc's strerror writes into a buffer */

const char *gor_strerror(int err)
{
    int64_t positive = err < 0 ? -(int64_t)err : err;
    switch (positive) {
    case 0:            return "success";
    case EPIPE:        return "closed (EPIPE)";
    case EAGAIN:       return "would block (EAGAIN)";
    case ETIMEDOUT:    return "deadline passed (ETIMEDOUT)";
    case ECANCELED:    return "context cancelled (ECANCELED)";
    case ENOMEM:       return "out of memory (ENOMEM)";
    case EINVAL:       return "invalid argument (EINVAL)";
    case EBADF:        return "bad or closed file descriptor (EBADF)";
    case EBUSY:        return "already running (EBUSY)";
    case ESRCH:        return "no runtime is running (ESRCH)";
    case EMSGSIZE:     return "wrong element size (EMSGSIZE)";
    case ENOSYS:       return "not supported (ENOSYS)";
    case EOVERFLOW:    return "too large (EOVERFLOW)";
    case EINTR:        return "interrupted (EINTR)";
    case ENOENT:       return "no such file or host (ENOENT)";
    case EACCES:       return "permission denied (EACCES)";
    case EMFILE:       return "too many open files (EMFILE)";
    case ECONNREFUSED: return "connection refused (ECONNREFUSED)";
    case ECONNRESET:   return "connection reset (ECONNRESET)";
    case EADDRINUSE:   return "address in use (EADDRINUSE)";
    default:
        return positive <= GOR__ERRNO_LAST ? strerror((int)positive) : "unknown error";
    }
}

/* Not const, unlike libc's: its result changes when the goroutine changes threads. */
GOR__NOINLINE int *gor__errno(void)
{
    int *at;
    GOR__COMPILER_BARRIER();
    at = __errno_location();
    gor__san_take_over(at);                        /* from the goroutine that was here before */
    return at;
}

/* ==== [os] Linux: pages, futex, threads, clock =================================================
 * What        The only part that knows system calls. Everything returns a result or a negative
 *             errno, and leaves errno alone for its caller: gor__os_ calls run between two
 *             goroutines.
 * Runs on     Any stack, any thread. Only the futex wait blocks.
 */
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102                 /* Linux 6.13 */
#define MADV_GUARD_REMOVE  103
#endif
#ifndef SYS_process_madvise
#define SYS_process_madvise (-1)
#endif
#ifndef PIDFD_SELF_THREAD
#define PIDFD_SELF_THREAD (-10000)             /* 6.15 */
#endif

/* errno as it is for the thread, beside [switch], which gives each goroutine its own. Who may fail
 * where a goroutine must not notice saves it. */
GOR__NO_TSAN static GOR__NOINLINE int gor__os_errno(void) { return *__errno_location(); }
GOR__NO_TSAN static GOR__NOINLINE void gor__os_set_errno(int err) { *__errno_location() = err; }

/* A result of libc's, which has changed errno if it is an error. */
GOR__INLINE ssize_t gor__os_result(ssize_t n, int saved)
{
    if (GOR__UNLIKELY(n < 0)) {
        n = -gor__os_errno();
        gor__os_set_errno(saved);
    }
    return n;
}

/* -- reading and writing --------------------------------------------------------------------
 * gor__os_read(fd, buf, n) and so on, raw if they can be. libc's are cancellation points: with more
 * than one thread glibc before 2.41 has a locked instruction before and after each; and a thread
 * that is cancelled in one would end inside of a gor call. */
#if GOR__RAW_SYSCALLS
#define GOR__OS_CALL(name, params, args, words)                                                    \
    GOR__INLINE ssize_t gor__os_##name params { return gor__arch_syscall words; }
#else
#define GOR__OS_CALL(name, params, args, words)                                                    \
    GOR__INLINE ssize_t gor__os_##name params                                                      \
    {                                                                                              \
        int saved = gor__os_errno();                                                               \
        return gor__os_result(name args, saved);                                                   \
    }
#endif
#define GOR__OS_CALL3(name, A, B, C)                                                               \
    GOR__OS_CALL(name, (A a, B b, C c), (a, b, c),                                                 \
                 (SYS_##name, (long)a, (long)b, (long)c, 0, 0, 0))
#define GOR__OS_CALL6(name, A, B, C, D, E, F)                                                      \
    GOR__OS_CALL(name, (A a, B b, C c, D d, E e, F f), (a, b, c, d, e, f),                         \
                 (SYS_##name, (long)a, (long)b, (long)c, (long)d, (long)e, (long)f))
GOR__OS_CALL3(read, int, void *, size_t)
GOR__OS_CALL3(write, int, const void *, size_t)
GOR__OS_CALL3(readv, int, const struct iovec *, int)
GOR__OS_CALL3(writev, int, const struct iovec *, int)
GOR__OS_CALL3(recvmsg, int, struct msghdr *, int)
GOR__OS_CALL3(sendmsg, int, const struct msghdr *, int)
GOR__OS_CALL6(recvfrom, int, void *, size_t, int, struct sockaddr *, socklen_t *)
GOR__OS_CALL6(sendto, int, const void *, size_t, int, const struct sockaddr *, socklen_t)

static int64_t gor__os_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * GOR_SEC + t.tv_nsec;
}

static void gor__os_futex_wake(gor__au32 *word, int n)
{
    syscall(SYS_futex, &word->v, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

/* ThreadSanitizer keeps a signal back until the thread makes a call that it intercepts; a sleep in
 * the kernel is none. So sleeps are cut there, and end early. */
static int64_t gor__os_sleep_until(int64_t deadline)
{
    int64_t soon;
    if (!GOR__TSAN)
        return deadline;
    soon = gor__os_now() + 20 * GOR_MS;
    return deadline < soon ? deadline : soon;
}

/* Sleep while *word is value, until deadline (absolute, monotonic) at the latest; may return
 * early. */
static void gor__os_futex_wait(gor__au32 *word, uint32_t value, int64_t deadline)
{
    struct timespec t, *tp = NULL;
    deadline = gor__os_sleep_until(deadline);
    if (deadline != GOR_FOREVER) {
        if (deadline < 0)
            deadline = 0;
        t.tv_sec = (time_t)(deadline / GOR_SEC);
        t.tv_nsec = (long)(deadline % GOR_SEC);
        tp = &t;
    }
    syscall(SYS_futex, &word->v, FUTEX_WAIT_BITSET_PRIVATE, value, tp, NULL,
            FUTEX_BITSET_MATCH_ANY);
}

static void gor__os_yield(void) { sched_yield(); }

/* -- calls that libc declares for _GNU_SOURCE alone, which may have come too late ------------ */
#define GOR__RWF_NOWAIT 8
#ifndef SYS_preadv2
#define SYS_preadv2 (-1)
#endif

/* read(2) of what is in the page cache; an error if that is not all. */
static ssize_t gor__os_read_cached(int fd, const struct iovec *v)
{
    int saved = gor__os_errno();
    return gor__os_result(syscall(SYS_preadv2, fd, v, 1L, -1L, 0L, GOR__RWF_NOWAIT), saved);
}

static int gor__os_accept(int fd, struct sockaddr *addr, socklen_t *len)
{
    int saved = gor__os_errno();
    return (int)gor__os_result(syscall(SYS_accept4, fd, addr, len, SOCK_NONBLOCK | SOCK_CLOEXEC),
                               saved);
}

static int gor__os_tid(void) { return (int)syscall(SYS_gettid); }

/* -- asymmetric fence: the rare side pays for both --------------------------------------------- */
#define GOR__MEMBARRIER_EXPEDITED          8
#define GOR__MEMBARRIER_REGISTER_EXPEDITED 16

static bool gor__os_membarrier_register(void)
{
    return syscall(SYS_membarrier, GOR__MEMBARRIER_REGISTER_EXPEDITED, 0, 0) == 0;
}

/* Be on each processor once: a thread that ran there has been switched out, which is a fence. */
static void gor__os_visit_cpus(void)
{
    unsigned long mask[GOR__MAX_PROCS / (8 * sizeof(unsigned long))];
    unsigned long one[sizeof mask / sizeof *mask];
    long bytes = syscall(SYS_sched_getaffinity, 0, sizeof mask, mask);
    for (long i = 0; i < bytes * 8; i++) {
        memset(one, 0, sizeof one);
        one[(size_t)i / (8 * sizeof *one)] = 1UL << ((size_t)i % (8 * sizeof *one));
        syscall(SYS_sched_setaffinity, 0, bytes, one);
    }
    if (bytes > 0)
        syscall(SYS_sched_setaffinity, 0, bytes, mask);
}

/* Every running thread of the process passes a full fence before this returns. The call has been
 * registered, so it can fail for want of kernel memory only. */
static void gor__os_membarrier(void)
{
    if (syscall(SYS_membarrier, GOR__MEMBARRIER_EXPEDITED, 0, 0) != 0)
        gor__os_visit_cpus();
}

/* -- pages --------------------------------------------------------------------------------- */
static size_t gor__os_page_size(void) { return (size_t)sysconf(_SC_PAGESIZE); }

/* Address space that becomes memory page by page, as it is touched. NULL if there is none. */
static void *gor__os_reserve(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    madvise(p, size, MADV_NOHUGEPAGE);         /* a huge page would commit eight stacks at once */
    return p;
}

/* Address space that no access reaches, and that counts for nothing. NULL if there is none. */
static void *gor__os_reserve_bare(size_t size)
{
    void *p = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* Make a part of it usable: it counts from then on. */
static bool gor__os_open(void *p, size_t size)
{
    return mprotect(p, size, PROT_READ | PROT_WRITE) == 0;
}

/* Nobody can touch it any more. False: no memory to split the mapping. */
static bool gor__os_close(void *p, size_t size) { return mprotect(p, size, PROT_NONE) == 0; }

static void gor__os_release(void *p, size_t size) { munmap(p, size); }

/* Give the pages back, keep the addresses; they read as zeros afterwards. */
static void gor__os_decommit(void *p, size_t size) { madvise(p, size, MADV_DONTNEED); }

/* How many bytes of [p, p+size) are in memory. In small parts: who asks whether stacks are used
 * deep ([stack]) does so on one of them. */
static size_t gor__os_resident(char *p, size_t size)
{
    unsigned char in[64];
    size_t page = gor__os_page_size(), n = 0;
    for (size_t at = 0; at < size; at += sizeof in * page) {
        size_t part = size - at < sizeof in * page ? size - at : sizeof in * page;
        if (mincore(p + at, part, in) == 0)
            for (size_t i = 0; i < part / page; i++)
                n += (in[i] & 1) * page;
    }
    return n;
}

/* Make [p, p+size) fault. light: without splitting the mapping, where the kernel can. */
static int gor__os_guard(void *p, size_t size, bool light)
{
    if (light)
        return madvise(p, size, MADV_GUARD_INSTALL) == 0 ? 0 : -EINVAL;
    return mprotect(p, size, PROT_NONE) == 0 ? 0 : -ENOMEM;
}

/* Light guards for n stretches at once: size bytes at lo, and at each stride after it. n is
 * GOR__OS_PIECES at most. False: the kernel did not do it, or not for all. */
#define GOR__OS_PIECES 16
static bool gor__os_guard_each(char *lo, size_t size, size_t stride, size_t n)
{
    struct iovec piece[GOR__OS_PIECES];
    int saved = gor__os_errno();
    long done;
    for (size_t i = 0; i < n; i++) {
        piece[i].iov_base = lo + i * stride;
        piece[i].iov_len = size;
    }
    done = syscall(SYS_process_madvise, PIDFD_SELF_THREAD, piece, n, MADV_GUARD_INSTALL, 0);
    gor__os_set_errno(saved);
    return done == (long)(n * size);
}

/* Undo a light guard: zeros, where nobody is kept out otherwise. */
static bool gor__os_unguard(void *p, size_t size)
{
    return madvise(p, size, MADV_GUARD_REMOVE) == 0;
}

/* Our own memory as a file: the kernel reads and writes there where we may not. By bare system
 * calls: libc's are cancellation points, and a thread that ended here would take bytes of others
 * along. */
typedef struct gor__os_mem { int fd; dev_t dev; ino_t ino; } gor__os_mem;

static bool gor__os_mem_open(gor__os_mem *m)
{
    struct stat s;
    m->fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/thread-self/mem", O_RDWR | O_CLOEXEC, 0);
    if (m->fd < 0 || fstat(m->fd, &s) != 0)
        return false;
    m->dev = s.st_dev;
    m->ino = s.st_ino;
    return true;
}

/* If it is that still: the number may have been closed, and be somebody's file. */
static void gor__os_mem_close(gor__os_mem *m)
{
    struct stat s;
    if (m->fd >= 0 && fstat(m->fd, &s) == 0 && s.st_dev == m->dev && s.st_ino == m->ino)
        syscall(SYS_close, m->fd);
    m->fd = -1;
}

static bool gor__os_mem_read(const gor__os_mem *m, const void *at, void *bytes, size_t n)
{
    return syscall(SYS_pread64, m->fd, bytes, n, (off_t)(uintptr_t)at) == (long)n;
}

/* Is it that still, and in this thread's table of files? In the child of a bare clone it is the
 * parent's memory. So we look for a word of ours where it should be. */
static bool gor__os_mem_there(const gor__os_mem *m)
{
    volatile uint64_t mine = (uint64_t)gor__os_now() * 0x9E3779B97F4A7C15u;
    uint64_t seen = 0;
    return gor__os_mem_read(m, (const void *)&mine, &seen, sizeof seen) && seen == mine;
}

static bool gor__os_peek(const gor__os_mem *m, const void *at, void *bytes, size_t n)
{
    return gor__os_mem_there(m) && gor__os_mem_read(m, at, bytes, n);
}

/* By a file of its own, where m is not to be had. */
static bool gor__os_poke(const gor__os_mem *m, const void *at, const void *bytes, size_t n)
{
    gor__os_mem own = { -1, 0, 0 };
    bool there = gor__os_mem_there(m), done;
    if (!there && !gor__os_mem_open(&own))
        return false;
    done = (there || gor__os_mem_there(&own)) &&
           syscall(SYS_pwrite64, there ? m->fd : own.fd, bytes, n,
                   (off_t)(uintptr_t)at) == (long)n;
    gor__os_mem_close(&own);
    return done;
}

/* Does a page fault when read? Asked of the kernel, which answers with an error: an emulator may
 * have taken our word for a guard without knowing it. */
static bool gor__os_faults(const void *p)
{
    int fd[2];
    bool faults = false;
    if (pipe(fd) != 0)
        return false;
    faults = write(fd[1], p, 1) < 0;
    close(fd[0]);
    close(fd[1]);
    return faults;
}

/* -- threads ------------------------------------------------------------------------------- */

/* Start a detached thread with every signal blocked that is not a fault. */
static int gor__os_thread(void *(*fn)(void *), void *arg)
{
    sigset_t all, old;
    pthread_attr_t attr;
    pthread_t thread;
    int rc;

    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGILL);
    sigdelset(&all, SIGTRAP);
    rc = pthread_attr_init(&attr);
    if (rc != 0)
        return -rc;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(&thread, &attr, fn, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    return -rc;
}

static void gor__os_unblock(int sig)
{
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, sig);
    pthread_sigmask(SIG_UNBLOCK, &one, NULL);
}

#if GOR_CHECK
static const char *gor__os_root = "";          /* tests: a tree with /proc and /sys of theirs */
#else
#define gor__os_root ""
#endif

/* Read a small file of /proc or /sys whole. Returns the bytes read, 0 if there is no such file. */
static size_t gor__os_read_file(const char *path, char *buf, size_t size)
{
    char full[600];
    ssize_t n;
    int fd;
    snprintf(full, sizeof full, "%s%s", gor__os_root, path);
    fd = open(full, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    n = read(fd, buf, size - 1);
    close(fd);
    buf[n > 0 ? n : 0] = 0;
    return n > 0 ? (size_t)n : 0;
}

/* vm.overcommit_memory=2: does each page count when it is reserved, touched or not? */
static bool gor__os_strict(void)
{
    char text[8];
    return gor__os_read_file("/proc/sys/vm/overcommit_memory", text, sizeof text) > 0 &&
           text[0] == '2';
}

/* Threads of this process that fn does not count as known. -1 if they cannot be listed. */
static int gor__os_unknown_threads(bool (*known)(int tid, void *arg), void *arg)
{
    DIR *dir = opendir("/proc/self/task");
    struct dirent *e;
    int n = 0;
    if (!dir)
        return -1;
    while ((e = readdir(dir)) != NULL) {
        int tid = atoi(e->d_name);
        if (tid > 0 && !known(tid, arg))
            n++;
    }
    closedir(dir);
    return n;
}

/* -- how many processors may we use? ------------------------------------------------------- */
static int gor__os_affinity(void)
{
    unsigned long mask[GOR__MAX_PROCS / (8 * sizeof(unsigned long))];
    long bytes = syscall(SYS_sched_getaffinity, 0, sizeof mask, mask);
    int n = 0;
    for (long i = 0; i < bytes / (long)sizeof mask[0]; i++)
        n += __builtin_popcountl(mask[i]);
    return n > 0 ? n : 1;
}

/* Processors' worth of quota, rounded up, of a cgroup file "quota period"; 0: no limit. */
static int gor__os_quota(const char *text)
{
    long quota, period;
    if (sscanf(text, "%ld %ld", &quota, &period) != 2 || quota <= 0 || period <= 0)
        return 0;
    return (int)((quota + period - 1) / period);
}

/* The tightest cpu.max from this process's cgroup up to the root (version 2). */
static int gor__os_cgroup2_limit(const char *cgroup)
{
    char path[512], text[64];
    int limit = 0;
    char *end = path + snprintf(path, sizeof path, "/sys/fs/cgroup%.400s", cgroup);
    for (;;) {
        snprintf(end, (size_t)(path + sizeof path - end), "/cpu.max");
        if (gor__os_read_file(path, text, sizeof text)) {
            int q = gor__os_quota(text);
            if (q > 0 && (limit == 0 || q < limit))
                limit = q;
        }
        *end = 0;
        end = strrchr(path, '/');
        if (!end || end < path + sizeof "/sys/fs/cgroup" - 1)
            return limit;
        *end = 0;
    }
}

/* The same for version 1, whose quota and period are two files. */
static int gor__os_cgroup1_limit(void)
{
    char quota[32], period[32], both[80];
    if (!gor__os_read_file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", quota, sizeof quota) ||
        !gor__os_read_file("/sys/fs/cgroup/cpu/cpu.cfs_period_us", period, sizeof period))
        return 0;
    quota[strcspn(quota, "\n")] = 0;
    snprintf(both, sizeof both, "%s %s", quota, period);
    return gor__os_quota(both);
}

static int gor__os_cgroup_limit(void)
{
    char text[1024];
    int limit = 0;
    if (gor__os_read_file("/proc/self/cgroup", text, sizeof text)) {
        char *line = strstr(text, "0::/");
        if (line) {
            line += 3;
            line[strcspn(line, "\n")] = 0;
            limit = gor__os_cgroup2_limit(line[1] ? line : "");
        }
        if (limit == 0)
            limit = gor__os_cgroup1_limit();
    }
    return limit;
}

/* CPUs in the affinity mask, bounded by the cgroup's CPU quota. At least 1. */
static int gor__os_cpus(void)
{
    int cpus = gor__os_affinity(), limit = gor__os_cgroup_limit();
    return limit > 0 && limit < cpus ? limit : cpus;
}

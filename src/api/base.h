/* ==== [base] results, time, options, running ================================================ */

/* -- version and linkage ------------------------------------------------------------------- */
#define GOR_VERSION_MAJOR 0
#define GOR_VERSION_MINOR 1

#if !defined(__linux__)
#error "gor.h: this version runs on Linux only"
#endif
#if !defined(__x86_64__) && !defined(__aarch64__)
#error "gor.h: this version knows x86-64 and ARM64 only"
#endif

#ifdef __cplusplus
#define GOR_API extern "C"
#else
#define GOR_API extern
#endif

#define GOR__UNUSED __attribute__((unused))
#define GOR__CAT_(a, b) a##b
#define GOR__CAT(a, b) GOR__CAT_(a, b)
#define GOR__STR_(x) #x
#define GOR__STR(x) GOR__STR_(x)

/* A place in the user's source, "file:line", as reports print it. */
#define GOR__HERE __FILE__ ":" GOR__STR(__LINE__)

#ifdef __cplusplus
#define GOR__STATIC_ASSERT(cond, text) static_assert(cond, text)
#else
#define GOR__STATIC_ASSERT(cond, text) _Static_assert(cond, text)
#endif

/* Words that several threads touch. A struct each, so that a plain access does not compile. */
typedef struct gor__au32 { uint32_t v; } gor__au32;
typedef struct gor__au64 { uint64_t v; } gor__au64;
typedef struct gor__ai64 { int64_t v; } gor__ai64;
typedef struct gor__aptr { void *v; } gor__aptr;

/* A lock of a few instructions and a queue of waiters: the private half of the sync structs. */
typedef struct gor__spin { gor__au32 word; } gor__spin;
struct gor__node;
typedef struct gor__wq { gor__aptr head; struct gor__node *tail; } gor__wq;

/* -- results -------------------------------------------------------------------------------- */

/* Name any result of this library, e.g. gor_strerror(-EPIPE) is "closed (EPIPE)"; what comes from
 * the system and means nothing of its own here, in the system's words.
 *   err   a result: 0, or a negative errno; positive ones are taken as well
 * Returns a static string, never NULL. Parks: never. */
GOR_API const char *gor_strerror(int err);

/* -- time ----------------------------------------------------------------------------------- */
#define GOR_NS  ((int64_t)1)
#define GOR_US  ((int64_t)1000)
#define GOR_MS  ((int64_t)1000000)
#define GOR_SEC ((int64_t)1000000000)
#define GOR_FOREVER INT64_MAX          /* a deadline that never passes */

/* The monotonic clock, ns. Any thread. Parks: never. */
GOR_API int64_t gor_now(void);

/* ns after t; what is too far for the clock is for ever. */
static inline GOR__UNUSED int64_t gor__later(int64_t t, int64_t ns)
{
    return ns > GOR_FOREVER - t ? GOR_FOREVER : t + ns;
}

/* -- options -------------------------------------------------------------------------------- */
enum gor_flags {
    GOR_REPORT_LEAKS = 1,              /* gor_stop names the goroutines it abandons, on stderr   */
    GOR_NO_SIGNALS   = 2,              /* leave SIGSEGV and SIGBUS alone: no stack-overflow word */
    GOR_ALL_PROCS    = 4               /* all processors run, even where one alone were quicker  */
};

/* How a goroutine that calls nothing is kept from holding up the others. */
enum gor_preempt {
    GOR_PREEMPT_DEFAULT = 0,           /* GOR_PREEMPT_RETAKE                                     */
    GOR_PREEMPT_OFF     = 1,           /* never: a goroutine runs until it parks                 */
    GOR_PREEMPT_ASK     = 2,           /* past its quantum it yields at its next gor call        */
    GOR_PREEMPT_RETAKE  = 3,           /* if it makes none for a while, and others wait, it keeps
                                          its thread and another thread takes its processor:
                                          then more goroutines run at once than gor_procs says   */
    GOR_PREEMPT_SWITCH  = 4            /* a signal switches it off in place, between any two
                                          instructions of the program's own code, callbacks from
                                          libraries included (gor_preempt_off): see
                                          GOR_PREEMPTIBLE. A system call that begins in that moment
                                          may end early, with EINTR                              */
};

/* Zero means "default" in every field: gor_options o = {0}; */
typedef struct gor_options {
    int      procs;                    /* processors; default: GORMAXPROCS, else CPUs allowed    */
    size_t   stack_size;               /* bytes reserved per goroutine; default 256 KiB          */
    int      max_threads;              /* OS threads at most; default 10000                      */
    int64_t  quantum;                  /* ns a goroutine may run before it is asked; 10 ms       */
    int      preempt;                  /* enum gor_preempt                                       */
    int      preempt_signal;           /* for switches in place; default SIGURG                  */
    unsigned flags;                    /* enum gor_flags, or-ed                                  */
    void *(*malloc)(size_t size, void *user);             /* set all three or none; called from  */
    void *(*realloc)(void *p, size_t size, void *user);   /* any thread until the run has ended, */
    void  (*free)(void *p, void *user);                   /* so release what it made before; not */
    void   *user;                                         /* to call gor. user: for every hook   */
    void  (*on_panic)(const char *message, void *user);   /* before the report of a panic, but
                                          not of a fault                                         */
    void  (*on_deadlock)(void *user);                     /* before the report of a deadlock     */
    void  (*on_exit)(void *user);                         /* at the end of gor_stop              */
    int64_t  compact_idle;             /* ns parked before a stack may be packed; default 1 s;
                                          of goroutines with gor_attr.compact_idle               */
} gor_options;

/* -- running -------------------------------------------------------------------------------- */

/* Start the runtime, run fn as the main goroutine, stop the runtime. As in Go, nothing waits for
 * other goroutines once fn returns; they are abandoned where they stand. If the main goroutine
 * leaves by gor_exit or a recovered panic, the run goes on until the last goroutine has ended.
 *   fn    the main goroutine; starts on the calling OS thread
 *   arg   handed to fn
 * Returns fn's result; -EBUSY already running; -ENOMEM; -EAGAIN no thread to be had; -EINVAL fn is
 * NULL, or called from a goroutine. Parks: no, it blocks the calling thread. */
GOR_API int gor_run(int (*fn)(void *), void *arg);

/* The same with options; o is copied, NULL means defaults. Also -EINVAL for an option out of
 * range. */
GOR_API int gor_run_with(const gor_options *o, int (*fn)(void *), void *arg);

/* Start the runtime without a main goroutine; the calling thread stays a foreign one.
 * Returns 0; -EBUSY already running; -ENOMEM; -EAGAIN; -EINVAL. Any thread. */
GOR_API int gor_start(const gor_options *o);

/* Stop what gor_start started: abandon what still runs, free everything. A goroutine that computes
 * without a gor call for a second is left to its thread, which ends at its next gor call.
 * Returns 0; -ESRCH not running; -EINVAL called from a goroutine, or while gor_run
 * runs it. Foreign threads only. */
GOR_API int gor_stop(void);

/* Set the number of processors (GOMAXPROCS) if n > 0, at most 1024. Fewer may run, for as long as
 * the runtime sees more turns taken so; GOR_ALL_PROCS in the options forbids that.
 * Returns the previous value; -ESRCH without a runtime. Any thread. Parks: never. */
GOR_API int gor_procs(int n);

/* For GOR_MAIN, which could not run: say why. Returns the exit status. */
GOR_API int gor__no_main(int rc);

/* int main() whose body is the main goroutine, by gor_run: with a stack of 256 KiB, as all. argc
 * and argv are in scope:
 *     GOR_MAIN { printf("hello\n"); return 0; }
 * If there is no memory or thread to run it, stderr says so, and the status is 2. */
#define GOR_MAIN                                                                                   \
    struct gor__main_args { int argc; char **argv; int began; };                                   \
    static int gor__user_main(int argc, char **argv);                                              \
    static int gor__main_goroutine(void *p)                                                        \
    {                                                                                              \
        struct gor__main_args *a = (struct gor__main_args *)p;                                     \
        a->began = 1;                                                                              \
        return gor__user_main(a->argc, a->argv);                                                   \
    }                                                                                              \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        struct gor__main_args a = { argc, argv, 0 };                                               \
        int rc = gor_run(gor__main_goroutine, &a);                                                 \
        return a.began ? rc : gor__no_main(rc);                                                    \
    }                                                                                              \
    static int gor__user_main(int argc GOR__UNUSED, char **argv GOR__UNUSED)

/* Run fn(arg), which may block the OS thread (a long system call, a library's lock), without
 * holding a processor: other goroutines go on meanwhile.
 * Returns fn's result. Parks: the goroutine keeps its thread; it may wait for a processor after. */
GOR_API int gor_block(int (*fn)(void *), void *arg);

/* -- errno ------------------------------------------------------------------------------------ */

/* errno belongs to the goroutine. libc declares its place constant for a thread, so a compiler
 * may keep it across a call in which the goroutine changed threads; code that includes this
 * header asks anew each time. GOR_KEEP_ERRNO leaves the macro alone. */
GOR_API int *gor__errno(void);
#ifndef GOR_KEEP_ERRNO
#undef errno
#define errno (*gor__errno())
#endif

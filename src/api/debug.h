/* ==== [debug] failing well, and looking inside ============================================== */

/* Give up: run the goroutine's deferred calls, last in first out. If one of them calls gor_recover,
 * the goroutine ends there as by gor_exit; otherwise print the message and every goroutine on
 * stderr and end the program with status 2, or as GORTRACEBACK says: none (message only), single
 * (this goroutine), all (default), crash (all, then abort()). Does not return. Any thread.
 *   fmt  as printf; cut at 500 bytes */
#define gor_panic(...) gor__panic_at(GOR__HERE, __VA_ARGS__)
GOR_API void gor__panic_at(const char *here, const char *fmt, ...)
    __attribute__((noreturn, format(printf, 2, 3)));

/* Run fn(arg) when this goroutine ends, by return, gor_exit or panic: not at the end of the
 * function.
 * Returns 0; -ENOMEM, -ESRCH outside of goroutines. Parks: never. */
GOR_API int gor_defer(void (*fn)(void *), void *arg);

/* In a deferred call: stop the panic. Returns its message, valid until the goroutine ends;
 * NULL if there is none. Parks: never. */
GOR_API const char *gor_recover(void);

/* Write every goroutine to fd: number, name, state, since when, where it waits, where it was
 * started, its stack. Takes no lock that the program could hold. Any thread. Parks: never. */
GOR_API void gor_dump(int fd);

/* Write the goroutines that gor_stop would abandon now; the caller too, if it is one. Returns how
 * many. Any thread. */
GOR_API int gor_leaks(int fd);

/* Write down, from now on, each turn of a goroutine: when, how long, on which thread and processor,
 * and what it did then. stop writes that to path, as JSON that https://ui.perfetto.dev and
 * chrome://tracing show; so does the end of the run. A million turns are kept. Meanwhile every
 * switch goes by the thread's own stack, and takes some 200 ns more.
 *   path  a file, made or emptied by start
 * Returns 0; start: -EBUSY a trace is on, -ESRCH no runtime, -EINVAL, -ENOMEM, or why there is no
 * file; stop: -ESRCH no trace is on, or why it could not be written. Any thread. Parks: never. */
GOR_API int gor_trace_start(const char *path);
GOR_API int gor_trace_stop(void);

typedef struct gor_stats {
    size_t   goroutines;               /* alive                                                  */
    size_t   stacks;                   /* bound to a goroutine                                   */
    size_t   stacks_cached;            /* free, kept for the next goroutine                      */
    size_t   stack_bytes;              /* of memory in stacks now; beyond 256 an estimate        */
    size_t   threads;                  /* OS threads of the runtime                              */
    size_t   idle_threads;
    size_t   timers;                   /* pending                                                */
    int      procs;                    /* as gor_procs says; fewer may take part (gor_procs)     */
    int      idle_procs;               /* of those that take part                                */
    uint64_t started;                  /* goroutines since the start                             */
    uint64_t switches;                 /* approximately                                          */
    uint64_t steals;
    uint64_t retaken;                  /* processors taken from goroutines that made no call     */
    uint64_t preempted;                /* goroutines switched off in place                       */
    size_t   heap_bytes;               /* allocated by the runtime now, without stacks           */
    size_t   packed;                   /* stacks that are packed now: gor_attr.compact_idle      */
} gor_stats;

/* Fill *s with a snapshot, not quite of one moment. Any thread. Returns 0;
 * -ESRCH without a runtime (*s zeroed). */
#define gor_stats(s) gor__get_stats(s)
GOR_API int gor__get_stats(gor_stats *s);

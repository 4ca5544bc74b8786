/* ==== [config] compiler, sanitizers, sizes ====================================================
 * What        The facts that every later part is compiled by. Each macro always has a value.
 */
#if !defined(MAP_ANONYMOUS) || !defined(SA_ONSTACK)
#error "gor.h: where GOR_IMPLEMENTATION is defined, include gor.h first or define _GNU_SOURCE"
#endif

#define GOR__NOINLINE __attribute__((noinline))
#define GOR__INLINE   static inline __attribute__((always_inline, unused))
#define GOR__LIKELY(x)   __builtin_expect(!!(x), 1)
#define GOR__UNLIKELY(x) __builtin_expect(!!(x), 0)
#define GOR__CACHE_LINE 64
#define GOR__OWN_LINE  __attribute__((aligned(GOR__CACHE_LINE)))   /* begins one */

/* A function that leaves for another goroutine: the compiler must see an ordinary call in it, which
 * may clobber all that the ABI allows, whatever it finds out about the body. */
#if defined(__GNUC__) && !defined(__clang__)
#define GOR__SWITCHES __attribute__((noinline, noipa))
#else
#define GOR__SWITCHES __attribute__((noinline))
#endif

#if defined(__SANITIZE_THREAD__)
#define GOR__TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define GOR__TSAN 1
#endif
#endif
#ifndef GOR__TSAN
#define GOR__TSAN 0
#endif

#if defined(__SANITIZE_ADDRESS__)
#define GOR__ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GOR__ASAN 1
#endif
#endif
#ifndef GOR__ASAN
#define GOR__ASAN 0
#endif

#if GOR__TSAN
#define GOR__NO_TSAN __attribute__((no_sanitize("thread")))
#define GOR__SWITCH_INLINE GOR__NO_TSAN GOR__SWITCHES static
#define GOR__TSAN_SEES static GOR__NOINLINE     /* gcc: no atomics of those inlined in NO_TSAN    */
#else
#define GOR__NO_TSAN
#define GOR__TSAN_SEES GOR__INLINE
#define GOR__SWITCH_INLINE GOR__INLINE
#endif

/* Is the sanitizer's runtime, its malloc too, part of the program? Clang links it so. */
#if GOR__ASAN && defined(__clang__)
#define GOR__STATIC_RUNTIME 1
#else
#define GOR__STATIC_RUNTIME 0
#endif

/* Checks and stress switches for the library's own tests: lock ranks, GORDEBUG=stress=SEED. */
#ifndef GOR_CHECK
#define GOR_CHECK 0
#endif

/* The poller: epoll; kqueue where this is set to 1 and there is a <sys/event.h>. */
#ifndef GOR__KQUEUE
#define GOR__KQUEUE 0
#endif

/* 1: reads, writes and waits for fds are raw system calls. 0: they go by libc, where sanitizers and
 * tests intercept them, and where the kernel may be another one (kqueue). */
#ifndef GOR__RAW_SYSCALLS
#define GOR__RAW_SYSCALLS (!GOR__KQUEUE && !GOR__TSAN && !GOR__ASAN)
#endif

#define GOR__MAX_PROCS      1024
#define GOR__POLL_BATCH     32                /* events taken at a time: on the stack of who asks */
#define GOR__MIN_STACK_SIZE ((size_t)16 << 10)
#define GOR__MAX_STACK_SIZE ((size_t)1 << 30)
#define GOR__STACK_SIZE     ((size_t)256 << 10)
#define GOR__MAX_THREADS    10000
#define GOR__QUANTUM_NS     (10 * GOR_MS)
#define GOR__COMPACT_NS     (1 * GOR_SEC)     /* [pack] */
#define GOR__KEEP_THREAD_NS (60 * GOR_SEC)
#define GOR__SYSMON_NS      (5 * GOR_MS)      /* how often the watch looks around at least      */
#define GOR__FAR_NS         (100 * GOR_MS)    /* of a timer: the watch looks often until then   */
#define GOR__UNDATED_NS     (GOR_CHECK ? 2 * GOR__FAR_NS : 10 * GOR__FAR_NS)   /* so long: [date] */
#define GOR__IN_VAIN        64                /* after so many wakes that found nothing ...      */
#define GOR__IN_VAIN_NS     (250 * GOR_US)    /* ... the watch looks for work as often           */
#define GOR__STEAL_PAYS_NS  300               /* a stolen goroutine that runs as long has paid   */
#define GOR__FEW            8                 /* in a ring: left to who comes to them at once;   */
#define GOR__MOST_LEFT      4                 /* once so many have been left theirs, a look ends */
#define GOR__LOSS           16                /* for each so many that have not ([idle] I8) ...  */
#define GOR__MOST_LOSS      64                /* ... of so many at most ...                      */
#define GOR__NAP_NS         (50 * GOR_US)     /* ... a thief steals nothing for this long        */
#define GOR__JAM_NS         (5 * GOR_MS / 2)  /* so often the watch looks for a jam; ...         */
#define GOR__JAM_LOOKS      (GOR_CHECK ? 2U : 8U)     /* ... seen so often in a row, ...         */
#define GOR__JAM_TURN_NS    (4 * GOR_US)      /* ... turns being as short, one P is tried alone: */
#define GOR__JAM_HOLD_NS    (500 * GOR_MS)    /* for as long; after each success twice ...       */
#define GOR__JAM_HOLD_MAX   (2 * GOR_SEC)     /* ... as long, and no longer;                     */
#define GOR__JAM_WAIT_NS    (200 * GOR_MS)    /* not for as long; after each failure twice ...   */
#define GOR__JAM_WAIT_MAX   (10 * GOR_SEC)    /* ... as long                                     */
#define GOR__STANDBY_NS     (1 * GOR_MS)      /* how often an idle M asks whether others poll    */
#define GOR__STARVING_NS    (1 * GOR_MS)      /* a mutex waiter this old gets it next            */
#define GOR__PRIORITY_NS    (50 * GOR_MS)     /* a lower priority waits this long at most        */

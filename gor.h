/* gor.h: Go's concurrency for C in one header: goroutines, channels, select, sync, context, time,
 * I/O.
 * Version 0.1, for Linux on x86-64 and ARM64, gcc and clang, C11 and C++17.
 * Licence: MIT or public domain, whichever you prefer; see LICENSE.
 *
 * USE        In one file of the program define GOR_IMPLEMENTATION before the include; in all
 *            others include gor.h alone. Needs libc and pthreads, nothing else:
 *                cc -O2 app.c -pthread
 *            The file with GOR_IMPLEMENTATION needs GNU declarations from libc. gor.h asks for
 *            them if it comes first; after a system header, under strict -std=c11, it is too
 *            late: include gor.h first, or compile with -D_GNU_SOURCE. glibc before 2.34 also
 *            wants -ldl. GOR_SHORT_NAMES before the include adds go(), chan_t, ...; see [short].
 *
 * A PROGRAM
 *     #define GOR_IMPLEMENTATION
 *     #include "gor.h"
 *     #include <stdio.h>
 *     static void square(int n, gor_chan *out) { n *= n; gor_send(out, &n); }
 *     GOR_MAIN {
 *         gor_chan *out = gor_chan_new(sizeof(int), 0);
 *         if (!out) return 1;
 *         for (int n = 1; n <= 3; n++) GOR_GO(square, n, out);
 *         for (int i = 0, v; i < 3 && gor_recv(out, &v) == 0; i++) printf("%d\n", v);
 *         gor_chan_release(out);
 *         return 0;
 *     }
 *
 * CONTENTS   Search for a tag with its brackets. What a call does stands on its prototype.
 *   manual   RUNNING  GOROUTINES  CHANNELS  SELECT  WAITING  MEMORY  BLOCKING  THREADS  FAILING
 *            IO  SIGNALS  STACKS  ENVIRONMENT  LIMITS  SANITIZERS  FORK
 *   public   [base] results, time, options, running   [go] goroutines, fork-join, local slots
 *            [chan] channels, select   [sync] locks and counters   [ctx] contexts, groups
 *            [time] sleep, timers, tickers, limiters   [io] fds, network, files, signals
 *            [debug] panic, dump, stats   [short]
 *   private  [map] layers, glossary, states, lock ranks, where to begin; then, bottom-up,
 *            [config] [atomics] [random] [sanitize] [arch] [x86_64] [aarch64] [os] [altstack]
 *            [epoll] [kqueue] [clock]
 *            [spin] [alloc] [stack] [core] [due] [date] [window] [owned] [timer] [lone] [idle]
 *            [runq] [ready] [pack] [switch] [spawn] [taskq] [sched] [start] [turn] [machine] [wait]
 *            [poll] [report] [life] [channel] [fork] [select] [locks] [counters] [time]
 *            [context] [faults] [block] [tidy] [fd] [net] [file] [dial] [signal] [preempt]
 *            [retake] [trace] [sysmon] [run] [look] [names]
 *
 * RUNNING    GOR_MAIN { ... } is int main() with its body as the main goroutine; argc and argv
 *   are in scope. gor_run(fn, arg) does the same under a main of your own, gor_run_with takes
 *   options. gor_start and gor_stop run the runtime without a main goroutine, beside threads of
 *   your own. One runtime at a time; it may be stopped and started again. When the main goroutine
 *   returns, the others are abandoned where they stand: no deferred call and no destructor of
 *   theirs runs. gor_procs(n) is GOMAXPROCS; the default is the CPUs that the process may use,
 *   bounded by the cgroup's CPU quota. Where all processors do little but wait for each other's
 *   caches, one may run alone for as long as that gets more done (unless GOR_ALL_PROCS).
 *
 * GOROUTINES gor_go(fn, arg) starts fn(arg); gor_go_copy hands fn a copy of your data;
 *   gor_go_with takes a name, a stack size, a priority; GOR_GO(f, a, b, ...) calls any function
 *   of up to six integer or pointer parameters, checked by the compiler. A goroutine may go on on
 *   another thread after any gor call: do not hold a pthread mutex or the address of a
 *   thread-local variable across one, or call gor_lock_thread first. errno stays with the
 *   goroutine in code that includes gor.h. gor_fork and gor_join are for divide and conquer: the
 *   task is your storage, and what nobody has started yet is run in gor_join.
 *
 * TIME       A goroutine past its quantum (10 ms) yields at its next gor call. If it makes none,
 *   because it computes, or sits in a system call or in a lock of some library, and others wait,
 *   it keeps its thread and another thread takes its processor: no call of yours is interrupted.
 *   Then more threads run than gor_procs says; max_threads bounds them. Where such a loop is
 *   known, mark its function GOR_PREEMPTIBLE, or run with preempt = GOR_PREEMPT_SWITCH: a signal
 *   switches it off in place and no thread is needed. gor_block says beforehand that a call will
 *   block. preempt = GOR_PREEMPT_ASK keeps to the processors, come what may.
 *
 * CHANNELS   gor_chan_new(size, capacity) makes a queue of values of one size; capacity 0: a send
 *   meets its receiver. gor_send(c, &v) and gor_recv(c, &v) copy sizeof v bytes; a size other
 *   than the channel's is -EMSGSIZE. First in, first out, for values and for who waits. After
 *   gor_chan_close receivers get what is left, then -EPIPE and a zeroed value; senders get
 *   -EPIPE. A NULL channel blocks for ever. GOR_CHAN_TYPE(name, T) makes a type of its own.
 *
 * SELECT     i = gor_select(gor_on_recv(a, &x), gor_on_send(b, &y), gor_on_after(GOR_SEC)); then
 *   switch (i). Of several cases that can run one is drawn, each as likely. Others:
 *   gor_on_recv_ok, gor_on_done(ctx), gor_on_deadline, gor_on_join(task), gor_on_default. A NULL
 *   channel turns its case off. gor_select_n takes cases made at run time; more than eight cases
 *   cost an allocation.
 *
 * WAITING    A call that can fail returns 0 (or what it says) or a negative errno, never sets
 *   errno; gor_strerror names it. Times are int64_t ns on the clock of gor_now(). A deadline is
 *   absolute: gor_now() + 50 * GOR_MS; one that has passed means "try once": -ETIMEDOUT; try_
 *   calls give -EAGAIN or false. GOR_FOREVER never passes. A wait that ended early has moved
 *   nothing and taken nothing. gor_ctx_enter(c) makes c the goroutine's own context: its blocking
 *   calls then end with -ECANCELED or -ETIMEDOUT when c is done, gor_mutex_lock and the like
 *   included, so check them; goroutines that it starts inherit c. Not ended by it: gor_join,
 *   gor_parallel_for, gor_barrier_wait, gor_group_wait, and the function run by gor_block.
 *
 * MEMORY     Nothing is collected. Channels and contexts are counted: who makes one has one
 *   reference, _retain takes another, _release gives one back. The last release of a channel
 *   frees the values in it, not what they point to; nobody may be waiting on it then. The channel
 *   of gor_after is yours to release; those of gor_ctx_done and of a ticker belong to these:
 *   retain one to keep it longer. All other structs are your storage: the sync structs are valid
 *   when zeroed, need no destroy, and must not be copied in use; who was let go by a wait may
 *   free what it waited for. A gor_timer or gor_ticker stays until it has run or was stopped, a
 *   gor_task until joined, a gor_group until waited for. What a goroutine's argument points to
 *   must outlive its use; gor_go_copy and GOR_GO copy. Allocator hooks (gor_options): channels
 *   and contexts are then to be made and released while that runtime runs. A run's end takes the
 *   goroutines that still wait with it, wherever they wait: what they wait for may only be
 *   released, or freed, afterwards, not used.
 *
 * BLOCKING   A system call or a library's lock that blocks holds a processor. gor_block(fn, arg)
 *   runs fn on the same thread and stack without one, and returns its result. Inside of fn the
 *   thread counts as a foreign one: goroutine-only calls panic there.
 *
 * THREADS    Threads that the runtime does not own may start goroutines and use channels, select,
 *   sync, contexts and timers while it runs; a call that waits blocks the thread. Only from
 *   goroutines: gor_yield, gor_exit, gor_fork, gor_join, gor_parallel_for, gor_local_get and
 *   _set, gor_lock_thread, gor_ctx_enter. Let your threads leave their gor calls before gor_stop.
 *   The runtime's threads block all signals but faults; a signal handler may not call gor.
 *
 * FAILING    gor_panic(fmt, ...) runs the deferred calls of the goroutine, last in first out; if
 *   one calls gor_recover, the goroutine ends there; else message and all goroutines go to stderr
 *   and the program ends with status 2. gor_defer belongs to the goroutine, not to the function. A
 *   panic too: unlock of what is not locked, a wait group below zero, a goroutine-only call from
 *   outside. "all goroutines are asleep - deadlock!" is said when nothing can wake anyone any
 *   more: no timer is pending, nobody is in gor_block, and every other thread of the process that
 *   is younger than main sleeps in a gor call without a deadline; after gor_start, main too. A
 *   thread asleep in a select or in a call of another library keeps the report away; so does an
 *   unreadable /proc. A stack overflow is reported likewise, and so is a wild pointer in a
 *   goroutine unless a handler for it was there before; GOR_NO_SIGNALS: neither. gor_dump(fd)
 *   prints every goroutine at any time. Stacks are read by frame pointers: for full ones compile
 *   with -fno-omit-frame-pointer, for names link with -rdynamic (functions that are static:
 *   addr2line -fe app OFFSET). The end is by _exit: what printf holds for a pipe or a file is
 *   lost, unless options.on_panic or on_deadlock flush it, which a fault does not call.
 *   GOR_REPORT_LEAKS names the goroutines that are abandoned at the end. gor_trace_start(path) and
 *   gor_trace_stop write who ran when, for Perfetto.
 *
 * IO         gor_listen, gor_accept, gor_dial and gor_open give file descriptors; gor_read,
 *   gor_write and the like work on any descriptor and park while it would block. Close what a
 *   gor call made, or has read or written, by gor_fd_close: close(2) wakes nobody, and the next
 *   owner of the number might wait in vain. gor_wait_fd and the fd cases of a select serve
 *   libraries with sockets of their own, and do not mind how these are closed. Descriptors are
 *   made non-blocking on the way; terminals and fds 0 to 2 are not, since others share them.
 *   What cannot be waited for goes through gor_block: regular files, opening (a FIFO may have no
 *   other end), names. These ignore deadlines and contexts once begun; a look-up only appears to
 *   end: its thread goes on. Addresses are "host:port", "[::1]:port", ":port", or a path for
 *   "unix".
 *
 * SIGNALS    gor_signal_notify sends signals, as ints, to a channel; gor_signal_ctx cancels a
 *   context. They are delivered on threads of yours or on the one that called gor_run: block
 *   them there, and they do not come. At the first write to something that is no socket, SIGPIPE
 *   gets an empty handler if it had none, so that writing to a closed pipe is -EPIPE; it is not
 *   inherited through exec. GOR_NO_SIGNALS: it is left alone, and sockets alone are safe. While
 *   a signal is asked for, or an fd waited for, there is no report of a deadlock. raise and
 *   pthread_kill are for one thread, and ours block signals: use kill(getpid(), sig).
 *
 * STACKS     256 KiB of address space each and a page between them, made memory page by page as
 *   touched; the lowest page is a guard, with the one between. They do not move, so pointers into
 *   them stay valid, and do not grow beyond that: set stack_size (16 KiB to 1 GiB) for one
 *   goroutine or for all. Who starts hundreds of thousands sets 64 KiB: page tables are then a
 *   fourth. A goroutine gets its stack when it first runs; the address space for it is set aside
 *   when it is started. One that has been parked for a second gives back the pages below its
 *   frames, a free stack all of them: gor_stats, stack_bytes. That takes membarrier(2). A call with
 *   a frame larger than two pages could step over the guard: compile with -fstack-clash-protection.
 *   Where the kernel has no light guards and vm.max_map_count is reached, further stacks carry a
 *   canary instead, which every switch checks; it is said once on stderr.
 *   A goroutine started with gor_attr.compact_idle, once it has been parked for
 *   gor_options.compact_idle, keeps only its live bytes, if that saves a quarter: its pages go,
 *   and come back when it is woken, or when somebody touches them. The kernel does not count: a
 *   system call that another goroutine or thread hands an address in that stack says EFAULT.
 *   Nor for what it was asked to do later (io_uring, AIO). Whether that can happen is yours to
 *   know, so it is asked for one by one. Who touches must not block SIGSEGV: threads of yours do
 *   not, after their first gor call. The child of fork must not touch such a stack. At
 *   vm.max_map_count or RLIMIT_DATA one may not come back, which ends the program with a word.
 *   It takes Linux 6.13, /proc, and our handler of SIGSEGV, before which yours may be installed,
 *   not after. Where it cannot be, or under a sanitizer, stacks stay: gor_stats, packed.
 *
 * ENVIRONMENT
 *   GORMAXPROCS=n       processors, if gor_options.procs is 0; no number above 0: as if not set
 *   GORTRACEBACK=word   none, 0: message only; single: that goroutine; all (default); crash: all,
 *                       then abort()
 *   GORDEBUG=key=n,...  nomembarrier=1: do without membarrier(2), and so without elided locks
 *                       keepthread=MS: give spare idle threads back after that time (60000)
 *                       noguardinstall=1: guard stacks by mprotect; noguard=1: by canaries
 *                       strict=1: stacks as under vm.overcommit_memory=2, see LIMITS
 *                       tidy=NS: how long a stack must be idle to give pages back, instead of 1 s
 *                       stress=SEED: unlikely schedules, in programs compiled with -DGOR_CHECK=1,
 *                       which also checks the order of locks
 *
 * LIMITS     The realloc hook is not called, but must be set with the other two. Switches by
 *   signal: not under ThreadSanitizer, and in static programs in GOR_PREEMPTIBLE functions only.
 *   1024 processors, 65535 cases in a select. Under vm.overcommit_memory=2 stacks
 *   are opened by our fault handler as they are used, 32 KiB at first: two mappings each, so about
 *   32,000 goroutines. A system call that is handed a buffer deeper than that, which nobody has
 *   touched, is -EFAULT then: compile with -fstack-clash-protection, which touches it. With
 *   GOR_NO_SIGNALS each stack counts in full there. A hardware shadow stack in force: gor_run
 *   says so and returns -ENOSYS. When memory or address space is out, starting a goroutine is
 *   -ENOMEM and the rest runs on: each goroutine that was started has address space for its
 *   stack. Its pages are another matter: the kernel hands them out as they are touched, and kills
 *   a process when it has none.
 *
 * SANITIZERS -fsanitize=thread takes each goroutine for a thread of its own, so a race shows
 *   between two goroutines on one thread too; about 7800 may be alive, then -ENOMEM.
 *   -fsanitize=address and undefined work as usual. Valgrind is not told about stacks.
 *
 * FORK       The child has no runtime: calls that need one say -ESRCH. exec and _exit are fine; a
 *   child forked from a goroutine must not return from the goroutine's function.
 */

#ifndef GOR_H_INCLUDED
#define GOR_H_INCLUDED

#if defined(GOR_IMPLEMENTATION) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1
#endif
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

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

/* ==== [go] goroutines, fork-join, goroutine-local slots ===================================== */

enum gor_priority { GOR_LOW = -1, GOR_NORMAL = 0, GOR_HIGH = 1 };

/* How to start a goroutine; zero means "default" in every field. */
typedef struct gor_attr {
    const char *name;                  /* for reports; the first 23 bytes are copied             */
    size_t      stack_size;            /* bytes, 16 KiB to 1 GiB; rounded up to a power of two   */
    int         priority;              /* enum gor_priority: higher runs first                   */
    bool        lock_thread;           /* starts as if it had called gor_lock_thread             */
    bool        compact_idle;          /* while it is parked, nobody gives the kernel an address */
} gor_attr;                            /* in its stack: that may be packed; see the manual       */

/* Start fn(arg) as a goroutine. A macro: reports name fn and the call's file and line.
 * Returns 0: it will run, its stack is reserved; -ENOMEM no memory, or no address space for
 * another stack (nothing was started); -ESRCH no runtime; -EINVAL fn is NULL. Any thread.
 * Parks: never.
 * Orders: what was done before the call is visible to fn. */
#define gor_go(fn, arg) gor__go_at((fn), (arg), #fn "\0" GOR__HERE)

/* The same; fn gets a pointer to its own copy of n bytes at data, aligned to 16, alive until fn
 * returns. Copies of up to 56 bytes cost no allocation. */
#define gor_go_copy(fn, data, n) gor__go_copy_at((fn), (data), (n), #fn "\0" GOR__HERE)

/* The same with attributes; a is read before the call returns, NULL means defaults.
 * Also -EINVAL for a stack size or a priority out of range. */
#define gor_go_with(a, fn, arg) gor__go_with_at((a), (fn), (arg), #fn "\0" GOR__HERE)

GOR_API int gor__go_at(void (*fn)(void *), void *arg, const char *site);
GOR_API int gor__go_copy_at(void (*fn)(void *), const void *data, size_t n, const char *site);
GOR_API int gor__go_with_at(const gor_attr *a, void (*fn)(void *), void *arg, const char *site);

/* The functions behind the macros, for callers that need an address; site unknown. */
GOR_API int (gor_go)(void (*fn)(void *), void *arg);
GOR_API int (gor_go_copy)(void (*fn)(void *), const void *data, size_t n);
GOR_API int (gor_go_with)(const gor_attr *a, void (*fn)(void *), void *arg);

/* Let others run: the caller goes to the end of its run queue. Parks: yes, stays runnable. */
GOR_API void gor_yield(void);

/* End the calling goroutine after its deferred calls. Does not return. From the main goroutine:
 * the others go on and gor_run returns 0 when the last has ended. */
GOR_API void gor_exit(void) __attribute__((noreturn));

/* The calling goroutine's number, from 1 (the main goroutine) up, never used twice in a run;
 * 0 outside of goroutines. */
GOR_API uint64_t gor_id(void);

/* The calling goroutine's name: gor_attr.name, else the name of its function; "" outside. */
GOR_API const char *gor_name(void);

/* Tie the goroutine to its OS thread, which then runs nothing else (OpenGL, thread-local state of
 * libraries). Nests. Called by the main goroutine before it ever parked, the thread is the one that
 * called gor_run. A goroutine that ends while locked ends its thread with it.
 * Returns 0. gor_unlock_thread undoes one lock; one too many is a panic. Parks: never. */
GOR_API int  gor_lock_thread(void);
GOR_API void gor_unlock_thread(void);

/* Mark a function of yours that may be switched off in place, between any two instructions, once it
 * is past its quantum and others wait: GOR_PREEMPTIBLE static void f(...) { ... }. What it calls is
 * not, unless marked too. It must not hold a lock that it does not also release elsewhere, as a
 * handler would: others run on its thread meanwhile. */
#define GOR_PREEMPTIBLE __attribute__((section("gor_preemptible"), noinline))

/* From off to on the goroutine is not switched off in place. Nests, per goroutine. It may still
 * lose its processor, which changes nothing that it can see. Parks: on may, as any call. */
GOR_API void gor_preempt_off(void);
GOR_API void gor_preempt_on(void);

/* Goroutines alive, not counting the caller's thread. Any thread; 0 without a runtime. */
GOR_API size_t gor_num_goroutines(void);

/* -- fork-join ------------------------------------------------------------------------------ */

/* One forked call; the caller's storage, typically on its stack, until gor_join returns. */
typedef struct gor_task {
    gor__au32   state;
    gor__spin   lock;
    gor__wq     waiters;
    gor__aptr  *slot;
    void      (*run)(void *);
    void      (*finish)(void *);
    void     *(*fn)(void *);
    void       *arg;
    void       *result;
    void       *ctx;                   /* the forker's own, a reference, until it starts         */
} gor_task;

/* Run fn(arg) in parallel, if a processor is free, at the latest in gor_join. Allocates nothing.
 * A task forked and not yet started is run by the joiner, on the joiner's stack: there it has the
 * joiner's gor_id, own context, defers and goroutine-local slots; else a goroutine of its own runs
 * it, under the context that the forker had. Join it before the forker's goroutine ends, however
 * that ends (gor_defer). Goroutines only. Parks: never.
 * Source: work-first joins of Cilk-5 (Frigo, Leiserson, Randall, 1998). */
GOR_API void gor_fork(gor_task *t, void *(*fn)(void *), void *arg);

/* Wait for a forked task, once. Returns fn's result. Parks: if another processor runs it.
 * Orders: what fn did is visible after. Not ended by the goroutine's own context. */
GOR_API void *gor_join(gor_task *t);

/* Call fn(lo, hi, arg) over disjoint ranges that cover [begin, end), each of at most grain indices,
 * in parallel. grain 0 picks one. Returns 0 when all have run; -EINVAL fn is NULL; -ECANCELED: one
 * that ran in a goroutine of its own ended that by gor_exit or a recovered panic. If the caller's
 * goroutine ends so in fn, ranges not begun never are, and it waits for those that others run.
 * Parks: yes. Orders: all calls happen before the return. */
GOR_API int gor_parallel_for(size_t begin, size_t end, size_t grain,
                             void (*fn)(size_t lo, size_t hi, void *arg), void *arg);

/* -- goroutine-local slots ------------------------------------------------------------------ */

/* A slot of which every goroutine has its own value. Static storage, zeroed:
 *     static gor_local user = { free };      // destructor or NULL, run when the goroutine ends */
typedef struct gor_local {
    void (*destructor)(void *value);
    uint64_t reserved;
} gor_local;

/* The value that this goroutine last set, or NULL. Parks: never. */
GOR_API void *gor_local_get(gor_local *k);

/* Set this goroutine's value; the old one is not destroyed. Returns 0; -ENOMEM. Parks: never. */
GOR_API int gor_local_set(gor_local *k, void *value);

/* -- GOR_GO: a typed go statement ------------------------------------------------------------ */

/* GOR_GO(f, a, b, ...): run f(a, b, ...) as a goroutine, up to six integer or pointer arguments,
 * evaluated now and converted as the call f(a, b, ...) would convert them. f's result is dropped.
 * An expression: gives what gor_go gives. Compile-time errors: whatever f(a, b, ...) would not
 * accept; a floating or struct parameter; in C, an argument to a parameter narrower than int whose
 * type is not exactly the parameter's (cast them all), likewise with enum parameters under gcc. In
 * C23 all types must match exactly. */
#define GOR__NARGS_(a, b, c, d, e, f, g, h, n, ...) n
#define GOR__NARGS(...) GOR__NARGS_(__VA_ARGS__, 8, 7, 6, 5, 4, 3, 2, 1, 0)

typedef struct gor__call {             /* what a GOR_GO goroutine runs: fn and its arguments */
    void   (*fn)(void);
    uint64_t arg[6];
} gor__call;
GOR_API int gor__go_call(const gor__call *call, const char *site);

#ifndef __cplusplus

#define GOR_GO(...)                                                                                \
    GOR__CAT(GOR__GO_, GOR__NARGS(__VA_ARGS__))(__VA_ARGS__)

/* A pointer argument is refused by every floating, struct and union parameter (by gcc: every
 * enum too) and taken, with a warning that we silence, by every integer one: that is how C lets
 * us look at f's parameters. Arguments of exactly f's types need no such test. */
#define GOR__PROBE(call_with_nulls)                                                                \
    _Pragma("GCC diagnostic push")                                                                 \
    _Pragma("GCC diagnostic ignored \"-Wint-conversion\"")                                         \
    _Pragma("GCC diagnostic ignored \"-Wnonnull\"")                                                \
    (void)sizeof(call_with_nulls, 0);                                                              \
    _Pragma("GCC diagnostic pop")
/* f() without a prototype is compatible with f's type if no parameter is narrower than int (C11
 * 6.7.6.3 p15); otherwise the argument types must be the parameter types. */
#if __STDC_VERSION__ > 201710L
#define GOR__WIDE(f, call) 0
#else
#define GOR__WIDE(f, call) __builtin_types_compatible_p(__typeof__(*(f)), __typeof__(call)())
#endif
#define GOR__EXACT(f, call, ...)                                                                   \
    __builtin_types_compatible_p(__typeof__(*(f)), __typeof__(call)(__VA_ARGS__))
#define GOR__IF_EXACT(exact, a) __builtin_choose_expr(exact, a, GOR__N)
#define GOR__GO_CHECK(f, call, probe)                                                              \
    (void)sizeof(call, 0);                                                                         \
    GOR__PROBE(probe)                                                                              \
    _Pragma("GCC diagnostic push")                                                                 \
    _Pragma("GCC diagnostic ignored \"-Wstrict-prototypes\"")                                      \
    _Static_assert(gor__x || GOR__WIDE(f, call),                                                   \
                   "GOR_GO: cast each argument to the exact type of its parameter");               \
    _Pragma("GCC diagnostic pop")                                                                  \
    _Static_assert(sizeof(__typeof__(call)) <= 8, "GOR_GO: f returns too large a struct");
#define GOR__NO_FLOAT(a)                                                                           \
    _Static_assert(_Generic((a), float: 0, double: 0, long double: 0, default: 1) &&               \
                   sizeof(__typeof__(1 ? (a) : (a))) <= 8,                                         \
                   "GOR_GO: integer or pointer arguments only");
#define GOR__WORD(a) (uint64_t)(a)
#define GOR__GO_SITE(f) #f "\0" GOR__HERE
#define GOR__GO_END(f, ...)                                                                        \
    gor__call gor__c = { (void (*)(void))(f), { __VA_ARGS__ } };                                   \
    gor__go_call(&gor__c, GOR__GO_SITE(f));
#define GOR__N ((void *)0)

#define GOR__GO_1(f) __extension__({                                                               \
    (void)sizeof((f)(), 0);                                                                        \
    _Static_assert(sizeof(__typeof__((f)())) <= 8, "GOR_GO: f returns too large a struct");        \
    GOR__GO_END(f, 0) })
#define GOR__GO_2(f, a) __extension__({                                                            \
    enum { gor__x = GOR__EXACT(f, (f)(a),                                                          \
                               __typeof__(a)) };                                                   \
    GOR__GO_CHECK(f, (f)(a),                                                                       \
                  (f)(GOR__IF_EXACT(gor__x, a)))                                                   \
    GOR__NO_FLOAT(a)                                                                               \
    GOR__GO_END(f, GOR__WORD(a)) })
#define GOR__GO_3(f, a, b) __extension__({                                                         \
    enum { gor__x = GOR__EXACT(f, (f)(a, b),                                                       \
                               __typeof__(a), __typeof__(b)) };                                    \
    GOR__GO_CHECK(f, (f)(a, b),                                                                    \
                  (f)(GOR__IF_EXACT(gor__x, a), GOR__IF_EXACT(gor__x, b)))                         \
    GOR__NO_FLOAT(a) GOR__NO_FLOAT(b)                                                              \
    GOR__GO_END(f, GOR__WORD(a), GOR__WORD(b)) })
#define GOR__GO_4(f, a, b, c) __extension__({                                                      \
    enum { gor__x = GOR__EXACT(f, (f)(a, b, c),                                                    \
                               __typeof__(a), __typeof__(b), __typeof__(c)) };                     \
    GOR__GO_CHECK(f, (f)(a, b, c),                                                                 \
                  (f)(GOR__IF_EXACT(gor__x, a), GOR__IF_EXACT(gor__x, b),                          \
                      GOR__IF_EXACT(gor__x, c)))                                                   \
    GOR__NO_FLOAT(a) GOR__NO_FLOAT(b) GOR__NO_FLOAT(c)                                             \
    GOR__GO_END(f, GOR__WORD(a), GOR__WORD(b), GOR__WORD(c)) })
#define GOR__GO_5(f, a, b, c, d) __extension__({                                                   \
    enum { gor__x = GOR__EXACT(f, (f)(a, b, c, d),                                                 \
                               __typeof__(a), __typeof__(b), __typeof__(c),                        \
                               __typeof__(d)) };                                                   \
    GOR__GO_CHECK(f, (f)(a, b, c, d),                                                              \
                  (f)(GOR__IF_EXACT(gor__x, a), GOR__IF_EXACT(gor__x, b),                          \
                      GOR__IF_EXACT(gor__x, c), GOR__IF_EXACT(gor__x, d)))                         \
    GOR__NO_FLOAT(a) GOR__NO_FLOAT(b) GOR__NO_FLOAT(c)                                             \
    GOR__NO_FLOAT(d)                                                                               \
    GOR__GO_END(f, GOR__WORD(a), GOR__WORD(b), GOR__WORD(c), GOR__WORD(d)) })
#define GOR__GO_6(f, a, b, c, d, e) __extension__({                                                \
    enum { gor__x = GOR__EXACT(f, (f)(a, b, c, d, e),                                              \
                               __typeof__(a), __typeof__(b), __typeof__(c),                        \
                               __typeof__(d), __typeof__(e)) };                                    \
    GOR__GO_CHECK(f, (f)(a, b, c, d, e),                                                           \
                  (f)(GOR__IF_EXACT(gor__x, a), GOR__IF_EXACT(gor__x, b),                          \
                      GOR__IF_EXACT(gor__x, c), GOR__IF_EXACT(gor__x, d),                          \
                      GOR__IF_EXACT(gor__x, e)))                                                   \
    GOR__NO_FLOAT(a) GOR__NO_FLOAT(b) GOR__NO_FLOAT(c)                                             \
    GOR__NO_FLOAT(d) GOR__NO_FLOAT(e)                                                              \
    GOR__GO_END(f, GOR__WORD(a), GOR__WORD(b), GOR__WORD(c),                                       \
                GOR__WORD(d), GOR__WORD(e)) })
#define GOR__GO_7(f, a, b, c, d, e, g) __extension__({                                             \
    enum { gor__x = GOR__EXACT(f, (f)(a, b, c, d, e, g),                                           \
                               __typeof__(a), __typeof__(b), __typeof__(c),                        \
                               __typeof__(d), __typeof__(e), __typeof__(g)) };                     \
    GOR__GO_CHECK(f, (f)(a, b, c, d, e, g),                                                        \
                  (f)(GOR__IF_EXACT(gor__x, a), GOR__IF_EXACT(gor__x, b),                          \
                      GOR__IF_EXACT(gor__x, c), GOR__IF_EXACT(gor__x, d),                          \
                      GOR__IF_EXACT(gor__x, e), GOR__IF_EXACT(gor__x, g)))                         \
    GOR__NO_FLOAT(a) GOR__NO_FLOAT(b) GOR__NO_FLOAT(c)                                             \
    GOR__NO_FLOAT(d) GOR__NO_FLOAT(e) GOR__NO_FLOAT(g)                                             \
    GOR__GO_END(f, GOR__WORD(a), GOR__WORD(b), GOR__WORD(c),                                       \
                GOR__WORD(d), GOR__WORD(e), GOR__WORD(g)) })

#else /* C++: the parameter types are there to be looked at */

#define GOR__FIRST_NAME(f, ...) #f
#define GOR_GO(...) gor__go_typed(GOR__FIRST_NAME(__VA_ARGS__, 0) "\0" GOR__HERE, __VA_ARGS__)

extern "C++" {
template <class T> struct gor__word_type {
    static constexpr bool ok = __is_enum(T);
};
template <class T> struct gor__word_type<T *> { static constexpr bool ok = true; };
#define GOR__WORD_TYPE(T)                                                                          \
    template <> struct gor__word_type<T> { static constexpr bool ok = true; };
GOR__WORD_TYPE(bool) GOR__WORD_TYPE(char) GOR__WORD_TYPE(signed char) GOR__WORD_TYPE(unsigned char)
GOR__WORD_TYPE(short) GOR__WORD_TYPE(unsigned short) GOR__WORD_TYPE(int) GOR__WORD_TYPE(unsigned)
GOR__WORD_TYPE(long) GOR__WORD_TYPE(unsigned long) GOR__WORD_TYPE(long long)
GOR__WORD_TYPE(unsigned long long) GOR__WORD_TYPE(wchar_t) GOR__WORD_TYPE(char16_t)
GOR__WORD_TYPE(char32_t) GOR__WORD_TYPE(decltype(nullptr))
#undef GOR__WORD_TYPE

template <class... P> struct gor__pack;
template <> struct gor__pack<> {
    template <class R, class... Q, class... D> void call(R (*fn)(Q...), D... done) { fn(done...); }
};
template <class P, class... More> struct gor__pack<P, More...> {
    static_assert(gor__word_type<P>::ok, "GOR_GO: integer or pointer parameters only");
    P value;
    gor__pack<More...> more;
    template <class A, class... B> gor__pack(A a, B... b) : value(a), more{b...} {}
    template <class R, class... Q, class... D> void call(R (*fn)(Q...), D... done)
    {
        more.call(fn, done..., value);
    }
};
template <class R, class... P> struct gor__typed_call {
    R (*fn)(P...);
    gor__pack<P...> args;
    static void run(void *self)
    {
        gor__typed_call *c = static_cast<gor__typed_call *>(self);
        c->args.call(c->fn);
    }
};
template <class T> struct gor__same { typedef T type; };
template <class R, class... P>
int gor__go_typed(const char *site, R (*fn)(P...), typename gor__same<P>::type... a)
{
    static_assert(sizeof...(P) <= 6, "GOR_GO: six arguments at most");
    gor__typed_call<R, P...> c = { fn, { a... } };
    return gor__go_copy_at(gor__typed_call<R, P...>::run, &c, sizeof c, site);
}
} /* extern "C++" */
#endif

/* ==== [chan] channels and select ============================================================ */

/* A queue of values of one size, first in, first out, for any number of senders and receivers,
 * goroutines and foreign threads alike. Reference-counted; a new one has one reference. */
typedef struct gor_chan gor_chan;

/* Make a channel.
 *   elem_size  bytes of one value; 0 allowed: a signal without a value
 *   capacity   values it holds before a send waits; 0: a send waits for its receiver
 * Returns the channel with one reference; NULL out of memory. Any thread. Parks: never. */
GOR_API gor_chan *gor_chan_new(size_t elem_size, size_t capacity);

/* Take or give back a reference; the last one given back frees the channel and the values in it.
 * Nobody may be waiting on it then. Who has been woken through it is not any more, but for a select
 * that names it in two cases. NULL is allowed. Any thread. Parks: never. */
GOR_API gor_chan *gor_chan_retain(gor_chan *c);
GOR_API void gor_chan_release(gor_chan *c);

/* Send one value, waiting until deadline at the latest.
 *   c         NULL takes nothing, so only the deadline ends the wait
 *   v         n bytes are copied; NULL sends an empty value (all bytes zero)
 *   n         bytes at v, the channel's element size
 *   deadline  absolute ns on the gor_now() clock; GOR_FOREVER waits; a past time only tries
 * Returns 0; -EPIPE closed; -ETIMEDOUT; -ECANCELED own context done; -EMSGSIZE wrong n, nothing
 * moved; try_: -EAGAIN would wait. Parks: yes (try_: never); blocks the thread outside of
 * goroutines.
 * Orders: what was done before the send is visible to the receiver of the value. */
GOR_API int gor_chan_send(gor_chan *c, const void *v, size_t n);
GOR_API int gor_chan_send_until(gor_chan *c, const void *v, size_t n, int64_t deadline);
GOR_API int gor_chan_try_send(gor_chan *c, const void *v, size_t n);

/* Receive one value, waiting until deadline at the latest.
 *   c         NULL never delivers, so only the deadline ends the wait
 *   v         gets n bytes; NULL throws the value away
 *   n, deadline  as above
 * Returns 0; -EPIPE closed and drained (*v zeroed); the rest as above.
 * Parks: yes (try_: never); blocks the thread outside of goroutines.
 * Orders: what the sender did before its send is visible after 0. */
GOR_API int gor_chan_recv(gor_chan *c, void *v, size_t n);
GOR_API int gor_chan_recv_until(gor_chan *c, void *v, size_t n, int64_t deadline);
GOR_API int gor_chan_try_recv(gor_chan *c, void *v, size_t n);

/* The same with the size taken from the pointer: not a void *, whose *v gcc takes for a byte. What
 * is sent without a deadline may be written in place: gor_send(c, &(struct pair){ 1, 2 }). */
#ifdef __cplusplus
#define GOR__SIZE_AT(v) sizeof *(v)
#else
struct gor__a_void_pointer_has_no_size;
#define GOR__SIZE_AT(v)                                                                            \
    sizeof *_Generic((v), void *: (struct gor__a_void_pointer_has_no_size *)0,                     \
                     const void *: (struct gor__a_void_pointer_has_no_size *)0, default: (v))
#endif
#define gor_send(c, ...) gor_chan_send((c), (__VA_ARGS__), GOR__SIZE_AT((__VA_ARGS__)))
#define gor_send_until(c, v, deadline) gor_chan_send_until((c), (v), GOR__SIZE_AT(v), (deadline))
#define gor_try_send(c, ...)                                                                       \
    gor_chan_try_send((c), (__VA_ARGS__), GOR__SIZE_AT((__VA_ARGS__)))
#define gor_recv(c, v)                gor_chan_recv((c), (v), GOR__SIZE_AT(v))
#define gor_recv_until(c, v, deadline) gor_chan_recv_until((c), (v), GOR__SIZE_AT(v), (deadline))
#define gor_try_recv(c, v)            gor_chan_try_recv((c), (v), GOR__SIZE_AT(v))

/* Close: receivers get what is left, then -EPIPE; waiting and later senders get -EPIPE.
 * Returns 0; -EPIPE already closed; -EINVAL c is NULL. Any thread. Parks: never.
 * Orders: what was done before the close is visible to who sees it closed. */
GOR_API int gor_chan_close(gor_chan *c);

/* Values waiting in the buffer now; the capacity. 0 for NULL. Any thread. Parks: never. */
GOR_API size_t gor_chan_len(gor_chan *c);
GOR_API size_t gor_chan_cap(gor_chan *c);

/* GOR_CHAN_TYPE(name, T): a channel type of its own, so that a wrong value does not compile:
 * name_new(cap), name_send(c, T), name_recv(c, T *), name_try_send, name_try_recv, name_send_until,
 * name_recv_until, name_close, name_len, name_retain, name_release; name_chan(c) for select.
 * Written at file scope, without a semicolon. */
#define GOR_CHAN_TYPE(name, T)                                                                     \
    typedef struct name name;                                                                      \
    static inline GOR__UNUSED gor_chan *name##_chan(name *c)                                       \
    {                                                                                              \
        return (gor_chan *)(void *)c;                                                              \
    }                                                                                              \
    static inline GOR__UNUSED name *name##_new(size_t cap)                                         \
    {                                                                                              \
        return (name *)(void *)gor_chan_new(sizeof(T), cap);                                       \
    }                                                                                              \
    static inline GOR__UNUSED int name##_send(name *c, T v)                                        \
    {                                                                                              \
        return gor_chan_send(name##_chan(c), &v, sizeof v);                                        \
    }                                                                                              \
    static inline GOR__UNUSED int name##_try_send(name *c, T v)                                    \
    {                                                                                              \
        return gor_chan_try_send(name##_chan(c), &v, sizeof v);                                    \
    }                                                                                              \
    static inline GOR__UNUSED int name##_send_until(name *c, T v, int64_t deadline)                \
    {                                                                                              \
        return gor_chan_send_until(name##_chan(c), &v, sizeof v, deadline);                        \
    }                                                                                              \
    static inline GOR__UNUSED int name##_recv(name *c, T *v)                                       \
    {                                                                                              \
        return gor_chan_recv(name##_chan(c), v, sizeof *v);                                        \
    }                                                                                              \
    static inline GOR__UNUSED int name##_try_recv(name *c, T *v)                                   \
    {                                                                                              \
        return gor_chan_try_recv(name##_chan(c), v, sizeof *v);                                    \
    }                                                                                              \
    static inline GOR__UNUSED int name##_recv_until(name *c, T *v, int64_t deadline)               \
    {                                                                                              \
        return gor_chan_recv_until(name##_chan(c), v, sizeof *v, deadline);                        \
    }                                                                                              \
    static inline GOR__UNUSED int name##_close(name *c)                                            \
    {                                                                                              \
        return gor_chan_close(name##_chan(c));                                                     \
    }                                                                                              \
    static inline GOR__UNUSED size_t name##_len(name *c)                                           \
    {                                                                                              \
        return gor_chan_len(name##_chan(c));                                                       \
    }                                                                                              \
    static inline GOR__UNUSED name *name##_retain(name *c)                                         \
    {                                                                                              \
        return (name *)(void *)gor_chan_retain(name##_chan(c));                                    \
    }                                                                                              \
    static inline GOR__UNUSED void name##_release(name *c)                                         \
    {                                                                                              \
        gor_chan_release(name##_chan(c));                                                          \
    }

/* -- select --------------------------------------------------------------------------------- */

struct gor_ctx;

enum gor_case_kind {                   /* NONE first, DEFAULT last: a select refuses all others */
    GOR_CASE_NONE, GOR_CASE_RECV, GOR_CASE_SEND, GOR_CASE_DONE, GOR_CASE_DEADLINE,
    GOR_CASE_READABLE, GOR_CASE_WRITABLE, GOR_CASE_JOIN, GOR_CASE_DEFAULT
};

/* One case of a select. Made by the gor_on_ calls below; the fields are the library's, but for
 * rc. */
typedef struct gor_case {
    int     kind;                      /* enum gor_case_kind                                     */
    int     rc;                        /* out: result of the case that ran: 0, -EPIPE; -EBADF    */
    void   *object;                    /* the channel, context or task                           */
    void   *value;                     /* what to send, where to receive                         */
    size_t  size;                      /* bytes at value                                         */
    bool   *ok;                        /* out: false if the channel was closed; may be NULL      */
    int64_t deadline;                  /* absolute ns                                            */
    int     fd;
} gor_case;

/* Wait until one of n cases can run, run it, and say which; of several that can, one at random,
 * each equally likely. With gor_on_default among them never waits.
 *   cases  read, and rc and *ok of the one that ran written, before the return; n 0 waits for ever
 * Returns the case's index; a receive on a closed channel runs, with *ok false;
 * -EPIPE a send case met a closed channel (its rc is -EPIPE, the others' 0); -EMSGSIZE a channel
 * case of the wrong size, -EINVAL an unknown kind, each before anything has moved; -ESRCH an fd
 * case without a runtime; -ECANCELED, -ETIMEDOUT the goroutine's own context is done; -ENOMEM.
 * Parks: yes, unless there is a default; blocks the thread outside of goroutines.
 * Orders: as the send or receive that ran. Source: selectgo of the Go runtime. */
GOR_API int gor_select_n(gor_case *cases, size_t n);

/* gor_select(case, case, ...): the same, the cases written in the call. */
#ifndef __cplusplus
#define gor_select(...)                                                                            \
    gor_select_n((gor_case[]){ __VA_ARGS__ },                                                      \
                 sizeof((gor_case[]){ __VA_ARGS__ }) / sizeof(gor_case))
#else
extern "C++" {
template <class... C> static inline int gor__select(C... c)
{
    gor_case cases[] = { c... };
    return gor_select_n(cases, sizeof...(c));
}
}
#define gor_select(...) gor__select(__VA_ARGS__)
#endif

static inline GOR__UNUSED gor_case gor__case(int kind, void *object, void *value, size_t size,
                                             bool *ok)
{
    gor_case k;
    k.kind = kind;
    k.rc = 0;
    k.object = object;
    k.value = value;
    k.size = size;
    k.ok = ok;
    k.deadline = GOR_FOREVER;
    k.fd = -1;
    return k;
}
static inline GOR__UNUSED gor_case gor__case_send(gor_chan *c, const void *v, size_t size)
{
    gor_case k = gor__case(GOR_CASE_SEND, c, NULL, size, NULL);
    union { const void *from; void *to; } u;
    u.from = v;
    k.value = u.to;
    return k;
}
static inline GOR__UNUSED gor_case gor__case_time(int64_t deadline)
{
    gor_case k = gor__case(GOR_CASE_DEADLINE, NULL, NULL, 0, NULL);
    k.deadline = deadline;
    return k;
}
static inline GOR__UNUSED gor_case gor__case_fd(int kind, int fd)
{
    gor_case k = gor__case(kind, NULL, NULL, 0, NULL);
    k.fd = fd;
    return k;
}
static inline GOR__UNUSED int64_t gor__deadline_after(int64_t ns)
{
    return gor__later(gor_now(), ns);
}

/* The cases. A NULL channel or context is a case that is off. gor_on_after: ns from now. readable,
 * writable: a read or write of fd would not block; that includes one that would fail. */
#define gor_on_recv(c, ptr)        gor__case(GOR_CASE_RECV, (c), (ptr), GOR__SIZE_AT(ptr), NULL)
#define gor_on_recv_ok(c, ptr, ok) gor__case(GOR_CASE_RECV, (c), (ptr), GOR__SIZE_AT(ptr), (ok))
#define gor_on_send(c, ...)                                                                        \
    gor__case_send((c), (__VA_ARGS__), GOR__SIZE_AT((__VA_ARGS__)))
#define gor_on_done(ctx)           gor__case(GOR_CASE_DONE, (ctx), NULL, 0, NULL)
#define gor_on_deadline(t)         gor__case_time(t)
#define gor_on_after(ns)           gor__case_time(gor__deadline_after(ns))
#define gor_on_readable(fd)        gor__case_fd(GOR_CASE_READABLE, (fd))
#define gor_on_writable(fd)        gor__case_fd(GOR_CASE_WRITABLE, (fd))
#define gor_on_join(task)          gor__case(GOR_CASE_JOIN, (task), NULL, 0, NULL)
#define gor_on_default()           gor__case(GOR_CASE_DEFAULT, NULL, NULL, 0, NULL)

/* ==== [sync] locks, counters, barriers ======================================================
 * Every struct is valid when zeroed, needs no destroy, and may live anywhere. Every call works from
 * foreign threads, which it blocks. Waits return 0, -ETIMEDOUT (only the _until forms), or, as
 * every blocking call that returns an int, -ECANCELED / -ETIMEDOUT when the goroutine's own
 * context is done. deadline is absolute, ns on the gor_now() clock; GOR_FOREVER waits; a past
 * one only tries. All lock/unlock, done/wait, release/acquire, signal/wait pairs order as their
 * names say. */

/* -- mutex: fair as Go's is; a waiter starved for 1 ms gets it next ---------------------------- */
typedef struct gor_mutex {
    gor__au32 state;
    gor__spin lock;
    gor__wq   waiters;
} gor_mutex;

/* Lock. Returns 0; _until: -ETIMEDOUT; try_: true if taken; own context done: -ECANCELED, not
 * taken.
 * Parks: yes (try_: never). Not recursive. May be unlocked by another goroutine.
 * Source: Go's sync.Mutex (normal and starvation mode). */
GOR_API int  gor_mutex_lock(gor_mutex *m);
GOR_API int  gor_mutex_lock_until(gor_mutex *m, int64_t deadline);
GOR_API bool gor_mutex_try_lock(gor_mutex *m);
/* Unlock; of an unlocked mutex: a panic that names the call. Parks: never. */
GOR_API void gor_mutex_unlock(gor_mutex *m);
GOR_API void gor__mutex_unlock_at(gor_mutex *m, const char *here);
#define gor_mutex_unlock(m) gor__mutex_unlock_at((m), GOR__HERE)

/* -- rwmutex: many readers or one writer; first come, first served ----------------------------- */
typedef struct gor_rwmutex {
    gor__spin lock;
    gor__au32 state;                   /* readers inside; a writer is; somebody waits */
    gor__wq   waiters;
    gor__aptr spread;                  /* itself: readers count where they are */
    gor__ai64 calm;                    /* not again before that time */
    gor__au32 outside;                 /* readers that are no goroutines; not while there are any */
} gor_rwmutex;

/* Lock for reading or writing. A waiting writer holds back later readers, so no recursive rlock.
 * A read lock of a goroutine may end with the runtime; one of a thread, a write lock, and a mutex
 * stay as they are.
 * Returns 0; -ECANCELED, -ETIMEDOUT own context done, not taken. try_: true if taken. */
GOR_API int  gor_rwmutex_rlock(gor_rwmutex *m);
GOR_API int  gor_rwmutex_lock(gor_rwmutex *m);
GOR_API bool gor_rwmutex_try_rlock(gor_rwmutex *m);
GOR_API bool gor_rwmutex_try_lock(gor_rwmutex *m);
/* Unlock; without the lock: a panic that names the call. Parks: never. */
GOR_API void gor_rwmutex_runlock(gor_rwmutex *m);
GOR_API void gor_rwmutex_unlock(gor_rwmutex *m);
GOR_API int  gor__rwmutex_rlock_met(gor_rwmutex *m);
GOR_API void gor__rwmutex_runlock_at(gor_rwmutex *m, const char *here);
GOR_API void gor__rwmutex_unlock_at(gor_rwmutex *m, const char *here);
#define gor_rwmutex_runlock(m) gor__rwmutex_runlock_at((m), GOR__HERE)
#define gor_rwmutex_unlock(m)  gor__rwmutex_unlock_at((m), GOR__HERE)

/* -- cond ---------------------------------------------------------------------------------- */
typedef struct gor_cond {
    gor__spin lock;
    gor__wq   waiters;
} gor_cond;

/* Unlock m, wait for a signal, lock m again, whatever the result; test your condition in a loop.
 * Returns 0; -ETIMEDOUT; -ECANCELED. No spurious wake-ups. Parks: yes. */
GOR_API int  gor_cond_wait(gor_cond *c, gor_mutex *m);
GOR_API int  gor_cond_wait_until(gor_cond *c, gor_mutex *m, int64_t deadline);
/* Wake the longest waiting one, or all. Need not hold the mutex. Parks: never. */
GOR_API void gor_cond_signal(gor_cond *c);
GOR_API void gor_cond_broadcast(gor_cond *c);

/* -- once ---------------------------------------------------------------------------------- */
typedef struct gor_once {
    gor__au32 done;
    gor_mutex mutex;
} gor_once;

/* Run fn(arg) if no call on o has run it yet; return when it has run. A fn that panics has run.
 * Returns 0; -ECANCELED, -ETIMEDOUT own context done while another runs it; -ENOMEM: fn was not
 * run. Parks: yes. */
GOR_API int gor_once_do(gor_once *o, void (*fn)(void *), void *arg);

/* -- wait group ---------------------------------------------------------------------------- */
typedef struct gor_wg {
    gor__au64 state;                   /* four times the count, and two bits                    */
    gor__wq   waiters;
} gor_wg;

/* Add n, which may be negative; at zero all waiters go on. Below zero: a panic that names the call.
 * gor_wg_done adds -1. Parks: never. */
GOR_API void gor_wg_add(gor_wg *wg, int64_t n);
GOR_API void gor_wg_done(gor_wg *wg);
GOR_API void gor__wg_add_at(gor_wg *wg, int64_t n, const char *here);
#define gor_wg_add(wg, n) gor__wg_add_at((wg), (n), GOR__HERE)
#define gor_wg_done(wg)   gor__wg_add_at((wg), -1, GOR__HERE)

/* Wait until the count is zero. Returns 0; -ETIMEDOUT; -ECANCELED. Parks: yes. */
GOR_API int gor_wg_wait(gor_wg *wg);
GOR_API int gor_wg_wait_until(gor_wg *wg, int64_t deadline);

/* Add one, start fn(arg) as a goroutine, and be done when it ends, however it ends.
 * Returns what gor_go returns; on failure the count is as before. */
#define gor_wg_go(wg, fn, arg) gor__wg_go_at((wg), (fn), (arg), #fn "\0" GOR__HERE)
GOR_API int (gor_wg_go)(gor_wg *wg, void (*fn)(void *), void *arg);
GOR_API int gor__wg_go_at(gor_wg *wg, void (*fn)(void *), void *arg, const char *site);

/* -- semaphore: weighted, first in, first out ------------------------------------------------- */
typedef struct gor_sem {
    gor__spin lock;
    gor__au32 pad;
    int64_t   permits;
    gor__wq   waiters;
} gor_sem;
#ifdef __cplusplus
#define GOR_SEM_INIT(n) gor_sem{ {}, {}, (n), {} }
#else
#define GOR_SEM_INIT(n) { .permits = (n) }
#endif

/* Take n permits, at once or, in turn, when they are there. Returns 0; -EINVAL n < 0; -ETIMEDOUT;
 * -ECANCELED. try_: 0 or -EAGAIN. A large request holds back the smaller ones behind it.
 * Parks: yes (try_: never). */
GOR_API int gor_sem_acquire(gor_sem *s, int64_t n);
GOR_API int gor_sem_acquire_until(gor_sem *s, int64_t n, int64_t deadline);
GOR_API int gor_sem_try_acquire(gor_sem *s, int64_t n);
/* Give n permits. Returns 0; -EINVAL n < 0; -EOVERFLOW too many. Parks: never. */
GOR_API int gor_sem_release(gor_sem *s, int64_t n);

/* -- barrier ------------------------------------------------------------------------------- */
typedef struct gor_barrier {
    gor__spin lock;
    uint32_t  needed;
    uint32_t  arrived;
    gor__wq   waiters;
} gor_barrier;
#ifdef __cplusplus
#define GOR_BARRIER_INIT(n) gor_barrier{ {}, (n), 0, {} }
#else
#define GOR_BARRIER_INIT(n) { .needed = (n) }
#endif

/* Wait until n have called. True for the last one to arrive. Used again at once. A zeroed barrier
 * lets everyone through. Not ended by the goroutine's own context. Parks: yes. */
GOR_API bool gor_barrier_wait(gor_barrier *b);

/* ==== [ctx] contexts and groups ============================================================= */

/* A tree of cancellation: what is done to a context is done to its children. Reference-counted:
 * every constructor returns one reference, given back by gor_ctx_release; children and goroutines
 * keep their own. Everything here works from any thread. */
typedef struct gor_ctx gor_ctx;

/* The root: never done. Needs no release, takes it anyway. */
GOR_API gor_ctx *gor_ctx_background(void);

/* New contexts under parent (NULL: the background). Each returns one reference; NULL out of memory.
 *   t    absolute deadline, ns; the parent's, if that is earlier
 *   ns   the same, from now
 *   key  compared as a pointer
 * gor_ctx_without_cancel keeps values, and is never done. A deadline needs a running runtime, this
 * or a later one, to pass by itself; gor_ctx_err sees it pass in any case. */
GOR_API gor_ctx *gor_ctx_with_cancel(gor_ctx *parent);
GOR_API gor_ctx *gor_ctx_with_deadline(gor_ctx *parent, int64_t t);
GOR_API gor_ctx *gor_ctx_with_timeout(gor_ctx *parent, int64_t ns);
GOR_API gor_ctx *gor_ctx_with_value(gor_ctx *parent, const void *key, void *value);
GOR_API gor_ctx *gor_ctx_without_cancel(gor_ctx *parent);

/* Make c and its children done; the first call counts. cause: a negative errno for gor_ctx_cause,
 * 0 means -ECANCELED. The background cannot be cancelled. Parks: never. */
GOR_API void gor_ctx_cancel(gor_ctx *c, int cause);

/* 0 while live, then -ECANCELED or -ETIMEDOUT; NULL is the background. */
GOR_API int gor_ctx_err(gor_ctx *c);
/* 0 while live, then what gor_ctx_cancel was given, or gor_ctx_err's. */
GOR_API int gor_ctx_cause(gor_ctx *c);
/* The value of the nearest context with this key, or NULL. */
GOR_API void *gor_ctx_value(gor_ctx *c, const void *key);
/* A channel, of element size 0, that is closed when c is done. The context's own: retain it to keep
 * it longer. NULL, which blocks for ever, if c is never done; also when out of memory. */
GOR_API gor_chan *gor_ctx_done(gor_ctx *c);
/* The absolute deadline, ns; GOR_FOREVER if there is none. */
GOR_API int64_t gor_ctx_deadline(gor_ctx *c);
/* Run fn(arg) in a goroutine of its own once c is done, if that is in this run of the runtime. The
 * goroutine is made now, so that it can be started then without memory: until c is done it costs
 * what one costs that has not begun. Returns 0; -ENOMEM; -EINVAL fn is NULL; -ESRCH no runtime.
 * Any thread. Parks: never. */
GOR_API int gor_ctx_after(gor_ctx *c, void (*fn)(void *), void *arg);

GOR_API gor_ctx *gor_ctx_retain(gor_ctx *c);
GOR_API void gor_ctx_release(gor_ctx *c);

/* Make c this goroutine's own: from now on every blocking call of it that returns an int ends with
 * -ECANCELED or -ETIMEDOUT when c is done, and at once if it already is; goroutines it starts
 * inherit c and keep a reference. NULL leaves. c must live until the goroutine leaves it or ends.
 * Returns the context before, or NULL:
 *     gor_ctx *old = gor_ctx_enter(c);  ...  gor_ctx_enter(old);
 * Goroutines only. Parks: never. */
GOR_API gor_ctx *gor_ctx_enter(gor_ctx *c);

/* -- groups: structured concurrency, the first error cancels the rest -------------------------- */
typedef struct gor_group {
    gor_ctx  *ctx;
    gor_wg    wg;
    gor_sem   slots;
    gor__au32 error;
    int       limit;
} gor_group;

/* Make g ready, under parent (NULL: the background), with at most limit goroutines at a time
 * (0 or less: no limit). */
GOR_API void gor_group_init(gor_group *g, gor_ctx *parent, int limit);

/* Run fn(arg) as a goroutine whose own context is g's; waits while limit are running. A result
 * other than 0 cancels the group's context with that cause; the first one counts.
 * Returns 0; -ENOMEM; -ESRCH; -ECANCELED, -ETIMEDOUT the caller's own context is done. Parks:
 * yes. */
#define gor_group_go(g, fn, arg) gor__group_go_at((g), (fn), (arg), #fn "\0" GOR__HERE)
GOR_API int gor__group_go_at(gor_group *g, int (*fn)(void *), void *arg, const char *site);
GOR_API int (gor_group_go)(gor_group *g, int (*fn)(void *), void *arg);

/* The group's context, for select and for passing on; lives until gor_group_wait returns. */
GOR_API gor_ctx *gor_group_ctx(gor_group *g);

/* Wait for all, cancel the group's context, free what g holds; g may be made ready again.
 * Returns the first result that was not 0, else 0. Always waits for all: not ended by the caller's
 * own context. Parks: yes. */
GOR_API int gor_group_wait(gor_group *g);

/* ==== [time] sleeping, timers, tickers, rate limits ========================================= */

/* Sleep for ns, or until t on the gor_now() clock; at most 0: returns at once.
 * Returns 0; -ECANCELED, -ETIMEDOUT own context done; -ENOMEM. Parks: yes; blocks a foreign
 * thread. */
GOR_API int gor_sleep(int64_t ns);
GOR_API int gor_sleep_until(int64_t t);

/* A channel that gets one int64_t, the time, ns from now, as gor_timer_start counts them. The
 * caller's reference: release it. NULL: out of memory, or no runtime. Parks: never. */
GOR_API gor_chan *gor_after(int64_t ns);

/* A timer; the caller's storage, zeroed before its first start, kept until it ran or was
 * stopped. */
typedef struct gor_timer {
    int64_t   when;                    /* absolute ns; too early while it is undated: [date]     */
    bool    (*fire)(struct gor_timer *t, int64_t now);
    void    (*fn)(void *);
    void     *arg;
    gor__aptr owner;                   /* whose timers it is among, or NULL                      */
    uint32_t  index;                   /* its place there                                        */
    gor__au32 epoch;                   /* the start of the runtime that `run` belongs to         */
    gor__aptr run;                     /* the goroutine that its last firing started; or it is
                                          periodic                                               */
    union {
        gor__au64 run_id;              /* that goroutine's number                                */
        int64_t   period;              /* ns                                                     */
    } u;
} gor_timer;

/* Run fn(arg), in a goroutine of its own, ns from now (AfterFunc). Never early; a second or more
 * may count from up to a few ms after the call, and fn run that much later. A pending timer is
 * restarted. Returns 0; -ENOMEM; -ESRCH no runtime; -EINVAL. Any thread, but the first start of a
 * timer comes before every other start and reset of it, as AfterFunc does in Go. O(log n). Parks:
 * never. */
GOR_API int gor_timer_start(gor_timer *t, int64_t ns, void (*fn)(void *), void *arg);
/* Stop or move a started timer. True: it was pending. After it returned, no run for an earlier
 * setting begins (one that has begun goes on). reset counts ns as start does, and starts a timer
 * that has run, or was stopped, anew; without the memory for that it leaves it stopped. Any thread.
 * Parks: never. */
GOR_API bool gor_timer_stop(gor_timer *t);
GOR_API bool gor_timer_reset(gor_timer *t, int64_t ns);

/* A ticker; the caller's storage, zeroed before its first start, kept until stopped. */
typedef struct gor_ticker {
    gor_timer timer;
    gor_chan *c;
} gor_ticker;

/* Send the time (int64_t) every period ns, at first a period from now as gor_timer_start counts; a
 * slow receiver misses ticks. The channel is the ticker's own and ends with gor_ticker_stop: retain
 * it to keep it longer. NULL: out of memory, no runtime, or period < 1. After a reset no tick of
 * before it comes. Any thread, for each ticker one at a time. Parks: never. */
GOR_API gor_chan *gor_ticker_start(gor_ticker *t, int64_t period);
GOR_API void gor_ticker_reset(gor_ticker *t, int64_t period);
GOR_API void gor_ticker_stop(gor_ticker *t);

/* A token bucket: per_second tokens flow in, at most burst are kept; full at first. */
typedef struct gor_limiter {
    gor_mutex mutex;
    double    per_second;
    double    burst;
    double    tokens;                  /* at time `last`; below 0: owed to those who wait        */
    int64_t   last;                    /* ns                                                     */
} gor_limiter;
GOR_API void gor_limiter_init(gor_limiter *l, double per_second, int burst);
/* Take n tokens if they are there. Any thread. Parks: while another call looks at the limiter. */
GOR_API bool gor_limiter_allow(gor_limiter *l, int n);
/* Take n tokens, waiting for them in turn. Returns 0; -EINVAL n is negative or over burst;
 * -ETIMEDOUT they would come after the deadline (answered at once, nothing taken); -ECANCELED own
 * context done. Parks: yes. */
GOR_API int gor_limiter_wait(gor_limiter *l, int n);
GOR_API int gor_limiter_wait_until(gor_limiter *l, int n, int64_t deadline);

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

/* ==== [fast] lock and unlock that meet nobody, inlined ==========================================
 * Private: nothing here is to be called by name. A lock and an unlock of a mutex that is free, or
 * of an rwmutex that only readers have, are a dozen instructions each; the calls would cost as much
 * again. They do what the functions' own first lines do ([machine] gor__enter, [locks]), and leave
 * everything else to the functions.
 * GOR_NO_INLINE before the include leaves this out, for programs that have the implementation in
 * another shared object. */
#if !defined(GOR_NO_INLINE)
#if defined(GOR_CHECK)
#if GOR_CHECK
#define GOR_NO_INLINE                  /* the stress switches sit in the functions */
#endif
#elif defined(__SANITIZE_THREAD__)
#define GOR_NO_INLINE                  /* ThreadSanitizer does not see into assembly */
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define GOR_NO_INLINE
#endif
#endif
#endif

#define GOR__HIDDEN __attribute__((visibility("hidden")))

/* How an M begins, for [core] to keep to. mine: what a free mutex looks like that its goroutine may
 * take by plain stores, 0 while alone, else the P's own; or GOR__MX_NOBODY: the functions are to
 * look first ([machine] gor__mine_begin). */
typedef struct gor__near_m {
    gor__aptr g;
    gor__au32 attention, mine;
    gor__aptr p;
} gor__near_m;
GOR_API GOR__HIDDEN const gor__near_m gor__nobody;     /* a foreign thread's */

/* How a P begins: who reads under spread rwmutexes ([locks]), (address << 16) + readers a slot. */
#define GOR__READER_SLOTS 32
typedef struct gor__near_p { gor__au64 readers[GOR__READER_SLOTS]; } gor__near_p;

GOR_API GOR__HIDDEN gor__au32 gor__shared;     /* 0: one processor, no foreign thread: [spin] */

/* In a mutex's state, from the right: it is locked; somebody waits; somebody did lately; how often
 * it was taken in a row, by which P. RUN is full: that P owns it. The last number is nobody's. */
#define GOR__MX_LOCKED   ((uint32_t)1)
#define GOR__MX_QUEUED   ((uint32_t)2)
#define GOR__MX_HEAT_ONE ((uint32_t)4)
#define GOR__MX_HEAT     ((uint32_t)0xffc)
#define GOR__MX_RUN_ONE  ((uint32_t)1 << 12)
#define GOR__MX_RUN      ((uint32_t)0x3ff << 12)
#define GOR__MX_P_ONE    ((uint32_t)1 << 22)
#define GOR__MX_P        ((uint32_t)0x3ff << 22)
#define GOR__MX_NOBODY   (GOR__MX_P | GOR__MX_RUN)

/* In an rwmutex's state, above the number of readers: a writer is inside; somebody waits; readers
 * may be in slots. */
#define GOR__RW_WRITER ((uint32_t)1 << 29)
#define GOR__RW_QUEUED ((uint32_t)1 << 30)
#define GOR__RW_SPREAD ((uint32_t)1 << 31)

/* The thread's words ([arch]) in assembly. An executable knows how far they are from fs; a shared
 * library has to look that up, in a register: first FIND, then WORD. */
#if defined(__x86_64__)
#if defined(__PIC__) && !defined(__PIE__)
#define GOR__X86_FIND(reg)       "movq gor__tls_word@gottpoff(%%rip)," reg "\n\t"
#define GOR__X86_WORD(reg, byte) "%%fs:" #byte "(" reg ")"
#else
#define GOR__X86_FIND(reg)       ""
#define GOR__X86_WORD(reg, byte) "%%fs:gor__tls_word@tpoff+" #byte
#endif
#endif

/* What a window at a word looks like from outside ([window]). In a call that has none it is 1. */
static inline GOR__UNUSED uint32_t gor__near_mark(const gor__au32 *word)
{
    return (uint32_t)(uintptr_t)word | 3;
}

static inline GOR__UNUSED gor__au64 *gor__near_slot(gor__near_p *p, const gor_rwmutex *mutex)
{
    uintptr_t at = (uintptr_t)mutex;
    return &p->readers[(at >> 4 ^ at >> 9) % GOR__READER_SLOTS];
}

/* One reader more, or less, in the slot of p, which is this thread's. In a window. False: the slot
 * is another mutex's, or full, or empty; nothing is done. */
static inline GOR__UNUSED bool gor__near_count(gor__near_p *p, const gor_rwmutex *mutex, bool more)
{
    gor__au64 *slot = gor__near_slot(p, mutex);
    uint64_t none = (uint64_t)(uintptr_t)mutex << 16;
    uint64_t v = __atomic_load_n(&slot->v, __ATOMIC_ACQUIRE);       /* acq slot: those before us */
    if (more && (v & 0xffff) == 0)
        v = none;
    if ((more ? v - none : v - none - 1) >= 0xffff)
        return false;
    __atomic_store_n(&slot->v, more ? v + 1 : v - 1, __ATOMIC_RELEASE);    /* rel slot */
    return true;
}

/* May a window change the mutex by plain stores? Not while somebody bars that ([locks] I4). */
static inline GOR__UNUSED bool gor__near_unbarred(const gor_mutex *mutex)
{
    return __builtin_expect(__atomic_load_n(&mutex->lock.word.v, __ATOMIC_ACQUIRE) == 0, 1);
}

#ifndef GOR_NO_INLINE
/* Begin a call, or a window: this thread's M or gor__nobody, and where its mark is. End it. As in
 * [arch], gor__arch_call_begin and _end. */
#if defined(__x86_64__)
static inline gor__near_m *gor__near_begin(uint32_t mark, uintptr_t *at)
{
    gor__near_m *m;
    *at = 0;                                       /* found anew at the end */
    __asm__ volatile(GOR__X86_FIND("%0") "movl %1," GOR__X86_WORD("%0", 8) "\n\t"
                     "movq " GOR__X86_WORD("%0", 16) ",%0"
                     : "=&r"(m) : "ri"(mark) : "memory");
    return m;
}

static inline void gor__near_end(uintptr_t at)
{
    __asm__ volatile(GOR__X86_FIND("%0") "movl $0," GOR__X86_WORD("%0", 8)
                     : "=&r"(at) : : "memory");
}
#else
static inline gor__near_m *gor__near_begin(uint32_t mark, uintptr_t *at)
{
    gor__near_m *m;
    uintptr_t check;
    __asm__ volatile("1: mrs %0,tpidr_el0\n\tadrp %1,:gottprel:gor__tls_word\n\t"
                     "ldr %1,[%1,#:gottprel_lo12:gor__tls_word]\n\tadd %1,%0,%1\n\t"
                     "add %1,%1,#8\n\tldxr %w2,[%1]\n\tmrs %2,tpidr_el0\n\tcmp %0,%2\n\t"
                     "b.ne 1b\n\tstxr %w0,%w3,[%1]\n\tcbnz %w0,1b\n\tldr %0,[%1,#8]"
                     : "=&r"(m), "=&r"(*at), "=&r"(check) : "r"(mark) : "memory", "cc");
    return m;
}

static inline void gor__near_end(uintptr_t at)
{
    __asm__ volatile("stlr wzr,[%0]" : : "r"(at) : "memory");
}
#endif

/* Change a lock's state, if it is old: acq and rel state. When others may be there; ever. */
static inline bool gor__near_swap_shared(gor__au32 *state, uint32_t old, uint32_t to)
{
    return __atomic_compare_exchange_n(&state->v, &old, to, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_RELAXED);
}

static inline bool gor__near_swap(gor__au32 *state, uint32_t old, uint32_t to)
{
    if (__builtin_expect(__atomic_load_n(&gor__shared.v, __ATOMIC_RELAXED) != 0, 0))
        return gor__near_swap_shared(state, old, to);
    if (__atomic_load_n(&state->v, __ATOMIC_ACQUIRE) != old)
        return false;
    __atomic_store_n(&state->v, to, __ATOMIC_RELEASE);
    return true;
}

/* May the call that has begun go on here? Not in a foreign thread, nor if somebody asks for m. Then
 * nothing is done, and the function that is called instead begins with gor__enter as if nothing had
 * been. */
static inline bool gor__near_goes_on(gor__near_m *m)
{
    return __builtin_expect(__atomic_load_n(&m->attention.v, __ATOMIC_RELAXED) == 0, 1);
}

/* The same for a lock, which heeds a context, too: not if this is GOR__MX_NOBODY. */
static inline uint32_t gor__near_mine(gor__near_m *m)
{
    return __atomic_load_n(&m->mine.v, __ATOMIC_RELAXED);
}

/* A lock whose state is old: take it, or give it back. */
static inline bool gor__near_lock(gor__au32 *state, uint32_t old, uint32_t to)
{
    uintptr_t at;
    gor__near_m *m = gor__near_begin(1, &at);
    if (gor__near_mine(m) == GOR__MX_NOBODY || !gor__near_swap(state, old, to))
        return false;
    gor__near_end(at);
    return true;
}

static inline bool gor__near_unlock(gor__au32 *state, uint32_t old, uint32_t to)
{
    uintptr_t at;
    if (!gor__near_goes_on(gor__near_begin(1, &at)) || !gor__near_swap(state, old, to))
        return false;
    gor__near_end(at);
    return true;
}

/* [locks] gor__mutex_take, but for what is rare. In a window. */
static inline bool gor__near_mutex_take(gor__near_m *m, gor_mutex *mutex)
{
    gor__au32 *state = &mutex->state;
    uint32_t mine = gor__near_mine(m), to;
    uint32_t barred = __atomic_load_n(&mutex->lock.word.v, __ATOMIC_ACQUIRE);
    uint32_t s = __atomic_load_n(&state->v, __ATOMIC_ACQUIRE);
    if (__builtin_expect((barred | (s ^ mine)) == 0, 1)) {
        __atomic_store_n(&state->v, mine | GOR__MX_LOCKED, __ATOMIC_RELEASE);
        return true;
    }
    if (mine == GOR__MX_NOBODY || mine == 0 || (s & (GOR__MX_RUN_ONE - 1)) ||
        (s & GOR__MX_RUN) >= GOR__MX_RUN - GOR__MX_RUN_ONE)
        return false;
    to = (s ^ mine) < GOR__MX_P_ONE ? s + GOR__MX_RUN_ONE : mine & GOR__MX_P;
    return gor__near_swap_shared(state, s, to | GOR__MX_LOCKED);
}

static inline int gor__mutex_lock_near(gor_mutex *mutex)
{
    uintptr_t at;
    gor__near_m *m = gor__near_begin(gor__near_mark(&mutex->state), &at);
    if (__builtin_expect(gor__near_mutex_take(m, mutex), 1)) {
        gor__near_end(at);
        return 0;
    }
    return (gor_mutex_lock)(mutex);
}

/* [locks] gor__mutex_unlock_plain */
static inline void gor__mutex_unlock_near(gor_mutex *mutex, const char *here)
{
    uintptr_t at;
    gor__near_m *m = gor__near_begin(gor__near_mark(&mutex->state), &at);
    bool unbarred = gor__near_unbarred(mutex);
    uint32_t s = __atomic_load_n(&mutex->state.v, __ATOMIC_RELAXED);
    if (gor__near_goes_on(m) && unbarred &&
        __builtin_expect((s & (GOR__MX_RUN_ONE - 1)) == GOR__MX_LOCKED, 1)) {
        __atomic_store_n(&mutex->state.v, s - GOR__MX_LOCKED, __ATOMIC_RELEASE);
        gor__near_end(at);
    } else {
        gor__mutex_unlock_at(mutex, here);
    }
}

/* One reader more or less, there or here. met: of those that do the same at this moment. */
static inline bool gor__near_read(gor__near_m *m, gor_rwmutex *mutex, bool more, bool *met)
{
    uint32_t s = __atomic_load_n(&mutex->state.v, __ATOMIC_RELAXED);
    *met = more ? s + 1 < GOR__RW_WRITER : s - 1 < GOR__RW_WRITER - 1;
    if (*met)
        return gor__near_swap(&mutex->state, s, more ? s + 1 : s - 1);
    return __atomic_load_n(&mutex->spread.v, __ATOMIC_ACQUIRE) == mutex &&     /* acq rw.spread */
           gor__near_count((gor__near_p *)__atomic_load_n(&m->p.v, __ATOMIC_RELAXED), mutex, more);
}

static inline int gor__rwmutex_rlock_near(gor_rwmutex *mutex)
{
    uintptr_t at;
    bool met = false;
    gor__near_m *m = gor__near_begin(gor__near_mark(&mutex->state), &at);
    if (__builtin_expect(gor__near_mine(m) != GOR__MX_NOBODY &&
                         gor__near_read(m, mutex, true, &met), 1)) {
        gor__near_end(at);
        return 0;
    }
    return met ? gor__rwmutex_rlock_met(mutex) : (gor_rwmutex_rlock)(mutex);
}

static inline void gor__rwmutex_runlock_near(gor_rwmutex *mutex, const char *here)
{
    uintptr_t at;
    bool met;
    gor__near_m *m = gor__near_begin(gor__near_mark(&mutex->state), &at);
    if (gor__near_goes_on(m) && __builtin_expect(gor__near_read(m, mutex, false, &met), 1))
        gor__near_end(at);
    else
        gor__rwmutex_runlock_at(mutex, here);
}

static inline int gor__rwmutex_lock_near(gor_rwmutex *mutex)
{
    return gor__near_lock(&mutex->state, 0, GOR__RW_WRITER) ? 0 : (gor_rwmutex_lock)(mutex);
}

static inline void gor__rwmutex_unlock_near(gor_rwmutex *mutex, const char *here)
{
    if (!gor__near_unlock(&mutex->state, GOR__RW_WRITER, 0))
        gor__rwmutex_unlock_at(mutex, here);
}

#define gor_mutex_lock(m) gor__mutex_lock_near(m)
#undef gor_mutex_unlock
#define gor_mutex_unlock(m) gor__mutex_unlock_near((m), GOR__HERE)
#define gor_rwmutex_rlock(m) gor__rwmutex_rlock_near(m)
#undef gor_rwmutex_runlock
#define gor_rwmutex_runlock(m) gor__rwmutex_runlock_near((m), GOR__HERE)
#define gor_rwmutex_lock(m) gor__rwmutex_lock_near(m)
#undef gor_rwmutex_unlock
#define gor_rwmutex_unlock(m) gor__rwmutex_unlock_near((m), GOR__HERE)
#endif

/* ==== [short] short names, on request ======================================================= */
#ifdef GOR_SHORT_NAMES
#define go(fn, arg)   gor_go(fn, arg)
#define GO(...)       GOR_GO(__VA_ARGS__)
#define yield()       gor_yield()
#define defer(fn, arg) gor_defer(fn, arg)
#define chan_new      gor_chan_new
#define chan_send     gor_send
#define chan_recv     gor_recv
#define chan_close    gor_chan_close
#define chan_select   gor_select
typedef gor_chan    chan_t;
typedef gor_wg      wg_t;
typedef gor_mutex   gomutex_t;
typedef gor_ctx     ctx_t;
#endif


#endif /* GOR_H_INCLUDED */

/* ==== end of the public API ================================================================== */

/* ==== [map] how the rest of this file is built ==============================================
 * LAYERS  A part uses what stands above it. Calls the other way go through data: a timer's fire,
 *         a goroutine's done, and the table gor__up. From here down:
 * [config]   compiler, sanitizers, sizes          [atomics]  words, memory order in the name
 * [random]   xorshift64*                          [sanitize] what TSan and ASan must be told
 * [arch]     the contract of a processor          [x86_64] [aarch64] thread's word, switch, frame
 * [os]       Linux: pages, futex, threads, clock  [altstack] the stack of fault handlers
 * [epoll]    the kernel's list of what is ready   [kqueue]   the same, of other kernels
 * [clock]    a time that may be a little late, without a system call
 * [spin]     locks of a few instructions, elided while one processor and no foreign thread exists
 * [alloc]    the user's allocator, counted        [stack]    reserved, guarded, coloured stacks
 * [core]     G, M, P and their states; the runtime's one struct
 * [due]      timers by time: a line and a heap    [date]     far ones start without asking a clock
 * [window]   plain stores that others wait for    [owned]    locks that one P takes again and again
 * [timer]    timers of one P                      [lone]     one P runs, while the others nap
 * [idle]     which Ms sleep, who wakes whom       [runq]     runnable goroutines of one P
 * [ready]    making Gs runnable; their memory     [pack]     an idle stack in a small block
 * [switch]   from one goroutine to another        [spawn]    making a goroutine
 * [taskq]    forked calls that nobody has started [sched]    what runs next; park, steal
 * [start]    a new goroutine joins the queue      [turn]     who ran when
 * [machine]  the life of an M; entering calls
 * [wait]     the one mechanism of waiting         [poll]     who waits for which fd
 * [report]   the world in words; the end          [life]     first frame to last; defer, panic
 * [channel]  values from goroutine to goroutine
 * [fork]     fork, join, parallel for             [select]   wait for one of several
 * [locks]    mutex, rwmutex, cond, once           [counters] wait group, semaphore, barrier
 * [time]     sleep, timers, tickers, limiter      [context]  a tree of cancellation; groups
 * [faults]   stack overflow, wild pointers        [block]    leaving the P for a blocking call
 * [preempt]  a switch in place, by signal         [retake]   a processor is taken from its thread
 * [tidy]     idle pages of stacks go back
 * [fd]       reading and writing fds              [net]      sockets
 * [file]     files and processes                  [dial]     addresses, listening, dialing
 * [signal]   signals as values                    [trace]    turns as a file
 * [procs]    how many processors there are        [jam]      one, where several are slower
 * [sysmon]   the watch: clock, quanta, deadlock   [run]      starting and stopping
 * [look]     dump, leaks, stats, invariants       [names]    gor_strerror; errno
 *
 * WORDS
 *   G goroutine   a function that runs on a stack of its own; gor__g. M machine: an OS thread of
 *                 ours. P processor: the right to run goroutines, with run queue, timers, caches.
 *   g0            the M's own thread stack, seen as a G: where the loop that finds work runs.
 *   park          leave the CPU until someone calls gor__ready. yield: leave it, stay runnable.
 *   ready         make a G runnable: it owns no wait any more, and goes into a run queue.
 *   wait, node    a blocked operation; its place in the queue of one thing it waits for.
 *   claim         become the one who ends a wait: fired 0 -> 1, or taking its only node; or as
 *                 its only timer.
 *   run queue     a ring per P; before it one slot, next: woken by the running goroutine, runs
 *                 first. Spilled into the global queue, or, what has not begun, onto the stack
 *                 `fresh` ([ready] I4). high, low: queues by priority.
 *   steal         take half of another P's ring, or its oldest task, in the last round also its
 *                 next slot, if it is busy with something else, and run its timers. spinning: an
 *                 M with a P that looks for work.
 *   submit        queue a G, fence, wake a spinner if a P is idle and none looks. In vain, time
 *                 and again: [idle] I7. nap: a thief leaves stealing alone: I8.
 *   hold          a word of the G: why it cannot just be switched to. ON_CPU: its stack is in
 *                 use, or about to be; NO_STACK: it has not run yet; TIED: only its M may run it;
 *                 CLAIMED: pages of its stack are going, or coming; PACKED: they are gone.
 *   promise       a stack that exists and that nobody else can take: every goroutine has one when
 *                 it is started. bare: a dead G without one, of no use until there is room.
 *   elision       while gor__shared is 0 nothing is locked. shared: for good, until gor_stop.
 *   in_call       M's word: 0 in the user's code, else 1, or a window's mark. attention: what its
 *                 next call does.
 *   window        a few instructions in a call that look at a word and change it without a locked
 *                 one; in_call is then the word's mark, by which others see it. [window]
 *   spread        an rwmutex whose readers are counted by processor, in slots of P. [locks]
 *   own           a mutex, or the lock of a channel or of timers, that one P has had again and
 *                 again, and takes by a plain store in a window until somebody else wants it.
 *                 [locks] [owned]
 *   date          a time that [sysmon] publishes every few ms. undated: of a timer that was started
 *                 by it, without a look at a clock: due too early until it is dated, under the lock
 *                 of the timers. [date]
 *   mine          of an M: what a free mutex looks like that its goroutine may take at once. [fast]
 *   foreign       a thread that is not an M, or is one inside gor_block. orphan: an M that was
 *                 still in the user's code when the runtime stopped.
 *   in transit    a P between the idle list and its next M. retired: gor_procs or [jam]
 *                 took it back.
 *   sleeper       the one idle M that sleeps until the first timer of all, and in the poller, once
 *                 there is one: epoll, the kernel's list of fds that are ready. sysmon: the watch.
 *   pd            what is known of an fd number: its owner's generation, events, waiters.
 *   quantum       how long a goroutine runs before it is asked to yield.
 *   retake        take the P of a goroutine that does not hear; it keeps its thread.
 *   ticket        what a timer's run must take to begin, and what stopping the timer takes back.
 *
 * STATES OF A GOROUTINE     where it is                            leaves by
 *   RUNNABLE                a run queue, or on its way to one      a P picks it: RUNNING
 *   RUNNING                 m->g of an M                           yield: RUNNABLE; or as below
 *   WAITING                 nodes in queues, perhaps a timer       who claims: RUNNABLE; itself,
 *                                                                  before it blocked: RUNNING
 *   BLOCKED                 in gor_block, on its thread, no P      the call returns: RUNNABLE
 *   DEAD                    a free list, or being made             spawn: RUNNABLE
 *   FRESH                   never stored: a report's word for RUNNABLE without a stack
 *   An M is RUNNING, IDLE (asleep on m->park) or GONE. A P is held (p->m), idle, in transit or
 *   retired.
 *
 * LOCK RANKS  A lock is taken only while those held rank no higher. -DGOR_CHECK=1 checks it.
 *   TIMERS   timers.own      a timer that fires cancels contexts and sends to channels
 *   CTX      gor__cancel     one at a time; done closes a channel
 *   OBJECT   channels, mutexes, tasks, pds  wakes goroutines; two channels by rising address
 *   SCHED    gor__rt.lock    global queues and idle lists: the last word of every wake-up
 *   MEMORY   gor__stacks     stacks. SCHED and MEMORY are never elided.
 *   No lock is held over a switch.
 *
 * BEGIN WITH  [core], the structs; [switch], then gor__park_here and gor__switch_away in [sched];
 *   [wait], its header and gor__wait_in; [channel], where gor__chan_op uses all of these. Then
 *   [idle], why no wake-up is lost; gor__find_work; [spin] with gor__go_shared in [machine];
 *   [timer]; [select]; [life]; [sysmon]. The rest stands on these. docs/design.md says why.
 */


#if defined(GOR_IMPLEMENTATION) && !defined(GOR__IMPLEMENTED)
#define GOR__IMPLEMENTED

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <elf.h>
#include <linux/futex.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#if defined(GOR__KQUEUE) && GOR__KQUEUE
#include <sys/event.h>
#else
#include <sys/epoll.h>
#include <sys/eventfd.h>
#endif

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

/* ==== [atomics] typed words with the memory order in the name =================================
 * What        gor__au32_load_acq(&x), gor__aptr_store_rel(&x, v), ...: rlx, acq, rel, sc. cas, xchg
 *             and add are sc; add returns the old value.
 * Invariants  A word that several threads, or several goroutines on one thread, touch without a
 *             lock is one of these; relaxed costs nothing and tells ThreadSanitizer the truth.
 * Source      The __atomic builtins: C11's model, and usable from C++.
 */

/* A compare-and-swap. What it found is of no interest; but ThreadSanitizer would see it written to
 * our stack, which another goroutine has had before, and may not know yet in which order. */
#if GOR__TSAN
#define GOR__SWAP_IF(at, old, to) __sync_bool_compare_and_swap(at, old, to)
#else
#define GOR__SWAP_IF(at, old, to)                                                                  \
    __atomic_compare_exchange_n(at, &old, to, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)
#endif

#define GOR__ATOMIC(name, T)                                                                       \
    GOR__INLINE T name##_load_rlx(const name *a)                                                   \
    {                                                                                              \
        return __atomic_load_n(&a->v, __ATOMIC_RELAXED);                                           \
    }                                                                                              \
    GOR__INLINE T name##_load_acq(const name *a)                                                   \
    {                                                                                              \
        return __atomic_load_n(&a->v, __ATOMIC_ACQUIRE);                                           \
    }                                                                                              \
    GOR__INLINE T name##_load_sc(const name *a)                                                    \
    {                                                                                              \
        return __atomic_load_n(&a->v, __ATOMIC_SEQ_CST);                                           \
    }                                                                                              \
    GOR__INLINE void name##_store_rlx(name *a, T v)                                                \
    {                                                                                              \
        __atomic_store_n(&a->v, v, __ATOMIC_RELAXED);                                              \
    }                                                                                              \
    GOR__INLINE void name##_store_rel(name *a, T v)                                                \
    {                                                                                              \
        __atomic_store_n(&a->v, v, __ATOMIC_RELEASE);                                              \
    }                                                                                              \
    GOR__INLINE void name##_store_sc(name *a, T v)                                                 \
    {                                                                                              \
        __atomic_store_n(&a->v, v, __ATOMIC_SEQ_CST);                                              \
    }                                                                                              \
    GOR__INLINE T name##_xchg(name *a, T v)                                                        \
    {                                                                                              \
        return __atomic_exchange_n(&a->v, v, __ATOMIC_SEQ_CST);                                    \
    }                                                                                              \
    GOR__INLINE bool name##_cas(name *a, T old, T v)                                               \
    {                                                                                              \
        return GOR__SWAP_IF(&a->v, old, v);                                                        \
    }
GOR__ATOMIC(gor__au32, uint32_t)
GOR__ATOMIC(gor__au64, uint64_t)
GOR__ATOMIC(gor__ai64, int64_t)
GOR__ATOMIC(gor__aptr, void *)

GOR__INLINE uint32_t gor__au32_add(gor__au32 *a, uint32_t n)
{
    return __atomic_fetch_add(&a->v, n, __ATOMIC_SEQ_CST);
}
GOR__INLINE uint32_t gor__au32_or(gor__au32 *a, uint32_t n)
{
    return __atomic_fetch_or(&a->v, n, __ATOMIC_SEQ_CST);
}
GOR__INLINE uint32_t gor__au32_and(gor__au32 *a, uint32_t n)
{
    return __atomic_fetch_and(&a->v, n, __ATOMIC_SEQ_CST);
}
GOR__INLINE uint64_t gor__au64_add(gor__au64 *a, uint64_t n)
{
    return __atomic_fetch_add(&a->v, n, __ATOMIC_SEQ_CST);
}

/* A count that orders nothing. */
GOR__INLINE uint32_t gor__au32_count(gor__au32 *a, uint32_t n)
{
    return __atomic_fetch_add(&a->v, n, __ATOMIC_RELAXED);
}
GOR__INLINE void gor__au64_count(gor__au64 *a, uint64_t n)
{
    __atomic_fetch_add(&a->v, n, __ATOMIC_RELAXED);
}

/* A counter that one thread at a time writes and any thread reads. */
GOR__INLINE void gor__au64_bump(gor__au64 *a)
{
    gor__au64_store_rlx(a, gor__au64_load_rlx(a) + 1);
}
GOR__INLINE void gor__au64_bump_rel(gor__au64 *a)
{
    gor__au64_store_rel(a, gor__au64_load_rlx(a) + 1);
}

#define GOR__COMPILER_BARRIER() __asm__ volatile("" ::: "memory")

/* ==== [random] small fast random numbers ======================================================
 * Source      xorshift64* (Vigna, 2016); Lemire's multiply-shift for a range (2019).
 */
GOR__INLINE uint64_t gor__random(gor__au64 *state)
{
    uint64_t x = gor__au64_load_rlx(state);
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    gor__au64_store_rlx(state, x);
    return x * 0x2545F4914F6CDD1DULL;
}

/* 0 .. n-1, n > 0; the bias of at most n / 2^32 is below what a test of fairness can see. */
GOR__INLINE uint32_t gor__random_below(gor__au64 *state, uint32_t n)
{
    return (uint32_t)(((gor__random(state) >> 32) * n) >> 32);
}

/* ==== [sanitize] what the sanitizers must be told ===============================================
 * What        A goroutine is a fiber for ThreadSanitizer, and a stack for AddressSanitizer. Each
 *             hook is an empty function in a build without that sanitizer.
 * Why         Fibers are switched without synchronisation (flag 1): two goroutines on one thread
 *             are ordered by what they do, not by sharing it, so a race shows at any number of
 *             threads. Memory that the runtime reuses for another goroutine is handed over
 *             explicitly.
 *             What is written while nobody can look, at start, at stop and in a new block, is
 *             written between quiet_begin and quiet_end: no order is made up for it.
 */
#if GOR__TSAN
#ifdef __cplusplus
extern "C" {
#endif
void *__tsan_create_fiber(unsigned flags);
void *__tsan_get_current_fiber(void);
void __tsan_destroy_fiber(void *fiber);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
void __tsan_acquire(void *p);
void __tsan_release(void *p);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
#ifdef __cplusplus
}
#endif
#define GOR__STACK_QUARANTINE 24       /* stacks that rest before the next goroutine gets one */
GOR__INLINE void *gor__san_fiber(void) { return __tsan_create_fiber(0); }
GOR__INLINE void *gor__san_this_fiber(void) { return __tsan_get_current_fiber(); }
GOR__INLINE void gor__san_fiber_free(void *fiber) { __tsan_destroy_fiber(fiber); }
GOR__INLINE void gor__san_hand_over(void *p) { __tsan_release(p); }
GOR__INLINE void gor__san_take_over(void *p) { __tsan_acquire(p); }
GOR__INLINE void gor__san_quiet_begin(void) { AnnotateIgnoreWritesBegin(__FILE__, __LINE__); }
GOR__INLINE void gor__san_quiet_end(void) { AnnotateIgnoreWritesEnd(__FILE__, __LINE__); }
#define GOR__SAN_SWITCH_FIBER(fiber) __tsan_switch_to_fiber((fiber), 1)
#else
#define GOR__STACK_QUARANTINE 0
GOR__INLINE void *gor__san_fiber(void) { return NULL; }
GOR__INLINE void *gor__san_this_fiber(void) { return NULL; }
GOR__INLINE void gor__san_fiber_free(void *fiber) { (void)fiber; }
GOR__INLINE void gor__san_hand_over(void *p) { (void)p; }
GOR__INLINE void gor__san_take_over(void *p) { (void)p; }
GOR__INLINE void gor__san_quiet_begin(void) {}
GOR__INLINE void gor__san_quiet_end(void) {}
#define GOR__SAN_SWITCH_FIBER(fiber) (void)(fiber)
#endif

#if GOR__ASAN
#ifdef __cplusplus
extern "C" {
#endif
void __sanitizer_start_switch_fiber(void **fake, const void *bottom, size_t size);
void __sanitizer_finish_switch_fiber(void *fake, const void **old_bottom, size_t *old_size);
void __asan_unpoison_memory_region(const volatile void *p, size_t size);
void __lsan_register_root_region(const void *p, size_t size);
void __lsan_unregister_root_region(const void *p, size_t size);
#ifdef __cplusplus
}
#endif
GOR__INLINE void gor__san_leave_stack(void **fake, const void *bottom, size_t size)
{
    __sanitizer_start_switch_fiber(fake, bottom, size);
}
GOR__INLINE void gor__san_enter_stack(void *fake, const void **old, size_t *old_size)
{
    __sanitizer_finish_switch_fiber(fake, old, old_size);
}
GOR__INLINE void gor__san_clean(void *p, size_t size) { __asan_unpoison_memory_region(p, size); }
GOR__INLINE void gor__san_root(void *p, size_t size) { __lsan_register_root_region(p, size); }
GOR__INLINE void gor__san_unroot(void *p, size_t size) { __lsan_unregister_root_region(p, size); }
#else
GOR__INLINE void gor__san_leave_stack(void **fake, const void *bottom, size_t size)
{
    (void)fake, (void)bottom, (void)size;
}
GOR__INLINE void gor__san_enter_stack(void *fake, const void **old, size_t *old_size)
{
    (void)fake, (void)old, (void)old_size;
}
GOR__INLINE void gor__san_clean(void *p, size_t size) { (void)p, (void)size; }
GOR__INLINE void gor__san_root(void *p, size_t size) { (void)p, (void)size; }
GOR__INLINE void gor__san_unroot(void *p, size_t size) { (void)p, (void)size; }
#endif

/* ==== [arch] the contract of a processor architecture ==========================================
 * gor__arch_self()            the word of this OS thread, set by gor__arch_set_self(); NULL before.
 * gor__arch_near()            its third word: the same, but &gor__nobody for NULL, an M that needs
 *                             attention: so one look there tells both. [fast] reads it, too
 * gor__arch_call_begin()      1 into this thread's second word: it is in a gor call
 * gor__arch_call_end()        0 into it, after all that was stored before (release)
 * gor__arch_call_mark(mark)   this into it, in a call; after all that was stored before, and before
 *                             whatever comes next in the program is compiled to come
 * gor__arch_in_call()         where that word is
 * gor__arch_switch(from, to)  save the callee-saved state on the stack, *from = its stack pointer,
 *                             go on at stack pointer `to`. Returns when someone switches back.
 * gor__arch_control_save(c)   the floating-point control words into *c. That is slow on x86-64, but
 *                             only for those who read *c soon: so it is done long before
 * gor__arch_control_change(from, to)  load them, if they differ from what is in force
 * gor__arch_wait(a..e, fn)    fn(a..e, back), back being where the caller goes on; returns its rc.
 *                             A CPU predicts that a return goes to the last call. That is wrong
 *                             after a switch, if the goroutine that was left had called from
 *                             elsewhere: then fn says so by `jump`, and the way back is a jump,
 *                             which is predicted by what came before it.
 * gor__arch_go(to)            go on at stack pointer `to`, and leave this stack for good
 * gor__arch_make(top, fn)     a first frame below top (aligned to 16), that runs fn, and then goes
 *                             on at the stack pointer that fn returns; it has no caller
 * GOR__ARCH_NEXT              what who goes on at a saved stack pointer reads besides that line
 *                             begins so many bytes above it
 * gor__arch_frame(sp, &pc)    the frame pointer and program counter saved at sp
 * gor__arch_fence()           a full fence; ThreadSanitizer does not see it, our loads do the rest
 * gor__arch_pause()           inside a spin loop
 * gor__arch_ticks()           a cheap counter; GOR__ARCH_TICKS of it, no constant, are 1 to 20 us
 * gor__arch_ticks_steady()    does it run at one rate, on all CPUs, in fine steps?
 * gor__arch_syscall(nr, a..f) a raw system call of Linux: its result, or a negative errno. errno is
 *                             left alone, and it is no cancellation point
 * gor__arch_shadow_stack()    is a hardware shadow stack in force?
 * gor__arch_pc, _stack_at     of a signal's context: where it interrupted, and the lowest address
 *                             of the stack that the interrupted code may be using
 * gor__arch_context_size      bytes that a copy of the context takes on a stack
 * gor__arch_context_move      copy the context to a stack, below top; the original goes on at
 *                             fn(copy), with clean floating-point state, when the handler returns
 * gor__arch_context_resume    end the call, go on where the copy was interrupted, every register as
 *                             it was; gor__arch_context_resumed is where its code ends
 *
 * The thread's words are declared and used in assembly only. The compiler never learns that they
 * are thread-local, so it cannot keep their address across a switch to another thread, whatever it
 * inlines: with `__thread` gcc and clang both do that at -O2. Initial-exec, so it works in
 * executables and in shared libraries; `volatile` keeps two reads two.
 *
 * A goroutine may be interrupted, and go on on another thread, between any two instructions of the
 * user's code, inlined calls included ([preempt]). So a call begins by marking its thread, which
 * ends that, and only then asks which M it is. On x86-64 the mark is one instruction, relative to
 * the thread. On ARM64 it is an exclusive store, which fails if there was an interruption since the
 * thread was looked at.
 *
 * A function the compiler emits for branch protection (-fcf-protection, -mbranch-protection) makes
 * it mark the object file; the assembly here begins with endbr64 / bti, so that the mark stays
 * true.
 */
typedef struct gor__answer { int64_t rc, jump; } gor__answer;
typedef gor__answer gor__arch_waiter(void *a, void *b, void *c, uint64_t d, int64_t e,
                                     void *back);

/* ==== [x86_64] System V ABI =============================================================== */
#if defined(__x86_64__)

#define GOR__ARCH_TICKS 16384
#define GOR__ARCH_NEXT  (16 + GOR__X86_RED_ZONE)     /* above the frame and the red zone      */

__asm__(
    ".pushsection .rodata\n"
    ".globl gor__nobody\n.hidden gor__nobody\n.type gor__nobody,@object\n"
    ".p2align 3\n.size gor__nobody,24\ngor__nobody:\n"
    ".quad 0\n.long 1,0xfffff000\n.quad 0\n"
    ".popsection\n.pushsection .tdata,\"awT\",@progbits\n"
    ".globl gor__tls_word\n.hidden gor__tls_word\n.type gor__tls_word,@tls_object\n"
    ".p2align 4\n.size gor__tls_word,24\ngor__tls_word:\n.zero 16\n.quad gor__nobody\n"
    ".popsection\n");

GOR__INLINE void *gor__arch_self(void)
{
    void *p;
    __asm__ volatile(GOR__X86_FIND("%0") "movq " GOR__X86_WORD("%0", 0) ",%0" : "=r"(p));
    return p;
}

GOR__INLINE void *gor__arch_near(void)
{
    void *p;
    __asm__ volatile(GOR__X86_FIND("%0") "movq " GOR__X86_WORD("%0", 16) ",%0" : "=r"(p));
    return p;
}

GOR__INLINE void gor__arch_set_self(void *word)
{
    void *p;
    const void *near = word ? word : &gor__nobody;
    __asm__ volatile(GOR__X86_FIND("%0") "movq %1," GOR__X86_WORD("%0", 0) "\n\t"
                     "movq %2," GOR__X86_WORD("%0", 16)
                     : "=&r"(p) : "r"(word), "r"(near) : "memory");
}

GOR__INLINE gor__au32 *gor__arch_in_call(void)
{
    char *p;
    __asm__ volatile("movq gor__tls_word@gottpoff(%%rip),%0\n\taddq %%fs:0,%0" : "=r"(p) : : "cc");
    return (gor__au32 *)(void *)(p + 8);
}

GOR__INLINE void gor__arch_call_mark(uint32_t mark)
{
    uintptr_t at;
    __asm__ volatile(GOR__X86_FIND("%0") "movl %1," GOR__X86_WORD("%0", 8)
                     : "=&r"(at) : "ri"(mark) : "memory");
}

GOR__INLINE void gor__arch_call_begin(void) { gor__arch_call_mark(1); }
GOR__INLINE void gor__arch_call_end(void) { gor__arch_call_mark(0); }

typedef struct gor__arch_control { uint32_t mxcsr; uint16_t x87; } gor__arch_control;

/* Of mxcsr only the control bits belong to the callee. */
#define GOR__X86_MXCSR_CONTROL 0xffffffc0u
static const gor__arch_control gor__arch_control_default = { 0x1f80, 0x037f };

GOR__INLINE void gor__arch_control_save(gor__arch_control *c)
{
    __asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(c->mxcsr), "=m"(c->x87));
}

GOR__INLINE void gor__arch_control_change(const gor__arch_control *from,
                                          const gor__arch_control *to)
{
    uint32_t mxcsr = (from->mxcsr ^ to->mxcsr) & GOR__X86_MXCSR_CONTROL;
    if (GOR__UNLIKELY(mxcsr || from->x87 != to->x87))
        __asm__ volatile("ldmxcsr %0\n\tfldcw %1" : : "m"(to->mxcsr), "m"(to->x87));
}

/* A frame, from the saved stack pointer up: rbp, rip. */
GOR_API void gor__arch_entry(void) __attribute__((visibility("hidden")));
GOR_API void gor__arch_go(void *to) __attribute__((visibility("hidden"), noreturn));
__asm__(
    ".pushsection .text\n.p2align 5\n"
    ".globl gor__arch_switch_asm\n.hidden gor__arch_switch_asm\n"
    ".type gor__arch_switch_asm,@function\n"
    "gor__arch_switch_asm:\n.cfi_startproc\n"
    "    endbr64\n"
    "    pushq %rbp\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset %rbp,0\n"
    "    movq %rsp,(%rdi)\n"
    ".Lgor__go_on:\n"
    "    movq %rsi,%rsp\n"                  /* from here on the other goroutine's frame */
    "    popq %rbp\n.cfi_adjust_cfa_offset -8\n.cfi_restore %rbp\n"
    "    leaq gor__arch_entry(%rip),%rax\n"
    "    cmpq %rax,(%rsp)\n"
    "    je .Lgor__entry_jump\n"
    "    ret\n"
    ".cfi_endproc\n.size gor__arch_switch_asm,.-gor__arch_switch_asm\n"
    ".globl gor__arch_go\n.hidden gor__arch_go\n.type gor__arch_go,@function\n"
    "gor__arch_go:\n.cfi_startproc\n.cfi_undefined %rip\n"
    "    endbr64\n"
    "    movq %rdi,%rsi\n"
    "    jmp .Lgor__go_on\n"
    /* The outermost frame of a goroutine: its fn is on the stack; an undefined return address ends
     * unwinding. It is jumped to, and left by a return: so each call has its return, and when it
     * ends the CPU predicts the way back of who was there before it. */
    ".Lgor__entry_jump:\n"
    "    addq $8,%rsp\n"
    ".globl gor__arch_entry\n.hidden gor__arch_entry\n"
    "gor__arch_entry:\n"
    "    xorl %ebp,%ebp\n"
    "    popq %rax\n"
    "    call *%rax\n"
    "    movq %rax,%rsi\n"
    "    jmp .Lgor__go_on\n"
    ".cfi_endproc\n.size gor__arch_go,.-gor__arch_go\n"
    ".popsection\n");

/* fn's answer comes in rax and rdx. */
GOR_API int gor__arch_wait(void *a, void *b, void *c, uint64_t d, int64_t e, gor__arch_waiter *fn)
    __attribute__((visibility("hidden")));
__asm__(
    ".pushsection .text\n.p2align 5\n"
    ".globl gor__arch_wait\n.hidden gor__arch_wait\n.type gor__arch_wait,@function\n"
    "gor__arch_wait:\n.cfi_startproc\n"
    "    endbr64\n"
    "    movq %r9,%rax\n"
    "    movq (%rsp),%r9\n"
    "    pushq %rbp\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset %rbp,0\n"
    "    movq %rsp,%rbp\n"                  /* a frame, for reports */
    "    call *%rax\n"
    "    popq %rbp\n.cfi_adjust_cfa_offset -8\n.cfi_restore %rbp\n"
    "    testl %edx,%edx\n"
    "    jne 1f\n"
    "    ret\n"
    "1:  popq %rcx\n.cfi_adjust_cfa_offset -8\n.cfi_register %rip,%rcx\n"
    "    notrack jmp *%rcx\n"
    ".cfi_endproc\n.size gor__arch_wait,.-gor__arch_wait\n"
    ".popsection\n");

#define GOR__X86_FRAME_RBP   0
#define GOR__X86_FRAME_RIP   1
#define GOR__X86_FRAME_FN    2         /* popped by the entry */
#define GOR__X86_FRAME_WORDS 3

/* The call tells the compiler that the registers are lost, so it keeps what is live where it wants;
 * the function saves the rest: rbp and the stack pointer. The caller
 * may use the red zone below its stack pointer: step over it. Mask registers and xmm16 up cannot be
 * named in every compilation: functions that switch are GOR__SWITCHES, so that no caller expects
 * them to survive. */
GOR__INLINE void gor__arch_switch(void **from, void *to)
{
    __asm__ volatile("leaq -128(%%rsp),%%rsp\n\t"
                     "call gor__arch_switch_asm\n\t"
                     "subq $-128,%%rsp"
                     : "+D"(from), "+S"(to)
                     :
                     : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
                       "r15", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",
                       "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
                       "xmm15");
}

GOR__NO_TSAN static void *gor__arch_make(char *top, void *(*fn)(void))
{
    volatile uint64_t *frame = (uint64_t *)(void *)top - GOR__X86_FRAME_WORDS;
    for (int i = 0; i < GOR__X86_FRAME_WORDS; i++)
        frame[i] = 0;
    frame[GOR__X86_FRAME_FN] = (uint64_t)(uintptr_t)fn;
    frame[GOR__X86_FRAME_RIP] = (uint64_t)(uintptr_t)gor__arch_entry;
    return (void *)(uintptr_t)frame;
}

static uintptr_t gor__arch_frame(void *sp, uintptr_t *pc)
{
    const uint64_t *frame = (const uint64_t *)sp;
    *pc = frame[GOR__X86_FRAME_RIP];
    return frame[GOR__X86_FRAME_RBP];
}

/* The same of the code that a signal has interrupted; returns its frame pointer. Places in gregs:
 * the kernel's, named in libc for _GNU_SOURCE only. */
enum { GOR__X86_GREG_RBP = 10, GOR__X86_GREG_RSP = 15, GOR__X86_GREG_RIP = 16 };
static uintptr_t gor__arch_interrupted(void *context, uintptr_t *pc, uintptr_t *sp)
{
    const ucontext_t *u = (const ucontext_t *)context;
    *pc = (uintptr_t)u->uc_mcontext.gregs[GOR__X86_GREG_RIP];
    *sp = (uintptr_t)u->uc_mcontext.gregs[GOR__X86_GREG_RSP];
    return (uintptr_t)u->uc_mcontext.gregs[GOR__X86_GREG_RBP];
}

GOR__INLINE void gor__arch_pause(void) { __asm__ volatile("pause"); }

GOR__INLINE void gor__arch_fence(void)
{
    __asm__ volatile("lock; orl $0,-4(%%rsp)" ::: "memory", "cc");
}

GOR__INLINE uint64_t gor__arch_ticks(void)
{
    uint32_t lo, hi;
    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return ((uint64_t)hi << 32) | lo;
}

GOR__INLINE long gor__arch_syscall(long nr, long a, long b, long c, long d, long e, long f)
{
    long rc;
    __asm__ volatile("movq %5,%%r10\n\tmovq %6,%%r8\n\tmovq %7,%%r9\n\tsyscall"
                     : "=a"(rc)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "ri"(d), "ri"(e), "ri"(f)
                     : "rcx", "r8", "r9", "r10", "r11", "memory", "cc");
    return rc;
}

/* What the manuals call "invariant TSC": leaf 0x80000007, edx bit 8. */
static bool gor__arch_ticks_steady(void)
{
    uint32_t a = 0x80000000u, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    if (a < 0x80000007u)
        return false;
    a = 0x80000007u;
    c = 0;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return (d >> 8 & 1) != 0;
}

/* rdsspq is a no-op that leaves its operand alone where there is no shadow stack. */
static bool gor__arch_shadow_stack(void)
{
    uint64_t ssp = 0;
    __asm__ volatile(".byte 0xf3,0x48,0x0f,0x1e,0xc8" : "+a"(ssp));
    return ssp != 0;
}

/* -- a signal's context ------------------------------------------------------------------------
 * The kernel's frame is a return address, the context, and somewhere above it the extended
 * state, to which the context points. rt_sigreturn takes any copy of it: so every register comes
 * back that the kernel knows of, whatever the CPU has. */
#define GOR__X86_RED_ZONE     128
#define GOR__X86_XSTATE_MAGIC 0x46505853u
#define GOR__X86_FXSAVE_SIZE  512
#define GOR__X86_DIRECTION    0x400
#define GOR__X86_ALIGNMENT    0x40000
enum { GOR__X86_RDI = 8, GOR__X86_RBP = 10, GOR__X86_RSP = 15, GOR__X86_RIP, GOR__X86_FLAGS };

typedef struct gor__x86_context {      /* the kernel's; libc's is larger, with other names     */
    uint64_t flags;
    void    *link;
    stack_t  stack;
    uint64_t reg[23];
    char    *fp;
    uint64_t reserved[8], mask;
} gor__x86_context;
GOR__STATIC_ASSERT(sizeof(gor__x86_context) == 304, "the kernel's struct ucontext");

GOR_API void gor__arch_context_resume(void *copy) __attribute__((visibility("hidden"), noreturn));
GOR_API const char gor__arch_context_resumed[] __attribute__((visibility("hidden")));
__asm__(
    ".pushsection .text\n.p2align 4\n"
    ".globl gor__arch_context_resume\n.hidden gor__arch_context_resume\n"
    ".type gor__arch_context_resume,@function\n"
    "gor__arch_context_resume:\n.cfi_startproc\n"
    "    endbr64\n"
    "    movq gor__tls_word@gottpoff(%rip),%rax\n"
    "    movl $0,%fs:8(%rax)\n"
    "    movq %rdi,%rsp\n"
    "    movl $15,%eax\n"                  /* rt_sigreturn */
    "    syscall\n"
    "    ud2\n"
    ".globl gor__arch_context_resumed\n.hidden gor__arch_context_resumed\n"
    "gor__arch_context_resumed:\n"
    ".cfi_endproc\n.size gor__arch_context_resume,.-gor__arch_context_resume\n"
    ".popsection\n");

static uintptr_t gor__arch_pc(const void *context)
{
    return (uintptr_t)((const gor__x86_context *)context)->reg[GOR__X86_RIP];
}

static uintptr_t gor__arch_stack_at(const void *context)
{
    return (uintptr_t)((const gor__x86_context *)context)->reg[GOR__X86_RSP] - GOR__X86_RED_ZONE;
}

static size_t gor__arch_xstate_size(const void *context)
{
    const char *fp = ((const gor__x86_context *)context)->fp;
    uint32_t words[2];
    memcpy(words, fp + 464, sizeof words);         /* fx_sw_reserved: magic, size */
    return words[0] == GOR__X86_XSTATE_MAGIC ? words[1] : GOR__X86_FXSAVE_SIZE;
}

static size_t gor__arch_context_size(const void *context)
{
    return gor__arch_xstate_size(context) + 64 + sizeof(gor__x86_context) + 64;
}

/* All registers of the extended state as they are at the start of a program; but for the protection
 * keys, which are not a function's to lose. */
static void gor__arch_clean_state(char *fp)
{
    uint32_t magic, mxcsr = 0x1f80;
    uint16_t control = 0x37f, none = 0;
    uint64_t used;
    memcpy(&magic, fp + 464, sizeof magic);
    memcpy(fp, &control, sizeof control);
    memcpy(fp + 2, &none, sizeof none);            /* status */
    memcpy(fp + 4, &none, sizeof none);            /* tags: the x87 stack is empty */
    memcpy(fp + 24, &mxcsr, sizeof mxcsr);
    if (magic != GOR__X86_XSTATE_MAGIC)
        return;
    memcpy(&used, fp + GOR__X86_FXSAVE_SIZE, sizeof used);
    used &= 1u << 9;
    memcpy(fp + GOR__X86_FXSAVE_SIZE, &used, sizeof used);
}

static void *gor__arch_context_move(void *context, uintptr_t top, void (*fn)(void *))
{
    gor__x86_context *c = (gor__x86_context *)context, *copy;
    size_t size = gor__arch_xstate_size(context);
    char *fp = (char *)((top - size) & ~(uintptr_t)63);
    copy = (gor__x86_context *)(((uintptr_t)fp - sizeof *copy) & ~(uintptr_t)15);
    memcpy(fp, c->fp, size);
    *copy = *c;
    copy->fp = fp;
    gor__arch_clean_state(c->fp);
    c->reg[GOR__X86_RIP] = (uint64_t)(uintptr_t)fn;
    c->reg[GOR__X86_RDI] = (uint64_t)(uintptr_t)copy;
    c->reg[GOR__X86_RSP] = (uint64_t)(uintptr_t)copy - 24;     /* as after a call */
    c->reg[GOR__X86_RBP] = 0;
    c->reg[GOR__X86_FLAGS] &= ~(uint64_t)(GOR__X86_DIRECTION | GOR__X86_ALIGNMENT);
    return copy;
}

#endif /* x86_64 */

/* ==== [aarch64] AAPCS64 =================================================================== */
#if defined(__aarch64__)

#define GOR__ARCH_TICKS (gor__arch_ticks_hz() / 131072 + 64)   /* 8 us or so */
#define GOR__ARCH_NEXT  64             /* the rest of the frame                                */

__asm__(
    ".pushsection .rodata\n"
    ".globl gor__nobody\n.hidden gor__nobody\n.type gor__nobody,%object\n"
    ".p2align 3\n.size gor__nobody,24\ngor__nobody:\n"
    ".quad 0\n.long 1,0xfffff000\n.quad 0\n"
    ".popsection\n.pushsection .tdata,\"awT\",%progbits\n"
    ".globl gor__tls_word\n.hidden gor__tls_word\n.type gor__tls_word,%object\n"
    ".p2align 4\n.size gor__tls_word,24\ngor__tls_word:\n.zero 16\n.quad gor__nobody\n"
    ".popsection\n");

GOR__INLINE void *gor__arch_self(void)
{
    void *p, *q;
    __asm__ volatile("mrs %0,tpidr_el0\n\tadrp %1,:gottprel:gor__tls_word\n\t"
                     "ldr %1,[%1,#:gottprel_lo12:gor__tls_word]\n\tldr %0,[%0,%1]"
                     : "=&r"(p), "=&r"(q));
    return p;
}

GOR__INLINE void *gor__arch_near(void)
{
    void *p, *q;
    __asm__ volatile("mrs %0,tpidr_el0\n\tadrp %1,:gottprel:gor__tls_word\n\t"
                     "ldr %1,[%1,#:gottprel_lo12:gor__tls_word]\n\tadd %0,%0,%1\n\t"
                     "ldr %0,[%0,#16]"
                     : "=&r"(p), "=&r"(q));
    return p;
}

GOR__INLINE void gor__arch_set_self(void *word)
{
    void *p, *q;
    const void *near = word ? word : &gor__nobody;
    __asm__ volatile("mrs %0,tpidr_el0\n\tadrp %1,:gottprel:gor__tls_word\n\t"
                     "ldr %1,[%1,#:gottprel_lo12:gor__tls_word]\n\tadd %0,%0,%1\n\t"
                     "str %2,[%0]\n\tstr %3,[%0,#16]"
                     : "=&r"(p), "=&r"(q) : "r"(word), "r"(near) : "memory");
}

GOR__INLINE gor__au32 *gor__arch_in_call(void)
{
    char *p, *q;
    __asm__ volatile("mrs %0,tpidr_el0\n\tadrp %1,:gottprel:gor__tls_word\n\t"
                     "ldr %1,[%1,#:gottprel_lo12:gor__tls_word]\n\tadd %0,%0,%1"
                     : "=&r"(p), "=&r"(q));
    return (gor__au32 *)(void *)(p + 8);
}

/* The exclusive store fails if there was an interruption since the exclusive load; so it hits the
 * thread that the check between them has found to be still ours. */
GOR__INLINE void gor__arch_call_begin(void)
{
    uintptr_t thread, at, check;
    __asm__ volatile("1: mrs %0,tpidr_el0\n\tadrp %1,:gottprel:gor__tls_word\n\t"
                     "ldr %1,[%1,#:gottprel_lo12:gor__tls_word]\n\tadd %1,%0,%1\n\t"
                     "add %1,%1,#8\n\tldxr %w2,[%1]\n\tmrs %2,tpidr_el0\n\tcmp %0,%2\n\t"
                     "b.ne 1b\n\tmov %w2,#1\n\tstxr %w0,%w2,[%1]\n\tcbnz %w0,1b"
                     : "=&r"(thread), "=&r"(at), "=&r"(check) : : "memory", "cc");
}

GOR__INLINE void gor__arch_call_end(void)
{
    uintptr_t thread, at;
    __asm__ volatile("mrs %0,tpidr_el0\n\tadrp %1,:gottprel:gor__tls_word\n\t"
                     "ldr %1,[%1,#:gottprel_lo12:gor__tls_word]\n\tadd %1,%0,%1\n\t"
                     "add %1,%1,#8\n\tstlr wzr,[%1]"
                     : "=&r"(thread), "=&r"(at) : : "memory");
}

GOR__INLINE void gor__arch_call_mark(uint32_t mark)
{
    gor__au32_store_rel(gor__arch_in_call(), mark);
    GOR__COMPILER_BARRIER();                       /* [window] W1: what comes next stays there */
}

typedef struct gor__arch_control { uint64_t fpcr; } gor__arch_control;

static const gor__arch_control gor__arch_control_default = { 0 };

GOR__INLINE void gor__arch_control_save(gor__arch_control *c)
{
    uint64_t fpcr;
    __asm__ volatile("mrs %0,fpcr" : "=r"(fpcr));
    c->fpcr = fpcr;
}

GOR__INLINE void gor__arch_control_change(const gor__arch_control *from,
                                          const gor__arch_control *to)
{
    if (GOR__UNLIKELY(from->fpcr != to->fpcr))
        __asm__ volatile("msr fpcr,%0" : : "r"(to->fpcr));
}

/* A frame, from the saved stack pointer up: x29 x30, x19..x28, d8..d15. */
GOR_API void gor__arch_switch(void **from, void *to) __attribute__((visibility("hidden")));
GOR_API void gor__arch_entry(void) __attribute__((visibility("hidden")));
GOR_API void gor__arch_go(void *to) __attribute__((visibility("hidden"), noreturn));
__asm__(
    ".pushsection .text\n.p2align 5\n"
    ".globl gor__arch_switch\n.hidden gor__arch_switch\n.type gor__arch_switch,%function\n"
    "gor__arch_switch:\n.cfi_startproc\n"
    "    hint #34\n"                        /* bti c */
    "    stp x29,x30,[sp,#-160]!\n.cfi_adjust_cfa_offset 160\n"
    ".cfi_rel_offset x29,0\n.cfi_rel_offset x30,8\n"
    "    stp x19,x20,[sp,#16]\n.cfi_rel_offset x19,16\n.cfi_rel_offset x20,24\n"
    "    stp x21,x22,[sp,#32]\n.cfi_rel_offset x21,32\n.cfi_rel_offset x22,40\n"
    "    stp x23,x24,[sp,#48]\n.cfi_rel_offset x23,48\n.cfi_rel_offset x24,56\n"
    "    stp x25,x26,[sp,#64]\n.cfi_rel_offset x25,64\n.cfi_rel_offset x26,72\n"
    "    stp x27,x28,[sp,#80]\n.cfi_rel_offset x27,80\n.cfi_rel_offset x28,88\n"
    "    stp d8,d9,[sp,#96]\n"
    "    stp d10,d11,[sp,#112]\n"
    "    stp d12,d13,[sp,#128]\n"
    "    stp d14,d15,[sp,#144]\n"
    "    mov x3,sp\n"
    "    str x3,[x0]\n"
    ".Lgor__go_on:\n"
    "    mov sp,x1\n"                       /* from here on the other goroutine's frame */
    "    ldp d14,d15,[sp,#144]\n"
    "    ldp d12,d13,[sp,#128]\n"
    "    ldp d10,d11,[sp,#112]\n"
    "    ldp d8,d9,[sp,#96]\n"
    "    ldp x27,x28,[sp,#80]\n"
    "    ldp x25,x26,[sp,#64]\n"
    "    ldp x23,x24,[sp,#48]\n"
    "    ldp x21,x22,[sp,#32]\n"
    "    ldp x19,x20,[sp,#16]\n"
    "    ldp x29,x30,[sp],#160\n.cfi_adjust_cfa_offset -160\n"
    ".cfi_restore x29\n.cfi_restore x30\n"
    "    ret\n"
    ".cfi_endproc\n.size gor__arch_switch,.-gor__arch_switch\n"
    /* The outermost frame of a goroutine: fn is in x19; an undefined return address ends
     * unwinding. */
    ".p2align 4\n.globl gor__arch_entry\n.hidden gor__arch_entry\n"
    ".type gor__arch_entry,%function\n"
    "gor__arch_entry:\n.cfi_startproc\n.cfi_undefined x30\n"
    "    hint #36\n"                        /* bti j */
    "    mov x29,#0\n"
    "    mov x30,#0\n"
    "    blr x19\n"
    "    mov x1,x0\n"
    "    b .Lgor__go_on\n"
    ".cfi_endproc\n.size gor__arch_entry,.-gor__arch_entry\n"
    ".globl gor__arch_go\n.hidden gor__arch_go\n.type gor__arch_go,%function\n"
    "gor__arch_go:\n.cfi_startproc\n.cfi_undefined x30\n"
    "    hint #34\n"                        /* bti c */
    "    mov x1,x0\n"
    "    b .Lgor__go_on\n"
    ".cfi_endproc\n.size gor__arch_go,.-gor__arch_go\n"
    ".popsection\n");

/* A branch to where there is no landing pad is a fault under BTI, so it is a return always. */
GOR__INLINE int gor__arch_wait(void *a, void *b, void *c, uint64_t d, int64_t e,
                               gor__arch_waiter *fn)
{
    return (int)fn(a, b, c, d, e, NULL).rc;
}

#define GOR__ARM64_FRAME_X29   0
#define GOR__ARM64_FRAME_X30   1
#define GOR__ARM64_FRAME_X19   2
#define GOR__ARM64_FRAME_WORDS 20

GOR__NO_TSAN static void *gor__arch_make(char *top, void *(*fn)(void))
{
    volatile uint64_t *frame = (uint64_t *)(void *)top - GOR__ARM64_FRAME_WORDS;
    for (int i = 0; i < GOR__ARM64_FRAME_WORDS; i++)
        frame[i] = 0;
    frame[GOR__ARM64_FRAME_X19] = (uint64_t)(uintptr_t)fn;
    frame[GOR__ARM64_FRAME_X30] = (uint64_t)(uintptr_t)gor__arch_entry;
    return (void *)(uintptr_t)frame;
}

static uintptr_t gor__arch_frame(void *sp, uintptr_t *pc)
{
    const uint64_t *frame = (const uint64_t *)sp;
    *pc = frame[GOR__ARM64_FRAME_X30];
    return frame[GOR__ARM64_FRAME_X29];
}

/* The same of the code that a signal has interrupted; returns its frame pointer. */
static uintptr_t gor__arch_interrupted(void *context, uintptr_t *pc, uintptr_t *sp)
{
    const ucontext_t *u = (const ucontext_t *)context;
    *pc = (uintptr_t)u->uc_mcontext.pc;
    *sp = (uintptr_t)u->uc_mcontext.sp;
    return (uintptr_t)u->uc_mcontext.regs[29];
}

GOR__INLINE void gor__arch_pause(void) { __asm__ volatile("yield"); }

GOR__INLINE void gor__arch_fence(void) { __asm__ volatile("dmb ish" ::: "memory"); }

GOR__INLINE uint64_t gor__arch_ticks(void)
{
    uint64_t t;
    __asm__ volatile("mrs %0,cntvct_el0" : "=r"(t));
    return t;
}

/* Some 20 MHz to 1 GHz. */
GOR__INLINE uint64_t gor__arch_ticks_hz(void)
{
    uint64_t hz;
    __asm__("mrs %0,cntfrq_el0" : "=r"(hz));
    return hz;
}

/* In assembly, so that it is a call to the compiler: a system call clears what SVE has beyond the
 * registers of a call, which an asm statement would be taken to keep. */
GOR_API long gor__arch_syscall(long nr, long a, long b, long c, long d, long e, long f)
    __attribute__((visibility("hidden")));
__asm__(
    ".pushsection .text\n.p2align 4\n"
    ".globl gor__arch_syscall\n.hidden gor__arch_syscall\n.type gor__arch_syscall,%function\n"
    "gor__arch_syscall:\n.cfi_startproc\n"
    "    hint #34\n"                        /* bti c */
    "    mov x8,x0\n"
    "    mov x0,x1\n"
    "    mov x1,x2\n"
    "    mov x2,x3\n"
    "    mov x3,x4\n"
    "    mov x4,x5\n"
    "    mov x5,x6\n"
    "    svc #0\n"
    "    ret\n"
    ".cfi_endproc\n.size gor__arch_syscall,.-gor__arch_syscall\n"
    ".popsection\n");

/* Is it as fine as the clock that it stands in for? An emulator's may go by whole microseconds, and
 * the clock is ahead of it within one. The finest step of a few may be a fifth of that. */
static bool gor__arch_ticks_steady(void)
{
    uint64_t finest = UINT64_MAX, last = gor__arch_ticks();
    for (int steps = 0, reads = 0; steps < 8 && reads < 10000; reads++) {
        uint64_t now = gor__arch_ticks();
        if (now == last)
            continue;
        finest = now - last < finest ? now - last : finest;
        last = now;
        steps++;
    }
    return finest <= gor__arch_ticks_hz() / 5000000;
}

/* chkfeat, a no-op where there is none: it clears the bits of the features that are in force. */
static bool gor__arch_shadow_stack(void)
{
    uint64_t off;
    __asm__ volatile("mov x16,#1\n\thint #40\n\tmov %0,x16" : "=r"(off) : : "x16");
    return off == 0;
}

/* -- a signal's context ------------------------------------------------------------------------
 * The kernel's frame is a siginfo, the context with records of floating-point state, and, if those
 * are large (SVE), more of them behind it, to which a record points. rt_sigreturn takes any
 * copy. */
#define GOR__ARM64_INFO_SIZE    128
#define GOR__ARM64_CONTEXT_SIZE (464 + 4096)
#define GOR__ARM64_RECORDS      464
#define GOR__ARM64_FPSIMD       0x46508001u
#define GOR__ARM64_EXTRA        0x45585401u
#define GOR__ARM64_BTYPE        0xc00u

GOR_API void gor__arch_context_resume(void *copy) __attribute__((visibility("hidden"), noreturn));
GOR_API const char gor__arch_context_resumed[] __attribute__((visibility("hidden")));
__asm__(
    ".pushsection .text\n.p2align 4\n"
    ".globl gor__arch_context_resume\n.hidden gor__arch_context_resume\n"
    ".type gor__arch_context_resume,%function\n"
    "gor__arch_context_resume:\n.cfi_startproc\n"
    "    hint #34\n"
    "    mrs x1,tpidr_el0\n"
    "    adrp x2,:gottprel:gor__tls_word\n"
    "    ldr x2,[x2,#:gottprel_lo12:gor__tls_word]\n"
    "    add x1,x1,x2\n"
    "    add x1,x1,#8\n"
    "    stlr wzr,[x1]\n"
    "    sub sp,x0,#128\n"
    "    mov x8,#139\n"                    /* rt_sigreturn */
    "    svc #0\n"
    "    brk #1\n"
    ".globl gor__arch_context_resumed\n.hidden gor__arch_context_resumed\n"
    "gor__arch_context_resumed:\n"
    ".cfi_endproc\n.size gor__arch_context_resume,.-gor__arch_context_resume\n"
    ".popsection\n");

static uintptr_t gor__arch_pc(const void *context)
{
    return (uintptr_t)((const ucontext_t *)context)->uc_mcontext.pc;
}

static uintptr_t gor__arch_stack_at(const void *context)
{
    return (uintptr_t)((const ucontext_t *)context)->uc_mcontext.sp;
}

/* The record of that kind, or NULL. */
static char *gor__arch_record(const void *context, uint32_t kind)
{
    char *at = (char *)(uintptr_t)context + GOR__ARM64_RECORDS;
    for (uint32_t head[2];; at += head[1]) {
        memcpy(head, at, sizeof head);             /* magic, size */
        if (head[0] == kind)
            return at;
        if (head[0] == 0 || head[1] == 0)
            return NULL;
    }
}

/* Bytes behind the context. */
static size_t gor__arch_extra_size(const void *context)
{
    char *extra = gor__arch_record(context, GOR__ARM64_EXTRA);
    uint64_t at = 0;
    uint32_t size = 0;
    if (!extra)
        return 0;
    memcpy(&at, extra + 8, sizeof at);
    memcpy(&size, extra + 16, sizeof size);
    return (size_t)(at + size - ((uint64_t)(uintptr_t)context + GOR__ARM64_CONTEXT_SIZE));
}

static size_t gor__arch_context_size(const void *context)
{
    return GOR__ARM64_INFO_SIZE + GOR__ARM64_CONTEXT_SIZE + gor__arch_extra_size(context) + 32;
}

static void *gor__arch_context_move(void *context, uintptr_t top, void (*fn)(void *))
{
    ucontext_t *c = (ucontext_t *)context;
    size_t size = GOR__ARM64_CONTEXT_SIZE + gor__arch_extra_size(context);
    char *copy = (char *)((top - size) & ~(uintptr_t)15), *record;
    uint64_t at;
    memcpy(copy, context, size);
    record = gor__arch_record(copy, GOR__ARM64_EXTRA);
    if (record) {
        memcpy(&at, record + 8, sizeof at);
        at += (uint64_t)(uintptr_t)copy - (uint64_t)(uintptr_t)context;
        memcpy(record + 8, &at, sizeof at);
    }
    record = gor__arch_record(context, GOR__ARM64_FPSIMD);
    if (record)
        memset(record + 8, 0, 8);                  /* fpsr, fpcr */
    c->uc_mcontext.pc = (uint64_t)(uintptr_t)fn;
    c->uc_mcontext.regs[0] = (uint64_t)(uintptr_t)copy;
    c->uc_mcontext.regs[29] = c->uc_mcontext.regs[30] = 0;
    c->uc_mcontext.sp = (uint64_t)(uintptr_t)copy - GOR__ARM64_INFO_SIZE - 16;
    c->uc_mcontext.pstate &= ~(uint64_t)GOR__ARM64_BTYPE;
    return copy;
}

#endif /* aarch64 */

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

/* ==== [altstack] the stack that fault handlers run on ===================================== */
#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

/* The frame of all registers, as the kernel says, and our report. */
static size_t gor__alt_stack_size(void)
{
    int saved = gor__os_errno();                   /* set if there is no such entry */
    size_t size = (size_t)getauxval(AT_MINSIGSTKSZ) + 32768;
    gor__os_set_errno(saved);
    return size;
}

/* Memory for one, or NULL. */
static void *gor__os_alt_stack_new(void)
{
    void *p = mmap(NULL, gor__alt_stack_size(), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static void gor__os_alt_stack_free(void *p)
{
    if (p)
        munmap(p, gor__alt_stack_size());
}

static bool gor__os_alt_stack_there(void)
{
    stack_t now;
    return sigaltstack(NULL, &now) == 0 && !(now.ss_flags & SS_DISABLE);
}

/* Give the calling thread p, if it has no alternate stack. Returns p, or NULL: p was not needed. */
static void *gor__os_alt_stack_on(void *p)
{
    stack_t ours;
    if (!p || gor__os_alt_stack_there()) {
        gor__os_alt_stack_free(p);
        return NULL;
    }
    memset(&ours, 0, sizeof ours);
    ours.ss_sp = p;
    ours.ss_size = gor__alt_stack_size();
    sigaltstack(&ours, NULL);
    return p;
}

static void gor__os_alt_stack_off(void *p)
{
    stack_t off;
    if (!p)
        return;
    memset(&off, 0, sizeof off);
    off.ss_flags = SS_DISABLE;
    sigaltstack(&off, NULL);
    gor__os_alt_stack_free(p);
}

/* ==== [epoll] the kernel's list of what is ready, on Linux ====================================
 * What        One epoll instance and one eventfd that breaks a sleep in it. The contract, which
 *             [kqueue] fulfils too:
 *               open, close   make and unmake the instance
 *               set           watch fd for GOR_READ, GOR_WRITE or both, edge-triggered, under a
 *                             tag that its events will carry; what is ready already is an event
 *               forget        watch fd no longer
 *               wait          up to GOR__POLL_BATCH events, sleeping until deadline (0: not at
 *                             all); may end early
 *               event         the i-th of what wait has left in its list, decoded
 *               wake          end one sleep, now or the next; async-signal-safe
 *               calm          take back a wake: for the one who slept
 * Runs on     Any stack, any thread. Leaves errno alone.
 */
typedef struct gor__os_event {
    int      fd;                       /* -1: a wake                                           */
    uint32_t tag;
    unsigned what;                     /* GOR_READ, GOR_WRITE, GOR__HUNG                       */
} gor__os_event;

enum { GOR__HUNG = 4 };                /* the other end is closed, or urgent data: see [poll]  */

static bool gor__os_fd_open(int fd)
{
    int saved = gor__os_errno();
    bool is_open = fcntl(fd, F_GETFD) >= 0;
    gor__os_set_errno(saved);
    return is_open;
}

/* What of what fd is ready for; closed and broken is everything. 0: nothing; -EBADF. */
static int gor__os_fd_ready(int fd, int what)
{
    struct pollfd p;
    int saved = gor__os_errno(), n, found = 0;
    p.fd = fd;
    p.events = (short)((what & GOR_READ ? POLLIN : 0) | (what & GOR_WRITE ? POLLOUT : 0));
    p.revents = 0;
    do
        n = poll(&p, 1, 0);
    while (n < 0 && gor__os_errno() == EINTR);
    gor__os_set_errno(saved);
    if (p.revents & POLLNVAL)
        return -EBADF;
    if (p.revents & (POLLERR | POLLHUP))
        found = what;
    if (p.revents & POLLIN)
        found |= GOR_READ;
    if (p.revents & POLLOUT)
        found |= GOR_WRITE;
    return found & what;
}

#if !GOR__KQUEUE
#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

static struct { int epoll, event; gor__au32 coarse; } gor__os_poller = { -1, -1, { 0 } };

typedef struct gor__os_events { struct epoll_event at[GOR__POLL_BATCH]; } gor__os_events;

static int gor__os_poll_open(void)
{
    struct epoll_event e;
    int saved = gor__os_errno(), rc = 0;
    memset(&e, 0, sizeof e);
    e.events = EPOLLIN;                            /* level-triggered: it stays until calmed */
    e.data.u64 = UINT64_MAX;
    gor__os_poller.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (gor__os_poller.epoll >= 0)
        gor__os_poller.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (gor__os_poller.event < 0 ||
        epoll_ctl(gor__os_poller.epoll, EPOLL_CTL_ADD, gor__os_poller.event, &e) != 0)
        rc = -gor__os_errno();
    gor__os_set_errno(saved);
    return rc;
}

static void gor__os_poll_close(void)
{
    if (gor__os_poller.event >= 0)
        close(gor__os_poller.event);
    if (gor__os_poller.epoll >= 0)
        close(gor__os_poller.epoll);
    gor__os_poller.event = gor__os_poller.epoll = -1;
}

static int gor__os_poll_ctl(int op, int fd, struct epoll_event *e)
{
    int saved = gor__os_errno();
    return (int)gor__os_result(epoll_ctl(gor__os_poller.epoll, op, fd, e), saved);
}

/* known: it is probably watched already. 0; -EPERM cannot be watched; -EBADF, -ENOMEM, -ENOSPC. */
static int gor__os_poll_set(int fd, uint32_t tag, unsigned what, bool known)
{
    struct epoll_event e;
    int rc;
    memset(&e, 0, sizeof e);
    e.events = EPOLLET | (what & GOR_READ ? EPOLLIN | EPOLLRDHUP | EPOLLPRI : 0u) |
               (what & GOR_WRITE ? EPOLLOUT : 0u);
    e.data.u64 = (uint64_t)tag << 32 | (uint32_t)fd;
    rc = gor__os_poll_ctl(known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &e);
    if (rc == -ENOENT || rc == -EEXIST)
        rc = gor__os_poll_ctl(known ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &e);
    return rc;
}

static void gor__os_poll_forget(int fd)
{
    struct epoll_event e;
    memset(&e, 0, sizeof e);
    gor__os_poll_ctl(EPOLL_CTL_DEL, fd, &e);
}

/* ms < 0: no deadline. */
static int gor__os_epoll_ms(struct epoll_event *e, int max, int ms)
{
#if GOR__RAW_SYSCALLS && defined(SYS_epoll_wait)
    return (int)gor__arch_syscall(SYS_epoll_wait, gor__os_poller.epoll, (long)e, max, ms, 0, 0);
#elif GOR__RAW_SYSCALLS                        /* newer processors have no other */
    return (int)gor__arch_syscall(SYS_epoll_pwait, gor__os_poller.epoll, (long)e, max, ms, 0, 0);
#else
    int saved = gor__os_errno();
    return (int)gor__os_result(epoll_wait(gor__os_poller.epoll, e, max, ms), saved);
#endif
}

/* Who sleeps by a deadline is in no hurry: not raw. */
static int gor__os_epoll_ns(struct epoll_event *e, int max, int64_t ns)
{
    struct timespec t;
    int saved = gor__os_errno();
    t.tv_sec = (time_t)(ns / GOR_SEC);
    t.tv_nsec = (long)(ns % GOR_SEC);
    return (int)gor__os_result(syscall(SYS_epoll_pwait2, gor__os_poller.epoll, e, max, &t, NULL,
                                       (size_t)0), saved);
}

/* Sleep in ns, or, where the kernel cannot (Linux before 5.11), in whole ms. */
static int gor__os_epoll_wait(struct epoll_event *e, int max, int64_t deadline)
{
    int64_t left = deadline == GOR_FOREVER || deadline == 0 ? deadline : deadline - gor__os_now();
    if (left <= 0)
        return gor__os_epoll_ms(e, max, 0);
    if (left == GOR_FOREVER)
        return gor__os_epoll_ms(e, max, -1);
    if (gor__au32_load_rlx(&gor__os_poller.coarse) == 0) {
        int n = gor__os_epoll_ns(e, max, left);
        if (n >= 0 || n == -EINTR)
            return n;
        gor__au32_store_rlx(&gor__os_poller.coarse, 1);
    }
    left = (left + GOR_MS - 1) / GOR_MS;
    return gor__os_epoll_ms(e, max, left < INT_MAX ? (int)left : INT_MAX);
}

/* How many events; < 0: -errno, it will not work any more. */
static int gor__os_poll_wait(gor__os_events *list, int64_t deadline)
{
    int n = gor__os_epoll_wait(list->at, GOR__POLL_BATCH,
                               deadline == 0 ? 0 : gor__os_sleep_until(deadline));
    return n == -EINTR ? 0 : n;
}

GOR__INLINE gor__os_event gor__os_poll_event(const gor__os_events *list, int i)
{
    uint32_t bits = list->at[i].events;
    uint64_t data = list->at[i].data.u64;
    gor__os_event e = { (int)(uint32_t)data, (uint32_t)(data >> 32), 0 };
    if (bits & (EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLHUP | EPOLLERR))
        e.what |= GOR_READ;
    if (bits & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        e.what |= GOR_WRITE;
    if (bits & (EPOLLRDHUP | EPOLLPRI | EPOLLHUP | EPOLLERR))
        e.what |= GOR__HUNG;
    return e;
}

/* Also from signal handlers, on the alternate stack: there a local variable would have the same
 * place in each goroutine that the thread runs, which ThreadSanitizer takes for sharing. */
static void gor__os_poll_wake(void)
{
    static const uint64_t one = 1;
    gor__os_write(gor__os_poller.event, &one, sizeof one);     /* full: awake as it can be */
}

static void gor__os_poll_calm(void)
{
    uint64_t count;
    gor__os_read(gor__os_poller.event, &count, sizeof count);
}
#endif

/* ==== [kqueue] the kernel's list of what is ready, on macOS and the BSDs ======================
 * What        The contract of [epoll] by one kqueue: a filter for each direction with EV_CLEAR is
 *             edge-triggered, EVFILT_USER breaks a sleep. The rest of [os] has no such systems yet;
 *             -DGOR__KQUEUE=1 compiles this part wherever there is a <sys/event.h>. `make check`
 *             has one that plays kqueue on epoll (tests/kqueue), for tests/io.c and tests/net.c.
 * Runs on     Any stack, any thread. Leaves errno alone.
 */
#if GOR__KQUEUE
static struct { int kq; } gor__os_poller = { -1 };

typedef struct gor__os_events { struct kevent at[GOR__POLL_BATCH]; } gor__os_events;

static int gor__os_kevent(int fd, int filter, int flags, unsigned fflags, uint32_t tag)
{
    struct kevent k;
    int saved = gor__os_errno(), rc;
    EV_SET(&k, (uintptr_t)fd, (short)filter, (unsigned short)flags, fflags, 0,
           (void *)(uintptr_t)tag);
    rc = kevent(gor__os_poller.kq, &k, 1, NULL, 0, NULL) < 0 ? -gor__os_errno() : 0;
    gor__os_set_errno(saved);
    return rc;
}

static int gor__os_poll_open(void)
{
    int saved = gor__os_errno(), rc;
    gor__os_poller.kq = kqueue();
    rc = gor__os_poller.kq < 0 ? -gor__os_errno() : 0;
    gor__os_set_errno(saved);
    if (rc != 0)
        return rc;
    fcntl(gor__os_poller.kq, F_SETFD, FD_CLOEXEC);
    return gor__os_kevent(0, EVFILT_USER, EV_ADD, 0, 0);
}

static void gor__os_poll_close(void)
{
    if (gor__os_poller.kq >= 0)
        close(gor__os_poller.kq);
    gor__os_poller.kq = -1;
}

/* What is not wanted is let go: the two filters stand for one registration. */
static int gor__os_poll_set(int fd, uint32_t tag, unsigned what, bool known)
{
    int rc = 0;
    if (what & GOR_READ)
        rc = gor__os_kevent(fd, EVFILT_READ, EV_ADD | EV_CLEAR, 0, tag);
    else if (known)
        gor__os_kevent(fd, EVFILT_READ, EV_DELETE, 0, 0);
    if (rc == 0 && (what & GOR_WRITE))
        rc = gor__os_kevent(fd, EVFILT_WRITE, EV_ADD | EV_CLEAR, 0, tag);
    else if (known && !(what & GOR_WRITE))
        gor__os_kevent(fd, EVFILT_WRITE, EV_DELETE, 0, 0);
    return rc;
}

static void gor__os_poll_forget(int fd)
{
    gor__os_kevent(fd, EVFILT_READ, EV_DELETE, 0, 0);
    gor__os_kevent(fd, EVFILT_WRITE, EV_DELETE, 0, 0);
}

/* How many events; < 0: -errno, it will not work any more. */
static int gor__os_poll_wait(gor__os_events *list, int64_t deadline)
{
    struct timespec t, *tp = &t;
    int64_t left = deadline == GOR_FOREVER || deadline == 0 ? deadline : deadline - gor__os_now();
    int saved = gor__os_errno(), n;
    left = left > 0 ? left : 0;
    t.tv_sec = (time_t)(left / GOR_SEC);
    t.tv_nsec = (long)(left % GOR_SEC);
    if (left == GOR_FOREVER)
        tp = NULL;
    n = kevent(gor__os_poller.kq, NULL, 0, list->at, GOR__POLL_BATCH, tp);
    if (n < 0)
        n = gor__os_errno() == EINTR ? 0 : -gor__os_errno();
    gor__os_set_errno(saved);
    return n;
}

GOR__INLINE gor__os_event gor__os_poll_event(const gor__os_events *list, int i)
{
    const struct kevent *k = &list->at[i];
    gor__os_event e = { (int)k->ident, (uint32_t)(uintptr_t)k->udata, GOR_READ };
    if (k->filter == EVFILT_USER)
        e.fd = -1;
    if (k->filter == EVFILT_WRITE)
        e.what = GOR_WRITE;
    if (k->flags & (EV_EOF | EV_ERROR))
        e.what |= GOR__HUNG | GOR_READ | GOR_WRITE;
    return e;
}

static void gor__os_poll_wake(void) { gor__os_kevent(0, EVFILT_USER, 0, NOTE_TRIGGER, 0); }
static void gor__os_poll_calm(void) { gor__os_kevent(0, EVFILT_USER, EV_CLEAR, 0, 0); }
#endif

/* ==== [clock] the time, without asking the system each time =====================================
 * What        gor__now_above is a time that is not before now, and half a microsecond after it,
 *             three at most: good for setting a timer, and for seeing that nothing is due yet. The
 *             CPU's counter is read, and added to what the system's clock said a moment ago: a
 *             third of what clock_gettime takes.
 * Invariants  I1 at + ticks * rate is never before the system's time. rate is a thousandth more
 *                than was measured: that covers the error of measuring it, and 500 ppm by which the
 *                kernel may slow down or hurry its clock; GOR__CLOCK_AHEAD_NS, that ticks may be
 *                older than what was read from memory before.
 *             I2 Nobody adds up but in the `span` before `until`: GOR__CLOCK_SPAN_NS after the last
 *                reading. at is stored before until, and read after it, so it is as new, or newer.
 *             I3 Each new reading is compared with what would have been answered. Once they differ
 *                by clearly more than I1 allows (counters that are not the same on all CPUs, a
 *                machine that was moved), the counter is not used any more.
 * Locks       `busy`, only tried: who does not get it reads the system's clock for itself.
 * Source      The kernel's vDSO does the same, for an exact answer. Ours may be a little late.
 * Tests       tests/time.c
 */
#define GOR__CLOCK_SPAN_NS  (200 * GOR_US)
#define GOR__CLOCK_FIRST_NS (10 * GOR_MS)      /* over which the rate is measured                */
#define GOR__CLOCK_AHEAD_NS 300                /* a core may read its counter before an older    */
                                               /* load is over: so much, at most                 */
#define GOR__CLOCK_READ_NS  (2 * GOR_US)       /* a reading that took longer is not used: what   */
                                               /* it took is the error of all answers by it      */

static struct {
    gor__au64 until, span;             /* ticks; span 0: read the system's clock               */
    gor__au64 at, rate;                /* ns; ns per tick, shifted, which is set once          */
    gor__au32 on;                      /* the counter may be used                              */
    gor__au32 busy;                    /* somebody reads for all; below: his                   */
    uint64_t  ticks;                   /* the last reading; the first, until there is a rate   */
    int64_t   ns;
} gor__clock;

#define GOR__CLOCK_SHIFT 32

GOR__INLINE uint64_t gor__clock_ns(uint64_t ticks, uint64_t rate)
{
    __extension__ typedef unsigned __int128 wide;
    return (uint64_t)((wide)ticks * rate >> GOR__CLOCK_SHIFT);
}

/* Read both. Returns how many ticks that took: the error. */
static uint64_t gor__clock_both(uint64_t *ticks, int64_t *ns)
{
    *ticks = gor__arch_ticks();
    *ns = gor__os_now();
    return gor__arch_ticks() - *ticks;
}

/* The first reading, the best of a few. Once in a process. */
static void gor__clock_begin(void)
{
    uint64_t best = UINT64_MAX;
    if (gor__au32_xchg(&gor__clock.busy, 1) != 0)  /* acq clock.busy */
        return;
    for (int i = 0; i < 8 && !gor__au32_load_rlx(&gor__clock.on); i++) {
        uint64_t ticks, took;
        int64_t ns;
        took = gor__clock_both(&ticks, &ns);
        if (took < best) {
            best = took;
            gor__clock.ticks = ticks;
            gor__clock.ns = ns;
        }
    }
    if (!gor__au64_load_rlx(&gor__clock.rate))     /* it has never been on */
        gor__au32_store_rlx(&gor__clock.on, gor__arch_ticks_steady());
    gor__au32_store_rel(&gor__clock.busy, 0);      /* rel clock.busy */
}

/* Is `ns`, read at `ticks`, what the reading before promised: not sooner than I1, and not later by
 * more than four times its margin, for rate was measured once? Busy. */
static bool gor__clock_agrees(uint64_t rate, uint64_t ticks, int64_t ns)
{
    int64_t said = (int64_t)(gor__au64_load_rlx(&gor__clock.at) + gor__clock_ns(ticks, rate));
    int64_t passed = ns - gor__clock.ns;
    return said >= ns - GOR__CLOCK_READ_NS &&
           said <= ns + passed / 256 + GOR__CLOCK_AHEAD_NS + GOR__CLOCK_READ_NS;
}

/* Answer by this reading from now on. Busy. */
static void gor__clock_set(uint64_t rate, uint64_t ticks, int64_t ns)
{
    uint64_t span = ((uint64_t)GOR__CLOCK_SPAN_NS << GOR__CLOCK_SHIFT) / rate;
    gor__clock.ticks = ticks;
    gor__clock.ns = ns;
    gor__au64_store_rlx(&gor__clock.rate, rate);
    gor__au64_store_rlx(&gor__clock.span, span);
    gor__au64_store_rlx(&gor__clock.at,            /* and a tick, which may just be over */
                        (uint64_t)ns + GOR__CLOCK_AHEAD_NS + (rate >> GOR__CLOCK_SHIFT) -
                        gor__clock_ns(ticks, rate));
    gor__au64_store_rel(&gor__clock.until, ticks + span);   /* rel clock.until: all these */
}

/* The rate, once so much time has passed since the first reading that the error of this one is
 * below a tenth of the margin; answers go by it, so it is to be as good as any. Busy. */
static void gor__clock_measure(uint64_t ticks, uint64_t took, int64_t ns)
{
    uint64_t elapsed = ticks - gor__clock.ticks;
    double passed = (double)(ns - gor__clock.ns);
    uint64_t rate;
    if (passed < GOR__CLOCK_FIRST_NS || took >= elapsed / 10000)
        return;
    rate = (uint64_t)(1.001 * passed / (double)elapsed *
                      (double)((uint64_t)1 << GOR__CLOCK_SHIFT));
    if (gor__clock_ns(took, rate) <= GOR__CLOCK_READ_NS)
        gor__clock_set(rate, ticks, ns);
}

/* The counter cannot be relied upon. Busy. */
static void gor__clock_give_up(void)
{
    gor__au32_store_rlx(&gor__clock.on, 0);
    gor__au64_store_rlx(&gor__clock.until, 0);
}

static GOR__NOINLINE int64_t gor__clock_read(void)
{
    uint64_t rate, ticks, took;
    int64_t ns;
    if (!gor__au32_load_rlx(&gor__clock.on) || gor__au32_xchg(&gor__clock.busy, 1) != 0)
        return gor__os_now();
    rate = gor__au64_load_rlx(&gor__clock.rate);
    took = gor__clock_both(&ticks, &ns);
    if (rate == 0)
        gor__clock_measure(ticks, took, ns);
    else if (gor__clock_ns(took, rate) > GOR__CLOCK_READ_NS)
        ;                                          /* interrupted between the two */
    else if (gor__clock_agrees(rate, ticks, ns))
        gor__clock_set(rate, ticks, ns);
    else
        gor__clock_give_up();
    gor__au32_store_rel(&gor__clock.busy, 0);      /* rel clock.busy: to who is busy next */
    return ns;
}

/* A time that is not before the moment of the call, if the last reading is recent enough. */
GOR__INLINE bool gor__now_quick(int64_t *now)
{
    uint64_t until = gor__au64_load_acq(&gor__clock.until);    /* acq clock.until */
    uint64_t at = gor__au64_load_rlx(&gor__clock.at), ticks;
    GOR__COMPILER_BARRIER();
    ticks = gor__arch_ticks();
    if (GOR__UNLIKELY(until - ticks - 1 >= gor__au64_load_rlx(&gor__clock.span)))
        return false;
    *now = (int64_t)(at + gor__clock_ns(ticks, gor__au64_load_rlx(&gor__clock.rate)));
    return true;
}

GOR__INLINE int64_t gor__now_above(void)
{
    int64_t now;
    return GOR__LIKELY(gor__now_quick(&now)) ? now : gor__clock_read();
}

/* Has t come? */
GOR__INLINE bool gor__is_past(int64_t t)
{
    return t <= gor__now_above() && t <= gor__os_now();
}

/* ns from now, at least; what is not to come has come. */
GOR__INLINE int64_t gor__due_in(int64_t ns)
{
    return gor__later(ns > 0 ? gor__now_above() : gor__os_now(), ns);
}

/* ==== [spin] locks of a few instructions, elided while nobody else is there =====================
 * What        gor__lock / gor__unlock around a few dozen instructions on shared structures.
 * Invariants  I1 A goroutine never switches or calls the user with one held, nor allocates, but
 *                for a timer that fires: that may need a goroutine, and so the allocator's hooks.
 *             I2 gor__shared is 0 only while one processor exists and no foreign thread has
 *                called: then only that processor's goroutines get here, one at a time, and there
 *                is nothing to lock. No lock is held over a switch, or the end of a call; so the
 *                switch to shared mode ([machine] gor__go_shared) only has to wait until the
 *                processor is between two gor calls. Till then an unlock may meet a word that was
 *                not set.
 *             I3 Ranks only rise; two channels at once are taken in the order of their addresses.
 *             I4 The word is 0, or GOR__TAKEN; that of a channel or of timers may name the P that
 *                owns the lock ([owned]), free or with GOR__TAKEN.
 * Runs on     Any thread. Spins, then lets other threads run: the holder may have lost its CPU.
 * Source      Test-and-test-and-set with plain-store unlock; elision as in biased locking; fewer
 *             at a time at a lock that is fought for: Dice and Kogan, "Avoiding Scalability
 *             Collapse by Restricting Concurrency" (2019).
 * Tests       every one, GOR_CHECK builds check I3
 */
gor__au32 gor__shared = { 1 };
static gor__au32 gor__settled = { 1 };         /* shared, and no elided holder is left */

/* Others may be there from now on. The caller knows that nobody holds an elided lock; who enters
 * later sees this. An inlined lock does not look: the caller ends mine, too ([machine]). */
static void gor__share(void)
{
    gor__au32_store_sc(&gor__shared, 1);
    gor__au32_store_sc(&gor__settled, 1);
}

/* Nobody is there but the caller. In this order: a thread that comes meanwhile finds that nothing
 * is settled, and shares anew ([machine] gor__go_shared). */
static void gor__elide(void)
{
    gor__au32_store_sc(&gor__settled, 0);
    gor__au32_store_sc(&gor__shared, 0);
}

/* The lock order, lowest first; a reason each. */
#define GOR__RANKS(X)                                                                              \
    X(TIMERS, "a timer that fires cancels contexts and sends to channels")                         \
    X(CTX,    "a parent is locked before its children; done closes a channel")                     \
    X(OBJECT, "channels, mutexes, tasks: wakes goroutines")                                        \
    X(SCHED,  "run queues and idle lists: the last word of every wake-up")                         \
    X(MEMORY, "stacks and goroutine slabs")
#define GOR__RANK_ENUM(name, why) GOR__RANK_##name,
enum gor__rank { GOR__RANKS(GOR__RANK_ENUM) GOR__N_RANKS };

/* What must hold; looked at in GOR_CHECK builds. */
GOR__INLINE void gor__check(bool holds, const char *what)
{
    if (GOR_CHECK && !holds) {
        fprintf(stderr, "gor: not so: %s\n", what);
        abort();
    }
}

#if GOR_CHECK
static __thread volatile uint8_t gor__held[GOR__N_RANKS];
GOR__NO_TSAN static GOR__NOINLINE void gor__rank_push(enum gor__rank rank)
{
    for (int r = (int)rank + 1; r < GOR__N_RANKS; r++)
        if (gor__held[r]) {
            fprintf(stderr, "gor: lock of rank %d taken under one of rank %d\n", (int)rank, r);
            abort();
        }
    gor__held[rank] = (uint8_t)(gor__held[rank] + 1);
}
GOR__NO_TSAN static GOR__NOINLINE void gor__rank_pop(enum gor__rank rank)
{
    gor__held[rank] = (uint8_t)(gor__held[rank] - 1);
}
#else
GOR__INLINE void gor__rank_push(enum gor__rank rank) { (void)rank; }
GOR__INLINE void gor__rank_pop(enum gor__rank rank) { (void)rank; }
#endif

/* Two that take one lock in turns send its cache lines, and those of what it guards, to and fro:
 * an operation then takes five times as long as if one of them did all. So who has found locks
 * taken again and again, each time soon after the last, stays away for a while. The other one meets
 * nobody meanwhile, and does not. Who has more to do between two locks than what `soon` is, is
 * never in a crowd: he would lose by waiting. */
#define GOR__CROWD       8
#define GOR__CROWD_SOON  (GOR__ARCH_TICKS / 4)
#define GOR__CROWD_AWAY  (2 * GOR__ARCH_TICKS)

/* Nobody switches between reading and writing it: so __thread is safe here. Atomic, because two
 * goroutines of a thread are two threads to ThreadSanitizer. */
static __thread struct { gor__au64 last; gor__au32 n; } gor__crowd;

/* Touch nothing until so many ticks after begin. */
static void gor__stay_away(uint64_t begin, uint64_t ticks)
{
    while (gor__arch_ticks() - begin < ticks)
        gor__arch_pause();
}

static void gor__leave_crowd(uint64_t now)
{
    uint32_t n = gor__au32_load_rlx(&gor__crowd.n);
    if (now - gor__au64_load_rlx(&gor__crowd.last) >= GOR__CROWD_SOON)
        n -= n > 0;
    else if (n < 2 * GOR__CROWD)
        n++;
    gor__au32_store_rlx(&gor__crowd.n, n);
    if (n >= GOR__CROWD)
        gor__stay_away(now, GOR__CROWD_AWAY);
}

#define GOR__TAKEN ((uint32_t)1)
static GOR__NOINLINE bool gor__lock_owned(gor__spin *l, uint32_t free);        /* [owned] */

/* Take it if it looks free. */
GOR__INLINE bool gor__lock_try(gor__spin *l)
{
    uint32_t free = gor__au32_load_rlx(&l->word);
    if (free & GOR__TAKEN)
        return false;
    return free ? gor__lock_owned(l, free) : gor__au32_cas(&l->word, 0, GOR__TAKEN);
}

/* Tried i times in vain. */
static void gor__spin_again(int i)
{
    if (i < 64)
        gor__arch_pause();
    else
        gor__os_yield();
}

static GOR__NOINLINE void gor__lock_slow(gor__spin *l)
{
    uint32_t free = gor__au32_load_rlx(&l->word);
    if (free && !(free & GOR__TAKEN) && gor__lock_owned(l, free))
        return;                                    /* nobody was met */
    gor__leave_crowd(gor__arch_ticks());
    for (int i = 0; !gor__lock_try(l); i++)
        gor__spin_again(i);
    gor__au64_store_rlx(&gor__crowd.last, gor__arch_ticks());
}

/* Never elided: for what threads without a processor touch too. */
GOR__INLINE void gor__lock_always(gor__spin *l, enum gor__rank rank)
{
    gor__rank_push(rank);
    if (GOR__UNLIKELY(!gor__au32_cas(&l->word, 0, GOR__TAKEN)))
        gor__lock_slow(l);
}

/* While that is so, and no check or sanitizer wants to hear of locks, one need not even go through
 * those of many things. */
GOR__INLINE bool gor__locks_are_nothing(void)
{
    return !GOR__TSAN && !GOR_CHECK && gor__au32_load_rlx(&gor__shared) == 0;
}

/* Is there nothing to lock? Goroutines of one processor are threads to ThreadSanitizer. */
GOR__INLINE bool gor__lock_elided(gor__spin *l)
{
    if (GOR__UNLIKELY(gor__au32_load_rlx(&gor__shared) != 0))
        return false;
    if (GOR__TSAN || GOR_CHECK)                            /* acq spin.word: the last holder */
        gor__check(!(gor__au32_load_acq(&l->word) & GOR__TAKEN), "a lock that is elided is free");
    return true;
}

GOR__INLINE void gor__lock(gor__spin *l, enum gor__rank rank)
{
    if (GOR__LIKELY(gor__lock_elided(l)))
        gor__rank_push(rank);
    else
        gor__lock_always(l, rank);
}

GOR__INLINE void gor__unlock(gor__spin *l, enum gor__rank rank)
{
    gor__rank_pop(rank);
    gor__au32_store_rel(&l->word, 0);                      /* rel spin.word */
}

/* ==== [alloc] the user's allocator ==============================================================
 * What        malloc and free through the hooks of gor_options, counted. Sizes are given back, so
 *             that gor__heap_bytes is exact: 0 after gor_stop.
 * Runs on     Any thread, no lock held: hooks may block.
 */
static struct {
    void *(*malloc)(size_t size, void *user);
    void  (*free)(void *p, void *user);
    void   *user;
} gor__hooks;
static gor__au64 gor__heap_bytes;

static void *gor__alloc(size_t size)
{
    void *p = gor__hooks.malloc ? gor__hooks.malloc(size, gor__hooks.user) : malloc(size);
    if (p)
        gor__au64_count(&gor__heap_bytes, size);
    return p;
}

static void *gor__zalloc(size_t size)
{
    void *p;
    gor__san_quiet_begin();
    p = gor__alloc(size);
    if (p)
        memset(p, 0, size);
    gor__san_quiet_end();
    return p;
}

static void gor__free(void *p, size_t size)
{
    if (!p)
        return;
    gor__au64_count(&gor__heap_bytes, 0 - (uint64_t)size);
    if (gor__hooks.free)
        gor__hooks.free(p, gor__hooks.user);
    else
        free(p);
}

/* Zeros that begin with a cache line. *memory is to be freed, with a line more than size. */
static void *gor__zalloc_aligned(size_t size, void **memory)
{
    uintptr_t at = (uintptr_t)(*memory = gor__zalloc(size + GOR__CACHE_LINE));
    return (void *)((at + GOR__CACHE_LINE - 1) & ~(uintptr_t)(GOR__CACHE_LINE - 1));
}

static void gor__free_aligned(void *memory, size_t size)
{
    gor__free(memory, size + GOR__CACHE_LINE);
}

/* ==== [stack] goroutine stacks ==================================================================
 * What        Stacks of a power of two of address space, cut from large mappings; the kernel
 *             commits a page when it is touched. The lowest page is a guard, and with it the one
 *             below, which keeps stacks apart.
 * Invariants  I1 A stack is bound to one goroutine, in one processor's cache, in its class's list,
 *                or cold: free, without a page, noted in a block beside it.
 *             I2 The highest words of a listed stack, in a page that is resident most often, hold
 *                the addresses of others, GOR__MAGAZINE at most, and of the next that does so: to
 *                take many touches few. If the list is long, who comes to it and is seen to have
 *                been used below that page has given all of that back. The processors keep no
 *                more than such a list ([ready] gor__stacks_kept), and come to it for half of that
 *                at once. The rest is [tidy]'s: a call of madvise for each stack, and what it costs
 *                the other processors to forget its pages, is more than all else that a short
 *                goroutine takes.
 *             I3 Who may come to need a stack has been promised one: each G of the default class
 *                from when it was made, others while their goroutine lives, a processor for each
 *                stack that its cache may hold. There are never more promises than stacks, so a
 *                goroutine that was started finds one when it first runs. A promise costs address
 *                space only.
 *             I4 Under vm.overcommit_memory=2 every writable page counts. Then stacks are reserved
 *                without access, the top of each is opened when it is promised, and the rest by the
 *                handler of the fault ([faults]) as it is used. Their guards are never opened.
 * Guards      MADV_GUARD_INSTALL where the kernel has it; else mprotect until the limit on
 *             mappings is met; then none, said once: such a stack carries a canary that every
 *             switch checks. Who needs a new stack has some guarded at once, where the kernel can,
 *             and lists the others: fewer calls, and others wait less for the lock that all mapping
 *             takes. (Their first pages at once, too, would be less than a fault for each, but with
 *             that lock held for so long that who maps memory meanwhile waits for milliseconds.)
 * Tags        The address of a stack without a guard is tagged by GOR__UNGUARDED wherever it is
 *             kept; gor__stack_lo strips that.
 * Locks       gor__stacks.lock (MEMORY); never held over a system call that may take long.
 * Source      Magazines: Bonwick and Adams, "Magazines and Vmem" (2001).
 * Colour      Frames start at one of 16 offsets, so that a thousand parked goroutines do not meet
 *             in one set of the first-level cache; and stacks are an odd number of pages apart, so
 *             that they do not meet in one set of a TLB which goes by the low bits of a page's
 *             number, as that of AMD's Zen 3 does.
 * Tests       tests/stack.c
 */
#define GOR__STACK_CLASSES 17                  /* 16 KiB .. 1 GiB */
#define GOR__STACK_CHUNK   ((size_t)16 << 20)  /* one mapping at least, if there is room      */
#define GOR__STACK_CHUNK_MAX ((size_t)1 << 30) /* and at most                                 */
#define GOR__MAGAZINE      30
#define GOR__STACK_WARM    512                 /* a list that is not long                     */
#define GOR__STACK_ASK     64                  /* of so many given back, one is looked at     */
#define GOR__STACK_ASK_ALL 256                 /* so many are, each, if one is used deep      */
#define GOR__STACK_OPEN    ((size_t)32 << 10)  /* what is open from the start, if strict      */
#define GOR__COLD_CAP      61
#define GOR__STACK_CANARY  0x676f722063616e61ULL

/* A mapping. Each stride of it is a page that keeps stacks apart, and then a stack, whose lowest
 * page is the guard together with that one: what can be used begins gor__stack_guard_size() up. */
typedef struct gor__chunk {
    struct gor__chunk *next;
    struct gor__chunk *next_uncut;
    char  *base;
    size_t size;
    size_t stride;                     /* bytes from one stack to the next         */
    size_t cut;                        /* bytes that have become stacks            */
    gor__aptr slots;                   /* [pack]'s, one for each stack, or NULL    */
} gor__chunk;

typedef struct gor__cold {             /* stacks that hold no page                 */
    struct gor__cold *next;
    size_t n;
    char  *lo[GOR__COLD_CAP];
} gor__cold;

typedef struct gor__magazine {         /* at the top of a listed stack             */
    char  *next;                       /* the next that holds one                  */
    size_t n;
    char  *lo[GOR__MAGAZINE];          /* others that are listed                   */
} gor__magazine;

typedef struct gor__stack_class {
    char       *free;                  /* listed stacks, by their lowest address   */
    gor__au64   n_free;
    uint64_t    n_free_least;          /* since [tidy] last looked                 */
    gor__cold  *cold;                  /* taken when the list is empty             */
    gor__au64   n_cold;
    gor__chunk *uncut;                 /* chunks that are not yet cut up           */
    size_t      n_all;                 /* stacks there are, cut or not             */
    size_t      n_promised;            /* I3                                       */
    gor__au32   n_put;                 /* I2: how many                             */
    gor__au32   ask;                   /* so many more are looked at               */
} gor__stack_class;

static struct {
    gor__spin        lock;
    gor__stack_class cls[GOR__STACK_CLASSES];
    gor__aptr        chunks;           /* of gor__chunk; grows at its head         */
    size_t           page_size;
    bool             light_guards;     /* MADV_GUARD_INSTALL works                 */
    bool             no_guards;        /* GORDEBUG=noguard=1                       */
    bool             strict;           /* open stacks page by page: I4             */
    gor__au32        each;             /* some stacks are guarded at once          */
    gor__au32        unguarded;        /* some stack has no guard: check canaries  */
    gor__au32        exhausted;        /* the last attempt to map a chunk failed   */
} gor__stacks;

/* Every mapping that stacks are cut from. Takes no lock. */
static gor__chunk *gor__stack_chunks(void)
{
    return (gor__chunk *)gor__aptr_load_acq(&gor__stacks.chunks);
}

/* The class for stacks of that size, of four pages at least. */
static int gor__stack_class_of(size_t size)
{
    size_t least = 4 * gor__stacks.page_size;
    int k = 0;
    if (size < least)
        size = least;
    while ((GOR__MIN_STACK_SIZE << k) < size)
        k++;
    return k;
}

enum { GOR__UNGUARDED = 1 };

GOR__INLINE char *gor__stack_lo(char *tagged)
{
    return tagged - ((uintptr_t)tagged & GOR__UNGUARDED);
}

GOR__INLINE gor__magazine *gor__stack_magazine(char *tagged, size_t size)
{
    return (gor__magazine *)(void *)(gor__stack_lo(tagged) + size - sizeof(gor__magazine));
}

static void gor__stack_say_unguarded(void)
{
    static const char text[] = "gor: no more guard pages to be had (vm.max_map_count): further "
                               "stacks carry a canary instead\n";
    if (gor__au32_xchg(&gor__stacks.unguarded, 1) == 0)
        if (write(2, text, sizeof text - 1) < 0)
            return;
}

/* How much of a stride is guard. */
static size_t gor__stack_guard_size(void) { return 2 * gor__stacks.page_size; }

/* Guard a stack that was cut just now, and the page below. Returns it, tagged if that was not to be
 * had. */
static char *gor__stack_guard(char *lo)
{
    char *from = lo - gor__stacks.page_size;
    if (gor__stacks.strict)
        return lo;
    if (!gor__stacks.no_guards &&
        gor__os_guard(from, gor__stack_guard_size(), gor__stacks.light_guards) == 0)
        return lo;
    gor__stack_say_unguarded();
    *(uint64_t *)(void *)lo = GOR__STACK_CANARY;
    return lo + GOR__UNGUARDED;
}

static void gor__lock_stacks(void) { gor__lock_always(&gor__stacks.lock, GOR__RANK_MEMORY); }
static void gor__unlock_stacks(void) { gor__unlock(&gor__stacks.lock, GOR__RANK_MEMORY); }

/* From one stack of that size to the next: a page more, see Colour. */
static size_t gor__stack_stride(size_t size) { return size + gor__stacks.page_size; }

/* How many stacks of class k the next mapping should hold, if n are wanted: a quarter of those
 * there are, so that ten million take a few thousand mappings. LeakSanitizer reads all of it. */
static size_t gor__chunk_stacks(int k, size_t n)
{
    size_t stride = gor__stack_stride(GOR__MIN_STACK_SIZE << k);
    size_t more = gor__stacks.cls[k].n_all / 4;
    if (gor__stacks.strict)
        return n;
    if (GOR__ASAN)
        more = 0;
    if (more > GOR__STACK_CHUNK_MAX / stride)
        more = GOR__STACK_CHUNK_MAX / stride;
    if (more < GOR__STACK_CHUNK / stride)
        more = GOR__STACK_CHUNK / stride;
    return n > more ? n : more;
}

/* Open the tops of n stacks that are reserved without access. Returns how many are open; the
 * address space of the others has been given back. */
static size_t gor__stacks_open(char *base, size_t n, size_t stride)
{
    size_t most = stride - gor__stack_guard_size(), open = 0;
    size_t top = GOR__STACK_OPEN < most ? GOR__STACK_OPEN : most;
    while (open < n && gor__os_open(base + (open + 1) * stride - top, top))
        open++;
    if (open < n)
        gor__os_release(base + open * stride, (n - open) * stride);
    return open;
}

/* Open a stack down to below the address that was touched, twice as deep as it is there. False:
 * that is the guard, or the system has no more. */
static bool gor__stack_open_more(char *lo, size_t size, uintptr_t at)
{
    size_t page = gor__stacks.page_size;
    uintptr_t least = (uintptr_t)lo + page, end = (uintptr_t)lo + size, from;
    if (!gor__stacks.strict || at < least || at >= end)
        return false;
    from = at - least > end - at ? (at - (end - at)) & ~(uintptr_t)(page - 1) : least;
    at &= ~(uintptr_t)(page - 1);
    return gor__os_open((char *)from, end - from) || gor__os_open((char *)at, end - at);
}

/* Map another chunk for class k: n stacks, or as many as there is room for. Called without the
 * lock; false if there is room for none. */
static bool gor__stack_map(int k, size_t n)
{
    size_t stride = gor__stack_stride(GOR__MIN_STACK_SIZE << k);
    gor__stack_class *cls = &gor__stacks.cls[k];
    gor__chunk *c = (gor__chunk *)gor__alloc(sizeof *c);
    char *base = NULL;
    for (; c && n && !base; n = base ? n : n / 2)
        base = (char *)(gor__stacks.strict ? gor__os_reserve_bare(n * stride)
                                           : gor__os_reserve(n * stride));
    if (base && gor__stacks.strict && (n = gor__stacks_open(base, n, stride)) == 0)
        base = NULL;
    gor__au32_store_rlx(&gor__stacks.exhausted, base == NULL);
    if (!base) {
        gor__free(c, sizeof *c);
        return false;
    }
    c->base = base;
    c->size = n * stride;
    c->stride = stride;
    c->cut = 0;
    gor__aptr_store_rlx(&c->slots, NULL);
    gor__lock_stacks();
    c->next = gor__stack_chunks();
    gor__aptr_store_rel(&gor__stacks.chunks, c);
    c->next_uncut = cls->uncut;
    cls->uncut = c;
    cls->n_all += n;
    gor__unlock_stacks();
    gor__san_root(base, c->size);
    return true;
}

/* Promise up to n stacks of class k. Returns how many; 0: out of memory or address space. */
static GOR__NOINLINE size_t gor__stack_promise(int k, size_t n)
{
    gor__stack_class *cls = &gor__stacks.cls[k];
    int err = gor__os_errno();
    for (;;) {
        size_t left, want;
        gor__lock_stacks();
        left = cls->n_all - cls->n_promised;
        if (left > n)
            left = n;
        cls->n_promised += left;
        want = gor__chunk_stacks(k, n);
        gor__unlock_stacks();
        if (left || !gor__stack_map(k, want)) {
            gor__os_set_errno(err);
            return left;
        }
    }
}

static void gor__stack_unpromise(int k, size_t n)
{
    gor__lock_stacks();
    gor__stacks.cls[k].n_promised -= n;
    gor__unlock_stacks();
}

/* Some stacks that were not there before, one after the other in the address space: as many as are
 * guarded at once. Returns the lowest, and how many in *n; NULL: all are cut. */
static char *gor__stacks_cut_locked(gor__stack_class *cls, size_t *n)
{
    gor__chunk *c = cls->uncut;
    char *lo;
    if (!c)
        return NULL;
    lo = c->base + c->cut + gor__stacks.page_size;
    *n = gor__au32_load_rlx(&gor__stacks.each) ? GOR__OS_PIECES : 1;
    if (*n > (c->size - c->cut) / c->stride)
        *n = (c->size - c->cut) / c->stride;
    c->cut += *n * c->stride;
    if (c->cut == c->size)
        cls->uncut = c->next_uncut;
    return lo;
}

/* ThreadSanitizer would take the goroutine that ended last on a stack for one that runs: the order
 * is the thread's own. */
GOR__NO_TSAN static char *gor__stack_pop_locked(gor__stack_class *cls, size_t size)
{
    char *lo = cls->free;
    uint64_t n = gor__au64_load_rlx(&cls->n_free);
    gor__magazine *mag;
    if (!lo)
        return NULL;
    mag = gor__stack_magazine(lo, size);
    if (mag->n > 0)
        lo = mag->lo[--mag->n];
    else
        cls->free = mag->next;
    gor__au64_store_rlx(&cls->n_free, n - 1);
    if (n - 1 < cls->n_free_least)
        cls->n_free_least = n - 1;
    return lo;
}

GOR__NO_TSAN static void gor__stack_push_locked(gor__stack_class *cls, size_t size, char *lo)
{
    gor__magazine *mag = cls->free ? gor__stack_magazine(cls->free, size) : NULL;
    if (mag && mag->n < GOR__MAGAZINE) {
        mag->lo[mag->n++] = lo;
    } else {
        mag = gor__stack_magazine(lo, size);
        mag->next = cls->free;
        mag->n = 0;
        cls->free = lo;
    }
    gor__au64_bump(&cls->n_free);
}

/* A cold stack. The block that becomes empty is for the caller to free. */
static char *gor__stack_warm_locked(gor__stack_class *cls, gor__cold **empty)
{
    gor__cold *c = cls->cold;
    if (!c)
        return NULL;
    gor__au64_store_rlx(&cls->n_cold, gor__au64_load_rlx(&cls->n_cold) - 1);
    if (c->n == 1) {
        cls->cold = c->next;
        *empty = c;
    }
    return c->lo[--c->n];
}

/* Guard n stacks that were cut just now, from lo on, and list all but the lowest, which is
 * returned. They are tagged where a guard cannot be had. A system that refuses some at once is not
 * asked again. */
static char *gor__stacks_begin(gor__stack_class *cls, size_t size, char *lo, size_t n)
{
    size_t stride = gor__stack_stride(size);
    char *tagged[GOR__OS_PIECES];
    bool guarded;
    if (n == 1)
        return gor__stack_guard(lo);
    guarded = gor__os_guard_each(lo - gor__stacks.page_size, gor__stack_guard_size(), stride, n);
    if (!guarded)
        gor__au32_store_rlx(&gor__stacks.each, 0);
    for (size_t i = 0; i < n; i++)
        tagged[i] = guarded ? lo + i * stride : gor__stack_guard(lo + i * stride);
    gor__lock_stacks();
    while (n > 1)
        gor__stack_push_locked(cls, size, tagged[--n]);
    gor__unlock_stacks();
    return tagged[0];
}

/* A stack of class k. The caller has a promise, and so there is one (I3): in a list, to be cut, or
 * for a moment in the hands of sysmon or of who cuts. */
static char *gor__stack_get(int k)
{
    gor__stack_class *cls = &gor__stacks.cls[k];
    size_t size = GOR__MIN_STACK_SIZE << k;
    for (;;) {
        gor__cold *empty = NULL;
        size_t n = 0;
        char *lo;
        gor__lock_stacks();
        lo = gor__stack_pop_locked(cls, size);
        if (!lo)
            lo = gor__stack_warm_locked(cls, &empty);
        if (!lo)
            lo = gor__stacks_cut_locked(cls, &n);
        gor__unlock_stacks();
        gor__free(empty, sizeof *empty);
        if (lo)
            return n ? gor__stacks_begin(cls, size, lo, n) : lo;
        gor__os_yield();
    }
}

/* Is the stack at lo, the nth that is put in a list, used below its first page? Few are asked, but
 * who is makes the next ones be, or in time each stack would have been one of them. Who is asked
 * steps by the golden ratio: no pattern of the program's escapes that. */
static bool gor__stack_deep(gor__stack_class *cls, char *lo, size_t size, uint32_t nth)
{
    size_t page = gor__stacks.page_size;
    uint32_t left = gor__au32_load_rlx(&cls->ask);
    bool deep;
    if (left == 0 && nth * 2654435769u >= UINT32_MAX / GOR__STACK_ASK)
        return false;
    deep = gor__os_resident(lo + size - 2 * page, page) != 0;
    if (deep)
        gor__au32_store_rlx(&cls->ask, GOR__STACK_ASK_ALL);
    else if (left > 0)
        gor__au32_store_rlx(&cls->ask, left - 1);
    return deep;
}

/* Before the nth stack of class k is listed: I2. */
static void gor__stack_trim(char *lo, int k, uint32_t nth)
{
    gor__stack_class *cls = &gor__stacks.cls[k];
    size_t size = GOR__MIN_STACK_SIZE << k, page = gor__stacks.page_size;
    if (size > GOR__STACK_SIZE || (gor__au64_load_rlx(&cls->n_free) >= GOR__STACK_WARM &&
                                   gor__stack_deep(cls, gor__stack_lo(lo), size, nth)))
        gor__os_decommit(gor__stack_lo(lo) + page, size - 2 * page);
}

/* Give a stack back to its class. */
static void gor__stack_put(char *lo, int k)
{
    gor__stack_class *cls = &gor__stacks.cls[k];
    gor__stack_trim(lo, k, gor__au32_count(&cls->n_put, 1));
    gor__lock_stacks();
    gor__stack_push_locked(cls, GOR__MIN_STACK_SIZE << k, lo);
    gor__unlock_stacks();
}

/* All pages of a listed stack go back, but a canary's. */
static void gor__stack_chill(char *lo, size_t size)
{
    size_t page = gor__stacks.page_size;
    gor__os_decommit(gor__stack_lo(lo) + page, size - page);
}

/* Up to n listed stacks of class k become cold. Returns how many; 0: there are none, or no memory
 * to note them. While their pages go back they are in no list: gor__stack_get waits for them. */
static size_t gor__stack_cool(int k, size_t n)
{
    gor__stack_class *cls = &gor__stacks.cls[k];
    size_t size = GOR__MIN_STACK_SIZE << k, got = 0;
    gor__cold *c = (gor__cold *)gor__alloc(sizeof *c);
    if (!c)
        return 0;
    gor__lock_stacks();
    while (got < n && got < GOR__COLD_CAP &&
           (c->lo[got] = gor__stack_pop_locked(cls, size)) != NULL)
        got++;
    gor__unlock_stacks();
    for (size_t i = 0; i < got; i++)
        gor__stack_chill(c->lo[i], size);
    gor__lock_stacks();
    if (got > 0) {
        c->n = got;
        c->next = cls->cold;
        cls->cold = c;
        gor__au64_store_rlx(&cls->n_cold, gor__au64_load_rlx(&cls->n_cold) + got);
        c = NULL;
    }
    gor__unlock_stacks();
    gor__free(c, sizeof *c);
    return got;
}

/* How many bytes of it have become stacks. */
static size_t gor__chunk_cut(const gor__chunk *c)
{
    size_t cut;
    gor__lock_stacks();
    cut = c->cut;
    gor__unlock_stacks();
    return cut;
}

/* Bytes of memory that stacks hold now; beyond 256 stacks a sample of them, scaled. */
static size_t gor__stacks_resident(void)
{
    size_t n = 0, step, at = 0, bytes = 0, guard = gor__stack_guard_size();
    gor__chunk *first = gor__stack_chunks(), *c;
    for (c = first; c; c = c->next)
        n += c->size / c->stride;
    step = n / 256 + 1;
    for (c = first; c; c = c->next) {
        n = gor__chunk_cut(c) / c->stride;
        for (; at < n; at += step)             /* guard pages hold nothing */
            bytes += step * gor__os_resident(c->base + at * c->stride + guard, c->stride - guard);
        at = at > c->size / c->stride ? at - c->size / c->stride : 0;
    }
    return bytes;
}

/* Where the first frame goes: at one of 16 colours. */
GOR__INLINE char *gor__stack_top(char *lo, size_t size)
{
    size_t colour = ((uintptr_t)lo >> __builtin_ctzl(size)) & 15;  /* size: a power of two */
    return lo + size - 64 - colour * 2 * GOR__CACHE_LINE;
}

/* GORDEBUG=noguardinstall=1 does without MADV_GUARD_INSTALL, noguard=1 without any guard. strict:
 * I4, which needs our fault handler. */
static void gor__stacks_init(bool may_install, bool may_guard, bool strict)
{
    void *probe;
    gor__stacks.strict = strict;
    gor__stacks.page_size = gor__os_page_size();
    probe = gor__os_reserve(gor__stacks.page_size);
    if (!probe)
        return;
    gor__stacks.no_guards = !may_guard;
    gor__stacks.light_guards = may_install &&
                               gor__os_guard(probe, gor__stacks.page_size, true) == 0 &&
                               gor__os_faults(probe);
    gor__au32_store_rlx(&gor__stacks.each, gor__stacks.light_guards && may_guard && !strict);
    gor__os_release(probe, gor__stacks.page_size);
}

/* What is mapped belongs to others from now on, or to nobody. The page size is for [pack]. */
static void gor__stacks_forget(void)
{
    memset(&gor__stacks, 0, sizeof gor__stacks);
    gor__stacks.page_size = gor__os_page_size();
}

static void gor__stacks_free(void)
{
    gor__chunk *c, *next;
    for (int k = 0; k < GOR__STACK_CLASSES; k++)
        for (gor__cold *cold = gor__stacks.cls[k].cold, *after; cold; cold = after) {
            after = cold->next;
            gor__free(cold, sizeof *cold);
        }
    for (c = gor__stack_chunks(); c; c = next) {
        next = c->next;
        gor__san_unroot(c->base, c->size);
        gor__san_clean(c->base, c->size);          /* the addresses may come back as other stacks */
        gor__os_release(c->base, c->size);
        gor__free(c, sizeof *c);
    }
    gor__stacks_forget();
}

/* ==== [core] G, M, P and their states ===========================================================
 * What        G: a goroutine. M: an OS thread of ours. P: a processor, the right to run
 *             goroutines, with all that running them needs, so that the common paths touch nothing
 *             shared. An M runs goroutines while it holds a P.
 *
 *             goroutine   FRESH -> RUNNABLE -> RUNNING -> WAITING -> RUNNABLE ... -> DEAD
 *             RUNNABLE    in one run queue, or about to be in one
 *             WAITING     whoever claims its wait makes it runnable, nobody else
 *             BLOCKED     inside gor_block: keeps its thread, holds no processor
 *
 * Invariants  I1 GOR__ON_CPU is set in g->hold from the moment an M decides to run g until g's
 *                stack has been left; a G may be made runnable before that, so who takes it from a
 *                queue waits for the bit to go. It does so off any goroutine's stack, or two could
 *                wait for each other. A G whose hold is 0 can be switched to at once.
 *             I2 Only the M that holds a P writes the P's own fields; but the slots of near are
 *                emptied by who gathers an rwmutex's readers, while no window is open ([locks]).
 *             I3 A G never holds a spin lock across a switch.
 *             I4 Structures live until gor_stop: a stale pointer to a G or P is safe to read.
 *             I5 What two goroutines of one M touch without a lock is an atomic word, relaxed: in
 *                ThreadSanitizer's eyes they are two threads, and an order made up for its sake
 *                would hide the user's races.
 * Source      Scalable Go Scheduler Design (Vyukov, 2012). We differ: what Go runs after a switch
 *             as a commit callback under the channel's lock, I1 does without a lock or a callback.
 */
enum gor__g_state {
    GOR__FRESH, GOR__RUNNABLE, GOR__RUNNING, GOR__WAITING, GOR__BLOCKED, GOR__DEAD
};

/* Why a goroutine waits, for reports. */
#define GOR__WHYS(X)                                                                               \
    X(NONE, "") X(SEND, "send on channel") X(RECV, "receive on channel") X(SELECT, "select")       \
    X(SELECT_NONE, "select without cases") X(NIL_CHAN, "NULL channel") X(SLEEP, "sleep")           \
    X(MUTEX, "mutex") X(RLOCK, "rwmutex, reading") X(WLOCK, "rwmutex, writing") X(COND, "cond")    \
    X(WG, "wait group") X(SEM, "semaphore") X(BARRIER, "barrier") X(JOIN, "join")                  \
    X(ONCE, "once") X(FD, "file descriptor")
#define GOR__WHY_ENUM(name, text) GOR__WHY_##name,
#define GOR__WHY_TEXT(name, text) text,
enum gor__why { GOR__WHYS(GOR__WHY_ENUM) GOR__N_WHYS };

#define GOR__CALL_SIZE 56              /* bytes of arguments that a G has room for             */

typedef struct gor__defer {
    struct gor__defer *next;
    void (*fn)(void *);
    void *arg;
    bool  borrowed;                    /* on the stack of a call: not ours to free             */
} gor__defer;

typedef struct gor__slot {             /* one goroutine-local value                            */
    struct gor__slot *next;
    gor_local *key;
    void *value;
} gor__slot;

typedef struct gor__panicking {        /* a panic whose deferred calls run: on their stack     */
    const struct gor__panicking *outer;        /* it was raised in a deferred call of this one  */
    const char *text, *here;
} gor__panicking;

typedef struct gor__extra {            /* what few goroutines have; freed when the G ends      */
    gor__defer *defers;
    gor__slot  *slots;
    const gor__panicking *panics;      /* not recovered, the last one first                    */
    bool        recovered;
    char        name[24];
    char        text[512];             /* the message of the last panic                        */
} gor__extra;

struct gor__m;

/* What every gor_ctx begins with: what ends the waits of a goroutine whose own context it is. */
typedef struct gor__cancel {
    gor__spin lock;                    /* CTX                                                  */
    gor__au32 err;                     /* 0, or a positive errno: ECANCELED, ETIMEDOUT         */
    gor__wq   waiters;
    gor__ai64 deadline;
    gor__au32 refs;
    void    (*destroy)(struct gor__cancel *c);
    gor__au64 timed;                   /* the run in which a timer minds the deadline          */
} gor__cancel;

/* In 64 bytes what a switch touches; in 64 more what a start and an end do besides. What is below
 * that is as a new goroutine needs it whenever the G is dead: who starts one does not touch it. */
typedef struct gor__g {
    gor__cancel *ctx;                  /* own context: ends its waits                          */
    void      *sp;                     /* saved stack pointer while off the CPU                */
    gor__aptr  link;                   /* next in a global queue or a free list                */
    gor__au32  hold;                   /* I1: why it cannot just be switched to                */
    gor__au32  state;                  /* enum gor__g_state                                    */
    gor__au32  traits;                 /* stack class, priority, flags: see below              */
    int        err;                    /* errno while off the CPU                              */
    gor__arch_control control;         /* while off the CPU: rounding mode and the like        */
    gor__ai64  since;                  /* coarse ns: state since                               */
    gor__au32  why;                    /* enum gor__why                                        */
    uint32_t   due_tick;               /* of its P: when those before it have had their turn   */

    gor__aptr  stack;                  /* lowest address; NULL until it first runs             */
    void     (*fn)(void *);
    void      *arg;
    const char *site;                  /* "fn\0file:line"                                      */
    gor__au64  id;
    void     (*done)(void *);          /* called at the very end, or NULL                      */
    void      *done_arg;
    gor__extra *extra;

    gor__aptr  locked;                 /* the only M that may run it                           */
    uint32_t   lock_depth;
    gor__au32  no_preempt;             /* depth of gor_preempt_off                             */
    gor__aptr  why_object;
    gor__cancel *ctx_held;             /* the inherited one, a reference                       */
    gor__au64  ticket;                 /* a timer's run: its id until it begins or is stopped  */
    size_t     copy_size;              /* of a block of ours that arg points to; 0: none       */
    uint64_t   call[GOR__CALL_SIZE / 8] __attribute__((aligned(16)));
    int64_t    tidied;                 /* `since` of the wait that [tidy] has seen to, or minus */
                                       /* that, if it is to be packed yet                       */
#if GOR__TSAN || GOR__ASAN
    void      *fiber, *fake;
    const void *san_stack;             /* g0: bounds of the thread's own stack                 */
    size_t     san_size;
#endif
} gor__g;

#if GOR__TSAN || GOR__ASAN
GOR__INLINE void gor__g_set_fiber(gor__g *g, void *fiber) { g->fiber = fiber; }
GOR__INLINE void gor__g_enter_fiber(gor__g *g) { GOR__SAN_SWITCH_FIBER(g->fiber); }
GOR__INLINE void gor__g_set_bounds(gor__g *g, const void *lo, size_t size)
{
    g->san_stack = lo;
    g->san_size = size;
    g->fake = NULL;
}
#else
GOR__INLINE void gor__g_set_fiber(gor__g *g, void *fiber) { (void)g, (void)fiber; }
GOR__INLINE void gor__g_enter_fiber(gor__g *g) { (void)g; }
GOR__INLINE void gor__g_set_bounds(gor__g *g, const void *lo, size_t size)
{
    (void)g, (void)lo, (void)size;
}
#endif

/* CLAIMED: somebody works on the stack of a parked G, which must not run meanwhile: [tidy].
 * PACKED: its bytes are elsewhere: [pack]. */
enum gor__hold {
    GOR__ON_CPU = 1, GOR__NO_STACK = 2, GOR__TIED = 4, GOR__CLAIMED = 8, GOR__PACKED = 16
};

#define GOR__TRAIT_CLASS    0xffu      /* the stack class                                      */
#define GOR__TRAIT_LOW      0x100u
#define GOR__TRAIT_HIGH     0x200u
#define GOR__TRAIT_TIED     0x400u     /* to its M: GOR__TIED                                  */
#define GOR__TRAIT_CANARY   0x800u     /* its stack has one instead of a guard                 */
#define GOR__TRAIT_PACK     0x1000u    /* it may be packed: [pack]                             */
#define GOR__TRAIT_ESTATE   0x2000u    /* at its end there may be extra, ctx_held, no_preempt, */
                                       /* or copy_size to see to                               */
#define GOR__TRAIT_SPECIAL  (GOR__TRAIT_LOW | GOR__TRAIT_HIGH | GOR__TRAIT_TIED)

/* By who runs it, or is about to start it. */
GOR__INLINE void gor__g_add_trait(gor__g *g, uint32_t trait)
{
    gor__au32_store_rlx(&g->traits, gor__au32_load_rlx(&g->traits) | trait);
}

#define GOR__RUNQ_CAP  256
#define GOR__TASKQ_CAP 256
#define GOR__CACHE_CAP 64              /* stacks, Gs that a P keeps                            */

/* Gs that change the processor together, dead ones or such as have not begun. Who takes a crate
 * touches none of the Gs, whose lines are in another's cache; a linked list would fetch each, one
 * after the other. Written by who has the P that holds it, or under the scheduler's lock. There are
 * two for each P and for each 64 Gs. */
#define GOR__CRATE_CAP (GOR__CACHE_CAP / 2)
typedef struct gor__crate {
    struct gor__crate *older, *newer;  /* in a list; newer: in gor__rt.fresh                   */
    gor__au32 n;
    gor__aptr g[GOR__CRATE_CAP];
} gor__crate;

typedef struct gor__runq {
    gor__au32 head;                    /* any thread: next slot to take                        */
    gor__au32 tail;                    /* owner writes, any thread reads: next slot to fill    */
    gor__aptr next;                    /* runs before the ring: woken by the running one       */
    gor__au32 next_owned;              /* owner sets and clears, a thief clears: [runq] I5     */
    gor__au32 thief;                   /* whoever steals next holds it: 0 or 1                 */
    gor__aptr slot[GOR__RUNQ_CAP];     /* owner writes                                         */
} gor__runq;

typedef struct gor__taskq {            /* forked, not started; see [fork]                      */
    gor__au32 top;                     /* any thread: nothing below it                         */
    gor__au32 bottom;                  /* owner                                                */
    gor__aptr slot[GOR__TASKQ_CAP];    /* a task, or NULL: whoever swaps it out runs it        */
} gor__taskq;

typedef struct gor__ownable {          /* a lock that a P may own: see [owned]                 */
    gor__spin lock;                    /* its word only: first, see gor__lock_owned            */
    gor__au32 barred;                  /* to windows, by who takes it from its owner           */
    uint32_t  own, times;              /* under the lock: the word of the P that used it last, */
                                       /* and how often in a row, as far as that is counted    */
} gor__ownable;

typedef struct gor__timer_entry { int64_t when; gor_timer *timer; } gor__timer_entry;

typedef struct gor__timers {           /* see [due], [date], [timer] */
    gor__ownable own;                  /* its lock                                             */
    gor__ai64 first;                   /* when the first is due; GOR_FOREVER: none             */
    gor__timer_entry *heap, *line;     /* room for cap each, a power of two                    */
    uint32_t cap, mask;                /* mask: cap - 1                                        */
    uint32_t n;                        /* in the heap                                          */
    uint32_t head, tail;               /* of the line: they run freely                         */
    uint32_t full;                     /* when tail is there, there is no room                 */
    uint32_t gaps;                     /* in the line                                          */
    gor__au32 undated;                 /* under the lock or in a window; any thread reads: so  */
                                       /* many at the end of the line were started ...         */
    gor__ai64 date;                    /* the same: ... when gor__rt.date was this ...         */
    int64_t   base;                    /* under the lock or in a window: ... after this        */
    gor__ai64 next, next_of;           /* sysmon writes: the first date that it saw after the  */
                                       /* date next_of: [date] A4                              */
    uint32_t early;                    /* came that were due before the last in the line       */
    gor_timer *deferred;               /* its fn is to be called once the lock is released     */
} gor__timers;

typedef struct gor__p {
    gor__near_p near;                  /* readers of rwmutexes: owner in a window, or who gathers */
    gor__au32   own;                   /* what a free mutex, and the word of a free lock, has that
                                          it owns; it never changes                            */
    gor__runq   runq;
    gor__au32   tick;                  /* goroutines run; owner writes                         */
    gor__au32   streak;                /* taken from runq.next in a row                        */
    gor__au32   retire;                /* gor_procs wants it back                              */
    gor__au64   id_next, id_end;       /* goroutine numbers taken in advance                   */
    gor__aptr   dead, spare;           /* dead Gs: one crate is used up or filled, then the other */
    gor__au32   n_stacks;
    gor__au32   stacks_cap;            /* stacks it may keep: promised ([stack] I3)            */
    gor__aptr   stacks[GOR__CACHE_CAP];/* warm stacks of the default size                      */
    gor__au64   started, ended, switches, steals, preempted;
    gor__au64   begun;                 /* goroutines that got their stack here: [start]        */
    gor__au64   way_mark;              /* `started` when a spawner last made way: [start]      */
    gor__au32   way_after;             /* so many starts later it does so again                */
    gor__ai64   normal_ns;             /* when its turns of high priority began, or a normal   */
    gor__au32   high_tick;             /* one had its turn between; the last of them           */
    gor__au64   timer_ticks;           /* arch ticks when timers were last looked at           */
    struct gor__p *idle_next;
    bool        idle;                  /* under the scheduler's lock                           */
    int         id;
    void       *memory;                /* what to free                                         */
    gor__aptr   m;                     /* who holds it, or NULL                                */
    uint32_t    seen_tick;             /* sysmon's                                             */
    int64_t     seen_ns;
    uint32_t    jam_tick;              /* sysmon's: [jam]                                      */
    int64_t     seen_cpu;              /* of the thread of who holds it                        */
    int         signals;               /* sent to it for the same goroutine                    */
    uint32_t    seen_refused;          /* its refusals before these                            */
    bool        asked;
    gor__au64   fd_waits;              /* fd waits begun less those ended here: sum up all Ps  */
    uint32_t    tidy_tick;             /* [tidy]'s                                             */
    gor__crate  crate[2];              /* its first two: they wander                           */
    gor__taskq  taskq GOR__OWN_LINE;
    gor__timers timers GOR__OWN_LINE;
} gor__p;

/* What an M must look at when it next enters a gor call. */
enum gor__attention {
    GOR__ASK = 1,                      /* yield                                                */
    GOR__ORPHAN = 2,                   /* the runtime has stopped without it                   */
    GOR__RETAKE = 4,                   /* its P is about to be taken, or not: wait             */
    GOR__RETAKEN = 8,                  /* its P was taken                                      */
    GOR__FENCE = 16                    /* always: no membarrier, so the M fences itself        */
};

enum gor__detour { GOR__HAS_LOCKED = 1, GOR__HAS_PREEMPTED = 2 };

typedef struct gor__gqueue {           /* a linked list of Gs                                  */
    gor__g   *head, *tail;
    gor__au32 n;                       /* written by who may change it, read anywhere          */
} gor__gqueue;

typedef struct gor__gring {            /* Gs in turn: a ring with room for all that there are, */
    gor__g   **slot;                   /* so that who moves many touches none                  */
    uint32_t   cap, head, tail;        /* cap: 0, or a power of two; the others run freely     */
    gor__au32  n;                      /* tail - head; as in gor__gqueue                       */
} gor__gring;

typedef struct gor__gstack {           /* Gs by age, in crates                                 */
    gor__crate *newest, *oldest;       /* none is empty                                        */
    uint32_t    count;                 /* Gs; under the lock                                   */
    gor__au32   n;                     /* the same, as published; as in gor__gqueue            */
} gor__gstack;

typedef struct gor__m {
    gor__aptr  g;                      /* running; &g0 while scheduling                        */
    gor__au32  attention;              /* or of gor__attention                                 */
    gor__au32  mine;                   /* [fast]; GOR__MX_NOBODY without a P                   */
    gor__aptr  p;                      /* held, or NULL                                        */
    gor__aptr  prev;                   /* just left: after_switch finishes with it             */
    gor__aptr  left_at;                /* where the gor__arch_wait left last goes on: a hint   */
    int       *errno_at;
    void     **eh_at;
    gor__au32  detour;                 /* or of gor__detour: what is next, only g0 can say     */
    gor__au32 *in_call;                /* its thread's: 1 in a gor call, 0 in the user's code  */
    gor__aptr  handed;                 /* run this next: popped on a goroutine's stack         */
    gor__aptr  locked_g;               /* runs nothing else                                    */
    gor__gqueue preempted;             /* switched off in place: they go on here; [preempt]    */
    bool       preempted_turn;
    gor__au32  refused;                /* signals that came where it may not be switched       */
    sigset_t   mask;                   /* its thread's signal mask                             */
    gor__au64  rng;
    bool       spinning;
    bool       called;                 /* it was woken to look for work: [idle] I7             */
    uint32_t   n_stolen;               /* by its last steal, until asked whether it paid       */
    int64_t    stolen_ns;              /* when that was: [idle] I8                             */
    int64_t    loss;                   /* stolen and not paid for, of late                     */
    uint32_t   left;                   /* Ps whose few it left to them when it last came       */
    gor__au32  park;                   /* futex: 1: go on                                      */
    gor__au32  polling;                /* it sleeps in the poller, not on park                 */
    uint32_t   polls_seen;             /* rt.polls when it last asked                          */
    gor__au32  polls_own;              /* its own since; goroutines poll too                   */
    gor__au32  polled_in_vain;         /* who waits has, just now: g0 need not look: [poll]    */
    gor__p    *next_p;                 /* the P that the waker gives                           */
    struct gor__m *idle_next, *all_next;
    void      *memory;                 /* what to free                                         */
    bool       is_main;                /* the thread that called gor_run                       */
    gor__au32  tid;
    gor__au32  state;                  /* enum gor__m_state                                    */
    void      *alt_stack;
    gor__g     g0;
} gor__m;

GOR__STATIC_ASSERT(offsetof(gor__m, g) == offsetof(gor__near_m, g) &&
                   offsetof(gor__m, attention) == offsetof(gor__near_m, attention) &&
                   offsetof(gor__m, p) == offsetof(gor__near_m, p) &&
                   offsetof(gor__m, mine) == offsetof(gor__near_m, mine), "[fast] knows M");
GOR__STATIC_ASSERT(offsetof(gor__g, stack) == 64 && offsetof(gor__g, locked) == 128,
                   "a switch touches one line of G, a start two");
GOR__STATIC_ASSERT(offsetof(gor__m, in_call) == 64, "and one of M");
GOR__STATIC_ASSERT(offsetof(gor__p, near) == 0, "[fast] knows P");

/* ENDING: its loop is to leave. GONE: its thread does not know it any more. */
enum gor__m_state { GOR__M_RUNNING, GOR__M_IDLE, GOR__M_ENDING, GOR__M_GONE };

#define GOR__SLAB_CAP 64
typedef struct gor__gslab {
    struct gor__gslab *next;
    gor__g     g[GOR__SLAB_CAP];
    gor__crate crate[GOR__SLAB_CAP / GOR__CRATE_CAP];  /* so there are enough if all are full  */
} gor__gslab;

/* The runtime. One at a time. A line of the cache each for what is read all the time, for what is
 * written when a processor finds nothing to do, and for what the lock guards. */
static struct {
    gor__au32   running;               /* enum gor__run_state                                  */
    uint64_t    epoch;                 /* which start this is, of all                          */
    gor_options opt;
    bool        with_main;             /* by gor_run                                           */
    gor__aptr   allp[GOR__MAX_PROCS];
    gor__m     *main_m;                /* of the thread that called gor_run                    */
    int         preempt_signal;        /* 0: none is used                                      */
    int64_t     keep_thread_ns;        /* a spare idle M leaves after that time                */

    gor__au32   stopping GOR__OWN_LINE;        /* read at each switch, start or call           */
    gor__au32   urgent;                /* something that run queues do not show: look around   */
    gor__au32   tracing;               /* g0 is to see every turn: [trace]                     */
    gor__ai64   coarse_ns;             /* the time, a few ms behind                            */
    gor__ai64   date;                  /* sysmon writes: a time, renewed each few ms; who read */
                                       /* the one before had done so by then: [date] A1; or    */
                                       /* GOR__NO_DATE                                         */
    gor__au32   in_vain;               /* so many wakes in a row found no work: [idle] I7      */
    gor__au32   lone;                  /* enum gor__lone_state                                 */
    gor__au32   n_procs;               /* wanted                                               */
    gor__au32   n_asked;               /* what gor_procs says; SCHED                           */
    gor__au32   n_allp;                /* exist: [0, n_allp) of allp are set                   */
    int         stack_class;           /* of goroutines without a size of their own            */
    gor__au32   g_cap;                 /* dead Gs that a P may keep                            */
    gor__au32   poller;                /* it exists: fds are waited for                        */
    gor__au32   poll_due;              /* nobody did for long: who schedules next should       */
    bool        membarrier;

    gor__au32   n_idle_p GOR__OWN_LINE;        /* read at each ready; written under the lock   */
    gor__au32   n_spinning;
    gor__aptr   sleeper;               /* the idle M that wakes for the first timer, and fds   */
    gor__ai64   sleep_until;
    gor__aptr   standby;               /* the idle M that asks now and then: [idle] I6         */
    gor__ai64   standby_until;         /* it asks again by then                                */
    gor__au32   sysmon_idle;

    gor__spin   lock GOR__OWN_LINE;            /* SCHED: all until slabs                       */
    gor__au32   n_idle_m;
    gor__p     *idle_p;
    gor__m     *idle_m;
    gor__m     *all_m;
    int         n_m;
    gor__gring  global;
    gor__gqueue high, low;
    gor__gstack fresh;                 /* spilled from run queues, not begun: [ready] I4       */
    int64_t     fresh_ns;              /* [sysmon]'s: when it last looked at the oldest        */
    gor__ai64   low_since;             /* low has been waiting since then                      */
    gor__crate *full, *empty;          /* full: of dead Gs, at least one                       */
    gor__g     *gfree;                 /* dead, in no crate                                    */
    gor__g     *gbare;                 /* there was no address space for a stack               */
    gor__gslab *slabs;
    uint32_t    n_slabs;               /* for all of whose Gs there is room in global          */

    gor__au64   next_id GOR__OWN_LINE;
    gor__au64   outside_started;       /* goroutines started from foreign threads              */
    gor__au32   n_blocked;             /* goroutines that have a thread and no P               */
    gor__au32   polls;                 /* how often somebody looked for fds                    */
    gor__au64   retaken;               /* Ps taken from Ms; sysmon writes                      */
    gor__au32   signals;               /* channels that wait for signals                       */
    gor__au32   sysmon_park;
    gor__au32   sysmon_gone;
    gor__au32   stopped;               /* futex: the main M's word to return                   */
    gor__au32   result;                /* an int                                               */
    gor__au32   main_home;             /* it has left its loop                                 */
    gor__au32   main_returned;         /* it is no leak, wherever it is                        */
    gor__au32   main_left;             /* by gor_exit: the last goroutine's end stops the run  */
} gor__rt;

/* Foreign threads asleep in a gor call without a deadline; they may outlast a run. */
static gor__au32 gor__n_foreign;

/* Low half: foreign threads inside a gor call, and not asleep there; the end of a run waits for
 * them. High half: how often one came in or woke up there; [sysmon] sees that some have moved. */
static gor__au64 gor__foreign;
#define GOR__FOREIGN_MOVE ((uint64_t)1 << 32)

GOR__INLINE void gor__foreign_in(void) { gor__au64_add(&gor__foreign, GOR__FOREIGN_MOVE + 1); }
GOR__INLINE void gor__foreign_out(void) { gor__au64_add(&gor__foreign, (uint64_t)-1); }
GOR__INLINE bool gor__foreign_inside(void)
{
    return (uint32_t)gor__au64_load_sc(&gor__foreign) != 0;
}

static gor__cancel gor__no_ctx;                /* [spawn] instead of the starter's own */

/* [report] */
static void gor__fatal(const char *headline, const gor__g *who) __attribute__((noreturn));

/* Calls upward: filled in by the parts that own them. */
static struct {
    int  (*m_start)(gor__p *p, bool spinning);   /* [machine] a thread that begins with p      */
    void *(*g_main)(void);                       /* [life] the outermost frame                 */
    void (*overflowed)(gor__g *g);               /* [faults] says so and ends the program      */
    gor__g *(*poll)(int64_t deadline);           /* [poll] Gs whose fds are ready, by link     */
    void (*signalled)(void);                     /* [signal] hand out what has arrived         */
    int  (*cancel_time)(gor__cancel *c);         /* [context] a timer for the deadline         */
} gor__up;

enum gor__run_state { GOR__OFF, GOR__STARTING, GOR__ON, GOR__ENDING };

/* Is there a runtime, with all that its start has set? It ends after each call that has begun. */
GOR__INLINE bool gor__is_on(void)
{
    return gor__au32_load_acq(&gor__rt.running) == GOR__ON;        /* acq rt.running */
}

static gor__cancel *gor__cancel_retain(gor__cancel *c)
{
    gor__au32_add(&c->refs, 1);
    return c;
}

static void gor__cancel_release(gor__cancel *c)
{
    if (c && gor__au32_add(&c->refs, (uint32_t)-1) == 1)
        c->destroy(c);
}

#if GOR_CHECK
static uint64_t gor__stress;                   /* seed; 0: off */
static gor__au64 gor__stress_rng;
/* True one time in n, under stress. */
static bool gor__stress_hit(uint32_t n)
{
    return gor__stress && gor__random_below(&gor__stress_rng, n) == 0;
}
#else
GOR__INLINE bool gor__stress_hit(uint32_t n) { (void)n; return false; }
#endif

GOR__INLINE gor__m *gor__self(void) { return (gor__m *)gor__arch_self(); }
GOR__INLINE gor__g *gor__m_g(const gor__m *m) { return (gor__g *)gor__aptr_load_rlx(&m->g); }
GOR__INLINE gor__p *gor__m_p(const gor__m *m) { return (gor__p *)gor__aptr_load_rlx(&m->p); }
GOR__INLINE gor__p *gor__p_of(const gor__m *m) { return m ? gor__m_p(m) : NULL; }  /* or NULL */

/* m's inlined locks begin with a look from now on: with [machine] gor__mine_begin. */
GOR__INLINE void gor__mine_end(gor__m *m) { gor__au32_store_rel(&m->mine, GOR__MX_NOBODY); }

/* May m's goroutine take what mine says? Other threads may be about to end it. */
GOR__INLINE bool gor__mine_holds(const gor__m *m)
{
    uint32_t mine = gor__au32_load_rlx(&m->mine);
    gor__p *p = gor__m_p(m);
    return mine == GOR__MX_NOBODY ||
           (p && !gor__m_g(m)->ctx && (mine == 0 || mine == gor__au32_load_rlx(&p->own)));
}

/* m's next call is to look at that; what is of enum gor__attention. */
static void gor__call_on(gor__m *m, uint32_t what)
{
    gor__au32_or(&m->attention, what);
    gor__mine_end(m);
}
GOR__INLINE gor__p *gor__p_at(uint32_t i) { return (gor__p *)gor__aptr_load_acq(&gor__rt.allp[i]); }

GOR__INLINE void gor__gq_push(gor__gqueue *q, gor__g *g)
{
    gor__aptr_store_rlx(&g->link, NULL);
    if (q->tail)
        gor__aptr_store_rlx(&q->tail->link, g);
    else
        q->head = g;
    q->tail = g;
    gor__au32_store_sc(&q->n, gor__au32_load_rlx(&q->n) + 1);
}

GOR__INLINE gor__g *gor__gq_pop(gor__gqueue *q)
{
    gor__g *g = q->head;
    if (!g)
        return NULL;
    q->head = (gor__g *)gor__aptr_load_rlx(&g->link);
    if (!q->head)
        q->tail = NULL;
    gor__au32_store_sc(&q->n, gor__au32_load_rlx(&q->n) - 1);
    return g;
}

/* Append g. After one or many: gor__gr_tell. */
GOR__INLINE void gor__gr_add(gor__gring *r, gor__g *g) { r->slot[r->tail++ & (r->cap - 1)] = g; }

/* Take the oldest, or NULL. After one or many: gor__gr_tell. */
GOR__INLINE gor__g *gor__gr_take(gor__gring *r)
{
    return r->head != r->tail ? r->slot[r->head++ & (r->cap - 1)] : NULL;
}

/* Publish how many there are. */
GOR__INLINE void gor__gr_tell(gor__gring *r)
{
    if (r->head == r->tail)
        r->head = r->tail = 0;                     /* where it is warm */
    gor__au32_store_sc(&r->n, r->tail - r->head);
}

/* Use slot from now on, which has room for *cap, more than there was. Returns the old memory, to be
 * freed, and in *cap its room. */
static gor__g **gor__gr_renew(gor__gring *r, gor__g **slot, uint32_t *cap)
{
    gor__g **old = r->slot;
    uint32_t n = r->tail - r->head, old_cap = r->cap;
    for (uint32_t i = 0; i < n; i++)
        slot[i] = old[(r->head + i) & (old_cap - 1)];
    r->slot = slot;
    r->head = 0;
    r->tail = n;
    r->cap = *cap;
    *cap = old_cap;
    return old;
}

GOR__INLINE void gor__crate_push(gor__crate **list, gor__crate *c)
{
    c->older = *list;
    *list = c;
}

GOR__INLINE gor__crate *gor__crate_pop(gor__crate **list)
{
    gor__crate *c = *list;
    if (c)
        *list = c->older;
    return c;
}

GOR__INLINE uint32_t gor__crate_n(const gor__crate *c) { return gor__au32_load_rlx(&c->n); }

GOR__INLINE gor__g *gor__crate_at(const gor__crate *c, uint32_t i)
{
    return (gor__g *)gor__aptr_load_rlx(&c->g[i]);
}

/* c is not full. */
GOR__INLINE void gor__crate_put(gor__crate *c, gor__g *g)
{
    uint32_t n = gor__crate_n(c);
    gor__aptr_store_rlx(&c->g[n], g);
    gor__au32_store_rlx(&c->n, n + 1);
}

/* The last that was put in; c is not empty. */
GOR__INLINE gor__g *gor__crate_take(gor__crate *c)
{
    uint32_t n = gor__crate_n(c) - 1;
    gor__au32_store_rlx(&c->n, n);
    return gor__crate_at(c, n);
}

/* c, empty, becomes the newest. */
static void gor__gs_extend(gor__gstack *s, gor__crate *c)
{
    c->older = s->newest;
    c->newer = NULL;
    *(s->newest ? &s->newest->newer : &s->oldest) = c;
    s->newest = c;
}

static void gor__gs_remove(gor__gstack *s, gor__crate *c)
{
    *(c->newer ? &c->newer->older : &s->newest) = c->older;
    *(c->older ? &c->older->newer : &s->oldest) = c->newer;
}

/* Put g on top. After one or many: gor__gs_tell. False: there is no empty crate for it. */
GOR__INLINE bool gor__gs_add(gor__gstack *s, gor__g *g)
{
    if (!s->newest || gor__crate_n(s->newest) == GOR__CRATE_CAP) {
        gor__crate *c = gor__crate_pop(&gor__rt.empty);
        if (!c)
            return false;
        gor__gs_extend(s, c);
    }
    gor__crate_put(s->newest, g);
    s->count++;
    return true;
}

/* Publish how many there are. */
GOR__INLINE void gor__gs_tell(gor__gstack *s) { gor__au32_store_sc(&s->n, s->count); }

/* Take the last of c, the newest crate or the oldest; NULL if that is NULL. Then gor__gs_tell. */
GOR__INLINE gor__g *gor__gs_take(gor__gstack *s, gor__crate *c)
{
    gor__g *g;
    if (!c)
        return NULL;
    g = gor__crate_take(c);
    if (gor__crate_n(c) == 0) {
        gor__gs_remove(s, c);
        gor__crate_push(&gor__rt.empty, c);
    }
    s->count--;
    return g;
}

/* ==== [due] timers in the order in which they are due ===========================================
 * What        Two arrays of {when, timer}. The line: each is due as late as the one before it, or
 *             later; a ring, to whose end most are added, because most programs wait for as long
 *             again and again, and whose head goes first. The heap: all others. The timer knows its
 *             place, so one is added, changed and taken out in O(log n), in the line in O(1), and
 *             leaves nothing behind but, in the middle of the line, a gap, which has no timer.
 * Invariants  D1 heap[i].timer->index == i for all i < n; parent's when <= child's.
 *             D2 line_at(i).timer->index == (i | GOR__IN_LINE) for all from head to tail, but for
 *                gaps; each when >= the one before. There is no gap at head.
 *             D3 n + tail - head <= cap: so whatever is in the line has a place in the heap.
 *             D4 The line is closed up when there is no room and most of it is gaps: so that each
 *                timer is moved a few times at most, whatever the order. Without memory for more
 *                room, any gap will do.
 * Locks       The owner's ([timer]).
 * Source      4-ary heap: fewer levels, and four children share a cache line (LaMarca, Ladner,
 *             1996). The line: a timing list of one duration, as in Varghese and Lauck, "Hashed and
 *             Hierarchical Timing Wheels" (1987), scheme 2, for whatever duration is common.
 * Tests       tests/time.c
 */
#define GOR__HEAP_ARITY 4
#define GOR__TIMERS_MOST ((uint32_t)1 << 30)
#define GOR__STRAYS 8                          /* at the end of the line: a few                 */
#define GOR__EARLY  64                         /* one in so many makes them make way            */
#define GOR__IN_LINE ((uint32_t)1 << 31)       /* in an index: the rest is a place in the line  */

static gor__timer_entry *gor__due_alloc(uint32_t cap)
{
    return (gor__timer_entry *)gor__alloc(2 * (size_t)cap * sizeof(gor__timer_entry));
}

static void gor__due_free(gor__timer_entry *memory, uint32_t cap)
{
    gor__free(memory, 2 * (size_t)cap * sizeof *memory);
}

/* D3. head, n or cap has changed. */
GOR__INLINE void gor__due_measure(gor__timers *h) { h->full = h->head + h->cap - h->n; }

static void gor__due_use(gor__timers *h, gor__timer_entry *memory, uint32_t cap)
{
    h->heap = memory;
    h->line = memory + cap;
    h->cap = cap;
    h->mask = cap - 1;
    gor__due_measure(h);
}

/* -- the heap ------------------------------------------------------------------------------ */

static void gor__heap_set(gor__timers *h, uint32_t i, gor__timer_entry e)
{
    h->heap[i] = e;
    e.timer->index = i;
}

static void gor__heap_up(gor__timers *h, uint32_t i, gor__timer_entry e)
{
    while (i > 0) {
        uint32_t parent = (i - 1) / GOR__HEAP_ARITY;
        if (h->heap[parent].when <= e.when)
            break;
        gor__heap_set(h, i, h->heap[parent]);
        i = parent;
    }
    gor__heap_set(h, i, e);
}

static void gor__heap_down(gor__timers *h, uint32_t i, gor__timer_entry e)
{
    for (;;) {
        uint32_t child = i * GOR__HEAP_ARITY + 1, least = child, end = child + GOR__HEAP_ARITY;
        if (child >= h->n)
            break;
        if (end > h->n)
            end = h->n;
        while (++child < end)
            if (h->heap[child].when < h->heap[least].when)
                least = child;
        if (h->heap[least].when >= e.when)
            break;
        gor__heap_set(h, i, h->heap[least]);
        i = least;
    }
    gor__heap_set(h, i, e);
}

static void gor__heap_add(gor__timers *h, gor__timer_entry e)
{
    gor__heap_up(h, h->n++, e);
    gor__due_measure(h);
}

/* Put e at i, which is vacant, or where it belongs from there. */
static void gor__heap_put(gor__timers *h, uint32_t i, gor__timer_entry e)
{
    if (i > 0 && h->heap[(i - 1) / GOR__HEAP_ARITY].when > e.when)
        gor__heap_up(h, i, e);
    else
        gor__heap_down(h, i, e);
}

static void gor__heap_remove(gor__timers *h, uint32_t i)
{
    gor__timer_entry last = h->heap[--h->n];
    gor__due_measure(h);
    if (i != h->n)
        gor__heap_put(h, i, last);
}

/* -- the line ------------------------------------------------------------------------------ */

/* How many, with the gaps. */
GOR__INLINE uint32_t gor__line_n(const gor__timers *h) { return h->tail - h->head; }

GOR__INLINE gor__timer_entry *gor__line_at(const gor__timers *h, uint32_t at)
{
    return &h->line[at & h->mask];
}

/* Is there room for one more, wherever it belongs? */
GOR__INLINE bool gor__due_has_room(const gor__timers *h)
{
    return h->tail != h->full;
}

/* It has one; what is due then comes no sooner than its last one? */
GOR__INLINE bool gor__line_suits(const gor__timers *h, int64_t when)
{
    return gor__line_n(h) == 0 || gor__line_at(h, h->tail - 1)->when <= when;
}

/* There is room, and it suits. */
GOR__INLINE void gor__line_append(gor__timers *h, gor__timer_entry e)
{
    *gor__line_at(h, h->tail) = e;
    e.timer->index = h->tail++ | GOR__IN_LINE;
}

/* Put e at the end. False: there is no room, or it does not suit. */
GOR__INLINE bool gor__line_try_append(gor__timers *h, gor__timer_entry e)
{
    if (GOR__UNLIKELY(!gor__due_has_room(h) || !gor__line_suits(h, e.when)))
        return false;
    gor__line_append(h, e);
    return true;
}

GOR__INLINE bool gor__line_is_last(const gor__timers *h, const gor_timer *t)
{
    return t->index == ((h->tail - 1) | GOR__IN_LINE);
}

/* Take t out if it is the last. It was the only one: head is where tail is. */
GOR__INLINE bool gor__line_remove_last(gor__timers *h, const gor_timer *t)
{
    if (!gor__line_is_last(h, t))
        return false;
    h->tail--;
    return true;
}

/* There is a gap; those at the head go. */
static void gor__line_trim(gor__timers *h)
{
    for (; gor__line_n(h) && !gor__line_at(h, h->head)->timer; h->head++)
        h->gaps--;
    gor__due_measure(h);
}

static void gor__line_remove(gor__timers *h, gor_timer *t)
{
    if (gor__line_remove_last(h, t))
        return;
    gor__line_at(h, t->index)->timer = NULL;
    h->gaps++;
    gor__line_trim(h);
}

/* The last one, or gap, goes, one to the heap. */
static void gor__line_drop_last(gor__timers *h)
{
    gor__timer_entry e = *gor__line_at(h, --h->tail);
    if (e.timer)
        gor__heap_add(h, e);
    else
        h->gaps--;
}

/* Without the gaps. */
static void gor__line_close_up(gor__timers *h)
{
    uint32_t at = h->head, end = h->tail;
    h->tail = at;
    h->gaps = 0;
    for (; at != end; at++)
        if (gor__line_at(h, at)->timer)
            gor__line_append(h, *gor__line_at(h, at));
}

/* -- both ---------------------------------------------------------------------------------- */

GOR__INLINE uint32_t gor__due_n(const gor__timers *h)
{
    return h->n + gor__line_n(h) - h->gaps;
}

/* The first of all, or NULL. */
GOR__INLINE const gor__timer_entry *gor__due_first(const gor__timers *h)
{
    const gor__timer_entry *e = gor__line_n(h) ? gor__line_at(h, h->head) : NULL;
    return h->n && (!e || h->heap[0].when < e->when) ? &h->heap[0] : e;
}

static void gor__due_remove(gor__timers *h, gor_timer *t)
{
    if (t->index & GOR__IN_LINE)
        gor__line_remove(h, t);
    else
        gor__heap_remove(h, t->index);
}

/* Are only a few in the line due later? */
static bool gor__line_nearly_suits(const gor__timers *h, int64_t when)
{
    return gor__line_n(h) <= GOR__STRAYS ||
           gor__line_at(h, h->tail - 1 - GOR__STRAYS)->when <= when;
}

/* One that is due before the last in the line is to go there. Now and then, if only a few there are
 * later, they make way: so those do not keep all others out of the line for as long as they are.
 * True: now it suits. */
static GOR__NOINLINE bool gor__line_make_way(gor__timers *h, int64_t when)
{
    if (++h->early % GOR__EARLY == 0 && gor__line_nearly_suits(h, when))
        while (!gor__line_suits(h, when))
            gor__line_drop_last(h);
    return gor__line_suits(h, when);
}

/* Is the line the place for what is due then? */
GOR__INLINE bool gor__line_takes(gor__timers *h, int64_t when)
{
    return GOR__LIKELY(gor__line_suits(h, when)) || gor__line_make_way(h, when);
}

/* There is room. */
GOR__INLINE void gor__due_add(gor__timers *h, gor__timer_entry e)
{
    if (gor__line_takes(h, e.when))
        gor__line_append(h, e);
    else
        gor__heap_add(h, e);
}

/* Use this memory, of a bigger cap, from now on. Returns the one until now, to be freed. */
static gor__timer_entry *gor__due_renew(gor__timers *h, gor__timer_entry *memory, uint32_t cap)
{
    gor__timer_entry *old = h->heap;
    if (h->n)
        memcpy(memory, old, h->n * sizeof *memory);
    for (uint32_t at = h->head; at != h->tail; at++)
        memory[cap + (at & (cap - 1))] = *gor__line_at(h, at);
    gor__due_use(h, memory, cap);
    return old;
}

/* Room for n in all. False: out of memory. */
static bool gor__due_reserve(gor__timers *h, uint32_t n)
{
    uint32_t old_cap = h->cap, cap = old_cap;
    gor__timer_entry *memory;
    while (cap < n && cap < GOR__TIMERS_MOST)
        cap *= 2;
    if (cap == old_cap)
        return n <= cap;
    memory = n <= cap ? gor__due_alloc(cap) : NULL;
    if (memory)
        gor__due_free(gor__due_renew(h, memory, cap), old_cap);
    return memory != NULL;
}

/* D4. False: there is no room but by renewal; or, without memory, gor__line_close_up. */
static bool gor__due_make_room(gor__timers *h)
{
    if (!gor__due_has_room(h) && h->gaps > h->cap / 2)
        gor__line_close_up(h);
    return gor__due_has_room(h);
}

/* Would t, taken out, leave a gap, and so its room taken? */
GOR__INLINE bool gor__due_leaves_gap(const gor__timers *h, const gor_timer *t)
{
    return (t->index & GOR__IN_LINE) && t->index != (h->head | GOR__IN_LINE) &&
           !gor__line_is_last(h, t);
}

/* A timer that is in h is due at e.when from now on. False: it stays as it was, for there is no
 * room but by renewal. */
static bool gor__due_change(gor__timers *h, gor__timer_entry e)
{
    if (!(e.timer->index & GOR__IN_LINE) && !gor__line_takes(h, e.when)) {
        gor__heap_put(h, e.timer->index, e);
        return true;
    }
    if (gor__due_leaves_gap(h, e.timer) && !gor__due_make_room(h))
        return false;
    gor__due_remove(h, e.timer);
    gor__due_add(h, e);
    return true;
}

/* ==== [date] timers that start without a look at the clock ======================================
 * What        When a timer is due is said from now on, and to ask what is now was half of what a
 *             start and stop took. Most that are far off are timeouts, and stopped long before. So
 *             one of GOR__UNDATED_NS or more starts undated, if that locks nothing: all that is
 *             asked is the date, a time that [sysmon] publishes each 5 ms or sooner. Who next locks
 *             these timers, as a rule its own P within microseconds, dates them: then they are due
 *             as long after a moment between start and now as they were to be after their start.
 * Invariants  A1 Who renews the date takes it away first, fences, and then asks the clock: so every
 *                look at gor__rt.date that found the old one was over by the new one.
 *             A2 The last `undated` of the line were started while gor__rt.date was `date`, and are
 *                due as long after `base`, which was before that, or microseconds after it: so too
 *                early, until gor__date_line adds at least what was between. base never goes back,
 *                and each dating moves it on: so the next of as long still suits the line.
 *             A3 Under the lock of the timers none is undated, nor on an idle P: who gives one up,
 *                or takes it, dates. So nobody goes to sleep by a when that is too early, to find
 *                then that its time begins. On its way from M to M a P may have some.
 *             A4 Of the undated of each P sysmon remembers the first date that came after theirs:
 *                they are late by the time to that, at most, even if a goroutine makes no gor call
 *                for long. While sysmon is held up they are dated by the clock; while it sleeps
 *                there is no date, and none is undated.
 * Locks       timers.own, or a window of its owner. gor__rt.date is [sysmon]'s.
 * Source      Timers whose exactness is a share of their length: the timer wheel of Linux since 4.8
 *             (Gleixner, "timers: Switch to a non-cascading wheel", 2016), an eighth there; here a
 *             hundredth, as a rule much less, and never early.
 * Tests       tests/time.c
 */
#define GOR__NO_DATE 0                         /* nobody renews it, or it is being renewed */
#define GOR__UNDATED_MOST 256                  /* then they are dated: not too many at once */

/* By sysmon: this date has come after the one by which those of h are undated. If the owner goes on
 * to another date meanwhile, next_of names one that is over, and nobody asks for it. A4 */
static void gor__date_remember(gor__timers *h, int64_t date)
{
    int64_t of = gor__ai64_load_rlx(&h->date);
    if (gor__au32_load_rlx(&h->undated) && of != date && gor__ai64_load_rlx(&h->next_of) != of) {
        gor__ai64_store_rlx(&h->next, date);
        gor__ai64_store_rel(&h->next_of, of);      /* rel timers.next_of: next */
    }
}

/* By sysmon: from now on nobody goes by it. Before it sleeps, for then nobody renews it. */
static void gor__date_end(void) { gor__ai64_store_rlx(&gor__rt.date, GOR__NO_DATE); }

/* By sysmon. Returns now: what the system says after the date was taken away, for its clock is read
 * in order, which the counter alone is not. A1 */
static int64_t gor__date_renew(void)
{
    uint32_t n = gor__au32_load_acq(&gor__rt.n_allp);
    int64_t now, date;
    gor__date_end();
    gor__arch_fence();
    now = gor__os_now();
    date = now + GOR__CLOCK_AHEAD_NS;
    gor__ai64_store_rel(&gor__rt.date, date);
    for (uint32_t i = 0; i < n; i++)
        gor__date_remember(&gor__p_at(i)->timers, date);
    return now;
}

/* The time is t, or later: base follows. Returns by how much. */
GOR__INLINE int64_t gor__date_pass(gor__timers *h, int64_t t)
{
    int64_t by = t > h->base ? t - h->base : 0;
    h->base += by;
    return by;
}

/* Put t at the end, due ns after its start, which is now. False: it cannot be undated, or there is
 * no room, or it does not suit; then it is as it was. */
GOR__INLINE bool gor__date_append(gor__timers *h, gor_timer *t, int64_t ns)
{
    int64_t date = gor__ai64_load_rlx(&gor__rt.date);
    uint32_t n = gor__au32_load_rlx(&h->undated);
    gor__timer_entry e = { 0, t };
    if (GOR__UNLIKELY(date != gor__ai64_load_rlx(&h->date))) {
        if (n || date == GOR__NO_DATE)
            return false;
        gor__ai64_store_rlx(&h->date, date);
        gor__date_pass(h, date);
    }
    e.when = gor__later(h->base, ns);
    if (GOR__UNLIKELY(n == GOR__UNDATED_MOST) || !gor__line_try_append(h, e))
        return false;
    t->when = e.when;
    gor__au32_store_rlx(&h->undated, n + 1);
    return true;
}

/* The same for one whose when is set. False also: the last are undated. */
GOR__INLINE bool gor__date_append_dated(gor__timers *h, gor_timer *t)
{
    gor__timer_entry e = { t->when, t };
    return GOR__LIKELY(!gor__au32_load_rlx(&h->undated)) && gor__line_try_append(h, e);
}

/* The last has been taken out. */
GOR__INLINE void gor__date_less_one(gor__timers *h)
{
    uint32_t n = gor__au32_load_rlx(&h->undated);
    if (n)
        gor__au32_store_rlx(&h->undated, n - 1);
}

/* A moment after all the undated were started. */
static int64_t gor__date_from(const gor__timers *h)
{
    int64_t of = gor__ai64_load_rlx(&h->date), date;
    if (gor__ai64_load_acq(&h->next_of) == of)     /* acq timers.next_of */
        return gor__ai64_load_rlx(&h->next);
    date = gor__ai64_load_rlx(&gor__rt.date);
    return date == of || date == GOR__NO_DATE ? gor__now_above() : date;
}

/* A2. There is no gap among them: none but the last is taken out while they are undated. They move
 * by the same, so the order stays. */
static void gor__date_line(gor__timers *h)
{
    int64_t late = gor__date_pass(h, gor__date_from(h));
    for (uint32_t at = h->tail - gor__au32_load_rlx(&h->undated); at != h->tail; at++) {
        gor__timer_entry *e = gor__line_at(h, at);
        e->when = gor__later(e->when, late);
        e->timer->when = e->when;
    }
    gor__au32_store_rlx(&h->undated, 0);
}

/* ==== [window] plain loads and stores that others can wait for ===================================
 * What        The few instructions in which an M looks at a word and then changes it, or what
 *             goes with it, by plain loads and stores: what meets nobody saves the locked ones.
 *             Opened in [fast], [locks], [owned], [timer], [select], [lone] and [runq], by Ms that
 *             have a P.
 * Invariants  W1 In a window *m->in_call is the word's mark, or GOR__WINDOW_ANY, for several words:
 *                set before they are looked at, and taken off after the last store.
 *             W2 Who changes a word so that it bars windows, and then calls gor__windows_close,
 *                finds that each of them is over, or has seen it: a membarrier stands between the
 *                change and the look at the marks. It is a word that no window stores to: one that
 *                does reads what it stored last itself, and wipes out the change, again and again.
 *             W3 Nothing is touched after the last store but the thread's own mark: so the object
 *                may be freed by who comes next. The usual answer, to look for waiters after the
 *                store, would read freed memory.
 *             W4 Without membarrier there are none: GOR__FENCE keeps calls out of [fast], by mine
 *                and attention; [owned], [lone] and [runq] ask gor__windows_matter.
 * Locks       gor__windows_close takes gor__rt.lock (SCHED); not from within a window.
 */
static void gor__lock_sched(void) { gor__lock_always(&gor__rt.lock, GOR__RANK_SCHED); }
static void gor__unlock_sched(void) { gor__unlock(&gor__rt.lock, GOR__RANK_SCHED); }

/* Who holds a P on its way from the idle list to an M: nobody, but it is not free either. */
static gor__m gor__in_transit;

/* Who has p, and is he in a gor call ([machine] I1)? NULL: nobody. Under the lock a holder's thread
 * does not end, nor its words: both answers are of one moment. */
static gor__m *gor__p_holder(gor__p *p, uint32_t *in_call)
{
    gor__m *m;
    gor__lock_sched();
    m = (gor__m *)gor__aptr_load_acq(&p->m);
    if (m == &gor__in_transit)
        m = NULL;
    *in_call = m ? gor__au32_load_acq(m->in_call) : 0;
    gor__unlock_sched();
    return m;
}

#define GOR__WINDOW_ANY 3

#if GOR__TSAN
GOR__INLINE void gor__window_mark(uint32_t mark)
{
    gor__au32_store_rel(gor__arch_in_call(), mark);
    GOR__COMPILER_BARRIER();
}
#else
GOR__INLINE void gor__window_mark(uint32_t mark) { gor__arch_call_mark(mark); }
#endif

GOR__INLINE void gor__window_open(const gor__au32 *word) { gor__window_mark(gor__near_mark(word)); }
GOR__INLINE void gor__window_shut(void) { gor__window_mark(1); }    /* rel window: what it stored */

/* Can there be a window on another P? While locks are elided there is no other. */
GOR__INLINE bool gor__windows_matter(void)
{
    return gor__rt.membarrier && gor__au32_load_rlx(&gor__shared) != 0;
}

/* W2. An object's lock may be held: who is in a window waits for nobody. */
static GOR__NOINLINE void gor__windows_close(const gor__au32 *word)
{
    uint32_t mark;
    gor__os_membarrier();
    for (uint32_t i = 0; i < gor__au32_load_sc(&gor__rt.n_allp); i++)
        while (gor__p_holder(gor__p_at(i), &mark) &&       /* acq window */
               (mark == gor__near_mark(word) || mark == GOR__WINDOW_ANY))
            gor__os_yield();
}

/* ==== [owned] locks that one processor takes again and again =====================================
 * What        Goroutines that talk to each other most often run on one P. A channel at which
 *             somebody parked GOR__OWN_AFTER times in a row on the same P becomes that P's own: it
 *             then takes the lock by a look and a plain store, in a window ([window]), instead of
 *             by a locked instruction. Another that wants it ends that first, which takes 2 us and
 *             disturbs the other processors. Parks are counted, and not locks: to count costs
 *             something, and a park costs much more. The timers of a P become its own in the same
 *             way, by starts that take the lock.
 * Invariants  O1 A lock becomes a P's own while that P holds it. Its word then names the owner,
 *                free or with GOR__TAKEN, until O2: each unlock leaves the owner there.
 *             O2 Who wants an owned lock bars it, closes the windows, and then takes it, once it is
 *                free, by a compare-and-swap, which names no owner any more. While it is barred
 *                the owner takes it by one, too, and stays the owner. To change the word alone
 *                would bar nothing: [window] W2.
 *             O3 In the whole program one is given away in 20 us or so (gor__may_own): so the
 *                membarriers that take them back stay rare, whatever the program does.
 *             O4 Who unlocks knows from its lock what to leave: to look would wait for the line, if
 *                another processor has come for it meanwhile. Where the holder may have made it its
 *                P's own (gor__note_use), as with timers and in waits, the unlock looks all the
 *                same: others come for those seldom.
 * Locks       Spins at the lock itself; gor__rt.lock (SCHED) in gor__windows_close.
 * Source      Biased locks: Kawachiya, Koseki and Onodera, "Lock Reservation" (2002); Dice, Moir
 *             and Scherer, "Quickly Reacquirable Locks" (2003). Here a processor owns, and a
 *             membarrier stands in for stopping the thread.
 * Tests       tests/sync.c; with GOR_CHECK or ThreadSanitizer four uses in a row are enough
 */
#if GOR_CHECK || GOR__TSAN
#define GOR__OWN_AFTER 4
#define GOR__OWN_TICKS 1
#else
#define GOR__OWN_AFTER 64
#define GOR__OWN_TICKS (4 * GOR__ARCH_TICKS)
#endif
static gor__au64 gor__owned_at;                /* ticks: when a lock last became somebody's own */

/* May one more lock become a P's own now? O3 */
static bool gor__may_own(void)
{
    uint64_t now = gor__arch_ticks();
    if (!gor__windows_matter() || now - gor__au64_load_rlx(&gor__owned_at) < GOR__OWN_TICKS)
        return false;
    gor__au64_store_rlx(&gor__owned_at, now);
    return true;
}

/* The word of a free lock of this M's P, or what no lock has. */
GOR__INLINE uint32_t gor__own_word(const gor__m *m)
{
    const gor__p *p = gor__p_of(m);
    return p ? gor__au32_load_rlx(&p->own) : GOR__MX_NOBODY;
}

/* In a window: is it free, and of the P with this word? Then it stays so. */
GOR__INLINE bool gor__own_is_free(const gor__ownable *l, uint32_t own)
{
    uint32_t barred = gor__au32_load_acq(&l->barred);
    uint32_t word = gor__au32_load_acq(&l->lock.word);     /* acq spin.word */
    return GOR__LIKELY((barred | (word ^ own)) == 0);
}

/* By its owner, in a window that stays open if this returns true: then nobody has the lock, nor
 * gets it before gor__own_shut. False: it is taken, or barred, or not his any more. */
GOR__INLINE bool gor__own_open(gor__ownable *l, uint32_t own)
{
    gor__window_open(&l->lock.word);
    if (gor__own_is_free(l, own))
        return true;
    gor__window_shut();
    return false;
}

/* What was done in the window is for the next who opens one: the P's goroutines are threads to
 * ThreadSanitizer. */
GOR__INLINE void gor__own_release(gor__ownable *l)
{
    if (GOR__TSAN)
        gor__au32_store_rel(&l->lock.word, gor__au32_load_rlx(&l->lock.word));
}

GOR__INLINE void gor__own_shut(gor__ownable *l)
{
    gor__own_release(l);
    gor__window_shut();
}

/* The same as gor__own_open, but take it. */
GOR__INLINE bool gor__lock_own(gor__ownable *l, uint32_t own)
{
    bool mine = gor__own_open(l, own);
    if (mine) {
        gor__au32_store_rlx(&l->lock.word, own | GOR__TAKEN);
        gor__window_shut();
    }
    return mine;
}

/* O2. False: somebody else is at it. */
static GOR__NOINLINE bool gor__lock_disown(gor__ownable *l)
{
    if (!gor__au32_cas(&l->barred, 0, 1))
        return false;
    if (gor__windows_matter())
        gor__windows_close(&l->lock.word);
    for (int i = 0;; i++) {
        uint32_t word = gor__au32_load_rlx(&l->lock.word);
        if (!(word & GOR__TAKEN) && gor__au32_cas(&l->lock.word, word, GOR__TAKEN))
            break;
        gor__spin_again(i);
    }
    gor__au32_store_rel(&l->barred, 0);
    return true;
}

/* One that is free and has an owner. False: no more, or not yet. */
static GOR__NOINLINE bool gor__lock_owned(gor__spin *lock, uint32_t free)
{
    gor__ownable *l = (gor__ownable *)lock;
    if (free != gor__own_word(gor__self()))
        return gor__lock_disown(l);
    return gor__lock_own(l, free) || gor__au32_cas(&lock->word, free, free | GOR__TAKEN);
}

/* Count a use of l, which the caller holds, on the P with this word. After enough in a row the P
 * owns it. */
GOR__INLINE void gor__note_use(gor__ownable *l, uint32_t own)
{
    if (l->own != own) {
        l->own = own;
        l->times = 0;
    } else if (GOR__UNLIKELY(++l->times >= GOR__OWN_AFTER)) {
        l->times = 0;
        if (own != GOR__MX_NOBODY && gor__au32_load_rlx(&l->lock.word) == GOR__TAKEN &&
            gor__may_own())
            gor__au32_store_rlx(&l->lock.word, own | GOR__TAKEN);
    }
}

/* gor__lock, for locks that may be owned. Returns what gor__unlock_to is to leave. */
GOR__INLINE uint32_t gor__lock_ownable(gor__ownable *l, enum gor__rank rank)
{
    uint32_t own;
    gor__rank_push(rank);
    if (GOR__LIKELY(gor__lock_elided(&l->lock)))
        return 0;
    own = gor__own_word(gor__self());
    if (gor__au32_load_rlx(&l->lock.word) == own && gor__lock_own(l, own))
        return own;
    if (GOR__LIKELY(gor__au32_cas(&l->lock.word, 0, GOR__TAKEN)))
        return 0;
    gor__lock_slow(&l->lock);
    return gor__au32_load_rlx(&l->lock.word) & ~GOR__TAKEN;
}

/* The same if it is free, with a P, for a few lines that take no other lock. */
GOR__INLINE bool gor__lock_if_free(const gor__m *m, gor__ownable *l, enum gor__rank rank,
                                   uint32_t *leave)
{
    *leave = 0;
    if (GOR__UNLIKELY(!gor__lock_elided(&l->lock))) {
        uint32_t own = gor__own_word(m), free = gor__au32_load_rlx(&l->lock.word);
        if (free == own ? !gor__lock_own(l, own)
                        : free != 0 || !gor__au32_cas(&l->lock.word, 0, GOR__TAKEN))
            return false;
        *leave = free;
    }
    gor__rank_push(rank);
    return true;
}

GOR__INLINE void gor__unlock_to(gor__spin *l, enum gor__rank rank, uint32_t leave)
{
    if (GOR_CHECK) {                               /* free: it was elided, till just now */
        uint32_t word = gor__au32_load_rlx(&l->word);
        gor__check(!(word & GOR__TAKEN) || word == (leave | GOR__TAKEN), "the owner stays");
    }
    gor__rank_pop(rank);
    gor__au32_store_rel(&l->word, leave);          /* rel spin.word */
}

/* For who does not know what to leave. */
GOR__INLINE void gor__unlock_owned(gor__spin *l, enum gor__rank rank)
{
    gor__unlock_to(l, rank, gor__au32_load_rlx(&l->word) & ~GOR__TAKEN);
}

/* ==== [timer] timers of one P ====================================================================
 * What        Timers start, change, stop and fire, in the order that [due] keeps.
 * Invariants  I1 The owner of a timer in h is h, as seen under the lock, or in a window of the P
 *                that owns it.
 *             I2 first is when the first of all is due, or GOR_FOREVER; earlier, if that one is
 *                undated ([date]).
 *             I3 owner is set until t has been taken out or fire has cleared it: who stops a timer
 *                that fires right now waits for the lock, and sees what fire has done.
 *             I4 fire runs under the lock: once gor__timer_del returned, it is not running.
 * Locks       timers.own (TIMERS), held while firing. fire wakes, sends or spawns; it never waits
 *             and never starts or stops a timer. What has to is a goroutine's or, without memory
 *             for one, left to gor__timer_defer.
 * Tests       tests/time.c
 */
#define GOR__TIMERS_CAP 64                     /* that a P has room for from the start          */

/* The owner of a timer that somebody is setting: nobody else may. */
static gor__timers gor__timer_busy;

/* The run of a timer that starts itself again. */
static char gor__timer_periodic[1];

GOR__INLINE const gor__g *gor__deadline_waiter(const gor_timer *t);        /* [wait] */

/* Who makes it earlier fences before he looks for who sleeps too long ([idle] I4); made later, it
 * has that one look too early at worst. */
GOR__INLINE void gor__timers_publish(gor__timers *h)
{
    const gor__timer_entry *e = gor__due_first(h);
    gor__ai64_store_rel(&h->first, e ? e->when : GOR_FOREVER);     /* rel timers.first */
}

static GOR__NOINLINE void gor__timers_date_locked(gor__timers *h)
{
    gor__date_line(h);
    gor__timers_publish(h);
}

/* Most timers are started and stopped on the P that fires them: the lock becomes its own. */
GOR__INLINE void gor__timers_lock(gor__timers *h)
{
    gor__lock_ownable(&h->own, GOR__RANK_TIMERS);
    if (GOR__UNLIKELY(gor__au32_load_rlx(&h->undated)))
        gor__timers_date_locked(h);
}

GOR__INLINE void gor__timers_unlock(gor__timers *h)
{
    gor__unlock_owned(&h->own.lock, GOR__RANK_TIMERS);
}

/* To have had the lock is enough: then none is undated. [date] A3 */
GOR__INLINE void gor__timers_date(gor__timers *h)
{
    if (GOR__LIKELY(!gor__au32_load_rlx(&h->undated)))
        return;
    gor__timers_lock(h);
    gor__timers_unlock(h);
}

/* None yet, with some room from the start: a sleep does not fail for want of memory as long as
 * timers are few. The goroutines that come to its P are ordered with this by its lock. */
static int gor__timers_init(gor__timers *h)
{
    gor__timer_entry *memory = gor__due_alloc(GOR__TIMERS_CAP);
    if (!memory)
        return -ENOMEM;
    gor__timers_lock(h);
    gor__due_use(h, memory, GOR__TIMERS_CAP);
    gor__timers_unlock(h);
    gor__ai64_store_rlx(&h->first, GOR_FOREVER);
    gor__ai64_store_rlx(&h->date, GOR_FOREVER);    /* what gor__rt.date never is */
    return 0;
}

/* One more, due at when, has been added. True: it is the first. */
GOR__INLINE bool gor__timers_publish_one(gor__timers *h, int64_t when)
{
    if (when >= gor__ai64_load_rlx(&h->first))
        return false;
    gor__ai64_store_rel(&h->first, when);          /* rel timers.first */
    return true;
}

static uint32_t gor__timers_n(gor__timers *h)
{
    uint32_t n;
    gor__timers_lock(h);
    n = gor__due_n(h);
    gor__timers_unlock(h);
    return n;
}

/* Make room for one more. The memory is replaced outside of the lock: allocators may block.
 * 0; -ENOMEM; -EAGAIN others have filled the room meanwhile. */
static int gor__timers_grow_locked(gor__timers *h)
{
    uint32_t spare_cap = h->cap * 2;
    gor__timer_entry *spare = NULL;
    gor__timers_unlock(h);
    if (spare_cap <= GOR__TIMERS_MOST)
        spare = gor__due_alloc(spare_cap);
    gor__timers_lock(h);
    if (spare && spare_cap > h->cap) {
        uint32_t old_cap = h->cap;
        spare = gor__due_renew(h, spare, spare_cap);
        spare_cap = old_cap;
    }
    if (spare) {
        gor__timers_unlock(h);
        gor__due_free(spare, spare_cap);
        gor__timers_lock(h);
    }
    if (!spare && h->gaps)
        gor__line_close_up(h);
    if (gor__due_has_room(h))
        return 0;
    return spare ? -EAGAIN : -ENOMEM;
}

/* Put t, which is nowhere and whose when is set, into h. False: there is no room. *soonest: it is
 * the first. */
static bool gor__timers_add_locked(gor__timers *h, gor_timer *t, bool *soonest)
{
    gor__timer_entry e = { t->when, t };
    if (!gor__due_make_room(h))
        return false;
    gor__aptr_store_rel(&t->owner, h);
    gor__due_add(h, e);
    *soonest = gor__timers_publish_one(h, e.when);
    return true;
}

/* The same while there is nothing to lock, or in a window, if it is the last and there is room.
 * undated_ns: t is due so long after now, and its when is set here; 0: its when is set already. */
GOR__INLINE bool gor__timers_append(gor__timers *h, gor_timer *t, int64_t undated_ns,
                                    bool *soonest)
{
    if (!(undated_ns ? gor__date_append(h, t, undated_ns) : gor__date_append_dated(h, t)))
        return false;
    gor__aptr_store_rel(&t->owner, h);
    *soonest = gor__timers_publish_one(h, t->when);
    return true;
}

/* The same, whatever there is. Any thread. 0 or -ENOMEM. */
static int gor__timer_add(gor__timers *h, gor_timer *t, bool *soonest)
{
    bool added;
    int rc = 0;
    *soonest = false;
    gor__timers_lock(h);
    gor__note_use(&h->own, gor__own_word(gor__self()));
    while (!(added = gor__timers_add_locked(h, t, soonest)) && rc != -ENOMEM)
        rc = gor__timers_grow_locked(h);
    gor__timers_unlock(h);
    return added ? 0 : -ENOMEM;
}

/* t, if it is in h, is due at `when` from now on. False: it is not, or there is no room but by
 * renewal. *soonest: it is the first. */
static bool gor__timer_change(gor__timers *h, gor_timer *t, int64_t when, bool *soonest)
{
    gor__timer_entry e = { when, t };
    bool ours;
    gor__timers_lock(h);
    gor__note_use(&h->own, gor__own_word(gor__self()));
    ours = gor__aptr_load_rlx(&t->owner) == h && gor__due_change(h, e);
    if (ours) {
        *soonest = when < gor__ai64_load_rlx(&h->first);
        t->when = when;
        gor__timers_publish(h);
    }
    gor__timers_unlock(h);
    return ours;
}

/* Take t out of where it is. True if it was anywhere. Any thread. */
static bool gor__timer_del(gor_timer *t)
{
    for (;;) {
        gor__timers *h = (gor__timers *)gor__aptr_load_acq(&t->owner);
        bool ours;
        if (!h)
            return false;
        if (h == &gor__timer_busy) {
            gor__os_yield();
            continue;
        }
        gor__timers_lock(h);
        ours = gor__aptr_load_rlx(&t->owner) == h;
        if (ours) {
            gor__due_remove(h, t);
            gor__timers_publish(h);
            gor__aptr_store_rel(&t->owner, NULL);
        }
        gor__timers_unlock(h);
        if (ours)
            return true;
    }
}

/* The same while there is nothing to lock, or in a window, for one of h that is the last in the
 * line: nothing else moves then. False: it is not. */
GOR__INLINE bool gor__timer_del_last(gor__timers *h, gor_timer *t)
{
    if (!gor__line_remove_last(h, t))
        return false;
    gor__date_less_one(h);
    if (gor__line_n(h) == 0)
        gor__timers_publish(h);
    gor__aptr_store_rel(&t->owner, NULL);
    return true;
}

/* gor__timer_add to p's, on p, if that locks nothing and t goes to the end of the line. undated_ns:
 * as in gor__timers_append. Alone nobody has to be told that it is the first. */
GOR__INLINE bool gor__timer_add_near(gor__p *p, gor_timer *t, int64_t undated_ns,
                                    bool *soonest)
{
    gor__timers *h = &p->timers;
    bool added;
    if (gor__locks_are_nothing()) {
        added = gor__timers_append(h, t, undated_ns, soonest);
        *soonest = false;
        return added;
    }
    if (!gor__own_open(&h->own, gor__au32_load_rlx(&p->own)))
        return false;
    added = gor__timers_append(h, t, undated_ns, soonest);
    gor__own_shut(&h->own);
    return added;
}

/* gor__timer_del of one that was in h at a moment of this call, if that locks nothing and it is the
 * last in the line of the P's own. While nothing is locked it still is in h: no other call ran. */
GOR__INLINE bool gor__timer_del_near(const gor__m *m, gor__timers *h, gor_timer *t)
{
    uint32_t own;
    bool was;
    if (gor__locks_are_nothing())
        return gor__timer_del_last(h, t);
    own = gor__own_word(m);
    if (own == GOR__MX_NOBODY || !gor__own_open(&h->own, own))
        return false;
    was = gor__aptr_load_rlx(&t->owner) == h && gor__timer_del_last(h, t);
    gor__own_shut(&h->own);
    return was;
}

/* For a fire: the P that fires calls t->fn(t->arg) as soon as it has released the lock. */
static void gor__timer_defer(gor_timer *t)
{
    ((gor__timers *)gor__aptr_load_rlx(&t->owner))->deferred = t;
}

static void gor__timers_call_deferred_locked(gor__timers *h)
{
    void (*fn)(void *) = h->deferred->fn;
    void *arg = h->deferred->arg;
    h->deferred = NULL;
    gor__timers_publish(h);
    gor__timers_unlock(h);
    fn(arg);
    gor__timers_lock(h);
}

/* Put t, which has just been taken out, back. */
static void gor__timer_again(gor__timers *h, gor_timer *t, int64_t when)
{
    gor__timer_entry e = { when, t };
    t->when = when;
    gor__due_add(h, e);
}

/* t is due. fire clears owner, unless t is periodic: then it goes on from its last time, without
 * the periods that were missed. After that t may be gone. One that says it could not, for want of
 * memory, is tried again in 1 ms. */
static void gor__timer_fire(gor__timers *h, gor_timer *t, int64_t now)
{
    bool periodic = gor__aptr_load_rlx(&t->run) == gor__timer_periodic;
    gor__due_remove(h, t);
    if (periodic)
        gor__timer_again(h, t, t->when + t->u.period * (1 + (now - t->when) / t->u.period));
    if (!t->fire(t, now) && !periodic)
        gor__timer_again(h, t, now + GOR_MS);
}

/* The first of all, if it is due; or NULL. */
GOR__INLINE gor_timer *gor__timers_due(const gor__timers *h, int64_t now)
{
    const gor__timer_entry *e = gor__due_first(h);
    return e && e->when <= now ? e->timer : NULL;
}

/* Fetch what firing those in the line that are due, too, will touch: the timer, its argument, the
 * goroutine that waits. */
#define GOR__FETCH_TIMER  8            /* firings ahead                                          */
#define GOR__FETCH_ARG    5
#define GOR__FETCH_WAITER 2

GOR__INLINE const gor_timer *gor__line_peek(const gor__timers *h, uint32_t ahead, int64_t now)
{
    const gor__timer_entry *e = gor__line_at(h, h->head + ahead);
    return e->when <= now ? e->timer : NULL;
}

GOR__INLINE void gor__line_fetch(const gor__timers *h, int64_t now)
{
#if !GOR__TSAN
    const gor_timer *t;
    const gor__g *waiter;
    if (gor__line_n(h) <= GOR__FETCH_TIMER)
        return;
    t = gor__line_peek(h, GOR__FETCH_TIMER, now);
    if (t) {
        __builtin_prefetch(t, 1);
        __builtin_prefetch(&t->index, 1);          /* it may straddle two lines */
    }
    t = gor__line_peek(h, GOR__FETCH_ARG, now);
    if (t)
        __builtin_prefetch(t->arg, 1);
    t = gor__line_peek(h, GOR__FETCH_WAITER, now);
    waiter = t ? gor__deadline_waiter(t) : NULL;
    if (waiter)
        __builtin_prefetch(waiter, 1);
#else
    (void)h, (void)now;
#endif
}

/* Fire what is due. Returns how many. Any M that holds a P. */
static size_t gor__timers_run(gor__timers *h)
{
    int64_t first = gor__ai64_load_rlx(&h->first), now;
    gor_timer *t;
    size_t n = 0;
    if (first == GOR_FOREVER || first > gor__now_above())
        return 0;
    now = gor__os_now();
    if (first > now)
        return 0;
    gor__timers_lock(h);
    for (; (t = gor__timers_due(h, now)) != NULL; n++) {
        gor__line_fetch(h, now);
        gor__timer_fire(h, t, now);
        if (h->deferred)
            gor__timers_call_deferred_locked(h);
    }
    gor__timers_publish(h);
    gor__timers_unlock(h);
    return n;
}

/* All timers of one P go to another, lower in the order of Ps. At every moment one of the two
 * says when the first is due. False: out of memory, they stay. */
static bool gor__timers_move(gor__timers *to, gor__timers *from)
{
    gor_timer *t;
    bool soonest;
    uint32_t n;
    if (to == from || gor__ai64_load_rlx(&from->first) == GOR_FOREVER)
        return true;
    gor__timers_lock(to);
    gor__timers_lock(from);
    n = to->n + gor__line_n(to) + gor__due_n(from);
    if (gor__due_reserve(to, n))
        while ((t = gor__timers_due(from, GOR_FOREVER)) != NULL) {
            gor__due_remove(from, t);
            gor__timers_add_locked(to, t, &soonest);
        }
    gor__timers_publish(from);
    gor__timers_unlock(from);
    gor__timers_unlock(to);
    return gor__ai64_load_rlx(&from->first) == GOR_FOREVER;
}

/* ==== [lone] one processor runs, while the others nap ============================================
 * What        While a thief naps ([idle] I8) and only one P is out, nobody else takes from that P's
 *             ring, and whoever queues a G would wake nobody. So its owner moves head and changes
 *             next by plain loads and stores, in a window, and no submit needs a fence.
 * Invariants  L1 Set by an M that naps, and counts as spinning, under the scheduler's lock, when
 *                one P is neither idle nor retired: nobody steals, nor will before he takes a P.
 *             L2 Whoever takes a P from the idle list ends it first, and so does the M when its nap
 *                is over, before it ceases to count as spinning.
 *             L3 The end waits for the windows. What was queued without a fence by who saw it set
 *                is seen by who looks after that: there is a membarrier in between. So is what was
 *                put into next by a plain store just before the end, and submitted as if fenced:
 *                the M that naps looks everywhere after it.
 * Locks       gor__rt.lock (SCHED).
 * Tests       tests/go.c
 */
enum gor__lone_state { GOR__LONE_NOT, GOR__LONE, GOR__LONE_ENDS };

GOR__INLINE bool gor__is_lone(void)
{
    return gor__au32_load_rlx(&gor__rt.lone) == GOR__LONE;
}

/* Begin a window, if one P is alone. It is short, and ends with gor__window_shut. */
GOR__INLINE bool gor__lone_open(void)
{
    if (GOR__LIKELY(!gor__is_lone()))
        return false;
    gor__window_open(&gor__rt.lone);
    if (GOR__LIKELY(gor__au32_load_acq(&gor__rt.lone) == GOR__LONE))   /* acq rt.lone: no thief's */
        return true;                                                   /* doing is missed         */
    gor__window_shut();
    return false;
}

/* L1 */
static void gor__lone_begin(void)
{
    uint32_t out = 0;
    if (!gor__windows_matter())
        return;
    gor__lock_sched();
    for (uint32_t i = 0; i < gor__au32_load_rlx(&gor__rt.n_allp); i++)
        out += gor__aptr_load_rlx(&gor__p_at(i)->m) != NULL;
    if (out == 1 && gor__au32_load_rlx(&gor__rt.lone) == GOR__LONE_NOT)
        gor__au32_store_rel(&gor__rt.lone, GOR__LONE);     /* rel rt.lone: to who opens a window */
    gor__unlock_sched();
}

/* L3. When it returns it has ended, whoever has ended it. */
static void gor__lone_end(void)
{
    while (gor__au32_load_acq(&gor__rt.lone) != GOR__LONE_NOT) {
        if (gor__au32_cas(&gor__rt.lone, GOR__LONE, GOR__LONE_ENDS)) {
            gor__windows_close(&gor__rt.lone);
            gor__au32_store_rel(&gor__rt.lone, GOR__LONE_NOT);
        } else {
            gor__os_yield();
        }
    }
}

/* Take the scheduler's lock, to take a P from the idle list. */
static void gor__lock_idle_p(void)
{
    for (;;) {
        gor__lone_end();
        gor__lock_sched();
        if (gor__au32_load_rlx(&gor__rt.lone) == GOR__LONE_NOT)
            return;
        gor__unlock_sched();
    }
}

/* ==== [idle] which Ms sleep, which Ps are free, and who wakes whom ===============================
 * What        Idle lists, and the protocol by which runnable work never waits for a sleeping M
 *             while a P is free, but as I7 and I8 say, and idle Ms do not burn the CPU.
 * Invariants  I1 Submitting: queue the G; full fence; if a P is idle and no M spins, wake one to
 *                spin.
 *             I2 Going idle: the last spinner stops spinning, and only then, after a full fence,
 *                looks at every queue once more. So one of the two sees the other.
 *             I3 While gor__shared is 0 there is one P: who submits holds it, nobody is to be
 *                woken.
 *             I4 One idle M at most sleeps until the first timer of all; who adds an earlier one
 *                wakes it. It publishes its time before it looks at the timers a last time. Of a
 *                timer that is far off, on a busy P, nobody is told when it starts, for most are
 *                stopped long before: [sysmon] tells when it is near, or who gives that P up.
 *             I5 Once there is a poller, that M, the sleeper, sleeps in the poller: fds and timers
 *                in one sleep. It sets polling, then looks at park; who wakes it sets park, then
 *                looks at polling. So one of the two sees the other.
 *             I6 While others run goroutines and poll in between, no M sleeps in the poller: the
 *                kernel would wake it at each event that they find themselves a moment later. One
 *                idle M stands by instead, and asks every millisecond whether they still poll, and
 *                for timers. If they do not, or nobody runs, there is a sleeper. The last M to
 *                go idle sees that all Ps are.
 *             I7 A goroutine that is only to run next is most often run at once: two that hand
 *                values to each other would have an M woken all the time, for nothing. So once
 *                GOR__IN_VAIN wakes in a row have found no work, such a one wakes nobody; [sysmon]
 *                looks each GOR__IN_VAIN_NS whether anything is queued or due, and wakes an M for
 *                it. The first wake that finds work ends this, and so does a time in which nothing
 *                is seen to be. All else is told as ever, but for I8.
 *             I8 Goroutines that run but for a moment are run sooner by who has started them: what
 *                they touch would have to come over, and what they count on go to and fro. So of a
 *                ring with less than GOR__FEW nothing is stolen while its owner takes turns of
 *                GOR__STEAL_PAYS_NS or less. And an M keeps a balance: how many it stole from
 *                rings, less one for each GOR__STEAL_PAYS_NS until it had nothing to run again;
 *                GOR__FEW more each time that it found only such as are not stolen; GOR__MOST_LOSS
 *                at most. For each GOR__LOSS of it it naps for GOR__NAP_NS before it steals again.
 *                It gives its P up, but counts as spinning, so that nobody is woken instead: the
 *                exception to I1, I4 and I7. Work and timers that are new meanwhile may wait for
 *                its end. One naps for all: who finds only such as are not stolen while another
 *                spins goes idle. If one P is out then: [lone].
 * Locks       gor__rt.lock (SCHED) for the lists; counts are read without it.
 * Source      The comment "Worker thread parking/unparking" in the Go runtime's proc.go.
 */
static void gor__m_wake(gor__m *m)
{
    gor__au32_xchg(&m->park, 1);                   /* rel m.park: next_p, spinning */
    if (gor__au32_load_sc(&m->polling))            /* I5 */
        gor__os_poll_wake();
    else
        gor__os_futex_wake(&m->park, 1);
}

/* Sleep until woken (true: that wake-up is used up) or until the deadline. */
static bool gor__m_sleep(gor__m *m, int64_t deadline)
{
    while (gor__au32_load_acq(&m->park) == 0) {    /* acq m.park */
        gor__os_futex_wait(&m->park, 0, deadline);
        if (deadline != GOR_FOREVER && gor__os_now() >= deadline &&
            gor__au32_load_acq(&m->park) == 0)
            return false;
    }
    gor__au32_xchg(&m->park, 0);                   /* then the caller looks at stopping */
    return true;
}

/* The same in the poller, and until fds are ready: *ready, Gs linked by link, or NULL. */
static bool gor__m_sleep_polling(gor__m *m, int64_t deadline, gor__g **ready)
{
    *ready = NULL;
    gor__au32_xchg(&m->polling, 1);
    while (gor__au32_load_sc(&m->park) == 0 && !*ready &&
           gor__au32_load_sc(&gor__rt.poll_due) == 0) {
        *ready = gor__up.poll(deadline);
        if (deadline != GOR_FOREVER && gor__os_now() >= deadline)
            break;
    }
    gor__au32_xchg(&m->polling, 0);
    if (gor__au32_load_sc(&m->park) == 0)
        return false;
    gor__au32_xchg(&m->park, 0);
    return true;
}

static void gor__p_idle_push_locked(gor__p *p)
{
    if (GOR_CHECK)
        gor__check(!gor__au32_load_rlx(&p->timers.undated), "no idle P has undated timers");
    gor__aptr_store_rlx(&p->m, NULL);
    p->idle = true;
    p->idle_next = gor__rt.idle_p;
    gor__rt.idle_p = p;
    gor__au32_store_sc(&gor__rt.n_idle_p, gor__au32_load_rlx(&gor__rt.n_idle_p) + 1);
}

/* Unlink p, or with NULL the first, from the idle list. NULL if it is not there. */
static gor__p *gor__p_idle_pop_locked(gor__p *p)
{
    gor__p **at = &gor__rt.idle_p;
    while (*at && p && *at != p)
        at = &(*at)->idle_next;
    p = *at;
    if (!p)
        return NULL;
    *at = p->idle_next;
    p->idle = false;
    gor__aptr_store_rlx(&p->m, &gor__in_transit);
    gor__au32_store_sc(&gor__rt.n_idle_p, gor__au32_load_rlx(&gor__rt.n_idle_p) - 1);
    return p;
}

static void gor__m_idle_push_locked(gor__m *m)
{
    m->idle_next = gor__rt.idle_m;
    gor__rt.idle_m = m;
    gor__au32_store_rlx(&m->state, GOR__M_IDLE);
    gor__au32_store_rlx(&gor__rt.n_idle_m, gor__au32_load_rlx(&gor__rt.n_idle_m) + 1);
}

static gor__m *gor__m_idle_pop_locked(gor__m *m)
{
    gor__m **at = &gor__rt.idle_m;
    while (*at && m && *at != m)
        at = &(*at)->idle_next;
    m = *at;
    if (!m)
        return NULL;
    *at = m->idle_next;
    gor__au32_store_rlx(&m->state, GOR__M_RUNNING);
    gor__au32_store_rlx(&gor__rt.n_idle_m, gor__au32_load_rlx(&gor__rt.n_idle_m) - 1);
    return m;
}

static void gor__p_hold(gor__m *m, gor__p *p)
{
    gor__aptr_store_rlx(&m->p, p);
    gor__aptr_store_rel(&p->m, m);
}

/* [sysmon] decides anew for how long it sleeps. */
static void gor__sysmon_hurry(void)
{
    gor__au32_add(&gor__rt.sysmon_park, 1);
    gor__os_futex_wake(&gor__rt.sysmon_park, 1);
}

/* Is everything asleep but timers? Then sysmon sleeps too, and is woken when a P is taken. */
static void gor__sysmon_wake(void)
{
    if (gor__au32_load_sc(&gor__rt.sysmon_idle) == 0)
        return;
    gor__ai64_store_rlx(&gor__rt.coarse_ns, gor__os_now());    /* nobody has kept it meanwhile */
    if (gor__au32_xchg(&gor__rt.sysmon_idle, 0))
        gor__sysmon_hurry();
}

/* Give p, taken from the idle list or from an M, to an idle M or to a new one. */
static void gor__p_run(gor__p *p, bool spinning)
{
    gor__m *m;
    gor__lock_sched();
    m = gor__m_idle_pop_locked(NULL);
    gor__unlock_sched();
    gor__sysmon_wake();
    if (m) {
        m->next_p = p;
        m->spinning = m->called = spinning;
        gor__m_wake(m);
    } else if (gor__up.m_start(p, spinning) != 0) {   /* no thread to be had: carry on */
        gor__lock_sched();
        gor__p_idle_push_locked(p);                /* [sysmon] tries again */
        if (spinning)
            gor__au32_add(&gor__rt.n_spinning, (uint32_t)-1);
        gor__unlock_sched();
    }
}

/* Wake one M to look for work, unless one is looking already. */
static GOR__NOINLINE void gor__wake_p(void)
{
    gor__p *p;
    if (!gor__au32_cas(&gor__rt.n_spinning, 0, 1))
        return;
    gor__lock_idle_p();
    p = gor__p_idle_pop_locked(NULL);
    if (!p)                                        /* before the next P can become idle */
        gor__au32_add(&gor__rt.n_spinning, (uint32_t)-1);
    gor__unlock_sched();
    if (p)
        gor__p_run(p, true);
}

/* I1: call after queueing a G. fenced: that was an exchange, which is a fence itself, if the loads
 * below are _sc (ARM64 without LSE). */
GOR__INLINE void gor__submitted_by(bool fenced)
{
    if (GOR__LIKELY(gor__au32_load_rlx(&gor__shared) == 0))
        return;
    GOR__COMPILER_BARRIER();                       /* queued first: [lone] L3 */
    if (gor__is_lone())
        return;
    if (!fenced)
        gor__arch_fence();
    if (gor__au32_load_sc(&gor__rt.n_idle_p) != 0 && gor__au32_load_sc(&gor__rt.n_spinning) == 0)
        gor__wake_p();
}

GOR__INLINE void gor__submitted(void) { gor__submitted_by(false); }

/* Is a wake for what runs next left to [sysmon]? (I7) */
GOR__INLINE bool gor__waking_is_vain(void)
{
    return gor__au32_load_rlx(&gor__rt.in_vain) >= GOR__IN_VAIN;
}

/* m has found work, or goes to sleep without. If it was woken to look for it, that counts. */
static void gor__has_looked(gor__m *m, bool found)
{
    uint32_t n;
    if (!m->called)
        return;
    m->called = false;
    n = gor__au32_load_rlx(&gor__rt.in_vain);
    if (found && n != 0)
        gor__au32_store_rlx(&gor__rt.in_vain, 0);
    if (!found && n < GOR__IN_VAIN) {
        gor__au32_store_rlx(&gor__rt.in_vain, n + 1);
        if (gor__waking_is_vain())
            gor__sysmon_hurry();
    }
}

/* When the first timer of all Ps is due. */
static int64_t gor__timers_first(void)
{
    int64_t first = GOR_FOREVER;
    uint32_t n = gor__au32_load_acq(&gor__rt.n_allp);
    for (uint32_t i = 0; i < n; i++) {
        int64_t t = gor__ai64_load_sc(&gor__p_at(i)->timers.first);
        if (t < first)
            first = t;
    }
    return first;
}

/* Let m, which was the sleeper, look around. */
static void gor__sleeper_wake(gor__m *m)
{
    gor__lock_sched();                             /* only an M in the idle list may be woken */
    m = gor__m_idle_pop_locked(m);
    gor__unlock_sched();
    if (m) {
        m->next_p = NULL;
        m->spinning = false;
        gor__m_wake(m);
    }
}

/* I4: a timer is due at when. If the sleeper does not know, wake it; if there is none, and nobody
 * stands by who will see it in time, wake one. */
static void gor__sleeper_tell(int64_t when)
{
    gor__m *m = (gor__m *)gor__aptr_load_sc(&gor__rt.sleeper);
    if (m && when < gor__ai64_load_sc(&gor__rt.sleep_until))
        gor__sleeper_wake(m);
    if (!m && (!gor__aptr_load_sc(&gor__rt.standby) ||
               when < gor__ai64_load_sc(&gor__rt.standby_until)))
        gor__wake_p();
}

/* Is a timer of the caller's P, due at when, so far off that telling of it is left to [sysmon]?
 * ns: from now, or GOR__UNKNOWN_NS. The coarse clock will not do: while [sysmon] is held up it
 * stands still. */
#define GOR__UNKNOWN_NS (-1)
GOR__INLINE bool gor__timer_is_far(int64_t when, int64_t ns)
{
    return ns > GOR__FAR_NS ||
           (ns == GOR__UNKNOWN_NS && when > gor__now_above() + GOR__FAR_NS);
}

/* A timer has become the first of its P, which may be idle. */
static GOR__NOINLINE void gor__timer_tell(int64_t when)
{
    if (gor__au32_load_rlx(&gor__shared) == 0)     /* alone we see our own */
        return;
    gor__arch_fence();
    if (gor__au32_load_sc(&gor__rt.n_idle_p) != 0) /* else every P is busy, and sees its own */
        gor__sleeper_tell(when);
}

/* The same, of p, the caller's P, or NULL: of another. A far one of p is left to [sysmon]. */
GOR__INLINE void gor__timer_tell_if_near(const gor__p *p, int64_t when, int64_t ns)
{
    if (!(p && gor__timer_is_far(when, ns)))
        gor__timer_tell(when);
}

/* Take t out of where it is; true if it was anywhere. A foreign thread may have taken the last one:
 * then [sysmon], asleep for as long as that might wake somebody, asks again what is left. */
static GOR__NOINLINE bool gor__timer_end_any(gor_timer *t)
{
    bool was = gor__timer_del(t);
    if (was && !gor__self())
        gor__sysmon_wake();
    return was;
}

GOR__INLINE bool gor__timer_end(gor_timer *t)
{
    gor__timers *h = (gor__timers *)gor__aptr_load_acq(&t->owner);     /* acq t.owner */
    return h && (GOR__LIKELY(gor__timer_del_near(gor__self(), h, t)) || gor__timer_end_any(t));
}

/* ==== [runq] runnable goroutines of one P =======================================================
 * What        A ring of Gs and one slot before it. The owner P appends; the owner and any thief
 *             take the oldest.
 * Invariants  I1 tail - head is in 0..GOR__RUNQ_CAP; both counters run free and may wrap.
 *             I2 slots head..tail-1 hold runnable Gs. A G is in one queue at most.
 *             I3 only the owner writes tail and slots; anyone moves head, by compare-and-swap.
 *             I4 while gor__shared is 0 the owner is alone: plain stores move head and change next.
 *                So it is while it is lone, but in a window ([lone]).
 *             I5 Else next changes by an exchange; but while next_owned is set by plain loads and
 *                stores of the owner, in a window: while wakes for it are in vain ([idle] I7), when
 *                a thief, who pays a membarrier, is rare. One thief at a time, who holds `thief`,
 *                takes next, and ends ownership first. The owner sets next_owned, fences, and looks
 *                at thief; the thief sets thief, then looks at next_owned: one sees the other. The
 *                owner asks whether it is to be his when he puts something there.
 * Locks       None; but who steals next takes gor__rt.lock (SCHED), in gor__windows_close.
 *             A full ring is spilled by [ready].
 * Runs on     Any stack, holding the P. Never parks, never allocates.
 * Source      Ring of the Go 1.1 scheduler (Vyukov, 2012). We differ: slots are atomic, because a
 *             thief about to lose may still be reading one; I4.
 * Tests       all; tiny rings under GORDEBUG=stress; tests/preempt.c for I5
 */
#if GOR_CHECK
static uint32_t gor__runq_cap = GOR__RUNQ_CAP;         /* stress: tiny rings */
#else
static const uint32_t gor__runq_cap = GOR__RUNQ_CAP;
#endif

/* Append g. Owner only. False if the ring is full: the caller spills. */
GOR__INLINE bool gor__runq_push(gor__runq *q, gor__g *g)
{
    uint32_t tail = gor__au32_load_rlx(&q->tail);  /* rlx: we are the only writer (I3)       */
    uint32_t head = gor__au32_load_acq(&q->head);  /* acq runq.head: takers left these slots */
    if (tail - head >= gor__runq_cap)
        return false;
    gor__aptr_store_rlx(&q->slot[tail % GOR__RUNQ_CAP], g);  /* rlx: the next line publishes */
    gor__au32_store_rel(&q->tail, tail + 1);       /* rel runq.tail: slot before counter     */
    return true;
}

/* How many the ring holds, for the owner. Takers only make it less. */
GOR__INLINE uint32_t gor__runq_n(const gor__runq *q)
{
    return gor__au32_load_rlx(&q->tail) - gor__au32_load_acq(&q->head);        /* acq runq.head */
}

/* How many more the owner may append. */
GOR__INLINE uint32_t gor__runq_room(const gor__runq *q)
{
    uint32_t n = gor__runq_n(q);
    return n < gor__runq_cap ? gor__runq_cap - n : 0;
}

/* With many goroutines each has left the first cache by its next turn: of the n in the ring, from
 * head on, fetch what the switch to those that come soon needs. Hints only, for the G may be gone:
 * it is read as if it were ours. */
#define GOR__FETCH_STACK 3                     /* turns ahead; its G is here by then */
#define GOR__FETCH_G     6
#define GOR__FETCH_LINES 4                     /* of the stack: to where the user's frames are */
GOR__INLINE void gor__runq_fetch(const gor__runq *q, uint32_t head, uint32_t n)
{
#if !GOR__TSAN
    const gor__aptr *soon = &q->slot[(head + GOR__FETCH_STACK) % GOR__RUNQ_CAP];
    uintptr_t sp;                              /* of one that has not run yet: anything */
    const gor__g *g;
    if (n <= GOR__FETCH_G)
        return;
    g = (const gor__g *)gor__aptr_load_rlx(&q->slot[(head + GOR__FETCH_G) % GOR__RUNQ_CAP]);
    __builtin_prefetch(g);
    __builtin_prefetch(&g->fn);                /* it may begin, */
    __builtin_prefetch(&g->done_arg);          /* or end        */
    sp = (uintptr_t)((gor__g *)gor__aptr_load_rlx(soon))->sp;
    __builtin_prefetch((const void *)sp);
    for (uintptr_t i = 0; i < GOR__FETCH_LINES; i++)
        __builtin_prefetch((const void *)(sp + GOR__ARCH_NEXT + i * GOR__CACHE_LINE));
#else
    (void)q, (void)head, (void)n;
#endif
}

/* The next two, lone: out of the way of those who are not. */
static GOR__NOINLINE bool gor__runq_advance_lone(gor__runq *q, uint32_t head, uint32_t n)
{
    bool still;
    if (!gor__lone_open())
        return gor__au32_cas(&q->head, head, head + n);
    still = gor__au32_load_rlx(&q->head) == head;
    if (still)
        gor__au32_store_rel(&q->head, head + n);   /* rel runq.head: to a thief, later on */
    gor__window_shut();
    return still;
}

static GOR__NOINLINE gor__g *gor__runq_swap_next_lone(gor__runq *q, gor__g *g)
{
    gor__g *old;
    if (!gor__lone_open())
        return (gor__g *)gor__aptr_xchg(&q->next, g);
    old = (gor__g *)gor__aptr_load_rlx(&q->next);
    gor__aptr_store_rel(&q->next, g);              /* rel runq.next: to a thief, later on */
    gor__window_shut();
    return old;
}

/* Take the n from head on. Owner only: until he appends they can be read there. False: a thief has
 * some of them. */
GOR__INLINE bool gor__runq_advance(gor__runq *q, uint32_t head, uint32_t n)
{
    if (gor__au32_load_rlx(&gor__shared) == 0) {
        gor__au32_store_rel(&q->head, head + n);
        return true;
    }
    return GOR__UNLIKELY(gor__is_lone()) ? gor__runq_advance_lone(q, head, n)
                                         : gor__au32_cas(&q->head, head, head + n);
}

GOR__INLINE gor__g *gor__runq_at(const gor__runq *q, uint32_t at)
{
    return (gor__g *)gor__aptr_load_rlx(&q->slot[at % GOR__RUNQ_CAP]);
}

/* Take the oldest, half of a full ring at most: *n from the one returned on. Owner only. */
static uint32_t gor__runq_take_half(gor__runq *q, uint32_t *n)
{
    uint32_t head;
    do {
        head = gor__au32_load_acq(&q->head);
        *n = gor__au32_load_rlx(&q->tail) - head;
        *n = *n < gor__runq_cap / 2 ? *n : gor__runq_cap / 2;
    } while (!gor__runq_advance(q, head, *n));
    return head;
}

/* Take the oldest. Owner only. NULL if there is none. */
GOR__INLINE gor__g *gor__runq_pop(gor__runq *q)
{
    for (;;) {
        uint32_t head = gor__au32_load_acq(&q->head);
        uint32_t n = gor__au32_load_rlx(&q->tail) - head;
        gor__g *g;
        if (n == 0)
            return NULL;
        g = gor__runq_at(q, head);
        gor__runq_fetch(q, head, n);
        if (gor__runq_advance(q, head, 1))
            return g;
    }
}

/* Append g and take the oldest, g if there is no other, while gor__shared is 0 (I4: nobody else
 * sees it half done). Owner only. */
GOR__INLINE gor__g *gor__runq_turn(gor__runq *q, gor__g *g)
{
    uint32_t head = gor__au32_load_rlx(&q->head), tail = gor__au32_load_rlx(&q->tail);
    gor__g *oldest = gor__runq_at(q, head);
    if (head == tail)
        return g;
    gor__runq_fetch(q, head, tail - head);
    gor__au32_store_rel(&q->head, head + 1);       /* first: the ring may be full: I1 */
    gor__aptr_store_rlx(&q->slot[tail % GOR__RUNQ_CAP], g);
    gor__au32_store_rel(&q->tail, tail + 1);       /* rel runq.tail, head: to a thief later */
    return oldest;
}

/* Take or replace what runs next, while gor__shared is 0. Owner only. */
GOR__INLINE gor__g *gor__runq_swap_next_alone(gor__runq *q, gor__g *g)
{
    gor__g *old = (gor__g *)gor__aptr_load_rlx(&q->next);
    gor__aptr_store_rel(&q->next, g);
    return old;
}

/* The same while it is not. */
GOR__INLINE gor__g *gor__runq_swap_next_shared(gor__runq *q, gor__g *g)
{
    gor__g *old = (gor__g *)gor__aptr_load_rlx(&q->next);
    bool owned;
    if (!old && !g)
        return NULL;
    if (gor__au32_load_rlx(&q->next_owned)) {
        gor__window_open(&q->next_owned);
        owned = gor__au32_load_rlx(&q->next_owned) != 0;
        if (owned) {
            old = (gor__g *)gor__aptr_load_rlx(&q->next);
            gor__aptr_store_rel(&q->next, g);      /* rel runq.next: to a thief, later on */
        }
        gor__window_shut();
        if (owned)
            return old;
    }
    return GOR__UNLIKELY(gor__is_lone()) ? gor__runq_swap_next_lone(q, g)
                                         : (gor__g *)gor__aptr_xchg(&q->next, g);
}

/* The same, whoever is there. */
GOR__INLINE gor__g *gor__runq_swap_next(gor__runq *q, gor__g *g)
{
    return gor__au32_load_rlx(&gor__shared) == 0 ? gor__runq_swap_next_alone(q, g)
                                                 : gor__runq_swap_next_shared(q, g);
}

/* Begin to own next, unless a thief is at it; or cease to. Owner only. */
static GOR__NOINLINE void gor__runq_own_next(gor__runq *q, bool own)
{
    if (own && !gor__windows_matter())             /* [window] W4 */
        return;
    gor__au32_store_rel(&q->next_owned, own);      /* rel runq.next_owned: what was done with it */
    if (own) {
        gor__arch_fence();
        if (gor__au32_load_acq(&q->thief))         /* acq runq.thief */
            gor__au32_store_rlx(&q->next_owned, 0);
    }
}

/* Take what runs next from another. NULL: there is nothing, or another thief is at it. */
static gor__g *gor__runq_steal_next(gor__runq *victim)
{
    gor__g *g;
    if (!gor__au32_cas(&victim->thief, 0, 1))                  /* acq runq.thief: the last one's */
        return NULL;
    if (gor__au32_load_sc(&victim->next_owned)) {  /* after `thief`: I5; acq runq.next_owned */
        gor__au32_store_rlx(&victim->next_owned, 0);
        gor__windows_close(&victim->next_owned);
    }
    g = (gor__g *)gor__aptr_xchg(&victim->next, NULL);         /* acq runq.next */
    gor__au32_store_rel(&victim->thief, 0);        /* rel runq.thief */
    return g;
}

/* Move half of victim's ring, rounded up, to the ring of the caller, and one of them to the
 * caller's hands. The caller owns q, whose ring is empty. NULL if there was nothing. */
static gor__g *gor__runq_steal(gor__runq *q, gor__runq *victim)
{
    for (;;) {
        uint32_t head = gor__au32_load_acq(&victim->head);
        uint32_t tail = gor__au32_load_acq(&victim->tail);  /* acq runq.tail: the slots below it */
        uint32_t n = tail - head, mine = gor__au32_load_rlx(&q->tail);
        gor__g *first;
        n -= n / 2;
        if (n == 0)
            return NULL;
        if (n > GOR__RUNQ_CAP / 2)             /* head and tail were read at two moments */
            continue;
        first = (gor__g *)gor__aptr_load_rlx(&victim->slot[head % GOR__RUNQ_CAP]);
        for (uint32_t i = 1; i < n; i++)
            gor__aptr_store_rlx(&q->slot[(mine + i - 1) % GOR__RUNQ_CAP],
                                gor__aptr_load_rlx(&victim->slot[(head + i) % GOR__RUNQ_CAP]));
        if (gor__au32_cas(&victim->head, head, head + n)) {
            gor__au32_store_rel(&q->tail, mine + n - 1);    /* rel runq.tail */
            return first;
        }
    }
}

GOR__INLINE bool gor__runq_empty(const gor__runq *q)
{
    return gor__au32_load_sc(&q->head) == gor__au32_load_sc(&q->tail) &&
           gor__aptr_load_sc(&q->next) == NULL;
}

/* ==== [ready] making goroutines runnable, and their memory ======================================
 * What        gor__ready puts a G where it will be run; gor__g_get and gor__recycle keep Gs and
 *             warm stacks per P, so that spawning and ending touch nothing shared.
 * Invariants  I1 The caller of gor__ready owns the G: it made it, or claimed its wait.
 *             I2 A woken or new G runs next on this P; one that yields goes to the end.
 *             I3 Locked, high and low priority Gs go through queues under the scheduler's lock;
 *                gor__rt.urgent tells every P that there are some.
 *             I4 What a full ring spills goes to the global queue, first in, first out; but those
 *                that have not begun to a stack, last in, first out, as long as there are crates
 *                for it. So a tree of goroutines, each of which starts some and waits for them, is
 *                walked in depth: what is alive at once is a path and its siblings, not a level.
 *                The stack's oldest go to the global queue too, 128 each quantum: each has its turn
 *                however many newer ones there are.
 * Source      In depth by the owner: Blumofe and Leiserson, "Scheduling Multithreaded Computations
 *             by Work Stealing" (1999), which bounds the space.
 * Tests       tests/order.c
 */
static void gor__urgent_update_locked(void)
{
    uint32_t urgent = gor__rt.high.head || gor__rt.low.head ||
                      gor__au32_load_rlx(&gor__rt.poll_due) ||
                      gor__au32_load_rlx(&gor__rt.tracing) || gor__au32_load_rlx(&gor__rt.stopping);
    if (urgent != gor__au32_load_rlx(&gor__rt.urgent))         /* all read its line */
        gor__au32_store_rlx(&gor__rt.urgent, urgent);
}

static void gor__global_push_locked(gor__g *g)
{
    gor__gr_add(&gor__rt.global, g);
    gor__gr_tell(&gor__rt.global);
}

/* To the queue of its priority. The first of low priority starts its clock. */
static void gor__queue_push_locked(gor__g *g)
{
    uint32_t traits = gor__au32_load_rlx(&g->traits);
    if (!(traits & (GOR__TRAIT_HIGH | GOR__TRAIT_LOW))) {
        gor__global_push_locked(g);
        return;
    }
    if ((traits & GOR__TRAIT_LOW) && !gor__rt.low.head)
        gor__ai64_store_rlx(&gor__rt.low_since, gor__os_now());
    gor__gq_push(traits & GOR__TRAIT_LOW ? &gor__rt.low : &gor__rt.high, g);
    gor__urgent_update_locked();
}

static void gor__push_global(gor__g *g)
{
    gor__lock_sched();
    gor__queue_push_locked(g);
    gor__unlock_sched();
}

static GOR__NOINLINE void gor__ready_global(gor__g *g)
{
    gor__push_global(g);
    gor__submitted();
}

/* I4 */
static void gor__spill_locked(gor__g *g)
{
    bool fresh = (gor__au32_load_rlx(&g->hold) & GOR__NO_STACK) != 0;
    if (!fresh || !gor__gs_add(&gor__rt.fresh, g))
        gor__gr_add(&gor__rt.global, g);
}

/* The ring is full: half of it and g go where every P looks. */
static GOR__NOINLINE void gor__runq_spill(gor__p *p, gor__g *g)
{
    uint32_t n, from = gor__runq_take_half(&p->runq, &n);
    gor__lock_sched();
    for (uint32_t i = 0; i < n; i++)
        gor__spill_locked(gor__runq_at(&p->runq, from + i));
    gor__spill_locked(g);
    gor__gr_tell(&gor__rt.global);
    gor__gs_tell(&gor__rt.fresh);
    gor__unlock_sched();
}

GOR__INLINE void gor__runq_append(gor__p *p, gor__g *g)
{
    if (GOR__UNLIKELY(!gor__runq_push(&p->runq, g)))
        gor__runq_spill(p, g);
}

GOR__INLINE bool gor__is_ordinary(gor__g *g)
{
    return (gor__au32_load_rlx(&g->traits) & GOR__TRAIT_SPECIAL) == 0;
}

/* From here on it waits for a P: since when, for reports; then its state, which publishes. */
GOR__INLINE void gor__set_runnable(gor__g *g)
{
    gor__ai64_store_rlx(&g->since, gor__ai64_load_rlx(&gor__rt.coarse_ns));
    gor__au32_store_rel(&g->state, GOR__RUNNABLE); /* rel g.state: what its waker did before   */
}

/* g is runnable from here on. Returns the P whose ring it belongs in; NULL: it is in a queue for
 * all, because this thread has no P (m may be NULL), or because of what it is (I3). */
GOR__INLINE gor__p *gor__ready_where(gor__m *m, gor__g *g)
{
    gor__p *p = gor__p_of(m);
    gor__set_runnable(g);
    if (GOR__LIKELY(p && gor__is_ordinary(g)))
        return p;
    gor__ready_global(g);
    return NULL;
}

/* Make g, whose wait the caller has claimed, runnable: the last one of m's ring. */
GOR__INLINE void gor__ready_last(gor__m *m, gor__g *g)
{
    gor__p *p = gor__ready_where(m, g);
    if (GOR__UNLIKELY(!p))
        return;
    gor__runq_append(p, g);
    gor__submitted();
}

/* g runs next on p, and who was to goes to the end of the ring. There are other Ps. */
GOR__INLINE void gor__ready_next_shared(gor__p *p, gor__g *g)
{
    bool vain = gor__waking_is_vain(), own = vain || gor__stress_hit(2);       /* [idle] I7 */
    if (GOR__UNLIKELY(own != (gor__au32_load_rlx(&p->runq.next_owned) != 0)))
        gor__runq_own_next(&p->runq, own);
    g = gor__runq_swap_next_shared(&p->runq, g);
    if (g)
        gor__runq_append(p, g);
    else if (vain)
        return;
    gor__submitted_by(!g && !own);
}

/* Like gor__ready_last, but g runs next. */
GOR__INLINE void gor__ready_next(gor__m *m, gor__g *g)
{
    gor__p *p = gor__ready_where(m, g);
    if (GOR__UNLIKELY(!p))
        return;
    if (gor__au32_load_rlx(&gor__shared)) {
        gor__ready_next_shared(p, g);
        return;
    }                                              /* else nobody is to be told: [idle] I3 */
    g = gor__runq_swap_next_alone(&p->runq, g);
    if (g)
        gor__runq_append(p, g);
}

enum gor__after { GOR__PICKS_NEXT, GOR__RUNS_ANOTHER };

/* Make Gs that the poller has claimed, linked by link, runnable, in order. A single one in m's own
 * ring needs no other M, if m picks from the ring next. */
static void gor__ready_all(gor__m *m, gor__g *list, enum gor__after after)
{
    gor__p *p = gor__p_of(m);
    bool tell = list && (!p || after == GOR__RUNS_ANOTHER || gor__aptr_load_rlx(&list->link));
    while (list) {
        gor__g *g = list;
        list = (gor__g *)gor__aptr_load_rlx(&g->link);
        gor__set_runnable(g);
        if (p && gor__is_ordinary(g)) {
            gor__runq_append(p, g);
        } else {
            tell = true;
            gor__push_global(g);
        }
    }
    if (tell)
        gor__submitted();
}

/* Make g, whose wait the caller has claimed, runnable. Any thread. */
GOR__INLINE void gor__ready(gor__g *g) { gor__ready_next(gor__self(), g); }

/* -- a fiber each, for ThreadSanitizer ----------------------------------------------------- */
#if GOR__TSAN
static gor__au32 gor__n_fibers;
#define GOR__MAX_FIBERS 7800                   /* ThreadSanitizer has room for 8128 threads */
static bool gor__fiber_begin(gor__g *g)
{
    if (gor__au32_count(&gor__n_fibers, 1) >= GOR__MAX_FIBERS) {
        gor__au32_count(&gor__n_fibers, (uint32_t)-1);
        return false;
    }
    g->fiber = gor__san_fiber();
    return true;
}
GOR__NO_TSAN static void gor__fiber_end(gor__g *g)
{
    if (!g->fiber)
        return;
    gor__san_fiber_free(g->fiber);
    g->fiber = NULL;
    gor__au32_count(&gor__n_fibers, (uint32_t)-1);
}
#else
GOR__INLINE bool gor__fiber_begin(gor__g *g) { (void)g; return true; }
GOR__INLINE void gor__fiber_end(gor__g *g) { (void)g; }
#endif

/* -- memory of goroutines ------------------------------------------------------------------ */

static void gor__g_push(gor__g **list, gor__g *g)
{
    gor__aptr_store_rlx(&g->link, *list);
    *list = g;
}

static gor__g *gor__g_pop(gor__g **list)
{
    gor__g *g = *list;
    if (g)
        *list = (gor__g *)gor__aptr_load_rlx(&g->link);
    return g;
}

/* Move up to n Gs from one list to another. Returns how many. */
static uint32_t gor__g_move(gor__g **from, gor__g **to, uint32_t n)
{
    uint32_t moved = 0;
    for (; moved < n && *from; moved++)
        gor__g_push(to, gor__g_pop(from));
    return moved;
}

/* Into c, until it is full or the list empty. */
static void gor__crate_fill(gor__crate *c, gor__g **list)
{
    while (gor__crate_n(c) < GOR__CRATE_CAP && *list)
        gor__crate_put(c, gor__g_pop(list));
}

/* Take room in the global queue for the Gs of one more slab: all may come to be in it. False: there
 * is none, in *cap. */
static bool gor__global_try_reserve(uint32_t *cap)
{
    bool has;
    gor__lock_sched();
    *cap = gor__rt.global.cap;
    has = (gor__rt.n_slabs + 1) * GOR__SLAB_CAP <= *cap;
    gor__rt.n_slabs += has;
    gor__unlock_sched();
    return has;
}

/* The same, with more memory if need be, which is made and freed outside of the lock: allocators
 * may block. False: out of memory. */
static bool gor__global_reserve(void)
{
    uint32_t cap;
    while (!gor__global_try_reserve(&cap)) {
        gor__g **slot;
        uint32_t to_copy = gor__au32_load_rlx(&gor__rt.global.n);
        if (to_copy > cap)                         /* others have made room, and used it */
            to_copy = cap;
        cap = cap ? 2 * cap : GOR__SLAB_CAP;
        slot = (gor__g **)gor__alloc(cap * sizeof *slot);
        if (!slot)
            return false;
        memset(slot, 0, to_copy * sizeof *slot);   /* touched first here, and not under the lock */
        gor__lock_sched();
        if (cap > gor__rt.global.cap)
            slot = gor__gr_renew(&gor__rt.global, slot, &cap);
        gor__unlock_sched();
        gor__free(slot, cap * sizeof *slot);
    }
    return true;
}

/* The Gs of a new slab, linked; *n of them. NULL: out of memory. */
static gor__g *gor__g_slab(uint32_t *n)
{
    gor__gslab *s = (gor__gslab *)gor__zalloc(sizeof *s);
    gor__g *list = NULL;
    if (s && !gor__global_reserve()) {
        gor__free(s, sizeof *s);
        s = NULL;
    }
    *n = s ? GOR__SLAB_CAP : 0;
    for (uint32_t i = 0; i < *n; i++) {
        gor__au32_store_rlx(&s->g[i].state, GOR__DEAD);
        gor__g_push(&list, &s->g[i]);
    }
    if (s) {
        gor__lock_sched();
        s->next = gor__rt.slabs;
        gor__rt.slabs = s;
        for (size_t i = 0; i < sizeof s->crate / sizeof s->crate[0]; i++)
            gor__crate_push(&gor__rt.empty, &s->crate[i]);
        gor__unlock_sched();
    }
    return list;
}

/* Dead Gs, linked, into crates as long as they fill them. */
static void gor__crates_fill_locked(gor__g **list, uint32_t n)
{
    for (; n >= GOR__CRATE_CAP && gor__rt.empty; n -= GOR__CRATE_CAP) {
        gor__crate *c = gor__crate_pop(&gor__rt.empty);
        gor__crate_fill(c, list);
        gor__crate_push(&gor__rt.full, c);
    }
    gor__g_move(list, &gor__rt.gfree, n);
}

/* More Gs, each with the promise of a stack ([stack] I3). Those for which there is none stay bare.
 * False: out of memory or address space. */
static bool gor__g_more(void)
{
    gor__g *list = NULL;
    uint32_t n, promised;
    gor__lock_sched();
    n = gor__g_move(&gor__rt.gbare, &list, GOR__CACHE_CAP);
    gor__unlock_sched();
    if (!list)
        list = gor__g_slab(&n);
    promised = n ? (uint32_t)gor__stack_promise(gor__rt.stack_class, n) : 0;
    gor__lock_sched();
    gor__crates_fill_locked(&list, promised);
    gor__g_move(&list, &gor__rt.gbare, n);
    if (promised)
        gor__au32_store_rlx(&gor__rt.g_cap, GOR__CACHE_CAP);
    gor__unlock_sched();
    return promised > 0;
}

static void gor__g_give_back(gor__g *g)
{
    gor__lock_sched();
    gor__g_push(&gor__rt.gfree, g);
    gor__unlock_sched();
}

GOR__INLINE gor__crate *gor__p_dead(gor__p *p)
{
    return (gor__crate *)gor__aptr_load_rlx(&p->dead);
}

/* The other crate is p's first now. */
static gor__crate *gor__p_swap_crates(gor__p *p)
{
    gor__crate *c = (gor__crate *)gor__aptr_load_rlx(&p->spare);
    gor__aptr_store_rlx(&p->spare, gor__p_dead(p));
    gor__aptr_store_rlx(&p->dead, c);
    return c;
}

/* The dead Gs that p, which the caller runs on, or nobody does, keeps go to the global list. */
static void gor__p_drop_gs_locked(gor__p *p)
{
    for (int i = 0; i < 2; i++) {
        gor__crate *c = gor__p_swap_crates(p);
        while (gor__crate_n(c))
            gor__g_push(&gor__rt.gfree, gor__crate_take(c));
    }
}

/* No more can be made: from now on dead Gs are left where every processor finds them, and those
 * that idle processors keep come there at once. False: there were none. */
static bool gor__g_collect(void)
{
    bool found;
    gor__lock_sched();
    gor__au32_store_rlx(&gor__rt.g_cap, 0);
    for (gor__p *p = gor__rt.idle_p; p; p = p->idle_next)
        gor__p_drop_gs_locked(p);
    found = gor__rt.gfree || gor__rt.full;
    gor__unlock_sched();
    return found;
}

/* A single one from where all look, or NULL. */
static gor__g *gor__g_single_locked(void)
{
    gor__g *g = gor__g_pop(&gor__rt.gfree);
    gor__crate *c = gor__rt.full;
    if (!g && c) {
        g = gor__crate_take(c);
        if (gor__crate_n(c) == 0)
            gor__crate_push(&gor__rt.empty, gor__crate_pop(&gor__rt.full));
    }
    return g;
}

/* What a start writes of those that come next; another processor has written it last. */
static void gor__crate_fetch(const gor__crate *c)
{
    for (uint32_t i = gor__crate_n(c); i-- > 0;) {
        const gor__g *g = gor__crate_at(c, i);
        __builtin_prefetch(g, 1);
        __builtin_prefetch(&g->fn, 1);
    }
}

/* A full one instead of p's first crate, c, which is empty; or what is in no crate into c. */
static gor__crate *gor__crate_change_locked(gor__p *p, gor__crate *c)
{
    if (gor__rt.full) {
        gor__crate_push(&gor__rt.empty, c);
        c = gor__crate_pop(&gor__rt.full);
        gor__aptr_store_rlx(&p->dead, c);
    } else {
        gor__crate_fill(c, &gor__rt.gfree);
    }
    return c;
}

/* From p's other crate, from where all look, or NULL. p NULL: a foreign thread. */
static gor__g *gor__g_find(gor__p *p)
{
    gor__crate *c = p ? gor__p_swap_crates(p) : NULL;
    gor__g *g;
    if (c && gor__crate_n(c))
        return gor__crate_take(c);
    gor__lock_sched();
    if (c && gor__au32_load_rlx(&gor__rt.g_cap)) {
        c = gor__crate_change_locked(p, c);
        g = gor__crate_n(c) ? gor__crate_take(c) : NULL;
    } else {
        g = gor__g_single_locked();
    }
    gor__unlock_sched();
    if (c)
        gor__crate_fetch(c);
    return g;
}

static GOR__NOINLINE gor__g *gor__g_get_slow(gor__p *p)
{
    gor__g *g;
    if (p && gor__au32_load_rlx(&gor__rt.g_cap) == 0 &&
        gor__au64_load_rlx(&p->started) % 1024 == 0)
        gor__g_more();                             /* there may be room again */
    while ((g = gor__g_find(p)) == NULL)
        if (!gor__g_more() && !gor__g_collect())
            return NULL;
    return g;
}

/* A dead G for a new goroutine; NULL: out of memory. p NULL: from a foreign thread. */
GOR__INLINE gor__g *gor__g_get(gor__p *p)
{
    gor__crate *c = p ? gor__p_dead(p) : NULL;
    gor__g *g = GOR__LIKELY(c && gor__crate_n(c)) ? gor__crate_take(c) : gor__g_get_slow(p);
    if (g)
        gor__san_take_over(g);
    return g;
}

/* p's first crate, c, goes to where all look. An empty one instead, or NULL: there is none. */
static gor__crate *gor__p_send_off(gor__p *p, gor__crate *c)
{
    gor__crate *other;
    gor__lock_sched();
    other = gor__crate_pop(&gor__rt.empty);
    if (other) {
        gor__crate_push(&gor__rt.full, c);
        gor__aptr_store_rlx(&p->dead, other);
    }
    gor__unlock_sched();
    return other;
}

/* p's crate is full, or it may keep none. */
static GOR__NOINLINE void gor__g_put_slow(gor__p *p, gor__g *g)
{
    gor__crate *c;
    if (gor__au32_load_rlx(&gor__rt.g_cap) == 0) {
        gor__lock_sched();
        gor__g_push(&gor__rt.gfree, g);
        gor__p_drop_gs_locked(p);
        gor__unlock_sched();
        return;
    }
    c = gor__p_swap_crates(p);
    if (gor__crate_n(c) == GOR__CRATE_CAP)
        c = gor__p_send_off(p, c);
    if (c)
        gor__crate_put(c, g);
    else
        gor__g_give_back(g);
}

GOR__INLINE void gor__g_put(gor__p *p, gor__g *g)
{
    gor__crate *c = gor__p_dead(p);
    if (GOR__UNLIKELY(gor__crate_n(c) == GOR__CRATE_CAP ||
                      gor__au32_load_rlx(&gor__rt.g_cap) == 0))
        gor__g_put_slow(p, g);
    else
        gor__crate_put(c, g);
}

/* -- stacks: the P's warm ones first ------------------------------------------------------- */

#define GOR__STACKS_FEW 8              /* that a P keeps at first, and may always keep         */

/* Half of what p may keep comes from the list, and is there when the next ones are wanted. The
 * stack for now. */
static GOR__NOINLINE char *gor__stack_take_slow(gor__p *p, int k)
{
    uint32_t n = 0, most = gor__au32_load_rlx(&p->stacks_cap) / 2;
    char *lo = NULL;
    if (k != gor__rt.stack_class || GOR__STACK_QUARANTINE > 0)
        return gor__stack_get(k);
    gor__lock_stacks();
    while (n < most &&
           (lo = gor__stack_pop_locked(&gor__stacks.cls[k], GOR__MIN_STACK_SIZE << k)) != NULL)
        gor__aptr_store_rlx(&p->stacks[n++], lo);
    gor__unlock_stacks();
    if (n == 0)
        return gor__stack_get(k);
    gor__au32_store_rlx(&p->n_stacks, n - 1);
    return (char *)gor__aptr_load_rlx(&p->stacks[n - 1]);
}

static char *gor__stack_take(gor__p *p, int k)
{
    uint32_t n = gor__au32_load_rlx(&p->n_stacks), at;
    char *lo;
    if (k != gor__rt.stack_class || n <= GOR__STACK_QUARANTINE)
        return gor__stack_take_slow(p, k);
    at = GOR__STACK_QUARANTINE ? 0 : n - 1;        /* the warmest, or the longest rested */
    lo = (char *)gor__aptr_load_rlx(&p->stacks[at]);
    for (; at + 1 < n; at++)
        gor__aptr_store_rlx(&p->stacks[at], gor__aptr_load_rlx(&p->stacks[at + 1]));
    gor__au32_store_rlx(&p->n_stacks, n - 1);
    return lo;
}

/* How many stacks a P may keep: nobody looks how deep they are used ([stack] I2), so all Ps
 * together no more than a list that is not long, or a few each; but what it was once promised it
 * may keep, when gor_procs makes more of them. */
static uint32_t gor__stacks_kept(void)
{
    uint32_t n = GOR__STACK_WARM / gor__au32_load_rlx(&gor__rt.n_asked);
    uint32_t least = GOR__STACK_QUARANTINE + GOR__STACKS_FEW;
    return n < least ? least : n > GOR__CACHE_CAP ? GOR__CACHE_CAP : n;
}

/* May the P keep more stacks? Each needs a promise ([stack] I3). */
static bool gor__stack_keep_more(gor__p *p)
{
    uint32_t cap = gor__au32_load_rlx(&p->stacks_cap), most = gor__stacks_kept();
    if (cap >= most || gor__au32_load_rlx(&gor__stacks.exhausted))
        return false;
    cap += (uint32_t)gor__stack_promise(gor__rt.stack_class, cap ? most - cap : GOR__STACKS_FEW);
    if (cap == gor__au32_load_rlx(&p->stacks_cap))
        return false;
    gor__au32_store_rlx(&p->stacks_cap, cap);
    return true;
}

/* Half of what p keeps, the coldest, go to the list. False: too few to do so, or they rest. */
static bool gor__stack_spill(gor__p *p)
{
    int k = gor__rt.stack_class;
    uint32_t n = gor__au32_load_rlx(&p->n_stacks), half = n / 2, nth;
    if (half == 0 || GOR__STACK_QUARANTINE > 0)
        return false;
    nth = gor__au32_count(&gor__stacks.cls[k].n_put, half);
    for (uint32_t i = 0; i < half; i++)
        gor__stack_trim((char *)gor__aptr_load_rlx(&p->stacks[i]), k, nth + i);
    gor__lock_stacks();
    for (uint32_t i = 0; i < half; i++)
        gor__stack_push_locked(&gor__stacks.cls[k], GOR__MIN_STACK_SIZE << k,
                               (char *)gor__aptr_load_rlx(&p->stacks[i]));
    gor__unlock_stacks();
    for (uint32_t i = half; i < n; i++)
        gor__aptr_store_rlx(&p->stacks[i - half], gor__aptr_load_rlx(&p->stacks[i]));
    gor__au32_store_rlx(&p->n_stacks, n - half);
    return true;
}

static GOR__NOINLINE void gor__stack_drop_slow(gor__p *p, char *lo, int k)
{
    if (k == gor__rt.stack_class && (gor__stack_keep_more(p) || gor__stack_spill(p))) {
        uint32_t n = gor__au32_load_rlx(&p->n_stacks);
        gor__aptr_store_rlx(&p->stacks[n], lo);
        gor__au32_store_rlx(&p->n_stacks, n + 1);
        return;
    }
    gor__stack_put(lo, k);
    if (k != gor__rt.stack_class)
        gor__stack_unpromise(k, 1);
}

static void gor__stack_drop(gor__p *p, char *lo, int k)
{
    uint32_t n = gor__au32_load_rlx(&p->n_stacks);
    gor__san_clean(gor__stack_lo(lo), GOR__MIN_STACK_SIZE << k);
    if (k != gor__rt.stack_class || n == gor__au32_load_rlx(&p->stacks_cap)) {
        gor__stack_drop_slow(p, lo, k);
        return;
    }
    gor__aptr_store_rlx(&p->stacks[n], lo);
    gor__au32_store_rlx(&p->n_stacks, n + 1);
}

/* The stacks that p, which nobody runs on, keeps go to the list, where they may become cold. */
static void gor__p_drop_stacks(gor__p *p)
{
    int k = gor__rt.stack_class;
    uint32_t n = gor__au32_load_rlx(&p->n_stacks);
    gor__lock_stacks();
    while (n > 0)
        gor__stack_push_locked(&gor__stacks.cls[k], GOR__MIN_STACK_SIZE << k,
                               (char *)gor__aptr_load_rlx(&p->stacks[--n]));
    gor__unlock_stacks();
    gor__au32_store_rlx(&p->n_stacks, 0);
}

static size_t gor__stack_size_of(const gor__g *g)
{
    return GOR__MIN_STACK_SIZE << (gor__au32_load_rlx(&g->traits) & GOR__TRAIT_CLASS);
}

/* Give a fresh goroutine its first frame. */
GOR__NO_TSAN static void gor__first_frame(gor__g *g)
{
    size_t size = gor__stack_size_of(g);
    char *lo = (char *)gor__aptr_load_rlx(&g->stack);
    g->control = gor__arch_control_default;
    g->sp = gor__arch_make(gor__stack_top(lo, size), gor__up.g_main);
    gor__g_set_bounds(g, lo, size);
}

/* Bind a stack, with its first frame, to a goroutine that is about to run for the first time, and
 * count it. It was promised one. */
static void gor__bind_stack(gor__p *p, gor__g *g)
{
    int k = (int)(gor__au32_load_rlx(&g->traits) & GOR__TRAIT_CLASS);
    char *lo = gor__stack_take(p, k);
    gor__au64_bump(&p->begun);
    if (gor__stack_lo(lo) != lo)
        gor__g_add_trait(g, GOR__TRAIT_CANARY);
    gor__aptr_store_rlx(&g->stack, gor__stack_lo(lo));
    gor__first_frame(g);
    gor__au32_store_rlx(&g->hold, gor__au32_load_rlx(&g->hold) & ~(uint32_t)GOR__NO_STACK);
}

/* The stack of a goroutine that has ended, or will not begin, goes back. */
GOR__NO_TSAN static void gor__unbind_stack(gor__p *p, gor__g *g)
{
    uint32_t traits = gor__au32_load_rlx(&g->traits);
    char *lo = (char *)gor__aptr_load_rlx(&g->stack);
    if (traits & GOR__TRAIT_CANARY)
        lo += GOR__UNGUARDED;
    gor__aptr_store_rlx(&g->stack, NULL);
    gor__stack_drop(p, lo, (int)(traits & GOR__TRAIT_CLASS));
}

/* prev has ended and its stack has been left: keep both for the next goroutine. */
GOR__NO_TSAN static GOR__NOINLINE void gor__recycle(gor__m *m, gor__g *g)
{
    gor__p *p = gor__m_p(m);
    gor__unbind_stack(p, g);
    gor__fiber_end(g);
    gor__g_put(p, g);
}

/* ==== [pack] the stack of an idle goroutine in a small block =====================================
 * What        A goroutine that was started with gor_attr.compact_idle and has been parked for long
 *             enough keeps its live bytes in a block; its pages go back to the system, and whoever
 *             touches them faults. Before it runs, or when somebody else touches them (its nodes
 *             are in queues, and neighbours link and unlink them), the bytes come back to where
 *             they were. [tidy] packs; g0, and the handler of the fault, unpack.
 * Invariants  I1 GOR__PACKED in hold: the bytes are in the block, the pages are guards. Who wants
 *                them swaps PACKED for CLAIMED; the others wait until both are gone.
 *             I2 Others see all of a page or fault. So the pages are inaccessible from before the
 *                bytes are read until the guards stand, and from before the guards go until the
 *                bytes are there; the kernel reads and writes them for us, by /proc/self/mem.
 *                (Read-only would not do: a guard takes the page first, and for a moment zeros
 *                could be read.)
 *             I3 A fault above the guard of a stack that was ever packed comes from that, but
 *                for some mprotect of the user's. So the handler unpacks what is packed, and lets
 *                the instruction try again: another one may have been quicker. A hundred times.
 *             I4 The handler may have interrupted anything: it takes no lock, and frees nothing:
 *                sysmon does, later. Whoever has claimed takes no signal until he is done, or its
 *                handler might touch what its own thread has closed.
 * Unsound     where a system call is given an address in the stack of a parked goroutine by another
 *             one: the kernel does not fault for it, it answers -EFAULT. Nobody can see that from
 *             outside, so it is for who starts the goroutine to say (gor_attr.compact_idle).
 *             Refused: without MADV_GUARD_INSTALL (each packed stack would be a mapping), without
 *             our fault handler, where stacks are opened page by page, under sanitizers, and where
 *             /proc/self/mem does not do what I2 needs. Then stacks stay.
 * Limits      A page is split from its mapping for a moment. At vm.max_map_count a stack is not
 *             packed; to come back there is room: gor__packs.spare. If others have taken that too,
 *             and give nothing back for ten seconds, that is the end, and said so.
 *             A thread that blocks SIGSEGV is killed by a fault: ours do not, and others not from
 *             their first gor call on. The child of fork has no handler: see the manual.
 * Tests       tests/pack.c
 */
#define GOR__RED_ZONE  ((uintptr_t)128)        /* below the stack pointer, used by leaf functions */
#define GOR__PACK_SPARE 4                      /* pages, and as many mappings                  */

typedef struct gor__packed {             /* what a stack held; its bytes follow                  */
    struct gor__packed *next;            /* in the trash                                         */
    size_t size;                       /* of all                                               */
} gor__packed;

typedef struct gor__pack_slot {        /* of a stack                                           */
    gor__aptr g;                       /* who was last packed here; NULL: nobody ever          */
    gor__aptr pack;
} gor__pack_slot;

typedef struct gor__pages {            /* of a parked goroutine                                */
    char  *base;                       /* whole pages, to the end of the stack                 */
    size_t size;
    char  *live;                       /* what must be kept                                    */
    size_t n_live;
} gor__pages;

static struct {
    gor__os_mem mem;                   /* as tried; to be used while it works                  */
    gor__au32 asked;                   /* some goroutine may be packed                         */
    bool      can, looked, works;      /* sysmon's: in this run; in this round                 */
    int64_t   after;                   /* parked for so long, ns                               */
    gor__aptr trash;                   /* blocks to free                                       */
    gor__aptr spare;                   /* some mappings to do without                          */
    gor__au64 n;                       /* goroutines packed now                                */
} gor__packs;

static void gor__packs_init(int64_t after)
{
    memset(&gor__packs, 0, sizeof gor__packs);
    gor__packs.mem.fd = -1;
    gor__packs.after = after;
}

static void gor__packs_close(void)
{
    gor__os_mem_close(&gor__packs.mem);
    gor__packs_init(0);
}

/* A goroutine is started that may be packed, where that can be at all. */
static void gor__packs_ask(void)
{
    if (gor__stacks.light_guards && !gor__stacks.strict && !GOR__ASAN && !GOR__TSAN &&
        !(gor__rt.opt.flags & GOR_NO_SIGNALS))
        gor__au32_store_rlx(&gor__packs.asked, 1);
}

/* A fault of the calling thread may have to bring a stack back from now on: it must be heard. */
GOR__INLINE void gor__packs_hear(void)
{
    if (GOR__UNLIKELY(gor__au32_load_rlx(&gor__packs.asked)))
        gor__os_unblock(SIGSEGV);
}

GOR__NO_TSAN static void gor__pages_of(gor__g *g, gor__pages *r)
{
    char *lo = (char *)gor__aptr_load_rlx(&g->stack);
    size_t size = gor__stack_size_of(g);
    uintptr_t from = ((uintptr_t)g->sp - GOR__RED_ZONE) & ~(uintptr_t)15;
    r->live = (char *)from;
    r->n_live = (size_t)(gor__stack_top(lo, size) - r->live);
    r->base = (char *)(from & ~(uintptr_t)(gor__stacks.page_size - 1));
    r->size = (size_t)(lo + size - r->base);
}

/* -- where it is noted --------------------------------------------------------------------- */

static gor__aptr gor__packs_left;      /* chunks of runs that threads stayed of: their stacks may be
                                          packed still, and so may come back */

static gor__chunk *gor__pack_chunk_of(gor__chunk *c, uintptr_t at)
{
    while (c && at - (uintptr_t)c->base >= c->size)
        c = c->next;
    return c;
}

/* The chunk that at lies in. Takes no lock: I4. */
static gor__chunk *gor__pack_chunk_at(uintptr_t at)
{
    gor__chunk *c = gor__pack_chunk_of(gor__stack_chunks(), at);
    return c ? c : gor__pack_chunk_of((gor__chunk *)gor__aptr_load_acq(&gor__packs_left), at);
}

/* The slot of the stack that at lies in, not in its guard pages. NULL: no stack, or none was ever
 * packed nearby. */
static gor__pack_slot *gor__pack_slot_at(uintptr_t at)
{
    gor__chunk *c = gor__pack_chunk_at(at);
    gor__pack_slot *slots = c ? (gor__pack_slot *)gor__aptr_load_acq(&c->slots) : NULL;
    size_t off = c ? at - (uintptr_t)c->base : 0;
    if (!slots || off % c->stride < gor__stack_guard_size())
        return NULL;
    return slots + off / c->stride;
}

static size_t gor__pack_slots_size(const gor__chunk *c)
{
    return c->size / c->stride * sizeof(gor__pack_slot);
}

/* The same, to pack. NULL: out of memory. */
static gor__pack_slot *gor__pack_slot_for(uintptr_t at)
{
    gor__chunk *c = gor__pack_chunk_at(at);
    if (!gor__aptr_load_rlx(&c->slots))
        gor__aptr_store_rel(&c->slots, gor__zalloc(gor__pack_slots_size(c)));
    return gor__pack_slot_at(at);
}

static void gor__pack_throw_away(gor__packed *k)
{
    gor__packed *first;
    do {
        first = (gor__packed *)gor__aptr_load_rlx(&gor__packs.trash);
        k->next = first;
    } while (!gor__aptr_cas(&gor__packs.trash, first, k));
}

/* By sysmon: I4. */
static void gor__pack_empty_trash(void)
{
    gor__packed *k = NULL, *next;
    if (gor__aptr_load_rlx(&gor__packs.trash))
        k = (gor__packed *)gor__aptr_xchg(&gor__packs.trash, NULL);
    for (; k; k = next) {
        next = k->next;
        gor__free(k, k->size);
    }
}

/* -- coming back --------------------------------------------------------------------------- */

/* Give the spare mappings back. False: there are none. */
static bool gor__pack_drop_spare(void)
{
    void *spare = gor__aptr_xchg(&gor__packs.spare, NULL);
    if (spare)
        gor__os_release(spare, GOR__PACK_SPARE * gor__stacks.page_size);
    return spare != NULL;
}

/* A step was refused for want of memory or mappings. There is room: the spare ones; and time, ten
 * seconds, for others to end what they split. Without these bytes there is no way on. */
static void gor__pack_try_again(int64_t *since)
{
    static const char text[] = "gor: a packed stack cannot come back: no memory or mapping to be "
                               "had (RLIMIT_DATA, vm.max_map_count), or no /proc\n";
    struct timespec ms = { 0, 1000000 };
    if (*since == 0)
        *since = gor__os_now();
    if (gor__pack_drop_spare())
        return;
    syscall(SYS_nanosleep, &ms, NULL);             /* bare, as all of [os]'s calls here */
    if (gor__os_now() - *since < 10 * GOR_SEC)
        return;
    syscall(SYS_write, 2, text, sizeof text - 1);
    abort();
}

/* I2. The caller has claimed g. */
static void gor__pack_put_back(const gor__pages *r, const gor__packed *k)
{
    int64_t since = 0;
    while (!gor__os_close(r->base, r->size))
        gor__pack_try_again(&since);
    while (!gor__os_unguard(r->base, r->size))
        gor__pack_try_again(&since);
    while (!gor__os_poke(&gor__packs.mem, r->live, k + 1, r->n_live))
        gor__pack_try_again(&since);
    while (!gor__os_open(r->base, r->size))
        gor__pack_try_again(&since);
}

static void gor__pack_restore(gor__g *g)
{
    gor__pages r;
    gor__pack_slot *slot = gor__pack_slot_at((uintptr_t)g->sp);
    gor__packed *k = (gor__packed *)gor__aptr_load_rlx(&slot->pack);
    gor__pages_of(g, &r);
    gor__pack_put_back(&r, k);
    gor__aptr_store_rlx(&slot->pack, NULL);
    gor__pack_throw_away(k);
    if (gor__pack_chunk_of(gor__stack_chunks(), (uintptr_t)g->sp))     /* of this run */
        gor__au64_count(&gor__packs.n, (uint64_t)-1);
}

/* On return g is neither packed nor claimed. Any thread, also in the handler of a fault. */
static GOR__NOINLINE void gor__unpack(gor__g *g)
{
    uint32_t hold;
    sigset_t all, old;
    while ((hold = gor__au32_load_acq(&g->hold)) & (GOR__CLAIMED | GOR__PACKED)) {
        if (hold & GOR__CLAIMED) {
            gor__os_yield();
            continue;
        }
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);              /* I4 */
        if (gor__au32_cas(&g->hold, hold, hold ^ (GOR__CLAIMED | GOR__PACKED))) {
            gor__pack_restore(g);
            gor__au32_and(&g->hold, ~(uint32_t)GOR__CLAIMED);
        }
        pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
}

/* Somebody touched at, executing pc. True: it is there now, or was there again before we looked;
 * but who is told that time after time, of one place, has another reason (I3). */
static bool gor__pack_fault(uintptr_t at, uintptr_t pc)
{
    static __thread struct { uintptr_t at, pc; int n; } last;
    gor__pack_slot *slot = at == pc ? NULL : gor__pack_slot_at(at);
    gor__g *g = slot ? (gor__g *)gor__aptr_load_acq(&slot->g) : NULL;
    if (!g)
        return false;
    if ((gor__au32_load_acq(&g->hold) & (GOR__CLAIMED | GOR__PACKED)) || last.at != at ||
        last.pc != pc)
        last.n = 0;
    gor__unpack(g);
    last.at = at;
    last.pc = pc;
    return last.n++ < 100;
}

/* -- packing: sysmon ----------------------------------------------------------------------- */

/* Every other page is accessible, so that each is a mapping. */
static void gor__pack_keep_spare(void)
{
    size_t page = gor__stacks.page_size;
    char *p;
    if (gor__aptr_load_rlx(&gor__packs.spare))
        return;
    p = (char *)gor__os_reserve_bare(GOR__PACK_SPARE * page);
    if (p && gor__os_open(p + page, page) && gor__os_open(p + 3 * page, page))
        gor__aptr_store_rlx(&gor__packs.spare, p);
    else if (p)
        gor__os_release(p, GOR__PACK_SPARE * page);
}

/* Make all of I2 happen to a page of nobody's. */
static bool gor__pack_trial(void)
{
    size_t page = gor__stacks.page_size;
    char *p = (char *)gor__os_reserve(page), text[] = "packed";
    bool works;
    if (!p)
        return false;
    works = gor__os_close(p, page) && gor__os_poke(&gor__packs.mem, p, text, sizeof text) &&
            gor__os_faults(p) && gor__os_open(p, page) && memcmp(p, text, sizeof text) == 0 &&
            gor__os_close(p, page) && gor__os_peek(&gor__packs.mem, p, text, sizeof text) &&
            gor__os_guard(p, page, true) == 0 && gor__os_open(p, page) && gor__os_faults(p) &&
            gor__os_unguard(p, page) && !gor__os_faults(p) && p[0] == 0;
    gor__os_release(p, page);
    return works;
}

/* A round of [tidy] begins. */
static void gor__packs_begin(void)
{
    gor__pack_empty_trash();
    gor__packs.looked = gor__packs.works = false;
}

/* Does it work, in this round? handled: faults come to us. */
static void gor__packs_look(bool handled)
{
    gor__packs.looked = true;
    if (!gor__au32_load_rlx(&gor__packs.asked))
        return;
    if (!gor__os_mem_there(&gor__packs.mem)) {     /* not yet, or somebody has closed it */
        gor__os_mem_close(&gor__packs.mem);
        gor__os_mem_open(&gor__packs.mem);
    }
    gor__packs.can = gor__packs.can || gor__pack_trial();
    gor__packs.works = gor__packs.can && handled && gor__os_mem_there(&gor__packs.mem);
    if (gor__packs.works)
        gor__pack_keep_spare();
}

/* I2: the bytes of r go to k, and its pages to the system. False: they stay. */
static bool gor__pack_pages(const gor__pages *r, gor__packed *k)
{
    bool copied, gone;
    int64_t since = 0;
    if (!gor__os_close(r->base, r->size))
        return false;
    copied = gor__os_peek(&gor__packs.mem, r->live, k + 1, r->n_live);
    gone = copied && gor__os_guard(r->base, r->size, true) == 0;
    if (copied && !gone)
        gor__pack_put_back(r, k);                  /* some pages may have gone */
    while (!gor__os_open(r->base, r->size))
        gor__pack_try_again(&since);
    return gone;
}

/* Pack the stack of a goroutine that is claimed. False: it is not worth it, or cannot be done. */
static bool gor__pack_one(gor__g *g)
{
    gor__pages r;
    gor__pack_slot *slot;
    gor__packed *k;
    gor__pages_of(g, &r);
    if (r.n_live > r.size / 4 * 3 || (slot = gor__pack_slot_for((uintptr_t)g->sp)) == NULL ||
        (k = (gor__packed *)gor__alloc(sizeof *k + r.n_live)) == NULL)
        return false;
    k->size = sizeof *k + r.n_live;
    gor__aptr_store_rel(&slot->g, g);
    gor__aptr_store_rlx(&slot->pack, k);
    if (!gor__pack_pages(&r, k)) {
        gor__aptr_store_rlx(&slot->pack, NULL);
        gor__free(k, k->size);
        return false;
    }
    gor__au64_count(&gor__packs.n, 1);
    gor__au32_or(&g->hold, GOR__PACKED);
    return true;
}

/* Threads stay, and with them all stacks, packed or not: a fault finds them here. */
static void gor__packs_leave(void)
{
    gor__chunk *first = gor__stack_chunks(), *last = first;
    while (last && last->next)
        last = last->next;
    if (last) {
        last->next = (gor__chunk *)gor__aptr_load_rlx(&gor__packs_left);
        gor__aptr_store_rel(&gor__packs_left, first);
    }
    gor__pack_empty_trash();
    gor__pack_drop_spare();
    gor__packs_close();
}

/* Will faults of stacks that were left come for as long as the program runs? */
static bool gor__packs_stay(void) { return gor__aptr_load_rlx(&gor__packs_left) != NULL; }

/* Before the stacks are freed, or forgotten. */
static void gor__packs_free(void)
{
    gor__pack_empty_trash();
    for (gor__chunk *c = gor__stack_chunks(); c; c = c->next) {
        gor__pack_slot *slots = (gor__pack_slot *)gor__aptr_load_rlx(&c->slots);
        for (size_t i = 0; slots && i < c->size / c->stride; i++) {
            gor__packed *k = (gor__packed *)gor__aptr_load_rlx(&slots[i].pack);
            gor__free(k, k ? k->size : 0);
        }
        gor__free(slots, gor__pack_slots_size(c));
    }
    gor__pack_drop_spare();
    gor__packs_close();
}

/* ==== [switch] from one goroutine to another =====================================================
 * What        gor__switch_to leaves one G and goes on in another; gor__after_switch is the first
 *             thing that runs there. A goroutine or the M's own g0 at either end.
 * Invariants  I1 errno, the C++ runtime's exception state and the floating-point control words
 *                belong to the goroutine.
 *             I2 M and P are asked for anew after a switch: gor__self().
 *             I3 What is touched of the two Gs here is not seen by ThreadSanitizer ([core] I5).
 */
#ifdef __cplusplus
extern "C" {
#endif
extern void *__cxa_get_globals(void) __attribute__((weak));
#ifdef __cplusplus
}
#endif

GOR__NO_TSAN static void gor__save_thread_state(gor__m *m, gor__g *g)
{
    gor__san_hand_over(m->errno_at);               /* to who asks for errno here next: [names] */
    gor__san_hand_over(&gor__rt.stopped);          /* to gor_stop: all that we did is before it */
    g->err = *m->errno_at;
}

GOR__NO_TSAN static void gor__load_thread_state(gor__m *m, gor__g *g)
{
    *m->errno_at = g->err;
}

/* C++: the caught exceptions, and the count of those not caught yet. Kept on the stack. */
typedef struct gor__eh { void *word[2]; } gor__eh;
static const gor__eh gor__eh_none = { { NULL, NULL } };

GOR__NO_TSAN static void gor__eh_save(const gor__m *m, gor__eh *eh)
{
    if (m->eh_at) {
        eh->word[0] = m->eh_at[0];
        eh->word[1] = m->eh_at[1];
    }
}

GOR__NO_TSAN static void gor__eh_load(gor__m *m, const gor__eh *eh)
{
    if (m->eh_at) {
        m->eh_at[0] = eh->word[0];
        m->eh_at[1] = eh->word[1];
    }
}

#if GOR__ASAN
static void gor__san_arrive(gor__m *m, gor__g *g, gor__g *prev)
{
    const void *old;
    size_t size;
    gor__san_enter_stack(g->fake, &old, &size);
    if (prev == &m->g0) {
        prev->san_stack = old;
        prev->san_size = size;
    }
}
static void gor__san_depart(gor__g *from, gor__g *to, bool dead)
{
    gor__san_leave_stack(dead ? NULL : &from->fake, to->san_stack, to->san_size);
}
#else
GOR__INLINE void gor__san_arrive(gor__m *m, gor__g *g, gor__g *prev)
{
    (void)m, (void)g, (void)prev;
}
GOR__INLINE void gor__san_depart(gor__g *from, gor__g *to, bool dead)
{
    (void)from, (void)to, (void)dead;
}
#endif

/* A stack without a guard: has its goroutine run over the end? */
GOR__NO_TSAN static GOR__NOINLINE void gor__canary_check(gor__g *g)
{
    const uint64_t *canary = (const uint64_t *)gor__aptr_load_rlx(&g->stack);
    if (*canary != GOR__STACK_CANARY)
        gor__up.overflowed(g);
}

/* rel g.hold: the stack of g, which was left, is free to be entered. */
GOR__TSAN_SEES void gor__off_cpu(gor__g *g)
{
    gor__au32_store_rel(&g->hold, gor__au32_load_rlx(&g->hold) & ~(uint32_t)GOR__ON_CPU);
}

/* Finish with the goroutine that was left. Returns the M. */
GOR__SWITCH_INLINE gor__m *gor__after_switch(void)
{
    gor__m *m = gor__self();
    gor__g *g = gor__m_g(m), *prev = (gor__g *)gor__aptr_load_rlx(&m->prev);
    gor__san_arrive(m, g, prev);
    gor__san_take_over(&m->alt_stack);             /* the beginning of its thread-locals */
    gor__load_thread_state(m, g);
    gor__arch_control_change(&prev->control, &g->control);
    if (GOR__UNLIKELY(gor__au32_load_rlx(&prev->traits) & GOR__TRAIT_CANARY))
        gor__canary_check(prev);
    if (GOR__UNLIKELY(gor__au32_load_rlx(&prev->state) == GOR__DEAD))
        gor__recycle(m, prev);
    else
        gor__off_cpu(prev);
    return m;
}

/* g is about to be left: as early as can be, see [arch]. */
GOR__INLINE void gor__switch_begin(gor__g *g) { gor__arch_control_save(&g->control); }

/* From here on g runs on m. */
GOR__INLINE void gor__switch_in(gor__m *m, gor__g *g)
{
    gor__aptr_store_rlx(&m->g, g);
    if (GOR__UNLIKELY(g->ctx != NULL))
        gor__mine_end(m);
}

/* All of a switch from `from`, which runs on m and for which it has begun, but the change of
 * stacks. Returns the stack pointer to go on at. */
GOR__SWITCH_INLINE void *gor__switch_out(gor__m *m, gor__g *from, gor__g *to)
{
    gor__save_thread_state(m, from);
    gor__aptr_store_rlx(&m->prev, from);
    gor__switch_in(m, to);
    return to->sp;
}

/* Leave from, for which the switch has begun, for to, whose hold the caller has set. Returns when
 * from runs again, perhaps on another M. */
GOR__SWITCH_INLINE void gor__switch_finish(gor__m *m, gor__g *from, gor__g *to)
{
    void *sp = gor__switch_out(m, from, to);
    gor__eh eh = { { NULL, NULL } };
    gor__eh_save(m, &eh);
    gor__san_depart(from, to, false);
    gor__g_enter_fiber(to);
    gor__arch_switch(&from->sp, sp);
    gor__eh_load(gor__after_switch(), &eh);
}

/* The change of stacks, after gor__switch_out, for one who does not come back. */
static void gor__switch_never_back(void *sp) __attribute__((noreturn));
__attribute__((no_sanitize("address"))) GOR__NO_TSAN
static void gor__switch_never_back(void *sp)
{
    gor__m *m = gor__self();
    gor__san_depart((gor__g *)gor__aptr_load_rlx(&m->prev), gor__m_g(m), true);
    gor__g_enter_fiber(gor__m_g(m));
    gor__arch_go(sp);
}

GOR__SWITCH_INLINE void gor__switch_to(gor__m *m, gor__g *from, gor__g *to)
{
    gor__switch_begin(from);
    gor__switch_finish(m, from, to);
}

/* ==== [spawn] goroutines begin ==================================================================
 * What        gor__g_make makes the G of a goroutine; [start] queues it.
 * Cost        A spawned goroutine is a small object. It gets a stack when it first runs, and the
 *             one that ended last on this P, still warm, if there is one.
 */
typedef struct gor__spec {             /* what to start */
    void (*fn)(void *);
    void       *arg;
    const char *site;                  /* "fn\0file:line"                          */
    const void *copy;                  /* copy_size bytes for fn, instead of arg   */
    size_t      copy_size;
    const gor_attr *attr;
    void      (*done)(void *);         /* called with done_arg when it ends        */
    void       *done_arg;
    gor__cancel *ctx;                  /* own context; NULL: inherit; &gor__no_ctx: none */
} gor__spec;

GOR__INLINE uint64_t gor__new_id(gor__p *p)
{
    uint64_t id;
    if (!p)
        return gor__au64_add(&gor__rt.next_id, 1);
    id = gor__au64_load_rlx(&p->id_next);
    if (GOR__UNLIKELY(id == gor__au64_load_rlx(&p->id_end))) {
        id = gor__au64_add(&gor__rt.next_id, 16);
        gor__au64_store_rlx(&p->id_end, id + 16);
    }
    gor__au64_store_rlx(&p->id_next, id + 1);
    return id;
}

static gor__extra *gor__extra_of(gor__g *g)
{
    if (!g->extra)
        g->extra = (gor__extra *)gor__zalloc(sizeof *g->extra);
    gor__g_add_trait(g, GOR__TRAIT_ESTATE);
    return g->extra;
}

/* The traits of a goroutine with attributes. 0, or -EINVAL. */
GOR__INLINE int gor__traits_of(const gor_attr *a, uint32_t *traits)
{
    *traits = (uint32_t)gor__rt.stack_class;
    if (!a)
        return 0;
    if (a->stack_size) {
        if (a->stack_size < GOR__MIN_STACK_SIZE || a->stack_size > GOR__MAX_STACK_SIZE)
            return -EINVAL;
        *traits = (uint32_t)gor__stack_class_of(a->stack_size);
    }
    if (a->priority < GOR_LOW || a->priority > GOR_HIGH)
        return -EINVAL;
    *traits |= a->priority == GOR_HIGH ? GOR__TRAIT_HIGH
             : a->priority == GOR_LOW ? GOR__TRAIT_LOW : 0;
    if (a->compact_idle) {
        *traits |= GOR__TRAIT_PACK;
        gor__packs_ask();
    }
    return 0;
}

/* A G comes with the promise of a stack of the default class ([stack] I3). One of another class is
 * promised here, and no more once it has been given back: gor__stack_drop. */
GOR__INLINE bool gor__promise_odd(uint32_t traits)
{
    int k = (int)(traits & GOR__TRAIT_CLASS);
    if (GOR__LIKELY(k == gor__rt.stack_class) || gor__stack_promise(k, 1) == 1)
        return true;
    gor__g_collect();                              /* no more Gs will be made either */
    return false;
}

static void gor__unpromise_odd(uint32_t traits)
{
    int k = (int)(traits & GOR__TRAIT_CLASS);
    if (k != gor__rt.stack_class)
        gor__stack_unpromise(k, 1);
}

GOR__INLINE void gor__free_argument(gor__g *g)
{
    if (GOR__LIKELY(g->copy_size == 0))
        return;
    gor__free(g->arg, g->copy_size);
    g->copy_size = 0;
}

/* Where the argument is kept: in the G, or in a block of its own. */
GOR__INLINE int gor__set_argument(gor__g *g, const gor__spec *s)
{
    g->arg = s->arg;
    if (!s->copy_size)
        return 0;
    g->arg = g->call;
    if (s->copy_size > sizeof g->call) {
        g->arg = gor__alloc(s->copy_size);
        if (!g->arg)
            return -ENOMEM;
        g->copy_size = s->copy_size;
        gor__g_add_trait(g, GOR__TRAIT_ESTATE);
    }
    memcpy(g->arg, s->copy, s->copy_size);
    return 0;
}

GOR__INLINE int gor__set_name(gor__g *g, const gor_attr *a)
{
    g->extra = NULL;
    if (!a || !a->name)
        return 0;
    if (!gor__extra_of(g))
        return -ENOMEM;
    snprintf(g->extra->name, sizeof g->extra->name, "%s", a->name);
    return 0;
}

GOR__NO_TSAN static const char *gor__g_name(const gor__g *g)
{
    if (g->extra && g->extra->name[0])
        return g->extra->name;
    return g->site ? g->site : "";
}

/* g's context, with a reference to it that is g's from now on. */
GOR__INLINE void gor__g_set_ctx(gor__g *g, gor__cancel *ctx)
{
    g->ctx = ctx;
    if (GOR__LIKELY(!ctx))
        return;
    g->ctx_held = ctx;
    gor__g_add_trait(g, GOR__TRAIT_ESTATE);
}

/* Fill in a dead G. 0, or -ENOMEM with nothing left behind in it. */
GOR__INLINE int gor__g_init(gor__m *m, gor__g *g, const gor__spec *s, uint32_t traits)
{
    gor__g *parent = m ? gor__m_g(m) : NULL;
    gor__cancel *ctx = s->ctx ? s->ctx : parent ? parent->ctx : NULL;
    if (ctx == &gor__no_ctx)
        ctx = NULL;
    gor__au32_store_rlx(&g->traits, traits);
    if (gor__set_argument(g, s) != 0)
        return -ENOMEM;
    if (gor__set_name(g, s->attr) != 0 || !gor__fiber_begin(g)) {
        gor__free(g->extra, sizeof *g->extra);
        g->extra = NULL;
        gor__free_argument(g);
        return -ENOMEM;
    }
    gor__au32_store_rlx(&g->hold, GOR__NO_STACK);
    gor__au64_store_rlx(&g->id, gor__new_id(gor__p_of(m)));
    g->fn = s->fn;
    g->site = s->site;
    g->done = s->done;
    g->done_arg = s->done_arg;
    g->err = 0;
    gor__g_set_ctx(g, ctx ? gor__cancel_retain(ctx) : NULL);
    gor__au32_store_rlx(&g->why, GOR__WHY_NONE);
    return 0;
}

/* One goroutine more: call it when it is certain that it will run. m NULL: foreign thread. */
static void gor__count_start(gor__m *m)
{
    if (m)
        gor__au64_bump(&gor__m_p(m)->started);
    else
        gor__au64_add(&gor__rt.outside_started, 1);
}

/* Make the G of a goroutine, not yet queued, nor counted. 0, -ENOMEM, -EINVAL, -ESRCH.
 * m NULL: foreign thread. */
GOR__INLINE int gor__g_make(gor__m *m, const gor__spec *s, gor__g **out)
{
    gor__p *p = gor__p_of(m);
    uint32_t traits;
    gor__g *g;
    int rc;
    if (GOR__UNLIKELY(!gor__is_on()))
        return -ESRCH;
    if (!s->fn || (s->copy_size && !s->copy) || gor__traits_of(s->attr, &traits) != 0)
        return -EINVAL;
    if (!gor__promise_odd(traits))
        return -ENOMEM;
    g = gor__g_get(p);
    rc = g ? gor__g_init(m, g, s, traits) : -ENOMEM;
    if (GOR__UNLIKELY(rc != 0)) {
        if (g)
            gor__g_give_back(g);
        gor__unpromise_odd(traits);
        return rc;
    }
    *out = g;
    return 0;
}

/* Undo gor__g_make; g has no stack yet. */
static void gor__g_discard(gor__g *g)
{
    gor__cancel_release(g->ctx_held);
    g->ctx_held = NULL;
    gor__unpromise_odd(gor__au32_load_rlx(&g->traits));
    gor__fiber_end(g);
    gor__au32_store_rlx(&g->state, GOR__DEAD);
    gor__g_give_back(g);
}

/* ==== [taskq] forked calls that nobody has started ===========================================
 * What        A ring of tasks per P. The owner appends at the bottom; the joiner takes its own
 *             task back, wherever it lies; an M without work takes the oldest and makes a
 *             goroutine of it.
 * Invariants  I1 A task is run by who swaps its slot from the task to NULL; before that nobody but
 *                its forker reads it. So the task's storage may go as soon as it has been joined.
 *             I2 Only the owner moves top and bottom; slots outside of them are NULL. Others read
 *                them as hints: a slot that is not NULL holds a task, wherever it lies.
 * Locks       None.
 * Source      Work-first deques (Frigo, Leiserson, Randall, 1998; Chase, Lev, 2005), with a claim
 *             per slot instead of one per end, for joins out of order.
 */

/* Append. Owner only. False if the ring is full. */
GOR__INLINE bool gor__taskq_push(gor__taskq *q, gor_task *t)
{
    uint32_t bottom = gor__au32_load_rlx(&q->bottom), top = gor__au32_load_rlx(&q->top);
    gor__aptr *slot = &q->slot[bottom % GOR__TASKQ_CAP];
    while (top != bottom && gor__aptr_load_rlx(&q->slot[top % GOR__TASKQ_CAP]) == NULL)
        top++;
    gor__au32_store_rlx(&q->top, top);
    if (bottom - top >= GOR__TASKQ_CAP)
        return false;
    t->slot = slot;
    gor__aptr_store_rel(slot, t);                  /* rel taskq.slot: the task */
    gor__au32_store_rel(&q->bottom, bottom + 1);
    return true;
}

/* Swap t out of its slot, by its forker. False: someone has started it. */
GOR__INLINE bool gor__taskq_claim(gor_task *t)
{
    if (gor__aptr_load_rlx(t->slot) != t)
        return false;
    if (gor__au32_load_rlx(&gor__shared) == 0) {
        gor__aptr_store_rlx(t->slot, NULL);
        return true;
    }
    return gor__aptr_cas(t->slot, t, NULL);
}

/* The newest that others have started go: then q is seen to be empty, if it is. Owner only. */
static GOR__NOINLINE void gor__taskq_trim(gor__taskq *q)
{
    uint32_t bottom = gor__au32_load_rlx(&q->bottom), top = gor__au32_load_rlx(&q->top);
    while (top != bottom && !gor__aptr_load_rlx(&q->slot[(bottom - 1) % GOR__TASKQ_CAP]))
        bottom--;
    gor__au32_store_rlx(&q->bottom, bottom);
}

/* Take back a task that the caller has forked, perhaps on another P. q is the caller's own.
 * False: someone has started it. */
GOR__INLINE bool gor__taskq_take_back(gor__taskq *q, gor_task *t)
{
    uint32_t bottom = gor__au32_load_rlx(&q->bottom);
    if (GOR__UNLIKELY(!gor__taskq_claim(t))) {
        gor__taskq_trim(q);
        return false;
    }
    if (gor__au32_load_rlx(&q->top) != bottom &&
        t->slot == &q->slot[(bottom - 1) % GOR__TASKQ_CAP])
        gor__au32_store_rlx(&q->bottom, bottom - 1);
    return true;
}

GOR__INLINE bool gor__taskq_empty(const gor__taskq *q)
{
    return gor__au32_load_rlx(&q->top) == gor__au32_load_rlx(&q->bottom);
}

/* The first slot with a task, or NULL. Any thread. */
static gor__aptr *gor__taskq_find(gor__taskq *q)
{
    uint32_t top = gor__au32_load_sc(&q->top), bottom = gor__au32_load_sc(&q->bottom);
    for (uint32_t i = top; i != bottom && i - top < GOR__TASKQ_CAP; i++)
        if (gor__aptr_load_sc(&q->slot[i % GOR__TASKQ_CAP]))
            return &q->slot[i % GOR__TASKQ_CAP];
    return NULL;
}

/* Swap the oldest task out. NULL: none. Any thread that holds a P. */
static gor_task *gor__taskq_take_oldest(gor__taskq *q)
{
    gor__aptr *slot;
    while ((slot = gor__taskq_find(q)) != NULL) {
        gor_task *t = (gor_task *)gor__aptr_xchg(slot, NULL);
        if (t)
            return t;
    }
    return NULL;
}

static void gor__taskq_run(void *arg)
{
    gor_task *t = (gor_task *)arg;
    t->run(t);
}

/* Make a goroutine of the oldest task of q, under the forker's own context. NULL: there is none, or
 * no memory: then it stays forked, for its joiner. The goroutine comes first: a task once taken
 * must run. */
static gor__g *gor__taskq_start(gor__m *m, gor__taskq *q)
{
    gor__spec spec;
    gor_task *t;
    gor__g *g;
    if (gor__taskq_empty(q) || !gor__taskq_find(q))
        return NULL;
    memset(&spec, 0, sizeof spec);
    spec.fn = gor__taskq_run;
    spec.site = "gor_fork\0";
    if (gor__g_make(m, &spec, &g) != 0)
        return NULL;
    t = gor__taskq_take_oldest(q);
    if (!t) {
        gor__g_discard(g);
        return NULL;
    }
    gor__count_start(m);
    g->arg = t;
    g->done = t->finish;                           /* however it ends */
    g->done_arg = t;
    gor__g_set_ctx(g, (gor__cancel *)t->ctx);
    gor__au32_store_rel(&g->state, GOR__RUNNABLE);
    return g;
}

/* ==== [sched] what runs next =====================================================================
 * What        An M with a P picks a goroutine and runs it; a goroutine that parks, yields or ends
 *             picks its successor itself, with one switch. Only when that is not simple does it go
 *             to the M's own stack (g0), whose loop looks everywhere, and at last lets the M
 *             sleep.
 * Fairness    Own ring first in, first out. The woken-next slot goes first at most GOR__STREAK
 *             times in a row, the global queue or forked tasks are looked at first every 61st turn,
 *             timers whenever some are pending and a few microseconds have passed, priorities by
 *             the clock. What has not begun and was spilled comes after the global queue, the
 *             newest first; its oldest are [sysmon]'s.
 * Order       gor__find_work lists its steps.
 * Source      schedule, findRunnable of the Go runtime; work stealing after Blumofe and Leiserson
 *             (1999).
 */
#define GOR__STREAK 32

/* -- picking ------------------------------------------------------------------------------- */

GOR__INLINE bool gor__timers_maybe_due(gor__p *p)
{
    uint64_t now;
    if (GOR__LIKELY(gor__ai64_load_rlx(&p->timers.first) == GOR_FOREVER))
        return false;
    now = gor__arch_ticks();
    if (now - gor__au64_load_rlx(&p->timer_ticks) < GOR__ARCH_TICKS)
        return false;
    gor__au64_store_rlx(&p->timer_ticks, now);
    return true;
}

GOR__INLINE gor__g *gor__pick_local(gor__p *p)
{
    uint32_t streak = gor__au32_load_rlx(&p->streak);
    gor__g *g = NULL;
    if (gor__aptr_load_rlx(&p->runq.next) && streak < GOR__STREAK)
        g = gor__runq_swap_next(&p->runq, NULL);
    if (g) {
        gor__au32_store_rlx(&p->streak, streak + 1);
        return g;
    }
    if (streak)
        gor__au32_store_rlx(&p->streak, 0);
    g = gor__runq_pop(&p->runq);
    return g ? g : gor__runq_swap_next(&p->runq, NULL);
}

/* Is g0 to look around in this turn, whatever there is to run? The timers are asked once in a few
 * microseconds: a second call may say no. */
GOR__INLINE bool gor__look_is_due(gor__m *m, gor__p *p, uint32_t tick)
{
    return gor__au32_load_rlx(&m->detour) || tick % 61 == 0 ||
           gor__au32_load_rlx(&gor__rt.urgent) || gor__au32_load_rlx(&p->retire) ||
           gor__timers_maybe_due(p) || gor__stress_hit(4);
}

/* A turn, as sysmon and the global queue count them. Its number. */
GOR__INLINE uint32_t gor__count_turn(gor__p *p)
{
    uint32_t tick = gor__au32_load_rlx(&p->tick) + 1;
    gor__au32_store_rlx(&p->tick, tick);
    return tick;
}

/* The quick choice, from any stack: NULL means that g0 should look. */
GOR__INLINE gor__g *gor__pick(gor__m *m, gor__p *p)
{
    uint32_t tick = gor__count_turn(p);
    return GOR__UNLIKELY(gor__look_is_due(m, p, tick)) ? NULL : gor__pick_local(p);
}

/* Can m switch to g at once? A fresh one gets its stack here. */
GOR__INLINE bool gor__can_switch(gor__p *p, gor__g *g)
{
    uint32_t hold = gor__au32_load_acq(&g->hold);
    if (GOR__LIKELY(hold == 0))
        return true;
    if (hold != GOR__NO_STACK)
        return false;
    gor__bind_stack(p, g);
    return true;
}

/* From here on g is ours: it is about to run on this M. */
GOR__INLINE void gor__hold_cpu(gor__g *g)
{
    gor__au32_store_rlx(&g->hold, (gor__au32_load_rlx(&g->hold) & GOR__TIED) | GOR__ON_CPU);
}

/* next is about to run on m: give it a stack, hold it. Returns it; if that is not simple, or it is
 * NULL, g0, to which it is handed. */
GOR__INLINE gor__g *gor__next_or_g0(gor__m *m, gor__p *p, gor__g *next)
{
    if (GOR__LIKELY(next && gor__can_switch(p, next))) {
        gor__au32_store_rlx(&next->hold, GOR__ON_CPU);
        return next;
    }
    gor__aptr_store_rlx(&m->handed, next);
    return &m->g0;
}

/* Switch from g, which waits or is queued, to who is next; if that is g, it goes on. */
GOR__INLINE void gor__switch_away(gor__m *m, gor__g *g)
{
    gor__p *p = gor__m_p(m);
    gor__g *next = gor__pick(m, p);
    if (next != g)
        gor__switch_finish(m, g, gor__next_or_g0(m, p, next));
}

/* After a switch, on the goroutine's own stack. */
GOR__INLINE void gor__resumed(gor__g *g)
{
    (void)gor__au32_load_acq(&g->state);           /* acq g.state: what the waker did */
    gor__au32_store_rlx(&g->state, GOR__RUNNING);
}

/* g, which runs, waits until someone who claims the wait calls gor__ready. state is WAITING
 * already: the wake-up may have come before this call. For functions that are GOR__SWITCHES. */
GOR__INLINE void gor__park_here(gor__g *g)
{
    gor__switch_begin(g);
    gor__switch_away(gor__self(), g);
    gor__resumed(g);
}

/* For what gor__arch_wait calls: before the wait, on m or NULL, and after it. */
GOR__INLINE void gor__left_at(gor__m *m, void *back)
{
    if (m)
        gor__aptr_store_rlx(&m->left_at, back);
}

GOR__INLINE gor__answer gor__answer_from(gor__m *m, int rc, void *back)
{
    gor__answer a;
    a.rc = rc;
    a.jump = m && gor__aptr_load_rlx(&m->left_at) != back;
    return a;
}

/* What gor__arch_wait calls to park g; it uses none of the other arguments. */
GOR__SWITCHES static gor__answer gor__park_waiter(void *g, void *b, void *c, uint64_t d, int64_t e,
                                                  void *back)
{
    (void)b, (void)c, (void)d, (void)e;
    gor__left_at(gor__self(), back);
    gor__park_here((gor__g *)g);
    return gor__answer_from(gor__self(), 0, back);
}

/* gor__park_here for the goroutine that runs, from any function. */
GOR__INLINE void gor__park(void)
{
    gor__arch_wait(gor__m_g(gor__self()), NULL, NULL, 0, 0, gor__park_waiter);
}

/* Would a turn that begins now look at the fds, having found nothing else? */
GOR__INLINE bool gor__next_is_to_poll(gor__m *m, gor__p *p)
{
    return gor__runq_empty(&p->runq) && gor__taskq_empty(&p->taskq) &&
           !(gor__au32_load_rlx(&gor__rt.global.n) | gor__au32_load_rlx(&gor__rt.fresh.n)) &&
           !gor__look_is_due(m, p, gor__au32_load_rlx(&p->tick) + 1);
}

/* g, which runs on m, goes to the end of the run queue. Returns who is next, g perhaps; NULL: g0 is
 * to choose. */
GOR__INLINE gor__g *gor__last_and_next(gor__m *m, gor__p *p, gor__g *g)
{
    gor__ready_last(m, g);
    return gor__pick(m, p);
}

/* look: g0 is to choose. */
static GOR__NOINLINE gor__g *gor__last_and_next_slow(gor__m *m, gor__p *p, gor__g *g, bool look)
{
    gor__ready_last(m, g);
    return look ? NULL : gor__pick_local(p);
}

/* The same while gor__shared is 0. Most often it is enough to turn the ring by one. */
GOR__INLINE gor__g *gor__last_and_next_alone(gor__m *m, gor__p *p, gor__g *g)
{
    bool look = gor__look_is_due(m, p, gor__count_turn(p)) || !gor__is_ordinary(g);
    if (GOR__UNLIKELY(look || gor__aptr_load_rlx(&p->runq.next)))
        return gor__last_and_next_slow(m, p, g, look);
    gor__set_runnable(g);
    if (gor__au32_load_rlx(&p->streak))
        gor__au32_store_rlx(&p->streak, 0);
    return gor__runq_turn(&p->runq, g);
}

/* Go to the end of the run queue. For functions that are GOR__SWITCHES, too. */
GOR__INLINE void gor__yield_here(gor__m *m)
{
    gor__g *g = gor__m_g(m), *next;
    gor__p *p = gor__m_p(m);
    gor__switch_begin(g);
    if (gor__au32_load_rlx(&gor__shared) == 0)
        next = gor__last_and_next_alone(m, p, g);
    else
        next = gor__last_and_next(m, p, g);
    if (next != g)
        gor__switch_finish(m, g, gor__next_or_g0(m, p, next));
    gor__resumed(g);
}

GOR__SWITCHES static void gor__yield(void) { gor__yield_here(gor__self()); }

/* Let those go first, too, whom every P looks for. */
GOR__SWITCHES static void gor__yield_to_all(void)
{
    gor__m *m = gor__self();
    gor__g *g = gor__m_g(m);
    gor__switch_begin(g);
    gor__set_runnable(g);
    gor__ready_global(g);
    gor__switch_away(m, g);
    gor__resumed(g);
}

/* -- looking everywhere, on g0 ------------------------------------------------------------- */

static GOR__NOINLINE gor__g *gor__try_share_slow(gor__p *p, const gor__au32 *count, bool fresh,
                                                 uint32_t most)
{
    uint32_t n, room = gor__runq_room(&p->runq) + 1;
    gor__g *first = NULL, *g;
    gor__lock_sched();
    n = gor__au32_load_rlx(count) / gor__au32_load_rlx(&gor__rt.n_procs) + 1;
    n = n < most ? n : most;
    for (n = n < room ? n : room; n > 0; n--) {
        g = fresh ? gor__gs_take(&gor__rt.fresh, gor__rt.fresh.newest)
                  : gor__gr_take(&gor__rt.global);
        if (!first)
            first = g;
        else if (g)
            gor__runq_push(&p->runq, g);
    }
    if (fresh)
        gor__gs_tell(&gor__rt.fresh);
    else
        gor__gr_tell(&gor__rt.global);
    gor__unlock_sched();
    return first;
}

/* A share of the global queue, or of those that have not begun, the newest of these first: one to
 * run, the rest to the ring. Most often there are none. */
GOR__INLINE gor__g *gor__try_share(gor__p *p, bool fresh, uint32_t most)
{
    const gor__au32 *count = fresh ? &gor__rt.fresh.n : &gor__rt.global.n;
    return gor__au32_load_sc(count) ? gor__try_share_slow(p, count, fresh, most) : NULL;
}

static GOR__NOINLINE gor__g *gor__try_queue_slow(gor__gqueue *q)
{
    gor__g *g;
    gor__lock_sched();
    g = gor__gq_pop(q);
    gor__urgent_update_locked();
    gor__unlock_sched();
    return g;
}

GOR__INLINE gor__g *gor__try_queue(gor__gqueue *q)
{
    return gor__au32_load_sc(&q->n) ? gor__try_queue_slow(q) : NULL;
}

/* High priority before others, unless these have had to wait for GOR__PRIORITY_NS; low priority if
 * it has waited for as long. */
static gor__g *gor__try_priority(gor__p *p)
{
    uint32_t tick = gor__au32_load_rlx(&p->tick);
    gor__g *g = NULL;
    int64_t now;
    if (!gor__au32_load_rlx(&gor__rt.urgent))
        return NULL;
    now = gor__os_now();
    if (tick - gor__au32_load_rlx(&p->high_tick) > 1)   /* the last turn was another's */
        gor__ai64_store_rlx(&p->normal_ns, now);
    if (gor__au32_load_rlx(&gor__rt.low.n) &&
        now - gor__ai64_load_rlx(&gor__rt.low_since) > GOR__PRIORITY_NS)
        g = gor__try_queue(&gor__rt.low);
    if (g) {
        gor__ai64_store_rlx(&gor__rt.low_since, now);
        gor__au32_store_rlx(&p->high_tick, tick);  /* no turn of normal priority: that waits on */
        return g;
    }
    if (now - gor__ai64_load_rlx(&p->normal_ns) <= GOR__PRIORITY_NS)
        g = gor__try_queue(&gor__rt.high);
    if (g)
        gor__au32_store_rlx(&p->high_tick, tick);
    else
        gor__ai64_store_rlx(&p->normal_ns, now);
    return g;
}

/* How many turns victim takes in a microsecond or so; if none, and it is in a gor call, which may
 * be no more than the wake that has brought us here, in some ten. */
static uint32_t gor__watch_turns(gor__p *victim)
{
    uint32_t tick = gor__au32_load_rlx(&victim->tick), in_call;
    uint64_t begin = gor__arch_ticks();
    gor__stay_away(begin, GOR__ARCH_TICKS / 4);
    if (tick == gor__au32_load_rlx(&victim->tick) && gor__p_holder(victim, &in_call) && in_call)
        gor__stay_away(begin, 2 * GOR__ARCH_TICKS);
    return gor__au32_load_rlx(&victim->tick) - tick;
}

/* What a processor runs next it most often runs at once, from a warm cache: take it only from one
 * that is busy with something else. */
static gor__g *gor__try_next_of(gor__p *victim)
{
    return gor__aptr_load_rlx(&victim->runq.next) && gor__watch_turns(victim) == 0
           ? gor__runq_steal_next(&victim->runq) : NULL;
}

/* Does who takes so many turns in so many ns come to n that wait, sooner than another would be done
 * with them? */
static bool gor__is_quick(uint32_t turns, uint32_t n, int64_t ns)
{
    return turns >= n && (int64_t)turns * GOR__STEAL_PAYS_NS >= ns;
}

/* Does victim come to the n in its ring at once? Not if its turns are those of high priority. */
static bool gor__runs_at_once(gor__p *victim, uint32_t n)
{
    int64_t begin = gor__os_now();
    uint32_t turns = gor__watch_turns(victim);
    return gor__is_quick(turns, n, gor__os_now() - begin) &&
           gor__au32_load_rlx(&victim->tick) - gor__au32_load_rlx(&victim->high_tick) > 1;
}

/* Take half of victim's ring. A few are looked at last, and left to who comes to them at once. */
static gor__g *gor__try_ring_of(gor__m *m, gor__p *p, gor__p *victim, bool last)
{
    uint32_t n = gor__runq_n(&victim->runq);
    bool few = n < GOR__FEW && !gor__stress_hit(2);
    gor__g *g = NULL;
    if (n == 0 || (few && !last))
        return NULL;
    if (few && gor__runs_at_once(victim, n)) {
        m->left++;
        return NULL;
    }
    g = gor__runq_steal(&p->runq, &victim->runq);
    if (g) {
        m->n_stolen = 1 + gor__runq_n(&p->runq);
        m->stolen_ns = gor__os_now();
    }
    return g;
}

/* Take work from one victim. last: also a few in its ring or, of one that is not quick, its next
 * slot, and its timers. */
static gor__g *gor__try_victim(gor__m *m, gor__p *p, gor__p *victim, bool last)
{
    uint32_t left = m->left;
    gor__g *g = gor__try_ring_of(m, p, victim, last);
    if (!g)
        g = gor__taskq_start(m, &victim->taskq);
    if (!g && last && m->left == left)
        g = gor__try_next_of(victim);
    if (!g && last && gor__timers_run(&victim->timers))
        g = gor__pick_local(p);
    return g;
}

static uint32_t gor__common_factor(uint32_t a, uint32_t b)
{
    while (b) {
        uint32_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

/* Four rounds over the others, each in a random order: start anywhere, step by a number that
 * shares no factor with the count. The last, which takes time, ends once a few were left alone. */
static gor__g *gor__try_steal(gor__m *m, gor__p *p)
{
    uint32_t n = gor__au32_load_acq(&gor__rt.n_allp);
    m->left = 0;
    for (int round = 0; round < 4; round++) {
        uint32_t at = gor__random_below(&m->rng, n), step = 1 + gor__random_below(&m->rng, n);
        while (gor__common_factor(n, step) != 1)
            step = step % n + 1;
        for (uint32_t i = 0; i < n && m->left < GOR__MOST_LEFT; i++, at = (at + step) % n) {
            gor__p *victim = gor__p_at(at);
            gor__g *g = victim == p ? NULL : gor__try_victim(m, p, victim, round == 3);
            if (g) {
                gor__au64_bump(&p->steals);
                return g;
            }
        }
    }
    return NULL;
}

/* -- goroutines that were switched off in place: [preempt] --------------------------------- */

/* The running goroutine is to go on on m, after those that wait for m's P now. */
static void gor__preempted_push(gor__m *m, gor__g *g)
{
    gor__p *p = gor__m_p(m);
    g->due_tick = gor__au32_load_rlx(&p->tick) + gor__runq_n(&p->runq);
    gor__gq_push(&m->preempted, g);
    gor__au32_store_rlx(&m->detour, gor__au32_load_rlx(&m->detour) | GOR__HAS_PREEMPTED);
}

static void gor__preempted_none(gor__m *m)
{
    uint32_t rest = gor__au32_load_rlx(&m->detour) & ~(uint32_t)GOR__HAS_PREEMPTED;
    gor__au32_store_rlx(&m->detour, rest);
}

/* Those that wait elsewhere, and may move, share p with those that may not. */
static gor__g *gor__try_one_victim(gor__m *m, gor__p *p)
{
    gor__p *victim = gor__p_at(gor__random_below(&m->rng, gor__au32_load_acq(&gor__rt.n_allp)));
    return victim == p ? NULL : gor__runq_steal(&p->runq, &victim->runq);
}

static gor__g *gor__preempted_pop(gor__m *m)
{
    gor__g *g = gor__gq_pop(&m->preempted);
    if (g && !m->preempted.head)
        gor__preempted_none(m);
    return g;
}

/* The first, once it is due; then every other time at most. */
static gor__g *gor__try_preempted_due(gor__m *m, gor__p *p)
{
    gor__g *g = m->preempted.head;
    m->preempted_turn = !m->preempted_turn;
    if (!g || !m->preempted_turn ||
        (int32_t)(gor__au32_load_rlx(&p->tick) - g->due_tick) < 0)
        return NULL;
    return gor__preempted_pop(m);
}

/* The first, due or not: p has nothing else to run. Whatever was seen elsewhere a moment ago may
 * have been stolen since, so this is asked last, and m does not go idle while it has some. */
static gor__g *gor__try_preempted(gor__m *m, gor__p *p)
{
    gor__g *stolen = m->preempted.head ? gor__try_one_victim(m, p) : NULL;
    return stolen ? stolen : gor__preempted_pop(m);
}

/* m's thread will run nothing else for a while: they go on wherever they can. By m, or by sysmon
 * while m waits for its answer. */
static void gor__preempted_spill(gor__m *m)
{
    gor__g *g;
    if (!m->preempted.head)
        return;
    gor__lock_sched();
    while ((g = gor__gq_pop(&m->preempted)) != NULL)
        gor__global_push_locked(g);
    gor__unlock_sched();
    gor__preempted_none(m);
}

/* Look at the fds, without waiting, unless who waits has just done so in vain. The first that is
 * ready runs, the others go into p's ring. */
static gor__g *gor__try_poll(gor__m *m, gor__p *p)
{
    gor__g *first;
    bool just_looked = gor__au32_load_rlx(&m->polled_in_vain) != 0;
    if (just_looked || gor__au32_load_acq(&gor__rt.poller) == 0)     /* acq rt.poller: its fds */
        return NULL;
    first = gor__up.poll(0);
    if (!first || !gor__is_ordinary(first)) {
        gor__ready_all(m, first, GOR__PICKS_NEXT);
        return gor__pick_local(p);
    }
    gor__ready_all(m, (gor__g *)gor__aptr_load_rlx(&first->link), GOR__RUNS_ANOTHER);
    gor__set_runnable(first);
    return first;
}

/* [sysmon] has found that nobody looked at the fds for long. */
static void gor__poll_overdue(gor__m *m)
{
    gor__lock_sched();
    gor__au32_store_rlx(&gor__rt.poll_due, 0);
    gor__urgent_update_locked();
    gor__unlock_sched();
    gor__up.signalled();
    gor__ready_all(m, gor__up.poll(0), GOR__RUNS_ANOTHER);
}

/* A task that a P has left which is retired: nobody steals there while all others have work. */
static gor__g *gor__try_left_task(gor__m *m)
{
    uint32_t n = gor__au32_load_acq(&gor__rt.n_allp);
    if (GOR__LIKELY(n == gor__au32_load_rlx(&gor__rt.n_procs)))
        return NULL;
    return gor__taskq_start(m, &gor__p_at(gor__random_below(&m->rng, n))->taskq);
}

/* Each 61st turn: what is not in the ring. The global queue first and tasks next, or the other way
 * round, by turns: the first might never be empty. */
static gor__g *gor__try_rare(gor__m *m, gor__p *p)
{
    bool tasks_first = gor__au32_load_rlx(&p->tick) / 61 % 2 != 0;
    gor__g *g = tasks_first ? NULL : gor__try_share(p, false, 1);
    if (!g)
        g = gor__taskq_start(m, &p->taskq);
    if (!g)
        g = gor__try_left_task(m);
    return g || !tasks_first ? g : gor__try_share(p, false, 1);
}

/* Everything that this P can run without stealing. */
static gor__g *gor__try_own(gor__m *m, gor__p *p)
{
    gor__g *g;
    if (GOR__UNLIKELY(gor__au32_load_rlx(&gor__rt.poll_due)))
        gor__poll_overdue(m);
    gor__timers_date(&p->timers);                  /* by the way: [date] */
    gor__timers_run(&p->timers);
    g = gor__try_priority(p);
    if (!g && gor__au32_load_rlx(&p->tick) % 61 == 0)
        g = gor__try_rare(m, p);
    if (!g)
        g = gor__try_preempted_due(m, p);
    if (gor__stress_hit(4))
        gor__os_yield();                           /* others steal meanwhile */
    if (!g)
        g = gor__pick_local(p);
    if (!g)
        g = gor__taskq_start(m, &p->taskq);
    if (!g)
        g = gor__try_share(p, false, GOR__RUNQ_CAP / 2);
    if (!g)
        g = gor__try_share(p, true, GOR__RUNQ_CAP / 2);
    if (!g)
        g = gor__try_queue(&gor__rt.high);
    if (!g)
        g = gor__try_preempted(m, p);
    if (!g)
        g = gor__try_queue(&gor__rt.low);
    return g;
}

/* Is there anything to run that no P has? */
static bool gor__work_for_all(void)
{
    return gor__au32_load_sc(&gor__rt.global.n) || gor__au32_load_sc(&gor__rt.fresh.n) ||
           gor__au32_load_sc(&gor__rt.high.n) || gor__au32_load_sc(&gor__rt.low.n) ||
           gor__au32_load_sc(&gor__rt.poll_due);
}

/* Is there anything to run, for an M that has just given up its P? */
static bool gor__work_anywhere(void)
{
    uint32_t n = gor__au32_load_acq(&gor__rt.n_allp);
    if (gor__work_for_all())
        return true;
    for (uint32_t i = 0; i < n; i++) {
        gor__p *p = gor__p_at(i);
        if (!gor__runq_empty(&p->runq) || gor__taskq_find(&p->taskq))
            return true;
    }
    return false;
}

static void gor__stop_spinning(gor__m *m)
{
    if (!m->spinning)
        return;
    m->spinning = false;
    gor__au32_add(&gor__rt.n_spinning, (uint32_t)-1);
}

/* m has found work: if it was the one that looked, another should look now ([idle] I2). */
static void gor__found(gor__m *m)
{
    gor__has_looked(m, true);
    if (!m->spinning)
        return;
    gor__stop_spinning(m);
    gor__submitted();
}

/* Take an idle P, if there is one. */
static bool gor__p_acquire(gor__m *m, gor__p *wanted)
{
    gor__p *p;
    if (gor__au32_load_sc(&gor__rt.n_idle_p) == 0)
        return false;
    gor__lock_idle_p();
    p = wanted ? gor__p_idle_pop_locked(wanted) : NULL;
    if (!p)
        p = gor__p_idle_pop_locked(NULL);
    if (p)
        gor__p_hold(m, p);
    gor__unlock_sched();
    if (p)
        gor__sysmon_wake();
    return p != NULL;
}

/* p, in transit, is not wanted any more: its timers go to the first P, which always is, and its
 * goroutines, and what it keeps for new ones, to all. Without memory for that it stays, one more
 * than was asked for. */
static void gor__p_retire(gor__p *p)
{
    bool moved = gor__timers_move(&gor__p_at(0)->timers, &p->timers);
    gor__g *g;
    gor__lock_idle_p();                            /* without a P there are no windows */
    if (!moved && gor__au32_load_rlx(&p->retire)) {
        gor__au32_store_rlx(&p->retire, 0);
        gor__au32_store_sc(&gor__rt.n_procs, gor__au32_load_rlx(&gor__rt.n_procs) + 1);
    }
    if (gor__au32_load_rlx(&p->retire)) {
        gor__runq_own_next(&p->runq, false);
        while ((g = gor__pick_local(p)) != NULL)
            gor__global_push_locked(g);
        gor__p_drop_gs_locked(p);
        if (!GOR__STACK_QUARANTINE)
            gor__p_drop_stacks(p);
        gor__aptr_store_rlx(&p->m, NULL);
    } else {
        gor__p_idle_push_locked(p);
    }
    gor__unlock_sched();
}

/* p, whose last holder has let go of it, goes to the idle list, or, if gor_procs wants it back, to
 * nobody. Work may have become visible: who calls looks for it, or wakes somebody who does. */
static void gor__p_give_back(gor__p *p)
{
    bool retire;
    gor__lock_sched();
    retire = gor__au32_load_rlx(&p->retire) != 0;
    if (retire)
        gor__aptr_store_rlx(&p->m, &gor__in_transit);
    else
        gor__p_idle_push_locked(p);
    gor__unlock_sched();
    if (retire)
        gor__p_retire(p);
}

static void gor__p_release(gor__m *m)
{
    gor__p *p = gor__m_p(m);
    gor__timers_date(&p->timers);                  /* while it is m's: they may be its P's own */
    gor__mine_end(m);
    gor__aptr_store_rlx(&m->p, NULL);
    gor__p_give_back(p);
}

/* A P was given up by an M that will not look for work again: somebody must, and mind the
 * timers. */
static void gor__p_left(void)
{
    gor__arch_fence();
    if (!gor__au32_load_rlx(&gor__rt.stopping) &&
        (gor__work_anywhere() || gor__timers_first() != GOR_FOREVER ||
         (gor__au32_load_rlx(&gor__rt.poller) && !gor__aptr_load_sc(&gor__rt.sleeper))))
        gor__wake_p();
}

/* Publish how long we will sleep, then look at the timers a last time ([idle] I4). If there is a
 * sleeper already, it may not know of timers that are far off, or were added while no P was idle;
 * now one is. */
static int64_t gor__sleeper_until(gor__m *m)
{
    int64_t until;
    if (!gor__aptr_cas(&gor__rt.sleeper, NULL, m)) {
        if (gor__timers_first() != GOR_FOREVER)
            gor__sleeper_tell(gor__timers_first());
        return GOR_FOREVER;
    }
    gor__ai64_store_sc(&gor__rt.sleep_until, INT64_MIN);       /* not known yet: do not wake */
    until = gor__timers_first();
    gor__ai64_store_sc(&gor__rt.sleep_until, until);
    gor__arch_fence();
    if (gor__timers_first() < until)
        return 0;
    if (gor__au32_load_sc(&gor__rt.n_idle_p) != 0)
        return until;
    gor__aptr_store_sc(&gor__rt.sleeper, NULL);    /* no P to run them with: who gives one up  */
    gor__arch_fence();                             /* sleeps itself, or wakes somebody         */
    return gor__au32_load_sc(&gor__rt.n_idle_p) != 0 ? 0 : GOR_FOREVER;
}

/* m has been idle for long, and as many as there are Ps are idle besides: its thread ends. */
static bool gor__m_spare_locked(const gor__m *m)
{
    return !m->is_main &&
           gor__au32_load_rlx(&gor__rt.n_idle_m) >= gor__au32_load_rlx(&gor__rt.n_procs);
}

/* Do others run, and poll, since m last asked? */
static bool gor__others_poll(gor__m *m)
{
    uint32_t polls = gor__au32_load_rlx(&gor__rt.polls);
    bool others = (int32_t)(polls - m->polls_seen - gor__au32_load_rlx(&m->polls_own)) > 0;
    m->polls_seen = polls;
    gor__au32_store_rlx(&m->polls_own, 0);
    return others && gor__au32_load_sc(&gor__rt.n_idle_p) < gor__au32_load_rlx(&gor__rt.n_procs);
}

/* Nothing to do while others poll: one M asks again soon ([idle] I6), the rest sleep. */
static bool gor__m_stand_by(gor__m *m)
{
    int64_t until = gor__os_now() + GOR__STANDBY_NS, first;
    bool woken;
    gor__ai64_store_sc(&gor__rt.standby_until, until);
    if (!gor__aptr_cas(&gor__rt.standby, NULL, m))
        return gor__m_sleep(m, GOR_FOREVER);
    gor__arch_fence();
    first = gor__timers_first();                   /* those that come later are before until, and */
    woken = gor__m_sleep(m, first < until ? first : until);    /* told; or seen then              */
    gor__aptr_store_sc(&gor__rt.standby, NULL);
    gor__arch_fence();
    return woken;
}

/* Sleep as an idle M does; the sleeper in the poller, if there is one ([idle] I5). Others until
 * leave_at at most. */
static bool gor__m_sleep_idle(gor__m *m, int64_t leave_at, gor__g **ready)
{
    int64_t until;
    *ready = NULL;
    if (gor__au32_load_sc(&gor__rt.stopping))
        return true;
    if (gor__au32_load_sc(&gor__rt.poller) && gor__others_poll(m))
        return gor__m_stand_by(m);
    until = gor__sleeper_until(m);
    if (until != 0 && gor__au32_load_sc(&gor__rt.poller) &&
        gor__aptr_load_rlx(&gor__rt.sleeper) == m)
        return gor__m_sleep_polling(m, until, ready);
    return gor__m_sleep(m, until < leave_at ? until : leave_at);
}

/* The sleeper has come back with fds that are ready. Timers that are due before [sysmon] next looks
 * are another's from now on; for later ones it sees that somebody minds them. */
static void gor__m_polled(gor__m *m, gor__g *ready)
{
    int64_t first = gor__timers_first();
    if (!gor__m_p(m))
        gor__p_acquire(m, NULL);
    gor__ready_all(m, ready, GOR__PICKS_NEXT);
    if (first != GOR_FOREVER && gor__au32_load_sc(&gor__rt.n_idle_p) &&
        first < gor__os_now() + 2 * GOR__SYSMON_NS)
        gor__wake_p();
}

/* Sleep until someone brings a P, the first timer is due, or fds are ready; or for so long that the
 * thread is not worth keeping: its state is ENDING then. */
static void gor__m_idle(gor__m *m)
{
    bool woken, listed, sleeper;
    gor__g *ready;
    int64_t leave_at;
    gor__check(!m->preempted.head, "an idle M has no goroutines of its own");
    gor__has_looked(m, false);
    m->n_stolen = m->left = 0;                     /* asleep it runs none of them: [idle] I8 */
    gor__lock_sched();
    m->next_p = NULL;
    gor__m_idle_push_locked(m);
    gor__unlock_sched();
    leave_at = gor__os_now() + gor__rt.keep_thread_ns;
    woken = gor__m_sleep_idle(m, leave_at, &ready);
    sleeper = gor__aptr_load_rlx(&gor__rt.sleeper) == m;
    gor__aptr_cas(&gor__rt.sleeper, m, NULL);
    gor__lock_sched();
    listed = gor__m_idle_pop_locked(m) != NULL;
    if (listed && !woken && !sleeper && gor__os_now() >= leave_at && gor__m_spare_locked(m))
        gor__au32_store_rlx(&m->state, GOR__M_ENDING);
    gor__unlock_sched();
    if (!listed && !woken)
        gor__m_sleep(m, GOR_FOREVER);              /* a waker took us: its word is on the way */
    if (gor__au32_load_sc(&gor__rt.stopping))
        return;                                    /* or it was the stop, before that word came */
    if (m->next_p)
        gor__p_hold(m, m->next_p);
    m->next_p = NULL;
    if (ready)
        gor__m_polled(m, ready);
}

/* Come by a P. One found idle makes m a spinner, so that it wakes the next one ([idle] I1, I4). Who
 * has left some alone, while another spins, leaves the look at them to that one (I8).
 * False: stopping, or m has been idle for too long. */
static bool gor__m_get_p(gor__m *m)
{
    while (!gor__m_p(m)) {
        if (gor__au32_load_sc(&gor__rt.stopping) ||
            gor__au32_load_rlx(&m->state) == GOR__M_ENDING)
            return false;
        if (!(m->left && gor__au32_load_sc(&gor__rt.n_spinning)) &&
            (gor__work_anywhere() || gor__timers_first() <= gor__os_now()) &&
            gor__p_acquire(m, NULL)) {
            m->spinning = true;
            gor__au32_add(&gor__rt.n_spinning, 1);
        } else {
            gor__m_idle(m);
        }
    }
    return true;
}

/* n more have been stolen, or come for, than paid; below 0: fewer. For how long is m to leave
 * stealing alone? ([idle] I8) */
static int64_t gor__lose(gor__m *m, int64_t n)
{
    int64_t loss = m->loss + n;
    m->loss = loss < 0 ? 0 : loss < GOR__MOST_LOSS ? loss : GOR__MOST_LOSS;
    return m->loss / GOR__LOSS * GOR__NAP_NS;
}

/* The same, when m has run all that it stole last. */
static int64_t gor__nap_due(gor__m *m, int64_t now)
{
    int64_t n = m->n_stolen;
    m->n_stolen = 0;
    return n ? gor__lose(m, n - (now - m->stolen_ns) / GOR__STEAL_PAYS_NS) : 0;
}

/* Leave stealing alone for ns, without a P, as I8 says. False: not at all. */
static bool gor__nap(gor__m *m, int64_t ns)
{
    int64_t until, first;
    if (ns == 0 && !gor__stress_hit(8))
        return false;
    until = gor__os_now() + ns;
    gor__p_release(m);
    gor__lone_begin();
    first = gor__timers_first();                   /* the P's, too, which nobody minds */
    gor__m_sleep(m, first < until ? first : until);
    gor__lone_end();
    return true;
}

/* Steal, or nap if that does not pay: m has a P no more then. */
static gor__g *gor__steal_or_nap(gor__m *m, gor__p *p)
{
    gor__g *g;
    if (gor__nap(m, gor__nap_due(m, gor__os_now())))
        return NULL;
    g = gor__try_steal(m, p);
    if (!g && m->left && gor__au32_load_sc(&gor__rt.n_spinning) == 1 && !gor__work_for_all())
        gor__nap(m, gor__lose(m, GOR__FEW));
    return g;
}

static void gor__spin_begin(gor__m *m)
{
    uint32_t busy = gor__au32_load_rlx(&gor__rt.n_procs) - gor__au32_load_rlx(&gor__rt.n_idle_p);
    if (m->spinning || 2 * gor__au32_load_rlx(&gor__rt.n_spinning) >= busy)
        return;
    m->spinning = true;
    gor__au32_add(&gor__rt.n_spinning, 1);
}

/* The next goroutine to run, waiting for one; NULL: the runtime stops. m comes back with a P. */
static gor__g *gor__find_work(gor__m *m)
{
    for (;;) {
        gor__p *p;
        gor__g *g;
        if (!gor__m_get_p(m) || gor__au32_load_rlx(&gor__rt.stopping))
            return NULL;
        p = gor__m_p(m);
        if (gor__au32_load_rlx(&p->retire)) {
            gor__preempted_spill(m);
            gor__stop_spinning(m);
            gor__p_release(m);
            gor__submitted();
            continue;
        }
        g = gor__stress_hit(2) ? gor__try_steal(m, p) : NULL;
        if (!g)
            g = gor__try_own(m, p);
        if (!g)
            g = gor__try_poll(m, p);
        gor__au32_store_rlx(&m->polled_in_vain, 0);
        if (!g && gor__au32_load_rlx(&gor__shared)) {
            gor__spin_begin(m);
            if (m->spinning)
                g = gor__steal_or_nap(m, p);
        }
        if (g) {
            gor__found(m);
            return g;
        }
        if (gor__m_p(m))                           /* else a nap has given it up */
            gor__p_release(m);
        gor__stop_spinning(m);                     /* [idle] I2: first this, then look again */
        gor__arch_fence();
    }
}

/* -- locked goroutines --------------------------------------------------------------------- */

/* g may run only on its own M: lend that M our P. */
static void gor__run_locked_elsewhere(gor__m *m, gor__g *g)
{
    gor__m *its = (gor__m *)gor__aptr_load_rlx(&g->locked);
    gor__p *p = gor__m_p(m);
    gor__preempted_spill(m);
    gor__mine_end(m);
    gor__aptr_store_rlx(&m->p, NULL);
    gor__aptr_store_rel(&p->m, &gor__in_transit);  /* rel p.m: to who ends elision */
    its->next_p = p;
    its->spinning = false;
    gor__m_wake(its);
    gor__submitted();
}

/* This M's goroutine waits: give the P up, and sleep until someone finds the goroutine runnable and
 * brings a P. */
static void gor__wait_for_locked(gor__m *m)
{
    if (gor__m_p(m))                               /* none, if it comes from gor_block */
        gor__p_release(m);
    gor__au32_store_rlx(&m->state, GOR__M_IDLE);
    gor__p_left();
    gor__m_sleep(m, GOR_FOREVER);
    gor__au32_store_rlx(&m->state, GOR__M_RUNNING);
    if (gor__au32_load_sc(&gor__rt.stopping))
        return;
    if (m->next_p)
        gor__p_hold(m, m->next_p);
    m->next_p = NULL;
}

/* ==== [start] a new goroutine joins the queue ====================================================
 * What        gor__spawn_here makes a goroutine and has it run next on its P, as Go does: what it
 *             is to work on is still in the cache.
 * Pressure    A spawner that has filled the ring makes way for those in it, and in the global
 *             queue, once per half a ring that it starts: most goroutines run to their ends, and
 *             then share a few warm stacks, and a loop that starts a million short ones never holds
 *             a million. Those that park for a moment only are soon among those in the global
 *             queue, and end. If that takes long, or they park and have become a crowd, it waits
 *             for sixteen times as many starts before it does so again, GOR__WAY_LATE at most, and
 *             then lets those in the ring alone go first. Those that are stolen count for neither.
 */
#define GOR__FEW_PARKED 16             /* so many may park, whatever the rest did               */
#define GOR__WAY_CROWD  8192           /* goroutines with stacks                                */
#define GOR__WAY_TICKS  ((uint64_t)GOR__ARCH_TICKS)            /* a short turn: the first    */
                                                               /* touch of a page is 2 to 5 us */
#define GOR__WAY_TURNS  (4 * GOR__WAY_CROWD)   /* of others: that was a detour                   */
#define GOR__WAY_SOON   (GOR__RUNQ_CAP / 2)                    /* starts                         */
#define GOR__WAY_LATE   (256 * GOR__RUNQ_CAP)  /* hardly any of a crowd that parks begins        */

typedef struct gor__way { uint64_t begun, ended, ticks; uint32_t turns; } gor__way;

static gor__way gor__way_now(const gor__p *p)
{
    gor__way w = { gor__au64_load_rlx(&p->begun), gor__au64_load_rlx(&p->ended),
                   gor__arch_ticks(), gor__au32_load_rlx(&p->tick) };
    return w;
}

/* How many goroutines have stacks, more or less: others begin and end meanwhile. */
static int64_t gor__n_alive(void)
{
    uint32_t n = gor__au32_load_acq(&gor__rt.n_allp);
    int64_t alive = 0;
    for (uint32_t i = 0; i < n; i++)
        alive += (int64_t)(gor__au64_load_rlx(&gor__p_at(i)->begun) -
                           gor__au64_load_rlx(&gor__p_at(i)->ended));
    return alive;
}

/* After so many starts a spawner makes way again, by what began and ended since `from`. */
static uint32_t gor__way_after(const gor__p *p, gor__way from)
{
    gor__way now = gor__way_now(p);
    uint32_t turns = now.turns - from.turns, later = 16 * gor__au32_load_rlx(&p->way_after);
    bool they_end = now.begun - from.begun <= 2 * (now.ended - from.ended) + GOR__FEW_PARKED;
    if (turns >= GOR__WAY_TURNS)
        return GOR__WAY_LATE;
    if (now.ticks - from.ticks < turns * GOR__WAY_TICKS &&
        (they_end || gor__n_alive() < GOR__WAY_CROWD))
        return GOR__WAY_SOON;
    return later < GOR__WAY_LATE ? later : GOR__WAY_LATE;
}

static GOR__NOINLINE void gor__make_way(gor__m *m)
{
    gor__p *p = gor__m_p(m);
    uint64_t started = gor__au64_load_rlx(&p->started);
    gor__way from;
    if (started - gor__au64_load_rlx(&p->way_mark) < gor__au32_load_rlx(&p->way_after) ||
        gor__m_g(m) == &m->g0 || !gor__is_ordinary(gor__m_g(m)))
        return;
    gor__au64_store_rlx(&p->way_mark, started);    /* before others do so, too */
    from = gor__way_now(p);
    if (gor__au32_load_rlx(&gor__rt.global.n) &&
        gor__au32_load_rlx(&p->way_after) == GOR__WAY_SOON)
        gor__yield_to_all();
    else
        gor__yield();
    if (gor__m_p(gor__self()) == p)                /* else others ran it, and count there */
        gor__au32_store_rlx(&p->way_after, gor__way_after(p, from));
}

/* Is there room for one more and the spawner? */
GOR__INLINE bool gor__runq_nearly_full(const gor__runq *q)
{
    return gor__runq_n(q) >= gor__runq_cap - 1;
}

/* Count g, which was made, and queue it. m NULL: foreign thread. */
GOR__INLINE void gor__start(gor__m *m, gor__g *g)
{
    gor__count_start(m);
    if (gor__stress_hit(2))
        gor__ready_last(m, g);
    else
        gor__ready_next(m, g);
}

/* Start a goroutine. 0, -ENOMEM, -EINVAL, -ESRCH. May yield: m is stale afterwards. For callers
 * whose spec the compiler knows: most of it goes away then. */
GOR__INLINE int gor__spawn_here(gor__m *m, const gor__spec *s)
{
    gor__g *g;
    int rc;
    if (m && GOR__UNLIKELY(gor__runq_nearly_full(&gor__m_p(m)->runq))) {
        gor__make_way(m);
        m = gor__self();
    }
    rc = gor__g_make(m, s, &g);
    if (GOR__UNLIKELY(rc != 0))
        return rc;
    if (s->attr && s->attr->lock_thread)
        g->lock_depth = 1;                         /* it ties itself when it starts: [life] */
    gor__start(m, g);
    return 0;
}

static int gor__spawn(gor__m *m, const gor__spec *s) { return gor__spawn_here(m, s); }

/* ==== [turn] who ran when ======================================================================
 * What        While a trace is on, each turn of a goroutine is written down: when, how long, on
 *             which thread and processor, and what it did then. [trace] makes a file of that.
 * Cost        None while it is off: what is next is then chosen as ever. While it is on,
 *             gor__rt.urgent sends every choice to g0, whose loop notes the turn.
 * Invariants  I1 Who writes an event counts itself in `busy` and then looks at state; who stops
 *                sets state and then waits for busy to be 0. So nobody writes into what is gone.
 * Limits      GOR__TURN_CAP turns; later ones are counted, not kept.
 * Tests       tests/trace.c
 */
#define GOR__TURN_CAP ((size_t)1 << 20)

typedef struct gor__turn {            /* a turn                                               */
    int64_t  from, to;
    uint64_t id;
    uint32_t tid;                      /* the thread                                           */
    int32_t  p;
    uint32_t state, why;               /* when it had been left; a moment later, if it was     */
    char     name[24];                 /* woken at once                                        */
} gor__turn;

enum gor__turns_state { GOR__TURNS_OFF, GOR__TURNS_CHANGING, GOR__TURNS_ON };

static struct {
    gor__au32   state;                 /* enum gor__turns_state                                */
    gor__au32   busy;                  /* Ms that may be writing an event                      */
    gor__au64   n;
    gor__turn  *turn;                  /* GOR__TURN_CAP of them, as they are touched          */
    FILE       *file;
    int64_t     began;
} gor__turns;

/* What is known of a turn before it begins: after it, g may be another's. */
GOR__NO_TSAN static void gor__turn_begin(gor__turn *e, gor__m *m, gor__g *g)
{
    const char *name = gor__g_name(g);
    gor__p *p = gor__m_p(m);
    size_t n = 0;
    e->id = gor__au64_load_rlx(&g->id);
    e->tid = gor__au32_load_rlx(&m->tid);
    e->p = p ? p->id : -1;
    for (; name[n] && n < sizeof e->name - 1; n++)
        e->name[n] = name[n];
    e->name[n] = '\0';
    e->from = gor__os_now();
}

static void gor__turn_end(gor__turn *e, gor__g *g)
{
    uint64_t i;
    e->to = gor__os_now();
    e->state = gor__au32_load_rlx(&g->state);
    e->why = gor__au32_load_rlx(&g->why);
    gor__au32_add(&gor__turns.busy, 1);
    if (gor__au32_load_sc(&gor__turns.state) == GOR__TURNS_ON) {
        i = gor__au64_add(&gor__turns.n, 1);
        if (i < GOR__TURN_CAP)
            gor__turns.turn[i] = *e;
    }
    gor__au32_add(&gor__turns.busy, (uint32_t)-1);   /* rel turns.busy: the event */
}

static bool gor__turns_are_noted(void)
{
    return GOR__UNLIKELY(gor__au32_load_rlx(&gor__rt.tracing) != 0);
}

/* ==== [machine] the life of an M =================================================================
 * What        A thread of ours: g0's loop picks a goroutine and switches to it, until the runtime
 *             stops.
 * Invariants  I1 *m->in_call is not 0 whenever runtime code runs on m, at every switch too: so each
 *                goroutine finds and leaves it right on whatever M it is. A constant is stored, not
 *                a count kept: the chain of load and add would be the dearest part of a call. In a
 *                window ([window]) it is the window's mark, which is not 0 either.
 *             I2 An M that still ran user code when the runtime stopped is an orphan: its memory
 *                stays, and its thread ends at its next gor call.
 */
/* The first things an M does on its own thread. */
static void gor__m_begin(gor__m *m)
{
    gor__mine_end(m);
    m->in_call = gor__arch_in_call();
    gor__arch_call_begin();
    gor__arch_set_self(m);
    gor__au32_store_rlx(&m->tid, (uint32_t)gor__os_tid());
    m->errno_at = __errno_location();
    m->eh_at = __cxa_get_globals ? (void **)__cxa_get_globals() : NULL;
    gor__aptr_store_rlx(&m->g, &m->g0);
    gor__au32_store_rlx(&m->g0.hold, GOR__ON_CPU);
    gor__call_on(m, gor__rt.membarrier ? 0 : GOR__FENCE);
    gor__au64_store_rlx(&m->rng, ((uint64_t)(uintptr_t)m ^ (uint64_t)gor__os_now()) | 1);
    gor__g_set_fiber(&m->g0, gor__san_this_fiber());
    m->alt_stack = gor__os_alt_stack_on(m->alt_stack);
    if (!(gor__rt.opt.flags & GOR_NO_SIGNALS))
        gor__os_unblock(SIGSEGV);                  /* or a fault ends us without a word */
    pthread_sigmask(SIG_SETMASK, NULL, &m->mask);
    gor__san_hand_over(&m->alt_stack);
}

/* g may have been made runnable before its stack was left ([core] I1), or while somebody works on
 * its stack ([tidy], [pack]), or the bytes of that are elsewhere; g0 can afford to wait. */
static void gor__wait_for_stack(gor__g *g)
{
    uint32_t hold;
    for (int i = 0; (hold = gor__au32_load_acq(&g->hold)) & GOR__ON_CPU; i++)
        gor__spin_again(i);
    if (GOR__UNLIKELY(hold & (GOR__CLAIMED | GOR__PACKED)))
        gor__unpack(g);
}

/* Run g until its M comes back to g0. */
GOR__SWITCHES static void gor__execute(gor__m *m, gor__g *g)
{
    gor__p *p = gor__m_p(m);
    gor__m *its = (gor__m *)gor__aptr_load_rlx(&g->locked);
    gor__wait_for_stack(g);
    if (its && its != m) {
        gor__run_locked_elsewhere(m, g);
        return;
    }
    if (gor__au32_load_rlx(&g->hold) & GOR__NO_STACK)
        gor__bind_stack(p, g);
    gor__au64_bump(&p->switches);
    gor__hold_cpu(g);
    gor__switch_to(m, &m->g0, g);
}

static GOR__NOINLINE void gor__execute_traced(gor__m *m, gor__g *g)
{
    gor__turn e;
    gor__turn_begin(&e, m, g);
    gor__aptr_store_rlx(&m->prev, NULL);
    gor__execute(m, g);
    if (gor__aptr_load_rlx(&m->prev) == g)         /* and not others after it */
        gor__turn_end(&e, g);
}

/* What g0 does between goroutines, until the runtime stops or the M is told to leave. */
static void gor__m_loop(gor__m *m)
{
    for (;;) {
        gor__g *g = (gor__g *)gor__aptr_load_rlx(&m->handed);
        gor__g *locked = (gor__g *)gor__aptr_load_rlx(&m->locked_g);
        gor__aptr_store_rlx(&m->handed, NULL);
        if (gor__au32_load_rlx(&m->attention) & GOR__ORPHAN)
            return;
        if (!g && locked) {
            gor__wait_for_locked(m);
            if (gor__au32_load_sc(&gor__rt.stopping) || !gor__m_p(m))
                return;
            g = locked;
        }
        if (!g)
            g = gor__find_work(m);
        if (!g)
            return;
        if (gor__turns_are_noted())
            gor__execute_traced(m, g);
        else
            gor__execute(m, g);
        if (gor__au32_load_rlx(&m->state) == GOR__M_ENDING)
            return;
    }
}

/* The end of a run makes orphans, and asks them all whether they are in a call. */
static gor__au32 gor__orphaning;

/* Take m off the books. The last use of m by its own thread. An orphan's may be gone already; its
 * word, which goes with the thread, is in no call, and stays while it may be asked. */
static void gor__m_end(gor__m *m)
{
    bool orphan = (gor__au32_load_acq(&m->attention) & GOR__ORPHAN) != 0;
    gor__os_alt_stack_off(m->alt_stack);
    gor__arch_set_self(NULL);
    if (orphan) {
        gor__arch_call_end();
        while (gor__au32_load_acq(&gor__orphaning))
            gor__os_yield();
        return;
    }
    gor__lock_sched();
    gor__au32_store_rlx(&m->state, GOR__M_GONE);
    gor__rt.n_m--;
    gor__unlock_sched();
    gor__os_futex_wake(&gor__rt.stopped, 1);
}

static void *gor__m_thread(void *arg)
{
    gor__m *m = (gor__m *)arg;
    if (gor__rt.preempt_signal)
        gor__os_unblock(gor__rt.preempt_signal);
    gor__m_begin(m);
    if (m->next_p)
        gor__p_hold(m, m->next_p);
    m->next_p = NULL;
    gor__m_loop(m);
    if (gor__m_p(m) && !(gor__au32_load_rlx(&m->attention) & GOR__ORPHAN)) {
        /* its goroutine was tied, and ended */
        gor__p_release(m);
        gor__p_left();
    }
    gor__m_end(m);
    return NULL;
}

/* An M whose thread has ended, for another one. */
static gor__m *gor__m_reuse_locked(void)
{
    gor__m *m = gor__rt.all_m, *next;
    void *memory;
    while (m && gor__au32_load_rlx(&m->state) != GOR__M_GONE)
        m = m->all_next;
    if (m) {
        next = m->all_next;
        memory = m->memory;
        gor__san_quiet_begin();
        memset(m, 0, sizeof *m);
        gor__san_quiet_end();
        m->all_next = next;
        m->memory = memory;
    }
    return m;
}

/* An M, on the books. NULL: out of memory, or max_threads. */
static gor__m *gor__m_new(void)
{
    gor__m *m = NULL;
    void *memory;
    bool room;
    gor__lock_sched();
    room = gor__rt.n_m < gor__rt.opt.max_threads && !gor__au32_load_rlx(&gor__rt.stopping);
    gor__rt.n_m += room;
    if (room)
        m = gor__m_reuse_locked();
    gor__unlock_sched();
    if (!room || m)
        return m;
    m = (gor__m *)gor__zalloc_aligned(sizeof *m, &memory);
    gor__lock_sched();
    if (m) {
        m->memory = memory;
        m->all_next = gor__rt.all_m;
        gor__rt.all_m = m;
    } else {
        gor__rt.n_m--;
    }
    gor__unlock_sched();
    return m;
}

/* Start a thread that begins with p. 0, -ENOMEM, -EAGAIN. */
static int gor__m_start(gor__p *p, bool spinning)
{
    gor__m *m = gor__m_new();
    int rc;
    if (!m)
        return -ENOMEM;
    m->next_p = p;
    m->spinning = spinning;
    m->alt_stack = gor__os_alt_stack_new();
    rc = m->alt_stack || !gor__stacks.strict ? gor__os_thread(gor__m_thread, m) : -ENOMEM;
    if (rc != 0) {                                 /* m stays on the list, for the next one */
        gor__os_alt_stack_free(m->alt_stack);
        gor__lock_sched();
        gor__au32_store_rlx(&m->state, GOR__M_GONE);
        gor__rt.n_m--;
        gor__unlock_sched();
    }
    return rc;
}

/* -- stopping ---------------------------------------- */

static void gor__wake_everyone(uint32_t attention)
{
    gor__lock_sched();
    for (gor__m *m = gor__rt.all_m; m; m = m->all_next)
        if (gor__au32_load_rlx(&m->state) != GOR__M_GONE) {
            gor__call_on(m, attention);
            gor__m_wake(m);
        }
    gor__unlock_sched();
    gor__sysmon_hurry();
}

/* Every M leaves at its next look at the queues. */
static void gor__stop_now(void)
{
    gor__au32_store_sc(&gor__rt.stopping, 1);
    gor__lock_sched();
    gor__urgent_update_locked();
    gor__unlock_sched();
    gor__wake_everyone(0);
}

/* -- the border between the user's code and ours ------------------------------------------- */

/* The rare side of an asymmetric fence. Without membarrier each M fences itself: GOR__FENCE. */
static void gor__fence_all(void)
{
    if (gor__rt.membarrier)
        gor__os_membarrier();
    else
        gor__arch_fence();
}

/* [fast] May m's goroutine, which is in a call, take free mutexes by plain stores, and which? Who
 * calls on m, or ends elision, does that first and then ends this; here it is the other way round,
 * with a fence: so one of us sees the other. */
static GOR__NOINLINE void gor__mine_find(gor__m *m)
{
    uint32_t own = gor__au32_load_acq(&gor__shared) ? gor__own_word(m) : 0;
    if (own == GOR__MX_NOBODY)
        return;
    gor__au32_store_rlx(&m->mine, own);
    gor__arch_fence();
    if (gor__au32_load_rlx(&m->attention) || (!own && gor__au32_load_rlx(&gor__shared)))
        gor__mine_end(m);
}

/* At a lock that was not inlined: the next one may be, unless its goroutine has a context. */
GOR__INLINE void gor__mine_begin(gor__m *m)
{
    if (GOR__UNLIKELY(gor__au32_load_rlx(&m->mine) == GOR__MX_NOBODY) && !gor__m_g(m)->ctx &&
        !gor__au32_load_rlx(&m->attention))
        gor__mine_find(m);
}

/* Elision has ended. */
static void gor__mine_end_all(void)
{
    gor__lock_sched();
    for (gor__m *m = gor__rt.all_m; m; m = m->all_next)
        gor__mine_end(m);
    gor__unlock_sched();
}

/* The first † call of a foreign thread ends elision ([spin] I2): wait until the one processor is
 * between two gor calls, or asleep; every lock taken after the fence is a real one. */
static GOR__NOINLINE void gor__go_shared(void)
{
    gor__p *p;
    uint32_t in_call;
    while (gor__au32_load_acq(&gor__settled) == 0) {
        if (!gor__au32_cas(&gor__shared, 0, 1)) {  /* someone else is at it */
            gor__os_yield();
            continue;
        }
        gor__mine_end_all();
        gor__fence_all();
        p = gor__p_at(0);
        while (p && gor__p_holder(p, &in_call) && in_call && !gor__au32_load_acq(&gor__settled))
            gor__os_yield();                       /* settled: the run ends meanwhile */
        gor__au32_store_rel(&gor__settled, 1);
    }
}

/* A foreign thread begins a call, or goes on with one. Not inlined: its signal set would be a part
 * of the frame of every call, on each stack that waits. */
static GOR__NOINLINE void gor__foreign_enter(void)
{
    gor__foreign_in();
    gor__packs_hear();                             /* asked for meanwhile, perhaps */
    if (gor__au32_load_sc(&gor__settled) == 0)     /* sc: no later load comes before foreign_in */
        gor__go_shared();
}

/* What a call that has begun must look at, once sysmon has decided ([retake] R2). Without
 * membarrier each M orders its begin itself. */
static uint32_t gor__asked(gor__m *m)
{
    uint32_t what = gor__au32_load_acq(&m->attention);
    if (what & GOR__FENCE) {
        gor__arch_fence();
        what = gor__au32_load_acq(&m->attention);
    }
    while (what & GOR__RETAKE) {
        gor__os_yield();
        what = gor__au32_load_acq(&m->attention);
    }
    return what;
}

/* Back in a gor call, on m without a P: with one at once, or in turn. [retake] R2 */
GOR__SWITCHES static void gor__p_return(gor__m *m, gor__g *g, gor__p *old)
{
    gor__asked(m);
    gor__au32_and(&m->attention, ~(uint32_t)(GOR__RETAKEN | GOR__ASK));
    if (gor__au32_load_rlx(&m->attention) & GOR__ORPHAN)
        gor__switch_to(m, g, &m->g0);              /* never back */
    gor__au32_store_rel(&g->state, GOR__RUNNABLE);
    if (!gor__p_acquire(m, old)) {
        gor__ready_global(g);
        gor__switch_to(m, g, &m->g0);
    }
    gor__resumed(g);
    gor__au32_add(&gor__rt.n_blocked, (uint32_t)-1);
}

/* Do what was asked of m, which runs a goroutine or, in g0, nothing. Returns where we are then. */
GOR__SWITCHES static gor__m *gor__attend(gor__m *m)
{
    gor__g *g = gor__m_g(m);
    uint32_t what = gor__asked(m);
    if (what & GOR__ORPHAN)
        gor__switch_to(m, g, &m->g0);              /* never back */
    if (g == &m->g0)
        return m;
    gor__au32_store_rlx(&g->why, GOR__WHY_NONE);
    if (what & GOR__RETAKEN) {
        gor__p_return(m, g, NULL);
    } else if ((what & GOR__ASK) || gor__stress_hit(1)) {
        gor__au32_and(&m->attention, ~(uint32_t)GOR__ASK);
        gor__yield();
    }
    return gor__self();
}

/* The first step of a call: from now on nobody takes our P ([retake] R1). The last step. */
#if GOR__TSAN
GOR__INLINE void gor__call_begin(void) { gor__au32_store_rlx(gor__arch_in_call(), 1); }
GOR__INLINE void gor__call_end(void) { gor__au32_store_rel(gor__arch_in_call(), 0); }
#else
GOR__INLINE void gor__call_begin(void) { gor__arch_call_begin(); }
GOR__INLINE void gor__call_end(void) { gor__arch_call_end(); }
#endif

/* Back from the user's code, within a gor call. NULL in the child of a fork. */
GOR__INLINE gor__m *gor__reenter(void)
{
    gor__m *m;
    gor__call_begin();
    m = gor__self();
    if (m && GOR__UNLIKELY(gor__au32_load_rlx(&m->attention) || gor__stress_hit(16)))
        return gor__attend(m);
    return m;
}

/* A foreign thread's call; or one that first does what was asked of m meanwhile. */
GOR__SWITCHES static gor__m *gor__enter_slow(gor__m *m)
{
    if (m != (const void *)&gor__nobody)
        return gor__attend(m);
    gor__call_end();
    gor__foreign_enter();
    return NULL;
}

/* Begin a gor call. The M, or NULL for a foreign thread. */
GOR__INLINE gor__m *gor__enter(void)
{
    gor__m *m;
    gor__call_begin();
    m = (gor__m *)gor__arch_near();
    if (GOR__UNLIKELY(gor__au32_load_rlx(&m->attention) || gor__stress_hit(16)))
        return gor__enter_slow(m);
    if (!m)                                        /* so the caller need not ask */
        __builtin_unreachable();
    return m;
}

/* Begin a call that is short and does not wait; gor__call_end ends it in any case. False: it is a
 * foreign thread's, or something is to be done first: the caller does as if nothing had been. */
GOR__INLINE bool gor__call_quick(gor__m **m)
{
    gor__call_begin();
    *m = (gor__m *)gor__arch_near();
    return GOR__LIKELY(!gor__au32_load_rlx(&(*m)->attention) && !gor__stress_hit(2));
}

/* End it. m is where we are now: gor__self() if the call may have parked. */
GOR__INLINE void gor__leave(gor__m *m)
{
    GOR__COMPILER_BARRIER();
    if (GOR_CHECK)
        gor__check(!m || gor__mine_holds(m), "what is mine is free to take");
    if (GOR__LIKELY(m != NULL))
        gor__call_end();
    else
        gor__foreign_out();
}

/* ==== [wait] the one mechanism of waiting ====================================================
 * What        A blocked operation is a gor__wait on the stack of who waits; each thing it waits
 *             for has a queue, and a gor__node of the wait in it. Channels, select, locks, joins,
 *             contexts, deadlines, goroutines and foreign threads: all through here, but for sleeps
 *             that nothing cuts short ([time] gor__doze).
 * Protocol    Waiter:  lock the object; look; put a node in its queue; unlock; block; leave.
 *             Waker:   lock the object; gor__wq_take a node: it is out of the queue, and its wait
 *                      is claimed; hand over the value; unlock; gor__wake.
 * Invariants  I1 A wait is claimed once: by swapping fired 0 -> 1, or, if it has one source only,
 *                by taking its node, or as its timer fires. Who claimed it must wake it, and is
 *                the only one who may.
 *             I2 A node is read and written under its object's lock, until it is taken; after that
 *                by the claimer; after the wake-up by nobody but the waiter.
 *             I3 A waiter returns only when it has been woken and none of its nodes is in a queue.
 *                So nodes may live on its stack.
 *             I4 A waker's last touch of the object is its unlock, before gor__wake: the waiter
 *                may free the object as soon as it runs.
 *             I5 A goroutine's state is WAITING before its first node can be seen.
 * Locks       The object's (OBJECT or CTX or TIMERS).
 * Source      sudog and gopark of the Go runtime; choose of libdill.
 */
typedef struct gor__wait {
    gor__g   *g;                       /* NULL: a foreign thread                                */
    bool      many;                    /* more than one source: claim by fired                  */
    gor__au32 fired;
    gor__au32 woken;                   /* foreign thread: futex                                 */
    int       which;                   /* out: index of the source that ended it                */
    int       rc;                      /* out: its result                                       */
} gor__wait;

enum { GOR__BY_DEADLINE = -1, GOR__BY_CONTEXT = -2 };      /* sources besides the cases 0, 1, ... */

typedef struct gor__node {
    struct gor__node *next, *prev;
    gor__wq   *queue;                  /* the one it is in, or NULL                             */
    gor__wait *wait;
    void      *value;                  /* to send from, to receive into; or what the object likes */
    int64_t    amount;                 /* a semaphore's, a lock's                               */
    int        index;                  /* which source                                          */
} gor__node;

/* -- queues -------------------------------------------------------------------------------- */

/* The lock held; else a hint, and not to be touched. */
GOR__INLINE gor__node *gor__wq_first(const gor__wq *q)
{
    return (gor__node *)gor__aptr_load_rlx(&q->head);
}

GOR__INLINE void gor__wq_put(gor__wq *q, gor__node *n)
{
    n->next = NULL;
    n->prev = q->tail;
    n->queue = q;
    if (q->tail)
        q->tail->next = n;
    else
        gor__aptr_store_rlx(&q->head, n);
    q->tail = n;
}

static void gor__wq_put_first(gor__wq *q, gor__node *n)
{
    n->prev = NULL;
    n->next = gor__wq_first(q);
    n->queue = q;
    if (n->next)
        n->next->prev = n;
    else
        q->tail = n;
    gor__aptr_store_rlx(&q->head, n);
}

GOR__INLINE void gor__wq_remove(gor__wq *q, gor__node *n)
{
    if (n->prev)
        n->prev->next = n->next;
    else
        gor__aptr_store_rlx(&q->head, n->next);
    *(n->next ? &n->next->prev : &q->tail) = n->prev;
    n->queue = NULL;
}

/* True: the caller is the one who ends the wait. Never elided: the sleeper has no P ([poll] I7). */
GOR__INLINE bool gor__wait_claim(gor__wait *w)
{
    return !w->many || (gor__au32_load_rlx(&w->fired) == 0 && gor__au32_cas(&w->fired, 0, 1));
}

/* Take the first node whose wait can still be claimed, by n->index and rc; the others have been
 * ended elsewhere and leave. The caller hands over, unlocks and calls gor__wake. NULL: nobody
 * waits. */
GOR__INLINE gor__node *gor__wq_take(gor__wq *q, int rc)
{
    gor__node *n;
    while ((n = gor__wq_first(q)) != NULL) {
        gor__wq_remove(q, n);
        if (gor__wait_claim(n->wait)) {
            n->wait->which = n->index;
            n->wait->rc = rc;
            return n;
        }
    }
    return NULL;
}

/* Let a claimed wait go on. */
GOR__INLINE void gor__wake(gor__node *n)
{
    gor__wait *w = n->wait;
    if (w->g) {
        gor__ready(w->g);
        return;
    }
    if (!w->many)                                  /* it is awake from here on, whenever it runs */
        gor__au32_add(&gor__n_foreign, (uint32_t)-1);
    gor__au32_store_rel(&w->woken, 1);             /* rel wait.woken; w may be gone at once: the */
    gor__os_futex_wake(&w->woken, 1);              /* wake-up then hits nobody                   */
}

/* Take all, linked by next; gor__wake_all them after unlocking. */
static gor__node *gor__wq_take_all(gor__wq *q, int rc)
{
    gor__node *list = NULL, **at = &list, *n;
    while ((n = gor__wq_take(q, rc)) != NULL) {
        n->next = NULL;
        *at = n;
        at = &n->next;
    }
    return list;
}

static void gor__wake_all(gor__node *list)
{
    while (list) {
        gor__node *next = list->next;
        gor__wake(list);
        list = next;
    }
}

/* Leave a queue, if still in one. */
GOR__INLINE void gor__wq_leave_locked(gor__node *n)
{
    if (n->queue)
        gor__wq_remove(n->queue, n);
}

static void gor__wq_leave(gor__spin *lock, enum gor__rank rank, gor__node *n)
{
    gor__lock(lock, rank);
    gor__wq_leave_locked(n);
    gor__unlock_owned(lock, rank);
}

/* -- waiting ------------------------------------------------------------------------------- */

GOR__INLINE gor__g *gor__this_g(void)
{
    gor__m *m = gor__self();
    return m ? gor__m_g(m) : NULL;
}

/* The context that ends this goroutine's waits, or NULL. */
GOR__INLINE gor__cancel *gor__own_ctx(void)
{
    gor__m *m = gor__self();
    return m ? gor__m_g(m)->ctx : NULL;
}

/* c, or none, is that of m's goroutine from now on, which inlined locks heed. */
GOR__INLINE void gor__set_own_ctx(gor__m *m, gor__cancel *c)
{
    gor__m_g(m)->ctx = c;
    gor__mine_end(m);
}

/* 0, or -ECANCELED, -ETIMEDOUT. A deadline that has passed counts even before its timer has fired,
 * if nobody has cancelled c before it passed: asked last. */
static int gor__cancel_err(gor__cancel *c)
{
    uint32_t err = c ? gor__au32_load_acq(&c->err) : 0;
    if (c && !err && gor__ai64_load_rlx(&c->deadline) != GOR_FOREVER &&
        gor__is_past(gor__ai64_load_rlx(&c->deadline))) {
        err = gor__au32_load_acq(&c->err);
        err = err ? err : ETIMEDOUT;
    }
    return -(int)err;
}

GOR__INLINE int gor__own_ctx_err(void)
{
    gor__cancel *c = gor__own_ctx();
    return GOR__LIKELY(c == NULL) ? 0 : gor__cancel_err(c);
}

/* The fields that gor__block and those who claim by fired read. */
GOR__INLINE void gor__wait_clear(gor__wait *w)
{
    gor__au32_store_rlx(&w->fired, 0);
    gor__au32_store_rlx(&w->woken, 0);
    w->which = GOR__BY_DEADLINE;
    w->rc = 0;
}

/* g, which runs, waits from now on. */
GOR__INLINE void gor__g_waits(gor__g *g, enum gor__why why, const void *object)
{
    union { const void *from; void *to; } u;
    u.from = object;
    gor__au32_store_rlx(&g->why, why);
    gor__aptr_store_rlx(&g->why_object, u.to);
    gor__ai64_store_rlx(&g->since, gor__ai64_load_rlx(&gor__rt.coarse_ns));
    gor__au32_store_rel(&g->state, GOR__WAITING);  /* rel g.state: [tidy] T2 */
}

/* Begin a wait of g, which runs; NULL: of this thread. many: more than one thing may end it. */
GOR__INLINE void gor__wait_begin(gor__wait *w, gor__g *g, enum gor__why why, const void *object,
                                 bool many)
{
    w->g = g;
    w->many = many;
    if (GOR__LIKELY(g))
        gor__g_waits(g, why, object);
}

GOR__INLINE void gor__wait_init(gor__wait *w, enum gor__why why, const void *object, bool many)
{
    gor__wait_clear(w);
    gor__wait_begin(w, gor__this_g(), why, object, many);
}

GOR__INLINE void gor__node_init(gor__node *n, gor__wait *w, int index, void *value)
{
    n->queue = NULL;
    n->wait = w;
    n->index = index;
    n->value = value;
    n->amount = 0;
}

/* The timer of a deadline fires: end the wait, if nobody has. Under the timers' lock. Both lie
 * on the waiter's stack: they may be gone once owner is cleared, or, if the wait is ours, once g
 * is ready. */
static bool gor__deadline_fire(gor_timer *t, int64_t now)
{
    gor__wait *w = (gor__wait *)t->arg;
    gor__g *g = w->g;
    bool ours = gor__wait_claim(w);
    (void)now;
    if (ours) {
        w->which = GOR__BY_DEADLINE;
        w->rc = -ETIMEDOUT;
    }
    gor__aptr_store_rel(&t->owner, NULL);
    if (ours)
        gor__ready(g);
    return true;
}

/* A timer on the stack of a goroutine that waits, or is about to. */
GOR__INLINE void gor__timer_for_wait(gor_timer *t, int64_t when,
                                     bool (*fire)(gor_timer *t, int64_t now), void *arg)
{
    gor__aptr_store_rlx(&t->owner, NULL);
    t->when = when;
    gor__aptr_store_rlx(&t->run, NULL);
    t->fire = fire;
    t->arg = arg;
}

/* Who waits until t fires, or NULL: it is no deadline. */
GOR__INLINE const gor__g *gor__deadline_waiter(const gor_timer *t)
{
    return t->fire == gor__deadline_fire ? ((const gor__wait *)t->arg)->g : NULL;
}

/* On p, the caller's; without one, on the first. */
static GOR__NOINLINE int gor__timer_begin_any(gor__p *p, gor_timer *t, int64_t ns)
{
    bool soonest;
    int64_t when = t->when;
    int rc = gor__timer_add(p ? &p->timers : &gor__p_at(0)->timers, t, &soonest);
    if (soonest)
        gor__timer_tell_if_near(p, when, ns);
    return rc;
}

/* gor__timer_begin on p, the caller's, if that locks nothing. False: it has not begun. */
GOR__INLINE bool gor__timer_begin_near(gor__p *p, gor_timer *t, int64_t ns)
{
    int64_t when = t->when;                        /* once added it may be gone */
    bool soonest = false;
    if (GOR__UNLIKELY(!gor__timer_add_near(p, t, 0, &soonest)))
        return false;
    if (soonest)
        gor__timer_tell_if_near(p, when, ns);
    return true;
}

/* Start a timer whose when and fire are set, on the caller's P. It is due in ns, if the caller
 * knows that without asking the clock, or GOR__UNKNOWN_NS. 0 or -ENOMEM. */
static GOR__NOINLINE int gor__timer_begin(gor_timer *t, int64_t ns)
{
    gor__p *p = gor__p_of(gor__self());
    if (GOR__LIKELY(p && gor__timer_begin_near(p, t, ns)))
        return 0;
    return gor__timer_begin_any(p, t, ns);
}

/* The waker counts n_foreign down: from then on this thread is awake, whenever it runs. */
static GOR__NOINLINE void gor__block_thread(gor__wait *w, int64_t deadline)
{
    if (!w->many)
        gor__au32_add(&gor__n_foreign, 1);
    gor__foreign_out();
    while (gor__au32_load_acq(&w->woken) == 0) {   /* acq wait.woken */
        gor__os_futex_wait(&w->woken, 0, deadline);
        if (deadline != GOR_FOREVER && gor__os_now() >= deadline &&
            gor__au32_load_acq(&w->woken) == 0) {
            if (gor__au32_cas(&w->fired, 0, 1)) {
                w->which = GOR__BY_DEADLINE;
                w->rc = -ETIMEDOUT;
                break;
            }
            deadline = GOR_FOREVER;                /* claimed by another: it will wake us */
        }
    }
    gor__foreign_enter();
}

/* End a wait that the caller itself claims, before blocking: it could not be begun, or is done. */
static void gor__wait_give_up(gor__wait *w, int which, int rc)
{
    if (gor__au32_cas(&w->fired, 0, 1)) {
        w->which = which;
        w->rc = rc;
        if (w->g)
            gor__au32_store_rel(&w->g->state, GOR__RUNNING);
        gor__au32_store_rel(&w->woken, 2);         /* ours: do not block */
    }
}

/* See to it that the deadline of c passes by itself. 0, -ENOMEM. */
GOR__INLINE int gor__cancel_time(gor__cancel *c)
{
    bool timed = gor__ai64_load_rlx(&c->deadline) == GOR_FOREVER ||
                 gor__au64_load_acq(&c->timed) == gor__rt.epoch;           /* acq cancel.timed */
    return GOR__LIKELY(timed) ? 0 : gor__up.cancel_time(c);
}

/* Queue n at c; the wait ends here if c is done, or no memory is left for its deadline. */
static void gor__cancel_watch(gor__cancel *c, gor__node *n)
{
    int err;
    if (GOR__UNLIKELY(gor__cancel_time(c) != 0)) {
        gor__wait_give_up(n->wait, GOR__BY_DEADLINE, -ENOMEM);
        return;
    }
    gor__lock(&c->lock, GOR__RANK_CTX);
    err = gor__cancel_err(c);
    if (err == 0)
        gor__wq_put(&c->waiters, n);
    gor__unlock(&c->lock, GOR__RANK_CTX);
    if (err != 0)
        gor__wait_give_up(n->wait, n->index, n->index >= 0 ? 0 : err);
}

/* The next three are the steps of gor__block, each with a frame of its own: what a wait does not
 * need is not on the stack that waits. */
static void gor__block_here(gor__wait *w, int64_t deadline)
{
    if (gor__au32_load_rlx(&w->woken) == 2)
        return;
    if (w->g)
        gor__park();
    else
        gor__block_thread(w, deadline);
}

static GOR__NOINLINE void gor__block_watching(gor__wait *w, int64_t deadline, gor__cancel *own)
{
    gor__node node;
    gor__node_init(&node, w, GOR__BY_CONTEXT, NULL);
    gor__cancel_watch(own, &node);
    gor__block_here(w, deadline);
    gor__wq_leave(&own->lock, GOR__RANK_CTX, &node);
}

static GOR__NOINLINE void gor__block_until(gor__wait *w, int64_t deadline, gor__cancel *own)
{
    gor_timer timer;
    gor__timer_for_wait(&timer, deadline, gor__deadline_fire, w);
    if (gor__timer_begin(&timer, GOR__UNKNOWN_NS) != 0)
        gor__wait_give_up(w, GOR__BY_DEADLINE, -ENOMEM);
    if (own)
        gor__block_watching(w, deadline, own);
    else
        gor__block_here(w, deadline);
    gor__timer_end(&timer);
}

/* Block until the wait has been ended, by its objects, the deadline or the own context. Its
 * nodes are in their queues, no lock is held. Returns w->rc. */
static int gor__block(gor__wait *w, int64_t deadline, gor__cancel *own)
{
    if (w->g && deadline != GOR_FOREVER)
        gor__block_until(w, deadline, own);
    else if (own)
        gor__block_watching(w, deadline, own);
    else
        gor__block_here(w, deadline);
    return w->rc;
}

/* gor__wait_in's less common ways. */
static GOR__NOINLINE int gor__wait_block(gor__spin *lock, gor__node *n, int64_t deadline,
                                         gor__cancel *own)
{
    gor__block(n->wait, deadline, own);
    if (n->wait->which < 0)
        gor__wq_leave(lock, GOR__RANK_OBJECT, n);
    return n->wait->rc;
}

/* Wait in q, under lock, which the caller holds and gets back released. n is initialised, w too,
 * with many true if there is a deadline or an own context. first: go before all others.
 * Returns the waker's rc; -ETIMEDOUT, -ECANCELED, -ENOMEM: the node has left the queue. */
static int gor__wait_in(gor__spin *lock, gor__wq *q, gor__node *n, int64_t deadline,
                        gor__cancel *own, bool first)
{
    if (first)
        gor__wq_put_first(q, n);
    else
        gor__wq_put(q, n);
    gor__unlock_owned(lock, GOR__RANK_OBJECT);
    if (n->wait->many || !n->wait->g)
        return gor__wait_block(lock, n, deadline, own);
    gor__park();
    return n->wait->rc;
}

/* A wait of g, NULL: of this thread, begins in q, whose lock is held. */
GOR__INLINE void gor__wait_queue(gor__wait *w, gor__node *n, gor__g *g, gor__wq *q, void *value,
                                 int64_t amount, bool many, enum gor__why why, const void *object)
{
    if (GOR__UNLIKELY(many || !g))
        gor__wait_clear(w);                        /* else only rc is read: who takes n sets it */
    gor__wait_begin(w, g, why, object, many);
    gor__node_init(n, w, 0, value);
    n->amount = amount;
    gor__wq_put(q, n);
}

/* gor__wait_in for the common case: one object, in turn. g: who waits, NULL: this thread. For
 * functions that are GOR__SWITCHES. */
GOR__INLINE int gor__wait_of(gor__g *g, gor__spin *lock, gor__wq *q, void *value, int64_t amount,
                             int64_t deadline, enum gor__why why, const void *object)
{
    gor__cancel *own = g ? g->ctx : NULL;
    bool many = own || deadline != GOR_FOREVER;
    gor__wait w;
    gor__node n;
    if (GOR__UNLIKELY(deadline != GOR_FOREVER && gor__is_past(deadline))) {
        gor__unlock_owned(lock, GOR__RANK_OBJECT);
        return -ETIMEDOUT;
    }
    gor__wait_queue(&w, &n, g, q, value, amount, many, why, object);
    gor__unlock_owned(lock, GOR__RANK_OBJECT);
    if (GOR__UNLIKELY(many || !g))
        return gor__wait_block(lock, &n, deadline, own);
    gor__park_here(g);
    return w.rc;
}

GOR__SWITCHES static int gor__wait_simple(gor__spin *lock, gor__wq *q, void *value, int64_t amount,
                                          int64_t deadline, enum gor__why why, const void *object)
{
    return gor__wait_of(gor__this_g(), lock, q, value, amount, deadline, why, object);
}

/* ==== [poll] who waits for which file descriptor =================================================
 * What        A descriptor, pd, for each fd number that a call has seen, with the waiters of its
 *             two directions. The sleeper ([idle] I5), Ms that run out of work, and goroutines
 *             about to wait, take events from the kernel and claim the waits that they end.
 * Protocol    A call loads seq; tries; if the system would block, it waits under the pd's lock, but
 *             only if seq is still what it was. An event counts seq up under the lock, then takes
 *             all waiters: they try again. So what came after the attempt is seen, and nobody is
 *             asleep while there is something for him, however many share a direction.
 * Invariants  I1 pds live until gor_stop, at their fd's place; a stale pointer is safe.
 *             I2 gen counts the owners of a number. It changes under the lock, when gor_fd_close
 *                closes the fd or a gor call is given the number by the system. A waiter, an
 *                attempt and an event of an earlier gen end with -EBADF, or are dropped. A call
 *                that begins while gor_fd_close is at work is as one that begins after it: if it
 *                waits already when the fd goes, it is told to try again.
 *             I3 An attempt, and who asks what kind an fd is, counts busy up, then looks at gen;
 *                gor_fd_close changes gen, then waits until busy is 0, and only then closes:
 *                neither hits the number's next owner. They do not block; those that may, on
 *                terminals and files, are not counted. While locks are elided none is ever seen
 *                from outside, so busy is not needed.
 *             I4 The kernel is told while the lock is held: an fd can be closed only before or
 *                after, so that no old registration is put over a new one.
 *             I5 Of an fd that a gor call made (GOR__PD_OURS) we know that gor_fd_close closes it,
 *                so it is registered once; a direction is added when it is first waited for. Any
 *                other may be closed behind our back, by a library: each wait registers anew.
 *             I6 A wait's P counts fd_waits up before the wait and whichever P runs it then counts
 *                down: [sysmon] adds them up, no counter is shared.
 *             I7 The sleeper polls without a P. So a pd's lock is never elided, and what needs a P
 *                it leaves to others: Gs are handed on ([ready]), signals by poll_due.
 * Drained     A stream socket that gave less than was asked for has no more: the next read need not
 *             ask, unless an event came since, or something has been seen at which a short read may
 *             stop (HUNG): the end, urgent data, and on Unix sockets descriptors or credentials,
 *             which MSG_CTRUNC tells of. Known of TCP and Unix sockets that gor_dial, gor_listen
 *             and gor_accept made; others may keep the borders of messages, and MPTCP moves data
 *             between its queues unseen. A read of nothing, one that only tries, and one without a
 *             poller always ask.
 * Locks       pd.lock (OBJECT). Held over epoll_ctl, which I4 needs; about a microsecond.
 * Source      netpoll of the Go runtime. We differ: any number of waiters and seq instead of one
 *             waiter with a ready state, which needs a lock around each read.
 * Tests       tests/io.c
 */
enum gor__pd_flag {
    GOR__PD_OURS = 1,                  /* I5                                                   */
    GOR__PD_KNOWN = 2,                 /* registered                                           */
    GOR__PD_HUNG = 4,
    GOR__PD_STREAM = 8,                /* see Drained                                          */
    GOR__PD_SOCKET = 16,
    GOR__PD_FILE = 32,                 /* cannot be waited for: gor_block                      */
    GOR__PD_IN = 64, GOR__PD_OUT = 128,/* registered for                                       */
    GOR__PD_UNIX = 256                 /* a STREAM that descriptors may come through           */
};

enum { GOR__IN, GOR__OUT };            /* directions: place in seq and waiters                 */

typedef struct gor__pd {
    gor__spin lock;
    gor__au32 gen;                     /* I2                                                   */
    gor__au32 busy;                    /* I3                                                   */
    gor__au32 flags;                   /* written under the lock, read anywhere                */
    gor__au32 seq[2];                  /* events so far, even; written under the lock          */
    gor__au32 drained;                 /* seq when a read emptied the socket; 1: it did not    */
    gor__wq   waiters[2];
} gor__pd;

/* Block k holds the pds of fds [64 << (k - 1), 64 << k), block 0 those of [0, 64). */
#define GOR__PD_BLOCKS 26
static struct { gor__spin lock; gor__aptr block[GOR__PD_BLOCKS]; } gor__polls;

static size_t gor__pd_block_size(int k) { return (size_t)64 << (k > 0 ? k - 1 : 0); }

/* Which block holds fd, and where. */
static int gor__pd_place(int fd, size_t *at)
{
    int k = fd < 64 ? 0 : 32 - 6 - __builtin_clz((unsigned)fd);
    *at = (size_t)fd - (k ? gor__pd_block_size(k) : 0);
    return k;
}

/* Make block k, unless another is quicker. NULL: out of memory. The memory is libc's, not the
 * hooks': it may be made before a run that has some. */
static GOR__NOINLINE gor__pd *gor__pd_block_new(int k)
{
    size_t n = gor__pd_block_size(k);
    gor__pd *block = (gor__pd *)calloc(n, sizeof *block), *first;
    if (!block)
        return NULL;
    for (size_t i = 0; i < n; i++)
        gor__au32_store_rlx(&block[i].drained, 1);
    if (!gor__aptr_cas(&gor__polls.block[k], NULL, block)) {
        first = (gor__pd *)gor__aptr_load_acq(&gor__polls.block[k]);
        free(block);
        block = first;
    }
    return block;
}

/* The pd of fd, if it has been seen. */
GOR__INLINE gor__pd *gor__pd_seen(int fd)
{
    size_t at;
    gor__pd *block;
    if (GOR__UNLIKELY(fd < 0))
        return NULL;
    block = (gor__pd *)gor__aptr_load_acq(&gor__polls.block[gor__pd_place(fd, &at)]);
    return block ? block + at : NULL;
}

static GOR__NOINLINE int gor__pd_make(int fd, gor__pd **out)
{
    size_t at;
    gor__pd *block;
    if (fd < 0 || !gor__os_fd_open(fd))            /* no memory for numbers made up */
        return -EBADF;
    block = gor__pd_block_new(gor__pd_place(fd, &at));
    *out = block ? block + at : NULL;
    return block ? 0 : -ENOMEM;
}

/* The pd of fd. 0, -EBADF, -ENOMEM. */
GOR__INLINE int gor__pd_of(int fd, gor__pd **out)
{
    *out = gor__pd_seen(fd);
    return GOR__LIKELY(*out != NULL) ? 0 : gor__pd_make(fd, out);
}

GOR__INLINE bool gor__pd_is(gor__pd *pd, uint32_t flag)
{
    return (gor__au32_load_rlx(&pd->flags) & flag) != 0;
}

static void gor__pd_lock(gor__pd *pd) { gor__lock_always(&pd->lock, GOR__RANK_OBJECT); }
static void gor__pd_unlock(gor__pd *pd) { gor__unlock(&pd->lock, GOR__RANK_OBJECT); }

/* -- owners ------------------------------------------------------------------------------------ */

/* All that wait, in both directions. */
static gor__node *gor__pd_take_all_locked(gor__pd *pd, int rc)
{
    gor__node *readers = gor__wq_take_all(&pd->waiters[GOR__IN], rc), **at = &readers;
    while (*at)
        at = &(*at)->next;
    *at = gor__wq_take_all(&pd->waiters[GOR__OUT], rc);
    return readers;
}

/* The number changes hands: whoever waits for its last owner is to be woken. */
static gor__node *gor__pd_pass_on_locked(gor__pd *pd, uint32_t flags)
{
    gor__au32_store_sc(&pd->gen, gor__au32_load_rlx(&pd->gen) + 1);
    gor__au32_store_rlx(&pd->flags, flags);
    gor__au32_store_rlx(&pd->drained, 1);
    return gor__pd_take_all_locked(pd, -EBADF);
}

/* A gor call has made fd, non-blocking. 0 or -ENOMEM. */
static int gor__pd_adopt(int fd, uint32_t flags)
{
    gor__pd *pd;
    gor__node *list;
    int rc = gor__pd_of(fd, &pd);
    if (rc != 0)
        return rc;
    gor__pd_lock(pd);
    list = gor__pd_pass_on_locked(pd, flags | GOR__PD_OURS);
    gor__pd_unlock(pd);
    gor__wake_all(list);
    return 0;
}

static void gor__pd_add_flag(gor__pd *pd, uint32_t flag)
{
    gor__pd_lock(pd);
    gor__au32_store_rlx(&pd->flags, gor__au32_load_rlx(&pd->flags) | flag);
    gor__pd_unlock(pd);
}

/* From here on the number stays gen's, if it still is: to be looked at now, and let go soon (I3).
 * Returns what to let it go with: locks may cease to be elided meanwhile. */
GOR__INLINE bool gor__pd_hold(gor__pd *pd)
{
    bool counted = !gor__locks_are_nothing();
    if (counted)
        gor__au32_add(&pd->busy, 1);
    return counted;
}

GOR__INLINE void gor__pd_let_go(gor__pd *pd, bool counted)
{
    if (counted)
        gor__au32_add(&pd->busy, (uint32_t)-1);
}

/* Before fd is closed: its waiters go, and no attempt is under way when this returns. */
static void gor__pd_retire(gor__pd *pd, int fd)
{
    gor__node *list;
    gor__pd_lock(pd);
    if (gor__pd_is(pd, GOR__PD_KNOWN))
        gor__os_poll_forget(fd);                   /* a copy of fd may keep it alive */
    list = gor__pd_pass_on_locked(pd, 0);
    gor__pd_unlock(pd);
    gor__wake_all(list);
    gor__arch_fence();
    while (gor__au32_load_sc(&pd->busy) != 0)
        gor__os_yield();
}

GOR__INLINE void gor__pd_count_event_locked(gor__pd *pd, int dir)
{
    gor__au32_store_rel(&pd->seq[dir], gor__au32_load_rlx(&pd->seq[dir]) + 2);     /* rel pd.seq */
}

/* After fd was closed: I2. */
static void gor__pd_closed(gor__pd *pd)
{
    gor__node *list;
    gor__pd_lock(pd);
    gor__pd_count_event_locked(pd, GOR__IN);
    gor__pd_count_event_locked(pd, GOR__OUT);
    list = gor__pd_take_all_locked(pd, 0);
    gor__pd_unlock(pd);
    gor__wake_all(list);
}

/* -- the poller ------------------------------------------------------------------------------ */

/* There is a poller from here on. A sleeper that sleeps in its futex must know ([idle] I5). */
static GOR__NOINLINE int gor__poll_open(void)
{
    int rc = 0;
    gor__m *sleeper;
    gor__lock(&gor__polls.lock, GOR__RANK_OBJECT);
    if (gor__au32_load_rlx(&gor__rt.poller) == 0) {
        rc = gor__os_poll_open();
        if (rc == 0)
            gor__au32_store_sc(&gor__rt.poller, 1);
        else
            gor__os_poll_close();
    }
    gor__unlock(&gor__polls.lock, GOR__RANK_OBJECT);
    gor__arch_fence();
    sleeper = (gor__m *)gor__aptr_load_sc(&gor__rt.sleeper);
    if (rc == 0 && sleeper)
        gor__sleeper_wake(sleeper);
    return rc;
}

/* A poller for a call that must wait. 0; -ESRCH no runtime that could poll; an errno. */
static int gor__poll_need(void)
{
    if (GOR__LIKELY(gor__au32_load_acq(&gor__rt.poller)))
        return 0;
    return gor__is_on() ? gor__poll_open() : -ESRCH;
}

/* The claimed waits of one event: goroutines go to the end of a list, threads go on at once. */
static void gor__poll_claimed(gor__node *n, gor__gqueue *ready)
{
    while (n) {
        gor__node *next = n->next;
        gor__g *g = n->wait->g;
        if (g)
            gor__gq_push(ready, g);
        else
            gor__wake(n);
        n = next;
    }
}

GOR__INLINE void gor__poll_event(gor__os_event e, gor__gqueue *ready)
{
    gor__pd *pd = gor__pd_seen(e.fd);
    gor__node *readers = NULL, *writers = NULL;
    if (!pd)
        return;
    gor__pd_lock(pd);
    if (e.tag == gor__au32_load_rlx(&pd->gen)) {              /* I2 */
        if (e.what & GOR__HUNG)
            gor__au32_store_rlx(&pd->flags, gor__au32_load_rlx(&pd->flags) | GOR__PD_HUNG);
        if (e.what & GOR_READ) {
            gor__pd_count_event_locked(pd, GOR__IN);
            readers = gor__wq_take_all(&pd->waiters[GOR__IN], 0);
        }
        if (e.what & GOR_WRITE) {
            gor__pd_count_event_locked(pd, GOR__OUT);
            writers = gor__wq_take_all(&pd->waiters[GOR__OUT], 0);
        }
    }
    gor__pd_unlock(pd);
    gor__poll_claimed(readers, ready);
    gor__poll_claimed(writers, ready);
}

/* I7: whoever has a P next hands the signals out. */
static void gor__poll_signals_later(void)
{
    if (gor__au32_load_rlx(&gor__rt.signals) == 0)
        return;
    gor__lock_sched();
    gor__au32_store_sc(&gor__rt.poll_due, 1);
    gor__urgent_update_locked();
    gor__unlock_sched();
}

/* Nothing that waits for an fd will ever wake. */
static GOR__NOINLINE void gor__poll_failed(int err)
{
    char line[160];
    if (gor__au32_load_sc(&gor__rt.stopping))
        return;
    snprintf(line, sizeof line, "cannot wait for descriptors any more: %s; has the program closed "
             "one that is gor's?", gor_strerror(err));
    gor__fatal(line, NULL);
}

/* Take events, sleeping until deadline; 0: not at all, and the caller has a P. Returns the Gs whose
 * waits they end, linked by link. Only the sleeper sleeps here, so only he calms: wakes are his. */
static gor__g *gor__poll(int64_t deadline)
{
    gor__m *m = gor__self();
    gor__os_events list;
    gor__gqueue ready = { NULL, NULL, { 0 } };
    int n = gor__os_poll_wait(&list, deadline);
    if (GOR__UNLIKELY(n < 0))
        gor__poll_failed(n);
    gor__au32_store_rlx(&gor__rt.polls, gor__au32_load_rlx(&gor__rt.polls) + 1);
    gor__au32_store_rlx(&m->polls_own, gor__au32_load_rlx(&m->polls_own) + 1);
    for (int i = 0; i < n; i++) {
        gor__os_event e = gor__os_poll_event(&list, i);
        if (e.fd >= 0) {
            gor__poll_event(e, &ready);
            continue;
        }
        if (deadline != 0) {
            gor__os_poll_calm();
            gor__poll_signals_later();
        } else {
            gor__up.signalled();
        }
    }
    return ready.head;
}

/* Who is about to wait, with nothing else to run on this P, looks here itself: it saves the way to
 * g0 and back if something is ready, and its own wait if that is what it waits for. If nothing is,
 * g0 need not look again. True: it has looked. */
GOR__INLINE bool gor__poll_before_wait(void)
{
    gor__m *m = gor__self();
    gor__g *ready;
    if (!m || !gor__next_is_to_poll(m, gor__m_p(m)))
        return false;
    ready = gor__poll(0);
    gor__au32_store_rlx(&m->polled_in_vain, !ready);
    gor__ready_all(m, ready, GOR__PICKS_NEXT);
    return true;
}

/* Who has looked does not wait after all. That was a turn, so that timers and gor_procs get theirs;
 * and what it found is told of, for nobody picks from the ring next. */
static void gor__poll_instead_of_wait(void)
{
    gor__m *m = gor__self();
    gor__au32_store_rlx(&m->polled_in_vain, 0);
    gor__count_turn(gor__m_p(m));
    if (!gor__runq_empty(&gor__m_p(m)->runq))
        gor__submitted();
}

static void gor__poll_close(void)
{
    if (gor__au32_load_rlx(&gor__rt.poller))
        gor__os_poll_close();
}

static void gor__poll_free(void)
{
    for (int k = 0; k < GOR__PD_BLOCKS; k++)
        free(gor__aptr_xchg(&gor__polls.block[k], NULL));
}

/* The same where some of those that wait stay behind: what they wait in stays, too, and no later
 * run sees it. */
static void gor__poll_leave(void)
{
    for (int k = 0; k < GOR__PD_BLOCKS; k++)
        gor__aptr_xchg(&gor__polls.block[k], NULL);
}

/* -- waiting ----------------------------------------------------------------------------------- */

/* Tell the kernel that direction dir is waited for: I5. 0, -EPERM it cannot be, ... */
static int gor__pd_arm_locked(gor__pd *pd, int fd, int dir)
{
    uint32_t flags = gor__au32_load_rlx(&pd->flags);
    uint32_t bits = dir == GOR__IN ? (uint32_t)GOR__PD_IN : (uint32_t)GOR__PD_OUT;
    unsigned what;
    int rc;
    if (flags & GOR__PD_OURS) {
        if (flags & bits)
            return 0;
        bits |= flags & (GOR__PD_IN | GOR__PD_OUT);
    } else {
        bits |= (gor__wq_first(&pd->waiters[GOR__IN]) ? (uint32_t)GOR__PD_IN : 0u) |
                (gor__wq_first(&pd->waiters[GOR__OUT]) ? (uint32_t)GOR__PD_OUT : 0u);
    }
    what = (bits & GOR__PD_IN ? (unsigned)GOR_READ : 0u) |
           (bits & GOR__PD_OUT ? (unsigned)GOR_WRITE : 0u);
    rc = gor__os_poll_set(fd, gor__au32_load_rlx(&pd->gen), what, (flags & GOR__PD_KNOWN) != 0);
    if (rc == 0)
        gor__au32_store_rlx(&pd->flags, (flags & ~(uint32_t)(GOR__PD_IN | GOR__PD_OUT)) | bits |
                                        GOR__PD_KNOWN);
    return rc;
}

/* Queue n, unless the fd has been closed or something has come since seen: then the wait ends. */
static void gor__pd_watch(gor__pd *pd, int fd, uint32_t gen, int dir, uint32_t seen, gor__node *n)
{
    int rc;
    bool news = false;
    gor__pd_lock(pd);
    rc = gen == gor__au32_load_rlx(&pd->gen) ? gor__pd_arm_locked(pd, fd, dir) : -EBADF;
    if (rc == 0)
        news = gor__au32_load_rlx(&pd->seq[dir]) != seen;
    if (rc == 0 && !news)
        gor__wq_put(&pd->waiters[dir], n);
    gor__pd_unlock(pd);
    if (rc != 0 || news)
        gor__wait_give_up(n->wait, n->index, rc);
}

static void gor__pd_leave(gor__pd *pd, gor__node *n)
{
    gor__pd_lock(pd);
    if (n->queue)
        gor__wq_remove(n->queue, n);
    gor__pd_unlock(pd);
}

/* I6. */
static void gor__fd_waits_add(uint64_t n)
{
    gor__m *m = gor__self();
    gor__p *p = gor__p_of(m);
    if (p)
        gor__au64_store_rlx(&p->fd_waits, gor__au64_load_rlx(&p->fd_waits) + n);
}

static const void *gor__fd_object(int fd) { return (const void *)(intptr_t)fd; }

/* Wait in one direction for what comes after seen. 0: try again; -EBADF, -ETIMEDOUT, -ECANCELED,
 * -ENOMEM, -EPERM. A foreign thread's wait is one of many sources, so that it is not counted among
 * those that only goroutines can wake. */
static int gor__pd_wait(gor__pd *pd, int fd, uint32_t gen, int dir, uint32_t seen,
                        int64_t deadline)
{
    gor__cancel *own = gor__own_ctx();
    gor__wait w;
    gor__node n;
    bool polled;
    int rc;
    if (deadline <= gor__ai64_load_rlx(&gor__rt.coarse_ns))
        return -ETIMEDOUT;                         /* one that passed just now: the timer's task */
    if (gor__stress_hit(8))
        return 0;                                  /* an event that was none */
    polled = gor__poll_before_wait();
    gor__pd_lock(pd);
    rc = gen == gor__au32_load_rlx(&pd->gen) ? gor__pd_arm_locked(pd, fd, dir) : -EBADF;
    if (rc != 0 || gor__au32_load_rlx(&pd->seq[dir]) != seen) {
        gor__pd_unlock(pd);
        if (polled)
            gor__poll_instead_of_wait();
        return rc;
    }
    gor__wait_init(&w, GOR__WHY_FD, gor__fd_object(fd),
                   own || deadline != GOR_FOREVER || !gor__self());
    gor__node_init(&n, &w, 0, NULL);
    gor__fd_waits_add(1);
    gor__wq_put(&pd->waiters[dir], &n);
    gor__pd_unlock(pd);
    if (w.many)
        gor__block(&w, deadline, own);
    else
        gor__park();
    gor__fd_waits_add((uint64_t)-1);
    if (w.which < 0)
        gor__pd_leave(pd, &n);
    return w.rc;
}

/* ==== [report] what the world looks like, in words ===============================================
 * What        One line for each goroutine, and its stack; on a file descriptor, without locks and
 *             without memory, because the program is in trouble.
 * Runs on     Any thread, a signal handler too. Reads what others are writing: words may be stale.
 */
typedef struct gor__out { int fd; size_t n; char buf[1024]; } gor__out;

static void gor__out_flush(gor__out *o)
{
    size_t at = 0;
    while (at < o->n) {
        ssize_t n = write(o->fd, o->buf + at, o->n - at);
        if (n <= 0 && errno != EINTR)
            break;
        at += n > 0 ? (size_t)n : 0;
    }
    o->n = 0;
}

__attribute__((format(printf, 2, 3)))
static void gor__print(gor__out *o, const char *fmt, ...)
{
    va_list args;
    int n;
    if (o->n > sizeof o->buf - 700)
        gor__out_flush(o);
    va_start(args, fmt);
    n = vsnprintf(o->buf + o->n, sizeof o->buf - o->n, fmt, args);
    va_end(args);
    if (n > 0)
        o->n += (size_t)n < sizeof o->buf - o->n ? (size_t)n : sizeof o->buf - o->n - 1;
}

static const char *const gor__why_text[] = { GOR__WHYS(GOR__WHY_TEXT) };
static const char *const gor__state_text[] = {
    "not started", "runnable", "running", "waiting", "in a blocking call", "ended"
};

/* "fn\0file:line": the second part. */
static const char *gor__site_place(const char *site) { return site ? site + strlen(site) + 1 : ""; }

GOR__NO_TSAN static void gor__print_state(gor__out *o, const gor__g *g)
{
    uint32_t state = gor__au32_load_rlx(&g->state), why = gor__au32_load_rlx(&g->why);
    int64_t ms = (gor__os_now() - gor__ai64_load_rlx(&g->since)) / GOR_MS;
    if (state == GOR__RUNNABLE && gor__aptr_load_rlx(&g->stack) == NULL)
        state = GOR__FRESH;
    if (state == GOR__WAITING && why != GOR__WHY_NONE && why < GOR__N_WHYS) {
        void *object = gor__aptr_load_rlx(&g->why_object);
        gor__print(o, "waiting: %s", gor__why_text[why]);
        if (object)
            gor__print(o, " %p", object);
    } else {
        gor__print(o, "%s", gor__state_text[state <= GOR__DEAD ? state : (uint32_t)GOR__DEAD]);
    }
    if (gor__ai64_load_rlx(&g->since) && ms >= 1000)
        gor__print(o, ", %lld s", (long long)(ms / 1000));
    if (gor__au32_load_rlx(&g->hold) & GOR__TIED)
        gor__print(o, ", locked to its thread");
    if (gor__au32_load_rlx(&g->hold) & GOR__PACKED)
        gor__print(o, ", packed");
}

/* dladdr is declared for _GNU_SOURCE, which may have come too late for this file; glibc says so. */
#if !defined(__GLIBC__) || defined(__USE_GNU)
/* Is there code of a loaded object at pc? */
static bool gor__code_known(uintptr_t pc)
{
    Dl_info info;
    return dladdr((void *)pc, &info) != 0;
}

/* A name, or what addr2line wants. */
static bool gor__print_symbol(gor__out *o, uintptr_t pc)
{
    Dl_info info;
    if (!dladdr((void *)pc, &info) || !info.dli_fname)
        return false;
    if (info.dli_sname)
        gor__print(o, "        %s+0x%lx\n", info.dli_sname,
                   (unsigned long)(pc - (uintptr_t)info.dli_saddr));
    else
        gor__print(o, "        %s+0x%lx\n", info.dli_fname,
                   (unsigned long)(pc - (uintptr_t)info.dli_fbase));
    return true;
}
#else
static bool gor__code_known(uintptr_t pc) { return pc != 0; }
static bool gor__print_symbol(gor__out *o, uintptr_t pc) { return (void)o, (void)pc, false; }
#endif

static void gor__print_address(gor__out *o, uintptr_t pc)
{
    if (!gor__print_symbol(o, pc))
        gor__print(o, "        0x%lx\n", (unsigned long)pc);
}

/* The chain of frame pointers from fp, inside [lo, hi). Code without frame pointers ends it early:
 * what looks like a frame there does not return to code. */
__attribute__((no_sanitize("address"))) GOR__NO_TSAN
static void gor__print_frames(gor__out *o, uintptr_t pc, uintptr_t fp, uintptr_t lo, uintptr_t hi)
{
    for (int i = 0; i < 32 && pc; i++) {
        const uintptr_t *frame = (const uintptr_t *)fp;
        gor__print_address(o, pc);
        if (fp < lo || fp + 2 * sizeof *frame > hi || fp % sizeof *frame)
            return;
        pc = frame[1];
        if (frame[0] <= fp || !gor__code_known(pc))
            return;
        fp = frame[0];
    }
}

/* Where a fault has interrupted a goroutine: its stack is read from there. */
static struct { const gor__g *g; uintptr_t pc, fp; } gor__crash;

__attribute__((no_sanitize("address"))) GOR__NO_TSAN
static void gor__print_stack(gor__out *o, const gor__g *g)
{
    uintptr_t lo = (uintptr_t)gor__aptr_load_rlx(&g->stack), fp, pc;
    size_t size = gor__stack_size_of(g);
    if (!lo)
        return;
    if (g == gor__crash.g) {
        gor__print_frames(o, gor__crash.pc, gor__crash.fp, lo + gor__stacks.page_size, lo + size);
        return;
    }
    if (gor__au32_load_rlx(&g->hold) & GOR__ON_CPU) {
        gor__m *m = gor__self();
        if (m && gor__m_g(m) == g)
            gor__print_frames(o, (uintptr_t)__builtin_return_address(0),
                              *(const uintptr_t *)__builtin_frame_address(0),
                              lo + gor__stacks.page_size, lo + size);
        return;
    }
    if ((gor__au32_load_rlx(&g->hold) & (GOR__PACKED | GOR__CLAIMED)) ||
        (uintptr_t)g->sp < lo || (uintptr_t)g->sp >= lo + size)
        return;
    fp = gor__arch_frame(g->sp, &pc);
    gor__print_frames(o, pc, fp, lo + gor__stacks.page_size, lo + size);
}

GOR__NO_TSAN static void gor__print_g(gor__out *o, const gor__g *g)
{
    gor__print(o, "\ngoroutine %llu \"%.40s\" [", (unsigned long long)gor__au64_load_rlx(&g->id),
               gor__g_name(g));
    gor__print_state(o, g);
    gor__print(o, "]\n    started at %.200s\n", gor__site_place(g->site));
    gor__print_stack(o, g);
}

/* Has main returned? Its goroutine may never come to its end, since the run comes to its own. */
GOR__NO_TSAN static bool gor__main_is_over(const gor__g *g)
{
    return gor__au32_load_rlx(&gor__rt.main_returned) && gor__au64_load_rlx(&g->id) == 1;
}

/* Call fn for every goroutine alive. */
GOR__NO_TSAN static int gor__each_g(void (*fn)(gor__out *, const gor__g *), gor__out *o)
{
    int n = 0;
    for (const gor__gslab *s = gor__rt.slabs; s; s = s->next)
        for (size_t i = 0; i < sizeof s->g / sizeof s->g[0]; i++)
            if (gor__au32_load_rlx(&s->g[i].state) != GOR__DEAD && !gor__main_is_over(&s->g[i])) {
                n++;
                if (fn)
                    fn(o, &s->g[i]);
            }
    return n;
}

static void gor__out_init(gor__out *o, int fd)
{
    o->fd = fd;
    o->n = 0;
}

enum gor__traceback { GOR__TB_NONE, GOR__TB_SINGLE, GOR__TB_ALL, GOR__TB_CRASH };
static enum gor__traceback gor__traceback_mode = GOR__TB_ALL;

static void gor__traceback_init(void)
{
    const char *s = getenv("GORTRACEBACK");
    if (!s)
        return;
    gor__traceback_mode = strcmp(s, "none") == 0 || strcmp(s, "0") == 0 ? GOR__TB_NONE :
                          strcmp(s, "single") == 0 ? GOR__TB_SINGLE :
                          strcmp(s, "crash") == 0 ? GOR__TB_CRASH : GOR__TB_ALL;
}

static gor__au32 gor__dying;                   /* the thread that writes the last words */

/* What a goroutine was panicking about when worse happened, the oldest first. */
static void gor__print_panics(gor__out *o, const gor__panicking *p)
{
    if (!p)
        return;
    gor__print_panics(o, p->outer);
    gor__print(o, "gor: panic: %.500s\n    at %.100s; then, in a deferred call:\n", p->text,
               p->here);
}

/* The last words: headline, then who was running, then everyone; end the program. */
static void gor__fatal(const char *headline, const gor__g *who)
{
    gor__out o;
    if (!gor__au32_cas(&gor__dying, 0, (uint32_t)gor__os_tid()))
        for (;;)                                   /* one report is enough; the first one ends us */
            pause();
    gor__os_unblock(SIGSEGV);                      /* a stack may be packed while we read it */
    gor__out_init(&o, 2);
    if (who && who->extra)
        gor__print_panics(&o, who->extra->panics);
    gor__print(&o, "gor: %.600s\n", headline);
    if (who && gor__traceback_mode != GOR__TB_NONE)
        gor__print_g(&o, who);
    if (gor__traceback_mode >= GOR__TB_ALL) {
        for (const gor__gslab *s = gor__rt.slabs; s; s = s->next)
            for (size_t i = 0; i < sizeof s->g / sizeof s->g[0]; i++)
                if (&s->g[i] != who && gor__au32_load_rlx(&s->g[i].state) != GOR__DEAD)
                    gor__print_g(&o, &s->g[i]);
    }
    gor__out_flush(&o);
    if (gor__traceback_mode == GOR__TB_CRASH) {
        signal(SIGABRT, SIG_DFL);
        abort();
    }
    _exit(2);
}

/* ==== [life] a goroutine from its first frame to its last ====================================
 * What        The outermost frame, deferred calls, goroutine-local slots, panic and recover, the
 *             end.
 * Order       At the end: deferred calls, last in first out; destructors of slots; the own
 *             context's reference; what its starter wants to know (a wait group's done); then
 *             stack and G go back, or the G alone, and the stack to who begins next.
 */

/* Run the user's fn from inside of a gor call. Not inlined: in the loops that call it, what fn does
 * with the thread's own variables would be the same thread's each time round. */
GOR__SWITCHES static void gor__call_user(void (*fn)(void *), void *arg)
{
    gor__call_end();
    fn(arg);
    if (GOR__UNLIKELY(!gor__reenter()))
        gor__fatal("a goroutine returned in the child of a fork, where no runtime is", NULL);
}

static void gor__run_defers(gor__g *g)
{
    gor__extra *x = g->extra;
    while (x && x->defers) {
        gor__defer d = *x->defers;
        if (!d.borrowed)
            gor__free(x->defers, sizeof d);
        x->defers = d.next;
        gor__call_user(d.fn, d.arg);
    }
}

static void gor__run_destructors(gor__g *g)
{
    gor__extra *x = g->extra;
    while (x && x->slots) {
        gor__slot s = *x->slots;
        gor__free(x->slots, sizeof s);
        x->slots = s.next;
        if (s.value && s.key->destructor)
            gor__call_user(s.key->destructor, s.value);
    }
}

/* May next, which has not begun, have the stack of g? If both are as most are. */
GOR__INLINE bool gor__may_pass_stack(const gor__g *g, const gor__g *next)
{
    uint32_t usual = (uint32_t)gor__rt.stack_class;
    return gor__au32_load_acq(&next->hold) == GOR__NO_STACK &&
           (gor__au32_load_rlx(&g->traits) & (GOR__TRAIT_CLASS | GOR__TRAIT_CANARY)) == usual &&
           (gor__au32_load_rlx(&next->traits) & GOR__TRAIT_CLASS) == usual;
}

/* g has ended, in its outermost frame; from here on next runs, on this stack. Does what a switch
 * does, and a stack that is given back and taken again. */
GOR__INLINE void gor__pass_stack(gor__m *m, gor__p *p, gor__g *g, gor__g *next)
{
    gor__au64_bump(&p->begun);
    gor__aptr_store_rlx(&next->stack, gor__aptr_load_rlx(&g->stack));
    gor__aptr_store_rlx(&g->stack, NULL);
    gor__au32_store_rlx(&next->hold, GOR__ON_CPU);
    gor__switch_in(m, next);
    gor__load_thread_state(m, next);
    gor__eh_load(m, &gor__eh_none);                /* g may have left a handler by longjmp */
    gor__arch_control_change(&g->control, &gor__arch_control_default);
    gor__g_put(p, g);
}

/* g, which is tied to m, has ended. True: m's thread ends with it. */
GOR__NO_TSAN static GOR__NOINLINE bool gor__end_tied(gor__m *m, gor__g *g)
{
    gor__aptr_store_rlx(&m->locked_g, NULL);
    gor__au32_store_rlx(&m->detour, 0);
    gor__aptr_store_rlx(&g->locked, NULL);
    g->lock_depth = 0;
    if (m->is_main)
        return false;
    gor__au32_store_rlx(&m->state, GOR__M_ENDING);
    return true;
}

enum gor__last_frame { GOR__ENDS_IN_ITS_FIRST, GOR__ENDS_ANYWHERE };

/* The goroutine has ended; all that it owned has been given up. Returns the stack pointer of who is
 * next, for which this stack is to be left; NULL: who is next begins on it. */
GOR__NO_TSAN GOR__SWITCHES static void *gor__g_end(gor__g *g, enum gor__last_frame frame)
{
    gor__m *m = gor__self();
    gor__p *p = gor__m_p(m);
    bool leaving = gor__aptr_load_rlx(&m->locked_g) == g && gor__end_tied(m, g);
    gor__g *next;
    gor__san_hand_over(gor__aptr_load_rlx(&g->stack));
    gor__san_hand_over(g);
    gor__au32_store_rlx(&g->state, GOR__DEAD);
    gor__au64_bump_rel(&p->ended);                 /* not counted: gor_leaks does not find it */
    gor__switch_begin(g);
    if (GOR__UNLIKELY(leaving))
        return gor__switch_out(m, g, &m->g0);
    next = gor__pick(m, p);
    if (frame == GOR__ENDS_IN_ITS_FIRST && next && gor__may_pass_stack(g, next)) {
        gor__pass_stack(m, p, g, next);
        return NULL;
    }
    return gor__switch_out(m, g, gor__next_or_g0(m, p, next));
}

/* What g, which runs and ends, has besides its stack. */
static GOR__NOINLINE void gor__g_settle(gor__g *g)
{
    if (g->extra) {
        gor__run_defers(g);
        gor__run_destructors(g);
        gor__run_defers(g);                        /* a destructor may have deferred something */
        gor__free(g->extra, sizeof *g->extra);
        g->extra = NULL;
    }
    gor__cancel_release(g->ctx_held);
    g->ctx_held = NULL;
    gor__free_argument(g);
    gor__au32_store_rlx(&g->no_preempt, 0);
}

/* The end of g, which runs. As gor__g_end. */
GOR__INLINE void *gor__g_finish(gor__g *g, enum gor__last_frame frame)
{
    if (GOR__UNLIKELY(gor__au32_load_rlx(&g->traits) & GOR__TRAIT_ESTATE))
        gor__g_settle(g);
    if (g->done)
        g->done(g->done_arg);
    return gor__g_end(g, frame);
}

/* The same from anywhere on its stack. */
static void gor__g_exit(gor__g *g) __attribute__((noreturn));
static void gor__g_exit(gor__g *g) { gor__switch_never_back(gor__g_finish(g, GOR__ENDS_ANYWHERE)); }

/* Tie the running goroutine to its M. */
static void gor__tie(gor__m *m, gor__g *g)
{
    gor__preempted_spill(m);                       /* they would never run here */
    gor__submitted();
    gor__aptr_store_rlx(&m->locked_g, g);
    gor__au32_store_rlx(&m->detour, GOR__HAS_LOCKED);
    gor__aptr_store_rlx(&g->locked, m);
    gor__g_add_trait(g, GOR__TRAIT_TIED);
    gor__au32_store_rlx(&g->hold, GOR__ON_CPU | GOR__TIED);
}

/* The outermost frame of every goroutine, and of those to which its stack is passed on. It
 * returns, see [arch], but for a sanitizer, whose books are about the next stack by then. */
static void *gor__g_main(void)
{
    gor__g *g = gor__m_g(gor__self());
    void *sp;
    gor__san_take_over(gor__aptr_load_rlx(&g->stack));         /* before any frame of ours */
    gor__eh_load(gor__after_switch(), &gor__eh_none);
    do {
        g = gor__m_g(gor__self());
        gor__resumed(g);
        if (GOR__UNLIKELY(g->lock_depth))
            gor__tie(gor__self(), g);
        gor__call_user(g->fn, g->arg);
        if (GOR__TSAN || GOR__ASAN)
            gor__g_exit(g);
        sp = gor__g_finish(g, GOR__ENDS_IN_ITS_FIRST);
    } while (!sp);
    return sp;
}

/* -- panic --------------------------------------------------------------------------------- */

/* In a gor call. Deferred calls run; one of them may recover. */
static void gor__panic_raise(const char *here, const char *text) __attribute__((noreturn));
static void gor__panic_raise(const char *here, const char *text)
{
    gor__m *m = gor__self();
    gor__g *g = m ? gor__m_g(m) : NULL;
    char line[700];
    gor__extra *x = g && g != &m->g0 ? gor__extra_of(g) : NULL;
    gor__panicking now = { x ? x->panics : NULL, text, here };
    if (x) {
        snprintf(x->text, sizeof x->text, "%s", text);
        x->recovered = false;
        x->panics = &now;
        gor__run_defers(g);
        if (x->recovered)
            gor__g_exit(g);
    }
    if (gor__rt.opt.on_panic)
        gor__rt.opt.on_panic(text, gor__rt.opt.user);
    if (x) {
        x->panics = now.outer;                     /* this one is the headline */
        snprintf(line, sizeof line, "panic: %.500s\n    at %.100s, in goroutine %llu \"%.40s\"",
                 text, here, (unsigned long long)gor__au64_load_rlx(&g->id), gor__g_name(g));
    } else {
        snprintf(line, sizeof line, "panic: %.500s\n    at %.100s, outside of goroutines", text,
                 here);
    }
    gor__fatal(line, x ? g : NULL);
}

/* A goroutine-only call came from outside. Not inlined: its text would be in the caller's frame. */
static void gor__no_goroutine(const char *call) __attribute__((noreturn));
static GOR__NOINLINE void gor__no_goroutine(const char *call)
{
    char text[200];
    snprintf(text, sizeof text, "%s called outside of a goroutine%s", call,
             gor__is_on() ? "" : ": no runtime is running");
    gor__panic_raise("?", text);
}

static gor__m *gor__need_goroutine(gor__m *m, const char *call)
{
    if (GOR__UNLIKELY(!m))
        gor__no_goroutine(call);
    return m;
}

void gor__panic_at(const char *here, const char *fmt, ...)
{
    char text[500];
    va_list args;
    gor__enter();
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    gor__panic_raise(here, text);
}

/* Put a record, of the caller's storage, on top. 0 or -ENOMEM. */
static int gor__defer_push(gor__g *g, gor__defer *d, void (*fn)(void *), void *arg)
{
    gor__extra *x = gor__extra_of(g);
    if (!x)
        return -ENOMEM;
    d->fn = fn;
    d->arg = arg;
    d->borrowed = true;
    d->next = x->defers;
    x->defers = d;
    return 0;
}

static void gor__defer_remove(gor__g *g, gor__defer *d)
{
    gor__defer **at = &g->extra->defers;
    while (*at && *at != d)
        at = &(*at)->next;
    if (*at)
        *at = d->next;
}

int gor_defer(void (*fn)(void *), void *arg)
{
    gor__m *m = gor__enter();
    gor__g *g = m ? gor__m_g(m) : NULL;
    gor__defer *d = g && fn ? (gor__defer *)gor__alloc(sizeof *d) : NULL;
    int rc = !g ? -ESRCH : !fn ? -EINVAL : !d ? -ENOMEM : 0;
    if (rc == 0) {
        rc = gor__defer_push(g, d, fn, arg);
        if (rc == 0)
            d->borrowed = false;
        else
            gor__free(d, sizeof *d);
    }
    gor__leave(m);
    return rc;
}

const char *gor_recover(void)
{
    gor__m *m = gor__enter();
    gor__extra *x = m ? gor__m_g(m)->extra : NULL;
    const char *text = x && x->panics ? x->text : NULL;
    if (text) {
        x->recovered = true;
        x->panics = NULL;                          /* those before it will not go on either */
    }
    gor__leave(m);
    return text;
}

/* -- the calls about oneself --------------------------------------------------------------- */

int (gor_go)(void (*fn)(void *), void *arg) { return gor__go_at(fn, arg, "?\0?"); }

int (gor_go_copy)(void (*fn)(void *), const void *data, size_t n)
{
    return gor__go_copy_at(fn, data, n, "?\0?");
}

int (gor_go_with)(const gor_attr *a, void (*fn)(void *), void *arg)
{
    return gor__go_with_at(a, fn, arg, "?\0?");
}

GOR__INLINE int gor__go(const gor__spec *s)
{
    gor__m *m = gor__enter();
    int rc = gor__spawn_here(m, s);
    gor__leave(gor__self());
    return rc;
}

int gor__go_at(void (*fn)(void *), void *arg, const char *site)
{
    gor__spec s = { fn, arg, site, NULL, 0, NULL, NULL, NULL, NULL };
    return gor__go(&s);
}

int gor__go_copy_at(void (*fn)(void *), const void *data, size_t n, const char *site)
{
    gor__spec s = { fn, NULL, site, data, n, NULL, NULL, NULL, NULL };
    return gor__go(&s);
}

int gor__go_with_at(const gor_attr *a, void (*fn)(void *), void *arg, const char *site)
{
    gor__spec s = { fn, arg, site, NULL, 0, a, NULL, NULL, NULL };
    return gor__go(&s);
}

/* Calling with six words is calling with fewer: both ABIs pass each in a register of its own,
 * and the macro has seen to it that the values are what the parameters' types would make of
 * them. */
__attribute__((no_sanitize("undefined")))
static void gor__run_call(void *p)
{
    gor__call *c = (gor__call *)p;
    void (*fn)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t) =
        (void (*)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t))c->fn;
    fn(c->arg[0], c->arg[1], c->arg[2], c->arg[3], c->arg[4], c->arg[5]);
}

int gor__go_call(const gor__call *call, const char *site)
{
    return gor__go_copy_at(gor__run_call, call, sizeof *call, site);
}

GOR__SWITCHES void gor_yield(void)
{
    gor__yield_here(gor__need_goroutine(gor__enter(), "gor_yield"));
    gor__call_end();                               /* a goroutine's: gor__leave need not ask */
}

void gor_exit(void)
{
    gor__m *m = gor__need_goroutine(gor__enter(), "gor_exit");
    gor__g_exit(gor__m_g(m));
}

/* The running G, or NULL; for calls that ask for nothing else, and so need not look at what is
 * asked. */
static gor__g *gor__running(void)
{
    gor__m *m;
    gor__g *g;
    gor__call_begin();
    m = gor__self();
    g = m ? gor__m_g(m) : NULL;
    gor__call_end();
    return g;
}

uint64_t gor_id(void)
{
    gor__g *g = gor__running();
    return g ? gor__au64_load_rlx(&g->id) : 0;
}

const char *gor_name(void)
{
    gor__g *g = gor__running();
    return g ? gor__g_name(g) : "";
}

void gor_preempt_off(void)
{
    gor__g *g = gor__running();
    if (!g)
        return;
    gor__g_add_trait(g, GOR__TRAIT_ESTATE);
    gor__au32_store_rlx(&g->no_preempt, gor__au32_load_rlx(&g->no_preempt) + 1);
}

void gor_preempt_on(void)
{
    gor__m *m = gor__enter();
    gor__g *g = m ? gor__m_g(m) : NULL;
    if (g && gor__au32_load_rlx(&g->no_preempt))
        gor__au32_store_rlx(&g->no_preempt, gor__au32_load_rlx(&g->no_preempt) - 1);
    gor__leave(m);
}

/* Not by gor__enter: it may yield, and come back on another thread than the caller's. The P is not
 * touched, which may have been taken. */
int gor_lock_thread(void)
{
    gor__m *m;
    gor__g *g;
    gor__call_begin();
    m = gor__need_goroutine(gor__self(), "gor_lock_thread");
    if (gor__asked(m) & GOR__ORPHAN)
        gor__attend(m);                            /* never back */
    g = gor__m_g(m);
    if (g->lock_depth++ == 0)
        gor__tie(m, g);
    gor__leave(m);
    return 0;
}

void gor_unlock_thread(void)
{
    gor__m *m = gor__need_goroutine(gor__enter(), "gor_unlock_thread");
    gor__g *g = gor__m_g(m);
    if (g->lock_depth == 0)
        gor__panic_raise("gor_unlock_thread", "unlock of a thread that is not locked");
    if (--g->lock_depth == 0) {
        gor__aptr_store_rlx(&m->locked_g, NULL);
        gor__au32_store_rlx(&m->detour, 0);
        gor__aptr_store_rlx(&g->locked, NULL);
        gor__au32_store_rlx(&g->traits, gor__au32_load_rlx(&g->traits) & ~GOR__TRAIT_TIED);
        gor__au32_store_rlx(&g->hold, GOR__ON_CPU);
    }
    gor__leave(m);
}

/* -- goroutine-local slots ----------------------------------------------------------------- */

static gor__slot *gor__slot_of(gor__m *m, gor_local *k)
{
    gor__extra *x = gor__m_g(m)->extra;
    gor__slot *s = x ? x->slots : NULL;
    while (s && s->key != k)
        s = s->next;
    return s;
}

void *gor_local_get(gor_local *k)
{
    gor__m *m = gor__need_goroutine(gor__enter(), "gor_local_get");
    gor__slot *s = gor__slot_of(m, k);
    gor__leave(m);
    return s ? s->value : NULL;
}

int gor_local_set(gor_local *k, void *value)
{
    gor__m *m = gor__need_goroutine(gor__enter(), "gor_local_set");
    gor__slot *s = gor__slot_of(m, k);
    gor__extra *x = s ? NULL : gor__extra_of(gor__m_g(m));
    if (!s && x && (s = (gor__slot *)gor__alloc(sizeof *s)) != NULL) {
        s->key = k;
        s->next = x->slots;
        x->slots = s;
    }
    if (s)
        s->value = value;
    gor__leave(m);
    return s ? 0 : -ENOMEM;
}

/* ==== [channel] values from goroutine to goroutine ===========================================
 * What        A ring of values, a queue of receivers and one of senders. One transfer function
 *             serves send, receive and select.
 * Invariants  I1 Receivers wait only while the ring and the senders' queue are empty; senders only
 *                while the ring is full.
 *             I2 Values and waiters are served first in, first out.
 *             I3 A value is copied once between two goroutines that meet: from the sender's
 *                variable to the receiver's, under the lock.
 * Locks       c->own (OBJECT); two at once only in [select], by rising address.
 * Source      chan.go of the Go runtime.
 * Tests       tests/chan.c, tests/select.c, tests/random.c
 */
struct gor_chan {
    gor__ownable own;                  /* the lock, which a P may own                           */
    gor__au32 closed;
    size_t    elem_size, cap;
    size_t    first;                   /* place of the oldest value                             */
    gor__au64 count;                   /* values in the ring                                    */
    gor__wq   receivers, senders;
    gor__au32 refs;
    char     *ring;
};

enum { GOR__WAIT = 1 };                /* transfer's answer besides 0 and -EPIPE                */

static size_t gor__chan_bytes(size_t elem_size, size_t cap)
{
    return sizeof(gor_chan) + elem_size * cap;
}

gor_chan *gor_chan_new(size_t elem_size, size_t capacity)
{
    gor__m *m;
    gor_chan *c;
    if (elem_size && capacity > (SIZE_MAX / 2 - sizeof *c) / elem_size)
        return NULL;
    m = gor__enter();
    c = (gor_chan *)gor__alloc(gor__chan_bytes(elem_size, capacity));
    if (c) {
        memset(c, 0, sizeof *c);
        c->elem_size = elem_size;
        c->cap = capacity;
        c->ring = (char *)(c + 1);
        gor__au32_store_rel(&c->refs, 1);
    }
    gor__leave(m);
    return c;
}

static void gor__chan_release(gor_chan *c)
{
    if (c && gor__au32_add(&c->refs, (uint32_t)-1) == 1)
        gor__free(c, gor__chan_bytes(c->elem_size, c->cap));
}

gor_chan *gor_chan_retain(gor_chan *c)
{
    gor__m *m = gor__enter();
    if (c)
        gor__au32_add(&c->refs, 1);
    gor__leave(m);
    return c;
}

void gor_chan_release(gor_chan *c)
{
    gor__m *m = gor__enter();
    gor__chan_release(c);
    gor__leave(m);
}

GOR__INLINE uint32_t gor__chan_lock(gor_chan *c)
{
    return gor__lock_ownable(&c->own, GOR__RANK_OBJECT);
}

GOR__INLINE void gor__chan_unlock(gor_chan *c, uint32_t leave)
{
    gor__unlock_to(&c->own.lock, GOR__RANK_OBJECT, leave);
}

/* By a select that found nothing without locks, and so most often waits now: that counts as a park,
 * unless the lock is owned already. */
GOR__INLINE uint32_t gor__chan_lock_to_wait(gor_chan *c, uint32_t own)
{
    uint32_t leave = gor__chan_lock(c);
    if (leave != 0)
        return leave;
    gor__note_use(&c->own, own);
    return gor__au32_load_rlx(&c->own.lock.word) & ~GOR__TAKEN;
}

/* own: the caller's P's word, or GOR__MX_NOBODY. */
GOR__INLINE void gor__chan_leave(gor_chan *c, gor__node *n, uint32_t own)
{
    uint32_t leave;
    if (own != GOR__MX_NOBODY && gor__own_open(&c->own, own)) {
        gor__wq_leave_locked(n);
        gor__own_shut(&c->own);
        return;
    }
    leave = gor__chan_lock(c);
    gor__wq_leave_locked(n);
    gor__chan_unlock(c, leave);
}

/* Copy one value; small ones without a call. from NULL: zeros; to NULL: nowhere. Which of them
 * happens is known at run time only: gcc, inlining this, would warn of those that do not fit. */
GOR__INLINE void gor__value_copy(void *to, const void *from, size_t size)
{
    if (!to)
        return;
    __asm__("" : "+r"(to), "+r"(from));
    if (size == 8 && from) {
        memcpy(to, from, 8);
    } else if (size == 4 && from) {
        memcpy(to, from, 4);
    } else if (size) {
        if (from)
            memcpy(to, from, size);
        else
            memset(to, 0, size);
    }
}

/* size, here and below: c->elem_size, or what is known to be that. */
GOR__INLINE char *gor__chan_slot(gor_chan *c, size_t i, size_t size)
{
    size_t at = c->first + i;
    return c->ring + (at >= c->cap ? at - c->cap : at) * size;
}

GOR__INLINE void gor__chan_push(gor_chan *c, const void *v, size_t size)
{
    size_t n = gor__au64_load_rlx(&c->count);
    gor__value_copy(gor__chan_slot(c, n, size), v, size);
    gor__au64_store_rel(&c->count, n + 1);         /* rel chan.count */
}

GOR__INLINE void gor__chan_step(gor_chan *c)
{
    c->first = c->first + 1 == c->cap ? 0 : c->first + 1;
}

GOR__INLINE void gor__chan_shift(gor_chan *c, void *v, size_t size)
{
    gor__value_copy(v, gor__chan_slot(c, 0, size), size);
    gor__chan_step(c);
    gor__au64_store_rel(&c->count, gor__au64_load_rlx(&c->count) - 1);  /* rel chan.count */
}

/* The oldest of a full ring goes out, and `newest` takes its place. count says all the time to who
 * looks without the lock that there is a value. */
GOR__INLINE void gor__chan_turn(gor_chan *c, void *v, const void *newest, size_t size)
{
    char *slot = gor__chan_slot(c, 0, size);
    gor__value_copy(v, slot, size);
    gor__value_copy(slot, newest, size);
    gor__chan_step(c);
}

/* Move one value in or out of c if that can be done now. Lock held.
 * 0: done, and *woken, if not NULL, is to be woken after unlocking; -EPIPE: closed; GOR__WAIT. */
GOR__INLINE int gor__chan_transfer(gor_chan *c, bool send, void *v, gor__node **woken)
{
    size_t n = gor__au64_load_rlx(&c->count);
    gor__node *other;
    if (send) {
        if (gor__au32_load_rlx(&c->closed))
            return -EPIPE;
        other = gor__wq_first(&c->receivers) ? gor__wq_take(&c->receivers, 0) : NULL;
        *woken = other;
        if (other)
            gor__value_copy(other->value, v, c->elem_size);
        else if (n < c->cap)
            gor__chan_push(c, v, c->elem_size);
        else
            return GOR__WAIT;
        return 0;
    }
    other = gor__wq_first(&c->senders) ? gor__wq_take(&c->senders, 0) : NULL;
    *woken = other;
    if (other && n > 0)
        gor__chan_turn(c, v, other->value, c->elem_size);
    else if (other)
        gor__value_copy(v, other->value, c->elem_size);
    else if (n > 0)
        gor__chan_shift(c, v, c->elem_size);
    else if (!gor__au32_load_rlx(&c->closed))
        return GOR__WAIT;
    else {
        gor__value_copy(v, NULL, c->elem_size);
        return -EPIPE;
    }
    return 0;
}

/* Nothing will ever happen but the deadline, which has not come yet, and the own context. */
static int gor__wait_for_nothing(int64_t deadline, enum gor__why why)
{
    gor__cancel *own = gor__own_ctx();
    gor__wait w;
    /* A thread claims its deadline itself, and is not counted as one that others must wake. */
    gor__wait_init(&w, why, NULL, own || (deadline != GOR_FOREVER && !gor__self()));
    return gor__block(&w, deadline, own);
}

/* The rest of gor__chan_op, for gor__arch_wait. g: who waits, NULL: this thread. */
GOR__SWITCHES static gor__answer gor__chan_wait(void *g, void *channel, void *v, uint64_t send,
                                                int64_t deadline, void *back)
{
    gor_chan *c = (gor_chan *)channel;
    gor__m *m = gor__self();
    gor__answer answer;
    int rc;
    gor__left_at(m, back);
    if (gor__au32_load_rlx(&c->own.lock.word) == GOR__TAKEN)   /* neither owned nor elided */
        gor__note_use(&c->own, gor__own_word(m));
    rc = gor__wait_of((gor__g *)g, &c->own.lock, send ? &c->senders : &c->receivers, v, 0, deadline,
                      send ? GOR__WHY_SEND : GOR__WHY_RECV, c);
    m = gor__self();
    answer = gor__answer_from(m, rc, back);
    gor__leave(m);
    return answer;
}

/* In a call of m, which it ends. */
GOR__INLINE int gor__chan_op(gor__m *m, gor_chan *c, bool send, void *v, int64_t deadline)
{
    gor__node *woken = NULL;
    int rc;
    uint32_t leave = gor__chan_lock(c);
    rc = gor__chan_transfer(c, send, v, &woken);
    if (rc == GOR__WAIT)
        return gor__arch_wait(m ? gor__m_g(m) : NULL, c, v, send, deadline, gor__chan_wait);
    gor__chan_unlock(c, leave);
    if (woken)
        gor__wake(woken);
    gor__leave(m);
    return rc;
}

GOR__INLINE int gor__chan_try(gor_chan *c, bool send, void *v)
{
    gor__node *woken = NULL;
    int rc;
    uint32_t leave = gor__chan_lock(c);
    rc = gor__chan_transfer(c, send, v, &woken);
    gor__chan_unlock(c, leave);
    if (woken)
        gor__wake(woken);
    return rc == GOR__WAIT ? -EAGAIN : rc;
}

GOR__INLINE bool gor__chan_size_ok(gor_chan *c, const void *v, size_t n)
{
    return !v || n == c->elem_size;
}

/* The part that send and receive, with and without a deadline, share. */
GOR__INLINE int gor__chan_call(gor_chan *c, bool send, void *v, size_t n, int64_t deadline)
{
    gor__m *m = gor__enter();
    int rc = GOR__UNLIKELY(m && gor__m_g(m)->ctx) ? gor__cancel_err(gor__m_g(m)->ctx) : 0;
    if (GOR__UNLIKELY(rc != 0))
        ;
    else if (GOR__UNLIKELY(!c))
        rc = deadline != GOR_FOREVER && gor__is_past(deadline)
             ? -ETIMEDOUT : gor__wait_for_nothing(deadline, GOR__WHY_NIL_CHAN);
    else if (GOR__UNLIKELY(!gor__chan_size_ok(c, v, n)))
        rc = -EMSGSIZE;
    else
        return gor__chan_op(m, c, send, v, deadline);
    gor__leave(gor__self());
    return rc;
}

/* Is there room, or a value? Without the lock: this, then who waits, then `closed`, each look after
 * the one before. In another order an open channel might seem empty that was never both. */
GOR__INLINE bool gor__chan_has_way(const gor_chan *c, bool send)
{
    size_t n = gor__au64_load_acq(&c->count);      /* acq chan.count */
    return send ? n < c->cap : n > 0;
}

/* Does anybody wait for a send, or a receive? */
GOR__INLINE bool gor__chan_awaited(const gor_chan *c, bool send)
{
    return gor__aptr_load_acq(send ? &c->receivers.head : &c->senders.head) != NULL;
}

/* A value that is a word or half of one goes into c, or comes out, if nobody waits. Lock held. */
GOR__INLINE bool gor__chan_pass(gor_chan *c, bool send, void *v, size_t size)
{
    if (!gor__chan_has_way(c, send) || gor__chan_awaited(c, send) ||
        (send && gor__au32_load_rlx(&c->closed)))
        return false;
    if (send)
        gor__chan_push(c, v, size);
    else
        gor__chan_shift(c, v, size);
    return true;
}

/* The usual case of a channel with a buffer: a small value, and its lock is free. Nothing is called
 * here, so that no register is saved. False: nothing has happened. */
GOR__INLINE bool gor__chan_quick(gor_chan *c, bool send, void *v, size_t size)
{
    gor__m *m;
    uint32_t leave;
    bool done = false;
    if (!c || !v || !c->cap || size != c->elem_size || (size != 8 && size != 4))
        return false;
    if (gor__call_quick(&m) && !gor__m_g(m)->ctx &&
        gor__chan_has_way(c, send) && gor__lock_if_free(m, &c->own, GOR__RANK_OBJECT, &leave)) {
        done = size == 8 ? gor__chan_pass(c, send, v, 8) : gor__chan_pass(c, send, v, 4);
        gor__chan_unlock(c, leave);
    }
    gor__call_end();
    return done;
}

GOR__INLINE int gor__chan_try_call(gor_chan *c, bool send, void *v, size_t n)
{
    gor__m *m = gor__self();
    int rc;
    if (!c)
        return -EAGAIN;
    if (!gor__chan_size_ok(c, v, n))
        return -EMSGSIZE;
    if (!send && c->cap && !gor__chan_has_way(c, false) &&
        !gor__au32_load_acq(&c->closed) && m && !gor__au32_load_rlx(&m->attention))
        return -EAGAIN;                            /* as if we had come a moment ago */
    m = gor__enter();
    rc = gor__chan_try(c, send, v);
    gor__leave(m);
    return rc;
}

static void *gor__unconst(const void *p)
{
    union { const void *from; void *to; } u;
    u.from = p;
    return u.to;
}

/* The full way, for no deadline: what is known when it is compiled saves some instructions. */
static GOR__NOINLINE int gor__chan_send(gor_chan *c, void *v, size_t n)
{
    return gor__chan_call(c, true, v, n, GOR_FOREVER);
}

int gor_chan_send(gor_chan *c, const void *v, size_t n)
{
    void *value = gor__unconst(v);
    return gor__chan_quick(c, true, value, n) ? 0 : gor__chan_send(c, value, n);
}

int gor_chan_send_until(gor_chan *c, const void *v, size_t n, int64_t deadline)
{
    return gor__chan_call(c, true, gor__unconst(v), n, deadline);
}

int gor_chan_try_send(gor_chan *c, const void *v, size_t n)
{
    return gor__chan_try_call(c, true, gor__unconst(v), n);
}

static GOR__NOINLINE int gor__chan_recv(gor_chan *c, void *v, size_t n)
{
    return gor__chan_call(c, false, v, n, GOR_FOREVER);
}

int gor_chan_recv(gor_chan *c, void *v, size_t n)
{
    return gor__chan_quick(c, false, v, n) ? 0 : gor__chan_recv(c, v, n);
}

int gor_chan_recv_until(gor_chan *c, void *v, size_t n, int64_t deadline)
{
    return gor__chan_call(c, false, v, n, deadline);
}

int gor_chan_try_recv(gor_chan *c, void *v, size_t n)
{
    return gor__chan_try_call(c, false, v, n);
}

static int gor__chan_close(gor_chan *c)
{
    gor__node *receivers, *senders;
    size_t size = c->elem_size;                    /* who is woken may free c */
    uint32_t leave = gor__chan_lock(c);
    if (gor__au32_load_rlx(&c->closed)) {
        gor__chan_unlock(c, leave);
        return -EPIPE;
    }
    gor__au32_store_rel(&c->closed, 1);
    receivers = gor__wq_take_all(&c->receivers, -EPIPE);
    senders = gor__wq_take_all(&c->senders, -EPIPE);
    gor__chan_unlock(c, leave);
    while (receivers) {                            /* taken, so ours: each is touched once more */
        gor__node *next = receivers->next;
        gor__value_copy(receivers->value, NULL, size);
        gor__wake(receivers);
        receivers = next;
    }
    gor__wake_all(senders);
    return 0;
}

int gor_chan_close(gor_chan *c)
{
    gor__m *m;
    int rc;
    if (!c)
        return -EINVAL;
    m = gor__enter();
    rc = gor__chan_close(c);
    gor__leave(m);
    return rc;
}

size_t gor_chan_len(gor_chan *c) { return c ? gor__au64_load_acq(&c->count) : 0; }
size_t gor_chan_cap(gor_chan *c) { return c ? c->cap : 0; }

/* ==== [fork] fork and join ===================================================================
 * What        gor_fork puts a task into the P's ring [taskq]; gor_join takes it back and runs it
 *             in place, or waits for who has taken it.
 * Invariants  I1 task.state is 0 until the result is there; it is set under task.lock, and read
 *                without.
 *             I2 The runner's last touch of the task is the unlock; the joiner passes the lock
 *                before it lets the storage go.
 *             I3 The tasks of gor_parallel_for lie on the stack of their forker: its goroutine does
 *                not end before they are taken back, or over. A deferred call sees to that.
 */
static void gor__task_run(void *p)
{
    gor_task *t = (gor_task *)p;
    t->result = t->fn(t->arg);
}

/* The task has run, or its goroutine has left by gor_exit: in a gor call. */
static void gor__task_finish(void *p)
{
    gor_task *t = (gor_task *)p;
    gor__node *list;
    gor__lock(&t->lock, GOR__RANK_OBJECT);
    list = gor__wq_take_all(&t->waiters, 0);
    gor__au32_store_rel(&t->state, 1);             /* rel task.state: the result */
    gor__unlock(&t->lock, GOR__RANK_OBJECT);
    gor__wake_all(list);
}

/* By the goroutine that runs on m, which is stale afterwards. 0; -ENOMEM: the ring is full, and
 * there is no memory for one more goroutine. */
GOR__INLINE int gor__task_fork(gor__m *m, gor_task *t, void *(*fn)(void *), void *arg)
{
    gor__spec spec;
    gor__cancel *own = gor__m_g(m)->ctx;
    int rc;
    t->ctx = own ? gor__cancel_retain(own) : NULL;
    t->fn = fn;
    t->arg = arg;
    t->run = gor__task_run;
    t->finish = gor__task_finish;
    t->result = NULL;
    t->slot = NULL;
    gor__aptr_store_rlx(&t->waiters.head, NULL);
    t->waiters.tail = NULL;
    gor__au32_store_rlx(&t->lock.word, 0);
    gor__au32_store_rlx(&t->state, 0);
    if (GOR__LIKELY(gor__taskq_push(&gor__m_p(m)->taskq, t))) {
        gor__submitted();
        return 0;
    }
    memset(&spec, 0, sizeof spec);
    spec.fn = gor__task_run;
    spec.arg = t;
    spec.done = gor__task_finish;
    spec.done_arg = t;
    spec.site = "gor_fork\0";
    rc = gor__spawn(m, &spec);
    gor__cancel_release(own);                      /* a goroutine has its own reference */
    return rc;
}

void gor_fork(gor_task *t, void *(*fn)(void *), void *arg)
{
    gor__m *m = gor__need_goroutine(gor__enter(), "gor_fork");
    if (GOR__UNLIKELY(gor__task_fork(m, t, fn, arg) != 0)) {   /* now is early enough */
        gor__call_user(gor__task_run, t);
        gor__task_finish(t);
    }
    gor__leave(gor__self());
}

/* Take the task back, to run it on this stack or not at all. False: someone else has begun it. */
GOR__INLINE bool gor__task_take_back(gor__m *m, gor_task *t)
{
    if (!t->slot || !gor__taskq_take_back(&gor__m_p(m)->taskq, t))
        return false;
    t->slot = NULL;
    gor__cancel_release((gor__cancel *)t->ctx);
    return true;
}

GOR__INLINE bool gor__task_run_here(gor__m *m, gor_task *t)
{
    if (!gor__task_take_back(m, t))
        return false;
    gor__leave(m);
    t->result = t->fn(t->arg);
    gor__reenter();
    gor__task_finish(t);
    return true;
}

static void gor__task_wait(gor_task *t)
{
    gor__wait w;
    gor__node n;
    gor__lock(&t->lock, GOR__RANK_OBJECT);         /* even if it is done: I2 */
    if (gor__au32_load_rlx(&t->state) != 0) {
        gor__unlock(&t->lock, GOR__RANK_OBJECT);
        return;
    }
    gor__wait_init(&w, GOR__WHY_JOIN, t, false);
    gor__node_init(&n, &w, 0, NULL);
    gor__wait_in(&t->lock, &t->waiters, &n, GOR_FOREVER, NULL, false);
}

void *gor_join(gor_task *t)
{
    gor__m *m = gor__need_goroutine(gor__enter(), "gor_join");
    void *result;
    if (!gor__task_run_here(m, t))
        gor__task_wait(t);
    result = t->result;
    gor__leave(gor__self());
    return result;
}

/* -- parallel for -------------------------------------------------------------------------- */

typedef struct gor__range {
    size_t begin, end, grain;
    void (*fn)(size_t lo, size_t hi, void *arg);
    void  *arg;
} gor__range;

/* The upper half, while it is forked. */
typedef struct gor__half {
    gor__range  range;
    gor_task    task;
    gor__defer  drop;                  /* I3 */
} gor__half;

static void *gor__range_run(void *range);
static char gor__range_over;           /* its address: what gor__range_run returns             */

/* The forker's goroutine ends, having joined nothing. */
static void gor__half_drop(void *half)
{
    gor_task *t = &((gor__half *)half)->task;
    gor__m *m = gor__need_goroutine(gor__enter(), "gor_parallel_for");
    if (!gor__task_take_back(m, t))
        gor__task_wait(t);
    gor__leave(gor__self());
}

/* False, for want of memory: it is not forked. */
static bool gor__half_fork(gor__half *half)
{
    gor__m *m = gor__need_goroutine(gor__enter(), "gor_parallel_for");
    gor__g *g = gor__m_g(m);
    bool forked = gor__defer_push(g, &half->drop, gor__half_drop, half) == 0;
    if (forked && gor__task_fork(m, &half->task, gor__range_run, &half->range) != 0) {
        gor__defer_remove(g, &half->drop);
        forked = false;
    }
    gor__leave(gor__self());
    return forked;
}

/* Run it here, or wait for who does. As gor__range_run. */
static void *gor__half_join(gor__half *half)
{
    gor__m *m = gor__need_goroutine(gor__enter(), "gor_parallel_for");
    gor__g *g = gor__m_g(m);
    bool here = gor__task_take_back(m, &half->task);
    if (!here)
        gor__task_wait(&half->task);
    gor__defer_remove(g, &half->drop);             /* before fn is called: it may end g */
    gor__leave(gor__self());
    return here ? gor__range_run(&half->range) : half->task.result;
}

/* Fork the upper half, do the lower: the ranges that others steal are the largest there are. NULL:
 * a goroutine ended before it was through with one. */
static void *gor__range_run(void *range)
{
    gor__range *r = (gor__range *)range;
    gor__half upper;
    bool forked;
    void *lower, *rest;
    if (r->end - r->begin <= r->grain) {
        r->fn(r->begin, r->end, r->arg);
        return &gor__range_over;
    }
    upper.range = *r;
    r->end = upper.range.begin = r->begin + (r->end - r->begin) / 2;
    forked = gor__half_fork(&upper);
    lower = gor__range_run(r);
    rest = forked ? gor__half_join(&upper) : gor__range_run(&upper.range);
    return lower ? rest : NULL;
}

int gor_parallel_for(size_t begin, size_t end, size_t grain,
                     void (*fn)(size_t lo, size_t hi, void *arg), void *arg)
{
    gor__range r;
    gor__leave(gor__need_goroutine(gor__enter(), "gor_parallel_for"));
    if (!fn)
        return -EINVAL;
    if (begin >= end)
        return 0;
    if (grain == 0) {                              /* eight ranges per processor even it out */
        size_t pieces = 8 * (size_t)gor__au32_load_rlx(&gor__rt.n_asked);
        grain = (end - begin) / (pieces ? pieces : 1);
        grain = grain ? grain : 1;
    }
    r.begin = begin;
    r.end = end;
    r.grain = grain;
    r.fn = fn;
    r.arg = arg;
    return gor__range_run(&r) ? 0 : -ECANCELED;
}

/* ==== [select] wait for one of several ===========================================================
 * What        Run one of the cases that can run, drawn at random; if none can, queue at all of them
 *             and block.
 * Steps       1 check, and draw one of the channel cases that look as if they could run; ask for
 *             fds, and let what has no channel take part in the draw; 2 run the one that was drawn,
 *             under its channel's lock. There was none, or it cannot any more: 3 lock all channels,
 *             by rising address; if none was drawn, there is no default, and they are few and all
 *             the P's own, a window at all of them does ([window]); 4 draw one of the cases that
 *             can run; 5 default; 6 queue at the channels, unlock; 7 queue at contexts, tasks and
 *             fds, arm the deadline; 8 block; 9 leave all queues. What woke an fd's case may have
 *             gone again: then 1, and 3 on.
 * Frame       gor_select_n does 1, 2 and mostly 5, and calls gor__arch_wait last: its frame is
 *             gone by then, so the one jump of [arch] leads to where the user called it. What it
 *             has found goes along in two words. gor__select_full does the rest; what that needs
 *             for channels on one processor is inlined, all else is out of its way.
 * Why         A case that can run may be run, whatever the others can. That none can, and that one
 *             waits now, must be true of all at one moment: so they are all locked, and between two
 *             selects that meet, only one wait has to be claimed, the other's. One-sided sources
 *             only ever wake, so they are queued at one by one.
 * Source      selectgo of the Go runtime. We differ: step 2; a draw among the ready cases, instead
 *             of trying all in a shuffled order: most selects need no random number.
 * Tests       tests/select.c
 */
#define GOR__SELECT_INLINE 8           /* cases that need no memory                            */
#define GOR__NO_CASE       UINT16_MAX  /* no index: there are so many cases at most             */
#define GOR__SELECT_AGAIN  INT_MIN     /* an fd that was ready is not any more                  */

/* A reservoir of one (Vitter, 1985): of those offered, each as likely to be kept. */
typedef struct gor__draw {
    int      chosen;                   /* a case, or -1                                         */
    uint32_t n;                        /* offered                                               */
} gor__draw;

/* The cases, and what step 1 finds among them. A word, as the draw is: see Frame. */
typedef struct gor__shape {
    uint16_t n;                        /* cases                                                 */
    uint16_t fallback;                 /* the default case, or GOR__NO_CASE                     */
    uint16_t timer;                    /* the case with the first deadline, or GOR__NO_CASE     */
    bool     fds;                      /* there are fd cases                                    */
    bool     watched;                  /* there are these, contexts or tasks                    */
} gor__shape;

GOR__STATIC_ASSERT(sizeof(gor__shape) == 8 && sizeof(gor__draw) == 8, "a word each");

/* Are there cases without a channel that can run, or end the wait? */
GOR__INLINE bool gor__shape_is_mixed(const gor__shape *s)
{
    return s->watched || s->timer != GOR__NO_CASE;
}

typedef struct gor__selection {
    gor_case    *cases;
    gor__cancel *own;                  /* the context of who selects, or NULL                   */
    gor__shape   shape;
    gor__draw    draw;                 /* among the cases that can run, or look so              */
    gor__node   *node;                 /* one for each case                                     */
    gor_chan   **chan;                 /* n_chans, by rising address, once they are locked      */
    size_t       n_chans;
    uint64_t     owned;                /* bit i: chan[i], of the first 64, is this P's own      */
    bool         locked, in_window;    /* the channels are; neither: nobody else is there       */
    gor__wait    wait;
} gor__selection;

static bool gor__case_is_fd(const gor_case *k)
{
    return k->kind == GOR_CASE_READABLE || k->kind == GOR_CASE_WRITABLE;
}

/* A channel case, and not one that is turned off. */
GOR__INLINE bool gor__case_is_chan(const gor_case *k)
{
    return (k->kind == GOR_CASE_RECV || k->kind == GOR_CASE_SEND) && k->object;
}

/* Can a channel case run now? Without its lock that is a hint; and with it, those who wait may have
 * been ended elsewhere: the transfer then finds that, and has emptied the queue. */
GOR__INLINE bool gor__chan_case_ready(const gor_case *k)
{
    const gor_chan *c = (const gor_chan *)k->object;
    bool send = k->kind == GOR_CASE_SEND;
    return gor__chan_has_way(c, send) || gor__chan_awaited(c, send) ||
           gor__au32_load_rlx(&c->closed);
}

/* True once in n times. */
static GOR__NOINLINE bool gor__draw_again(uint32_t n)
{
    gor__m *m = gor__self();
    gor__au64 foreign;
    if (!m)
        gor__au64_store_rlx(&foreign, ((uint64_t)gor__os_now() * n) | 1);
    return gor__random_below(m ? &m->rng : &foreign, n) == 0;
}

GOR__INLINE void gor__draw_offer(gor__draw *d, size_t which)
{
    if (d->n++ == 0 || gor__draw_again(d->n))
        d->chosen = (int)which;
}

/* shape with case i, which has no channel. By value: so it stays in a register. */
static GOR__NOINLINE gor__shape gor__select_note(gor__shape shape, const gor_case *cases, size_t i)
{
    const gor_case *k = &cases[i];
    switch (k->kind) {
    case GOR_CASE_DEADLINE:
        if (shape.timer == GOR__NO_CASE || k->deadline < cases[shape.timer].deadline)
            shape.timer = (uint16_t)i;
        break;
    case GOR_CASE_READABLE:
    case GOR_CASE_WRITABLE:
        shape.fds = shape.watched = true;
        break;
    case GOR_CASE_DONE:
    case GOR_CASE_JOIN:
        shape.watched |= k->object != NULL;
        break;
    case GOR_CASE_DEFAULT:
        shape.fallback = (uint16_t)i;
        break;
    }
    return shape;
}

/* Step 1, channels, whose locks are not held. What is wrong is refused before anything moves. */
GOR__INLINE int gor__select_check(gor_case *cases, size_t n, gor__shape *shape, gor__draw *draw)
{
    gor__shape s = { (uint16_t)n, GOR__NO_CASE, GOR__NO_CASE, false, false };
    gor__draw d = { -1, 0 };
    for (size_t i = 0; i < n; i++) {
        gor_case *k = &cases[i];
        k->rc = 0;
        if (k->kind != GOR_CASE_RECV && k->kind != GOR_CASE_SEND) {
            if (k->kind < GOR_CASE_NONE || k->kind > GOR_CASE_DEFAULT)
                return -EINVAL;
            s = gor__select_note(s, cases, i);
        } else if (k->object) {
            if (!gor__chan_size_ok((gor_chan *)k->object, k->value, k->size))
                return -EMSGSIZE;
            if (gor__chan_case_ready(k))
                gor__draw_offer(&d, i);
        }
    }
    *shape = s;
    *draw = d;
    return 0;
}

/* -- fd cases. The case's fields hold the descriptor (object), its gen and seq (size) from before
 * the fd was asked; rc is the answer: GOR__WAIT, 0 ready, or -EBADF and the like, ready too -- */

static int gor__case_dir(const gor_case *k)
{
    return k->kind == GOR_CASE_READABLE ? GOR__IN : GOR__OUT;
}

static void gor__select_ask_fd(gor_case *k)
{
    gor__pd *pd;
    int rc = gor__pd_of(k->fd, &pd);
    k->object = NULL;
    if (rc == 0) {
        k->object = pd;
        k->size = (size_t)gor__au32_load_sc(&pd->gen) << 32 |
                  gor__au32_load_acq(&pd->seq[gor__case_dir(k)]);
        rc = gor__os_fd_ready(k->fd, k->kind == GOR_CASE_READABLE ? GOR_READ : GOR_WRITE);
    }
    k->rc = rc == 0 ? GOR__WAIT : rc > 0 ? 0 : rc;
}

/* The answers of fds are not those of cases that have run. */
static GOR__NOINLINE void gor__select_forget_fds(gor_case *cases, size_t n, int ran)
{
    for (size_t i = 0; i < n; i++)
        if (gor__case_is_fd(&cases[i]) && (int)i != ran)
            cases[i].rc = 0;
}

/* Step 1, fds. Their poller, too. 0 or an errno. */
static GOR__NOINLINE int gor__select_ask(gor_case *cases, size_t n)
{
    int rc;
    for (size_t i = 0; i < n; i++)
        if (gor__case_is_fd(&cases[i]))
            gor__select_ask_fd(&cases[i]);
    rc = gor__poll_need();
    if (rc != 0)
        gor__select_forget_fds(cases, n, -1);
    return rc;
}

/* Can a case without a channel run now? */
static bool gor__case_ready(const gor_case *k)
{
    switch (k->kind) {
    case GOR_CASE_DONE:     return k->object && gor__cancel_err((gor__cancel *)k->object) != 0;
    case GOR_CASE_JOIN:     return k->object && gor__au32_load_acq(&((gor_task *)k->object)->state);
    case GOR_CASE_DEADLINE: return gor__is_past(k->deadline);
    case GOR_CASE_READABLE:
    case GOR_CASE_WRITABLE: return k->rc != GOR__WAIT;
    default:                return false;
    }
}

/* The draw, with those that have no channel. */
static GOR__NOINLINE gor__draw gor__select_draw_others(const gor_case *cases, size_t n, gor__draw d)
{
    for (size_t i = 0; i < n; i++)
        if (gor__case_ready(&cases[i]))
            gor__draw_offer(&d, i);
    return d;
}

/* Step 1; own: the context of who selects, or NULL. 0 or an errno. */
GOR__INLINE int gor__select_look(gor_case *cases, size_t n, gor__cancel *own, gor__shape *shape,
                                 gor__draw *draw)
{
    int rc = gor__select_check(cases, n, shape, draw);
    if (GOR__UNLIKELY(rc == 0 && own))
        rc = gor__cancel_err(own);
    if (GOR__UNLIKELY(rc == 0 && shape->fds))
        rc = gor__select_ask(cases, n);
    if (GOR__UNLIKELY(rc == 0 && gor__shape_is_mixed(shape)))
        *draw = gor__select_draw_others(cases, n, *draw);
    return rc;
}

static GOR__NOINLINE int gor__select_look_again(gor__selection *s)
{
    return gor__select_look(s->cases, s->shape.n, s->own, &s->shape, &s->draw);
}

/* The result of case i, which has run with rc. */
GOR__INLINE int gor__select_done(gor_case *cases, size_t i, int rc)
{
    gor_case *k = &cases[i];
    k->rc = rc;
    if (k->kind == GOR_CASE_RECV && k->ok)
        *k->ok = rc == 0;
    return k->kind == GOR_CASE_SEND && rc != 0 ? rc : (int)i;
}

/* Step 4 */
static void gor__select_draw(gor__selection *s)
{
    s->draw.chosen = -1;
    s->draw.n = 0;
    for (size_t i = 0; i < s->shape.n; i++)
        if (gor__case_is_chan(&s->cases[i]) && gor__chan_case_ready(&s->cases[i]))
            gor__draw_offer(&s->draw, i);
    if (gor__shape_is_mixed(&s->shape))
        s->draw = gor__select_draw_others(s->cases, s->shape.n, s->draw);
}

/* Run case i, which was drawn; if it has a channel, that is locked. True: *result is the answer,
 * *woken is to be woken. False: it cannot any more. */
GOR__INLINE bool gor__select_drawn(gor_case *cases, size_t i, gor__node **woken, int *result)
{
    gor_case *k = &cases[i];
    int rc = gor__case_is_fd(k) ? k->rc : 0;
    if (gor__case_is_chan(k)) {
        rc = gor__chan_transfer((gor_chan *)k->object, k->kind == GOR_CASE_SEND, k->value, woken);
        if (rc == GOR__WAIT)
            return false;
    }
    *result = gor__select_done(cases, i, rc);
    return true;
}

/* Step 2: the case that was drawn, if any. True: *result is the answer. */
GOR__INLINE bool gor__select_alone(gor_case *cases, int chosen, int *result)
{
    const gor_case *k;
    gor__node *woken = NULL;
    gor_chan *c;
    uint32_t leave = 0;
    bool done;
    if (chosen < 0 || gor__stress_hit(2))
        return false;
    k = &cases[chosen];
    c = gor__case_is_chan(k) ? (gor_chan *)k->object : NULL;
    if (c)
        leave = gor__chan_lock(c);
    done = gor__select_drawn(cases, (size_t)chosen, &woken, result);
    if (c)
        gor__chan_unlock(c, leave);
    if (woken)
        gor__wake(woken);
    return done;
}

/* Steps 4 and 5, the channels locked, or nobody else there. True: *result is the answer, *woken is
 * to be woken. */
static bool gor__select_try(gor__selection *s, gor__node **woken, int *result)
{
    for (gor__select_draw(s); s->draw.chosen >= 0; gor__select_draw(s))
        if (gor__select_drawn(s->cases, (size_t)s->draw.chosen, woken, result))
            return true;
    if (s->shape.fallback == GOR__NO_CASE)
        return false;
    *result = gor__select_done(s->cases, s->shape.fallback, 0);
    return true;
}

/* c finds its place among n others: insertion sort, for there are few. */
static void gor__select_insert(gor_chan **chan, size_t n, gor_chan *c)
{
    for (; n > 0 && (uintptr_t)chan[n - 1] > (uintptr_t)c; n--)
        chan[n] = chan[n - 1];
    chan[n] = c;
}

/* Is the i-th the first of those that are the same? */
GOR__INLINE bool gor__select_first(const gor__selection *s, size_t i)
{
    return i == 0 || s->chan[i - 1] != s->chan[i];
}

/* Step 3 */
static void gor__select_lock(gor__selection *s)
{
    uint32_t own = gor__own_word(gor__self());
    size_t n = 0;
    for (size_t i = 0; i < s->shape.n; i++)
        if (gor__case_is_chan(&s->cases[i]))
            gor__select_insert(s->chan, n++, (gor_chan *)s->cases[i].object);
    s->n_chans = n;
    s->owned = 0;
    for (size_t i = 0; i < n; i++)
        if (gor__select_first(s, i) && gor__chan_lock_to_wait(s->chan[i], own) && i < 64)
            s->owned |= (uint64_t)1 << i;
}

static void gor__select_unlock(const gor__selection *s)
{
    uint32_t own = gor__own_word(gor__self());
    for (size_t i = s->n_chans; i-- > 0;) {
        if (!gor__select_first(s, i))
            continue;
        if (i < 64)
            gor__chan_unlock(s->chan[i], s->owned >> i & 1 ? own : 0);
        else                                       /* no bit tells: look */
            gor__unlock_owned(&s->chan[i]->own.lock, GOR__RANK_OBJECT);
    }
}

/* Steps 3 and 4 in a window, in which all channels are the P's own and free, and no case that has
 * one can run. It stays open if this returns true. */
static bool gor__select_open(const gor__selection *s)
{
    uint32_t own = gor__own_word(gor__self());
    bool open = own != GOR__MX_NOBODY && s->shape.n <= GOR__SELECT_INLINE;
    if (!open)
        return false;
    gor__window_mark(GOR__WINDOW_ANY);
    for (size_t i = 0; open && i < s->shape.n; i++) {
        const gor_case *k = &s->cases[i];
        if (gor__case_is_chan(k))
            open = gor__own_is_free(&((gor_chan *)k->object)->own, own) &&
                   !gor__chan_case_ready(k);
    }
    if (!open)
        gor__window_shut();
    return open;
}

static void gor__select_shut(const gor__selection *s)
{
    for (size_t i = 0; GOR__TSAN && i < s->shape.n; i++)
        if (gor__case_is_chan(&s->cases[i]))
            gor__own_release(&((gor_chan *)s->cases[i].object)->own);
    gor__window_shut();
}

/* Steps 3 to 5. True: *result is the answer. False: nobody else gets at the channels till
 * gor__select_release. */
GOR__INLINE bool gor__select_at_once(gor__selection *s, int *result)
{
    bool as_seen = s->draw.chosen < 0 && s->shape.fallback == GOR__NO_CASE;    /* by step 1 */
    gor__node *woken = NULL;
    s->locked = !gor__locks_are_nothing();
    s->in_window = s->locked && as_seen && gor__select_open(s);
    s->locked &= !s->in_window;
    if (s->locked)
        gor__select_lock(s);
    else if (as_seen)
        return false;
    if (!gor__select_try(s, &woken, result))
        return false;
    if (s->locked)
        gor__select_unlock(s);
    if (woken)
        gor__wake(woken);
    return true;
}

GOR__INLINE void gor__select_release(const gor__selection *s)
{
    if (s->locked)
        gor__select_unlock(s);
    else if (s->in_window)
        gor__select_shut(s);
}

/* Steps 3 to 5 with a default among few cases. */
static GOR__NOINLINE int gor__select_poll(gor_case *cases, gor__shape shape, gor__draw draw)
{
    gor_chan *chan[GOR__SELECT_INLINE];
    gor__selection s;
    int result = 0;
    s.cases = cases;
    s.shape = shape;
    s.draw = draw;
    s.chan = chan;
    gor__select_at_once(&s, &result);
    return result;
}

/* Step 5 before there is a frame for waiting. Without locks, if what step 1 saw is of one moment:
 * of one case, or nobody else is there. True: *result is the answer. */
GOR__INLINE bool gor__select_fall_back(gor_case *cases, const gor__shape *shape,
                                       const gor__draw *draw, int *result)
{
    if (shape->fallback == GOR__NO_CASE || shape->n > GOR__SELECT_INLINE)
        return false;
    if (draw->chosen < 0 && (shape->n <= 2 || gor__locks_are_nothing()))
        *result = gor__select_done(cases, shape->fallback, 0);
    else
        *result = gor__select_poll(cases, *shape, *draw);
    return true;
}

/* Step 6 */
GOR__INLINE void gor__select_queue(gor__selection *s)
{
    const gor_case *k = s->cases;
    gor__node *n = s->node;
    for (size_t i = 0, end = s->shape.n; i < end; i++, k++, n++) {
        gor_chan *c = (gor_chan *)k->object;
        if (!gor__case_is_chan(k))
            continue;
        gor__node_init(n, &s->wait, (int)i, k->value);
        gor__wq_put(k->kind == GOR_CASE_SEND ? &c->senders : &c->receivers, n);
    }
}

/* Step 7 */
static void gor__select_watch(gor__selection *s)
{
    for (size_t i = 0; i < s->shape.n; i++) {
        gor_case *k = &s->cases[i];
        gor__node *n = &s->node[i];
        if (gor__case_is_fd(k)) {
            gor__node_init(n, &s->wait, (int)i, NULL);
            gor__pd_watch((gor__pd *)k->object, k->fd, (uint32_t)(k->size >> 32),
                          gor__case_dir(k), (uint32_t)k->size, n);
            continue;
        }
        if (!k->object || (k->kind != GOR_CASE_DONE && k->kind != GOR_CASE_JOIN))
            continue;
        gor__node_init(n, &s->wait, (int)i, NULL);
        if (k->kind == GOR_CASE_DONE) {
            gor__cancel_watch((gor__cancel *)k->object, n);
        } else {
            gor_task *t = (gor_task *)k->object;
            bool done;
            gor__lock(&t->lock, GOR__RANK_OBJECT);
            done = gor__au32_load_rlx(&t->state) != 0;
            if (!done)
                gor__wq_put(&t->waiters, n);
            gor__unlock(&t->lock, GOR__RANK_OBJECT);
            if (done)
                gor__wait_give_up(&s->wait, (int)i, 0);
        }
    }
}

/* Step 9. Not the case that ended the wait: its object may be gone. */
GOR__INLINE void gor__select_leave(gor__selection *s)
{
    uint32_t own = gor__locks_are_nothing() ? GOR__MX_NOBODY : gor__own_word(gor__self());
    const gor_case *k = s->cases;
    gor__node *n = s->node;
    for (size_t i = 0, end = s->shape.n; i < end; i++, k++, n++) {
        if (gor__case_is_chan(k) && (int)i != s->wait.which)
            gor__chan_leave((gor_chan *)k->object, n, own);
        else if (gor__case_is_fd(k))
            gor__pd_leave((gor__pd *)k->object, n);
        else if ((int)i == s->wait.which || !k->object)
            continue;
        else if (k->kind == GOR_CASE_DONE)
            gor__wq_leave(&((gor__cancel *)k->object)->lock, GOR__RANK_CTX, n);
        else if (k->kind == GOR_CASE_JOIN)
            gor__wq_leave(&((gor_task *)k->object)->lock, GOR__RANK_OBJECT, n);
    }
}

/* Steps 7 and 8 */
static GOR__NOINLINE void gor__select_block(gor__selection *s)
{
    uint16_t timer = s->shape.timer;
    int64_t deadline = timer == GOR__NO_CASE ? GOR_FOREVER : s->cases[timer].deadline;
    if (s->shape.fds)
        gor__fd_waits_add(1);
    if (s->shape.watched)
        gor__select_watch(s);
    gor__block(&s->wait, deadline, s->own);
    if (s->shape.fds)
        gor__fd_waits_add((uint64_t)-1);
}

/* The result of the wait that has ended, or GOR__SELECT_AGAIN. */
GOR__INLINE int gor__select_ended(gor__selection *s)
{
    int which = s->wait.which, rc = s->wait.rc;
    if (which >= 0 && gor__case_is_fd(&s->cases[which]) && rc == 0) {
        gor__select_ask_fd(&s->cases[which]);
        rc = s->cases[which].rc;
        if (rc == GOR__WAIT)
            return GOR__SELECT_AGAIN;
    }
    if (which >= 0)
        return gor__select_done(s->cases, (size_t)which, rc);
    if (which == GOR__BY_DEADLINE && rc == -ETIMEDOUT)
        return gor__select_done(s->cases, s->shape.timer, 0);
    return rc;
}

/* Steps 6 to 9, channels locked, by g, or with NULL by this thread. With channels only, g parks in
 * this frame: gor__block would call a second gor__arch_wait, and only the inner one would jump. */
GOR__INLINE int gor__select_wait(gor__selection *s, gor__g *g)
{
    gor__wait_clear(&s->wait);                     /* gor__wait_init, of g */
    gor__wait_begin(&s->wait, g, s->shape.n ? GOR__WHY_SELECT : GOR__WHY_SELECT_NONE, NULL, true);
    gor__select_queue(s);
    gor__select_release(s);
    if (GOR__LIKELY(g && !s->own && !gor__shape_is_mixed(&s->shape)))
        gor__park_here(g);
    else
        gor__select_block(s);
    gor__select_leave(s);
    return gor__select_ended(s);
}

/* Steps 3 to 9, and what fds make of them. */
GOR__INLINE int gor__select_run(gor__selection *s, gor__g *g)
{
    int result = 0;
    do {
        if (GOR__UNLIKELY(result == GOR__SELECT_AGAIN))
            result = gor__select_look_again(s);
        if (GOR__LIKELY(result == 0) && !gor__select_at_once(s, &result))
            result = gor__select_wait(s, g);
    } while (GOR__UNLIKELY(result == GOR__SELECT_AGAIN));
    return result;
}

static size_t gor__select_bytes(const gor__selection *s)
{
    return s->shape.n * (sizeof *s->node + sizeof *s->chan);
}

/* Nodes and channels of more cases than the stack holds. 0 or -ENOMEM. */
static GOR__NOINLINE int gor__select_alloc(gor__selection *s)
{
    char *memory = (char *)gor__alloc(gor__select_bytes(s));
    if (!memory)
        return -ENOMEM;
    s->node = (gor__node *)(void *)memory;
    s->chan = (gor_chan **)(void *)(memory + s->shape.n * sizeof *s->node);
    return 0;
}

/* Steps 3 to 9, for gor__arch_wait. g: who selects, NULL: this thread. */
GOR__SWITCHES static gor__answer gor__select_full(void *g, void *cases, void *own, uint64_t shape,
                                                  int64_t draw, void *back)
{
    gor__node node[GOR__SELECT_INLINE];
    gor_chan *chan[GOR__SELECT_INLINE];
    gor__m *m = gor__self();
    gor__answer answer;
    gor__selection s;
    int result = 0;
    gor__left_at(m, back);
    memcpy(&s.shape, &shape, sizeof shape);
    memcpy(&s.draw, &draw, sizeof draw);
    s.cases = (gor_case *)cases;
    s.own = (gor__cancel *)own;
    s.node = node;
    s.chan = chan;
    if (GOR__UNLIKELY(s.shape.n > GOR__SELECT_INLINE))
        result = gor__select_alloc(&s);
    if (GOR__LIKELY(result == 0))
        result = gor__select_run(&s, (gor__g *)g);
    if (s.node != node)
        gor__free(s.node, gor__select_bytes(&s));
    if (GOR__UNLIKELY(s.shape.fds))
        gor__select_forget_fds(s.cases, s.shape.n, result);
    m = gor__self();
    answer = gor__answer_from(m, result, back);
    gor__leave(m);
    return answer;
}

/* Steps 1, 2 and mostly 5: who need not wait needs no more. Nothing of this frame may be in use at
 * the end: the call of gor__arch_wait is to be a jump. */
int gor_select_n(gor_case *cases, size_t n)
{
    gor__shape shape;
    gor__draw draw;
    gor__m *m;
    gor__g *g;
    gor__cancel *own;
    uint64_t shape_word;
    int64_t draw_word;
    int result;
    if ((n && !cases) || n > UINT16_MAX)
        return -EINVAL;
    m = gor__enter();
    g = m ? gor__m_g(m) : NULL;
    own = g ? g->ctx : NULL;
    result = gor__select_look(cases, n, own, &shape, &draw);
    if (GOR__LIKELY(result == 0)) {
        if (!gor__select_alone(cases, draw.chosen, &result) &&
            !gor__select_fall_back(cases, &shape, &draw, &result)) {
            memcpy(&shape_word, &shape, sizeof shape);
            memcpy(&draw_word, &draw, sizeof draw);
            return gor__arch_wait(g, cases, own, shape_word, draw_word, gor__select_full);
        }
        if (GOR__UNLIKELY(shape.fds))
            gor__select_forget_fds(cases, n, result);
    }
    gor__leave(m);
    return result;
}

/* ==== [locks] mutex, rwmutex, cond, once ================================================== */

/* -- mutex ------------------------------------------------------------------------------------
 * What        state: LOCKED, QUEUED (somebody may wait), HEAT (somebody did lately, counted down by
 *             the unlocks since), RUN: how often the same P took it in a row, and which. Without
 *             QUEUED and HEAT a lock is a compare-and-swap, and an unlock a look and a plain store,
 *             in a window ([window]). With a full RUN the mutex is that P's own: a lock is a look
 *             and a plain store, too.
 * Fairness    Normally a woken waiter competes with who comes by, which is fast; one that has
 *             waited for 1 ms gets the mutex from the unlocker's hands. A waiter that loses keeps
 *             its age, and queues first.
 * Invariants  I1 While QUEUED, the state changes under m->lock only, but for who comes by and
 *                locks.
 *             I2 A waiter that is woken to compete tries before anything else, its deadline
 *                included: a wake-up is never lost, the next unlock sees to the next waiter.
 *             I3 The unlocker lets go of m->lock while it still holds the mutex, or while a waiter
 *                that it took is about to: so the mutex is still there.
 *             I4 While there is QUEUED or HEAT no plain lock or unlock is under way, and none
 *                begins while m->lock is held. Who sets the first of the bits holds it, and closes
 *                the windows before it looks at the state for the last time. That takes 0.6 us and
 *                disturbs the other processors; HEAT spreads it over 1000 unlocks, which are
 *                compare-and-swaps meanwhile. The bits alone would bar nothing: [window] W2.
 *             I5 Only its owner locks an owned mutex; inlined, by the M's mine, which is ended when
 *                it loses that P. Who else wants it takes it away first: sets HEAT as in I4,
 *                empties RUN, and takes HEAT off. With QUEUED or HEAT nobody comes to own it.
 *             I6 An owner is a P, not a goroutine: what it did last is seen by who holds it next.
 *                A mutex that was left owned by a P which is gone, or by one of an earlier run, is
 *                owned all the same.
 * Source      Go's sync.Mutex, whose two modes are one rule here. The plain unlock: Dice, Huang
 *             and Yang, "Asymmetric Dekker Synchronization" (2001); here the look comes first. The
 *             owner: Kawachiya, Koseki and Onodera, "Lock Reservation" (2002), for processors.
 */
enum { GOR__YOURS = 0, GOR__COMPETE = 1 };     /* a mutex waiter's rc */

/* A compare-and-swap, elided as locks are. */
GOR__INLINE bool gor__state_swap(gor__au32 *state, uint32_t old, uint32_t to)
{
    if (GOR__LIKELY(gor__au32_load_rlx(&gor__shared) == 0)) {
        if (gor__au32_load_acq(state) != old)
            return false;
        gor__au32_store_rel(state, to);
        return true;
    }
    return gor__au32_cas(state, old, to);
}

/* The last waiter leaves: nobody is queued. Under m->lock. */
static void gor__mutex_tidy_locked(gor_mutex *m)
{
    if (!gor__wq_first(&m->waiters))
        gor__au32_and(&m->state, ~GOR__MX_QUEUED);
}

/* From here on an unlock takes m->lock (QUEUED) or is a compare-and-swap (HEAT), and nobody owns m.
 * Under m->lock. I4, I5 */
static void gor__mutex_bar_locked(gor_mutex *m, uint32_t bits)
{
    if (gor__au32_or(&m->state, bits) & (GOR__MX_QUEUED | GOR__MX_HEAT))
        return;
    if (gor__windows_matter()) {                   /* asked now: gor_run may just have begun */
        gor__windows_close(&m->state);
        gor__au32_or(&m->state, bits);             /* a window may have undone it: the last one */
    }
    gor__au32_and(&m->state, ~(GOR__MX_RUN | GOR__MX_P));
}

static void gor__mutex_queue_locked(gor_mutex *m)
{
    bool alone = gor__au32_load_rlx(&gor__shared) == 0;
    gor__mutex_bar_locked(m, alone ? GOR__MX_QUEUED : GOR__MX_QUEUED | GOR__MX_HEAT);
}

GOR__INLINE bool gor__mutex_owned(uint32_t state)
{
    return (state & GOR__MX_RUN) == GOR__MX_RUN;
}

static void gor__mutex_disown(gor_mutex *m)
{
    gor__lock(&m->lock, GOR__RANK_OBJECT);
    if (gor__mutex_owned(gor__au32_load_rlx(&m->state))) {
        gor__mutex_bar_locked(m, GOR__MX_HEAT);
        gor__au32_and(&m->state, ~GOR__MX_HEAT);   /* it was 0 before */
    }
    gor__unlock(&m->lock, GOR__RANK_OBJECT);
}

/* An owner saves 10 ns each time, and who comes next pays 2 us: so it takes a long row. Checks want
 * it often. */
#if GOR_CHECK || GOR__TSAN
#define GOR__MUTEX_RUN_BEGIN (GOR__MX_RUN - 8 * GOR__MX_RUN_ONE)
#else
#define GOR__MUTEX_RUN_BEGIN 0
#endif
/* Not yet ([owned] O3): asked again after half a row. */
#define GOR__MUTEX_RUN_BACK (GOR__MX_RUN / GOR__MX_RUN_ONE / 2 * GOR__MX_RUN_ONE)

/* What a free mutex's state becomes when it is taken by a P that has `own` for one of its own. */
static uint32_t gor__mutex_taken(uint32_t s, uint32_t own)
{
    uint32_t kept = s & (GOR__MX_QUEUED | GOR__MX_HEAT);
    if (kept || own == GOR__MX_NOBODY)
        return kept | GOR__MX_LOCKED;
    if ((s ^ own) & GOR__MX_P)
        return (own & GOR__MX_P) | GOR__MUTEX_RUN_BEGIN | GOR__MX_LOCKED;
    if ((s & GOR__MX_RUN) < GOR__MX_RUN - GOR__MX_RUN_ONE)
        return (s + GOR__MX_RUN_ONE) | GOR__MX_LOCKED;
    return (gor__may_own() ? own : s - GOR__MUTEX_RUN_BACK) | GOR__MX_LOCKED;
}

/* The P's own, if it is free. */
static bool gor__mutex_take_own(gor_mutex *m, uint32_t own)
{
    bool mine;
    gor__window_open(&m->state);
    mine = gor__near_unbarred(m) && gor__au32_load_acq(&m->state) == own;
    if (mine)
        gor__au32_store_rel(&m->state, own | GOR__MX_LOCKED);
    gor__window_shut();
    return mine;
}

/* Take it if nobody has it. */
static bool gor__mutex_take(gor_mutex *m)
{
    bool alone = gor__au32_load_rlx(&gor__shared) == 0;     /* then nobody counts: [fast] wants 0 */
    uint32_t own = alone ? GOR__MX_NOBODY : gor__own_word(gor__self());
    for (;;) {
        uint32_t s = gor__au32_load_rlx(&m->state);
        if (s & GOR__MX_LOCKED)
            return false;
        if (GOR__UNLIKELY(gor__mutex_owned(s))) {
            if (s == own && gor__mutex_take_own(m, own))
                return true;
            gor__mutex_disown(m);
        } else if (gor__state_swap(&m->state, s, gor__mutex_taken(s, own))) {
            return true;
        }
    }
}

static void gor__mutex_leave(gor_mutex *m)
{
    gor__mutex_tidy_locked(m);
    gor__unlock(&m->lock, GOR__RANK_OBJECT);
}

/* Queue and wait once. True: *rc is the answer; false: woken to compete. */
static bool gor__mutex_wait(gor_mutex *m, int64_t since, bool again, int64_t deadline,
                            gor__cancel *own, enum gor__why why, int *rc)
{
    gor__wait w;
    gor__node n;
    gor__wait_init(&w, why, m, own || deadline != GOR_FOREVER);
    gor__node_init(&n, &w, 0, NULL);
    n.amount = since;
    *rc = gor__wait_in(&m->lock, &m->waiters, &n, deadline, own, again);
    if (w.which >= 0)
        return *rc == GOR__YOURS;
    gor__lock(&m->lock, GOR__RANK_OBJECT);
    gor__mutex_leave(m);
    return true;
}

/* Has one P taken it 64 times and more since the state was s? A hint: a count that has become less,
 * as it does when a row is not rewarded, says so, too. */
static bool gor__mutex_ran_on(uint32_t s, uint32_t now)
{
    uint32_t before = (s ^ now) & GOR__MX_P ? 0 : s & GOR__MX_RUN;
    return !gor__mutex_owned(s) && (now & GOR__MX_RUN) - before >= 64 * GOR__MX_RUN_ONE;
}

/* Nobody queues, so who has it most likely runs on another processor, and not for long. Stay away
 * for microseconds, a few times: it then locks and unlocks in its own cache, as often as it likes,
 * instead of sending the line to and fro at each try. While it does so again and again, stay away
 * for twice as long each time, 15 times as long in all before a try: what it does meanwhile pays
 * for the change of hands. */
#define GOR__MUTEX_TRIES 4
#define GOR__MUTEX_AWAY  (GOR__ARCH_TICKS / 2)

/* The state after it, if it was s before. */
static uint32_t gor__mutex_stay_away(const gor_mutex *m, uint32_t s)
{
    for (uint64_t away = GOR__MUTEX_AWAY;; away *= 2) {
        uint32_t before = s;
        gor__stay_away(gor__arch_ticks(), away);
        s = gor__au32_load_rlx(&m->state);
        if (away >= 8 * GOR__MUTEX_AWAY || (s & GOR__MX_QUEUED) || !gor__mutex_ran_on(before, s))
            return s;
    }
}

/* True: taken. A deadline is met to some 50 us. */
static bool gor__mutex_outlast(gor_mutex *m, int64_t deadline)
{
    uint32_t s = gor__au32_load_rlx(&m->state);
    for (int tries = 0; tries < GOR__MUTEX_TRIES && !(s & GOR__MX_QUEUED); tries++) {
        if (deadline != GOR_FOREVER && gor__os_now() >= deadline)
            return false;
        s = gor__mutex_stay_away(m, s);
        if (gor__mutex_take(m))
            return true;
    }
    return false;
}

static int gor__mutex_lock_slow(gor_mutex *m, int64_t deadline, gor__cancel *own, enum gor__why why)
{
    int64_t since = gor__os_now();
    int rc;
    if (gor__au32_load_rlx(&gor__rt.n_procs) > 1 && gor__mutex_outlast(m, deadline))
        return 0;
    for (bool again = false;; again = true) {
        gor__lock(&m->lock, GOR__RANK_OBJECT);
        gor__mutex_queue_locked(m);
        if (gor__mutex_take(m)) {
            gor__mutex_leave(m);
            return 0;
        }
        if (deadline != GOR_FOREVER && gor__os_now() >= deadline) {
            gor__mutex_leave(m);
            return -ETIMEDOUT;
        }
        if (gor__mutex_wait(m, since, again, deadline, own, why, &rc))
            return rc;
    }
}

static int gor__mutex_lock(gor_mutex *m, int64_t deadline, gor__cancel *own)
{
    if (GOR__LIKELY(gor__mutex_take(m)))
        return 0;
    return gor__mutex_lock_slow(m, deadline, own, GOR__WHY_MUTEX);
}

/* With QUEUED set. False: those who were queued have left, unlock as if there had been none. */
static bool gor__mutex_unlock_queued(gor_mutex *m)
{
    gor__node *n;
    bool hand_over;
    gor__lock(&m->lock, GOR__RANK_OBJECT);
    n = gor__wq_first(&m->waiters);
    hand_over = n && gor__os_now() - n->amount > GOR__STARVING_NS;
    n = gor__wq_take(&m->waiters, hand_over ? GOR__YOURS : GOR__COMPETE);
    if (n && !hand_over)
        gor__au32_and(&m->state, ~GOR__MX_LOCKED);
    gor__mutex_leave(m);
    if (n)
        gor__wake(n);
    return n != NULL;
}

static GOR__NOINLINE void gor__mutex_unlock_contended(gor_mutex *m, const char *here)
{
    for (;;) {
        uint32_t s = gor__au32_load_rlx(&m->state);
        uint32_t cooler = s & GOR__MX_HEAT ? s - GOR__MX_HEAT_ONE : s;
        if (!(s & GOR__MX_LOCKED))
            gor__panic_raise(here, "unlock of unlocked mutex");
        if (s & GOR__MX_QUEUED) {
            if (gor__mutex_unlock_queued(m))
                return;
        } else if (gor__state_swap(&m->state, s, cooler & ~GOR__MX_LOCKED)) {
            return;
        }
    }
}

/* Nobody waits, nor did lately: a plain store. False: nothing is done. */
GOR__INLINE bool gor__mutex_unlock_plain(const gor__m *self, gor_mutex *m)
{
    uint32_t s;
    bool mine;
    if (!self || !gor__rt.membarrier)
        return false;
    gor__window_open(&m->state);
    mine = gor__near_unbarred(m);
    s = gor__au32_load_rlx(&m->state);
    mine &= (s & (GOR__MX_LOCKED | GOR__MX_QUEUED | GOR__MX_HEAT)) == GOR__MX_LOCKED;
    if (mine)
        gor__au32_store_rel(&m->state, s - GOR__MX_LOCKED);    /* rel state */
    gor__window_shut();
    return mine;
}

GOR__INLINE void gor__mutex_unlock(gor_mutex *m, const char *here)
{
    if (GOR__UNLIKELY(!gor__mutex_unlock_plain(gor__self(), m)))
        gor__mutex_unlock_contended(m, here);
}

int gor_mutex_lock_until(gor_mutex *m, int64_t deadline)
{
    int rc;
    gor__enter();
    rc = gor__own_ctx_err();
    if (GOR__LIKELY(rc == 0))
        rc = gor__mutex_lock(m, deadline, gor__own_ctx());
    gor__leave(gor__self());
    return rc;
}

int (gor_mutex_lock)(gor_mutex *m)
{
    gor__m *self = gor__enter();
    int rc = 0;
    if (GOR__LIKELY(self != NULL))
        gor__mine_begin(self);
    if (GOR__LIKELY(self && !gor__m_g(self)->ctx && gor__mutex_take(m))) {
        gor__leave(self);
        return 0;
    }
    rc = gor__own_ctx_err();
    if (rc == 0)
        rc = gor__mutex_lock(m, GOR_FOREVER, gor__own_ctx());
    gor__leave(gor__self());
    return rc;
}

bool gor_mutex_try_lock(gor_mutex *m)
{
    gor__m *self = gor__enter();
    bool taken = gor__mutex_take(m);
    gor__leave(self);
    return taken;
}

void gor__mutex_unlock_at(gor_mutex *m, const char *here)
{
    gor__m *self = gor__enter();
    gor__mutex_unlock(m, here);
    gor__leave(self);
}

void (gor_mutex_unlock)(gor_mutex *m) { gor__mutex_unlock_at(m, "?"); }

/* -- rwmutex ----------------------------------------------------------------------------------
 * What        state: the number of readers, or WRITER; QUEUED: somebody may wait. Without waiters
 *             each call is one compare-and-swap. Readers that meet on that word spread: from then
 *             on each processor counts its own, in a slot, by a plain store in a window
 *             ([window]). Who wants to write, or to wait, gathers them into the state first.
 * Fairness    One queue, granted in order: a writer waits for the readers before it, the readers
 *             after it wait for the writer. Nobody is starved. node.amount: 1 a writer, 0 a reader.
 * Invariants  I1 While QUEUED, the state changes under m->lock only.
 *             I2 The unlocker lets go of m->lock while somebody still holds the rwmutex: itself, or
 *                a waiter that it let in and is about to wake. So the rwmutex is still there.
 *             I3 Slots hold readers of m only while m->spread is m; SPREAD is in the state as long,
 *                and longer, and bars writers. Both change under m->lock, never while QUEUED. The
 *                readers are those of the state and of all slots: who leaves takes off one that is
 *                counted, not necessarily his own; if his processor's slot has none, nor the state,
 *                they are gathered.
 *             I4 A slot that has readers belongs to one mutex. Those of one that was left locked
 *                for good stay, until another spreads at the same address. A copy of an idle mutex
 *                is not spread: m->spread is not its own address. Once SPREAD goes that goes too:
 *                the copy may be copied back.
 *             I5 While threads that are no Ms read, m is not spread: outside counts them, from
 *                before they lock, to before they unlock. So the slots, which end with the runtime,
 *                never hold more readers than there are goroutines that read.
 * Cost        To gather takes microseconds. For 9 times as long the readers do not spread again, so
 *             writers are slowed down by a tenth at most.
 * Source      Dice and Kogan, "BRAVO: Biased Locking for Reader-Writer Locks" (2019). Here there
 *             are counts for each processor instead of a table of all readers, and no fence.
 */
/* What holding it adds to the state. */
GOR__INLINE uint32_t gor__rw_one(bool write) { return write ? GOR__RW_WRITER : 1; }

GOR__INLINE bool gor__rw_fits(uint32_t state, bool write)
{
    return write ? (state & ~GOR__RW_QUEUED) == 0 : (state & GOR__RW_WRITER) == 0;
}

GOR__INLINE bool gor__rw_held(uint32_t state, bool write)
{
    return (state & (write ? GOR__RW_WRITER : GOR__RW_WRITER - 1)) != 0;
}

/* Count one reader more or less on this processor, if m is spread. False: not here. */
static bool gor__rw_count(gor_rwmutex *m, bool more)
{
    gor__m *self = gor__self();
    bool done;
    if (!self || !gor__rt.membarrier || gor__aptr_load_rlx(&m->spread) != m)
        return false;
    gor__window_open(&m->state);
    done = gor__aptr_load_acq(&m->spread) == m &&  /* acq rw.spread: the writers before */
           gor__near_count(&gor__m_p(self)->near, m, more);
    gor__window_shut();
    return done;
}

/* The readers of m in the slots, which become empty. Nobody is in a window at m. */
static uint32_t gor__rw_take_slots(const gor_rwmutex *m)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < gor__au32_load_sc(&gor__rt.n_allp); i++) {
        gor__au64 *slot = gor__near_slot(&gor__p_at(i)->near, m);
        uint64_t v = gor__au64_load_acq(slot);     /* acq slot: what they did */
        if ((v & 0xffff) == 0 || v >> 16 << 16 != (uint64_t)(uintptr_t)m << 16)
            continue;
        n += (uint32_t)(v & 0xffff);
        gor__au64_store_rel(slot, 0);
    }
    return n;
}

/* A reader that is no goroutine comes, or goes: I5. Then it swaps the state, and so sees SPREAD:
 * a look alone might come before this. */
static void gor__rw_outside(gor_rwmutex *m, bool more)
{
    uint32_t n;
    do
        n = gor__au32_load_rlx(&m->outside);
    while ((more || n > 0) && !gor__au32_cas(&m->outside, n, more ? n + 1 : n - 1));
}

/* Readers have met on the state. */
static GOR__NOINLINE void gor__rw_spread(gor_rwmutex *m)
{
    uint32_t s;
    if (!gor__windows_matter() || (uint64_t)(uintptr_t)m >> 48 != 0 ||
        gor__au32_load_rlx(&m->outside) != 0 ||
        gor__os_now() < gor__ai64_load_rlx(&m->calm))
        return;
    gor__lock(&m->lock, GOR__RANK_OBJECT);
    do
        s = gor__au32_load_rlx(&m->state);
    while (!(s & (GOR__RW_WRITER | GOR__RW_QUEUED)) &&
           !gor__au32_cas(&m->state, s, s | GOR__RW_SPREAD));
    if (!(s & (GOR__RW_WRITER | GOR__RW_QUEUED)) && gor__aptr_load_rlx(&m->spread) != m) {
        if (gor__au32_load_sc(&m->outside) != 0) {     /* it may not have seen SPREAD */
            gor__au32_and(&m->state, ~GOR__RW_SPREAD);
        } else {
            gor__rw_take_slots(m);                 /* I4: of another life */
            gor__aptr_store_rel(&m->spread, m);    /* rel rw.spread */
        }
    }
    gor__unlock(&m->lock, GOR__RANK_OBJECT);
}

/* All readers into the state, and no SPREAD. Under the lock. */
static void gor__rw_gather_locked(gor_rwmutex *m)
{
    int64_t begin = gor__os_now();
    bool spread = gor__aptr_load_rlx(&m->spread) == m;
    uint32_t s, n = 0;
    gor__aptr_store_sc(&m->spread, NULL);          /* before we ask whether there are windows */
    if (spread) {
        if (gor__windows_matter())
            gor__windows_close(&m->state);
        n = gor__rw_take_slots(m);
    }
    do
        s = gor__au32_load_rlx(&m->state);
    while (!gor__au32_cas(&m->state, s, (s & ~GOR__RW_SPREAD) + n));
    gor__ai64_store_rlx(&m->calm, gor__os_now() + 9 * (gor__os_now() - begin));
}

/* Lock or unlock without the lock: a reader in its processor's slot, if m is spread; else in the
 * state, if nobody waits and it fits, or, to unlock, it is held so. */
GOR__INLINE bool gor__rw_change(gor_rwmutex *m, bool write, bool lock)
{
    uint32_t one = gor__rw_one(write);
    for (;;) {
        uint32_t s = gor__au32_load_rlx(&m->state);
        if (!write && gor__rw_count(m, lock))
            return true;
        if ((s & GOR__RW_QUEUED) || !(lock ? gor__rw_fits(s, write) : gor__rw_held(s, write)))
            return false;
        if (lock && !write && (s & GOR__RW_SPREAD) && !gor__self())
            return false;                          /* I5 */
        if (gor__state_swap(&m->state, s, lock ? s + one : s - one))
            return true;
        if (lock && !write)
            gor__rw_spread(m);
    }
}

/* Let in whoever is first in the queue, as long as it fits *state, which is the state to be.
 * QUEUED, under the lock; wake them after it. */
static gor__node *gor__rw_admit_locked(gor_rwmutex *m, uint32_t *state)
{
    gor__node *list = NULL, **at = &list, *n;
    while ((n = gor__wq_first(&m->waiters)) != NULL && gor__rw_fits(*state, n->amount != 0)) {
        gor__wq_remove(&m->waiters, n);
        if (!gor__wait_claim(n->wait))             /* it has given up meanwhile */
            continue;
        *state += gor__rw_one(n->amount != 0);
        n->wait->which = n->index;
        n->wait->rc = 0;
        n->next = NULL;
        *at = n;
        at = &n->next;
    }
    if (!gor__wq_first(&m->waiters))
        *state &= ~GOR__RW_QUEUED;
    return list;
}

/* I1: from here on the lock is what to hold. */
static uint32_t gor__rw_queue_locked(gor_rwmutex *m)
{
    for (;;) {
        uint32_t s = gor__au32_load_rlx(&m->state);
        if (s & GOR__RW_SPREAD)
            gor__rw_gather_locked(m);
        else if ((s & GOR__RW_QUEUED) || gor__state_swap(&m->state, s, s | GOR__RW_QUEUED))
            return s | GOR__RW_QUEUED;
    }
}

static void gor__rw_admit(gor_rwmutex *m)
{
    uint32_t s = gor__rw_queue_locked(m);
    gor__node *list = gor__rw_admit_locked(m, &s);
    gor__au32_store_rel(&m->state, s);
    gor__unlock(&m->lock, GOR__RANK_OBJECT);
    gor__wake_all(list);
}

/* Take it, if nobody is before us. Under the lock. False: QUEUED, for who will wait. */
static bool gor__rw_take_locked(gor_rwmutex *m, bool write)
{
    uint32_t s = gor__rw_queue_locked(m);
    if (gor__wq_first(&m->waiters) || !gor__rw_fits(s, write))
        return false;
    gor__au32_store_rel(&m->state, (s & ~GOR__RW_QUEUED) + gor__rw_one(write));
    return true;
}

static GOR__NOINLINE int gor__rw_lock_slow(gor_rwmutex *m, bool write)
{
    int rc = 0;
    gor__lock(&m->lock, GOR__RANK_OBJECT);
    if (gor__rw_take_locked(m, write))
        gor__unlock(&m->lock, GOR__RANK_OBJECT);
    else
        rc = gor__wait_simple(&m->lock, &m->waiters, NULL, write, GOR_FOREVER,
                              write ? GOR__WHY_WLOCK : GOR__WHY_RLOCK, m);
    if (rc != 0) {                                 /* who waited behind us may go now */
        gor__lock(&m->lock, GOR__RANK_OBJECT);
        gor__rw_admit(m);
    }
    return rc;
}

static int gor__rw_lock(gor_rwmutex *m, bool write, bool met)
{
    gor__m *self = gor__enter();
    int rc;
    if (self)
        gor__mine_begin(self);
    else if (!write)
        gor__rw_outside(m, true);
    if (met || gor__stress_hit(8))
        gor__rw_spread(m);
    rc = gor__own_ctx_err();
    if (rc == 0 && !gor__rw_change(m, write, true))
        rc = gor__rw_lock_slow(m, write);
    gor__leave(gor__self());
    return rc;
}

/* QUEUED does not say yet that somebody waits, nor SPREAD that somebody reads. */
static bool gor__rw_try_slow(gor_rwmutex *m, bool write)
{
    bool taken;
    gor__lock(&m->lock, GOR__RANK_OBJECT);
    taken = gor__rw_take_locked(m, write);
    if (taken)
        gor__unlock(&m->lock, GOR__RANK_OBJECT);
    else
        gor__rw_admit(m);
    return taken;
}

static bool gor__rw_try(gor_rwmutex *m, bool write)
{
    gor__m *self = gor__enter();
    bool outside = !self && !write, taken;
    if (outside)
        gor__rw_outside(m, true);
    taken = gor__rw_change(m, write, true) ||
            ((outside || (gor__au32_load_rlx(&m->state) & (GOR__RW_QUEUED | GOR__RW_SPREAD))) &&
             gor__rw_try_slow(m, write));
    if (outside && !taken)
        gor__rw_outside(m, false);
    gor__leave(self);
    return taken;
}

/* QUEUED, under the lock: release *state, which is the state to be, and let others in. True: done,
 * and *list is to be woken. False: all who waited have given up, and nothing is released: I2. */
static bool gor__rw_release_locked(gor_rwmutex *m, bool write, uint32_t *state, gor__node **list)
{
    *state -= gor__rw_one(write);
    *list = gor__rw_admit_locked(m, state);
    if (*list || (*state & GOR__RW_QUEUED))        /* so the other holders need the lock as well */
        return true;
    *state += gor__rw_one(write);
    return false;
}

/* With waiters. False: there are none left, nothing is done. */
static bool gor__rw_unlock_slow(gor_rwmutex *m, bool write, const char *here)
{
    gor__node *list = NULL;
    bool held, done = false;
    uint32_t s;
    gor__lock(&m->lock, GOR__RANK_OBJECT);
    s = gor__rw_queue_locked(m);
    held = gor__rw_held(s, write);
    if (held)
        done = gor__rw_release_locked(m, write, &s, &list);
    else if (!gor__wq_first(&m->waiters))
        s &= ~GOR__RW_QUEUED;
    gor__au32_store_rel(&m->state, s);
    gor__unlock(&m->lock, GOR__RANK_OBJECT);
    gor__wake_all(list);
    if (!held)
        gor__panic_raise(here, write ? "unlock of rwmutex that is not locked for writing"
                                     : "runlock of rwmutex that is not locked for reading");
    return done;
}

static void gor__rw_unlock(gor_rwmutex *m, bool write, const char *here)
{
    gor__m *self = gor__enter();
    if (!self && !write)
        gor__rw_outside(m, false);
    while (!gor__rw_change(m, write, false) && !gor__rw_unlock_slow(m, write, here))
        ;
    gor__leave(self);
}

int  (gor_rwmutex_rlock)(gor_rwmutex *m) { return gor__rw_lock(m, false, false); }
int  gor__rwmutex_rlock_met(gor_rwmutex *m) { return gor__rw_lock(m, false, true); }
int  (gor_rwmutex_lock)(gor_rwmutex *m) { return gor__rw_lock(m, true, false); }
bool gor_rwmutex_try_rlock(gor_rwmutex *m) { return gor__rw_try(m, false); }
bool gor_rwmutex_try_lock(gor_rwmutex *m) { return gor__rw_try(m, true); }
void gor__rwmutex_runlock_at(gor_rwmutex *m, const char *here) { gor__rw_unlock(m, false, here); }
void gor__rwmutex_unlock_at(gor_rwmutex *m, const char *here) { gor__rw_unlock(m, true, here); }
void (gor_rwmutex_runlock)(gor_rwmutex *m) { gor__rw_unlock(m, false, "?"); }
void (gor_rwmutex_unlock)(gor_rwmutex *m) { gor__rw_unlock(m, true, "?"); }

/* -- cond ---------------------------------------------------------------------------------- */
int gor_cond_wait_until(gor_cond *c, gor_mutex *m, int64_t deadline)
{
    gor__cancel *own;
    gor__wait w;
    gor__node n;
    int rc;
    gor__enter();
    own = gor__own_ctx();
    if (!(gor__au32_load_rlx(&m->state) & GOR__MX_LOCKED))
        gor__panic_raise("gor_cond_wait", "wait with an unlocked mutex");
    gor__lock(&c->lock, GOR__RANK_OBJECT);
    gor__wait_init(&w, GOR__WHY_COND, c, own || deadline != GOR_FOREVER);
    gor__node_init(&n, &w, 0, NULL);
    gor__wq_put(&c->waiters, &n);                  /* before the mutex is free: no signal is lost */
    gor__unlock(&c->lock, GOR__RANK_OBJECT);
    gor__mutex_unlock(m, "gor_cond_wait");
    rc = gor__block(&w, deadline, own);
    if (w.which < 0)
        gor__wq_leave(&c->lock, GOR__RANK_OBJECT, &n);
    gor__mutex_lock(m, GOR_FOREVER, NULL);
    gor__leave(gor__self());
    return rc;
}

int gor_cond_wait(gor_cond *c, gor_mutex *m) { return gor_cond_wait_until(c, m, GOR_FOREVER); }

static void gor__cond_wake(gor_cond *c, bool all)
{
    gor__m *self = gor__enter();
    gor__node *list;
    gor__lock(&c->lock, GOR__RANK_OBJECT);
    list = all ? gor__wq_take_all(&c->waiters, 0) : gor__wq_take(&c->waiters, 0);
    if (list && !all)
        list->next = NULL;
    gor__unlock(&c->lock, GOR__RANK_OBJECT);
    gor__wake_all(list);
    gor__leave(self);
}

void gor_cond_signal(gor_cond *c) { gor__cond_wake(c, false); }
void gor_cond_broadcast(gor_cond *c) { gor__cond_wake(c, true); }

/* -- once ---------------------------------------------------------------------------------- */

/* fn has returned, or its goroutine is leaving by panic or gor_exit: in any case it has run. */
static void gor__once_finish(void *p)
{
    gor_once *o = (gor_once *)p;
    gor__au32_store_rel(&o->done, 1);              /* rel once.done */
    gor_mutex_unlock(&o->mutex);
}

static int gor__once_run(gor_once *o, void (*fn)(void *), void *arg)
{
    gor__m *m = gor__enter();
    gor__defer d;
    int rc = m ? gor__defer_push(gor__m_g(m), &d, gor__once_finish, o) : 0;
    gor__leave(m);
    if (rc != 0) {
        gor_mutex_unlock(&o->mutex);
        return rc;
    }
    fn(arg);
    if (m)
        gor__defer_remove(gor__running(), &d);
    gor__once_finish(o);
    return 0;
}

/* As gor_mutex_lock, but a report says what is waited for. */
static int gor__once_lock(gor_once *o)
{
    int rc;
    gor__enter();
    rc = gor__own_ctx_err();
    if (rc == 0 && !gor__mutex_take(&o->mutex))
        rc = gor__mutex_lock_slow(&o->mutex, GOR_FOREVER, gor__own_ctx(), GOR__WHY_ONCE);
    gor__leave(gor__self());
    return rc;
}

int gor_once_do(gor_once *o, void (*fn)(void *), void *arg)
{
    int rc;
    if (gor__au32_load_acq(&o->done))              /* acq once.done: what fn did */
        return 0;
    rc = gor_mutex_try_lock(&o->mutex) ? 0 : gor__once_lock(o);
    if (rc != 0)
        return rc;
    if (!gor__au32_load_rlx(&o->done))
        return gor__once_run(o, fn, arg);
    gor_mutex_unlock(&o->mutex);
    return 0;
}

/* ==== [counters] wait group, semaphore, barrier ==============================================
 * Each is a number and a queue under one small lock, which for a wait group is a bit of the number.
 * Whoever makes the number right takes the
 * waiters out under the lock, and wakes them after it: they may free the object.
 */

/* -- wait group -------------------------------------------------------------------------------
 * What        state: four times the count; QUEUED: somebody may wait; LOCKED: somebody is at the
 *             queue. Adding is one compare-and-swap, and so is each that locks.
 * Invariants  I1 While LOCKED nobody else changes state: an unlock is a plain store.
 *             I2 Who is about to wait locks and sets QUEUED in one, when the count is not 0. The
 *                add that ends a wait locks and makes the count 0 in one; when it unlocks, all of
 *                state becomes 0. So who finds that may return at once: whoever made the count 0
 *                has let go of the wait group, and it may be freed.
 */
enum { GOR__WG_QUEUED = 1, GOR__WG_LOCKED = 2, GOR__WG_ONE = 4 };

static GOR__NOINLINE uint64_t gor__wg_await_unlock(gor_wg *wg)
{
    uint64_t s;
    for (int i = 0; (s = gor__au64_load_acq(&wg->state)) & GOR__WG_LOCKED; i++)   /* acq wg.state */
        gor__spin_again(i);
    return s;
}

/* What state is while nobody is at the queue. */
GOR__INLINE uint64_t gor__wg_state(gor_wg *wg)
{
    uint64_t s = gor__au64_load_acq(&wg->state);   /* acq wg.state: the dones before ours */
    return GOR__LIKELY(!(s & GOR__WG_LOCKED)) ? s : gor__wg_await_unlock(wg);
}

/* Change state from `old`. Elided as locks are. */
GOR__INLINE bool gor__wg_swap(gor_wg *wg, uint64_t old, uint64_t to)
{
    if (GOR__LIKELY(gor__au32_load_rlx(&gor__shared) == 0)) {
        gor__au64_store_rel(&wg->state, to);
        return true;
    }
    return gor__au64_cas(&wg->state, old, to);     /* rel wg.state: what was done before it */
}

GOR__INLINE bool gor__wg_lock(gor_wg *wg, uint64_t old, uint64_t to)
{
    if (!gor__wg_swap(wg, old, to | GOR__WG_LOCKED))
        return false;
    gor__rank_push(GOR__RANK_OBJECT);
    return true;
}

GOR__INLINE void gor__wg_unlock(gor_wg *wg, uint64_t to)
{
    gor__rank_pop(GOR__RANK_OBJECT);
    gor__au64_store_rel(&wg->state, to);           /* rel wg.state; I1 */
}

/* The count becomes 0 while somebody waits. False: it does not any more. */
static GOR__NOINLINE bool gor__wg_zero(gor_wg *wg, uint64_t old)
{
    gor__node *list;
    if (!gor__wg_lock(wg, old, 0))
        return false;
    list = gor__wq_take_all(&wg->waiters, 0);
    gor__wg_unlock(wg, 0);
    gor__wake_all(list);
    return true;
}

GOR__INLINE void gor__wg_add(gor_wg *wg, int64_t n, const char *here)
{
    uint64_t old, to;
    bool done;
    do {
        old = gor__wg_state(wg);
        if (GOR__UNLIKELY(n > 0 ? (int64_t)old / GOR__WG_ONE > INT64_MAX / GOR__WG_ONE - n
                                : (int64_t)old / GOR__WG_ONE < INT64_MIN / GOR__WG_ONE - n))
            gor__panic_raise(here, n > 0 ? "wait group counter overflow"
                                         : "negative wait group counter");
        to = old + GOR__WG_ONE * (uint64_t)n;
        done = to == GOR__WG_QUEUED ? gor__wg_zero(wg, old) : gor__wg_swap(wg, old, to);
    } while (GOR__UNLIKELY(!done));
    if (GOR__UNLIKELY((int64_t)to < 0))
        gor__panic_raise(here, "negative wait group counter");
}

void gor__wg_add_at(gor_wg *wg, int64_t n, const char *here)
{
    gor__m *m = gor__enter();
    gor__wg_add(wg, n, here);
    gor__leave(m);
}

void (gor_wg_add)(gor_wg *wg, int64_t n) { gor__wg_add_at(wg, n, "?"); }
void (gor_wg_done)(gor_wg *wg) { gor__wg_add_at(wg, -1, "?"); }

/* A wait that was ended elsewhere leaves the queue. */
static void gor__wg_leave(gor_wg *wg, gor__node *n)
{
    uint64_t s;
    do
        s = gor__wg_state(wg);
    while (!gor__wg_lock(wg, s, s));
    gor__wq_leave_locked(n);
    gor__wg_unlock(wg, s);
}

/* Wait. wg is locked, s what state is to be after it. */
GOR__SWITCHES static int gor__wg_queue(gor_wg *wg, uint64_t s, int64_t deadline)
{
    gor__g *g = gor__this_g();
    gor__cancel *own = g ? g->ctx : NULL;
    bool many = own || deadline != GOR_FOREVER;
    gor__wait w;
    gor__node n;
    if (GOR__UNLIKELY(deadline != GOR_FOREVER && gor__is_past(deadline))) {
        gor__wg_unlock(wg, s);
        return -ETIMEDOUT;
    }
    gor__wait_queue(&w, &n, g, &wg->waiters, NULL, 0, many, GOR__WHY_WG, wg);
    gor__wg_unlock(wg, s);
    if (GOR__LIKELY(!many && g)) {
        gor__park_here(g);
        return w.rc;
    }
    gor__block(&w, deadline, own);
    if (w.which < 0)
        gor__wg_leave(wg, &n);
    return w.rc;
}

static int gor__wg_wait(gor_wg *wg, int64_t deadline)
{
    uint64_t s;
    do {
        s = gor__wg_state(wg);
        if (s == 0)
            return 0;                              /* I2 */
    } while (!gor__wg_lock(wg, s, s | GOR__WG_QUEUED));
    return gor__wg_queue(wg, s | GOR__WG_QUEUED, deadline);
}

int gor_wg_wait_until(gor_wg *wg, int64_t deadline)
{
    int rc;
    gor__enter();
    rc = gor__own_ctx_err();
    if (rc == 0)
        rc = gor__wg_wait(wg, deadline);
    gor__leave(gor__self());
    return rc;
}

int gor_wg_wait(gor_wg *wg) { return gor_wg_wait_until(wg, GOR_FOREVER); }

static void gor__wg_done(void *wg) { gor__wg_add((gor_wg *)wg, -1, "gor_wg_go"); }

int gor__wg_go_at(gor_wg *wg, void (*fn)(void *), void *arg, const char *site)
{
    gor__m *m = gor__enter();
    gor__spec s = { fn, arg, site, NULL, 0, NULL, gor__wg_done, wg, NULL };
    int rc;
    gor__wg_add(wg, 1, "gor_wg_go");
    rc = gor__spawn_here(m, &s);
    if (rc != 0)
        gor__wg_add(wg, -1, "gor_wg_go");
    gor__leave(gor__self());
    return rc;
}

int (gor_wg_go)(gor_wg *wg, void (*fn)(void *), void *arg)
{
    return gor__wg_go_at(wg, fn, arg, "?\0?");
}

/* -- semaphore ----------------------------------------------------------------------------- */

/* Serve the queue in order, as far as the permits go; unlock; wake. node.amount: what it wants. */
static void gor__sem_serve(gor_sem *s)
{
    gor__node *list = NULL, **at = &list, *n;
    while ((n = gor__wq_first(&s->waiters)) != NULL && n->amount <= s->permits) {
        int64_t amount = n->amount;
        gor__wq_remove(&s->waiters, n);
        if (!gor__wait_claim(n->wait))
            continue;
        s->permits -= amount;
        n->wait->which = n->index;
        n->wait->rc = 0;
        n->next = NULL;
        *at = n;
        at = &n->next;
    }
    gor__unlock(&s->lock, GOR__RANK_OBJECT);
    gor__wake_all(list);
}

static bool gor__sem_take_locked(gor_sem *s, int64_t n)
{
    if (gor__wq_first(&s->waiters) || s->permits < n)
        return false;
    s->permits -= n;
    return true;
}

static int gor__sem_acquire(gor_sem *s, int64_t n, int64_t deadline)
{
    int rc;
    gor__lock(&s->lock, GOR__RANK_OBJECT);
    if (gor__sem_take_locked(s, n)) {
        gor__unlock(&s->lock, GOR__RANK_OBJECT);
        return 0;
    }
    rc = gor__wait_simple(&s->lock, &s->waiters, NULL, n, deadline, GOR__WHY_SEM, s);
    if (rc != 0) {                                 /* those behind us may have room now */
        gor__lock(&s->lock, GOR__RANK_OBJECT);
        gor__sem_serve(s);
    }
    return rc;
}

int gor_sem_acquire_until(gor_sem *s, int64_t n, int64_t deadline)
{
    int rc;
    if (n < 0)
        return -EINVAL;
    gor__enter();
    rc = gor__own_ctx_err();
    if (rc == 0)
        rc = gor__sem_acquire(s, n, deadline);
    gor__leave(gor__self());
    return rc;
}

int gor_sem_acquire(gor_sem *s, int64_t n) { return gor_sem_acquire_until(s, n, GOR_FOREVER); }

int gor_sem_try_acquire(gor_sem *s, int64_t n)
{
    gor__m *m;
    bool taken;
    if (n < 0)
        return -EINVAL;
    m = gor__enter();
    gor__lock(&s->lock, GOR__RANK_OBJECT);
    taken = gor__sem_take_locked(s, n);
    gor__unlock(&s->lock, GOR__RANK_OBJECT);
    gor__leave(m);
    return taken ? 0 : -EAGAIN;
}

int gor_sem_release(gor_sem *s, int64_t n)
{
    gor__m *m;
    int rc = 0;
    if (n < 0)
        return -EINVAL;
    m = gor__enter();
    gor__lock(&s->lock, GOR__RANK_OBJECT);
    if (s->permits > INT64_MAX - n) {
        rc = -EOVERFLOW;
        gor__unlock(&s->lock, GOR__RANK_OBJECT);
    } else {
        s->permits += n;
        gor__sem_serve(s);
    }
    gor__leave(m);
    return rc;
}

/* -- barrier ------------------------------------------------------------------------------- */
bool gor_barrier_wait(gor_barrier *b)
{
    gor__node *list = NULL;
    bool last;
    gor__enter();
    gor__lock(&b->lock, GOR__RANK_OBJECT);
    last = b->arrived + 1 >= b->needed;
    if (last) {
        b->arrived = 0;
        list = gor__wq_take_all(&b->waiters, 0);
        gor__unlock(&b->lock, GOR__RANK_OBJECT);
        gor__wake_all(list);
    } else {
        gor__wait w;
        gor__node n;
        b->arrived++;
        gor__wait_init(&w, GOR__WHY_BARRIER, b, false);
        gor__node_init(&n, &w, 0, NULL);
        gor__wait_in(&b->lock, &b->waiters, &n, GOR_FOREVER, NULL, false);
    }
    gor__leave(gor__self());
    return last;
}

/* ==== [time] sleeping, timers, tickers, rate limits ======================================= */

int64_t gor_now(void) { return gor__os_now(); }

/* The timer of a doze fires: nothing else ends that. t is gone once g is ready. */
static bool gor__doze_fire(gor_timer *t, int64_t now)
{
    gor__g *g = (gor__g *)t->arg;
    (void)now;
    gor__aptr_store_rel(&t->owner, NULL);
    gor__ready(g);
    return true;
}

/* A sleep of a goroutine that has no own context, for gor__arch_wait: with as little on its stack
 * as can be, for a crowd that sleeps is out of the caches when it wakes. until: not past, and not
 * GOR_FOREVER: who sleeps for ever needs no timer. */
GOR__SWITCHES static gor__answer gor__doze(void *goroutine, void *b, void *c, uint64_t d,
                                           int64_t until, void *back)
{
    gor__g *g = (gor__g *)goroutine;
    gor__answer answer;
    gor_timer timer;
    int rc;
    (void)b, (void)c, (void)d;
    gor__left_at(gor__self(), back);
    gor__timer_for_wait(&timer, until, gor__doze_fire, g);
    gor__g_waits(g, GOR__WHY_SLEEP, NULL);
    rc = gor__timer_begin(&timer, GOR__UNKNOWN_NS);
    if (GOR__LIKELY(rc == 0))
        gor__park_here(g);
    else
        gor__au32_store_rel(&g->state, GOR__RUNNING);
    if (GOR_CHECK)
        gor__check(!gor__aptr_load_rlx(&timer.owner), "what ends a doze is its timer");
    answer = gor__answer_from(gor__self(), rc, back);
    gor__leave(gor__self());
    return answer;
}

/* The same of anybody, in a call, which it ends. */
static GOR__NOINLINE int gor__sleep_any(int64_t t, bool has_come)
{
    int rc = gor__own_ctx_err();
    if (rc == 0 && !has_come) {
        rc = gor__wait_for_nothing(t, GOR__WHY_SLEEP);
        rc = rc == -ETIMEDOUT && gor__own_ctx_err() == 0 ? 0 : rc;
        if (rc == -ETIMEDOUT && gor__os_now() >= t)
            rc = 0;                                /* both at once: it has slept */
    }
    gor__leave(gor__self());
    return rc;
}

/* Until t. has_come: it is past, and there is nothing to wait for. */
GOR__INLINE int gor__sleep(int64_t t, bool has_come)
{
    gor__m *m = gor__enter();
    gor__g *g = m ? gor__m_g(m) : NULL;
    if (GOR__LIKELY(g && !g->ctx && !has_come && t != GOR_FOREVER))
        return gor__arch_wait(g, NULL, NULL, 0, t, gor__doze);
    return gor__sleep_any(t, has_come);
}

int gor_sleep_until(int64_t t) { return gor__sleep(t, gor__is_past(t)); }

int gor_sleep(int64_t ns) { return gor__sleep(gor__due_in(ns), ns <= 0); }

/* -- timers: what fires runs under a lock ([timer] I3) ---------------------------------- */

typedef struct gor__timer_call { void (*fn)(void *); void *arg; } gor__timer_call;

/* Who swaps the ticket out decides: the goroutine, and fn runs, or gor__timer_revoke. */
static void gor__timer_run(void *p)
{
    gor__timer_call *call = (gor__timer_call *)p;
    gor__g *g = gor__running();
    uint64_t id = gor__au64_load_rlx(&g->id);
    if (gor__au64_cas(&g->ticket, id, 0))
        call->fn(call->arg);
}

/* Take back a run that has been started and has not begun. A ticker's epoch stays 0, which no run
 * of the runtime has: what its `run` says is no G. Another thread may be starting t: epoch, read
 * first, tells that `run` is of this runtime; if run_id is another's, it is not its ticket. */
GOR__INLINE bool gor__timer_revoke(gor_timer *t)
{
    uint32_t epoch = gor__au32_load_acq(&t->epoch);                             /* acq t.epoch */
    bool ran = epoch != 0 && epoch == (uint32_t)gor__rt.epoch;
    gor__g *g = ran ? (gor__g *)gor__aptr_load_rlx(&t->run) : NULL;
    return g && gor__au64_cas(&g->ticket, gor__au64_load_rlx(&t->u.run_id), 0);
}

/* True: t was pending, or had fired and its run had not begun; now neither. */
GOR__INLINE bool gor__timer_cancel(gor_timer *t)
{
    return gor__timer_end(t) || gor__timer_revoke(t);
}

static GOR__NOINLINE bool gor__timer_claim_shared(gor_timer *t)
{
    bool pending = false;
    do
        pending |= gor__timer_cancel(t);
    while (!gor__aptr_cas(&t->owner, NULL, &gor__timer_busy));
    pending |= gor__timer_revoke(t);               /* started and fired before the swap */
    return pending;
}

/* Stop t, and keep others from setting it until gor__timer_set. True: it was pending. */
GOR__INLINE bool gor__timer_claim(gor_timer *t)
{
    return gor__locks_are_nothing() ? gor__timer_cancel(t) : gor__timer_claim_shared(t);
}

/* A function of the user's: in a goroutine of its own; without memory for one, later. */
static bool gor__timer_fire_go(gor_timer *t, int64_t now)
{
    gor__timer_call call = { t->fn, t->arg };
    gor__m *m = gor__self();
    gor__g *g;
    uint64_t id;
    gor__spec s = { gor__timer_run, NULL, "timer\0", &call, sizeof call, NULL, NULL, NULL, NULL };
    (void)now;
    if (gor__g_make(m, &s, &g) != 0)
        return false;
    gor__count_start(m);
    id = gor__au64_load_rlx(&g->id);
    gor__aptr_store_rlx(&t->run, g);
    gor__au64_store_rlx(&t->u.run_id, id);
    gor__au32_store_rel(&t->epoch, (uint32_t)gor__rt.epoch);       /* rel t.epoch */
    gor__au64_store_rlx(&g->ticket, id);
    gor__aptr_store_rel(&t->owner, NULL);
    gor__ready_last(m, g);
    return true;
}

static bool gor__timer_fire_send(gor_timer *t, int64_t now)
{
    gor__chan_try((gor_chan *)t->arg, true, &now);
    return true;
}

GOR__STATIC_ASSERT(GOR__UNDATED_NS > GOR__FAR_NS, "of what is undated nobody is told: [idle] I4");

/* Start t, ns from now, on p, the caller's, if it is far off, and that locks nothing, and asks no
 * clock. Nobody is told, even if it is the first. */
GOR__INLINE bool gor__timer_begin_undated(gor__p *p, gor_timer *t, int64_t ns)
{
    bool soonest;
    return ns >= GOR__UNDATED_NS && gor__timer_add_near(p, t, ns, &soonest);
}

/* Start t, which the caller has claimed, ns from now. 0, -ENOMEM, -ESRCH. */
GOR__INLINE int gor__timer_set(gor_timer *t, int64_t ns)
{
    gor__p *p = gor__p_of(gor__self());
    int rc = gor__is_on() ? 0 : -ESRCH;
    if (rc == 0 && !(p && gor__timer_begin_undated(p, t, ns))) {
        ns = ns > 0 ? ns : 0;
        t->when = gor__due_in(ns);
        rc = gor__timer_begin(t, ns);
    }
    if (rc != 0)
        gor__aptr_store_rel(&t->owner, NULL);
    return rc;
}

/* What t is to run. fire is set by its first start, and stays: who starts it anew reads that before
 * he claims it. */
GOR__INLINE void gor__timer_prepare(gor_timer *t, void (*fn)(void *), void *arg)
{
    gor__aptr_store_rlx(&t->run, NULL);
    if (!t->fire)
        t->fire = gor__timer_fire_go;
    t->fn = fn;
    t->arg = arg;
}

static GOR__NOINLINE int gor__timer_start(gor_timer *t, int64_t ns, void (*fn)(void *), void *arg)
{
    gor__m *m;
    int rc;
    if (!fn)
        return -EINVAL;
    m = gor__enter();
    if (!gor__is_on()) {
        rc = -ESRCH;
    } else {
        gor__timer_claim(t);
        gor__timer_prepare(t, fn, arg);
        rc = gor__timer_set(t, ns);
    }
    gor__leave(m);
    return rc;
}

static GOR__NOINLINE bool gor__timer_stop(gor_timer *t)
{
    gor__m *m = gor__enter();
    bool pending = gor__timer_cancel(t);
    gor__leave(m);
    return pending;
}

/* Start t, ns from now, on p, the caller's, if that locks nothing and the clock is a quick one. */
GOR__INLINE bool gor__timer_begin_dated(gor__p *p, gor_timer *t, int64_t ns)
{
    int64_t now;
    if (GOR__UNLIKELY(!gor__now_quick(&now)))
        return false;
    t->when = gor__later(now, ns);
    return gor__timer_begin_near(p, t, ns);
}

/* The usual case: a new timer, started and stopped where nothing is to be locked. Next to nothing
 * is called here, so that few registers are saved. False: it is not pending. The first start comes
 * before any other: so nothing is claimed. */
GOR__INLINE bool gor__timer_start_quick(gor_timer *t, int64_t ns, void (*fn)(void *), void *arg)
{
    gor__m *m;
    bool done = false;
    if (!fn || t->fire || ns <= 0)
        return false;
    if (gor__call_quick(&m) && GOR__LIKELY(gor__m_p(m) && gor__is_on())) {
        if (GOR_CHECK)
            gor__check(!gor__aptr_load_rlx(&t->owner), "nobody else starts a new timer");
        gor__timer_prepare(t, fn, arg);
        done = gor__timer_begin_undated(gor__m_p(m), t, ns) ||
               gor__timer_begin_dated(gor__m_p(m), t, ns);
    }
    gor__call_end();
    return done;
}

GOR__INLINE bool gor__timer_stop_quick(gor_timer *t)
{
    gor__timers *h;
    gor__m *m;
    bool done = false;
    if (gor__call_quick(&m)) {
        h = (gor__timers *)gor__aptr_load_acq(&t->owner);              /* acq t.owner */
        done = h && gor__timer_del_near(m, h, t);
    }
    gor__call_end();
    return done;
}

int gor_timer_start(gor_timer *t, int64_t ns, void (*fn)(void *), void *arg)
{
    if (GOR__LIKELY(gor__timer_start_quick(t, ns, fn, arg)))
        return 0;
    return gor__timer_start(t, ns, fn, arg);
}

bool gor_timer_stop(gor_timer *t)
{
    return GOR__LIKELY(gor__timer_stop_quick(t)) || gor__timer_stop(t);
}

/* Set t anew, if it is among h, and h are those of m's P. False: it is not, or not any more. */
static GOR__NOINLINE bool gor__timer_change_here(const gor__m *m, gor__timers *h, gor_timer *t,
                                                 int64_t ns)
{
    gor__p *p = gor__p_of(m);
    bool soonest;
    int64_t when;
    if (!p || h != &p->timers || !gor__is_on())
        return false;
    ns = ns > 0 ? ns : 0;
    when = gor__due_in(ns);
    if (!gor__timer_change(h, t, when, &soonest))
        return false;
    if (soonest)
        gor__timer_tell_if_near(p, when, ns);
    return true;
}

/* Set t anew, wherever it is pending, or if it is not. True: it was. */
GOR__INLINE bool gor__timer_set_anew(gor_timer *t, int64_t ns)
{
    bool pending = gor__timer_claim(t);
    if (t->fire)
        gor__timer_set(t, ns);
    else
        gor__aptr_store_rel(&t->owner, NULL);
    return pending;
}

bool gor_timer_reset(gor_timer *t, int64_t ns)
{
    gor__m *m = gor__enter();
    gor__timers *h = (gor__timers *)gor__aptr_load_acq(&t->owner);     /* acq t.owner */
    bool pending = (h && gor__timer_change_here(m, h, t, ns)) || gor__timer_set_anew(t, ns);
    gor__leave(m);
    return pending;
}

/* -- channels that carry the time ---------------------------------------------------------- */

/* The timer of a gor_after, and with it one reference to its channel. */
static bool gor__after_fire(gor_timer *t, int64_t now)
{
    gor_chan *c = (gor_chan *)t->arg;
    gor__chan_try(c, true, &now);
    gor__chan_release(c);
    gor__free(t, sizeof *t);
    return true;
}

gor_chan *gor_after(int64_t ns)
{
    gor_chan *c = gor_chan_new(sizeof(int64_t), 1);
    gor_timer *t;
    gor__enter();
    t = c ? (gor_timer *)gor__zalloc(sizeof *t) : NULL;
    if (t) {
        gor__aptr_store_rlx(&t->owner, &gor__timer_busy);
        t->fire = gor__after_fire;
        t->arg = c;
        gor__au32_add(&c->refs, 1);
        if (gor__timer_set(t, ns) != 0) {
            gor__chan_release(c);
            gor__free(t, sizeof *t);
            t = NULL;
        }
    }
    if (c && !t) {
        gor__chan_release(c);
        c = NULL;
    }
    gor__leave(gor__self());
    return c;
}

gor_chan *gor_ticker_start(gor_ticker *t, int64_t period)
{
    gor_chan *c;
    if (period < 1 || !gor__is_on())
        return NULL;
    c = gor_chan_new(sizeof(int64_t), 1);
    if (!c)
        return NULL;
    gor_ticker_stop(t);
    gor__enter();
    gor__timer_claim(&t->timer);
    t->c = c;
    t->timer.arg = c;
    gor__aptr_store_rlx(&t->timer.run, gor__timer_periodic);
    t->timer.u.period = period;
    t->timer.fire = gor__timer_fire_send;
    if (gor__timer_set(&t->timer, period) != 0) {
        gor__chan_release(c);
        t->c = c = NULL;
    }
    gor__leave(gor__self());
    return c;
}

void gor_ticker_reset(gor_ticker *t, int64_t period)
{
    gor__m *m = gor__enter();
    if (period >= 1 && t->c && gor__is_on()) {
        gor__timer_claim(&t->timer);
        gor__chan_try(t->c, false, NULL);          /* a tick of before */
        t->timer.u.period = period;
        gor__timer_set(&t->timer, period);
    }
    gor__leave(m);
}

void gor_ticker_stop(gor_ticker *t)
{
    gor__m *m = gor__enter();
    gor__timer_end(&t->timer);
    gor__chan_release(t->c);
    t->c = NULL;
    gor__leave(m);
}

/* -- token bucket: tokens below zero are owed to those who wait, each knows when its own will be
 * there --- */

void gor_limiter_init(gor_limiter *l, double per_second, int burst)
{
    memset(l, 0, sizeof *l);
    l->per_second = per_second;
    l->burst = burst;
    l->tokens = burst;
    l->last = gor__os_now();
}

static void gor__limiter_refill(gor_limiter *l, int64_t now)
{
    double more = (double)(now - l->last) * 1e-9 * l->per_second;
    l->tokens = l->tokens + more < l->burst ? l->tokens + more : l->burst;
    l->last = now;
}

/* Take n tokens now or, if they come by the deadline, in advance. When they will be there; -1:
 * too late. */
static int64_t gor__limiter_take(gor_limiter *l, int n, int64_t deadline)
{
    int64_t now, at = -1;
    double left;
    gor__enter();
    gor__mutex_lock(&l->mutex, GOR_FOREVER, NULL);
    now = gor__os_now();
    gor__limiter_refill(l, now);
    left = l->tokens - n;
    if (left >= 0)
        at = now;
    else if (l->per_second > 0 && -left / l->per_second < 9e9)
        at = now + (int64_t)(-left / l->per_second * 1e9) + 1;
    if (at > now && at > deadline)
        at = -1;
    if (at >= 0)
        l->tokens = left;
    gor__mutex_unlock(&l->mutex, "gor_limiter");
    gor__leave(gor__self());
    return at;
}

bool gor_limiter_allow(gor_limiter *l, int n)
{
    return n >= 0 && n <= l->burst && gor__limiter_take(l, n, 0) >= 0;
}

int gor_limiter_wait_until(gor_limiter *l, int n, int64_t deadline)
{
    int64_t at;
    int rc;
    if (n < 0 || n > l->burst)
        return -EINVAL;
    at = gor__limiter_take(l, n, deadline);
    if (at < 0)
        return -ETIMEDOUT;
    rc = gor_sleep_until(at);
    if (rc != 0) {                                 /* not slept to the end: the tokens go back */
        gor__enter();
        gor__mutex_lock(&l->mutex, GOR_FOREVER, NULL);
        l->tokens += n;
        gor__mutex_unlock(&l->mutex, "gor_limiter");
        gor__leave(gor__self());
    }
    return rc;
}

int gor_limiter_wait(gor_limiter *l, int n) { return gor_limiter_wait_until(l, n, GOR_FOREVER); }

/* ==== [context] a tree of cancellation =======================================================
 * What        A context is a gor__cancel ([core]) with a place in a tree.
 * Invariants  I1 A child holds a reference to its parent; the parent's list of children holds
 *                none.
 *             I2 A child's links belong to its parent's lock while `linked`, then to the
 *                canceller.
 *             I3 err goes from 0 to its value once, under the lock; cause is there before.
 *             I4 A function for afterwards has its G, not yet counted or queued, from the start,
 *                and a deadline that can have no goroutine is acted on by the P that fires its
 *                timer: being done needs no memory. The function ends with the run of its G.
 *             I5 A deadline has a timer in the run that `timed` names: its context's, or that of
 *                the ancestor that it was taken from. Timers end with their run, contexts do not:
 *                who waits for one gives it a timer in this run (gor__cancel_time).
 * Locks       c->lock (CTX), one at a time: a tree is cancelled from a work list, so that a chain
 *             of any depth needs no stack.
 * Source      context.go of Go.
 */
struct gor_ctx {
    gor__cancel  base;                 /* first: a gor_ctx is a gor__cancel                     */
    gor_ctx     *parent;
    gor_ctx     *children, *next, *prev;
    bool         linked;
    bool         constant;             /* the background                                        */
    bool         never;                /* without cancel                                        */
    int          cause;
    const void  *key;
    void        *value;
    gor_chan    *done;
    gor__g      *afters;               /* I4, by link                                           */
    uint64_t     afters_epoch;         /* the run that they are of                              */
    gor_timer    timer;
};

static gor_ctx gor__background = {
    { { { 0 } }, { 0 }, { { NULL }, NULL }, { GOR_FOREVER }, { 1 }, NULL, { 0 } },
    NULL, NULL, NULL, NULL, false, true, true, 0, NULL, NULL, NULL, NULL, 0,
    { 0, NULL, NULL, NULL, { NULL }, 0, { 0 }, { NULL }, { { 0 } } }
};

static void gor__ctx_lock(gor_ctx *c) { gor__lock(&c->base.lock, GOR__RANK_CTX); }
static void gor__ctx_unlock(gor_ctx *c) { gor__unlock(&c->base.lock, GOR__RANK_CTX); }

static void gor__ctx_unlink_locked(gor_ctx *c)
{
    *(c->prev ? &c->prev->next : &c->parent->children) = c->next;
    if (c->next)
        c->next->prev = c->prev;
    c->linked = false;
}

/* Take the functions for afterwards; those of an earlier run are no more. */
static gor__g *gor__ctx_take_afters(gor_ctx *c)
{
    bool ours = gor__is_on() && c->afters_epoch == gor__rt.epoch;
    gor__g *list = ours ? c->afters : NULL;
    c->afters = NULL;
    return list;
}

static void gor__ctx_drop_afters(gor__g *list)
{
    gor__g *g;
    while ((g = gor__g_pop(&list)) != NULL)
        gor__g_discard(g);
}

static void gor__ctx_run_afters(gor__g *list)
{
    gor__g *g;
    while ((g = gor__g_pop(&list)) != NULL)
        gor__start(gor__self(), g);
}

/* The last reference is gone. Up the tree in a loop: chains may be long. */
static void gor__ctx_destroy(gor__cancel *base)
{
    gor_ctx *c = (gor_ctx *)(void *)base;
    while (c) {
        gor_ctx *parent = c->parent;
        if (parent) {
            gor__ctx_lock(parent);
            if (c->linked)
                gor__ctx_unlink_locked(c);
            gor__ctx_unlock(parent);
        }
        gor__timer_end(&c->timer);
        gor__ctx_lock(c);                          /* a canceller that had it is through */
        gor__ctx_unlock(c);
        gor__ctx_drop_afters(gor__ctx_take_afters(c));
        gor__chan_release(c->done);
        gor__free(c, sizeof *c);
        c = parent && !parent->constant && gor__au32_add(&parent->base.refs, (uint32_t)-1) == 1
            ? parent : NULL;
    }
}

static bool gor__ctx_try_retain(gor_ctx *c)
{
    for (;;) {
        uint32_t refs = gor__au32_load_rlx(&c->base.refs);
        if (refs == 0)
            return false;
        if (gor__au32_cas(&c->base.refs, refs, refs + 1))
            return true;
    }
}

/* Make one context done, and put its children, with a reference each, on the work list. If its
 * deadline has passed, that came first: whoever asked meanwhile has been told so. */
static gor_ctx *gor__ctx_cancel_one(gor_ctx *c, int err, int cause, gor_ctx *work)
{
    gor__node *list = NULL;
    gor__g *afters = NULL;
    gor__ctx_lock(c);
    if (gor__au32_load_rlx(&c->base.err) == 0) {
        if (gor__cancel_err(&c->base) != 0)
            err = cause = -ETIMEDOUT;
        c->cause = cause;
        gor__au32_store_rel(&c->base.err, (uint32_t)-err);
        list = gor__wq_take_all(&c->base.waiters, err);
        for (gor__node *n = list; n; n = n->next)
            if (n->index >= 0)
                n->wait->rc = 0;                   /* a case of a select: it has run */
        afters = gor__ctx_take_afters(c);
        if (c->done)
            gor__chan_close(c->done);
        while (c->children) {
            gor_ctx *child = c->children;
            gor__ctx_unlink_locked(child);
            if (gor__ctx_try_retain(child)) {
                child->next = work;
                work = child;
            }
        }
    }
    gor__ctx_unlock(c);
    gor__wake_all(list);
    gor__ctx_run_afters(afters);
    return work;
}

static void gor__ctx_cancel_tree(gor_ctx *c, int err, int cause)
{
    gor_ctx *work = gor__ctx_cancel_one(c, err, cause, NULL);
    while (work) {
        gor_ctx *child = work;
        work = gor__ctx_cancel_one(child, err, cause, child->next);
        gor__cancel_release(&child->base);
    }
}

static void gor__ctx_expire(void *c)
{
    gor__enter();
    gor__ctx_cancel_tree((gor_ctx *)c, -ETIMEDOUT, -ETIMEDOUT);
    gor__leave(gor__self());
}

/* On g0, for want of memory for a goroutine. */
static void gor__ctx_expire_here(void *p)
{
    gor_ctx *c = (gor_ctx *)p;
    gor__ctx_cancel_tree(c, -ETIMEDOUT, -ETIMEDOUT);
    gor__cancel_release(&c->base);
}

/* The deadline has come. Cancelling may release, and releasing stops timers: not under their
 * lock. And it may take long: others are to run meanwhile. The reference is the goroutine's, so
 * that it is given back even if the run ends before that does. */
static bool gor__ctx_fire(gor_timer *t, int64_t now)
{
    gor_ctx *c = (gor_ctx *)t->arg;
    gor__spec s = { gor__ctx_expire, c, "deadline of a context\0",
                    NULL, 0, NULL, NULL, NULL, &gor__no_ctx };
    gor__m *m = gor__self();
    gor__g *g;
    (void)now;
    if (gor__ctx_try_retain(c)) {
        if (gor__g_make(m, &s, &g) == 0) {
            gor__g_set_ctx(g, &c->base);
            gor__start(m, g);
        } else {
            gor__timer_defer(t);
        }
    }
    gor__aptr_store_rel(&t->owner, NULL);          /* last: who destroys c waits for this */
    return true;
}

static gor_ctx *gor__ctx_root(gor_ctx *c) { return c ? c : &gor__background; }

/* Link c under parent, or take over that the parent is done. */
static void gor__ctx_link(gor_ctx *c, gor_ctx *parent)
{
    int err, cause;
    if (parent->constant)
        return;
    gor__ctx_lock(parent);
    err = gor__cancel_err(&parent->base);
    cause = gor__au32_load_rlx(&parent->base.err) ? parent->cause : err;
    if (err == 0) {
        c->next = parent->children;
        if (c->next)
            c->next->prev = c;
        parent->children = c;
        c->linked = true;
    }
    gor__ctx_unlock(parent);
    if (err != 0) {                                /* nobody else knows c yet */
        c->cause = cause;
        gor__au32_store_rel(&c->base.err, (uint32_t)-err);
    }
}

/* Become the one who sets the timer of c, which may say that it is one of a run that has left
 * orphans, or forked. False: it is set, or nobody needs it. */
static bool gor__ctx_claim_timer(gor_ctx *c)
{
    for (;;) {
        void *owner = gor__aptr_load_acq(&c->timer.owner);             /* acq t.owner: its epoch */
        if (!gor__is_on() || gor__au32_load_acq(&c->base.err) != 0 ||
            gor__au64_load_acq(&c->base.timed) == gor__rt.epoch)
            return false;
        if (owner == &gor__timer_busy) {
            gor__os_yield();
            continue;
        }
        if (owner && gor__au32_load_rlx(&c->timer.epoch) == (uint32_t)gor__rt.epoch)
            return false;
        if (gor__aptr_cas(&c->timer.owner, owner, &gor__timer_busy))
            return true;
    }
}

/* A timer for the deadline, in this run; without a runtime the clock alone decides. 0, -ENOMEM. */
static int gor__ctx_time(gor__cancel *base)
{
    gor_ctx *c = (gor_ctx *)(void *)base;
    int rc;
    if (!gor__ctx_claim_timer(c))
        return 0;
    c->timer.when = gor__ai64_load_rlx(&base->deadline);
    c->timer.fire = gor__ctx_fire;
    c->timer.fn = gor__ctx_expire_here;
    c->timer.arg = c;
    gor__au32_store_rlx(&c->timer.epoch, (uint32_t)gor__rt.epoch);
    rc = gor__timer_begin(&c->timer, GOR__UNKNOWN_NS);
    if (rc == 0)
        gor__au64_store_rel(&base->timed, gor__rt.epoch);                   /* rel cancel.timed */
    else
        gor__aptr_store_rel(&c->timer.owner, NULL);
    return rc;
}

/* Arm the deadline, if it is c's own. */
static int gor__ctx_arm(gor_ctx *c, int64_t deadline)
{
    if (deadline >= gor__ai64_load_rlx(&c->base.deadline))
        return 0;
    gor__ai64_store_rlx(&c->base.deadline, deadline);
    gor__au64_store_rlx(&c->base.timed, 0);
    if (!gor__is_past(deadline))
        return gor__ctx_time(&c->base);
    gor__ctx_cancel_tree(c, -ETIMEDOUT, -ETIMEDOUT);
    return 0;
}

static gor_ctx *gor__ctx_new(gor_ctx *parent, bool linked, int64_t deadline, const void *key,
                             void *value)
{
    gor_ctx *c = NULL;
    gor__enter();
    parent = gor__ctx_root(parent);
    if (gor__cancel_time(&parent->base) == 0)
        c = (gor_ctx *)gor__zalloc(sizeof *c);
    if (c) {
        gor__au32_store_rlx(&c->base.refs, 1);
        c->base.destroy = gor__ctx_destroy;
        gor__ai64_store_rlx(&c->base.deadline,
                            linked ? gor__ai64_load_rlx(&parent->base.deadline) : GOR_FOREVER);
        gor__au64_store_rlx(&c->base.timed, gor__au64_load_rlx(&parent->base.timed));
        c->key = key;
        c->value = value;
        c->parent = parent;
        gor__cancel_retain(&parent->base);
        if (linked)
            gor__ctx_link(c, parent);
        c->never = !linked;
        if (gor__ctx_arm(c, deadline) != 0) {
            gor__cancel_release(&c->base);
            c = NULL;
        }
    }
    gor__leave(gor__self());
    return c;
}

gor_ctx *gor_ctx_background(void) { return &gor__background; }

gor_ctx *gor_ctx_with_cancel(gor_ctx *parent)
{
    return gor__ctx_new(parent, true, GOR_FOREVER, NULL, NULL);
}

gor_ctx *gor_ctx_with_deadline(gor_ctx *parent, int64_t t)
{
    return gor__ctx_new(parent, true, t, NULL, NULL);
}

gor_ctx *gor_ctx_with_timeout(gor_ctx *parent, int64_t ns)
{
    return gor__ctx_new(parent, true, gor__deadline_after(ns), NULL, NULL);
}

gor_ctx *gor_ctx_with_value(gor_ctx *parent, const void *key, void *value)
{
    return gor__ctx_new(parent, true, GOR_FOREVER, key, value);
}

gor_ctx *gor_ctx_without_cancel(gor_ctx *parent)
{
    return gor__ctx_new(parent, false, GOR_FOREVER, NULL, NULL);
}

void gor_ctx_cancel(gor_ctx *c, int cause)
{
    if (!c || c->never)
        return;
    gor__enter();
    gor__ctx_cancel_tree(c, -ECANCELED, cause ? cause : -ECANCELED);
    gor__timer_end(&c->timer);
    gor__leave(gor__self());
}

int gor_ctx_err(gor_ctx *c) { return gor__cancel_err(&gor__ctx_root(c)->base); }

int gor_ctx_cause(gor_ctx *c)
{
    c = gor__ctx_root(c);
    return gor__au32_load_acq(&c->base.err) ? c->cause : gor__cancel_err(&c->base);
}

void *gor_ctx_value(gor_ctx *c, const void *key)
{
    for (; c; c = c->parent)
        if (c->key == key && key)
            return c->value;
    return NULL;
}

gor_chan *gor_ctx_done(gor_ctx *c)
{
    gor_chan *mine, *done;
    bool timed;
    c = gor__ctx_root(c);
    if (c->never)
        return NULL;
    mine = gor_chan_new(0, 0);
    gor__enter();
    timed = gor__cancel_time(&c->base) == 0;
    gor__ctx_lock(c);
    if (!c->done && mine) {
        c->done = mine;
        mine = NULL;
        if (gor__au32_load_rlx(&c->base.err))
            gor__chan_close(c->done);
    }
    done = timed ? c->done : NULL;
    gor__ctx_unlock(c);
    gor__chan_release(mine);
    gor__leave(gor__self());
    return done;
}

int64_t gor_ctx_deadline(gor_ctx *c)
{
    return gor__ai64_load_rlx(&gor__ctx_root(c)->base.deadline);
}

/* False: c is done. */
static bool gor__ctx_add_after(gor_ctx *c, gor__g *g)
{
    bool live;
    gor__ctx_lock(c);
    live = gor__au32_load_rlx(&c->base.err) == 0;
    if (live) {
        gor__g *list = gor__ctx_take_afters(c);
        gor__g_push(&list, g);
        c->afters = list;
        c->afters_epoch = gor__rt.epoch;
    }
    gor__ctx_unlock(c);
    return live;
}

int gor_ctx_after(gor_ctx *c, void (*fn)(void *), void *arg)
{
    gor__spec s = { fn, arg, "gor_ctx_after\0", NULL, 0, NULL, NULL, NULL, &gor__no_ctx };
    gor__g *g = NULL;
    int rc;
    c = gor__ctx_root(c);
    if (!fn)
        return -EINVAL;
    if (c->never)
        return 0;
    gor__enter();
    rc = gor__cancel_time(&c->base);
    if (rc == 0)
        rc = gor__g_make(gor__self(), &s, &g);
    if (rc == 0 && !gor__ctx_add_after(c, g))
        gor__start(gor__self(), g);
    gor__leave(gor__self());
    return rc;
}

gor_ctx *gor_ctx_retain(gor_ctx *c)
{
    gor__m *m = gor__enter();
    if (c && !c->constant)
        gor__cancel_retain(&c->base);
    gor__leave(m);
    return c;
}

void gor_ctx_release(gor_ctx *c)
{
    gor__m *m = gor__enter();
    if (c && !c->constant)
        gor__cancel_release(&c->base);
    gor__leave(m);
}

gor_ctx *gor_ctx_enter(gor_ctx *c)
{
    gor__m *m = gor__need_goroutine(gor__enter(), "gor_ctx_enter");
    gor_ctx *old = (gor_ctx *)(void *)gor__m_g(m)->ctx;
    gor__set_own_ctx(m, c && !c->constant ? &c->base : NULL);
    gor__leave(m);
    return old;
}

/* -- groups -------------------------------------------------------------------------------- */

typedef struct gor__group_call { gor_group *g; int (*fn)(void *); void *arg; } gor__group_call;

static void gor__group_fail(gor_group *g, int rc)
{
    if (rc != 0 && gor__au32_cas(&g->error, 0, (uint32_t)rc))
        gor_ctx_cancel(g->ctx, rc);
}

static void gor__group_run(void *p)
{
    gor__group_call *call = (gor__group_call *)p;
    gor__group_fail(call->g, call->fn(call->arg));
}

/* However it ended. The last touch of the group is the wait group's. */
static void gor__group_done(void *p)
{
    gor_group *g = (gor_group *)p;
    if (g->limit > 0) {
        gor__lock(&g->slots.lock, GOR__RANK_OBJECT);
        g->slots.permits++;
        gor__sem_serve(&g->slots);
    }
    gor__wg_add(&g->wg, -1, "gor_group");
}

void gor_group_init(gor_group *g, gor_ctx *parent, int limit)
{
    memset(g, 0, sizeof *g);
    g->limit = limit;
    g->slots.permits = limit > 0 ? limit : 0;
    g->ctx = gor_ctx_with_cancel(parent);
    if (!g->ctx)
        gor__au32_store_rlx(&g->error, (uint32_t)-ENOMEM);
}

gor_ctx *gor_group_ctx(gor_group *g) { return g->ctx; }

int gor__group_go_at(gor_group *g, int (*fn)(void *), void *arg, const char *site)
{
    gor__group_call call = { g, fn, arg };
    gor__spec s = { gor__group_run, NULL, site, &call, sizeof call, NULL,
                    gor__group_done, g, NULL };
    int rc;
    if (!fn)
        return -EINVAL;
    if (!g->ctx)
        return -ENOMEM;
    rc = g->limit > 0 ? gor_sem_acquire(&g->slots, 1) : 0;
    if (rc != 0)
        return rc;
    s.ctx = &g->ctx->base;
    gor__enter();
    gor__wg_add(&g->wg, 1, "gor_group");
    rc = gor__spawn(gor__self(), &s);
    if (rc != 0)
        gor__group_done(g);
    gor__leave(gor__self());
    return rc;
}

int (gor_group_go)(gor_group *g, int (*fn)(void *), void *arg)
{
    return gor__group_go_at(g, fn, arg, "?\0?");
}

int gor_group_wait(gor_group *g)
{
    gor__m *m = gor__enter();
    gor__cancel *own = m ? gor__m_g(m)->ctx : NULL;
    if (own)                                       /* waits for all, whatever happens to it */
        gor__set_own_ctx(m, NULL);
    gor__wg_wait(&g->wg, GOR_FOREVER);
    if (own)
        gor__set_own_ctx(gor__self(), own);
    gor__leave(gor__self());
    gor_ctx_cancel(g->ctx, 0);
    gor_ctx_release(g->ctx);
    g->ctx = NULL;
    return (int)gor__au32_load_rlx(&g->error);
}

/* ==== [faults] stack overflow and wild pointers ==============================================
 * What        A handler for SIGSEGV and SIGBUS on the M's own alternate stack. A fault on a
 *             goroutine's guard pages is a stack overflow and is said so; one elsewhere names the
 *             goroutine; one outside of goroutines goes to the handler that was there before.
 */
static struct sigaction gor__old_segv, gor__old_bus;
static bool gor__faults_installed;

/* With the signals blocked that would be, had the system called it. */
static void gor__fault_pass_on(int sig, siginfo_t *info, void *context)
{
    struct sigaction *old = sig == SIGSEGV ? &gor__old_segv : &gor__old_bus;
    sigset_t mask = ((ucontext_t *)context)->uc_sigmask;
    sigaddset(&mask, sig);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    if ((old->sa_flags & SA_SIGINFO) && old->sa_sigaction) {
        old->sa_sigaction(sig, info, context);
        return;
    }
    if (old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN) {
        old->sa_handler(sig);
        return;
    }
    signal(sig, SIG_DFL);                          /* the instruction runs again, and ends us */
}

/* Does somebody else handle faults? Then a fault that is no overflow of ours is his. */
static bool gor__fault_has_owner(int sig)
{
    struct sigaction *old = sig == SIGSEGV ? &gor__old_segv : &gor__old_bus;
    return (old->sa_flags & SA_SIGINFO) ? old->sa_sigaction != NULL
                                        : old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN;
}

/* Whose stack, or the guard of whose, is at in? NULL: nobody's. */
GOR__NO_TSAN static gor__g *gor__g_at(uintptr_t at)
{
    for (gor__gslab *s = gor__rt.slabs; s; s = s->next)
        for (size_t i = 0; i < sizeof s->g / sizeof s->g[0]; i++) {
            uintptr_t lo = (uintptr_t)gor__aptr_load_rlx(&s->g[i].stack);
            size_t stride = gor__stack_stride(gor__stack_size_of(&s->g[i]));
            if (lo && at - (lo - gor__stacks.page_size) < stride)
                return &s->g[i];
        }
    return NULL;
}

/* what: how it was seen. */
static void gor__say_overflow_by(gor__g *g, const char *what)
{
    char *lo = (char *)gor__aptr_load_rlx(&g->stack);
    size_t size = gor__stack_size_of(g);
    char line[500];
    snprintf(line, sizeof line, "stack overflow in goroutine %llu \"%.40s\"%s\n"
             "    stack of %zu bytes from %p to %p, started at %.100s",
             (unsigned long long)gor__au64_load_rlx(&g->id), gor__g_name(g), what, size,
             (void *)lo, (void *)(lo + size), gor__site_place(g->site));
    gor__fatal(line, g);
}

static void gor__say_overflow(gor__g *g) { gor__say_overflow_by(g, ": its canary is gone"); }

/* A fault of the thread that runs g, whose stack cannot be opened there. Returns if it is none of
 * the stack's. */
static void gor__fault_of(gor__g *g, uintptr_t at, uintptr_t sp)
{
    uintptr_t lo = (uintptr_t)gor__aptr_load_rlx(&g->stack);
    size_t size = gor__stack_size_of(g), page = gor__stacks.page_size;
    if (at - (lo - page) < gor__stack_guard_size())
        gor__say_overflow_by(g, "");
    if (gor__stacks.strict && at >= lo && at - lo < size)
        gor__say_overflow_by(g, ": the system has no memory for it (vm.overcommit_memory)");
    if (sp < lo + page && sp >= lo - GOR__MAX_STACK_SIZE)
        gor__say_overflow_by(g, ": a frame larger than the guard; compile with "
                             "-fstack-clash-protection");
}

/* Who runs on the thread that has faulted? NULL: no goroutine. In gor_block it does not say so, but
 * its stack pointer does. */
static gor__g *gor__fault_whose(uintptr_t at, uintptr_t sp)
{
    gor__m *m = gor__self();
    gor__g *g = m ? gor__m_g(m) : gor__g_at(sp);
    if (m)
        return g == &m->g0 ? NULL : g;
    return g ? g : gor__g_at(at);
}

static void gor__fault_done(bool was_in_call)
{
    if (!was_in_call)
        gor__arch_call_end();
}

static void gor__fault(int sig, siginfo_t *info, void *context)
{
    bool was_in_call = gor__au32_load_rlx(gor__arch_in_call()) != 0, unpacked;
    uintptr_t at = (uintptr_t)info->si_addr, sp, pc;
    uintptr_t fp = gor__arch_interrupted(context, &pc, &sp);
    int err = gor__os_errno();
    gor__g *g;
    char line[400];
    if (!was_in_call)                              /* else it may be a window's mark */
        gor__arch_call_begin();                    /* from here on nobody switches us off */
    unpacked = sig == SIGSEGV && info->si_code > 0 && gor__pack_fault(at, pc);
    g = unpacked ? NULL : gor__fault_whose(at, sp);
    if (unpacked || (g && gor__stack_open_more((char *)gor__aptr_load_rlx(&g->stack),
                                               gor__stack_size_of(g), at))) {
        gor__os_set_errno(err);
        gor__fault_done(was_in_call);
        return;
    }
    if (gor__au32_load_rlx(&gor__dying) == (uint32_t)gor__os_tid()) {
        signal(sig, SIG_DFL);                      /* in the last words: that is the end */
        return;
    }
    gor__crash.g = g;
    gor__crash.pc = pc;
    gor__crash.fp = fp;
    if (g)
        gor__fault_of(g, at, sp);
    if (!g || gor__fault_has_owner(sig)) {
        gor__fault_done(was_in_call);
        gor__fault_pass_on(sig, info, context);
        return;
    }
    snprintf(line, sizeof line, "%s at address %p in goroutine %llu \"%.40s\"",
             sig == SIGSEGV ? "segmentation fault" : "bus error", info->si_addr,
             (unsigned long long)gor__au64_load_rlx(&g->id), gor__g_name(g));
    gor__fatal(line, g);
}

static void gor__faults_install(void)
{
    struct sigaction a;
    if (gor__faults_installed || (gor__rt.opt.flags & GOR_NO_SIGNALS))
        return;
    memset(&a, 0, sizeof a);
    a.sa_sigaction = gor__fault;
    a.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigfillset(&a.sa_mask);                        /* [pack] I4 */
    sigaction(SIGSEGV, &a, &gor__old_segv);
    sigaction(SIGBUS, &a, &gor__old_bus);
    gor__faults_installed = true;
}

/* Is the handler ours? Somebody may have put his own over it. */
static bool gor__fault_is_ours(int sig)
{
    struct sigaction now;
    return gor__faults_installed && sigaction(sig, NULL, &now) == 0 &&
           now.sa_sigaction == gor__fault;
}

/* Put the old handlers back, where ours are. */
static void gor__faults_remove(void)
{
    if (gor__fault_is_ours(SIGSEGV))
        sigaction(SIGSEGV, &gor__old_segv, NULL);
    if (gor__fault_is_ours(SIGBUS))
        sigaction(SIGBUS, &gor__old_bus, NULL);
    gor__faults_installed = false;
}

/* ==== [block] leaving the processor for a blocking call ======================================
 * What        gor_block gives the P away, runs the user's function on the goroutine's own stack
 *             and thread, and comes back by way of an idle P, its old one first, or the global
 *             queue.
 * Why         The thread counts as foreign meanwhile: what it calls of ours blocks it, not a
 *             goroutine.
 */

/* To have come back at once is a turn like any other: after so many the others have theirs. */
static void gor__take_turn(void)
{
    gor__p *p = gor__m_p(gor__self());
    uint32_t tick = gor__au32_load_rlx(&p->tick) + 1;
    gor__au32_store_rlx(&p->tick, tick);
    if (tick % 61 == 0)
        gor__yield();
}

int gor_block(int (*fn)(void *), void *arg)
{
    gor__m *m = gor__enter();
    gor__g *g;
    gor__p *old;
    int rc;
    if (!m) {
        gor__leave(m);
        return fn(arg);
    }
    g = gor__m_g(m);
    old = gor__m_p(m);
    gor__au32_store_rlx(&g->state, GOR__BLOCKED);
    gor__ai64_store_rlx(&g->since, gor__ai64_load_rlx(&gor__rt.coarse_ns));
    gor__au32_add(&gor__rt.n_blocked, 1);
    gor__preempted_spill(m);
    gor__p_release(m);
    gor__p_left();
    gor__arch_set_self(NULL);
    gor__leave(m);
    rc = fn(arg);
    gor__call_begin();
    gor__arch_set_self(m);
    gor__p_return(m, g, old);
    gor__take_turn();
    gor__leave(gor__self());
    return rc;
}

/* ==== [tidy] pages of stacks that nobody needs go back ==========================================
 * What        sysmon looks at every goroutine once a second. One that has been parked for a second
 *             gives back what lies below its stack pointer, and is packed ([pack]) when it has
 *             been for as long as it takes for that; stacks that lay free for a second give back
 *             all.
 * Claim       A parked goroutine may be woken, and run, at any moment, by a switch that is a plain
 *             load and store of hold ([sched] gor__can_switch). To keep it from running:
 *             T1 sysmon swaps CLAIMED into hold; who takes the goroutine from a queue after that
 *                sees it, and waits in g0 until the bit is gone ([machine] gor__wait_for_stack).
 *             T2 Who has looked at hold before that does not see it. But its waker had stored
 *                RUNNABLE before it queued it; so after a membarrier sysmon finds the state
 *                changed, and lets go. If it finds WAITING again, of the next wait, then hold has
 *                changed: it was stored before that state was.
 *             T3 It may have been woken and have parked anew before T1: since tells, and it is let
 *                go, for it is too young.
 *             One membarrier serves a batch. Without membarrier parked stacks stay as they are.
 * Cost        While goroutines run, some 30 calls of madvise per look of sysmon: below 1 % of a
 *             core. While all is asleep, all of it at once; then sysmon sleeps.
 * Runs on     sysmon.
 * Tests       tests/stack.c, tests/scale.c
 */
#define GOR__TIDY_NS    (1 * GOR_SEC)  /* idle for so long; GORDEBUG=tidy=ns                   */
#define GOR__TIDY_STEPS 200            /* in that time, at most, while goroutines run          */
#define GOR__TIDY_LOOK  2048           /* Gs looked at in a step                               */
#define GOR__TIDY_BATCH 32             /* worked on                                            */
#define GOR__TIDY_REST_NS (10 * GOR_US)/* of rest for each G looked at: 1 % of the time        */

static struct {
    gor__gslab *at;                    /* where this round is, and the G in that               */
    size_t      i;
    bool        on;                    /* a round is under way                                 */
    int64_t     ns;                    /* GOR__TIDY_NS, or what a test wants                   */
    int64_t     next;                  /* when the next round begins                           */
    int64_t     next_step;             /* while goroutines run                                 */
    int64_t     looked;                /* Gs this round                                        */
    int64_t     behind[2];             /* what g.since may lack: in this period, and the last  */
    int64_t     next_period;
    bool        young;                 /* seen this round: something too young                 */
    uint64_t    activity;              /* of all Ps, when it began                             */
    size_t      surplus[GOR__STACK_CLASSES];   /* listed stacks not wanted during last round   */
    struct {
        gor__g *g;
        int64_t since;                 /* of the wait that was seen                            */
        bool    pack;                  /* for so long that it may be packed, if it wants that  */
    } batch[GOR__TIDY_BATCH];
    size_t      n;
} gor__tidy;

static void gor__tidy_init(int64_t ns)
{
    memset(&gor__tidy, 0, sizeof gor__tidy);
    gor__tidy.ns = ns > 0 ? ns : GOR__TIDY_NS;
}

/* g.since is of coarse_ns, which was late ns behind just now. A period is as long as anybody has to
 * be parked. */
static void gor__tidy_behind(int64_t now, int64_t late)
{
    if (now >= gor__tidy.next_period) {
        gor__tidy.behind[1] = gor__tidy.behind[0];
        gor__tidy.behind[0] = 0;
        gor__tidy.next_period = now + gor__tidy.ns + gor__packs.after;
    }
    if (late > gor__tidy.behind[0])
        gor__tidy.behind[0] = late;
}

/* Will g be packed, not just made smaller? The first that asks for it, each round, makes us look
 * whether that works now. */
static bool gor__tidy_packs(gor__g *g)
{
    if (!(gor__au32_load_rlx(&g->traits) & GOR__TRAIT_PACK))
        return false;
    if (!gor__packs.looked)
        gor__packs_look(gor__fault_is_ours(SIGSEGV));
    return gor__packs.works;
}

/* Is g, parked since then, worth a claim? It is made smaller first, and packed when the time for
 * that has come, too: until then tidied is -since. now is of the clock that since is of: who is old
 * by that cannot begin another wait with the same since, and be taken for seen to. */
static bool gor__tidy_wants(gor__g *g, int64_t since, int64_t now, bool *pack)
{
    const int64_t *behind = gor__tidy.behind;
    int64_t age = now - since - (behind[0] > behind[1] ? behind[0] : behind[1]);
    if (gor__au32_load_rlx(&g->state) != GOR__WAITING || g->tidied == since ||
        (gor__au32_load_rlx(&g->hold) & GOR__PACKED))
        return false;
    *pack = gor__tidy_packs(g) && age >= gor__packs.after;
    if (*pack || (age >= gor__tidy.ns && g->tidied != -since))
        return true;
    gor__tidy.young = true;
    return false;
}

/* T1 */
static bool gor__claim(gor__g *g)
{
    uint32_t hold = gor__au32_load_rlx(&g->hold);
    return (hold & ~(uint32_t)GOR__TIED) == 0 &&
           gor__au32_cas(&g->hold, hold, hold | GOR__CLAIMED);
}

/* T2, T3, after the membarrier: is g in the wait that was seen? */
static bool gor__claimed(gor__g *g, int64_t since)
{
    return gor__au32_load_acq(&g->state) == GOR__WAITING &&    /* acq g.state */
           (gor__au32_load_rlx(&g->hold) & ~(uint32_t)GOR__TIED) == GOR__CLAIMED &&
           gor__ai64_load_rlx(&g->since) == since;
}

static void gor__unclaim(gor__g *g) { gor__au32_and(&g->hold, ~(uint32_t)GOR__CLAIMED); }

/* The pages below the frames of a claimed goroutine, down to its guard. It may wait on a stack of
 * the user's: then none. */
GOR__NO_TSAN static void gor__shrink(gor__g *g)
{
    size_t page = gor__stacks.page_size;
    char *lo = (char *)gor__aptr_load_rlx(&g->stack) + page;
    char *top = (char *)((uintptr_t)g->sp & ~(uintptr_t)(page - 1));
    if (top > lo && (size_t)(top - lo) < gor__stack_size_of(g))
        gor__os_decommit(lo, (size_t)(top - lo));
}

static void gor__tidy_batch(void)
{
    size_t n = 0;
    for (size_t i = 0; i < gor__tidy.n; i++)
        if (gor__claim(gor__tidy.batch[i].g))
            gor__tidy.batch[n++] = gor__tidy.batch[i];
        else
            gor__tidy.young = true;                /* on its way out, or in */
    gor__tidy.n = 0;
    if (n == 0)
        return;
    gor__os_membarrier();
    for (size_t i = 0; i < n; i++) {
        gor__g *g = gor__tidy.batch[i].g;
        if (gor__claimed(g, gor__tidy.batch[i].since)) {
            bool pack = gor__tidy.batch[i].pack, later = !pack && gor__tidy_packs(g);
            int64_t since = gor__tidy.batch[i].since;      /* it may have been woken meanwhile */
            gor__shrink(g);
            g->tidied = later ? -since : since;
            gor__tidy.young |= later;
            if (pack && gor__pack_one(g))
                g->tidied = 0;                     /* again, should somebody unpack it */
        } else {
            gor__tidy.young = true;
        }
        gor__unclaim(g);
    }
}

/* What an idle P keeps goes to the list, and may become cold there. */
static void gor__tidy_caches(void)
{
    if (GOR__STACK_QUARANTINE)
        return;
    gor__lock_sched();
    for (gor__p *p = gor__rt.idle_p; p; p = p->idle_next) {
        if (gor__au32_load_rlx(&p->n_stacks) == 0)
            continue;
        gor__tidy.young = true;
        if (gor__au32_load_rlx(&p->tick) != p->tidy_tick) {
            p->tidy_tick = gor__au32_load_rlx(&p->tick);
            continue;
        }
        gor__p_drop_stacks(p);
    }
    gor__unlock_sched();
}

/* Changes whenever a goroutine runs. */
static uint64_t gor__activity(void)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < gor__au32_load_acq(&gor__rt.n_allp); i++) {
        gor__p *p = gor__p_at(i);
        n += gor__au32_load_rlx(&p->tick) + gor__au64_load_rlx(&p->switches);
    }
    return n;
}

static void gor__tidy_begin(void)
{
    gor__tidy.on = true;
    gor__tidy.looked = 0;
    gor__tidy.young = false;
    gor__packs_begin();
    gor__tidy.activity = gor__activity();
    gor__lock_sched();
    gor__tidy.at = gor__rt.membarrier ? gor__rt.slabs : NULL;
    gor__unlock_sched();
    gor__tidy.i = 0;
    gor__tidy_caches();
    gor__lock_stacks();
    for (int k = 0; k < GOR__STACK_CLASSES; k++) {
        gor__stack_class *cls = &gor__stacks.cls[k];
        gor__tidy.surplus[k] = (size_t)cls->n_free_least;
        cls->n_free_least = gor__au64_load_rlx(&cls->n_free);
        if (cls->n_free_least > 0)
            gor__tidy.young = true;
    }
    gor__unlock_stacks();
}

/* Some listed stacks become cold. False: there are no more. */
static bool gor__tidy_listed(void)
{
    for (int k = 0; k < GOR__STACK_CLASSES; k++)
        if (gor__tidy.surplus[k] > 0) {
            size_t n = gor__tidy.surplus[k];
            n = gor__stack_cool(k, n < GOR__TIDY_BATCH ? n : GOR__TIDY_BATCH);
            gor__tidy.surplus[k] = n ? gor__tidy.surplus[k] - n : 0;
            return true;
        }
    return false;
}

/* Look at some goroutines. False: it was the last of them. */
static bool gor__tidy_parked(void)
{
    int64_t now = gor__ai64_load_rlx(&gor__rt.coarse_ns);
    for (int looked = 0; gor__tidy.at && looked < GOR__TIDY_LOOK;) {
        gor__gslab *s = gor__tidy.at;
        while (gor__tidy.i < sizeof s->g / sizeof s->g[0]) {
            gor__g *g = &s->g[gor__tidy.i++];
            int64_t since = gor__ai64_load_rlx(&g->since);
            bool pack = false;
            looked++;
            if (gor__tidy_wants(g, since, now, &pack)) {
                gor__tidy.batch[gor__tidy.n].g = g;
                gor__tidy.batch[gor__tidy.n].since = since;
                gor__tidy.batch[gor__tidy.n++].pack = pack;
            }
            if (gor__tidy.n == GOR__TIDY_BATCH) {
                gor__tidy_batch();
                return true;
            }
        }
        gor__tidy.looked += (int64_t)gor__tidy.i;
        gor__tidy.at = s->next;
        gor__tidy.i = 0;
    }
    gor__tidy_batch();
    return gor__tidy.at != NULL;
}

/* One step of a round. False: it is done. */
static bool gor__tidy_step(int64_t now)
{
    if (!gor__tidy.on)
        gor__tidy_begin();
    if (gor__tidy_listed() || gor__tidy_parked())
        return true;
    gor__tidy.on = false;
    gor__tidy.next = now + gor__tidy.ns + gor__tidy.looked * GOR__TIDY_REST_NS;
    return false;
}

/* While goroutines run: a step now and then. */
static void gor__tidy_some(void)
{
    int64_t now = gor__os_now();
    if (now >= (gor__tidy.on ? gor__tidy.next_step : gor__tidy.next)) {
        gor__tidy.next_step = now + gor__tidy.ns / GOR__TIDY_STEPS;
        gor__tidy_step(now);
    }
}

/* Everything is asleep: finish this round, unless someone wakes. Returns when there will be more to
 * do. */
static int64_t gor__tidy_all(void)
{
    if (!gor__tidy.on && !gor__tidy.young && gor__activity() == gor__tidy.activity)
        return GOR_FOREVER;
    if (!gor__tidy.on && gor__os_now() < gor__tidy.next)
        return gor__tidy.next;
    while (gor__tidy_step(gor__os_now()))
        if (!gor__au32_load_sc(&gor__rt.sysmon_idle) || gor__au32_load_sc(&gor__rt.stopping))
            return 0;
    return gor__tidy.young ? gor__tidy.next : GOR_FOREVER;
}

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

/* ==== [dial] addresses, listening, dialing ====================================================
 * What        "tcp" "host:port" becomes socket addresses, by getaddrinfo on a thread of its own;
 *             these become sockets.
 * Dialing     The addresses race: each starts a quarter second after the one before, or as soon as
 *             that has failed; the first to connect wins and the others are cancelled. A foreign
 *             thread tries them one after the other.
 * Source      RFC 8305, Happy Eyeballs.
 */
#define GOR__MAX_ADDRS 16
#define GOR__DIAL_STAGGER (250 * GOR_MS)

typedef struct gor__network { const char *name; int family, type; } gor__network;

static const gor__network gor__networks[] = {
    { "tcp", AF_UNSPEC, SOCK_STREAM }, { "tcp4", AF_INET, SOCK_STREAM },
    { "tcp6", AF_INET6, SOCK_STREAM }, { "udp", AF_UNSPEC, SOCK_DGRAM },
    { "udp4", AF_INET, SOCK_DGRAM },   { "udp6", AF_INET6, SOCK_DGRAM },
    { "unix", AF_UNIX, SOCK_STREAM }
};

static const gor__network *gor__network_of(const char *name)
{
    for (size_t i = 0; name && i < sizeof gor__networks / sizeof *gor__networks; i++)
        if (strcmp(gor__networks[i].name, name) == 0)
            return &gor__networks[i];
    return NULL;
}

/* A lookup under way. Two hold it, the caller and the goroutine that asks; the last one frees. */
typedef struct gor__lookup {
    gor__au32 refs;
    gor_chan *done;                    /* closed when rc and list are there                    */
    struct addrinfo hints, *list;
    int       rc;
    bool      no_host;
    char      host[256];
    char      port[32];
} gor__lookup;

/* -- "host:port" ------------------------------------------------------------------------------- */

static bool gor__is_number(const char *s)
{
    return *s && s[strspn(s, "0123456789")] == 0;
}

static int gor__copy_part(char *to, size_t size, const char *from, size_t n)
{
    if (n >= size)
        return -ENAMETOOLONG;
    memcpy(to, from, n);
    to[n] = 0;
    return 0;
}

/* "host:port", "[v6]:port", ":port". 0, -EINVAL, -ENAMETOOLONG. */
static int gor__addr_split(const char *addr, gor__lookup *l)
{
    const char *colon = strrchr(addr, ':'), *end = colon, *begin = addr;
    int rc;
    if (!colon)
        return -EINVAL;
    if (*addr == '[') {
        begin = addr + 1;
        end = strchr(addr, ']');
        if (!end || end + 1 != colon)
            return -EINVAL;
    } else if (memchr(addr, ':', (size_t)(colon - addr))) {
        return -EINVAL;                            /* an IPv6 address wants brackets */
    }
    rc = gor__copy_part(l->host, sizeof l->host, begin, (size_t)(end - begin));
    if (rc == 0)
        rc = gor__copy_part(l->port, sizeof l->port, colon + 1, strlen(colon + 1));
    if (rc != 0)
        return rc;
    if (!l->port[0])
        l->port[0] = '0', l->port[1] = 0;
    if (gor__is_number(l->port) && (strlen(l->port) > 9 || atoi(l->port) > 65535))
        return -EINVAL;
    if (l->port[0] == '-' || l->port[0] == '+' || strchr(l->port, ' '))
        return -EINVAL;
    l->no_host = l->host[0] == 0;
    return 0;
}

/* -- looking up -------------------------------------------------------------------------------- */

static int gor__lookup_error(int rc)
{
    switch (rc) {
    case 0:           return 0;
    case EAI_MEMORY:  return -ENOMEM;
    case EAI_FAMILY:  return -EAFNOSUPPORT;
    case EAI_SERVICE: return -EINVAL;
    case EAI_SYSTEM:  return gor__os_errno() ? -gor__os_errno() : -EIO;
    case EAI_AGAIN:   return -EHOSTUNREACH;        /* no server answered */
    case EAI_FAIL:    return -EHOSTUNREACH;
    default:          return -ENOENT;
    }
}

static int gor__lookup_ask(void *p)
{
    gor__lookup *l = (gor__lookup *)p;
    l->rc = gor__lookup_error(getaddrinfo(l->no_host ? NULL : l->host, l->port, &l->hints,
                                          &l->list));
    return 0;
}

static void gor__lookup_release(gor__lookup *l)
{
    if (gor__au32_add(&l->refs, (uint32_t)-1) != 1)
        return;
    if (l->list)
        freeaddrinfo(l->list);
    gor_chan_release(l->done);
    gor__free(l, sizeof *l);
}

static void gor__lookup_run(void *p)
{
    gor__lookup *l = (gor__lookup *)p;
    gor_block(gor__lookup_ask, l);
    gor_chan_close(l->done);
    gor__lookup_release(l);
}

/* An address that is a number, or none at all, needs to ask nobody. */
static bool gor__lookup_numeric(gor__lookup *l)
{
    int flags = l->hints.ai_flags;
    if (!gor__is_number(l->port))
        return false;
    l->hints.ai_flags |= AI_NUMERICHOST | AI_NUMERICSERV;
    gor__lookup_ask(l);
    l->hints.ai_flags = flags;
    return l->rc == 0;
}

/* In a goroutine of its own, so that the deadline and the context can end our wait for it. */
static int gor__lookup_wait(gor__lookup *l, int64_t deadline)
{
    gor__spec spec;
    int rc;
    if (!gor__self()) {
        gor__lookup_ask(l);
        return l->rc;
    }
    l->done = gor_chan_new(0, 0);
    if (!l->done)
        return -ENOMEM;
    memset(&spec, 0, sizeof spec);
    spec.fn = gor__lookup_run;
    spec.arg = l;
    spec.site = "gor_resolve\0";
    spec.ctx = &gor__no_ctx;
    gor__au32_add(&l->refs, 1);
    rc = gor__go(&spec);
    if (rc != 0)
        gor__au32_add(&l->refs, (uint32_t)-1);
    else
        rc = gor_chan_recv_until(l->done, NULL, 0, deadline);
    return rc == -EPIPE ? l->rc : rc;
}

/* Take the addresses, the families alternating, the first one's first. */
static int gor__lookup_take(const gor__lookup *l, gor_addr *out, int max)
{
    const struct addrinfo *first = l->list, *turn[2];
    int n = 0, family;
    if (!first)
        return -ENOENT;
    family = first->ai_family;
    turn[0] = turn[1] = first;
    for (int i = 0; n < max && (turn[0] || turn[1]); i ^= 1) {
        while (turn[i] && (turn[i]->ai_family == family) != (i == 0))
            turn[i] = turn[i]->ai_next;
        if (!turn[i])
            continue;
        memset(&out[n], 0, sizeof out[n]);
        memcpy(&out[n].sa, turn[i]->ai_addr, turn[i]->ai_addrlen);
        out[n++].len = turn[i]->ai_addrlen;
        turn[i] = turn[i]->ai_next;
    }
    return n;
}

static int gor__addr_unix(const char *path, gor_addr *out)
{
    struct sockaddr_un *un = (struct sockaddr_un *)(void *)&out->sa;
    size_t n = strlen(path);
    memset(out, 0, sizeof *out);
    if (n == 0)
        return -EINVAL;
    if (n >= sizeof un->sun_path)
        return -ENAMETOOLONG;
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path, n);
    out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (path[0] != '@'));
    if (path[0] == '@')
        un->sun_path[0] = 0;
    return 1;
}

/* The addresses of addr, at most max. How many, or a negative errno. */
static int gor__addrs(const gor__network *net, const char *addr, bool passive, gor_addr *out,
                      int max, int64_t deadline)
{
    gor__lookup *l;
    int rc;
    if (!net || !addr || max < 1)
        return -EINVAL;
    if (net->family == AF_UNIX)
        return gor__addr_unix(addr, out);
    l = (gor__lookup *)gor__zalloc(sizeof *l);
    if (!l)
        return -ENOMEM;
    gor__au32_store_rlx(&l->refs, 1);
    l->hints.ai_family = net->family;
    l->hints.ai_socktype = net->type;
    l->hints.ai_flags = passive ? AI_PASSIVE : 0;
    rc = gor__addr_split(addr, l);
    if (rc == 0 && !gor__lookup_numeric(l))
        rc = gor__lookup_wait(l, deadline);
    if (rc == 0)
        rc = gor__lookup_take(l, out, max);
    gor__lookup_release(l);
    return rc;
}

int gor_resolve(const char *network, const char *addr, gor_addr *out, int max, int64_t deadline)
{
    int saved = gor__os_errno(), rc = -EINVAL;
    if (out)
        rc = gor__addrs(gor__network_of(network), addr, false, out, max, deadline);
    gor__os_set_errno(saved);
    return rc;
}

/* -- listening --------------------------------------------------------------------------------- */

/* A non-blocking socket for an address, or a negative errno. */
static int gor__socket(const gor_addr *a, int type)
{
    int fd = socket(a->sa.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd < 0 ? -gor__os_errno() : fd;
}

static int gor__listen_setup(int fd, const gor__network *net, const gor_addr *a, bool any,
                             int backlog)
{
    int on = 1, only = !(any && net->family == AF_UNSPEC);
    if (net->type == SOCK_STREAM && net->family != AF_UNIX)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (a->sa.ss_family == AF_INET6)               /* [::] for both families if none was named */
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
    if (bind(fd, (const struct sockaddr *)&a->sa, a->len) != 0)
        return -gor__os_errno();
    if (net->type == SOCK_STREAM && listen(fd, backlog > 0 ? backlog : SOMAXCONN) != 0)
        return -gor__os_errno();
    return 0;
}

/* A new socket of a network becomes ours. The fd, or -ENOMEM and it is closed. */
static int gor__socket_adopted(int fd, const gor__network *net)
{
    gor__m *m = gor__enter();
    int rc = gor__fd_adopted(fd, gor__socket_flags(fd, net->family, net->type));
    gor__leave(m);
    return rc;
}

static int gor__listen_one(const gor__network *net, const gor_addr *a, bool any, int backlog)
{
    int fd = gor__socket(a, net->type), rc;
    if (fd < 0)
        return fd;
    rc = gor__listen_setup(fd, net, a, any, backlog);
    if (rc != 0) {
        close(fd);
        return rc;
    }
    return gor__socket_adopted(fd, net);
}

int gor_listen(const char *network, const char *addr, int backlog)
{
    const gor__network *net = gor__network_of(network);
    gor_addr a[GOR__MAX_ADDRS];
    int saved = gor__os_errno(), rc;
    int n = rc = gor__addrs(net, addr, true, a, GOR__MAX_ADDRS, GOR_FOREVER);
    bool any = n > 0 && addr[0] == ':';
    for (int pass = 0; pass < 2 && n > 0; pass++)  /* [::] first: it hears both families */
        for (int i = 0; i < n; i++) {
            if (any && (a[i].sa.ss_family == AF_INET6) != (pass == 0))
                continue;
            rc = gor__listen_one(net, &a[i], any, backlog);
            if (rc >= 0)
                n = 0;
        }
    gor__os_set_errno(saved);
    return rc;
}

/* -- dialing ----------------------------------------------------------------------------------- */

/* Connect to one address. The fd, adopted, or a negative errno. */
static int gor__dial_one(const gor__network *net, const gor_addr *a, int64_t deadline)
{
    int fd = gor__socket(a, net->type), rc;
    if (fd < 0)
        return fd;
    rc = gor__socket_adopted(fd, net);
    if (rc < 0)
        return rc;
    rc = gor_connect_until(fd, (const struct sockaddr *)&a->sa, a->len, deadline);
    if (rc != 0) {
        gor_fd_close(fd);
        return rc;
    }
    if (net->type == SOCK_STREAM && net->family != AF_UNIX)
        gor__socket_no_delay(fd);
    return fd;
}

typedef struct gor__race {
    const gor__network *net;
    const gor_addr *a;
    int64_t   deadline;
    gor_chan *results;                 /* of int: an fd or an error; room for all              */
    gor_ctx  *ctx;
    int       next;                    /* the address to start with next                       */
} gor__race;

typedef struct gor__racer { gor__race *race; int i; } gor__racer;

static void gor__race_run(void *p)
{
    gor__racer *r = (gor__racer *)p;
    gor_addr a = r->race->a[r->i];                 /* the kernel is shown our own stack */
    int rc = gor__dial_one(r->race->net, &a, r->race->deadline);
    gor_ctx_enter(NULL);                           /* a cancelled one reports too */
    gor_chan_send(r->race->results, &rc, sizeof rc);
}

static int gor__race_start(gor__race *race)
{
    gor__racer r;
    gor__spec spec;
    r.race = race;
    r.i = race->next++;
    memset(&spec, 0, sizeof spec);
    spec.fn = gor__race_run;
    spec.site = "gor_dial\0";
    spec.copy = &r;
    spec.copy_size = sizeof r;
    spec.ctx = (gor__cancel *)(void *)race->ctx;
    return gor__go(&spec);
}

/* No result came, for rc: maybe it is only the turn of the next one, and nobody cancelled us in the
 * meantime. 0, or the error that ends the race. */
static int gor__race_ended(const gor__race *race, int rc)
{
    if (rc != -ETIMEDOUT || gor__os_now() >= race->deadline)
        return rc;
    gor__enter();
    rc = gor__own_ctx_err();
    gor__leave(gor__self());
    return rc;
}

/* Start them in turn until one has connected, or all have failed, or we have to end. Returns how
 * many have not reported. */
static int gor__race_watch(gor__race *race, int n, int *result)
{
    int running = 0, rc = 0;
    bool start = true;
    *result = 0;
    while ((start && race->next < n) || running > 0) {
        int64_t until = race->deadline, soon = gor__os_now() + GOR__DIAL_STAGGER;
        int got = 0;
        if (start && race->next < n) {
            rc = gor__race_start(race);
            if (rc != 0)
                break;
            running++;
        }
        if (race->next < n && soon < until)
            until = soon;
        rc = gor_chan_recv_until(race->results, &got, sizeof got, until);
        start = true;
        if (rc == 0) {
            running--;
            if (got >= 0 || *result == 0)
                *result = got;
            if (got >= 0)
                return running;
        } else {
            rc = gor__race_ended(race, rc);
            if (rc != 0)
                break;
        }
    }
    if (rc != 0)
        *result = rc;
    return running;
}

/* The late ones have been cancelled: wait for their word, whatever happens to us. */
static void gor__race_drain(gor__race *race, int running)
{
    gor_ctx *own = gor_ctx_enter(NULL);
    while (running-- > 0) {
        int got = -1;
        gor_chan_recv(race->results, &got, sizeof got);
        if (got >= 0)
            gor_fd_close(got);
    }
    gor_ctx_enter(own);
}

static int gor__dial_race(const gor__network *net, const gor_addr *a, int n, int64_t deadline)
{
    gor__race race;
    int result = -ENOMEM;
    race.net = net;
    race.a = a;
    race.deadline = deadline;
    race.next = 0;
    race.results = gor_chan_new(sizeof(int), (size_t)n);
    race.ctx = gor_ctx_with_cancel(NULL);
    if (race.results && race.ctx) {
        int running = gor__race_watch(&race, n, &result);
        gor_ctx_cancel(race.ctx, 0);
        gor__race_drain(&race, running);
    }
    gor_ctx_release(race.ctx);
    gor_chan_release(race.results);
    return result;
}

int gor_dial(const char *network, const char *addr, int64_t deadline)
{
    const gor__network *net = gor__network_of(network);
    gor_addr a[GOR__MAX_ADDRS];
    int saved = gor__os_errno(), rc;
    int n = rc = gor__addrs(net, addr, false, a, GOR__MAX_ADDRS, deadline);
    if (n > 1 && gor__self() && net->type == SOCK_STREAM)
        rc = gor__dial_race(net, a, n, deadline);
    else
        for (int i = 0; i < n; i++) {
            rc = gor__dial_one(net, &a[i], deadline);
            if (rc >= 0 || rc == -ETIMEDOUT || rc == -ECANCELED)
                break;
        }
    gor__os_set_errno(saved);
    return rc;
}

/* ==== [signal] signals as values ==============================================================
 * What        The handler marks the signal as pending and wakes the poller; whoever polls with a P
 *             sends it to the channels that asked for it, without waiting.
 * Invariants  I1 The handler touches two words and makes one system call: it may interrupt
 *                anything, on any thread that does not block the signal (main, the user's own).
 *             I2 The handler of a signal is ours while somebody asks for it, and the earlier one
 *                otherwise.
 *             I3 A subscription holds a reference to its channel.
 * Locks       gor__signals.lock (CTX): channels (OBJECT) are sent to under it.
 * Source      os/signal of Go.
 */
#define GOR__MAX_SIGNAL 64

typedef struct gor__subscription {
    struct gor__subscription *next;
    gor_chan *c;
    uint64_t  set;                     /* bit sig - 1                                          */
} gor__subscription;

static struct {
    gor__au64 pending;                 /* set by the handler                                   */
    gor__spin lock;
    gor__subscription *list;
    uint64_t  ours;                    /* signals whose handler is ours                        */
    struct sigaction old[GOR__MAX_SIGNAL + 1];
} gor__signals;

static uint64_t gor__sig_bit(int sig) { return (uint64_t)1 << (sig - 1); }

/* Add to what is pending, and take away from it. */
static void gor__sig_pend(uint64_t more, uint64_t less)
{
    uint64_t old;
    do
        old = gor__au64_load_rlx(&gor__signals.pending);
    while (!gor__au64_cas(&gor__signals.pending, old, (old | more) & ~less));
}

static void gor__sig_handler(int sig)
{
    gor__sig_pend(gor__sig_bit(sig), 0);
    if (gor__au32_load_acq(&gor__rt.poller))
        gor__os_poll_wake();
}

/* Hand out what is pending. With a P. */
static void gor__signalled(void)
{
    uint64_t set;
    if (gor__au64_load_rlx(&gor__signals.pending) == 0)
        return;
    gor__lock(&gor__signals.lock, GOR__RANK_CTX);
    set = gor__au64_xchg(&gor__signals.pending, 0);        /* while nobody ceases to ask */
    for (int sig = 1; sig <= GOR__MAX_SIGNAL; sig++)
        for (gor__subscription *s = gor__signals.list; s; s = s->next)
            if (set & s->set & gor__sig_bit(sig)) {
                int value[2] = { sig, 0 };         /* gcc sees a copy of 8 bytes as possible */
                gor__chan_try(s->c, true, value);
            }
    gor__unlock(&gor__signals.lock, GOR__RANK_CTX);
}

/* Signals that nobody asks for any more get their earlier effect back; those that came are not for
 * who asks next. */
static void gor__sig_release_locked(void)
{
    uint64_t gone = gor__signals.ours;
    for (gor__subscription *s = gor__signals.list; s; s = s->next)
        gone &= ~s->set;
    for (int sig = 1; sig <= GOR__MAX_SIGNAL; sig++)
        if (gone & gor__sig_bit(sig))
            sigaction(sig, &gor__signals.old[sig], NULL);
    gor__signals.ours &= ~gone;
    gor__sig_pend(0, gone);
}

/* Take over what is wanted. False: a signal that cannot be caught. */
static bool gor__sig_take_locked(uint64_t set)
{
    struct sigaction a;
    memset(&a, 0, sizeof a);
    a.sa_handler = gor__sig_handler;
    a.sa_flags = SA_RESTART | SA_ONSTACK;
    sigemptyset(&a.sa_mask);
    for (int sig = 1; sig <= GOR__MAX_SIGNAL; sig++)
        if (set & ~gor__signals.ours & gor__sig_bit(sig)) {
            if (sigaction(sig, &a, &gor__signals.old[sig]) != 0)
                return false;
            gor__signals.ours |= gor__sig_bit(sig);
        }
    return true;
}

/* The set of signals, or 0 if one of them cannot be had. */
static uint64_t gor__sig_set(const int *sigs, size_t n)
{
    static const int never[] = { SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP };
    uint64_t set = 0;
    if (!sigs || n == 0)
        return 0;
    for (size_t i = 0; i < n; i++) {
        if (sigs[i] < 1 || sigs[i] > GOR__MAX_SIGNAL)
            return 0;
        for (size_t k = 0; k < sizeof never / sizeof *never; k++)
            if (sigs[i] == never[k])
                return 0;
        set |= gor__sig_bit(sigs[i]);
    }
    return set;
}

/* Where the subscription of c is linked, or where the list ends. */
static gor__subscription **gor__sig_place_locked(gor_chan *c)
{
    gor__subscription **at = &gor__signals.list;
    while (*at && (*at)->c != c)
        at = &(*at)->next;
    return at;
}

/* Add set to what c gets; if one of it cannot be had, nothing. Inside of a gor call. */
static int gor__sig_subscribe(gor_chan *c, uint64_t set)
{
    gor__subscription *fresh = (gor__subscription *)gor__zalloc(sizeof *fresh), **at;
    bool taken;
    if (!fresh)
        return -ENOMEM;
    gor__lock(&gor__signals.lock, GOR__RANK_CTX);
    at = gor__sig_place_locked(c);
    taken = gor__sig_take_locked(set);
    if (taken && !*at) {
        fresh->c = c;
        gor__au32_add(&c->refs, 1);
        gor__au32_add(&gor__rt.signals, 1);
        *at = fresh;
        fresh = NULL;
    }
    if (taken)
        (*at)->set |= set;
    else
        gor__sig_release_locked();
    gor__unlock(&gor__signals.lock, GOR__RANK_CTX);
    gor__free(fresh, sizeof *fresh);
    return taken ? 0 : -EINVAL;
}

static int gor__sig_unsubscribe(gor_chan *c)
{
    gor__subscription **at, *s;
    gor__lock(&gor__signals.lock, GOR__RANK_CTX);
    at = gor__sig_place_locked(c);
    s = *at;
    if (s)
        *at = s->next;
    gor__sig_release_locked();
    gor__unlock(&gor__signals.lock, GOR__RANK_CTX);
    if (!s)
        return -ENOENT;
    gor__au32_add(&gor__rt.signals, (uint32_t)-1);
    gor__sysmon_wake();                            /* was that all that could wake somebody? */
    gor__chan_release(s->c);
    gor__free(s, sizeof *s);
    return 0;
}

int gor_signal_notify(gor_chan *c, const int *sigs, size_t n)
{
    uint64_t set = gor__sig_set(sigs, n);
    int rc;
    if (!c || !set)
        return -EINVAL;
    if (c->elem_size != sizeof(int))
        return -EMSGSIZE;
    gor__enter();
    rc = gor__poll_need();
    if (rc == 0)
        rc = gor__sig_subscribe(c, set);
    gor__leave(gor__self());
    return rc;
}

int gor_signal_stop(gor_chan *c)
{
    gor__m *m = gor__enter();
    int rc = c ? gor__sig_unsubscribe(c) : -ENOENT;
    gor__leave(m);
    return rc;
}

/* At the end of a run. */
static void gor__signals_remove(void)
{
    while (gor__signals.list)
        gor__sig_unsubscribe(gor__signals.list->c);
    gor__au64_store_rlx(&gor__signals.pending, 0);
    gor__sigpipe_restore();
}

/* -- a context that signals cancel ----------------------------------------------------------- */

typedef struct gor__sig_ctx { gor_ctx *ctx; gor_chan *c; } gor__sig_ctx;

/* Until a signal comes or the context ends otherwise. */
static void gor__sig_ctx_wait(void *p)
{
    gor__sig_ctx *s = (gor__sig_ctx *)p;
    int sig;
    if (gor_select(gor_on_recv(s->c, &sig), gor_on_done(s->ctx)) == 0)
        gor_ctx_cancel(s->ctx, -EINTR);
    gor_signal_stop(s->c);
    gor_chan_release(s->c);
    gor_ctx_release(s->ctx);
}

gor_ctx *gor_signal_ctx(gor_ctx *parent, const int *sigs, size_t n)
{
    gor__sig_ctx s;
    gor__spec spec;
    int rc = -ENOMEM;
    s.ctx = gor_ctx_with_cancel(parent);
    s.c = gor_chan_new(sizeof(int), 1);
    if (s.ctx && s.c)
        rc = gor_signal_notify(s.c, sigs, n);
    if (rc == 0) {
        memset(&spec, 0, sizeof spec);
        spec.fn = gor__sig_ctx_wait;
        spec.site = "gor_signal_ctx\0";
        spec.copy = &s;
        spec.copy_size = sizeof s;
        spec.ctx = &gor__no_ctx;
        gor_ctx_retain(s.ctx);
        rc = gor__go(&spec);
        if (rc == 0)
            return s.ctx;
        gor_signal_stop(s.c);
        gor_ctx_release(s.ctx);
    }
    gor_chan_release(s.c);
    gor_ctx_release(s.ctx);
    return NULL;
}

/* ==== [preempt] a switch in place, by signal =====================================================
 * What        In code that was marked for it the goroutine is switched off between two
 *             instructions, and goes on there later, every register as it was. The handler runs on
 *             the alternate stack: it moves the kernel's frame to the goroutine's own stack, below
 *             the red zone, and lets the thread go on in gor__preempted, an ordinary switch. Its
 *             way back is rt_sigreturn, with that frame.
 * End         When a run ends while the thread that called gor_run computes, the signal brings it
 *             back in every mode: gor_run has to return on that thread.
 * Where       GOR_PREEMPTIBLE functions; with GOR_PREEMPT_SWITCH all code of the object that has
 *             the implementation in it. Never in a gor call, in libc, or in any other library: so
 *             no lock of theirs is caught halfway. In a static program those are not told apart,
 *             and only marked functions are switched.
 * Thread      The goroutine goes on on its own thread: it may hold what belongs to a thread, a
 *             recursive mutex above all. Unless that thread is stuck, in a lock that the goroutine
 *             itself holds, say: it lost its P, or serves one goroutine only. Then any thread may
 *             go on with it.
 * Invariants  P1 The handler does something only if its thread is not in a gor call, and marks it
 *                as in one before it returns.
 *             P2 Signals go only to threads that the kernel calls running, and that used the CPU
 *                since the last one: a system call is cut short only if it begins in that moment.
 * Source      Go's asynchronous preemption by signal (1.14), which injects a call; that its frame
 *             is the kernel's own is ours.
 */
extern char __start_gor_preemptible[] __attribute__((weak, visibility("hidden")));
extern char __stop_gor_preemptible[] __attribute__((weak, visibility("hidden")));

#define GOR__SIGSET_SIZE      8        /* the kernel's */
#define GOR__PREEMPT_REFUSALS 3        /* then the P is taken */
#define GOR__PREEMPT_SIGNALS  64       /* or then, if the thread does not get them */
#define GOR__PREEMPT_ROOM     4096     /* bytes of stack for what runs until the switch */

static struct {
    uintptr_t lo, hi;                  /* our own object's code, or nothing */
    bool      installed;
    bool      all;                     /* GOR_PREEMPT_SWITCH: all of it may be switched */
    struct sigaction old;
} gor__preempt;

static int gor__preempt_number(void)
{
    return gor__rt.opt.preempt_signal ? gor__rt.opt.preempt_signal : SIGURG;
}

static bool gor__any_marked(void)
{
    return (uintptr_t)__start_gor_preemptible != (uintptr_t)__stop_gor_preemptible;
}

/* At the end of a run nothing comes back, so what it holds does not matter but for libc's. */
static bool gor__may_switch_at(uintptr_t pc)
{
    if (pc >= (uintptr_t)gor__arch_context_resume && pc < (uintptr_t)gor__arch_context_resumed)
        return false;
    if (pc >= (uintptr_t)__start_gor_preemptible && pc < (uintptr_t)__stop_gor_preemptible)
        return true;
    return pc >= gor__preempt.lo && pc < gor__preempt.hi &&
           (gor__preempt.all || gor__au32_load_sc(&gor__rt.stopping));
}

/* It may be another thread: rt_sigreturn is to leave its alternate stack and signal mask alone. */
static void gor__adopt_context(gor__m *m, void *copy)
{
    stack_t now;
    if (sigaltstack(NULL, &now) == 0) {
        now.ss_flags &= SS_DISABLE;
        memcpy((char *)copy + offsetof(ucontext_t, uc_stack), &now, sizeof now);
    }
    memcpy((char *)copy + offsetof(ucontext_t, uc_sigmask), &m->mask, GOR__SIGSET_SIZE);
}

/* On the goroutine's stack, in a gor call since the handler. copy: the frame to go back by. */
GOR__SWITCHES static void gor__preempted(void *copy)
{
    gor__m *m = gor__self();
    gor__g *g = gor__m_g(m);
    uint32_t what = gor__asked(m);
    if ((what & GOR__ORPHAN) || gor__au32_load_sc(&gor__rt.stopping))
        gor__switch_to(m, g, &m->g0);              /* never back */
    if (!(what & GOR__RETAKEN)) {                  /* else it goes on without a P: [retake] */
        gor__au32_and(&m->attention, ~(uint32_t)GOR__ASK);
        gor__set_runnable(g);
        gor__au64_bump(&gor__m_p(m)->preempted);
        gor__preempted_push(m, g);
        gor__switch_begin(g);
        gor__switch_away(m, g);
        gor__resumed(g);
        m = gor__self();
    }
    gor__adopt_context(m, copy);
    gor__arch_context_resume(copy);
}

/* May the goroutine be switched where it was interrupted? Not on another stack than its own, nor if
 * the handler runs there too, nor in a signal handler of the user's, which has changed the mask. */
static bool gor__switchable(gor__m *m, gor__g *g, void *context)
{
    uintptr_t lo = (uintptr_t)gor__aptr_load_rlx(&g->stack), sp = gor__arch_stack_at(context);
    size_t room = gor__stacks.page_size + GOR__PREEMPT_ROOM + gor__arch_context_size(context);
    return sp >= lo + room && sp - lo < gor__stack_size_of(g) &&
           (uintptr_t)context - lo >= gor__stack_size_of(g) &&
           !gor__au32_load_rlx(&g->no_preempt) &&
           !gor__aptr_load_rlx(&m->locked_g) && gor__may_switch_at(gor__arch_pc(context)) &&
           memcmp((char *)context + offsetof(ucontext_t, uc_sigmask), &m->mask,
                  GOR__SIGSET_SIZE) == 0;
}

static void gor__preempt_here(gor__m *m, void *context)
{
    gor__g *g = gor__m_g(m);
    uint32_t what = gor__au32_load_rlx(&m->attention);
    if (g == &m->g0 || !(what & GOR__ASK) ||
        ((what & (GOR__RETAKE | GOR__RETAKEN)) && !gor__au32_load_sc(&gor__rt.stopping)))
        return;
    if (gor__switchable(m, g, context)) {
        gor__arch_call_begin();
        gor__arch_context_move(context, gor__arch_stack_at(context), gor__preempted);
    } else {
        gor__au32_store_rlx(&m->refused, gor__au32_load_rlx(&m->refused) + 1);
    }
}

static void gor__preempt_signal(int sig, siginfo_t *info, void *context)
{
    int saved = gor__os_errno();
    gor__m *m = gor__self();
    struct sigaction *old = &gor__preempt.old;
    if (info->si_code == SI_QUEUE && info->si_value.sival_ptr == &gor__preempt) {
        if (m && !gor__au32_load_rlx(gor__arch_in_call()))
            gor__preempt_here(m, context);
    } else if (old->sa_flags & SA_SIGINFO) {
        old->sa_sigaction(sig, info, context);
    } else if (old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN) {
        old->sa_handler(sig);
    }
    gor__os_set_errno(saved);
}

/* -- which code ------------------------------------------------------------------------------ */

/* The header of the object that we are in; its program headers say where its code lies. */
extern const char __ehdr_start[] __attribute__((weak, visibility("hidden")));

static void gor__find_own_code(void)
{
    const Elf64_Ehdr *head = (const Elf64_Ehdr *)(const void *)__ehdr_start;
    const Elf64_Phdr *part;
    uintptr_t base = 0, us = (uintptr_t)gor__preempted, lo;
    if (!head || getauxval(AT_BASE) == 0 || GOR__STATIC_RUNTIME)   /* no loader: all is static */
        return;
    part = (const Elf64_Phdr *)(const void *)(__ehdr_start + head->e_phoff);
    for (int i = 0; i < head->e_phnum; i++, part++) {
        if (part->p_type != PT_LOAD)
            continue;
        if (part->p_offset == 0)
            base = (uintptr_t)head - (uintptr_t)part->p_vaddr;
        lo = base + (uintptr_t)part->p_vaddr;
        if (us >= lo && us < lo + (uintptr_t)part->p_memsz) {
            gor__preempt.lo = lo;
            gor__preempt.hi = lo + (uintptr_t)part->p_memsz;
        }
    }
}

static void gor__preempt_start(void)
{
    struct sigaction a;
    int mode = gor__rt.opt.preempt, sig = gor__preempt_number();
    memset(&gor__preempt, 0, sizeof gor__preempt);
    if (GOR__TSAN || (gor__rt.opt.flags & GOR_NO_SIGNALS))
        return;                                    /* TSan holds signals back until it suits it */
    gor__find_own_code();
    gor__preempt.all = mode == GOR_PREEMPT_SWITCH && gor__preempt.hi != 0;
    memset(&a, 0, sizeof a);
    a.sa_sigaction = gor__preempt_signal;
    a.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    sigemptyset(&a.sa_mask);
    if (sigaction(sig, &a, &gor__preempt.old) != 0)
        return;
    gor__preempt.installed = true;
    if (gor__preempt.all || (gor__any_marked() && mode != GOR_PREEMPT_OFF &&
                             mode != GOR_PREEMPT_ASK))
        gor__rt.preempt_signal = sig;
}

/* A signal on its way finds no M, and is passed over. */
static void gor__preempt_stop(void)
{
    struct sigaction now;
    int sig = gor__preempt_number();
    if (gor__preempt.installed && sigaction(sig, NULL, &now) == 0 &&
        now.sa_sigaction == gor__preempt_signal)
        sigaction(sig, &gor__preempt.old, NULL);
    gor__preempt.installed = false;
}

/* -- sysmon's side ----------------------------------------------------------------------------- */

/* Send m's thread the signal, with a value that tells it from the user's own. */
static bool gor__preempt_send(const gor__m *m)
{
    siginfo_t info;
    int sig = gor__preempt_number();
    memset(&info, 0, sizeof info);
    info.si_signo = sig;
    info.si_code = SI_QUEUE;
    info.si_pid = getpid();
    info.si_uid = getuid();
    info.si_value.sival_ptr = &gor__preempt;
    return gor__preempt.installed &&
           syscall(SYS_rt_tgsigqueueinfo, getpid(), (pid_t)gor__au32_load_rlx(&m->tid), sig,
                   &info) == 0;
}

/* The CPU time of m's thread; 0 if it is not to be had. */
static int64_t gor__cpu_time(const gor__m *m)
{
    struct timespec t;
    clockid_t clock = (clockid_t)((~gor__au32_load_rlx(&m->tid) << 3) | 6);   /* as pthread's */
    if (clock_gettime(clock, &t) != 0)
        return 0;
    return (int64_t)t.tv_sec * GOR_SEC + t.tv_nsec;
}

/* Does m's thread run, or wait for a CPU? Otherwise it sits in a system call. */
static bool gor__computes(const gor__m *m)
{
    char path[64], text[512], *end;
    size_t n;
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)gor__au32_load_rlx(&m->tid));
    n = gor__os_read_file(path, text, sizeof text - 1);
    text[n] = '\0';
    end = strrchr(text, ')');                      /* tid (name) state ... */
    return end && end[1] == ' ' && end[2] == 'R';
}

/* See to it that m, which computes, gets the signal. False: it does not compute, or gets the signal
 * where it must not be switched, or not at all, or signals are not used. */
static bool gor__preempt_ask(gor__p *p, gor__m *m)
{
    int64_t cpu;
    if (!gor__rt.preempt_signal || !gor__computes(m))
        return false;
    cpu = gor__cpu_time(m);
    if (cpu == p->seen_cpu)
        return true;                               /* it waits for a CPU: nothing has changed */
    if (gor__au32_load_rlx(&m->refused) - p->seen_refused >= GOR__PREEMPT_REFUSALS ||
        p->signals == GOR__PREEMPT_SIGNALS)
        return false;
    p->seen_cpu = cpu;
    p->signals++;
    return gor__preempt_send(m);
}

/* ==== [retake] a goroutine keeps its thread and loses its processor ==============================
 * What        A goroutine that is past its quantum and makes no gor call, because it computes, or
 *             sits in a system call, a page fault, a lock of somebody else's: sysmon takes its P
 *             and gives it to another M. Nothing is switched, so no lock, register or thread-local
 *             is caught halfway, and no system call is interrupted. At its next gor call the
 *             goroutine waits for a P again, as after gor_block.
 * Invariants  R1 A P is taken only from an M that is in the user's code: sysmon sets GOR__RETAKE;
 *                membarrier; reads m->in_call. The M stores in_call; reads the attention word. So
 *                sysmon sees the call, or the call sees RETAKE.
 *             R2 While RETAKE is set the M waits in its call, which has touched nothing yet.
 *                sysmon answers within a few instructions: RETAKEN, or all is as before.
 *             R3 An elided lock is held in a call only. So locks become real ones here, before a
 *                second M runs ([spin] I2).
 * Without     membarrier every M has GOR__FENCE set, and so fences at the begin of each call
 *             itself. A signal, which other runtimes take for this, would make the user's sleep or
 *             poll return early.
 * Source      Go's retake of Ps in system calls, here for all code; the asymmetric fence of Dice,
 *             Huang and Yang, "Asymmetric Dekker Synchronization" (2001).
 */

/* Is there anything to do with p but what m does? */
static bool gor__somebody_waits(gor__p *p, gor__m *m)
{
    return gor__au32_load_rlx(&p->retire) || gor__au32_load_sc(&m->preempted.n) != 0 ||
           gor__au32_load_rlx(&gor__rt.poll_due) || gor__work_anywhere() ||
           gor__timers_first() <= gor__os_now();
}

/* Said once a run: what would run waits for a thread. */
static void gor__say_no_thread(void)
{
    static uint64_t said;
    char text[160];
    int n;
    if (said == gor__rt.epoch)
        return;
    said = gor__rt.epoch;
    n = snprintf(text, sizeof text, "gor: max_threads (%d) reached while goroutines wait for a "
                 "thread: those who have one block or compute\n", gor__rt.opt.max_threads);
    if (write(2, text, (size_t)n) < 0)
        return;
}

/* Would an M be had to run another P? */
static bool gor__thread_to_be_had(void)
{
    bool yes;
    gor__lock_sched();
    yes = gor__au32_load_rlx(&gor__rt.n_idle_m) > 0 || gor__rt.n_m < gor__rt.opt.max_threads;
    gor__unlock_sched();
    if (!yes)
        gor__say_no_thread();
    return yes;
}

/* Has m p, and is it in the user's code? */
static bool gor__p_of_user(gor__p *p, gor__m *m)
{
    uint32_t in_call;
    return gor__p_holder(p, &in_call) == m && !in_call;
}

/* p and m part, if m is in the user's code and still has it. */
static bool gor__take_p(gor__p *p, gor__m *m)
{
    bool ours;
    gor__call_on(m, GOR__RETAKE);
    gor__fence_all();
    ours = gor__p_of_user(p, m);
    if (ours) {
        gor__share();                              /* R3 */
        gor__timers_date(&p->timers);              /* [date] A3 */
        gor__au32_add(&gor__rt.n_blocked, 1);
        gor__aptr_store_rlx(&m->p, NULL);
        gor__aptr_store_rlx(&p->m, &gor__in_transit);
        gor__preempted_spill(m);
        gor__call_on(m, GOR__RETAKEN);
    }
    gor__au32_and(&m->attention, ~(uint32_t)GOR__RETAKE);
    return ours;
}

static void gor__retake(gor__p *p, gor__m *m)
{
    if (gor__p_of_user(p, m) && gor__thread_to_be_had() && gor__take_p(p, m)) {
        gor__au64_bump(&gor__rt.retaken);
        gor__p_run(p, false);
    }
}

/* ==== [trace] who ran when, as a file ============================================================
 * What        gor_trace_start and gor_trace_stop: what [turn] has noted, for Perfetto and
 *             chrome://tracing. A row for each thread, a box for each turn of a goroutine.
 * Source      The Trace Event Format of Chromium.
 * Tests       tests/trace.c
 */

/* Pass state on to the scheduler: while it is ON, g0 makes every choice. It is looked at anew under
 * the lock, so of two that change it the later one's word stays. In a gor call, while the runtime
 * runs. */
static void gor__trace_switch(void)
{
    gor__lock_sched();
    gor__au32_store_rlx(&gor__rt.tracing,
                        gor__au32_load_sc(&gor__turns.state) == GOR__TURNS_ON);
    gor__urgent_update_locked();
    gor__unlock_sched();
}

/* Begin a call that does not yield. A run that ends never comes back to who yields, and then the
 * state would be CHANGING for ever. So the P is not touched, which may have been taken. */
static gor__m *gor__trace_enter(void)
{
    gor__m *m;
    gor__call_begin();
    m = gor__self();
    if (!m)
        return gor__enter();
    gor__asked(m);
    return m;
}

/* In a gor call: is this a run? It does not end before the call does, or finds what that has left:
 * gor__shut_down. */
static bool gor__trace_in_run(void)
{
    return gor__au32_load_sc(&gor__rt.running) == GOR__ON;
}

/* -- the file ------------------------------------------------------------------------------ */

/* How many bytes at s are one character in UTF-8; 0: none is, as where a long name was cut. */
static int gor__trace_utf8(const char *s)
{
    const unsigned char *u = (const unsigned char *)s;
    int n = u[0] < 0x80 ? 1 : u[0] < 0xc2 ? 0 : u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 :
            u[0] < 0xf5 ? 4 : 0;
    for (int i = 1; i < n; i++)
        if (u[i] >> 6 != 2)
            return 0;
    if ((u[0] == 0xe0 && u[1] < 0xa0) || (u[0] == 0xed && u[1] > 0x9f) ||
        (u[0] == 0xf0 && u[1] < 0x90) || (u[0] == 0xf4 && u[1] > 0x8f))
        return 0;                                  /* too long a form, surrogates, too large */
    return n;
}

static void gor__trace_string(FILE *f, const char *s)
{
    putc('"', f);
    while (*s) {
        int n = gor__trace_utf8(s);
        if (n == 0)
            fputs("\\ufffd", f);
        else if (*s == '"' || *s == '\\' || (unsigned char)*s < ' ')
            fprintf(f, "\\u%04x", (unsigned char)*s);
        else
            fwrite(s, 1, (size_t)n, f);
        s += n ? n : 1;
    }
    putc('"', f);
}

/* In us. By whole numbers, for the user's locale may write a comma for the point. */
static void gor__trace_time(FILE *f, const char *key, int64_t ns)
{
    uint64_t t = ns > 0 ? (uint64_t)ns : 0;        /* a turn may have begun before the trace */
    fprintf(f, ",\"%s\":%llu.%03u", key, (unsigned long long)(t / 1000), (unsigned)(t % 1000));
}

static void gor__trace_event(FILE *f, const gor__turn *e)
{
    const char *then = gor__state_text[e->state <= GOR__DEAD ? e->state : (uint32_t)GOR__DEAD];
    if (e->state == GOR__WAITING && e->why != GOR__WHY_NONE && e->why < GOR__N_WHYS)
        then = gor__why_text[e->why];
    fputs("{\"ph\":\"X\",\"pid\":1,\"name\":", f);
    gor__trace_string(f, e->name);
    fprintf(f, ",\"tid\":%u", e->tid);
    gor__trace_time(f, "ts", e->from - gor__turns.began);
    gor__trace_time(f, "dur", e->to - e->from);
    fprintf(f, ",\"args\":{\"goroutine\":%llu,\"processor\":%d,\"then\":\"%s\"}},\n",
            (unsigned long long)e->id, e->p, then);
}

/* 0 or -errno. The last object has no comma. */
static int gor__trace_write(FILE *f, uint64_t n)
{
    uint64_t kept = n < GOR__TURN_CAP ? n : GOR__TURN_CAP;
    int rc = 0;
    fputs("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n", f);
    for (uint64_t i = 0; i < kept && !ferror(f); i++)
        gor__trace_event(f, &gor__turns.turn[i]);
    fprintf(f, "{\"ph\":\"M\",\"pid\":1,\"name\":\"process_name\",\"args\":{\"name\":\"gor\"}}\n"
               "],\"otherData\":{\"turns\":\"%llu\",\"not kept\":\"%llu\"}}\n",
            (unsigned long long)n, (unsigned long long)(n - kept));
    if (ferror(f))
        rc = -gor__os_errno();
    if (fclose(f) != 0 && rc == 0)
        rc = -gor__os_errno();
    return rc;
}

static void gor__trace_drop(void)
{
    gor__os_release(gor__turns.turn, GOR__TURN_CAP * sizeof *gor__turns.turn);
}

/* Stop, if a trace is on. */
static bool gor__trace_close(void)
{
    return gor__au32_cas(&gor__turns.state, GOR__TURNS_ON, GOR__TURNS_CHANGING);
}

/* Write what there is, after gor__trace_close. 0 or -errno. Not in a gor call: a file may be
 * slow. */
static int gor__trace_finish(void)
{
    int rc;
    while (gor__au32_load_sc(&gor__turns.busy) != 0)   /* sc: after state was changed; I1 */
        gor__os_yield();
    rc = gor__trace_write(gor__turns.file, gor__au64_load_rlx(&gor__turns.n));
    gor__trace_drop();
    gor__au32_store_rel(&gor__turns.state, GOR__TURNS_OFF);
    return rc;
}

/* Room for the events, and the file. 0 or -errno. */
static int gor__trace_open(const char *path)
{
    int rc;
    gor__turns.turn = (gor__turn *)gor__os_reserve(GOR__TURN_CAP * sizeof(gor__turn));
    if (!gor__turns.turn)
        return -ENOMEM;
    gor__turns.file = fopen(path, "we");
    if (gor__turns.file) {
        gor__au64_store_rlx(&gor__turns.n, 0);
        gor__turns.began = gor__os_now();
        return 0;
    }
    rc = -gor__os_errno();
    gor__trace_drop();
    return rc;
}

/* All is there: begin. The run may have ended meanwhile: -ESRCH. */
static int gor__trace_turn_on(void)
{
    gor__m *m = gor__trace_enter();
    bool in_run = gor__trace_in_run();
    if (in_run) {
        gor__au32_store_sc(&gor__turns.state, GOR__TURNS_ON);
        gor__trace_switch();
    }
    gor__leave(m);
    return in_run ? 0 : -ESRCH;
}

static int gor__trace_try_start(const char *path)
{
    int rc;
    if (!gor__au32_cas(&gor__turns.state, GOR__TURNS_OFF, GOR__TURNS_CHANGING))
        return -EBUSY;
    rc = gor__trace_open(path);
    if (rc == 0 && (rc = gor__trace_turn_on()) != 0) {
        fclose(gor__turns.file);
        gor__trace_drop();
    }
    if (rc != 0)
        gor__au32_store_sc(&gor__turns.state, GOR__TURNS_OFF);
    return rc;
}

static int gor__trace_try_stop(void)
{
    gor__m *m;
    if (!gor__trace_close())
        return -ESRCH;
    m = gor__trace_enter();
    if (gor__trace_in_run())
        gor__trace_switch();
    gor__leave(m);
    return gor__trace_finish();
}

/* Not switched off in place meanwhile, which the end of a run does too: as above. */
int gor_trace_start(const char *path)
{
    int rc, err = gor__os_errno();
    if (!path)
        return -EINVAL;
    if (!gor__is_on())
        return -ESRCH;
    gor_preempt_off();
    rc = gor__trace_try_start(path);
    gor__os_set_errno(err);
    gor_preempt_on();
    return rc;
}

int gor_trace_stop(void)
{
    int rc, err = gor__os_errno();
    gor_preempt_off();
    rc = gor__trace_try_stop();
    gor__os_set_errno(err);
    gor_preempt_on();
    return rc;
}

/* In the child of a fork, which has its parent's trace on: the file is the parent's, nothing has
 * been written to it, and it stays as it is. */
static void gor__trace_forget(void)
{
    if (gor__au32_load_rlx(&gor__turns.state) == GOR__TURNS_ON)
        gor__trace_drop();
    memset(&gor__turns, 0, sizeof gor__turns);
}

/* ==== [procs] how many processors there are ==================================================
 * What        Makes them, and has as many take part as are wanted. Who holds one that is not wanted
 *             any more gives it back himself ([sched]).
 * Invariants  I1 n_asked is what gor_procs was told, n_procs how many are wanted: as many, or one
 *                ([jam]).
 * Locks       gor__rt.lock (SCHED).
 */
static void gor__p_free(gor__p *p)
{
    gor__due_free(p->timers.heap, p->timers.cap);
    gor__free_aligned(p->memory, sizeof *p);
}

/* The word by which P number i owns locks ([owned]). Not without membarrier, nor if it has no room
 * there. */
static uint32_t gor__p_own_word(uint32_t i)
{
    bool can = gor__rt.membarrier && i < GOR__MX_P / GOR__MX_P_ONE;
    return can ? i * GOR__MX_P_ONE + GOR__MX_RUN : GOR__MX_NOBODY;
}

/* Make P number i. */
static gor__p *gor__p_new(int i)
{
    void *memory;
    gor__p *p = (gor__p *)gor__zalloc_aligned(sizeof *p, &memory);
    if (!p)
        return NULL;
    p->memory = memory;
    if (gor__timers_init(&p->timers) != 0) {
        gor__free_aligned(memory, sizeof *p);
        return NULL;
    }
    p->id = i;
    p->seen_ns = gor__os_now();
    gor__au32_store_rlx(&p->own, gor__p_own_word((uint32_t)i));
    gor__aptr_store_rlx(&p->dead, &p->crate[0]);
    gor__aptr_store_rlx(&p->spare, &p->crate[1]);
    gor__au32_store_rlx(&p->high_tick, (uint32_t)-2);   /* no turn yet */
    gor__au32_store_rlx(&p->way_after, GOR__WAY_SOON);
    return p;
}

/* Set the number of processors; they exist or come to be. Under the scheduler's lock, which is
 * let go to allocate. 0 or -ENOMEM. */
static int gor__procs_set(int n)
{
    while ((int)gor__au32_load_rlx(&gor__rt.n_allp) < n) {
        int i = (int)gor__au32_load_rlx(&gor__rt.n_allp);
        gor__p *p;
        gor__unlock_sched();
        p = gor__p_new(i);
        gor__lock_sched();
        if (!p)
            return -ENOMEM;
        if ((int)gor__au32_load_rlx(&gor__rt.n_allp) != i) {   /* someone else was quicker */
            gor__unlock_sched();
            gor__p_free(p);
            gor__lock_sched();
            continue;
        }
        gor__aptr_store_rel(&gor__rt.allp[i], p);
        gor__au32_store_rlx(&p->retire, 1);
        gor__au32_store_rel(&gor__rt.n_allp, (uint32_t)i + 1);
    }
    gor__au32_store_sc(&gor__rt.n_procs, (uint32_t)n);
    for (uint32_t i = 0; i < gor__au32_load_rlx(&gor__rt.n_allp); i++) {
        gor__p *p = gor__p_at(i);
        bool wanted = (int)i < n, retired = gor__au32_load_rlx(&p->retire) != 0;
        gor__au32_store_rlx(&p->retire, !wanted);
        if (wanted && retired && !gor__aptr_load_rlx(&p->m) && !p->idle)
            gor__p_idle_push_locked(p);
    }
    return 0;
}

/* The same, and it is what gor_procs says from now on. */
static int gor__procs_ask(int n)
{
    int rc = gor__procs_set(n);
    if (rc == 0)
        gor__au32_store_rlx(&gor__rt.n_asked, (uint32_t)n);
    return rc;
}

/* Those that are not wanted any more and idle; who holds one gives it back himself. */
static void gor__procs_retire_idle(void)
{
    uint32_t n = gor__au32_load_acq(&gor__rt.n_allp);
    for (uint32_t i = 0; i < n; i++) {
        gor__p *p = gor__p_at(i);
        gor__lock_idle_p();
        p = gor__au32_load_rlx(&p->retire) && p->idle ? gor__p_idle_pop_locked(p) : NULL;
        gor__unlock_sched();
        if (p)
            gor__p_retire(p);
    }
}

int gor_procs(int n)
{
    gor__m *m = gor__enter();
    int old = -ESRCH;
    if (gor__is_on()) {
        gor__lock_sched();
        old = (int)gor__au32_load_rlx(&gor__rt.n_asked);
        if (n > 1 && gor__au32_load_rlx(&gor__shared) == 0) {
            gor__share();                          /* we hold the only P, and no elided lock */
            gor__mine_end(m);
        }
        if (n > 0)
            gor__procs_ask(n > GOR__MAX_PROCS ? GOR__MAX_PROCS : n);
        gor__unlock_sched();
        gor__procs_retire_idle();
        gor__submitted();
    }
    gor__leave(m);
    return old;
}

/* ==== [jam] one processor, where several are in each other's way ================================
 * What        Goroutines that run for a moment each, and wake such as have run elsewhere last, wait
 *             most of their turns for another processor's cache: ten thousand senders and one
 *             receiver. There one processor gets more done than all. No goroutine or thief can tell
 *             from its own turns; so [sysmon] tries it, and counts everybody's.
 * Invariants  J1 It is tried when for GOR__JAM_LOOKS looks all processors were busy, each with
 *                turns of GOR__JAM_TURN_NS at most, on average: nobody computes for long. And not
 *                where timers would have to move over.
 *             J2 All but the first processor retire then, as if gor_procs had said so. That goes on
 *                while it is busy, and takes half as many turns again as all together did before,
 *                in each GOR__JAM_LOOKS looks. The first such time is over as soon as it takes
 *                turns as quickly as in J1, but too few: after two looks, most often. And at any
 *                look that finds it computing.
 *             J3 Nothing is for ever: after GOR__JAM_HOLD_NS alone all are back, and it is tried
 *                again, for what all get done may have changed. A try that failed is not repeated
 *                for GOR__JAM_WAIT_NS. Each time is twice the last, until the other answer comes.
 *             J4 Who calls gor_procs meanwhile has what he says.
 * Locks       gor__rt.lock (SCHED); the rest is the watch's own.
 * Source      Finding the number of threads by trying: Suleman, Qureshi and Patt, "Feedback-Driven
 *             Threading" (2008).
 * Tests       tests/procs.c; under stress it is tried at random, and goes on at random
 */
typedef struct gor__pace { uint64_t turns; int64_t ns; } gor__pace;

enum gor__jam_state {
    GOR__JAM_ALL,                      /* as many processors run as gor_procs says             */
    GOR__JAM_BEGINS,                   /* one takes over: that look does not count             */
    GOR__JAM_ONE,
    GOR__JAM_PROVED                    /* one, for GOR__JAM_LOOKS looks at least               */
};

static struct {
    enum gor__jam_state state;
    int64_t   at, since;               /* of the last look; from here on turns are counted     */
    uint32_t  looks;                   /* since then                                           */
    uint32_t  tick;                    /* the first processor's, at the last look              */
    gor__pace all;                     /* before one was alone                                 */
    int64_t   until;                   /* one till then; all: not tried before                 */
    int64_t   hold, wait;              /* J3: the next ones                                    */
} gor__jam;

/* Count from here on. */
static void gor__jam_count(void)
{
    uint32_t n = gor__au32_load_acq(&gor__rt.n_allp);
    for (uint32_t i = 0; i < n; i++)
        gor__p_at(i)->jam_tick = gor__au32_load_rlx(&gor__p_at(i)->tick);
    gor__jam.since = gor__jam.at;
    gor__jam.looks = 0;
}

static void gor__jam_begin(void)
{
    memset(&gor__jam, 0, sizeof gor__jam);
    gor__jam.at = gor__os_now();
    gor__jam.hold = GOR__JAM_HOLD_NS;
    gor__jam.wait = GOR__JAM_WAIT_NS;
    gor__jam_count();
}

/* Everybody's turns so far. True: those of each processor are quick (J1). */
static bool gor__jam_pace(gor__pace *pace)
{
    uint32_t n = gor__au32_load_acq(&gor__rt.n_allp);
    bool quick = true;
    pace->turns = 0;
    pace->ns = gor__jam.at - gor__jam.since;
    for (uint32_t i = 0; i < n; i++) {
        gor__p *p = gor__p_at(i);
        uint32_t turns = gor__au32_load_rlx(&p->tick) - p->jam_tick;
        pace->turns += turns;
        if (!gor__au32_load_rlx(&p->retire))
            quick = quick && (int64_t)turns * GOR__JAM_TURN_NS >= pace->ns;
    }
    return quick;
}

/* Has one processor, alone, half as many turns again as all had? */
static bool gor__jam_pays(const gor__pace *one)
{
    const gor__pace *all = &gor__jam.all;
    return one->turns * 2 * (uint64_t)all->ns >= all->turns * 3 * (uint64_t)one->ns ||
           gor__stress_hit(2);
}

static bool gor__jam_may_retire(void)
{
    uint32_t n = gor__au32_load_acq(&gor__rt.n_allp);
    for (uint32_t i = 1; i < n; i++)
        if (gor__ai64_load_sc(&gor__p_at(i)->timers.first) != GOR_FOREVER)
            return false;
    return !(gor__rt.opt.flags & GOR_ALL_PROCS);
}

/* Let one processor be wanted, or as many as gor_procs says. */
static void gor__jam_set(enum gor__jam_state state)
{
    gor__lock_sched();
    gor__procs_set(state == GOR__JAM_ALL ? (int)gor__au32_load_rlx(&gor__rt.n_asked) : 1);
    gor__unlock_sched();
    gor__procs_retire_idle();
    gor__submitted();
    gor__jam.state = state;
    gor__jam_count();
}

static void gor__jam_try(bool busy)
{
    bool full = gor__jam.looks >= GOR__JAM_LOOKS;
    bool quick = gor__jam_pace(&gor__jam.all);
    bool jam = full && quick && gor__jam.at >= gor__jam.until;
    if (busy && (jam || gor__stress_hit(4)) && gor__jam_may_retire()) {
        gor__jam.until = gor__jam.at + gor__jam.hold;
        gor__jam_set(GOR__JAM_BEGINS);
    } else if (full || !busy) {
        gor__jam_count();
    }
}

static int64_t gor__jam_twice(int64_t ns, int64_t most) { return 2 * ns < most ? 2 * ns : most; }

/* All are back. When is it tried next, and how long does it hold? failed: by J2's measure. */
static void gor__jam_end(bool failed)
{
    int64_t wait = gor__jam.wait, hold = gor__jam.hold;
    bool paid = gor__jam.state == GOR__JAM_PROVED;
    gor__jam.until = gor__jam.at + (paid ? 0 : wait);
    gor__jam.hold = paid ? gor__jam_twice(hold, GOR__JAM_HOLD_MAX) : GOR__JAM_HOLD_NS;
    if (paid)
        gor__jam.wait = GOR__JAM_WAIT_NS;
    else if (failed)
        gor__jam.wait = gor__jam_twice(wait, GOR__JAM_WAIT_MAX);
    gor__jam_set(GOR__JAM_ALL);
}

/* Is a goroutine on the first processor that runs since the last look, and never is in a call? Who
 * takes what ten thousand have sent runs as long, but in calls. */
static bool gor__jam_computes(void)
{
    gor__p *p = gor__p_at(0);
    uint32_t before = gor__jam.tick, in_call = 0;
    gor__jam.tick = gor__au32_load_rlx(&p->tick);
    for (int i = 0; i < 16 && !in_call; i++)
        if (before != gor__au32_load_rlx(&p->tick) || !gor__p_holder(p, &in_call))
            return false;
    return !in_call;
}

static void gor__jam_one(bool busy)
{
    gor__pace one;
    bool quick = gor__jam_pace(&one), full = gor__jam.looks >= GOR__JAM_LOOKS;
    bool judge = full || (quick && gor__jam.state == GOR__JAM_ONE);
    bool failed = judge && !gor__jam_pays(&one);
    if (failed || !busy || gor__jam.at >= gor__jam.until || gor__jam_computes()) {
        gor__jam_end(failed);
    } else if (full) {
        gor__jam.state = GOR__JAM_PROVED;
        gor__jam_count();
    }
}

/* [sysmon] is about to sleep: so there is no jam. */
static void gor__jam_leave(void)
{
    if (gor__jam.state != GOR__JAM_ALL)
        gor__jam_end(false);
}

/* By [sysmon], at each of its rounds. */
static void gor__watch_jam(void)
{
    int64_t now = gor__ai64_load_rlx(&gor__rt.coarse_ns);
    bool several = gor__au32_load_rlx(&gor__rt.n_procs) > 1;
    bool busy = gor__au32_load_sc(&gor__rt.n_idle_p) == 0;
    if (now - gor__jam.at < GOR__JAM_NS)
        return;
    gor__jam.at = now;
    gor__jam.looks++;
    if (several && gor__jam.state != GOR__JAM_ALL) {
        gor__jam_set(GOR__JAM_ALL);                /* J4; or one more would not retire */
    } else if (several) {
        gor__jam_try(busy);
    } else if (gor__jam.state == GOR__JAM_ALL) {
        gor__jam_count();
    } else if (gor__jam.state == GOR__JAM_BEGINS) {
        gor__jam.state = GOR__JAM_ONE;
        gor__jam_count();
    } else {
        gor__jam_one(busy);
    }
}

/* ==== [sysmon] the watch =====================================================================
 * What        A thread without a P. While goroutines run it looks around four times a quantum, or
 *             each 5 ms: keeps the coarse clock and the date, tells the sleeper of timers that are
 *             near, asks goroutines past their quantum to yield, takes the P of those that do not
 *             hear ([retake]). While all is asleep it sleeps too, after it has made sure that this
 *             is no deadlock.
 * Poller      If fds are waited for and nobody has looked at them for two rounds, it has someone do
 *             it: an idle M, or who schedules next. It does not look itself: it has no P to run
 *             with what it finds, and may not take elided locks.
 * Deadlock    Every P is idle, nothing is queued, no timer is pending, no gor_block is in flight,
 *             nobody waits for an fd or a signal, and every thread of the process is one of ours,
 *             or asleep in a gor call without a deadline, or was there before main (a tool's).
 *             Then nobody can wake anybody.
 *             Otherwise the question is asked again, as long as it may be answered differently:
 *             after a second, then after as long as nobody has run, so that a program at rest is
 *             left alone. The first to run on a processor that was at rest pays for its cold
 *             caches, and threads are listed by a dozen system calls.
 */
#define GOR__SYSMON_MIN_NS (25 * GOR_US)
#define GOR__RECHECK_MIN_NS (1 * GOR_SEC)
#define GOR__RECHECK_MAX_NS (8 * GOR_SEC)
#define GOR__MAX_TOOLS   16

static int gor__tool_tids[GOR__MAX_TOOLS];     /* older than main: of sanitizers, emulators */
static int gor__n_tools;

static bool gor__remember_tool(int tid, void *arg)
{
    (void)arg;
    if (tid != (int)getpid() && gor__n_tools < GOR__MAX_TOOLS)
        gor__tool_tids[gor__n_tools++] = tid;
    return true;
}

static void *gor__no_work(void *arg) { return arg; }

/* ThreadSanitizer starts a thread of its own with the first one of the program: let that be now. */
__attribute__((constructor)) static void gor__before_main(void)
{
    pthread_t first;
    if (GOR__TSAN && pthread_create(&first, NULL, gor__no_work, NULL) == 0)
        pthread_join(first, NULL);
    gor__os_unknown_threads(gor__remember_tool, NULL);
}

static int gor__sysmon_tid;

static bool gor__thread_known(int tid, void *arg)
{
    (void)arg;
    if (tid == gor__sysmon_tid)
        return true;
    for (int i = 0; i < gor__n_tools; i++)
        if (gor__tool_tids[i] == tid)
            return true;
    for (gor__m *m = gor__rt.all_m; m; m = m->all_next)
        if (gor__au32_load_rlx(&m->tid) == (uint32_t)tid &&
            gor__au32_load_rlx(&m->state) != GOR__M_GONE)
            return true;
    return false;
}

/* Never fewer than were alive at some moment of the call: whoever is seen to have ended, first, has
 * been counted as started. */
static size_t gor__n_goroutines(void)
{
    uint64_t started, ended = 0;
    uint32_t procs = gor__au32_load_acq(&gor__rt.n_allp);
    for (uint32_t i = 0; i < procs; i++)
        ended += gor__au64_load_acq(&gor__p_at(i)->ended);
    started = gor__au64_load_rlx(&gor__rt.outside_started);
    procs = gor__au32_load_acq(&gor__rt.n_allp);
    for (uint32_t i = 0; i < procs; i++)
        started += gor__au64_load_rlx(&gor__p_at(i)->started);
    return (size_t)(started - ended);
}

/* Somebody waits for an fd, or for a signal. Exact when all Ms are asleep. */
static bool gor__outside_may_wake(void)
{
    uint64_t n = 0;
    uint32_t procs = gor__au32_load_acq(&gor__rt.n_allp);
    for (uint32_t i = 0; i < procs; i++)
        n += gor__au64_load_rlx(&gor__p_at(i)->fd_waits);
    return n != 0 || gor__au32_load_sc(&gor__rt.signals) != 0;
}

/* Nothing runs and nothing is about to. Under the scheduler's lock. */
static bool gor__all_asleep_locked(void)
{
    uint32_t n = gor__au32_load_rlx(&gor__rt.n_allp);
    for (uint32_t i = 0; i < n; i++) {
        gor__p *p = gor__p_at(i);
        if (gor__aptr_load_acq(&p->m))
            return false;
    }
    return gor__au32_load_sc(&gor__rt.n_spinning) == 0 && !gor__work_anywhere();
}

enum gor__quiet { GOR__BUSY, GOR__QUIET, GOR__QUIET_ASK_AGAIN, GOR__DEADLOCK, GOR__ALL_GONE };

/* A timer, an fd or a signal will wake somebody. */
static bool gor__something_will_wake(void)
{
    return gor__timers_first() != GOR_FOREVER || gor__outside_may_wake();
}

/* All of ours are asleep, and nothing will wake them. Is nobody else left who might? While the
 * threads are counted none of them may have moved: who had not been asleep before is counted
 * himself, and what he left behind before he went is looked for after it. */
static enum gor__quiet gor__who_is_left_locked(void)
{
    uint32_t asleep = gor__au32_load_sc(&gor__n_foreign), asleep_now;
    uint64_t moves = gor__au64_load_sc(&gor__foreign);
    int unknown;
    if (gor__au32_load_sc(&gor__rt.n_blocked) != 0)
        return GOR__QUIET_ASK_AGAIN;
    unknown = gor__os_unknown_threads(gor__thread_known, NULL);
    asleep_now = gor__au32_load_sc(&gor__n_foreign);
    if (unknown < 0)
        return GOR__QUIET;
    if (unknown > (int32_t)asleep || unknown > (int32_t)asleep_now ||
        gor__au64_load_sc(&gor__foreign) != moves || gor__something_will_wake())
        return GOR__QUIET_ASK_AGAIN;
    return GOR__DEADLOCK;
}

static enum gor__quiet gor__how_quiet(void)
{
    enum gor__quiet q;
    gor__lock_sched();
    if (!gor__all_asleep_locked() || gor__au32_load_sc(&gor__rt.stopping))
        q = GOR__BUSY;                             /* asleep at the end of a run is no deadlock */
    else if (gor__n_goroutines() == 0 && gor__timers_first() == GOR_FOREVER &&
             gor__au32_load_sc(&gor__rt.main_left))
        q = GOR__ALL_GONE;
    else if (gor__something_will_wake())           /* if nobody minds that, we do */
        q = gor__aptr_load_sc(&gor__rt.sleeper) ? GOR__QUIET : GOR__BUSY;
    else
        q = gor__n_goroutines() == 0 ? GOR__QUIET : gor__who_is_left_locked();
    gor__unlock_sched();
    return q;
}

/* How long it sleeps while goroutines run. */
static int64_t gor__sysmon_period(void)
{
    int64_t ns = gor__rt.opt.quantum / 4;
    return ns > GOR__SYSMON_NS ? GOR__SYSMON_NS :
           ns < GOR__SYSMON_MIN_NS ? GOR__SYSMON_MIN_NS : ns;
}

static void gor__ask(gor__p *p, gor__m *m)
{
    p->asked = true;
    p->signals = 0;
    p->seen_refused = gor__au32_load_rlx(&m->refused);
    p->seen_cpu = gor__rt.preempt_signal ? gor__cpu_time(m) : 0;
    gor__call_on(m, GOR__ASK);
}

/* Ask the goroutine of a P that has run for a quantum; the next times, switch it off by signal, or
 * take the P from it. */
static void gor__watch_p(gor__p *p, int64_t now)
{
    uint32_t tick = gor__au32_load_rlx(&p->tick);
    gor__m *m = (gor__m *)gor__aptr_load_acq(&p->m);
    if (!m || m == &gor__in_transit || tick != p->seen_tick) {
        p->seen_tick = tick;
        p->seen_ns = now;
        p->asked = false;
    } else if (now - p->seen_ns >= gor__rt.opt.quantum) {
        if (!p->asked)
            gor__ask(p, m);
        else if (gor__rt.opt.preempt != GOR_PREEMPT_ASK && gor__somebody_waits(p, m) &&
                 !gor__preempt_ask(p, m))
            gor__retake(p, m);
    }
}

static void gor__watch_all(void)
{
    int64_t now = gor__date_renew();
    uint32_t n = gor__au32_load_acq(&gor__rt.n_allp);
    gor__tidy_behind(now, now - gor__ai64_load_rlx(&gor__rt.coarse_ns));
    gor__ai64_store_rlx(&gor__rt.coarse_ns, now);
    if (gor__rt.opt.preempt != GOR_PREEMPT_OFF)
        for (uint32_t i = 0; i < n; i++)
            gor__watch_p(gor__p_at(i), now);
}

/* Wake a P for work that nobody looks for: a thread could not be had when it was wanted, or wakes
 * are in vain ([idle] I7). True: there is work, and a free P. */
static bool gor__watch_queues(void)
{
    if (gor__au32_load_sc(&gor__rt.n_idle_p) == 0 ||
        (!gor__work_anywhere() && gor__timers_first() > gor__os_now()))
        return false;
    if (gor__au32_load_sc(&gor__rt.n_spinning) == 0 && gor__thread_to_be_had())
        gor__wake_p();
    return true;
}

/* The oldest of those that have not begun have their turn: [ready] I4. */
static void gor__watch_fresh(void)
{
    int64_t now = gor__ai64_load_rlx(&gor__rt.coarse_ns);
    if (gor__au32_load_sc(&gor__rt.fresh.n) == 0 || now - gor__rt.fresh_ns < gor__rt.opt.quantum)
        return;
    gor__rt.fresh_ns = now;
    gor__lock_sched();
    for (int i = 0; i < GOR__RUNQ_CAP / 2; i++) {
        gor__crate *c = gor__rt.fresh.oldest;
        if (!c || now - gor__ai64_load_rlx(&gor__crate_at(c, 0)->since) < gor__rt.opt.quantum)
            break;
        gor__gr_add(&gor__rt.global, gor__gs_take(&gor__rt.fresh, c));
    }
    gor__gs_tell(&gor__rt.fresh);
    gor__gr_tell(&gor__rt.global);
    gor__unlock_sched();
}

/* Tell the sleeper of a timer that is near: who started it may not have ([idle] I4). If there is no
 * sleeper, tell before the next look comes too late. Who stands by looks himself. */
static void gor__watch_timers(void)
{
    bool sleeper = gor__aptr_load_sc(&gor__rt.sleeper) != NULL;
    int64_t ahead = sleeper ? GOR__FAR_NS / 2 : GOR__SYSMON_NS, first;
    if (gor__au32_load_sc(&gor__rt.n_idle_p) == 0 ||
        (!sleeper && gor__aptr_load_sc(&gor__rt.standby)))
        return;
    first = gor__timers_first();
    if (first < gor__os_now() + ahead)
        gor__sleeper_tell(first);
}

/* Has the sleeper left, and does nobody stand by? */
static bool gor__poller_is_left(void)
{
    return gor__au32_load_sc(&gor__rt.poller) && !gor__aptr_load_sc(&gor__rt.sleeper) &&
           !gor__aptr_load_sc(&gor__rt.standby);
}

/* The sleeper minds fds. When it has left with an event it is nobody's turn until its M is idle
 * again: not for long. Where no P is idle, who runs next polls. */
static void gor__watch_poller(void)
{
    static uint32_t seen, stale;
    uint32_t polls = gor__au32_load_rlx(&gor__rt.polls);
    bool idle_p = gor__au32_load_sc(&gor__rt.n_idle_p) != 0;
    if (!gor__poller_is_left())
        return;
    stale = polls == seen ? stale + 1 : 0;
    seen = polls;
    if (idle_p && stale >= 2) {
        gor__wake_p();
    } else if (stale >= 2) {
        gor__lock_sched();
        gor__au32_store_rlx(&gor__rt.poll_due, 1);
        gor__urgent_update_locked();
        gor__unlock_sched();
    }
}

static void gor__report_deadlock(void)
{
    if (gor__rt.opt.on_deadlock)
        gor__rt.opt.on_deadlock(gor__rt.opt.user);
    gor__fatal("all goroutines are asleep - deadlock!", NULL);
}

/* Since when is the program at rest, as sysmon has seen it: nobody has run, nor called for it? */
static struct {
    uint64_t activity;                             /* what it was then */
    int64_t  since;
} gor__rest;

/* For how long has it been? */
static int64_t gor__rested(int64_t now)
{
    uint64_t activity = gor__activity();
    if (activity != gor__rest.activity) {
        gor__rest.activity = activity;
        gor__rest.since = now;
    }
    return now - gor__rest.since;
}

/* When to ask again whether all are asleep for ever. */
static int64_t gor__ask_again_at(void)
{
    int64_t now = gor__os_now(), ns = gor__rested(now);
    return now + (ns < GOR__RECHECK_MIN_NS ? GOR__RECHECK_MIN_NS :
                  ns > GOR__RECHECK_MAX_NS ? GOR__RECHECK_MAX_NS : ns);
}

/* Sleep until a P is taken; the flag first, then the question, or its answer would be old. */
static void gor__sysmon_sleep(void)
{
    uint32_t word = gor__au32_load_acq(&gor__rt.sysmon_park);
    enum gor__quiet q;
    int64_t until = GOR_FOREVER, tidy_at;
    gor__au32_xchg(&gor__rt.sysmon_idle, 1);
    q = gor__how_quiet();
    if (q == GOR__DEADLOCK)
        gor__report_deadlock();
    if (q == GOR__ALL_GONE)
        gor__stop_now();
    if (q == GOR__BUSY)
        until = gor__os_now() + gor__sysmon_period();
    else
        gor__date_end();
    if (q == GOR__QUIET_ASK_AGAIN)
        until = gor__ask_again_at();
    tidy_at = q == GOR__BUSY ? GOR_FOREVER : gor__tidy_all();
    until = until < tidy_at ? until : tidy_at;
    if (!gor__au32_load_sc(&gor__rt.stopping))
        gor__os_futex_wait(&gor__rt.sysmon_park, word, until);
    if (gor__au32_load_rlx(&gor__rt.sysmon_park) != word)      /* called; nobody need have run */
        gor__rest.since = gor__os_now();
    gor__au32_store_sc(&gor__rt.sysmon_idle, 0);
}

/* The run is over, and gor_run is to return on the thread that called it; but a goroutine computes
 * there. */
static void gor__call_main_home(void)
{
    static const char text[] = "gor: the main goroutine has returned; gor_run waits for a "
                               "goroutine that makes no gor call on its thread\n";
    gor__m *m = gor__rt.main_m;
    for (int i = 0; m && gor__au32_load_sc(&gor__rt.main_home) == 0; i++) {
        gor__call_on(m, GOR__ASK);
        if (gor__computes(m))
            gor__preempt_send(m);
        if (i == 1000 && write(2, text, sizeof text - 1) < 0)
            return;
        gor__os_futex_wait(&gor__rt.main_home, 0, gor__os_now() + GOR_MS);
    }
}

/* A look in between, while wakes are in vain ([idle] I7), for what nobody has been woken for. If
 * there is nothing for long, wakes are tried again. */
static void gor__watch_next(void)
{
    static uint32_t quiet;
    quiet = gor__watch_queues() ? 0 : quiet + 1;
    if (quiet >= GOR__IN_VAIN) {
        quiet = 0;
        gor__au32_store_rlx(&gor__rt.in_vain, 0);
    }
}

/* Sleep until it is time for the next round. In between, look for work while wakes are in vain, and
 * for who computes since it left the poller: what comes next there is another's. */
static void gor__sysmon_nap(void)
{
    int64_t until = gor__os_now() + gor__sysmon_period();
    for (;;) {
        uint32_t word = gor__au32_load_acq(&gor__rt.sysmon_park);
        uint32_t polls = gor__au32_load_rlx(&gor__rt.polls);
        bool vain = gor__waking_is_vain();
        bool left = gor__poller_is_left() && gor__au32_load_sc(&gor__rt.n_idle_p) != 0;
        int64_t now = gor__os_now(), soon = until;
        if (now >= until || gor__au32_load_sc(&gor__rt.stopping))
            return;
        if (vain || left)
            soon = now + (vain ? GOR__IN_VAIN_NS : GOR__STANDBY_NS);
        gor__os_futex_wait(&gor__rt.sysmon_park, word, soon < until ? soon : until);
        if (vain)
            gor__watch_next();
        if (left && gor__poller_is_left() && polls == gor__au32_load_rlx(&gor__rt.polls))
            gor__wake_p();
    }
}

static void *gor__sysmon_thread(void *arg)
{
    (void)arg;
    gor__sysmon_tid = gor__os_tid();
    gor__rest.activity = UINT64_MAX;               /* another run's */
    gor__jam_begin();
    while (!gor__au32_load_sc(&gor__rt.stopping)) {
        gor__watch_all();
        gor__watch_fresh();                        /* before who wakes a P for what it moves */
        gor__watch_queues();
        gor__watch_timers();
        gor__watch_poller();
        gor__watch_jam();
        gor__tidy_some();
        if (gor__au32_load_sc(&gor__rt.n_idle_p) < gor__au32_load_rlx(&gor__rt.n_procs)) {
            gor__sysmon_nap();
        } else {
            gor__jam_leave();
            gor__sysmon_sleep();
        }
    }
    gor__call_main_home();
    gor__au32_store_rel(&gor__rt.sysmon_gone, 1);
    gor__os_futex_wake(&gor__rt.sysmon_gone, 1);
    return NULL;
}

/* ==== [run] starting and stopping the runtime ================================================
 * What        gor_run makes the calling thread the first M; gor_start only starts others.
 * Stopping    stopping is set; every M leaves at its next look at the queues; who computes is
 *             asked, and after a second is left alone with its memory ([machine] I2). Then all is
 *             freed.
 */
static int gor__env_int(const char *name)
{
    const char *s = getenv(name);
    long n = s ? strtol(s, NULL, 10) : 0;
    return n > 0 && n <= INT_MAX ? (int)n : 0;
}

/* GORDEBUG=key=value,...: the number of a key, or 0. */
static int64_t gor__debug_value(const char *key)
{
    const char *s = getenv("GORDEBUG");
    size_t n = strlen(key);
    for (; s && *s; s = strchr(s, ',') ? strchr(s, ',') + 1 : NULL)
        if (strncmp(s, key, n) == 0 && s[n] == '=')
            return strtoll(s + n + 1, NULL, 10);
    return 0;
}

static int gor__options_set(const gor_options *o)
{
    gor_options *opt = &gor__rt.opt;
    int hooks;
    memset(opt, 0, sizeof *opt);
    if (o)
        *opt = *o;
    hooks = (opt->malloc != NULL) + (opt->realloc != NULL) + (opt->free != NULL);
    if (opt->procs < 0 || opt->procs > GOR__MAX_PROCS || opt->max_threads < 0 || opt->quantum < 0 ||
        opt->compact_idle < 0 ||
        (hooks != 0 && hooks != 3) || opt->preempt < 0 || opt->preempt > GOR_PREEMPT_SWITCH ||
        opt->preempt_signal < 0 || opt->preempt_signal >= NSIG ||
        (opt->stack_size && (opt->stack_size < GOR__MIN_STACK_SIZE ||
                             opt->stack_size > GOR__MAX_STACK_SIZE)))
        return -EINVAL;
    if (!opt->procs)
        opt->procs = gor__env_int("GORMAXPROCS");
    if (!opt->procs)
        opt->procs = gor__os_cpus();
    if (opt->procs > GOR__MAX_PROCS)
        opt->procs = GOR__MAX_PROCS;
    if (!opt->stack_size)
        opt->stack_size = GOR__STACK_SIZE;
    if (!opt->max_threads)
        opt->max_threads = GOR__MAX_THREADS;
    if (!opt->quantum)
        opt->quantum = GOR__QUANTUM_NS;
    if (!opt->compact_idle)
        opt->compact_idle = GOR__COMPACT_NS;
    if (opt->compact_idle > GOR_FOREVER / 4)       /* never: and may be added to times */
        opt->compact_idle = GOR_FOREVER / 4;
    gor__hooks.malloc = opt->malloc;
    gor__hooks.free = opt->free;
    gor__hooks.user = opt->user;
    return 0;
}

/* The child of a fork has one thread, which is in no runtime: it may use what needs none. */
static void gor__forked(void)
{
    gor__arch_set_self(NULL);
    gor__poll_close();                             /* the child's copies; the parent has its own */
    gor__packs_close();
    gor__trace_forget();
    memset(&gor__rt, 0, sizeof gor__rt);
    memset(&gor__polls, 0, sizeof gor__polls);
    gor__stacks_forget();
    gor__share();
    gor__au64_store_rlx(&gor__foreign, 0);
    gor__au32_store_rlx(&gor__n_foreign, 0);
}

/* -- starting ------------------------------------------------------------------------------ */

static bool gor__no_thread_known(int tid, void *arg)
{
    (void)arg;
    for (int i = 0; i < gor__n_tools; i++)
        if (gor__tool_tids[i] == tid)
            return true;
    return tid == gor__os_tid();
}

/* May locks be elided? One processor, a way to end it, and nobody else in the process. */
static bool gor__may_elide(bool with_main)
{
    return with_main && gor__rt.opt.procs == 1 && gor__rt.membarrier &&
           gor__os_unknown_threads(gor__no_thread_known, NULL) == 0;
}

#if GOR_CHECK
static void gor__stress_init(void)
{
    gor__stress = (uint64_t)gor__debug_value("stress");
    gor__runq_cap = gor__stress ? 4 : GOR__RUNQ_CAP;
    gor__au64_store_rlx(&gor__stress_rng, gor__stress * 2654435761u | 1);
}
#else
static void gor__stress_init(void) {}
#endif

static void gor__free_all(void);

/* All is as before any run, `running` last: from then on another thread may start one. */
static void gor__reset(void)
{
    size_t running = sizeof gor__rt.running;       /* the first word */
    memset(&gor__hooks, 0, sizeof gor__hooks);
    memset((char *)&gor__rt + running, 0, sizeof gor__rt - running);
    gor__au32_store_rel(&gor__rt.running, GOR__OFF);           /* rel rt.running */
}

static int gor__boot(const gor_options *o, bool with_main)
{
    static bool fork_handled;
    static uint64_t epoch;
    bool elide;
    int rc;
    if (!fork_handled)
        fork_handled = pthread_atfork(NULL, NULL, gor__forked) == 0;
    gor__up.m_start = gor__m_start;
    gor__up.g_main = gor__g_main;
    gor__up.overflowed = gor__say_overflow;
    gor__up.poll = gor__poll;
    gor__up.signalled = gor__signalled;
    gor__up.cancel_time = gor__ctx_time;
    if (gor__arch_shadow_stack()) {
        static const char text[] = "gor: a hardware shadow stack is in force; "
                                   "goroutine switches need it off\n";
        return write(2, text, sizeof text - 1) < 0 ? -EINVAL : -ENOSYS;
    }
    rc = gor__options_set(o);
    if (rc != 0)
        return rc;
    gor__rt.epoch = ++epoch;
    gor__traceback_init();
    gor__stress_init();
    gor__stacks_init(!gor__debug_value("noguardinstall"), !gor__debug_value("noguard"),
                     !(gor__rt.opt.flags & GOR_NO_SIGNALS) &&
                     (gor__debug_value("strict") || gor__os_strict()));
    gor__rt.stack_class = gor__stack_class_of(gor__rt.opt.stack_size);
    gor__tidy_init(gor__debug_value(gor__debug_value("stress") ? "stress" : "tidy"));
    gor__packs_init(gor__rt.opt.compact_idle);
    gor__rt.membarrier = gor__os_membarrier_register() && !gor__debug_value("nomembarrier");
    gor__rt.keep_thread_ns = gor__debug_value("keepthread") * GOR_MS;
    if (!gor__rt.keep_thread_ns)
        gor__rt.keep_thread_ns = GOR__KEEP_THREAD_NS;
    gor__au64_store_rlx(&gor__rt.next_id, 1);
    gor__clock_begin();
    gor__ai64_store_rlx(&gor__rt.coarse_ns, gor__os_now());
    elide = gor__may_elide(with_main);             /* before we have a second thread ourselves */
    gor__lock_sched();
    rc = gor__procs_ask(gor__rt.opt.procs);
    if (rc == 0 && with_main)                      /* that one is main's, before anybody comes */
        gor__p_idle_pop_locked(gor__p_at(0));
    gor__unlock_sched();
    if (rc == 0)
        rc = gor__os_thread(gor__sysmon_thread, NULL);
    if (rc != 0) {
        gor__free_all();
        return rc;
    }
    gor__rt.with_main = with_main;
    if (elide)
        gor__elide();
    if (gor__foreign_inside())                     /* one of the few that gor__may_elide knows */
        gor__share();
    gor__faults_install();
    gor__preempt_start();
    gor__au32_store_rel(&gor__rt.running, GOR__ON);      /* rel rt.running */
    return 0;
}

static int gor__boot_quietly(const gor_options *o, bool with_main)
{
    int rc;
    gor__san_quiet_begin();
    rc = gor__boot(o, with_main);
    if (rc != 0)
        gor__reset();
    gor__san_quiet_end();
    return rc;
}

/* -- stopping ------------------------------------------------------------------------------ */

static int gor__threads_left(void)
{
    int n;
    gor__lock_sched();
    n = gor__rt.n_m;
    gor__unlock_sched();
    return n;
}

/* A timer that outlives its P is nowhere any more; that of a gor_after is ours. One on a packed
 * stack goes with it. */
static void gor__timer_abandon(gor_timer *t)
{
    if (gor__au64_load_rlx(&gor__packs.n) != 0 && gor__pack_slot_at((uintptr_t)t))
        return;
    gor__aptr_store_rlx(&t->owner, NULL);
    if (t->fire == gor__after_fire) {
        gor__chan_release((gor_chan *)t->arg);
        gor__free(t, sizeof *t);
    }
}

static void gor__timers_abandon(gor__timers *h)
{
    for (uint32_t i = 0; i < h->n; i++)
        gor__timer_abandon(h->heap[i].timer);
    for (uint32_t at = h->head; at != h->tail; at++)
        if (gor__line_at(h, at)->timer)
            gor__timer_abandon(gor__line_at(h, at)->timer);
}

static void gor__g_abandon(gor__g *g)
{
    if (g->extra) {
        while (g->extra->slots) {
            gor__slot *s = g->extra->slots;
            g->extra->slots = s->next;
            gor__free(s, sizeof *s);
        }
        while (g->extra->defers) {
            gor__defer *d = g->extra->defers;
            g->extra->defers = d->next;
            if (!d->borrowed)
                gor__free(d, sizeof *d);
        }
        gor__free(g->extra, sizeof *g->extra);
    }
    gor__cancel_release(g->ctx_held);
    gor__free_argument(g);
    gor__fiber_end(g);
}

/* All memory goes back. Nobody is left who could use it. */
static void gor__free_all(void)
{
    gor__gslab *s, *next_s;
    gor__m *m, *next_m;
    for (s = gor__rt.slabs; s; s = s->next)
        for (size_t i = 0; i < sizeof s->g / sizeof s->g[0]; i++)
            if (gor__au32_load_rlx(&s->g[i].state) != GOR__DEAD)
                gor__g_abandon(&s->g[i]);
            else
                gor__fiber_end(&s->g[i]);          /* made, for gor_ctx_after, and not started */
    for (uint32_t i = 0; i < GOR__MAX_PROCS && gor__p_at(i); i++)
        gor__timers_abandon(&gor__p_at(i)->timers);
    for (uint32_t i = 0; i < GOR__MAX_PROCS && gor__p_at(i); i++)
        gor__p_free(gor__p_at(i));
    for (s = gor__rt.slabs; s; s = next_s) {
        next_s = s->next;
        gor__free(s, sizeof *s);
    }
    for (m = gor__rt.all_m; m; m = next_m) {
        next_m = m->all_next;
        gor__free_aligned(m->memory, sizeof *m);
    }
    gor__free(gor__rt.global.slot, gor__rt.global.cap * sizeof *gor__rt.global.slot);
    gor__poll_free();
    gor__packs_free();
    gor__stacks_free();
}

static bool gor__some_m_in_call(void)
{
    bool some = false;
    gor__lock_sched();
    for (gor__m *m = gor__rt.all_m; m; m = m->all_next)
        some |= gor__au32_load_rlx(&m->state) != GOR__M_GONE && m->in_call &&
                gor__au32_load_acq(m->in_call);
    gor__unlock_sched();
    return some;
}

/* Some threads will not come back. One that is on its way out of the user's code either finds that
 * it is an orphan, or is waited for: the handshake of [retake] R1. */
static void gor__make_orphans(void)
{
    gor__au32_store_sc(&gor__orphaning, 1);
    gor__wake_everyone(GOR__ORPHAN);
    gor__fence_all();
    while (gor__some_m_in_call())
        gor__os_yield();
}

/* They keep their memory. */
static void gor__leave_orphans(void)
{
    static const char text[] = "gor: stopped while a goroutine computes or blocks outside of "
                               "gor: its thread and memory stay\n";
    if (gor__au32_load_rlx(&gor__packs.asked))
        gor__packs_leave();
    else
        gor__packs_free();
    gor__stacks_forget();
    gor__poll_leave();
    if (write(2, text, sizeof text - 1) < 0)
        return;
}

/* Wait for the threads, free everything. self: the M of the calling thread, or NULL. */
static void gor__shut_down(gor__m *self)
{
    gor_options opt = gor__rt.opt;
    int64_t patience = gor__os_now() + GOR_SEC;
    int mine = self ? 1 : 0;
    bool orphans;
    gor__au32_store_sc(&gor__rt.running, GOR__ENDING);
    gor__stop_now();
    gor__au32_store_sc(&gor__rt.main_home, 1);
    gor__os_futex_wake(&gor__rt.main_home, 1);
    while (gor__threads_left() > mine && gor__os_now() < patience) {
        uint32_t word = gor__au32_load_acq(&gor__rt.stopped);
        gor__wake_everyone(GOR__ASK);
        gor__os_futex_wait(&gor__rt.stopped, word, gor__os_now() + GOR_MS);
    }
    gor__wake_everyone(0);
    while (gor__au32_load_acq(&gor__rt.sysmon_gone) == 0)
        gor__os_futex_wait(&gor__rt.sysmon_gone, 0, gor__os_now() + GOR_MS);
    if (opt.flags & GOR_REPORT_LEAKS)
        gor_leaks(2);
    if (self)
        gor__m_end(self);
    gor__share();
    gor__mine_end_all();
    orphans = gor__threads_left() > 0;
    if (orphans)
        gor__make_orphans();
    gor__au32_store_sc(&gor__rt.n_allp, 0);        /* nobody is in a window, nor will be */
    while (gor__foreign_inside())                  /* they will find no runtime next, and no P */
        gor__os_yield();
    gor__au32_store_rel(&gor__orphaning, 0);       /* one may end: nobody looks at its words */
    gor__san_take_over(&gor__rt.stopped);
    gor__san_quiet_begin();
    if (orphans)
        gor__leave_orphans();
    else
        gor__free_all();
    if (gor__trace_close())
        gor__trace_finish();
    gor__preempt_stop();
    gor__signals_remove();
    gor__poll_close();
    if (!gor__packs_stay())
        gor__faults_remove();
    gor__reset();
    if (opt.on_exit)
        opt.on_exit(opt.user);
    gor__san_quiet_end();
}

/* -- the public calls ---------------------------------------------------------------------- */

typedef struct gor__main_call { int (*fn)(void *); void *arg; } gor__main_call;

static void gor__main_run(void *p)
{
    gor__main_call *call = (gor__main_call *)p;
    int result = call->fn(call->arg);
    gor__enter();
    gor__au32_store_rel(&gor__rt.result, (uint32_t)result);
    gor__au32_store_rlx(&gor__rt.main_returned, 1);
    gor__stop_now();
    gor__leave(gor__self());
}

/* However it ended: if not by returning, the others go on, and [sysmon] sees the last one's end. */
static void gor__main_ended(void *p)
{
    (void)p;
    gor__au32_store_sc(&gor__rt.main_left, 1);
}

/* The calling thread as an M with a P, and the main goroutine in its hands. */
static int gor__main_begin(gor__main_call *call, gor__m **out)
{
    gor__spec s = { gor__main_run, NULL, "main\0main", call, sizeof *call, NULL,
                    gor__main_ended, NULL, NULL };
    gor__m *m = gor__m_new();
    gor__g *g;
    int rc;
    if (!m)
        return -ENOMEM;
    m->is_main = true;
    gor__rt.main_m = m;
    m->alt_stack = gor__os_alt_stack_new();
    gor__m_begin(m);
    gor__p_hold(m, gor__p_at(0));
    rc = gor__stacks.strict && !gor__os_alt_stack_there() ? -ENOMEM : gor__g_make(m, &s, &g);
    *out = m;
    if (rc != 0)
        return rc;
    gor__count_start(m);
    gor__au32_store_rel(&g->state, GOR__RUNNABLE);
    gor__aptr_store_rlx(&m->handed, g);
    return 0;
}

int gor_run_with(const gor_options *o, int (*fn)(void *), void *arg)
{
    gor__main_call call = { fn, arg };
    gor__m *m = NULL;
    int rc;
    if (!fn)
        return -EINVAL;
    if (gor__self() || !gor__au32_cas(&gor__rt.running, GOR__OFF, GOR__STARTING))
        return gor__self() ? -EINVAL : -EBUSY;
    rc = gor__boot_quietly(o, true);
    if (rc != 0)
        return rc;
    rc = gor__main_begin(&call, &m);
    if (rc == 0) {
        gor__m_loop(m);
        rc = (int)gor__au32_load_acq(&gor__rt.result);
    }
    gor__shut_down(m);
    return rc;
}

int gor_run(int (*fn)(void *), void *arg) { return gor_run_with(NULL, fn, arg); }

int gor__no_main(int rc)
{
    fprintf(stderr, "gor: no memory or thread to run main: %s\n", gor_strerror(rc));
    return 2;
}

int gor_start(const gor_options *o)
{
    if (gor__self() || !gor__au32_cas(&gor__rt.running, GOR__OFF, GOR__STARTING))
        return gor__self() ? -EINVAL : -EBUSY;
    return gor__boot_quietly(o, false);
}

int gor_stop(void)
{
    if (gor__self() || (gor__is_on() && gor__rt.with_main))
        return -EINVAL;
    if (!gor__au32_cas(&gor__rt.running, GOR__ON, GOR__ENDING))
        return -ESRCH;
    gor__shut_down(NULL);
    return 0;
}

/* ==== [look] dump, leaks, stats, and the proof of the invariants ========================== */
void gor_dump(int fd)
{
    gor__out o;
    gor__packs_hear();
    gor__out_init(&o, fd);
    gor__each_g(gor__print_g, &o);
    gor__out_flush(&o);
}

int gor_leaks(int fd)
{
    gor__out o;
    int n = gor__each_g(NULL, NULL);
    gor__packs_hear();
    gor__out_init(&o, fd);
    if (n > 0) {
        gor__print(&o, "gor: %d goroutine%s left\n", n, n == 1 ? "" : "s");
        gor__each_g(gor__print_g, &o);
    }
    gor__out_flush(&o);
    return n;
}

size_t gor_num_goroutines(void)
{
    gor__m *m = gor__enter();
    size_t n = gor__is_on() ? gor__n_goroutines() : 0;
    gor__leave(m);
    return n;
}

static void gor__stats_of_p(gor_stats *s, gor__p *p)
{
    s->timers += gor__timers_n(&p->timers);
    s->started += gor__au64_load_rlx(&p->started);
    s->switches += gor__au64_load_rlx(&p->switches) + gor__au32_load_rlx(&p->tick);
    s->steals += gor__au64_load_rlx(&p->steals);
    s->preempted += gor__au64_load_rlx(&p->preempted);
    s->stacks_cached += gor__au32_load_rlx(&p->n_stacks);
}

static void gor__stats_of_all(gor_stats *s)
{
    s->goroutines = gor__n_goroutines();
    s->started = gor__au64_load_rlx(&gor__rt.outside_started);
    s->retaken = gor__au64_load_rlx(&gor__rt.retaken);
    for (uint32_t i = 0; i < gor__au32_load_acq(&gor__rt.n_allp); i++)
        gor__stats_of_p(s, gor__p_at(i));
    for (int k = 0; k < GOR__STACK_CLASSES; k++)
        s->stacks_cached += gor__au64_load_rlx(&gor__stacks.cls[k].n_free) +
                            gor__au64_load_rlx(&gor__stacks.cls[k].n_cold);
    s->stack_bytes = gor__stacks_resident();
    s->packed = gor__au64_load_rlx(&gor__packs.n);
    gor__lock_sched();
    s->threads = (size_t)gor__rt.n_m;
    s->idle_threads = gor__au32_load_rlx(&gor__rt.n_idle_m);
    for (gor__gslab *slab = gor__rt.slabs; slab; slab = slab->next)
        for (size_t i = 0; i < sizeof slab->g / sizeof slab->g[0]; i++)
            s->stacks += gor__aptr_load_rlx(&slab->g[i].stack) != NULL;
    s->procs = (int)gor__au32_load_rlx(&gor__rt.n_asked);
    s->idle_procs = (int)gor__au32_load_rlx(&gor__rt.n_idle_p);
    gor__unlock_sched();
    s->heap_bytes = gor__au64_load_rlx(&gor__heap_bytes);
}

int gor__get_stats(gor_stats *s)
{
    gor__m *m = gor__enter();
    bool on = gor__is_on();
    memset(s, 0, sizeof *s);
    if (on)
        gor__stats_of_all(s);
    gor__leave(m);
    return on ? 0 : -ESRCH;
}

/* Goroutines that wait, for tests. */
GOR__UNUSED static int gor__n_parked(void)
{
    int n = 0;
    gor__lock_sched();
    for (const gor__gslab *s = gor__rt.slabs; s; s = s->next)
        for (size_t i = 0; i < sizeof s->g / sizeof s->g[0]; i++)
            n += gor__au32_load_rlx(&s->g[i].state) == GOR__WAITING &&
                 !(gor__au32_load_acq(&s->g[i].hold) & GOR__ON_CPU);
    gor__unlock_sched();
    return n;
}

/* Walk everything and prove the invariants that hold at any moment. 0, or the number of the first
 * that does not, said on stderr. */
GOR__UNUSED static int gor__check_timers(gor__timers *h)
{
    const gor__timer_entry *first;
    uint32_t gaps = 0;
    int bad = 0;
    gor__timers_lock(h);
    for (uint32_t i = 0; i < h->n && !bad; i++) {
        const gor_timer *t = h->heap[i].timer;
        if (t->index != i || t->when != h->heap[i].when || gor__aptr_load_rlx(&t->owner) != h)
            bad = 1;                               /* [due] D1; [timer] I1 */
        else if (i && h->heap[(i - 1) / GOR__HEAP_ARITY].when > h->heap[i].when)
            bad = 2;                               /* [due] D1 */
    }
    for (uint32_t at = h->head; at != h->tail && !bad; at++) {
        const gor__timer_entry *e = gor__line_at(h, at);
        gaps += !e->timer;
        if (e->timer && (e->timer->index != (at | GOR__IN_LINE) || e->timer->when != e->when ||
                         gor__aptr_load_rlx(&e->timer->owner) != h))
            bad = 1;                               /* [due] D2; [timer] I1 */
        else if (at == h->head ? !e->timer : gor__line_at(h, at - 1)->when > e->when)
            bad = 2;                               /* [due] D2 */
    }
    first = gor__due_first(h);
    if (!bad && (gor__ai64_load_rlx(&h->first) != (first ? first->when : GOR_FOREVER) ||
                 gaps != h->gaps || h->n + gor__line_n(h) > h->cap ||
                 h->full != h->head + h->cap - h->n))
        bad = 3;                                   /* [timer] I2; [due] D3 */
    gor__timers_unlock(h);
    return bad;
}

GOR__UNUSED static int gor__check_queue_locked(const gor__gqueue *q)
{
    uint32_t n = 0;
    for (const gor__g *g = q->head; g; g = (const gor__g *)gor__aptr_load_rlx(&g->link), n++)
        if (gor__au32_load_rlx(&g->state) != GOR__RUNNABLE)
            return 4;                              /* queued: runnable */
    return n == gor__au32_load_rlx(&q->n) ? 0 : 5;
}

GOR__UNUSED static int gor__check_global_locked(const gor__gring *r)
{
    if (gor__rt.n_slabs * GOR__SLAB_CAP > r->cap)
        return 14;                                 /* there is room for all */
    for (uint32_t at = r->head; at != r->tail; at++)
        if (gor__au32_load_rlx(&r->slot[at & (r->cap - 1)]->state) != GOR__RUNNABLE)
            return 4;                              /* queued: runnable */
    return r->tail - r->head == gor__au32_load_rlx(&r->n) && r->tail - r->head <= r->cap ? 0 : 5;
}

GOR__UNUSED static int gor__check_fresh_locked(const gor__gstack *s)
{
    const gor__crate *newer = NULL;
    uint32_t n = 0;
    for (const gor__crate *c = s->newest; c; newer = c, c = c->older) {
        if (c->newer != newer || gor__crate_n(c) == 0)
            return 10;
        for (uint32_t i = 0; i < gor__crate_n(c); i++, n++) {
            const gor__g *g = gor__crate_at(c, i);
            if (gor__au32_load_rlx(&g->state) != GOR__RUNNABLE ||
                !(gor__au32_load_rlx(&g->hold) & GOR__NO_STACK))
                return 10;                         /* [ready] I4 */
        }
    }
    return s->oldest == newer && n == s->count && n == gor__au32_load_rlx(&s->n) ? 0 : 11;
}

/* No crate is lost; in those of dead Gs there are only such. */
GOR__UNUSED static int gor__check_crates_locked(void)
{
    size_t n = 0, all = 0;
    for (const gor__gslab *s = gor__rt.slabs; s; s = s->next)
        all += sizeof s->crate / sizeof s->crate[0];
    for (const gor__crate *c = gor__rt.fresh.newest; c; c = c->older)
        n++;
    for (const gor__crate *c = gor__rt.empty; c; c = c->older, n++)
        if (gor__crate_n(c) != 0)
            return 12;
    for (const gor__crate *c = gor__rt.full; c; c = c->older, n++) {
        if (gor__crate_n(c) == 0)
            return 12;
        for (uint32_t i = 0; i < gor__crate_n(c); i++)
            if (gor__au32_load_rlx(&gor__crate_at(c, i)->state) != GOR__DEAD)
                return 13;
    }
    return n == all ? 0 : 12;
}

GOR__UNUSED static int gor__check_lists_locked(void)
{
    uint32_t idle_p = 0, idle_m = 0;
    int bad = gor__check_global_locked(&gor__rt.global);
    bad = bad ? bad : gor__check_fresh_locked(&gor__rt.fresh);
    bad = bad ? bad : gor__check_crates_locked();
    bad = bad ? bad : gor__check_queue_locked(&gor__rt.high);
    bad = bad ? bad : gor__check_queue_locked(&gor__rt.low);
    for (gor__p *p = gor__rt.idle_p; p; p = p->idle_next, idle_p++)
        if (!p->idle || gor__aptr_load_rlx(&p->m))
            bad = 6;
    for (gor__m *m = gor__rt.idle_m; m; m = m->idle_next)
        idle_m++;
    if (idle_p != gor__au32_load_rlx(&gor__rt.n_idle_p) ||
        idle_m != gor__au32_load_rlx(&gor__rt.n_idle_m))
        bad = 7;
    for (uint32_t i = 0; i < gor__au32_load_rlx(&gor__rt.n_allp); i++) {
        gor__runq *q = &gor__p_at(i)->runq;
        uint32_t head = gor__au32_load_acq(&q->head), tail = gor__au32_load_acq(&q->tail);
        if ((int32_t)(tail - head) > GOR__RUNQ_CAP)
            bad = 8;                               /* [runq] I1 */
    }
    return bad;
}

GOR__UNUSED static int gor__check_promises(void)
{
    int bad = 0;
    gor__lock_stacks();
    for (int k = 0; k < GOR__STACK_CLASSES; k++)
        if (gor__stacks.cls[k].n_promised > gor__stacks.cls[k].n_all)
            bad = 9;                               /* [stack] I3 */
    gor__unlock_stacks();
    return bad;
}

GOR__UNUSED static int gor__check_world(void)
{
    int bad;
    gor__m *m = gor__enter();
    gor__lock_sched();
    bad = gor__check_lists_locked();
    gor__unlock_sched();
    for (uint32_t i = 0; !bad && i < gor__au32_load_acq(&gor__rt.n_allp); i++)
        bad = gor__check_timers(&gor__p_at(i)->timers);
    bad = bad ? bad : gor__check_promises();
    gor__leave(m);
    if (bad)
        fprintf(stderr, "gor: invariant %d does not hold\n", bad);
    return bad;
}

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


#endif /* GOR_IMPLEMENTATION */

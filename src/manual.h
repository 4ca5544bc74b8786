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

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

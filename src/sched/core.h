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

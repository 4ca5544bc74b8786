/* The floor: what the processor itself takes for the heart of each case, with nothing around it: no
 * run queue, no locks, no statistics, one thread. Not a runtime, and not a fair opponent: it says
 * how much of a case could be saved at most. Command line and output line: harness.h.
 *
 * A context here is a stack pointer. Switching stores rbp, rip and rsp and loads the other's; the
 * compiler saves what else is live, which in these loops is next to nothing. */
#define _GNU_SOURCE
#include "harness.h"

#include <sys/mman.h>

#if !defined(__x86_64__) && !defined(__aarch64__)
#error "a switch is written for x86-64 and ARM64 only"
#endif

enum { STACK_SIZE = 20480 };           /* as gor's, an odd number of pages, of 4 KiB, apart */

typedef struct context {
    void           *sp;
    struct context *next;
    void          (*fn)(struct context *self);
    int64_t         value;             /* handed over by whoever switches here */
    char           *top;               /* of its stack */
} context;

#if defined(__x86_64__)
static inline __attribute__((always_inline)) void swap(void **from, void *to)
{
    __asm__ volatile("leaq -128(%%rsp),%%rsp\n\t"      /* over the red zone */
                     "pushq %%rbp\n\t"
                     "leaq 1f(%%rip),%%rax\n\t"
                     "pushq %%rax\n\t"
                     "movq %%rsp,(%0)\n\t"
                     "movq %1,%%rsp\n\t"
                     "popq %%rax\n\t"
                     "jmpq *%%rax\n"
                     "1:\n\t"
                     "popq %%rbp\n\t"
                     "subq $-128,%%rsp"
                     : "+D"(from), "+S"(to)
                     :
                     : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
                       "r15", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",
                       "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
                       "xmm15");
}

void floor_entry(void);
__asm__(".text\n.globl floor_entry\nfloor_entry:\n"
        "    popq %rdi\n"
        "    popq %rax\n"
        "    xorl %ebp,%ebp\n"
        "    call *%rax\n"
        "    ud2\n");

static void make(context *c, void (*fn)(context *self))
{
    uint64_t *top = (uint64_t *)(void *)c->top - 4;
    top[0] = (uint64_t)(uintptr_t)floor_entry;
    top[1] = (uint64_t)(uintptr_t)c;
    top[2] = (uint64_t)(uintptr_t)fn;
    c->sp = top;
}
#else
static inline __attribute__((always_inline)) void swap(void **from, void *to)
{
    register void **f __asm__("x0") = from;
    register void *t __asm__("x1") = to;
    __asm__ volatile("adr x2,1f\n\t"
                     "stp x29,x2,[sp,#-16]!\n\t"
                     "mov x3,sp\n\t"
                     "str x3,[x0]\n\t"
                     "mov sp,x1\n\t"
                     "ldp x29,x2,[sp],#16\n\t"
                     "br x2\n"
                     "1:"
                     : "+r"(f), "+r"(t)
                     :
                     : "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13",
                       "x14", "x15", "x16", "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24",
                       "x25", "x26", "x27", "x28", "x30", "memory", "cc", "v0", "v1", "v2", "v3",
                       "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15",
                       "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26",
                       "v27", "v28", "v29", "v30", "v31");
}

void floor_entry(void);
__asm__(".text\n.globl floor_entry\nfloor_entry:\n"
        "    ldp x0,x1,[sp],#16\n"
        "    mov x29,#0\n"
        "    blr x1\n"
        "    brk #1\n");

static void make(context *c, void (*fn)(context *self))
{
    uint64_t *top = (uint64_t *)(void *)c->top - 4;
    top[0] = 0;
    top[1] = (uint64_t)(uintptr_t)floor_entry;
    top[2] = (uint64_t)(uintptr_t)c;
    top[3] = (uint64_t)(uintptr_t)fn;
    c->sp = top;
}
#endif

/* n contexts in a ring; each begins in fn. Starts of stacks are spread over the sets of the cache
 * and the TLB, as any runtime must do. */
static context *contexts_new(int64_t n, void (*fn)(context *self))
{
    context *c = must_alloc(n, sizeof *c);
    char *stacks = mmap(NULL, (size_t)n * STACK_SIZE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks == MAP_FAILED)
        bench_die("mmap", "out of memory");
    for (int64_t i = 0; i < n; i++) {
        c[i].top = stacks + (i + 1) * STACK_SIZE - (i & 15) * 128;
        c[i].next = &c[(i + 1) % n];
        make(&c[i], fn);
    }
    return c;
}

static context outside;                /* the program's own stack */

/* -- switching -------------------------------------------------------------------------------- */

static int64_t left;                   /* switches to do */
static uint64_t done;

static void pass_on(context *self)
{
    for (;;) {
        done++;
        if (--left <= 0)
            swap(&self->sp, outside.sp);
        swap(&self->sp, self->next->sp);
    }
}

static void ring_of(bench *b, int64_t contexts)
{
    context *c = contexts_new(contexts, pass_on);

    left = contexts;                   /* all have begun before the clock runs */
    swap(&outside.sp, c[0].sp);
    left = b->n;
    done = 0;
    start(b);
    swap(&outside.sp, c[contexts - 1].sp);
    stop(b);
    result(b, b->n, done, (uint64_t)b->n);
}

static void yield2(bench *b)
{
    ring_of(b, 2);
}

static void yield1000(bench *b)
{
    ring_of(b, 1000);
}

/* All contexts go round so often as turns says. */
static void grow_ring_of(bench *b, int64_t often)
{
    int64_t contexts = b->n;

    b->n = contexts * often;
    ring_of(b, contexts);
    b->n = contexts;
}

static void grow_yield(bench *b)
{
    grow_ring_of(b, turns(b->n, 10000000, 10, 10000));
}

/* -- handing over a value --------------------------------------------------------------------- */

static void echo(context *self)
{
    for (;;) {
        outside.value = self->value;
        swap(&self->sp, outside.sp);
    }
}

static void pingpong(bench *b)
{
    context *c = contexts_new(1, echo);
    uint64_t sum = 0;

    start(b);
    for (int64_t i = 0; i < b->n; i++) {
        c->value = i;
        swap(&outside.sp, c->sp);
        sum += (uint64_t)outside.value;
    }
    stop(b);
    result(b, b->n, sum, sum_below(b->n));
}

static void ring1000(bench *b)
{
    ring_of(b, 1000);
}

static void grow_ring(bench *b)
{
    grow_ring_of(b, turns(b->n, 4000000, 4, 4000));
}

/* -- beginning and ending --------------------------------------------------------------------- */

static void add_one(context *self)
{
    self->value++;
    swap(&self->sp, outside.sp);
}

static void spawn_join(bench *b)
{
    context *c = contexts_new(1, add_one);
    uint64_t sum = 0;

    start(b);
    for (int64_t i = 0; i < b->n; i++) {
        c->value = i;
        make(c, add_one);
        swap(&outside.sp, c->sp);
        sum += (uint64_t)c->value;
    }
    stop(b);
    result(b, b->n, sum, sum_below(b->n + 1));
}

static void mark(context *self)
{
    *(uint8_t *)(uintptr_t)self->value = 1;
    swap(&self->sp, outside.sp);
}

static void spawn_wait(bench *b)
{
    context *c = contexts_new(1, mark);
    uint8_t *slot = must_alloc(b->n, 1);

    start(b);
    for (int64_t i = 0; i < b->n; i++) {
        c->value = (int64_t)(uintptr_t)&slot[i];
        make(c, mark);
        swap(&outside.sp, c->sp);
    }
    stop(b);
    result(b, b->n, sum_bytes(slot, b->n), (uint64_t)b->n);
    free(slot);
}

/* -- plain calls ------------------------------------------------------------------------------ */

/* Called through a pointer that the compiler does not see through: one call per fork, as a forked
 * function is called. */
static int64_t fib_node(int64_t n);
static int64_t (*volatile fib_call)(int64_t) = fib_node;

static int64_t fib_node(int64_t n)
{
    if (n < 2)
        return n;
    return fib_call(n - 1) + fib_node(n - 2);
}

static void fib(bench *b)
{
    int64_t sum, forks = 0;

    do {
        start(b);
        sum = fib_node(b->n);
        stop(b);
        forks += fib_forks(b->n);
    } while (!enough(b));
    result(b, forks, (uint64_t)sum, (uint64_t)fib_value(b->n));
}

static uint64_t queens_node(board here);
static uint64_t (*volatile queens_call)(board) = queens_node;

static uint64_t queens_node(board here)
{
    uint64_t found = 0;
    if (here.taken == here.all)
        return 1;
    for (uint32_t rest = board_free(here); rest; rest &= rest - 1)
        found += queens_call(board_put(here, rest & -rest));
    return found;
}

static void nqueens(bench *b)
{
    board root = board_of(b->n);
    uint64_t found;
    int64_t forks = 0, each = queens_count_forks(root);

    do {
        start(b);
        found = queens_node(root);
        stop(b);
        forks += each;
    } while (!enough(b));
    result(b, forks, found, queens_value(b->n));
}

static void parallel_for(bench *b)
{
    float *x = floats_new(b->n);

    start(b);
    floats_scale(x, 0, (size_t)b->n);
    stop(b);
    floats_result(b, x);
}

/* -- single instructions ---------------------------------------------------------------------- */

static void tryrecv_empty(bench *b)
{
    volatile int64_t count = 0;
    uint64_t empty = 0;

    start(b);
    for (int64_t i = 0; i < b->n; i++)
        empty += count == 0;
    stop(b);
    result(b, b->n, empty, (uint64_t)b->n);
}

/* A swap to lock, a plain store to unlock. */
static void mutex(bench *b)
{
    uint32_t word = 0;
    volatile uint64_t value = 0;

    start(b);
    for (int64_t i = 0; i < b->n; i++) {
        while (__atomic_exchange_n(&word, 1, __ATOMIC_ACQUIRE) != 0)
            ;
        value = value + 1;
        __atomic_store_n(&word, 0, __ATOMIC_RELEASE);
    }
    stop(b);
    result(b, b->n, value, (uint64_t)b->n);
}

static void locked(bench *b)
{
    uint64_t value = 0;

    start(b);
    for (int64_t i = 0; i < b->n; i++)
        __atomic_fetch_add(&value, 1, __ATOMIC_SEQ_CST);
    stop(b);
    result(b, b->n, value, (uint64_t)b->n);
}

/* By a date that somebody else keeps, a place at the end of a line, and out of it again. */
static void timer(bench *b)
{
    static struct { int64_t when; const void *timer; } line[64];
    static volatile int64_t date = 1;
    struct { int64_t when; uint32_t place; } t;
    uint32_t tail = 0;
    uint64_t later = 0;

    start(b);
    for (int64_t i = 0; i < b->n; i++) {
        line[tail % 64].when = t.when = date + 3600000000000;     /* an hour, ns */
        line[tail % 64].timer = &t;
        t.place = tail++;
        __asm__ volatile("" : "+m"(t), "+m"(line), "+r"(tail));
        tail -= t.place == tail - 1;
        later += (uint64_t)t.when > 1;
    }
    stop(b);
    result(b, b->n, later, (uint64_t)b->n);
}

static void fault(bench *b)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), size = (size_t)b->n * page;
    char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    uint64_t sum = 0;

    if (p == MAP_FAILED)
        bench_die("mmap", "out of memory");
    madvise(p, size, MADV_NOHUGEPAGE);
    start(b);
    for (int64_t i = 0; i < b->n; i++)
        p[(size_t)i * page] = 1;
    stop(b);
    for (int64_t i = 0; i < b->n; i++)
        sum += (uint64_t)p[(size_t)i * page];
    result(b, b->n, sum, (uint64_t)b->n);
    munmap(p, size);
}

/* -- sleeping for 1 ms ------------------------------------------------------------------------ */

/* Those asleep, the first to wake first, for all sleep as long; the stacks of those that have woken
 * are used again, the warmest first. Each reads the clock twice, as the case says; whether the first
 * is to wake is seen by what the last one read. */
typedef struct sleeper {
    context         c;
    struct sleeper *next;
    int64_t         begin;
    uint8_t        *slot;
} sleeper;

enum { BED_SIZE = 65536, BEDS = 65536 };       /* as far apart as gor's smaller stacks */

static struct {
    sleeper *free, *first, **last;
    int64_t  latest;                   /* what was read last */
    char    *beds;
    int64_t  beds_used;
} dorm;

static void sleep_1ms(context *self)
{
    sleeper *s = (sleeper *)(void *)self;
    s->begin = dorm.latest = bench_now();
    s->next = NULL;
    *dorm.last = s;
    dorm.last = &s->next;
    swap(&s->c.sp, outside.sp);
    dorm.latest = bench_now();
    *s->slot = dorm.latest - s->begin >= BENCH_MS;
    s->next = dorm.free;
    dorm.free = s;
    swap(&s->c.sp, outside.sp);
}

/* The first bytes of a bed are its sleeper's, in the page that is its stack's, too. */
static sleeper *sleeper_new(void)
{
    char *top = dorm.beds + ++dorm.beds_used * BED_SIZE;
    sleeper *s = (sleeper *)(void *)(top - sizeof *s);
    if (dorm.beds_used > BEDS)
        bench_die("sleepers", "too slow: more are asleep at once than there are beds");
    s->c.top = (char *)s - (dorm.beds_used & 15) * 128;
    return s;
}

static void wake_those_due(void)
{
    while (dorm.first && dorm.latest - dorm.first->begin >= BENCH_MS) {
        sleeper *s = dorm.first;
        dorm.first = s->next;
        if (!dorm.first)
            dorm.last = &dorm.first;
        swap(&outside.sp, s->c.sp);
    }
}

static void sleepers(bench *b)
{
    uint8_t *slot = must_alloc(b->n, 1);

    dorm.last = &dorm.first;
    dorm.beds = mmap(NULL, (size_t)BEDS * BED_SIZE, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (dorm.beds == MAP_FAILED)
        bench_die("mmap", "out of memory");
    start(b);
    for (int64_t i = 0; i < b->n; i++) {
        sleeper *s = dorm.free ? dorm.free : sleeper_new();
        if (s == dorm.free)
            dorm.free = s->next;
        s->slot = &slot[i];
        make(&s->c, sleep_1ms);
        swap(&outside.sp, s->c.sp);
        wake_those_due();
    }
    while (dorm.first) {
        dorm.latest = bench_now();
        wake_those_due();
    }
    stop(b);
    result(b, b->n, sum_bytes(slot, b->n), (uint64_t)b->n);
    munmap(dorm.beds, (size_t)BEDS * BED_SIZE);
    free(slot);
}

/* -- the table -------------------------------------------------------------------------------- */

static const bench_case cases[] = {
    { "switch",       200000000, yield2 },        /* a switch; 2 contexts                        */
    { "locked",       100000000, locked },        /* a locked add                                */
    { "fault",           200000, fault },         /* the first touch of a page                   */
    { "yield2",       200000000, yield2 },        /* a switch                                    */
    { "yield1000",     50000000, yield1000 },     /* a switch; 1,000 stacks do not fit in L1     */
    { "pingpong",     100000000, pingpong },      /* two switches, two values through memory     */
    { "tryrecv_empty", 200000000, tryrecv_empty }, /* a load and a comparison                    */
    { "spawn_wait",    50000000, spawn_wait },    /* a first frame, two switches, a byte         */
    { "spawn_join",    50000000, spawn_join },    /* a first frame, two switches                 */
    { "fib",                 36, fib },           /* a call by pointer and a call                */
    { "nqueens",             13, nqueens },       /* a call by pointer                           */
    { "parallel_for", 100000000, parallel_for },  /* the loop, on one processor                  */
    { "ring1000",      50000000, ring1000 },      /* a switch                                    */
    { "mutex",        100000000, mutex },         /* a locked swap, an increment, a store        */
    { "timer",        100000000, timer },         /* a load, a few stores into a ring            */
    { "sleepers",        100000, sleepers },      /* a first frame, four switches, two looks at
                                                     the clock, the first touch of its stack     */
    { "parked1m",       1000000, fault },         /* the first touch of a page                   */
    { "grow_yield",        1000, grow_yield },    /* a switch; N contexts                        */
    { "grow_ring",         1000, grow_ring },     /* the same                                    */
};

/* One thread, whatever PROCS says. */
static void run(bench *b, void (*fn)(bench *b))
{
    b->procs = 1;
    fn(b);
}

int main(int argc, char **argv)
{
    return bench_main(argc, argv, cases, sizeof cases / sizeof cases[0], run);
}

/* Stacks: as deep as reserved, of every size, reused, with every kind of guard. */
#define TEST_INSIDE
#include "test.h"

#include <sys/utsname.h>

#if defined(__GLIBC__)
#include <execinfo.h>
#endif

/* Use about n bytes of stack, a page at a time. Each frame is seen by the next: no compiler makes one
 * of them all. At the bottom call at, if there is one. */
static __attribute__((noinline)) int dig_to(size_t n, volatile char *above, void (*at)(void *),
                                            void *arg)
{
    volatile char page[2048];
    int below = 0;
    page[0] = above ? above[0] : 1;
    page[sizeof page - 1] = 1;
    if (n > sizeof page)
        below = dig_to(n - sizeof page, page, at, arg);
    else if (at)
        at(arg);
    return below + page[0] + page[sizeof page - 1];
}

static int dig(size_t n)
{
    return dig_to(n, NULL, NULL, NULL);
}

/* Use the stack down to where it ends, but for so many bytes. */
static __attribute__((noinline)) int dig_down_to(size_t left, volatile char *above)
{
    volatile char page[2048];
    int below = 0;
    page[0] = above ? above[0] : 1;
    page[sizeof page - 1] = 1;
    if ((uintptr_t)page > (uintptr_t)gor__aptr_load_rlx(&gor__running()->stack) + left)
        below = dig_down_to(left, page);
    return below + page[0] + page[sizeof page - 1];
}

struct digger {
    gor_wg wg;
    size_t size, left;
};

static void dig_deep(void *p)
{
    struct digger *d = (struct digger *)p;
    IS(gor__stack_size_of(gor__running()), d->size);
    OK(dig_down_to(d->left, NULL) >= 0);
    gor_wg_done(&d->wg);
}

static void dig_in_one(size_t size, size_t left)
{
    gor_attr a = { .name = "digger", .stack_size = size };
    struct digger d = { .size = size, .left = left };
    gor_wg_add(&d.wg, 1);
    IS(gor_go_with(&a, dig_deep, &d), 0);
    gor_wg_wait(&d.wg);
}

#define LEFT (16u << 10)               /* for a signal, a gor call, a frame of ASan's */

TEST(a_stack_can_be_used_down_to_near_its_reserved_size)
{
    size_t sizes[] = { 16u << 10, 64u << 10, 1u << 20, 16u << 20, 64u << 20 };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        dig_in_one(sizes[i], TEST_TSAN ? sizes[i] / 8 * 7 : i == 0 ? LEFT / 2 : LEFT);
}

static int dig_in_a_gibibyte(void *p)
{
    (void)p;
    dig_in_one((size_t)1 << 30, ((size_t)1 << 30) - 300000000);
    return 0;
}

/* Where the loops are run in full. */
TESTF(of_a_stack_of_one_gibibyte_300_megabytes_are_used)
{
    gor_options o = { .procs = 1 };
    if (test_scale == 1 && !TEST_ASAN && !TEST_TSAN)
        IS(gor_run_with(&o, dig_in_a_gibibyte, NULL), 0);
}

/* -- where stacks begin ------------------------------------------------------------------------ */

struct beginning {
    gor_wg   *wg;
    gor_chan *gate;
    _Atomic uintptr_t frame;
};

static void note_frame(void *p)
{
    struct beginning *b = (struct beginning *)p;
    atomic_store(&b->frame, (uintptr_t)__builtin_frame_address(0));
    gor_chan_recv(b->gate, NULL, 0);
    gor_wg_done(b->wg);
}

/* So that the hot lines of a thousand parked goroutines do not meet in the same sets of caches. */
TEST(of_64_stacks_the_frames_begin_at_16_offsets_within_a_page)
{
    enum { N = 64 };
    struct beginning b[N];
    gor_wg wg = { 0 };
    gor_chan *gate = gor_chan_new(0, 0);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    int n_offsets = 0;
    gor_wg_add(&wg, N);
    for (int i = 0; i < N; i++) {
        b[i].wg = &wg;
        b[i].gate = gate;
        IS(gor_go(note_frame, &b[i]), 0);
    }
    wait_until_parked(N);
    for (int i = 0; i < N; i++) {
        bool seen = false;
        for (int k = 0; k < i; k++)
            seen |= b[k].frame % page == b[i].frame % page;
        n_offsets += !seen;
    }
    IS(n_offsets, 16);
    gor_chan_close(gate);
    gor_wg_wait(&wg);
    gor_chan_release(gate);
}

#if defined(__GLIBC__) && defined(__x86_64__)
enum { MAX_FRAMES = 64 };

static __attribute__((noinline)) void unwind_from_below(void *p)
{
    void *pc[MAX_FRAMES];
    int n = backtrace(pc, MAX_FRAMES);
    OK(n > 2 && n < MAX_FRAMES);
    if (n > 0) {
        uintptr_t last = (uintptr_t)pc[n - 1], entry = (uintptr_t)gor__arch_entry;
        OK(last > entry && last < entry + 16);
    }
    *(int *)p = n;
}

/* Where a caller's return address would be there is one: nothing but the tables ends the list. */
static void unwind(void *wg)
{
    char *lo = (char *)gor__aptr_load_rlx(&gor__running()->stack);
    volatile uintptr_t *above = (uintptr_t *)(void *)
        gor__stack_top(lo, gor__stack_size_of(gor__running()));
    uintptr_t before = *above;
    volatile int n = 0;
    *above = (uintptr_t)unwind_from_below + 1;
    unwind_from_below((void *)&n);
    OK(dig_to(8 * 2048, NULL, unwind_from_below, (void *)&n) >= 0);
    OK(n > 8);
    *above = before;
    gor_wg_done((gor_wg *)wg);
}

/* Debuggers, profilers and C++ exceptions go by the same tables. */
TEST(unwinding_ends_at_a_goroutines_entry)
{
    gor_wg wg = { 0 };
    gor_wg_add(&wg, 1);
    IS(gor_go(unwind, &wg), 0);
    gor_wg_wait(&wg);
}
#endif

struct waiter {
    gor_wg    wg;
    gor_chan *gate;
};

static void wait_for_close(void *p)
{
    struct waiter *w = (struct waiter *)p;
    gor_chan_recv(w->gate, NULL, 0);
    gor_wg_done(&w->wg);
}

static size_t promised(gor__stack_class *cls)
{
    gor__lock_stacks();
    size_t n = cls->n_promised;
    gor__unlock_stacks();
    return n;
}

TEST(a_stack_of_an_odd_size_is_promised_until_its_goroutine_ends)
{
    enum { N = 40 };
    gor_attr a = { .stack_size = 128u << 10 };
    gor__stack_class *cls = &gor__stacks.cls[gor__stack_class_of(a.stack_size)];
    for (int round = 0; round < 3; round++) {
        struct waiter w = { .gate = gor_chan_new(0, 0) };
        gor_wg_add(&w.wg, N);
        for (int i = 0; i < N; i++)
            IS(gor_go_with(&a, wait_for_close, &w), 0);
        IS(promised(cls), N);
        gor_chan_close(w.gate);
        gor_wg_wait(&w.wg);
        WAIT_FOR(promised(cls) == 0);
        gor_chan_release(w.gate);
    }
}

static void come_and_go(void *p)
{
    size_t n = 8192;
    (void)p;
    OK(dig(n) >= 0);
}

TEST(waves_of_goroutines_reuse_their_stacks)
{
    size_t after_first = 0;
    for (int wave = 0; wave < 20; wave++) {
        gor_wg wg = { 0 };
        for (int i = 0; i < 500; i++)
            IS(gor_wg_go(&wg, come_and_go, NULL), 0);
        gor_wg_wait(&wg);
        WAIT_FOR(test_stats().goroutines == 1);
        if (wave == 0)
            after_first = test_stats().stacks_cached;
    }
    /* 500 at a time, and what each processor keeps */
    OK(test_stats().stacks_cached <= after_first + 500 + (size_t)gor_procs(0) * GOR__CACHE_CAP);
}

static void note_where(void *p)
{
    *(uintptr_t *)p = (uintptr_t)__builtin_frame_address(0);
}

TEST1(on_one_processor_who_ends_passes_the_stack_on_to_who_begins)
{
    enum { N = 100 };
    gor_wg wg = { 0 };
    uintptr_t frame[N];
    int n_others = 0;
    if (TEST_TSAN || TEST_ASAN)
        SKIP("sanitizer: each has a stack of its own");
    if (getenv("GORDEBUG") != NULL)
        SKIP("stress: shuffles the order");
    for (int i = 0; i < N; i++)
        START(&wg, note_where, &frame[i]);
    gor_wg_wait(&wg);
    for (int i = 1; i < N; i++)
        n_others += frame[i] != frame[i - 1];
    IS(n_others, 0);
}

static void drop_panic(void *p)
{
    (void)p;
    OK(gor_recover() != NULL);
}

/* Each kind in another way; most just return. */
static void end_somehow(void *p)
{
    switch ((uintptr_t)p) {
    case 0:
        gor_yield();
        break;
    case 1:
        gor_exit();
    case 2:
        gor_lock_thread();
        break;
    case 3:
        IS(gor_defer(drop_panic, NULL), 0);
        gor_panic("dropped");
    case 4:
        OK(dig(8192) >= 0);
        break;
    default:
        break;
    }
}

TEST(who_ends_in_whatever_way_leaves_neither_stack_nor_memory_behind)
{
    enum { N = 300 };
    const gor_attr attr[3] = { { .name = NULL }, { .name = "named" }, { .stack_size = 128u << 10 } };
    for (int wave = 0; wave < 20; wave++) {
        for (int i = 0; i < N; i++)
            IS(gor_go_with(&attr[test_random() % 3], end_somehow,
                           (void *)(uintptr_t)(test_random() % 12)), 0);
        WAIT_FOR(test_stats().goroutines == 1);
        WAIT_FOR(test_stats().stacks == 1);    /* given back a moment after the end */
        IS(gor__n_alive(), 1);
    }
    /* as many as live at once, and what each processor keeps */
    OK(gor__rt.n_slabs * GOR__SLAB_CAP <= N + 1 + (uint32_t)gor_procs(0) * GOR__CACHE_CAP);
}

/* Run fn, with pages that go that soon, at procs 1, 2, 4 and so on up to most. */
static void run_tidying(const char *tidy, int64_t quantum, int most, int (*fn)(void *))
{
    gor_options o = { .quantum = quantum };
    IS(setenv("GORDEBUG", tidy, 1), 0);
    for (o.procs = 1; o.procs <= most; o.procs *= 2)
        IS(gor_run_with(&o, fn, NULL), 0);
    unsetenv("GORDEBUG");
}

struct deep {
    gor_chan *gate;
    size_t    n;
    _Atomic int back;                  /* goroutines that are deep once more                   */
    gor__g   *_Atomic g;               /* the only one                                         */
};

static void wait_at_gate(void *p)
{
    gor_chan_recv((gor_chan *)p, NULL, 0);
}

/* Park deep down, then near the top, with known words in a frame above the pages that go. */
static void dig_and_park(void *p)
{
    struct deep *d = (struct deep *)p;
    volatile char mark[600];
    for (size_t i = 0; i < sizeof mark; i++)
        mark[i] = (char)(i * 7);
    for (int round = 0; round < 2; round++) {
        OK(dig_to(d->n, NULL, wait_at_gate, d->gate) >= 0);
        gor_chan_recv(d->gate, NULL, 0);
        for (size_t i = 0; i < sizeof mark; i++)
            if (mark[i] != (char)(i * 7) && !IS(mark[i], (char)(i * 7)))
                break;
    }
    OK(dig(d->n) >= 0);
}

TEST(a_goroutine_that_parks_gives_back_the_pages_below_its_frames)
{
    enum { N = 20 };
    size_t page = gor__stacks.page_size;
    gor_chan *gate = gor_chan_new(0, 0);
    struct deep d = { .gate = gate, .n = TEST_TSAN ? 60u << 10 : 180u << 10 };
    gor_wg wg = { 0 };
    for (int i = 0; i < N; i++)
        START(&wg, dig_and_park, &d);
    for (int round = 0; round < 2; round++) {
        wait_until_parked(N);
        OK(test_stack_bytes() > N * d.n);
        for (int i = 0; i < N; i++)
            gor_chan_send(gate, NULL, 0);
        WAIT_FOR(test_stats().stack_bytes <= (N + 1) * 4 * page);
        for (int i = 0; i < N; i++)    /* they run again, in the same frames, and again deep */
            gor_chan_send(gate, NULL, 0);
    }
    gor_wg_wait(&wg);
    gor_chan_release(gate);
}

TEST(stacks_of_each_size_are_an_odd_number_of_pages_apart)
{
    for (size_t size = GOR__MIN_STACK_SIZE; size <= GOR__MAX_STACK_SIZE; size *= 2) {
        size_t whole = GOR__MIN_STACK_SIZE << gor__stack_class_of(size);
        IS(gor__stack_stride(whole) / gor__stacks.page_size % 2, 1);
    }
}

static void look_at_the_guards(void)
{
    enum { N = 300 };
    gor_chan *gate = gor_chan_new(0, 0);
    gor_wg wg = { 0 };
    size_t n = 0, bare = 0, page = gor__stacks.page_size;
    for (int i = 0; i < N; i++)
        START(&wg, wait_at_gate, gate);
    wait_until_parked(N);
    for (gor__chunk *c = gor__stack_chunks(); c; c = c->next) {
        size_t end = gor__chunk_cut(c);
        for (size_t at = 0; at < end; at += c->stride, n++)
            bare += !gor__os_faults(c->base + at) + !gor__os_faults(c->base + at + page);
    }
    OK(n >= N);
    IS(bare, 0);
    gor_chan_close(gate);
    gor_wg_wait(&wg);
    gor_chan_release(gate);
}

#if !TEST_TSAN && !TEST_ASAN               /* whose stacks rest, and are larger */
#define TIDY_NS GOR_MS                     /* as tidy= below */

/* Its pages go while it sleeps; at about that time it is woken and goes deep again. */
static void dig_when_pages_go(void *p)
{
    struct deep *d = (struct deep *)p;
    OK(dig(d->n) >= 0);
    gor_sleep(TIDY_NS + (int64_t)(test_random() % (TIDY_NS * 3 / 2)));
    OK(dig(d->n) >= 0);
    atomic_fetch_add(&d->back, 1);
    gor_chan_recv(d->gate, NULL, 0);
}

static int dig_in_waves(void *arg)
{
    enum { N = 20 };
    gor_chan *gate = gor_chan_new(0, 0);
    struct deep d = { .gate = gate, .n = 180u << 10 };
    (void)arg;
    for (int wave = scaled(200); wave > 0; wave--) {
        gor_wg wg = { 0 };
        for (int i = 0; i < N; i++)
            START(&wg, dig_when_pages_go, &d);
        WAIT_FOR(atomic_load(&d.back) == N);
        WAIT_FOR(test_stats().stack_bytes <= (N + 1) * 4 * gor__stacks.page_size);
        atomic_store(&d.back, 0);
        for (int i = 0; i < N; i++)
            gor_chan_send(gate, NULL, 0);
        gor_wg_wait(&wg);
    }
    gor_chan_release(gate);
    return 0;
}

TESTF(pages_go_again_of_who_was_woken_while_they_went)
{
    run_tidying("tidy=1000000", GOR_MS, 2, dig_in_waves);
}

static void dig_between_two_waits(void *p)
{
    struct deep *d = (struct deep *)p;
    atomic_store(&d->g, gor__running());
    gor_chan_recv(d->gate, NULL, 0);
    OK(dig(d->n) >= 0);
    gor_chan_recv(d->gate, NULL, 0);
}

/* Since when it waits, by a clock that ticks now and then. */
static int64_t waits_since(struct deep *d)
{
    while (!atomic_load(&d->g) || gor__au32_load_acq(&d->g->state) != GOR__WAITING)
        gor_yield();
    return gor__ai64_load_rlx(&d->g->since);
}

/* Sysmon goes through a whole look. */
static void let_sysmon_look(void)
{
    for (int i = 0; i < 2; i++) {
        gor__tidy.behind[0] = -1;
        atomic_thread_fence(memory_order_seq_cst);
        WAIT_FOR(*(volatile int64_t *)&gor__tidy.behind[0] >= 0);
    }
}

/* Sysmon leaves what it does once a second to the caller. */
static void take_over_tidy(void)
{
    do {
        gor__tidy.next = gor__tidy.next_step = GOR_FOREVER;
        let_sysmon_look();
    } while (gor__tidy.on || gor__tidy.next != GOR_FOREVER || gor__tidy.next_step != GOR_FOREVER);
}

/* As if the clock had never been late. */
static void tidy(void)
{
    gor__enter();
    gor__tidy.behind[0] = gor__tidy.behind[1] = 0;
    while (gor__tidy_step(gor__os_now()))
        ;
    gor__tidy.next = GOR_FOREVER;
    gor__leave(gor__self());
}

static int wait_twice_in_a_tick(void *arg)
{
    struct deep d = { .gate = gor_chan_new(0, 0), .n = 180u << 10 };
    int64_t first, second;
    gor_wg wg = { 0 };
    (void)arg;
    take_over_tidy();
    do {
        gor_wg_wait(&wg);
        atomic_store(&d.g, NULL);
        START(&wg, dig_between_two_waits, &d);
        first = waits_since(&d);
        tidy();
        gor_chan_send(d.gate, NULL, 0);
        second = waits_since(&d);
        if (second != first)
            gor_chan_send(d.gate, NULL, 0);
    } while (second != first);
    OK(test_stack_bytes() > d.n);
    gor__tidy.next = gor__tidy.next_step = 0;
    WAIT_FOR(test_stats().stack_bytes <= 2 * 4 * gor__stacks.page_size);
    gor_chan_send(d.gate, NULL, 0);
    gor_wg_wait(&wg);
    gor_chan_release(d.gate);
    return 0;
}

TESTF(pages_go_again_of_who_waits_twice_in_a_tick_of_the_clock)
{
    run_tidying("tidy=1", GOR_MS, 2, wait_twice_in_a_tick);
}

static bool kernel_is(int major, int minor)
{
    struct utsname u;
    int has_major = 0, has_minor = 0;
    return uname(&u) == 0 && sscanf(u.release, "%d.%d", &has_major, &has_minor) == 2 &&
           (has_major > major || (has_major == major && has_minor >= minor));
}

/* The same by another name of this process, which older kernels know, too. */
static bool guards_by_pidfd(void)
{
    size_t page = gor__stacks.page_size;
    char *p = (char *)gor__os_reserve(page);
    struct iovec one = { p, page };
    int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    bool does = syscall(SYS_process_madvise, fd, &one, 1, MADV_GUARD_INSTALL, 0) == (long)page;
    close(fd);
    gor__os_release(p, page);
    return does;
}

/* Some are cut, and guarded, at once. */
TEST(of_each_stack_that_was_cut_the_lowest_page_and_the_one_below_fault)
{
    look_at_the_guards();
    OK(gor__au32_load_rlx(&gor__stacks.each) || !kernel_is(6, 15) || !guards_by_pidfd());
}

struct crowd {
    gor_chan *gate;
    gor_wg    wg;
};

static void stand_in_crowd(void *p)
{
    struct crowd *c = (struct crowd *)p;
    uint64_t draw = gor_id() + test_seed;
    if (test_random_r(&draw) % 16 == 0)
        OK(dig(100u << 10) > 0);
    gor_chan_recv(c->gate, NULL, 0);
    gor_wg_done(&c->wg);
}

TEST(a_few_deep_goroutines_in_each_crowd_do_not_make_all_free_stacks_deep)
{
    enum { N = 4000, DEEP = N / 16 };
    size_t page = gor__stacks.page_size, once = N * page + DEEP * (100u << 10);
    for (int round = 0; round < 20; round++) {
        struct crowd c = { .gate = gor_chan_new(0, 0) };
        for (int i = 0; i < N; i++) {
            gor_wg_add(&c.wg, 1);
            IS(gor_go(stand_in_crowd, &c), 0);
        }
        wait_until_parked(N);
        if (round == 19)
            OK(test_stats().stack_bytes < 3 * once);
        gor_chan_close(c.gate);
        gor_wg_wait(&c.wg);
        gor_chan_release(c.gate);
    }
}
#endif

TEST(free_stacks_give_all_pages_back)
{
    gor_wg wg = { 0 };
    if (TEST_TSAN)
        SKIP("sanitizer: free stacks rest, warm, in the processors' caches");
    for (int i = 0; i < 300; i++)
        START(&wg, come_and_go, NULL);
    gor_wg_wait(&wg);
    WAIT_FOR(test_stats().stack_bytes <= 64 * gor__stacks.page_size);
    for (int i = 0; i < 300; i++)
        START(&wg, come_and_go, NULL);
    gor_wg_wait(&wg);
}

/* Dig, park for a moment, and find every frame as it was. */
static void dig_and_nap(void *p)
{
    _Atomic int *stop = (_Atomic int *)p;
    uint64_t mark[200], seed = gor_id();
    for (uint64_t n = 0; !atomic_load(stop); n++) {
        for (size_t i = 0; i < 200; i++)
            mark[i] = seed + n * i;
        (void)dig((size_t)(test_random_r(&seed) % 60000));
        seed = mark[0];
        if (n % 3 == 0)
            gor_sleep((int64_t)(n % 5) * 100 * GOR_US);
        else
            gor_yield();
        for (size_t i = 0; i < 200; i++)
            if (mark[i] != seed + n * i && !IS(mark[i], seed + n * i))
                return;
        seed += n;
    }
}

static int nap_for_a_while(void *p)
{
    _Atomic int stop = 0;
    gor_wg wg = { 0 };
    (void)p;
    for (int i = 0; i < 100; i++)
        START(&wg, dig_and_nap, &stop);
    gor_sleep((TEST_TSAN ? 3 : 1) * GOR_SEC);
    atomic_store(&stop, 1);
    gor_wg_wait(&wg);
    return 0;
}

/* Woken at the moment when their pages go: nobody runs on a stack that is being worked on. */
TESTF(goroutines_may_be_woken_while_their_pages_go)
{
    run_tidying("tidy=1", 100 * GOR_US, 8, nap_for_a_while);
}

#if !TEST_TSAN && !TEST_ASAN               /* they want to be told about every stack */
struct elsewhere {
    gor_chan  *gate;
    char      *area;                   /* above all goroutine stacks */
    ucontext_t here, there;
};

static struct elsewhere elsewhere;

static void wait_there(void)
{
    gor_chan_recv(elsewhere.gate, NULL, 0);
}

static void wait_elsewhere(void *wg)
{
    volatile int words[2000];
    for (int i = 0; i < 2000; i++)
        words[i] = i;
    IS(getcontext(&elsewhere.there), 0);
    elsewhere.there.uc_stack.ss_sp = elsewhere.area;
    elsewhere.there.uc_stack.ss_size = 64u << 10;
    elsewhere.there.uc_link = &elsewhere.here;
    makecontext(&elsewhere.there, wait_there, 0);
    IS(swapcontext(&elsewhere.here, &elsewhere.there), 0);
    for (int i = 0; i < 2000; i++)
        IS(words[i], i);
    gor_wg_done((gor_wg *)wg);
}

static int leave_one_elsewhere(void *p)
{
    gor_wg wg = { 0 };
    (void)p;
    elsewhere.gate = gor_chan_new(0, 0);
    gor_wg_add(&wg, 1);
    IS(gor_go(wait_elsewhere, &wg), 0);
    gor_sleep(50 * GOR_MS);
    gor_chan_close(elsewhere.gate);
    gor_wg_wait(&wg);
    gor_chan_release(elsewhere.gate);
    return 0;
}

TESTF(a_goroutine_that_waits_on_a_stack_of_its_own_making_keeps_both)
{
    IS(setenv("GORDEBUG", "tidy=1", 1), 0);
    elsewhere.area = (char *)mmap(NULL, 64u << 10, PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    IS(gor_run(leave_one_elsewhere, NULL), 0);
    munmap(elsewhere.area, 64u << 10);
    unsetenv("GORDEBUG");
}
#endif

static int dig_blocked(void *p)
{
    return dig(*(size_t *)p) > 0 ? 3 : 0;
}

static void dig_everywhere(void *p)
{
    size_t n = TEST_TSAN ? 60000 : 190000;
    (void)p;
    for (int i = 0; i < 3; i++) {
        OK(dig(n) > 0);
        gor_yield();
    }
    IS(gor_block(dig_blocked, &n), 3);
}

static int waves(void *p)
{
    gor_wg wg = { 0 };
    (void)p;
    for (int i = 0; i < 50; i++)
        START(&wg, dig_everywhere, NULL);
    gor_wg_wait(&wg);
    if (!gor__stacks.no_guards)
        look_at_the_guards();
    test_case_waves_of_goroutines_reuse_their_stacks();
    test_case_a_stack_of_an_odd_size_is_promised_until_its_goroutine_ends();
    return 0;
}

/* The fallbacks of kernels without MADV_GUARD_INSTALL, at the limit of mappings, and where each
 * writable page counts (vm.overcommit_memory=2). */
TESTF(goroutines_run_with_every_kind_of_guard)
{
    static const char *const modes[] = { "noguardinstall=1", "noguard=1", "strict=1",
                                         "strict=1,tidy=1", "nomembarrier=1" };
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        IS(setenv("GORDEBUG", modes[i], 1), 0);
        IS(gor_run(waves, NULL), 0);
    }
    unsetenv("GORDEBUG");
}

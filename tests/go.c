/* Goroutines: starting and ending them, names and threads, fork-join, goroutine-local slots. */
#include "test.h"

#include <sys/syscall.h>

/* -- starting ---------------------------------------------------------------------------------- */

struct mark {
    gor_wg     *wg;
    _Atomic int n;
    uint64_t    id;
    char        name[64];
};

static void make_mark(void *p)
{
    struct mark *m = (struct mark *)p;
    m->id = gor_id();
    snprintf(m->name, sizeof m->name, "%s", gor_name());
    atomic_fetch_add(&m->n, 1);
    gor_wg_done(m->wg);
}

TEST(go_runs_the_function_with_its_argument)
{
    gor_wg wg = { 0 };
    struct mark m[3] = { { .wg = &wg }, { .wg = &wg }, { .wg = &wg } };
    gor_wg_add(&wg, 3);
    IS(gor_go(make_mark, &m[0]), 0);
    IS((gor_go)(make_mark, &m[1]), 0);
    IS(gor_go_with(NULL, make_mark, &m[2]), 0);
    gor_wg_wait(&wg);
    for (int i = 0; i < 3; i++)
        IS(m[i].n, 1);
}

TEST(go_without_a_function_is_refused)
{
    void (*none)(void *) = NULL;
    gor_attr a = { .name = "none" };
    IS(gor_go(none, NULL), -EINVAL);
    IS(gor_go_copy(none, &a, sizeof a), -EINVAL);
    IS(gor_go_with(&a, none, NULL), -EINVAL);
    IS(gor_num_goroutines(), 1);
}

static _Atomic int n_whole_copies;
static gor_wg copies;

/* A copy's first byte says what the later ones are, the next two how many there are. */
static void check_copy(void *p)
{
    unsigned char *b = (unsigned char *)p;
    bool whole = true;
    int n = b[1] | b[2] << 8;
    IS((uintptr_t)p % 16, 0);
    for (int round = 0; round < 3; round++) {
        for (int i = 3; i < n; i++)
            whole = whole && b[i] == (unsigned char)(b[0] + i);
        gor_yield();                   /* the copy outlives the call that made it */
    }
    b[0] = 0;                          /* and it is ours */
    atomic_fetch_add(&n_whole_copies, whole);
    gor_wg_done(&copies);
}

TEST(a_copied_argument_is_aligned_private_and_lives_as_long_as_its_goroutine)
{
    const int size[] = { 3, 4, 8, 15, 16, 17, 24, 40, 55, 56, 57, 63, 64, 65, 100, 1000, 40000 };
    const int n_sizes = (int)(sizeof size / sizeof *size);
    unsigned char *data = (unsigned char *)malloc(40000);
    atomic_store(&n_whole_copies, 0);
    for (int round = 0; round < 5; round++) {
        for (int k = 0; k < n_sizes; k++) {
            data[0] = (unsigned char)(round + k);
            data[1] = (unsigned char)(size[k] & 255);
            data[2] = (unsigned char)(size[k] >> 8);
            for (int i = 3; i < size[k]; i++)
                data[i] = (unsigned char)(data[0] + i);
            gor_wg_add(&copies, 1);
            IS(gor_go_copy(check_copy, data, (size_t)size[k]), 0);
            memset(data, 0xEE, (size_t)size[k]);
        }
    }
    gor_wg_wait(&copies);
    IS(n_whole_copies, 5 * n_sizes);
    free(data);
}

static void need_no_data(void *p)
{
    (void)p;
    gor_wg_done(&copies);
}

TEST(a_copy_of_nothing_is_allowed)
{
    gor_wg_add(&copies, 1);
    IS(gor_go_copy(need_no_data, NULL, 0), 0);
    gor_wg_wait(&copies);
}

TEST(a_goroutine_is_named_after_its_attribute_or_its_function)
{
    gor_wg wg = { 0 };
    struct mark m = { .wg = &wg };
    gor_attr a = { .name = "reader" };
    gor_wg_add(&wg, 1);
    IS(gor_go_with(&a, make_mark, &m), 0);
    gor_wg_wait(&wg);
    IS_STR(m.name, "reader");

    char name[] = "a name of more than twenty-three bytes";
    a.name = name;
    gor_wg_add(&wg, 1);
    IS(gor_go_with(&a, make_mark, &m), 0);
    memset(name, 'x', 10);             /* it was copied */
    gor_wg_wait(&wg);
    IS_STR(m.name, "a name of more than twe");

    gor_wg_add(&wg, 1);
    IS(gor_go(make_mark, &m), 0);
    gor_wg_wait(&wg);
    IS_STR(m.name, "make_mark");
}

/* Touch about `depth` bytes of stack, a page or less at a time. */
static __attribute__((noinline)) unsigned use_stack(size_t depth)
{
    volatile unsigned char frame[1024];
    frame[0] = (unsigned char)depth;
    frame[1023] = 1;
    unsigned below = depth > 1200 ? use_stack(depth - 1200) : 0;
    return below + frame[0] + frame[1023];
}

struct diver {
    gor_wg *wg;
    size_t  depth;
};

static void dive(void *p)
{
    struct diver *d = (struct diver *)p;
    OK(use_stack(d->depth) > 0);
    gor_wg_done(d->wg);
}

TEST(a_stack_is_as_large_as_asked_for)
{
    gor_wg wg = { 0 };
    gor_attr a = { .name = "diver" };
    const size_t kib[] = { 16, 64, 256, 1024, 8192 };
    for (size_t i = 0; i < sizeof kib / sizeof *kib; i++) {
        /* instrumented frames are several times as large */
        struct diver d = { &wg, kib[i] * 1024 / (TEST_ASAN || TEST_TSAN ? 8 : 2) };
        a.stack_size = kib[i] * 1024;
        gor_wg_add(&wg, 1);
        IS(gor_go_with(&a, dive, &d), 0);
        gor_wg_wait(&wg);
    }
    a.stack_size = 100000;             /* not a power of two: rounded up */
    struct diver d = { &wg, 30000 };
    gor_wg_add(&wg, 1);
    IS(gor_go_with(&a, dive, &d), 0);
    gor_wg_wait(&wg);
}

TEST(attributes_out_of_range_are_refused)
{
    gor_wg wg = { 0 };
    struct mark m = { .wg = &wg };
    gor_attr a[] = { { .stack_size = 1 }, { .stack_size = 16 * 1024 - 1 },
                     { .stack_size = ((size_t)1 << 30) + 1 }, { .stack_size = SIZE_MAX },
                     { .priority = 2 }, { .priority = -2 } };
    for (size_t i = 0; i < sizeof a / sizeof *a; i++)
        IS(gor_go_with(&a[i], make_mark, &m), -EINVAL);
    IS(m.n, 0);
    IS(gor_num_goroutines(), 1);
}

TEST(ids_are_unique_and_the_main_goroutine_is_number_one)
{
    enum { N = 200 };
    gor_wg wg = { 0 };
    struct mark *m = (struct mark *)calloc(N, sizeof *m);
    IS(gor_id(), 1);
    for (int round = 0; round < 2; round++) {  /* the second round on used goroutines */
        gor_wg_add(&wg, N / 2);
        for (int i = 0; i < N / 2; i++) {
            m[round * N / 2 + i].wg = &wg;
            IS(gor_go(make_mark, &m[round * N / 2 + i]), 0);
        }
        gor_wg_wait(&wg);
    }
    for (int i = 0; i < N; i++) {
        OK(m[i].id > 1);
        for (int k = 0; k < i; k++)
            OK(m[i].id != m[k].id);
    }
    free(m);
}

static void wait_for_close(void *p)
{
    IS(gor_recv((gor_chan *)p, &(int){ 0 }), -EPIPE);
}

TEST(goroutines_are_counted)
{
    gor_wg wg = { 0 };
    gor_chan *gate = gor_chan_new(sizeof(int), 0);
    uint64_t started = test_stats().started;
    IS(gor_num_goroutines(), 1);
    for (int i = 0; i < 10; i++)
        START(&wg, wait_for_close, gate);
    IS(gor_num_goroutines(), 11);
    IS(test_stats().goroutines, 11);
    IS(test_stats().started, started + 10);
    gor_chan_close(gate);
    gor_wg_wait(&wg);
    WAIT_FOR(gor_num_goroutines() == 1);
    gor_chan_release(gate);
}

static _Atomic int n_arrived;

static void arrive_and_wait_for_close(void *p)
{
    atomic_fetch_add(&n_arrived, 1);
    wait_for_close(p);
}

TEST(a_hundred_thousand_goroutines_live_at_once)
{
    const int n = scaled_goroutines(100000);
    gor_wg wg = { 0 };
    gor_chan *gate = gor_chan_new(sizeof(int), 0);
    atomic_store(&n_arrived, 0);
    for (int i = 0; i < n; i++)
        START(&wg, arrive_and_wait_for_close, gate);
    WAIT_FOR(atomic_load(&n_arrived) == n);    /* cheap: counting the parked walks over all */
    wait_until_parked(n);
    IS(gor_num_goroutines(), n + 1);
    gor_chan_close(gate);
    gor_wg_wait(&wg);
    gor_chan_release(gate);
}

static void count_in(void *p)
{
    atomic_fetch_add((_Atomic unsigned char *)p, 1);
}

/* So short that thieves nap, and come back, many times. In parts: TSan has room for 8,000. */
TEST(each_of_many_short_goroutines_runs_once)
{
    const int n = scaled_goroutines(100000);
    _Atomic unsigned char *runs = calloc((size_t)n, 1);
    gor_wg wg = { 0 };
    int wrong = 0;
    for (int part = 0; part < 10; part++) {
        for (int i = 0; i < n; i++)
            START(&wg, count_in, &runs[i]);
        gor_wg_wait(&wg);
    }
    for (int i = 0; i < n; i++)
        wrong += runs[i] != 10;
    IS(wrong, 0);
    free(runs);
}

static void start_two(void *p)
{
    struct mark *m = (struct mark *)p;
    if (atomic_fetch_add(&m->n, 1) < scaled(20000)) {
        START(m->wg, start_two, m);
        START(m->wg, start_two, m);
    }
}

TEST(goroutines_start_goroutines)
{
    gor_wg wg = { 0 };
    struct mark m = { .wg = &wg };
    START(&wg, start_two, &m);
    gor_wg_wait(&wg);
    OK(m.n > scaled(20000));
}

/* -- ending, deferring, recovering ------------------------------------------------------------- */

struct diary {
    char        text[64];
    _Atomic int n;                     /* entries */
    bool        went_on;
    char        message[700];
};

static void note(struct diary *d, char c)
{
    d->text[atomic_fetch_add(&d->n, 1)] = c;
}

static void note_a(void *p) { note((struct diary *)p, 'a'); }
static void note_b(void *p) { note((struct diary *)p, 'b'); }
static void note_c(void *p) { note((struct diary *)p, 'c'); }
static void note_recovery(void *p)
{
    struct diary *d = (struct diary *)p;
    const char *message = gor_recover();
    snprintf(d->message, sizeof d->message, "%s", message ? message : "(none)");
    note(d, 'r');
}

static void defer_three(void *p)
{
    IS(gor_defer(note_a, p), 0);
    IS(gor_defer(note_b, p), 0);
    IS(gor_defer(note_c, p), 0);
    note((struct diary *)p, '-');
}

static volatile bool leaves = true;    /* volatile: else it is seen to recurse for ever */

static __attribute__((noinline)) int leave_from_below(int depth)
{
    if (depth == 0 && leaves)
        gor_exit();
    return depth == 0 ? 0 : leave_from_below(depth - 1) + 1;
}

static void defer_and_exit(void *p)
{
    defer_three(p);
    note((struct diary *)p, (char)('0' + leave_from_below(5)));
}

static void defer_and_panic(void *p)
{
    IS(gor_defer(note_a, p), 0);
    IS(gor_defer(note_recovery, p), 0);
    IS(gor_defer(note_b, p), 0);
    gor_panic("%s number %d", "trouble", 7);
}

static void defer_recover_only(void *p)
{
    IS(gor_defer(note_recovery, p), 0);
    OK(gor_recover() == NULL);
}

TEST(deferred_calls_run_last_in_first_out_at_the_end)
{
    gor_wg wg = { 0 };
    struct diary d = { .n = 0 };
    START(&wg, defer_three, &d);
    gor_wg_wait(&wg);
    IS_STR(d.text, "-cba");
}

TEST(exit_ends_the_goroutine_after_its_deferred_calls)
{
    gor_wg wg = { 0 };
    struct diary d = { .n = 0 };
    START(&wg, defer_and_exit, &d);
    gor_wg_wait(&wg);
    IS_STR(d.text, "-cba");
}

TEST(a_recovered_panic_ends_its_goroutine_only)
{
    gor_wg wg = { 0 };
    struct diary d = { .n = 0 };
    START(&wg, defer_and_panic, &d);
    gor_wg_wait(&wg);
    IS_STR(d.text, "bra");
    IS_STR(d.message, "trouble number 7");
}

TEST(recover_without_a_panic_gives_nothing)
{
    gor_wg wg = { 0 };
    struct diary d = { .n = 0 };
    START(&wg, defer_recover_only, &d);
    gor_wg_wait(&wg);
    IS_STR(d.message, "(none)");
}

static void panic_at_length(void *p)
{
    char text[2000];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    IS(gor_defer(note_recovery, p), 0);
    gor_panic("%s", text);
}

TEST(a_long_panic_message_is_cut)
{
    gor_wg wg = { 0 };
    struct diary d = { .n = 0 };
    START(&wg, panic_at_length, &d);
    gor_wg_wait(&wg);
    OK(strlen(d.message) > 400);
    OK(strlen(d.message) <= 500);
    IS(d.message[400], 'x');
}

static void count_entry(void *p)
{
    atomic_fetch_add(&((struct diary *)p)->n, 1);
}

static void defer_many(void *p)
{
    for (int i = 0; i < 1000; i++)
        IS(gor_defer(count_entry, p), 0);
}

TEST(many_calls_may_be_deferred)
{
    gor_wg wg = { 0 };
    struct diary d = { .n = 0 };
    START(&wg, defer_many, &d);
    gor_wg_wait(&wg);
    IS(d.n, 1000);
}

/* -- local slots ------------------------------------------------------------------------------- */

static _Atomic int n_destroyed, sum_destroyed;

static void destroy(void *value)
{
    atomic_fetch_add(&n_destroyed, 1);
    atomic_fetch_add(&sum_destroyed, *(int *)value);
}

static gor_local plain_slot, owning_slot = { .destructor = destroy };

struct owner {
    int value, other;
    int how;                           /* it ends */
};

static void swallow(void *p)
{
    (void)p;
    gor_recover();
}

static void own_slots(void *p)
{
    struct owner *o = (struct owner *)p;
    OK(gor_local_get(&plain_slot) == NULL);
    OK(gor_local_get(&owning_slot) == NULL);
    IS(gor_local_set(&plain_slot, o), 0);
    IS(gor_local_set(&owning_slot, &o->other), 0);
    IS(gor_local_set(&owning_slot, &o->value), 0);     /* the old one is not destroyed */
    for (int i = 0; i < 10; i++) {
        gor_yield();
        OK(gor_local_get(&plain_slot) == o);
        OK(gor_local_get(&owning_slot) == &o->value);
    }
    if (o->how == 1)
        gor_exit();
    if (o->how == 2) {
        gor_defer(swallow, NULL);
        gor_panic("with a slot");
    }
}

TEST(each_goroutine_has_its_own_slots_and_they_are_destroyed_with_it)
{
    enum { N = 60 };
    gor_wg wg = { 0 };
    struct owner o[N];
    int sum = 0;
    atomic_store(&n_destroyed, 0);
    atomic_store(&sum_destroyed, 0);
    for (int i = 0; i < N; i++) {
        o[i] = (struct owner){ i, 1000000, i % 3 };
        sum += i;
        START(&wg, own_slots, &o[i]);
    }
    gor_wg_wait(&wg);
    WAIT_FOR(test_stats().goroutines == 1);
    IS(n_destroyed, N);
    IS(sum_destroyed, sum);
    OK(gor_local_get(&plain_slot) == NULL);
}

static gor_local many_slots[100];

static void fill_slots(void *p)
{
    (void)p;
    for (int i = 0; i < 100; i++)
        IS(gor_local_set(&many_slots[i], &many_slots[i]), 0);
    gor_yield();
    for (int i = 0; i < 100; i++)
        OK(gor_local_get(&many_slots[i]) == &many_slots[i]);
}

TEST(a_goroutine_may_have_many_slots)
{
    gor_wg wg = { 0 };
    for (int i = 0; i < 10; i++)
        START(&wg, fill_slots, NULL);
    gor_wg_wait(&wg);
}

/* -- threads ----------------------------------------------------------------------------------- */

/* Which locked goroutine this thread belongs to. Read anew each time: a goroutine migrates. */
static _Thread_local _Atomic uint64_t thread_owner;

static __attribute__((noinline)) uint64_t get_thread_owner(void)
{
    __asm__ volatile("" ::: "memory");
    return atomic_load(&thread_owner);
}

static __attribute__((noinline)) void set_thread_owner(uint64_t id)
{
    __asm__ volatile("" ::: "memory");
    atomic_store(&thread_owner, id);
}

static void stay_on_thread(void *p)
{
    long self = syscall(SYS_gettid);         /* libc calls pthread_self const: may be kept */
    bool by_attr = p != NULL;
    if (!by_attr)
        IS(gor_lock_thread(), 0);
    IS(gor_lock_thread(), 0);          /* nests */
    gor_unlock_thread();
    if (!by_attr)
        self = syscall(SYS_gettid);
    IS(get_thread_owner(), 0);
    set_thread_owner(gor_id());
    for (int i = 0; i < 50; i++) {
        if (i % 10 == 0)
            gor_sleep(20 * GOR_US);
        else
            gor_yield();
        IS(syscall(SYS_gettid), self);
        IS(get_thread_owner(), gor_id());
    }
    set_thread_owner(0);
    gor_unlock_thread();
}

static void roam(void *p)
{
    (void)p;
    for (int i = 0; i < 200; i++) {
        IS(get_thread_owner(), 0);
        gor_yield();
    }
}

TEST(a_locked_goroutine_has_a_thread_to_itself)
{
    gor_wg wg = { 0 };
    for (int i = 0; i < 4; i++) {
        START(&wg, stay_on_thread, NULL);
        START(&wg, roam, NULL);
        START(&wg, roam, NULL);
    }
    gor_wg_wait(&wg);
}

static void locked_from_the_start(void *p)
{
    gor_wg *wg = (gor_wg *)p;
    stay_on_thread(wg);
    gor_wg_done(wg);
}

TEST(a_goroutine_may_start_locked)
{
    gor_wg wg = { 0 };
    gor_attr a = { .name = "pinned", .lock_thread = true };
    for (int i = 0; i < 3; i++) {
        gor_wg_add(&wg, 1);
        IS(gor_go_with(&a, locked_from_the_start, &wg), 0);
        START(&wg, roam, NULL);
    }
    gor_wg_wait(&wg);
}

static pthread_key_t thread_end;
static _Atomic int n_threads_ended;

static void count_thread_end(void *p)
{
    (void)p;
    atomic_fetch_add(&n_threads_ended, 1);
}

static void end_while_locked(void *p)
{
    (void)p;
    IS(gor_lock_thread(), 0);
    pthread_setspecific(thread_end, &thread_end);
}

TEST(a_goroutine_that_ends_locked_ends_its_thread)
{
    gor_wg wg = { 0 };
    atomic_store(&n_threads_ended, 0);
    IS(pthread_key_create(&thread_end, count_thread_end), 0);
    /* The thread that called gor_run cannot end: keep it, then no other goroutine gets it. */
    IS(gor_lock_thread(), 0);
    for (int i = 0; i < 3; i++)
        START(&wg, end_while_locked, NULL);
    gor_wg_wait(&wg);
    WAIT_FOR(atomic_load(&n_threads_ended) == 3);
    START(&wg, roam, NULL);            /* and the others go on */
    gor_wg_wait(&wg);
    gor_unlock_thread();
    pthread_key_delete(thread_end);
}

static void unlock_once_too_often(void *p)
{
    IS(gor_defer(note_recovery, p), 0);
    gor_unlock_thread();
    ((struct diary *)p)->went_on = true;
}

TEST(one_thread_unlock_too_many_panics)
{
    gor_wg wg = { 0 };
    struct diary d = { .n = 0 };
    START(&wg, unlock_once_too_often, &d);
    gor_wg_wait(&wg);
    OK(!d.went_on);
    OK(strcmp(d.message, "(none)") != 0);
}

/* -- order ------------------------------------------------------------------------------------- */

enum { LANES = 256 };                  /* with the test itself, one more than a ring holds */

struct lane {
    gor_chan   *gate;
    int         n_lanes, n_turns;
    _Atomic int turns[LANES], most_ahead, n_done;
};
struct runner {
    struct lane *lane;
    int          id;
};

static void run_lane(void *p)
{
    struct runner *r = (struct runner *)p;
    struct lane *l = r->lane;
    gor_recv(l->gate, &(int){ 0 });
    for (int i = 0; i < l->n_turns; i++) {
        int turns = atomic_fetch_add(&l->turns[r->id], 1) + 1;
        const int steps[3] = { 1, l->n_lanes / 2, l->n_lanes - 1 };    /* to some of the others */
        for (int k = 0; k < 3 && atomic_load(&l->n_done) == 0; k++) {
            int ahead = turns - atomic_load(&l->turns[(r->id + steps[k]) % l->n_lanes]);
            if (ahead > atomic_load(&l->most_ahead))
                atomic_store(&l->most_ahead, ahead);
        }
        gor_yield();
    }
    atomic_fetch_add(&l->n_done, 1);
}

/* How many turns one was ahead of another, at most. */
static int run_lanes(int n, int n_turns)
{
    gor_wg wg = { 0 };
    struct lane l = { .gate = gor_chan_new(sizeof(int), 0), .n_lanes = n, .n_turns = n_turns };
    struct runner r[LANES];
    for (int i = 0; i < n; i++) {
        r[i] = (struct runner){ &l, i };
        START(&wg, run_lane, &r[i]);
    }
    wait_until_parked(n);
    gor_chan_close(l.gate);
    while (atomic_load(&l.n_done) == 0)
        gor_yield();
    gor_wg_wait(&wg);
    for (int i = 0; i < n; i++)
        IS(l.turns[i], n_turns);
    gor_chan_release(l.gate);
    return l.most_ahead;
}

TEST1(on_one_processor_those_who_yield_take_turns)
{
    if (getenv("GORDEBUG") != NULL)
        SKIP("stress: shuffles the order");
    OK(run_lanes(4, 1000) <= 2);
    OK(run_lanes(LANES - 1, 100) <= 2);
    run_lanes(LANES, 100);             /* a full ring is spilled each 61st turn */
}

static void spin_until_set(void *p)
{
    while (!atomic_load((_Atomic int *)p))
        gor_yield();
}

static void set_flag(void *p)
{
    atomic_store((_Atomic int *)p, 1);
}

/* Some that spin, with their attributes, and are waited for: the flag is on the waiter's stack. */
struct spinners {
    gor_wg      wg;
    _Atomic int flag;
};

static void spin_and_end(void *p)
{
    struct spinners *s = (struct spinners *)p;
    spin_until_set(&s->flag);
    gor_wg_done(&s->wg);
}

static void start_spinner(struct spinners *s, const gor_attr *attr)
{
    gor_wg_add(&s->wg, 1);
    IS(gor_go_with(attr, spin_and_end, s), 0);
}

static void end_spinners(struct spinners *s)
{
    atomic_store(&s->flag, 1);
    gor_wg_wait(&s->wg);
}

TEST(yielding_goroutines_do_not_starve_the_others)
{
    gor_wg wg = { 0 };
    _Atomic int flag = 0;
    for (int i = 0; i < 4; i++)
        START(&wg, spin_until_set, &flag);
    gor_yield();
    START(&wg, set_flag, &flag);
    gor_wg_wait(&wg);
    IS(flag, 1);
}

/* -- the global queue -------------------------------------------------------------------------- */

struct crowd {
    gor_wg      wg;
    _Atomic int n_passed;
    _Atomic bool waits;
};

enum { CROWD = 500 };

static void pass(void *p)
{
    atomic_fetch_add(&((struct crowd *)p)->n_passed, 1);
}

/* What a thread starts is put into the global queue. */
static void *start_a_crowd(void *p)
{
    struct crowd *c = (struct crowd *)p;
    for (int i = 0; i < CROWD; i++)
        START(&c->wg, pass, c);
    atomic_store(&c->waits, true);
    return NULL;
}

static void echo(void *p)
{
    gor_chan **c = (gor_chan **)p;
    int v;
    while (gor_recv(c[0], &v) == 0)
        IS(gor_send(c[1], &v), 0);
}

/* Each turn's successor is at hand, woken to run next, so nothing but the number of turns sends
 * anyone to the global queue: in one turn of 61 there, and a hop takes two. */
static int pass_values_beside_a_crowd(void *p)
{
    struct crowd crowd = { .n_passed = 0 };
    gor_chan *c[2] = { gor_chan_new(sizeof(int), 0), gor_chan_new(sizeof(int), 0) };
    gor_wg wg = { 0 };
    pthread_t thread;
    int hops = 0, v = 0;
    (void)p;
    START(&wg, echo, c);
    wait_until_parked(1);
    IS(pthread_create(&thread, NULL, start_a_crowd, &crowd), 0);
    while (!atomic_load(&crowd.waits))
        ;                              /* keeping the only processor */
    IS(crowd.n_passed, 0);
    for (; hops < 100 * CROWD && atomic_load(&crowd.n_passed) < CROWD; hops++) {
        gor_send(c[0], &hops);
        gor_recv(c[1], &v);
    }
    IS(crowd.n_passed, CROWD);
    gor_chan_close(c[0]);
    gor_wg_wait(&wg);
    gor_wg_wait(&crowd.wg);
    pthread_join(thread, NULL);
    gor_chan_release(c[0]);
    gor_chan_release(c[1]);
    return hops;
}

TESTF(a_pair_that_wakes_each_other_for_ever_does_not_starve_the_global_queue)
{
    gor_options o = { .procs = 1, .preempt = GOR_PREEMPT_OFF };
    OK(gor_run_with(&o, pass_values_beside_a_crowd, NULL) > 0);
}

struct rank {
    gor_wg     *wg;
    _Atomic int *counter;
    int         place;
};

static void take_place(void *p)
{
    struct rank *r = (struct rank *)p;
    r->place = atomic_fetch_add(r->counter, 1);
    gor_wg_done(r->wg);
}

TEST1(on_one_processor_higher_priority_runs_first)
{
    enum { N = 10 };
    gor_wg wg = { 0 };
    _Atomic int counter = 0;
    struct rank r[4][N];
    const int priority[4] = { GOR_LOW, GOR_HIGH, GOR_NORMAL, GOR_LOW };
    if (TEST_TSAN)
        SKIP("sanitizer: so slow that the lower ones have waited their 50 ms");
    for (int k = 0; k < 4; k++) {
        gor_attr a = { .priority = priority[k] };
        for (int i = 0; i < N; i++) {
            r[k][i] = (struct rank){ &wg, &counter, -1 };
            gor_wg_add(&wg, 1);
            IS(gor_go_with(&a, take_place, &r[k][i]), 0);
        }
    }
    gor_wg_wait(&wg);
    IS(counter, 4 * N);
    for (int i = 0; i < N; i++) {
        OK(r[1][i].place < N);
        OK(r[2][i].place >= N && r[2][i].place < 2 * N);
    }
}

/* Its place among those that take theirs after it began. */
static void yield_and_take_place(void *p)
{
    struct rank *r = (struct rank *)p;
    int before = atomic_load(r->counter);
    gor_yield();
    r->place = atomic_fetch_add(r->counter, 1) - before;
    gor_wg_done(r->wg);
}

/* Though it is the only one of its kind: its queue is empty while it runs. */
TEST1(on_one_processor_one_of_high_priority_yields_to_nobody)
{
    enum { N = 10 };
    gor_wg wg = { 0 };
    _Atomic int counter = 0;
    struct rank r[N + 1];
    gor_attr high = { .priority = GOR_HIGH };
    if (TEST_TSAN)
        SKIP("sanitizer: so slow that the lower ones have waited their 50 ms");
    for (int i = 0; i <= N; i++) {
        r[i] = (struct rank){ &wg, &counter, -1 };
        gor_wg_add(&wg, 1);
        IS(i < N ? gor_go(take_place, &r[i]) : gor_go_with(&high, yield_and_take_place, &r[i]), 0);
    }
    gor_wg_wait(&wg);
    IS(r[N].place, 0);
}

/* Nor by one alone, whose queue is empty again and again. */
TEST(normal_priority_is_not_starved)
{
    gor_wg wg = { 0 };
    struct spinners s = { .flag = 0 };
    gor_attr high = { .priority = GOR_HIGH };
    for (int i = 0; i < gor_procs(0); i++)
        start_spinner(&s, &high);
    gor_yield();
    START(&wg, set_flag, &s.flag);
    gor_wg_wait(&wg);
    end_spinners(&s);
}

TEST(low_priority_is_not_starved)
{
    gor_wg wg = { 0 };
    _Atomic int counter = 0;
    struct spinners s = { .flag = 0 };
    struct rank r = { &wg, &counter, -1 };
    gor_attr high = { .priority = GOR_HIGH }, low = { .priority = GOR_LOW };
    gor_wg_add(&wg, 1);
    IS(gor_go_with(&low, take_place, &r), 0);
    for (int i = 0; i < 100; i++)      /* more than there are processors */
        start_spinner(&s, &high);
    gor_wg_wait(&wg);
    end_spinners(&s);
}

/* Nor by both at once: a turn of low priority is not one of normal. */
TEST(normal_priority_is_not_starved_by_high_and_low)
{
    struct spinners s = { .flag = 0 };
    gor_attr high = { .priority = GOR_HIGH }, low = { .priority = GOR_LOW };
    for (int i = 0; i < gor_procs(0); i++) {
        start_spinner(&s, &high);
        start_spinner(&s, &low);
    }
    for (int i = 0; i < 3; i++)
        gor_yield();
    end_spinners(&s);
}

struct starved {
    _Atomic int stop;
    int64_t     begin, worst, noise;   /* ns between turns; without a CPU */
};

/* The kernel favours who sleeps: so this one computes all the time, as those that spin do. */
static void *measure_noise(void *p)
{
    struct starved *s = (struct starved *)p;
    for (int64_t now, last = gor_now(); !atomic_load(&s->stop); last = now) {
        now = gor_now();
        if (now - last > s->noise)
            s->noise = now - last;
    }
    return NULL;
}

static void take_turns(void *p)
{
    struct starved *s = (struct starved *)p;
    for (int64_t now, last = s->begin; !atomic_load(&s->stop); last = now) {
        now = gor_now();
        if (now - last > s->worst)
            s->worst = now - last;
        gor_yield();
    }
    if (gor_now() - s->begin > s->worst && s->worst == 0)
        s->worst = gor_now() - s->begin;           /* not one turn until the end */
}

/* With high priority everywhere, always. Noise counts for each of the turns before. */
TEST(low_priority_waits_100_ms_at_most)
{
    struct starved s = { 0 };
    gor_attr high = { .priority = GOR_HIGH }, low = { .priority = GOR_LOW };
    pthread_t t;
    if (TEST_TSAN || TEST_ASAN)
        SKIP("sanitizer: a turn takes as long as it makes it");
    if (test_emulated())
        SKIP("emulator: a turn takes as long as it makes it");
    IS(pthread_create(&t, NULL, measure_noise, &s), 0);
    for (int i = 0; i < 100; i++)      /* more than there are processors */
        IS(gor_go_with(&high, spin_until_set, &s.stop), 0);
    s.begin = gor_now();               /* not before: each start may have cost us a turn */
    IS(gor_go_with(&low, take_turns, &s), 0);
    gor_sleep(500 * GOR_MS);
    atomic_store(&s.stop, 1);
    pthread_join(t, NULL);
    WAIT_FOR(test_stats().goroutines == 1);
    OK(s.worst > 0);
    if (!OK(s.worst <= 100 * GOR_MS * test_scale + 4 * s.noise))
        test_say("# %lld us, noise %lld us\n", (long long)s.worst / 1000,
                 (long long)s.noise / 1000);
}

/* -- blocking calls ---------------------------------------------------------------------------- */

static int read_one_byte(void *p)
{
    char c = 0;
    return read(*(int *)p, &c, 1) == 1 ? c : -1;
}

static void write_one_byte(void *p)
{
    char c = 'x';
    IS(write(*(int *)p, &c, 1), 1);
}

TEST(a_blocking_call_does_not_hold_up_the_others)
{
    gor_wg wg = { 0 };
    int fd[2];
    IS(pipe(fd), 0);
    START(&wg, write_one_byte, &fd[1]);
    IS(gor_block(read_one_byte, &fd[0]), 'x');
    gor_wg_wait(&wg);
    close(fd[0]);
    close(fd[1]);
}

static void block_on_pipe(void *p)
{
    IS(gor_block(read_one_byte, p), 'x');
}

TEST(many_blocking_calls_wait_at_the_same_time)
{
    enum { N = 20 };
    gor_wg wg = { 0 };
    int fd[2];
    IS(pipe(fd), 0);
    for (int i = 0; i < N; i++)
        START(&wg, block_on_pipe, &fd[0]);
    for (int i = 0; i < N; i++) {
        gor_yield();
        write_one_byte(&fd[1]);
    }
    gor_wg_wait(&wg);
    close(fd[0]);
    close(fd[1]);
}

/* -- fork and join ----------------------------------------------------------------------------- */

struct fib {
    int  n;
    long result;
};

static void *fib(void *p)
{
    struct fib *f = (struct fib *)p;
    if (f->n < 2) {
        f->result = f->n;
        return f;
    }
    struct fib a = { f->n - 1, 0 }, b = { f->n - 2, 0 };
    gor_task t;
    gor_fork(&t, fib, &a);
    fib(&b);
    if (gor_join(&t) != &a)
        test_fail();
    f->result = a.result + b.result;
    return f;
}

TEST(forks_nest)
{
    struct fib f = { TEST_TSAN ? 14 : 20, 0 };
    fib(&f);
    IS(f.result, TEST_TSAN ? 377 : 6765);
}

static void fib_in_goroutine(void *p)
{
    fib(p);
}

TEST(many_goroutines_fork_at_once)
{
    gor_wg wg = { 0 };
    struct fib f[8];
    for (int i = 0; i < 8; i++) {
        f[i] = (struct fib){ 12 + i % 2, 0 };
        START(&wg, fib_in_goroutine, &f[i]);
    }
    gor_wg_wait(&wg);
    for (int i = 0; i < 8; i++)
        IS(f[i].result, i % 2 ? 233 : 144);
}

static void *add_one(void *p)
{
    ++*(int *)p;
    return p;
}

TEST(tasks_are_joined_in_any_order)
{
    enum { N = 100 };
    const int stride[] = { 1, N - 1, 37, 7, 51 };      /* coprime to N: each visits all */
    for (size_t s = 0; s < sizeof stride / sizeof *stride; s++) {
        int v[N] = { 0 };
        gor_task t[N];
        for (int i = 0; i < N; i++)
            gor_fork(&t[i], add_one, &v[i]);
        for (int i = 0; i < N; i++) {
            int k = (i + 1) * stride[s] % N;
            OK(gor_join(&t[k]) == &v[k]);
            IS(v[k], 1);
        }
    }
}

TEST(more_tasks_may_be_forked_than_any_queue_holds)
{
    const int n = scaled(10000);
    gor_task *t = (gor_task *)calloc((size_t)n, sizeof *t);
    int *v = (int *)calloc((size_t)n, sizeof *v);
    for (int i = 0; i < n; i++)
        gor_fork(&t[i], add_one, &v[i]);
    for (int i = 0; i < n; i++) {
        OK(gor_join(&t[i]) == &v[i]);
        IS(v[i], 1);
    }
    free(t);
    free(v);
}

struct rendezvous {
    gor_chan   *c;
    _Atomic int begun;
};

static void *recv_in_task(void *p)
{
    struct rendezvous *r = (struct rendezvous *)p;
    int v = -1;
    atomic_store(&r->begun, 1);
    IS(gor_recv(r->c, &v), 0);
    return v == 5 ? p : NULL;
}

static void send_five(void *p)
{
    IS(gor_send(((struct rendezvous *)p)->c, &(int){ 5 }), 0);
}

TEST(a_task_may_park)
{
    gor_wg wg = { 0 };
    gor_task t;
    struct rendezvous r = { gor_chan_new(sizeof(int), 0), 0 };
    START(&wg, send_five, &r);
    gor_fork(&t, recv_in_task, &r);
    OK(gor_join(&t) == &r);
    gor_wg_wait(&wg);
    gor_chan_release(r.c);
}

TEST(with_a_free_processor_a_task_runs_before_it_is_joined)
{
    gor_task t;
    struct rendezvous r = { gor_chan_new(sizeof(int), 1), 0 };
    gor_fork(&t, recv_in_task, &r);
    if (gor_procs(0) > 1)
        WAIT_FOR(atomic_load(&r.begun));
    send_five(&r);
    OK(gor_join(&t) == &r);
    gor_chan_release(r.c);
}

static void fork_and_be_joined(void *p)
{
    struct rendezvous *r = (struct rendezvous *)p;
    gor_task t[10];
    int v[10] = { 0 };
    for (int round = 0; round < scaled(100); round++) {
        for (int i = 0; i < 10; i++)
            gor_fork(&t[i], add_one, &v[i]);
        gor_yield();                   /* the forker may wake on another processor */
        for (int i = 9; i >= 0; i--)
            OK(gor_join(&t[i]) == &v[i]);
    }
    for (int i = 0; i < 10; i++)
        IS(v[i], scaled(100));
    atomic_fetch_add(&r->begun, 1);
}

TEST(a_forker_may_park_between_fork_and_join)
{
    gor_wg wg = { 0 };
    struct rendezvous r = { NULL, 0 };
    for (int i = 0; i < 8; i++)
        START(&wg, fork_and_be_joined, &r);
    gor_wg_wait(&wg);
    IS(r.begun, 8);
}

/* -- parallel for ------------------------------------------------------------------------------ */

struct cover {
    unsigned char *seen;               /* a count for each index from `first` on */
    size_t         first, grain;
    _Atomic int    n_calls;
};

static void cover_range(size_t lo, size_t hi, void *p)
{
    struct cover *c = (struct cover *)p;
    OK(lo < hi);
    OK(c->grain == 0 || hi - lo <= c->grain);
    for (size_t i = lo; i < hi; i++)
        c->seen[i - c->first]++;
    atomic_fetch_add(&c->n_calls, 1);
}

TEST(parallel_for_covers_each_index_exactly_once)
{
    const size_t count[] = { 0, 1, 2, 3, 10, 63, 64, 65, 1000, 4097 };
    const size_t grain[] = { 0, 1, 2, 7, 64, 100000 };
    unsigned char seen[4200];
    for (size_t k = 0; k < sizeof count / sizeof *count; k++) {
        for (size_t g = 0; g < sizeof grain / sizeof *grain; g++) {
            size_t begin = k % 3 * 5, end = begin + count[k], n_wrong = 0;
            struct cover c = { .seen = seen, .grain = grain[g] };
            memset(seen, 0, sizeof seen);
            IS(gor_parallel_for(begin, end, grain[g], cover_range, &c), 0);
            for (size_t i = 0; i < sizeof seen; i++)
                n_wrong += seen[i] != (i >= begin && i < end);
            IS(n_wrong, 0);
            OK(count[k] > 0 || c.n_calls == 0);
        }
    }
    IS(gor_parallel_for(0, 10, 1, NULL, NULL), -EINVAL);
}

TEST(parallel_for_reaches_the_end_of_the_number_range)
{
    unsigned char seen[11] = { 0 };    /* SIZE_MAX - 10 plus a grain would wrap round */
    struct cover c = { .seen = seen, .first = SIZE_MAX - 10, .grain = 64 };
    IS(gor_parallel_for(SIZE_MAX - 10, SIZE_MAX, 64, cover_range, &c), 0);
    for (int i = 0; i < 10; i++)
        IS(seen[i], 1);
    IS(seen[10], 0);
}

static void outer_range(size_t lo, size_t hi, void *p)
{
    struct cover *c = (struct cover *)p;
    for (size_t i = lo; i < hi; i++) {
        struct cover inner = { .seen = c->seen + 100 * i, .grain = 3 };
        IS(gor_parallel_for(0, 100, 3, cover_range, &inner), 0);
    }
}

TEST(parallel_for_nests)
{
    unsigned char seen[40 * 100] = { 0 };
    struct cover c = { .seen = seen };
    int n_wrong = 0;
    IS(gor_parallel_for(0, 40, 1, outer_range, &c), 0);
    for (size_t i = 0; i < sizeof seen; i++)
        n_wrong += seen[i] != 1;
    IS(n_wrong, 0);
}

/* -- GOR_GO ------------------------------------------------------------------------------------ */

/* A goroutine for each type, that stores what it was given. */
#define TAKER(name, T)                                                                             \
    static T got_##name;                                                                           \
    static void take_##name(T v, gor_wg *wg)                                                       \
    {                                                                                              \
        got_##name = v;                                                                            \
        gor_wg_done(wg);                                                                           \
    }
#define TAKE(name, v)                                                                              \
    do {                                                                                           \
        gor_wg_add(w, 1);                                                                          \
        IS(GOR_GO(take_##name, (v), w), 0);                                                        \
        gor_wg_wait(w);                                                                            \
        OK(got_##name == (v));                                                                     \
    } while (0)

typedef int (*function)(void *);
TAKER(bool, bool)
TAKER(char, char)
TAKER(schar, signed char)
TAKER(uchar, unsigned char)
TAKER(short, short)
TAKER(ushort, unsigned short)
TAKER(int, int)
TAKER(unsigned, unsigned)
TAKER(long, long)
TAKER(ulong, unsigned long)
TAKER(llong, long long)
TAKER(ullong, unsigned long long)
TAKER(size, size_t)
TAKER(pointer, int *)
TAKER(constant, const char *)
TAKER(function, function)

TEST(a_typed_go_passes_every_integer_and_pointer_type)
{
    gor_wg wg = { 0 }, *w = &wg;
    int x = 0;
    const char *text = "text";
    TAKE(bool, (bool)true);
    TAKE(bool, (bool)false);
    TAKE(char, (char)-5);
    TAKE(char, (char)100);
    TAKE(schar, (signed char)-128);
    TAKE(uchar, (unsigned char)255);
    TAKE(short, (short)-32768);
    TAKE(ushort, (unsigned short)65535);
    TAKE(int, -1);
    TAKE(int, INT32_MIN);
    TAKE(unsigned, 4000000000u);
    TAKE(long, -2L);
    TAKE(long, INT64_MIN);
    TAKE(ulong, UINT64_MAX);
    TAKE(llong, -3LL);
    TAKE(ullong, 1ULL << 63);
    TAKE(size, SIZE_MAX);
    TAKE(pointer, &x);
    TAKE(constant, text);
    TAKE(function, read_one_byte);
    gor_wg_add(w, 1);
    IS(GOR_GO(take_pointer, NULL, w), 0);
    gor_wg_wait(w);
    OK(got_pointer == NULL);
}

TEST(a_typed_go_converts_as_a_call_does)
{
    gor_wg wg = { 0 }, *w = &wg;
    signed char narrow = -7;
    unsigned char byte = 200;
    const int constant = -9;
    char array[] = "array";
    gor_wg_add(w, 1);
    IS(GOR_GO(take_long, -1, w), 0);                   /* int to long */
    gor_wg_wait(w);
    IS(got_long, -1);
    gor_wg_add(w, 1);
    IS(GOR_GO(take_llong, narrow, w), 0);
    gor_wg_wait(w);
    IS(got_llong, -7);
    gor_wg_add(w, 1);
    IS(GOR_GO(take_int, byte, w), 0);
    gor_wg_wait(w);
    IS(got_int, 200);
    gor_wg_add(w, 1);
    IS(GOR_GO(take_int, constant, w), 0);
    gor_wg_wait(w);
    IS(got_int, -9);
    gor_wg_add(w, 1);
    IS(GOR_GO(take_long, 3000000000u, w), 0);          /* unsigned to long */
    gor_wg_wait(w);
    IS(got_long, 3000000000);
    gor_wg_add(w, 1);
    IS(GOR_GO(take_constant, array, w), 0);            /* array to pointer, and to const */
    gor_wg_wait(w);
    OK(got_constant == array);
}

static gor_wg of_typed;
static long typed[7];

static void f0(void) { typed[0] = 1; gor_wg_done(&of_typed); }
static void f1(int a) { typed[1] = a; gor_wg_done(&of_typed); }
static int f2(int a, long b) { typed[2] = a * 10 + b; gor_wg_done(&of_typed); return 5; }
static void f3(char a, long b, short c)
{
    typed[3] = a * 100 + b * 10 + c;
    gor_wg_done(&of_typed);
}
static long *f4(int a, long b, unsigned c, long *to)
{
    *to = a * 100 + b * 10 + (long)c;
    gor_wg_done(&of_typed);
    return to;
}
static void f5(int a, int b, int c, int d, int e)
{
    typed[5] = ((a * 10 + b) * 10 + c) * 10L + d * 10 - e;
    gor_wg_done(&of_typed);
}
static void f6(long a, int b, long c, int d, long e, const char *g)
{
    typed[6] = ((((a * 10 + b) * 10 + c) * 10 + d) * 10 + e) * 10 + *g - '0';
    gor_wg_done(&of_typed);
}

TEST(a_typed_go_takes_up_to_six_arguments)
{
    memset(typed, 0, sizeof typed);
    gor_wg_add(&of_typed, 7);
    IS(GOR_GO(f0), 0);
    IS(GOR_GO(f1, -1), 0);
    IS(GOR_GO(f2, 1, 2), 0);           /* the result is dropped */
    IS(GOR_GO(f3, (char)1, 2L, (short)3), 0);
    IS(GOR_GO(f4, 1, 2, 3u, &typed[4]), 0);
    IS(GOR_GO(f5, 1, 2, 3, 4, 5), 0);
    IS(GOR_GO(f6, 1, 2, 3, 4, 5, "6"), 0);
    gor_wg_wait(&of_typed);
    IS(typed[0], 1);
    IS(typed[1], -1);
    IS(typed[2], 12);
    IS(typed[3], 123);
    IS(typed[4], 123);
    IS(typed[5], 1230 + 40 - 5);
    IS(typed[6], 123456);
}

TEST(a_typed_go_evaluates_its_arguments_once_and_now)
{
    int i = 3;
    gor_wg_add(&of_typed, 1);
    IS(GOR_GO(f1, i++), 0);
    IS(i, 4);
    i = 9;
    gor_wg_wait(&of_typed);
    IS(typed[1], 3);
}

/* -- odds and ends ----------------------------------------------------------------------------- */

TEST(results_have_names)
{
    const int known[] = { -EPIPE, -EAGAIN, -ETIMEDOUT, -ECANCELED, -ENOMEM, -EINVAL, -EBADF,
                          -EMSGSIZE, -ESRCH, -EBUSY, -ENOSYS, -EOVERFLOW };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        OK(gor_strerror(known[i]) != NULL && *gor_strerror(known[i]) != '\0');
        IS_STR(gor_strerror(-known[i]), gor_strerror(known[i]));
    }
    OK(strstr(gor_strerror(-EPIPE), "EPIPE") != NULL);
    IS_STR(gor_strerror(-EHOSTUNREACH), strerror(EHOSTUNREACH));
    IS_STR(gor_strerror(-12345), "unknown error");
    OK(gor_strerror(0) != NULL);
    OK(gor_strerror(-123456) != NULL);
    OK(gor_strerror(INT32_MIN) != NULL);
}

static int never_run(void *p)
{
    (void)p;
    OK(false);
    return 0;
}

TEST(a_runtime_is_not_started_from_a_goroutine)
{
    IS(gor_run(never_run, NULL), -EINVAL);
    OK(gor_start(NULL) < 0);
    IS(gor_stop(), -EINVAL);
}

struct after_main {
    _Atomic int n;
    int         result;
    pthread_t   thread;
};

static void finish_late(void *p)
{
    struct after_main *a = (struct after_main *)p;
    for (int i = 0; i < 10; i++)
        gor_sleep(50 * GOR_US);
    atomic_fetch_add(&a->n, 1);
}

static int main_that_exits(void *p)
{
    for (int i = 0; i < 10; i++)
        IS(gor_go(finish_late, p), 0);
    gor_exit();
}

static int main_that_recovers(void *p)
{
    gor_defer(swallow, NULL);
    for (int i = 0; i < 10; i++)
        IS(gor_go(finish_late, p), 0);
    gor_panic("recovered");
}

TESTF(after_the_main_goroutine_has_exited_the_others_finish)
{
    struct after_main a = { .n = 0 };
    IS(gor_run(main_that_exits, &a), 0);
    IS(a.n, 10);
    IS(gor_run(main_that_recovers, &a), 0);
    IS(a.n, 20);
}

static int main_with_result(void *p)
{
    return ((struct after_main *)p)->result;
}

TESTF(run_gives_the_result_of_the_main_goroutine)
{
    struct after_main a = { .result = 42 };
    IS(gor_run(main_with_result, &a), 42);
    IS(gor_run_with(NULL, main_with_result, &a), 42);
    a.result = -7;
    IS(gor_run(main_with_result, &a), -7);
    IS(gor_run(NULL, NULL), -EINVAL);
}

static int main_on_its_thread(void *p)
{
    struct after_main *a = (struct after_main *)p;
    IS(gor_lock_thread(), 0);
    for (int i = 0; i < 50; i++) {
        IS(gor_go(need_no_data, NULL), 0);
        gor_yield();
        gor_sleep(10 * GOR_US);
        OK(pthread_equal(pthread_self(), a->thread));
    }
    gor_wg_wait(&copies);
    gor_unlock_thread();
    return 0;
}

TESTF(a_locked_main_goroutine_keeps_the_thread_that_called_run)
{
    struct after_main a = { .thread = pthread_self() };
    gor_wg_add(&copies, 50);
    IS(gor_run(main_on_its_thread, &a), 0);
}

static int return_at_once(void *p) { return p != NULL; }

/* What they print goes to stderr, which is a file meanwhile. */
TESTF(a_main_goroutine_that_has_returned_is_no_leak)
{
    gor_options o = { .flags = GOR_REPORT_LEAKS };
    FILE *f = tmpfile();
    int old = dup(2);
    IS(dup2(fileno(f), 2), 2);
    for (int i = 0; i < scaled(200); i++) {
        o.procs = 1 + i % 2;
        IS(gor_run_with(&o, return_at_once, NULL), 0);
    }
    IS(dup2(old, 2), 2);
    IS(lseek(fileno(f), 0, SEEK_END), 0);
    close(old);
    fclose(f);
}

struct leaver {
    void      (*leave)(void);
    _Atomic int began, n_calls, returned;
};

static void leave_by_panic(void) { gor_panic("on purpose"); }
static void forgive(void *p) { (void)p, (void)gor_recover(); }

static void leave_first_range(size_t lo, size_t hi, void *p)
{
    struct leaver *l = (struct leaver *)p;
    (void)hi;
    atomic_fetch_add(&l->n_calls, 1);
    if (lo == 0)
        l->leave();
    gor_yield();
}

static void leave_a_parallel_for(void *p)
{
    struct leaver *l = (struct leaver *)p;
    IS(gor_defer(forgive, NULL), 0);
    gor_parallel_for(0, 64, 1, leave_first_range, l);
    atomic_store(&l->returned, 1);
}

/* On the stack that somebody has left. */
static void overwrite_stack(void *p)
{
    char all[8192];
    memset(all, 0xaa, sizeof all);
    __asm__ volatile("" : : "r"(all) : "memory");
    (void)p;
    for (int i = 0; i < 10; i++)
        gor_yield();
}

/* What is forked lies on its stack. */
TEST(who_ends_in_a_parallel_for_leaves_no_range_behind)
{
    void (*how[])(void) = { gor_exit, leave_by_panic };
    for (int i = 0; i < scaled(100); i++) {
        struct leaver l = { .leave = how[i % 2] };
        gor_wg wg = { 0 };
        int n_calls;
        START(&wg, leave_a_parallel_for, &l);
        IS(gor_wg_wait(&wg), 0);
        n_calls = l.n_calls;
        for (int k = 0; k < 8; k++)
            START(&wg, overwrite_stack, NULL);
        IS(gor_wg_wait(&wg), 0);
        IS(l.n_calls, n_calls);
        IS(l.returned, 0);
    }
}

static void leave_upper_range(size_t lo, size_t hi, void *p)
{
    struct leaver *l = (struct leaver *)p;
    (void)hi;
    if (lo > 0) {
        IS(gor_defer(forgive, NULL), 0);
        atomic_store(&l->began, 1);
        l->leave();
    }
    WAIT_FOR(atomic_load(&l->began));      /* so another goroutine runs that one */
}

TEST(a_parallel_for_says_that_a_range_of_another_goroutine_was_left)
{
    void (*how[])(void) = { gor_exit, leave_by_panic };
    for (int i = 0; i < 2; i++) {
        struct leaver l = { .leave = how[i] };
        IS(gor_parallel_for(0, 2, 1, leave_upper_range, &l), -ECANCELED);
    }
}

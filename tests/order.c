/* In which order goroutines begin when more of them are runnable than a run queue holds. */
#include "test.h"

/* -- a tree ------------------------------------------------------------------------------------ */

enum { FANOUT = 10 };

struct tree {
    _Atomic int waiting, most_waiting, n;      /* inner nodes; all */
};

static void node(struct tree *t, gor_chan *parent, int depth)
{
    gor_chan *c = depth > 0 ? gor_chan_new(0, 0) : NULL;
    int waiting = depth > 0 ? atomic_fetch_add(&t->waiting, 1) + 1 : 0;
    if (waiting > atomic_load(&t->most_waiting))
        atomic_store(&t->most_waiting, waiting);
    atomic_fetch_add(&t->n, 1);
    for (int i = 0; depth > 0 && i < FANOUT; i++)
        IS(GOR_GO(node, t, c, depth - 1), 0);
    for (int i = 0; depth > 0 && i < FANOUT; i++)
        IS(gor_chan_recv(c, NULL, 0), 0);
    gor_chan_release(c);
    if (depth > 0)
        atomic_fetch_sub(&t->waiting, 1);
    IS(gor_chan_send(parent, NULL, 0), 0);
}

static int walk(void *p)
{
    (void)p;
    gor_chan *c = gor_chan_new(0, 0);
    struct tree t = { .n = 0 };
    IS(GOR_GO(node, &t, c, 5), 0);
    IS(gor_chan_recv(c, NULL, 0), 0);
    IS(t.n, 111111);
    gor_chan_release(c);
    return t.most_waiting;
}

/* Of 11111 inner nodes, few are there at once. An endless quantum: the oldest have no turn. */
TESTF(a_tree_of_goroutines_is_walked_in_depth)
{
    gor_options o = { .procs = 1, .quantum = 3600 * GOR_SEC };
    OK(gor_run_with(&o, walk, NULL) < 300);
}

/* -- turns ------------------------------------------------------------------------------------- */

struct crowd {
    gor_wg      old, wg;
    int         n_old, n_new;
    _Atomic int end;
};

static void come_and_go(void *p)
{
    (void)p;
}

/* One goes, and leaves a newer one. */
static void breed(void *p)
{
    struct crowd *c = (struct crowd *)p;
    if (!atomic_load(&c->end))
        START(&c->wg, breed, c);
}

/* Of high priority: so it does not make way while it starts them. */
static void start_crowd(void *p)
{
    struct crowd *c = (struct crowd *)p;
    for (int i = 0; i < c->n_old; i++)
        START(&c->old, come_and_go, NULL);
    for (int i = 0; i < c->n_new; i++)
        START(&c->wg, breed, c);
    gor_wg_done(&c->wg);
}

TEST(who_has_not_begun_has_its_turn_however_many_newer_ones_there_are)
{
    static const gor_attr high = { .priority = GOR_HIGH };
    int procs = gor_procs(0) < 4 ? gor_procs(0) : 4;
    struct crowd c = { .n_old = 500, .n_new = 1000 * procs };
    gor_wg_add(&c.wg, 1);
    IS(gor_go_with(&high, start_crowd, &c), 0);
    WAIT_FOR(test_stats().started > 1500);
    gor_wg_wait(&c.old);
    atomic_store(&c.end, 1);
    gor_wg_wait(&c.wg);
}

static void set(void *p)
{
    atomic_store((_Atomic int *)p, 1);
}

static int start_one_and_compute(void *p)
{
    _Atomic int ran = 0;
    (void)p;
    IS(gor_go(set, &ran), 0);          /* it is to run next here */
    while (!atomic_load(&ran))
        ;
    return 0;
}

/* An endless quantum: nobody takes the processor from who computes. */
TESTF(what_a_busy_processor_would_run_next_is_run_by_another)
{
    gor_options o = { .procs = 2, .quantum = 3600 * GOR_SEC };
    for (int i = 0; i < 20; i++)
        IS(gor_run_with(&o, start_one_and_compute, NULL), 0);
}

/* -- a crowd that sleeps for a moment ------------------------------------------------------------ */

enum { N_NAPPERS = 100000 };

static void take_a_nap(void *p)
{
    IS(gor_sleep(GOR_US), 0);
    atomic_fetch_sub((_Atomic int *)p, 1);
}

static int start_nappers(void *p)
{
    gor_wg wg = { 0 };
    _Atomic int alive = 0;
    int most = 0, now;
    (void)p;
    for (int i = 0; i < N_NAPPERS; i++) {
        now = atomic_fetch_add(&alive, 1) + 1;
        most = now > most ? now : most;
        START(&wg, take_a_nap, &alive);
    }
    IS(gor_wg_wait(&wg), 0);
    return most;
}

/* An endless quantum: who starts them stops only of his own accord. Where something else has taken
 * the CPU from them they look like ones that compute, and he makes way later; so the best of a few
 * runs counts. */
TESTF(who_starts_many_that_sleep_for_a_moment_lets_them_end_meanwhile)
{
    gor_options o = { .procs = 1, .quantum = 3600 * GOR_SEC };
    int least = N_NAPPERS;
    if (TEST_TSAN || TEST_ASAN)
        SKIP("sanitizer: a turn takes longer than a short one");
    if (test_emulated())
        SKIP("emulator: a turn takes longer than a short one");
    if (getenv("GORDEBUG") != NULL)
        SKIP("stress: rings hold four");
    for (int i = 0; i < 5; i++) {
        int most = gor_run_with(&o, start_nappers, NULL);
        least = most < least ? most : least;
    }
    OK(least < N_NAPPERS / 4);
}

/* -- a crowd that parks -------------------------------------------------------------------------- */

struct parking {
    gor_chan   *gate;
    gor_wg      wg;
    _Atomic int n_begun;
};

static void park_till_closed(void *p)
{
    struct parking *k = (struct parking *)p;
    atomic_fetch_add(&k->n_begun, 1);
    IS(gor_chan_recv(k->gate, NULL, 0), -EPIPE);
}

static int start_parkers(void *p)
{
    struct parking k = { .gate = gor_chan_new(0, 0) };
    int n_begun;
    (void)p;
    for (int i = 0; i < N_NAPPERS; i++)
        START(&k.wg, park_till_closed, &k);
    n_begun = atomic_load(&k.n_begun);
    gor_chan_close(k.gate);
    IS(gor_wg_wait(&k.wg), 0);
    gor_chan_release(k.gate);
    return n_begun;
}

/* Who begins takes a page. The rest wait, each a small object, until he has started all. */
TESTF(who_starts_many_that_park_lets_some_thousands_begin_and_no_more)
{
    gor_options o = { .procs = 1, .quantum = 3600 * GOR_SEC };
    if (TEST_TSAN)
        SKIP("sanitizer: has no room for so many");
    if (getenv("GORDEBUG") != NULL)
        SKIP("stress: rings hold four");
    OK(gor_run_with(&o, start_parkers, NULL) < 9000);
}

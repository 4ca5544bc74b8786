/* What a lock that is inlined must heed, after many that had nothing to heed. */
#define TEST_INSIDE
#include "test.h"

struct doors {
    gor_mutex   m;
    gor_rwmutex rw;
    int64_t     a, b;                  /* plain, under m */
    int         n;
};

struct visit {
    struct doors *d;
    int           mutex, read, write;  /* results */
};

static void visit_all(void *arg)
{
    struct visit *v = (struct visit *)arg;
    v->mutex = gor_mutex_lock(&v->d->m);
    if (v->mutex == 0)
        gor_mutex_unlock(&v->d->m);
    v->read = gor_rwmutex_rlock(&v->d->rw);
    if (v->read == 0)
        gor_rwmutex_runlock(&v->d->rw);
    v->write = gor_rwmutex_lock(&v->d->rw);
    if (v->write == 0)
        gor_rwmutex_unlock(&v->d->rw);
}

static void all_gave(const struct visit *v, int rc)
{
    IS(v->mutex, rc);
    IS(v->read, rc);
    IS(v->write, rc);
}

/* The second time nothing is looked for any more, and the mutex may become the processor's own. */
static void get_used_to(struct doors *d)
{
    struct visit v = { .d = d };
    for (int i = 0; i < 2000; i++)
        visit_all(&v);
    all_gave(&v, 0);
}

TEST1(a_lock_heeds_the_context_of_a_goroutine_that_runs_after_others)
{
    gor_wg wg = { 0 };
    struct doors d = { .n = 0 };
    gor_ctx *ctx = gor_ctx_with_cancel(NULL), *old;
    gor_ctx_cancel(ctx, 0);
    for (int i = 0; i < 3; i++) {
        struct visit v = { .d = &d };
        old = gor_ctx_enter(ctx);
        START(&wg, visit_all, &v);
        gor_ctx_enter(old);
        get_used_to(&d);
        gor_wg_wait(&wg);
        all_gave(&v, -ECANCELED);
        get_used_to(&d);
    }
    gor_ctx_release(ctx);
}

TEST(a_lock_heeds_the_context_that_its_goroutine_has_just_entered)
{
    struct doors d = { .n = 0 };
    struct visit v = { .d = &d };
    gor_ctx *ctx = gor_ctx_with_cancel(NULL), *old;
    gor_ctx_cancel(ctx, 0);
    for (int i = 0; i < 3; i++) {
        get_used_to(&d);
        old = gor_ctx_enter(ctx);
        visit_all(&v);
        all_gave(&v, -ECANCELED);
        gor_ctx_enter(old);
    }
    gor_ctx_release(ctx);
}

static int lock_without_context(void *arg)
{
    gor_ctx_enter(NULL);
    get_used_to((struct doors *)arg);
    return 0;
}

/* It waits without its context, and gets that back. */
TEST1(a_lock_heeds_the_context_of_who_has_waited_for_a_group)
{
    struct doors d = { .n = 0 };
    struct visit v = { .d = &d };
    gor_ctx *ctx = gor_ctx_with_cancel(NULL), *old = gor_ctx_enter(ctx);
    gor_group group;
    gor_group_init(&group, NULL, 0);
    IS(gor_group_go(&group, lock_without_context, &d), 0);
    IS(gor_group_wait(&group), 0);
    gor_ctx_cancel(ctx, 0);
    visit_all(&v);
    all_gave(&v, -ECANCELED);
    gor_ctx_enter(old);
    gor_ctx_release(ctx);
}

static void say_so(void *arg) { atomic_store((_Atomic int *)arg, 1); }

/* The processor goes to who waits for it; or, where the goroutine can be, it is switched off. */
TEST(who_computes_without_a_call_locks_by_the_function_next)
{
    gor_wg wg = { 0 };
    struct doors d = { .n = 0 };
    int64_t late;
    uint32_t mine;
    int procs = gor_procs(0);
    for (int i = 0; i < 3; i++) {
        _Atomic int said = 0;
        get_used_to(&d);
        for (int k = 0; k < procs; k++)
            START(&wg, say_so, &said);
        late = gor__os_now() + 10 * GOR_SEC;
        while (!atomic_load(&said) && gor__os_now() < late)
            GOR__COMPILER_BARRIER();
        mine = gor__au32_load_rlx(&gor__self()->mine);
        OK(atomic_load(&said));
        if (procs == 1)                /* else another one says so, and nobody calls on ours */
            IS(mine, GOR__MX_NOBODY);
        get_used_to(&d);
        gor_wg_wait(&wg);
    }
}

/* -- the end of elision ------------------------------------------------------------------------ */

static void pay_in(void *arg)
{
    struct doors *d = (struct doors *)arg;
    for (int i = 0; i < d->n; i++) {
        IS(gor_mutex_lock(&d->m), 0);
        d->a++;
        GOR__COMPILER_BARRIER();
        d->b++;
        gor_mutex_unlock(&d->m);
    }
}

static void *pay_in_thread(void *arg)
{
    pay_in(arg);
    return NULL;
}

/* Elided, and used to it; false: it is not elided. */
static bool lock_alone(struct doors *d)
{
    uint32_t mine = GOR__MX_NOBODY;
    if (gor__au32_load_rlx(&gor__shared) != 0)
        return false;
    for (int i = 0; i < 1000 && mine != 0; i++) {
        gor_yield();                   /* somebody may have asked for that, and may at any moment */
        get_used_to(d);
        mine = gor__au32_load_rlx(&gor__self()->mine);
    }
    IS(mine, 0);
    return true;
}

enum { NOT_ALONE = 1 };

static int pay_in_beside_a_thread(void *arg)
{
    pthread_t t;
    struct doors one = { .n = 1 };
    if (!lock_alone((struct doors *)arg))
        return NOT_ALONE;
    IS(pthread_create(&t, NULL, pay_in_thread, &one), 0);
    IS(pthread_join(t, NULL), 0);
    IS(gor__au32_load_rlx(&gor__self()->mine), GOR__MX_NOBODY);
    IS(pthread_create(&t, NULL, pay_in_thread, arg), 0);
    pay_in(arg);
    IS(pthread_join(t, NULL), 0);
    return 0;
}

static int pay_in_on_two_processors(void *arg)
{
    gor_wg wg = { 0 };
    if (!lock_alone((struct doors *)arg))
        return NOT_ALONE;
    IS(gor_procs(2), 1);
    IS(gor__au32_load_rlx(&gor__self()->mine), GOR__MX_NOBODY);
    START(&wg, pay_in, arg);
    pay_in(arg);
    gor_wg_wait(&wg);
    return 0;
}

/* Threads of a run before may be there for a while yet. False: it is never elided here. */
static bool elision_ends(int (*how)(void *), void *arg)
{
    gor_options o = { .procs = 1 };
    int64_t late = gor_now() + 10 * GOR_SEC;
    int rc;
    while ((rc = gor_run_with(&o, how, arg)) == NOT_ALONE && gor_now() < late)
        usleep(1000);
    if (rc != NOT_ALONE)
        return IS(rc, 0);
    test_skip(test_emulated() ? "emulator: has a thread of its own" : "kernel: no membarrier");
    return false;
}

static void doors_admit_one(int (*how)(void *))
{
    struct doors d = { .n = scaled(200000) };
    if (!elision_ends(how, &d))
        return;
    IS(d.a, 2 * d.n);
    IS(d.b, 2 * d.n);
}

TESTF(a_mutex_admits_one_at_a_time_once_a_thread_has_come)
{
    doors_admit_one(pay_in_beside_a_thread);
}

TESTF(a_mutex_admits_one_at_a_time_once_there_are_two_processors)
{
    doors_admit_one(pay_in_on_two_processors);
}

enum { TURNERS = 300 };                /* more than a ring holds */

struct turners {
    gor_wg      wg;
    int         n;
    _Atomic int stop, twice;
    struct turner { struct turners *all; _Atomic int yields; } one[TURNERS];
};

static void take_turns(void *arg)
{
    struct turner *t = (struct turner *)arg;
    while (!atomic_load(&t->all->stop)) {
        if (atomic_exchange(&t->yields, 1) != 0)
            atomic_fetch_add(&t->all->twice, 1);
        gor_yield();
        if (atomic_exchange(&t->yields, 0) != 1)
            atomic_fetch_add(&t->all->twice, 1);
    }
}

static void *two_processors_soon(void *arg)
{
    usleep((useconds_t)(test_random() % 400));
    gor_procs(2);
    return arg;
}

static int yield_until_there_are_two(void *arg)
{
    struct turners *t = (struct turners *)arg;
    pthread_t thread;
    if (gor__au32_load_rlx(&gor__shared) != 0)
        return NOT_ALONE;
    for (int i = 0; i < t->n; i++) {
        t->one[i].all = t;
        START(&t->wg, take_turns, &t->one[i]);
    }
    IS(pthread_create(&thread, NULL, two_processors_soon, NULL), 0);
    while (gor_procs(0) == 1)
        gor_yield();
    for (int i = 0; i < scaled(1000); i++)
        gor_yield();
    atomic_store(&t->stop, 1);
    gor_wg_wait(&t->wg);
    return pthread_join(thread, NULL);
}

TESTF(who_yields_runs_once_while_a_second_processor_comes)
{
    for (int i = 0; i < scaled(100); i++) {
        struct turners t = { .n = i % 2 ? TURNERS : 3 };
        if (!elision_ends(yield_until_there_are_two, &t))
            return;
        IS(t.twice, 0);
    }
}

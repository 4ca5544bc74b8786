/* Locks, conditions, once, wait groups, semaphores, barriers. */
#define TEST_INSIDE
#include "test.h"
#include <sched.h>
#include <sys/mman.h>

/* One goroutine with one call to make. */
struct caller {
    void    *object;
    void    *other;
    int64_t  n;
    int      rc;
    int      place;                    /* when it got what it waited for: 0, 1, 2 ... */
    _Atomic int *counter;
};

static void started_in_order(gor_wg *wg, struct caller *c, int n, struct caller same,
                             void (*fn)(void *))
{
    int before = test_n_parked();
    for (int i = 0; i < n; i++) {
        c[i] = same;
        c[i].rc = 99;
        c[i].place = -1;
        START(wg, fn, &c[i]);
        wait_until_parked(before + i + 1);
    }
}

/* Run fn(arg), which must panic, in a goroutine; its message must contain text. */
struct mishap {
    void (*fn)(void *);
    void  *arg;
    char   message[200];
    bool   went_on;
};

static void keep_message(void *p)
{
    struct mishap *m = (struct mishap *)p;
    const char *message = gor_recover();
    snprintf(m->message, sizeof m->message, "%s", message ? message : "");
}

static void provoke(void *p)
{
    struct mishap *m = (struct mishap *)p;
    IS(gor_defer(keep_message, m), 0);
    m->fn(m->arg);
    m->went_on = true;
}

static void must_panic(void (*fn)(void *), void *arg, const char *text)
{
    gor_wg wg = { 0 };
    struct mishap m = { .fn = fn, .arg = arg };
    START(&wg, provoke, &m);
    gor_wg_wait(&wg);
    OK(!m.went_on);
    if (!OK(strstr(m.message, text) != NULL))
        test_say("# message \"%s\", want \"%s\" in it\n", m.message, text);
}

/* -- mutex ------------------------------------------------------------------------------------- */

struct shared {
    gor_mutex   m;
    gor_rwmutex rw;
    int         n;                     /* turns for each goroutine */
    int         a, b;                  /* always equal, seen from inside; plain on purpose */
    _Atomic int inside, readers_inside, most_readers;
};

static void count_under_mutex(void *p)
{
    struct shared *s = (struct shared *)p;
    for (int i = 0; i < s->n; i++) {
        IS(gor_mutex_lock(&s->m), 0);
        IS(atomic_fetch_add(&s->inside, 1), 0);
        s->a++;
        if (i % 8 == 0)
            gor_yield();
        s->b++;
        IS(atomic_fetch_sub(&s->inside, 1), 1);
        gor_mutex_unlock(&s->m);
    }
}

TEST(a_mutex_admits_one_at_a_time)
{
    gor_wg wg = { 0 };
    struct shared s = { .n = scaled(2000) };
    for (int i = 0; i < 8; i++)
        START(&wg, count_under_mutex, &s);
    gor_wg_wait(&wg);
    IS(s.a, 8 * s.n);
    IS(s.b, 8 * s.n);
}

static void count_without_waiting(void *p)
{
    struct shared *s = (struct shared *)p;
    for (int done = 0, i = 0; done < s->n; i++) {
        bool taken = i % 2 ? gor_mutex_try_lock(&s->m)
                           : gor_mutex_lock_until(&s->m, gor_now() + 5 * GOR_US) == 0;
        if (!taken) {
            gor_yield();
            continue;
        }
        s->a++;
        done++;
        if (done % 8 == 0)
            gor_yield();
        gor_mutex_unlock(&s->m);
    }
}

TEST(try_lock_and_lock_until_admit_one_at_a_time)
{
    gor_wg wg = { 0 };
    struct shared s = { .n = scaled(500) };
    for (int i = 0; i < 4; i++) {
        START(&wg, count_under_mutex, &s);
        START(&wg, count_without_waiting, &s);
    }
    gor_wg_wait(&wg);
    IS(s.a, 8 * s.n);
}

TEST(try_lock_takes_a_free_mutex_only)
{
    gor_mutex m = { 0 };
    OK(gor_mutex_try_lock(&m));
    OK(!gor_mutex_try_lock(&m));
    gor_mutex_unlock(&m);
    OK(gor_mutex_try_lock(&m));
    gor_mutex_unlock(&m);
}

TEST(lock_until_gives_up_at_its_deadline)
{
    gor_mutex m = { 0 };
    IS(gor_mutex_lock_until(&m, 0), 0);
    IS(gor_mutex_lock_until(&m, 0), -ETIMEDOUT);
    int64_t deadline = gor_now() + GOR_MS;
    IS(gor_mutex_lock_until(&m, deadline), -ETIMEDOUT);
    OK(gor_now() >= deadline);
    gor_mutex_unlock(&m);
    IS(gor_mutex_lock_until(&m, GOR_FOREVER), 0);
    gor_mutex_unlock(&m);
    no_timers_left();
}

static void lock_and_keep(void *p)
{
    struct caller *c = (struct caller *)p;
    c->rc = gor_mutex_lock((gor_mutex *)c->object);
}

TEST(a_mutex_may_be_unlocked_by_another_goroutine)
{
    gor_wg wg = { 0 };
    gor_mutex m = { 0 };
    struct caller c = { .object = &m, .rc = 99 };
    IS(gor_mutex_lock(&m), 0);
    START(&wg, lock_and_keep, &c);
    wait_until_parked(1);
    gor_mutex_unlock(&m);
    gor_wg_wait(&wg);
    IS(c.rc, 0);
    OK(!gor_mutex_try_lock(&m));
    gor_mutex_unlock(&m);
    OK(gor_mutex_try_lock(&m));
    gor_mutex_unlock(&m);
}

/* A hog that gives the mutex back for an instant only. */
struct hog {
    gor_mutex   m;
    _Atomic int stop, n_turns;
};

static void hog_mutex(void *p)
{
    struct hog *h = (struct hog *)p;
    while (!atomic_load(&h->stop)) {
        IS(gor_mutex_lock(&h->m), 0);
        atomic_fetch_add(&h->n_turns, 1);
        for (int64_t t = gor_now() + GOR_MS; gor_now() < t;)
            ;
        gor_mutex_unlock(&h->m);
    }
}

TEST(a_starved_waiter_gets_the_mutex_next)
{
    gor_wg wg = { 0 };
    struct hog h = { .stop = 0 };
    START(&wg, hog_mutex, &h);
    WAIT_FOR(atomic_load(&h.n_turns) > 0);
    for (int i = 0; i < 10; i++) {
        int before = atomic_load(&h.n_turns);
        IS(gor_mutex_lock(&h.m), 0);
        /* 1 ms each: generous for a thread that the kernel is slow to run, far from starved */
        OK(atomic_load(&h.n_turns) - before < 200);
        gor_mutex_unlock(&h.m);
    }
    atomic_store(&h.stop, 1);
    gor_wg_wait(&wg);
}

static void unlock_mutex(void *p)
{
    gor_mutex_unlock((gor_mutex *)p);
}

TEST(unlocking_an_unlocked_mutex_panics)
{
    gor_mutex m = { 0 };
    must_panic(unlock_mutex, &m, "unlock");
    OK(gor_mutex_try_lock(&m));
    gor_mutex_unlock(&m);
    must_panic(unlock_mutex, &m, "unlock");
}

static gor_mutex static_mutex;

TEST(a_zeroed_mutex_works_wherever_it_lives)
{
    gor_mutex on_stack = { 0 };
    gor_mutex *m[3] = { &static_mutex, &on_stack, (gor_mutex *)calloc(1, sizeof(gor_mutex)) };
    for (int i = 0; i < 3; i++) {
        gor_wg wg = { 0 };
        struct caller c = { .object = m[i], .rc = 99 };
        IS(gor_mutex_lock(m[i]), 0);
        START(&wg, lock_and_keep, &c);
        wait_until_parked(1);
        gor_mutex_unlock(m[i]);
        gor_wg_wait(&wg);
        gor_mutex_unlock(m[i]);
    }
    free(m[2]);
}

/* -- rwmutex ----------------------------------------------------------------------------------- */

TEST(readers_share_and_a_writer_does_not)
{
    gor_rwmutex m = { 0 };
    IS(gor_rwmutex_rlock(&m), 0);
    OK(gor_rwmutex_try_rlock(&m));
    OK(!gor_rwmutex_try_lock(&m));
    gor_rwmutex_runlock(&m);
    OK(!gor_rwmutex_try_lock(&m));
    gor_rwmutex_runlock(&m);
    OK(gor_rwmutex_try_lock(&m));
    OK(!gor_rwmutex_try_rlock(&m));
    OK(!gor_rwmutex_try_lock(&m));
    gor_rwmutex_unlock(&m);
    IS(gor_rwmutex_lock(&m), 0);
    gor_rwmutex_unlock(&m);
    OK(gor_rwmutex_try_rlock(&m));
    gor_rwmutex_runlock(&m);
}

static void write_lock_in_turn(void *p)
{
    struct caller *c = (struct caller *)p;
    c->rc = gor_rwmutex_lock((gor_rwmutex *)c->object);
    c->place = atomic_fetch_add(c->counter, 1);
    gor_rwmutex_unlock((gor_rwmutex *)c->object);
}

static void read_lock_in_turn(void *p)
{
    struct caller *c = (struct caller *)p;
    c->rc = gor_rwmutex_rlock((gor_rwmutex *)c->object);
    c->place = atomic_fetch_add(c->counter, 1);
    gor_rwmutex_runlock((gor_rwmutex *)c->object);
}

TEST(a_waiting_writer_holds_back_later_readers)
{
    gor_wg wg = { 0 };
    gor_rwmutex m = { 0 };
    _Atomic int counter = 0;
    struct caller same = { .object = &m, .counter = &counter }, writer, reader;
    IS(gor_rwmutex_rlock(&m), 0);
    started_in_order(&wg, &writer, 1, same, write_lock_in_turn);
    OK(!gor_rwmutex_try_rlock(&m));
    started_in_order(&wg, &reader, 1, same, read_lock_in_turn);
    gor_rwmutex_runlock(&m);
    gor_wg_wait(&wg);
    IS(writer.rc, 0);
    IS(writer.place, 0);
    IS(reader.rc, 0);
    IS(reader.place, 1);
}

static void read_lock_and_meet(void *p)
{
    struct caller *c = (struct caller *)p;
    c->rc = gor_rwmutex_rlock((gor_rwmutex *)c->object);
    gor_barrier_wait((gor_barrier *)c->other);
    gor_rwmutex_runlock((gor_rwmutex *)c->object);
}

TEST(a_writer_that_leaves_lets_all_waiting_readers_in_together)
{
    gor_wg wg = { 0 };
    gor_rwmutex m = { 0 };
    gor_barrier all = GOR_BARRIER_INIT(8);
    struct caller c[8], same = { .object = &m, .other = &all };
    IS(gor_rwmutex_lock(&m), 0);
    started_in_order(&wg, c, 8, same, read_lock_and_meet);
    gor_rwmutex_unlock(&m);
    gor_wg_wait(&wg);                  /* they all meet inside, or this waits for ever */
    for (int i = 0; i < 8; i++)
        IS(c[i].rc, 0);
}

static void write_shared(void *p)
{
    struct shared *s = (struct shared *)p;
    for (int i = 0; i < s->n; i++) {
        IS(gor_rwmutex_lock(&s->rw), 0);
        IS(atomic_load(&s->readers_inside), 0);
        s->a++;
        if (i % 8 == 0)
            gor_yield();
        s->b++;
        gor_rwmutex_unlock(&s->rw);
    }
}

static void read_shared(void *p)
{
    struct shared *s = (struct shared *)p;
    for (int i = 0; i < s->n; i++) {
        if (i % 4 != 0) {
            IS(gor_rwmutex_rlock(&s->rw), 0);
        } else if (!gor_rwmutex_try_rlock(&s->rw)) {
            gor_yield();
            continue;
        }
        atomic_fetch_add(&s->readers_inside, 1);
        int a = s->a;
        if (i % 8 == 0)
            gor_yield();
        IS(s->b, a);
        atomic_fetch_sub(&s->readers_inside, 1);
        gor_rwmutex_runlock(&s->rw);
    }
}

TEST(readers_never_see_a_writer_at_work)
{
    gor_wg wg = { 0 };
    struct shared s = { .n = scaled(1000) };
    for (int i = 0; i < 3; i++)
        START(&wg, write_shared, &s);
    for (int i = 0; i < 6; i++)
        START(&wg, read_shared, &s);
    gor_wg_wait(&wg);
    IS(s.a, 3 * s.n);
    IS(s.b, 3 * s.n);
}

static void rwmutex_unlock(void *p)
{
    gor_rwmutex_unlock((gor_rwmutex *)p);
}

static void rwmutex_runlock(void *p)
{
    gor_rwmutex_runlock((gor_rwmutex *)p);
}

TEST(unlocking_an_rwmutex_without_the_lock_panics)
{
    gor_rwmutex m = { 0 };
    must_panic(rwmutex_unlock, &m, "unlock");
    must_panic(rwmutex_runlock, &m, "unlock");
    OK(gor_rwmutex_try_lock(&m));
    must_panic(rwmutex_runlock, &m, "unlock");
    gor_rwmutex_unlock(&m);
    OK(gor_rwmutex_try_rlock(&m));
    must_panic(rwmutex_unlock, &m, "unlock");
    gor_rwmutex_runlock(&m);
}

/* -- windows: a lock that meets nobody does without locked instructions ------------------------ */

/* Call fn(arg) in a thread of our own. */
struct errand {
    void      (*fn)(void *);
    void       *arg;
    pthread_t   thread;
    _Atomic int done;
};

static void *run_errand(void *p)
{
    struct errand *e = (struct errand *)p;
    e->fn(e->arg);
    atomic_store(&e->done, 1);
    return NULL;
}

static void send_thread(struct errand *e, void (*fn)(void *), void *arg)
{
    e->fn = fn;
    e->arg = arg;
    atomic_store(&e->done, 0);
    IS(pthread_create(&e->thread, NULL, run_errand, e), 0);
}

static void in_thread(void (*fn)(void *), void *arg)
{
    struct errand e;
    send_thread(&e, fn, arg);
    IS(pthread_join(e.thread, NULL), 0);
}

static void pass_mutex(void *p)
{
    IS(gor_mutex_lock((gor_mutex *)p), 0);
    gor_mutex_unlock((gor_mutex *)p);
}

/* From here on locks are real ones, at one processor too. */
static void end_elision(void)
{
    gor_mutex m = { 0 };
    in_thread(pass_mutex, &m);
}

/* It may sleep for good if it was not heard: then wake it. */
static void must_come_back(struct errand *e, gor_mutex *m)
{
    for (int i = 0; i < 5000 && !atomic_load(&e->done); i++)
        gor_sleep(GOR_MS);
    if (!IS(e->done, 1)) {
        gor__au32_or(&m->state, GOR__MX_LOCKED | GOR__MX_QUEUED);
        gor_mutex_unlock(m);
    }
    IS(pthread_join(e->thread, NULL), 0);
}

/* By hand, and slowly, what gor_mutex_unlock does at once. locked_again: as if another goroutine had
 * come meanwhile, before the waiter looks. */
static void unlock_slowly(bool locked_again)
{
    gor_mutex m = { 0 };
    struct errand e;
    gor__m *self;
    IS(gor_mutex_lock(&m), 0);
    self = gor__enter();
    gor__window_open(&m.state);
    IS(gor__au32_load_rlx(&m.state) & ~(GOR__MX_RUN | GOR__MX_P), GOR__MX_LOCKED);
    send_thread(&e, pass_mutex, &m);
    while (!(gor__au32_load_rlx(&m.state) & GOR__MX_QUEUED))
        sched_yield();
    usleep(20000);                     /* the other one is not to go to sleep */
    gor__au32_store_rel(&m.state, locked_again ? GOR__MX_LOCKED : 0);
    gor__window_shut();
    gor__leave(self);
    if (locked_again) {
        usleep(20000);
        gor_mutex_unlock(&m);
    }
    must_come_back(&e, &m);
}

TEST(the_first_waiter_waits_for_an_unlock_that_is_under_way)
{
    end_elision();
    if (!gor__rt.membarrier)
        SKIP("kernel: no membarrier");
    unlock_slowly(false);
    unlock_slowly(true);
}

struct purse {
    gor_mutex m;
    int       n;                       /* turns for each */
    int       a, b;                    /* always equal, seen from inside; plain on purpose */
};

static void pay_in(struct purse *p)
{
    IS(gor_mutex_lock(&p->m), 0);
    IS(p->a++, p->b);
    GOR__COMPILER_BARRIER();
    p->b++;
    gor_mutex_unlock(&p->m);
}

/* Round after round a goroutine and a thread meet at a lock, each time at another moment. */
struct duel {
    gor_mutex   m;
    gor_rwmutex rw;
    gor_chan   *c;
    gor_timer   timer;
    _Atomic int n_ended;               /* how many starts of timer a stop or reset ended */
    struct purse purse;
    int         a, b;                  /* under rw; plain on purpose */
    gor__au32  *in_call;               /* the goroutine's mark */
    void      (*move)(struct duel *);  /* the thread's */
    int64_t     end;                   /* when it has lasted long enough, on a busy machine */
    _Atomic int round, done;           /* round -1: that is all */
};

/* Both are to be awake; but there may be one CPU only. */
static void spin(int *n)
{
    if (++*n % 30000 == 0)
        sched_yield();
}

static void answer_each_round(void *p)
{
    struct duel *d = (struct duel *)p;
    for (int round, last = 0, n = 0; (round = atomic_load(&d->round)) >= 0; spin(&n)) {
        if (round == last)
            continue;
        last = round;
        gor__au32_load_rlx(d->in_call);            /* so the next store to it takes its time */
        d->move(d);
        atomic_store(&d->done, round);
    }
}

static void duel_begin(struct duel *d, struct errand *e, void (*move)(struct duel *))
{
    end_elision();
    d->in_call = gor__arch_in_call();
    d->move = move;
    d->end = gor_now() + GOR_SEC;
    send_thread(e, answer_each_round, d);
}

static void duel_round(struct duel *d, int i)
{
    atomic_store(&d->round, i);
    for (int k = i % 1013; k > 0; k--)
        GOR__COMPILER_BARRIER();
}

/* False: it has not come back for 5 s. */
static bool duel_over(struct duel *d, int i)
{
    int64_t late = gor_now() + 5 * GOR_SEC;
    for (int n = 0; atomic_load(&d->done) != i && (n % 1000 || gor_now() < late);)
        spin(&n);
    return atomic_load(&d->done) == i;
}

static void wait_once(struct duel *d)
{
    pass_mutex(&d->m);
}

/* Each time the mutex is one that nobody has waited for yet. */
TEST(the_first_waiter_meets_an_unlock_at_any_moment)
{
    struct duel d = { .round = 0 };
    struct errand e;
    bool over = true;
    duel_begin(&d, &e, wait_once);
    for (int i = 1; i <= scaled(20000) && over && gor_now() < d.end; i++) {
        gor__au32_store_rel(&d.m.state, 0);
        IS(gor_mutex_lock(&d.m), 0);
        duel_round(&d, i);
        gor_mutex_unlock(&d.m);
        over = duel_over(&d, i);
    }
    OK(over);
    atomic_store(&d.round, -1);
    must_come_back(&e, &d.m);
}

/* What a free mutex of this processor's own has for a state. */
static uint32_t own_state(void)
{
    gor__m *self = gor__enter();
    uint32_t own = gor__own_word(self);
    gor__leave(self);
    return own;
}

static void pay_in_often(void *arg)
{
    struct purse *p = (struct purse *)arg;
    for (int i = 0; i < p->n; i++)
        pay_in(p);
}

TEST(a_mutex_that_is_taken_in_a_row_becomes_its_processors_own)
{
    struct purse p = { .n = 3000 };    /* more than a row has */
    end_elision();
    if (!gor__rt.membarrier)
        SKIP("kernel: no membarrier");
    for (int i = 0; i < 100 && !gor__mutex_owned(gor__au32_load_rlx(&p.m.state)); i++)
        pay_in_often(&p);
    OK(gor__mutex_owned(gor__au32_load_rlx(&p.m.state)));
    IS(p.a, p.b);
}

/* By hand, and slowly, what the lock of an owned mutex does at once. */
TEST(who_takes_an_owned_mutex_away_waits_for_a_lock_that_is_under_way)
{
    struct purse p = { .n = 1 };
    struct errand e;
    gor__m *self;
    uint32_t own;
    end_elision();
    if (!gor__rt.membarrier)
        SKIP("kernel: no membarrier");
    self = gor__enter();
    own = gor__own_word(self);
    gor__au32_store_rel(&p.m.state, own);
    gor__window_open(&p.m.state);
    send_thread(&e, pay_in_often, &p);
    while (gor__au32_load_rlx(&p.m.state) == own)
        sched_yield();
    usleep(20000);
    IS(atomic_load(&e.done), 0);
    gor__au32_store_rel(&p.m.state, own | GOR__MX_LOCKED);     /* what it did is undone */
    gor__window_shut();
    gor__leave(self);
    usleep(20000);
    IS(atomic_load(&e.done), 0);
    IS(p.a, 0);
    gor_mutex_unlock(&p.m);
    must_come_back(&e, &p.m);
    IS(p.b, 1);
}

static void pay_in_once(struct duel *d)
{
    pay_in(&d->purse);
}

/* Each time the mutex is owned anew. */
TEST(an_owned_mutex_is_taken_away_at_any_moment)
{
    struct duel d = { .round = 0 };
    struct errand e;
    bool over = true;
    int i;
    duel_begin(&d, &e, pay_in_once);
    for (i = 1; i <= scaled(20000) && over && gor_now() < d.end; i++) {
        if (gor__rt.membarrier)
            gor__au32_store_rel(&d.purse.m.state, own_state());
        duel_round(&d, i);
        pay_in_once(&d);
        pay_in_once(&d);
        over = duel_over(&d, i);
    }
    OK(over);
    atomic_store(&d.round, -1);
    must_come_back(&e, &d.purse.m);
    IS(d.purse.a, 3 * (i - 1));
    IS(d.purse.b, d.purse.a);
}

/* Goroutines and a thread take it in long rows, and some have it while they move. */
TEST(an_owned_mutex_changes_hands)
{
    gor_wg wg = { 0 };
    struct purse p = { .n = scaled(20000) };
    struct errand e;
    send_thread(&e, pay_in_often, &p);
    for (int i = 0; i < 8; i++)
        START(&wg, pay_in_often, &p);
    for (int i = 0; i < 200; i++) {
        IS(gor_mutex_lock(&p.m), 0);
        gor_yield();
        gor_mutex_unlock(&p.m);
    }
    gor_wg_wait(&wg);
    must_come_back(&e, &p.m);
    IS(p.a, 9 * p.n);
    IS(p.b, p.a);
}

TEST(a_mutex_whose_owner_is_gone_can_be_taken)
{
    struct purse p = { .n = 1 };
    uint32_t gone = 1000 * GOR__MX_P_ONE + GOR__MX_RUN;
    gor__au32_store_rel(&p.m.state, gone);
    pay_in(&p);
    gor__au32_store_rel(&p.m.state, gone);
    in_thread(pay_in_often, &p);
    gor__au32_store_rel(&p.m.state, gone);
    OK(gor_mutex_try_lock(&p.m));
    OK(!gor_mutex_try_lock(&p.m));
    gor_mutex_unlock(&p.m);
    gor__au32_store_rel(&p.m.state, gone | GOR__MX_LOCKED);
    OK(!gor_mutex_try_lock(&p.m));
    IS(gor_mutex_lock_until(&p.m, gor_now() + GOR_MS), -ETIMEDOUT);
    gor_mutex_unlock(&p.m);
    pay_in(&p);
    IS(p.b, 3);
}

/* -- locks of channels that a processor owns ([owned]) ----------------------------------------- */

static void send_back(void *p)
{
    gor_chan **c = (gor_chan **)p;
    for (int v; gor_recv(c[0], &v) == 0;)
        IS(gor_send(c[1], &v), 0);
}

TEST(a_channel_at_which_one_processor_parks_becomes_its_own)
{
    gor_chan *c[2];
    gor_wg wg = { 0 };
    int64_t end = gor_now() + 10 * GOR_SEC;
    end_elision();
    if (!gor__rt.membarrier)
        SKIP("kernel: no membarrier");
    c[0] = gor_chan_new(sizeof(int), 0);
    c[1] = gor_chan_new(sizeof(int), 0);
    START(&wg, send_back, c);
    for (int i = 0, v; gor_now() < end; i++) {
        IS(gor_send(c[0], &i), 0);
        IS(gor_recv(c[1], &v), 0);
        IS(v, i);
        if (gor__au32_load_rlx(&c[0]->own.lock.word) > GOR__TAKEN)
            break;
    }
    OK(gor_now() < end);
    IS(gor_chan_close(c[0]), 0);
    gor_wg_wait(&wg);
    gor_chan_release(c[0]);
    gor_chan_release(c[1]);
}

static void try_send(void *c)
{
    int v = 1;
    IS(gor_chan_try_send((gor_chan *)c, &v, sizeof v), 0);
}

/* By hand, and slowly, what the lock of an owned channel does at once. */
TEST(who_takes_an_owned_channel_away_waits_for_a_lock_that_is_under_way)
{
    gor_chan *c = gor_chan_new(sizeof(int), 2);
    struct errand e;
    gor__m *self;
    uint32_t own;
    end_elision();
    if (!gor__rt.membarrier) {
        gor_chan_release(c);
        SKIP("kernel: no membarrier");
    }
    self = gor__enter();
    own = gor__own_word(self);
    gor__au32_store_rel(&c->own.lock.word, own);
    gor__window_open(&c->own.lock.word);
    send_thread(&e, try_send, c);
    while (!gor__au32_load_rlx(&c->own.barred))
        sched_yield();
    usleep(20000);
    IS(atomic_load(&e.done), 0);
    gor__au32_store_rel(&c->own.lock.word, own | GOR__TAKEN);
    gor__window_shut();
    usleep(20000);
    IS(atomic_load(&e.done), 0);
    IS(gor_chan_len(c), 0);
    gor__au32_store_rel(&c->own.lock.word, own);
    gor__leave(self);
    IS(pthread_join(e.thread, NULL), 0);
    IS(gor_chan_len(c), 1);
    gor_chan_release(c);
}

/* By hand: a select that waits looks at all its channels, and queues at them, in one window. */
TEST1(who_takes_an_owned_channel_away_waits_for_the_window_of_a_select)
{
    gor_chan *c = gor_chan_new(sizeof(int), 1), *other = gor_chan_new(sizeof(int), 1);
    int v;
    gor_case k[] = { gor_on_recv(other, &v), gor_on_recv(NULL, &v), gor_on_recv(c, &v) };
    gor__selection s;
    struct errand e;
    gor__m *self;
    end_elision();
    memset(&s, 0, sizeof s);
    s.cases = k;
    s.shape.n = 3;
    if (!gor__rt.membarrier) {
        gor_chan_release(c);
        gor_chan_release(other);
        SKIP("kernel: no membarrier");
    }
    self = gor__enter();
    gor__au32_store_rel(&other->own.lock.word, gor__own_word(self));
    OK(!gor__select_open(&s));                     /* c is nobody's */
    gor__au32_store_rel(&c->own.lock.word, gor__own_word(self));
    OK(gor__select_open(&s));
    send_thread(&e, try_send, c);
    while (!gor__au32_load_rlx(&c->own.barred) && !atomic_load(&e.done))
        sched_yield();
    usleep(20000);
    IS(atomic_load(&e.done), 0);
    gor__select_shut(&s);
    OK(!gor__select_open(&s));                     /* barred, or not the P's own any more */
    gor__leave(self);
    IS(pthread_join(e.thread, NULL), 0);
    gor__au32_store_rel(&c->own.lock.word, own_state());
    self = gor__enter();
    OK(!gor__select_open(&s));                     /* its own again, but there is a value */
    gor__leave(self);
    IS(gor_select_n(k, 3), 2);
    gor_chan_release(c);
    gor_chan_release(other);
}

/* In a select too, which has it twice, and in one of many. */
TEST(an_owned_channel_stays_owned)
{
    enum { MANY = 70 };
    gor_chan *c[MANY];
    gor_case k[MANY + 1];
    uint32_t own;
    int v;
    end_elision();
    own = own_state();
    for (int i = 0; i < MANY; i++) {
        c[i] = gor_chan_new(sizeof v, 1);
        gor__au32_store_rel(&c[i]->own.lock.word, gor__rt.membarrier ? own : 0);
        k[i] = gor_on_recv(c[i], &v);
    }
    k[1] = k[2];
    k[MANY] = gor_on_default();
    IS(gor_select_n(k, MANY + 1), MANY);
    IS(gor_select(k[1], k[2], k[3], k[MANY]), 3);
    v = 1;
    IS(gor_chan_try_send(c[2], &v, sizeof v), 0);
    OK(gor_select_n(k, MANY + 1) <= 2);
    for (int i = 0; i < MANY; i++) {
        if (gor__au32_load_rlx(&gor__rt.n_asked) == 1)     /* else somebody may have moved us */
            IS(gor__au32_load_rlx(&c[i]->own.lock.word), gor__rt.membarrier ? own : 0);
        gor_chan_release(c[i]);
    }
}

static void send_and_recv(struct duel *d)
{
    int v = 1;
    IS(gor_chan_try_send(d->c, &v, sizeof v), 0);
    IS(gor_chan_try_recv(d->c, &v, sizeof v), 0);
    IS(v, 1);
}

/* Each time the channel is owned anew. */
TEST(an_owned_channel_is_taken_away_at_any_moment)
{
    struct duel d = { .c = gor_chan_new(sizeof(int), 4) };
    struct errand e;
    bool over = true;
    duel_begin(&d, &e, send_and_recv);
    for (int i = 1; i <= scaled(20000) && over && gor_now() < d.end; i++) {
        gor__au32_store_rel(&d.c->own.lock.word, gor__rt.membarrier ? own_state() : 0);
        duel_round(&d, i);
        send_and_recv(&d);
        send_and_recv(&d);
        over = duel_over(&d, i);
        IS(gor_chan_len(d.c), 0);
    }
    OK(over);
    atomic_store(&d.round, -1);
    IS(pthread_join(e.thread, NULL), 0);
    gor_chan_release(d.c);
}

static void send_to_select(struct duel *d)
{
    int v = 7;
    IS(gor_send(d->c, &v), 0);
}

/* Each time both channels are owned anew, and a select waits, or comes a moment later. */
TEST(the_channels_of_a_select_are_taken_away_at_any_moment)
{
    struct duel d = { .c = gor_chan_new(sizeof(int), 0) };
    gor_chan *other = gor_chan_new(sizeof(int), 0);
    struct errand e;
    bool over = true;
    int v;
    duel_begin(&d, &e, send_to_select);
    for (int i = 1; i <= scaled(20000) && over && gor_now() < d.end; i++) {
        gor_case k[] = { gor_on_recv(other, &v), gor_on_recv(d.c, &v) };
        uint32_t own = gor__rt.membarrier ? own_state() : 0;
        gor__au32_store_rel(&other->own.lock.word, own);
        gor__au32_store_rel(&d.c->own.lock.word, own);
        duel_round(&d, i);
        for (int n = i % 97 * 100; n > 0; n--)     /* till it closes windows: 2 us */
            GOR__COMPILER_BARRIER();
        v = 0;
        IS(gor_select_n(k, 2), 1);
        IS(v, 7);
        over = duel_over(&d, i);
        OK(!gor__wq_first(&other->receivers) && !gor__wq_first(&d.c->receivers));
    }
    OK(over);
    atomic_store(&d.round, -1);
    IS(pthread_join(e.thread, NULL), 0);
    gor_chan_release(d.c);
    gor_chan_release(other);
}

/* -- locks of timers that a processor owns ([owned]) --------------------------------------------- */

static gor__timers *own_timers(void)
{
    gor__m *self = gor__enter();
    gor__timers *h = &gor__m_p(self)->timers;
    gor__leave(self);
    return h;
}

static uint32_t word_of(gor__timers *h) { return gor__au32_load_rlx(&h->own.lock.word); }

/* In a call, as who has a P takes locks. */
static int check_timers(gor__timers *h)
{
    gor__m *self = gor__enter();
    int bad = gor__check_timers(h);
    gor__leave(self);
    return bad;
}

static void never(void *p)
{
    (void)p;
    OK(false);
}

static void stop_timer(void *p)
{
    OK(gor_timer_stop((gor_timer *)p));
}

TEST1(a_processor_that_starts_timers_owns_their_lock_until_another_stops_one)
{
    gor_timer t = { 0 };
    gor__timers *h = own_timers();
    int64_t end = gor_now() + 10 * GOR_SEC;
    end_elision();
    if (!gor__rt.membarrier)
        SKIP("kernel: no membarrier");
    while (word_of(h) <= GOR__TAKEN && gor_now() < end)
        IS(gor_timer_start(&t, 600 * GOR_SEC, never, NULL), 0);
    IS(word_of(h), own_state());
    for (int i = 0; i < 100; i++) {
        OK(gor_timer_stop(&t));
        IS(gor_timer_start(&t, 600 * GOR_SEC, never, NULL), 0);
    }
    IS(word_of(h), own_state());
    in_thread(stop_timer, &t);
    IS(word_of(h), 0);
    IS(check_timers(h), 0);
    OK(!gor_timer_stop(&t));
}

/* By hand, and slowly, what the stop of a timer of the P's own does at once. */
TEST1(who_stops_a_timer_waits_for_a_window_that_is_under_way)
{
    gor_timer t = { 0 };
    gor__timers *h = own_timers();
    struct errand e;
    gor__m *self;
    end_elision();
    if (!gor__rt.membarrier)
        SKIP("kernel: no membarrier");
    IS(gor_timer_start(&t, 600 * GOR_SEC, never, NULL), 0);
    self = gor__enter();
    gor__au32_store_rel(&h->own.lock.word, gor__own_word(self));
    OK(gor__own_open(&h->own, gor__own_word(self)));
    send_thread(&e, stop_timer, &t);
    while (!gor__au32_load_rlx(&h->own.barred))
        sched_yield();
    usleep(20000);
    IS(atomic_load(&e.done), 0);
    gor__own_shut(&h->own);
    OK(!gor__own_open(&h->own, gor__own_word(self)));     /* barred, or not his */
    gor__leave(self);
    IS(pthread_join(e.thread, NULL), 0);
    IS(check_timers(h), 0);
}

/* The timers of this P, whose lock is its own if it is free. */
static gor__timers *own_timers_anew(void)
{
    gor__timers *h = own_timers();
    uint32_t own = gor__rt.membarrier ? own_state() : 0;
    if (own_timers() == h)                         /* else we have moved meanwhile */
        gor__au32_cas(&h->own.lock.word, 0, own);
    return h;
}

static void stop_duel_timer(struct duel *d)
{
    atomic_fetch_add(&d->n_ended, gor_timer_stop(&d->timer));
}

/* Each round they are owned anew. Each start is ended once: by a stop, or by the next reset. */
TEST(timers_of_a_processors_own_are_stopped_by_a_thread_at_any_moment)
{
    struct duel d = { .round = 0 };
    struct errand e;
    bool over = true;
    int n_set = 1;
    duel_begin(&d, &e, stop_duel_timer);
    IS(gor_timer_start(&d.timer, 600 * GOR_SEC, never, NULL), 0);
    for (int i = 1; i <= scaled(20000) && over && gor_now() < d.end; i++) {
        gor__timers *h = own_timers_anew();
        duel_round(&d, i);
        for (int k = 0; k < 30; k++, n_set++)
            atomic_fetch_add(&d.n_ended, gor_timer_reset(&d.timer, (600 + i) * GOR_SEC));
        over = duel_over(&d, i);
        IS(check_timers(h), 0);
    }
    OK(over);
    stop_duel_timer(&d);
    IS(d.n_ended, n_set);
    atomic_store(&d.round, -1);
    IS(pthread_join(e.thread, NULL), 0);
}

static void start_duel_timer(struct duel *d)
{
    IS(gor_timer_start(&d->timer, 600 * GOR_SEC, never, NULL), 0);
}

/* Whoever comes first, it is pending once. */
TEST(a_timer_is_started_anew_by_two_threads_at_any_moment)
{
    struct duel d = { .round = 0 };
    struct errand e;
    bool over = true;
    duel_begin(&d, &e, start_duel_timer);
    start_duel_timer(&d);
    for (int i = 1; i <= scaled(5000) && over && gor_now() < d.end; i++) {
        own_timers_anew();
        duel_round(&d, i);
        for (int k = 0; k < 30; k++) {
            start_duel_timer(&d);
            if (k % 4 == 0)
                gor_timer_stop(&d.timer);
        }
        over = duel_over(&d, i);
        IS(check_timers(own_timers()), 0);
        gor_timer_stop(&d.timer);
        OK(!gor_timer_stop(&d.timer));
    }
    OK(over);
    gor_timer_stop(&d.timer);
    atomic_store(&d.round, -1);
    IS(pthread_join(e.thread, NULL), 0);
}

/* An object with a count under its own mutex; who takes the last one off frees it at once. */
struct counted {
    gor_mutex m;
    int       n;
};

static void drop_counted(void *p)
{
    struct counted *c = (struct counted *)p;
    IS(gor_mutex_lock(&c->m), 0);
    bool last = --c->n == 0;
    gor_mutex_unlock(&c->m);
    if (last)
        munmap(c, 4096);
}

TEST(who_has_the_mutex_last_may_free_it)
{
    for (int i = scaled(500); i > 0; i--) {
        gor_wg wg = { 0 };
        struct counted *c = (struct counted *)mmap(NULL, 4096, PROT_READ | PROT_WRITE,
                                                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        OK(c != MAP_FAILED);
        c->n = 4;
        for (int k = 0; k < 4; k++)
            START(&wg, drop_counted, c);
        gor_wg_wait(&wg);
    }
}

/* Make readers count in slots. False: not here. */
static bool spread(gor_rwmutex *m)
{
    gor__m *self = gor__enter();
    gor__ai64_store_rlx(&m->calm, 0);
    gor__rw_spread(m);
    gor__leave(self);
    return gor__aptr_load_rlx(&m->spread) == m;
}

/* Where there are windows it must work. */
static bool must_spread(gor_rwmutex *m)
{
    bool done = spread(m);
    IS(done, gor__rt.membarrier);
    return done;
}

static void pass_write_lock(void *p)
{
    IS(gor_rwmutex_lock((gor_rwmutex *)p), 0);
    gor_rwmutex_unlock((gor_rwmutex *)p);
}

static void read_lock(void *p)
{
    IS(gor_rwmutex_rlock((gor_rwmutex *)p), 0);
}

/* By hand, and slowly, what gor_rwmutex_rlock does at once. */
TEST(a_writer_waits_for_a_reader_that_is_about_to_be_counted)
{
    gor_rwmutex m = { 0 };
    struct errand e;
    gor__m *self;
    end_elision();
    if (!must_spread(&m)) {
        if (!gor__rt.membarrier)
            SKIP("kernel: no membarrier");
        return;
    }
    self = gor__enter();
    gor__window_open(&m.state);
    OK(gor__aptr_load_acq(&m.spread) == &m);
    send_thread(&e, pass_write_lock, &m);
    while (gor__aptr_load_rlx(&m.spread))
        sched_yield();
    usleep(20000);
    OK(gor__near_count(&gor__m_p(self)->near, &m, true));
    gor__window_shut();
    gor__leave(self);
    usleep(20000);
    IS(e.done, 0);
    gor_rwmutex_runlock(&m);
    IS(pthread_join(e.thread, NULL), 0);
    OK(gor_rwmutex_try_lock(&m));
    gor_rwmutex_unlock(&m);
}

static void write_once(struct duel *d)
{
    IS(gor_rwmutex_lock(&d->rw), 0);
    d->a++;
    for (int k = 0; k < 20; k++)
        gor__arch_pause();
    d->b++;
    gor_rwmutex_unlock(&d->rw);
}

TEST(a_writer_meets_a_reader_at_any_moment)
{
    struct duel d = { .round = 0 };
    struct errand e;
    duel_begin(&d, &e, write_once);
    for (int i = 1; i <= scaled(5000) && gor_now() < d.end; i++) {
        spread(&d.rw);
        duel_round(&d, i);
        IS(gor_rwmutex_rlock(&d.rw), 0);
        int a = d.a;
        for (int k = 0; k < 20; k++)
            gor__arch_pause();
        IS(d.b, a);
        gor_rwmutex_runlock(&d.rw);
        OK(duel_over(&d, i));
    }
    atomic_store(&d.round, -1);
    IS(pthread_join(e.thread, NULL), 0);
}

TEST(readers_are_counted_in_one_place_and_leave_in_another)
{
    gor_rwmutex m = { 0 };
    end_elision();
    spread(&m);
    IS(gor_rwmutex_rlock(&m), 0);      /* in a slot */
    in_thread(read_lock, &m);          /* in the state */
    gor_rwmutex_runlock(&m);
    gor_rwmutex_runlock(&m);
    OK(gor_rwmutex_try_lock(&m));
    gor_rwmutex_unlock(&m);
    for (int i = 0; i < 3; i++) {
        spread(&m);
        IS(gor_rwmutex_rlock(&m), 0);
        OK(i != 1 || !gor_rwmutex_try_lock(&m));       /* gathers */
        in_thread(rwmutex_runlock, &m);
        OK(gor_rwmutex_try_lock(&m));
        gor_rwmutex_unlock(&m);
    }
    spread(&m);
    must_panic(rwmutex_runlock, &m, "unlock");
    spread(&m);
    must_panic(rwmutex_unlock, &m, "unlock");
    OK(gor_rwmutex_try_lock(&m));
    gor_rwmutex_unlock(&m);
}

TEST(readers_of_an_rwmutex_that_is_gone_are_not_those_of_the_next_one)
{
    gor_rwmutex m = { 0 }, copy;
    end_elision();
    for (int i = 0; i < 3; i++) {
        must_spread(&m);
        IS(gor_rwmutex_rlock(&m), 0);
        memset(&m, 0, sizeof m);       /* left locked; what comes next lies at the same address */
    }
    must_spread(&m);
    OK(gor_rwmutex_try_lock(&m));
    gor_rwmutex_unlock(&m);
    must_spread(&m);
    copy = m;
    IS(gor_rwmutex_rlock(&m), 0);
    OK(gor_rwmutex_try_lock(&copy));
    gor_rwmutex_unlock(&copy);
    OK(!gor_rwmutex_try_lock(&m));
    gor_rwmutex_runlock(&m);
}

TEST(an_rwmutex_that_was_moved_away_and_back_keeps_writers_out)
{
    gor_rwmutex m = { 0 }, away;
    end_elision();
    must_spread(&m);
    away = m;
    OK(gor_rwmutex_try_lock(&away));               /* gathers there */
    gor_rwmutex_unlock(&away);
    m = away;
    IS((gor_rwmutex_rlock)(&m), 0);
    OK(!gor_rwmutex_try_lock(&m));
    gor_rwmutex_runlock(&m);
    OK(gor_rwmutex_try_lock(&m));
    gor_rwmutex_unlock(&m);
}

static void yield_until_told(void *p)
{
    while (!atomic_load((_Atomic int *)p))
        gor_yield();
}

/* Lock for reading on one processor, unlock on another. */
static int read_on_the_way(void *p)
{
    gor_rwmutex *m = (gor_rwmutex *)p;
    gor_wg wg = { 0 };
    _Atomic int told = 0;
    gor__p *here;
    spread(m);
    for (int i = 0; i < 4; i++)
        START(&wg, yield_until_told, &told);
    IS(gor_rwmutex_rlock(m), 0);
    here = gor__m_p(gor__self());
    for (int i = 0; i < 100000 && gor__m_p(gor__self()) == here; i++)
        gor_yield();
    gor_rwmutex_runlock(m);
    spread(m);
    atomic_store(&told, 1);
    gor_wg_wait(&wg);
    return 0;
}

TESTF(what_a_thread_has_locked_for_reading_stays_so_when_a_run_ends)
{
    gor_options o = { .procs = 2 };
    gor_rwmutex m = { 0 };
    for (int i = 0; i < 5; i++) {
        IS(gor_rwmutex_rlock(&m), 0);              /* after the first time it may be spread */
        IS(gor_run_with(&o, read_on_the_way, &m), 0);
        if (!IS(gor_rwmutex_try_lock(&m), false))
            return;
        gor_rwmutex_runlock(&m);
        OK(gor_rwmutex_try_lock(&m));
        gor_rwmutex_unlock(&m);
        IS(gor_run_with(&o, read_on_the_way, &m), 0);
    }
}

static void read_spread(void *p)
{
    struct shared *s = (struct shared *)p;
    for (int i = 0; i < s->n; i++) {
        if (i % 16 == 0)
            spread(&s->rw);
        IS(gor_rwmutex_rlock(&s->rw), 0);
        int a = s->a;
        for (int k = i % 5; k > 0; k--)
            gor__arch_pause();
        IS(s->b, a);
        gor_rwmutex_runlock(&s->rw);
    }
}

TEST(readers_that_spread_never_see_a_writer_at_work)
{
    gor_wg wg = { 0 };
    struct shared s = { .n = scaled(20000) };
    for (int i = 0; i < 3; i++)
        START(&wg, read_spread, &s);
    START(&wg, write_shared, &s);
    gor_wg_wait(&wg);
    IS(s.a, s.n);
    IS(s.b, s.n);
}

/* -- cond -------------------------------------------------------------------------------------- */

static void wait_on_cond(void *p)
{
    struct caller *c = (struct caller *)p;
    gor_mutex *m = (gor_mutex *)c->other;
    IS(gor_mutex_lock(m), 0);
    c->rc = gor_cond_wait((gor_cond *)c->object, m);
    OK(!gor_mutex_try_lock(m));
    c->place = atomic_fetch_add(c->counter, 1);
    gor_mutex_unlock(m);
}

TEST(signal_wakes_the_longest_waiting_one)
{
    gor_wg wg = { 0 };
    gor_mutex m = { 0 };
    gor_cond cond = { 0 };
    _Atomic int counter = 0;
    struct caller c[8], same = { .object = &cond, .other = &m, .counter = &counter };
    started_in_order(&wg, c, 8, same, wait_on_cond);
    for (int i = 0; i < 8; i++) {
        gor_cond_signal(&cond);
        WAIT_FOR(atomic_load(&counter) == i + 1);
    }
    gor_wg_wait(&wg);
    for (int i = 0; i < 8; i++) {
        IS(c[i].rc, 0);
        IS(c[i].place, i);
    }
}

TEST(broadcast_wakes_all)
{
    gor_wg wg = { 0 };
    gor_mutex m = { 0 };
    gor_cond cond = { 0 };
    _Atomic int counter = 0;
    struct caller c[8], same = { .object = &cond, .other = &m, .counter = &counter };
    started_in_order(&wg, c, 8, same, wait_on_cond);
    IS(gor_mutex_lock(&m), 0);
    gor_cond_broadcast(&cond);
    IS(atomic_load(&counter), 0);
    gor_mutex_unlock(&m);
    gor_wg_wait(&wg);
    IS(counter, 8);
}

TEST(a_signal_without_waiters_is_lost)
{
    gor_mutex m = { 0 };
    gor_cond cond = { 0 };
    gor_cond_signal(&cond);
    gor_cond_broadcast(&cond);
    IS(gor_mutex_lock(&m), 0);
    IS(gor_cond_wait_until(&cond, &m, gor_now() + 300 * GOR_US), -ETIMEDOUT);
    gor_mutex_unlock(&m);
}

TEST(a_timed_out_cond_wait_holds_the_mutex_again)
{
    gor_mutex m = { 0 };
    gor_cond cond = { 0 };
    IS(gor_mutex_lock(&m), 0);
    int64_t deadline = gor_now() + GOR_MS;
    IS(gor_cond_wait_until(&cond, &m, deadline), -ETIMEDOUT);
    OK(gor_now() >= deadline);
    OK(!gor_mutex_try_lock(&m));
    IS(gor_cond_wait_until(&cond, &m, 0), -ETIMEDOUT);
    OK(!gor_mutex_try_lock(&m));
    gor_mutex_unlock(&m);
    OK(gor_mutex_try_lock(&m));
    gor_mutex_unlock(&m);
}

/* A bounded buffer, as textbooks build it. */
struct buffer {
    gor_mutex m;
    gor_cond  not_empty, not_full;
    int       slot[4], n, head;
    int       n_each;
    int       sum_in, sum_out;
};

static void buffer_put(void *p)
{
    struct buffer *b = (struct buffer *)p;
    for (int i = 0; i < b->n_each; i++) {
        IS(gor_mutex_lock(&b->m), 0);
        while (b->n == 4)
            IS(gor_cond_wait(&b->not_full, &b->m), 0);
        b->slot[(b->head + b->n++) % 4] = i;
        b->sum_in += i;
        gor_cond_signal(&b->not_empty);
        gor_mutex_unlock(&b->m);
    }
}

static void buffer_take(void *p)
{
    struct buffer *b = (struct buffer *)p;
    for (int i = 0; i < b->n_each; i++) {
        IS(gor_mutex_lock(&b->m), 0);
        while (b->n == 0)
            IS(gor_cond_wait_until(&b->not_empty, &b->m, GOR_FOREVER), 0);
        b->sum_out += b->slot[b->head];
        b->head = (b->head + 1) % 4;
        b->n--;
        gor_mutex_unlock(&b->m);
        gor_cond_signal(&b->not_full);
    }
}

TEST(conditions_drive_a_bounded_buffer)
{
    gor_wg wg = { 0 };
    struct buffer b = { .n_each = scaled(1000) };
    for (int i = 0; i < 4; i++) {
        START(&wg, buffer_put, &b);
        START(&wg, buffer_take, &b);
    }
    gor_wg_wait(&wg);
    IS(b.n, 0);
    IS(b.sum_in, b.sum_out);
}

/* -- once -------------------------------------------------------------------------------------- */

struct deed {
    gor_once    once;
    gor_chan   *gate;
    _Atomic int n_run, n_returned;
    int         result;                /* plain: the once orders it */
};

static void do_deed(void *p)
{
    struct deed *d = (struct deed *)p;
    int v;
    IS(gor_recv(d->gate, &v), -EPIPE);
    d->result = 17;
    atomic_fetch_add(&d->n_run, 1);
}

static void call_once(void *p)
{
    struct deed *d = (struct deed *)p;
    IS(gor_once_do(&d->once, do_deed, d), 0);
    IS(d->result, 17);
    atomic_fetch_add(&d->n_returned, 1);
}

TEST(once_runs_once_and_all_wait_for_it)
{
    gor_wg wg = { 0 };
    struct deed d = { .gate = gor_chan_new(sizeof(int), 0) };
    for (int i = 0; i < 8; i++)
        START(&wg, call_once, &d);
    wait_until_parked(8);
    IS(d.n_returned, 0);
    gor_chan_close(d.gate);
    gor_wg_wait(&wg);
    IS(d.n_run, 1);
    IS(d.n_returned, 8);
    IS(gor_once_do(&d.once, do_deed, &d), 0);
    IS(d.n_run, 1);
    gor_chan_release(d.gate);
}

static void deed_that_panics(void *p)
{
    struct deed *d = (struct deed *)p;
    atomic_fetch_add(&d->n_run, 1);
    gor_panic("the deed failed");
}

static void call_once_to_panic(void *p)
{
    gor_once_do(&((struct deed *)p)->once, deed_that_panics, p);
}

TEST(a_deed_that_panics_has_run)
{
    struct deed d = { .n_run = 0 };
    must_panic(call_once_to_panic, &d, "the deed failed");
    IS(d.n_run, 1);
    IS(gor_once_do(&d.once, deed_that_panics, &d), 0);
    IS(d.n_run, 1);
}

/* -- wait group -------------------------------------------------------------------------------- */

static void wait_on_wg(void *p)
{
    struct caller *c = (struct caller *)p;
    c->rc = gor_wg_wait((gor_wg *)c->object);
}

TEST(all_waiters_go_on_when_the_count_is_zero)
{
    gor_wg wg = { 0 }, counted = { 0 };
    struct caller c[8], same = { .object = &counted };
    IS(gor_wg_wait(&counted), 0);
    gor_wg_add(&counted, 5);
    started_in_order(&wg, c, 8, same, wait_on_wg);
    gor_wg_done(&counted);
    gor_wg_add(&counted, -2);
    IS(gor_wg_wait_until(&counted, 0), -ETIMEDOUT);
    gor_wg_add(&counted, 1);
    gor_wg_add(&counted, -2);
    for (int i = 0; i < 8; i++)
        IS(c[i].rc, 99);
    gor_wg_done(&counted);
    gor_wg_wait(&wg);
    for (int i = 0; i < 8; i++)
        IS(c[i].rc, 0);
    IS(gor_wg_wait_until(&counted, 0), 0);
}

TEST(a_wait_group_wait_gives_up_at_its_deadline)
{
    gor_wg wg = { 0 };
    gor_wg_add(&wg, 1);
    int64_t deadline = gor_now() + GOR_MS;
    IS(gor_wg_wait_until(&wg, deadline), -ETIMEDOUT);
    OK(gor_now() >= deadline);
    gor_wg_done(&wg);
    IS(gor_wg_wait(&wg), 0);
}

static void just_return(void *p)
{
    (void)p;
}

static void leave_by_exit(void *p)
{
    (void)p;
    gor_exit();
}

static void recover_quietly(void *p)
{
    (void)p;
    OK(gor_recover() != NULL);
}

static void leave_by_panic(void *p)
{
    (void)p;
    gor_defer(recover_quietly, NULL);
    gor_panic("on purpose");
}

TEST(a_goroutine_of_a_wait_group_is_done_however_it_ends)
{
    gor_wg wg = { 0 };
    for (int i = 0; i < 10; i++) {
        START(&wg, just_return, NULL);
        START(&wg, leave_by_exit, NULL);
        START(&wg, leave_by_panic, NULL);
    }
    IS(gor_wg_wait(&wg), 0);
}

static void wait_briefly(void *p)
{
    int rc = gor_wg_wait_until((gor_wg *)p, gor_now() + (int64_t)(test_random() % 20) * GOR_US);
    OK(rc == 0 || rc == -ETIMEDOUT);
}

/* Who made the count zero, and who gave up, have let go of it by then. */
TEST(a_wait_group_may_be_freed_once_its_waits_have_returned)
{
    for (int round = 0; round < scaled(5000); round++) {
        gor_wg *counted = (gor_wg *)calloc(1, sizeof *counted), waiters = { 0 };
        gor_wg_add(counted, 1);
        for (int i = 0; i < 3; i++) {
            START(counted, just_return, NULL);
            START(&waiters, wait_briefly, counted);
        }
        if (round % 2 == 0)
            gor_yield();
        gor_wg_done(counted);
        IS(gor_wg_wait(&waiters), 0);
        IS(gor_wg_wait(counted), 0);
        free(counted);
    }
}

/* Two groups in turns, of goroutines that end at once, wait first, or leave from the middle. */
struct member {
    int64_t *ended;
    int      way;
};

static void end_somehow(void *p)
{
    struct member *m = (struct member *)p;
    switch (m->way % 5) {
    case 0: gor_yield(); break;
    case 1: gor_sleep(m->way % 7 * 10 * GOR_US); break;
    default: break;
    }
    *m->ended = 1;
    if (m->way % 3 == 0)
        gor_exit();
}

TEST(every_goroutine_of_two_wait_groups_is_counted)
{
    enum { MANY = 600 };
    static struct member member[2][MANY];
    static int64_t ended[2][MANY];
    for (int round = 0; round < scaled(30); round++) {
        gor_wg wg[2] = {0};
        memset(ended, 0, sizeof ended);
        for (int i = 0; i < MANY; i++) {
            int k = round % 2 ? i % 2 : test_random() % 8 == 0;
            member[k][i].ended = &ended[k][i];
            member[k][i].way = round % 4 < 2 ? 2 : (int)(test_random() % 100);
            IS(gor_wg_go(&wg[k], end_somehow, &member[k][i]), 0);
            ended[!k][i] = 1;
        }
        for (int k = 0; k < 2; k++) {
            int64_t sum = 0;
            IS(gor_wg_wait(&wg[k]), 0);
            for (int i = 0; i < MANY; i++)
                sum += ended[k][i];
            IS(sum, MANY);
        }
    }
}

/* One of the group runs after each of the others. */
struct meeting {
    gor_wg    wg;
    gor_chan *c, *over;
    int       n;
};

static void send_one(void *p)
{
    struct meeting *m = (struct meeting *)p;
    int v = 1;
    IS(gor_send(m->c, &v), 0);
}

static void collect(void *p)
{
    struct meeting *m = (struct meeting *)p;
    for (int v = 0, sum = 0; sum < m->n; sum += v)
        IS(gor_recv(m->c, &v), 0);
}

TEST(a_member_of_a_wait_group_collects_from_the_others)
{
    struct meeting m = { .c = gor_chan_new(sizeof(int), 0), .n = scaled(10000) };
    START(&m.wg, collect, &m);
    for (int i = 0; i < m.n; i++)
        START(&m.wg, send_one, &m);
    IS(gor_wg_wait(&m.wg), 0);
    gor_chan_release(m.c);
}

/* A unit is taken off by hand for one that goes on. */
static void wait_for_all_but_me(void *p)
{
    struct meeting *m = (struct meeting *)p;
    for (int v = 0, i = 0; i < m->n; i++)
        IS(gor_recv(m->c, &v), 0);
    gor_wg_done(&m->wg);
    IS(gor_wg_wait(&m->wg), 0);
    gor_wg_add(&m->wg, 1);
    gor_chan_close(m->over);
}

TEST(a_goroutine_waits_for_all_others_of_its_wait_group)
{
    for (int round = 0; round < scaled(300); round++) {
        struct meeting m = { .c = gor_chan_new(sizeof(int), 0), .n = 5 };
        m.over = gor_chan_new(0, 0);
        START(&m.wg, wait_for_all_but_me, &m);
        for (int i = 0; i < m.n; i++)
            START(&m.wg, send_one, &m);
        IS(gor_chan_recv(m.over, NULL, 0), -EPIPE);
        IS(gor_wg_wait(&m.wg), 0);
        gor_chan_release(m.c);
        gor_chan_release(m.over);
    }
}

TEST(a_goroutine_that_cannot_start_leaves_the_count)
{
    gor_wg wg = { 0 };
    void (*none)(void *) = NULL;
    IS(gor_wg_go(&wg, none, NULL), -EINVAL);
    IS(gor_wg_wait_until(&wg, 0), 0);
}

TEST(a_wait_group_is_used_again)
{
    gor_wg wg = { 0 };
    for (int round = 0; round < scaled(500); round++) {
        START(&wg, just_return, NULL);
        START(&wg, just_return, NULL);
        IS(gor_wg_wait(&wg), 0);
    }
}

static void one_done_too_many(void *p)
{
    gor_wg_done((gor_wg *)p);
}

TEST(a_negative_count_panics)
{
    gor_wg wg = { 0 };
    must_panic(one_done_too_many, &wg, "negative");
}

static void many_too_many(void *p)
{
    gor_wg_add((gor_wg *)p, INT64_MIN);
}

static void a_few_less(void *p)
{
    gor_wg_add((gor_wg *)p, INT64_MIN / 4 - 1);
}

TEST(a_count_that_no_number_holds_panics_and_stays)
{
    gor_wg wg = { 0 };
    must_panic(many_too_many, &wg, "negative");
    must_panic(a_few_less, &wg, "negative");
    IS(gor_wg_wait(&wg), 0);
    gor_wg_add(&wg, INT64_MAX / 4);
    gor_wg_add(&wg, -(INT64_MAX / 4));
    IS(gor_wg_wait(&wg), 0);
}

/* -- semaphore --------------------------------------------------------------------------------- */

TEST(a_zeroed_semaphore_has_no_permits)
{
    gor_sem s = { 0 };
    IS(gor_sem_try_acquire(&s, 1), -EAGAIN);
    IS(gor_sem_acquire_until(&s, 1, 0), -ETIMEDOUT);
    IS(gor_sem_try_acquire(&s, 0), 0);
    IS(gor_sem_release(&s, 3), 0);
    IS(gor_sem_try_acquire(&s, 4), -EAGAIN);
    IS(gor_sem_try_acquire(&s, 2), 0);
    IS(gor_sem_acquire(&s, 1), 0);
    IS(gor_sem_try_acquire(&s, 1), -EAGAIN);
}

TEST(a_semaphore_starts_with_its_permits)
{
    gor_sem s = GOR_SEM_INIT(3);
    IS(gor_sem_acquire(&s, 2), 0);
    IS(gor_sem_try_acquire(&s, 2), -EAGAIN);
    IS(gor_sem_acquire_until(&s, 1, 0), 0);
    IS(gor_sem_release(&s, 3), 0);
    IS(gor_sem_acquire(&s, 3), 0);
}

TEST(a_semaphore_refuses_negative_and_overflowing_counts)
{
    gor_sem s = GOR_SEM_INIT(1);
    IS(gor_sem_acquire(&s, -1), -EINVAL);
    IS(gor_sem_try_acquire(&s, -1), -EINVAL);
    IS(gor_sem_acquire_until(&s, -1, 0), -EINVAL);
    IS(gor_sem_release(&s, -1), -EINVAL);
    IS(gor_sem_release(&s, INT64_MAX), -EOVERFLOW);
    IS(gor_sem_release(&s, INT64_MAX - 1), 0);
    IS(gor_sem_release(&s, 1), -EOVERFLOW);
    IS(gor_sem_acquire(&s, INT64_MAX), 0);
    IS(gor_sem_try_acquire(&s, 1), -EAGAIN);
}

TEST(acquire_until_gives_up_at_its_deadline)
{
    gor_sem s = GOR_SEM_INIT(1);
    int64_t deadline = gor_now() + GOR_MS;
    IS(gor_sem_acquire_until(&s, 2, deadline), -ETIMEDOUT);
    OK(gor_now() >= deadline);
    IS(gor_sem_try_acquire(&s, 1), 0);
}

static void acquire_in_turn(void *p)
{
    struct caller *c = (struct caller *)p;
    c->rc = gor_sem_acquire((gor_sem *)c->object, c->n);
    c->place = atomic_fetch_add(c->counter, 1);
}

TEST(permits_go_to_waiters_in_the_order_they_came)
{
    gor_wg wg = { 0 };
    gor_sem s = { 0 };
    _Atomic int counter = 0;
    struct caller c[8], same = { .object = &s, .n = 1, .counter = &counter };
    started_in_order(&wg, c, 8, same, acquire_in_turn);
    for (int i = 0; i < 8; i++) {
        IS(gor_sem_release(&s, 1), 0);
        WAIT_FOR(atomic_load(&counter) == i + 1);
    }
    gor_wg_wait(&wg);
    for (int i = 0; i < 8; i++)
        IS(c[i].place, i);
}

TEST(a_large_request_holds_back_smaller_ones_behind_it)
{
    gor_wg wg = { 0 };
    gor_sem s = GOR_SEM_INIT(1);
    _Atomic int counter = 0;
    struct caller large, small;
    started_in_order(&wg, &large, 1, (struct caller){ .object = &s, .n = 3, .counter = &counter },
                     acquire_in_turn);
    IS(gor_sem_try_acquire(&s, 1), -EAGAIN);
    started_in_order(&wg, &small, 1, (struct caller){ .object = &s, .n = 1, .counter = &counter },
                     acquire_in_turn);
    IS(gor_sem_release(&s, 1), 0);
    IS(gor_sem_try_acquire(&s, 1), -EAGAIN);
    IS(atomic_load(&counter), 0);
    IS(gor_sem_release(&s, 1), 0);
    WAIT_FOR(atomic_load(&counter) == 1);
    IS(gor_sem_release(&s, 1), 0);
    gor_wg_wait(&wg);
    IS(large.place, 0);
    IS(small.place, 1);
}

static void acquire_under_context(void *p)
{
    struct caller *c = (struct caller *)p;
    gor_ctx_enter((gor_ctx *)c->other);
    c->rc = gor_sem_acquire((gor_sem *)c->object, c->n);
    gor_ctx_enter(NULL);
}

TEST(a_large_request_that_is_cancelled_lets_the_smaller_ones_go)
{
    gor_wg wg = { 0 };
    gor_sem s = GOR_SEM_INIT(1);
    _Atomic int counter = 0;
    gor_ctx *ctx = gor_ctx_with_cancel(NULL);
    struct caller large, small;
    started_in_order(&wg, &large, 1, (struct caller){ .object = &s, .other = ctx, .n = 3 },
                     acquire_under_context);
    started_in_order(&wg, &small, 1, (struct caller){ .object = &s, .n = 1, .counter = &counter },
                     acquire_in_turn);
    gor_ctx_cancel(ctx, 0);
    gor_wg_wait(&wg);                  /* nobody releases: only the one in front can let it go */
    IS(large.rc, -ECANCELED);
    IS(small.rc, 0);
    gor_ctx_release(ctx);
}

static void acquire_behind_another(void *p)
{
    wait_until_parked(1);
    acquire_in_turn(p);
}

TEST(a_large_request_that_times_out_lets_the_smaller_ones_go)
{
    gor_wg wg = { 0 };
    gor_sem s = GOR_SEM_INIT(1);
    _Atomic int counter = 0;
    struct caller small = { .object = &s, .n = 1, .rc = 99, .counter = &counter };
    START(&wg, acquire_behind_another, &small);
    IS(gor_sem_acquire_until(&s, 3, gor_now() + 5 * GOR_MS), -ETIMEDOUT);
    gor_wg_wait(&wg);
    IS(small.rc, 0);
}

struct pool {
    gor_sem     s;
    _Atomic int in_use;
    int         n;
};

static void use_pool(void *p)
{
    struct pool *pool = (struct pool *)p;
    uint64_t rng = test_random();
    for (int i = 0; i < pool->n; i++) {
        int n = 1 + (int)(test_random_r(&rng) % 4);
        if (i % 5 == 0) {
            if (gor_sem_try_acquire(&pool->s, n) != 0)
                continue;
        } else if (i % 5 == 1) {
            if (gor_sem_acquire_until(&pool->s, n, gor_now() + 10 * GOR_US) != 0)
                continue;
        } else {
            IS(gor_sem_acquire(&pool->s, n), 0);
        }
        OK(atomic_fetch_add(&pool->in_use, n) + n <= 5);
        if (i % 3 == 0)
            gor_yield();
        atomic_fetch_sub(&pool->in_use, n);
        IS(gor_sem_release(&pool->s, n), 0);
    }
}

TEST(a_semaphore_never_gives_more_than_it_has)
{
    gor_wg wg = { 0 };
    struct pool pool = { .s = GOR_SEM_INIT(5), .n = scaled(500) };
    for (int i = 0; i < 8; i++)
        START(&wg, use_pool, &pool);
    gor_wg_wait(&wg);
    IS(gor_sem_try_acquire(&pool.s, 5), 0);
    IS(gor_sem_try_acquire(&pool.s, 1), -EAGAIN);
}

/* -- barrier ----------------------------------------------------------------------------------- */

enum { PARTIES = 8 };

struct phases {
    gor_barrier b;
    int         n_rounds;
    _Atomic int arrived, last;
};

static void walk_phases(void *p)
{
    struct phases *ph = (struct phases *)p;
    for (int round = 1; round <= ph->n_rounds; round++) {
        atomic_fetch_add(&ph->arrived, 1);
        bool is_last = gor_barrier_wait(&ph->b);
        OK(atomic_load(&ph->arrived) >= round * PARTIES);
        atomic_fetch_add(&ph->last, is_last);
    }
}

TEST(a_barrier_lets_nobody_through_before_all_are_there)
{
    gor_wg wg = { 0 };
    struct phases ph = { .b = GOR_BARRIER_INIT(PARTIES), .n_rounds = scaled(500) };
    for (int i = 0; i < PARTIES; i++)
        START(&wg, walk_phases, &ph);
    gor_wg_wait(&wg);
    IS(ph.arrived, PARTIES * ph.n_rounds);
    IS(ph.last, ph.n_rounds);          /* one of each round was told so */
}

static void wait_at_barrier(void *p)
{
    struct caller *c = (struct caller *)p;
    c->rc = gor_barrier_wait((gor_barrier *)c->object);
}

TEST(the_last_one_to_arrive_is_told)
{
    gor_wg wg = { 0 };
    gor_barrier b = GOR_BARRIER_INIT(3);
    struct caller c[2], same = { .object = &b };
    started_in_order(&wg, c, 2, same, wait_at_barrier);
    OK(gor_barrier_wait(&b));
    gor_wg_wait(&wg);
    IS(c[0].rc, 0);
    IS(c[1].rc, 0);
}

TEST(a_barrier_for_one_or_none_lets_everyone_through)
{
    gor_barrier one = GOR_BARRIER_INIT(1), none = { 0 };
    OK(gor_barrier_wait(&one));
    OK(gor_barrier_wait(&one));
    gor_barrier_wait(&none);
    gor_barrier_wait(&none);
}

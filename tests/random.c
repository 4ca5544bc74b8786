/* Random programs of channels, selects and deadlines. Whatever they do, values are conserved: what
 * was sent was received or is still in a buffer, once. A failing program prints its own seed;
 * GORTEST_PROGRAM=seed runs that one alone (the schedule, of course, is another). */
#include "test.h"

enum { MAX_GOROUTINES = 16, MAX_CHANNELS = 6, MAX_CASES = 5 };

struct channel {
    gor_chan        *c;
    size_t           capacity;
    _Atomic uint64_t n_sent, sum_sent, n_received, sum_received;
};

struct program {
    uint64_t       seed;
    int            n_goroutines, n_channels, n_steps;
    bool           closes;             /* some goroutine closes a channel now and then */
    struct channel ch[MAX_CHANNELS];
    _Atomic uint64_t next_value;
    _Atomic int    n_bad;
};

struct process {
    struct program *p;
    uint64_t        rng;
};

static unsigned below(uint64_t *rng, unsigned n)
{
    return (unsigned)(test_random_r(rng) >> 33) % n;
}

/* The sums use values mixed up, so that one lost and one doubled do not cancel out. */
static uint64_t mix(uint64_t v)
{
    return test_random_r(&v);
}

static void sent(struct channel *ch, uint64_t v)
{
    atomic_fetch_add(&ch->n_sent, 1);
    atomic_fetch_add(&ch->sum_sent, mix(v));
}

static void received(struct channel *ch, uint64_t v)
{
    atomic_fetch_add(&ch->n_received, 1);
    atomic_fetch_add(&ch->sum_received, mix(v));
}

static void expect(struct program *p, bool ok, const char *what, int rc)
{
    if (!ok && atomic_fetch_add(&p->n_bad, 1) == 0)
        test_say("# %s gave %d\n", what, rc);
}

static int64_t short_deadline(uint64_t *rng)
{
    return gor_now() + (int64_t)below(rng, 100) * GOR_US;
}

static void step_send(struct program *p, struct channel *ch, uint64_t *rng)
{
    uint64_t v = atomic_fetch_add(&p->next_value, 1);
    bool tries = below(rng, 3) == 0;
    int rc = tries ? gor_try_send(ch->c, &v) : gor_send_until(ch->c, &v, short_deadline(rng));
    if (rc == 0)
        sent(ch, v);
    expect(p, rc == 0 || rc == (tries ? -EAGAIN : -ETIMEDOUT) || (rc == -EPIPE && p->closes),
           "send", rc);
}

static void step_recv(struct program *p, struct channel *ch, uint64_t *rng)
{
    uint64_t v = UINT64_MAX;
    bool tries = below(rng, 3) == 0;
    int rc = tries ? gor_try_recv(ch->c, &v) : gor_recv_until(ch->c, &v, short_deadline(rng));
    if (rc == 0)
        received(ch, v);
    expect(p, rc == 0 || rc == (tries ? -EAGAIN : -ETIMEDOUT) || (rc == -EPIPE && p->closes),
           "recv", rc);
    expect(p, rc != -EPIPE || v == 0, "recv from closed, value", (int)v);
}

/* A select of up to four random cases and a way out: a default or a deadline. */
static void step_select(struct program *p, uint64_t *rng)
{
    gor_case cases[MAX_CASES];
    struct channel *of[MAX_CASES] = { NULL };
    bool sends[MAX_CASES] = { false }, ok[MAX_CASES];
    uint64_t v[MAX_CASES];
    int n = 1 + (int)below(rng, MAX_CASES - 1);
    for (int i = 0; i < n; i++) {
        of[i] = &p->ch[below(rng, (unsigned)p->n_channels)];
        ok[i] = true;
        if (below(rng, 2)) {
            sends[i] = true;
            v[i] = atomic_fetch_add(&p->next_value, 1);
            cases[i] = gor_on_send(of[i]->c, &v[i]);
        } else {
            v[i] = UINT64_MAX;
            cases[i] = gor_on_recv_ok(of[i]->c, &v[i], &ok[i]);
        }
    }
    cases[n] = below(rng, 3) ? gor_on_deadline(short_deadline(rng)) : gor_on_default();
    int k = gor_select_n(cases, (size_t)n + 1);
    if (k >= 0 && k < n && sends[k])
        sent(of[k], v[k]);
    else if (k >= 0 && k < n && ok[k])
        received(of[k], v[k]);
    expect(p, (k >= 0 && k <= n) || (k == -EPIPE && p->closes), "select", k);
    expect(p, !(k >= 0 && k < n && !ok[k]) || p->closes, "select, closed", k);
}

static void run_process(void *arg)
{
    struct process *me = (struct process *)arg;
    struct program *p = me->p;
    for (int i = 0; i < p->n_steps; i++) {
        struct channel *ch = &p->ch[below(&me->rng, (unsigned)p->n_channels)];
        switch (below(&me->rng, 8)) {
        case 0: case 1:
            step_send(p, ch, &me->rng);
            break;
        case 2: case 3:
            step_recv(p, ch, &me->rng);
            break;
        case 4: case 5: case 6:
            step_select(p, &me->rng);
            break;
        default:
            if (p->closes && below(&me->rng, 40) == 0) {
                int rc = gor_chan_close(ch->c);
                expect(p, rc == 0 || rc == -EPIPE, "close", rc);
            }
            gor_yield();
        }
    }
}

/* Take what is left. At the end nothing waits, so a channel holds what its buffer holds. */
static void drain(struct program *p, struct channel *ch)
{
    uint64_t v;
    size_t left = gor_chan_len(ch->c), n = 0;
    OK(left <= ch->capacity);
    while (gor_try_recv(ch->c, &v) == 0) {
        received(ch, v);
        n++;
    }
    if (!IS(n, left) || !IS(ch->n_received, ch->n_sent) || !OK(ch->sum_received == ch->sum_sent))
        atomic_fetch_add(&p->n_bad, 1);
    gor_chan_release(ch->c);
}

static void run_program(uint64_t seed)
{
    struct program p = { .seed = seed };
    struct process process[MAX_GOROUTINES];
    gor_wg wg = { 0 };
    uint64_t rng = seed;
    p.n_goroutines = 2 + (int)below(&rng, MAX_GOROUTINES - 1);
    p.n_channels = 1 + (int)below(&rng, MAX_CHANNELS);
    p.n_steps = 10 + (int)below(&rng, 100);
    p.closes = below(&rng, 3) == 0;
    for (int i = 0; i < p.n_channels; i++) {
        p.ch[i].capacity = below(&rng, 2) ? below(&rng, 5) : 0;
        p.ch[i].c = gor_chan_new(sizeof(uint64_t), p.ch[i].capacity);
    }
    for (int i = 0; i < p.n_goroutines; i++) {
        process[i] = (struct process){ &p, test_random_r(&rng) };
        START(&wg, run_process, &process[i]);
    }
    gor_wg_wait(&wg);
    for (int i = 0; i < p.n_channels; i++)
        drain(&p, &p.ch[i]);
    if (!IS(p.n_bad, 0))
        test_say("# program seed %llu: %d goroutines, %d channels, %d steps%s\n",
                 (unsigned long long)seed, p.n_goroutines, p.n_channels, p.n_steps,
                 p.closes ? ", closing" : "");
}

TEST(random_programs_conserve_their_values)
{
    uint64_t only = (uint64_t)test_env("GORTEST_PROGRAM", 0), rng = test_random();
    for (int i = 0; i < scaled(200); i++) {
        run_program(only != 0 ? only : test_random_r(&rng));
        IS(test_check_world(), 0);
    }
    no_timers_left();
}

/* -- the same without deadlines: processes that must all come to an end by themselves ---------- */

/* A random directed acyclic graph of stages: each takes from random earlier channels and passes on
 * to random later ones, so no cycle can deadlock; every value that enters must leave. */
enum { N_LEVELS = 5 };

struct level {
    gor_chan   *c;
    _Atomic int n_writers;
};

struct stage {
    struct level *level;
    int           at;                  /* reads level[at], writes a later one */
    uint64_t      rng;
};

static void run_stage(void *p)
{
    struct stage *s = (struct stage *)p;
    uint64_t v;
    while (gor_recv(s->level[s->at].c, &v) == 0) {
        unsigned n_later = (unsigned)(N_LEVELS - 1 - s->at);
        int a = s->at + 1 + (int)below(&s->rng, n_later);
        int b = s->at + 1 + (int)below(&s->rng, n_later);
        int k = gor_select(gor_on_send(s->level[a].c, &v), gor_on_send(s->level[b].c, &v));
        OK(k == 0 || k == 1);
        if (below(&s->rng, 10) == 0)
            gor_yield();
    }
    for (int i = s->at + 1; i < N_LEVELS; i++)
        if (atomic_fetch_sub(&s->level[i].n_writers, 1) == 1)
            gor_chan_close(s->level[i].c);
}

struct source {
    gor_chan *c;
    int       n;
};

static void run_source(void *p)
{
    struct source *s = (struct source *)p;
    for (uint64_t v = 1; v <= (uint64_t)s->n; v++)
        IS(gor_send(s->c, &v), 0);
    gor_chan_close(s->c);
}

TEST(random_pipelines_deliver_every_value_once)
{
    for (int round = 0; round < scaled(30); round++) {
        gor_wg wg = { 0 };
        struct level level[N_LEVELS];
        struct stage stage[3 * N_LEVELS];
        struct source source = { NULL, 200 };
        uint64_t rng = test_random(), v, n = 0, sum = 0;
        int n_stages = 0;
        for (int i = 0; i < N_LEVELS; i++) {
            level[i].c = gor_chan_new(sizeof(uint64_t), below(&rng, 4));
            atomic_init(&level[i].n_writers, 0);
        }
        for (int at = 0; at < N_LEVELS - 1; at++)
            for (int n_here = 1 + (int)below(&rng, 3); n_here > 0; n_here--)
                stage[n_stages++] = (struct stage){ level, at, test_random_r(&rng) };
        for (int k = 0; k < n_stages; k++)
            for (int i = stage[k].at + 1; i < N_LEVELS; i++)
                atomic_fetch_add(&level[i].n_writers, 1);
        for (int k = 0; k < n_stages; k++)
            START(&wg, run_stage, &stage[k]);
        source.c = level[0].c;
        START(&wg, run_source, &source);
        while (gor_recv(level[N_LEVELS - 1].c, &v) == 0) {
            n++;
            sum += v;
        }
        gor_wg_wait(&wg);
        IS(n, 200);
        IS(sum, 200 * 201 / 2);
        for (int i = 0; i < N_LEVELS; i++)
            gor_chan_release(level[i].c);
    }
}

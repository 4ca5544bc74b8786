/* Select: each kind of case, the choice among several, parking on many things at once. */
#include "test.h"

/* The element of a channel without values, for gor_on_recv on a context's done channel. */
__extension__ typedef struct { } nothing;

static gor_chan *full(int value)
{
    gor_chan *c = gor_chan_new(sizeof(int), 1);
    IS(gor_send(c, &value), 0);
    return c;
}

static gor_chan *closed(void)
{
    gor_chan *c = gor_chan_new(sizeof(int), 1);
    IS(gor_chan_close(c), 0);
    return c;
}

/* A goroutine in a select, and what came of it. */
struct chooser {
    gor_chan *a, *b;
    int       v, w, rc;
    bool      ok;
    gor_ctx  *ctx;
    gor_case *cases;
    size_t    n;
};

static void choose_recv(void *p)
{
    struct chooser *me = (struct chooser *)p;
    me->rc = gor_select(gor_on_recv(me->a, &me->v), gor_on_recv_ok(me->b, &me->w, &me->ok));
}

static void choose_send(void *p)
{
    struct chooser *me = (struct chooser *)p;
    me->rc = gor_select(gor_on_send(me->a, &me->v), gor_on_send(me->b, &me->w));
}

static void choose_n(void *p)
{
    struct chooser *me = (struct chooser *)p;
    gor_ctx_enter(me->ctx);
    me->rc = gor_select_n(me->cases, me->n);
    gor_ctx_enter(NULL);
}

/* -- cases that are ready ---------------------------------------------------------------------- */

TEST(a_ready_receive_runs)
{
    gor_chan *a = gor_chan_new(sizeof(int), 1), *b = full(5);
    int v = 0, w = 0;
    bool ok = false;
    IS(gor_select(gor_on_recv(a, &v), gor_on_recv_ok(b, &w, &ok)), 1);
    IS(v, 0);
    IS(w, 5);
    OK(ok);
    IS(gor_chan_len(b), 0);
    gor_chan_release(a);
    gor_chan_release(b);
}

TEST(a_ready_send_runs)
{
    gor_chan *a = full(1), *b = gor_chan_new(sizeof(int), 1);
    int v = 7;
    IS(gor_select(gor_on_send(a, &v), gor_on_send(b, &v)), 1);
    IS(gor_chan_len(a), 1);
    v = 0;
    IS(gor_recv(b, &v), 0);
    IS(v, 7);
    gor_chan_release(a);
    gor_chan_release(b);
}

TEST(a_receive_from_a_closed_channel_runs_and_says_so)
{
    gor_chan *a = gor_chan_new(sizeof(int), 1), *b = closed();
    int v = 3, w = 3;
    bool ok = true;
    IS(gor_select(gor_on_recv(a, &v), gor_on_recv_ok(b, &w, &ok)), 1);
    IS(w, 0);
    OK(!ok);
    w = 3;
    IS(gor_select(gor_on_recv(a, &v), gor_on_recv(b, &w)), 1);
    IS(v, 3);
    IS(w, 0);
    gor_chan_release(a);
    gor_chan_release(b);
}

TEST(a_send_to_a_closed_channel_is_an_error_that_names_its_case)
{
    gor_chan *a = gor_chan_new(sizeof(int), 0), *b = closed();
    int v = 3;
    gor_case cases[] = { gor_on_recv(a, &v), gor_on_send(b, &v) };
    IS(gor_select_n(cases, 2), -EPIPE);
    IS(cases[0].rc, 0);
    IS(cases[1].rc, -EPIPE);
    IS(gor_select(gor_on_send(b, &v), gor_on_default()), -EPIPE);
    gor_chan_release(a);
    gor_chan_release(b);
}

TEST(a_null_value_in_a_receive_case_discards)
{
    gor_chan *c = full(5);
    bool ok = false;
    IS(gor_select(gor_on_recv_ok(c, (int *)NULL, &ok)), 0);
    OK(ok);
    IS(gor_chan_len(c), 0);
    gor_chan_release(c);
}

TEST(the_rc_of_the_case_that_ran_is_written)
{
    gor_chan *c = full(5);
    int v = 0;
    gor_case cases[] = { gor_on_recv((gor_chan *)NULL, &v), gor_on_recv(c, &v) };
    cases[1].rc = 99;
    IS(gor_select_n(cases, 2), 1);
    IS(cases[1].rc, 0);
    gor_chan_release(c);
}

TEST(a_null_channel_is_a_case_that_is_off)
{
    gor_chan *none = NULL, *c = full(4);
    int v = 0;
    for (int i = 0; i < 20; i++) {
        IS(gor_select(gor_on_recv(none, &v), gor_on_send(none, &v), gor_on_recv(c, &v)), 2);
        IS(v, 4);
        IS(gor_select(gor_on_send(c, &v), gor_on_recv(none, &v), gor_on_send(none, &v)), 0);
    }
    IS(gor_select(gor_on_recv(none, &v), gor_on_send(none, &v), gor_on_default()), 2);
    IS(gor_select(gor_on_recv(none, &v), gor_on_deadline(0)), 1);
    gor_chan_release(c);
}

TEST(the_default_runs_when_nothing_else_can)
{
    gor_chan *empty = gor_chan_new(sizeof(int), 0), *no_room = full(1);
    int v = 6;
    for (int i = 0; i < 20; i++) {
        IS(gor_select(gor_on_recv(empty, &v), gor_on_default()), 1);
        IS(gor_select(gor_on_default(), gor_on_send(empty, &v)), 0);
        IS(gor_select(gor_on_default(), gor_on_send(no_room, &v)), 0);
    }
    IS(gor_select(gor_on_default()), 0);
    IS(gor_chan_len(no_room), 1);
    gor_chan_release(empty);
    gor_chan_release(no_room);
}

TEST(the_default_never_runs_when_something_else_can)
{
    gor_chan *c = full(1);
    int v = 0;
    for (int i = 0; i < 200; i++) {
        IS(gor_select(gor_on_default(), gor_on_recv(c, &v)), 1);
        IS(gor_select(gor_on_send(c, &v), gor_on_default()), 0);
    }
    gor_chan_release(c);
}

TEST(a_default_select_meets_a_parked_partner)
{
    gor_wg wg = { 0 };
    struct chooser p = { .a = gor_chan_new(sizeof(int), 0), .v = 1, .rc = 9 };
    int v = 8;
    START(&wg, choose_recv, &p);
    wait_until_parked(1);
    IS(gor_select(gor_on_default(), gor_on_send(p.a, &v)), 1);
    gor_wg_wait(&wg);
    IS(p.rc, 0);
    IS(p.v, 8);

    START(&wg, choose_send, &p);
    wait_until_parked(1);
    IS(gor_select(gor_on_recv(p.a, &v), gor_on_default()), 0);
    gor_wg_wait(&wg);
    IS(p.rc, 0);
    gor_chan_release(p.a);
}

/* -- time, contexts, tasks, errors ------------------------------------------------------------- */

TEST(a_deadline_case_runs_when_its_time_has_come)
{
    gor_chan *c = gor_chan_new(sizeof(int), 0);
    int v = 0;
    int64_t deadline = gor_now() + 2 * GOR_MS;
    IS(gor_select(gor_on_recv(c, &v), gor_on_deadline(deadline)), 1);
    OK(gor_now() >= deadline);
    int64_t before = gor_now();
    IS(gor_select(gor_on_after(2 * GOR_MS), gor_on_recv(c, &v)), 0);
    OK(gor_now() >= before + 2 * GOR_MS);
    IS(gor_select(gor_on_recv(c, &v), gor_on_deadline(before)), 1);
    IS(gor_select(gor_on_recv(c, &v), gor_on_after(0)), 1);
    IS(gor_select(gor_on_recv(c, &v), gor_on_after(-GOR_SEC)), 1);
    IS(gor_select(gor_on_recv(c, &v), gor_on_deadline(INT64_MIN)), 1);
    gor_chan_release(c);
}

TEST(the_earliest_of_several_deadlines_counts)
{
    int64_t now = gor_now();
    IS(gor_select(gor_on_deadline(now + 60 * GOR_SEC), gor_on_deadline(now + GOR_MS),
                  gor_on_deadline(GOR_FOREVER)), 1);
    OK(gor_now() >= now + GOR_MS);
    no_timers_left();
}

TEST(a_deadline_that_never_passes_lets_the_others_run)
{
    gor_chan *c = full(2);
    int v = 0;
    IS(gor_select(gor_on_deadline(GOR_FOREVER), gor_on_recv(c, &v)), 1);
    IS(gor_select(gor_on_after(GOR_FOREVER), gor_on_send(c, &v)), 1);
    no_timers_left();
    gor_chan_release(c);
}

static void recv_or_minute(void *p)
{
    struct chooser *me = (struct chooser *)p;
    me->rc = gor_select(gor_on_after(60 * GOR_SEC), gor_on_recv(me->a, &me->v));
}

TEST(a_deadline_that_lost_leaves_no_timer)
{
    gor_wg wg = { 0 };
    struct chooser p = { .a = gor_chan_new(sizeof(int), 0), .rc = 9 };
    START(&wg, recv_or_minute, &p);
    wait_until_parked(1);
    IS(gor_send(p.a, &(int){ 5 }), 0);
    gor_wg_wait(&wg);
    IS(p.rc, 1);
    IS(p.v, 5);
    no_timers_left();
    gor_chan_release(p.a);
}

static void done_or_recv(void *p)
{
    struct chooser *me = (struct chooser *)p;
    me->rc = gor_select(gor_on_done(me->ctx), gor_on_recv(me->a, &me->v));
}

TEST(a_done_case_runs_when_its_context_is_done)
{
    gor_wg wg = { 0 };
    struct chooser p = { .a = gor_chan_new(sizeof(int), 0), .rc = 9,
                         .ctx = gor_ctx_with_cancel(NULL) };
    int v = 0;
    IS(gor_select(gor_on_done(p.ctx), gor_on_default()), 1);
    START(&wg, done_or_recv, &p);
    wait_until_parked(1);
    gor_ctx_cancel(p.ctx, 0);
    gor_wg_wait(&wg);
    IS(p.rc, 0);
    IS(gor_select(gor_on_recv(p.a, &v), gor_on_done(p.ctx)), 1);
    IS(gor_try_send(p.a, &v), -EAGAIN);
    gor_ctx_release(p.ctx);
    gor_chan_release(p.a);
}

TEST(a_done_case_runs_when_its_context_times_out)
{
    gor_ctx *ctx = gor_ctx_with_timeout(NULL, GOR_MS);
    IS(gor_select(gor_on_done(ctx), gor_on_after(60 * GOR_SEC)), 0);
    IS(gor_ctx_err(ctx), -ETIMEDOUT);
    gor_ctx_release(ctx);
    no_timers_left();
}

TEST(a_done_case_without_a_context_is_off)
{
    IS(gor_select(gor_on_done((gor_ctx *)NULL), gor_on_default()), 1);
    IS(gor_select(gor_on_done(gor_ctx_background()), gor_on_default()), 1);
    IS(gor_select(gor_on_done((gor_ctx *)NULL), gor_on_deadline(0)), 1);
}

TEST(the_done_channel_serves_as_a_receive_case)
{
    gor_ctx *ctx = gor_ctx_with_cancel(NULL);
    nothing v;
    bool ok = true;
    IS(gor_select(gor_on_recv(gor_ctx_done(ctx), &v), gor_on_default()), 1);
    gor_ctx_cancel(ctx, 0);
    IS(gor_select(gor_on_recv_ok(gor_ctx_done(ctx), &v, &ok), gor_on_default()), 0);
    OK(!ok);
    gor_ctx_release(ctx);
}

struct work {
    gor_chan *gate;
    int       result;
};

static void *work_behind_gate(void *p)
{
    struct work *w = (struct work *)p;
    int v;
    IS(gor_recv(w->gate, &v), -EPIPE);
    w->result = 11;
    return w;
}

static void *work_at_once(void *p)
{
    struct work *w = (struct work *)p;
    w->result = 12;
    return w;
}

TEST(a_join_case_runs_when_its_task_is_done)
{
    struct work w = { gor_chan_new(sizeof(int), 0), 0 };
    gor_task t;
    gor_fork(&t, work_at_once, &w);
    IS(gor_select(gor_on_deadline(GOR_FOREVER), gor_on_join(&t)), 1);
    OK(gor_join(&t) == &w);
    IS(w.result, 12);
    gor_chan_release(w.gate);
}

static void close_soon(void *p)
{
    wait_until_parked(1);
    gor_chan_close((gor_chan *)p);
}

TEST(a_join_case_waits_for_a_task_that_is_not_done)
{
    gor_wg wg = { 0 };
    struct work w = { gor_chan_new(sizeof(int), 0), 0 };
    gor_task t;
    START(&wg, close_soon, w.gate);
    gor_fork(&t, work_behind_gate, &w);
    IS(gor_select(gor_on_join(&t), gor_on_deadline(GOR_FOREVER)), 0);
    OK(gor_join(&t) == &w);
    IS(w.result, 11);
    gor_wg_wait(&wg);
    gor_chan_release(w.gate);
}

TEST(an_error_in_any_case_moves_nothing)
{
    gor_chan *c = full(5);
    int v = 9;
    char narrow = 9;
    gor_case odd[] = { gor_on_recv(c, &v), gor_on_recv(c, &v) };
    odd[1].kind = 99;
    IS(gor_select(gor_on_recv(c, &v), gor_on_recv(c, &narrow)), -EMSGSIZE);
    IS(gor_select(gor_on_recv(c, &v), gor_on_send(c, &narrow)), -EMSGSIZE);
    IS(gor_select_n(odd, 2), -EINVAL);
    IS(v, 9);
    IS(narrow, 9);
    IS(gor_chan_len(c), 1);
    gor_chan_release(c);
}

/* -- parking ----------------------------------------------------------------------------------- */

TEST(a_parked_select_receives_from_whichever_channel_sends)
{
    gor_wg wg = { 0 };
    for (int which = 0; which < 2; which++) {
        struct chooser p = { .a = gor_chan_new(sizeof(int), 0), .b = gor_chan_new(sizeof(int), 0),
                             .rc = 9, .ok = false };
        START(&wg, choose_recv, &p);
        wait_until_parked(1);
        IS(gor_send(which ? p.b : p.a, &(int){ 5 }), 0);
        gor_wg_wait(&wg);
        IS(p.rc, which);
        IS(which ? p.w : p.v, 5);
        IS(p.ok, which);
        IS(gor_try_send(p.a, &(int){ 6 }), -EAGAIN);     /* it waits on neither any more */
        IS(gor_try_send(p.b, &(int){ 6 }), -EAGAIN);
        gor_chan_release(p.a);
        gor_chan_release(p.b);
    }
}

TEST(a_parked_select_sends_to_whichever_channel_receives)
{
    gor_wg wg = { 0 };
    for (int which = 0; which < 2; which++) {
        struct chooser p = { .a = gor_chan_new(sizeof(int), 0), .b = gor_chan_new(sizeof(int), 0),
                             .v = 3, .w = 4, .rc = 9 };
        int v = 0;
        START(&wg, choose_send, &p);
        wait_until_parked(1);
        IS(gor_recv(which ? p.b : p.a, &v), 0);
        IS(v, which ? 4 : 3);
        gor_wg_wait(&wg);
        IS(p.rc, which);
        IS(gor_try_recv(p.a, &v), -EAGAIN);
        IS(gor_try_recv(p.b, &v), -EAGAIN);
        gor_chan_release(p.a);
        gor_chan_release(p.b);
    }
}

TEST(close_wakes_a_parked_select)
{
    gor_wg wg = { 0 };
    struct chooser r = { .a = gor_chan_new(sizeof(int), 0), .b = gor_chan_new(sizeof(int), 0),
                         .w = 5, .rc = 9, .ok = true };
    struct chooser s = r;
    START(&wg, choose_recv, &r);
    wait_until_parked(1);
    IS(gor_chan_close(r.b), 0);
    gor_wg_wait(&wg);
    IS(r.rc, 1);
    IS(r.w, 0);
    OK(!r.ok);

    s.b = gor_chan_new(sizeof(int), 0);
    START(&wg, choose_send, &s);
    wait_until_parked(1);
    IS(gor_chan_close(s.b), 0);
    gor_wg_wait(&wg);
    IS(s.rc, -EPIPE);
    gor_chan_release(r.a);
    gor_chan_release(r.b);
    gor_chan_release(s.b);
}

TEST(a_select_without_cases_waits_until_the_own_context_is_done)
{
    gor_wg wg = { 0 };
    int v;
    gor_case off[] = { gor_on_recv((gor_chan *)NULL, &v), gor_on_done((gor_ctx *)NULL) };
    gor_ctx *ctx = gor_ctx_with_cancel(NULL);
    struct chooser p[2] = { { .rc = 9, .ctx = ctx, .cases = NULL, .n = 0 },
                            { .rc = 9, .ctx = ctx, .cases = off, .n = 2 } };
    START(&wg, choose_n, &p[0]);
    START(&wg, choose_n, &p[1]);
    wait_until_parked(2);
    gor_ctx_cancel(ctx, 0);
    gor_wg_wait(&wg);
    IS(p[0].rc, -ECANCELED);
    IS(p[1].rc, -ECANCELED);
    gor_ctx_release(ctx);
}

TEST(the_same_channel_twice_runs_one_case)
{
    gor_wg wg = { 0 };
    gor_chan *c = full(5);
    int v = 0, w = 0;
    int got = gor_select(gor_on_recv(c, &v), gor_on_recv(c, &w));
    OK(got == 0 || got == 1);
    IS(v + w, 5);
    IS(gor_chan_len(c), 0);
    gor_chan_release(c);

    struct chooser p = { .a = gor_chan_new(sizeof(int), 0), .v = 0, .w = 0, .rc = 9 };
    p.b = p.a;
    START(&wg, choose_recv, &p);
    wait_until_parked(1);
    IS(gor_send(p.a, &(int){ 6 }), 0);
    gor_wg_wait(&wg);
    OK(p.rc == 0 || p.rc == 1);
    IS(p.v + p.w, 6);
    IS(gor_try_send(p.a, &v), -EAGAIN);

    p.v = p.w = 7;
    START(&wg, choose_send, &p);
    wait_until_parked(1);
    IS(gor_recv(p.a, &v), 0);
    IS(v, 7);
    gor_wg_wait(&wg);
    IS(gor_try_recv(p.a, &v), -EAGAIN);
    gor_chan_release(p.a);
}

static void send_or_recv_same(void *p)
{
    struct chooser *me = (struct chooser *)p;
    me->rc = gor_select(gor_on_send(me->a, &me->v), gor_on_recv(me->a, &me->w));
}

TEST(a_select_does_not_meet_itself)
{
    gor_wg wg = { 0 };
    struct chooser p = { .a = gor_chan_new(sizeof(int), 0), .v = 1, .w = 0, .rc = 9 };
    START(&wg, send_or_recv_same, &p);
    wait_until_parked(1);
    IS(gor_send(p.a, &(int){ 2 }), 0);
    gor_wg_wait(&wg);
    IS(p.rc, 1);
    IS(p.w, 2);
    gor_chan_release(p.a);
}

enum { MANY = 64 };

TEST(sixty_four_cases_are_told_apart)
{
    gor_wg wg = { 0 };
    gor_chan *c[MANY];
    gor_case cases[MANY];
    int v[MANY] = { 0 };
    for (int i = 0; i < MANY; i++) {
        c[i] = gor_chan_new(sizeof(int), i % 2 ? 1 : 0);
        cases[i] = gor_on_recv(c[i], &v[i]);
    }
    for (int i = 1; i < MANY; i += 2) {        /* ready */
        IS(gor_send(c[i], &i), 0);
        IS(gor_select_n(cases, MANY), i);
        IS(v[i], i);
    }
    for (int i = 0; i < MANY; i++) {           /* parked */
        struct chooser p = { .rc = -1, .cases = cases, .n = MANY };
        START(&wg, choose_n, &p);
        wait_until_parked(1);
        IS(gor_send(c[i], &(int){ 100 + i }), 0);
        gor_wg_wait(&wg);
        IS(p.rc, i);
        IS(v[i], 100 + i);
        for (int k = 0; k < MANY; k += 2)
            IS(gor_try_send(c[k], &i), -EAGAIN);
    }
    for (int i = 0; i < MANY; i++)
        gor_chan_release(c[i]);
}

TEST(a_thousand_cases_are_not_too_many)
{
    gor_wg wg = { 0 };
    gor_chan *c[8];
    gor_case *cases = (gor_case *)calloc(1000, sizeof *cases);
    int v = 0;
    for (int i = 0; i < 8; i++)
        c[i] = gor_chan_new(sizeof(int), 0);
    for (int i = 0; i < 1000; i++)
        cases[i] = gor_on_recv(c[i % 8], &v);
    for (int i = 0; i < 8; i++) {
        struct chooser p = { .rc = -1, .cases = cases, .n = 1000 };
        START(&wg, choose_n, &p);
        wait_until_parked(1);
        IS(gor_send(c[i], &i), 0);
        gor_wg_wait(&wg);
        IS(p.rc % 8, i);
        IS(v, i);
    }
    for (int i = 0; i < 8; i++)
        gor_chan_release(c[i]);
    free(cases);
}

/* -- the choice -------------------------------------------------------------------------------- */

/* How far n_chosen is from uniform over 4. Three degrees of freedom: a fair choice exceeds
 * 30.665 with probability 1e-6. */
static void check_uniform(const int n_chosen[4])
{
    double total = 0, chi_square = 0;
    for (int i = 0; i < 4; i++)
        total += n_chosen[i];
    for (int i = 0; i < 4; i++) {
        double off = n_chosen[i] - total / 4;
        chi_square += off * off / (total / 4);
    }
    if (!OK(chi_square < 30.665))
        test_say("# chosen %d %d %d %d of %.0f: chi-square %.1f\n", n_chosen[0], n_chosen[1],
                 n_chosen[2], n_chosen[3], total, chi_square);
}

TEST(each_of_four_ready_receives_is_chosen_equally_often)
{
    int n_chosen[4] = { 0 }, v = 1;
    gor_chan *c[4];
    for (int i = 0; i < 4; i++)
        c[i] = full(1);
    for (int i = 0; i < scaled(100000); i++) {
        int got = gor_select(gor_on_recv(c[0], &v), gor_on_recv(c[1], &v),
                             gor_on_recv(c[2], &v), gor_on_recv(c[3], &v));
        if (!OK(got >= 0 && got < 4))
            break;
        n_chosen[got]++;
        IS(gor_try_send(c[got], &v), 0);
    }
    check_uniform(n_chosen);
    for (int i = 0; i < 4; i++)
        gor_chan_release(c[i]);
}

TEST(sends_receives_closed_channels_and_deadlines_are_chosen_equally_often)
{
    int n_chosen[4] = { 0 }, v = 1;
    gor_chan *in = full(1), *out = gor_chan_new(sizeof(int), 1), *ended = closed();
    for (int i = 0; i < scaled(100000); i++) {
        int got = gor_select(gor_on_recv(in, &v), gor_on_send(out, &v),
                             gor_on_recv(ended, &v), gor_on_deadline(0));
        if (!OK(got >= 0 && got < 4))
            break;
        n_chosen[got]++;
        if (got == 0)
            IS(gor_try_send(in, &v), 0);
        if (got == 1)
            IS(gor_try_recv(out, &v), 0);
    }
    check_uniform(n_chosen);
    gor_chan_release(in);
    gor_chan_release(out);
    gor_chan_release(ended);
}

/* -- under load -------------------------------------------------------------------------------- */

struct twin {
    gor_chan *c;
    int       id, n;
    size_t    capacity;
};

static void send_and_recv_same_channel(void *p)
{
    struct twin *me = (struct twin *)p;
    for (int i = 0; i < me->n; i++) {
        int v = -1, got;
        if (me->id == 0 || i % 2 == 0) {
            got = gor_select(gor_on_send(me->c, &me->id), gor_on_recv(me->c, &v));
        } else {
            got = gor_select(gor_on_recv(me->c, &v), gor_on_send(me->c, &me->id));
            got = got == 0 ? 1 : got == 1 ? 0 : got;
        }
        OK(got == 0 || got == 1);
        if (me->capacity == 0 && got == 1)
            IS(v, 1 - me->id);         /* never one's own value */
    }
}

/* After Go's TestSelfSelect. */
TEST(two_goroutines_that_send_and_receive_on_one_channel_serve_each_other)
{
    for (size_t capacity = 0; capacity <= 10; capacity += 10) {
        gor_wg wg = { 0 };
        gor_chan *c = gor_chan_new(sizeof(int), capacity);
        struct twin t[2] = { { c, 0, scaled(5000), capacity }, { c, 1, scaled(5000), capacity } };
        START(&wg, send_and_recv_same_channel, &t[0]);
        START(&wg, send_and_recv_same_channel, &t[1]);
        gor_wg_wait(&wg);
        gor_chan_release(c);
    }
}

struct cross {
    gor_chan   *a, *b;
    int         n;
    _Atomic int sum_sent, sum_received;
};

static void cross_send(void *p)
{
    struct cross *x = (struct cross *)p;
    for (int i = 0; i < x->n; i++) {
        int v = 2 * i, w = 2 * i + 1;
        int got = gor_select(gor_on_send(x->a, &v), gor_on_send(x->b, &w));
        atomic_fetch_add(&x->sum_sent, got == 0 ? v : w);
    }
}

static void cross_recv(void *p)
{
    struct cross *x = (struct cross *)p;
    for (int i = 0; i < x->n; i++) {
        int v = 0, w = 0;
        int got = gor_select(gor_on_recv(x->b, &w), gor_on_recv(x->a, &v));
        atomic_fetch_add(&x->sum_received, got == 0 ? w : v);
    }
}

TEST(selects_that_name_the_channels_in_opposite_order_do_not_deadlock)
{
    for (size_t capacity = 0; capacity < 2; capacity++) {
        gor_wg wg = { 0 };
        struct cross x = { .a = gor_chan_new(sizeof(int), capacity),
                           .b = gor_chan_new(sizeof(int), capacity), .n = scaled(2000) };
        for (int i = 0; i < 4; i++) {
            START(&wg, cross_send, &x);
            START(&wg, cross_recv, &x);
        }
        gor_wg_wait(&wg);
        IS(x.sum_sent, x.sum_received);
        IS(gor_chan_len(x.a) + gor_chan_len(x.b), 0);
        gor_chan_release(x.a);
        gor_chan_release(x.b);
    }
}

TEST(of_many_parked_selects_each_value_wakes_one)
{
    enum { N = 32 };
    for (int round = 0; round < scaled(20); round++) {
        gor_wg wg = { 0 };
        struct chooser p[N];
        gor_chan *a = gor_chan_new(sizeof(int), 0), *b = gor_chan_new(sizeof(int), 0);
        int sum = 0;
        for (int i = 0; i < N; i++) {
            p[i] = (struct chooser){ .a = a, .b = b, .rc = 9 };
            START(&wg, choose_recv, &p[i]);
        }
        wait_until_parked(N);
        for (int i = 0; i < N; i++)
            IS(gor_try_send(i % 3 ? a : b, &(int){ 1 << (i % 16) }), 0);
        IS(gor_try_send(a, &(int){ 1 }), -EAGAIN);
        gor_wg_wait(&wg);
        for (int i = 0; i < N; i++)
            sum += p[i].rc == 0 ? p[i].v : p[i].w;
        IS(sum, 2 * 0xFFFF);
        gor_chan_release(a);
        gor_chan_release(b);
    }
}

/* Two channels close at the same moment: the select must run once, and survive the loser. */
static void close_it(void *p)
{
    gor_chan_close((gor_chan *)p);
}

TEST(a_select_that_is_woken_from_two_sides_runs_one_case)
{
    for (int round = 0; round < scaled(300); round++) {
        gor_wg wg = { 0 };
        struct chooser p = { .a = gor_chan_new(sizeof(int), 0), .b = gor_chan_new(sizeof(int), 0),
                             .v = 1, .w = 1, .rc = 9, .ok = true };
        START(&wg, choose_recv, &p);
        START(&wg, close_it, p.a);
        START(&wg, close_it, p.b);
        gor_wg_wait(&wg);
        OK(p.rc == 0 || p.rc == 1);
        IS(p.v + p.w, 1);
        gor_chan_release(p.a);
        gor_chan_release(p.b);
    }
}

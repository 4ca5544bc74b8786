/* Channels: every row of the contract's tables, the order of values and waiters, closing. */
#include "test.h"

GOR_CHAN_TYPE(ints, int)

struct triple { int64_t a, b, c; };
GOR_CHAN_TYPE(triples, struct triple)

/* One goroutine with one operation to do. */
struct peer {
    gor_chan *c;
    int       value;                   /* to send, or received */
    int       rc;
    gor_wg   *wg;
};

static void send_one(void *p)
{
    struct peer *me = (struct peer *)p;
    me->rc = gor_send(me->c, &me->value);
}

static void recv_one(void *p)
{
    struct peer *me = (struct peer *)p;
    me->rc = gor_recv(me->c, &me->value);
}

/* Start n goroutines that do fn on c, each parked before the next one starts. Values are 0..n-1. */
static void park_in_order(gor_wg *wg, struct peer *p, int n, gor_chan *c, void (*fn)(void *))
{
    int before = test_n_parked();
    for (int i = 0; i < n; i++) {
        p[i] = (struct peer){ .c = c, .value = i, .rc = 1 };
        START(wg, fn, &p[i]);
        wait_until_parked(before + i + 1);
    }
}

/* -- values ------------------------------------------------------------------------------------ */

TEST(an_unbuffered_send_ends_when_the_value_is_received)
{
    gor_wg wg = { 0 };
    struct peer p = { .c = gor_chan_new(sizeof(int), 0), .value = 42, .rc = 1 };
    int v = 0;
    START(&wg, send_one, &p);
    wait_until_parked(1);
    IS(gor_wg_wait_until(&wg, gor_now()), -ETIMEDOUT);
    IS(gor_recv(p.c, &v), 0);
    IS(v, 42);
    IS(gor_wg_wait(&wg), 0);
    IS(p.rc, 0);
    gor_chan_release(p.c);
}

TEST(a_parked_receiver_gets_the_value_of_a_later_send)
{
    gor_wg wg = { 0 };
    struct peer p = { .c = gor_chan_new(sizeof(int), 0), .value = 0, .rc = 1 };
    int v = 42;
    START(&wg, recv_one, &p);
    wait_until_parked(1);
    IS(gor_send(p.c, &v), 0);
    IS(gor_wg_wait(&wg), 0);
    IS(p.rc, 0);
    IS(p.value, 42);
    gor_chan_release(p.c);
}

static void send_hundred(void *p)
{
    struct peer *me = (struct peer *)p;
    for (int i = 0; i < 100; i++)
        IS(gor_send(me->c, &i), 0);
}

TEST(values_arrive_in_the_order_they_were_sent)
{
    const size_t capacity[] = { 0, 1, 2, 3, 7, 64, 100, 1000 };
    for (size_t k = 0; k < sizeof capacity / sizeof *capacity; k++) {
        gor_wg wg = { 0 };
        struct peer p = { .c = gor_chan_new(sizeof(int), capacity[k]) };
        START(&wg, send_hundred, &p);
        for (int i = 0; i < 100; i++) {
            int v = -1;
            IS(gor_recv(p.c, &v), 0);
            IS(v, i);
        }
        gor_wg_wait(&wg);
        gor_chan_release(p.c);
    }
}

TEST(a_buffered_channel_takes_its_capacity_without_a_receiver)
{
    const size_t capacity[] = { 1, 2, 3, 17, 1000 };
    for (size_t k = 0; k < sizeof capacity / sizeof *capacity; k++) {
        gor_chan *c = gor_chan_new(sizeof(int), capacity[k]);
        IS(gor_chan_cap(c), capacity[k]);
        for (int i = 0; i < (int)capacity[k]; i++) {
            IS(gor_chan_len(c), i);
            IS(i % 2 ? gor_send(c, &i) : gor_try_send(c, &i), 0);
        }
        IS(gor_chan_len(c), capacity[k]);
        IS(gor_try_send(c, &(int){ 0 }), -EAGAIN);
        for (int i = 0; i < (int)capacity[k]; i++) {
            int v = -1;
            IS(i % 2 ? gor_recv(c, &v) : gor_try_recv(c, &v), 0);
            IS(v, i);
        }
        IS(gor_try_recv(c, &(int){ 0 }), -EAGAIN);
        gor_chan_release(c);
    }
}

TEST(the_ring_of_a_buffer_wraps_round)
{
    for (int capacity = 1; capacity <= 9; capacity++) {
        gor_chan *c = gor_chan_new(sizeof(int), (size_t)capacity);
        int sent = 0, received = 0;
        while (received < 200) {
            int burst = 1 + (int)(test_random() % (unsigned)capacity);
            for (; sent - received < burst; sent++)
                IS(gor_try_send(c, &sent), 0);
            for (int n = 1 + (int)(test_random() % (unsigned)burst); n > 0; n--) {
                int v = -1;
                IS(gor_try_recv(c, &v), 0);
                IS(v, received++);
            }
        }
        gor_chan_release(c);
    }
}

struct raw {
    gor_chan *c;
    void     *v;
    size_t    size;
};

static void send_raw(void *p)
{
    struct raw *me = (struct raw *)p;
    IS(gor_chan_send(me->c, me->v, me->size), 0);
}

/* Move two values of this size, to a parked receiver or sender too, and look for stray bytes. */
static void move_values(size_t size, size_t capacity)
{
    unsigned char out[2][5000], in[5002];
    gor_wg wg = { 0 };
    struct raw r[2];
    gor_chan *c = gor_chan_new(size, capacity);
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < size; i++)
            out[k][i] = (unsigned char)test_random();
        r[k] = (struct raw){ c, out[k], size };
        START(&wg, send_raw, &r[k]);
        if ((size_t)k < capacity)
            WAIT_FOR(gor_chan_len(c) == (size_t)k + 1);
        else
            wait_until_parked(k + 1 - (int)capacity);
    }
    for (int k = 0; k < 2; k++) {
        memset(in, 0xA5, sizeof in);
        IS(gor_chan_recv(c, in + 1, size), 0);
        OK(memcmp(in + 1, out[k], size) == 0);
        IS(in[0], 0xA5);
        IS(in[1 + size], 0xA5);
    }
    gor_wg_wait(&wg);
    gor_chan_release(c);
}

TEST(values_of_every_size_arrive_whole)
{
    const size_t size[] = { 1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33, 64, 100, 4999 };
    for (size_t i = 0; i < sizeof size / sizeof *size; i++)
        for (size_t capacity = 0; capacity < 3; capacity++)
            move_values(size[i], capacity);
}

TEST(elements_of_size_zero_are_counted_signals)
{
    gor_chan *c = gor_chan_new(0, 3);
    OK(c != NULL);
    IS(gor_chan_cap(c), 3);
    for (int i = 0; i < 3; i++)
        IS(gor_chan_send(c, NULL, 0), 0);
    IS(gor_chan_try_send(c, NULL, 0), -EAGAIN);
    IS(gor_chan_len(c), 3);
    IS(gor_chan_close(c), 0);
    for (int i = 0; i < 3; i++)
        IS(gor_chan_recv(c, NULL, 0), 0);
    IS(gor_chan_recv(c, NULL, 0), -EPIPE);
    gor_chan_release(c);
}

static void send_signal(void *p)
{
    struct peer *me = (struct peer *)p;
    me->rc = gor_chan_send(me->c, NULL, 0);
}

TEST(an_unbuffered_signal_of_size_zero_is_a_rendezvous)
{
    gor_wg wg = { 0 };
    struct peer p = { .c = gor_chan_new(0, 0), .rc = 1 };
    IS(gor_chan_try_send(p.c, NULL, 0), -EAGAIN);
    START(&wg, send_signal, &p);
    wait_until_parked(1);
    IS(gor_chan_recv(p.c, NULL, 0), 0);
    gor_wg_wait(&wg);
    IS(p.rc, 0);
    gor_chan_release(p.c);
}

TEST(a_null_value_discards_or_sends_zero_bytes)
{
    gor_chan *c = gor_chan_new(sizeof(int), 2);
    int v = 7;
    IS(gor_chan_send(c, NULL, 0), 0);
    IS(gor_recv(c, &v), 0);
    IS(v, 0);
    v = 7;
    IS(gor_send(c, &v), 0);
    v = 8;
    IS(gor_send(c, &v), 0);
    IS(gor_chan_recv(c, NULL, 0), 0);
    IS(gor_recv(c, &v), 0);
    IS(v, 8);
    gor_chan_release(c);
}

TEST(a_null_value_reaches_a_parked_receiver_as_zero_bytes)
{
    gor_wg wg = { 0 };
    struct peer p = { .c = gor_chan_new(sizeof(int), 0), .value = 7, .rc = 1 };
    START(&wg, recv_one, &p);
    wait_until_parked(1);
    IS(gor_chan_send(p.c, NULL, 0), 0);
    gor_wg_wait(&wg);
    IS(p.rc, 0);
    IS(p.value, 0);

    p.value = 7;
    START(&wg, send_one, &p);
    wait_until_parked(1);
    IS(gor_chan_recv(p.c, NULL, 0), 0);
    gor_wg_wait(&wg);
    IS(p.rc, 0);
    gor_chan_release(p.c);
}

TEST(a_value_may_be_written_where_it_is_sent)
{
    gor_chan *c = gor_chan_new(sizeof(struct triple), 3);
    struct triple v = { 0, 0, 0 };
    IS(gor_send(c, &(struct triple){ .a = 1, .b = 2, .c = 3 }), 0);
    IS(gor_try_send(c, &(struct triple){ 4, 5, 6 }), 0);
    IS(gor_select(gor_on_send(c, &(struct triple){ 7, 8, 9 }), gor_on_default()), 0);
    for (int64_t i = 1; i <= 7; i += 3) {
        IS(gor_recv(c, &v), 0);
        IS(v.a, i);
        IS(v.c, i + 2);
    }
    gor_chan_release(c);
}

TEST(a_wrong_size_is_refused_and_moves_nothing)
{
    gor_chan *c = gor_chan_new(sizeof(int), 2);
    int v = 5;
    char narrow = 9;
    int64_t wide = 9, soon = gor_now() + GOR_SEC;
    IS(gor_send(c, &v), 0);
    IS(gor_send(c, &narrow), -EMSGSIZE);
    IS(gor_send(c, &wide), -EMSGSIZE);
    IS(gor_try_send(c, &wide), -EMSGSIZE);
    IS(gor_send_until(c, &wide, soon), -EMSGSIZE);
    IS(gor_chan_len(c), 1);
    IS(gor_recv(c, &narrow), -EMSGSIZE);
    IS(gor_recv(c, &wide), -EMSGSIZE);
    IS(gor_try_recv(c, &wide), -EMSGSIZE);
    IS(gor_recv_until(c, &wide, soon), -EMSGSIZE);
    IS(gor_chan_recv(c, &v, 0), -EMSGSIZE);
    IS(narrow, 9);
    IS(wide, 9);
    IS(gor_chan_len(c), 1);
    IS(gor_recv(c, &v), 0);
    IS(v, 5);
    gor_chan_release(c);
}

TEST(channels_travel_over_channels)
{
    gor_chan *mail = gor_chan_new(sizeof(gor_chan *), 1), *got = NULL;
    gor_chan *c = gor_chan_new(sizeof(int), 1);
    int v = 3;
    IS(gor_send(c, &v), 0);
    IS(gor_send(mail, &c), 0);
    IS(gor_recv(mail, &got), 0);
    OK(got == c);
    IS(gor_recv(got, &v), 0);
    IS(v, 3);
    gor_chan_release(c);
    gor_chan_release(mail);
}

/* -- try and until ----------------------------------------------------------------------------- */

TEST(a_try_on_an_unbuffered_channel_needs_a_parked_partner)
{
    gor_wg wg = { 0 };
    struct peer p = { .c = gor_chan_new(sizeof(int), 0), .value = 1, .rc = 1 };
    int v = 2;
    IS(gor_try_send(p.c, &v), -EAGAIN);
    IS(gor_try_recv(p.c, &v), -EAGAIN);
    IS(gor_chan_len(p.c), 0);

    START(&wg, send_one, &p);
    wait_until_parked(1);
    IS(gor_chan_len(p.c), 0);
    IS(gor_try_recv(p.c, &v), 0);
    IS(v, 1);
    gor_wg_wait(&wg);
    IS(p.rc, 0);

    START(&wg, recv_one, &p);
    wait_until_parked(1);
    v = 9;
    IS(gor_try_send(p.c, &v), 0);
    gor_wg_wait(&wg);
    IS(p.value, 9);
    gor_chan_release(p.c);
}

TEST(a_past_deadline_tries_once)
{
    const int64_t past[] = { gor_now() - 1, 0, -1, INT64_MIN };
    gor_chan *c = gor_chan_new(sizeof(int), 1);
    for (size_t i = 0; i < sizeof past / sizeof *past; i++) {
        int v = 4;
        IS(gor_recv_until(c, &v, past[i]), -ETIMEDOUT);
        IS(gor_send_until(c, &v, past[i]), 0);
        IS(gor_send_until(c, &v, past[i]), -ETIMEDOUT);
        v = 0;
        IS(gor_recv_until(c, &v, past[i]), 0);
        IS(v, 4);
    }
    gor_chan_release(c);
}

TEST(a_timeout_comes_after_the_deadline_and_never_before)
{
    gor_chan *c = gor_chan_new(sizeof(int), 0);
    int v = 0;
    for (int i = 0; i < 5; i++) {
        int64_t deadline = gor_now() + i * 500 * GOR_US;
        IS(gor_recv_until(c, &v, deadline), -ETIMEDOUT);
        OK(gor_now() >= deadline);
        deadline = gor_now() + i * 500 * GOR_US;
        IS(gor_send_until(c, &v, deadline), -ETIMEDOUT);
        OK(gor_now() >= deadline);
    }
    gor_chan_release(c);
}

TEST(a_waiter_that_timed_out_takes_no_part_any_more)
{
    gor_chan *c = gor_chan_new(sizeof(int), 0);
    int v = 1;
    IS(gor_recv_until(c, &v, gor_now() + 100 * GOR_US), -ETIMEDOUT);
    IS(gor_try_send(c, &v), -EAGAIN);
    IS(gor_send_until(c, &v, gor_now() + 100 * GOR_US), -ETIMEDOUT);
    IS(gor_try_recv(c, &v), -EAGAIN);
    gor_chan_release(c);
}

static void recv_within_a_minute(void *p)
{
    struct peer *me = (struct peer *)p;
    me->rc = gor_recv_until(me->c, &me->value, gor_now() + 60 * GOR_SEC);
}

static void send_within_a_minute(void *p)
{
    struct peer *me = (struct peer *)p;
    me->rc = gor_send_until(me->c, &me->value, gor_now() + 60 * GOR_SEC);
}

TEST(a_wait_with_a_deadline_ends_when_its_partner_comes)
{
    gor_wg wg = { 0 };
    struct peer p = { .c = gor_chan_new(sizeof(int), 0), .rc = 1 };
    int v = 6;
    START(&wg, recv_within_a_minute, &p);
    wait_until_parked(1);
    IS(gor_send(p.c, &v), 0);
    gor_wg_wait(&wg);
    IS(p.rc, 0);
    IS(p.value, 6);

    p.rc = 1;
    START(&wg, send_within_a_minute, &p);
    wait_until_parked(1);
    IS(gor_recv(p.c, &v), 0);
    gor_wg_wait(&wg);
    IS(p.rc, 0);
    no_timers_left();
    gor_chan_release(p.c);
}

TEST(forever_is_a_deadline_that_never_passes)
{
    gor_wg wg = { 0 };
    struct peer p = { .c = gor_chan_new(sizeof(int), 0), .value = 3, .rc = 1 };
    int v = 0;
    START(&wg, send_one, &p);
    IS(gor_recv_until(p.c, &v, GOR_FOREVER), 0);
    IS(v, 3);
    gor_wg_wait(&wg);
    START(&wg, recv_one, &p);
    IS(gor_send_until(p.c, &v, GOR_FOREVER), 0);
    gor_wg_wait(&wg);
    gor_chan_release(p.c);
}

/* Values against deadlines: each send that returns 0 is one value received, no more, no less. */
struct race {
    gor_chan   *c;
    uint64_t    seed;
    _Atomic int sent, received;
    _Atomic int senders;
};

static void race_send(void *p)
{
    struct race *r = (struct race *)p;
    uint64_t rng = test_random();
    for (int i = 0; i < scaled(300); i++) {
        int64_t wait = (int64_t)(test_random_r(&rng) % 50) * GOR_US;
        if (gor_send_until(r->c, &i, gor_now() + wait) == 0)
            atomic_fetch_add(&r->sent, 1);
    }
    if (atomic_fetch_sub(&r->senders, 1) == 1)
        gor_chan_close(r->c);
}

static void race_recv(void *p)
{
    struct race *r = (struct race *)p;
    uint64_t rng = test_random();
    for (;;) {
        int v, rc;
        int64_t wait = (int64_t)(test_random_r(&rng) % 50) * GOR_US;
        rc = gor_recv_until(r->c, &v, gor_now() + wait);
        if (rc == -EPIPE)
            return;
        if (rc == 0)
            atomic_fetch_add(&r->received, 1);
        else
            IS(rc, -ETIMEDOUT);
    }
}

TEST(no_value_is_lost_between_a_send_and_a_timeout)
{
    for (size_t capacity = 0; capacity < 3; capacity++) {
        gor_wg wg = { 0 };
        struct race r = { .c = gor_chan_new(sizeof(int), capacity), .senders = 4 };
        for (int i = 0; i < 4; i++) {
            START(&wg, race_send, &r);
            START(&wg, race_recv, &r);
        }
        gor_wg_wait(&wg);
        IS(r.sent, r.received);
        gor_chan_release(r.c);
    }
}

/* -- order of waiters -------------------------------------------------------------------------- */

/* Large: to move one takes a while. */
struct big { char bytes[64 << 10]; };
enum { N_TAKEN = 16 };

struct taken {
    gor_chan   *c;
    _Atomic int begun;
};

static void send_big(void *p)
{
    static struct big v;
    IS(gor_send(((struct taken *)p)->c, &v), 0);
}

static void recv_some_big(void *p)
{
    static struct big v;
    struct taken *t = (struct taken *)p;
    atomic_store(&t->begun, 1);
    for (int i = 0; i < N_TAKEN; i++)
        IS(gor_recv(t->c, &v), 0);
}

static int take_big_without_waiting(gor_chan *c, bool by_select)
{
    static struct big v;
    return by_select ? gor_select(gor_on_recv(c, &v), gor_on_default()) : gor_try_recv(c, &v);
}

/* Nor does any of those who come meanwhile find it so. */
TEST(a_channel_with_a_value_and_a_sender_at_it_never_seems_empty)
{
    for (int round = 0; round < scaled(100); round++) {
        struct taken t = { .c = gor_chan_new(sizeof(struct big), 1) };
        gor_wg wg = { 0 };
        for (int i = 0; i < 2 * N_TAKEN + 1; i++)
            START(&wg, send_big, &t);
        wait_until_parked(2 * N_TAKEN);
        START(&wg, recv_some_big, &t);
        while (!atomic_load(&t.begun))
            gor_yield();
        for (int i = 0; i < N_TAKEN; i++)
            IS(take_big_without_waiting(t.c, round % 2), 0);
        IS(gor_wg_wait(&wg), 0);
        IS(gor_chan_len(t.c), 1);
        gor_chan_release(t.c);
    }
}

TEST(parked_receivers_are_served_in_the_order_they_came)
{
    gor_wg wg = { 0 };
    struct peer p[8];
    gor_chan *c = gor_chan_new(sizeof(int), 0);
    park_in_order(&wg, p, 8, c, recv_one);
    for (int i = 0; i < 8; i++)
        IS(gor_send(c, &(int){ 100 + i }), 0);
    gor_wg_wait(&wg);
    for (int i = 0; i < 8; i++) {
        IS(p[i].rc, 0);
        IS(p[i].value, 100 + i);
    }
    gor_chan_release(c);
}

TEST(parked_senders_are_served_in_the_order_they_came)
{
    for (int capacity = 0; capacity < 4; capacity++) {
        gor_wg wg = { 0 };
        struct peer p[8];
        gor_chan *c = gor_chan_new(sizeof(int), (size_t)capacity);
        int v = -1;
        for (int i = 0; i < capacity; i++)
            IS(gor_send(c, &(int){ 1000 + i }), 0);
        park_in_order(&wg, p, 8, c, send_one);
        for (int i = 0; i < capacity; i++) {
            IS(gor_recv(c, &v), 0);
            IS(v, 1000 + i);
        }
        for (int i = 0; i < 8; i++) {
            IS(gor_recv(c, &v), 0);
            IS(v, i);
        }
        gor_wg_wait(&wg);
        gor_chan_release(c);
    }
}

TEST(a_waiter_that_gave_up_does_not_disturb_the_order)
{
    gor_wg wg = { 0 };
    struct peer p[4];
    gor_chan *c = gor_chan_new(sizeof(int), 0);
    int v = 0;
    park_in_order(&wg, p, 2, c, recv_one);
    IS(gor_recv_until(c, &v, gor_now() + 200 * GOR_US), -ETIMEDOUT);
    park_in_order(&wg, p + 2, 2, c, recv_one);
    for (int i = 0; i < 4; i++)
        IS(gor_send(c, &(int){ 100 + i }), 0);
    gor_wg_wait(&wg);
    for (int i = 0; i < 4; i++)
        IS(p[i].value, 100 + i);
    gor_chan_release(c);
}

/* -- close ------------------------------------------------------------------------------------- */

TEST(close_wakes_all_receivers)
{
    gor_wg wg = { 0 };
    struct peer p[8];
    gor_chan *c = gor_chan_new(sizeof(int), 0);
    park_in_order(&wg, p, 8, c, recv_one);
    p[0].value = 99;
    IS(gor_chan_close(c), 0);
    gor_wg_wait(&wg);
    for (int i = 0; i < 8; i++) {
        IS(p[i].rc, -EPIPE);
        IS(p[i].value, 0);
    }
    gor_chan_release(c);
}

TEST(close_wakes_all_senders_and_keeps_the_buffer)
{
    for (int capacity = 0; capacity < 3; capacity++) {
        gor_wg wg = { 0 };
        struct peer p[8];
        gor_chan *c = gor_chan_new(sizeof(int), (size_t)capacity);
        int v = -1;
        for (int i = 0; i < capacity; i++)
            IS(gor_send(c, &(int){ 1000 + i }), 0);
        park_in_order(&wg, p, 8, c, send_one);
        IS(gor_chan_close(c), 0);
        gor_wg_wait(&wg);
        for (int i = 0; i < 8; i++)
            IS(p[i].rc, -EPIPE);
        for (int i = 0; i < capacity; i++) {
            IS(gor_recv(c, &v), 0);
            IS(v, 1000 + i);
        }
        IS(gor_recv(c, &v), -EPIPE);
        gor_chan_release(c);
    }
}

TEST(a_closed_channel_gives_what_is_left_and_then_zeroed_values)
{
    gor_chan *c = gor_chan_new(sizeof(struct triple), 4);
    struct triple t = { 1, 2, 3 };
    for (int i = 0; i < 3; i++)
        IS(gor_send(c, &t), 0);
    IS(gor_chan_close(c), 0);
    IS(gor_chan_len(c), 3);
    IS(gor_recv(c, &t), 0);
    IS(gor_try_recv(c, &t), 0);
    IS(gor_recv_until(c, &t, 0), 0);
    IS(t.a + t.b + t.c, 6);
    IS(gor_recv(c, &t), -EPIPE);
    IS(t.a | t.b | t.c, 0);
    t.c = 7;
    IS(gor_try_recv(c, &t), -EPIPE);
    IS(t.c, 0);
    t.c = 7;
    IS(gor_recv_until(c, &t, GOR_FOREVER), -EPIPE);
    IS(t.c, 0);
    IS(gor_chan_recv(c, NULL, 0), -EPIPE);
    gor_chan_release(c);
}

TEST(a_send_on_a_closed_channel_is_refused)
{
    gor_chan *c = gor_chan_new(sizeof(int), 4);
    int v = 1;
    IS(gor_chan_close(c), 0);
    IS(gor_send(c, &v), -EPIPE);
    IS(gor_try_send(c, &v), -EPIPE);
    IS(gor_send_until(c, &v, 0), -EPIPE);
    IS(gor_send_until(c, &v, GOR_FOREVER), -EPIPE);
    IS(gor_chan_len(c), 0);
    gor_chan_release(c);
}

TEST(closing_twice_is_refused)
{
    gor_chan *c = gor_chan_new(sizeof(int), 0);
    IS(gor_chan_close(c), 0);
    IS(gor_chan_close(c), -EPIPE);
    IS(gor_chan_close(c), -EPIPE);
    gor_chan_release(c);
}

static void close_one(void *p)
{
    struct peer *me = (struct peer *)p;
    me->rc = gor_chan_close(me->c);
}

TEST(of_many_closers_one_succeeds)
{
    for (int round = 0; round < scaled(50); round++) {
        gor_wg wg = { 0 };
        struct peer p[8];
        int n_closed = 0;
        gor_chan *c = gor_chan_new(sizeof(int), 0);
        for (int i = 0; i < 8; i++) {
            p[i] = (struct peer){ .c = c, .rc = 1 };
            START(&wg, close_one, &p[i]);
        }
        gor_wg_wait(&wg);
        for (int i = 0; i < 8; i++) {
            n_closed += p[i].rc == 0;
            OK(p[i].rc == 0 || p[i].rc == -EPIPE);
        }
        IS(n_closed, 1);
        gor_chan_release(c);
    }
}

/* Sums on both sides of a channel that is closed while both sides are busy. */
struct ledger {
    gor_chan        *c;
    _Atomic uint64_t n_sent, sum_sent, n_received, sum_received;
};

static void send_until_closed(void *p)
{
    struct ledger *l = (struct ledger *)p;
    uint64_t rng = test_random();
    for (;;) {
        uint64_t v = test_random_r(&rng) >> 20;
        int rc = gor_send(l->c, &v);
        if (rc != 0) {
            IS(rc, -EPIPE);
            return;
        }
        atomic_fetch_add(&l->n_sent, 1);
        atomic_fetch_add(&l->sum_sent, v);
    }
}

static void recv_until_closed(void *p)
{
    struct ledger *l = (struct ledger *)p;
    uint64_t v;
    int rc;
    while ((rc = gor_recv(l->c, &v)) == 0) {
        atomic_fetch_add(&l->n_received, 1);
        atomic_fetch_add(&l->sum_received, v);
    }
    IS(rc, -EPIPE);
}

TEST(close_under_contention_loses_and_invents_nothing)
{
    for (int round = 0; round < scaled(20); round++) {
        gor_wg wg = { 0 };
        struct ledger l = { .c = gor_chan_new(sizeof(uint64_t), (size_t)round % 5) };
        for (int i = 0; i < 4; i++) {
            START(&wg, send_until_closed, &l);
            START(&wg, recv_until_closed, &l);
        }
        uint64_t enough = test_random() % 500;
        WAIT_FOR(l.n_received >= enough);
        IS(gor_chan_close(l.c), 0);
        gor_wg_wait(&wg);
        IS(l.n_sent, l.n_received);
        IS(l.sum_sent, l.sum_received);
        gor_chan_release(l.c);
    }
}

/* -- NULL, limits, references ------------------------------------------------------------------ */

TEST(a_null_channel_never_gets_ready)
{
    int v = 1;
    IS(gor_try_send((gor_chan *)NULL, &v), -EAGAIN);
    IS(gor_try_recv((gor_chan *)NULL, &v), -EAGAIN);
    IS(gor_send_until((gor_chan *)NULL, &v, 0), -ETIMEDOUT);
    IS(gor_recv_until((gor_chan *)NULL, &v, 0), -ETIMEDOUT);
    int64_t deadline = gor_now() + 300 * GOR_US;
    IS(gor_send_until((gor_chan *)NULL, &v, deadline), -ETIMEDOUT);
    OK(gor_now() >= deadline);
    deadline = gor_now() + 300 * GOR_US;
    IS(gor_recv_until((gor_chan *)NULL, &v, deadline), -ETIMEDOUT);
    OK(gor_now() >= deadline);
    IS(gor_chan_close(NULL), -EINVAL);
    IS(gor_chan_len(NULL), 0);
    IS(gor_chan_cap(NULL), 0);
    gor_chan_release(NULL);
    OK(gor_chan_retain(NULL) == NULL);
}

struct null_wait {
    gor_ctx *ctx;
    bool     sends;
    int      rc;
};

static void wait_on_null(void *p)
{
    struct null_wait *me = (struct null_wait *)p;
    int v = 0;
    gor_ctx_enter(me->ctx);
    me->rc = me->sends ? gor_send((gor_chan *)NULL, &v) : gor_recv((gor_chan *)NULL, &v);
    gor_ctx_enter(NULL);
}

TEST(a_null_channel_blocks_until_the_own_context_is_done)
{
    gor_wg wg = { 0 };
    gor_ctx *ctx = gor_ctx_with_cancel(NULL);
    struct null_wait w[2] = { { ctx, false, 1 }, { ctx, true, 1 } };
    START(&wg, wait_on_null, &w[0]);
    START(&wg, wait_on_null, &w[1]);
    wait_until_parked(2);
    gor_ctx_cancel(ctx, 0);
    gor_wg_wait(&wg);
    IS(w[0].rc, -ECANCELED);
    IS(w[1].rc, -ECANCELED);
    gor_ctx_release(ctx);
}

TEST(a_channel_too_large_for_the_address_space_is_null)
{
    OK(gor_chan_new(sizeof(int64_t), SIZE_MAX) == NULL);
    OK(gor_chan_new(SIZE_MAX, SIZE_MAX) == NULL);
    OK(gor_chan_new(SIZE_MAX / 2, 3) == NULL);
    OK(gor_chan_new(16, SIZE_MAX / 16) == NULL);
}

TEST(a_retained_channel_outlives_the_first_release)
{
    gor_chan *c = gor_chan_new(sizeof(int), 2);
    int v = 1;
    OK(gor_chan_retain(c) == c);
    gor_chan_release(c);
    IS(gor_send(c, &v), 0);
    IS(gor_chan_len(c), 1);
    gor_chan_release(c);               /* with a value inside */
}

static void use_and_release(void *p)
{
    gor_chan *c = (gor_chan *)p;
    IS(gor_try_send(c, &(int){ 1 }), 0);
    gor_chan_release(c);
}

TEST(the_last_of_many_holders_frees_the_channel)
{
    for (int round = 0; round < scaled(50); round++) {
        gor_wg wg = { 0 };
        gor_chan *c = gor_chan_new(sizeof(int), 8);
        for (int i = 0; i < 8; i++)
            START(&wg, use_and_release, gor_chan_retain(c));
        gor_chan_release(c);
        gor_wg_wait(&wg);
    }
}

TEST(a_typed_channel_has_every_operation)
{
    ints *c = ints_new(2);
    int v = 0;
    IS(ints_send(c, 1), 0);
    IS(ints_try_send(c, 2), 0);
    IS(ints_try_send(c, 3), -EAGAIN);
    IS(ints_send_until(c, 3, 0), -ETIMEDOUT);
    IS(ints_len(c), 2);
    IS(gor_chan_cap(ints_chan(c)), 2);
    IS(ints_recv(c, &v), 0);
    IS(v, 1);
    IS(ints_try_recv(c, &v), 0);
    IS(v, 2);
    IS(ints_recv_until(c, &v, 0), -ETIMEDOUT);
    OK(ints_retain(c) == c);
    ints_release(c);
    IS(ints_send(c, 4), 0);
    IS(gor_select(gor_on_recv(ints_chan(c), &v)), 0);
    IS(v, 4);
    IS(ints_close(c), 0);
    IS(ints_send(c, 5), -EPIPE);
    IS(ints_recv(c, &v), -EPIPE);
    ints_release(c);

    triples *t = triples_new(1);
    struct triple out = { 0, 0, 0 };
    IS(triples_send(t, (struct triple){ 7, 8, 9 }), 0);
    IS(triples_recv(t, &out), 0);
    IS(out.a * 100 + out.b * 10 + out.c, 789);
    triples_release(t);
}

/* -- under load -------------------------------------------------------------------------------- */

struct mill {
    gor_chan      *c;
    int            first, n;           /* a sender's values */
    unsigned char *seen;               /* a count per value; plain, so TSan checks the order */
    _Atomic int   *receiving;
};

static void mill_send(void *p)
{
    struct mill *m = (struct mill *)p;
    for (int i = 0; i < m->n; i++)
        IS(gor_send(m->c, &(int){ m->first + i }), 0);
}

static void mill_recv(void *p)
{
    struct mill *m = (struct mill *)p;
    int v;
    while (gor_recv(m->c, &v) == 0) {
        m->seen[v]++;
        OK(gor_chan_len(m->c) <= gor_chan_cap(m->c));
    }
}

TEST(every_value_of_many_senders_reaches_one_receiver)
{
    const size_t capacity[] = { 0, 1, 7, 64 };
    const int n = scaled(2000);
    for (size_t k = 0; k < 4; k++) {
        gor_wg senders = { 0 }, receivers = { 0 };
        gor_chan *c = gor_chan_new(sizeof(int), capacity[k]);
        unsigned char *seen = (unsigned char *)calloc((size_t)n, 8);
        struct mill m[8];
        for (int i = 0; i < 8; i++) {
            m[i] = (struct mill){ .c = c, .first = i * n, .n = n, .seen = seen };
            START(&senders, mill_send, &m[i]);
            START(&receivers, mill_recv, &m[i]);
        }
        gor_wg_wait(&senders);
        gor_chan_close(c);
        gor_wg_wait(&receivers);
        int n_once = 0;
        for (int i = 0; i < 8 * n; i++)
            n_once += seen[i] == 1;
        IS(n_once, 8 * n);
        free(seen);
        gor_chan_release(c);
    }
}

struct rally {
    gor_chan *ping, *pong;
    int       n;
    int       plain;                   /* unprotected: the channel orders all access to it */
};

static void rally_back(void *p)
{
    struct rally *r = (struct rally *)p;
    int v;
    while (gor_recv(r->ping, &v) == 0) {
        r->plain++;
        v++;
        IS(gor_send(r->pong, &v), 0);
    }
}

TEST(what_was_written_before_a_send_is_seen_after_the_receive)
{
    for (size_t capacity = 0; capacity < 2; capacity++) {
        gor_wg wg = { 0 };
        struct rally r = { gor_chan_new(sizeof(int), capacity), gor_chan_new(sizeof(int), capacity),
                           scaled(5000), 0 };
        int v = 0;
        START(&wg, rally_back, &r);
        for (int i = 0; i < r.n; i++) {
            r.plain++;
            IS(gor_send(r.ping, &v), 0);
            IS(gor_recv(r.pong, &v), 0);
        }
        IS(v, r.n);
        IS(r.plain, 2 * r.n);
        gor_chan_close(r.ping);
        gor_wg_wait(&wg);
        gor_chan_release(r.ping);
        gor_chan_release(r.pong);
    }
}

struct token {
    gor_chan *in, *out;
};

static void pass_on(void *p)
{
    struct token *t = (struct token *)p;
    int v;
    while (gor_recv(t->in, &v) == 0) {
        v++;
        if (gor_send(t->out, &v) != 0)
            break;
    }
    gor_chan_close(t->out);
}

TEST(a_ring_of_goroutines_passes_a_token_round)
{
    enum { N = 100 };
    gor_wg wg = { 0 };
    struct token t[N];
    gor_chan *c[N + 1];
    int v = 0;
    for (int i = 0; i <= N; i++)
        c[i] = gor_chan_new(sizeof(int), 0);
    for (int i = 0; i < N; i++) {
        t[i] = (struct token){ c[i], c[i + 1] };
        START(&wg, pass_on, &t[i]);
    }
    for (int round = 1; round <= scaled(50); round++) {
        IS(gor_send(c[0], &v), 0);
        IS(gor_recv(c[N], &v), 0);
        IS(v, round * N);
    }
    gor_chan_close(c[0]);
    gor_wg_wait(&wg);
    for (int i = 0; i <= N; i++)
        gor_chan_release(c[i]);
}

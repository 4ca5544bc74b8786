/* Programs for report.sh: some deadlock and must say so, some only look like it and must not.
 * Lines that a report has to name carry a mark "site: NAME". */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "gor.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static gor_chan *c;
static gor_mutex mutex;
static gor_wg group;

static void nap(void)
{
    struct timespec t = { 0, 300000000 };
    nanosleep(&t, NULL);
}

/* -- deadlocks --------------------------------------------------------------------------------- */

static void stuck_receiver(void *p)
{
    (void)p;
    gor_recv(c, &(int){ 0 });
}

static void stuck_sender(void *p)
{
    (void)p;
    gor_send(c, &(int){ 0 });
}

static void stuck_locker(void *p)
{
    (void)p;
    gor_mutex_lock(&mutex);
}

static void stuck_selector(void *p)
{
    int v;
    (void)p;
    gor_select(gor_on_recv(c, &v), gor_on_recv((gor_chan *)NULL, &v));
}

static int deadlock(const char *how)
{
    gor_attr a = { .name = "forgotten" };
    int v;
    if (strcmp(how, "receive") == 0)
        gor_wg_go(&group, stuck_receiver, NULL);       /* site: receive */
    else if (strcmp(how, "send") == 0)
        gor_wg_go(&group, stuck_sender, NULL);         /* site: send */
    else if (strcmp(how, "select") == 0)
        gor_wg_go(&group, stuck_selector, NULL);       /* site: select */
    else if (strcmp(how, "mutex") == 0) {
        gor_mutex_lock(&mutex);
        gor_wg_go(&group, stuck_locker, NULL);         /* site: mutex */
    } else if (strcmp(how, "named") == 0) {
        gor_go_with(&a, stuck_receiver, NULL);         /* site: named */
        gor_recv(c, &v);
    } else if (strcmp(how, "nil") == 0) {
        gor_recv((gor_chan *)NULL, &v);
    } else if (strcmp(how, "exit") == 0) {
        gor_go(stuck_receiver, NULL);                  /* site: exit */
        gor_exit();
    }
    gor_wg_wait(&group);
    return 0;
}

static void *end_without_sending(void *p)
{
    nap();
    return p;
}

static void say_deadlock(void *user)
{
    fprintf(stderr, "hook saw %s\n", (const char *)user);
}

/* -- none -------------------------------------------------------------------------------------- */

static void *send_later(void *p)
{
    nap();
    gor_send(c, &(int){ 7 });
    return p;
}

static void send_now(void *p)
{
    (void)p;
    gor_send(c, &(int){ 7 });
}

static int block_for_a_while(void *p)
{
    (void)p;
    nap();
    return 7;
}

static void block_and_send(void *p)
{
    int v = gor_block(block_for_a_while, p);
    gor_send(c, &v);
}

static void sleep_and_send(void *p)
{
    (void)p;
    gor_sleep(300 * GOR_MS);
    gor_send(c, &(int){ 7 });
}

static void compute_and_send(void *p)
{
    (void)p;
    for (int64_t t = gor_now() + 300 * GOR_MS; gor_now() < t;)
        ;
    gor_send(c, &(int){ 7 });
}

static void *lock_for_a_while(void *p)
{
    gor_mutex_lock(&mutex);
    gor_wg_done(&group);
    nap();
    gor_mutex_unlock(&mutex);
    return p;
}

/* Wait for a seven that comes later, in one of many ways. */
static int wait_for_seven(const char *how)
{
    static gor_timer timer;
    static gor_ticker ticker;
    pthread_t t;
    int v = 0;
    int64_t at;
    gor_ctx *ctx;
    if (strcmp(how, "thread") == 0) {
        pthread_create(&t, NULL, send_later, NULL);
        gor_recv(c, &v);
        pthread_join(t, NULL);
    } else if (strcmp(how, "lock") == 0) {
        gor_wg_add(&group, 1);
        pthread_create(&t, NULL, lock_for_a_while, NULL);
        gor_wg_wait(&group);
        v = gor_mutex_lock(&mutex) + 7;
        pthread_join(t, NULL);
    } else if (strcmp(how, "timer") == 0) {
        gor_timer_start(&timer, 300 * GOR_MS, send_now, NULL);
        gor_recv(c, &v);
    } else if (strcmp(how, "ticker") == 0) {
        v = gor_recv(gor_ticker_start(&ticker, 300 * GOR_MS), &at) + 7;
        gor_ticker_stop(&ticker);
    } else if (strcmp(how, "block") == 0) {
        gor_go(block_and_send, NULL);
        gor_recv(c, &v);
    } else if (strcmp(how, "sleep") == 0) {
        gor_go(sleep_and_send, NULL);
        gor_recv(c, &v);
    } else if (strcmp(how, "compute") == 0) {
        gor_go(compute_and_send, NULL);
        gor_recv(c, &v);
    } else if (strcmp(how, "deadline") == 0) {
        v = gor_recv_until(c, &v, gor_now() + 300 * GOR_MS) == -ETIMEDOUT ? 7 : 0;
    } else if (strcmp(how, "context") == 0) {
        ctx = gor_ctx_with_timeout(NULL, 300 * GOR_MS);
        gor_ctx_enter(ctx);
        v = gor_recv(c, &v) == -ETIMEDOUT ? 7 : 0;
        gor_ctx_enter(NULL);
        gor_ctx_release(ctx);
    }
    printf("got %d\n", v);
    return 0;
}

static const char *mode = "", *detail = "";

static int start(void *p)
{
    pthread_t t;
    (void)p;
    c = gor_chan_new(sizeof(int), 0);
    if (strcmp(mode, "wait") == 0)
        return wait_for_seven(detail);
    if (strcmp(mode, "gone") == 0) {   /* while the thread lives it might send; then nobody can */
        pthread_create(&t, NULL, end_without_sending, NULL);
        pthread_detach(t);
        return deadlock("receive");
    }
    return deadlock(detail);
}

int main(int argc, char **argv)
{
    gor_options o = { .procs = 2 };
    mode = argc > 1 ? argv[1] : "";
    detail = argc > 2 ? argv[2] : "";
    if (strcmp(mode, "hook") == 0) {
        static char word[] = "the deadlock";
        o.on_deadlock = say_deadlock;
        o.user = word;
    }
    return gor_run_with(&o, start, NULL);
}

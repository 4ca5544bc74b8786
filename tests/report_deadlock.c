/* Programs for report.sh: some deadlock and must say so, some only look like it and must not.
 * Lines that a report has to name carry a mark "site: NAME". */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "gor.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static gor_chan *c;
static gor_mutex mutex;
static gor_wg group;
static gor_rwmutex rwmutex;
static gor_cond cond;
static gor_sem sem = GOR_SEM_INIT(1);
static gor_once once;
static gor_barrier barrier = GOR_BARRIER_INIT(2);
static _Atomic int stage;              /* of the join */

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

/* Not static: a symbol that the dynamic linker can find. */
void deep_in_the_users_code(void *p);
__attribute__((noinline)) void deep_in_the_users_code(void *p)
{
    stuck_receiver(p);
    __asm__ volatile("");              /* no tail call: its frame stays */
}

static void stuck_deeply(void *p)
{
    deep_in_the_users_code(p);
    __asm__ volatile("");
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

/* -- every kind of wait at once, each in a goroutine of its own -------------------------------- */

static void wait_send(void *p)    { gor_send((gor_chan *)p, &(int){ 0 }); }
static void wait_receive(void *p) { gor_recv((gor_chan *)p, &(int){ 0 }); }
static void wait_mutex(void *p)   { gor_mutex_lock(&mutex); (void)p; }
static void wait_reading(void *p) { gor_rwmutex_rlock(&rwmutex); (void)p; }
static void wait_writing(void *p) { gor_rwmutex_lock(&rwmutex); (void)p; }
static void wait_sem(void *p)     { gor_sem_acquire(&sem, 2); (void)p; }
static void wait_barrier(void *p) { gor_barrier_wait(&barrier); (void)p; }
static void wait_wg(void *p)      { gor_wg_wait((gor_wg *)p); }
static void wait_nowhere(void *p) { gor_select_n(NULL, 0); (void)p; }

static void wait_cond(void *p)
{
    static gor_mutex own;
    gor_mutex_lock(&own);
    gor_cond_wait(&cond, &own);
    (void)p;
}

/* The first waits in the once's function, so the second one waits for that. */
static void hold_once(void *p)
{
    atomic_store(&stage, 2);
    wait_receive(p);
}

static void wait_inside(void *p) { gor_once_do(&once, hold_once, p); }
static void wait_once(void *p)
{
    while (atomic_load(&stage) != 2)
        gor_yield();
    gor_once_do(&once, hold_once, p);
}

static void *never_return(void *p)
{
    atomic_store(&stage, 1);
    gor_recv((gor_chan *)p, &(int){ 0 });
    return NULL;
}

/* Only a task that another processor has taken is waited for. */
static void wait_join(void *p)
{
    gor_task t;
    gor_fork(&t, never_return, p);
    while (atomic_load(&stage) == 0)
        ;
    gor_join(&t);
}

static void deadlock_of_all_kinds(void)
{
    gor_chan *nobody = gor_chan_new(sizeof(int), 0);
    gor_chan *unread = gor_chan_new(sizeof(int), 0);
    static gor_wg one;
    gor_wg_add(&one, 1);
    gor_mutex_lock(&mutex);
    gor_rwmutex_lock(&rwmutex);
    gor_go(wait_join, nobody);         /* site: all join */
    while (atomic_load(&stage) == 0)
        gor_yield();
    gor_go(wait_send, unread);         /* site: all send */
    gor_go(wait_receive, nobody);      /* site: all receive */
    gor_go(wait_receive, NULL);        /* site: all NULL */
    gor_go(stuck_selector, NULL);      /* site: all select */
    gor_go(wait_nowhere, NULL);        /* site: all nowhere */
    gor_go(wait_mutex, NULL);          /* site: all mutex */
    gor_go(wait_reading, NULL);        /* site: all reading */
    gor_go(wait_writing, NULL);        /* site: all writing */
    gor_go(wait_cond, NULL);           /* site: all cond */
    gor_go(wait_sem, NULL);            /* site: all sem */
    gor_go(wait_barrier, NULL);        /* site: all barrier */
    gor_go(wait_wg, &one);             /* site: all wg */
    gor_go(wait_inside, nobody);       /* site: all inside */
    gor_go(wait_once, nobody);         /* site: all once */
    gor_exit();
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
    } else if (strcmp(how, "deep") == 0) {
        gor_wg_go(&group, stuck_deeply, NULL);
    } else if (strcmp(how, "all") == 0) {
        deadlock_of_all_kinds();
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

/* Programs for report.sh that panic, each in its own way. Lines that a report has to name carry a
 * mark "site: NAME". */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "gor.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static gor_chan *c;
static const char *how = "";

static void bystander(void *p)
{
    (void)p;
    gor_recv(c, &(int){ 0 });
}

static void say_deferred(void *p)
{
    fprintf(stderr, "deferred %s\n", (const char *)p);
}

static void recover_it(void *p)
{
    (void)p;
    fprintf(stderr, "recovered %s\n", gor_recover());
}

static void panic_again(void *p)
{
    (void)p;
    gor_panic("second trouble");
}

static void worker(void *p)
{
    static char word[] = "ran";
    gor_mutex mutex = { 0 };
    gor_rwmutex rwmutex = { 0 };
    gor_wg wg = { 0 };
    (void)p;
    if (strcmp(how, "format") == 0)
        gor_panic("%s went wrong %d times", "it", 42); /* site: format */
    if (strcmp(how, "mutex") == 0)
        gor_mutex_unlock(&mutex);                      /* site: mutex */
    if (strcmp(how, "rwmutex") == 0)
        gor_rwmutex_unlock(&rwmutex);                  /* site: rwmutex */
    if (strcmp(how, "runlock") == 0)
        gor_rwmutex_runlock(&rwmutex);                 /* site: runlock */
    if (strcmp(how, "wg") == 0)
        gor_wg_done(&wg);                              /* site: wg */
    if (strcmp(how, "wg_add") == 0)
        gor_wg_add(&wg, -3);                           /* site: wg_add */
    if (strcmp(how, "thread_unlock") == 0)
        gor_unlock_thread();
    if (strcmp(how, "deferred") == 0) {
        gor_defer(say_deferred, word);
        gor_panic("after the deferred call");
    }
    if (strcmp(how, "recovered") == 0) {
        gor_defer(recover_it, NULL);
        gor_panic("in time");
    }
    if (strcmp(how, "anew") == 0) {
        gor_defer(panic_again, NULL);
        gor_defer(recover_it, NULL);
        gor_panic("first trouble");
    }
    if (strcmp(how, "again") == 0) {
        gor_defer(panic_again, NULL);
        gor_panic("first trouble");
    }
}

static void *no_task(void *p) { return p; }
static void no_range(size_t lo, size_t hi, void *p) { (void)lo, (void)hi, (void)p; }

/* What goroutines alone may do. */
static void call_from_thread(void)
{
    static gor_local slot;
    gor_task t;
    memset(&t, 0, sizeof t);
    if (strcmp(how, "gor_yield") == 0)
        gor_yield();
    if (strcmp(how, "gor_exit") == 0)
        gor_exit();
    if (strcmp(how, "gor_fork") == 0)
        gor_fork(&t, no_task, NULL);
    if (strcmp(how, "gor_join") == 0)
        gor_join(&t);
    if (strcmp(how, "gor_parallel_for") == 0)
        gor_parallel_for(0, 1, 1, no_range, NULL);     /* too little to fork */
    if (strcmp(how, "gor_local_get") == 0)
        gor_local_get(&slot);
    if (strcmp(how, "gor_local_set") == 0)
        gor_local_set(&slot, NULL);
    if (strcmp(how, "gor_lock_thread") == 0)
        gor_lock_thread();
    if (strcmp(how, "gor_unlock_thread") == 0)
        gor_unlock_thread();
    if (strcmp(how, "gor_ctx_enter") == 0)
        gor_ctx_enter(NULL);
}

static void *from_thread(void *p)
{
    if (strcmp(how, "thread") == 0)
        gor_panic("a thread gave up");                 /* site: thread */
    call_from_thread();
    return p;
}

static void say_panic(const char *message, void *user)
{
    fprintf(stderr, "hook %s heard: %s\n", (const char *)user, message);
}

static int run_thread(void *p)
{
    pthread_t t;
    pthread_create(&t, NULL, from_thread, p);
    pthread_join(t, NULL);
    return 0;
}

static int start(void *p)
{
    gor_attr a = { .name = "hard worker" };
    gor_wg wg = { 0 };
    (void)p;
    c = gor_chan_new(sizeof(int), 0);
    gor_go(bystander, NULL);
    gor_yield();
    if (strcmp(how, "main") == 0)
        gor_panic("the main goroutine gave up");       /* site: main */
    if (strcmp(how, "thread") == 0 || strncmp(how, "gor_", 4) == 0) {
        gor_block(run_thread, NULL);
        return 0;
    }
    if (strcmp(how, "recovered") == 0) {
        gor_wg_go(&wg, worker, NULL);
        gor_wg_wait(&wg);
        printf("went on\n");
        return 0;
    }
    gor_go_with(&a, worker, NULL);                     /* site: worker */
    gor_sleep(60 * GOR_SEC);
    return 0;
}

int main(int argc, char **argv)
{
    static char name[] = "on_panic";
    gor_options o = { .procs = 2 };
    how = argc > 1 ? argv[1] : "";
    if (argc > 2) {
        o.on_panic = say_panic;
        o.user = name;
    }
    return gor_run_with(&o, start, NULL);
}

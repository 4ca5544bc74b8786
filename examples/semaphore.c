/* semaphore: a hundred goroutines, but only three at a time in the part that costs something.
 * Build: cc -O2 examples/semaphore.c -I. -pthread */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <stdio.h>

enum { JOBS = 100, AT_ONCE = 3 };

static gor_sem slots = GOR_SEM_INIT(AT_ONCE);
static gor_mutex lock;                 /* guards the three below */
static int inside, most, finished;

static void must(int rc)
{
    if (rc != 0)
        gor_panic("semaphore: %s", gor_strerror(rc));
}

static void enter(void)
{
    must(gor_mutex_lock(&lock));
    inside++;
    if (inside > most)
        most = inside;
    gor_mutex_unlock(&lock);
}

static void leave(void)
{
    must(gor_mutex_lock(&lock));
    inside--;
    finished++;
    gor_mutex_unlock(&lock);
}

static void job(void *arg)
{
    (void)arg;
    must(gor_sem_acquire(&slots, 1));
    enter();
    gor_yield();                       /* the others get every chance to come in too */
    leave();
    must(gor_sem_release(&slots, 1));
}

GOR_MAIN
{
    gor_wg wg = {0};

    for (int i = 0; i < JOBS; i++)
        must(gor_wg_go(&wg, job, NULL));
    must(gor_wg_wait(&wg));

    printf("%d jobs finished\n", finished);
    printf("never more than %d at once: %s\n", AT_ONCE, most <= AT_ONCE ? "true" : "false");
    return 0;
}

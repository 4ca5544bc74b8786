/* group: goroutines that belong together (Go's errgroup). The first one that fails cancels the
 * others, and its error is what the wait returns.
 * Build: cc -O2 examples/group.c -I. -pthread */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <stdio.h>

enum { PARTS = 4 };

struct part {
    int number;
    int rc;                            /* what became of it */
    long sum;
};

static int add_up(void *arg)
{
    struct part *p = arg;

    for (int i = 1; i <= 1000; i++)
        p->sum += p->number * 1000 + i;
    return 0;
}

/* Part 2 finds nothing. The others take an hour, unless they are told to stop. */
static int search(void *arg)
{
    struct part *p = arg;

    p->rc = p->number == 2 ? -ENOENT : gor_sleep(3600 * GOR_SEC);
    return p->rc;
}

/* Run fn for every part, at most two at a time if limit is 2. */
static int run_all(int (*fn)(void *), struct part *part, int limit)
{
    gor_group g;

    gor_group_init(&g, NULL, limit);
    for (int i = 0; i < PARTS; i++) {
        part[i] = (struct part){ .number = i };
        if (gor_group_go(&g, fn, &part[i]) != 0)
            gor_panic("cannot start part %d", i);
    }
    return gor_group_wait(&g);
}

GOR_MAIN
{
    struct part part[PARTS];
    long sum = 0;
    int rc = run_all(add_up, part, 2);

    for (int i = 0; i < PARTS; i++)
        sum += part[i].sum;
    printf("all went well: %s, sum %ld\n", rc == 0 ? "yes" : "no", sum);

    rc = run_all(search, part, 0);
    printf("the group failed with -ENOENT: %s\n", rc == -ENOENT ? "yes" : "no");
    for (int i = 0; i < PARTS; i++)
        printf("part %d: %s\n", i, part[i].rc == -ECANCELED ? "cancelled" : "failed");
    return 0;
}

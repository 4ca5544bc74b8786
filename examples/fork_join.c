/* fork_join: divide and conquer. Half of the work is forked, the other half done here, then both
 * are joined. A fork costs next to nothing: no allocation, and no switch unless someone is idle.
 * Build: cc -O2 examples/fork_join.c -I. -pthread */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBERS = 1000000, SMALL = 2000 };

struct range {
    unsigned *v;                       /* the n numbers to sort */
    unsigned *spare;                   /* room for n more       */
    size_t n;
};

static int compare(const void *a, const void *b)
{
    unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;

    return (x > y) - (x < y);
}

/* Merge two sorted neighbours, v[0..half) and v[half..n). */
static void merge(struct range *r, size_t half)
{
    size_t i = 0, j = half;

    for (size_t k = 0; k < r->n; k++)
        r->spare[k] = j == r->n || (i < half && r->v[i] <= r->v[j]) ? r->v[i++] : r->v[j++];
    memcpy(r->v, r->spare, r->n * sizeof *r->v);
}

static void *sort(void *arg)
{
    struct range *r = arg;
    size_t half = r->n / 2;
    struct range left = { r->v, r->spare, half };
    struct range right = { r->v + half, r->spare + half, r->n - half };
    gor_task task;

    if (r->n <= SMALL) {
        qsort(r->v, r->n, sizeof *r->v, compare);
        return NULL;
    }
    gor_fork(&task, sort, &left);
    sort(&right);
    gor_join(&task);
    merge(r, half);
    return NULL;
}

/* Numbers in no order, the same ones in every run. */
static void fill(size_t lo, size_t hi, void *arg)
{
    unsigned *v = arg;

    for (size_t i = lo; i < hi; i++)
        v[i] = (unsigned)i * 2654435761u;
}

GOR_MAIN
{
    unsigned *v = malloc(2 * NUMBERS * sizeof *v);
    size_t wrong = 0;

    if (v == NULL || gor_parallel_for(0, NUMBERS, 0, fill, v) != 0)
        return 1;
    sort(&(struct range){ v, v + NUMBERS, NUMBERS });

    for (size_t i = 1; i < NUMBERS; i++)
        if (v[i - 1] > v[i])
            wrong++;
    printf("%d numbers sorted, out of order: %zu\n", NUMBERS, wrong);
    printf("smallest %u, largest %u\n", v[0], v[NUMBERS - 1]);
    free(v);
    return 0;
}

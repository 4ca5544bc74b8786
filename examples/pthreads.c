/* pthreads: threads that the runtime does not own take part. They send to goroutines, receive from
 * them and wait for them; such a call blocks the thread, never a processor.
 * Build: cc -O2 examples/pthreads.c -I. -pthread */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { PRODUCERS = 3, SQUARERS = 4, NUMBERS = 1000 };

static gor_chan *numbers, *squares;    /* long */

static void must(int rc)
{
    if (rc != 0) {
        fprintf(stderr, "pthreads: %s\n", gor_strerror(rc));
        exit(1);
    }
}

static void *producer(void *arg)       /* a thread */
{
    for (long n = 1; n <= NUMBERS; n++)
        must(gor_send(numbers, &n));
    return arg;
}

static void square(void *arg)          /* a goroutine */
{
    long n;

    (void)arg;
    while (gor_recv(numbers, &n) == 0) {
        n *= n;
        must(gor_send(squares, &n));
    }
}

static void *consumer(void *arg)       /* a thread */
{
    long *sum = arg, n;

    while (gor_recv(squares, &n) == 0)
        *sum += n;
    return NULL;
}

int main(void)
{
    pthread_t producing[PRODUCERS], consuming;
    gor_wg squarers = {0};
    long sum = 0;

    must(gor_start(NULL));             /* this thread stays a plain one */
    numbers = gor_chan_new(sizeof(long), 0);
    squares = gor_chan_new(sizeof(long), 8);
    if (numbers == NULL || squares == NULL)
        must(-ENOMEM);

    must(-pthread_create(&consuming, NULL, consumer, &sum));
    for (int i = 0; i < SQUARERS; i++)
        must(gor_wg_go(&squarers, square, NULL));
    for (int i = 0; i < PRODUCERS; i++)
        must(-pthread_create(&producing[i], NULL, producer, NULL));

    for (int i = 0; i < PRODUCERS; i++)
        must(-pthread_join(producing[i], NULL));
    must(gor_chan_close(numbers));
    must(gor_wg_wait(&squarers));
    must(gor_chan_close(squares));
    must(-pthread_join(consuming, NULL));

    printf("%d threads sent, %d goroutines squared, 1 thread added up: %ld\n",
           PRODUCERS, SQUARERS, sum);
    gor_chan_release(numbers);
    gor_chan_release(squares);
    must(gor_stop());
    return 0;
}

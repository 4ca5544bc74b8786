/* frame_graph: the job system of a game engine. Each frame is a small graph of jobs:
 *
 *     input --+--> physics (parallel) --+--> culling (parallel) --> draw
 *             +--> animation -----------+
 *
 * Input and draw are window calls, which must come from the main thread: the main goroutine is tied
 * to it.
 * Build: cc -O2 examples/frame_graph.c -I. -pthread */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <pthread.h>
#include <stdio.h>

enum { ENTITIES = 20000, FRAMES = 3, WIDTH = 1000 };

struct world {
    int push;                                    /* from input                   */
    int x[ENTITIES], speed[ENTITIES];            /* physics writes, culling reads */
    bool visible[ENTITIES];                      /* culling writes, draw reads    */
    int pose;                                    /* animation writes, draw reads  */
    pthread_t window_thread;
};

static void must_be_on_window_thread(const struct world *w)
{
    if (!pthread_equal(pthread_self(), w->window_thread))
        gor_panic("a window call on another thread");
}

static void read_input(struct world *w, int frame)
{
    must_be_on_window_thread(w);
    w->push = frame % 2 == 0 ? 3 : -1;
}

static void move(size_t lo, size_t hi, void *arg)
{
    struct world *w = arg;

    for (size_t i = lo; i < hi; i++) {
        w->speed[i] += w->push;
        w->x[i] += w->speed[i];
    }
}

static void *physics(void *arg)
{
    if (gor_parallel_for(0, ENTITIES, 1000, move, arg) != 0)
        gor_panic("physics");
    return NULL;
}

static void *animation(void *arg)
{
    struct world *w = arg;

    w->pose = (w->pose + 7) % 16;
    return NULL;
}

static void cull(size_t lo, size_t hi, void *arg)
{
    struct world *w = arg;

    for (size_t i = lo; i < hi; i++)
        w->visible[i] = w->x[i] >= 0 && w->x[i] < WIDTH;
}

static void draw(const struct world *w, int frame)
{
    long drawn = 0, sum = 0;

    must_be_on_window_thread(w);
    for (int i = 0; i < ENTITIES; i++)
        if (w->visible[i]) {
            drawn++;
            sum += w->x[i];
        }
    printf("frame %d: pose %d, %ld entities drawn, sum of x %ld\n", frame, w->pose, drawn, sum);
}

static void run_frame(struct world *w, int frame)
{
    gor_task physics_job, animation_job;

    read_input(w, frame);
    gor_fork(&physics_job, physics, w);
    gor_fork(&animation_job, animation, w);
    gor_join(&animation_job);
    gor_join(&physics_job);
    if (gor_parallel_for(0, ENTITIES, 1000, cull, w) != 0)
        gor_panic("culling");
    draw(w, frame);
}

GOR_MAIN
{
    static struct world w;

    if (gor_lock_thread() != 0)
        return 1;
    w.window_thread = pthread_self();
    for (int i = 0; i < ENTITIES; i++) {
        w.x[i] = i % 1500 - 250;
        w.speed[i] = i % 41 - 20;
    }
    for (int frame = 1; frame <= FRAMES; frame++)
        run_frame(&w, frame);
    gor_unlock_thread();
    return 0;
}

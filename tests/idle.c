/* While nothing can run, nothing runs: a program that waits takes no CPU, whatever it waits for.
 * Seconds at a time, so that what is done now and then counts; less where loops are scaled down. */
#include "test.h"

#include <sys/resource.h>
#include <time.h>

enum { PARKED = 100, SLICES = 5 };
enum further { NOTHING, A_FAR_TIMER, A_DESCRIPTOR };

struct rest {
    enum further further;              /* what is waited for beside a channel */
    int64_t      lasts, took;          /* ns of the clock; of the CPU, by its least rate  */
    int64_t      noise;                /* the same, of a thread that wakes once in a slice */
    long         waits;                /* how often any thread began to, over all slices */
    gor_chan    *gate;
    int          fd[2];
};

static void pass_gate(void *p)
{
    IS(gor_chan_recv(((struct rest *)p)->gate, NULL, 0), -EPIPE);
}

static void read_a_byte(void *p)
{
    char c;
    IS(gor_read(((struct rest *)p)->fd[0], &c, 1), 1);
}

static void never(void *p)
{
    (void)p;
    OK(false);
}

static void nap(int64_t ns)
{
    struct timespec t = { (time_t)(ns / GOR_SEC), (long)(ns % GOR_SEC) };
    nanosleep(&t, NULL);
}

static int64_t own_cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * GOR_SEC + t.tv_nsec;
}

static long n_waits(void)
{
    struct rusage u;
    IS(getrusage(RUSAGE_SELF, &u), 0);
    return u.ru_nvcsw;
}

/* On a thread, for all goroutines sleep. The least of the slices: what sysmon does ever more seldom
 * is not in each, and a virtual machine's processor may be given to others for milliseconds, which
 * count as if who had it had used them. Where that is so all the time, this thread, which wakes in
 * each, has its share of it. */
static void *watch(void *p)
{
    int64_t slice[SLICES], own[SLICES];
    struct rest *r = (struct rest *)p;
    while (test_n_parked() < PARKED + (r->further == A_DESCRIPTOR) + 1)
        nap(GOR_MS);
    nap(50 * GOR_MS);                  /* threads have looked for work a last time */
    r->waits = n_waits();
    for (int i = 0; i < SLICES; i++) {
        int64_t before = test_cpu_ns(), own_before = own_cpu_ns();
        nap(r->lasts / SLICES);
        own[i] = own_cpu_ns() - own_before;
        slice[i] = test_cpu_ns() - before - own[i];
    }
    r->waits = n_waits() - r->waits;
    qsort(slice, SLICES, sizeof *slice, test_by_size);
    qsort(own, SLICES, sizeof *own, test_by_size);
    r->took = SLICES * slice[0];
    r->noise = SLICES * own[SLICES / 2];
    IS(write(r->fd[1], "x", 1), 1);
    gor_chan_close(r->gate);
    return NULL;
}

static int wait_for_the_watch(void *p)
{
    struct rest *r = (struct rest *)p;
    gor_wg wg = { 0 };
    gor_timer far = { 0 };
    pthread_t thread;
    r->gate = gor_chan_new(0, 0);
    IS(pipe(r->fd), 0);
    for (int i = 0; i < PARKED; i++)
        START(&wg, pass_gate, r);
    if (r->further == A_FAR_TIMER)
        IS(gor_timer_start(&far, 3600 * GOR_SEC, never, NULL), 0);
    if (r->further == A_DESCRIPTOR)
        START(&wg, read_a_byte, r);
    IS(pthread_create(&thread, NULL, watch, r), 0);
    gor_wg_wait(&wg);
    IS(pthread_join(thread, NULL), 0);
    IS(gor_timer_stop(&far), r->further == A_FAR_TIMER);
    IS(gor_fd_close(r->fd[0]), 0);
    IS(gor_fd_close(r->fd[1]), 0);
    gor_chan_release(r->gate);
    return 0;
}

/* A thousandth of five seconds, for all the runtime's threads together: sysmon too. */
static void rest(enum further further, int64_t lasts)
{
    struct rest r = { .further = further, .lasts = lasts / (TEST_ASAN ? 5 : test_scale) };
    gor_options o = { .procs = 2 };
    if (TEST_TSAN)
        SKIP("sanitizer: a sleep is cut short, as it keeps signals back meanwhile");
    IS(gor_run_with(&o, wait_for_the_watch, &r), 0);
    test_say("# %lld us of CPU in %lld ms, %ld waits; who wakes %d times: %lld\n",
             (long long)(r.took / GOR_US), (long long)(r.lasts / GOR_MS), r.waits, SLICES,
             (long long)(r.noise / GOR_US));
    OK(r.took <= 5 * GOR_MS + 4 * r.noise);
    OK(r.waits <= 3 * SLICES);         /* one each is the watch's */
}

TESTF(goroutines_that_are_parked_cost_no_cpu) { rest(NOTHING, 5 * GOR_SEC); }
TESTF(a_far_timer_costs_no_cpu) { rest(A_FAR_TIMER, 2 * GOR_SEC); }
TESTF(a_descriptor_that_is_waited_for_costs_no_cpu) { rest(A_DESCRIPTOR, 2 * GOR_SEC); }

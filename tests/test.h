/* The harness: TAP for prove; every test repeated at several numbers of processors.
 *
 *     TEST(a_behaviour) { IS(1 + 1, 2); }     as the main goroutine, at procs 1, 2, 8 and 64
 *     TEST1(a_behaviour) { ... }              as the main goroutine, on one processor only
 *     TESTF(a_behaviour) { ... }              as a plain function, once, outside of any runtime
 *
 * A test proves one sentence, its name, and waits for states (WAIT_FOR, wait_until_parked), never
 * for times. It leaves no goroutine behind; the harness checks that, and the runtime's invariants.
 * Where it cannot prove its sentence it says so: SKIP("kind: why"). With CI=true matrix.sh accepts
 * only the kinds that it lists for the variant. A program that names what is the runtime's own
 * defines TEST_INSIDE, and the runtime is compiled into it; the others use it from another file.
 *
 * Environment   GORTEST_PROCS=1,2   instead of 1,2,8,64
 *               GORTEST_ONLY=text   only the tests with this in their name
 *               GORTEST_LIMIT=120   seconds for the whole program, then every goroutine is dumped
 *               GORTEST_SEED=n      replays; a run prints its seed
 *               GORTEST_SCALE=n     divides iteration counts; default TEST_SCALE
 */
#ifndef GORTEST_H
#define GORTEST_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#ifdef TEST_INSIDE
#include "runtime.c"
#else
#include "gor.h"
#include "runtime.h"
#endif

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define TEST_TSAN 0
#define TEST_ASAN 0
#if defined(__SANITIZE_THREAD__)
#undef TEST_TSAN
#define TEST_TSAN 1
#endif
#if defined(__SANITIZE_ADDRESS__)
#undef TEST_ASAN
#define TEST_ASAN 1
#endif
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#undef TEST_TSAN
#define TEST_TSAN 1
#endif
#if __has_feature(address_sanitizer)
#undef TEST_ASAN
#define TEST_ASAN 1
#endif
#endif
#ifndef TEST_SCALE
#define TEST_SCALE (TEST_TSAN ? 10 : 1)
#endif

enum { TEST_ALL_PROCS = 0, TEST_OUTSIDE = -1 };

struct test {
    const char  *name;                 /* the C identifier */
    void       (*fn)(void);
    int          procs;                /* one number, or one of: */
    struct test *next;
};

static struct test *test_first, **test_last = &test_first;
static _Atomic int test_failures;      /* of the test that runs now */
static const char *test_running = "";   /* the name of that test */
static const char *_Atomic test_unproved;          /* why it proves nothing here, or not all */
static uint64_t test_seed;
static _Atomic uint64_t test_draws;
static int test_scale = TEST_SCALE;

#define TEST_REGISTER(name, procs)                                                                 \
    static void test_case_##name(void);                                                            \
    __attribute__((constructor)) static void test_add_##name(void)                                 \
    {                                                                                              \
        static struct test t = { #name, test_case_##name, procs, NULL };                           \
        *test_last = &t;                                                                           \
        test_last = &t.next;                                                                       \
    }                                                                                              \
    static void test_case_##name(void)
#define TEST(name)  TEST_REGISTER(name, TEST_ALL_PROCS)
#define TEST1(name) TEST_REGISTER(name, 1)
#define TESTF(name) TEST_REGISTER(name, TEST_OUTSIDE)

/* -- output and checks: callable from any goroutine and any thread ----------------------------- */

/* One write per line: stdio's buffer would be printed twice after a fork. */
__attribute__((format(printf, 1, 2))) static inline void test_say(const char *fmt, ...)
{
    char line[600];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    size_t size = n < 0 ? 0 : n < (int)sizeof line ? (size_t)n : sizeof line - 1;
    if (write(STDOUT_FILENO, line, size) < 0)
        _exit(3);
}

/* Count a failure; true while they are few enough to be worth printing. */
static inline bool test_fail(void)
{
    return atomic_fetch_add(&test_failures, 1) < 20;
}

static inline bool test_is(long long got, long long want, const char *what, const char *where)
{
    if (got == want)
        return true;
    if (test_fail())
        test_say("# %s: %s: got %lld, want %lld\n", where, what, got, want);
    return false;
}

static inline bool test_is_str(const char *got, const char *want, const char *what,
                               const char *where)
{
    if (got != NULL && strcmp(got, want) == 0)
        return true;
    if (test_fail())
        test_say("# %s: %s: got \"%s\", want \"%s\"\n", where, what, got ? got : "(null)", want);
    return false;
}

#define TEST_STR_(x) #x
#define TEST_STR(x) TEST_STR_(x)
#define TEST_WHERE __FILE__ ":" TEST_STR(__LINE__)
#define IS(got, want) test_is((long long)(got), (long long)(want), #got, TEST_WHERE)
#define IS_STR(got, want) test_is_str((got), (want), #got, TEST_WHERE)
#define OK(cond) test_is((cond) ? 1 : 0, 1, #cond, TEST_WHERE)

/* -- what cannot be proved here ---------------------------------------------------------------- */

/* The running test goes on, but does not prove all that it says. why begins with a kind. */
static inline void test_skip(const char *why)
{
    atomic_store(&test_unproved, why);
}

/* Leave the test, which cannot prove its sentence here. */
#define SKIP(why)                                                                                  \
    do {                                                                                           \
        test_skip(why);                                                                            \
        return;                                                                                    \
    } while (0)

/* Under qemu-user, whose own memory is then in our figures? It hides behind /proc/self only. */
static inline bool test_emulated(void)
{
    char path[256] = "";
    return readlink("/proc/thread-self/exe", path, sizeof path - 1) > 0 &&
           strstr(path, "qemu") != NULL;
}

/* Do guards take no page? Said without asking gor.h, which may be wrong. */
static inline bool test_light_guards(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool has = p != MAP_FAILED && madvise(p, page, 102 /* MADV_GUARD_INSTALL */) == 0;
    munmap(p, page);
    if (test_emulated())
        test_skip("emulator: knows no MADV_GUARD_INSTALL");
    else if (!has)
        test_skip("kernel: before 6.13 there is no MADV_GUARD_INSTALL");
    return has && !test_emulated();
}

/* -- waiting for states ------------------------------------------------------------------------ */

/* Wait until cond holds; the program's time limit ends a wait that is in vain. */
#define WAIT_FOR(cond)                                                                             \
    do {                                                                                           \
        while (!(cond))                                                                            \
            gor_sleep(50 * GOR_US);                                                                \
    } while (0)

/* Wait until n goroutines other than the caller are parked. */
static inline void wait_until_parked(int n)
{
    WAIT_FOR(test_n_parked() >= n);
}

/* A snapshot of the runtime; all zero without one. */
static inline gor_stats test_stats(void)
{
    gor_stats s;
    gor_stats(&s);
    return s;
}

/* CPU time of the whole process so far. */
static inline int64_t test_cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * GOR_SEC + t.tv_nsec;
}

/* For qsort of int64_t. */
static inline int test_by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Is the median of n times within most and four times the median of n that measure the noise? Sorts
 * both, and says what they are if not. */
static inline bool test_soon(int64_t *late, int64_t *noise, size_t n, int64_t most)
{
    qsort(late, n, sizeof *late, test_by_size);
    qsort(noise, n, sizeof *noise, test_by_size);
    if (late[n / 2] <= most + 4 * noise[n / 2])
        return true;
    test_say("# %lld us late; a thread: %lld\n", (long long)(late[n / 2] / GOR_US),
             (long long)(noise[n / 2] / GOR_US));
    return false;
}

/* No timer is pending. One that has just fired may still be counted for a moment. */
static inline void no_timers_left(void)
{
    for (int i = 0; i < 50000 && test_stats().timers != 0; i++)
        usleep(100);                   /* not gor_sleep: that is a timer itself */
    test_is((long long)test_stats().timers, 0, "timers left", test_running);
}

/* Start fn(arg) in a wait group, which must work. */
#define START(wg, fn, arg) IS(gor_wg_go((wg), (fn), (arg)), 0)

/* -- random numbers and sizes ------------------------------------------------------------------ */

/* One step of splitmix64: for goroutines that keep a generator of their own. */
static inline uint64_t test_random_r(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* The seed's stream; each call is atomic, so a goroutine's share depends on the schedule. */
static inline uint64_t test_random(void)
{
    uint64_t state = test_seed + atomic_fetch_add(&test_draws, 1) * 0x9E3779B97F4A7C15u;
    return test_random_r(&state);
}

/* An iteration count, divided where the run is slow (sanitizers, emulation); at least 1. */
static inline int scaled(int n)
{
    return n / test_scale > 0 ? n / test_scale : 1;
}

/* A number of goroutines alive at once: TSan has room for 8,000, ASan pays for each stack. */
static inline int scaled_goroutines(int n)
{
    int most = TEST_TSAN ? 3000 : TEST_ASAN ? 20000 : n;
    n = scaled(n);
    return n < most ? n : most;
}

/* -- running ----------------------------------------------------------------------------------- */

static inline void test_time_is_up(int sig)
{
    (void)sig;
    alarm(10);                         /* the handler is reset: a dump that hangs is killed */
    test_say("# time limit in: %s\n", test_running);
    gor_dump(2);
    test_say("Bail out! time limit\n");
    _exit(1);
}

static inline long long test_env(const char *name, long long otherwise)
{
    const char *s = getenv(name);
    return s != NULL && *s != '\0' ? strtoll(s, NULL, 0) : otherwise;
}

/* Run one test as the main goroutine. 77 tells it from the error codes of gor_run_with. */
static inline int test_as_main(void *arg)
{
    struct test *t = (struct test *)arg;
    t->fn();
    /* A goroutine may have signalled its end and still be on its last instructions. */
    for (int i = 0; i < 100000 && test_stats().goroutines != 1; i++)
        gor_sleep(100 * GOR_US);
    if (!test_is((long long)test_stats().goroutines, 1, "goroutines left", t->name))
        gor_dump(2);
    test_is(test_check_world(), 0, "gor__check_world()", t->name);
    return 77;
}

static inline bool test_selected(const char *spoken, const char *name)
{
    const char *only = getenv("GORTEST_ONLY");
    return only == NULL || strstr(spoken, only) != NULL || strstr(name, only) != NULL;
}

static inline void test_run(struct test *t, int procs, int *n, int *n_failed)
{
    char spoken[200], suffix[32] = "";
    snprintf(spoken, sizeof spoken, "%s", t->name);
    for (char *s = spoken; *s != '\0'; s++)
        *s = *s == '_' ? ' ' : *s;
    if (!test_selected(spoken, t->name))
        return;
    test_running = t->name;
    atomic_store(&test_failures, 0);
    atomic_store(&test_unproved, NULL);
    if (procs == TEST_OUTSIDE) {
        t->fn();
    } else {
        gor_options o = { .procs = procs };
        snprintf(suffix, sizeof suffix, ", procs %d", procs);
        test_is(gor_run_with(&o, test_as_main, t), 77, "gor_run_with()", t->name);
    }
    bool failed = atomic_load(&test_failures) > 0;
    *n += 1;
    *n_failed += failed;
    const char *why = failed ? NULL : atomic_load(&test_unproved);
    test_say("%sok %d - %s%s%s%s\n", failed ? "not " : "", *n, spoken, suffix,
             why ? " # SKIP " : "", why ? why : "");
}

int main(void)
{
    int n = 0, n_failed = 0;
    struct sigaction act;
    memset(&act, 0, sizeof act);
    act.sa_handler = test_time_is_up;
    act.sa_flags = (int)(SA_RESETHAND | SA_NODEFER) | SA_ONSTACK;
    sigaction(SIGALRM, &act, NULL);
    alarm((unsigned)test_env("GORTEST_LIMIT", 120));

    const char *procs = getenv("GORTEST_PROCS");
    if (procs == NULL || *procs == '\0')
        procs = "1,2,8,64";
    test_seed = (uint64_t)test_env("GORTEST_SEED", (long long)(gor_now() ^ (int64_t)getpid()));
    test_say("# seed %llu\n", (unsigned long long)test_seed);
    test_scale = (int)test_env("GORTEST_SCALE", TEST_SCALE);

    for (struct test *t = test_first; t != NULL; t = t->next) {
        if (t->procs != TEST_ALL_PROCS) {
            test_run(t, t->procs, &n, &n_failed);
            continue;
        }
        for (const char *p = procs; p != NULL; p = strchr(p, ',')) {
            p += *p == ',';
            test_run(t, (int)strtol(p, NULL, 10), &n, &n_failed);
        }
    }
    test_say("1..%d\n", n);
    return n_failed > 0;
}

#endif /* GORTEST_H */

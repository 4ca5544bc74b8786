/* Programs for report.sh: stack overflow, a wild pointer, leaks at the stop, no address space. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "gor.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static gor_chan *c;
static const char *how = "";
static volatile int never = 0;

static __attribute__((noinline)) int descend(int n)
{
    volatile char frame[256];
    frame[0] = (char)n;
    if (never)
        return 0;
    return descend(n + 1) + frame[0];
}

static void diver(void *p)
{
    (void)p;
    descend(0);
}

/* A frame of 200 KiB, written at its far end first: it steps over the guard. The place is
 * not known to the compiler, or it would keep only the bytes that are used. */
static __attribute__((noinline)) int leap(int n)
{
    volatile char frame[200 << 10];
    size_t place = (size_t)n;
    frame[place] = (char)n;
    if (never)
        return 0;
    return n > 100 ? 0 : leap(n + 1) + frame[place];
}

static void leaper(void *p)
{
    (void)p;
    leap(0);
}

/* Where the stack of the caller begins, whose frame lies in the highest page. */
static uintptr_t lowest_of(void *frame)
{
    return ((uintptr_t)frame | ((uintptr_t)sysconf(_SC_PAGESIZE) - 1)) + 1 - (256u << 10);
}

__attribute__((no_sanitize("undefined", "address"))) static void touch_below(void *p)
{
    (void)p;
    *(volatile char *)(lowest_of(__builtin_frame_address(0)) - 1) = 1;
}

/* A frame that ends there. */
__attribute__((no_sanitize("undefined", "address"))) static int step_below(void *p)
{
    char *here = (char *)__builtin_frame_address(0);
    size_t n = (uintptr_t)here - lowest_of(here) + 512;
    *(volatile char *)__builtin_alloca(n) = 1;
    return p != NULL;
}

/* Over the lowest word of the stack, where a stack without a guard has its canary; and end. */
__attribute__((no_sanitize("undefined", "address"))) static void end_below(void *p)
{
    (void)p;
    *(volatile char *)lowest_of(__builtin_frame_address(0)) = 1;
}

static void blocked_below(void *p)
{
    gor_block(step_below, p);
}

static int descend_blocked(void *p)
{
    (void)p;
    return descend(0);
}

static void blocked_diver(void *p)
{
    gor_block(descend_blocked, p);
}

static void mine(int sig)
{
    (void)sig;
    if (write(1, "my own handler\n", 15) < 0)
        _exit(4);
    _exit(3);
}

/* Not stopped by the sanitizer: what gor says is the question. */
__attribute__((no_sanitize("undefined", "address"))) static void write_to_nowhere(void *p)
{
    int *volatile nowhere = (int *)p;
    *nowhere = 1;
}

static void bystander(void *p)
{
    (void)p;
    gor_recv(c, &(int){ 0 });
}

static void wait_for_close(void *p)
{
    gor_recv(c, &(int){ 0 });
    gor_wg_done((gor_wg *)p);
}

/* Start goroutines until there is no room, then see that all of them still work. */
static int fill_address_space(void)
{
    struct rlimit limit;
    gor_wg wg = { 0 };
    long pages = 0, n = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    int rc = 0;
    if (f == NULL || fscanf(f, "%ld", &pages) != 1)
        return 1;
    fclose(f);
    limit.rlim_cur = limit.rlim_max = (rlim_t)pages * 4096 + ((rlim_t)64 << 20);
    if (setrlimit(RLIMIT_AS, &limit) != 0)
        return 1;
    while (n < 10000000 && rc == 0) {
        gor_wg_add(&wg, 1);
        rc = gor_go(wait_for_close, &wg);
        if (rc != 0)
            gor_wg_done(&wg);
        else
            n++;
    }
    printf("%s after %s\n", gor_strerror(rc), n > 0 ? "some" : "none");
    gor_chan_close(c);
    gor_wg_wait(&wg);
    gor_wg_add(&wg, 1);
    printf("then %s\n", gor_strerror(gor_go(wait_for_close, &wg)));
    gor_wg_wait(&wg);
    return 0;
}

/* As one who closes all that it does not know. */
static void close_pollers(void)
{
    for (int fd = 3; fd < 64; fd++) {
        char path[32], what[64] = "";
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (readlink(path, what, sizeof what - 1) > 0 && strstr(what, "eventpoll"))
            close(fd);
    }
}

static void read_a_byte(void)
{
    int fd[2];
    char byte = 0;
    if (pipe(fd) != 0 || write(fd[1], "x", 1) != 1 || gor_read(fd[0], &byte, 1) != 1 ||
        gor_read_until(fd[0], &byte, 1, gor_now() + GOR_MS) != -ETIMEDOUT)
        gor_panic("no pipe");
}

static int start(void *p)
{
    gor_attr a = { .name = "deep diver" };
    (void)p;
    c = gor_chan_new(sizeof(int), 0);
    if (strcmp(how, "memory") == 0)
        return fill_address_space();
    gor_go(bystander, NULL);                           /* site: bystander */
    gor_yield();
    if (strcmp(how, "leak") == 0)
        return 0;
    if (strcmp(how, "main") == 0)
        descend(0);
    if (strcmp(how, "overflow") == 0)
        gor_go_with(&a, diver, NULL);                  /* site: diver */
    if (strcmp(how, "below") == 0)
        gor_go_with(&a, touch_below, NULL);
    if (strcmp(how, "end_below") == 0) {
        gor_go(bystander, NULL);                       /* begins where the other has ended */
        gor_go(end_below, NULL);
        gor_recv(c, &(int){ 0 });
    }
    if (strcmp(how, "blocked_below") == 0)
        gor_go_with(&a, blocked_below, NULL);
    if (strcmp(how, "large") == 0) {
        a.stack_size = (size_t)8 << 20;
        gor_go_with(&a, diver, NULL);
    }
    if (strcmp(how, "leap") == 0)
        gor_go_with(&a, leaper, NULL);                 /* site: leaper */
    if (strcmp(how, "blocked") == 0)
        gor_go_with(&a, blocked_diver, NULL);
    if (strcmp(how, "segv") == 0 || strcmp(how, "owner") == 0)
        gor_go_with(&a, write_to_nowhere, NULL);       /* site: segv */
    if (strcmp(how, "closed") == 0) {
        read_a_byte();
        close_pollers();
    }
    gor_sleep(60 * GOR_SEC);
    return 0;
}

int main(int argc, char **argv)
{
    gor_options o = { .procs = 2 };
    how = argc > 1 ? argv[1] : "";
    if (strcmp(how, "closed") == 0 || strcmp(how, "end_below") == 0)
        o.procs = 1;
    if (strncmp(how, "owner", 5) == 0)
        signal(SIGSEGV, mine);
    if (strcmp(how, "owner_overflow") == 0)
        how = "overflow";
    if (strcmp(how, "leak") == 0)
        o.flags = GOR_REPORT_LEAKS;
    return gor_run_with(&o, start, NULL);
}

/* gor_trace_start, gor_trace_stop: who ran when, as a file. */
#define TEST_INSIDE
#include "test.h"

#include <fcntl.h>
#include <sys/wait.h>

static char path[64];

static const char *trace_path(void)
{
    snprintf(path, sizeof path, "/tmp/gor-trace-%d.json", (int)getpid());
    return path;
}

/* The file's text; the caller's to free. */
static char *text_of(const char *name)
{
    FILE *f = fopen(name, "r");
    size_t room = 1 << 22, n = 0;
    char *text = (char *)calloc(1, room);
    if (f != NULL) {
        n = fread(text, 1, room - 1, f);
        fclose(f);
    }
    text[n] = '\0';
    return text;
}

struct turn {
    unsigned           tid;
    double             at, took;
    unsigned long long id;
    int                processor;
    char               name[32], then[64];
};

/* The next turn in the text from *at on. False: there is no more. */
static bool next_turn(const char **at, struct turn *t)
{
    static const char form[] = "{\"ph\":\"X\",\"pid\":1,\"name\":\"%31[^\"]\",\"tid\":%u,\"ts\":%lf,"
                               "\"dur\":%lf,\"args\":{\"goroutine\":%llu,\"processor\":%d,"
                               "\"then\":\"%63[^\"]\"}},";
    const char *line = strstr(*at, "{\"ph\":\"X\"");
    if (line == NULL)
        return false;
    *at = line + 1;
    return IS(sscanf(line, form, t->name, &t->tid, &t->at, &t->took, &t->id, &t->processor,
                     t->then), 7);
}

static void play(gor_chan *in, gor_chan *out, int n)
{
    for (int i = 0; i < n; i++) {
        gor_chan_recv(in, NULL, 0);
        gor_chan_send(out, NULL, 0);
    }
}

static void ping_pong(int n)
{
    gor_chan *a = gor_chan_new(0, 0), *b = gor_chan_new(0, 0);
    IS(GOR_GO(play, a, b, n), 0);
    for (int i = 0; i < n; i++) {
        gor_chan_send(a, NULL, 0);
        gor_chan_recv(b, NULL, 0);
    }
    gor_chan_release(a);
    gor_chan_release(b);
}

TEST(a_trace_holds_each_turn_and_none_on_a_thread_overlap)
{
    double ends[64] = { 0 };
    unsigned tids[64] = { 0 };
    int n_play = 0, n_waits = 0;
    struct turn t;

    IS(gor_trace_start(trace_path()), 0);
    ping_pong(100);
    IS(gor_trace_stop(), 0);

    char *text = text_of(path);
    const char *at = text;
    while (next_turn(&at, &t)) {
        int row = 0;
        while (row < 63 && tids[row] != t.tid && tids[row] != 0)
            row++;
        tids[row] = t.tid;
        OK(t.took >= 0 && t.at >= ends[row] - 0.001);
        ends[row] = t.at + t.took;
        OK(t.processor >= 0 && t.processor < gor_procs(0));
        n_play += strcmp(t.name, "play") == 0;
        n_waits += strcmp(t.then, "receive on channel") == 0 ||
                   strcmp(t.then, "send on channel") == 0;
    }
    OK(n_play >= 50);                  /* two of its 200 waits may be one turn */
    OK(n_waits >= 50);
    OK(text[0] == '{' && text[strlen(text) - 2] == '}');
    free(text);
    unlink(path);
}

TEST(after_a_trace_switches_do_not_go_by_g0_any_more)
{
    IS(gor_trace_start(trace_path()), 0);
    gor_yield();
    IS(gor_trace_stop(), 0);
    IS(gor__au32_load_rlx(&gor__rt.tracing), 0);
    WAIT_FOR(gor__au32_load_rlx(&gor__rt.urgent) == 0);
    unlink(path);
}

TEST(one_trace_at_a_time)
{
    IS(gor_trace_stop(), -ESRCH);
    IS(gor_trace_start(NULL), -EINVAL);
    IS(gor_trace_start("/nowhere/at/all"), -ENOENT);
    IS(gor_trace_start(trace_path()), 0);
    IS(gor_trace_start(path), -EBUSY);
    IS(gor_trace_stop(), 0);
    IS(gor_trace_stop(), -ESRCH);
    unlink(path);
}

static void start_and_stop(void *p)
{
    for (int i = 0; i < 50; i++) {
        int rc = gor_trace_start((const char *)p);
        OK(rc == 0 || rc == -EBUSY);
        if (rc == 0)
            IS(gor_trace_stop(), 0);
        gor_yield();
    }
}

TEST(traces_may_be_started_and_stopped_while_others_run)
{
    gor_wg wg = { 0 };
    trace_path();
    for (int i = 0; i < 4; i++)
        START(&wg, start_and_stop, path);
    ping_pong(scaled(20000));
    gor_wg_wait(&wg);
    unlink(path);
}

static int trace_only(void *p)
{
    IS(gor_trace_start((const char *)p), 0);
    ping_pong(10);
    return 0;
}

TESTF(the_end_of_a_run_writes_the_trace)
{
    IS(gor_trace_start(trace_path()), -ESRCH);
    IS(gor_run(trace_only, path), 0);
    char *text = text_of(path);
    OK(strstr(text, "\"name\":\"play\"") != NULL);
    free(text);
    unlink(path);
}

static int yield_once(void *p)
{
    (void)p;
    gor_yield();
    return 0;
}

static size_t count_of(const char *text, const char *what)
{
    size_t n = 0;
    while ((text = strstr(text, what)) != NULL) {
        text++;
        n++;
    }
    return n;
}

static int trace_over_a_fork(void *p)
{
    int status = -1;
    IS(gor_trace_start((const char *)p), 0);
    ping_pong(10);
    pid_t child = fork();
    if (child == 0)
        _exit(gor_run(yield_once, NULL) != 0 || gor_trace_stop() != -ESRCH);
    IS(waitpid(child, &status, 0), child);
    IS(status, 0);
    IS(gor_trace_stop(), 0);
    return 0;
}

TESTF(the_child_of_a_fork_leaves_the_trace_of_its_parent_alone)
{
    if (TEST_TSAN)
        SKIP("sanitizer: no thread after a fork there");
    if (test_emulated())
        SKIP("emulator: a child's threads collide with the parent's in its tables");
    trace_path();
    IS(gor_run(trace_over_a_fork, path), 0);
    char *text = text_of(path);
    IS(count_of(text, "displayTimeUnit"), 1);
    IS(text[strlen(text) - 2], '}');
    free(text);
    unlink(path);
}

/* In many turns: the last may end after the trace. */
static void finish(void *wg)
{
    for (int i = 0; i < 10; i++)
        gor_yield();
    gor_wg_done((gor_wg *)wg);
}

TEST(names_that_are_cut_or_no_utf_8_make_json_all_the_same)
{
    static const char *const names[] = {
        "123456789012345678901 \xc3\xbc", "\xff\xc0\x80|", "\xed\xa0\x80|\xf5|\xe2\x82",
        "\"\\\n\x7f", "\xe2\x82\xac \xf0\x9f\x90\xb9"
    };
    gor_wg wg = { 0 };
    gor_attr a = { 0 };

    IS(gor_trace_start(trace_path()), 0);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        a.name = names[i];
        gor_wg_add(&wg, 1);
        IS(gor_go_with(&a, finish, &wg), 0);
    }
    gor_wg_wait(&wg);
    IS(gor_trace_stop(), 0);

    char *text = text_of(path);
    OK(strstr(text, "\"123456789012345678901 \\ufffd\"") != NULL);
    OK(strstr(text, "\"\\ufffd\\ufffd\\ufffd|\"") != NULL);
    OK(strstr(text, "\"\\ufffd\\ufffd\\ufffd|\\ufffd|\\ufffd\\ufffd\"") != NULL);
    OK(strstr(text, "\"\\u0022\\u005c\\u000a\x7f\"") != NULL);
    OK(strstr(text, "\"\xe2\x82\xac \xf0\x9f\x90\xb9\"") != NULL);
    free(text);
    unlink(path);
}

TEST(a_trace_that_cannot_be_written_says_why)
{
    for (int turns = 10; turns <= 1000; turns *= 100) {
        IS(gor_trace_start("/dev/full"), 0);
        ping_pong(turns);
        IS(gor_trace_stop(), -ENOSPC);
    }
}

static void stop_trace(void *p)
{
    atomic_store((_Atomic int *)p, 1);
    gor_trace_stop();
}

static int stop_trace_and_leave(void *p)
{
    _Atomic int begun = 0;
    (void)p;
    IS(gor_trace_start(path), 0);
    ping_pong(scaled(20000));
    IS(gor_go(stop_trace, &begun), 0);
    WAIT_FOR(atomic_load(&begun));
    return 0;
}

/* Wherever the goroutine is that stops it. */
TESTF(a_trace_that_is_stopped_as_the_run_ends_is_written)
{
    gor_options o = { .procs = 2 };
    trace_path();
    for (int i = 0; i < 10; i++) {
        IS(gor_run_with(&o, stop_trace_and_leave, NULL), 0);
        for (int k = 0; k < 5000 && gor__au32_load_acq(&gor__turns.state) != GOR__TURNS_OFF; k++)
            usleep(1000);
        IS(gor__au32_load_acq(&gor__turns.state), GOR__TURNS_OFF);
    }
    unlink(path);
}

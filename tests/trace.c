/* gor_trace_start, gor_trace_stop: who ran when, as a file. */
#include "test.h"

#include <fcntl.h>

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

/* ==== [trace] who ran when, as a file ============================================================
 * What        gor_trace_start and gor_trace_stop: what [turn] has noted, for Perfetto and
 *             chrome://tracing. A row for each thread, a box for each turn of a goroutine.
 * Source      The Trace Event Format of Chromium.
 * Tests       tests/trace.c
 */

/* Pass state on to the scheduler: while it is ON, g0 makes every choice. It is looked at anew under
 * the lock, so of two that change it the later one's word stays. In a gor call, while the runtime
 * runs. */
static void gor__trace_switch(void)
{
    gor__lock_sched();
    gor__au32_store_rlx(&gor__rt.tracing,
                        gor__au32_load_sc(&gor__turns.state) == GOR__TURNS_ON);
    gor__urgent_update_locked();
    gor__unlock_sched();
}

/* Begin a call that does not yield. A run that ends never comes back to who yields, and then the
 * state would be CHANGING for ever. So the P is not touched, which may have been taken. */
static gor__m *gor__trace_enter(void)
{
    gor__m *m;
    gor__call_begin();
    m = gor__self();
    if (!m)
        return gor__enter();
    gor__asked(m);
    return m;
}

/* In a gor call: is this a run? It does not end before the call does, or finds what that has left:
 * gor__shut_down. */
static bool gor__trace_in_run(void)
{
    return gor__au32_load_sc(&gor__rt.running) == GOR__ON;
}

/* -- the file ------------------------------------------------------------------------------ */

/* How many bytes at s are one character in UTF-8; 0: none is, as where a long name was cut. */
static int gor__trace_utf8(const char *s)
{
    const unsigned char *u = (const unsigned char *)s;
    int n = u[0] < 0x80 ? 1 : u[0] < 0xc2 ? 0 : u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 :
            u[0] < 0xf5 ? 4 : 0;
    for (int i = 1; i < n; i++)
        if (u[i] >> 6 != 2)
            return 0;
    if ((u[0] == 0xe0 && u[1] < 0xa0) || (u[0] == 0xed && u[1] > 0x9f) ||
        (u[0] == 0xf0 && u[1] < 0x90) || (u[0] == 0xf4 && u[1] > 0x8f))
        return 0;                                  /* too long a form, surrogates, too large */
    return n;
}

static void gor__trace_string(FILE *f, const char *s)
{
    putc('"', f);
    while (*s) {
        int n = gor__trace_utf8(s);
        if (n == 0)
            fputs("\\ufffd", f);
        else if (*s == '"' || *s == '\\' || (unsigned char)*s < ' ')
            fprintf(f, "\\u%04x", (unsigned char)*s);
        else
            fwrite(s, 1, (size_t)n, f);
        s += n ? n : 1;
    }
    putc('"', f);
}

/* In us. By whole numbers, for the user's locale may write a comma for the point. */
static void gor__trace_time(FILE *f, const char *key, int64_t ns)
{
    uint64_t t = ns > 0 ? (uint64_t)ns : 0;        /* a turn may have begun before the trace */
    fprintf(f, ",\"%s\":%llu.%03u", key, (unsigned long long)(t / 1000), (unsigned)(t % 1000));
}

static void gor__trace_event(FILE *f, const gor__turn *e)
{
    const char *then = gor__state_text[e->state <= GOR__DEAD ? e->state : (uint32_t)GOR__DEAD];
    if (e->state == GOR__WAITING && e->why != GOR__WHY_NONE && e->why < GOR__N_WHYS)
        then = gor__why_text[e->why];
    fputs("{\"ph\":\"X\",\"pid\":1,\"name\":", f);
    gor__trace_string(f, e->name);
    fprintf(f, ",\"tid\":%u", e->tid);
    gor__trace_time(f, "ts", e->from - gor__turns.began);
    gor__trace_time(f, "dur", e->to - e->from);
    fprintf(f, ",\"args\":{\"goroutine\":%llu,\"processor\":%d,\"then\":\"%s\"}},\n",
            (unsigned long long)e->id, e->p, then);
}

/* 0 or -errno. The last object has no comma. */
static int gor__trace_write(FILE *f, uint64_t n)
{
    uint64_t kept = n < GOR__TURN_CAP ? n : GOR__TURN_CAP;
    int rc = 0;
    fputs("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n", f);
    for (uint64_t i = 0; i < kept && !ferror(f); i++)
        gor__trace_event(f, &gor__turns.turn[i]);
    fprintf(f, "{\"ph\":\"M\",\"pid\":1,\"name\":\"process_name\",\"args\":{\"name\":\"gor\"}}\n"
               "],\"otherData\":{\"turns\":\"%llu\",\"not kept\":\"%llu\"}}\n",
            (unsigned long long)n, (unsigned long long)(n - kept));
    if (ferror(f))
        rc = -gor__os_errno();
    if (fclose(f) != 0 && rc == 0)
        rc = -gor__os_errno();
    return rc;
}

static void gor__trace_drop(void)
{
    gor__os_release(gor__turns.turn, GOR__TURN_CAP * sizeof *gor__turns.turn);
}

/* Stop, if a trace is on. */
static bool gor__trace_close(void)
{
    return gor__au32_cas(&gor__turns.state, GOR__TURNS_ON, GOR__TURNS_CHANGING);
}

/* Write what there is, after gor__trace_close. 0 or -errno. Not in a gor call: a file may be
 * slow. */
static int gor__trace_finish(void)
{
    int rc;
    while (gor__au32_load_sc(&gor__turns.busy) != 0)   /* sc: after state was changed; I1 */
        gor__os_yield();
    rc = gor__trace_write(gor__turns.file, gor__au64_load_rlx(&gor__turns.n));
    gor__trace_drop();
    gor__au32_store_rel(&gor__turns.state, GOR__TURNS_OFF);
    return rc;
}

/* Room for the events, and the file. 0 or -errno. */
static int gor__trace_open(const char *path)
{
    int rc;
    gor__turns.turn = (gor__turn *)gor__os_reserve(GOR__TURN_CAP * sizeof(gor__turn));
    if (!gor__turns.turn)
        return -ENOMEM;
    gor__turns.file = fopen(path, "we");
    if (gor__turns.file) {
        gor__au64_store_rlx(&gor__turns.n, 0);
        gor__turns.began = gor__os_now();
        return 0;
    }
    rc = -gor__os_errno();
    gor__trace_drop();
    return rc;
}

/* All is there: begin. The run may have ended meanwhile: -ESRCH. */
static int gor__trace_turn_on(void)
{
    gor__m *m = gor__trace_enter();
    bool in_run = gor__trace_in_run();
    if (in_run) {
        gor__au32_store_sc(&gor__turns.state, GOR__TURNS_ON);
        gor__trace_switch();
    }
    gor__leave(m);
    return in_run ? 0 : -ESRCH;
}

static int gor__trace_try_start(const char *path)
{
    int rc;
    if (!gor__au32_cas(&gor__turns.state, GOR__TURNS_OFF, GOR__TURNS_CHANGING))
        return -EBUSY;
    rc = gor__trace_open(path);
    if (rc == 0 && (rc = gor__trace_turn_on()) != 0) {
        fclose(gor__turns.file);
        gor__trace_drop();
    }
    if (rc != 0)
        gor__au32_store_sc(&gor__turns.state, GOR__TURNS_OFF);
    return rc;
}

static int gor__trace_try_stop(void)
{
    gor__m *m;
    if (!gor__trace_close())
        return -ESRCH;
    m = gor__trace_enter();
    if (gor__trace_in_run())
        gor__trace_switch();
    gor__leave(m);
    return gor__trace_finish();
}

/* Not switched off in place meanwhile, which the end of a run does too: as above. */
int gor_trace_start(const char *path)
{
    int rc, err = gor__os_errno();
    if (!path)
        return -EINVAL;
    if (!gor__is_on())
        return -ESRCH;
    gor_preempt_off();
    rc = gor__trace_try_start(path);
    gor__os_set_errno(err);
    gor_preempt_on();
    return rc;
}

int gor_trace_stop(void)
{
    int rc, err = gor__os_errno();
    gor_preempt_off();
    rc = gor__trace_try_stop();
    gor__os_set_errno(err);
    gor_preempt_on();
    return rc;
}

/* In the child of a fork, which has its parent's trace on: the file is the parent's, nothing has
 * been written to it, and it stays as it is. */
static void gor__trace_forget(void)
{
    if (gor__au32_load_rlx(&gor__turns.state) == GOR__TURNS_ON)
        gor__trace_drop();
    memset(&gor__turns, 0, sizeof gor__turns);
}

/* ==== [trace] who ran when, as a file ============================================================
 * What        gor_trace_start and gor_trace_stop: what [turn] has noted, for Perfetto and
 *             chrome://tracing. A row for each thread, a box for each turn of a goroutine.
 * Source      The Trace Event Format of Chromium.
 * Tests       tests/trace.c
 */

/* Pass state on to the scheduler: while it is ON, g0 makes every choice. It is looked at anew under
 * the lock, so of two that change it the later one's word stays. */
static void gor__trace_switch(void)
{
    gor__m *m = gor__enter();
    gor__lock_sched();
    gor__au32_store_rlx(&gor__rt.tracing,
                        gor__au32_load_sc(&gor__turns.state) == GOR__TURNS_ON);
    gor__urgent_update_locked();
    gor__unlock_sched();
    gor__leave(m);
}

/* -- the file ------------------------------------------------------------------------------ */

static void gor__trace_string(FILE *f, const char *s)
{
    putc('"', f);
    for (; *s; s++)
        if (*s == '"' || *s == '\\' || (unsigned char)*s < ' ')
            fprintf(f, "\\u%04x", (unsigned char)*s);
        else
            putc(*s, f);
    putc('"', f);
}

static void gor__trace_event(FILE *f, const gor__turn *e)
{
    const char *then = gor__state_text[e->state <= GOR__DEAD ? e->state : (uint32_t)GOR__DEAD];
    if (e->state == GOR__WAITING && e->why != GOR__WHY_NONE && e->why < GOR__N_WHYS)
        then = gor__why_text[e->why];
    fputs("{\"ph\":\"X\",\"pid\":1,\"name\":", f);
    gor__trace_string(f, e->name);
    fprintf(f, ",\"tid\":%u,\"ts\":%.3f,\"dur\":%.3f,\"args\":{\"goroutine\":%llu,"
               "\"processor\":%d,\"then\":\"%s\"}},\n",
            e->tid, (double)(e->from - gor__turns.began) / 1e3, (double)(e->to - e->from) / 1e3,
            (unsigned long long)e->id, e->p, then);
}

/* 0 or -errno. The last object has no comma. */
static int gor__trace_write(FILE *f, uint64_t n)
{
    uint64_t kept = n < GOR__TURN_CAP ? n : GOR__TURN_CAP;
    int rc = 0;
    fputs("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n", f);
    for (uint64_t i = 0; i < kept; i++)
        gor__trace_event(f, &gor__turns.turn[i]);
    fprintf(f, "{\"ph\":\"M\",\"pid\":1,\"name\":\"process_name\",\"args\":{\"name\":\"gor\"}}\n"
               "],\"otherData\":{\"turns\":\"%llu\",\"not kept\":\"%llu\"}}\n",
            (unsigned long long)n, (unsigned long long)(n - kept));
    if (ferror(f))
        rc = -EIO;
    if (fclose(f) != 0 && rc == 0)
        rc = -gor__os_errno();
    return rc;
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
    while (gor__au32_load_acq(&gor__turns.busy) != 0)              /* acq turns.busy; I1 */
        gor__os_yield();
    rc = gor__trace_write(gor__turns.file, gor__au64_load_rlx(&gor__turns.n));
    gor__os_release(gor__turns.turn, GOR__TURN_CAP * sizeof *gor__turns.turn);
    gor__au32_store_rel(&gor__turns.state, GOR__TURNS_OFF);
    return rc;
}

/* Room for the events, and the file. 0 or -errno. */
static int gor__trace_open(const char *path)
{
    int rc;
    gor__turns.turn = (gor__turn *)gor__os_reserve(GOR__TURN_CAP * sizeof(gor__turn));
    gor__turns.file = gor__turns.turn ? fopen(path, "we") : NULL;
    if (gor__turns.file) {
        gor__au64_store_rlx(&gor__turns.n, 0);
        gor__turns.began = gor__os_now();
        return 0;
    }
    rc = gor__turns.turn ? -gor__os_errno() : -ENOMEM;
    if (gor__turns.turn)
        gor__os_release(gor__turns.turn, GOR__TURN_CAP * sizeof *gor__turns.turn);
    return rc;
}

int gor_trace_start(const char *path)
{
    int rc, err = gor__os_errno();
    if (!path)
        return -EINVAL;
    if (gor__au32_load_rlx(&gor__rt.running) != GOR__ON)
        return -ESRCH;
    if (!gor__au32_cas(&gor__turns.state, GOR__TURNS_OFF, GOR__TURNS_CHANGING))
        return -EBUSY;
    rc = gor__trace_open(path);
    gor__os_set_errno(err);
    gor__au32_store_sc(&gor__turns.state, rc == 0 ? GOR__TURNS_ON : GOR__TURNS_OFF);
    if (rc == 0)
        gor__trace_switch();
    return rc;
}

int gor_trace_stop(void)
{
    int rc, err = gor__os_errno();
    if (!gor__trace_close())
        return -ESRCH;
    gor__trace_switch();
    rc = gor__trace_finish();
    gor__os_set_errno(err);
    return rc;
}

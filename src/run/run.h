/* ==== [run] starting and stopping the runtime ================================================
 * What        gor_run makes the calling thread the first M; gor_start only starts others.
 * Stopping    stopping is set; every M leaves at its next look at the queues; who computes is
 *             asked, and after a second is left alone with its memory ([machine] I2). Then all is
 *             freed.
 */
static int gor__env_int(const char *name)
{
    const char *s = getenv(name);
    long n = s ? strtol(s, NULL, 10) : 0;
    return n > 0 && n <= INT_MAX ? (int)n : 0;
}

/* GORDEBUG=key=value,...: the number of a key, or 0. */
static int64_t gor__debug_value(const char *key)
{
    const char *s = getenv("GORDEBUG");
    size_t n = strlen(key);
    for (; s && *s; s = strchr(s, ',') ? strchr(s, ',') + 1 : NULL)
        if (strncmp(s, key, n) == 0 && s[n] == '=')
            return strtoll(s + n + 1, NULL, 10);
    return 0;
}

static int gor__options_set(const gor_options *o)
{
    gor_options *opt = &gor__rt.opt;
    int hooks;
    memset(opt, 0, sizeof *opt);
    if (o)
        *opt = *o;
    hooks = (opt->malloc != NULL) + (opt->realloc != NULL) + (opt->free != NULL);
    if (opt->procs < 0 || opt->procs > GOR__MAX_PROCS || opt->max_threads < 0 || opt->quantum < 0 ||
        opt->compact_idle < 0 ||
        (hooks != 0 && hooks != 3) || opt->preempt < 0 || opt->preempt > GOR_PREEMPT_SWITCH ||
        opt->preempt_signal < 0 || opt->preempt_signal >= NSIG ||
        (opt->stack_size && (opt->stack_size < GOR__MIN_STACK_SIZE ||
                             opt->stack_size > GOR__MAX_STACK_SIZE)))
        return -EINVAL;
    if (!opt->procs)
        opt->procs = gor__env_int("GORMAXPROCS");
    if (!opt->procs)
        opt->procs = gor__os_cpus();
    if (opt->procs > GOR__MAX_PROCS)
        opt->procs = GOR__MAX_PROCS;
    if (!opt->stack_size)
        opt->stack_size = GOR__STACK_SIZE;
    if (!opt->max_threads)
        opt->max_threads = GOR__MAX_THREADS;
    if (!opt->quantum)
        opt->quantum = GOR__QUANTUM_NS;
    if (!opt->compact_idle)
        opt->compact_idle = GOR__COMPACT_NS;
    if (opt->compact_idle > GOR_FOREVER / 4)       /* never: and may be added to times */
        opt->compact_idle = GOR_FOREVER / 4;
    gor__hooks.malloc = opt->malloc;
    gor__hooks.free = opt->free;
    gor__hooks.user = opt->user;
    return 0;
}

/* The child of a fork has one thread, which is in no runtime: it may use what needs none. */
static void gor__forked(void)
{
    gor__arch_set_self(NULL);
    gor__poll_close();                             /* the child's copies; the parent has its own */
    gor__packs_close();
    gor__trace_forget();
    memset(&gor__rt, 0, sizeof gor__rt);
    memset(&gor__polls, 0, sizeof gor__polls);
    gor__stacks_forget();
    gor__share();
    gor__au64_store_rlx(&gor__foreign, 0);
    gor__au32_store_rlx(&gor__n_foreign, 0);
}

/* -- starting ------------------------------------------------------------------------------ */

static bool gor__no_thread_known(int tid, void *arg)
{
    (void)arg;
    for (int i = 0; i < gor__n_tools; i++)
        if (gor__tool_tids[i] == tid)
            return true;
    return tid == gor__os_tid();
}

/* May locks be elided? One processor, a way to end it, and nobody else in the process. */
static bool gor__may_elide(bool with_main)
{
    return with_main && gor__rt.opt.procs == 1 && gor__rt.membarrier &&
           gor__os_unknown_threads(gor__no_thread_known, NULL) == 0;
}

#if GOR_CHECK
static void gor__stress_init(void)
{
    gor__stress = (uint64_t)gor__debug_value("stress");
    gor__runq_cap = gor__stress ? 4 : GOR__RUNQ_CAP;
    gor__au64_store_rlx(&gor__stress_rng, gor__stress * 2654435761u | 1);
}
#else
static void gor__stress_init(void) {}
#endif

static void gor__free_all(void);

/* All is as before any run, `running` last: from then on another thread may start one. */
static void gor__reset(void)
{
    size_t running = sizeof gor__rt.running;       /* the first word */
    memset(&gor__hooks, 0, sizeof gor__hooks);
    memset((char *)&gor__rt + running, 0, sizeof gor__rt - running);
    gor__au32_store_rel(&gor__rt.running, GOR__OFF);           /* rel rt.running */
}

static int gor__boot(const gor_options *o, bool with_main)
{
    static bool fork_handled;
    static uint64_t epoch;
    bool elide;
    int rc;
    if (!fork_handled)
        fork_handled = pthread_atfork(NULL, NULL, gor__forked) == 0;
    gor__up.m_start = gor__m_start;
    gor__up.g_main = gor__g_main;
    gor__up.overflowed = gor__say_overflow;
    gor__up.poll = gor__poll;
    gor__up.signalled = gor__signalled;
    gor__up.cancel_time = gor__ctx_time;
    if (gor__arch_shadow_stack()) {
        static const char text[] = "gor: a hardware shadow stack is in force; "
                                   "goroutine switches need it off\n";
        return write(2, text, sizeof text - 1) < 0 ? -EINVAL : -ENOSYS;
    }
    rc = gor__options_set(o);
    if (rc != 0)
        return rc;
    gor__rt.epoch = ++epoch;
    gor__traceback_init();
    gor__stress_init();
    gor__stacks_init(!gor__debug_value("noguardinstall"), !gor__debug_value("noguard"),
                     !(gor__rt.opt.flags & GOR_NO_SIGNALS) &&
                     (gor__debug_value("strict") || gor__os_strict()));
    gor__rt.stack_class = gor__stack_class_of(gor__rt.opt.stack_size);
    gor__tidy_init(gor__debug_value(gor__debug_value("stress") ? "stress" : "tidy"));
    gor__packs_init(gor__rt.opt.compact_idle);
    gor__rt.membarrier = gor__os_membarrier_register() && !gor__debug_value("nomembarrier");
    gor__rt.keep_thread_ns = gor__debug_value("keepthread") * GOR_MS;
    if (!gor__rt.keep_thread_ns)
        gor__rt.keep_thread_ns = GOR__KEEP_THREAD_NS;
    gor__au64_store_rlx(&gor__rt.next_id, 1);
    gor__clock_begin();
    gor__ai64_store_rlx(&gor__rt.coarse_ns, gor__os_now());
    elide = gor__may_elide(with_main);             /* before we have a second thread ourselves */
    gor__lock_sched();
    rc = gor__procs_ask(gor__rt.opt.procs);
    if (rc == 0 && with_main)                      /* that one is main's, before anybody comes */
        gor__p_idle_pop_locked(gor__p_at(0));
    gor__unlock_sched();
    if (rc == 0)
        rc = gor__os_thread(gor__sysmon_thread, NULL);
    if (rc != 0) {
        gor__free_all();
        return rc;
    }
    gor__rt.with_main = with_main;
    if (elide)
        gor__elide();
    if (gor__foreign_inside())                     /* one of the few that gor__may_elide knows */
        gor__share();
    gor__faults_install();
    gor__preempt_start();
    gor__au32_store_rel(&gor__rt.running, GOR__ON);      /* rel rt.running */
    return 0;
}

static int gor__boot_quietly(const gor_options *o, bool with_main)
{
    int rc;
    gor__san_quiet_begin();
    rc = gor__boot(o, with_main);
    if (rc != 0)
        gor__reset();
    gor__san_quiet_end();
    return rc;
}

/* -- stopping ------------------------------------------------------------------------------ */

static int gor__threads_left(void)
{
    int n;
    gor__lock_sched();
    n = gor__rt.n_m;
    gor__unlock_sched();
    return n;
}

/* A timer that outlives its P is nowhere any more; that of a gor_after is ours. One on a packed
 * stack goes with it. */
static void gor__timer_abandon(gor_timer *t)
{
    if (gor__au64_load_rlx(&gor__packs.n) != 0 && gor__pack_slot_at((uintptr_t)t))
        return;
    gor__aptr_store_rlx(&t->owner, NULL);
    if (t->fire == gor__after_fire) {
        gor__chan_release((gor_chan *)t->arg);
        gor__free(t, sizeof *t);
    }
}

static void gor__timers_abandon(gor__timers *h)
{
    for (uint32_t i = 0; i < h->n; i++)
        gor__timer_abandon(h->heap[i].timer);
    for (uint32_t at = h->head; at != h->tail; at++)
        if (gor__line_at(h, at)->timer)
            gor__timer_abandon(gor__line_at(h, at)->timer);
}

static void gor__g_abandon(gor__g *g)
{
    if (g->extra) {
        while (g->extra->slots) {
            gor__slot *s = g->extra->slots;
            g->extra->slots = s->next;
            gor__free(s, sizeof *s);
        }
        while (g->extra->defers) {
            gor__defer *d = g->extra->defers;
            g->extra->defers = d->next;
            if (!d->borrowed)
                gor__free(d, sizeof *d);
        }
        gor__free(g->extra, sizeof *g->extra);
    }
    gor__cancel_release(g->ctx_held);
    gor__free_argument(g);
    gor__fiber_end(g);
}

/* All memory goes back. Nobody is left who could use it. */
static void gor__free_all(void)
{
    gor__gslab *s, *next_s;
    gor__m *m, *next_m;
    for (s = gor__rt.slabs; s; s = s->next)
        for (size_t i = 0; i < sizeof s->g / sizeof s->g[0]; i++)
            if (gor__au32_load_rlx(&s->g[i].state) != GOR__DEAD)
                gor__g_abandon(&s->g[i]);
            else
                gor__fiber_end(&s->g[i]);          /* made, for gor_ctx_after, and not started */
    for (uint32_t i = 0; i < GOR__MAX_PROCS && gor__p_at(i); i++)
        gor__timers_abandon(&gor__p_at(i)->timers);
    for (uint32_t i = 0; i < GOR__MAX_PROCS && gor__p_at(i); i++)
        gor__p_free(gor__p_at(i));
    for (s = gor__rt.slabs; s; s = next_s) {
        next_s = s->next;
        gor__free(s, sizeof *s);
    }
    for (m = gor__rt.all_m; m; m = next_m) {
        next_m = m->all_next;
        gor__free_aligned(m->memory, sizeof *m);
    }
    gor__free(gor__rt.global.slot, gor__rt.global.cap * sizeof *gor__rt.global.slot);
    gor__poll_free();
    gor__packs_free();
    gor__stacks_free();
}

static bool gor__some_m_in_call(void)
{
    bool some = false;
    gor__lock_sched();
    for (gor__m *m = gor__rt.all_m; m; m = m->all_next)
        some |= gor__au32_load_rlx(&m->state) != GOR__M_GONE && m->in_call &&
                gor__au32_load_acq(m->in_call);
    gor__unlock_sched();
    return some;
}

/* Some threads will not come back. One that is on its way out of the user's code either finds that
 * it is an orphan, or is waited for: the handshake of [retake] R1. */
static void gor__make_orphans(void)
{
    gor__au32_store_sc(&gor__orphaning, 1);
    gor__wake_everyone(GOR__ORPHAN);
    gor__fence_all();
    while (gor__some_m_in_call())
        gor__os_yield();
}

/* They keep their memory. */
static void gor__leave_orphans(void)
{
    static const char text[] = "gor: stopped while a goroutine computes or blocks outside of "
                               "gor: its thread and memory stay\n";
    if (gor__au32_load_rlx(&gor__packs.asked))
        gor__packs_leave();
    else
        gor__packs_free();
    gor__stacks_forget();
    gor__poll_leave();
    if (write(2, text, sizeof text - 1) < 0)
        return;
}

/* Wait for the threads, free everything. self: the M of the calling thread, or NULL. */
static void gor__shut_down(gor__m *self)
{
    gor_options opt = gor__rt.opt;
    int64_t patience = gor__os_now() + GOR_SEC;
    int mine = self ? 1 : 0;
    bool orphans;
    gor__au32_store_sc(&gor__rt.running, GOR__ENDING);
    gor__stop_now();
    gor__au32_store_sc(&gor__rt.main_home, 1);
    gor__os_futex_wake(&gor__rt.main_home, 1);
    while (gor__threads_left() > mine && gor__os_now() < patience) {
        uint32_t word = gor__au32_load_acq(&gor__rt.stopped);
        gor__wake_everyone(GOR__ASK);
        gor__os_futex_wait(&gor__rt.stopped, word, gor__os_now() + GOR_MS);
    }
    gor__wake_everyone(0);
    while (gor__au32_load_acq(&gor__rt.sysmon_gone) == 0)
        gor__os_futex_wait(&gor__rt.sysmon_gone, 0, gor__os_now() + GOR_MS);
    if (opt.flags & GOR_REPORT_LEAKS)
        gor_leaks(2);
    if (self)
        gor__m_end(self);
    gor__share();
    gor__mine_end_all();
    orphans = gor__threads_left() > 0;
    if (orphans)
        gor__make_orphans();
    gor__au32_store_sc(&gor__rt.n_allp, 0);        /* nobody is in a window, nor will be */
    while (gor__foreign_inside())                  /* they will find no runtime next, and no P */
        gor__os_yield();
    gor__au32_store_rel(&gor__orphaning, 0);       /* one may end: nobody looks at its words */
    gor__san_take_over(&gor__rt.stopped);
    gor__san_quiet_begin();
    if (orphans)
        gor__leave_orphans();
    else
        gor__free_all();
    if (gor__trace_close())
        gor__trace_finish();
    gor__preempt_stop();
    gor__signals_remove();
    gor__poll_close();
    if (!gor__packs_stay())
        gor__faults_remove();
    gor__reset();
    if (opt.on_exit)
        opt.on_exit(opt.user);
    gor__san_quiet_end();
}

/* -- the public calls ---------------------------------------------------------------------- */

typedef struct gor__main_call { int (*fn)(void *); void *arg; } gor__main_call;

static void gor__main_run(void *p)
{
    gor__main_call *call = (gor__main_call *)p;
    int result = call->fn(call->arg);
    gor__enter();
    gor__au32_store_rel(&gor__rt.result, (uint32_t)result);
    gor__au32_store_rlx(&gor__rt.main_returned, 1);
    gor__stop_now();
    gor__leave(gor__self());
}

/* However it ended: if not by returning, the others go on, and [sysmon] sees the last one's end. */
static void gor__main_ended(void *p)
{
    (void)p;
    gor__au32_store_sc(&gor__rt.main_left, 1);
}

/* The calling thread as an M with a P, and the main goroutine in its hands. */
static int gor__main_begin(gor__main_call *call, gor__m **out)
{
    gor__spec s = { gor__main_run, NULL, "main\0main", call, sizeof *call, NULL,
                    gor__main_ended, NULL, NULL };
    gor__m *m = gor__m_new();
    gor__g *g;
    int rc;
    if (!m)
        return -ENOMEM;
    m->is_main = true;
    gor__rt.main_m = m;
    m->alt_stack = gor__os_alt_stack_new();
    gor__m_begin(m);
    gor__p_hold(m, gor__p_at(0));
    rc = gor__stacks.strict && !gor__os_alt_stack_there() ? -ENOMEM : gor__g_make(m, &s, &g);
    *out = m;
    if (rc != 0)
        return rc;
    gor__count_start(m);
    gor__au32_store_rel(&g->state, GOR__RUNNABLE);
    gor__aptr_store_rlx(&m->handed, g);
    return 0;
}

int gor_run_with(const gor_options *o, int (*fn)(void *), void *arg)
{
    gor__main_call call = { fn, arg };
    gor__m *m = NULL;
    int rc;
    if (!fn)
        return -EINVAL;
    if (gor__self() || !gor__au32_cas(&gor__rt.running, GOR__OFF, GOR__STARTING))
        return gor__self() ? -EINVAL : -EBUSY;
    rc = gor__boot_quietly(o, true);
    if (rc != 0)
        return rc;
    rc = gor__main_begin(&call, &m);
    if (rc == 0) {
        gor__m_loop(m);
        rc = (int)gor__au32_load_acq(&gor__rt.result);
    }
    gor__shut_down(m);
    return rc;
}

int gor_run(int (*fn)(void *), void *arg) { return gor_run_with(NULL, fn, arg); }

int gor__no_main(int rc)
{
    fprintf(stderr, "gor: no memory or thread to run main: %s\n", gor_strerror(rc));
    return 2;
}

int gor_start(const gor_options *o)
{
    if (gor__self() || !gor__au32_cas(&gor__rt.running, GOR__OFF, GOR__STARTING))
        return gor__self() ? -EINVAL : -EBUSY;
    return gor__boot_quietly(o, false);
}

int gor_stop(void)
{
    if (gor__self() || (gor__is_on() && gor__rt.with_main))
        return -EINVAL;
    if (!gor__au32_cas(&gor__rt.running, GOR__ON, GOR__ENDING))
        return -ESRCH;
    gor__shut_down(NULL);
    return 0;
}

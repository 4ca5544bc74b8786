/* ==== [faults] stack overflow and wild pointers ==============================================
 * What        A handler for SIGSEGV and SIGBUS on the M's own alternate stack. A fault on a
 *             goroutine's guard pages is a stack overflow and is said so; one elsewhere names the
 *             goroutine; one outside of goroutines goes to the handler that was there before.
 */
static struct sigaction gor__old_segv, gor__old_bus;
static bool gor__faults_installed;

/* With the signals blocked that would be, had the system called it. */
static void gor__fault_pass_on(int sig, siginfo_t *info, void *context)
{
    struct sigaction *old = sig == SIGSEGV ? &gor__old_segv : &gor__old_bus;
    sigset_t mask = ((ucontext_t *)context)->uc_sigmask;
    sigaddset(&mask, sig);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    if ((old->sa_flags & SA_SIGINFO) && old->sa_sigaction) {
        old->sa_sigaction(sig, info, context);
        return;
    }
    if (old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN) {
        old->sa_handler(sig);
        return;
    }
    signal(sig, SIG_DFL);                          /* the instruction runs again, and ends us */
}

/* Does somebody else handle faults? Then a fault that is no overflow of ours is his. */
static bool gor__fault_has_owner(int sig)
{
    struct sigaction *old = sig == SIGSEGV ? &gor__old_segv : &gor__old_bus;
    return (old->sa_flags & SA_SIGINFO) ? old->sa_sigaction != NULL
                                        : old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN;
}

/* Whose stack, or the guard of whose, is at in? NULL: nobody's. */
GOR__NO_TSAN static gor__g *gor__g_at(uintptr_t at)
{
    for (gor__gslab *s = gor__rt.slabs; s; s = s->next)
        for (size_t i = 0; i < sizeof s->g / sizeof s->g[0]; i++) {
            uintptr_t lo = (uintptr_t)gor__aptr_load_rlx(&s->g[i].stack);
            size_t stride = gor__stack_stride(gor__stack_size_of(&s->g[i]));
            if (lo && at - (lo - gor__stacks.page_size) < stride)
                return &s->g[i];
        }
    return NULL;
}

/* what: how it was seen. */
static void gor__say_overflow_by(gor__g *g, const char *what)
{
    char *lo = (char *)gor__aptr_load_rlx(&g->stack);
    size_t size = gor__stack_size_of(g);
    char line[500];
    snprintf(line, sizeof line, "stack overflow in goroutine %llu \"%.40s\"%s\n"
             "    stack of %zu bytes from %p to %p, started at %.100s",
             (unsigned long long)gor__au64_load_rlx(&g->id), gor__g_name(g), what, size,
             (void *)lo, (void *)(lo + size), gor__site_place(g->site));
    gor__fatal(line, g);
}

static void gor__say_overflow(gor__g *g) { gor__say_overflow_by(g, ": its canary is gone"); }

/* A fault of the thread that runs g, whose stack cannot be opened there. Returns if it is none of
 * the stack's. */
static void gor__fault_of(gor__g *g, uintptr_t at, uintptr_t sp)
{
    uintptr_t lo = (uintptr_t)gor__aptr_load_rlx(&g->stack);
    size_t size = gor__stack_size_of(g), page = gor__stacks.page_size;
    if (at - (lo - page) < gor__stack_guard_size())
        gor__say_overflow_by(g, "");
    if (gor__stacks.strict && at >= lo && at - lo < size)
        gor__say_overflow_by(g, ": the system has no memory for it (vm.overcommit_memory)");
    if (sp < lo + page && sp >= lo - GOR__MAX_STACK_SIZE)
        gor__say_overflow_by(g, ": a frame larger than the guard; compile with "
                             "-fstack-clash-protection");
}

/* Who runs on the thread that has faulted? NULL: no goroutine. In gor_block it does not say so, but
 * its stack pointer does. */
static gor__g *gor__fault_whose(uintptr_t at, uintptr_t sp)
{
    gor__m *m = gor__self();
    gor__g *g = m ? gor__m_g(m) : gor__g_at(sp);
    if (m)
        return g == &m->g0 ? NULL : g;
    return g ? g : gor__g_at(at);
}

static void gor__fault_done(bool was_in_call)
{
    if (!was_in_call)
        gor__arch_call_end();
}

static void gor__fault(int sig, siginfo_t *info, void *context)
{
    bool was_in_call = gor__au32_load_rlx(gor__arch_in_call()) != 0, unpacked;
    uintptr_t at = (uintptr_t)info->si_addr, sp, pc;
    uintptr_t fp = gor__arch_interrupted(context, &pc, &sp);
    int err = gor__os_errno();
    gor__g *g;
    char line[400];
    if (!was_in_call)                              /* else it may be a window's mark */
        gor__arch_call_begin();                    /* from here on nobody switches us off */
    unpacked = sig == SIGSEGV && info->si_code > 0 && gor__pack_fault(at, pc);
    g = unpacked ? NULL : gor__fault_whose(at, sp);
    if (unpacked || (g && gor__stack_open_more((char *)gor__aptr_load_rlx(&g->stack),
                                               gor__stack_size_of(g), at))) {
        gor__os_set_errno(err);
        gor__fault_done(was_in_call);
        return;
    }
    if (gor__au32_load_rlx(&gor__dying) == (uint32_t)gor__os_tid()) {
        signal(sig, SIG_DFL);                      /* in the last words: that is the end */
        return;
    }
    gor__crash.g = g;
    gor__crash.pc = pc;
    gor__crash.fp = fp;
    if (g)
        gor__fault_of(g, at, sp);
    if (!g || gor__fault_has_owner(sig)) {
        gor__fault_done(was_in_call);
        gor__fault_pass_on(sig, info, context);
        return;
    }
    snprintf(line, sizeof line, "%s at address %p in goroutine %llu \"%.40s\"",
             sig == SIGSEGV ? "segmentation fault" : "bus error", info->si_addr,
             (unsigned long long)gor__au64_load_rlx(&g->id), gor__g_name(g));
    gor__fatal(line, g);
}

static void gor__faults_install(void)
{
    struct sigaction a;
    if (gor__faults_installed || (gor__rt.opt.flags & GOR_NO_SIGNALS))
        return;
    memset(&a, 0, sizeof a);
    a.sa_sigaction = gor__fault;
    a.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigfillset(&a.sa_mask);                        /* [pack] I4 */
    sigaction(SIGSEGV, &a, &gor__old_segv);
    sigaction(SIGBUS, &a, &gor__old_bus);
    gor__faults_installed = true;
}

/* Is the handler ours? Somebody may have put his own over it. */
static bool gor__fault_is_ours(int sig)
{
    struct sigaction now;
    return gor__faults_installed && sigaction(sig, NULL, &now) == 0 &&
           now.sa_sigaction == gor__fault;
}

/* Put the old handlers back, where ours are. */
static void gor__faults_remove(void)
{
    if (gor__fault_is_ours(SIGSEGV))
        sigaction(SIGSEGV, &gor__old_segv, NULL);
    if (gor__fault_is_ours(SIGBUS))
        sigaction(SIGBUS, &gor__old_bus, NULL);
    gor__faults_installed = false;
}

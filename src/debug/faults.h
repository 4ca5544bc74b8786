/* ==== [faults] stack overflow and wild pointers ==============================================
 * What        A handler for SIGSEGV and SIGBUS on the M's own alternate stack. A fault on a
 *             goroutine's guard page is a stack overflow and is said so; one elsewhere names the
 *             goroutine; one outside of goroutines goes to the handler that was there before.
 */
static struct sigaction gor__old_segv, gor__old_bus;
static bool gor__faults_installed;

static void gor__fault_pass_on(int sig, siginfo_t *info, void *context)
{
    struct sigaction *old = sig == SIGSEGV ? &gor__old_segv : &gor__old_bus;
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

static void gor__say_overflow(gor__g *g)
{
    size_t size = GOR__MIN_STACK_SIZE << (gor__au32_load_rlx(&g->traits) & GOR__TRAIT_CLASS);
    char line[400];
    snprintf(line, sizeof line, "stack overflow in goroutine %llu \"%.40s\"\n"
             "    stack of %zu bytes at %p, started at %.100s",
             (unsigned long long)gor__au64_load_rlx(&g->id), gor__g_name(g), size,
             gor__aptr_load_rlx(&g->stack), gor__site_place(g->site));
    gor__fatal(line, g);
}

static void gor__fault(int sig, siginfo_t *info, void *context)
{
    bool was_in_call = gor__au32_load_rlx(gor__arch_in_call()) != 0;
    gor__m *m;
    gor__g *g;
    uintptr_t at = (uintptr_t)info->si_addr, lo;
    char line[400];
    gor__arch_call_begin();                        /* from here on nobody switches us off */
    m = gor__self();
    g = m ? gor__m_g(m) : NULL;
    lo = g && g != &m->g0 ? (uintptr_t)gor__aptr_load_rlx(&g->stack) : 0;
    if (lo && at >= lo && at < lo + gor__stacks.page_size)
        gor__say_overflow(g);
    if (!lo || gor__fault_has_owner(sig)) {
        if (!was_in_call)
            gor__arch_call_end();
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
    sigemptyset(&a.sa_mask);
    sigaction(SIGSEGV, &a, &gor__old_segv);
    sigaction(SIGBUS, &a, &gor__old_bus);
    gor__faults_installed = true;
}

/* Put the handlers back, unless someone has put his own over ours. */
static void gor__faults_remove(void)
{
    struct sigaction now;
    if (!gor__faults_installed)
        return;
    gor__faults_installed = false;
    if (sigaction(SIGSEGV, NULL, &now) == 0 && now.sa_sigaction == gor__fault)
        sigaction(SIGSEGV, &gor__old_segv, NULL);
    if (sigaction(SIGBUS, NULL, &now) == 0 && now.sa_sigaction == gor__fault)
        sigaction(SIGBUS, &gor__old_bus, NULL);
}

/* ==== [preempt] a switch in place, by signal =====================================================
 * What        In code that was marked for it the goroutine is switched off between two
 *             instructions, and goes on there later, every register as it was. The handler runs on
 *             the alternate stack: it moves the kernel's frame to the goroutine's own stack, below
 *             the red zone, and lets the thread go on in gor__preempted, an ordinary switch. Its
 *             way back is rt_sigreturn, with that frame.
 * End         When a run ends while the thread that called gor_run computes, the signal brings it
 *             back in every mode: gor_run has to return on that thread.
 * Where       GOR_PREEMPTIBLE functions; with GOR_PREEMPT_SWITCH all code of the object that has
 *             the implementation in it. Never in a gor call, in libc, or in any other library: so
 *             no lock of theirs is caught halfway. In a static program those are not told apart,
 *             and only marked functions are switched.
 * Thread      The goroutine goes on on its own thread: it may hold what belongs to a thread, a
 *             recursive mutex above all. Unless that thread is stuck, in a lock that the goroutine
 *             itself holds, say: it lost its P, or serves one goroutine only. Then any thread may
 *             go on with it.
 * Invariants  P1 The handler does something only if its thread is not in a gor call, and marks it
 *                as in one before it returns.
 *             P2 Signals go only to threads that the kernel calls running, and that used the CPU
 *                since the last one: a system call is cut short only if it begins in that moment.
 * Source      Go's asynchronous preemption by signal (1.14), which injects a call; that its frame
 *             is the kernel's own is ours.
 */
extern char __start_gor_preemptible[] __attribute__((weak, visibility("hidden")));
extern char __stop_gor_preemptible[] __attribute__((weak, visibility("hidden")));

#define GOR__SIGSET_SIZE      8        /* the kernel's */
#define GOR__PREEMPT_REFUSALS 3        /* then the P is taken */
#define GOR__PREEMPT_SIGNALS  64       /* or then, if the thread does not get them */
#define GOR__PREEMPT_ROOM     4096     /* bytes of stack for what runs until the switch */

static struct {
    uintptr_t lo, hi;                  /* our own object's code, or nothing */
    bool      installed;
    bool      all;                     /* GOR_PREEMPT_SWITCH: all of it may be switched */
    struct sigaction old;
} gor__preempt;

static int gor__preempt_number(void)
{
    return gor__rt.opt.preempt_signal ? gor__rt.opt.preempt_signal : SIGURG;
}

static bool gor__any_marked(void)
{
    return (uintptr_t)__start_gor_preemptible != (uintptr_t)__stop_gor_preemptible;
}

/* At the end of a run nothing comes back, so what it holds does not matter but for libc's. */
static bool gor__may_switch_at(uintptr_t pc)
{
    if (pc >= (uintptr_t)gor__arch_context_resume && pc < (uintptr_t)gor__arch_context_resumed)
        return false;
    if (pc >= (uintptr_t)__start_gor_preemptible && pc < (uintptr_t)__stop_gor_preemptible)
        return true;
    return pc >= gor__preempt.lo && pc < gor__preempt.hi &&
           (gor__preempt.all || gor__au32_load_sc(&gor__rt.stopping));
}

/* It may be another thread: rt_sigreturn is to leave its alternate stack and signal mask alone. */
static void gor__adopt_context(gor__m *m, void *copy)
{
    stack_t now;
    if (sigaltstack(NULL, &now) == 0) {
        now.ss_flags &= SS_DISABLE;
        memcpy((char *)copy + offsetof(ucontext_t, uc_stack), &now, sizeof now);
    }
    memcpy((char *)copy + offsetof(ucontext_t, uc_sigmask), &m->mask, GOR__SIGSET_SIZE);
}

/* On the goroutine's stack, in a gor call since the handler. copy: the frame to go back by. */
GOR__SWITCHES static void gor__preempted(void *copy)
{
    gor__m *m = gor__self();
    gor__g *g = gor__m_g(m);
    uint32_t what = gor__asked(m);
    if ((what & GOR__ORPHAN) || gor__au32_load_sc(&gor__rt.stopping))
        gor__switch_to(m, g, &m->g0);              /* never back */
    if (!(what & GOR__RETAKEN)) {                  /* else it goes on without a P: [retake] */
        gor__au32_and(&m->attention, ~(uint32_t)GOR__ASK);
        gor__set_runnable(g);
        gor__au64_bump(&gor__m_p(m)->preempted);
        gor__preempted_push(m, g);
        gor__switch_begin(g);
        gor__switch_away(m, g);
        gor__resumed(g);
        m = gor__self();
    }
    gor__adopt_context(m, copy);
    gor__arch_context_resume(copy);
}

/* May the goroutine be switched where it was interrupted? Not on another stack than its own, nor if
 * the handler runs there too, nor in a signal handler of the user's, which has changed the mask. */
static bool gor__switchable(gor__m *m, gor__g *g, void *context)
{
    uintptr_t lo = (uintptr_t)gor__aptr_load_rlx(&g->stack), sp = gor__arch_stack_at(context);
    size_t room = gor__stacks.page_size + GOR__PREEMPT_ROOM + gor__arch_context_size(context);
    return sp >= lo + room && sp - lo < gor__stack_size_of(g) &&
           (uintptr_t)context - lo >= gor__stack_size_of(g) &&
           !gor__au32_load_rlx(&g->no_preempt) &&
           !gor__aptr_load_rlx(&m->locked_g) && gor__may_switch_at(gor__arch_pc(context)) &&
           memcmp((char *)context + offsetof(ucontext_t, uc_sigmask), &m->mask,
                  GOR__SIGSET_SIZE) == 0;
}

static void gor__preempt_here(gor__m *m, void *context)
{
    gor__g *g = gor__m_g(m);
    uint32_t what = gor__au32_load_rlx(&m->attention);
    if (g == &m->g0 || !(what & GOR__ASK) ||
        ((what & (GOR__RETAKE | GOR__RETAKEN)) && !gor__au32_load_sc(&gor__rt.stopping)))
        return;
    if (gor__switchable(m, g, context)) {
        gor__arch_call_begin();
        gor__arch_context_move(context, gor__arch_stack_at(context), gor__preempted);
    } else {
        gor__au32_store_rlx(&m->refused, gor__au32_load_rlx(&m->refused) + 1);
    }
}

static void gor__preempt_signal(int sig, siginfo_t *info, void *context)
{
    int saved = gor__os_errno();
    gor__m *m = gor__self();
    struct sigaction *old = &gor__preempt.old;
    if (info->si_code == SI_QUEUE && info->si_value.sival_ptr == &gor__preempt) {
        if (m && !gor__au32_load_rlx(gor__arch_in_call()))
            gor__preempt_here(m, context);
    } else if (old->sa_flags & SA_SIGINFO) {
        old->sa_sigaction(sig, info, context);
    } else if (old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN) {
        old->sa_handler(sig);
    }
    gor__os_set_errno(saved);
}

/* -- which code ------------------------------------------------------------------------------ */

/* The header of the object that we are in; its program headers say where its code lies. */
extern const char __ehdr_start[] __attribute__((weak, visibility("hidden")));

static void gor__find_own_code(void)
{
    const Elf64_Ehdr *head = (const Elf64_Ehdr *)(const void *)__ehdr_start;
    const Elf64_Phdr *part;
    uintptr_t base = 0, us = (uintptr_t)gor__preempted, lo;
    if (!head || getauxval(AT_BASE) == 0 || GOR__STATIC_RUNTIME)   /* no loader: all is static */
        return;
    part = (const Elf64_Phdr *)(const void *)(__ehdr_start + head->e_phoff);
    for (int i = 0; i < head->e_phnum; i++, part++) {
        if (part->p_type != PT_LOAD)
            continue;
        if (part->p_offset == 0)
            base = (uintptr_t)head - (uintptr_t)part->p_vaddr;
        lo = base + (uintptr_t)part->p_vaddr;
        if (us >= lo && us < lo + (uintptr_t)part->p_memsz) {
            gor__preempt.lo = lo;
            gor__preempt.hi = lo + (uintptr_t)part->p_memsz;
        }
    }
}

static void gor__preempt_start(void)
{
    struct sigaction a;
    int mode = gor__rt.opt.preempt, sig = gor__preempt_number();
    memset(&gor__preempt, 0, sizeof gor__preempt);
    if (GOR__TSAN || (gor__rt.opt.flags & GOR_NO_SIGNALS))
        return;                                    /* TSan holds signals back until it suits it */
    gor__find_own_code();
    gor__preempt.all = mode == GOR_PREEMPT_SWITCH && gor__preempt.hi != 0;
    memset(&a, 0, sizeof a);
    a.sa_sigaction = gor__preempt_signal;
    a.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    sigemptyset(&a.sa_mask);
    if (sigaction(sig, &a, &gor__preempt.old) != 0)
        return;
    gor__preempt.installed = true;
    if (gor__preempt.all || (gor__any_marked() && mode != GOR_PREEMPT_OFF &&
                             mode != GOR_PREEMPT_ASK))
        gor__rt.preempt_signal = sig;
}

/* A signal on its way finds no M, and is passed over. */
static void gor__preempt_stop(void)
{
    struct sigaction now;
    int sig = gor__preempt_number();
    if (gor__preempt.installed && sigaction(sig, NULL, &now) == 0 &&
        now.sa_sigaction == gor__preempt_signal)
        sigaction(sig, &gor__preempt.old, NULL);
    gor__preempt.installed = false;
}

/* -- sysmon's side ----------------------------------------------------------------------------- */

/* Send m's thread the signal, with a value that tells it from the user's own. */
static bool gor__preempt_send(const gor__m *m)
{
    siginfo_t info;
    int sig = gor__preempt_number();
    memset(&info, 0, sizeof info);
    info.si_signo = sig;
    info.si_code = SI_QUEUE;
    info.si_pid = getpid();
    info.si_uid = getuid();
    info.si_value.sival_ptr = &gor__preempt;
    return gor__preempt.installed &&
           syscall(SYS_rt_tgsigqueueinfo, getpid(), (pid_t)gor__au32_load_rlx(&m->tid), sig,
                   &info) == 0;
}

/* The CPU time of m's thread; 0 if it is not to be had. */
static int64_t gor__cpu_time(const gor__m *m)
{
    struct timespec t;
    clockid_t clock = (clockid_t)((~gor__au32_load_rlx(&m->tid) << 3) | 6);   /* as pthread's */
    if (clock_gettime(clock, &t) != 0)
        return 0;
    return (int64_t)t.tv_sec * GOR_SEC + t.tv_nsec;
}

/* Does m's thread run, or wait for a CPU? Otherwise it sits in a system call. */
static bool gor__computes(const gor__m *m)
{
    char path[64], text[512], *end;
    size_t n;
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)gor__au32_load_rlx(&m->tid));
    n = gor__os_read_file(path, text, sizeof text - 1);
    text[n] = '\0';
    end = strrchr(text, ')');                      /* tid (name) state ... */
    return end && end[1] == ' ' && end[2] == 'R';
}

/* See to it that m, which computes, gets the signal. False: it does not compute, or gets the signal
 * where it must not be switched, or not at all, or signals are not used. */
static bool gor__preempt_ask(gor__p *p, gor__m *m)
{
    int64_t cpu;
    if (!gor__rt.preempt_signal || !gor__computes(m))
        return false;
    cpu = gor__cpu_time(m);
    if (cpu == p->seen_cpu)
        return true;                               /* it waits for a CPU: nothing has changed */
    if (gor__au32_load_rlx(&m->refused) - p->seen_refused >= GOR__PREEMPT_REFUSALS ||
        p->signals == GOR__PREEMPT_SIGNALS)
        return false;
    p->seen_cpu = cpu;
    p->signals++;
    return gor__preempt_send(m);
}

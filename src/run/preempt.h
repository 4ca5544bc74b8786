/* ==== [preempt] a switch in place, by signal =====================================================
 * What        In code that was marked for it the goroutine is switched off between two
 *             instructions, and goes on there later, every register as it was. The handler runs on
 *             the alternate stack: it moves the kernel's frame to the goroutine's own stack, below
 *             the red zone, and lets the thread go on in gor__preempted, an ordinary switch. Its
 *             way back is rt_sigreturn, with that frame.
 * Where       GOR_PREEMPTIBLE functions; with GOR_PREEMPT_SWITCH all code of the object that has
 *             the implementation in it. Never in a gor call, in libc, or in any other library: so
 *             no lock of theirs is caught halfway. In a static program those are not told apart,
 *             and only marked functions are switched.
 * Thread      The goroutine goes on on its own thread: it may hold what belongs to a thread, a
 *             recursive mutex above all. Unless that thread is stuck, in a lock that the goroutine
 *             itself holds, say: it lost its P, or serves one goroutine only. Then any thread may
 *             go on with it.
 * Invariants  P1 The handler does something only if its thread is not in a gor call, and marks it
 *             as
 *                in one before it returns.
 * P2 Signals go only to threads that used the CPU since they were last asked: others sit
 *                in a system call, which the signal might cut short, or wait for a CPU.
 * Source      Go's asynchronous preemption by signal (1.14), which injects a call; that its frame
 *             is the kernel's own is ours.
 */
extern char __start_gor_preemptible[] __attribute__((weak, visibility("hidden")));
extern char __stop_gor_preemptible[] __attribute__((weak, visibility("hidden")));

#define GOR__PREEMPT_TRIES 3           /* signals, before the P is taken */
#define GOR__PREEMPT_ROOM 4096         /* bytes of stack for what runs until the switch */

static struct {
    uintptr_t lo, hi;                  /* our own object's code, or nothing */
    struct sigaction old;
} gor__preempt;

static bool gor__may_switch_at(uintptr_t pc)
{
    uintptr_t resume = (uintptr_t)gor__arch_context_resume;
    if (pc >= resume && pc < resume + 32)
        return false;
    return (pc >= gor__preempt.lo && pc < gor__preempt.hi) ||
           (pc >= (uintptr_t)__start_gor_preemptible && pc < (uintptr_t)__stop_gor_preemptible);
}

/* On the goroutine's stack, in a gor call since the handler. copy: the frame to go back by. */
GOR__SWITCHES static void gor__preempted(void *copy)
{
    gor__m *m = gor__self(), *home = m;
    gor__g *g = gor__m_g(m);
    stack_t now;
    uint32_t what;
    while ((what = gor__asked(m)) & GOR__RETAKE)
        gor__os_yield();
    if (what & GOR__ORPHAN)
        gor__switch_to(m, g, &m->g0);              /* never back */
    if (!(what & GOR__RETAKEN)) {                  /* else it goes on without a P: [retake] */
        gor__au32_and(&m->attention, ~(uint32_t)GOR__ASK);
        gor__ai64_store_rlx(&g->since, gor__ai64_load_rlx(&gor__rt.coarse_ns));
        gor__au32_store_rel(&g->state, GOR__RUNNABLE);
        gor__au64_bump(&gor__m_p(m)->preempted);
        gor__preempted_push(m, g);
        gor__switch_away(m, g);
        gor__resumed(g);
        m = gor__self();
    }
    if (m != home && sigaltstack(NULL, &now) == 0) {   /* rt_sigreturn sets it: to this thread's */
        now.ss_flags &= SS_DISABLE;
        memcpy((char *)copy + offsetof(ucontext_t, uc_stack), &now, sizeof now);
    }
    gor__call_end();
    gor__arch_context_resume(copy);
}

static void gor__preempt_here(gor__m *m, void *context)
{
    gor__g *g = gor__m_g(m);
    uintptr_t sp = gor__arch_stack_at(context), lo = (uintptr_t)gor__aptr_load_rlx(&g->stack);
    uint32_t what = gor__au32_load_rlx(&m->attention);
    if (g == &m->g0 || !(what & GOR__ASK) || (what & (GOR__RETAKE | GOR__RETAKEN)) ||
        gor__au32_load_rlx(&g->no_preempt) || gor__aptr_load_rlx(&m->locked_g) ||
        !gor__may_switch_at(gor__arch_pc(context)))
        return;
    lo += gor__stacks.page_size + GOR__PREEMPT_ROOM + gor__arch_context_size(context);
    if (sp < lo || sp > lo + GOR__MAX_STACK_SIZE)
        return;
    gor__arch_call_begin();
    gor__arch_context_move(context, sp, gor__preempted);
}

static void gor__preempt_signal(int sig, siginfo_t *info, void *context)
{
    int saved = *__errno_location();
    gor__m *m = gor__self();
    struct sigaction *old = &gor__preempt.old;
    if (m && info->si_code == SI_TKILL && info->si_pid == getpid()) {
        if (!gor__au32_load_rlx(gor__arch_in_call()))
            gor__preempt_here(m, context);
    } else if (old->sa_flags & SA_SIGINFO) {
        old->sa_sigaction(sig, info, context);
    } else if (old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN) {
        old->sa_handler(sig);
    }
    *__errno_location() = saved;
}

/* -- which code ------------------------------------------------------------------------------ */

/* The header of the object that we are in; its program headers say where its code lies. */
extern const char __ehdr_start[] __attribute__((weak, visibility("hidden")));

static void gor__find_own_code(void)
{
    const Elf64_Ehdr *head = (const Elf64_Ehdr *)(const void *)__ehdr_start;
    const Elf64_Phdr *part;
    uintptr_t base = 0, us = (uintptr_t)gor__preempted, lo;
    if (!head || getauxval(AT_BASE) == 0)          /* no loader: a static program */
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
    int mode = gor__rt.opt.preempt, sig;
    memset(&gor__preempt, 0, sizeof gor__preempt);
    if (GOR__TSAN || mode == GOR_PREEMPT_OFF || mode == GOR_PREEMPT_ASK)
        return;                                    /* TSan holds signals back until it suits it */
    if (mode == GOR_PREEMPT_SWITCH)
        gor__find_own_code();
    if (gor__preempt.hi == 0 &&
        (uintptr_t)__start_gor_preemptible == (uintptr_t)__stop_gor_preemptible)
        return;
    sig = gor__rt.opt.preempt_signal ? gor__rt.opt.preempt_signal : SIGURG;
    memset(&a, 0, sizeof a);
    a.sa_sigaction = gor__preempt_signal;
    a.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    sigemptyset(&a.sa_mask);
    if (sigaction(sig, &a, &gor__preempt.old) == 0)
        gor__rt.preempt_signal = sig;
}

/* A signal on its way finds no M, and is passed over. */
static void gor__preempt_stop(void)
{
    struct sigaction now;
    int sig = gor__rt.preempt_signal;
    if (sig && sigaction(sig, NULL, &now) == 0 && now.sa_sigaction == gor__preempt_signal)
        sigaction(sig, &gor__preempt.old, NULL);
}

/* -- sysmon's side ----------------------------------------------------------------------------- */

/* The CPU time of m's thread; 0 if it is not to be had. */
static int64_t gor__cpu_time(const gor__m *m)
{
    struct timespec t;
    clockid_t clock = (clockid_t)((~gor__au32_load_rlx(&m->tid) << 3) | 6);   /* as pthread's */
    if (clock_gettime(clock, &t) != 0)
        return 0;
    return (int64_t)t.tv_sec * GOR_SEC + t.tv_nsec;
}

/* Does m's thread wait for a CPU? Then it has not used any, and yet it computes. */
static bool gor__waits_for_cpu(const gor__m *m)
{
    char path[64], text[512], *end;
    size_t n;
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)gor__au32_load_rlx(&m->tid));
    n = gor__os_read_file(path, text, sizeof text - 1);
    text[n] = '\0';
    end = strrchr(text, ')');                      /* tid (name) state ... */
    return end && end[1] == ' ' && end[2] == 'R';
}

/* See to it that m, which computes, gets the signal. False: it does not compute, or got the signal
 * and is where it must not be switched, or signals are not used. */
static bool gor__preempt_ask(gor__p *p, gor__m *m)
{
    int64_t cpu;
    if (!gor__rt.preempt_signal)
        return false;
    cpu = gor__cpu_time(m);
    if (cpu == p->seen_cpu)
        return gor__waits_for_cpu(m);
    if (p->signals == GOR__PREEMPT_TRIES)
        return false;
    p->seen_cpu = cpu;
    p->signals++;
    return syscall(SYS_tgkill, getpid(), (pid_t)gor__au32_load_rlx(&m->tid),
                   gor__rt.preempt_signal) == 0;
}

/* ==== [report] what the world looks like, in words ===============================================
 * What        One line for each goroutine, and its stack; on a file descriptor, without locks and
 *             without memory, because the program is in trouble.
 * Runs on     Any thread, a signal handler too. Reads what others are writing: words may be stale.
 */
typedef struct gor__out { int fd; size_t n; char buf[1024]; } gor__out;

static void gor__out_flush(gor__out *o)
{
    size_t at = 0;
    while (at < o->n) {
        ssize_t n = write(o->fd, o->buf + at, o->n - at);
        if (n <= 0 && errno != EINTR)
            break;
        at += n > 0 ? (size_t)n : 0;
    }
    o->n = 0;
}

__attribute__((format(printf, 2, 3)))
static void gor__print(gor__out *o, const char *fmt, ...)
{
    va_list args;
    int n;
    if (o->n > sizeof o->buf - 700)
        gor__out_flush(o);
    va_start(args, fmt);
    n = vsnprintf(o->buf + o->n, sizeof o->buf - o->n, fmt, args);
    va_end(args);
    if (n > 0)
        o->n += (size_t)n < sizeof o->buf - o->n ? (size_t)n : sizeof o->buf - o->n - 1;
}

static const char *const gor__why_text[] = { GOR__WHYS(GOR__WHY_TEXT) };
static const char *const gor__state_text[] = {
    "not started", "runnable", "running", "waiting", "in a blocking call", "ended"
};

/* "fn\0file:line": the second part. */
static const char *gor__site_place(const char *site) { return site ? site + strlen(site) + 1 : ""; }

GOR__NO_TSAN static void gor__print_state(gor__out *o, const gor__g *g)
{
    uint32_t state = gor__au32_load_rlx(&g->state), why = gor__au32_load_rlx(&g->why);
    int64_t ms = (gor__os_now() - gor__ai64_load_rlx(&g->since)) / GOR_MS;
    if (state == GOR__RUNNABLE && gor__aptr_load_rlx(&g->stack) == NULL)
        state = GOR__FRESH;
    if (state == GOR__WAITING && why != GOR__WHY_NONE && why < GOR__N_WHYS) {
        void *object = gor__aptr_load_rlx(&g->why_object);
        gor__print(o, "waiting: %s", gor__why_text[why]);
        if (object)
            gor__print(o, " %p", object);
    } else {
        gor__print(o, "%s", gor__state_text[state <= GOR__DEAD ? state : (uint32_t)GOR__DEAD]);
    }
    if (gor__ai64_load_rlx(&g->since) && ms >= 1000)
        gor__print(o, ", %lld s", (long long)(ms / 1000));
    if (gor__au32_load_rlx(&g->hold) & GOR__TIED)
        gor__print(o, ", locked to its thread");
    if (gor__au32_load_rlx(&g->hold) & GOR__PACKED)
        gor__print(o, ", packed");
}

/* dladdr is declared for _GNU_SOURCE, which may have come too late for this file; glibc says so. */
#if !defined(__GLIBC__) || defined(__USE_GNU)
/* Is there code of a loaded object at pc? */
static bool gor__code_known(uintptr_t pc)
{
    Dl_info info;
    return dladdr((void *)pc, &info) != 0;
}

/* A name, or what addr2line wants. */
static bool gor__print_symbol(gor__out *o, uintptr_t pc)
{
    Dl_info info;
    if (!dladdr((void *)pc, &info) || !info.dli_fname)
        return false;
    if (info.dli_sname)
        gor__print(o, "        %s+0x%lx\n", info.dli_sname,
                   (unsigned long)(pc - (uintptr_t)info.dli_saddr));
    else
        gor__print(o, "        %s+0x%lx\n", info.dli_fname,
                   (unsigned long)(pc - (uintptr_t)info.dli_fbase));
    return true;
}
#else
static bool gor__code_known(uintptr_t pc) { return pc != 0; }
static bool gor__print_symbol(gor__out *o, uintptr_t pc) { return (void)o, (void)pc, false; }
#endif

static void gor__print_address(gor__out *o, uintptr_t pc)
{
    if (!gor__print_symbol(o, pc))
        gor__print(o, "        0x%lx\n", (unsigned long)pc);
}

/* The chain of frame pointers from fp, inside [lo, hi). Code without frame pointers ends it early:
 * what looks like a frame there does not return to code. */
__attribute__((no_sanitize("address"))) GOR__NO_TSAN
static void gor__print_frames(gor__out *o, uintptr_t pc, uintptr_t fp, uintptr_t lo, uintptr_t hi)
{
    for (int i = 0; i < 32 && pc; i++) {
        const uintptr_t *frame = (const uintptr_t *)fp;
        gor__print_address(o, pc);
        if (fp < lo || fp + 2 * sizeof *frame > hi || fp % sizeof *frame)
            return;
        pc = frame[1];
        if (frame[0] <= fp || !gor__code_known(pc))
            return;
        fp = frame[0];
    }
}

/* Where a fault has interrupted a goroutine: its stack is read from there. */
static struct { const gor__g *g; uintptr_t pc, fp; } gor__crash;

__attribute__((no_sanitize("address"))) GOR__NO_TSAN
static void gor__print_stack(gor__out *o, const gor__g *g)
{
    uintptr_t lo = (uintptr_t)gor__aptr_load_rlx(&g->stack), fp, pc;
    size_t size = gor__stack_size_of(g);
    if (!lo)
        return;
    if (g == gor__crash.g) {
        gor__print_frames(o, gor__crash.pc, gor__crash.fp, lo + gor__stacks.page_size, lo + size);
        return;
    }
    if (gor__au32_load_rlx(&g->hold) & GOR__ON_CPU) {
        gor__m *m = gor__self();
        if (m && gor__m_g(m) == g)
            gor__print_frames(o, (uintptr_t)__builtin_return_address(0),
                              *(const uintptr_t *)__builtin_frame_address(0),
                              lo + gor__stacks.page_size, lo + size);
        return;
    }
    if ((gor__au32_load_rlx(&g->hold) & (GOR__PACKED | GOR__CLAIMED)) ||
        (uintptr_t)g->sp < lo || (uintptr_t)g->sp >= lo + size)
        return;
    fp = gor__arch_frame(g->sp, &pc);
    gor__print_frames(o, pc, fp, lo + gor__stacks.page_size, lo + size);
}

GOR__NO_TSAN static void gor__print_g(gor__out *o, const gor__g *g)
{
    gor__print(o, "\ngoroutine %llu \"%.40s\" [", (unsigned long long)gor__au64_load_rlx(&g->id),
               gor__g_name(g));
    gor__print_state(o, g);
    gor__print(o, "]\n    started at %.200s\n", gor__site_place(g->site));
    gor__print_stack(o, g);
}

/* Has main returned? Its goroutine may never come to its end, since the run comes to its own. */
GOR__NO_TSAN static bool gor__main_is_over(const gor__g *g)
{
    return gor__au32_load_rlx(&gor__rt.main_returned) && gor__au64_load_rlx(&g->id) == 1;
}

/* Call fn for every goroutine alive. */
GOR__NO_TSAN static int gor__each_g(void (*fn)(gor__out *, const gor__g *), gor__out *o)
{
    int n = 0;
    for (const gor__gslab *s = gor__rt.slabs; s; s = s->next)
        for (size_t i = 0; i < sizeof s->g / sizeof s->g[0]; i++)
            if (gor__au32_load_rlx(&s->g[i].state) != GOR__DEAD && !gor__main_is_over(&s->g[i])) {
                n++;
                if (fn)
                    fn(o, &s->g[i]);
            }
    return n;
}

static void gor__out_init(gor__out *o, int fd)
{
    o->fd = fd;
    o->n = 0;
}

enum gor__traceback { GOR__TB_NONE, GOR__TB_SINGLE, GOR__TB_ALL, GOR__TB_CRASH };
static enum gor__traceback gor__traceback_mode = GOR__TB_ALL;

static void gor__traceback_init(void)
{
    const char *s = getenv("GORTRACEBACK");
    if (!s)
        return;
    gor__traceback_mode = strcmp(s, "none") == 0 || strcmp(s, "0") == 0 ? GOR__TB_NONE :
                          strcmp(s, "single") == 0 ? GOR__TB_SINGLE :
                          strcmp(s, "crash") == 0 ? GOR__TB_CRASH : GOR__TB_ALL;
}

static gor__au32 gor__dying;                   /* the thread that writes the last words */

/* What a goroutine was panicking about when worse happened, the oldest first. */
static void gor__print_panics(gor__out *o, const gor__panicking *p)
{
    if (!p)
        return;
    gor__print_panics(o, p->outer);
    gor__print(o, "gor: panic: %.500s\n    at %.100s; then, in a deferred call:\n", p->text,
               p->here);
}

/* The last words: headline, then who was running, then everyone; end the program. */
static void gor__fatal(const char *headline, const gor__g *who)
{
    gor__out o;
    if (!gor__au32_cas(&gor__dying, 0, (uint32_t)gor__os_tid()))
        for (;;)                                   /* one report is enough; the first one ends us */
            pause();
    gor__os_unblock(SIGSEGV);                      /* a stack may be packed while we read it */
    gor__out_init(&o, 2);
    if (who && who->extra)
        gor__print_panics(&o, who->extra->panics);
    gor__print(&o, "gor: %.600s\n", headline);
    if (who && gor__traceback_mode != GOR__TB_NONE)
        gor__print_g(&o, who);
    if (gor__traceback_mode >= GOR__TB_ALL) {
        for (const gor__gslab *s = gor__rt.slabs; s; s = s->next)
            for (size_t i = 0; i < sizeof s->g / sizeof s->g[0]; i++)
                if (&s->g[i] != who && gor__au32_load_rlx(&s->g[i].state) != GOR__DEAD)
                    gor__print_g(&o, &s->g[i]);
    }
    gor__out_flush(&o);
    if (gor__traceback_mode == GOR__TB_CRASH) {
        signal(SIGABRT, SIG_DFL);
        abort();
    }
    _exit(2);
}

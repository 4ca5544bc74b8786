/* ==== [life] a goroutine from its first frame to its last ====================================
 * What        The outermost frame, deferred calls, goroutine-local slots, panic and recover, the
 *             end.
 * Order       At the end: deferred calls, last in first out; destructors of slots; the own
 *             context's reference; what its starter wants to know (a wait group's done); then
 *             stack and G go back, or the G alone, and the stack to who begins next.
 */

/* Run the user's fn from inside of a gor call. Not inlined: in the loops that call it, what fn does
 * with the thread's own variables would be the same thread's each time round. */
GOR__SWITCHES static void gor__call_user(void (*fn)(void *), void *arg)
{
    gor__call_end();
    fn(arg);
    if (GOR__UNLIKELY(!gor__reenter()))
        gor__fatal("a goroutine returned in the child of a fork, where no runtime is", NULL);
}

static void gor__run_defers(gor__g *g)
{
    gor__extra *x = g->extra;
    while (x && x->defers) {
        gor__defer d = *x->defers;
        if (!d.borrowed)
            gor__free(x->defers, sizeof d);
        x->defers = d.next;
        gor__call_user(d.fn, d.arg);
    }
}

static void gor__run_destructors(gor__g *g)
{
    gor__extra *x = g->extra;
    while (x && x->slots) {
        gor__slot s = *x->slots;
        gor__free(x->slots, sizeof s);
        x->slots = s.next;
        if (s.value && s.key->destructor)
            gor__call_user(s.key->destructor, s.value);
    }
}

/* May next, which has not begun, have the stack of g? If both are as most are. */
GOR__INLINE bool gor__may_pass_stack(const gor__g *g, const gor__g *next)
{
    uint32_t usual = (uint32_t)gor__rt.stack_class;
    return gor__au32_load_acq(&next->hold) == GOR__NO_STACK &&
           (gor__au32_load_rlx(&g->traits) & (GOR__TRAIT_CLASS | GOR__TRAIT_CANARY)) == usual &&
           (gor__au32_load_rlx(&next->traits) & GOR__TRAIT_CLASS) == usual;
}

/* g has ended, in its outermost frame; from here on next runs, on this stack. Does what a switch
 * does, and a stack that is given back and taken again. */
GOR__INLINE void gor__pass_stack(gor__m *m, gor__p *p, gor__g *g, gor__g *next)
{
    gor__au64_bump(&p->begun);
    gor__aptr_store_rlx(&next->stack, gor__aptr_load_rlx(&g->stack));
    gor__aptr_store_rlx(&g->stack, NULL);
    gor__au32_store_rlx(&next->hold, GOR__ON_CPU);
    gor__switch_in(m, next);
    gor__load_thread_state(m, next);
    gor__eh_load(m, &gor__eh_none);                /* g may have left a handler by longjmp */
    gor__arch_control_change(&g->control, &gor__arch_control_default);
    gor__g_put(p, g);
}

/* g, which is tied to m, has ended. True: m's thread ends with it. */
GOR__NO_TSAN static GOR__NOINLINE bool gor__end_tied(gor__m *m, gor__g *g)
{
    gor__aptr_store_rlx(&m->locked_g, NULL);
    gor__au32_store_rlx(&m->detour, 0);
    gor__aptr_store_rlx(&g->locked, NULL);
    g->lock_depth = 0;
    if (m->is_main)
        return false;
    gor__au32_store_rlx(&m->state, GOR__M_ENDING);
    return true;
}

enum gor__last_frame { GOR__ENDS_IN_ITS_FIRST, GOR__ENDS_ANYWHERE };

/* The goroutine has ended; all that it owned has been given up. Returns the stack pointer of who is
 * next, for which this stack is to be left; NULL: who is next begins on it. */
GOR__NO_TSAN GOR__SWITCHES static void *gor__g_end(gor__g *g, enum gor__last_frame frame)
{
    gor__m *m = gor__self();
    gor__p *p = gor__m_p(m);
    bool leaving = gor__aptr_load_rlx(&m->locked_g) == g && gor__end_tied(m, g);
    gor__g *next;
    gor__san_hand_over(gor__aptr_load_rlx(&g->stack));
    gor__san_hand_over(g);
    gor__au32_store_rlx(&g->state, GOR__DEAD);
    gor__au64_bump_rel(&p->ended);                 /* not counted: gor_leaks does not find it */
    gor__switch_begin(g);
    if (GOR__UNLIKELY(leaving))
        return gor__switch_out(m, g, &m->g0);
    next = gor__pick(m, p);
    if (frame == GOR__ENDS_IN_ITS_FIRST && next && gor__may_pass_stack(g, next)) {
        gor__pass_stack(m, p, g, next);
        return NULL;
    }
    return gor__switch_out(m, g, gor__next_or_g0(m, p, next));
}

/* What g, which runs and ends, has besides its stack. */
static GOR__NOINLINE void gor__g_settle(gor__g *g)
{
    if (g->extra) {
        gor__run_defers(g);
        gor__run_destructors(g);
        gor__run_defers(g);                        /* a destructor may have deferred something */
        gor__free(g->extra, sizeof *g->extra);
        g->extra = NULL;
    }
    gor__cancel_release(g->ctx_held);
    g->ctx_held = NULL;
    gor__free_argument(g);
    gor__au32_store_rlx(&g->no_preempt, 0);
}

/* The end of g, which runs. As gor__g_end. */
GOR__INLINE void *gor__g_finish(gor__g *g, enum gor__last_frame frame)
{
    if (GOR__UNLIKELY(gor__au32_load_rlx(&g->traits) & GOR__TRAIT_ESTATE))
        gor__g_settle(g);
    if (g->done)
        g->done(g->done_arg);
    return gor__g_end(g, frame);
}

/* The same from anywhere on its stack. */
static void gor__g_exit(gor__g *g) __attribute__((noreturn));
static void gor__g_exit(gor__g *g) { gor__switch_never_back(gor__g_finish(g, GOR__ENDS_ANYWHERE)); }

/* Tie the running goroutine to its M. */
static void gor__tie(gor__m *m, gor__g *g)
{
    gor__preempted_spill(m);                       /* they would never run here */
    gor__submitted();
    gor__aptr_store_rlx(&m->locked_g, g);
    gor__au32_store_rlx(&m->detour, GOR__HAS_LOCKED);
    gor__aptr_store_rlx(&g->locked, m);
    gor__g_add_trait(g, GOR__TRAIT_TIED);
    gor__au32_store_rlx(&g->hold, GOR__ON_CPU | GOR__TIED);
}

/* The outermost frame of every goroutine, and of those to which its stack is passed on. It
 * returns, see [arch], but for a sanitizer, whose books are about the next stack by then. */
static void *gor__g_main(void)
{
    gor__g *g = gor__m_g(gor__self());
    void *sp;
    gor__san_take_over(gor__aptr_load_rlx(&g->stack));         /* before any frame of ours */
    gor__eh_load(gor__after_switch(), &gor__eh_none);
    do {
        g = gor__m_g(gor__self());
        gor__resumed(g);
        if (GOR__UNLIKELY(g->lock_depth))
            gor__tie(gor__self(), g);
        gor__call_user(g->fn, g->arg);
        if (GOR__TSAN || GOR__ASAN)
            gor__g_exit(g);
        sp = gor__g_finish(g, GOR__ENDS_IN_ITS_FIRST);
    } while (!sp);
    return sp;
}

/* -- panic --------------------------------------------------------------------------------- */

/* In a gor call. Deferred calls run; one of them may recover. */
static void gor__panic_raise(const char *here, const char *text) __attribute__((noreturn));
static void gor__panic_raise(const char *here, const char *text)
{
    gor__m *m = gor__self();
    gor__g *g = m ? gor__m_g(m) : NULL;
    char line[700];
    gor__extra *x = g && g != &m->g0 ? gor__extra_of(g) : NULL;
    gor__panicking now = { x ? x->panics : NULL, text, here };
    if (x) {
        snprintf(x->text, sizeof x->text, "%s", text);
        x->recovered = false;
        x->panics = &now;
        gor__run_defers(g);
        if (x->recovered)
            gor__g_exit(g);
    }
    if (gor__rt.opt.on_panic)
        gor__rt.opt.on_panic(text, gor__rt.opt.user);
    if (x) {
        x->panics = now.outer;                     /* this one is the headline */
        snprintf(line, sizeof line, "panic: %.500s\n    at %.100s, in goroutine %llu \"%.40s\"",
                 text, here, (unsigned long long)gor__au64_load_rlx(&g->id), gor__g_name(g));
    } else {
        snprintf(line, sizeof line, "panic: %.500s\n    at %.100s, outside of goroutines", text,
                 here);
    }
    gor__fatal(line, x ? g : NULL);
}

/* A goroutine-only call came from outside. Not inlined: its text would be in the caller's frame. */
static void gor__no_goroutine(const char *call) __attribute__((noreturn));
static GOR__NOINLINE void gor__no_goroutine(const char *call)
{
    char text[200];
    snprintf(text, sizeof text, "%s called outside of a goroutine%s", call,
             gor__is_on() ? "" : ": no runtime is running");
    gor__panic_raise("?", text);
}

static gor__m *gor__need_goroutine(gor__m *m, const char *call)
{
    if (GOR__UNLIKELY(!m))
        gor__no_goroutine(call);
    return m;
}

void gor__panic_at(const char *here, const char *fmt, ...)
{
    char text[500];
    va_list args;
    gor__enter();
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    gor__panic_raise(here, text);
}

/* Put a record, of the caller's storage, on top. 0 or -ENOMEM. */
static int gor__defer_push(gor__g *g, gor__defer *d, void (*fn)(void *), void *arg)
{
    gor__extra *x = gor__extra_of(g);
    if (!x)
        return -ENOMEM;
    d->fn = fn;
    d->arg = arg;
    d->borrowed = true;
    d->next = x->defers;
    x->defers = d;
    return 0;
}

static void gor__defer_remove(gor__g *g, gor__defer *d)
{
    gor__defer **at = &g->extra->defers;
    while (*at && *at != d)
        at = &(*at)->next;
    if (*at)
        *at = d->next;
}

int gor_defer(void (*fn)(void *), void *arg)
{
    gor__m *m = gor__enter();
    gor__g *g = m ? gor__m_g(m) : NULL;
    gor__defer *d = g && fn ? (gor__defer *)gor__alloc(sizeof *d) : NULL;
    int rc = !g ? -ESRCH : !fn ? -EINVAL : !d ? -ENOMEM : 0;
    if (rc == 0) {
        rc = gor__defer_push(g, d, fn, arg);
        if (rc == 0)
            d->borrowed = false;
        else
            gor__free(d, sizeof *d);
    }
    gor__leave(m);
    return rc;
}

const char *gor_recover(void)
{
    gor__m *m = gor__enter();
    gor__extra *x = m ? gor__m_g(m)->extra : NULL;
    const char *text = x && x->panics ? x->text : NULL;
    if (text) {
        x->recovered = true;
        x->panics = NULL;                          /* those before it will not go on either */
    }
    gor__leave(m);
    return text;
}

/* -- the calls about oneself --------------------------------------------------------------- */

int (gor_go)(void (*fn)(void *), void *arg) { return gor__go_at(fn, arg, "?\0?"); }

int (gor_go_copy)(void (*fn)(void *), const void *data, size_t n)
{
    return gor__go_copy_at(fn, data, n, "?\0?");
}

int (gor_go_with)(const gor_attr *a, void (*fn)(void *), void *arg)
{
    return gor__go_with_at(a, fn, arg, "?\0?");
}

GOR__INLINE int gor__go(const gor__spec *s)
{
    gor__m *m = gor__enter();
    int rc = gor__spawn_here(m, s);
    gor__leave(gor__self());
    return rc;
}

int gor__go_at(void (*fn)(void *), void *arg, const char *site)
{
    gor__spec s = { fn, arg, site, NULL, 0, NULL, NULL, NULL, NULL };
    return gor__go(&s);
}

int gor__go_copy_at(void (*fn)(void *), const void *data, size_t n, const char *site)
{
    gor__spec s = { fn, NULL, site, data, n, NULL, NULL, NULL, NULL };
    return gor__go(&s);
}

int gor__go_with_at(const gor_attr *a, void (*fn)(void *), void *arg, const char *site)
{
    gor__spec s = { fn, arg, site, NULL, 0, a, NULL, NULL, NULL };
    return gor__go(&s);
}

/* Calling with six words is calling with fewer: both ABIs pass each in a register of its own,
 * and the macro has seen to it that the values are what the parameters' types would make of
 * them. */
__attribute__((no_sanitize("undefined")))
static void gor__run_call(void *p)
{
    gor__call *c = (gor__call *)p;
    void (*fn)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t) =
        (void (*)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t))c->fn;
    fn(c->arg[0], c->arg[1], c->arg[2], c->arg[3], c->arg[4], c->arg[5]);
}

int gor__go_call(const gor__call *call, const char *site)
{
    return gor__go_copy_at(gor__run_call, call, sizeof *call, site);
}

GOR__SWITCHES void gor_yield(void)
{
    gor__yield_here(gor__need_goroutine(gor__enter(), "gor_yield"));
    gor__call_end();                               /* a goroutine's: gor__leave need not ask */
}

void gor_exit(void)
{
    gor__m *m = gor__need_goroutine(gor__enter(), "gor_exit");
    gor__g_exit(gor__m_g(m));
}

/* The running G, or NULL; for calls that ask for nothing else, and so need not look at what is
 * asked. */
static gor__g *gor__running(void)
{
    gor__m *m;
    gor__g *g;
    gor__call_begin();
    m = gor__self();
    g = m ? gor__m_g(m) : NULL;
    gor__call_end();
    return g;
}

uint64_t gor_id(void)
{
    gor__g *g = gor__running();
    return g ? gor__au64_load_rlx(&g->id) : 0;
}

const char *gor_name(void)
{
    gor__g *g = gor__running();
    return g ? gor__g_name(g) : "";
}

void gor_preempt_off(void)
{
    gor__g *g = gor__running();
    if (!g)
        return;
    gor__g_add_trait(g, GOR__TRAIT_ESTATE);
    gor__au32_store_rlx(&g->no_preempt, gor__au32_load_rlx(&g->no_preempt) + 1);
}

void gor_preempt_on(void)
{
    gor__m *m = gor__enter();
    gor__g *g = m ? gor__m_g(m) : NULL;
    if (g && gor__au32_load_rlx(&g->no_preempt))
        gor__au32_store_rlx(&g->no_preempt, gor__au32_load_rlx(&g->no_preempt) - 1);
    gor__leave(m);
}

/* Not by gor__enter: it may yield, and come back on another thread than the caller's. The P is not
 * touched, which may have been taken. */
int gor_lock_thread(void)
{
    gor__m *m;
    gor__g *g;
    gor__call_begin();
    m = gor__need_goroutine(gor__self(), "gor_lock_thread");
    if (gor__asked(m) & GOR__ORPHAN)
        gor__attend(m);                            /* never back */
    g = gor__m_g(m);
    if (g->lock_depth++ == 0)
        gor__tie(m, g);
    gor__leave(m);
    return 0;
}

void gor_unlock_thread(void)
{
    gor__m *m = gor__need_goroutine(gor__enter(), "gor_unlock_thread");
    gor__g *g = gor__m_g(m);
    if (g->lock_depth == 0)
        gor__panic_raise("gor_unlock_thread", "unlock of a thread that is not locked");
    if (--g->lock_depth == 0) {
        gor__aptr_store_rlx(&m->locked_g, NULL);
        gor__au32_store_rlx(&m->detour, 0);
        gor__aptr_store_rlx(&g->locked, NULL);
        gor__au32_store_rlx(&g->traits, gor__au32_load_rlx(&g->traits) & ~GOR__TRAIT_TIED);
        gor__au32_store_rlx(&g->hold, GOR__ON_CPU);
    }
    gor__leave(m);
}

/* -- goroutine-local slots ----------------------------------------------------------------- */

static gor__slot *gor__slot_of(gor__m *m, gor_local *k)
{
    gor__extra *x = gor__m_g(m)->extra;
    gor__slot *s = x ? x->slots : NULL;
    while (s && s->key != k)
        s = s->next;
    return s;
}

void *gor_local_get(gor_local *k)
{
    gor__m *m = gor__need_goroutine(gor__enter(), "gor_local_get");
    gor__slot *s = gor__slot_of(m, k);
    gor__leave(m);
    return s ? s->value : NULL;
}

int gor_local_set(gor_local *k, void *value)
{
    gor__m *m = gor__need_goroutine(gor__enter(), "gor_local_set");
    gor__slot *s = gor__slot_of(m, k);
    gor__extra *x = s ? NULL : gor__extra_of(gor__m_g(m));
    if (!s && x && (s = (gor__slot *)gor__alloc(sizeof *s)) != NULL) {
        s->key = k;
        s->next = x->slots;
        x->slots = s;
    }
    if (s)
        s->value = value;
    gor__leave(m);
    return s ? 0 : -ENOMEM;
}

/* ==== [switch] from one goroutine to another =====================================================
 * What        gor__switch_to leaves one G and goes on in another; gor__after_switch is the first
 *             thing that runs there. A goroutine or the M's own g0 at either end.
 * Invariants  I1 errno, the C++ runtime's exception state and the floating-point control words
 *                belong to the goroutine.
 *             I2 M and P are asked for anew after a switch: gor__self().
 *             I3 What is touched of the two Gs here is not seen by ThreadSanitizer ([core] I5).
 */
#ifdef __cplusplus
extern "C" {
#endif
extern void *__cxa_get_globals(void) __attribute__((weak));
#ifdef __cplusplus
}
#endif

GOR__NO_TSAN static void gor__save_thread_state(gor__m *m, gor__g *g)
{
    gor__san_hand_over(m->errno_at);               /* to who asks for errno here next: [names] */
    gor__san_hand_over(&gor__rt.stopped);          /* to gor_stop: all that we did is before it */
    g->err = *m->errno_at;
}

GOR__NO_TSAN static void gor__load_thread_state(gor__m *m, gor__g *g)
{
    *m->errno_at = g->err;
}

/* C++: the caught exceptions, and the count of those not caught yet. Kept on the stack. */
typedef struct gor__eh { void *word[2]; } gor__eh;
static const gor__eh gor__eh_none = { { NULL, NULL } };

GOR__NO_TSAN static void gor__eh_save(const gor__m *m, gor__eh *eh)
{
    if (m->eh_at) {
        eh->word[0] = m->eh_at[0];
        eh->word[1] = m->eh_at[1];
    }
}

GOR__NO_TSAN static void gor__eh_load(gor__m *m, const gor__eh *eh)
{
    if (m->eh_at) {
        m->eh_at[0] = eh->word[0];
        m->eh_at[1] = eh->word[1];
    }
}

#if GOR__ASAN
static void gor__san_arrive(gor__m *m, gor__g *g, gor__g *prev)
{
    const void *old;
    size_t size;
    gor__san_enter_stack(g->fake, &old, &size);
    if (prev == &m->g0) {
        prev->san_stack = old;
        prev->san_size = size;
    }
}
static void gor__san_depart(gor__g *from, gor__g *to, bool dead)
{
    gor__san_leave_stack(dead ? NULL : &from->fake, to->san_stack, to->san_size);
}
#else
GOR__INLINE void gor__san_arrive(gor__m *m, gor__g *g, gor__g *prev)
{
    (void)m, (void)g, (void)prev;
}
GOR__INLINE void gor__san_depart(gor__g *from, gor__g *to, bool dead)
{
    (void)from, (void)to, (void)dead;
}
#endif

/* A stack without a guard: has its goroutine run over the end? */
GOR__NO_TSAN static GOR__NOINLINE void gor__canary_check(gor__g *g)
{
    const uint64_t *canary = (const uint64_t *)gor__aptr_load_rlx(&g->stack);
    if (*canary != GOR__STACK_CANARY)
        gor__up.overflowed(g);
}

/* rel g.hold: the stack of g, which was left, is free to be entered. */
GOR__TSAN_SEES void gor__off_cpu(gor__g *g)
{
    gor__au32_store_rel(&g->hold, gor__au32_load_rlx(&g->hold) & ~(uint32_t)GOR__ON_CPU);
}

/* Finish with the goroutine that was left. Returns the M. */
GOR__SWITCH_INLINE gor__m *gor__after_switch(void)
{
    gor__m *m = gor__self();
    gor__g *g = gor__m_g(m), *prev = (gor__g *)gor__aptr_load_rlx(&m->prev);
    gor__san_arrive(m, g, prev);
    gor__san_take_over(&m->alt_stack);             /* the beginning of its thread-locals */
    gor__load_thread_state(m, g);
    gor__arch_control_change(&prev->control, &g->control);
    if (GOR__UNLIKELY(gor__au32_load_rlx(&prev->traits) & GOR__TRAIT_CANARY))
        gor__canary_check(prev);
    if (GOR__UNLIKELY(gor__au32_load_rlx(&prev->state) == GOR__DEAD))
        gor__recycle(m, prev);
    else
        gor__off_cpu(prev);
    return m;
}

/* g is about to be left: as early as can be, see [arch]. */
GOR__INLINE void gor__switch_begin(gor__g *g) { gor__arch_control_save(&g->control); }

/* From here on g runs on m. */
GOR__INLINE void gor__switch_in(gor__m *m, gor__g *g)
{
    gor__aptr_store_rlx(&m->g, g);
    if (GOR__UNLIKELY(g->ctx != NULL))
        gor__mine_end(m);
}

/* All of a switch from `from`, which runs on m and for which it has begun, but the change of
 * stacks. Returns the stack pointer to go on at. */
GOR__SWITCH_INLINE void *gor__switch_out(gor__m *m, gor__g *from, gor__g *to)
{
    gor__save_thread_state(m, from);
    gor__aptr_store_rlx(&m->prev, from);
    gor__switch_in(m, to);
    return to->sp;
}

/* Leave from, for which the switch has begun, for to, whose hold the caller has set. Returns when
 * from runs again, perhaps on another M. */
GOR__SWITCH_INLINE void gor__switch_finish(gor__m *m, gor__g *from, gor__g *to)
{
    void *sp = gor__switch_out(m, from, to);
    gor__eh eh = { { NULL, NULL } };
    gor__eh_save(m, &eh);
    gor__san_depart(from, to, false);
    gor__g_enter_fiber(to);
    gor__arch_switch(&from->sp, sp);
    gor__eh_load(gor__after_switch(), &eh);
}

/* The change of stacks, after gor__switch_out, for one who does not come back. */
static void gor__switch_never_back(void *sp) __attribute__((noreturn));
__attribute__((no_sanitize("address"))) GOR__NO_TSAN
static void gor__switch_never_back(void *sp)
{
    gor__m *m = gor__self();
    gor__san_depart((gor__g *)gor__aptr_load_rlx(&m->prev), gor__m_g(m), true);
    gor__g_enter_fiber(gor__m_g(m));
    gor__arch_go(sp);
}

GOR__SWITCH_INLINE void gor__switch_to(gor__m *m, gor__g *from, gor__g *to)
{
    gor__switch_begin(from);
    gor__switch_finish(m, from, to);
}

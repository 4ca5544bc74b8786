/* ==== [fast] lock and unlock of a free mutex, inlined =======================================
 * Private: nothing here is to be called by name. A lock and an unlock that meet nobody are a dozen
 * instructions each; the calls would cost as much again. They do what the functions' own first
 * lines do ([machine] gor__enter, [locks]), and leave everything else to the functions.
 * GOR_NO_INLINE before the include leaves this out, for programs that have the implementation in
 * another shared object. */
#if defined(GOR_CHECK)
#if GOR_CHECK && !defined(GOR_NO_INLINE)
#define GOR_NO_INLINE                  /* the stress switches sit in the functions */
#endif
#endif

/* How an M and a G begin, for [core] to keep to. */
typedef struct gor__near_g { void *ctx; } gor__near_g;
typedef struct gor__near_m {
    gor__aptr g;
    gor__au32 in_call, attention;
} gor__near_m;

#define GOR__HIDDEN __attribute__((visibility("hidden")))
GOR_API GOR__HIDDEN gor__au32 gor__shared;     /* 0: one processor, no foreign thread: [spin] */

#ifndef GOR_NO_INLINE
/* This thread's M. Assembly, so that no compiler keeps the place over a change of threads. */
static inline gor__near_m *gor__near_self(void)
{
#if defined(__x86_64__)
    gor__near_m *m;
    __asm__ volatile("movq gor__tls_word@gottpoff(%%rip),%0\n\tmovq %%fs:(%0),%0" : "=r"(m));
#else
    gor__near_m *m, *at;
    __asm__ volatile("mrs %0,tpidr_el0\n\tadrp %1,:gottprel:gor__tls_word\n\t"
                     "ldr %1,[%1,#:gottprel_lo12:gor__tls_word]\n\tldr %0,[%0,%1]"
                     : "=&r"(m), "=&r"(at));
#endif
    return m;
}

/* Change a mutex's state, if it is old: acq and rel mutex.state. Elided while alone. */
static inline bool gor__near_swap(gor__au32 *state, uint32_t old, uint32_t to)
{
    if (__builtin_expect(__atomic_load_n(&gor__shared.v, __ATOMIC_RELAXED) != 0, 0))
        return __atomic_compare_exchange_n(&state->v, &old, to, false, __ATOMIC_ACQ_REL,
                                           __ATOMIC_RELAXED);
    if (__atomic_load_n(&state->v, __ATOMIC_ACQUIRE) != old)
        return false;
    __atomic_store_n(&state->v, to, __ATOMIC_RELEASE);
    return true;
}

/* In a gor call of an M that nobody asks anything: swap, and leave it. False: nothing is done, and
 * the function that is called instead begins with gor__enter as if nothing had been. */
static inline bool gor__near_try(gor__near_m *m, gor__au32 *state, uint32_t old, uint32_t to)
{
    __atomic_store_n(&m->in_call.v, 1, __ATOMIC_RELAXED);
    __asm__ volatile("" ::: "memory");
    if (__atomic_load_n(&m->attention.v, __ATOMIC_RELAXED) != 0 || !gor__near_swap(state, old, to))
        return false;
    __asm__ volatile("" ::: "memory");
    __atomic_store_n(&m->in_call.v, 0, __ATOMIC_RELEASE);
    return true;
}

static inline int gor__mutex_lock_near(gor_mutex *mutex)
{
    gor__near_m *m = gor__near_self();
    if (__builtin_expect(
            m && !((gor__near_g *)__atomic_load_n(&m->g.v, __ATOMIC_RELAXED))->ctx &&
            gor__near_try(m, &mutex->state, 0, 1), 1))
        return 0;
    return (gor_mutex_lock)(mutex);
}

static inline void gor__mutex_unlock_near(gor_mutex *mutex, const char *here)
{
    gor__near_m *m = gor__near_self();
    if (__builtin_expect(!m || !gor__near_try(m, &mutex->state, 1, 0), 0))
        gor__mutex_unlock_at(mutex, here);
}

#define gor_mutex_lock(m) gor__mutex_lock_near(m)
#undef gor_mutex_unlock
#define gor_mutex_unlock(m) gor__mutex_unlock_near((m), GOR__HERE)
#endif

/* ==== [fast] lock and unlock that meet nobody, inlined ==========================================
 * Private: nothing here is to be called by name. A lock and an unlock of a mutex that is free, or
 * of an rwmutex that only readers have, are a dozen instructions each; the calls would cost as much
 * again. They do what the functions' own first lines do ([machine] gor__enter, [locks]), and leave
 * everything else to the functions.
 * GOR_NO_INLINE before the include leaves this out, for programs that have the implementation in
 * another shared object. */
#if !defined(GOR_NO_INLINE)
#if defined(GOR_CHECK)
#if GOR_CHECK
#define GOR_NO_INLINE                  /* the stress switches sit in the functions */
#endif
#elif defined(__SANITIZE_THREAD__)
#define GOR_NO_INLINE                  /* ThreadSanitizer does not see into assembly */
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define GOR_NO_INLINE
#endif
#endif
#endif

#define GOR__HIDDEN __attribute__((visibility("hidden")))

/* How an M begins, for [core] to keep to. mine: what a free mutex looks like that its goroutine may
 * take by plain stores, 0 while alone, else the P's own; or GOR__MX_NOBODY: the functions are to
 * look first ([machine] gor__mine_begin). */
typedef struct gor__near_m {
    gor__aptr g;
    gor__au32 attention, mine;
    gor__aptr p;
} gor__near_m;
GOR_API GOR__HIDDEN const gor__near_m gor__nobody;     /* a foreign thread's */

/* How a P begins: who reads under spread rwmutexes ([locks]), (address << 16) + readers a slot. */
#define GOR__READER_SLOTS 32
typedef struct gor__near_p { gor__au64 readers[GOR__READER_SLOTS]; } gor__near_p;

GOR_API GOR__HIDDEN gor__au32 gor__shared;     /* 0: one processor, no foreign thread: [spin] */

/* In a mutex's state, from the right: it is locked; somebody waits; somebody did lately; how often
 * it was taken in a row, by which P. RUN is full: that P owns it. The last number is nobody's. */
#define GOR__MX_LOCKED   ((uint32_t)1)
#define GOR__MX_QUEUED   ((uint32_t)2)
#define GOR__MX_HEAT_ONE ((uint32_t)4)
#define GOR__MX_HEAT     ((uint32_t)0xffc)
#define GOR__MX_RUN_ONE  ((uint32_t)1 << 12)
#define GOR__MX_RUN      ((uint32_t)0x3ff << 12)
#define GOR__MX_P_ONE    ((uint32_t)1 << 22)
#define GOR__MX_P        ((uint32_t)0x3ff << 22)
#define GOR__MX_NOBODY   (GOR__MX_P | GOR__MX_RUN)

/* In an rwmutex's state, above the number of readers: a writer is inside; somebody waits; readers
 * may be in slots. */
#define GOR__RW_WRITER ((uint32_t)1 << 29)
#define GOR__RW_QUEUED ((uint32_t)1 << 30)
#define GOR__RW_SPREAD ((uint32_t)1 << 31)

/* The thread's words ([arch]) in assembly. An executable knows how far they are from fs; a shared
 * library has to look that up, in a register: first FIND, then WORD. */
#if defined(__x86_64__)
#if defined(__PIC__) && !defined(__PIE__)
#define GOR__X86_FIND(reg)       "movq gor__tls_word@gottpoff(%%rip)," reg "\n\t"
#define GOR__X86_WORD(reg, byte) "%%fs:" #byte "(" reg ")"
#else
#define GOR__X86_FIND(reg)       ""
#define GOR__X86_WORD(reg, byte) "%%fs:gor__tls_word@tpoff+" #byte
#endif
#endif

/* What a window at a word looks like from outside ([window]). In a call that has none it is 1. */
static inline GOR__UNUSED uint32_t gor__near_mark(const gor__au32 *word)
{
    return (uint32_t)(uintptr_t)word | 3;
}

static inline GOR__UNUSED gor__au64 *gor__near_slot(gor__near_p *p, const gor_rwmutex *mutex)
{
    uintptr_t at = (uintptr_t)mutex;
    return &p->readers[(at >> 4 ^ at >> 9) % GOR__READER_SLOTS];
}

/* One reader more, or less, in the slot of p, which is this thread's. In a window. False: the slot
 * is another mutex's, or full, or empty; nothing is done. */
static inline GOR__UNUSED bool gor__near_count(gor__near_p *p, const gor_rwmutex *mutex, bool more)
{
    gor__au64 *slot = gor__near_slot(p, mutex);
    uint64_t none = (uint64_t)(uintptr_t)mutex << 16;
    uint64_t v = __atomic_load_n(&slot->v, __ATOMIC_ACQUIRE);       /* acq slot: those before us */
    if (more && (v & 0xffff) == 0)
        v = none;
    if ((more ? v - none : v - none - 1) >= 0xffff)
        return false;
    __atomic_store_n(&slot->v, more ? v + 1 : v - 1, __ATOMIC_RELEASE);    /* rel slot */
    return true;
}

/* May a window change the mutex by plain stores? Not while somebody bars that ([locks] I4). */
static inline GOR__UNUSED bool gor__near_unbarred(const gor_mutex *mutex)
{
    return __builtin_expect(__atomic_load_n(&mutex->lock.word.v, __ATOMIC_ACQUIRE) == 0, 1);
}

#ifndef GOR_NO_INLINE
/* Begin a call, or a window: this thread's M or gor__nobody, and where its mark is. End it. As in
 * [arch], gor__arch_call_begin and _end. */
#if defined(__x86_64__)
static inline gor__near_m *gor__near_begin(uint32_t mark, uintptr_t *at)
{
    gor__near_m *m;
    *at = 0;                                       /* found anew at the end */
    __asm__ volatile(GOR__X86_FIND("%0") "movl %1," GOR__X86_WORD("%0", 8) "\n\t"
                     "movq " GOR__X86_WORD("%0", 16) ",%0"
                     : "=&r"(m) : "ri"(mark) : "memory");
    return m;
}

static inline void gor__near_end(uintptr_t at)
{
    __asm__ volatile(GOR__X86_FIND("%0") "movl $0," GOR__X86_WORD("%0", 8)
                     : "=&r"(at) : : "memory");
}
#else
static inline gor__near_m *gor__near_begin(uint32_t mark, uintptr_t *at)
{
    gor__near_m *m;
    uintptr_t check;
    __asm__ volatile("1: mrs %0,tpidr_el0\n\tadrp %1,:gottprel:gor__tls_word\n\t"
                     "ldr %1,[%1,#:gottprel_lo12:gor__tls_word]\n\tadd %1,%0,%1\n\t"
                     "add %1,%1,#8\n\tldxr %w2,[%1]\n\tmrs %2,tpidr_el0\n\tcmp %0,%2\n\t"
                     "b.ne 1b\n\tstxr %w0,%w3,[%1]\n\tcbnz %w0,1b\n\tldr %0,[%1,#8]"
                     : "=&r"(m), "=&r"(*at), "=&r"(check) : "r"(mark) : "memory", "cc");
    return m;
}

static inline void gor__near_end(uintptr_t at)
{
    __asm__ volatile("stlr wzr,[%0]" : : "r"(at) : "memory");
}
#endif

/* Change a lock's state, if it is old: acq and rel state. When others may be there; ever. */
static inline bool gor__near_swap_shared(gor__au32 *state, uint32_t old, uint32_t to)
{
    return __atomic_compare_exchange_n(&state->v, &old, to, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_RELAXED);
}

static inline bool gor__near_swap(gor__au32 *state, uint32_t old, uint32_t to)
{
    if (__builtin_expect(__atomic_load_n(&gor__shared.v, __ATOMIC_RELAXED) != 0, 0))
        return gor__near_swap_shared(state, old, to);
    if (__atomic_load_n(&state->v, __ATOMIC_ACQUIRE) != old)
        return false;
    __atomic_store_n(&state->v, to, __ATOMIC_RELEASE);
    return true;
}

/* May the call that has begun go on here? Not in a foreign thread, nor if somebody asks for m. Then
 * nothing is done, and the function that is called instead begins with gor__enter as if nothing had
 * been. */
static inline bool gor__near_goes_on(gor__near_m *m)
{
    return __builtin_expect(__atomic_load_n(&m->attention.v, __ATOMIC_RELAXED) == 0, 1);
}

/* The same for a lock, which heeds a context, too: not if this is GOR__MX_NOBODY. */
static inline uint32_t gor__near_mine(gor__near_m *m)
{
    return __atomic_load_n(&m->mine.v, __ATOMIC_RELAXED);
}

/* A lock whose state is old: take it, or give it back. */
static inline bool gor__near_lock(gor__au32 *state, uint32_t old, uint32_t to)
{
    uintptr_t at;
    gor__near_m *m = gor__near_begin(1, &at);
    if (gor__near_mine(m) == GOR__MX_NOBODY || !gor__near_swap(state, old, to))
        return false;
    gor__near_end(at);
    return true;
}

static inline bool gor__near_unlock(gor__au32 *state, uint32_t old, uint32_t to)
{
    uintptr_t at;
    if (!gor__near_goes_on(gor__near_begin(1, &at)) || !gor__near_swap(state, old, to))
        return false;
    gor__near_end(at);
    return true;
}

/* [locks] gor__mutex_take, but for what is rare. In a window. */
static inline bool gor__near_mutex_take(gor__near_m *m, gor_mutex *mutex)
{
    gor__au32 *state = &mutex->state;
    uint32_t mine = gor__near_mine(m), to;
    uint32_t barred = __atomic_load_n(&mutex->lock.word.v, __ATOMIC_ACQUIRE);
    uint32_t s = __atomic_load_n(&state->v, __ATOMIC_ACQUIRE);
    if (__builtin_expect((barred | (s ^ mine)) == 0, 1)) {
        __atomic_store_n(&state->v, mine | GOR__MX_LOCKED, __ATOMIC_RELEASE);
        return true;
    }
    if (mine == GOR__MX_NOBODY || mine == 0 || (s & (GOR__MX_RUN_ONE - 1)) ||
        (s & GOR__MX_RUN) >= GOR__MX_RUN - GOR__MX_RUN_ONE)
        return false;
    to = (s ^ mine) < GOR__MX_P_ONE ? s + GOR__MX_RUN_ONE : mine & GOR__MX_P;
    return gor__near_swap_shared(state, s, to | GOR__MX_LOCKED);
}

static inline int gor__mutex_lock_near(gor_mutex *mutex)
{
    uintptr_t at;
    gor__near_m *m = gor__near_begin(gor__near_mark(&mutex->state), &at);
    if (__builtin_expect(gor__near_mutex_take(m, mutex), 1)) {
        gor__near_end(at);
        return 0;
    }
    return (gor_mutex_lock)(mutex);
}

/* [locks] gor__mutex_unlock_plain */
static inline void gor__mutex_unlock_near(gor_mutex *mutex, const char *here)
{
    uintptr_t at;
    gor__near_m *m = gor__near_begin(gor__near_mark(&mutex->state), &at);
    bool unbarred = gor__near_unbarred(mutex);
    uint32_t s = __atomic_load_n(&mutex->state.v, __ATOMIC_RELAXED);
    if (gor__near_goes_on(m) && unbarred &&
        __builtin_expect((s & (GOR__MX_RUN_ONE - 1)) == GOR__MX_LOCKED, 1)) {
        __atomic_store_n(&mutex->state.v, s - GOR__MX_LOCKED, __ATOMIC_RELEASE);
        gor__near_end(at);
    } else {
        gor__mutex_unlock_at(mutex, here);
    }
}

/* One reader more or less, there or here. met: of those that do the same at this moment. */
static inline bool gor__near_read(gor__near_m *m, gor_rwmutex *mutex, bool more, bool *met)
{
    uint32_t s = __atomic_load_n(&mutex->state.v, __ATOMIC_RELAXED);
    *met = more ? s + 1 < GOR__RW_WRITER : s - 1 < GOR__RW_WRITER - 1;
    if (*met)
        return gor__near_swap(&mutex->state, s, more ? s + 1 : s - 1);
    return __atomic_load_n(&mutex->spread.v, __ATOMIC_ACQUIRE) == mutex &&     /* acq rw.spread */
           gor__near_count((gor__near_p *)__atomic_load_n(&m->p.v, __ATOMIC_RELAXED), mutex, more);
}

static inline int gor__rwmutex_rlock_near(gor_rwmutex *mutex)
{
    uintptr_t at;
    bool met = false;
    gor__near_m *m = gor__near_begin(gor__near_mark(&mutex->state), &at);
    if (__builtin_expect(gor__near_mine(m) != GOR__MX_NOBODY &&
                         gor__near_read(m, mutex, true, &met), 1)) {
        gor__near_end(at);
        return 0;
    }
    return met ? gor__rwmutex_rlock_met(mutex) : (gor_rwmutex_rlock)(mutex);
}

static inline void gor__rwmutex_runlock_near(gor_rwmutex *mutex, const char *here)
{
    uintptr_t at;
    bool met;
    gor__near_m *m = gor__near_begin(gor__near_mark(&mutex->state), &at);
    if (gor__near_goes_on(m) && __builtin_expect(gor__near_read(m, mutex, false, &met), 1))
        gor__near_end(at);
    else
        gor__rwmutex_runlock_at(mutex, here);
}

static inline int gor__rwmutex_lock_near(gor_rwmutex *mutex)
{
    return gor__near_lock(&mutex->state, 0, GOR__RW_WRITER) ? 0 : (gor_rwmutex_lock)(mutex);
}

static inline void gor__rwmutex_unlock_near(gor_rwmutex *mutex, const char *here)
{
    if (!gor__near_unlock(&mutex->state, GOR__RW_WRITER, 0))
        gor__rwmutex_unlock_at(mutex, here);
}

#define gor_mutex_lock(m) gor__mutex_lock_near(m)
#undef gor_mutex_unlock
#define gor_mutex_unlock(m) gor__mutex_unlock_near((m), GOR__HERE)
#define gor_rwmutex_rlock(m) gor__rwmutex_rlock_near(m)
#undef gor_rwmutex_runlock
#define gor_rwmutex_runlock(m) gor__rwmutex_runlock_near((m), GOR__HERE)
#define gor_rwmutex_lock(m) gor__rwmutex_lock_near(m)
#undef gor_rwmutex_unlock
#define gor_rwmutex_unlock(m) gor__rwmutex_unlock_near((m), GOR__HERE)
#endif

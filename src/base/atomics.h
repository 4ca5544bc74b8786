/* ==== [atomics] typed words with the memory order in the name =================================
 * What        gor__au32_load_acq(&x), gor__aptr_store_rel(&x, v), ...: rlx, acq, rel, sc. cas, xchg
 *             and add are sc; add returns the old value.
 * Invariants  A word that several threads, or several goroutines on one thread, touch without a
 *             lock is one of these; relaxed costs nothing and tells ThreadSanitizer the truth.
 * Source      The __atomic builtins: C11's model, and usable from C++.
 */

/* A compare-and-swap. What it found is of no interest; but ThreadSanitizer would see it written to
 * our stack, which another goroutine has had before, and may not know yet in which order. */
#if GOR__TSAN
#define GOR__SWAP_IF(at, old, to) __sync_bool_compare_and_swap(at, old, to)
#else
#define GOR__SWAP_IF(at, old, to)                                                                  \
    __atomic_compare_exchange_n(at, &old, to, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)
#endif

#define GOR__ATOMIC(name, T)                                                                       \
    GOR__INLINE T name##_load_rlx(const name *a)                                                   \
    {                                                                                              \
        return __atomic_load_n(&a->v, __ATOMIC_RELAXED);                                           \
    }                                                                                              \
    GOR__INLINE T name##_load_acq(const name *a)                                                   \
    {                                                                                              \
        return __atomic_load_n(&a->v, __ATOMIC_ACQUIRE);                                           \
    }                                                                                              \
    GOR__INLINE T name##_load_sc(const name *a)                                                    \
    {                                                                                              \
        return __atomic_load_n(&a->v, __ATOMIC_SEQ_CST);                                           \
    }                                                                                              \
    GOR__INLINE void name##_store_rlx(name *a, T v)                                                \
    {                                                                                              \
        __atomic_store_n(&a->v, v, __ATOMIC_RELAXED);                                              \
    }                                                                                              \
    GOR__INLINE void name##_store_rel(name *a, T v)                                                \
    {                                                                                              \
        __atomic_store_n(&a->v, v, __ATOMIC_RELEASE);                                              \
    }                                                                                              \
    GOR__INLINE void name##_store_sc(name *a, T v)                                                 \
    {                                                                                              \
        __atomic_store_n(&a->v, v, __ATOMIC_SEQ_CST);                                              \
    }                                                                                              \
    GOR__INLINE T name##_xchg(name *a, T v)                                                        \
    {                                                                                              \
        return __atomic_exchange_n(&a->v, v, __ATOMIC_SEQ_CST);                                    \
    }                                                                                              \
    GOR__INLINE bool name##_cas(name *a, T old, T v)                                               \
    {                                                                                              \
        return GOR__SWAP_IF(&a->v, old, v);                                                        \
    }
GOR__ATOMIC(gor__au32, uint32_t)
GOR__ATOMIC(gor__au64, uint64_t)
GOR__ATOMIC(gor__ai64, int64_t)
GOR__ATOMIC(gor__aptr, void *)

GOR__INLINE uint32_t gor__au32_add(gor__au32 *a, uint32_t n)
{
    return __atomic_fetch_add(&a->v, n, __ATOMIC_SEQ_CST);
}
GOR__INLINE uint32_t gor__au32_or(gor__au32 *a, uint32_t n)
{
    return __atomic_fetch_or(&a->v, n, __ATOMIC_SEQ_CST);
}
GOR__INLINE uint32_t gor__au32_and(gor__au32 *a, uint32_t n)
{
    return __atomic_fetch_and(&a->v, n, __ATOMIC_SEQ_CST);
}
GOR__INLINE uint64_t gor__au64_add(gor__au64 *a, uint64_t n)
{
    return __atomic_fetch_add(&a->v, n, __ATOMIC_SEQ_CST);
}

/* A count that orders nothing. */
GOR__INLINE uint32_t gor__au32_count(gor__au32 *a, uint32_t n)
{
    return __atomic_fetch_add(&a->v, n, __ATOMIC_RELAXED);
}
GOR__INLINE void gor__au64_count(gor__au64 *a, uint64_t n)
{
    __atomic_fetch_add(&a->v, n, __ATOMIC_RELAXED);
}

/* A counter that one thread at a time writes and any thread reads. */
GOR__INLINE void gor__au64_bump(gor__au64 *a)
{
    gor__au64_store_rlx(a, gor__au64_load_rlx(a) + 1);
}
GOR__INLINE void gor__au64_bump_rel(gor__au64 *a)
{
    gor__au64_store_rel(a, gor__au64_load_rlx(a) + 1);
}

#define GOR__COMPILER_BARRIER() __asm__ volatile("" ::: "memory")

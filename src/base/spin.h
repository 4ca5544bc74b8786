/* ==== [spin] locks of a few instructions, elided while nobody else is there =====================
 * What        gor__lock / gor__unlock around a few dozen instructions on shared structures.
 * Invariants  I1 A goroutine never switches or calls the user with one held, nor allocates, but
 *                for a timer that fires: that may need a goroutine, and so the allocator's hooks.
 *             I2 gor__shared is 0 only while one processor exists and no foreign thread has
 *                called: then only that processor's goroutines get here, one at a time, and there
 *                is nothing to lock. No lock is held over a switch, or the end of a call; so the
 *                switch to shared mode ([machine] gor__go_shared) only has to wait until the
 *                processor is between two gor calls. Till then an unlock may meet a word that was
 *                not set.
 *             I3 Ranks only rise; two channels at once are taken in the order of their addresses.
 *             I4 The word is 0, or GOR__TAKEN; that of a channel or of timers may name the P that
 *                owns the lock ([owned]), free or with GOR__TAKEN.
 * Runs on     Any thread. Spins, then lets other threads run: the holder may have lost its CPU.
 * Source      Test-and-test-and-set with plain-store unlock; elision as in biased locking; fewer
 *             at a time at a lock that is fought for: Dice and Kogan, "Avoiding Scalability
 *             Collapse by Restricting Concurrency" (2019).
 * Tests       every one, GOR_CHECK builds check I3
 */
gor__au32 gor__shared = { 1 };
static gor__au32 gor__settled = { 1 };         /* shared, and no elided holder is left */

/* Others may be there from now on. The caller knows that nobody holds an elided lock; who enters
 * later sees this. An inlined lock does not look: the caller ends mine, too ([machine]). */
static void gor__share(void)
{
    gor__au32_store_sc(&gor__shared, 1);
    gor__au32_store_sc(&gor__settled, 1);
}

/* Nobody is there but the caller. In this order: a thread that comes meanwhile finds that nothing
 * is settled, and shares anew ([machine] gor__go_shared). */
static void gor__elide(void)
{
    gor__au32_store_sc(&gor__settled, 0);
    gor__au32_store_sc(&gor__shared, 0);
}

/* The lock order, lowest first; a reason each. */
#define GOR__RANKS(X)                                                                              \
    X(TIMERS, "a timer that fires cancels contexts and sends to channels")                         \
    X(CTX,    "a parent is locked before its children; done closes a channel")                     \
    X(OBJECT, "channels, mutexes, tasks: wakes goroutines")                                        \
    X(SCHED,  "run queues and idle lists: the last word of every wake-up")                         \
    X(MEMORY, "stacks and goroutine slabs")
#define GOR__RANK_ENUM(name, why) GOR__RANK_##name,
enum gor__rank { GOR__RANKS(GOR__RANK_ENUM) GOR__N_RANKS };

/* What must hold; looked at in GOR_CHECK builds. */
GOR__INLINE void gor__check(bool holds, const char *what)
{
    if (GOR_CHECK && !holds) {
        fprintf(stderr, "gor: not so: %s\n", what);
        abort();
    }
}

#if GOR_CHECK
static __thread volatile uint8_t gor__held[GOR__N_RANKS];
GOR__NO_TSAN static GOR__NOINLINE void gor__rank_push(enum gor__rank rank)
{
    for (int r = (int)rank + 1; r < GOR__N_RANKS; r++)
        if (gor__held[r]) {
            fprintf(stderr, "gor: lock of rank %d taken under one of rank %d\n", (int)rank, r);
            abort();
        }
    gor__held[rank] = (uint8_t)(gor__held[rank] + 1);
}
GOR__NO_TSAN static GOR__NOINLINE void gor__rank_pop(enum gor__rank rank)
{
    gor__held[rank] = (uint8_t)(gor__held[rank] - 1);
}
#else
GOR__INLINE void gor__rank_push(enum gor__rank rank) { (void)rank; }
GOR__INLINE void gor__rank_pop(enum gor__rank rank) { (void)rank; }
#endif

/* Two that take one lock in turns send its cache lines, and those of what it guards, to and fro:
 * an operation then takes five times as long as if one of them did all. So who has found locks
 * taken again and again, each time soon after the last, stays away for a while. The other one meets
 * nobody meanwhile, and does not. Who has more to do between two locks than what `soon` is, is
 * never in a crowd: he would lose by waiting. */
#define GOR__CROWD       8
#define GOR__CROWD_SOON  (GOR__ARCH_TICKS / 4)
#define GOR__CROWD_AWAY  (2 * GOR__ARCH_TICKS)

/* Nobody switches between reading and writing it: so __thread is safe here. Atomic, because two
 * goroutines of a thread are two threads to ThreadSanitizer. */
static __thread struct { gor__au64 last; gor__au32 n; } gor__crowd;

/* Touch nothing until so many ticks after begin. */
static void gor__stay_away(uint64_t begin, uint64_t ticks)
{
    while (gor__arch_ticks() - begin < ticks)
        gor__arch_pause();
}

static void gor__leave_crowd(uint64_t now)
{
    uint32_t n = gor__au32_load_rlx(&gor__crowd.n);
    if (now - gor__au64_load_rlx(&gor__crowd.last) >= GOR__CROWD_SOON)
        n -= n > 0;
    else if (n < 2 * GOR__CROWD)
        n++;
    gor__au32_store_rlx(&gor__crowd.n, n);
    if (n >= GOR__CROWD)
        gor__stay_away(now, GOR__CROWD_AWAY);
}

#define GOR__TAKEN ((uint32_t)1)
static GOR__NOINLINE bool gor__lock_owned(gor__spin *l, uint32_t free);        /* [owned] */

/* Take it if it looks free. */
GOR__INLINE bool gor__lock_try(gor__spin *l)
{
    uint32_t free = gor__au32_load_rlx(&l->word);
    if (free & GOR__TAKEN)
        return false;
    return free ? gor__lock_owned(l, free) : gor__au32_cas(&l->word, 0, GOR__TAKEN);
}

/* Tried i times in vain. */
static void gor__spin_again(int i)
{
    if (i < 64)
        gor__arch_pause();
    else
        gor__os_yield();
}

static GOR__NOINLINE void gor__lock_slow(gor__spin *l)
{
    uint32_t free = gor__au32_load_rlx(&l->word);
    if (free && !(free & GOR__TAKEN) && gor__lock_owned(l, free))
        return;                                    /* nobody was met */
    gor__leave_crowd(gor__arch_ticks());
    for (int i = 0; !gor__lock_try(l); i++)
        gor__spin_again(i);
    gor__au64_store_rlx(&gor__crowd.last, gor__arch_ticks());
}

/* Never elided: for what threads without a processor touch too. */
GOR__INLINE void gor__lock_always(gor__spin *l, enum gor__rank rank)
{
    gor__rank_push(rank);
    if (GOR__UNLIKELY(!gor__au32_cas(&l->word, 0, GOR__TAKEN)))
        gor__lock_slow(l);
}

/* While that is so, and no check or sanitizer wants to hear of locks, one need not even go through
 * those of many things. */
GOR__INLINE bool gor__locks_are_nothing(void)
{
    return !GOR__TSAN && !GOR_CHECK && gor__au32_load_rlx(&gor__shared) == 0;
}

/* Is there nothing to lock? Goroutines of one processor are threads to ThreadSanitizer. */
GOR__INLINE bool gor__lock_elided(gor__spin *l)
{
    if (GOR__UNLIKELY(gor__au32_load_rlx(&gor__shared) != 0))
        return false;
    if (GOR__TSAN || GOR_CHECK)                            /* acq spin.word: the last holder */
        gor__check(!(gor__au32_load_acq(&l->word) & GOR__TAKEN), "a lock that is elided is free");
    return true;
}

GOR__INLINE void gor__lock(gor__spin *l, enum gor__rank rank)
{
    if (GOR__LIKELY(gor__lock_elided(l)))
        gor__rank_push(rank);
    else
        gor__lock_always(l, rank);
}

GOR__INLINE void gor__unlock(gor__spin *l, enum gor__rank rank)
{
    gor__rank_pop(rank);
    gor__au32_store_rel(&l->word, 0);                      /* rel spin.word */
}

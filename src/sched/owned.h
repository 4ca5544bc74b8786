/* ==== [owned] locks that one processor takes again and again =====================================
 * What        Goroutines that talk to each other most often run on one P. A channel at which
 *             somebody parked GOR__OWN_AFTER times in a row on the same P becomes that P's own: it
 *             then takes the lock by a look and a plain store, in a window ([window]), instead of
 *             by a locked instruction. Another that wants it ends that first, which takes 2 us and
 *             disturbs the other processors. Parks are counted, and not locks: to count costs
 *             something, and a park costs much more. The timers of a P become its own in the same
 *             way, by starts that take the lock.
 * Invariants  O1 A lock becomes a P's own while that P holds it. Its word then names the owner,
 *                free or with GOR__TAKEN, until O2: each unlock leaves the owner there.
 *             O2 Who wants an owned lock bars it, closes the windows, and then takes it, once it is
 *                free, by a compare-and-swap, which names no owner any more. While it is barred
 *                the owner takes it by one, too, and stays the owner. To change the word alone
 *                would bar nothing: [window] W2.
 *             O3 In the whole program one is given away in 20 us or so (gor__may_own): so the
 *                membarriers that take them back stay rare, whatever the program does.
 *             O4 Who unlocks knows from its lock what to leave: to look would wait for the line, if
 *                another processor has come for it meanwhile. Where the holder may have made it its
 *                P's own (gor__note_use), as with timers and in waits, the unlock looks all the
 *                same: others come for those seldom.
 * Locks       Spins at the lock itself; gor__rt.lock (SCHED) in gor__windows_close.
 * Source      Biased locks: Kawachiya, Koseki and Onodera, "Lock Reservation" (2002); Dice, Moir
 *             and Scherer, "Quickly Reacquirable Locks" (2003). Here a processor owns, and a
 *             membarrier stands in for stopping the thread.
 * Tests       tests/sync.c; with GOR_CHECK or ThreadSanitizer four uses in a row are enough
 */
#if GOR_CHECK || GOR__TSAN
#define GOR__OWN_AFTER 4
#define GOR__OWN_TICKS 1
#else
#define GOR__OWN_AFTER 64
#define GOR__OWN_TICKS (4 * GOR__ARCH_TICKS)
#endif
static gor__au64 gor__owned_at;                /* ticks: when a lock last became somebody's own */

/* May one more lock become a P's own now? O3 */
static bool gor__may_own(void)
{
    uint64_t now = gor__arch_ticks();
    if (!gor__windows_matter() || now - gor__au64_load_rlx(&gor__owned_at) < GOR__OWN_TICKS)
        return false;
    gor__au64_store_rlx(&gor__owned_at, now);
    return true;
}

/* The word of a free lock of this M's P, or what no lock has. */
GOR__INLINE uint32_t gor__own_word(const gor__m *m)
{
    const gor__p *p = gor__p_of(m);
    return p ? gor__au32_load_rlx(&p->own) : GOR__MX_NOBODY;
}

/* In a window: is it free, and of the P with this word? Then it stays so. */
GOR__INLINE bool gor__own_is_free(const gor__ownable *l, uint32_t own)
{
    uint32_t barred = gor__au32_load_acq(&l->barred);
    uint32_t word = gor__au32_load_acq(&l->lock.word);     /* acq spin.word */
    return GOR__LIKELY((barred | (word ^ own)) == 0);
}

/* By its owner, in a window that stays open if this returns true: then nobody has the lock, nor
 * gets it before gor__own_shut. False: it is taken, or barred, or not his any more. */
GOR__INLINE bool gor__own_open(gor__ownable *l, uint32_t own)
{
    gor__window_open(&l->lock.word);
    if (gor__own_is_free(l, own))
        return true;
    gor__window_shut();
    return false;
}

/* What was done in the window is for the next who opens one: the P's goroutines are threads to
 * ThreadSanitizer. */
GOR__INLINE void gor__own_release(gor__ownable *l)
{
    if (GOR__TSAN)
        gor__au32_store_rel(&l->lock.word, gor__au32_load_rlx(&l->lock.word));
}

GOR__INLINE void gor__own_shut(gor__ownable *l)
{
    gor__own_release(l);
    gor__window_shut();
}

/* The same as gor__own_open, but take it. */
GOR__INLINE bool gor__lock_own(gor__ownable *l, uint32_t own)
{
    bool mine = gor__own_open(l, own);
    if (mine) {
        gor__au32_store_rlx(&l->lock.word, own | GOR__TAKEN);
        gor__window_shut();
    }
    return mine;
}

/* O2. False: somebody else is at it. */
static GOR__NOINLINE bool gor__lock_disown(gor__ownable *l)
{
    if (!gor__au32_cas(&l->barred, 0, 1))
        return false;
    if (gor__windows_matter())
        gor__windows_close(&l->lock.word);
    for (int i = 0;; i++) {
        uint32_t word = gor__au32_load_rlx(&l->lock.word);
        if (!(word & GOR__TAKEN) && gor__au32_cas(&l->lock.word, word, GOR__TAKEN))
            break;
        gor__spin_again(i);
    }
    gor__au32_store_rel(&l->barred, 0);
    return true;
}

/* One that is free and has an owner. False: no more, or not yet. */
static GOR__NOINLINE bool gor__lock_owned(gor__spin *lock, uint32_t free)
{
    gor__ownable *l = (gor__ownable *)lock;
    if (free != gor__own_word(gor__self()))
        return gor__lock_disown(l);
    return gor__lock_own(l, free) || gor__au32_cas(&lock->word, free, free | GOR__TAKEN);
}

/* Count a use of l, which the caller holds, on the P with this word. After enough in a row the P
 * owns it. */
GOR__INLINE void gor__note_use(gor__ownable *l, uint32_t own)
{
    if (l->own != own) {
        l->own = own;
        l->times = 0;
    } else if (GOR__UNLIKELY(++l->times >= GOR__OWN_AFTER)) {
        l->times = 0;
        if (own != GOR__MX_NOBODY && gor__au32_load_rlx(&l->lock.word) == GOR__TAKEN &&
            gor__may_own())
            gor__au32_store_rlx(&l->lock.word, own | GOR__TAKEN);
    }
}

/* gor__lock, for locks that may be owned. Returns what gor__unlock_to is to leave. */
GOR__INLINE uint32_t gor__lock_ownable(gor__ownable *l, enum gor__rank rank)
{
    uint32_t own;
    gor__rank_push(rank);
    if (GOR__LIKELY(gor__lock_elided(&l->lock)))
        return 0;
    own = gor__own_word(gor__self());
    if (gor__au32_load_rlx(&l->lock.word) == own && gor__lock_own(l, own))
        return own;
    if (GOR__LIKELY(gor__au32_cas(&l->lock.word, 0, GOR__TAKEN)))
        return 0;
    gor__lock_slow(&l->lock);
    return gor__au32_load_rlx(&l->lock.word) & ~GOR__TAKEN;
}

/* The same if it is free, with a P, for a few lines that take no other lock. */
GOR__INLINE bool gor__lock_if_free(const gor__m *m, gor__ownable *l, enum gor__rank rank,
                                   uint32_t *leave)
{
    *leave = 0;
    if (GOR__UNLIKELY(!gor__lock_elided(&l->lock))) {
        uint32_t own = gor__own_word(m), free = gor__au32_load_rlx(&l->lock.word);
        if (free == own ? !gor__lock_own(l, own)
                        : free != 0 || !gor__au32_cas(&l->lock.word, 0, GOR__TAKEN))
            return false;
        *leave = free;
    }
    gor__rank_push(rank);
    return true;
}

GOR__INLINE void gor__unlock_to(gor__spin *l, enum gor__rank rank, uint32_t leave)
{
    if (GOR_CHECK) {                               /* free: it was elided, till just now */
        uint32_t word = gor__au32_load_rlx(&l->word);
        gor__check(!(word & GOR__TAKEN) || word == (leave | GOR__TAKEN), "the owner stays");
    }
    gor__rank_pop(rank);
    gor__au32_store_rel(&l->word, leave);          /* rel spin.word */
}

/* For who does not know what to leave. */
GOR__INLINE void gor__unlock_owned(gor__spin *l, enum gor__rank rank)
{
    gor__unlock_to(l, rank, gor__au32_load_rlx(&l->word) & ~GOR__TAKEN);
}

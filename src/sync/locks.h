/* ==== [locks] mutex, rwmutex, cond, once ================================================== */

/* -- mutex ------------------------------------------------------------------------------------
 * What        state: LOCKED, QUEUED (somebody may wait), HEAT (somebody did lately, counted down by
 *             the unlocks since), RUN: how often the same P took it in a row, and which. Without
 *             QUEUED and HEAT a lock is a compare-and-swap, and an unlock a look and a plain store,
 *             in a window ([window]). With a full RUN the mutex is that P's own: a lock is a look
 *             and a plain store, too.
 * Fairness    Normally a woken waiter competes with who comes by, which is fast; one that has
 *             waited for 1 ms gets the mutex from the unlocker's hands. A waiter that loses keeps
 *             its age, and queues first.
 * Invariants  I1 While QUEUED, the state changes under m->lock only, but for who comes by and
 *                locks.
 *             I2 A waiter that is woken to compete tries before anything else, its deadline
 *                included: a wake-up is never lost, the next unlock sees to the next waiter.
 *             I3 The unlocker lets go of m->lock while it still holds the mutex, or while a waiter
 *                that it took is about to: so the mutex is still there.
 *             I4 While there is QUEUED or HEAT no plain lock or unlock is under way, and none
 *                begins while m->lock is held. Who sets the first of the bits holds it, and closes
 *                the windows before it looks at the state for the last time. That takes 0.6 us and
 *                disturbs the other processors; HEAT spreads it over 1000 unlocks, which are
 *                compare-and-swaps meanwhile. The bits alone would bar nothing: [window] W2.
 *             I5 Only its owner locks an owned mutex; inlined, by the M's mine, which is ended when
 *                it loses that P. Who else wants it takes it away first: sets HEAT as in I4,
 *                empties RUN, and takes HEAT off. With QUEUED or HEAT nobody comes to own it.
 *             I6 An owner is a P, not a goroutine: what it did last is seen by who holds it next.
 *                A mutex that was left owned by a P which is gone, or by one of an earlier run, is
 *                owned all the same.
 * Source      Go's sync.Mutex, whose two modes are one rule here. The plain unlock: Dice, Huang
 *             and Yang, "Asymmetric Dekker Synchronization" (2001); here the look comes first. The
 *             owner: Kawachiya, Koseki and Onodera, "Lock Reservation" (2002), for processors.
 */
enum { GOR__YOURS = 0, GOR__COMPETE = 1 };     /* a mutex waiter's rc */

/* A compare-and-swap, elided as locks are. */
GOR__INLINE bool gor__state_swap(gor__au32 *state, uint32_t old, uint32_t to)
{
    if (GOR__LIKELY(gor__au32_load_rlx(&gor__shared) == 0)) {
        if (gor__au32_load_acq(state) != old)
            return false;
        gor__au32_store_rel(state, to);
        return true;
    }
    return gor__au32_cas(state, old, to);
}

/* The last waiter leaves: nobody is queued. Under m->lock. */
static void gor__mutex_tidy_locked(gor_mutex *m)
{
    if (!gor__wq_first(&m->waiters))
        gor__au32_and(&m->state, ~GOR__MX_QUEUED);
}

/* From here on an unlock takes m->lock (QUEUED) or is a compare-and-swap (HEAT), and nobody owns m.
 * Under m->lock. I4, I5 */
static void gor__mutex_bar_locked(gor_mutex *m, uint32_t bits)
{
    if (gor__au32_or(&m->state, bits) & (GOR__MX_QUEUED | GOR__MX_HEAT))
        return;
    if (gor__windows_matter()) {                   /* asked now: gor_run may just have begun */
        gor__windows_close(&m->state);
        gor__au32_or(&m->state, bits);             /* a window may have undone it: the last one */
    }
    gor__au32_and(&m->state, ~(GOR__MX_RUN | GOR__MX_P));
}

static void gor__mutex_queue_locked(gor_mutex *m)
{
    bool alone = gor__au32_load_rlx(&gor__shared) == 0;
    gor__mutex_bar_locked(m, alone ? GOR__MX_QUEUED : GOR__MX_QUEUED | GOR__MX_HEAT);
}

GOR__INLINE bool gor__mutex_owned(uint32_t state)
{
    return (state & GOR__MX_RUN) == GOR__MX_RUN;
}

static void gor__mutex_disown(gor_mutex *m)
{
    gor__lock(&m->lock, GOR__RANK_OBJECT);
    if (gor__mutex_owned(gor__au32_load_rlx(&m->state))) {
        gor__mutex_bar_locked(m, GOR__MX_HEAT);
        gor__au32_and(&m->state, ~GOR__MX_HEAT);   /* it was 0 before */
    }
    gor__unlock(&m->lock, GOR__RANK_OBJECT);
}

/* An owner saves 10 ns each time, and who comes next pays 2 us: so it takes a long row. Checks want
 * it often. */
#if GOR_CHECK || GOR__TSAN
#define GOR__MUTEX_RUN_BEGIN (GOR__MX_RUN - 8 * GOR__MX_RUN_ONE)
#else
#define GOR__MUTEX_RUN_BEGIN 0
#endif
/* Not yet ([owned] O3): asked again after half a row. */
#define GOR__MUTEX_RUN_BACK (GOR__MX_RUN / GOR__MX_RUN_ONE / 2 * GOR__MX_RUN_ONE)

/* What a free mutex's state becomes when it is taken by a P that has `own` for one of its own. */
static uint32_t gor__mutex_taken(uint32_t s, uint32_t own)
{
    uint32_t kept = s & (GOR__MX_QUEUED | GOR__MX_HEAT);
    if (kept || own == GOR__MX_NOBODY)
        return kept | GOR__MX_LOCKED;
    if ((s ^ own) & GOR__MX_P)
        return (own & GOR__MX_P) | GOR__MUTEX_RUN_BEGIN | GOR__MX_LOCKED;
    if ((s & GOR__MX_RUN) < GOR__MX_RUN - GOR__MX_RUN_ONE)
        return (s + GOR__MX_RUN_ONE) | GOR__MX_LOCKED;
    return (gor__may_own() ? own : s - GOR__MUTEX_RUN_BACK) | GOR__MX_LOCKED;
}

/* The P's own, if it is free. */
static bool gor__mutex_take_own(gor_mutex *m, uint32_t own)
{
    bool mine;
    gor__window_open(&m->state);
    mine = gor__near_unbarred(m) && gor__au32_load_acq(&m->state) == own;
    if (mine)
        gor__au32_store_rel(&m->state, own | GOR__MX_LOCKED);
    gor__window_shut();
    return mine;
}

/* Take it if nobody has it. */
static bool gor__mutex_take(gor_mutex *m)
{
    bool alone = gor__au32_load_rlx(&gor__shared) == 0;     /* then nobody counts: [fast] wants 0 */
    uint32_t own = alone ? GOR__MX_NOBODY : gor__own_word(gor__self());
    for (;;) {
        uint32_t s = gor__au32_load_rlx(&m->state);
        if (s & GOR__MX_LOCKED)
            return false;
        if (GOR__UNLIKELY(gor__mutex_owned(s))) {
            if (s == own && gor__mutex_take_own(m, own))
                return true;
            gor__mutex_disown(m);
        } else if (gor__state_swap(&m->state, s, gor__mutex_taken(s, own))) {
            return true;
        }
    }
}

static void gor__mutex_leave(gor_mutex *m)
{
    gor__mutex_tidy_locked(m);
    gor__unlock(&m->lock, GOR__RANK_OBJECT);
}

/* Queue and wait once. True: *rc is the answer; false: woken to compete. */
static bool gor__mutex_wait(gor_mutex *m, int64_t since, bool again, int64_t deadline,
                            gor__cancel *own, enum gor__why why, int *rc)
{
    gor__wait w;
    gor__node n;
    gor__wait_init(&w, why, m, own || deadline != GOR_FOREVER);
    gor__node_init(&n, &w, 0, NULL);
    n.amount = since;
    *rc = gor__wait_in(&m->lock, &m->waiters, &n, deadline, own, again);
    if (w.which >= 0)
        return *rc == GOR__YOURS;
    gor__lock(&m->lock, GOR__RANK_OBJECT);
    gor__mutex_leave(m);
    return true;
}

/* Has one P taken it 64 times and more since the state was s? A hint: a count that has become less,
 * as it does when a row is not rewarded, says so, too. */
static bool gor__mutex_ran_on(uint32_t s, uint32_t now)
{
    uint32_t before = (s ^ now) & GOR__MX_P ? 0 : s & GOR__MX_RUN;
    return !gor__mutex_owned(s) && (now & GOR__MX_RUN) - before >= 64 * GOR__MX_RUN_ONE;
}

/* Nobody queues, so who has it most likely runs on another processor, and not for long. Stay away
 * for microseconds, a few times: it then locks and unlocks in its own cache, as often as it likes,
 * instead of sending the line to and fro at each try. While it does so again and again, stay away
 * for twice as long each time, 15 times as long in all before a try: what it does meanwhile pays
 * for the change of hands. */
#define GOR__MUTEX_TRIES 4
#define GOR__MUTEX_AWAY  (GOR__ARCH_TICKS / 2)

/* The state after it, if it was s before. */
static uint32_t gor__mutex_stay_away(const gor_mutex *m, uint32_t s)
{
    for (uint64_t away = GOR__MUTEX_AWAY;; away *= 2) {
        uint32_t before = s;
        gor__stay_away(gor__arch_ticks(), away);
        s = gor__au32_load_rlx(&m->state);
        if (away >= 8 * GOR__MUTEX_AWAY || (s & GOR__MX_QUEUED) || !gor__mutex_ran_on(before, s))
            return s;
    }
}

/* True: taken. A deadline is met to some 50 us. */
static bool gor__mutex_outlast(gor_mutex *m, int64_t deadline)
{
    uint32_t s = gor__au32_load_rlx(&m->state);
    for (int tries = 0; tries < GOR__MUTEX_TRIES && !(s & GOR__MX_QUEUED); tries++) {
        if (deadline != GOR_FOREVER && gor__os_now() >= deadline)
            return false;
        s = gor__mutex_stay_away(m, s);
        if (gor__mutex_take(m))
            return true;
    }
    return false;
}

static int gor__mutex_lock_slow(gor_mutex *m, int64_t deadline, gor__cancel *own, enum gor__why why)
{
    int64_t since = gor__os_now();
    int rc;
    if (gor__au32_load_rlx(&gor__rt.n_procs) > 1 && gor__mutex_outlast(m, deadline))
        return 0;
    for (bool again = false;; again = true) {
        gor__lock(&m->lock, GOR__RANK_OBJECT);
        gor__mutex_queue_locked(m);
        if (gor__mutex_take(m)) {
            gor__mutex_leave(m);
            return 0;
        }
        if (deadline != GOR_FOREVER && gor__os_now() >= deadline) {
            gor__mutex_leave(m);
            return -ETIMEDOUT;
        }
        if (gor__mutex_wait(m, since, again, deadline, own, why, &rc))
            return rc;
    }
}

static int gor__mutex_lock(gor_mutex *m, int64_t deadline, gor__cancel *own)
{
    if (GOR__LIKELY(gor__mutex_take(m)))
        return 0;
    return gor__mutex_lock_slow(m, deadline, own, GOR__WHY_MUTEX);
}

/* With QUEUED set. False: those who were queued have left, unlock as if there had been none. */
static bool gor__mutex_unlock_queued(gor_mutex *m)
{
    gor__node *n;
    bool hand_over;
    gor__lock(&m->lock, GOR__RANK_OBJECT);
    n = gor__wq_first(&m->waiters);
    hand_over = n && gor__os_now() - n->amount > GOR__STARVING_NS;
    n = gor__wq_take(&m->waiters, hand_over ? GOR__YOURS : GOR__COMPETE);
    if (n && !hand_over)
        gor__au32_and(&m->state, ~GOR__MX_LOCKED);
    gor__mutex_leave(m);
    if (n)
        gor__wake(n);
    return n != NULL;
}

static GOR__NOINLINE void gor__mutex_unlock_contended(gor_mutex *m, const char *here)
{
    for (;;) {
        uint32_t s = gor__au32_load_rlx(&m->state);
        uint32_t cooler = s & GOR__MX_HEAT ? s - GOR__MX_HEAT_ONE : s;
        if (!(s & GOR__MX_LOCKED))
            gor__panic_raise(here, "unlock of unlocked mutex");
        if (s & GOR__MX_QUEUED) {
            if (gor__mutex_unlock_queued(m))
                return;
        } else if (gor__state_swap(&m->state, s, cooler & ~GOR__MX_LOCKED)) {
            return;
        }
    }
}

/* Nobody waits, nor did lately: a plain store. False: nothing is done. */
GOR__INLINE bool gor__mutex_unlock_plain(const gor__m *self, gor_mutex *m)
{
    uint32_t s;
    bool mine;
    if (!self || !gor__rt.membarrier)
        return false;
    gor__window_open(&m->state);
    mine = gor__near_unbarred(m);
    s = gor__au32_load_rlx(&m->state);
    mine &= (s & (GOR__MX_LOCKED | GOR__MX_QUEUED | GOR__MX_HEAT)) == GOR__MX_LOCKED;
    if (mine)
        gor__au32_store_rel(&m->state, s - GOR__MX_LOCKED);    /* rel state */
    gor__window_shut();
    return mine;
}

GOR__INLINE void gor__mutex_unlock(gor_mutex *m, const char *here)
{
    if (GOR__UNLIKELY(!gor__mutex_unlock_plain(gor__self(), m)))
        gor__mutex_unlock_contended(m, here);
}

int gor_mutex_lock_until(gor_mutex *m, int64_t deadline)
{
    int rc;
    gor__enter();
    rc = gor__own_ctx_err();
    if (GOR__LIKELY(rc == 0))
        rc = gor__mutex_lock(m, deadline, gor__own_ctx());
    gor__leave(gor__self());
    return rc;
}

int (gor_mutex_lock)(gor_mutex *m)
{
    gor__m *self = gor__enter();
    int rc = 0;
    if (GOR__LIKELY(self != NULL))
        gor__mine_begin(self);
    if (GOR__LIKELY(self && !gor__m_g(self)->ctx && gor__mutex_take(m))) {
        gor__leave(self);
        return 0;
    }
    rc = gor__own_ctx_err();
    if (rc == 0)
        rc = gor__mutex_lock(m, GOR_FOREVER, gor__own_ctx());
    gor__leave(gor__self());
    return rc;
}

bool gor_mutex_try_lock(gor_mutex *m)
{
    gor__m *self = gor__enter();
    bool taken = gor__mutex_take(m);
    gor__leave(self);
    return taken;
}

void gor__mutex_unlock_at(gor_mutex *m, const char *here)
{
    gor__m *self = gor__enter();
    gor__mutex_unlock(m, here);
    gor__leave(self);
}

void (gor_mutex_unlock)(gor_mutex *m) { gor__mutex_unlock_at(m, "?"); }

/* -- rwmutex ----------------------------------------------------------------------------------
 * What        state: the number of readers, or WRITER; QUEUED: somebody may wait. Without waiters
 *             each call is one compare-and-swap. Readers that meet on that word spread: from then
 *             on each processor counts its own, in a slot, by a plain store in a window
 *             ([window]). Who wants to write, or to wait, gathers them into the state first.
 * Fairness    One queue, granted in order: a writer waits for the readers before it, the readers
 *             after it wait for the writer. Nobody is starved. node.amount: 1 a writer, 0 a reader.
 * Invariants  I1 While QUEUED, the state changes under m->lock only.
 *             I2 The unlocker lets go of m->lock while somebody still holds the rwmutex: itself, or
 *                a waiter that it let in and is about to wake. So the rwmutex is still there.
 *             I3 Slots hold readers of m only while m->spread is m; SPREAD is in the state as long,
 *                and longer, and bars writers. Both change under m->lock, never while QUEUED. The
 *                readers are those of the state and of all slots: who leaves takes off one that is
 *                counted, not necessarily his own; if his processor's slot has none, nor the state,
 *                they are gathered.
 *             I4 A slot that has readers belongs to one mutex. Those of one that was left locked
 *                for good stay, until another spreads at the same address. A copy of an idle mutex
 *                is not spread: m->spread is not its own address. Once SPREAD goes that goes too:
 *                the copy may be copied back.
 *             I5 While threads that are no Ms read, m is not spread: outside counts them, from
 *                before they lock, to before they unlock. So the slots, which end with the runtime,
 *                never hold more readers than there are goroutines that read.
 * Cost        To gather takes microseconds. For 9 times as long the readers do not spread again, so
 *             writers are slowed down by a tenth at most.
 * Source      Dice and Kogan, "BRAVO: Biased Locking for Reader-Writer Locks" (2019). Here there
 *             are counts for each processor instead of a table of all readers, and no fence.
 */
/* What holding it adds to the state. */
GOR__INLINE uint32_t gor__rw_one(bool write) { return write ? GOR__RW_WRITER : 1; }

GOR__INLINE bool gor__rw_fits(uint32_t state, bool write)
{
    return write ? (state & ~GOR__RW_QUEUED) == 0 : (state & GOR__RW_WRITER) == 0;
}

GOR__INLINE bool gor__rw_held(uint32_t state, bool write)
{
    return (state & (write ? GOR__RW_WRITER : GOR__RW_WRITER - 1)) != 0;
}

/* Count one reader more or less on this processor, if m is spread. False: not here. */
static bool gor__rw_count(gor_rwmutex *m, bool more)
{
    gor__m *self = gor__self();
    bool done;
    if (!self || !gor__rt.membarrier || gor__aptr_load_rlx(&m->spread) != m)
        return false;
    gor__window_open(&m->state);
    done = gor__aptr_load_acq(&m->spread) == m &&  /* acq rw.spread: the writers before */
           gor__near_count(&gor__m_p(self)->near, m, more);
    gor__window_shut();
    return done;
}

/* The readers of m in the slots, which become empty. Nobody is in a window at m. */
static uint32_t gor__rw_take_slots(const gor_rwmutex *m)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < gor__au32_load_sc(&gor__rt.n_allp); i++) {
        gor__au64 *slot = gor__near_slot(&gor__p_at(i)->near, m);
        uint64_t v = gor__au64_load_acq(slot);     /* acq slot: what they did */
        if ((v & 0xffff) == 0 || v >> 16 << 16 != (uint64_t)(uintptr_t)m << 16)
            continue;
        n += (uint32_t)(v & 0xffff);
        gor__au64_store_rel(slot, 0);
    }
    return n;
}

/* A reader that is no goroutine comes, or goes: I5. Then it swaps the state, and so sees SPREAD:
 * a look alone might come before this. */
static void gor__rw_outside(gor_rwmutex *m, bool more)
{
    uint32_t n;
    do
        n = gor__au32_load_rlx(&m->outside);
    while ((more || n > 0) && !gor__au32_cas(&m->outside, n, more ? n + 1 : n - 1));
}

/* Readers have met on the state. */
static GOR__NOINLINE void gor__rw_spread(gor_rwmutex *m)
{
    uint32_t s;
    if (!gor__windows_matter() || (uint64_t)(uintptr_t)m >> 48 != 0 ||
        gor__au32_load_rlx(&m->outside) != 0 ||
        gor__os_now() < gor__ai64_load_rlx(&m->calm))
        return;
    gor__lock(&m->lock, GOR__RANK_OBJECT);
    do
        s = gor__au32_load_rlx(&m->state);
    while (!(s & (GOR__RW_WRITER | GOR__RW_QUEUED)) &&
           !gor__au32_cas(&m->state, s, s | GOR__RW_SPREAD));
    if (!(s & (GOR__RW_WRITER | GOR__RW_QUEUED)) && gor__aptr_load_rlx(&m->spread) != m) {
        if (gor__au32_load_sc(&m->outside) != 0) {     /* it may not have seen SPREAD */
            gor__au32_and(&m->state, ~GOR__RW_SPREAD);
        } else {
            gor__rw_take_slots(m);                 /* I4: of another life */
            gor__aptr_store_rel(&m->spread, m);    /* rel rw.spread */
        }
    }
    gor__unlock(&m->lock, GOR__RANK_OBJECT);
}

/* All readers into the state, and no SPREAD. Under the lock. */
static void gor__rw_gather_locked(gor_rwmutex *m)
{
    int64_t begin = gor__os_now();
    bool spread = gor__aptr_load_rlx(&m->spread) == m;
    uint32_t s, n = 0;
    gor__aptr_store_sc(&m->spread, NULL);          /* before we ask whether there are windows */
    if (spread) {
        if (gor__windows_matter())
            gor__windows_close(&m->state);
        n = gor__rw_take_slots(m);
    }
    do
        s = gor__au32_load_rlx(&m->state);
    while (!gor__au32_cas(&m->state, s, (s & ~GOR__RW_SPREAD) + n));
    gor__ai64_store_rlx(&m->calm, gor__os_now() + 9 * (gor__os_now() - begin));
}

/* Lock or unlock without the lock: a reader in its processor's slot, if m is spread; else in the
 * state, if nobody waits and it fits, or, to unlock, it is held so. */
GOR__INLINE bool gor__rw_change(gor_rwmutex *m, bool write, bool lock)
{
    uint32_t one = gor__rw_one(write);
    for (;;) {
        uint32_t s = gor__au32_load_rlx(&m->state);
        if (!write && gor__rw_count(m, lock))
            return true;
        if ((s & GOR__RW_QUEUED) || !(lock ? gor__rw_fits(s, write) : gor__rw_held(s, write)))
            return false;
        if (lock && !write && (s & GOR__RW_SPREAD) && !gor__self())
            return false;                          /* I5 */
        if (gor__state_swap(&m->state, s, lock ? s + one : s - one))
            return true;
        if (lock && !write)
            gor__rw_spread(m);
    }
}

/* Let in whoever is first in the queue, as long as it fits *state, which is the state to be.
 * QUEUED, under the lock; wake them after it. */
static gor__node *gor__rw_admit_locked(gor_rwmutex *m, uint32_t *state)
{
    gor__node *list = NULL, **at = &list, *n;
    while ((n = gor__wq_first(&m->waiters)) != NULL && gor__rw_fits(*state, n->amount != 0)) {
        gor__wq_remove(&m->waiters, n);
        if (!gor__wait_claim(n->wait))             /* it has given up meanwhile */
            continue;
        *state += gor__rw_one(n->amount != 0);
        n->wait->which = n->index;
        n->wait->rc = 0;
        n->next = NULL;
        *at = n;
        at = &n->next;
    }
    if (!gor__wq_first(&m->waiters))
        *state &= ~GOR__RW_QUEUED;
    return list;
}

/* I1: from here on the lock is what to hold. */
static uint32_t gor__rw_queue_locked(gor_rwmutex *m)
{
    for (;;) {
        uint32_t s = gor__au32_load_rlx(&m->state);
        if (s & GOR__RW_SPREAD)
            gor__rw_gather_locked(m);
        else if ((s & GOR__RW_QUEUED) || gor__state_swap(&m->state, s, s | GOR__RW_QUEUED))
            return s | GOR__RW_QUEUED;
    }
}

static void gor__rw_admit(gor_rwmutex *m)
{
    uint32_t s = gor__rw_queue_locked(m);
    gor__node *list = gor__rw_admit_locked(m, &s);
    gor__au32_store_rel(&m->state, s);
    gor__unlock(&m->lock, GOR__RANK_OBJECT);
    gor__wake_all(list);
}

/* Take it, if nobody is before us. Under the lock. False: QUEUED, for who will wait. */
static bool gor__rw_take_locked(gor_rwmutex *m, bool write)
{
    uint32_t s = gor__rw_queue_locked(m);
    if (gor__wq_first(&m->waiters) || !gor__rw_fits(s, write))
        return false;
    gor__au32_store_rel(&m->state, (s & ~GOR__RW_QUEUED) + gor__rw_one(write));
    return true;
}

static GOR__NOINLINE int gor__rw_lock_slow(gor_rwmutex *m, bool write)
{
    int rc = 0;
    gor__lock(&m->lock, GOR__RANK_OBJECT);
    if (gor__rw_take_locked(m, write))
        gor__unlock(&m->lock, GOR__RANK_OBJECT);
    else
        rc = gor__wait_simple(&m->lock, &m->waiters, NULL, write, GOR_FOREVER,
                              write ? GOR__WHY_WLOCK : GOR__WHY_RLOCK, m);
    if (rc != 0) {                                 /* who waited behind us may go now */
        gor__lock(&m->lock, GOR__RANK_OBJECT);
        gor__rw_admit(m);
    }
    return rc;
}

static int gor__rw_lock(gor_rwmutex *m, bool write, bool met)
{
    gor__m *self = gor__enter();
    int rc;
    if (self)
        gor__mine_begin(self);
    else if (!write)
        gor__rw_outside(m, true);
    if (met || gor__stress_hit(8))
        gor__rw_spread(m);
    rc = gor__own_ctx_err();
    if (rc == 0 && !gor__rw_change(m, write, true))
        rc = gor__rw_lock_slow(m, write);
    gor__leave(gor__self());
    return rc;
}

/* QUEUED does not say yet that somebody waits, nor SPREAD that somebody reads. */
static bool gor__rw_try_slow(gor_rwmutex *m, bool write)
{
    bool taken;
    gor__lock(&m->lock, GOR__RANK_OBJECT);
    taken = gor__rw_take_locked(m, write);
    if (taken)
        gor__unlock(&m->lock, GOR__RANK_OBJECT);
    else
        gor__rw_admit(m);
    return taken;
}

static bool gor__rw_try(gor_rwmutex *m, bool write)
{
    gor__m *self = gor__enter();
    bool outside = !self && !write, taken;
    if (outside)
        gor__rw_outside(m, true);
    taken = gor__rw_change(m, write, true) ||
            ((outside || (gor__au32_load_rlx(&m->state) & (GOR__RW_QUEUED | GOR__RW_SPREAD))) &&
             gor__rw_try_slow(m, write));
    if (outside && !taken)
        gor__rw_outside(m, false);
    gor__leave(self);
    return taken;
}

/* QUEUED, under the lock: release *state, which is the state to be, and let others in. True: done,
 * and *list is to be woken. False: all who waited have given up, and nothing is released: I2. */
static bool gor__rw_release_locked(gor_rwmutex *m, bool write, uint32_t *state, gor__node **list)
{
    *state -= gor__rw_one(write);
    *list = gor__rw_admit_locked(m, state);
    if (*list || (*state & GOR__RW_QUEUED))        /* so the other holders need the lock as well */
        return true;
    *state += gor__rw_one(write);
    return false;
}

/* With waiters. False: there are none left, nothing is done. */
static bool gor__rw_unlock_slow(gor_rwmutex *m, bool write, const char *here)
{
    gor__node *list = NULL;
    bool held, done = false;
    uint32_t s;
    gor__lock(&m->lock, GOR__RANK_OBJECT);
    s = gor__rw_queue_locked(m);
    held = gor__rw_held(s, write);
    if (held)
        done = gor__rw_release_locked(m, write, &s, &list);
    else if (!gor__wq_first(&m->waiters))
        s &= ~GOR__RW_QUEUED;
    gor__au32_store_rel(&m->state, s);
    gor__unlock(&m->lock, GOR__RANK_OBJECT);
    gor__wake_all(list);
    if (!held)
        gor__panic_raise(here, write ? "unlock of rwmutex that is not locked for writing"
                                     : "runlock of rwmutex that is not locked for reading");
    return done;
}

static void gor__rw_unlock(gor_rwmutex *m, bool write, const char *here)
{
    gor__m *self = gor__enter();
    if (!self && !write)
        gor__rw_outside(m, false);
    while (!gor__rw_change(m, write, false) && !gor__rw_unlock_slow(m, write, here))
        ;
    gor__leave(self);
}

int  (gor_rwmutex_rlock)(gor_rwmutex *m) { return gor__rw_lock(m, false, false); }
int  gor__rwmutex_rlock_met(gor_rwmutex *m) { return gor__rw_lock(m, false, true); }
int  (gor_rwmutex_lock)(gor_rwmutex *m) { return gor__rw_lock(m, true, false); }
bool gor_rwmutex_try_rlock(gor_rwmutex *m) { return gor__rw_try(m, false); }
bool gor_rwmutex_try_lock(gor_rwmutex *m) { return gor__rw_try(m, true); }
void gor__rwmutex_runlock_at(gor_rwmutex *m, const char *here) { gor__rw_unlock(m, false, here); }
void gor__rwmutex_unlock_at(gor_rwmutex *m, const char *here) { gor__rw_unlock(m, true, here); }
void (gor_rwmutex_runlock)(gor_rwmutex *m) { gor__rw_unlock(m, false, "?"); }
void (gor_rwmutex_unlock)(gor_rwmutex *m) { gor__rw_unlock(m, true, "?"); }

/* -- cond ---------------------------------------------------------------------------------- */
int gor_cond_wait_until(gor_cond *c, gor_mutex *m, int64_t deadline)
{
    gor__cancel *own;
    gor__wait w;
    gor__node n;
    int rc;
    gor__enter();
    own = gor__own_ctx();
    if (!(gor__au32_load_rlx(&m->state) & GOR__MX_LOCKED))
        gor__panic_raise("gor_cond_wait", "wait with an unlocked mutex");
    gor__lock(&c->lock, GOR__RANK_OBJECT);
    gor__wait_init(&w, GOR__WHY_COND, c, own || deadline != GOR_FOREVER);
    gor__node_init(&n, &w, 0, NULL);
    gor__wq_put(&c->waiters, &n);                  /* before the mutex is free: no signal is lost */
    gor__unlock(&c->lock, GOR__RANK_OBJECT);
    gor__mutex_unlock(m, "gor_cond_wait");
    rc = gor__block(&w, deadline, own);
    if (w.which < 0)
        gor__wq_leave(&c->lock, GOR__RANK_OBJECT, &n);
    gor__mutex_lock(m, GOR_FOREVER, NULL);
    gor__leave(gor__self());
    return rc;
}

int gor_cond_wait(gor_cond *c, gor_mutex *m) { return gor_cond_wait_until(c, m, GOR_FOREVER); }

static void gor__cond_wake(gor_cond *c, bool all)
{
    gor__m *self = gor__enter();
    gor__node *list;
    gor__lock(&c->lock, GOR__RANK_OBJECT);
    list = all ? gor__wq_take_all(&c->waiters, 0) : gor__wq_take(&c->waiters, 0);
    if (list && !all)
        list->next = NULL;
    gor__unlock(&c->lock, GOR__RANK_OBJECT);
    gor__wake_all(list);
    gor__leave(self);
}

void gor_cond_signal(gor_cond *c) { gor__cond_wake(c, false); }
void gor_cond_broadcast(gor_cond *c) { gor__cond_wake(c, true); }

/* -- once ---------------------------------------------------------------------------------- */

/* fn has returned, or its goroutine is leaving by panic or gor_exit: in any case it has run. */
static void gor__once_finish(void *p)
{
    gor_once *o = (gor_once *)p;
    gor__au32_store_rel(&o->done, 1);              /* rel once.done */
    gor_mutex_unlock(&o->mutex);
}

static int gor__once_run(gor_once *o, void (*fn)(void *), void *arg)
{
    gor__m *m = gor__enter();
    gor__defer d;
    int rc = m ? gor__defer_push(gor__m_g(m), &d, gor__once_finish, o) : 0;
    gor__leave(m);
    if (rc != 0) {
        gor_mutex_unlock(&o->mutex);
        return rc;
    }
    fn(arg);
    if (m)
        gor__defer_remove(gor__running(), &d);
    gor__once_finish(o);
    return 0;
}

/* As gor_mutex_lock, but a report says what is waited for. */
static int gor__once_lock(gor_once *o)
{
    int rc;
    gor__enter();
    rc = gor__own_ctx_err();
    if (rc == 0 && !gor__mutex_take(&o->mutex))
        rc = gor__mutex_lock_slow(&o->mutex, GOR_FOREVER, gor__own_ctx(), GOR__WHY_ONCE);
    gor__leave(gor__self());
    return rc;
}

int gor_once_do(gor_once *o, void (*fn)(void *), void *arg)
{
    int rc;
    if (gor__au32_load_acq(&o->done))              /* acq once.done: what fn did */
        return 0;
    rc = gor_mutex_try_lock(&o->mutex) ? 0 : gor__once_lock(o);
    if (rc != 0)
        return rc;
    if (!gor__au32_load_rlx(&o->done))
        return gor__once_run(o, fn, arg);
    gor_mutex_unlock(&o->mutex);
    return 0;
}

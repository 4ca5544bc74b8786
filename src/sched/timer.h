/* ==== [timer] timers of one P ====================================================================
 * What        Timers start, change, stop and fire, in the order that [due] keeps.
 * Invariants  I1 The owner of a timer in h is h, as seen under the lock, or in a window of the P
 *                that owns it.
 *             I2 first is when the first of all is due, or GOR_FOREVER; earlier, if that one is
 *                undated ([date]).
 *             I3 owner is set until t has been taken out or fire has cleared it: who stops a timer
 *                that fires right now waits for the lock, and sees what fire has done.
 *             I4 fire runs under the lock: once gor__timer_del returned, it is not running.
 * Locks       timers.own (TIMERS), held while firing. fire wakes, sends or spawns; it never waits
 *             and never starts or stops a timer. What has to is a goroutine's or, without memory
 *             for one, left to gor__timer_defer.
 * Tests       tests/time.c
 */
#define GOR__TIMERS_CAP 64                     /* that a P has room for from the start          */

/* The owner of a timer that somebody is setting: nobody else may. */
static gor__timers gor__timer_busy;

/* The run of a timer that starts itself again. */
static char gor__timer_periodic[1];

GOR__INLINE const gor__g *gor__deadline_waiter(const gor_timer *t);        /* [wait] */

/* Who makes it earlier fences before he looks for who sleeps too long ([idle] I4); made later, it
 * has that one look too early at worst. */
GOR__INLINE void gor__timers_publish(gor__timers *h)
{
    const gor__timer_entry *e = gor__due_first(h);
    gor__ai64_store_rel(&h->first, e ? e->when : GOR_FOREVER);     /* rel timers.first */
}

static GOR__NOINLINE void gor__timers_date_locked(gor__timers *h)
{
    gor__date_line(h);
    gor__timers_publish(h);
}

/* Most timers are started and stopped on the P that fires them: the lock becomes its own. */
GOR__INLINE void gor__timers_lock(gor__timers *h)
{
    gor__lock_ownable(&h->own, GOR__RANK_TIMERS);
    if (GOR__UNLIKELY(gor__au32_load_rlx(&h->undated)))
        gor__timers_date_locked(h);
}

GOR__INLINE void gor__timers_unlock(gor__timers *h)
{
    gor__unlock_owned(&h->own.lock, GOR__RANK_TIMERS);
}

/* To have had the lock is enough: then none is undated. [date] A3 */
GOR__INLINE void gor__timers_date(gor__timers *h)
{
    if (GOR__LIKELY(!gor__au32_load_rlx(&h->undated)))
        return;
    gor__timers_lock(h);
    gor__timers_unlock(h);
}

/* None yet, with some room from the start: a sleep does not fail for want of memory as long as
 * timers are few. The goroutines that come to its P are ordered with this by its lock. */
static int gor__timers_init(gor__timers *h)
{
    gor__timer_entry *memory = gor__due_alloc(GOR__TIMERS_CAP);
    if (!memory)
        return -ENOMEM;
    gor__timers_lock(h);
    gor__due_use(h, memory, GOR__TIMERS_CAP);
    gor__timers_unlock(h);
    gor__ai64_store_rlx(&h->first, GOR_FOREVER);
    gor__ai64_store_rlx(&h->date, GOR_FOREVER);    /* what gor__rt.date never is */
    return 0;
}

/* One more, due at when, has been added. True: it is the first. */
GOR__INLINE bool gor__timers_publish_one(gor__timers *h, int64_t when)
{
    if (when >= gor__ai64_load_rlx(&h->first))
        return false;
    gor__ai64_store_rel(&h->first, when);          /* rel timers.first */
    return true;
}

static uint32_t gor__timers_n(gor__timers *h)
{
    uint32_t n;
    gor__timers_lock(h);
    n = gor__due_n(h);
    gor__timers_unlock(h);
    return n;
}

/* Make room for one more. The memory is replaced outside of the lock: allocators may block.
 * 0; -ENOMEM; -EAGAIN others have filled the room meanwhile. */
static int gor__timers_grow_locked(gor__timers *h)
{
    uint32_t spare_cap = h->cap * 2;
    gor__timer_entry *spare = NULL;
    gor__timers_unlock(h);
    if (spare_cap <= GOR__TIMERS_MOST)
        spare = gor__due_alloc(spare_cap);
    gor__timers_lock(h);
    if (spare && spare_cap > h->cap) {
        uint32_t old_cap = h->cap;
        spare = gor__due_renew(h, spare, spare_cap);
        spare_cap = old_cap;
    }
    if (spare) {
        gor__timers_unlock(h);
        gor__due_free(spare, spare_cap);
        gor__timers_lock(h);
    }
    if (!spare && h->gaps)
        gor__line_close_up(h);
    if (gor__due_has_room(h))
        return 0;
    return spare ? -EAGAIN : -ENOMEM;
}

/* Put t, which is nowhere and whose when is set, into h. False: there is no room. *soonest: it is
 * the first. */
static bool gor__timers_add_locked(gor__timers *h, gor_timer *t, bool *soonest)
{
    gor__timer_entry e = { t->when, t };
    if (!gor__due_make_room(h))
        return false;
    gor__aptr_store_rel(&t->owner, h);
    gor__due_add(h, e);
    *soonest = gor__timers_publish_one(h, e.when);
    return true;
}

/* The same while there is nothing to lock, or in a window, if it is the last and there is room.
 * undated_ns: t is due so long after now, and its when is set here; 0: its when is set already. */
GOR__INLINE bool gor__timers_append(gor__timers *h, gor_timer *t, int64_t undated_ns,
                                    bool *soonest)
{
    if (!(undated_ns ? gor__date_append(h, t, undated_ns) : gor__date_append_dated(h, t)))
        return false;
    gor__aptr_store_rel(&t->owner, h);
    *soonest = gor__timers_publish_one(h, t->when);
    return true;
}

/* The same, whatever there is. Any thread. 0 or -ENOMEM. */
static int gor__timer_add(gor__timers *h, gor_timer *t, bool *soonest)
{
    bool added;
    int rc = 0;
    *soonest = false;
    gor__timers_lock(h);
    gor__note_use(&h->own, gor__own_word(gor__self()));
    while (!(added = gor__timers_add_locked(h, t, soonest)) && rc != -ENOMEM)
        rc = gor__timers_grow_locked(h);
    gor__timers_unlock(h);
    return added ? 0 : -ENOMEM;
}

/* t, if it is in h, is due at `when` from now on. False: it is not, or there is no room but by
 * renewal. *soonest: it is the first. */
static bool gor__timer_change(gor__timers *h, gor_timer *t, int64_t when, bool *soonest)
{
    gor__timer_entry e = { when, t };
    bool ours;
    gor__timers_lock(h);
    gor__note_use(&h->own, gor__own_word(gor__self()));
    ours = gor__aptr_load_rlx(&t->owner) == h && gor__due_change(h, e);
    if (ours) {
        *soonest = when < gor__ai64_load_rlx(&h->first);
        t->when = when;
        gor__timers_publish(h);
    }
    gor__timers_unlock(h);
    return ours;
}

/* Take t out of where it is. True if it was anywhere. Any thread. */
static bool gor__timer_del(gor_timer *t)
{
    for (;;) {
        gor__timers *h = (gor__timers *)gor__aptr_load_acq(&t->owner);
        bool ours;
        if (!h)
            return false;
        if (h == &gor__timer_busy) {
            gor__os_yield();
            continue;
        }
        gor__timers_lock(h);
        ours = gor__aptr_load_rlx(&t->owner) == h;
        if (ours) {
            gor__due_remove(h, t);
            gor__timers_publish(h);
            gor__aptr_store_rel(&t->owner, NULL);
        }
        gor__timers_unlock(h);
        if (ours)
            return true;
    }
}

/* The same while there is nothing to lock, or in a window, for one of h that is the last in the
 * line: nothing else moves then. False: it is not. */
GOR__INLINE bool gor__timer_del_last(gor__timers *h, gor_timer *t)
{
    if (!gor__line_remove_last(h, t))
        return false;
    gor__date_less_one(h);
    if (gor__line_n(h) == 0)
        gor__timers_publish(h);
    gor__aptr_store_rel(&t->owner, NULL);
    return true;
}

/* gor__timer_add to p's, on p, if that locks nothing and t goes to the end of the line. undated_ns:
 * as in gor__timers_append. Alone nobody has to be told that it is the first. */
GOR__INLINE bool gor__timer_add_near(gor__p *p, gor_timer *t, int64_t undated_ns,
                                    bool *soonest)
{
    gor__timers *h = &p->timers;
    bool added;
    if (gor__locks_are_nothing()) {
        added = gor__timers_append(h, t, undated_ns, soonest);
        *soonest = false;
        return added;
    }
    if (!gor__own_open(&h->own, gor__au32_load_rlx(&p->own)))
        return false;
    added = gor__timers_append(h, t, undated_ns, soonest);
    gor__own_shut(&h->own);
    return added;
}

/* gor__timer_del of one that was in h at a moment of this call, if that locks nothing and it is the
 * last in the line of the P's own. While nothing is locked it still is in h: no other call ran. */
GOR__INLINE bool gor__timer_del_near(const gor__m *m, gor__timers *h, gor_timer *t)
{
    uint32_t own;
    bool was;
    if (gor__locks_are_nothing())
        return gor__timer_del_last(h, t);
    own = gor__own_word(m);
    if (own == GOR__MX_NOBODY || !gor__own_open(&h->own, own))
        return false;
    was = gor__aptr_load_rlx(&t->owner) == h && gor__timer_del_last(h, t);
    gor__own_shut(&h->own);
    return was;
}

/* For a fire: the P that fires calls t->fn(t->arg) as soon as it has released the lock. */
static void gor__timer_defer(gor_timer *t)
{
    ((gor__timers *)gor__aptr_load_rlx(&t->owner))->deferred = t;
}

static void gor__timers_call_deferred_locked(gor__timers *h)
{
    void (*fn)(void *) = h->deferred->fn;
    void *arg = h->deferred->arg;
    h->deferred = NULL;
    gor__timers_publish(h);
    gor__timers_unlock(h);
    fn(arg);
    gor__timers_lock(h);
}

/* Put t, which has just been taken out, back. */
static void gor__timer_again(gor__timers *h, gor_timer *t, int64_t when)
{
    gor__timer_entry e = { when, t };
    t->when = when;
    gor__due_add(h, e);
}

/* t is due. fire clears owner, unless t is periodic: then it goes on from its last time, without
 * the periods that were missed. After that t may be gone. One that says it could not, for want of
 * memory, is tried again in 1 ms. */
static void gor__timer_fire(gor__timers *h, gor_timer *t, int64_t now)
{
    bool periodic = gor__aptr_load_rlx(&t->run) == gor__timer_periodic;
    gor__due_remove(h, t);
    if (periodic)
        gor__timer_again(h, t, t->when + t->u.period * (1 + (now - t->when) / t->u.period));
    if (!t->fire(t, now) && !periodic)
        gor__timer_again(h, t, now + GOR_MS);
}

/* The first of all, if it is due; or NULL. */
GOR__INLINE gor_timer *gor__timers_due(const gor__timers *h, int64_t now)
{
    const gor__timer_entry *e = gor__due_first(h);
    return e && e->when <= now ? e->timer : NULL;
}

/* Fetch what firing those in the line that are due, too, will touch: the timer, its argument, the
 * goroutine that waits. */
#define GOR__FETCH_TIMER  8            /* firings ahead                                          */
#define GOR__FETCH_ARG    5
#define GOR__FETCH_WAITER 2

GOR__INLINE const gor_timer *gor__line_peek(const gor__timers *h, uint32_t ahead, int64_t now)
{
    const gor__timer_entry *e = gor__line_at(h, h->head + ahead);
    return e->when <= now ? e->timer : NULL;
}

GOR__INLINE void gor__line_fetch(const gor__timers *h, int64_t now)
{
#if !GOR__TSAN
    const gor_timer *t;
    const gor__g *waiter;
    if (gor__line_n(h) <= GOR__FETCH_TIMER)
        return;
    t = gor__line_peek(h, GOR__FETCH_TIMER, now);
    if (t) {
        __builtin_prefetch(t, 1);
        __builtin_prefetch(&t->index, 1);          /* it may straddle two lines */
    }
    t = gor__line_peek(h, GOR__FETCH_ARG, now);
    if (t)
        __builtin_prefetch(t->arg, 1);
    t = gor__line_peek(h, GOR__FETCH_WAITER, now);
    waiter = t ? gor__deadline_waiter(t) : NULL;
    if (waiter)
        __builtin_prefetch(waiter, 1);
#else
    (void)h, (void)now;
#endif
}

/* Fire what is due. Returns how many. Any M that holds a P. */
static size_t gor__timers_run(gor__timers *h)
{
    int64_t first = gor__ai64_load_rlx(&h->first), now;
    gor_timer *t;
    size_t n = 0;
    if (first == GOR_FOREVER || first > gor__now_above())
        return 0;
    now = gor__os_now();
    if (first > now)
        return 0;
    gor__timers_lock(h);
    for (; (t = gor__timers_due(h, now)) != NULL; n++) {
        gor__line_fetch(h, now);
        gor__timer_fire(h, t, now);
        if (h->deferred)
            gor__timers_call_deferred_locked(h);
    }
    gor__timers_publish(h);
    gor__timers_unlock(h);
    return n;
}

/* All timers of one P go to another, lower in the order of Ps. At every moment one of the two
 * says when the first is due. False: out of memory, they stay. */
static bool gor__timers_move(gor__timers *to, gor__timers *from)
{
    gor_timer *t;
    bool soonest;
    uint32_t n;
    if (to == from || gor__ai64_load_rlx(&from->first) == GOR_FOREVER)
        return true;
    gor__timers_lock(to);
    gor__timers_lock(from);
    n = to->n + gor__line_n(to) + gor__due_n(from);
    if (gor__due_reserve(to, n))
        while ((t = gor__timers_due(from, GOR_FOREVER)) != NULL) {
            gor__due_remove(from, t);
            gor__timers_add_locked(to, t, &soonest);
        }
    gor__timers_publish(from);
    gor__timers_unlock(from);
    gor__timers_unlock(to);
    return gor__ai64_load_rlx(&from->first) == GOR_FOREVER;
}

/* ==== [timer] timers of one P ====================================================================
 * What        A heap by due time, in an array: {when, timer}. The timer knows its heap and place,
 *             so starting, stopping and moving one costs O(log n) and leaves nothing behind.
 * Invariants  I1 heap[i].timer->index == i and its owner is this heap, for all i < n, under the
 *                lock.
 *             I2 parent's when <= child's. first == heap[0].when, or GOR_FOREVER.
 *             I3 owner is set until t has been taken out or fire has cleared it: who stops a timer
 *                that fires right now waits for the lock, and sees what fire has done.
 *             I4 fire runs under the lock: once gor__timer_del returned, it is not running.
 * Locks       timers.lock (TIMERS), held while firing. fire wakes, sends or spawns; it never waits
 *             and never starts or stops a timer. What has to is a goroutine's or, without memory
 *             for one, left to gor__timer_defer.
 * Source      4-ary heap: fewer levels, and four children share a cache line (LaMarca, Ladner,
 *             1996).
 * Tests       tests/time.c
 */
#define GOR__HEAP_ARITY 4
#define GOR__HEAP_FIRST 64                     /* timers that a P has room for from the start   */

/* The owner of a timer that somebody is setting: nobody else may. */
static gor__timers gor__timer_busy;

/* The run of a timer that starts itself again. */
static char gor__timer_periodic[1];

/* An empty heap, with some room from the start: a sleep does not fail for want of memory as long as
 * timers are few. The goroutines that come to its P are ordered with this by its lock. */
static int gor__timers_init(gor__timers *h)
{
    gor__timer_entry *heap = (gor__timer_entry *)gor__alloc(GOR__HEAP_FIRST * sizeof *heap);
    if (!heap)
        return -ENOMEM;
    gor__lock(&h->lock, GOR__RANK_TIMERS);
    h->heap = heap;
    h->cap = GOR__HEAP_FIRST;
    gor__unlock(&h->lock, GOR__RANK_TIMERS);
    gor__ai64_store_rlx(&h->first, GOR_FOREVER);
    return 0;
}

static void gor__timers_set(gor__timers *h, size_t i, gor__timer_entry e)
{
    h->heap[i] = e;
    e.timer->index = (uint32_t)i;
}

static void gor__timers_up(gor__timers *h, size_t i, gor__timer_entry e)
{
    while (i > 0) {
        size_t parent = (i - 1) / GOR__HEAP_ARITY;
        if (h->heap[parent].when <= e.when)
            break;
        gor__timers_set(h, i, h->heap[parent]);
        i = parent;
    }
    gor__timers_set(h, i, e);
}

static void gor__timers_down(gor__timers *h, size_t i, gor__timer_entry e)
{
    for (;;) {
        size_t child = i * GOR__HEAP_ARITY + 1, least = child, end = child + GOR__HEAP_ARITY;
        if (child >= h->n)
            break;
        if (end > h->n)
            end = h->n;
        while (++child < end)
            if (h->heap[child].when < h->heap[least].when)
                least = child;
        if (h->heap[least].when >= e.when)
            break;
        gor__timers_set(h, i, h->heap[least]);
        i = least;
    }
    gor__timers_set(h, i, e);
}

/* Who makes it earlier fences before he looks for who sleeps too long ([idle] I4); made later, it
 * has that one look too early at worst. */
static void gor__timers_publish(gor__timers *h)
{
    gor__au64_store_rlx(&h->count, h->n);
    gor__ai64_store_rel(&h->first, h->n ? h->heap[0].when : GOR_FOREVER);  /* rel timers.first */
}

static void gor__timers_remove_locked(gor__timers *h, gor_timer *t)
{
    size_t i = t->index;
    gor__timer_entry last = h->heap[--h->n];
    if (i == h->n)
        return;
    if (i > 0 && h->heap[(i - 1) / GOR__HEAP_ARITY].when > last.when)
        gor__timers_up(h, i, last);
    else
        gor__timers_down(h, i, last);
}

/* Make room for one more. The array is replaced outside of the lock: allocators may block.
 * 0; -ENOMEM; -EAGAIN others have filled the room meanwhile. */
static int gor__timers_grow_locked(gor__timers *h)
{
    size_t spare_cap = h->cap * 2;
    gor__timer_entry *spare;
    gor__unlock(&h->lock, GOR__RANK_TIMERS);
    spare = (gor__timer_entry *)gor__alloc(spare_cap * sizeof *spare);
    gor__lock(&h->lock, GOR__RANK_TIMERS);
    if (spare && spare_cap > h->cap) {
        gor__timer_entry *old = h->heap;
        size_t old_cap = h->cap;
        if (h->n)
            memcpy(spare, old, h->n * sizeof *spare);
        h->heap = spare;
        h->cap = spare_cap;
        spare = old;
        spare_cap = old_cap;
    }
    if (spare) {
        gor__unlock(&h->lock, GOR__RANK_TIMERS);
        gor__free(spare, spare_cap * sizeof *spare);
        gor__lock(&h->lock, GOR__RANK_TIMERS);
    }
    if (h->n < h->cap)
        return 0;
    return spare ? -EAGAIN : -ENOMEM;
}

/* Put t, which is in no heap and whose when is set, into h. False: there is no room. */
GOR__INLINE bool gor__timers_add_locked(gor__timers *h, gor_timer *t)
{
    gor__timer_entry e = { t->when, t };
    if (GOR__UNLIKELY(h->n == h->cap))
        return false;
    gor__aptr_store_rel(&t->owner, h);
    gor__timers_up(h, h->n++, e);
    gor__au64_store_rlx(&h->count, h->n);
    if (e.when < gor__ai64_load_rlx(&h->first))
        gor__ai64_store_rel(&h->first, e.when);    /* rel timers.first */
    return true;
}

/* The same, any thread. 0 or -ENOMEM; *soonest: it is the first. */
static int gor__timer_add(gor__timers *h, gor_timer *t, bool *soonest)
{
    bool added;
    int rc = 0;
    gor__lock(&h->lock, GOR__RANK_TIMERS);
    while (!(added = gor__timers_add_locked(h, t)) && rc != -ENOMEM)
        rc = gor__timers_grow_locked(h);
    *soonest = added && t->index == 0;
    gor__unlock(&h->lock, GOR__RANK_TIMERS);
    return added ? 0 : -ENOMEM;
}

/* Take t out of its heap. True if it was in one. Any thread. */
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
        gor__lock(&h->lock, GOR__RANK_TIMERS);
        ours = gor__aptr_load_rlx(&t->owner) == h;
        if (ours) {
            gor__timers_remove_locked(h, t);
            gor__timers_publish(h);
            gor__aptr_store_rel(&t->owner, NULL);
        }
        gor__unlock(&h->lock, GOR__RANK_TIMERS);
        if (ours)
            return true;
    }
}

/* The same for the last of a heap, without which no other moves, while there is nothing to lock.
 * False: it is another, or in none. */
GOR__INLINE bool gor__timer_del_last(gor_timer *t)
{
    gor__timers *h = (gor__timers *)gor__aptr_load_rlx(&t->owner);
    if (!gor__locks_are_nothing() || !h || t->index + 1 != h->n)
        return false;
    gor__au64_store_rlx(&h->count, --h->n);
    if (h->n == 0)
        gor__ai64_store_rlx(&h->first, GOR_FOREVER);
    gor__aptr_store_rlx(&t->owner, NULL);
    return true;
}

/* A periodic timer goes on from its last time, without the periods that were missed. */
static void gor__timer_next_period(gor__timers *h, gor_timer *t, int64_t now)
{
    gor__timer_entry e;
    t->when += t->u.period * (1 + (now - t->when) / t->u.period);
    e.when = t->when;
    e.timer = t;
    gor__timers_down(h, 0, e);
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
    gor__unlock(&h->lock, GOR__RANK_TIMERS);
    fn(arg);
    gor__lock(&h->lock, GOR__RANK_TIMERS);
}

/* The first timer is due. fire clears owner, unless t is periodic; after that t may be gone. One
 * that says it could not, for want of memory, is tried again in 1 ms: the heap has room for it. */
static void gor__timer_fire_first(gor__timers *h, int64_t now)
{
    gor_timer *t = h->heap[0].timer;
    bool periodic = t->run == gor__timer_periodic;
    if (periodic)
        gor__timer_next_period(h, t, now);
    else
        gor__timers_remove_locked(h, t);
    if (!t->fire(t, now) && !periodic) {
        gor__timer_entry e;
        e.when = t->when = now + GOR_MS;
        e.timer = t;
        gor__timers_up(h, h->n++, e);
    }
}

/* Fire what is due. Returns how many. Any M that holds a P. */
static size_t gor__timers_run(gor__timers *h)
{
    int64_t first = gor__ai64_load_rlx(&h->first), now;
    size_t n = 0;
    if (first == GOR_FOREVER || first > gor__now_above())
        return 0;
    now = gor__os_now();
    if (first > now)
        return 0;
    gor__lock(&h->lock, GOR__RANK_TIMERS);
    for (; h->n && h->heap[0].when <= now; n++) {
        gor__timer_fire_first(h, now);
        if (h->deferred)
            gor__timers_call_deferred_locked(h);
    }
    gor__timers_publish(h);
    gor__unlock(&h->lock, GOR__RANK_TIMERS);
    return n;
}

/* All timers of one heap go to another, lower in the order of Ps. At every moment one of the two
 * says when the first is due. False: out of memory, they stay. */
static bool gor__timers_move(gor__timers *to, gor__timers *from)
{
    gor__timer_entry *bigger;
    size_t cap;
    if (to == from || gor__ai64_load_rlx(&from->first) == GOR_FOREVER)
        return true;
    gor__lock(&to->lock, GOR__RANK_TIMERS);
    gor__lock(&from->lock, GOR__RANK_TIMERS);
    cap = to->n + from->n + 64;
    bigger = (gor__timer_entry *)gor__alloc(cap * sizeof *bigger);
    if (bigger) {
        if (to->n)
            memcpy(bigger, to->heap, to->n * sizeof *bigger);
        gor__free(to->heap, to->cap * sizeof *bigger);
        to->heap = bigger;
        to->cap = cap;
        for (size_t i = 0; i < from->n; i++) {
            gor__aptr_store_rel(&from->heap[i].timer->owner, to);
            gor__timers_up(to, to->n++, from->heap[i]);
        }
        from->n = 0;
    }
    gor__timers_publish(to);
    gor__timers_publish(from);
    gor__unlock(&from->lock, GOR__RANK_TIMERS);
    gor__unlock(&to->lock, GOR__RANK_TIMERS);
    return bigger != NULL;
}

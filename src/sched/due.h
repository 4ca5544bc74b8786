/* ==== [due] timers in the order in which they are due ===========================================
 * What        Two arrays of {when, timer}. The line: each is due as late as the one before it, or
 *             later; a ring, to whose end most are added, because most programs wait for as long
 *             again and again, and whose head goes first. The heap: all others. The timer knows its
 *             place, so one is added, changed and taken out in O(log n), in the line in O(1), and
 *             leaves nothing behind but, in the middle of the line, a gap, which has no timer.
 * Invariants  D1 heap[i].timer->index == i for all i < n; parent's when <= child's.
 *             D2 line_at(i).timer->index == (i | GOR__IN_LINE) for all from head to tail, but for
 *                gaps; each when >= the one before. There is no gap at head.
 *             D3 n + tail - head <= cap: so whatever is in the line has a place in the heap.
 *             D4 The line is closed up when there is no room and most of it is gaps: so that each
 *                timer is moved a few times at most, whatever the order. Without memory for more
 *                room, any gap will do.
 * Locks       The owner's ([timer]).
 * Source      4-ary heap: fewer levels, and four children share a cache line (LaMarca, Ladner,
 *             1996). The line: a timing list of one duration, as in Varghese and Lauck, "Hashed and
 *             Hierarchical Timing Wheels" (1987), scheme 2, for whatever duration is common.
 * Tests       tests/time.c
 */
#define GOR__HEAP_ARITY 4
#define GOR__TIMERS_MOST ((uint32_t)1 << 30)
#define GOR__STRAYS 8                          /* at the end of the line: a few                 */
#define GOR__EARLY  64                         /* one in so many makes them make way            */
#define GOR__IN_LINE ((uint32_t)1 << 31)       /* in an index: the rest is a place in the line  */

static gor__timer_entry *gor__due_alloc(uint32_t cap)
{
    return (gor__timer_entry *)gor__alloc(2 * (size_t)cap * sizeof(gor__timer_entry));
}

static void gor__due_free(gor__timer_entry *memory, uint32_t cap)
{
    gor__free(memory, 2 * (size_t)cap * sizeof *memory);
}

/* D3. head, n or cap has changed. */
GOR__INLINE void gor__due_measure(gor__timers *h) { h->full = h->head + h->cap - h->n; }

static void gor__due_use(gor__timers *h, gor__timer_entry *memory, uint32_t cap)
{
    h->heap = memory;
    h->line = memory + cap;
    h->cap = cap;
    h->mask = cap - 1;
    gor__due_measure(h);
}

/* -- the heap ------------------------------------------------------------------------------ */

static void gor__heap_set(gor__timers *h, uint32_t i, gor__timer_entry e)
{
    h->heap[i] = e;
    e.timer->index = i;
}

static void gor__heap_up(gor__timers *h, uint32_t i, gor__timer_entry e)
{
    while (i > 0) {
        uint32_t parent = (i - 1) / GOR__HEAP_ARITY;
        if (h->heap[parent].when <= e.when)
            break;
        gor__heap_set(h, i, h->heap[parent]);
        i = parent;
    }
    gor__heap_set(h, i, e);
}

static void gor__heap_down(gor__timers *h, uint32_t i, gor__timer_entry e)
{
    for (;;) {
        uint32_t child = i * GOR__HEAP_ARITY + 1, least = child, end = child + GOR__HEAP_ARITY;
        if (child >= h->n)
            break;
        if (end > h->n)
            end = h->n;
        while (++child < end)
            if (h->heap[child].when < h->heap[least].when)
                least = child;
        if (h->heap[least].when >= e.when)
            break;
        gor__heap_set(h, i, h->heap[least]);
        i = least;
    }
    gor__heap_set(h, i, e);
}

static void gor__heap_add(gor__timers *h, gor__timer_entry e)
{
    gor__heap_up(h, h->n++, e);
    gor__due_measure(h);
}

/* Put e at i, which is vacant, or where it belongs from there. */
static void gor__heap_put(gor__timers *h, uint32_t i, gor__timer_entry e)
{
    if (i > 0 && h->heap[(i - 1) / GOR__HEAP_ARITY].when > e.when)
        gor__heap_up(h, i, e);
    else
        gor__heap_down(h, i, e);
}

static void gor__heap_remove(gor__timers *h, uint32_t i)
{
    gor__timer_entry last = h->heap[--h->n];
    gor__due_measure(h);
    if (i != h->n)
        gor__heap_put(h, i, last);
}

/* -- the line ------------------------------------------------------------------------------ */

/* How many, with the gaps. */
GOR__INLINE uint32_t gor__line_n(const gor__timers *h) { return h->tail - h->head; }

GOR__INLINE gor__timer_entry *gor__line_at(const gor__timers *h, uint32_t at)
{
    return &h->line[at & h->mask];
}

/* Is there room for one more, wherever it belongs? */
GOR__INLINE bool gor__due_has_room(const gor__timers *h)
{
    return h->tail != h->full;
}

/* It has one; what is due then comes no sooner than its last one? */
GOR__INLINE bool gor__line_suits(const gor__timers *h, int64_t when)
{
    return gor__line_n(h) == 0 || gor__line_at(h, h->tail - 1)->when <= when;
}

/* There is room, and it suits. */
GOR__INLINE void gor__line_append(gor__timers *h, gor__timer_entry e)
{
    *gor__line_at(h, h->tail) = e;
    e.timer->index = h->tail++ | GOR__IN_LINE;
}

/* Put e at the end. False: there is no room, or it does not suit. */
GOR__INLINE bool gor__line_try_append(gor__timers *h, gor__timer_entry e)
{
    if (GOR__UNLIKELY(!gor__due_has_room(h) || !gor__line_suits(h, e.when)))
        return false;
    gor__line_append(h, e);
    return true;
}

GOR__INLINE bool gor__line_is_last(const gor__timers *h, const gor_timer *t)
{
    return t->index == ((h->tail - 1) | GOR__IN_LINE);
}

/* Take t out if it is the last. It was the only one: head is where tail is. */
GOR__INLINE bool gor__line_remove_last(gor__timers *h, const gor_timer *t)
{
    if (!gor__line_is_last(h, t))
        return false;
    h->tail--;
    return true;
}

/* There is a gap; those at the head go. */
static void gor__line_trim(gor__timers *h)
{
    for (; gor__line_n(h) && !gor__line_at(h, h->head)->timer; h->head++)
        h->gaps--;
    gor__due_measure(h);
}

static void gor__line_remove(gor__timers *h, gor_timer *t)
{
    if (gor__line_remove_last(h, t))
        return;
    gor__line_at(h, t->index)->timer = NULL;
    h->gaps++;
    gor__line_trim(h);
}

/* The last one, or gap, goes, one to the heap. */
static void gor__line_drop_last(gor__timers *h)
{
    gor__timer_entry e = *gor__line_at(h, --h->tail);
    if (e.timer)
        gor__heap_add(h, e);
    else
        h->gaps--;
}

/* Without the gaps. */
static void gor__line_close_up(gor__timers *h)
{
    uint32_t at = h->head, end = h->tail;
    h->tail = at;
    h->gaps = 0;
    for (; at != end; at++)
        if (gor__line_at(h, at)->timer)
            gor__line_append(h, *gor__line_at(h, at));
}

/* -- both ---------------------------------------------------------------------------------- */

GOR__INLINE uint32_t gor__due_n(const gor__timers *h)
{
    return h->n + gor__line_n(h) - h->gaps;
}

/* The first of all, or NULL. */
GOR__INLINE const gor__timer_entry *gor__due_first(const gor__timers *h)
{
    const gor__timer_entry *e = gor__line_n(h) ? gor__line_at(h, h->head) : NULL;
    return h->n && (!e || h->heap[0].when < e->when) ? &h->heap[0] : e;
}

static void gor__due_remove(gor__timers *h, gor_timer *t)
{
    if (t->index & GOR__IN_LINE)
        gor__line_remove(h, t);
    else
        gor__heap_remove(h, t->index);
}

/* Are only a few in the line due later? */
static bool gor__line_nearly_suits(const gor__timers *h, int64_t when)
{
    return gor__line_n(h) <= GOR__STRAYS ||
           gor__line_at(h, h->tail - 1 - GOR__STRAYS)->when <= when;
}

/* One that is due before the last in the line is to go there. Now and then, if only a few there are
 * later, they make way: so those do not keep all others out of the line for as long as they are.
 * True: now it suits. */
static GOR__NOINLINE bool gor__line_make_way(gor__timers *h, int64_t when)
{
    if (++h->early % GOR__EARLY == 0 && gor__line_nearly_suits(h, when))
        while (!gor__line_suits(h, when))
            gor__line_drop_last(h);
    return gor__line_suits(h, when);
}

/* Is the line the place for what is due then? */
GOR__INLINE bool gor__line_takes(gor__timers *h, int64_t when)
{
    return GOR__LIKELY(gor__line_suits(h, when)) || gor__line_make_way(h, when);
}

/* There is room. */
GOR__INLINE void gor__due_add(gor__timers *h, gor__timer_entry e)
{
    if (gor__line_takes(h, e.when))
        gor__line_append(h, e);
    else
        gor__heap_add(h, e);
}

/* Use this memory, of a bigger cap, from now on. Returns the one until now, to be freed. */
static gor__timer_entry *gor__due_renew(gor__timers *h, gor__timer_entry *memory, uint32_t cap)
{
    gor__timer_entry *old = h->heap;
    if (h->n)
        memcpy(memory, old, h->n * sizeof *memory);
    for (uint32_t at = h->head; at != h->tail; at++)
        memory[cap + (at & (cap - 1))] = *gor__line_at(h, at);
    gor__due_use(h, memory, cap);
    return old;
}

/* Room for n in all. False: out of memory. */
static bool gor__due_reserve(gor__timers *h, uint32_t n)
{
    uint32_t old_cap = h->cap, cap = old_cap;
    gor__timer_entry *memory;
    while (cap < n && cap < GOR__TIMERS_MOST)
        cap *= 2;
    if (cap == old_cap)
        return n <= cap;
    memory = n <= cap ? gor__due_alloc(cap) : NULL;
    if (memory)
        gor__due_free(gor__due_renew(h, memory, cap), old_cap);
    return memory != NULL;
}

/* D4. False: there is no room but by renewal; or, without memory, gor__line_close_up. */
static bool gor__due_make_room(gor__timers *h)
{
    if (!gor__due_has_room(h) && h->gaps > h->cap / 2)
        gor__line_close_up(h);
    return gor__due_has_room(h);
}

/* Would t, taken out, leave a gap, and so its room taken? */
GOR__INLINE bool gor__due_leaves_gap(const gor__timers *h, const gor_timer *t)
{
    return (t->index & GOR__IN_LINE) && t->index != (h->head | GOR__IN_LINE) &&
           !gor__line_is_last(h, t);
}

/* A timer that is in h is due at e.when from now on. False: it stays as it was, for there is no
 * room but by renewal. */
static bool gor__due_change(gor__timers *h, gor__timer_entry e)
{
    if (!(e.timer->index & GOR__IN_LINE) && !gor__line_takes(h, e.when)) {
        gor__heap_put(h, e.timer->index, e);
        return true;
    }
    if (gor__due_leaves_gap(h, e.timer) && !gor__due_make_room(h))
        return false;
    gor__due_remove(h, e.timer);
    gor__due_add(h, e);
    return true;
}

/* ==== [date] timers that start without a look at the clock ======================================
 * What        When a timer is due is said from now on, and to ask what is now was half of what a
 *             start and stop took. Most that are far off are timeouts, and stopped long before. So
 *             one of GOR__UNDATED_NS or more starts undated, if that locks nothing: all that is
 *             asked is the date, a time that [sysmon] publishes each 5 ms or sooner. Who next locks
 *             these timers, as a rule its own P within microseconds, dates them: then they are due
 *             as long after a moment between start and now as they were to be after their start.
 * Invariants  A1 Who renews the date takes it away first, fences, and then asks the clock: so every
 *                look at gor__rt.date that found the old one was over by the new one.
 *             A2 The last `undated` of the line were started while gor__rt.date was `date`, and are
 *                due as long after `base`, which was before that, or microseconds after it: so too
 *                early, until gor__date_line adds at least what was between. base never goes back,
 *                and each dating moves it on: so the next of as long still suits the line.
 *             A3 Under the lock of the timers none is undated, nor on an idle P: who gives one up,
 *                or takes it, dates. So nobody goes to sleep by a when that is too early, to find
 *                then that its time begins. On its way from M to M a P may have some.
 *             A4 Of the undated of each P sysmon remembers the first date that came after theirs:
 *                they are late by the time to that, at most, even if a goroutine makes no gor call
 *                for long. While sysmon is held up they are dated by the clock; while it sleeps
 *                there is no date, and none is undated.
 * Locks       timers.own, or a window of its owner. gor__rt.date is [sysmon]'s.
 * Source      Timers whose exactness is a share of their length: the timer wheel of Linux since 4.8
 *             (Gleixner, "timers: Switch to a non-cascading wheel", 2016), an eighth there; here a
 *             hundredth, as a rule much less, and never early.
 * Tests       tests/time.c
 */
#define GOR__NO_DATE 0                         /* nobody renews it, or it is being renewed */
#define GOR__UNDATED_MOST 256                  /* then they are dated: not too many at once */

/* By sysmon: this date has come after the one by which those of h are undated. If the owner goes on
 * to another date meanwhile, next_of names one that is over, and nobody asks for it. A4 */
static void gor__date_remember(gor__timers *h, int64_t date)
{
    int64_t of = gor__ai64_load_rlx(&h->date);
    if (gor__au32_load_rlx(&h->undated) && of != date && gor__ai64_load_rlx(&h->next_of) != of) {
        gor__ai64_store_rlx(&h->next, date);
        gor__ai64_store_rel(&h->next_of, of);      /* rel timers.next_of: next */
    }
}

/* By sysmon: from now on nobody goes by it. Before it sleeps, for then nobody renews it. */
static void gor__date_end(void) { gor__ai64_store_rlx(&gor__rt.date, GOR__NO_DATE); }

/* By sysmon. Returns now: what the system says after the date was taken away, for its clock is read
 * in order, which the counter alone is not. A1 */
static int64_t gor__date_renew(void)
{
    uint32_t n = gor__au32_load_acq(&gor__rt.n_allp);
    int64_t now, date;
    gor__date_end();
    gor__arch_fence();
    now = gor__os_now();
    date = now + GOR__CLOCK_AHEAD_NS;
    gor__ai64_store_rel(&gor__rt.date, date);
    for (uint32_t i = 0; i < n; i++)
        gor__date_remember(&gor__p_at(i)->timers, date);
    return now;
}

/* The time is t, or later: base follows. Returns by how much. */
GOR__INLINE int64_t gor__date_pass(gor__timers *h, int64_t t)
{
    int64_t by = t > h->base ? t - h->base : 0;
    h->base += by;
    return by;
}

/* Put t at the end, due ns after its start, which is now. False: it cannot be undated, or there is
 * no room, or it does not suit; then it is as it was. */
GOR__INLINE bool gor__date_append(gor__timers *h, gor_timer *t, int64_t ns)
{
    int64_t date = gor__ai64_load_rlx(&gor__rt.date);
    uint32_t n = gor__au32_load_rlx(&h->undated);
    gor__timer_entry e = { 0, t };
    if (GOR__UNLIKELY(date != gor__ai64_load_rlx(&h->date))) {
        if (n || date == GOR__NO_DATE)
            return false;
        gor__ai64_store_rlx(&h->date, date);
        gor__date_pass(h, date);
    }
    e.when = gor__later(h->base, ns);
    if (GOR__UNLIKELY(n == GOR__UNDATED_MOST) || !gor__line_try_append(h, e))
        return false;
    t->when = e.when;
    gor__au32_store_rlx(&h->undated, n + 1);
    return true;
}

/* The same for one whose when is set. False also: the last are undated. */
GOR__INLINE bool gor__date_append_dated(gor__timers *h, gor_timer *t)
{
    gor__timer_entry e = { t->when, t };
    return GOR__LIKELY(!gor__au32_load_rlx(&h->undated)) && gor__line_try_append(h, e);
}

/* The last has been taken out. */
GOR__INLINE void gor__date_less_one(gor__timers *h)
{
    uint32_t n = gor__au32_load_rlx(&h->undated);
    if (n)
        gor__au32_store_rlx(&h->undated, n - 1);
}

/* A moment after all the undated were started. */
static int64_t gor__date_from(const gor__timers *h)
{
    int64_t of = gor__ai64_load_rlx(&h->date), date;
    if (gor__ai64_load_acq(&h->next_of) == of)     /* acq timers.next_of */
        return gor__ai64_load_rlx(&h->next);
    date = gor__ai64_load_rlx(&gor__rt.date);
    return date == of || date == GOR__NO_DATE ? gor__now_above() : date;
}

/* A2. There is no gap among them: none but the last is taken out while they are undated. They move
 * by the same, so the order stays. */
static void gor__date_line(gor__timers *h)
{
    int64_t late = gor__date_pass(h, gor__date_from(h));
    for (uint32_t at = h->tail - gor__au32_load_rlx(&h->undated); at != h->tail; at++) {
        gor__timer_entry *e = gor__line_at(h, at);
        e->when = gor__later(e->when, late);
        e->timer->when = e->when;
    }
    gor__au32_store_rlx(&h->undated, 0);
}

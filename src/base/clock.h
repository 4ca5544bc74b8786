/* ==== [clock] the time, without asking the system each time =====================================
 * What        gor__now_above is a time that is not before now, and half a microsecond after it,
 *             three at most: good for setting a timer, and for seeing that nothing is due yet. The
 *             CPU's counter is read, and added to what the system's clock said a moment ago: a
 *             third of what clock_gettime takes.
 * Invariants  I1 at + ticks * rate is never before the system's time. rate is a thousandth more
 *                than was measured: that covers the error of measuring it, and 500 ppm by which the
 *                kernel may slow down or hurry its clock; GOR__CLOCK_AHEAD_NS, that ticks may be
 *                older than what was read from memory before.
 *             I2 Nobody adds up but in the `span` before `until`: GOR__CLOCK_SPAN_NS after the last
 *                reading. at is stored before until, and read after it, so it is as new, or newer.
 *             I3 Each new reading is compared with what would have been answered. Once they differ
 *                by clearly more than I1 allows (counters that are not the same on all CPUs, a
 *                machine that was moved), the counter is not used any more.
 * Locks       `busy`, only tried: who does not get it reads the system's clock for itself.
 * Source      The kernel's vDSO does the same, for an exact answer. Ours may be a little late.
 * Tests       tests/time.c
 */
#define GOR__CLOCK_SPAN_NS  (200 * GOR_US)
#define GOR__CLOCK_FIRST_NS (10 * GOR_MS)      /* over which the rate is measured                */
#define GOR__CLOCK_AHEAD_NS 300                /* a core may read its counter before an older    */
                                               /* load is over: so much, at most                 */
#define GOR__CLOCK_READ_NS  (2 * GOR_US)       /* a reading that took longer is not used: what   */
                                               /* it took is the error of all answers by it      */

static struct {
    gor__au64 until, span;             /* ticks; span 0: read the system's clock               */
    gor__au64 at, rate;                /* ns; ns per tick, shifted, which is set once          */
    gor__au32 on;                      /* the counter may be used                              */
    gor__au32 busy;                    /* somebody reads for all; below: his                   */
    uint64_t  ticks;                   /* the last reading; the first, until there is a rate   */
    int64_t   ns;
} gor__clock;

#define GOR__CLOCK_SHIFT 32

GOR__INLINE uint64_t gor__clock_ns(uint64_t ticks, uint64_t rate)
{
    __extension__ typedef unsigned __int128 wide;
    return (uint64_t)((wide)ticks * rate >> GOR__CLOCK_SHIFT);
}

/* Read both. Returns how many ticks that took: the error. */
static uint64_t gor__clock_both(uint64_t *ticks, int64_t *ns)
{
    *ticks = gor__arch_ticks();
    *ns = gor__os_now();
    return gor__arch_ticks() - *ticks;
}

/* The first reading, the best of a few. Once in a process. */
static void gor__clock_begin(void)
{
    uint64_t best = UINT64_MAX;
    if (gor__au32_xchg(&gor__clock.busy, 1) != 0)  /* acq clock.busy */
        return;
    for (int i = 0; i < 8 && !gor__au32_load_rlx(&gor__clock.on); i++) {
        uint64_t ticks, took;
        int64_t ns;
        took = gor__clock_both(&ticks, &ns);
        if (took < best) {
            best = took;
            gor__clock.ticks = ticks;
            gor__clock.ns = ns;
        }
    }
    if (!gor__au64_load_rlx(&gor__clock.rate))     /* it has never been on */
        gor__au32_store_rlx(&gor__clock.on, gor__arch_ticks_steady());
    gor__au32_store_rel(&gor__clock.busy, 0);      /* rel clock.busy */
}

/* Is `ns`, read at `ticks`, what the reading before promised: not sooner than I1, and not later by
 * more than four times its margin, for rate was measured once? Busy. */
static bool gor__clock_agrees(uint64_t rate, uint64_t ticks, int64_t ns)
{
    int64_t said = (int64_t)(gor__au64_load_rlx(&gor__clock.at) + gor__clock_ns(ticks, rate));
    int64_t passed = ns - gor__clock.ns;
    return said >= ns - GOR__CLOCK_READ_NS &&
           said <= ns + passed / 256 + GOR__CLOCK_AHEAD_NS + GOR__CLOCK_READ_NS;
}

/* Answer by this reading from now on. Busy. */
static void gor__clock_set(uint64_t rate, uint64_t ticks, int64_t ns)
{
    uint64_t span = ((uint64_t)GOR__CLOCK_SPAN_NS << GOR__CLOCK_SHIFT) / rate;
    gor__clock.ticks = ticks;
    gor__clock.ns = ns;
    gor__au64_store_rlx(&gor__clock.rate, rate);
    gor__au64_store_rlx(&gor__clock.span, span);
    gor__au64_store_rlx(&gor__clock.at,            /* and a tick, which may just be over */
                        (uint64_t)ns + GOR__CLOCK_AHEAD_NS + (rate >> GOR__CLOCK_SHIFT) -
                        gor__clock_ns(ticks, rate));
    gor__au64_store_rel(&gor__clock.until, ticks + span);   /* rel clock.until: all these */
}

/* The rate, once so much time has passed since the first reading that the error of this one is
 * below a tenth of the margin; answers go by it, so it is to be as good as any. Busy. */
static void gor__clock_measure(uint64_t ticks, uint64_t took, int64_t ns)
{
    uint64_t elapsed = ticks - gor__clock.ticks;
    double passed = (double)(ns - gor__clock.ns);
    uint64_t rate;
    if (passed < GOR__CLOCK_FIRST_NS || took >= elapsed / 10000)
        return;
    rate = (uint64_t)(1.001 * passed / (double)elapsed *
                      (double)((uint64_t)1 << GOR__CLOCK_SHIFT));
    if (gor__clock_ns(took, rate) <= GOR__CLOCK_READ_NS)
        gor__clock_set(rate, ticks, ns);
}

/* The counter cannot be relied upon. Busy. */
static void gor__clock_give_up(void)
{
    gor__au32_store_rlx(&gor__clock.on, 0);
    gor__au64_store_rlx(&gor__clock.until, 0);
}

static GOR__NOINLINE int64_t gor__clock_read(void)
{
    uint64_t rate, ticks, took;
    int64_t ns;
    if (!gor__au32_load_rlx(&gor__clock.on) || gor__au32_xchg(&gor__clock.busy, 1) != 0)
        return gor__os_now();
    rate = gor__au64_load_rlx(&gor__clock.rate);
    took = gor__clock_both(&ticks, &ns);
    if (rate == 0)
        gor__clock_measure(ticks, took, ns);
    else if (gor__clock_ns(took, rate) > GOR__CLOCK_READ_NS)
        ;                                          /* interrupted between the two */
    else if (gor__clock_agrees(rate, ticks, ns))
        gor__clock_set(rate, ticks, ns);
    else
        gor__clock_give_up();
    gor__au32_store_rel(&gor__clock.busy, 0);      /* rel clock.busy: to who is busy next */
    return ns;
}

/* A time that is not before the moment of the call, if the last reading is recent enough. */
GOR__INLINE bool gor__now_quick(int64_t *now)
{
    uint64_t until = gor__au64_load_acq(&gor__clock.until);    /* acq clock.until */
    uint64_t at = gor__au64_load_rlx(&gor__clock.at), ticks;
    GOR__COMPILER_BARRIER();
    ticks = gor__arch_ticks();
    if (GOR__UNLIKELY(until - ticks - 1 >= gor__au64_load_rlx(&gor__clock.span)))
        return false;
    *now = (int64_t)(at + gor__clock_ns(ticks, gor__au64_load_rlx(&gor__clock.rate)));
    return true;
}

GOR__INLINE int64_t gor__now_above(void)
{
    int64_t now;
    return GOR__LIKELY(gor__now_quick(&now)) ? now : gor__clock_read();
}

/* Has t come? */
GOR__INLINE bool gor__is_past(int64_t t)
{
    return t <= gor__now_above() && t <= gor__os_now();
}

/* ns from now, at least; what is not to come has come. */
GOR__INLINE int64_t gor__due_in(int64_t ns)
{
    return gor__later(ns > 0 ? gor__now_above() : gor__os_now(), ns);
}

/* ==== [idle] which Ms sleep, which Ps are free, and who wakes whom ===============================
 * What        Idle lists, and the protocol by which runnable work never waits for a sleeping M
 *             while a P is free, but as I7 and I8 say, and idle Ms do not burn the CPU.
 * Invariants  I1 Submitting: queue the G; full fence; if a P is idle and no M spins, wake one to
 *                spin.
 *             I2 Going idle: the last spinner stops spinning, and only then, after a full fence,
 *                looks at every queue once more. So one of the two sees the other.
 *             I3 While gor__shared is 0 there is one P: who submits holds it, nobody is to be
 *                woken.
 *             I4 One idle M at most sleeps until the first timer of all; who adds an earlier one
 *                wakes it. It publishes its time before it looks at the timers a last time. Of a
 *                timer that is far off, on a busy P, nobody is told when it starts, for most are
 *                stopped long before: [sysmon] tells when it is near, or who gives that P up.
 *             I5 Once there is a poller, that M, the sleeper, sleeps in the poller: fds and timers
 *                in one sleep. It sets polling, then looks at park; who wakes it sets park, then
 *                looks at polling. So one of the two sees the other.
 *             I6 While others run goroutines and poll in between, no M sleeps in the poller: the
 *                kernel would wake it at each event that they find themselves a moment later. One
 *                idle M stands by instead, and asks every millisecond whether they still poll, and
 *                for timers. If they do not, or nobody runs, there is a sleeper. The last M to
 *                go idle sees that all Ps are.
 *             I7 A goroutine that is only to run next is most often run at once: two that hand
 *                values to each other would have an M woken all the time, for nothing. So once
 *                GOR__IN_VAIN wakes in a row have found no work, such a one wakes nobody; [sysmon]
 *                looks each GOR__IN_VAIN_NS whether anything is queued or due, and wakes an M for
 *                it. The first wake that finds work ends this, and so does a time in which nothing
 *                is seen to be. All else is told as ever, but for I8.
 *             I8 Goroutines that run but for a moment are run sooner by who has started them: what
 *                they touch would have to come over, and what they count on go to and fro. So of a
 *                ring with less than GOR__FEW nothing is stolen while its owner takes turns of
 *                GOR__STEAL_PAYS_NS or less. And an M keeps a balance: how many it stole from
 *                rings, less one for each GOR__STEAL_PAYS_NS until it had nothing to run again;
 *                GOR__FEW more each time that it found only such as are not stolen; GOR__MOST_LOSS
 *                at most. For each GOR__LOSS of it it naps for GOR__NAP_NS before it steals again.
 *                It gives its P up, but counts as spinning, so that nobody is woken instead: the
 *                exception to I1, I4 and I7. Work and timers that are new meanwhile may wait for
 *                its end. One naps for all: who finds only such as are not stolen while another
 *                spins goes idle. If one P is out then: [lone].
 * Locks       gor__rt.lock (SCHED) for the lists; counts are read without it.
 * Source      The comment "Worker thread parking/unparking" in the Go runtime's proc.go.
 */
static void gor__m_wake(gor__m *m)
{
    gor__au32_xchg(&m->park, 1);                   /* rel m.park: next_p, spinning */
    if (gor__au32_load_sc(&m->polling))            /* I5 */
        gor__os_poll_wake();
    else
        gor__os_futex_wake(&m->park, 1);
}

/* Sleep until woken (true: that wake-up is used up) or until the deadline. */
static bool gor__m_sleep(gor__m *m, int64_t deadline)
{
    while (gor__au32_load_acq(&m->park) == 0) {    /* acq m.park */
        gor__os_futex_wait(&m->park, 0, deadline);
        if (deadline != GOR_FOREVER && gor__os_now() >= deadline &&
            gor__au32_load_acq(&m->park) == 0)
            return false;
    }
    gor__au32_xchg(&m->park, 0);                   /* then the caller looks at stopping */
    return true;
}

/* The same in the poller, and until fds are ready: *ready, Gs linked by link, or NULL. */
static bool gor__m_sleep_polling(gor__m *m, int64_t deadline, gor__g **ready)
{
    *ready = NULL;
    gor__au32_xchg(&m->polling, 1);
    while (gor__au32_load_sc(&m->park) == 0 && !*ready &&
           gor__au32_load_sc(&gor__rt.poll_due) == 0) {
        *ready = gor__up.poll(deadline);
        if (deadline != GOR_FOREVER && gor__os_now() >= deadline)
            break;
    }
    gor__au32_xchg(&m->polling, 0);
    if (gor__au32_load_sc(&m->park) == 0)
        return false;
    gor__au32_xchg(&m->park, 0);
    return true;
}

static void gor__p_idle_push_locked(gor__p *p)
{
    if (GOR_CHECK)
        gor__check(!gor__au32_load_rlx(&p->timers.undated), "no idle P has undated timers");
    gor__aptr_store_rlx(&p->m, NULL);
    p->idle = true;
    p->idle_next = gor__rt.idle_p;
    gor__rt.idle_p = p;
    gor__au32_store_sc(&gor__rt.n_idle_p, gor__au32_load_rlx(&gor__rt.n_idle_p) + 1);
}

/* Unlink p, or with NULL the first, from the idle list. NULL if it is not there. */
static gor__p *gor__p_idle_pop_locked(gor__p *p)
{
    gor__p **at = &gor__rt.idle_p;
    while (*at && p && *at != p)
        at = &(*at)->idle_next;
    p = *at;
    if (!p)
        return NULL;
    *at = p->idle_next;
    p->idle = false;
    gor__aptr_store_rlx(&p->m, &gor__in_transit);
    gor__au32_store_sc(&gor__rt.n_idle_p, gor__au32_load_rlx(&gor__rt.n_idle_p) - 1);
    return p;
}

static void gor__m_idle_push_locked(gor__m *m)
{
    m->idle_next = gor__rt.idle_m;
    gor__rt.idle_m = m;
    gor__au32_store_rlx(&m->state, GOR__M_IDLE);
    gor__au32_store_rlx(&gor__rt.n_idle_m, gor__au32_load_rlx(&gor__rt.n_idle_m) + 1);
}

static gor__m *gor__m_idle_pop_locked(gor__m *m)
{
    gor__m **at = &gor__rt.idle_m;
    while (*at && m && *at != m)
        at = &(*at)->idle_next;
    m = *at;
    if (!m)
        return NULL;
    *at = m->idle_next;
    gor__au32_store_rlx(&m->state, GOR__M_RUNNING);
    gor__au32_store_rlx(&gor__rt.n_idle_m, gor__au32_load_rlx(&gor__rt.n_idle_m) - 1);
    return m;
}

static void gor__p_hold(gor__m *m, gor__p *p)
{
    gor__aptr_store_rlx(&m->p, p);
    gor__aptr_store_rel(&p->m, m);
}

/* [sysmon] decides anew for how long it sleeps. */
static void gor__sysmon_hurry(void)
{
    gor__au32_add(&gor__rt.sysmon_park, 1);
    gor__os_futex_wake(&gor__rt.sysmon_park, 1);
}

/* Is everything asleep but timers? Then sysmon sleeps too, and is woken when a P is taken. */
static void gor__sysmon_wake(void)
{
    if (gor__au32_load_sc(&gor__rt.sysmon_idle) == 0)
        return;
    gor__ai64_store_rlx(&gor__rt.coarse_ns, gor__os_now());    /* nobody has kept it meanwhile */
    if (gor__au32_xchg(&gor__rt.sysmon_idle, 0))
        gor__sysmon_hurry();
}

/* Give p, taken from the idle list or from an M, to an idle M or to a new one. */
static void gor__p_run(gor__p *p, bool spinning)
{
    gor__m *m;
    gor__lock_sched();
    m = gor__m_idle_pop_locked(NULL);
    gor__unlock_sched();
    gor__sysmon_wake();
    if (m) {
        m->next_p = p;
        m->spinning = m->called = spinning;
        gor__m_wake(m);
    } else if (gor__up.m_start(p, spinning) != 0) {   /* no thread to be had: carry on */
        gor__lock_sched();
        gor__p_idle_push_locked(p);                /* [sysmon] tries again */
        if (spinning)
            gor__au32_add(&gor__rt.n_spinning, (uint32_t)-1);
        gor__unlock_sched();
    }
}

/* Wake one M to look for work, unless one is looking already. */
static GOR__NOINLINE void gor__wake_p(void)
{
    gor__p *p;
    if (!gor__au32_cas(&gor__rt.n_spinning, 0, 1))
        return;
    gor__lock_idle_p();
    p = gor__p_idle_pop_locked(NULL);
    if (!p)                                        /* before the next P can become idle */
        gor__au32_add(&gor__rt.n_spinning, (uint32_t)-1);
    gor__unlock_sched();
    if (p)
        gor__p_run(p, true);
}

/* I1: call after queueing a G. fenced: that was an exchange, which is a fence itself, if the loads
 * below are _sc (ARM64 without LSE). */
GOR__INLINE void gor__submitted_by(bool fenced)
{
    if (GOR__LIKELY(gor__au32_load_rlx(&gor__shared) == 0))
        return;
    GOR__COMPILER_BARRIER();                       /* queued first: [lone] L3 */
    if (gor__is_lone())
        return;
    if (!fenced)
        gor__arch_fence();
    if (gor__au32_load_sc(&gor__rt.n_idle_p) != 0 && gor__au32_load_sc(&gor__rt.n_spinning) == 0)
        gor__wake_p();
}

GOR__INLINE void gor__submitted(void) { gor__submitted_by(false); }

/* Is a wake for what runs next left to [sysmon]? (I7) */
GOR__INLINE bool gor__waking_is_vain(void)
{
    return gor__au32_load_rlx(&gor__rt.in_vain) >= GOR__IN_VAIN;
}

/* m has found work, or goes to sleep without. If it was woken to look for it, that counts. */
static void gor__has_looked(gor__m *m, bool found)
{
    uint32_t n;
    if (!m->called)
        return;
    m->called = false;
    n = gor__au32_load_rlx(&gor__rt.in_vain);
    if (found && n != 0)
        gor__au32_store_rlx(&gor__rt.in_vain, 0);
    if (!found && n < GOR__IN_VAIN) {
        gor__au32_store_rlx(&gor__rt.in_vain, n + 1);
        if (gor__waking_is_vain())
            gor__sysmon_hurry();
    }
}

/* When the first timer of all Ps is due. */
static int64_t gor__timers_first(void)
{
    int64_t first = GOR_FOREVER;
    uint32_t n = gor__au32_load_acq(&gor__rt.n_allp);
    for (uint32_t i = 0; i < n; i++) {
        int64_t t = gor__ai64_load_sc(&gor__p_at(i)->timers.first);
        if (t < first)
            first = t;
    }
    return first;
}

/* Let m, which was the sleeper, look around. */
static void gor__sleeper_wake(gor__m *m)
{
    gor__lock_sched();                             /* only an M in the idle list may be woken */
    m = gor__m_idle_pop_locked(m);
    gor__unlock_sched();
    if (m) {
        m->next_p = NULL;
        m->spinning = false;
        gor__m_wake(m);
    }
}

/* I4: a timer is due at when. If the sleeper does not know, wake it; if there is none, and nobody
 * stands by who will see it in time, wake one. */
static void gor__sleeper_tell(int64_t when)
{
    gor__m *m = (gor__m *)gor__aptr_load_sc(&gor__rt.sleeper);
    if (m && when < gor__ai64_load_sc(&gor__rt.sleep_until))
        gor__sleeper_wake(m);
    if (!m && (!gor__aptr_load_sc(&gor__rt.standby) ||
               when < gor__ai64_load_sc(&gor__rt.standby_until)))
        gor__wake_p();
}

/* Is a timer of the caller's P, due at when, so far off that telling of it is left to [sysmon]?
 * ns: from now, or GOR__UNKNOWN_NS. The coarse clock will not do: while [sysmon] is held up it
 * stands still. */
#define GOR__UNKNOWN_NS (-1)
GOR__INLINE bool gor__timer_is_far(int64_t when, int64_t ns)
{
    return ns > GOR__FAR_NS ||
           (ns == GOR__UNKNOWN_NS && when > gor__now_above() + GOR__FAR_NS);
}

/* A timer has become the first of its P, which may be idle. */
static GOR__NOINLINE void gor__timer_tell(int64_t when)
{
    if (gor__au32_load_rlx(&gor__shared) == 0)     /* alone we see our own */
        return;
    gor__arch_fence();
    if (gor__au32_load_sc(&gor__rt.n_idle_p) != 0) /* else every P is busy, and sees its own */
        gor__sleeper_tell(when);
}

/* The same, of p, the caller's P, or NULL: of another. A far one of p is left to [sysmon]. */
GOR__INLINE void gor__timer_tell_if_near(const gor__p *p, int64_t when, int64_t ns)
{
    if (!(p && gor__timer_is_far(when, ns)))
        gor__timer_tell(when);
}

/* Take t out of where it is; true if it was anywhere. A foreign thread may have taken the last one:
 * then [sysmon], asleep for as long as that might wake somebody, asks again what is left. */
static GOR__NOINLINE bool gor__timer_end_any(gor_timer *t)
{
    bool was = gor__timer_del(t);
    if (was && !gor__self())
        gor__sysmon_wake();
    return was;
}

GOR__INLINE bool gor__timer_end(gor_timer *t)
{
    gor__timers *h = (gor__timers *)gor__aptr_load_acq(&t->owner);     /* acq t.owner */
    return h && (GOR__LIKELY(gor__timer_del_near(gor__self(), h, t)) || gor__timer_end_any(t));
}

/* ==== [poll] who waits for which file descriptor =================================================
 * What        A descriptor, pd, for each fd number that a call has seen, with the waiters of its
 *             two directions. The sleeper ([idle] I5), Ms that run out of work, and goroutines
 *             about to wait, take events from the kernel and claim the waits that they end.
 * Protocol    A call loads seq; tries; if the system would block, it waits under the pd's lock, but
 *             only if seq is still what it was. An event counts seq up under the lock, then takes
 *             all waiters: they try again. So what came after the attempt is seen, and nobody is
 *             asleep while there is something for him, however many share a direction.
 * Invariants  I1 pds live until gor_stop, at their fd's place; a stale pointer is safe.
 *             I2 gen counts the owners of a number. It changes under the lock, when gor_fd_close
 *                closes the fd or a gor call is given the number by the system. A waiter, an
 *                attempt and an event of an earlier gen end with -EBADF, or are dropped. A call
 *                that begins while gor_fd_close is at work is as one that begins after it: if it
 *                waits already when the fd goes, it is told to try again.
 *             I3 An attempt, and who asks what kind an fd is, counts busy up, then looks at gen;
 *                gor_fd_close changes gen, then waits until busy is 0, and only then closes:
 *                neither hits the number's next owner. They do not block; those that may, on
 *                terminals and files, are not counted. While locks are elided none is ever seen
 *                from outside, so busy is not needed.
 *             I4 The kernel is told while the lock is held: an fd can be closed only before or
 *                after, so that no old registration is put over a new one.
 *             I5 Of an fd that a gor call made (GOR__PD_OURS) we know that gor_fd_close closes it,
 *                so it is registered once; a direction is added when it is first waited for. Any
 *                other may be closed behind our back, by a library: each wait registers anew.
 *             I6 A wait's P counts fd_waits up before the wait and whichever P runs it then counts
 *                down: [sysmon] adds them up, no counter is shared.
 *             I7 The sleeper polls without a P. So a pd's lock is never elided, and what needs a P
 *                it leaves to others: Gs are handed on ([ready]), signals by poll_due.
 * Drained     A stream socket that gave less than was asked for has no more: the next read need not
 *             ask, unless an event came since, or something has been seen at which a short read may
 *             stop (HUNG): the end, urgent data, and on Unix sockets descriptors or credentials,
 *             which MSG_CTRUNC tells of. Known of TCP and Unix sockets that gor_dial, gor_listen
 *             and gor_accept made; others may keep the borders of messages, and MPTCP moves data
 *             between its queues unseen. A read of nothing, one that only tries, and one without a
 *             poller always ask.
 * Locks       pd.lock (OBJECT). Held over epoll_ctl, which I4 needs; about a microsecond.
 * Source      netpoll of the Go runtime. We differ: any number of waiters and seq instead of one
 *             waiter with a ready state, which needs a lock around each read.
 * Tests       tests/io.c
 */
enum gor__pd_flag {
    GOR__PD_OURS = 1,                  /* I5                                                   */
    GOR__PD_KNOWN = 2,                 /* registered                                           */
    GOR__PD_HUNG = 4,
    GOR__PD_STREAM = 8,                /* see Drained                                          */
    GOR__PD_SOCKET = 16,
    GOR__PD_FILE = 32,                 /* cannot be waited for: gor_block                      */
    GOR__PD_IN = 64, GOR__PD_OUT = 128,/* registered for                                       */
    GOR__PD_UNIX = 256                 /* a STREAM that descriptors may come through           */
};

enum { GOR__IN, GOR__OUT };            /* directions: place in seq and waiters                 */

typedef struct gor__pd {
    gor__spin lock;
    gor__au32 gen;                     /* I2                                                   */
    gor__au32 busy;                    /* I3                                                   */
    gor__au32 flags;                   /* written under the lock, read anywhere                */
    gor__au32 seq[2];                  /* events so far, even; written under the lock          */
    gor__au32 drained;                 /* seq when a read emptied the socket; 1: it did not    */
    gor__wq   waiters[2];
} gor__pd;

/* Block k holds the pds of fds [64 << (k - 1), 64 << k), block 0 those of [0, 64). */
#define GOR__PD_BLOCKS 26
static struct { gor__spin lock; gor__aptr block[GOR__PD_BLOCKS]; } gor__polls;

static size_t gor__pd_block_size(int k) { return (size_t)64 << (k > 0 ? k - 1 : 0); }

/* Which block holds fd, and where. */
static int gor__pd_place(int fd, size_t *at)
{
    int k = fd < 64 ? 0 : 32 - 6 - __builtin_clz((unsigned)fd);
    *at = (size_t)fd - (k ? gor__pd_block_size(k) : 0);
    return k;
}

/* Make block k, unless another is quicker. NULL: out of memory. The memory is libc's, not the
 * hooks': it may be made before a run that has some. */
static GOR__NOINLINE gor__pd *gor__pd_block_new(int k)
{
    size_t n = gor__pd_block_size(k);
    gor__pd *block = (gor__pd *)calloc(n, sizeof *block), *first;
    if (!block)
        return NULL;
    for (size_t i = 0; i < n; i++)
        gor__au32_store_rlx(&block[i].drained, 1);
    if (!gor__aptr_cas(&gor__polls.block[k], NULL, block)) {
        first = (gor__pd *)gor__aptr_load_acq(&gor__polls.block[k]);
        free(block);
        block = first;
    }
    return block;
}

/* The pd of fd, if it has been seen. */
GOR__INLINE gor__pd *gor__pd_seen(int fd)
{
    size_t at;
    gor__pd *block;
    if (GOR__UNLIKELY(fd < 0))
        return NULL;
    block = (gor__pd *)gor__aptr_load_acq(&gor__polls.block[gor__pd_place(fd, &at)]);
    return block ? block + at : NULL;
}

static GOR__NOINLINE int gor__pd_make(int fd, gor__pd **out)
{
    size_t at;
    gor__pd *block;
    if (fd < 0 || !gor__os_fd_open(fd))            /* no memory for numbers made up */
        return -EBADF;
    block = gor__pd_block_new(gor__pd_place(fd, &at));
    *out = block ? block + at : NULL;
    return block ? 0 : -ENOMEM;
}

/* The pd of fd. 0, -EBADF, -ENOMEM. */
GOR__INLINE int gor__pd_of(int fd, gor__pd **out)
{
    *out = gor__pd_seen(fd);
    return GOR__LIKELY(*out != NULL) ? 0 : gor__pd_make(fd, out);
}

GOR__INLINE bool gor__pd_is(gor__pd *pd, uint32_t flag)
{
    return (gor__au32_load_rlx(&pd->flags) & flag) != 0;
}

static void gor__pd_lock(gor__pd *pd) { gor__lock_always(&pd->lock, GOR__RANK_OBJECT); }
static void gor__pd_unlock(gor__pd *pd) { gor__unlock(&pd->lock, GOR__RANK_OBJECT); }

/* -- owners ------------------------------------------------------------------------------------ */

/* All that wait, in both directions. */
static gor__node *gor__pd_take_all_locked(gor__pd *pd, int rc)
{
    gor__node *readers = gor__wq_take_all(&pd->waiters[GOR__IN], rc), **at = &readers;
    while (*at)
        at = &(*at)->next;
    *at = gor__wq_take_all(&pd->waiters[GOR__OUT], rc);
    return readers;
}

/* The number changes hands: whoever waits for its last owner is to be woken. */
static gor__node *gor__pd_pass_on_locked(gor__pd *pd, uint32_t flags)
{
    gor__au32_store_sc(&pd->gen, gor__au32_load_rlx(&pd->gen) + 1);
    gor__au32_store_rlx(&pd->flags, flags);
    gor__au32_store_rlx(&pd->drained, 1);
    return gor__pd_take_all_locked(pd, -EBADF);
}

/* A gor call has made fd, non-blocking. 0 or -ENOMEM. */
static int gor__pd_adopt(int fd, uint32_t flags)
{
    gor__pd *pd;
    gor__node *list;
    int rc = gor__pd_of(fd, &pd);
    if (rc != 0)
        return rc;
    gor__pd_lock(pd);
    list = gor__pd_pass_on_locked(pd, flags | GOR__PD_OURS);
    gor__pd_unlock(pd);
    gor__wake_all(list);
    return 0;
}

static void gor__pd_add_flag(gor__pd *pd, uint32_t flag)
{
    gor__pd_lock(pd);
    gor__au32_store_rlx(&pd->flags, gor__au32_load_rlx(&pd->flags) | flag);
    gor__pd_unlock(pd);
}

/* From here on the number stays gen's, if it still is: to be looked at now, and let go soon (I3).
 * Returns what to let it go with: locks may cease to be elided meanwhile. */
GOR__INLINE bool gor__pd_hold(gor__pd *pd)
{
    bool counted = !gor__locks_are_nothing();
    if (counted)
        gor__au32_add(&pd->busy, 1);
    return counted;
}

GOR__INLINE void gor__pd_let_go(gor__pd *pd, bool counted)
{
    if (counted)
        gor__au32_add(&pd->busy, (uint32_t)-1);
}

/* Before fd is closed: its waiters go, and no attempt is under way when this returns. */
static void gor__pd_retire(gor__pd *pd, int fd)
{
    gor__node *list;
    gor__pd_lock(pd);
    if (gor__pd_is(pd, GOR__PD_KNOWN))
        gor__os_poll_forget(fd);                   /* a copy of fd may keep it alive */
    list = gor__pd_pass_on_locked(pd, 0);
    gor__pd_unlock(pd);
    gor__wake_all(list);
    gor__arch_fence();
    while (gor__au32_load_sc(&pd->busy) != 0)
        gor__os_yield();
}

GOR__INLINE void gor__pd_count_event_locked(gor__pd *pd, int dir)
{
    gor__au32_store_rel(&pd->seq[dir], gor__au32_load_rlx(&pd->seq[dir]) + 2);     /* rel pd.seq */
}

/* After fd was closed: I2. */
static void gor__pd_closed(gor__pd *pd)
{
    gor__node *list;
    gor__pd_lock(pd);
    gor__pd_count_event_locked(pd, GOR__IN);
    gor__pd_count_event_locked(pd, GOR__OUT);
    list = gor__pd_take_all_locked(pd, 0);
    gor__pd_unlock(pd);
    gor__wake_all(list);
}

/* -- the poller ------------------------------------------------------------------------------ */

/* There is a poller from here on. A sleeper that sleeps in its futex must know ([idle] I5). */
static GOR__NOINLINE int gor__poll_open(void)
{
    int rc = 0;
    gor__m *sleeper;
    gor__lock(&gor__polls.lock, GOR__RANK_OBJECT);
    if (gor__au32_load_rlx(&gor__rt.poller) == 0) {
        rc = gor__os_poll_open();
        if (rc == 0)
            gor__au32_store_sc(&gor__rt.poller, 1);
        else
            gor__os_poll_close();
    }
    gor__unlock(&gor__polls.lock, GOR__RANK_OBJECT);
    gor__arch_fence();
    sleeper = (gor__m *)gor__aptr_load_sc(&gor__rt.sleeper);
    if (rc == 0 && sleeper)
        gor__sleeper_wake(sleeper);
    return rc;
}

/* A poller for a call that must wait. 0; -ESRCH no runtime that could poll; an errno. */
static int gor__poll_need(void)
{
    if (GOR__LIKELY(gor__au32_load_acq(&gor__rt.poller)))
        return 0;
    return gor__is_on() ? gor__poll_open() : -ESRCH;
}

/* The claimed waits of one event: goroutines go to the end of a list, threads go on at once. */
static void gor__poll_claimed(gor__node *n, gor__gqueue *ready)
{
    while (n) {
        gor__node *next = n->next;
        gor__g *g = n->wait->g;
        if (g)
            gor__gq_push(ready, g);
        else
            gor__wake(n);
        n = next;
    }
}

GOR__INLINE void gor__poll_event(gor__os_event e, gor__gqueue *ready)
{
    gor__pd *pd = gor__pd_seen(e.fd);
    gor__node *readers = NULL, *writers = NULL;
    if (!pd)
        return;
    gor__pd_lock(pd);
    if (e.tag == gor__au32_load_rlx(&pd->gen)) {              /* I2 */
        if (e.what & GOR__HUNG)
            gor__au32_store_rlx(&pd->flags, gor__au32_load_rlx(&pd->flags) | GOR__PD_HUNG);
        if (e.what & GOR_READ) {
            gor__pd_count_event_locked(pd, GOR__IN);
            readers = gor__wq_take_all(&pd->waiters[GOR__IN], 0);
        }
        if (e.what & GOR_WRITE) {
            gor__pd_count_event_locked(pd, GOR__OUT);
            writers = gor__wq_take_all(&pd->waiters[GOR__OUT], 0);
        }
    }
    gor__pd_unlock(pd);
    gor__poll_claimed(readers, ready);
    gor__poll_claimed(writers, ready);
}

/* I7: whoever has a P next hands the signals out. */
static void gor__poll_signals_later(void)
{
    if (gor__au32_load_rlx(&gor__rt.signals) == 0)
        return;
    gor__lock_sched();
    gor__au32_store_sc(&gor__rt.poll_due, 1);
    gor__urgent_update_locked();
    gor__unlock_sched();
}

/* Nothing that waits for an fd will ever wake. */
static GOR__NOINLINE void gor__poll_failed(int err)
{
    char line[160];
    if (gor__au32_load_sc(&gor__rt.stopping))
        return;
    snprintf(line, sizeof line, "cannot wait for descriptors any more: %s; has the program closed "
             "one that is gor's?", gor_strerror(err));
    gor__fatal(line, NULL);
}

/* Take events, sleeping until deadline; 0: not at all, and the caller has a P. Returns the Gs whose
 * waits they end, linked by link. Only the sleeper sleeps here, so only he calms: wakes are his. */
static gor__g *gor__poll(int64_t deadline)
{
    gor__m *m = gor__self();
    gor__os_events list;
    gor__gqueue ready = { NULL, NULL, { 0 } };
    int n = gor__os_poll_wait(&list, deadline);
    if (GOR__UNLIKELY(n < 0))
        gor__poll_failed(n);
    gor__au32_store_rlx(&gor__rt.polls, gor__au32_load_rlx(&gor__rt.polls) + 1);
    gor__au32_store_rlx(&m->polls_own, gor__au32_load_rlx(&m->polls_own) + 1);
    for (int i = 0; i < n; i++) {
        gor__os_event e = gor__os_poll_event(&list, i);
        if (e.fd >= 0) {
            gor__poll_event(e, &ready);
            continue;
        }
        if (deadline != 0) {
            gor__os_poll_calm();
            gor__poll_signals_later();
        } else {
            gor__up.signalled();
        }
    }
    return ready.head;
}

/* Who is about to wait, with nothing else to run on this P, looks here itself: it saves the way to
 * g0 and back if something is ready, and its own wait if that is what it waits for. If nothing is,
 * g0 need not look again. True: it has looked. */
GOR__INLINE bool gor__poll_before_wait(void)
{
    gor__m *m = gor__self();
    gor__g *ready;
    if (!m || !gor__next_is_to_poll(m, gor__m_p(m)))
        return false;
    ready = gor__poll(0);
    gor__au32_store_rlx(&m->polled_in_vain, !ready);
    gor__ready_all(m, ready, GOR__PICKS_NEXT);
    return true;
}

/* Who has looked does not wait after all. That was a turn, so that timers and gor_procs get theirs;
 * and what it found is told of, for nobody picks from the ring next. */
static void gor__poll_instead_of_wait(void)
{
    gor__m *m = gor__self();
    gor__au32_store_rlx(&m->polled_in_vain, 0);
    gor__count_turn(gor__m_p(m));
    if (!gor__runq_empty(&gor__m_p(m)->runq))
        gor__submitted();
}

static void gor__poll_close(void)
{
    if (gor__au32_load_rlx(&gor__rt.poller))
        gor__os_poll_close();
}

static void gor__poll_free(void)
{
    for (int k = 0; k < GOR__PD_BLOCKS; k++)
        free(gor__aptr_xchg(&gor__polls.block[k], NULL));
}

/* The same where some of those that wait stay behind: what they wait in stays, too, and no later
 * run sees it. */
static void gor__poll_leave(void)
{
    for (int k = 0; k < GOR__PD_BLOCKS; k++)
        gor__aptr_xchg(&gor__polls.block[k], NULL);
}

/* -- waiting ----------------------------------------------------------------------------------- */

/* Tell the kernel that direction dir is waited for: I5. 0, -EPERM it cannot be, ... */
static int gor__pd_arm_locked(gor__pd *pd, int fd, int dir)
{
    uint32_t flags = gor__au32_load_rlx(&pd->flags);
    uint32_t bits = dir == GOR__IN ? (uint32_t)GOR__PD_IN : (uint32_t)GOR__PD_OUT;
    unsigned what;
    int rc;
    if (flags & GOR__PD_OURS) {
        if (flags & bits)
            return 0;
        bits |= flags & (GOR__PD_IN | GOR__PD_OUT);
    } else {
        bits |= (gor__wq_first(&pd->waiters[GOR__IN]) ? (uint32_t)GOR__PD_IN : 0u) |
                (gor__wq_first(&pd->waiters[GOR__OUT]) ? (uint32_t)GOR__PD_OUT : 0u);
    }
    what = (bits & GOR__PD_IN ? (unsigned)GOR_READ : 0u) |
           (bits & GOR__PD_OUT ? (unsigned)GOR_WRITE : 0u);
    rc = gor__os_poll_set(fd, gor__au32_load_rlx(&pd->gen), what, (flags & GOR__PD_KNOWN) != 0);
    if (rc == 0)
        gor__au32_store_rlx(&pd->flags, (flags & ~(uint32_t)(GOR__PD_IN | GOR__PD_OUT)) | bits |
                                        GOR__PD_KNOWN);
    return rc;
}

/* Queue n, unless the fd has been closed or something has come since seen: then the wait ends. */
static void gor__pd_watch(gor__pd *pd, int fd, uint32_t gen, int dir, uint32_t seen, gor__node *n)
{
    int rc;
    bool news = false;
    gor__pd_lock(pd);
    rc = gen == gor__au32_load_rlx(&pd->gen) ? gor__pd_arm_locked(pd, fd, dir) : -EBADF;
    if (rc == 0)
        news = gor__au32_load_rlx(&pd->seq[dir]) != seen;
    if (rc == 0 && !news)
        gor__wq_put(&pd->waiters[dir], n);
    gor__pd_unlock(pd);
    if (rc != 0 || news)
        gor__wait_give_up(n->wait, n->index, rc);
}

static void gor__pd_leave(gor__pd *pd, gor__node *n)
{
    gor__pd_lock(pd);
    if (n->queue)
        gor__wq_remove(n->queue, n);
    gor__pd_unlock(pd);
}

/* I6. */
static void gor__fd_waits_add(uint64_t n)
{
    gor__m *m = gor__self();
    gor__p *p = gor__p_of(m);
    if (p)
        gor__au64_store_rlx(&p->fd_waits, gor__au64_load_rlx(&p->fd_waits) + n);
}

static const void *gor__fd_object(int fd) { return (const void *)(intptr_t)fd; }

/* Wait in one direction for what comes after seen. 0: try again; -EBADF, -ETIMEDOUT, -ECANCELED,
 * -ENOMEM, -EPERM. A foreign thread's wait is one of many sources, so that it is not counted among
 * those that only goroutines can wake. */
static int gor__pd_wait(gor__pd *pd, int fd, uint32_t gen, int dir, uint32_t seen,
                        int64_t deadline)
{
    gor__cancel *own = gor__own_ctx();
    gor__wait w;
    gor__node n;
    bool polled;
    int rc;
    if (deadline <= gor__ai64_load_rlx(&gor__rt.coarse_ns))
        return -ETIMEDOUT;                         /* one that passed just now: the timer's task */
    if (gor__stress_hit(8))
        return 0;                                  /* an event that was none */
    polled = gor__poll_before_wait();
    gor__pd_lock(pd);
    rc = gen == gor__au32_load_rlx(&pd->gen) ? gor__pd_arm_locked(pd, fd, dir) : -EBADF;
    if (rc != 0 || gor__au32_load_rlx(&pd->seq[dir]) != seen) {
        gor__pd_unlock(pd);
        if (polled)
            gor__poll_instead_of_wait();
        return rc;
    }
    gor__wait_init(&w, GOR__WHY_FD, gor__fd_object(fd),
                   own || deadline != GOR_FOREVER || !gor__self());
    gor__node_init(&n, &w, 0, NULL);
    gor__fd_waits_add(1);
    gor__wq_put(&pd->waiters[dir], &n);
    gor__pd_unlock(pd);
    if (w.many)
        gor__block(&w, deadline, own);
    else
        gor__park();
    gor__fd_waits_add((uint64_t)-1);
    if (w.which < 0)
        gor__pd_leave(pd, &n);
    return w.rc;
}

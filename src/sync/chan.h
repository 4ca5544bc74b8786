/* ==== [channel] values from goroutine to goroutine ===========================================
 * What        A ring of values, a queue of receivers and one of senders. One transfer function
 *             serves send, receive and select.
 * Invariants  I1 Receivers wait only while the ring and the senders' queue are empty; senders only
 *                while the ring is full.
 *             I2 Values and waiters are served first in, first out.
 *             I3 A value is copied once between two goroutines that meet: from the sender's
 *                variable to the receiver's, under the lock.
 * Locks       c->own (OBJECT); two at once only in [select], by rising address.
 * Source      chan.go of the Go runtime.
 * Tests       tests/chan.c, tests/select.c, tests/random.c
 */
struct gor_chan {
    gor__ownable own;                  /* the lock, which a P may own                           */
    gor__au32 closed;
    size_t    elem_size, cap;
    size_t    first;                   /* place of the oldest value                             */
    gor__au64 count;                   /* values in the ring                                    */
    gor__wq   receivers, senders;
    gor__au32 refs;
    char     *ring;
};

enum { GOR__WAIT = 1 };                /* transfer's answer besides 0 and -EPIPE                */

static size_t gor__chan_bytes(size_t elem_size, size_t cap)
{
    return sizeof(gor_chan) + elem_size * cap;
}

gor_chan *gor_chan_new(size_t elem_size, size_t capacity)
{
    gor__m *m;
    gor_chan *c;
    if (elem_size && capacity > (SIZE_MAX / 2 - sizeof *c) / elem_size)
        return NULL;
    m = gor__enter();
    c = (gor_chan *)gor__alloc(gor__chan_bytes(elem_size, capacity));
    if (c) {
        memset(c, 0, sizeof *c);
        c->elem_size = elem_size;
        c->cap = capacity;
        c->ring = (char *)(c + 1);
        gor__au32_store_rel(&c->refs, 1);
    }
    gor__leave(m);
    return c;
}

static void gor__chan_release(gor_chan *c)
{
    if (c && gor__au32_add(&c->refs, (uint32_t)-1) == 1)
        gor__free(c, gor__chan_bytes(c->elem_size, c->cap));
}

gor_chan *gor_chan_retain(gor_chan *c)
{
    gor__m *m = gor__enter();
    if (c)
        gor__au32_add(&c->refs, 1);
    gor__leave(m);
    return c;
}

void gor_chan_release(gor_chan *c)
{
    gor__m *m = gor__enter();
    gor__chan_release(c);
    gor__leave(m);
}

GOR__INLINE uint32_t gor__chan_lock(gor_chan *c)
{
    return gor__lock_ownable(&c->own, GOR__RANK_OBJECT);
}

GOR__INLINE void gor__chan_unlock(gor_chan *c, uint32_t leave)
{
    gor__unlock_to(&c->own.lock, GOR__RANK_OBJECT, leave);
}

/* By a select that found nothing without locks, and so most often waits now: that counts as a park,
 * unless the lock is owned already. */
GOR__INLINE uint32_t gor__chan_lock_to_wait(gor_chan *c, uint32_t own)
{
    uint32_t leave = gor__chan_lock(c);
    if (leave != 0)
        return leave;
    gor__note_use(&c->own, own);
    return gor__au32_load_rlx(&c->own.lock.word) & ~GOR__TAKEN;
}

/* own: the caller's P's word, or GOR__MX_NOBODY. */
GOR__INLINE void gor__chan_leave(gor_chan *c, gor__node *n, uint32_t own)
{
    uint32_t leave;
    if (own != GOR__MX_NOBODY && gor__own_open(&c->own, own)) {
        gor__wq_leave_locked(n);
        gor__own_shut(&c->own);
        return;
    }
    leave = gor__chan_lock(c);
    gor__wq_leave_locked(n);
    gor__chan_unlock(c, leave);
}

/* Copy one value; small ones without a call. from NULL: zeros; to NULL: nowhere. Which of them
 * happens is known at run time only: gcc, inlining this, would warn of those that do not fit. */
GOR__INLINE void gor__value_copy(void *to, const void *from, size_t size)
{
    if (!to)
        return;
    __asm__("" : "+r"(to), "+r"(from));
    if (size == 8 && from) {
        memcpy(to, from, 8);
    } else if (size == 4 && from) {
        memcpy(to, from, 4);
    } else if (size) {
        if (from)
            memcpy(to, from, size);
        else
            memset(to, 0, size);
    }
}

/* size, here and below: c->elem_size, or what is known to be that. */
GOR__INLINE char *gor__chan_slot(gor_chan *c, size_t i, size_t size)
{
    size_t at = c->first + i;
    return c->ring + (at >= c->cap ? at - c->cap : at) * size;
}

GOR__INLINE void gor__chan_push(gor_chan *c, const void *v, size_t size)
{
    size_t n = gor__au64_load_rlx(&c->count);
    gor__value_copy(gor__chan_slot(c, n, size), v, size);
    gor__au64_store_rel(&c->count, n + 1);         /* rel chan.count */
}

GOR__INLINE void gor__chan_step(gor_chan *c)
{
    c->first = c->first + 1 == c->cap ? 0 : c->first + 1;
}

GOR__INLINE void gor__chan_shift(gor_chan *c, void *v, size_t size)
{
    gor__value_copy(v, gor__chan_slot(c, 0, size), size);
    gor__chan_step(c);
    gor__au64_store_rel(&c->count, gor__au64_load_rlx(&c->count) - 1);  /* rel chan.count */
}

/* The oldest of a full ring goes out, and `newest` takes its place. count says all the time to who
 * looks without the lock that there is a value. */
GOR__INLINE void gor__chan_turn(gor_chan *c, void *v, const void *newest, size_t size)
{
    char *slot = gor__chan_slot(c, 0, size);
    gor__value_copy(v, slot, size);
    gor__value_copy(slot, newest, size);
    gor__chan_step(c);
}

/* Move one value in or out of c if that can be done now. Lock held.
 * 0: done, and *woken, if not NULL, is to be woken after unlocking; -EPIPE: closed; GOR__WAIT. */
GOR__INLINE int gor__chan_transfer(gor_chan *c, bool send, void *v, gor__node **woken)
{
    size_t n = gor__au64_load_rlx(&c->count);
    gor__node *other;
    if (send) {
        if (gor__au32_load_rlx(&c->closed))
            return -EPIPE;
        other = gor__wq_first(&c->receivers) ? gor__wq_take(&c->receivers, 0) : NULL;
        *woken = other;
        if (other)
            gor__value_copy(other->value, v, c->elem_size);
        else if (n < c->cap)
            gor__chan_push(c, v, c->elem_size);
        else
            return GOR__WAIT;
        return 0;
    }
    other = gor__wq_first(&c->senders) ? gor__wq_take(&c->senders, 0) : NULL;
    *woken = other;
    if (other && n > 0)
        gor__chan_turn(c, v, other->value, c->elem_size);
    else if (other)
        gor__value_copy(v, other->value, c->elem_size);
    else if (n > 0)
        gor__chan_shift(c, v, c->elem_size);
    else if (!gor__au32_load_rlx(&c->closed))
        return GOR__WAIT;
    else {
        gor__value_copy(v, NULL, c->elem_size);
        return -EPIPE;
    }
    return 0;
}

/* Nothing will ever happen but the deadline, which has not come yet, and the own context. */
static int gor__wait_for_nothing(int64_t deadline, enum gor__why why)
{
    gor__cancel *own = gor__own_ctx();
    gor__wait w;
    /* A thread claims its deadline itself, and is not counted as one that others must wake. */
    gor__wait_init(&w, why, NULL, own || (deadline != GOR_FOREVER && !gor__self()));
    return gor__block(&w, deadline, own);
}

/* The rest of gor__chan_op, for gor__arch_wait. g: who waits, NULL: this thread. */
GOR__SWITCHES static gor__answer gor__chan_wait(void *g, void *channel, void *v, uint64_t send,
                                                int64_t deadline, void *back)
{
    gor_chan *c = (gor_chan *)channel;
    gor__m *m = gor__self();
    gor__answer answer;
    int rc;
    gor__left_at(m, back);
    if (gor__au32_load_rlx(&c->own.lock.word) == GOR__TAKEN)   /* neither owned nor elided */
        gor__note_use(&c->own, gor__own_word(m));
    rc = gor__wait_of((gor__g *)g, &c->own.lock, send ? &c->senders : &c->receivers, v, 0, deadline,
                      send ? GOR__WHY_SEND : GOR__WHY_RECV, c);
    m = gor__self();
    answer = gor__answer_from(m, rc, back);
    gor__leave(m);
    return answer;
}

/* In a call of m, which it ends. */
GOR__INLINE int gor__chan_op(gor__m *m, gor_chan *c, bool send, void *v, int64_t deadline)
{
    gor__node *woken = NULL;
    int rc;
    uint32_t leave = gor__chan_lock(c);
    rc = gor__chan_transfer(c, send, v, &woken);
    if (rc == GOR__WAIT)
        return gor__arch_wait(m ? gor__m_g(m) : NULL, c, v, send, deadline, gor__chan_wait);
    gor__chan_unlock(c, leave);
    if (woken)
        gor__wake(woken);
    gor__leave(m);
    return rc;
}

GOR__INLINE int gor__chan_try(gor_chan *c, bool send, void *v)
{
    gor__node *woken = NULL;
    int rc;
    uint32_t leave = gor__chan_lock(c);
    rc = gor__chan_transfer(c, send, v, &woken);
    gor__chan_unlock(c, leave);
    if (woken)
        gor__wake(woken);
    return rc == GOR__WAIT ? -EAGAIN : rc;
}

GOR__INLINE bool gor__chan_size_ok(gor_chan *c, const void *v, size_t n)
{
    return !v || n == c->elem_size;
}

/* The part that send and receive, with and without a deadline, share. */
GOR__INLINE int gor__chan_call(gor_chan *c, bool send, void *v, size_t n, int64_t deadline)
{
    gor__m *m = gor__enter();
    int rc = GOR__UNLIKELY(m && gor__m_g(m)->ctx) ? gor__cancel_err(gor__m_g(m)->ctx) : 0;
    if (GOR__UNLIKELY(rc != 0))
        ;
    else if (GOR__UNLIKELY(!c))
        rc = deadline != GOR_FOREVER && gor__is_past(deadline)
             ? -ETIMEDOUT : gor__wait_for_nothing(deadline, GOR__WHY_NIL_CHAN);
    else if (GOR__UNLIKELY(!gor__chan_size_ok(c, v, n)))
        rc = -EMSGSIZE;
    else
        return gor__chan_op(m, c, send, v, deadline);
    gor__leave(gor__self());
    return rc;
}

/* Is there room, or a value? Without the lock: this, then who waits, then `closed`, each look after
 * the one before. In another order an open channel might seem empty that was never both. */
GOR__INLINE bool gor__chan_has_way(const gor_chan *c, bool send)
{
    size_t n = gor__au64_load_acq(&c->count);      /* acq chan.count */
    return send ? n < c->cap : n > 0;
}

/* Does anybody wait for a send, or a receive? */
GOR__INLINE bool gor__chan_awaited(const gor_chan *c, bool send)
{
    return gor__aptr_load_acq(send ? &c->receivers.head : &c->senders.head) != NULL;
}

/* A value that is a word or half of one goes into c, or comes out, if nobody waits. Lock held. */
GOR__INLINE bool gor__chan_pass(gor_chan *c, bool send, void *v, size_t size)
{
    if (!gor__chan_has_way(c, send) || gor__chan_awaited(c, send) ||
        (send && gor__au32_load_rlx(&c->closed)))
        return false;
    if (send)
        gor__chan_push(c, v, size);
    else
        gor__chan_shift(c, v, size);
    return true;
}

/* The usual case of a channel with a buffer: a small value, and its lock is free. Nothing is called
 * here, so that no register is saved. False: nothing has happened. */
GOR__INLINE bool gor__chan_quick(gor_chan *c, bool send, void *v, size_t size)
{
    gor__m *m;
    uint32_t leave;
    bool done = false;
    if (!c || !v || !c->cap || size != c->elem_size || (size != 8 && size != 4))
        return false;
    if (gor__call_quick(&m) && !gor__m_g(m)->ctx &&
        gor__chan_has_way(c, send) && gor__lock_if_free(m, &c->own, GOR__RANK_OBJECT, &leave)) {
        done = size == 8 ? gor__chan_pass(c, send, v, 8) : gor__chan_pass(c, send, v, 4);
        gor__chan_unlock(c, leave);
    }
    gor__call_end();
    return done;
}

GOR__INLINE int gor__chan_try_call(gor_chan *c, bool send, void *v, size_t n)
{
    gor__m *m = gor__self();
    int rc;
    if (!c)
        return -EAGAIN;
    if (!gor__chan_size_ok(c, v, n))
        return -EMSGSIZE;
    if (!send && c->cap && !gor__chan_has_way(c, false) &&
        !gor__au32_load_acq(&c->closed) && m && !gor__au32_load_rlx(&m->attention))
        return -EAGAIN;                            /* as if we had come a moment ago */
    m = gor__enter();
    rc = gor__chan_try(c, send, v);
    gor__leave(m);
    return rc;
}

static void *gor__unconst(const void *p)
{
    union { const void *from; void *to; } u;
    u.from = p;
    return u.to;
}

/* The full way, for no deadline: what is known when it is compiled saves some instructions. */
static GOR__NOINLINE int gor__chan_send(gor_chan *c, void *v, size_t n)
{
    return gor__chan_call(c, true, v, n, GOR_FOREVER);
}

int gor_chan_send(gor_chan *c, const void *v, size_t n)
{
    void *value = gor__unconst(v);
    return gor__chan_quick(c, true, value, n) ? 0 : gor__chan_send(c, value, n);
}

int gor_chan_send_until(gor_chan *c, const void *v, size_t n, int64_t deadline)
{
    return gor__chan_call(c, true, gor__unconst(v), n, deadline);
}

int gor_chan_try_send(gor_chan *c, const void *v, size_t n)
{
    return gor__chan_try_call(c, true, gor__unconst(v), n);
}

static GOR__NOINLINE int gor__chan_recv(gor_chan *c, void *v, size_t n)
{
    return gor__chan_call(c, false, v, n, GOR_FOREVER);
}

int gor_chan_recv(gor_chan *c, void *v, size_t n)
{
    return gor__chan_quick(c, false, v, n) ? 0 : gor__chan_recv(c, v, n);
}

int gor_chan_recv_until(gor_chan *c, void *v, size_t n, int64_t deadline)
{
    return gor__chan_call(c, false, v, n, deadline);
}

int gor_chan_try_recv(gor_chan *c, void *v, size_t n)
{
    return gor__chan_try_call(c, false, v, n);
}

static int gor__chan_close(gor_chan *c)
{
    gor__node *receivers, *senders;
    size_t size = c->elem_size;                    /* who is woken may free c */
    uint32_t leave = gor__chan_lock(c);
    if (gor__au32_load_rlx(&c->closed)) {
        gor__chan_unlock(c, leave);
        return -EPIPE;
    }
    gor__au32_store_rel(&c->closed, 1);
    receivers = gor__wq_take_all(&c->receivers, -EPIPE);
    senders = gor__wq_take_all(&c->senders, -EPIPE);
    gor__chan_unlock(c, leave);
    while (receivers) {                            /* taken, so ours: each is touched once more */
        gor__node *next = receivers->next;
        gor__value_copy(receivers->value, NULL, size);
        gor__wake(receivers);
        receivers = next;
    }
    gor__wake_all(senders);
    return 0;
}

int gor_chan_close(gor_chan *c)
{
    gor__m *m;
    int rc;
    if (!c)
        return -EINVAL;
    m = gor__enter();
    rc = gor__chan_close(c);
    gor__leave(m);
    return rc;
}

size_t gor_chan_len(gor_chan *c) { return c ? gor__au64_load_acq(&c->count) : 0; }
size_t gor_chan_cap(gor_chan *c) { return c ? c->cap : 0; }

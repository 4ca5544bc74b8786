/* ==== [chan] channels and select ============================================================ */

/* A queue of values of one size, first in, first out, for any number of senders and receivers,
 * goroutines and foreign threads alike. Reference-counted; a new one has one reference. */
typedef struct gor_chan gor_chan;

/* Make a channel.
 *   elem_size  bytes of one value; 0 allowed: a signal without a value
 *   capacity   values it holds before a send waits; 0: a send waits for its receiver
 * Returns the channel with one reference; NULL out of memory. Any thread. Parks: never. */
GOR_API gor_chan *gor_chan_new(size_t elem_size, size_t capacity);

/* Take or give back a reference; the last one given back frees the channel and the values in it.
 * Nobody may be waiting on it then. Who has been woken through it is not any more, but for a select
 * that names it in two cases. NULL is allowed. Any thread. Parks: never. */
GOR_API gor_chan *gor_chan_retain(gor_chan *c);
GOR_API void gor_chan_release(gor_chan *c);

/* Send one value, waiting until deadline at the latest.
 *   c         NULL takes nothing, so only the deadline ends the wait
 *   v         n bytes are copied; NULL sends an empty value (all bytes zero)
 *   n         bytes at v, the channel's element size
 *   deadline  absolute ns on the gor_now() clock; GOR_FOREVER waits; a past time only tries
 * Returns 0; -EPIPE closed; -ETIMEDOUT; -ECANCELED own context done; -EMSGSIZE wrong n, nothing
 * moved; try_: -EAGAIN would wait. Parks: yes (try_: never); blocks the thread outside of
 * goroutines.
 * Orders: what was done before the send is visible to the receiver of the value. */
GOR_API int gor_chan_send(gor_chan *c, const void *v, size_t n);
GOR_API int gor_chan_send_until(gor_chan *c, const void *v, size_t n, int64_t deadline);
GOR_API int gor_chan_try_send(gor_chan *c, const void *v, size_t n);

/* Receive one value, waiting until deadline at the latest.
 *   c         NULL never delivers, so only the deadline ends the wait
 *   v         gets n bytes; NULL throws the value away
 *   n, deadline  as above
 * Returns 0; -EPIPE closed and drained (*v zeroed); the rest as above.
 * Parks: yes (try_: never); blocks the thread outside of goroutines.
 * Orders: what the sender did before its send is visible after 0. */
GOR_API int gor_chan_recv(gor_chan *c, void *v, size_t n);
GOR_API int gor_chan_recv_until(gor_chan *c, void *v, size_t n, int64_t deadline);
GOR_API int gor_chan_try_recv(gor_chan *c, void *v, size_t n);

/* The same with the size taken from the pointer: not a void *, whose *v gcc takes for a byte. What
 * is sent without a deadline may be written in place: gor_send(c, &(struct pair){ 1, 2 }). */
#ifdef __cplusplus
#define GOR__SIZE_AT(v) sizeof *(v)
#else
struct gor__a_void_pointer_has_no_size;
#define GOR__SIZE_AT(v)                                                                            \
    sizeof *_Generic((v), void *: (struct gor__a_void_pointer_has_no_size *)0,                     \
                     const void *: (struct gor__a_void_pointer_has_no_size *)0, default: (v))
#endif
#define gor_send(c, ...) gor_chan_send((c), (__VA_ARGS__), GOR__SIZE_AT((__VA_ARGS__)))
#define gor_send_until(c, v, deadline) gor_chan_send_until((c), (v), GOR__SIZE_AT(v), (deadline))
#define gor_try_send(c, ...)                                                                       \
    gor_chan_try_send((c), (__VA_ARGS__), GOR__SIZE_AT((__VA_ARGS__)))
#define gor_recv(c, v)                gor_chan_recv((c), (v), GOR__SIZE_AT(v))
#define gor_recv_until(c, v, deadline) gor_chan_recv_until((c), (v), GOR__SIZE_AT(v), (deadline))
#define gor_try_recv(c, v)            gor_chan_try_recv((c), (v), GOR__SIZE_AT(v))

/* Close: receivers get what is left, then -EPIPE; waiting and later senders get -EPIPE.
 * Returns 0; -EPIPE already closed; -EINVAL c is NULL. Any thread. Parks: never.
 * Orders: what was done before the close is visible to who sees it closed. */
GOR_API int gor_chan_close(gor_chan *c);

/* Values waiting in the buffer now; the capacity. 0 for NULL. Any thread. Parks: never. */
GOR_API size_t gor_chan_len(gor_chan *c);
GOR_API size_t gor_chan_cap(gor_chan *c);

/* GOR_CHAN_TYPE(name, T): a channel type of its own, so that a wrong value does not compile:
 * name_new(cap), name_send(c, T), name_recv(c, T *), name_try_send, name_try_recv, name_send_until,
 * name_recv_until, name_close, name_len, name_retain, name_release; name_chan(c) for select.
 * Written at file scope, without a semicolon. */
#define GOR_CHAN_TYPE(name, T)                                                                     \
    typedef struct name name;                                                                      \
    static inline GOR__UNUSED gor_chan *name##_chan(name *c)                                       \
    {                                                                                              \
        return (gor_chan *)(void *)c;                                                              \
    }                                                                                              \
    static inline GOR__UNUSED name *name##_new(size_t cap)                                         \
    {                                                                                              \
        return (name *)(void *)gor_chan_new(sizeof(T), cap);                                       \
    }                                                                                              \
    static inline GOR__UNUSED int name##_send(name *c, T v)                                        \
    {                                                                                              \
        return gor_chan_send(name##_chan(c), &v, sizeof v);                                        \
    }                                                                                              \
    static inline GOR__UNUSED int name##_try_send(name *c, T v)                                    \
    {                                                                                              \
        return gor_chan_try_send(name##_chan(c), &v, sizeof v);                                    \
    }                                                                                              \
    static inline GOR__UNUSED int name##_send_until(name *c, T v, int64_t deadline)                \
    {                                                                                              \
        return gor_chan_send_until(name##_chan(c), &v, sizeof v, deadline);                        \
    }                                                                                              \
    static inline GOR__UNUSED int name##_recv(name *c, T *v)                                       \
    {                                                                                              \
        return gor_chan_recv(name##_chan(c), v, sizeof *v);                                        \
    }                                                                                              \
    static inline GOR__UNUSED int name##_try_recv(name *c, T *v)                                   \
    {                                                                                              \
        return gor_chan_try_recv(name##_chan(c), v, sizeof *v);                                    \
    }                                                                                              \
    static inline GOR__UNUSED int name##_recv_until(name *c, T *v, int64_t deadline)               \
    {                                                                                              \
        return gor_chan_recv_until(name##_chan(c), v, sizeof *v, deadline);                        \
    }                                                                                              \
    static inline GOR__UNUSED int name##_close(name *c)                                            \
    {                                                                                              \
        return gor_chan_close(name##_chan(c));                                                     \
    }                                                                                              \
    static inline GOR__UNUSED size_t name##_len(name *c)                                           \
    {                                                                                              \
        return gor_chan_len(name##_chan(c));                                                       \
    }                                                                                              \
    static inline GOR__UNUSED name *name##_retain(name *c)                                         \
    {                                                                                              \
        return (name *)(void *)gor_chan_retain(name##_chan(c));                                    \
    }                                                                                              \
    static inline GOR__UNUSED void name##_release(name *c)                                         \
    {                                                                                              \
        gor_chan_release(name##_chan(c));                                                          \
    }

/* -- select --------------------------------------------------------------------------------- */

struct gor_ctx;

enum gor_case_kind {                   /* NONE first, DEFAULT last: a select refuses all others */
    GOR_CASE_NONE, GOR_CASE_RECV, GOR_CASE_SEND, GOR_CASE_DONE, GOR_CASE_DEADLINE,
    GOR_CASE_READABLE, GOR_CASE_WRITABLE, GOR_CASE_JOIN, GOR_CASE_DEFAULT
};

/* One case of a select. Made by the gor_on_ calls below; the fields are the library's, but for
 * rc. */
typedef struct gor_case {
    int     kind;                      /* enum gor_case_kind                                     */
    int     rc;                        /* out: result of the case that ran: 0, -EPIPE; -EBADF    */
    void   *object;                    /* the channel, context or task                           */
    void   *value;                     /* what to send, where to receive                         */
    size_t  size;                      /* bytes at value                                         */
    bool   *ok;                        /* out: false if the channel was closed; may be NULL      */
    int64_t deadline;                  /* absolute ns                                            */
    int     fd;
} gor_case;

/* Wait until one of n cases can run, run it, and say which; of several that can, one at random,
 * each equally likely. With gor_on_default among them never waits.
 *   cases  read, and rc and *ok of the one that ran written, before the return; n 0 waits for ever
 * Returns the case's index; a receive on a closed channel runs, with *ok false;
 * -EPIPE a send case met a closed channel (its rc is -EPIPE, the others' 0); -EMSGSIZE a channel
 * case of the wrong size, -EINVAL an unknown kind, each before anything has moved; -ESRCH an fd
 * case without a runtime; -ECANCELED, -ETIMEDOUT the goroutine's own context is done; -ENOMEM.
 * Parks: yes, unless there is a default; blocks the thread outside of goroutines.
 * Orders: as the send or receive that ran. Source: selectgo of the Go runtime. */
GOR_API int gor_select_n(gor_case *cases, size_t n);

/* gor_select(case, case, ...): the same, the cases written in the call. */
#ifndef __cplusplus
#define gor_select(...)                                                                            \
    gor_select_n((gor_case[]){ __VA_ARGS__ },                                                      \
                 sizeof((gor_case[]){ __VA_ARGS__ }) / sizeof(gor_case))
#else
extern "C++" {
template <class... C> static inline int gor__select(C... c)
{
    gor_case cases[] = { c... };
    return gor_select_n(cases, sizeof...(c));
}
}
#define gor_select(...) gor__select(__VA_ARGS__)
#endif

static inline GOR__UNUSED gor_case gor__case(int kind, void *object, void *value, size_t size,
                                             bool *ok)
{
    gor_case k;
    k.kind = kind;
    k.rc = 0;
    k.object = object;
    k.value = value;
    k.size = size;
    k.ok = ok;
    k.deadline = GOR_FOREVER;
    k.fd = -1;
    return k;
}
static inline GOR__UNUSED gor_case gor__case_send(gor_chan *c, const void *v, size_t size)
{
    gor_case k = gor__case(GOR_CASE_SEND, c, NULL, size, NULL);
    union { const void *from; void *to; } u;
    u.from = v;
    k.value = u.to;
    return k;
}
static inline GOR__UNUSED gor_case gor__case_time(int64_t deadline)
{
    gor_case k = gor__case(GOR_CASE_DEADLINE, NULL, NULL, 0, NULL);
    k.deadline = deadline;
    return k;
}
static inline GOR__UNUSED gor_case gor__case_fd(int kind, int fd)
{
    gor_case k = gor__case(kind, NULL, NULL, 0, NULL);
    k.fd = fd;
    return k;
}
static inline GOR__UNUSED int64_t gor__deadline_after(int64_t ns)
{
    return gor__later(gor_now(), ns);
}

/* The cases. A NULL channel or context is a case that is off. gor_on_after: ns from now. readable,
 * writable: a read or write of fd would not block; that includes one that would fail. */
#define gor_on_recv(c, ptr)        gor__case(GOR_CASE_RECV, (c), (ptr), GOR__SIZE_AT(ptr), NULL)
#define gor_on_recv_ok(c, ptr, ok) gor__case(GOR_CASE_RECV, (c), (ptr), GOR__SIZE_AT(ptr), (ok))
#define gor_on_send(c, ...)                                                                        \
    gor__case_send((c), (__VA_ARGS__), GOR__SIZE_AT((__VA_ARGS__)))
#define gor_on_done(ctx)           gor__case(GOR_CASE_DONE, (ctx), NULL, 0, NULL)
#define gor_on_deadline(t)         gor__case_time(t)
#define gor_on_after(ns)           gor__case_time(gor__deadline_after(ns))
#define gor_on_readable(fd)        gor__case_fd(GOR_CASE_READABLE, (fd))
#define gor_on_writable(fd)        gor__case_fd(GOR_CASE_WRITABLE, (fd))
#define gor_on_join(task)          gor__case(GOR_CASE_JOIN, (task), NULL, 0, NULL)
#define gor_on_default()           gor__case(GOR_CASE_DEFAULT, NULL, NULL, 0, NULL)

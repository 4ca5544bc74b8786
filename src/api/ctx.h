/* ==== [ctx] contexts and groups ============================================================= */

/* A tree of cancellation: what is done to a context is done to its children. Reference-counted:
 * every constructor returns one reference, given back by gor_ctx_release; children and goroutines
 * keep their own. Everything here works from any thread. */
typedef struct gor_ctx gor_ctx;

/* The root: never done. Needs no release, takes it anyway. */
GOR_API gor_ctx *gor_ctx_background(void);

/* New contexts under parent (NULL: the background). Each returns one reference; NULL out of memory.
 *   t    absolute deadline, ns; the parent's, if that is earlier
 *   ns   the same, from now
 *   key  compared as a pointer
 * gor_ctx_without_cancel keeps values, and is never done. A deadline needs a running runtime, this
 * or a later one, to pass by itself; gor_ctx_err sees it pass in any case. */
GOR_API gor_ctx *gor_ctx_with_cancel(gor_ctx *parent);
GOR_API gor_ctx *gor_ctx_with_deadline(gor_ctx *parent, int64_t t);
GOR_API gor_ctx *gor_ctx_with_timeout(gor_ctx *parent, int64_t ns);
GOR_API gor_ctx *gor_ctx_with_value(gor_ctx *parent, const void *key, void *value);
GOR_API gor_ctx *gor_ctx_without_cancel(gor_ctx *parent);

/* Make c and its children done; the first call counts. cause: a negative errno for gor_ctx_cause,
 * 0 means -ECANCELED. The background cannot be cancelled. Parks: never. */
GOR_API void gor_ctx_cancel(gor_ctx *c, int cause);

/* 0 while live, then -ECANCELED or -ETIMEDOUT; NULL is the background. */
GOR_API int gor_ctx_err(gor_ctx *c);
/* 0 while live, then what gor_ctx_cancel was given, or gor_ctx_err's. */
GOR_API int gor_ctx_cause(gor_ctx *c);
/* The value of the nearest context with this key, or NULL. */
GOR_API void *gor_ctx_value(gor_ctx *c, const void *key);
/* A channel, of element size 0, that is closed when c is done. The context's own: retain it to keep
 * it longer. NULL, which blocks for ever, if c is never done; also when out of memory. */
GOR_API gor_chan *gor_ctx_done(gor_ctx *c);
/* The absolute deadline, ns; GOR_FOREVER if there is none. */
GOR_API int64_t gor_ctx_deadline(gor_ctx *c);
/* Run fn(arg) in a goroutine of its own once c is done, if that is in this run of the runtime. The
 * goroutine is made now, so that it can be started then without memory: until c is done it costs
 * what one costs that has not begun. Returns 0; -ENOMEM; -EINVAL fn is NULL; -ESRCH no runtime.
 * Any thread. Parks: never. */
GOR_API int gor_ctx_after(gor_ctx *c, void (*fn)(void *), void *arg);

GOR_API gor_ctx *gor_ctx_retain(gor_ctx *c);
GOR_API void gor_ctx_release(gor_ctx *c);

/* Make c this goroutine's own: from now on every blocking call of it that returns an int ends with
 * -ECANCELED or -ETIMEDOUT when c is done, and at once if it already is; goroutines it starts
 * inherit c and keep a reference. NULL leaves. c must live until the goroutine leaves it or ends.
 * Returns the context before, or NULL:
 *     gor_ctx *old = gor_ctx_enter(c);  ...  gor_ctx_enter(old);
 * Goroutines only. Parks: never. */
GOR_API gor_ctx *gor_ctx_enter(gor_ctx *c);

/* -- groups: structured concurrency, the first error cancels the rest -------------------------- */
typedef struct gor_group {
    gor_ctx  *ctx;
    gor_wg    wg;
    gor_sem   slots;
    gor__au32 error;
    int       limit;
} gor_group;

/* Make g ready, under parent (NULL: the background), with at most limit goroutines at a time
 * (0 or less: no limit). */
GOR_API void gor_group_init(gor_group *g, gor_ctx *parent, int limit);

/* Run fn(arg) as a goroutine whose own context is g's; waits while limit are running. A result
 * other than 0 cancels the group's context with that cause; the first one counts.
 * Returns 0; -ENOMEM; -ESRCH; -ECANCELED, -ETIMEDOUT the caller's own context is done. Parks:
 * yes. */
#define gor_group_go(g, fn, arg) gor__group_go_at((g), (fn), (arg), #fn "\0" GOR__HERE)
GOR_API int gor__group_go_at(gor_group *g, int (*fn)(void *), void *arg, const char *site);
GOR_API int (gor_group_go)(gor_group *g, int (*fn)(void *), void *arg);

/* The group's context, for select and for passing on; lives until gor_group_wait returns. */
GOR_API gor_ctx *gor_group_ctx(gor_group *g);

/* Wait for all, cancel the group's context, free what g holds; g may be made ready again.
 * Returns the first result that was not 0, else 0. Always waits for all: not ended by the caller's
 * own context. Parks: yes. */
GOR_API int gor_group_wait(gor_group *g);

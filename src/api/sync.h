/* ==== [sync] locks, counters, barriers ======================================================
 * Every struct is valid when zeroed, needs no destroy, and may live anywhere. Every call works from
 * foreign threads, which it blocks. Waits return 0, -ETIMEDOUT (only the _until forms), or, as
 * every blocking call that returns an int, -ECANCELED / -ETIMEDOUT when the goroutine's own
 * context is done. deadline is absolute, ns on the gor_now() clock; GOR_FOREVER waits; a past
 * one only tries. All lock/unlock, done/wait, release/acquire, signal/wait pairs order as their
 * names say. */

/* -- mutex: fair as Go's is; a waiter starved for 1 ms gets it next ---------------------------- */
typedef struct gor_mutex {
    gor__au32 state;
    gor__spin lock;
    gor__wq   waiters;
} gor_mutex;

/* Lock. Returns 0; _until: -ETIMEDOUT; try_: true if taken; own context done: -ECANCELED, not
 * taken.
 * Parks: yes (try_: never). Not recursive. May be unlocked by another goroutine.
 * Source: Go's sync.Mutex (normal and starvation mode). */
GOR_API int  gor_mutex_lock(gor_mutex *m);
GOR_API int  gor_mutex_lock_until(gor_mutex *m, int64_t deadline);
GOR_API bool gor_mutex_try_lock(gor_mutex *m);
/* Unlock; of an unlocked mutex: a panic that names the call. Parks: never. */
GOR_API void gor_mutex_unlock(gor_mutex *m);
GOR_API void gor__mutex_unlock_at(gor_mutex *m, const char *here);
#define gor_mutex_unlock(m) gor__mutex_unlock_at((m), GOR__HERE)

/* -- rwmutex: many readers or one writer; first come, first served ----------------------------- */
typedef struct gor_rwmutex {
    gor__spin lock;
    gor__au32 state;                   /* readers inside; a writer is; somebody waits */
    gor__wq   waiters;
    gor__aptr spread;                  /* itself: readers count where they are */
    gor__ai64 calm;                    /* not again before that time */
    gor__au32 outside;                 /* readers that are no goroutines; not while there are any */
} gor_rwmutex;

/* Lock for reading or writing. A waiting writer holds back later readers, so no recursive rlock.
 * A read lock of a goroutine may end with the runtime; one of a thread, a write lock, and a mutex
 * stay as they are.
 * Returns 0; -ECANCELED, -ETIMEDOUT own context done, not taken. try_: true if taken. */
GOR_API int  gor_rwmutex_rlock(gor_rwmutex *m);
GOR_API int  gor_rwmutex_lock(gor_rwmutex *m);
GOR_API bool gor_rwmutex_try_rlock(gor_rwmutex *m);
GOR_API bool gor_rwmutex_try_lock(gor_rwmutex *m);
/* Unlock; without the lock: a panic that names the call. Parks: never. */
GOR_API void gor_rwmutex_runlock(gor_rwmutex *m);
GOR_API void gor_rwmutex_unlock(gor_rwmutex *m);
GOR_API int  gor__rwmutex_rlock_met(gor_rwmutex *m);
GOR_API void gor__rwmutex_runlock_at(gor_rwmutex *m, const char *here);
GOR_API void gor__rwmutex_unlock_at(gor_rwmutex *m, const char *here);
#define gor_rwmutex_runlock(m) gor__rwmutex_runlock_at((m), GOR__HERE)
#define gor_rwmutex_unlock(m)  gor__rwmutex_unlock_at((m), GOR__HERE)

/* -- cond ---------------------------------------------------------------------------------- */
typedef struct gor_cond {
    gor__spin lock;
    gor__wq   waiters;
} gor_cond;

/* Unlock m, wait for a signal, lock m again, whatever the result; test your condition in a loop.
 * Returns 0; -ETIMEDOUT; -ECANCELED. No spurious wake-ups. Parks: yes. */
GOR_API int  gor_cond_wait(gor_cond *c, gor_mutex *m);
GOR_API int  gor_cond_wait_until(gor_cond *c, gor_mutex *m, int64_t deadline);
/* Wake the longest waiting one, or all. Need not hold the mutex. Parks: never. */
GOR_API void gor_cond_signal(gor_cond *c);
GOR_API void gor_cond_broadcast(gor_cond *c);

/* -- once ---------------------------------------------------------------------------------- */
typedef struct gor_once {
    gor__au32 done;
    gor_mutex mutex;
} gor_once;

/* Run fn(arg) if no call on o has run it yet; return when it has run. A fn that panics has run.
 * Returns 0; -ECANCELED, -ETIMEDOUT own context done while another runs it; -ENOMEM: fn was not
 * run. Parks: yes. */
GOR_API int gor_once_do(gor_once *o, void (*fn)(void *), void *arg);

/* -- wait group ---------------------------------------------------------------------------- */
typedef struct gor_wg {
    gor__au64 state;                   /* four times the count, and two bits                    */
    gor__wq   waiters;
} gor_wg;

/* Add n, which may be negative; at zero all waiters go on. Below zero: a panic that names the call.
 * gor_wg_done adds -1. Parks: never. */
GOR_API void gor_wg_add(gor_wg *wg, int64_t n);
GOR_API void gor_wg_done(gor_wg *wg);
GOR_API void gor__wg_add_at(gor_wg *wg, int64_t n, const char *here);
#define gor_wg_add(wg, n) gor__wg_add_at((wg), (n), GOR__HERE)
#define gor_wg_done(wg)   gor__wg_add_at((wg), -1, GOR__HERE)

/* Wait until the count is zero. Returns 0; -ETIMEDOUT; -ECANCELED. Parks: yes. */
GOR_API int gor_wg_wait(gor_wg *wg);
GOR_API int gor_wg_wait_until(gor_wg *wg, int64_t deadline);

/* Add one, start fn(arg) as a goroutine, and be done when it ends, however it ends.
 * Returns what gor_go returns; on failure the count is as before. */
#define gor_wg_go(wg, fn, arg) gor__wg_go_at((wg), (fn), (arg), #fn "\0" GOR__HERE)
GOR_API int (gor_wg_go)(gor_wg *wg, void (*fn)(void *), void *arg);
GOR_API int gor__wg_go_at(gor_wg *wg, void (*fn)(void *), void *arg, const char *site);

/* -- semaphore: weighted, first in, first out ------------------------------------------------- */
typedef struct gor_sem {
    gor__spin lock;
    gor__au32 pad;
    int64_t   permits;
    gor__wq   waiters;
} gor_sem;
#ifdef __cplusplus
#define GOR_SEM_INIT(n) gor_sem{ {}, {}, (n), {} }
#else
#define GOR_SEM_INIT(n) { .permits = (n) }
#endif

/* Take n permits, at once or, in turn, when they are there. Returns 0; -EINVAL n < 0; -ETIMEDOUT;
 * -ECANCELED. try_: 0 or -EAGAIN. A large request holds back the smaller ones behind it.
 * Parks: yes (try_: never). */
GOR_API int gor_sem_acquire(gor_sem *s, int64_t n);
GOR_API int gor_sem_acquire_until(gor_sem *s, int64_t n, int64_t deadline);
GOR_API int gor_sem_try_acquire(gor_sem *s, int64_t n);
/* Give n permits. Returns 0; -EINVAL n < 0; -EOVERFLOW too many. Parks: never. */
GOR_API int gor_sem_release(gor_sem *s, int64_t n);

/* -- barrier ------------------------------------------------------------------------------- */
typedef struct gor_barrier {
    gor__spin lock;
    uint32_t  needed;
    uint32_t  arrived;
    gor__wq   waiters;
} gor_barrier;
#ifdef __cplusplus
#define GOR_BARRIER_INIT(n) gor_barrier{ {}, (n), 0, {} }
#else
#define GOR_BARRIER_INIT(n) { .needed = (n) }
#endif

/* Wait until n have called. True for the last one to arrive. Used again at once. A zeroed barrier
 * lets everyone through. Not ended by the goroutine's own context. Parks: yes. */
GOR_API bool gor_barrier_wait(gor_barrier *b);

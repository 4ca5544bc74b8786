/* ==== [time] sleeping, timers, tickers, rate limits ========================================= */

/* Sleep for ns, or until t on the gor_now() clock; at most 0: returns at once.
 * Returns 0; -ECANCELED, -ETIMEDOUT own context done; -ENOMEM. Parks: yes; blocks a foreign
 * thread. */
GOR_API int gor_sleep(int64_t ns);
GOR_API int gor_sleep_until(int64_t t);

/* A channel that gets one int64_t, the time, ns from now, as gor_timer_start counts them. The
 * caller's reference: release it. NULL: out of memory, or no runtime. Parks: never. */
GOR_API gor_chan *gor_after(int64_t ns);

/* A timer; the caller's storage, zeroed before its first start, kept until it ran or was
 * stopped. */
typedef struct gor_timer {
    int64_t   when;                    /* absolute ns; too early while it is undated: [date]     */
    bool    (*fire)(struct gor_timer *t, int64_t now);
    void    (*fn)(void *);
    void     *arg;
    gor__aptr owner;                   /* whose timers it is among, or NULL                      */
    uint32_t  index;                   /* its place there                                        */
    gor__au32 epoch;                   /* the start of the runtime that `run` belongs to         */
    gor__aptr run;                     /* the goroutine that its last firing started; or it is
                                          periodic                                               */
    union {
        gor__au64 run_id;              /* that goroutine's number                                */
        int64_t   period;              /* ns                                                     */
    } u;
} gor_timer;

/* Run fn(arg), in a goroutine of its own, ns from now (AfterFunc). Never early; a second or more
 * may count from up to a few ms after the call, and fn run that much later. A pending timer is
 * restarted. Returns 0; -ENOMEM; -ESRCH no runtime; -EINVAL. Any thread, but the first start of a
 * timer comes before every other start and reset of it, as AfterFunc does in Go. O(log n). Parks:
 * never. */
GOR_API int gor_timer_start(gor_timer *t, int64_t ns, void (*fn)(void *), void *arg);
/* Stop or move a started timer. True: it was pending. After it returned, no run for an earlier
 * setting begins (one that has begun goes on). reset counts ns as start does, and starts a timer
 * that has run, or was stopped, anew; without the memory for that it leaves it stopped. Any thread.
 * Parks: never. */
GOR_API bool gor_timer_stop(gor_timer *t);
GOR_API bool gor_timer_reset(gor_timer *t, int64_t ns);

/* A ticker; the caller's storage, zeroed before its first start, kept until stopped. */
typedef struct gor_ticker {
    gor_timer timer;
    gor_chan *c;
} gor_ticker;

/* Send the time (int64_t) every period ns, at first a period from now as gor_timer_start counts; a
 * slow receiver misses ticks. The channel is the ticker's own and ends with gor_ticker_stop: retain
 * it to keep it longer. NULL: out of memory, no runtime, or period < 1. After a reset no tick of
 * before it comes. Any thread, for each ticker one at a time. Parks: never. */
GOR_API gor_chan *gor_ticker_start(gor_ticker *t, int64_t period);
GOR_API void gor_ticker_reset(gor_ticker *t, int64_t period);
GOR_API void gor_ticker_stop(gor_ticker *t);

/* A token bucket: per_second tokens flow in, at most burst are kept; full at first. */
typedef struct gor_limiter {
    gor_mutex mutex;
    double    per_second;
    double    burst;
    double    tokens;                  /* at time `last`; below 0: owed to those who wait        */
    int64_t   last;                    /* ns                                                     */
} gor_limiter;
GOR_API void gor_limiter_init(gor_limiter *l, double per_second, int burst);
/* Take n tokens if they are there. Any thread. Parks: while another call looks at the limiter. */
GOR_API bool gor_limiter_allow(gor_limiter *l, int n);
/* Take n tokens, waiting for them in turn. Returns 0; -EINVAL n is negative or over burst;
 * -ETIMEDOUT they would come after the deadline (answered at once, nothing taken); -ECANCELED own
 * context done. Parks: yes. */
GOR_API int gor_limiter_wait(gor_limiter *l, int n);
GOR_API int gor_limiter_wait_until(gor_limiter *l, int n, int64_t deadline);

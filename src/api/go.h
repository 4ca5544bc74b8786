/* ==== [go] goroutines, fork-join, goroutine-local slots ===================================== */

enum gor_priority { GOR_LOW = -1, GOR_NORMAL = 0, GOR_HIGH = 1 };

/* How to start a goroutine; zero means "default" in every field. */
typedef struct gor_attr {
    const char *name;                  /* for reports; the first 23 bytes are copied             */
    size_t      stack_size;            /* bytes, 16 KiB to 1 GiB; rounded up to a power of two   */
    int         priority;              /* enum gor_priority: higher runs first                   */
    bool        lock_thread;           /* starts as if it had called gor_lock_thread             */
    bool        compact_idle;          /* while it is parked, nobody gives the kernel an address */
} gor_attr;                            /* in its stack: that may be packed; see the manual       */

/* Start fn(arg) as a goroutine. A macro: reports name fn and the call's file and line.
 * Returns 0: it will run, its stack is reserved; -ENOMEM no memory, or no address space for
 * another stack (nothing was started); -ESRCH no runtime; -EINVAL fn is NULL. Any thread.
 * Parks: never.
 * Orders: what was done before the call is visible to fn. */
#define gor_go(fn, arg) gor__go_at((fn), (arg), #fn "\0" GOR__HERE)

/* The same; fn gets a pointer to its own copy of n bytes at data, aligned to 16, alive until fn
 * returns. Copies of up to 56 bytes cost no allocation. */
#define gor_go_copy(fn, data, n) gor__go_copy_at((fn), (data), (n), #fn "\0" GOR__HERE)

/* The same with attributes; a is read before the call returns, NULL means defaults.
 * Also -EINVAL for a stack size or a priority out of range. */
#define gor_go_with(a, fn, arg) gor__go_with_at((a), (fn), (arg), #fn "\0" GOR__HERE)

GOR_API int gor__go_at(void (*fn)(void *), void *arg, const char *site);
GOR_API int gor__go_copy_at(void (*fn)(void *), const void *data, size_t n, const char *site);
GOR_API int gor__go_with_at(const gor_attr *a, void (*fn)(void *), void *arg, const char *site);

/* The functions behind the macros, for callers that need an address; site unknown. */
GOR_API int (gor_go)(void (*fn)(void *), void *arg);
GOR_API int (gor_go_copy)(void (*fn)(void *), const void *data, size_t n);
GOR_API int (gor_go_with)(const gor_attr *a, void (*fn)(void *), void *arg);

/* Let others run: the caller goes to the end of its run queue. Parks: yes, stays runnable. */
GOR_API void gor_yield(void);

/* End the calling goroutine after its deferred calls. Does not return. From the main goroutine:
 * the others go on and gor_run returns 0 when the last has ended. */
GOR_API void gor_exit(void) __attribute__((noreturn));

/* The calling goroutine's number, from 1 (the main goroutine) up, never used twice in a run;
 * 0 outside of goroutines. */
GOR_API uint64_t gor_id(void);

/* The calling goroutine's name: gor_attr.name, else the name of its function; "" outside. */
GOR_API const char *gor_name(void);

/* Tie the goroutine to its OS thread, which then runs nothing else (OpenGL, thread-local state of
 * libraries). Nests. Called by the main goroutine before it ever parked, the thread is the one that
 * called gor_run. A goroutine that ends while locked ends its thread with it.
 * Returns 0. gor_unlock_thread undoes one lock; one too many is a panic. Parks: never. */
GOR_API int  gor_lock_thread(void);
GOR_API void gor_unlock_thread(void);

/* Mark a function of yours that may be switched off in place, between any two instructions, once it
 * is past its quantum and others wait: GOR_PREEMPTIBLE static void f(...) { ... }. What it calls is
 * not, unless marked too. It must not hold a lock that it does not also release elsewhere, as a
 * handler would: others run on its thread meanwhile. */
#define GOR_PREEMPTIBLE __attribute__((section("gor_preemptible"), noinline))

/* From off to on the goroutine is not switched off in place. Nests, per goroutine. It may still
 * lose its processor, which changes nothing that it can see. Parks: on may, as any call. */
GOR_API void gor_preempt_off(void);
GOR_API void gor_preempt_on(void);

/* Goroutines alive, not counting the caller's thread. Any thread; 0 without a runtime. */
GOR_API size_t gor_num_goroutines(void);

/* -- fork-join ------------------------------------------------------------------------------ */

/* One forked call; the caller's storage, typically on its stack, until gor_join returns. */
typedef struct gor_task {
    gor__au32   state;
    gor__spin   lock;
    gor__wq     waiters;
    gor__aptr  *slot;
    void      (*run)(void *);
    void      (*finish)(void *);
    void     *(*fn)(void *);
    void       *arg;
    void       *result;
    void       *ctx;                   /* the forker's own, a reference, until it starts         */
} gor_task;

/* Run fn(arg) in parallel, if a processor is free, at the latest in gor_join. Allocates nothing.
 * A task forked and not yet started is run by the joiner, on the joiner's stack: there it has the
 * joiner's gor_id, own context, defers and goroutine-local slots; else a goroutine of its own runs
 * it, under the context that the forker had. Join it before the forker's goroutine ends, however
 * that ends (gor_defer). Goroutines only. Parks: never.
 * Source: work-first joins of Cilk-5 (Frigo, Leiserson, Randall, 1998). */
GOR_API void gor_fork(gor_task *t, void *(*fn)(void *), void *arg);

/* Wait for a forked task, once. Returns fn's result. Parks: if another processor runs it.
 * Orders: what fn did is visible after. Not ended by the goroutine's own context. */
GOR_API void *gor_join(gor_task *t);

/* Call fn(lo, hi, arg) over disjoint ranges that cover [begin, end), each of at most grain indices,
 * in parallel. grain 0 picks one. Returns 0 when all have run; -EINVAL fn is NULL; -ECANCELED: one
 * that ran in a goroutine of its own ended that by gor_exit or a recovered panic. If the caller's
 * goroutine ends so in fn, ranges not begun never are, and it waits for those that others run.
 * Parks: yes. Orders: all calls happen before the return. */
GOR_API int gor_parallel_for(size_t begin, size_t end, size_t grain,
                             void (*fn)(size_t lo, size_t hi, void *arg), void *arg);

/* -- goroutine-local slots ------------------------------------------------------------------ */

/* A slot of which every goroutine has its own value. Static storage, zeroed:
 *     static gor_local user = { free };      // destructor or NULL, run when the goroutine ends */
typedef struct gor_local {
    void (*destructor)(void *value);
    uint64_t reserved;
} gor_local;

/* The value that this goroutine last set, or NULL. Parks: never. */
GOR_API void *gor_local_get(gor_local *k);

/* Set this goroutine's value; the old one is not destroyed. Returns 0; -ENOMEM. Parks: never. */
GOR_API int gor_local_set(gor_local *k, void *value);

/* -- GOR_GO: a typed go statement ------------------------------------------------------------ */

/* GOR_GO(f, a, b, ...): run f(a, b, ...) as a goroutine, up to six integer or pointer arguments,
 * evaluated now and converted as the call f(a, b, ...) would convert them. f's result is dropped.
 * An expression: gives what gor_go gives. Compile-time errors: whatever f(a, b, ...) would not
 * accept; a floating or struct parameter; in C, an argument to a parameter narrower than int whose
 * type is not exactly the parameter's (cast them all), likewise with enum parameters under gcc. In
 * C23 all types must match exactly. */
#define GOR__NARGS_(a, b, c, d, e, f, g, h, n, ...) n
#define GOR__NARGS(...) GOR__NARGS_(__VA_ARGS__, 8, 7, 6, 5, 4, 3, 2, 1, 0)

typedef struct gor__call {             /* what a GOR_GO goroutine runs: fn and its arguments */
    void   (*fn)(void);
    uint64_t arg[6];
} gor__call;
GOR_API int gor__go_call(const gor__call *call, const char *site);

#ifndef __cplusplus

#define GOR_GO(...)                                                                                \
    GOR__CAT(GOR__GO_, GOR__NARGS(__VA_ARGS__))(__VA_ARGS__)

/* A pointer argument is refused by every floating, struct and union parameter (by gcc: every
 * enum too) and taken, with a warning that we silence, by every integer one: that is how C lets
 * us look at f's parameters. Arguments of exactly f's types need no such test. */
#define GOR__PROBE(call_with_nulls)                                                                \
    _Pragma("GCC diagnostic push")                                                                 \
    _Pragma("GCC diagnostic ignored \"-Wint-conversion\"")                                         \
    _Pragma("GCC diagnostic ignored \"-Wnonnull\"")                                                \
    (void)sizeof(call_with_nulls, 0);                                                              \
    _Pragma("GCC diagnostic pop")
/* f() without a prototype is compatible with f's type if no parameter is narrower than int (C11
 * 6.7.6.3 p15); otherwise the argument types must be the parameter types. */
#if __STDC_VERSION__ > 201710L
#define GOR__WIDE(f, call) 0
#else
#define GOR__WIDE(f, call) __builtin_types_compatible_p(__typeof__(*(f)), __typeof__(call)())
#endif
#define GOR__EXACT(f, call, ...)                                                                   \
    __builtin_types_compatible_p(__typeof__(*(f)), __typeof__(call)(__VA_ARGS__))
#define GOR__IF_EXACT(exact, a) __builtin_choose_expr(exact, a, GOR__N)
#define GOR__GO_CHECK(f, call, probe)                                                              \
    (void)sizeof(call, 0);                                                                         \
    GOR__PROBE(probe)                                                                              \
    _Pragma("GCC diagnostic push")                                                                 \
    _Pragma("GCC diagnostic ignored \"-Wstrict-prototypes\"")                                      \
    _Static_assert(gor__x || GOR__WIDE(f, call),                                                   \
                   "GOR_GO: cast each argument to the exact type of its parameter");               \
    _Pragma("GCC diagnostic pop")                                                                  \
    _Static_assert(sizeof(__typeof__(call)) <= 8, "GOR_GO: f returns too large a struct");
#define GOR__NO_FLOAT(a)                                                                           \
    _Static_assert(_Generic((a), float: 0, double: 0, long double: 0, default: 1) &&               \
                   sizeof(__typeof__(1 ? (a) : (a))) <= 8,                                         \
                   "GOR_GO: integer or pointer arguments only");
#define GOR__WORD(a) (uint64_t)(a)
#define GOR__GO_SITE(f) #f "\0" GOR__HERE
#define GOR__GO_END(f, ...)                                                                        \
    gor__call gor__c = { (void (*)(void))(f), { __VA_ARGS__ } };                                   \
    gor__go_call(&gor__c, GOR__GO_SITE(f));
#define GOR__N ((void *)0)

#define GOR__GO_1(f) __extension__({                                                               \
    (void)sizeof((f)(), 0);                                                                        \
    _Static_assert(sizeof(__typeof__((f)())) <= 8, "GOR_GO: f returns too large a struct");        \
    GOR__GO_END(f, 0) })
#define GOR__GO_2(f, a) __extension__({                                                            \
    enum { gor__x = GOR__EXACT(f, (f)(a),                                                          \
                               __typeof__(a)) };                                                   \
    GOR__GO_CHECK(f, (f)(a),                                                                       \
                  (f)(GOR__IF_EXACT(gor__x, a)))                                                   \
    GOR__NO_FLOAT(a)                                                                               \
    GOR__GO_END(f, GOR__WORD(a)) })
#define GOR__GO_3(f, a, b) __extension__({                                                         \
    enum { gor__x = GOR__EXACT(f, (f)(a, b),                                                       \
                               __typeof__(a), __typeof__(b)) };                                    \
    GOR__GO_CHECK(f, (f)(a, b),                                                                    \
                  (f)(GOR__IF_EXACT(gor__x, a), GOR__IF_EXACT(gor__x, b)))                         \
    GOR__NO_FLOAT(a) GOR__NO_FLOAT(b)                                                              \
    GOR__GO_END(f, GOR__WORD(a), GOR__WORD(b)) })
#define GOR__GO_4(f, a, b, c) __extension__({                                                      \
    enum { gor__x = GOR__EXACT(f, (f)(a, b, c),                                                    \
                               __typeof__(a), __typeof__(b), __typeof__(c)) };                     \
    GOR__GO_CHECK(f, (f)(a, b, c),                                                                 \
                  (f)(GOR__IF_EXACT(gor__x, a), GOR__IF_EXACT(gor__x, b),                          \
                      GOR__IF_EXACT(gor__x, c)))                                                   \
    GOR__NO_FLOAT(a) GOR__NO_FLOAT(b) GOR__NO_FLOAT(c)                                             \
    GOR__GO_END(f, GOR__WORD(a), GOR__WORD(b), GOR__WORD(c)) })
#define GOR__GO_5(f, a, b, c, d) __extension__({                                                   \
    enum { gor__x = GOR__EXACT(f, (f)(a, b, c, d),                                                 \
                               __typeof__(a), __typeof__(b), __typeof__(c),                        \
                               __typeof__(d)) };                                                   \
    GOR__GO_CHECK(f, (f)(a, b, c, d),                                                              \
                  (f)(GOR__IF_EXACT(gor__x, a), GOR__IF_EXACT(gor__x, b),                          \
                      GOR__IF_EXACT(gor__x, c), GOR__IF_EXACT(gor__x, d)))                         \
    GOR__NO_FLOAT(a) GOR__NO_FLOAT(b) GOR__NO_FLOAT(c)                                             \
    GOR__NO_FLOAT(d)                                                                               \
    GOR__GO_END(f, GOR__WORD(a), GOR__WORD(b), GOR__WORD(c), GOR__WORD(d)) })
#define GOR__GO_6(f, a, b, c, d, e) __extension__({                                                \
    enum { gor__x = GOR__EXACT(f, (f)(a, b, c, d, e),                                              \
                               __typeof__(a), __typeof__(b), __typeof__(c),                        \
                               __typeof__(d), __typeof__(e)) };                                    \
    GOR__GO_CHECK(f, (f)(a, b, c, d, e),                                                           \
                  (f)(GOR__IF_EXACT(gor__x, a), GOR__IF_EXACT(gor__x, b),                          \
                      GOR__IF_EXACT(gor__x, c), GOR__IF_EXACT(gor__x, d),                          \
                      GOR__IF_EXACT(gor__x, e)))                                                   \
    GOR__NO_FLOAT(a) GOR__NO_FLOAT(b) GOR__NO_FLOAT(c)                                             \
    GOR__NO_FLOAT(d) GOR__NO_FLOAT(e)                                                              \
    GOR__GO_END(f, GOR__WORD(a), GOR__WORD(b), GOR__WORD(c),                                       \
                GOR__WORD(d), GOR__WORD(e)) })
#define GOR__GO_7(f, a, b, c, d, e, g) __extension__({                                             \
    enum { gor__x = GOR__EXACT(f, (f)(a, b, c, d, e, g),                                           \
                               __typeof__(a), __typeof__(b), __typeof__(c),                        \
                               __typeof__(d), __typeof__(e), __typeof__(g)) };                     \
    GOR__GO_CHECK(f, (f)(a, b, c, d, e, g),                                                        \
                  (f)(GOR__IF_EXACT(gor__x, a), GOR__IF_EXACT(gor__x, b),                          \
                      GOR__IF_EXACT(gor__x, c), GOR__IF_EXACT(gor__x, d),                          \
                      GOR__IF_EXACT(gor__x, e), GOR__IF_EXACT(gor__x, g)))                         \
    GOR__NO_FLOAT(a) GOR__NO_FLOAT(b) GOR__NO_FLOAT(c)                                             \
    GOR__NO_FLOAT(d) GOR__NO_FLOAT(e) GOR__NO_FLOAT(g)                                             \
    GOR__GO_END(f, GOR__WORD(a), GOR__WORD(b), GOR__WORD(c),                                       \
                GOR__WORD(d), GOR__WORD(e), GOR__WORD(g)) })

#else /* C++: the parameter types are there to be looked at */

#define GOR__FIRST_NAME(f, ...) #f
#define GOR_GO(...) gor__go_typed(GOR__FIRST_NAME(__VA_ARGS__, 0) "\0" GOR__HERE, __VA_ARGS__)

extern "C++" {
template <class T> struct gor__word_type {
    static constexpr bool ok = __is_enum(T);
};
template <class T> struct gor__word_type<T *> { static constexpr bool ok = true; };
#define GOR__WORD_TYPE(T)                                                                          \
    template <> struct gor__word_type<T> { static constexpr bool ok = true; };
GOR__WORD_TYPE(bool) GOR__WORD_TYPE(char) GOR__WORD_TYPE(signed char) GOR__WORD_TYPE(unsigned char)
GOR__WORD_TYPE(short) GOR__WORD_TYPE(unsigned short) GOR__WORD_TYPE(int) GOR__WORD_TYPE(unsigned)
GOR__WORD_TYPE(long) GOR__WORD_TYPE(unsigned long) GOR__WORD_TYPE(long long)
GOR__WORD_TYPE(unsigned long long) GOR__WORD_TYPE(wchar_t) GOR__WORD_TYPE(char16_t)
GOR__WORD_TYPE(char32_t) GOR__WORD_TYPE(decltype(nullptr))
#undef GOR__WORD_TYPE

template <class... P> struct gor__pack;
template <> struct gor__pack<> {
    template <class R, class... Q, class... D> void call(R (*fn)(Q...), D... done) { fn(done...); }
};
template <class P, class... More> struct gor__pack<P, More...> {
    static_assert(gor__word_type<P>::ok, "GOR_GO: integer or pointer parameters only");
    P value;
    gor__pack<More...> more;
    template <class A, class... B> gor__pack(A a, B... b) : value(a), more{b...} {}
    template <class R, class... Q, class... D> void call(R (*fn)(Q...), D... done)
    {
        more.call(fn, done..., value);
    }
};
template <class R, class... P> struct gor__typed_call {
    R (*fn)(P...);
    gor__pack<P...> args;
    static void run(void *self)
    {
        gor__typed_call *c = static_cast<gor__typed_call *>(self);
        c->args.call(c->fn);
    }
};
template <class T> struct gor__same { typedef T type; };
template <class R, class... P>
int gor__go_typed(const char *site, R (*fn)(P...), typename gor__same<P>::type... a)
{
    static_assert(sizeof...(P) <= 6, "GOR_GO: six arguments at most");
    gor__typed_call<R, P...> c = { fn, { a... } };
    return gor__go_copy_at(gor__typed_call<R, P...>::run, &c, sizeof c, site);
}
} /* extern "C++" */
#endif

/* ==== [stack] goroutine stacks ==================================================================
 * What        Stacks of a power of two of address space, cut from large mappings; the kernel
 *             commits a page when it is touched. The lowest page is a guard, and with it the one
 *             below, which keeps stacks apart.
 * Invariants  I1 A stack is bound to one goroutine, in one processor's cache, in its class's list,
 *                or cold: free, without a page, noted in a block beside it.
 *             I2 The highest words of a listed stack, in a page that is resident most often, hold
 *                the addresses of others, GOR__MAGAZINE at most, and of the next that does so: to
 *                take many touches few. If the list is long, who comes to it and is seen to have
 *                been used below that page has given all of that back. The processors keep no
 *                more than such a list ([ready] gor__stacks_kept), and come to it for half of that
 *                at once. The rest is [tidy]'s: a call of madvise for each stack, and what it costs
 *                the other processors to forget its pages, is more than all else that a short
 *                goroutine takes.
 *             I3 Who may come to need a stack has been promised one: each G of the default class
 *                from when it was made, others while their goroutine lives, a processor for each
 *                stack that its cache may hold. There are never more promises than stacks, so a
 *                goroutine that was started finds one when it first runs. A promise costs address
 *                space only.
 *             I4 Under vm.overcommit_memory=2 every writable page counts. Then stacks are reserved
 *                without access, the top of each is opened when it is promised, and the rest by the
 *                handler of the fault ([faults]) as it is used. Their guards are never opened.
 * Guards      MADV_GUARD_INSTALL where the kernel has it; else mprotect until the limit on
 *             mappings is met; then none, said once: such a stack carries a canary that every
 *             switch checks. Who needs a new stack has some guarded at once, where the kernel can,
 *             and lists the others: fewer calls, and others wait less for the lock that all mapping
 *             takes. (Their first pages at once, too, would be less than a fault for each, but with
 *             that lock held for so long that who maps memory meanwhile waits for milliseconds.)
 * Tags        The address of a stack without a guard is tagged by GOR__UNGUARDED wherever it is
 *             kept; gor__stack_lo strips that.
 * Locks       gor__stacks.lock (MEMORY); never held over a system call that may take long.
 * Source      Magazines: Bonwick and Adams, "Magazines and Vmem" (2001).
 * Colour      Frames start at one of 16 offsets, so that a thousand parked goroutines do not meet
 *             in one set of the first-level cache; and stacks are an odd number of pages apart, so
 *             that they do not meet in one set of a TLB which goes by the low bits of a page's
 *             number, as that of AMD's Zen 3 does.
 * Tests       tests/stack.c
 */
#define GOR__STACK_CLASSES 17                  /* 16 KiB .. 1 GiB */
#define GOR__STACK_CHUNK   ((size_t)16 << 20)  /* one mapping at least, if there is room      */
#define GOR__STACK_CHUNK_MAX ((size_t)1 << 30) /* and at most                                 */
#define GOR__MAGAZINE      30
#define GOR__STACK_WARM    512                 /* a list that is not long                     */
#define GOR__STACK_ASK     64                  /* of so many given back, one is looked at     */
#define GOR__STACK_ASK_ALL 256                 /* so many are, each, if one is used deep      */
#define GOR__STACK_OPEN    ((size_t)32 << 10)  /* what is open from the start, if strict      */
#define GOR__COLD_CAP      61
#define GOR__STACK_CANARY  0x676f722063616e61ULL

/* A mapping. Each stride of it is a page that keeps stacks apart, and then a stack, whose lowest
 * page is the guard together with that one: what can be used begins gor__stack_guard_size() up. */
typedef struct gor__chunk {
    struct gor__chunk *next;
    struct gor__chunk *next_uncut;
    char  *base;
    size_t size;
    size_t stride;                     /* bytes from one stack to the next         */
    size_t cut;                        /* bytes that have become stacks            */
    gor__aptr slots;                   /* [pack]'s, one for each stack, or NULL    */
} gor__chunk;

typedef struct gor__cold {             /* stacks that hold no page                 */
    struct gor__cold *next;
    size_t n;
    char  *lo[GOR__COLD_CAP];
} gor__cold;

typedef struct gor__magazine {         /* at the top of a listed stack             */
    char  *next;                       /* the next that holds one                  */
    size_t n;
    char  *lo[GOR__MAGAZINE];          /* others that are listed                   */
} gor__magazine;

typedef struct gor__stack_class {
    char       *free;                  /* listed stacks, by their lowest address   */
    gor__au64   n_free;
    uint64_t    n_free_least;          /* since [tidy] last looked                 */
    gor__cold  *cold;                  /* taken when the list is empty             */
    gor__au64   n_cold;
    gor__chunk *uncut;                 /* chunks that are not yet cut up           */
    size_t      n_all;                 /* stacks there are, cut or not             */
    size_t      n_promised;            /* I3                                       */
    gor__au32   n_put;                 /* I2: how many                             */
    gor__au32   ask;                   /* so many more are looked at               */
} gor__stack_class;

static struct {
    gor__spin        lock;
    gor__stack_class cls[GOR__STACK_CLASSES];
    gor__aptr        chunks;           /* of gor__chunk; grows at its head         */
    size_t           page_size;
    bool             light_guards;     /* MADV_GUARD_INSTALL works                 */
    bool             no_guards;        /* GORDEBUG=noguard=1                       */
    bool             strict;           /* open stacks page by page: I4             */
    gor__au32        each;             /* some stacks are guarded at once          */
    gor__au32        unguarded;        /* some stack has no guard: check canaries  */
    gor__au32        exhausted;        /* the last attempt to map a chunk failed   */
} gor__stacks;

/* Every mapping that stacks are cut from. Takes no lock. */
static gor__chunk *gor__stack_chunks(void)
{
    return (gor__chunk *)gor__aptr_load_acq(&gor__stacks.chunks);
}

/* The class for stacks of that size, of four pages at least. */
static int gor__stack_class_of(size_t size)
{
    size_t least = 4 * gor__stacks.page_size;
    int k = 0;
    if (size < least)
        size = least;
    while ((GOR__MIN_STACK_SIZE << k) < size)
        k++;
    return k;
}

enum { GOR__UNGUARDED = 1 };

GOR__INLINE char *gor__stack_lo(char *tagged)
{
    return tagged - ((uintptr_t)tagged & GOR__UNGUARDED);
}

GOR__INLINE gor__magazine *gor__stack_magazine(char *tagged, size_t size)
{
    return (gor__magazine *)(void *)(gor__stack_lo(tagged) + size - sizeof(gor__magazine));
}

static void gor__stack_say_unguarded(void)
{
    static const char text[] = "gor: no more guard pages to be had (vm.max_map_count): further "
                               "stacks carry a canary instead\n";
    if (gor__au32_xchg(&gor__stacks.unguarded, 1) == 0)
        if (write(2, text, sizeof text - 1) < 0)
            return;
}

/* How much of a stride is guard. */
static size_t gor__stack_guard_size(void) { return 2 * gor__stacks.page_size; }

/* Guard a stack that was cut just now, and the page below. Returns it, tagged if that was not to be
 * had. */
static char *gor__stack_guard(char *lo)
{
    char *from = lo - gor__stacks.page_size;
    if (gor__stacks.strict)
        return lo;
    if (!gor__stacks.no_guards &&
        gor__os_guard(from, gor__stack_guard_size(), gor__stacks.light_guards) == 0)
        return lo;
    gor__stack_say_unguarded();
    *(uint64_t *)(void *)lo = GOR__STACK_CANARY;
    return lo + GOR__UNGUARDED;
}

static void gor__lock_stacks(void) { gor__lock_always(&gor__stacks.lock, GOR__RANK_MEMORY); }
static void gor__unlock_stacks(void) { gor__unlock(&gor__stacks.lock, GOR__RANK_MEMORY); }

/* From one stack of that size to the next: a page more, see Colour. */
static size_t gor__stack_stride(size_t size) { return size + gor__stacks.page_size; }

/* How many stacks of class k the next mapping should hold, if n are wanted: a quarter of those
 * there are, so that ten million take a few thousand mappings. LeakSanitizer reads all of it. */
static size_t gor__chunk_stacks(int k, size_t n)
{
    size_t stride = gor__stack_stride(GOR__MIN_STACK_SIZE << k);
    size_t more = gor__stacks.cls[k].n_all / 4;
    if (gor__stacks.strict)
        return n;
    if (GOR__ASAN)
        more = 0;
    if (more > GOR__STACK_CHUNK_MAX / stride)
        more = GOR__STACK_CHUNK_MAX / stride;
    if (more < GOR__STACK_CHUNK / stride)
        more = GOR__STACK_CHUNK / stride;
    return n > more ? n : more;
}

/* Open the tops of n stacks that are reserved without access. Returns how many are open; the
 * address space of the others has been given back. */
static size_t gor__stacks_open(char *base, size_t n, size_t stride)
{
    size_t most = stride - gor__stack_guard_size(), open = 0;
    size_t top = GOR__STACK_OPEN < most ? GOR__STACK_OPEN : most;
    while (open < n && gor__os_open(base + (open + 1) * stride - top, top))
        open++;
    if (open < n)
        gor__os_release(base + open * stride, (n - open) * stride);
    return open;
}

/* Open a stack down to below the address that was touched, twice as deep as it is there. False:
 * that is the guard, or the system has no more. */
static bool gor__stack_open_more(char *lo, size_t size, uintptr_t at)
{
    size_t page = gor__stacks.page_size;
    uintptr_t least = (uintptr_t)lo + page, end = (uintptr_t)lo + size, from;
    if (!gor__stacks.strict || at < least || at >= end)
        return false;
    from = at - least > end - at ? (at - (end - at)) & ~(uintptr_t)(page - 1) : least;
    at &= ~(uintptr_t)(page - 1);
    return gor__os_open((char *)from, end - from) || gor__os_open((char *)at, end - at);
}

/* Map another chunk for class k: n stacks, or as many as there is room for. Called without the
 * lock; false if there is room for none. */
static bool gor__stack_map(int k, size_t n)
{
    size_t stride = gor__stack_stride(GOR__MIN_STACK_SIZE << k);
    gor__stack_class *cls = &gor__stacks.cls[k];
    gor__chunk *c = (gor__chunk *)gor__alloc(sizeof *c);
    char *base = NULL;
    for (; c && n && !base; n = base ? n : n / 2)
        base = (char *)(gor__stacks.strict ? gor__os_reserve_bare(n * stride)
                                           : gor__os_reserve(n * stride));
    if (base && gor__stacks.strict && (n = gor__stacks_open(base, n, stride)) == 0)
        base = NULL;
    gor__au32_store_rlx(&gor__stacks.exhausted, base == NULL);
    if (!base) {
        gor__free(c, sizeof *c);
        return false;
    }
    c->base = base;
    c->size = n * stride;
    c->stride = stride;
    c->cut = 0;
    gor__aptr_store_rlx(&c->slots, NULL);
    gor__lock_stacks();
    c->next = gor__stack_chunks();
    gor__aptr_store_rel(&gor__stacks.chunks, c);
    c->next_uncut = cls->uncut;
    cls->uncut = c;
    cls->n_all += n;
    gor__unlock_stacks();
    gor__san_root(base, c->size);
    return true;
}

/* Promise up to n stacks of class k. Returns how many; 0: out of memory or address space. */
static GOR__NOINLINE size_t gor__stack_promise(int k, size_t n)
{
    gor__stack_class *cls = &gor__stacks.cls[k];
    int err = gor__os_errno();
    for (;;) {
        size_t left, want;
        gor__lock_stacks();
        left = cls->n_all - cls->n_promised;
        if (left > n)
            left = n;
        cls->n_promised += left;
        want = gor__chunk_stacks(k, n);
        gor__unlock_stacks();
        if (left || !gor__stack_map(k, want)) {
            gor__os_set_errno(err);
            return left;
        }
    }
}

static void gor__stack_unpromise(int k, size_t n)
{
    gor__lock_stacks();
    gor__stacks.cls[k].n_promised -= n;
    gor__unlock_stacks();
}

/* Some stacks that were not there before, one after the other in the address space: as many as are
 * guarded at once. Returns the lowest, and how many in *n; NULL: all are cut. */
static char *gor__stacks_cut_locked(gor__stack_class *cls, size_t *n)
{
    gor__chunk *c = cls->uncut;
    char *lo;
    if (!c)
        return NULL;
    lo = c->base + c->cut + gor__stacks.page_size;
    *n = gor__au32_load_rlx(&gor__stacks.each) ? GOR__OS_PIECES : 1;
    if (*n > (c->size - c->cut) / c->stride)
        *n = (c->size - c->cut) / c->stride;
    c->cut += *n * c->stride;
    if (c->cut == c->size)
        cls->uncut = c->next_uncut;
    return lo;
}

/* ThreadSanitizer would take the goroutine that ended last on a stack for one that runs: the order
 * is the thread's own. */
GOR__NO_TSAN static char *gor__stack_pop_locked(gor__stack_class *cls, size_t size)
{
    char *lo = cls->free;
    uint64_t n = gor__au64_load_rlx(&cls->n_free);
    gor__magazine *mag;
    if (!lo)
        return NULL;
    mag = gor__stack_magazine(lo, size);
    if (mag->n > 0)
        lo = mag->lo[--mag->n];
    else
        cls->free = mag->next;
    gor__au64_store_rlx(&cls->n_free, n - 1);
    if (n - 1 < cls->n_free_least)
        cls->n_free_least = n - 1;
    return lo;
}

GOR__NO_TSAN static void gor__stack_push_locked(gor__stack_class *cls, size_t size, char *lo)
{
    gor__magazine *mag = cls->free ? gor__stack_magazine(cls->free, size) : NULL;
    if (mag && mag->n < GOR__MAGAZINE) {
        mag->lo[mag->n++] = lo;
    } else {
        mag = gor__stack_magazine(lo, size);
        mag->next = cls->free;
        mag->n = 0;
        cls->free = lo;
    }
    gor__au64_bump(&cls->n_free);
}

/* A cold stack. The block that becomes empty is for the caller to free. */
static char *gor__stack_warm_locked(gor__stack_class *cls, gor__cold **empty)
{
    gor__cold *c = cls->cold;
    if (!c)
        return NULL;
    gor__au64_store_rlx(&cls->n_cold, gor__au64_load_rlx(&cls->n_cold) - 1);
    if (c->n == 1) {
        cls->cold = c->next;
        *empty = c;
    }
    return c->lo[--c->n];
}

/* Guard n stacks that were cut just now, from lo on, and list all but the lowest, which is
 * returned. They are tagged where a guard cannot be had. A system that refuses some at once is not
 * asked again. */
static char *gor__stacks_begin(gor__stack_class *cls, size_t size, char *lo, size_t n)
{
    size_t stride = gor__stack_stride(size);
    char *tagged[GOR__OS_PIECES];
    bool guarded;
    if (n == 1)
        return gor__stack_guard(lo);
    guarded = gor__os_guard_each(lo - gor__stacks.page_size, gor__stack_guard_size(), stride, n);
    if (!guarded)
        gor__au32_store_rlx(&gor__stacks.each, 0);
    for (size_t i = 0; i < n; i++)
        tagged[i] = guarded ? lo + i * stride : gor__stack_guard(lo + i * stride);
    gor__lock_stacks();
    while (n > 1)
        gor__stack_push_locked(cls, size, tagged[--n]);
    gor__unlock_stacks();
    return tagged[0];
}

/* A stack of class k. The caller has a promise, and so there is one (I3): in a list, to be cut, or
 * for a moment in the hands of sysmon or of who cuts. */
static char *gor__stack_get(int k)
{
    gor__stack_class *cls = &gor__stacks.cls[k];
    size_t size = GOR__MIN_STACK_SIZE << k;
    for (;;) {
        gor__cold *empty = NULL;
        size_t n = 0;
        char *lo;
        gor__lock_stacks();
        lo = gor__stack_pop_locked(cls, size);
        if (!lo)
            lo = gor__stack_warm_locked(cls, &empty);
        if (!lo)
            lo = gor__stacks_cut_locked(cls, &n);
        gor__unlock_stacks();
        gor__free(empty, sizeof *empty);
        if (lo)
            return n ? gor__stacks_begin(cls, size, lo, n) : lo;
        gor__os_yield();
    }
}

/* Is the stack at lo, the nth that is put in a list, used below its first page? Few are asked, but
 * who is makes the next ones be, or in time each stack would have been one of them. Who is asked
 * steps by the golden ratio: no pattern of the program's escapes that. */
static bool gor__stack_deep(gor__stack_class *cls, char *lo, size_t size, uint32_t nth)
{
    size_t page = gor__stacks.page_size;
    uint32_t left = gor__au32_load_rlx(&cls->ask);
    bool deep;
    if (left == 0 && nth * 2654435769u >= UINT32_MAX / GOR__STACK_ASK)
        return false;
    deep = gor__os_resident(lo + size - 2 * page, page) != 0;
    if (deep)
        gor__au32_store_rlx(&cls->ask, GOR__STACK_ASK_ALL);
    else if (left > 0)
        gor__au32_store_rlx(&cls->ask, left - 1);
    return deep;
}

/* Before the nth stack of class k is listed: I2. */
static void gor__stack_trim(char *lo, int k, uint32_t nth)
{
    gor__stack_class *cls = &gor__stacks.cls[k];
    size_t size = GOR__MIN_STACK_SIZE << k, page = gor__stacks.page_size;
    if (size > GOR__STACK_SIZE || (gor__au64_load_rlx(&cls->n_free) >= GOR__STACK_WARM &&
                                   gor__stack_deep(cls, gor__stack_lo(lo), size, nth)))
        gor__os_decommit(gor__stack_lo(lo) + page, size - 2 * page);
}

/* Give a stack back to its class. */
static void gor__stack_put(char *lo, int k)
{
    gor__stack_class *cls = &gor__stacks.cls[k];
    gor__stack_trim(lo, k, gor__au32_count(&cls->n_put, 1));
    gor__lock_stacks();
    gor__stack_push_locked(cls, GOR__MIN_STACK_SIZE << k, lo);
    gor__unlock_stacks();
}

/* All pages of a listed stack go back, but a canary's. */
static void gor__stack_chill(char *lo, size_t size)
{
    size_t page = gor__stacks.page_size;
    gor__os_decommit(gor__stack_lo(lo) + page, size - page);
}

/* Up to n listed stacks of class k become cold. Returns how many; 0: there are none, or no memory
 * to note them. While their pages go back they are in no list: gor__stack_get waits for them. */
static size_t gor__stack_cool(int k, size_t n)
{
    gor__stack_class *cls = &gor__stacks.cls[k];
    size_t size = GOR__MIN_STACK_SIZE << k, got = 0;
    gor__cold *c = (gor__cold *)gor__alloc(sizeof *c);
    if (!c)
        return 0;
    gor__lock_stacks();
    while (got < n && got < GOR__COLD_CAP &&
           (c->lo[got] = gor__stack_pop_locked(cls, size)) != NULL)
        got++;
    gor__unlock_stacks();
    for (size_t i = 0; i < got; i++)
        gor__stack_chill(c->lo[i], size);
    gor__lock_stacks();
    if (got > 0) {
        c->n = got;
        c->next = cls->cold;
        cls->cold = c;
        gor__au64_store_rlx(&cls->n_cold, gor__au64_load_rlx(&cls->n_cold) + got);
        c = NULL;
    }
    gor__unlock_stacks();
    gor__free(c, sizeof *c);
    return got;
}

/* How many bytes of it have become stacks. */
static size_t gor__chunk_cut(const gor__chunk *c)
{
    size_t cut;
    gor__lock_stacks();
    cut = c->cut;
    gor__unlock_stacks();
    return cut;
}

/* Bytes of memory that stacks hold now; beyond 256 stacks a sample of them, scaled. */
static size_t gor__stacks_resident(void)
{
    size_t n = 0, step, at = 0, bytes = 0, guard = gor__stack_guard_size();
    gor__chunk *first = gor__stack_chunks(), *c;
    for (c = first; c; c = c->next)
        n += c->size / c->stride;
    step = n / 256 + 1;
    for (c = first; c; c = c->next) {
        n = gor__chunk_cut(c) / c->stride;
        for (; at < n; at += step)             /* guard pages hold nothing */
            bytes += step * gor__os_resident(c->base + at * c->stride + guard, c->stride - guard);
        at = at > c->size / c->stride ? at - c->size / c->stride : 0;
    }
    return bytes;
}

/* Where the first frame goes: at one of 16 colours. */
GOR__INLINE char *gor__stack_top(char *lo, size_t size)
{
    size_t colour = ((uintptr_t)lo >> __builtin_ctzl(size)) & 15;  /* size: a power of two */
    return lo + size - 64 - colour * 2 * GOR__CACHE_LINE;
}

/* GORDEBUG=noguardinstall=1 does without MADV_GUARD_INSTALL, noguard=1 without any guard. strict:
 * I4, which needs our fault handler. */
static void gor__stacks_init(bool may_install, bool may_guard, bool strict)
{
    void *probe;
    gor__stacks.strict = strict;
    gor__stacks.page_size = gor__os_page_size();
    probe = gor__os_reserve(gor__stacks.page_size);
    if (!probe)
        return;
    gor__stacks.no_guards = !may_guard;
    gor__stacks.light_guards = may_install &&
                               gor__os_guard(probe, gor__stacks.page_size, true) == 0 &&
                               gor__os_faults(probe);
    gor__au32_store_rlx(&gor__stacks.each, gor__stacks.light_guards && may_guard && !strict);
    gor__os_release(probe, gor__stacks.page_size);
}

/* What is mapped belongs to others from now on, or to nobody. The page size is for [pack]. */
static void gor__stacks_forget(void)
{
    memset(&gor__stacks, 0, sizeof gor__stacks);
    gor__stacks.page_size = gor__os_page_size();
}

static void gor__stacks_free(void)
{
    gor__chunk *c, *next;
    for (int k = 0; k < GOR__STACK_CLASSES; k++)
        for (gor__cold *cold = gor__stacks.cls[k].cold, *after; cold; cold = after) {
            after = cold->next;
            gor__free(cold, sizeof *cold);
        }
    for (c = gor__stack_chunks(); c; c = next) {
        next = c->next;
        gor__san_unroot(c->base, c->size);
        gor__san_clean(c->base, c->size);          /* the addresses may come back as other stacks */
        gor__os_release(c->base, c->size);
        gor__free(c, sizeof *c);
    }
    gor__stacks_forget();
}

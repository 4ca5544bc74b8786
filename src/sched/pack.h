/* ==== [pack] the stack of an idle goroutine in a small block =====================================
 * What        A goroutine that was started with gor_attr.compact_idle and has been parked for long
 *             enough keeps its live bytes in a block; its pages go back to the system, and whoever
 *             touches them faults. Before it runs, or when somebody else touches them (its nodes
 *             are in queues, and neighbours link and unlink them), the bytes come back to where
 *             they were. [tidy] packs; g0, and the handler of the fault, unpack.
 * Invariants  I1 GOR__PACKED in hold: the bytes are in the block, the pages are guards. Who wants
 *                them swaps PACKED for CLAIMED; the others wait until both are gone.
 *             I2 Others see all of a page or fault. So the pages are inaccessible from before the
 *                bytes are read until the guards stand, and from before the guards go until the
 *                bytes are there; the kernel reads and writes them for us, by /proc/self/mem.
 *                (Read-only would not do: a guard takes the page first, and for a moment zeros
 *                could be read.)
 *             I3 A fault above the guard of a stack that was ever packed comes from that, but
 *                for some mprotect of the user's. So the handler unpacks what is packed, and lets
 *                the instruction try again: another one may have been quicker. A hundred times.
 *             I4 The handler may have interrupted anything: it takes no lock, and frees nothing:
 *                sysmon does, later. Whoever has claimed takes no signal until he is done, or its
 *                handler might touch what its own thread has closed.
 * Unsound     where a system call is given an address in the stack of a parked goroutine by another
 *             one: the kernel does not fault for it, it answers -EFAULT. Nobody can see that from
 *             outside, so it is for who starts the goroutine to say (gor_attr.compact_idle).
 *             Refused: without MADV_GUARD_INSTALL (each packed stack would be a mapping), without
 *             our fault handler, where stacks are opened page by page, under sanitizers, and where
 *             /proc/self/mem does not do what I2 needs. Then stacks stay.
 * Limits      A page is split from its mapping for a moment. At vm.max_map_count a stack is not
 *             packed; to come back there is room: gor__packs.spare. If others have taken that too,
 *             and give nothing back for ten seconds, that is the end, and said so.
 *             A thread that blocks SIGSEGV is killed by a fault: ours do not, and others not from
 *             their first gor call on. The child of fork has no handler: see the manual.
 * Tests       tests/pack.c
 */
#define GOR__RED_ZONE  ((uintptr_t)128)        /* below the stack pointer, used by leaf functions */
#define GOR__PACK_SPARE 4                      /* pages, and as many mappings                  */

typedef struct gor__packed {             /* what a stack held; its bytes follow                  */
    struct gor__packed *next;            /* in the trash                                         */
    size_t size;                       /* of all                                               */
} gor__packed;

typedef struct gor__pack_slot {        /* of a stack                                           */
    gor__aptr g;                       /* who was last packed here; NULL: nobody ever          */
    gor__aptr pack;
} gor__pack_slot;

typedef struct gor__pages {            /* of a parked goroutine                                */
    char  *base;                       /* whole pages, to the end of the stack                 */
    size_t size;
    char  *live;                       /* what must be kept                                    */
    size_t n_live;
} gor__pages;

static struct {
    gor__os_mem mem;                   /* as tried; to be used while it works                  */
    gor__au32 asked;                   /* some goroutine may be packed                         */
    bool      can, looked, works;      /* sysmon's: in this run; in this round                 */
    int64_t   after;                   /* parked for so long, ns                               */
    gor__aptr trash;                   /* blocks to free                                       */
    gor__aptr spare;                   /* some mappings to do without                          */
    gor__au64 n;                       /* goroutines packed now                                */
} gor__packs;

static void gor__packs_init(int64_t after)
{
    memset(&gor__packs, 0, sizeof gor__packs);
    gor__packs.mem.fd = -1;
    gor__packs.after = after;
}

static void gor__packs_close(void)
{
    gor__os_mem_close(&gor__packs.mem);
    gor__packs_init(0);
}

/* A goroutine is started that may be packed, where that can be at all. */
static void gor__packs_ask(void)
{
    if (gor__stacks.light_guards && !gor__stacks.strict && !GOR__ASAN && !GOR__TSAN &&
        !(gor__rt.opt.flags & GOR_NO_SIGNALS))
        gor__au32_store_rlx(&gor__packs.asked, 1);
}

/* A fault of the calling thread may have to bring a stack back from now on: it must be heard. */
GOR__INLINE void gor__packs_hear(void)
{
    if (GOR__UNLIKELY(gor__au32_load_rlx(&gor__packs.asked)))
        gor__os_unblock(SIGSEGV);
}

GOR__NO_TSAN static void gor__pages_of(gor__g *g, gor__pages *r)
{
    char *lo = (char *)gor__aptr_load_rlx(&g->stack);
    size_t size = gor__stack_size_of(g);
    uintptr_t from = ((uintptr_t)g->sp - GOR__RED_ZONE) & ~(uintptr_t)15;
    r->live = (char *)from;
    r->n_live = (size_t)(gor__stack_top(lo, size) - r->live);
    r->base = (char *)(from & ~(uintptr_t)(gor__stacks.page_size - 1));
    r->size = (size_t)(lo + size - r->base);
}

/* -- where it is noted --------------------------------------------------------------------- */

static gor__aptr gor__packs_left;      /* chunks of runs that threads stayed of: their stacks may be
                                          packed still, and so may come back */

static gor__chunk *gor__pack_chunk_of(gor__chunk *c, uintptr_t at)
{
    while (c && at - (uintptr_t)c->base >= c->size)
        c = c->next;
    return c;
}

/* The chunk that at lies in. Takes no lock: I4. */
static gor__chunk *gor__pack_chunk_at(uintptr_t at)
{
    gor__chunk *c = gor__pack_chunk_of(gor__stack_chunks(), at);
    return c ? c : gor__pack_chunk_of((gor__chunk *)gor__aptr_load_acq(&gor__packs_left), at);
}

/* The slot of the stack that at lies in, not in its guard pages. NULL: no stack, or none was ever
 * packed nearby. */
static gor__pack_slot *gor__pack_slot_at(uintptr_t at)
{
    gor__chunk *c = gor__pack_chunk_at(at);
    gor__pack_slot *slots = c ? (gor__pack_slot *)gor__aptr_load_acq(&c->slots) : NULL;
    size_t off = c ? at - (uintptr_t)c->base : 0;
    if (!slots || off % c->stride < gor__stack_guard_size())
        return NULL;
    return slots + off / c->stride;
}

static size_t gor__pack_slots_size(const gor__chunk *c)
{
    return c->size / c->stride * sizeof(gor__pack_slot);
}

/* The same, to pack. NULL: out of memory. */
static gor__pack_slot *gor__pack_slot_for(uintptr_t at)
{
    gor__chunk *c = gor__pack_chunk_at(at);
    if (!gor__aptr_load_rlx(&c->slots))
        gor__aptr_store_rel(&c->slots, gor__zalloc(gor__pack_slots_size(c)));
    return gor__pack_slot_at(at);
}

static void gor__pack_throw_away(gor__packed *k)
{
    gor__packed *first;
    do {
        first = (gor__packed *)gor__aptr_load_rlx(&gor__packs.trash);
        k->next = first;
    } while (!gor__aptr_cas(&gor__packs.trash, first, k));
}

/* By sysmon: I4. */
static void gor__pack_empty_trash(void)
{
    gor__packed *k = NULL, *next;
    if (gor__aptr_load_rlx(&gor__packs.trash))
        k = (gor__packed *)gor__aptr_xchg(&gor__packs.trash, NULL);
    for (; k; k = next) {
        next = k->next;
        gor__free(k, k->size);
    }
}

/* -- coming back --------------------------------------------------------------------------- */

/* Give the spare mappings back. False: there are none. */
static bool gor__pack_drop_spare(void)
{
    void *spare = gor__aptr_xchg(&gor__packs.spare, NULL);
    if (spare)
        gor__os_release(spare, GOR__PACK_SPARE * gor__stacks.page_size);
    return spare != NULL;
}

/* A step was refused for want of memory or mappings. There is room: the spare ones; and time, ten
 * seconds, for others to end what they split. Without these bytes there is no way on. */
static void gor__pack_try_again(int64_t *since)
{
    static const char text[] = "gor: a packed stack cannot come back: no memory or mapping to be "
                               "had (RLIMIT_DATA, vm.max_map_count), or no /proc\n";
    struct timespec ms = { 0, 1000000 };
    if (*since == 0)
        *since = gor__os_now();
    if (gor__pack_drop_spare())
        return;
    syscall(SYS_nanosleep, &ms, NULL);             /* bare, as all of [os]'s calls here */
    if (gor__os_now() - *since < 10 * GOR_SEC)
        return;
    syscall(SYS_write, 2, text, sizeof text - 1);
    abort();
}

/* I2. The caller has claimed g. */
static void gor__pack_put_back(const gor__pages *r, const gor__packed *k)
{
    int64_t since = 0;
    while (!gor__os_close(r->base, r->size))
        gor__pack_try_again(&since);
    while (!gor__os_unguard(r->base, r->size))
        gor__pack_try_again(&since);
    while (!gor__os_poke(&gor__packs.mem, r->live, k + 1, r->n_live))
        gor__pack_try_again(&since);
    while (!gor__os_open(r->base, r->size))
        gor__pack_try_again(&since);
}

static void gor__pack_restore(gor__g *g)
{
    gor__pages r;
    gor__pack_slot *slot = gor__pack_slot_at((uintptr_t)g->sp);
    gor__packed *k = (gor__packed *)gor__aptr_load_rlx(&slot->pack);
    gor__pages_of(g, &r);
    gor__pack_put_back(&r, k);
    gor__aptr_store_rlx(&slot->pack, NULL);
    gor__pack_throw_away(k);
    if (gor__pack_chunk_of(gor__stack_chunks(), (uintptr_t)g->sp))     /* of this run */
        gor__au64_count(&gor__packs.n, (uint64_t)-1);
}

/* On return g is neither packed nor claimed. Any thread, also in the handler of a fault. */
static GOR__NOINLINE void gor__unpack(gor__g *g)
{
    uint32_t hold;
    sigset_t all, old;
    while ((hold = gor__au32_load_acq(&g->hold)) & (GOR__CLAIMED | GOR__PACKED)) {
        if (hold & GOR__CLAIMED) {
            gor__os_yield();
            continue;
        }
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);              /* I4 */
        if (gor__au32_cas(&g->hold, hold, hold ^ (GOR__CLAIMED | GOR__PACKED))) {
            gor__pack_restore(g);
            gor__au32_and(&g->hold, ~(uint32_t)GOR__CLAIMED);
        }
        pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
}

/* Somebody touched at, executing pc. True: it is there now, or was there again before we looked;
 * but who is told that time after time, of one place, has another reason (I3). */
static bool gor__pack_fault(uintptr_t at, uintptr_t pc)
{
    static __thread struct { uintptr_t at, pc; int n; } last;
    gor__pack_slot *slot = at == pc ? NULL : gor__pack_slot_at(at);
    gor__g *g = slot ? (gor__g *)gor__aptr_load_acq(&slot->g) : NULL;
    if (!g)
        return false;
    if ((gor__au32_load_acq(&g->hold) & (GOR__CLAIMED | GOR__PACKED)) || last.at != at ||
        last.pc != pc)
        last.n = 0;
    gor__unpack(g);
    last.at = at;
    last.pc = pc;
    return last.n++ < 100;
}

/* -- packing: sysmon ----------------------------------------------------------------------- */

/* Every other page is accessible, so that each is a mapping. */
static void gor__pack_keep_spare(void)
{
    size_t page = gor__stacks.page_size;
    char *p;
    if (gor__aptr_load_rlx(&gor__packs.spare))
        return;
    p = (char *)gor__os_reserve_bare(GOR__PACK_SPARE * page);
    if (p && gor__os_open(p + page, page) && gor__os_open(p + 3 * page, page))
        gor__aptr_store_rlx(&gor__packs.spare, p);
    else if (p)
        gor__os_release(p, GOR__PACK_SPARE * page);
}

/* Make all of I2 happen to a page of nobody's. */
static bool gor__pack_trial(void)
{
    size_t page = gor__stacks.page_size;
    char *p = (char *)gor__os_reserve(page), text[] = "packed";
    bool works;
    if (!p)
        return false;
    works = gor__os_close(p, page) && gor__os_poke(&gor__packs.mem, p, text, sizeof text) &&
            gor__os_faults(p) && gor__os_open(p, page) && memcmp(p, text, sizeof text) == 0 &&
            gor__os_close(p, page) && gor__os_peek(&gor__packs.mem, p, text, sizeof text) &&
            gor__os_guard(p, page, true) == 0 && gor__os_open(p, page) && gor__os_faults(p) &&
            gor__os_unguard(p, page) && !gor__os_faults(p) && p[0] == 0;
    gor__os_release(p, page);
    return works;
}

/* A round of [tidy] begins. */
static void gor__packs_begin(void)
{
    gor__pack_empty_trash();
    gor__packs.looked = gor__packs.works = false;
}

/* Does it work, in this round? handled: faults come to us. */
static void gor__packs_look(bool handled)
{
    gor__packs.looked = true;
    if (!gor__au32_load_rlx(&gor__packs.asked))
        return;
    if (!gor__os_mem_there(&gor__packs.mem)) {     /* not yet, or somebody has closed it */
        gor__os_mem_close(&gor__packs.mem);
        gor__os_mem_open(&gor__packs.mem);
    }
    gor__packs.can = gor__packs.can || gor__pack_trial();
    gor__packs.works = gor__packs.can && handled && gor__os_mem_there(&gor__packs.mem);
    if (gor__packs.works)
        gor__pack_keep_spare();
}

/* I2: the bytes of r go to k, and its pages to the system. False: they stay. */
static bool gor__pack_pages(const gor__pages *r, gor__packed *k)
{
    bool copied, gone;
    int64_t since = 0;
    if (!gor__os_close(r->base, r->size))
        return false;
    copied = gor__os_peek(&gor__packs.mem, r->live, k + 1, r->n_live);
    gone = copied && gor__os_guard(r->base, r->size, true) == 0;
    if (copied && !gone)
        gor__pack_put_back(r, k);                  /* some pages may have gone */
    while (!gor__os_open(r->base, r->size))
        gor__pack_try_again(&since);
    return gone;
}

/* Pack the stack of a goroutine that is claimed. False: it is not worth it, or cannot be done. */
static bool gor__pack_one(gor__g *g)
{
    gor__pages r;
    gor__pack_slot *slot;
    gor__packed *k;
    gor__pages_of(g, &r);
    if (r.n_live > r.size / 4 * 3 || (slot = gor__pack_slot_for((uintptr_t)g->sp)) == NULL ||
        (k = (gor__packed *)gor__alloc(sizeof *k + r.n_live)) == NULL)
        return false;
    k->size = sizeof *k + r.n_live;
    gor__aptr_store_rel(&slot->g, g);
    gor__aptr_store_rlx(&slot->pack, k);
    if (!gor__pack_pages(&r, k)) {
        gor__aptr_store_rlx(&slot->pack, NULL);
        gor__free(k, k->size);
        return false;
    }
    gor__au64_count(&gor__packs.n, 1);
    gor__au32_or(&g->hold, GOR__PACKED);
    return true;
}

/* Threads stay, and with them all stacks, packed or not: a fault finds them here. */
static void gor__packs_leave(void)
{
    gor__chunk *first = gor__stack_chunks(), *last = first;
    while (last && last->next)
        last = last->next;
    if (last) {
        last->next = (gor__chunk *)gor__aptr_load_rlx(&gor__packs_left);
        gor__aptr_store_rel(&gor__packs_left, first);
    }
    gor__pack_empty_trash();
    gor__pack_drop_spare();
    gor__packs_close();
}

/* Will faults of stacks that were left come for as long as the program runs? */
static bool gor__packs_stay(void) { return gor__aptr_load_rlx(&gor__packs_left) != NULL; }

/* Before the stacks are freed, or forgotten. */
static void gor__packs_free(void)
{
    gor__pack_empty_trash();
    for (gor__chunk *c = gor__stack_chunks(); c; c = c->next) {
        gor__pack_slot *slots = (gor__pack_slot *)gor__aptr_load_rlx(&c->slots);
        for (size_t i = 0; slots && i < c->size / c->stride; i++) {
            gor__packed *k = (gor__packed *)gor__aptr_load_rlx(&slots[i].pack);
            gor__free(k, k ? k->size : 0);
        }
        gor__free(slots, gor__pack_slots_size(c));
    }
    gor__pack_drop_spare();
    gor__packs_close();
}

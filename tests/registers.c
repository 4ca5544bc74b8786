/* A switch in place loses no register: goroutines that hold patterns in all of them are switched
 * off thousands of times. What a goroutine holds is loaded, kept and dumped in assembly, in between
 * it only counts down, without touching the flags. */
#define TEST_INSIDE
#include "test.h"

#define SWITCHES  10000
#define HOLDERS   6                    /* goroutines */
#define MOVERS    2                    /* goroutines that block: the others' threads are stuck */
#define MOVES     10                   /* to another thread, while it holds */
#define PATIENCE  (50 * GOR_SEC)       /* for all switches, however loaded the machine is */

/* How many times to count down before a look: several quanta. */
#define SPINS     2000000

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * GOR_SEC + t.tv_nsec;
}

/* -- the registers of a processor ---------------------------------------------------------------- */

#if defined(__x86_64__)

struct registers {
    uint64_t gpr[16];                  /* rax rbx rcx rdx rsi rdi rbp rsp r8..r15; rcx counts */
    uint64_t red[16];                  /* the 128 bytes below rsp */
    uint64_t flags;
    uint32_t mxcsr;
    uint16_t cw, sw;                   /* x87; in: status is 4, divided by zero, or 0 */
    uint64_t k[8];
    uint8_t  st[8][16];                /* ten bytes each */
    uint8_t  v[32][64];
};

_Static_assert(offsetof(struct registers, red) == 128 && offsetof(struct registers, flags) == 256 &&
               offsetof(struct registers, mxcsr) == 264 && offsetof(struct registers, cw) == 268 &&
               offsetof(struct registers, sw) == 270 && offsetof(struct registers, k) == 272 &&
               offsetof(struct registers, st) == 336 && offsetof(struct registers, v) == 464,
               "the assembly below knows");

enum { SSE, AVX, AVX512F, AVX512BW };  /* which registers there are */

#define SEEN_FLAGS 0xcd5u              /* carry parity adjust zero sign direction overflow */
#define RCX 2
#define RSP 7

#define EACH_8(X)  X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define EACH_16(X) EACH_8(X) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define EACH_32(X) EACH_16(X) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) \
                   X(27) X(28) X(29) X(30) X(31)
#define LOAD_XMM(i)  "    movups 464+64*" #i "(%rdi),%xmm" #i "\n"
#define LOAD_YMM(i)  "    vmovups 464+64*" #i "(%rdi),%ymm" #i "\n"
#define LOAD_ZMM(i)  "    vmovups 464+64*" #i "(%rdi),%zmm" #i "\n"
#define LOAD_KW(i)   "    kmovw 272+8*" #i "(%rdi),%k" #i "\n"
#define LOAD_KQ(i)   "    kmovq 272+8*" #i "(%rdi),%k" #i "\n"
#define LOAD_ST(i)   "    fldt 336+16*(7-" #i ")(%rdi)\n"
#define LOAD_RED(i)  "    movq 128+8*" #i "(%rdi),%rax\n    movq %rax,-128+8*" #i "(%rsp)\n"
#define STORE_XMM(i) "    movups %xmm" #i ",464+64*" #i "(%rcx)\n"
#define STORE_YMM(i) "    vmovups %ymm" #i ",464+64*" #i "(%rcx)\n"
#define STORE_ZMM(i) "    vmovups %zmm" #i ",464+64*" #i "(%rcx)\n"
#define STORE_KW(i)  "    kmovw %k" #i ",272+8*" #i "(%rcx)\n"
#define STORE_KQ(i)  "    kmovq %k" #i ",272+8*" #i "(%rcx)\n"
#define STORE_ST(i)  "    fstpt 336+16*" #i "(%rcx)\n"
#define STORE_RED(i) "    movq -128+8*" #i "(%rsp),%rax\n    movq %rax,128+8*" #i "(%rcx)\n"

/* name(in, out, spins, level): load, count down, dump. In a section, or in the one of the rest. */
#define HOLD(name, section)                                                                        \
    ".pushsection " section "\n.p2align 4\n"                                                       \
    ".globl " #name "\n.hidden " #name "\n.type " #name ",@function\n"                             \
    #name ":\n"                                                                                    \
    "    endbr64\n"                                                                                \
    "    pushq %rbx\n    pushq %rbp\n    pushq %r12\n    pushq %r13\n    pushq %r14\n"             \
    "    pushq %r15\n"                                                                             \
    "    subq $24,%rsp\n"              /* out, level, mxcsr and cw of the caller */                \
    "    movq %rsi,(%rsp)\n    movq %rcx,8(%rsp)\n    stmxcsr 16(%rsp)\n    fnstcw 20(%rsp)\n"     \
    "    cmpl $1,%ecx\n    jb 10f\n    je 11f\n"                                                   \
    EACH_32(LOAD_ZMM)                                                                              \
    "    cmpl $3,%ecx\n    je 13f\n" EACH_8(LOAD_KW) "    jmp 19f\n"                               \
    "13:\n" EACH_8(LOAD_KQ) "    jmp 19f\n"                                                        \
    "11:\n" EACH_16(LOAD_YMM) "    jmp 19f\n"                                                      \
    "10:\n" EACH_16(LOAD_XMM)                                                                      \
    "19: fninit\n"                                                                                 \
    "    testb $4,270(%rdi)\n    jz 20f\n    fld1\n    fldz\n    fdivrp\n    fstp %st(0)\n"        \
    "20:\n" EACH_8(LOAD_ST)                                                                        \
    "    fldcw 268(%rdi)\n    ldmxcsr 264(%rdi)\n"                                                 \
    "    pushq 256(%rdi)\n    popfq\n"                                                             \
    EACH_16(LOAD_RED)                                                                              \
    "    movq %rdx,%rcx\n"                                                                         \
    "    movq 0(%rdi),%rax\n    movq 8(%rdi),%rbx\n    movq 24(%rdi),%rdx\n"                       \
    "    movq 32(%rdi),%rsi\n    movq 48(%rdi),%rbp\n"                                             \
    "    movq 64(%rdi),%r8\n    movq 72(%rdi),%r9\n    movq 80(%rdi),%r10\n"                       \
    "    movq 88(%rdi),%r11\n    movq 96(%rdi),%r12\n    movq 104(%rdi),%r13\n"                    \
    "    movq 112(%rdi),%r14\n    movq 120(%rdi),%r15\n    movq 40(%rdi),%rdi\n"                   \
    "1:  leaq -1(%rcx),%rcx\n    jrcxz 2f\n    jmp 1b\n"                                           \
    "2:  movq (%rsp),%rcx\n"                                                                       \
    "    movq %rax,0(%rcx)\n    movq %rbx,8(%rcx)\n    movq %rdx,24(%rcx)\n"                       \
    "    movq %rsi,32(%rcx)\n    movq %rdi,40(%rcx)\n    movq %rbp,48(%rcx)\n"                     \
    "    movq %r8,64(%rcx)\n    movq %r9,72(%rcx)\n    movq %r10,80(%rcx)\n"                       \
    "    movq %r11,88(%rcx)\n    movq %r12,96(%rcx)\n    movq %r13,104(%rcx)\n"                    \
    "    movq %r14,112(%rcx)\n    movq %r15,120(%rcx)\n"                                           \
    EACH_16(STORE_RED)                                                                             \
    "    pushfq\n    popq 256(%rcx)\n    cld\n"                                                    \
    "    stmxcsr 264(%rcx)\n    fnstcw 268(%rcx)\n    fnstsw 270(%rcx)\n"                          \
    EACH_8(STORE_ST)                                                                               \
    "    movq 8(%rsp),%rax\n    cmpl $1,%eax\n    jb 30f\n    je 31f\n"                            \
    EACH_32(STORE_ZMM)                                                                             \
    "    cmpl $3,%eax\n    je 33f\n" EACH_8(STORE_KW) "    vzeroupper\n    jmp 39f\n"              \
    "33:\n" EACH_8(STORE_KQ) "    vzeroupper\n    jmp 39f\n"                                       \
    "31:\n" EACH_16(STORE_YMM) "    vzeroupper\n    jmp 39f\n"                                     \
    "30:\n" EACH_16(STORE_XMM)                                                                     \
    "39: fninit\n    fldcw 20(%rsp)\n    ldmxcsr 16(%rsp)\n"                                       \
    "    addq $24,%rsp\n"                                                                          \
    "    popq %r15\n    popq %r14\n    popq %r13\n    popq %r12\n    popq %rbp\n    popq %rbx\n"   \
    "    ret\n.size " #name ",.-" #name "\n.popsection\n"

static int register_level(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512bw") ? AVX512BW :
           __builtin_cpu_supports("avx512f") ? AVX512F : __builtin_cpu_supports("avx") ? AVX : SSE;
}

static const char *const level_names[] = { "SSE", "AVX", "AVX-512F", "AVX-512BW" };

/* Make what is random something that the registers can hold. */
static void make_holdable(struct registers *r)
{
    r->flags = (r->flags & SEEN_FLAGS) | 0x202;
    r->mxcsr = (r->mxcsr & 0xe07fu) | 0x1f80;      /* rounding, flush, sticky flags; all masked */
    r->mxcsr &= ~0x40u;                            /* denormals are zero: not every CPU has it */
    r->cw = (uint16_t)((r->cw & 0x0c00) | 0x037f);
    if (r->sw & 1)
        r->cw &= (uint16_t)~0x0100u;               /* precision 53 bits */
    r->sw &= 4;
    for (int i = 0; i < 8; i++) {                  /* ordinary numbers, of any sign */
        uint16_t top;
        r->st[i][7] |= 0x80;
        memcpy(&top, r->st[i] + 8, sizeof top);
        top = (uint16_t)((top & 0x8fff) | 0x3000);
        memcpy(r->st[i] + 8, &top, sizeof top);
    }
}

/* Two registers of which one is not what it was: its name. NULL: all are. */
static const char *first_difference(const struct registers *a, const struct registers *b, int level)
{
    static __thread char name[32];
    size_t width = level >= AVX512F ? 64 : level == AVX ? 32 : 16;
    for (int i = 0; i < 16; i++) {
        if (i != RCX && i != RSP && a->gpr[i] != b->gpr[i])
            return snprintf(name, sizeof name, "general %d", i), name;
        if (a->red[i] != b->red[i])
            return snprintf(name, sizeof name, "red zone %d", i), name;
    }
    if ((a->flags ^ b->flags) & SEEN_FLAGS)
        return "flags";
    if (a->mxcsr != b->mxcsr)
        return "mxcsr";
    if (a->cw != b->cw)
        return "x87 control";
    if (((a->sw ^ b->sw) & 4) || (b->sw & 0x3800))
        return "x87 status";                       /* eight are on the stack: its top is 0 */
    for (int i = 0; i < 8; i++) {
        if (memcmp(a->st[i], b->st[i], 10) != 0)
            return snprintf(name, sizeof name, "st %d", i), name;
        if ((level == AVX512BW && a->k[i] != b->k[i]) ||
            (level == AVX512F && (uint16_t)a->k[i] != (uint16_t)b->k[i]))
            return snprintf(name, sizeof name, "k %d", i), name;
    }
    for (int i = 0; i < (level >= AVX512F ? 32 : 16); i++)
        if (memcmp(a->v[i], b->v[i], width) != 0)
            return snprintf(name, sizeof name, "vector %d", i), name;
    return NULL;
}

#define MARKED_SECTION "gor_preemptible,\"ax\",@progbits"
#define PLAIN_SECTION  ".text"

#elif defined(__aarch64__)

struct registers {
    uint64_t x[30];                    /* x29 too; x16 counts */
    uint64_t nzcv, fpcr, fpsr;
    uint64_t none;
    uint8_t  v[32][16];
};

_Static_assert(offsetof(struct registers, nzcv) == 240 && offsetof(struct registers, fpcr) == 248 &&
               offsetof(struct registers, fpsr) == 256 && offsetof(struct registers, v) == 272,
               "the assembly below knows");

#define COUNTER 16
#define PAIRS_X(X) X(2, 3) X(4, 5) X(6, 7) X(8, 9) X(10, 11) X(12, 13) X(14, 15) X(18, 19)         \
                   X(20, 21) X(22, 23) X(24, 25) X(26, 27) X(28, 29)
#define PAIRS_V(X) X(0, 1) X(2, 3) X(4, 5) X(6, 7) X(8, 9) X(10, 11) X(12, 13) X(14, 15) X(16, 17) \
                   X(18, 19) X(20, 21) X(22, 23) X(24, 25) X(26, 27) X(28, 29) X(30, 31)
#define LOAD_X(i, j)  "    ldp x" #i ",x" #j ",[x0,#8*" #i "]\n"
#define LOAD_V(i, j)  "    ldp q" #i ",q" #j ",[x9,#16*" #i "]\n"
#define STORE_X(i, j) "    stp x" #i ",x" #j ",[x16,#8*" #i "]\n"
#define STORE_V(i, j) "    stp q" #i ",q" #j ",[x9,#16*" #i "]\n"

/* name(in, out, spins, level): load, count down, dump. */
#define HOLD(name, section)                                                                        \
    ".pushsection " section "\n.p2align 4\n"                                                       \
    ".globl " #name "\n.hidden " #name "\n.type " #name ",%function\n"                             \
    #name ":\n"                                                                                    \
    "    hint #34\n"                                                                               \
    "    stp x29,x30,[sp,#-192]!\n"                                                                \
    "    stp x19,x20,[sp,#16]\n    stp x21,x22,[sp,#32]\n    stp x23,x24,[sp,#48]\n"               \
    "    stp x25,x26,[sp,#64]\n    stp x27,x28,[sp,#80]\n"                                         \
    "    stp d8,d9,[sp,#96]\n    stp d10,d11,[sp,#112]\n    stp d12,d13,[sp,#128]\n"               \
    "    stp d14,d15,[sp,#144]\n"                                                                  \
    "    mrs x9,fpcr\n    stp x1,x9,[sp,#160]\n    str x18,[sp,#176]\n"                            \
    "    mov x16,x2\n"                                                                             \
    "    add x9,x0,#272\n" PAIRS_V(LOAD_V)                                                         \
    "    ldr x9,[x0,#240]\n    msr nzcv,x9\n    ldr x9,[x0,#248]\n    msr fpcr,x9\n"               \
    "    ldr x9,[x0,#256]\n    msr fpsr,x9\n"                                                      \
    "    ldr x17,[x0,#136]\n" PAIRS_X(LOAD_X) "    ldp x0,x1,[x0]\n"                               \
    "1:  sub x16,x16,#1\n    cbnz x16,1b\n"                                                        \
    "    ldr x16,[sp,#160]\n"                                                                      \
    "    stp x0,x1,[x16]\n    str x17,[x16,#136]\n" PAIRS_X(STORE_X)                               \
    "    mrs x9,nzcv\n    str x9,[x16,#240]\n    mrs x9,fpcr\n    str x9,[x16,#248]\n"             \
    "    mrs x9,fpsr\n    str x9,[x16,#256]\n"                                                     \
    "    add x9,x16,#272\n" PAIRS_V(STORE_V)                                                       \
    "    ldr x9,[sp,#168]\n    msr fpcr,x9\n    ldr x18,[sp,#176]\n"                               \
    "    ldp d14,d15,[sp,#144]\n    ldp d12,d13,[sp,#128]\n    ldp d10,d11,[sp,#112]\n"            \
    "    ldp d8,d9,[sp,#96]\n"                                                                     \
    "    ldp x27,x28,[sp,#80]\n    ldp x25,x26,[sp,#64]\n    ldp x23,x24,[sp,#48]\n"               \
    "    ldp x21,x22,[sp,#32]\n    ldp x19,x20,[sp,#16]\n    ldp x29,x30,[sp],#192\n"              \
    "    ret\n.size " #name ",.-" #name "\n.popsection\n"

static int register_level(void) { return 0; }
static const char *const level_names[] = { "NEON" };

static void make_holdable(struct registers *r)
{
    r->nzcv &= 0xf0000000u;
    r->fpcr &= 0x03c00000u;                        /* rounding, flush to zero, default NaN: DN */
    r->fpsr &= 0x0000001fu;                        /* sticky flags */
}

static const char *first_difference(const struct registers *a, const struct registers *b, int level)
{
    static __thread char name[32];
    (void)level;
    for (int i = 0; i < 30; i++)
        if (i != COUNTER && a->x[i] != b->x[i])
            return snprintf(name, sizeof name, "x%d", i), name;
    for (int i = 0; i < 32; i++)
        if (memcmp(a->v[i], b->v[i], sizeof a->v[i]) != 0)
            return snprintf(name, sizeof name, "v%d", i), name;
    return a->nzcv != b->nzcv ? "nzcv" : a->fpcr != b->fpcr ? "fpcr"
           : a->fpsr != b->fpsr ? "fpsr" : NULL;
}

#define MARKED_SECTION "gor_preemptible,\"ax\",%progbits"
#define PLAIN_SECTION  ".text"

#endif

__asm__(HOLD(test_hold_plain, PLAIN_SECTION) HOLD(test_hold_marked, MARKED_SECTION));

#define HIDDEN __attribute__((visibility("hidden")))
HIDDEN void test_hold_plain(const struct registers *in, struct registers *out, uint64_t spins,
                            uint64_t level);
HIDDEN void test_hold_marked(const struct registers *in, struct registers *out, uint64_t spins,
                             uint64_t level);

/* Does the kernel's list of what the processor has name it? */
static bool cpu_has(const char *flag)
{
    static char text[1 << 16];
    char word[40];
    FILE *f = fopen("/proc/cpuinfo", "r");
    size_t n = f ? fread(text, 1, sizeof text - 2, f) : 0;
    if (f)
        fclose(f);
    for (size_t i = 0; i < n; i++)
        text[i] = text[i] == '\n' ? ' ' : text[i];
    text[n] = ' ';
    text[n + 1] = '\0';
    snprintf(word, sizeof word, " %s ", flag);
    return strstr(text, word) != NULL;
}

TESTF(all_vector_registers_that_there_are_are_tested)
{
    test_say("# vector registers here: %s\n", level_names[register_level()]);
#if defined(__x86_64__)
    IS(register_level() == AVX512BW, cpu_has("avx512bw"));
    IS(register_level() >= AVX512F, cpu_has("avx512f"));
    IS(register_level() >= AVX, cpu_has("avx"));
#else
    (void)cpu_has;
#endif
}

/* -- goroutines that hold them --------------------------------------------------------------------- */

struct holding {
    void (*hold)(const struct registers *, struct registers *, uint64_t, uint64_t);
    uint64_t    wanted;                /* switches */
    uint64_t    spins;
    int         level;
    int         moves;                 /* wanted: with goroutines that block */
    uint64_t    seen;                  /* switches, in the end */
    _Atomic int rounds, moved, stop;
};

static void fill(struct registers *r, uint64_t *rng)
{
    uint64_t words[sizeof *r / sizeof(uint64_t)];
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        words[i] = test_random_r(rng);
    memcpy(r, words, sizeof words);
    make_holdable(r);
}

static void hold_patterns(void *p)
{
    struct holding *h = (struct holding *)p;
    uint64_t rng = test_random();
    while (!atomic_load(&h->stop)) {
        struct registers in, out;
        const char *difference;
        int before, after;
        fill(&in, &rng);
        memset(&out, 0, sizeof out);
        before = gor__os_tid();
        h->hold(&in, &out, h->spins, (uint64_t)h->level);
        after = gor__os_tid();
        difference = first_difference(&in, &out, h->level);
        if (difference && test_fail())
            test_say("# %s is not what it was\n", difference);
        atomic_fetch_add(&h->rounds, 1);
        atomic_fetch_add(&h->moved, before != after);
        gor_yield();                   /* if the processor was taken instead: wait for one */
    }
}

/* Its thread is stuck for a while: those that were switched off on it go on elsewhere. */
static void block_and_block(void *p)
{
    struct holding *h = (struct holding *)p;
    while (!atomic_load(&h->stop)) {
        for (volatile int i = 0; i < 10000; i++)
            ;
        usleep(1000);
        gor_yield();
    }
}

static int hold_until_enough(void *p)
{
    struct holding *h = (struct holding *)p;
    gor_wg wg = { 0 };
    int64_t end = now_ns() + PATIENCE;
    for (int i = 0; i < HOLDERS; i++)
        START(&wg, hold_patterns, h);
    for (int i = 0; h->moves && i < MOVERS; i++)
        START(&wg, block_and_block, h);
    while ((test_stats().preempted < h->wanted || atomic_load(&h->moved) < h->moves) &&
           now_ns() < end)
        gor_sleep(GOR_MS);
    h->seen = test_stats().preempted;
    atomic_store(&h->stop, 1);
    IS(gor_wg_wait(&wg), 0);
    return 0;
}

static void hold_on(int procs, int preempt, int switches, struct holding h)
{
    gor_options o = { .procs = procs, .quantum = 100 * GOR_US, .preempt = preempt };
    h.level = register_level();
    h.wanted = (uint64_t)scaled(switches);
    h.spins = SPINS;
    IS(gor_run_with(&o, hold_until_enough, &h), 0);
    test_say("# procs %d, %s%s: %llu switches in %d rounds, %d on another thread\n", procs,
             level_names[h.level], h.moves ? ", moving" : "", (unsigned long long)h.seen,
             atomic_load(&h.rounds), atomic_load(&h.moved));
    OK(h.seen >= h.wanted);
    OK(atomic_load(&h.rounds) > 0);
    OK(atomic_load(&h.moved) >= h.moves);
}

#if !TEST_TSAN

/* Where the allocator is linked into the program, only marked functions are switched. */
static bool marked_only(void)
{
    if (GOR__STATIC_RUNTIME)
        test_skip("sanitizer: only marked functions are switched");
    return GOR__STATIC_RUNTIME;
}

TESTF(every_register_survives_ten_thousand_switches_in_place)
{
    if (marked_only())
        return;
    for (int procs = 1; procs <= 2; procs++)
        hold_on(procs, GOR_PREEMPT_SWITCH, SWITCHES,
                (struct holding){ .hold = test_hold_plain });
}

TESTF(every_register_survives_in_a_marked_function)
{
    for (int procs = 1; procs <= 2; procs++)
        hold_on(procs, GOR_PREEMPT_DEFAULT, SWITCHES / 10,
                (struct holding){ .hold = test_hold_marked });
}

TESTF(every_register_survives_a_switch_to_another_thread)
{
    if (marked_only())
        return;
    for (int procs = 1; procs <= 2; procs++)
        hold_on(procs, GOR_PREEMPT_SWITCH, SWITCHES / 10,
                (struct holding){ .hold = test_hold_plain, .moves = MOVES });
}

#else

static int hold_for_a_while(void *p)
{
    struct holding *h = (struct holding *)p;
    gor_wg wg = { 0 };
    for (int i = 0; i < HOLDERS; i++)
        START(&wg, hold_patterns, h);
    WAIT_FOR(atomic_load(&h->rounds) >= 10 * HOLDERS);
    atomic_store(&h->stop, 1);
    IS(gor_wg_wait(&wg), 0);
    h->seen = test_stats().preempted;
    return 0;
}

/* ThreadSanitizer holds signals back until it suits it. */
TESTF(nothing_is_switched_in_place_under_tsan)
{
    struct holding h = { .hold = test_hold_plain, .spins = SPINS / 10, .level = register_level() };
    gor_options o = { .procs = 2, .quantum = 100 * GOR_US, .preempt = GOR_PREEMPT_SWITCH };
    (void)hold_on;
    IS(gor_run_with(&o, hold_for_a_while, &h), 0);
    IS(h.seen, 0);
}

#endif

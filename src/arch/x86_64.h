/* ==== [x86_64] System V ABI =============================================================== */
#if defined(__x86_64__)

#define GOR__ARCH_TICKS 16384
#define GOR__ARCH_NEXT  (16 + GOR__X86_RED_ZONE)     /* above the frame and the red zone      */

__asm__(
    ".pushsection .rodata\n"
    ".globl gor__nobody\n.hidden gor__nobody\n.type gor__nobody,@object\n"
    ".p2align 3\n.size gor__nobody,24\ngor__nobody:\n"
    ".quad 0\n.long 1,0xfffff000\n.quad 0\n"
    ".popsection\n.pushsection .tdata,\"awT\",@progbits\n"
    ".globl gor__tls_word\n.hidden gor__tls_word\n.type gor__tls_word,@tls_object\n"
    ".p2align 4\n.size gor__tls_word,24\ngor__tls_word:\n.zero 16\n.quad gor__nobody\n"
    ".popsection\n");

GOR__INLINE void *gor__arch_self(void)
{
    void *p;
    __asm__ volatile(GOR__X86_FIND("%0") "movq " GOR__X86_WORD("%0", 0) ",%0" : "=r"(p));
    return p;
}

GOR__INLINE void *gor__arch_near(void)
{
    void *p;
    __asm__ volatile(GOR__X86_FIND("%0") "movq " GOR__X86_WORD("%0", 16) ",%0" : "=r"(p));
    return p;
}

GOR__INLINE void gor__arch_set_self(void *word)
{
    void *p;
    const void *near = word ? word : &gor__nobody;
    __asm__ volatile(GOR__X86_FIND("%0") "movq %1," GOR__X86_WORD("%0", 0) "\n\t"
                     "movq %2," GOR__X86_WORD("%0", 16)
                     : "=&r"(p) : "r"(word), "r"(near) : "memory");
}

GOR__INLINE gor__au32 *gor__arch_in_call(void)
{
    char *p;
    __asm__ volatile("movq gor__tls_word@gottpoff(%%rip),%0\n\taddq %%fs:0,%0" : "=r"(p) : : "cc");
    return (gor__au32 *)(void *)(p + 8);
}

GOR__INLINE void gor__arch_call_mark(uint32_t mark)
{
    uintptr_t at;
    __asm__ volatile(GOR__X86_FIND("%0") "movl %1," GOR__X86_WORD("%0", 8)
                     : "=&r"(at) : "ri"(mark) : "memory");
}

GOR__INLINE void gor__arch_call_begin(void) { gor__arch_call_mark(1); }
GOR__INLINE void gor__arch_call_end(void) { gor__arch_call_mark(0); }

typedef struct gor__arch_control { uint32_t mxcsr; uint16_t x87; } gor__arch_control;

/* Of mxcsr only the control bits belong to the callee. */
#define GOR__X86_MXCSR_CONTROL 0xffffffc0u
static const gor__arch_control gor__arch_control_default = { 0x1f80, 0x037f };

GOR__INLINE void gor__arch_control_save(gor__arch_control *c)
{
    __asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(c->mxcsr), "=m"(c->x87));
}

GOR__INLINE void gor__arch_control_change(const gor__arch_control *from,
                                          const gor__arch_control *to)
{
    uint32_t mxcsr = (from->mxcsr ^ to->mxcsr) & GOR__X86_MXCSR_CONTROL;
    if (GOR__UNLIKELY(mxcsr || from->x87 != to->x87))
        __asm__ volatile("ldmxcsr %0\n\tfldcw %1" : : "m"(to->mxcsr), "m"(to->x87));
}

/* A frame, from the saved stack pointer up: rbp, rip. */
GOR_API void gor__arch_entry(void) __attribute__((visibility("hidden")));
GOR_API void gor__arch_go(void *to) __attribute__((visibility("hidden"), noreturn));
__asm__(
    ".pushsection .text\n.p2align 5\n"
    ".globl gor__arch_switch_asm\n.hidden gor__arch_switch_asm\n"
    ".type gor__arch_switch_asm,@function\n"
    "gor__arch_switch_asm:\n.cfi_startproc\n"
    "    endbr64\n"
    "    pushq %rbp\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset %rbp,0\n"
    "    movq %rsp,(%rdi)\n"
    ".Lgor__go_on:\n"
    "    movq %rsi,%rsp\n"                  /* from here on the other goroutine's frame */
    "    popq %rbp\n.cfi_adjust_cfa_offset -8\n.cfi_restore %rbp\n"
    "    leaq gor__arch_entry(%rip),%rax\n"
    "    cmpq %rax,(%rsp)\n"
    "    je .Lgor__entry_jump\n"
    "    ret\n"
    ".cfi_endproc\n.size gor__arch_switch_asm,.-gor__arch_switch_asm\n"
    ".globl gor__arch_go\n.hidden gor__arch_go\n.type gor__arch_go,@function\n"
    "gor__arch_go:\n.cfi_startproc\n.cfi_undefined %rip\n"
    "    endbr64\n"
    "    movq %rdi,%rsi\n"
    "    jmp .Lgor__go_on\n"
    /* The outermost frame of a goroutine: its fn is on the stack; an undefined return address ends
     * unwinding. It is jumped to, and left by a return: so each call has its return, and when it
     * ends the CPU predicts the way back of who was there before it. */
    ".Lgor__entry_jump:\n"
    "    addq $8,%rsp\n"
    ".globl gor__arch_entry\n.hidden gor__arch_entry\n"
    "gor__arch_entry:\n"
    "    xorl %ebp,%ebp\n"
    "    popq %rax\n"
    "    call *%rax\n"
    "    movq %rax,%rsi\n"
    "    jmp .Lgor__go_on\n"
    ".cfi_endproc\n.size gor__arch_go,.-gor__arch_go\n"
    ".popsection\n");

/* fn's answer comes in rax and rdx. */
GOR_API int gor__arch_wait(void *a, void *b, void *c, uint64_t d, int64_t e, gor__arch_waiter *fn)
    __attribute__((visibility("hidden")));
__asm__(
    ".pushsection .text\n.p2align 5\n"
    ".globl gor__arch_wait\n.hidden gor__arch_wait\n.type gor__arch_wait,@function\n"
    "gor__arch_wait:\n.cfi_startproc\n"
    "    endbr64\n"
    "    movq %r9,%rax\n"
    "    movq (%rsp),%r9\n"
    "    pushq %rbp\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset %rbp,0\n"
    "    movq %rsp,%rbp\n"                  /* a frame, for reports */
    "    call *%rax\n"
    "    popq %rbp\n.cfi_adjust_cfa_offset -8\n.cfi_restore %rbp\n"
    "    testl %edx,%edx\n"
    "    jne 1f\n"
    "    ret\n"
    "1:  popq %rcx\n.cfi_adjust_cfa_offset -8\n.cfi_register %rip,%rcx\n"
    "    notrack jmp *%rcx\n"
    ".cfi_endproc\n.size gor__arch_wait,.-gor__arch_wait\n"
    ".popsection\n");

#define GOR__X86_FRAME_RBP   0
#define GOR__X86_FRAME_RIP   1
#define GOR__X86_FRAME_FN    2         /* popped by the entry */
#define GOR__X86_FRAME_WORDS 3

/* The call tells the compiler that the registers are lost, so it keeps what is live where it wants;
 * the function saves the rest: rbp and the stack pointer. The caller
 * may use the red zone below its stack pointer: step over it. Mask registers and xmm16 up cannot be
 * named in every compilation: functions that switch are GOR__SWITCHES, so that no caller expects
 * them to survive. */
GOR__INLINE void gor__arch_switch(void **from, void *to)
{
    __asm__ volatile("leaq -128(%%rsp),%%rsp\n\t"
                     "call gor__arch_switch_asm\n\t"
                     "subq $-128,%%rsp"
                     : "+D"(from), "+S"(to)
                     :
                     : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
                       "r15", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",
                       "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
                       "xmm15");
}

GOR__NO_TSAN static void *gor__arch_make(char *top, void *(*fn)(void))
{
    volatile uint64_t *frame = (uint64_t *)(void *)top - GOR__X86_FRAME_WORDS;
    for (int i = 0; i < GOR__X86_FRAME_WORDS; i++)
        frame[i] = 0;
    frame[GOR__X86_FRAME_FN] = (uint64_t)(uintptr_t)fn;
    frame[GOR__X86_FRAME_RIP] = (uint64_t)(uintptr_t)gor__arch_entry;
    return (void *)(uintptr_t)frame;
}

static uintptr_t gor__arch_frame(void *sp, uintptr_t *pc)
{
    const uint64_t *frame = (const uint64_t *)sp;
    *pc = frame[GOR__X86_FRAME_RIP];
    return frame[GOR__X86_FRAME_RBP];
}

/* The same of the code that a signal has interrupted; returns its frame pointer. Places in gregs:
 * the kernel's, named in libc for _GNU_SOURCE only. */
enum { GOR__X86_GREG_RBP = 10, GOR__X86_GREG_RSP = 15, GOR__X86_GREG_RIP = 16 };
static uintptr_t gor__arch_interrupted(void *context, uintptr_t *pc, uintptr_t *sp)
{
    const ucontext_t *u = (const ucontext_t *)context;
    *pc = (uintptr_t)u->uc_mcontext.gregs[GOR__X86_GREG_RIP];
    *sp = (uintptr_t)u->uc_mcontext.gregs[GOR__X86_GREG_RSP];
    return (uintptr_t)u->uc_mcontext.gregs[GOR__X86_GREG_RBP];
}

GOR__INLINE void gor__arch_pause(void) { __asm__ volatile("pause"); }

GOR__INLINE void gor__arch_fence(void)
{
    __asm__ volatile("lock; orl $0,-4(%%rsp)" ::: "memory", "cc");
}

GOR__INLINE uint64_t gor__arch_ticks(void)
{
    uint32_t lo, hi;
    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return ((uint64_t)hi << 32) | lo;
}

GOR__INLINE long gor__arch_syscall(long nr, long a, long b, long c, long d, long e, long f)
{
    long rc;
    __asm__ volatile("movq %5,%%r10\n\tmovq %6,%%r8\n\tmovq %7,%%r9\n\tsyscall"
                     : "=a"(rc)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "ri"(d), "ri"(e), "ri"(f)
                     : "rcx", "r8", "r9", "r10", "r11", "memory", "cc");
    return rc;
}

/* What the manuals call "invariant TSC": leaf 0x80000007, edx bit 8. */
static bool gor__arch_ticks_steady(void)
{
    uint32_t a = 0x80000000u, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    if (a < 0x80000007u)
        return false;
    a = 0x80000007u;
    c = 0;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return (d >> 8 & 1) != 0;
}

/* rdsspq is a no-op that leaves its operand alone where there is no shadow stack. */
static bool gor__arch_shadow_stack(void)
{
    uint64_t ssp = 0;
    __asm__ volatile(".byte 0xf3,0x48,0x0f,0x1e,0xc8" : "+a"(ssp));
    return ssp != 0;
}

/* -- a signal's context ------------------------------------------------------------------------
 * The kernel's frame is a return address, the context, and somewhere above it the extended
 * state, to which the context points. rt_sigreturn takes any copy of it: so every register comes
 * back that the kernel knows of, whatever the CPU has. */
#define GOR__X86_RED_ZONE     128
#define GOR__X86_XSTATE_MAGIC 0x46505853u
#define GOR__X86_FXSAVE_SIZE  512
#define GOR__X86_DIRECTION    0x400
#define GOR__X86_ALIGNMENT    0x40000
enum { GOR__X86_RDI = 8, GOR__X86_RBP = 10, GOR__X86_RSP = 15, GOR__X86_RIP, GOR__X86_FLAGS };

typedef struct gor__x86_context {      /* the kernel's; libc's is larger, with other names     */
    uint64_t flags;
    void    *link;
    stack_t  stack;
    uint64_t reg[23];
    char    *fp;
    uint64_t reserved[8], mask;
} gor__x86_context;
GOR__STATIC_ASSERT(sizeof(gor__x86_context) == 304, "the kernel's struct ucontext");

GOR_API void gor__arch_context_resume(void *copy) __attribute__((visibility("hidden"), noreturn));
GOR_API const char gor__arch_context_resumed[] __attribute__((visibility("hidden")));
__asm__(
    ".pushsection .text\n.p2align 4\n"
    ".globl gor__arch_context_resume\n.hidden gor__arch_context_resume\n"
    ".type gor__arch_context_resume,@function\n"
    "gor__arch_context_resume:\n.cfi_startproc\n"
    "    endbr64\n"
    "    movq gor__tls_word@gottpoff(%rip),%rax\n"
    "    movl $0,%fs:8(%rax)\n"
    "    movq %rdi,%rsp\n"
    "    movl $15,%eax\n"                  /* rt_sigreturn */
    "    syscall\n"
    "    ud2\n"
    ".globl gor__arch_context_resumed\n.hidden gor__arch_context_resumed\n"
    "gor__arch_context_resumed:\n"
    ".cfi_endproc\n.size gor__arch_context_resume,.-gor__arch_context_resume\n"
    ".popsection\n");

static uintptr_t gor__arch_pc(const void *context)
{
    return (uintptr_t)((const gor__x86_context *)context)->reg[GOR__X86_RIP];
}

static uintptr_t gor__arch_stack_at(const void *context)
{
    return (uintptr_t)((const gor__x86_context *)context)->reg[GOR__X86_RSP] - GOR__X86_RED_ZONE;
}

static size_t gor__arch_xstate_size(const void *context)
{
    const char *fp = ((const gor__x86_context *)context)->fp;
    uint32_t words[2];
    memcpy(words, fp + 464, sizeof words);         /* fx_sw_reserved: magic, size */
    return words[0] == GOR__X86_XSTATE_MAGIC ? words[1] : GOR__X86_FXSAVE_SIZE;
}

static size_t gor__arch_context_size(const void *context)
{
    return gor__arch_xstate_size(context) + 64 + sizeof(gor__x86_context) + 64;
}

/* All registers of the extended state as they are at the start of a program; but for the protection
 * keys, which are not a function's to lose. */
static void gor__arch_clean_state(char *fp)
{
    uint32_t magic, mxcsr = 0x1f80;
    uint16_t control = 0x37f, none = 0;
    uint64_t used;
    memcpy(&magic, fp + 464, sizeof magic);
    memcpy(fp, &control, sizeof control);
    memcpy(fp + 2, &none, sizeof none);            /* status */
    memcpy(fp + 4, &none, sizeof none);            /* tags: the x87 stack is empty */
    memcpy(fp + 24, &mxcsr, sizeof mxcsr);
    if (magic != GOR__X86_XSTATE_MAGIC)
        return;
    memcpy(&used, fp + GOR__X86_FXSAVE_SIZE, sizeof used);
    used &= 1u << 9;
    memcpy(fp + GOR__X86_FXSAVE_SIZE, &used, sizeof used);
}

static void *gor__arch_context_move(void *context, uintptr_t top, void (*fn)(void *))
{
    gor__x86_context *c = (gor__x86_context *)context, *copy;
    size_t size = gor__arch_xstate_size(context);
    char *fp = (char *)((top - size) & ~(uintptr_t)63);
    copy = (gor__x86_context *)(((uintptr_t)fp - sizeof *copy) & ~(uintptr_t)15);
    memcpy(fp, c->fp, size);
    *copy = *c;
    copy->fp = fp;
    gor__arch_clean_state(c->fp);
    c->reg[GOR__X86_RIP] = (uint64_t)(uintptr_t)fn;
    c->reg[GOR__X86_RDI] = (uint64_t)(uintptr_t)copy;
    c->reg[GOR__X86_RSP] = (uint64_t)(uintptr_t)copy - 24;     /* as after a call */
    c->reg[GOR__X86_RBP] = 0;
    c->reg[GOR__X86_FLAGS] &= ~(uint64_t)(GOR__X86_DIRECTION | GOR__X86_ALIGNMENT);
    return copy;
}

#endif /* x86_64 */

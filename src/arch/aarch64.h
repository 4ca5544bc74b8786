/* ==== [aarch64] AAPCS64 =================================================================== */
#if defined(__aarch64__)

#define GOR__ARCH_TICKS (gor__arch_ticks_hz() / 131072 + 64)   /* 8 us or so */
#define GOR__ARCH_NEXT  64             /* the rest of the frame                                */

__asm__(
    ".pushsection .rodata\n"
    ".globl gor__nobody\n.hidden gor__nobody\n.type gor__nobody,%object\n"
    ".p2align 3\n.size gor__nobody,24\ngor__nobody:\n"
    ".quad 0\n.long 1,0xfffff000\n.quad 0\n"
    ".popsection\n.pushsection .tdata,\"awT\",%progbits\n"
    ".globl gor__tls_word\n.hidden gor__tls_word\n.type gor__tls_word,%object\n"
    ".p2align 4\n.size gor__tls_word,24\ngor__tls_word:\n.zero 16\n.quad gor__nobody\n"
    ".popsection\n");

GOR__INLINE void *gor__arch_self(void)
{
    void *p, *q;
    __asm__ volatile("mrs %0,tpidr_el0\n\tadrp %1,:gottprel:gor__tls_word\n\t"
                     "ldr %1,[%1,#:gottprel_lo12:gor__tls_word]\n\tldr %0,[%0,%1]"
                     : "=&r"(p), "=&r"(q));
    return p;
}

GOR__INLINE void *gor__arch_near(void)
{
    void *p, *q;
    __asm__ volatile("mrs %0,tpidr_el0\n\tadrp %1,:gottprel:gor__tls_word\n\t"
                     "ldr %1,[%1,#:gottprel_lo12:gor__tls_word]\n\tadd %0,%0,%1\n\t"
                     "ldr %0,[%0,#16]"
                     : "=&r"(p), "=&r"(q));
    return p;
}

GOR__INLINE void gor__arch_set_self(void *word)
{
    void *p, *q;
    const void *near = word ? word : &gor__nobody;
    __asm__ volatile("mrs %0,tpidr_el0\n\tadrp %1,:gottprel:gor__tls_word\n\t"
                     "ldr %1,[%1,#:gottprel_lo12:gor__tls_word]\n\tadd %0,%0,%1\n\t"
                     "str %2,[%0]\n\tstr %3,[%0,#16]"
                     : "=&r"(p), "=&r"(q) : "r"(word), "r"(near) : "memory");
}

GOR__INLINE gor__au32 *gor__arch_in_call(void)
{
    char *p, *q;
    __asm__ volatile("mrs %0,tpidr_el0\n\tadrp %1,:gottprel:gor__tls_word\n\t"
                     "ldr %1,[%1,#:gottprel_lo12:gor__tls_word]\n\tadd %0,%0,%1"
                     : "=&r"(p), "=&r"(q));
    return (gor__au32 *)(void *)(p + 8);
}

/* The exclusive store fails if there was an interruption since the exclusive load; so it hits the
 * thread that the check between them has found to be still ours. */
GOR__INLINE void gor__arch_call_begin(void)
{
    uintptr_t thread, at, check;
    __asm__ volatile("1: mrs %0,tpidr_el0\n\tadrp %1,:gottprel:gor__tls_word\n\t"
                     "ldr %1,[%1,#:gottprel_lo12:gor__tls_word]\n\tadd %1,%0,%1\n\t"
                     "add %1,%1,#8\n\tldxr %w2,[%1]\n\tmrs %2,tpidr_el0\n\tcmp %0,%2\n\t"
                     "b.ne 1b\n\tmov %w2,#1\n\tstxr %w0,%w2,[%1]\n\tcbnz %w0,1b"
                     : "=&r"(thread), "=&r"(at), "=&r"(check) : : "memory", "cc");
}

GOR__INLINE void gor__arch_call_end(void)
{
    uintptr_t thread, at;
    __asm__ volatile("mrs %0,tpidr_el0\n\tadrp %1,:gottprel:gor__tls_word\n\t"
                     "ldr %1,[%1,#:gottprel_lo12:gor__tls_word]\n\tadd %1,%0,%1\n\t"
                     "add %1,%1,#8\n\tstlr wzr,[%1]"
                     : "=&r"(thread), "=&r"(at) : : "memory");
}

GOR__INLINE void gor__arch_call_mark(uint32_t mark)
{
    gor__au32_store_rel(gor__arch_in_call(), mark);
    GOR__COMPILER_BARRIER();                       /* [window] W1: what comes next stays there */
}

typedef struct gor__arch_control { uint64_t fpcr; } gor__arch_control;

static const gor__arch_control gor__arch_control_default = { 0 };

GOR__INLINE void gor__arch_control_save(gor__arch_control *c)
{
    uint64_t fpcr;
    __asm__ volatile("mrs %0,fpcr" : "=r"(fpcr));
    c->fpcr = fpcr;
}

GOR__INLINE void gor__arch_control_change(const gor__arch_control *from,
                                          const gor__arch_control *to)
{
    if (GOR__UNLIKELY(from->fpcr != to->fpcr))
        __asm__ volatile("msr fpcr,%0" : : "r"(to->fpcr));
}

/* A frame, from the saved stack pointer up: x29 x30, x19..x28, d8..d15. */
GOR_API void gor__arch_switch(void **from, void *to) __attribute__((visibility("hidden")));
GOR_API void gor__arch_entry(void) __attribute__((visibility("hidden")));
GOR_API void gor__arch_go(void *to) __attribute__((visibility("hidden"), noreturn));
__asm__(
    ".pushsection .text\n.p2align 5\n"
    ".globl gor__arch_switch\n.hidden gor__arch_switch\n.type gor__arch_switch,%function\n"
    "gor__arch_switch:\n.cfi_startproc\n"
    "    hint #34\n"                        /* bti c */
    "    stp x29,x30,[sp,#-160]!\n.cfi_adjust_cfa_offset 160\n"
    ".cfi_rel_offset x29,0\n.cfi_rel_offset x30,8\n"
    "    stp x19,x20,[sp,#16]\n.cfi_rel_offset x19,16\n.cfi_rel_offset x20,24\n"
    "    stp x21,x22,[sp,#32]\n.cfi_rel_offset x21,32\n.cfi_rel_offset x22,40\n"
    "    stp x23,x24,[sp,#48]\n.cfi_rel_offset x23,48\n.cfi_rel_offset x24,56\n"
    "    stp x25,x26,[sp,#64]\n.cfi_rel_offset x25,64\n.cfi_rel_offset x26,72\n"
    "    stp x27,x28,[sp,#80]\n.cfi_rel_offset x27,80\n.cfi_rel_offset x28,88\n"
    "    stp d8,d9,[sp,#96]\n"
    "    stp d10,d11,[sp,#112]\n"
    "    stp d12,d13,[sp,#128]\n"
    "    stp d14,d15,[sp,#144]\n"
    "    mov x3,sp\n"
    "    str x3,[x0]\n"
    ".Lgor__go_on:\n"
    "    mov sp,x1\n"                       /* from here on the other goroutine's frame */
    "    ldp d14,d15,[sp,#144]\n"
    "    ldp d12,d13,[sp,#128]\n"
    "    ldp d10,d11,[sp,#112]\n"
    "    ldp d8,d9,[sp,#96]\n"
    "    ldp x27,x28,[sp,#80]\n"
    "    ldp x25,x26,[sp,#64]\n"
    "    ldp x23,x24,[sp,#48]\n"
    "    ldp x21,x22,[sp,#32]\n"
    "    ldp x19,x20,[sp,#16]\n"
    "    ldp x29,x30,[sp],#160\n.cfi_adjust_cfa_offset -160\n"
    ".cfi_restore x29\n.cfi_restore x30\n"
    "    ret\n"
    ".cfi_endproc\n.size gor__arch_switch,.-gor__arch_switch\n"
    /* The outermost frame of a goroutine: fn is in x19; an undefined return address ends
     * unwinding. */
    ".p2align 4\n.globl gor__arch_entry\n.hidden gor__arch_entry\n"
    ".type gor__arch_entry,%function\n"
    "gor__arch_entry:\n.cfi_startproc\n.cfi_undefined x30\n"
    "    hint #36\n"                        /* bti j */
    "    mov x29,#0\n"
    "    mov x30,#0\n"
    "    blr x19\n"
    "    mov x1,x0\n"
    "    b .Lgor__go_on\n"
    ".cfi_endproc\n.size gor__arch_entry,.-gor__arch_entry\n"
    ".globl gor__arch_go\n.hidden gor__arch_go\n.type gor__arch_go,%function\n"
    "gor__arch_go:\n.cfi_startproc\n.cfi_undefined x30\n"
    "    hint #34\n"                        /* bti c */
    "    mov x1,x0\n"
    "    b .Lgor__go_on\n"
    ".cfi_endproc\n.size gor__arch_go,.-gor__arch_go\n"
    ".popsection\n");

/* A branch to where there is no landing pad is a fault under BTI, so it is a return always. */
GOR__INLINE int gor__arch_wait(void *a, void *b, void *c, uint64_t d, int64_t e,
                               gor__arch_waiter *fn)
{
    return (int)fn(a, b, c, d, e, NULL).rc;
}

#define GOR__ARM64_FRAME_X29   0
#define GOR__ARM64_FRAME_X30   1
#define GOR__ARM64_FRAME_X19   2
#define GOR__ARM64_FRAME_WORDS 20

GOR__NO_TSAN static void *gor__arch_make(char *top, void *(*fn)(void))
{
    volatile uint64_t *frame = (uint64_t *)(void *)top - GOR__ARM64_FRAME_WORDS;
    for (int i = 0; i < GOR__ARM64_FRAME_WORDS; i++)
        frame[i] = 0;
    frame[GOR__ARM64_FRAME_X19] = (uint64_t)(uintptr_t)fn;
    frame[GOR__ARM64_FRAME_X30] = (uint64_t)(uintptr_t)gor__arch_entry;
    return (void *)(uintptr_t)frame;
}

static uintptr_t gor__arch_frame(void *sp, uintptr_t *pc)
{
    const uint64_t *frame = (const uint64_t *)sp;
    *pc = frame[GOR__ARM64_FRAME_X30];
    return frame[GOR__ARM64_FRAME_X29];
}

/* The same of the code that a signal has interrupted; returns its frame pointer. */
static uintptr_t gor__arch_interrupted(void *context, uintptr_t *pc, uintptr_t *sp)
{
    const ucontext_t *u = (const ucontext_t *)context;
    *pc = (uintptr_t)u->uc_mcontext.pc;
    *sp = (uintptr_t)u->uc_mcontext.sp;
    return (uintptr_t)u->uc_mcontext.regs[29];
}

GOR__INLINE void gor__arch_pause(void) { __asm__ volatile("yield"); }

GOR__INLINE void gor__arch_fence(void) { __asm__ volatile("dmb ish" ::: "memory"); }

GOR__INLINE uint64_t gor__arch_ticks(void)
{
    uint64_t t;
    __asm__ volatile("mrs %0,cntvct_el0" : "=r"(t));
    return t;
}

/* Some 20 MHz to 1 GHz. */
GOR__INLINE uint64_t gor__arch_ticks_hz(void)
{
    uint64_t hz;
    __asm__("mrs %0,cntfrq_el0" : "=r"(hz));
    return hz;
}

/* In assembly, so that it is a call to the compiler: a system call clears what SVE has beyond the
 * registers of a call, which an asm statement would be taken to keep. */
GOR_API long gor__arch_syscall(long nr, long a, long b, long c, long d, long e, long f)
    __attribute__((visibility("hidden")));
__asm__(
    ".pushsection .text\n.p2align 4\n"
    ".globl gor__arch_syscall\n.hidden gor__arch_syscall\n.type gor__arch_syscall,%function\n"
    "gor__arch_syscall:\n.cfi_startproc\n"
    "    hint #34\n"                        /* bti c */
    "    mov x8,x0\n"
    "    mov x0,x1\n"
    "    mov x1,x2\n"
    "    mov x2,x3\n"
    "    mov x3,x4\n"
    "    mov x4,x5\n"
    "    mov x5,x6\n"
    "    svc #0\n"
    "    ret\n"
    ".cfi_endproc\n.size gor__arch_syscall,.-gor__arch_syscall\n"
    ".popsection\n");

/* Is it as fine as the clock that it stands in for? An emulator's may go by whole microseconds, and
 * the clock is ahead of it within one. The finest step of a few may be a fifth of that. */
static bool gor__arch_ticks_steady(void)
{
    uint64_t finest = UINT64_MAX, last = gor__arch_ticks();
    for (int steps = 0, reads = 0; steps < 8 && reads < 10000; reads++) {
        uint64_t now = gor__arch_ticks();
        if (now == last)
            continue;
        finest = now - last < finest ? now - last : finest;
        last = now;
        steps++;
    }
    return finest <= gor__arch_ticks_hz() / 5000000;
}

/* chkfeat, a no-op where there is none: it clears the bits of the features that are in force. */
static bool gor__arch_shadow_stack(void)
{
    uint64_t off;
    __asm__ volatile("mov x16,#1\n\thint #40\n\tmov %0,x16" : "=r"(off) : : "x16");
    return off == 0;
}

/* -- a signal's context ------------------------------------------------------------------------
 * The kernel's frame is a siginfo, the context with records of floating-point state, and, if those
 * are large (SVE), more of them behind it, to which a record points. rt_sigreturn takes any
 * copy. */
#define GOR__ARM64_INFO_SIZE    128
#define GOR__ARM64_CONTEXT_SIZE (464 + 4096)
#define GOR__ARM64_RECORDS      464
#define GOR__ARM64_FPSIMD       0x46508001u
#define GOR__ARM64_EXTRA        0x45585401u
#define GOR__ARM64_BTYPE        0xc00u

GOR_API void gor__arch_context_resume(void *copy) __attribute__((visibility("hidden"), noreturn));
GOR_API const char gor__arch_context_resumed[] __attribute__((visibility("hidden")));
__asm__(
    ".pushsection .text\n.p2align 4\n"
    ".globl gor__arch_context_resume\n.hidden gor__arch_context_resume\n"
    ".type gor__arch_context_resume,%function\n"
    "gor__arch_context_resume:\n.cfi_startproc\n"
    "    hint #34\n"
    "    mrs x1,tpidr_el0\n"
    "    adrp x2,:gottprel:gor__tls_word\n"
    "    ldr x2,[x2,#:gottprel_lo12:gor__tls_word]\n"
    "    add x1,x1,x2\n"
    "    add x1,x1,#8\n"
    "    stlr wzr,[x1]\n"
    "    sub sp,x0,#128\n"
    "    mov x8,#139\n"                    /* rt_sigreturn */
    "    svc #0\n"
    "    brk #1\n"
    ".globl gor__arch_context_resumed\n.hidden gor__arch_context_resumed\n"
    "gor__arch_context_resumed:\n"
    ".cfi_endproc\n.size gor__arch_context_resume,.-gor__arch_context_resume\n"
    ".popsection\n");

static uintptr_t gor__arch_pc(const void *context)
{
    return (uintptr_t)((const ucontext_t *)context)->uc_mcontext.pc;
}

static uintptr_t gor__arch_stack_at(const void *context)
{
    return (uintptr_t)((const ucontext_t *)context)->uc_mcontext.sp;
}

/* The record of that kind, or NULL. */
static char *gor__arch_record(const void *context, uint32_t kind)
{
    char *at = (char *)(uintptr_t)context + GOR__ARM64_RECORDS;
    for (uint32_t head[2];; at += head[1]) {
        memcpy(head, at, sizeof head);             /* magic, size */
        if (head[0] == kind)
            return at;
        if (head[0] == 0 || head[1] == 0)
            return NULL;
    }
}

/* Bytes behind the context. */
static size_t gor__arch_extra_size(const void *context)
{
    char *extra = gor__arch_record(context, GOR__ARM64_EXTRA);
    uint64_t at = 0;
    uint32_t size = 0;
    if (!extra)
        return 0;
    memcpy(&at, extra + 8, sizeof at);
    memcpy(&size, extra + 16, sizeof size);
    return (size_t)(at + size - ((uint64_t)(uintptr_t)context + GOR__ARM64_CONTEXT_SIZE));
}

static size_t gor__arch_context_size(const void *context)
{
    return GOR__ARM64_INFO_SIZE + GOR__ARM64_CONTEXT_SIZE + gor__arch_extra_size(context) + 32;
}

static void *gor__arch_context_move(void *context, uintptr_t top, void (*fn)(void *))
{
    ucontext_t *c = (ucontext_t *)context;
    size_t size = GOR__ARM64_CONTEXT_SIZE + gor__arch_extra_size(context);
    char *copy = (char *)((top - size) & ~(uintptr_t)15), *record;
    uint64_t at;
    memcpy(copy, context, size);
    record = gor__arch_record(copy, GOR__ARM64_EXTRA);
    if (record) {
        memcpy(&at, record + 8, sizeof at);
        at += (uint64_t)(uintptr_t)copy - (uint64_t)(uintptr_t)context;
        memcpy(record + 8, &at, sizeof at);
    }
    record = gor__arch_record(context, GOR__ARM64_FPSIMD);
    if (record)
        memset(record + 8, 0, 8);                  /* fpsr, fpcr */
    c->uc_mcontext.pc = (uint64_t)(uintptr_t)fn;
    c->uc_mcontext.regs[0] = (uint64_t)(uintptr_t)copy;
    c->uc_mcontext.regs[29] = c->uc_mcontext.regs[30] = 0;
    c->uc_mcontext.sp = (uint64_t)(uintptr_t)copy - GOR__ARM64_INFO_SIZE - 16;
    c->uc_mcontext.pstate &= ~(uint64_t)GOR__ARM64_BTYPE;
    return copy;
}

#endif /* aarch64 */

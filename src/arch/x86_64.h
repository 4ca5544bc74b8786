/* ==== [x86_64] System V ABI =============================================================== */
#if defined(__x86_64__)

#define GOR__ARCH_TICKS 16384

__asm__(
    ".pushsection .tbss,\"awT\",@nobits\n"
    ".globl gor__tls_word\n.hidden gor__tls_word\n.type gor__tls_word,@tls_object\n"
    ".p2align 3\n.size gor__tls_word,8\ngor__tls_word:\n.zero 8\n"
    ".popsection\n");

GOR__INLINE void *gor__arch_self(void)
{
    void *p;
    __asm__ volatile("movq gor__tls_word@gottpoff(%%rip),%0\n\tmovq %%fs:(%0),%0" : "=r"(p));
    return p;
}

GOR__INLINE void gor__arch_set_self(void *word)
{
    void *p;
    __asm__ volatile("movq gor__tls_word@gottpoff(%%rip),%0\n\tmovq %1,%%fs:(%0)"
                     : "=&r"(p) : "r"(word) : "memory");
}

/* A frame, from the saved stack pointer up: mxcsr and x87 control word, rbp, rip.
 * Of mxcsr only the control bits belong to the callee; loading is dear, so it is done on a
 * change. */
GOR_API void gor__arch_entry(void) __attribute__((visibility("hidden")));
__asm__(
    ".pushsection .text\n.p2align 5\n"
    ".globl gor__arch_switch_asm\n.hidden gor__arch_switch_asm\n"
    ".type gor__arch_switch_asm,@function\n"
    "gor__arch_switch_asm:\n.cfi_startproc\n"
    "    endbr64\n"
    "    pushq %rbp\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset %rbp,0\n"
    "    subq $8,%rsp\n.cfi_adjust_cfa_offset 8\n"
    "    stmxcsr (%rsp)\n"
    "    fnstcw 4(%rsp)\n"
    "    movl (%rsp),%eax\n"
    "    movzwl 4(%rsp),%ecx\n"
    "    movq %rsp,(%rdi)\n"
    "    movq %rsi,%rsp\n"                  /* from here on the other goroutine's frame */
    "    xorl (%rsp),%eax\n"
    "    testl $0xffffffc0,%eax\n"
    "    jne 3f\n"
    "1:  cmpw 4(%rsp),%cx\n"
    "    jne 4f\n"
    "2:  addq $8,%rsp\n.cfi_adjust_cfa_offset -8\n"
    "    popq %rbp\n.cfi_adjust_cfa_offset -8\n.cfi_restore %rbp\n"
    "    ret\n"
    "3:  ldmxcsr (%rsp)\n"
    "    jmp 1b\n"
    "4:  fldcw 4(%rsp)\n"
    "    jmp 2b\n"
    ".cfi_endproc\n.size gor__arch_switch_asm,.-gor__arch_switch_asm\n"
    /* The outermost frame of a goroutine: its fn is on the stack; an undefined return address ends
     * unwinding. */
    ".p2align 4\n.globl gor__arch_entry\n.hidden gor__arch_entry\n"
    ".type gor__arch_entry,@function\n"
    "gor__arch_entry:\n.cfi_startproc\n.cfi_undefined %rip\n"
    "    endbr64\n"
    "    xorl %ebp,%ebp\n"
    "    popq %rax\n"
    "    call *%rax\n"
    "    ud2\n"
    ".cfi_endproc\n.size gor__arch_entry,.-gor__arch_entry\n"
    ".popsection\n");

#define GOR__X86_FRAME_CONTROL 0
#define GOR__X86_FRAME_RBP     1
#define GOR__X86_FRAME_RIP     2
#define GOR__X86_FRAME_FN      3       /* popped by the entry */
#define GOR__X86_FRAME_WORDS   4
#define GOR__X86_CONTROL       (((uint64_t)0x037f << 32) | 0x1f80)

/* The call tells the compiler that the registers are lost, so it keeps what is live where it wants;
 * the function saves the rest: rbp, the stack pointer, the floating-point control words. The caller
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

GOR__NO_TSAN static void *gor__arch_make(char *top, void (*fn)(void))
{
    volatile uint64_t *frame = (uint64_t *)(void *)top - GOR__X86_FRAME_WORDS;
    for (int i = 0; i < GOR__X86_FRAME_WORDS; i++)
        frame[i] = 0;
    frame[GOR__X86_FRAME_CONTROL] = GOR__X86_CONTROL;
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

/* rdsspq is a no-op that leaves its operand alone where there is no shadow stack. */
static bool gor__arch_shadow_stack(void)
{
    uint64_t ssp = 0;
    __asm__ volatile(".byte 0xf3,0x48,0x0f,0x1e,0xc8" : "+a"(ssp));
    return ssp != 0;
}

#endif /* x86_64 */

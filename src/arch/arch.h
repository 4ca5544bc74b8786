/* ==== [arch] the contract of a processor architecture ==========================================
 * gor__arch_self()            the word of this OS thread, set by gor__arch_set_self(); NULL before.
 * gor__arch_near()            its third word: the same, but &gor__nobody for NULL, an M that needs
 *                             attention: so one look there tells both. [fast] reads it, too
 * gor__arch_call_begin()      1 into this thread's second word: it is in a gor call
 * gor__arch_call_end()        0 into it, after all that was stored before (release)
 * gor__arch_call_mark(mark)   this into it, in a call; after all that was stored before, and before
 *                             whatever comes next in the program is compiled to come
 * gor__arch_in_call()         where that word is
 * gor__arch_switch(from, to)  save the callee-saved state on the stack, *from = its stack pointer,
 *                             go on at stack pointer `to`. Returns when someone switches back.
 * gor__arch_control_save(c)   the floating-point control words into *c. That is slow on x86-64, but
 *                             only for those who read *c soon: so it is done long before
 * gor__arch_control_change(from, to)  load them, if they differ from what is in force
 * gor__arch_wait(a..e, fn)    fn(a..e, back), back being where the caller goes on; returns its rc.
 *                             A CPU predicts that a return goes to the last call. That is wrong
 *                             after a switch, if the goroutine that was left had called from
 *                             elsewhere: then fn says so by `jump`, and the way back is a jump,
 *                             which is predicted by what came before it.
 * gor__arch_go(to)            go on at stack pointer `to`, and leave this stack for good
 * gor__arch_make(top, fn)     a first frame below top (aligned to 16), that runs fn, and then goes
 *                             on at the stack pointer that fn returns; it has no caller
 * GOR__ARCH_NEXT              what who goes on at a saved stack pointer reads besides that line
 *                             begins so many bytes above it
 * gor__arch_frame(sp, &pc)    the frame pointer and program counter saved at sp
 * gor__arch_fence()           a full fence; ThreadSanitizer does not see it, our loads do the rest
 * gor__arch_pause()           inside a spin loop
 * gor__arch_ticks()           a cheap counter; GOR__ARCH_TICKS of it, no constant, are 1 to 20 us
 * gor__arch_ticks_steady()    does it run at one rate, on all CPUs, in fine steps?
 * gor__arch_syscall(nr, a..f) a raw system call of Linux: its result, or a negative errno. errno is
 *                             left alone, and it is no cancellation point
 * gor__arch_shadow_stack()    is a hardware shadow stack in force?
 * gor__arch_pc, _stack_at     of a signal's context: where it interrupted, and the lowest address
 *                             of the stack that the interrupted code may be using
 * gor__arch_context_size      bytes that a copy of the context takes on a stack
 * gor__arch_context_move      copy the context to a stack, below top; the original goes on at
 *                             fn(copy), with clean floating-point state, when the handler returns
 * gor__arch_context_resume    end the call, go on where the copy was interrupted, every register as
 *                             it was; gor__arch_context_resumed is where its code ends
 *
 * The thread's words are declared and used in assembly only. The compiler never learns that they
 * are thread-local, so it cannot keep their address across a switch to another thread, whatever it
 * inlines: with `__thread` gcc and clang both do that at -O2. Initial-exec, so it works in
 * executables and in shared libraries; `volatile` keeps two reads two.
 *
 * A goroutine may be interrupted, and go on on another thread, between any two instructions of the
 * user's code, inlined calls included ([preempt]). So a call begins by marking its thread, which
 * ends that, and only then asks which M it is. On x86-64 the mark is one instruction, relative to
 * the thread. On ARM64 it is an exclusive store, which fails if there was an interruption since the
 * thread was looked at.
 *
 * A function the compiler emits for branch protection (-fcf-protection, -mbranch-protection) makes
 * it mark the object file; the assembly here begins with endbr64 / bti, so that the mark stays
 * true.
 */
typedef struct gor__answer { int64_t rc, jump; } gor__answer;
typedef gor__answer gor__arch_waiter(void *a, void *b, void *c, uint64_t d, int64_t e,
                                     void *back);

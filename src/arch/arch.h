/* ==== [arch] the contract of a processor architecture ==========================================
 * gor__arch_self()            the word of this OS thread, set by gor__arch_set_self(): NULL at
 * first gor__arch_switch(from, to)  save the callee-saved state on the stack, *from = its stack
 * pointer,
 *                             go on at stack pointer `to`. Returns when someone switches back.
 * gor__arch_make(top, fn)     a first frame below top (aligned to 16), that runs fn and has no
 * caller gor__arch_frame(sp, &pc)    the frame pointer and program counter saved at sp
 * gor__arch_fence()           a full fence; ThreadSanitizer does not see it, our loads do the rest
 * gor__arch_pause()           inside a spin loop gor__arch_ticks()           a cheap counter,
 * GOR__ARCH_TICKS of which are 1 to 20 us gor__arch_shadow_stack()    is a hardware shadow stack in
 * force?
 *
 * The thread's word is declared and read in assembly only. The compiler never learns that it is
 * thread-local, so it cannot keep its address across a switch to another thread, whatever it
 * inlines: with `__thread` gcc and clang both do that at -O2. Initial-exec, so it works in
 * executables and in shared libraries; `volatile` keeps two reads two.
 *
 * A function the compiler emits for branch protection (-fcf-protection, -mbranch-protection) makes
 * it mark the object file; the assembly here begins with endbr64 / bti, so that the mark stays
 * true.
 */

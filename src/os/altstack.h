/* ==== [altstack] the stack that fault handlers run on ===================================== */
static size_t gor__alt_stack_size(void)
{
#ifdef AT_MINSIGSTKSZ
    size_t least = (size_t)getauxval(AT_MINSIGSTKSZ);
#else
    size_t least = 0;
#endif
    return least + 32768;                          /* the frame of all registers, and our report */
}

/* Give the calling thread an alternate stack, if it has none. Returns it, or NULL. */
static void *gor__os_alt_stack_on(void)
{
    stack_t now, ours;
    void *p;
    if (sigaltstack(NULL, &now) != 0 || !(now.ss_flags & SS_DISABLE))
        return NULL;
    p = mmap(NULL, gor__alt_stack_size(), PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    memset(&ours, 0, sizeof ours);
    ours.ss_sp = p;
    ours.ss_size = gor__alt_stack_size();
    sigaltstack(&ours, NULL);
    return p;
}

static void gor__os_alt_stack_off(void *p)
{
    stack_t off;
    if (!p)
        return;
    memset(&off, 0, sizeof off);
    off.ss_flags = SS_DISABLE;
    sigaltstack(&off, NULL);
    munmap(p, gor__alt_stack_size());
}

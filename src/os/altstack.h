/* ==== [altstack] the stack that fault handlers run on ===================================== */
#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

/* The frame of all registers, as the kernel says, and our report. */
static size_t gor__alt_stack_size(void)
{
    int saved = gor__os_errno();                   /* set if there is no such entry */
    size_t size = (size_t)getauxval(AT_MINSIGSTKSZ) + 32768;
    gor__os_set_errno(saved);
    return size;
}

/* Memory for one, or NULL. */
static void *gor__os_alt_stack_new(void)
{
    void *p = mmap(NULL, gor__alt_stack_size(), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static void gor__os_alt_stack_free(void *p)
{
    if (p)
        munmap(p, gor__alt_stack_size());
}

static bool gor__os_alt_stack_there(void)
{
    stack_t now;
    return sigaltstack(NULL, &now) == 0 && !(now.ss_flags & SS_DISABLE);
}

/* Give the calling thread p, if it has no alternate stack. Returns p, or NULL: p was not needed. */
static void *gor__os_alt_stack_on(void *p)
{
    stack_t ours;
    if (!p || gor__os_alt_stack_there()) {
        gor__os_alt_stack_free(p);
        return NULL;
    }
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
    gor__os_alt_stack_free(p);
}

/* ==== [alloc] the user's allocator ==============================================================
 * What        malloc and free through the hooks of gor_options, counted. Sizes are given back, so
 *             that gor__heap_bytes is exact: 0 after gor_stop.
 * Runs on     Any thread, no lock held: hooks may block.
 */
static struct {
    void *(*malloc)(size_t size, void *user);
    void  (*free)(void *p, void *user);
    void   *user;
} gor__hooks;
static gor__au64 gor__heap_bytes;

static void *gor__alloc(size_t size)
{
    void *p = gor__hooks.malloc ? gor__hooks.malloc(size, gor__hooks.user) : malloc(size);
    if (p)
        gor__au64_count(&gor__heap_bytes, size);
    return p;
}

static void *gor__zalloc(size_t size)
{
    void *p;
    gor__san_quiet_begin();
    p = gor__alloc(size);
    if (p)
        memset(p, 0, size);
    gor__san_quiet_end();
    return p;
}

static void gor__free(void *p, size_t size)
{
    if (!p)
        return;
    gor__au64_count(&gor__heap_bytes, 0 - (uint64_t)size);
    if (gor__hooks.free)
        gor__hooks.free(p, gor__hooks.user);
    else
        free(p);
}

/* Zeros that begin with a cache line. *memory is to be freed, with a line more than size. */
static void *gor__zalloc_aligned(size_t size, void **memory)
{
    uintptr_t at = (uintptr_t)(*memory = gor__zalloc(size + GOR__CACHE_LINE));
    return (void *)((at + GOR__CACHE_LINE - 1) & ~(uintptr_t)(GOR__CACHE_LINE - 1));
}

static void gor__free_aligned(void *memory, size_t size)
{
    gor__free(memory, size + GOR__CACHE_LINE);
}

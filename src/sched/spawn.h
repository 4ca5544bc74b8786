/* ==== [spawn] goroutines begin ==================================================================
 * What        gor__g_make makes the G of a goroutine; [start] queues it.
 * Cost        A spawned goroutine is a small object. It gets a stack when it first runs, and the
 *             one that ended last on this P, still warm, if there is one.
 */
typedef struct gor__spec {             /* what to start */
    void (*fn)(void *);
    void       *arg;
    const char *site;                  /* "fn\0file:line"                          */
    const void *copy;                  /* copy_size bytes for fn, instead of arg   */
    size_t      copy_size;
    const gor_attr *attr;
    void      (*done)(void *);         /* called with done_arg when it ends        */
    void       *done_arg;
    gor__cancel *ctx;                  /* own context; NULL: inherit; &gor__no_ctx: none */
} gor__spec;

GOR__INLINE uint64_t gor__new_id(gor__p *p)
{
    uint64_t id;
    if (!p)
        return gor__au64_add(&gor__rt.next_id, 1);
    id = gor__au64_load_rlx(&p->id_next);
    if (GOR__UNLIKELY(id == gor__au64_load_rlx(&p->id_end))) {
        id = gor__au64_add(&gor__rt.next_id, 16);
        gor__au64_store_rlx(&p->id_end, id + 16);
    }
    gor__au64_store_rlx(&p->id_next, id + 1);
    return id;
}

static gor__extra *gor__extra_of(gor__g *g)
{
    if (!g->extra)
        g->extra = (gor__extra *)gor__zalloc(sizeof *g->extra);
    gor__g_add_trait(g, GOR__TRAIT_ESTATE);
    return g->extra;
}

/* The traits of a goroutine with attributes. 0, or -EINVAL. */
GOR__INLINE int gor__traits_of(const gor_attr *a, uint32_t *traits)
{
    *traits = (uint32_t)gor__rt.stack_class;
    if (!a)
        return 0;
    if (a->stack_size) {
        if (a->stack_size < GOR__MIN_STACK_SIZE || a->stack_size > GOR__MAX_STACK_SIZE)
            return -EINVAL;
        *traits = (uint32_t)gor__stack_class_of(a->stack_size);
    }
    if (a->priority < GOR_LOW || a->priority > GOR_HIGH)
        return -EINVAL;
    *traits |= a->priority == GOR_HIGH ? GOR__TRAIT_HIGH
             : a->priority == GOR_LOW ? GOR__TRAIT_LOW : 0;
    if (a->compact_idle) {
        *traits |= GOR__TRAIT_PACK;
        gor__packs_ask();
    }
    return 0;
}

/* A G comes with the promise of a stack of the default class ([stack] I3). One of another class is
 * promised here, and no more once it has been given back: gor__stack_drop. */
GOR__INLINE bool gor__promise_odd(uint32_t traits)
{
    int k = (int)(traits & GOR__TRAIT_CLASS);
    if (GOR__LIKELY(k == gor__rt.stack_class) || gor__stack_promise(k, 1) == 1)
        return true;
    gor__g_collect();                              /* no more Gs will be made either */
    return false;
}

static void gor__unpromise_odd(uint32_t traits)
{
    int k = (int)(traits & GOR__TRAIT_CLASS);
    if (k != gor__rt.stack_class)
        gor__stack_unpromise(k, 1);
}

GOR__INLINE void gor__free_argument(gor__g *g)
{
    if (GOR__LIKELY(g->copy_size == 0))
        return;
    gor__free(g->arg, g->copy_size);
    g->copy_size = 0;
}

/* Where the argument is kept: in the G, or in a block of its own. */
GOR__INLINE int gor__set_argument(gor__g *g, const gor__spec *s)
{
    g->arg = s->arg;
    if (!s->copy_size)
        return 0;
    g->arg = g->call;
    if (s->copy_size > sizeof g->call) {
        g->arg = gor__alloc(s->copy_size);
        if (!g->arg)
            return -ENOMEM;
        g->copy_size = s->copy_size;
        gor__g_add_trait(g, GOR__TRAIT_ESTATE);
    }
    memcpy(g->arg, s->copy, s->copy_size);
    return 0;
}

GOR__INLINE int gor__set_name(gor__g *g, const gor_attr *a)
{
    g->extra = NULL;
    if (!a || !a->name)
        return 0;
    if (!gor__extra_of(g))
        return -ENOMEM;
    snprintf(g->extra->name, sizeof g->extra->name, "%s", a->name);
    return 0;
}

GOR__NO_TSAN static const char *gor__g_name(const gor__g *g)
{
    if (g->extra && g->extra->name[0])
        return g->extra->name;
    return g->site ? g->site : "";
}

/* g's context, with a reference to it that is g's from now on. */
GOR__INLINE void gor__g_set_ctx(gor__g *g, gor__cancel *ctx)
{
    g->ctx = ctx;
    if (GOR__LIKELY(!ctx))
        return;
    g->ctx_held = ctx;
    gor__g_add_trait(g, GOR__TRAIT_ESTATE);
}

/* Fill in a dead G. 0, or -ENOMEM with nothing left behind in it. */
GOR__INLINE int gor__g_init(gor__m *m, gor__g *g, const gor__spec *s, uint32_t traits)
{
    gor__g *parent = m ? gor__m_g(m) : NULL;
    gor__cancel *ctx = s->ctx ? s->ctx : parent ? parent->ctx : NULL;
    if (ctx == &gor__no_ctx)
        ctx = NULL;
    gor__au32_store_rlx(&g->traits, traits);
    if (gor__set_argument(g, s) != 0)
        return -ENOMEM;
    if (gor__set_name(g, s->attr) != 0 || !gor__fiber_begin(g)) {
        gor__free(g->extra, sizeof *g->extra);
        g->extra = NULL;
        gor__free_argument(g);
        return -ENOMEM;
    }
    gor__au32_store_rlx(&g->hold, GOR__NO_STACK);
    gor__au64_store_rlx(&g->id, gor__new_id(gor__p_of(m)));
    g->fn = s->fn;
    g->site = s->site;
    g->done = s->done;
    g->done_arg = s->done_arg;
    g->err = 0;
    gor__g_set_ctx(g, ctx ? gor__cancel_retain(ctx) : NULL);
    gor__au32_store_rlx(&g->why, GOR__WHY_NONE);
    return 0;
}

/* One goroutine more: call it when it is certain that it will run. m NULL: foreign thread. */
static void gor__count_start(gor__m *m)
{
    if (m)
        gor__au64_bump(&gor__m_p(m)->started);
    else
        gor__au64_add(&gor__rt.outside_started, 1);
}

/* Make the G of a goroutine, not yet queued, nor counted. 0, -ENOMEM, -EINVAL, -ESRCH.
 * m NULL: foreign thread. */
GOR__INLINE int gor__g_make(gor__m *m, const gor__spec *s, gor__g **out)
{
    gor__p *p = gor__p_of(m);
    uint32_t traits;
    gor__g *g;
    int rc;
    if (GOR__UNLIKELY(!gor__is_on()))
        return -ESRCH;
    if (!s->fn || (s->copy_size && !s->copy) || gor__traits_of(s->attr, &traits) != 0)
        return -EINVAL;
    if (!gor__promise_odd(traits))
        return -ENOMEM;
    g = gor__g_get(p);
    rc = g ? gor__g_init(m, g, s, traits) : -ENOMEM;
    if (GOR__UNLIKELY(rc != 0)) {
        if (g)
            gor__g_give_back(g);
        gor__unpromise_odd(traits);
        return rc;
    }
    *out = g;
    return 0;
}

/* Undo gor__g_make; g has no stack yet. */
static void gor__g_discard(gor__g *g)
{
    gor__cancel_release(g->ctx_held);
    g->ctx_held = NULL;
    gor__unpromise_odd(gor__au32_load_rlx(&g->traits));
    gor__fiber_end(g);
    gor__au32_store_rlx(&g->state, GOR__DEAD);
    gor__g_give_back(g);
}

/* ==== [dial] addresses, listening, dialing ====================================================
 * What        "tcp" "host:port" becomes socket addresses, by getaddrinfo on a thread of its own;
 *             these become sockets.
 * Dialing     The addresses race: each starts a quarter second after the one before, or as soon as
 *             that has failed; the first to connect wins and the others are cancelled. A foreign
 *             thread tries them one after the other.
 * Source      RFC 8305, Happy Eyeballs.
 */
#define GOR__MAX_ADDRS 16
#define GOR__DIAL_STAGGER (250 * GOR_MS)

typedef struct gor__network { const char *name; int family, type; } gor__network;

static const gor__network gor__networks[] = {
    { "tcp", AF_UNSPEC, SOCK_STREAM }, { "tcp4", AF_INET, SOCK_STREAM },
    { "tcp6", AF_INET6, SOCK_STREAM }, { "udp", AF_UNSPEC, SOCK_DGRAM },
    { "udp4", AF_INET, SOCK_DGRAM },   { "udp6", AF_INET6, SOCK_DGRAM },
    { "unix", AF_UNIX, SOCK_STREAM }
};

static const gor__network *gor__network_of(const char *name)
{
    for (size_t i = 0; name && i < sizeof gor__networks / sizeof *gor__networks; i++)
        if (strcmp(gor__networks[i].name, name) == 0)
            return &gor__networks[i];
    return NULL;
}

/* A lookup under way. Two hold it, the caller and the goroutine that asks; the last one frees. */
typedef struct gor__lookup {
    gor__au32 refs;
    gor_chan *done;                    /* closed when rc and list are there                    */
    struct addrinfo hints, *list;
    int       rc;
    bool      no_host;
    char      host[256];
    char      port[32];
} gor__lookup;

/* -- "host:port" ------------------------------------------------------------------------------- */

static bool gor__is_number(const char *s)
{
    return *s && s[strspn(s, "0123456789")] == 0;
}

static int gor__copy_part(char *to, size_t size, const char *from, size_t n)
{
    if (n >= size)
        return -ENAMETOOLONG;
    memcpy(to, from, n);
    to[n] = 0;
    return 0;
}

/* "host:port", "[v6]:port", ":port". 0, -EINVAL, -ENAMETOOLONG. */
static int gor__addr_split(const char *addr, gor__lookup *l)
{
    const char *colon = strrchr(addr, ':'), *end = colon, *begin = addr;
    int rc;
    if (!colon)
        return -EINVAL;
    if (*addr == '[') {
        begin = addr + 1;
        end = strchr(addr, ']');
        if (!end || end + 1 != colon)
            return -EINVAL;
    } else if (memchr(addr, ':', (size_t)(colon - addr))) {
        return -EINVAL;                            /* an IPv6 address wants brackets */
    }
    rc = gor__copy_part(l->host, sizeof l->host, begin, (size_t)(end - begin));
    if (rc == 0)
        rc = gor__copy_part(l->port, sizeof l->port, colon + 1, strlen(colon + 1));
    if (rc != 0)
        return rc;
    if (!l->port[0])
        l->port[0] = '0', l->port[1] = 0;
    if (gor__is_number(l->port) && (strlen(l->port) > 9 || atoi(l->port) > 65535))
        return -EINVAL;
    if (l->port[0] == '-' || l->port[0] == '+' || strchr(l->port, ' '))
        return -EINVAL;
    l->no_host = l->host[0] == 0;
    return 0;
}

/* -- looking up -------------------------------------------------------------------------------- */

static int gor__lookup_error(int rc)
{
    switch (rc) {
    case 0:           return 0;
    case EAI_MEMORY:  return -ENOMEM;
    case EAI_FAMILY:  return -EAFNOSUPPORT;
    case EAI_SERVICE: return -EINVAL;
    case EAI_SYSTEM:  return gor__os_errno() ? -gor__os_errno() : -EIO;
    case EAI_AGAIN:   return -EHOSTUNREACH;        /* no server answered */
    case EAI_FAIL:    return -EHOSTUNREACH;
    default:          return -ENOENT;
    }
}

static int gor__lookup_ask(void *p)
{
    gor__lookup *l = (gor__lookup *)p;
    l->rc = gor__lookup_error(getaddrinfo(l->no_host ? NULL : l->host, l->port, &l->hints,
                                          &l->list));
    return 0;
}

static void gor__lookup_release(gor__lookup *l)
{
    if (gor__au32_add(&l->refs, (uint32_t)-1) != 1)
        return;
    if (l->list)
        freeaddrinfo(l->list);
    gor_chan_release(l->done);
    gor__free(l, sizeof *l);
}

static void gor__lookup_run(void *p)
{
    gor__lookup *l = (gor__lookup *)p;
    gor_block(gor__lookup_ask, l);
    gor_chan_close(l->done);
    gor__lookup_release(l);
}

/* An address that is a number, or none at all, needs to ask nobody. */
static bool gor__lookup_numeric(gor__lookup *l)
{
    int flags = l->hints.ai_flags;
    if (!gor__is_number(l->port))
        return false;
    l->hints.ai_flags |= AI_NUMERICHOST | AI_NUMERICSERV;
    gor__lookup_ask(l);
    l->hints.ai_flags = flags;
    return l->rc == 0;
}

/* In a goroutine of its own, so that the deadline and the context can end our wait for it. */
static int gor__lookup_wait(gor__lookup *l, int64_t deadline)
{
    gor__spec spec;
    int rc;
    if (!gor__self()) {
        gor__lookup_ask(l);
        return l->rc;
    }
    l->done = gor_chan_new(0, 0);
    if (!l->done)
        return -ENOMEM;
    memset(&spec, 0, sizeof spec);
    spec.fn = gor__lookup_run;
    spec.arg = l;
    spec.site = "gor_resolve\0";
    spec.ctx = &gor__no_ctx;
    gor__au32_add(&l->refs, 1);
    rc = gor__go(&spec);
    if (rc != 0)
        gor__au32_add(&l->refs, (uint32_t)-1);
    else
        rc = gor_chan_recv_until(l->done, NULL, 0, deadline);
    return rc == -EPIPE ? l->rc : rc;
}

/* Take the addresses, the families alternating, the first one's first. */
static int gor__lookup_take(const gor__lookup *l, gor_addr *out, int max)
{
    const struct addrinfo *first = l->list, *turn[2];
    int n = 0, family;
    if (!first)
        return -ENOENT;
    family = first->ai_family;
    turn[0] = turn[1] = first;
    for (int i = 0; n < max && (turn[0] || turn[1]); i ^= 1) {
        while (turn[i] && (turn[i]->ai_family == family) != (i == 0))
            turn[i] = turn[i]->ai_next;
        if (!turn[i])
            continue;
        memset(&out[n], 0, sizeof out[n]);
        memcpy(&out[n].sa, turn[i]->ai_addr, turn[i]->ai_addrlen);
        out[n++].len = turn[i]->ai_addrlen;
        turn[i] = turn[i]->ai_next;
    }
    return n;
}

static int gor__addr_unix(const char *path, gor_addr *out)
{
    struct sockaddr_un *un = (struct sockaddr_un *)(void *)&out->sa;
    size_t n = strlen(path);
    memset(out, 0, sizeof *out);
    if (n == 0)
        return -EINVAL;
    if (n >= sizeof un->sun_path)
        return -ENAMETOOLONG;
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path, n);
    out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (path[0] != '@'));
    if (path[0] == '@')
        un->sun_path[0] = 0;
    return 1;
}

/* The addresses of addr, at most max. How many, or a negative errno. */
static int gor__addrs(const gor__network *net, const char *addr, bool passive, gor_addr *out,
                      int max, int64_t deadline)
{
    gor__lookup *l;
    int rc;
    if (!net || !addr || max < 1)
        return -EINVAL;
    if (net->family == AF_UNIX)
        return gor__addr_unix(addr, out);
    l = (gor__lookup *)gor__zalloc(sizeof *l);
    if (!l)
        return -ENOMEM;
    gor__au32_store_rlx(&l->refs, 1);
    l->hints.ai_family = net->family;
    l->hints.ai_socktype = net->type;
    l->hints.ai_flags = passive ? AI_PASSIVE : 0;
    rc = gor__addr_split(addr, l);
    if (rc == 0 && !gor__lookup_numeric(l))
        rc = gor__lookup_wait(l, deadline);
    if (rc == 0)
        rc = gor__lookup_take(l, out, max);
    gor__lookup_release(l);
    return rc;
}

int gor_resolve(const char *network, const char *addr, gor_addr *out, int max, int64_t deadline)
{
    int saved = gor__os_errno(), rc = -EINVAL;
    if (out)
        rc = gor__addrs(gor__network_of(network), addr, false, out, max, deadline);
    gor__os_set_errno(saved);
    return rc;
}

/* -- listening --------------------------------------------------------------------------------- */

/* A non-blocking socket for an address, or a negative errno. */
static int gor__socket(const gor_addr *a, int type)
{
    int fd = socket(a->sa.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd < 0 ? -gor__os_errno() : fd;
}

static int gor__listen_setup(int fd, const gor__network *net, const gor_addr *a, bool any,
                             int backlog)
{
    int on = 1, only = !(any && net->family == AF_UNSPEC);
    if (net->type == SOCK_STREAM && net->family != AF_UNIX)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (a->sa.ss_family == AF_INET6)               /* [::] for both families if none was named */
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
    if (bind(fd, (const struct sockaddr *)&a->sa, a->len) != 0)
        return -gor__os_errno();
    if (net->type == SOCK_STREAM && listen(fd, backlog > 0 ? backlog : SOMAXCONN) != 0)
        return -gor__os_errno();
    return 0;
}

/* A new socket of a network becomes ours. The fd, or -ENOMEM and it is closed. */
static int gor__socket_adopted(int fd, const gor__network *net)
{
    gor__m *m = gor__enter();
    int rc = gor__fd_adopted(fd, gor__socket_flags(fd, net->family, net->type));
    gor__leave(m);
    return rc;
}

static int gor__listen_one(const gor__network *net, const gor_addr *a, bool any, int backlog)
{
    int fd = gor__socket(a, net->type), rc;
    if (fd < 0)
        return fd;
    rc = gor__listen_setup(fd, net, a, any, backlog);
    if (rc != 0) {
        close(fd);
        return rc;
    }
    return gor__socket_adopted(fd, net);
}

int gor_listen(const char *network, const char *addr, int backlog)
{
    const gor__network *net = gor__network_of(network);
    gor_addr a[GOR__MAX_ADDRS];
    int saved = gor__os_errno(), rc;
    int n = rc = gor__addrs(net, addr, true, a, GOR__MAX_ADDRS, GOR_FOREVER);
    bool any = n > 0 && addr[0] == ':';
    for (int pass = 0; pass < 2 && n > 0; pass++)  /* [::] first: it hears both families */
        for (int i = 0; i < n; i++) {
            if (any && (a[i].sa.ss_family == AF_INET6) != (pass == 0))
                continue;
            rc = gor__listen_one(net, &a[i], any, backlog);
            if (rc >= 0)
                n = 0;
        }
    gor__os_set_errno(saved);
    return rc;
}

/* -- dialing ----------------------------------------------------------------------------------- */

/* Connect to one address. The fd, adopted, or a negative errno. */
static int gor__dial_one(const gor__network *net, const gor_addr *a, int64_t deadline)
{
    int fd = gor__socket(a, net->type), rc;
    if (fd < 0)
        return fd;
    rc = gor__socket_adopted(fd, net);
    if (rc < 0)
        return rc;
    rc = gor_connect_until(fd, (const struct sockaddr *)&a->sa, a->len, deadline);
    if (rc != 0) {
        gor_fd_close(fd);
        return rc;
    }
    if (net->type == SOCK_STREAM && net->family != AF_UNIX)
        gor__socket_no_delay(fd);
    return fd;
}

typedef struct gor__race {
    const gor__network *net;
    const gor_addr *a;
    int64_t   deadline;
    gor_chan *results;                 /* of int: an fd or an error; room for all              */
    gor_ctx  *ctx;
    int       next;                    /* the address to start with next                       */
} gor__race;

typedef struct gor__racer { gor__race *race; int i; } gor__racer;

static void gor__race_run(void *p)
{
    gor__racer *r = (gor__racer *)p;
    gor_addr a = r->race->a[r->i];                 /* the kernel is shown our own stack */
    int rc = gor__dial_one(r->race->net, &a, r->race->deadline);
    gor_ctx_enter(NULL);                           /* a cancelled one reports too */
    gor_chan_send(r->race->results, &rc, sizeof rc);
}

static int gor__race_start(gor__race *race)
{
    gor__racer r;
    gor__spec spec;
    r.race = race;
    r.i = race->next++;
    memset(&spec, 0, sizeof spec);
    spec.fn = gor__race_run;
    spec.site = "gor_dial\0";
    spec.copy = &r;
    spec.copy_size = sizeof r;
    spec.ctx = (gor__cancel *)(void *)race->ctx;
    return gor__go(&spec);
}

/* No result came, for rc: maybe it is only the turn of the next one, and nobody cancelled us in the
 * meantime. 0, or the error that ends the race. */
static int gor__race_ended(const gor__race *race, int rc)
{
    if (rc != -ETIMEDOUT || gor__os_now() >= race->deadline)
        return rc;
    gor__enter();
    rc = gor__own_ctx_err();
    gor__leave(gor__self());
    return rc;
}

/* Start them in turn until one has connected, or all have failed, or we have to end. Returns how
 * many have not reported. */
static int gor__race_watch(gor__race *race, int n, int *result)
{
    int running = 0, rc = 0;
    bool start = true;
    *result = 0;
    while ((start && race->next < n) || running > 0) {
        int64_t until = race->deadline, soon = gor__os_now() + GOR__DIAL_STAGGER;
        int got = 0;
        if (start && race->next < n) {
            rc = gor__race_start(race);
            if (rc != 0)
                break;
            running++;
        }
        if (race->next < n && soon < until)
            until = soon;
        rc = gor_chan_recv_until(race->results, &got, sizeof got, until);
        start = true;
        if (rc == 0) {
            running--;
            if (got >= 0 || *result == 0)
                *result = got;
            if (got >= 0)
                return running;
        } else {
            rc = gor__race_ended(race, rc);
            if (rc != 0)
                break;
        }
    }
    if (rc != 0)
        *result = rc;
    return running;
}

/* The late ones have been cancelled: wait for their word, whatever happens to us. */
static void gor__race_drain(gor__race *race, int running)
{
    gor_ctx *own = gor_ctx_enter(NULL);
    while (running-- > 0) {
        int got = -1;
        gor_chan_recv(race->results, &got, sizeof got);
        if (got >= 0)
            gor_fd_close(got);
    }
    gor_ctx_enter(own);
}

static int gor__dial_race(const gor__network *net, const gor_addr *a, int n, int64_t deadline)
{
    gor__race race;
    int result = -ENOMEM;
    race.net = net;
    race.a = a;
    race.deadline = deadline;
    race.next = 0;
    race.results = gor_chan_new(sizeof(int), (size_t)n);
    race.ctx = gor_ctx_with_cancel(NULL);
    if (race.results && race.ctx) {
        int running = gor__race_watch(&race, n, &result);
        gor_ctx_cancel(race.ctx, 0);
        gor__race_drain(&race, running);
    }
    gor_ctx_release(race.ctx);
    gor_chan_release(race.results);
    return result;
}

int gor_dial(const char *network, const char *addr, int64_t deadline)
{
    const gor__network *net = gor__network_of(network);
    gor_addr a[GOR__MAX_ADDRS];
    int saved = gor__os_errno(), rc;
    int n = rc = gor__addrs(net, addr, false, a, GOR__MAX_ADDRS, deadline);
    if (n > 1 && gor__self() && net->type == SOCK_STREAM)
        rc = gor__dial_race(net, a, n, deadline);
    else
        for (int i = 0; i < n; i++) {
            rc = gor__dial_one(net, &a[i], deadline);
            if (rc >= 0 || rc == -ETIMEDOUT || rc == -ECANCELED)
                break;
        }
    gor__os_set_errno(saved);
    return rc;
}

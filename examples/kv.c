/* kv: a key-value server that speaks the Redis protocol, one goroutine per connection.
 *
 *     kv [host:port]           default 127.0.0.1:6380
 *
 * PING ECHO GET SET [EX s | PX ms] [NX] DEL EXISTS INCR DECR INCRBY EXPIRE TTL DBSIZE FLUSHALL
 * PUBLISH SUBSCRIBE UNSUBSCRIBE QUIT. The keys lie in 64 shards, each under a mutex of its own;
 * what has expired is gone when it is looked at, and swept away once a second. A subscriber has a
 * queue and a goroutine that empties it; one that does not read is cut off.
 * Build: cc -O2 examples/kv.c -I. -pthread */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { SHARDS = 64, MAX_ARGS = 64, IN_SIZE = 16384, OUT_SIZE = 16384, QUEUE = 1024 };
#define MAX_VALUE ((size_t)64 << 20)

typedef struct text { char *p; size_t n; } text;

/* -- the store --------------------------------------------------------------------------------- */

struct entry {
    struct entry *next;
    uint64_t hash;
    int64_t  expires;                           /* gor_now() time; GOR_FOREVER: never */
    size_t   n_key, n_value;
    char    *value;
    char     key[];
};

struct shard {
    gor_mutex lock;
    struct entry **bucket;
    size_t n_buckets, n;
};

static struct shard shards[SHARDS];

static uint64_t hash_of(text k)
{
    uint64_t h = 1469598103934665603u;
    for (size_t i = 0; i < k.n; i++)
        h = (h ^ (unsigned char)k.p[i]) * 1099511628211u;
    return h ^ h >> 29;
}

static struct shard *shard_of(uint64_t hash) { return &shards[hash >> 58]; }

static void *must(void *p)
{
    if (!p)
        gor_panic("kv: out of memory");
    return p;
}

static void shard_grow(struct shard *s)
{
    size_t n = s->n_buckets ? s->n_buckets * 2 : 64;
    struct entry **bucket = must(calloc(n, sizeof *bucket));
    for (size_t i = 0; i < s->n_buckets; i++)
        for (struct entry *e = s->bucket[i], *next; e; e = next) {
            next = e->next;
            e->next = bucket[e->hash % n];
            bucket[e->hash % n] = e;
        }
    free(s->bucket);
    s->bucket = bucket;
    s->n_buckets = n;
}

static void entry_remove(struct shard *s, struct entry **at)
{
    struct entry *e = *at;
    *at = e->next;
    s->n--;
    free(e->value);
    free(e);
}

/* Where k's entry hangs, or NULL. Lock held. One that has expired is removed. */
static struct entry **find(struct shard *s, uint64_t hash, text k)
{
    struct entry **at = s->n_buckets ? &s->bucket[hash % s->n_buckets] : NULL;
    for (; at && *at; at = &(*at)->next) {
        struct entry *e = *at;
        if (e->hash != hash || e->n_key != k.n || memcmp(e->key, k.p, k.n) != 0)
            continue;
        if (e->expires != GOR_FOREVER && e->expires <= gor_now()) {
            entry_remove(s, at);
            return NULL;
        }
        return at;
    }
    return NULL;
}

/* Set k to v. Lock held. */
static struct entry *put(struct shard *s, uint64_t hash, text k, const char *v, size_t n)
{
    struct entry **at = find(s, hash, k), *e = at ? *at : NULL;
    char *value = must(malloc(n + 1));
    memcpy(value, v, n);
    if (!e) {
        if (s->n >= s->n_buckets)
            shard_grow(s);
        e = must(malloc(sizeof *e + k.n));
        e->hash = hash;
        e->n_key = k.n;
        e->value = NULL;
        memcpy(e->key, k.p, k.n);
        e->next = s->bucket[hash % s->n_buckets];
        s->bucket[hash % s->n_buckets] = e;
        s->n++;
    }
    free(e->value);
    e->value = value;
    e->n_value = n;
    e->expires = GOR_FOREVER;
    return e;
}

/* Remove what has expired, a shard at a time. */
static void sweep(void *arg)
{
    (void)arg;
    while (gor_sleep(GOR_SEC) == 0)
        for (int i = 0; i < SHARDS; i++) {
            struct shard *s = &shards[i];
            int64_t now = gor_now();
            gor_mutex_lock(&s->lock);
            for (size_t b = 0; b < s->n_buckets; b++)
                for (struct entry **at = &s->bucket[b]; *at;)
                    if ((*at)->expires <= now)
                        entry_remove(s, at);
                    else
                        at = &(*at)->next;
            gor_mutex_unlock(&s->lock);
        }
}

/* -- connections and answers ------------------------------------------------------------------- */

typedef struct message { size_t n; int refs; char text[]; } message;

struct subscription { struct subscription *next; text channel; };

struct conn {
    int      fd;
    bool     ends;
    char     in[IN_SIZE], *big, out[OUT_SIZE];  /* big: a request that does not fit in */
    size_t   n_in, at, n_big, n_out;
    text     arg[MAX_ARGS];
    int      n_args;
    struct subscription *subs;                  /* under hub.lock */
    struct conn *next;                          /* of those with subscriptions, likewise */
    int      n_subs;
    gor_chan *queue;                            /* of message *, for the writer */
    gor_wg   writer;
    gor_mutex writing;
};

static void flush(struct conn *c)
{
    gor_mutex_lock(&c->writing);
    if (c->n_out && gor_write_all(c->fd, c->out, c->n_out) < 0)
        c->ends = true;
    gor_mutex_unlock(&c->writing);
    c->n_out = 0;
}

static void reply(struct conn *c, const char *p, size_t n)
{
    while (n) {
        size_t part = OUT_SIZE - c->n_out < n ? OUT_SIZE - c->n_out : n;
        memcpy(c->out + c->n_out, p, part);
        c->n_out += part;
        p += part;
        n -= part;
        if (c->n_out == OUT_SIZE)
            flush(c);
    }
}

__attribute__((format(printf, 2, 3))) static void replyf(struct conn *c, const char *fmt, ...)
{
    char line[300];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    reply(c, line, n < (int)sizeof line ? (size_t)n : sizeof line - 1);
}

static void reply_bulk(struct conn *c, const char *p, size_t n)
{
    replyf(c, "$%zu\r\n", n);
    reply(c, p, n);
    reply(c, "\r\n", 2);
}

/* -- publish and subscribe --------------------------------------------------------------------- */

static struct { gor_mutex lock; struct conn *conns; } hub;

static bool same(text a, text b) { return a.n == b.n && memcmp(a.p, b.p, a.n) == 0; }

static void message_drop(message *m)
{
    if (__atomic_sub_fetch(&m->refs, 1, __ATOMIC_ACQ_REL) == 0)
        free(m);
}

/* A subscriber's writer. */
static void deliver(void *arg)
{
    struct conn *c = arg;
    message *m;
    while (gor_recv(c->queue, &m) == 0) {
        gor_mutex_lock(&c->writing);
        gor_write_all(c->fd, m->text, m->n);
        gor_mutex_unlock(&c->writing);
        message_drop(m);
    }
}

static int publish(text channel, text body)
{
    int n = 0;
    message *m = must(malloc(sizeof *m + channel.n + body.n + 100));
    m->n = (size_t)sprintf(m->text, "*3\r\n$7\r\nmessage\r\n$%zu\r\n", channel.n);
    memcpy(m->text + m->n, channel.p, channel.n);
    m->n += channel.n;
    m->n += (size_t)sprintf(m->text + m->n, "\r\n$%zu\r\n", body.n);
    memcpy(m->text + m->n, body.p, body.n);
    memcpy(m->text + m->n + body.n, "\r\n", 2);
    m->n += body.n + 2;
    m->refs = 1;
    gor_mutex_lock(&hub.lock);
    for (struct conn *c = hub.conns; c; c = c->next)
        for (struct subscription *s = c->subs; s; s = s->next)
            if (same(s->channel, channel)) {
                __atomic_add_fetch(&m->refs, 1, __ATOMIC_RELAXED);
                if (gor_try_send(c->queue, &m) == 0) {
                    n++;
                } else {                        /* it does not read: cut it off */
                    message_drop(m);
                    shutdown(c->fd, SHUT_RDWR);
                }
            }
    gor_mutex_unlock(&hub.lock);
    message_drop(m);
    return n;
}

static void subscribe(struct conn *c, text channel)
{
    struct subscription *s = must(malloc(sizeof *s + channel.n));
    s->channel.p = (char *)(s + 1);
    s->channel.n = channel.n;
    memcpy(s->channel.p, channel.p, channel.n);
    if (!c->queue) {
        c->queue = must(gor_chan_new(sizeof(message *), QUEUE));
        if (gor_wg_go(&c->writer, deliver, c) != 0)
            gor_panic("kv: no goroutine");
    }
    gor_mutex_lock(&hub.lock);
    if (!c->subs) {
        c->next = hub.conns;
        hub.conns = c;
    }
    s->next = c->subs;
    c->subs = s;
    c->n_subs++;
    gor_mutex_unlock(&hub.lock);
    replyf(c, "*3\r\n$9\r\nsubscribe\r\n");
    reply_bulk(c, channel.p, channel.n);
    replyf(c, ":%d\r\n", c->n_subs);
}

/* From one channel, or from all. */
static void unsubscribe(struct conn *c, const text *channel)
{
    gor_mutex_lock(&hub.lock);
    for (struct subscription **at = &c->subs; *at;) {
        struct subscription *s = *at;
        if (channel && !same(s->channel, *channel)) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        free(s);
        c->n_subs--;
    }
    if (!c->subs)
        for (struct conn **at = &hub.conns; *at; at = &(*at)->next)
            if (*at == c) {
                *at = c->next;
                break;
            }
    gor_mutex_unlock(&hub.lock);
}

/* -- commands ---------------------------------------------------------------------------------- */

static bool number(text t, int64_t *out)
{
    char s[32], *end;
    if (t.n == 0 || t.n >= sizeof s)
        return false;
    memcpy(s, t.p, t.n);
    s[t.n] = 0;
    errno = 0;
    *out = strtoll(s, &end, 10);
    return *end == 0 && errno == 0;
}

static bool is(text t, const char *word)
{
    return t.n == strlen(word) && strncasecmp(t.p, word, t.n) == 0;
}

static const char wrong_number[] = "-ERR value is not an integer or out of range\r\n";

static void do_set(struct conn *c)
{
    uint64_t hash = hash_of(c->arg[1]);
    struct shard *s = shard_of(hash);
    int64_t expires = GOR_FOREVER, n;
    bool only_new = false, there;
    for (int i = 3; i < c->n_args; i++) {
        bool ex = is(c->arg[i], "EX"), px = is(c->arg[i], "PX");
        if (is(c->arg[i], "NX")) {
            only_new = true;
        } else if ((ex || px) && i + 1 < c->n_args && number(c->arg[i + 1], &n) && n > 0 &&
                   n < 1000000000) {
            expires = gor_now() + n * (ex ? GOR_SEC : GOR_MS);
            i++;
        } else {
            replyf(c, "-ERR syntax error\r\n");
            return;
        }
    }
    gor_mutex_lock(&s->lock);
    there = only_new && find(s, hash, c->arg[1]);
    if (!there)
        put(s, hash, c->arg[1], c->arg[2].p, c->arg[2].n)->expires = expires;
    gor_mutex_unlock(&s->lock);
    reply(c, there ? "$-1\r\n" : "+OK\r\n", 5);
}

static void do_get(struct conn *c)
{
    uint64_t hash = hash_of(c->arg[1]);
    struct shard *s = shard_of(hash);
    struct entry **at;
    char *copy = NULL, small[1024];
    size_t n = 0;
    gor_mutex_lock(&s->lock);
    at = find(s, hash, c->arg[1]);
    if (at) {
        n = (*at)->n_value;
        copy = n > sizeof small ? must(malloc(n)) : small;
        memcpy(copy, (*at)->value, n);
    }
    gor_mutex_unlock(&s->lock);
    if (at)
        reply_bulk(c, copy, n);
    else
        reply(c, "$-1\r\n", 5);
    if (copy != small)
        free(copy);
}

static void do_incr(struct conn *c, int64_t by)
{
    uint64_t hash = hash_of(c->arg[1]);
    struct shard *s = shard_of(hash);
    int64_t n = 0, expires = GOR_FOREVER;
    char digits[32];
    bool ok = true;
    gor_mutex_lock(&s->lock);
    struct entry **at = find(s, hash, c->arg[1]);
    if (at) {
        text old = { (*at)->value, (*at)->n_value };
        expires = (*at)->expires;
        ok = number(old, &n);
    }
    ok = ok && !__builtin_add_overflow(n, by, &n);
    if (ok) {
        int len = snprintf(digits, sizeof digits, "%lld", (long long)n);
        put(s, hash, c->arg[1], digits, (size_t)len)->expires = expires;
    }
    gor_mutex_unlock(&s->lock);
    if (ok)
        replyf(c, ":%lld\r\n", (long long)n);
    else
        reply(c, wrong_number, sizeof wrong_number - 1);
}

/* Count, and remove if wanted, the keys that are there. */
static void do_keys(struct conn *c, bool remove)
{
    int n = 0;
    for (int i = 1; i < c->n_args; i++) {
        uint64_t hash = hash_of(c->arg[i]);
        struct shard *s = shard_of(hash);
        gor_mutex_lock(&s->lock);
        struct entry **at = find(s, hash, c->arg[i]);
        n += at != NULL;
        if (at && remove)
            entry_remove(s, at);
        gor_mutex_unlock(&s->lock);
    }
    replyf(c, ":%d\r\n", n);
}

static void do_expire(struct conn *c)
{
    uint64_t hash = hash_of(c->arg[1]);
    struct shard *s = shard_of(hash);
    int64_t seconds;
    if (!number(c->arg[2], &seconds) || seconds > 1000000000) {
        reply(c, wrong_number, sizeof wrong_number - 1);
        return;
    }
    gor_mutex_lock(&s->lock);
    struct entry **at = find(s, hash, c->arg[1]);
    if (at)
        (*at)->expires = seconds > 0 ? gor_now() + seconds * GOR_SEC : 0;
    gor_mutex_unlock(&s->lock);
    replyf(c, ":%d\r\n", at != NULL);
}

static void do_ttl(struct conn *c)
{
    uint64_t hash = hash_of(c->arg[1]);
    struct shard *s = shard_of(hash);
    int64_t left = -2;
    gor_mutex_lock(&s->lock);
    struct entry **at = find(s, hash, c->arg[1]);
    if (at)
        left = (*at)->expires == GOR_FOREVER ? -1
             : ((*at)->expires - gor_now() + GOR_SEC - 1) / GOR_SEC;
    gor_mutex_unlock(&s->lock);
    replyf(c, ":%lld\r\n", (long long)left);
}

static void do_all(struct conn *c, bool remove)
{
    size_t n = 0;
    for (int i = 0; i < SHARDS; i++) {
        struct shard *s = &shards[i];
        gor_mutex_lock(&s->lock);
        n += s->n;
        for (size_t b = 0; remove && b < s->n_buckets; b++)
            while (s->bucket[b])
                entry_remove(s, &s->bucket[b]);
        gor_mutex_unlock(&s->lock);
    }
    if (remove)
        reply(c, "+OK\r\n", 5);
    else
        replyf(c, ":%zu\r\n", n);
}

static void do_unsubscribe(struct conn *c)
{
    unsubscribe(c, c->n_args > 1 ? &c->arg[1] : NULL);
    replyf(c, "*3\r\n$11\r\nunsubscribe\r\n");
    reply_bulk(c, c->n_args > 1 ? c->arg[1].p : "", c->n_args > 1 ? c->arg[1].n : 0);
    replyf(c, ":%d\r\n", c->n_subs);
}

static void do_incrby(struct conn *c)
{
    int64_t by;
    if (number(c->arg[2], &by))
        do_incr(c, by);
    else
        reply(c, wrong_number, sizeof wrong_number - 1);
}

static void do_ping(struct conn *c)
{
    if (c->n_args > 1)
        reply_bulk(c, c->arg[1].p, c->arg[1].n);
    else
        reply(c, "+PONG\r\n", 7);
}

static void do_subscribe(struct conn *c)
{
    for (int i = 1; i < c->n_args; i++)
        subscribe(c, c->arg[i]);
}

static void do_incr1(struct conn *c)     { do_incr(c, 1); }
static void do_decr1(struct conn *c)     { do_incr(c, -1); }
static void do_del(struct conn *c)       { do_keys(c, true); }
static void do_exists(struct conn *c)    { do_keys(c, false); }
static void do_dbsize(struct conn *c)    { do_all(c, false); }
static void do_flush(struct conn *c)     { do_all(c, true); }
static void do_echo(struct conn *c)      { reply_bulk(c, c->arg[1].p, c->arg[1].n); }
static void do_publish(struct conn *c)   { replyf(c, ":%d\r\n", publish(c->arg[1], c->arg[2])); }
static void do_nothing(struct conn *c)   { reply(c, "*0\r\n", 4); }

/* redis-benchmark asks for two settings and prints them. */
static void do_config(struct conn *c)
{
    replyf(c, "*2\r\n");
    reply_bulk(c, c->arg[c->n_args - 1].p, c->arg[c->n_args - 1].n);
    reply_bulk(c, "", 0);
}

static void do_quit(struct conn *c)      { reply(c, "+OK\r\n", 5); c->ends = true; }

static const struct command {
    const char *name;
    int least, most;                            /* arguments, its name with them */
    void (*run)(struct conn *c);
} commands[] = {
    { "get", 2, 2, do_get },        { "set", 3, 6, do_set },
    { "del", 2, MAX_ARGS, do_del },  { "exists", 2, MAX_ARGS, do_exists },
    { "incr", 2, 2, do_incr1 },      { "decr", 2, 2, do_decr1 },
    { "incrby", 3, 3, do_incrby },   { "expire", 3, 3, do_expire },
    { "ttl", 2, 2, do_ttl },         { "ping", 1, 2, do_ping },
    { "echo", 2, 2, do_echo },       { "dbsize", 1, 1, do_dbsize },
    { "flushall", 1, 2, do_flush },  { "publish", 3, 3, do_publish },
    { "subscribe", 2, MAX_ARGS, do_subscribe }, { "unsubscribe", 1, 2, do_unsubscribe },
    { "quit", 1, 1, do_quit },
    { "command", 1, MAX_ARGS, do_nothing }, { "config", 2, MAX_ARGS, do_config }
};

static void run(struct conn *c)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        const struct command *k = &commands[i];
        if (!is(c->arg[0], k->name))
            continue;
        if (c->n_args < k->least || c->n_args > k->most)
            replyf(c, "-ERR wrong number of arguments for '%s' command\r\n", k->name);
        else
            k->run(c);
        return;
    }
    replyf(c, "-ERR unknown command '%.*s'\r\n",
           (int)(c->arg[0].n < 100 ? c->arg[0].n : 100), c->arg[0].p);
}

/* -- the protocol ------------------------------------------------------------------------------ */

enum parsed { MORE, DONE, WRONG };

/* A line's end, or NULL. */
static char *line_end(char *p, char *end)
{
    char *nl = memchr(p, '\n', (size_t)(end - p));
    return nl && nl > p && nl[-1] == '\r' ? nl - 1 : NULL;
}

/* "*3" or "$5": the number. */
static enum parsed parse_count(char **p, char *end, char mark, size_t most, size_t *n)
{
    char *eol = line_end(*p, end);
    text digits;
    int64_t value;
    if (!eol)
        return end - *p > 32 ? WRONG : MORE;
    digits.p = *p + 1;
    digits.n = (size_t)(eol - *p) - 1;
    if (**p != mark || !number(digits, &value) || value < 0 || (uint64_t)value > most)
        return WRONG;
    *n = (size_t)value;
    *p = eol + 2;
    return DONE;
}

/* One request from [p, end): arguments point into it. *next: behind it. */
static enum parsed parse(struct conn *c, char *p, char *end, char **next)
{
    size_t n, size;
    enum parsed r;
    c->n_args = 0;
    if (p == end)
        return MORE;
    if (*p != '*') {                            /* words on a line, by hand */
        char *eol = line_end(p, end), *word;
        if (!eol)
            return end - p > 1024 ? WRONG : MORE;
        for (*eol = 0; (word = strtok_r(p, " ", &p)) != NULL && c->n_args < MAX_ARGS;)
            c->arg[c->n_args++] = (text){ word, strlen(word) };
        *next = eol + 2;
        return DONE;
    }
    r = parse_count(&p, end, '*', MAX_ARGS, &n);
    for (size_t i = 0; r == DONE && i < n; i++) {
        if (p == end)
            return MORE;
        r = parse_count(&p, end, '$', MAX_VALUE, &size);
        if (r != DONE)
            break;
        if ((size_t)(end - p) < size + 2)
            return MORE;
        c->arg[c->n_args++] = (text){ p, size };
        p += size + 2;
    }
    *next = p;
    return r;
}

/* A request larger than the buffer: into a block that grows. False: the connection has ended. */
static bool read_big(struct conn *c)
{
    size_t cap = 4 * IN_SIZE, n = c->n_in - c->at;
    char *next;
    enum parsed r = MORE;
    c->big = must(malloc(cap));
    memcpy(c->big, c->in + c->at, n);
    while (r == MORE) {
        ssize_t got;
        if (n == cap)
            c->big = must(realloc(c->big, cap *= 2));
        got = cap > 2 * MAX_VALUE ? -EMSGSIZE : gor_read(c->fd, c->big + n, cap - n);
        if (got <= 0)
            break;
        n += (size_t)got;
        r = parse(c, c->big, c->big + n, &next);
    }
    if (r == DONE && c->n_args) {
        run(c);
        c->n_in = (size_t)(c->big + n - next);
        r = c->n_in <= IN_SIZE ? DONE : WRONG;
        if (r == DONE)
            memcpy(c->in, next, c->n_in);
        c->at = 0;
    }
    free(c->big);
    c->big = NULL;
    return r == DONE;
}

static void converse(struct conn *c)
{
    while (!c->ends) {
        char *next;
        ssize_t n;
        enum parsed r = parse(c, c->in + c->at, c->in + c->n_in, &next);
        if (r == DONE) {
            if (c->n_args)
                run(c);
            c->at = (size_t)(next - c->in);
            continue;
        }
        if (r == WRONG) {
            replyf(c, "-ERR Protocol error\r\n");
            break;
        }
        flush(c);                               /* nothing more to answer at once */
        if (c->at == 0 && c->n_in == IN_SIZE) {
            if (!read_big(c))
                break;
            continue;
        }
        memmove(c->in, c->in + c->at, c->n_in - c->at);
        c->n_in -= c->at;
        c->at = 0;
        n = gor_read(c->fd, c->in + c->n_in, IN_SIZE - c->n_in);
        if (n <= 0)
            break;
        c->n_in += (size_t)n;
    }
    flush(c);
}

/* The writer ends when its queue is closed and empty; a write of its that waits ends at the
 * shutdown. */
static void serve(void *arg)
{
    struct conn *c = must(calloc(1, sizeof *c));
    c->fd = (int)(intptr_t)arg;
    converse(c);
    unsubscribe(c, NULL);
    shutdown(c->fd, SHUT_RDWR);
    if (c->queue) {
        message *m;
        while (gor_try_recv(c->queue, &m) == 0)
            message_drop(m);
        gor_chan_close(c->queue);
        gor_wg_wait(&c->writer);
        gor_chan_release(c->queue);
    }
    gor_fd_close(c->fd);
    free(c);
}

static void accept_all(void *arg)
{
    int l = (int)(intptr_t)arg, fd;
    while ((fd = gor_accept(l, NULL, NULL)) != -EBADF)
        if (fd < 0)
            gor_sleep(10 * GOR_MS);
        else if (gor_go(serve, (void *)(intptr_t)fd) != 0)
            gor_fd_close(fd);
}

GOR_MAIN
{
    const char *addr = argc > 1 ? argv[1] : "127.0.0.1:6380";
    const int sigs[] = { SIGTERM, SIGINT };
    gor_chan *quit = must(gor_chan_new(sizeof(int), 1));
    int l = gor_listen("tcp", addr, 0), sig;
    if (l < 0) {
        fprintf(stderr, "kv: %s: %s\n", addr, gor_strerror(l));
        return 1;
    }
    gor_signal_notify(quit, sigs, 2);
    gor_go(sweep, NULL);
    gor_go(accept_all, (void *)(intptr_t)l);
    fprintf(stderr, "kv: listening on %s\n", addr);
    gor_recv(quit, &sig);
    gor_fd_close(l);
    gor_signal_stop(quit);
    gor_chan_release(quit);
    return 0;
}

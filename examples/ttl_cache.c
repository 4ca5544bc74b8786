/* ttl_cache: a cache whose entries expire. Goroutines read and write it at once under a read-write
 * lock, while a cleanup goroutine empties the slots that are too old at every tick.
 * Build: cc -O2 examples/ttl_cache.c -I. -pthread */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <stdio.h>

enum { SLOTS = 512, USERS = 4, KEYS = 100 };     /* KEYS for each user */

struct cache {
    gor_rwmutex lock;                  /* guards the slots */
    struct slot {
        int key, value;
        int64_t expires;               /* absolute ns; 0: empty */
    } slot[SLOTS];
    gor_chan *swept;                   /* int: how many entries a sweep dropped */
    gor_ctx *ctx;                      /* done: the cleanup goroutine ends */
};

static void must(int rc)
{
    if (rc != 0)
        gor_panic("ttl_cache: %s", gor_strerror(rc));
}

/* Keep value for ttl ns; a key with the same slot is pushed out. */
static void put(struct cache *c, int key, int value, int64_t ttl)
{
    must(gor_rwmutex_lock(&c->lock));
    c->slot[key % SLOTS] = (struct slot){ key, value, gor_now() + ttl };
    gor_rwmutex_unlock(&c->lock);
}

/* True, and *value set, if the key is there and has not expired. */
static bool get(struct cache *c, int key, int *value)
{
    struct slot s;

    must(gor_rwmutex_rlock(&c->lock));
    s = c->slot[key % SLOTS];
    gor_rwmutex_runlock(&c->lock);
    *value = s.value;
    return s.key == key && s.expires > gor_now();
}

/* Empty the slots that expire before t. Returns how many. */
static int sweep(struct cache *c, int64_t t)
{
    int n = 0;

    must(gor_rwmutex_lock(&c->lock));
    for (int i = 0; i < SLOTS; i++)
        if (c->slot[i].expires != 0 && c->slot[i].expires < t) {
            c->slot[i].expires = 0;
            n++;
        }
    gor_rwmutex_unlock(&c->lock);
    return n;
}

static void cleanup(void *arg)
{
    struct cache *c = arg;
    gor_ticker ticker = {0};
    gor_chan *tick = gor_ticker_start(&ticker, 5 * GOR_MS);
    int64_t now;
    int rc = 0;

    if (tick == NULL)
        gor_panic("no ticker");
    gor_ctx_enter(c->ctx);             /* when it is done, the receive or the send below ends */
    while (rc == 0 && gor_recv(tick, &now) == 0) {
        int n = sweep(c, now);
        rc = gor_send(c->swept, &n);
    }
    gor_ticker_stop(&ticker);
}

static void writer(struct cache *c, int first, gor_wg *wg)
{
    for (int key = first; key < first + KEYS; key++)
        put(c, key, 2 * key, 10 * GOR_MS);
    gor_wg_done(wg);
}

static void reader(struct cache *c, gor_wg *wg)
{
    for (int key = 0, value; key < USERS * KEYS; key++)
        if (get(c, key, &value) && value != 2 * key)
            gor_panic("key %d has the value of another", key);
    gor_wg_done(wg);
}

GOR_MAIN
{
    static struct cache c;
    const int forever = USERS * KEYS;
    gor_wg users = {0}, cleaner = {0};
    int n = 0, value = 0;

    c.swept = gor_chan_new(sizeof(int), 0);
    c.ctx = gor_ctx_with_cancel(NULL);
    if (c.swept == NULL || c.ctx == NULL)
        return 1;
    put(&c, forever, 7, 3600 * GOR_SEC);
    must(gor_wg_go(&cleaner, cleanup, &c));
    gor_wg_add(&users, 2 * USERS);
    for (int i = 0; i < USERS; i++) {
        must(GOR_GO(writer, &c, i * KEYS, &users));
        must(GOR_GO(reader, &c, &users));
    }
    for (int expired = 0; expired < USERS * KEYS; expired += n)
        must(gor_recv(c.swept, &n));
    must(gor_wg_wait(&users));
    printf("%d entries written, read meanwhile, and expired\n", USERS * KEYS);
    if (get(&c, forever, &value))
        printf("the one with an hour to live is still there: %d\n", value);

    gor_ctx_cancel(c.ctx, 0);
    must(gor_wg_wait(&cleaner));
    gor_chan_release(c.swept);
    gor_ctx_release(c.ctx);
    return 0;
}

/* scrape: fetches many pages at once through libcurl's multi interface.
 *
 *     scrape [-w workers] [-r per-host rate] [-t seconds] [-n retries] [-m max bytes] < urls
 *
 * A pool of workers takes URLs from a channel; each host has a rate limit of its own; a page has a
 * time and a size; what failed for a reason that may pass is tried again, later each time. Ctrl-C
 * cancels what is under way and reports what there is. A line per page goes to stdout, progress to
 * stderr. libcurl says which sockets it waits for, and gor_wait_fd waits.
 * Build: cc -O2 examples/scrape.c -I. -lcurl -pthread */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <curl/curl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { URL_SIZE = 1024, MAX_SOCKETS = 16 };

static struct {
    int     workers, retries;
    double  rate;
    int64_t patience;
    size_t  most;                               /* bytes of a page */
} opt = { 8, 2, 100, 5 * GOR_SEC, 1 << 20 };

struct url { char text[URL_SIZE]; };

struct page {
    const char *error;
    long     status;
    size_t   n;
    int      tries;
    bool     again;                             /* the reason may pass */
};

static gor_chan *urls;                          /* of struct url */
static gor_ctx *ctx;
static _Atomic long n_read, n_ok, n_failed, n_retried;
static _Atomic size_t n_bytes;

/* -- hosts: a rate limit each ------------------------------------------------------------------ */

struct host {
    struct host *next;
    gor_limiter limiter;
    char name[];
};

static struct { gor_mutex lock; struct host *list; } hosts;

static gor_limiter *limiter_of(const char *url)
{
    const char *name = strstr(url, "://") ? strstr(url, "://") + 3 : url;
    size_t n = strcspn(name, "/?#");
    struct host *h;
    gor_mutex_lock(&hosts.lock);
    for (h = hosts.list; h; h = h->next)
        if (strlen(h->name) == n && memcmp(h->name, name, n) == 0)
            break;
    if (!h && (h = malloc(sizeof *h + n + 1)) != NULL) {
        memcpy(h->name, name, n);
        h->name[n] = 0;
        gor_limiter_init(&h->limiter, opt.rate, 5);
        h->next = hosts.list;
        hosts.list = h;
    }
    gor_mutex_unlock(&hosts.lock);
    return h ? &h->limiter : NULL;
}

/* -- one transfer: libcurl's sockets and its timer --------------------------------------------- */

struct transfer {
    CURLM  *multi;
    CURL   *easy;
    struct { curl_socket_t fd; int what; } want[MAX_SOCKETS];
    int     n_want;
    int64_t timer;                              /* when libcurl wants to be called anyway */
    size_t  n;
    bool    too_large;
};

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
{
    struct transfer *t = arg;
    int i = 0;
    (void)easy, (void)unused;
    while (i < t->n_want && t->want[i].fd != fd)
        i++;
    if (what == CURL_POLL_REMOVE) {
        if (i < t->n_want)
            t->want[i] = t->want[--t->n_want];
    } else if (i < MAX_SOCKETS) {
        t->want[i].fd = fd;
        t->want[i].what = (what & CURL_POLL_IN ? GOR_READ : 0) |
                          (what & CURL_POLL_OUT ? GOR_WRITE : 0);
        if (i == t->n_want)
            t->n_want++;
    }
    return 0;
}

static int on_timer(CURLM *multi, long ms, void *arg)
{
    struct transfer *t = arg;
    (void)multi;
    t->timer = ms < 0 ? GOR_FOREVER : gor_now() + ms * GOR_MS;
    return 0;
}

static size_t on_data(char *p, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    (void)p;
    t->n += size * n;
    t->too_large = t->n > opt.most;
    return t->too_large ? 0 : size * n;
}

/* Wait for libcurl's sockets or its timer, and tell it. 0, or why not. */
static int transfer_step(struct transfer *t, int64_t deadline)
{
    gor_case cases[2 * MAX_SOCKETS + 1];
    int n = 0, which[2 * MAX_SOCKETS + 1], running, i;
    for (int k = 0; k < t->n_want; k++) {
        int fd = (int)t->want[k].fd;
        which[n] = fd << 1;
        if (t->want[k].what & GOR_READ)
            cases[n++] = gor_on_readable(fd);
        which[n] = fd << 1 | 1;
        if (t->want[k].what & GOR_WRITE)
            cases[n++] = gor_on_writable(fd);
    }
    cases[n] = gor_on_deadline(t->timer < deadline ? t->timer : deadline);
    i = gor_select_n(cases, (size_t)n + 1);
    if (i < 0)
        return i;
    if (gor_now() >= deadline)
        return -ETIMEDOUT;
    if (i == n) {
        t->timer = GOR_FOREVER;
        curl_multi_socket_action(t->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    } else {
        curl_multi_socket_action(t->multi, which[i] >> 1,
                                 which[i] & 1 ? CURL_CSELECT_OUT : CURL_CSELECT_IN, &running);
    }
    return 0;
}

static void transfer_run(struct transfer *t, struct page *page)
{
    int64_t deadline = gor_now() + opt.patience;
    int rc = 0, left;
    CURLMsg *m;
    while (rc == 0) {
        while ((m = curl_multi_info_read(t->multi, &left)) != NULL)
            if (m->msg == CURLMSG_DONE) {
                page->error = m->data.result == CURLE_OK ? NULL
                            : t->too_large ? "too large" : curl_easy_strerror(m->data.result);
                page->again = m->data.result != CURLE_OK && !t->too_large;
                curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &page->status);
                if (!page->error && page->status >= 500)
                    page->again = true;
                return;
            }
        rc = transfer_step(t, deadline);
    }
    page->error = rc == -ETIMEDOUT ? "too slow" : gor_strerror(rc);
    page->again = rc == -ETIMEDOUT;
}

static void fetch(const char *url, struct page *page)
{
    struct transfer t = { .multi = curl_multi_init(), .easy = curl_easy_init() };
    t.timer = gor_now();
    page->error = "out of memory";
    page->again = false;
    page->status = 0;
    if (t.multi && t.easy) {
        curl_multi_setopt(t.multi, CURLMOPT_SOCKETFUNCTION, on_socket);
        curl_multi_setopt(t.multi, CURLMOPT_SOCKETDATA, &t);
        curl_multi_setopt(t.multi, CURLMOPT_TIMERFUNCTION, on_timer);
        curl_multi_setopt(t.multi, CURLMOPT_TIMERDATA, &t);
        curl_easy_setopt(t.easy, CURLOPT_URL, url);
        curl_easy_setopt(t.easy, CURLOPT_WRITEFUNCTION, on_data);
        curl_easy_setopt(t.easy, CURLOPT_WRITEDATA, &t);
        curl_easy_setopt(t.easy, CURLOPT_FOLLOWLOCATION, 1L);
        curl_easy_setopt(t.easy, CURLOPT_MAXREDIRS, 5L);
        curl_easy_setopt(t.easy, CURLOPT_NOSIGNAL, 1L);
        curl_multi_add_handle(t.multi, t.easy);
        transfer_run(&t, page);
        curl_multi_remove_handle(t.multi, t.easy);
    }
    page->n = t.n;
    curl_easy_cleanup(t.easy);
    curl_multi_cleanup(t.multi);
}

/* -- workers ----------------------------------------------------------------------------------- */

/* Until it is there, or there is no use, or the tries are used up. */
static void fetch_patiently(const char *url, struct page *page)
{
    gor_limiter *limiter = limiter_of(url);
    for (page->tries = 1;; page->tries++) {
        if (limiter && gor_limiter_wait(limiter, 1) != 0) {
            page->error = "cancelled";
            return;
        }
        fetch(url, page);
        if (!page->again || page->tries > opt.retries || gor_ctx_err(ctx) != 0)
            return;
        atomic_fetch_add(&n_retried, 1);
        gor_sleep((100 * GOR_MS) << page->tries);
    }
}

static void work(void *arg)
{
    struct url u;
    (void)arg;
    while (gor_recv(urls, &u) == 0) {
        struct page page = { 0 };
        fetch_patiently(u.text, &page);
        atomic_fetch_add(page.error || page.status >= 400 ? &n_failed : &n_ok, 1);
        atomic_fetch_add(&n_bytes, page.n);
        if (page.error)
            printf("- %s: %s after %d\n", u.text, page.error, page.tries);
        else
            printf("%ld %s: %zu bytes after %d\n", page.status, u.text, page.n, page.tries);
    }
}

static int read_line(void *arg)
{
    struct url *u = arg;
    return fgets(u->text, sizeof u->text, stdin) != NULL;
}

/* stdin may be a terminal or a pipe: reading it blocks a thread, not a processor. */
static void read_urls(void *arg)
{
    struct url u;
    (void)arg;
    while (gor_block(read_line, &u)) {
        u.text[strcspn(u.text, "\r\n")] = 0;
        if (!u.text[0] || u.text[0] == '#')
            continue;
        atomic_fetch_add(&n_read, 1);
        if (gor_send(urls, &u) != 0)
            break;
    }
    gor_chan_close(urls);
}

static void show_progress(void *arg)
{
    char byte;
    while (gor_select(gor_on_recv((gor_chan *)arg, &byte), gor_on_after(GOR_SEC / 2)) == 1)
        fprintf(stderr, "\r%ld of %ld, %ld failed, %ld retries, %zu KB ",
                atomic_load(&n_ok) + atomic_load(&n_failed), atomic_load(&n_read),
                atomic_load(&n_failed), atomic_load(&n_retried), atomic_load(&n_bytes) / 1024);
    fprintf(stderr, "\n");
}

static bool options(int argc, char **argv)
{
    int o;
    while ((o = getopt(argc, argv, "w:r:t:n:m:")) != -1)
        switch (o) {
        case 'w': opt.workers = atoi(optarg); break;
        case 'r': opt.rate = atof(optarg); break;
        case 't': opt.patience = (int64_t)(atof(optarg) * 1e9); break;
        case 'n': opt.retries = atoi(optarg); break;
        case 'm': opt.most = (size_t)atol(optarg); break;
        default:  return false;
        }
    return opt.workers > 0 && opt.rate > 0 && opt.patience > 0;
}

GOR_MAIN
{
    const int sigs[] = { SIGINT, SIGTERM };
    gor_wg wg = { 0 }, progress = { 0 };
    gor_chan *done = gor_chan_new(1, 0);
    if (!options(argc, argv)) {
        fprintf(stderr, "usage: scrape [-w n] [-r rate] [-t s] [-n retries] [-m bytes] < urls\n");
        return 2;
    }
    curl_global_init(CURL_GLOBAL_DEFAULT);
    urls = gor_chan_new(sizeof(struct url), 16);
    ctx = gor_signal_ctx(NULL, sigs, 2);
    if (!urls || !ctx || !done)
        return 1;
    gor_wg_go(&progress, show_progress, done);
    gor_ctx_enter(ctx);                         /* those that start now end with it */
    gor_go(read_urls, NULL);
    for (int i = 0; i < opt.workers; i++)
        gor_wg_go(&wg, work, NULL);
    gor_ctx_enter(NULL);
    gor_wg_wait(&wg);
    gor_chan_close(done);
    gor_wg_wait(&progress);
    printf("%ld ok, %ld failed, %ld retries, %zu bytes%s\n", atomic_load(&n_ok),
           atomic_load(&n_failed), atomic_load(&n_retried), atomic_load(&n_bytes),
           gor_ctx_err(ctx) ? ", interrupted" : "");
    gor_ctx_cancel(ctx, 0);
    gor_ctx_release(ctx);
    return 0;
}

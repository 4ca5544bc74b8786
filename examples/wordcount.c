/* wordcount: the most frequent words in a tree of files, by all cores.
 *
 *     walk --paths--> readers --chunks--> counters --tables--> merge, sort, print
 *      (1)              (n)                 (n)                      (main)
 *
 * A word is a longest run of the letters A-Z and a-z, in lower case; words of one letter do not
 * count. Only regular files are read. Symbolic links are not followed, but for TREE itself.
 * Every value sent over a channel belongs to who receives it. Ctrl-C cancels the context, which
 * ends every wait of the stages; what has been counted by then is reported as a partial result.
 *
 * Use:   wordcount [--counts FILE] [TREE]       TREE: /usr/include; FILE gets every word's count
 * Exit:  0; 1 an error; 2 wrong use; 130 interrupted
 * Build: cc -O2 examples/wordcount.c -I. -pthread */
#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700
#endif
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MIN_WORD   = 2,                    /* letters                                              */
    TOP        = 20,                   /* words to print                                       */
    CHUNK_SIZE = 64 * 1024,            /* bytes read at once                                   */
    ARENA_SIZE = 64 * 1024,            /* bytes of words allocated at once                     */
    AT_EOF     = 1                     /* a result of fill: this chunk is the file's last one  */
};

/* ---- the text of a file, in pieces that end where a word ends ------------------------------- */

struct chunk {
    size_t len, cap;
    char   text[];
};

static struct chunk *chunk_new(size_t cap)
{
    struct chunk *c = malloc(sizeof *c + cap);

    if (c != NULL) {
        c->len = 0;
        c->cap = cap;
    }
    return c;
}

/* The letter in lower case; 0 if it is none. */
static char letter(char c)
{
    unsigned lower = (unsigned char)c | 0x20u;

    return lower - 'a' < 26u ? (char)lower : '\0';
}

/* ---- word counts: open addressing, the words in an arena ------------------------------------ */

struct word {
    const char *text;                  /* NULL: the slot is free */
    uint32_t    len, hash;
    uint64_t    count;
};

struct block {
    struct block *next;
    char text[];
};

struct table {
    struct word  *slot;
    size_t        n, cap;              /* cap is 0 or a power of two, n at most half of it */
    struct block *blocks;
    size_t        room;                /* bytes left at the end of the first block */
    char         *free_text;           /* and where they are */
};

static void table_free(struct table *t)
{
    struct block *next;

    if (t == NULL)
        return;
    for (struct block *b = t->blocks; b != NULL; b = next) {
        next = b->next;
        free(b);
    }
    free(t->slot);
    free(t);
}

/* The slot of a word, or the free one where it would go. */
static struct word *table_find(const struct table *t, const char *text, size_t len, uint32_t hash)
{
    size_t mask = t->cap - 1;

    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        struct word *w = &t->slot[i];

        if (w->text == NULL)
            return w;
        if (w->hash == hash && w->len == len && memcmp(w->text, text, len) == 0)
            return w;
    }
}

static int table_grow(struct table *t)
{
    struct table bigger = { .cap = t->cap == 0 ? 1024 : 2 * t->cap };

    bigger.slot = calloc(bigger.cap, sizeof *bigger.slot);
    if (bigger.slot == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < t->cap; i++) {
        const struct word *w = &t->slot[i];

        if (w->text != NULL)
            *table_find(&bigger, w->text, w->len, w->hash) = *w;
    }
    free(t->slot);
    t->slot = bigger.slot;
    t->cap = bigger.cap;
    return 0;
}

/* A copy of the word, with a NUL, that lives as long as the table. NULL: out of memory. */
static char *table_keep(struct table *t, const char *text, size_t len)
{
    char *copy;

    if (t->room < len + 1) {
        size_t size = len + 1 > ARENA_SIZE ? len + 1 : ARENA_SIZE;
        struct block *b = malloc(sizeof *b + size);

        if (b == NULL)
            return NULL;
        b->next = t->blocks;
        t->blocks = b;
        t->free_text = b->text;
        t->room = size;
    }
    copy = memcpy(t->free_text, text, len);
    copy[len] = '\0';
    t->free_text += len + 1;
    t->room -= len + 1;
    return copy;
}

/* Count a word n times more. Returns 0; -ENOMEM. */
static int table_add(struct table *t, const char *text, size_t len, uint32_t hash, uint64_t n)
{
    struct word *w;

    if (len > UINT32_MAX - 1 || (2 * t->n >= t->cap && table_grow(t) != 0))
        return -ENOMEM;
    w = table_find(t, text, len, hash);
    if (w->text == NULL) {
        if ((w->text = table_keep(t, text, len)) == NULL)
            return -ENOMEM;
        w->len = (uint32_t)len;
        w->hash = hash;
        t->n++;
    }
    w->count += n;
    return 0;
}

static int table_merge(struct table *to, const struct table *from)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < from->cap; i++) {
        const struct word *w = &from->slot[i];

        if (w->text != NULL)
            rc = table_add(to, w->text, w->len, w->hash, w->count);
    }
    return rc;
}

/* Transform and filter: count the words of a chunk, made lower-case in place (FNV-1a hashes). */
static int table_count(struct table *t, struct chunk *c)
{
    char *p = c->text, *end = c->text + c->len;
    int rc = 0;

    while (rc == 0 && p < end) {
        char *word = p, ch;
        uint32_t hash = 2166136261u;

        for (; p < end && (ch = letter(*p)) != '\0'; p++) {
            *p = ch;
            hash = (hash ^ (unsigned char)ch) * 16777619u;
        }
        if (p - word >= MIN_WORD)
            rc = table_add(t, word, (size_t)(p - word), hash, 1);
        while (p < end && letter(*p) == '\0')
            p++;
    }
    return rc;
}

/* ---- what the stages share ------------------------------------------------------------------ */

struct run {
    const char   *tree;
    gor_ctx      *ctx;                 /* done: stop. Its cause is the run's result               */
    gor_chan     *paths;               /* char *          walk -> readers                         */
    gor_chan     *chunks;              /* struct chunk *  readers -> counters                     */
    gor_chan     *tables;              /* struct table *  counters -> main; holds one for each    */
    gor_chan     *finished;            /* closed by main: no more progress to show                */
    gor_wg        walking, reading, counting, showing;
    atomic_size_t files, bytes, unreadable;
    int64_t       start;
};

/* Something went wrong: everybody stops. The first cause counts. */
static void fail(struct run *r, int rc)
{
    gor_ctx_cancel(r->ctx, rc);
}

/* ---- walk: the paths of all regular files --------------------------------------------------- */

struct list {
    char **item;
    size_t n, cap;
};

static void list_free(struct list *l)
{
    while (l->n > 0)
        free(l->item[--l->n]);
    free(l->item);
}

/* Append item, which is the list's from now on, whatever the result. */
static int list_push(struct list *l, char *item)
{
    if (item != NULL && l->n == l->cap) {
        size_t cap = l->cap == 0 ? 64 : 2 * l->cap;
        char **bigger = realloc(l->item, cap * sizeof *bigger);

        if (bigger == NULL) {
            free(item);
            return -ENOMEM;
        }
        l->item = bigger;
        l->cap = cap;
    }
    if (item == NULL)
        return -ENOMEM;
    l->item[l->n++] = item;
    return 0;
}

static char *join_path(const char *dir, const char *name)
{
    size_t n = strlen(dir), size = n + strlen(name) + 2;
    char *path = malloc(size);

    if (path != NULL)
        snprintf(path, size, n > 0 && dir[n - 1] == '/' ? "%s%s" : "%s/%s", dir, name);
    return path;
}

struct listing {
    const char  *dir;
    struct list *files, *dirs;         /* what is in dir is appended here */
    size_t       unreadable;
};

static int list_entry(struct listing *l, const char *name)
{
    struct list *to = NULL;
    struct stat st;
    char *path;

    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return 0;
    path = join_path(l->dir, name);
    if (path == NULL)
        return -ENOMEM;
    if (lstat(path, &st) == 0)
        to = S_ISREG(st.st_mode) ? l->files : S_ISDIR(st.st_mode) ? l->dirs : NULL;
    if (to != NULL)
        return list_push(to, path);
    free(path);
    return 0;
}

/* Runs under gor_block: it may wait for the disk. */
static int list_dir(void *arg)
{
    struct listing *l = arg;
    DIR *d = opendir(l->dir);
    const struct dirent *e;
    int rc = 0;

    if (d == NULL) {
        l->unreadable++;
        return 0;
    }
    while (rc == 0 && (errno = 0, e = readdir(d)) != NULL)
        rc = list_entry(l, e->d_name);
    if (rc == 0 && errno != 0)
        l->unreadable++;
    closedir(d);
    return rc;
}

static int send_paths(struct run *r, struct list *files)
{
    int rc = 0;

    while (rc == 0 && files->n > 0) {
        rc = gor_send(r->paths, &files->item[files->n - 1]);
        if (rc == 0)
            files->n--;
    }
    return rc;
}

static void walk(void *arg)
{
    struct run *r = arg;
    struct list files = {0}, dirs = {0};
    struct stat st;
    int rc = stat(r->tree, &st) == 0 ? 0 : -errno;

    gor_ctx_enter(r->ctx);
    if (rc == 0)
        rc = list_push(S_ISDIR(st.st_mode) ? &dirs : &files, strdup(r->tree));
    if (rc == 0)
        rc = send_paths(r, &files);
    while (rc == 0 && dirs.n > 0) {
        char *dir = dirs.item[--dirs.n];
        struct listing l = { .dir = dir, .files = &files, .dirs = &dirs };

        rc = gor_block(list_dir, &l);
        free(dir);
        atomic_fetch_add(&r->unreadable, l.unreadable);
        if (rc == 0)
            rc = send_paths(r, &files);
    }
    if (rc != 0)
        fail(r, rc);
    list_free(&files);
    list_free(&dirs);
    gor_chan_close(r->paths);
}

/* ---- read: files into chunks ---------------------------------------------------------------- */

struct source {
    const char   *path;
    int           fd;                  /* -1: not open yet */
    struct chunk *chunk;               /* being filled     */
};

/* Runs under gor_block. Returns 0 the chunk is full; AT_EOF; or a negative errno. */
static int fill(void *arg)
{
    struct source *s = arg;
    struct chunk *c = s->chunk;
    ssize_t n;

    if (s->fd < 0)
        s->fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (s->fd < 0)
        return -errno;
    while (c->len < c->cap) {
        n = read(s->fd, c->text + c->len, c->cap - c->len);
        if (n == 0)
            return AT_EOF;
        if (n > 0)
            c->len += (size_t)n;
        else if (errno != EINTR)
            return -errno;
    }
    return 0;
}

/* Send s->chunk; a word that its end cuts in two goes into a new chunk, with room for more. */
static int send_whole_words(struct run *r, struct source *s)
{
    struct chunk *full = s->chunk, *next;
    size_t cut = full->len, rest;
    int rc;

    while (cut > 0 && letter(full->text[cut - 1]) != '\0')
        cut--;
    rest = full->len - cut;
    next = chunk_new(2 * rest > CHUNK_SIZE ? 2 * rest : CHUNK_SIZE);
    if (next == NULL)
        return -ENOMEM;
    memcpy(next->text, full->text + cut, rest);
    next->len = rest;
    full->len = cut;

    rc = gor_send(r->chunks, &full);
    if (rc != 0)
        free(full);
    s->chunk = next;
    return rc;
}

/* Returns 0, also for a file that cannot be read; -ENOMEM; -ECANCELED. */
static int read_file(struct run *r, const char *path)
{
    struct source s = { .path = path, .fd = -1, .chunk = chunk_new(CHUNK_SIZE) };
    int rc = s.chunk == NULL ? -ENOMEM : 0, filled = 0;

    while (rc == 0 && filled == 0) {
        size_t before = s.chunk->len;

        filled = gor_block(fill, &s);
        atomic_fetch_add(&r->bytes, s.chunk->len - before);
        if (filled == 0)
            rc = send_whole_words(r, &s);
    }
    if (s.fd >= 0)
        close(s.fd);
    if (rc == 0)
        atomic_fetch_add(filled == AT_EOF ? &r->files : &r->unreadable, 1);
    if (rc == 0 && (rc = gor_send(r->chunks, &s.chunk)) == 0)
        return 0;
    free(s.chunk);
    return rc;
}

static void read_files(void *arg)
{
    struct run *r = arg;
    char *path;
    int rc = 0;

    gor_ctx_enter(r->ctx);
    while (rc == 0 && gor_recv(r->paths, &path) == 0) {
        rc = read_file(r, path);
        free(path);
    }
    if (rc != 0)
        fail(r, rc);
}

/* ---- count ---------------------------------------------------------------------------------- */

static void count_chunks(void *arg)
{
    struct run *r = arg;
    struct table *t = calloc(1, sizeof *t);
    struct chunk *c;
    int rc = t == NULL ? -ENOMEM : 0;

    gor_ctx_enter(r->ctx);
    while (rc == 0 && gor_recv(r->chunks, &c) == 0) {
        rc = table_count(t, c);
        free(c);
    }
    if (rc != 0)
        fail(r, rc);
    gor_ctx_enter(NULL);               /* cancelled or not, hand in what there is */
    if (t != NULL && gor_send(r->tables, &t) != 0)
        table_free(t);
}

/* ---- progress, and Ctrl-C ------------------------------------------------------------------- */

/* A lock-free atomic is what a handler may write and another thread may read. */
static atomic_int interrupted;

static void on_interrupt(int sig)
{
    (void)sig;
    atomic_store(&interrupted, 1);
}

/* The second Ctrl-C does what it always did. */
static int catch_interrupt(void)
{
    struct sigaction sa;

    memset(&sa, 0, sizeof sa);
    sa.sa_handler = on_interrupt;
    sa.sa_flags = (int)SA_RESETHAND | SA_RESTART;
    sigemptyset(&sa.sa_mask);
    return sigaction(SIGINT, &sa, NULL) == 0 ? 0 : -errno;
}

static void show_line(struct run *r, const char *before, const char *after)
{
    double s = (double)(gor_now() - r->start) / (double)GOR_SEC;
    size_t files = atomic_load(&r->files), bytes = atomic_load(&r->bytes);

    fprintf(stderr, "%swordcount: %zu files, %.1f MB, %.0f files/s%s", before, files,
            (double)bytes / 1e6, s > 0.0 ? (double)files / s : 0.0, after);
}

/* A line, redrawn ten times a second; where \r means nothing, a new one each second. */
static void show_progress(void *arg)
{
    struct run *r = arg;
    bool tty = isatty(STDERR_FILENO) == 1;
    gor_ticker ticker = {0};
    gor_chan *tick = gor_ticker_start(&ticker, 100 * GOR_MS);
    int64_t now;
    char none;

    if (tick == NULL)
        fail(r, -ENOMEM);
    for (int i = 1;
         gor_select(gor_on_recv(tick, &now), gor_on_recv(r->finished, &none)) == 0; i++) {
        if (atomic_load(&interrupted))
            fail(r, -EINTR);
        if (tty)
            show_line(r, "\r", "   ");
        else if (i % 10 == 0)
            show_line(r, "", "\n");
    }
    show_line(r, tty ? "\r" : "", "   \n");
    gor_ticker_stop(&ticker);
}

/* ---- the run -------------------------------------------------------------------------------- */

static int run_init(struct run *r, const char *tree, size_t n_counters)
{
    memset(r, 0, sizeof *r);
    atomic_init(&r->files, 0);
    atomic_init(&r->bytes, 0);
    atomic_init(&r->unreadable, 0);
    r->tree = tree;
    r->ctx = gor_ctx_with_cancel(NULL);
    r->paths = gor_chan_new(sizeof(char *), 256);
    r->chunks = gor_chan_new(sizeof(struct chunk *), 4 * n_counters);
    r->tables = gor_chan_new(sizeof(struct table *), n_counters);
    r->finished = gor_chan_new(sizeof(char), 0);
    r->start = gor_now();
    if (!r->ctx || !r->paths || !r->chunks || !r->tables || !r->finished)
        return -ENOMEM;
    return 0;
}

/* After a cancel, values are left in the channels. Nobody uses them any more. */
static void run_free(struct run *r)
{
    struct table *t;
    struct chunk *c;
    char *path;

    while (r->paths != NULL && gor_try_recv(r->paths, &path) == 0)
        free(path);
    while (r->chunks != NULL && gor_try_recv(r->chunks, &c) == 0)
        free(c);
    while (r->tables != NULL && gor_try_recv(r->tables, &t) == 0)
        table_free(t);
    gor_chan_release(r->paths);
    gor_chan_release(r->chunks);
    gor_chan_release(r->tables);
    gor_chan_release(r->finished);
    gor_ctx_release(r->ctx);
}

/* Start fn(r) n times; fewer will do, none at all is a failure. */
static void start(struct run *r, gor_wg *wg, size_t n, void (*fn)(void *))
{
    for (size_t i = 0; i < n; i++) {
        int rc = gor_wg_go(wg, fn, r);

        if (rc != 0 && i == 0)
            fail(r, rc);
        if (rc != 0)
            return;
    }
}

/* Run the pipeline, merge what was counted into t. Returns 0; -EINTR: partial; an error. */
static int count_tree(struct run *r, size_t n_counters, struct table *t)
{
    struct table *part;
    int rc;

    start(r, &r->showing, 1, show_progress);
    start(r, &r->counting, n_counters, count_chunks);
    start(r, &r->reading, 2 * n_counters, read_files);
    start(r, &r->walking, 1, walk);

    gor_wg_wait(&r->walking);          /* each stage ends when the one before it has: by a close */
    gor_wg_wait(&r->reading);
    gor_chan_close(r->chunks);
    gor_wg_wait(&r->counting);
    gor_chan_close(r->finished);
    gor_wg_wait(&r->showing);
    rc = gor_ctx_cause(r->ctx);

    while ((rc == 0 || rc == -EINTR) && gor_try_recv(r->tables, &part) == 0) {
        if (table_merge(t, part) != 0)
            rc = -ENOMEM;
        table_free(part);
    }
    return rc;
}

/* ---- write ---------------------------------------------------------------------------------- */

static int by_text(const void *a, const void *b)
{
    const struct word *x = a, *y = b;

    return strcmp(x->text, y->text);
}

static int by_count(const void *a, const void *b)
{
    const struct word *x = a, *y = b;

    return x->count != y->count ? (x->count < y->count ? 1 : -1) : by_text(a, b);
}

/* Move the words to the front of the slots, sorted. The table can only be read and freed then. */
static void table_sort(struct table *t, int (*compare)(const void *, const void *))
{
    size_t n = 0;

    for (size_t i = 0; i < t->cap; i++)
        if (t->slot[i].text != NULL)
            t->slot[n++] = t->slot[i];
    if (n > 0)
        qsort(t->slot, n, sizeof *t->slot, compare);
    t->cap = n;
}

static int write_words(FILE *f, const struct table *t, size_t n)
{
    for (size_t i = 0; i < n && i < t->n; i++)
        fprintf(f, "%llu %s\n", (unsigned long long)t->slot[i].count, t->slot[i].text);
    return fflush(f) == 0 && !ferror(f) ? 0 : -EIO;
}

static int write_counts(const char *path, struct table *t)
{
    FILE *f = fopen(path, "w");
    int rc;

    if (f == NULL)
        return -errno;
    table_sort(t, by_text);
    rc = write_words(f, t, t->n);
    return fclose(f) == 0 ? rc : -EIO;
}

static int report(struct run *r, struct table *t, const char *counts, bool partial)
{
    double s = (double)(gor_now() - r->start) / (double)GOR_SEC;
    size_t files = atomic_load(&r->files), unreadable = atomic_load(&r->unreadable);
    int rc = 0;

    if (partial)
        printf("partial result: interrupted after %zu files\n", files);
    if (counts != NULL && !partial)
        rc = write_counts(counts, t);
    if (rc != 0)
        fprintf(stderr, "wordcount: %s: %s\n", counts, strerror(-rc));
    table_sort(t, by_count);
    if (write_words(stdout, t, TOP) != 0 ||
        printf("%zu files in %.2f s, %.0f files per second\n", files, s, (double)files / s) < 0 ||
        fflush(stdout) != 0) {
        fprintf(stderr, "wordcount: cannot write the result\n");
        rc = -EIO;
    }
    if (unreadable > 0)
        fprintf(stderr, "wordcount: %zu files or directories could not be read\n", unreadable);
    return rc;
}

GOR_MAIN
{
    const char *tree = "/usr/include", *counts = NULL;
    size_t n_counters = (size_t)gor_procs(0);
    struct table *t = calloc(1, sizeof *t);
    struct run r;
    int rc, i = 1, status;

    if (i + 1 < argc && strcmp(argv[i], "--counts") == 0) {
        counts = argv[i + 1];
        i += 2;
    }
    if (i < argc && argv[i][0] != '-')
        tree = argv[i++];
    if (i < argc) {
        fprintf(stderr, "use: wordcount [--counts FILE] [TREE]\n");
        free(t);
        return 2;
    }

    rc = run_init(&r, tree, n_counters);
    if (rc == 0 && t == NULL)
        rc = -ENOMEM;
    if (rc == 0)
        rc = catch_interrupt();
    if (rc == 0)
        rc = count_tree(&r, n_counters, t);

    status = rc == 0 ? 0 : rc == -EINTR ? 130 : 1;
    if (status == 1)
        fprintf(stderr, "wordcount: %s: %s\n", tree, strerror(-rc));
    else if (report(&r, t, counts, rc == -EINTR) != 0)
        status = 1;
    table_free(t);
    run_free(&r);
    return status;
}

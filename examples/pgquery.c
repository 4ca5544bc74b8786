/* pgquery: SQL over a pool of four PostgreSQL connections, by libpq's non-blocking calls.
 *
 *     pgquery CONNINFO [n]      n queries (default 100) of pg_sleep and sums, then their total
 *
 * libpq has a socket and says what it waits for; gor_wait_fd waits. The goroutine parks, the thread
 * serves others. Build: cc -O2 examples/pgquery.c -I. -I/usr/include/postgresql -lpq -pthread */
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <libpq-fe.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { POOL = 4 };

static gor_chan *pool;                          /* of PGconn *: those that nobody uses */
static _Atomic int n_busy, most_busy;

/* Connect; NULL after saying why not. */
static PGconn *pg_connect(const char *conninfo, int64_t deadline)
{
    PGconn *c = PQconnectStart(conninfo);
    PostgresPollingStatusType next = PGRES_POLLING_WRITING;
    while (c && PQstatus(c) != CONNECTION_BAD && next != PGRES_POLLING_OK &&
           next != PGRES_POLLING_FAILED) {
        int what = next == PGRES_POLLING_READING ? GOR_READ : GOR_WRITE;
        if (gor_wait_fd_until(PQsocket(c), what, deadline) < 0)
            break;
        next = PQconnectPoll(c);
    }
    if (!c || next != PGRES_POLLING_OK) {
        fprintf(stderr, "pgquery: %s", c ? PQerrorMessage(c) : "out of memory\n");
        PQfinish(c);
        return NULL;
    }
    PQsetnonblocking(c, 1);
    return c;
}

/* Send what libpq still has to send. 0 or an error. */
static int pg_flush(PGconn *c, int64_t deadline)
{
    int rc;
    while ((rc = PQflush(c)) > 0) {
        rc = gor_wait_fd_until(PQsocket(c), GOR_READ | GOR_WRITE, deadline);
        if (rc < 0)
            return rc;
        if ((rc & GOR_READ) && !PQconsumeInput(c))
            return -EIO;
    }
    return rc < 0 ? -EIO : 0;
}

/* Run one statement. The last result, or NULL. */
static PGresult *pg_query(PGconn *c, const char *sql, int n, const char *const *values,
                          int64_t deadline)
{
    PGresult *result = NULL, *next;
    if (!PQsendQueryParams(c, sql, n, NULL, values, NULL, NULL, 0) || pg_flush(c, deadline) != 0)
        return NULL;
    for (;;) {
        while (PQisBusy(c))
            if (gor_wait_fd_until(PQsocket(c), GOR_READ, deadline) < 0 || !PQconsumeInput(c)) {
                PQclear(result);
                return NULL;
            }
        next = PQgetResult(c);
        if (!next)
            return result;
        PQclear(result);
        result = next;
    }
}

struct job {
    int         i;
    _Atomic long *sum;
    _Atomic int *n_failed;
};

static void run(void *arg)
{
    struct job *j = arg;
    char number[16];
    const char *values[] = { number };
    PGconn *c;
    PGresult *r;
    if (gor_recv(pool, &c) != 0)
        return;
    int busy = atomic_fetch_add(&n_busy, 1) + 1, most = atomic_load(&most_busy);
    while (busy > most && !atomic_compare_exchange_weak(&most_busy, &most, busy))
        ;
    snprintf(number, sizeof number, "%d", j->i);
    r = pg_query(c, "select pg_sleep(0.002), $1::int * 2", 1, values, gor_now() + 30 * GOR_SEC);
    if (r && PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) == 1)
        atomic_fetch_add(j->sum, strtol(PQgetvalue(r, 0, 1), NULL, 10));
    else
        atomic_fetch_add(j->n_failed, 1);
    PQclear(r);
    atomic_fetch_sub(&n_busy, 1);
    gor_send(pool, &c);
}

GOR_MAIN
{
    int n = argc > 2 ? atoi(argv[2]) : 100, n_open = 0;
    _Atomic long sum = 0;
    _Atomic int n_failed = 0;
    gor_wg wg = { 0 };
    struct job *jobs;
    if (argc < 2) {
        fprintf(stderr, "usage: pgquery CONNINFO [n]\n");
        return 2;
    }
    pool = gor_chan_new(sizeof(PGconn *), POOL);
    for (; pool && n_open < POOL; n_open++) {
        PGconn *c = pg_connect(argv[1], gor_now() + 10 * GOR_SEC);
        if (!c)
            return 1;
        gor_send(pool, &c);
    }
    jobs = calloc((size_t)n + 1, sizeof *jobs);
    for (int i = 1; jobs && i <= n; i++) {
        jobs[i] = (struct job){ i, &sum, &n_failed };
        if (gor_wg_go(&wg, run, &jobs[i]) != 0)
            return 1;
    }
    gor_wg_wait(&wg);
    free(jobs);
    while (n_open-- > 0) {
        PGconn *c;
        gor_recv(pool, &c);
        PQfinish(c);
    }
    printf("%d queries, %d failed, sum %ld, at most %d connections busy\n", n,
           atomic_load(&n_failed), atomic_load(&sum), atomic_load(&most_busy));
    gor_chan_release(pool);
    return atomic_load(&n_failed) != 0;
}

/* The number of processors, changed while goroutines run. */
#define TEST_INSIDE
#include "test.h"

#include <sched.h>
#include <sys/stat.h>

/* Its numbers wrap in the first memory, and it is full, and goes round the end, when it grows. */
TESTF(the_global_queue_keeps_its_order_while_it_grows)
{
    static gor__g any[3000];           /* for their addresses */
    gor__gring r = { .cap = 0 };
    size_t in = 0, out = 0;
    OK(gor__gr_take(&r) == NULL);
    for (uint32_t cap = 64; cap <= 1024; cap *= 2) {
        uint32_t c = cap;
        gor__g **old = gor__gr_renew(&r, (gor__g **)malloc(cap * sizeof *old), &c);
        OK(old ? c == cap / 2 : c == 0);
        if (!old)
            r.head = r.tail = UINT32_MAX - 40;
        free(old);
        while (r.tail - r.head < cap)
            gor__gr_add(&r, &any[in++]);
        for (uint32_t i = 0; i < cap / 3; i++)
            OK(gor__gr_take(&r) == &any[out++]);
        while (r.tail - r.head < cap)
            gor__gr_add(&r, &any[in++]);
        gor__gr_tell(&r);
        IS(gor__au32_load_acq(&r.n), in - out);
    }
    while (out < in)
        OK(gor__gr_take(&r) == &any[out++]);
    OK(gor__gr_take(&r) == NULL);
    gor__gr_tell(&r);
    IS(gor__au32_load_acq(&r.n), 0);
    IS(r.tail, 0);
    free(r.slot);
}

TEST(procs_gives_the_previous_number)
{
    int before = gor_procs(0);
    IS(gor_procs(3), before);
    IS(gor_procs(0), 3);
    IS(gor_procs(-1), 3);
    IS(test_stats().procs, 3);
    IS(gor_procs(before), 3);
    IS(gor_procs(before), before);
}

struct load {
    gor_chan        *c;
    gor_mutex        m;
    _Atomic int      stop;
    _Atomic uint64_t n_done, sum_sent, sum_received;
    int              under_mutex;      /* plain */
    _Atomic int      under_mutex_too;
};

static void load_sender(void *p)
{
    struct load *l = (struct load *)p;
    for (uint64_t v = 1; !atomic_load(&l->stop); v++) {
        IS(gor_send(l->c, &v), 0);
        atomic_fetch_add(&l->sum_sent, v);
    }
}

static void load_receiver(void *p)
{
    struct load *l = (struct load *)p;
    uint64_t v;
    while (gor_recv(l->c, &v) == 0) {
        atomic_fetch_add(&l->sum_received, v);
        atomic_fetch_add(&l->n_done, 1);
    }
}

static void load_locker(void *p)
{
    struct load *l = (struct load *)p;
    while (!atomic_load(&l->stop)) {
        IS(gor_mutex_lock(&l->m), 0);
        l->under_mutex++;
        gor_mutex_unlock(&l->m);
        atomic_fetch_add(&l->under_mutex_too, 1);
        gor_yield();
    }
}

static void load_sleeper(void *p)
{
    struct load *l = (struct load *)p;
    while (!atomic_load(&l->stop)) {
        IS(gor_sleep(50 * GOR_US), 0);
        atomic_fetch_add(&l->n_done, 1);
    }
}

static void do_nothing(void *p)
{
    (void)p;
}

static void load_spawner(void *p)
{
    struct load *l = (struct load *)p;
    gor_wg wg = { 0 };
    while (!atomic_load(&l->stop)) {
        for (int i = 0; i < 10; i++)
            START(&wg, do_nothing, NULL);
        gor_wg_wait(&wg);
    }
}

static void *double_it(void *p)
{
    *(int *)p *= 2;
    return p;
}

static void load_forker(void *p)
{
    struct load *l = (struct load *)p;
    gor_task t[10];
    while (!atomic_load(&l->stop)) {
        int v[10];
        for (int i = 0; i < 10; i++) {
            v[i] = i;
            gor_fork(&t[i], double_it, &v[i]);
        }
        for (int i = 9; i >= 0; i--) {
            gor_join(&t[i]);
            IS(v[i], 2 * i);
        }
        gor_yield();
    }
}

TEST(changing_procs_under_load_loses_nobody)
{
    static const int some[] = { 1, 2, 64, 3, 1, 16, 1, 8, 1, 100, 2, 33 };
    gor_wg wg = { 0 }, senders = { 0 };
    struct load l = { .c = gor_chan_new(sizeof(uint64_t), 4) };
    int before = gor_procs(0);
    for (int i = 0; i < 4; i++) {
        START(&senders, load_sender, &l);
        START(&wg, load_receiver, &l);
        START(&wg, load_locker, &l);
        START(&wg, load_sleeper, &l);
        START(&wg, load_spawner, &l);
        START(&wg, load_forker, &l);
    }
    for (int i = 0; i < scaled(200) || i < 24; i++) {
        int n = i < 24 ? some[i % 12] : 1 + (int)(test_random() % 64);
        gor_procs(n);
        IS(gor_procs(0), n);
        uint64_t seen = atomic_load(&l.n_done);
        WAIT_FOR(atomic_load(&l.n_done) >= seen + 10);         /* the load goes on */
    }
    atomic_store(&l.stop, 1);
    gor_wg_wait(&senders);
    gor_chan_close(l.c);
    gor_wg_wait(&wg);
    IS(l.sum_sent, l.sum_received);
    IS(l.under_mutex, l.under_mutex_too);
    gor_procs(before);
    gor_chan_release(l.c);
}

static void change_procs(void *p)
{
    uint64_t rng = test_random();
    (void)p;
    for (int i = 0; i < scaled(50); i++) {
        OK(gor_procs(1 + (int)(test_random_r(&rng) % 16)) > 0);
        gor_yield();
    }
}

TEST(many_goroutines_may_change_procs_at_once)
{
    gor_wg wg = { 0 };
    int before = gor_procs(0);
    for (int i = 0; i < 8; i++)
        START(&wg, change_procs, NULL);
    gor_wg_wait(&wg);
    gor_procs(before);
    IS(gor_procs(0), before);
}

struct sleeping {
    _Atomic int asleep;
    _Atomic int64_t woke_at;
    int64_t due;
};

static void sleep_on_it(void *p)
{
    struct sleeping *s = (struct sleeping *)p;
    s->due = gor_now() + 20 * GOR_MS;
    atomic_store(&s->asleep, 1);
    gor_sleep_until(s->due);
    atomic_store(&s->woke_at, gor_now());
}

/* The other processor runs the sleeper, and idles when it is taken back; the first is never idle. */
static int take_back_from_sleeper(void *p)
{
    struct sleeping s = { 0 };
    int64_t end = gor_now() + 5 * GOR_SEC;
    (void)p;
    IS(gor_go(sleep_on_it, &s), 0);
    while (!atomic_load(&s.asleep) && gor_now() < end)
        ;
    for (int64_t idle_at = gor_now() + 3 * GOR_MS; gor_now() < idle_at;)
        ;
    IS(gor_procs(1), 2);
    while (!atomic_load(&s.woke_at) && gor_now() < end)
        gor_yield();
    OK(atomic_load(&s.woke_at) != 0 && atomic_load(&s.woke_at) - s.due < GOR_SEC);
    return 0;
}

TESTF(a_timer_of_a_processor_that_is_taken_back_is_in_time)
{
    gor_options o = { .procs = 2 };
    for (int i = 0; i < 5; i++)
        IS(gor_run_with(&o, take_back_from_sleeper, NULL), 0);
}

/* -- the number is a bound --------------------------------------------------------------------- */

struct bound {
    _Atomic int running, most, stop;
    int         procs;
};

static void occupy(void *p)
{
    struct bound *b = (struct bound *)p;
    for (int i = 0; i < scaled(200); i++) {
        int n = atomic_fetch_add(&b->running, 1) + 1, most = atomic_load(&b->most);
        while (n > most && !atomic_compare_exchange_weak(&b->most, &most, n))
            ;
        for (volatile int spin = 0; spin < 2000;)      /* no gor call: keeps its processor */
            spin = spin + 1;
        atomic_fetch_sub(&b->running, 1);
        gor_yield();
    }
}

static int run_many(int n, void (*fn)(void *), void *p)
{
    gor_wg wg = { 0 };
    for (int i = 0; i < n; i++)
        START(&wg, fn, p);
    gor_wg_wait(&wg);
    return 0;
}

static int occupy_all(void *p) { return run_many(16, occupy, p); }

/* With GOR_PREEMPT_ASK, so that nobody loses a processor while the kernel holds up its thread. */
TESTF(no_more_goroutines_run_at_once_than_there_are_processors)
{
    for (int procs = 1; procs <= 4; procs++) {
        gor_options o = { .procs = procs, .preempt = GOR_PREEMPT_ASK };
        struct bound b = { .procs = procs };
        IS(gor_run_with(&o, occupy_all, &b), 0);
        OK(b.most >= 1);
        OK(b.most <= procs);
    }
}

static int procs_now(void *p)
{
    (void)p;
    return gor_procs(0);
}

TESTF(the_default_number_comes_from_the_environment)
{
    IS(setenv("GORMAXPROCS", "3", 1), 0);
    IS(gor_run(procs_now, NULL), 3);
    gor_options o = { .procs = 5 };
    IS(gor_run_with(&o, procs_now, NULL), 5);
    IS(setenv("GORMAXPROCS", "nonsense", 1), 0);
    OK(gor_run(procs_now, NULL) >= 1);
    IS(unsetenv("GORMAXPROCS"), 0);
    int n = gor_run(procs_now, NULL);
    OK(n >= 1);
    OK(n <= sysconf(_SC_NPROCESSORS_ONLN));
}

/* Run fn on the first of the CPUs that we may use. */
static int run_on_one_cpu(int (*fn)(void *))
{
    cpu_set_t all, one;
    int cpu = 0, n;
    IS(sched_getaffinity(0, sizeof all, &all), 0);
    while (!CPU_ISSET(cpu, &all))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    IS(sched_setaffinity(0, sizeof one, &one), 0);
    n = gor_run(fn, NULL);
    IS(sched_setaffinity(0, sizeof all, &all), 0);
    return n;
}

TESTF(the_default_number_is_that_of_the_cpus_that_we_may_use)
{
    cpu_set_t all;
    IS(run_on_one_cpu(procs_now), 1);
    IS(sched_getaffinity(0, sizeof all, &all), 0);
    int limit = gor__os_cgroup_limit(), cpus = CPU_COUNT(&all);
    IS(gor_run(procs_now, NULL), limit > 0 && limit < cpus ? limit : cpus);
}

#if GOR_CHECK                          /* others read the system's files only */

/* Write a file of the fake system, and its directories. */
static void put(const char *path, const char *text)
{
    char full[300];
    snprintf(full, sizeof full, "%s%s", gor__os_root, path);
    for (char *s = strchr(full + 1, '/'); s != NULL; s = strchr(s + 1, '/')) {
        *s = '\0';
        mkdir(full, 0700);
        *s = '/';
    }
    FILE *f = fopen(full, "w");
    if (OK(f != NULL)) {
        fputs(text, f);
        fclose(f);
    }
}

TESTF(the_default_number_is_bounded_by_the_quota_of_the_control_group)
{
    char root[] = "/tmp/gor-test-XXXXXX", rm[100];
    const char *file[] = { "/sys/fs/cgroup/a/b/cpu.max", "/sys/fs/cgroup/a/cpu.max" };
    gor__os_root = mkdtemp(root);
    IS(gor__os_cgroup_limit(), 0);                 /* no such files at all */

    put("/proc/self/cgroup", "1:name=systemd:/x\n0::/a/b\n");
    IS(gor__os_cgroup_limit(), 0);
    put(file[0], "max 100000\n");
    IS(gor__os_cgroup_limit(), 0);
    put(file[0], "300000 100000\n");
    IS(gor__os_cgroup_limit(), 3);
    put(file[0], "310000 100000\n");               /* a part of one more is one more */
    IS(gor__os_cgroup_limit(), 4);
    put(file[1], "800000 100000\n");
    IS(gor__os_cgroup_limit(), 4);
    put(file[1], "150000 100000\n");               /* the parent's is tighter */
    IS(gor__os_cgroup_limit(), 2);
    put(file[1], "50000 100000\n");
    IS(gor__os_cgroup_limit(), 1);
    IS(gor_run(procs_now, NULL), 1);
    put(file[1], "nonsense");
    IS(gor__os_cgroup_limit(), 4);

    put("/proc/self/cgroup", "4:cpu,cpuacct:/a/b\n");        /* version 1 */
    IS(gor__os_cgroup_limit(), 0);
    put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "250000\n");
    IS(gor__os_cgroup_limit(), 0);
    put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    IS(gor__os_cgroup_limit(), 3);
    put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
    IS(gor__os_cgroup_limit(), 0);

    gor__os_root = "";
    snprintf(rm, sizeof rm, "rm -r %s", root);
    IS(system(rm), 0);
}

#endif

static void deep_for_a_while(void *wg)
{
    for (int i = 0; i < 3; i++) {
        volatile char words[100 << 10];
        for (size_t at = 0; at < sizeof words; at += 1024)
            words[at] = (char)at;
        gor_yield();
    }
    gor_wg_done((gor_wg *)wg);
}

static bool keeps_nothing(const gor__p *p)
{
    const gor__crate *dead = (const gor__crate *)gor__aptr_load_rlx(&p->dead);
    const gor__crate *spare = (const gor__crate *)gor__aptr_load_rlx(&p->spare);
    return gor__crate_n(dead) == 0 && gor__crate_n(spare) == 0 &&
           gor__au32_load_rlx(&p->n_stacks) == 0;
}

static int have_many_for_a_while(void *p)
{
    gor_wg wg = { 0 };
    (void)p;
    for (int i = 0; i < 2000; i++) {
        gor_wg_add(&wg, 1);
        IS(gor_go(deep_for_a_while, &wg), 0);
    }
    gor_wg_wait(&wg);
    IS(gor_procs(1), 16);
    for (uint32_t i = 1; i < 16; i++)
        WAIT_FOR(keeps_nothing(gor__p_at(i)));
    /* what the first keeps, and main's */
    WAIT_FOR(test_stack_bytes() <= (GOR__CACHE_CAP + 1) * (size_t)(112 << 10));
    return 0;
}

TESTF(a_processor_that_was_given_back_keeps_no_memory)
{
    gor_options o = { .procs = 16 };
    if (TEST_TSAN || TEST_ASAN)
        SKIP("sanitizer: stacks rest where they are, and are larger");
    IS(gor_run_with(&o, have_many_for_a_while, NULL), 0);
}

/* -- what a processor leaves when it is taken back ---------------------------------------------- */

struct left_task { _Atomic int forked, begun, stop; };

static void *begin(void *begun)
{
    atomic_store((_Atomic int *)begun, 1);
    return NULL;
}

/* From the second processor, which is taken back. */
static void leave_a_task(struct left_task *l)
{
    gor_task task;
    gor_fork(&task, begin, &l->begun);
    gor_procs(1);
    for (int i = 0; i < 10000 && !atomic_load(&l->begun); i++)
        gor_yield();
    IS(atomic_load(&l->begun), 1);
    OK(gor_join(&task) == NULL);
    atomic_store(&l->stop, 1);
}

static void yield_or_leave_a_task(void *p)
{
    struct left_task *l = (struct left_task *)p;
    while (!atomic_load(&l->stop)) {
        if (gor__m_p(gor__self())->id == 1 && atomic_exchange(&l->forked, 1) == 0)
            leave_a_task(l);
        gor_yield();
    }
}

static int yield_all(void *p) { return run_many(64, yield_or_leave_a_task, p); }

TESTF(a_task_of_a_processor_that_is_taken_back_is_begun)
{
    gor_options o = { .procs = 2 };
    struct left_task l = { 0 };
    IS(gor_run_with(&o, yield_all, &l), 0);
}

/* -- one processor, where two are in each other's way ------------------------------------------ */

struct jam {
    _Atomic int  running, stop, flag;
    uint32_t     procs;                /* that gor_procs says in the end */
    gor_wg       wg;
};

/* A turn that takes ten times as long while another runs beside it. */
static void be_in_the_way(void *p)
{
    struct jam *j = (struct jam *)p;
    while (!atomic_load(&j->stop)) {
        if (atomic_fetch_add(&j->running, 1) > 0)
            for (volatile int spin = 0; spin < 300;)
                spin = spin + 1;
        atomic_fetch_sub(&j->running, 1);
        gor_yield();
    }
}

static void start_jam(struct jam *j)
{
    for (int i = 0; i < 64; i++)
        START(&j->wg, be_in_the_way, j);
}

static void wait_for_procs(uint32_t n)
{
    while (gor__au32_load_rlx(&gor__rt.n_procs) != n)
        gor_yield();
}

static void raise_flag(void *p) { atomic_store((_Atomic int *)p, 1); }

static int jam_and_compute(void *p)
{
    struct jam *j = (struct jam *)p;
    start_jam(j);
    wait_for_procs(1);
    IS(gor_procs(0), 2);
    IS(test_stats().procs, 2);
    if (j->procs != 2)
        IS(gor_procs((int)j->procs), 2);
    IS(gor_procs(0), j->procs);
    atomic_store(&j->stop, 1);
    IS(gor_go(raise_flag, &j->flag), 0);
    while (j->procs == 2 && !atomic_load(&j->flag))
        ;                                          /* nobody switches us off: another runs it */
    gor_wg_wait(&j->wg);
    return 0;
}

TESTF(where_two_are_in_each_others_way_one_runs_until_somebody_computes)
{
    gor_options o = { .procs = 2, .preempt = GOR_PREEMPT_OFF };
    if (TEST_TSAN)
        SKIP("sanitizer: its turns are too long");
    if (test_emulated())
        SKIP("emulator: its turns are too long");
    for (uint32_t procs = 1; procs <= 3; procs++) {
        struct jam j = { .procs = procs };
        IS(gor_run_with(&o, jam_and_compute, &j), 0);
    }
}

/* A thread that makes no gor call meanwhile: it would wake the watch. */
static void watch_until(const gor__au32 *word, uint32_t n)
{
    while (gor__au32_load_sc(word) != n)
        usleep(1000);
}

/* The watch looks round more often than for jams, and may sleep before it has seen the end of one. */
TESTF(when_all_is_at_rest_all_processors_are_back)
{
    gor_options o = { .procs = 2, .quantum = GOR_MS };
    if (TEST_TSAN)
        SKIP("sanitizer: its turns are too long");
    if (test_emulated())
        SKIP("emulator: its turns are too long");
    for (int round = 0; round < 8; round++) {
        struct jam j = { .procs = 2 };
        IS(gor_start(&o), 0);
        start_jam(&j);
        watch_until(&gor__rt.n_procs, 1);
        atomic_store(&j.stop, 1);
        watch_until(&gor__rt.n_idle_p, 2);
        gor_wg_wait(&j.wg);
        IS(gor_stop(), 0);
    }
}

static int one_may_run(void *p)
{
    gor_procs(2);
    IS(gor__jam_may_retire(), p == NULL);
    return 0;
}

TESTF(where_all_are_to_run_all_do)
{
    gor_options o = { .procs = 2, .flags = GOR_ALL_PROCS };
    IS(gor_run_with(&o, one_may_run, &o), 0);
    o.flags = 0;
    IS(gor_run_with(&o, one_may_run, NULL), 0);
}

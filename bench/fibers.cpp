/* The cases of bench.c that Boost.Fiber has an answer to. Command line and output line: harness.h.
 *
 * With PROCS 1 fibers are scheduled round robin, its quicker way there; with more, by work stealing
 * among that many threads. It has no select, no read-write lock, no timers and no contexts. A
 * million fibers at once take more memory than many machines have, so N is smaller where all of
 * them live at the same time. */
#include "harness.h"

#include <boost/fiber/all.hpp>
#include <chrono>
#include <mutex>
#include <thread>
#include <vector>

namespace fibers = boost::fibers;
using unbuffered_chan = fibers::unbuffered_channel<int64_t>;
using buffered_chan = fibers::buffered_channel<int64_t>;

static const size_t stack_size = 32768;

template <typename Fn> static fibers::fiber go(Fn fn)
{
    return fibers::fiber(fibers::launch::post, std::allocator_arg,
                         fibers::fixedsize_stack(stack_size), fn);
}

/* Fork: the child runs at once, its parent goes on when the child waits or ends. */
template <typename Fn> static fibers::fiber fork(Fn fn)
{
    return fibers::fiber(fibers::launch::dispatch, std::allocator_arg,
                         fibers::fixedsize_stack(stack_size), fn);
}

static void must(fibers::channel_op_status status)
{
    if (status != fibers::channel_op_status::success)
        bench_die("channel", "closed");
}

/* The sum of what k fibers compute. */
template <typename Fn> static uint64_t sum_of(int64_t k, Fn fn)
{
    std::vector<fibers::fiber> f;
    std::vector<uint64_t> sum((size_t)k);
    uint64_t total = 0;

    f.reserve((size_t)k);
    for (int64_t i = 0; i < k; i++)
        f.push_back(go([fn, out = &sum[(size_t)i]] { *out = fn(); }));
    for (auto &one : f)
        one.join();
    for (uint64_t s : sum)
        total += s;
    return total;
}

template <typename Fn> static void time_workers(bench *b, int64_t k, Fn fn)
{
    int64_t n = share(b->n, k);

    start(b);
    uint64_t sum = sum_of(k, [=] { return fn(n); });
    stop(b);
    result(b, n * k, sum, (uint64_t)(n * k));
}

/* -- switching -------------------------------------------------------------------------------- */

static uint64_t yield_worker(int64_t n)
{
    uint64_t done = 0;
    for (int64_t i = 0; i < n; i++) {
        boost::this_fiber::yield();
        done++;
    }
    return done;
}

static void yield2(bench *b)
{
    time_workers(b, 2, yield_worker);
}

static void yield1000(bench *b)
{
    time_workers(b, 1000, yield_worker);
}

/* -- channels --------------------------------------------------------------------------------- */

static void pingpong(bench *b)
{
    unbuffered_chan ping, pong;
    uint64_t sum = 0;
    fibers::fiber echo = go([&] {
        int64_t v;
        while (ping.pop(v) == fibers::channel_op_status::success)
            must(pong.push(v));
    });

    start(b);
    for (int64_t i = 0; i < b->n; i++) {
        must(ping.push(i));
        sum += (uint64_t)pong.value_pop();
    }
    stop(b);
    result(b, b->n, sum, sum_below(b->n));
    ping.close();
    echo.join();
}

template <typename Chan> static void stream(bench *b, Chan &c, int k)
{
    int64_t n = share(b->n, k);
    uint64_t sum = 0;

    start(b);
    fibers::fiber receivers = go([&] {
        sum = sum_of(k, [&] {
            uint64_t mine = 0;
            int64_t v;
            while (c.pop(v) == fibers::channel_op_status::success)
                mine += (uint64_t)v;
            return mine;
        });
    });
    sum_of(k, [&] {
        for (int64_t i = 0; i < n; i++)
            must(c.push(i));
        return 0;
    });
    c.close();
    receivers.join();
    stop(b);
    result(b, n * k, sum, (uint64_t)k * sum_below(n));
}

static void oneway(bench *b)
{
    unbuffered_chan c;
    stream(b, c, 1);
}

/* Of 128 slots it fills 127. */
static void buffered(bench *b)
{
    buffered_chan c(128);
    stream(b, c, 1);
}

static void buffered8x8(bench *b)
{
    buffered_chan c(128);
    stream(b, c, 8);
}

static void tryrecv_empty(bench *b)
{
    buffered_chan c(2);
    uint64_t empty = 0;
    int64_t v;

    start(b);
    for (int64_t i = 0; i < b->n; i++)
        empty += c.try_pop(v) == fibers::channel_op_status::empty;
    stop(b);
    result(b, b->n, empty, (uint64_t)b->n);
}

static void ring1000(bench *b)
{
    const size_t k = 1000;
    std::vector<unbuffered_chan> c(k);
    unbuffered_chan done;
    std::vector<fibers::fiber> f;
    auto run = [&](int64_t hops) {
        must(c[0].push(hops));
        return done.value_pop();
    };

    for (size_t i = 0; i < k; i++)
        f.push_back(go([&c, &done, i] {
            int64_t left;
            while (c[i].pop(left) == fibers::channel_op_status::success) {
                left--;
                must((left > 0 ? c[(i + 1) % k] : done).push(left));
            }
        }));
    run(k);
    start(b);
    int64_t left = run(b->n);
    stop(b);
    result(b, b->n, (uint64_t)(b->n - left), (uint64_t)b->n);
    for (auto &one : c)
        one.close();
    for (auto &one : f)
        one.join();
}

/* -- starting fibers -------------------------------------------------------------------------- */

static void spawn_wait(bench *b)
{
    uint8_t *slot = static_cast<uint8_t *>(must_alloc(b->n, 1));
    std::vector<fibers::fiber> f;

    f.reserve((size_t)b->n);
    start(b);
    for (int64_t i = 0; i < b->n; i++)
        f.push_back(go([at = &slot[i]] { *at = 1; }));
    for (auto &one : f)
        one.join();
    stop(b);
    result(b, b->n, sum_bytes(slot, b->n), (uint64_t)b->n);
    free(slot);
}

static void spawn_join(bench *b)
{
    uint64_t sum = 0;

    start(b);
    for (int64_t i = 0; i < b->n; i++) {
        int64_t v = i;
        go([&v] { v++; }).join();
        sum += (uint64_t)v;
    }
    stop(b);
    result(b, b->n, sum, sum_below(b->n + 1));
}

static void wg10000(bench *b)
{
    const int64_t k = 10000;
    int64_t rounds = share(b->n, k);
    uint64_t sum = 0;

    start(b);
    for (int64_t r = 0; r < rounds; r++)
        sum += sum_of(k, [] { return 1; });
    stop(b);
    result(b, rounds * k, sum, (uint64_t)(rounds * k));
}

static void skynet_node(unbuffered_chan *out, int64_t first, int64_t size)
{
    int64_t sum = first;
    if (size > 1) {
        unbuffered_chan in;
        std::vector<fibers::fiber> f;
        sum = 0;
        for (int i = 0; i < 10; i++)
            f.push_back(go([&in, at = first + i * (size / 10), size] {
                skynet_node(&in, at, size / 10);
            }));
        for (int i = 0; i < 10; i++)
            sum += in.value_pop();
        for (auto &one : f)            /* the last sender may still be leaving the channel */
            one.join();
    }
    must(out->push(sum));
}

static void skynet(bench *b)
{
    unbuffered_chan c;
    int64_t leaves = 1, nodes = 1;

    while (leaves * 10 <= b->n) {
        leaves *= 10;
        nodes += leaves;
    }
    start(b);
    fibers::fiber root = go([&] { skynet_node(&c, 0, leaves); });
    int64_t sum = c.value_pop();
    stop(b);
    result(b, nodes, (uint64_t)sum, sum_below(leaves));
    root.join();
}

/* -- fork-join -------------------------------------------------------------------------------- */

static int64_t fib_node(int64_t n)
{
    if (n < 2)
        return n;
    int64_t left;
    fibers::fiber child = fork([&left, n] { left = fib_node(n - 1); });
    int64_t right = fib_node(n - 2);
    child.join();
    return left + right;
}

static void fib(bench *b)
{
    int64_t sum, forks = 0;

    do {
        start(b);
        sum = fib_node(b->n);
        stop(b);
        forks += fib_forks(b->n);
    } while (!enough(b));
    result(b, forks, (uint64_t)sum, (uint64_t)fib_value(b->n));
}

static uint64_t queens_node(board here)
{
    uint64_t part[16], found = 0;
    fibers::fiber child[16];
    int n = 0;

    if (here.taken == here.all)
        return 1;
    for (uint32_t rest = board_free(here); rest; rest &= rest - 1, n++) {
        board next = board_put(here, rest & -rest);
        child[n] = fork([next, out = &part[n]] { *out = queens_node(next); });
    }
    while (n > 0) {
        child[--n].join();
        found += part[n];
    }
    return found;
}

static void nqueens(bench *b)
{
    board root = board_of(b->n);
    uint64_t found;
    int64_t forks = 0, each = queens_count_forks(root);

    do {
        start(b);
        found = queens_node(root);
        stop(b);
        forks += each;
    } while (!enough(b));
    result(b, forks, found, queens_value(b->n));
}

/* -- locks ------------------------------------------------------------------------------------ */

static void mutex_by(bench *b, int k)
{
    fibers::mutex m;
    uint64_t value = 0;

    time_workers(b, k, [&](int64_t n) {
        for (int64_t i = 0; i < n; i++) {
            std::lock_guard<fibers::mutex> lock(m);
            value++;
        }
        return n;
    });
    b->check = value;
}

static void mutex(bench *b)
{
    mutex_by(b, 1);
}

static void mutex8(bench *b)
{
    mutex_by(b, 8);
}

/* -- time ------------------------------------------------------------------------------------- */

static void sleep_ns(int64_t ns)
{
    boost::this_fiber::sleep_for(std::chrono::nanoseconds(ns));
}

static void sleepers(bench *b)
{
    time_workers(b, b->n, [](int64_t) {
        int64_t begin = bench_now();
        sleep_ns(BENCH_MS);
        return bench_now() - begin >= BENCH_MS;
    });
}

static void idle(bench *b)
{
    int64_t before = cpu_ns();
    sleep_ns(b->n * BENCH_MS);
    idle_result(b, before);
}

static void wakeup(bench *b)
{
    int64_t *late = static_cast<int64_t *>(must_alloc(b->n, sizeof *late));

    for (int64_t i = 0; i < b->n; i++) {
        int64_t due = bench_now() + BENCH_MS;
        sleep_ns(BENCH_MS);
        late[i] = bench_now() - due;
    }
    late_result(b, late);
}

/* -- many at once ----------------------------------------------------------------------------- */

static void parked1m(bench *b)
{
    fibers::mutex m;
    fibers::condition_variable all_ready, gate;
    int64_t ready = 0;
    bool open = false;
    std::vector<fibers::fiber> f;
    uint64_t released = 0;
    int64_t before = rss_bytes();

    f.reserve((size_t)b->n);
    start(b);
    for (int64_t i = 0; i < b->n; i++)
        f.push_back(go([&] {
            std::unique_lock<fibers::mutex> lock(m);
            if (++ready == b->n)
                all_ready.notify_one();
            gate.wait(lock, [&] { return open; });
            released++;
        }));
    {
        std::unique_lock<fibers::mutex> lock(m);
        all_ready.wait(lock, [&] { return ready == b->n; });
    }
    stop(b);
    int64_t spawn_ns = b->elapsed, bytes = rss_bytes() - before;

    start(b);
    {
        std::unique_lock<fibers::mutex> lock(m);
        open = true;
    }
    gate.notify_all();
    for (auto &one : f)
        one.join();
    stop(b);
    parked_result(b, spawn_ns, bytes, released);
}

/* -- the table -------------------------------------------------------------------------------- */

static const bench_case cases[] = {    /* bench.c says what an op is */
    { "yield2",       5000000, yield2 },
    { "yield1000",    5000000, yield1000 },
    { "pingpong",     1000000, pingpong },
    { "oneway",       2000000, oneway },
    { "buffered",     5000000, buffered },
    { "buffered8x8",  5000000, buffered8x8 },
    { "tryrecv_empty", 20000000, tryrecv_empty },
    { "spawn_wait",    100000, spawn_wait },
    { "spawn_join",   1000000, spawn_join },
    { "fib",               22, fib },
    { "skynet",        100000, skynet },
    { "nqueens",            9, nqueens },
    { "ring1000",     2000000, ring1000 },
    { "mutex",       20000000, mutex },
    { "mutex8",      20000000, mutex8 },
    { "wg10000",       200000, wg10000 },
    { "sleepers",      100000, sleepers },
    { "parked1m",      100000, parked1m },
    { "idle",           10000, idle },
    { "wakeup",          1000, wakeup },
};

/* fn by this thread; the others of b->procs run what they can steal, until it has ended. */
static void run(bench *b, void (*fn)(bench *b))
{
    if (b->procs == 0)
        b->procs = (int)std::thread::hardware_concurrency();
    uint32_t procs = (uint32_t)b->procs;
    if (procs == 1) {
        fn(b);
        return;
    }

    fibers::mutex m;
    fibers::condition_variable ended;
    bool over = false;
    std::vector<std::thread> others;
    for (uint32_t i = 1; i < procs; i++)
        others.emplace_back([&] {
            fibers::use_scheduling_algorithm<fibers::algo::work_stealing>(procs, true);
            std::unique_lock<fibers::mutex> lock(m);
            ended.wait(lock, [&] { return over; });
        });
    fibers::use_scheduling_algorithm<fibers::algo::work_stealing>(procs, true);
    fn(b);
    {
        std::unique_lock<fibers::mutex> lock(m);
        over = true;
    }
    ended.notify_all();
    for (auto &one : others)
        one.join();
}

int main(int argc, char **argv)
{
    return bench_main(argc, argv, cases, sizeof cases / sizeof cases[0], run);
}

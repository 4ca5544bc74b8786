// C++ exceptions are thrown, caught, rethrown and nested in goroutines that are switched off in
// place every 100 us, with destructors on the way. TAP.
//     exceptions PROCS SECONDS
#define GOR_IMPLEMENTATION
#include "gor.h"

#include <atomic>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr int kThrowers = 8;
constexpr double kPatience = 50;  // s, with a machine that is too busy for all switches
std::atomic<bool> stop;
std::atomic<long> thrown, wrong;

void check(bool right)
{
    if (!right)
        wrong.fetch_add(1);
}

// Some work of the program's own, to be switched off in.
void compute(unsigned n)
{
    for (volatile unsigned i = 0; i < n * 20; i = i + 1) {
    }
}

struct Counted {
    explicit Counted(int &n) : n_(n) { ++n_; }
    ~Counted()
    {
        compute(20);
        --n_;
    }
    Counted(const Counted &) = delete;
    Counted &operator=(const Counted &) = delete;
    int &n_;
};

struct Special : std::runtime_error {
    Special(const std::string &what, int number) : std::runtime_error(what), number(number) {}
    int number;
};

void dive(int depth, int &alive, int number)
{
    Counted counted(alive);
    compute(30);
    if (depth == 0)
        throw Special("number " + std::to_string(number), number);
    dive(depth - 1, alive, number);
}

// A destructor that throws and catches while another exception is on its way.
struct Nested {
    int number;
    ~Nested()
    {
        int alive = 0;
        check(std::uncaught_exceptions() == 1);
        try {
            dive(2, alive, number + 1);
        } catch (const Special &e) {
            compute(50);
            check(e.number == number + 1);
        }
        check(std::uncaught_exceptions() == 1 && alive == 0);
    }
};

void rethrow(int number, int &alive)
{
    try {
        Nested nested{number};
        dive(number % 7, alive, number);
    } catch (const std::exception &e) {
        std::string what = e.what();
        compute(100);
        check(what == "number " + std::to_string(number));
        throw;
    }
}

void throw_on(void *)
{
    for (int number = 0; !stop.load(); number++) {
        int alive = 0;
        bool caught = false;
        try {
            rethrow(number, alive);
        } catch (Special &e) {
            compute(100);
            caught = true;
            check(e.number == number && alive == 0 && std::current_exception() != nullptr);
            std::exception_ptr kept = std::current_exception();
            try {
                std::rethrow_exception(kept);
            } catch (const Special &again) {
                compute(50);
                check(again.number == number);
            }
        }
        check(caught && !std::current_exception() && std::uncaught_exceptions() == 0);
        if (thrown.fetch_add(1) % 50 == 0)
            gor_yield();  // if the processor was taken instead: wait for one
    }
}

// Ends with an exception that it has caught and not let go.
void leave_handler(void *)
{
    std::jmp_buf out;
    if (setjmp(out) == 0) {
        try {
            throw 42;
        } catch (int) {
            std::longjmp(out, 1);
        }
    }
}

void see_none(void *)
{
    check(!std::current_exception() && std::uncaught_exceptions() == 0);
}

// The last one that is started begins first, and the others where it has ended.
void begin_after_one_that_left_its_handler()
{
    gor_wg wg = {};
    for (int i = 0; i < 8; i++)
        check(gor_wg_go(&wg, see_none, nullptr) == 0);
    check(gor_wg_go(&wg, leave_handler, nullptr) == 0);
    gor_wg_wait(&wg);
}

double now()
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return double(t.tv_sec) + double(t.tv_nsec) * 1e-9;
}

struct Run { int procs; double seconds; unsigned long long wanted; gor_stats stats; };

unsigned long long preempted()
{
    gor_stats s;
    gor_stats(&s);
    return s.preempted;
}

int throw_for_a_while(void *p)
{
    Run *run = static_cast<Run *>(p);
    double end = now() + run->seconds;
    gor_wg wg = {};
    begin_after_one_that_left_its_handler();  // while there is nobody else to come between
    for (int i = 0; i < kThrowers; i++)
        if (gor_wg_go(&wg, throw_on, nullptr) != 0)
            return 1;
    while (now() < end || ((thrown.load() == 0 || preempted() < run->wanted) &&
                           now() < end + kPatience))
        gor_sleep(10 * GOR_MS);
    gor_stats(&run->stats);
    stop.store(true);
    return gor_wg_wait(&wg);
}

}  // namespace

int main(int argc, char **argv)
{
    Run run = {};
    run.procs = argc > 1 ? std::atoi(argv[1]) : 2;
    run.seconds = argc > 2 ? std::atof(argv[2]) : 5;
    run.wanted = argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 2000;
    gor_options o = {};
    o.procs = run.procs;
    o.quantum = 100 * GOR_US;
    o.preempt = GOR_PREEMPT_SWITCH;
    int rc = gor_run_with(&o, throw_for_a_while, &run);
    std::printf("# procs %d: %ld thrown, %ld wrong, %llu switches in place\n", run.procs,
                thrown.load(), wrong.load(), (unsigned long long)run.stats.preempted);
    return rc != 0 || wrong.load() != 0 || thrown.load() == 0 || run.stats.preempted < run.wanted;
}

// C++ beside the C: exceptions belong to the goroutine, wherever it goes on.
#include "gor.h"
#include "tus.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <exception>
#include <stdexcept>
#include <string>

namespace {

constexpr int n_goroutines = 64, n_rounds = 200;

std::atomic<int> n_wrong, n_migrated;

void want(bool is)
{
    n_wrong += !is;
}

// pthread_self is declared constant, so a compiler may take it to be the same after a wait.
long this_thread()
{
    return syscall(SYS_gettid);
}

// Let others run, on every way to another thread.
void wander(int i)
{
    switch (i % 3) {
    case 0: gor_yield(); break;
    case 1: gor_sleep(GOR_US); break;
    default: {
        int v = 0;
        gor_select(gor_on_recv(static_cast<gor_chan *>(nullptr), &v), gor_on_after(5 * GOR_US));
    }
    }
}

// Run fn(number) in many goroutines; true if none of them found anything wrong.
template <class F> bool in_many(F fn)
{
    struct job {
        F  *fn;
        int number;
    };
    static job jobs[n_goroutines];
    gor_wg wg = {};
    n_wrong = 0;
    n_migrated = 0;
    for (int i = 0; i < n_goroutines; i++) {
        jobs[i] = { &fn, i };
        want(gor_wg_go(&wg, [](void *p) {
            job *j = static_cast<job *>(p);
            long first = this_thread();
            try {
                (*j->fn)(j->number);
            } catch (...) {
                want(false);
            }
            n_migrated += first != this_thread();
        }, &jobs[i]) == 0);
    }
    gor_wg_wait(&wg);
    return n_wrong == 0;
}

std::string text(int number, int i)
{
    return "exception " + std::to_string(i) + " of a goroutine, number " + std::to_string(number);
}

// Inside of its handler a goroutine gives way while others throw and catch.
void handle(int number)
{
    for (int i = 0; i < n_rounds; i++) {
        try {
            throw std::runtime_error(text(number, i));
        } catch (const std::runtime_error &e) {
            for (int k = 0; k < 3; k++)
                wander(number + i + k);
            want(e.what() == text(number, i));
            want(std::uncaught_exceptions() == 0);
        }
        want(std::current_exception() == nullptr);
    }
}

// What "throw;" throws again is the goroutine's own, right after it went on elsewhere.
void rethrow(int number)
{
    for (int i = 0; i < n_rounds; i++) {
        try {
            try {
                throw std::logic_error(text(number, i));
            } catch (const std::exception &) {
                wander(number + i);
                throw;
            }
        } catch (const std::logic_error &e) {
            wander(number + i + 1);
            want(e.what() == text(number, i));
        }
    }
}

// Handlers within handlers, each with a wait in it.
void nest(int number, int i, int depth)
{
    try {
        throw depth * 1000 + number;
    } catch (int v) {
        wander(i + depth);
        if (depth > 0)
            nest(number, i, depth - 1);
        wander(i + depth + 1);
        want(v == depth * 1000 + number);
        try {
            throw;
        } catch (int again) {
            want(again == v);
        }
    }
}

// A destructor that runs because of an exception gives way: the count is the goroutine's own.
struct giving_way {
    int number, flying;
    ~giving_way()
    {
        want(std::uncaught_exceptions() == flying);
        wander(number);
        want(std::uncaught_exceptions() == flying);
        if (flying == 1) {
            try {
                giving_way inner{ number + 1, 2 };
                throw std::string("inner");
            } catch (const std::string &s) {
                want(s == "inner" && std::uncaught_exceptions() == 1);
            }
        }
    }
};

void unwind(int number)
{
    for (int i = 0; i < n_rounds; i++) {
        try {
            giving_way g{ number + i, 1 };
            throw number;
        } catch (int v) {
            want(v == number);
        }
        want(std::uncaught_exceptions() == 0);
        wander(i);
        want(std::uncaught_exceptions() == 0);
    }
}

// An exception carried to another goroutine.
void carry()
{
    struct parcel {
        gor_chan *c;
        std::exception_ptr what;
    } p = { gor_chan_new(0, 0), nullptr };
    gor_go([](void *arg) {
        parcel *to = static_cast<parcel *>(arg);
        try {
            throw std::out_of_range("far");
        } catch (...) {
            to->what = std::current_exception();
        }
        gor_chan_send(to->c, nullptr, 0);
    }, &p);
    gor_chan_recv(p.c, nullptr, 0);
    bool caught = false;
    try {
        std::rethrow_exception(p.what);
    } catch (const std::out_of_range &e) {
        caught = std::string(e.what()) == "far";
    }
    tap(caught, "an exception_ptr goes over to another goroutine");
    gor_chan_release(p.c);
}

std::atomic<long> typed_sum;

void typed(int a, long b, const char *c)
{
    typed_sum += a + b + c[0];
}

} // namespace

void test_cxx(void)
{
    bool moved = false;
    tap(in_many(handle), "a handler that waits keeps its exception");
    moved = moved || n_migrated > 0;
    tap(in_many(rethrow), "rethrow right after a wait throws the goroutine's own");
    moved = moved || n_migrated > 0;
    tap(in_many([](int number) {
        for (int i = 0; i < n_rounds; i++)
            nest(number, i, 4);
    }), "handlers nest, with waits in each");
    moved = moved || n_migrated > 0;
    tap(in_many(unwind), "uncaught_exceptions counts the goroutine's own");
    tap(moved || gor_procs(0) == 1, "goroutines moved between threads meanwhile");
    carry();

    gor_wg wg = {};
    typed_sum = 0;
    tap(GOR_GO(typed, 1, 2, "A") == 0, "GOR_GO from C++");
    while (typed_sum != 68)
        gor_yield();
    gor_mutex m = {};
    gor_mutex_lock(&m);
    tap(!gor_mutex_try_lock(&m), "a zeroed mutex locks");
    gor_mutex_unlock(&m);
    tap(gor_wg_wait(&wg) == 0, "a zeroed wait group waits for nothing");
}

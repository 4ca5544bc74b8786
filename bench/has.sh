#!/bin/sh
# has.sh PROGRAM: can that benchmark program be built here? Status 0 if so; else the reason on
# stderr and status 1. `make bench-setup` installs what the programs need.
CC=${CC:-cc} CXX=${CXX:-c++} GO=${GO:-go} CARGO=${CARGO:-cargo}

missing() { echo "bench: $program is left out: no $1" >&2; exit 1; }
have()    { command -v "$1" >/dev/null || missing "$1"; }

# compiles COMPILER LANGUAGE SOURCE FLAGS...: does it make a program?
compiles() {
    compiler=$1 language=$2 source=$3
    shift 3
    have "$compiler"
    out=$(mktemp) || exit 1
    echo "$source" | $compiler -x "$language" - -o "$out" "$@" 2>/dev/null
    status=$?
    rm -f "$out"
    return $status
}

program=$1
case $program in
gor | threads) have "$CC" ;;
floor)  case $(uname -m) in x86_64 | aarch64) have "$CC" ;; *) missing 'switch for this processor' ;;
        esac ;;
openmp) compiles "$CC" c '#include <omp.h>
int main(void) { return omp_get_max_threads() < 1; }' -fopenmp || missing OpenMP ;;
fibers) compiles "$CXX" c++ '#include <boost/fiber/all.hpp>
int main() { boost::fibers::fiber([] {}).join(); }' -std=c++17 -pthread -lboost_fiber \
            -lboost_context || missing Boost.Fiber ;;
tbb)    compiles "$CXX" c++ '#include <tbb/task_group.h>
int main() { tbb::task_group g; g.wait(); }' -std=c++17 -pthread -ltbb || missing oneTBB ;;
go)     have "$GO" ;;
tokio)  have "$CARGO"
        (cd "$(dirname "$0")/tokio" && "$CARGO" fetch --offline --locked) >/dev/null 2>&1 ||
            missing 'tokio crates (make bench-setup fetches them)' ;;
*)      echo "has.sh: no program $program" >&2; exit 2 ;;
esac

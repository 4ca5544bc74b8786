#!/bin/sh
# The benchmark programs build; every case of each comes, with a tiny N, to the result that it must
# have, and gor and Go to the same one. Runtimes other than gor, threads and Go are extras: one that
# is not installed is no failure. TAP.
cd "$(dirname "$0")/.." || exit 1
. tests/tap.sh
dir=$PWD/$BUILD/test                     # apart from what `make bench` builds and measures
rm -rf "$dir"
mkdir -p "$dir" || exit 1
go=${GO:-go} cargo=${CARGO:-cargo}
c="$CC -std=c11 -Wall -Wextra -Werror -O2" cxx="$CXX -std=c++17 -Wall -Wextra -Werror -O2"
programs='gor threads'

# extra NAME COMMAND...: build it, if what it needs is installed
extra() {
    name=$1
    shift
    if why=$(bench/has.sh "$name" 2>&1 >/dev/null); then
        try "$name builds" "$@" && programs="$programs $name"
    else
        skip "$name builds" "extra: $why"
    fi
}

# shellcheck disable=SC2086
{
try 'gor builds' $c -I"$ROOT" bench/bench.c -o "$dir/gor" -pthread || finish
try 'threads builds' $c bench/threads.c -o "$dir/threads" -pthread || finish
extra floor $c bench/floor.c -o "$dir/floor"
extra openmp $c -fopenmp bench/openmp.c -o "$dir/openmp"
extra fibers $cxx bench/fibers.cpp -o "$dir/fibers" -pthread -lboost_fiber -lboost_context
extra tbb $cxx bench/tbb.cpp -o "$dir/tbb" -pthread -ltbb
extra tokio sh -c "cd bench/tokio && '$cargo' build --locked --offline --quiet \
    --target-dir ../../build/bench/cargo && cp ../../build/bench/cargo/debug/bench '$dir/tokio'"
}
if have "$go"; then
    try 'go builds' sh -c "cd bench/go && GOTOOLCHAIN=local '$go' build -o '$dir/go' ." &&
        programs="$programs go"
else
    skip 'go builds' 'no go'
fi

tiny() {                                # tiny CASE: N; for some it is more than a number of turns
    case $1 in
    fib)     echo 10 ;;
    nqueens) echo 5 ;;
    idle)    echo 20 ;;
    wakeup)  echo 10 ;;
    late_*)  echo 10 ;;
    grow_*)  echo 10 ;;
    *)       echo 100 ;;
    esac
}

# check PROGRAM CASE PROCS: the case comes to its result, which is left in $sum
check() {
    timeout 60 "$dir/$1" "$2" "$(tiny "$2")" "$3" >"$dir/out" 2>"$dir/err"
    status=$?
    sum=$(sed -n 's/.* check=\([0-9]*\).*/\1/p' "$dir/out")
    if [ $status != 0 ] || [ -z "$sum" ]; then
        echo "# $1 $2, procs $3: exit status $status"
        head -20 "$dir/err" | sed 's/^/#   | /'
        return 1
    fi
}

cases() { "$dir/$1" list | cut -d' ' -f1; }

for program in $programs; do
    for case in $(cases "$program"); do
        ok=0
        check "$program" "$case" 1 || ok=1
        check "$program" "$case" 2 || ok=1
        result $ok "$program: $case"
    done
    "$dir/$program" no-such-case 2>/dev/null
    [ $? = 3 ]
    result $? "$program says by its exit status that it lacks a case"
done

[ -x "$dir/go" ] && for case in $(cases gor | grep -v ^late_); do
    check gor "$case" 2
    gor=$sum
    check go "$case" 2
    [ -n "$gor" ] && [ "$gor" = "$sum" ]
    result $? "$case: gor $gor, Go $sum"
done
[ ! -x "$dir/go" ] || [ "$(cases gor | grep -v ^late_)" = "$(cases go)" ]
result $? 'gor and Go have the same cases, but those of C only'
finish

#!/bin/sh
# C++ exceptions in goroutines that are switched off in place every 100 us. TAP.
#   GORTEST_SECONDS=60   for each compiler, instead of 5; longer, until they were enough switches
cd "$(dirname "$0")/.." || exit 1
. tests/tap.sh
dir=$BUILD/preempt_cxx
mkdir -p "$dir" || exit 1
seconds=${GORTEST_SECONDS:-5} switches=2000

check() {                               # check CXX FLAG...
    cxx=$1
    if ! have "$cxx"; then
        skip "$*" "no $cxx"
        return
    fi
    if ! "$@" -std=c++17 -g -Wall -Wextra -Werror -I"$ROOT" tests/preempt_cxx/exceptions.cc \
            -o "$dir/prog" -pthread >"$dir/log" 2>&1; then
        sed 's/^/#   | /' "$dir/log" | head -40
        result 1 "builds: $*"
        return
    fi
    for procs in 1 2; do
        try "exceptions go on: $*, procs $procs" \
            timeout $((seconds + 60)) $RUNNER "$dir/prog" $procs "$(half "$seconds")" $switches
        grep '^#' "$dir/log"
    done
}

half() { awk -v n="$1" 'BEGIN { print n / 2 }'; }

case $CXX in aarch64*)
    switches=200                         # emulated
    check "$CXX" -O2
    finish ;;
esac
check g++ -O2
check clang++ -O2
finish

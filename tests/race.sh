#!/bin/sh
# Two goroutines that race are found by ThreadSanitizer; two that hand over are not accused.
cd "$(dirname "$0")/.." || exit 1
. tests/tap.sh
dir=$BUILD/race
mkdir -p "$dir" || exit 1
TSAN_OPTIONS=exitcode=66
export TSAN_OPTIONS

for p in race_bad race_good; do
    # shellcheck disable=SC2086
    $CC -std=c11 -g -O1 -fsanitize=thread -I"$ROOT" "tests/$p.c" -o "$dir/$p" -pthread $LDFLAGS ||
        { echo "Bail out! $p.c does not compile"; exit 1; }
done

for procs in 1 2 8; do
    GORMAXPROCS=$procs timeout 60 $RUNNER "$dir/race_bad" >"$dir/out" 2>"$dir/err"
    status=$?
    [ $status = 66 ] && grep -q 'data race' "$dir/err" && grep -q 'write_shared' "$dir/err"
    found=$?
    [ $found = 0 ] || { echo "# exit status $status"; head -40 "$dir/err" | sed 's/^/#   | /'; }
    result $found "an unordered write by two goroutines is reported, procs $procs"

    try "handing over by channel, mutex, close and join is silent, procs $procs" \
        env GORMAXPROCS=$procs timeout 60 $RUNNER "$dir/race_good"
    grep -q 'WARNING' "$dir/log" && result 1 "no warning, procs $procs"
done
finish

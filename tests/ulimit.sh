#!/bin/sh
# Out of address space while goroutines are started: -ENOMEM, and everything goes on. TAP.
cd "$(dirname "$0")/.." || exit 1
. tests/tap.sh
dir=$BUILD/ulimit
mkdir -p "$dir" || exit 1
# shellcheck disable=SC2086
$CC -std=c11 $CFLAGS -I"$ROOT" tests/ulimit_spawn.c -o "$dir/spawn" -pthread $LDFLAGS ||
    { echo 'Bail out! ulimit_spawn.c does not compile'; exit 1; }

for kib in 300000 1000000 4000000; do
    for procs in 1 2 8; do
        for stack in 16384 262144 2097152; do
            try "with $kib KiB of address space, procs $procs, stacks of $stack bytes" \
                sh -c "ulimit -v $kib; GORMAXPROCS=$procs timeout 60 $RUNNER $dir/spawn $stack"
        done
    done
done
finish

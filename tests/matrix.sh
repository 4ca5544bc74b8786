#!/bin/sh
# Run the tests in variants: compilers, optimisation, sanitizers, machines.
#
#     matrix.sh VARIANT...      build in build/VARIANT, run through prove, sum up
#     matrix.sh --list          the variants that make up the full check
#     matrix.sh --run FILE      what prove runs: a test program or script, with a record of its TAP
#
# A variant whose tools are missing is skipped, and so is a test that cannot prove its sentence; with
# CI=true that is a failure, unless it is listed at may_skip.
#   ONLY=go      only the test program or script of that name
#   SEED=n       replays the stress variant
#   JOBS=n       compile and run so many at once
cd "$(dirname "$0")/.." || exit 1

all='gcc-O0 gcc-O2 gcc-O3-lto clang-O2 clang-O3-lto pic tsan tsan-gcc asan asan-clang asan-fake
arm64 stress kqueue network scripts'

# Those that need no test program; together they are the variant "scripts".
scripts='two_tus preempt_cxx migration warnings symbols examples snippets amalgamation bench'

# What a variant is: its compiler, which test programs it runs, which scripts. gcc-O2 runs each loop
# in full, tsan a tenth of it, asan all; the others less.
setup() {
    CC=gcc CXX=g++ CFLAGS= LDFLAGS= RUNNER= NM=nm programs=yes also= seeds= ASAN_OPTIONS=
    GORTEST_LIMIT=120 GORTEST_PROCS=1,2,8,64 GORTEST_SCALE=
    case $1 in
    gcc-O0)       CFLAGS='-O0 -DGOR_CHECK=1' also='report' GORTEST_SCALE=5 ;;
    gcc-O2)       CFLAGS='-O2' also='report compile_fail ulimit faults' ;;
    gcc-O3-lto)   CFLAGS='-O3 -flto=auto' GORTEST_SCALE=5 ;;
    clang-O2)     CC=clang CXX=clang++ CFLAGS='-O2' also='compile_fail ulimit' GORTEST_SCALE=5 ;;
    # gcc's runs all; clang's what is most likely to be compiled otherwise.
    clang-O3-lto) CC=clang CFLAGS='-O3 -flto' LDFLAGS='-fuse-ld=lld' also='report' GORTEST_SCALE=5
                  programs='chan ctx errno_tls foreign go preempt registers select stack sync' ;;
    # What has thread-local state, assembly or addresses of functions in it.
    pic)          CFLAGS='-O2 -fPIC' LDFLAGS='-pie' GORTEST_SCALE=5
                  programs='errno_tls foreign go preempt registers stack' ;;
    tsan)         CC=clang CFLAGS='-O1 -fsanitize=thread' also='race report servers' ;;
    # clang's runs all; gcc's what another compiler may compile into other accesses.
    tsan-gcc)     CFLAGS='-O1 -fsanitize=thread' also='race' GORTEST_SCALE=30
                  programs='chan ctx foreign go net random select sync time' ;;
    asan)         CFLAGS="-O1 $asan -DGOR_CHECK=1" also='report' ;;
    # gcc's runs all; clang's what it is most likely to see otherwise, in part as newer ones do by
    # default, on fake stacks; at -O0 the runtime's own frames are there too.
    asan-clang)   CC=clang CFLAGS="-O1 $asan" GORTEST_SCALE=5 also=servers
                  programs='chan ctx io net oom random stack time' ;;
    asan-fake)    CC=clang CFLAGS="-O0 $asan" programs='go select sync'
                  ASAN_OPTIONS=detect_stack_use_after_return=1 ;;
    arm64)        CC=aarch64-linux-gnu-gcc CXX=aarch64-linux-gnu-g++ NM=aarch64-linux-gnu-nm
                  CFLAGS='-O2 -DTEST_SCALE=10' RUNNER='qemu-aarch64 -L /usr/aarch64-linux-gnu'
                  also='report two_tus symbols preempt_cxx' GORTEST_PROCS=1,2,8 GORTEST_LIMIT=300 ;;
    stress)       CFLAGS='-O1 -DGOR_CHECK=1' GORTEST_PROCS=1,2,8 seeds=${SEED:-$(some_seeds)}
                  GORTEST_SCALE=5 ;;
    # The poller of macOS and the BSDs, on an epoll that plays kqueue.
    kqueue)       CFLAGS='-O2 -DGOR__KQUEUE=1 -Itests/kqueue' programs='io net' GORTEST_SCALE=5 ;;
    network)      programs= also=network CFLAGS=-O2 ;;         # as its users build them
    scripts)      programs= also=$scripts ;;
    *)            echo "matrix.sh: no variant $1" >&2; exit 2 ;;
    esac
    case $1 in tsan*)
        # TSan's address space does not always go with the kernel's randomisation of ours.
        if setarch "$(uname -m)" -R true 2>/dev/null; then
            RUNNER="setarch $(uname -m) -R"
        fi
        GORTEST_PROCS=1,2,8 GORTEST_LIMIT=300 ;;
    esac
    BUILD=build/$1 ROOT=. VARIANT=$1
    CFLAGS="-g1 $CFLAGS"                # lines, for what a sanitizer finds
    export CC CXX NM CFLAGS LDFLAGS RUNNER BUILD ROOT VARIANT
    export GORTEST_LIMIT GORTEST_PROCS GORTEST_SCALE ASAN_OPTIONS
}

asan='-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer'

some_seeds() { od -An -N6 -tu2 /dev/urandom; }

# Does the variant's compiler make a program that runs? Says why not.
usable() {
    command -v "${CC%% *}" >/dev/null || { echo "no $CC"; return 1; }
    [ -z "$RUNNER" ] || command -v "${RUNNER%% *}" >/dev/null || { echo "no ${RUNNER%% *}"; return 1; }
    echo 'int main(void) { return 0; }' >"$BUILD/probe.c"
    $CC $CFLAGS "$BUILD/probe.c" -o "$BUILD/probe" -pthread $LDFLAGS 2>"$BUILD/probe.log" ||
        { echo "$CC $CFLAGS $LDFLAGS does not build a program"; return 1; }
    $RUNNER "$BUILD/probe" 2>"$BUILD/probe.log" || { echo "programs do not run"; return 1; }
}

# Is the program newer than all it is made of?
fresh() {
    for part in "tests/$1.c" tests/test.h tests/runtime.[ch] tests/matrix.sh gor.h; do
        [ "$BUILD/$1" -nt "$part" ] || return 1
    done
}

# Those that name what is the runtime's own have it compiled into them, the others share one object.
inside() { grep -q '^#define TEST_INSIDE' "tests/$1.c"; }

compile() {                             # compile NAME: on failure nothing is left to run
    common="-std=c11 -D_GNU_SOURCE -Wall -Wextra $CFLAGS -I."
    rm -f "$BUILD/$1"
    # shellcheck disable=SC2086
    if [ "$1" = runtime.o ]; then
        $CC $common -c tests/runtime.c -o "$BUILD/$1"
    elif inside "$1"; then
        $CC $common "tests/$1.c" -o "$BUILD/$1" -pthread $LDFLAGS
    else
        $CC $common "tests/$1.c" "$BUILD/runtime.o" -o "$BUILD/$1" -pthread $LDFLAGS
    fi
}

# Compile those of NAME... that are not up to date, many at once: what takes long first, and what
# others are linked with before them.
compile_all() {
    first= then=
    for name in "$@"; do
        if fresh "$name"; then continue
        elif inside "$name"; then first="$first $name"
        else then="$then $name"; fi
    done
    [ -z "$then" ] || first="runtime.o$first"
    for batch in "$first" "$then"; do
        echo $batch | xargs -r -n 1 -P "$jobs" "$0" --compile
    done
}

# may_skip WHY: of what kind a skip is, "kind: why", which the variant may have where nothing may
# be missing.
may_skip() {
    case $VARIANT:${1%%:*} in
    *san*:sanitizer)      ;;            # its stacks and its allocator are not ours
    gcc-O0:unoptimised)   ;;            # bounds of memory are for optimised code
    arm64:emulator)       ;;            # qemu's memory and clocks are in the figures
    stress:stress)        ;;            # there is no order to prove
    scripts:extra)        ;;            # bench: a runtime to compare with, gor.h needs none of them
    *:kernel | *:counter) ;;            # the machine's to have: the test asked the system itself
    *)                    return 1 ;;
    esac
}

# With CI=true a skip that is not listed has failed.
no_other_skips() {
    if [ "${CI:-}" != true ]; then
        cat
        return
    fi
    while IFS= read -r tap; do
        why=${tap##* # SKIP }
        case $tap in 'ok '*' # SKIP '*)
            may_skip "$why" || tap="not ${tap%% # SKIP *}: missing: $why" ;;
        esac
        printf '%s\n' "$tap"
    done
}

run() {                                 # run FILE: its TAP on stdout and in $TAP
    name=$(basename "$1")
    log=$TAP/$name.tap err=$TAP/$name.err
    case $1 in
    *.sh) sh "$1" ;;
    *)    timeout -k 10 $((GORTEST_LIMIT + 30)) $RUNNER "$1" ;;
    esac >"$log.all" 2>"$err" </dev/null
    status=$?
    no_other_skips <"$log.all" >"$log"
    seen=$(grep -Ec '^(not )?ok ' "$log")
    if ! grep -q "^1\.\.$seen\( \|\$\)" "$log" ||
            { [ $status != 0 ] && ! grep -q '^not ok' "$log"; }; then
        echo "not ok $((seen + 1)) - $name: exit status $status after $seen tests," \
            "plan: $(grep '^1\.\.' "$log")" >>"$log"
    fi
    cat "$log"
    if grep -q '^not ok' "$log"; then
        { echo "== $VARIANT/$name: exit status $status, stderr:"; tail -60 "$err"
          echo "== $VARIANT/$name: stdout:"; grep -v '^ok ' "$log" | tail -60; } >&2
        exit 1
    fi
}

# Run the files through prove: alone those that measure how late something is, or for which the
# runtime measures how long a turn takes (order); then the others side by side, the long ones first,
# one more than there are cores, for each waits now and then.
# Without prove, say what failed and go on.
harness() {
    mkdir -p "$TAP"
    export TAP
    timed= long= others=
    for file in "$@"; do
        case ${file##*/} in
        preempt | time | idle | order) timed="$timed $file" ;;
        servers.sh | faults.sh | report.sh | two_tus.sh | warnings.sh | examples.sh | scale | \
            stack | io) long="$long $file" ;;
        *)              others="$others $file" ;;
        esac
    done
    others="$long $others"
    if command -v prove >/dev/null; then
        [ -z "$timed" ] || prove --timer --exec "$0 --run" $timed
        [ "$others" = " " ] || prove --timer -j $((jobs + 1)) --exec "$0 --run" $others
    else
        echo 'matrix.sh: no prove here, so this is all there is to see:'
        for file in "$@"; do
            if "$0" --run "$file" >/dev/null; then echo "$file .. ok"
            else echo "$file .. FAILED"; fi
        done
    fi
}

# count PATTERN: lines of TAP of this variant that match
count() { cat "$BUILD"/tap*/*.tap 2>/dev/null | grep -c "$1"; }

# All of one variant; adds a line to $summary, counts of passed, failed and skipped tests first
variant() {
    setup "$1"
    begin=$(date +%s)
    mkdir -p "$BUILD"
    rm -rf "$BUILD"/tap*
    echo "== $1${programs:+: $CC $CFLAGS $LDFLAGS}"
    if [ -n "$programs" ] && ! why=$(usable); then
        if [ "${CI:-}" = true ]; then
            echo "   MISSING: $why"
            echo "0 1 0 0 $1 (missing: $why)" >>"$summary"
        else
            echo "   SKIP: $why"
            echo "0 0 0 0 $1 (skipped: $why)" >>"$summary"
        fi
        return
    fi
    files=
    if [ -n "$programs" ]; then
        names=$programs
        [ "$names" != yes ] || names=$(grep -l '"test\.h"' tests/*.c | sed 's,.*/,,; s,\.c$,,')
        names=$(for name in $names; do [ "${ONLY:-$name}" = "$name" ] && echo "$name"; done)
        compile_all $names
        for name in $names; do files="$files $BUILD/$name"; done
    fi
    for name in $also; do
        [ "${ONLY:-$name}" = "$name" ] && files="$files tests/$name.sh"
    done
    if [ -n "$seeds" ]; then
        for seed in $seeds; do
            echo "   seed $seed; again with: make check-$1 SEED=$seed"
            TAP=$BUILD/tap-$seed
            GORDEBUG=stress=$seed GORTEST_SEED=$seed harness $files
            files=$(echo "$files" | sed 's,[^ ]*/\(preempt\|idle\)\( \|$\),\2,g')    # one seed
        done
    elif [ -n "$files" ]; then
        TAP=$BUILD/tap
        harness $files
    fi
    cat "$BUILD"/tap*/registers.tap 2>/dev/null | sed -n 's/^# vector/   registers: vector/p' | uniq
    skips=$(count '^ok .* # SKIP ')
    echo "$(($(count '^ok ') - skips)) $(count '^not ok') $skips $(($(date +%s) - begin)) $1" \
        >>"$summary"
}

case ${1:-} in
--list)    echo $all; exit ;;
--run)     run "$2"; exit ;;
--compile) compile "$2" || echo "matrix.sh: $VARIANT: $2 does not compile"; exit 0 ;;
esac

mkdir -p build
jobs=${JOBS:-$(nproc)}
summary=$(mktemp build/summary.XXXXXX)
trap 'rm -f "$summary"' EXIT
unset GORDEBUG GORMAXPROCS GORTRACEBACK
for v in "$@"; do
    variant "$v"
done
echo
awk '
    { printf "%6d passed %4d failed %4d skipped %5d s  %s", $1, $2, $3, $4, $5
      for (i = 6; i <= NF; i++) printf " %s", $i
      print ""; passed += $1; failed += $2; skipped += $3 + (NF > 5) }
    END { printf "%d passed, %d failed\n", passed, failed
          exit failed > 0 || passed + skipped == 0 }' "$summary"

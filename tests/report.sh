#!/bin/sh
# Programs that end with a report: exit status, and what stands on stderr. TAP, for prove.
#   CC CFLAGS LDFLAGS   the compiler;    RUNNER  what runs the programs, e.g. qemu-aarch64
#   BUILD               where to build;  ROOT    where gor.h is
cd "$(dirname "$0")/.." || exit 1
. tests/tap.sh
dir=$BUILD/report
mkdir -p "$dir" || exit 1
ulimit -c 0
unset GORTRACEBACK GORDEBUG GORMAXPROCS
# A sanitizer that handles faults itself is their owner, and gets them: here gor is to have them.
export ASAN_OPTIONS=handle_segv=0 TSAN_OPTIONS=handle_segv=0

# run PROGRAM ARG...: its exit status in $status, its output in $dir/out and $dir/err
run() {
    program=$1
    shift
    timeout 60 $RUNNER "$dir/report_$program" "$@" >"$dir/out" 2>"$dir/err"
    status=$?
}

# line PROGRAM MARK: the place that carries the mark, as reports print it
line() {
    echo "report_$1.c:$(grep -n "site: $2 \*/" "tests/report_$1.c" | cut -d: -f1)"
}

# expect NAME STATUS TEXT...: the last run ended so, with each text (extended regex) on stderr;
# a text that begins with ! must not be there
expect() {
    name=$1 want=$2 bad=0
    shift 2
    if [ "$status" != "$want" ]; then
        echo "# exit status $status, want $want"
        bad=1
    fi
    for text in "$@"; do
        case $text in
        !*) if grep -Eq -- "${text#!}" "$dir/err"; then
                echo "# unwanted on stderr: ${text#!}"
                bad=1
            fi ;;
        *)  if ! grep -Eq -- "$text" "$dir/err"; then
                echo "# missing on stderr: $text"
                bad=1
            fi ;;
        esac
    done
    [ $bad = 0 ] || sed 's/^/#   | /' "$dir/err" | head -40
    result $bad "$name"
}

# compile NAME FLAG...: a program of that name, the implementation is compiled already
compile() {
    name=$1
    shift
    # shellcheck disable=SC2086
    $CC -std=c11 -D_GNU_SOURCE $CFLAGS -I"$ROOT" "$@" "$dir/gor.o" -o "$dir/report_$name" \
        -pthread $LDFLAGS
}

printf '#define GOR_IMPLEMENTATION\n#include "gor.h"\n' >"$dir/gor.c"
# shellcheck disable=SC2086
$CC -std=c11 -D_GNU_SOURCE $CFLAGS -I"$ROOT" -c "$dir/gor.c" -o "$dir/gor.o" || {
    echo 'Bail out! gor.h does not compile'
    exit 1
}
for p in deadlock panic crash; do
    if ! compile $p "tests/report_$p.c"; then
        echo "Bail out! report_$p.c does not compile"
        exit 1
    fi
done

# -- deadlocks
asleep='all goroutines are asleep - deadlock!'
run deadlock dead receive
expect 'a deadlock names the receiver, what it waits for and where it was started' 2 \
    "$asleep" stuck_receiver 'recv|receive' "$(line deadlock receive)" 'wg|wait ?group'
run deadlock dead send
expect 'a deadlock names the sender' 2 "$asleep" stuck_sender 'send' "$(line deadlock send)"
run deadlock dead select
expect 'a deadlock names the select' 2 "$asleep" stuck_selector 'select' "$(line deadlock select)"
run deadlock dead mutex
expect 'a deadlock names the mutex' 2 "$asleep" stuck_locker 'mutex' "$(line deadlock mutex)"
run deadlock dead named
expect 'a deadlock uses the name of the attributes' 2 "$asleep" forgotten "$(line deadlock named)"
run deadlock dead nil
expect 'a main goroutine alone on a NULL channel is a deadlock' 2 "$asleep" 'NULL'
run deadlock dead exit
expect 'a deadlock after the main goroutine has exited is reported' 2 \
    'deadlock!' stuck_receiver "$(line deadlock exit)"
run deadlock gone
expect 'a deadlock is reported once the thread that might have sent is gone' 2 \
    "$asleep" stuck_receiver
run deadlock dead all
# listed KIND FUNCTION SITE: that goroutine waits so, and the next line says where it was started
listed() {
    grep -A1 -E "^goroutine [0-9]+ \"$2\" \[waiting: $1( 0x[0-9a-f]+)?[],]" "$dir/err" |
        grep -q "started at .*$(line deadlock "all $3")\$" || {
            echo "# not listed: $2, waiting: $1, started at $(line deadlock "all $3")"
            false
        }
}
bad=0
while IFS=: read -r kind function site; do
    listed "$kind" "$function" "$site" || bad=1
done <<END
send on channel:wait_send:send
receive on channel:wait_receive:receive
NULL channel:wait_receive:NULL
select:stuck_selector:select
select without cases:wait_nowhere:nowhere
mutex:wait_mutex:mutex
rwmutex, reading:wait_reading:reading
rwmutex, writing:wait_writing:writing
cond:wait_cond:cond
semaphore:wait_sem:sem
barrier:wait_barrier:barrier
wait group:wait_wg:wg
join:wait_join:join
receive on channel:wait_inside:inside
once:wait_once:once
END
[ $bad = 0 ] || sed 's/^/#   | /' "$dir/err" | head -60
[ $bad = 0 ] && [ "$status" = 2 ]
result $? 'a deadlock names each kind of wait, who waits so and where that was started'
case ${VARIANT:-gcc-O2} in gcc-O2)         # one is enough: the implementation is compiled again
    # shellcheck disable=SC2086
    if $CC -std=c11 -D_GNU_SOURCE $CFLAGS -I"$ROOT" -DGOR_IMPLEMENTATION -rdynamic \
            -fno-omit-frame-pointer tests/report_deadlock.c -o "$dir/report_frames" -pthread $LDFLAGS
    then
        run frames dead deep
        expect 'a report names the functions that a goroutine is in' 2 \
            '^ +deep_in_the_users_code\+0x[0-9a-f]+$'
    else
        result 1 'report_deadlock.c compiles with -rdynamic'
    fi ;;
esac
run deadlock hook receive
expect 'the deadlock hook is called before the report' 2 'hook saw the deadlock' "$asleep"

for how in thread lock timer ticker block sleep compute deadline context; do
    run deadlock wait $how
    grep -q 'got 7' "$dir/out" || status="$status, no seven"
    expect "no false deadlock while this can still wake someone: $how" 0 '!deadlock' '!goroutine'
done

# -- panics
run panic format
expect 'a panic prints its formatted text, its place, its goroutine and where that was started' 2 \
    'it went wrong 42 times' "$(line panic format)" 'hard worker' "$(line panic worker)"
run panic main
expect 'a panic of the main goroutine ends the program' 2 \
    'the main goroutine gave up' "$(line panic main)"
run panic mutex
expect 'unlocking an unlocked mutex names the call' 2 unlock mutex "$(line panic mutex)"
run panic rwmutex
expect 'unlocking an unlocked rwmutex names the call' 2 unlock "$(line panic rwmutex)"
run panic runlock
expect 'read-unlocking an unlocked rwmutex names the call' 2 unlock "$(line panic runlock)"
run panic wg
expect 'a negative wait group counter names the call' 2 negative "$(line panic wg)"
run panic wg_add
expect 'a negative wait group sum names the call' 2 negative "$(line panic wg_add)"
run panic thread_unlock
expect 'one gor_unlock_thread too many is a panic' 2 'unlock_thread|lock_thread' 'hard worker'
run panic deferred
expect 'deferred calls run before the report' 2 'deferred ran' 'after the deferred call'
run panic again
expect 'a panic in a deferred call is reported, and the one before it' 2 'second trouble' \
    'first trouble'
run panic anew
expect 'a panic after one that was recovered is reported alone' 2 'recovered first trouble' \
    'second trouble' '!panic: first trouble'
run panic recovered
grep -q 'went on' "$dir/out" || status="$status, did not go on"
expect 'a recovered panic leaves no report' 0 'recovered in time' '!hard worker' '!bystander'
run panic thread
expect 'a panic of a foreign thread ends the program' 2 'a thread gave up' "$(line panic thread)"
for call in yield exit fork join parallel_for local_get local_set lock_thread unlock_thread \
        ctx_enter; do
    run panic gor_$call
    expect "gor_$call outside of goroutines says so" 2 \
        "panic: gor_$call called outside of a goroutine"
done
run panic format hook
expect 'the panic hook is called with the message' 2 'hook on_panic heard: .*it went wrong 42 times'

# -- GORTRACEBACK
GORTRACEBACK=none run panic format
expect 'GORTRACEBACK=none prints the message alone' 2 'it went wrong 42' '!bystander'
GORTRACEBACK=single run panic format
expect 'GORTRACEBACK=single prints the one goroutine' 2 'it went wrong 42' 'hard worker' \
    '!bystander'
GORTRACEBACK=all run panic format
expect 'GORTRACEBACK=all prints every goroutine' 2 'it went wrong 42' 'hard worker' bystander
GORTRACEBACK=crash run panic format
expect 'GORTRACEBACK=crash prints every goroutine and aborts' 134 'it went wrong 42' \
    'hard worker' bystander
GORTRACEBACK=none run deadlock dead receive
expect 'GORTRACEBACK=none holds for a deadlock' 2 "$asleep" '!stuck_receiver'

# -- crashes
stack="stack of 262144 bytes from 0x[0-9a-f]+ to 0x[0-9a-f]+, started at .*$(line crash diver)"
for mode in '' noguardinstall=1 strict=1; do
    GORDEBUG=$mode run crash overflow
    expect "infinite recursion names the goroutine, its stack, where it was started; GORDEBUG=$mode" 2 \
        'stack overflow in goroutine [0-9]+ "deep diver"' "$stack" bystander 'goroutine 1 "main"'
    run crash below
    expect "a touch of the page below a stack is a stack overflow; GORDEBUG=$mode" 2 \
        'stack overflow in goroutine [0-9]+ "deep diver"' '!SIGSEGV'
done
GORDEBUG=noguard=1 run crash end_below
expect 'without guards, who has overwritten the end of its stack is named when it ends' 2 \
    'stack overflow in goroutine [0-9]+ "end_below": its canary is gone'
GORTRACEBACK=single run crash overflow
expect 'GORTRACEBACK=single holds for an overflow' 2 'stack overflow' 'deep diver' '!bystander'
GORTRACEBACK=crash run crash overflow
expect 'GORTRACEBACK=crash holds for an overflow' 134 'stack overflow' bystander
run crash blocked
expect 'infinite recursion inside of gor_block is a stack overflow' 2 'stack overflow' 'deep diver'
run crash blocked_below
expect 'a frame that ends below the stack inside of gor_block is a stack overflow' 2 \
    'stack overflow in goroutine [0-9]+ "deep diver"' '!SIGSEGV'
run crash owner
grep -q 'my own handler' "$dir/out" || status="$status, not handled"
expect 'a fault that is no overflow goes to the handler that was there' 3 '!deep diver'
run crash owner_overflow
expect 'an overflow is reported though there is another handler' 2 'stack overflow' 'deep diver'
run crash main
expect 'infinite recursion of the main goroutine is a stack overflow' 2 'stack overflow'
run crash large
expect 'infinite recursion on a large stack is a stack overflow' 2 'stack overflow' 'deep diver'
run crash segv
expect 'a wild pointer names the goroutine' 2 'SIGSEGV|[Ss]egmentation' 'deep diver' \
    "$(line crash segv)" '!stack overflow'
run crash closed
expect 'a poller that the program has closed is named' 2 \
    'cannot wait for descriptors any more: .*EBADF' 'closed one' 'goroutine 1 "main"'
run crash leak
expect 'leaks are reported at the stop when asked for' 0 bystander "$(line crash bystander)"
case "$CFLAGS $RUNNER" in
*-fsanitize=*) ;;                       # it makes such a frame differently
*)  compile clash -fstack-clash-protection tests/report_crash.c && run clash leap
    expect 'a frame larger than the guard is caught under -fstack-clash-protection' 2 \
        'stack overflow in goroutine [0-9]+ "deep diver"' "$(line crash leaper)" ;;
esac
case "$CFLAGS $RUNNER" in
*-fsanitize=* | *qemu*) ;;              # the one needs all address space, the other has no limit
*)  run crash memory
    grep -q 'ENOMEM.* after some' "$dir/out" || status="$status, no ENOMEM"
    [ "$(grep -c '^then ' "$dir/out")" = 1 ] && ! grep -q '^then .*ENOMEM' "$dir/out" ||
        status="$status, does not go on"
    expect 'without address space gor_go gives ENOMEM and everything goes on' 0 ;;
esac

echo "1..$n"
[ $n_failed = 0 ]

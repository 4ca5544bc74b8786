#!/bin/sh
# The benchmarks build, every case runs with a tiny N, and gor and Go reach the same result. TAP.
cd "$(dirname "$0")/.." || exit 1
. tests/tap.sh
dir=$PWD/$BUILD
mkdir -p "$dir" || exit 1
go=${GO:-go}

try 'bench.c builds' $CC -std=c11 -Wall -Wextra -Werror -O2 -I"$ROOT" bench/bench.c -o "$dir/gor" \
    -pthread || finish
try 'floor.c builds' $CC -std=c11 -Wall -Wextra -Werror -O2 bench/floor.c -o "$dir/floor" -pthread
with_go=no
if have "$go"; then
    try 'the Go side builds' \
        sh -c "cd bench/go && GOTOOLCHAIN=local '$go' build -o '$dir/go' ." && with_go=yes
else
    skip 'the Go side builds' 'no go'
fi

tiny() {                                # tiny CASE: N; for some it is more than a number of turns
    case $1 in
    fib)     echo 10 ;;
    nqueens) echo 5 ;;
    idle)    echo 20 ;;
    wakeup)  echo 10 ;;
    *)       echo 100 ;;
    esac
}

# checksum PROGRAM CASE PROCS: the result, or what went wrong
checksum() {
    timeout 60 "$dir/$1" "$2" "$(tiny "$2")" "$3" >"$dir/out" 2>"$dir/err" ||
        { echo "exit status $?"; head -20 "$dir/err" | sed 's/^/#   | /' >&2; return 1; }
    sed -n 's/.* check=\([0-9]*\).*/\1/p' "$dir/out" | grep .
}

for case in $("$dir/gor" list | cut -d' ' -f1); do
    for procs in 1 2; do
        if ! gor=$(checksum gor "$case" $procs); then
            echo "# gor: $gor"
            result 1 "$case runs, procs $procs"
            continue
        fi
        result 0 "$case runs, procs $procs"
        [ $with_go = yes ] || continue
        theirs=$(checksum go "$case" $procs)
        same=1
        { [ "$gor" = "$theirs" ] || [ "$case" = idle ]; } && same=0
        [ $same = 0 ] || echo "# gor $gor, Go $theirs"
        result $same "$case gives what Go gives, procs $procs"
    done
done
for case in $("$dir/floor" list | cut -d' ' -f1); do
    floor=$(checksum floor "$case" 2)
    gor=$(checksum gor "$case" 2)
    [ "$floor" = "$gor" ]
    result $? "$case gives what plain threads give"
done
finish

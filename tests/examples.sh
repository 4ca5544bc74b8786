#!/bin/sh
# Each example prints what examples/expected says; wordcount agrees with a shell pipeline. TAP.
cd "$(dirname "$0")/.." || exit 1
. tests/tap.sh
dir=$BUILD/examples
mkdir -p "$dir" || exit 1
tree=${TREE:-/usr/include/linux}         # make demo takes all of /usr/include
[ -d "$tree" ] || tree=/usr/include

# Ctrl-C in the middle of a file that never ends, once progress has been shown. In the background
# the shell has SIGINT ignored: a program without a handler goes on until the watchdog comes.
interrupt_wordcount() {
    mkdir -p "$dir/endless"
    truncate -s 1T "$dir/endless/file"   # no block of it is on the disk
    "$dir/wordcount" "$dir/endless" >"$dir/out" 2>"$dir/err" &
    pid=$!
    { sleep 30; kill -9 $pid; } >/dev/null 2>&1 &
    watchdog=$!
    until grep -q 'wordcount: .* files, .* MB, .* files/s$' "$dir/err"; do
        kill -0 $pid 2>/dev/null || break
        sleep 0.1
    done
    kill -INT $pid
    wait $pid
    status=$?
    kill $watchdog
    rm -f "$dir/endless/file"
    grep -q 'wordcount: .* files, .* MB, .* files/s$' "$dir/err"
    result $? 'wordcount shows its progress'
    [ $status = 130 ] || echo "# exit status $status"
    [ $status = 130 ] && grep -q '^partial result: interrupted after' "$dir/out"
    result $? 'wordcount ends on Ctrl-C by a status of its own, and says so'
}

for source in examples/*.c; do
    name=$(basename "$source" .c)
    case $name in httpd | kv | proxy | chat | scrape | pgquery)
        continue ;;                     # tests/network.sh has clients for them
    esac
    want=examples/expected/$name.txt
    try "$name compiles without a warning" \
        $CC -std=c11 -Wall -Wextra -Werror -O0 -I"$ROOT" "$source" -o "$dir/$name" -pthread ||
        continue
    case $name in
    wordcount)
        try 'wordcount agrees with a shell pipeline' \
            timeout 120 examples/wordcount_check.sh "$dir/wordcount" "$tree"
        interrupt_wordcount
        continue ;;
    ring)
        try 'ring passes a token through 100,000 goroutines' timeout 120 "$dir/ring"
        continue ;;
    esac
    if [ ! -f "$want" ]; then
        result 1 "$name has an expected output"
        continue
    fi
    for procs in 1 2 8; do
        GORMAXPROCS=$procs timeout 60 "$dir/$name" >"$dir/out" 2>"$dir/err" </dev/null
        status=$?
        diff "$want" "$dir/out" >"$dir/diff" && [ $status = 0 ]
        same=$?
        [ $same = 0 ] || { echo "# exit status $status"
                           sed 's/^/#   | /' "$dir/diff" "$dir/err" | head -30; }
        result $same "$name prints what is expected, procs $procs"
    done
done
finish

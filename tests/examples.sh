#!/bin/sh
# Each example prints what examples/expected says; wordcount agrees with a shell pipeline. TAP.
cd "$(dirname "$0")/.." || exit 1
. tests/tap.sh
dir=$BUILD/examples
mkdir -p "$dir" || exit 1
tree=${TREE:-/usr/include/linux}         # make demo takes all of /usr/include
[ -d "$tree" ] || tree=/usr/include

for source in examples/*.c; do
    name=$(basename "$source" .c)
    case $name in httpd | kv | proxy | chat | scrape | pgquery)
        continue ;;                     # tests/network.sh has clients for them
    esac
    want=examples/expected/$name.txt
    try "$name compiles without a warning" \
        $CC -std=c11 -Wall -Wextra -Werror -O1 -I"$ROOT" "$source" -o "$dir/$name" -pthread ||
        continue
    case $name in
    wordcount)
        try 'wordcount agrees with a shell pipeline' \
            timeout 120 examples/wordcount_check.sh "$dir/wordcount" "$tree"
        # Stopped in the middle it ends soon, by the status of Ctrl-C, or it was done before.
        timeout -s INT 0.05 "$dir/wordcount" /usr/include >"$dir/out" 2>&1
        status=$?
        [ $status = 124 ] || [ $status = 0 ] || [ $status = 130 ]
        result $? "wordcount ends on Ctrl-C"
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

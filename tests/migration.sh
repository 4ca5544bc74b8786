#!/bin/sh
# A goroutine moves between threads while the optimiser sees all of the program: errno and
# thread-local state must follow. errno_tls.c in every way of linking, by every compiler. TAP.
cd "$(dirname "$0")/.." || exit 1
. tests/tap.sh
dir=$BUILD/migration
mkdir -p "$dir" || exit 1
std='-std=c11 -D_GNU_SOURCE -DTEST_INSIDE -I.'     # the runtime is in the same file

build_and_run() {                       # build_and_run NAME COMPILER FLAG...
    name=$1
    shift
    if ! "$@" $std tests/errno_tls.c -o "$dir/$name" -pthread >"$dir/log" 2>&1; then
        sed 's/^/#   | /' "$dir/log" | head -20
        result 1 "builds: $*"
        return
    fi
    try "$*" timeout 150 "$dir/$name"
}

for cc in gcc clang; do
    if ! have $cc; then
        skip "$cc" "no $cc"
        continue
    fi
    lto=-flto=auto
    [ $cc = gcc ] || lto='-flto -fuse-ld=lld'
    build_and_run "$cc-lto" $cc -O3 $lto
    build_and_run "$cc-lto-pie" $cc -O3 $lto -fPIC -pie
    build_and_run "$cc-lto-no-pie" $cc -O3 $lto -fno-pie -no-pie
    build_and_run "$cc-pic-pie" $cc -O3 -fPIC -pie
    build_and_run "$cc-static" $cc -O3 $lto -static

    # all of it in a shared library, run by a program that knows nothing
    if try "$cc builds a shared library" $cc -O3 -fPIC -shared $std -Dmain=tests_main \
            tests/errno_tls.c -o "$dir/libtls-$cc.so" -pthread; then
        echo 'extern int tests_main(void); int main(void) { return tests_main(); }' >"$dir/main.c"
        try "$cc links it" $cc -O2 "$dir/main.c" -o "$dir/shared-$cc" "$dir/libtls-$cc.so" \
            -Wl,-rpath,"$PWD/$dir" -pthread &&
            try "$cc -shared" timeout 150 "$dir/shared-$cc"
    fi
done
finish

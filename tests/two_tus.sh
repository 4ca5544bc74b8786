#!/bin/sh
# gor.h in three files, two of C and one of C++17, with the implementation in one: linked and run;
# the implementation as C11 and as C++17. TAP.
cd "$(dirname "$0")/.." || exit 1
. tests/tap.sh
dir=$BUILD/two_tus
mkdir -p "$dir" || exit 1

build() {                               # build C_COMPILER CXX FLAG...: prog and prog-cxx in $dir
    cc=$1 cxx=$2
    shift 2
    all="$* -g -Wall -Wextra -Werror -I$ROOT -Itests/two_tus -c"
    (
        set -e
        $cc -std=c11 $all tests/two_tus/impl.c -o "$dir/impl.o"
        $cc -std=c11 $all tests/two_tus/user.c -o "$dir/user.o"
        $cxx -std=c++17 $all tests/two_tus/user.cc -o "$dir/user-cc.o"
        $cxx $* "$dir/impl.o" "$dir/user.o" "$dir/user-cc.o" -o "$dir/prog" -pthread
        $cxx -x c++ -std=c++17 $all tests/two_tus/impl.c -o "$dir/impl-cxx.o"
        $cxx -x c++ -std=c++17 $all tests/two_tus/user.c -o "$dir/user-cxx.o"
        $cxx $* "$dir/impl-cxx.o" "$dir/user-cxx.o" "$dir/user-cc.o" -o "$dir/prog-cxx" -pthread
    ) >"$dir/log" 2>&1
}

check() {
    if ! have "$1" || ! have "$2"; then
        skip "$*" "no $1 or no $2"
        return
    fi
    if ! build "$@"; then
        sed 's/^/#   | /' "$dir/log" | head -40
        result 1 "builds: $*"
        return
    fi
    for procs in 1 4; do
        try "$*, procs $procs" timeout 120 $RUNNER "$dir/prog" $procs
        try "$*, procs $procs, implementation as C++" timeout 120 $RUNNER "$dir/prog-cxx" $procs
    done
}

case $CC in aarch64*)
    check "$CC" "$CXX" -O2
    finish ;;
esac
check gcc g++ -O2
check gcc g++ -O3 -flto=auto
check clang clang++ -O2
check clang clang++ -O3 -flto -fuse-ld=lld
check gcc g++ -O1 -fsanitize=address,undefined -fno-sanitize-recover=all
finish

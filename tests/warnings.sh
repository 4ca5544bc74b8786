#!/bin/sh
# gor.h compiles without a warning, as C11 and C++17, the public half alone and all of it. TAP.
cd "$(dirname "$0")/.." || exit 1
. tests/tap.sh
dir=$BUILD/warnings
mkdir -p "$dir" || exit 1
flags="-pedantic -Wall -Wextra -Wconversion -Wshadow -Wundef -Werror -I$ROOT -c -o /dev/null"

for half in public all; do
    for language in c cc; do
        {
            [ $half = public ] || echo '#define GOR_IMPLEMENTATION'
            echo '#include "gor.h"'
            echo 'int nothing(void);'
            echo 'int nothing(void) { return 0; }'
        } >"$dir/$half.$language"
    done
done

# After a system header, in a compiler's default mode: what most programs do.
printf '%s\n' '#include <stdio.h>' '#define GOR_IMPLEMENTATION' '#include "gor.h"' \
    'GOR_MAIN { printf("%d\n", (int)gor_id()); return 0; }' >"$dir/late.c"
cp "$dir/late.c" "$dir/late.cc"

# Calls whose macros look at types.
printf '%s\n' '#include "gor.h"' 'int calls(gor_chan *c, int v);' \
    'static void f(gor_chan *c, int v) { (void)c, (void)v; }' \
    'int calls(gor_chan *c, int v) { return GOR_GO(f, c, v) + gor_send(c, &v) + gor_recv(c, &v); }' \
    >"$dir/calls.c"

# check COMPILER FLAG... FILE: gcc warns of some things only where it optimises; clang sees all that
# it will warn of in the source, and so does gcc of what differs by the language's version.
check() {
    if have "$1"; then
        case $* in clang* | *-std=c2x* | *-std=c++20* | *-std=gnu11*) set -- "$@" -fsyntax-only ;; esac
        try "$*" "$@" $flags
    else
        skip "$*" "no $1"
    fi
}

for cc in gcc clang; do
    check $cc -std=gnu11 -O2 -Wstrict-prototypes -Wmissing-prototypes "$dir/calls.c"
done
for half in public all; do
    for cc in gcc clang; do
        for opt in -O0 -O2 '-O2 -DGOR_CHECK=1'; do
            check $cc -std=c11 $opt "$dir/$half.c"
        done
        check $cc -std=gnu11 -O2 -Wstrict-prototypes -Wmissing-prototypes "$dir/$half.c"
        check $cc -std=c2x -O2 "$dir/$half.c"
    done
    check aarch64-linux-gnu-gcc -std=c11 -O2 "$dir/$half.c"
    for cxx in g++ clang++; do
        for opt in -O0 -O2 '-O2 -DGOR_CHECK=1'; do
            check $cxx -std=c++17 $opt "$dir/$half.cc"
        done
        check $cxx -std=c++20 -O2 "$dir/$half.cc"
    done
    check aarch64-linux-gnu-g++ -std=c++17 -O2 "$dir/$half.cc"
done
check gcc -O2 "$dir/late.c"
check clang -O2 "$dir/late.c"
check g++ -O2 "$dir/late.cc"
check clang++ -O2 "$dir/late.cc"
check gcc -std=c11 -O1 -fsanitize=thread -Wno-tsan "$dir/all.c"
check clang -std=c11 -O1 -fsanitize=thread "$dir/all.c"
check gcc -std=c11 -O1 -fsanitize=address,undefined "$dir/all.c"
check clang -std=c11 -O1 -fsanitize=address,undefined "$dir/all.c"
finish

#!/bin/sh
# An object with the implementation in it offers nothing but gor_ and gor__ names to the linker,
# and one without offers nothing at all. TAP.
cd "$(dirname "$0")/.." || exit 1
. tests/tap.sh
dir=$BUILD/symbols
mkdir -p "$dir" || exit 1
NM=${NM:-nm}
printf '#define GOR_IMPLEMENTATION\n#include "gor.h"\n' >"$dir/all.c"
printf '#include "gor.h"\n' >"$dir/public.c"

check() {                               # check COMPILER FLAG...
    for half in all public; do
        "$@" -I"$ROOT" -c "$dir/$half.c" -o "$dir/$half.o" ||
            { result 1 "compiles: $* $half.c"; return; }
        $NM -g --defined-only "$dir/$half.o" | awk 'NF == 3 { print $3 }' >"$dir/names"
        case $half in
        all)    strange=$(grep -v '^gor_' "$dir/names") ;;
        public) strange=$(cat "$dir/names") ;;
        esac
        [ -z "$strange" ] || echo "$strange" | sed 's/^/# offers /' | head -20
        [ -z "$strange" ] && { [ $half = public ] || grep -q '^gor_run$' "$dir/names"; }
        result $? "only gor_ names: $* $half.c"
    done
}

case $CC in aarch64*)
    check $CC -O2
    finish ;;
esac
for cc in gcc clang; do
    if have $cc; then
        check $cc -std=c11 -O0
        check $cc -std=c11 -O2 -fPIC -DGOR_CHECK=1
        check $cc -x c++ -std=c++17 -O2
    else
        skip "$cc" "no $cc"
    fi
done
finish

#!/bin/sh
# An object with the implementation in it offers nothing but gor_ and gor__ names to the linker,
# and one without offers nothing at all; it keeps what the linker asks all objects for: a stack that
# is not executable, and marks for the CPU's guards of indirect jumps and returns. TAP.
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

# The compiler marks the object whatever our assembly does: so look at what it begins with, too.
guarded() {                             # guarded PROPERTIES FIRST TYPE COMPILER FLAG...
    properties=$1 first=$2 type=$3      # TYPE: how the machine's assembly spells a function
    shift 3
    what="$properties, no executable stack: $*"
    "$@" -I"$ROOT" -c "$dir/all.c" -o "$dir/guarded.o" || { result 1 "$what"; return; }
    $READELF -nW "$dir/guarded.o" >"$dir/notes"
    $READELF -SW "$dir/guarded.o" >"$dir/sections"
    # name, type, address, offset, size, entry size, [flags], link, info, align
    awk '/ \.note\.GNU-stack / { sub(/.*\.note/, ".note"); there = 1; flags = NF > 9 ? $7 : "" }
         END { exit !there || flags ~ /X/ }' "$dir/sections" ||
        { echo '# .note.GNU-stack is executable or not there'; false; }
    bad=$?
    grep -q "$properties" "$dir/notes" || { echo "# no mark $properties"; bad=1; }
    names=$(sed -n "s/^ *\".*\.type \(gor__arch_[a-z_]*\),$type.*/\1/p" "$ROOT/gor.h")
    $OBJDUMP -d --no-show-raw-insn "$dir/guarded.o" >"$dir/code"
    seen=0
    for name in $names; do
        begin=$(grep -A1 "<$name>:\$" "$dir/code" | sed -n '2s/^[^:]*:[[:space:]]*//p')
        seen=$((seen + 1))
        echo "$begin" | grep -Eq "^($first)" || { echo "# $name begins with: $begin"; bad=1; }
    done
    [ $seen -ge 3 ] || { echo "# only $seen functions in assembly"; bad=1; }
    result $bad "$what"
}

guarded_x86() {
    guarded 'x86 feature: IBT, SHSTK' endbr64 @function "$@" -O1 -fcf-protection=full
}
guarded_arm() {
    guarded 'AArch64 feature: BTI, PAC' bti %function "$@" -O1 -mbranch-protection=standard
}

case $CC in aarch64*)
    READELF=${NM%nm}readelf OBJDUMP=${NM%nm}objdump
    check $CC -O2
    guarded_arm $CC
    finish ;;
esac
READELF=readelf OBJDUMP=objdump
for cc in gcc clang; do
    if have $cc; then
        check $cc -std=c11 -O0
        check $cc -std=c11 -O2 -fPIC -DGOR_CHECK=1
        check $cc -x c++ -std=c++17 -O2
        [ "$(uname -m)" != x86_64 ] || guarded_x86 $cc
    else
        skip "$cc" "no $cc"
    fi
done
finish

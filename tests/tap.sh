# Sourced by the test scripts: TAP on stdout, and the compilers they were given.
#   CC CFLAGS LDFLAGS   the compiler;    RUNNER  what runs the programs, e.g. qemu-aarch64
#   BUILD               where to build;  ROOT    where gor.h is
CC=${CC:-cc} CXX=${CXX:-c++} ROOT=${ROOT:-.} BUILD=${BUILD:-build}
n=0 n_failed=0

result() {                              # result STATUS NAME: one line of TAP
    n=$((n + 1))
    if [ "$1" = 0 ]; then
        echo "ok $n - $2"
    else
        echo "not ok $n - $2"
        n_failed=$((n_failed + 1))
    fi
}

skip() {                                # skip NAME WHY; whether it may be is matrix.sh's to say
    n=$((n + 1))
    echo "ok $n - $1 # SKIP $2"
}

# try NAME COMMAND...: passes if it ends with 0; shows what it said if not
try() {
    tried=$1
    shift
    "$@" >"$dir/log" 2>&1
    tried_status=$?
    if [ $tried_status != 0 ]; then
        echo "# exit status $tried_status: $*"
        head -40 "$dir/log" | sed 's/^/#   | /'
    fi
    result $tried_status "$tried"
    return $tried_status
}

have() { command -v "$1" >/dev/null; }

finish() {
    echo "1..$n"
    [ $n_failed = 0 ]
    exit
}

#!/bin/sh
# What the system can refuse is refused: an error or a fallback each time, never a hang or a crash.
# TAP comes from the program. What it refuses are calls of libc, so gor.h is compiled to make them all
# there. Not under a sanitizer, which has functions of its own in these places.
cd "$(dirname "$0")/.." || exit 1
. tests/tap.sh
dir=$BUILD/faults
mkdir -p "$dir" || exit 1
wrap=
for f in mmap madvise mprotect pthread_create epoll_create1 eventfd epoll_ctl epoll_wait syscall; do
    wrap="$wrap -Wl,--wrap=$f"
done
# shellcheck disable=SC2086
$CC -std=c11 $CFLAGS -DGOR__RAW_SYSCALLS=0 -I"$ROOT" tests/faults.c -o "$dir/faults" \
    -pthread $LDFLAGS $wrap ||
    { echo 'Bail out! faults.c does not compile'; exit 1; }
timeout 600 $RUNNER "$dir/faults"
status=$?
[ $status -le 1 ] || echo "not ok - faults ended with status $status"
exit $status

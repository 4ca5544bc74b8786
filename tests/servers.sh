#!/bin/sh
# The example servers with the variant's sanitizer and the runtime's own checks, under a little of
# the load that tests/network.sh puts on them as their users build them. All on loopback. TAP.
cd "$(dirname "$0")/.." || exit 1
. tests/tap.sh
dir=$BUILD/servers load=build/network_load port=20400
mkdir -p "$dir" || exit 1
pids=
trap 'for pid in $pids; do kill -KILL "$pid" 2>/dev/null; done' EXIT

compile() {
    case $1 in httpd) more="-Ibuild/llhttp $(echo build/llhttp/*.c)" ;; *) more= ;; esac
    # shellcheck disable=SC2086
    $CC -std=c11 $CFLAGS -O0 -DGOR_CHECK=1 -I. examples/$1.c $more -o "$dir/$1" -pthread $LDFLAGS
}

{ make -s build/network_load build/llhttp/llhttp.h
  for two in 'httpd kv' 'proxy chat'; do
      for one in $two; do compile $one & done
      wait
  done; } >"$dir/make.log" 2>&1 || sed 's/^/# /' "$dir/make.log" | tail -20
result "$([ -x $load ]; echo $?)" 'the clients are built'

next_port() { port=$((port + 1)); addr=127.0.0.1:$port; }
listens() { python3 -c 'import socket, sys
socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5)' "$port" 2>/dev/null; }

# serve NAME ARG...: sets $pid, once $addr answers
serve() {
    what=$1
    shift
    $RUNNER "$dir/$what" "$@" >"$dir/$what.out" 2>"$dir/$what.err" &
    pid=$!
    pids="$pids $pid"
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
        listens && return 0
        sleep 0.2
    done
    result 1 "$what listens at $addr"
    return 1
}

# stopped NAME: it ends by itself, with success, and no sanitizer has said anything
stopped() {
    sleep 0.3                           # its clients have left; it may not know of all of them yet
    kill -TERM $pid
    wait $pid
    status=$?
    if grep -E 'Sanitizer|runtime error' "$dir/$1.err" >"$dir/log"; then
        sed 's/^/# /' "$dir/$1.err" | head -60
        status=1
    fi
    result $status "$1 has served, and its sanitizer is content"
}

next_port
if serve httpd -a $addr -t 1 -k 2; then
    try 'httpd: pipelined, byte by byte, endless, nonsense' timeout 60 $load odd $addr
    try 'httpd: 200 slow clients' timeout 60 $load slow $addr 1 2
    stopped httpd
fi
next_port
if ! command -v redis-benchmark >/dev/null; then
    skip 'kv' 'no redis-benchmark'
elif serve kv $addr; then
    try 'kv: redis-benchmark' timeout 60 \
        redis-benchmark -p $port -t set,get,incr -n 2000 -c 50 -P 4 -q
    stopped kv
fi
next_port
if serve proxy $addr 127.0.0.1:$((port + 50)); then
    try 'proxy: 100 connections, others killed' timeout 100 \
        $load sums $addr 127.0.0.1:$((port + 50)) 20
    stopped proxy
fi
next_port
if serve chat $addr; then
    try 'chat: members hear each other' timeout 60 $load chat $addr
    stopped chat
fi
finish

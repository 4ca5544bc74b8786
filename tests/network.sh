#!/bin/sh
# The network examples, driven by programs that nobody here wrote: curl, wrk, redis-cli,
# redis-benchmark, PostgreSQL. All on loopback. A client that is missing is a skip. TAP.
cd "$(dirname "$0")/.." || exit 1
. tests/tap.sh
dir=$BUILD/network
mkdir -p "$dir/www" || exit 1
pids=
trap 'for pid in $pids; do kill "$pid" 2>/dev/null; done; rm -rf "$pg"' EXIT
pg=

port=20000
next_port() { port=$((port + 1)); addr=127.0.0.1:$port; }

# serve NAME PROGRAM ARG...: in the background; waits until $addr answers. Sets $pid.
serve() {
    what=$1
    shift
    have python3 || { skip "$what listens" 'no python3 to ask it'; finish; }
    "$@" >"$dir/$what.out" 2>"$dir/$what.err" &
    pid=$!
    pids="$pids $pid"
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        listens && return 0
        sleep 0.2
    done
    result 1 "$what listens at $addr"
    return 1
}
listens() { python3 -c 'import socket, sys
socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5)' "$port" 2>/dev/null; }

make -s network >"$dir/make.log" 2>&1 || { sed 's/^/# /' "$dir/make.log" | tail -20; }
built() { [ -x build/examples/$1 ] || { skip "$2" "build/examples/$1 was not built"; return 1; }; }
result "$([ -x build/examples/kv ] && [ -x build/network_load ]; echo $?)" 'the examples are built'

same() { [ "$1" = "$2" ] || { echo "got \"$1\", want \"$2\""; return 1; }; }
ms() { echo $(($(date +%s%N) / 1000000)); }
load=build/network_load

# -- httpd ---------------------------------------------------------------------------------------
if built httpd httpd; then
    next_port
    echo 'a page' >"$dir/www/index.html"
    head -c 3000000 /dev/urandom >"$dir/www/large.bin"
    serve httpd build/examples/httpd -a $addr -d "$dir/www"
    httpd=$pid
    if have curl; then
        try 'curl gets text' same "$(curl -s http://$addr/plain)" 'Hello, World!'
        try 'curl gets JSON' same "$(curl -s http://$addr/json | cut -c1-28)" \
            '{"message":"Hello, World!","'
        try 'curl gets a page' same "$(curl -s http://$addr/)" 'a page'
        curl -s http://$addr/large.bin | cmp - "$dir/www/large.bin"
        result $? 'curl gets a large file, byte for byte'
        try 'what is not there is 404' same \
            "$(curl -s -o /dev/null -w '%{http_code}' http://$addr/nothing)" 404
        try 'nothing outside of the directory' same \
            "$(curl -s --path-as-is -o /dev/null -w '%{http_code}' http://$addr/../../etc/passwd)" \
            404
        try 'HEAD has a length and no body' same \
            "$(curl -sI http://$addr/ | tr -d '\r' | grep -i content-length)" 'Content-Length: 7'
        try 'POST is refused' same \
            "$(curl -s -o /dev/null -w '%{http_code}' -d x http://$addr/plain)" 405
        try 'connections are kept' same \
            "$(curl -s -o /dev/null -o /dev/null -w '%{num_connects}' http://$addr/plain \
                http://$addr/plain)" 10
    else
        skip 'httpd serves curl' 'no curl'
    fi
    if have wrk; then
        wrk -t2 -c64 -d3 --latency http://$addr/plain >"$dir/wrk" 2>&1
        status=$?
        sed 's/^/# /' "$dir/wrk" | grep -E '99%|Requests/sec|Socket|Non'
        [ $status = 0 ] && ! grep -Eq 'Socket errors|Non-2xx' "$dir/wrk"
        result $? 'wrk with 64 connections sees no error'
    else
        skip 'httpd serves wrk' 'no wrk'
    fi
    try 'pipelined, byte by byte, endless, nonsense' $load odd $addr
    busy=$addr
    next_port
    serve quiet build/examples/httpd -a $addr
    try '10,000 idle connections' $load idle $busy 10000 $httpd $addr $pid
    sed 's/^/# /' "$dir/log"
    kill -TERM $pid
    wait $pid
    addr=$busy port=${busy#*:}
    if built scrape 'scrape'; then
        for page in plain json redirect slow broken endless nothing; do
            echo "http://$addr/$page"
        done | timeout 60 build/examples/scrape -t 1 -n 1 >"$dir/scrape" 2>/dev/null
        try 'scrape copes with slow, broken, redirecting and endless pages' same \
            "$(tail -1 "$dir/scrape" | cut -d, -f1-3)" '3 ok, 4 failed, 3 retries'
        begin=$(ms)                     # 5 at once, 15 at 10 per second; each host by itself
        for host in 127.0.0.1 localhost; do
            for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
                echo "http://$host:$port/plain?$i"
            done
        done | timeout 60 build/examples/scrape -w 40 -r 10 >"$dir/scrape" 2>/dev/null
        took=$(($(ms) - begin))
        try 'scrape fetches 20 pages from each of two hosts' same \
            "$(tail -1 "$dir/scrape" | cut -d, -f1-3)" '40 ok, 0 failed, 0 retries'
        try 'in no less than its rate allows' [ $took -ge 1490 ]
        try 'and in less than both together would take' [ $took -lt 3000 ]
        begin=$(ms)                     # 200 ms, then 400
        echo "http://$addr/broken" |
            timeout 60 build/examples/scrape -t 1 -n 2 >"$dir/scrape" 2>/dev/null
        try 'scrape waits longer before each retry' [ $(($(ms) - begin)) -ge 595 ]
        try 'and gives up' same "$(tail -1 "$dir/scrape" | cut -d, -f1-3)" \
            '0 ok, 1 failed, 2 retries'
        # --foreground: one signal. A second one, to the group, would have its usual effect.
        for i in 1 2 3 4 5 6 7 8 9; do echo "http://$addr/slow?$i"; done |
            timeout --foreground -s INT 1 build/examples/scrape -w 2 >"$dir/scrape" 2>/dev/null
        grep -q interrupted "$dir/scrape"
        result $? 'scrape ends on Ctrl-C, and reports'
    fi
    if have curl; then                  # a request in flight when the signal comes
        curl -s http://$addr/slow >"$dir/slow" &
        curl=$!
        sleep 0.5
        kill -TERM $httpd
        wait $curl
        try 'SIGTERM lets a request in flight end' same "$(cat "$dir/slow")" 'at last'
    else
        kill -TERM $httpd
    fi
    wait $httpd
    result $? 'httpd ends with success after SIGTERM'
    next_port
    serve httpd build/examples/httpd -a $addr -t 1 -k 2
    try '200 clients that drip, half a request, none: cut off in time' $load slow $addr 1 2
    sed 's/^/# /' "$dir/log"
    kill -TERM $pid
    wait $pid
    next_port
    serve httpd sh -c "ulimit -n 64 && exec build/examples/httpd -a $addr"
    try '200 clients, 64 descriptors: all are served' $load crowd $addr 200 $pid
    sed 's/^/# /' "$dir/log"
    kill -TERM $pid
    wait $pid
    result $? 'httpd ends with success after having had no descriptors'
fi

# -- kv ------------------------------------------------------------------------------------------
if built kv kv; then
    next_port
    serve kv build/examples/kv $addr
    cli() { redis-cli -p $port "$@"; }
    if have redis-cli; then
        try 'PING' same "$(cli ping)" PONG
        try 'SET and GET' same "$(cli set k 'a value'; cli get k)" "$(printf 'OK\na value')"
        try 'INCR' same "$(cli incr n; cli incr n)" "$(printf '1\n2')"
        try 'INCR of text' same "$(cli incr k | cut -c1-25)" 'ERR value is not an integ'
        try 'EXPIRE and TTL' same "$(cli ttl k; cli expire k 100; cli ttl k; cli ttl none)" \
            "$(printf '%s\n' -1 1 100 -2)"
        cli set short x PX 100 >/dev/null
        sleep 0.3
        try 'what has expired is gone' same "$(cli get short)" ''
        try 'DEL' same "$(cli del k none; cli get k)" "$(printf '1\n')"
        head -c 1000000 "$dir/www/large.bin" 2>/dev/null | base64 -w0 >"$dir/value"
        cli -x set big <"$dir/value" >/dev/null
        cli get big | tr -d '\n' | cmp - "$dir/value"
        result $? 'a value of a megabyte comes back'
        timeout 5 redis-cli -p $port subscribe news >"$dir/news" 2>&1 &
        sub=$!
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            [ "$(cli publish news hello)" = 1 ] && break
            sleep 0.2
        done
        sleep 0.2
        kill $sub 2>/dev/null
        try 'PUBLISH reaches a subscriber' same "$(tail -1 "$dir/news")" hello
    else
        skip 'kv serves redis-cli' 'no redis-cli'
    fi
    if have redis-benchmark; then
        redis-benchmark -p $port -t set,get,incr -n 50000 -c 50 -q >"$dir/bench" 2>&1
        status=$?
        tr '\r' '\n' <"$dir/bench" | grep 'per second' | sed 's/^/# /'
        result $status 'redis-benchmark'
        redis-benchmark -p $port -t set,get -n 200000 -c 50 -P 16 -q >"$dir/bench" 2>&1
        result $? 'redis-benchmark, pipelined'
    else
        skip 'kv serves redis-benchmark' 'no redis-benchmark'
    fi
    kill -TERM $pid
    wait $pid
    result $? 'kv ends with success after SIGTERM'
fi

# -- proxy, chat ---------------------------------------------------------------------------------
if built proxy proxy; then
    next_port
    front=$addr
    port=$((port + 1))
    back=127.0.0.1:$port
    port=$((port - 1))
    serve proxy build/examples/proxy $front $back
    port=$((port + 1))
    try '1 GB through 100 proxied connections, others reset at either end: sums equal' \
        timeout 300 $load sums $front $back ${GORTEST_MB:-1000}
    kill -TERM $pid
    wait $pid
    result $? 'proxy ends with success after SIGTERM'
fi
if built chat chat; then
    next_port
    serve chat build/examples/chat $addr
    try 'members hear each other' timeout 60 $load chat $addr
fi

# -- PostgreSQL ----------------------------------------------------------------------------------
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -1)
if [ ! -x build/examples/pgquery ]; then
    skip 'pgquery' 'no libpq'
elif [ -z "$bin" ]; then
    skip 'pgquery' 'no PostgreSQL server'
else
    # initdb refuses root.
    pg=$(mktemp -d /tmp/gor-pg-XXXXXX)
    next_port
    as=
    if [ "$(id -u)" = 0 ]; then
        chown postgres "$pg"
        as='setpriv --reuid postgres --regid postgres --clear-groups'
    fi
    $as "$bin/initdb" -D "$pg/data" -A trust -U gor >"$dir/initdb.log" 2>&1 &&
        $as "$bin/pg_ctl" -D "$pg/data" -w -l "$pg/log" \
            -o "-c listen_addresses=127.0.0.1 -p $port -k $pg -c fsync=off" start \
            >"$dir/pg_ctl.log" 2>&1
    result $? 'a PostgreSQL server starts'
    timeout 60 build/examples/pgquery "host=127.0.0.1 port=$port user=gor dbname=postgres" 200 \
        >"$dir/pgquery" 2>&1
    try '200 queries over four connections' same "$(cat "$dir/pgquery")" \
        '200 queries, 0 failed, sum 40200, at most 4 connections busy'
    timeout 60 build/examples/pgquery "host=$pg port=$port user=gor dbname=postgres" 20 \
        >"$dir/pgquery" 2>&1
    result $? 'and over its Unix socket'
    $as "$bin/pg_ctl" -D "$pg/data" -m immediate stop >"$dir/pg_ctl.log" 2>&1
fi
finish

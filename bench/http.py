#!/usr/bin/env python3
"""httpd against the same without a parser, a bare epoll server, Go's net.Conn and net/http;
ping-pong against Go and, over one connection, against a bare epoll loop, alone and beside a thread
that sleeps.

usage: http.py [--rounds N] [--seconds S] [--only http|echo] [--check]

The servers run all the time; wrk visits one after the other, in each round in another order, and
what is printed is the median over the rounds of the ratio within a round: what disturbs the machine
for longer than a round disturbs all alike. Ping-pong has more and shorter rounds, for the same
reason. p99 is the median too, and its ratio. Needs wrk and go.
With --check, what misses its target is named at the end, and the exit status is 1.
"""
import argparse
import pathlib
import random
import re
import socket
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "bench"
TARGETS = {"epoll": 0.97, "net.Conn": 1.15, "net/http": 1.6}     # httpd's rate over theirs
GO = ("net.Conn", "net/http")                                    # p99: no worse than theirs
ECHO_TARGET = 1.3
ECHO_ROUNDS = 5                 # short rounds for one of wrk's: the machine changes within seconds
ROUND_TRIPS = 20000
missed = []
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def run(*command, **more):
    return subprocess.run([str(c) for c in command], check=True, text=True, **more)


def build():
    BUILD.mkdir(parents=True, exist_ok=True)
    run("make", "-s", "build/examples/httpd", "CFLAGS=-O3", "--always-make", cwd=ROOT)
    for name, more in (("epoll_http", []), ("epoll_echo", []), ("echo", ["-I."]),
                       ("plain_http", ["-I."])):
        run("cc", "-O3", "-std=c11", *more, f"bench/{name}.c", "-o", BUILD / name, "-pthread",
            cwd=ROOT)
    for name in ("raw", "nethttp", "echo"):
        run("go", "build", "-o", BUILD / f"go-{name}", f"./{name}", cwd=ROOT / "bench/go-http")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(command):
    """Run command, in which PORT is replaced; (process, port) when it listens."""
    port = free_port()
    process = subprocess.Popen([str(c).replace("PORT", str(port)) for c in command],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return process, port
        except OSError:
            time.sleep(0.05)
    sys.exit(f"http.py: {command[0]} does not listen")


def visit(port, seconds):
    """(requests per second, p99 in ms)"""
    out = run("wrk", "-t1", "-c64", f"-d{seconds}", "--latency", f"http://127.0.0.1:{port}/plain",
              capture_output=True).stdout
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", out)
    return rate, float(p99.group(1)) * UNITS[p99.group(2)]


def rounds(names, once, n):
    """n rounds of once(name) for all names, each round in another order."""
    seen = {name: [] for name in names}
    for _ in range(n):
        for name in random.sample(names, len(names)):
            seen[name].append(once(name))
    return seen


def median_ratio(pairs):
    return statistics.median(a / b for a, b in pairs)


def aim(what, ratio, least):
    if ratio < least:
        missed.append(f"{what}: {ratio:.2f}, not {least:.2f}")


def http(args):
    commands = {
        "gor": [ROOT / "build/examples/httpd", "-a", "127.0.0.1:PORT"],
        "no parser": [BUILD / "plain_http", "PORT"],
        "epoll": [BUILD / "epoll_http", "PORT"],
        "net.Conn": [BUILD / "go-raw", "PORT"],
        "net/http": [BUILD / "go-nethttp", "PORT"],
    }
    servers = {name: start(command) for name, command in commands.items()}
    try:
        seen = rounds(list(commands), lambda name: visit(servers[name][1], args.seconds),
                      args.rounds)
    finally:
        for process, _ in servers.values():
            process.kill()
    print(f"wrk -t1 -c64, {args.rounds} rounds of {args.seconds} s\n")
    print(f"{'server':10} {'requests/s':>11} {'gor is':>8} {'target':>7} {'p99 ms':>8}"
          f" {'gor is':>8} {'target':>7}")
    for name, results in seen.items():
        rate = statistics.median(r for r, _ in results)
        p99 = statistics.median(p for _, p in results)
        faster = median_ratio((g, r) for (g, _), (r, _) in zip(seen["gor"], results))
        sooner = median_ratio((p, g) for (_, g), (_, p) in zip(seen["gor"], results))
        targets = [f"{TARGETS[name]:.2f}" if name in TARGETS else "", "1.00" if name in GO else ""]
        print(f"{name:10} {rate:11.0f} {faster:7.2f}x {targets[0]:>7} {p99:8.2f} {sooner:7.2f}x"
              f" {targets[1]:>7}".rstrip())
        if name in TARGETS:
            aim(f"requests per second over {name}", faster, TARGETS[name])
        if name in GO:
            aim(f"p99 of {name} over httpd's", sooner, 1.0)


def echo(args):
    print("\nping-pong, ns per round trip\n")
    print(f"{'':16} {'gor':>8} {'go':>8} {'epoll':>8} {'+thread':>8} {'gor is':>8} {'target':>7}")
    for network in ("tcp", "unix"):
        for connections in (1, 1000):
            args_of = {"echo": [connections, ROUND_TRIPS], "go-echo": [connections, ROUND_TRIPS]}
            if connections == 1:
                args_of |= {"epoll_echo": [ROUND_TRIPS], "epoll_echo 1": [ROUND_TRIPS, 1]}

            def once(name):
                return float(run(BUILD / name.split()[0], network, *args_of[name],
                                 capture_output=True).stdout)
            seen = rounds(list(args_of), once, ECHO_ROUNDS * args.rounds)
            times = "".join(f" {statistics.median(seen[name]):8.0f}" for name in args_of)
            ratio = median_ratio(zip(seen["go-echo"], seen["echo"]))
            aim(f"echo, {network} {connections}: Go's time over gor's", ratio, ECHO_TARGET)
            print(f"{network + ' ' + str(connections):16}{times:36} {ratio:7.2f}x "
                  f"{ECHO_TARGET:7.2f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--only", choices=["http", "echo"])
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    build()
    if args.only != "echo":
        http(args)
    if args.only != "http":
        echo(args)
    if args.check:
        print("\n" + "\n".join(missed or ["every target is met"]))
        sys.exit(bool(missed))


main()

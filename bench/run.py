#!/usr/bin/env python3
"""Run the benchmarks of gor, Go and the peers in turn, and compare them.

Builds nothing. Every round runs each program once, in the other direction every second round, so
that whatever slows the computer for a while slows all of them. A ratio is taken within a round and
the median over the rounds is reported: how many times longer the other one takes than gor does.

    run.py --cases pingpong,fib:25 --procs 1,2 --runs 5
    run.py --peer tokio=build/bench/tokio

Writes results/latest.json next to this file. Exits with 1 if a run failed or if two programs that
did the same N disagree about the checksum.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.join(os.path.dirname(HERE), "build", "bench")
STANDARD = ("case", "n", "procs", "ns_per_op", "rss_kb", "check")
UNCHECKED = {"idle"}  # its check is a measurement


def parse_args():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--cases", default="", help="comma-separated CASE or CASE:N; default all")
    p.add_argument("--procs", default="1,2", help="comma-separated; default 1,2")
    p.add_argument("--runs", type=int, default=5, help="rounds; default 5")
    p.add_argument("--timeout", type=float, default=120, help="seconds for one run; default 120")
    p.add_argument("--gor", default=os.path.join(BUILD, "gor"), help="default build/bench/gor")
    p.add_argument("--go", default=os.path.join(BUILD, "go"), help="default build/bench/go")
    p.add_argument("--peer", action="append", default=[], metavar="NAME=PATH",
                   help="one more program; default floor=build/bench/floor if it is there")
    p.add_argument("--out", default=os.path.join(HERE, "results", "latest.json"))
    args = p.parse_args()
    if args.runs < 1:
        p.error("--runs is at least 1")
    try:
        args.procs = [int(x) for x in args.procs.split(",")]
    except ValueError:
        p.error("--procs is a list of numbers")
    return args


def find_programs(args):
    """{name: path}, gor first; those that are not built are named and left out."""
    wanted = {"gor": args.gor, "go": args.go}
    if not args.peer:
        wanted["floor"] = os.path.join(BUILD, "floor")
    for peer in args.peer:
        name, _, path = peer.partition("=")
        if not path:
            sys.exit(f"run.py: --peer {peer}: NAME=PATH is wanted")
        wanted[name] = path
    programs = {}
    for name, path in wanted.items():
        if os.access(path, os.X_OK) and os.path.isfile(path):
            programs[name] = os.path.abspath(path)
        else:
            print(f"run.py: {name} is left out: no program {path}", file=sys.stderr)
    if not programs:
        sys.exit("run.py: nothing to run")
    return programs


def list_cases(path):
    """{case: default N} of one program."""
    out = subprocess.run([path, "list"], capture_output=True, text=True, check=True).stdout
    return {name: int(n) for name, n in (line.split() for line in out.splitlines())}


def choose_cases(text, known):
    """[(case, N)], N 0 for each program's default."""
    names = list(dict.fromkeys(name for cases in known.values() for name in cases))
    if not text:
        return [(name, 0) for name in names]
    chosen = []
    for item in text.split(","):
        name, _, n = item.partition(":")
        if name not in names:
            sys.exit(f"run.py: no case {name}; there are: {' '.join(names)}")
        chosen.append((name, int(n or 0)))
    return chosen


def run_once(path, case, n, procs, timeout):
    """The fields of one output line; {"error": why} if there is none."""
    try:
        done = subprocess.run([path, case, str(n), str(procs)], capture_output=True, text=True,
                              timeout=timeout)
    except subprocess.TimeoutExpired:
        return {"error": f"no result within {timeout:g} s"}
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [""])[0]
        return {"error": f"exit {done.returncode} {last}".strip()}
    try:
        fields = dict(pair.split("=", 1) for pair in done.stdout.split())
        fields["ns_per_op"] = float(fields["ns_per_op"])
        fields.update({k: int(fields[k]) for k in ("n", "procs", "rss_kb")})
        fields["check"]
    except (ValueError, KeyError):
        return {"error": f"not a result: {done.stdout.strip()[:80]!r}"}
    return fields


def run_rounds(programs, case, n, procs, args):
    """{name: [fields of each round]}; a program that failed once is not run again."""
    rounds = {name: [] for name in programs}
    for i in range(args.runs):
        for name in list(programs)[:: -1 if i % 2 else 1]:
            if not any("error" in r for r in rounds[name]):
                rounds[name].append(run_once(programs[name], case, n, procs, args.timeout))
    return rounds


def spread(values):
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def extra_number(text):
    try:
        return float(text)
    except ValueError:
        return None


def summarize(runs):
    """One program's part of a result."""
    errors = [r["error"] for r in runs if "error" in r]
    if errors:
        return {"error": errors[0]}
    summary = {"n": runs[0]["n"], "ns_per_op": spread([r["ns_per_op"] for r in runs]),
               "runs": [r["ns_per_op"] for r in runs],
               "peak_rss_kb": max(r["rss_kb"] for r in runs), "check": runs[0]["check"]}
    for key in runs[0].keys() - set(STANDARD):
        values = [extra_number(r.get(key, "")) for r in runs]
        if None not in values:
            summary[key] = statistics.median(values)
    return summary


def paired_ratio(others, ours):
    """Median over the rounds of other / ours; None if a round of ours took no time at all."""
    pairs = [(o["ns_per_op"], u["ns_per_op"]) for o, u in zip(others, ours)]
    if any(u <= 0 for _, u in pairs):
        return None
    return statistics.median(o / u for o, u in pairs)


def disagreement(case, rounds):
    """Programs that did the same N must have come to the same sum; what is wrong, or None."""
    if case in UNCHECKED:
        return None
    sums = {}
    for name, runs in rounds.items():
        for r in runs:
            if "error" not in r:
                sums.setdefault(r["n"], {}).setdefault(r["check"], set()).add(name)
    for n, by_check in sums.items():
        if len(by_check) > 1:
            said = ", ".join(f"{'+'.join(sorted(who))} {check}" for check, who in by_check.items())
            return f"checksums differ at n={n}: {said}"
    return None


def measure(programs, known, case, n, procs, args):
    """One entry of the results."""
    able = {name: path for name, path in programs.items() if case in known[name]}
    rounds = run_rounds(able, case, n, procs, args)
    entry = {"case": case, "procs": procs,
             "runtimes": {name: summarize(runs) for name, runs in rounds.items()}, "ratio": {}}
    for name, runtime in entry["runtimes"].items():
        if name != "gor" and "error" not in runtime and "error" not in entry["runtimes"].get(
                "gor", {"error": "not run"}):
            entry["ratio"][name] = paired_ratio(rounds[name], rounds["gor"])
    problem = disagreement(case, rounds)
    if problem:
        entry["problem"] = problem
    return entry


def header(names):
    cells = [f"{'case':<14}{'procs':>5}"]
    cells += [f"{name + ' ns':>12}{'(min-max)':>21}{'MB':>7}" for name in names]
    cells += [f"{name + '/gor':>10}" for name in names if name != "gor"]
    return "".join(cells)


def row(entry, names):
    cells = [f"{entry['case']:<14}{entry['procs']:>5}"]
    for name in names:
        r = entry["runtimes"].get(name)
        if not r or "error" in r:
            cells.append(f"{'failed' if r else '-':>12}{'':>28}")
            continue
        ns = r["ns_per_op"]
        between = f"({ns['min']:.4g}-{ns['max']:.4g})"
        cells.append(f"{ns['median']:>12.5g}{between:>21}{r['peak_rss_kb'] / 1024:>7.1f}")
    for name in names:
        if name != "gor":
            ratio = entry["ratio"].get(name)
            cells.append(f"{ratio:>9.2f}x" if ratio is not None else f"{'-':>10}")
    return "".join(cells)


def complaints(entry):
    where = f"{entry['case']} procs {entry['procs']}"
    found = [f"{where}: {name}: {r['error']}" for name, r in entry["runtimes"].items()
             if "error" in r]
    if "problem" in entry:
        found.append(f"{where}: {entry['problem']}")
    return found


def save(path, results, args):
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    whole = {"when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
             "cpus": len(os.sched_getaffinity(0)), "rounds": args.runs, "results": results}
    with open(path + ".new", "w") as f:
        json.dump(whole, f, indent=1)
        f.write("\n")
    os.replace(path + ".new", path)


def main():
    args = parse_args()
    programs = find_programs(args)
    known = {name: list_cases(path) for name, path in programs.items()}
    chosen = choose_cases(args.cases, known)
    results, wrong = [], []
    print(header(programs))
    for case, n in chosen:
        for procs in args.procs:
            entry = measure(programs, known, case, n, procs, args)
            results.append(entry)
            wrong += complaints(entry)
            print(row(entry, programs), flush=True)
            save(args.out, results, args)
    for line in wrong:
        print(f"run.py: {line}", file=sys.stderr)
    print(f"{args.out}: {len(results)} results")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

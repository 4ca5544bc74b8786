#!/usr/bin/env python3
"""Run the benchmark programs of build/bench/ in turn, and compare them with gor.

Builds nothing; `make bench` does, and then runs this. Every round runs each program once, by
hyperfine, in the other direction every second round, so that whatever slows the computer for a
while slows all of them. The first run of each is preceded by a warm-up that does not count, but for
the idle case and a million goroutines. Of those that ask for the worst of many (late_) there is one
round, with no warm-up. A program that has used up its budget in a case sits out the rounds that are
left, after 3 at least: but gor and Go do so in the cases of growth and in the idle case only.

A program measures itself between the end of its set-up and the end of its work, and prints ns per
operation: those are compared, so starting a process and filling arrays do not count. hyperfine's
wall time of the whole process is recorded beside them. A ratio is taken within a round, and the
median over the rounds is reported: how many times longer the other one takes than gor does.

    run.py --cases pingpong,fib:25 --procs 1,2 --runs 3 --only gor,go
    run.py --merge --cases mutex8          # measure one case anew, keep the rest

Writes results/latest.json next to this file. Exits with 1 if a run failed or if two programs that
did the same N disagree about the checksum.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.join(os.path.dirname(HERE), "build", "bench")
PROGRAMS = ("gor", "go", "tokio", "fibers", "tbb", "openmp", "threads", "floor")
ONE_THREAD = {"floor"}  # whatever PROCS says
STANDARD = ("case", "n", "procs", "ns_per_op", "rss_kb", "check", "wall_s", "user_s", "system_s")
GROWTH = (1000, 10000, 100000, 1000000)
LEAST_ROUNDS = 3
PAIR = {"gor", "go"}
COLD = {"idle"}  # a warm-up would only cost time, as for a million goroutines
NO_SUCH_CASE = 3


def parse_args():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--cases", default="", help="comma-separated CASE or CASE:N; default all, and "
                   "those of growth at " + ", ".join(str(n) for n in GROWTH))
    p.add_argument("--procs", default="1,2", help="comma-separated; default 1,2")
    p.add_argument("--runs", type=int, default=10, help="rounds; default 10")
    p.add_argument("--budget", type=float, default=4, metavar="S",
                   help="seconds of one program in one case; default 4")
    p.add_argument("--timeout", type=float, default=300, help="seconds for one run; default 300")
    p.add_argument("--only", default="", help="comma-separated programs; default all that are built")
    p.add_argument("--peer", action="append", default=[], metavar="NAME=PATH",
                   help="one more program, or another file for one of them")
    p.add_argument("--merge", action="store_true", help="keep what --out holds of other cases")
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
    wanted = {name: os.path.join(BUILD, name) for name in PROGRAMS}
    for peer in args.peer:
        name, _, path = peer.partition("=")
        if not path:
            sys.exit(f"run.py: --peer {peer}: NAME=PATH is wanted")
        wanted[name] = path
    if args.only:
        unknown = set(args.only.split(",")) - set(wanted)
        if unknown:
            sys.exit(f"run.py: no program {' '.join(unknown)}; there are: {' '.join(wanted)}")
        wanted = {name: wanted[name] for name in wanted if name in args.only.split(",")}
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
    chosen = []
    for item in text.split(",") if text else names:
        name, _, n = item.partition(":")
        if name not in names:
            sys.exit(f"run.py: no case {name}; there are: {' '.join(names)}")
        if name.startswith("grow_") and not n:
            chosen += [(name, size) for size in GROWTH]
        else:
            chosen.append((name, int(n or 0)))
    return chosen


# -- one run ---------------------------------------------------------------------------------


def first_line(text):
    return (text.strip().splitlines() or [""])[0]


def run_plain(command, timeout):
    """(exit status, stdout, stderr, times) without hyperfine."""
    begin = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    return done.returncode, done.stdout, done.stderr, {"wall_s": time.monotonic() - begin}


def run_hyperfine(command, timeout, warmup):
    """The same by hyperfine, which knows user and system time as well."""
    with tempfile.TemporaryDirectory() as scratch:
        out, times = os.path.join(scratch, "out"), os.path.join(scratch, "times.json")
        done = subprocess.run(
            ["hyperfine", "--shell=none", "--style=none", "--ignore-failure", "--runs", "1",
             "--warmup", str(warmup), "--output", out, "--export-json", times,
             " ".join(f"'{word}'" for word in command)],
            capture_output=True, text=True, timeout=timeout * (1 + warmup))
        if done.returncode != 0:
            return done.returncode, "", done.stderr, {}
        with open(times) as f:
            result = json.load(f)["results"][0]
        with open(out) as f:
            stdout = f.read()
        status = result.get("exit_codes", [0])[0]
        return status, stdout, "", {"wall_s": result["times"][0], "user_s": result["user"],
                                    "system_s": result["system"]}


def have_hyperfine():
    try:
        subprocess.run(["hyperfine", "--version"], capture_output=True, check=True)
        return True
    except (OSError, subprocess.CalledProcessError):
        return False


def run_once(path, case, n, procs, args, warmup):
    """The fields of one output line; {"error": why} if there is none, None if the program lacks
    the case."""
    command = [path, case, str(n), str(procs)]
    try:
        if args.hyperfine:
            status, out, err, times = run_hyperfine(command, args.timeout, warmup)
        else:
            status, out, err, times = run_plain(command, args.timeout)
    except subprocess.TimeoutExpired:
        return {"error": f"no result within {args.timeout:g} s"}
    except OSError as e:
        return {"error": str(e)}
    if status == NO_SUCH_CASE:
        return None
    if status != 0:
        if args.hyperfine:             # it keeps what the program said to itself
            try:
                err = run_plain(command, args.timeout)[2]
            except subprocess.TimeoutExpired:
                err = "and the next time no result"
        return {"error": f"exit {status} {first_line(err)}".strip()}
    try:
        fields = dict(pair.split("=", 1) for pair in out.splitlines()[-1].split())
        fields["ns_per_op"] = float(fields["ns_per_op"])
        fields.update({k: int(fields[k]) for k in ("n", "procs", "rss_kb")})
        fields["check"]
    except (ValueError, KeyError, IndexError):
        return {"error": f"not a result: {out.strip()[:80]!r}"}
    fields.update(times)
    return fields


# -- rounds ----------------------------------------------------------------------------------


def sits_out(name, case, rounds, spent, args):
    """Is that enough of this program in this case?"""
    whole = name in PAIR and not case.startswith("grow_") and case not in COLD
    return not whole and rounds >= LEAST_ROUNDS and spent > args.budget


def run_rounds(programs, case, n, procs, args):
    """{name: [fields of each round]}; a program that failed once is not run again, one that lacks
    the case is not there."""
    rounds, spent = {name: [] for name in programs}, dict.fromkeys(programs, 0.0)
    late = case.startswith("late_")
    for i in range(1 if late else args.runs):
        for name in list(rounds)[:: -1 if i % 2 else 1]:
            if any("error" in r for r in rounds[name]) or sits_out(name, case, len(rounds[name]),
                                                                   spent[name], args):
                continue
            begin = time.monotonic()
            warmup = int(i == 0 and case not in COLD and not late and n < 1000000)
            fields = run_once(programs[name], case, n, procs, args, warmup)
            if fields is None:
                del rounds[name]
                continue
            rounds[name].append(fields)
            spent[name] += time.monotonic() - begin
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
    for key in ("wall_s", "user_s", "system_s"):
        if all(key in r for r in runs):
            summary[key] = spread([r[key] for r in runs])
    for key in runs[0].keys() - set(STANDARD):
        values = [extra_number(r.get(key, "")) for r in runs]
        if None not in values:
            summary[key] = statistics.median(values)
    return summary


def paired_ratios(others, ours):
    """Min, median and max over the rounds of other / ours; None if a round of ours took no time."""
    pairs = [(o["ns_per_op"], u["ns_per_op"]) for o, u in zip(others, ours)]
    if any(u <= 0 for _, u in pairs):
        return None
    return spread([o / u for o, u in pairs])


def disagreement(rounds):
    """Programs that did the same N must have come to the same sum; what is wrong, or None."""
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
    able = {name: path for name, path in programs.items()
            if case in known[name] and (procs == 1 or name not in ONE_THREAD)}
    rounds = run_rounds(able, case, n, procs, args)
    entry = {"case": case, "n": n, "procs": procs,
             "rounds": max((len(r) for r in rounds.values()), default=0),
             "runtimes": {name: summarize(runs) for name, runs in rounds.items()},
             "ratio": {}, "ratio_spread": {}}
    for name, runtime in entry["runtimes"].items():
        if name == "gor" or "error" in runtime or "error" in entry["runtimes"].get(
                "gor", {"error": "not run"}):
            continue
        ratios = paired_ratios(rounds[name], rounds["gor"])
        if ratios:
            entry["ratio"][name] = ratios["median"]
            entry["ratio_spread"][name] = ratios
    problem = disagreement(rounds)
    if problem:
        entry["problem"] = problem
    return entry


# -- what is shown ---------------------------------------------------------------------------


def label(entry):
    return f"{entry['case']}:{entry['n']}" if entry["n"] else entry["case"]


def header(names):
    cells = [f"{'case':<21}{'procs':>5}{'gor ns':>12}{'(min-max)':>21}{'MB':>8}"]
    cells += [f"{name + '/gor':>12}" for name in names if name != "gor"]
    return "".join(cells)


def row(entry, names):
    cells = [f"{label(entry):<21}{entry['procs']:>5}"]
    gor = entry["runtimes"].get("gor")
    if not gor or "error" in gor:
        cells.append(f"{'failed' if gor else '-':>12}{'':>29}")
    else:
        ns = gor["ns_per_op"]
        between = f"({ns['min']:.4g}-{ns['max']:.4g})"
        cells.append(f"{ns['median']:>12.5g}{between:>21}{gor['peak_rss_kb'] / 1024:>8.1f}")
    for name in names:
        r = entry["runtimes"].get(name)
        if name == "gor":
            continue
        if name in entry["ratio"]:
            cells.append(f"{entry['ratio'][name]:>11.2f}x")
        elif r and "error" not in r:   # gor lacks it: the time itself
            cells.append(f"{r['ns_per_op']['median']:>9.4g} ns")
        else:
            cells.append(f"{'failed' if r else '-':>12}")
    return "".join(cells)


def complaints(entry):
    where = f"{label(entry)} procs {entry['procs']}"
    found = [f"{where}: {name}: {r['error']}" for name, r in entry["runtimes"].items()
             if "error" in r]
    if "problem" in entry:
        found.append(f"{where}: {entry['problem']}")
    return found


# -- the file --------------------------------------------------------------------------------


def said_by(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=HERE)
        return first_line(done.stdout) if done.returncode == 0 else None
    except OSError:
        return None


def cpu_model():
    try:
        with open("/proc/cpuinfo") as f:
            return next((line.split(":", 1)[1].strip() for line in f
                         if line.startswith("model name")), platform.machine())
    except OSError:
        return platform.machine()


def surroundings(args):
    versions = {"cc": said_by(os.environ.get("CC", "cc"), "--version"),
                "go": said_by(os.environ.get("GO", "go"), "version"),
                "rustc": said_by("rustc", "--version"),
                "hyperfine": said_by("hyperfine", "--version") if args.hyperfine else None,
                "commit": said_by("git", "describe", "--always", "--dirty")}
    return {"when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "cpus": len(os.sched_getaffinity(0)), "cpu": cpu_model(),
            "kernel": platform.release().split("-")[0], "rounds": args.runs,
            "versions": {k: v for k, v in versions.items() if v}}


def key(entry):
    return entry["case"], entry["n"], entry["procs"]


def old_results(args):
    try:
        with open(args.out) as f:
            return json.load(f)["results"] if args.merge else []
    except FileNotFoundError:
        return []


def save(path, about, old, new):
    """The new entries in the places of the old ones that they replace, then those that are new."""
    fresh = {key(e): e for e in new}
    results = [fresh.pop(key(e), e) for e in old] + list(fresh.values())
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path + ".new", "w") as f:
        json.dump({**about, "results": results}, f, indent=1)
        f.write("\n")
    os.replace(path + ".new", path)


def main():
    args = parse_args()
    args.hyperfine = have_hyperfine()
    if not args.hyperfine:
        print("run.py: no hyperfine, so programs are run without it", file=sys.stderr)
    programs = find_programs(args)
    known = {name: list_cases(path) for name, path in programs.items()}
    chosen = choose_cases(args.cases, known)
    about, old, results, wrong = surroundings(args), old_results(args), [], []
    begin = time.monotonic()
    print(header(programs))
    for case, n in chosen:
        for procs in args.procs:
            entry = measure(programs, known, case, n, procs, args)
            if not entry["runtimes"]:
                continue
            results.append(entry)
            wrong += complaints(entry)
            print(row(entry, programs), flush=True)
            save(args.out, about, old, results)
    for line in wrong:
        print(f"run.py: {line}", file=sys.stderr)
    print(f"{args.out}: {len(results)} results in {(time.monotonic() - begin) / 60:.0f} min")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

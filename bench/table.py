#!/usr/bin/env python3
"""Print results/latest.json as Markdown tables, or write them into a document.

    table.py [NAME]            print one; default: ratios
    table.py --into FILE       replace what stands in FILE between
                               <!-- table NAME --> and <!-- end -->
    table.py --into FILE --of COMPUTER      the same for <!-- table NAME COMPUTER -->: another
                                            computer's results beside those of the first

    about      where and when the measurement was made
    ratios     gor's time and Go ÷ gor, at 1 and 2 processors
    targets    Go ÷ gor beside what was aimed at
    peers1     every program's ns per operation at 1 processor; peers2: at 2
    memory     gor's and Go's time, peak memory, and bytes per goroutine
    growth1    ns per operation among 1,000 to 1,000,000 goroutines, 1 processor; growth2: 2
    late       how late a sleep ends beside goroutines that call nothing
    floor      gor, and the bare processor doing the heart of the same
"""

import argparse
import json
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAMS = {"gor": "gor", "go": "Go", "tokio": "tokio", "fibers": "Boost.Fiber", "tbb": "oneTBB",
            "openmp": "OpenMP", "threads": "threads", "floor": "floor"}
TARGETS = {  # case: Go ÷ gor at 1 processor, at 2
    "pingpong": (4.5, 3.5), "oneway": (5, 4), "buffered": (3, 3), "buffered8x8": (3, 3),
    "select4": (5, 4), "yield2": (6, 6), "yield1000": (6, 10), "spawn_wait": (10, 8),
    "spawn_join": (6, 5), "fib": (10, 8), "skynet": (8, 6), "mutex": (2, 2), "mutex8": (2, 4),
    "timer": (10, 10), "sleepers": (4, 3), "parked1m": (3, 3)}


class Results:
    def __init__(self, path):
        with open(path) as f:
            self.whole = json.load(f)
        self.by_key = {(r["case"], r["n"], r["procs"]): r for r in self.whole["results"]}
        plain = [r for r in self.whole["results"] if not r["case"].startswith(("grow_", "late_"))]
        self.cases = list(dict.fromkeys((r["case"], r["n"]) for r in plain))

    def get(self, case, procs, program, field="ns_per_op"):
        """A median, or None."""
        r = self.by_key.get((*case, procs), {}).get("runtimes", {}).get(program, {})
        value = r.get(field)
        return value["median"] if isinstance(value, dict) else value

    def ratio(self, case, procs, program="go"):
        return self.by_key.get((*case, procs), {}).get("ratio", {}).get(program)


def ns(value):
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def times(value):
    if value is None:
        return "–"
    return f"{value:.0f}x" if value >= 100 else f"{value:.2g}x" if value < 1 else f"{value:.1f}x"


def lines(head, rows):
    yield "| " + " | ".join(head) + " |"
    yield "|---" + "|---:" * (len(head) - 1) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def name_of(case):
    return f"{case[0]} {case[1]:,}" if case[1] else case[0]


def span(numbers):
    return " to ".join(str(n) for n in sorted({min(numbers), max(numbers)})) if numbers else "no"


def about(r):
    w = r.whole
    versions = ", ".join(w.get("versions", {}).get(k, "") for k in ("cc", "go", "rustc")
                         if k in w.get("versions", {}))
    rounds = [one["rounds"] for one in w["results"]]
    yield (f"Measured {w['when'][:10]} on {w['cpus']} processors ({w.get('cpu', '?')}), Linux "
           f"{w.get('kernel', '?')}; {versions}. Medians of {span(rounds)} rounds, by case.")


def ratios(r):
    def row(case):
        for procs in (1, 2):
            yield ns(r.get(case, procs, "gor"))
            yield times(r.ratio(case, procs))
    with_gor = [c for c in r.cases if any(r.get(c, p, "gor") is not None for p in (1, 2))]
    return lines(["case", "gor, 1 processor, ns", "Go ÷ gor", "gor, 2 processors, ns", "Go ÷ gor"],
                 ([name_of(c), *row(c)] for c in with_gor))


def targets(r):
    def row(case):
        for procs, aim in zip((1, 2), TARGETS[case[0]]):
            seen = r.ratio(case, procs)
            reached = "" if seen is None else " ✓" if seen >= aim else ""
            yield f"{aim:g}"
            yield times(seen) + reached
    return lines(["case", "aim, 1 processor", "Go ÷ gor", "aim, 2 processors", "Go ÷ gor"],
                 ([name_of(c), *row(c)] for c in r.cases if c[0] in TARGETS))


def peers(r, procs):
    shown = [p for p in PROGRAMS if any(r.get(c, procs, p) is not None for c in r.cases)]
    return lines(["case"] + [PROGRAMS[p] for p in shown],
                 ([name_of(c)] + [ns(r.get(c, procs, p)) for p in shown] for c in r.cases
                  if any(r.get(c, procs, p) is not None for p in shown)))


def memory(r):
    def row(case, procs):
        for p in ("gor", "go"):
            kb = r.get(case, procs, p, "peak_rss_kb")
            each = r.get(case, procs, p, "bytes_per_goroutine")
            yield "–" if kb is None else f"{kb / 1024:,.0f}"
            yield "–" if each is None else f"{each:,.0f}"
    wanted = {"parked1m", "spawn_wait", "skynet", "sleepers", "ctx_tree"}
    return lines(["case", "procs", "gor, MB", "bytes each", "Go, MB", "bytes each"],
                 ([name_of(c), str(p), *row(c, p)] for c in r.cases if c[0] in wanted
                  for p in (1, 2)))


def growth(r, procs):
    sizes = sorted({n for case, n, _ in r.by_key if case.startswith("grow_")})
    names = list(dict.fromkeys(case for case, _, _ in r.by_key if case.startswith("grow_")))

    def rows():
        for case in names:
            for p in PROGRAMS:
                values = [r.get((case, n), procs, p) for n in sizes]
                if any(v is not None for v in values):
                    ends = values[0] and values[-1] and values[-1] / values[0]
                    yield [f"{case[5:]}, {PROGRAMS[p]}", *map(ns, values), times(ends)]
    return lines(["operation, program"] + [f"{n:,}" for n in sizes] + ["last ÷ first"], rows())


def late(r):
    fields = {"ns_per_op": "median", "p99_ns": "p99", "worst_ns": "worst",
              "thread_p99_ns": "thread, p99", "thread_worst_ns": "worst"}

    def row(case):
        for procs in (1, 2):
            values = [r.get((case, 0), procs, "gor", field) for field in fields]
            yield [f"{case[5:]}, {procs}"] + ["–" if v is None else f"{v / 1e6:.2f}" for v in values]
    names = list(dict.fromkeys(case for case, _, _ in r.by_key if case.startswith("late_")))
    return lines(["hogs, processors"] + list(fields.values()), (c for n in names for c in row(n)))


def floor(r):
    def rows():
        for c in r.cases:
            low, gor = r.get(c, 1, "floor"), r.get(c, 1, "gor")
            if low is not None:
                yield [name_of(c), ns(low), ns(gor),
                       times(gor / low) if gor is not None else "–"]
    return lines(["case", "floor, ns", "gor, 1 processor, ns", "gor ÷ floor"], rows())


TABLES = {"about": about, "ratios": ratios, "targets": targets,
          "peers1": lambda r: peers(r, 1), "peers2": lambda r: peers(r, 2), "memory": memory,
          "growth1": lambda r: growth(r, 1), "growth2": lambda r: growth(r, 2), "floor": floor, "late": late}


MARKED = re.compile(r"(<!-- table (\w+)(?: (\w+))? -->\n).*?(<!-- end -->)", re.DOTALL)


def write_into(path, r, computer):
    written = []

    def table(match):
        head, name, of, end = match.groups()
        if name not in TABLES:
            sys.exit(f"table.py: {path}: no table {name}; there are: {' '.join(TABLES)}")
        text = list(TABLES[name](r))
        measured = len(text) != 2 or not text[1].startswith("|--")     # more than a head
        if of != computer or not measured:
            return match[0]
        written.append(name)
        return head + "\n".join(text) + "\n" + end

    with open(path) as f:
        new = MARKED.sub(table, f.read())
    with open(path, "w") as f:
        f.write(new)
    print(f"{path}: {len(written)} tables")


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("table", nargs="?", default="ratios", choices=TABLES)
    p.add_argument("--into", metavar="FILE")
    p.add_argument("--of", metavar="COMPUTER")
    p.add_argument("--in", dest="source", default=os.path.join(HERE, "results", "latest.json"))
    args = p.parse_args()
    try:
        r = Results(args.source)
    except FileNotFoundError:
        sys.exit(f"table.py: no {args.source}; run.py makes it")
    if args.into:
        write_into(args.into, r, args.of)
    else:
        print("\n".join(TABLES[args.table](r)))


main()

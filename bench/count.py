#!/usr/bin/env python3
"""Count the instructions of one operation of gor, and say which functions they are in.

    count.py pingpong                 a table: each function's own instructions, callees apart
    count.py --lines yield2           every instruction, with how often an operation passes it
    count.py --locked pingpong        the locked instructions alone, at 2 processors
    count.py --into FILE              replace what stands in FILE between <!-- count CASE -->
                                      or <!-- locked CASE --> and <!-- end -->

Builds bench.c as `make bench` does, but with -g, which changes no instruction; runs the case under
valgrind's callgrind with N and 2N operations; the difference, divided by N, is one operation, with
nothing of start and end. Inlined functions are told apart by the line table. Instructions are not
time: a locked one, counted apart, takes as long as twenty others.
"""

import argparse
import collections
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
PROGRAM = os.path.join(ROOT, "build", "bench", "gor-g")
# Wrappers of one or two instructions: these count as their caller's.
THIN = re.compile(r"gor__(au32|au64|ai64|aptr)_\w+|gor__(self|this_g|m_g|m_p|p_at|arch_self)"
                  r"|gor__(rank_push|rank_pop|is_ordinary|stress_hit)")
WHAT = {"pingpong": "a round trip", "yield2": "a yield", "spawn_wait": "a goroutine"}


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"count.py: {' '.join(command)}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def build():
    sources = [os.path.join(HERE, "bench.c"), os.path.join(HERE, "harness.h"),
               os.path.join(ROOT, "gor.h")]
    if os.path.exists(PROGRAM) and all(os.path.getmtime(s) < os.path.getmtime(PROGRAM)
                                       for s in sources):
        return
    os.makedirs(os.path.dirname(PROGRAM), exist_ok=True)
    run(os.environ.get("CC", "cc"), "-std=c11", "-O3", "-g", "-I", ROOT, sources[0], "-o", PROGRAM,
        "-pthread")


def executed(case, n, procs):
    """{(object, address): how often} of one run."""
    counts = collections.Counter()
    with tempfile.TemporaryDirectory() as scratch:
        out = os.path.join(scratch, "out")
        run("valgrind", "--tool=callgrind", "--dump-instr=yes", "--compress-strings=no",
            "--compress-pos=no", f"--callgrind-out-file={out}", PROGRAM, case, str(n), str(procs))
        where, skip = "?", False
        with open(out) as f:
            for line in f:
                if line.startswith("ob="):
                    where = line[3:].strip()
                elif line.startswith("calls="):
                    skip = True        # the next line is what the callee cost
                elif line.startswith("0x"):
                    if not skip:
                        address, _, cost = line.split()
                        counts[where, int(address, 16)] += int(cost)
                    skip = False
    return counts


def per_operation(case, n, procs):
    """{(object, address): executions per operation}"""
    once, twice = executed(case, n, procs), executed(case, 2 * n, procs)
    rates = {k: (twice[k] - once[k]) / n for k in twice}
    return {k: v for k, v in rates.items() if abs(v) >= 0.005}


def places(addresses):
    """{address: [(function, file:line)], innermost first}"""
    if not addresses:
        return {}
    text = subprocess.run(["addr2line", "-e", PROGRAM, "-f", "-i", "-a"], check=True, text=True,
                          capture_output=True, input="\n".join(map(hex, addresses))).stdout
    found, at = {}, None
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith("0x"):
            at = found.setdefault(int(line, 16), [])
        else:
            at.append((line, os.path.basename(next(lines).split(" ")[0])))
    return found


def instructions():
    """{address: text}"""
    text = run("objdump", "-d", "--no-show-raw-insn", PROGRAM)
    return {int(m[1], 16): m[2].strip()
            for m in re.finditer(r"^ +([0-9a-f]+):\t(.*)$", text, re.MULTILINE)}


def symbols():
    """[(address, name)] by address: for what has no line table, as assembly."""
    found = [line.split() for line in run("nm", "-n", PROGRAM).splitlines()]
    return [(int(f[0], 16), f[2]) for f in found if len(f) == 3 and f[1] in "tT"]


def described():
    """{function: the first sentence of the comment above it in gor.h}"""
    with open(os.path.join(ROOT, "gor.h")) as f:
        text = f.read()
    found = {}
    for m in re.finditer(r"/\*((?:[^*]|\*(?!/))*)\*/\n((?:GOR|static|__attr|[a-z])[^\n;{]*"
                         r"(?:\n[^\n;{]*)?)\n\{", text):
        sentence = re.sub(r"\s+\*?\s*", " ", m[1]).strip().split(". ")[0].rstrip(".")
        name = re.search(r"(\w+)\)?\(", m[2])
        if name and sentence[:1].isupper() and len(sentence) <= 80:
            found[name[1]] = sentence
    return found


def is_locked(text):
    return text.startswith("lock") or re.match(r"xchg .*\(", text) is not None


class Account:
    def __init__(self, case, n, procs):
        build()
        self.rates = {}
        self.outside = 0
        for (where, address), rate in per_operation(case, n, procs).items():
            if os.path.basename(where) == os.path.basename(PROGRAM):
                self.rates[address] = rate
            else:
                self.outside += rate
        self.text = instructions()
        self.place = places(sorted(self.rates))
        self.symbols = symbols()

    def function(self, address):
        chain = [f for f, _ in self.place.get(address, [("??", "")])]
        name = next((f for f in chain if not THIN.fullmatch(f)), chain[-1])
        if name == "??":
            name = [s for a, s in self.symbols if a <= address][-1]
        return name

    def total(self):
        return sum(self.rates.values()) + self.outside

    def by_function(self):
        """[(function, instructions, locked)], most first"""
        sums = collections.defaultdict(lambda: [0.0, 0.0])
        for address, rate in self.rates.items():
            sums[self.function(address)][0] += rate
            if is_locked(self.text.get(address, "")):
                sums[self.function(address)][1] += rate
        if self.outside >= 0.005:
            sums["(libc)"][0] += self.outside
        return sorted(((f, *s) for f, s in sums.items()), key=lambda row: -row[1])


def number(value):
    return f"{value:.1f}".removesuffix(".0")


def table(case, n, procs):
    account = Account(case, n, procs)
    yield (f"{number(account.total())} instructions for {WHAT.get(case, 'an operation')} "
           f"(`bench/count.py {case}`), by the function that they were written in:")
    yield ""
    yield "| function | instructions | locked | |"
    yield "|---|---:|---:|---|"
    rest, words = [0.0, 0.0], described()
    for name, count, locked in account.by_function():
        if count < 0.012 * account.total():
            rest = [rest[0] + count, rest[1] + locked]
        else:
            yield f"| {name if name[0] == '(' else f'`{name}`'} | {number(count)} | " \
                  f"{number(locked) if locked >= 0.05 else ''} | {words.get(name, '')} |"
    if rest[0] >= 0.05:
        yield f"| (others) | {number(rest[0])} | {number(rest[1]) if rest[1] >= 0.05 else ''} | |"


def locked_table(case, n, procs):
    account = Account(case, n, max(procs, 2))
    rows = [(f, l) for f, _, l in account.by_function() if l >= 0.05]
    yield (f"{number(sum(l for _, l in rows))} locked instructions for {WHAT.get(case, 'an operation')}"
           f" at {max(procs, 2)} processors (`bench/count.py --locked {case}`), in all "
           f"{number(account.total())}:")
    yield ""
    yield "| function | locked |"
    yield "|---|---:|"
    for name, locked in rows:
        yield f"| `{name}` | {number(locked)} |"


def listing(case, n, procs):
    account = Account(case, n, procs)
    last = None
    for address in sorted(account.rates):
        chain = account.place.get(address, [("??", "")])
        outermost = chain[-1][0] if chain[-1][0] != "??" else account.function(address)
        if outermost != last:
            yield f"\n{outermost}:"
            last = outermost
        where = " < ".join(f for f, _ in chain[:-1]) or ""
        yield f"{account.rates[address]:7.2f}  {address:6x}  {account.text.get(address, '?'):<46}" \
              f" {chain[0][1]:<14} {where}"
    if account.outside >= 0.005:
        yield f"\n{account.outside:7.2f}  in other objects"
    yield f"\n{account.total():7.2f}  in all"


TABLES = {"count": table, "locked": locked_table}


def write_into(path, n, procs):
    with open(path) as f:
        text = f.read()
    new, found = re.subn(
        r"(<!-- (count|locked) (\w+) -->\n).*?(<!-- end -->)",
        lambda m: m[1] + "\n".join(TABLES[m[2]](m[3], n, procs)) + "\n" + m[4], text,
        flags=re.DOTALL)
    with open(path, "w") as f:
        f.write(new)
    print(f"{path}: {found} counts")


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("case", nargs="?")
    p.add_argument("--n", type=int, default=10000, help="operations; default 10000")
    p.add_argument("--procs", type=int, default=1, help="default 1: locks are elided")
    p.add_argument("--lines", action="store_true")
    p.add_argument("--locked", action="store_true")
    p.add_argument("--into", metavar="FILE")
    args = p.parse_args()
    if not args.case and not args.into:
        p.error("a CASE or --into FILE is wanted")
    if args.into:
        write_into(args.into, args.n, args.procs)
    else:
        show = listing if args.lines else locked_table if args.locked else table
        print("\n".join(show(args.case, args.n, args.procs)))


main()

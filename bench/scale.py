#!/usr/bin/env python3
"""The table of `make scale`: memory and time of goroutines by the million.

    scale.py FILE...              print it; FILE: what tests/scale.c and bench/memory.go have printed
    scale.py --into DOC FILE...   replace what stands in DOC between <!-- scale --> and <!-- end -->
"""

import argparse
import re
import sys

HOW_MANY = r"# procs (?P<procs>\d+): (?P<n>\d+) "
LINES = [  # of gor; of Go, where all stacks are alike; and what the rest of a line says
    ("parked", HOW_MANY + r"parked(?:, stacks of (?P<kib>\d+) KiB)?: (?P<bytes>\d+) bytes each, "
               r"(?P<ns>\d+) ns each to start, (?P<ready>\d+) until parked"),
    ("packed", HOW_MANY + r"packed, stacks of (?P<kib>\d+) KiB: (?P<bytes>\d+) bytes each, "
               r"(?P<ready>\d+) ns each until then"),
    ("not begun", HOW_MANY + r"started, \d+ of them had begun: (?P<bytes>\d+) bytes each, "
                  r"(?P<ns>\d+) ns each"),
    ("waves", HOW_MANY + r"in waves: (?P<first>\d+) KB .*after the first, (?P<last>\d+) KB "),
]


def rows(text):
    """One dictionary per line of the two programs that is a measurement."""
    for line in text.splitlines():
        for what, pattern in LINES:
            found = re.match(pattern, line)
            if found:
                yield {"what": what, **{k: int(v) for k, v in found.groupdict().items() if v}}


def named(row, go):
    text = f"{row['n']:,} {row['what']}, {row['procs']} processor" + "s" * (row["procs"] > 1)
    return text + ("; Go" if go else f"; {row['kib']} KiB stacks" if "kib" in row else "")


def table(files):
    yield "| goroutines | bytes each | to start, ns | until all are, ns | after wave 1, MB | after 5 |"
    yield "|---|---:|---:|---:|---:|---:|"
    for file in files:
        with open(file) as f:
            text = f.read()
        found = list(rows(text))
        if not found:
            sys.exit(f"scale.py: {file}: no measurements")
        for row in found:
            cells = [f"{row[k]:,}" if k in row else "–" for k in ("bytes", "ns", "ready")]
            cells += [f"{row[k] / 1024:,.0f}" if k in row else "–" for k in ("first", "last")]
            go = "of them had begun" not in text and "KiB" not in text
            yield "| " + " | ".join([named(row, go), *cells]) + " |"


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--into", metavar="DOC")
    p.add_argument("files", nargs="+", metavar="FILE")
    args = p.parse_args()
    text = "\n".join(table(args.files)) + "\n"
    if not args.into:
        print(text, end="")
        return
    with open(args.into) as f:
        doc = f.read()
    doc, n = re.subn(r"(<!-- scale -->\n).*?(<!-- end -->)", lambda m: m[1] + text + m[2], doc,
                     flags=re.DOTALL)
    if n != 1:
        sys.exit(f"scale.py: {args.into}: {n} places for the table")
    with open(args.into, "w") as f:
        f.write(doc)


main()

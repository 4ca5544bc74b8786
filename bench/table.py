#!/usr/bin/env python3
"""Print results/latest.json as the Markdown table of the README.

    table.py [--in results/latest.json]
"""

import argparse
import json
import os

HERE = os.path.dirname(os.path.abspath(__file__))


def cell(result):
    if result is None:
        return "| | "
    gor = result["runtimes"]["gor"]["ns_per_op"]["median"]
    ratio = result["ratio"].get("go")
    return f"| {gor:.3g} ns | {f'{ratio:.1f}x' if ratio else ''} "


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--in", dest="source", default=os.path.join(HERE, "results", "latest.json"))
    with open(p.parse_args().source) as f:
        results = json.load(f)["results"]
    by_case = {}
    for r in results:
        by_case.setdefault(r["case"], {})[r["procs"]] = r
    print("| case | gor, 1 processor | Go ÷ gor | gor, 2 processors | Go ÷ gor |")
    print("|---|---|---|---|---|")
    for case, procs in by_case.items():
        print(f"| {case} {cell(procs.get(1))}{cell(procs.get(2))}|")


main()

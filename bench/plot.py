#!/usr/bin/env python3
"""Draw results/latest.json: for each case how many times longer Go takes than gor, as an SVG.

    plot.py [--in results/latest.json] [--out results/latest.svg] [--peer go]
"""

import argparse
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def parse_args():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--in", dest="source", default=os.path.join(HERE, "results", "latest.json"))
    p.add_argument("--out", default=os.path.join(HERE, "results", "latest.svg"))
    p.add_argument("--peer", default="go", help="whose ratio to gor; default go")
    return p.parse_args()


def load_ratios(path, peer):
    """{procs: {case: ratio}}, the cases in the order of the file."""
    with open(path) as f:
        results = json.load(f)["results"]
    ratios = {}
    for r in results:
        if r["ratio"].get(peer):
            ratios.setdefault(r["procs"], {})[r["case"]] = r["ratio"][peer]
    return ratios


def draw(plt, ratios, peer, out):
    cases = list(dict.fromkeys(c for by_case in ratios.values() for c in by_case))
    high = 0.8 / len(ratios)  # of one bar; the bars of a case share 0.8 of its row
    fig, ax = plt.subplots(figsize=(8, 1.2 + 0.32 * len(cases)))
    for i, procs in enumerate(sorted(ratios)):
        rows = [k for k, c in enumerate(cases) if c in ratios[procs]]
        values = [ratios[procs][cases[k]] for k in rows]
        at = [k + (i - (len(ratios) - 1) / 2) * high for k in rows]
        # from 1 outwards: a log scale has no zero to start from
        bars = ax.barh(at, [v - 1 for v in values], left=1, height=high, label=f"procs {procs}")
        ax.bar_label(bars, [f" {v:.3g} " for v in values], fontsize=7)
    ax.axvline(1, color="black", linewidth=0.8)
    ax.set_xscale("log")
    ax.margins(x=0.1, y=0.01)
    ax.set_yticks(range(len(cases)), cases)
    ax.invert_yaxis()
    ax.set_xlabel(f"time of {peer} ÷ time of gor (log scale; right of 1: gor is faster)")
    ax.legend()
    fig.tight_layout()
    fig.savefig(out, format="svg", metadata={"Date": None})


def main():
    args = parse_args()
    try:
        import matplotlib
    except ImportError:
        print("plot.py: matplotlib is not installed, so there is no plot; "
              "get it with: python3 -m pip install matplotlib", file=sys.stderr)
        return 1
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "gor"  # the same data gives the same file
    from matplotlib import pyplot as plt
    try:
        ratios = load_ratios(args.source, args.peer)
    except FileNotFoundError:
        print(f"plot.py: no {args.source}; run.py makes it", file=sys.stderr)
        return 1
    if not ratios:
        print(f"plot.py: {args.source} has no ratio of {args.peer} to gor", file=sys.stderr)
        return 1
    draw(plt, ratios, args.peer, args.out)
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Draw results/latest.json: for each case how many times longer Go takes than gor (bench.svg), and
what an operation costs among ever more goroutines (growth.svg).

    plot.py [--in results/latest.json] [--out DIRECTORY] [--peer go]
"""

import argparse
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
RESULTS = os.path.join(HERE, "results")
STYLE = {"gor": ("#0b6e99", "-"), "go": ("#d9730d", "--"), "tokio": ("#8a8a8a", ":")}
TITLES = {"grow_yield": "yield", "grow_channel": "value, N senders to one",
          "grow_ring": "hop in a ring of N", "grow_timer": "one of N timers set anew",
          "grow_spawn": "start, park, release, end",
          "grow_netpoll": "datagram to one of N, and back"}


def parse_args():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--in", dest="source", default=os.path.join(RESULTS, "latest.json"))
    p.add_argument("--out", default=RESULTS, help="directory; default bench/results")
    p.add_argument("--peer", default="go", help="whose ratio to gor; default go")
    p.add_argument("--procs", type=int, default=1, help="of the growth plot; default 1")
    return p.parse_args()


def load(path):
    with open(path) as f:
        return json.load(f)["results"]


def load_ratios(results, peer):
    """{procs: {case: ratio}}, the cases in the order of the file."""
    ratios = {}
    for r in results:
        if r["ratio"].get(peer) and not r["case"].startswith("grow_"):
            ratios.setdefault(r["procs"], {})[r["case"]] = r["ratio"][peer]
    return ratios


def plain_log(axis):
    """1, 2, 5, 10, 20, ... instead of powers of ten."""
    from matplotlib import ticker
    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"{v:,g}"))
    axis.set_minor_locator(ticker.NullLocator())


def draw_ratios(plt, ratios, peer, out):
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
    plain_log(ax.xaxis)
    ax.margins(x=0.1, y=0.01)
    ax.set_yticks(range(len(cases)), cases)
    ax.invert_yaxis()
    ax.set_xlabel(f"time of {peer.capitalize()} ÷ time of gor (right of 1: gor is faster)")
    ax.legend()
    save(plt, fig, out)


def load_growth(results, procs):
    """{case: {program: [(N, ns)]}}"""
    growth = {}
    for r in results:
        if not r["case"].startswith("grow_") or r["procs"] != procs:
            continue
        for name, runtime in r["runtimes"].items():
            if "error" not in runtime and name in STYLE:
                points = growth.setdefault(r["case"], {}).setdefault(name, [])
                points.append((r["n"], runtime["ns_per_op"]["median"]))
    return growth


def draw_growth(plt, growth, procs, out):
    fig, axes = plt.subplots(1, len(growth), figsize=(2.6 * len(growth), 3), sharex=True)
    for ax, (case, programs) in zip([axes] if len(growth) == 1 else axes, growth.items()):
        for name, points in programs.items():
            color, line = STYLE[name]
            ax.plot(*zip(*sorted(points)), line, color=color, marker="o", markersize=3, label=name)
        ax.set_xscale("log")
        ax.set_yscale("log")
        plain_log(ax.yaxis)
        ax.margins(y=0.15)
        ax.set_title(TITLES.get(case, case), fontsize=8)
        ax.tick_params(labelsize=7)
        ax.grid(True, which="major", linewidth=0.3)
        ax.set_xlabel("goroutines", fontsize=8)
    first = fig.axes[0]
    first.set_ylabel(f"ns per operation, procs {procs}", fontsize=8)
    first.legend(fontsize=7)
    save(plt, fig, out)


def save(plt, fig, out):
    fig.tight_layout()
    fig.savefig(out, format="svg", metadata={"Date": None})
    plt.close(fig)
    print(out)


def main():
    args = parse_args()
    try:
        import matplotlib
    except ImportError:
        print("plot.py: matplotlib is not installed, so there is no plot; "
              "`make bench-setup` gets it", file=sys.stderr)
        return 0
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "gor"  # the same data gives the same file
    from matplotlib import pyplot as plt
    try:
        results = load(args.source)
    except FileNotFoundError:
        print(f"plot.py: no {args.source}; run.py makes it", file=sys.stderr)
        return 1
    ratios, growth = load_ratios(results, args.peer), load_growth(results, args.procs)
    if ratios:
        draw_ratios(plt, ratios, args.peer, os.path.join(args.out, "bench.svg"))
    if growth:
        draw_growth(plt, growth, args.procs, os.path.join(args.out, "growth.svg"))
    if not ratios and not growth:
        print(f"plot.py: {args.source} has nothing to draw", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

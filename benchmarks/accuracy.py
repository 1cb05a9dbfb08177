"""Every method of bnn.ops against a float network: held-out accuracy, same network, same budget.

    python -m benchmarks.accuracy [--data digits mnist5k] [--methods NAME ...] [--seeds 3]
        [--jobs 2] [--kept FILE] [--json FILE] [--chart FILE]

Every row has the same network, optimizer, schedule and number of epochs (methods of several steps
share them), but for what benchmarks/accuracy_bench/methods.py says of it; each seed has its own
held-out split, start weights and order of data. First and last layer stay float, all convolutions
between are binary, and the shortcuts have no parameters. Accuracy is that of the last epoch's
weights: no epoch is chosen. The settings were chosen on split 101, which no row uses. With --kept
the runs that have ended are written down, and the same command goes on after an interruption.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import machine
from benchmarks.accuracy_bench import chart, report, runs
from benchmarks.accuracy_bench.methods import METHODS, SETTINGS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 if the best method meets the target on every data set."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--kept", type=Path, help="runs that have ended; goes on from there")
    parser.add_argument("--json", type=Path, help="write the report here, and beside it as .md")
    parser.add_argument("--chart", type=Path, help="draw the report into this PNG")
    args = parser.parse_args(arguments)

    methods = list(dict.fromkeys(["float", *args.methods]))
    jobs = [runs.Job(d, m, s) for s in range(args.seeds) for d in args.data for m in methods]
    rows = report.rows_of(runs.train_all(jobs, args.jobs, args.kept))
    found = {
        "machine": {**machine.describe(), "threads": 1},
        "command": "python -m benchmarks.accuracy " + " ".join(sys.argv[1:]),
        "seeds": args.seeds,
        "settings": {data: SETTINGS[data] for data in args.data},
        "rows": rows,
        "best": report.best_of(rows),
    }
    print(report.table(found))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(found, indent=2) + "\n")
        text = f"# Accuracy, float against binary\n\n{report.table(found)}"
        args.json.with_suffix(".md").write_text(text)
    if args.chart:
        chart.draw(found, args.chart)
    return 1 if report.missed(found) else 0


if __name__ == "__main__":
    sys.exit(main())

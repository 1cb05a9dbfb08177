"""Rows, table and targets of the accuracy report."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.accuracy_bench.methods import METHODS
from benchmarks.accuracy_bench.runs import Outcome

TARGETS = {"digits": 1.5, "mnist5k": 0.7}  # points that the best binary network may lose


def rows_of(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return one row for each data set and method, float first, then the best before the worst."""
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.data, outcome.method), []).append(outcome)
    rows = []
    for (data, method), group in groups.items():
        accuracies = [outcome.accuracy for outcome in group]
        base = statistics.mean(outcome.accuracy for outcome in groups[data, "float"])
        rows.append(
            {
                "data": data,
                "network": method,
                "binarizers": METHODS[method].binarizers,
                "accuracy": statistics.mean(accuracies),
                "spread": statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0,
                "difference": statistics.mean(accuracies) - base,
                "accuracies": accuracies,
                "one_bit": METHODS[method].one_bit,
                "seconds": min(outcome.seconds for outcome in group),
            }
        )
    order = list(dict.fromkeys(data for data, _ in groups))
    return sorted(
        rows, key=lambda r: (order.index(r["data"]), r["network"] != "float", -r["accuracy"])
    )


def best_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the best row of each data set that has one bit for a weight and an activation."""
    best: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        if row["one_bit"]:
            best.setdefault(row["data"], row)
    return best


def missed(report: Mapping[str, Any]) -> list[str]:
    """Return the data sets on which even the best method loses more than it may."""
    return [data for data, best in report["best"].items() if best["difference"] < -TARGETS[data]]


def table(report: Mapping[str, Any]) -> str:
    """Return the report as Markdown."""
    place = report["machine"]
    lines = [
        f"cpu     {place['cpu']}, {place['isa']}, {place['cores']} cores, 1 thread for each run  ",
        f"build   bnn {place['bnn']}, torch {place['torch']}, python {place['python']}  ",
        f"command `{report['command']}`",
        "",
        "| data | method | accuracy % | spread | against float | s per run |",
        "|---|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['data']} | {row['network']} | {row['accuracy']:.2f} | {row['spread']:.2f} "
        f"| {row['difference']:+.2f} | {row['seconds']:.0f} |"
        for row in report["rows"]
    ]
    lines += [
        "",
        f"Mean of {report['seeds']} seeds, each with its own held-out split; the spread is the "
        "standard deviation over them. The time is that of the shortest run, on a shared machine.",
        "dorefa-1w2a has 2-bit activations, ternary 2-bit weights; the best method is of 1 bit.",
    ]
    for data, settings in report["settings"].items():
        lines.append(f"{data}: resnet8, {json.dumps(settings)}.")
    methods = Counter(row["data"] for row in report["rows"] if row["one_bit"])
    for data, best in report["best"].items():
        word = "NOT within" if data in missed(report) else "within"
        lines.append(
            f"{data}: best method {best['network']}, {best['difference']:+.2f} points, {word} the "
            f"target of {TARGETS[data]}. It is the best of {methods[data]}, chosen on these images."
        )
    return "\n".join(lines) + "\n"

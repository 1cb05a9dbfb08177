"""The page of the training benchmark: what a step takes and keeps, and what was promised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.kernel_bench.targets import Target
from benchmarks.page import Page, Rows

MOST_TIME, MOST_MEMORY = 1.1, 0.6
FIT, FIT_PRELU = "bnn, compact, as in fit", "bnn, as in fit, its PReLU"

STEPS = "way", "format", "min ms", "median", "x float", "saved MB", "x float", "peak MB", "x float"


def page(report: Mapping[str, Any]) -> Page:
    """Return the page of a report."""
    machine, threads = report["machine"], report["threads"]
    return Page(
        "A training step, binary beside float",
        (
            f"cpu     {machine['cpu']}, {machine['isa']}, {threads} thread{'s' * (threads > 1)}",
            f"build   bnn {machine['bnn']}, torch {machine['torch']}, python {machine['python']}",
            f"command `{report['command']}`",
        ),
        [*_steps(report["results"]), *_methods(report["methods"])],
        (
            "A step is forward, backward and Adam; x float is against the float network with "
            "torch's PReLU in its faster format. Saved: kept for the backward pass. Peak: how much "
            "torch's memory grows within a step.",
        ),
        targets(report["results"]),
    )


def targets(rows: Sequence[Mapping[str, Any]]) -> list[Target]:
    """Return what is promised of training as in fit, each in its best memory format."""
    found = []
    for name in _networks(rows):
        for way in (FIT, FIT_PRELU):
            here = [row for row in rows if row["network"] == name and row["way"] == way]
            for what, key, most in (
                ("step, times float", "time_ratio", MOST_TIME),
                ("saved, times float", "saved_ratio", MOST_MEMORY),
            ):
                best = min(row[key] for row in here)
                found.append(Target(what, f"{name}, {way}", most, best, at_most=True))
    return found


def _networks(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["network"] for row in rows))


def _steps(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, Rows]]:
    return [
        (name, [STEPS, *(_step(r) for r in rows if r["network"] == name)])
        for name in _networks(rows)
    ]


def _step(row: Mapping[str, Any]) -> Sequence[str]:
    return (
        *(row["way"], row["format"]),
        *(f"{row['minimum_ms']:.1f}", f"{row['median_ms']:.1f}", f"{row['time_ratio']:.2f}"),
        *(f"{row['saved_mb']:.1f}", f"{row['saved_ratio']:.2f}"),
        *(f"{row['peak_mb']:.1f}", f"{row['peak_ratio']:.2f}"),
    )


def _methods(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, Rows]]:
    """Return one table: what each method keeps, a pair of columns for each network."""
    names = _networks(rows)
    head = ["method, as in fit", *(cell for name in names for cell in (f"{name}, MB", "x float"))]
    body = []
    for method in dict.fromkeys(row["method"] for row in rows):
        here = {row["network"]: row for row in rows if row["method"] == method}
        cells = [
            cell
            for name in names
            for cell in (f"{here[name]['saved_mb']:.1f}", f"{here[name]['saved_ratio']:.2f}")
        ]
        body.append([method, *cells])
    return [("Saved for the backward pass, by method", [head, *body])]

"""The bar chart of a report: speed against torch in float32.

python -m benchmarks.network_bench.chart REPORT.json CHART.png
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Greys that are read on white and on black, since a README may have either ground.
TEXT = "#7d8590"
PEER, OURS = "#9aa4b2", "#2f81f7"
BARS = (  # the label and what is measured of it
    ("torch fp32", ("torch fp32", "torch fp32 channels_last")),
    ("torch.compile", ("torch.compile",)),
    ("OpenVINO fp32", ("OpenVINO fp32",)),
    ("OpenVINO int8", ("OpenVINO int8",)),
    ("bnn emulated", ("emulated", "emulated channels_last")),
    ("bnn packed", ("packed",)),
)


def speeds(row: Mapping[str, Any]) -> dict[str, float]:
    """Return label -> how many times faster than torch it is, of a report's row."""
    least = {}
    for label, names in BARS:
        times = [row["times"][name]["minimum_us"] for name in names if name in row["times"]]
        if times:
            least[label] = min(times)
    return {label: least["torch fp32"] / time for label, time in least.items()}


def draw(report: Mapping[str, Any], file: Path) -> None:
    """Draw the rows of the smallest batch as groups of bars, on no ground."""
    from matplotlib.figure import Figure

    batch = min(row["batch"] for row in report["rows"])
    groups = [
        (row["network"], speeds(row), row["times"]["packed"]["minimum_us"] / 1e3)
        for row in report["rows"]
        if row["batch"] == batch
    ]
    height = sum(len(found) + 1.6 for _, found, _ in groups)
    figure = Figure(figsize=(8, 0.24 * height + 0.9), dpi=160, layout="constrained")
    axes = figure.subplots()
    widest = max(max(found.values()) for _, found, _ in groups)
    y, ticks, labels = 0.0, [], []
    for name, found, packed_ms in groups:
        axes.text(0, y, f"{name}", color=TEXT, weight="bold", va="center", size=9)
        for label, speed in found.items():
            y += 1
            ours = label == "bnn packed"
            axes.barh(y, speed, 0.78, color=OURS if ours else PEER)
            words = f"{speed:.1f}x" + (f", {packed_ms:.2f} ms" if ours else "")
            axes.text(
                speed + widest / 100,
                y,
                words,
                color=OURS if ours else TEXT,
                va="center",
                size=8,
                weight="bold" if ours else "normal",
            )
            ticks.append(y)
            labels.append(label)
        y += 1.6
    axes.set_yticks(ticks, labels, color=TEXT, size=8)
    axes.set_ylim(y - 0.6, -0.9)
    axes.set_xlim(0, widest * 1.2)
    axes.tick_params(axis="y", length=0)
    axes.set_xticks([])  # each bar says what it is
    for spine in axes.spines.values():
        spine.set_visible(False)
    threads = "1 thread" if report["threads"] == 1 else f"{report['threads']} threads"
    axes.set_xlabel(
        f"times as fast as torch fp32, batch {batch}, {threads}, "
        f"{report['machine']['cpu']} ({report['isa']})",
        color=TEXT,
        size=8,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, transparent=True)


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    draw(json.loads(source.read_text()), target)

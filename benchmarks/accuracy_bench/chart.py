"""The chart of an accuracy report: points lost against float, with the spread of the seeds.

python -m benchmarks.accuracy_bench.chart REPORT.json CHART.png
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Greys that are read on white and on black, since a page may have either ground.
TEXT, FLOAT, BINARY = "#7d8590", "#9aa4b2", "#2f81f7"
POINTS = 8  # below float; what lies further down is a number at the edge


def draw(report: Mapping[str, Any], file: Path) -> None:
    """Draw one panel for each data set: a dot for each method, its seeds as small ones."""
    from matplotlib.figure import Figure

    panels = list(report["settings"])
    most = max(sum(row["data"] == data for row in report["rows"]) for data in panels)
    figure = Figure(figsize=(9, 0.21 * most + 0.8), dpi=160, layout="constrained")
    for axes, data in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        rows = [row for row in report["rows"] if row["data"] == data]
        edge = rows[0]["accuracy"] - POINTS
        for y, row in enumerate(rows):
            if row["accuracy"] < edge:
                axes.text(
                    edge, y, f"\u2190 {row['accuracy']:.1f}", color=TEXT, fontsize=8, va="center"
                )
                continue
            color = FLOAT if row["network"] == "float" else BINARY
            axes.plot(row["accuracies"], [y] * len(row["accuracies"]), "|", color=color, ms=5)
            axes.plot([row["accuracy"]], [y], "o", color=color, ms=4)
        axes.axvline(rows[0]["accuracy"], color=FLOAT, lw=0.8, ls=":")
        axes.set_yticks(range(len(rows)), [row["network"] for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(edge, 100.2)
        axes.set_xlabel("held-out accuracy, %", color=TEXT)
        axes.set_title(data, color=TEXT, fontsize=10, loc="left")
        axes.tick_params(colors=TEXT, labelsize=8)
        axes.patch.set_alpha(0)
        for side in axes.spines.values():
            side.set_visible(False)
    figure.savefig(file, transparent=True)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))

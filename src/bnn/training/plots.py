"""Curves of a training run."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bnn.errors import DataError
from bnn.training.extras import needs_extra

_TRAIN, _TEST, _FLIPS = "#9a9a9a", "#1f5fa8", "#b4511f"


def plot_history(history: str | Path, png: str | Path) -> Path:
    """Draw loss, accuracy and flip rate by epoch; each step of the recipe has its own band.

    Args:
        history: The history.csv of a run.
        png: Where the picture goes; an existing file is replaced.

    Returns:
        The path of the picture.

    Raises:
        DataError: If the file is missing, empty or not a history.
        MissingExtraError: If matplotlib is not installed.
    """
    rows = read_history(history)
    with needs_extra("train", "plot_history"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator, PercentFormatter
    # Figure and canvas directly: pyplot would keep the figure, and choose a backend for all.
    figure = Figure(figsize=(7, 7), layout="constrained")
    FigureCanvasAgg(figure)
    loss, accuracy, flips = figure.subplots(3, 1, sharex=True)
    _curve(loss, rows, "train_loss", "train", _TRAIN)
    _curve(loss, rows, "test_loss", "held out", _TEST)
    loss.set_ylabel("loss (cross entropy)")
    loss.set_ylim(bottom=0)
    _curve(accuracy, rows, "train_accuracy", "train", _TRAIN)
    _curve(accuracy, rows, "test_accuracy", "held out", _TEST)
    accuracy.set_ylabel("accuracy")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0))
    accuracy.legend(loc="lower right", frameon=False)
    _curve(flips, rows, "flip_rate", "", _FLIPS)
    flips.set_ylabel("binary weights that\nchanged sign in the epoch")
    flips.yaxis.set_major_formatter(PercentFormatter(1.0))
    flips.set_ylim(bottom=0)
    if all(math.isnan(row["flip_rate"]) for row in rows):
        flips.text(
            0.5, 0.5, "no binary weights", ha="center", transform=flips.transAxes, color=_TRAIN
        )
    flips.set_xlabel("epoch")
    flips.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in (loss, accuracy, flips):
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    _mark_steps((loss, accuracy, flips), rows)
    figure.savefig(str(png), dpi=120)
    return Path(png)


def read_history(history: str | Path) -> list[dict[str, Any]]:
    """Return the rows of a history.csv: numbers as floats, an empty cell as NaN.

    Raises:
        DataError: If the file is missing, empty or not a history.
    """
    path = Path(history)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows: list[dict[str, Any]] = [
                {key: _value(key, text) for key, text in row.items()}
                for row in csv.DictReader(file, strict=True)
            ]
        needed = {"total_epoch", "step_name", "train_loss", "test_accuracy", "flip_rate"}
        if rows and needed <= rows[0].keys():
            return rows
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except (ValueError, TypeError, csv.Error) as error:
        raise DataError(f"{path}: not the history.csv of a run.") from error
    raise DataError(f"{path}: not the history.csv of a run, or of one without an epoch.")


def _value(key: str | None, text: str | None) -> str | float:
    if key is None or text is None:
        raise ValueError("a line has more or fewer cells than the first")
    if key == "step_name":
        return text
    return float(text) if text else math.nan


def _curve(axis: Any, rows: Sequence[dict[str, Any]], key: str, label: str, color: str) -> None:
    epochs, values = [row["total_epoch"] for row in rows], [row[key] for row in rows]
    single = "o" if len(rows) == 1 else ""  # one point makes no line
    axis.plot(epochs, values, color=color, label=label, marker=single, linewidth=1.6)


def _mark_steps(axes: Sequence[Any], rows: Sequence[dict[str, Any]]) -> None:
    """Separate the steps by lines, and name them above the first picture."""
    starts = [0, *(i for i in range(1, len(rows)) if rows[i]["step"] != rows[i - 1]["step"])]
    for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
        left, right = rows[start]["total_epoch"], rows[end - 1]["total_epoch"]
        axes[0].text(
            (left + right) / 2,
            1.02,
            rows[start]["step_name"],
            transform=axes[0].get_xaxis_transform(),
            ha="center",
        )
        if start:
            for axis in axes:
                axis.axvline(left - 0.5, color="black", linewidth=0.8, linestyle=":")

"""Curves of a training run."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from bnn.errors import DataError
from bnn.training.extras import needs_extra


def plot_history(history: str | Path, png: str | Path) -> Path:
    """Draw loss, accuracy and flip rate by epoch, the steps marked.

    Args:
        history: The history.csv of a run.
        png: Where the picture goes; an existing file is replaced.

    Returns:
        The path of the picture.

    Raises:
        DataError: If the file is missing or not a history.
        MissingExtraError: If matplotlib is not installed.
    """
    raise NotImplementedError

"""The folder of a run: whose it is, and the files in it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bnn.errors import CheckpointError, ConfigError
from bnn.executor.keys import TOP
from bnn.training.checkpoint import (
    read_checkpoint,
    remove_partial,
    unwritable,
    write_checkpoint,
    write_text,
)
from bnn.training.config import TrainConfig

# The folder and the data may have been moved; how many processes load changes no number.
_MAY_DIFFER = ("out", "data_dir", "num_workers")

HISTORY_COLUMNS = (
    "total_epoch",
    "step",
    "step_name",
    "epoch",
    "learning_rate",
    "train_loss",
    "train_accuracy",
    "test_loss",
    "test_accuracy",
    "flip_rate",
)


class RunFolder:
    """Reads and writes the files of one run.

    ``config.json`` says what is trained, ``last.ckpt`` and ``history.csv`` how far it is,
    ``final.ckpt`` is the result, ``tensorboard/`` has the curves. A step whose network a later one
    needs leaves ``step-INDEX.ckpt``; a teacher that is trained first has the folder ``teacher``.

    Args:
        path: The folder; :meth:`begin` makes it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.last = self.path / "last.ckpt"
        self.final = self.path / "final.ckpt"
        self.history = self.path / "history.csv"
        self._settings = self.path / "config.json"

    def check(self, config: TrainConfig, recipe: Mapping[str, Any] | None, resume: bool) -> None:
        """Raise ConfigError unless this run may use the folder; change nothing."""
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"out {str(self.path)!r} is a file; give a folder.")
        if not resume:
            if self._settings.exists() or self.last.exists():
                raise ConfigError(
                    f"{self.path} already holds a run. Continue it with resume=True (--resume), or "
                    "give another folder as out (--out)."
                )
            return
        if not self._settings.exists():
            raise ConfigError(f"{self.path} holds no run to resume. Start it without.")
        self._check_same(config, recipe)

    def _check_same(self, config: TrainConfig, recipe: Mapping[str, Any] | None) -> None:
        try:
            written = json.loads(self._settings.read_text(encoding="utf-8"))
            before, recipe_before = dict(written["config"]), written["recipe"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{self._settings} is damaged, so that the run cannot be resumed."
            ) from error
        now = config.as_dict()
        before = {**TrainConfig().as_dict(), **before}  # settings that it did not know yet
        if "smoke" not in written["config"] and before.get("schedule") == "cosine":
            before["schedule"] = None  # it had to be one, and this was what None is now
        for key in sorted({*before, *now} - {*_MAY_DIFFER}):
            if before.get(key) != now.get(key):
                raise ConfigError(
                    f"{self.path} holds another run: {key} is {before.get(key)!r} there, but "
                    f"{now.get(key)!r} here. Use the same settings, or another folder as out."
                )
        if _steps(recipe_before) != _steps(recipe):
            raise ConfigError(
                f"{self.path} holds another run: the recipe {config.recipe} has changed since it "
                "began."
            )

    def begin(self, config: TrainConfig, recipe: Mapping[str, Any] | None) -> None:
        """Make the folder and say in it whose it is."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            remove_partial(self.path)
            if not self._settings.exists():
                content = {"config": config.as_dict(), "recipe": recipe}
                write_text(json.dumps(content, indent=2) + "\n", self._settings)
        except OSError as error:
            raise ConfigError(f"out: {unwritable(self.path, error)}") from error

    def read_last(self) -> dict[str, Any] | None:
        """Return the checkpoint to continue from; None if the run was killed before its first.

        Raises:
            CheckpointError: If it is damaged.
        """
        if not self.last.exists():
            return None
        content = read_checkpoint(self.last)
        if not isinstance(content.get("training"), dict):
            raise CheckpointError(f"{self.last}: damaged: no usable 'training' in it.")
        return content

    def step_file(self, step: int) -> Path:
        """Return where the network that a step left is, for the steps that need it."""
        return self.path / f"step-{step}.ckpt"

    def save(self, content: Mapping[str, Any], path: Path | None = None) -> None:
        """Replace a checkpoint, then the history that is in it.

        Args:
            content: What it says.
            path: Which; only ``last.ckpt``, the default, holds how training goes on.

        Raises:
            CheckpointError: If the disk does not take it; the files before it stay.
        """
        path = path or self.last
        if path != self.last:
            content = {key: value for key, value in content.items() if key != "training"}
        try:
            write_checkpoint(content, path)
            write_text(_as_csv(content["history"]), self.history)
        except OSError as error:
            raise CheckpointError(unwritable(path, error)) from error


def _steps(recipe: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what of a recipe decides how a run goes on: not its texts, nor the default network."""
    if recipe is None:
        return None
    return {key: recipe[key] for key in recipe if key not in {*TOP} - {"data"}}


def _as_csv(history: Iterable[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    # Python writes the shortest text that reads back as the same float.
    writer = csv.DictWriter(text, HISTORY_COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue()

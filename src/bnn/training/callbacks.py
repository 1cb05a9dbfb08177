"""What happens at the bounds of an epoch: seeds, schedules, flip rate, history, checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, RichProgressBar

from bnn.ops.base import set_progress_
from bnn.training.latent import binary_weight_signs, flip_rate
from bnn.training.seeds import derive_seed

Row = dict[str, Any]


class EpochSeed(Callback):
    """Seed torch at the start of each epoch from (seed, step, epoch, rank).

    Stochastic binarizers, drop path and augmentation then draw the same numbers whether or not
    the run was interrupted before.
    """

    def __init__(self, seed: int, step: int) -> None:
        self.seed = seed
        self.step = step

    def on_train_epoch_start(self, trainer: pl.Trainer, _module: pl.LightningModule) -> None:
        """Seed every device's generator."""
        torch.manual_seed(
            derive_seed(self.seed, "epoch", self.step, trainer.current_epoch, trainer.global_rank)
        )


class EpochProgress(Callback):
    """Move what binarizers have scheduled, at the start of each epoch of a step.

    EDE's slope, ReCU's tau and the like then stand at ``epoch / epochs``: the first epoch has
    their start, whatever the step before left.
    """

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Say how far the step is."""
        set_progress_(module, trainer.current_epoch / max(trainer.max_epochs or 1, 1))


class EpochRecord(Callback):
    """Measure each epoch, log it, and hand it over to be saved.

    The flip rate of an epoch is the share of binary weights whose sign at its end differs from
    the sign at its start; weights that flipped and came back do not count. See
    :func:`bnn.training.latent.binary_weight_signs`.

    Args:
        step: Index of the recipe's step.
        name: The step's name.
        before: Epochs of earlier steps, so that all steps share one axis.
        save: Called with (trainer, row) on every rank; row is None at the start of a step.
    """

    def __init__(
        self,
        step: int,
        name: str,
        before: int,
        save: Callable[[pl.Trainer, Row | None], None],
    ) -> None:
        self.step = step
        self.name = name
        self.before = before
        self.save = save
        self._signs: Mapping[str, torch.Tensor] = {}
        self._rate = 0.0
        self._flip_rate: float | None = None

    def on_train_start(self, trainer: pl.Trainer, _module: pl.LightningModule) -> None:
        """Save the step's start, so that even an interrupt in the first epoch leaves something."""
        if trainer.current_epoch == 0:
            self.save(trainer, None)

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Note signs and learning rate."""
        self._signs = binary_weight_signs(module)
        self._rate = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_validation_start(self, _trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Measure the flips of training, before the average of the weights takes their place."""
        self._flip_rate = flip_rate(self._signs, binary_weight_signs(module))

    def on_train_epoch_end(self, trainer: pl.Trainer, _module: pl.LightningModule) -> None:
        """Make the epoch's row; validation has already run."""
        metrics = trainer.callback_metrics
        total = self.before + trainer.current_epoch + 1
        row: Row = {
            "total_epoch": total,
            "step": self.step,
            "step_name": self.name,
            "epoch": trainer.current_epoch + 1,
            "learning_rate": self._rate,
            # The metrics are float32: nine digits hold all that they say.
            **{key: float(f"{metrics[key]:.9g}") for key in _MEASURED},
            "flip_rate": self._flip_rate,
        }
        terms = {key: float(metrics[key]) for key in metrics if key.startswith("loss/")}
        curves = {**{key: row[key] for key in _PLOTTED if row[key] is not None}, **terms}
        for logger in trainer.loggers:
            logger.log_metrics(curves, step=total)
        self.save(trainer, row)


_MEASURED = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
_PLOTTED = (*_MEASURED, "learning_rate", "flip_rate")


def progress_bar() -> RichProgressBar:
    """Return Lightning's bar on stderr: stdout belongs to the result."""
    return RichProgressBar(leave=False, console_kwargs={"stderr": True})

"""What each binary layer does, epoch by epoch, in TensorBoard."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from bnn.training.latent import binary_weight_layers, binary_weight_signs, flip_rate
from bnn.training.metrics import SignBalance, latent_limit, saturated_share


class LayerHistograms(Callback):
    """Write, for each binary layer and epoch, what shows whether it learns.

    - ``latent/LAYER``: histogram of the latent weights;
    - ``saturated/LAYER``: share of them at the clip of the binarizer's gradient or beyond, or at
      the clamp where that is less;
    - ``flip_rate/LAYER``: share of binary weights whose sign differs from the epoch's start;
    - ``negative/LAYER``: share of -1, or of other low levels, in the layer's binarized input, in
      every tenth batch: see :class:`bnn.training.SignBalance`.

    Logged to the trainer's TensorBoard loggers; without one it does nothing but count.

    Args:
        before: Epochs of earlier steps, so that all steps share one axis.
        clamp: Bound of the latent weights in training, if they are clamped.

    Example:
        >>> trainer = pl.Trainer(callbacks=[LayerHistograms()], logger=False)
    """

    def __init__(self, before: int = 0, clamp: float | None = None) -> None:
        self.before = before
        self.clamp = clamp
        self._signs: Mapping[str, Tensor] = {}
        self._balance: SignBalance | None = None

    def on_train_epoch_start(self, _trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Note the signs and begin to count."""
        self._signs = binary_weight_signs(module)
        self._balance = SignBalance(module)

    def on_train_batch_start(
        self, _trainer: pl.Trainer, _module: pl.LightningModule, _batch: Any, index: int
    ) -> None:
        """Count every tenth batch: all of them would take time that is seen."""
        if self._balance is not None:
            self._balance.enabled = index % 10 == 0

    def on_train_batch_end(self, *_: Any) -> None:
        """Count nothing but training."""
        if self._balance is not None:
            self._balance.enabled = False

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write the epoch."""
        boards = [one.experiment for one in trainer.loggers if isinstance(one, TensorBoardLogger)]
        epoch = self.before + trainer.current_epoch + 1
        shares = self._stop_counting()
        signs = binary_weight_signs(module)
        for board in boards if trainer.is_global_zero else ():
            for name, layer in binary_weight_layers(module):
                short = name.removeprefix("model.")
                weights = layer.weight.detach().float()
                if weights.isfinite().all():  # a run that has diverged is no reason to stop here
                    board.add_histogram(f"latent/{short}", weights, epoch)
                limit = min(latent_limit(layer), self.clamp or math.inf)
                board.add_scalar(f"saturated/{short}", saturated_share(layer, limit), epoch)
                if name in self._signs:
                    flipped = flip_rate({"": self._signs[name]}, {"": signs[name]})
                    board.add_scalar(f"flip_rate/{short}", flipped, epoch)
            for name, share in shares.items():
                board.add_scalar(f"negative/{name.removeprefix('model.')}", share, epoch)

    def on_exception(self, *_: Any) -> None:
        """Leave no hook behind."""
        self._stop_counting()

    def _stop_counting(self) -> Mapping[str, float]:
        balance, self._balance = self._balance, None
        if balance is None:
            return {}
        balance.remove()
        return balance.shares()

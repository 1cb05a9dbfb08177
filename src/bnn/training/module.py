"""The LightningModule: loss, accuracy, optimizer of one step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import MulticlassAccuracy

from bnn.layers import recompute_outputs
from bnn.training.data.module import IGNORED
from bnn.training.latent import clamp_latent_weights_
from bnn.training.optim import make_optimizer

AUXILIARY_WEIGHT = 0.4
"""Weight of an auxiliary head's loss, as in DARTS and BATS."""

_PER_EPOCH: Mapping[str, Any] = {"on_step": False, "on_epoch": True, "logger": False}


class Classifier(pl.LightningModule):
    """Trains a classifier for one step of a recipe.

    Use it in a Trainer of your own, or let :func:`bnn.training.fit` run all steps.

    Args:
        model: Maps images (N, C, H, W) to logits (N, num_classes), or to a tuple of logits: the
            first count, the others are auxiliary heads whose loss is added with weight 0.4.
        num_classes: Number of classes.
        learning_rate: At the start of the step.
        weight_decay: For the weights of layers.
        schedule: How the learning rate falls.
        clamp_latent: Bound of the latent weights, or None.
        resumed: ``{"optimizer": ..., "scheduler": ...}`` to continue from, or None.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        num_classes: int,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        schedule: str = "cosine",
        clamp_latent: float | None = None,
        resumed: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.clamp_latent = clamp_latent
        self.resumed = resumed
        # Submodules, so that they move to the device and add up over the ranks.
        self.train_loss, self.test_loss = MeanMetric(), MeanMetric()
        self.train_accuracy, self.test_accuracy = _accuracy(num_classes), _accuracy(num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.model(images)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], _index: int) -> Tensor:
        """Return the mean loss of a batch."""
        with recompute_outputs():
            loss = self._measure(batch, self.train_loss, self.train_accuracy)
        self.log("train_loss", self.train_loss, prog_bar=True, **_PER_EPOCH)
        self.log("train_accuracy", self.train_accuracy, **_PER_EPOCH)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], _index: int) -> None:
        """Measure a held-out batch."""
        self._measure(batch, self.test_loss, self.test_accuracy)
        self.log("test_loss", self.test_loss, **_PER_EPOCH)
        self.log("test_accuracy", self.test_accuracy, prog_bar=True, **_PER_EPOCH)

    def _measure(self, batch: tuple[Tensor, Tensor], mean: Metric, accuracy: Metric) -> Tensor:
        images, labels = batch
        outputs = self(images)
        logits, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)
        count = (labels != IGNORED).sum()
        loss = _mean_loss(logits, labels, count)
        mean.update(loss.detach(), weight=count)
        accuracy.update(logits.detach(), labels)
        for extra in auxiliary:
            loss = loss + AUXILIARY_WEIGHT * _mean_loss(extra, labels, count)
        return loss

    def configure_optimizers(self) -> Any:
        """Return a new optimizer and schedule, or those of the run that is resumed."""
        optimizer, scheduler = make_optimizer(
            self.model,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            schedule=self.schedule,
            total=int(self.trainer.estimated_stepping_batches),
        )
        if self.resumed is not None:
            optimizer.load_state_dict(dict(self.resumed["optimizer"]))
            scheduler.load_state_dict(dict(self.resumed["scheduler"]))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def on_train_batch_end(self, *_: Any) -> None:
        """Keep the latent weights in bounds."""
        if self.clamp_latent is not None:
            clamp_latent_weights_(self.model, self.clamp_latent)


def _mean_loss(logits: Tensor, labels: Tensor, count: Tensor) -> Tensor:
    total = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    return total / count.clamp_min(1)


def _accuracy(num_classes: int) -> Metric:
    return MulticlassAccuracy(num_classes, average="micro", ignore_index=IGNORED)

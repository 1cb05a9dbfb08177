"""The LightningModule: losses, accuracy, optimizer of one step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import MulticlassAccuracy

from bnn.layers import recompute_outputs
from bnn.training.averaging import WeightAverage
from bnn.training.batch_norm import average_batch_norm_, reestimate_batch_norm_
from bnn.training.data.registry import IGNORED
from bnn.training.features import FeatureTap
from bnn.training.latent import clamp_latent_weights_
from bnn.training.losses import CrossEntropyLoss, LossInputs, WeightedLosses
from bnn.training.optimizers import OptimizerCase, make_optimizer
from bnn.training.schedules import Schedule, make_scheduler
from bnn.training.teacher import Teacher

AUXILIARY_WEIGHT = 0.4
"""Weight of an auxiliary head's loss, as in DARTS and BATS."""

NormBatches = Callable[[], Iterable[Tensor | Sequence[Tensor]]]

_PER_EPOCH: Mapping[str, Any] = {"on_step": False, "on_epoch": True, "logger": False}


class Classifier(pl.LightningModule):
    """Trains a classifier for one step of a recipe.

    Use it in a Trainer of your own, or let :func:`bnn.training.fit` run all steps.

    With ``ema``, every epoch is measured with the averaged weights, and the last one leaves them in
    the model; with ``norm_batches``, it leaves batch norm's statistics of these batches.

    Args:
        model: Maps images (N, C, H, W) to logits (N, num_classes), or to a tuple of logits: the
            first count, the others are auxiliary heads whose loss is added with weight 0.4.
        num_classes: Number of classes.
        learning_rate: At the start of the step.
        weight_decay: For the weights of layers, if no optimizer is given.
        optimizer: Who trains what. Default: Adam everything.
        schedule: How the learning rate moves: a :class:`bnn.training.Schedule`, or its name.
        losses: What is trained. Default: cross entropy.
        teacher: What losses compare with; its weights stay.
        clamp_latent: Bound of the latent weights, or None.
        ema: Decay of the average of the weights, or None.
        norm_batches: Gives the images for batch norm's statistics at the end, or None.
        resumed: ``"optimizer"``, ``"scheduler"`` and ``"average"`` to continue from, or None.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        num_classes: int,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        optimizer: Sequence[OptimizerCase] = (),
        schedule: Schedule | str = "cosine",
        losses: WeightedLosses | None = None,
        teacher: Teacher | None = None,
        clamp_latent: float | None = None,
        ema: float | None = None,
        norm_batches: NormBatches | None = None,
        resumed: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.learning_rate = learning_rate
        self.optimizer = tuple(optimizer) or (
            OptimizerCase(claims="rest", weight_decay=weight_decay),
        )
        self.schedule = Schedule(name=schedule) if isinstance(schedule, str) else schedule
        self.losses = losses or WeightedLosses([(CrossEntropyLoss(), 1.0)])
        self.clamp_latent = clamp_latent
        self.ema = ema
        self.norm_batches = norm_batches
        self.resumed = resumed
        self.average: WeightAverage | None = None
        # In a tuple it is no submodule: no device synchronises it, no callback sees its layers.
        self._teacher: tuple[Teacher | None] = (teacher,)
        self._taps: tuple[FeatureTap, ...] = ()
        # Submodules, so that they move to the device and add up over the ranks.
        self.train_loss, self.test_loss = MeanMetric(), MeanMetric()
        self.train_accuracy, self.test_accuracy = _accuracy(num_classes), _accuracy(num_classes)
        self.terms = nn.ModuleDict({name: MeanMetric() for name in _term_names(self.losses)})

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.model(images)
        return logits

    def on_fit_start(self) -> None:
        """Listen to the layers that losses name, and begin or continue the average."""
        self.listen()
        (teacher,) = self._teacher
        if teacher is not None:
            teacher.to(self.device)
        if self.ema is not None:
            self.average = WeightAverage(self.model, self.ema)
            if self.resumed is not None:
                self.average.load_state_dict(self.resumed["average"])

    def on_fit_end(self) -> None:
        """Leave no hook in the networks."""
        for tap in self._taps:
            tap.remove()
        self._taps = ()

    def listen(self) -> None:
        """Put hooks at the layers whose outputs losses compare.

        Raises:
            LayerNotFoundError: If network or teacher lack one of them.
        """
        (teacher,) = self._teacher
        self._taps = (FeatureTap(self.model, self.losses.layers),)
        if teacher is not None:
            tap = FeatureTap(teacher.network, self.losses.teacher_layers)
            self._taps = (*self._taps, tap)

    def training_step(self, batch: tuple[Tensor, Tensor], _index: int) -> Tensor:
        """Return the loss of a batch: the weighted sum of all terms."""
        images, labels = batch
        with recompute_outputs():
            logits, auxiliary = self._outputs(images)
        count = (labels != IGNORED).sum()
        terms = self.losses.terms(self._inputs(images, labels, logits))
        loss = torch.stack(terms).sum() if len(terms) > 1 else terms[0]
        self.train_loss.update(loss.detach(), weight=count)
        self.train_accuracy.update(logits.detach(), labels)
        self.log("train_loss", self.train_loss, prog_bar=True, **_PER_EPOCH)
        self.log("train_accuracy", self.train_accuracy, **_PER_EPOCH)
        for (name, mean), term in zip(self.terms.items(), terms, strict=False):
            mean(term.detach(), weight=count)
            self.log(f"loss/{name}", mean, **_PER_EPOCH)  # type: ignore[arg-type]  # a metric
        for extra in auxiliary:
            loss = loss + AUXILIARY_WEIGHT * _mean_loss(extra, labels, count)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], _index: int) -> None:
        """Measure a held-out batch by cross entropy and accuracy, whatever is trained."""
        images, labels = batch
        logits, _ = self._outputs(images)
        count = (labels != IGNORED).sum()
        self.test_loss.update(_mean_loss(logits, labels, count), weight=count)
        self.test_accuracy.update(logits, labels)
        self.log("test_loss", self.test_loss, **_PER_EPOCH)
        self.log("test_accuracy", self.test_accuracy, prog_bar=True, **_PER_EPOCH)

    def _outputs(self, images: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        """Return the logits that count, and those of auxiliary heads."""
        outputs = self(images)
        logits, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)
        return logits, auxiliary

    def _inputs(self, images: Tensor, labels: Tensor, logits: Tensor) -> LossInputs:
        (teacher,) = self._teacher
        taught = teacher(images) if teacher is not None else None
        features = [tap.take() for tap in self._taps]
        return LossInputs(
            model=self.model,
            logits=logits,
            labels=labels,
            teacher_logits=taught,
            features=features[0] if features else {},
            teacher_features=features[1] if len(features) > 1 else {},
        )

    def configure_optimizers(self) -> Any:
        """Return a new optimizer and schedule, or those of the run that is resumed."""
        optimizer = make_optimizer(self.model, self.optimizer, learning_rate=self.learning_rate)
        scheduler = make_scheduler(
            optimizer,
            self.schedule,
            total=int(self.trainer.estimated_stepping_batches),
            epochs=self.trainer.max_epochs or 1,
        )
        if self.resumed is not None:
            optimizer.load_state_dict(dict(self.resumed["optimizer"]))
            scheduler.load_state_dict(dict(self.resumed["scheduler"]))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def on_train_batch_end(self, *_: Any) -> None:
        """Keep the latent weights in bounds, then average."""
        if self.clamp_latent is not None:
            clamp_latent_weights_(self.model, self.clamp_latent)
        if self.average is not None:
            self.average.update_()

    def on_validation_start(self) -> None:
        """Put in what is measured; in the last epoch, that is what the step leaves."""
        if self.average is not None:
            self.average.apply_()
        if self.norm_batches is not None and self._in_last_epoch():
            average_batch_norm_(reestimate_batch_norm_(self.model, self.norm_batches()))

    def on_validation_end(self) -> None:
        """Go on with the weights in training."""
        if self.average is not None and not self._in_last_epoch():
            self.average.restore_()

    def _in_last_epoch(self) -> bool:
        return self.trainer.current_epoch + 1 == self.trainer.max_epochs


def _term_names(losses: WeightedLosses) -> list[str]:
    """Return a name for each of several terms, for the curves; one term is the whole loss."""
    names = [type(loss).__name__ for loss in losses.losses]
    if len(names) == 1:
        return []
    return [f"{name}{names[:i].count(name) or ''}" for i, name in enumerate(names)]


def _mean_loss(logits: Tensor, labels: Tensor, count: Tensor) -> Tensor:
    total = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    return total / count.clamp_min(1)


def _accuracy(num_classes: int) -> Metric:
    return MulticlassAccuracy(num_classes, average="micro", ignore_index=IGNORED)

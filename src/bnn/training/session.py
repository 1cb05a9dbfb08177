"""A run in progress: the network, how far it is, and the Trainer of each step."""

from __future__ import annotations

import contextlib
import functools
import logging
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from bnn.errors import CheckpointError, ConfigError
from bnn.executor.stages import UserModules
from bnn.training.averaging import WeightAverage
from bnn.training.callbacks import EpochProgress, EpochRecord, EpochSeed, Row, progress_bar
from bnn.training.checkpoint import FORMAT, VERSION, build_model
from bnn.training.config import TrainConfig
from bnn.training.data import DataSplits
from bnn.training.data.module import TrainingData
from bnn.training.folder import HISTORY_COLUMNS, RunFolder
from bnn.training.histograms import LayerHistograms
from bnn.training.lineage import Lineage
from bnn.training.module import Classifier
from bnn.training.plan import StepPlan
from bnn.training.quiet import quiet_lightning
from bnn.training.synchronized import BatchNormSync

logger = logging.getLogger(__name__)


def is_main_process() -> bool:
    """Say whether this is the process that writes and reports."""
    return not getattr(rank_zero_only, "rank", 0)


class Session:
    """Trains step after step from wherever it stands.

    Args:
        config: The run's settings.
        recipe: The recipe's content, None for a float network.
        plans: The steps.
        splits: The data.
        folder: Where checkpoints go.
        model: A network of the caller's own, instead of the one that the settings name.
        user_modules: The caller's own binarizers that the recipe names.
    """

    def __init__(
        self,
        config: TrainConfig,
        recipe: Mapping[str, Any] | None,
        plans: Sequence[StepPlan],
        splits: DataSplits,
        folder: RunFolder,
        model: nn.Module | None = None,
        user_modules: UserModules = (),
    ) -> None:
        self.config = config
        self.recipe = recipe
        self.plans = plans
        self.splits = splits
        self.folder = folder
        self.own_model = model is not None
        self.model = model or build_model(config, splits.input_shape, splits.num_classes)
        self._lineage = Lineage(config, recipe, plans, splits, folder, self.model, user_modules)
        self.step = -1  # not yet converted for any
        self.epoch = 0
        self.history: list[Row] = []
        self._resumed: Mapping[str, Any] | None = None

    def check(self) -> None:
        """Try all steps on a copy, and the trainer's settings, before anything is written.

        Raises:
            RecipeError: If a step does not fit the network.
            ConfigError: If the network does not fit the data, or there is no such accelerator,
                device or strategy.
        """
        self._lineage.check(self.model)
        with quiet_lightning():
            self._trainer(self.plans[0], progress=False)

    def restore(self, content: Mapping[str, Any] | None) -> None:
        """Go to where a checkpoint was written; None leaves the session at the beginning.

        Raises:
            CheckpointError: If the checkpoint does not fit the run.
        """
        if content is None:
            return
        try:
            if content["step"] >= len(self.plans):
                raise ValueError("the checkpoint is of a step that the recipe does not have")
            self.model = self._lineage.converted(self.model, content["step"])
            self.step = content["step"]
            self.model.load_state_dict(content["model"])
            self.epoch = content["epoch"]
            self.history = [_checked_row(row) for row in content["history"]]
            if len(self.history) != self.plans[self.step].before + self.epoch:
                raise ValueError("the history does not have a line for each epoch")
            plan = self.plans[self.step]
            self._resumed = content["training"] if 0 < self.epoch < plan.epochs else None
            needed = {"optimizer", "scheduler", *(["average"] if plan.ema is not None else [])}
            if self._resumed is not None and not needed <= self._resumed.keys():
                raise ValueError("it does not say how training goes on")
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"{self.folder.last}: does not fit the run that {self.folder.path} describes."
            ) from error

    def train(self, *, progress: bool) -> None:
        """Do all that is left."""
        for plan in self.plans[max(self.step, 0) :]:
            if plan.index != self.step:
                self.model = self._lineage.begin(plan, self.model)
                self.step, self.epoch, self._resumed = plan.index, 0, None
            if self.epoch < plan.epochs:
                if is_main_process():
                    logger.info(
                        "step %d of %d, %s: epochs %d to %d",
                        *(plan.index + 1, len(self.plans), plan.name, self.epoch + 1, plan.epochs),
                    )
                with quiet_lightning(), _interruptible():
                    self._train_step(plan, progress)

    def content(self) -> dict[str, Any]:
        """Return what a checkpoint says of this moment, but for the optimizer."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "config": self.config.as_dict(),
            "recipe": self.recipe,
            "data": {
                "input_shape": list(self.splits.input_shape),
                "num_classes": self.splits.num_classes,
            },
            "step": self.step,
            "epoch": self.epoch,
            "history": self.history,
            "own_model": self.own_model,
            "model": {name: t.detach().cpu() for name, t in self.model.state_dict().items()},
        }

    def _train_step(self, plan: StepPlan, progress: bool) -> None:
        data = TrainingData(
            self.splits,
            batch_size=plan.batch_size,
            num_workers=self.config.num_workers,
            seed=self.config.seed,
            step=plan.index,
        )
        norms = plan.reestimate_batch_norm
        module = Classifier(
            self.model,
            num_classes=self.splits.num_classes,
            learning_rate=plan.learning_rate,
            optimizer=plan.optimizer,
            schedule=plan.schedule,
            losses=plan.make_losses(),
            teacher=self._lineage.teacher(plan),
            clamp_latent=plan.clamp_latent,
            ema=plan.ema,
            norm_batches=None if norms is None else functools.partial(data.norm_batches, norms),
            resumed=self._resumed,
        )
        trainer = self._trainer(plan, progress)
        # Lightning's own checkpoints would restore these, and much else whose form changes from
        # version to version; at the bound of an epoch they are all that is needed.
        done: Any = trainer.fit_loop.epoch_progress.current
        done.ready = done.started = done.processed = done.completed = self.epoch
        try:
            trainer.fit(module, datamodule=data)
        finally:
            module.on_fit_end()  # also where it was interrupted

    def _trainer(self, plan: StepPlan, progress: bool) -> pl.Trainer:
        config = self.config
        callbacks: list[pl.Callback] = [
            EpochSeed(config.seed, plan.index),
            EpochProgress(),
            LayerHistograms(plan.before, plan.clamp_latent),
            EpochRecord(plan.index, plan.name, plan.before, self._save),
        ]
        if progress:
            callbacks.append(progress_bar())
        board = TensorBoardLogger(
            self.folder.path,
            name="tensorboard",
            version="",
            purge_step=plan.before + self.epoch + 1,  # what a killed run may have logged beyond
        )
        try:
            return pl.Trainer(
                accelerator=config.accelerator,
                devices=config.devices,
                strategy=config.strategy,
                num_nodes=config.num_nodes,
                precision=config.precision,  # type: ignore[arg-type]  # Lightning spells it out
                plugins=[BatchNormSync()] if config.sync_batch_norm else None,
                max_epochs=plan.epochs,
                gradient_clip_val=plan.clip_gradients,
                inference_mode=False,  # what is measured may stay: no tensor may be of inference
                callbacks=callbacks,
                logger=board,
                default_root_dir=self.folder.path,
                enable_checkpointing=False,  # EpochRecord saves
                enable_model_summary=False,
                enable_progress_bar=progress,
                num_sanity_val_steps=0,
                log_every_n_steps=1,
                use_distributed_sampler=False,  # TrainingData divides the data
                reload_dataloaders_every_n_epochs=1,  # each epoch has a loader with its own order
            )
        except (MisconfigurationException, ValueError) as error:
            raise ConfigError(
                f"accelerator {config.accelerator!r}, devices {config.devices!r}, strategy "
                f"{config.strategy!r}: {str(error).splitlines()[0]}"
            ) from error

    def _save(self, trainer: pl.Trainer, row: Row | None) -> None:
        if row is not None:
            self.history.append(row)
            self.epoch = row["epoch"]
        kept = (
            row is not None and trainer.max_epochs == self.epoch and self.step in self._lineage.kept
        )
        if trainer.is_global_zero:
            if kept:  # before last.ckpt says that the step is complete
                self.folder.save(self.content(), self.folder.step_file(self.step))
            if row is not None:
                logger.info(
                    "%s, epoch %d of %s: train loss %.4f, test accuracy %.2f%%",
                    *(row["step_name"], row["epoch"], trainer.max_epochs),
                    *(row["train_loss"], 100 * row["test_accuracy"]),
                )
            training = {} if row is None else _state(trainer)
            self.folder.save({**self.content(), "training": training})
        if kept:
            trainer.strategy.barrier()  # the others will read it


def _state(trainer: pl.Trainer) -> dict[str, Any]:
    """Return what training goes on with, beside the weights."""
    scheduler: Any = trainer.lr_scheduler_configs[0].scheduler
    state = {
        "optimizer": trainer.optimizers[0].state_dict(),
        "scheduler": scheduler.state_dict(),
    }
    module: Any = trainer.lightning_module
    average: WeightAverage | None = module.average
    return state if average is None else {**state, "average": average.state_dict()}


def _checked_row(row: Any) -> Row:
    if not isinstance(row, dict) or set(row) != set(HISTORY_COLUMNS):
        raise ValueError("the history has a line of another form")
    return row


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C leave as KeyboardInterrupt, and work again afterwards.

    Lightning turns it into SystemExit and goes on ignoring the signal; where it comes while the
    loaders are set up, into whatever its clearing up then raises.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except (SystemExit, Exception) as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        if threading.current_thread() is threading.main_thread() and handler is not None:
            signal.signal(signal.SIGINT, handler)

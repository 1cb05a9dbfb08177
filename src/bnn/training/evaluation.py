"""Measure a checkpoint on held-out images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from bnn.errors import DataError
from bnn.executor.stages import UserModules
from bnn.training.checkpoint import load_checkpoint
from bnn.training.data import DATASETS, load_data
from bnn.training.extras import needs_extra
from bnn.training.quiet import quiet_lightning


@dataclass(frozen=True, kw_only=True)
class EvalResult:
    """How well a network does on held-out images.

    Args:
        accuracy: Share of images whose largest logit is the right class, 0 to 1.
        loss: Mean cross entropy.
        samples: Number of images.
    """

    accuracy: float
    loss: float
    samples: int


def evaluate(
    checkpoint_path: str | Path,
    *,
    model: nn.Module | None = None,
    user_modules: UserModules = (),
    data: str | None = None,
    data_dir: str | None = None,
    batch_size: int | None = None,
    accelerator: str = "cpu",
    progress: bool = False,
) -> EvalResult:
    """Measure a checkpoint on the held-out images of a data set.

    Args:
        checkpoint_path: A checkpoint of :func:`bnn.training.fit`, or the run's folder.
        model: As in :func:`bnn.training.load_checkpoint`.
        user_modules: As there.
        data: A data set's name. Default: the one it was trained on, with the same split.
        data_dir: Where that lies. Default: where it lay in training, if ``data`` is the same.
        batch_size: Default: the data set's.
        accelerator: As Lightning's Trainer takes it.
        progress: Show a bar on stderr.

    Raises:
        CheckpointError: If the checkpoint cannot be used.
        DataError: If the data cannot be read, or its images do not fit the network.

    Example:
        >>> from bnn.training import TrainConfig, fit
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> config = TrainConfig(model_args={"width": 4}, epochs=1, batch_size=512, out=folder)
        >>> result = fit(config, progress=False)
        >>> measured = evaluate(folder)
        >>> measured.samples, abs(measured.accuracy - result.test_accuracy) < 1e-6
        (360, True)
    """
    loaded = load_checkpoint(checkpoint_path, model=model, user_modules=user_modules)
    config = loaded.config
    name = config.data if data is None else data
    if data_dir is None and name == config.data:
        data_dir = config.data_dir
    splits = load_data(name, data_dir, config.split_seed, enlarge_to=loaded.enlarge_to)
    if (splits.input_shape, splits.num_classes) != (loaded.input_shape, loaded.num_classes):
        raise DataError(
            f"{name} has images of {splits.input_shape} in {splits.num_classes} classes, but "
            f"{checkpoint_path} was trained on {loaded.input_shape} in {loaded.num_classes}."
        )
    with needs_extra("train", "evaluate"):
        import lightning.pytorch as pl

        from bnn.training.callbacks import progress_bar
        from bnn.training.data.module import TrainingData
        from bnn.training.module import Classifier
    with quiet_lightning():
        trainer = pl.Trainer(
            accelerator=accelerator,
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=progress,
            callbacks=[progress_bar()] if progress else [],
            use_distributed_sampler=False,
        )
        loader = TrainingData(
            splits,
            batch_size=batch_size or DATASETS[name].batch_size,
            num_workers=config.num_workers,
            seed=0,
            step=0,
        )
        module = Classifier(loaded.model, num_classes=loaded.num_classes)
        trainer.validate(module, datamodule=loader, verbose=False)
        measured = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return EvalResult(
        accuracy=measured["test_accuracy"], loss=measured["test_loss"], samples=len(splits.test)
    )

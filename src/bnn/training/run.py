"""fit: the steps of a recipe, one Trainer.fit each, resumable at every epoch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from bnn.executor.stages import UserModules
from bnn.training.config import TrainConfig
from bnn.training.data import load_data
from bnn.training.extras import needs_extra
from bnn.training.folder import RunFolder
from bnn.training.plan import StepPlan, plan_steps, read_recipe

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """What a run has made.

    Args:
        test_accuracy: On the held-out images after the last epoch, 0 to 1. No epoch was chosen
            by it: it is that of the last weights.
        test_loss: Mean cross entropy there.
        checkpoint: ``final.ckpt``, without the optimizer's state.
        history: ``history.csv``, one line for each epoch.
        steps: Names of the steps; ``("float",)`` without a recipe.
        epochs: Epochs of all steps together.
        is_main: False in the helper processes of distributed training, which run the same
            program and must not report.
    """

    test_accuracy: float
    test_loss: float
    checkpoint: Path
    history: Path
    steps: tuple[str, ...]
    epochs: int
    is_main: bool = True


def fit(
    config: TrainConfig,
    *,
    model: nn.Module | None = None,
    user_modules: UserModules = (),
    resume: bool = False,
    progress: bool = True,
) -> FitResult:
    """Train a network: float, or binary step by step as a recipe says.

    Each step converts the network in place, then trains it with a new optimizer and schedule. (A
    step that begins with the network of an earlier one, not of the one before, works on a copy.) A
    teacher that the recipe wants trained is trained first, in the folder ``teacher`` of the run.
    After each epoch, ``last.ckpt`` and ``history.csv`` in ``config.out`` are replaced as wholes;
    a run that was killed or interrupted continues from there and, on one machine, ends with the
    very weights of a run that was not.

    With several devices, Lightning starts this program again for each: what comes before ``fit``
    runs in all of them, and only the one whose result says ``is_main`` should report.

    Args:
        config: What to train.
        model: A float network of your own to train instead of ``config.model``: images to logits.
            It is converted and trained in place. To resume or load, give a float one again.
        user_modules: Your own binarizers that the recipe names: classes, or name -> class.
        resume: Continue the run in ``config.out``. A finished run is not trained again.
        progress: Show Lightning's progress bar, on stderr.

    Returns:
        Accuracy and files of the run.

    Raises:
        ConfigError: If the folder holds a run and ``resume`` is False, or another run, or none.
        CheckpointError: If the checkpoint to resume from is damaged.
        DataError: If the data cannot be read.
        RecipeError: If the recipe is malformed or does not fit the network.
        UnknownNameError: If there is no such model or data set.
        MissingExtraError: If lightning or the data set's library is not installed.
        KeyboardInterrupt: At Ctrl-C; ``last.ckpt`` is that of the last whole epoch.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> config = TrainConfig(model_args={"width": 4}, epochs=1, batch_size=512, out=folder)
        >>> result = fit(config, progress=False)
        >>> result.steps, result.epochs, result.checkpoint.name
        (('float',), 1, 'final.ckpt')
    """
    with needs_extra("train", "training"):
        from bnn.training.session import Session, is_main_process
    main = is_main_process()
    read = read_recipe(config, user_modules)
    plans = plan_steps(config, read)
    recipe = None if read is None else read.as_dict()
    folder = RunFolder(config.out)
    if main:  # the helpers of distributed training come when the folder has been begun
        folder.check(config, recipe, resume)
    splits = load_data(
        config.data,
        config.data_dir,
        config.split_seed,
        enlarge_to=config.enlarge_to or (read.enlarge_to if read else None),
    )
    session = Session(config, recipe, plans, splits, folder, model, user_modules)
    session.check()
    if resume:
        session.restore(folder.read_last())
    if main:
        folder.begin(config, recipe)
    _train_teachers(plans, progress)
    session.train(progress=progress)
    if main:
        folder.save(session.content(), folder.final)
    row = session.history[-1]
    return FitResult(
        test_accuracy=row["test_accuracy"],
        test_loss=row["test_loss"],
        checkpoint=folder.final,
        history=folder.history,
        steps=tuple(plan.name for plan in plans),
        epochs=len(session.history),
        is_main=main,
    )


def _train_teachers(plans: Sequence[StepPlan], progress: bool) -> None:
    """Train the networks that steps learn from and nobody has given, or go on with that."""
    found = [plan.teacher for plan in plans if isinstance(plan.teacher, TrainConfig)]
    for config in {config.out: config for config in found}.values():
        logger.info("the teacher: %s, in %s", config.model, config.out)
        begun = Path(config.out, "config.json").exists()
        fit(config, resume=begun, progress=progress)

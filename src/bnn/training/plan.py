"""How long and how each step of a run trains: settings first, then recipe, then data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnn.config import BConfig
from bnn.errors import ConfigError
from bnn.executor.recipe import Recipe, RecipeStep, load_recipe
from bnn.executor.schema import Place
from bnn.executor.stages import UserModules
from bnn.registry import did_you_mean
from bnn.training.config import TrainConfig
from bnn.training.data import DATASETS, DataEntry
from bnn.training.losses import WeightedLosses
from bnn.training.networks import TeacherSource, network_for, teacher_of
from bnn.training.optimizers import OptimizerCase
from bnn.training.parts import make_losses, optimizer_cases, schedule_of
from bnn.training.schedules import Schedule
from bnn.values import shown


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """One ``Trainer.fit``.

    Args:
        index: Counted from 0.
        name: The recipe's name for it; ``"float"`` without a recipe.
        epochs: How many.
        before: Epochs of the steps before it.
        learning_rate: At its start.
        weight_decay: On the weights of layers, where a case of the optimizer says nothing else.
        batch_size: Samples for each device and optimizer step.
        optimizer: Who trains what.
        schedule: How the learning rate moves.
        losses: Name, weight and ``args`` of each term; empty for cross entropy.
        teacher: What losses compare with: the index of a step, what
            :func:`bnn.training.load_teacher` takes, or the settings of a run that makes it.
        line: The steps whose conversions the network has, this one's last.
        start: A checkpoint whose weights it begins with, or None for those of the step before it in
            ``line``.
        clip_gradients: Bound of the gradient's norm.
        clamp_latent: Bound of the latent weights.
        ema: Decay of the average of the weights.
        reestimate_batch_norm: Batches for the norms' statistics at the end.
    """

    index: int
    name: str
    epochs: int
    before: int
    learning_rate: float
    weight_decay: float
    batch_size: int
    optimizer: tuple[OptimizerCase, ...]
    schedule: Schedule
    losses: tuple[Mapping[str, Any], ...] = ()
    teacher: TeacherSource | None = None
    line: tuple[int, ...] = (0,)
    start: Path | None = None
    clip_gradients: float | None = None
    clamp_latent: float | None = None
    ema: float | None = None
    reestimate_batch_norm: int | None = None

    def make_losses(self) -> WeightedLosses:
        """Return new losses."""
        return make_losses(self.losses)


def read_recipe(config: TrainConfig, user_modules: UserModules = ()) -> Recipe | None:
    """Return the run's recipe, None for a float network.

    Raises:
        RecipeError: If it is missing or malformed.
        ConfigError: If the small variant of no recipe is asked for.
    """
    if config.recipe is None:
        if config.smoke:
            raise ConfigError("smoke is the small variant of a recipe, and there is no recipe.")
        return None
    return load_recipe(config.recipe, user_modules, smoke=config.smoke)


def plan_steps(config: TrainConfig, recipe: Recipe | None = None) -> tuple[StepPlan, ...]:
    """Return the steps of a run, every name in them looked up.

    Epochs that the recipe does not give, or gives for another data set, are the data set's, shared
    among the steps.

    Args:
        config: The run's settings.
        recipe: What :func:`read_recipe` returned for them, so that the file is read once.

    Raises:
        RecipeError: If the recipe is missing or malformed, or names an optimizer, schedule, loss,
            network or data set that does not exist.
        ConfigError: If the settings have a teacher that no step has use for.
        UnknownNameError: If there is no such data set.

    Example:
        >>> [(plan.name, plan.epochs) for plan in plan_steps(TrainConfig(recipe="two-step"))]
        [('step0', 20), ('step1', 20)]
    """
    entry = DATASETS[config.data]
    recipe = recipe or read_recipe(config) or _FLOAT
    place = Place(recipe.file)
    if recipe.data and recipe.data not in DATASETS:
        near = did_you_mean(recipe.data, DATASETS)
        raise place.at("data").error(
            f"no data set {shown(recipe.data)}.{near} Known: {', '.join(DATASETS)}."
        )
    network_for(recipe, config.data, place)  # its names
    at_home = config.smoke or recipe.data in ("", config.data)
    epochs = _epochs(config, recipe.steps, entry, at_home)
    plans = _in_folders(
        _plan(index, recipe, config, entry, epochs, at_home) for index in range(len(recipe.steps))
    )
    if config.teacher is not None and all(isinstance(p.teacher, int | None) for p in plans):
        raise ConfigError(
            f"teacher (--teacher) is {shown(config.teacher)}, but no step of "
            f"{config.recipe or 'a float run'} learns from a network that could be replaced."
        )
    return plans


def _in_folders(plans: Iterable[StepPlan]) -> tuple[StepPlan, ...]:
    """Give each teacher that is trained first a folder; steps with the same one share it."""
    runs: list[TrainConfig] = []
    placed = []
    for plan in plans:
        if isinstance(plan.teacher, TrainConfig):
            if plan.teacher not in runs:
                runs.append(plan.teacher)
            number = runs.index(plan.teacher)
            folder = Path(plan.teacher.out, f"teacher-{number + 1}" if number else "teacher")
            run = dataclasses.replace(plan.teacher, out=str(folder))
            placed.append(dataclasses.replace(plan, teacher=run))
        else:
            placed.append(plan)
    return tuple(placed)


_FLOAT = Recipe("float", (RecipeStep("float", BConfig()),), "", "", {}, file="settings")
"""What a run without a recipe does: one step that converts nothing."""


def _epochs(
    config: TrainConfig, steps: Sequence[RecipeStep], entry: DataEntry, at_home: bool
) -> list[int]:
    """Return the epochs of each step: asked for, the recipe's, or a share of the data set's."""
    if config.epochs is not None:
        return [config.epochs] * len(steps)
    given = [step.epochs for step in steps if step.epochs]
    mean = sum(given) / len(given) if given and not at_home else 1
    weights = [mean if at_home or not step.epochs else step.epochs for step in steps]
    shares = [max(1, round(entry.epochs * weight / sum(weights))) for weight in weights]
    if not at_home:
        return shares
    return [step.epochs or share for step, share in zip(steps, shares, strict=True)]


def _plan(
    index: int,
    recipe: Recipe,
    config: TrainConfig,
    entry: DataEntry,
    epochs: Sequence[int],
    at_home: bool,
) -> StepPlan:
    step, place = recipe.steps[index], Place(recipe.file).at(recipe.steps[index].name)
    decay = _first(config.weight_decay, step.weight_decay, 0.0)
    batch_size = config.batch_size or (step.batch_size if at_home else None) or entry.batch_size
    teacher = teacher_of(step.teacher, recipe, config, batch_size, at_home, place)
    needed = make_losses(step.losses, place).needs_teacher
    if needed and teacher is None:
        raise place.at("losses").error("one of them needs a teacher. Give the step a teacher.")
    if teacher is not None and not needed:
        raise place.at("teacher").error("no loss of the step uses it. Name one, or leave it out.")
    source = step.initialise_from or {}
    return StepPlan(
        index=index,
        name=step.name,
        epochs=epochs[index],
        before=sum(epochs[:index]),
        learning_rate=config.learning_rate or step.learning_rate or entry.learning_rate,
        weight_decay=decay,
        batch_size=batch_size,
        optimizer=optimizer_cases(step, decay, place),
        schedule=schedule_of(step, config.schedule, epochs[index], place),
        losses=step.losses,
        teacher=teacher,
        line=recipe.line(index),
        start=recipe.folder / source["checkpoint"] if "checkpoint" in source else None,
        clip_gradients=step.clip_gradients,
        clamp_latent=config.clamp_latent or step.clamp_latent,
        ema=step.ema,
        reestimate_batch_norm=step.reestimate_batch_norm,
    )


def _first(*values: float | None) -> float:
    return next(value for value in values if value is not None)

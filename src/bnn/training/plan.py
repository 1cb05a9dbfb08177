"""How long and how each step of a run trains: settings first, then recipe, then data set."""

from __future__ import annotations

from dataclasses import dataclass

from bnn.executor.recipe import Recipe, load_recipe
from bnn.executor.stages import UserModules
from bnn.training.config import TrainConfig
from bnn.training.data import DATASETS


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """One ``Trainer.fit``.

    Args:
        index: Counted from 0.
        name: The recipe's name for it; ``"float"`` without a recipe.
        epochs: How many.
        before: Epochs of the steps before it.
        learning_rate: At its start.
        weight_decay: On the weights of layers.
    """

    index: int
    name: str
    epochs: int
    before: int
    learning_rate: float
    weight_decay: float


def read_recipe(config: TrainConfig, user_modules: UserModules = ()) -> Recipe | None:
    """Return the run's recipe, None for a float network.

    Raises:
        RecipeError: If it is missing or malformed.
    """
    return None if config.recipe is None else load_recipe(config.recipe, user_modules)


def plan_steps(config: TrainConfig, recipe: Recipe | None = None) -> tuple[StepPlan, ...]:
    """Return the steps of a run; the data set's default epochs are shared among them.

    Args:
        config: The run's settings.
        recipe: What :func:`read_recipe` returned for them, so that the file is read once.

    Raises:
        RecipeError: If the recipe is missing or malformed.
        UnknownNameError: If there is no such data set.

    Example:
        >>> [(plan.name, plan.epochs) for plan in plan_steps(TrainConfig(recipe="two-step"))]
        [('step0', 20), ('step1', 20)]
    """
    entry = DATASETS[config.data]
    recipe = recipe or read_recipe(config)
    given: list[tuple[str, int | None, float | None, float | None]] = [("float", None, None, None)]
    if recipe is not None:
        given = [(s.name, s.epochs, s.learning_rate, s.weight_decay) for s in recipe.steps]
    share = max(1, round(entry.epochs / len(given)))
    plans: list[StepPlan] = []
    for index, (name, epochs, rate, decay) in enumerate(given):
        plan = StepPlan(
            index=index,
            name=name,
            epochs=config.epochs or epochs or share,
            before=sum(plan.epochs for plan in plans),
            learning_rate=config.learning_rate or rate or entry.learning_rate,
            weight_decay=next(d for d in (config.weight_decay, decay, 0.0) if d is not None),
        )
        plans.append(plan)
    return tuple(plans)

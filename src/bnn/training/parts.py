"""The parts of a recipe's step that have names: optimizers, schedule, losses, looked up."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bnn.errors import BnnError, ConfigError
from bnn.executor.annotations import misfits
from bnn.executor.recipe import RecipeStep
from bnn.executor.schema import Place
from bnn.ops.base import check_arguments, constructor_parameters
from bnn.training.losses import LOSSES, CrossEntropyLoss, Loss, WeightedLosses
from bnn.training.optimizers import OptimizerCase
from bnn.training.optimizers.rules import REST
from bnn.training.schedules import Schedule


@contextlib.contextmanager
def at(place: Place) -> Iterator[None]:
    """Turn errors about a value into the RecipeError that names its place."""
    try:
        yield
    except BnnError as error:
        raise place.error(_sentence(str(error))) from error
    # What a recipe gives reaches constructors that check little: the value is the cause.
    except (TypeError, ValueError) as error:
        raise place.error(_sentence(str(error).splitlines()[0])) from error


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?")) else f"{text}."


def optimizer_cases(
    step: RecipeStep, weight_decay: float, place: Place
) -> tuple[OptimizerCase, ...]:
    """Return who trains what in a step; Adam trains everything where the recipe says nothing.

    Args:
        step: What the recipe says.
        weight_decay: Of the cases that have none of their own and whose optimizer knows it.
        place: The step's.

    Raises:
        RecipeError: If a name is unknown, or an argument does not fit.
    """
    cases = []
    for index, given in enumerate(step.optimizer or ({"name": "adam"},)):
        key = place.at("optimizer")
        with at(key.at(index) if len(step.optimizer) > 1 else key):
            case = OptimizerCase(**{"claims": REST, **given})
            if weight_decay and "weight_decay" not in given and case.decays:
                case = OptimizerCase(**{"claims": REST, **given, "weight_decay": weight_decay})
            cases.append(case)
    return tuple(cases)


def schedule_of(step: RecipeStep, asked: str | None, epochs: int, place: Place) -> Schedule:
    """Return how a step's learning rate moves; what is asked for wins, then what the recipe says.

    A warm-up keeps its share of the epochs that the recipe gives.

    Raises:
        RecipeError: If the name is unknown, an argument does not fit, or all is warm-up.
    """
    given: Mapping[str, Any] = step.schedule or {"name": "cosine"}
    warmup = float(given.get("warmup_epochs", 0))
    if step.epochs:
        warmup *= epochs / step.epochs
    args = given.get("args", {}) if asked in (None, given["name"]) else {}
    with at(place.at("schedule")):
        if warmup and warmup >= epochs:
            raise ConfigError(
                f"warmup_epochs is {warmup:g}, but the step has {epochs}. Warm up for fewer."
            )
        return Schedule(name=asked or given["name"], warmup_epochs=warmup, args=args)


def _check_needed(cls: type, args: Mapping[str, Any]) -> None:
    for name, parameter in constructor_parameters(cls).items():
        is_one = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if is_one and parameter.default is parameter.empty and name not in args:
            raise ConfigError(f"{cls.__name__} needs the argument {name!r}.")


def make_losses(given: Iterable[Mapping[str, Any]], place: Place | None = None) -> WeightedLosses:
    """Return new losses, cross entropy if there is none.

    Args:
        given: ``name``, and ``weight`` and ``args`` if any, of each.
        place: The step's; None if they were checked before.

    Raises:
        RecipeError: If a name is unknown, or an argument does not fit.
    """
    pairs: list[tuple[Loss, float]] = []
    for index, loss in enumerate(given):
        key, args = (place or Place("recipe")).at("losses").at(index), loss.get("args", {})
        with at(key):
            cls = LOSSES[loss["name"]]
            check_arguments(cls, args)
        for name, problem in misfits(cls, args):
            raise key.at("args").at(name).error(problem)
        with at(key):
            _check_needed(cls, args)
            pairs.append((cls(**args), loss.get("weight", 1.0)))
    return WeightedLosses(pairs or [(CrossEntropyLoss(), 1.0)])

"""The networks that a recipe names: the one that it is made for, and teachers."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnn.errors import ConfigError
from bnn.executor.recipe import Recipe, load_recipe
from bnn.executor.schema import Place
from bnn.executor.stages import UserModules
from bnn.models import MODELS
from bnn.registry import did_you_mean
from bnn.training.config import TrainConfig
from bnn.training.parts import at
from bnn.values import shown

TeacherSource = int | Mapping[str, str] | TrainConfig
"""The index of a step, what ``load_teacher`` takes, or the settings of a run that makes it."""

TORCHVISION = "torchvision:"


def with_recipe_network(config: TrainConfig, *, user_modules: UserModules = ()) -> TrainConfig:
    """Return settings with the network that their recipe is made for, if it names one.

    Args:
        config: With a recipe; ``model`` is replaced, ``model_args`` win over the recipe's.
        user_modules: Your own binarizers that the recipe names.

    Raises:
        RecipeError: If the recipe is missing or malformed.

    Example:
        >>> with_recipe_network(TrainConfig(recipe="reactnet")).model_args
        {'activation': 'RPReLU'}
        >>> imagenet = TrainConfig(recipe="reactnet", data="imagenet", data_dir="/data/imagenet")
        >>> with_recipe_network(imagenet).model
        'resnet18'
    """
    if config.recipe is None:
        return config
    recipe = load_recipe(config.recipe, user_modules, smoke=config.smoke)
    found = network_for(recipe, config.data, Place(recipe.file))
    if found is None:
        return config
    name, args = found
    return dataclasses.replace(config, model=name, model_args={**args, **config.model_args})


def network_for(recipe: Recipe, data: str, place: Place) -> tuple[str, dict[str, Any]] | None:
    """Return (name, arguments) of the network that a recipe takes on a data set, or None.

    Raises:
        RecipeError: If it names a network that does not exist, or an argument that it lacks.
    """
    if recipe.model is None:
        return None
    return _network(recipe.model, recipe.model["name"], recipe, data, place.at("model"))


def _network(
    given: Mapping[str, Any], name: str, recipe: Recipe, data: str, place: Place
) -> tuple[str, dict[str, Any]]:
    """Return the network or, on another data set than the recipe's, the one for elsewhere."""
    _check_network(name, given.get("args", {}), place)
    elsewhere = given.get("elsewhere")
    if elsewhere is not None:
        _check_network(elsewhere["name"], elsewhere.get("args", {}), place.at("elsewhere"))
        if recipe.data != data:
            return elsewhere["name"], dict(elsewhere.get("args", {}))
    return name, dict(given.get("args", {}))


def _check_network(name: str, args: Mapping[str, Any], place: Place) -> None:
    with at(place):
        allowed = MODELS[name].keywords
    for key in args:
        if key not in allowed:
            raise place.at("args").error(
                f"{name} takes no argument {shown(key)}.{did_you_mean(key, allowed)} "
                f"Allowed: {', '.join(allowed)}."
            )


def teacher_of(
    given: Mapping[str, Any] | None,
    recipe: Recipe,
    config: TrainConfig,
    batch_size: int,
    at_home: bool,
    place: Place,
) -> TeacherSource | None:
    """Return where a step's teacher comes from; the one in the settings wins, but over no step.

    Args:
        given: What the recipe says.
        recipe: The recipe.
        config: The run's settings.
        batch_size: Of the step, for a teacher that is trained first.
        at_home: Whether the recipe's epochs are for the run's data.
        place: The step's.

    Raises:
        RecipeError: If the recipe names a network that does not exist.
        ConfigError: If the settings do.
    """
    if given is None:
        return None
    place = place.at("teacher")
    if "step" in given:
        return recipe.index(given["step"])
    name: str | None = given.get("model")
    source: Mapping[str, Any] = given
    args: dict[str, Any] = {}
    if name is not None:
        name, args = _network(given, name, recipe, config.data, place)
    if config.teacher is not None:
        source = asked_teacher(config.teacher)
        if source.get("model") != name:
            name, args = source.get("model"), {}
    elif "checkpoint" in given:
        source = {"checkpoint": str(recipe.folder / given["checkpoint"])}
    elif "torchvision" in given:
        file = recipe.folder / given.get("weights", "DEFAULT")
        source = {
            "weights": "DEFAULT",
            **given,
            **({"weights": str(file)} if file.is_file() else {}),
        }
    if name is None:
        return source
    return dataclasses.replace(
        config,
        model=name,
        model_args=args,
        recipe=None,
        smoke=False,
        teacher=None,
        enlarge_to=config.enlarge_to or recipe.enlarge_to,
        epochs=given.get("epochs") if at_home else None,
        learning_rate=given.get("learning_rate"),
        weight_decay=None,
        schedule=None,
        clamp_latent=None,
        batch_size=batch_size,
    )


def asked_teacher(text: str) -> dict[str, str]:
    """Return what ``--teacher`` means: a file or folder, a network, or torchvision's.

    Raises:
        ConfigError: If it is none of them.

    Example:
        >>> asked_teacher("resnet18")
        {'model': 'resnet18'}
        >>> asked_teacher("torchvision:resnet34")
        {'torchvision': 'resnet34', 'weights': 'DEFAULT'}
    """
    if text.startswith(TORCHVISION):
        name, _, weights = text.removeprefix(TORCHVISION).partition(":")
        return {"torchvision": name, "weights": weights or "DEFAULT"}
    with contextlib.suppress(OSError):  # of a text that is too long for a path
        if Path(text).exists():
            return {"checkpoint": text}
    if text in MODELS:
        return {"model": text}
    raise ConfigError(
        f"teacher (--teacher) {shown(text)} is neither a file, nor a network that can be trained "
        f"first (`bnn models` lists them).{did_you_mean(text, MODELS)} For one of torchvision give "
        f"{TORCHVISION}NAME or {TORCHVISION}NAME:FILE."
    )

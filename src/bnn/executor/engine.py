"""BinaryChef: runs the steps of a recipe on a model."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from bnn.config import BConfig
from bnn.convert import get_modules_to_binarize, prepare_binary_model
from bnn.errors import BnnError, LayerNotFoundError, RecipeError
from bnn.executor.recipe import Recipe, RecipeStep, load_recipe
from bnn.executor.stages import UserModules
from bnn.layers import BinaryLayer
from bnn.select import select_layers

logger = logging.getLogger(__name__)


class BinaryChef:
    """Converts a model step by step, as a recipe says.

    Args:
        config: A path to a YAML file, the name of a packaged recipe (``bnn recipes`` lists them),
            or a mapping with a file's content.
        user_modules: Your own classes that the recipe names: an iterable of them, or a mapping
            name -> class.

    Raises:
        RecipeError: If the recipe is malformed anywhere; nothing runs before all is checked.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 2, 1))
        >>> chef = BinaryChef("two-step")
        >>> for _ in range(len(chef)):
        ...     model = chef.next(model)
        ...     # train here
        >>> type(model[1]).__module__
        'bnn.layers.conv'
    """

    def __init__(
        self,
        config: str | Path | Mapping[str, Any],
        user_modules: UserModules = (),
    ) -> None:
        self.recipe: Recipe = load_recipe(config, user_modules)
        self.current_step = 0

    def __len__(self) -> int:
        return len(self.recipe.steps)

    def get_num_steps(self) -> int:
        """Return the number of steps."""
        return len(self)

    def next(self, model: nn.Module) -> nn.Module:
        """Run the step after the last one that was run, and return the model.

        Raises:
            RecipeError: If all steps have been run.
        """
        model = self.run_step(model, self.current_step)
        self.current_step += 1
        return model

    def run_step(self, model: nn.Module, step: int) -> nn.Module:
        """Convert ``model`` in place as step ``step`` (counted from 0) says, and return it.

        Raises:
            RecipeError: If there is no such step, or it does not fit the model.
        """
        if not 0 <= step < len(self):
            raise RecipeError(
                f"{self.recipe.name}: there is no step {step}; it has {len(self)}, counted from 0."
            )
        current = self.recipe.steps[step]
        logger.info(
            "%s: running %s (%d of %d)", self.recipe.name, current.name, step + 1, len(self)
        )
        try:
            ignored = (*current.ignore_layer_names, *_present(model, current))
            if current.only_binary:
                ignored += _float_layers(model, current)
            chosen = get_modules_to_binarize(model, current.bconfig, ignore_layers_name=ignored)
            if not chosen and current.bconfig == BConfig():
                return model  # a step that trains the network in float, on purpose
            return prepare_binary_model(model, current.bconfig, ignore_layers_name=ignored)
        except BnnError as error:
            raise RecipeError(f"{self.recipe.name}: {current.name}: {error}") from error

    def replay(self, model: nn.Module) -> nn.Module:
        """Give a fresh float model the structure it has after the steps run so far.

        For resuming: load the chef's state, replay, then load the model's state dict.
        """
        if self.current_step:
            for step in self.recipe.line(self.current_step - 1):
                model = self.run_step(model, step)
        return model

    def state_dict(self) -> dict[str, Any]:
        """Return the recipe and the number of steps run, as plain data."""
        return {"recipe": self.recipe.as_dict(), "current_step": self.current_step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where ``state`` was taken.

        Raises:
            RecipeError: If the state is malformed or was taken from another recipe.
        """
        step = state.get("current_step")
        if type(step) is not int or not 0 <= step <= len(self):
            raise RecipeError(
                f"{self.recipe.name}: the state's current_step is {step!r}; expected 0 to "
                f"{len(self)}."
            )
        if state.get("recipe") != self.recipe.as_dict():
            raise RecipeError(
                f"{self.recipe.name}: the state was taken from another recipe. Build the chef from "
                "state['recipe'], or start again."
            )
        self.current_step = step


def _float_layers(model: nn.Module, step: RecipeStep) -> tuple[str, ...]:
    """Return the names of the layers that are not binary.

    Raises:
        RecipeError: If none is.
    """
    layers = get_modules_to_binarize(model, step.bconfig)
    found = [name for name in layers if not isinstance(model.get_submodule(name), BinaryLayer)]
    if len(found) == len(layers):
        raise RecipeError(
            f"only_binary: no layer of this {type(model).__name__} is binary. Take a network that "
            "is when it is made (those with 1-bit MACs in `bnn models`), or another recipe."
        )
    return tuple(found)


def _present(model: nn.Module, step: RecipeStep) -> list[str]:
    """Return the names and patterns of ``ignore_if_present`` that match a layer."""
    layers = list(get_modules_to_binarize(model, step.bconfig))
    present = []
    for pattern in step.ignore_if_present:
        with contextlib.suppress(LayerNotFoundError):
            select_layers(pattern, layers, argument="ignore_if_present")
            present.append(pattern)
    return present

"""Names and values of the command line, checked before anything is loaded, made or written."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bnn.errors import BnnError
from bnn.registry import unknown_name

if TYPE_CHECKING:
    from torch import nn

# 64 Mi values: an image of 4096x4096. A slip of the finger must not fill the machine's memory.
_MOST_VALUES = 2**26


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the registries' message as a sentence, to which others may be added."""
    return f"{unknown_name(kind, name, known)}."


def check_model(name: str) -> None:
    """Refuse a model that is not registered."""
    from bnn.models import MODELS

    if name not in MODELS:
        raise typer.BadParameter(unknown("model", name, MODELS), param_hint="--model")


def check_data(name: str) -> None:
    """Refuse a data set that is not registered."""
    from bnn.training import DATASETS

    if name not in DATASETS:
        raise typer.BadParameter(unknown("data set", name, DATASETS), param_hint="--data")


def check_recipe(name: str) -> None:
    """Refuse what is neither a packaged recipe nor a file. Reading the file comes later."""
    from bnn.executor import packaged_recipes
    from bnn.executor.recipe import recipe_not_found

    if name not in packaged_recipes() and not Path(name).is_file():
        raise typer.BadParameter(recipe_not_found(name), param_hint="--recipe")


def given_path(text: str) -> Path:
    """Return the path that an argument names; an empty one would be the working folder."""
    if not text:
        raise typer.BadParameter("the path is empty.")
    return Path(text)


def check_out(out: Path, *, replace: bool) -> None:
    """Refuse a file that cannot be written, before the work."""
    if out.is_dir():
        raise typer.BadParameter(f"{out} is a folder; give a file.", param_hint="--out")
    if out.exists() and not out.is_file():
        raise typer.BadParameter(f"{out} is no ordinary file.", param_hint="--out")
    if out.exists() and not replace:
        raise typer.BadParameter(
            f"{out} is there already. --overwrite replaces it.", param_hint="--out"
        )
    if not out.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {out.parent}.", param_hint="--out")


def parse_model_args(pairs: Iterable[str]) -> dict[str, Any]:
    """Return the mapping that ``KEY=VALUE`` words say; values are JSON, else text.

    Example:
        >>> parse_model_args(["width=32", "stem_type=cifar", "zero_init_residual=true"])
        {'width': 32, 'stem_type': 'cifar', 'zero_init_residual': True}
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not key or not equals:
            raise typer.BadParameter(
                f"{pair!r} is not KEY=VALUE, for example width=32.", param_hint="--model-arg"
            )
        try:
            values[key] = json.loads(text)
        except ValueError:
            values[key] = text
    return values


def make_model(name: str, arguments: dict[str, Any]) -> nn.Module:
    """Return a new network, refusing arguments that it cannot be made with."""
    from bnn.models import create

    try:
        return create(name, **arguments)
    except BnnError:
        raise
    # Values come from the command line and reach torch's constructors, which check little:
    # whatever they raise, the values are the cause.
    except Exception as error:
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise typer.BadParameter(
            f"{name} cannot be made with {given}: {reason}", param_hint="--model-arg"
        ) from error


def parse_shape(text: str, batch: int = 1) -> tuple[int, int, int]:
    """Return (channels, height, width) of ``CxHxW``.

    Example:
        >>> parse_shape("3x224x224")
        (3, 224, 224)
    """
    found = re.fullmatch(r"([1-9]\d{0,7})x([1-9]\d{0,7})x([1-9]\d{0,7})", text, re.ASCII)
    if found is None:
        raise typer.BadParameter(
            f"{text!r} is not CxHxW, for example 3x224x224.", param_hint="--input"
        )
    channels, height, width = map(int, found.groups())
    check_size((batch, channels, height, width))
    return channels, height, width


def parse_sizes(text: str) -> tuple[int, ...]:
    """Return the sizes of an input of any number of axes, without its batch.

    Example:
        >>> parse_sizes("20"), parse_sizes("3x224x224")
        ((20,), (3, 224, 224))
    """
    if re.fullmatch(r"[1-9]\d{0,7}(x[1-9]\d{0,7}){0,6}", text, re.ASCII) is None:
        raise typer.BadParameter(
            f"{text!r} is no shape: CxHxW, for example 3x224x224, or N.", param_hint="--input"
        )
    return tuple(map(int, text.split("x")))


def check_size(shape: Sequence[int]) -> None:
    """Refuse a batch of images that is too large for any purpose here."""
    if math.prod(shape) > _MOST_VALUES:
        raise typer.BadParameter(
            f"{'x'.join(map(str, shape))} has more than {_MOST_VALUES:,} values.",
            param_hint="--input",
        )

"""Recipes: YAML -> checked dataclasses. Names are looked up, nothing in a file is executed."""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from torch import nn

from bnn.config import BConfig, Binarizer, Identity
from bnn.errors import ConfigError, RecipeError
from bnn.executor.yaml_file import parse_yaml
from bnn.ops.base import BinarizerBase, BinarizerFactory, binarizers, constructor_parameters
from bnn.registry import did_you_mean

Catalog = Mapping[str, type[nn.Module]]
UserModules = Iterable[type[nn.Module]] | Catalog
"""The caller's own classes that a recipe names: some classes, or name -> class."""

_STAGES = {
    "pre_activation": "activation_pre_process",
    "post_activation": "activation_post_process",
    "weight": "weight_pre_process",
}
_STEP_KEYS = (
    *_STAGES,
    *("ignore_layer_names", "ignore_if_present", "epochs", "learning_rate", "weight_decay"),
)
_TEXT_KEYS = ("name", "description", "reference")


@dataclass(frozen=True)
class RecipeStep:
    """One conversion and, where the file says so, how long and how to train after it.

    Args:
        name: The step's key in the file.
        bconfig: The stages that its layers get.
        ignore_layer_names: Names and patterns of layers left as they are; each must match.
        ignore_if_present: The same, but one that matches no layer is passed over: for a recipe
            that is not written for one network, for example ``$downsample$``.
        epochs: Epochs to train, or None.
        learning_rate: Initial learning rate, or None.
        weight_decay: Weight decay, or None.
    """

    name: str
    bconfig: BConfig
    ignore_layer_names: tuple[str, ...] = ()
    ignore_if_present: tuple[str, ...] = ()
    epochs: int | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None


@dataclass(frozen=True)
class Recipe:
    """Steps in the order of the file.

    Args:
        name: What the file says, else the file's name without its ending, else ``"recipe"``.
        steps: At least one.
        description: One line, or empty.
        reference: Address of the paper, or empty.
        source: The mapping it was read from, plain data: :func:`load_recipe` takes it again.
    """

    name: str
    steps: tuple[RecipeStep, ...]
    description: str
    reference: str
    source: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return the recipe as plain data, fit for JSON or a checkpoint."""
        return {"name": self.name, **self.source}


def packaged_recipes() -> dict[str, str]:
    """Return the text of each recipe that comes with the package, by name.

    Example:
        >>> "xnor-net" in packaged_recipes()
        True
    """
    files = resources.files("bnn").joinpath("recipes").iterdir()
    found = {
        Path(file.name).stem: file.read_text("utf-8")
        for file in files
        if file.name.endswith(".yaml")
    }
    return dict(sorted(found.items()))


def load_recipe(
    config: str | Path | Mapping[str, Any],
    user_modules: UserModules = (),
) -> Recipe:
    """Read and check a whole recipe.

    Args:
        config: A path, the name of a packaged recipe, or a mapping with a file's content.
        user_modules: Classes that the recipe names beside the package's own: an iterable (their
            class names count), or a mapping name -> class.

    Raises:
        RecipeError: If it is not found or malformed; the message names file, step and key, and
            what is allowed.

    Example:
        >>> load_recipe("xnor-net").steps[0].ignore_layer_names
        ('_first_', '_last_')
        >>> load_recipe({"step0": {"Weight": {"name": "XNORWeightBinarizer"}}})
        Traceback (most recent call last):
        bnn.errors.RecipeError: recipe: step0: unknown key 'Weight'. Did you mean 'weight'? \
Allowed: pre_activation, post_activation, weight, ignore_layer_names, ignore_if_present, \
epochs, learning_rate, weight_decay.
    """
    name, file, content = _read(config)
    reader = _Reader(file, _catalog(user_modules))
    content = reader.plain(content, "")
    texts = {key: reader.text(content[key], key) for key in _TEXT_KEYS if key in content}
    steps = tuple(
        reader.step(key, value) for key, value in content.items() if key not in _TEXT_KEYS
    )
    if not steps:
        raise RecipeError(f"{file}: no step. Give at least one, for example step0.")
    return Recipe(
        texts.get("name", name),
        steps,
        texts.get("description", ""),
        texts.get("reference", ""),
        source=content,
    )


def _read(config: str | Path | Mapping[str, Any]) -> tuple[str, str, Any]:
    """Return the recipe's name, what messages call it, and its unchecked content."""
    if isinstance(config, Mapping):
        return "recipe", "recipe", config
    if not isinstance(config, (str, Path)):
        raise RecipeError(
            f"a recipe is a path, a packaged name or a mapping; got a {type(config).__name__}."
        )
    packaged = packaged_recipes()
    if str(config) in packaged:
        return str(config), f"{config}.yaml", parse_yaml(packaged[str(config)], f"{config}.yaml")
    path = Path(config)
    try:
        data = path.read_bytes()
    except OSError as error:
        known = ", ".join(packaged)
        same = (
            f" The package has one of this name: use {path.stem!r}."
            if path.stem in packaged
            else did_you_mean(str(config), packaged)
        )
        raise RecipeError(
            f"cannot read the recipe {str(config)!r}: {error.strerror or error}.{same} "
            f"Packaged recipes: {known}."
        ) from error
    return path.stem, path.name, parse_yaml(data, path.name)


def _catalog(user_modules: UserModules) -> dict[str, type[nn.Module]]:
    """Return name -> class of everything that the recipe may name."""
    known: dict[str, type[nn.Module]] = {name: binarizers[name] for name in binarizers}
    known["Identity"] = Identity
    if isinstance(user_modules, Mapping):
        own = dict(user_modules)
    else:
        own = {getattr(cls, "__name__", repr(cls)): cls for cls in user_modules}
    for name, cls in own.items():
        if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
            raise ConfigError(
                f"user_modules has {cls!r}; every entry must be a class of nn.Module."
            )
        if known.get(name, cls) is not cls:
            raise ConfigError(f"user_modules has {name!r}, a name that bnn.ops has already.")
        known[name] = cls
    return known


class _Reader:
    """Checks the parts of one recipe; knows what messages call it."""

    def __init__(self, file: str, catalog: Catalog) -> None:
        self.file = file
        self.catalog = catalog

    def error(self, where: str, problem: str) -> RecipeError:
        return RecipeError(": ".join(filter(None, (self.file, where, problem))))

    def plain(self, value: Any, where: str, depth: int = 0) -> Any:
        """Return a deep copy, refusing what JSON could not hold and endless nesting."""
        if depth > 8:
            raise self.error(where.split(".", 1)[0], "nested more than 8 levels deep.")
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, (list, tuple)):
            return [self.plain(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
        if not isinstance(value, Mapping):
            raise self.error(where, f"{value!r} is no plain data (text, number, list, mapping).")
        for key in value:
            if not isinstance(key, str):
                raise self.error(where, f"the key {key!r} is no text. Put it in quotes.")
        return {
            key: self.plain(item, f"{where}.{key}".lstrip("."), depth + 1)
            for key, item in value.items()
        }

    def mapping(self, value: Any, where: str, allowed: Iterable[str]) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.error(where, f"must be a mapping, got {value!r}.")
        names = list(allowed)
        for key in value:
            if key not in names:
                near = did_you_mean(key.lower(), names)
                raise self.error(where, f"unknown key {key!r}.{near} Allowed: {', '.join(names)}.")
        return value

    def text(self, value: Any, where: str) -> str:
        if not isinstance(value, str):
            raise self.error(where, f"must be text, got {value!r}.")
        return value

    def step(self, name: str, content: Any) -> RecipeStep:
        if not isinstance(content, dict):
            raise self.error(name, f"a step must be a mapping, got {content!r}.")
        content = self.mapping(content, name, _STEP_KEYS)
        stages = {
            field: self.stage(content.get(key), f"{name}.{key}", key)
            for key, field in _STAGES.items()
        }
        return RecipeStep(
            name,
            BConfig(**stages),
            ignore_layer_names=self.layer_names(content, name, "ignore_layer_names"),
            ignore_if_present=self.layer_names(content, name, "ignore_if_present"),
            epochs=self.whole(content, name, "epochs", 1),
            learning_rate=self.number(content, name, "learning_rate", 0, above=True),
            weight_decay=self.number(content, name, "weight_decay", 0),
        )

    def stage(self, content: Any, where: str, key: str) -> Binarizer:
        if content is None:
            return Identity
        content = self.mapping(content, where, ("args", "name"))
        name = content.get("name")
        if not isinstance(name, str) or name not in self.catalog:
            near = did_you_mean(str(name), self.catalog)
            raise self.error(
                f"{where}.name",
                f"no binarizer {name!r}.{near} Known: {', '.join(sorted(self.catalog))}. Pass "
                "classes of your own as user_modules.",
            )
        cls = self.catalog[name]
        wanted = "output" if key == "post_activation" else "value"
        if issubclass(cls, BinarizerBase) and cls.stage != wanted:
            raise self.error(
                f"{where}.name",
                f"{name} takes "
                + ("(layer output, layer input)" if cls.stage == "output" else "one tensor")
                + f", so it cannot be a {key}.",
            )
        args = content.get("args")
        if args is not None and not isinstance(args, dict):
            raise self.error(f"{where}.args", f"must be a mapping, got {args!r}.")
        return self.factory(cls, args or {}, f"{where}.args")

    def factory(self, cls: type[nn.Module], args: dict[str, Any], where: str) -> Binarizer:
        if not args:
            return cls
        try:
            factory = BinarizerFactory(cls, args)
        except ConfigError as error:
            raise self.error(where, str(error)) from error
        for name, value in args.items():
            parameter = constructor_parameters(cls).get(name)
            if parameter is not None and not _fits(value, parameter.default):
                kind = type(parameter.default).__name__
                raise self.error(f"{where}.{name}", f"must be of type {kind}, got {value!r}.")
        return factory

    def layer_names(self, content: dict[str, Any], step: str, key: str) -> tuple[str, ...]:
        value, where = content.get(key), f"{step}.{key}"
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            raise self.error(where, f"must be a list of names, got {value!r}.")
        for name in value:
            if len(name) > 1 and name[0] == name[-1] == "$":
                try:
                    re.compile(name[1:-1])
                except re.error as error:
                    raise self.error(
                        where, f"{name!r} is no regular expression: {error}."
                    ) from None
        return tuple(value)

    def number(
        self, content: dict[str, Any], step: str, key: str, minimum: int, *, above: bool = False
    ) -> float | None:
        value = content.get(key)
        if value is None:
            return None
        number = float("nan")
        if not isinstance(value, bool):
            with contextlib.suppress(TypeError, ValueError, OverflowError):
                number = float(value)  # YAML reads 1e-3, without a dot, as text
        if not minimum <= number < float("inf") or (above and number == minimum):
            bound = f"{'>' if above else '>='} {minimum}"
            raise self.error(f"{step}.{key}", f"must be a number {bound}, got {value!r}.")
        return number

    def whole(self, content: dict[str, Any], step: str, key: str, minimum: int) -> int | None:
        number = self.number(content, step, key, minimum)
        if number is not None and number != int(number):
            raise self.error(f"{step}.{key}", f"must be a whole number, got {number!r}.")
        return None if number is None else int(number)


def _fits(value: Any, default: Any) -> bool:
    """Say whether a value is of its default's type; True where the default says nothing."""
    if default is None or default is inspect.Parameter.empty:
        return True
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) == isinstance(default, bool)
    if isinstance(default, (int, float)):
        return isinstance(value, (int, float))
    return not isinstance(default, str) or isinstance(value, str)

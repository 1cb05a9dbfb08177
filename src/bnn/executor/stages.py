"""The stages of a recipe's step: a binarizer's name and arguments -> a factory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from bnn.config import BConfig, Binarizer, Identity
from bnn.errors import ConfigError
from bnn.executor.annotations import misfits
from bnn.executor.keys import STAGES
from bnn.executor.schema import Place, known_keys
from bnn.ops.base import BinarizerBase, BinarizerFactory, binarizers
from bnn.registry import did_you_mean
from bnn.values import shown

Catalog = Mapping[str, type[nn.Module]]
UserModules = Iterable[type[nn.Module]] | Catalog
"""The caller's own classes that a recipe names: some classes, or name -> class."""


def catalog(user_modules: UserModules) -> dict[str, type[nn.Module]]:
    """Return name -> class of everything that the recipe may name."""
    known: dict[str, type[nn.Module]] = {name: binarizers[name] for name in binarizers}
    known["Identity"] = Identity
    known["Tanh"] = nn.Tanh  # Real-to-Binary's step between float and sign
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


def read_stages(content: Mapping[str, Any], place: Place, known: Catalog) -> BConfig:
    """Return the config that a step's three stages make."""
    stages = {
        field: _stage(content.get(key), place.at(key), key, known) for key, field in STAGES.items()
    }
    return BConfig(**stages)


def _stage(content: Any, place: Place, key: str, known: Catalog) -> Binarizer:
    if content is None:
        return Identity
    content = known_keys(content, place, ("args", "name"))
    name = content.get("name")
    if not isinstance(name, str) or name not in known:
        near = did_you_mean(name, known) if isinstance(name, str) else ""
        raise place.at("name").error(
            f"no binarizer {shown(name)}.{near} Known: {', '.join(sorted(known))}. Pass "
            "classes of your own as user_modules.",
        )
    cls = known[name]
    wanted = "output" if key == "post_activation" else "value"
    if issubclass(cls, BinarizerBase) and cls.stage != wanted:
        raise place.at("name").error(
            f"{name} takes "
            + ("(layer output, layer input)" if cls.stage == "output" else "one tensor")
            + f", so it cannot be a {key}.",
        )
    args = content.get("args")
    if args is not None and not isinstance(args, dict):
        raise place.at("args").error(f"must be a mapping, got {shown(args)}.")
    return _factory(cls, args or {}, place.at("args"))


def _factory(cls: type[nn.Module], args: dict[str, Any], place: Place) -> Binarizer:
    if not args:
        return cls
    if "module" in args:
        raise place.at("module").error("is the layer that is converted. Leave it out.")
    try:
        factory = BinarizerFactory(cls, args)
    except ConfigError as error:
        raise place.error(str(error)) from error
    for name, problem in misfits(cls, args):
        raise place.at(name).error(problem)
    return factory

"""The table of networks: what ``bnn.models.create`` can make and how to try each one.

A new network is one file that decorates its factory with :func:`register_model`, and one import
in ``bnn/models/__init__.py``. The contract tests find it here.
"""

from __future__ import annotations

import builtins
import fnmatch
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from torch import nn

from bnn.errors import ConfigError
from bnn.layers import RPReLU
from bnn.models.preprocessing import Preprocessing
from bnn.registry import Registry, did_you_mean

ModelFactory = Callable[..., nn.Module]
F = TypeVar("F", bound=ModelFactory)


@dataclass(frozen=True, kw_only=True)
class Published:
    """The accuracy that others report of a network; nothing here was measured with this package.

    Attributes:
        top1: Per cent of the test images whose first answer is right.
        top5: The same for the first five answers, where it is reported.
        data: The data set.
    """

    top1: float
    top5: float | None = None
    data: str = "ImageNet"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a network costs with its default arguments; the tests count it again.

    Attributes:
        params: Parameters, with 2 for each channel of a batch norm.
        bytes: Of these, with 1 bit for each binary weight and 4 bytes for each other number.
        macs: Multiply-accumulates of one input, by the bits of their wider operand.
    """

    params: int
    bytes: int
    macs: Mapping[int, int]


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """What is known about one network.

    Attributes:
        factory: Makes the network.
        network: The class to which ``factory`` passes the keywords that it does not name itself.
        input_shape: Default input, as (channels, height, width).
        num_classes: Default number of classes.
        paper: Where the architecture comes from.
        summary: One line for listings.
        tiny: Keywords that make a small instance with the same structure, for tests.
        tiny_shape: An input of the small instance, as (channels, height, width).
        figures: Its costs, if they are known.
        published: Its accuracy, if somebody reports one.
        preprocessing: What an image must go through before the network sees it.
    """

    factory: ModelFactory
    network: type[nn.Module]
    input_shape: tuple[int, int, int]
    num_classes: int
    paper: str
    summary: str
    tiny: Mapping[str, object] = field(default_factory=dict)
    tiny_shape: tuple[int, int, int]
    figures: Figures | None = None
    published: Published | None = None
    preprocessing: Preprocessing | None = None

    @property
    def keywords(self) -> tuple[str, ...]:
        """Names of the keywords that :func:`create` accepts for this network, sorted."""
        known = {*_named_parameters(self.factory), *_named_parameters(self.network)}
        return tuple(sorted(known))


#: Every network, by name.
MODELS: Registry[ModelEntry] = Registry("model")

# The command line and checkpoints hold plain strings. These closed tables, and nothing like
# eval(), turn them into objects; files that define a block or a genotype add it themselves.
BLOCKS: Registry[type[nn.Module]] = Registry("block type")
ACTIVATIONS: Registry[Callable[..., nn.Module]] = Registry("activation")
NORM_LAYERS: Registry[Callable[..., nn.Module]] = Registry("norm layer")
GENOTYPES: Registry[object] = Registry("genotype")

for _activation in (
    *(nn.ELU, nn.GELU, nn.Hardswish, nn.Hardtanh, nn.Identity, nn.LeakyReLU),
    *(nn.PReLU, nn.ReLU, nn.ReLU6, nn.SiLU, nn.Tanh, RPReLU),
):
    ACTIVATIONS.register(_activation.__name__)(_activation)
for _norm in (nn.BatchNorm2d, nn.Identity, nn.InstanceNorm2d, nn.SyncBatchNorm):
    NORM_LAYERS.register(_norm.__name__)(_norm)

_TABLES: Mapping[str, Registry[Any]] = {
    "activation": ACTIVATIONS,
    "block_type": BLOCKS,
    "genotype": GENOTYPES,
    "norm_layer": NORM_LAYERS,
    "stem_activation": ACTIVATIONS,
}


def register_model(
    *,
    network: type[nn.Module],
    input_shape: tuple[int, int, int],
    num_classes: int,
    paper: str,
    summary: str,
    tiny: Mapping[str, object],
    tiny_shape: tuple[int, int, int],
    figures: Figures | None = None,
    published: Published | None = None,
    preprocessing: Preprocessing | None = None,
) -> Callable[[F], F]:
    """Return a decorator that adds a factory to :data:`MODELS` under the factory's own name.

    The arguments are the fields of :class:`ModelEntry`.
    """

    def add(factory: F) -> F:
        entry = ModelEntry(
            factory=factory,
            network=network,
            input_shape=input_shape,
            num_classes=num_classes,
            paper=paper,
            summary=summary,
            tiny=tiny,
            tiny_shape=tiny_shape,
            figures=figures,
            published=published,
            preprocessing=preprocessing,
        )
        MODELS.register(factory.__name__)(entry)
        return factory

    return add


def create(name: str, **kwargs: Any) -> nn.Module:
    """Make the network called ``name``.

    Args:
        name: One of :func:`list`.
        **kwargs: Arguments of the network. ``block_type``, ``activation``, ``stem_activation``,
            ``norm_layer`` and ``genotype`` may also be given by name, as a string.

    Returns:
        A network with new weights, in training mode. ``preprocessing`` says what an image must go
        through before it, or is None.

    Raises:
        UnknownNameError: If no network, block, activation, norm or genotype has that name.
        ConfigError: If the network does not take one of the keywords.

    Example:
        >>> model = create("resnet8", num_classes=4, activation="PReLU")
        >>> model.fc
        Linear(in_features=64, out_features=4, bias=True)
    """
    entry = MODELS[name]
    allowed = entry.keywords
    for key in kwargs:
        if key not in allowed:
            raise ConfigError(
                f"{name} takes no argument {key!r}.{did_you_mean(key, allowed)} "
                f"Allowed: {', '.join(allowed)}"
            )
    values = {
        key: _TABLES[key][value] if key in _TABLES and isinstance(value, str) else value
        for key, value in kwargs.items()
    }
    model = entry.factory(**values)
    model.preprocessing = _preprocessing(entry, kwargs)  # type: ignore[assignment]  # no module
    return model


def _preprocessing(entry: ModelEntry, given: Mapping[str, object]) -> Preprocessing | None:
    """Return what images of a network with these arguments go through."""
    if entry.preprocessing is None or given.get("in_channels", 3) != 3:
        return None
    size: Any = given.get("input_size", entry.preprocessing.size)
    sizes = (size, size) if isinstance(size, int) else tuple(size)
    return replace(entry.preprocessing, size=sizes)


def list(pattern: str = "*") -> builtins.list[str]:  # noqa: A001 - reads as bnn.models.list()
    """Return the names of the networks that match a shell-style pattern, sorted.

    Example:
        >>> list("resnet1*")
        ['resnet101', 'resnet152', 'resnet18']
    """
    return fnmatch.filter(MODELS, pattern)


def _named_parameters(function: Callable[..., object]) -> builtins.list[str]:
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind not in variadic]

"""How pictures become a packed network's input, as its file may say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bnn.errors import PackedFormatError
from bnn.packed.container import shown

MOST_SIDE = 2**12
MOST_CHANNELS = 2**12
MOST_NUMBER = 1e6  # a mean or deviation, of pixels of 0 to 1

_KEYS = ("size", "channels", "mean", "std")
_ATTRIBUTE = "preprocessing"


@dataclass(frozen=True)
class Preprocessing:
    """What the training pictures went through: cut to a size, pixels of 0 to 1, normalised.

    Attributes:
        size: Height and width.
        channels: 1: grey; 3: red, green, blue.
        mean: Of each channel, taken from pixels of 0 to 1.
        std: Of each channel; what is left is divided by it.

    Example:
        >>> Preprocessing((28, 28), 1, (0.13,), (0.31,)).as_json()
        {'size': [28, 28], 'channels': 1, 'mean': [0.13], 'std': [0.31]}
    """

    size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as a file holds it."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def from_json(item: Any, example_shapes: Sequence[Sequence[int]]) -> Preprocessing:
    """Return what a document says.

    Raises:
        PackedFormatError: If it is not as it must be, or not for a network of these inputs.
    """
    if not isinstance(item, dict) or set(item) != set(_KEYS):
        given = shown(list(item)) if isinstance(item, dict) else shown(item)
        raise PackedFormatError(
            f"preprocessing has {given}; it must be a JSON object with {', '.join(_KEYS)}."
        )
    size, channels = item["size"], item["channels"]
    if not isinstance(size, list) or len(size) != 2 or not all(_is_int(s, MOST_SIDE) for s in size):
        raise PackedFormatError(
            f"preprocessing: size is {shown(size)}; it must be height and width, from 1 to "
            f"{MOST_SIDE:,}."
        )
    if not _is_int(channels, MOST_CHANNELS):
        raise PackedFormatError(
            f"preprocessing: channels is {shown(channels)}; it must be an int from 1 to "
            f"{MOST_CHANNELS:,}."
        )
    shape = example_shapes[0]
    if len(example_shapes) != 1 or len(shape) != 4 or shape[1] != channels:
        raise PackedFormatError(
            f"preprocessing is for pictures of {channels} channels, but the network takes "
            f"{', '.join('x'.join(map(str, s)) for s in example_shapes)}."
        )
    mean, std = (_numbers(name, item[name], channels) for name in ("mean", "std"))
    if min(std) <= 0:
        raise PackedFormatError(f"preprocessing: std has {min(std)}; each must be above 0.")
    return Preprocessing((size[0], size[1]), channels, mean, std)


def attach(network: Any, preprocessing: Preprocessing | None) -> None:
    """Set a network's ``preprocessing``, which :func:`bnn.save` writes with it."""
    setattr(network, _ATTRIBUTE, preprocessing)


def of(network: Any) -> Preprocessing | None:
    """Return a network's ``preprocessing``, or None.

    Raises:
        PackedFormatError: If it is something else.
    """
    found = getattr(network, _ATTRIBUTE, None)
    if found is not None and not isinstance(found, Preprocessing):
        raise PackedFormatError(
            f"the network's preprocessing is a {type(found).__name__}; set it to a "
            "bnn.packed.Preprocessing, or to None."
        )
    return found


def _numbers(name: str, item: Any, channels: int) -> tuple[float, ...]:
    if not isinstance(item, list) or len(item) != channels or not all(map(_is_number, item)):
        raise PackedFormatError(
            f"preprocessing: {name} is {shown(item)}; it must be a list of {channels} numbers, one "
            f"for each channel, up to {MOST_NUMBER:,.0f}."
        )
    return tuple(map(float, item))


def _is_int(value: Any, most: int) -> bool:
    return type(value) is int and 1 <= value <= most


def _is_number(value: Any) -> bool:
    plain = type(value) is float or (type(value) is int and abs(value) < 2**53)
    return plain and math.isfinite(value) and abs(value) <= MOST_NUMBER

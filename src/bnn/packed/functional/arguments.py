"""What a user of torch may write for an argument, as the operators take it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bnn.errors import PackedError

Size = int | Sequence[int]

_OPTIONAL = ("scale", "shift", "bias", "residual")


def channels_first(x: Tensor) -> Tensor:
    """Return ``(N, *, C)`` as ``(N, C, *)``, without copying."""
    return x.movedim(-1, 1) if x.dim() > 2 else x


def check_tensors(op: str, **tensors: Tensor | None) -> None:
    """Raise PackedError if one is no tensor."""
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) and (tensor is not None or name not in _OPTIONAL):
            raise PackedError(f"{op}: {name} is a {type(tensor).__name__}; give a tensor.")


def check_int(op: str, name: str, value: int) -> int:
    """Return ``value``, or raise PackedError if it is no int of a sensible size."""
    if type(value) is not int and (
        isinstance(value, bool) or not isinstance(value, (int, torch.SymInt))
    ):
        raise PackedError(f"{op}: {name} is {value!r}; give an int.")
    if not -(2**31) < value < 2**31:
        raise PackedError(f"{op}: {name} is {value}; no layer is that large.")
    return value


def each_axis(op: str, name: str, value: Size, count: int) -> tuple[int, ...]:
    """Return one number for each axis."""
    if isinstance(value, int):
        return (check_int(op, name, value),) * count
    if not isinstance(value, (tuple, list)) or len(value) != count:
        form = f"one or {count}" if count > 1 else "one"
        raise PackedError(f"{op}: {name} is {value!r}; give {form}.")
    return tuple([check_int(op, name, item) for item in value])


def both_ends(op: str, value: Size, axes: int) -> tuple[int, ...]:
    """Return what is padded before and after each axis."""
    if isinstance(value, int):
        return (check_int(op, "padding", value),) * (2 * axes)
    if isinstance(value, (tuple, list)) and len(value) == 2 * axes:
        return tuple([check_int(op, "padding", item) for item in value])
    if not (isinstance(value, (tuple, list)) and len(value) == axes):
        form = "one number, (before, after)" if axes == 1 else "one number, two or four"
        raise PackedError(f"{op}: padding is {value!r}; give {form}.")
    return tuple([pad for size in each_axis(op, "padding", value, axes) for pad in (size, size)])

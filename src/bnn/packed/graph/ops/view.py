"""Operations that move floats without computing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bnn.packed.graph.node import Node
from bnn.packed.graph.ops import view_rules
from bnn.packed.graph.ops.base import choice, flag, integer, integers, number, register

_DIM = integer(-8, 8)


def _concat(node: Node, inputs: Sequence[Any]) -> Tensor:
    return torch.cat(list(inputs), node.attrs["axis"])


def _flatten(node: Node, inputs: Sequence[Any]) -> Tensor:
    return torch.flatten(inputs[0], node.attrs["start"], node.attrs["end"])


def _reshape(node: Node, inputs: Sequence[Any]) -> Tensor:
    x, *sizes = inputs
    left = iter(sizes)
    shape = [next(left) if size is None else size for size in node.attrs["shape"]]
    reshaped: Tensor = x.reshape(shape)
    return reshaped


def _permute(node: Node, inputs: Sequence[Any]) -> Tensor:
    permuted: Tensor = inputs[0].permute(node.attrs["dims"])
    return permuted


def _squeeze(node: Node, inputs: Sequence[Any]) -> Tensor:
    squeezed: Tensor = inputs[0].squeeze(node.attrs["dim"])
    return squeezed


def _unsqueeze(node: Node, inputs: Sequence[Any]) -> Tensor:
    unsqueezed: Tensor = inputs[0].unsqueeze(node.attrs["dim"])
    return unsqueezed


def _slice(node: Node, inputs: Sequence[Any]) -> Tensor:
    a = node.attrs
    x: Tensor = inputs[0]
    index = [slice(None)] * (a["dim"] % x.dim())
    index.append(slice(a.get("start"), a.get("stop"), a["step"]))
    part: Tensor = x[tuple(index)]
    return part


def _pad(node: Node, inputs: Sequence[Any]) -> Tensor:
    a = node.attrs
    if a["mode"] == "constant":
        return F.pad(inputs[0], a["pads"], value=a["value"])
    return F.pad(inputs[0], a["pads"], mode=a["mode"])


def _reduce(node: Node, inputs: Sequence[Any]) -> Tensor:
    a = node.attrs
    x: Tensor = inputs[0]
    # As of images in torch's default format: sums of floats depend on the order of adding.
    reduced: Tensor = getattr(x.contiguous(), a["function"])(a["dims"], keepdim=a["keepdim"])
    return reduced


def _channel_shuffle(node: Node, inputs: Sequence[Any]) -> Tensor:
    x, groups = inputs[0], node.attrs["groups"]
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)  # type: ignore[no-any-return]


def _pixel_shuffle(node: Node, inputs: Sequence[Any]) -> Tensor:
    return F.pixel_shuffle(inputs[0], node.attrs["factor"])


def _repeat_interleave(node: Node, inputs: Sequence[Any]) -> Tensor:
    repeated: Tensor = inputs[0].repeat_interleave(node.attrs["repeats"], node.attrs["dim"])
    return repeated


def _interpolate(node: Node, inputs: Sequence[Any]) -> Tensor:
    a = node.attrs
    aligned = a["align_corners"] if a["mode"] not in ("nearest", "nearest-exact") else None
    return F.interpolate(
        inputs[0], scale_factor=a["factors"], mode=a["mode"], align_corners=aligned
    )


def _bounds(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**31


def _factors(value: Any) -> bool:
    return (
        isinstance(value, list)
        and 1 <= len(value) <= 3
        and all(type(v) in (int, float) and 0 < v <= 64 for v in value)
    )


def _shape(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= 8
        and all(v is None or (type(v) is int and -1 <= v < 2**31) for v in value)
    )


_BOUND = ("an int", _bounds)
register(
    "concat",
    _concat,
    view_rules.concat,
    does="the inputs one after the other along `axis`",
    attrs={"axis": _DIM},
    many=True,
    finishes=True,
)
register(
    "flatten",
    _flatten,
    view_rules.flatten,
    does="axes `start` to `end` made one",
    attrs={"start": _DIM, "end": _DIM},
)
register(
    "reshape",
    _reshape,
    view_rules.reshape,
    does="the same numbers in another shape; one size may be -1",
    attrs={"shape": ("a list of ints, null where an input says it", _shape)},
    inputs=("float", "int"),
    many=True,
)
register(
    "view",
    _reshape,
    view_rules.reshape,
    does="the same numbers in another shape; one size may be -1, none null",
    attrs={"shape": ("a list of ints", _shape)},
)
register(
    "permute",
    _permute,
    view_rules.permute,
    does="the axes in another order",
    attrs={"dims": integers(-8, 8)},
)
register(
    "squeeze",
    _squeeze,
    view_rules.squeeze,
    does="without axis `dim`, if its size is 1",
    attrs={"dim": _DIM},
)
register(
    "unsqueeze",
    _unsqueeze,
    view_rules.unsqueeze,
    does="with an axis of size 1 before axis `dim`",
    attrs={"dim": _DIM},
)
register(
    "slice",
    _slice,
    view_rules.slicing,
    does="a part along `dim`, as Python slices it",
    attrs={"dim": integer(0, 8), "start": _BOUND, "stop": _BOUND, "step": integer(1)},
    optional=("start", "stop"),
)
register(
    "pad",
    _pad,
    view_rules.pad,
    does="`torch.nn.functional.pad`: `pads` begin with the last axis",
    attrs={
        "pads": integers(-(2**20), 2**20),
        "mode": choice("constant", "reflect", "replicate", "circular"),
        "value": number,
    },
)
register(
    "reduce",
    _reduce,
    view_rules.reduce,
    does="the mean, sum or largest number along `dims`",
    attrs={
        "function": choice("mean", "sum", "amax"),
        "dims": integers(-8, 8),
        "keepdim": flag,
    },
)
register(
    "channel_shuffle",
    _channel_shuffle,
    view_rules.channel_shuffle,
    does="channel `g * (C / groups) + c` becomes channel `c * groups + g`",
    attrs={"groups": integer(1)},
)
register(
    "pixel_shuffle",
    _pixel_shuffle,
    view_rules.pixel_shuffle,
    does="`torch.nn.functional.pixel_shuffle`",
    attrs={"factor": integer(1)},
)
register(
    "repeat_interleave",
    _repeat_interleave,
    view_rules.repeat_interleave,
    does="each entry along `dim` repeated",
    attrs={"repeats": integer(1), "dim": _DIM},
)
register(
    "interpolate",
    _interpolate,
    view_rules.interpolate,
    does="`torch.nn.functional.interpolate` by `factors`, which are not recomputed",
    attrs={
        "factors": ("a list of factors up to 64", _factors),
        "mode": choice("nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear"),
        "align_corners": flag,
    },
)

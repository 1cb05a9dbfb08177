"""Pooling of floats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from bnn.packed.graph.node import Node
from bnn.packed.graph.ops import rules
from bnn.packed.graph.ops.base import MOST_PAD, flag, integers, register

# The axes of the image -> function.
_MAX: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVG: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_ADAPTIVE_AVG: dict[int, Callable[..., Tensor]] = {
    1: F.adaptive_avg_pool1d,
    2: F.adaptive_avg_pool2d,
    3: F.adaptive_avg_pool3d,
}
_ADAPTIVE_MAX: dict[int, Callable[..., Tensor]] = {
    1: F.adaptive_max_pool1d,
    2: F.adaptive_max_pool2d,
    3: F.adaptive_max_pool3d,
}
_WINDOW = {"kernel_size": integers(1), "stride": integers(1), "padding": integers(0, MOST_PAD)}


def _max_pool(node: Node, inputs: Sequence[Any]) -> Tensor:
    a = node.attrs
    return _MAX[len(a["kernel_size"])](
        inputs[0], a["kernel_size"], a["stride"], a["padding"], a["dilation"], a["ceil_mode"]
    )


def _avg_pool(node: Node, inputs: Sequence[Any]) -> Tensor:
    a = node.attrs
    return _AVG[len(a["kernel_size"])](
        inputs[0],
        a["kernel_size"],
        a["stride"],
        a["padding"],
        a["ceil_mode"],
        a["count_include_pad"],
    )


register(
    "max_pool",
    _max_pool,
    rules.pool,
    does="`torch.nn.functional.max_pool1d`, `2d` or `3d`, as `kernel_size` has numbers",
    attrs={**_WINDOW, "dilation": integers(1), "ceil_mode": flag},
    finishes=True,
)
register(
    "avg_pool",
    _avg_pool,
    rules.pool,
    does="`torch.nn.functional.avg_pool1d`, `2d` or `3d`",
    attrs={**_WINDOW, "ceil_mode": flag, "count_include_pad": flag},
    finishes=True,
)


def _adaptive(functions: dict[int, Callable[..., Tensor]]) -> Callable[..., Tensor]:
    def run(node: Node, inputs: Sequence[Any]) -> Tensor:
        size = node.attrs["output_size"]
        return functions[len(size)](inputs[0], size)

    return run


for _name, _functions in (
    ("adaptive_avg_pool", _ADAPTIVE_AVG),
    ("adaptive_max_pool", _ADAPTIVE_MAX),
):
    register(
        _name,
        _adaptive(_functions),
        rules.adaptive_pool,
        does=f"`torch.nn.functional.{_name}1d`, `2d` or `3d`, as `output_size` has numbers",
        attrs={"output_size": integers(1, 2**16)},
        finishes=True,
    )

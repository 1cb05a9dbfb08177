"""Float convolutions and linear layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from bnn.packed.graph.node import Node
from bnn.packed.graph.ops import rules
from bnn.packed.graph.ops.base import AXIS, MOST_PAD, integer, integers, register

_CONV: dict[int, Callable[..., Tensor]] = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}
_TRANSPOSED: dict[int, Callable[..., Tensor]] = {
    3: F.conv_transpose1d,
    4: F.conv_transpose2d,
    5: F.conv_transpose3d,
}


def _conv(node: Node, inputs: Sequence[Any]) -> Tensor:
    weight, a = node.tensors["weight"], node.attrs
    return _CONV[weight.dim()](
        inputs[0],
        weight,
        None,
        a["stride"],
        a["padding"],
        a["dilation"],
        a["groups"],
    )


register(
    "conv",
    _conv,
    rules.conv,
    does="`torch.nn.functional.conv1d`, `conv2d` or `conv3d`, as the weight has axes",
    attrs={
        "stride": integers(1),
        "padding": integers(0, MOST_PAD),
        "dilation": integers(1),
        "groups": integer(1),
    },
    tensors={"weight": None},
    finishes=True,
)


def _conv_transpose(node: Node, inputs: Sequence[Any]) -> Tensor:
    weight, a = node.tensors["weight"], node.attrs
    return _TRANSPOSED[weight.dim()](
        inputs[0],
        weight,
        node.tensors.get("bias"),
        a["stride"],
        a["padding"],
        a["output_padding"],
        a["groups"],
        a["dilation"],
    )


register(
    "conv_transpose",
    _conv_transpose,
    rules.conv_transpose,
    does="`torch.nn.functional.conv_transpose1d`, `2d` or `3d`",
    attrs={
        "stride": integers(1),
        "padding": integers(0, MOST_PAD),
        "output_padding": integers(0),
        "dilation": integers(1),
        "groups": integer(1),
    },
    tensors={"weight": None, "bias": 1},
    optional=("bias",),
)


def _linear(node: Node, inputs: Sequence[Any]) -> Tensor:
    return F.linear(inputs[0], node.tensors["weight"])


register(
    "linear",
    _linear,
    rules.linear,
    does="`x @ weight.T` over the last axis",
    attrs={"axis": AXIS},
    tensors={"weight": 2},
    optional=("axis",),
    finishes=True,
)

"""Operations on each float by itself, on pairs of them, and normalizations."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bnn.ops.sign import sign
from bnn.packed.graph.node import Node
from bnn.packed.graph.ops import rules, view_rules
from bnn.packed.graph.ops.base import AXIS, choice, integer, integers, number, register


def _map(node: Node, inputs: Sequence[Any]) -> Tensor:  # noqa: ARG001
    """Return the input: what "map" does is its epilogue."""
    x: Tensor = inputs[0]
    return x


register(
    "map",
    _map,
    rules.along_axis,
    does="the input, for the sake of the epilogue",
    attrs={"axis": AXIS},
    finishes=True,
)


def _level(node: Node, inputs: Sequence[Any]) -> Tensor:
    levels = node.attrs["levels"]
    v: Tensor = (inputs[0].clamp(0, 1) * levels).round() - levels / 2
    for j in range(node.attrs["plane"]):
        v = v - sign(v) * ((levels + 1) / 2 ** (j + 2))
    return v


register(
    "level",
    _level,
    rules.along_axis,
    does="what is left for the sign of a plane: `v_0 = r - levels / 2`, "
    "`v_j = v_(j-1) - sign(v_(j-1)) * (levels + 1) / 2^(j + 1)`; r is the input, clamped to 0 and "
    "1, times `levels`, rounded to an integer, ties to even",
    attrs={"axis": AXIS, "levels": choice(3, 7, 15, 31, 63, 127, 255), "plane": integer(0, 7)},
    finishes=True,
)

UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "abs": torch.abs,
    "exp": torch.exp,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "log": torch.log,
    "mish": F.mish,
    "neg": torch.neg,
    "relu6": F.relu6,
    "round": torch.round,
    "rsqrt": torch.rsqrt,
    "sigmoid": torch.sigmoid,
    "sign": sign,
    "silu": F.silu,
    "softsign": F.softsign,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "tanh": torch.tanh,
    "zeros_like": torch.zeros_like,
}
BINARY: dict[str, Callable[[Any, Any], Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
}
SCALAR: dict[str, Callable[[Tensor, Any], Tensor]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "rsub": lambda x, value: torch.rsub(x, value),
    "rdiv": lambda x, value: torch.full((), value).to(x) / x,
    "pow": operator.pow,
}


# torch's vectorized code for these rounds other than its code for what is left of a row, so where a
# value lies in memory may change its last bit: they see it in the order of its axes, as in a model.
_ROUNDED = ("exp", "gelu", "gelu_tanh", "log", "mish", "rsqrt", "sigmoid", "silu", "sqrt", "tanh")


def _unary(node: Node, inputs: Sequence[Any]) -> Tensor:
    function, x = node.attrs["function"], inputs[0]
    return UNARY[function](x.contiguous() if function in _ROUNDED else x)


def _binary(node: Node, inputs: Sequence[Any]) -> Tensor:
    return BINARY[node.attrs["function"]](*inputs)


def _scalar(node: Node, inputs: Sequence[Any]) -> Tensor:
    return SCALAR[node.attrs["function"]](inputs[0], node.attrs["value"])


def _constant(node: Node, inputs: Sequence[Any]) -> Tensor:  # noqa: ARG001
    return node.tensors["value"]


def _clamp(node: Node, inputs: Sequence[Any]) -> Tensor:
    clamped: Tensor = inputs[0].clamp(node.attrs.get("min"), node.attrs.get("max"))
    return clamped


def _parametric(node: Node, inputs: Sequence[Any]) -> Tensor:
    a = node.attrs
    if a["function"] == "elu":
        return F.elu(inputs[0], a["value"])
    return F.leaky_relu(inputs[0], a["value"])


def _softmax(node: Node, inputs: Sequence[Any]) -> Tensor:
    function = F.log_softmax if node.attrs["log"] else F.softmax
    return function(inputs[0], node.attrs["dim"])


def _layer_norm(node: Node, inputs: Sequence[Any]) -> Tensor:
    a, t = node.attrs, node.tensors
    return F.layer_norm(inputs[0], a["shape"], t.get("weight"), t.get("bias"), a["eps"])


def _group_norm(node: Node, inputs: Sequence[Any]) -> Tensor:
    a, t = node.attrs, node.tensors
    return F.group_norm(inputs[0], a["groups"], t.get("weight"), t.get("bias"), a["eps"])


register(
    "unary",
    _unary,
    view_rules.same,
    does="a function of each number; `sign` is +1 where x >= 0 or x is NaN",
    attrs={"function": choice(*UNARY)},
)
register(
    "binary",
    _binary,
    view_rules.broadcast,
    does="a function of two tensors, broadcast as torch does",
    attrs={"function": choice(*BINARY)},
    inputs=("float", "float"),
    finishes=True,
)
register(
    "scalar",
    _scalar,
    view_rules.same,
    does="a function of each number and `value`; `rsub` and `rdiv` have `value` first",
    attrs={"function": choice(*SCALAR), "value": number},
)
register(
    "constant",
    _constant,
    view_rules.constant,
    does="the tensor",
    tensors={"value": None},
    inputs=(),
)
register(
    "clamp",
    _clamp,
    view_rules.clamp,
    does="each number, but at least `min` and at most `max`; at least one of them is there",
    attrs={"min": number, "max": number},
    optional=("min", "max"),
)
register(
    "parametric",
    _parametric,
    view_rules.same,
    does="ELU with alpha `value`, or leaky ReLU with slope `value`",
    attrs={"function": choice("elu", "leaky_relu"), "value": number},
)
register(
    "softmax",
    _softmax,
    view_rules.softmax,
    does="softmax along `dim`, or its logarithm",
    attrs={"dim": integer(-8, 8), "log": choice(True, False)},
)
register(
    "layer_norm",
    _layer_norm,
    view_rules.layer_norm,
    does="`torch.nn.functional.layer_norm` over the last axes, which have the sizes `shape`",
    attrs={"shape": integers(1), "eps": number},
    tensors={"weight": None, "bias": None},
    optional=("weight", "bias"),
)
register(
    "group_norm",
    _group_norm,
    view_rules.group_norm,
    does="`torch.nn.functional.group_norm`",
    attrs={"groups": integer(1), "eps": number},
    tensors={"weight": 1, "bias": 1},
    optional=("weight", "bias"),
)

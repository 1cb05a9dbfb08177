"""Sizes as numbers: what ``x.shape`` and arithmetic on it are in a model's code."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from bnn.packed.graph.node import Node
from bnn.packed.graph.ops.base import choice, integer, register

ARITHMETIC = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
}


def _size(node: Node, inputs: Sequence[Any]) -> int:
    return int(inputs[0].shape[node.attrs["dim"]])


def _arithmetic(node: Node, inputs: Sequence[Any]) -> int:
    return int(ARITHMETIC[node.attrs["function"]](*inputs))


def _number(node: Node, inputs: Sequence[Any]) -> int:  # noqa: ARG001
    return int(node.attrs["value"])


register(
    "size", _size, None, does="the size of axis `dim`", attrs={"dim": integer(-8, 8)}, output="int"
)
register(
    "arithmetic",
    _arithmetic,
    None,
    does="a function of two ints, as Python computes it",
    attrs={"function": choice(*ARITHMETIC)},
    inputs=("int", "int"),
    output="int",
)
register(
    "number",
    _number,
    None,
    does="the int",
    attrs={"value": integer(-(2**31))},
    inputs=(),
    output="int",
)

"""The graph while it is being made, and what its values are for the example."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bnn.packed.graph import OPERATIONS, Graph, Node, ValueRef, check_node, compute

_FIXES_CHANNELS = ("binary_conv", "conv", "conv_transpose", "linear", "weight_only_conv")
_KEEPS_SHAPE = (
    *("map", "unary", "parametric", "clamp", "scalar", "layer_norm", "group_norm", "softmax"),
)


@dataclass(frozen=True)
class Size:
    """A value of the graph that is an int."""

    value: int


class Untranslated(Exception):  # noqa: N818 - not an error: the node is run as it was
    """A module, function or argument for which there is no operation."""


class Builder:
    """Adds nodes to a graph.

    Attributes:
        graph: What has been made so far.
        example: Value -> a meta tensor of the shape that it has for the example, or an int.
        layer: The name of the module that is being translated.
    """

    def __init__(self) -> None:
        self.graph = Graph([], [], None, 0)
        self.example: dict[int, Any] = {}
        self.layer = ""
        self._used: dict[str, int] = {}
        self._constants: dict[int, Node] = {}
        self._foreign: set[int] = set()  # values of Python code that no operation takes

    def add_input(self, example: Tensor) -> ValueRef:
        """Add an input of the network."""
        value = self.graph.new_value()
        self.graph.inputs.append(value)
        self.example[value] = torch.empty(example.shape, device="meta")
        return ValueRef(value)

    def emit(
        self,
        op: str,
        inputs: Sequence[ValueRef | Size],
        tensors: dict[str, Tensor | None] | None = None,
        **attrs: Any,
    ) -> ValueRef:
        """Add a node and return its output."""
        for x in inputs:
            if isinstance(x, ValueRef):
                self.check_floats(x)
        given = {name: _own(value) for name, value in (tensors or {}).items() if value is not None}
        value = self.graph.new_value()
        numbers = [reference.value for reference in inputs]
        node = Node(op, numbers, [value], attrs, given, self._name(op))
        on_meta = Node(op, numbers, [value], attrs, _on_meta(given), node.name)
        try:
            check_node(node)
            (self.example[value],) = compute(on_meta, [self.example[n] for n in numbers])
        except Exception as error:  # the model itself has run: only the translation can be wrong
            raise Untranslated(str(error)) from error
        floats = OPERATIONS[op].output == "float"
        if numbers and floats and all(number in self._constants for number in numbers):
            # What follows from the network's numbers alone is computed once, now.
            (folded,) = compute(node, [self._constants[n].tensors["value"] for n in numbers])
            return self.emit("constant", [], {"value": folded})
        self.graph.nodes.append(node)
        if op == "constant":
            self._constants[value] = node
        return ValueRef(value)

    def emit_int(self, op: str, inputs: Sequence[ValueRef | Size], **attrs: Any) -> Size:
        """Add a node whose output is an int, and return it."""
        return Size(self.emit(op, inputs, **attrs).value)

    def emit_opaque(
        self, call: Callable[..., Any], inputs: Sequence[int], example: Any, name: str
    ) -> ValueRef:
        """Add a node that runs Python code."""
        value = self.graph.new_value()
        self.graph.nodes.append(Node("opaque", list(inputs), [value], name=name, call=call))
        self.example[value] = example
        if not isinstance(example, Tensor) or example.dtype != torch.float32:
            self._foreign.add(value)
        return ValueRef(value)

    def check_floats(self, x: ValueRef) -> None:
        """Raise Untranslated if a value is no float32 tensor, and no bits."""
        if x.value in self._foreign:
            raise Untranslated("what Python code gives is no float32 tensor")

    def channel_axis(self, x: ValueRef) -> int | None:
        """Return the axis whose length a layer's weight fixes, for every input; None if unknown."""
        producers = self.graph.producers()
        node = producers.get(x.value)
        while node is not None and node.op in _KEEPS_SHAPE:
            node = producers.get(node.inputs[0])
        if node is None or "weight" not in node.tensors or node.op not in _FIXES_CHANNELS:
            return None
        linear = node.tensors["weight"].dim() == 2
        return self.rank(x) - 1 if linear else 1

    def constant(self, x: ValueRef) -> Tensor | None:
        """Return a value's tensor if it is the same for every input."""
        node = self._constants.get(x.value)
        return None if node is None else node.tensors["value"]

    def shape(self, x: ValueRef) -> tuple[int, ...]:
        """Return a value's shape for the example."""
        return tuple(self.example[x.value].shape)

    def rank(self, x: ValueRef) -> int:
        """Return a value's number of axes."""
        return len(self.shape(x))

    def _name(self, op: str) -> str:
        """Return a name that no other node has: the layer's, then with a number."""
        base = self.layer or op
        count = self._used.get(base, 0)
        self._used[base] = count + 1
        return base if count == 0 else f"{base}#{count}"


def _own(tensor: Tensor) -> Tensor:
    """Return a copy that shares nothing with the model; words do not, and nodes may share them."""
    if tensor.dtype == torch.int64:
        return tensor
    return tensor.detach().clone(memory_format=torch.contiguous_format)


def _on_meta(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.to("meta") for name, tensor in tensors.items()}

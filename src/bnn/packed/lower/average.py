"""Averages over an image, taken before what is linear rather than behind it.

A gate averages what a batch norm or a mixture of two images has computed for nothing else. The
average of such a map is the map of the averages: of 1 pixel in the place of all. An average's sum
has no defined order of rounding, so nothing exact is lost.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from bnn.packed.graph import Graph, Node
from bnn.packed.graph.ops.base import is_average

_LINEAR = {"scale", "bias", "post_scale", "affine_scale", "affine_shift"}
Examples = Sequence[Mapping[int, Any]]


def average_first(graph: Graph, examples: Examples) -> list[dict[int, Any]]:
    """Move averages before linear maps whose inputs are in memory anyway.

    Args:
        graph: Is changed.
        examples: For some inputs: value -> what has its shape.

    Returns:
        The examples, with the new values' shapes.
    """
    moving = _Moving(graph, [dict(example) for example in examples])
    for node in [node for node in graph.nodes if is_average(node)]:
        if moving.is_linear(node.inputs[0], node):
            graph.replace_value(node.outputs[0], moving.average(node.inputs[0], node))
            graph.nodes.remove(node)
    return moving.examples


@dataclasses.dataclass
class _Moving:
    graph: Graph
    examples: list[dict[int, Any]]
    pooled: dict[tuple[int, str, str], int] = dataclasses.field(default_factory=dict)

    def is_linear(self, value: int, reader: Node) -> bool:
        """Say whether a value is a linear map that is computed for ``reader`` alone.

        Packs may read it too: they take a map over.
        """
        node = self.graph.producers().get(value)
        if node is None or value in set(self.graph.output_values()):
            return False
        readers = [other for other in self.graph.consumers()[value] if other is not reader]
        if any(not (other.op == "pack" and is_average(reader)) for other in readers):
            return False
        return self._maps(node) and all(self._is_there(x, node) for x in node.inputs)

    def _is_there(self, value: int, reader: Node) -> bool:
        """Say whether a value is written for others too, or is a linear map of such ones."""
        others = [node for node in self.graph.consumers()[value] if node is not reader]
        return bool(others) or self.is_linear(value, reader)

    def _maps(self, node: Node) -> bool:
        if node.op == "binary":
            a, b = node.inputs
            alike = all(example[a].shape == example[b].shape for example in self.examples)
            return node.attrs["function"] == "add" and alike
        if node.op != "map" or node.attrs["axis"] != 1 or node.output != "float":
            return False
        return not set(node.epilogue.given()) - _LINEAR

    def average(self, value: int, pool: Node) -> int:
        """Return the average of a value for which ``is_linear`` holds: its map of averages."""
        node = self.graph.producers()[value]
        inputs = []
        for x in node.inputs:
            others = any(other is not node for other in self.graph.consumers()[x])
            inputs.append(self._pooled(x, pool) if others else self.average(x, pool))
        attrs, tensors = dict(node.attrs), dict(node.tensors)
        return self._insert(Node(node.op, inputs, [], attrs, tensors, node.name), pool)

    def _pooled(self, value: int, pool: Node) -> int:
        key = value, pool.op, str(pool.attrs)
        if key not in self.pooled:
            new = Node(pool.op, [value], [], dict(pool.attrs), {}, pool.name)
            self.pooled[key] = self._insert(new, pool)
        return self.pooled[key]

    def _insert(self, new: Node, pool: Node) -> int:
        found = self.graph.new_value()
        new.outputs, new.name = [found], f"{pool.name}#average{found}"
        self.graph.nodes.insert(self.graph.nodes.index(pool), new)
        for example in self.examples:
            shape = tuple(example[pool.outputs[0]].shape)
            example[found] = torch.empty(shape, device="meta")
        return found

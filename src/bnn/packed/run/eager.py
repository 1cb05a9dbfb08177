"""A graph run node by node in plain torch: on any device, with any part of the model in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from bnn.packed.graph import Graph, Node, compute
from bnn.packed.graph.node import map_structure

Watch = Callable[[Node, Sequence[Any], Sequence[Any]], None]


def run_eagerly(graph: Graph, inputs: Sequence[Tensor], watch: Watch | None = None) -> Any:
    """Return the network's output.

    Args:
        graph: The graph.
        inputs: Its inputs, where its tensors are.
        watch: Called with each node, its inputs and its outputs.
    """
    last = {value: i for i, node in enumerate(graph.nodes) for value in node.inputs}
    kept = set(graph.output_values())
    known: dict[int, Any] = dict(zip(graph.inputs, inputs, strict=True))
    for i, node in enumerate(graph.nodes):
        given = [known[value] for value in node.inputs]
        if node.call is not None:  # it may change what it is given
            given = [x.clone() if isinstance(x, Tensor) else x for x in given]
        outputs = compute(node, given)
        known.update(zip(node.outputs, outputs, strict=True))
        if watch is not None:
            watch(node, given, outputs)
        for value in {*node.inputs, *node.outputs}:
            if last.get(value, i) == i and value not in kept:
                known.pop(value, None)
    return map_structure(graph.output, lambda ref: known[ref.value])

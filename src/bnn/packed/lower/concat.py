"""Concatenations of concatenations, of which densely connected networks are made."""

from __future__ import annotations

from bnn.packed.graph import Graph, Node
from bnn.packed.graph.ops.base import has_steps


def join_once(graph: Graph) -> None:
    """Let a concatenation of another one read what that one reads.

    A block that adds channels to all earlier ones reads all of them, for their bits, and would
    write them all again for the next block to do the same. So floats stay where they were computed,
    and lie side by side only where something else than a concatenation reads them.
    """
    for node in [node for node in graph.nodes if node.op == "concat"]:
        if node.output == "bits" or has_steps(node.epilogue) or node.attrs.get("residual_at"):
            continue
        value = node.outputs[0]
        readers = graph.consumers().get(value, [])
        if value in set(graph.output_values()) or not readers:
            continue
        if not all(_joins(reader, node, value) for reader in readers):
            continue
        for reader in readers:
            while value in reader.inputs:
                at = reader.inputs.index(value)
                reader.inputs[at : at + 1] = node.inputs
        if node.output == "float":
            graph.nodes.remove(node)
        else:
            node.attrs["output"] = "bits"
            node.outputs = node.outputs[1:]


def _joins(reader: Node, node: Node, value: int) -> bool:
    """Say whether a node joins a value to others, on the axis on which ``node`` has made it."""
    if reader.op != "concat" or reader.attrs["axis"] != node.attrs["axis"]:
        return False
    return not (reader.attrs.get("residual_at") and reader.inputs[-1] == value)

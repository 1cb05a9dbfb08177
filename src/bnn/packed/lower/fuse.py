"""Fold what stands behind an operation into its epilogue, and signs into bits.

Behind a binary layer every rewriting computes the same numbers: a step moves into a kernel, and
stays the same float32 operation. A max pooling may change places with a sign: that is exact too,
since a sign after a scale that is not negative never falls where its input rises. Float layers take
a batch norm into their weight, which rounds otherwise, as their sums do on every other machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bnn.packed.epilogue import Epilogue
from bnn.packed.graph import OPERATIONS, Graph, Node
from bnn.packed.graph.ops.base import has_steps
from bnn.packed.lower.average import average_first
from bnn.packed.lower.concat import join_once


def fuse(graph: Graph, examples: Sequence[Mapping[int, Any]]) -> None:
    """Rewrite a graph in place until nothing more can be folded.

    Args:
        graph: As :func:`bnn.packed.lower.trace` gives it.
        examples: For some inputs, which should be of several sizes: value -> what has its shape.
    """
    drop_dead(graph)
    _merge_copies(graph)
    examples = average_first(graph, examples)
    drop_dead(graph)
    _signs_of_hardtanh(graph)
    _thresholds(graph)
    _pool_bits(graph)
    _merge_copies(graph)
    _fold_norms(graph)
    # Binary convolutions first: an addition that two producers could take goes to them.
    for kind in ("binary_conv", ""):
        for node in list(graph.nodes):
            if node.op == kind or (not kind and _finishes(graph, node)):
                while _absorb(graph, node, examples):
                    pass
    _bits_from_producers(graph)
    join_once(graph)
    drop_dead(graph)


def _finishes(graph: Graph, node: Node) -> bool:
    """Say whether a node may take steps.

    Of the functions of two values only a product of two that depend on the input: an addition is a
    step itself, and what does not depend on the input a plan computes once.
    """
    if node.op == "binary":
        producers = graph.producers()
        fixed = any(
            value in producers and producers[value].op == "constant" for value in node.inputs
        )
        return node.attrs["function"] == "mul" and not fixed
    return node.op in OPERATIONS and OPERATIONS[node.op].finishes


def drop_dead(graph: Graph) -> None:
    """Remove nodes whose outputs nobody reads."""
    live = set(graph.output_values())
    kept = []
    for node in reversed(graph.nodes):
        if live.intersection(node.outputs):
            live.update(node.inputs)
            kept.append(node)
    graph.nodes = kept[::-1]


def _only_reader(graph: Graph, value: int) -> Node | None:
    """Return the one node that reads a value, and reads it once."""
    if value in set(graph.output_values()):
        return None
    readers = graph.consumers().get(value, [])
    return readers[0] if len(readers) == 1 else None


def _same_tensors(a: Node, b: Node) -> bool:
    return a.tensors.keys() == b.tensors.keys() and all(
        torch.equal(a.tensors[name], b.tensors[name]) for name in a.tensors
    )


def _merge_copies(graph: Graph) -> None:
    """Keep one of several packs of the same value by the same thresholds."""
    seen: dict[tuple[int, int], list[Node]] = {}
    for node in list(graph.nodes):
        if node.op != "pack":
            continue
        others = seen.setdefault((node.inputs[0], node.attrs["axis"]), [])
        twin = next((other for other in others if _same_tensors(node, other)), None)
        if twin is None:
            others.append(node)
        else:
            graph.replace_value(node.outputs[0], twin.outputs[0])
            graph.nodes.remove(node)


def _signs_of_hardtanh(graph: Graph) -> None:
    """Let a pack skip a hardtanh, which changes no sign."""
    producers = graph.producers()
    for pack in [node for node in graph.nodes if node.op == "pack" and not node.tensors]:
        before = producers.get(pack.inputs[0])
        if (
            before is not None
            and before.op == "map"
            and before.epilogue.given() == {"second_activation": "hardtanh"}
        ):
            pack.inputs = list(before.inputs)
    drop_dead(graph)


def _thresholds(graph: Graph) -> None:
    """Let a pack take over the scale and shift of each channel before it.

    Where others read the scaled value too, they keep their own copy of the operation.
    """
    producers = graph.producers()
    for pack in [node for node in graph.nodes if node.op == "pack"]:
        before = producers.get(pack.inputs[0])
        if before is None or before.op != "map" or pack.tensors:
            continue
        e = before.epilogue
        if before.attrs["axis"] != pack.attrs["axis"] or set(e.given()) - {
            "affine_scale",
            "affine_shift",
        }:
            continue
        readers = graph.consumers()[pack.inputs[0]]
        if any(reader.op != "pack" for reader in readers):
            continue  # the producer's epilogue can give floats and bits at once
        pack.inputs = list(before.inputs)
        pack.tensors = {
            name: value
            for name, value in (("scale", e.affine_scale), ("shift", e.affine_shift))
            if value is not None
        }
    drop_dead(graph)


def _pool_bits(graph: Graph) -> None:
    """Pool bits instead of floats where only signs are read behind the pooling."""
    for pool in [node for node in graph.nodes if node.op == "max_pool"]:
        if len(pool.attrs["kernel_size"]) != 2 or has_steps(pool.epilogue):
            continue
        value = pool.outputs[0]
        readers = graph.consumers().get(value, [])
        if len(readers) != 1 or value in set(graph.output_values()):
            continue
        (pack,) = readers
        scale = pack.tensors.get("scale")
        if pack.op != "pack" or pack.attrs["axis"] != 1:
            continue
        if scale is not None and not bool((scale >= 0).all()):
            continue
        channels = _channels(graph, pack)
        if channels is None:
            continue
        at = graph.nodes.index(pool)
        bits = graph.new_value()
        first = Node("pack", list(pool.inputs), [bits], dict(pack.attrs), pack.tensors, pack.name)
        attrs = {**pool.attrs, "in_channels": channels}
        second = Node("binary_max_pool2d", [bits], list(pack.outputs), attrs, {}, pool.name)
        graph.nodes[at : at + 1] = [first, second]
        graph.nodes.remove(pack)


def _fold_norms(graph: Graph) -> None:
    """Multiply a batch norm into the weight of the float layer before it.

    The layer's sum has no defined order of rounding, so nothing exact is lost; and a bias and a
    ReLU are what the float kernels do while the sum is in registers.
    """
    for node in [node for node in graph.nodes if node.op in ("conv", "linear")]:
        norm = _only_reader(graph, node.outputs[0])
        if norm is None or norm.op != "map" or norm.inputs[0] != node.outputs[0]:
            continue
        e = norm.epilogue
        if e.affine_scale is None or set(e.given()) - {"affine_scale", "affine_shift"}:
            continue
        if set(node.epilogue.given()) - {"bias"} or node.attrs.get("axis", 1) != norm.attrs["axis"]:
            continue
        weight = node.tensors["weight"]
        scale = e.affine_scale.double()
        bias = scale.new_zeros(()) if e.affine_shift is None else e.affine_shift.double()
        if "bias" in node.tensors:
            bias = bias + node.tensors["bias"].double() * scale
        node.tensors["weight"] = (weight * scale.view(-1, *[1] * (weight.dim() - 1))).float()
        node.tensors["bias"] = bias.float().expand(len(weight)).contiguous()
        node.outputs = list(norm.outputs)
        graph.nodes.remove(norm)


def _channels(graph: Graph, pack: Node) -> int | None:
    """Return the channels of a pack's bits, which one of its readers knows."""
    readers = graph.consumers()[pack.outputs[0]]
    return next((int(r.attrs["in_channels"]) for r in readers if "in_channels" in r.attrs), None)


# --- epilogues --------------------------------------------------------------------------------

# The epilogue's places, in order; a step may go to one behind all that are taken.
_PLACES = (
    ("scale",),
    ("bias",),
    ("post_scale",),
    ("first_activation", "first_slope"),
    ("affine_scale", "affine_shift"),
    ("before_activation",),
    ("second_shift_in",),
    ("second_activation", "second_slope"),
    ("second_shift_out",),
    ("after_activation",),
)
# Which places a step fits into. Scale and shift together, a batch norm, are rounded once: they fit
# only where the epilogue does that too.
_ROOM: dict[str, tuple[int, ...]] = {
    "affine": (4,),
    "scale": (0, 2, 4),
    "shift": (1, 4, 6, 8),
    "activation": (3, 7),
    "residual": (5, 9),
}


def _next_place(epilogue: Epilogue) -> int:
    """Return the first place behind all that are taken."""
    taken = set(epilogue.given()) | ({epilogue.residual_at} if epilogue.residual_at else set())
    used = [i for i, names in enumerate(_PLACES) if taken.intersection(names)]
    return max(used, default=-1) + 1


def _absorb(graph: Graph, node: Node, examples: Sequence[Mapping[int, Any]]) -> bool:
    """Move the one reader of a node's output into its epilogue; say whether that was done."""
    if node not in graph.nodes or node.output != "float":
        return False
    reader = _only_reader(graph, node.outputs[0])
    if reader is None or reader.op not in ("map", "binary"):
        return False
    axis = node.attrs.get("axis", 1)
    if reader.op == "binary":
        if has_steps(reader.epilogue):
            return False
        a, b = reader.inputs
        alike = all(example[a].shape == example[b].shape for example in examples)
        return alike and _absorb_addition(graph, node, reader)
    if reader.attrs["axis"] != axis or reader.output != "float":
        return False
    if reader.inputs[0] != node.outputs[0]:
        return False  # it is the other's residual
    merged = _append(node.epilogue, reader.epilogue)
    if merged is None:  # there may be room where its own steps go as far to the front as they can
        front = _append(Epilogue(), node.epilogue)
        merged = None if front is None else _append(front, reader.epilogue)
    if merged is None:
        return False
    residual = [reader.inputs[-1]] if reader.attrs.get("residual_at") else []
    if residual:
        _move_behind(graph, node, reader)
    node.epilogue = merged
    node.inputs = [*node.inputs, *residual]
    node.outputs = list(reader.outputs)
    graph.nodes.remove(reader)
    return True


def _absorb_addition(graph: Graph, node: Node, addition: Node) -> bool:
    if addition.attrs["function"] != "add" or node.attrs.get("residual_at"):
        return False
    at = _place(node.epilogue, "residual")
    if at is None:
        return False
    own = addition.inputs.index(node.outputs[0])
    _move_behind(graph, node, addition)
    node.epilogue = replace(node.epilogue, residual_at=_PLACES[at][0])  # type: ignore[arg-type]
    node.inputs = [*node.inputs, addition.inputs[1 - own]]
    node.outputs = list(addition.outputs)
    graph.nodes.remove(addition)
    return True


def _move_behind(graph: Graph, node: Node, later: Node) -> None:
    """Let a node run just before ``later``, its only reader: what that reads is there by then."""
    graph.nodes.remove(node)
    graph.nodes.insert(graph.nodes.index(later), node)


def _place(epilogue: Epilogue, step: str, least: int = 0) -> int | None:
    """Return the first place that a step fits into, or None."""
    least = max(least, _next_place(epilogue))
    return next((place for place in _ROOM[step] if place >= least), None)


def _append(first: Epilogue, then: Epilogue) -> Epilogue | None:
    """Return one epilogue for two in a row, or None where there is no room."""
    fields: dict[str, Any] = first.given()
    least = 0
    for kind, operands in _steps(then):
        place = _place(first, kind, least)
        if place is None:
            return None
        names = _PLACES[place]
        if kind == "residual":
            fields["residual_at"] = names[0]
        elif kind == "shift":
            fields[names[-1]] = operands[0]
        else:
            fields.update(zip(names, operands, strict=False))
        least = place + 1
    return Epilogue(**fields)


def _steps(e: Epilogue) -> list[tuple[str, tuple[Any, ...]]]:
    """Return an epilogue's steps in order: a kind, and its operands."""
    found: list[tuple[str, tuple[Any, ...]]] = []

    def add(kind: str, *operands: Any) -> None:
        if operands[0] is not None:
            found.append((kind, operands))

    def activation(name: str | None, slope: Tensor | None) -> None:
        add("activation", *((name,) if slope is None else (name, slope)))

    add("scale", e.scale)
    add("shift", e.bias)
    add("scale", e.post_scale)
    activation(e.first_activation, e.first_slope)
    if e.affine_scale is not None and e.affine_shift is not None:
        add("affine", e.affine_scale, e.affine_shift)
    else:
        add("scale", e.affine_scale)
        add("shift", e.affine_shift)
    if e.residual_at == "before_activation":
        add("residual", e.residual_at)
    add("shift", e.second_shift_in)
    activation(e.second_activation, e.second_slope)
    add("shift", e.second_shift_out)
    if e.residual_at == "after_activation":
        add("residual", e.residual_at)
    return found


def _bits_from_producers(graph: Graph) -> None:
    """Let the operation that computes a value give its bits too; packs that are left stay."""
    producers = graph.producers()
    for pack in [node for node in graph.nodes if node.op == "pack"]:
        node = producers.get(pack.inputs[0])
        if node is None or not _finishes(graph, node) or node.output != "float":
            continue
        if node.attrs.get("axis", 1) != pack.attrs["axis"]:
            continue
        node.epilogue = replace(
            node.epilogue, bit_scale=pack.tensors.get("scale"), bit_shift=pack.tensors.get("shift")
        )
        graph.nodes.remove(pack)
        value = node.outputs[0]
        if graph.consumers().get(value) or value in set(graph.output_values()):
            node.attrs["output"] = "float_and_bits"
            node.outputs = [value, pack.outputs[0]]
        else:
            node.attrs["output"] = "bits"
            node.outputs = list(pack.outputs)

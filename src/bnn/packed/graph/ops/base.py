"""What an operation is, the table of them all, and the checks that a file's graph must pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from bnn.errors import PackedError
from bnn.packed import layout, ops
from bnn.packed.epilogue import FIELDS, TENSORS, Epilogue
from bnn.packed.graph.node import Graph, Node
from bnn.packed.graph.ops import rules
from bnn.registry import Registry

Kind = Literal["float", "bits", "int"]
Check = Callable[[Any], bool]

MOST_ELEMENTS = 2**33
"""Of one value. More is a mistake, or a file that was made to exhaust the memory."""


@dataclass(frozen=True)
class Operation:
    """One entry of the list.

    Attributes:
        name: As in the graph.
        run: (node, inputs without the residual) -> the result. It computes in plain torch, on any
            device.
        shape: (node, shapes of the inputs without the residual) -> the shape of the result before
            the epilogue; None for an operation on ints. It refuses what does not fit.
        does: What the result is, in words, for the format's specification.
        attrs: Name -> (what is allowed, in words; the test). All must be there.
        tensors: Names of tensors -> number of axes (None: any).
        words: Names of the tensors that hold bits.
        optional: Attributes and tensors that may be absent.
        inputs: Kinds of the inputs; ``many``: the last one any number of times from 1.
        many: See ``inputs``.
        output: Kind of the output.
        finishes: Whether an epilogue, a residual and bits may follow.
    """

    name: str
    run: Callable[[Node, Sequence[Any]], Any]
    shape: Callable[[Node, Sequence[Any]], rules.Shape] | None = None
    does: str = ""
    attrs: Mapping[str, tuple[str, Check]] = field(default_factory=dict)
    tensors: Mapping[str, int | None] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    optional: frozenset[str] = frozenset()
    inputs: tuple[Kind, ...] = ("float",)
    many: bool = False
    output: Kind = "float"
    finishes: bool = False


OPERATIONS: Registry[Operation] = Registry("operation")


def register(
    name: str,
    run: Callable[[Node, Sequence[Any]], Any],
    shape: Callable[[Node, Sequence[Any]], rules.Shape] | None,
    **rest: Any,
) -> None:
    """Add an operation to the list."""
    optional = frozenset(rest.pop("optional", ()))
    OPERATIONS.register(name)(Operation(name, run, shape, optional=optional, **rest))


# --- what attributes may be -------------------------------------------------------------------


def integer(least: int, most: int = 2**31 - 1) -> tuple[str, Check]:
    """Return the test of an int."""

    def test(value: Any) -> bool:
        return type(value) is int and least <= value <= most

    return f"an int from {least} to {most}", test


def integers(least: int, most: int = 2**31 - 1, count: int | None = None) -> tuple[str, Check]:
    """Return the test of a list of ints."""
    words, one = integer(least, most)

    def test(value: Any) -> bool:
        return (
            isinstance(value, list)
            and (len(value) == count if count else len(value) <= 16)
            and all(one(item) for item in value)
        )

    return f"a list of {count or 'up to 16'}, each {words}", test


def choice(*allowed: Any) -> tuple[str, Check]:
    """Return the test of one of a few values."""

    def test(value: Any) -> bool:
        return any(type(value) is type(one) and value == one for one in allowed)

    return "one of " + ", ".join(map(repr, allowed)), test


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= LARGEST_FLOAT


LARGEST_FLOAT = torch.finfo(torch.float32).max
number: tuple[str, Check] = ("a number that float32 holds", _is_number)
flag: tuple[str, Check] = ("true or false", lambda value: type(value) is bool)

_FINISH_ATTRS = {
    **{
        name: choice("relu", "prelu", "hardtanh")
        for name in ("first_activation", "second_activation")
    },
    "residual_at": choice("before_activation", "after_activation"),
    "output": choice("float", "bits", "float_and_bits"),
}
AXIS = choice(1, -1)
MOST_PAD = 2**16


def check_node(node: Node) -> None:
    """Raise PackedError if a node is not one of the list, or has not what it must have."""
    where = f"node {node.name or node.op!r}"
    if node.op not in OPERATIONS:
        known = ", ".join(OPERATIONS)
        raise PackedError(f"{where}: there is no operation {node.op!r}. Known: {known}.")
    op = OPERATIONS[node.op]
    where = f"node {node.name!r} ({node.op})"
    allowed = {**op.attrs, **(_FINISH_ATTRS if op.finishes else {})}
    for name, value in node.attrs.items():
        if name not in allowed:
            raise PackedError(
                f"{where}: unknown attribute {name!r}; allowed: {', '.join(allowed)}."
            )
        words, test = allowed[name]
        if not test(value):
            raise PackedError(f"{where}: {name} is {value!r}; it must be {words}.")
    vectors = TENSORS if op.finishes else ()
    for name in node.tensors:
        if name not in op.tensors and name not in vectors:
            raise PackedError(f"{where}: unknown tensor {name!r}.")
    for name in (*op.attrs, *op.tensors):
        if name not in op.optional and name not in node.attrs and name not in node.tensors:
            raise PackedError(f"{where}: {name} is missing.")
    for name, tensor in node.tensors.items():
        axes = op.tensors.get(name, 1)
        dtype = torch.int64 if name in op.words else torch.float32
        if tensor.dtype != dtype or (axes is not None and tensor.dim() != axes):
            raise PackedError(
                f"{where}: tensor {name} is {tensor.dtype} of shape {tuple(tensor.shape)}; it must "
                f"be {dtype}" + ("." if axes is None else f" with {axes} axes.")
            )
    _check_arity(node, op, where)
    _ = node.epilogue  # it checks itself


def _check_arity(node: Node, op: Operation, where: str) -> None:
    residual = 1 if node.attrs.get("residual_at") else 0
    least = len(op.inputs) + residual
    given = len(node.inputs)
    if given < least or (given > least and not op.many):
        raise PackedError(f"{where}: it has {given} inputs, and must have {least}.")
    outputs = 2 if node.output == "float_and_bits" else 1
    if len(node.outputs) != outputs:
        raise PackedError(f"{where}: it has {len(node.outputs)} outputs, and must have {outputs}.")


def input_kinds(node: Node) -> list[Kind]:
    """Return what each input of a node must be."""
    op = OPERATIONS[node.op]
    residual: list[Kind] = ["float"] if node.attrs.get("residual_at") else []
    own = len(node.inputs) - len(residual)
    kinds = list(op.inputs)
    return kinds + kinds[-1:] * (own - len(kinds)) + residual


def output_kinds(node: Node) -> list[Kind]:
    """Return what each output of a node is."""
    op = OPERATIONS[node.op]
    if not op.finishes:
        return [op.output]
    return {"float": ["float"], "bits": ["bits"], "float_and_bits": ["float", "bits"]}[node.output]  # type: ignore[return-value]


# --- running ----------------------------------------------------------------------------------


def compute(node: Node, inputs: Sequence[Any]) -> list[Any]:
    """Return a node's outputs, by plain torch and the operators ``torch.ops.bnn``."""
    if node.call is not None:
        return [node.call(*inputs)]
    op = OPERATIONS[node.op]
    if not op.finishes:
        return [op.run(node, inputs)]
    residual = None
    if node.attrs.get("residual_at"):
        *inputs, residual = inputs
    if node.op == "binary_conv":  # the operator has all of the epilogue
        return list(op.run(node, [*inputs, residual]))
    return finish(node, op.run(node, inputs), residual)


def finish(node: Node, v: Tensor, residual: Tensor | None) -> list[Tensor]:
    """Return floats, bits or both, after the node's epilogue."""
    axis = node.attrs.get("axis", 1)
    epilogue = node.epilogue
    if has_steps(epilogue):
        last = v.movedim(axis, -1)
        if residual is not None:
            if residual.shape != v.shape:
                raise PackedError(
                    f"node {node.name!r} adds {tuple(residual.shape)} to {tuple(v.shape)}."
                )
            residual = residual.movedim(axis, -1)
        v = layout.finish(last, epilogue, residual).movedim(-1, axis)
    outputs = [v] if node.output != "bits" else []
    if node.output != "float":
        outputs.append(to_bits(v, axis, epilogue.bit_scale, epilogue.bit_shift))
    return outputs


def has_steps(epilogue: Epilogue) -> bool:
    """Say whether there is a step before the bits."""
    return any(name not in ("bit_scale", "bit_shift") for name in epilogue.given())


def is_average(node: Node) -> bool:
    """Say whether a node gives the mean of each channel of an image, and nothing else."""
    a = node.attrs
    if node.output != "float" or node.epilogue.given():
        return False
    if node.op == "adaptive_avg_pool":
        return set(a["output_size"]) == {1}
    return node.op == "reduce" and a["function"] == "mean" and a["dims"] in ([2, 3], [-2, -1])


def to_bits(x: Tensor, axis: int, scale: Tensor | None, shift: Tensor | None) -> Tensor:
    """Return the bits of ``x * scale + shift < 0`` along an axis, which becomes the last one."""
    if axis == -1 and x.dim() != 2:
        bits: Tensor = ops.pack(x.reshape(-1, x.shape[-1]), scale, shift)
        return bits.view(*x.shape[:-1], bits.shape[-1])
    packed: Tensor = ops.pack(x, scale, shift)
    return packed


def check_graph(
    graph: Graph, shapes: Sequence[Sequence[int]], opaque: Mapping[int, Any] | None = None
) -> dict[int, Any]:
    """Check every node, and what passes between them, for inputs of these shapes.

    Args:
        graph: The graph.
        shapes: Of its inputs.
        opaque: Value -> what an opaque node gives, as a meta tensor if it is a tensor. An opaque
            node whose output is not here is an error.

    Returns:
        Value -> its shape as a meta tensor, or the int that it is.

    Raises:
        PackedError: If a node is wrong, reads what is not there, or does not fit its input.
    """
    if len(shapes) != len(graph.inputs):
        raise PackedError(f"the network takes {len(graph.inputs)} inputs, not {len(shapes)}.")
    known: dict[int, Any] = {}
    kinds: dict[int, Kind] = {}
    channels: dict[int, int] = {}  # of bits, which do not show it
    for value, shape in zip(graph.inputs, shapes, strict=True):
        known[value] = torch.empty(tuple(shape), device="meta")
        kinds[value] = "float"
    if len(known) != len(graph.inputs):
        raise PackedError("two inputs of the network have the same number.")
    for node in graph.nodes:
        if node.op == "opaque" and opaque is not None:
            known[node.outputs[0]] = opaque[node.outputs[0]]
            kinds[node.outputs[0]] = "float"
            continue
        check_node(node)
        _check_inputs(node, kinds, channels)
        outputs, count = _infer(node, [known[value] for value in node.inputs])
        for value, kind, found in zip(node.outputs, output_kinds(node), outputs, strict=True):
            if value in known:
                raise PackedError(f"node {node.name!r} writes value {value} a second time.")
            known[value], kinds[value] = found, kind
            if kind == "bits":
                channels[value] = count
    for value in graph.output_values():
        if kinds.get(value) != "float":
            raise PackedError(f"the network returns value {value}, which is no tensor of floats.")
    return known


def _check_inputs(node: Node, kinds: Mapping[int, Kind], channels: Mapping[int, int]) -> None:
    for value, kind in zip(node.inputs, input_kinds(node), strict=True):
        if value not in kinds:
            raise PackedError(
                f"node {node.name!r} ({node.op}) reads value {value}, which no earlier node writes."
            )
        if kinds[value] != kind:
            raise PackedError(
                f"node {node.name!r} ({node.op}) reads value {value} as {kind}; it is "
                f"{kinds[value]}."
            )
    if OPERATIONS[node.op].inputs == ("bits",):
        given = channels[node.inputs[0]]
        if given != node.attrs["in_channels"]:
            raise PackedError(
                f"node {node.name!r} ({node.op}) reads {given} channels; it has "
                f"{node.attrs['in_channels']}."
            )


def _infer(node: Node, inputs: Sequence[Any]) -> tuple[list[Any], int]:
    """Return a node's outputs, as meta tensors or ints, and the channels of its bits."""
    op = OPERATIONS[node.op]
    given = [tuple(x.shape) if isinstance(x, Tensor) else x for x in inputs]
    try:
        if op.shape is None:
            return [_small(op.run(node, inputs))], 0
        residual = given.pop() if node.attrs.get("residual_at") else None
        shape = op.shape(node, given)
        if not op.finishes:
            return [_meta(shape, op.output)], _channels(node, given)
        axis = _check_epilogue(node, shape, residual)
        outputs = [_meta(shape, "float")] if node.output != "bits" else []
        if node.output != "float":
            outputs.append(_meta(rules.bits_of(shape, axis), "bits"))
        return outputs, shape[axis]
    except (PackedError, ArithmeticError, LookupError) as error:
        shapes = ", ".join(map(str, given))
        raise PackedError(
            f"node {node.name!r} ({node.op}) does not fit an input of {shapes}: {error}"
        ) from error


def _small(value: int) -> int:
    if abs(value) >= 2**63:
        raise PackedError("the number that it gives is too large.")
    return value


def _meta(shape: Sequence[int], kind: Kind) -> Tensor:
    if math.prod(shape) > MOST_ELEMENTS:
        raise PackedError(f"it would give {math.prod(shape):,} numbers.")
    dtype = torch.int64 if kind == "bits" else torch.float32
    return torch.empty(tuple(shape), dtype=dtype, device="meta")


def _channels(node: Node, given: Sequence[Any]) -> int:
    """Return the channels of the bits of an operation that gives nothing else, or 0."""
    if node.op == "pack":
        return int(given[0][node.attrs["axis"]])
    return int(node.attrs.get("in_channels", 0))


def _check_epilogue(node: Node, shape: Sequence[int], residual: Sequence[int] | None) -> int:
    """Return the axis of the channels of a node's floats, of this shape."""
    axis = int(node.attrs.get("axis", 1))
    if residual is not None and residual != shape:
        raise PackedError(f"it adds {residual} to {shape}; they must be equal.")
    for name in TENSORS:
        vector = node.tensors.get(name)
        if vector is not None and vector.shape[0] != shape[axis]:
            raise PackedError(f"{name} has {vector.shape[0]} numbers for {shape[axis]} channels.")
    return axis


assert set(_FINISH_ATTRS) >= set(FIELDS) - set(TENSORS)  # noqa: S101 - of the file itself

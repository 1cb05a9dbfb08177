"""Nodes and the values between them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from bnn.packed.epilogue import FIELDS, TENSORS, Epilogue

Attribute = None | bool | int | float | str | list[Any]
Structure = Any
"""What the model returns: a value's number as a ValueRef, or a list, tuple or dict of such."""


@dataclass(frozen=True)
class ValueRef:
    """A value, where a number of another kind could stand too."""

    value: int


@dataclass(eq=False)
class Node:
    """One operation.

    Attributes:
        op: Its name in :data:`bnn.packed.graph.OPERATIONS`, or ``"opaque"``.
        inputs: Values that it reads. The last is the residual, if the epilogue has one.
        outputs: Values that it writes: floats, then bits, where it gives both.
        attrs: What JSON can hold.
        tensors: Weights, and the vectors of its epilogue.
        name: The layer of the model that it comes from.
        call: What an opaque node does; no other has it.
    """

    op: str
    inputs: list[int]
    outputs: list[int]
    attrs: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    name: str = ""
    call: Callable[..., Any] | None = None

    @property
    def epilogue(self) -> Epilogue:
        """The steps after the operation itself."""
        fields: dict[str, Any] = {
            name: self.tensors.get(name) if name in TENSORS else self.attrs.get(name)
            for name in FIELDS
        }
        return Epilogue(**fields)

    @epilogue.setter
    def epilogue(self, epilogue: Epilogue) -> None:
        for name in FIELDS:
            place: dict[str, Any] = self.tensors if name in TENSORS else self.attrs
            value = getattr(epilogue, name)
            if value is None:
                place.pop(name, None)
            else:
                place[name] = value

    @property
    def output(self) -> str:
        """``"float"``, ``"bits"`` or ``"float_and_bits"``, of a node that may give either."""
        return str(self.attrs.get("output", "float"))

    @property
    def float_output(self) -> int | None:
        """The value of its floats, or None."""
        return None if self.output == "bits" else self.outputs[0]

    @property
    def bits_output(self) -> int | None:
        """The value of its bits, or None."""
        return None if self.output == "float" else self.outputs[-1]


@dataclass(eq=False)
class Graph:
    """A network: nodes in an order in which they can run.

    Attributes:
        inputs: Values that the caller gives, in order.
        nodes: Each reads only inputs and what earlier nodes wrote.
        output: What the network returns.
        values: Numbers from here up are free.
    """

    inputs: list[int]
    nodes: list[Node]
    output: Structure
    values: int

    def new_value(self) -> int:
        """Return a number that no value has."""
        self.values += 1
        return self.values - 1

    def output_values(self) -> Iterator[int]:
        """Yield the values that the network returns."""
        return _refs(self.output)

    def producers(self) -> dict[int, Node]:
        """Return value -> the node that writes it."""
        return {value: node for node in self.nodes for value in node.outputs}

    def consumers(self) -> Mapping[int, list[Node]]:
        """Return value -> the nodes that read it, one entry for each time it is read."""
        found: dict[int, list[Node]] = defaultdict(list)
        for node in self.nodes:
            for value in node.inputs:
                found[value].append(node)
        return found

    def replace_value(self, old: int, new: int) -> None:
        """Let all that read ``old`` read ``new``."""
        for node in self.nodes:
            node.inputs = [new if value == old else value for value in node.inputs]
        self.output = map_structure(
            self.output, lambda ref: ValueRef(new) if ref.value == old else ref
        )

    def opaque(self) -> list[Node]:
        """Return the nodes that only Python code can run."""
        return [node for node in self.nodes if node.op == "opaque"]


def map_structure(structure: Structure, change: Callable[[ValueRef], Any]) -> Any:
    """Return the structure with each value replaced by what ``change`` makes of it."""
    if isinstance(structure, ValueRef):
        return change(structure)
    if isinstance(structure, (list, tuple)):
        return type(structure)(map_structure(item, change) for item in structure)
    if isinstance(structure, dict):
        return {key: map_structure(item, change) for key, item in structure.items()}
    return structure


def _refs(structure: Structure) -> Iterator[int]:
    found: list[int] = []
    map_structure(structure, lambda ref: found.append(ref.value))
    return iter(found)

"""A graph made ready for inputs of one size: native programs, and where every buffer lies."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bnn.packed import runtime
from bnn.packed.graph import Graph, Node, compute
from bnn.packed.graph.node import map_structure
from bnn.packed.run.emit import EMITTERS, make_float_panel
from bnn.packed.run.memory import Buffer, place
from bnn.packed.shapes import ConvShape


class ShapeChangedError(Exception):
    """A part that Python runs gave another shape than before, for an input of the same shape."""


MOST_FOLDED = 2**20
"""Numbers in a value that is computed once for a size, and kept."""


_DIRECT = ("exp", "rsqrt", "sigmoid", "sqrt", "tanh")
"""Functions that torch writes where it is told to."""


@dataclass(frozen=True)
class Timing:
    """How long one operation took.

    Attributes:
        name: The layer that it comes from.
        operation: What computed it: a native operation and its kernel, or torch.
        microseconds: The time.
    """

    name: str
    operation: str
    microseconds: float


@dataclass
class _Slot:
    """A buffer of the plan; ``last`` grows as operations read it."""

    bytes: int
    dtype: torch.dtype
    shape: tuple[int, ...]  # in memory
    first: int
    last: int
    kind: str = "arena"  # "input", "torch": its address is known when the program runs


@dataclass
class _Native:
    """Operations that run in one call."""

    program: Any
    names: list[str] = field(default_factory=list)


@dataclass
class _Torch:
    """A node that torch runs."""

    node: Node
    layout: str
    constants: dict[int, Any]
    layouts: dict[int, str]  # of its inputs: later ones are not there yet when it runs


@dataclass
class _Direct:
    """A function of a vector for each image, which torch writes where the next operation reads."""

    node: Node
    function: Any
    x: int
    out: int


class Planner:
    """Builds a plan, node by node; emitters call its methods.

    Attributes:
        isa: The instruction set.
    """

    def __init__(
        self, graph: Graph, known: Mapping[int, Any], panels: dict[tuple[int, int], Tensor]
    ) -> None:
        self.isa = runtime.isa()
        self.graph = graph
        self.slots: list[_Slot] = []
        self.steps: list[_Native | _Torch | _Direct] = []
        self.keep: list[Tensor] = []
        self._known = known
        self._panels = panels
        self._places: dict[tuple[int, str], int] = {}
        self.constants: dict[int, int] = {}
        self.folded: dict[int, Tensor] = {}  # slot -> what lies there in every run
        self._fixed: dict[int, Tensor] = {}  # value -> the same for every input of this size
        self._time = 0
        self._name = ""
        self._skipped: set[int] = set()
        self._returned = set(graph.output_values())
        self._readers = graph.consumers()
        self._last_reads = {value: i for i, node in enumerate(graph.nodes) for value in node.inputs}
        for value in graph.inputs:
            self._place(value, "plain", "input")
        for i, node in enumerate(graph.nodes):
            self._node = i
            self._add(node)

    # --- what emitters use --------------------------------------------------------------------

    @property
    def program(self) -> Any:
        """The program to which the next operation is added."""
        if not self.steps or not isinstance(self.steps[-1], _Native):
            self.steps.append(_Native(runtime.native().Program(self.isa)))
        step = self.steps[-1]
        assert isinstance(step, _Native)  # noqa: S101
        step.names.append(self._name)
        return step.program

    def shape(self, value: int) -> tuple[int, ...]:
        """Return a value's shape; of bits, with words."""
        return tuple(self._known[value].shape)

    def pool_output(self, node: Node) -> tuple[int, ...]:
        """Return the shape of a pooling's floats, which it may not give out."""
        if node.float_output is not None:
            return self.shape(node.float_output)
        batch, *pixels, _ = self.shape(node.outputs[-1])
        return (batch, self.shape(node.inputs[0])[1], *pixels)

    def only_reader(self, node: Node, op: str) -> Node | None:
        """Return the node behind this one, if it is such an operation and alone reads its output.

        One that has a residual is none: that may not be there yet.
        """
        behind = self.graph.nodes[self._node + 1 : self._node + 2]
        value = node.float_output
        if value is None or value in self._returned or [n.op for n in behind] != [op]:
            return None
        readers = [n for n in self.graph.nodes if value in n.inputs]
        return behind[0] if readers == behind and not behind[0].attrs.get("residual_at") else None

    def skip(self, node: Node) -> None:
        """Leave out a node that the one before it has computed too."""
        self._skipped.add(id(node))

    def address(self, tensor: Tensor | None) -> int:
        """Return where a constant lies, and keep it alive."""
        if tensor is None:
            return 0
        tensor = tensor.contiguous()
        self.keep.append(tensor)
        return tensor.data_ptr()

    def float_panel(self, shape: ConvShape, weight: Tensor) -> Tensor:
        """Return a float weight in the kernels' order, made once for all plans of the network."""
        key = (id(weight), self.isa)
        if key not in self._panels:
            self._panels[key] = make_float_panel(shape, weight, self.isa)
        return self._panels[key]

    def has(self, value: int, layout: str) -> bool:
        """Say whether a value lies in memory in this layout."""
        return (value, layout) in self._places

    def common_layout(self, a: int, b: int) -> str:
        """Return the layout that costs the fewest conversions."""
        if len(self.shape(a)) <= 2:
            return "plain"
        last = self.has(a, "last") + self.has(b, "last")
        return "last" if last >= self.has(a, "plain") + self.has(b, "plain") else "plain"

    def read(self, value: int, layout: str) -> int:
        """Return the slot of an input, converted if it lies in another layout."""
        if not self.has(value, layout):
            self._convert(value, layout)
        slot = self._places[value, layout]
        self.slots[slot].last = max(self.slots[slot].last, self._time)
        return slot

    def write(self, value: int, layout: str, instead: int = -1) -> int:
        """Return the slot of an output.

        Args:
            value: The output.
            layout: Its layout.
            instead: The slot of a residual, which is written over if nothing else reads it: a
                kernel reads each of a residual's numbers before it writes there.
        """
        if instead >= 0 and self._may_write_over(instead) and value not in self._returned:
            slot = self.slots[instead]
            if slot.kind == "arena" and slot.bytes == self._bytes(value):
                self._places[value, layout if len(self.shape(value)) > 2 else "plain"] = instead
                slot.last = self._time
                return instead
        return self._place(value, layout, "arena")

    def between(self, count: int) -> int:
        """Return the slot of so many floats that one operation leaves for the next."""
        self.slots.append(_Slot(4 * count, torch.float32, (count,), self._time, self._time))
        return len(self.slots) - 1

    def zeros(self, count: int) -> int:
        """Return the slot of so many zeros."""
        zeros = torch.zeros(count)
        self.keep.append(zeros)
        self.slots.append(_Slot(0, zeros.dtype, (count,), self._time, self._time, "constant"))
        self.constants[len(self.slots) - 1] = zeros.data_ptr()
        return len(self.slots) - 1

    def alias(self, value: int, output: int, layout: str) -> None:
        """Let a value with another shape be the same memory."""
        self._places[output, "plain"] = self._places[value, layout]
        self.read(output, "plain")

    # --- building -----------------------------------------------------------------------------

    def _may_write_over(self, slot: int) -> bool:
        """Say whether nothing reads a slot after this node, nor this node but as its residual."""
        node = self.graph.nodes[self._node]
        operands = set() if node.op == "map" else set(node.inputs[:-1])
        return all(
            value not in self._returned
            and value not in operands
            and self._last_reads.get(value, -1) <= self._node
            for (value, _), place in self._places.items()
            if place == slot
        )

    def _bytes(self, value: int) -> int:
        known: Tensor = self._known[value]
        return known.numel() * known.element_size()

    def _add(self, node: Node) -> None:
        if id(node) in self._skipped:
            return
        self._name = node.name
        if not any(isinstance(self._known[value], Tensor) for value in node.outputs):
            return  # a size: known already
        if not self._gives_only_its_size(node) and not self._fold(node):
            emit = EMITTERS.get(node.op)
            if not (emit is not None and emit(self, node)) and not self._add_direct(node):
                self._add_torch(node)
        self._time += 1

    def _gives_only_its_size(self, node: Node) -> bool:
        """Say whether nobody reads a node's numbers: what reads it is computed without them."""
        (value,) = node.outputs[:1]
        readers = self._readers.get(value, [])
        return (
            len(node.outputs) == 1
            and value not in self._returned
            and bool(readers)
            and all(
                reader.op == "unary"
                and reader.attrs["function"] == "zeros_like"
                and self._may_fold(reader.outputs[0])
                for reader in readers
            )
        )

    def _may_fold(self, value: int) -> bool:
        known = self._known[value]
        return (
            value not in self._returned
            and known.dtype == torch.float32
            and known.numel() <= MOST_FOLDED
        )

    def _fold(self, node: Node) -> bool:
        """Compute a node now if its result depends on nothing but the input's size."""
        if node.call is not None or len(node.outputs) != 1 or node.output != "float":
            return False
        (value,) = node.outputs
        if not self._may_fold(value):
            return False
        if node.op == "unary" and node.attrs["function"] == "zeros_like":
            found = torch.zeros(self._known[value].shape)
        else:
            given = [self._fixed.get(v, self._known[v]) for v in node.inputs]
            if any(isinstance(x, Tensor) and x.is_meta for x in given):
                return False
            (found,) = compute(node, given)
        self._fixed[value] = found
        for layout in ("plain", "last") if found.dim() > 2 else ("plain",):
            memory = (found.movedim(1, -1) if layout == "last" else found).contiguous()
            slot = self._place(value, layout, "constant")
            self.folded[slot] = memory
            self.constants[slot] = memory.data_ptr()
        return True

    def _add_direct(self, node: Node) -> bool:
        """Add a function of few numbers, as gates have, without what costs more than they do."""
        if node.op != "unary" or node.attrs["function"] not in _DIRECT:
            return False
        value, output = node.inputs[0], node.outputs[0]
        if math.prod(self.shape(value)[2:]) != 1:  # of one pixel both layouts are the same
            return False
        layout = "last" if self.has(value, "last") else "plain"
        x, out = self.read(value, layout), self.write(output, layout)
        self.steps.append(_Direct(node, getattr(torch, node.attrs["function"]), x, out))
        return True

    def _add_torch(self, node: Node) -> None:
        constants, layouts = {}, {}
        for value in node.inputs:
            if not isinstance(self._known[value], Tensor):
                constants[value] = self._known[value]
            else:
                layouts[value] = "last" if self.has(value, "last") else "plain"
                self.read(value, layouts[value])
        (value,) = node.outputs[:1]
        layout = "plain"
        if isinstance(self._known[value], Tensor):
            layout = "last" if self._known[value].dim() == 4 else "plain"
        self.steps.append(_Torch(node, layout, constants, layouts))
        for value in node.outputs:
            if isinstance(self._known[value], Tensor):
                bits = node.output != "float" and value == node.outputs[-1]
                self._place(value, "plain" if bits else layout, "torch")

    def _place(self, value: int, layout: str, kind: str) -> int:
        known: Tensor = self._known[value]
        shape = tuple(known.shape)
        if layout == "last":
            shape = (shape[0], *shape[2:], shape[1])
        size = math.prod(shape) * known.element_size()
        if len(shape) <= 2:
            layout = "plain"
        self.slots.append(_Slot(size, known.dtype, shape, self._time, self._time, kind))
        self._places[value, layout] = len(self.slots) - 1
        return len(self.slots) - 1

    def _convert(self, value: int, layout: str) -> None:
        """Copy a value into the other layout."""
        if len(self.shape(value)) <= 2:
            raise AssertionError("a value of two axes has one layout")
        other = "plain" if layout == "last" else "last"
        x = self.read(value, other)
        batch, channels, *pixels = self.shape(value)
        out = self._place(value, layout, "arena")
        convert = "to_nhwc" if layout == "last" else "to_nchw"
        getattr(self.program, convert)(batch, channels, math.prod(pixels), x, out)
        self.slots[out].last = self._time


class _Workspace:
    """The memory of one run: two runs at once have one each."""

    def __init__(self, plan: Plan) -> None:
        with torch.inference_mode(mode=False):  # else torch would write there only in that mode
            self.arena = runtime.aligned(plan.arena_bytes)
        base = self.arena.data_ptr()
        self.addresses = [base + max(offset, 0) for offset in plan.offsets]
        for slot, address in plan.constants.items():
            self.addresses[slot] = address
        self.views: dict[int, Tensor] = {}


class Plan:
    """A graph, ready to run on inputs of one size.

    It never changes: any number of threads may run it, each in memory of its own, which is kept for
    the next run.

    Args:
        graph: The graph; its tensors lie on the CPU.
        known: Value -> its shape as a meta tensor, or the int that it is, as
            :func:`bnn.packed.graph.check_graph` says.
        panels: Float weights in the kernels' order, shared by all plans of a network.

    Attributes:
        arena_bytes: Size of the block that holds what native operations write.
        peak_bytes: The most that all values take at one time, what torch allocates and the input
            and output included.
    """

    def __init__(
        self, graph: Graph, known: Mapping[int, Any], panels: dict[tuple[int, int], Tensor]
    ) -> None:
        planner = Planner(graph, known, panels)
        self._graph = graph
        self._slots = planner.slots
        self._steps = planner.steps
        self._keep = planner.keep
        self._places = planner._places
        self.constants = planner.constants
        self._folded = planner.folded
        self._inputs = [self._places[value, "plain"] for value in graph.inputs]
        self._known = known
        self._outputs = self._find_outputs()
        self.offsets, self.arena_bytes = self._arrange()
        self.peak_bytes = self._peak()
        self._free: list[_Workspace] = []

    def run(self, inputs: Sequence[Tensor], timings: list[Timing] | None = None) -> Any:
        """Return the network's output.

        Args:
            inputs: Contiguous float32 tensors of the plan's sizes.
            timings: If given, an entry is added for each operation.
        """
        try:
            workspace = self._free.pop()
        except IndexError:
            workspace = _Workspace(self)
        try:
            return self._run(workspace, inputs, timings)
        finally:
            self._free.append(workspace)

    def _run(
        self, workspace: _Workspace, inputs: Sequence[Tensor], timings: list[Timing] | None
    ) -> Any:
        addresses = workspace.addresses
        tensors: dict[int, Tensor] = dict(self._folded)
        for slot, x in zip(self._inputs, inputs, strict=True):
            addresses[slot] = x.data_ptr()
            tensors[slot] = x
        for slot in set(self._outputs.values()):
            if self._slots[slot].kind == "arena":
                out = torch.empty(self._slots[slot].shape, dtype=self._slots[slot].dtype)
                addresses[slot] = out.data_ptr()
                tensors[slot] = out
        for step in self._steps:
            if isinstance(step, _Native):
                if timings is None:
                    step.program.run(addresses)
                else:
                    timings += _timed(step, addresses)
            else:
                begin = time.perf_counter()
                if isinstance(step, _Direct):
                    out = self._memory(step.out, workspace, tensors)
                    x = self._memory(step.x, workspace, tensors)  # perhaps of another view
                    step.function(x if x.shape == out.shape else x.view(out.shape), out=out)
                else:
                    self._run_torch(step, workspace, tensors)
                if timings is not None:
                    spent = (time.perf_counter() - begin) * 1e6
                    timings.append(Timing(step.node.name, f"torch {step.node.op}", spent))
        return map_structure(
            self._graph.output, lambda ref: self._result(ref.value, workspace, tensors)
        )

    def _run_torch(self, step: _Torch, workspace: _Workspace, tensors: dict[int, Tensor]) -> None:
        node = step.node
        given = [
            step.constants[value]
            if value in step.constants
            else self._logical(value, step.layouts[value], workspace, tensors)
            for value in node.inputs
        ]
        if node.call is not None:  # it may keep or change what it is given
            given = [x.clone() if isinstance(x, Tensor) else x for x in given]
        for value, out in zip(node.outputs, compute(node, given), strict=True):
            if out.shape != self._known[value].shape or out.dtype != self._known[value].dtype:
                raise ShapeChangedError
            layout = step.layout if (value, step.layout) in self._places else "plain"
            slot = self._places[value, layout]
            memory = (out.movedim(1, -1) if layout == "last" else out).contiguous()
            if memory.untyped_storage().data_ptr() == workspace.arena.untyped_storage().data_ptr():
                memory = memory.clone()  # a view of an input, whose place others take soon
            tensors[slot] = memory
            workspace.addresses[slot] = memory.data_ptr()

    def _logical(
        self, value: int, layout: str, workspace: _Workspace, tensors: dict[int, Tensor]
    ) -> Tensor:
        """Return a value as torch sees it, from one of the layouts in which it lies."""
        memory = self._memory(self._places[value, layout], workspace, tensors)
        shape = tuple(self._known[value].shape)
        if layout == "last":
            memory = memory.movedim(-1, 1)
        return memory if tuple(memory.shape) == shape else memory.reshape(shape)

    def _memory(self, slot: int, workspace: _Workspace, tensors: dict[int, Tensor]) -> Tensor:
        """Return a slot's buffer in the order in which it lies."""
        memory = tensors.get(slot)
        if memory is None:
            memory = workspace.views.get(slot)
        if memory is None:
            kept = self._slots[slot]  # kept from run to run, of which not all are in that mode
            with torch.inference_mode(mode=False):
                block = workspace.arena[self.offsets[slot] : self.offsets[slot] + kept.bytes]
                memory = workspace.views[slot] = block.view(kept.dtype).view(kept.shape)
        return memory

    def _result(self, value: int, workspace: _Workspace, tensors: dict[int, Tensor]) -> Tensor:
        layout = "last" if (value, "last") in self._places else "plain"
        found = self._logical(value, layout, workspace, tensors)
        slot = self._outputs[value]
        own = self._slots[slot].kind == "arena"
        return found if own else found.clone()  # else it may be the caller's input, or a constant

    # --- sizes --------------------------------------------------------------------------------

    def _find_outputs(self) -> dict[int, int]:
        found = {}
        for value in self._graph.output_values():
            layout = "last" if (value, "last") in self._places else "plain"
            found[value] = self._places[value, layout]
        return found

    def _arrange(self) -> tuple[list[int], int]:
        outputs = set(self._outputs.values())
        inside = [
            i for i, slot in enumerate(self._slots) if slot.kind == "arena" and i not in outputs
        ]
        buffers = [Buffer(s.bytes, s.first, s.last) for s in (self._slots[i] for i in inside)]
        placed, total = place(buffers)
        offsets = [-1] * len(self._slots)
        for i, offset in zip(inside, placed, strict=True):
            offsets[i] = offset
        return offsets, total

    def _peak(self) -> int:
        outputs = set(self._outputs.values())
        end = max((slot.last for slot in self._slots), default=0)
        held = [0] * (end + 2)
        for i, slot in enumerate(self._slots):
            if slot.kind == "arena" and i not in outputs:
                continue
            last = end if i in outputs else slot.last
            for moment in range(slot.first, last + 1):
                held[moment] += slot.bytes
        return self.arena_bytes + max(held)


def _timed(step: _Native, addresses: list[int]) -> list[Timing]:
    times = step.program.run_timed(addresses)
    return [
        Timing(name, step.program.describe(i), spent / 1e3)
        for i, (name, spent) in enumerate(zip(step.names, times, strict=True))
    ]

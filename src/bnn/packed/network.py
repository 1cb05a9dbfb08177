"""A whole network with 1 bit per binary weight."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bnn.errors import NativePartError, PackedError
from bnn.packed.graph import Graph, ValueRef, check_graph
from bnn.packed.preprocessing import Preprocessing
from bnn.packed.report import PackReport
from bnn.packed.run import Plan, ShapeChangedError, Timing, run_eagerly
from bnn.packed.run.eager import Watch

MOST_PLANS = 16


class PackedNetwork(nn.Module):
    """What :func:`bnn.pack` and :func:`bnn.load` return: a network for inference.

    It is called like the model that it was made of, with float32 tensors. The batch and the image
    may have any size that the model takes: for each one a plan is made once, and the last 16 are
    kept. On the CPU native kernels run it, and any number of threads may call it at once; on other
    devices plain torch does. It has no parameters, gives no gradients, and stays float32 and in
    evaluation mode whatever it is told. torch.jit and torch.export refuse it.

    Attributes:
        graph: What is computed.
        report: What became of the model's layers.
        example_shapes: Shapes of the inputs that it was packed with.
        preprocessing: How pictures become its input, if that is known: set it, and a file has it.

    Example:
        >>> import bnn
        >>> from bnn.models import resnet8
        >>> model = bnn.BinaryChef("xnor-net").next(resnet8(in_channels=1)).eval()
        >>> x = torch.randn(2, 1, 8, 8)
        >>> packed = bnn.pack(model, x)
        >>> torch.equal(packed(x).argmax(1), model(x).argmax(1))
        True
    """

    def __init__(
        self, graph: Graph, report: PackReport, example_shapes: Sequence[Sequence[int]]
    ) -> None:
        super().__init__()
        self.preprocessing: Preprocessing | None = None
        self.graph = graph
        self.report = report
        self.example_shapes = [tuple(shape) for shape in example_shapes]
        self.parts = nn.ModuleDict()  # what runs in Python as it was
        for node in graph.nodes:
            module = getattr(node.call, "target", None)
            if isinstance(module, nn.Module):
                self.parts[_flat(node.name)] = module
            for name, tensor in node.tensors.items():
                self.register_buffer(f"{_flat(node.name)}__{name}", tensor)
        self._forget_plans()
        self.eval()

    def _forget_plans(self) -> None:
        self._plans: dict[tuple[tuple[int, ...], ...], Plan | None] = {}
        self._panels: dict[tuple[int, int], Tensor] = {}
        self._lock = threading.Lock()
        self._device = next((buffer.device for buffer in self.buffers()), None)

    def forward(self, *inputs: Tensor) -> Any:
        """Return what the model would."""
        with torch.no_grad():
            given = self._check_inputs(inputs)
            plan = self._plan(given)
            if plan is not None:
                try:
                    return plan.run(given)
                except ShapeChangedError:  # the model's own code does as it likes
                    pass
            return run_eagerly(self.graph, given)

    def profile(self, *inputs: Tensor) -> list[Timing]:
        """Run once, and return how long each operation took.

        Raises:
            PackedError: If it does not run on the CPU.
        """
        timings: list[Timing] = []
        with torch.no_grad():
            given = self._check_inputs(inputs)
            plan = self._plan(given)
            if plan is None:
                raise PackedError("only what runs natively, on the CPU, can be profiled.")
            plan.run(given, timings)
        return timings

    def watch(self, watch: Watch, *inputs: Tensor) -> Any:
        """Return the output, and show each operation's inputs and outputs to a function."""
        with torch.no_grad():
            return run_eagerly(self.graph, self._check_inputs(inputs), watch)

    def tap(self, values: Sequence[int], *inputs: Tensor) -> list[Any]:
        """Run as a call does, and return these values of the graph: floats, bits or sizes.

        What computes is what computes in a call, native kernels included; :meth:`watch` is plain
        torch. A plan is made for it each time.
        """
        tapped = dataclasses.replace(self.graph, output=[ValueRef(value) for value in values])
        with torch.no_grad():
            given = self._check_inputs(inputs)
            if self._plan(given) is not None:
                try:
                    result: list[Any] = Plan(tapped, self._known(given), self._panels).run(given)
                except ShapeChangedError:
                    pass
                else:
                    return result
            return list(run_eagerly(tapped, given))

    def peak_bytes(self, *shapes: Sequence[int]) -> int:
        """Return the most that all activations take at one time, for inputs of these shapes.

        The input and the output are counted, weights are not. Default: the shapes that the network
        was packed with.
        """
        wanted = shapes or self.example_shapes
        plan = self._plan([torch.zeros(tuple(shape)) for shape in wanted])
        if plan is None:
            raise PackedError("memory is planned only on the CPU, by the native part.")
        return plan.peak_bytes

    @property
    def nbytes(self) -> int:
        """Bytes of all weights."""
        state = (*self.buffers(), *self.parameters())
        return sum(x.numel() * x.element_size() for x in state)

    def save(self, path: str | Path) -> None:
        """Write the network to a file, which :func:`bnn.load` reads without the model's code.

        Raises:
            PackedError: If a part of the model is run by Python as it was.
        """
        from bnn.packed.file import save

        save(self, path)

    def _check_inputs(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        if len(inputs) != len(self.graph.inputs):
            raise PackedError(
                f"the network takes {len(self.graph.inputs)} inputs, but {len(inputs)} were given."
            )
        given = []
        device = self._device
        for i, x in enumerate(inputs):
            if not isinstance(x, Tensor):
                raise PackedError(f"input {i} is a {type(x).__name__}; give a tensor.")
            if torch._C._get_tracing_state() is not None or type(x).__name__ == "FakeTensor":
                raise PackedError(
                    "a packed network can be neither traced nor exported by torch: save it with "
                    "network.save, or export the model that it was made of."
                )
            if x.dtype != torch.float32:
                raise PackedError(f"input {i} is {x.dtype}; give float32: x.float().")
            if x.dim() != len(self.example_shapes[i]):
                raise PackedError(
                    f"input {i} has shape {tuple(x.shape)}; it must have "
                    f"{len(self.example_shapes[i])} axes, as {self.example_shapes[i]} has."
                )
            if device is not None and x.device != device:
                raise PackedError(
                    f"input {i} is on {x.device}, but the network on {device}. Move the network "
                    f"with .to({str(x.device)!r}), or the input."
                )
            given.append(x.detach().contiguous())
        return given

    def _plan(self, inputs: Sequence[Tensor]) -> Plan | None:
        """Return the plan for such inputs, or None where there can be none."""
        key = tuple(tuple(x.shape) for x in inputs)
        if key in self._plans:
            return self._plans[key]
        plan = self._make_plan(inputs)
        with self._lock:
            if len(self._plans) >= MOST_PLANS:
                self._plans.pop(next(iter(self._plans)))
            self._plans[key] = plan
        return plan

    def _make_plan(self, inputs: Sequence[Tensor]) -> Plan | None:
        known = self._known(inputs)
        if any(not isinstance(known[v], Tensor) for n in self.graph.opaque() for v in n.outputs):
            return None
        if any(x.device.type != "cpu" for x in (*inputs, *self.buffers())):
            return None
        try:
            return Plan(self.graph, known, self._panels)
        except NativePartError:
            return None

    def _known(self, inputs: Sequence[Tensor]) -> dict[int, Any]:
        opaque: dict[int, Any] = {}
        if self.graph.opaque():

            def keep(node: Any, given: Sequence[Any], outputs: Sequence[Any]) -> None:  # noqa: ARG001
                if node.op == "opaque":
                    (out,) = outputs
                    opaque[node.outputs[0]] = out.to("meta") if isinstance(out, Tensor) else out

            run_eagerly(self.graph, inputs, keep)
        return check_graph(self.graph, [tuple(x.shape) for x in inputs], opaque)

    def train(self, mode: bool = True) -> PackedNetwork:  # noqa: ARG002
        """Stay in evaluation mode: there is nothing to train."""
        return super().train(mode=False)  # whatever a module around it is set to

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Move the tensors, but keep their types: what is computed stays the same."""
        given: dict[int, tuple[Tensor, Tensor]] = {}  # what nodes share they go on to share

        def keep_type(tensor: Tensor) -> Tensor:
            if id(tensor) not in given:
                moved = fn(tensor)
                same = moved.dtype == tensor.dtype
                given[id(tensor)] = tensor, moved if same else tensor.to(moved.device)
            return given[id(tensor)][1]

        result = super()._apply(keep_type, recurse)
        for node in self.graph.nodes:
            for name in node.tensors:
                node.tensors[name] = self.get_buffer(f"{_flat(node.name)}__{name}")
        self._forget_plans()
        return result

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._forget_plans()  # they hold weights in the kernels' order

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for name in ("_plans", "_panels", "_lock"):
            state.pop(name)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._forget_plans()

    def extra_repr(self) -> str:
        """Show inputs, operations and bytes."""
        shapes = ", ".join(str(shape) for shape in self.example_shapes)
        return (
            f"inputs={shapes}, operations={len(self.graph.nodes)}, "
            f"binary_layers={len(self.report.binary)}, bytes={self.nbytes:,}"
        )


def _flat(name: str) -> str:
    return name.replace(".", "/")

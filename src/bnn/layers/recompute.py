"""What the backward pass computes again, rather than having it kept as floats.

What follows a binary layer, a batch norm or a PReLU, keeps the layer's output for its own gradient.
The layer has kept the bits that this output was computed from, and its 1-bit kernel takes a
fraction of the time of anything that is done with floats. What stands before it, if that is a batch
norm, keeps its own input: where the slope of a sign needs the values, they come from there.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

_local = threading.local()


@dataclass(frozen=True)
class _AsItIs:
    """A tensor that is kept, and how often it had been changed by then.

    Torch compares no versions where there are hooks.
    """

    tensor: Tensor
    version: int

    @property
    def operands(self) -> tuple[Tensor]:
        """What takes memory."""
        return (self.tensor,)

    def give(self) -> Tensor:
        """Return the tensor, or raise RuntimeError if it was changed, as torch does."""
        now = self.tensor._version
        if now != self.version:
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an "
                f"inplace operation: [{self.tensor.type()} {list(self.tensor.shape)}] is at "
                f"version {now}; expected version {self.version} instead. Change it after the "
                "backward pass, or change a clone."
            )
        return self.tensor


@dataclass(frozen=True)
class _Again:
    """What is kept in the place of an output."""

    compute: Callable[..., Tensor]
    kept: tuple[_AsItIs | _Again | None, ...]

    @property
    def operands(self) -> tuple[Tensor, ...]:
        """What takes memory."""
        return tuple(t for kept in self.kept if kept is not None for t in kept.operands)

    def give(self) -> Tensor:
        """Compute it, and first what it is computed from."""
        with torch.no_grad():
            return self.compute(*[None if kept is None else kept.give() for kept in self.kept])


@dataclass(frozen=True)
class _Noted:
    """An output that can be computed again, as long as nobody has changed it."""

    storage: Any
    layout: tuple[Any, ...]
    again: _Again


@contextmanager
def recompute_outputs() -> Iterator[None]:
    """Let the backward pass compute the outputs of compact layers again: use it in training steps.

    Within it, operations that would keep a compact layer's output for their gradient keep the bits
    that it came from. Where a compact layer would keep its input, and that is the output of a
    batch norm, it is computed again too. Values and gradients stay the same to the last bit. It
    applies to the thread it is used in, and to what autograd records in the block; call
    ``backward`` inside or after it.

    As without it, the backward pass refuses tensors that were changed in place since they were
    kept. Changes through ``.data`` are not counted by torch: do not change a layer's output that
    way within the block, or what keeps it afterwards is given the output as it was before.

    :func:`bnn.training.fit` uses it. Layers that are not compact are left alone.

    Example:
        >>> from bnn import BConfig
        >>> from bnn.layers import Linear
        >>> from bnn.ops import BasicInputBinarizer, Identity, XNORWeightBinarizer
        >>> config = BConfig(BasicInputBinarizer, Identity, XNORWeightBinarizer)
        >>> net = torch.nn.Sequential(Linear(64, 32, bconfig=config), torch.nn.PReLU())
        >>> with recompute_outputs():
        ...     loss = net(torch.randn(8, 64)).sum()
        >>> loss.backward()
    """
    noted: dict[int, _Noted] = {}
    before = getattr(_local, "noted", None)
    _local.noted = noted
    try:
        with torch.autograd.graph.saved_tensors_hooks(functools.partial(_keep, noted), _give):
            yield
    finally:
        _local.noted = before
        noted.clear()  # what autograd keeps refers to it


def _keep(noted: dict[int, _Noted], tensor: Tensor) -> _AsItIs | _Again:
    if noted and type(tensor) in (Tensor, torch.nn.Parameter):
        found = noted.get(tensor.data_ptr())
        if found and not found.storage.expired() and found.layout == _layout(tensor):
            return found.again
    # Detached, as an operation that keeps its own result would otherwise be kept by it.
    return _AsItIs(tensor.detach(), tensor._version)


def _give(kept: _AsItIs | _Again) -> Tensor:
    seen: list[_AsItIs | _Again] | None = getattr(_local, "seen", None)
    if seen is None:
        return kept.give()
    seen.append(kept)
    return torch.empty(0)


def is_recomputing() -> bool:
    """Say whether outputs of this thread should be noted."""
    return getattr(_local, "noted", None) is not None


class Modes:
    """Whether each module of some stages was in training when they were computed."""

    def __init__(self, *stages: torch.nn.Module) -> None:
        self._were = [(module, module.training) for s in stages for module in s.modules()]

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Let them be as they were: ``eval()`` may come before the backward pass."""
        moved = [(module, were) for module, were in self._were if module.training != were]
        for module, were in moved:
            module.training = were
        try:
            yield
        finally:
            for module, were in moved:
                module.training = not were


def note_output(out: Tensor, compute: Callable[..., Tensor], *operands: Tensor | None) -> None:
    """Remember that ``out`` is ``compute(*operands)``, to the last bit and in the same layout.

    The operands are kept, or, where they are noted themselves, computed first.
    """
    noted: dict[int, _Noted] = _local.noted
    _note(noted, out, compute, [None if t is None else _keep(noted, t) for t in operands])


class _Forgotten:
    """What is kept where nothing will be computed again."""

    operands: tuple[Tensor, ...] = ()


def record_without_keeping() -> torch.autograd.graph.saved_tensors_hooks:
    """Return a context in which results show whether they have a gradient, and nobody can ask it.

    What is derived from a parameter is derived again in the backward pass.
    """
    return torch.autograd.graph.saved_tensors_hooks(lambda _: _Forgotten(), _recall)


def _recall(_: Any) -> Tensor:
    raise AssertionError("a graph that keeps nothing was asked for a gradient")


def note_batch_norm(x: Tensor) -> None:
    """Remember how ``x`` was computed, if it is the output of a batch norm.

    That keeps its input for its own gradient. The same operation is done again: its rounding is
    nobody else's.
    """
    node: Any = x.grad_fn
    if node is None or node.name() != "NativeBatchNormBackward0":
        return
    parameters = [getattr(owner, "variable", None) for owner, _ in node.next_functions[1:3]]
    if any(parameter is None for parameter in parameters):  # they are not in the graph
        return
    names = () if node._saved_training else ("_saved_running_mean", "_saved_running_var")
    vectors = [v.detach().clone() for v in (*parameters, *(getattr(node, n) for n in names))]
    kept = [_kept_by(node, "_saved_input"), *(_AsItIs(v, v._version) for v in vectors)]
    compute = functools.partial(_batch_norm, training=node._saved_training, eps=node._saved_eps)
    _note(_local.noted, x, compute, kept)


def _kept_by(node: Any, name: str) -> _AsItIs | _Again:
    """Return what an operation keeps, as it is kept: nothing is computed."""
    seen: list[_AsItIs | _Again] = []
    _local.seen = seen
    try:
        tensor = getattr(node, name)
    finally:
        del _local.seen
    return seen[0] if seen else _AsItIs(tensor, tensor._version)


def _batch_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor | None = None,
    variance: Tensor | None = None,
    *,
    training: bool,
    eps: float,
) -> Tensor:
    return torch.native_batch_norm(x, weight, bias, mean, variance, training, 0.0, eps)[0]


def _note(
    noted: dict[int, _Noted],
    out: Tensor,
    compute: Callable[..., Tensor],
    kept: Sequence[_AsItIs | _Again | None],
) -> None:
    noted[out.data_ptr()] = _Noted(
        StorageWeakRef(out.untyped_storage()), _layout(out), _Again(compute, tuple(kept))
    )


def _layout(tensor: Tensor) -> tuple[Any, ...]:
    return (tensor._version, tensor.dtype, tensor.shape, tensor.stride())

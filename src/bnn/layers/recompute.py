"""Sums that the backward pass computes again from bits, rather than having them kept as floats.

What follows a binary layer, a batch norm or a PReLU, keeps the layer's output for its own gradient.
The layer has kept the bits that this output was computed from, and its 1-bit kernel takes a
fraction of the time of anything that is done with floats.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

_local = threading.local()


@dataclass(frozen=True)
class _Again:
    """What is kept in the place of an output."""

    compute: Callable[..., Tensor]
    operands: tuple[Tensor | None, ...]


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
    that it came from. Values and gradients stay the same to the last bit. It applies to the thread
    it is used in, and to what autograd records in the block; call ``backward`` inside or after it.

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

    def keep(tensor: Tensor) -> Tensor | _Again:
        if not noted or type(tensor) not in (Tensor, torch.nn.Parameter):
            return tensor
        found = noted.get(tensor.data_ptr())
        if found is None or found.storage.expired() or found.layout != _layout(tensor):
            return tensor
        return found.again

    before = getattr(_local, "noted", None)
    _local.noted = noted
    try:
        with torch.autograd.graph.saved_tensors_hooks(keep, _give):
            yield
    finally:
        _local.noted = before
        noted.clear()  # what autograd keeps refers to it


def _give(kept: Tensor | _Again) -> Tensor:
    return kept.compute(*kept.operands) if isinstance(kept, _Again) else kept


def is_recomputing() -> bool:
    """Say whether outputs of this thread should be noted."""
    return getattr(_local, "noted", None) is not None


def note_output(out: Tensor, compute: Callable[..., Tensor], *operands: Tensor | None) -> None:
    """Remember that ``out`` is ``compute(*operands)``, to the last bit and in the same layout."""
    _local.noted[out.data_ptr()] = _Noted(
        StorageWeakRef(out.untyped_storage()), _layout(out), _Again(compute, operands)
    )


def _layout(tensor: Tensor) -> tuple[Any, ...]:
    return (tensor._version, tensor.dtype, tensor.shape, tensor.stride())

"""How much memory the activations of a model in torch take."""

from __future__ import annotations

import weakref
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Live(TorchDispatchMode):
    """Follows what each operation returns until the last tensor that shares its memory is gone.

    What an operation takes for itself and gives back, such as reordered weights, is not counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.held = self.most = 0
        self._tensors: Counter[int] = Counter()  # of each storage
        self._followed: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        for output in tree_leaves(outputs):
            if isinstance(output, Tensor):
                self.follow(output)
        self.most = max(self.most, self.held)
        return outputs

    def follow(self, tensor: Tensor) -> None:
        """Count a tensor's memory, once, until it is gone."""
        number = id(tensor)
        if number in self._followed:  # an in-place operation's
            return
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if not self._tensors[key]:
            self.held += size
        self._tensors[key] += 1
        self._followed.add(number)
        weakref.finalize(tensor, self._forget, number, key, size)

    def _forget(self, number: int, key: int, size: int) -> None:
        self._followed.discard(number)
        self._tensors[key] -= 1
        if not self._tensors[key]:
            self.held -= size


@torch.inference_mode()
def torch_peak_bytes(model: nn.Module, x: Tensor) -> int:
    """Return the most that all activations take at one time, input and output included."""
    with _Live() as live:
        live.follow(x)
        model(x)
    return live.most

"""Run a model without leaving a trace in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn


@contextlib.contextmanager
def evaluated(model: nn.Module, inputs: Iterable[Tensor]) -> Iterator[None]:
    """Put a model in evaluation mode, without gradients; leave everything as it was found.

    Restored, also after an exception: the training flag of every module, the values of buffers
    (a module may change them even in evaluation), and torch's random state on the CPU and on the
    devices that the model and ``inputs`` use. Flags are set one by one, since ``model.eval()``
    runs overridden ``train`` methods, which may do anything.

    Example:
        >>> model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2))
        >>> with evaluated(model, []):
        ...     model[0].training
        False
        >>> model[0].training
        True
    """
    modules = list(model.modules())
    training = [module.training for module in modules]
    buffers = [
        (module, originals, {name: buffer.clone() for name, buffer in _tensors(originals)})
        for module in modules
        for originals in [dict(module._buffers)]
    ]
    tensors = [*model.parameters(), *model.buffers(), *inputs]
    cuda = sorted({t.device.index or 0 for t in tensors if t.device.type == "cuda"})
    try:
        for module in modules:
            module.training = False
        # In inference mode torch's flop counter trips over results of autograd functions.
        with torch.inference_mode(False), torch.no_grad(), torch.random.fork_rng(cuda):
            yield
    finally:
        for module, flag in zip(modules, training, strict=True):
            module.training = flag
        for module, originals, values in buffers:
            _restore(module, originals, values)


def _tensors(buffers: dict[str, Tensor | None]) -> Iterator[tuple[str, Tensor]]:
    return ((name, buffer) for name, buffer in buffers.items() if buffer is not None)


def _restore(
    module: nn.Module, originals: dict[str, Tensor | None], values: dict[str, Tensor]
) -> None:
    """Give a module back its own buffer objects, holding the values that they had."""
    module._buffers.clear()
    module._buffers.update(originals)
    with torch.no_grad():
        for name, buffer in _tensors(originals):
            if not torch.equal(buffer, values[name]):
                buffer.copy_(values[name])

"""Statistics of batch norms, estimated anew once the weights are final."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnn.errors import ConfigError


@torch.no_grad()
def reestimate_batch_norm_(
    model: nn.Module, batches: Iterable[Tensor | Sequence[Tensor]]
) -> nn.Module:
    """Replace the running statistics of all batch norms by those of these batches, in place.

    Running averages hold means and variances of weights that training has left behind. In a binary
    network a weight that flips moves them by much, so that estimating them anew after training,
    or after averaging weights, helps. Each batch counts the same; give batches of one size, as
    large as in training, without augmentation that evaluation does not have. In several processes
    each has the statistics of its own batches; :func:`bnn.training.fit` divides the batches among
    them and averages the statistics.

    All but the batch norms is in evaluation meanwhile: no dropout, no random signs. The result is
    the same for the same batches.

    Args:
        model: Modes, momenta and gradients are afterwards as they were.
        batches: Images, or tuples that begin with images, as loaders give them. They are moved to
            the model's device.

    Returns:
        The model.

    Raises:
        ConfigError: If there is no batch. Then, as after any error, the statistics stay.

    Reference:
        Wu and Johnson, *Rethinking "Batch" in BatchNorm*, 2021. https://arxiv.org/abs/2105.07576

    Example:
        >>> model = nn.Sequential(nn.BatchNorm1d(1))
        >>> batches = [torch.tensor([[0.0], [2.0]]), torch.tensor([[2.0], [4.0]])]
        >>> reestimate_batch_norm_(model, batches)[0].running_mean
        tensor([2.])
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return model
    modes = [(module, module.training) for module in model.modules()]
    momenta = [norm.momentum for norm in norms]
    before = [[buffer.clone() for buffer in norm.buffers(recurse=False)] for norm in norms]
    done = False
    try:
        model.eval()
        for norm in norms:
            norm.train()
            norm.momentum = None  # torch then averages over all batches since the reset
            norm.reset_running_stats()
        done = _run(model, batches)
    finally:
        for module, mode in modes:
            module.training = mode
        for norm, momentum, kept in zip(norms, momenta, before, strict=True):
            norm.momentum = momentum
            if not done:
                for buffer, old in zip(norm.buffers(recurse=False), kept, strict=True):
                    buffer.copy_(old)
    if not done:
        raise ConfigError("there is no batch to estimate the statistics of batch norm from.")
    return model


@torch.no_grad()
def average_batch_norm_(model: nn.Module) -> nn.Module:
    """Average the running statistics of all batch norms over all processes, in place.

    After each process has estimated them from batches of its own, as many as the others: then they
    are those of all batches. Without several processes, nothing is changed.

    Returns:
        The model.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return model
    for norm in model.modules():
        if isinstance(norm, _BatchNorm) and norm.track_running_stats:
            for buffer in (norm.running_mean, norm.running_var):
                if buffer is not None:
                    dist.all_reduce(buffer)
                    buffer.div_(dist.get_world_size())
    return model


def _run(model: nn.Module, batches: Iterable[Tensor | Sequence[Tensor]]) -> bool:
    """Show the batches to the model; say whether there was one."""
    device = next((p.device for p in model.parameters()), None)
    shown = False
    for batch in batches:
        images = batch if isinstance(batch, Tensor) else batch[0]
        model(images.to(device))
        shown = True
    return shown

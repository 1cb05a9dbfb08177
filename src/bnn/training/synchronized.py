"""Batch norm over the batches of all processes, on any device.

torch's SyncBatchNorm refuses tensors on the CPU, and Lightning's way back from it forgets whether a
layer was a BatchNorm1d or 2d. Here a layer keeps its identity, parameters and buffers: only its
class changes while it is trained.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.plugins.layer_sync import LayerSync
from torch import Tensor, nn


class BatchNormSync(LayerSync):
    """Lightning plugin: batch norms see the whole batch, whatever number of processes share it.

    For strategies that train copies of a network, as DDP does; one process is not changed. With
    it, training on several devices gives the loss curve of one device with the same global batch.
    Layers of classes derived from torch's batch norms are left alone.

    Example:
        >>> import lightning.pytorch as pl
        >>> trainer = pl.Trainer(plugins=[BatchNormSync()], logger=False, accelerator="cpu")
    """

    def apply(self, model: nn.Module) -> nn.Module:
        """Synchronize the batch norms of a module, in place."""
        return _exchange(model, _SYNCHRONIZED)

    def revert(self, model: nn.Module) -> nn.Module:
        """Make the batch norms local again, in place."""
        return _exchange(model, {after: before for before, after in _SYNCHRONIZED.items()})


class _Synchronized(nn.modules.batchnorm._BatchNorm):
    """What the synchronized layers do in training; evaluation is their float class's own."""

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(x)
        self._check_input_dim(x)
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        axes, shape = [0, *range(2, x.dim())], (1, -1) + (1,) * (x.dim() - 2)
        local = wide.new_full((1,), x.numel() / x.shape[1])
        sums = _SumOverProcesses.apply(torch.cat([wide.sum(axes), local]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        # In a second pass: mean(x^2) - mean(x)^2 would lose the digits that they share.
        centred = wide - mean.view(shape)
        var = _SumOverProcesses.apply(centred.square().sum(axes)) / count
        self._track(mean.detach(), var.detach() * count / (count - 1))
        out = centred * (var + self.eps).rsqrt().view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        result: Tensor = out.to(x.dtype)
        return result

    @torch.no_grad()
    def _track(self, mean: Tensor, unbiased: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None  # noqa: S101 - all three are there or none
        self.num_batches_tracked.add_(1)
        weight = self.momentum
        if weight is None:
            weight = 1 / int(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), weight)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), weight)


class _Synchronized1d(_Synchronized, nn.BatchNorm1d):
    pass


class _Synchronized2d(_Synchronized, nn.BatchNorm2d):
    pass


class _Synchronized3d(_Synchronized, nn.BatchNorm3d):
    pass


_SYNCHRONIZED: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: _Synchronized1d,
    nn.BatchNorm2d: _Synchronized2d,
    nn.BatchNorm3d: _Synchronized3d,
}


class _SumOverProcesses(torch.autograd.Function):
    """Sum over all processes; each one's loss depends on each one's term, and so the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004
        return _summed(x)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Tensor:  # noqa: ARG004
        return _summed(grad_output)


def _summed(x: Tensor) -> Tensor:
    x = x.clone()
    dist.all_reduce(x)
    return x


def _exchange(model: nn.Module, classes: dict[type[nn.Module], type[nn.Module]]) -> nn.Module:
    for module in model.modules():
        if type(module) in classes:
            module.__class__ = classes[type(module)]
    return model

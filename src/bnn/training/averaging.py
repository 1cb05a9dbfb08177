"""Exponential moving average of a network's weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from bnn.errors import CheckpointError, ConfigError


class WeightAverage:
    r"""Average the weights over the steps of training, the recent ones most.

    After each step: :math:`a \leftarrow d\,a + (1 - d)\,w`, with :math:`d` the least of ``decay``
    and :math:`(1 + n) / (10 + n)` at step :math:`n`, so that the start is soon forgotten.

    What is averaged are the trainable parameters, which are the latent weights of binary layers
    (their average is binarized, not the signs averaged), and the running statistics of batch
    norms. The signs of averaged latent weights are not those of any step: estimate the statistics
    again with :func:`bnn.training.reestimate_batch_norm_` where they matter.

    Args:
        model: The network; parameters that it gets later are not averaged.
        decay: :math:`d`, at least 0 and below 1; 0.999 averages about the last 1000 steps.

    Raises:
        ConfigError: If ``decay`` is out of range, or a parameter takes its size from the first
            batch and has not seen one.

    Reference:
        Polyak and Juditsky, *Acceleration of Stochastic Approximation by Averaging*, 1992.

    Example:
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> _ = layer.weight.data.fill_(0.0)
        >>> average = WeightAverage(layer, decay=0.5)
        >>> _ = layer.weight.data.fill_(1.0)
        >>> average.update_()  # the first step's decay is 1 / 10
        >>> with average.applied():
        ...     layer.weight.item()
        0.8999...
        >>> layer.weight.item()
        1.0
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if isinstance(decay, bool) or not 0 <= decay < 1:
            raise ConfigError(f"decay must be at least 0 and below 1; got {decay!r}.")
        self.decay = decay
        self._averaged = dict(_averaged(model))
        self._average = {name: t.detach().clone() for name, t in self._averaged.items()}
        self._trained: dict[str, Tensor] | None = None
        self._steps = 0

    @torch.no_grad()
    def update_(self) -> None:
        """Take in the weights after an optimizer step.

        Raises:
            ConfigError: If the network holds the averages now.
        """
        if self._trained is not None:
            raise ConfigError("the network holds the averages; call restore_() before update_().")
        decay = min(self.decay, (1 + self._steps) / (10 + self._steps))
        for name, tensor in self._averaged.items():
            self._average[name].lerp_(tensor.to(self._average[name].device), 1 - decay)
        self._steps += 1

    @torch.no_grad()
    def apply_(self) -> None:
        """Put the averages into the network, and keep what it held.

        Raises:
            ConfigError: If it holds them already.
        """
        if self._trained is not None:
            raise ConfigError("the network holds the averages already; call restore_() first.")
        self._trained = {name: t.detach().clone() for name, t in self._averaged.items()}
        for name, tensor in self._averaged.items():
            tensor.copy_(self._average[name])

    @torch.no_grad()
    def restore_(self) -> None:
        """Put back what the network held before :meth:`apply_`.

        Raises:
            ConfigError: If it does not hold the averages.
        """
        if self._trained is None:
            raise ConfigError("the network does not hold the averages; call apply_() first.")
        for name, tensor in self._averaged.items():
            tensor.copy_(self._trained[name])
        self._trained = None

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Let the network hold the averages inside the ``with`` block."""
        self.apply_()
        try:
            yield
        finally:
            self.restore_()

    def state_dict(self) -> dict[str, Any]:
        """Return the averages and the number of steps, as plain data and tensors."""
        return {"steps": self._steps, "average": {n: t.clone() for n, t in self._average.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned.

        Raises:
            CheckpointError: If it is of another network.
        """
        steps, average = state.get("steps"), state.get("average")
        if not isinstance(steps, int) or not isinstance(average, Mapping):
            raise CheckpointError("the state is not that of a WeightAverage.")
        wrong = [
            name
            for name in {*self._average, *average}
            if name not in average
            or name not in self._average
            or average[name].shape != self._average[name].shape
        ]
        if wrong:
            raise CheckpointError(
                f"the averages are of another network: {min(wrong)!r} is missing in one or has "
                "another shape."
            )
        self._steps = steps
        for name, tensor in self._average.items():
            tensor.copy_(average[name])


def _averaged(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield what is averaged; tied parameters once."""
    for name, parameter in model.named_parameters():
        if is_lazy(parameter):
            raise ConfigError(
                f"{name!r} has no size yet, so that there is nothing to average. Run the network "
                "once on a batch before."
            )
        if parameter.requires_grad:
            yield name, parameter
    for prefix, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            for name, buffer in module.named_buffers(prefix, recurse=False):
                if buffer.is_floating_point():
                    yield name, buffer

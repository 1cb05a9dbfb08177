"""How binary a network is: latent weights beyond the clip, signs of activations."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bnn.errors import ConfigError
from bnn.layers import BinaryLayer
from bnn.ops import BinarizerBase
from bnn.training.hooks import MeasuringHook
from bnn.training.latent import binary_weight_layers


@torch.no_grad()
def saturated_share(model: nn.Module, limit: float = 1.0) -> float | None:
    """Return the share of latent weights of binary layers that are beyond the clip.

    The straight-through gradient is 0 there: such a weight does not move until something else
    brings it back. All weights count the same, whatever their layer; for one layer, give the layer.

    Args:
        model: Any module.
        limit: The clip, above 0. A weight at the limit itself still gets its gradient.

    Returns:
        From 0 to 1; None if there is no binary weight.

    Raises:
        ConfigError: If ``limit`` is not above 0.

    Example:
        >>> from bnn import BConfig
        >>> from bnn.layers import Linear
        >>> from bnn.ops import BasicInputBinarizer
        >>> layer = Linear(2, 1, bconfig=BConfig(weight_pre_process=BasicInputBinarizer))
        >>> _ = layer.weight.data.copy_(torch.tensor([[-3.0, 1.0]]))
        >>> saturated_share(layer)
        0.5
    """
    if not limit > 0:
        raise ConfigError(f"limit must be above 0; got {limit!r}.")
    weights = [layer.weight for _, layer in binary_weight_layers(model)]
    total = sum(weight.numel() for weight in weights)
    if not total:
        return None
    return sum(int((weight.abs() > limit).sum()) for weight in weights) / total


class SignBalance:
    """Count, for each layer whose input is binarized, how many of its inputs are negative.

    A balanced layer has a share of 0.5 and carries the most information; 0 or 1 is a dead one.
    What is counted are the signs that ``activation_pre_process`` takes, in each forward pass while
    ``enabled``. A copy of the network is not counted.

    Args:
        model: Any module; layers whose input is not binarized are left alone.

    Example:
        >>> from bnn import BConfig
        >>> from bnn.layers import Linear
        >>> from bnn.ops import BasicInputBinarizer
        >>> model = nn.Sequential(Linear(4, 2, bconfig=BConfig(BasicInputBinarizer)))
        >>> with SignBalance(model) as balance:
        ...     _ = model(torch.tensor([[-1.0, 2.0, 3.0, 4.0]]))
        ...     balance.shares()
        {'0': 0.25}
    """

    def __init__(self, model: nn.Module) -> None:
        self.enabled = True
        self._counts: dict[str, _Count] = {}
        self.handles: list[RemovableHandle] = []
        for name, module in model.named_modules():
            if isinstance(module, BinaryLayer) and not isinstance(
                module.activation_pre_process, nn.Identity
            ):
                count = self._counts[name] = _Count(self)
                self.handles.append(module.register_forward_pre_hook(count))

    def shares(self) -> dict[str, float]:
        """Return the share of -1 in each layer's input; layers that have not run are left out."""
        return {
            name: int(count.negative) / count.total
            for name, count in self._counts.items()
            if count.total
        }

    def reset(self) -> None:
        """Begin counting again."""
        for count in self._counts.values():
            count.negative, count.total = 0, 0

    def remove(self) -> None:
        """Take the hooks off the network; what was counted stays."""
        for handle in self.handles:
            handle.remove()

    def __enter__(self) -> SignBalance:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.remove()


class _Count(MeasuringHook):
    """The hook before one layer's forward pass.

    It asks the activation stage what it takes the sign of: a layer that keeps bits for its
    backward pass does not run a stage that somebody watches in any shorter way. Only a stage that
    cannot say is watched.
    """

    only_measures = True  # for compact layers: they may call it with signs that have no graph

    def __init__(self, balance: SignBalance) -> None:
        self.balance = balance
        self.negative: Tensor | int = 0  # on the device: reading it at each step would wait for it
        self.total = 0
        self.watches = False

    @torch.no_grad()
    def __call__(self, module: nn.Module, inputs: Any, output: Any = None) -> None:  # noqa: ARG002
        if self.watches or not self.balance.enabled:
            return
        stage: Any = module.activation_pre_process
        form = stage.sign_form(*inputs[:1]) if inputs and isinstance(stage, BinarizerBase) else None
        if form is not None and not form.draws:
            self.add(form.latent)
            return
        self.watches = True
        self.balance.handles.append(stage.register_forward_hook(_Results(self)))

    def add(self, x: Tensor) -> None:
        """Count a tensor's values."""
        self.negative = self.negative + (x < 0).sum()
        self.total += x.numel()


class _Results(MeasuringHook):
    """The hook of a stage that cannot say what it takes the sign of."""

    def __init__(self, count: _Count) -> None:
        self.count = count

    @torch.no_grad()
    def __call__(self, module: nn.Module, inputs: Any, output: Any = None) -> None:  # noqa: ARG002
        if self.count.balance.enabled:
            # Of the factors of an InputBinarizer, the first has the signs.
            self.count.add(output[0] if isinstance(output, tuple) else output)

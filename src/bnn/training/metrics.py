"""How binary a network is: latent weights beyond the clip, signs of activations."""

from __future__ import annotations

import math
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bnn.errors import ConfigError
from bnn.layers import BinaryLayer
from bnn.layers.levels import gives_factors
from bnn.ops import BinarizerBase
from bnn.ops.base import InputBinarizer
from bnn.training.hooks import MeasuringHook
from bnn.training.latent import binary_weight_layers


@torch.no_grad()
def saturated_share(model: nn.Module, limit: float | None = None) -> float | None:
    """Return the share of latent weights of binary layers that are at the clip or beyond.

    Beyond it the straight-through gradient is 0: such a weight does not move until something else
    brings it back. At it are those that :func:`clamp_latent_weights_` holds there. All weights
    count the same, whatever their layer; for one layer, give the layer.

    Args:
        model: Any module.
        limit: The clip, above 0. Default: each layer's own, which is the ``clip`` of its weight
            binarizer, or 1 where it has no such attribute; None there passes every gradient, and
            no weight is saturated.

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
        >>> saturated_share(layer), saturated_share(layer, limit=2)
        (1.0, 0.5)
    """
    if limit is not None and not limit > 0:
        raise ConfigError(f"limit must be above 0; got {limit!r}.")
    total = saturated = 0
    for _, layer in binary_weight_layers(model):
        bound = latent_limit(layer) if limit is None else limit
        total += layer.weight.numel()
        # In the weight's dtype, as the clamp has it: 0.1 in float32 is more than 0.1.
        saturated += int((layer.weight.abs() >= layer.weight.new_tensor(bound)).sum())
    return saturated / total if total else None


def latent_limit(layer: BinaryLayer) -> float:
    """Return up to where a layer's latent weights get a gradient; infinity if they always do."""
    clip = getattr(layer.weight_pre_process, "clip", 1.0)
    return math.inf if clip is None else float(clip)


class SignBalance:
    """Count, for each layer whose input is binarized, how many of its inputs are at a low level.

    Those are the negative ones, -1, where the levels are -1 and +1, and what is below the middle
    where they are others: 0 of 0 and 1 (Heaviside), 0 and 1/3 of DoReFa's four levels. The levels
    are those that the binarizer's class says (:attr:`bnn.ops.BinarizerBase.levels`), without a
    learnt offset. A balanced layer has a share of 0.5 and carries the most information; 0 or 1 is a
    dead one. What is counted are the values that ``activation_pre_process`` gives, in each forward
    pass while ``enabled``. A copy of the network is not counted.

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
        """Return the share of low levels in each layer's input, but of layers that have not run."""
        return {
            name: int(count.low) / count.total
            for name, count in self._counts.items()
            if count.total
        }

    def reset(self) -> None:
        """Begin counting again."""
        for count in self._counts.values():
            count.low, count.total = 0, 0

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
        self.low: Tensor | int = 0  # on the device: reading it at each step would wait for it
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

    def add(self, x: Tensor, middle: float = 0.0) -> None:
        """Count a tensor's values."""
        self.low = self.low + (x < middle).sum()
        self.total += x.numel()


class _Results(MeasuringHook):
    """The hook of a stage that cannot say what it takes the sign of."""

    def __init__(self, count: _Count) -> None:
        self.count = count

    @torch.no_grad()
    def __call__(self, module: nn.Module, inputs: Any, output: Any = None) -> None:
        if not self.count.balance.enabled:
            return
        levels = getattr(module, "levels", None) or (0.0,)
        middle = (min(levels) + max(levels)) / 2
        if gives_factors(module, InputBinarizer) and not isinstance(output, tuple):
            output = module.forward(*inputs, factors=True)  # past the hooks: this is one
        if isinstance(output, tuple):
            integers, scale, _ = output
            # A learnt scale may be negative: around 0 the integers say which level it is.
            output = integers if scale is None or not middle else integers * scale
        self.count.add(output, middle)

"""Optimizer and learning rate of one step."""

from __future__ import annotations

import functools
import math

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from bnn.layers import BINARY_LAYERS


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Split the trainable parameters into those that decay and those that do not.

    Only the weights of linear layers and convolutions decay, binary or not. Biases, norms, learnt
    scales and slopes do not: pulling them to 0 changes the function, not its complexity.
    """
    layers = tuple(BINARY_LAYERS)
    decaying = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, layers)
        for name, parameter in module.named_parameters()
        # A parametrized weight lies below the layer, as parametrizations.weight.original.
        if name == "weight" or name.startswith("parametrizations.weight.")
    }
    trainable = [p for p in model.parameters() if p.requires_grad]
    decay = [p for p in trainable if id(p) in decaying]
    rest = [p for p in trainable if id(p) not in decaying]
    groups = [
        {"params": decay, "weight_decay": weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def factor(schedule: str, total: int, index: int) -> float:
    """Return what the learning rate is multiplied by at optimizer step ``index`` of ``total``.

    Example:
        >>> [factor("linear", 4, i) for i in range(5)]
        [1.0, 0.75, 0.5, 0.25, 0.0]
        >>> factor("cosine", 4, 2)
        0.5
    """
    progress = min(index / total, 1.0)
    if schedule == "linear":
        return 1.0 - progress
    if schedule == "cosine":
        return round(0.5 * (1.0 + math.cos(math.pi * progress)), 12)
    return 1.0


def make_optimizer(
    model: nn.Module, *, learning_rate: float, weight_decay: float, schedule: str, total: int
) -> tuple[torch.optim.Optimizer, LambdaLR]:
    """Return Adam and its schedule, new for each step of a recipe.

    Args:
        model: What is trained.
        learning_rate: At the start.
        weight_decay: For the weights of layers.
        schedule: One of :data:`bnn.training.config.SCHEDULES`.
        total: Optimizer steps until the rate has fallen.
    """
    optimizer = torch.optim.Adam(parameter_groups(model, weight_decay), lr=learning_rate)
    # In closed form: nothing accumulates, so that a resumed run has the very same rates.
    return optimizer, LambdaLR(optimizer, functools.partial(factor, schedule, max(total, 1)))

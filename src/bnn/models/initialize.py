"""Initial weights."""

from __future__ import annotations

from typing import Literal

from torch import nn

from bnn.layers import BinaryLayer


def initialize_(model: nn.Module, mode: Literal["fan_in", "fan_out"] = "fan_out") -> None:
    """Draw each convolution's weight from He's normal distribution, in place.

    Norms and linear layers keep PyTorch's own initialization: 1 and 0 for a norm.

    Args:
        model: What holds the convolutions.
        mode: Whether to keep the variance of the activations (``"fan_in"``) or of the gradients
            (``"fan_out"``, as residual networks have it).

    Reference:
        He et al., *Delving Deep into Rectifiers*, ICCV 2015. https://arxiv.org/abs/1502.01852

    Example:
        >>> initialize_(nn.Sequential(nn.Conv2d(3, 8, 3)))
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def initialize_latent_(model: nn.Module) -> None:
    """Draw the latent weight of each binary layer from Glorot's normal distribution, in place.

    Its values are small enough that no sign's gradient is clipped at first.

    Args:
        model: What holds the binary layers.

    Reference:
        Glorot & Bengio, *Understanding the difficulty of training deep feedforward neural
        networks*, AISTATS 2010. https://proceedings.mlr.press/v9/glorot10a.html

    Example:
        >>> initialize_latent_(nn.Sequential(nn.Conv2d(3, 8, 3)))  # no binary layer: no change
    """
    for module in model.modules():
        if isinstance(module, BinaryLayer):
            nn.init.xavier_normal_(module.weight)

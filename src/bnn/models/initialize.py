"""Initial weights, the same for every network of the package."""

from __future__ import annotations

from torch import nn


def initialize_(model: nn.Module) -> None:
    """Draw each convolution's weight from He's normal distribution (fan-out), in place.

    Norms and linear layers keep PyTorch's own initialization: 1 and 0 for a norm.

    Reference:
        He et al., *Delving Deep into Rectifiers*, ICCV 2015. https://arxiv.org/abs/1502.01852

    Example:
        >>> initialize_(nn.Sequential(nn.Conv2d(3, 8, 3)))
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)

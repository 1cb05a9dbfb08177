"""Bi-Real Net: the first binary networks with a shortcut around each convolution."""

from __future__ import annotations

import functools
from typing import Any

from bnn.config import BConfig
from bnn.models.preprocessing import IMAGENET, IMAGENET_LARQ
from bnn.models.registry import Figures, Published, register_model
from bnn.models.skip_per_conv import SkipBlock, SkipPerConvNet
from bnn.ops import ApproxSignBinarizer, MagnitudeAwareWeightBinarizer


class BiRealBlock(SkipBlock):
    """Sign with a smooth gradient, scaled binary 3x3 convolution, batch norm, plus the shortcut.

    The gradient of the sign is that of a piecewise polynomial; a filter's scale is the mean
    magnitude of its latent weights. See :class:`bnn.models.skip_per_conv.SkipBlock`.
    """

    BCONFIG = BConfig(ApproxSignBinarizer, weight_pre_process=MagnitudeAwareWeightBinarizer)


class BiRealNet(SkipPerConvNet):
    """A residual network without any activation but the signs.

    Arguments and shapes: see :class:`bnn.models.skip_per_conv.SkipPerConvNet`.

    Reference:
        Liu et al., *Bi-Real Net*, ECCV 2018. https://arxiv.org/abs/1808.00278

    Example:
        >>> import torch
        >>> BiRealNet((1, 1), 5, width=8)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    BLOCK = BiRealBlock


_register = functools.partial(
    register_model,
    network=BiRealNet,
    input_shape=(3, 224, 224),
    num_classes=1000,
    paper="https://arxiv.org/abs/1808.00278",
    tiny={"layers": (2, 1), "width": 32, "num_classes": 5, "input_size": 32},
    tiny_shape=(3, 32, 32),
)


@_register(
    summary="Bi-Real Net 18, as Larq Zoo has it",
    figures=Figures(params=11_689_512, bytes=4_189_344, macs={1: 1_676_279_808, 32: 137_793_536}),
    published=Published(top1=57.47, top5=79.84),
    preprocessing=IMAGENET_LARQ,
)
def birealnet18(**kwargs: Any) -> BiRealNet:
    """Make a Bi-Real Net 18; any argument of :class:`BiRealNet` can be given by keyword.

    Its batch norms are Larq's, ``bn_momentum=0.2, bn_eps=1e-3``; its authors have 0.1 and 1e-5.

    Example:
        >>> birealnet18(num_classes=10).fc
        Linear(in_features=512, out_features=10, bias=True)
    """
    return BiRealNet(**{"bn_momentum": 0.2, "bn_eps": 1e-3, **kwargs})


@_register(
    summary="Bi-Real Net 34, as its authors have it",
    figures=Figures(params=21_797_672, bytes=5_481_632, macs={1: 3_525_967_872, 32: 137_793_536}),
    published=Published(top1=62.2),
    preprocessing=IMAGENET,
)
def birealnet34(**kwargs: Any) -> BiRealNet:
    """Make a Bi-Real Net 34; see :func:`birealnet18`.

    Example:
        >>> len(birealnet34(num_classes=10).stages[2])
        12
    """
    return BiRealNet(**{"layers": (6, 8, 12, 6), **kwargs})

"""IR-Net: standardised weights with a scale that is a power of two (Libra-PB)."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor, nn

from bnn.ops.base import SignForm, WeightBinarizer, binarizers
from bnn.ops.ede import ErrorDecay, ErrorDecaySign
from bnn.ops.filters import by_filter, filter_size, transposed_groups


@binarizers.register("IRNetWeightBinarizer")
class IRNetWeightBinarizer(ErrorDecay, WeightBinarizer):
    r"""Binarize a standardised weight to :math:`s_f\,\mathrm{sign}(w')` with IR-Net's gradient.

    Forward:   :math:`w' = (w - \mathrm{mean}_f) / \mathrm{std}_f` (unbiased), :math:`q(w) = s_f\,
    \mathrm{sign}(w')`, :math:`s_f = 2^{\mathrm{round}(\log_2 \mathrm{mean}|w'|)}`.
    Backward:  :math:`s_f k t (1 - \tanh^2(t w'))` as in :class:`EDEBinarizer`, then autograd
    through mean and deviation; none through :math:`s_f`.

    A filter of one entry has no deviation, and is only signed.

    Args:
        t_min: :math:`t` at first. The paper has 0.1 to 10, its CIFAR-10 ResNet-20 0.001 to 10.
        t_max: :math:`t` at the end.
        module: The layer, given by it: a transposed convolution's filters lie on other axes.

    Shape:
        - Input: a weight, ``(O, I/groups, *kernel)``, or ``(I, O/groups, *kernel)`` for a
          transposed convolution.
        - Output: same shape and dtype.

    Raises:
        ConfigError: If ``t_min`` is not above 0, or above ``t_max``.

    Reference:
        Qin et al., *Forward and Backward Information Retention for Accurate Binary Neural
        Networks*, CVPR 2020. https://arxiv.org/abs/1909.10788

    Example:
        >>> IRNetWeightBinarizer()(torch.tensor([[0.5, 0.1, 0.4, 0.2]]))
        tensor([[ 1., -1.,  1., -1.]])
    """

    def __init__(
        self, t_min: float = 0.1, t_max: float = 10.0, *, module: nn.Module | None = None
    ) -> None:
        super().__init__(t_min, t_max)
        self._transposed = transposed_groups(module)

    def depends_on(self) -> Hashable | None:
        """Return where the filters are: ``t`` is the gradient's."""
        return self._state(IRNetWeightBinarizer, self._transposed)

    def sign_form(self, x: Tensor) -> SignForm | None:
        """Return the sign of the standardized weight."""
        if self._state(IRNetWeightBinarizer) is None:
            return None
        latent, scale = self._standardized(x)
        return SignForm(latent, ErrorDecaySign, (self.t,), scale)

    def decompose(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the signs, and the powers of two of shape ``(O,)``."""
        latent, scale = self._standardized(weight)
        return self._sign(latent), scale

    def _standardized(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        w, axes = by_filter(weight, self._transposed)
        if filter_size(weight, self._transposed) > 1:
            w = w - w.mean(axes, keepdim=True)
            least = torch.finfo(w.dtype).tiny  # of a filter whose entries are all the same
            w = w / w.std(axes, keepdim=True).clamp_min(least)
        scale = w.detach().abs().mean(axes).log2().round().exp2().flatten()
        return w.view(weight.shape), scale

"""ReCU: weights in the tails of their distribution are drawn back."""

from __future__ import annotations

import math
from collections.abc import Hashable

import torch
from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.ops.base import SignForm, WeightBinarizer, binarizers
from bnn.ops.filters import by_filter, filter_size, transposed_groups
from bnn.ops.sign import ClippedSign

_EPS = 1e-5


@binarizers.register("ReCUWeightBinarizer")
class ReCUWeightBinarizer(WeightBinarizer):
    r"""Standardise a weight, clamp it at a quantile, and take the sign.

    Forward:   :math:`w_0 = w - \mathrm{mean}_f`, :math:`w_1 = 2\sqrt{2}\, w_0 /
    \sqrt{\mathrm{var}_f(w_0) + 10^{-5}}`, :math:`Q = -\mathrm{mean}|w_1| \ln(2 - 2\tau)` over the
    layer, :math:`q(w) = \mathrm{sign}(\mathrm{clamp}(w_1, -Q, Q))`.
    Backward:  1 through the sign, everywhere; autograd through the clamp (0 beyond Q), the
    variance (unbiased) and the mean; none through Q.

    The published networks multiply the output by a learnt scale of each channel: that is
    :class:`BasicScaleBinarizer`. :math:`\tau = A e^p + B` goes from ``tau_min`` to ``tau_max``
    with the progress p of training: see :func:`bnn.ops.set_progress_`. A filter of one entry has no
    deviation, and is only clamped and signed.

    Args:
        tau_min: :math:`\tau` at first, above 0.5.
        tau_max: :math:`\tau` at the end, below 1.
        module: The layer, given by it: a transposed convolution's filters lie on other axes.

    Shape:
        - Input: a weight, ``(O, I/groups, *kernel)``, or ``(I, O/groups, *kernel)`` for a
          transposed convolution.
        - Output: same shape and dtype; every entry is -1 or +1.

    Raises:
        ConfigError: If it is not 0.5 < tau_min <= tau_max < 1.

    Reference:
        Xu et al., *ReCU: Reviving the Dead Weights in Binary Neural Networks*, ICCV 2021.
        https://arxiv.org/abs/2103.12369

    Example:
        >>> binarizer = ReCUWeightBinarizer()
        >>> binarizer(torch.tensor([[0.5, 0.1, 0.4, 0.2]]))
        tensor([[ 1., -1.,  1., -1.]])
        >>> binarizer.set_progress_(1.0)
        >>> binarizer.tau
        tensor(0.9900)
    """

    tau: Tensor

    def __init__(
        self, tau_min: float = 0.85, tau_max: float = 0.99, *, module: nn.Module | None = None
    ) -> None:
        super().__init__()
        if not 0.5 < tau_min <= tau_max < 1:
            raise ConfigError(
                f"ReCUWeightBinarizer: tau_min is {tau_min!r} and tau_max {tau_max!r}; it must be "
                "0.5 < tau_min <= tau_max < 1."
            )
        self.tau_min, self.tau_max = tau_min, tau_max
        self._transposed = transposed_groups(module)
        self.register_buffer("tau", torch.tensor(float(tau_min)))

    def set_progress_(self, progress: float) -> None:
        """Let ``tau`` grow exponentially from ``tau_min`` to ``tau_max``."""
        factor = (self.tau_max - self.tau_min) / (math.e - 1)
        self.tau.fill_(self.tau_min + factor * (math.exp(progress) - 1))

    def depends_on(self) -> Hashable | None:
        """Return where the filters are, and ``tau``."""
        return self._state(ReCUWeightBinarizer, self._transposed, self.tau.item())

    def sign_form(self, x: Tensor) -> SignForm | None:
        """Return the sign of the standardized and clamped weight."""
        if self._state(ReCUWeightBinarizer) is None:
            return None
        return SignForm(self._revived(x), ClippedSign, (None,))

    def decompose(self, weight: Tensor) -> tuple[Tensor, None]:
        """Return the signs, and no scale."""
        return ClippedSign.apply(self._revived(weight), None), None

    def _revived(self, weight: Tensor) -> Tensor:
        w, axes = by_filter(weight, self._transposed)
        if filter_size(weight, self._transposed) > 1:
            w = w - w.mean(axes, keepdim=True)
            deviation = torch.sqrt(w.var(axes, keepdim=True) + _EPS)
            w = w / (deviation / (2 * math.sqrt(2)))
        quantile = -w.detach().abs().mean() * torch.log(2 - 2 * self.tau.to(w.dtype))
        return w.clamp(-quantile, quantile).view(weight.shape)

    def extra_repr(self) -> str:
        """Show the bounds of ``tau``."""
        return f"tau_min={self.tau_min}, tau_max={self.tau_max}"

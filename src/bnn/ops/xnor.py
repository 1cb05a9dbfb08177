"""XNOR-Net: scaled binary weights, and the input scale K."""

from __future__ import annotations

from collections.abc import Hashable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from bnn.errors import ConfigError
from bnn.ops.base import BinarizerBase, SignForm, WeightBinarizer, binarizers
from bnn.ops.filters import by_filter, output_channels, transposed_groups
from bnn.ops.sign import SignActivation

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


@binarizers.register("XNORWeightBinarizer")
class XNORWeightBinarizer(WeightBinarizer):
    r"""Binarize a weight to :math:`\alpha_f\, \mathrm{sign}(w)`, one scale per output channel f.

    Forward:   :math:`q(w) = \alpha_f\, \mathrm{sign}(w)`,
    :math:`\alpha_f = \mathrm{mean}_{w \in f} |w|`.
    Backward:  the straight-through estimator (1 if :math:`|w| \le 1`, else 0) through the sign,
    and, unless ``detach_alpha``, autograd through :math:`\alpha`:
    :math:`g\,\alpha_f\,1[|w| \le 1] + \frac{\mathrm{sgn}(w)}{n} \sum_f g\, \mathrm{sign}(w)`
    with n the entries of a filter and sgn(0) = 0.

    Args:
        compute_alpha: False gives plain signs, without the scale.
        center_weights: Subtract each filter's mean over its input channels first. A filter with
            one input channel (depthwise) is left as it is: its centred weights would all be 0.
        detach_alpha: Let no gradient through :math:`\alpha`, as Bi-Real Net and ReActNet do.
        clamp_weights: Clamp the (centred) weights to [-1, 1] first, as the paper's own code does;
            what is beyond gets no gradient through :math:`\alpha` either.
        module: The layer, given by it: a transposed convolution's filters lie on other axes.

    Shape:
        - Input: a weight, ``(O, I/groups, *kernel)``, or ``(I, O/groups, *kernel)`` for a
          transposed convolution.
        - Output: same shape and dtype.

    Reference:
        Rastegari et al., *XNOR-Net*, ECCV 2016. https://arxiv.org/abs/1603.05279

    Example:
        >>> XNORWeightBinarizer()(torch.tensor([[0.5, -1.5], [0.0, 0.2]]))
        tensor([[ 1.0000, -1.0000],
                [ 0.1000,  0.1000]])
    """

    clamp_weights = False  # of one that was pickled before it had the argument

    def __init__(
        self,
        compute_alpha: bool = True,
        center_weights: bool = False,
        detach_alpha: bool = False,
        clamp_weights: bool = False,
        *,
        module: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.compute_alpha: bool
        self.center_weights: bool
        self.detach_alpha: bool
        self._transposed: int | None
        # Past nn.Module.__setattr__, which takes 2 us for each while it looks for tensors: in a
        # model of thousands of layers that is a tenth of the whole conversion.
        vars(self).update(
            compute_alpha=compute_alpha,
            center_weights=center_weights,
            detach_alpha=detach_alpha,
            clamp_weights=clamp_weights,
            _transposed=transposed_groups(module),
        )

    def depends_on(self) -> Hashable | None:
        """Return the arguments."""
        return self._state(
            XNORWeightBinarizer,
            self.compute_alpha,
            self.center_weights,
            self.clamp_weights,
            self._transposed,
        )

    def sign_form(self, x: Tensor) -> SignForm | None:
        """Return the straight-through sign of the weight, centred or not, times alpha."""
        if self._state(XNORWeightBinarizer) is None:
            return None
        w, axes = self._latent(x)
        latent = w.view(x.shape) if self.center_weights or self.clamp_weights else x
        if not self.compute_alpha:
            return SignForm(latent, SignActivation)
        with torch.no_grad():
            alpha = w.abs().mean(axes).flatten()
        return SignForm(latent, SignActivation, scale=alpha, mean=not self.detach_alpha)

    def decompose(self, weight: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the signs and, if ``compute_alpha``, alpha of shape ``(O,)``."""
        w, axes = self._latent(weight)
        signs = SignActivation.apply(w).view(weight.shape)
        if not self.compute_alpha:
            return signs, None
        alpha = w.abs().mean(axes).flatten()
        return signs, alpha.detach() if self.detach_alpha else alpha

    def _latent(self, weight: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """Return what the signs are taken of, viewed by filter, and a filter's axes."""
        w, axes = by_filter(weight, self._transposed)
        if self.center_weights and w.shape[axes[0]] > 1:
            w = w - w.mean(axes[0], keepdim=True)
        if self.clamp_weights:
            w = w.clamp(-1, 1)
        return w, axes

    def extra_repr(self) -> str:
        """Show the options."""
        return (
            f"compute_alpha={self.compute_alpha}, center_weights={self.center_weights}, "
            f"detach_alpha={self.detach_alpha}"
            + (f", clamp_weights={self.clamp_weights}" if self.clamp_weights else "")
        )


@binarizers.register("XNORScaleBinarizer")
class XNORScaleBinarizer(BinarizerBase):
    r"""Scale a layer's output by K, the mean magnitude of the input under each filter position.

    Forward:   :math:`y = x_{out} \odot K`, :math:`K = A * \frac{1}{k_h k_w}`, with
    :math:`A = \mathrm{mean}_c |x_{in}|`, convolved with the layer's own stride, padding, dilation
    and padding mode. With groups, each group of channels has its own A and K. For a linear layer
    K is the mean over the features.
    Backward:  autograd through both factors.

    Args:
        module: A linear layer or a convolution: its geometry is taken, the layer is not kept.

    Shape:
        - Input: the layer's output ``(N, O, *out)`` and its input ``(N, C, *in)``, or both
          without N.
        - Output: same shape and dtype as the layer's output.

    Raises:
        ConfigError: For a transposed convolution, for which the paper defines no K.

    Reference:
        Rastegari et al., *XNOR-Net*, ECCV 2016. https://arxiv.org/abs/1603.05279

    Example:
        >>> scale = XNORScaleBinarizer(nn.Conv2d(2, 4, 3, padding=1))
        >>> scale(torch.ones(1, 4, 5, 5), torch.ones(1, 2, 5, 5))[0, 0, 0]
        tensor([0.4444, 0.6667, 0.6667, 0.6667, 0.4444])
    """

    stage = "output"

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        if isinstance(module, _ConvTransposeNd) or not isinstance(module, (_ConvNd, nn.Linear)):
            raise ConfigError(
                f"XNORScaleBinarizer got a {type(module).__name__}; its scale K is defined for "
                "linear layers and convolutions. Use BasicScaleBinarizer here."
            )
        self.repeats = output_channels(module)
        self.groups = 0  # a linear layer has no box to convolve with
        if isinstance(module, _ConvNd):
            self.groups = module.groups
            self.repeats //= module.groups
            self.stride, self.dilation = module.stride, module.dilation
            # nn's own list covers every padding: numbers, 'same' and 'valid'.
            self.pad = list(module._reversed_padding_repeated_twice)
            # A tap padded with -1 or +1 has magnitude 1, one padded with 0 has none.
            self.pad_value = float(abs(getattr(module, "padding_value", 0)))
            self.pad_mode = module.padding_mode.replace("zeros", "constant")
            box = module.weight.new_ones((self.groups, 1, *module.kernel_size))
            self.register_buffer("box", box / box[0].numel(), persistent=False)

    def is_repeatable(self) -> bool:
        """Say that it is, unless a subclass has a forward of its own."""
        return self._state(XNORScaleBinarizer) is not None

    def forward(self, layer_out: Tensor, layer_in: Tensor) -> Tensor:
        """Return ``layer_out`` times K, in ``layer_out``'s dtype."""
        magnitude = layer_in.abs()
        if not self.groups:
            return layer_out * magnitude.mean(-1, keepdim=True).to(layer_out.dtype)
        box: Tensor = self.box  # type: ignore[assignment]  # a buffer
        spatial = box.dim() - 2
        channels = -spatial - 1
        a = magnitude.unflatten(channels, (self.groups, -1)).mean(-spatial - 1)
        if any(self.pad):
            value = {"value": self.pad_value} if self.pad_mode == "constant" else {}
            a = F.pad(a, self.pad, mode=self.pad_mode, **value)
        k = _CONV[spatial](
            a, box.to(a.dtype), stride=self.stride, dilation=self.dilation, groups=self.groups
        )
        if self.groups > 1:
            k = k.repeat_interleave(self.repeats, channels)
        return layer_out * k.to(layer_out.dtype)

"""BNN+: a regularizer that pulls latent weights towards binary values."""

from __future__ import annotations

from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.training.latent import binary_weight_layers
from bnn.training.losses.base import LOSSES, Loss, LossInputs
from bnn.values import is_number, shown

_SCALES = ("optimal", "learnt")


@LOSSES.register("bnn_plus")
class BNNPlusLoss(Loss):
    r"""Pull the latent weights of the binary layers towards :math:`\pm\alpha`.

    Norm 1: :math:`\sum_l \sum_i \left|\alpha_l - |w_{li}|\right|`;
    norm 2: :math:`\sum_l \sum_i \left(\alpha_l - |w_{li}|\right)^2`.

    It is a sum over all weights, as in the paper, so that its weight beside the cross entropy is
    small: about 1e-6.

    Args:
        norm: 1 or 2.
        scale: :math:`\alpha`: a number above 0; ``"optimal"``, the value for which the sum is
            least in each layer: the median of :math:`|w|` for norm 1, the mean for norm 2,
            through which no gradient flows; or ``"learnt"``, the layer's own learnt scaling factor
            ``alpha``, for each output channel (of :class:`bnn.ops.BasicScaleBinarizer`), which is
            pulled towards the weights' size in turn.

    Raises:
        ConfigError: If an argument cannot be used, no layer's weights are binary, or a layer
            has no learnt scale.

    Reference:
        Darabi et al., *BNN+: Improved Binary Network Training*, 2018.
        https://arxiv.org/abs/1812.11800

    Example:
        >>> import torch
        >>> from bnn import BConfig
        >>> from bnn.layers import Linear
        >>> from bnn.ops import BasicInputBinarizer
        >>> layer = Linear(2, 1, bconfig=BConfig(weight_pre_process=BasicInputBinarizer))
        >>> _ = layer.weight.data.copy_(torch.tensor([[0.5, -2.0]]))
        >>> batch = LossInputs(model=layer, logits=torch.zeros(1, 1), labels=torch.tensor([0]))
        >>> BNNPlusLoss(norm=1)(batch).item(), BNNPlusLoss(norm=2)(batch).item()
        (1.5, 1.25)
    """

    def __init__(self, norm: int = 2, scale: float | str = 1.0) -> None:
        super().__init__()
        if norm not in (1, 2):
            raise ConfigError(f"norm must be 1 or 2; got {shown(norm)}.")
        if not (scale > 0 if is_number(scale) else scale in _SCALES):
            raise ConfigError(
                f"scale must be finite and above 0, 'optimal' or 'learnt'; got {shown(scale)}."
            )
        self.norm = norm
        self.scale = scale

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the sum over all layers whose weights are binary."""
        total: Tensor | None = None
        for name, layer in binary_weight_layers(inputs.model):
            size = layer.weight.abs()
            distance = self._alpha(name, layer, size) - size
            part = distance.abs().sum() if self.norm == 1 else distance.square().sum()
            total = part if total is None else total + part
        if total is None:
            raise ConfigError(
                "bnn_plus: the network has no layer whose weights are binary. Leave the loss out."
            )
        return total

    def _alpha(self, name: str, layer: nn.Module, size: Tensor) -> Tensor | float:
        if self.scale == "optimal":
            return (size.median() if self.norm == 1 else size.mean()).detach()
        if not isinstance(self.scale, str):
            return self.scale
        alpha = getattr(layer.activation_post_process, "alpha", None)
        channels = size.shape[0]
        if not isinstance(alpha, Tensor) or alpha.numel() != channels:
            raise ConfigError(
                f"bnn_plus: layer {name!r} has no learnt scale for each output channel. Give its "
                "BConfig activation_post_process=BasicScaleBinarizer, or the loss another scale."
            )
        return alpha.view(-1, *(1,) * (size.dim() - 1))

    def extra_repr(self) -> str:
        """Show the arguments."""
        return f"norm={self.norm}, scale={self.scale!r}"

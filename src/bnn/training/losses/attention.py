"""Attention matching: look where the teacher looks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor
from torch.nn import functional as F

from bnn.errors import ConfigError
from bnn.select import as_names
from bnn.training.losses.base import LOSSES, Loss, LossInputs


def attention_map(features: Tensor) -> Tensor:
    r"""Return where features are strong: :math:`Q = v / \|v\|`, :math:`v = \mathrm{mean}_c x_c^2`.

    Args:
        features: (N, C, *), for example (N, C, H, W).

    Returns:
        (N, positions), each row of length 1, or 0 where all features are 0.

    Example:
        >>> import torch
        >>> attention_map(torch.tensor([[[0.0, 2.0]]]))
        tensor([[0., 1.]])
    """
    return F.normalize(features.square().mean(1).flatten(1), dim=1)


@LOSSES.register("attention")
class AttentionLoss(Loss):
    r"""Match the attention maps of named layers with those of the teacher.

    :math:`\sum_l \frac{1}{N} \sum_n \operatorname{mean}_p
    \left(Q_{np}(S^l) - Q_{np}(T^l)\right)^2`, where :math:`Q` is :func:`attention_map` of what
    layer :math:`l` puts out in network :math:`S` and teacher :math:`T`. They may differ in
    channels, not in height and width.

    Args:
        layers: Names of modules of the network, at least one.
        teacher_layers: Names of the teacher's, in the same order. Default: the same names.

    Raises:
        ConfigError: If the names are none, or not as many on both sides.

    Reference:
        Martinez et al., *Training Binary Neural Networks with Real-to-Binary Convolutions*,
        ICLR 2020. https://arxiv.org/abs/2003.11535

    Example:
        >>> import torch
        >>> features = {"layer1": torch.ones(1, 4, 2, 2)}
        >>> teacher = {"layer1": torch.ones(1, 8, 2, 2)}
        >>> batch = LossInputs(
        ...     model=torch.nn.Identity(), logits=torch.zeros(1, 2), labels=torch.tensor([0]),
        ...     features=features, teacher_features=teacher,
        ... )
        >>> AttentionLoss(layers=["layer1"])(batch)
        tensor(0.)
    """

    needs_teacher = True

    def __init__(self, layers: Iterable[str], teacher_layers: Iterable[str] | None = None) -> None:
        super().__init__()
        self._layers = tuple(as_names(layers, "layers"))
        self._teacher_layers = (
            self._layers
            if teacher_layers is None
            else tuple(as_names(teacher_layers, "teacher_layers"))
        )
        if not self._layers or len(self._layers) != len(self._teacher_layers):
            raise ConfigError(
                f"attention needs as many layers of the network as of the teacher, at least one; "
                f"got {len(self._layers)} and {len(self._teacher_layers)}."
            )

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the network's layers."""
        return self._layers

    @property
    def teacher_layers(self) -> tuple[str, ...]:
        """Names of the teacher's layers."""
        return self._teacher_layers

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the sum over the layers."""
        total = inputs.logits.new_zeros(())
        for name, teacher_name in zip(self._layers, self._teacher_layers, strict=True):
            got = _feature(inputs.features, name, "network")
            wanted = _feature(inputs.teacher_features, teacher_name, "teacher").detach()
            if got.shape[2:] != wanted.shape[2:]:
                raise ConfigError(
                    f"attention: {name!r} gives {tuple(got.shape[2:])} positions, but "
                    f"{teacher_name!r} of the teacher gives {tuple(wanted.shape[2:])}. Name layers "
                    "of the same height and width."
                )
            difference = attention_map(got) - attention_map(wanted)
            total = total + inputs.mean(difference.square().mean(1))
        return total

    def extra_repr(self) -> str:
        """Show the layers."""
        return f"layers={self._layers}, teacher_layers={self._teacher_layers}"


def _feature(features: Mapping[str, Tensor], name: str, of: str) -> Tensor:
    if name not in features:
        raise ConfigError(
            f"attention: no output of the {of}'s layer {name!r} was given; given are "
            f"{', '.join(map(repr, features)) or 'none'}."
        )
    if features[name].dim() < 3:
        raise ConfigError(
            f"attention: {name!r} of the {of} gives {tuple(features[name].shape)}; a map needs "
            "(N, C, positions...)."
        )
    return features[name]

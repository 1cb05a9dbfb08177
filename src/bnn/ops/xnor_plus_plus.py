"""XNOR-Net++: learnt scales for channels and places of a layer's output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from bnn.errors import ConfigError
from bnn.ops.base import BinarizerBase, binarizers
from bnn.ops.filters import output_channels
from bnn.values import shown

Form = Literal["channel", "full", "channel_places", "channel_axes"]


@binarizers.register("XNORPlusPlusScaleBinarizer")
class XNORPlusPlusScaleBinarizer(BinarizerBase):
    r"""Multiply a layer's output by learnt scales for its channels and places.

    Forward:   :math:`y = x_{out}\,\Gamma`, with :math:`\Gamma_{ohw}` one of
    :math:`\alpha_o` (``"channel"``), :math:`\alpha_{ohw}` (``"full"``),
    :math:`\alpha_o \beta_{hw}` (``"channel_places"``) and :math:`\alpha_o \beta_h \gamma_w`
    (``"channel_axes"``, the paper's best). All are 1 at first.
    Backward:  autograd through all factors.

    But for ``"channel"``, the scales have the size of the layer's output. If it is not given, they
    take the size of the first output they see, or of the state dict that is loaded: run the model
    once before its parameters go to an optimizer. From then on every output must have that size.
    A linear layer has no places: all forms are :math:`\alpha_o`.

    Args:
        module: The layer whose output is scaled: gives channels, axes, dtype and device.
        form: Which factors there are.
        size: Of the layer's output, without batch and channels, as ``(height, width)``.

    Shape:
        - Input: the layer's output, batched or not; the layer's input is not used.
        - Output: same shape and dtype.

    Raises:
        ConfigError: If the form is unknown, ``size`` has not one number for each axis, or an output
            has another size than the scales.

    Reference:
        Bulat and Tzimiropoulos, *XNOR-Net++*, BMVC 2019. https://arxiv.org/abs/1909.13863

    Example:
        >>> scale = XNORPlusPlusScaleBinarizer(nn.Conv2d(3, 8, 3), size=(14, 7))
        >>> {name: tuple(factor.shape) for name, factor in scale.named_parameters()}
        {'alpha': (8, 1, 1), 'beta': (14, 1), 'gamma': (1, 7)}
        >>> scale = XNORPlusPlusScaleBinarizer(nn.Conv2d(3, 8, 3), form="full")
        >>> scale(torch.ones(1, 8, 4, 4), torch.ones(1, 3, 6, 6)).shape, scale.alpha.shape
        (torch.Size([1, 8, 4, 4]), torch.Size([8, 4, 4]))
    """

    stage = "output"
    alpha: Tensor

    def __init__(
        self, module: nn.Module, form: Form = "channel_axes", size: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        weight: Tensor = module.weight  # type: ignore[assignment]  # nn.Module is untyped here
        self.axes = weight.dim() - 2
        if form not in get_args(Form):
            known = ", ".join(map(repr, get_args(Form)))
            raise ConfigError(
                f"XNORPlusPlusScaleBinarizer: form is {shown(form)}; allowed: {known}."
            )
        self.form: Form = form if self.axes else "channel"
        self.channels = output_channels(module)
        names = {
            "channel_places": ["beta"],
            "channel_axes": ["beta", "gamma", "delta"][: self.axes],
        }
        for name in ["alpha", *names.get(self.form, [])]:
            made: Any = UninitializedParameter  # its arguments are unknown to mypy
            factor = made(device=weight.device, dtype=weight.dtype)
            self.register_parameter(name, factor)
        self.is_sized = False
        if size is not None:
            self._materialize(self._checked(size))
        elif self.form == "channel":
            self._materialize([1] * self.axes)

    def is_repeatable(self) -> bool:
        """Say that it is, unless a subclass has a forward of its own."""
        return self._state(XNORPlusPlusScaleBinarizer) is not None

    def forward(self, layer_out: Tensor, layer_in: Tensor) -> Tensor:  # noqa: ARG002
        """Return ``layer_out`` times the scales, in ``layer_out``'s dtype."""
        if not self.is_sized:
            self._materialize(layer_out.shape[layer_out.dim() - self.axes :])
        return layer_out * self.gamma_of(layer_out).to(layer_out.dtype)

    def gamma_of(self, layer_out: Tensor) -> Tensor:
        """Return the product of the factors, for an output of this size."""
        product = self.alpha
        for name, factor in self.named_parameters():
            if name != "alpha":
                product = product * factor
        places = product.shape[1:]
        if self.form != "channel" and layer_out.shape[layer_out.dim() - self.axes :] != places:
            raise ConfigError(
                f"XNORPlusPlusScaleBinarizer: the layer's output has shape "
                f"{tuple(layer_out.shape)}, but the scales are for places {tuple(places)}. "
                "Use form='channel' for images of several sizes."
            )
        return product

    def _checked(self, size: Sequence[int]) -> Sequence[int]:
        if len(size) != self.axes or not all(type(n) is int and n > 0 for n in size):
            raise ConfigError(
                f"XNORPlusPlusScaleBinarizer: size is {shown(size)}; give {self.axes} numbers "
                "above 0, the layer's output without batch and channels."
            )
        return size

    def _shapes(self, size: Sequence[int]) -> Iterator[tuple[str, list[int]]]:
        """Yield the name and shape of each factor for an output of this size."""
        ones = [1] * self.axes
        yield "alpha", [self.channels, *(size if self.form == "full" else ones)]
        if self.form == "channel_places":
            yield "beta", list(size)
        if self.form == "channel_axes":
            for axis, name in enumerate(("beta", "gamma", "delta")[: self.axes]):
                yield name, [n if axis == i else 1 for i, n in enumerate(size)]

    def _materialize(self, size: Sequence[int]) -> None:
        for name, shape in self._shapes(size):
            factor: Any = self.get_parameter(name)
            factor.materialize(shape)
            with torch.no_grad():
                factor.fill_(1)
        self.is_sized = True

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        if self.is_sized:
            super()._save_to_state_dict(destination, prefix, keep_vars)
            return
        for name, factor in self.named_parameters():  # nothing yet, but the names are there
            destination[prefix + name] = torch.empty(0, device=factor.device, dtype=factor.dtype)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        factors: dict[str, Any] = dict(self.named_parameters())
        given = {name: state_dict.get(prefix + name) for name in factors}
        if not self.is_sized and all(isinstance(value, Tensor) for value in given.values()):
            if not any(value.numel() for value in given.values()):
                return  # both have yet to see an output
            for name, factor in factors.items():
                factor.materialize(given[name].shape)
            self.is_sized = True
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def extra_repr(self) -> str:
        """Show the form, and the size where it is known."""
        if not self.is_sized or self.form == "channel":
            return f"form={self.form!r}"
        places = torch.broadcast_shapes(*[factor.shape for factor in self.parameters()])[1:]
        return f"form={self.form!r}, size={tuple(places)}"

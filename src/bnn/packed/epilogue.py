"""What happens to a binary convolution's sums before they leave it."""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields
from typing import Any, Literal

from torch import Tensor

from bnn.errors import PackedError
from bnn.packed.library import are_ordinary

Activation = Literal["relu", "prelu", "hardtanh"]
ResidualAt = Literal["before_activation", "after_activation"]

ACTIVATIONS: dict[str | None, int] = {None: 0, "relu": 1, "prelu": 2, "hardtanh": 3}
RESIDUAL_AT: dict[str | None, int] = {None: 0, "before_activation": 1, "after_activation": 2}


@dataclass(frozen=True, eq=False)
class Epilogue:
    """The steps from a sum to the layer's output; what is None is left out.

    Each step is one float32 operation, rounded once, in this order. ``acc`` is the exact sum,
    converted to float32; ``c`` is the output channel; ``fma`` is rounded after its sum alone, as
    torch's batch norm is on the CPU::

        v = acc
        v = v * scale[c];  v = v + bias[c];  v = v * post_scale[c]
        v = first_activation(v)                    # "prelu": v * first_slope[c] where v < 0
        v = fma(v, affine_scale[c], affine_shift[c])
        v = v + residual                           # if residual_at == "before_activation"
        v = v + second_shift_in[c]
        v = second_activation(v)                   # "prelu": v * second_slope[c] where v < 0
        v = v + second_shift_out[c]                # RPReLU is shift, PReLU, shift
        v = v + residual                           # if residual_at == "after_activation"
        out = v
        bit = fma(v, bit_scale[c], bit_shift[c]) < 0

    An ``fma`` without its shift is the product, and without its scale the sum. So a batch norm is
    ``affine_scale`` and ``affine_shift``, or, before the next layer's sign, ``bit_scale`` and
    ``bit_shift``: ``scale = weight * rsqrt(var + eps)``, ``shift = bias - mean * scale``. The
    residual itself is an argument of the call, not of the epilogue.

    Attributes:
        scale: ``(O,)`` float32, like every tensor here.
        bias: ``(O,)``.
        post_scale: ``(O,)``: a scale of the layer's output, bias included.
        first_activation: ``"relu"``, ``"prelu"``, ``"hardtanh"`` or None.
        first_slope: ``(O,)``: exactly where ``first_activation`` is ``"prelu"``.
        affine_scale: ``(O,)``.
        affine_shift: ``(O,)``.
        residual_at: ``"before_activation"`` or ``"after_activation"``, meaning the second
            activation, or None: there is no residual.
        second_shift_in: ``(O,)``.
        second_activation: As ``first_activation``.
        second_slope: ``(O,)``: exactly where ``second_activation`` is ``"prelu"``.
        second_shift_out: ``(O,)``.
        bit_scale: ``(O,)``: used only where bits are asked for, as is ``bit_shift``.
        bit_shift: ``(O,)``.

    Raises:
        PackedError: If a name is unknown, or a PReLU and its slope do not come together.

    Example:
        >>> Epilogue(scale=torch.ones(4), first_activation="relu")
        Epilogue(scale=(4,), first_activation='relu')
    """

    scale: Tensor | None = None
    bias: Tensor | None = None
    post_scale: Tensor | None = None
    first_activation: Activation | None = None
    first_slope: Tensor | None = None
    affine_scale: Tensor | None = None
    affine_shift: Tensor | None = None
    residual_at: ResidualAt | None = None
    second_shift_in: Tensor | None = None
    second_activation: Activation | None = None
    second_slope: Tensor | None = None
    second_shift_out: Tensor | None = None
    bit_scale: Tensor | None = None
    bit_shift: Tensor | None = None

    def __post_init__(self) -> None:
        _check_prelu("first", self.first_activation, self.first_slope)
        _check_prelu("second", self.second_activation, self.second_slope)
        _check_name("residual_at", self.residual_at, RESIDUAL_AT)
        for name in TENSORS:
            value = getattr(self, name)
            if value is not None and not isinstance(value, Tensor):
                raise PackedError(f"Epilogue: {name} is {value!r}; give a tensor or None.")

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the fields that are not None."""
        return tuple(self.given())

    @functools.cached_property
    def vectors(self) -> tuple[Tensor, ...]:
        """The tensors that are given."""
        return tuple(self.tensors().values())

    @functools.cached_property
    def is_plain(self) -> bool:
        """Whether all tensors are ordinary ones: see :func:`bnn.packed.library.is_plain`."""
        return are_ordinary(self.vectors)

    def given(self) -> dict[str, Any]:
        """Return the fields that are not None, by name."""
        return {name: value for name in FIELDS if (value := getattr(self, name)) is not None}

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that are given, by name."""
        return {name: value for name in TENSORS if (value := getattr(self, name)) is not None}

    def __repr__(self) -> str:
        shown = (
            f"{name}={tuple(value.shape) if isinstance(value, Tensor) else repr(value)}"
            for name, value in self.given().items()
        )
        return f"Epilogue({', '.join(shown)})"


FIELDS = tuple(field.name for field in fields(Epilogue))
TENSORS = tuple(name for name in FIELDS if not name.endswith(("_activation", "_at")))


def _check_prelu(place: str, activation: str | None, slope: Tensor | None) -> None:
    _check_name(f"{place}_activation", activation, ACTIVATIONS)
    if (activation == "prelu") != (slope is not None):
        raise PackedError(
            f"Epilogue: {place}_activation is {activation!r} and {place}_slope is "
            f"{'given' if slope is not None else 'missing'}; a slope goes with 'prelu', and only "
            "with it."
        )


def _check_name(field: str, value: str | None, allowed: dict[str | None, int]) -> None:
    if value is not None and (not isinstance(value, str) or value not in allowed):
        known = ", ".join(repr(name) for name in allowed)
        raise PackedError(f"Epilogue: {field} is {value!r}; allowed: {known}.")

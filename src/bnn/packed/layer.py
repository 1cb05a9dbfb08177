"""What the packed layers share: buffers, conversion, and the order of the epilogue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from bnn.errors import PackedError
from bnn.layers import BinaryLayer
from bnn.packed import functional
from bnn.packed.decompose import decompose
from bnn.packed.epilogue import Epilogue
from bnn.packed.panels import panel_nbytes

Packed = TypeVar("Packed", bound="PackedLayer")

_NOTHING = Epilogue()
_FLOATS = (torch.float32, torch.float16, torch.bfloat16)


class PackedLayer(nn.Module):
    """What the packed layers share: buffers, conversion, and the order of the epilogue.

    ``y = (acc * scale + bias) * post_scale``, each step rounded to float32, as the binary layer
    computes it; a factor that the layer does not have is left out. The buffers stay float32 when
    the model is converted to another float type, and the output has the input's type.

    Attributes:
        weight: Packed words, ``int64``.
        scale: ``(O,)``, of the weight binarizer, or None.
        bias: ``(O,)``, or None.
        post_scale: ``(O,)``, of the activation_post_process, or None.
    """

    layer_class: ClassVar[type[BinaryLayer]]  # of which from_module takes
    weight: Tensor
    scale: Tensor | None
    bias: Tensor | None
    post_scale: Tensor | None

    def __init__(
        self, weight_shape: Sequence[int], *, scale: bool, bias: bool, post_scale: bool
    ) -> None:
        super().__init__()
        self._kept = _NOTHING
        out = weight_shape[0]
        with torch.inference_mode(mode=False):  # what is made in it is not counted as it changes
            self.register_buffer("weight", torch.zeros(tuple(weight_shape), dtype=torch.int64))
            self.register_buffer("scale", torch.ones(out) if scale else None)
            self.register_buffer("bias", torch.zeros(out) if bias else None)
            self.register_buffer("post_scale", torch.ones(out) if post_scale else None)

    @classmethod
    def from_module(cls: type[Packed], layer: nn.Module) -> Packed:
        """Pack a trained binary layer.

        Args:
            layer: A layer of :mod:`bnn.layers` of the same kind. Its activations are binarized by
                BasicInputBinarizer, AdvancedInputBinarizer or StochasticInputBinarizer, the
                weight by one of these or by a WeightBinarizer, and its output is left alone or
                scaled per channel by BasicScaleBinarizer. It is not changed, and nothing of it is
                shared.

        Returns:
            A layer in evaluation mode on the same device, with the same values.

        Raises:
            PackedError: If the layer is of another kind, or a stage cannot be packed.
        """
        parts = decompose(layer, cls.layer_class)
        with torch.inference_mode(mode=False), torch.no_grad():
            packed = cls._like(
                layer,
                scale=parts.scale is not None,
                bias=parts.bias is not None,
                post_scale=parts.post_scale is not None,
            )
            packed.to(parts.signs.device)
            packed.weight.copy_(functional.pack(parts.signs))
            for name in ("scale", "bias", "post_scale"):
                value = getattr(parts, name)
                if value is not None:
                    getattr(packed, name).copy_(value)
        return packed.eval()

    @classmethod
    def _like(cls: type[Packed], layer: Any, **has: bool) -> Packed:
        """Return a fresh one with the geometry of ``layer``."""
        raise NotImplementedError

    def _epilogue(self) -> Epilogue:
        """Return the layer's epilogue, kept from call to call: making one takes 2 us."""
        scale, bias, post_scale = (self._buffers[name] for name in ("scale", "bias", "post_scale"))
        if torch.compiler.is_compiling():
            return Epilogue(scale=scale, bias=bias, post_scale=post_scale)
        kept = self._kept
        if kept.scale is not scale or kept.bias is not bias or kept.post_scale is not post_scale:
            kept = self._kept = Epilogue(scale=scale, bias=bias, post_scale=post_scale)
        return kept

    def __getstate__(self) -> dict[str, Any]:
        """Return what copies and pickles have: not the epilogue, which holds the buffers again."""
        return {**self.__dict__, "_kept": _NOTHING}

    def _bits(self, x: Tensor) -> Tensor:
        """Return the input's bits; ``x`` is batched, channels second."""
        return functional.pack(x)

    def _check_input(self, x: Tensor, axes: Sequence[int] | None, channels: int, axis: int) -> None:
        kind = type(self).__name__
        if not isinstance(x, Tensor):
            raise PackedError(f"{kind}: the input is a {type(x).__name__}; give a tensor.")
        if x.dtype not in _FLOATS:
            raise PackedError(
                f"{kind}: the input is {x.dtype}; allowed: {', '.join(map(str, _FLOATS))}. "
                "Convert it with x.float()."
            )
        known = x.dim() in axes if axes else x.dim() > 0
        if not known or x.shape[axis] != channels:
            raise PackedError(
                f"{kind}: the input has shape {tuple(x.shape)}; it must have "
                f"{' or '.join(map(str, axes or ('any',)))} axes, with {channels} channels in axis "
                f"{axis}."
            )
        if x.device != self.weight.device:
            raise PackedError(
                f"{kind}: the input is on {x.device}, but the layer on {self.weight.device}. Move "
                f"the layer with .to({str(x.device)!r}), or the input."
            )

    @property
    def nbytes(self) -> int:
        """Bytes of the buffers: what the state dict holds."""
        return sum(buffer.numel() * buffer.element_size() for buffer in self.buffers())

    @property
    def panel_nbytes(self) -> int:
        """Bytes of the weight in the kernels' order, made at the first use on this CPU."""
        return panel_nbytes(self.weight)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Move the buffers, but keep their types: half precision is no use to an epilogue."""

        def keep_type(buffer: Tensor) -> Tensor:
            moved = fn(buffer)
            return moved if moved.dtype == buffer.dtype else buffer.to(moved.device)

        return super()._apply(keep_type, recurse)

    def _factors_repr(self) -> str:
        has = [name for name in ("scale", "bias", "post_scale") if getattr(self, name) is not None]
        panel = f" + {self.panel_nbytes:,} of panel" if self.panel_nbytes else ""
        return f"factors=({', '.join(has)}), bytes={self.nbytes:,}{panel}"


def check_positive(layer: nn.Module, **sizes: int) -> None:
    """Raise PackedError if one of these is not an int from 1 up."""
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise PackedError(f"{type(layer).__name__}: {name} is {size!r}; give an int from 1 up.")

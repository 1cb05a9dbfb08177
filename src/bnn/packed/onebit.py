"""The 1-bit layers of a packed network, one by one, and what the model computes in their place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bnn.layers import BinaryLayer, Linear
from bnn.layers.conv import BinaryConv
from bnn.packed import functional, ops
from bnn.packed.graph import Node
from bnn.packed.layer import PackedLayer
from bnn.packed.modules import PackedLinear
from bnn.packed.network import PackedNetwork
from bnn.packed.planes import BOX

_NUMBER = re.compile(r"#(\d+)$")  # of the nodes that one layer became


@dataclass(eq=False)
class OneBit:
    """A place in a packed network where bits meet bits.

    Attributes:
        weight: Its words.
        channels: Input channels of all groups.
        geometry: stride, padding, dilation, groups, pad_value.
        value: The graph's value that it reads, or None.
        module: The packed layer, where it is within a part that Python runs, or None.
    """

    weight: Tensor
    channels: int
    geometry: tuple[list[int], list[int], list[int], int, int]
    value: int | None = None
    module: PackedLayer | None = None

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """The shape of the float weight that it was made of."""
        out, *kernel, _ = self.weight.shape
        return (out, self.channels // self.geometry[3], *kernel)

    def sums(self, bits: Tensor) -> Tensor:
        """Return its integer sums for an input of bits, channels last."""
        stride, padding, dilation, groups, pad_value = self.geometry
        lead = bits.shape[:-1]
        rows = bits.reshape(-1, bits.shape[-1]) if self.weight.dim() == 2 else bits
        (sums,) = ops.bconv(
            rows,
            self.weight,
            self.channels,
            stride,
            padding,
            dilation,
            groups,
            pad_value,
            "int32",
        )
        result: Tensor = sums.view(*lead, -1) if self.weight.dim() == 2 else sums
        return result

    def listen(self, heard: list[Tensor]) -> RemovableHandle:
        """Add the bits of each call of the module to a list."""
        module: Any = self.module

        def hear(_: nn.Module, args: tuple[Any, ...]) -> None:
            heard.append(_bits(args[0], module, module.weight.dim() == 2))

        return module.register_forward_pre_hook(hear)  # type: ignore[no-any-return]


def layer_of(node: str) -> str:
    """Return the name of the layer that a node comes from.

    Example:
        >>> layer_of("layer1.0.conv1#1")
        'layer1.0.conv1'
    """
    return _NUMBER.sub("", node)


def one_bit_layers(packed: PackedNetwork) -> dict[str, list[OneBit]]:
    """Return layer of the model -> its places in the packed network, in the order of its calls."""
    numbered: dict[str, list[tuple[int, OneBit]]] = {}
    found: dict[str, list[OneBit]] = {}
    for node in packed.graph.nodes:
        if node.op == "binary_conv" and BOX not in node.name:
            number = _NUMBER.search(node.name)
            order = int(number[1]) if number else 0
            numbered.setdefault(layer_of(node.name), []).append((order, _of_node(node)))
        elif isinstance(getattr(node.call, "target", None), nn.Module):
            found.update(_within(node))
    for name, places in numbered.items():
        found[name] = [place for _, place in sorted(places, key=lambda pair: pair[0])]
    return found


def _of_node(node: Node) -> OneBit:
    a = node.attrs
    geometry = (a["stride"], a["padding"], a["dilation"], a["groups"], a["pad_value"])
    return OneBit(node.tensors["weight"], a["in_channels"], geometry, value=node.inputs[0])


def _within(node: Node) -> dict[str, list[OneBit]]:
    """Return the packed layers of an opaque node: a model that was packed layer by layer."""
    target: nn.Module = node.call.target  # type: ignore[union-attr]
    return {
        name: [_of_layer(layer)]
        for name, layer in target.named_modules()
        if isinstance(layer, PackedLayer)
    }


def _of_layer(layer: Any) -> OneBit:
    if isinstance(layer, PackedLinear):
        geometry: Any = ([], [], [], 1, 0)
        return OneBit(layer.weight, layer.in_features, geometry, module=layer)
    padding = [0] * len(layer.padding) if layer.padding_mode != "zeros" else list(layer.padding)
    geometry = (
        list(layer.stride),
        padding,
        list(layer.dilation),
        layer.groups,
        layer.padding_value,
    )
    return OneBit(layer.weight, layer.in_channels, geometry, module=layer)


def _reach(x: Tensor, layer: Any, linear: bool) -> Tensor:
    """Return a layer's input with a batch axis, and with the padding that is no constant."""
    if linear:
        return x
    if x.dim() < layer.weight.dim() and x.dim() == len(layer.stride) + 1:
        x = x.unsqueeze(0)
    if layer.padding_mode == "zeros":
        return x
    pads: Sequence[int]
    if isinstance(layer, PackedLayer):  # before and after, the first axis first
        own: Any = layer.padding
        pads = [pad for i in range(len(own) - 2, -1, -2) for pad in own[i : i + 2]]
    else:
        pads = layer._reversed_padding_repeated_twice
    return F.pad(x, list(pads), mode=layer.padding_mode)


def _bits(x: Tensor, layer: Any, linear: bool) -> Tensor:
    x = _reach(x, layer, linear)
    if not linear:
        return functional.pack(x)
    rows = functional.pack(x.reshape(-1, x.shape[-1]))
    return rows.view(*x.shape[:-1], rows.shape[-1])


def bits_of(layer: BinaryLayer, signs: Tensor) -> Tensor:
    """Return what the model's layer computes with, as bits: padded as far as its mode asks."""
    return _bits(signs, layer, isinstance(layer, Linear))


def emulated_sums(layer: BinaryLayer, integers: Tensor) -> Tensor:
    """Return the integer sums as the model's layer computes them, channels last, int32.

    Its own convolution of its own signs or other integers, without scale and bias.
    """
    weight = layer._factors().integers
    # Every sum of so many +-1 is exact in float32. Devices may convolve by a transform, which
    # leaves fractions far below one half.
    exact = torch.float32 if weight[0].numel() <= 2**24 else torch.float64
    sums = layer._compute(integers.to(exact), weight.to(exact), None)
    if isinstance(layer, BinaryConv):
        if integers.dim() < layer.weight.dim():
            sums = sums.unsqueeze(0)
        sums = sums.movedim(1, -1)
    return sums.round().to(torch.int32)


def different_bits(a: Tensor, b: Tensor) -> int:
    """Return in how many bits words differ."""
    different = a ^ b
    words = different[different != 0]
    place = torch.arange(64, device=words.device)
    return sum(
        int((part.unsqueeze(-1) >> place & 1).sum()) for part in words.split(1 << 16) if len(part)
    )

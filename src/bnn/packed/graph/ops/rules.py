"""Shapes of results, by arithmetic on the inputs' shapes.

A rule takes a node and its inputs (shapes, or ints) and returns the shape of what the operation
gives before its epilogue, or raises PackedError. It accepts nothing that torch or a kernel would
refuse or read in another way: a file's graph is trusted once these have passed. torch knows most of
it too, for meta tensors, but takes seconds to import what says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bnn.errors import PackedError
from bnn.packed import checks
from bnn.packed.graph.node import Node
from bnn.packed.shapes import ConvShape, pool_out, words

Shape = tuple[int, ...]

MOST_PADDED = 2**31
"""Numbers of an input with its padding."""


def need(right: bool, what: str) -> None:
    """Raise PackedError if something is not right."""
    if not right:
        raise PackedError(what)


def per_axis(node: Node, axes: int, *names: str) -> list[list[int]]:
    """Return attributes that have one entry for each axis of an image."""
    for name in names:
        found = node.attrs[name]
        need(len(found) == axes, f"{name} is {found}; it must have {axes} entries.")
    return [node.attrs[name] for name in names]


def image_sizes(node: Node, x: Shape, axes: int) -> Sequence[int]:
    """Return the sizes of an image ``(N, C, *sizes)`` of so many axes."""
    need(len(x) == axes + 2, f"its input has {len(x)} axes; it must have {axes + 2}.")
    need(min(x[1:]) >= 1, "its input is empty.")
    need("axis" not in node.attrs or node.attrs["axis"] == 1, "axis must be 1 for an image.")
    return x[2:]


def _check_padded(x: Shape, sizes: Sequence[int], before: Sequence[int]) -> None:
    padded = math.prod(size + pad for size, pad in zip(sizes, before, strict=True))
    count = math.prod(x[: len(x) - len(sizes)]) * padded
    need(count <= MOST_PADDED, f"its input has {count:,} numbers with its padding.")


def _rows(node: Node, x: Shape) -> None:
    """Check the axes of a linear layer's input."""
    need(len(x) >= 1, "its input has no axis.")
    axis = node.attrs.get("axis", 1)
    need(axis == -1 or len(x) == 2, "axis must be -1 for an input that is not of 2 axes.")


# --- float layers -----------------------------------------------------------------------------


def conv(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return a convolution's shape."""
    x, weight = inputs[0], node.tensors["weight"].shape
    axes = len(weight) - 2
    need(1 <= axes <= 3, f"its weight has {len(weight)} axes; allowed: 3 to 5.")
    image, groups = image_sizes(node, x, axes), node.attrs["groups"]
    stride, padding, dilation = per_axis(node, axes, "stride", "padding", "dilation")
    need(
        x[1] == weight[1] * groups and weight[0] % groups == 0 and min(weight) >= 1,
        f"weight {tuple(weight)} in {groups} groups does not fit {x[1]} channels.",
    )
    _check_padded(x, image, [2 * p for p in padding])
    out = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, s, p, d in zip(image, weight[2:], stride, padding, dilation, strict=True)
    ]
    need(min(out) >= 1, "the kernel is larger than the padded image.")
    return (x[0], weight[0], *out)


def conv_transpose(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return a transposed convolution's shape."""
    x, weight = inputs[0], node.tensors["weight"].shape
    axes = len(weight) - 2
    need(1 <= axes <= 3, f"its weight has {len(weight)} axes; allowed: 3 to 5.")
    image, groups = image_sizes(node, x, axes), node.attrs["groups"]
    stride, padding, dilation, extra = per_axis(
        node, axes, "stride", "padding", "dilation", "output_padding"
    )
    need(
        x[1] == weight[0] and weight[0] % groups == 0 and min(weight) >= 1,
        f"weight {tuple(weight)} in {groups} groups does not fit {x[1]} channels.",
    )
    vectors(node, weight[1] * groups, "bias")
    need(
        all(e < max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)),
        "output_padding must be smaller than stride or dilation.",
    )
    full = [
        (size - 1) * s + d * (k - 1) + e + 1
        for size, k, s, d, e in zip(image, weight[2:], stride, dilation, extra, strict=True)
    ]
    need(x[0] * x[1] * math.prod(full) <= MOST_PADDED, "its output is too large.")
    out = [size - 2 * p for size, p in zip(full, padding, strict=True)]
    need(min(out) >= 1, "its padding leaves nothing of the output.")
    return (x[0], weight[1] * groups, *out)


def linear(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return a linear layer's shape."""
    x, weight = inputs[0], node.tensors["weight"].shape
    _rows(node, x)
    need(x[-1] == weight[1] >= 1, f"its input has {x[-1]} features, its weight {weight[1]}.")
    return (*x[:-1], weight[0])


def along_axis(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the input's shape, which has the axis that the node names."""
    x: Shape = inputs[0]
    axis = node.attrs["axis"]
    need(len(x) >= (1 if axis == -1 else 2), f"its input has no axis {axis}.")
    need(x[axis] >= 1, "its input has no channels.")
    return x


def pool(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the shape of a pooling with a window."""
    x, a = inputs[0], node.attrs
    axes = len(a["kernel_size"])
    need(1 <= axes <= 3, f"kernel_size is {a['kernel_size']}; it must have 1 to 3 entries.")
    image = image_sizes(node, x, axes)
    kernel, stride, padding = per_axis(node, axes, "kernel_size", "stride", "padding")
    dilation = per_axis(node, axes, "dilation")[0] if "dilation" in a else [1] * axes
    _check_padded(x, image, [2 * p for p in padding])
    out = []
    for size, k, s, p, d in zip(image, kernel, stride, padding, dilation, strict=True):
        extent = d * (k - 1) + 1
        need(2 * p <= k, "padding is more than half of the window.")
        need(extent <= size + 2 * p or a["ceil_mode"], "the window is larger than the image.")
        need(extent <= MOST_PADDED, "the window is too large.")
        out.append(pool_out(size, k, s, p, d, a["ceil_mode"]))
    need(min(out) >= 1, "the window is larger than the padded image.")
    return (*x[:2], *out)


def adaptive_pool(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the shape of a pooling to a given size."""
    x, size = inputs[0], node.attrs["output_size"]
    need(1 <= len(size) <= 3, f"output_size is {size}; it must have 1 to 3 entries.")
    image_sizes(node, x, len(size))
    return (*x[:2], *size)


# --- bits -------------------------------------------------------------------------------------


def binary_conv(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the shape of a binary convolution's floats, or linear layer's."""
    x, a, weight = inputs[0], node.attrs, node.tensors["weight"].shape
    need(2 <= len(weight) <= 4, f"its weight has {len(weight)} axes; allowed: 2 to 4.")
    channels = a["in_channels"]
    need(len(x) >= 1 and x[-1] == words(channels), f"{channels} channels are not {x} words.")
    if len(weight) == 2:
        _rows(node, x)
        sizes: Sequence[int] = (math.prod(x[:-1]), channels)
    else:
        need(len(x) == len(weight), f"its input has {len(x)} axes, its weight {len(weight)}.")
        need(a.get("axis", 1) == 1, "axis must be 1 for an image.")
        sizes = (*x[:-1], channels)
    shape = _conv_shape(node, sizes, a["pad_value"])
    return _unflattened(shape, weight, x)


def weight_only_conv(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the shape of a convolution, or linear layer, of floats with bits."""
    x, weight, channels = inputs[0], node.tensors["weight"].shape, node.attrs["in_channels"]
    need(2 <= len(weight) <= 4, f"its weight has {len(weight)} axes; allowed: 2 to 4.")
    if len(weight) == 2:
        need(len(x) >= 1 and x[-1] == channels, f"its input is {x}; it has {channels} features.")
        sizes: Sequence[int] = (math.prod(x[:-1]), channels)
    else:
        image_sizes(node, x, len(weight) - 2)
        need(x[1] == channels, f"its input is {x}; it has {channels} channels.")
        sizes = (x[0], *x[2:], channels)
    shape = _conv_shape(node, sizes, 0)
    vectors(node, shape.out_channels, "scale", "bias")
    return _unflattened(shape, weight, x)


def _conv_shape(node: Node, sizes: Sequence[int], pad_value: int) -> ConvShape:
    a, weight = node.attrs, node.tensors["weight"].shape
    shape = checks.conv_shape(
        node.op,
        sizes,
        weight[:-1],
        a["stride"],
        a["padding"],
        a["dilation"],
        a["groups"],
        pad_value,
    )
    need(weight[-1] == words(shape.group_channels), f"{weight[-1]} words are not its channels.")
    checks.check_scratch(node.op, shape)
    pads = [sum(a["padding"][i : i + 2]) for i in range(0, len(a["padding"]), 2)]
    _check_padded((sizes[0], sizes[-1], *sizes[1:-1]), sizes[1:-1], pads)
    return shape


def _unflattened(shape: ConvShape, weight: Sequence[int], x: Shape) -> Shape:
    """Return ``(N, O, *sizes)`` with as many sizes as the weight has axes for, or ``(*, O)``."""
    if len(weight) == 2:
        return (*x[:-1], shape.out_channels)
    return (shape.batch, shape.out_channels, *(shape.out_h, shape.out_w)[4 - len(weight) :])


def binary_max_pool(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the shape of the words that a pooling of bits gives."""
    x, a = inputs[0], node.attrs
    channels = a["in_channels"]
    need(
        len(x) == 4 and x[-1] == words(channels),
        f"its input is {x}; it must be (N, H, W, {words(channels)}).",
    )
    kernel, stride, padding, dilation = per_axis(
        node, 2, "kernel_size", "stride", "padding", "dilation"
    )
    _check_padded(x, (), ())
    shape = checks.pool_shape(
        node.op, (*x[:-1], channels), kernel, stride, padding, dilation, a["ceil_mode"]
    )
    return (shape.batch, shape.out_h, shape.out_w, x[-1])


def pack(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the shape of the bits."""
    x = along_axis(node, inputs)
    vectors(node, x[node.attrs["axis"]], "scale", "shift")
    return bits_of(x, node.attrs["axis"])


def bits_of(x: Shape, axis: int) -> Shape:
    """Return the shape of words along an axis, 1 or -1, which becomes the last."""
    if axis == -1:
        return (*x[:-1], words(x[-1]))
    return (x[0], *x[2:], words(x[1]))


def vectors(node: Node, size: int, *names: str) -> None:
    """Check that tensors have one number for each channel."""
    for name in names:
        vector = node.tensors.get(name)
        need(
            vector is None or tuple(vector.shape) == (size,),
            f"{name} must have one number for each of {size} channels.",
        )

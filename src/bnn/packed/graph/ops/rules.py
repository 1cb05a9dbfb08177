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


def _need(right: bool, what: str) -> None:
    if not right:
        raise PackedError(what)


def _per_axis(node: Node, axes: int, *names: str) -> list[list[int]]:
    """Return attributes that have one entry for each axis of an image."""
    for name in names:
        found = node.attrs[name]
        _need(len(found) == axes, f"{name} is {found}; it must have {axes} entries.")
    return [node.attrs[name] for name in names]


def _image(node: Node, x: Shape, axes: int) -> Sequence[int]:
    """Return the sizes of an image ``(N, C, *sizes)`` of so many axes."""
    _need(len(x) == axes + 2, f"its input has {len(x)} axes; it must have {axes + 2}.")
    _need(min(x[1:]) >= 1, "its input is empty.")
    _need("axis" not in node.attrs or node.attrs["axis"] == 1, "axis must be 1 for an image.")
    return x[2:]


def _check_padded(x: Shape, sizes: Sequence[int], before: Sequence[int]) -> None:
    padded = math.prod(size + pad for size, pad in zip(sizes, before, strict=True))
    count = math.prod(x[: len(x) - len(sizes)]) * padded
    _need(count <= MOST_PADDED, f"its input has {count:,} numbers with its padding.")


def _rows(node: Node, x: Shape) -> None:
    """Check the axes of a linear layer's input."""
    _need(len(x) >= 1, "its input has no axis.")
    axis = node.attrs.get("axis", 1)
    _need(axis == -1 or len(x) == 2, "axis must be -1 for an input that is not of 2 axes.")


# --- float layers -----------------------------------------------------------------------------


def conv(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return a convolution's shape."""
    x, weight = inputs[0], node.tensors["weight"].shape
    axes = len(weight) - 2
    _need(1 <= axes <= 3, f"its weight has {len(weight)} axes; allowed: 3 to 5.")
    image, groups = _image(node, x, axes), node.attrs["groups"]
    stride, padding, dilation = _per_axis(node, axes, "stride", "padding", "dilation")
    _need(
        x[1] == weight[1] * groups and weight[0] % groups == 0 and min(weight) >= 1,
        f"weight {tuple(weight)} in {groups} groups does not fit {x[1]} channels.",
    )
    _check_padded(x, image, [2 * p for p in padding])
    out = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, s, p, d in zip(image, weight[2:], stride, padding, dilation, strict=True)
    ]
    _need(min(out) >= 1, "the kernel is larger than the padded image.")
    return (x[0], weight[0], *out)


def conv_transpose(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return a transposed convolution's shape."""
    x, weight = inputs[0], node.tensors["weight"].shape
    axes = len(weight) - 2
    _need(1 <= axes <= 3, f"its weight has {len(weight)} axes; allowed: 3 to 5.")
    image, groups = _image(node, x, axes), node.attrs["groups"]
    stride, padding, dilation, extra = _per_axis(
        node, axes, "stride", "padding", "dilation", "output_padding"
    )
    _need(
        x[1] == weight[0] and weight[0] % groups == 0 and min(weight) >= 1,
        f"weight {tuple(weight)} in {groups} groups does not fit {x[1]} channels.",
    )
    _vectors(node, weight[1] * groups, "bias")
    _need(
        all(e < max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)),
        "output_padding must be smaller than stride or dilation.",
    )
    full = [
        (size - 1) * s + d * (k - 1) + e + 1
        for size, k, s, d, e in zip(image, weight[2:], stride, dilation, extra, strict=True)
    ]
    _need(x[0] * x[1] * math.prod(full) <= MOST_PADDED, "its output is too large.")
    out = [size - 2 * p for size, p in zip(full, padding, strict=True)]
    _need(min(out) >= 1, "its padding leaves nothing of the output.")
    return (x[0], weight[1] * groups, *out)


def linear(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return a linear layer's shape."""
    x, weight = inputs[0], node.tensors["weight"].shape
    _rows(node, x)
    _need(x[-1] == weight[1] >= 1, f"its input has {x[-1]} features, its weight {weight[1]}.")
    return (*x[:-1], weight[0])


def along_axis(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the input's shape, which has the axis that the node names."""
    x: Shape = inputs[0]
    axis = node.attrs["axis"]
    _need(len(x) >= (1 if axis == -1 else 2), f"its input has no axis {axis}.")
    _need(x[axis] >= 1, "its input has no channels.")
    return x


def pool(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the shape of a pooling with a window."""
    x, a = inputs[0], node.attrs
    axes = len(a["kernel_size"])
    _need(1 <= axes <= 3, f"kernel_size is {a['kernel_size']}; it must have 1 to 3 entries.")
    image = _image(node, x, axes)
    kernel, stride, padding = _per_axis(node, axes, "kernel_size", "stride", "padding")
    dilation = _per_axis(node, axes, "dilation")[0] if "dilation" in a else [1] * axes
    _check_padded(x, image, [2 * p for p in padding])
    out = []
    for size, k, s, p, d in zip(image, kernel, stride, padding, dilation, strict=True):
        extent = d * (k - 1) + 1
        _need(2 * p <= (extent if axes == 2 else k), "padding is more than half of the window.")
        _need(extent <= size + 2 * p or a["ceil_mode"], "the window is larger than the image.")
        _need(extent <= MOST_PADDED, "the window is too large.")
        out.append(pool_out(size, k, s, p, d, a["ceil_mode"]))
    _need(min(out) >= 1, "the window is larger than the padded image.")
    return (*x[:2], *out)


def adaptive_pool(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the shape of a pooling to a given size."""
    x, size = inputs[0], node.attrs["output_size"]
    _need(1 <= len(size) <= 3, f"output_size is {size}; it must have 1 to 3 entries.")
    _image(node, x, len(size))
    return (*x[:2], *size)


# --- bits -------------------------------------------------------------------------------------


def binary_conv(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the shape of a binary convolution's floats, or linear layer's."""
    x, a, weight = inputs[0], node.attrs, node.tensors["weight"].shape
    _need(2 <= len(weight) <= 4, f"its weight has {len(weight)} axes; allowed: 2 to 4.")
    channels = a["in_channels"]
    _need(len(x) >= 1 and x[-1] == words(channels), f"{channels} channels are not {x} words.")
    if len(weight) == 2:
        _rows(node, x)
        sizes: Sequence[int] = (math.prod(x[:-1]), channels)
    else:
        _need(len(x) == len(weight), f"its input has {len(x)} axes, its weight {len(weight)}.")
        _need(a.get("axis", 1) == 1, "axis must be 1 for an image.")
        sizes = (*x[:-1], channels)
    shape = _conv_shape(node, sizes, a["pad_value"])
    return _unflattened(shape, weight, x)


def weight_only_conv(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the shape of a convolution, or linear layer, of floats with bits."""
    x, weight, channels = inputs[0], node.tensors["weight"].shape, node.attrs["in_channels"]
    _need(2 <= len(weight) <= 4, f"its weight has {len(weight)} axes; allowed: 2 to 4.")
    if len(weight) == 2:
        _need(len(x) >= 1 and x[-1] == channels, f"its input is {x}; it has {channels} features.")
        sizes: Sequence[int] = (math.prod(x[:-1]), channels)
    else:
        _image(node, x, len(weight) - 2)
        _need(x[1] == channels, f"its input is {x}; it has {channels} channels.")
        sizes = (x[0], *x[2:], channels)
    shape = _conv_shape(node, sizes, 0)
    _vectors(node, shape.out_channels, "scale", "bias")
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
    _need(weight[-1] == words(shape.group_channels), f"{weight[-1]} words are not its channels.")
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
    _need(
        len(x) == 4 and x[-1] == words(channels),
        f"its input is {x}; it must be (N, H, W, {words(channels)}).",
    )
    kernel, stride, padding, dilation = _per_axis(
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
    _vectors(node, x[node.attrs["axis"]], "scale", "shift")
    return bits_of(x, node.attrs["axis"])


def bits_of(x: Shape, axis: int) -> Shape:
    """Return the shape of words along an axis, 1 or -1, which becomes the last."""
    if axis == -1:
        return (*x[:-1], words(x[-1]))
    return (x[0], *x[2:], words(x[1]))


def _vectors(node: Node, size: int, *names: str) -> None:
    for name in names:
        vector = node.tensors.get(name)
        _need(
            vector is None or tuple(vector.shape) == (size,),
            f"{name} must have one number for each of {size} channels.",
        )


# --- floats by themselves ---------------------------------------------------------------------


def same(node: Node, inputs: Sequence[Any]) -> Shape:  # noqa: ARG001
    """Return the input's shape."""
    shape: Shape = inputs[0]
    return shape


def constant(node: Node, inputs: Sequence[Any]) -> Shape:  # noqa: ARG001
    """Return the shape of the value."""
    return tuple(node.tensors["value"].shape)


def broadcast(node: Node, inputs: Sequence[Any]) -> Shape:  # noqa: ARG001
    """Return the shape of two inputs, where one is repeated along axes of size 1."""
    a, b = inputs
    length = max(len(a), len(b))
    pairs = list(zip((1,) * (length - len(a)) + a, (1,) * (length - len(b)) + b, strict=True))
    _need(all(m == n or 1 in (m, n) for m, n in pairs), f"{a} and {b} do not fit each other.")
    return tuple(n if m == 1 else m for m, n in pairs)


def _axis(dim: int, count: int) -> int:
    _need(-count <= dim < count, f"its input has {count} axes, and so no axis {dim}.")
    return dim % count


def softmax(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the input's shape, which has the axis."""
    _axis(node.attrs["dim"], len(inputs[0]))
    shape: Shape = inputs[0]
    return shape


def clamp(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the input's shape."""
    _need("min" in node.attrs or "max" in node.attrs, "it must have min, max or both.")
    return same(node, inputs)


def layer_norm(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the input's shape, which ends as the node says."""
    x, last = inputs[0], tuple(node.attrs["shape"])
    _need(len(last) >= 1 and x[-len(last) :] == last, f"its input {x} does not end in {last}.")
    for name in ("weight", "bias"):
        found = node.tensors.get(name)
        _need(found is None or tuple(found.shape) == last, f"{name} must have shape {last}.")
    return same(node, inputs)


def group_norm(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the input's shape, whose channels are groups."""
    x, groups = inputs[0], node.attrs["groups"]
    _need(len(x) >= 2 and x[1] >= 1 and x[1] % groups == 0, f"{x} is not in {groups} groups.")
    _need(x[0] * math.prod(x[2:]) * (x[1] // groups) > 1, "one number has no variance.")
    _vectors(node, x[1], "weight", "bias")
    return same(node, inputs)


# --- views and copies -------------------------------------------------------------------------


def concat(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the shape of the inputs one after the other."""
    first = inputs[0]
    named = node.attrs["axis"]
    axis = _axis(named, len(first))
    for x in inputs:
        _need(len(x) == len(first), f"{x} and {first} have not as many axes.")
        rest = (x[:axis] + x[axis + 1 :], first[:axis] + first[axis + 1 :])
        _need(rest[0] == rest[1], f"{x} and {first} differ in another axis than {axis}.")
    _need(node.output == "float" or named in (1, -1), f"bits lie along axis 1 or -1, not {named}.")
    return (*first[:axis], sum(x[axis] for x in inputs), *first[axis + 1 :])


def flatten(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the shape with axes made one."""
    x = inputs[0]
    start, end = (_axis(node.attrs[name], len(x)) for name in ("start", "end"))
    _need(start <= end, f"start {start} comes after end {end}.")
    return (*x[:start], math.prod(x[start : end + 1]), *x[end + 1 :])


def reshape(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the shape that is asked for, of as many numbers."""
    x, *given = inputs
    asked = node.attrs["shape"]
    _need(
        sum(size is None for size in asked) == len(given),
        f"shape {asked} takes another number of sizes than {len(given)}.",
    )
    left = iter(given)
    sizes = [next(left) if size is None else size for size in asked]
    count, known = math.prod(x), math.prod(size for size in sizes if size != -1)
    _need(min(sizes, default=0) >= -1 and sizes.count(-1) <= 1, f"no tensor has shape {sizes}.")
    if -1 in sizes:
        _need(known > 0 and count % known == 0, f"{x} does not fit {sizes}.")
        sizes = [count // known if size == -1 else size for size in sizes]
    _need(math.prod(sizes) == count, f"{x} does not fit {sizes}.")
    return tuple(sizes)


def permute(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the shape in another order."""
    x, dims = inputs[0], node.attrs["dims"]
    _need(len(dims) == len(x), f"dims {dims} must name each axis of {x}.")
    order = [_axis(dim, len(x)) for dim in dims]
    _need(len(set(order)) == len(x), f"dims {dims} name an axis twice.")
    return tuple(x[axis] for axis in order)


def squeeze(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the shape without an axis of size 1."""
    x = inputs[0]
    axis = _axis(node.attrs["dim"], len(x))
    return (*x[:axis], *x[axis + (x[axis] == 1) :])


def unsqueeze(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the shape with a new axis."""
    x = inputs[0]
    axis = _axis(node.attrs["dim"], len(x) + 1)
    return (*x[:axis], 1, *x[axis:])


def slicing(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the shape of a part."""
    x, a = inputs[0], node.attrs
    axis = _axis(a["dim"], len(x))
    part = range(*slice(a.get("start"), a.get("stop"), a["step"]).indices(x[axis]))
    return (*x[:axis], len(part), *x[axis + 1 :])


def pad(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the shape with pads, given from the last axis on."""
    x, pads, mode = inputs[0], node.attrs["pads"], node.attrs["mode"]
    count = len(pads) // 2
    _need(len(pads) % 2 == 0 and count <= len(x), f"pads {pads} do not fit {x}.")
    sizes = list(x)
    for i in range(count):
        before, after = pads[2 * i : 2 * i + 2]
        axis = len(x) - 1 - i
        largest = {"constant": 2**31, "replicate": 2**31, "circular": x[axis]}.get(
            mode, x[axis] - 1
        )
        if mode != "constant":
            _need(min(before, after) >= 0, "pads of this mode cannot be negative.")
        _need(max(before, after) <= largest, f"pads {pads} are too large for {x} and {mode}.")
        # torch cuts before it adds, so what a negative pad cuts must be there.
        _need(max(-before, 0) + max(-after, 0) <= x[axis], f"pads {pads} leave nothing of {x}.")
        sizes[axis] += before + after
    if mode != "constant":
        _need(1 <= count <= 3 and len(x) == count + 2, f"pads {pads} do not fit {x} and {mode}.")
        _need(min(x[1:]) >= 1, "its input is empty.")
    return tuple(sizes)


def reduce(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the shape without the axes that are reduced."""
    x, a = inputs[0], node.attrs
    axes = [_axis(dim, len(x)) for dim in a["dims"]]
    _need(len(set(axes)) == len(axes) >= 1, f"dims {a['dims']} must name at least one axis, once.")
    _need(a["function"] != "amax" or all(x[axis] for axis in axes), "its input is empty.")
    kept = [1 if i in axes else size for i, size in enumerate(x) if a["keepdim"] or i not in axes]
    return tuple(kept)


def channel_shuffle(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the input's shape, whose channels are groups."""
    x, groups = inputs[0], node.attrs["groups"]
    _need(len(x) >= 2 and x[1] >= 1 and x[1] % groups == 0, f"{x} is not in {groups} groups.")
    return same(node, inputs)


def pixel_shuffle(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the shape with channels made pixels."""
    x, factor = inputs[0], node.attrs["factor"]
    _need(len(x) >= 3 and x[-3] % factor**2 == 0, f"channels of {x} are not {factor}x{factor}.")
    return (*x[:-3], x[-3] // factor**2, x[-2] * factor, x[-1] * factor)


def repeat_interleave(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the shape with an axis repeated."""
    x = inputs[0]
    axis = _axis(node.attrs["dim"], len(x))
    return (*x[:axis], x[axis] * node.attrs["repeats"], *x[axis + 1 :])


_IMAGE_AXES = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}


def interpolate(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the shape of an enlarged image, as torch rounds it."""
    x, a = inputs[0], node.attrs
    axes = _IMAGE_AXES.get(a["mode"], len(x) - 2)
    _need(1 <= axes <= 3, f"its input is {x}; it must have 3 to 5 axes.")
    image = _image(node, x, axes)
    _per_axis(node, axes, "factors")
    sizes = [math.floor(size * factor) for size, factor in zip(image, a["factors"], strict=True)]
    _need(min(sizes) >= 1, "nothing is left of the image.")
    return (*x[:2], *sizes)

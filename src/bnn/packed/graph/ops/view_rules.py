"""Shapes of results of operations on floats by themselves, and of views; see ``rules.py``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bnn.packed.graph.node import Node
from bnn.packed.graph.ops.rules import Shape, image_sizes, need, per_axis, vectors


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
    need(all(m == n or 1 in (m, n) for m, n in pairs), f"{a} and {b} do not fit each other.")
    return tuple(n if m == 1 else m for m, n in pairs)


def _axis(dim: int, count: int) -> int:
    need(-count <= dim < count, f"its input has {count} axes, and so no axis {dim}.")
    return dim % count


def softmax(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the input's shape, which has the axis."""
    _axis(node.attrs["dim"], len(inputs[0]))
    shape: Shape = inputs[0]
    return shape


def clamp(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the input's shape."""
    need("min" in node.attrs or "max" in node.attrs, "it must have min, max or both.")
    return same(node, inputs)


def layer_norm(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the input's shape, which ends as the node says."""
    x, last = inputs[0], tuple(node.attrs["shape"])
    need(len(last) >= 1 and x[-len(last) :] == last, f"its input {x} does not end in {last}.")
    for name in ("weight", "bias"):
        found = node.tensors.get(name)
        need(found is None or tuple(found.shape) == last, f"{name} must have shape {last}.")
    return same(node, inputs)


def group_norm(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the input's shape, whose channels are groups."""
    x, groups = inputs[0], node.attrs["groups"]
    need(len(x) >= 2 and x[1] >= 1 and x[1] % groups == 0, f"{x} is not in {groups} groups.")
    need(not x[0] or x[0] * math.prod(x[2:]) * (x[1] // groups) > 1, "one number has no variance.")
    vectors(node, x[1], "weight", "bias")
    return same(node, inputs)


# --- views and copies -------------------------------------------------------------------------


def concat(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the shape of the inputs one after the other."""
    first = inputs[0]
    named = node.attrs["axis"]
    axis = _axis(named, len(first))
    for x in inputs:
        need(len(x) == len(first), f"{x} and {first} have not as many axes.")
        rest = (x[:axis] + x[axis + 1 :], first[:axis] + first[axis + 1 :])
        need(rest[0] == rest[1], f"{x} and {first} differ in another axis than {axis}.")
    need(node.output == "float" or named in (1, -1), f"bits lie along axis 1 or -1, not {named}.")
    return (*first[:axis], sum(x[axis] for x in inputs), *first[axis + 1 :])


def flatten(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the shape with axes made one."""
    x = inputs[0]
    start, end = (_axis(node.attrs[name], len(x)) for name in ("start", "end"))
    need(start <= end, f"start {start} comes after end {end}.")
    return (*x[:start], math.prod(x[start : end + 1]), *x[end + 1 :])


def reshape(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the shape that is asked for, of as many numbers."""
    x, *given = inputs
    asked = node.attrs["shape"]
    need(
        sum(size is None for size in asked) == len(given),
        f"shape {asked} takes another number of sizes than {len(given)}.",
    )
    left = iter(given)
    sizes = [next(left) if size is None else size for size in asked]
    count, known = math.prod(x), math.prod(size for size in sizes if size != -1)
    need(min(sizes, default=0) >= -1 and sizes.count(-1) <= 1, f"no tensor has shape {sizes}.")
    if -1 in sizes:
        need(known > 0 and count % known == 0, f"{x} does not fit {sizes}.")
        sizes = [count // known if size == -1 else size for size in sizes]
    need(math.prod(sizes) == count, f"{x} does not fit {sizes}.")
    return tuple(sizes)


def permute(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the shape in another order."""
    x, dims = inputs[0], node.attrs["dims"]
    need(len(dims) == len(x), f"dims {dims} must name each axis of {x}.")
    order = [_axis(dim, len(x)) for dim in dims]
    need(len(set(order)) == len(x), f"dims {dims} name an axis twice.")
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
    need(len(pads) % 2 == 0 and count <= len(x), f"pads {pads} do not fit {x}.")
    sizes = list(x)
    for i in range(count):
        before, after = pads[2 * i : 2 * i + 2]
        axis = len(x) - 1 - i
        largest = {"constant": 2**31, "replicate": 2**31, "circular": x[axis]}.get(
            mode, x[axis] - 1
        )
        if mode != "constant":
            need(min(before, after) >= 0, "pads of this mode cannot be negative.")
        need(max(before, after) <= largest, f"pads {pads} are too large for {x} and {mode}.")
        # torch cuts before it adds, so what a negative pad cuts must be there.
        need(max(-before, 0) + max(-after, 0) <= x[axis], f"pads {pads} leave nothing of {x}.")
        sizes[axis] += before + after
    if mode != "constant":
        need(1 <= count <= 3 and len(x) == count + 2, f"pads {pads} do not fit {x} and {mode}.")
        need(min(x[1:]) >= 1, "its input is empty.")
    return tuple(sizes)


def reduce(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the shape without the axes that are reduced."""
    x, a = inputs[0], node.attrs
    axes = [_axis(dim, len(x)) for dim in a["dims"]]
    need(len(set(axes)) == len(axes) >= 1, f"dims {a['dims']} must name at least one axis, once.")
    need(a["function"] != "amax" or all(x[axis] for axis in axes), "its input is empty.")
    kept = [1 if i in axes else size for i, size in enumerate(x) if a["keepdim"] or i not in axes]
    return tuple(kept)


def channel_shuffle(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the input's shape, whose channels are groups."""
    x, groups = inputs[0], node.attrs["groups"]
    need(len(x) >= 2 and x[1] >= 1 and x[1] % groups == 0, f"{x} is not in {groups} groups.")
    return same(node, inputs)


def pixel_shuffle(node: Node, inputs: Sequence[Any]) -> Shape:
    """Return the shape with channels made pixels."""
    x, factor = inputs[0], node.attrs["factor"]
    need(len(x) >= 3 and x[-3] % factor**2 == 0, f"channels of {x} are not {factor}x{factor}.")
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
    need(1 <= axes <= 3, f"its input is {x}; it must have 3 to 5 axes.")
    image = image_sizes(node, x, axes)
    per_axis(node, axes, "factors")
    sizes = [math.floor(size * factor) for size, factor in zip(image, a["factors"], strict=True)]
    need(min(sizes) >= 1, "nothing is left of the image.")
    return (*x[:2], *sizes)

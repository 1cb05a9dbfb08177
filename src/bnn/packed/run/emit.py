"""Which native operation computes a node.

An emitter adds it to the program and returns True, or returns False where there is none, and the
node is then run by torch. Values are images ``(N, H, W, C)`` in memory ("last"), or contiguous in
the order of their axes ("plain"), which for up to two axes is the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from bnn.packed import runtime
from bnn.packed.epilogue import ACTIVATIONS, FIELDS, RESIDUAL_AT, Epilogue
from bnn.packed.graph import Node
from bnn.packed.graph.ops.base import is_average
from bnn.packed.panels import panel_for
from bnn.packed.shapes import ConvShape, PoolShape

if TYPE_CHECKING:
    from bnn.packed.run.plan import Planner

Emitter = Callable[["Planner", Node], bool]
NONE = -1
MOST_IN_ORDER = 256
"""Pixels whose average is one sum."""

_NUMBERS: dict[str, dict[str | None, int]] = {
    "first_activation": ACTIVATIONS,
    "second_activation": ACTIVATIONS,
    "residual_at": RESIDUAL_AT,
}


def _epilogue(planner: Planner, epilogue: Epilogue) -> tuple[int, ...]:
    """Return the epilogue as the native part takes it."""
    return tuple(
        _NUMBERS[name][getattr(epilogue, name)]
        if name in _NUMBERS
        else planner.address(getattr(epilogue, name))
        for name in FIELDS
    )


def _images(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return N, H, W, C of a logical ``(N, C)``, ``(N, C, L)`` or ``(N, C, H, W)``."""
    batch, channels, *pixels = shape
    height, width = _two(pixels)
    return batch, height, width, channels


def _two(sizes: Sequence[int], absent: int = 1) -> tuple[int, int]:
    """Return a number for each of two axes, of numbers for at most two."""
    first, second = (absent, absent, *sizes)[-2:]
    return first, second


def _conv_shape(node: Node, image: tuple[int, int, int, int], pads: Sequence[int]) -> ConvShape:
    """Return the native description; of a linear layer's rows too."""
    a, weight = node.attrs, node.tensors["weight"]
    kernel = weight.shape[2:] if node.op in ("conv", "linear") else weight.shape[1:-1]
    return ConvShape._make(
        (
            *image,
            weight.shape[0],
            *_two(kernel),
            *_two(a.get("stride", ())),
            *_two(a.get("dilation", ())),
            *(0, 0, 0, 0, *pads)[-4:],
            a.get("groups", 1),
            a.get("pad_value", 0),
        )
    )


def _rows(planner: Planner, node: Node) -> tuple[int, int, int, int]:
    """Return the input of a convolution or linear layer as images."""
    shape = planner.shape(node.inputs[0])
    if node.tensors["weight"].dim() == 2:
        channels = node.attrs.get("in_channels", shape[-1])
        return math.prod(shape[:-1]), 1, 1, channels
    if node.op == "binary_conv":  # bits are (N, *pixels, words) already
        batch, *pixels, _ = shape
        height, width = _two(pixels)
        return batch, height, width, node.attrs["in_channels"]
    return _images(shape)


def _layout(planner: Planner, value: int, axis: int) -> str:
    return "last" if axis == 1 and len(planner.shape(value)) > 2 else "plain"


def _finish(planner: Planner, node: Node, axis: int) -> tuple[int, int, int]:
    """Return the slots of floats, bits and residual."""
    residual = NONE
    if node.attrs.get("residual_at"):
        value = node.inputs[-1]
        residual = planner.read(value, _layout(planner, value, axis))
    out = bits = NONE
    if node.float_output is not None:
        layout = _layout(planner, node.float_output, axis)
        out = planner.write(node.float_output, layout, instead=residual)
    if node.bits_output is not None:
        bits = planner.write(node.bits_output, "plain")
    return out, bits, residual


def _binary_conv(planner: Planner, node: Node) -> bool:
    pads = node.attrs["padding"]
    shape = _conv_shape(node, _rows(planner, node), pads)
    weight = node.tensors["weight"]
    x = planner.read(node.inputs[0], "plain")
    panel = panel_for(shape, weight, planner.isa)
    out, bits, residual = _finish(planner, node, node.attrs.get("axis", 1))
    planner.program.bconv2d(
        tuple(shape),
        x,
        planner.address(weight),
        planner.address(panel),
        out,
        bits,
        residual,
        _epilogue(planner, node.epilogue),
    )
    return True


def _pack(planner: Planner, node: Node) -> bool:
    value, axis = node.inputs[0], node.attrs["axis"]
    shape = planner.shape(value)
    scale, shift = (planner.address(node.tensors.get(name)) for name in ("scale", "shift"))
    if axis == -1:
        batch, channels, pixels, last = 1, shape[-1], math.prod(shape[:-1]), True
        x = planner.read(value, "plain")
    else:
        batch, channels, pixels = shape[0], shape[1], math.prod(shape[2:])
        last = not planner.has(value, "plain") or planner.has(value, "last")
        x = planner.read(value, "last" if last else "plain")
    out = planner.write(node.outputs[0], "plain")
    planner.program.pack(x, batch, channels, pixels, last, scale, shift, out)
    return True


def _binary_max_pool(planner: Planner, node: Node) -> bool:
    a = node.attrs
    batch, height, width, _ = planner.shape(node.inputs[0])
    _, out_h, out_w, _ = planner.shape(node.outputs[0])
    window = (*a["kernel_size"], *a["stride"], *a["padding"], *a["dilation"])
    shape = PoolShape._make((batch, height, width, a["in_channels"], *window, out_h, out_w))
    x = planner.read(node.inputs[0], "plain")
    planner.program.bmaxpool2d(tuple(shape), x, planner.write(node.outputs[0], "plain"))
    return True


def _weight_only_conv(planner: Planner, node: Node) -> bool:
    shape = _conv_shape(node, _rows(planner, node), node.attrs["padding"])
    t = node.tensors
    axis = -1 if t["weight"].dim() == 2 else 1
    x = planner.read(node.inputs[0], _layout(planner, node.inputs[0], axis))
    out = planner.write(node.outputs[0], _layout(planner, node.outputs[0], axis))
    scale, bias = (planner.address(t.get(name)) for name in ("scale", "bias"))
    planner.program.weight_only_conv2d(
        tuple(shape), x, planner.address(t["weight"]), scale, bias, out
    )
    return True


def _conv(planner: Planner, node: Node) -> bool:
    weight = node.tensors["weight"]
    if weight.dim() > 4:
        return False
    linear = weight.dim() == 2
    axis = node.attrs.get("axis", 1)
    pads = [] if linear else [pad for p in node.attrs["padding"] for pad in (p, p)]
    shape = _conv_shape(node, _rows(planner, node), pads)
    value = node.inputs[0]
    # An image as the caller gives it: the first layer reads it as it is.
    nchw = weight.dim() == 4 and planner.has(value, "plain") and not planner.has(value, "last")
    x = planner.read(value, "plain" if nchw else _layout(planner, value, axis))
    panel = planner.float_panel(shape, weight)
    if _conv_and_max_pool(planner, node, shape, nchw, x, panel):
        return True
    out, bits, residual = _finish(planner, node, axis)
    planner.program.conv2d(
        tuple(shape),
        nchw,
        x,
        planner.address(panel),
        out,
        bits,
        residual,
        _epilogue(planner, node.epilogue),
    )
    return True


def _conv_and_max_pool(
    planner: Planner, node: Node, shape: ConvShape, nchw: bool, x: int, panel: Tensor
) -> bool:
    """Compute a stem with the maximum behind it, if nothing else reads it: it is no tensor then."""
    pool = planner.only_reader(node, "max_pool")
    if pool is None or node.attrs.get("residual_at") or node.bits_output is not None:
        return False
    window = _pool(planner, pool)
    between = _epilogue(planner, node.epilogue)
    if window is None or not runtime.native().fuses_maxpool2d(tuple(shape), between, tuple(window)):
        return False
    planner.program.conv2d_maxpool2d(
        tuple(shape),
        nchw,
        x,
        planner.address(panel),
        between,
        tuple(window),
        *_finish(planner, pool, 1),
        _epilogue(planner, pool.epilogue),
    )
    planner.skip(pool)
    return True


def _map(planner: Planner, node: Node) -> bool:
    rows, channels, x = _by_rows(planner, node)
    out, bits, residual = _finish(planner, node, node.attrs["axis"])
    planner.program.map(rows, channels, x, out, bits, residual, _epilogue(planner, node.epilogue))
    return True


def _level(planner: Planner, node: Node) -> bool:
    rows, channels, x = _by_rows(planner, node)
    level = node.attrs["levels"], node.attrs["plane"]
    out, bits, residual = _finish(planner, node, node.attrs["axis"])
    planner.program.level(
        rows, channels, x, *level, out, bits, residual, _epilogue(planner, node.epilogue)
    )
    return True


def _by_rows(planner: Planner, node: Node) -> tuple[int, int, int]:
    """Return the rows of channels of a node's input, the channels, and its slot."""
    value, axis = node.inputs[0], node.attrs["axis"]
    shape = planner.shape(value)
    rows = math.prod(shape) // max(shape[axis], 1)
    return rows, shape[axis], planner.read(value, _layout(planner, value, axis))


def _binary(planner: Planner, node: Node) -> bool:
    function = node.attrs["function"]
    if function == "mul":
        return _multiply(planner, node)
    return function == "add" and not node.tensors and len(node.attrs) == 1 and _add(planner, node)


def _multiply(planner: Planner, node: Node) -> bool:
    """Multiply two images, or each channel of an image by a number of its own."""
    x, by = sorted(node.inputs[:2], key=lambda value: -math.prod(planner.shape(value)))
    shape, factors = planner.shape(x), planner.shape(by)
    gate = factors == (*shape[:2], *[1] * (len(shape) - 2))
    if not 2 <= len(shape) <= 4 or not (gate or factors == shape):
        return False
    slots = planner.read(x, _layout(planner, x, 1)), planner.read(by, _layout(planner, by, 1))
    out, bits, residual = _finish(planner, node, 1)
    pixels = math.prod(shape[2:])
    planner.program.multiply(
        shape[0] * pixels,
        shape[1],
        *slots,
        1 if factors == shape else pixels,
        out,
        bits,
        residual,
        _epilogue(planner, node.epilogue),
    )
    return True


def _add(planner: Planner, node: Node) -> bool:
    a, b = node.inputs
    if planner.shape(a) != planner.shape(b):
        return False
    layout = planner.common_layout(a, b)
    x, residual = planner.read(a, layout), planner.read(b, layout)
    out = planner.write(node.outputs[0], layout)
    epilogue = Epilogue(residual_at="before_activation")
    size = math.prod(planner.shape(a))
    planner.program.map(1, size, x, out, NONE, residual, _epilogue(planner, epilogue))
    return True


def _pool(planner: Planner, node: Node) -> PoolShape | None:
    a = node.attrs
    if len(a["kernel_size"]) > 2:
        return None
    _, out_h, out_w, _ = _images(planner.pool_output(node))

    window = (
        *_two(a["kernel_size"]),
        *_two(a["stride"]),
        *_two(a["padding"], absent=0),
        *_two(a.get("dilation", ())),
    )
    return PoolShape._make((*_images(planner.shape(node.inputs[0])), *window, out_h, out_w))


def _max_pool(planner: Planner, node: Node) -> bool:
    shape = _pool(planner, node)
    if shape is None:
        return False
    value = node.inputs[0]
    x = planner.read(value, _layout(planner, value, 1))
    planner.program.maxpool2d(
        tuple(shape), x, *_finish(planner, node, 1), _epilogue(planner, node.epilogue)
    )
    return True


def _avg_pool(planner: Planner, node: Node) -> bool:
    shape = _pool(planner, node)
    a = node.attrs
    padded = a["count_include_pad"] and any(a["padding"])
    if shape is None or (padded and a["ceil_mode"]):
        return False  # torch has a third divisor there: see ops.avg_pool2d
    value = node.inputs[0]
    x = planner.read(value, _layout(planner, value, 1))
    planner.program.avgpool2d(
        tuple(shape), padded, x, *_finish(planner, node, 1), _epilogue(planner, node.epilogue)
    )
    return True


def _global_avg_pool(planner: Planner, node: Node) -> bool:
    if any(size != 1 for size in node.attrs["output_size"]):
        return False
    value = node.inputs[0]
    if len(planner.shape(value)) > 4:
        return False
    x = planner.read(value, _layout(planner, value, 1))
    out, bits, residual = _finish(planner, node, 1)
    _average(planner, value, x, out, bits, residual, node.epilogue)
    return True


def _mean(planner: Planner, node: Node) -> bool:
    value, out = node.inputs[0], node.outputs[0]
    if not is_average(node) or len(planner.shape(value)) != 4:
        return False
    x = planner.read(value, "last")
    to = planner.write(out, _layout(planner, out, 1))
    _average(planner, value, x, to, NONE, NONE, Epilogue())
    return True


def _average(
    planner: Planner, value: int, x: int, out: int, bits: int, residual: int, epilogue: Epilogue
) -> None:
    """Average over an image, or, where that has many pixels, over its rows and then over them.

    A sum of n floats in one order has an error of sqrt(n) roundings, and one thread.
    """
    batch, height, width, channels = _images(planner.shape(value))
    pixels = height * width
    if pixels > MOST_IN_ORDER:
        rows = planner.between(batch * height * channels)
        planner.program.global_avgpool(
            batch * height, width, channels, x, rows, NONE, NONE, _epilogue(planner, Epilogue())
        )
        x, pixels = rows, height
    planner.program.global_avgpool(
        batch, pixels, channels, x, out, bits, residual, _epilogue(planner, epilogue)
    )


def _concat(planner: Planner, node: Node) -> bool:
    own = node.inputs[:-1] if node.attrs.get("residual_at") else node.inputs
    if node.attrs["axis"] != 1 or len(planner.shape(own[0])) > 4:
        return False
    shapes = [planner.shape(value) for value in own]
    slots = [planner.read(value, _layout(planner, value, 1)) for value in own]
    rows = shapes[0][0] * math.prod(shapes[0][2:])
    planner.program.concat(
        rows,
        slots,
        [shape[1] for shape in shapes],
        *_finish(planner, node, 1),
        _epilogue(planner, node.epilogue),
    )
    return True


def _pad(planner: Planner, node: Node) -> bool:
    """Zeros for new channels, as a shortcut has them, are a concatenation."""
    a, value = node.attrs, node.inputs[0]
    shape = planner.shape(value)
    before, after = ([*a["pads"], *[0] * 8][2 * (len(shape) - 2) :])[:2]
    only_channels = len(a["pads"]) == 2 * (len(shape) - 1) and not any(a["pads"][:-2])
    if not only_channels or a["mode"] != "constant" or a["value"] != 0 or min(before, after) < 0:
        return False
    rows = shape[0] * math.prod(shape[2:])
    x = planner.read(value, _layout(planner, value, 1))
    parts = [(planner.zeros(rows * n), n) if n else None for n in (before, after)]
    inputs = [part for part in (parts[0], (x, shape[1]), parts[1]) if part is not None]
    out = planner.write(node.outputs[0], _layout(planner, node.outputs[0], 1))
    planner.program.concat(
        rows,
        [slot for slot, _ in inputs],
        [channels for _, channels in inputs],
        out,
        NONE,
        NONE,
        _epilogue(planner, Epilogue()),
    )
    return True


def _flatten(planner: Planner, node: Node) -> bool:
    value, output = node.inputs[0], node.outputs[0]
    shape = planner.shape(value)
    start, end = node.attrs["start"] % len(shape), node.attrs["end"] % len(shape)
    if start == 1 and end == len(shape) - 1 and 1 in (shape[1], math.prod(shape[2:])):
        planner.alias(value, output, "last" if planner.has(value, "last") else "plain")
        return True
    planner.read(value, "plain")
    planner.alias(value, output, "plain")
    return True


def _view(planner: Planner, node: Node) -> bool:
    planner.read(node.inputs[0], "plain")
    planner.alias(node.inputs[0], node.outputs[0], "plain")
    return True


EMITTERS: dict[str, Emitter] = {
    "binary_conv": _binary_conv,
    "pack": _pack,
    "binary_max_pool2d": _binary_max_pool,
    "weight_only_conv": _weight_only_conv,
    "conv": _conv,
    "linear": _conv,
    "map": _map,
    "binary": _binary,
    "level": _level,
    "reduce": _mean,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "adaptive_avg_pool": _global_avg_pool,
    "concat": _concat,
    "pad": _pad,
    "flatten": _flatten,
    "reshape": _view,
    "view": _view,
    "squeeze": _view,
    "unsqueeze": _view,
}


def make_float_panel(shape: ConvShape, weight: Tensor, isa: int) -> Tensor:
    """Return a float weight in the order in which its kernel reads it."""
    native: Any = runtime.native()
    ordered = weight.reshape(*weight.shape[:2], *_two(weight.shape[2:]))
    ordered = ordered.movedim(1, -1).contiguous()
    panel = runtime.aligned(native.conv2d_panel_bytes(*shape, isa))
    native.make_conv2d_panel(*shape, ordered.data_ptr(), panel.data_ptr(), isa)
    return panel

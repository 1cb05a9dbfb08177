"""Functions, operators and methods of tensors, each as operations of the graph.

A translator gets the builder and the call's own arguments: values of the graph, sizes of it, and
plain numbers. It raises Untranslated, or TypeError where the call has an argument that it does not
know, and the call is then run as it was.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bnn.packed.graph import ValueRef
from bnn.packed.graph.ops.elementwise import BINARY, UNARY
from bnn.packed.graph.ops.sizes import ARITHMETIC
from bnn.packed.lower import modules
from bnn.packed.lower.builder import Builder, Size, Untranslated

Translator = Callable[..., Any]
Number = int | float


class Shape:
    """What ``x.shape`` and ``x.size()`` are while the model is translated."""

    def __init__(self, x: ValueRef) -> None:
        self.x = x


def size(builder: Builder, x: ValueRef, dim: int | None = None) -> Any:
    """Translate ``x.size(dim)``."""
    if dim is None:
        return Shape(x)
    return builder.emit_int("size", [x], dim=dim)


def attribute(builder: Builder, x: ValueRef, name: str) -> Any:
    """Translate ``getattr(x, name)``."""
    if name == "shape":
        return Shape(x)
    if name == "ndim":
        return builder.rank(x)
    raise Untranslated(name)


def _item(builder: Builder, x: Any, index: Any) -> Any:
    if isinstance(x, Shape):
        if type(index) is not int:
            raise Untranslated("a slice of a shape")
        return size(builder, x.x, index)
    if isinstance(x, (list, tuple)):
        return x[index]
    if not isinstance(x, ValueRef):
        raise Untranslated("an item of something else")
    indices = index if isinstance(index, tuple) else (index,)
    if not all(isinstance(item, slice) for item in indices):
        raise Untranslated("an index that is no slice")
    for dim, item in enumerate(indices):
        bounds = (item.start, item.stop, item.step)
        if not all(bound is None or type(bound) is int for bound in bounds):
            raise Untranslated("a slice of open bounds")
        if item == slice(None):
            continue
        given = {"start": item.start, "stop": item.stop}
        known = {name: bound for name, bound in given.items() if bound is not None}
        x = builder.emit("slice", [x], dim=dim, step=item.step or 1, **known)
    return x


def _arithmetic(function: str) -> Translator:
    def translate(builder: Builder, a: Any, b: Any) -> Any:
        if isinstance(a, ValueRef) or isinstance(b, ValueRef):
            if function not in BINARY:
                raise Untranslated(function)
            return _of_tensors(builder, function, a, b)
        if function not in ARITHMETIC:
            raise Untranslated(function)
        sizes = [item if isinstance(item, Size) else _number(builder, item) for item in (a, b)]
        return builder.emit_int("arithmetic", sizes, function=function)

    return translate


def _number(builder: Builder, value: Any) -> Size:
    if type(value) is not int:
        raise Untranslated(f"arithmetic of {value!r}")
    return builder.emit_int("number", [], value=value)


def _of_tensors(builder: Builder, function: str, a: Any, b: Any) -> ValueRef:
    if isinstance(a, ValueRef) and isinstance(b, ValueRef):
        return _constant_operand(builder, function, a, b) or builder.emit(
            "binary", [a, b], function=function
        )
    x, value = (a, b) if isinstance(a, ValueRef) else (b, a)
    if type(value) not in (int, float) or not math.isfinite(value):
        raise Untranslated(f"{function} of {value!r}")
    if x is b and function in ("sub", "div"):
        function = "r" + function
    if function not in ("add", "sub", "mul", "div", "rsub", "rdiv"):
        raise Untranslated(f"{function} of a number")
    return builder.emit("scalar", [x], function=function, value=value)


def _constant_operand(builder: Builder, function: str, a: ValueRef, b: ValueRef) -> ValueRef | None:
    """Translate ``x * c`` and ``x + c`` where c is a constant for each channel."""
    if function not in ("mul", "add"):
        return None
    for x, constant in ((a, b), (b, a)):
        value = builder.constant(constant)
        if value is None or builder.constant(x) is not None or builder.rank(x) < 2:
            continue
        if value.numel() == 1:  # it may be broadcast along an axis of any length
            continue
        sizes = (*[1] * (builder.rank(x) - value.dim()), *value.shape)
        channels = builder.shape(x)[1]
        if len(sizes) == builder.rank(x) and sizes == (
            1, channels, *[1] * (len(sizes) - 2)
        ):  # fmt: skip
            vector = value.reshape(channels)
            return modules.per_channel(
                builder,
                x,
                vector if function == "mul" else None,
                vector if function == "add" else None,
            )
    return None


def _unary(function: str) -> Translator:
    def translate(builder: Builder, x: ValueRef, inplace: bool = False) -> ValueRef:
        return builder.emit("unary", [x], function=function)

    return translate


def _relu(builder: Builder, x: ValueRef, inplace: bool = False) -> ValueRef:
    return modules.activate(builder, x, "relu")


def _prelu(builder: Builder, x: ValueRef, weight: ValueRef) -> ValueRef:
    slope = builder.constant(weight)
    if slope is None or builder.rank(x) < 2:
        raise Untranslated("a PReLU whose slope is computed")
    return modules.activate(builder, x, "prelu", slope.reshape(-1).expand(builder.shape(x)[1]))


def _leaky_relu(
    builder: Builder,
    x: ValueRef,
    negative_slope: float = 0.01,
    inplace: bool = False,
) -> ValueRef:
    return modules.leaky_relu(builder, x, negative_slope)


def _hardtanh(
    builder: Builder,
    x: ValueRef,
    min_val: float = -1.0,
    max_val: float = 1.0,
    inplace: bool = False,
) -> ValueRef:
    return modules.hardtanh(builder, x, min_val, max_val)


def _clamp(
    builder: Builder,
    x: ValueRef,
    min: Any = None,
    max: Any = None,
) -> ValueRef:
    given = {"min": min, "max": max}
    bounds: dict[str, Any] = {
        name: float(bound) for name, bound in given.items() if bound is not None
    }
    if set(bounds) == {"min", "max"}:
        return modules.hardtanh(builder, x, bounds["min"], bounds["max"])
    return builder.emit("clamp", [x], **bounds)


def _convolve(axes: int) -> Translator:
    def translate(
        builder: Builder,
        input: ValueRef,
        weight: ValueRef,
        bias: ValueRef | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> ValueRef:
        if isinstance(padding, str):
            raise Untranslated("a padding by name")
        conv = SimpleNamespace(
            **_constants(builder, weight, bias),
            stride=modules.ints(stride, axes),
            padding_mode="zeros",
            _reversed_padding_repeated_twice=[
                pad for pad in reversed(modules.ints(padding, axes)) for _ in range(2)
            ],
            dilation=modules.ints(dilation, axes),
            groups=groups,
        )
        return modules.convolve(builder, conv, input)

    return translate


def _linear(
    builder: Builder, input: ValueRef, weight: ValueRef, bias: ValueRef | None = None
) -> ValueRef:
    return modules.linear(builder, SimpleNamespace(**_constants(builder, weight, bias)), input)


def _constants(
    builder: Builder, weight: ValueRef, bias: ValueRef | None
) -> dict[str, Tensor | None]:
    """Return weight and bias, which must be the same for every input."""
    found = {
        "weight": builder.constant(weight),
        "bias": None if bias is None else builder.constant(bias),
    }
    if found["weight"] is None or (bias is not None and found["bias"] is None):
        raise Untranslated("a weight that is computed")
    return found


def _gelu(builder: Builder, x: ValueRef, approximate: str = "none") -> ValueRef:
    return builder.emit("unary", [x], function="gelu_tanh" if approximate == "tanh" else "gelu")


def _max_pool(axes: int) -> Translator:
    def translate(
        builder: Builder,
        x: ValueRef,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> ValueRef:
        pool = SimpleNamespace(
            kernel_size=kernel_size,
            stride=stride or None,
            padding=padding,
            dilation=dilation,
            ceil_mode=ceil_mode,
            return_indices=return_indices,
        )
        return modules.max_pool(builder, pool, x, axes)

    return translate


def _avg_pool(axes: int) -> Translator:
    def translate(
        builder: Builder,
        x: ValueRef,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> ValueRef:
        pool = SimpleNamespace(
            kernel_size=kernel_size,
            stride=stride or None,
            padding=padding,
            ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
            divisor_override=divisor_override,
        )
        return modules.avg_pool(builder, pool, x, axes)

    return translate


def _adaptive(op: str, axes: int) -> Translator:
    def translate(builder: Builder, x: ValueRef, output_size: Any) -> ValueRef:
        return modules.adaptive_pool(builder, op, x, output_size, axes)

    return translate


def _pad(
    builder: Builder, x: ValueRef, pad: Any, mode: str = "constant", value: float | None = None
) -> ValueRef:
    pads = [int(item) for item in pad if type(item) is int]
    if len(pads) != len(pad):
        raise Untranslated("pads that are computed")
    return builder.emit("pad", [x], pads=pads, mode=mode, value=float(value or 0.0))


def _cat(builder: Builder, tensors: Any, dim: int = 0) -> ValueRef:
    if not all(isinstance(x, ValueRef) for x in tensors):
        raise Untranslated("a concatenation of what is no tensor")
    axis = dim % builder.rank(tensors[0])
    return builder.emit("concat", list(tensors), axis=axis)


def _flatten(builder: Builder, x: ValueRef, start_dim: int = 0, end_dim: int = -1) -> ValueRef:
    return builder.emit("flatten", [x], start=start_dim, end=end_dim)


def _reshape(builder: Builder, x: ValueRef, *shape: Any) -> ValueRef:
    sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], (list, tuple)) else shape
    inputs = [item for item in sizes if isinstance(item, Size)]
    if not all(isinstance(item, Size) or type(item) is int for item in sizes):
        raise Untranslated("a shape of other things than ints")
    wanted = [None if isinstance(item, Size) else item for item in sizes]
    op = "reshape" if inputs else "view"
    return builder.emit(op, [x, *inputs], shape=wanted)


def _permute(builder: Builder, x: ValueRef, *dims: Any) -> ValueRef:
    order = dims[0] if len(dims) == 1 and isinstance(dims[0], (list, tuple)) else dims
    return builder.emit("permute", [x], dims=[int(dim) for dim in order])


def _transpose(builder: Builder, x: ValueRef, dim0: int, dim1: int) -> ValueRef:
    order = list(range(builder.rank(x)))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return builder.emit("permute", [x], dims=order)


def _squeeze(builder: Builder, x: ValueRef, dim: int) -> ValueRef:
    return builder.emit("squeeze", [x], dim=dim)


def _unsqueeze(builder: Builder, x: ValueRef, dim: int) -> ValueRef:
    return builder.emit("unsqueeze", [x], dim=dim)


def _reduce(function: str) -> Translator:
    def translate(builder: Builder, x: ValueRef, dim: Any, keepdim: bool = False) -> ValueRef:
        dims = [dim] if isinstance(dim, int) else [int(item) for item in dim]
        return builder.emit("reduce", [x], function=function, dims=dims, keepdim=keepdim)

    return translate


def _chunk(builder: Builder, x: ValueRef, chunks: int, dim: int = 0) -> list[ValueRef]:
    length = builder.shape(x)[dim]
    if length % chunks:
        raise Untranslated("chunks of different lengths")
    return _split(builder, x, length // chunks, dim)


def _split(builder: Builder, x: ValueRef, split_size: Any, dim: int = 0) -> list[ValueRef]:
    dim %= builder.rank(x)
    length = builder.shape(x)[dim]
    if builder.channel_axis(x) != dim:  # only the number of channels is the same for every input
        raise Untranslated("a split of an axis that may have any length")
    step = split_size
    sizes = step if isinstance(step, (list, tuple)) else [step] * -(-length // step)
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [
        builder.emit("slice", [x], dim=dim, start=start, stop=start + count, step=1)
        for start, count in zip(starts, sizes, strict=True)
    ]


def _softmax(log: bool) -> Translator:
    def translate(
        builder: Builder,
        x: ValueRef,
        dim: int | None = None,
        _stacklevel: int = 3,
        dtype: torch.dtype | None = None,
    ) -> ValueRef:
        if dtype not in (None, torch.float32):
            raise Untranslated(f"a softmax in {dtype}")
        return modules.softmax(builder, x, dim, log)

    return translate


def _dropout(
    builder: Builder,
    x: ValueRef,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
) -> ValueRef:
    if training is not False:
        raise Untranslated("a dropout that is always on")
    return x


def _channel_shuffle(builder: Builder, x: ValueRef, groups: int) -> ValueRef:
    return builder.emit("channel_shuffle", [x], groups=groups)


def _same(builder: Builder, x: ValueRef, **_: Any) -> ValueRef:
    builder.check_floats(x)
    return x


def _clone(builder: Builder, x: ValueRef, **_: Any) -> ValueRef:
    return builder.emit("map", [x], axis=1)  # a value of its own, if the other is changed in place


def _dim(builder: Builder, x: ValueRef) -> int:
    return builder.rank(x)


_ADD, _SUB, _MUL = _arithmetic("add"), _arithmetic("sub"), _arithmetic("mul")
_DIV = _arithmetic("div")

FUNCTIONS: dict[Any, Translator] = {
    getattr: attribute,
    operator.getitem: _item,
    operator.add: _ADD,
    operator.iadd: _ADD,
    torch.add: _ADD,
    operator.sub: _SUB,
    operator.isub: _SUB,
    torch.sub: _SUB,
    operator.mul: _MUL,
    operator.imul: _MUL,
    torch.mul: _MUL,
    operator.truediv: _DIV,
    operator.itruediv: _DIV,
    torch.div: _DIV,
    operator.floordiv: _arithmetic("floordiv"),
    operator.mod: _arithmetic("mod"),
    torch.maximum: _arithmetic("maximum"),
    torch.minimum: _arithmetic("minimum"),
    F.conv1d: _convolve(1),
    F.conv2d: _convolve(2),
    F.conv3d: _convolve(3),
    F.linear: _linear,
    F.relu: _relu,
    torch.relu: _relu,
    F.prelu: _prelu,
    F.leaky_relu: _leaky_relu,
    F.hardtanh: _hardtanh,
    torch.clamp: _clamp,
    F.gelu: _gelu,
    F.relu6: _unary("relu6"),
    F.silu: _unary("silu"),
    F.mish: _unary("mish"),
    F.hardswish: _unary("hardswish"),
    F.hardsigmoid: _unary("hardsigmoid"),
    F.sigmoid: _unary("sigmoid"),
    F.tanh: _unary("tanh"),
    operator.neg: _unary("neg"),
    F.max_pool1d: _max_pool(1),
    F.max_pool2d: _max_pool(2),
    F.max_pool3d: _max_pool(3),
    torch.max_pool2d: _max_pool(2),
    F.avg_pool1d: _avg_pool(1),
    F.avg_pool2d: _avg_pool(2),
    F.avg_pool3d: _avg_pool(3),
    F.adaptive_avg_pool1d: _adaptive("adaptive_avg_pool", 1),
    F.adaptive_avg_pool2d: _adaptive("adaptive_avg_pool", 2),
    F.adaptive_max_pool2d: _adaptive("adaptive_max_pool", 2),
    F.pad: _pad,
    torch.cat: _cat,
    torch.concat: _cat,
    torch.flatten: _flatten,
    torch.reshape: _reshape,
    torch.permute: _permute,
    torch.transpose: _transpose,
    torch.squeeze: _squeeze,
    torch.unsqueeze: _unsqueeze,
    torch.mean: _reduce("mean"),
    torch.sum: _reduce("sum"),
    torch.amax: _reduce("amax"),
    torch.chunk: _chunk,
    torch.split: _split,
    F.softmax: _softmax(log=False),
    torch.softmax: _softmax(log=False),
    F.log_softmax: _softmax(log=True),
    torch.log_softmax: _softmax(log=True),
    F.dropout: _dropout,
    F.channel_shuffle: _channel_shuffle,
    **{
        getattr(torch, name): _unary(name)
        for name in UNARY
        if name != "sign" and hasattr(torch, name)  # torch.sign(0) is 0
    },
}
METHODS: dict[str, Translator] = {
    "size": size,
    "dim": _dim,
    "ndimension": _dim,
    "add": _ADD,
    "add_": _ADD,
    "sub": _SUB,
    "sub_": _SUB,
    "mul": _MUL,
    "mul_": _MUL,
    "div": _DIV,
    "div_": _DIV,
    "relu": _relu,
    "relu_": _relu,
    "clamp": _clamp,
    "view": _reshape,
    "reshape": _reshape,
    "flatten": _flatten,
    "permute": _permute,
    "transpose": _transpose,
    "squeeze": _squeeze,
    "unsqueeze": _unsqueeze,
    "mean": _reduce("mean"),
    "sum": _reduce("sum"),
    "amax": _reduce("amax"),
    "chunk": _chunk,
    "split": _split,
    "softmax": _softmax(log=False),
    "log_softmax": _softmax(log=True),
    "clone": _clone,
    "contiguous": _same,
    "detach": _same,
    "float": _same,
    **{name: _unary(name) for name in UNARY if name != "sign" and hasattr(Tensor, name)},
}

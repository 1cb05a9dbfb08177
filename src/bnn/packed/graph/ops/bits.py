"""Operations on bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from bnn.packed import ops
from bnn.packed.epilogue import FIELDS
from bnn.packed.graph.node import Node
from bnn.packed.graph.ops import rules
from bnn.packed.graph.ops.base import (
    AXIS,
    MOST_PAD,
    choice,
    flag,
    integer,
    integers,
    register,
    to_bits,
)


def _pack(node: Node, inputs: Sequence[Any]) -> Tensor:
    return to_bits(
        inputs[0], node.attrs["axis"], node.tensors.get("scale"), node.tensors.get("shift")
    )


register(
    "pack",
    _pack,
    rules.pack,
    does="bits of `fma(x, scale, shift) < 0` along `axis`, which becomes the last",
    attrs={"axis": AXIS},
    tensors={"scale": 1, "shift": 1},
    optional=("scale", "shift"),
    output="bits",
)


def _binary_conv(node: Node, inputs: Sequence[Any]) -> list[Tensor]:
    x, residual = inputs
    weight, a = node.tensors["weight"], node.attrs
    lead = x.shape[:-1]
    if weight.dim() == 2:  # linear: rows of any number of axes
        x = x.reshape(-1, x.shape[-1])
        residual = None if residual is None else residual.reshape(-1, residual.shape[-1])
    elif residual is not None:
        residual = residual.movedim(1, -1)
    epilogue = node.epilogue
    outputs = ops.bconv(
        x,
        weight,
        a["in_channels"],
        a["stride"],
        a["padding"],
        a["dilation"],
        a["groups"],
        a["pad_value"],
        node.output,
        residual=residual,
        **{name: getattr(epilogue, name) for name in FIELDS},
    )
    if weight.dim() == 2:
        return [out.view(*lead, out.shape[-1]) for out in outputs]
    if node.output != "bits":
        outputs[0] = outputs[0].movedim(-1, 1)
    return list(outputs)


register(
    "binary_conv",
    _binary_conv,
    rules.binary_conv,
    does="exact sums of a convolution of +1 and -1, or, with a weight of 2 axes, of a linear layer "
    "over the last axis. Padded taps count as `pad_value`; `padding` has two numbers for each "
    "axis, before and after",
    attrs={
        "in_channels": integer(1),
        "stride": integers(1),
        "padding": integers(0, MOST_PAD),
        "dilation": integers(1),
        "groups": integer(1),
        "pad_value": choice(-1, 0, 1),
        "axis": AXIS,
    },
    tensors={"weight": None},
    words=("weight",),
    optional=("axis",),
    inputs=("bits",),
    output="float",
    finishes=True,
)


def _max_pool(node: Node, inputs: Sequence[Any]) -> Tensor:
    a = node.attrs
    pooled: Tensor = ops.max_pool2d(
        inputs[0],
        a["in_channels"],
        a["kernel_size"],
        a["stride"],
        a["padding"],
        a["dilation"],
        a["ceil_mode"],
    )
    return pooled


register(
    "binary_max_pool2d",
    _max_pool,
    rules.binary_max_pool,
    does="bits of the largest value in each window; padding takes no part",
    attrs={
        "in_channels": integer(1),
        "kernel_size": integers(1, count=2),
        "stride": integers(1, count=2),
        "padding": integers(0, MOST_PAD, count=2),
        "dilation": integers(1, count=2),
        "ceil_mode": flag,
    },
    inputs=("bits",),
    output="bits",
)


def _weight_only_conv(node: Node, inputs: Sequence[Any]) -> Tensor:
    (x,) = inputs
    weight, a, t = node.tensors["weight"], node.attrs, node.tensors
    linear = weight.dim() == 2
    rows = x.reshape(-1, x.shape[-1]) if linear else x.movedim(1, -1)
    out: Tensor = ops.weight_only_conv(
        rows,
        weight,
        t.get("scale"),
        t.get("bias"),
        a["stride"],
        a["padding"],
        a["dilation"],
        a["groups"],
    )
    return out.view(*x.shape[:-1], out.shape[-1]) if linear else out.movedim(-1, 1)


register(
    "weight_only_conv",
    _weight_only_conv,
    rules.weight_only_conv,
    does="`sum(x * w) * scale + bias` for floats x, and w of +1 and -1; `padding` as for "
    "`binary_conv`, of zeros",
    attrs={
        "in_channels": integer(1),
        "stride": integers(1),
        "padding": integers(0, MOST_PAD),
        "dilation": integers(1),
        "groups": integer(1),
    },
    tensors={"weight": None, "scale": 1, "bias": 1},
    words=("weight",),
    optional=("scale", "bias"),
)

"""Shapes by arithmetic are those of torch, and steps in torch read and keep the right memory."""

import pytest
import torch

from bnn.errors import PackedError
from bnn.packed import PackedNetwork, PackReport
from bnn.packed.graph import OPERATIONS, Graph, Node, ValueRef, check_graph, compute
from bnn.packed.run import run_eagerly

CONV = {"stride": [2, 1], "padding": [1, 2], "dilation": [1, 2], "groups": 2}
PADS = {**CONV, "padding": [1, 0, 2, 1]}
POOL = {"kernel_size": [3, 2], "stride": [2, 1], "padding": [1, 0], "ceil_mode": True}
WORDS = torch.zeros(6, 3, 3, 1, dtype=torch.int64)


def norms(*shape):
    return {"weight": torch.ones(shape), "bias": torch.zeros(shape)}


CASES = [
    ("conv", CONV, {"weight": torch.ones(6, 2, 3, 3)}, [(2, 4, 9, 8)]),
    ("conv", {**CONV, "output": "float_and_bits"}, {"weight": torch.ones(6, 2, 3, 3)},
     [(2, 4, 9, 8)]),
    ("conv_transpose", {**CONV, "output_padding": [1, 0]},
     {"weight": torch.ones(4, 3, 3, 2), "bias": torch.ones(6)}, [(2, 4, 5, 5)]),
    ("linear", {"axis": -1}, {"weight": torch.ones(3, 5)}, [(2, 7, 5)]),
    ("linear", {"axis": -1, "output": "bits"}, {"weight": torch.ones(3, 5)}, [(2, 7, 5)]),
    ("linear", {}, {"weight": torch.ones(3, 5)}, [(2, 5)]),
    ("linear", {"axis": -1}, {"weight": torch.ones(3, 5)}, [(5,)]),
    ("map", {"axis": 1, "output": "bits"}, {"scale": torch.ones(5)}, [(2, 5, 3)]),
    ("map", {"axis": -1, "residual_at": "after_activation"}, {}, [(2, 5, 3), (2, 5, 3)]),
    ("max_pool", {**POOL, "dilation": [1, 2]}, {}, [(2, 3, 8, 9)]),
    ("avg_pool", {**POOL, "count_include_pad": True}, {}, [(2, 3, 8, 9)]),
    ("avg_pool", {**POOL, "count_include_pad": False}, {}, [(2, 3, 1, 2)]),
    ("adaptive_avg_pool", {"output_size": [2, 3]}, {}, [(2, 3, 8, 9)]),
    ("adaptive_max_pool", {"output_size": [4]}, {}, [(2, 3, 9)]),
    ("pack", {"axis": 1}, {"scale": torch.ones(70)}, [(2, 70, 3, 4)]),
    ("pack", {"axis": -1}, {}, [(2, 3, 70)]),
    ("pack", {"axis": -1}, {}, [(70,)]),
    ("weight_only_conv", {**PADS, "in_channels": 4}, {"weight": WORDS, "scale": torch.ones(6)},
     [(2, 4, 9, 8)]),
    ("weight_only_conv", {"stride": [], "padding": [], "dilation": [], "groups": 1,
                          "in_channels": 70},
     {"weight": torch.zeros(3, 2, dtype=torch.int64)}, [(2, 5, 70)]),
    ("binary", {"function": "add"}, {}, [(2, 1, 3), (4, 1)]),
    ("scalar", {"function": "rdiv", "value": 2}, {}, [(2, 3)]),
    ("unary", {"function": "gelu_tanh"}, {}, [(2, 3)]),
    ("constant", {}, {"value": torch.ones(2, 3)}, []),
    ("clamp", {"max": 1}, {}, [()]),
    ("parametric", {"function": "elu", "value": 0.5}, {}, [(2, 3)]),
    ("softmax", {"dim": -2, "log": True}, {}, [(2, 3, 4)]),
    ("layer_norm", {"shape": [3, 4], "eps": 1e-5}, norms(3, 4), [(2, 3, 4)]),
    ("group_norm", {"groups": 2, "eps": 1e-5}, norms(4), [(2, 4, 3)]),
    ("concat", {"axis": 1, "output": "float_and_bits"}, {}, [(2, 3, 4), (2, 5, 4)]),
    ("concat", {"axis": 0}, {}, [(2, 3), (1, 3), (4, 3)]),
    ("flatten", {"start": 1, "end": -2}, {}, [(2, 3, 4, 5)]),
    ("view", {"shape": [4, -1]}, {}, [(2, 3, 4)]),
    ("permute", {"dims": [0, -1, 1]}, {}, [(2, 3, 4)]),
    ("squeeze", {"dim": -1}, {}, [(2, 3, 1)]),
    ("squeeze", {"dim": 1}, {}, [(2, 3, 1)]),
    ("unsqueeze", {"dim": -1}, {}, [(2, 3)]),
    ("slice", {"dim": 1, "start": -3, "stop": 9, "step": 2}, {}, [(2, 5)]),
    ("pad", {"pads": [1, -2, 0, 3], "mode": "constant", "value": 1.0}, {}, [(2, 3, 4)]),
    ("pad", {"pads": [1, 2, 0, 3], "mode": "reflect", "value": 0.0}, {}, [(2, 3, 4, 4)]),
    ("pad", {"pads": [1, 2], "mode": "circular", "value": 0.0}, {}, [(2, 3, 4)]),
    ("pad", {"pads": [5, 6], "mode": "replicate", "value": 0.0}, {}, [(2, 3, 4)]),
    ("reduce", {"function": "mean", "dims": [1, -1], "keepdim": False}, {}, [(2, 3, 4)]),
    ("reduce", {"function": "amax", "dims": [0], "keepdim": True}, {}, [(2, 3, 4)]),
    ("channel_shuffle", {"groups": 3}, {}, [(2, 6, 4, 4)]),
    ("pixel_shuffle", {"factor": 2}, {}, [(2, 8, 3, 3)]),
    ("repeat_interleave", {"repeats": 3, "dim": 1}, {}, [(2, 3)]),
    ("interpolate", {"factors": [1.7, 0.3], "mode": "bilinear", "align_corners": False}, {},
     [(2, 3, 7, 8)]),
    ("interpolate", {"factors": [2.0], "mode": "nearest", "align_corners": False}, {},
     [(2, 3, 7)]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[f"{i}-{case[0]}" for i, case in enumerate(CASES)])
def test_shapes_are_those_of_torch(case):
    op, attrs, tensors, shapes = case
    inputs = list(range(len(shapes)))
    outputs = [10, 11] if attrs.get("output") == "float_and_bits" else [10]
    node = Node(op, inputs, outputs, attrs, tensors, op)
    graph = Graph(inputs, [node], [ValueRef(10)] if attrs.get("output") != "bits" else [], 12)
    if op == "pack":
        graph.output = []
    known = check_graph(graph, shapes)
    found = compute(node, [torch.ones(shape) for shape in shapes])
    for value, tensor in zip(outputs, found, strict=True):
        assert tuple(known[value].shape) == tuple(tensor.shape)
        assert known[value].dtype == tensor.dtype


def test_every_operation_says_what_it_does():
    ints = {"size", "arithmetic", "number"}
    for name in OPERATIONS:
        assert OPERATIONS[name].does
        assert (OPERATIONS[name].shape is None) == (name in ints)


# What torch would take, and a kernel would read in another way.
@pytest.mark.parametrize(
    ("op", "attrs", "tensors", "shape"),
    [
        ("conv", CONV, {"weight": torch.ones(6, 2, 3, 3)}, (4, 9, 8)),
        ("conv", {**CONV, "stride": [2]}, {"weight": torch.ones(6, 2, 3, 3)}, (2, 4, 9, 8)),
        ("max_pool", {**POOL, "dilation": [1, 1]}, {}, (3, 8, 9)),
        ("max_pool", {**POOL, "stride": [], "dilation": [1, 1]}, {}, (2, 3, 8, 9)),
        ("adaptive_avg_pool", {"output_size": [1, 1]}, {}, (3, 8, 9)),
        ("map", {"axis": 1}, {"scale": torch.ones(1)}, (2, 5, 3)),
        ("map", {"axis": 1}, {"scale": torch.ones(5)}, (2, 1, 3)),
        ("map", {"axis": 1}, {}, (2,)),
        ("linear", {"axis": 1}, {"weight": torch.ones(3, 5)}, (2, 7, 5)),
        ("concat", {"axis": 2, "output": "bits"}, {}, (2, 3, 4)),
    ],
)
def test_what_torch_would_take(op, attrs, tensors, shape):
    graph = Graph([0], [Node(op, [0], [1], attrs, tensors, op)], [], 2)
    with pytest.raises(PackedError, match="does not fit an input"):
        check_graph(graph, [shape])


def network(nodes, output):
    for i, node in enumerate(nodes):
        node.name = str(i)
    graph = Graph([0], nodes, [ValueRef(value) for value in output], 20)
    return PackedNetwork(graph, PackReport("graph", ()), [(2, 3, 6)])


def linear(value, output, seed):
    weight = torch.randn(6, 6, generator=torch.Generator().manual_seed(seed))
    return Node("linear", [value], [output], {"axis": -1}, {"weight": weight})


def agree(packed, x):
    for found, expected in zip(packed(x), run_eagerly(packed.graph, [x]), strict=True):
        torch.testing.assert_close(found, expected)


def test_a_step_in_torch_reads_what_is_there_when_it_runs():
    later = Node("map", [1], [3], {"axis": 1, "first_activation": "relu"})  # in another layout
    nodes = [linear(0, 1, 0), Node("unary", [1], [2], {"function": "tanh"}), later]
    agree(network(nodes, [2, 3]), torch.randn(2, 3, 6))


def test_a_view_that_torch_gives_outlives_its_input():
    view = Node("slice", [1], [2], {"dim": 0, "start": 0, "stop": 1, "step": 1})
    nodes = [linear(0, 1, 0), view, linear(1, 3, 1), linear(3, 4, 2), linear(4, 5, 3)]
    agree(network(nodes, [2, 5]), torch.randn(2, 3, 6))

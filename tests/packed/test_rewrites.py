"""What packing moves: averages before linear maps, floats that are joined once, products."""

import pytest
import torch
from torch import nn

import bnn
from bnn import BConfig, Identity
from bnn.layers import Conv2d
from bnn.ops import (
    BasicInputBinarizer,
    DoReFaInputBinarizer,
    RealToBinaryGateBinarizer,
    XNORWeightBinarizer,
)

BINARY = BConfig(BasicInputBinarizer, Identity, XNORWeightBinarizer)
GATED = BConfig(BasicInputBinarizer, RealToBinaryGateBinarizer, BasicInputBinarizer)


def conv(channels, out, bconfig=BINARY):
    return Conv2d(channels, out, 3, padding=1, bias=False, bconfig=bconfig)


def norm(channels):
    made = nn.BatchNorm2d(channels)
    with torch.no_grad():
        made.running_mean.normal_(0, 0.5)
        made.running_var.uniform_(0.5, 2)
        made.weight.normal_(1, 0.8)
        made.bias.normal_(0, 0.5)
    return made


def ops(packed):
    return [node.op for node in packed.graph.nodes]


class Dense(nn.Module):
    """Three blocks that each read what all earlier ones gave, and a classifier that does too."""

    def __init__(self, channels, growth, *, returns_an_inner_one=False):
        super().__init__()
        self.norms = nn.ModuleList(norm(channels + i * growth) for i in range(4))
        self.convs = nn.ModuleList(conv(channels + i * growth, growth) for i in range(3))
        self.inner = returns_an_inner_one

    def forward(self, x):
        given = x
        for i, layer in enumerate(self.convs):
            x = torch.cat((x, layer(self.norms[i](x))), dim=1)
            if i == 0:
                first = x
        out = torch.relu(self.norms[3](x))
        return (out, first) if self.inner else out + 0 * given[:, :1]


@pytest.mark.parametrize(("channels", "growth"), [(64, 64), (160, 64), (20, 7), (128, 3)])
@pytest.mark.parametrize("threads", [1, 3])
def test_dense_blocks_write_their_floats_once(channels, growth, threads):
    model = Dense(channels, growth).eval()
    x = torch.randn(2, channels, 9, 7)
    packed = bnn.pack(model, x)
    joins = [node for node in packed.graph.nodes if node.op == "concat"]
    assert [len(node.inputs) for node in joins] == [2, 3, 4]
    assert [node.output for node in joins] == ["bits", "bits", "float"]
    before = bnn.get_num_threads()
    bnn.set_num_threads(threads)
    try:
        with torch.no_grad():
            assert torch.equal(packed(x), model(x))
    finally:
        bnn.set_num_threads(before)


def test_what_is_returned_or_read_by_others_is_joined():
    model = Dense(8, 8, returns_an_inner_one=True).eval()
    x = torch.randn(2, 8, 6, 6)
    packed = bnn.pack(model, x)
    first = next(node for node in packed.graph.nodes if node.op == "concat")
    assert first.output == "float_and_bits"
    with torch.no_grad():
        for got, want in zip(packed(x), model(x), strict=True):
            assert torch.equal(got, want)


class Gated(nn.Module):
    """Batch norm, binary convolution with a gate, PReLU, plus the shortcut."""

    def __init__(self, channels=64):
        super().__init__()
        self.stem = conv(channels, channels)
        self.bn = norm(channels)
        self.conv = conv(channels, channels, GATED)
        self.act = nn.PReLU(channels)
        self.last = conv(channels, channels)

    def forward(self, x):
        x = self.stem(x)
        return self.last(self.act(self.conv(self.bn(x))) + x)


def test_a_gate_averages_what_is_in_memory():
    model = Gated().eval()
    x = torch.randn(3, 64, 8, 8)
    packed = bnn.pack(model, x)
    nodes = {node.op: node for node in packed.graph.nodes}
    producers = packed.graph.producers()
    assert producers[nodes["reduce"].inputs[0]].op == "binary_conv"  # the norm is behind it
    (product,) = (node for node in packed.graph.nodes if node.op == "binary")
    assert product.epilogue.residual_at == "before_activation"
    assert product.output == "bits"  # the next layer's
    assert ops(packed).count("pack") == 1  # the network's input
    steps = [t.operation for t in packed.profile(x) if t.operation.startswith("torch")]
    assert steps == ["torch unary"]  # the sigmoid
    agreement = bnn.verify(model, packed, x)
    assert agreement.identical
    torch.testing.assert_close(packed(x), model(x))


class Mixture(nn.Module):
    """The mean of a mixture of two images, each of which others read too."""

    def __init__(self, activation=None):
        super().__init__()
        self.a, self.b = conv(8, 8), conv(8, 8)
        self.share = nn.Parameter(torch.rand(1, 8, 1, 1))
        self.act = activation or nn.Identity()

    def forward(self, x):
        a, b = self.a(x), self.b(x)
        gate = nn.functional.adaptive_avg_pool2d(self.act(a * self.share + b * (1 - self.share)), 1)
        return gate * a + b


def test_a_mixture_is_averaged_first():
    model, x = Mixture().eval(), torch.randn(2, 8, 6, 5)
    packed = bnn.pack(model, x)
    averages = [node for node in packed.graph.nodes if node.op == "adaptive_avg_pool"]
    assert len(averages) == 2
    assert not [node for node in packed.graph.nodes if node.op == "map"]  # nor is it written
    torch.testing.assert_close(packed(x), model(x))
    torch.testing.assert_close(packed(x[:1, :, :4]), model(x[:1, :, :4]))  # another size
    names = [node.name for node in packed.graph.nodes]
    assert len(set(names)) == len(names)


def test_what_is_not_linear_is_averaged_as_it_is():
    model, x = Mixture(nn.ReLU()).eval(), torch.randn(2, 8, 6, 5)
    packed = bnn.pack(model, x)
    assert len([node for node in packed.graph.nodes if node.op == "adaptive_avg_pool"]) == 1
    torch.testing.assert_close(packed(x), model(x))


def test_an_average_behind_a_layer_alone_stays_behind_its_norm():
    model = nn.Sequential(conv(8, 8), norm(8), nn.AdaptiveAvgPool2d(1)).eval()
    x = torch.randn(2, 8, 6, 5)
    packed = bnn.pack(model, x)
    assert ops(packed)[-2:] == ["binary_conv", "adaptive_avg_pool"]  # the norm is in the first
    assert not packed.graph.nodes[-1].epilogue.given()
    torch.testing.assert_close(packed(x), model(x))


class Product(nn.Module):
    """A product, ReLU, and a batch norm's signs."""

    def __init__(self, by):
        super().__init__()
        self.a, self.b, self.last = conv(64, 64), conv(64, 64), conv(64, 64)
        self.bn, self.by = norm(64), by

    def forward(self, x):
        a, b = self.a(x), self.b(x)
        return self.last(self.bn(torch.relu(self.by(a, b)))) + a


PRODUCTS = {
    "image": lambda a, b: a * b,
    "gate": lambda a, b: a * b[:, :, :1, :1],
    "gate first": lambda a, b: b[:, :, :1, :1] * a,
    "pixel": lambda a, b: a * b[:, :1],  # not native: it has another factor for each pixel
    "row": lambda a, b: a * b[:, :, :1],
}


@pytest.mark.parametrize("which", PRODUCTS)
def test_products_are_exact(which, tmp_path):
    model = Product(PRODUCTS[which]).eval()
    x = torch.randn(3, 64, 7, 6)
    packed = bnn.pack(model, x)
    (product,) = (node for node in packed.graph.nodes if node.op == "binary")
    assert product.attrs["function"] == "mul"
    assert product.output == "bits"
    native = [t.operation for t in packed.profile(x) if t.operation == "multiply"]
    assert bool(native) == (which in ("image", "gate", "gate first"))
    with torch.no_grad():
        assert torch.equal(packed(x), model(x))
    packed.save(tmp_path / "net.bnn")
    assert torch.equal(bnn.load(tmp_path / "net.bnn")(x), packed(x))


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_levels_are_split_natively(bits):
    config = BConfig(DoReFaInputBinarizer.with_args(bits=bits), Identity, BasicInputBinarizer)
    model = nn.Sequential(conv(6, 70), norm(70), conv(70, 5, config)).eval()
    x = torch.randn(2, 6, 9, 8)
    packed = bnn.pack(model, x)
    assert ops(packed).count("level") == bits
    assert not [t for t in packed.profile(x) if t.operation.startswith("torch")]
    with torch.no_grad():
        assert torch.equal(packed(x), model(x))


def test_two_norms_in_a_row_are_one_map():
    model = nn.Sequential(conv(8, 8), nn.ReLU(), norm(8), nn.ReLU(), norm(8), norm(8)).eval()
    x = torch.randn(2, 8, 6, 5)
    packed = bnn.pack(model, x)
    with torch.no_grad():
        assert torch.equal(packed(x), model(x))


def test_a_gate_runs_within_inference_mode_and_behind_it():
    model, x = Gated().eval(), torch.randn(2, 64, 8, 8)
    packed = bnn.pack(model, x)
    with torch.inference_mode():
        first = packed(x)
    assert torch.equal(packed(x), first)  # in the same memory
    with torch.inference_mode():
        assert torch.equal(packed(x), first)
    assert torch.equal(packed(x.clone().requires_grad_()), first)
    sigmoid = nn.Sequential(conv(8, 8), nn.AdaptiveAvgPool2d(1), nn.Sigmoid()).eval()
    x = torch.randn(2, 8, 6, 5)
    packed = bnn.pack(sigmoid, x)  # the network's output is what torch writes
    with torch.inference_mode():
        got = packed(x)
    torch.testing.assert_close(got, sigmoid(x))
    assert torch.equal(packed(x), got)


@pytest.mark.filterwarnings("error")
def test_a_gate_behind_a_view():
    class Viewed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = conv(8, 8)

        def forward(self, x):
            pooled = nn.functional.adaptive_avg_pool2d(self.a(x), 1)
            return torch.sigmoid(pooled.flatten(1)) + torch.tanh(pooled).flatten(1)

    model, x = Viewed().eval(), torch.randn(2, 8, 6, 5)
    packed = bnn.pack(model, x)
    torch.testing.assert_close(packed(x), model(x))


def test_the_average_of_a_large_image_has_few_roundings():
    """One sum of 12,544 floats would have an error of 100 roundings."""
    x = 1 + torch.rand(2, 40, 112, 112, generator=torch.Generator().manual_seed(0))
    packed = bnn.pack(nn.AdaptiveAvgPool2d(1).eval(), x)
    assert not packed.graph.opaque()
    exact = x.double().mean((2, 3), keepdim=True)
    error = (packed(x).double() - exact).abs().max() / exact.abs().max()
    assert error < 8 * torch.finfo(torch.float32).eps  # 5e-6 in one order

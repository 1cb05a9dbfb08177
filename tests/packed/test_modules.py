"""Packed layers: what the emulated layer computes, to the last bit."""

import copy

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from bnn import BConfig, Identity
from bnn.errors import PackedError
from bnn.layers import Conv1d, Conv2d, Conv3d, Linear
from bnn.ops import (
    AdvancedInputBinarizer,
    BasicInputBinarizer,
    BasicScaleBinarizer,
    StochasticInputBinarizer,
    XNORScaleBinarizer,
    XNORWeightBinarizer,
)
from bnn.ops.base import WeightBinarizer
from bnn.packed import PackedConv1d, PackedConv2d, PackedLinear, layout

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")  # torch, of even kernels

SEEDS = st.integers(0, 2**32)
ACTIVATIONS = (BasicInputBinarizer, AdvancedInputBinarizer, StochasticInputBinarizer)
WEIGHTS = (
    BasicInputBinarizer,
    AdvancedInputBinarizer,
    XNORWeightBinarizer,
    XNORWeightBinarizer.with_args(center_weights=True),
    XNORWeightBinarizer.with_args(compute_alpha=False),
)
OUTPUTS = (Identity, BasicScaleBinarizer)

configs = st.builds(
    BConfig, st.sampled_from(ACTIVATIONS), st.sampled_from(OUTPUTS), st.sampled_from(WEIGHTS)
)
XNOR = BConfig(BasicInputBinarizer, BasicScaleBinarizer, XNORWeightBinarizer)


def trained(layer):
    """Give every factor of the layer values, some of them negative."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    return layer.eval()


def assert_same(packed, layer, x, same):
    with torch.no_grad():
        same(packed(x), layer(x))


@settings(max_examples=40)
@given(
    config=configs,
    lead=st.lists(st.integers(0, 4), max_size=3).map(tuple),
    size=st.tuples(st.integers(1, 200), st.integers(1, 70)),
    bias=st.booleans(),
    seed=SEEDS,
)
def test_linear(config, lead, size, bias, seed, values, same):
    layer = trained(Linear(*size, bias=bias, bconfig=config))
    packed = PackedLinear.from_module(layer)
    assert_same(packed, layer, values(*lead, size[0], seed=seed), same)


@settings(max_examples=60)
@given(
    config=configs,
    axes=st.sampled_from((1, 2)),
    groups=st.sampled_from((1, 1, 2, 5)),
    each=st.sampled_from((1, 3, 33, 64, 65)),
    filters=st.sampled_from((1, 3, 33)),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    padding=st.sampled_from((0, 1, 2, "same", "valid")),
    dilation=st.integers(1, 2),
    mode=st.sampled_from(("zeros", "zeros", "zeros", "reflect", "replicate", "circular")),
    value=st.sampled_from((0, 1, -1)),
    bias=st.booleans(),
    batch=st.sampled_from((None, 0, 1, 3)),
    seed=SEEDS,
)
def test_convolutions(
    config, axes, groups, each, filters, kernel, stride, padding, dilation, mode, value, bias,
    batch, seed, values, same,
):  # fmt: skip
    stride = 1 if padding == "same" else stride
    value = 0 if mode != "zeros" else value
    assume(not (mode != "zeros" and batch == 0))  # torch refuses
    cls, packed_cls = ((Conv1d, PackedConv1d), (Conv2d, PackedConv2d))[axes - 1]
    layer = trained(
        cls(
            groups * each, groups * filters, kernel, stride, padding, dilation, groups, bias, mode,
            bconfig=config, padding_value=value,
        )
    )  # fmt: skip
    x = values(*(() if batch is None else (batch,)), groups * each, *(7, 6)[-axes:], seed=seed)
    assert_same(packed_cls.from_module(layer), layer, x, same)


def test_asymmetric_geometry(values, same):
    layer = trained(Conv2d(33, 8, (3, 2), (1, 2), (2, 0), (1, 2), bconfig=XNOR, padding_value=-1))
    assert_same(PackedConv2d.from_module(layer), layer, values(2, 33, 7, 9), same)
    layer = trained(Conv2d(33, 8, 4, padding="same", bconfig=XNOR))  # one more pad on one side
    packed = PackedConv2d.from_module(layer)
    assert packed.padding == (1, 2, 1, 2)
    assert_same(packed, layer, values(2, 33, 7, 9), same)


def test_channels_last_input(values, same):
    layer = trained(Conv2d(64, 32, 3, bconfig=XNOR))
    x = values(2, 64, 6, 6).to(memory_format=torch.channels_last)
    packed = PackedConv2d.from_module(layer)
    assert_same(packed, layer, x, same)
    assert packed(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_computes_in_float32(dtype, values, same):
    layer = trained(Conv2d(64, 32, 3, bconfig=XNOR))
    x = values(2, 64, 6, 6, specials=False).to(dtype)
    packed = PackedConv2d.from_module(layer)
    with torch.no_grad():
        expected = layer(x.float()).to(dtype)
    same(packed(x), expected)
    assert packed.to(dtype).scale.dtype == torch.float32  # converting the model changes nothing
    same(packed(x), expected)
    same(
        PackedConv2d.from_module(copy.deepcopy(layer).to(dtype))(x).float().isfinite(),
        expected.isfinite(),
    )


def example():
    layer = trained(Conv2d(100, 33, 3, padding=1, groups=1, bconfig=XNOR))
    return layer, PackedConv2d.from_module(layer), torch.randn(2, 100, 6, 6)


def test_state_dict_is_packed_and_loads_into_a_fresh_module(tmp_path, same):
    layer, packed, x = example()
    state = packed.state_dict()
    assert {name: tuple(t.shape) for name, t in state.items()} == {
        "weight": (33, 3, 3, 2),
        "scale": (33,),
        "bias": (33,),
        "post_scale": (33,),
    }
    packed(x)
    save_file(packed.state_dict(), tmp_path / "layer.safetensors")
    fresh = PackedConv2d(100, 33, 3, padding=1, post_scale=True)
    fresh(x)  # its panel is for other weights
    fresh.load_state_dict(load_file(tmp_path / "layer.safetensors"))
    assert_same(fresh, layer, x, same)
    fresh = PackedConv2d(100, 33, 3, padding=1, post_scale=True)
    fresh.load_state_dict(state, assign=True)
    assert_same(fresh, layer, x, same)


def test_copies_and_files(tmp_path, same):
    layer, packed, x = example()
    packed(x)
    assert_same(copy.deepcopy(packed), layer, x, same)
    torch.save(packed, tmp_path / "layer.pt")
    assert (tmp_path / "layer.pt").stat().st_size < packed.nbytes + 8192  # no panel
    assert_same(torch.load(tmp_path / "layer.pt", weights_only=False), layer, x, same)


def test_factors_that_change_are_seen(same):
    layer, packed, x = example()
    expected = packed(x)
    assert packed._epilogue() is packed._epilogue()
    packed.scale.neg_()
    packed.bias.neg_()
    same(packed(x), -expected)
    packed.scale = -packed.scale
    packed.bias = -packed.bias
    same(packed(x), expected)
    packed.bias = None
    without = trained(Conv2d(100, 33, 3, padding=1, bias=False, bconfig=XNOR))
    without.load_state_dict({k: v for k, v in layer.state_dict().items() if k != "bias"})
    assert_same(packed, without, x, same)
    assert copy.deepcopy(packed)._epilogue().scale is not packed.scale


def test_shares_nothing_with_the_layer(same):
    layer, packed, x = example()
    expected = packed(x)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.neg_()
    same(packed(x), expected)
    assert not list(packed.parameters())


def test_made_in_inference_mode(same):
    layer, _, x = example()
    with torch.inference_mode():
        packed = PackedConv2d.from_module(layer)
        same(packed(x), layer(x))
    assert not packed.weight.is_inference()


def test_says_its_bytes():
    _, packed, x = example()
    assert packed.nbytes == 33 * 9 * 2 * 8 + 3 * 33 * 4
    assert "100, 33, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1, 1, 1)" in repr(packed)
    assert f"factors=(scale, bias, post_scale), bytes={packed.nbytes:,}" in repr(packed)
    packed(x)
    assert (packed.panel_nbytes > 0) == ("of panel" in repr(packed))


def test_moves_to_another_device():
    _, packed, x = example()
    packed = packed.to("meta")
    assert packed.weight.device.type == "meta"
    assert packed(x.to("meta")).shape == (2, 33, 6, 6)
    with pytest.raises(PackedError, match="the input is on cpu, but the layer on meta. Move the"):
        packed(x)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, in compile
def test_compiles_and_exports(same):
    layer, packed, x = example()
    torch._dynamo.reset()
    with torch.no_grad():
        compiled = torch.compile(packed, fullgraph=True, backend="aot_eager")
        same(compiled(x), layer(x))
        program = torch.export.export(packed, (x,))
        same(program.module()(x), layer(x))
        assert "bnn.bconv" in str(program.graph)


class _Doubled(BasicInputBinarizer):
    def forward(self, x):
        return super().forward(x) * 2


class _Ternary(WeightBinarizer):
    def decompose(self, weight):
        return weight.round().clamp(-1, 1), None


class _OwnLinear(Linear):
    def _compute(self, x, weight, bias):
        return super()._compute(x, weight.flip(0), bias)


BASIC = BConfig(BasicInputBinarizer, weight_pre_process=BasicInputBinarizer)


def linear(activation=BasicInputBinarizer, output=Identity, weight=BasicInputBinarizer):
    return Linear(8, 4, bconfig=BConfig(activation, output, weight)).eval()


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (lambda: nn.Linear(8, 4), "a Linear cannot be packed here; give a bnn.layers.Linear"),
        (lambda: Conv2d(3, 4, 3, bconfig=BASIC), "a Conv2d cannot be packed here"),
        (lambda: Conv3d(3, 4, 3, bconfig=BASIC), "a Conv3d cannot be packed here"),
        (
            lambda: linear(activation=Identity),
            "activation_pre_process is Identity; allowed: Advanced",
        ),
        (lambda: linear(activation=_Doubled), "activation_pre_process is _Doubled; allowed"),
        (lambda: linear(activation=nn.Hardtanh), "activation_pre_process is Hardtanh"),
        (
            lambda: linear(activation=StochasticInputBinarizer).train(),
            "StochasticInputBinarizer in training mode, which is random; allowed: evaluation",
        ),
        (
            lambda: linear(weight=StochasticInputBinarizer).train(),
            "weight_pre_process is StochasticInputBinarizer in training mode",
        ),
        (lambda: linear(weight=Identity), "weight_pre_process is Identity; allowed: a Weight"),
        (lambda: linear(weight=_Ternary), "_Ternary, whose signs are not all -1 or +1"),
        (
            lambda: linear(output=XNORScaleBinarizer),
            "activation_post_process is XNORScaleBinarizer",
        ),
        (lambda: linear(output=nn.ReLU), "activation_post_process is ReLU; allowed: Identity, Bas"),
        (
            lambda: linear(output=BasicScaleBinarizer.with_args(shape=(1, 1, 4))),
            "BasicScaleBinarizer of shape (1, 1, 4)",
        ),
        (lambda: _OwnLinear(8, 4, bconfig=BASIC), "a _OwnLinear, has a _compute of its own"),
        (lambda: linear(weight=XNORWeightBinarizer).double(), "the layer holds torch.float64"),
    ],
)
def test_says_what_cannot_be_packed(layer, said):
    with pytest.raises(PackedError) as caught:
        PackedLinear.from_module(layer())
    assert said in str(caught.value)


def test_one_scale_for_all(values, same):
    layer = trained(linear(output=BasicScaleBinarizer.with_args(shape=(1, 1))))
    assert_same(PackedLinear.from_module(layer), layer, values(3, 8), same)


def test_signs_are_those_of_the_binarizer():
    layer = trained(
        Linear(
            70,
            3,
            bconfig=BConfig(
                BasicInputBinarizer, Identity, XNORWeightBinarizer.with_args(center_weights=True)
            ),
        )
    )
    signs, scale = layer.weight_pre_process.decompose(layer.weight)
    packed = PackedLinear.from_module(layer)
    assert torch.equal(layout.unpack(packed.weight, 70), signs)
    assert torch.equal(packed.scale, scale)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (torch.zeros(2, 7), "the input has shape (2, 7); it must have any axes, with 8 channels"),
        (torch.tensor(1.0), "the input has shape ()"),
        (torch.zeros(2, 8).double(), "the input is torch.float64; allowed: torch.float32"),
        ([1.0] * 8, "the input is a list; give a tensor"),
        (torch.zeros(2, 8, requires_grad=True), "x requires a gradient"),
    ],
)
def test_says_what_input_is_wrong(x, said):
    with pytest.raises(PackedError) as caught:
        PackedLinear(8, 4)(x)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: PackedLinear(0, 4), "in_features is 0; give an int from 1 up"),
        (lambda: PackedConv2d(3, 4, 0), "kernel_size is 0; give one number from 1 up, or 2"),
        (lambda: PackedConv2d(3, 4, (3, 3, 3)), "kernel_size is (3, 3, 3)"),
        (lambda: PackedConv2d(3, 4, 3, groups=2), "groups is 2; it must divide in_channels 3"),
        (lambda: PackedConv2d(3, 4, 3, padding_value=2), "padding_value is 2"),
        (lambda: PackedConv2d(3, 4, 3, padding_mode="mirror"), "padding_mode is 'mirror'"),
        (lambda: PackedConv1d(3, 4, 3, padding=-1), "padding is -1"),
        (lambda: PackedConv1d(3, 4, 3, padding="same"), "padding is 'same'"),
    ],
)
def test_says_what_cannot_be_built(build, said):
    with pytest.raises(PackedError) as caught:
        build()
    assert said in str(caught.value)


class TestBlock:
    """A binary residual block, packed by hand: bits in, floats and bits out."""

    def block(self):
        """conv, batch norm, PReLU, residual, as Bi-Real Net has it; and the next layer's sign."""
        torch.manual_seed(3)
        conv = trained(Conv2d(64, 64, 3, padding=1, bias=False, bconfig=BConfig(
            BasicInputBinarizer, Identity, XNORWeightBinarizer)))  # fmt: skip
        norm, act = nn.BatchNorm2d(64).eval(), nn.PReLU(64)
        with torch.no_grad():
            for parameter in (*norm.parameters(), *norm.buffers(), act.weight):
                if parameter.is_floating_point():
                    parameter.uniform_(0.5, 1.5)
        return conv, norm, act

    def test_equals_the_emulated_block(self, same):
        from bnn.packed import Epilogue, functional, layout

        conv, norm, act = self.block()
        x = torch.randn(2, 64, 9, 9)
        packed = PackedConv2d.from_module(conv)
        with torch.no_grad():
            scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
            shift = layout.fused(-norm.running_mean, scale, norm.bias)
            emulated = act(norm(conv(x))) + x
            epilogue = Epilogue(
                scale=packed.scale,
                affine_scale=scale,
                affine_shift=shift,
                second_activation="prelu",
                second_slope=act.weight,
                residual_at="after_activation",
            )
            out, bits = functional.bconv2d(
                functional.pack(x), packed.weight, 64, padding=1, epilogue=epilogue, residual=x,
                output="float_and_bits",
            )  # fmt: skip
        same(out, emulated)
        same(bits, functional.pack(emulated))

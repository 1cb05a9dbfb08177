"""What is counted: operations and bytes by precision."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import prune
from torch.utils.flop_counter import FlopCounterMode

from bnn import BConfig, prepare_binary_model
from bnn.errors import BnnError, ConfigError
from bnn.inspect import count_ops
from bnn.layers import BINARY_LAYERS, Conv2d, ConvTranspose2d, Linear
from bnn.models import PreBasicBlock
from bnn.models.resnet import resnet18
from bnn.ops import (
    BasicInputBinarizer,
    BasicScaleBinarizer,
    XNORPlusPlusScaleBinarizer,
    XNORScaleBinarizer,
    XNORWeightBinarizer,
    sign,
)

BINARY = BConfig(BasicInputBinarizer, weight_pre_process=XNORWeightBinarizer)
WEIGHT_ONLY = BConfig(weight_pre_process=XNORWeightBinarizer)
PLAIN_SIGNS = XNORWeightBinarizer.with_args(compute_alpha=False)


def torch_flops(model, *arguments):
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(*arguments)
    return counter.get_total_flops()


def macs(count):
    return count.binary_macs, count.weight_only_macs, count.float_macs


def layer(count, name):
    return next(entry for entry in count.per_layer if entry.name == name)


# --- published figures ---------------------------------------------------------------------------


def test_resnet18_of_the_literature_exactly():
    """The row "resnet18 PreBasic+PReLU+dabnn stem" of the reference."""
    model = resnet18(block_type=PreBasicBlock, activation=nn.PReLU, stem_type="dabnn")
    stem = ["_first_", "$^stem_$"]
    prepare_binary_model(model, BINARY, ignore_layers_name=[*stem, "$downsample$", "_last_"])
    count = count_ops(model, torch.randn(1, 3, 224, 224))
    assert (count.params, count.binary_params) == (11_693_288, 10_985_472)
    assert count.packed_bytes == 10_985_472 // 8 + 4 * (11_693_288 - 10_985_472) == 4_204_448
    assert count.float_bytes == 4 * 11_693_288
    assert macs(count) == (1_676_279_808, 0, 64_335_872)
    assert count.ops == 64_335_872 + 1_676_279_808 / 64


def test_float_first_and_shortcut_convolutions_are_float_and_binary_linear_is_binary():
    """The pitfall: they were told apart by the word "Conv" in an operation's name."""
    model = nn.Sequential()
    model.conv1 = nn.Conv2d(3, 8, 3, padding=1)
    model.block = Conv2d(8, 8, 3, padding=1, bconfig=BINARY)
    model.shortcut = nn.Conv2d(8, 16, 1)
    model.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model.fc1 = Linear(16, 12, bconfig=BINARY)
    model.fc2 = nn.Linear(12, 2)
    count = count_ops(model, torch.randn(2, 3, 5, 5))
    precisions = {entry.name: entry.precision for entry in count.per_layer}
    assert precisions == {
        "conv1": "float",
        "block": "binary",
        "shortcut": "float",
        "fc1": "binary",
        "fc2": "float",
    }
    assert count.binary_macs == 2 * (25 * 8 * 8 * 9 + 16 * 12)
    assert count.float_macs == 2 * (25 * 8 * 3 * 9 + 25 * 16 * 8 + 12 * 2)


# --- the formulas --------------------------------------------------------------------------------


@st.composite
def convolutions(draw):
    dims = draw(st.integers(1, 3))
    groups = draw(st.integers(1, 3))
    transposed = draw(st.booleans())
    name = f"Conv{'Transpose' if transposed else ''}{dims}d"
    arguments = {
        "in_channels": groups * draw(st.integers(1, 3)),
        "out_channels": groups * draw(st.integers(1, 3)),
        "kernel_size": draw(st.integers(1, 3)),
        "stride": draw(st.integers(1, 2)),
        "padding": draw(st.integers(0, 2)),
        "dilation": draw(st.integers(1, 2)),
        "groups": groups,
        "bias": draw(st.booleans()),
    }
    size = draw(st.integers(5, 6))
    batch = draw(st.sampled_from([(), (1,), (2,)]))
    return name, arguments, (*batch, arguments["in_channels"], *[size] * dims)


@settings(max_examples=60)
@given(convolutions())
def test_convolutions_match_the_formula_and_torch(drawn):
    name, arguments, shape = drawn
    model = getattr(nn, name)(**arguments)
    x = torch.randn(shape)
    count = count_ops(model, x)
    places = x if "Transpose" in name else model(x)
    expected = places.numel() * math.prod(model.weight.shape[1:])
    assert macs(count) == (0, 0, expected)
    assert count.flops == torch_flops(model, x)
    signs = BConfig(BasicInputBinarizer, weight_pre_process=PLAIN_SIGNS)
    binary = BINARY_LAYERS[type(model)].from_module(model, signs)
    assert macs(count_ops(binary, x)) == (expected, 0, 0)


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (0, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_with_any_leading_axes(shape, bias):
    model = nn.Linear(5, 7, bias=bias)
    expected = math.prod(shape) * 7
    assert macs(count_ops(model, torch.randn(shape))) == (0, 0, expected)


def test_depthwise_separable_network_matches_torch():
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1),
        nn.BatchNorm2d(6),
        nn.Conv2d(6, 6, 3, groups=6),
        nn.Conv2d(6, 8, 1),
        nn.ConvTranspose2d(8, 4, 4, stride=2, groups=2),
        nn.Flatten(2),
        nn.Linear(256, 3),
    )
    x = torch.randn(2, 3, 18, 18)
    assert count_ops(model, x).flops == torch_flops(model, x) > 0


def test_flops_and_bops_together_are_what_torch_counts():
    model = nn.Sequential(
        Linear(6, 5, bconfig=BINARY), Linear(5, 4, bconfig=WEIGHT_ONLY), nn.Linear(4, 3)
    )
    x = torch.randn(7, 6)
    count = count_ops(model, x)
    assert macs(count) == (7 * 30, 7 * 20, 7 * 12)
    assert (count.flops, count.bops) == (2 * 7 * 32, 2 * 7 * 30)
    assert count.flops + count.bops == torch_flops(model, x)
    assert count.ops == 7 * 32 + 7 * 30 / 64
    assert count.binary_share == pytest.approx(30 / 62)


def test_a_batch_counts_n_times_and_parameters_once():
    model = nn.Sequential(Conv2d(2, 4, 3, bconfig=BINARY), nn.Conv2d(4, 2, 1))
    one, five = (count_ops(model, torch.randn(n, 2, 6, 6)) for n in (1, 5))
    assert macs(five) == tuple(5 * value for value in macs(one))
    assert (five.params, five.packed_bytes) == (one.params, one.packed_bytes)


@pytest.mark.parametrize("padding_value", [0, -1, 1])
def test_padding_taps_count_as_the_field_does(padding_value):
    model = Conv2d(4, 8, 3, padding=1, padding_value=padding_value, bconfig=BINARY)
    count = count_ops(model, torch.randn(1, 4, 5, 5))
    assert macs(count) == (25 * 8 * 4 * 9, 0, 0)


# --- work outside of layers ----------------------------------------------------------------------


class Attention(nn.Module):
    def __init__(self, need_weights):
        super().__init__()
        self.need_weights = need_weights
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=self.need_weights)[0]


ATTENTION_MACS = 2 * 5 * 8 * (3 * 8 + 8) + 2 * 2 * (5 * 5 * 4) * 2  # 4 projections, q k', p v


@pytest.mark.parametrize("need_weights", [True, False])
def test_attention_is_one_layer_with_all_its_work(need_weights):
    model = Attention(need_weights)
    count = count_ops(model, torch.randn(2, 5, 8))
    (entry,) = count.per_layer
    assert (entry.name, entry.precision, entry.calls) == ("attention", "float", 1)
    assert entry.float_macs == ATTENTION_MACS
    assert entry.params == sum(p.numel() for p in model.parameters())
    assert not count.unused


def test_transformer_layer_is_counted_part_by_part():
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    fused = torch.backends.mha.get_fastpath_enabled()
    count = count_ops(model, torch.randn(2, 5, 8))
    assert count.float_macs == ATTENTION_MACS + 2 * 5 * 2 * 8 * 16
    assert torch.backends.mha.get_fastpath_enabled() == fused


def test_recurrent_layers_count():
    model = nn.LSTM(8, 4, batch_first=True)
    count = count_ops(model, torch.randn(2, 5, 8))
    assert count.float_macs == 2 * 5 * (16 * 8 + 16 * 4)
    assert count.per_layer[0].output_shape == (2, 5, 4)


def test_a_product_in_a_forward_belongs_to_that_module():
    class Gram(nn.Module):
        def forward(self, x):
            return x @ x.mT

    count = count_ops(nn.Sequential(nn.Linear(6, 4), Gram()), torch.randn(3, 6))
    assert [(e.kind, e.float_macs) for e in count.per_layer] == [("Linear", 72), ("Gram", 36)]


def test_the_input_scale_of_xnor_net_is_float_work_of_its_layer():
    config = BConfig(BasicInputBinarizer, XNORScaleBinarizer, XNORWeightBinarizer)
    count = count_ops(Conv2d(4, 8, 3, bconfig=config), torch.randn(1, 4, 6, 6))
    (entry,) = count.per_layer
    assert entry.precision == "binary"
    assert macs(count) == (16 * 8 * 36, 0, 16 * 9)  # the box filter over one channel


def test_work_on_weights_alone_is_free():
    """It is done once, before deployment."""

    class Mixed(nn.Module):
        def forward(self, weight):
            return XNORWeightBinarizer()(torch.eye(len(weight)) @ weight)

    model = Linear(6, 4, bconfig=BConfig(BasicInputBinarizer, weight_pre_process=Mixed))
    assert macs(count_ops(model, torch.randn(1, 6))) == (24, 0, 0)


def test_work_of_a_decomposition_is_free():
    class Rotated(XNORWeightBinarizer):
        def decompose(self, weight):
            return sign(torch.eye(len(weight)) @ weight), None

        def forward(self, weight):
            return self.decompose(weight)[0]

    model = Linear(6, 4, bconfig=BConfig(BasicInputBinarizer, weight_pre_process=Rotated))
    assert macs(count_ops(model, torch.randn(1, 6))) == (24, 0, 0)


def test_work_of_a_parametrization_is_free():
    nn.utils.parametrizations.orthogonal(linear := nn.Linear(4, 4))
    assert macs(count_ops(linear, torch.randn(1, 4))) == (0, 0, 16)


def test_a_subclass_with_its_own_forward_counts_what_it_does():
    class Twice(nn.Linear):
        def forward(self, x):
            return super().forward(x) + super().forward(-x)

    assert macs(count_ops(Twice(4, 4), torch.randn(1, 4))) == (0, 0, 32)


# --- tied, shared and unused parameters ----------------------------------------------------------


def test_a_layer_called_twice_has_its_parameters_once():
    shared = Linear(6, 6, bconfig=BINARY)
    count = count_ops(nn.Sequential(shared, nn.BatchNorm1d(6), shared), torch.randn(2, 6))
    entry = layer(count, "0")
    assert (entry.calls, entry.binary_macs, entry.binary_params) == (2, 2 * 2 * 36, 36)
    assert count.params == 36 + 6 + 12


def test_tied_weights_count_once_and_are_binary_only_if_every_user_is():
    a, b, c = (Linear(6, 6, bias=False, bconfig=BINARY) for _ in range(3))
    b.weight = a.weight
    x = torch.randn(2, 6)
    count = count_ops(nn.Sequential(a, nn.BatchNorm1d(6, affine=False), b), x)
    assert (count.params, count.binary_params, count.packed_bytes) == (36, 36, 5)
    plain = nn.Linear(6, 6, bias=False)
    plain.weight = c.weight
    count = count_ops(nn.Sequential(c, plain), x)
    assert (count.params, count.binary_params) == (36, 0)
    assert macs(count) == (72, 0, 72)


def test_an_unused_layer_keeps_its_parameters():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.used = nn.Linear(4, 4)
            self.spare = Linear(4, 4, bconfig=BINARY)

        def forward(self, x):
            return self.used(x)

    count = count_ops(Net(), torch.randn(1, 4))
    (spare,) = count.unused
    assert (spare.name, spare.calls, spare.macs, spare.precision) == ("spare", 0, 0, None)
    assert (spare.binary_params, spare.float_params) == (16, 4)


def test_no_parameter_is_lost():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))
            self.shifts = nn.ParameterList([torch.zeros(3), torch.zeros(1)])
            self.embedding = nn.Embedding(5, 3)
            self.bilinear = nn.Bilinear(3, 3, 4)
            self.norm = nn.LayerNorm(4)
            self.binary = Linear(
                4, 2, bconfig=BConfig(BasicInputBinarizer, BasicScaleBinarizer, XNORWeightBinarizer)
            )
            self.frozen = nn.PReLU().requires_grad_(False)

        def forward(self, i, j):
            x = self.embedding(i) * self.scale + self.shifts[0] + self.shifts[1]
            return self.frozen(self.binary(self.norm(self.bilinear(x, self.embedding(j)))))

    model = Net()
    i = torch.arange(3)
    count = count_ops(model, (i, i))
    assert count.params == sum(p.numel() for p in model.parameters())
    assert count.trainable_params == count.params - 1
    assert [entry.name for entry in count.per_layer] == [
        "",
        "embedding",
        "bilinear",
        "norm",
        "binary",
        "frozen",
    ]
    assert not count.unused
    assert layer(count, "").params == 3 + 3 + 1
    assert layer(count, "binary").float_params == 2 + 2  # bias and learnt scale
    assert layer(count, "bilinear").float_macs == 3 * 4 * 9
    assert layer(count, "embedding").macs == 0


def test_a_parametrized_weight_is_one_weight():
    model = Linear(6, 4, bconfig=BINARY)
    nn.utils.parametrizations.weight_norm(model)
    count = count_ops(model, torch.randn(2, 6))
    (entry,) = count.per_layer
    assert (entry.binary_params, entry.float_params) == (24, 4 + 4)  # v; g and bias
    assert entry.binary_macs == 48


# --- forms of models, inputs and results ---------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types(dtype):
    model = nn.Sequential(nn.Conv2d(2, 4, 3), Conv2d(4, 6, 3, bconfig=BINARY)).to(dtype)
    count = count_ops(model, torch.randn(1, 2, 7, 7, dtype=dtype))
    size = dtype.itemsize
    assert [entry.precision for entry in count.per_layer] == ["float", "binary"]
    assert [entry.input_bits for entry in count.per_layer] == [8 * size, 1]
    assert count.float_bytes == size * count.params
    assert count.packed_bytes == 216 // 8 + size * count.float_params


def test_unbatched_and_nested_results():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = Conv2d(2, 4, 3, bconfig=BINARY)

        def forward(self, x, scale):
            return {"y": [self.conv(x), scale]}

    count = count_ops(Net(), (torch.randn(2, 5, 5), 3))
    assert count.per_layer[0].output_shape == (4, 3, 3)
    assert macs(count) == (9 * 4 * 18, 0, 0)


def test_as_dict_is_json():
    model = nn.Sequential(Conv2d(2, 4, 3, bconfig=BINARY), nn.BatchNorm2d(4))
    count = count_ops(model, torch.randn(1, 2, 5, 5))
    read = json.loads(json.dumps(count.as_dict()))
    assert read["model"] == "Sequential"
    assert read["ops"] == count.ops
    assert read["layers"][0]["output_shape"] == [1, 4, 3, 3]
    assert read["layers"][1]["precision"] is None
    for key in ("params", "float_macs", "packed_bytes"):
        assert read[key] == sum(entry[key] for entry in read["layers"])


def test_a_model_without_parameters():
    count = count_ops(nn.ReLU(), torch.randn(2))
    assert (count.per_layer, count.params, count.macs) == ((), 0, 0)
    assert (count.compression, count.binary_share) == (1.0, 0.0)


@pytest.mark.parametrize("given", [(1, 3, 8, 8), [1, 3], None, {"x": torch.ones(1)}, ()])
def test_input_without_a_tensor_is_refused(given):
    with pytest.raises(ConfigError, match=r"torch\.randn"):
        count_ops(nn.Linear(2, 2), given)


def test_models_without_values_are_refused():
    with pytest.raises(ConfigError, match="meta device"):
        count_ops(nn.Linear(2, 2, device="meta"), torch.randn(1, 2))
    with pytest.raises(ConfigError, match="meta device"):
        count_ops(nn.Linear(2, 2), torch.randn(1, 2, device="meta"))
    with pytest.raises(ConfigError, match="lazy"):
        count_ops(nn.LazyLinear(2), torch.randn(1, 2))
    with pytest.raises(BnnError, match=r"not an nn\.Module"):
        count_ops(torch.relu, torch.randn(1, 2))


def test_scales_that_have_yet_to_see_an_output_are_counted_on_a_copy():
    config = BConfig(BasicInputBinarizer, XNORPlusPlusScaleBinarizer, XNORWeightBinarizer)
    layer = prepare_binary_model(nn.Sequential(nn.Conv2d(2, 4, 3, bias=False)), config)
    images = torch.randn(1, 2, 7, 8)
    count = count_ops(layer, images)
    assert (count.binary_params, count.float_params) == (4 * 2 * 9, 4 + 5 + 6)
    assert all(map(is_lazy, layer[0].activation_post_process.parameters()))
    layer(images)
    assert count_ops(layer, images) == count


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused():
    model = nn.Sequential(nn.Linear(2, 2), torch.jit.script(nn.Linear(2, 2)))
    with pytest.raises(ConfigError, match="1 is TorchScript"):
        count_ops(model, torch.randn(1, 2))


def test_compiled_models_are_counted():
    model = nn.Sequential(nn.Linear(6, 6), Linear(6, 4, bconfig=BINARY))
    x = torch.randn(2, 6)
    assert count_ops(torch.compile(model, backend="eager"), x) == count_ops(model, x)


def test_transposed_binary_layer_with_output_size():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = ConvTranspose2d(4, 6, 3, stride=2, groups=2, bconfig=BINARY)

        def forward(self, x):
            return self.up(x, output_size=(12, 12))

    count = count_ops(Net(), torch.randn(1, 4, 5, 5))
    assert macs(count) == (4 * 25 * 3 * 9, 0, 0)
    assert count.per_layer[0].output_shape == (1, 6, 12, 12)


@pytest.mark.parametrize("wrap", ["prune", "weight_norm", "spectral_norm"])
@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")
def test_a_weight_that_a_hook_computes_is_one_bit_where_its_signs_are_used(wrap):
    layer = nn.Linear(8, 4, bias=False)
    if wrap == "prune":
        prune.l1_unstructured(layer, "weight", amount=0.5)
    else:
        getattr(torch.nn.utils, wrap)(layer)
    config = BConfig(BasicInputBinarizer, weight_pre_process=XNORWeightBinarizer)
    model = prepare_binary_model(nn.Sequential(layer), config)
    count = count_ops(model, torch.randn(2, 8))
    assert count.binary_macs == 2 * 8 * 4
    assert count.binary_params == 8 * 4


def test_repr_is_one_line():
    count = count_ops(nn.Sequential(*(nn.Linear(4, 4) for _ in range(50))), torch.randn(2, 4))
    assert repr(count) == (
        "<OpsCount of Sequential: 1,000 parameters, 0 1-bit; 1,600 MACs, 0 1-bit; "
        "4,000 bytes packed>"
    )


# --- two conventions for parameters --------------------------------------------------------------


def test_stored_and_fused_parameters_by_hand():
    """Keras counts 4 for each channel of a batch norm, a fused network has 2."""
    bare = nn.BatchNorm2d(8, affine=False)
    shift_only = nn.BatchNorm2d(8)
    shift_only.register_parameter("weight", None)
    model = nn.Sequential(
        Conv2d(4, 8, 3, bias=False, bconfig=BINARY), nn.BatchNorm2d(8), bare, shift_only
    )
    count = count_ops(model, torch.randn(2, 4, 6, 6))
    norms = [entry for entry in count.per_layer if entry.kind == "BatchNorm2d"]
    assert [entry.params for entry in norms] == [16, 0, 8]
    assert [entry.stored_params for entry in norms] == [32, 16, 24]
    assert [entry.fused_params for entry in norms] == [16, 16, 16]
    assert count.stored_params == 288 + 72
    assert count.fused_params == 288 + 48
    assert count.fused_bytes == 288 // 8 + 4 * 48
    assert count.as_dict()["fused_bytes"] == count.fused_bytes


def test_fixed_numbers_are_stored_and_schedules_are_not():
    class Scheduled(BasicInputBinarizer):
        def __init__(self):
            super().__init__()
            self.register_buffer("slope", torch.ones(3))

    class Blur(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("kernel", torch.ones(5))
            self.register_buffer("made_anew", torch.ones(7), persistent=False)
            self.register_buffer("steps", torch.zeros(2, dtype=torch.int64))

        def forward(self, x):
            return x * self.kernel[0]

    config = BConfig(Scheduled, weight_pre_process=XNORWeightBinarizer)
    model = nn.Sequential(Linear(8, 4, bconfig=config, bias=False), Blur())
    count = count_ops(model, torch.randn(3, 8))
    assert (count.params, count.stored_params, count.fused_params) == (32, 37, 37)
    assert count.fused_bytes == 4 + 4 * 5
    assert layer(count, "1").stored_params == 5


# --- activations of a few bits -------------------------------------------------------------------


class Rounded(nn.Module):
    """DoReFa's activations: k bits between 0 and 1."""

    def __init__(self, levels):
        super().__init__()
        self.levels = levels

    def forward(self, x):
        return (x.clamp(0, 1) * (self.levels - 1)).round() / (self.levels - 1)


@pytest.mark.parametrize(("levels", "bits"), [(2, 1), (3, 2), (4, 2), (16, 4), (64, 32)])
def test_macs_by_the_bits_of_the_activations(levels, bits):
    config = BConfig(lambda: Rounded(levels), weight_pre_process=XNORWeightBinarizer)
    model = nn.Sequential(nn.Linear(8, 64), Linear(64, 10, bconfig=config))
    x = torch.rand(512, 8)
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(8).repeat(8, 1))
        model[0].bias.zero_()
    count = count_ops(model, x)
    assert layer(count, "1").input_bits == bits
    assert count.macs_by_bits == (
        {bits: 512 * 640, 32: 512 * 512} if bits < 32 else {32: 512 * (640 + 512)}
    )
    assert (count.binary_macs, count.weight_only_macs) == (
        (512 * 640, 0) if levels == 2 else (0, 512 * 640)
    )


def test_a_stage_may_say_its_bits():
    class TwoBits(Rounded):
        bits = 2

    config = BConfig(lambda: TwoBits(4), weight_pre_process=XNORWeightBinarizer)
    layer = Linear(8, 10, bconfig=config)
    assert count_ops(layer, torch.randn(64, 8).sign()).macs_by_bits == {2: 64 * 80}
    assert count_ops(layer, torch.rand(64, 8)).macs_by_bits == {2: 64 * 80}

"""Binary layers against torch's functions on binarized operands."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bnn import BConfig
from bnn.errors import ConfigError
from bnn.layers import BINARY_LAYERS, Conv1d, Conv2d, Conv3d, ConvTranspose2d, Linear
from bnn.ops import (
    BasicInputBinarizer,
    BasicScaleBinarizer,
    XNORScaleBinarizer,
    XNORWeightBinarizer,
    sign,
)

SIGNS = BConfig(
    BasicInputBinarizer, weight_pre_process=XNORWeightBinarizer.with_args(compute_alpha=False)
)
FULL = BConfig(BasicInputBinarizer, BasicScaleBinarizer, XNORWeightBinarizer)

SMALL = {
    nn.Linear: ((6, 4), (6,)),
    nn.Conv1d: ((6, 4, 3), (6, 8)),
    nn.Conv2d: ((6, 4, 3), (6, 8, 7)),
    nn.Conv3d: ((6, 4, 3), (6, 5, 4, 6)),
    nn.ConvTranspose1d: ((6, 4, 3), (6, 8)),
    nn.ConvTranspose2d: ((6, 4, 3), (6, 8, 7)),
    nn.ConvTranspose3d: ((6, 4, 3), (6, 5, 4, 6)),
}


def binary(float_cls, *args, bconfig=SIGNS, **kwargs):
    return BINARY_LAYERS[float_cls](*args, bconfig=bconfig, **kwargs)


def reference(float_cls, layer, x, *args, **kwargs):
    """Run the float class itself on the signs of input and weight, then add the bias.

    The sums of signs are exact; adding the bias to them afterwards rounds once.
    """
    plain = float_cls(*args, **{**kwargs, "bias": False})
    with torch.no_grad():
        plain.weight.copy_(sign(layer.weight))
    out = plain(sign(x))
    if layer.bias is not None:
        out = out + layer.bias.view(-1, *[1] * (layer.weight.dim() - 2))
    return out


def test_every_layer_is_in_these_tests():
    assert set(SMALL) == set(BINARY_LAYERS)


@pytest.mark.parametrize("float_cls", BINARY_LAYERS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("batch", [(), (1,), (3,), (0,)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_equals_the_float_layer_on_signs(float_cls, batch, bias):
    args, shape = SMALL[float_cls]
    layer = binary(float_cls, *args, bias=bias)
    x = torch.randn(*batch, *shape)
    assert torch.equal(layer(x), reference(float_cls, layer, x, *args, bias=bias))


@pytest.mark.parametrize("float_cls", BINARY_LAYERS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_dtypes(float_cls, dtype):
    args, shape = SMALL[float_cls]
    layer = binary(float_cls, *args, bconfig=FULL).to(dtype)
    x = torch.randn(2, *shape).to(dtype)
    y = layer(x)
    assert y.dtype == dtype
    y.float().sum().backward()
    assert all(p.grad.dtype == dtype and p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("float_cls", BINARY_LAYERS, ids=lambda c: c.__name__)
def test_state_round_trips(float_cls):
    args, shape = SMALL[float_cls]
    layer = binary(float_cls, *args, bconfig=FULL)
    with torch.no_grad():
        layer.activation_post_process.alpha.uniform_(0.5, 2)
    x = torch.randn(2, *shape)
    expected = layer(x)
    other = binary(float_cls, *args, bconfig=FULL)
    other.load_state_dict(layer.state_dict())
    for twin in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(x), expected)
        assert type(twin) is type(layer)


@pytest.mark.parametrize("conv", [nn.Conv1d, nn.Conv2d, nn.Conv3d], ids=lambda c: c.__name__)
@pytest.mark.parametrize(
    "kwargs",
    [
        {"padding": 1},
        {"padding": "same"},
        {"padding": "valid"},
        {"padding": "same", "dilation": 2},
        {"padding": 1, "stride": 2},
        {"padding": 1, "groups": 3},
        {"padding": 1, "groups": 6},
        *({"padding": 1, "padding_mode": m} for m in ("reflect", "replicate", "circular")),
    ],
    ids=str,
)
def test_every_argument_of_the_float_layer(conv, kwargs):
    if conv is nn.Conv3d and kwargs.get("padding_mode") == "reflect":
        kwargs = {**kwargs, "padding": (1, 0, 1)}
    args, shape = (6, 6, 3), SMALL[conv][1]
    layer = binary(conv, *args, **kwargs)
    x = torch.randn(2, *shape)
    assert torch.equal(layer(x), reference(conv, layer, x, *args, **kwargs))


@settings(max_examples=60)
@given(
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.integers(1, 3),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    dilation=st.integers(1, 2),
    groups=st.sampled_from([1, 2, 6]),
    value=st.sampled_from([-1, 0, 1]),
    seed=st.integers(0, 2**16),
)
def test_padding_value_is_what_the_padded_taps_see(
    kernel, stride, padding, dilation, groups, value, seed
):
    torch.manual_seed(seed)
    layer = Conv2d(
        6, 6, kernel, stride, padding, dilation, groups, padding_value=value, bconfig=SIGNS
    )
    x = torch.randn(2, 6, 9, 10)
    padded = F.pad(sign(x), (padding[1], padding[1], padding[0], padding[0]), value=value)
    expected = F.conv2d(padded, sign(layer.weight), layer.bias, stride, 0, dilation, groups)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("value", [-1, 1])
@pytest.mark.parametrize(
    ("cls", "spatial"), [(Conv1d, (7,)), (Conv2d, (7, 6)), (Conv3d, (4, 5, 4))]
)
def test_padding_value_with_string_padding(cls, spatial, value):
    layer = cls(2, 3, 4, padding="same", padding_value=value, bias=False, bconfig=SIGNS)
    x = torch.randn(1, 2, *spatial)
    y = layer(x)
    assert y.shape[2:] == spatial
    # Sums of n terms that are all +-1 have the parity of n: a third value would show here.
    taps = 2 * 4 ** len(spatial)
    assert ((y - taps) % 2 == 0).all()


def test_padding_value_can_be_set_later_and_shows():
    layer = Conv2d(2, 3, 3, padding=1, bconfig=SIGNS)
    assert "padding_value" not in repr(layer)
    layer.padding_value = -1
    assert "padding_value=-1" in repr(layer)
    assert pickle.loads(pickle.dumps(layer)).padding_value == -1


@pytest.mark.parametrize("value", [2, 0.5, "1", None])
def test_padding_value_refuses_others(value):
    with pytest.raises(ConfigError, match="padding_value must be 0, -1 or"):
        Conv2d(2, 3, 3, padding_value=value, bconfig=SIGNS)
    layer = Conv2d(2, 3, 3, bconfig=SIGNS)
    with pytest.raises(ConfigError, match="padding_value must be 0, -1 or"):
        layer.padding_value = value


def test_padding_value_needs_zeros_mode():
    with pytest.raises(
        ConfigError, match=r"padding_value=1 needs padding_mode='zeros'.*'circular'"
    ):
        Conv2d(2, 3, 3, padding=1, padding_mode="circular", padding_value=1, bconfig=SIGNS)
    with pytest.raises(ConfigError, match="needs padding_mode='zeros'"):
        Conv2d(2, 3, 3, 1, 1, 1, 1, False, "circular", padding_value=1, bconfig=SIGNS)


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_with_output_size(groups):
    layer = ConvTranspose2d(4, 6, 3, stride=2, padding=1, groups=groups, bconfig=SIGNS)
    x = torch.randn(2, 4, 5, 5)
    for size in ([9, 9], [10, 9]):
        y = layer(x, output_size=size) if size[0] == 9 else layer(x, size)
        assert list(y.shape[2:]) == size
        expected = F.conv_transpose2d(
            sign(x), sign(layer.weight), layer.bias, 2, 1, [s - 9 for s in size], groups
        )
        assert torch.equal(y, expected)


@pytest.mark.parametrize("float_cls", BINARY_LAYERS, ids=lambda c: c.__name__)
def test_a_sum_of_zero_is_zero_whatever_the_scale(float_cls):
    # Scaled weights, added in float, would leave a rounding error here, and the next layer would
    # take its sign.
    (channels, out, *kernel), shape = SMALL[float_cls]
    config = BConfig(BasicInputBinarizer, nn.Identity, XNORWeightBinarizer)
    layer = binary(float_cls, channels, out, *kernel, bias=False, bconfig=config)
    x = torch.randn(4, *shape)
    signs = reference(float_cls, layer, x, channels, out, *kernel)
    assert (signs == 0).any()
    assert torch.equal(layer(x) == 0, signs == 0)
    product = layer.weight_pre_process(layer.weight)
    plain = float_cls(channels, out, *kernel, bias=False)
    with torch.no_grad():
        plain.weight.copy_(product)
    torch.testing.assert_close(layer(x), plain(sign(x)), rtol=1e-4, atol=1e-5)


def test_a_weight_stage_of_ones_own_is_called_as_a_module():
    class Hundredfold(XNORWeightBinarizer):
        def forward(self, weight):
            return super().forward(weight) * 100

    config = BConfig(weight_pre_process=XNORWeightBinarizer)
    layer = Linear(4, 2, bconfig=config)
    own = Linear(4, 2, bconfig=BConfig(weight_pre_process=Hundredfold))
    own.load_state_dict(layer.state_dict())
    x = torch.randn(3, 4)
    torch.testing.assert_close(own(x) - own.bias, 100 * (layer(x) - layer.bias))


def test_hooks_of_every_stage_fire():
    layer, calls = Linear(4, 2, bconfig=FULL), []
    for stage in ("activation_pre_process", "activation_post_process", "weight_pre_process"):
        getattr(layer, stage).register_forward_hook(lambda *_, s=stage: calls.append(s))
    layer(torch.randn(3, 4))
    assert sorted(calls) == [
        "activation_post_process",
        "activation_pre_process",
        "weight_pre_process",
    ]


def test_padding_value_set_later_is_the_same_as_at_the_start():
    config = BConfig(BasicInputBinarizer, XNORScaleBinarizer, XNORWeightBinarizer)
    early = Conv2d(2, 3, 3, padding=1, padding_value=1, bconfig=config)
    late = Conv2d(2, 3, 3, padding=1, bconfig=config)
    late.load_state_dict(early.state_dict())
    late.padding_value = 1
    x = torch.randn(1, 2, 5, 5)
    assert torch.equal(late(x), early(x))


def test_setting_the_padding_value_keeps_what_was_learnt():
    layer = Conv2d(2, 3, 3, padding=1, bconfig=FULL)
    alpha = layer.activation_post_process.alpha
    layer.padding_value = -1
    assert layer.activation_post_process.alpha is alpha


def test_post_process_gets_output_and_input():
    seen = {}

    class Record(nn.Module):
        def forward(self, out, x):
            seen["out"], seen["x"] = out, x
            return out

    layer = Linear(3, 2, bconfig=BConfig(BasicInputBinarizer, Record))
    x = torch.randn(4, 3)
    layer(x)
    assert seen["x"] is x
    assert seen["out"].shape == (4, 2)


def test_identity_stages_give_the_float_layer():
    layer = Linear(3, 2, bconfig=BConfig(nn.Identity, nn.Identity, nn.Identity))
    x = torch.randn(4, 3)
    assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))


def test_autocast_takes_signs_before_it_rounds():
    # -1e-8 becomes -0 in float16, whose sign is +1: the sign has to come first.
    layer = Linear(2, 1, bias=False, bconfig=SIGNS)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1e-9, -1e-9]]))
    with torch.autocast("cpu", dtype=torch.float16):
        y = layer(torch.tensor([[-1e-8, 1e-8]]))
    assert y.dtype == torch.float16
    assert y.item() == -2


def test_needs_a_bconfig():
    with pytest.raises(TypeError, match="bconfig"):
        Linear(3, 2)
    with pytest.raises(ConfigError, match="bconfig must be a BConfig, got 'xnor'"):
        Linear(3, 2, bconfig="xnor")


def test_from_module_checks_what_it_gets():
    with pytest.raises(ConfigError, match=r"Conv2d.from_module got a Linear; it converts Conv2d"):
        Conv2d.from_module(nn.Linear(2, 2), SIGNS)
    with pytest.raises(ConfigError, match="no bconfig was given"):
        Linear.from_module(nn.Linear(2, 2))
    marked = nn.Linear(2, 2)
    marked.bconfig = SIGNS
    assert Linear.from_module(marked).bconfig == SIGNS


def test_from_module_leaves_its_argument_float_and_shares_the_weight():
    mod = nn.Conv2d(2, 3, 3)
    layer = Conv2d.from_module(mod, FULL)
    assert type(mod) is nn.Conv2d
    assert not hasattr(mod, "activation_pre_process")
    assert layer.weight is mod.weight


def test_from_module_update_decides_whether_learnt_state_is_kept():
    layer = Conv2d.from_module(nn.Conv2d(2, 3, 3), FULL)
    with torch.no_grad():
        layer.activation_post_process.alpha.fill_(7)
    kept = Conv2d.from_module(layer, BConfig(activation_post_process=BasicScaleBinarizer))
    fresh = Conv2d.from_module(
        layer, BConfig(activation_post_process=BasicScaleBinarizer), update=False
    )
    assert kept.activation_post_process.alpha.eq(7).all()
    assert fresh.activation_post_process.alpha.eq(1).all()
    assert isinstance(layer.activation_pre_process, BasicInputBinarizer)


class _NoArgument(nn.Module):
    def __init__(self):
        super().__init__()

    def forward(self, out, x):
        return out


class _Optional(nn.Module):
    def __init__(self, gain=2.0):
        super().__init__()
        self.gain = gain

    def forward(self, out, x):
        return out * self.gain


class _Positional(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.channels = layer.out_features

    def forward(self, out, x):
        return out


@pytest.mark.parametrize("cls", [_NoArgument, _Optional, _Positional])
def test_post_process_is_built_with_the_layer_only_if_it_wants_it(cls):
    layer = Linear(3, 2, bconfig=BConfig(activation_post_process=cls))
    post = layer.activation_post_process
    assert getattr(post, "channels", 2) == 2
    assert getattr(post, "gain", 2.0) == 2.0


def test_a_stage_that_cannot_be_built_is_named():
    class Broken(nn.Module):
        def __init__(self):
            raise RuntimeError("no luck")

    with pytest.raises(ConfigError, match=r"weight_pre_process: Broken could not be .*: no luck"):
        Linear(3, 2, bconfig=BConfig(weight_pre_process=Broken))
    with pytest.raises(ConfigError, match=r"built a int, not an nn.Module"):
        Linear(3, 2, bconfig=BConfig(weight_pre_process=lambda: 3))


@pytest.mark.parametrize("stage", ["activation_pre_process", "weight_pre_process"])
def test_an_output_stage_in_another_place_is_named(stage):
    with pytest.raises(ConfigError, match=f"{stage}: BasicScaleBinarizer takes .*activation_post"):
        Linear(3, 2, bconfig=BConfig(**{stage: BasicScaleBinarizer}))


def test_stages_follow_the_layers_device_dtype_and_mode():
    class Shift(nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return x + self.shift

    mod = nn.Linear(3, 2, dtype=torch.double, device="meta").eval()
    layer = Linear.from_module(mod, BConfig(Shift, BasicScaleBinarizer))
    assert {p.dtype for p in layer.parameters()} == {torch.double}
    assert {p.device.type for p in layer.parameters()} == {"meta"}
    assert not any(m.training for m in layer.modules())

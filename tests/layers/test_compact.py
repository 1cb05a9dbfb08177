"""Compact training against plain operations: the same values, the same gradients, fewer bytes."""

from __future__ import annotations

import contextlib
import copy
import pickle

import pytest
import torch
from torch import nn

from bnn import BConfig
from bnn.errors import ConfigError
from bnn.layers import BINARY_LAYERS, Conv2d, Linear, is_compact, recompute_outputs, set_compact
from bnn.layers import compact as compact_module
from bnn.ops import (
    BasicInputBinarizer,
    BasicScaleBinarizer,
    BinarizerBase,
    EDEBinarizer,
    Identity,
    InputBinarizer,
    IRNetWeightBinarizer,
    ProgressiveSignBinarizer,
    ReCUWeightBinarizer,
    WeightBinarizer,
    XNORScaleBinarizer,
    XNORWeightBinarizer,
    binarizers,
    set_progress_,
    sign,
)
from bnn.ops.base import SignForm
from bnn.ops.sign import SignFunction

SIZES = {
    nn.Linear: ((70, 6), (5, 70)),
    nn.Conv1d: ((70, 6, 3), (2, 70, 8)),
    nn.Conv2d: ((70, 6, 3), (2, 70, 8, 7)),
    nn.Conv3d: ((6, 4, 3), (2, 6, 5, 4, 6)),
    nn.ConvTranspose1d: ((6, 4, 3), (2, 6, 8)),
    nn.ConvTranspose2d: ((6, 4, 3), (2, 6, 8, 7)),
    nn.ConvTranspose3d: ((6, 4, 3), (2, 6, 5, 4, 6)),
}
LAYERS = pytest.mark.parametrize("float_cls", SIZES, ids=lambda c: c.__name__)
WEIGHTS = {
    "xnor": XNORWeightBinarizer,
    "detached": XNORWeightBinarizer.with_args(detach_alpha=True),
    "centred": XNORWeightBinarizer.with_args(center_weights=True),
    "signs": XNORWeightBinarizer.with_args(compute_alpha=False),
}


GEOMETRIES = [
    {"padding": 1, "layout": torch.channels_last},
    {"padding": 1, "groups": 2, "stride": 2, "bias": False},
    {"padding": ((0, 1), (2, 0)), "batch": ()},
    {"padding": 1, "padding_value": -1},
]


class _Slope(SignFunction):
    """A gradient that needs the input."""

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return grad_output * (2 - 2 * x.abs()).clamp_min(0)


class Sloped(BinarizerBase):
    """The gradient of Bi-Real Net, of a shifted input."""

    def __init__(self, shift=0.25):
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(shift))

    def forward(self, x):
        return _Slope.apply(x - self.shift)

    def sign_form(self, x):
        return SignForm(x - self.shift, _Slope)


class Shifted(BinarizerBase):
    """The straight-through estimator of a shifted input, as RSign has it."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(-0.5))

    def forward(self, x):
        return BasicInputBinarizer()(x - self.shift)

    def sign_form(self, x):
        return BasicInputBinarizer().sign_form(x - self.shift)


class Learnt(WeightBinarizer):
    """A learnt scale for each filter."""

    def __init__(self, module):
        super().__init__()
        self.scale = nn.Parameter(torch.rand(module.weight.shape[0]) + 0.5)

    def decompose(self, weight):
        return _Slope.apply(weight), self.scale

    def sign_form(self, x):
        return SignForm(x, _Slope, scale=self.scale)


def edgy(*shape):
    """Values on and beside the edges of sign and clip."""
    x = torch.randn(*shape) * 1.2
    flat = x.view(-1)
    edges = [0.0, -0.0, 1.0, -1.0, 1.0000001, -1.0000001, 1e-40, -1e-40, float("inf")]
    flat[: len(edges)] = torch.tensor(edges)
    return x


def results(layer, x, args=()):
    """Return the output and all gradients, of a random direction."""
    layer.zero_grad()
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    torch.manual_seed(3)  # of what is drawn
    out = layer(x, *args)
    torch.manual_seed(1)
    out.backward(torch.randn(out.shape, dtype=out.dtype))
    grads = {name: p.grad.clone() for name, p in layer.named_parameters() if p.grad is not None}
    return out.detach(), {"x": x.grad, **grads}


def is_used(layer, x, args=()):
    return compact_module.compact_forward(layer, x, args) is not None


def check(layer, x, args=(), used=True):
    assert is_used(layer, x, args) == used
    with set_compact(False):
        expected, expected_grads = results(layer, x, args)
    got, grads = results(layer, x, args)
    assert torch.equal(got, expected)
    assert got.stride() == expected.stride()
    assert grads.keys() == expected_grads.keys()
    for name, grad in grads.items():
        assert grad.dtype == expected_grads[name].dtype
        scale = max(expected_grads[name].abs().max().item(), 1)
        torch.testing.assert_close(
            grad, expected_grads[name], rtol=1e-4, atol=2e-6 * scale, msg=name
        )
        zeros = expected_grads["x"] == 0
        assert torch.equal(grads["x"] == 0, zeros), "the gradient is masked elsewhere"


def binary(float_cls, *args, weight=XNORWeightBinarizer, x=BasicInputBinarizer, **kwargs):
    torch.manual_seed(0)
    layer = BINARY_LAYERS[float_cls](*args, bconfig=BConfig(x, Identity, weight), **kwargs)
    with torch.no_grad():  # weights on both sides of the clip, and at its edges
        layer.weight.mul_(1.3 / layer.weight.abs().max())
        layer.weight.view(-1)[:6] = torch.tensor([0.0, -0.0, 1.0, -1.0, 1.0000001, -1.0000001])
    return layer


def test_it_is_on():
    assert is_compact()


@LAYERS
@pytest.mark.parametrize("weight", WEIGHTS.values(), ids=list(WEIGHTS))
@pytest.mark.parametrize("bias", [True, False])
def test_equals_plain_operations(float_cls, weight, bias):
    args, shape = SIZES[float_cls]
    check(binary(float_cls, *args, weight=weight, bias=bias), edgy(*shape))


@LAYERS
@pytest.mark.parametrize("batch", [(), (1,), (3,)], ids=str)
def test_batches(float_cls, batch):
    args, shape = SIZES[float_cls]
    check(binary(float_cls, *args), edgy(*batch, *shape[1:]))


def test_linear_with_more_axes():
    check(binary(nn.Linear, 70, 6), edgy(2, 3, 4, 70))


@LAYERS
def test_no_batch_at_all(float_cls):
    args, shape = SIZES[float_cls]
    layer, x = binary(float_cls, *args), torch.randn(0, *shape[1:])
    assert not is_used(layer, x)
    assert layer(x).numel() == 0


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("value", [-1, 0, 1])
@pytest.mark.parametrize(
    "kwargs",
    [
        {"padding": 1},
        {"padding": (2, 0)},
        {"padding": "same"},
        {"padding": "same", "kernel_size": (4, 2)},
        {"padding": "valid"},
        {"padding": 2, "stride": (2, 3), "dilation": (1, 2)},
        {"padding": 1, "groups": 2},
        {"padding": 1, "groups": 6},
        {"padding": 3, "stride": 2},
        {"padding": 0, "kernel_size": 1, "stride": 2},
    ],
    ids=str,
)
def test_geometry(kwargs, value):
    kwargs = {"kernel_size": 3, **kwargs}
    layer = binary(nn.Conv2d, 6, 12, padding_value=value, **kwargs)
    check(layer, edgy(2, 6, 9, 8))


@pytest.mark.parametrize(
    "kwargs",
    [{"stride": 2, "output_padding": 1}, {"groups": 2}, {"padding": 1, "dilation": 2}],
    ids=str,
)
def test_transposed_geometry(kwargs):
    check(binary(nn.ConvTranspose2d, 6, 4, 3, **kwargs), edgy(2, 6, 8, 7))


def test_output_size():
    check(binary(nn.ConvTranspose2d, 6, 4, 3, stride=2), edgy(2, 6, 8, 7), args=([18, 16],))


@pytest.mark.parametrize("x_last", [True, False])
@pytest.mark.parametrize("weight_last", [True, False])
@pytest.mark.parametrize("size", [4, 12])
def test_memory_formats(x_last, weight_last, size):
    layer, x = binary(nn.Conv2d, 70, 6, 3), edgy(2, 70, size, size)
    if weight_last:
        layer = layer.to(memory_format=torch.channels_last)
    check(layer, x.contiguous(memory_format=torch.channels_last) if x_last else x)


def test_a_transposed_input():
    check(binary(nn.Conv2d, 70, 6, 3), edgy(2, 70, 5, 6).transpose(2, 3))


@pytest.mark.parametrize("x", [Sloped, Shifted], ids=lambda c: c.__name__)
@pytest.mark.parametrize("weight", [XNORWeightBinarizer, Learnt], ids=lambda c: c.__name__)
@pytest.mark.parametrize("float_cls", [nn.Linear, nn.Conv2d], ids=lambda c: c.__name__)
def test_other_gradients(float_cls, x, weight):
    args, shape = SIZES[float_cls]
    check(binary(float_cls, *args, x=x, weight=weight), edgy(*shape).clamp(-9, 9))


@pytest.mark.parametrize("post", [BasicScaleBinarizer, XNORScaleBinarizer])
def test_post_processes(post):
    config = BConfig(BasicInputBinarizer, post, XNORWeightBinarizer)
    check(Conv2d(70, 6, 3, bconfig=config), torch.randn(2, 70, 6, 6))


@pytest.mark.parametrize("frozen", ["weight", "bias"])
def test_frozen_parameters(frozen):
    layer = binary(nn.Conv2d, 70, 6, 3)
    getattr(layer, frozen).requires_grad_(False)
    check(layer, edgy(2, 70, 6, 6))


def test_an_input_without_gradient():
    layer, x = binary(nn.Conv2d, 70, 6, 3), edgy(2, 70, 6, 6)
    assert is_used(layer, x)
    grads = []
    for enabled in (False, True):
        layer.zero_grad()
        with set_compact(enabled):
            layer(x).square().sum().backward()
        grads.append(layer.weight.grad.clone())
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-4, atol=1e-3)


def test_infinite_gradients_are_masked_to_zero():
    layer, x = binary(nn.Linear, 4, 3), torch.tensor([[0.5, 2.0, -3.0, float("nan")]])
    x.requires_grad_()
    layer(x).backward(torch.tensor([[float("inf"), float("nan"), 1.0]]))
    assert x.grad[0, 1:].tolist() == [0, 0, 0]
    assert not x.grad[0, 0].isfinite()


def test_a_weight_changed_before_the_backward_pass_is_refused():
    layer = binary(nn.Conv2d, 70, 6, 3)
    out = layer(torch.randn(1, 70, 5, 5, requires_grad=True))
    with torch.no_grad():
        layer.weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


SCHEDULED = [
    {"x": EDEBinarizer},
    {"weight": EDEBinarizer},
    {"weight": IRNetWeightBinarizer},
    {"weight": ReCUWeightBinarizer},
]


@pytest.mark.parametrize("block", [contextlib.nullcontext, recompute_outputs])
@pytest.mark.parametrize("stages", SCHEDULED, ids=str)
def test_a_schedule_moved_before_the_backward_pass_is_refused(stages, block):
    layer, x = binary(nn.Linear, 70, 6, **stages), torch.randn(5, 70, requires_grad=True)
    set_progress_(layer, 0.0)
    assert is_used(layer, x)
    with block():
        out = layer(x)
    set_progress_(layer, 1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def test_a_stage_replaced_before_the_backward_pass():
    layer, x = binary(nn.Linear, 70, 6, weight=IRNetWeightBinarizer), torch.randn(5, 70)
    layer(x).square().sum().backward()
    expected, layer.weight.grad = layer.weight.grad, None
    loss = layer(x).square().sum()
    layer.weight_pre_process = nn.Identity()
    loss.backward()
    assert torch.equal(layer.weight.grad, expected)


class Moded(Learnt):
    """Signs of a smaller weight, and a smaller scale, in training only."""

    def _parts(self, weight):
        return (weight * 0.5, self.scale * 0.5) if self.training else (weight, self.scale)

    def decompose(self, weight):
        latent, scale = self._parts(weight)
        return _Slope.apply(latent), scale

    def sign_form(self, x):
        latent, scale = self._parts(x)
        return SignForm(latent, _Slope, scale=scale)


class ModedPost(BinarizerBase):
    """Adds something in training."""

    stage = "output"

    def __init__(self):
        super().__init__()
        self.register_buffer("added", torch.tensor(3.0))

    def is_repeatable(self):
        return True

    def forward(self, out, x):
        return out + self.added if self.training else out


class ModedShift(BinarizerBase):
    """The sign of a shifted input, in training only."""

    def __init__(self):
        super().__init__()
        self.register_buffer("shift", torch.tensor(0.5))

    def forward(self, x):
        return _Slope.apply(x - self.shift if self.training else x + 0)

    def sign_form(self, x):
        return SignForm(x - self.shift if self.training else x + 0, _Slope)


MODED = {
    "input": (ProgressiveSignBinarizer, Identity, XNORWeightBinarizer),
    "weight": (BasicInputBinarizer, Identity, ProgressiveSignBinarizer),
    "both": (ProgressiveSignBinarizer, Identity, ProgressiveSignBinarizer),
    "weight's signs": (BasicInputBinarizer, Identity, Moded),
    "input's signs": (ModedShift, Identity, XNORWeightBinarizer),
    "output": (BasicInputBinarizer, ModedPost, XNORWeightBinarizer),
}


@pytest.mark.parametrize("second", [False, True], ids=["first", "second derivatives"])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("stages", MODED.values(), ids=list(MODED))
def test_a_mode_changed_before_the_backward_pass(stages, training, second):
    layer = Linear(70, 6, bconfig=BConfig(*stages)).train(training)
    norm, x = nn.BatchNorm1d(70).eval(), torch.randn(5, 70, requires_grad=True)
    assert is_used(layer, x)

    def gradients(compact, change):
        with set_compact(compact), recompute_outputs():
            loss = layer(norm(x)).square().sum()
            layer.train(training != change)
            inputs = [x, *layer.parameters()]
            found = torch.autograd.grad(loss, inputs, create_graph=second)
            assert {m.training for m in layer.modules()} == {training != change}
            layer.train(training)
        return found

    for found, expected in zip(gradients(True, True), gradients(False, False), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("stages", "buffer"),
    [
        (MODED["output"], "activation_post_process.added"),
        (MODED["input's signs"], "activation_pre_process.shift"),
    ],
)
def test_a_buffer_changed_before_an_output_is_computed_again_is_refused(stages, buffer):
    layer = Linear(70, 6, bconfig=BConfig(*stages))
    norm, x = nn.BatchNorm1d(70), torch.randn(5, 70, requires_grad=True)
    with recompute_outputs():
        loss = layer(norm(x)).square().sum()
    layer.get_buffer(buffer).add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def saved_bytes(layer, x):
    """Return the bytes that autograd keeps for the backward pass, parameters excluded."""
    own = {p.untyped_storage().data_ptr() for p in layer.parameters()}
    kept = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        out = layer(x)
    assert out.requires_grad
    return sum(storage.nbytes() for storage in kept.values())


@LAYERS
@pytest.mark.parametrize("weight", WEIGHTS.values(), ids=list(WEIGHTS))
def test_two_bits_are_kept_for_each_input(float_cls, weight):
    _, shape = SIZES[float_cls]
    args = (64, 128) if float_cls is nn.Linear else (64, 128, 3)
    layer = binary(float_cls, *args, weight=weight)
    # The parameter itself is kept as it is; what is derived from it (alpha) is small.
    x = torch.randn(2, 64, *shape[2:], requires_grad=True)
    words = x.numel() / 64
    assert saved_bytes(layer, x) <= 8 * (2 * words + 1) + 4 * 128
    with set_compact(False):
        assert saved_bytes(layer, x) >= 4 * x.numel() + 4 * layer.weight.numel()


def second_derivatives(layer, x):
    layer.zero_grad()
    x = x.detach().clone().requires_grad_()
    torch.manual_seed(3)  # of what is drawn
    out = layer(x)
    torch.manual_seed(2)
    grads = torch.autograd.grad(
        (out * torch.randn(out.shape)).square().sum(), [x, *layer.parameters()], create_graph=True
    )
    loss = sum((grad * torch.randn(grad.shape)).sum() for grad in grads)
    return torch.autograd.grad(loss, [x, *layer.parameters()], allow_unused=True)


@LAYERS
@pytest.mark.parametrize("weight", [*WEIGHTS.values(), Learnt], ids=[*WEIGHTS, "learnt"])
def test_second_derivatives(float_cls, weight):
    if weight is Learnt and float_cls not in (nn.Linear, nn.Conv2d):
        weight = XNORWeightBinarizer
    args, shape = SIZES[float_cls]
    layer, x = binary(float_cls, *args, weight=weight), edgy(*shape)
    assert is_used(layer, x)
    got = second_derivatives(layer, x)
    with set_compact(False):
        expected = second_derivatives(layer, x)
    for a, b in zip(got, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5 * max(b.abs().max().item(), 1))
    assert any(b is not None and b.abs().max() > 0 for b in expected)


def test_second_derivatives_of_other_gradients():
    layer, x = binary(nn.Conv2d, 70, 6, 3, x=Sloped, weight=Learnt), edgy(2, 70, 6, 5).clamp(-9, 9)
    got = second_derivatives(layer, x)
    with set_compact(False):
        expected = second_derivatives(layer, x)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5 * max(b.abs().max().item(), 1))


# --- where plain operations must be used --------------------------------------------------------


@LAYERS
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_dtypes_are_plain(float_cls, dtype):
    args, shape = SIZES[float_cls]
    assert not is_used(binary(float_cls, *args).to(dtype), torch.randn(*shape).to(dtype))


def test_layers_can_be_excluded():
    layer, x = binary(nn.Linear, 8, 2), torch.randn(2, 8)
    assert is_used(layer, x)
    layer.compact = False
    assert not is_used(layer, x)
    assert not copy.deepcopy(layer).compact
    with set_compact(False):
        layer.compact = True
        assert is_used(layer, x)


def test_old_pickles_have_no_such_attribute():
    layer = binary(nn.Linear, 8, 2)
    assert "compact" not in vars(layer)
    twin = pickle.loads(pickle.dumps(layer))
    assert is_used(twin, torch.randn(2, 8))
    assert "compact" not in " ".join(layer.state_dict())


@pytest.mark.parametrize("value", [None, 1, "yes"])
def test_the_setting_is_a_bool(value):
    with pytest.raises(ConfigError, match="True or False"):
        set_compact(value)


def test_the_setting_without_a_block_stays():
    set_compact(False)
    try:
        assert not is_compact()
    finally:
        set_compact(True)


class _Swapped(Linear):
    def _compute(self, x, weight, bias):
        return nn.functional.linear(x.flip(-1), weight, bias)


class _Conv(nn.Conv2d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x * 2, weight, bias)


def test_computations_of_ones_own_are_plain():
    config = BConfig(BasicInputBinarizer, Identity, XNORWeightBinarizer)
    check(_Swapped(8, 2, bconfig=config), torch.randn(3, 8), used=False)
    layer = Conv2d.from_module(_Conv(8, 2, 3), config)
    check(layer, torch.randn(3, 8, 5, 5), used=False)


def test_hooks_on_a_binarizer_are_called():
    layer, seen = binary(nn.Linear, 8, 2), []
    layer.activation_pre_process.register_forward_hook(lambda *_: seen.append(1))
    check(layer, torch.randn(3, 8), used=False)
    assert seen


def test_hooks_that_only_measure_see_the_signs():
    layer, x, seen = binary(nn.Linear, 8, 2), torch.randn(3, 8), []

    class Look:
        only_measures = True

        def __call__(self, module, inputs, output):
            seen.append((module, inputs[0], output))

    layer.activation_pre_process.register_forward_hook(Look())
    assert is_used(layer, x)
    seen.clear()
    layer(x)
    ((module, given, signs),) = seen
    assert module is layer.activation_pre_process
    assert given is x
    assert torch.equal(signs, sign(x))
    assert not signs.requires_grad


def test_hooks_on_a_weight_binarizer_are_called():
    layer, seen = binary(nn.Linear, 8, 2), []
    layer.weight_pre_process.register_forward_hook(lambda *_: seen.append(1))
    check(layer, torch.randn(3, 8), used=False)
    assert seen


class _Doubled(BasicInputBinarizer):
    def forward(self, x):
        return 2 * super().forward(x)


class _Other(XNORWeightBinarizer):
    def decompose(self, weight):
        signs, _ = super().decompose(weight)
        return signs, None


@pytest.mark.parametrize("stages", [{"x": _Doubled}, {"weight": _Other}, {"x": nn.Hardtanh}])
def test_subclassed_binarizers_are_plain(stages):
    check(binary(nn.Linear, 8, 2, **stages), torch.randn(3, 8), used=False)


def test_errors_are_torchs_own():
    layer = binary(nn.Conv2d, 70, 6, 3)
    for shape in [(2, 69, 5, 5), (2, 70, 2, 5), (70, 5)]:
        with pytest.raises(RuntimeError):
            layer(torch.randn(shape))


def test_parametrized_weights_are_plain():
    layer, calls = binary(nn.Linear, 8, 2), []

    class Counted(nn.Module):
        def forward(self, weight):
            calls.append(1)
            return weight * 1

    nn.utils.parametrize.register_parametrization(layer, "weight", Counted())
    x, counts = torch.randn(3, 8), []
    for enabled in (False, True):
        calls.clear()
        with set_compact(enabled):
            layer(x)
        counts.append(len(calls))
    assert counts[0] == counts[1] > 0


def test_nothing_is_compact_without_gradients():
    layer, x = binary(nn.Linear, 8, 2), torch.randn(3, 8)
    with torch.no_grad():
        assert not is_used(layer, x)


def test_autocast_is_plain():
    layer, x = binary(nn.Conv2d, 8, 2, 3), torch.randn(3, 8, 5, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert not is_used(layer, x)
        assert layer(x).dtype is torch.bfloat16


def test_torch_func():
    layer, x = binary(nn.Linear, 8, 2), torch.randn(3, 8)
    params = dict(layer.named_parameters())

    def loss(params, x):
        return torch.func.functional_call(layer, params, (x,)).square().sum()

    each = torch.func.vmap(torch.func.grad(loss), (None, 0))(params, x)
    layer(x).square().sum().backward()
    torch.testing.assert_close(each["weight"].sum(0), layer.weight.grad, rtol=1e-4, atol=1e-4)


def test_export_has_no_kernels():
    layer, x = binary(nn.Conv2d, 8, 2, 3), torch.randn(3, 8, 5, 5)
    program = torch.export.export(layer, (x,))
    names = {str(node.target) for node in program.graph.nodes}
    assert not [name for name in names if "bnn" in name]
    assert torch.equal(program.module()(x), layer(x))


def test_without_the_native_part(monkeypatch):
    monkeypatch.setattr("bnn.ops.compact._kernels", lambda: None)
    check(binary(nn.Conv2d, 70, 6, 3), torch.randn(2, 70, 5, 5), used=False)


# --- every registered binarizer ------------------------------------------------------------------

FORMS = [
    name
    for name, cls in ((name, binarizers[name]) for name in binarizers)
    if cls.sign_form is not BinarizerBase.sign_form
]
VALUES = [
    (name, side)
    for name in binarizers
    if binarizers[name].stage == "value"
    for side, other in (("x", "weight"), ("weight", "input"))
    if binarizers[name].operand != other
]


def registered(name, side, float_cls, *args, beside=None, **kwargs):
    """Return a layer with a registered binarizer of one operand, its parameters not at 0."""
    stages = {side: binarizers[name]}
    if beside is not None:
        stages["weight" if side == "x" else "x"] = binarizers[beside]
    layer = binary(float_cls, *args, **stages, **kwargs)
    with torch.no_grad():
        for parameter in layer.activation_pre_process.parameters():
            parameter.uniform_(0.2, 0.6)
    return layer


@LAYERS
@pytest.mark.parametrize(("name", "side"), VALUES)
@pytest.mark.parametrize("training", [True, False])
def test_registered_binarizers(name, side, float_cls, training):
    args, shape = SIZES[float_cls]
    layer = registered(name, side, float_cls, *args).train(training)
    check(layer, edgy(*shape).clamp(-9, 9))


@pytest.mark.parametrize(("name", "side"), VALUES)
@pytest.mark.parametrize("adabin", [True, False])
@pytest.mark.parametrize("kwargs", GEOMETRIES, ids=str)
def test_registered_binarizers_in_other_layers(name, side, adabin, kwargs):
    beside = (
        ("AdaBinWeightBinarizer" if side == "x" else "AdaBinInputBinarizer") if adabin else None
    )
    draws = name == "StochasticInputBinarizer"
    if adabin and draws and side == "weight":
        return  # drawn weights beside another input than signs are plain
    kwargs = dict(kwargs)
    batch, layout = kwargs.pop("batch", (2,)), kwargs.pop("layout", torch.contiguous_format)
    layer = registered(name, side, nn.Conv2d, 6, 12, 3, beside=beside, **kwargs)
    x = edgy(*batch, 6, 9, 8).clamp(-9, 9)
    if x.dim() == 4:
        layer, x = layer.to(memory_format=layout), x.contiguous(memory_format=layout)
    padded = layer.padding_value and isinstance(layer.activation_pre_process, InputBinarizer)
    check(layer, x, used=not padded)


@pytest.mark.parametrize("side", ["x", "weight"])
def test_float_operands(side):
    """Steps of a recipe may binarize one operand alone."""
    config = {
        "x": BConfig(BasicInputBinarizer),
        "weight": BConfig(weight_pre_process=XNORWeightBinarizer),
    }
    layer = BINARY_LAYERS[nn.Conv2d](6, 4, 3, padding=1, bconfig=config[side])
    check(layer, edgy(2, 6, 5, 5).clamp(-9, 9))
    layer = BINARY_LAYERS[nn.Linear](6, 4, bconfig=BConfig())
    check(layer, torch.randn(2, 6), used=False)


@pytest.mark.parametrize("side", ["x", "weight"])
def test_nan_is_passed_on_as_by_plain_operations(side):
    name = "DoReFaInputBinarizer" if side == "x" else "DoReFaWeightBinarizer"
    layer = binary(nn.Linear, 6, 4, **{side: binarizers[name].with_args(bits=3)})
    x = torch.randn(2, 6)
    (x if side == "x" else layer.weight.data)[0, 0] = float("nan")
    out = layer(x)
    with set_compact(False):
        expected = layer(x)
    assert out.isnan().any()
    torch.testing.assert_close(out, expected, equal_nan=True, rtol=0, atol=0)


@pytest.mark.parametrize(("name", "side"), VALUES)
@pytest.mark.parametrize("float_cls", [nn.Linear, nn.Conv2d], ids=lambda c: c.__name__)
def test_registered_binarizers_keep_no_floats_of_their_own(name, side, float_cls):
    """The input may be kept, which is there anyway; what is more is bits."""
    args = (128, 64) if float_cls is nn.Linear else (128, 64, 3)
    x = torch.randn(*((256, 128) if float_cls is nn.Linear else (2, 128, 10, 10)))
    layer = registered(name, side, float_cls, *args)
    assert is_used(layer, x.requires_grad_())
    floats = 4 * x.numel()
    assert saved_bytes(layer, x) <= floats + 3 * floats / 32 + 64 * 64


@pytest.mark.parametrize(("name", "side"), VALUES)
def test_second_derivatives_of_registered_binarizers(name, side):
    layer, x = registered(name, side, nn.Conv2d, 70, 6, 3), edgy(2, 70, 6, 5).clamp(-9, 9)
    got = second_derivatives(layer, x)
    with set_compact(False):
        expected = second_derivatives(layer, x)
    for a, b in zip(got, expected, strict=True):
        a, b = (torch.zeros(()) if t is None else t for t in (a, b))
        scale = max(b.abs().max().item(), 1)
        torch.testing.assert_close(a.expand_as(b), b, rtol=1e-3, atol=1e-4 * scale)


def built_by_a_layer(cls, *args):
    """Return a binarizer, given what a layer gives it, and the layer."""
    weight = issubclass(cls, WeightBinarizer)
    layer = binary(nn.Linear, *args, **{"weight" if weight else "x": cls})
    return layer.weight_pre_process if weight else layer.activation_pre_process, layer


class _Thresholds(BasicInputBinarizer):
    """It has an argument ``module``, and is not of the package."""

    def __init__(self, module):
        super().__init__()
        self.size = module.weight.shape[1]


def test_binarizers_that_take_their_layer_are_built():
    binarizer, _ = built_by_a_layer(_Thresholds, 8, 6)
    assert binarizer.size == 8


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_what_the_binarizer_computes(name):
    binarizer, layer = built_by_a_layer(binarizers[name], 70, 6)
    if binarizers[name].soft_in_training:
        assert binarizer.sign_form(torch.randn(6, 70)) is None
        binarizer.eval()
    x = layer.weight if isinstance(binarizer, WeightBinarizer) else torch.randn(6, 70)
    form = binarizer.sign_form(x)
    signs = form.function.apply(form.latent, *form.parameters)
    result = signs if form.scale is None else signs * form.scale.view(-1, 1)
    if not form.draws:
        assert torch.equal(result, binarizer(x))


def test_subclasses_have_no_form_unless_they_say_so():
    for name in FORMS:
        own = type("Own", (binarizers[name],), {"forward": lambda self, x: x})
        binarizer, _ = built_by_a_layer(own, 4, 2)
        assert binarizer.sign_form(torch.randn(2, 4)) is None

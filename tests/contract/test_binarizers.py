"""What every registered binarizer must do: new ones are covered as soon as they are registered."""

import copy
import inspect
import io
import math
import pickle

import pytest
import torch
from torch import nn

from bnn import BConfig, Identity, prepare_binary_model
from bnn.errors import ConfigError
from bnn.layers import BINARY_LAYERS
from bnn.ops import BasicInputBinarizer, XNORWeightBinarizer, binarizers, set_progress_

EDGE = [-2.0, -1.0, -0.5, -0.0, 0.0, 1e-45, 0.5, 1.0, 3.0]
VALUE = [name for name in binarizers if binarizers[name].stage == "value"]
OUTPUT = [name for name in binarizers if binarizers[name].stage == "output"]
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


WEIGHT = [name for name in VALUE if binarizers[name].operand != "input"]
LAYERS = {
    "linear": (nn.Linear(6, 4), (6,)),
    "conv1d": (nn.Conv1d(6, 4, 3, padding=1, stride=2), (6, 7)),
    "conv2d": (nn.Conv2d(6, 4, (3, 2), padding=(1, 2), groups=2), (6, 5, 6)),
    "conv3d": (nn.Conv3d(6, 4, 2, padding=1, bias=False), (6, 3, 4, 3)),
    "circular": (nn.Conv2d(6, 4, 3, padding=1, padding_mode="circular"), (6, 5, 6)),
    "transposed1d": (nn.ConvTranspose1d(6, 4, 3, stride=2), (6, 5)),
    "transposed2d": (nn.ConvTranspose2d(6, 4, 3, padding=1, groups=2), (6, 4, 5)),
    "transposed3d": (nn.ConvTranspose3d(6, 4, 2, bias=False), (6, 2, 3, 2)),
}
OF_AXES = {2: nn.Linear, 3: nn.Conv1d, 4: nn.Conv2d}


def config_with(name):
    cls = binarizers[name]
    if cls.stage == "output":
        return BConfig(activation_post_process=cls)
    if cls.operand == "input":
        return BConfig(cls, Identity, XNORWeightBinarizer)
    return BConfig(weight_pre_process=cls)


def layer_with(name):
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1))
    return prepare_binary_model(model, config_with(name))


def build(name, shape):
    """Return a binarizer for a tensor of this shape, in a layer that has it if it wants one."""
    parameter = inspect.signature(binarizers[name]).parameters.get("module")
    if parameter is None or parameter.default is not parameter.empty:
        return binarizers[name]()
    sizes = (shape[1], 1) if len(shape) == 2 else (shape[1], 1, 1)
    return binarizers[name](OF_AXES[len(shape)](*sizes))


def check_levels(name, y):
    levels = binarizers[name].levels
    if levels is None:
        assert y.unique().numel() <= 2
        return
    levels = torch.tensor(levels) / max(map(abs, levels))
    scaled = y.detach() / y.detach().abs().max()
    distance = (scaled.unsqueeze(-1) - levels).abs().min(-1).values
    assert distance.max() < 1e-6
    assert y.unique().numel() <= len(levels)


@pytest.mark.parametrize("name", VALUE)
def test_is_the_same_without_a_graph(name):
    x = torch.tensor([EDGE])
    binarizer = build(name, x.shape).eval()
    expected = binarizer(x.clone().requires_grad_())
    with torch.no_grad():
        y = binarizer(x)
    assert torch.equal(y, expected)
    assert y.data_ptr() != x.data_ptr()


@pytest.mark.parametrize("name", VALUE)
@pytest.mark.parametrize("training", [True, False])
def test_has_its_levels_and_leaves_its_input(name, training):
    x = torch.tensor([EDGE], requires_grad=True)
    before = x.detach().clone()
    y = build(name, x.shape).train(training)(x)
    if not (training and binarizers[name].soft_in_training):
        check_levels(name, y)
    assert torch.equal(x.detach(), before), "the binarizer changed its input"
    assert not torch.signbit(x.detach()[0, 4])
    (y * torch.linspace(1, 2, y.numel())).sum().backward()
    assert x.grad.isfinite().all()
    assert x.grad.abs().sum() > 0, "no gradient comes through"


@pytest.mark.parametrize("name", VALUE)
def test_nan_takes_a_level_too(name):
    if binarizers[name].operand == "weight":
        return  # a filter's statistics are NaN with it
    x = torch.tensor([[float("nan"), -1.0, 0.25, 1.0]])
    y = build(name, x.shape).eval()(x)
    if name == "DoReFaInputBinarizer":  # round(NaN) is NaN
        assert y[0, 0].isnan()
    else:
        check_levels(name, y)


@pytest.mark.parametrize("name", VALUE)
@pytest.mark.parametrize("dtype", DTYPES)
def test_keeps_dtype_and_shape(name, dtype):
    for shape in [(3, 5), (2, 3, 4, 4), (0, 3), (2, 3, 4)]:
        y = build(name, shape).to(dtype)(torch.randn(shape).to(dtype))
        assert y.dtype == dtype
        assert y.shape == shape


def by_values(layer, x):
    """Compute a layer's output from the values of both operands, as its definition has it."""
    weight = layer.weight_pre_process(layer.weight)
    return layer._compute(layer.activation_pre_process(x), weight, layer.bias)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("name", VALUE)
@pytest.mark.parametrize("batch", [(), (3,)], ids=["unbatched", "batched"])
def test_a_layer_computes_with_the_binarized_operands(name, kind, batch):
    made, shape = LAYERS[kind]
    operand = binarizers[name].operand
    configs = []
    if operand != "weight":
        configs.append(BConfig(binarizers[name], Identity, BasicInputBinarizer))
        configs.append(BConfig(binarizers[name], Identity, binarizers["AdaBinWeightBinarizer"]))
    if operand != "input":
        configs.append(BConfig(BasicInputBinarizer, Identity, binarizers[name]))
        configs.append(BConfig(binarizers["AdaBinInputBinarizer"], Identity, binarizers[name]))
    for config in configs:
        layer = BINARY_LAYERS[type(made)].from_module(copy.deepcopy(made).double(), config).eval()
        for parameter in layer.activation_pre_process.parameters():
            nn.init.uniform_(parameter, 0.3, 0.8)
        x = torch.randn(*batch, *shape, dtype=torch.double, requires_grad=True)
        parameters = [x, *layer.parameters()]
        torch.testing.assert_close(layer(x), by_values(layer, x))
        g = torch.randn_like(layer(x))
        ours = torch.autograd.grad(layer(x), parameters, g, allow_unused=True)
        theirs = torch.autograd.grad(by_values(layer, x), parameters, g, allow_unused=True)
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b)


@torch.no_grad()
@pytest.mark.parametrize("name", WEIGHT)
def test_what_a_layer_keeps_in_evaluation_is_never_stale(name):
    layer = layer_with(name)[0].eval()
    x = torch.randn(2, 2, 5, 5)
    layer(x)
    for change in ("progress", "parameters", "weight"):
        if change == "progress":
            set_progress_(layer, 0.7)
        elif change == "parameters":
            for parameter in layer.weight_pre_process.parameters():
                parameter.mul_(1.5)
        else:
            layer.weight.neg_()
        with torch.enable_grad():  # nothing is kept then
            fresh = layer(x).detach()
        assert torch.equal(layer(x), fresh), change


@pytest.mark.parametrize("name", binarizers)
def test_progress_is_in_the_state_dict(name):
    model, other = layer_with(name), layer_with(name)
    set_progress_(model, 0.6)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    for key, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key
    for progress in (0.0, 1.0):
        set_progress_(model, progress)
        loss = model(torch.randn(2, 2, 5, 5)).square().sum()
        loss.backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", binarizers)
def test_works_in_a_layer_copied_pickled_compiled_exported(name):
    model = layer_with(name).eval()
    x = torch.randn(2, 2, 5, 5)
    expected = model(x)
    assert torch.equal(copy.deepcopy(model)(x), expected)
    assert torch.equal(pickle.loads(pickle.dumps(model))(x), expected)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), expected)
    exported = torch.export.export(model, (x,)).module()
    torch.testing.assert_close(exported(x), expected)


@pytest.mark.parametrize("name", binarizers)
def test_every_parameter_of_a_layer_learns(name):
    model = layer_with(name)
    model(torch.randn(16, 2, 5, 5)).square().sum().backward()
    for parameter, value in model.named_parameters():
        assert value.grad is not None, parameter
        assert value.grad.isfinite().all(), parameter
        assert value.grad.abs().sum() > 0, parameter


@pytest.mark.parametrize("name", binarizers)
def test_repr_and_docstring_tell_what_it_is(name):
    cls = binarizers[name]
    assert cls.__name__ == name
    for part in ("Forward", "Backward", "Shape:", "Reference:", "Example:"):
        assert part in cls.__doc__, f"{name} has no {part!r} in its docstring"
    assert name in repr(layer_with(name))


@pytest.mark.parametrize("name", OUTPUT)
def test_output_stage_does_not_write_into_the_layers_output(name):
    layer = layer_with(name)[0]
    out, x = torch.randn(1, 4, 5, 5), torch.randn(1, 2, 5, 5)
    before = out.clone(), x.clone()
    layer.activation_post_process(out, x)
    assert torch.equal(out, before[0])
    assert torch.equal(x, before[1])


@pytest.mark.parametrize("name", WEIGHT)
def test_a_weight_of_zeros_learns_and_stays_finite(name):
    layer = layer_with(name)[0]
    with torch.no_grad():
        layer.weight.zero_()
        for parameter in layer.weight_pre_process.parameters():  # as a scale of its magnitude is
            parameter.zero_()
    out = layer(torch.randn(2, 2, 5, 5))
    (out * torch.randn_like(out)).sum().backward()
    assert out.isfinite().all()
    for parameter, value in layer.named_parameters():
        assert value.grad is None or value.grad.isfinite().all(), parameter


NUMBERS = [
    (name, key)
    for name in binarizers
    for key, parameter in inspect.signature(binarizers[name]).parameters.items()
    if type(parameter.default) in (int, float)
]


@pytest.mark.parametrize(("name", "key"), NUMBERS)
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 1e39], ids=str)
def test_arguments_are_finite(name, key, value):
    layer = nn.Conv2d(2, 4, 3)
    needs_layer = "module" in inspect.signature(binarizers[name]).parameters
    with pytest.raises(ConfigError):
        binarizers[name](**{"module": layer} if needs_layer else {}, **{key: value})

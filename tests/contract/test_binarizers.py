"""What every registered binarizer must do: new ones are covered as soon as they are registered."""

import copy
import pickle

import pytest
import torch
from torch import nn

from bnn import BConfig, prepare_binary_model
from bnn.ops import binarizers

EDGE = [-2.0, -1.0, -0.5, -0.0, 0.0, 1e-45, 0.5, 1.0, 3.0]
VALUE = [name for name in binarizers if binarizers[name].stage == "value"]
OUTPUT = [name for name in binarizers if binarizers[name].stage == "output"]
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def config_with(name):
    cls = binarizers[name]
    stage = "activation_post_process" if cls.stage == "output" else "weight_pre_process"
    return BConfig(**{stage: cls})


def layer_with(name):
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1))
    return prepare_binary_model(model, config_with(name))


@pytest.mark.parametrize("name", VALUE)
@pytest.mark.parametrize("training", [True, False])
def test_has_two_opposite_values_and_leaves_its_input(name, training):
    x = torch.tensor([EDGE], requires_grad=True)
    before = x.detach().clone()
    y = binarizers[name]().train(training)(x)
    assert y.abs().unique().numel() == 1
    assert (y != 0).all()
    assert torch.equal(x.detach(), before), "the binarizer changed its input"
    assert not torch.signbit(x.detach()[0, 4])
    y.sum().backward()
    assert x.grad.isfinite().all()
    assert x.grad.abs().sum() > 0, "no gradient comes through"


@pytest.mark.parametrize("name", VALUE)
@pytest.mark.parametrize("dtype", DTYPES)
def test_keeps_dtype_and_shape(name, dtype):
    for shape in [(3, 5), (2, 3, 4, 4), (0, 3), (2, 3, 4)]:
        y = binarizers[name]()(torch.randn(shape).to(dtype))
        assert y.dtype == dtype
        assert y.shape == shape


@pytest.mark.parametrize("name", binarizers)
def test_works_in_a_layer_copied_pickled_compiled_exported(name):
    model = layer_with(name).eval()
    x = torch.randn(2, 2, 5, 5)
    expected = model(x)
    assert torch.equal(copy.deepcopy(model)(x), expected)
    assert torch.equal(pickle.loads(pickle.dumps(model))(x), expected)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), expected)
    exported = torch.export.export(model, (x,)).module()
    torch.testing.assert_close(exported(x), expected)


@pytest.mark.parametrize("name", binarizers)
def test_every_parameter_of_a_layer_learns(name):
    model = layer_with(name)
    model(torch.randn(2, 2, 5, 5)).square().sum().backward()
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

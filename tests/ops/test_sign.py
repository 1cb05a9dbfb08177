"""sign, and the straight-through estimator, at the points where implementations differ."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from bnn.ops import BasicInputBinarizer, SignActivation, sign

GOLDEN = json.loads(Path(__file__).parents[1].joinpath("data/larq_golden.json").read_text())
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def edge_points(dtype):
    """Return 0, -0.0, +-1, their neighbours, and values between and beyond."""
    zero, one = torch.tensor(0.0, dtype=dtype), torch.tensor(1.0, dtype=dtype)
    up, down = 2 * one, -2 * one
    points = [down, -0.5 * one, 0.5 * one, up]
    for centre in (zero, -zero, one, -one):
        points += [centre, centre.nextafter(up), centre.nextafter(down)]
    return torch.stack(points)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sign_has_two_values_and_zero_is_positive(dtype):
    x = edge_points(dtype)
    expected = [-1.0 if value < 0 else 1.0 for value in x.tolist()]
    assert sign(x).tolist() == expected
    assert sign(x).dtype == dtype


def test_sign_of_special_values():
    x = torch.tensor([0.0, -0.0, float("nan"), float("inf"), -float("inf"), 1e-45, -1e-45])
    assert sign(x).tolist() == [1, 1, 1, 1, -1, 1, -1]


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64])
def test_sign_of_integers(dtype):
    y = sign(torch.tensor([-3, 0, 5], dtype=dtype))
    assert y.tolist() == [-1, 1, 1]
    assert y.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
def test_ste_gradient_is_one_up_to_and_with_one(dtype):
    x = edge_points(dtype).requires_grad_()
    grad = torch.linspace(-3, 5, len(x)).to(dtype)
    SignActivation.apply(x).backward(grad)
    expected = [
        g if -1 <= value <= 1 else 0.0 for value, g in zip(x.tolist(), grad.tolist(), strict=True)
    ]
    assert x.grad.tolist() == expected


def test_ste_passes_no_gradient_at_nan_and_no_nan_from_masked_gradients():
    x = torch.tensor([float("nan"), 3.0], requires_grad=True)
    SignActivation.apply(x).backward(torch.tensor([1.0, float("inf")]))
    assert x.grad.tolist() == [0, 0]


def test_agrees_with_larq_at_its_golden_points():
    x = torch.tensor(GOLDEN["x"], requires_grad=True)
    y = BasicInputBinarizer()(x)
    y.sum().backward()
    assert y.tolist() == GOLDEN["SteSign"]["y"]
    assert x.grad.tolist() == GOLDEN["SteSign"]["g"]


def test_ste_of_an_expanded_and_a_strided_tensor():
    x = torch.randn(4, 1, requires_grad=True)
    y = BasicInputBinarizer()(x.expand(4, 3).t()[::2])
    y.sum().backward()
    assert y.shape == (2, 4)
    assert torch.equal(x.grad, 2.0 * (x.abs() <= 1))


def test_under_vmap_and_grad_of_torch_func():
    x = torch.randn(5, 3) * 1.5
    per_row = torch.func.vmap(torch.func.grad(lambda row: SignActivation.apply(row).sum()))(x)
    assert torch.equal(per_row, (x.abs() <= 1).float())


def test_memory_format_is_kept():
    x = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    assert nn.Sequential(BasicInputBinarizer())(x).is_contiguous(memory_format=torch.channels_last)


def test_without_a_graph_no_bits_are_kept(monkeypatch):
    def refuse(*_args):
        raise AssertionError("bits are packed that no gradient needs")

    module = sys.modules["bnn.ops.sign"]  # the function of this name hides it
    monkeypatch.setattr(module, "kernels_for", refuse)
    with torch.no_grad():
        assert BasicInputBinarizer()(torch.tensor([-1.0, 2.0])).tolist() == [-1, 1]


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch's own
def test_forward_mode_is_refused_without_a_graph_too():
    with torch.no_grad(), torch.autograd.forward_ad.dual_level():
        x = torch.autograd.forward_ad.make_dual(torch.ones(2), torch.ones(2))
        with pytest.raises(NotImplementedError, match="jvp"):
            BasicInputBinarizer()(x)

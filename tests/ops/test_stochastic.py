"""Stochastic sign: its probabilities, its gradient, and that its input stays."""

import pytest
import torch

from bnn.ops import SignActivationStochastic, StochasticInputBinarizer


@pytest.mark.parametrize("value", [-2.0, -1.0, -0.6, 0.0, 0.3, 1.0, 5.0])
def test_probability_of_plus_one(value):
    n = 40_000
    y = SignActivationStochastic.apply(torch.full((n,), value))
    assert set(y.unique().tolist()) <= {-1.0, 1.0}
    p = min(max((value + 1) / 2, 0), 1)
    deviation = (p * (1 - p) / n) ** 0.5
    assert abs((y > 0).double().mean().item() - p) <= 5 * deviation


def test_input_is_not_changed_and_gradient_is_the_ste():
    one = 1 + 2.0**-23
    points = [-2, -one, -1, -1 + 2.0**-24, -0.3, -1e-45, -0.0, 0.0, 1e-45, 0.3, 1, one, 2]
    x = torch.tensor(points, requires_grad=True)
    before = x.detach().clone()
    grad = torch.arange(1.0, 14.0)
    StochasticInputBinarizer().train()(x).backward(grad)
    assert torch.equal(x.detach(), before)
    assert torch.signbit(x.detach()[6])
    expected = [g if -1 <= p <= 1 else 0 for p, g in zip(points, grad.tolist(), strict=True)]
    assert x.grad.tolist() == expected


def test_training_draws_anew_and_evaluation_is_the_sign():
    x = torch.linspace(-0.9, 0.9, 1000)
    binarizer = StochasticInputBinarizer().train()
    assert not torch.equal(binarizer(x), binarizer(x))
    binarizer.eval()
    assert torch.equal(binarizer(x), torch.where(x < 0, -1.0, 1.0))


def test_nan_is_plus_one_in_training_too():
    assert SignActivationStochastic.apply(torch.full((100,), float("nan"))).eq(1).all()


def test_a_seed_gives_the_same_signs():
    x = torch.randn(100)
    torch.manual_seed(3)
    first = SignActivationStochastic.apply(x)
    torch.manual_seed(3)
    assert torch.equal(first, SignActivationStochastic.apply(x))

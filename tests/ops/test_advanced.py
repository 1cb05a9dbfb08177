"""Sign with the gradient of a smooth function."""

import math
import pickle

import pytest
import torch
from torch import nn

from bnn.errors import UnknownNameError
from bnn.ops import AdvancedInputBinarizer

POINTS = [
    math.nextafter(-1, -2),
    -1.0,
    math.nextafter(-1, 0),
    -0.2,
    -1e-7,
    -0.0,
    0.0,
    1e-7,
    0.2,
    math.nextafter(1, 0),
    1.0,
    math.nextafter(1, 2),
]


@pytest.mark.parametrize("t", [1, 5, 0.5])
def test_gradient_is_the_derivative_of_tanh(t):
    x = torch.tensor(POINTS, dtype=torch.double, requires_grad=True)
    y = AdvancedInputBinarizer(t=t)(x)
    y.sum().backward()
    assert y.tolist() == [-1.0 if p < 0 else 1.0 for p in POINTS]
    expected = [t * (1 - math.tanh(t * p) ** 2) for p in POINTS]
    assert x.grad.tolist() == pytest.approx(expected, rel=1e-12)


def test_every_value_is_exactly_one_in_magnitude():
    # tanh(x) + (sign(x) - tanh(x)) would round to 0.99999994 for some of these.
    x = torch.randn(10_000, requires_grad=True)
    assert AdvancedInputBinarizer(t=0.7)(x).abs().eq(1).all()


def test_other_functions_by_object_and_by_name():
    x = torch.tensor([0.3, -0.4], requires_grad=True)
    AdvancedInputBinarizer(nn.functional.hardtanh, t=2)(x).sum().backward()
    assert x.grad.tolist() == [2, 2]
    x.grad = None
    AdvancedInputBinarizer("softsign", t=1)(x).sum().backward()
    assert x.grad.tolist() == pytest.approx([1 / 1.3**2, 1 / 1.4**2])


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match=r"'tang'.*Did you mean 'tanh'.*erf, softsign, tanh"):
        AdvancedInputBinarizer("tang")


def test_pickles_with_its_function():
    factory = pickle.loads(
        pickle.dumps(AdvancedInputBinarizer.with_args(derivative_funct=torch.erf))
    )
    assert factory == AdvancedInputBinarizer.with_args(derivative_funct=torch.erf)
    assert factory()(torch.tensor([-0.5])).item() == -1

"""Points where implementations differ, and what Larq's quantizers gave at some."""

import json
import math
from pathlib import Path
from typing import NamedTuple

import pytest
import torch


@pytest.fixture(scope="session")
def golden():
    """Return forward values and gradients of Larq's quantizers, as tensors."""
    text = Path(__file__).parents[1].joinpath("data/larq_golden.json").read_text()
    return {
        name: torch.tensor(item)
        if name == "x"
        else {key: torch.tensor(value) for key, value in item.items()}
        for name, item in json.loads(text).items()
    }


@pytest.fixture(scope="session")
def edges():
    """Return a function: points at and around 0, -0.0, +-1 and +-``more``, and between."""

    def make(*more):
        points = [-0.0, 0.0, -2.0, -0.7, -0.2, 0.3, 0.6, 1.5, 40.0, -40.0, 5e-324, -5e-324]
        for centre in (1.0, *more):
            points += [math.nextafter(centre, -math.inf), centre, math.nextafter(centre, math.inf)]
        return sorted({*points, *(-p for p in points)})

    return make


class Passed(NamedTuple):
    y: list
    grad: list


@pytest.fixture(scope="session")
def run():
    """Return a function: values and gradient of a binarizer at points, in one row."""

    def values_and_gradient(binarizer, points, grad_output=None):
        x = torch.tensor([points], dtype=torch.double, requires_grad=True)
        y = binarizer.double()(x)
        g = torch.ones_like(y) if grad_output is None else y.new_tensor([grad_output])
        (grad,) = torch.autograd.grad(y, x, g)
        return Passed(y[0].tolist(), grad[0].tolist())

    return values_and_gradient


@pytest.fixture(scope="session")
def grads():
    """Return a function: n incoming gradients, no two the same."""
    return lambda n: [(-1) ** i * (0.3 + 0.17 * i) for i in range(n)]

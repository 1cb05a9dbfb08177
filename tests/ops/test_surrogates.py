"""Signs that differ in their gradient alone: each against its written formula, and Larq's."""

import math

import pytest
import torch

from bnn.errors import ConfigError
from bnn.ops import (
    ApproxSignBinarizer,
    BasicInputBinarizer,
    EDEBinarizer,
    FDABinarizer,
    SwishSignBinarizer,
)


def swish(x, b):
    z = b * x
    return 0.0 if abs(z) > 700 else b * (2 - z * math.tanh(z / 2)) / (1 + math.cosh(z))


def fourier(x, w, n):
    if abs(x) > 1:
        return 0.0
    return 4 * w / math.pi * sum(math.cos((2 * i + 1) * w * x) for i in range(n + 1))


def decay(x, t):
    return max(1 / t, 1) * t * (1 - math.tanh(t * x) ** 2)


def moved(progress, **arguments):
    binarizer = EDEBinarizer(**arguments)
    binarizer.set_progress_(progress)
    return binarizer


CASES = {
    "clip 1": (lambda: BasicInputBinarizer(), lambda x: float(abs(x) <= 1)),
    "clip 1.25": (lambda: BasicInputBinarizer(clip=1.25), lambda x: float(abs(x) <= 1.25)),
    "clip None": (lambda: BasicInputBinarizer(clip=None), lambda x: 1.0),
    "approx": (lambda: ApproxSignBinarizer(), lambda x: max(0.0, 2 - 2 * abs(x))),
    "swish 5": (lambda: SwishSignBinarizer(), lambda x: swish(x, 5)),
    "swish 8": (lambda: SwishSignBinarizer(beta=8), lambda x: swish(x, 8)),
    "fda": (lambda: FDABinarizer(), lambda x: fourier(x, 0.1, 9)),
    "fda 0.3": (lambda: FDABinarizer(frequency=0.3, terms=4), lambda x: fourier(x, 0.3, 4)),
    "ede start": (lambda: moved(0), lambda x: decay(x, 0.1)),
    "ede half": (lambda: moved(0.5), lambda x: decay(x, 1.0)),
    "ede end": (lambda: moved(1), lambda x: decay(x, 10.0)),
    "ede wide": (lambda: moved(0.25, t_min=1e-3), lambda x: decay(x, 1e-2)),
}


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradient_are_the_written_formula(case, edges, run, grads):
    make, slope = CASES[case]
    points = edges(1.25)
    given = grads(len(points))
    passed = run(make(), points, given)
    assert passed.y == [-1.0 if p < 0 else 1.0 for p in points]
    expected = [g * slope(p) for p, g in zip(points, given, strict=True)]
    assert passed.grad == pytest.approx(expected, rel=1e-6 if "ede" in case else 1e-12, abs=1e-15)


@pytest.mark.parametrize("case", CASES)
def test_nan_is_plus_one(case):
    assert CASES[case][0]()(torch.tensor([float("nan")])).item() == 1


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: BasicInputBinarizer(clip=1.0), "SteSign"),
        (lambda: BasicInputBinarizer(clip=1.25), "SteSign125"),
        (lambda: BasicInputBinarizer(clip=None), "SteSignNone"),
        (lambda: ApproxSignBinarizer(), "ApproxSign"),
        (lambda: SwishSignBinarizer(beta=5.0), "SwishSign"),
    ],
)
def test_agrees_with_larq(make, name, golden):
    x = golden["x"].clone().requires_grad_()
    y = make()(x)
    y.sum().backward()
    assert torch.equal(y, golden[name]["y"])
    torch.testing.assert_close(x.grad, golden[name]["g"], rtol=1e-5, atol=1e-6)


def test_swish_sign_at_the_ends_of_half_precision():
    x = torch.tensor([-6e4, -2.5, 0.0, 2.5, 6e4], dtype=torch.float16, requires_grad=True)
    SwishSignBinarizer()(x).sum().backward()
    expected = [swish(v, 5) for v in x.tolist()]
    assert x.grad.tolist() == pytest.approx(expected, rel=1e-2, abs=1e-4)


def test_ede_grows_by_equal_factors_and_k_keeps_early_slopes_at_one():
    binarizer = EDEBinarizer(t_min=1e-3, t_max=10)
    seen = []
    for epoch in range(5):
        binarizer.set_progress_(epoch / 4)
        seen.append(binarizer.t.item())
    assert seen == pytest.approx([1e-3, 1e-2, 1e-1, 1, 10])
    for progress, slope in [(0, 1), (0.5, 1), (0.75, 1), (1, 10)]:
        binarizer.set_progress_(progress)
        x = torch.zeros(1, requires_grad=True)
        binarizer(x).backward()
        assert x.grad.item() == pytest.approx(slope)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BasicInputBinarizer(clip=0), "clip is 0; it must be a finite number above 0"),
        (lambda: BasicInputBinarizer(clip="1"), "clip is '1'; it must be a finite number"),
        (lambda: SwishSignBinarizer(beta=-1), "beta is -1"),
        (lambda: FDABinarizer(terms=-1), "terms is -1; it must be an int from 0"),
        (lambda: FDABinarizer(frequency=float("nan")), "frequency is nan"),
        (lambda: EDEBinarizer(t_min=2, t_max=1), "1e-38 <= t_min <= t_max"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_clip_that_is_not_one_is_shown():
    assert repr(BasicInputBinarizer()) == "BasicInputBinarizer()"
    assert repr(BasicInputBinarizer(clip=1.3)) == "BasicInputBinarizer(clip=1.3)"


def test_one_that_was_pickled_before_the_clip_has_the_clip_of_then():
    old = BasicInputBinarizer.__new__(BasicInputBinarizer)
    torch.nn.Module.__init__(old)
    x = torch.tensor([0.9, 1.1], requires_grad=True)
    old(x).sum().backward()
    assert x.grad.tolist() == [1, 0]

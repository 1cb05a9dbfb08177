"""XNOR-Net++: four factorizations, with a size that is given, seen or loaded."""

import copy
import itertools
import pickle

import pytest
import torch
from torch import nn

import bnn
from bnn import BConfig
from bnn.errors import ConfigError
from bnn.layers import Conv1d, Conv2d, Linear
from bnn.ops import BasicInputBinarizer, XNORPlusPlusScaleBinarizer, XNORWeightBinarizer

FORMS = ["channel", "full", "channel_places", "channel_axes"]
SHAPES = {
    "channel": {"alpha": (4, 1, 1)},
    "full": {"alpha": (4, 5, 6)},
    "channel_places": {"alpha": (4, 1, 1), "beta": (5, 6)},
    "channel_axes": {"alpha": (4, 1, 1), "beta": (5, 1), "gamma": (1, 6)},
}


def scale_of(form, size=(5, 6), seed=0):
    scale = XNORPlusPlusScaleBinarizer(nn.Conv2d(3, 4, 3), form, size)
    torch.manual_seed(seed)
    for factor in scale.parameters():
        nn.init.uniform_(factor, 0.5, 1.5)
    return scale


def gamma(scale, o, h, w):
    factors = {name: value.tolist() for name, value in scale.named_parameters()}
    if scale.form == "full":
        return factors["alpha"][o][h][w]
    product = factors["alpha"][o][0][0]
    if scale.form == "channel_places":
        product *= factors["beta"][h][w]
    if scale.form == "channel_axes":
        product *= factors["beta"][h][0] * factors["gamma"][0][w]
    return product


@pytest.mark.parametrize("form", FORMS)
def test_each_form_by_its_formula(form):
    scale = scale_of(form)
    assert {n: tuple(f.shape) for n, f in scale.named_parameters()} == SHAPES[form]
    out = torch.randn(2, 4, 5, 6)
    got = scale(out, None)
    for o, h, w in itertools.product(range(4), range(5), range(6)):
        expected = out[:, o, h, w] * gamma(scale, o, h, w)
        torch.testing.assert_close(got[:, o, h, w], expected)
    torch.testing.assert_close(scale(out[0], None), got[0])
    (got * torch.randn_like(got)).sum().backward()
    assert all(factor.grad.abs().min() > 0 for factor in scale.parameters())


@pytest.mark.parametrize("form", FORMS)
def test_takes_the_size_of_the_first_output(form):
    scale = XNORPlusPlusScaleBinarizer(nn.Conv2d(3, 4, 3), form)
    out = torch.randn(2, 4, 5, 6)
    assert torch.equal(scale(out, None), out)  # all are 1
    assert {n: tuple(f.shape) for n, f in scale.named_parameters()} == SHAPES[form]


@pytest.mark.parametrize("form", FORMS)
def test_state_dicts_before_and_after_the_size_is_known(form):
    fresh = XNORPlusPlusScaleBinarizer(nn.Conv2d(3, 4, 3), form)
    names = set(SHAPES[form])
    assert set(fresh.state_dict()) == names
    if form != "channel":
        assert not any(value.numel() for value in fresh.state_dict().values())
    XNORPlusPlusScaleBinarizer(nn.Conv2d(3, 4, 3), form).load_state_dict(fresh.state_dict())
    learnt = scale_of(form)
    fresh.load_state_dict(learnt.state_dict())
    out = torch.randn(2, 4, 5, 6)
    assert torch.equal(fresh(out, None), learnt(out, None))
    with pytest.raises(RuntimeError, match="Missing key"):
        XNORPlusPlusScaleBinarizer(nn.Conv2d(3, 4, 3), form).load_state_dict({})
    if form != "channel":
        with pytest.raises(RuntimeError, match="size mismatch"):
            scale_of(form, size=(5, 7)).load_state_dict(learnt.state_dict())


def test_copies_and_pickles_before_the_size_is_known():
    scale = XNORPlusPlusScaleBinarizer(nn.Conv2d(3, 4, 3))
    out = torch.randn(2, 4, 5, 6)
    for other in (copy.deepcopy(scale), pickle.loads(pickle.dumps(scale))):
        assert torch.equal(other(out, None), out)
        assert len(list(other.parameters())) == 3


def test_converts_and_converts_again_before_the_size_is_known():
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    for form in ("full", "channel_axes"):
        config = BConfig(
            activation_post_process=XNORPlusPlusScaleBinarizer.with_args(form=form),
            weight_pre_process=XNORWeightBinarizer,
        )
        model = bnn.prepare_binary_model(model, config)
    assert model(torch.randn(2, 3, 5, 6)).shape == (2, 4, 3, 4)


def test_another_size_is_an_error():
    scale = scale_of("full")
    with pytest.raises(ConfigError, match=r"shape \(2, 4, 5, 7\), but .* for places \(5, 6\)"):
        scale(torch.ones(2, 4, 5, 7), None)
    with pytest.raises(ConfigError, match="for places"):
        scale(torch.ones(2, 4, 1, 1), None)  # would broadcast
    assert scale_of("channel")(torch.ones(2, 4, 9, 9), None).shape == (2, 4, 9, 9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"form": "best"}, "form is 'best'; allowed: 'channel', 'full'"),
        ({"size": (5,)}, r"size is \(5,\); give 2 numbers above 0"),
        ({"size": (5, 0)}, r"size is \(5, 0\)"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message):
        XNORPlusPlusScaleBinarizer(nn.Conv2d(3, 4, 3), **arguments)


@pytest.mark.parametrize("form", FORMS)
def test_other_numbers_of_axes(form):
    linear = XNORPlusPlusScaleBinarizer(nn.Linear(3, 4), form)
    assert [tuple(f.shape) for f in linear.parameters()] == [(4,)]
    assert linear(torch.ones(2, 7, 4), None).shape == (2, 7, 4)
    deep = XNORPlusPlusScaleBinarizer(nn.Conv3d(3, 4, 1), form, size=(2, 3, 5))
    assert deep(torch.ones(2, 4, 2, 3, 5), None).shape == (2, 4, 2, 3, 5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [Linear, Conv1d, Conv2d])
def test_packs_to_the_last_bit(form, kind):
    post = XNORPlusPlusScaleBinarizer.with_args(form=form)
    config = BConfig(BasicInputBinarizer, post, XNORWeightBinarizer)
    layer = Linear(6, 4, bconfig=config) if kind is Linear else kind(6, 4, 3, bconfig=config)
    x = torch.randn(3, 6, *[7] * (layer.weight.dim() - 2))
    layer(x)
    for factor in layer.activation_post_process.parameters():
        nn.init.normal_(factor)
    model = nn.Sequential(layer).eval()
    packed = bnn.pack(model, x)
    assert not packed.report.emulated
    with torch.no_grad():
        assert torch.equal(packed(x), model(x))
    assert bnn.verify(model, packed, x).identical


def test_shows_its_form():
    assert repr(scale_of("full")) == "XNORPlusPlusScaleBinarizer(form='full', size=(5, 6))"
    assert "size" not in repr(XNORPlusPlusScaleBinarizer(nn.Conv2d(3, 4, 3)))

"""Losses: each formula written again, masked items, gradients, and what does not fit."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bnn import BConfig, prepare_binary_model
from bnn.errors import ConfigError
from bnn.ops import BasicInputBinarizer, BasicScaleBinarizer, XNORWeightBinarizer
from bnn.ops.base import check_arguments
from bnn.training import (
    LOSSES,
    AttentionLoss,
    BNNPlusLoss,
    CrossEntropyLoss,
    DistributionLoss,
    LogitKDLoss,
    LossInputs,
    WeightedLosses,
)

# What a loss cannot be made without.
ARGUMENTS = {"attention": {"layers": ["mid"]}}


def binary_net():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 3))
    config = BConfig(BasicInputBinarizer, BasicScaleBinarizer, XNORWeightBinarizer)
    return prepare_binary_model(model, config, ignore_layers_name=["_first_"])


def batch(n=6, classes=5, dtype=torch.float64, **changes):
    random = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=random, dtype=dtype)

    values = {
        "model": binary_net(),
        "logits": 3 * draw(n, classes),
        "labels": torch.arange(n) % classes,
        "teacher_logits": 3 * draw(n, classes),
        "features": {"mid": draw(n, 4, 3, 2)},
        "teacher_features": {"mid": draw(n, 7, 3, 2)},
    }
    return LossInputs(**{**values, **changes})


def made(name):
    return LOSSES[name](**ARGUMENTS.get(name, {}))


# Formulas, item by item, in plain Python.


def softmax(row):
    exponents = [math.exp(value) for value in row]
    return [value / sum(exponents) for value in exponents]


def mean(values):
    values = list(values)
    return sum(values) / len(values)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy(smoothing):
    given = batch()
    expected = []
    for row, label in zip(given.logits.tolist(), given.labels.tolist(), strict=True):
        wanted = [smoothing / 5 + (1 - smoothing) * (c == label) for c in range(5)]
        expected.append(-sum(q * math.log(p) for q, p in zip(wanted, softmax(row), strict=True)))
    loss = CrossEntropyLoss(label_smoothing=smoothing)(given)
    assert loss.item() == pytest.approx(mean(expected))


def test_distribution():
    given = batch()
    pairs = zip(given.logits.tolist(), given.teacher_logits.tolist(), strict=True)
    expected = mean(
        -sum(t * math.log(s) for s, t in zip(softmax(got), softmax(wanted), strict=True))
        for got, wanted in pairs
    )
    assert DistributionLoss()(given).item() == pytest.approx(expected)


@pytest.mark.parametrize("tau", [1.0, 4.0])
def test_logit_kd(tau):
    given = batch()
    pairs = zip((given.logits / tau).tolist(), (given.teacher_logits / tau).tolist(), strict=True)
    expected = mean(
        tau**2 * sum(t * math.log(t / s) for s, t in zip(softmax(a), softmax(b), strict=True))
        for a, b in pairs
    )
    assert LogitKDLoss(temperature=tau)(given).item() == pytest.approx(expected)
    same = batch(teacher_logits=given.logits)
    assert LogitKDLoss(temperature=tau)(same).item() == pytest.approx(0, abs=1e-12)


def test_distribution_and_kd_have_the_same_gradient():
    grads = []
    for loss in (DistributionLoss(), LogitKDLoss()):
        given = batch()
        given.logits.requires_grad_()
        loss(given).backward()
        grads.append(given.logits.grad)
    assert torch.allclose(*grads)


def test_attention():
    given = batch()

    def maps(features):
        rows = []
        for item in features.tolist():
            places = [
                mean(channel[h][w] ** 2 for channel in item) for h in range(3) for w in range(2)
            ]
            length = math.sqrt(sum(value**2 for value in places))
            rows.append([value / length for value in places])
        return rows

    pairs = zip(maps(given.features["mid"]), maps(given.teacher_features["mid"]), strict=True)
    expected = mean(mean((a - b) ** 2 for a, b in zip(*pair, strict=True)) for pair in pairs)
    assert AttentionLoss(["mid"])(given).item() == pytest.approx(expected)
    twice = AttentionLoss(["mid", "mid"])(given)
    assert twice.item() == pytest.approx(2 * expected), "layers are summed"


def test_attention_of_features_that_are_all_zero_is_finite():
    features = torch.zeros(2, 4, 3, 2, requires_grad=True)
    given = batch(2, features={"mid": features}, teacher_features={"mid": torch.ones(2, 1, 3, 2)})
    loss = AttentionLoss(["mid"])(given)
    loss.backward()
    assert loss.isfinite()
    assert features.grad.isfinite().all()


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("scale", [1.0, 0.25, "optimal", "learnt"])
def test_bnn_plus(norm, scale):
    given = batch()
    expected = 0.0
    for layer in (given.model[1], given.model[2]):
        with torch.no_grad():
            layer.activation_post_process.alpha.mul_(0.3).add_(torch.arange(layer.out_features))
        sizes = [[abs(value) for value in row] for row in layer.weight.tolist()]
        every = sorted(value for row in sizes for value in row)
        learnt = layer.activation_post_process.alpha.flatten().tolist()
        for channel, row in enumerate(sizes):
            alpha = {
                "optimal": every[(len(every) - 1) // 2] if norm == 1 else mean(every),
                "learnt": learnt[channel],
            }.get(scale, scale)
            expected += sum(abs(alpha - value) ** norm for value in row)
    loss = BNNPlusLoss(norm=norm, scale=scale)(given)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_the_optimal_scale_of_bnn_plus_is_optimal():
    given = batch()
    for norm in (1, 2):
        best = BNNPlusLoss(norm=norm, scale="optimal")(given)
        grid = [BNNPlusLoss(norm=norm, scale=0.05 * i)(given).item() for i in range(1, 20)]
        assert best.item() <= min(grid) + 1e-6


def test_no_gradient_flows_through_the_optimal_scale():
    given = batch()
    BNNPlusLoss(norm=1, scale="optimal")(given).backward()
    weight = given.model[1].weight.detach()
    toward = torch.sign(weight.abs().median() - weight.abs())
    assert torch.equal(given.model[1].weight.grad, -toward * weight.sign())


def test_bnn_plus_pulls_weights_towards_the_scale():
    given = batch()
    BNNPlusLoss(norm=2, scale=0.5)(given).backward()
    weight = given.model[1].weight
    assert torch.allclose(weight.grad, -2 * (0.5 - weight.abs()) * weight.sign())
    assert given.model[0].weight.grad is None, "it is not binary"


def test_a_learnt_scale_is_pulled_towards_the_weights():
    given = batch()
    BNNPlusLoss(norm=2, scale="learnt")(given).backward()
    layer = given.model[1]
    expected = (2 * (1 - layer.weight.abs())).sum(1)
    assert torch.allclose(layer.activation_post_process.alpha.grad.flatten(), expected)


# What all losses keep.


@pytest.mark.parametrize("name", list(LOSSES))
def test_every_loss_refuses_arguments_that_it_does_not_have(name):
    with pytest.raises(ConfigError, match="has no argument 'strength'"):
        check_arguments(LOSSES[name], {"strength": 1})


@pytest.mark.parametrize("name", list(LOSSES))
def test_every_loss_is_a_scalar_with_a_gradient(name):
    given = batch(dtype=torch.float32)
    wanted = {"mid": given.features["mid"].requires_grad_()}
    given = batch(logits=given.logits.requires_grad_(), dtype=torch.float32, features=wanted)
    loss = made(name)(given)
    assert loss.shape == ()
    loss.backward()
    reached = [given.logits, wanted["mid"], given.model[1].weight]
    assert any(tensor.grad is not None and tensor.grad.any() for tensor in reached)


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"bnn_plus"}))
def test_items_that_only_fill_up_are_not_counted(name):
    whole = batch()
    labels = whole.labels.clone()
    labels[4:] = -1
    masked = made(name)(batch(labels=labels))
    part = batch(
        labels=whole.labels[:4],
        logits=whole.logits[:4],
        teacher_logits=whole.teacher_logits[:4],
        features={"mid": whole.features["mid"][:4]},
        teacher_features={"mid": whole.teacher_features["mid"][:4]},
    )
    assert masked.item() == pytest.approx(made(name)(part).item())
    assert masked.item() != pytest.approx(made(name)(whole).item())
    none = made(name)(batch(labels=torch.full_like(labels, -1)))
    assert none.item() == 0


@pytest.mark.parametrize("name", list(LOSSES))
def test_fillers_of_any_value_leave_the_gradient_finite(name):
    given = batch()
    with torch.no_grad():
        given.logits[0] = 1e30
        given.features["mid"][0] = 1e30
    given.logits.requires_grad_()
    labels = given.labels.clone()
    labels[0] = -1
    filled = batch(logits=given.logits, labels=labels, features=given.features)
    loss = made(name)(filled)
    assert loss.isfinite()
    if loss.requires_grad and name not in ("bnn_plus", "attention"):
        loss.backward()
        assert given.logits.grad.isfinite().all()
        assert not given.logits.grad[0].any()


@pytest.mark.parametrize("name", ["distribution", "logit_kd", "attention"])
def test_no_gradient_reaches_the_teacher(name):
    given = batch()
    teacher = {"mid": given.teacher_features["mid"].requires_grad_()}
    given = batch(
        logits=given.logits.requires_grad_(),
        features={"mid": given.features["mid"].requires_grad_()},
        teacher_logits=given.teacher_logits.requires_grad_(),
        teacher_features=teacher,
    )
    loss = made(name)
    assert loss.needs_teacher
    loss(given).backward()
    assert given.teacher_logits.grad is None
    assert teacher["mid"].grad is None


@pytest.mark.parametrize("loss", [CrossEntropyLoss(0.1), DistributionLoss(), LogitKDLoss(3.0)])
def test_gradients_of_the_logits(loss):
    given = batch(3)
    torch.autograd.gradcheck(
        lambda logits: loss(batch(3, logits=logits)), (given.logits.requires_grad_(),)
    )


def test_gradients_of_the_features():
    given = batch(2)
    torch.autograd.gradcheck(
        lambda x: AttentionLoss(["mid"])(batch(2, features={"mid": x})),
        (given.features["mid"].requires_grad_(),),
    )


@pytest.mark.parametrize(
    ("name", "args", "words"),
    [
        ("cross_entropy", {"label_smoothing": 1.0}, "label_smoothing"),
        ("cross_entropy", {"label_smoothing": -0.1}, "label_smoothing"),
        ("logit_kd", {"temperature": 0}, "temperature"),
        ("logit_kd", {"temperature": float("inf")}, "temperature"),
        ("attention", {"layers": []}, "at least one"),
        ("attention", {"layers": "mid"}, "give a list"),
        ("attention", {"layers": ["a", "b"], "teacher_layers": ["a"]}, "as many"),
        ("bnn_plus", {"norm": 3}, "norm"),
        ("bnn_plus", {"scale": 0}, "scale"),
        ("bnn_plus", {"scale": True}, "scale"),
        ("bnn_plus", {"scale": "best"}, "scale"),
    ],
)
def test_bad_arguments(name, args, words):
    with pytest.raises(ConfigError, match=words):
        LOSSES[name](**args)


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("distribution", {"teacher_logits": None}, "there is none"),
        ("logit_kd", {"teacher_logits": torch.zeros(6, 7)}, "same classes"),
        ("attention", {"features": {}}, "network's layer 'mid'.*given are none"),
        (
            "attention",
            {"teacher_features": {"x": torch.ones(6, 1, 1)}},
            "teacher's layer 'mid'.*'x'",
        ),
        ("attention", {"features": {"mid": torch.ones(6, 4)}}, "positions"),
        ("attention", {"features": {"mid": torch.ones(6, 4, 2, 2)}}, "same height and width"),
        ("bnn_plus", {"model": nn.Linear(2, 2)}, "no layer whose weights are binary"),
    ],
)
def test_what_does_not_fit_is_said(name, changes, words):
    with pytest.raises(ConfigError, match=words):
        made(name)(batch(**changes))


def test_bnn_plus_says_which_layer_has_no_learnt_scale():
    model = binary_net()
    model[2].activation_post_process = nn.Identity()
    with pytest.raises(ConfigError, match="'2' has no learnt scale"):
        BNNPlusLoss(scale="learnt")(batch(model=model))


# Their sum.


def test_weighted_sum():
    given = batch()
    losses = [CrossEntropyLoss(), DistributionLoss(), AttentionLoss(["mid"])]
    weights = [1.0, 0.5, 30.0]
    total = WeightedLosses(zip(losses, weights, strict=True))
    parts = [weight * loss(given) for loss, weight in zip(losses, weights, strict=True)]
    assert total(given).item() == pytest.approx(sum(parts).item())
    assert [term.item() for term in total.terms(given)] == pytest.approx(
        [part.item() for part in parts]
    )
    assert total.needs_teacher
    assert total.layers == total.teacher_layers == ("mid",)
    assert not WeightedLosses([(CrossEntropyLoss(), 1)]).needs_teacher


def test_layers_of_several_losses_once_each():
    total = WeightedLosses(
        [(AttentionLoss(["a", "b"], ["x", "y"]), 1), (AttentionLoss(["b"], ["y"]), 1)]
    )
    assert total.layers == ("a", "b")
    assert total.teacher_layers == ("x", "y")


@pytest.mark.parametrize("weight", [0, -1, float("nan"), "1", True])
def test_bad_weights(weight):
    with pytest.raises(ConfigError, match="CrossEntropyLoss"):
        WeightedLosses([(CrossEntropyLoss(), weight)])


def test_no_loss_at_all():
    with pytest.raises(ConfigError, match="at least one"):
        WeightedLosses([])


def test_cross_entropy_is_torchs():
    given = batch()
    assert torch.equal(
        CrossEntropyLoss()(given),
        F.cross_entropy(given.logits, given.labels, reduction="sum") / len(given.labels),
    )


@pytest.mark.parametrize("name", list(LOSSES))
def test_half_precision_loses_no_digits_in_the_loss(name):
    half = batch(dtype=torch.float32)
    rounded = {
        "logits": half.logits.bfloat16(),
        "teacher_logits": half.teacher_logits.bfloat16(),
        "features": {"mid": half.features["mid"].bfloat16()},
        "teacher_features": {"mid": half.teacher_features["mid"].bfloat16()},
    }
    exact = {
        key: value.double() if isinstance(value, torch.Tensor) else {"mid": value["mid"].double()}
        for key, value in rounded.items()
    }
    with torch.autocast("cpu", torch.bfloat16):
        got = made(name)(batch(**rounded))
    assert got.dtype == torch.float32
    assert got.item() == pytest.approx(made(name)(batch(**exact)).item(), rel=1e-5)

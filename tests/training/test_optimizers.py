"""Optimizers: which parameters each trains, Bop's rule, several as one."""

import copy
import io

import pytest
import torch
from torch import nn

from bnn import BConfig, prepare_binary_model
from bnn.errors import ConfigError, UnknownNameError
from bnn.ops import BasicInputBinarizer, BasicScaleBinarizer, XNORWeightBinarizer
from bnn.training import (
    OPTIMIZERS,
    PARAMETER_RULES,
    Bop,
    CaseOptimizer,
    OptimizerCase,
    make_optimizer,
)

BINARY = BConfig(BasicInputBinarizer, BasicScaleBinarizer, XNORWeightBinarizer)


def net():
    """Return a network whose middle convolution is binary, with a learnt scale."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.PReLU(4),
        nn.Conv2d(4, 4, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    )
    return prepare_binary_model(model, BINARY, ignore_layers_name=["_first_", "_last_"])


def loss_of(model, seed=0):
    images = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    return model(images).square().mean()


def names_of(model, parameters):
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)] for p in parameters}


def case(claims="rest", **kwargs):
    return OptimizerCase(claims=claims, **kwargs)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("binary_weights", {"3.weight"}),
        ("float_weights", {"0.weight", "6.weight"}),
        ("layer_weights", {"0.weight", "3.weight", "6.weight"}),
    ],
)
def test_rules(rule, expected):
    model = net()
    assert names_of(model, PARAMETER_RULES[rule](model)) == expected


def test_only_the_weights_of_layers_decay():
    model = net()
    optimizer = make_optimizer(model, [case(weight_decay=1e-4)], learning_rate=0.1)
    assert type(optimizer) is torch.optim.Adam
    decay, rest = optimizer.param_groups
    assert names_of(model, decay["params"]) == {"0.weight", "3.weight", "6.weight"}
    assert (decay["weight_decay"], rest["weight_decay"]) == (1e-4, 0)
    assert len(decay["params"]) + len(rest["params"]) == len(list(model.parameters()))


def test_adamw_does_not_decay_by_its_own_default():
    optimizer = make_optimizer(net(), [case(name="adamw")], learning_rate=0.1)
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0}


def test_parametrized_weights_decay_and_frozen_ones_are_left_out():
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    layer.bias.requires_grad_(False)
    (group,) = make_optimizer(layer, [case(weight_decay=0.1)], learning_rate=1.0).param_groups
    assert len(group["params"]) == 2
    assert group["weight_decay"] == 0.1


def test_cases_divide_the_parameters_whatever_their_order():
    model = net()
    cases = [
        case(),
        case("binary_weights", name="bop", args={"gamma": 0.25}),
        case("float_weights", name="sgd", learning_rate=0.5, args={"momentum": 0.9}),
    ]
    optimizer = make_optimizer(model, cases, learning_rate=0.1)
    adam, bop, sgd = optimizer.optimizers
    assert (type(adam), type(bop), type(sgd)) == (torch.optim.Adam, Bop, torch.optim.SGD)
    groups = [names_of(model, group["params"]) for group in optimizer.param_groups]
    rest = {name for name, _ in model.named_parameters()} - {"0.weight", "3.weight", "6.weight"}
    assert groups == [rest, {"3.weight"}, {"0.weight", "6.weight"}]
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.25, 0.5]


def test_tied_weights_are_claimed_once():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    optimizer = make_optimizer(model, [case("layer_weights"), case()], learning_rate=0.1)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 3


def test_an_unclaimed_parameter_is_named():
    with pytest.raises(ConfigError, match=r"no optimizer case claims '0.bias', '1.weight'.* more"):
        make_optimizer(net(), [case("layer_weights")], learning_rate=0.1)
    with pytest.raises(ConfigError, match="no optimizer case claims"):
        make_optimizer(net(), [], learning_rate=0.1)


@pytest.mark.parametrize("claims", [["binary_weights", "layer_weights"], ["rest", "rest"]])
def test_a_parameter_claimed_twice_is_named(claims):
    with pytest.raises(ConfigError, match=r"more than one optimizer case claims '.*weight'"):
        make_optimizer(net(), [*map(case, claims), case()][:3], learning_rate=0.1)


@pytest.mark.parametrize(
    ("model", "claims"),
    [
        (nn.Linear(2, 2), ["binary_weights", "rest"]),
        (nn.Linear(2, 2, bias=False), ["layer_weights", "rest"]),
        (nn.ReLU(), ["rest"]),
    ],
)
def test_a_case_that_claims_nothing_is_refused(model, claims):
    with pytest.raises(ConfigError, match="no trainable parameter"):
        make_optimizer(model, map(case, claims), learning_rate=0.1)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"learning_rate": 0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"learning_rate": True}, "learning_rate"),
        ({"weight_decay": -1}, "weight_decay"),
        ({"weight_decay": "1"}, "weight_decay"),
        ({"args": [1]}, "args of adam must be a mapping"),
        ({"args": {"lr": 1}}, "'learning_rate'"),
        ({"args": {"params": 1}}, "'claims'"),
        ({"args": {"beta": 1}}, "Did you mean 'betas'"),
        ({"args": {1: 1}}, "no argument 1"),
        ({"name": "bop", "learning_rate": 1e-3}, "has no learning rate"),
        ({"name": "bop", "weight_decay": 1e-3}, "has no weight decay"),
    ],
)
def test_a_bad_case_says_what_is_wrong(values, words):
    with pytest.raises(ConfigError, match=words) as info:
        case(**values)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("values", [{"name": "adm"}, {"claims": "binary_weight"}])
def test_unknown_names_show_the_known_ones(values):
    with pytest.raises(UnknownNameError, match="Did you mean"):
        OptimizerCase(**{"claims": "rest", **values})


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"betas": [0.9]}, "adam: betas must be a list"),
        ({"betas": [2, 3]}, "adam refuses .*Invalid beta"),
        ({"eps": -1}, "adam refuses"),
        ({"eps": "x"}, "adam: eps must be a number, got 'x'"),
    ],
)
def test_arguments_that_the_optimizer_refuses_when_the_case_is_made(args, words):
    with pytest.raises(ConfigError, match=words):
        case(args=args)


def test_pairs_are_lists_or_tuples():
    for betas in ([0.8, 0.9], (0.8, 0.9)):
        optimizer = make_optimizer(net(), [case(args={"betas": betas})], learning_rate=0.1)
        assert tuple(optimizer.param_groups[0]["betas"]) == (0.8, 0.9)


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_every_registered_optimizer_trains_and_resumes(name):
    """What a run needs of an optimizer: it moves weights, and goes on from its saved state."""
    cases = [case("binary_weights", name=name), case("rest", name="sgd")]
    model = net()
    optimizer = make_optimizer(model, cases, learning_rate=1e-2)
    start = copy.deepcopy(model.state_dict())
    _train(model, optimizer, range(3))
    assert not torch.equal(start["3.weight"], model.state_dict()["3.weight"])
    file = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "model": model.state_dict()}, file)
    _train(model, optimizer, range(3, 6))

    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again = net()
    again.load_state_dict(saved["model"])
    resumed = make_optimizer(again, cases, learning_rate=1e-2)
    resumed.load_state_dict(saved["optimizer"])
    _train(again, resumed, range(3, 6))
    for key, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key


def _train(model, optimizer, seeds):
    for seed in seeds:
        optimizer.zero_grad()
        loss_of(model, seed).backward()
        optimizer.step()


# Bop


def test_bop_follows_its_formula():
    torch.manual_seed(0)
    threshold, gamma = 0.02, 0.3
    weight = nn.Parameter(torch.randn(50))
    w, m = torch.where(weight.detach() < 0, -1.0, 1.0), torch.zeros(50)
    optimizer = Bop([weight], threshold=threshold, gamma=gamma)
    flips = 0
    for _ in range(20):
        weight.grad = torch.randn(50) * 0.1
        m = (1 - gamma) * m + gamma * weight.grad
        flip = (m.abs() > threshold) & (torch.sign(m) == torch.sign(w))
        flips += int(flip.sum())
        w = torch.where(flip, -w, w)
        optimizer.step()
        assert torch.equal(weight.detach(), w)
    assert flips > 50


def test_bop_never_flips_at_ties_or_zero_gradients():
    # With gamma 1 the average is the gradient; 0.5 is exact.
    for threshold in (0.0, 0.5):
        weight = nn.Parameter(torch.tensor([1.0, -1.0, 1.0, -1.0]))
        optimizer = Bop([weight], threshold=threshold, gamma=1.0)
        weight.grad = torch.tensor([threshold, -threshold, 0.0, -0.0])
        optimizer.step()
        assert weight.tolist() == [1, -1, 1, -1]
        weight.grad = torch.nextafter(threshold * weight.detach(), weight.detach() * 9)
        optimizer.step()
        assert weight.tolist() == [-1, 1, -1, 1]


def test_bop_makes_weights_binary_once():
    weight = nn.Parameter(torch.tensor([0.0, -0.0, -1e-30, 7.0]))
    untouched = nn.Parameter(torch.tensor([0.3]))
    optimizer = Bop([weight, untouched])
    weight.grad = torch.zeros(4)
    optimizer.step()
    assert weight.tolist() == [1, 1, -1, 1]
    assert untouched.item() == pytest.approx(0.3), "it had no gradient"
    with torch.no_grad():
        weight.mul_(0.5)  # somebody else's business from now on
    optimizer.step()
    assert weight.tolist() == [0.5, 0.5, -0.5, 0.5]


def test_bop_anneals_gamma_under_a_scheduler():
    weight = nn.Parameter(torch.ones(1))
    optimizer = Bop([weight], gamma=0.5)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    averages = []
    for _ in range(2):
        weight.grad = torch.full((1,), -1.0)
        optimizer.step()
        scheduler.step()
        averages.append(optimizer.state[weight]["average"].item())
    assert averages == [-0.5, -0.625]  # gamma 0.5, then 0.25


@pytest.mark.parametrize(
    "values",
    [{"threshold": -1e-9}, {"threshold": float("nan")}, {"gamma": 0}, {"gamma": 1.01}],
)
def test_bop_refuses_bad_numbers(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        Bop([nn.Parameter(torch.ones(1))], **values)


def test_bop_refuses_sparse_gradients():
    table = nn.Embedding(3, 2, sparse=True)
    optimizer = Bop(table.parameters())
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(ConfigError, match="sparse"):
        optimizer.step()


# CaseOptimizer


def case_optimizer(model):
    cases = [case("binary_weights", name="sgd", learning_rate=0.5), case()]
    return make_optimizer(model, cases, learning_rate=0.01)


def test_several_step_as_each_alone():
    together, alone = net(), net()
    optimizer = case_optimizer(together)
    binary = [alone[3].weight]
    others = [p for p in alone.parameters() if p is not alone[3].weight]
    single = [torch.optim.SGD(binary, lr=0.5), torch.optim.Adam(others, lr=0.01)]
    for seed in range(3):
        _train(together, optimizer, [seed])
        for one in single:
            one.zero_grad()
        loss_of(alone, seed).backward()
        for one in single:
            one.step()
    for (name, a), b in zip(together.named_parameters(), alone.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-7), name


def test_the_closure_runs_once_and_with_gradients():
    model = net()
    optimizer = case_optimizer(model)
    calls = []

    def closure():
        calls.append(torch.is_grad_enabled())
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        return loss

    before = model[6].weight.detach().clone()
    assert optimizer.step(closure).item() > 0
    assert calls == [True]
    assert not torch.equal(before, model[6].weight)


def test_a_scheduler_scales_each_groups_own_rate_also_after_loading():
    optimizer = case_optimizer(net())
    optimizer.load_state_dict(optimizer.state_dict())
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    optimizer.step()
    scheduler.step()
    rates = [[g["lr"] for g in one.param_groups] for one in optimizer.optimizers]
    assert rates == [[0.25], [0.005, 0.005]]


def test_zero_grad_reaches_all():
    model = net()
    optimizer = case_optimizer(model)
    loss_of(model).backward()
    optimizer.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_copies_step_their_own_parameters():
    model = net()
    pair = copy.deepcopy((model, case_optimizer(model)))
    before = {name: t.clone() for name, t in model.state_dict().items()}
    _train(*pair, range(1))
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert not torch.equal(before["3.weight"], pair[0][3].weight)


def test_state_of_the_parts_is_kept():
    parameter = nn.Parameter(torch.ones(1))
    part = torch.optim.Adam([parameter], lr=0.1)
    parameter.grad = torch.ones(1)
    part.step()
    joined = CaseOptimizer([part])
    joined.step()
    assert joined.state[parameter]["step"] == 2


def test_state_of_another_network_is_refused():
    with pytest.raises(ValueError, match="group"):
        case_optimizer(net()).load_state_dict(torch.optim.SGD(net().parameters()).state_dict())


def test_no_parameter_twice_no_group_later_no_empty_one():
    parameter = nn.Parameter(torch.ones(1))
    parts = [torch.optim.SGD([parameter]), torch.optim.Adam([parameter])]
    with pytest.raises(ConfigError, match="more than one parameter group"):
        CaseOptimizer(parts)
    with pytest.raises(ConfigError, match="at least one"):
        CaseOptimizer([])
    with pytest.raises(ConfigError, match="no further groups"):
        CaseOptimizer(parts[:1]).add_param_group({"params": [nn.Parameter(torch.ones(1))]})

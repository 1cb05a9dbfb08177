"""Answers that differ are counted, each with its cause."""

import importlib

import pytest
import torch
from torch import nn

import bnn
from bnn import BConfig, prepare_binary_model
from bnn.ops import BasicInputBinarizer, XNORWeightBinarizer


@pytest.fixture
def bench(monkeypatch, pytestconfig):
    monkeypatch.syspath_prepend(str(pytestconfig.rootpath))
    return importlib.import_module("benchmarks.answers")


def network(head):
    """Sum the signs of three inputs; weigh the sum for each of two classes."""
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1, bias=False), nn.Linear(1, 2))
    config = BConfig(BasicInputBinarizer, nn.Identity, XNORWeightBinarizer)
    model = prepare_binary_model(model, config, ignore_layers_name=["_first_", "_last_"]).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(3))
        model[0].bias.zero_()
        model[1].weight.fill_(1)
        model[2].weight.copy_(torch.tensor(head))
        model[2].bias.zero_()
    return model


@pytest.mark.parametrize(
    ("value", "by", "cause"), [(1e-8, -2e-8, "flips"), (0.1, -0.2, "unexplained")]
)
def test_a_sign_explains_a_miss_only_where_it_lies_next_to_0(bench, value, by, cause):
    model = network([[1.0], [-1.0]])
    x = torch.tensor([[1.0, -0.5, value], [1.0, 0.5, 0.5], [-1.0, -1.0, 0.25]])
    packed = bnn.pack(model, x[:1])
    assert bench.compare(model, packed, x, 2) == bench.Answers(3, 3, 3)
    with torch.no_grad():
        model[0].bias[2] = by  # the model's third sign of the first image is now another one
    answers = bench.compare(model, packed, x, 2)
    assert (answers.images, answers.same) == (3, 2)
    assert {"flips": answers.flips, "unexplained": answers.unexplained}[cause] == 1
    assert answers.flips + answers.ties + answers.unexplained == 1
    assert cause in str(answers)


@pytest.mark.parametrize(("gap", "cause"), [(2e-6, "ties"), (0.1, "unexplained")])
def test_without_a_sign_only_equal_logits_explain_a_miss(bench, gap, cause):
    model = network([[1.0], [1.0]])
    x = torch.tensor([[1.0, -0.5, 0.5]])
    with torch.no_grad():
        model[2].bias[1] = gap
    packed = bnn.pack(model, x)
    assert bench.compare(model, packed, x, 1).same == 1
    with torch.no_grad():
        model[2].bias.copy_(torch.tensor([gap, 0.0]))
    answers = bench.compare(model, packed, x, 1)
    assert answers.same == 0
    assert {"ties": answers.ties, "unexplained": answers.unexplained}[cause] == 1
    assert answers.flips + answers.ties + answers.unexplained == 1


def test_a_cell_says_what_was_missed(bench):
    assert str(bench.Answers(16, 16, 15)) == "16 of 16; float64 15"
    assert str(bench.Answers(16, 13, 12, flips=2)) == (
        "13 of 16, 2 flips, 1 **unexplained**; float64 12"
    )

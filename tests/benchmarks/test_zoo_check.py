"""The check of published networks at full size: it passes what is right, and finds what is not."""

import importlib

import pytest
import torch
from torch import nn

from bnn.models import MODELS, create


@pytest.fixture
def bench(monkeypatch, pytestconfig):
    monkeypatch.syspath_prepend(str(pytestconfig.rootpath))
    return importlib.import_module("benchmarks.zoo_check")


def test_a_published_network_is_good(bench):
    row = bench.check("bnext_tiny", 8, tiny=True)
    assert row.good
    assert (row.fitted.same, row.without, row.emulated) == (8, (), {})
    assert row.fitted.images == row.new.images == row.random.images == 8
    assert row.parameters == sum(
        1 for _ in create("bnext_tiny", **MODELS["bnext_tiny"].tiny).parameters()
    )
    assert row.answers == 5  # classes of the small instance


def test_it_finds_a_parameter_without_a_gradient(bench):
    class Cut(nn.Sequential):
        def forward(self, x):
            return super().forward(x.detach())

    model = nn.Sequential(nn.Conv2d(3, 4, 3), Cut(nn.Flatten(), nn.Linear(16, 5)))
    assert bench.train_a_step(model, torch.randn(4, 3, 4, 4)) == ("0.weight", "0.bias")


@pytest.mark.parametrize(
    "change",
    [
        {"without": ("fc.bias",)},
        {"emulated": {"fc": "unknown"}},
        {"sums": False},
        {"fitted": (8, 7, 8, 1)},  # although a flip explains it
        {"new": (8, 6, 8, 1)},
        {"random": (8, 6, 8, 0, 1)},
        {"answers": 1},
        {"exported": 0.1},
        {"loaded": False},
    ],
)
def test_each_fault_counts(bench, change):
    change = {
        key: bench.Answers(*value) if key in ("fitted", "new", "random") else value
        for key, value in change.items()
    }
    good = {
        "name": "net",
        "parameters": 3,
        "without": (),
        "exported": 0.0,
        "binary": 2,
        "emulated": {},
        "sums": True,
        "fitted": bench.Answers(8, 8, 7),
        "new": bench.Answers(8, 6, 7, flips=2),
        "random": bench.Answers(8, 5, 7, flips=2, ties=1),
        "answers": 5,
        "bytes": 100,
        "loaded": True,
        "seconds": 1.0,
    }
    assert bench.Row(**good).good
    assert "6 of 8, 2 flips; float64 7 | 5 of 8, 2 flips, 1 ties" in bench.table(
        [bench.Row(**good)]
    )
    row = bench.Row(**{**good, **change})
    assert not row.good
    assert "**fails**" in bench.table([row])


def test_it_writes_what_it_prints_and_says_what_failed(bench, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "zoo-check.md")
    assert bench.main(["quicknet", "--tiny", "--images", "4", "--write"]) == 0
    assert "all 1 are good" in capsys.readouterr().out
    assert "| `quicknet` | 21 of 21 |" in (tmp_path / "zoo-check.md").read_text()
    monkeypatch.setattr(bench, "train_a_step", lambda *_: ("fc.bias",))
    assert bench.main(["quicknet", "--tiny", "--images", "4"]) == 1
    assert "failed: quicknet" in capsys.readouterr().out


def test_unknown_names_are_refused(bench, capsys):
    with pytest.raises(SystemExit):
        bench.main(["resnet8"])
    assert "no published network 'resnet8'; known: binary_alexnet" in capsys.readouterr().err


def test_the_committed_table_has_every_published_network(bench):
    text = bench.RESULTS.read_text()
    assert all(f"| `{name}` |" in text for name in MODELS if MODELS[name].figures)
    assert "fails" not in text

"""The tables of "Choose a method": nothing is missing, and what they say is so."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

from bnn.ops import binarizers

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def methods():
    spec = importlib.util.spec_from_file_location("methods", DOCS / "methods.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", binarizers)
def test_every_binarizer_has_formulas_and_is_packed(methods, name):
    cls = binarizers[name]
    for kind in ("Forward", "Backward"):
        text = methods.formula(cls, kind)
        assert len(text) > 3, kind
        assert text.count("$") % 2 == 0
        inside = text.split("$")[1::2]
        assert inside == [tex.strip() for tex in inside], "a space keeps it from being a formula"
        assert not re.search(r"(?<!\\)\|", text), "a bar ends the cell"
    parameters, how = methods.cost(name)
    assert int(parameters.replace(",", "")) >= 0
    assert re.match(r"(one|\d) 1-bit convolution", how), how


def test_known_costs(methods):
    assert methods.cost("RSignInputBinarizer") == ("64", "one 1-bit convolution")
    assert methods.cost("TernaryWeightBinarizer") == ("0", "2 1-bit convolutions")
    border = "one 1-bit convolution, the border's sums, once for a size"
    assert methods.cost("AdaBinInputBinarizer") == ("2", border)
    assert methods.cost("AdaBinWeightBinarizer") == ("0", "one 1-bit convolution, the input's sums")


def test_formulas_of_training_and_evaluation_are_told_apart(methods):
    text = methods.formula(binarizers["ProgressiveSignBinarizer"], "Forward")
    assert re.fullmatch(r"training: .+; evaluation: .+", text)


def test_published_methods_are_made_of_what_is_registered(methods):
    for method in methods.PUBLISHED:
        for stage in method.stages:
            for name in re.findall(r"\w+Binarizer", stage):
                assert name in binarizers
        assert method.imagenet
        assert method.paper.startswith("https://")


def test_our_own_results_are_read_where_there_are_some(methods, monkeypatch, tmp_path):
    file = tmp_path / "accuracy.json"
    monkeypatch.setattr(methods, "_RESULTS", file)
    monkeypatch.setattr(methods, "_TRAINING", tmp_path / "training.json")
    assert "±" not in methods.published_table()
    row = {"data": "digits", "network": "adabin", "accuracy": 98.76, "spread": 0.12}
    file.write_text(json.dumps({"rows": [row]}))
    (line,) = [line for line in methods.published_table().splitlines() if "±" in line]
    assert "AdaBin" in line
    assert line.endswith("| 98.8 ± 0.1 |  |")


def test_training_memory_is_a_column_where_it_was_measured(methods, monkeypatch, tmp_path):
    file = tmp_path / "training.json"
    monkeypatch.setattr(methods, "_TRAINING", file)
    assert "Training memory" not in methods.published_table()
    row = {"network": "a", "method": "xnor-net++", "saved_ratio": 0.567}
    file.write_text(json.dumps({"methods": [row, {**row, "network": "b", "saved_ratio": 0.1}]}))
    table = methods.published_table().splitlines()
    assert table[0].rstrip(" |").endswith("Training memory, x float")
    (found,) = [line for line in table if "[XNOR-Net++]" in line]
    assert found.rstrip(" |").endswith("0.57")

import json

import pytest

from bnn.models import MODELS


def test_lists_every_model_on_eighty_columns(bnn):
    ran = bnn("models")
    assert ran.code == 0
    first_words = {line.split()[0] for line in ran.stdout.splitlines()}
    assert set(MODELS) <= first_words
    assert max(map(len, ran.stdout.splitlines())) <= 80


def test_pattern(bnn):
    assert bnn("models", "resnet18").stdout.startswith("resnet18  3x224x224")


def test_one_model_in_full(bnn):
    shown = bnn("models", "quicknet").stdout
    assert "13,234,088 (batch norms fused)" in shown
    assert "4,368,032 (batch norms fused)" in shown
    assert "1-bit MACs   1,849,688,064" in shown
    assert "published    top-1 63.3 %, top-5 84.6 % on ImageNet" in shown
    assert "https://arxiv.org/abs/2011.09398" in shown


def test_table_has_costs_and_published_accuracies(bnn):
    rows = {line.split()[0]: line for line in bnn("models").stdout.splitlines()}
    assert rows["reactnet_a"].split()[1:] == ["3x224x224", "29.3M", "7.89M", "4.82Gx1", "+",
                                              "11.9Mx32", "69.4"]  # fmt: skip


def test_json(bnn):
    listed = {entry["name"]: entry for entry in json.loads(bnn("models", "--json").stdout)}
    assert listed["dorefanet"]["figures"]["macs"] == {"2": 2_924_609_536, "32": 125_028_352}
    assert listed["dorefanet"]["published"] == {"top1": 53.39, "top5": 76.5, "data": "ImageNet"}
    assert listed["dorefanet"]["preprocessing"]["size"] == [224, 224]
    assert listed["resnet18"]["figures"] is None
    assert list(listed) == list(MODELS)
    assert listed["resnet18"]["input_shape"] == [3, 224, 224]
    assert "num_classes" in listed["resnet18"]["model_args"]


@pytest.mark.parametrize("pattern", ["zzz*", "", "[", "\0"])
def test_pattern_without_a_match_lists_all(fails, pattern):
    message = fails("models", pattern, code=2)
    assert "resnet18" in message


def test_a_name_that_is_nearly_one_shows_which(fails):
    assert "no model matches 'quicknot'. Did you mean 'quicknet'?" in fails(
        "models", "quicknot", code=2
    )

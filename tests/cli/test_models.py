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


def test_json(bnn):
    listed = {entry["name"]: entry for entry in json.loads(bnn("models", "--json").stdout)}
    assert list(listed) == list(MODELS)
    assert listed["resnet18"]["input_shape"] == [3, 224, 224]
    assert "num_classes" in listed["resnet18"]["model_args"]


@pytest.mark.parametrize("pattern", ["vgg*", "", "[", "\0"])
def test_pattern_without_a_match_lists_all(fails, pattern):
    message = fails("models", pattern, code=2)
    assert "resnet18" in message

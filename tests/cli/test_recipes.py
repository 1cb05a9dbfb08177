import json

import pytest

from bnn.executor import packaged_recipes


def test_lists_every_packaged_recipe(bnn):
    ran = bnn("recipes")
    assert ran.code == 0
    assert [line.split()[0] for line in ran.stdout.splitlines() if line[0] != " "] == list(
        packaged_recipes()
    )
    assert max(map(len, ran.stdout.splitlines())) <= 80


def test_json(bnn):
    listed = json.loads(bnn("recipes", "--json").stdout)
    assert [entry["name"] for entry in listed] == list(packaged_recipes())
    for entry in listed:
        assert entry["steps"] >= 1
        assert entry["description"]
        assert entry["reference"].startswith("https://")
        assert len(entry["step_names"]) == len(entry["epochs"]) == entry["steps"]


def test_says_how_each_is_trained(bnn):
    listed = {entry["name"]: entry for entry in json.loads(bnn("recipes", "--json").stdout)}
    assert listed["bop"]["optimizers"] == ["bop", "adam"]
    assert listed["two-step"]["optimizers"] == ["adam"]
    assert listed["two-step"]["losses"] == ["cross_entropy"]
    taught = listed["real-to-binary"]
    assert taught["losses"] == ["cross_entropy", "attention", "logit_kd"]
    assert (taught["teacher"], listed["bop"]["teacher"]) == (True, False)
    assert taught["step_names"] == ["float", "tanh", "activations", "weights"]
    assert taught["data"] == "imagenet"
    text = " ".join(bnn("recipes").stdout.split())
    assert "(bop, adam; cross_entropy)" in text


@pytest.mark.parametrize("name", packaged_recipes())
def test_show_prints_the_file_exactly(bnn, name):
    ran = bnn("recipes", "show", name)
    assert ran.code == 0
    assert ran.stdout == packaged_recipes()[name]


def test_unknown_name_shows_the_closest_and_all(fails):
    message = fails("recipes", "show", "tow-step", code=2)
    assert "Did you mean 'two-step'?" in message
    assert "xnor-net-plus-plus" in message


@pytest.mark.parametrize("name", ["", "../two-step", "two-step.yaml", "a\nb", "[bold]"])
def test_hostile_names(fails, name):
    assert repr(name) in fails("recipes", "show", name, code=2)


def test_name_is_needed(fails):
    assert "NAME" in fails("recipes", "show", code=2).upper()

"""BinaryChef: steps in order, resume, and clear ends."""

import logging
import warnings

import pytest
import torch
from torch import nn

import bnn.engine
import bnn.executor.engine
from bnn import BinaryChef, BnnError, conversion_report
from bnn.errors import RecipeError
from bnn.executor import load_recipe, packaged_recipes
from bnn.layers import BinaryLayer
from bnn.models import PreBasicBlock, resnet18
from bnn.ops import XNORWeightBinarizer, binarizers


def small():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 2))


X = torch.randn(2, 1, 8, 8)


def test_both_import_paths_give_the_same_class():
    assert bnn.engine.BinaryChef is bnn.executor.engine.BinaryChef is BinaryChef


# Those of published networks are in tests/training/test_zoo_recipes.py.
FOR_FLOAT = [n for n in packaged_recipes() if not load_recipe(n).needs_binary]


@pytest.mark.parametrize("name", FOR_FLOAT)
def test_packaged_recipes_run_through_as_the_readme_shows(name, capsys):
    model, chef = small(), BinaryChef(name)
    for _ in range(len(chef)):
        model = chef.next(model)
        model(X).sum().backward()
    for stage in (model[1].weight_pre_process, model[1].activation_pre_process):
        assert type(stage).__name__ in binarizers
        assert not isinstance(stage, nn.Identity)
    assert not isinstance(model[0], BinaryLayer)
    assert not isinstance(model[3], BinaryLayer)
    assert capsys.readouterr() == ("", ""), "printed instead of logged"


def test_a_step_that_leaves_all_layers_alone_trains_them_in_float():
    model = small()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        BinaryChef({"float": {"ignore_layer_names": ["$.$"]}}).next(model)
    assert not any(isinstance(layer, BinaryLayer) for layer in model)
    with pytest.warns(UserWarning, match="no layer was converted"):
        BinaryChef(
            {"s": {"weight": {"name": "XNORWeightBinarizer"}, "ignore_layer_names": ["$.$"]}}
        ).next(model)


def test_the_layers_of_a_stage_are_not_layers_of_the_network():
    gate = {"post_activation": {"name": "RealToBinaryGateBinarizer"}}
    model, chef = small(), BinaryChef({"a": gate, "b": {**gate, "ignore_layer_names": ["_last_"]}})
    chef.next(model)
    inside = [name for name, _ in model.named_modules() if "activation_post_process." in name]
    assert inside, "the gate has no layers; this test needs another binarizer that has"
    chef.next(model)
    assert set(conversion_report(model).converted) == {"0", "1"}
    assert set(conversion_report(model).ignored) == {"3"}


def test_two_step_binarizes_the_weights_in_its_second_step_only():
    model, chef = small(), BinaryChef("two-step")
    assert len(chef) == chef.get_num_steps() == 2
    chef.next(model)
    assert isinstance(model[1].weight_pre_process, nn.Identity)
    chef.next(model)
    assert isinstance(model[1].weight_pre_process, XNORWeightBinarizer)


def test_a_step_beyond_the_end_says_how_many_there_are():
    chef = BinaryChef("xnor-net")
    chef.next(small())
    with pytest.raises(RecipeError, match="xnor-net: there is no step 1; it has 1, counted from 0"):
        chef.next(small())
    for step in (-1, 1, 99):
        with pytest.raises(RecipeError, match=f"no step {step}"):
            chef.run_step(small(), step)


def test_run_step_runs_any_step_and_does_not_move_on():
    model, chef = small(), BinaryChef("two-step")
    assert chef.run_step(model, 1) is model
    assert isinstance(model[1].weight_pre_process, XNORWeightBinarizer)
    assert chef.current_step == 0


def test_a_failed_step_is_not_counted_and_named():
    chef = BinaryChef({"s": {"ignore_layer_names": ["nope"]}})
    with pytest.raises(RecipeError, match="recipe: s: ignore_layers_name has 'nope'"):
        chef.next(small())
    assert chef.current_step == 0


def test_names_that_need_not_be_there():
    keep = {"ignore_if_present": ["nope", "1", "$nope$", "_last_"]}
    model = BinaryChef({"s": keep}).next(small())
    assert set(conversion_report(model).ignored) == {"1", "3"}


def test_packaged_recipes_leave_stem_and_shortcuts_float():
    for name in FOR_FLOAT:
        model = resnet18(block_type=PreBasicBlock, stem_type="dabnn", width=8)
        chef = BinaryChef(name)
        for _ in range(len(chef)):
            chef.next(model)
        converted = conversion_report(model).converted
        assert len(converted) == 16
        assert all(layer.startswith("layer") for layer in converted)


def test_learnt_scales_survive_the_next_step():
    model, chef = small(), BinaryChef("imagenet-baseline")
    chef.next(model)
    with torch.no_grad():
        model[1].activation_post_process.alpha.fill_(5)
    chef.next(model)
    assert model[1].activation_post_process.alpha.eq(5).all()


def test_resumes_in_a_new_process():
    model, chef = small(), BinaryChef("imagenet-baseline")
    chef.next(model)
    with torch.no_grad():
        model[1].activation_post_process.alpha.fill_(5)
    state, weights = chef.state_dict(), model.state_dict()

    fresh = BinaryChef(state["recipe"])
    fresh.load_state_dict(state)
    again = fresh.replay(small())
    again.load_state_dict(weights)
    assert torch.equal(again(X), model(X))
    assert torch.equal(fresh.next(again)(X), chef.next(model)(X))
    assert fresh.current_step == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"current_step": 3}, "current_step is 3; expected 0 to 2"),
        ({"current_step": "1"}, "current_step is '1'"),
        ({"current_step": True}, "current_step is True"),
        ({"recipe": {}}, "taken from another recipe"),
    ],
)
def test_refuses_a_state_that_does_not_fit(change, message):
    chef = BinaryChef("two-step")
    with pytest.raises(RecipeError, match=message):
        chef.load_state_dict({**chef.state_dict(), **change})
    with pytest.raises(BnnError):
        chef.load_state_dict({})
    assert chef.current_step == 0


def test_logs_its_steps(caplog):
    with caplog.at_level(logging.INFO, logger="bnn"):
        BinaryChef("two-step").next(small())
    assert "two-step: running step0 (1 of 2)" in caplog.text

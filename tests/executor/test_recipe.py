"""Recipes as files: the packaged ones, and files that are wrong in every way we know."""

import json
import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bnn.config import Identity
from bnn.errors import BnnError, ConfigError, RecipeError
from bnn.executor import load_recipe, packaged_recipes
from bnn.ops import AdvancedInputBinarizer, BasicInputBinarizer, XNORWeightBinarizer
from bnn.values import shown


def write(tmp_path, text, name="mine.yaml"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


GOOD = """
step0:
  pre_activation:
    name: AdvancedInputBinarizer
    args: {derivative_funct: tanh, t: 3}
  weight:
    name: XNORWeightBinarizer
    args: {center_weights: true}
  ignore_layer_names: [_first_, $conv$]
  epochs: 2
  learning_rate: 1e-3
second:
  post_activation: {name: BasicScaleBinarizer, args: null}
"""


def test_reads_a_file(tmp_path):
    recipe = load_recipe(write(tmp_path, GOOD))
    first, second = recipe.steps
    assert recipe.name == "mine"
    assert (first.name, second.name) == ("step0", "second")
    assert first.bconfig.activation_pre_process == AdvancedInputBinarizer.with_args(
        derivative_funct="tanh", t=3
    )
    assert first.bconfig.activation_post_process is Identity
    assert first.bconfig.weight_pre_process == XNORWeightBinarizer.with_args(center_weights=True)
    assert first.ignore_layer_names == ("_first_", "$conv$")
    assert (first.epochs, first.learning_rate, first.weight_decay) == (2, 0.001, None)


def test_plain_data_round_trips_through_json(tmp_path):
    recipe = load_recipe(write(tmp_path, GOOD))
    again = load_recipe(json.loads(json.dumps(recipe.as_dict())))
    assert again.steps == recipe.steps
    assert again.name == "mine"
    assert again.as_dict() == recipe.as_dict()


def test_steps_keep_the_order_of_the_file(tmp_path):
    steps = load_recipe(write(tmp_path, "z: {}\na: {}\nm: {}")).steps
    assert [step.name for step in steps] == ["z", "a", "m"]


def test_the_mapping_given_is_not_changed_nor_kept():
    mapping = {"step0": {"ignore_layer_names": ["a"]}}
    recipe = load_recipe(mapping)
    mapping["step0"]["ignore_layer_names"].append("b")
    assert recipe.as_dict() == {"name": "recipe", "step0": {"ignore_layer_names": ["a"]}}


@pytest.mark.parametrize("name", packaged_recipes())
def test_packaged_recipes_say_what_they_are(name):
    recipe = load_recipe(name)
    assert recipe.description
    assert recipe.reference.startswith("https://arxiv.org/abs/")


WRONG = {
    "step0: {post_activation: {NAME: x}}": r"step0.post_activation: unknown key 'NAME'. "
    r"Did you mean 'name'\? Allowed: args, name.",
    "step0: {Pre_Activation: {name: x}}": r"step0: unknown key 'Pre_Activation'. Did you mean 'pre",
    "step0: {weight: {name: XNORWeightBinariser}}": r"step0.weight.name: no binarizer "
    r"'XNORWeightBinariser'. Did you mean 'XNORWeightBinarizer'\? Known: AdaBin",
    "step0: {weight: {args: {}}}": r"step0.weight.name: no binarizer None",
    "step0: {weight: {name: [a]}}": r"step0.weight.name: no binarizer \['a'\]",
    "step0: {weight: XNORWeightBinarizer}": r"step0.weight: must be a mapping, got 'XNOR",
    "step0: {weight: {name: XNORWeightBinarizer, args: [1]}}": r"step0.weight.args: must be a map",
    "step0: {weight: {name: XNORWeightBinarizer, args: {alpha: 1}}}": r"step0.weight.args: XNORW.*"
    r"no argument 'alpha'.*Allowed: compute_alpha, center_weights, detach_alpha",
    "step0: {weight: {name: XNORWeightBinarizer, args: {compute_alpha: maybe}}}": "step0.weight."
    "args.compute_alpha: must be true or false, got 'maybe'",
    "step0: {pre_activation: {name: AdvancedInputBinarizer, args: {t: fast}}}": "args.t: must be a "
    "number, got 'fast'",
    "step0: {pre_activation: {name: BasicScaleBinarizer}}": r"takes \(layer output, layer input\), "
    "so it cannot be a pre_activation",
    "step0: {weight: {name: XNORWeightBinarizer, args: {module: 3}}}": "step0.weight.args.module: "
    "is the layer that is converted. Leave it out.",
    "step0: {post_activation: {name: BasicScaleBinarizer, args: {module: null}}}": "args.module: i",
    "step0: {post_activation: {name: XNORWeightBinarizer}}": "takes one tensor, so it cannot",
    "step0: {ignore_layer_names: _first_}": "ignore_layer_names: must be a list of names, got '_fi",
    "step0: {ignore_if_present: 3}": "step0.ignore_if_present: must be a list of names, got 3",
    "step0: {ignore_layer_names: [1]}": "ignore_layer_names: must be a list of names",
    "step0: {ignore_layer_names: ['$($']}": r"'\$\(\$' is no regular expression: missing",
    "step0: {epochs: 0}": "step0.epochs: must be a number >= 1, got 0",
    "step0: {epochs: 1.5}": "step0.epochs: must be a whole number, got 1.5",
    "step0: {epochs: true}": "step0.epochs: must be a number >= 1, got True",
    "step0: {learning_rate: .nan}": "step0.learning_rate: must be a number > 0, got nan",
    "step0: {learning_rate: 0}": "step0.learning_rate: must be a number > 0, got 0",
    "step0: {learning_rate: .inf}": "step0.learning_rate: must be a number",
    "step0: {weight_decay: -1}": "step0.weight_decay: must be a number >= 0, got -1",
    "step0: {weight_decay: [1]}": "step0.weight_decay: must be a number",
    "step0: []": r"step0: a step must be a mapping, got \[\]",
    "step0:": "step0: a step must be a mapping, got None",
    "step0: {}\nstep0: {}": "the key 'step0' stands here twice",
    "step0: {epochs: 1, epochs: 2}": "the key 'epochs' stands here twice",
    "description: nothing else": "no step. Give at least one",
    "description: [a]\nstep0: {}": r"description: must be text, got \['a'\]",
    "": "must be a mapping of steps, got NoneType",
    "- step0": "must be a mapping of steps, got list",
    "3: {}": "the key 3 is no text",
    "step0: {? [a] : b}": "not a YAML file of plain data",
    "step0: [unclosed": "not a YAML file of plain data",
    "step0: {weight: {name: !!python/name:os.system }}": "not a YAML file of plain data",
    "step0: !!python/object/apply:os.system ['true']": "not a YAML file of plain data",
    "step0: {when: 2020-01-01}": "is no plain data",
    "&a step0: &b {weight: *b}": "nested more than 8 levels deep",
    "step0: {a: {b: {c: {d: {e: {f: {g: {h: {i: 1}}}}}}}}}": "nested more than 8",
    "x: &x {k: 1}\nstep0: {<<: [*x, *x]}": "not a YAML file of plain data",
    "a: 1" + "0" * 5000: "not a YAML file of plain data",
    b"step0: \xff\xfe": "not a YAML file of plain data",
    "step0: " + "[" * 3000: "not a YAML file of plain data",
    "#" * (1 << 17) + "#": "larger than 131072 bytes",
    "step0: 1" + ":1" * 60_000: "step0: a step must be a mapping, got ",
}


@pytest.mark.parametrize("text", WRONG, ids=lambda text: repr(text[:40]))
def test_a_wrong_file_is_named_with_step_and_key(tmp_path, text):
    with pytest.raises(RecipeError, match=WRONG[text]) as caught:
        load_recipe(write(tmp_path, text))
    assert str(caught.value).startswith("mine.yaml: ")


def _bomb(depth, wide=9):
    """Return a YAML text of which each line holds the one before it ``wide`` times."""
    lines = ["a0: &a0 [" + ", ".join(["x"] * wide) + "]"]
    lines += [f"a{i}: &a{i} [" + ", ".join([f"*a{i - 1}"] * wide) + "]" for i in range(1, depth)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        _bomb(7),  # within the bound of depth: 9^7 nodes
        _bomb(30),
        _bomb(7) + "\nstep0: {ignore_layer_names: *a6}",
        "step0: {weight: {name: XNORWeightBinarizer, args: {x: [" + "1, " * 10_001 + "]}}}",
        "x0: &x0 {k: 1}\n"
        + "\n".join(f"x{i + 1}: &x{i + 1} {{<<: [*x{i}, *x{i}]}}" for i in range(40)),
    ],
    ids=["in-depth", "deep", "in-a-step", "long", "merges"],
)
def test_a_file_of_too_many_nodes_is_refused_at_once(tmp_path, text):
    path = write(tmp_path, text)
    begun = time.process_time()
    with pytest.raises(RecipeError, match=r"^mine.yaml: .*(10,?000|not a YAML)") as caught:
        load_recipe(path)
    assert time.process_time() - begun < 5
    assert len(str(caught.value)) < 500


def test_a_mapping_of_too_many_nodes_is_refused_at_once():
    bomb = ["x"]
    for _ in range(3):
        bomb = [bomb] * 30
    with pytest.raises(RecipeError, match="^recipe: step0.*more than 10,000 values"):
        load_recipe({"step0": {"weight": {"name": "A", "args": bomb}}})


@pytest.mark.parametrize(
    "content",
    [
        {"step0": {"y" * 10**6: 1}},
        {"step0": {"weight": {"name": "y" * 10**6}}},
        {"step0": {"weight": {"name": 1 << 100_000}}},
        {"step0": {"weight": {"name": "XNORWeightBinarizer", "args": {"y" * 10**6: 1}}}},
        {"step0": {"weight": {"name": "XNORWeightBinarizer", "args": ["y" * 10**6]}}},
        {
            "step0": {
                "pre_activation": {"name": "SwishSignBinarizer", "args": {"beta": "y" * 10**6}}
            }
        },
        {"step0": {"epochs": "y" * 10**6}},
        {"step0": {"ema": 1 << 100_000}},
        {"step0": {"ignore_layer_names": "y" * 10**6}},
        {"step0": {"ignore_layer_names": ["$(" + "y" * 10**6 + "$"]}},
        {"step0": {"initialise_from": {"step": "y" * 10**6}}},
        {"step0": {"teacher": {"step": "y", "checkpoint": "y" * 10**6}}},
        {"step0": {"optimizer": ["y"] * 9_000}},
        {"step0": ["y"] * 9_000},
        {"y" * 10**6: 3},
        {"y" * 10**6: {"epochs": 0}},
        {"step0": {}, "smoke": {"y" * 10**6: 1}},
        {b"y" * 10**6: {}},
    ],
    ids=shown,
)
def test_a_long_value_is_cut_in_the_message(content):
    with pytest.raises(RecipeError) as caught:
        load_recipe(content)
    assert len(str(caught.value)) < 1500
    assert str(caught.value).count("y") < 150


def test_aliases_that_are_no_bomb_are_read():
    text = "step0: &s {ignore_layer_names: &n [a, b]}\nstep1: {ignore_layer_names: *n}\nstep2: *s"
    recipe = load_recipe(yaml.safe_load(text))
    assert [step.ignore_layer_names for step in recipe.steps] == [("a", "b")] * 3


def test_everything_is_checked_before_anything_runs(tmp_path):
    with pytest.raises(RecipeError, match="step1.weight.name"):
        load_recipe(write(tmp_path, "step0: {}\nstep1: {weight: {name: Nope}}"))


def test_no_code_in_a_string_is_run(tmp_path):
    marker = tmp_path / "ran"
    code = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    for text in (
        {"weight": {"name": code}},
        {"weight": {"name": "XNORWeightBinarizer", "args": {"compute_alpha": code}}},
        {"pre_activation": {"name": "AdvancedInputBinarizer", "args": {"derivative_funct": code}}},
        {"ignore_layer_names": [code]},
    ):
        try:
            recipe = load_recipe(write(tmp_path, yaml.safe_dump({"step0": text})))
            recipe.steps[0].bconfig.activation_pre_process()
        except BnnError:
            pass
    assert not marker.exists()


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(
        RecipeError, match=r"there is no file .*has one of this name: use 'xnor-net'"
    ):
        load_recipe("../recepies/xnor-net.yaml")
    with pytest.raises(
        RecipeError,
        match=r"there is no recipe 'xnornet'.*Did you mean 'xnor-net'\?.*Packaged recipes",
    ):
        load_recipe("xnornet")
    with pytest.raises(RecipeError, match="directory"):
        load_recipe(tmp_path)
    with pytest.raises(RecipeError, match="got a int"):
        load_recipe(3)


class Mine(nn.Module):
    def __init__(self, gain=1.0):
        super().__init__()


def test_user_modules_by_class_and_by_name():
    content = {"step0": {"weight": {"name": "Mine", "args": {"gain": 2.0}}}}
    with pytest.raises(RecipeError, match="Pass classes of your own as user_modules"):
        load_recipe(content)
    for user_modules in ([Mine], (Mine,), {"Mine": Mine}):
        factory = load_recipe(content, user_modules).steps[0].bconfig.weight_pre_process
        assert isinstance(factory(), Mine)
    with pytest.raises(RecipeError, match="Mine has no argument 'Gain'.*Did you mean 'gain'"):
        load_recipe({"step0": {"weight": {"name": "Mine", "args": {"Gain": 2}}}}, [Mine])


def test_user_modules_that_cannot_be_used():
    with pytest.raises(ConfigError, match="must be a class of nn.Module"):
        load_recipe({"s": {}}, ["Mine"])
    with pytest.raises(ConfigError, match="a name that bnn.ops has already"):
        load_recipe({"s": {}}, {"BasicInputBinarizer": Mine})
    assert load_recipe({"s": {}}, [BasicInputBinarizer]).steps


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=300)
@given(
    content=st.dictionaries(
        st.sampled_from(["step0", "step1", "description"]),
        st.dictionaries(
            st.sampled_from(
                ["pre_activation", "post_activation", "weight", "ignore_layer_names", "epochs", "x"]
            ),
            PLAIN | st.fixed_dictionaries({"name": st.just("XNORWeightBinarizer"), "args": PLAIN}),
            max_size=3,
        )
        | PLAIN,
        max_size=3,
    )
)
def test_any_content_is_a_recipe_or_a_recipe_error(content):
    try:
        recipe = load_recipe(content)
    except RecipeError as error:
        assert str(error).startswith("recipe: ")
    else:
        assert recipe.steps


@settings(max_examples=200)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_recipe_or_a_recipe_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(data)
    try:
        load_recipe(path)
    except RecipeError as error:
        assert "fuzz.yaml: " in str(error)

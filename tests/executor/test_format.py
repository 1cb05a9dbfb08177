"""What a recipe says about training: every key, wrong values, and files from before."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnn.config import BConfig
from bnn.errors import BnnError, RecipeError
from bnn.executor import load_recipe, packaged_recipes
from bnn.executor.keys import STEP_KEYS
from bnn.ops import BasicInputBinarizer, BasicScaleBinarizer, XNORWeightBinarizer
from bnn.training import TrainConfig
from bnn.training.plan import plan_steps

FULL = """
description: All keys.
data: cifar10
enlarge_to: 32
model: {name: resnet20, args: {width: 8}, elsewhere: {name: resnet8}}
warm:
  epochs: 10
  schedule: {name: linear}
main:
  only_binary: false
  pre_activation: {name: BasicInputBinarizer}
  weight: {name: XNORWeightBinarizer}
  ignore_layer_names: [_first_, _last_]
  ignore_if_present: [$downsample$]
  initialise_from: {step: warm}
  epochs: 100
  batch_size: 256
  learning_rate: 5e-4
  weight_decay: 1e-5
  optimizer:
    - {claims: binary_weights, name: bop, args: {gamma: 1e-4, nested: [1e-3, {deep: 1E+2}]}}
    - {name: adam, learning_rate: 1e-3, weight_decay: 0}
  schedule: {name: cosine, warmup_epochs: 5, args: {}}
  losses:
    - {name: cross_entropy, args: {label_smoothing: 0.1}}
    - {name: logit_kd, weight: 0.5}
  teacher: {step: warm}
  clip_gradients: 5
  clamp_latent: 1.5
  ema: 0.999
  reestimate_batch_norm: 20
"""


def write(tmp_path, text, name="mine.yaml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_reads_every_key(tmp_path):
    recipe = load_recipe(write(tmp_path, FULL))
    assert (recipe.data, recipe.enlarge_to) == ("cifar10", 32)
    assert recipe.model == {
        "name": "resnet20",
        "args": {"width": 8},
        "elsewhere": {"name": "resnet8"},
    }
    assert (recipe.file, recipe.folder) == ("mine.yaml", tmp_path)
    warm, main = recipe.steps
    assert warm.schedule == {"name": "linear"}
    assert main.initialise_from == main.teacher == {"step": "warm"}
    assert (main.batch_size, main.learning_rate, main.weight_decay) == (256, 5e-4, 1e-5)
    bop, adam = main.optimizer
    # YAML reads 1e-4, without a dot, as text.
    assert bop["args"] == {"gamma": 1e-4, "nested": [1e-3, {"deep": 100.0}]}
    assert adam == {"name": "adam", "learning_rate": 1e-3, "weight_decay": 0}
    assert main.schedule == {"name": "cosine", "warmup_epochs": 5, "args": {}}
    assert [loss["name"] for loss in main.losses] == ["cross_entropy", "logit_kd"]
    assert main.losses[1]["weight"] == 0.5
    assert (main.clip_gradients, main.clamp_latent, main.ema) == (5, 1.5, 0.999)
    assert main.reestimate_batch_norm == 20
    said = FULL.split("main:")[1]
    missing = [key for key in STEP_KEYS if f" {key}:" not in said]
    assert missing == ["post_activation"], "this test does not read every key"


def test_the_whole_round_trips_through_json(tmp_path):
    recipe = load_recipe(write(tmp_path, FULL))
    again = load_recipe(json.loads(json.dumps(recipe.as_dict())))
    assert again.steps == recipe.steps
    assert (again.data, again.model) == (recipe.data, recipe.model)
    assert again.as_dict() == recipe.as_dict()


def test_one_optimizer_needs_no_list():
    (step,) = load_recipe({"s": {"optimizer": {"name": "sgd"}}}).steps
    assert step.optimizer == ({"name": "sgd"},)


OPTIMIZER = "s: {optimizer: %s}"
TEACHER = "a: {}\ns: {teacher: %s}"
WRONG = {
    OPTIMIZER % "adam": r"s.optimizer: must be a mapping or a list of at least one map.*'adam'",
    OPTIMIZER % "[]": "s.optimizer: must be a mapping or a list of at least one",
    OPTIMIZER % "{}": "s.optimizer: 'name' is missing. Keys: claims, name, args, learning_rate",
    OPTIMIZER % "[{name: adam}, {claims: rest}]": r"s.optimizer\[1\]: 'name' is missing",
    OPTIMIZER % "[{name: adam}, [1]]": r"s.optimizer\[1\]: must be a mapping, got \[1\]",
    OPTIMIZER % "{name: 3}": "s.optimizer.name: must be text, got 3",
    OPTIMIZER % "{nam: adam}": r"s.optimizer: unknown key 'nam'. Did you mean 'name'\?",
    OPTIMIZER % "{name: a, learning_rate: 0}": "s.optimizer.learning_rate: must be a number > 0",
    OPTIMIZER % "{name: a, args: [1]}": r"s.optimizer.args: must be a mapping, got \[1\]",
    "s: {schedule: cosine}": "s.schedule: must be a mapping, got 'cosine'",
    "s: {schedule: {warmup_epochs: 5}}": "s.schedule: 'name' is missing",
    "s: {schedule: {name: c, warmup_epochs: -1}}": "s.schedule.warmup_epochs: must be a number >=",
    "s: {losses: cross_entropy}": "s.losses: must be a list of at least one mapping, got 'cross",
    "s: {losses: {name: cross_entropy}}": "s.losses: must be a list of at least one mapping",
    "s: {losses: []}": "s.losses: must be a list",
    "s: {losses: [{name: a, weight: 0}]}": r"s.losses\[0\].weight: must be a number > 0, got 0",
    "s: {losses: [{name: a, weigth: 1}]}": r"losses\[0\]: unknown key 'weigth'. Did you mean 'weig",
    TEACHER % "resnet34": "s.teacher: must be a mapping, got 'resnet34'",
    TEACHER % "{}": "s.teacher: give exactly one of step, checkpoint, torchvision, model; got {}",
    TEACHER % "{step: a, checkpoint: b}": "s.teacher: give exactly one of step, checkpoint",
    TEACHER % "{step: a, weights: b}": "s.teacher: unknown key 'weights'. Allowed: step",
    TEACHER % "{model: a, epoch: 2}": r"s.teacher: unknown key 'epoch'. Did you mean 'epochs'\?",
    TEACHER % "{step: s}": "s.teacher.step: no earlier step 's'. Earlier steps: a",
    TEACHER % "{step: b}": "s.teacher.step: no earlier step 'b'",
    TEACHER % "{step: [a]}": r"s.teacher.step: must be text, got \['a'\]",
    "a: {teacher: {step: s}}\ns: {}": "a.teacher.step: no earlier step 's'. Earlier steps: none",
    "a: {initialise_from: {step: a}}": "a.initialise_from.step: no earlier step 'a'",
    "a: {initialise_from: {model: b}}": "a.initialise_from: unknown key 'model'",
    "a: {initialise_from: b.ckpt}": "a.initialise_from: must be a mapping, got 'b.ckpt'",
    "a: {initialize_from: {step: b}}": r"a: unknown key 'initialize_from'. Did you mean 'initialis",
    TEACHER % "{checkpoint: ''}": "s.teacher.checkpoint: must be the path of a file, got ''",
    TEACHER % ('{checkpoint: "a' + chr(92) + '0"}'): "s.teacher.checkpoint: must be the path",
    TEACHER % ("{checkpoint: " + "a" * 300 + "}"): r"must be the path of a file, got 'aaa+\.\.\.\.",
    "s: {epochs: 1e300}": "s.epochs: must be a number >= 1 and < 2.14748e.09, got '1e300'",
    "s: {batch_size: 0}": "s.batch_size: must be a number >= 1",
    "s: {clip_gradients: 0}": "s.clip_gradients: must be a number > 0, got 0",
    "s: {clamp_latent: -1}": "s.clamp_latent: must be a number > 0, got -1",
    "s: {ema: 1}": "s.ema: must be a number > 0 and < 1, got 1",
    "s: {ema: 0}": "s.ema: must be a number > 0 and < 1, got 0",
    "s: {ema: yes}": "s.ema: must be a number > 0 and < 1, got True",
    "s: {reestimate_batch_norm: true}": "s.reestimate_batch_norm: must be a number >= 1, got True",
    "s: {reestimate_batch_norm: 1.5}": "s.reestimate_batch_norm: must be a whole number, got 1.5",
    "s: {}\nmodel: resnet18": "model: must be a mapping, got 'resnet18'",
    "s: {}\nmodel: {args: {}}": "model: 'name' is missing. Keys: name, args, elsewhere",
    "s: {}\ndata: [digits]": r"data: must be text, got \['digits'\]",
    "s: {}\nsmoke: 3": "smoke: must be a mapping, got 3",
    "s: {}\nsmoke: {t: {}}": r"smoke: unknown key 't'. Allowed: model, epochs, .*, s\.",
    "s: {}\nsmoke: {epochs: 0}": "smoke.epochs: must be a number >= 1, got 0",
    "s: {}\nsmoke: {s: {epoch: 1}}": r"smoke.s: unknown key 'epoch'. Did you mean 'epochs'\?",
    "s: {}\nsmoke: {weight: {name: XNORWeightBinarizer}}": "smoke: is the small variant of the",
}


@pytest.mark.parametrize("text", WRONG, ids=lambda text: repr(text[:60]))
def test_a_wrong_value_is_named_with_file_step_and_key(tmp_path, text):
    with pytest.raises(RecipeError, match=WRONG[text]) as caught:
        load_recipe(write(tmp_path, text))
    assert str(caught.value).startswith("mine.yaml: ")
    assert "\n" not in str(caught.value)


# ---- the small variant


def test_smoke_keeps_every_step_and_loss_and_shortens_the_rest(tmp_path):
    text = FULL + (
        "smoke:\n  model: {name: resnet8, args: {width: 4}}\n  epochs: 2\n  batch_size: 128\n"
        "  learning_rate: 0.5\n  main: {epochs: 3, learning_rate: 0.25, reestimate_batch_norm: 2}\n"
    )
    whole, small = (load_recipe(write(tmp_path, text), smoke=smoke) for smoke in (False, True))
    assert [step.name for step in small.steps] == [step.name for step in whole.steps]
    assert [step.epochs for step in small.steps] == [2, 3]
    assert [step.batch_size for step in small.steps] == [128, 128]
    assert [step.learning_rate for step in small.steps] == [0.5, 0.25]
    assert small.steps[1].reestimate_batch_norm == 2
    for key in ("bconfig", "losses", "teacher", "optimizer", "ema"):
        assert getattr(small.steps[1], key) == getattr(whole.steps[1], key), key
    assert small.steps[1].schedule["warmup_epochs"] == pytest.approx(5 / 100 * 2)
    assert small.model == {"name": "resnet8", "args": {"width": 4}}
    assert load_recipe(small.as_dict()).steps == small.steps


def test_smoke_shortens_a_teacher_that_is_trained_first():
    teacher = {"model": "resnet8", "epochs": 90}
    content = {"s": {"teacher": teacher}, "smoke": {"epochs": 2}}
    assert load_recipe(content, smoke=True).steps[0].teacher == {**teacher, "epochs": 2}
    assert load_recipe(content).steps[0].teacher == teacher


def test_without_a_smoke_part_each_step_has_one_epoch():
    assert load_recipe({"s": {"epochs": 9}}, smoke=True).steps[0].epochs == 1


@pytest.mark.parametrize("name", packaged_recipes())
def test_packaged_recipes_have_a_small_variant(name):
    whole, small = load_recipe(name), load_recipe(name, smoke=True)
    assert len(whole.steps) == len(small.steps)
    for step, short in zip(whole.steps, small.steps, strict=True):
        assert [loss["name"] for loss in step.losses] == [loss["name"] for loss in short.losses]
        assert step.bconfig == short.bconfig
        assert short.epochs <= 20


# ---- files from before the format grew

OLD = {path.stem: path.read_text() for path in sorted(Path(__file__).parent.glob("old/*.yaml"))}


@pytest.mark.parametrize("name", OLD)
def test_recipes_of_the_first_release_mean_the_same(tmp_path, name):
    recipe = load_recipe(write(tmp_path, OLD[name], f"{name}.yaml"))
    expected = {"imagenet-baseline": 2, "two-step": 2, "xnor-net": 1, "xnor-net-plus-plus": 1}
    assert len(recipe.steps) == expected[name]
    for index, step in enumerate(recipe.steps):
        assert step.ignore_layer_names == ("_first_", "_last_")
        assert step.optimizer == step.losses == ()
        assert step.teacher is step.schedule is step.initialise_from is step.ema is None
        assert recipe.line(index) == tuple(range(index + 1))
    assert [step.weight_decay for step in recipe.steps] == {
        "imagenet-baseline": [1e-5, 0],
        "two-step": [1e-5, 0],
    }.get(name, [None])
    assert [step.bconfig for step in recipe.steps] == {
        "xnor-net": [
            BConfig(
                BasicInputBinarizer,
                weight_pre_process=XNORWeightBinarizer.with_args(
                    compute_alpha=True, center_weights=True
                ),
            )
        ],
        "xnor-net-plus-plus": [
            BConfig(
                BasicInputBinarizer,
                BasicScaleBinarizer,
                XNORWeightBinarizer.with_args(compute_alpha=False, center_weights=False),
            )
        ],
    }.get(name, [step.bconfig for step in load_recipe(name).steps])


# ---- any content

TEXTS = st.sampled_from(["adam", "bop", "rest", "cosine", "step", "s", "logit_kd", "resnet8", ""])
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "args", "weight", "claims", "step", "model", "checkpoint"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
STEP = st.dictionaries(st.sampled_from(sorted(STEP_KEYS)), PLAIN, max_size=3)


@settings(max_examples=400, deadline=None)
@given(
    content=st.fixed_dictionaries(
        {"s": STEP, "t": STEP},
        optional={"smoke": PLAIN | STEP, "data": PLAIN, "model": PLAIN, "name": PLAIN},
    ),
    smoke=st.booleans(),
)
def test_any_content_makes_plans_or_one_line_of_error(content, smoke):
    try:
        recipe = load_recipe(content, smoke=smoke)
        plans = plan_steps(TrainConfig(smoke=smoke, recipe="recipe"), recipe)
    except BnnError as error:
        assert "\n" not in str(error)
    else:
        assert [plan.name for plan in plans] == [step.name for step in recipe.steps]
        assert all(plan.epochs >= 1 for plan in plans)

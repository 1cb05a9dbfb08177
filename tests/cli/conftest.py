"""Fixtures: run ``bnn`` in this process, or as its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from bnn.cli import main

ANSI = "\x1b["


@dataclass(frozen=True)
class Ran:
    """What one command left behind."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture
def bnn(capsys, monkeypatch):
    """Return ``bnn("models", "--json") -> Ran``; nothing may leak a traceback or a colour."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("BNN_DEBUG", raising=False)

    def run(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        for stream in captured:
            assert "Traceback" not in stream
            assert ANSI not in stream
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture
def fails(bnn):
    """Return a function that checks the form of a failure and gives its message."""

    def run(*arguments, code):
        ran = bnn(*arguments)
        assert ran.code == code, ran.stderr
        assert ran.stdout == ""
        assert ran.stderr.startswith("error: "), ran.stderr
        assert len(ran.stderr.splitlines()) <= 4
        assert "defect of bnn" not in ran.stderr
        return ran.stderr

    return run


@pytest.fixture
def process(tmp_path):
    """Return a function that runs a shell line in ``tmp_path``; ``bnn`` is this checkout's."""
    binaries = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "80",
    }
    environment.pop("BNN_DEBUG", None)

    def run(line, **variables):
        done = subprocess.run(
            ["/bin/bash", "-o", "pipefail", "-c", line],
            cwd=tmp_path,
            env={**environment, **variables},
            capture_output=True,
            text=True,
            timeout=120,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def train_arguments():
    """Arguments of the one real training run that all tests share."""
    options = "--recipe two-step --epochs 1 --lr 1e-2 --model-arg width=8 --batch-size 128"
    return ("train", *options.split())


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory, train_arguments):
    """That run, as its own process: what it wrote to both streams."""
    out = tmp_path_factory.mktemp("cli") / "run"
    done = subprocess.run(
        [sys.executable, "-m", "bnn.cli", *train_arguments, "--out", str(out), "--json"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "COLUMNS": "80", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return Ran(0, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def trained(trained_run):
    """Its folder."""
    return Path(json.loads(trained_run.stdout)["checkpoint"]).parent


@pytest.fixture(scope="session")
def net(trained, tmp_path_factory):
    """The trained run, packed."""
    path = tmp_path_factory.mktemp("packed") / "net.bnn"
    assert main(["pack", str(trained), "--out", str(path)]) == 0
    return path

"""Larq Compute Engine, in the environment that ``make .venv-larq/.ready`` builds."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-larq" / "bin" / "python"
INSTALL = "make .venv-larq/.ready"
FOLDER = ROOT / "build" / "zoo-bench"
SERVER = (str(PYTHON), "-m", "benchmarks.zoo_bench.lce_server")
XNNPACK = {"LCE": False, "LCE, XNNPACK": True}
"""Name -> whether its float layers are XNNPACK's. Its binary ones are the indirect BGEMM."""

THEIRS = {
    "quicknet_small": "QuickNetSmall",
    "quicknet": "QuickNet",
    "birealnet18": "BiRealNet",
}


class LceError(Exception):
    """It did not do what was asked for."""


def installed() -> str | None:
    """Return its version, or None."""
    names = [path.name for path in PYTHON.parents[1].glob("lib/*/site-packages/larq_compute*info")]
    return names[0].split("-")[1].removesuffix(".dist") if names else None


def convert(name: str) -> tuple[Path, float]:
    """Return the file of one of Larq Zoo's networks, and how far its logits are from Keras's."""
    if installed() is None:
        raise LceError(f"its environment is absent: {INSTALL}")
    file = FOLDER / f"{name}.tflite"
    done = subprocess.run(  # noqa: S603 - our own code
        [*SERVER, "convert", name, str(file)],
        **_process(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LceError(f"{name}: {done.stderr.strip().splitlines()[-1]}")
    return file, float(json.loads(done.stdout.splitlines()[-1])["distance"])


class Server:
    """A process that runs a network when it is asked to, on the CPUs of the thread that starts it.

    Args:
        file: Where :func:`convert` has put the network.
        threads: How many it uses.
        xnnpack: Whether XNNPACK computes its float layers.
    """

    def __init__(self, file: Path, threads: int, xnnpack: bool) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own code
            [*SERVER, "serve", str(file), str(threads), str(xnnpack)],
            **_process(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        given, taken = self._process.stdin, self._process.stdout
        assert given is not None and taken is not None  # noqa: S101, PT018 - pipes
        self._given, self._taken = given, taken
        self._answer()  # that it is ready

    def measure(self, seconds: float) -> Sequence[float]:
        """Return the seconds of each of the calls that fit into so many."""
        self._given.write(f"{seconds}\n")
        self._given.flush()
        times: list[float] = json.loads(self._answer())
        return times

    def close(self) -> int:
        """End the process, and return its exit status."""
        self._given.close()  # with which it ends
        self._taken.close()
        return self._process.wait()

    def _answer(self) -> str:
        line = self._taken.readline()
        if not line:
            raise LceError(f"the interpreter ended with {self.close()}")
        return line


def _process() -> dict[str, Any]:
    return {"cwd": ROOT, "env": {**os.environ, "TF_USE_LEGACY_KERAS": "1"}}

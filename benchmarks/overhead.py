"""What bnn itself costs: importing it, and converting 10,000 layers.

python -m benchmarks.overhead [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from torch import nn

from benchmarks.machine import describe
from bnn import BConfig, conversion_report, prepare_binary_model
from bnn.ops import BasicInputBinarizer, BasicScaleBinarizer, XNORWeightBinarizer

LAYERS = 10_000
CONFIG = BConfig(BasicInputBinarizer, BasicScaleBinarizer, XNORWeightBinarizer)
IMPORT = """
import time, torch
start = time.perf_counter()
import bnn
for name in bnn.__all__:
    getattr(bnn, name)  # names are looked up when first used
print(time.perf_counter() - start)
"""


def import_seconds() -> float:
    """Import bnn, and use each name, in a fresh process that has imported torch."""
    command = [sys.executable, "-c", IMPORT]
    done = subprocess.run(command, capture_output=True, check=True)  # noqa: S603 - our own code
    return float(done.stdout)


def conversion_seconds() -> float:
    """Convert 10,000 convolutions, each to three stages with a learnt scale."""
    model = nn.Sequential(*(nn.Conv2d(4, 4, 1) for _ in range(LAYERS)))
    start = time.perf_counter()
    prepare_binary_model(model, CONFIG)
    seconds = time.perf_counter() - start
    if len(conversion_report(model).converted) != LAYERS:
        raise RuntimeError("not every layer was converted")
    return seconds


def measure(run: Callable[[], float], repetitions: int) -> dict[str, float]:
    """Return minimum and median, in seconds, after one run that does not count."""
    run()
    times = [run() for _ in range(repetitions)]
    return {"minimum_s": min(times), "median_s": statistics.median(times), "runs": repetitions}


def main() -> None:
    """Measure, print and, where asked, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    machine = describe()
    results = {
        "import all of bnn, after torch": measure(import_seconds, 10),
        f"convert {LAYERS:,} layers": measure(conversion_seconds, 7),
    }
    print(f"cpu     {machine['cpu']}, {machine['isa']}, {machine['cores']} cores")
    print(f"build   bnn {machine['bnn']}, torch {machine['torch']}, Python {machine['python']}\n")
    print(f"{'':28}{'minimum s':>12}{'median s':>12}")
    for name, row in results.items():
        print(f"{name:28}{row['minimum_s']:12.3f}{row['median_s']:12.3f}")
    if arguments.json:
        document = {
            "command": "python -m benchmarks.overhead",
            "machine": machine,
            "results": results,
        }
        arguments.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()

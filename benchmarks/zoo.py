"""Published binary networks: packed, emulated, and beside Larq Compute Engine.

    python -m benchmarks.zoo [--threads 1 2] [--models PATTERN] [--json FILE]

Each is checked first. The parts are in zoo_bench/. Larq Compute Engine runs if its environment is
there: make zoo-bench builds it.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.zoo_bench import lce_peer, report
from benchmarks.zoo_bench.measure import Bench, published
from benchmarks.zoo_bench.targets import targets
from bnn.packed import runtime


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the benchmark and return its report."""
    absent: dict[str, str] = {}
    found: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "benchmarks.zoo", *arguments.given]),
        "machine": machine.describe(),
        "isa": runtime.ISAS[runtime.isa()],
        "threads": arguments.threads,
        "seconds": arguments.seconds,
        "load_average": os.getloadavg()[0],
        "lce": {
            "version": lce_peer.installed(),
            "install": lce_peer.INSTALL,
            "distances": {},
            "absent": absent,
        },
        "networks": [],
        "rows": [],
    }
    for name in published():
        if not re.search(arguments.models, name):
            continue
        print(name, file=sys.stderr)
        file = None
        if name in lce_peer.THEIRS and arguments.lce:
            try:
                file, found["lce"]["distances"][name] = lce_peer.convert(lce_peer.THEIRS[name])
            except lce_peer.LceError as error:
                absent[name] = str(error)
        bench = Bench(name)
        found["networks"].append(bench.facts)
        for threads in arguments.threads:
            found["rows"].append(bench.measure(threads, arguments.seconds, file))
    return found


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    made.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    made.add_argument("--models", default="", help="a regular expression on their names")
    made.add_argument(
        "--seconds", type=float, default=3.0, help="for each network and number of threads"
    )
    made.add_argument("--no-lce", dest="lce", action="store_false", help="leave out LCE")
    made.add_argument("--json", type=Path, help="write the report here, and beside it as .md")
    return made


def main(given: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 if every target that it could measure was reached."""
    given = sys.argv[1:] if given is None else given
    arguments = parser().parse_args(given)
    arguments.given = given
    found = measure(arguments)
    return report.page(found, targets(found)).publish(found, arguments.json)


if __name__ == "__main__":
    sys.exit(main())

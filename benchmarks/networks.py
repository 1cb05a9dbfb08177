"""Whole networks: packed, emulated and in float, beside torch.compile and OpenVINO.

    python -m benchmarks.networks [--threads N] [--batch 1 8] [--networks PATTERN] [--json FILE]

Each result is checked first. The parts are in network_bench/. One run has one number of threads,
since torch.compile's code and OpenVINO's have it built in: start it again for another.
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

import torch

from benchmarks import machine
from benchmarks.kernel_bench import openvino_peer
from benchmarks.network_bench import chart, openvino_nets, report
from benchmarks.network_bench.measure import COMPILED, INT8, OPENVINO, Bench
from benchmarks.network_bench.nets import NETWORKS
from benchmarks.network_bench.targets import targets
from bnn.packed import runtime

LEFT_OUT = {"--no-openvino": (OPENVINO, INT8), "--no-int8": (INT8,), "--no-compile": (COMPILED,)}


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the benchmark and return its report."""
    chosen = re.compile(arguments.networks)
    found: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "benchmarks.networks", *arguments.given]),
        "machine": machine.describe(),
        "isa": runtime.ISAS[runtime.isa()],
        "threads": arguments.threads,
        "seconds": arguments.seconds,
        "load_average": os.getloadavg()[0],
        "openvino": {"version": openvino_peer.installed(), "install": openvino_peer.INSTALL},
        "nncf": {"version": openvino_nets.nncf_version(), "install": openvino_nets.NNCF_INSTALL},
        "networks": [],
        "rows": [],
    }
    for network in NETWORKS:
        if not chosen.search(network.name):
            continue
        print(network.name, file=sys.stderr)
        bench = Bench(network, arguments.threads, arguments.without)
        found["networks"].append(bench.facts)
        for batch in arguments.batch:
            print(f"  batch {batch}", file=sys.stderr)
            found["rows"].append(bench.measure(batch, arguments.seconds))
    return found


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    made.add_argument("--networks", default="", help="a regular expression on their names")
    made.add_argument("--seconds", type=float, default=20.0, help="for each network and batch")
    for option, names in LEFT_OUT.items():
        words = " and ".join(names)
        made.add_argument(option, action="store_true", help=f"leave out {words}")
    made.add_argument("--json", type=Path, help="write the report here, and beside it as .md")
    made.add_argument("--chart", type=Path, help="draw the report's bars into this PNG")
    return made


def main(given: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 if every target that it could measure was reached."""
    given = sys.argv[1:] if given is None else given
    arguments = parser().parse_args(given)
    arguments.given = given
    options = vars(arguments)
    arguments.without = {
        name
        for option, names in LEFT_OUT.items()
        if options[option.strip("-").replace("-", "_")]
        for name in names
    }
    torch.set_num_threads(arguments.threads)
    runtime.set_num_threads(arguments.threads)
    found = measure(arguments)
    if arguments.chart:
        chart.draw(found, arguments.chart)
    return report.page(found, targets(found)).publish(found, arguments.json)


if __name__ == "__main__":
    sys.exit(main())

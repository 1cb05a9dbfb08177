"""The native kernels against OpenVINO, torch and the machine's roof, layer by layer.

    python -m benchmarks.kernels [--threads N] [--isa NAME] [--layers PATTERN] [--json FILE]

Each result is checked first. The parts are in kernel_bench/.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks import machine
from benchmarks.kernel_bench import openvino_peer, ours, report
from benchmarks.kernel_bench.layers import LAYERS, PACK, WEIGHT_ONLY, Layer, Problem
from benchmarks.kernel_bench.roof import Roof
from benchmarks.kernel_bench.targets import targets
from benchmarks.kernel_bench.timing import interleave
from bnn.packed import runtime

DISTURBED = 1.5  # a median of so many minima

Competitors = dict[str, Callable[[], object]]
Row = dict[str, Any]


def measure_layer(layer: Layer, threads: int, seconds: float, with_openvino: bool) -> Row:
    """Return the times of one layer, ours and the peers'."""
    problem = Problem(layer)
    mine = ours.Ours(problem)
    run: Competitors = {
        "ours": mine.float_to_float(),
        "bits": mine.bits_to_bits(),
        "functional": mine.through_functional(),
        "torch fp32": ours.torch_fp32(problem),
    }
    why_not = "absent"
    if with_openvino:
        try:
            run["openvino"] = openvino_peer.openvino(problem, threads)
            why_not = ""
            if layer.padding:
                run["ours, pad -1"] = mine.float_to_float(pad_value=-1)
                run["openvino, pad -1"] = openvino_peer.openvino(problem, threads, pad_value=-1)
        except openvino_peer.UnfitError as error:
            why_not = str(error)
    prepare: Competitors = {}
    if threads > 1:
        run["1 thread"] = run["ours"]
        prepare = {name: lambda: runtime.set_num_threads(threads) for name in run}
        prepare["1 thread"] = lambda: runtime.set_num_threads(1)
    times = interleave(run, seconds, prepare)
    return {
        "layer": layer.name,
        "operations": layer.operations,
        "kernel": mine.kernel,
        "openvino": why_not,
        "times": {name: asdict(time) for name, time in times.items()},
    }


def measure_pack(layer: Layer, seconds: float) -> Row:
    """Return the time of packing the layer's input."""
    problem = Problem(layer)
    times = interleave({"pack": ours.Ours(problem).check_pack()}, seconds)
    gigabytes = problem.x.nbytes / times["pack"].minimum_us / 1e3
    return {"layer": layer.name, "times": {"pack": asdict(times["pack"])}, "gigabytes": gigabytes}


def measure_weight_only(layer: Layer, seconds: float) -> Row:
    """Return the time of float activations with 1-bit weights, and torch's."""
    problem = Problem(layer)
    run = {
        "weight-only": ours.Ours(problem).weight_only(),
        "torch fp32": ours.torch_fp32(problem),
    }
    times = interleave(run, seconds)
    least = times["weight-only"].minimum_us
    return {
        "layer": layer.name,
        "times": {name: asdict(time) for name, time in times.items()},
        "gflops": layer.operations / least / 1e3,
        "x_torch": times["torch fp32"].minimum_us / least,
    }


def compare(row: Row, roof: float) -> None:
    """Add the ratios to a layer's row."""
    least = {name: times["minimum_us"] for name, times in row["times"].items()}

    def times_faster(peer: str, than: str = "ours") -> float | None:
        return least[peer] / least[than] if peer in least and than in least else None

    for prefix, name in (("", "ours"), ("bits_", "bits")):
        row[prefix + "gbops"] = row["operations"] / least[name] / 1e3
        row[prefix + "roof_share"] = row[prefix + "gbops"] / roof
    row["x_torch"] = times_faster("torch fp32")
    row["functional_x_torch"] = times_faster("torch fp32", "functional")
    row["x_openvino"] = times_faster("openvino")
    row["x_openvino_pad"] = times_faster("openvino, pad -1", "ours, pad -1")
    row["x_one_thread"] = times_faster("1 thread")
    spread = [t["median_us"] / t["minimum_us"] for t in row["times"].values()]
    row["disturbed"] = max(spread) > DISTURBED


def measure(arguments: argparse.Namespace) -> Row:
    """Run the benchmark and return its report."""
    chosen = re.compile(arguments.layers)
    openvino = openvino_peer.installed() if arguments.openvino else None
    roof = Roof(arguments.threads)
    found: Row = {
        "command": shlex.join(["python", "-m", "benchmarks.kernels", *arguments.given]),
        "machine": machine.describe(),
        "isa": runtime.ISAS[runtime.isa()],
        "threads": arguments.threads,
        "seconds": arguments.seconds,
        "load_average": os.getloadavg()[0],
        "openvino": {"version": openvino, "install": openvino_peer.INSTALL},
    }
    if arguments.isa == "avx2" and openvino:
        found["openvino"]["probe"] = openvino_peer.probe()
    found["layers"] = []
    for layer in LAYERS:
        if chosen.search(layer.name):
            print(layer.name, file=sys.stderr)
            roof.measure()
            row = measure_layer(layer, arguments.threads, arguments.seconds, bool(openvino))
            found["layers"].append(row)
    for row in found["layers"]:
        compare(row, roof.gbops)
    runtime.set_num_threads(arguments.threads)
    found["roof"] = {"gbops": roof.gbops, "statement": roof.statement}
    short = arguments.seconds / 4
    found["pack"] = [measure_pack(la, short) for la in PACK if chosen.search(la.name)]
    found["weight_only"] = [
        measure_weight_only(la, short) for la in WEIGHT_ONLY if chosen.search(la.name)
    ]
    return found


def limited(isa: str) -> Mapping[str, str]:
    """Return the environment in which the peers have the same instruction set, if they can."""
    limits = openvino_peer.LIMITS if isa == "avx2" else {}
    return {**limits, "BNN_ISA": isa}


def main(given: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 if every target that it could measure was reached."""
    given = sys.argv[1:] if given is None else given
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--isa", choices=runtime.ISAS, help="instead of this CPU's best")
    parser.add_argument("--layers", default="", help="a regular expression on their names")
    parser.add_argument("--seconds", type=float, default=2.5, help="for each layer")
    parser.add_argument("--no-openvino", dest="openvino", action="store_false")
    parser.add_argument("--json", type=Path, help="write the report here, and beside it as .md")
    arguments = parser.parse_args(given)
    arguments.given = given
    if arguments.isa and any(os.environ.get(k) != v for k, v in limited(arguments.isa).items()):
        # Read when the libraries are loaded, so this process cannot change them.
        command = [sys.executable, "-m", "benchmarks.kernels", *given]
        environment = {**os.environ, **limited(arguments.isa)}
        return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603

    torch.set_num_threads(arguments.threads)
    runtime.set_num_threads(arguments.threads)
    with torch.no_grad():
        found = measure(arguments)
    return report.page(found, targets(found)).publish(found, arguments.json)


if __name__ == "__main__":
    sys.exit(main())

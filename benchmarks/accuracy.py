"""Float network against its binary version, for each packaged recipe.

    python -m benchmarks.accuracy [--data digits mnist5k] [--seeds 3] [--jobs 2] [--json FILE]

Every row has the same network, optimizer, schedule and number of epochs (recipes of several steps
share them); each seed has its own held-out split, start weights and order of data. First and last
layer stay float, all convolutions between are binary, and the shortcuts have no parameters.
Accuracy is that of the last epoch's weights: no epoch is chosen. The settings below were chosen on
split 101, which no row uses.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "digits": {"model_args": {"width": 24}, "epochs": 40, "learning_rate": 1e-2},
    # The basic stem's strides make the 28x28 images 7x7, which costs a tenth.
    "mnist5k": {
        "model_args": {"width": 32, "stem_type": "basic"},
        "epochs": 16,
        "learning_rate": 1e-2,
    },
}
TARGET = 1.5  # points that binary may lose


@dataclass(frozen=True)
class Job:
    """One training run."""

    data: str
    recipe: str | None
    seed: int


def run(job: Job) -> tuple[Job, float, float]:
    """Return the job, its held-out accuracy in percent and its seconds."""
    import torch

    from bnn.training import TrainConfig, fit
    from bnn.training.plan import plan_steps

    torch.set_num_threads(1)  # the jobs share the cores, and threads that wait spin
    settings = dict(SETTINGS[job.data])
    total = settings.pop("epochs")
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            data=job.data,
            recipe=job.recipe,
            seed=job.seed,
            split_seed=job.seed,
            weight_decay=0.0,
            out=str(Path(folder, "run")),
            **settings,
            epochs=1,
        )
        steps = len(plan_steps(config))
        config = TrainConfig.from_dict({**config.as_dict(), "epochs": total // steps})
        start = time.perf_counter()
        result = fit(config, progress=False)
        return job, 100 * result.test_accuracy, time.perf_counter() - start


def rows_of(results: Sequence[tuple[Job, float, float]]) -> list[dict[str, Any]]:
    """Return one row for each data set and recipe, in order, float first."""
    groups: dict[tuple[str, str | None], list[tuple[Job, float, float]]] = {}
    for result in results:
        groups.setdefault((result[0].data, result[0].recipe), []).append(result)
    rows = []
    for (data, recipe), group in groups.items():
        accuracies = [accuracy for _, accuracy, _ in group]
        base = statistics.mean(a for _, a, _ in groups[data, None])
        rows.append(
            {
                "data": data,
                "network": recipe or "float",
                "accuracy": statistics.mean(accuracies),
                "spread": statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0,
                "difference": statistics.mean(accuracies) - base,
                "accuracies": accuracies,
                "seconds": statistics.mean(seconds for *_, seconds in group),
            }
        )
    return rows


def table(report: Mapping[str, Any]) -> str:
    """Return the report as Markdown."""
    place = report["machine"]
    lines = [
        f"cpu     {place['cpu']}, {place['isa']}, {place['cores']} cores, 1 thread for each run  ",
        f"build   bnn {place['bnn']}, torch {place['torch']}, python {place['python']}  ",
        f"command `{report['command']}`",
        "",
        "| data | network | accuracy % | spread | against float | s per run |",
        "|---|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['data']} | {row['network']} | {row['accuracy']:.2f} | {row['spread']:.2f} "
        f"| {row['difference']:+.2f} | {row['seconds']:.0f} |"
        for row in report["rows"]
    ]
    lines += [
        "",
        f"Mean of {report['seeds']} seeds, each with its own held-out split; the spread is the "
        "standard deviation over them. The time is that of runs that share the machine.",
    ]
    for data, settings in report["settings"].items():
        lines.append(f"{data}: resnet8, {json.dumps(settings)}.")
    for data, best in report["best"].items():
        word = "within" if best["difference"] >= -TARGET else "NOT within"
        lines.append(
            f"{data}: best recipe {best['network']}, {best['difference']:+.2f} points, {word} the "
            f"target of {TARGET}."
        )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 if the best recipe meets the target on every data set."""
    from bnn.executor.recipe import packaged_recipes

    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path, help="write the report here, and beside it as .md")
    args = parser.parse_args(arguments)

    recipes: list[str | None] = [None, *packaged_recipes()]
    jobs = [Job(d, r, s) for d in args.data for r in recipes for s in range(args.seeds)]
    results = []
    with ProcessPoolExecutor(args.jobs) as pool:
        for done, result in enumerate(pool.map(run, jobs), 1):
            results.append(result)
            job, accuracy, seconds = result
            print(
                f"{done}/{len(jobs)} {job.data} {job.recipe or 'float'} seed {job.seed}: "
                f"{accuracy:.2f} % in {seconds:.0f} s",
                file=sys.stderr,
            )
    rows = rows_of(results)
    binary = {d: [r for r in rows if r["data"] == d and r["network"] != "float"] for d in args.data}
    report = {
        "machine": {**machine.describe(), "threads": 1},
        "command": "python -m benchmarks.accuracy " + " ".join(sys.argv[1:]),
        "seeds": args.seeds,
        "settings": {data: SETTINGS[data] for data in args.data},
        "rows": rows,
        "best": {d: max(found, key=lambda r: r["difference"]) for d, found in binary.items()},
    }
    print(table(report))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(report, indent=2) + "\n")
        text = f"# Accuracy, float against binary\n\n{table(report)}"
        args.json.with_suffix(".md").write_text(text)
    return 0 if all(best["difference"] >= -TARGET for best in report["best"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())

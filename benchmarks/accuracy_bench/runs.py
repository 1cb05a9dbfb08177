"""Training runs, each written down as soon as it has ended, so that a benchmark can go on later."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.accuracy_bench.methods import METHODS, SETTINGS, Method


@dataclass(frozen=True)
class Job:
    """One training run."""

    data: str
    method: str
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What a run gave.

    Args:
        data: As in the job.
        method: As in the job.
        seed: As in the job.
        accuracy: On the held-out images, in percent.
        seconds: Of the training.
        settings: What it was trained with; one of other settings is no longer valid.
    """

    data: str
    method: str
    seed: int
    accuracy: float
    seconds: float
    settings: Mapping[str, Any]


def settings_of(data: str, method: Method) -> dict[str, Any]:
    """Return everything that a run depends on but its seed, as plain data."""
    common = SETTINGS[data]
    return {**common, "model_args": {**common["model_args"], **method.model_args}} | {
        "recipe": method.recipe
    }


def train(job: Job) -> Outcome:
    """Train once, on one thread: the jobs share the cores, and threads that wait spin."""
    import torch

    from bnn.training import TrainConfig, fit
    from bnn.training.plan import plan_steps

    torch.set_num_threads(1)
    settings = settings_of(job.data, METHODS[job.method])
    values = {**settings, "recipe": None, "data": job.data}
    total = values.pop("epochs")
    with tempfile.TemporaryDirectory() as folder:
        if settings["recipe"] is not None:
            recipe = Path(folder, "recipe.yaml")
            recipe.write_text(json.dumps(settings["recipe"]))  # JSON is YAML
            values["recipe"] = str(recipe)
        values |= {"seed": job.seed, "split_seed": job.seed, "out": str(Path(folder, "run"))}
        steps = len(plan_steps(TrainConfig.from_dict(values)))
        config = TrainConfig.from_dict({**values, "epochs": total // steps})
        start = time.perf_counter()
        result = fit(config, progress=False)
        seconds = time.perf_counter() - start
    return Outcome(
        **asdict(job), accuracy=100 * result.test_accuracy, seconds=seconds, settings=settings
    )


def train_all(jobs: Sequence[Job], processes: int, kept: Path | None) -> list[Outcome]:
    """Train what ``kept`` does not hold yet, and return all in the order of the jobs.

    Args:
        jobs: What is wanted.
        processes: Runs at a time.
        kept: A file with a line of JSON for each run that has ended; it grows. None keeps nothing.
    """
    found = {_key(outcome): outcome for outcome in _read(kept)}
    wanted = [(job.data, job.method, job.seed, _text(job)) for job in jobs]
    left = [job for job, key in zip(jobs, wanted, strict=True) if key not in found]
    with ProcessPoolExecutor(processes) as pool:
        futures: list[Future[Outcome]] = [pool.submit(train, job) for job in left]
        for done, future in enumerate(as_completed(futures), 1):
            outcome = future.result()
            found[_key(outcome)] = outcome
            if kept is not None:
                with kept.open("a") as file:
                    file.write(json.dumps(asdict(outcome)) + "\n")
            print(
                f"{done}/{len(left)} {outcome.data} {outcome.method} seed {outcome.seed}: "
                f"{outcome.accuracy:.2f} % in {outcome.seconds:.0f} s",
                file=sys.stderr,
            )
    return [found[key] for key in wanted]


def _text(job: Job) -> str:
    return json.dumps(settings_of(job.data, METHODS[job.method]), sort_keys=True)


def _key(outcome: Outcome) -> tuple[str, str, int, str]:
    settings = json.dumps(outcome.settings, sort_keys=True)
    return outcome.data, outcome.method, outcome.seed, settings


def _read(kept: Path | None) -> Iterable[Outcome]:
    if kept is None or not kept.exists():
        return []
    return [Outcome(**json.loads(line)) for line in kept.read_text().splitlines()]

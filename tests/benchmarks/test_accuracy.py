"""The accuracy benchmark: its methods are recipes, its runs go on, its table adds up."""

import json

import pytest

from benchmarks.accuracy_bench import report, runs
from benchmarks.accuracy_bench.methods import METHODS, SETTINGS
from bnn.executor import load_recipe
from bnn.ops import binarizers

METHODS_OF_MORE_BITS = (("float", 99.0), ("dorefa-1w2a", 98.0), ("ternary", 97.0))


def outcome(data="digits", method="float", seed=0, accuracy=99.0):
    settings = runs.settings_of(data, METHODS[method])
    return runs.Outcome(data, method, seed, accuracy, 1.0, settings)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "float"])
def test_a_method_is_a_recipe_that_json_holds(name):
    recipe = json.loads(json.dumps(METHODS[name].recipe))
    assert len(load_recipe(recipe).steps) == len(METHODS[name].steps)
    assert METHODS[name].binarizers


def test_every_binarizer_is_compared():
    used = {
        stage["name"]
        for method in METHODS.values()
        for step in method.steps
        for key, stage in step.items()
        if key in ("pre_activation", "weight", "post_activation")
    }
    assert used == set(binarizers)


def test_rows_are_sorted_and_measured_against_float():
    rows = report.rows_of(
        [
            outcome(method="float", seed=0, accuracy=99.0),
            outcome(method="ste", seed=0, accuracy=96.0),
            outcome(method="rsign", seed=0, accuracy=97.0),
            outcome(method="float", seed=1, accuracy=98.0),
            outcome(method="ste", seed=1, accuracy=95.0),
            outcome(method="rsign", seed=1, accuracy=98.0),
        ]
    )
    assert [row["network"] for row in rows] == ["float", "rsign", "ste"]
    assert [row["difference"] for row in rows] == [0, -1, -3]
    assert [round(row["spread"], 3) for row in rows] == [0.707, 0.707, 0.707]
    assert report.best_of(rows)["digits"]["network"] == "rsign"


def test_the_best_method_has_one_bit():
    rows = report.rows_of(
        [outcome(method=name, accuracy=a) for name, a in METHODS_OF_MORE_BITS]
        + [outcome(method="ste", accuracy=96.0)]
    )
    assert report.best_of(rows)["digits"]["network"] == "ste"


@pytest.mark.parametrize(("points", "missed"), [(-0.7, []), (-0.8, ["mnist5k"])])
def test_the_target_is_of_the_best_method(points, missed):
    best = {"mnist5k": {"network": "ste", "difference": points}}
    assert report.missed({"best": best}) == missed


class InThisProcess:
    """Takes the place of the pool."""

    def __init__(self, *_args, **_options):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        return None

    def submit(self, function, job):
        future = runs.Future()
        future.set_result(function(job))
        return future


def test_runs_that_have_ended_are_not_repeated_unless_their_settings_changed(tmp_path, monkeypatch):
    trained = []

    def train(job):
        trained.append(job)
        return outcome(job.data, job.method, job.seed)

    monkeypatch.setattr(runs, "train", train)
    monkeypatch.setattr(runs, "ProcessPoolExecutor", InThisProcess)
    jobs = [runs.Job("digits", method, seed) for seed in (0, 1) for method in ("float", "ste")]
    kept = tmp_path / "kept.jsonl"
    runs.train_all(jobs[:3], 1, kept)
    found = runs.train_all(jobs, 1, kept)
    assert trained == jobs
    assert [(o.method, o.seed) for o in found] == [(job.method, job.seed) for job in jobs]
    other = {**SETTINGS, "digits": {**SETTINGS["digits"], "epochs": 3}}
    monkeypatch.setattr(runs, "SETTINGS", other)
    runs.train_all(jobs[:1], 1, kept)
    assert trained == [*jobs, jobs[0]]


def test_a_run_trains_what_the_method_says(monkeypatch):
    tiny = {"model_args": {"width": 4}, "epochs": 2, "learning_rate": 1e-2, "batch_size": 512}
    monkeypatch.setattr(runs, "SETTINGS", {"digits": tiny})
    found = runs.train(runs.Job("digits", "two-step", 3))
    assert (found.data, found.method, found.seed) == ("digits", "two-step", 3)
    assert 0 < found.accuracy <= 100
    assert found.settings == {**tiny, "recipe": METHODS["two-step"].recipe}

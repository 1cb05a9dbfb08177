"""The benchmark of training steps runs, checks gradients before it times, and counts all memory."""

import importlib
import json

import pytest
import torch
from torch import nn

from benchmarks.training_bench.report import MOST_MEMORY
from bnn.models import resnet8, resnet20


@pytest.fixture
def bench(monkeypatch, pytestconfig):
    """Import the benchmark; put back the number of threads that it sets."""
    import bnn

    before = torch.get_num_threads(), bnn.get_num_threads()
    monkeypatch.syspath_prepend(str(pytestconfig.rootpath))
    yield importlib.import_module("benchmarks.training")
    torch.set_num_threads(before[0])
    bnn.set_num_threads(before[1])


@pytest.fixture
def tiny(bench):
    return bench.Network("tiny", lambda: resnet8(width=16), (3, 16, 16), 4, 10)


def run_of(bench, network, name, layout="NHWC"):
    way = next(way for way in bench.WAYS if way.name == name)
    torch.manual_seed(0)
    model = way.prepare(network.make())
    x = torch.randn(network.batch, *network.image)
    return bench.Run(way, layout, model, x, torch.zeros(network.batch, dtype=torch.long))


def test_it_prints_and_writes_all_rows(bench, tiny, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bench, "NETWORKS", (tiny,))
    file = tmp_path / "training.json"
    bench.main(["--seconds", "0", "--json", str(file)])
    found = json.loads(file.read_text())
    assert len(found["results"]) == len(bench.WAYS) * len(bench.FORMATS)
    assert {row["runs"] for row in found["results"]} == {3}
    printed = capsys.readouterr().out
    for row in found["results"]:
        assert row["way"] in printed
    names = [row["method"] for row in found["methods"]]
    assert names == list(bench.method_configs())
    for row in found["methods"]:
        assert row["method"] in printed
        assert row["saved_ratio"] > 0
    wanted = {(target["what"], target["wanted"]) for target in found["targets"]}
    assert wanted == {("step, times float", 1.1), ("saved, times float", 0.6)}
    assert len(found["targets"]) == 2 * len({bench.FIT, bench.FIT_PRELU})
    page = file.with_suffix(".md").read_text()
    assert all(f"| {row['way']} | {row['format']} |" in page for row in found["results"])


def test_each_way_has_the_prelu_it_names(bench, tiny):
    for way in bench.WAYS:
        kinds = {type(m) for m in way.prepare(tiny.make()).modules() if isinstance(m, nn.PReLU)}
        assert kinds == {way.prelu}, way.name


def test_other_gradients_are_refused(bench, tiny, monkeypatch):
    runs = [run_of(bench, tiny, way.name, f) for way in bench.WAYS for f in bench.FORMATS]
    bench.check_gradients(runs)
    wrong = next(run for run in runs if run.way.name == bench.FIT)
    parameter = next(p for p in wrong.model.parameters() if p.dim() == 4)
    parameter.data.mul_(1.1)
    with pytest.raises(RuntimeError, match="gradient of"):
        bench.check_gradients(runs)


def test_what_is_kept_is_counted(bench):
    model = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.PReLU(4), nn.Flatten())
    network = bench.Network("one", lambda: model, (3, 8, 8), 2, 256)
    # The image is excluded. The PReLU keeps its input, and cross entropy its own result.
    run = run_of(bench, network, "float", "NCHW")
    outputs = 4 * 2 * 4 * 64
    assert outputs * 2 <= bench.saved_bytes(run) <= outputs * 2 + 64
    assert bench.peak_bytes(run) >= outputs * 2


def test_memory_reaches_its_target(bench):
    network = bench.Network("resnet20", resnet20, (3, 32, 32), 8, 10)
    saved = {
        name: bench.saved_bytes(run_of(bench, network, name))
        for name in ("float", "original library", bench.PLAIN, "bnn, compact", bench.FIT)
    }
    assert saved[bench.FIT] <= MOST_MEMORY * saved["float"]
    assert saved[bench.FIT] < saved["bnn, compact"] < saved["float"]
    assert saved["float"] < saved["original library"] < saved[bench.PLAIN]


def test_every_value_binarizer_that_has_a_method_is_below_the_float_network(bench):
    """Of the methods, only a sign that is not one yet needs the layer's output as floats."""
    network = bench.Network("resnet20", resnet20, (3, 32, 32), 8, 10)
    rows = {row["method"]: row["saved_ratio"] for row in bench.measure_methods(network)}
    soft = rows.pop("progressive-sign")
    assert max(rows.values()) <= MOST_MEMORY, rows
    assert soft < 1
    assert len(rows) > 20

"""The benchmark of networks runs, checks before it times, and says what it missed."""

import dataclasses
import importlib
import json
import math

import pytest
import torch
from torch import nn

from bnn.models import resnet8

BASIC = "resnet18 BasicBlock"


@pytest.fixture
def bench(monkeypatch, pytestconfig):
    """Import a module of benchmarks/network_bench/."""
    monkeypatch.syspath_prepend(str(pytestconfig.rootpath))
    return lambda name: importlib.import_module(f"benchmarks.network_bench.{name}")


@pytest.fixture
def tiny(bench):
    """Return a network of a few channels, with float shortcuts."""
    return bench("nets").Network(
        "tiny", lambda: resnet8(width=8, shortcut="conv"), 8, ("$downsample$",), large=True
    )


@pytest.fixture
def threads_kept():
    """Put back what the benchmark sets."""
    import bnn

    before = torch.get_num_threads(), bnn.get_num_threads()
    yield
    torch.set_num_threads(before[0])
    bnn.set_num_threads(before[1])


def test_it_runs_on_a_tiny_network_without_openvino(
    bench, tiny, monkeypatch, tmp_path, capsys, threads_kept
):
    networks = importlib.import_module("benchmarks.networks")
    monkeypatch.setattr(networks, "NETWORKS", (tiny,))
    file, chart = tmp_path / "networks.json", tmp_path / "networks.png"
    options = ["--no-openvino", "--no-compile", "--seconds", "0.02", "--batch", "1", "3"]
    code = networks.main([*options, "--json", str(file), "--chart", str(chart)])
    assert code in (0, 1)  # 1: a target was missed, as the noise has it
    report = json.loads(file.read_text())
    (facts,) = report["networks"]
    assert facts["binary"] == 6
    assert 0.2 < facts["negative_share"] < 0.8
    assert facts["verified_sums"] > 0
    assert facts["file_bytes"] > 0
    assert facts["load_ms"] > 0
    assert [row["batch"] for row in report["rows"]] == [1, 3]
    for row in report["rows"]:
        assert list(row["times"]) == [
            "torch fp32",
            "torch fp32 channels_last",
            "emulated",
            "emulated channels_last",
            "packed",
        ]
        assert set(row["absent"]) == {"torch.compile", "OpenVINO fp32", "OpenVINO int8"}
        assert all(0 <= distance < 0.05 for distance in row["distances"].values())
        assert {"float stem", "binary convolutions", "shortcuts", "head"} <= set(row["groups"])
        assert 0 < row["memory"]["packed"] < row["memory"]["float"]
        assert row["x_int8"] is None
    for text in (capsys.readouterr().out, file.with_suffix(".md").read_text()):
        assert "tiny, batch 3" in text
        assert "OpenVINO int8 takes no part: not asked for." in text
        assert "emulated against float, time, tiny" in text
        assert "times float32 torch, tiny" in text
    assert chart.read_bytes().startswith(b"\x89PNG")


def test_a_wrong_packed_result_is_never_timed(bench, tiny, monkeypatch):
    competitors, measure = bench("competitors"), bench("measure")
    left_out = (measure.COMPILED, measure.OPENVINO, measure.INT8)
    made = measure.Bench(tiny, 1, left_out)
    node = next(node for node in made.packed.graph.nodes if node.op == "binary_conv")
    node.tensors["weight"] ^= 0b111  # of three input channels
    monkeypatch.setattr(measure, "interleave", lambda *_: pytest.fail("it was timed"))
    with pytest.raises(competitors.WrongResultError, match=r"^packed: .* of their spread"):
        made.measure(1, 0.0)
    packed = made.packed, {}
    monkeypatch.setattr(bench("ours"), "pack", lambda *_: packed)
    with pytest.raises(bench("ours").DifferentSumsError, match="integer sums differ in layer1"):
        measure.Bench(tiny, 1, left_out)


def test_a_peer_that_fails_takes_no_part(bench, tiny, monkeypatch):
    measure = bench("measure")
    made = measure.Bench(tiny, 1, (measure.OPENVINO, measure.INT8))

    def fail(*_):
        raise RuntimeError("no compiler\nsecond line")

    monkeypatch.setattr(measure, "compiled", fail)
    assert made.measure(1, 0.0)["absent"][measure.COMPILED] == "RuntimeError: no compiler"
    wrong = bench("competitors").Competitor(
        lambda x: torch.zeros(len(x), 10), lambda: pytest.fail("it was timed")
    )
    monkeypatch.setattr(measure, "compiled", lambda *_: wrong)
    assert "WrongResultError" in made.measure(8, 0.0)["absent"][measure.COMPILED]


def test_logits_are_compared_by_what_tells_images_apart(bench):
    competitors = bench("competitors")
    expected = torch.tensor([[100.0, 1.0], [100.0, -1.0]])

    def check(found, batch=1):
        answers = iter(found.split(batch))
        competitor = competitors.Competitor(lambda _: next(answers), lambda: None)
        return competitors.check("it", competitor, torch.zeros(2, 3), batch, expected, 0.5)

    assert check(expected) == check(expected, batch=2) == 0.0
    assert check(expected + torch.tensor([0.0, 0.5])) == pytest.approx(0.5)
    for wrong in (expected.mean(0).expand(2, 2), expected * math.nan, expected.flip(0)):
        with pytest.raises(competitors.WrongResultError, match=r"^it: .* 0\.5 is allowed"):
            check(wrong)


def test_the_networks_are_the_issues(bench):
    networks = {network.name: network for network in bench("nets").NETWORKS}
    assert [name for name, network in networks.items() if network.large] == [
        BASIC,
        "resnet18 PreBasicBlock PReLU dabnn",
    ]
    assert [network.size for network in networks.values()] == [224, 224, 32, 32]
    _, binary = networks["VGG-small"].models()
    layers = [module for module in binary if isinstance(module, nn.Conv2d)]
    assert [layer.out_channels for layer in layers] == [128, 128, 256, 256, 512, 512]
    share = bench("nets").negative_share(binary, networks["VGG-small"].images(2))
    assert 0.4 < share < 0.6


def test_operations_are_grouped_by_where_they_stand(bench):
    breakdown = bench("breakdown")
    operations = [
        ("conv1", "conv2d"),
        ("layer1.0.conv1", "pack"),
        ("layer1.0.conv1", "bconv2d a"),
        ("layer2.0.conv1", "bconv2d a"),
        ("layer2.0.downsample.0", "avgpool2d"),
        ("layer2.0.downsample.1", "conv2d"),
        ("pad", "torch pad"),
        ("pool", "maxpool2d"),
        ("layer2.0.conv2", "torch binary_conv"),
        ("fc", "conv2d"),
    ]
    groups = breakdown.group(operations)
    assert groups == [
        "float stem",
        "other",
        *["binary convolutions"] * 2,
        *["shortcuts"] * 3,
        "other",
        "binary convolutions",
        "head",
    ]
    timed = [{"group": name, "us": 2.0} for name in groups]
    assert breakdown.totals(timed)["shortcuts"] == 6.0
    assert breakdown.group([("fc", "conv2d")]) == ["float stem"]


def test_memory_is_that_of_the_tensors_that_live_at_one_time(bench):
    peak = bench("memory").torch_peak_bytes
    x = torch.zeros(1, 1, 16, 16)  # 1 KiB
    assert peak(nn.Sequential(nn.Tanh(), nn.Tanh(), nn.Tanh()), x) == 3 * 2**10  # x lives on
    assert peak(nn.Sequential(nn.Tanh(), nn.ReLU(inplace=True), nn.Flatten()), x) == 2 * 2**10


def test_missed_targets_are_named(bench):
    row = {
        "network": BASIC,
        "large": True,
        "batch": 1,
        "x_torch": 12.0,
        "x_int8": 2.0,
        "emulated_ratio": 1.5,
        "memory_ratio": 0.2,
    }
    facts = {"network": BASIC, "large": True, "pack_seconds": 4.0, "load_ms": 20.0}
    report = {"threads": 1, "rows": [row, {**row, "batch": 8}], "networks": [facts]}
    targets = bench("targets").targets
    assert [target.line() for target in targets(report)] == [
        f"reached  times float32 torch, {BASIC}: 12.00, wanted 10.00",
        f"MISSED   times OpenVINO int8, {BASIC}: 2.00, wanted 3.00 (-33%)",
        f"MISSED   emulated against float, time, {BASIC}: 1.50, wanted at most 1.30 (+15%)",
        f"MISSED   seconds to pack, {BASIC}: 4.00, wanted at most 3.00 (+33%)",
        f"reached  ms to load, {BASIC}: 20.00, wanted at most 50.00",
        f"reached  peak activations against float, {BASIC} batch 1: 0.20, wanted at most 0.25",
        f"reached  peak activations against float, {BASIC} batch 8: 0.20, wanted at most 0.25",
    ]
    assert len(targets({**report, "threads": 2})) == 4


def test_openvino_takes_part_where_it_is_installed(bench, tiny):
    pytest.importorskip("openvino")
    measure, nets = bench("measure"), bench("openvino_nets")
    made = measure.Bench(dataclasses.replace(tiny, name="peers"), 1, (measure.COMPILED,))
    row = made.measure(1, 0.0)
    assert "OpenVINO fp32" in row["times"]
    if nets.nncf_version() is None:
        assert row["absent"][measure.INT8] == "nncf is absent"
    else:
        assert row["distances"][measure.INT8] > row["distances"][measure.OPENVINO]

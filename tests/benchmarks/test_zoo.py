"""The benchmark of published networks: checks first, compares with LCE, says what it missed."""

import importlib
import json
import math

import pytest
import torch

import bnn
from bnn.models import MODELS
from bnn.ops import (
    BasicInputBinarizer,
    DoReFaInputBinarizer,
    TernaryWeightBinarizer,
    XNORWeightBinarizer,
)

TIME = {"minimum_us": 1000.0, "median_us": 1100.0, "samples": 5}


@pytest.fixture
def bench(monkeypatch, pytestconfig):
    """Import a module of benchmarks/zoo_bench/."""
    monkeypatch.syspath_prepend(str(pytestconfig.rootpath))
    return lambda name: importlib.import_module(f"benchmarks.zoo_bench.{name}")


@pytest.fixture(autouse=True)
def threads_kept():
    """Put back what the benchmark sets."""
    before = torch.get_num_threads(), bnn.get_num_threads()
    yield
    assert before == (torch.get_num_threads(), bnn.get_num_threads())
    torch.set_num_threads(before[0])
    bnn.set_num_threads(before[1])


def row(bench, name="quicknet", threads=1, **times_us):
    """Return a row with these minima in us; ``lce`` is LCE's, ``xnnpack`` with XNNPACK."""
    names = {"lce": "LCE", "xnnpack": "LCE, XNNPACK"}
    found = {
        "network": name,
        "threads": threads,
        "times": {names.get(k, k): {**TIME, "minimum_us": us} for k, us in times_us.items()},
    }
    bench("measure").compare(found)
    return found


def report(rows, **lce):
    facts = {
        "network": "quicknet",
        "size": 224,
        "binary": 3,
        "layers": 4,
        "emulated": {"blocks.2": "a padding of None"},
        "opaque": {},
        "float_bytes": 2**21,
        "file_bytes": 250_000,
        "different_signs": 2,
        "signs": 10_000,
        "same_labels": 7,
        "images": 8,
        "same_logits": 6,
        "distance": 0.21,
    }
    machine = {"cpu": "a CPU", "isa": "AVX2", "cores": 2, "bnn": "1", "torch": "2", "python": "3"}
    return {
        "command": "python -m benchmarks.zoo",
        "machine": machine,
        "isa": "avx2",
        "threads": [1, 2],
        "seconds": 4.0,
        "load_average": 0.1,
        "lce": {"version": "0.16", "install": "make it", "distances": {}, "absent": {}, **lce},
        "networks": [facts],
        "rows": rows,
    }


def test_every_published_binary_network_takes_part(bench):
    names = bench("measure").published()
    assert {"quicknet", "birealnet18", "meliusnet22", "dorefanet", "bnext_tiny"} <= set(names)
    assert "resnet18" not in names
    assert set(bench("lce_peer").THEIRS) <= set(names)
    assert set(bench("measure").PROFILED) <= set(names)


def test_it_runs_on_a_tiny_network_without_lce(bench, monkeypatch, tmp_path, capsys):
    zoo = importlib.import_module("benchmarks.zoo")
    entry = MODELS["quicknet"]
    whole = bench("measure").Bench
    monkeypatch.setattr(zoo, "Bench", lambda name: whole(name, dict(entry.tiny), entry.tiny_shape))
    monkeypatch.setattr(bench("measure"), "PROFILE_SECONDS", 0.0)
    file = tmp_path / "zoo.json"
    options = ["--models", "^quicknet$", "--no-lce", "--seconds", "0.02", "--threads", "1", "2"]
    assert zoo.main([*options, "--json", str(file)]) in (0, 1)  # 1: the noise had it so
    found = json.loads(file.read_text())
    (facts,) = found["networks"]
    assert facts["binary"] == facts["layers"] == 3
    assert facts["file_bytes"] < facts["float_bytes"]
    assert facts["same_logits"] == 8 or facts["different_signs"]
    assert [row["threads"] for row in found["rows"]] == [1, 2]
    assert [set(row["times"]) for row in found["rows"]] == [{"packed", "emulated"}] * 2
    assert [target["what"] for target in found["targets"]] == ["times emulated"] * 2
    operations = [operation["operation"] for operation in found["rows"][0]["operations"]]
    assert sum(operation.startswith("bconv2d") for operation in operations) == 3
    assert "operations" not in found["rows"][1]
    for text in (capsys.readouterr().out, file.with_suffix(".md").read_text()):
        assert "quicknet, 1 thread: every operation" in text
        assert "Larq Compute Engine" not in text


def test_a_wrong_packed_network_is_never_timed(bench, monkeypatch):
    entry = MODELS["quicknet"]
    pack = bnn.pack

    def spoilt(model, x):
        network = pack(model, x)
        node = next(node for node in network.graph.nodes if node.op == "binary_conv")
        node.tensors["weight"] ^= 0b111
        return network

    monkeypatch.setattr(bnn, "pack", spoilt)
    with pytest.raises(Exception, match="integer sums differ in sections"):
        bench("measure").Bench("quicknet", dict(entry.tiny), entry.tiny_shape)


STAGES = [
    (0.0, BasicInputBinarizer, XNORWeightBinarizer),
    (1 / 6, DoReFaInputBinarizer.with_args(bits=2), TernaryWeightBinarizer),
]
"""Where the first level of an input ends, its binarizer, and that of the weight."""


def shifted(shift, stages=STAGES[0]):
    """Return a network of one binary layer, whose input is the image plus a shift."""
    torch.manual_seed(0)
    first, binarizer, weight = stages
    norm = torch.nn.BatchNorm2d(3)
    torch.nn.init.constant_(norm.bias, first + shift)
    config = bnn.BConfig(binarizer, weight_pre_process=weight)
    conv = bnn.layers.Conv2d(3, 4, 3, padding=1, bconfig=config)
    linear = torch.nn.Linear(4 * 6 * 6, 10)
    return torch.nn.Sequential(norm, conv, torch.nn.Flatten(), linear).eval()


@pytest.fixture
def unchecked(bench):
    """Return a bench of a model and of the packed form of another."""

    def make(model, other):
        made = bench("measure").Bench.__new__(bench("measure").Bench)
        images = torch.randn(8, 3, 6, 6)
        images[:, 1, 2, 3] = 0  # whose sign is that of the shift
        made.name, made.model, made.packed = "it", model, bnn.pack(other, images[:1])
        return made, images

    return make


@pytest.mark.parametrize("stages", STAGES)
def test_every_image_has_its_logits_for_the_signs_that_were_computed_with(unchecked, stages):
    made, images = unchecked(shifted(3e-8, stages), shifted(-3e-8, stages))
    assert bnn.verify(made.model, made.packed, images).layers[0].different_signs
    found = made._check(images)
    assert found["same_logits"] == 0
    assert found["distance"] > 1e-3


@pytest.mark.parametrize("stages", STAGES)
def test_a_sign_of_a_float_that_is_not_next_to_0_must_be_the_models(bench, unchecked, stages):
    made, images = unchecked(shifted(1e-5, stages), shifted(-1e-5, stages))
    with pytest.raises(bench("measure").WrongResultError, match="1: 1 signs differ, of floats"):
        made._check(images)


@pytest.mark.parametrize("kept", [0.2, 0.9, math.nan])
def test_other_logits_are_wrong_even_where_a_sign_differs(bench, unchecked, monkeypatch, kept):
    made, images = unchecked(shifted(1e-8), shifted(-1e-8))
    mean = made.model(images).mean(0, keepdim=True).detach()
    whole = type(made.packed).forward
    monkeypatch.setattr(
        type(made.packed), "forward", lambda *given: kept * whole(*given) + (1 - kept) * mean
    )
    with pytest.raises(bench("measure").WrongResultError, match="of the same signs"):
        made._check(images)


def test_lce_is_its_faster_way(bench):
    found = row(bench, packed=1000.0, emulated=9000.0, lce=8000.0, xnnpack=5000.0)
    assert found["x_emulated"] == 9.0
    assert found["x_lce"] == 5.0
    assert row(bench, packed=1000.0, emulated=9000.0)["x_lce"] is None


def test_targets_are_four_times_lce_and_five_times_emulated(bench):
    rows = [
        row(bench, packed=1000.0, emulated=4990.0, lce=4000.0, xnnpack=4000.0),
        row(bench, threads=2, packed=1000.0, emulated=5000.0, lce=3990.0, xnnpack=9000.0),
    ]
    found = bench("targets").targets(report(rows))
    assert {(t.what, t.layer): t.reached for t in found} == {
        ("times LCE", "quicknet, 1 thread"): True,
        ("times LCE", "quicknet, 2 threads"): False,
        ("times emulated", "quicknet, 1 thread"): False,
        ("times emulated", "quicknet, 2 threads"): True,
    }


def test_the_page_has_what_was_measured(bench):
    rows = [
        row(bench, packed=1000.0, emulated=9000.0, lce=8000.0, xnnpack=5000.0),
        row(bench, threads=2, packed=600.0, emulated=6000.0, lce=5000.0, xnnpack=4800.0),
    ]
    rows[1]["disturbed"] = True
    given = report(rows, absent={"birealnet18": "its environment is absent: make it"})
    text = bench("report").page(given, bench("targets").targets(given)).markdown()
    assert "| quicknet * | 1.00 (1.10) | 0.60 (1.10) | 9.00 (1.10) | 6.00 (1.10) |" in text
    assert "| 9.0x | 10.0x |" in text
    assert "| quicknet | 1 | 1.00 (1.10) | 8.00 (1.10) | 5.00 (1.10) | 5.0x |" in text
    assert (
        "| quicknet | 224x224 | 3 of 4 | 1 | 2.00 | 0.25 | 2 of 10,000 | 7 of 8 | 6 of 8 | 0.21 |"
        in text
    )
    assert "birealnet18: not beside LCE: its environment is absent: make it." in text
    assert "quicknet: blocks.2 is run by Python: a padding of None." in text
    assert "the machine was busy" in text
    assert "- reached times LCE, quicknet, 2 threads: 8.00, wanted 4.00" in text


def test_without_its_environment_lce_says_how_to_get_it(bench, monkeypatch, tmp_path):
    peer = bench("lce_peer")
    monkeypatch.setattr(peer, "PYTHON", tmp_path / "bin" / "python")
    assert peer.installed() is None
    with pytest.raises(peer.LceError, match=r"make \.venv-larq/\.ready"):
        peer.convert("QuickNet")


def test_a_server_that_ends_is_an_error(bench, monkeypatch, tmp_path):
    peer = bench("lce_peer")
    monkeypatch.setattr(peer, "SERVER", ("false",))
    with pytest.raises(peer.LceError, match="ended with 1"):
        peer.Server(tmp_path, 1, xnnpack=False)


def test_who_times_itself_elsewhere_has_its_turns(bench, monkeypatch):
    timing = importlib.import_module("benchmarks.kernel_bench.timing")
    asked = []

    def measure(seconds):
        asked.append(seconds)
        return [3e-6, 2e-6]

    times = timing.interleave({"here": int}, 0.0, elsewhere={"there": measure})
    assert asked == [timing.SLICE_SECONDS] * timing.ROUNDS
    assert times["there"] == timing.Time(2.0, 2.5, 2 * timing.ROUNDS)
    assert times["here"].samples > 0

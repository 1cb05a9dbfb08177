import dataclasses
import json

import pytest
import torch
from torch import nn

import bnn as library
from bnn.cli.stopwatch import race, threads
from bnn.models import MODELS, create
from bnn.ops import BasicInputBinarizer
from bnn.training import TrainConfig, fit

QUICK = ("--seconds", "0.02")


def test_alone(bnn, net):
    ran = bnn("bench", net, *QUICK)
    assert ran.code == 0
    assert ran.stderr == ""
    names = [line.split("  ")[0] for line in ran.stdout.splitlines()]
    assert names[:2] == ["cpu", "isa"]
    for expected in ("median", "p90", "p99", "images/s", "share", "layer1.0.conv1", "1x1x8x8"):
        assert expected in ran.stdout
    assert max(map(len, ran.stdout.splitlines())) <= 80
    assert "packed is" not in ran.stdout
    assert f"{net.stat().st_size:,} bytes" in ran.stdout


def test_against_the_checkpoint(bnn, net, trained):
    ran = bnn("bench", net, "--float", trained, *QUICK, "--batch", 4)
    assert ran.code == 0
    for name in ("packed", "float", "float, channels_last", "binary, unpacked"):
        assert any(line.startswith(name) for line in ran.stdout.splitlines())
    assert ran.stdout.count("faster") + ran.stdout.count("slower") == 3


def test_json(bnn, net, trained):
    got = json.loads(
        bnn("bench", net, "--float", trained, "--threads", 2, "--batch", 3, *QUICK, "--json").stdout
    )
    assert (got["threads"], got["input"]) == (2, "3x1x8x8")
    for times in got["latency"].values():
        assert 0 < times["minimum"] <= times["median"] <= times["p90"] <= times["p99"]
        assert times["images_per_second"] == pytest.approx(3e6 / times["median"], rel=0.01)
        assert times["runs"] >= 5
    assert got["file_bytes"] == net.stat().st_size
    layers = {row["name"].split("#")[0] for row in got["profile"]}
    assert {"conv1", "layer1.0.conv1", "fc"} <= layers


def test_input_of_another_size(bnn, net, trained):
    got = json.loads(
        bnn("bench", net, "--input", "1x16x12", "--float", trained, *QUICK, "--json").stdout
    )
    assert got["input"] == "1x1x16x12"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--input", "8"), "CxHxW"),
        (("--input", "3x8x8"), "cannot take 1x3x8x8"),
        (("--input", "1x9999x9999"), "more than"),
        (("--batch", "65536", "--input", "1x64x64"), "more than"),
        (("--batch", "0"), "--batch"),
        (("--threads", "0"), "--threads"),
        (("--threads", "2000"), "--threads"),
        (("--seconds", "-1"), "--seconds"),
        (("--seconds", "nan"), "--seconds"),
    ],
    ids=" ".join,
)
def test_wrong_usage(fails, net, options, named):
    assert named in fails("bench", net, *QUICK, *options, code=2)


def test_a_name_that_is_nearly_a_network_shows_which(fails):
    message = fails("bench", "quicknot", code=2)
    assert "'quicknot' is neither a file of `bnn pack` nor a network. Did you mean" in message
    assert "'quicknet'?" in message
    assert "cannot be read" in fails("bench", "none.bnn", code=1)


def test_files_that_are_no_such(fails, net, tmp_path):
    fails("bench", tmp_path / "none.bnn", code=1)
    (tmp_path / "x.bnn").write_bytes(b"\x93random")
    assert "x.bnn" in fails("bench", tmp_path / "x.bnn", code=1)
    assert "not a checkpoint" in fails("bench", net, "--float", net, *QUICK, code=1)
    assert "none" in fails("bench", net, "--float", tmp_path / "none.ckpt", *QUICK, code=1)


def test_the_cost_of_a_call(bnn, net):
    got = json.loads(bnn("bench", net, "--seconds", "0.2", "--json").stdout)
    spent = sum(row["microseconds"] for row in got["profile"])
    left = max(got["latency"]["packed"]["median"] - spent, 0)
    assert got["fixed_microseconds"] == pytest.approx(left, abs=0.1)
    lines = bnn("bench", net, "--seconds", "0.2").stdout.splitlines()
    (line,) = [line for line in lines if line.startswith("each call, beside them")]
    assert line.endswith("%")


def test_inputs_that_are_no_images(bnn, fails, tmp_path):
    model = library.prepare_binary_model(
        nn.Sequential(nn.Linear(20, 70), nn.BatchNorm1d(70), nn.PReLU(), nn.Linear(70, 3)),
        library.BConfig(BasicInputBinarizer, weight_pre_process=BasicInputBinarizer),
    )
    path = tmp_path / "net.bnn"
    library.pack(model.eval(), torch.randn(1, 20)).save(path)
    got = json.loads(bnn("bench", path, "--input", "20", "--batch", 3, *QUICK, "--json").stdout)
    assert got["input"] == "3x20"
    message = fails("bench", path, "--input", "3x8x8", *QUICK, code=2)
    assert "3x8x8 is not what the network takes: for example 20." in message


def test_a_checkpoint_of_another_network_is_blamed(fails, net, tmp_path):
    config = TrainConfig(
        data="digits", model_args={"width": 4}, epochs=1, batch_size=512, out=str(tmp_path / "run")
    )
    fit(config, progress=False)
    content = torch.load(tmp_path / "run" / "final.ckpt", weights_only=True)
    content["data"]["input_shape"] = [3, 8, 8]
    weight = content["model"]["conv1.weight"]
    content["model"]["conv1.weight"] = weight.repeat(1, 3, 1, 1)
    torch.save(content, tmp_path / "rgb.ckpt")
    message = fails("bench", net, "--float", tmp_path / "rgb.ckpt", *QUICK, code=2)
    assert "--float" in message
    assert "--input" not in message


def test_an_isa_is_not_blamed_on_the_input(process, net):
    ran = process(f"bnn bench {net}", BNN_ISA="sse9")
    assert ran.code == 2
    assert ran.stderr.startswith("error: BNN_ISA=sse9: there is no such ISA.")


def test_threads_are_put_back(bnn, net):
    before = torch.get_num_threads(), library.get_num_threads()
    bnn("bench", net, "--threads", 2, *QUICK)
    assert (torch.get_num_threads(), library.get_num_threads()) == before
    with pytest.raises(ValueError, match="out"), threads(2):
        raise ValueError("out")
    assert (torch.get_num_threads(), library.get_num_threads()) == before


def test_race_takes_turns():
    order = []
    found = race({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 0.0)
    assert found["a"].runs == found["b"].runs == 5
    assert "".join(order) == "aabb" + "ab" * 5


def test_a_models_name_is_packed_with_random_weights(bnn, monkeypatch):
    known = MODELS["quicknet"]
    entry = dataclasses.replace(
        known, factory=lambda: create("quicknet", **known.tiny), input_shape=known.tiny_shape
    )
    monkeypatch.setitem(MODELS._items, "tiny_net", entry)
    ran = bnn("bench", "tiny_net", *QUICK, "--json")
    assert ran.code == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["network"] == "tiny_net"
    assert found["input"] == "1x3x32x32"
    assert 0 < found["file_bytes"] < 100_000
    assert any("bconv2d" in row["operation"] for row in found["profile"])

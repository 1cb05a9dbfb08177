import json

import pytest
import torch

import bnn as library
from bnn.cli.stopwatch import race, threads

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


def test_files_that_are_no_such(fails, net, tmp_path):
    fails("bench", tmp_path / "none.bnn", code=1)
    (tmp_path / "x.bnn").write_bytes(b"\x93random")
    assert "x.bnn" in fails("bench", tmp_path / "x.bnn", code=1)
    assert "none" in fails("bench", net, "--float", tmp_path / "none.ckpt", *QUICK, code=1)


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

import json

import pytest
import torch


def test_text(bnn, trained, net):
    ran = bnn("verify", trained, net)
    assert ran.code == 0
    assert ran.stderr == ""
    assert ran.stdout.startswith("On 256 held-out images of digits:\n")
    assert "layer3.0.conv2" in ran.stdout
    assert "256 of 256 samples (100.00%)" in ran.stdout
    assert max(map(len, ran.stdout.splitlines())) <= 80


def test_json(bnn, trained, net):
    got = json.loads(
        bnn("verify", trained, net, "--data", "random", "--samples", 5, "--json").stdout
    )
    assert got["samples"] == 5
    assert got["images"] == "5 random images"
    assert got["identical"] is got["agrees"] is True
    assert len(got["layers"]) == 6


def test_another_checkpoint_of_the_same_form(bnn, trained, net, tmp_path):
    content = torch.load(trained / "final.ckpt", weights_only=True)
    weight = content["model"]["layer2.0.conv1.weight"]
    weight[0, 0, 0, 0] = -weight[0, 0, 0, 0]
    torch.save(content, tmp_path / "other.ckpt")
    ran = bnn("verify", tmp_path / "other.ckpt", net)
    assert ran.code == 1
    assert "differ in layer2.0.conv1" in ran.stdout
    assert ran.stderr.startswith("error: ")
    assert "layer2.0.conv1 are not those" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert json.loads(bnn("verify", tmp_path / "other.ckpt", net, "--json").stdout)["layers"][2][
        "different_sums"
    ]


def test_files_in_the_wrong_order(fails, trained, net):
    for checkpoint in (trained / "final.ckpt", trained):
        message = fails("verify", net, checkpoint, code=1)
        assert "the wrong way round: bnn verify CHECKPOINT NET" in message
    assert "pack it first" in fails("verify", trained, trained, code=1)


@pytest.mark.parametrize("content", [None, b"", b"\x93random", b"\x08" + b"\x00" * 7 + b"{}"])
def test_no_packed_file(fails, trained, tmp_path, content):
    path = tmp_path / "x.bnn"
    if content is not None:
        path.write_bytes(content)
    assert "x.bnn" in fails("verify", trained, path, code=1)


def test_cut_off(fails, trained, net, tmp_path):
    path = tmp_path / "cut.bnn"
    path.write_bytes(net.read_bytes()[:-100])
    assert "cut.bnn" in fails("verify", trained, path, code=1)


def test_missing_arguments(fails, trained):
    assert "NET" in fails("verify", trained, code=2)

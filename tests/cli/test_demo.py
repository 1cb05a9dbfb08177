import io
import json

import pytest
from rich.console import Console

import bnn as library
from bnn.cli.demo import _free_folder, _speed
from bnn.cli.stopwatch import Latency
from bnn.errors import NativePartError
from bnn.training import TrainConfig


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo") / "demo"


@pytest.fixture
def quick(monkeypatch):
    """Make the demo's training a matter of seconds: one epoch of large batches."""
    config = TrainConfig

    def hasty(**settings):
        return config(**{**settings, "batch_size": 256, "model_args": {"width": 8}})

    monkeypatch.setattr("bnn.training.TrainConfig", hasty)


@pytest.mark.usefixtures("quick")
def test_demo_twice(bnn, folder):
    ran = bnn("demo", "--out", folder, "--epochs", "2", "--quiet")
    assert ran.code == 0
    assert ran.stderr == ""
    assert max(len(line) for line in ran.stdout.splitlines() if str(folder) not in line) <= 80
    for expected in (
        *("test accuracy", "BOPs", "layer1.0.conv1", "Try next", "bnn eval", "bnn bench"),
        *("identical in all layers", "360 of 360 samples (100.00%)", "images at a time"),
    ):
        assert expected in ran.stdout
    size = f"{(folder / 'net.bnn').stat().st_size:,}"
    (headline,) = [line for line in ran.stdout.splitlines() if "of the packed file" in line]
    assert headline.split()[-3] == size
    assert library.load(folder / "net.bnn").preprocessing.size == (8, 8)
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "binary" / "final.ckpt").is_file()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    again = bnn("demo", "--out", folder, "--epochs", "2", "--quiet", "--json")
    assert again.code == 0
    result = json.loads(again.stdout)
    assert result["curves"] == f"{folder}-2/curves.png"
    assert result["binary"]["counts"]["bops"] > 0
    assert result["float"]["counts"]["bops"] == 0
    assert result["binary"]["counts"]["packed_bytes"] < result["float"]["counts"]["packed_bytes"]
    packed = result["packed"]
    assert packed["file"] == f"{folder}-2/net.bnn"
    assert packed["agreement"]["agrees"] is True
    assert packed["agreement"]["samples"] == 360
    for batch in ("1", "64"):
        assert set(packed["latency"][batch]) == {"float", "binary, unpacked", "packed"}
        assert packed["latency"][batch]["packed"]["median"] > 0
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("quick")
def test_without_the_native_part_it_ends_with_training(bnn, monkeypatch, tmp_path):
    def missing():
        raise NativePartError("the native part is missing.")

    monkeypatch.setattr("bnn.packed.runtime_info", missing)
    ran = bnn("demo", "--out", tmp_path / "demo", "--epochs", "2", "--quiet", "--json")
    assert ran.code == 0
    assert json.loads(ran.stdout)["packed"] is None
    assert "not packed: the native part is missing." in ran.stderr


def test_says_so_where_it_is_slower(capsys, monkeypatch):
    quick, slow = (Latency(5, t, t, t, t) for t in (10.0, 20.0))
    raced = {"float": quick, "binary, unpacked": slow, "packed": slow}
    table = Console(width=80, file=io.StringIO())
    table.print(_speed({1: raced}))
    assert "2.0x slower than float" in table.file.getvalue()


def test_interrupt(bnn, monkeypatch, tmp_path):
    def fit(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("bnn.training.fit", fit)
    ran = bnn("demo", "--out", tmp_path / "demo", "--quiet")
    assert ran.code == 130
    assert ran.stdout == ""
    assert "interrupted" in ran.stderr


def test_free_folder(tmp_path):
    assert _free_folder(tmp_path / "demo") == tmp_path / "demo"
    (tmp_path / "demo").mkdir()
    assert _free_folder(tmp_path / "demo") == tmp_path / "demo"
    (tmp_path / "demo" / "mine").write_text("")
    (tmp_path / "demo-2").write_text("")
    assert _free_folder(tmp_path / "demo") == tmp_path / "demo-3"


@pytest.mark.parametrize("epochs", ["0", "-1", "nan"])
def test_malformed_epochs(fails, tmp_path, epochs):
    assert "--epochs" in fails("demo", "--out", tmp_path / "demo", "--epochs", epochs, code=2)


def test_file_in_the_place_of_out(fails, tmp_path):
    (tmp_path / "file").write_text("")
    assert "--out" in fails("demo", "--out", tmp_path / "file", code=2)


def test_out_below_a_file(fails, tmp_path):
    (tmp_path / "file").write_text("")
    fails("demo", "--quiet", "--out", tmp_path / "file" / "demo", code=2)

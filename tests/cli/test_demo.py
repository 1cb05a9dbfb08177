import json

import pytest

from bnn.cli.demo import _free_folder
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
    for expected in ("test accuracy", "BOPs", "packed", "layer1.0.conv1", "Try next", "bnn eval"):
        assert expected in ran.stdout
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
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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

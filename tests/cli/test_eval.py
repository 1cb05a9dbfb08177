import json
import re

import pytest


def test_same_accuracy_as_training_said(bnn, trained):
    measured = json.loads(bnn("eval", trained / "final.ckpt", "--json").stdout)
    assert measured["samples"] == 360
    history = (trained / "history.csv").read_text().splitlines()
    last = dict(zip(history[0].split(","), history[-1].split(","), strict=True))
    assert measured["accuracy"] == pytest.approx(float(last["test_accuracy"]))


def test_text(bnn, trained):
    ran = bnn("eval", trained / "final.ckpt", "--quiet")
    assert ran.code == 0
    assert re.fullmatch(r"accuracy  \d+\.\d\d%\nloss      \d+\.\d{4}\nimages    360\n", ran.stdout)
    assert ran.stderr == ""


def test_missing_file(fails, tmp_path):
    assert "no such checkpoint" in fails("eval", tmp_path / "none.ckpt", code=1)


def test_folder_in_the_place_of_a_file(fails, tmp_path):
    assert "folder" in fails("eval", tmp_path, code=1)


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 64, b"\x80\x02c__builtin__\nexec\n", b"PK\x03\x04"]
)
def test_random_bytes(fails, tmp_path, content):
    path = tmp_path / "random.ckpt"
    path.write_bytes(content)
    assert "random.ckpt" in fails("eval", path, code=1)


def test_cut_off_checkpoint(fails, tmp_path, trained):
    path = tmp_path / "cut.ckpt"
    path.write_bytes((trained / "final.ckpt").read_bytes()[:-1000])
    assert "damaged" in fails("eval", path, code=1)


def test_unknown_data(fails, trained):
    message = fails("eval", trained / "final.ckpt", "--data", "digit", code=2)
    assert "Did you mean 'digits'?" in message
    assert "mnist5k" in message


def test_data_that_does_not_fit(fails, trained):
    assert "classes" in fails("eval", trained / "final.ckpt", "--data", "mnist5k", code=1)


def test_empty_folder(fails, trained, tmp_path):
    message = fails(
        "eval", trained / "final.ckpt", "--data", "folder", "--data-dir", tmp_path, code=1
    )
    assert str(tmp_path) in message


@pytest.mark.parametrize("size", ["0", "-1", "many", "1.5"])
def test_malformed_batch_size(fails, trained, size):
    assert "--batch-size" in fails("eval", trained / "final.ckpt", "--batch-size", size, code=2)

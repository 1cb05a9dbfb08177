import json

import pytest

import bnn as library
from bnn.training import load_checkpoint, load_data


def test_shows_what_it_runs_with(bnn):
    ran = bnn("info")
    assert ran.code == 0
    names = [line.split("  ")[0] for line in ran.stdout.splitlines()]
    assert names[:3] == ["cpu", "isa", "threads"]
    assert "depthwise" in names


def test_json(bnn):
    found = json.loads(bnn("info", "--json").stdout)
    assert found["isa"] in found["available_isas"]
    assert found["threads"] >= 1
    assert all("__" in kernel for kernel in found["kernels"].values())


@pytest.mark.parametrize(
    ("isa", "exit_code", "said"),
    [
        ("portable", 0, "isa              portable"),
        ("sse9", 2, "error: BNN_ISA=sse9: there is no such ISA. Runs here: portable"),
    ],
)
def test_isa_is_forced_by_name(process, isa, exit_code, said):
    ran = process("bnn info", BNN_ISA=isa)
    assert ran.code == exit_code
    assert said in ran.stdout + ran.stderr


def test_packed_file(bnn, net):
    ran = bnn("info", net)
    assert ran.code == 0
    for expected in ("layer3.0.conv2", "binary_conv", "1x1x8x8", "1-bit layers  6"):
        assert expected in ran.stdout
    assert f"{net.stat().st_size:,} bytes" in ran.stdout
    lines = [line for line in ran.stdout.splitlines() if str(net) not in line]
    assert max(map(len, lines)) <= 80


def test_how_pictures_are_prepared(bnn, net, tmp_path):
    data = load_data("digits")
    line = next(line for line in bnn("info", net).stdout.splitlines() if "pictures" in line)
    assert line.endswith(f"8x8, grey, mean {data.mean[0]:.4g}, std {data.std[0]:.4g}")
    found = json.loads(bnn("info", net, "--json").stdout)["preprocessing"]
    assert found["size"] == [8, 8]
    assert found["mean"] == pytest.approx(data.mean)
    network = library.load(net)
    network.preprocessing = None
    network.save(tmp_path / "bare.bnn")
    assert "nothing is said" in bnn("info", tmp_path / "bare.bnn").stdout
    bare = json.loads(bnn("info", tmp_path / "bare.bnn", "--json").stdout)
    assert bare["preprocessing"] is None


def test_json_agrees_with_the_table(bnn, net):
    layers = json.loads(bnn("info", net, "--json").stdout)["layers"]
    table = bnn("info", net).stdout.splitlines()
    for layer in layers:
        assert any(line.split()[:2] == [layer["name"], layer["operation"]] for line in table)
        assert layer["node"].split("#")[0] == layer["name"]
    assert {layer["gives"] for layer in layers if layer["operation"] == "pack"} <= {"bits"}
    assert "bits" in {layer["gives"] for layer in layers}


def test_packed_file_as_json(bnn, net, trained):
    found = json.loads(bnn("info", net, "--json").stdout)
    assert found["file_bytes"] == net.stat().st_size
    assert found["one_bit_layers"] == 6
    assert found["peak_bytes"] > 0
    ones = [layer for layer in found["layers"] if layer["weight_bits"] == 1]
    model = load_checkpoint(trained).model
    for layer in ones:
        weight = model.get_submodule(layer["name"].split("#")[0]).weight
        assert layer["weights"] == weight.numel()
        assert layer["input_bits"] == 1
    assert sum(layer["bytes"] for layer in found["layers"]) == found["weight_bytes"]


@pytest.mark.parametrize("content", [None, b"", b"\x93random", b"\xff" * 100])
def test_no_packed_file(fails, tmp_path, content):
    path = tmp_path / "x.bnn"
    if content is not None:
        path.write_bytes(content)
    assert "x.bnn" in fails("info", path, code=1)


def test_a_checkpoint_is_no_packed_file(fails, trained):
    said = fails("info", trained / "final.ckpt", code=1)
    assert "final.ckpt: is no .bnn file" in said
    assert "pack it first: bnn pack" in said
    said = fails("info", trained, code=1)
    assert ": is no .bnn file: it is a folder. Of a training run, pack it first" in said
    assert "path is empty" in fails("info", "", code=1)

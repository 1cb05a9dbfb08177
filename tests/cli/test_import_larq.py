"""bnn import-larq: from a Keras file to a checkpoint that every other verb takes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import bnn.models
from bnn.training import load_checkpoint

h5py = pytest.importorskip("h5py", reason="the extra interop is not installed")

ARGUMENTS = {"layers": [1], "width": 8, "num_classes": 3, "input_size": 32}


@pytest.fixture
def weights(tmp_path):
    """A file of a small BinaryResNetE, and the values of its stem."""
    model = bnn.models.create("binary_resnet_e18", **ARGUMENTS)
    layers, counts = {}, {}
    rng = np.random.default_rng(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            base, names = "batch_normalization", ("gamma", "beta", "moving_mean", "moving_variance")
            values = {name: rng.random(module.num_features, np.float32) + 0.1 for name in names}
        elif isinstance(module, nn.Conv2d):
            base = "conv2d" if type(module) is nn.Conv2d else "quant_conv2d"
            base = "conv2d" if "Padded" in type(module).__name__ else base
            out, inputs, height, width = module.weight.shape
            values = {"kernel": rng.standard_normal((height, width, inputs, out), np.float32)}
        elif isinstance(module, nn.Linear):
            base = "dense"
            values = {
                "kernel": rng.standard_normal((module.in_features, 3), np.float32),
                "bias": rng.standard_normal(3, np.float32),
            }
        else:
            continue
        i = counts[base] = counts.get(base, -1) + 1
        layers[f"{base}_{i}" if i else base] = values
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = list(layers)
        for name, values in layers.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}/{key}:0" for key in values]
            for key, value in values.items():
                group[f"{name}/{key}:0"] = value
    return path, layers["conv2d"]["kernel"]


def arguments():
    return [
        word
        for key, value in ARGUMENTS.items()
        for word in ("--model-arg", f"{key}={json.dumps(value)}")
    ]


@pytest.mark.parametrize("name", ["BinaryResNetE18", "binary_resnet_e18"])
def test_writes_a_checkpoint_that_others_read(bnn, weights, tmp_path, name):
    path, stem = weights
    out = tmp_path / "net.ckpt"
    ran = bnn("import-larq", name, str(path), "-o", str(out), *arguments())
    assert (ran.code, ran.stderr) == (0, "")
    assert ran.stdout.startswith("binary_resnet_e18, ")
    loaded = load_checkpoint(out)
    assert loaded.input_shape == (3, 32, 32)
    assert loaded.num_classes == 3
    assert torch.equal(loaded.model.stem[0].weight, torch.from_numpy(stem).permute(3, 2, 0, 1))
    packed = bnn("pack", str(out), "-o", str(tmp_path / "net.bnn"), "--data", "random", "--json")
    assert packed.code == 0, packed.stderr
    assert bnn("summary", str(out)).code == 0
    info = json.loads(bnn("info", str(tmp_path / "net.bnn"), "--json").stdout)
    assert info["preprocessing"]["mean"] == [0.485, 0.456, 0.406]


def test_a_file_that_is_there_is_kept_unless_asked(bnn, fails, weights, tmp_path):
    path, _ = weights
    out = tmp_path / "net.ckpt"
    out.write_text("mine")
    words = ("import-larq", "BinaryResNetE18", str(path), "-o", str(out), *arguments())
    assert "--overwrite" in fails(*words, code=2)
    assert out.read_text() == "mine"
    assert bnn(*words, "--overwrite", "--json").code == 0
    assert out.read_bytes() != b"mine"


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="there is no /proc here")
def test_a_place_that_cannot_be_written(fails, weights, tmp_path):
    words = ("import-larq", "BinaryResNetE18", str(weights[0]), *arguments(), "-o")
    said = fails(*words, "/proc/q.ckpt", code=1)
    assert "/proc/q.ckpt cannot be written: its folder takes no files" in said
    assert f"there is no folder {tmp_path / 'none'}" in fails(
        *words, str(tmp_path / "none" / "q.ckpt"), code=2
    )


def test_unknown_networks_and_wrong_files_are_named(fails, weights, tmp_path):
    path, _ = weights
    out = str(tmp_path / "net.ckpt")
    assert "Did you mean 'quicknet'" in fails(
        "import-larq", "Quicknett", str(path), "-o", out, code=2
    )
    assert "layers are not the network's" in fails(
        "import-larq", "QuickNet", str(path), "-o", out, code=1
    )
    assert "there is no file" in fails(
        "import-larq", "QuickNet", str(tmp_path / "none"), "-o", out, code=1
    )

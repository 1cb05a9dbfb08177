"""Keras .h5 files, as h5py writes them here in Keras 2's layout, loaded into networks."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import nn

from bnn.errors import CheckpointError, ConfigError, MissingExtraError
from bnn.interop import larq
from bnn.models import create

h5py = pytest.importorskip("h5py", reason="the extra interop is not installed")

NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def write(path, layers, root=None):
    """Write {layer: {weight: values}} as Keras 2's save_weights does; a root: as its save does."""
    with h5py.File(path, "w") as file:
        group = file.create_group(root) if root else file
        group.attrs["layer_names"] = [name.encode() for name in layers]
        group.attrs["backend"] = b"tensorflow"
        for name, weights in layers.items():
            own = group.create_group(name)
            own.attrs["weight_names"] = [f"{name}/{w}:0".encode() for w in weights]
            for weight, values in weights.items():
                own.create_dataset(f"{name}/{weight}:0", data=values)
    return path


def norm(channels, *parts):
    rng = np.random.default_rng(channels)
    return {part: rng.random(channels, np.float32) + 0.5 for part in parts or NORM}


def kernel(*shape, name="kernel", **more):
    rng = np.random.default_rng(shape)
    return {name: rng.standard_normal(shape).astype(np.float32), **more}


def quicknet_layers(first=0):
    """Return what Larq names the layers of a QuickNet of sections (1, 2) and filters (8, 16)."""

    def numbered(base, i):
        return f"{base}_{first + i}" if first + i else base

    convs = [(3, 3, 3, 2), (1, 1, 2, 8), (3, 3, 8, 8), (1, 1, 8, 16), *[(3, 3, 16, 16)] * 2]
    layers = {"input_1": {}}
    for i, shape in enumerate(convs):
        layers[numbered("quant_conv2d", i)] = kernel(*shape, i + 1)
    for name, weights in layers.items():  # the extra axis only made them differ
        layers[name] = {k: v[..., 0] for k, v in weights.items()}
    layers[numbered("quant_depthwise_conv2d", 0)] = kernel(3, 3, 2, 1, name="depthwise_kernel")
    layers[numbered("depthwise_conv2d", 0)] = kernel(3, 3, 8, 1, name="depthwise_kernel")
    for i, channels in enumerate((2, 2, 8, 8, 16, 16, 16)):
        parts = ("moving_mean", "moving_variance") if i == 1 else NORM
        layers[numbered("batch_normalization", i)] = {
            k: v + i for k, v in norm(channels, *parts).items()
        }
    bias = np.arange(5, dtype=np.float32)
    layers[numbered("quant_dense", 0)] = kernel(16, 5, bias=bias)
    return layers


def quicknet():
    return create("quicknet", blocks=(1, 2), filters=(8, 16), num_classes=5, padding="tf")


def oihw(values):
    return torch.from_numpy(values).permute(3, 2, 0, 1)


@pytest.mark.parametrize("first", [0, 7])  # with 7, number 10 comes before 9 as text
@pytest.mark.parametrize("root", [None, "model_weights"])
def test_quicknet_by_the_order_of_its_numbers(tmp_path, first, root):
    layers = quicknet_layers(first)
    model = larq.load(quicknet(), write(tmp_path / "net.h5", layers, root))
    by_base = {}
    for name, weights in layers.items():
        by_base.setdefault(name.rstrip("0123456789").rstrip("_"), []).append(weights)
    convs = [w["kernel"] for w in by_base["quant_conv2d"]]
    places = ["stem.0", "stem.5", "sections.0.0.conv", "sections.1.0.3"]
    places += ["sections.1.1.conv", "sections.1.2.conv"]
    for place, values in zip(places, convs, strict=True):
        assert torch.equal(model.get_submodule(place).weight, oihw(values)), place
    places = ["stem.1", "stem.4", "stem.6", "sections.0.0.bn", "sections.1.0.4"]
    places += ["sections.1.1.bn", "sections.1.2.bn"]
    for place, values in zip(places, by_base["batch_normalization"], strict=True):
        bn = model.get_submodule(place)
        assert torch.equal(bn.running_mean, torch.from_numpy(values["moving_mean"])), place
        assert torch.equal(bn.running_var, torch.from_numpy(values["moving_variance"]))
        if place != "stem.4":
            assert torch.equal(bn.weight, torch.from_numpy(values["gamma"]))
            assert torch.equal(bn.bias, torch.from_numpy(values["beta"]))
    depthwise = by_base["quant_depthwise_conv2d"][0]["depthwise_kernel"]
    assert torch.equal(
        model.stem[3].weight[:, 0], torch.from_numpy(depthwise)[..., 0].permute(2, 0, 1)
    )
    blur = by_base["depthwise_conv2d"][0]["depthwise_kernel"]
    assert torch.equal(
        model.sections[1][0][2].kernel[:, 0], torch.from_numpy(blur)[..., 0].permute(2, 0, 1)
    )
    dense = by_base["quant_dense"][0]
    assert torch.equal(model.fc.weight, torch.from_numpy(dense["kernel"]).t())
    assert torch.equal(model.fc.bias, torch.arange(5.0))


@pytest.mark.parametrize("name", ["binary_alexnet", "dorefanet"])
def test_the_first_dense_layer_reads_rows_columns_channels(tmp_path, name):
    """In Keras's order of what is flat, the same inputs meet the same weights."""
    model = create(name, width=8, hidden=4, num_classes=3, input_size=104, padding="tf")
    channels, height, width = model.flattened
    assert height * width > 1
    layers, counts = {}, {}
    dense = "quant_conv2d" if name == "binary_alexnet" else "quant_dense"

    def add(base, weights):
        i = counts[base] = counts.get(base, -1) + 1
        layers[f"{base}_{i}" if i else base] = weights

    for module in model.modules():
        bias = (
            {} if getattr(module, "bias", None) is None else {"bias": module.bias.detach().numpy()}
        )
        if isinstance(module, nn.Conv2d):
            out, inputs, *k = module.weight.shape
            binary = type(module) is not nn.Conv2d
            add("quant_conv2d" if binary else "conv2d", kernel(*k, inputs, out, **bias))
        elif isinstance(module, nn.Linear):
            out, inputs = module.weight.shape
            shape = (1, 1, inputs, out) if name == "binary_alexnet" else (inputs, out)
            add(dense if type(module) is not nn.Linear else "dense", kernel(*shape, **bias))
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            add("batch_normalization", norm(module.num_features, *NORM[1:]))
    larq.load(model, write(tmp_path / "net.h5", layers))
    first = next(m for m in model.modules() if isinstance(m, nn.Linear))
    number = 5 if name == "binary_alexnet" else 0
    values = layers[f"{dense}_{number}" if number else dense]["kernel"]
    x = torch.randn(2, channels, height, width)
    keras = x.permute(0, 2, 3, 1).flatten(1) @ torch.from_numpy(values).flatten(0, -2)
    torch.testing.assert_close(nn.functional.linear(x.flatten(1), first.weight), keras)


def test_real_to_binary_by_name(tmp_path):
    model = create("real_to_binary_net", layers=(2, 2), width=8, num_classes=5, padding="tf")
    p = "r2b_bnn_block"
    layers = {
        f"{p}_1_conv2d": kernel(7, 7, 3, 8),
        f"{p}_1_batch_norm": norm(8),
        f"{p}_1_prelu": {"alpha": np.full((1, 1, 8), 0.1, np.float32)},
    }
    for i, (half, inputs, out) in enumerate(
        (("2a", 8, 8), ("2b", 8, 8), ("3a", 8, 16), ("3b", 16, 16))
    ):
        hidden = inputs // 8
        layers |= {
            f"{p}_{half}_batch_norm": norm(inputs),
            f"{p}_{half}_scaling_dense_reduce": kernel(inputs, hidden),
            f"{p}_{half}_scaling_dense_expand": kernel(hidden, out),
            f"{p}_{half}_conv2d": kernel(3, 3, inputs, out),
            f"{p}_{half}_prelu": {"alpha": np.full((1, 1, out), i, np.float32)},
        }
    layers[f"{p}_3a_shortcut_conv2d"] = kernel(1, 1, 8, 16)
    layers[f"{p}_3a_shortcut_batch_norm"] = norm(16)
    layers[f"{p}_4_logits"] = kernel(16, 5, bias=np.ones(5, np.float32))
    larq.load(model, write(tmp_path / "net.h5", layers))
    block = model.stages[1][0]
    assert torch.equal(block.act.weight, torch.full((16,), 2.0))
    assert torch.equal(block.conv.weight, oihw(layers[f"{p}_3a_conv2d"]["kernel"]))
    assert torch.equal(
        block.downsample[1].weight, oihw(layers[f"{p}_3a_shortcut_conv2d"]["kernel"])
    )
    gate = block.conv.activation_post_process
    expand = torch.from_numpy(layers[f"{p}_3a_scaling_dense_expand"]["kernel"])
    assert torch.equal(gate.expand.weight, expand.t())
    assert torch.equal(model.stem[2].weight, torch.full((8,), 0.1))


def meliusnet_layers():
    layers = {"stem_s0_conv": kernel(3, 3, 3, 32), "stem_s0_bn": norm(32)}
    layers |= {f"stem_s1_groupconv_conv{i}": kernel(3, 3, 8, 8) for i in range(4)}
    layers["stem_s1_groupconv_conv2"] = {"kernel": np.full((3, 3, 8, 8), 2, np.float32)}
    layers["stem_s1_bn"] = norm(32)
    layers |= {f"stem_s2_groupconv_conv{i}": kernel(3, 3, 4, 8) for i in range(8)}
    layers["stem_s2_bn"] = norm(64)
    channels = 64
    for i in range(2):
        for kind, grown in (("dense", 0), ("improve", 8)):
            layers[f"section_{i}_block_0_{kind}_bn"] = norm(channels + grown)
            layers[f"section_{i}_block_0_{kind}_binconv"] = kernel(3, 3, channels + grown, 8)
        channels += 8
        if i == 0:
            layers["section_0_transition_bn"] = norm(channels)
            layers["section_0_transition_pw"] = kernel(1, 1, channels, 16)
            channels = 16
    return layers | {"head_bn": norm(24), "head_dense": kernel(24, 5, bias=np.zeros(5, np.float32))}


def meliusnet():
    return create(
        "meliusnet22", blocks=(1, 1), transitions=(16,), growth=8, num_classes=5, padding="tf"
    )


def test_meliusnet_by_name_and_its_groups_become_one_convolution(tmp_path):
    layers = meliusnet_layers()
    model = larq.load(meliusnet(), write(tmp_path / "net.h5", layers))
    grouped = model.stem[3].weight
    assert grouped.shape == (32, 8, 3, 3)
    assert torch.equal(grouped[16:24], torch.full((8, 8, 3, 3), 2.0))
    assert torch.equal(grouped[:8], oihw(layers["stem_s1_groupconv_conv0"]["kernel"]))
    improve = layers["section_1_block_0_improve_binconv"]["kernel"]
    assert torch.equal(model.stages[1][0].improve.conv.weight, oihw(improve))
    assert torch.equal(
        model.stages[0][1][3].weight, oihw(layers["section_0_transition_pw"]["kernel"])
    )


def test_a_wrong_layer_is_named_and_the_model_stays_as_it_was(tmp_path):
    layers = meliusnet_layers()
    layers["section_9_block_0_dense_bn"] = layers.pop("section_1_block_0_dense_bn")
    del layers["head_dense"]
    model = meliusnet()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        larq.load(model, write(tmp_path / "net.h5", layers))
    assert "missing: head_dense, section_1_block_0_dense_bn" in str(caught.value)
    assert "unexpected: section_9_block_0_dense_bn" in str(caught.value)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.pop("quant_conv2d_5"), "missing: quant_conv2d for sections.1.2.conv"),
        (lambda x: x.update(batch_normalization_7=norm(16)), "unexpected: batch_normalization_7"),
        (lambda x: x.update(p_re_lu={"alpha": np.ones(3, np.float32)}), "unexpected: p_re_lu"),
        (lambda x: x.update(quant_conv2d_2=kernel(3, 3, 8, 9)), "(9, 8, 3, 3), but the network"),
        (lambda x: x.update(batch_normalization_1=norm(2)), "has no stem.4.weight"),
        (lambda x: x["batch_normalization_2"].pop("gamma"), "missing: stem.6.weight"),
        (lambda x: x["quant_dense"].update(scale=np.ones(5, np.float32)), "has 'scale'"),
        (
            lambda x: x["quant_dense"].update(bias=np.ones(5, np.int32)),
            "holds int32, not floats",
        ),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, change, message):
    layers = quicknet_layers()
    change(layers)
    model = quicknet()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        larq.load(model, write(tmp_path / "net.h5", layers))
    assert message in str(caught.value)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text.h5").write_text("hello")
    whole = write(tmp_path / "whole.h5", quicknet_layers()).read_bytes()
    for kept in (100, len(whole) // 2, len(whole) - 100):
        (tmp_path / f"first{kept}.h5").write_bytes(whole[:kept])
    with h5py.File(tmp_path / "keras3.weights.h5", "w") as file:
        file.create_group("layers")
    for name, message in (
        ("none.h5", r"^there is no file .*none\.h5\.$"),
        ("", "is a folder"),
        ("text.h5", "it is no HDF5 file"),
        ("first100.h5", "it is damaged or not whole"),
        (f"first{len(whole) // 2}.h5", "it is damaged or not whole"),
        (f"first{len(whole) - 100}.h5", "it is damaged or not whole"),
        ("keras3.weights.h5", "no layer_names"),
    ):
        with pytest.raises(CheckpointError, match=message) as caught:
            larq.load(quicknet(), tmp_path / name)
        assert len(str(caught.value).splitlines()) == 1


def test_a_block_of_the_users_own_may_be_in_front(tmp_path):
    with h5py.File(tmp_path / "net.h5", "w", userblock_size=1024) as file:
        file.create_group("layers")
    with pytest.raises(CheckpointError, match="no layer_names"):
        larq.load(quicknet(), tmp_path / "net.h5")


def test_what_is_wrong_with_a_file_comes_before_what_is_not_installed(tmp_path, monkeypatch):
    path = write(tmp_path / "net.h5", quicknet_layers())
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(CheckpointError, match="there is no file"):
        larq.load(quicknet(), tmp_path / "none.h5")
    with pytest.raises(MissingExtraError, match=r"Run: pip install h5py$"):
        larq.load(quicknet(), path)


def test_a_network_that_pads_as_torch_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="padding='tf'"):
        larq.load(create("quicknet", num_classes=5), tmp_path / "net.h5")


def test_the_networks_dtype_stays(tmp_path):
    layers = quicknet_layers()
    model = larq.load(quicknet().double(), write(tmp_path / "net.h5", layers))
    assert all(p.dtype == torch.float64 for p in model.parameters())

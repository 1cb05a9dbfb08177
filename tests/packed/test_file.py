"""Packed files: round trips, what is refused and what is said, and how a file is written."""

import copy
import io
import json
import os
import pickle
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import bnn
from bnn import BConfig, models
from bnn.errors import PackedError, PackedFormatError
from bnn.models.blocks import PreBasicBlock
from bnn.ops import (
    BasicInputBinarizer,
    DoReFaInputBinarizer,
    TernaryWeightBinarizer,
    XNORWeightBinarizer,
)
from bnn.packed import Preprocessing, container
from bnn.packed.graph import Graph, Node, ValueRef
from bnn.packed.graph import json as graph_json

BINARY = BConfig(BasicInputBinarizer, weight_pre_process=XNORWeightBinarizer)
WEIGHT_ONLY = BConfig(weight_pre_process=XNORWeightBinarizer)


def trained(model, shape, bconfig=BINARY, **options):
    """Return a packed model whose statistics are not those of a new one, and an input."""
    torch.manual_seed(0)
    bnn.prepare_binary_model(model, bconfig, **options)
    model.train()
    for _ in range(2):
        model(torch.randn(4, *shape[1:]))
    x = torch.randn(shape)
    return bnn.pack(model.eval(), x), x


class Odd(nn.Module):
    """Operations that no classifier has, two inputs, and outputs by name."""

    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1)
        self.conv = nn.Conv2d(6, 8, 3, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.larger = nn.Upsample(scale_factor=2, mode="bilinear")
        self.fc = nn.Linear(8, 5)
        self.last = nn.LayerNorm(5)

    def forward(self, x, y):
        x = torch.cat([self.up(x), y], 2)
        x = self.larger(self.norm(self.conv(x)))
        rows = x.flatten(2).permute(0, 2, 1)
        rows = self.last(self.fc(rows)).softmax(-1)
        return {"rows": rows, "parts": (x[:, 2:], [rows.mean(1)])}


def resnet():
    return trained(models.resnet8(in_channels=1), (2, 1, 12, 12), ignore_layers_name=["_first_"])


def prebasic():
    model = models.resnet18(
        block_type=PreBasicBlock, activation=nn.PReLU, stem_type="dabnn", num_classes=7
    )
    return trained(model, (1, 3, 64, 64), ignore_layers_name=["$^stem_$", "_first_", "_last_"])


def weight_only():
    return trained(models.resnet8(in_channels=1), (2, 1, 12, 12), WEIGHT_ONLY)


def linear():
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(70, 65), nn.BatchNorm1d(65), nn.PReLU(), nn.Linear(65, 3)
    )
    return trained(model, (3, 7, 10))


def conv1d():
    model = nn.Sequential(
        nn.Conv1d(3, 70, 5, stride=2), nn.BatchNorm1d(70), nn.Hardtanh(), nn.Conv1d(70, 4, 3)
    )
    return trained(model, (2, 3, 31))


def odd():
    model = Odd()
    inputs = (torch.randn(2, 4, 5, 5), torch.randn(2, 6, 3, 12))
    return bnn.pack(model.eval(), inputs), inputs


NETWORKS = [resnet, prebasic, weight_only, linear, conv1d, odd]


def flat(output):
    return torch.utils._pytree.tree_flatten(output)


def run(network, x):
    return network(*x) if isinstance(x, tuple) else network(x)


@pytest.fixture(scope="module")
def small():
    return resnet()


@pytest.fixture(scope="module")
def content(small, tmp_path_factory):
    path = tmp_path_factory.mktemp("small") / "net.bnn"
    small[0].save(path)
    return path.read_bytes()


@pytest.fixture
def refused(tmp_path):
    """Return a function that writes bytes, and says with which message they are refused."""

    def refuse(content):
        path = tmp_path / "bad.bnn"
        path.write_bytes(content)
        with pytest.raises(PackedFormatError) as caught:
            bnn.load(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: ")
        assert len(message) < 2000
        assert message.replace("\n", "").isprintable()
        return message

    return refuse


# --- round trips --------------------------------------------------------------------------------


@pytest.mark.parametrize("make", NETWORKS)
def test_round_trip(make, tmp_path):
    network, x = make()
    path = tmp_path / "net.bnn"
    network.save(path)
    loaded = bnn.load(path)
    values, structure = flat(run(network, x))
    found, same_structure = flat(run(loaded, x))
    assert str(structure).replace("immutable_", "") == str(same_structure)  # torch.fx's list
    assert all(torch.equal(a, b) for a, b in zip(values, found, strict=True))
    assert loaded.report == network.report
    assert loaded.example_shapes == network.example_shapes
    assert loaded.nbytes == network.nbytes
    again = tmp_path / "again.bnn"
    bnn.save(loaded, str(again))
    assert again.read_bytes() == path.read_bytes()


def test_in_a_new_process_without_the_code_that_trained_it(small, content, tmp_path):
    network, x = small
    (tmp_path / "net.bnn").write_bytes(content)
    torch.save(x, tmp_path / "x.pt")
    code = (
        "import sys, torch\n"
        "import bnn.packed\n"
        "network = bnn.packed.load('net.bnn')\n"
        "torch.save(network(torch.load('x.pt')), 'y.pt')\n"
        "for name in ('bnn.models', 'bnn.training', 'bnn.executor', 'torch._dynamo'):\n"
        "    assert name not in sys.modules, name\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert torch.equal(torch.load(tmp_path / "y.pt"), network(x))


def test_resnet18_is_small_and_a_safetensors_file(tmp_path):
    model = models.resnet18(block_type=PreBasicBlock, activation=nn.PReLU, stem_type="dabnn")
    ignored = ["_first_", "$^stem_$", "$downsample$", "_last_"]
    bnn.prepare_binary_model(model, BINARY, ignore_layers_name=ignored)
    network = bnn.pack(model.eval(), torch.zeros(1, 3, 64, 64))
    path = tmp_path / "resnet18.bnn"
    network.save(path)
    assert path.stat().st_size <= 4_250_000
    tensors = load_file(path)
    assert sum(x.nbytes for x in tensors.values()) == network.nbytes
    info = bnn.file_info(path)
    assert (info.size, info.version) == (path.stat().st_size, 1)
    assert info.binary_bytes == 10_985_472 // 8
    assert info.binary_bytes + info.float_bytes == network.nbytes
    assert sum(layer.bits == 1 for layer in info.layers) == 16
    assert info.layers[-1].weight_shape == (1000, 512)
    assert {layer.weight_shape for layer in info.layers if layer.bits == 1} >= {(64, 3, 3, 64)}
    assert json.loads(json.dumps(info.as_dict()))["report"]["how"] == "graph"


def planes():
    """Return a network of three planes of input and two of weight."""
    config = BConfig(
        DoReFaInputBinarizer.with_args(bits=3), weight_pre_process=TernaryWeightBinarizer
    )
    return trained(models.resnet8(in_channels=1), (2, 1, 12, 12), config)


def words(network):
    return [n.tensors["weight"] for n in network.graph.nodes if n.op == "binary_conv"]


def test_the_planes_of_an_input_share_the_weight(tmp_path):
    network, x = planes()
    network.save(tmp_path / "net.bnn")
    loaded = bnn.load(tmp_path / "net.bnn")
    assert torch.equal(loaded(x), network(x))
    stored = load_file(tmp_path / "net.bnn")
    assert sum(x.nbytes for x in stored.values()) == network.nbytes
    info = bnn.file_info(tmp_path / "net.bnn")
    assert info.binary_bytes + info.float_bytes == network.nbytes
    others = [copy.deepcopy(loaded), pickle.loads(pickle.dumps(network)), loaded.to("meta")]
    for other in (network, bnn.load(tmp_path / "net.bnn"), *others):
        found = words(other)
        different = {id(weight) for weight in found}
        assert len(found) == 3 * len(different)
    assert info.binary_bytes == sum({id(w): w.nbytes for w in words(network)}.values())
    network.save(tmp_path / "again.bnn")
    bnn.load(tmp_path / "again.bnn").save(tmp_path / "net.bnn")
    assert (tmp_path / "net.bnn").read_bytes() == (tmp_path / "again.bnn").read_bytes()


def test_another_device_is_saved_as_the_cpu(small, tmp_path):
    network = copy.deepcopy(small[0])
    network.save(tmp_path / "a.bnn")
    if torch.cuda.is_available():
        network.cuda().save(tmp_path / "b.bnn")
        assert (tmp_path / "a.bnn").read_bytes() == (tmp_path / "b.bnn").read_bytes()


def test_what_runs_in_python_is_not_saved(tmp_path):
    class Own(nn.Module):
        def forward(self, x):
            return torch.fft.fft(x).real

    network = bnn.pack(nn.Sequential(nn.Linear(4, 4), Own()), torch.zeros(2, 4))
    with pytest.raises(PackedFormatError, match=r"cannot be saved: '.*fft.*runs as it was"):
        network.save(tmp_path / "net.bnn")
    assert not list(tmp_path.iterdir())


def test_an_output_that_a_file_cannot_hold(small, tmp_path):
    network = copy.copy(small[0])
    network.graph = copy.copy(network.graph)
    network.graph.output = {1: network.graph.output}
    with pytest.raises(PackedFormatError, match="returns a dict; a file holds"):
        network.save(tmp_path / "net.bnn")


def test_loaded_networks_are_independent(small, content, tmp_path):
    path = tmp_path / "net.bnn"
    path.write_bytes(content)
    first, second = bnn.load(path), bnn.load(path)
    path.unlink()
    next(first.buffers()).zero_()
    assert torch.equal(second(small[1]), small[0](small[1]))
    copied = pickle.loads(pickle.dumps(second))
    assert torch.equal(copied(small[1]), small[0](small[1]))


# --- how pictures are prepared --------------------------------------------------------------------

GREY = Preprocessing((10, 12), 1, (0.25,), (0.5,))


def test_preprocessing_is_kept(small, tmp_path):
    network = copy.copy(small[0])
    path = tmp_path / "net.bnn"
    bnn.save(network, path)
    plain = path.read_bytes()
    assert bnn.load(path).preprocessing is None
    assert bnn.file_info(path).preprocessing is None
    network.preprocessing = GREY
    bnn.save(network, path)
    assert path.read_bytes() != plain
    assert bnn.file_info(path).preprocessing == GREY
    loaded = bnn.load(path)
    assert loaded.preprocessing == copy.deepcopy(loaded).preprocessing == GREY
    assert torch.equal(loaded(small[1]), small[0](small[1]))
    bnn.save(loaded, tmp_path / "again.bnn")
    assert (tmp_path / "again.bnn").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"size": [10, 12]}, "a bnn.packed.Preprocessing"),
        (Preprocessing((10, 12), 3, (0.5,) * 3, (0.5,) * 3), "3 channels, but the network takes"),
        (Preprocessing((10, 12), 1, (float("nan"),), (0.5,)), "mean is"),
    ],
)
def test_preprocessing_that_is_not_written(small, tmp_path, wrong, said):
    network = copy.copy(small[0])
    network.preprocessing = wrong
    with pytest.raises(PackedFormatError, match=said):
        bnn.save(network, tmp_path / "net.bnn")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change",
    [
        None,
        [],
        "none",
        {},
        {"more": 1},
        *({"size": size} for size in (8, [8], [0, 8], [8, 2**40], [8.0, 8], [True, 8], "88", None)),
        *({"channels": channels} for channels in (0, 2, -1, 1.0, True, "1", None, 10**40)),
        *({"mean": mean} for mean in (0.5, [], [0.5, 0.5], ["0"], [None], [1e300], [True], {})),
        *({"std": std} for std in ([0], [0.0], [-1], [1e300], [10**400], [[1]])),
    ],
    ids=str,
)
def test_preprocessing_that_is_refused(parts, content, refused, change):
    found = parts(content)
    item = GREY.as_json()
    if change == {}:
        del item["std"]
    found.document["preprocessing"] = {**item, **change} if isinstance(change, dict) else change
    assert "preprocessing" in refused(found.join())


def test_preprocessing_of_what_is_no_picture(tmp_path):
    network, _ = linear()
    network.preprocessing = GREY
    with pytest.raises(PackedFormatError, match="but the network takes 3x7x10"):
        network.save(tmp_path / "net.bnn")


# --- damage -------------------------------------------------------------------------------------


def test_every_truncation_is_found(content, refused):
    for length in {*range(60), *range(0, len(content), 97), len(content) - 1}:
        refused(content[:length])
    refused(content + b"\0")
    refused(content + content)


def test_every_flipped_bit_is_found(content, refused):
    for at in {*range(100), *range(100, len(content), 61), len(content) - 1}:
        damaged = bytearray(content)
        damaged[at] ^= 1 << at % 8
        refused(bytes(damaged))


def test_padding_belongs_to_the_digest(content, refused, parts):
    found = parts(content)
    for space in ("", " ", "  ", "   ", "    ", "     ", "      ", "       "):
        padded = found.join(text=json.dumps(found.document) + space)
        end = 8 + int.from_bytes(padded[:8], "little")
        if padded[end - 1 : end] == b" ":
            assert "digest" in refused(padded[: end - 1] + b"\n" + padded[end:])
            return
    raise AssertionError("no file was padded")


def test_not_a_file(tmp_path):
    cases = [(tmp_path, "is no .bnn file: it is a folder"), (tmp_path / "none.bnn", "No such file")]
    for path, said in [*cases, ("", "path is empty")]:
        with pytest.raises(PackedFormatError, match=said) as caught:
            bnn.load(path)
        assert caught.value.__suppress_context__ or not path  # one traceback, not three
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(PackedFormatError, match="no file"):
            bnn.load(tmp_path / "pipe")


def test_other_formats(refused, tmp_path):
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(3)}, buffer)
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.writestr("a", "b" * 100)
    for other in [
        b"",
        b"\0" * 100,
        pickle.dumps({"a": 1}),
        buffer.getvalue(),
        (tmp_path / "some.zip").read_bytes(),
        b"hello " * 50,
        (2).to_bytes(8, "little") + b"{}",
        (8).to_bytes(8, "little") + b"{}      ",
        (8).to_bytes(8, "little") + b"[]      ",
        (8).to_bytes(8, "little") + b"{\xff\xff}    ",
        (2**63).to_bytes(8, "little") + b"{}" * 100,
    ]:
        assert ": is no .bnn file" in refused(other) or other.endswith(b"    ")
    assert "pack it first: bnn pack" in refused(buffer.getvalue())


# A header of 640 bytes begins as a pickle does.
def test_a_length_that_looks_like_another_format(refused):
    assert "pack it first" not in refused((640).to_bytes(8, "little") + b"[" * 640)


def test_a_file_larger_than_its_limit_is_not_read(tmp_path):
    path = tmp_path / "huge.bnn"
    with path.open("wb") as file:
        file.truncate(container.MOST_FILE + 8)
    with pytest.raises(PackedFormatError, match="at most"):
        bnn.load(path)


def test_a_newer_version(parts, content, refused):
    found = parts(content)
    found.document["version"] = 3
    said = refused(found.join())
    assert "version 3 is newer than this bnn (reads 1). Upgrade bnn or export again." in said
    for version in (0, -1, True, "1", None, 1.0, 10**30):
        found.document["version"] = version
        refused(found.join())
    found.document["format"] = "onnx"
    assert "its format is 'onnx'" in refused(found.join())


def test_duplicate_keys(parts, content, refused, seal):
    found = parts(content)
    text = json.dumps(found.document)
    assert "given twice" in refused(found.join(text=text.replace('"op":', '"name": "a", "op":', 1)))
    raw = content[8 : 8 + int.from_bytes(content[:8], "little")]
    name = next(iter(found.header)).encode()
    entry = json.dumps(next(iter(found.header.values()))).encode()
    twice = raw.rstrip()[:-1] + b',"' + name + b'":' + entry + b"}"
    assert "given twice" in refused(seal(twice, found.data))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, "1" * 400])
def test_numbers_that_are_none(parts, content, refused, number):
    found = parts(content)
    text = json.dumps(found.document).replace('"groups": 1', f'"groups": {number}', 1)
    refused(found.join(text=text))


@pytest.mark.parametrize("depth", [50, 500, 5000, 500_000])
@pytest.mark.parametrize("pair", ["[]", ('{"list":[', "]}"), ('{"a":', "}")])
def test_deep_nesting(parts, content, refused, depth, pair):
    found = parts(content)
    deep = pair[0] * depth + "1" + pair[1] * depth
    text = json.dumps({**found.document, "output": "@"}).replace('"@"', deep)
    refused(found.join(text=text))
    attribute = json.dumps(found.document).replace('"groups": 1', f'"groups": {deep}', 1)
    refused(found.join(text=attribute))


def test_a_header_that_is_nested_deeply(refused, seal):
    refused(seal(b'{"a":' * 10**5 + b"1" + b"}" * 10**5, b""))


def test_an_oversized_header(refused, seal, content, parts):
    found = parts(content)
    raw = content[8 : 8 + int.from_bytes(content[:8], "little")]
    assert "header" in refused(seal(raw + b" " * container.MOST_HEADER, found.data))


def _tensors(header, key, value):
    name = next(name for name in header if name.endswith(".weight"))
    header[name] = {**header[name], key: value}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dtype", "F64"),
        ("dtype", "F32"),
        ("dtype", 3),
        ("dtype", ["I64"]),
        ("shape", [1]),
        ("shape", []),
        ("shape", [2**62, 4]),
        ("shape", [2**32, 2**32]),
        ("shape", [-1, -1]),
        ("shape", [0]),
        ("shape", [1.0]),
        ("shape", [True]),
        ("shape", [1] * 100),
        ("shape", "64"),
        ("data_offsets", [0, 8]),
        ("data_offsets", [8, 0]),
        ("data_offsets", [-8, 0]),
        ("data_offsets", [0, 2**60]),
        ("data_offsets", [0]),
        ("data_offsets", None),
        ("more", 1),
    ],
)
def test_a_tensor_that_lies(parts, content, refused, key, value):
    found = parts(content)
    _tensors(found.header, key, value)
    refused(found.join())


def test_overlapping_missing_and_surplus_tensors(parts, content, refused):
    found = parts(content)
    first, second, *_ = [name for name, item in found.header.items() if item["dtype"] == "F32"]
    found.header[second] = found.header[first]
    refused(found.join())
    found = parts(content)
    del found.header[first]
    refused(found.join())
    found = parts(content)
    found.header["more.weight"] = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    refused(found.join())
    found = parts(content)
    size = len(found.data)
    found.header["more.weight"] = {"dtype": "F32", "shape": [1], "data_offsets": [size, size + 4]}
    grown = found._replace(data=found.data + b"\0\0\0\0")
    assert "belongs to no node" in refused(grown.join())


def test_pad_bits_must_be_zero(tmp_path, parts, refused):
    network, _ = linear()
    network.save(tmp_path / "net.bnn")
    found = parts((tmp_path / "net.bnn").read_bytes())
    name, item = next((n, i) for n, i in found.header.items() if i["dtype"] == "I64")
    assert item["shape"] == [65, 2], name  # 70 bits: 58 of them unused
    for at in (15, 16 * 65 - 1, 16 * 30 + 9):
        data = bytearray(found.data)
        data[at] |= 0x80
        said = refused(found._replace(data=bytes(data)).join())
        assert "must hold 70 bits in 2 words, and its unused bits must be 0" in said


# --- graphs -------------------------------------------------------------------------------------


def nodes(document, op):
    return next(node for node in document["nodes"] if node["op"] == op)


def share(document, **shared):
    nodes(document, "binary_conv")["shared"] = shared


GRAPHS = {
    "unknown operation": (lambda d: nodes(d, "conv").update(op="exec"), "no operation 'exec'"),
    "opaque": (lambda d: nodes(d, "conv").update(op="opaque"), "no operation 'opaque'"),
    "unknown key": (lambda d: nodes(d, "conv").update(call="os.system"), "unknown key 'call'"),
    "unknown attribute": (
        lambda d: nodes(d, "conv")["attrs"].update(code=1),
        "unknown attribute 'code'",
    ),
    "missing attribute": (lambda d: nodes(d, "conv")["attrs"].pop("stride"), "stride is missing"),
    "missing key": (lambda d: nodes(d, "conv").pop("attrs"), "attrs is missing"),
    "shares with nobody": (lambda d: share(d, weight="nobody"), "an earlier node must hold it"),
    "shares with itself": (
        lambda d: share(d, weight=nodes(d, "binary_conv")["name"]),
        "an earlier node must hold it",
    ),
    "shares with a later node": (
        lambda d: share(d, weight=d["nodes"][-1]["name"]),
        "an earlier node must hold it",
    ),
    "shares what it has not": (
        lambda d: share(d, more=nodes(d, "conv")["name"]),
        "it must be one of both",
    ),
    "shares and has its own": (
        lambda d: share(d, weight=nodes(d, "conv")["name"]),
        "belongs to no node",
    ),
    "shared is no object": (lambda d: d["nodes"][0].update(shared=["weight"]), "object of texts"),
    "shared is no text": (lambda d: share(d, weight=0), "must be text"),
    "cycle": (
        lambda d: nodes(d, "conv").update(inputs=d["nodes"][-1]["outputs"]),
        "which no earlier node writes",
    ),
    "reads itself": (
        lambda d: nodes(d, "conv").update(inputs=nodes(d, "conv")["outputs"][:1]),
        "which no earlier node writes",
    ),
    "reads nothing": (lambda d: nodes(d, "conv").update(inputs=[65535]), "no earlier node writes"),
    "out of range": (lambda d: nodes(d, "conv").update(inputs=[2**40]), "from 0 to 65,535"),
    "negative": (lambda d: nodes(d, "conv").update(inputs=[-1]), "from 0 to 65,535"),
    "not an int": (lambda d: nodes(d, "conv").update(inputs=[0.0]), "from 0 to 65,535"),
    "a bool": (lambda d: nodes(d, "conv").update(inputs=[False]), "from 0 to 65,535"),
    "written twice": (
        lambda d: d["nodes"][-1].update(outputs=d["inputs"]),
        "writes value 0 a second time",
    ),
    "too many inputs": (lambda d: nodes(d, "conv").update(inputs=[0, 0]), "2 inputs"),
    "output of bits": (
        lambda d: d.update(output=nodes(d, "binary_conv")["inputs"][0]),
        "no tensor of floats",
    ),
    "output of nothing": (lambda d: d.update(output=60000), "no tensor of floats"),
    "no output": (lambda d: d.update(output={"list": []}), "returns no tensor"),
    "output null": (lambda d: d.update(output=None), "returns no tensor"),
    "output text": (lambda d: d.update(output="0"), "output has '0'"),
    "output set": (lambda d: d.update(output={"set": [0]}), "output has"),
    "equal names": (
        lambda d: d["nodes"][-1].update(name=d["nodes"][0]["name"]),
        "two nodes are named",
    ),
    "control character": (lambda d: d["nodes"][0].update(name="\x1b[2J"), "cannot be printed"),
    "surrogate": (lambda d: d["nodes"][0].update(name="\ud800"), "cannot be printed"),
    "long name": (lambda d: d["nodes"][0].update(name="a" * 1000), "text up to 512"),
    "padding": (
        lambda d: nodes(d, "conv")["attrs"].update(padding=[2**30, 2**30]),
        "an int from 0 to 65536",
    ),
    "padding that exhausts": (
        lambda d: nodes(d, "conv")["attrs"].update(padding=[60000, 60000]),
        "with its padding",
    ),
    "binary padding": (
        lambda d: nodes(d, "binary_conv")["attrs"].update(padding=[60000] * 4),
        "does not fit",
    ),
    "short padding": (
        lambda d: nodes(d, "conv")["attrs"].update(padding=[1]),
        "it must have 2 entries",
    ),
    "huge dilation": (
        lambda d: nodes(d, "conv")["attrs"].update(dilation=[2**31 - 1, 1]),
        "larger than the padded image",
    ),
    "output size": (
        lambda d: nodes(d, "adaptive_avg_pool")["attrs"].update(output_size=[2**16, 2**16]),
        "numbers",
    ),
    "output size of three axes": (
        lambda d: nodes(d, "adaptive_avg_pool")["attrs"].update(output_size=[1, 1, 1]),
        "must have 5",
    ),
    "groups": (lambda d: nodes(d, "binary_conv")["attrs"].update(groups=3), "does not fit"),
    "channels": (
        lambda d: nodes(d, "binary_conv")["attrs"].update(in_channels=17),
        "reads 16 channels",
    ),
    "axis": (lambda d: nodes(d, "conv")["attrs"].update(axis=-1), "unknown attribute 'axis'"),
    "binary axis": (lambda d: nodes(d, "binary_conv")["attrs"].update(axis=-1), "axis must be 1"),
    "example of another rank": (lambda d: d.update(example_shapes=[[2, 1, 12]]), "does not fit"),
    "huge example": (
        lambda d: d.update(example_shapes=[[2**28, 1, 12, 12]]),
        "numbers",
    ),
    "empty example": (lambda d: d.update(example_shapes=[[0, 1, 12, 12]]), "from 1"),
    "two examples": (lambda d: d["example_shapes"].append([1]), "1 to 1 entries"),
    "no input": (lambda d: d.update(inputs=[]), "list of 1 to"),
    "report": (lambda d: d["report"].update(how="magic"), "how is 'magic'"),
    "report bytes": (lambda d: d["report"].update(float_bytes=-1), "from 0"),
    "nodes": (
        lambda d: d.update(nodes=d["nodes"] * (1 + graph_json.MOST_NODES // len(d["nodes"]))),
        "nodes must be a list",
    ),
    "no object": (lambda d: d.update(nodes={}), "nodes must be a list"),
}


@pytest.mark.parametrize("case", GRAPHS)
def test_a_graph_that_is_wrong(parts, content, refused, case):
    change, said = GRAPHS[case]
    found = parts(content)
    change(found.document)
    assert said in refused(found.join())


def made(node_list, shape, output):
    """Return a network of these nodes."""
    report = bnn.PackReport("graph", ())
    return bnn.PackedNetwork(Graph([0], node_list, output, 99), report, [shape])


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (Node("map", [0], [1], {"axis": 1}, {"scale": torch.ones(1)}), "1 numbers for 4 channels"),
        (Node("linear", [0], [1], {"axis": 1}, {"weight": torch.ones(2, 6)}), "axis must be -1"),
        (Node("scalar", [0], [1], {"function": "add", "value": 10**300}), "more than 20 digits"),
        (Node("scalar", [0], [1], {"function": "add", "value": 1e300}), "float32 holds"),
        (Node("repeat_interleave", [0], [1], {"repeats": 2**31 - 1, "dim": 0}), "numbers"),
        (Node("pad", [0], [1], {"pads": [2**20] * 6, "mode": "constant", "value": 0.0}), "numbers"),
        (Node("view", [0], [1], {"shape": [2**30, 2**30, 16]}), "does not fit"),
        (Node("interpolate", [0], [1], {"factors": [None], "mode": "nearest"}), "factors"),
        (Node("permute", [0], [1], {"dims": [0, 0, 1]}), "an axis twice"),
        (Node("squeeze", [0], [1], {"dim": 5}), "no axis 5"),
        (Node("max_pool", [0], [1], {"kernel_size": [], "stride": []}), "missing"),
    ],
)
def test_a_node_that_does_not_fit_is_not_saved(node, said, tmp_path):
    with pytest.raises(PackedFormatError, match=said):
        made([node], [3, 4, 6], ValueRef(1)).save(tmp_path / "net.bnn")
    assert not list(tmp_path.iterdir())


def test_numbers_that_grow_without_end():
    size = Node("size", [0], [1], {"dim": 0})
    grow = [
        Node("arithmetic", [i, i], [i + 1], {"function": "mul"}, name=str(i)) for i in range(1, 200)
    ]
    network = made([size, *grow], [100, 3], ValueRef(0))
    with pytest.raises(PackedError, match="too large"):
        graph_json.check(network.graph, [[100, 3]])
    divide = Node("arithmetic", [1, 2], [3], {"function": "floordiv"})
    zero = Node("number", [], [2], {"value": 0}, name="zero")
    network = made([size, zero, divide], [100, 3], ValueRef(0))
    with pytest.raises(PackedError, match="zero"):
        graph_json.check(network.graph, [[100, 3]])


# --- writing ------------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_file(small, content, tmp_path, monkeypatch):
    path = tmp_path / "net.bnn"
    path.write_bytes(b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PackedFormatError, match=r"net\.bnn: it cannot be written: No space left"):
        small[0].save(path)
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == [b"old"]
    monkeypatch.undo()
    small[0].save(path)
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == [content]


def test_where_it_cannot_be_written(small, tmp_path):
    for path in (tmp_path, tmp_path / "none" / "net.bnn", Path("/dev/null")):
        with pytest.raises(PackedFormatError, match="cannot be written"):
            small[0].save(path)
    assert not list(tmp_path.iterdir())


def test_permissions_and_links(small, tmp_path):
    path, other, link = (tmp_path / name for name in ("net.bnn", "other.bnn", "link.bnn"))
    small[0].save(path)
    other.write_bytes(b"")
    assert path.stat().st_mode == other.stat().st_mode
    other.chmod(0o640)
    link.symlink_to(other)
    small[0].save(link)
    assert link.is_symlink()
    assert other.stat().st_mode & 0o777 == 0o640
    assert other.read_bytes() == path.read_bytes()


def test_readers_never_see_a_part(small, content, tmp_path):
    path = tmp_path / "net.bnn"
    path.write_bytes(content)
    stop = threading.Event()
    seen = []

    def read():
        while not stop.is_set():
            seen.append(path.read_bytes() == content)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(20):
        small[0].save(path)
    stop.set()
    reader.join()
    assert all(seen)

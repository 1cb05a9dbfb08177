"""22,000 mutated files: each is refused with PackedFormatError, or is a network that runs.

A third of them is damaged as bytes, which the digest finds. The others are changed in their JSON or
header, or get a node more, and have the right digest: what is behind it must find the rest.
"""

import json
import math
import random
import tempfile
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import bnn
from bnn import BConfig
from bnn.errors import PackedFormatError
from bnn.ops import BasicInputBinarizer, DoReFaInputBinarizer, XNORWeightBinarizer
from bnn.packed.graph import OPERATIONS, check_graph
from bnn.packed.run import run_eagerly

BINARY = BConfig(BasicInputBinarizer, weight_pre_process=XNORWeightBinarizer)
PLANES = BConfig(DoReFaInputBinarizer.with_args(bits=2), weight_pre_process=XNORWeightBinarizer)
BYTES, STRUCTURE, NODES = 8_000, 8_000, 6_000
NORMS = ("layer_norm", "group_norm")
MOST_RUN = 2**18  # numbers in all values of a network that is run here

INTERESTING = [
    None, True, False, 0, 1, -1, 2, 3, 63, 64, 65, 127, 255, 256, 65535, 65536, 2**31 - 1, 2**31,
    2**53, 2**63 - 1, 2**64, 10**40, -(2**31), -(2**63), 0.0, -0.0, 0.5, 1e-45, 1e38, 1e39, 1e308,
    "", "a", "bits", "float", "float_and_bits", "relu", "prelu", "weight", "before_activation",
    "\x00", "\ud800", "\u202e", "x" * 600, [], [0], [1, 1], [2, 2], [1, 1, 1], [-1], [1] * 17,
    [2**31 - 1] * 2, [65536] * 2, [None], [[]], {}, {"list": [0]}, {"dict": {"a": 0}},
]  # fmt: skip


VALUES = {}  # file -> value -> a meta tensor of its shape, or an int


class Small(nn.Module):
    """A stem, a binary block with a shortcut, pooling of floats and bits, a head."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 5, 3, padding=1)
        self.first = nn.BatchNorm2d(5)
        self.conv = nn.Conv2d(5, 5, 3, padding=1)
        self.norm = nn.BatchNorm2d(5)
        self.act = nn.PReLU(5)
        self.pool = nn.MaxPool2d(2)
        self.last = nn.Conv2d(5, 6, 3)
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(6, 3)

    def forward(self, x):
        x = self.first(self.stem(x))
        x = self.act(self.norm(self.conv(x)) + x)
        x = self.last(self.pool(x))
        return self.fc(self.mean(x).flatten(1))


class Rows(nn.Module):
    """Sizes in numbers, views, and linear layers of more than two axes."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, x):
        x = torch.relu(self.a(x))
        y = x.reshape(x.size(0) * x.size(1), 6)[:, 1:4].sum(1)
        return {"rows": self.b(x), "sums": [y, x.permute(0, 2, 1)]}


def networks():
    torch.manual_seed(0)
    small = bnn.prepare_binary_model(Small(), BINARY, ignore_layers_name=["_first_", "_last_"])
    yield bnn.pack(small.eval(), torch.randn(2, 1, 8, 8))
    rows = bnn.prepare_binary_model(Rows(), BINARY, ignore_layers_name=["_last_"])
    yield bnn.pack(rows.eval(), torch.randn(2, 3, 6))
    shared = bnn.prepare_binary_model(Rows(), PLANES)  # whose planes share a weight
    yield bnn.pack(shared.eval(), torch.randn(2, 3, 6))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    found = []
    for i, network in enumerate(networks()):
        network.save(folder / f"{i}.bnn")
        found.append((folder / f"{i}.bnn").read_bytes())
        VALUES[found[-1]] = check_graph(network.graph, network.example_shapes)
    return found


# --- mutations ----------------------------------------------------------------------------------


def of_bytes(rng, content, other):
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        at = rng.randrange(len(content) + 1)
        kind = rng.randrange(6)
        if kind == 0:
            content[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1 and at < len(content):
            content[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del content[at:]
        elif kind == 3:
            del content[at : at + rng.randrange(1, 40)]
        elif kind == 4:
            begin = rng.randrange(len(other))
            content[at:at] = other[begin : begin + rng.randrange(1, 200)]
        else:
            begin = rng.randrange(len(content) + 1)
            content[at : at + 8] = content[begin : begin + 8]
    return bytes(content)


def places(item, found):
    """List every (object, key) and (list, index) in it."""
    pairs = item.items() if isinstance(item, dict) else enumerate(item)
    for key, value in pairs:
        found.append((item, key))
        if isinstance(value, (dict, list)):
            places(value, found)
    return found


def of_value(rng, value, elsewhere):
    kind = rng.randrange(6)
    if kind == 0:
        return rng.choice(INTERESTING)
    if kind == 1:
        inside, key = rng.choice(elsewhere)
        return json.loads(json.dumps(inside[key]))
    if type(value) in (int, float):
        return rng.choice((value + 1, value - 1, value * 2, -value, value + 64, value * 1000))
    if isinstance(value, list):
        changed = list(value)
        action = rng.randrange(4)
        if action == 0 and changed:
            changed.pop(rng.randrange(len(changed)))
        elif action == 1 and changed:
            changed.append(rng.choice(changed))
        elif action == 2:
            rng.shuffle(changed)
        else:
            changed.append(rng.choice(INTERESTING))
        return changed
    if isinstance(value, dict):
        changed = dict(value)
        if changed and rng.random() < 0.5:
            changed.pop(rng.choice(list(changed)))
        else:
            changed[rng.choice(("more", "scale", "output", "axis"))] = rng.choice(INTERESTING)
        return changed
    if isinstance(value, str):
        return rng.choice((value + "x", value[1:], rng.choice(list(OPERATIONS))))
    return rng.choice(INTERESTING)


def of_structure(rng, parts, content, _):
    found = parts(content)
    for _ in range(rng.choice((1, 1, 2, 3))):
        within = found.header if rng.random() < 0.2 else found.document
        everywhere = places(within, [])
        inside, key = rng.choice(everywhere)
        inside[key] = of_value(rng, inside[key], everywhere)
    return found.join()


def an_attribute(rng, name):
    def some(least, most):
        return [rng.randint(least, most) for _ in range(rng.choice((1, 2, 2, 3)))]

    made = {
        "stride": lambda: some(1, 3),
        "dilation": lambda: some(1, 2),
        "padding": lambda: rng.choice((some(0, 2), [0] * 4, [1] * 4)),
        "output_padding": lambda: some(0, 1),
        "kernel_size": lambda: some(1, 3),
        "output_size": lambda: some(1, 4),
        "groups": lambda: rng.choice((1, 1, 1, 2, 5)),
        "in_channels": lambda: rng.choice((1, 2, 3, 5, 6, 8)),
        "pad_value": lambda: rng.choice((-1, 0, 1)),
        "axis": lambda: rng.choice((1, 1, -1, 0, 2)),
        "dim": lambda: rng.randint(-4, 4),
        "dims": lambda: rng.choice(([0, 1], [1, 0], [0, 2, 1], [0, 2, 3, 1], [1], [-1, -2], [])),
        "start": lambda: rng.randint(-3, 3),
        "end": lambda: rng.randint(-3, 3),
        "stop": lambda: rng.randint(-3, 9),
        "step": lambda: rng.randint(1, 3),
        "shape": lambda: rng.choice(([-1], [2, -1], [-1, 5], [5, 8, 8], [8, 8], [6], [2, 3, 6, 1])),
        "pads": lambda: [rng.randint(-2, 3) for _ in range(rng.choice((2, 4, 4, 6)))],
        "factors": lambda: [rng.choice((0.3, 0.5, 1, 2.0, 1.7)) for _ in range(rng.choice((1, 2)))],
        "factor": lambda: rng.choice((1, 2)),
        "repeats": lambda: rng.randint(1, 3),
        "value": lambda: rng.choice((0, 1, 2, 0.5, -1.5, 3e38)),
        "min": lambda: -1,
        "max": lambda: 1.5,
        "eps": lambda: 1e-5,
    }
    return made.get(name, lambda: rng.choice(INTERESTING))()


def words(rng, name, test):
    """Return a value that the test of an attribute accepts, if a few tries give one."""
    for _ in range(30):
        value = an_attribute(rng, name)
        if test(value):
            return value
    choices = ("add", "mul", "sub", "div", "pow", "rdiv", "mod", "floordiv", "mean", "sum", "amax",
               "sigmoid", "sign", "rsqrt", "elu", "leaky_relu", "constant", "reflect", "replicate",
               "circular", "nearest", "bilinear", "linear", "nearest-exact", "bicubic", True, False,
               "float", "bits", "float_and_bits", "relu", "hardtanh")  # fmt: skip
    allowed = [value for value in choices if test(value)]
    return rng.choice(allowed) if allowed else rng.choice(INTERESTING)


def fit(rng, op, x, attrs):
    """Make attributes fit an input of this shape, and return the weight's shape."""
    axes = max(len(x) - 2, 1)
    each = {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 1, "output_padding": 0}
    for name, largest in {**each, "output_size": 3, "factors": 2}.items():
        if name in attrs:
            pads = 2 if name == "padding" and op.words else 1
            least = 0 if "padding" in name else 1
            attrs[name] = [rng.randint(least, max(largest, least)) for _ in range(axes * pads)]
    attrs.update({"groups": 1} if "weight" in op.tensors else {})
    channels = x[1] if op.inputs == ("float",) else rng.choice((5, 6))
    if "in_channels" in attrs:
        attrs["in_channels"] = channels
    out, kernel = rng.randint(1, 6), [rng.randint(1, 3) for _ in range(axes)]
    if op.words:
        return [out, *kernel, 1]
    if op.name == "linear":
        return [out, x[-1]]
    return [channels, out, *kernel] if op.name == "conv_transpose" else [out, channels, *kernel]


def kind_of(value):
    if not isinstance(value, Tensor):
        return "int"
    return "bits" if value.dtype == torch.int64 else "float"


def of_nodes(rng, parts, content, _):
    """Add a node of any operation that reads what there is, and let others read it."""
    found = parts(content)
    values = VALUES[content]
    nodes = found.document["nodes"]
    op = OPERATIONS[rng.choice(list(OPERATIONS))]
    at = rng.randrange(len(nodes) + 1)
    there = found.document["inputs"] + [v for node in nodes[:at] for v in node["outputs"]]
    attrs = {name: words(rng, name, test) for name, (_, test) in op.attrs.items()}
    if op.finishes and rng.random() < 0.5:
        attrs["output"] = rng.choice(("float", "bits", "float_and_bits"))
        attrs["first_activation"] = rng.choice(("relu", "hardtanh"))

    def one_of(kind):
        right = [v for v in there if kind_of(values[v]) == kind]
        return rng.choice(right if right and rng.random() < 0.9 else there)

    inputs = [one_of(kind) for kind in op.inputs]
    if op.finishes and rng.random() < 0.2:
        attrs["residual_at"] = "before_activation"
        inputs.append(rng.choice(there))
    tensors = {}
    first = values[inputs[0]] if inputs else None
    likely = rng.random() < 0.7 and isinstance(first, Tensor) and first.dim() >= 2
    weight = fit(rng, op, first.shape, attrs) if likely else None
    for name, axes in op.tensors.items():
        if name in op.optional and rng.random() < 0.7:
            continue
        dtype = torch.int64 if name in op.words else torch.float32
        sizes = [rng.choice((1, 1, 2, 3, 5, 6)) for _ in range(axes or rng.choice((2, 3, 4)))]
        if name == "weight" and weight is not None and op.name not in NORMS:
            sizes = weight
        elif name in op.words:
            sizes[-1] = 1
        tensors[name] = torch.ones(sizes, dtype=dtype) * rng.choice((0, 1))
    if op.finishes and rng.random() < 0.3:
        tensors["scale"] = torch.full((rng.choice((1, 2, 5, 6)),), -0.5)
    data = found.data
    for name, tensor in tensors.items():
        raw = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
        pads = -len(data) % 8
        if pads:
            found.header["new.pad"] = entry("F32", [pads // 4], len(data), pads)
            data += bytes(pads)
        code = "I64" if name in op.words else "F32"
        found.header[f"new.{name}"] = entry(code, list(tensor.shape), len(data), len(raw))
        data += raw
    if "new.pad" in found.header:
        new = {"op": "constant", "inputs": [], "outputs": [999], "attrs": {}, "tensors": ["value"]}
        nodes.insert(0, {**new, "name": "pad"})
        found.header["pad.value"] = found.header.pop("new.pad")
        at += 1
    outputs = [1000, 1001] if attrs.get("output") == "float_and_bits" else [1000]
    node = {"op": op.name, "name": "new", "inputs": inputs, "outputs": outputs, "attrs": attrs}
    nodes.insert(at, {**node, "tensors": list(tensors)})
    later = [n for n in nodes[at + 1 :] if n["inputs"]]
    if later and rng.random() < 0.5:
        reader = rng.choice(later)
        reader["inputs"][rng.randrange(len(reader["inputs"]))] = rng.choice(outputs)
    else:
        found.document["output"] = {"list": [outputs[0], found.document["output"]]}
    return found._replace(data=data).join()


def entry(code, shape, at, size):
    return {"dtype": code, "shape": shape, "data_offsets": [at, at + size]}


# --- what must hold -----------------------------------------------------------------------------


def leaves(output):
    return torch.utils._pytree.tree_leaves(output)


def try_file(path, content):
    """Return what became of a file: "refused", "ran", or "large" if it is not run here.

    What runs natively must be what plain torch computes; where it is not, "differs".
    """
    path.write_bytes(content)
    try:
        network = bnn.load(path)
    except PackedFormatError as error:
        assert str(error).startswith(str(path))
        assert len(str(error)) < 4000
        return "refused"
    shapes = network.example_shapes
    known = check_graph(network.graph, shapes).values()
    total = sum(x.numel() for x in known if isinstance(x, Tensor))
    work = max((math.prod(n.attrs.get("kernel_size", [1])) for n in network.graph.nodes), default=1)
    if total * work > MOST_RUN:
        return "large"
    inputs = [torch.ones(shape) for shape in shapes]
    same = True
    pairs = zip(leaves(network(*inputs)), leaves(run_eagerly(network.graph, inputs)), strict=True)
    for found, expected in pairs:
        if found is not None:
            assert found.shape == expected.shape
            same &= torch.allclose(found, expected, rtol=1e-3, atol=1e-3, equal_nan=True)
    return "ran" if same else "differs"


@pytest.fixture
def path(tmp_path):
    """Return a path in memory: opening a file again and again takes long on some disks."""
    torch_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:
        yield Path(folder) / "net.bnn"
    torch.set_num_threads(torch_threads)


def fuzz(files, path, count, mutate):
    rng = random.Random(1)
    became = dict.fromkeys(("refused", "ran", "large", "differs"), 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for i in range(count):
            content = mutate(rng, files[i % len(files)], files[(i + 1) % len(files)])
            try:
                became[try_file(path, content)] += 1
            except Exception as error:
                raise AssertionError(f"file {i}: {type(error).__name__}: {error}") from error
    assert sum(became.values()) == count
    assert became["differs"] <= became["ran"] / 200  # a sum near 0, of which bits are made
    return became


def test_damaged_bytes(files, path):
    became = fuzz(files, path, BYTES, of_bytes)
    # What runs is what the mutation happened to leave as it was.
    assert became["ran"] < BYTES / 50


def test_changed_structure(files, parts, path):
    def mutate(rng, content, other):
        return of_structure(rng, parts, content, other)

    became = fuzz(files, path, STRUCTURE, mutate)
    assert became["ran"] > STRUCTURE / 50
    assert became["large"] < STRUCTURE / 50


def test_added_nodes(files, parts, path):
    def mutate(rng, content, other):
        return of_nodes(rng, parts, content, other)

    became = fuzz(files, path, NODES, mutate)
    assert became["ran"] > NODES / 50
    assert became["large"] < NODES / 50

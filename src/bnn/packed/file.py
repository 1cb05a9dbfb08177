"""Packed files: a network as one safetensors file, which nobody's code is needed to run.

The format is specified in docs/reference/packed-format.md. Nothing in a file can execute code, and
whatever is wrong with one is a :class:`bnn.errors.PackedFormatError`.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bnn.errors import PackedError, PackedFormatError
from bnn.packed import container
from bnn.packed.graph import OPERATIONS
from bnn.packed.graph import json as graph_json
from bnn.packed.network import PackedNetwork
from bnn.packed.preprocessing import Preprocessing, attach, of
from bnn.packed.report import PackReport

VERSIONS = range(1, graph_json.VERSION + 1)


def save(network: PackedNetwork, path: str | Path) -> None:
    """Write a packed network to a file, which :func:`bnn.load` reads without the model's code.

    The file appears at once or not at all, and an older one of this name is replaced.

    Args:
        network: The network; its tensors may be on any device.
        path: Where to, usually ``"name.bnn"``.

    Raises:
        PackedFormatError: If a part of the model is run by Python as it was, or the file cannot be
            written.
    """
    path = _path(path)
    with _naming(path):
        container.write(path, _encoded(network))


def load(path: str | Path) -> PackedNetwork:
    """Read a network from a file that :func:`bnn.save` wrote.

    Everything in the file is checked before it is used, so it may come from anywhere. The digest
    in it tells damage, not who made it.

    Raises:
        PackedFormatError: If there is no such file, or anything in it is wrong.

    Example:
        >>> import tempfile
        >>> import bnn
        >>> from bnn.models import resnet8
        >>> model = bnn.BinaryChef("xnor-net").next(resnet8(in_channels=1))
        >>> packed = bnn.pack(model, torch.randn(1, 1, 8, 8))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     packed.save(f"{folder}/net.bnn")
        ...     loaded = bnn.load(f"{folder}/net.bnn")
        >>> x = torch.randn(5, 1, 8, 8)
        >>> torch.equal(loaded(x), packed(x))
        True
    """
    path = _path(path)
    with _naming(path):
        found = container.read(path, VERSIONS)
        document = graph_json.from_json(found.document)
        _check_keys(document, found)
        tensors = {key: found.tensor(key) for key in found.entries}
        for node, keys in zip(document.graph.nodes, document.keys, strict=True):
            node.tensors.update({name: tensors[key] for name, key in keys.items()})
        graph_json.check(document.graph, document.example_shapes)
        network = PackedNetwork(document.graph, document.report, document.example_shapes)
        attach(network, document.preprocessing)
        return network


@dataclass(frozen=True)
class LayerInfo:
    """A node of the graph that has tensors.

    Attributes:
        name: The layer of the model that it comes from.
        operation: What is computed.
        bits: 1 or 32: of a weight.
        weight_shape: Of the weight, in channels, not words; empty if there is none.
        nbytes: Bytes of all its tensors, also of those that it shares with an earlier node.
    """

    name: str
    operation: str
    bits: int
    weight_shape: tuple[int, ...]
    nbytes: int


@dataclass(frozen=True)
class FileInfo:
    """What a packed file holds.

    Attributes:
        path: The file.
        size: Its bytes.
        version: Of the format.
        written_by: The version of bnn that wrote it.
        example_shapes: Shapes of the inputs that the network was packed with.
        operations: Number of nodes.
        binary_bytes: Bytes of 1-bit weights.
        float_bytes: Bytes of everything else.
        layers: The nodes that have tensors, in order.
        report: What became of the model's layers.
        preprocessing: What the training pictures went through, if the file says it.
    """

    path: str
    size: int
    version: int
    written_by: str
    example_shapes: tuple[tuple[int, ...], ...]
    operations: int
    binary_bytes: int
    float_bytes: int
    layers: tuple[LayerInfo, ...]
    report: PackReport
    preprocessing: Preprocessing | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        return asdict(self)


def file_info(path: str | Path) -> FileInfo:
    """Return what a packed file holds, without making a network of it.

    Raises:
        PackedFormatError: If there is no such file, or it is damaged.
    """
    path = _path(path)
    with _naming(path):
        found = container.read(path, VERSIONS)
        document = graph_json.from_json(found.document)
        _check_keys(document, found)
        sizes = {key: entry.end - entry.begin for key, entry in found.entries.items()}
        layers = []
        binary: set[str] = set()
        for node, keys in zip(document.graph.nodes, document.keys, strict=True):
            entries = {name: found.entries[key] for name, key in keys.items()}
            words = [name for name in keys if name in OPERATIONS[node.op].words]
            shape = entries["weight"].shape if "weight" in entries else ()
            if words and shape:
                shape = (*shape[:-1], _channels(node.attrs))
            binary.update(keys[name] for name in words)
            if keys:
                size = sum(sizes[key] for key in keys.values())
                layers.append(LayerInfo(node.name, node.op, 1 if words else 32, shape, size))
        binary_bytes = sum(sizes[key] for key in binary)
        return FileInfo(
            str(path),
            found.size,
            found.document["version"],
            document.written_by,
            tuple(tuple(shape) for shape in document.example_shapes),
            len(document.graph.nodes),
            binary_bytes,
            sum(sizes.values()) - binary_bytes,
            tuple(layers),
            document.report,
            document.preprocessing,
        )


def _channels(attrs: dict[str, Any]) -> int:
    """Return the input channels of a binary layer's group."""
    channels, groups = attrs.get("in_channels"), attrs.get("groups")
    if type(channels) is not int or type(groups) is not int or groups < 1 or channels < groups:
        raise PackedFormatError("a layer's in_channels and groups must be ints from 1.")
    return channels // groups


def _encoded(network: PackedNetwork) -> bytes:
    opaque = network.graph.opaque()
    if opaque:
        parts = ", ".join(
            f"{node.name!r} ({network.report.opaque.get(node.name, 'Python')})" for node in opaque
        )
        raise PackedFormatError(
            f"the network cannot be saved: {parts} runs as it was, in Python, and a file holds no "
            "code. network.report says why; rewrite these parts, or leave them out of the model."
        )
    document = graph_json.to_json(
        network.graph,
        network.report,
        network.example_shapes,
        importlib.metadata.version("bnn-torch"),
        of(network),
    )
    graph_json.from_json(document)  # what load would refuse is not written
    graph_json.check(network.graph, network.example_shapes)
    tensors = {
        graph_json.tensor_key(node.name, name): node.tensors[name]
        for (name, _), node in graph_json.tensor_holders(network.graph).items()
    }
    return container.encode(document, tensors)


def _check_keys(document: graph_json.Document, found: container.Container) -> None:
    """Raise PackedFormatError unless the file has the tensors that the nodes name, and no other."""
    wanted = {key for keys in document.keys for key in keys.values()}
    for key in sorted(wanted ^ found.entries.keys())[:1]:
        where = "is missing" if key in wanted else "belongs to no node"
        raise PackedFormatError(f"tensor {container.shown(key)} {where}. Export the file again.")


def _path(path: str | Path) -> Path:
    if not str(path):
        raise PackedFormatError("the path is empty. Give that of a file, such as 'net.bnn'.")
    return Path(path)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let errors name the file."""
    try:
        yield
    except PackedError as error:
        raise PackedFormatError(f"{path}: {error}") from None  # the same with the name

"""A network's graph as what JSON can hold, and back, with every claim checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from bnn.errors import PackedFormatError
from bnn.packed.container import MOST_NAME, shown
from bnn.packed.graph.node import Graph, Node, Structure, ValueRef
from bnn.packed.graph.ops import OPERATIONS, check_graph
from bnn.packed.preprocessing import Preprocessing
from bnn.packed.preprocessing import from_json as preprocessing_from_json
from bnn.packed.report import HOW, PackReport
from bnn.packed.shapes import WORD_BITS, words

FORMAT = "bnn"
VERSION = 1

MOST_NODES = 2**14
MOST_INPUTS = 2**8
MOST_VALUES = 2**16  # values are numbered below it
MOST_ELEMENTS = 2**28  # of one value, for inputs as the file states them
MOST_LIST = 16  # entries of an attribute
MOST_DEPTH = 16  # of the output
MOST_LEAVES = 2**10
MOST_TEXT = 2**14
MOST_LAYERS = 2**16  # in the report

_DOCUMENT = (
    "format",
    "version",
    "written_by",
    "inputs",
    "example_shapes",
    "nodes",
    "output",
    "report",
)
_OPTIONAL = "preprocessing"
_NODE = ("op", "name", "inputs", "outputs", "attrs", "tensors")
_SHARED = "shared"
_REPORT = ("how", "binary", "emulated", "opaque", "reason", "float_bytes", "packed_bytes")


@dataclasses.dataclass(frozen=True)
class Document:
    """What a file says, without the tensors.

    Attributes:
        written_by: The version of bnn that wrote it.
        graph: Its nodes have the names of their tensors, and the tensors not yet.
        keys: For each node, names of its tensors -> their names in the file.
        example_shapes: Shapes of the inputs.
        report: What became of the model's layers.
        preprocessing: What the training pictures went through; None where nothing is said.
    """

    written_by: str
    graph: Graph
    keys: list[dict[str, str]]
    example_shapes: list[list[int]]
    report: PackReport
    preprocessing: Preprocessing | None = None


# --- writing ----------------------------------------------------------------------------------


def to_json(
    graph: Graph,
    report: PackReport,
    example_shapes: Sequence[Sequence[int]],
    written_by: str,
    preprocessing: Preprocessing | None = None,
) -> dict[str, Any]:
    """Return the document of a network."""
    holders = tensor_holders(graph)
    return {
        "format": FORMAT,
        "version": VERSION,
        "written_by": written_by,
        "inputs": graph.inputs,
        "example_shapes": [list(shape) for shape in example_shapes],
        "nodes": [
            {
                "op": node.op,
                "name": node.name,
                "inputs": node.inputs,
                "outputs": node.outputs,
                "attrs": node.attrs,
                "tensors": list(node.tensors),
                **_shared_to_json(node, holders),
            }
            for node in graph.nodes
        ],
        "output": _structure_to_json(graph.output),
        "report": {
            "how": report.how,
            "binary": list(report.binary),
            "emulated": {name: _printable(why) for name, why in report.emulated.items()},
            "opaque": {name: _printable(what) for name, what in report.opaque.items()},
            "reason": _printable(report.reason),
            "float_bytes": report.float_bytes,
            "packed_bytes": report.packed_bytes,
        },
        **({} if preprocessing is None else {_OPTIONAL: preprocessing.as_json()}),
    }


def tensor_key(node: str, tensor: str) -> str:
    """Return the name in the file of a node's tensor."""
    return f"{node}.{tensor}"


def tensor_holders(graph: Graph) -> dict[tuple[str, int], Node]:
    """Return name and identity of each tensor -> the first node that has it; the file's order."""
    found: dict[tuple[str, int], Node] = {}
    for node in graph.nodes:
        for name, tensor in node.tensors.items():
            found.setdefault((name, id(tensor)), node)
    return found


def _shared_to_json(node: Node, holders: Mapping[tuple[str, int], Node]) -> dict[str, Any]:
    of = {name: holders[name, id(tensor)] for name, tensor in node.tensors.items()}
    shared = {name: holder.name for name, holder in of.items() if holder is not node}
    return {_SHARED: shared} if shared else {}


def _structure_to_json(structure: Structure) -> Any:
    if isinstance(structure, ValueRef):
        return structure.value
    if structure is None:
        return None
    if isinstance(structure, dict):
        if all(isinstance(key, str) for key in structure):
            return {"dict": {key: _structure_to_json(item) for key, item in structure.items()}}
    elif isinstance(structure, list) or type(structure) is tuple:
        kind = "list" if isinstance(structure, list) else "tuple"
        return {kind: [_structure_to_json(item) for item in structure]}
    raise PackedFormatError(
        f"the network returns a {type(structure).__name__}; a file holds tensors, None, and lists, "
        "tuples and dicts with names for keys of them. Wrap the model so that it returns such."
    )


def _printable(text: str) -> str:
    """Return a message without control characters, and not too long."""
    clean = "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
    return clean[:MOST_TEXT]


# --- reading ----------------------------------------------------------------------------------


def from_json(document: Any) -> Document:
    """Return what a document says.

    Raises:
        PackedFormatError: If it is not as it must be. Whether the nodes are right, and fit each
            other, :func:`check` says once they have their tensors.
    """
    optional = (_OPTIONAL,) if isinstance(document, dict) and _OPTIONAL in document else ()
    fields = _fields("the graph", document, (*_DOCUMENT, *optional))
    inputs = _ints("inputs", fields["inputs"], MOST_VALUES - 1, 1, MOST_INPUTS)
    shapes = _list("example_shapes", fields["example_shapes"], len(inputs), len(inputs))
    items = _list("nodes", fields["nodes"], 0, MOST_NODES)
    nodes = [_node(i, item) for i, item in enumerate(items)]
    keys = _keys(nodes, items)
    leaves: list[int] = []
    graph = Graph(
        inputs,
        [node for node, _ in nodes],
        _structure(fields["output"], leaves, 0),
        1 + max(value for node in [inputs, *(n.outputs for n, _ in nodes)] for value in node),
    )
    if not leaves:
        raise PackedFormatError("the network returns no tensor.")
    _check_names(graph)
    sizes = [_ints("example_shapes", shape, MOST_ELEMENTS, 0, 8, least=1) for shape in shapes]
    return Document(
        _text("written_by", fields["written_by"], MOST_NAME),
        graph,
        keys,
        sizes,
        _report(fields["report"]),
        preprocessing_from_json(fields[_OPTIONAL], sizes) if optional else None,
    )


def check(graph: Graph, example_shapes: Sequence[Sequence[int]]) -> None:
    """Raise PackedError if a graph, with its tensors, is not one that a file may hold."""
    known = check_graph(graph, example_shapes)
    for value, found in known.items():
        if isinstance(found, Tensor) and not 1 <= found.numel() <= MOST_ELEMENTS:
            raise PackedFormatError(
                f"value {value} has {found.numel():,} numbers for inputs of the stored shapes; "
                f"allowed: 1 to {MOST_ELEMENTS:,}. Pack the network with a smaller example."
            )
    for node in graph.nodes:
        for name in OPERATIONS[node.op].words:
            _check_words(node, name)


def _check_words(node: Node, name: str) -> None:
    bits = node.attrs["in_channels"] // node.attrs["groups"]
    last, used = node.tensors[name][..., -1], bits % WORD_BITS
    if node.tensors[name].shape[-1] != words(bits) or (used and bool((last >> used).any())):
        raise PackedFormatError(
            f"node {node.name!r} ({node.op}): tensor {name} must hold {bits} bits in "
            f"{words(bits)} words, and its unused bits must be 0."
        )


def _check_names(graph: Graph) -> None:
    seen: set[str] = set()
    for node in graph.nodes:
        flat = node.name.replace(".", "/")  # as the network names its buffers
        if flat in seen:
            raise PackedFormatError(f"two nodes are named {shown(node.name)}.")
        seen.add(flat)


def _keys(nodes: Sequence[tuple[Node, list[str]]], items: Sequence[Any]) -> list[dict[str, str]]:
    """Return the names in the file of each node's tensors, its own or those of an earlier node."""
    held: set[tuple[str, str]] = set()
    found = []
    for i, ((node, names), item) in enumerate(zip(nodes, items, strict=True)):
        shared = _texts(f"node {i}: {_SHARED}", item.get(_SHARED, {}))
        for name, holder in shared.items():
            if name not in names or (holder, name) not in held:
                raise PackedFormatError(
                    f"node {i}: {_SHARED} says that tensor {shown(name)} is that of node "
                    f"{shown(holder)}; it must be one of both, and an earlier node must hold it."
                )
        found.append({name: tensor_key(shared.get(name, node.name), name) for name in names})
        held |= {(node.name, name) for name in names if name not in shared}
    return found


def _node(number: int, item: Any) -> tuple[Node, list[str]]:
    where = f"node {number}"
    optional = (_SHARED,) if isinstance(item, dict) and _SHARED in item else ()
    fields = _fields(where, item, (*_NODE, *optional))
    attrs = fields["attrs"]
    if not isinstance(attrs, dict) or len(attrs) > 64:
        raise PackedFormatError(f"{where}: attrs must be a JSON object of up to 64 names.")
    for name, value in attrs.items():
        _text(f"{where}: attribute", name, MOST_NAME)
        if not _is_attribute(value):
            raise PackedFormatError(
                f"{where}: {shown(name)} is {shown(value)}; it must be a number, text, true or "
                f"false, or a list of up to {MOST_LIST} numbers."
            )
    names = [
        _text(f"{where}: tensor", name, MOST_NAME)
        for name in _list(f"{where}: tensors", fields["tensors"], 0, 64)
    ]
    if len(set(names)) != len(names):
        raise PackedFormatError(f"{where}: a tensor is named twice.")
    node = Node(
        _text(f"{where}: op", fields["op"], MOST_NAME),
        _ints(f"{where}: inputs", fields["inputs"], MOST_VALUES - 1, 0, MOST_INPUTS),
        _ints(f"{where}: outputs", fields["outputs"], MOST_VALUES - 1, 1, 2),
        attrs,
        name=_text(f"{where}: name", fields["name"], MOST_NAME),
    )
    if node.op not in OPERATIONS:
        raise PackedFormatError(
            f"{where}: there is no operation {shown(node.op)}. Known: {', '.join(OPERATIONS)}."
        )
    return node, names


def _is_attribute(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) <= MOST_LIST and all(v is None or _is_number(v) for v in value)
    if isinstance(value, str):
        return len(value) <= MOST_NAME
    return type(value) is bool or _is_number(value)


def _is_number(value: Any) -> bool:
    return type(value) is float or (type(value) is int and abs(value) < 2**53)


def _structure(item: Any, leaves: list[int], depth: int) -> Structure:
    if depth > MOST_DEPTH or len(leaves) > MOST_LEAVES:
        raise PackedFormatError(
            f"output is more than {MOST_DEPTH} levels deep, or has more than {MOST_LEAVES} values."
        )
    if item is None:
        return None
    if type(item) is int and 0 <= item < MOST_VALUES:
        leaves.append(item)
        return ValueRef(item)
    if isinstance(item, dict) and len(item) == 1:
        ((kind, inside),) = item.items()
        if kind in ("list", "tuple") and isinstance(inside, list):
            made = [_structure(part, leaves, depth + 1) for part in inside]
            return made if kind == "list" else tuple(made)
        if kind == "dict" and isinstance(inside, dict):
            return {
                _text("output: name", key, MOST_NAME): _structure(part, leaves, depth + 1)
                for key, part in inside.items()
            }
    raise PackedFormatError(
        f"output has {shown(item)}; it must be a value's number, null, or an object with one of "
        "'list', 'tuple' and 'dict'."
    )


def _report(item: Any) -> PackReport:
    fields = _fields("report", item, _REPORT)
    if fields["how"] not in tuple(HOW):
        raise PackedFormatError(
            f"report: how is {shown(fields['how'])}; allowed: {', '.join(map(repr, HOW))}."
        )
    binary = [
        _text("report: binary", name, MOST_NAME)
        for name in _list("report: binary", fields["binary"], 0, MOST_LAYERS)
    ]
    sizes = _ints("report: bytes", [fields["float_bytes"], fields["packed_bytes"]], 2**53, 2, 2)
    return PackReport(
        fields["how"],
        tuple(binary),
        _texts("report: emulated", fields["emulated"]),
        _texts("report: opaque", fields["opaque"]),
        _text("report: reason", fields["reason"], MOST_TEXT),
        *sizes,
    )


def _fields(where: str, item: Any, names: Sequence[str]) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise PackedFormatError(f"{where} is {shown(item)}; it must be a JSON object.")
    for name in item:
        if name not in names:
            raise PackedFormatError(
                f"{where}: unknown key {shown(name)}. Allowed: {', '.join(names)}."
            )
    for name in names:
        if name not in item:
            raise PackedFormatError(f"{where}: {name} is missing.")
    return item


def _list(where: str, item: Any, least: int, most: int) -> list[Any]:
    if not isinstance(item, list) or not least <= len(item) <= most:
        raise PackedFormatError(f"{where} must be a list of {least} to {most:,} entries.")
    return item


def _ints(where: str, item: Any, largest: int, fewest: int, most: int, least: int = 0) -> list[int]:
    for value in _list(where, item, fewest, most):
        if type(value) is not int or not least <= value <= largest:
            raise PackedFormatError(
                f"{where} has {shown(value)}; each must be an int from {least} to {largest:,}."
            )
    return list(item)


def _texts(where: str, item: Any) -> Mapping[str, str]:
    if not isinstance(item, dict) or len(item) > MOST_LAYERS:
        raise PackedFormatError(f"{where} must be a JSON object of texts.")
    return {
        _text(where, name, MOST_NAME): _text(where, text, MOST_TEXT) for name, text in item.items()
    }


def _text(where: str, item: Any, most: int) -> str:
    """Return a text that can be printed: names end up in messages, tables and terminals."""
    if not isinstance(item, str) or len(item) > most:
        raise PackedFormatError(f"{where} is {shown(item)}; it must be text up to {most:,} long.")
    if not item.replace("\n", "").isprintable():
        raise PackedFormatError(f"{where} is {shown(item)}, which cannot be printed.")
    return item

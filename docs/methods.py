"""MkDocs hook: the tables of "Choose a method", from the registry, the packer and results.

A page holds ``<!-- methods: binarizers -->`` or ``<!-- methods: published -->``.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

_RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "accuracy.json"
_TRAINING = _RESULTS.with_name("training.json")  # of `python -m benchmarks.training`
_PLACEHOLDER = re.compile(r"^<!-- methods: (?P<name>\w+) -->$", re.MULTILINE)
_CHANNELS, _SIDE = 64, 14  # of the layer whose costs are shown


class Method(NamedTuple):
    """A published method, and what it is made of here.

    Attributes:
        name: As the paper calls it.
        stages: Input, weight and output stage, as ``bnn.ops`` names them; "" leaves one as it is.
        imagenet: Published top-1 accuracies.
        cifar: Published accuracies on CIFAR-10.
        paper: Where it is from.
        row: The name of its row in ``accuracy.json``; default: ``name`` in lower case.
    """

    name: str
    stages: tuple[str, str, str]
    imagenet: str
    cifar: str
    paper: str
    row: str = ""


_STE, _ALPHA = "BasicInputBinarizer", "XNORWeightBinarizer"
PUBLISHED = (
    Method(
        "XNOR-Net",
        (_STE, f"{_ALPHA}(center_weights=True)", "XNORScaleBinarizer, or none"),
        "51.2 (ResNet-18)",
        "89.8 (VGG-small)",
        "https://arxiv.org/abs/1603.05279",
    ),
    Method(
        "XNOR-Net++",
        (_STE, f"{_ALPHA}(compute_alpha=False)", "XNORPlusPlusScaleBinarizer"),
        "57.1 (ResNet-18)",
        "",
        "https://arxiv.org/abs/1909.13863",
    ),
    Method(
        "Bi-Real",
        ("ApproxSignBinarizer", "MagnitudeAwareWeightBinarizer", ""),
        "56.4 (ResNet-18), 62.2 (ResNet-34)",
        "",
        "https://arxiv.org/abs/1808.00278",
    ),
    Method(
        "IR-Net",
        ("EDEBinarizer", "IRNetWeightBinarizer", ""),
        "58.1 (ResNet-18), 62.9 (ResNet-34)",
        "86.5 (ResNet-20), 91.5 (ResNet-18), 90.4 (VGG-small)",
        "https://arxiv.org/abs/1909.10788",
    ),
    Method(
        "ReCU",
        ("ApproxSignBinarizer", "ReCUWeightBinarizer", "BasicScaleBinarizer"),
        "61.0 (ResNet-18), 65.1 (ResNet-34)",
        "87.5 (ResNet-20), 92.8 (ResNet-18), 92.2 (VGG-small)",
        "https://arxiv.org/abs/2103.12369",
    ),
    Method(
        "AdaBin",
        ("AdaBinInputBinarizer", "AdaBinWeightBinarizer", ""),
        "63.1 (ResNet-18), 66.4 (ResNet-34)",
        "88.1 (ResNet-20), 93.1 (ResNet-18)",
        "https://arxiv.org/abs/2208.08084",
    ),
    Method(
        "Real-to-Binary",
        (_STE, f"{_ALPHA}(compute_alpha=False)", "RealToBinaryGateBinarizer"),
        "65.4 (ResNet-18)",
        "",
        "https://arxiv.org/abs/2003.11535",
        "real-to-binary-gate",
    ),
    Method(
        "ReActNet",
        ("RSignInputBinarizer", f"{_ALPHA}(detach_alpha=True)", ""),
        "65.9 (ResNet-18), 69.4 (ReActNet-A)",
        "",
        "https://arxiv.org/abs/2003.03488",
    ),
)


def on_page_markdown(markdown: str, **_: object) -> str:
    """Fill in the placeholders of a page."""
    tables = {"binarizers": binarizer_table, "published": published_table}
    return _PLACEHOLDER.sub(lambda match: tables[match["name"]](), markdown)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ("---",) * len(head), *rows])


def _cell(text: str) -> str:
    text = " ".join(text.split())
    # A bar would end the cell, and TeX reads an escaped one as a norm.
    # What is no formula has a space inside its dollars.
    text = re.sub(
        r":math:`([^`]*)`", lambda m: "$" + m[1].replace("|", r"\vert ").strip() + "$", text
    )
    return re.sub(r":\w+:`([^`]*)`", r"`\1`", text).replace("``", "`").replace("|", "\\|")


def formula(cls: type, kind: str) -> str:
    """Return what a docstring says behind ``Forward`` or ``Backward``, fit for a cell."""
    lines = (inspect.getdoc(cls) or "").splitlines()
    found: list[str] = []
    taking = False
    for line in lines:
        start = re.match(rf"{kind}(, \w+)?:\s+(.*)", line)
        if start:
            found.append((f"{start[1].strip(', ')}: " if start[1] else "") + start[2])
            taking = True
        elif not line.strip() or re.match(r"(Forward|Backward|Args)", line):
            taking = False
        elif taking:
            found[-1] += " " + line.strip()
    return _cell("; ".join(text.rstrip(".") for text in found))


def layer_with(name: str) -> nn.Module:
    """Return a network of one binary layer that uses a binarizer."""
    from bnn import BConfig, Identity
    from bnn.layers import Conv2d
    from bnn.ops import BasicInputBinarizer, XNORWeightBinarizer, binarizers

    cls = binarizers[name]
    stages: dict[str, Any] = {
        "activation_pre_process": BasicInputBinarizer,
        "activation_post_process": Identity,
        "weight_pre_process": XNORWeightBinarizer,
    }
    if cls.stage == "output":
        stages["activation_post_process"] = cls
    else:
        stages["weight_pre_process" if cls.operand == "weight" else "activation_pre_process"] = cls
    layer = Conv2d(_CHANNELS, _CHANNELS, 3, padding=1, bias=False, bconfig=BConfig(**stages))
    return nn.Sequential(layer).eval()


def cost(name: str) -> tuple[str, str]:
    """Return the parameters that a binarizer adds to a layer, and how the layer is packed."""
    import bnn

    model = layer_with(name)
    x = torch.randn(1, _CHANNELS, _SIDE, _SIDE)
    with torch.no_grad():
        model(x)  # some take their size from it
    added = sum(p.numel() for p in model.parameters()) - _CHANNELS**2 * 9
    packed = bnn.pack(model, x)
    if packed.report.emulated:
        return f"{added:,}", "no: " + next(iter(packed.report.emulated.values()))
    assert bnn.verify(model, packed, x).identical  # noqa: S101 - the page would say what is wrong
    convolutions = [node for node in packed.graph.nodes if node.op == "binary_conv"]
    whole = [node for node in convolutions if len(node.tensors["weight"]) == _CHANNELS]
    parts = ["one 1-bit convolution" if len(whole) == 1 else f"{len(whole)} 1-bit convolutions"]
    if len(convolutions) > len(whole):
        parts.append("the input's sums")
    if any(node.attrs.get("function") == "zeros_like" for node in packed.graph.nodes):
        parts.append("the border's sums, once for a size")
    if name == "XNORScaleBinarizer":
        parts.append("K")
    return f"{added:,}", ", ".join(parts)


def binarizer_table() -> str:
    """Return one row for each registered binarizer."""
    from bnn.ops import binarizers

    rows = []
    for name in binarizers:
        cls = binarizers[name]
        added, how = cost(name)
        what = (formula(cls, "Forward"), formula(cls, "Backward"))
        rows.append((f"[`{name}`](../reference/ops.md#bnn.ops.{name})", *what, added, how))
    return _table(("Name", "Forward", "Backward", "Parameters", "Packed"), rows)


def own_accuracy() -> Mapping[str, Mapping[str, Any]]:
    """Return method -> data set -> its row of the committed results."""
    found: dict[str, dict[str, Any]] = {}
    if _RESULTS.is_file():
        for row in json.loads(_RESULTS.read_text(encoding="utf-8"))["rows"]:
            found.setdefault(row["network"], {})[row["data"]] = row
    return found


def training_memory() -> Mapping[str, float]:
    """Return method -> what it keeps for the backward pass, times the float network; if measured.

    It is that of the first network of the committed results.
    """
    if not _TRAINING.is_file():
        return {}
    rows = json.loads(_TRAINING.read_text(encoding="utf-8"))["methods"]
    return {r["method"]: r["saved_ratio"] for r in rows if r["network"] == rows[0]["network"]}


def published_table() -> str:
    """Return one row for each published method, with our own results where there are some."""
    own, memory = own_accuracy(), training_memory()

    def kept(row: str) -> tuple[str, ...]:
        if not memory:
            return ()
        return (f"{memory[row]:.2f}" if row in memory else "",)

    def accuracy(row: Mapping[str, Any] | None) -> str:
        return "" if row is None else f"{row['accuracy']:.1f} ± {row['spread']:.1f}"

    def linked(stage: str) -> str:
        return f"`{stage}`" if stage and "," not in stage else stage or "none"

    return _table(
        (
            *("Method", "Input", "Weight", "Output"),
            *("ImageNet, published", "CIFAR-10, published", "digits, ours", "mnist5k, ours"),
            *(("Training memory, x float",) if memory else ()),
        ),
        (
            (
                f"[{m.name}]({m.paper})",
                *map(linked, m.stages),
                m.imagenet,
                m.cifar,
                *(
                    accuracy(own.get(m.row or m.name.lower(), {}).get(data))
                    for data in ("digits", "mnist5k")
                ),
                *kept(m.row or m.name.lower()),
            )
            for m in PUBLISHED
        ),
    )

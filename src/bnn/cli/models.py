"""``bnn models``: the networks that ``--model`` and ``bnn summary`` know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnn.cli import terminal
from bnn.cli.app import app, examples
from bnn.registry import did_you_mean

if TYPE_CHECKING:
    from bnn.models import ModelEntry

_NOTE = (
    "MACs x bits; params and bytes with batch norms fused. top-1: as published, not measured here. "
    "bnn models NAME shows one in full."
)


@app.command(
    epilog=examples(
        "bnn models",
        "bnn models 'quicknet*'",
        "bnn models quicknet",
        "bnn models --json",
        "bnn summary quicknet",
    )
)
def models(
    pattern: Annotated[
        str, typer.Argument(help="Only the names that match this shell pattern.")
    ] = "*",
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the networks, the images that they expect, what they cost, and published accuracies.

    Images are channels x height x width.
    """
    from bnn.models import MODELS
    from bnn.models import list as list_models

    names = list_models(pattern)
    if not names:
        near = did_you_mean(pattern, MODELS)
        raise typer.BadParameter(
            f"no model matches {pattern!r}.{near} Known: {', '.join(MODELS)}.",
            param_hint="PATTERN",
        )
    entries = {name: MODELS[name] for name in names}
    if json:
        terminal.result_json([_plain(name, entry) for name, entry in entries.items()])
    elif len(entries) == 1:
        for name, entry in entries.items():
            terminal.result(f"{name}  {_image(entry)}")
            terminal.result_fields(_in_full(entry))
    else:
        head = ("", "image", "params", "bytes", "MACs", "top-1")
        terminal.result_rich(
            terminal.columns([head, *(_row(name, entry) for name, entry in entries.items())])
        )
        terminal.talk(_NOTE)


def _row(name: str, entry: ModelEntry) -> tuple[str, ...]:
    figures, published = entry.figures, entry.published
    if figures is None:
        return (name, _image(entry), "", "", "float", "")
    return (
        name,
        _image(entry),
        _short(figures.params),
        _short(figures.bytes),
        " + ".join(f"{_short(macs)}x{bits}" for bits, macs in figures.macs.items()),
        f"{published.top1:.1f}" if published else "",
    )


def _in_full(entry: ModelEntry) -> dict[str, object]:
    fields: dict[str, object] = {"what": entry.summary}
    if entry.figures:
        fields["parameters"] = f"{entry.figures.params:,} (batch norms fused)"
        fields["bytes"] = f"{entry.figures.bytes:,} (batch norms fused)"
        for bits, macs in entry.figures.macs.items():
            fields[f"{bits}-bit MACs"] = f"{macs:,}"
    if entry.published:
        top5 = "" if entry.published.top5 is None else f", top-5 {entry.published.top5} %"
        fields["published"] = f"top-1 {entry.published.top1} %{top5} on {entry.published.data}"
    if entry.preprocessing:
        p = entry.preprocessing
        size = "x".join(map(str, p.size))
        fields["images"] = (
            f"crop {p.crop:.4g}, {p.interpolation} to {size}, mean {p.mean}, std {p.std}"
        )
    fields["arguments"] = ", ".join(entry.keywords)
    fields["paper"] = entry.paper
    return fields


def _plain(name: str, entry: ModelEntry) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "name": name,
        "summary": entry.summary,
        "input_shape": entry.input_shape,
        "num_classes": entry.num_classes,
        "model_args": entry.keywords,
        "paper": entry.paper,
        "figures": entry.figures and asdict(entry.figures),
        "published": entry.published and asdict(entry.published),
        "preprocessing": entry.preprocessing and asdict(entry.preprocessing),
    }


def _image(entry: ModelEntry) -> str:
    return "x".join(map(str, entry.input_shape))


def _short(number: int) -> str:
    """Return three digits of a number.

    Example:
        >>> _short(13_234_088), _short(443_008), _short(1_849_688_064)
        ('13.2M', '443K', '1.85G')
    """
    for unit, size in (("G", 10**9), ("M", 10**6), ("K", 10**3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)

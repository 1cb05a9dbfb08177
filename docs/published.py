"""MkDocs hook: the tables of the zoo, from the registries of networks and recipes.

docs/zoo.md holds ``<!-- zoo: networks -->``, and the same with ``images`` and ``recipes``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bnn.executor import RecipeStep
    from bnn.models import ModelEntry

_PLACEHOLDER = re.compile(r"^<!-- zoo: (?P<name>\w+) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: object) -> str:
    """Fill in the placeholders of a page."""
    tables = {"networks": networks, "images": images, "recipes": recipes}
    return _PLACEHOLDER.sub(lambda match: tables[match["name"]](), markdown)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ("---",) * len(head), *rows])


def published() -> dict[str, ModelEntry]:
    """Return the networks that are binary when they are made, by name."""
    from bnn.models import MODELS

    return {name: MODELS[name] for name in MODELS if MODELS[name].figures is not None}


def networks() -> str:
    """Return one row for each network: what it costs, and how good others found it."""
    entries = published().items()
    bits = sorted({bits for _, e in entries if e.figures for bits in e.figures.macs})
    return _table(
        (
            *("Name", "What it is", "Input", "Parameters", "Bytes"),
            *(f"{b}-bit MACs" for b in bits),
            *("Top-1", "Top-5", "Of", "Paper"),
        ),
        (
            (
                f"`{name}`",
                e.summary,
                "x".join(map(str, e.input_shape)),
                f"{e.figures.params:,}",
                f"{e.figures.bytes:,}",
                *(f"{e.figures.macs[b]:,}" if b in e.figures.macs else "" for b in bits),
                *_accuracy(e),
                f"[{e.paper.removeprefix('https://')}]({e.paper})",
            )
            for name, e in entries
            if e.figures
        ),
    )


def _accuracy(entry: ModelEntry) -> tuple[str, str, str]:
    found = entry.published
    if found is None:
        return "", "", ""
    return f"{found.top1:g}", "" if found.top5 is None else f"{found.top5:g}", found.data


def images() -> str:
    """Return one row for each way to prepare images, with the networks that want it."""
    ways: dict[tuple[str, ...], list[str]] = {}
    for name, entry in published().items():
        p = entry.preprocessing
        if p is not None:
            cells = (
                "x".join(map(str, p.size)),
                f"{p.crop:g}",
                p.interpolation + (", antialias" if p.antialias else ""),
                ", ".join(map(str, p.mean)),
                ", ".join(map(str, p.std)),
            )
            ways.setdefault(cells, []).append(f"`{name}`")
    return _table(
        ("Size", "Crop", "Interpolation", "Mean", "Std", "Networks"),
        ((*cells, ", ".join(names)) for cells, names in ways.items()),
    )


def recipes() -> str:
    """Return one row for each recipe of published networks."""
    from bnn.executor import load_recipe, packaged_recipes

    found = [load_recipe(name) for name in packaged_recipes()]
    zoo = published()
    rows = []
    for recipe in found:
        if recipe.needs_binary and recipe.model is not None:
            network = zoo[recipe.model["name"]].network
            family = [f"`{n}`" for n, e in zoo.items() if e.network is network]
            steps = "; ".join(f"{step.name}: {_training(step)}" for step in recipe.steps)
            rows.append((f"`{recipe.name}`", ", ".join(family), steps))
    return _table(("Recipe", "Networks", "Steps"), rows)


def _training(step: RecipeStep) -> str:
    """Return how a step trains, in a few words."""
    optimizers = " and ".join(dict.fromkeys(case["name"] for case in step.optimizer))
    losses = " + ".join(loss["name"] for loss in step.losses) or "cross_entropy"
    return f"{step.epochs} epochs of {step.batch_size} images, {optimizers}, {losses}"

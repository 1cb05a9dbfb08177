"""MkDocs hook: tables, lists and pages of reference that follow from the registries.

A page holds a placeholder, ``<!-- table: binarizers -->``; ``_FILL`` says what takes its place.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnn.models import ModelEntry

_DECISIONS = Path(__file__).parent / "decisions"
_PLACEHOLDER = re.compile(
    r"^<!-- (?P<kind>table|plots|reference): (?P<name>[\w-]+) -->$", re.MULTILINE
)


def on_config(config: Any, **_: object) -> Any:
    """List the decisions, of which anybody may add one."""
    pages = sorted(path.name for path in _DECISIONS.glob("[0-9]*.md"))
    for entry in config["nav"]:
        if "Decisions" in entry:
            numbered = [f"decisions/{page}" for page in pages]
            entry["Decisions"] = [{"Index": "decisions/index.md"}, *numbered]
    return config


def on_page_markdown(markdown: str, **_: object) -> str:
    """Fill in the placeholders of a page."""
    return _PLACEHOLDER.sub(lambda match: _FILL[match["kind"], match["name"]](), markdown)


def first_line(thing: object) -> str:
    """Return the first line of a docstring, fit for a cell of a table."""
    text = (inspect.getdoc(thing) or "").splitlines()
    return _cell(text[0] if text else "")


def _cell(text: str) -> str:
    text = re.sub(r":math:`([^`]*)`", _cell_formula, text)
    text = re.sub(r":\w+:`([^`]*)`", r"`\1`", text).replace("``", "`")
    return text.replace("|", "\\|").replace("\n", " ")


def _cell_formula(match: re.Match[str]) -> str:
    # A bar would end the cell, and TeX reads an escaped one as a norm.
    return "$" + match[1].replace("|", r"\vert ") + "$"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


def _linked(paper: str) -> str:
    return f"[{paper.removeprefix('https://')}]({paper})" if paper else ""


def _binarizers() -> str:
    from bnn.ops import binarizers

    takes = {"value": "one tensor", "output": "(layer output, layer input)"}
    return _table(
        ("Name", "Takes", "What it does"),
        ((f"`{n}`", takes[binarizers[n].stage], first_line(binarizers[n])) for n in binarizers),
    )


def _layers() -> str:
    from bnn.layers import BINARY_LAYERS

    return _table(
        ("Float layer", "Binary layer"),
        (
            (f"`torch.nn.{old.__name__}`", f"`bnn.layers.{new.__name__}`")
            for old, new in BINARY_LAYERS.items()
        ),
    )


def _models() -> str:
    from bnn.models import MODELS

    return _table(
        ("Name", "Input", "Classes", "What it is", "Paper"),
        (
            (
                f"`{n}`",
                _image(MODELS[n]),
                str(MODELS[n].num_classes),
                _cell(MODELS[n].summary),
                _linked(MODELS[n].paper),
            )
            for n in MODELS
            if MODELS[n].figures is None
        ),
    )


def _image(entry: ModelEntry) -> str:
    return "x".join(map(str, entry.input_shape))


def _model_parts() -> str:
    from bnn.models.registry import ACTIVATIONS, BLOCKS, GENOTYPES, NORM_LAYERS
    from bnn.models.stems import STEMS

    tables = {
        "block_type": BLOCKS,
        "activation, stem_activation": ACTIVATIONS,
        "norm_layer": NORM_LAYERS,
        "stem_type": sorted(STEMS),
        "genotype": GENOTYPES,
    }
    return _table(
        ("Argument", "Names"),
        ((f"`{key}`", ", ".join(f"`{n}`" for n in names)) for key, names in tables.items()),
    )


def _recipes() -> str:
    from bnn.executor import load_recipe, packaged_recipes

    recipes = [load_recipe(name) for name in packaged_recipes()]
    return _table(
        ("Name", "Steps", "What it does", "Paper"),
        (
            (f"`{r.name}`", str(len(r.steps)), _cell(r.description), _linked(r.reference))
            for r in recipes
        ),
    )


def _recipe_keys(part: str) -> str:
    """Return the keys of one part of a recipe, from the tables that its reader follows."""
    from bnn.executor import keys

    stage = "a stage: `name`, and `args` if any. Left out: identity"
    tables: dict[str, dict[str, str]] = {
        "top": _meanings(keys.TOP),
        "step": {**dict.fromkeys(keys.STAGES, stage), **_meanings(keys.STEP)},
        "case": _meanings(keys.CASE),
        "schedule": _meanings(keys.SCHEDULE),
        "loss": _meanings(keys.LOSS),
        "teacher": _kinds(keys.TEACHER),
        "smoke": _meanings(keys.SMOKE),
    }
    return _table(("Key", "Meaning"), ((f"`{k}`", _cell(v)) for k, v in tables[part].items()))


def _meanings(keys: Any) -> dict[str, str]:
    return {name: key.meaning for name, key in keys.items()}


def _kinds(kinds: Any) -> dict[str, str]:
    """Return the keys of which one is given, and after each those that may come with it."""
    found = {}
    for kind, keys in kinds.items():
        for name, key in keys.items():
            found[name] = key.meaning if name == kind else f"with `{kind}`: {key.meaning}"
    return found


def _data_sets() -> str:
    from bnn.training import DATASETS

    rows = ((name, DATASETS[name]) for name in DATASETS)
    return _table(
        ("Name", "What it is", "`--data-dir`", "Epochs", "Batch", "Learning rate"),
        (
            (
                f"`{name}`",
                _cell(d.summary).replace("<", "&lt;"),
                "needed" if d.needs_dir else "no",
                str(d.epochs),
                str(d.batch_size),
                f"{d.learning_rate:g}",
            )
            for name, d in rows
        ),
    )


def value_binarizers() -> list[str]:
    """Return the names of the binarizers that take one tensor: those that can be plotted."""
    from bnn.ops import binarizers

    return [name for name in binarizers if binarizers[name].stage == "value"]


def _plots() -> str:
    from bnn.ops import binarizers

    return "\n\n".join(
        f"### {name}\n\n{first_line(binarizers[name])}\n\n"
        f"![Forward and gradient of {name}](../assets/binarizers/{name}.svg)"
        for name in value_binarizers()
    )


def _decisions() -> str:
    pages = sorted(_DECISIONS.glob("[0-9]*.md"))
    titles = (page.read_text(encoding="utf-8").splitlines()[0].lstrip("# ") for page in pages)
    return "\n".join(f"- [{title}]({page.name})" for title, page in zip(titles, pages, strict=True))


def _documented(names: Iterable[str]) -> str:
    return "\n\n".join(f"::: {name}" for name in names)


def _binarizer_reference() -> str:
    from bnn import ops

    return _documented(
        f"bnn.ops.{name}" if hasattr(ops, name) else f"{cls.__module__}.{name}"
        for name, cls in ((name, ops.binarizers[name]) for name in ops.binarizers)
    )


def _layer_reference() -> str:
    from bnn.layers import BINARY_LAYERS

    return _documented(f"bnn.layers.{cls.__name__}" for cls in BINARY_LAYERS.values())


def _verbs() -> str:
    import typer

    from bnn.cli import app

    group: Any = typer.main.get_command(app)
    context = group.make_context("bnn", ["-"], resilient_parsing=True)
    parts = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        inner = command.context_class(command, info_name=name, parent=context, terminal_width=80)
        text = f"## bnn {name}\n\n```text\n{command.get_help(inner).strip()}\n```"
        parts.append(text)
    return "\n\n".join(parts)


def _operations() -> str:
    from bnn.packed.graph import OPERATIONS

    def entries(op: Any) -> Iterable[str]:
        for name, (allowed, _) in op.attrs.items():
            yield f"`{name}`{_maybe(op, name)}: {allowed}"
        for name, axes in op.tensors.items():
            kind = "words" if name in op.words else "floats"
            count = "any axes" if axes is None else f"{axes} axes" if axes > 1 else "1 axis"
            yield f"`{name}`{_maybe(op, name)}: {kind}, {count}"

    return _table(
        ("Operation", "Reads", "Gives", "Result", "Attributes and tensors"),
        (
            (
                f"`{name}`" + (" +" if OPERATIONS[name].finishes else ""),
                ", ".join(OPERATIONS[name].inputs) + (", ..." if OPERATIONS[name].many else ""),
                OPERATIONS[name].output,
                _cell(OPERATIONS[name].does),
                "<br>".join(map(_cell, entries(OPERATIONS[name]))),
            )
            for name in OPERATIONS
        ),
    )


def _maybe(op: Any, name: str) -> str:
    return " (optional)" if name in op.optional else ""


def _limits() -> str:
    from bnn.packed import container
    from bnn.packed.graph import json, ops

    rows = [
        ("Bytes of the file", container.MOST_FILE),
        ("Bytes of the header", container.MOST_HEADER),
        ("Bytes of a tensor", container.MOST_TENSOR),
        ("Tensors", container.MOST_TENSORS),
        ("Axes of a tensor", container.MOST_AXES),
        ("Nodes", json.MOST_NODES),
        ("Inputs, of the network or a node", json.MOST_INPUTS),
        ("Values are numbered below", json.MOST_VALUES),
        ("Numbers in a value, for inputs of `example_shapes`", json.MOST_ELEMENTS),
        ("Entries of a list that is an attribute", json.MOST_LIST),
        ("A number in `padding`", ops.base.MOST_PAD),
        ("Numbers of an input with its padding", ops.rules.MOST_PADDED),
        ("Levels of `output`", json.MOST_DEPTH),
        ("Values in `output`", json.MOST_LEAVES),
        ("Characters of a name", container.MOST_NAME),
        ("Characters of a text in `report`", json.MOST_TEXT),
    ]
    return _table(("At most", ""), ((what, f"{most:,}") for what, most in rows))


def _packable(kind: str) -> str:
    """Return the parts of a model that bnn.pack translates, by their names alone."""
    from bnn.packed.lower.functions import FUNCTIONS, METHODS
    from bnn.packed.lower.modules import MODULES

    modules = {f"nn.{cls.__name__}" for cls in MODULES}
    functions = {name for name in map(_spelled, FUNCTIONS) if name}
    methods = {f".{name}()" for name in METHODS if not name.startswith("__")}
    names = {"modules": modules, "functions": functions, "methods": methods}[kind]
    return ", ".join(f"`{name}`" for name in sorted(names, key=str.lower))


def _spelled(function: Any) -> str:
    """Return a function as it is written in a model; nothing for what is written as a sign."""
    import operator

    import torch
    from torch.nn import functional

    name = getattr(function, "__name__", "")
    for written, module in (("F", functional), ("torch", torch)):
        if getattr(module, name, None) is function:
            return f"{written}.{name}"
    signs = {"add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%"}
    signs |= {"iadd": "+=", "imul": "*=", "isub": "-=", "neg": "-x", "getitem": "x[...]"}
    if getattr(operator, name, None) is function:
        return signs.get(name, f"operator.{name}")
    return {"getattr": "x.shape"}.get(name, name)


def _packable_layers() -> str:
    from bnn.packed.modules import PackedConv1d, PackedConv2d, PackedLinear

    kinds = (kind.layer_class for kind in (PackedLinear, PackedConv1d, PackedConv2d))
    return ", ".join(f"`bnn.layers.{kind.__name__}`" for kind in kinds)


def _optimizers() -> str:
    from bnn.training import OPTIMIZERS

    return _table(
        ("Name", "Class"),
        (
            (f"`{n}`", f"`{OPTIMIZERS[n].__module__.split('.')[0]}`'s {OPTIMIZERS[n].__name__}")
            for n in OPTIMIZERS
        ),
    )


def _parameter_rules() -> str:
    from bnn.training import PARAMETER_RULES

    return _table(
        ("Name", "Which parameters"),
        (
            (f"`{n}`", first_line(PARAMETER_RULES[n]).removeprefix("Yield "))
            for n in PARAMETER_RULES
        ),
    )


def _schedules() -> str:
    from bnn.training import SCHEDULES

    return _table(
        ("Name", "After the warm-up", "Arguments"),
        ((f"`{n}`", first_line(SCHEDULES[n]), _arguments(SCHEDULES[n])) for n in SCHEDULES),
    )


def _losses() -> str:
    from bnn.training import LOSSES

    return _table(
        ("Name", "What it is", "Arguments", "Needs a teacher"),
        (
            (
                f"`{n}`",
                first_line(LOSSES[n]),
                _arguments(LOSSES[n]),
                "yes" if LOSSES[n].needs_teacher else "",
            )
            for n in LOSSES
        ),
    )


def _arguments(cls: Any) -> str:
    return ", ".join(f"`{name}`" for name in inspect.signature(cls).parameters)


_FILL = {
    ("reference", "binarizers"): _binarizer_reference,
    ("reference", "layers"): _layer_reference,
    ("reference", "verbs"): _verbs,
    ("table", "decisions"): _decisions,
    ("table", "binarizers"): _binarizers,
    ("table", "layers"): _layers,
    ("table", "models"): _models,
    ("table", "model-parts"): _model_parts,
    ("table", "operations"): _operations,
    ("table", "packable-layers"): _packable_layers,
    ("table", "packable-modules"): lambda: _packable("modules"),
    ("table", "packable-functions"): lambda: _packable("functions"),
    ("table", "packable-methods"): lambda: _packable("methods"),
    ("table", "packed-limits"): _limits,
    ("table", "recipes"): _recipes,
    ("table", "data-sets"): _data_sets,
    ("table", "recipe-top"): lambda: _recipe_keys("top"),
    ("table", "recipe-step"): lambda: _recipe_keys("step"),
    ("table", "recipe-case"): lambda: _recipe_keys("case"),
    ("table", "recipe-schedule"): lambda: _recipe_keys("schedule"),
    ("table", "recipe-loss"): lambda: _recipe_keys("loss"),
    ("table", "recipe-teacher"): lambda: _recipe_keys("teacher"),
    ("table", "recipe-smoke"): lambda: _recipe_keys("smoke"),
    ("table", "losses"): _losses,
    ("table", "optimizers"): _optimizers,
    ("table", "parameter-rules"): _parameter_rules,
    ("table", "schedules"): _schedules,
    ("plots", "binarizers"): _plots,
}

"""Print what a network costs, layer by layer, as Larq's ``models.summary`` does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnn.inspect.count import LayerCount, OpsCount, count_ops

if TYPE_CHECKING:  # rich is imported when a table is printed: `import bnn` stays light
    from rich.console import Console
    from rich.table import Table

_SHOWN_NAMES = 5  # of the layers that a note is about


def summary(
    model: nn.Module,
    input: Tensor | tuple[object, ...],  # noqa: A002 - as count_ops
    *,
    file: TextIO | None = None,
    width: int | None = None,
) -> OpsCount:
    """Print the layers of a model, their precision, parameters, memory and operations.

    Numbers are exact where the table fits the width, else rounded (k, M, G); the totals below it
    are always exact. Notes follow on what is likely a mistake: binary layers that see one sign
    only, and layers that were not called.

    Args:
        model: As for :func:`count_ops`, which says how it is counted.
        input: The argument of the model, or a tuple of its arguments.
        file: Where to print. Default: the standard output.
        width: Columns. Default: those of the terminal, or of the variable COLUMNS, or 80.

    Returns:
        What was printed, as numbers.

    Raises:
        ConfigError: As :func:`count_ops`.

    Example:
        >>> from bnn import BConfig
        >>> from bnn.layers import Linear
        >>> from bnn.ops import BasicInputBinarizer, XNORWeightBinarizer
        >>> config = BConfig(BasicInputBinarizer, weight_pre_process=XNORWeightBinarizer)
        >>> model = nn.Sequential(nn.Linear(8, 64), Linear(64, 10, bconfig=config))
        >>> count = summary(model, torch.randn(1, 8))  # doctest: +ELLIPSIS
                  Input            1-bit   32-bit  Memory  1-bit  32-bit
        Layer      bits  Outputs  params   params    (kB)   MACs    MACs
        ...
    """
    count = count_ops(model, input)
    fresh = any(
        isinstance(module, _BatchNorm) and module.num_batches_tracked == 0
        for module in model.modules()
    )
    print_count(count, file=file, width=width, norms_are_fresh=fresh)
    return count


def print_count(
    count: OpsCount,
    *,
    file: TextIO | None = None,
    width: int | None = None,
    norms_are_fresh: bool = False,
) -> None:
    """Print what :func:`count_ops` has returned; see :func:`summary`.

    Args:
        count: The numbers.
        file: Where to print. Default: the standard output.
        width: Columns. Default: those of the terminal.
        norms_are_fresh: Batch norms have seen no data, so inputs may be one-sided for now.
    """
    from rich.console import Console

    # Layer names may hold what rich would take for markup.
    console = Console(file=file, width=width, markup=False, emoji=False, highlight=False)
    console.print(_fitting_table(count, console))
    console.print(f"\n{_totals(count)}", soft_wrap=True)
    for note in _notes(count, norms_are_fresh):
        console.print(f"\n{note}")


def _fitting_table(count: OpsCount, console: Console) -> Table:
    """Return the most telling table that fits; if none does, the narrowest, to be folded."""
    table = _table(count, exact=True, kinds=True)
    for exact, kinds in ((True, True), (False, True), (False, False)):
        table = _table(count, exact=exact, kinds=kinds)
        if console.measure(table, options=console.options.update(width=10_000)).maximum <= (
            console.width
        ):
            break
    return table


@dataclass(frozen=True)
class _Column:
    """A column of numbers: its header, and the count of a layer (or the total) in it."""

    header: str
    attribute: str


def _columns(count: OpsCount) -> list[_Column]:
    bits = _float_bits(count)
    columns = [
        _Column("1-bit\nparams", "binary_params"),
        _Column(f"{bits}\nparams", "float_params"),
        _Column("Memory\n(kB)", "packed_bytes"),
        _Column("1-bit\nMACs", "binary_macs"),
        _Column("1-bit w.\nMACs", "weight_only_macs"),
        _Column(f"{bits}\nMACs", "float_macs"),
    ]
    return [c for c in columns if c.attribute != "weight_only_macs" or count.weight_only_macs]


def _float_bits(count: OpsCount) -> str:
    """Name the dtype of the parameters that are not binary, by its bits if they agree."""
    if not count.params:
        return "float"
    bits = 8 * count.float_bytes / count.params
    return f"{bits:.0f}-bit" if bits in (16, 32, 64) else "float"


def _table(count: OpsCount, *, exact: bool, kinds: bool) -> Table:
    from rich import box
    from rich.table import Table

    columns = _columns(count)
    padding = (0, 1 if exact else 0, 0, 0)
    table = Table(box=box.HORIZONTALS, show_edge=False, pad_edge=False, padding=padding)
    table.add_column("\nLayer", overflow="fold", min_width=12)
    table.add_column("Input\nbits", justify="right", no_wrap=True)
    table.add_column("\nOutputs", justify="right", no_wrap=True)
    for column in columns:
        table.add_column(column.header, justify="right", no_wrap=True)
    for layer in count.per_layer:
        shape = "-" if layer.output_shape is None else "x".join(map(str, layer.output_shape))
        bits = "-" if layer.input_bits is None else str(layer.input_bits)
        cells = (_cell(layer, column, exact) for column in columns)
        table.add_row(_label(layer, kinds), bits, shape or "scalar", *cells)
    table.add_section()
    table.add_row("Total", "", "", *(_cell(count, column, exact) for column in columns))
    return table


def _label(layer: LayerCount, kinds: bool) -> str:
    name = layer.name or "(model)"
    times = f" x{layer.calls}" if layer.calls > 1 else ""
    return f"{name}{times} {layer.kind}" if kinds else f"{name}{times}"


def _cell(counted: LayerCount | OpsCount, column: _Column, exact: bool) -> str:
    value: int = getattr(counted, column.attribute)
    if not value:
        return "-"
    if column.attribute == "packed_bytes":
        return f"{value / 1e3:,.2f}" if exact or value < 1e5 else f"{value / 1e3:,.0f}"
    return f"{value:,}" if exact else _rounded(value)


def _rounded(value: float) -> str:
    """Return a count in at most 5 characters.

    Example:
        >>> [_rounded(value) for value in (999, 1_000, 115_605_504, 999_960)]
        ['999', '1.0k', '116M', '1.0M']
    """
    if value < 1000:
        return f"{value:.0f}"
    for unit in "kMGTP":
        value /= 1000
        if value < 99.95:
            return f"{value:.1f}{unit}"
        if value < 999.5:
            return f"{value:.0f}{unit}"
    return f"{value:.3g}P"


def _size(count: float) -> str:
    """Return a number of bytes in decimal units.

    Example:
        >>> _size(4_204_448), _size(70)
        ('4.204 MB', '70 B')
    """
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3f} {unit}"
    return f"{count:.0f} B"


def _totals(count: OpsCount) -> str:
    frozen = count.params - count.trainable_params
    rows = (
        ("Parameters", f"{count.params:,}"),
        ("  of these 1-bit", f"{count.binary_params:,}"),
        ("  trainable, not trainable", f"{count.trainable_params:,}, {frozen:,}"),
        ("Size as it is", _size(count.float_bytes)),
        ("Size packed", f"{_size(count.packed_bytes)} ({count.compression:.1f}x smaller)"),
        ("MACs", f"{count.macs:,}"),
        ("  of these 1-bit", f"{count.binary_macs:,} ({100 * count.binary_share:.2f} %)"),
        ("FLOPs (2 x other MACs)", f"{count.flops:,}"),
        ("BOPs (2 x 1-bit MACs)", f"{count.bops:,}"),
        ("OPs (other + 1-bit MACs / 64)", f"{count.ops:,.0f}"),
    )
    return "\n".join(f"{label:<31}{value}" for label, value in rows)


_ONE_SIGN_CURE = (
    "put a norm or a shift between them, as bnn.models.PreBasicBlock does, or use PReLU."
)


def _notes(count: OpsCount, norms_are_fresh: bool) -> Iterable[str]:
    if count.one_sided:
        where = _listed(
            f"{layer.name or '(model)'} ({'+' if layer.positive_share else '-'}1 only)"
            for layer in count.one_sided
        )
        if norms_are_fresh:
            yield (
                "Note: the batch norms have seen no data yet and centre nothing, so that binary "
                f"layers see only one sign: {where}. Look again after some training steps. If it "
                f"stays so, the usual cause is a ReLU before the sign: {_ONE_SIGN_CURE}"
            )
        else:
            yield (
                "Warning: binary layers that see only one sign, so their input tells them nothing: "
                f"{where}. The usual cause is a ReLU before the sign: {_ONE_SIGN_CURE}"
            )
    if count.unused:
        where = _listed(layer.name or "(model)" for layer in count.unused)
        yield f"Note: never called, so with parameters but no MACs: {where}."


def _listed(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _SHOWN_NAMES} more" if len(listed) > _SHOWN_NAMES else ""
    return ", ".join(listed[:_SHOWN_NAMES]) + more

"""Which layers a name means: exact names, ``_first_``, ``_last_`` and ``$regex$``."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

from bnn.errors import ConfigError, LayerNotFoundError
from bnn.patterns import compile_pattern
from bnn.values import shown

FIRST, LAST = "_first_", "_last_"


def as_names(names: Iterable[str], argument: str) -> list[str]:
    """Return the names as a list, refusing a bare string and entries that are no strings."""
    if isinstance(names, str):
        raise ConfigError(
            f"{argument} got the string {shown(names)}; give a list: [{shown(names)}]."
        )
    listed = list(names)
    for name in listed:
        if not isinstance(name, str):
            raise ConfigError(f"{argument} has {shown(name)}; every entry must be a layer's name.")
    return listed


def select_layers(
    pattern: str,
    layers: Sequence[str],
    *,
    argument: str,
    other_modules: Iterable[str] = (),
) -> list[str]:
    r"""Return the layers that ``pattern`` means.

    Args:
        pattern: An exact name; ``_first_`` or ``_last_`` of ``layers``; or ``$regex$``, which
            selects every layer in whose name the expression is found (``re.search``: frame it in
            ``^`` and ``\Z`` to match whole names).
        layers: Names of the convertible layers, in the order of the model's modules.
        argument: Name of the caller's argument, for messages.
        other_modules: Names of modules that cannot be converted, for messages.

    Raises:
        LayerNotFoundError: If nothing matches; the message shows the closest names.
        ConfigError: If the regular expression is malformed, or could take too long.

    Example:
        >>> select_layers("$^block$", ["stem", "block1", "block2", "fc"], argument="names")
        ['block1', 'block2']
    """
    if pattern in (FIRST, LAST):
        if not layers:
            raise LayerNotFoundError(
                f"{argument} has {shown(pattern)}, but the model has no convertible layer."
            )
        return [layers[0] if pattern == FIRST else layers[-1]]
    if len(pattern) > 1 and pattern[0] == pattern[-1] == "$":
        return _search(pattern, layers, argument)
    if pattern in layers:
        return [pattern]
    raise LayerNotFoundError(_not_found(pattern, layers, argument, set(other_modules)))


def _search(pattern: str, layers: Sequence[str], argument: str) -> list[str]:
    try:
        expression = compile_pattern(pattern[1:-1])
    except ConfigError as error:
        raise ConfigError(f"{argument} has {shown(pattern)}, which {error}") from error
    found = [name for name in layers if expression.search(name)]
    if not found:
        examples = ", ".join(map(shown, layers[:3])) or "none"
        raise LayerNotFoundError(
            f"{argument} has {shown(pattern)}, which matches no convertible layer.\n"
            f"  The first of {len(layers)} layers: {examples}."
        )
    return found


def _not_found(pattern: str, layers: Sequence[str], argument: str, others: set[str]) -> str:
    lines = [f"{argument} has {shown(pattern)}, but the model has no such layer."]
    if pattern in others:
        lines = [f"{argument} has {shown(pattern)}, which is a module but not a convertible layer."]
        inside = [name for name in layers if name.startswith(f"{pattern}.")]
        if inside:
            lines.append(f"  For the {len(inside)} layers in it, use '$^{re.escape(pattern)}\\.$'.")
    near = difflib.get_close_matches(pattern, layers, n=3)
    if near:
        lines.append(f"  Closest names: {', '.join(map(shown, near))}.")
    lines.append("  Use '$pattern$' for a regular expression.")
    return "\n".join(lines)

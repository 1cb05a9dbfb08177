"""Names given on the command line, checked before anything heavy is loaded or written."""

from __future__ import annotations

from collections.abc import Iterable

from bnn.registry import did_you_mean


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the message for a name that is not one of ``known``.

    Example:
        >>> unknown("recipe", "to-step", ["two-step", "xnor-net"])
        "no recipe named 'to-step'. Did you mean 'two-step'? Known: two-step, xnor-net."
    """
    names = sorted(known)
    return f"no {kind} named {name!r}.{did_you_mean(name, names)} Known: {', '.join(names)}."

"""Values that come from outside: which are numbers, and how messages show them."""

from __future__ import annotations

import math
from typing import Any, TypeGuard


def is_number(value: object) -> TypeGuard[int | float]:
    """Say whether a value is a finite number that a float can hold; true and false are none.

    Example:
        >>> is_number(2), is_number(True), is_number(float("nan")), is_number(10**400)
        (True, False, False, False)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the floats
        return False


def shown(value: Any, most: int = 60) -> str:
    """Return what a message shows of a value: its ``repr``, shortened to ``most`` characters.

    It never fails and takes no longer for a large value.

    Example:
        >>> shown("x" * 100, most=20)
        "'xxxxxxxxxxxxxxxx..."
        >>> shown([[1, 2], [3]])
        '[[1, 2], [3]]'
    """
    return cut(_text(value, most), most)


def cut(text: str, most: int = 60) -> str:
    """Return a text, or of one that is longer than ``most`` its beginning and three dots.

    Example:
        >>> cut("a long name", most=9)
        'a long...'
    """
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _text(value: Any, most: int) -> str:
    """Return at least the first ``most`` + 1 characters of a value's ``repr``, if it has them."""
    if isinstance(value, str | bytes):
        return repr(value[: most + 1])
    if isinstance(value, list | tuple | dict):
        return _of_several(value, most)
    try:
        return repr(value)
    except ValueError:  # Python writes no integer of thousands of digits
        return f"an integer of {value.bit_length()} bits"


def _of_several(value: list[Any] | tuple[Any, ...] | dict[Any, Any], most: int) -> str:
    opened, closed = "{}" if isinstance(value, dict) else "[]" if isinstance(value, list) else "()"
    text = opened
    if most <= 0:
        return text
    for index, entry in enumerate(value):
        if len(text) > most:
            return text
        text += ", " if index else ""
        text += _text(entry, most - len(text))
        if isinstance(value, dict):
            text += f": {_text(value[entry], most - len(text))}"
    return text + (",)" if isinstance(value, tuple) and len(value) == 1 else closed)

"""Regular expressions of layers' names: those that could run for hours are refused.

Python's ``re`` goes back to try every way in which a part of an expression can match. Nested
repetitions such as ``(a+)+`` have exponentially many, and nothing can stop the search. Here the
ways are counted before, from the parsed expression, for a name of :data:`LENGTH` characters.
"""

from __future__ import annotations

import importlib
import math
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import Any

from bnn.errors import ConfigError

LENGTH = 64
MOST_CHARACTERS = 2000
MOST_WAYS = LENGTH**4
"""As many as four repetitions without a bound have, one after the other."""

_PARSER: Any = importlib.import_module("re._parser" if sys.version_info >= (3, 11) else "sre_parse")
_ALL = frozenset(map(chr, range(128)))  # chr(127) stands for every other character


def compile_pattern(expression: str) -> re.Pattern[str]:
    r"""Compile a regular expression that is searched in names of layers.

    Args:
        expression: Without the ``$`` that frame it in a recipe.

    Raises:
        ConfigError: If it is malformed, too long, or could take too long; the message begins with
            "is", "has" or "may".

    Example:
        >>> compile_pattern(r"^layer[1-3]\.\d+\.conv").search("layer2.0.conv1").group()
        'layer2.0.conv'
        >>> compile_pattern("(a+)+")
        Traceback (most recent call last):
        bnn.errors.ConfigError: has repetitions within repetitions, ...
    """
    if len(expression) > MOST_CHARACTERS:
        raise ConfigError(f"is longer than {MOST_CHARACTERS} characters. Give several patterns.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            compiled = re.compile(expression)
            ways = _ways(_PARSER.parse(expression))
    except Warning as warning:
        raise ConfigError(
            f"may mean something else to a later Python: {str(warning).lower()}. Write a backslash "
            "before the character there."
        ) from warning
    except (re.error, OverflowError, RecursionError) as error:
        raise ConfigError(f"is no regular expression: {error}.") from error
    if ways > MOST_WAYS:
        raise ConfigError(
            "has repetitions within repetitions, or more than four in a row, and could take hours "
            r"to search. Repeat single characters only, as in '\.\d+', or give several patterns."
        )
    return compiled


def _ways(items: Iterable[Any]) -> float:
    """Return how many ways a sequence has at most to match from one place on."""
    return math.prod(_ways_of(str(op), argument) for op, argument in items)


def _ways_of(op: str, argument: Any) -> float:
    if op.endswith("_REPEAT"):
        return _ways_of_repetition(*argument)
    if op == "BRANCH":
        branches = [list(branch) for branch in argument[1]]
        starts = [_first(branch) for branch in branches]
        exclusive = all(a.isdisjoint(b) for a, b in combinations(starts, 2))
        each = map(_ways, branches)
        return max(each) if exclusive else sum(each)
    return math.prod(map(_ways, _parts(op, argument)))


def _ways_of_repetition(least: int, most: int, body: Iterable[Any]) -> float:
    times, ways = min(most, LENGTH) - min(least, LENGTH) + 1, _ways(body)
    # With a mark at its beginning, where one repetition ends and the next begins is certain.
    if ways == 1 or _is_led(body):
        return times * ways
    return math.inf if most > LENGTH or ways > MOST_WAYS else times * ways**most


def _parts(op: str, argument: Any) -> list[Any]:
    """Return the sequences within an operation."""
    if op in ("SUBPATTERN", "ASSERT", "ASSERT_NOT"):
        return [argument[-1]]
    if op == "ATOMIC_GROUP":
        return [argument]
    if op == "BRANCH":
        return list(argument[1])
    if op == "GROUPREF_EXISTS":
        return [part for part in argument[1:] if part is not None]
    return [argument[2]] if op.endswith("_REPEAT") else []


def _is_led(body: Iterable[Any]) -> bool:
    """Say whether a sequence begins with a character that stands nowhere else in it.

    And whether there is one way at most to match the text from one such character to the next.
    """
    items = [item for item in _flat(body) if item[0] != "SUBPATTERN"]
    ops = [op for op, _ in items]
    if not items or ops[0] not in _SINGLE or "BRANCH" in ops or "GROUPREF_EXISTS" in ops:
        return False
    repeated = [argument[2] for op, argument in items if op.endswith("_REPEAT")]
    if len(repeated) > 1 or any(part.getwidth()[0] == 0 for part in repeated):
        return False  # what is empty is there or not: two ways
    (first, *others) = (_set(*item) for item in items if not _parts(*item))
    return first.isdisjoint(frozenset().union(*others))


def _flat(items: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Give all operations of a sequence, each before those within it."""
    for op, argument in items:
        yield str(op), argument
        for part in _parts(str(op), argument):
            yield from _flat(part)


def _first(items: list[Any]) -> frozenset[str]:
    """Return the characters with which a match may begin; all where that is not plain to see."""
    if not items:
        return _ALL
    op, argument = str(items[0][0]), items[0][1]
    return _set(op, argument) if op in _SINGLE else _ALL


_SINGLE = ("LITERAL", "NOT_LITERAL", "ANY", "IN")


def _set(op: str, argument: Any) -> frozenset[str]:
    """Return the characters that one item may match, in lower case, as if case did not matter.

    All, where there is one beyond ASCII: U+212A is a "k" where case does not matter.
    """
    if op == "LITERAL":
        op, argument = "RANGE", (argument, argument)
    if op == "RANGE" and argument[1] < 127:
        low, high = argument
        return frozenset(chr(code).lower() for code in range(low, high + 1))
    if op == "IN":
        if str(argument[0][0]) == "NEGATE":
            return _ALL
        return frozenset().union(*(_set(str(kind), value) for kind, value in argument))
    if op == "CATEGORY" and str(argument) == "CATEGORY_DIGIT":
        return frozenset("0123456789\x7f")
    return frozenset() if op == "AT" else _ALL

"""Whether plain data is what a constructor's annotation asks for, and how a message says it."""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from bnn.ops.base import constructor_parameters
from bnn.values import is_number, shown

_NONE = type(None)
_LISTS = (list, tuple, Sequence, Collection, Iterable)
_MAPPINGS = (dict, Mapping)


def constructor_annotations(cls: type) -> dict[str, Any]:
    """Return what each parameter of ``cls(...)`` is annotated with; nothing if that is unknown.

    Example:
        >>> from bnn.ops import TernaryWeightBinarizer
        >>> constructor_annotations(TernaryWeightBinarizer)["threshold"]
        typing.Union[float, typing.Literal['twn']]
    """
    try:
        return get_type_hints(cls.__init__)  # type: ignore[misc]  # the one of this very class
    except (NameError, TypeError, AttributeError):  # names that exist for type checkers alone
        return {}


def misfits(cls: type, args: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (name, what is wrong) of each argument that is of none of the annotated kinds.

    Args:
        cls: The class that is to be made; None always fits where it is a parameter's default.
        args: Arguments of its constructor, plain data.

    Example:
        >>> from bnn.ops import TernaryWeightBinarizer
        >>> list(misfits(TernaryWeightBinarizer, {"threshold": "tern"}))
        [('threshold', "must be a number or 'twn', got 'tern'.")]
    """
    annotations, parameters = constructor_annotations(cls), constructor_parameters(cls)
    for name, value in args.items():
        if value is None and name in parameters and parameters[name].default is None:
            continue
        if not fits(value, annotations.get(name, Any)):
            yield name, f"must be {words(annotations[name])}, got {shown(value)}."


def fits(value: Any, annotation: Any) -> bool:
    """Say whether plain data is of an annotated kind; of any other class, all is.

    Args:
        value: Text, a number, true or false, None, or lists and mappings of such.
        annotation: What :func:`constructor_annotations` gave.

    Example:
        >>> fits(2, int), fits(2.0, int), fits(2, float), fits(True, int)
        (True, False, True, False)
        >>> fits(None, int | None), fits([1, "a"], list[int])
        (True, False)
    """
    origin, inner = get_origin(annotation) or annotation, get_args(annotation)
    if origin in (Union, types.UnionType):
        return any(fits(value, one) for one in inner if not _is_foreign(one))
    if origin is Annotated:
        return fits(value, inner[0])
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in inner)
    if origin is float:
        return is_number(value) or value in (math.inf, -math.inf)
    if origin is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin in (bool, str, None, _NONE):
        return isinstance(value, _NONE if origin is None else origin)
    if origin is Callable:
        return False
    if origin in _MAPPINGS:
        return isinstance(value, dict) and all(
            fits(v, one) for one in inner[1:] for v in value.values()
        )
    if origin in _LISTS:
        return isinstance(value, list | tuple) and _entries_fit(value, origin, inner)
    return True


def _entries_fit(value: Sequence[Any], origin: type, inner: tuple[Any, ...]) -> bool:
    if origin is tuple and inner and inner[-1] is not Ellipsis:
        return len(value) == len(inner) and all(map(fits, value, inner))
    return not inner or all(fits(entry, inner[0]) for entry in value)


def _is_foreign(annotation: Any) -> bool:
    """Say whether no plain data is of an annotation, as none is a tensor."""
    known = (*_WORDS, *_LISTS, *_MAPPINGS, object)
    return isinstance(annotation, type) and (get_origin(annotation) or annotation) not in known


def words(annotation: Any) -> str:
    """Return what a message says is allowed; "left out" where no plain data is.

    Example:
        >>> words(float | Literal["twn"] | None)
        "a number, 'twn' or null"
        >>> words(list[int])
        'a list (each a whole number)'
    """
    said = list(dict.fromkeys(_alternatives(annotation)))
    return " or ".join(filter(None, (", ".join(said[:-1]), *said[-1:]))) or "left out"


def _alternatives(annotation: Any) -> list[str]:
    origin, inner = get_origin(annotation) or annotation, get_args(annotation)
    if origin in (Union, types.UnionType):
        return [text for one in inner for text in _alternatives(one)]
    if origin is Annotated:
        return _alternatives(inner[0])
    if origin is Literal:
        return [repr(one) for one in inner]
    if origin in _WORDS:
        return [_WORDS[origin]]
    if origin in _MAPPINGS:
        return ["a mapping" + (f" (each {words(inner[1])})" if len(inner) > 1 else "")]
    if origin is tuple and inner and inner[-1] is not Ellipsis:
        return [f"a list ({', '.join(map(words, inner))})"]
    if origin in _LISTS:
        return ["a list" + (f" (each {words(inner[0])})" if inner else "")]
    return []


_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    _NONE: "null",
    None: "null",
}

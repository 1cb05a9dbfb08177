"""Griffe extension: rewrite our docstrings, which are also read in a terminal, as Markdown.

Sections that griffe does not know (Shape, Reference, Forward and Backward lines) become plain
text with a heading; reST roles become formulas and links.
"""

from __future__ import annotations

import importlib
import re
from typing import Any

import griffe

_ROLE = re.compile(r":(class|func|data|meth|attr):`(~?)([^`]+)`")
_MATH = re.compile(r":math:`([^`]+)`")
_FORMULA_LINE = re.compile(r"^(Forward|Backward)([^:\n]*):[ ]+", re.MULTILINE)
_PLAIN_SECTION = re.compile(r"^(Shape|Reference):[ ]*\n((?:[ ]{4}.*\n?|[ \t]*\n)+)", re.MULTILINE)
_URL = re.compile(r"(?<![<(\[])https?://[^\s)>\]]+(?<![.,;])")


class Docstrings(griffe.Extension):
    """Rewrite each docstring once its object has been read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of one module, class, function or attribute."""
        if obj.is_class and obj.docstring is None:
            obj.docstring = _set_at_run_time(obj)
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value, obj)


def _set_at_run_time(cls: griffe.Object) -> griffe.Docstring | None:
    """Return the docstring that code gave a class, such as those of the convolutions."""
    if not cls.path.startswith("bnn.") or cls.is_private:
        return None
    module, _, name = cls.path.rpartition(".")
    try:
        found = vars(getattr(importlib.import_module(module), name)).get("__doc__")
    except (ImportError, AttributeError):
        return None
    return griffe.Docstring(found, parent=cls) if found else None


def markdown(text: str, obj: griffe.Object) -> str:
    """Return a docstring with what griffe and Markdown would misread replaced."""
    text = re.sub(r"^Example:", "Examples:", text, flags=re.MULTILINE)
    text = _MATH.sub(lambda match: f"${match[1]}$", text)
    text = _ROLE.sub(lambda match: _link(match[1], match[3], obj), text)
    text = _PLAIN_SECTION.sub(_plain, text)
    # Each of these lines is an item of a list; lines that follow it belong to it.
    first = _FORMULA_LINE.search(text)
    if first:
        text = f"{text[: first.start()].rstrip()}\n\n{text[first.start() :]}"
        text = _FORMULA_LINE.sub(lambda match: f"- **{match[1]}{match[2]}**: ", text)
    return text


def _plain(match: re.Match[str]) -> str:
    body = re.sub(r"^[ ]{4}", "", match[2], flags=re.MULTILINE).strip()
    return f"**{match[1]}**\n\n{_URL.sub(lambda url: f'<{url[0]}>', body)}\n\n"


def _link(role: str, target: str, obj: griffe.Object) -> str:
    """Return a link that autorefs fills in where the target has a page, else code."""
    if "." not in target:
        parent = obj if obj.is_module else obj.module
        inside = obj.path if role == "meth" and obj.is_class else parent.path
        identifier = f"{inside}.{target}"
    else:
        identifier = target if target.startswith("bnn") else ""
    shown = f"<code>{target.rpartition('.')[2]}</code>"
    if not identifier:
        return shown
    return f'<autoref identifier="{identifier}" optional>{shown}</autoref>'

"""MkDocs hook: formulas become SVG.

They are drawn by matplotlib's mathtext while the site is built, so that a page needs neither
JavaScript nor the network. They take the colour of the text around them.
"""

from __future__ import annotations

import functools
import html
import logging
import re
from collections.abc import Iterable, Iterator

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath

logger = logging.getLogger("mkdocs.hooks.bnn")

_SIZE = 15  # units of one em: a little larger than the text, whose letters are wider
_FONT = FontProperties(size=_SIZE, math_fontfamily="stix")
_LETTERS = {1: ("M", 1), 2: ("L", 1), 3: ("Q", 2), 4: ("C", 3), 79: ("Z", 0)}
_UNKNOWN_TO_MATHTEXT = {r"\ge ": r"\geq ", r"\le ": r"\leq ", r"\dots": r"\ldots"}


@functools.cache
def svg(tex: str) -> str:
    """Return a formula as inline SVG."""
    for name, known in _UNKNOWN_TO_MATHTEXT.items():
        tex = tex.replace(name, known)
    draw = TextToPath()
    text = f"${tex}$"
    width, height, depth = draw.get_text_width_height_descent(text, _FONT, ismath=True)
    points, codes = draw.get_text_path(_FONT, text, ismath=True)
    scale = _SIZE / draw.FONT_SCALE  # the path is in font units, the measures are not
    path = "".join(_commands([(x * scale, y * scale) for x, y in points], list(codes)))
    top = height - depth
    box = f"-1 {-top - 1:.2f} {width + 2:.2f} {height + 2:.2f}"
    style = f"height:{(height + 2) / _SIZE:.3f}em;vertical-align:{-(depth + 1) / _SIZE:.3f}em"
    return (
        f'<svg class="formula" role="img" aria-label="{html.escape(tex)}" viewBox="{box}" '
        f'style="{style}"><path d="{path}"/></svg>'
    )


def _commands(points: Iterable[tuple[float, float]], codes: list[int]) -> Iterator[str]:
    rows = [f"{x:.2f} {-y:.2f}" for x, y in points]  # SVG's y axis points down
    index = 0
    while index < len(codes):
        letter, count = _LETTERS[int(codes[index])]
        yield letter + " ".join(rows[index : index + count])
        index += max(count, 1)


def _formula(match: re.Match[str]) -> str:
    tex = html.unescape(match["tex"]).strip().replace("\n", " ")
    try:
        return svg(tex)
    except ValueError as error:  # mathtext's word for what it does not know
        logger.warning("formula not drawn: %s (%s)", tex, str(error).splitlines()[-1])
        return f"<code>{html.escape(tex)}</code>"


_ARITHMATEX = re.compile(r'<span class="arithmatex">\\\((?P<tex>.*?)\\\)</span>', re.DOTALL)


def on_page_content(content: str, **_: object) -> str:
    """Draw the formulas of a page."""
    return _ARITHMATEX.sub(_formula, content)

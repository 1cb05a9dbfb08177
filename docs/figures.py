"""Draw the figures of docs/explanation/one-bit-convolution.md.

python docs/figures.py    # writes docs/assets/one-bit/<name>.svg
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from plots import FORWARD as BLUE
from plots import GRADIENT as ORANGE
from plots import SAMPLE as GREY
from plots import TEXT  # this import also sets the look of every plot

FOLDER = Path(__file__).parent / "assets" / "one-bit"
GREEN = "#2da44e"
INCH = 0.26  # of a unit
SMALL, SIZE = 7.5, 9


def canvas(width: float, height: float) -> Axes:
    """Return axes without a frame, x to the right and y down, in units of one cell."""
    figure = plt.figure(figsize=(width * INCH, height * INCH))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.axis("off")
    return axes


def box(
    axes: Axes,
    x: float,
    y: float,
    width: float,
    height: float,
    text: str = "",
    color: str = GREY,
    fill: float = 0.2,
    size: float = SIZE,
) -> None:
    """Draw a cell with a text in its middle."""
    axes.add_patch(Rectangle((x, y), width, height, facecolor=color, alpha=fill, linewidth=0))
    axes.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=color, linewidth=0.8))
    if text:
        say(axes, x + width / 2, y + height / 2, text, size=size, align="center")


def say(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    *,
    color: str = TEXT,
    size: float = SIZE,
    align: str = "left",
) -> None:
    """Write a text; its vertical middle is at y."""
    axes.text(x, y, text, color=color, fontsize=size, ha=align, va="center", linespacing=1.35)


def arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], color: str = TEXT
) -> None:
    """Draw an arrow."""
    style = {"arrowstyle": "-|>", "color": color, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=style)


def brace(axes: Axes, begin: float, end: float, y: float, text: str) -> None:
    """Draw a bracket above y from begin to end, with a text above it."""
    axes.plot([begin, begin, end, end], [y, y - 0.3, y - 0.3, y], color=TEXT, linewidth=0.8)
    say(axes, (begin + end) / 2, y - 0.85, text, align="center", size=SMALL)


def layout() -> None:
    """Where a channel of a pixel lies in memory."""
    axes = canvas(29, 14.4)
    say(axes, 0.5, 0.7, "image of 100 channels: pixels")
    say(
        axes,
        10.5,
        0.7,
        "memory: the words of a pixel side by side, pixel after pixel, row after row",
    )
    for row in range(3):
        for column in range(4):
            seen = row == 0
            box(axes, 0.7 + 1.7 * column, 1.6 + 1.5 * row, 1.7, 1.5, f"{row}, {column}",
                BLUE if seen else GREY, 0.2 if seen else 0.08)  # fmt: skip
    for pixel in range(4):
        x = 10.7 + 4.4 * pixel
        for word in range(2):
            chosen = (pixel, word) == (0, 1)
            box(axes, x + 2.2 * word, 2.6, 2.2, 1.5, f"word {word}", ORANGE if chosen else BLUE,
                0.35 if chosen else 0.2, size=SMALL)  # fmt: skip
        brace(axes, x + 0.1, x + 4.3, 2.5, f"pixel 0, {pixel}")
    say(axes, 28.4, 3.35, "...")
    axes.plot([10.75, 23.85], [4.5, 4.5], color=GREEN, linewidth=2)
    say(axes, 20.2, 5.4, "one run: the three taps of a row of a\n3x3 kernel, read without a gather",
        size=SMALL, color=GREEN)  # fmt: skip

    # The chosen word, bit by bit: least significant first.
    axes.plot([12.9, 2.2], [4.1, 8.6], color=ORANGE, linewidth=0.6, linestyle=":")
    axes.plot([15.1, 27.4], [4.1, 8.6], color=ORANGE, linewidth=0.6, linestyle=":")
    values = ["-0.7", "0.2", "-1.3", "0.0", "...", "-0.1", "", "", "...", ""]
    bits = ["1", "0", "1", "0", "...", "1", "0", "0", "...", "0"]
    places = ["bit 0", "1", "2", "3", "...", "35", "36", "37", "...", "63"]
    channels = ["64", "65", "66", "67", "...", "99", "", "", "", ""]
    for i, (value, bit, place, channel) in enumerate(
        zip(values, bits, places, channels, strict=True)
    ):
        x = 2.2 + 2.52 * i
        box(axes, x, 10.6, 2.52, 1.4, bit, ORANGE if i < 6 else GREY, 0.35 if i < 6 else 0.08)
        say(axes, x + 1.26, 12.5, place, align="center", size=SMALL)
        say(axes, x + 1.26, 9.9, value, align="center")
        say(axes, x + 1.26, 9.1, channel, align="center", size=SMALL)
    for y, text in ((9.1, "channel"), (9.9, "value"), (11.3, "x < 0")):
        say(axes, 2.0, y, text, align="right", size=SMALL)
    say(axes, 9.8, 13.6, "36 bits that hold values", align="center", size=SMALL, color=ORANGE)
    say(axes, 22.4, 13.6, "28 pad bits: 0 in both operands", align="center", size=SMALL)


def regions() -> None:
    """The rectangles of a zero-padded output, and the taps of a corner."""
    axes = canvas(29, 12.6)
    say(axes, 0.5, 0.7, "output 7x7: nine regions, taps of each pixel")
    for row in range(7):
        for column in range(7):
            taps = (3 - (row in (0, 6))) * (3 - (column in (0, 6)))
            color = {9: BLUE, 6: GREEN, 4: ORANGE}[taps]
            box(axes, 0.7 + 1.5 * column, 1.5 + 1.5 * row, 1.5, 1.5, str(taps), color, 0.16)
    for rows in ((0, 1), (1, 6), (6, 7)):
        for columns in ((0, 1), (1, 6), (6, 7)):
            axes.add_patch(
                Rectangle(
                    (0.7 + 1.5 * columns[0] + 0.07, 1.5 + 1.5 * rows[0] + 0.07),
                    1.5 * (columns[1] - columns[0]) - 0.14,
                    1.5 * (rows[1] - rows[0]) - 0.14,
                    fill=False,
                    edgecolor=TEXT,
                    linewidth=1.4,
                )
            )
    say(axes, 14, 0.7, "the window of a pixel at the left edge")
    for row in range(5):
        for column in range(6):
            inside = column > 0
            box(axes, 14.2 + 1.5 * column, 1.5 + 1.5 * row, 1.5, 1.5, "" if inside else "0",
                GREY, 0.12 if inside else 0)  # fmt: skip
    for row in range(1, 4):
        box(axes, 15.7, 1.5 + 1.5 * row, 3, 1.5, f"run {row - 1}", GREEN, 0.4, size=SMALL)
    axes.add_patch(Rectangle((14.2, 3.0), 4.5, 4.5, fill=False, edgecolor=ORANGE, linewidth=2))
    lines = (
        "3 runs of 2 taps: 6 of the 9",
        "k = 6 x channels",
        "sum = k - 2 popcount, with this k",
    )
    for i, line in enumerate(lines):
        say(axes, 14.2, 9.9 + i * 0.95, line, size=SIZE if i == 2 else SMALL)
    say(axes, 24.0, 4.0, "tap outside:\nnot in the list", size=SMALL, color=ORANGE)
    say(axes, 24.0, 6.4, "taps inside, side by\nside in memory:\none run", size=SMALL, color=GREEN)


def tile() -> None:
    """A register tile of 8 pixels and 16 filters."""
    axes = canvas(29, 15.2)
    lane, left, top = 1.15, 9.6, 5.2
    say(axes, left, 0.7, "panel: the same 32 bits of 16 filters, one vector")
    for i in range(16):
        box(axes, left + i * lane, 1.5, lane, 1.4, str(i), BLUE, 0.25, size=SMALL)
        for pixel in range(8):
            box(axes, left + i * lane, top + pixel * 1.05, lane, 1.05, "", GREEN, 0.2)
    arrow(axes, (left + 8 * lane, 3.0), (left + 8 * lane, top - 0.1), BLUE)
    say(axes, left + 8.5 * lane, 4.0, "loaded once for 8 pixels", size=SMALL, color=BLUE)
    say(axes, 0.5, 4.2, "activations: 32 bits of each pixel")
    for pixel in range(8):
        y = top + pixel * 1.05
        box(axes, 3.2, y + 0.08, 4.1, 0.89, f"pixel {pixel}", ORANGE, 0.3, size=SMALL)
        arrow(axes, (7.4, y + 0.52), (left - 0.15, y + 0.52), ORANGE)
    say(axes, 0.4, 9.4, "broadcast\nto all\nlanes", size=SMALL, color=ORANGE)
    say(axes, left, 14.3, "a lane is a filter: its sums stay in registers, and none crosses lanes",
        size=SMALL)  # fmt: skip


PIXELS = (0b0110, 0b1011)  # the 4 bits of each pixel of the pair
WEIGHTS = (0b0110, 0b0000, 0b1111, 0b1011)  # 4 bits of 4 filters


def entry(weight: int) -> tuple[int, int]:
    """Return what the table of the pair holds for 4 bits of a filter: a count for each pixel."""
    first, second = ((weight ^ pixel).bit_count() for pixel in PIXELS)
    return first, second


def lookup() -> None:
    """The AVX2 trick: one table for the bits of two pixels, indexed by the weights' bits."""
    axes = canvas(29, 18.6)
    a, b = PIXELS
    say(axes, 0.5, 0.7, f"4 bits of two pixels, a = {a:04b} and b = {b:04b}: one of 256 tables")
    cell, left = 1.6, 2.9
    for i in range(16):
        first, second = entry(i)
        x = left + cell * i
        chosen = i in WEIGHTS
        say(axes, x + cell / 2, 1.75, f"{i:04b}", size=SMALL, align="center")
        box(axes, x, 2.2, cell / 2, 1.4, str(second), ORANGE, 0.35 if chosen else 0.16, size=SMALL)
        box(axes, x + cell / 2, 2.2, cell / 2, 1.4, str(first), BLUE, 0.35 if chosen else 0.16,
            size=SMALL)  # fmt: skip
    say(axes, left - 0.3, 1.75, "entry i", size=SMALL, align="right")
    say(axes, left - 0.3, 2.9, "byte", size=SMALL, align="right")
    say(axes, left, 4.15, "high nibble: popcount(i xor b)", size=SMALL, color=ORANGE)
    say(axes, left + 8, 4.15, "low nibble: popcount(i xor a)", size=SMALL, color=BLUE)

    say(axes, 0.5, 5.6, "one VPSHUFB: a byte lane is a filter, whose 4 bits are the index")
    for i, weight in enumerate(WEIGHTS):
        first, second = entry(weight)
        x = left + 3.4 * i
        box(axes, x, 6.4, 2.8, 1.2, f"{weight:04b}", GREY, 0.2)
        arrow(axes, (x + 1.4, 7.65), (x + 1.4, 8.35))
        box(axes, x, 8.4, 1.4, 1.2, str(second), ORANGE, 0.3)
        box(axes, x + 1.4, 8.4, 1.4, 1.2, str(first), BLUE, 0.3)
    say(axes, left + 13.9, 7.0, "4 bits of filters 0, 1, 2, 3, ... 31", size=SMALL)
    say(axes, left + 13.9, 9.0, "counts of 4 products of a (low) and b (high)", size=SMALL)

    say(
        axes,
        0.5,
        11.1,
        "three look-ups are added before a nibble could overflow: 3 x 4 = 12 is at most 15",
    )
    names = ("group 0", "group 1", "group 2")
    for i, name in enumerate(names):
        box(axes, left + 4.2 * i, 11.9, 3.2, 1.2, name, GREEN, 0.25, size=SMALL)
        say(axes, left + 4.2 * i + 3.7, 12.5, "+" if i < 2 else "=", align="center")
    box(axes, left + 12.6, 11.9, 1.7, 1.2, "12 max", ORANGE, 0.3, size=SMALL)
    box(axes, left + 14.3, 11.9, 1.7, 1.2, "12 max", BLUE, 0.3, size=SMALL)
    say(axes, left + 16.4, 12.5, "sum of three", size=SMALL)
    arrow(axes, (left + 13.6, 13.2), (left + 6.5, 14.6))
    arrow(axes, (left + 14.8, 13.2), (left + 17.0, 14.6))
    box(axes, left + 0.6, 14.7, 9.8, 1.3, "first += sum   (a byte, modulo 256)", BLUE, 0.2, SMALL)
    box(axes, left + 12.2, 14.7, 9.8, 1.3, "second += sum >> 4", ORANGE, 0.2, SMALL)
    say(axes, 0.5, 17.4, "in the end:  count of b = second,  count of a = first - 16 second  "
        "(modulo 256), while neither is above 255")  # fmt: skip


FIGURES: dict[str, Callable[[], None]] = {
    "layout": layout,
    "regions": regions,
    "tile": tile,
    "lookup": lookup,
}


def main() -> None:
    """Draw all of them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, draw in FIGURES.items():
        draw()
        path = FOLDER / f"{name}.svg"
        plt.savefig(path, metadata={"Date": None}, transparent=True)
        plt.close()
        print(path)


if __name__ == "__main__":
    main()

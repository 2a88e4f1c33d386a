"""Says what pictures look like: colours, dashes and markers of lines, sizes and margins."""

import functools
import logging
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from engine.messages import cut as cut
from engine.messages import cut_all as cut_all

log = logging.getLogger(__name__)

# Colours of lines on a white page and on a dark one, in the same order: blue, orange, green, pink,
# brown or lime, sky, ink. Each has a contrast of 3 or more to its page. Any two can be told apart
# by people who see no red, no green or no blue.
LIGHT = ("#0f5db6", "#e06e02", "#80947f", "#ae3b76", "#7b5b00", "#0094ff", "#202020")
DARK = ("#3e6cb9", "#ecb462", "#23a473", "#ff76ba", "#b2fb00", "#56bafd", "#ffffff")
MOST = len(LIGHT)  # lines in a picture: of more, nobody keeps track
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("solid", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))
WRONG = LIGHT[1]
INK = LIGHT[6]
FAINT = "#5f6b76"

WIDTH = 4.0  # inches: a card of TensorBoard has 345 pixels, where 10 points are 12 pixels
MOST_SAID = 20  # letters in a line of the log
DPI = 120  # dots per inch: sharp where a card is enlarged, and fast to write


def line(number: int) -> dict[str, Any]:
    """Returns how matplotlib draws the line with a number below MOST, on a white page."""
    dash = DASHES[number % len(DASHES)]
    return {"color": LIGHT[number], "linestyle": dash, "marker": MARKERS[number], "markersize": 4}


def panels(
    size: tuple[float, float],
    margins: tuple[float, float, float, float],
    title: str,
    below: str = "",
    grid: tuple[int, int] = (1, 1),
    gap: float = 0.5,
) -> tuple[Figure, Sequence[Axes]]:
    """Makes a figure with a title and panels, row by row. Lengths are in inches.

    Margins are fixed, as a layout that adapts to its texts draws a figure several times.

    Args:
        size: width and height of the figure.
        margins: left, right, bottom and top.
        title: the first line.
        below: the second line, in smaller letters.
        grid: rows and columns of panels.
        gap: between two rows and between two columns.
    """
    title, below = drawable([title, below])
    width, height = size
    left, right, bottom, top = margins
    rows, columns = grid
    figure = Figure(figsize=size, dpi=DPI)
    words: dict[str, Any] = {"ha": "left", "va": "top", "parse_math": False}
    figure.text(0.1 / width, 1 - 0.08 / height, title, fontsize=11, weight="bold", **words)
    figure.text(0.1 / width, 1 - 0.29 / height, below, fontsize=10, color=FAINT, **words)
    places = {
        "left": left / width,
        "right": 1 - right / width,
        "bottom": bottom / height,
        "top": 1 - top / height,
        # matplotlib takes a gap as a share of a panel
        "hspace": gap * rows / (height - top - bottom - gap * (rows - 1)),
        "wspace": gap * columns / (width - left - right - gap * (columns - 1)),
    }
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw=places).flatten().tolist()
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.locator_params(nbins=5)  # each number at an axis takes time to draw
    return figure, axes


def drawable(texts: Iterable[str]) -> list[str]:
    r"""Returns texts with `\u72ac` and the like for letters that matplotlib's font lacks.

    It would draw the same box for all of them. A line says so.
    """
    texts = list(texts)
    lacking = {letter for letter in set("".join(texts)) if not letter.isspace()}
    lacking -= {letter for letter in lacking if letter.isascii() or ord(letter) in _letters()}
    if lacking:
        _say_lacking("".join(sorted(lacking)))
    return ["".join(_code(own) if own in lacking else own for own in text) for text in texts]


def _code(letter: str) -> str:
    return letter.encode("ascii", "backslashreplace").decode()


@functools.cache
def _letters() -> frozenset[int]:
    """Returns the code points that the fonts of matplotlib's settings have."""
    paths = [findfont(FontProperties(family=[family])) for family in rcParams["font.family"]]
    return frozenset().union(*(get_font(path).get_charmap() for path in paths))


@functools.cache
def _say_lacking(letters: str) -> None:
    log.info(
        "figures show codes such as %s: matplotlib's font lacks %s. "
        "Name another font by font.family in a file matplotlibrc.",
        _code(letters[0]),
        cut(letters, MOST_SAID),
    )

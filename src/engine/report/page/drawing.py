"""Makes figures as SVG that a page colours.

What is drawn in a stand-in colour is shown in a colour of the page's style, light or dark.
"""

import html
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from engine.pictures import looks

# Stand-in colours, and what the page shows in their place.
PAGE = {
    **{f"#a0000{i:x}": f"var(--series-{i})" for i in range(looks.MOST)},
    "#b00001": "currentColor",
    "#b00002": "var(--grid)",
    "#b00003": "var(--page)",
    "#b00004": "var(--faint)",
}
COLOURS = list(PAGE)[: looks.MOST]
INK, GRID, PAPER, FAINT = list(PAGE)[looks.MOST :]
STYLE: dict[Any, Any] = {  # Any: matplotlib would have a Literal of all its keys
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "grid.color": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.8,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "svg.fonttype": "none",
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
}


def colours() -> str:
    """Returns the page's style for the colours of lines, light and dark."""
    light, dark = (
        " ".join(f"--series-{number}: {colour};" for number, colour in enumerate(of_a_page))
        for of_a_page in (looks.LIGHT, looks.DARK)
    )
    return f":root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"


@dataclass(frozen=True)
class Line:
    """Says how a group is drawn. The style is the same in all figures."""

    colour: str
    dash: str | tuple[int, tuple[float, ...]]


def lines(groups: pd.DataFrame, keys: Sequence[str]) -> dict[int, Line]:
    """Returns a line for each group.

    Of two keys, one gives the colour and one the dash. Otherwise both come with the rank.
    """
    levels = {key: list(dict.fromkeys(groups[key])) for key in keys}
    if len(keys) == 2:
        dash, colour = sorted(keys, key=lambda key: len(levels[key]))
        if len(levels[dash]) <= len(looks.DASHES) and len(levels[colour]) <= looks.MOST:
            return {
                number: _line(levels[colour].index(row[colour]), levels[dash].index(row[dash]))
                for number, row in groups.iterrows()
            }
    return {
        number: _line(i % looks.MOST, i // 5 % len(looks.DASHES))
        for i, number in enumerate(groups.index)
    }


def _line(colour: int, dash: int) -> Line:
    return Line(COLOURS[colour], looks.DASHES[dash])


def labels(groups: pd.DataFrame, longest: int = 48) -> list[str]:
    """Returns the groups' labels; one that is cut has the group's place before it."""
    return [
        plain(text if len(text) <= longest else f"{place}: {text[: longest - 4]}…")
        for place, text in enumerate(groups["label"], start=1)
    ]


def plain(value: object) -> str:
    """Returns a value as text in which matplotlib sees no formula."""
    return str(value).replace("$", r"\$")


def is_wide(low: float, high: float) -> bool:
    """Tells whether positive numbers span over two decades, so that their axis is logarithmic."""
    return low > 0 and high > 100 * low


@contextmanager
def figure(
    width: float, height: float, columns: int = 1
) -> Iterator[tuple[Figure, Sequence[Axes]]]:
    """Makes a figure with its axes, in the report's style.

    Args:
        width: in inches.
        height: in inches.
        columns: of axes, side by side.
    """
    with mpl.rc_context(STYLE):
        made = Figure(figsize=(width, height), layout="constrained")
        yield made, made.subplots(1, columns, squeeze=False)[0]


def hide_frame(ax: Axes) -> None:
    """Leaves out the grid, the spines and the ticks' marks."""
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)


def svg(made: Figure, name: str, title: str) -> str:
    """Writes a figure as an `<svg>` element.

    Args:
        made: the figure.
        name: the ids in the element begin with it, as several figures stand in a page.
        title: says what the figure shows, to who cannot see it.
    """
    file = io.StringIO()
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        made.savefig(
            file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
        )
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'( id="|"#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub("|".join(PAGE), lambda colour: PAGE[colour[0]], text)
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)  # in the page's font
    return text.replace("<svg ", f'<svg role="img" aria-label="{html.escape(title)}" ', 1)

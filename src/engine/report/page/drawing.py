"""Makes figures for a paper, and as SVG that a page colours, light or dark."""

import html
import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure
from matplotlib.layout_engine import TightLayoutEngine
from matplotlib.ticker import FuncFormatter, NullFormatter

from engine.pictures import looks

COLOURS = looks.LIGHT
INK, GRID, PAPER, FAINT = "#202021", "#e4e8ec", "#fefefe", looks.FAINT  # no colour of a line
# What a page shows in their place, light or dark; a paper has them as they are.
PAGE = {
    **{colour: f"var(--series-{i})" for i, colour in enumerate(COLOURS)},
    INK: "currentColor",
    GRID: "var(--grid)",
    PAPER: "var(--page)",
    FAINT: "var(--faint)",
}
# Fonts with letters of Chinese, Japanese and Korean, where there is one of them.
CJK = {
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Source Han Sans", "WenQuanYi Zen Hei"),
    *("Hiragino Sans", "PingFang SC", "Microsoft YaHei", "Malgun Gothic"),
}
STYLE: dict[Any, Any] = {  # Any: matplotlib would have a Literal of all its keys
    "font.family": ["DejaVu Sans", *sorted(CJK & set(font_manager.get_font_names()))],
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
    "text.parse_math": False,  # a name may have a $, and no text of ours is a formula
    "axes.unicode_minus": True,
}


@dataclass(frozen=True)
class Panel:
    """A figure, what it shows in words, and the texts of its parts, which a pointer brings up.

    Args:
        figure: in the colours of a paper.
        alt: says what the figure shows, to who cannot see it.
        texts: of the points or the lines of an artist, by its `gid`.
    """

    figure: Figure
    alt: str
    texts: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """One or several panels under a title, with a caption.

    Args:
        name: of its files; the ids of its elements begin with it.
        title: its heading.
        caption: says how to read it.
        panels: side by side where there is room.
    """

    name: str
    title: str
    caption: str
    panels: list[Panel]


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


def is_wide(low: float, high: float) -> bool:
    """Tells whether positive numbers span over two decades, so that their axis is logarithmic."""
    return low > 0 and high > 100 * low


def norm(low: float, high: float) -> mpl.colors.Normalize:
    """Returns what maps numbers to [0, 1], by their logarithm if they span widely."""
    return (mpl.colors.LogNorm if is_wide(low, high) else mpl.colors.Normalize)(low, high)


@contextmanager
def _style(more: Mapping[Any, Any] | None = None) -> Iterator[None]:
    """Sets the report's style for pages, where a browser has the letters that a font here lacks."""
    with mpl.rc_context({**STYLE, **(more or {})}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        yield


@contextmanager
def figure(width: float, height: float, below: float = 0.0) -> Iterator[tuple[Figure, Axes]]:
    """Makes a figure with its axes, in the report's style; lays it out when it has been drawn.

    A figure that lays itself out does so whenever it is saved, and draws all of itself once more.

    Args:
        width: in inches.
        height: in inches.
        below: inches at the bottom that the axes leave to a legend.
    """
    with _style():
        made = Figure(figsize=(width, height + below))
        yield made, made.subplots()
        TightLayoutEngine(pad=0.4, rect=(0, below / (height + below), 1, 1)).execute(made)


def hover(ax: Axes, x: Any, y: Any, texts: dict[str, list[str]], said: list[str]) -> None:
    """Adds unseen points, each of which has a text that a pointer brings up.

    Args:
        ax: the axes.
        x: of the points.
        y: of the points.
        texts: of the panel, which get these.
        said: the texts.
    """
    gid = f"points{len(texts)}"
    ax.scatter(x, y, s=90, color=INK, alpha=0, linewidth=0, gid=gid)
    texts[gid] = said


def make_logarithmic(axis: XAxis | YAxis) -> None:
    """Makes an axis logarithmic, with numbers such as 0.01.

    matplotlib would write powers of ten as formulas, and a formula takes long to lay out.
    """
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_formatter(FuncFormatter(at_axis))
    axis.set_minor_formatter(NullFormatter())


def fit_to(axis: XAxis | YAxis, values: pd.Series) -> None:
    """Makes an axis logarithmic if the numbers at it span widely."""
    if is_wide(values.min(), values.max()):
        make_logarithmic(axis)


def at_axis(value: float, place: int | None = None) -> str:
    """Writes a number at an axis that may be logarithmic: 0.01, 1000, 1e7; of any place there."""
    return re.sub(r"e\+?(-?)0*", r"e\1", f"{value:g}").replace("-", "−")


def hide_frame(ax: Axes) -> None:
    """Leaves out the grid, the spines and the ticks' marks."""
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)


def svg(panel: Panel, name: str, colours: Mapping[str, str] = PAGE) -> str:
    """Writes a panel as an `<svg>` element.

    Args:
        panel: the panel.
        name: the ids in the element begin with it, as several figures stand in a page.
        colours: what is shown in place of those of a paper.
    """
    file = io.StringIO()
    with _style({"svg.hashsalt": name}):
        panel.figure.savefig(
            file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
        )
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), text)
    for gid, texts in panel.texts.items():
        text = _titled(text, gid, texts)
    text = re.sub(r'( id="|"#|url\(#)', rf"\g<1>{name}-", text)
    for colour, shown in colours.items():
        text = text.replace(colour, shown)
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)  # in the page's font
    return text.replace("<svg ", f'<svg role="img" aria-label="{html.escape(panel.alt)}" ', 1)


def _titled(text: str, gid: str, texts: Sequence[str]) -> str:
    """Gives an artist's points, or the artist itself, titles, which browsers show on hover."""
    before, begin, after = text.partition(f'<g id="{gid}">')
    if not begin:  # nothing of it was in view
        return text
    titles = [f"<title>{html.escape(one)}</title>" for one in texts]
    if len(titles) == 1 and "<use " not in after.partition("<g id=")[0]:
        return f"{before}{begin}{titles[0]}{after}"
    left = iter(titles)
    marked = re.sub(
        r"<use [^>]*/>", lambda use: f"<g>{next(left)}{use[0]}</g>", after, count=len(titles)
    )
    return f"{before}{begin}{marked}"


def pdf(panel: Panel) -> bytes:
    """Writes a panel as a PDF, its text as text."""
    file = io.BytesIO()
    with mpl.rc_context({**STYLE, "pdf.fonttype": 42}):
        panel.figure.savefig(file, format="pdf", metadata={"CreationDate": None})
    return file.getvalue()

"""Parallel coordinates: a line per group through the values of its keys to its mean."""

import html
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Curve

from engine.report.page import drawing
from engine.report.page.heatmap import in_order
from engine.report.statistics import numbers
from engine.report.statistics.content import Content

MOST = 200  # lines
STEPS = 10  # values of a key up to which each has a place of its own


def draw(content: Content) -> str:
    """The groups as lines; nothing where fewer than three keys differ."""
    groups = content.valued.head(MOST)
    if len(content.told) < 3 or len(groups) < 2:
        return ""
    axes = [_axis(groups[key]) for key in content.told] + [_metric_axis(groups["mean"], content.mode)]
    heights = np.column_stack([places for places, _ in axes])  # (groups, axes), in [0, 1]
    place = groups["mean"].rank(ascending=content.mode == "max", pct=True)
    colours = mpl.colormaps["viridis"](0.25 + 0.6 * place)  # neither so dark nor so light that a page swallows it
    with drawing.figure(9.6, 3.8) as (made, (ax,)):
        for i in reversed(range(len(groups))):  # the best on top
            shift = 0.05 * (0.5 - i / max(1, len(groups) - 1))  # lines through the same value side by side
            path = _curve(heights[i] + np.where(np.arange(len(axes)) < len(axes) - 1, shift, 0))
            look = {"edgecolor": colours[i], "linewidth": 1.2, "alpha": 0.75}
            best = {"edgecolor": drawing.INK, "linewidth": 2.2}
            ax.add_patch(PathPatch(path, fill=False, **(best if i == 0 else look)))
        for x, (_, ticks) in enumerate(axes):
            _vertical(ax, x, ticks, last=x == len(axes) - 1)
        names = [*(content.names[key] for key in content.told), content.metric]
        ax.set_xticks(range(len(axes)), names, **_turned(len(axes)))
        ax.set(xlim=(-0.25, len(axes) - 0.6), ylim=(-0.08, 1.08), yticks=[])
        ax.grid(False)
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
        return drawing.svg(made, "parallel", html.escape(f"{content.metric} by {', '.join(content.told)}"))


def _turned(axes: int) -> dict[str, Any]:
    """How names of axes stand: aslant, where there are many."""
    return {"rotation": 30, "ha": "right"} if axes > 8 else {}


def _axis(values: pd.Series) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Each value's height, and the axis's ticks: steps for few values, or else a scale, logarithmic if it is long."""
    distinct = in_order(values)
    words = [value for value in distinct if not isinstance(value, int | float)]
    if len(distinct) <= STEPS or words:
        places = dict(zip(distinct, np.linspace(0, 1, len(distinct)) if len(distinct) > 1 else [0.5], strict=True))
        every = -(-len(distinct) // STEPS)
        return values.map(places).to_numpy(float), [(places[v], drawing.plain(v)) for v in distinct[::every]]
    return _scaled(values.to_numpy(float), distinct[0] > 0 and distinct[-1] > 100 * distinct[0])


def _metric_axis(means: pd.Series, mode: str) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """The metric's axis, better upwards."""
    places, ticks = _scaled(means.to_numpy(float), means.min() > 0 and means.max() > 100 * means.min())
    return (places, ticks) if mode == "max" else (1 - places, [(1 - place, text) for place, text in ticks])


def _scaled(values: np.ndarray, logarithmic: bool) -> tuple[np.ndarray, list[tuple[float, str]]]:
    norm = (mpl.colors.LogNorm if logarithmic else mpl.colors.Normalize)(values.min(), values.max())
    if values.min() == values.max():
        return np.full(len(values), 0.5), [(0.5, numbers.metric(values[0]))]
    places = np.linspace(0, 1, 5)
    return np.asarray(norm(values), float), [(p, f"{float(norm.inverse(p)):.3g}") for p in places]


def _curve(heights: Sequence[float] | np.ndarray) -> Curve:
    """A smooth line through (0, h0), (1, h1), …, level at each."""
    points: list[Any] = [(0, heights[0])]
    for x in range(1, len(heights)):
        points += [(x - 0.5, heights[x - 1]), (x - 0.5, heights[x]), (x, heights[x])]
    return Curve(points, [Curve.MOVETO] + [Curve.CURVE4] * (len(points) - 1))


def _vertical(ax: Axes, x: int, ticks: Sequence[tuple[float, str]], last: bool) -> None:
    ax.plot([x, x], [-0.04, 1.04], color=drawing.FAINT, linewidth=1)
    for place, text in ticks:
        ax.text(x + (0.04 if last else -0.04), place, text, ha="left" if last else "right", va="center", fontsize=9,
                bbox={"facecolor": drawing.PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 1})  # fmt: skip

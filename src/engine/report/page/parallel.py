"""Draws parallel coordinates: a line per group, through the values of its keys to its mean."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Curve

from engine.pictures import looks
from engine.report.page import drawing
from engine.report.page.heatmap import in_order
from engine.report.statistics import numbers
from engine.report.statistics.content import Content

MOST = 200  # lines that are drawn
STEPS = 10  # up to so many values of a key, each has a place of its own
Axis = tuple[np.ndarray, list[tuple[float, str]]]  # each group's height in [0, 1], and the ticks


def draw(content: Content) -> list[drawing.Panel]:
    """Draws the groups as lines, the worst first; those that diverged are dashed, and end below."""
    keys = content.keys if content.is_search else content.distinguishing
    groups = shown(content)
    axes = [*(_axis(groups[key]) for key in keys), _metric_axis(groups["mean"], content.mode)]
    heights = np.column_stack([places for places, _ in axes])  # (groups, axes)
    place = groups["mean"].rank(ascending=content.mode == "max", pct=True).fillna(0.0)
    # Neither so dark nor so light that it cannot be seen on the page.
    colours = mpl.colormaps["viridis"](0.25 + 0.6 * place)
    texts: dict[str, list[str]] = {}
    with drawing.figure(9.6, 3.8) as (figure, ax):
        for i in reversed(range(len(groups))):  # the best on top
            group = groups.iloc[i]
            shift = 0.05 * (0.5 - i / max(1, len(groups) - 1))  # parts lines through the same value
            path = _curve(heights[i] + np.where(np.arange(len(axes)) < len(axes) - 1, shift, 0))
            style: dict[str, Any] = {"edgecolor": colours[i], "linewidth": 1.2, "alpha": 0.75}
            if i == 0:
                style = {"edgecolor": drawing.INK, "linewidth": 2.2}
            elif np.isnan(group["mean"]):
                style = {"edgecolor": drawing.FAINT, "linewidth": 1.0, "linestyle": (0, (4, 3))}
            ax.add_patch(PathPatch(path, fill=False, gid=f"line{i}", **style))
            texts[f"line{i}"] = [f"{group['label']}: {_end(group)}"]
        for x, (_, ticks) in enumerate(axes):
            _vertical(ax, x, ticks, last=x == len(axes) - 1)
        names = [*(content.names[key] for key in keys), content.metric]
        slanted: dict[str, Any] = {"rotation": 30, "ha": "right"} if len(axes) > 8 else {}
        ax.set_xticks(range(len(axes)), names, **slanted)
        ax.set(xlim=(-0.25, len(axes) - 0.6), ylim=(-0.16, 1.08), yticks=[])
        drawing.hide_frame(ax)
    best = groups.iloc[0]
    alt = f"{content.metric} by {', '.join(keys)}. The best line: {best['label']}: {_end(best)}."
    return [drawing.Panel(figure, alt, texts)]


def shown(content: Content) -> pd.DataFrame:
    """Returns the groups that are drawn: the best, and those of which all runs diverged."""
    lost = content.groups["mean"].isna() & content.groups["left_out"].str.contains("diverged")
    return pd.concat([content.valued, content.groups[lost]]).head(MOST)


def _end(group: pd.Series) -> str:
    return numbers.metric(group["mean"]) if group["n"] else str(group["left_out"])


def _axis(values: pd.Series) -> Axis:
    """Returns a key's axis: steps for few values, or else a scale, logarithmic if it is wide."""
    distinct = in_order(values)
    has_words = any(not isinstance(value, int | float) for value in distinct)
    if len(distinct) <= STEPS or has_words:
        heights = np.linspace(0, 1, len(distinct)) if len(distinct) > 1 else [0.5]
        places = dict(zip(distinct, heights, strict=True))
        every = -(-len(distinct) // STEPS)
        texts = looks.cut_all(numbers.settings(distinct), 20)
        ticks = [*zip(places.values(), texts, strict=True)][::every]
        return values.map(places).to_numpy(float), ticks
    return _scaled(values.to_numpy(float))


def _metric_axis(means: pd.Series, mode: str) -> Axis:
    """Returns the metric's axis, better upwards; those that diverged are below."""
    lost = means.isna().to_numpy()
    own, ticks = _scaled(means[~lost].to_numpy(float))
    places = np.full(len(means), -0.12)
    places[~lost] = own if mode == "max" else 1 - own
    ticks = ticks if mode == "max" else [(1 - place, text) for place, text in ticks]
    return places, [*ticks, *([(-0.12, "diverged")] if lost.any() else [])]


def _scaled(values: np.ndarray) -> Axis:
    low = values.min()
    high = values.max()
    if low == high:
        return np.full(len(values), 0.5), [(0.5, numbers.metric(values[0]))]
    norm = drawing.norm(low, high)
    ticks = [(place, f"{float(norm.inverse(place)):.3g}") for place in np.linspace(0, 1, 5)]
    return np.asarray(norm(values), float), ticks


def _curve(heights: Sequence[float] | np.ndarray) -> Curve:
    """Returns a smooth line through (0, h0), (1, h1), …, level at each."""
    points: list[Any] = [(0, heights[0])]
    for x in range(1, len(heights)):
        points += [(x - 0.5, heights[x - 1]), (x - 0.5, heights[x]), (x, heights[x])]
    return Curve(points, [Curve.MOVETO] + [Curve.CURVE4] * (len(points) - 1))


def _vertical(ax: Axes, x: int, ticks: Sequence[tuple[float, str]], last: bool) -> None:
    """Draws an axis with its ticks to the left, of the last axis to the right."""
    ax.plot([x, x], [-0.04, 1.04], color=drawing.FAINT, linewidth=1)
    for place, text in ticks:
        ax.text(
            x + (0.04 if last else -0.04),
            place,
            text,
            ha="left" if last else "right",
            va="center",
            fontsize=9,
            bbox={"facecolor": drawing.PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 1},
        )

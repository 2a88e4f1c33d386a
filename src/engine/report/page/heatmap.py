"""Draws two keys against each other, a group's mean as colour and as number."""

from collections.abc import Iterable
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from engine.pictures import looks
from engine.report.page import drawing
from engine.report.statistics import numbers
from engine.report.statistics.content import Content

NUMBERED = 12  # rows and columns at most: a cell shows its number


def in_order(values: Iterable[Any]) -> list[Any]:
    """Returns the distinct values: numbers by size, then words by first appearance."""
    distinct = list(dict.fromkeys(values))
    return sorted(
        distinct, key=lambda value: (0, value) if isinstance(value, int | float) else (1, 0)
    )


def is_grid(content: Content) -> bool:
    """Tells whether two keys differ, each with so few values that a reader sees all cells."""
    keys = content.distinguishing
    few = all(content.groups[key].nunique() <= NUMBERED for key in keys)
    return len(keys) == 2 and few and len(content.valued) > 1 and not content.is_search


def draw(content: Content) -> list[drawing.Panel]:
    """Draws the grid of two keys; a cell has its mean, and how many of its runs diverged."""
    groups = content.groups
    down, across = sorted(content.distinguishing, key=lambda key: groups[key].nunique())
    rows = in_order(groups[down])
    columns = in_order(groups[across])
    means = groups.pivot(index=down, columns=across, values="mean").loc[rows, columns].to_numpy()
    notes = groups.pivot(index=down, columns=across, values="left_out").loc[rows, columns]
    with drawing.figure(min(9.6, 2.4 + 0.95 * len(columns)), 1.2 + 0.6 * len(rows)) as (figure, ax):
        mesh = ax.pcolormesh(
            np.ma.masked_invalid(means),
            cmap="viridis" if content.mode == "max" else "viridis_r",  # brighter is better
            edgecolors=drawing.PAPER,
            linewidth=2,
            norm=drawing.norm(np.nanmin(means), np.nanmax(means)),
        )
        middles = [np.arange(len(values)) + 0.5 for values in (columns, rows)]
        ax.set_xticks(middles[0], looks.cut_all(numbers.settings(columns), 14))
        ax.set_yticks(middles[1], looks.cut_all(numbers.settings(rows), 24))
        ax.set(xlabel=content.names[across], ylabel=content.names[down], ylim=(len(rows), 0))
        drawing.hide_frame(ax)
        bar = figure.colorbar(mesh, ax=ax, label=content.metric, pad=0.02, format=drawing.at_axis)
        bar.outline.set_visible(False)
        for (row, column), mean in np.ndenumerate(means):
            _write(ax, mesh, (row, column), mean, notes.iloc[row, column])
    said = "; ".join(
        f"{row['label']} {numbers.metric(row['mean'])}" for _, row in groups.iterrows()
    )
    return [drawing.Panel(figure, f"{content.metric} by {down} and {across}: {said}.")]


def _write(
    ax: Axes, mesh: mpl.cm.ScalarMappable, place: tuple[int, int], mean: float, left_out: object
) -> None:
    """Writes the mean into a cell, and under it which runs are not in the mean."""
    row, column = place
    reason = left_out if isinstance(left_out, str) else ""  # NaN where the grid has no group
    # The layout need not measure it: it lies within its cell.
    style: dict[str, Any] = {"ha": "center", "color": _ink(mesh, mean), "in_layout": False}
    y = row + (0.42 if reason else 0.5)
    ax.text(column + 0.5, y, numbers.metric(mean), va="center", **style)
    if reason:
        ax.text(column + 0.5, row + 0.75, looks.cut(reason, 16), va="center", fontsize=7, **style)


def _ink(mesh: mpl.cm.ScalarMappable, value: float) -> str:
    """Returns black or white, whichever reads better on a cell (relative luminance, WCAG 2)."""
    if np.isnan(value):
        return drawing.INK
    channels = np.asarray(mesh.to_rgba(np.array(value)))[:3]
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return "black" if linear @ [0.2126, 0.7152, 0.0722] > 0.179 else "white"

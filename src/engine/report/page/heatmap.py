"""Two keys against each other, the mean as colour and as number."""

import html
from collections.abc import Iterable
from typing import Any

import matplotlib as mpl
import numpy as np

from engine.report.page import drawing
from engine.report.statistics import numbers
from engine.report.statistics.content import Content

NUMBERED = 12  # rows and columns up to which cells carry their number


def in_order(values: Iterable[Any]) -> list[Any]:
    """Distinct values: numbers by size, then words by first appearance."""
    distinct = list(dict.fromkeys(values))
    return sorted(distinct, key=lambda value: (0, value) if isinstance(value, int | float) else (1, 0))


def draw(content: Content) -> str:
    """The grid of two keys; nothing where not exactly two differ, or fewer than two groups have a mean."""
    if len(content.told) != 2 or len(content.valued) < 2:
        return ""
    down, across = sorted(content.told, key=lambda key: content.groups[key].nunique())
    rows, columns = in_order(content.groups[down]), in_order(content.groups[across])
    grid = content.groups.pivot(index=down, columns=across, values="mean").loc[rows, columns].to_numpy()
    with drawing.figure(min(9.6, 2.4 + 0.85 * len(columns)), 1.2 + 0.5 * len(rows)) as (made, (ax,)):
        mesh = ax.pcolormesh(np.ma.masked_invalid(grid), cmap="viridis" if content.mode == "max" else "viridis_r",
                             edgecolors=drawing.PAPER, linewidth=2)  # fmt: skip
        ax.set_xticks(np.arange(len(columns)) + 0.5, map(drawing.plain, columns))
        ax.set_yticks(np.arange(len(rows)) + 0.5, map(drawing.plain, rows))
        ax.set(xlabel=content.names[across], ylabel=content.names[down], ylim=(len(rows), 0))
        ax.grid(False)
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
        bar = made.colorbar(mesh, ax=ax, label=content.metric, pad=0.02)
        bar.outline.set_visible(False)
        if max(grid.shape) <= NUMBERED:
            for (i, j), value in np.ndenumerate(grid):
                ax.text(j + 0.5, i + 0.5, numbers.metric(value), ha="center", va="center", color=_ink(mesh, value))
        return drawing.svg(made, "heatmap", html.escape(f"{content.metric} by {down} and {across}"))


def _ink(mesh: mpl.cm.ScalarMappable, value: float) -> str:
    """Black or white, whichever is read better on the cell's colour (relative luminance, WCAG 2)."""
    if np.isnan(value):
        return drawing.INK
    channels = np.asarray(mesh.to_rgba(np.array(value)))[:3]
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return "black" if linear @ [0.2126, 0.7152, 0.0722] > 0.179 else "white"

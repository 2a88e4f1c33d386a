"""Draws two keys against each other, a group's mean as colour and as number."""

from collections.abc import Iterable
from typing import Any

import matplotlib as mpl
import numpy as np

from engine.report.page import drawing
from engine.report.statistics import numbers
from engine.report.statistics.content import Content

NUMBERED = 12  # up to so many rows and columns, a cell shows its number


def in_order(values: Iterable[Any]) -> list[Any]:
    """Returns the distinct values: numbers by size, then words by first appearance."""
    distinct = list(dict.fromkeys(values))
    return sorted(
        distinct, key=lambda value: (0, value) if isinstance(value, int | float) else (1, 0)
    )


def draw(content: Content) -> str:
    """Draws the grid of two keys as SVG.

    Returns nothing where not exactly two keys differ, or fewer than two groups have a mean.
    """
    if len(content.distinguishing) != 2 or len(content.valued) < 2:
        return ""
    groups = content.groups
    down, across = sorted(content.distinguishing, key=lambda key: groups[key].nunique())
    rows = in_order(groups[down])
    columns = in_order(groups[across])
    means = groups.pivot(index=down, columns=across, values="mean").loc[rows, columns].to_numpy()
    with drawing.figure(min(9.6, 2.4 + 0.85 * len(columns)), 1.2 + 0.5 * len(rows)) as (
        figure,
        (ax,),
    ):
        mesh = ax.pcolormesh(
            np.ma.masked_invalid(means),
            cmap="viridis" if content.mode == "max" else "viridis_r",  # brighter is better
            edgecolors=drawing.PAPER,
            linewidth=2,
        )
        ax.set_xticks(np.arange(len(columns)) + 0.5, map(drawing.plain, columns))
        ax.set_yticks(np.arange(len(rows)) + 0.5, map(drawing.plain, rows))
        ax.set(xlabel=content.names[across], ylabel=content.names[down], ylim=(len(rows), 0))
        drawing.hide_frame(ax)
        bar = figure.colorbar(mesh, ax=ax, label=content.metric, pad=0.02)
        bar.outline.set_visible(False)
        if max(means.shape) <= NUMBERED:
            for (row, column), mean in np.ndenumerate(means):
                ax.text(
                    column + 0.5,
                    row + 0.5,
                    numbers.metric(mean),
                    ha="center",
                    va="center",
                    color=_ink(mesh, mean),
                )
        return drawing.svg(figure, "heatmap", f"{content.metric} by {down} and {across}")


def _ink(mesh: mpl.cm.ScalarMappable, value: float) -> str:
    """Returns black or white, whichever reads better on a cell (relative luminance, WCAG 2)."""
    if np.isnan(value):
        return drawing.INK
    channels = np.asarray(mesh.to_rgba(np.array(value)))[:3]
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return "black" if linear @ [0.2126, 0.7152, 0.0722] > 0.179 else "white"

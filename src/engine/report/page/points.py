"""Draws what is compared of every run, and of every group its mean with the interval."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from engine.report.page import drawing
from engine.report.statistics import findings, numbers
from engine.report.statistics.content import Content


def draw(content: Content, groups: pd.DataFrame) -> list[drawing.Panel]:
    """Draws a line per group, the best on top: a point per run, the mean and its interval.

    A group without a run that counts has its reason in its place.
    """
    lines = drawing.lines(content.groups, content.distinguishing)
    rows = content.rows[content.rows["group"].isin(groups.index)]
    counted = rows[rows["value"].notna()]
    texts: dict[str, list[str]] = {}
    with drawing.figure(7.6, 0.9 + 0.32 * len(groups)) as (figure, ax):
        for y, (number, group) in enumerate(groups.iterrows()):
            own = counted[counted["group"] == number]
            _group(ax, y, group, own["value"], lines[number].colour)
            if len(own):
                said = [
                    f"{group['label']}, seed {run['seed']}: {numbers.metric(run['value'])}"
                    for _, run in own.iterrows()
                ]
                drawing.hover(ax, own["value"], y + _spread(len(own)), texts, said)
        ax.set_yticks(range(len(groups)), [drawing.cut(label, 40) for label in groups["label"]])
        ax.set(xlabel=content.metric, ylim=(len(groups) - 0.4, -0.6))
        ax.grid(False, axis="y")
        if drawing.is_wide(counted["value"].min(), counted["value"].max()):
            ax.set_xscale("log")
    means = "; ".join(f"{row['label']} {findings.mean_of(row)}" for _, row in groups.iterrows())
    return [drawing.Panel(figure, f"{content.metric} of every run. Means: {means}.", texts)]


def _spread(n: int) -> np.ndarray:
    """Returns heights that part the points of one group."""
    return np.linspace(-0.2, 0.2, n) if n > 1 else np.zeros(n)


def _group(ax: Axes, y: int, group: pd.Series, values: pd.Series, colour: str) -> None:
    spread = _spread(len(values))
    ax.plot(values, y + spread, "o", color=colour, markersize=4.5, alpha=0.55, mew=0)
    if group["left_out"]:
        ax.annotate(
            group["left_out"],
            (1, y),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="center",
            fontsize=8,
            color=drawing.FAINT,
            bbox={"facecolor": drawing.PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 1},
        )
    half_width = (group["high"] - group["low"]) / 2  # NaN for one run
    ax.errorbar(
        group["mean"],
        y,
        xerr=half_width if half_width > 0 else None,
        fmt="D",
        color=drawing.INK,
        markersize=5,
        markeredgecolor=drawing.PAPER,
        elinewidth=1.4,
        capsize=3,
    )

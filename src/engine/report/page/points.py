"""Draws what is compared of every run, and of every group its mean with the interval."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from engine.pictures import looks
from engine.report.page import drawing
from engine.report.statistics import findings, numbers
from engine.report.statistics.content import Content

BESIDE = 16  # letters: longer labels stand above their points
LONGEST = 72  # letters of a label


def draw(content: Content, groups: pd.DataFrame) -> list[drawing.Panel]:
    """Draws a line per group, the best on top: a point per run, the mean and its interval.

    A group without a run that counts has its reason in its place.
    """
    lines = drawing.lines(content.groups, content.distinguishing)
    rows = content.rows[content.rows["group"].isin(groups.index)]
    counted = rows[rows["value"].notna()]
    places = {number: y for y, number in enumerate(groups.index)}
    heights = counted["group"].map(places) + counted.groupby("group")["value"].transform(_spread)
    texts: dict[str, list[str]] = {}
    is_beside = groups["label"].str.len().max() <= BESIDE
    with drawing.figure(7.6, 0.9 + (0.32 if is_beside else 0.5) * len(groups)) as (figure, ax):
        # An artist for all groups: matplotlib takes longer for several of each.
        colours = [lines[number].colour for number in counted["group"]]
        ax.scatter(counted["value"], heights, s=20, c=colours, alpha=0.55, linewidth=0)
        _means(ax, groups)
        for number, reason in groups["left_out"].items():
            _left_out(ax, places[number], reason)
        drawing.hover(ax, counted["value"], heights, texts, _said(groups, counted))
        labels = looks.cut_all(groups["label"], LONGEST)
        ax.set_yticks(range(len(groups)), labels if is_beside else [""] * len(groups))
        if not is_beside:  # a small screen would show them, and no point
            for y, label in enumerate(labels):
                ax.text(0.01, y - 0.38, label, va="center", transform=ax.get_yaxis_transform())
        ax.set(xlabel=content.metric, ylim=(len(groups) - 0.4, -0.6))
        ax.grid(False, axis="y")
        drawing.fit_to(ax.xaxis, counted["value"])
    means = "; ".join(f"{row['label']} {findings.mean_of(row)}" for _, row in groups.iterrows())
    return [drawing.Panel(figure, f"{content.metric} of every run. Means: {means}.", texts)]


def _said(groups: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """Returns group, seed and value of each run."""
    told = zip(rows["group"].map(groups["label"]), rows["seed"], rows["value"], strict=True)
    return [f"{label}, seed {seed}: {numbers.metric(value)}" for label, seed, value in told]


def _spread(values: pd.Series) -> np.ndarray:
    """Returns heights that part the points of one group."""
    return np.linspace(-0.2, 0.2, len(values)) if len(values) > 1 else np.zeros(1)


def _means(ax: Axes, groups: pd.DataFrame) -> None:
    """Draws each group's mean, and its interval where there is one."""
    half = (groups["high"] - groups["low"]) / 2  # NaN for one run
    ax.errorbar(
        groups["mean"],
        range(len(groups)),
        xerr=half.where(half > 0),
        fmt="D",
        color=drawing.INK,
        markersize=5,
        markeredgecolor=drawing.PAPER,
        elinewidth=1.4,
        capsize=3,
    )


def _left_out(ax: Axes, y: int, reason: str) -> None:
    """Says at the right edge which runs of a group do not count."""
    if reason:
        ax.annotate(
            reason,
            (1, y),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="center",
            fontsize=8,
            color=drawing.FAINT,
            bbox={"facecolor": drawing.PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 1},
        )

"""Draws the final metric of every run, and of every group its mean with the interval."""

import numpy as np
import pandas as pd

from engine.report.page import drawing
from engine.report.statistics.content import Content


def draw(content: Content, groups: pd.DataFrame) -> str:
    """Draws a line per group, the best on top: a point per run, the mean and its interval."""
    lines = drawing.lines(content.groups, content.distinguishing)
    counted = content.rows[content.rows["group"].isin(groups.index) & content.rows["value"].notna()]
    with drawing.figure(9.6, 0.9 + 0.32 * len(groups)) as (figure, (ax,)):
        for y, (number, group) in enumerate(groups.iterrows()):
            values = counted.loc[counted["group"] == number, "value"]
            spread = np.linspace(-0.2, 0.2, len(values)) if len(values) > 1 else np.zeros(1)
            colour = lines[number].colour
            ax.plot(values, y + spread, "o", color=colour, markersize=4.5, alpha=0.55, mew=0)
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
        ax.set_yticks(range(len(groups)), drawing.labels(groups))
        ax.set(xlabel=content.metric, ylim=(len(groups) - 0.4, -0.6))
        ax.grid(False, axis="y")
        if drawing.is_wide(counted["value"].min(), counted["value"].max()):
            ax.set_xscale("log")
        return drawing.svg(figure, "points", f"{content.metric} of every run")

"""The final metric of every run, and of every group its mean with the interval."""

import html

import numpy as np
import pandas as pd

from engine.report.page import drawing
from engine.report.statistics.content import Content


def draw(content: Content, groups: pd.DataFrame) -> str:
    """One line per group, the best on top: a point per run, the mean, and a bar for its interval."""
    lines = drawing.lines(content.groups, content.told)
    counted = content.rows[content.rows["value"].notna()]
    with drawing.figure(9.6, 0.9 + 0.32 * len(groups)) as (made, (ax,)):
        for y, (number, group) in enumerate(groups.iterrows()):
            values, line = counted.loc[counted["group"] == number, "value"], lines[number]
            spread = np.linspace(-0.2, 0.2, len(values)) if len(values) > 1 else [0.0]
            ax.plot(values, y + np.asarray(spread), "o", color=line.colour, markersize=4.5, alpha=0.55, mew=0)
            width = 0.0 if np.isnan(group["low"]) else (group["high"] - group["low"]) / 2
            ax.errorbar(group["mean"], y, xerr=width or None, fmt="D", color=drawing.INK, markersize=5,
                        markeredgecolor=drawing.PAPER, elinewidth=1.4, capsize=3)  # fmt: skip
        ax.set_yticks(range(len(groups)), drawing.labels(groups))
        ax.set(xlabel=content.metric, ylim=(len(groups) - 0.4, -0.6))
        ax.grid(False, axis="y")
        shown = counted.loc[counted["group"].isin(groups.index), "value"]
        if shown.min() > 0 and shown.max() > 100 * shown.min():
            ax.set_xscale("log")
        return drawing.svg(made, "points", html.escape(f"{content.metric} of every run"))

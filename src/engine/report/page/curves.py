"""Draws learning curves: the mean over a group's runs with its interval, by step."""

import io
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from engine.files import whole_lines
from engine.report.page import drawing
from engine.report.read.collect import (
    INTERRUPTED,
    RUNNING,
    UNFINISHED,
    Problem,
    Run,
    first_line,
)
from engine.report.statistics.content import Content
from engine.report.statistics.groups import COUNTS, interval

POINTS = 200  # of a curve
DRAWN = (INTERRUPTED, COUNTS, RUNNING, UNFINISHED)  # statuses; not failed, not diverged


def draw(content: Content, most: int) -> tuple[str, int, list[Problem]]:
    """Draws the curves of the best groups.

    Args:
        content: of the report.
        most: groups that are drawn.

    Returns:
        The SVG, nothing if there are no curves; the number of groups drawn; the files that could
        not be read.
    """
    rows = content.rows[content.rows["status"].isin(DRAWN)]
    groups = content.groups[content.groups.index.isin(rows["group"])].head(most)
    rows = rows[rows["group"].isin(groups.index)]
    runs = [content.runs[number] for number in rows.index]
    frames, problems = read(runs, list(rows["group"]), candidates(content.metric))
    names = [name for name in candidates(content.metric) if _is_curve(frames, name)][:2]
    if not names:
        return "", 0, problems
    drawn = frames.loc[frames[names].notna().any(axis="columns"), "group"]
    groups = groups[groups.index.isin(drawn)]
    lines = drawing.lines(content.groups, content.distinguishing)
    with drawing.figure(9.6, 3.2 + 0.2 * _legend_rows(groups), len(names)) as (figure, axes):
        for ax, name in zip(axes, names, strict=True):
            _panel(ax, band(frames, name, 1 - content.alpha), groups.index, lines)
            ax.set(title=name, xlabel="step")
            _scale(ax)
        _legend(figure, axes[0], groups)
        svg = drawing.svg(figure, "curves", f"Learning curves: {', '.join(names)}")
        return svg, len(groups), problems


def candidates(metric: str) -> list[str]:
    """Returns the metric, and those drawn beside it or in its place, the most like it first.

    A metric that is measured at the end only has no curve.
    """
    rest = metric.partition("/")[2] or metric
    return list(dict.fromkeys([metric, f"val/{rest}", f"train/{rest}", "train/loss"]))


def read(
    runs: Sequence[Run], groups: Sequence[int], names: Sequence[str]
) -> tuple[pd.DataFrame, list[Problem]]:
    """Reads the named metrics from the runs' metrics.csv.

    Returns a table of group, run, step and the metrics that there are; and the files that could
    not be read.
    """
    frames = [pd.DataFrame({"group": [], "run": [], "step": []}, dtype=float)]
    problems: list[Problem] = []
    for number, (run, group) in enumerate(zip(runs, groups, strict=True)):
        path = run.path / "metrics.csv"
        try:
            text = whole_lines(path) if path.exists() else ""
            if (lines := max(0, text.count("\n") - 1)) < (run.rows or 0):
                raise ValueError(f"{lines} of its {run.rows} rows are left")
            if text:
                frames.append(_table(text, names).assign(group=group, run=number))
        except (OSError, ValueError, KeyError) as error:
            reason = first_line(str(error)) or type(error).__name__
            problems.append(Problem(f"{run.folder}/metrics.csv", f"{reason}; without its curve"))
    filled = [frame for frame in frames if len(frame)] or frames[:1]
    return pd.concat(filled, ignore_index=True), problems


def _table(text: str, names: Sequence[str]) -> pd.DataFrame:
    """Returns step and the named metrics of a metrics.csv."""
    columns = ["step", *names]
    rows = pd.read_csv(io.StringIO(text), usecols=lambda column: column in columns).astype(float)
    return rows[["step", *(name for name in names if name in rows)]]


def band(frames: pd.DataFrame, name: str, level: float) -> pd.DataFrame:
    """Computes group, step, mean, low and high of a metric.

    Steps are binned alike for all runs where there are many. A run counts in a bin by its mean
    there. Mean and t interval are over the runs of the group that reached the bin.

    Args:
        frames: as `read` returns them.
        name: the metric's.
        level: of the interval, such as 0.95.
    """
    rows = frames.loc[frames[name].abs() < math.inf, ["group", "run", "step", name]]
    is_long = rows.groupby("run").size().max() > POINTS
    width = max(1, math.ceil((rows["step"].max() + 1) / POINTS)) if is_long else 1
    rows = rows.assign(bin=rows["step"] // width)
    of_runs = rows.groupby(["group", "bin", "run"], as_index=False)[["step", name]].mean()
    of_groups = of_runs.groupby(["group", "bin"])
    bands = of_groups[name].agg(["mean", "sem", "count"])
    bands = bands.assign(step=of_groups["step"].mean()).reset_index()
    bands["low"], bands["high"] = interval(bands["mean"], bands["sem"], bands["count"], level)
    return bands


def _is_curve(frames: pd.DataFrame, name: str) -> bool:
    """Tells whether any run has more than one value of a metric."""
    return name in frames and frames.dropna(subset=name).groupby("run").size().max() > 1


def _panel(ax: Axes, bands: pd.DataFrame, groups: pd.Index, lines: dict[int, drawing.Line]) -> None:
    for group in reversed(groups):  # the best on top
        own = bands[bands["group"] == group]
        line = lines[group]
        ax.fill_between(
            own["step"], own["low"], own["high"], color=line.colour, alpha=0.14, linewidth=0
        )
        ax.plot(
            own["step"],
            own["mean"],
            color=line.colour,
            linestyle=line.dash,
            linewidth=1.6,
            marker="o" if len(own) == 1 else None,
        )


def _scale(ax: Axes) -> None:
    """Sets limits that the means fill, not their bands; logarithmic if the means span widely."""
    means = np.concatenate([np.asarray(line.get_ydata(), float) for line in ax.get_lines()])
    low, high = means.min(), means.max()
    if drawing.is_wide(low, high):
        ax.set_yscale("log")
        ax.set_ylim(low / 1.5, high * 1.5)
    elif high > low:
        ax.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))
    ax.margins(x=0.01)


def _legend(figure: Figure, ax: Axes, groups: pd.DataFrame) -> None:
    handles = list(reversed(ax.get_lines()))
    figure.legend(
        handles,
        drawing.labels(groups),
        loc="outside lower left",
        ncols=_legend_columns(groups),
        handlelength=2.6,
        fontsize=9,
    )


def _legend_columns(groups: pd.DataFrame) -> int:
    return max(1, min(4, 118 // (max(map(len, drawing.labels(groups))) + 8)))


def _legend_rows(groups: pd.DataFrame) -> int:
    return -(-len(groups) // _legend_columns(groups))

"""Learning curves: the mean over a group's runs with its interval, by step."""

import html
import io
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from engine.files import whole_lines
from engine.report.page import drawing
from engine.report.read.collect import INTERRUPTED, RUNNING, UNFINISHED, Problem, Run, first_line
from engine.report.statistics.content import Content
from engine.report.statistics.groups import COUNTS, interval

POINTS = 200  # of a curve
DRAWN = (INTERRUPTED, COUNTS, RUNNING, UNFINISHED)  # as opposed to failed and diverged


def draw(content: Content, most: int) -> tuple[str, int, list[Problem]]:
    """The curves of the best groups as SVG, nothing if there are none; how many; and files that could not be read."""
    rows = content.rows[content.rows["status"].isin(DRAWN)]
    first = content.groups[content.groups.index.isin(rows["group"])].head(most)
    rows = rows[rows["group"].isin(first.index)]
    frames, problems = read([content.runs[i] for i in rows.index], list(rows["group"]), wanted(content.metric))
    names = [name for name in wanted(content.metric) if name in frames and _is_curve(frames, name)][:2]
    if not names:
        return "", 0, problems
    groups = first[first.index.isin(frames.loc[frames[names].notna().any(axis="columns"), "group"])]
    lines = drawing.lines(content.groups, content.told)
    with drawing.figure(9.6, 3.2 + 0.2 * _legend_rows(groups), len(names)) as (made, axes):
        for ax, name in zip(axes, names, strict=True):
            _panel(ax, band(frames, name, 1 - content.alpha), groups.index, lines)
            ax.set(title=name, xlabel="step")
            _scale(ax, frames[name])
        _legend(made, axes[0], groups)
        title = html.escape(f"Learning curves: {', '.join(names)}")
        return drawing.svg(made, "curves", title), len(groups), problems


def wanted(metric: str) -> list[str]:
    """The metric, and what stands in for one that is measured at the end only: the same of validation, of training."""
    rest = metric.partition("/")[2] or metric
    return list(dict.fromkeys([metric, f"val/{rest}", f"train/{rest}", "train/loss"]))


def read(runs: Sequence[Run], groups: Sequence[int], names: Sequence[str]) -> tuple[pd.DataFrame, list[Problem]]:
    """Group, run, step and the named metrics of the rows of metrics.csv; and the files that could not be read."""
    frames = [pd.DataFrame({"group": [], "run": [], "step": []}, dtype=float)]
    problems: list[Problem] = []
    for number, (run, group) in enumerate(zip(runs, groups, strict=True)):
        path = run.path / "metrics.csv"
        if not path.exists():
            continue
        try:
            if text := whole_lines(path):
                rows = pd.read_csv(io.StringIO(text), usecols=lambda column: column in ("step", *names)).astype(float)
                there = [name for name in names if name in rows]
                frames.append(rows[["step", *there]].assign(group=group, run=number))
        except (OSError, ValueError, KeyError) as error:
            reason = first_line(str(error)) or type(error).__name__
            problems.append(Problem(f"{run.folder}/metrics.csv", f"{reason}; without its curve"))
    return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True), problems


def band(frames: pd.DataFrame, name: str, level: float) -> pd.DataFrame:
    """Group, step, mean, low and high of a metric; over steps binned alike for all runs where there are many.

    Of a run, its mean in a bin; of a group, mean and t interval over its runs that reached the bin.
    """
    rows = frames.loc[frames[name].abs() < math.inf, ["group", "run", "step", name]]
    most = rows.groupby("run").size().max()
    width = max(1, math.ceil((rows["step"].max() + 1) / POINTS)) if most > POINTS else 1
    rows = rows.assign(bin=rows["step"] // width)
    of_runs = rows.groupby(["group", "bin", "run"], as_index=False)[["step", name]].mean()
    of_groups = of_runs.groupby(["group", "bin"])
    made = of_groups[name].agg(["mean", "sem", "count"]).assign(step=of_groups["step"].mean()).reset_index()
    made["low"], made["high"] = interval(made["mean"], made["sem"], made["count"], level)
    return made


def _is_curve(frames: pd.DataFrame, name: str) -> bool:
    return bool(frames.dropna(subset=name).groupby("run").size().max() > 1)


def _panel(ax: Axes, bands: pd.DataFrame, groups: pd.Index, lines: dict[int, drawing.Line]) -> None:
    for group in reversed(groups):  # the best on top
        own, line = bands[bands["group"] == group], lines[group]
        single = "o" if len(own) == 1 else None
        ax.fill_between(own["step"], own["low"], own["high"], color=line.colour, alpha=0.14, linewidth=0)
        ax.plot(own["step"], own["mean"], color=line.colour, linestyle=line.dash, linewidth=1.6, marker=single)


def _scale(ax: Axes, values: pd.Series) -> None:
    """Limits that the means fill, not their bands; logarithmic where positive values span over two decades."""
    means = np.concatenate([np.asarray(line.get_ydata(), float) for line in ax.get_lines()])
    low, high = means.min(), means.max()
    if low > 0 and high > 100 * low:
        ax.set_yscale("log")
        ax.set_ylim(low / 1.5, high * 1.5)
    elif high > low:
        ax.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))
    ax.margins(x=0.01)


def _legend(made: Figure, ax: Axes, groups: pd.DataFrame) -> None:
    handles = list(reversed(ax.get_lines()))
    columns = _legend_columns(groups)
    made.legend(handles, drawing.labels(groups), loc="outside lower left", ncols=columns, handlelength=2.6, fontsize=9)


def _legend_columns(groups: pd.DataFrame) -> int:
    return max(1, min(4, 118 // (max(map(len, drawing.labels(groups))) + 8)))


def _legend_rows(groups: pd.DataFrame) -> int:
    return -(-len(groups) // _legend_columns(groups))

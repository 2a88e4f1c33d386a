"""Draws learning curves: every run, and the mean and median of a group with the interval."""

import io
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from engine.files import whole_lines
from engine.pictures import looks
from engine.report.page import drawing
from engine.report.read.collect import (
    INTERRUPTED,
    RUNNING,
    UNFINISHED,
    Problem,
    Run,
    first_line,
)
from engine.report.statistics import numbers
from engine.report.statistics.content import Content
from engine.report.statistics.groups import COUNTS, interval
from engine.report.statistics.significance import TIE

POINTS = 200  # of a curve
LONGEST = 48  # letters of a group's label in a legend
MARKED = 40  # of them, about, have a text that a pointer brings up
THIN = 30  # runs of a group that are drawn one by one
AVERAGED = (INTERRUPTED, COUNTS, RUNNING, UNFINISHED)  # statuses; not failed, not diverged


class Curves(NamedTuple):
    """The learning curves of the best groups.

    Args:
        frames: group, run (its row in the report's rows), step and metrics.
        names: the metrics to draw, at most two.
        problems: files that could not be read.
    """

    frames: pd.DataFrame
    names: list[str]
    problems: list[Problem]


def collect(content: Content) -> Curves:
    """Reads the curves of the best groups, of those that a curve can be drawn of."""
    rows = content.rows[content.rows["status"].isin((*AVERAGED, "diverged"))]
    groups = content.groups[content.groups.index.isin(rows["group"])].head(looks.MOST)
    rows = rows[rows["group"].isin(groups.index)]
    runs = {number: content.runs[number] for number in rows.index}
    wanted = candidates(content.compared.metric)
    frames, problems = read(runs, dict(rows["group"]), wanted)
    names = [
        name
        for name in wanted  # that any run has more than one value of
        if name in frames and frames.dropna(subset=name).groupby("run").size().max() > 1
    ]
    return Curves(frames, names[:2], problems)


def candidates(metric: str) -> list[str]:
    """Returns the metric, and those drawn beside it or in its place, the most like it first.

    A metric that is measured at the end only has no curve.
    """
    rest = metric.partition("/")[2] or metric
    return list(dict.fromkeys([metric, f"val/{rest}", f"train/{rest}", "train/loss"]))


def read(
    runs: dict[int, Run], groups: dict[int, int], names: Sequence[str]
) -> tuple[pd.DataFrame, list[Problem]]:
    """Reads the named metrics from the metrics.csv of runs, which have numbers.

    Returns a table of group, run, step and the metrics that there are; and the files that could
    not be read.
    """
    frames = [pd.DataFrame({"group": [], "run": [], "step": []}, dtype=float)]
    problems: list[Problem] = []
    for number, run in runs.items():
        path = run.path / "metrics.csv"
        try:
            text = whole_lines(path) if path.exists() else ""
            if (lines := max(0, text.count("\n") - 1)) < (run.rows or 0):
                raise ValueError(f"{lines} of its {run.rows} rows are left")
            if text:
                frames.append(_table(text, names).assign(group=groups[number], run=number))
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


def binned(frames: pd.DataFrame, name: str) -> pd.DataFrame:
    """Computes group, bin, run, step and the metric; a run counts in a bin by its mean there.

    Steps are binned alike for all runs where there are many. Where runs of a group have rows at
    other steps, its bins are as wide as the widest distance of a run's rows.
    """
    rows = frames.loc[frames[name].abs() < math.inf, ["group", "run", "step", name]]
    is_long = rows.groupby("run").size().max() > POINTS
    width = max(1, math.ceil((rows["step"].max() + 1) / POINTS)) if is_long else 1
    longest = rows.groupby(["group", "run"])["step"].nunique().groupby("group").max()
    steps = rows.groupby("group")["step"].nunique()
    distances = rows.sort_values("step").groupby("run")["step"].diff().groupby(rows["run"]).median()
    widest = distances.groupby(rows.groupby("run")["group"].first()).max().where(steps > longest)
    width = rows["group"].map(np.ceil(widest).fillna(1).clip(lower=width))
    rows = rows.assign(bin=rows["step"] // width)
    return rows.groupby(["group", "bin", "run"], as_index=False)[["step", name]].mean()


def band(of_runs: pd.DataFrame, name: str, level: float) -> pd.DataFrame:
    """Computes group, step, mean, median, low, high and count of a metric.

    Mean and t interval are over the runs of the group that reached the bin.

    Args:
        of_runs: as `binned` returns them.
        name: the metric's.
        level: of the interval, such as 0.95.
    """
    of_groups = of_runs.groupby(["group", "bin"])
    bands = of_groups[name].agg(["mean", "median", "sem", "count"])
    bands = bands.assign(step=of_groups["step"].mean()).reset_index()
    bands["low"], bands["high"] = interval(bands["mean"], bands["sem"], bands["count"], level)
    return bands


def once(content: Content, of_runs: pd.DataFrame, name: str) -> pd.DataFrame:
    """Returns the curves with the mean of runs that repeat one another in the place of these."""
    units = content.rows.groupby(["group", *content.unit], sort=False, dropna=False).ngroup()
    unit = units.loc[of_runs["run"].astype(int)].to_numpy()
    means = of_runs.assign(unit=unit).groupby(["group", "unit", "bin"])[["step", name]].mean()
    return means.reset_index()


def draw(content: Content, curves: Curves) -> list[drawing.Panel]:
    """Draws a panel for each metric; none if there are no curves. The first has the legend."""
    return [
        _panel(content, curves.frames, name, has_legend=name == curves.names[0])
        for name in curves.names
    ]


def drawn(content: Content, curves: Curves) -> int:
    """Returns the number of groups that have a curve."""
    return len(_groups_of(content, curves.frames, curves.names)) if curves.names else 0


def _groups_of(content: Content, frames: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    there = frames.loc[frames[list(names)].notna().any(axis="columns"), "group"]
    return content.groups[content.groups.index.isin(there)]


def _panel(content: Content, frames: pd.DataFrame, name: str, has_legend: bool) -> drawing.Panel:
    of_runs = binned(frames, name)
    status = content.rows.loc[of_runs["run"].astype(int), "status"].to_numpy()
    is_lost = status == "diverged"
    bands = band(once(content, of_runs[~is_lost], name), name, 1 - content.alpha)
    groups = _groups_of(content, frames, [name])
    styles = drawing.lines(content.groups, content.distinguishing)
    labels = _labels(bands, groups)
    shown = dict(zip(labels, looks.cut_all(labels.values(), LONGEST), strict=True))
    texts: dict[str, list[str]] = {}
    legend = (0.15 + 0.21 * len(groups)) * has_legend  # inches
    with drawing.figure(4.9, 3.2, below=legend) as (figure, ax):
        for number in reversed(groups.index):  # the best on top
            own = of_runs["group"] == number
            _runs(ax, of_runs[own & ~is_lost], name, styles[number], lost=False)
            _runs(ax, of_runs[own & is_lost], name, styles[number], lost=True)
            _group(ax, bands[bands["group"] == number], styles[number], shown[number])
        _scale(ax, bands)
        for number, label in groups["label"].items():
            _say(ax, bands[bands["group"] == number], label, texts)
        ax.set(title=name, xlabel="step")
        if has_legend:
            handles, words = ax.get_legend_handles_labels()
            figure.legend(handles[::-1], words[::-1], loc="lower left", handlelength=2.6)
    return drawing.Panel(figure, _alt(bands, groups, name), texts)


def _labels(bands: pd.DataFrame, groups: pd.DataFrame) -> dict[int, str]:
    """Returns the labels of groups; one whose curve lies under a better group's says so.

    A curve is equal to another if their means are the same numbers. It is the same as the best's if
    the groups tie, see ties.py.
    """
    labels = dict(groups["label"])
    above: dict[bytes, str] = {}
    for number, label in labels.items():
        curve = bands.loc[bands["group"] == number, ["step", "mean"]].to_numpy()
        first = above.setdefault(curve.tobytes(), label) if len(curve) else label
        if first != label:
            labels[number] = f"{label} (equal to {first})"
        elif groups.loc[number, "verdict"] == TIE:
            labels[number] = f"{label} (same curve as the best)"
    return labels


def _runs(ax: Axes, of_runs: pd.DataFrame, name: str, line: drawing.Line, lost: bool) -> None:
    """Draws runs as thin lines; a cross ends a run that diverged."""
    several = of_runs["run"].nunique() > 1 or lost
    points = of_runs[["step", name]].to_numpy()
    places = sorted(of_runs.groupby("run").indices.items())
    shown = [points[own] for _, own in places[: THIN if several else 0]]
    # One artist for all of them: matplotlib takes longer for a hundred.
    ax.add_collection(LineCollection(shown, colors=line.colour, linewidths=0.7, alpha=0.45))
    if lost:
        ends = np.array([run[-1] for run in shown]).reshape(-1, 2)
        ax.plot(*ends.T, "x", color=line.colour, alpha=0.45, markersize=6)


def _group(ax: Axes, own: pd.DataFrame, line: drawing.Line, label: str) -> None:
    """Draws a group's mean with its interval, and its median."""
    ax.fill_between(
        own["step"], own["low"], own["high"], color=line.colour, alpha=0.14, linewidth=0
    )
    ax.plot(
        own["step"],
        own["mean"],
        color=line.colour,
        linestyle=line.dash,
        linewidth=1.8,
        marker="o" if len(own) == 1 else None,
        label=label,
    )
    if own["count"].max() > 2:
        ax.plot(own["step"], own["median"], color=line.colour, linestyle=":", linewidth=1.2)


def _say(ax: Axes, own: pd.DataFrame, label: str, texts: dict[str, list[str]]) -> None:
    """Gives points of a group's mean, where they are in view, a text each."""
    some = own.iloc[:: max(1, len(own) // MARKED)]
    some = some[some["mean"].between(*ax.get_ylim())]
    columns = ["step", "mean", "median", "low", "high", "count"]
    said = [
        f"{label}, step {step:,.0f}: mean {numbers.mean(mean, (high - low) / 2)}, "
        f"median {numbers.metric(median)}, n = {runs:.0f}"
        for step, mean, median, low, high, runs in some[columns].to_numpy()
    ]
    if said:
        drawing.hover(ax, some["step"], some["mean"], texts, said)


def _scale(ax: Axes, bands: pd.DataFrame) -> None:
    """Sets limits that the means fill, not their bands; logarithmic if the means span widely."""
    if not len(bands):
        return
    low = bands["mean"].min()
    high = bands["mean"].max()
    if drawing.is_wide(low, high):
        drawing.make_logarithmic(ax.yaxis)
        ax.set_ylim(low / 1.5, high * 1.5)
    elif high > low:
        ax.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))
    ax.set_xlim(0, max(1.0, bands["step"].max()) * 1.01)


def _alt(bands: pd.DataFrame, groups: pd.DataFrame, name: str) -> str:
    """Says how the curves end, the best group's first."""
    ends = bands.groupby("group")["mean"].last()
    said = [
        f"{group['label']} {numbers.metric(ends[number])}"
        for number, group in groups.iterrows()
        if number in ends
    ]
    return f"Learning curves of {name}. The means end at: {'; '.join(said) or 'nothing'}."

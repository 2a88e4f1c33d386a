"""Draws a search: the best so far, each key against the objective, and which keys matter."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from engine.pictures import looks
from engine.report.page import drawing
from engine.report.page.heatmap import in_order
from engine.report.read.collect import RUNNING, UNFINISHED
from engine.report.statistics import numbers
from engine.report.statistics.content import Content
from engine.report.statistics.importance import is_log, is_scale

MOST = 8  # keys that are drawn
FEW = 6  # values that have a tick each
DOTS: dict[str, Any] = {"color": drawing.COLOURS[0], "markersize": 4.5, "alpha": 0.8}


def progress(content: Content, title: str = "") -> list[drawing.Panel]:
    """Draws the value of each trial by its number, and the best so far; trials lost are crosses.

    Args:
        content: of one search.
        title: of the panel.
    """
    trials = [content.runs[number].trial for number in content.rows.index]
    rows = content.rows.assign(trial=np.array(trials, float)).sort_values("trial")
    counted = rows[rows["value"].notna()]
    best = counted["value"].cummax() if content.mode == "max" else counted["value"].cummin()
    texts: dict[str, list[str]] = {}
    with drawing.figure(9.6, 3.2) as (figure, ax):
        ax.plot(counted["trial"], counted["value"], "o", **DOTS)
        ax.step(
            counted["trial"],
            best,
            where="post",
            color=drawing.INK,
            alpha=0.8,
            label="best so far",
        )
        drawing.fit_to(ax.yaxis, counted["value"])
        _lost(ax, rows, rows["trial"], content, texts)
        drawing.hover(ax, counted["trial"], counted["value"], texts, _said(content, counted))
        ax.set(xlabel="trial", ylabel=content.metric, title=title)
        ax.locator_params(axis="x", integer=True)
        ax.legend(loc="best")
    alt = f"{content.metric} of {len(counted)} trials; the best is {numbers.metric(best.iloc[-1])}."
    return [drawing.Panel(figure, alt, texts)]


def slices(
    content: Content, importance: Mapping[str, float], title: str = ""
) -> list[drawing.Panel]:
    """Draws each key against the objective, the most important key first."""
    keys = [key for key in content.keys if key not in importance]
    return [_slice(content, key, title) for key in [*importance, *keys][:MOST]]


def _slice(content: Content, key: str, title: str) -> drawing.Panel:
    rows = content.rows
    values = rows[key]
    texts: dict[str, list[str]] = {}
    with drawing.figure(3.2, 2.7) as (figure, ax):
        name = content.names[key]
        if is_scale(values):
            places = values.astype(float)
            if is_log(places):
                drawing.make_logarithmic(ax.xaxis)
                name += " (log)"
                if values.nunique() <= FEW:
                    ax.set_xticks(places.unique(), map(numbers.setting, values.unique()))
                ax.minorticks_off()
        else:
            order = in_order(values)
            places = values.map({value: place for place, value in enumerate(order)}).astype(float)
            ax.set_xticks(range(len(order)), looks.cut_all(numbers.settings(order), 14))
            ax.set_xlim(-0.5, len(order) - 0.5)
        counted = rows["value"].notna()
        ax.plot(places[counted], rows.loc[counted, "value"], "o", **DOTS)
        drawing.fit_to(ax.yaxis, rows.loc[counted, "value"])
        _lost(ax, rows, places, content, texts)
        drawing.hover(
            ax, places[counted], rows.loc[counted, "value"], texts, _said(content, rows[counted])
        )
        ax.set(xlabel=name, ylabel=content.metric, title=title)
    return drawing.Panel(figure, f"{content.metric} of each run by {name}.", texts)


def _lost(
    ax: Axes, rows: pd.DataFrame, places: Any, content: Content, texts: dict[str, list[str]]
) -> None:
    """Marks runs without a value at the edge that is worse, where they belong."""
    lost = rows["value"].isna() & ~rows["status"].isin((RUNNING, UNFINISHED))
    if not lost.any():
        return
    low, high = ax.get_ylim()
    edge = low if content.mode == "max" else high
    at = np.full(int(lost.sum()), edge)
    ax.plot(places[lost], at, "x", color=drawing.FAINT, clip_on=False, markersize=6)
    ax.set_ylim(low, high)
    drawing.hover(ax, places[lost], at, texts, _said(content, rows[lost]))


def _said(content: Content, rows: pd.DataFrame) -> list[str]:
    """Returns label and value of each run, or why it has none; its trial first."""
    trials = [content.runs[number].trial for number in rows.index]
    labels = [
        label if trial is None else f"trial {trial}, {label}"
        for trial, label in zip(trials, rows["group"].map(content.groups["label"]), strict=True)
    ]
    ends = [
        reason or numbers.metric(value)
        for reason, value in zip(rows["left_out"], rows["value"], strict=True)
    ]
    return [f"{label}: {end}" for label, end in zip(labels, ends, strict=True)]


def bars(content: Content, importance: Mapping[str, float], title: str = "") -> list[drawing.Panel]:
    """Draws the importance of each key, with its number; nothing where there is none."""
    if not importance:
        return []
    names = [content.names[key] for key in importance]
    shares = list(importance.values())
    with drawing.figure(6.4, 0.8 + 0.34 * len(names)) as (figure, ax):
        drawn = ax.barh(range(len(names)), shares, color=drawing.COLOURS[0], height=0.6)
        ax.bar_label(drawn, [f"{share:.2f}" for share in shares], padding=4, color=drawing.INK)
        ax.set_yticks(range(len(names)), looks.cut_all(names, 40))
        ax.set(xlabel="share of the spread that the key explains", xlim=(0, 1.1), title=title)
        ax.invert_yaxis()
        ax.grid(False, axis="y")
    said = "; ".join(f"{name} {share:.2f}" for name, share in zip(names, shares, strict=True))
    return [drawing.Panel(figure, f"Importance of the keys: {said}.")]

"""Finds groups whose learning curves are the best group's: a tie, whichever ends a digit lower."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from engine.report.statistics.content import Content
from engine.report.statistics.significance import BEST, TIE, WORSE, compare

FEWEST = 10  # rows that two curves must have in common
CLOSE = 0.005  # relative difference of two values that are drawn on one line
EARLY = 5  # rows at least, of the first tenth, in which rounding has not grown yet
ROUNDING = 100 * np.finfo(np.float32).eps  # relative difference in these rows


def with_ties(content: Content, curves: pd.DataFrame) -> Content:
    """Returns the content with the best's rank for each group whose curves are the best's.

    They are curves of the compared metric. Equal training losses say nothing about validation:
    another mean of the weights, or another regularisation of it, changes only that.

    Rounding grows as training goes on: two ways to compute one gradient part in the end, by little
    beside what training has done. Until the half of training they agree, and two settings that
    differ do not. Rounding is there from the beginning: curves that are the same numbers over that
    half, and part later, are of two settings, such as a drop of the rate. A group that a test shows
    to be worse is no tie, unless its curves begin as the best's but for rounding: one way may round
    the other way each time, at every seed. The tests of the other groups are corrected over those
    only that are left.

    Args:
        content: of the report.
        curves: run, step and metrics, as the function that reads the curves returns them.
    """
    groups = content.groups
    name = content.compared.metric
    if content.is_search or name not in curves or not (groups["verdict"] == BEST).any():
        return content
    drawn = groups[groups.index.isin(curves["group"])].index
    others = drawn[drawn != groups.index[0]]
    tied = [number for number in others if _is_tie(content, curves, name, number)]
    if not tied:
        return content
    rows = content.rows[~content.rows["group"].isin(tied)]
    left = groups.drop(index=tied)
    tests = compare(rows, left, content.unit, content.mode, content.alpha)
    groups = groups.copy()
    groups.loc[left.index, tests.columns] = tests
    as_close = [number for number in tied if groups.loc[number, "verdict"] != WORSE]
    groups.loc[as_close, ["p", "p_holm", "diff_low", "diff_high"]] = np.nan
    groups.loc[tied, "verdict"] = TIE
    behind = left.index[1:]
    groups.loc[behind, "rank"] += [
        (groups.loc[tied, "rank"] > rank).sum() for rank in groups.loc[behind, "rank"]
    ]
    groups.loc[tied, "rank"] = groups["rank"].iloc[0]
    groups = groups.sort_values("rank", na_position="last", kind="stable")
    return dataclasses.replace(content, groups=groups)


def _is_tie(content: Content, curves: pd.DataFrame, name: str, group: int) -> bool:
    """Tells whether a group has the best group's curve at every seed that both have."""
    unit = ["seed", "fold", *content.others]
    rows = content.rows[content.rows["value"].notna()]
    pairs = (
        rows[rows["group"] == content.groups.index[0]]
        .reset_index()
        .merge(rows[rows["group"] == group].reset_index(), on=unit, suffixes=("", "_other"))
    )
    ends = zip(pairs["index"], pairs["index_other"], strict=True)
    is_worse = content.groups.loc[group, "verdict"] == WORSE
    return len(pairs) > 0 and all(_agree(curves, name, pair, is_worse) for pair in ends)


def _agree(curves: pd.DataFrame, name: str, runs: Sequence[int], is_worse: bool) -> bool:
    """Tells whether two runs have one curve.

    Args:
        curves: of all runs.
        name: the metric of the curves.
        runs: the two.
        is_worse: whether a test shows that their groups differ.
    """
    one, other = (
        curves.loc[curves["run"] == run, ["step", name]].dropna().groupby("step")[name].last()
        for run in runs
    )
    both = pd.concat([one, other], axis="columns", join="inner").to_numpy()
    if len(both) < FEWEST or one.index.max() != other.index.max():
        return False
    half = both[: (len(both) + 1) // 2]
    apart = np.ptp(both, axis=1) / np.maximum(np.abs(both).max(axis=1), np.finfo(float).tiny)
    if not apart[: len(half)].any():
        return not apart.any() and not is_worse
    early = apart[: max(EARLY, len(both) // 10)]
    if is_worse and (not early.any() or (early > ROUNDING).any()):
        return False
    ends_close = np.ptp(both[-1]) <= CLOSE * np.ptp(both)
    return bool(ends_close and (apart[: len(half)] <= CLOSE).all())

"""Turns runs into a table, and groups them: means over seeds and folds, the best group first."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from scipy import stats

from engine.report.read.collect import Run
from engine.report.read.settings import short_names

COUNTS = "finished"  # the status of runs whose final metrics count


def table_of_runs(
    runs: Sequence[Run], columns: Mapping[str, Sequence[Any]], keys: Sequence[str], metric: str
) -> pd.DataFrame:
    """Returns one row per run.

    It has folder, status, the given columns, seed, fold, latest (the metric, whatever the run's
    status), left_out (why the run does not count: its status, or a metric that is NaN or absent),
    value (the metric of a run that counts), seconds, error and group (a number).

    Args:
        runs: of the table.
        columns: further ones, by key.
        keys: the columns that define a group.
        metric: the name of the one that is compared.
    """
    rows = pd.DataFrame(
        {key: pd.Series(list(values), dtype=object) for key, values in columns.items()}
    )
    rows.insert(0, "folder", [run.folder for run in runs])
    rows.insert(1, "status", [run.status for run in runs])
    rows["seed"] = pd.Series([run.seed for run in runs], dtype=object)
    rows["fold"] = pd.Series([run.fold for run in runs], dtype=object)
    rows["latest"] = pd.Series([run.metrics.get(metric) for run in runs], dtype=float)
    rows["left_out"] = [_left_out(run, metric) for run in runs]
    rows["value"] = rows["latest"].where(rows["left_out"] == "")
    rows["seconds"] = pd.Series([run.seconds for run in runs], dtype=float)
    rows["error"] = [run.error for run in runs]
    rows["group"] = rows.groupby(list(keys), sort=False, dropna=False).ngroup() if keys else 0
    return rows


def _left_out(run: Run, metric: str) -> str:
    if run.status != COUNTS:
        return run.status
    if metric not in run.metrics:
        return f"without {metric}"
    return "" if abs(run.metrics[metric]) < float("inf") else "NaN"


def summarise(
    rows: pd.DataFrame, keys: Sequence[str], labels: Mapping[str, bool], mode: str, level: float
) -> pd.DataFrame:
    """Returns one row per group, the best first; the index is the group's number in `rows`.

    It has the keys, label, runs (how many), n (how many count), mean, sem, low and high (the
    interval), best, seconds (the median of finished runs), left_out and rank. There is no interval
    without a second run that counts, and no rank without a first.

    Args:
        rows: of the runs, as `table_of_runs` returns them.
        keys: the columns that are alike in a group.
        labels: the keys of a group's label; True for a key whose value says enough alone.
        mode: `min` or `max`, whichever is better.
        level: of the intervals, such as 0.95.
    """
    groups = rows.groupby("group", sort=False)
    table = groups[list(keys)].first() if keys else pd.DataFrame(index=groups.size().index)
    names = short_names(keys)
    prefixes = {key: "" if alone else f"{names[key]}=" for key, alone in labels.items()}
    table["label"] = [
        ", ".join(f"{prefix}{row[key]}" for key, prefix in prefixes.items()) or "all runs"
        for _, row in table.iterrows()
    ]
    table["runs"] = groups.size()
    table[["n", "mean", "sem", "best"]] = groups["value"].agg(["count", "mean", "sem", mode])
    table["low"], table["high"] = interval(table["mean"], table["sem"], table["n"], level)
    table["seconds"] = rows[rows["status"] == COUNTS].groupby("group")["seconds"].median()
    table["left_out"] = groups["left_out"].agg(count_reasons)
    table["rank"] = table["mean"].rank(method="min", ascending=mode == "min")
    return table.sort_values(["rank", "label"], na_position="last", kind="stable")


def interval(
    mean: pd.Series, sem: pd.Series, n: pd.Series, level: float
) -> tuple[pd.Series, pd.Series]:
    """Returns the bounds of Student's t interval of means.

    They are NaN for n < 2, and the mean where all values are the same.

    Args:
        mean: of each group.
        sem: its standard error.
        n: the number of its values.
        level: of confidence, such as 0.95.
    """
    bounds = stats.t.interval(level, (n - 1).where(n > 1), loc=mean, scale=sem.where(sem > 0))
    same = (n > 1) & (sem == 0)
    low, high = (pd.Series(bound, index=mean.index).mask(same, mean) for bound in bounds)
    return low, high


def count_reasons(reasons: pd.Series) -> str:
    """Returns how often there is each reason: `2 diverged, 1 NaN`."""
    counts = reasons[reasons != ""].value_counts(sort=False)
    return ", ".join(f"{n} {reason}" for reason, n in counts.items())

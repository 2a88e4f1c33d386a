"""Turns runs into a table, and groups them: means over seeds and folds, the best group first."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from scipy.special import stdtrit  # all that a report needs of scipy.stats

from engine.report.read.collect import Run
from engine.report.read.settings import MISSING, short_names
from engine.report.statistics import metric, numbers
from engine.run.summaries import Objective

COUNTS = "finished"  # the status of runs whose final metrics count
NOT_FINITE = "not finite"  # NaN or infinite: summary.json has null for both


def table_of_runs(
    runs: Sequence[Run],
    columns: Mapping[str, Sequence[Any]],
    keys: Sequence[str],
    compared: Objective,
    tests: Sequence[str] = (),
    is_asked: bool = False,
) -> pd.DataFrame:
    """Returns one row per run.

    It has folder, status, the given columns, seed, fold, latest (what is compared, whatever the
    run's status), left_out (why the run does not count: its status, or a value that is not finite
    or absent), value (that of a run that counts), a column for each metric of the test (NaN for a
    run that does not count), seconds, error and group (a number).

    Args:
        runs: of the table.
        columns: further ones, by key.
        keys: the columns that define a group.
        compared: what the runs are compared by.
        tests: metrics of the test.
        is_asked: whether a user has named the metric, of which each run has its own last value.
    """
    rows = pd.DataFrame(
        {key: pd.Series(list(values), dtype=object) for key, values in columns.items()}
    )
    found = any(run.objective and run.objective.name == compared.name for run in runs)
    by_objective = found and not is_asked
    rows.insert(0, "folder", [run.folder for run in runs])
    rows.insert(1, "status", [run.status for run in runs])
    rows["seed"] = pd.Series([run.seed for run in runs], dtype=object)
    rows["fold"] = pd.Series([run.fold for run in runs], dtype=object)
    rows["latest"] = pd.Series([metric.value_of(run, compared) for run in runs], dtype=float)
    rows["left_out"] = [_left_out(run, compared, by_objective) for run in runs]
    counts = rows["left_out"] == ""
    rows["value"] = rows["latest"].where(counts)
    for name in tests:
        values = pd.Series([run.metrics.get(name) for run in runs], dtype=float)
        rows[name] = values.where(counts)
    rows["seconds"] = pd.Series([run.seconds for run in runs], dtype=float)
    rows["error"] = [run.error for run in runs]
    rows["group"] = rows.groupby(list(keys), sort=False, dropna=False).ngroup() if keys else 0
    return rows


def _left_out(run: Run, compared: Objective, by_objective: bool) -> str:
    if run.status != COUNTS:
        return run.status
    if metric.lacks(run, compared, by_objective):
        return f"without {compared.name if by_objective else compared.metric}"
    return "" if abs(metric.value_of(run, compared) or 0.0) < float("inf") else NOT_FINITE


def summarise(
    rows: pd.DataFrame,
    keys: Sequence[str],
    labels: Mapping[str, bool],
    unit: Sequence[str],
    mode: str,
    level: float,
    tests: Sequence[str] = (),
) -> pd.DataFrame:
    """Returns one row per group, the best first; the index is the group's number in `rows`.

    It has the keys, label, runs (how many), n (how many count), mean, median, sem, low and high
    (the interval), best, a mean and a half width for each metric of the test, seconds (the median
    of finished runs), left_out and rank. There is no interval without a second run that counts,
    and no rank without a first. Runs that repeat one another are one run with their mean: they say
    nothing about other seeds.

    Args:
        rows: of the runs, as `table_of_runs` returns them.
        keys: the columns that are alike in a group.
        labels: the keys of a group's label; True for a key whose values say enough alone, but
            for a missing one.
        unit: the columns in which runs of a group differ, such as the seed: others are repeats.
        mode: `min` or `max`, whichever is better.
        level: of the intervals, such as 0.95.
        tests: metrics of the test.
    """
    repeats = rows.groupby(["group", *unit], sort=False, dropna=False)
    runs = repeats[["value", *tests]].mean()
    lost = runs["value"].isna()
    runs["left_out"] = repeats["left_out"].last().where(lost, "")
    groups = rows.groupby("group", sort=False)
    means = runs.groupby("group", sort=False)
    table = groups[list(keys)].first() if keys else pd.DataFrame(index=groups.size().index)
    names = short_names(keys)
    texts = [
        [
            text if alone and text != MISSING else f"{names[key]}={text}"
            for text in numbers.settings(list(table[key]))
        ]
        for key, alone in labels.items()
    ]
    table["label"] = list(map(", ".join, zip(*texts, strict=True))) or "all runs"
    table["runs"] = means.size()
    columns = ["n", "mean", "median", "sem", "best"]
    table[columns] = means["value"].agg(["count", "mean", "median", "sem", mode])
    table["low"], table["high"] = interval(table["mean"], table["sem"], table["n"], level)
    for name in tests:
        own = means[name].agg(["mean", "sem", "count"])
        _, high = interval(own["mean"], own["sem"], own["count"], level)
        table[name], table[f"{name} ±"] = own["mean"], high - own["mean"]
    table["seconds"] = rows[rows["status"] == COUNTS].groupby("group")["seconds"].median()
    table["left_out"] = means["left_out"].agg(count_reasons)
    table["rank"] = ranks(table["mean"], mode)
    return table.sort_values(["rank", "label"], na_position="last", kind="stable")


def ranks(means: pd.Series, mode: str) -> pd.Series:
    """Returns the rank of each mean, from 1; means that are equal but for rounding share one."""
    ordered = means.dropna().sort_values(ascending=mode == "min")
    is_next = ordered.diff().abs() > numbers.ROUNDING * ordered.abs()
    places = pd.Series(range(1, len(ordered) + 1), ordered.index, dtype=float)
    return places.groupby(is_next.cumsum()).transform("min").reindex(means.index)


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
    half = sem * stdtrit((n - 1).where(n > 1), (1 + level) / 2)
    return mean - half, mean + half


def count_reasons(reasons: pd.Series) -> str:
    """Returns how often there is each reason: `2 diverged, 1 not finite`."""
    counts = Counter(reason for reason in reasons if reason)
    return ", ".join(f"{n} {reason}" for reason, n in counts.items())

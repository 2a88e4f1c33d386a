"""Runs as a table, and their groups: what was found over seeds and folds, best first."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from scipy import stats

from engine.report.read.collect import Run
from engine.report.read.settings import short_names

COUNTS = "finished"  # the status whose final metrics count


def table_of_runs(
    runs: Sequence[Run], columns: Mapping[str, Sequence[Any]], keys: Sequence[str], metric: str
) -> pd.DataFrame:
    """One row per run: folder, status, the columns, seed, fold, `value` (the metric, of runs that count), the rest.

    `left_out` says why a run does not count: its status, or that its metric is NaN or absent. `group` numbers the
    groups that `keys`, some of the columns, define.
    """
    rows = pd.DataFrame({key: pd.Series(list(values), dtype=object) for key, values in columns.items()})
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
    """One row per group, best first: rank, n, mean, low and high (t interval of that level), best, seconds, left_out.

    The mean is over the runs that count. No interval without a second run; no rank without a first. Seconds: the
    median of finished runs. `label` names a group by its values of the keys in `labels`, with the key unless it is true
    there. The index is the group's number in `rows`.
    """
    groups = rows.groupby("group", sort=False)
    made = groups[list(keys)].first() if keys else pd.DataFrame(index=groups.size().index)
    names = short_names(keys)
    said = {key: "" if alone else f"{names[key]}=" for key, alone in labels.items()}
    made["label"] = [", ".join(f"{said[k]}{row[k]}" for k in said) or "all runs" for _, row in made.iterrows()]
    made["runs"] = groups.size()
    made[["n", "mean", "sem", "best"]] = groups["value"].agg(["count", "mean", "sem", mode])
    made["low"], made["high"] = interval(made["mean"], made["sem"], made["n"], level)
    made["seconds"] = rows[rows["status"] == COUNTS].groupby("group")["seconds"].median()
    made["left_out"] = groups["left_out"].agg(_count_reasons)
    made["rank"] = made["mean"].rank(method="min", ascending=mode == "min")
    return made.sort_values(["rank", "label"], na_position="last", kind="stable")


def interval(mean: pd.Series, sem: pd.Series, n: pd.Series, level: float) -> tuple[pd.Series, pd.Series]:
    """Student's t interval for means; NaN for n < 2, and of no width where all values are the same."""
    low, high = stats.t.interval(level, (n - 1).where(n > 1), loc=mean, scale=sem.where(sem > 0))
    same = (n > 1) & (sem == 0)
    low, high = (pd.Series(bound, index=mean.index).mask(same, mean) for bound in (low, high))
    return low, high


def _count_reasons(reasons: pd.Series) -> str:
    """`2 diverged, 1 NaN`"""
    counts = reasons[reasons != ""].value_counts(sort=False)
    return ", ".join(f"{n} {reason}" for reason, n in counts.items())

"""Computes all that a report says, before it is shown as text, Markdown or HTML."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pandas as pd

from engine.config.keys import FOLD
from engine.report.read import settings
from engine.report.read.collect import Problem, Run
from engine.report.statistics import groups, metric, significance
from engine.run.summaries import Objective

FEW = 5  # up to so many keys, all are shown, even those that only change together with others
UNIT = {"seed": "seed", "fold": FOLD}  # columns that the runs of a pair agree in, and their keys


@dataclass(frozen=True)
class Content:
    """All that a report says.

    Args:
        folder: that the runs lie below.
        command: the command line that asked for the report.
        when: it was computed.
        title: of the part; "" where all runs below the folder may be compared.
        compared: what the runs are compared by.
        tests: metrics of the test that are shown beside.
        alpha: the level of the tests.
        keys: that define a group, and are shown.
        tied: keys that differ, but are not shown: they only change together with those.
        distinguishing: of the keys that are shown, those that suffice to tell the groups apart.
        others: keys that differ within groups.
        unit: the columns that the runs of a pair agree in; runs of a group that do are repeats.
        runs: that could be read.
        problems: files that could not be read.
        is_guessed: whether nobody has said what to compare: no run has an objective.
        rows: one per run, as `table_of_runs` returns them; the index is the run's number in `runs`.
        groups: one row per group, the best first, with its comparison with the best.
    """

    folder: Path
    command: str
    when: datetime
    title: str
    compared: Objective
    tests: list[str]
    alpha: float
    keys: list[str]
    tied: list[str]
    distinguishing: list[str]
    others: list[str]
    unit: list[str]
    runs: list[Run]
    problems: list[Problem]
    is_guessed: bool
    rows: pd.DataFrame
    groups: pd.DataFrame

    @property
    def metric(self) -> str:
        """The name of what is compared: `val/acc, best epoch`."""
        return self.compared.name

    @property
    def mode(self) -> str:
        """`min` or `max`, whichever is better."""
        return self.compared.mode

    @property
    def is_search(self) -> bool:
        """Tells whether all runs are trials of searches."""
        return all(run.trial is not None for run in self.runs)

    @property
    def searches(self) -> dict[str, "Content"]:
        """Returns what there is of each search by itself, by its study: rows, groups and keys."""
        trials = {n: run.study for n, run in enumerate(self.runs) if run.trial is not None}
        return {
            study: self._of(self.rows.loc[[n for n, own in trials.items() if own == study]])
            for study in dict.fromkeys(trials.values())
        }

    def _of(self, rows: pd.DataFrame) -> "Content":
        keys = [key for key in self.keys if rows[key].nunique() > 1]
        groups = self.groups[self.groups.index.isin(rows["group"])]
        return replace(self, rows=rows, groups=groups, keys=keys)

    @property
    def is_single(self) -> bool:
        """Tells whether no group has a second run that counts, so that there are no intervals."""
        return not (self.groups["n"] > 1).any()

    @property
    def names(self) -> dict[str, str]:
        """The keys' short names."""
        return settings.short_names(self.keys)

    @property
    def level(self) -> str:
        """The level of the intervals, such as `95 %`."""
        return f"{100 * (1 - self.alpha):g} %"

    @property
    def statuses(self) -> dict[str, int]:
        """The number of runs of each status, the most frequent first."""
        return dict(Counter(run.status for run in self.runs).most_common())

    @property
    def valued(self) -> pd.DataFrame:
        """The groups that have a mean."""
        return self.groups[self.groups["n"] > 0]

    def made_with(self) -> dict[str, list[str]]:
        """Returns the devices, git commits and versions that the runs were made with."""
        pairs = dict.fromkeys(pair for run in self.runs for pair in run.made_with.items())
        return {kind: [own for name, own in pairs if name == kind] for kind, _ in pairs}


def compute(
    folder: Path,
    runs: list[Run],
    problems: list[Problem],
    *,
    command: str,
    metric_name: str | None = None,
    mode: str | None = None,
    group_by: Sequence[str] = (),
    alpha: float = 0.05,
    title: str = "",
) -> Content:
    """Groups, ranks and tests runs.

    Args:
        folder: that the runs lie below.
        runs: that could be read.
        problems: files that could not be read.
        command: the command line that asks for the report.
        metric_name: of the metric whose last value to compare; None for the objective.
        mode: `min` or `max`; None for what the objective or the metric's name says.
        group_by: the keys that define a group; empty for all that differ.
        alpha: the level of the tests.
        title: of the part of all runs that these are.

    Raises:
        UserError: for a metric or key that no run has, or a metric that does not say which way is
            better.
    """
    compared = metric.choose(runs, metric_name, mode)
    beside = metric.of_tests(runs, compared)
    differing = settings.apart(settings.differing(runs))
    columns = settings.apart(settings.chosen(runs, group_by)) if group_by else differing
    of_keys = {**columns, **differing}
    free = [key for key in differing if key not in columns]
    others = [key for key in free if not settings.is_said_by(of_keys, key, list(columns))]
    if settings.groups(of_keys, list(columns)) == len(runs):  # a run by itself tells of no key
        others = free
    # A search draws each key by itself, and hardly any value twice: each key seems to say all.
    is_drawn = any(run.trial is not None for run in runs)
    distinguishing = list(columns) if is_drawn else settings.distinguishing(columns)
    keys = list(columns) if group_by or len(columns) <= FEW else distinguishing
    is_asked = metric_name is not None
    rows = groups.table_of_runs(runs, of_keys, list(columns), compared, beside, is_asked)
    # The name of a class, such as Adam, says enough without its key.
    labels = {key: not settings.is_key(key, runs) for key in distinguishing}
    unit = [*(column for column, key in UNIT.items() if key not in columns), *others]
    table = groups.summarise(rows, keys, labels, unit, compared.mode, 1 - alpha, beside)
    tests = significance.compare(rows, table, unit, compared.mode, alpha)
    return Content(
        folder=folder,
        command=command,
        when=datetime.now(),
        title=title,
        compared=compared,
        tests=beside,
        alpha=alpha,
        keys=keys,
        tied=[key for key in of_keys if key not in (*keys, *others)],
        distinguishing=distinguishing,
        others=others,
        unit=unit,
        runs=runs,
        problems=problems,
        is_guessed=not is_asked and not any(run.objective for run in runs),
        rows=rows,
        groups=table.join(tests),
    )

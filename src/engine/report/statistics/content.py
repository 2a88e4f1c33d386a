"""All that a report says, before it is said: in the terminal, in Markdown, in HTML."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pandas as pd

from engine.report.read import settings
from engine.report.read.collect import Problem, Run
from engine.report.statistics import groups, metric, significance

FEW = 5  # keys up to which all are shown, be some tied to others
UNIT = {"seed": "seed", "fold": "datamodule.fold"}  # what the runs of a pair agree in


@dataclass(frozen=True)
class Content:
    """`rows`: one per run. `groups`: one per group, best first, with its comparison with the best."""

    folder: Path
    command: str
    when: datetime
    metric: str
    mode: str  # min or max
    alpha: float
    keys: list[str]  # that define a group, and are shown
    tied: list[str]  # that define it, too, but change only together with those
    told: list[str]  # of `keys`, those that tell the groups apart
    others: list[str]  # that differ within groups
    runs: list[Run]
    problems: list[Problem]
    rows: pd.DataFrame
    groups: pd.DataFrame

    @property
    def names(self) -> dict[str, str]:
        return settings.short_names(self.keys)

    @property
    def level(self) -> str:
        """`95 %`, of the intervals."""
        return f"{100 * (1 - self.alpha):g} %"

    @property
    def statuses(self) -> dict[str, int]:
        """How many runs there are of each status, the most frequent first."""
        return dict(Counter(run.status for run in self.runs).most_common())

    @property
    def valued(self) -> pd.DataFrame:
        """The groups that have a mean."""
        return self.groups[self.groups["n"] > 0]

    def made_with(self) -> dict[str, list[str]]:
        """What the runs say that they ran on: device, git, versions; more than one of a kind is worth knowing."""
        kinds: dict[str, list[str]] = {}
        for run in self.runs:
            for kind, value in run.made_with.items():
                if value not in kinds.setdefault(kind, []):
                    kinds[kind].append(value)
        return kinds


def compute(
    folder: Path,
    found: tuple[list[Run], list[Problem]],
    *,
    command: str,
    asked: str | None = None,
    mode: str | None = None,
    group_by: Sequence[str] = (),
    alpha: float = 0.05,
) -> Content:
    """Group, rank and test what was collected.

    Raises:
        UserError: for a metric or key that no run has, or a metric that does not say which way is better.
    """
    runs, problems = found
    name = metric.choose(runs, asked)
    mode = metric.direction(name, mode)
    differing = settings.differing(runs)
    columns = settings.chosen(runs, group_by) if group_by else differing
    others = {key: values for key, values in differing.items() if key not in columns}
    told = settings.telling(columns)
    keys = list(columns) if group_by or len(columns) <= FEW else told
    rows = groups.table_of_runs(runs, {**columns, **others}, list(columns), name)
    choices = [key for key in columns if not any(key in run.config for run in runs)]  # nodes, such as optimizer
    made = groups.summarise(rows, keys, {key: key in choices for key in told}, mode, 1 - alpha)
    unit = [name for name, key in UNIT.items() if key not in columns]
    made = made.join(significance.compare(rows, made, [*unit, *others], mode, alpha))
    return Content(
        folder=folder, command=command, when=datetime.now(), metric=name, mode=mode, alpha=alpha, keys=keys,
        tied=[key for key in columns if key not in keys], told=told, others=list(others), runs=runs,
        problems=problems, rows=rows, groups=made,
    )  # fmt: skip

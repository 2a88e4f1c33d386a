"""Parts runs that nobody may rank against each other: other experiments, data or objectives."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from engine.config.keys import TARGET, relevant
from engine.errors import UserError
from engine.report.read import settings
from engine.report.read.collect import Run
from engine.report.statistics import metric
from engine.run.summaries import Objective

DATA = (f"datamodule.{TARGET}", "datamodule.data_dir")
MOST = 4  # words of a title that tell a part from others
Kind = tuple[str, str, str]  # of an objective: its metric, what is taken, and the mode


class Part(NamedTuple):
    """Runs that may be ranked against each other.

    Args:
        experiment: that the command line chose; "" for none.
        data: the name of the data module's class.
        runs: of the part.
        apart: what tells the part from others of the same experiment and data.
    """

    experiment: str
    data: str
    runs: list[Run]
    apart: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Returns experiment, data and what tells it apart: `lenet on Digits: swa=Averaging`."""
        task = " on ".join(filter(None, (self.experiment, self.data))) or "all runs"
        return ": ".join(filter(None, (task, "; ".join(self.apart))))

    def check(self, asked: str | None, mode: str | None, group_by: Sequence[str]) -> None:
        """Refuses runs that cannot be ranked: they may have just begun.

        Args:
            asked: the metric that a user wants to compare.
            mode: `min` or `max`, as the user has said it.
            group_by: the keys that the user wants to define a group.

        Raises:
            UserError: says why.
        """
        if asked and not any(asked in run.metrics for run in self.runs):
            raise UserError(f"no run of it has {asked}.")
        metric.choose(self.runs, asked, mode)
        settings.chosen(self.runs, group_by)


def split(runs: Sequence[Run], asked: str | None = None) -> list[Part]:
    """Returns the parts, the largest first.

    Runs of one part agree in experiment, data and objective. A run that has no objective belongs to
    the objective whose metric its checkpoints follow, or else to that of most runs.

    Args:
        runs: of all parts.
        asked: the metric that a user wants to compare; all runs have the same then.
    """
    by_task: dict[tuple[str, ...], list[Run]] = defaultdict(list)
    for run in runs:
        by_task[_task(run)].append(run)
    parts = []
    for (experiment, data, *_), own in by_task.items():
        target = data.rpartition(".")[2]
        parts += [Part(experiment, target, some) for some in _by_objective(own, asked)]
    by_title: dict[str, list[Part]] = defaultdict(list)
    for part in parts:
        by_title[part.title].append(part)
    named = [part for same in by_title.values() for part in _told_apart(same)]
    return sorted(named, key=lambda part: -len(part.runs))


def _told_apart(parts: list[Part]) -> list[Part]:
    """Adds to parts of one title what each has of its own: the objective, and values of keys."""
    if len(parts) < 2:
        return parts
    owners = [number for number, part in enumerate(parts) for _ in part.runs]
    kinds = [next((run.objective for run in part.runs if run.objective), None) for part in parts]
    of_parts = [f"{one.name} ({one.mode})" if one else "no objective" for one in kinds]
    columns = settings.differing([run for part in parts for run in part.runs])
    names = settings.short_names(columns)
    columns = {"": [of_parts[owner] for owner in owners], **columns}
    words: list[list[str]] = [[] for _ in parts]
    for key, values in columns.items():
        pairs = list(dict.fromkeys(zip(owners, values, strict=True)))  # in the order of the parts
        if len(pairs) == len(parts) and len({value for _, value in pairs}) > 1:
            for word, (_, value) in zip(words, pairs, strict=True):
                word.append(f"{names[key]}={value}" if key else value)
    return [Part(*part[:-1], tuple(word[:MOST])) for part, word in zip(parts, words, strict=True)]


def _task(run: Run) -> tuple[str, ...]:
    keys = (*DATA, "paths.data_dir")
    data = relevant({key: run.config[key] for key in keys if key in run.config})
    return (run.said.get("experiment", ""), *(str(data.get(key, "")) for key in DATA))


def _by_objective(runs: Sequence[Run], asked: str | None) -> list[list[Run]]:
    """Splits runs by their objective: its metric, which value is taken, and which way is better."""
    objectives = {run.objective[:3]: run.objective for run in runs if run.objective}
    if asked or len(objectives) < 2:
        return [list(runs)]
    most = metric.choose(runs)[:3]
    found: dict[Kind, list[Run]] = {kind: [] for kind in objectives}
    for run in runs:
        kind = run.objective[:3] if run.objective else _likely(run, objectives, most)
        found[kind].append(run)
    return list(found.values())


def _likely(run: Run, objectives: dict[Kind, Objective], most: Kind) -> Kind:
    monitor, mode = metric.followed(run)
    followed = [
        kind for kind, one in objectives.items() if one.metric == monitor and mode in (one.mode, "")
    ]
    return most if most in followed or not followed else followed[0]

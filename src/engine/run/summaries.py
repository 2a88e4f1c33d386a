"""summary.json: how a run ended, and with which metrics."""

import functools
import itertools
import json
import logging
import math
import os
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from engine import files, messages
from engine.run.folders import BEST
from engine.run.records import read

log = logging.getLogger(__name__)

SUMMARY = "summary.json"
METRICS = "metrics.csv"
NO_METRICS = ("epoch", "step", "lr")  # columns of metrics.csv; lr is the learning rate
TRAINING_LOSSES = ("train/loss", "train_loss", "loss")
# Which value of a metric counts.
BEST_EPOCH, LAST_PASS, LAST_VALUE = "best epoch", "last pass", "last value"
OF_MEAN = "of the mean"  # of the weights of the last epochs
SPLITS, OTHER = ("train", "val", "test"), "value"  # columns of the table of metrics
LONGEST = 40  # letters of a metric's name in a table
SELECTED = 40  # runs: of more, TensorBoard's page selects none by itself
OWN = "the weights that the module had"  # as a test began that has loaded none
COMPLETE = ("finished", "diverged")  # as opposed to failed and interrupted


class Objective(NamedTuple):
    """Names what a sweep compares of a run: `Objective("val/acc", "best epoch", "max", 0.97)`.

    Args:
        metric: the name of the metric.
        taken: which of its values counts.
        mode: `min` or `max`, whichever is better.
        value: the number; NaN for a run whose metric never was one.
    """

    metric: str
    taken: str
    mode: str
    value: float = math.nan

    @property
    def name(self) -> str:
        """Returns what people read: `val/acc, best epoch`."""
        return ", ".join(filter(None, (self.metric, self.taken)))


def load(run_dir: Path) -> dict[str, Any] | None:
    """Reads a run's summary.json; None while the run goes on, or after a kill.

    One whose content is broken is left out: the run goes on from its checkpoint and writes it anew.

    Raises:
        BrokenFile: if there is a folder in its place.
    """
    path = run_dir / SUMMARY
    try:
        return read.summary(path)
    except read.BrokenFile as broken:
        if path.is_dir():
            raise
        _leave_out(path, broken.reason)
        return None


@functools.cache  # said once: a sweep reads a job's summary several times
def _leave_out(path: Path, reason: str) -> None:
    log.warning("%s: left out, as it is broken: %s", path, reason)


def save(run_dir: Path, summary: Mapping[str, Any], name: str = SUMMARY) -> None:
    """Writes summary.json whole or not at all; NaN and infinities become null, as JSON wants."""
    plain = json.loads(json.dumps(summary), parse_constant=lambda not_finite: None)
    files.write_whole(run_dir / name, json.dumps(plain, indent=2) + "\n")


def objective(summary: Mapping[str, Any]) -> float:
    """Returns the number that a sweep compares; NaN for a run without one, such as a diverged."""
    value = summary.get("objective")
    return math.nan if value is None else float(value)


def objective_of(summary: Mapping[str, Any]) -> Objective | None:
    """Returns what the objective of a run is, with its value; None for a run that has none."""
    of = summary.get("objective_of")
    return of and Objective(of["metric"], of["taken"], of["mode"], objective(summary))


def objective_name(summary: Mapping[str, Any]) -> str:
    """Returns the name of a run's objective, such as `val/acc, best epoch`; "" without one."""
    found = objective_of(summary)
    return found.name if found else ""


def tested(summary: Mapping[str, Any]) -> dict[str, float]:
    """Returns the metric of the test that is the objective's: `test/acc`, if that is `val/acc`.

    It is of the weights that have the objective; `{}` where others were tested.
    """
    found = None if tests_others(summary) else objective_of(summary)
    name = re.sub(r"^[a-z]+(?=[/_.])", "test", found.metric) if found else ""
    value = (summary.get("metrics") or {}).get(name)
    return {} if value is None else {name: value}


def tests_others(summary: Mapping[str, Any]) -> bool:
    """Tells whether the metrics of the test are of other weights than the objective, in best.ckpt.

    Earlier versions recorded nothing, and tested best.ckpt.
    """
    found = objective_of(summary)
    if found is None or found.taken not in (BEST_EPOCH, OF_MEAN) or math.isnan(found.value):
        return False  # no number has chosen a best.ckpt
    return summary.get("tested") not in (None, BEST.name)


def tested_with(trainer: Any, run_dir: Path) -> str | None:
    """Returns which weights a Trainer has tested last: `best.ckpt`; None if it has tested none."""
    if (path := getattr(trainer, "tested", None)) is None:
        return None
    folder = (run_dir / BEST.parent).resolve()
    is_own = path and Path(path).resolve().parent == folder
    return Path(path).name if is_own else path or OWN


def is_validation(metric: str) -> bool:
    """Tells whether a metric is one of validation, by its name: `val/acc`, `valid_loss`."""
    return re.match(r"val(id(ation)?)?[/_.]", metric) is not None


def is_of_one_class(metric: str, names: Container[str]) -> bool:
    """Tells whether a metric is that of one class, by its name: `val/acc/cat` beside `val/acc`.

    Of several loaders, Lightning adds which one to the name: `val/acc/dataloader_idx_0`.

    Args:
        metric: its name.
        names: of all that is logged with it.
    """
    name = re.sub(r"/dataloader_idx_\d+$", "", metric)
    of_all = name.rpartition("/")[0]
    return "/" in of_all and of_all + metric[len(name) :] in names


def training_loss(metrics: Iterable[str]) -> str | None:
    """Returns the metric that is the training loss, by its name; None if there is none.

    The names are that of `SupervisedModule` and those of Lightning's own documents. Where a module
    logs a loss both for steps and for epochs, Lightning adds `_epoch` to the mean over an epoch.
    """
    known = set(metrics)
    names = [f"{name}{end}" for name in TRAINING_LOSSES for end in ("", "_epoch")]
    return next((name for name in names if name in known), None)


def final_metrics(run_dir: Path) -> dict[str, float]:
    """Returns the last value of every metric in metrics.csv.

    Raises:
        BrokenFile: if the file cannot be read.
    """
    return last_values(*read.rows(run_dir / METRICS))


def last_values(columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> dict[str, float]:
    """Returns the last value of every metric in a table of metrics."""
    last: dict[str, str] = {}
    for row in rows:
        last |= row
    kept = [key for key in columns if key in last and key not in NO_METRICS]
    return {key: float(last[key]) for key in kept}


def of_last_pass(
    rows: Iterable[Mapping[str, str]],
    metric: str,
    samples: int | None = None,
    batch_size: int = 1,
    after: Callable[[int], int] = int,
) -> float | None:
    """Returns the mean of a metric of training over the last pass over the data.

    A row has the mean over the steps since the row before. It weighs as many samples as these steps
    have of the pass, so that a row of more than a pass is taken as it is. Rows that are logged by
    hand have no epoch, and any step: they do not count.

    Args:
        rows: of a table of metrics.
        metric: the name of the metric.
        samples: of a pass; if None, a pass is the longest epoch, and each step weighs the same.
        batch_size: samples of a batch. The last batch of a pass has those that are left.
        after: says how many batches there were after so many steps: as many, unless steps
            accumulate gradients.

    Returns:
        The mean; None if no row counts.
    """
    values: dict[int, float] = {}  # by the number of steps that the row ends
    ends: dict[str, int] = {}  # of the epochs
    end = 0
    for row in rows:
        if metric in row and "epoch" in row:
            if int(row[read.STEP]) + 1 < end:  # another training of the run begins
                values, ends = {}, {}
            end = int(row[read.STEP]) + 1
            values[end] = float(row[metric])
            ends[row["epoch"]] = end
    if not values:
        return None
    if samples is None:
        samples = max(last - first for first, last in itertools.pairwise([0, *ends.values()]))
    batches = math.ceil(samples / batch_size)

    def seen(step: int) -> int:
        passes, rest = divmod(after(step), batches)
        return passes * samples + rest * batch_size

    begins = seen(end) - samples
    befores = [0, *values]
    weights = [
        max(0, seen(step) - max(seen(before), begins))
        for before, step in itertools.pairwise(befores)
    ]
    total = sum(weights)
    # One row alone stays as it is, to the last bit.
    return sum(
        value * (weight / total)
        for value, weight in zip(values.values(), weights, strict=True)
        if weight
    )


def table(metrics: Mapping[str, float]) -> str:
    """Returns metrics as a table: a row for each name, a column for each of train, val and test.

    A metric whose name says no split stands in a column of its own.
    """
    rows: dict[str, dict[str, str]] = {}
    for metric, value in metrics.items():
        split, _, rest = metric.partition("/")
        name, column = (rest, split) if rest and split in SPLITS else (metric, OTHER)
        rows.setdefault(name, {})[column] = f"{value:.4g}"
    columns = [column for column in (*SPLITS, OTHER) if any(column in row for row in rows.values())]
    names = messages.cut_all(rows, LONGEST)
    width = max(map(len, names), default=0)
    header = "".join(f"{column:>12}" for column in columns)
    lines = [messages.styled(f"  {'':<{width}}{header}", messages.BOLD)]
    for name, row in zip(names, rows.values(), strict=True):
        values = "".join(f"{row.get(column, ''):>12}" for column in columns)
        lines.append(f"  {name:<{width}}{values}".rstrip())
    return "\n".join(lines if rows else [])


def ending(summary: Mapping[str, Any]) -> str:
    """Returns how and when a run ended: `finished after 400 steps, 12.3 s`."""
    status = messages.styled(summary["status"], messages.OF_STATUSES.get(summary["status"]))
    return (
        f"{status} after {messages.counted(summary['steps'], 'step')}, {summary['seconds']:.1f} s"
    )


def compared(summary: Mapping[str, Any]) -> str:
    """Returns what a sweep compares of a run: `val/acc, best epoch: 0.97`; "" for nothing."""
    value = objective(summary)
    return "" if math.isnan(value) else f"{objective_name(summary) or 'objective'}: {value:.4g}"


def closing_words(summary: Mapping[str, Any], run_dir: Path) -> str:
    """Returns the last lines of a run's log: its metrics, how and when it ended, its folder."""
    end = f"{ending(summary)}: {messages.short(run_dir)}"
    has_best = any(tested(summary)) and summary.get("tested") == BEST.name
    said = {
        BEST_EPOCH: "test: with best.ckpt; val: the last ones logged",
        OF_MEAN: "test and val: with best.ckpt",
    }
    compares = objective_name(summary)
    whose = [words for taken, words in said.items() if has_best and compares.endswith(taken)]
    if tests_others(summary):
        whose.append(f"test: with {summary['tested']}")
    metrics = summary["metrics"]
    # Where the last row is the last pass, the next line says so.
    if any(name.startswith("train/") for name in metrics) and objective(summary) != metrics.get(
        "train/loss"
    ):
        whose.append("train: the last row of metrics.csv")
    lines = [table(metrics), "; ".join(whose), compared(summary), end]
    return "\n".join(filter(None, lines))


def next_commands(folder: Path, door: str) -> str:
    """Returns the commands that show the runs below a folder, to paste, and what to click.

    Args:
        folder: a sweep's, or one with runs.
        door: the import path of the training command, such as `mine.train`.
    """
    place = messages.short(folder)
    report = f"python -m {door.rpartition('.')[0]}.report {place}"
    # As TensorBoard counts: a job's row of HParams is a run, too. What nobody may list is left out.
    below = (names for _, _, names in os.walk(folder) if any("tfevents" in one for one in names))
    listed = len([*itertools.islice(below, SELECTED + 1)])
    lines = ["Look at it, and compare:", f"  tensorboard --logdir {place}", f"  {report}"]
    if listed > SELECTED:
        how = "tick the box above their list"
        lines.append(f"Of more than {SELECTED} runs, TensorBoard selects none: {how}.")
    return "\n".join(lines)

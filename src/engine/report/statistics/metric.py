"""Chooses what a report compares: the objective of the runs, or a metric that a user names."""

import re
from collections import Counter
from collections.abc import Sequence

from engine.checks.directions import direction_of
from engine.errors import UserError, nearest
from engine.report.read.collect import Run
from engine.run.summaries import LAST_VALUE, NO_METRICS, Objective, is_of_one_class

# The best first: validation is what to choose by, test what to report, training is always there.
SPLITS = ("val", "test", "train")
MOST_TESTS = 2  # metrics of the test, in columns beside what is compared


def choose(runs: Sequence[Run], asked: str | None = None, mode: str | None = None) -> Objective:
    """Returns what the runs are compared by; its `value` is NaN.

    That is the objective that most of the runs have. A user may ask for the last value of another
    metric. Where no run has an objective yet, it is the last value of a sensible metric.

    Raises:
        UserError: if no run has that metric, or no run has any, or nobody says which way is better.
    """
    named = Counter(run.objective._replace(value=0.0) for run in runs if run.objective)
    if named and asked is None:
        found = max(named, key=lambda one: named[one])
        return found._replace(mode=mode or found.mode)
    name = sensible(runs) if asked is None else known(runs, asked)
    stated = mode or _stated(runs, name)
    return Objective(name, LAST_VALUE, direction(name, stated, is_guessed=asked is None))


def sensible(runs: Sequence[Run]) -> str:
    """Returns the metric that most checkpoints follow, if it is logged.

    Else it is one of validation where there is one, and an accuracy rather than a loss.

    Raises:
        UserError: if no run has any metric.
    """
    counts = Counter(name for run in runs for name in run.metrics)
    if not counts:
        raise UserError(f"none of the runs has logged a metric yet.{_errors(runs)}")
    most = max(counts.values())
    monitors = Counter(name for run in runs if 2 * counts[name := followed(run)[0]] >= most)
    if monitors:
        return max(monitors, key=lambda name: monitors[name])
    often = [name for name, n in counts.items() if 2 * n >= most and direction_of(name)]
    return min(often or counts, key=lambda name: (_preference(name), -counts[name], name))


def _errors(runs: Sequence[Run]) -> str:
    """Says how many runs there are of each status, and the first error; "" without an error."""
    failed = [run for run in runs if run.error]
    if not failed:
        return ""
    statuses = Counter(run.status for run in runs).most_common()
    said = ", ".join(f"{number:,} {status}" for status, number in statuses)
    return f" They are: {said}. The first error, of {failed[0].folder}: {failed[0].error}"


def known(runs: Sequence[Run], asked: str) -> str:
    """Returns a metric that was asked for.

    Raises:
        UserError: if no run has it, or its name is that of a column that is no metric.
    """
    if asked in NO_METRICS:
        raise UserError(
            f"--metric {asked}: epoch, step and lr (the learning rate) are no metrics.\n"
            "To compare one of your module's, log it under another name."
        )
    counts = Counter(name for run in runs for name in run.metrics)
    if asked not in counts:
        # Without val/acc/3, the accuracy of one class.
        names = sorted(name for name in counts if not is_of_one_class(name, counts))
        has = f" They have: {', '.join(names)}." if names else ""
        raise UserError(f"--metric {asked}: no run has it.{nearest(asked, counts)}{has}")
    return asked


def value_of(run: Run, compared: Objective) -> float | None:
    """Returns a run's value of what is compared; the latest of its metric, before the run's end."""
    if run.objective and run.objective.name == compared.name:
        return run.objective.value
    return run.metrics.get(compared.metric)


def lacks(run: Run, compared: Objective, by_objective: bool) -> bool:
    """Tells whether a finished run has no value of what is compared.

    A run whose objective is another one has none, though it may have logged the metric.
    """
    if by_objective:
        return run.objective is None or run.objective.name != compared.name
    return compared.metric not in run.metrics


def of_tests(runs: Sequence[Run], compared: Objective) -> list[str]:
    """Returns the metrics of the test to show beside what is compared, the most like it first."""
    names = {name for run in runs for name in run.metrics if re.match(r"test[/_.]", name)}
    plain = sorted(name for name in names - {compared.metric} if not is_of_one_class(name, names))
    rest = _rest(compared.metric)
    return sorted(plain, key=lambda name: (not name.endswith(rest), _preference(name)))[:MOST_TESTS]


def followed(run: Run) -> tuple[str, str]:
    """Returns the metric that a run's best.ckpt is chosen by, and its mode; "" for what is none."""
    if run.objective:
        return run.objective.metric, run.objective.mode
    monitor, mode = (run.config.get(f"callbacks.checkpoints.{key}") for key in ("monitor", "mode"))
    return monitor or "", mode or ""


def _stated(runs: Sequence[Run], metric: str) -> str | None:
    """Returns which way is better as most runs say it of this metric, on whatever split."""
    said = Counter(
        mode for own, mode in map(followed, runs) if _rest(own) == _rest(metric) and mode
    )
    return max(said, key=lambda mode: said[mode]) if said else None


def _rest(metric: str) -> str:
    """Returns a metric's name without its split: `loss` of `val/loss` and of `val_loss`."""
    return re.sub(r"^(train(ing)?|val(id(ation)?)?|test)[/_.]", "", metric)


def direction(metric: str, asked: str | None = None, is_guessed: bool = False) -> str:
    """Returns `max` where higher is better, `min` where lower is.

    Args:
        metric: its name.
        asked: `min` or `max`, as the user or the runs say it.
        is_guessed: whether nobody has asked for this metric.

    Raises:
        UserError: if the metric's name does not tell, and the user has not said it.
    """
    if mode := asked or direction_of(metric):
        return mode
    which = f"--metric {metric}"
    if is_guessed:
        which = f"no run has an objective, so {metric} is compared"
    raise UserError(
        f"{which}: its name does not say which way is better; add --mode min or --mode max."
    )


def _preference(name: str) -> tuple[int, int, int]:
    """Returns a sort key, less for the better metric to compare by.

    It goes by split, then metrics of all classes before those of one, then accuracies before
    losses.
    """
    split = re.split(r"[/_.]", name)[0]
    order = SPLITS.index(split) if split in SPLITS else len(SPLITS)
    return order, name.count("/") > 1, {"max": 0, "min": 1, None: 2}[direction_of(name)]

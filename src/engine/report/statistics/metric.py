"""Chooses what a report compares: the objective of the runs, or a metric that a user names."""

import re
from collections import Counter
from collections.abc import Sequence

from engine.errors import UserError, nearest
from engine.report.read.collect import Run
from engine.run.summaries import LAST_VALUE, Objective

# The best first: validation is what to choose by, test what to report, training is always there.
SPLITS = ("val", "test", "train")
MOST_TESTS = 2  # metrics of the test, in columns beside what is compared
# fmt: off
LOWER = {  # words of metrics of which less is better
    "loss", "error", "err", "mse", "mae", "rmse", "nll", "ece", "perplexity", "ppl", "brier",
}
HIGHER = {
    "acc", "accuracy", "f1", "auc", "auroc", "ap", "map", "precision", "recall", "r2", "iou",
    "dice", "psnr", "ssim", "bleu", "score", "reward", "return",
}
# fmt: on


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
    return Objective(name, LAST_VALUE, direction(name, mode))


def sensible(runs: Sequence[Run]) -> str:
    """Returns a metric of validation where there is one, and an accuracy rather than a loss.

    Raises:
        UserError: if no run has any metric.
    """
    counts = Counter(name for run in runs for name in run.metrics)
    if not counts:
        raise UserError("none of the runs has logged a metric yet.")
    most = max(counts.values())
    often = [name for name, n in counts.items() if 2 * n >= most and direction_of(name)]
    return min(often or counts, key=lambda name: (_preference(name), -counts[name], name))


def known(runs: Sequence[Run], asked: str) -> str:
    """Returns a metric that was asked for.

    Raises:
        UserError: if no run has it.
    """
    counts = Counter(name for run in runs for name in run.metrics)
    if asked not in counts:
        # Without val/acc/3, the accuracy of one class.
        names = sorted([name for name in counts if name.count("/") < 2] or counts)
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
    plain = sorted(name for name in names - {compared.metric} if name.count("/") < 2)
    rest = re.split(r"[/_.]", compared.metric, maxsplit=1)[-1]
    return sorted(plain, key=lambda name: (not name.endswith(rest), _preference(name)))[:MOST_TESTS]


def direction(metric: str, asked: str | None = None) -> str:
    """Returns `max` where higher is better, `min` where lower is.

    Raises:
        UserError: if the metric's name does not tell, and the user has not said it.
    """
    if mode := asked or direction_of(metric):
        return mode
    raise UserError(
        f"--metric {metric}: its name does not say which way is better; "
        "add --mode min or --mode max."
    )


def direction_of(metric: str) -> str | None:
    """Returns `min` or `max`, as a metric's name tells, or None."""
    name = metric.lower()
    words = {*re.split(r"[/_\W\d]+", name), *re.split(r"[/_\W]+", name)}  # top1, and f1 or r2
    if words & {"neg", "negative"}:  # of a negative likelihood less is better, of neg_mse more
        return None
    return "min" if words & LOWER else "max" if words & HIGHER else None


def _preference(name: str) -> tuple[int, int, int]:
    """Returns a sort key, less for the better metric to compare by.

    It goes by split, then metrics of all classes before those of one, then accuracies before
    losses.
    """
    split = name.partition("/")[0]
    order = SPLITS.index(split) if split in SPLITS else len(SPLITS)
    return order, name.count("/"), {"max": 0, "min": 1, None: 2}[direction_of(name)]

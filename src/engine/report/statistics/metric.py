"""Chooses the metric that a report compares, and tells which way is better."""

import re
from collections import Counter
from collections.abc import Sequence

from engine.errors import UserError, nearest
from engine.report.read.collect import Run

# The best first: validation is what to choose by, test what to report, training is always there.
SPLITS = ("val", "test", "train")
# fmt: off
LOWER = {  # words of metrics of which less is better
    "loss", "error", "err", "mse", "mae", "rmse", "nll", "ece", "perplexity", "ppl", "brier",
}
HIGHER = {
    "acc", "accuracy", "f1", "auc", "auroc", "ap", "map", "precision", "recall", "r2", "iou",
    "dice", "psnr", "ssim", "bleu", "score", "reward", "return",
}
# fmt: on


def choose(runs: Sequence[Run], asked: str | None) -> str:
    """Returns the metric that was asked for, or a sensible one.

    That is a metric of validation where there is one, and an accuracy rather than a loss.

    Raises:
        UserError: if no run has that metric, or no run has any.
    """
    counts = Counter(name for run in runs for name in run.metrics)
    if not counts:
        raise UserError("none of the runs has logged a metric yet.")
    if asked is None:
        most = max(counts.values())
        often = [name for name, n in counts.items() if 2 * n >= most and direction_of(name)]
        return min(often or counts, key=lambda name: (_preference(name), -counts[name], name))
    if asked not in counts:
        # Without val/acc/3, the accuracy of one class.
        known = sorted([name for name in counts if name.count("/") < 2] or counts)
        hint = nearest(asked, counts)
        raise UserError(f"--metric {asked}: no run has it.{hint} They have: {', '.join(known)}.")
    return asked


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
    return "min" if words & LOWER else "max" if words & HIGHER else None


def _preference(name: str) -> tuple[int, int, int]:
    """Returns a sort key, less for the better metric to compare by.

    It goes by split, then metrics of all classes before those of one, then accuracies before
    losses.
    """
    split = name.partition("/")[0]
    order = SPLITS.index(split) if split in SPLITS else len(SPLITS)
    return order, name.count("/"), {"max": 0, "min": 1, None: 2}[direction_of(name)]

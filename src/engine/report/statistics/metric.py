"""Which metric a report compares, and which way is better."""

import re
from collections import Counter
from collections.abc import Sequence

from engine.errors import UserError, nearest
from engine.report.read.collect import Run

SPLITS = ("val", "test", "train")  # best first: what to choose by, what to report, what there always is
LOWER = {"loss", "error", "err", "mse", "mae", "rmse", "nll", "ece", "perplexity", "ppl", "brier"}
HIGHER = {"acc", "accuracy", "f1", "auc", "auroc", "ap", "map", "precision", "recall", "r2", "iou", "dice", "psnr",
          "ssim", "bleu", "score", "reward", "return"}  # fmt: skip


def choose(runs: Sequence[Run], asked: str | None) -> str:
    """The metric that was asked for, or a sensible one: of validation, and an accuracy rather than a loss.

    Raises:
        UserError: if no run has that metric, or no run has any.
    """
    counts = Counter(name for run in runs for name in run.metrics)
    if not counts:
        raise UserError("none of the runs has logged a metric yet.")
    if asked is None:
        often = [name for name, n in counts.items() if n >= max(counts.values()) / 2 and direction_of(name)]
        return min(often or counts, key=lambda name: (_preference(name), -counts[name], name))
    if asked not in counts:
        known = [name for name in counts if name.count("/") < 2] or list(counts)  # not val/acc/3, of one class
        raise UserError(
            f"--metric {asked}: no run has it.{nearest(asked, counts)} They have: {', '.join(sorted(known))}."
        )
    return asked


def direction(metric: str, asked: str | None = None) -> str:
    """`max` where higher is better, `min` where lower is.

    Raises:
        UserError: if the metric's name does not tell, and nobody said it.
    """
    if mode := asked or direction_of(metric):
        return mode
    raise UserError(f"--metric {metric}: its name does not say which way is better; add --mode min or --mode max.")


def direction_of(metric: str) -> str | None:
    words = set(re.split(r"[/_\W\d]+", metric.lower())) | set(re.split(r"[/_\W]+", metric.lower()))
    return "min" if words & LOWER else "max" if words & HIGHER else None


def _preference(name: str) -> tuple[int, int, int]:
    """Less is preferred: by split, then totals before those of one class, then what is better high before losses."""
    split = name.partition("/")[0]
    order = SPLITS.index(split) if split in SPLITS else len(SPLITS)
    return order, name.count("/"), {"max": 0, "min": 1, None: 2}[direction_of(name)]

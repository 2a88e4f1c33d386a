"""Tells which way a metric is better, by the words of its name."""

import re

# fmt: off
LOWER = {  # words of metrics of which less is better
    "loss", "error", "err", "mse", "mae", "rmse", "nll", "ece", "perplexity", "ppl", "brier",
}
HIGHER = {
    "acc", "accuracy", "f1", "auc", "auroc", "ap", "map", "precision", "recall", "r2", "iou",
    "dice", "psnr", "ssim", "bleu", "score", "reward", "return",
}
# fmt: on


def direction_of(metric: str) -> str | None:
    """Returns `min` or `max`, as a metric's name tells, or None."""
    name = metric.lower()
    words = {*re.split(r"[/_\W\d]+", name), *re.split(r"[/_\W]+", name)}  # top1, and f1 or r2
    if words & {"neg", "negative"}:  # of a negative likelihood less is better, of neg_mse more
        return None
    return "min" if words & LOWER else "max" if words & HIGHER else None

"""Computes a row of training metrics from the steps since the last row, for one job or many."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

# Kept of a step until its row: the loss (a tensor on a GPU, so that nobody waits for the GPU), its
# weight beside other steps', and predictions and targets where there are metrics.
Step = tuple[float | Tensor, float | Tensor, tuple[Tensor, ...]]


class LastRow(NamedTuple):
    """Says of how many batches a row of training is, and which metrics it has."""

    batches: int
    names: tuple[str, ...]


OF_LABELS = (nn.CrossEntropyLoss.forward, nn.NLLLoss.forward)

ROWS = 100  # in a run, about
WITHOUT_END = 50  # steps of a row, where nobody knows how long training will be


def steps_of_a_row(steps_per_epoch: float, max_epochs: int | None, max_steps: int) -> int:
    """Returns the steps that a row covers, so that a run has about `ROWS` rows.

    All epochs have the same number of rows: one at least, which ends the epoch.

    Args:
        steps_per_epoch: optimiser steps of an epoch; infinity if nobody knows.
        max_epochs: of the run; None or -1 for no limit.
        max_steps: of the run; -1 for no limit.
    """
    epochs = math.inf if max_epochs in (None, -1) else max_epochs
    total = min(steps_per_epoch * epochs, math.inf if max_steps == -1 else max_steps)
    if math.isinf(total):
        return WITHOUT_END
    steps = min(steps_per_epoch, total)
    rows = max(1, round(ROWS * steps / max(total, 1)))
    return max(1, math.ceil(steps / rows))


def weight_of(loss: Any, targets: Tensor, jobs: int = 0) -> int | Tensor:
    """Returns what a mean loss of a batch weighs beside those of other batches.

    That is its number of samples. A loss of labels divides by the weights of their classes, and by
    no target that it ignores: of such a loss, it is what it divides by.

    Args:
        loss: of the module.
        targets: (B, …), or (J, B, …) of jobs that train together.
        jobs: dimensions of the jobs. Where there is one, each job has a weight: (J,).
    """
    has_labels = targets.numel() > 0 and not targets.is_floating_point()
    if getattr(type(loss), "forward", None) not in OF_LABELS or not has_labels:
        return targets.shape[jobs]
    targets = targets.long()
    counts = torch.ne(targets, loss.ignore_index)
    if loss.weight is not None:
        counts = counts * loss.weight[torch.where(counts, targets, 0)]
    return counts.sum(tuple(range(jobs, targets.dim())))


def weighted_loss(
    losses: Sequence[float], weights: Sequence[float], averages: bool
) -> tuple[float, float]:
    """Returns the weighted sum of the steps' losses, and the sum of the weights.

    A step without weight, such as one whose labels are all ignored, has a mean over nothing: NaN.
    It does not count.

    Args:
        losses: of each step.
        weights: of each step, as `weight_of` returns them.
        averages: whether a step's loss is a mean over its samples; else each step weighs 1.
    """
    weights = weights if averages else [1] * len(weights)
    counted = (loss * weight for loss, weight in zip(losses, weights, strict=True) if weight)
    return sum(counted), sum(weights)


def joined(steps: Sequence[Sequence[Tensor]]) -> list[Sequence[Tensor]]:
    """Returns predictions and targets of steps as those of one batch.

    Those of other shapes, such as sequences of other lengths, stay as they are.
    """
    columns = [*zip(*steps, strict=True)]
    return [list(map(torch.cat, columns))] if all(map(_are_alike, columns)) else list(steps)


def _are_alike(parts: Sequence[Tensor]) -> bool:
    """Tells whether samples of several steps (B, …) have one shape."""
    return len({part.shape[1:] for part in parts}) == 1


def metrics(collection: MetricCollection, batches: Sequence[Sequence[Tensor]]) -> dict[str, float]:
    """Measures a row's predictions and targets by torchmetrics, and resets these for the next.

    A row may have one sample only. A metric that needs more is NaN then, as in scikit-learn.
    """
    for batch in batches:
        collection.update(*batch)
    try:
        values = {key: value.item() for key, value in collection.compute().items()}
    except ValueError:
        if sum(len(batch[0]) for batch in batches) > 1:
            raise
        values = {key: _of_one(metric) for key, metric in collection.items()}
    collection.reset()
    return values


def _of_one(metric: Metric) -> float:
    """Returns the value of a metric that has seen one sample; NaN if it needs more."""
    try:
        return float(metric.compute())
    except ValueError:
        return math.nan


def numbers(values: Sequence[float | Tensor]) -> list[float]:
    """Returns losses or weights as numbers; a GPU is waited for once, not for each of them."""
    tensors = [value for value in values if isinstance(value, Tensor)]
    theirs = iter(torch.stack(tensors).tolist() if tensors else [])
    return [next(theirs) if isinstance(value, Tensor) else value for value in values]


def pack(steps: Sequence[Step]) -> list[Any]:
    """Packs steps for a checkpoint, which thousands of small tensors would make slow."""
    columns = zip(*(seen for _, _, seen in steps), strict=True)  # predictions, targets
    packed: list[Any] = [
        (torch.cat(column), [len(part) for part in column])
        if _are_alike(column)
        else ([part.clone() for part in column], None)  # a view would be saved with all behind it
        for column in columns
    ]
    losses, weights = [loss for loss, _, _ in steps], [weight for _, weight, _ in steps]
    return [numbers(losses), numbers(weights), *packed]


def unpack(packed: Sequence[Any]) -> list[Step]:
    """Returns the steps that `pack` made a list of."""
    losses, weights, *tensors = packed or ([], [])
    columns = [own.split(lengths) if lengths else own for own, lengths in tensors]
    seen = zip(*columns, strict=True) if columns else itertools.repeat(())
    return list(zip(losses, weights, seen, strict=False))

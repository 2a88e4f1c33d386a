"""Computes a row of training metrics from the steps since the last row, for one job or many."""

import itertools
import math
from collections.abc import Sequence
from operator import mul
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

# Kept of a step until its row: the loss (a tensor on a GPU, so that nobody waits for the GPU), the
# size of the batch, and predictions and targets where there are metrics.
Step = tuple[float | Tensor, int, tuple[Tensor, ...]]

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


def weighted_loss(
    losses: Sequence[float], sizes: Sequence[int], averages: bool
) -> tuple[float, float]:
    """Returns the weighted sum of the steps' losses, and the sum of the weights.

    Args:
        losses: of each step.
        sizes: samples of each step's batch.
        averages: whether a step's loss is a mean over its samples. If so, a step weighs as much as
            it has samples, else 1.
    """
    weights = sizes if averages else [1] * len(sizes)
    return sum(map(mul, losses, weights)), sum(weights)


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


def numbers(losses: Sequence[float | Tensor]) -> list[float]:
    """Returns losses as numbers; a GPU is waited for once, not for each loss."""
    tensors = [loss for loss in losses if isinstance(loss, Tensor)]
    theirs = iter(torch.stack(tensors).tolist() if tensors else [])
    return [next(theirs) if isinstance(loss, Tensor) else loss for loss in losses]


def pack(steps: Sequence[Step]) -> list[Any]:
    """Packs steps for a checkpoint, which thousands of small tensors would make slow."""
    columns = zip(*(seen for _, _, seen in steps), strict=True)  # predictions, targets
    packed: list[Any] = [
        (torch.cat(column), [len(part) for part in column])
        if _are_alike(column)
        else ([part.clone() for part in column], None)  # a view would be saved with all behind it
        for column in columns
    ]
    return [numbers([loss for loss, _, _ in steps]), [size for _, size, _ in steps], *packed]


def unpack(packed: Sequence[Any]) -> list[Step]:
    """Returns the steps that `pack` made a list of."""
    losses, sizes, *tensors = packed or ([], [])
    columns = [own.split(lengths) if lengths else own for own, lengths in tensors]
    seen = zip(*columns, strict=True) if columns else itertools.repeat(())
    return list(zip(losses, sizes, seen, strict=False))

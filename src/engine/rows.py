"""A row of training metrics: over the steps since the last row, for one job or for many."""

import itertools
from collections.abc import Sequence
from operator import mul
from typing import Any

import torch
from torch import Tensor
from torchmetrics import MetricCollection

# What is kept of a step until its row: the loss, a tensor if it is on a GPU, for which nobody waits;
# the size of the batch; predictions and targets, if there are metrics.
Step = tuple[float | Tensor, int, tuple[Tensor, ...]]


def weighted_loss(
    losses: Sequence[float], sizes: Sequence[int], averages: bool
) -> tuple[float, float]:
    """Return the weighted sum of the steps' losses, and the sum of the weights.

    Args:
        losses: of each step.
        sizes: samples of each step's batch.
        averages: whether a step's loss is a mean over its samples; else each step weighs 1.
    """
    weights = sizes if averages else [1] * len(sizes)
    return sum(map(mul, losses, weights)), sum(weights)


def mean_loss(losses: Sequence[float], sizes: Sequence[int], averages: bool) -> float:
    """Return the loss of a row: the mean over samples, or over steps where losses are sums."""
    total, weight = weighted_loss(losses, sizes, averages)
    return total / weight


def metrics(collection: MetricCollection, seen: Sequence[Tensor]) -> dict[str, float]:
    """Measure a row's predictions and targets by torchmetrics, which start anew afterwards."""
    collection.update(*seen)
    values = {key: value.item() for key, value in collection.compute().items()}
    collection.reset()
    return values


def numbers(losses: Sequence[float | Tensor]) -> list[float]:
    """Return losses as numbers; those on a GPU are waited for once."""
    tensors = [loss for loss in losses if isinstance(loss, Tensor)]
    theirs = iter(torch.stack(tensors).tolist() if tensors else [])
    return [next(theirs) if isinstance(loss, Tensor) else loss for loss in losses]


def packed(steps: Sequence[Step]) -> list[Any]:
    """Pack steps for a checkpoint, which thousands of small tensors would slow."""
    if not steps:
        return []
    losses, sizes, seen = zip(*steps, strict=True)
    tensors = [
        (torch.cat(parts), [len(part) for part in parts]) for parts in zip(*seen, strict=True)
    ]
    return [numbers(losses), list(sizes), *tensors]


def unpacked(kept: Sequence[Any]) -> list[Step]:
    """Return the steps that `packed` made a list of."""
    if not kept:
        return []
    losses, sizes, *tensors = kept
    seen = [tensor.split(lengths) for tensor, lengths in tensors]
    parts = zip(*seen, strict=True) if seen else itertools.repeat(())
    return list(zip(losses, sizes, parts, strict=False))

"""Holds the batches of one call of `training_step`."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from engine.fence.torch import version_of

Batch = tuple[Tensor, Tensor]  # inputs (B, …), targets (B, …)

ALIGNMENT = 512  # bytes, of PyTorch's memory on a GPU; 64 on the CPU


class Block(NamedTuple):
    """Holds the samples (N, …) of several steps: batch after batch, or one batch for all steps."""

    inputs: Tensor
    targets: Tensor
    batch_size: int
    steps: int

    def batches(self) -> Iterator[Batch]:
        """Yields the batch of each step: inputs (B, …), targets (B, …)."""
        parts = (torch.split(tensor, self.batch_size) for tensor in self[:2])
        batches = list(zip(*parts, strict=True))
        if len(batches) == self.steps:
            yield from ((_aligned(inputs), _aligned(targets)) for inputs, targets in batches)
            return
        inputs, targets = self[:2]
        spare = inputs.clone(), targets.clone()
        for _ in range(self.steps):
            version = version_of(inputs) + version_of(targets)
            yield inputs, targets
            if version_of(inputs) + version_of(targets) != version:  # somebody has written into it
                inputs, targets = spare[0].clone(), spare[1].clone()


def _aligned(tensor: Tensor) -> Tensor:
    """Returns a tensor that begins where a new one would.

    Products of matrices round differently where a tensor begins elsewhere.
    """
    return tensor if tensor.data_ptr() % ALIGNMENT == 0 else tensor.clone()

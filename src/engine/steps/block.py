"""engine.steps.block"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from engine.fence.torch import version_of

Batch = tuple[Tensor, Tensor]  # inputs (B, …), targets (B, …)


ALIGNMENT = 512  # bytes, of PyTorch's memory on a GPU; 64 on the CPU


class Block(NamedTuple):
    """The batches of several steps, gathered at once: samples (N, …), batch after batch, or one batch for all steps."""

    inputs: Tensor
    targets: Tensor
    batch_size: int
    steps: int

    def batches(self) -> Iterator[Batch]:
        """The batch of each step."""
        split = partial(torch.split, split_size_or_sections=self.batch_size)
        batches = list(zip(split(self.inputs), split(self.targets), strict=True))
        if len(batches) == self.steps:
            yield from ((_aligned(inputs), _aligned(targets)) for inputs, targets in batches)
            return
        inputs, kept = self.inputs, self.inputs.clone()
        for _ in range(self.steps):
            version = version_of(inputs)
            yield inputs, self.targets
            if version_of(inputs) != version:  # the network has written into its input
                inputs = kept.clone()


def _aligned(tensor: Tensor) -> Tensor:
    """A tensor that begins where a new one would: products of matrices round differently elsewhere."""
    return tensor if tensor.data_ptr() % ALIGNMENT == 0 else tensor.clone()

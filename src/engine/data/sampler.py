"""Serves batches, each a function of (seed, number of the batch), one by one or in blocks."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler, SequentialSampler

from engine.data.split import BlockIndices
from engine.seeds import generator

BLOCK_BYTES = 2**24  # of a block's samples, about, so that they stay in the processor's cache


class StepSampler(DistributedSampler[Tensor | BlockIndices]):
    """Yields the sample numbers of batches `position()`, `position() + 1`, …, one tensor a batch.

    Or it yields `BlockIndices` for several batches. Batch g is a slice of the permutation of pass
    g // batches_per_pass over the data, or all samples in order where one batch has them all.
    Process `rank` of `world_size` takes every world_size-th sample of a batch: none, where a batch
    has too few. As it is a `DistributedSampler`, Lightning leaves it alone. Nothing depends on
    earlier draws, so a resumed run goes on exactly.

    Args:
        size: number of samples.
        batch_size: samples of a batch, over all processes together.
        seed: gives the permutations.
        steps: batches of one epoch; one pass over the data if None.
        shuffle: whether each pass has a permutation, from (seed, pass); in order if false.
        rank: number of this process.
        world_size: number of processes.
        position: returns the number of batches trained on so far. It is called when iteration
            starts, and before each block.
        next_block: returns how many batches the next block has, given the most that it may have. If
            None, or for a block of one, batches come one by one.
        block_batches: the most batches of a block.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        *,
        seed: int = 0,
        steps: int | None = None,
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
        position: Callable[[], int] = lambda: 0,
        next_block: Callable[[int], int] | None = None,
        block_batches: int = 1,
    ) -> None:
        # It asks for the length only.
        super().__init__(range(size), world_size, rank, shuffle, seed)  # type: ignore[arg-type]
        self.size = size
        self.batch_size = batch_size
        self.world_size = world_size
        self.position = position
        self.next_block = next_block
        self.block_batches = block_batches
        self.batches_per_pass = -(-size // batch_size)
        self.steps = steps or self.batches_per_pass
        self._order = -1, torch.arange(size)  # number of the last pass, and its order

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Tensor | BlockIndices]:
        # Not "up to the end of the epoch": the Trainer decides where an epoch ends.
        last = -1
        step = self.position()
        if self.next_block is None:
            yield from map(self.indices, range(step, step + self.steps))
            return
        for _ in range(self.steps):
            if (position := self.position()) != last:  # if equal, it is not the Trainer that asks
                step = last = position
            steps = self.next_block(self.most_in_a_block(step))
            if steps == 1:
                yield self.indices(step)
            else:
                indices = self.indices(step, 1 if self.batches_per_pass == 1 else steps)
                yield indices, min(self.batch_size, self.size), steps
            step += steps

    def indices(self, step: int, steps: int = 1) -> Tensor:
        """Returns the sample numbers of `steps` batches from `step` on: (N,) int64.

        `step` counts from the start of training.
        """
        parts = []
        end = step + steps
        while step < end:
            number, slot = divmod(step, self.batches_per_pass)
            if self.shuffle and self._order[0] != number and self.batches_per_pass > 1:
                order = torch.randperm(self.size, generator=generator(self.seed, "order", number))
                self._order = number, order
            taken = min(end - step, self.batches_per_pass - slot)
            parts.append(self._order[1][slot * self.batch_size : (slot + taken) * self.batch_size])
            step += taken
        batch = torch.cat(parts) if len(parts) > 1 else parts[0]
        return batch[self.rank :: self.world_size] if self.world_size > 1 else batch

    def most_in_a_block(self, step: int) -> int:
        """Returns the most batches of a block that begins at a step.

        A short batch, at the end of a pass, is the last of its block.
        """
        if self.size % self.batch_size and self.batches_per_pass > 1:
            return min(self.block_batches, self.batches_per_pass - step % self.batches_per_pass)
        return self.block_batches


class InOrder(StepSampler, SequentialSampler):  # type: ignore[misc]
    """Yields the same batches in each epoch, in order.

    Lightning leaves a `SequentialSampler` as it is where `trainer.overfit_batches` is set.
    """

    def __init__(self, size: int, batch_size: int, **order: Any) -> None:
        StepSampler.__init__(self, size, batch_size, shuffle=False, **order)

"""engine.data.sampler"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from engine.data.split import Split
from engine.seeds import generator
from engine.steps.block import Batch, Block

BLOCK_BYTES = 2**24  # of a block's samples, about, so that they stay in the processor's cache


class Chosen(NamedTuple):
    """The numbers of the samples of a block's batches, one after the other, or of the one batch for all its steps."""

    indices: Tensor
    batch_size: int
    steps: int


class TensorBatches(Dataset[Batch | Block]):
    """Indexed by a tensor of B sample numbers, gives that batch: inputs (B, …), targets (B, …); or a block of them.

    Works alike on tensors in memory and on tensors over memory-mapped files.
    """

    def __init__(self, split: Split) -> None:
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, chosen: Tensor | Chosen) -> Batch | Block:
        if isinstance(chosen, Chosen):
            return Block(*self.split.take(chosen.indices), *chosen[1:])
        return self.split.take(chosen)


class StepSampler(Sampler[Tensor | Chosen]):
    """Yields the sample numbers of batches `position()`, `position() + 1`, …, as one index tensor a batch, or a block.

    Batch g is a slice of the permutation of pass g // batches_per_pass over the data, or all of them in order where
    that is one batch; process `rank` of `world_size` takes every world_size-th index of it: none, where a batch has
    too few. Nothing depends on what was drawn before, so a resumed run goes on exactly.

    Args:
        size: number of samples.
        batch_size: samples of a batch, over all processes together.
        steps: batches of one epoch; one pass over the data if None.
        shuffle: a permutation per pass from (seed, pass); in order if false.
        position: number of batches trained on so far, asked for whenever iteration starts, or before each block.
        next_block: asked before each block how many batches it is to have, given the most that there can be; if None,
            or for a block of one, batches come one by one.
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
        self.size, self.batch_size, self.seed, self.shuffle = size, batch_size, seed, shuffle
        self.rank, self.world_size, self.position = rank, world_size, position
        self.next_block, self.block_batches = next_block, block_batches
        self.batches_per_pass = -(-size // batch_size)
        self.steps = steps or self.batches_per_pass
        self._order = -1, torch.arange(size)  # number of the last pass, and its order

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Tensor | Chosen]:
        # Not "up to the end of the epoch": where an epoch ends is the Trainer's to say.
        start = self.position()
        if self.next_block is None:
            return map(self.indices, range(start, start + self.steps))
        return self._blocks(start)

    def indices(self, step: int, steps: int = 1) -> Tensor:
        """The sample numbers of `steps` batches from `step` on, counted from the start of training: (N,) int64."""
        parts, end = [], step + steps
        while step < end:
            number, slot = divmod(step, self.batches_per_pass)
            if self.shuffle and self._order[0] != number and self.batches_per_pass > 1:
                self._order = (
                    number,
                    torch.randperm(self.size, generator=generator(self.seed, "order", number)),
                )
            taken = min(end - step, self.batches_per_pass - slot)
            parts.append(self._order[1][slot * self.batch_size : (slot + taken) * self.batch_size])
            step += taken
        batch = torch.cat(parts) if len(parts) > 1 else parts[0]
        return batch[self.rank :: self.world_size] if self.world_size > 1 else batch

    def most_in_a_block(self, step: int) -> int:
        """The most batches, from that one on, of a block: one that is short, at the end of a pass, is its last."""
        if self.size % self.batch_size and self.batches_per_pass > 1:
            return min(self.block_batches, self.batches_per_pass - step % self.batches_per_pass)
        return self.block_batches

    def _blocks(self, step: int) -> Iterator[Tensor | Chosen]:
        assert self.next_block is not None
        last, whole = -1, self.batches_per_pass == 1
        for _ in range(self.steps):
            if (position := self.position()) != last:  # else it is not the Trainer that iterates
                step = last = position
            steps = self.next_block(self.most_in_a_block(step))
            if steps == 1:
                yield self.indices(step)
            else:
                yield Chosen(
                    self.indices(step, 1 if whole else steps),
                    min(self.batch_size, self.size),
                    steps,
                )
            step += steps

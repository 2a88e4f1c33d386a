"""Serves several jobs' data as one: batches of samples (J, B, …), each job's in its own order."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from engine.data.datamodule import StepLoader, TensorDataModule
from engine.data.sampler import BLOCK_BYTES, StepSampler
from engine.data.split import Split
from engine.fence.lightning import batch_of_training
from engine.fence.torch import version_of
from engine.steps.block import Batch


class BlockSizes(Sampler[int]):
    """Yields the number of steps of each block of an epoch.

    Args:
        sampler: the sampler of any job.
        trainer: the stack's Trainer.
    """

    def __init__(self, sampler: StepSampler, trainer: Any) -> None:
        self.sampler, self.trainer = sampler, trainer

    def __len__(self) -> int:
        return self.sampler.steps

    def __iter__(self) -> Iterator[int]:
        for _ in range(self.sampler.steps):
            step = batch_of_training(self.trainer) + 1
            yield self.trainer.next_block(self.sampler.most_in_a_block(step))


class StackedData(LightningDataModule):
    """Serves the data of J jobs to one Trainer.

    A training step gets the length of its block, and asks `batches` for the samples; an evaluation
    step gets sample numbers, and asks `gather`.

    Args:
        data: the jobs' data modules, of one class, with splits of equal sizes. Jobs that share
            their splits have one copy of them in memory.
    """

    def __init__(self, data: Sequence[TensorDataModule]) -> None:
        super().__init__()
        self.data, first = list(data), data[0]
        self._shares = all(own.splits is first.splits for own in data)
        self._splits: dict[str, Split] = {}
        # The most steps of a block: their sample numbers, of 8 bytes each, fill it.
        most = max(1, BLOCK_BYTES // (8 * len(data) * first.batch_size))
        size, steps = len(first.splits["train"]), first.steps_per_epoch
        self.samplers = [
            StepSampler(size, first.batch_size, seed=own.seed, steps=steps, block_batches=most)
            for own in data
        ]
        # A pass over a loader draws a number, which nobody asks for.
        self._of_loaders = torch.Generator()
        self._whole_batch: Batch | None = None
        self._whole_versions: list[int] = []

    def why_no_blocks(self) -> None:
        """Returns None: there are always blocks."""

    def train_dataloader(self) -> StepLoader:
        sizes = BlockSizes(self.samplers[0], self.trainer)
        every_size: Any = range(len(sizes) + 1)  # a data set whose sample n is n itself
        return StepLoader(every_size, sampler=sizes, batch_size=None, generator=self._of_loaders)

    def val_dataloader(self) -> Any:
        return self._eval_loader("val")

    def test_dataloader(self) -> Any:
        return self._eval_loader(self.data[0].test_split)

    def _eval_loader(self, split: str) -> Any:
        first = self.data[0]
        if split not in first.splits:
            return []
        batches: Any = torch.split(torch.arange(len(first.splits[split])), first.eval_batch_size)
        return DataLoader(batches, batch_size=None, generator=self._of_loaders)

    def batches(self, step: int, steps: int) -> Iterator[Batch]:
        """Yields the batches of `steps` training steps from `step` on.

        Args:
            step: counted from the start of training.
            steps: the length of the block.
        """
        first = self.samplers[0]
        if first.batches_per_pass == 1:  # every step takes all samples: one batch serves them all
            for _ in range(steps):
                batch = self._whole_batch
                # A network or a loss that works in place may have written into the batch.
                if batch is None or [*map(version_of, batch)] != self._whole_versions:
                    batch = self._whole_batch = self.gather("train", self._chosen(step, 1))
                    self._whole_versions = [*map(version_of, batch)]
                yield batch
            return
        for part in torch.split(self._chosen(step, steps), first.batch_size, dim=1):
            yield self.gather("train", part)

    def _chosen(self, step: int, steps: int) -> Tensor:
        return torch.stack([sampler.indices(step, steps) for sampler in self.samplers])

    def gather(self, split: str, chosen: Tensor) -> Batch:
        """Gathers samples by number, and prepares them for the networks.

        Args:
            split: the name of the split.
            chosen: each job's sample numbers, (J, B) int64.

        Returns:
            Inputs (J, B, …) and targets (J, B, …) on the Trainer's device, in its precision.
        """
        trainer: Any = self.trainer
        device = trainer.strategy.root_device
        if split not in self._splits:
            own = [data.splits[split] for data in self.data]
            if not self._shares:  # the samples of job after job, of each equally many
                parts = [s.inputs for s in own], [s.targets for s in own]
                own = [Split(*(torch.stack(part).flatten(0, 1) for part in parts))]
            self._splits[split] = own[0].cached_on(device)
        samples = self._splits[split]
        if not self._shares:
            starts = torch.arange(0, len(samples), len(samples) // len(chosen))
            chosen = chosen + starts.unsqueeze(1)
        inputs, targets = (part.to(device) for part in samples.select(chosen.flatten()))
        flat = self.data[0].prepare_inputs(inputs), targets
        batch = tuple(part.view(*chosen.shape, *part.shape[1:]) for part in flat)
        converted: Batch = trainer.precision_plugin.convert_input(batch)
        return converted

"""The step-indexed data path: a batch is a pure function of (seed, number of the batch), gathered whole."""

import sys
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from project.blocks import Batch, Block, overrides
from project.seeds import generator

BATCH_HOOKS = "on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer", "train_dataloader"
BLOCK_BYTES = 2**24  # of a block's samples, about, so that they stay in the processor's cache


@dataclass(frozen=True)
class Split:
    """One split: inputs (N, …) as stored (uint8 images, float features) and targets (N, …)."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def near(self, device: torch.device) -> "Split":
        """The split on a CUDA device that has plenty of room for it, so that gathering a batch needs no copy there."""
        if device.type != "cuda" or self.inputs.nbytes + self.targets.nbytes > torch.cuda.mem_get_info(device)[0] // 4:
            return self
        return Split(self.inputs.to(device), self.targets.to(device))

    def take(self, chosen: Tensor) -> Batch:
        """The samples with the numbers (B,): inputs (B, …), targets (B, …)."""
        chosen = chosen.to(self.inputs.device)
        # It copies whole samples; indexing goes number by number, which takes images many times as long.
        return self.inputs.index_select(0, chosen), self.targets.index_select(0, chosen)


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
                self._order = number, torch.randperm(self.size, generator=generator(self.seed, "order", number))
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
                yield Chosen(self.indices(step, 1 if whole else steps), min(self.batch_size, self.size), steps)
            step += steps


class TensorDataModule(LightningDataModule):
    """Serves splits of tensors in whole batches; a subclass says what the splits are.

    Args:
        seed: gives the order of the training samples.
        batch_size: samples a training step sees, over all processes together.
        eval_batch_size: the same for validation and test; it changes speed and memory, no metric.
        steps_per_epoch: training steps that count as one epoch; one pass over the data if None.
        num_workers: processes that gather batches ahead: only for data that does not fit in memory.
        folds: for cross-validation, how many parts all samples but the test's are divided into; None for none.
        fold: the number of the part that is "val" then.
    """

    test_split = "test"  # the split that testing reads; project.evaluate can point it at another
    class_names: list[str] | None = None  # of a classification data set, in the order of the targets

    def __init__(
        self,
        seed: int,
        batch_size: int,
        eval_batch_size: int = 1000,
        steps_per_epoch: int | None = None,
        num_workers: int = 0,
        folds: int | None = None,
        fold: int = 0,
    ) -> None:
        super().__init__()
        self.seed, self.batch_size, self.eval_batch_size = seed, batch_size, eval_batch_size
        self.steps_per_epoch, self.num_workers = steps_per_epoch, num_workers
        self.folds, self.fold = folds, fold
        self._splits: dict[str, Split] | None = None

    @abstractmethod
    def load(self) -> dict[str, Split]:
        """The splits "train", and "val" and "test" where there are such; called once per process."""

    @property
    def splits(self) -> dict[str, Split]:
        if self._splits is None:
            self._splits = self.load()
            if self.folds:
                from project.datamodules.folds import fold_of

                self._splits = fold_of(self._splits, self.folds, self.fold, by_class=self.class_names is not None)
        return self._splits

    def share(self, other: "TensorDataModule") -> None:
        """Take over the splits of another, which are the same."""
        self._splits = other.splits

    def prepare_inputs(self, inputs: Tensor) -> Tensor:
        """Turn inputs as stored (N, …) into what the network takes, on the device, each sample by itself."""
        return inputs

    def example(self) -> Tensor:
        """Inputs of one training sample as the network takes them: (1, …)."""
        return self.prepare_inputs(self.splits["train"].inputs[:1])

    def on_after_batch_transfer(self, batch: Batch | Block | Tensor, dataloader_idx: int) -> Batch | Block | Tensor:
        if isinstance(batch, Block):
            batch = batch._replace(inputs=self.prepare_inputs(batch.inputs))
        elif not isinstance(batch, Tensor):  # as the example is, on its way to TensorBoard's graph
            inputs, targets = batch
            batch = self.prepare_inputs(inputs), targets
        if self.trainer is None:
            return batch
        converted: Batch | Block | Tensor = self.trainer.precision_plugin.convert_input(batch)  # uint8 had none before
        return converted

    def why_no_blocks(self) -> str | None:
        """Why a step has to fetch its batch by itself, if so."""
        if self.num_workers:
            return f"datamodule.num_workers={self.num_workers} gathers batches ahead"
        hooks = overrides(self, TensorDataModule, BATCH_HOOKS)
        return f"{type(self).__name__}.{hooks[0]} wants every batch" if hooks else None

    def train_dataloader(self) -> DataLoader[Batch | Block]:
        train = self.splits["train"]
        numbers = self.batch_size * max(1, train.inputs[0].numel() + train.targets[0].numel())
        return self._loader(
            "train",
            self.batch_size,
            seed=self.seed,
            steps=self.steps_per_epoch,
            position=lambda: self.trainer.fit_loop.total_batch_idx + 1 if self.trainer else 0,
            next_block=getattr(self.trainer, "next_block", None) if self.why_no_blocks() is None else None,
            block_batches=max(1, BLOCK_BYTES // (4 * numbers)) if self.batch_size < len(train) else sys.maxsize,
        )

    def val_dataloader(self) -> DataLoader[Batch | Block] | list[None]:
        return self._eval_loader("val")

    def test_dataloader(self) -> DataLoader[Batch | Block] | list[None]:
        return self._eval_loader(self.test_split)

    def _eval_loader(self, split: str) -> DataLoader[Batch | Block] | list[None]:
        """Every sample of a split, once and in order; none if there is no such split."""
        return self._loader(split, self.eval_batch_size, shuffle=False) if split in self.splits else []

    def _loader(self, split: str, batch_size: int, **order: object) -> DataLoader[Batch | Block]:
        data = self.splits[split]
        ranks = {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size} if self.trainer else {}
        if self.trainer and not self.num_workers:
            data = data.near(self.trainer.strategy.root_device)
        sampler = StepSampler(len(data), batch_size, **order, **ranks)  # type: ignore[arg-type]
        return DataLoader(
            TensorBatches(data),
            sampler=sampler,
            batch_size=None,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )

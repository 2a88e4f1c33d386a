"""The step-indexed data path: a batch is a pure function of (seed, number of the batch), gathered whole."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from project.seeds import generator

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Split:
    """One split: inputs (N, …) as stored (uint8 images, float features) and targets (N, …)."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.inputs)


class TensorBatches(Dataset[Batch]):
    """Indexed by a tensor of B sample numbers, gives that batch: inputs (B, …), targets (B, …).

    Works alike on tensors in memory and on tensors over memory-mapped files.
    """

    def __init__(self, split: Split) -> None:
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, indices: Tensor) -> Batch:
        return self.split.inputs[indices], self.split.targets[indices]


class StepSampler(Sampler[Tensor]):
    """Yields the sample numbers of batches `position()`, `position() + 1`, …, as one index tensor a batch.

    Batch g is a slice of the permutation of pass g // batches_per_pass over the data; process `rank` of `world_size`
    takes every world_size-th index of it: none, where a batch has too few. Nothing depends on what was drawn before,
    so a resumed run goes on exactly.

    Args:
        size: number of samples.
        batch_size: samples of a batch, over all processes together.
        steps: batches of one epoch; one pass over the data if None.
        shuffle: a permutation per pass from (seed, pass); in order if false.
        position: number of batches trained on so far, asked for whenever iteration starts.
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
    ) -> None:
        self.size, self.batch_size, self.seed, self.shuffle = size, batch_size, seed, shuffle
        self.rank, self.world_size, self.position = rank, world_size, position
        self.batches_per_pass = -(-size // batch_size)
        self.steps = steps or self.batches_per_pass
        self._order = -1, torch.arange(size)  # number of the last pass, and its order

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Tensor]:
        # Not "up to the end of the epoch": where an epoch ends is the Trainer's to say.
        start = self.position()
        return map(self.indices, range(start, start + self.steps))

    def indices(self, step: int) -> Tensor:
        """The sample numbers of batch `step`, counted from the start of training: (B / world_size,) int64."""
        number, slot = divmod(step, self.batches_per_pass)
        if self.shuffle and self._order[0] != number:
            self._order = number, torch.randperm(self.size, generator=generator(self.seed, "order", number))
        batch = self._order[1][slot * self.batch_size : (slot + 1) * self.batch_size]
        return batch[self.rank :: self.world_size] if self.world_size > 1 else batch


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

    def prepare_inputs(self, inputs: Tensor) -> Tensor:
        """Turn a batch of inputs as stored into what the network takes, on the device."""
        return inputs

    def example(self) -> Tensor:
        """Inputs of one training sample as the network takes them: (1, …)."""
        return self.prepare_inputs(self.splits["train"].inputs[:1])

    def on_after_batch_transfer(self, batch: Batch | Tensor, dataloader_idx: int) -> Batch | Tensor:
        if not isinstance(batch, Tensor):  # as the example is, on its way to TensorBoard's graph
            inputs, targets = batch
            batch = self.prepare_inputs(inputs), targets
        if self.trainer is None:
            return batch
        converted: Batch | Tensor = self.trainer.precision_plugin.convert_input(batch)  # uint8 had no precision before
        return converted

    def train_dataloader(self) -> DataLoader[Batch]:
        return self._loader(
            "train",
            self.batch_size,
            seed=self.seed,
            steps=self.steps_per_epoch,
            position=lambda: self.trainer.fit_loop.total_batch_idx + 1 if self.trainer else 0,
        )

    def val_dataloader(self) -> DataLoader[Batch] | list[None]:
        return self._eval_loader("val")

    def test_dataloader(self) -> DataLoader[Batch] | list[None]:
        return self._eval_loader(self.test_split)

    def _eval_loader(self, split: str) -> DataLoader[Batch] | list[None]:
        """Every sample of a split, once and in order; none if there is no such split."""
        return self._loader(split, self.eval_batch_size, shuffle=False) if split in self.splits else []

    def _loader(self, split: str, batch_size: int, **order: object) -> DataLoader[Batch]:
        data = self.splits[split]
        ranks = {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size} if self.trainer else {}
        sampler = StepSampler(len(data), batch_size, **order, **ranks)  # type: ignore[arg-type]
        return DataLoader(
            TensorBatches(data),
            sampler=sampler,
            batch_size=None,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )

"""Serves splits of tensors: a batch is a function of (seed, number of the batch)."""

import logging
import sys
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Le
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from engine.config.ranges import Count, CountOrZero, Seed
from engine.data.sampler import BLOCK_BYTES, InOrder, StepSampler
from engine.data.split import Split
from engine.data.validation import fold_of
from engine.errors import UserError, blamed_on
from engine.fence.lightning import batch_of_epoch, batch_of_training
from engine.messages import sayable
from engine.seeds import derive, generator_states, kept
from engine.steps.block import Batch, Block
from engine.steps.callback import overrides

log = logging.getLogger(__name__)

A_LIST = 'must be a list of words, such as ["cat", "dog"].'
TRIED_BYTES = 2**26  # of the samples by which `prepare_inputs` is tried, about

BATCH_HOOKS = (
    "on_before_batch_transfer",
    "transfer_batch_to_device",
    "on_after_batch_transfer",
    "train_dataloader",
)


class StepLoader(DataLoader[Batch | Block]):
    """Loads batches from where the Trainer's count of batches is: it has no state of its own.

    By these methods Lightning sees that a run may be resumed within an epoch. Of other loaders it
    warns.
    """

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Does nothing."""


class TensorDataModule(LightningDataModule):
    """Serves splits of tensors in whole batches; a subclass loads the splits.

    Args:
        seed: gives the order of the training samples.
        batch_size: samples a training step sees, over all processes together.
        eval_batch_size: the same for validation and test; it changes speed and memory, and no
            metric but a loss of your own that is no mean over samples.
        steps_per_epoch: training steps that count as one epoch; one pass over the data if None.
        num_workers: processes that gather batches ahead: only for data that does not fit in memory.
        folds: for cross-validation, the number of parts that all samples but the test's are divided
            into; None for no cross-validation.
        fold: number of the part that is "val" then, from 0.
    """

    # Warnings of Lightning's that say nothing about these data: see engine/messages.py.
    HARMLESS = (
        (
            r".*does not have many workers",
            "batches are gathered whole, in this process: workers would slow them down",
        ),
        (
            r".*Total length of `list` across ranks is zero",
            "without validation there is no loader",
        ),
    )
    test_split = "test"  # the split that testing reads; the evaluating command may choose another
    # Of a classification data set, in the order of the targets.
    class_names: list[str] | None = None
    # The cached properties that a class makes from the training samples, for `prepare_inputs`. They
    # are in checkpoints: other data are prepared for the weights as the training samples were.
    fitted: tuple[str, ...] = ()

    def __init__(
        self,
        seed: Seed,
        batch_size: Count,
        eval_batch_size: Count = 1000,
        steps_per_epoch: Count | None = None,
        num_workers: Annotated[CountOrZero, Le(1024)] = 0,
        folds: Annotated[int, Ge(2)] | None = None,
        fold: CountOrZero = 0,
    ) -> None:
        super().__init__()
        self.seed = seed
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.steps_per_epoch = steps_per_epoch
        self.num_workers = num_workers
        self.folds = folds
        self.fold = fold

    @abstractmethod
    def load(self) -> dict[str, Split]:
        """Returns the splits "train", and "val" and "test" if there are any; called once."""

    @cached_property
    def splits(self) -> dict[str, Split]:
        """Returns the splits that `load` returns, divided anew if there are `folds`.

        Random numbers that `load` draws depend on `seed` only, whenever it is called.

        Raises:
            UserError: if there is nothing to train on, or a split has no samples.
        """
        with blamed_on("datamodule"):
            with kept(derive(self.seed, "load")):
                loaded = self.load()
            self._check(loaded)
            if not self.folds:
                return loaded
            by_class = self.class_names is not None
            return fold_of(loaded, self.folds, self.fold, by_class)

    def _check(self, splits: dict[str, Split]) -> None:
        """Refuses splits that cannot be served, and names of classes that are not one for each."""
        name = f"{type(self).__name__}.load"
        if not isinstance(splits, Mapping):
            raise UserError(f"{name} returns a {kind_of(splits)}; must be a dict of splits.")
        if "train" not in splits:
            found = ", ".join(splits) or "none"
            raise UserError(f'{name} returns no split "train"; it returns: {found}.')
        named = [split for split in splits if split.startswith("val")]
        if named and "val" not in splits:
            raise UserError(f'{name} returns a split "{named[0]}": a validation reads "val".')
        for split, own in splits.items():
            if not isinstance(own, Split):
                raise UserError(
                    f'{name}: "{split}" is a {kind_of(own)}; must be a Split(inputs, targets).'
                )
            inputs, targets = own.inputs, own.targets
            for part, values in (("inputs", inputs), ("targets", targets)):
                if reason := _why_not_served(values):
                    raise UserError(f'{name}: "{split}" has {part} {reason}.')
            if len(inputs) != len(targets):
                raise UserError(
                    f'{name}: "{split}" has {len(inputs):,} inputs and {len(targets):,} targets.'
                )
            if not len(inputs):
                raise UserError(f'{name}: the split "{split}" has no samples.')
        names = class_names_of(self) or []
        if len(set(names)) < len(names):
            twice, _ = Counter(names).most_common(1)[0]
            raise UserError(
                f'{type(self).__name__}.class_names: has "{twice}" twice; each class needs its own.'
            )

    def fingerprint(self) -> str:
        """Returns a digest of all samples: a run that is resumed compares it."""
        return " ".join(f"{name} {split.digest}" for name, split in sorted(self.splits.items()))

    def prepare_inputs(self, inputs: Tensor) -> Tensor:
        """Returns, for inputs as stored (N, …), the network's inputs, each sample by itself.

        The inputs are on the network's device.
        """
        return inputs

    def remarks(self) -> list[str]:
        """Returns lines for the run's log: what somebody may not expect of the data."""
        size = len(self.splits["train"])
        all_in_one = f"batch_size={self.batch_size}: a batch has all {size:,} training samples"
        odd = [
            f'"{name}": {len(split.odd_rows):,} of {len(split):,} samples have NaN or infinite '
            f"numbers, such as {split.oddity(int(split.odd_rows[0]))} (from 0)"
            for name, split in self.splits.items()
            if len(split.odd_rows)
        ]
        return [all_in_one, *odd] if self.batch_size > size else odd

    def example(self) -> Tensor:
        """Returns inputs of one training sample as the network takes them: (1, …).

        Raises:
            UserError: if `prepare_inputs` draws random numbers, gives a sample other numbers beside
                other samples, or gives a gradient's history. A block of steps is prepared before
                its first step is seeded, so the numbers would depend on the block's length.
        """
        inputs = self.splits["train"].inputs
        most = TRIED_BYTES // (4 * max(1, inputs[0].numel()))
        inputs = inputs[: max(2, min(16, most))]
        if not overrides(self, TensorDataModule, ["prepare_inputs"]):
            return inputs[:1].clone()  # a network may work in place
        before = generator_states()
        prepared, again = (self.prepare_inputs(inputs.clone()) for _ in range(2))
        if generator_states() != before or not is_close(prepared, again, 0.0):
            raise UserError(
                f"{type(self).__name__}.prepare_inputs draws random numbers, which would not be "
                "the same when a run is resumed.\nDraw them in the network or in the loss: every "
                "training step is seeded."
            )
        if prepared.requires_grad:
            raise UserError(
                f"{type(self).__name__}.prepare_inputs gives inputs with a gradient's history, "
                "which several steps would share.\nWrite @torch.no_grad() above it."
            )
        del again
        singles = [self.prepare_inputs(sample.clone()) for sample in torch.split(inputs, 1)]
        pairs = zip(torch.split(prepared, 1), singles, strict=False)
        same = all(is_close(*pair, 1e-4, largest_of(prepared)) for pair in pairs)
        if len(prepared) != len(inputs) or not same:
            raise UserError(
                f"{type(self).__name__}.prepare_inputs gives a sample other numbers beside other "
                "samples, and it gets those of several batches at once.\nTake a mean or a maximum "
                "of all training samples, or of each sample; or normalise in the network."
            )
        return singles[0]

    def state_dict(self) -> dict[str, Any]:
        """Returns what prepares inputs as in training: `fitted`, and a sample before and after."""
        if not overrides(self, TensorDataModule, ["prepare_inputs"]):
            return {}
        inputs = self.splits["train"].inputs[:1].clone()
        sample = inputs, self.prepare_inputs(inputs.clone())
        return {"fitted": {name: getattr(self, name) for name in self.fitted}, "sample": sample}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Prepares inputs as in training from now on, or says that they are prepared otherwise."""
        vars(self).update(state.get("fitted", {}))
        if "sample" not in state:
            return
        inputs, expected = state["sample"]
        try:
            is_same = is_close(self.prepare_inputs(inputs.clone()), expected, 1e-4)
        except Exception:  # of samples of another shape, say, for which something else was made
            is_same = False
        if not is_same:
            log.warning(
                "%s.prepare_inputs gives a sample other numbers than in training.\nIf that is what "
                "it makes of the training samples, such as their mean: name the cached property "
                "in `fitted`, which checkpoints have.",
                type(self).__name__,
            )

    def on_after_batch_transfer(
        self, batch: Batch | Block | Tensor, dataloader_idx: int
    ) -> Batch | Block | Tensor:
        if isinstance(batch, Block):
            batch = batch._replace(inputs=self.prepare_inputs(batch.inputs))
        elif not isinstance(batch, Tensor):  # a tensor is the example, for TensorBoard's graph
            batch = self.prepare_inputs(batch[0]), batch[1]
        if self.trainer is None:
            return batch
        # Lightning has converted the batch before, but not uint8, which had no precision then.
        converted: Batch | Block | Tensor = self.trainer.precision_plugin.convert_input(batch)
        return converted

    def why_no_blocks(self) -> str | None:
        """Returns why each step has to fetch its batch by itself, if so."""
        if self.num_workers:
            return f"datamodule.num_workers={self.num_workers} gathers batches ahead"
        hooks = overrides(self, TensorDataModule, BATCH_HOOKS)
        return f"{type(self).__name__}.{hooks[0]} wants every batch" if hooks else None

    def train_dataloader(self) -> DataLoader[Batch | Block]:
        train = self.splits["train"]
        numbers = self.batch_size * max(1, train.inputs[0].numel() + train.targets[0].numel())
        is_whole = self.batch_size >= len(train)  # one batch serves all steps of a block
        overfits = bool(getattr(self.trainer, "overfit_batches", 0))
        number = batch_of_epoch if overfits else batch_of_training
        return self._loader(
            "train",
            self.batch_size,
            seed=self.seed,
            steps=self.steps_per_epoch,
            kind=InOrder if overfits else StepSampler,
            position=lambda: number(self.trainer) + 1 if self.trainer else 0,
            next_block=None if self.why_no_blocks() else getattr(self.trainer, "next_block", None),
            block_batches=sys.maxsize if is_whole else max(1, BLOCK_BYTES // (4 * numbers)),
        )

    def val_dataloader(self) -> DataLoader[Batch | Block] | list[None]:
        return self._eval_loader("val")

    def test_dataloader(self) -> DataLoader[Batch | Block] | list[None]:
        return self._eval_loader(self.test_split)

    def _eval_loader(self, split: str) -> DataLoader[Batch | Block] | list[None]:
        """Returns a loader of every sample of a split, once and in order; [] without the split."""
        if split not in self.splits:
            return []
        batch_size = self.eval_batch_size
        # No process is left without a sample of the last batch: a mean over none is no number.
        processes = self.trainer.world_size if self.trainer else 1
        size = len(self.splits[split])
        while batch_size < size and 0 < size % batch_size < processes:
            batch_size += 1
        return self._loader(split, batch_size)

    def _loader(
        self, split: str, batch_size: int, kind: type[StepSampler] = InOrder, **order: Any
    ) -> DataLoader[Batch | Block]:
        data = self.splits[split]
        if self.trainer:
            order |= {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}
            if not self.num_workers:
                data = data.cached_on(self.trainer.strategy.root_device)
        return StepLoader(
            data,
            sampler=kind(len(data), batch_size, **order),
            batch_size=None,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )


def class_names_of(data: object) -> list[str] | None:
    """Returns the names of a data module's classes; None if it has none, or a method of this name.

    They may be an array, and numbers of classes are words.

    Raises:
        UserError: if they are no list of words.
    """
    names: Any = getattr(data, "class_names", None)
    if names is None or callable(names):
        return None
    own = f"{type(data).__name__}.class_names"
    listed = names.tolist() if hasattr(names, "tolist") else names  # of NumPy, torch and pandas
    if not isinstance(listed, list | tuple):
        raise UserError(f"{own}: is a {kind_of(names)}; {A_LIST}")
    for name in listed:
        is_number = isinstance(name, int | np.integer) and not isinstance(name, bool)
        # In one line, and of UTF-8, as a folder's name need not be.
        is_word = isinstance(name, str) and [sayable(name)] == (name.splitlines() or [""])
        if not is_word and not is_number:
            raise UserError(f"{own}: has {name!r}; {A_LIST}")
    return list(map(str, listed))


def kind_of(value: object) -> str:
    """Returns the name of a value's class, such as list or numpy.ndarray."""
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


def _why_not_served(values: Any) -> str:
    """Says what inputs or targets have to be, if they are something else.

    Batches of one block would share the history of a gradient, which one step uses up.
    """
    if not isinstance(values, Tensor):
        way = "torch.from_numpy" if isinstance(values, np.ndarray) else "torch.tensor"
        return f"of {kind_of(values)}; must be a tensor ({way})"
    kinds = {"nested": values.is_nested, "meta": values.is_meta, "quantized": values.is_quantized}
    if values.layout is not torch.strided or any(kinds.values()):
        kind = next((name for name, is_so in kinds.items() if is_so), values.layout)
        return f"that are {kind}; must be an ordinary tensor"
    if not values.dim():
        return "that are one number; must have a dimension of samples"
    if len(values) and not values.numel():
        return f"{tuple(values.shape)}; a sample must have a number"
    return "with a gradient's history; must be without (.detach())" if values.requires_grad else ""


def is_close(one: Tensor, other: Tensor, rounding: float, largest: float | None = None) -> bool:
    """Tells whether tensors differ by no more than `rounding`, as a part of the largest number."""
    if one.dtype != other.dtype:
        return False
    if torch.equal(one, other):
        return True
    if one.shape != other.shape or not (other.is_floating_point() or other.is_complex()):
        return False
    atol = rounding * (largest_of(other) if largest is None else largest)
    return torch.allclose(one, other, rtol=rounding, atol=atol, equal_nan=True)


def largest_of(tensor: Tensor) -> float:
    """Returns the largest finite number of a tensor, without its sign; 0 for whole numbers."""
    is_number = tensor.is_floating_point() or tensor.is_complex()
    return float(tensor.abs().nan_to_num(0, 0, 0).max()) if is_number and tensor.numel() else 0.0

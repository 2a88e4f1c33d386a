"""Holds one split of a data set as tensors."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.utils.data import Dataset

from engine.steps.block import Batch, Block

# The sample numbers of a block's batches, batch after batch, or of one batch for all steps; the
# batch size; and the number of steps.
BlockIndices = tuple[Tensor, int, int]


@dataclass(frozen=True)
class Split(Dataset[Batch | Block]):
    """Holds inputs (N, …) as stored (uint8 images, float features) and targets (N, …).

    The tensors may be in memory or over memory-mapped files.
    """

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def has_labels(self) -> bool:
        """Tells whether each target is one whole number, as a class is."""
        own = self.targets
        return own.dim() == 1 and not own.is_floating_point() and own.dtype != torch.bool

    @cached_property
    def digest(self) -> str:
        """Returns a digest of all numbers, their types and shapes."""
        digest = hashlib.blake2b(digest_size=8)
        for tensor in (self.inputs, self.targets):
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def row_digests(self) -> Iterator[bytes]:
        """Returns a digest of the inputs of each sample: 16 bytes, however large a sample is."""
        flat = self.inputs.cpu().reshape(len(self), -1).contiguous().view(torch.uint8)
        return (hashlib.blake2b(row.data, digest_size=16).digest() for row in flat.numpy())

    def __getitem__(self, chosen: Tensor | BlockIndices) -> Batch | Block:
        if isinstance(chosen, Tensor):
            return self.select(chosen)
        indices, batch_size, steps = chosen
        return Block(*self.select(indices), batch_size, steps)

    @cached_property
    def odd_rows(self) -> Tensor:
        """Returns the numbers of the samples with a NaN or an infinite number: (n,) int64.

        Integers are not looked at: they may be images that do not fit in memory.
        """
        odd = torch.zeros(len(self), dtype=torch.bool)
        for values in (self.inputs, self.targets):
            if not values.is_floating_point():
                continue
            # The smallest and the largest number tell it for all, and take no memory; of 8 bits,
            # torch has none.
            if values.itemsize == 1 or not torch.stack(values.aminmax()).isfinite().all():
                odd |= ~values.isfinite().reshape(len(self), -1).all(1)
        return odd.nonzero().flatten()

    def oddity(self, row: int) -> str:
        """Returns what a sample has that is no finite number, and where: for `odd_rows`."""
        for name, values in (("inputs", self.inputs[row]), ("targets", self.targets[row])):
            if values.is_floating_point() and not values.isfinite().all():
                where = (~values.isfinite()).nonzero()[0].tolist()
                found = values[tuple(where)].item()
                return f"{found} in {place(row, where)} of the {name}"
        return ""

    def cached_on(self, device: torch.device) -> "Split":
        """Returns the split on a CUDA device, where gathering a batch needs no copy from the CPU.

        Where the split would fill more than a quarter of the device's free memory, or on another
        kind of device, the split stays where it is.
        """
        size = self.inputs.nbytes + self.targets.nbytes
        if device.type != "cuda" or size > torch.cuda.mem_get_info(device)[0] // 4:
            return self
        return Split(self.inputs.to(device), self.targets.to(device))

    def select(self, indices: Tensor) -> Batch:
        """Returns the samples with the numbers (B,): inputs (B, …), targets (B, …)."""
        indices = indices.to(self.inputs.device)
        # index_select copies whole samples. Indexing goes number by number, which takes images many
        # times as long.
        return self.inputs.index_select(0, indices), self.targets.index_select(0, indices)


def place(row: int, where: Sequence[int] = ()) -> str:
    """Returns the words for a place in a tensor, counted from 0: row and column, or row and place.

    Args:
        row: number of the sample.
        where: index of a number of the sample.
    """
    if not where:
        return f"row {row}"
    return f"row {row}, column {where[0]}" if len(where) == 1 else f"row {row}, place {list(where)}"

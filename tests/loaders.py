"""Holds loaders, data sets and samplers of other people's, and what serves them exactly."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    Sampler,
    TensorDataset,
)

from engine.data.loader import exact as exact_and_say


def exact(loader: Any, seed: int, place: Any, rank: int = 0) -> Any:
    """Makes a loader exact of which there is nothing to say."""
    said: list[str] = []
    made = exact_and_say(loader, seed, place, rank, said.append)
    assert said == []
    return made


class At:
    """A place in training that a test sets."""

    is_of_training = True

    def __init__(self, epoch: int = 0, batch: int = 0, cycles: bool = True) -> None:
        self.trains = True
        self.at = (epoch, batch)
        self.cycles = cycles
        self.number = "0"

    def epoch(self) -> int:
        return self.at[0]

    def batch(self) -> int:
        return self.at[1]

    def is_cycled(self) -> bool:
        return self.cycles

    def is_start(self) -> bool:
        return self.at == (0, 0)

    def moment(self) -> str:
        return str(self.at[0])

    def loader(self, loader: object) -> str:
        return self.number

    def is_asked_for_by(self, frame: object) -> bool:
        return self.trains


class Noisy(Dataset[dict[str, Any]]):
    """Ten samples, each with numbers of all three generators."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.read.append(index)
        drawn = [random.random(), np.random.rand(), float(torch.rand(()))]
        return {"index": index, "drawn": np.array(drawn)}

    def __len__(self) -> int:
        return 10


class Own(Noisy):
    """Has a generator that nobody knows."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = np.random.default_rng(0)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"index": index, "drawn": self.generator.random()}


class Stream(IterableDataset[int]):
    """Six numbers, one after the other."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(6))


class Moody(Sampler[int]):
    """Draws from a generator that nobody knows."""

    def __init__(self) -> None:
        self.generator = np.random.default_rng(0)

    def __iter__(self) -> Iterator[int]:
        return iter(self.generator.permutation(10).tolist())

    def __len__(self) -> int:
        return 10


class Counted:
    """A loader with a state: the number of the next batch. A batch has a random number, too."""

    def __init__(self) -> None:
        self.next = 0

    def __iter__(self) -> Iterator[tuple[int, float]]:
        while self.next < 6:
            self.next += 1
            yield self.next - 1, random.random()
        self.next = 0

    def state_dict(self) -> dict[str, Any]:
        return {"next": self.next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.next = state["next"]


def noisy_collate(samples: list[dict[str, Any]]) -> Any:
    return [sample["index"] for sample in samples], samples, random.random(), torch.rand(2)


def shuffled(workers: int = 0, **options: Any) -> DataLoader[Any]:
    return DataLoader(
        Noisy(),
        batch_size=3,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=noisy_collate,
        **options,
    )


def epochs_of(loader: Any, place: At, epochs: int) -> list[list[Any]]:
    """Takes whole epochs; other numbers are drawn in between, as training does."""
    taken = []
    for epoch in range(epochs):
        place.at = (epoch, 0)
        batches = []
        for batch in loader:
            torch.rand(epoch + 1)
            random.random()
            batches.append(batch)
        taken.append(batches)
    return taken


NUMBERS = TensorDataset(torch.arange(10))


class Permuted:
    """A loader of a user's own, with a generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        return iter(torch.randperm(10, generator=self.generator).tolist())


class Draws(Stream):
    """Six numbers of three generators."""

    def __iter__(self) -> Iterator[Any]:
        for _ in range(6):
            yield random.random(), np.random.rand(), torch.rand(())


def stateful(place: At) -> Any:
    """Makes a loader with a state exact, of which it is said what the state has to have."""
    said: list[str] = []
    made = exact_and_say(Counted(), 5, place, 0, said.append)
    (text,) = said
    assert text.startswith("Counted: it is no DataLoader of PyTorch's. Within an epoch,")
    return made

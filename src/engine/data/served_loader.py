"""Serves other people's loaders as they are, with their random numbers seeded."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from engine.fence.lightning import Place, restart_workers
from engine.seeds import derive, kept, seed_all

END = object()


class Served:
    """Looks like the loader that it serves, but for what is defined here.

    Args:
        loader: the user's.
        seed: the run's.
        place: tells how far training is.
    """

    def __init__(self, loader: Any, seed: int, place: Place) -> None:
        self._loader = loader
        self._seed = seed
        self._place = place

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_loader"], name)

    def __len__(self) -> int:
        return len(self._loader)


class EpochLoader(Served):
    """Serves a loader as it is, each batch seeded by (seed, epoch, number of the batch).

    Workers that the loader starts have one seed for the whole epoch.
    """

    def __iter__(self) -> Iterator[Any]:
        if isinstance(self._loader, DataLoader):
            restart_workers(self._loader)  # workers of the epoch before have states of their own
        stream = f"loader/{self._place.epoch()}"
        number = self._place.batch()
        if number == 0:  # within an epoch, the loader's own state may have set them
            for generator in generators_of(self._loader):
                generator.manual_seed(derive(self._seed, stream))
        with self._seeded(stream, 0):
            batches = iter(self._loader)
        return self._served(batches, stream, number)

    def _served(self, batches: Iterator[Any], stream: str, number: int) -> Iterator[Any]:
        while True:
            with self._seeded(stream, number):
                batch = next(batches, END)
            if batch is END:
                return
            number += 1
            self._note(number)
            yield batch

    @contextlib.contextmanager
    def _seeded(self, stream: str, number: int) -> Iterator[None]:
        with kept():
            seed_all(derive(self._seed, stream, number))
            yield

    def _note(self, number: int) -> None:
        """Is called after so many batches of an epoch."""


class StatefulLoader(EpochLoader):
    """Saves the loader's own state, too."""

    def __init__(self, loader: Any, seed: int, place: Place) -> None:
        super().__init__(loader, seed, place)
        self._states: dict[int, Any] = {}  # by the number of batches served in the epoch

    def _note(self, number: int) -> None:
        self._states[number] = self._loader.state_dict()
        self._states.pop(number - 2, None)  # Lightning may fetch one batch ahead

    def state_dict(self) -> dict[str, Any]:
        """Returns the loader's state where training is within an epoch."""
        batch = self._place.batch()
        if not batch or not self._states:
            return {}
        latest = self._states[max(self._states)]  # of a loader that ended before another one
        state: dict[str, Any] = self._states.get(batch, latest)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:
            self._loader.load_state_dict(state)


def generators_of(loader: Any) -> list[torch.Generator]:
    """Returns the generators that a loader and its samplers have as attributes."""
    samplers = [getattr(loader, name, None) for name in ("sampler", "batch_sampler")]
    inner = [getattr(sampler, "sampler", None) for sampler in samplers]
    owners = [loader, *samplers, *inner]
    values = [value for owner in owners for value in getattr(owner, "__dict__", {}).values()]
    return [value for value in values if isinstance(value, torch.Generator)]

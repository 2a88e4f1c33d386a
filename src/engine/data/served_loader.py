"""Serves other people's loaders as they are, with their random numbers seeded."""

import copy
import hashlib
import inspect
import io
import itertools
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from engine import processes
from engine.fence.lightning import Place, ServesLoader, restart_workers, wrapped_sampler
from engine.fence.torch import iterates_itself, with_own_workers
from engine.seeds import derive, kept

END = object()
SAMPLERS = ("sampler", "batch_sampler")  # attributes; a sampler need not be a Sampler


class Served(ServesLoader):
    """Looks like the loader that it serves, but for what is defined here.

    Args:
        loader: the user's.
        seed: the run's.
        place: tells how far training is.
    """

    def __init__(self, loader: Any, seed: int, place: Place) -> None:
        self._loader = self._source = loader
        self._seed = seed
        self._place = place
        self._pass: Generator[Any, None, None] | None = None

    def _instead(self, batches: Generator[Any, None, None]) -> Iterator[Any]:
        """Ends the pass before: workers of the next one would have a copy of its queues."""
        self.end_pass()
        self._pass = batches
        return batches

    def end_pass(self) -> None:
        """Ends the pass of the epoch. Lightning leaves it where the last batch was served.

        Workers that nobody ends are waited for when Python collects them: 5 seconds each.
        """
        if self._pass is not None:
            self._pass.close()
            self._pass = None

    def __copy__(self) -> Any:
        return copy.copy(self._loader)

    def __deepcopy__(self, known: dict[int, Any]) -> Any:
        return copy.deepcopy(self._loader, known)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_loader"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets what is not of this class on the user's loader, such as another `collate_fn`."""
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            setattr(self._loader, name, value)

    def __len__(self) -> int:
        return len(self._loader)


class EpochLoader(Served):
    """Serves a loader as it is, each batch seeded by (seed, loader, epoch, number of the batch).

    Workers that the loader starts have one seed for a whole pass. A loader that begins anew, as a
    longer one beside it goes on, counts on.

    Args:
        loader: the user's.
        seed: the run's.
        place: tells how far training is.
        say: is told if each of several processes trains on the same batches; None: nobody asks.
    """

    _ended = ""  # the name of the last whole pass
    _given = 0  # the number of the last batch

    def __init__(
        self, loader: Any, seed: int, place: Place, say: Callable[[str], None] | None = None
    ) -> None:
        super().__init__(loader, seed, place)
        self._say = say

    def __iter__(self) -> Iterator[Any]:
        asks: Any = inspect.currentframe()
        place = self._place
        stream = f"loader/{place.loader(self)}/{place.moment()}"
        if place.is_asked_for_by(asks.f_back):
            begins_anew = place.is_cycled() and place.batch() > 0 and self._ended == stream
            first = self._given if begins_anew else place.batch()
            return self._instead(self._served(stream, first, first if begins_anew else 0))
        # Code of a user's asks for a pass, while the one of the epoch goes on.
        make = partial(with_own_workers, self._loader)
        return self._seeded(make, f"{stream}/{place.batch()}/again")

    def _served(self, stream: str, number: int, start: int) -> Generator[Any, None, None]:
        # All this is done for the first batch: see `ExactLoader`.
        if number == 0:  # within an epoch, the loader's own state may have set them
            seed_each(generators_of(self._loader), self._seed, stream)
        batches = self._seeded(self._anew, stream, number, start)
        for done, batch in enumerate(batches, start=number + 1):
            self._note(done)
            self._given = done
            if self._say is not None:
                self._compare(batch, self._say)
                self._say = None
            yield batch
        self._ended = stream

    def _seeded(
        self, make: Callable[[], Any], stream: str, first: int = 0, start: int = 0
    ) -> Iterator[Any]:
        """Yields the batches of a loader, each seeded by its number.

        Args:
            make: returns the loader.
            stream: the name of the epoch.
            first: the number of the first batch that the loader gives.
            start: the number of the batch with which this pass began.
        """
        with kept(derive(self._seed, stream, start)):
            batches = iter(make())
        for number in itertools.count(first):
            with kept(derive(self._seed, stream, number)):
                batch = next(batches, END)
            if batch is END:
                return
            yield batch

    def _anew(self) -> Any:
        """Returns a loader with new workers: those of the epoch before have states of their own.

        A loader with an `__iter__` of its own may count its epochs, and a copy would have the state
        of one that saves it.
        """
        is_plain = isinstance(self._loader, DataLoader) and not iterates_itself(self._loader)
        if is_plain and not hasattr(self._loader, "state_dict"):
            return with_own_workers(self._loader)
        if isinstance(self._loader, DataLoader):
            restart_workers(self._loader)
        return self._loader

    def _note(self, number: int) -> None:
        """Is called after so many batches of an epoch."""

    def _compare(self, batch: Any, say: Callable[[str], None]) -> None:
        """Tells whether each of several processes has got the same first batch."""
        if not processes.is_one_of_several():
            return
        first, *others = processes.gathered(_digest(batch))
        if first and others and set(others) == {first}:
            say(
                f"{type(self._loader).__name__}: each of {len(others) + 1} processes has got the "
                "same first batch, and trains on it.\nIf the data set is iterable, its __iter__ "
                "has to share the samples out, by torch.distributed.get_rank()."
            )


class StatefulLoader(EpochLoader):
    """Saves the loader's own state, too."""

    _states: Mapping[int, dict[str, Any]] = {}  # by the number of batches served in the epoch

    def _note(self, number: int) -> None:
        others = {own: state for own, state in self._states.items() if own != number - 2}
        # Lightning may fetch one batch ahead.
        self._states = {**others, number: self._loader.state_dict()}

    def state_dict(self) -> dict[str, Any]:
        """Returns the loader's state where training is within an epoch."""
        batch = self._place.batch()
        if not batch or not self._states:
            return {}
        latest = self._states[max(self._states)]  # of a loader that ended before another one
        return self._states.get(batch, latest)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:
            self._loader.load_state_dict(state)


def generators_of(loader: Any) -> list[torch.Generator]:
    """Returns the generators that a loader has, and those of its samplers, at any depth."""
    owners = [loader]
    found: list[torch.Generator] = []
    for owner in owners:
        values = list(getattr(owner, "__dict__", {}).items())
        inner = [value for name, value in values if name in SAMPLERS or isinstance(value, Sampler)]
        owners += [one for one in [*inner, wrapped_sampler(owner)] if not _is_in(one, owners)]
        generators = [value for _, value in values if isinstance(value, torch.Generator)]
        found += [one for one in generators if not _is_in(one, found)]
    return found


def seed_each(generators: Sequence[torch.Generator], seed: int, stream: str) -> None:
    """Seeds generators, each with a number of its own."""
    for number, generator in enumerate(generators, start=1):
        generator.manual_seed(derive(seed, stream, number))


def _is_in(value: object, others: Sequence[object]) -> bool:
    """Tells whether an object is among others; an object may equal another one."""
    return any(value is other for other in others)


def _without_views(value: Any) -> Any:
    """Returns what a batch has; a view would be saved with all that it is a view of."""
    if isinstance(value, dict):
        return {key: _without_views(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_views(one) for one in value]
    return value.clone() if isinstance(value, torch.Tensor) else value


def _digest(batch: Any) -> str:
    """Returns a digest of a batch's content; "" where it has no bytes."""
    content = io.BytesIO()
    try:
        torch.save(_without_views(batch), content)
    except Exception:  # of a class of the user's
        return ""
    return hashlib.sha256(content.getbuffer()).hexdigest()

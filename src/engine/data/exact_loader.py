"""Serves the batches of a DataLoader, each a function of (seed, epoch, its number)."""

import contextlib
import copy
import hashlib
import inspect
import itertools
import random
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from engine.data.served_loader import Served, generators_of, seed_each
from engine.fence.lightning import Place, restart_workers
from engine.fence.torch import show_in_worker
from engine.kept import values
from engine.kept.attributes import marks_of
from engine.kept.values import GENERATORS
from engine.seeds import derive, kept, seed_all

COMPARED = 100  # batches of an epoch, to tell two orders apart
DIFFERENT = (
    "it gave two different samples for one index and one seed, or its collate function two "
    "batches. A resumed run may get other samples.\nDraw random numbers by the functions of the "
    "modules random, numpy.random and torch: these are seeded."
)
OWN = (
    "a generator of its own draws in each worker's copy. No checkpoint has it, so a resumed run "
    "draws other numbers.\nDraw random numbers by the functions of the modules random, "
    "numpy.random and torch: these are seeded."
)
KEPT = (
    "a worker keeps random numbers that it drew for the first sample, in its copy. No checkpoint "
    "has them, so a resumed run draws others.\nDraw them when the data set is made."
)


class ExactLoader(Served):
    """Serves the batches of a DataLoader from any place of an epoch on.

    The order of a whole epoch is drawn at once, seeded by (seed, loader, epoch). Each batch, its
    random transforms and its collate function included, is seeded by (seed, loader, epoch, number
    of the batch), whichever process makes it.

    Workers begin with an epoch's first batch: hooks of the start, and what a resumed run restores,
    come before. They have the data set as it is then: if it has changed since persistent workers
    began, there are new ones.
    """

    def __init__(
        self,
        loader: DataLoader[Any],
        seed: int,
        place: Place,
        rank: int,
        say: Callable[[str], None],
    ) -> None:
        super().__init__(loader, seed, place)
        self._say = say
        self._rank = rank
        self._order = Order(loader, seed)
        self._epoch = -1
        self._round = 0  # several in an epoch, where a longer loader is beside this one
        self._has_ended = False
        self._copied: dict[str, Any] | None = None  # what workers have a copy of, as it was
        self._source = self._batches = self._in_order(self._order, loader.persistent_workers)

    def _in_order(self, order: "Order", has_persistent_workers: bool) -> DataLoader[Any]:
        """Returns a loader of the batches in an order."""
        loader = self._loader
        return DataLoader(
            _Batches(loader, self._seed, self._rank),
            batch_size=None,
            sampler=order,
            collate_fn=_as_it_is,
            num_workers=loader.num_workers,
            pin_memory=loader.pin_memory,
            timeout=loader.timeout,
            worker_init_fn=partial(_begin_worker, loader.worker_init_fn, loader.dataset),
            multiprocessing_context=loader.multiprocessing_context,
            generator=torch.Generator(),  # else each start of workers would draw a number
            prefetch_factor=loader.prefetch_factor,
            persistent_workers=has_persistent_workers,
        )

    def __iter__(self) -> Iterator[Any]:
        asks: Any = inspect.currentframe()
        trains = self._place.is_asked_for_by(asks.f_back)
        return self._of_training() if trains else self._of_all()

    def _of_all(self) -> Iterator[Any]:
        """Serves a whole pass to code of a user's, which may be within an epoch of training."""
        place, order = self._place, Order(self._loader, self._seed)
        order.checks = False
        order.stream = f"{place.loader(self)}/{place.moment()}/{place.batch()}/again"
        for batch, _ in self._in_order(order, has_persistent_workers=False):
            yield batch

    def _of_training(self) -> Iterator[Any]:
        place = self._place
        first = 0
        is_next_pass = self._has_ended and place.is_cycled() and place.batch() > 0
        if is_next_pass and self._epoch == place.epoch():
            self._round += 1
        else:
            self._round, first = divmod(place.batch(), max(1, len(self)))
            if self._round and not place.is_cycled():
                first = len(self)
        self._epoch = place.epoch()
        self._has_ended = False
        # A draw may be counted, but for one of a copy in a worker.
        self._order.checks &= place.is_start() or self._loader.num_workers > 0
        self._set_epoch(self._epoch)
        number = place.loader(self)
        self._order.stream = f"{number}/{place.moment()}/{self._round}"
        self._order.first = first
        # `get_worker_info().seed` follows from it. Persistent workers have one for all epochs.
        stream = number if self._loader.persistent_workers else self._order.stream
        workers: Any = self._batches.generator
        workers.manual_seed(derive(self._seed, f"workers/{stream}"))
        return self._instead(self._served())

    def _set_epoch(self, epoch: int) -> None:
        samplers: list[Any] = [self._loader.sampler, getattr(self._order.sampler, "sampler", None)]
        for sampler in samplers:
            if hasattr(sampler, "set_epoch"):  # Lightning sets it too late for a resumed run
                sampler.set_epoch(epoch)

    def _served(self) -> Generator[Any, None, None]:
        own: Any = self._batches.dataset
        own.collate = self._loader.collate_fn  # it may have been set since
        if self._loader.num_workers:
            if self._copied != (now := self._marks()):
                restart_workers(self._batches)
            self._copied = now
        for number, (batch, why_not) in enumerate(self._batches, start=self._order.first + 1):
            if why_not:
                self._say(f"{type(self._loader.dataset).__name__}: not exact: {why_not}")
            if number == len(self) and self._order.has_changed():
                self._say(
                    f"{type(self._order.inner).__name__}: something has changed it within an "
                    "epoch. The order of an epoch is drawn at its start, so it counts from the "
                    "next one on."
                )
            yield batch
        self._has_ended = True

    def _marks(self) -> dict[str, Any]:
        """Returns what is equal as long as a copy in a worker is what is in this process."""
        collate = self._loader.collate_fn
        return {"": id(collate), **marks_of(self._loader.dataset, collate)}

    def state_dict(self) -> dict[str, Any]:
        """Returns a digest of the epoch's order; the place in the epoch says the rest.

        Where something has changed the sampler, it would draw another order: this one is in it.
        """
        is_within = 0 < self._place.batch() < len(self)
        if is_within and self._copied is not None and self._marks() != self._copied:
            self._say(
                f"{type(self._loader.dataset).__name__}: not exact: it changes within an epoch. "
                "Workers have it as it was when the epoch began, and those of a resumed run as it "
                "was at the checkpoint.\nChange it between epochs, or use num_workers=0."
            )
        return {"rank": self._rank, "epoch": self._epoch, **self._order.state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Says so if the sampler has another order now, as one that the clock has decided."""
        if "stream" not in state or state["rank"] != self._rank:
            return
        self._set_epoch(state["epoch"])
        if "order" in state:
            self._order.kept = {state["stream"]: values.made(state["order"])}
            if "inner" in state:
                values.filled(self._order.inner, values.made(state["inner"]))
        elif self._order.digest(self._order.draw(state["stream"])) != state["digest"]:
            self._say(
                f"{type(self._loader).__name__}: not exact: its sampler has another order than "
                "before this run was stopped.\nSeed what the sampler draws when it is made."
            )


def _its_own(drawn: Any) -> Any:
    """Returns a batch of indices in memory of its own; an index stays as it is."""
    if isinstance(drawn, list):
        return [_its_own(one) for one in drawn] if drawn and not _is_index(drawn[0]) else [*drawn]
    if _is_index(drawn):
        return drawn
    return drawn.clone() if isinstance(drawn, Tensor) else drawn.copy()


def _is_index(drawn: Any) -> bool:
    return not isinstance(drawn, list | np.ndarray | Tensor) or getattr(drawn, "ndim", 1) == 0


class Order(Sampler[tuple[str, int, Any, bool]]):
    """Yields the batches of an epoch from one on: name of the order, number, indices.

    A last value says whether to find out that the data set can be drawn from again: once.
    """

    def __init__(self, loader: DataLoader[Any], seed: int) -> None:
        batches = loader.batch_sampler
        self.sampler: Any = loader.sampler if batches is None else batches
        self._generators = generators_of(loader)
        self._seed = seed
        self.checks = True
        self.drawn: dict[str, str] = {}  # name and digest of the last order
        self.kept: dict[str, list[Any]] = {}  # an order of before this run was stopped, by name
        self._last: list[Any] = []
        self._first = self._now = self._marks()
        self.stream = "0/0/0"  # name of the next order
        self.first = 0  # number of the first batch of it

    def draw(self, stream: str) -> list[Any]:
        """Draws the indices of all batches of an epoch.

        A sampler may go on without end. One that ends may count its epochs behind its last index.
        """
        if stream in self.kept:
            return self.kept[stream]
        name = f"order/{stream}"
        with kept(derive(self._seed, name)):
            seed_each(self._generators, self._seed, name)
            # A sampler may give one list again and again, with other numbers in it.
            drawn = map(_its_own, itertools.islice(self.sampler, len(self) + 1))
            return list(drawn)[: len(self)]

    def leaves(self, loader: DataLoader[Any]) -> None:
        """Draws from a copy of the sampler from now on: some count what was drawn from them.

        The copy shares data sets and modules.
        """
        inner = [getattr(own, "__dict__", {}) for own in (self.sampler, self.inner)]
        held = [value for own in inner for value in own.values()]
        large = [value for value in held if isinstance(value, Dataset | nn.Module)]
        shared = [loader.dataset, *large, *self._generators]
        with contextlib.suppress(Exception):  # of a sampler that cannot be copied
            self.sampler = copy.deepcopy(self.sampler, {id(own): own for own in shared})

    def digest(self, drawn: list[Any]) -> str:
        """Returns a digest of the number of an epoch's batches, and of the indices of the first."""
        return hashlib.sha256(repr((len(self), drawn[:COMPARED])).encode()).hexdigest()[:16]

    def state(self) -> dict[str, Any]:
        """Returns name and digest of the last order, and itself where the sampler has changed.

        What has no attributes, such as a list, is in it, too: nobody else has it.
        """
        state: dict[str, Any] = dict(self.drawn)
        if self._last and self._marks() != self._first:
            with contextlib.suppress(TypeError):  # of indices that no checkpoint has
                state["order"], _ = values.plain(self._last)
                if not getattr(self.inner, "__dict__", None):
                    state["inner"], _ = values.plain(self.inner)
        return state

    def has_changed(self) -> bool:
        """Tells whether a sampler that has changed since its last order would draw another one."""
        return self._marks() != self._now and not same(self.draw(self.stream), self._last)

    @property
    def inner(self) -> Any:
        """Returns the sampler that chooses samples, where another one makes batches of them."""
        return getattr(self.sampler, "sampler", self.sampler)

    def _marks(self) -> list[Any]:
        samplers = (self.sampler, getattr(self.sampler, "sampler", None))
        return [values.mark(getattr(own, "__dict__", None) or own) for own in samplers]

    def __iter__(self) -> Iterator[tuple[str, int, Any, bool]]:
        drawn = self._last = self.draw(self.stream)
        self._now = self._marks()
        self.drawn = {"stream": self.stream, "digest": self.digest(drawn)}
        for number in range(self.first, len(drawn)):
            yield self.stream, number, drawn[number], self.checks
            self.checks = False

    def __len__(self) -> int:
        return len(self.sampler)


class _Batches(Dataset[tuple[Any, str]]):
    """Makes whole batches, each seeded, in whichever process."""

    def __init__(self, loader: DataLoader[Any], seed: int, rank: int) -> None:
        self._dataset = loader.dataset
        self.collate = loader.collate_fn
        self._is_batched = loader.batch_sampler is not None
        self._seed = seed
        self._rank = rank

    def __getitem__(self, chosen: tuple[str, int, Any, bool]) -> tuple[Any, str]:
        stream, number, indices, is_checked = chosen
        seed = derive(self._seed, f"batch/{self._rank}/{stream}", number)
        # A worker has no states of others.
        with kept() if get_worker_info() is None else contextlib.nullcontext():
            why_not = self._why_not_again(indices, seed) if is_checked else ""
            seed_all(seed)
            return self.collate(self._samples(indices)), why_not

    def _samples(self, indices: Any) -> Any:
        if not self._is_batched:
            return self._dataset[indices]
        if whole := getattr(self._dataset, "__getitems__", None):
            return whole(indices)
        return [self._dataset[index] for index in indices]

    def _why_not_again(self, indices: Any, seed: int) -> str:
        """Says why a batch is not the same when it is made again; here, its first sample.

        More draws than one would count, but for those from a copy in a worker.
        """
        is_copy = get_worker_info() is not None
        first = [next(iter(indices))] if self._is_batched and not is_copy else indices
        kinds = GENERATORS if is_copy else (object,)
        made, drawn = [], []
        marks = [marks_of(self._dataset, self.collate, kinds=kinds)]
        for _ in range(2):
            seed_all(seed)
            samples = self._samples(first)
            made.append(self.collate(samples) if is_copy else samples)
            drawn.append([random.random(), np.random.random(), torch.rand(()).item()])
            marks.append(marks_of(self._dataset, self.collate, kinds=kinds))
        if not is_copy:
            # What this process keeps, and has changed by the first draw, is in checkpoints.
            return DIFFERENT if not same(*made) and marks[0] == marks[1] else ""
        if not same(*made):
            return DIFFERENT
        if marks[1] != marks[2]:  # one that each sample seeds has the same state after each draw
            return OWN
        return KEPT if drawn[0] != drawn[1] else ""


def same(one: Any, other: Any) -> bool:
    """Tells whether nested samples are the same; what cannot be compared counts as the same."""
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, Sequence) and not isinstance(one, str | bytes):
        return len(one) == len(other) and all(map(same, one, other))
    try:
        if isinstance(one, Tensor):
            return torch.equal(one.nan_to_num(), other.nan_to_num())
        ours = np.asarray(one)
        theirs = np.asarray(other)
        is_number = ours.dtype.kind in "fc"
        return ours.dtype == object or np.array_equal(ours, theirs, equal_nan=is_number)
    except Exception:  # a sparse tensor, or a class with a length and names
        return True


def _begin_worker(
    begin: Callable[[int], None] | None, dataset: Dataset[Any], worker_id: int
) -> None:
    """Does what the user's loader does in a new worker, which asks for the user's data set."""
    show_in_worker(dataset)
    if begin:
        begin(worker_id)


def _as_it_is(batch: Any) -> Any:
    return batch

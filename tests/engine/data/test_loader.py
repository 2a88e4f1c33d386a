"""Other people's loaders: what is served is skipped in, restored and left alone."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    Sampler,
    Subset,
    WeightedRandomSampler,
)

from engine.data import served_loader
from engine.data.exact_loader import same
from engine.data.loader import exact as exact_and_say
from engine.data.served_loader import EpochLoader, StatefulLoader
from engine.fence.lightning import restart_workers
from loaders import NUMBERS, At, Counted, Draws, Moody, Stream, exact, shuffled, stateful


class InValidation(At):
    """A place in training that a validation finds."""

    is_of_training = False


WEIGHTS = WeightedRandomSampler([1.0] * 9 + [50.0], 12)
LOADERS = {
    "in order": lambda: DataLoader(NUMBERS, batch_size=4),
    "last one dropped": lambda: DataLoader(NUMBERS, batch_size=4, shuffle=True, drop_last=True),
    "weighted": lambda: DataLoader(NUMBERS, batch_size=4, sampler=WEIGHTS),
    "a batch sampler": lambda: DataLoader(
        NUMBERS, batch_sampler=BatchSampler(RandomSampler(NUMBERS), 4, False)
    ),
    "no batches": lambda: DataLoader(NUMBERS, batch_size=None, shuffle=True),
    "__getitems__": lambda: DataLoader(Subset(NUMBERS, range(1, 9)), batch_size=4, shuffle=True),
}


@pytest.mark.parametrize("kind", LOADERS)
def test_every_kind_of_sampler_is_skipped_in(kind: str) -> None:
    make = LOADERS[kind]
    plain = make()
    whole = list(exact(make(), 5, At(1, 0)))
    assert len(whole) == len(plain)
    numbers = torch.cat([batch[0].reshape(-1) for batch in whole])
    if kind == "in order":
        assert same(whole, list(plain))
    elif kind == "weighted":
        assert (numbers == 9).sum() > 6  # of 12, 10 are expected
    else:
        assert len(numbers.unique()) == len(numbers) > 7
    assert same(list(exact(make(), 5, At(1, 1))), whole[1:])


def test_a_shorter_loader_begins_anew_with_another_order() -> None:
    place = At(0, 0)
    loader = exact(DataLoader(NUMBERS, batch_size=5, shuffle=True), 5, place)
    passes = []
    for batch in (0, 2, 4):
        place.at = (0, batch)
        passes.append(list(loader))
    assert not same(passes[0], passes[1])
    resumed = exact(DataLoader(NUMBERS, batch_size=5, shuffle=True), 5, At(0, 3))
    assert same(list(resumed), passes[1][1:])
    assert same(list(resumed), passes[2])
    ended = exact(DataLoader(NUMBERS, batch_size=5), 5, At(0, 3, cycles=False))
    assert list(ended) == []


def test_a_loader_that_is_begun_twice_begins_at_the_same_batch() -> None:
    loader = exact(shuffled(), 5, At(1, 1))
    first = next(iter(loader))
    assert same(next(iter(loader)), first)


def test_a_pass_of_somebody_else_changes_nothing() -> None:
    """A callback may look at all samples before the epoch's first batch."""
    loader = exact(shuffled(), 5, At(1, 0))
    first = list(loader)
    assert same(list(loader), first)


def test_looks_like_the_loader_that_it_serves() -> None:
    plain = shuffled()
    loader = exact(plain, 5, At())
    assert isinstance(loader, DataLoader)
    assert loader.dataset is plain.dataset
    assert (loader.batch_size, len(loader)) == (3, 4)


class Custom(DataLoader[Any]):
    """Does something of its own."""

    def __iter__(self) -> Any:
        return super().__iter__()


class Endless(Sampler[int]):
    """Never ends."""

    def __iter__(self) -> Iterator[int]:
        while True:
            yield 0


@pytest.mark.parametrize(
    ("loader", "reason"),
    [
        (DataLoader(Stream(), batch_size=2), "DataLoader: Stream is iterable and has no numbers"),
        (DataLoader(NUMBERS, sampler=Moody()), "DataLoader: Moody draws another order"),
        (DataLoader(NUMBERS, batch_sampler=Endless()), "DataLoader: Endless has no length"),
        (
            DataLoader(NUMBERS, batch_size=2, sampler=Endless()),
            "DataLoader: Endless has no length",
        ),
        (Custom(NUMBERS), "Custom: it has an __iter__ of its own"),
        ([1, 2, 3], "list: it is no DataLoader of PyTorch's"),
    ],
    ids=["iterable", "sampler", "endless", "endless in batches", "own class", "list"],
)
def test_what_cannot_be_skipped_in_is_said_once(loader: Any, reason: str) -> None:
    said: list[str] = []
    made = exact_and_say(loader, 5, At(), 0, said.append)
    assert type(made) is EpochLoader
    assert not hasattr(made, "state_dict")
    (text,) = said
    assert text.startswith(reason)
    assert "last.ckpt is written there only" in text


@pytest.mark.parametrize(
    "make",
    [
        shuffled,
        lambda: shuffled(workers=1),
        lambda: shuffled(generator=torch.Generator()),
        lambda: DataLoader(Draws(), 2, num_workers=1, persistent_workers=True),
        lambda: DataLoader(Draws(), 2, generator=torch.Generator()),
    ],
    ids=["plain", "workers", "generator", "stream in workers", "stream and generator"],
)
def test_a_validation_draws_what_depends_on_its_place(make: Any) -> None:
    """As it happened: persistent workers, and generators of a loader's own, went on drawing."""

    def passes(*names: str) -> list[Any]:
        loader = exact_and_say(make(), 5, place := InValidation(), 0, print)
        taken = []
        for place.number in names:
            taken.append(list(loader))
        if isinstance(loader, DataLoader):
            restart_workers(loader)
        return taken

    whole = passes("val/9", "val/19", "val/29")
    assert not same(whole[1], whole[2])
    assert same(passes("val/29"), whole[2:])


def test_a_validation_says_who_seeds_its_generator_and_nothing_of_resuming() -> None:
    said: list[str] = []
    exact_and_say(Custom(NUMBERS, generator=torch.Generator()), 5, InValidation(), 0, said.append)
    (text,) = said
    assert text.startswith("Custom: its torch.Generator is seeded by the run's seed")
    served = exact_and_say(shuffled(), 5, InValidation(), 0, print)
    for other in (served, []):
        assert exact_and_say(other, 5, InValidation(), 0, print) is other


@pytest.mark.parametrize("ahead", [0, 1])
def test_the_state_of_a_loader_is_that_of_the_batches_trained_on(ahead: int) -> None:
    place = At()
    loader = stateful(place)
    assert type(loader) is StatefulLoader
    assert loader.state_dict() == {}
    whole = list(loader)
    assert [number for number, _ in whole] == [0, 1, 2, 3, 4, 5]
    batches = iter(loader)
    for _ in range(3 + ahead):
        next(batches)
    place.at = (0, 3)
    resumed = stateful(place)
    resumed.load_state_dict(loader.state_dict())
    random.random()
    assert list(resumed) == whole[3:]


class CountedWorkers(DataLoader[Any]):
    """A loader with workers and a state: the number of batches that it has given."""

    given = 0

    def __iter__(self) -> Any:
        for batch in super().__iter__():
            self.given += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        return {"given": self.given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.given = state["given"]


def test_a_state_is_that_of_the_loader_that_serves_though_its_workers_persist() -> None:
    place = At()
    loader = CountedWorkers(Stream(), 2, num_workers=1, persistent_workers=True)
    served = exact_and_say(loader, 5, place, 0, lambda text: None)
    for number, _ in enumerate(served, start=1):
        place.at = (0, number)
        assert served.state_dict() == {"given": number}
    assert number == 3
    restart_workers(served)


class HoldsIterator(Counted):
    """Keeps an iterator under the name that PyTorch has for one."""

    _iterator: Any = "its own"


def test_a_loader_of_another_class_keeps_its_attributes() -> None:
    loader = HoldsIterator()
    assert len(list(exact_and_say(loader, 5, At(), 0, lambda text: None))) > 0
    assert loader._iterator == "its own"


def test_at_an_epochs_end_a_loader_has_no_state() -> None:
    """A loader that is at its end would give the next epoch no batch."""
    place = At()
    loader = stateful(place)
    list(loader)
    place.at = (1, 0)
    assert loader.state_dict() == {}
    resumed = stateful(place)
    resumed.load_state_dict(loader.state_dict())
    assert len(list(resumed)) == 6


def test_a_loader_that_ended_before_a_longer_one_keeps_its_last_state() -> None:
    place = At()
    loader = stateful(place)
    list(loader)
    place.at = (0, 8)
    assert loader.state_dict() == {"next": 6}


def test_a_pass_of_a_users_leaves_that_of_the_epoch_where_it_is() -> None:
    place: Any = At()
    loader = EpochLoader(DataLoader(Stream(), batch_size=2), 0, place)
    whole = [batch.tolist() for batch in loader]
    epoch = iter(loader)
    begun = [next(epoch).tolist()]
    place.trains = False
    assert [batch.tolist() for batch in loader] == whole
    assert begun + [batch.tolist() for batch in epoch] == whole == [[0, 1], [2, 3], [4, 5]]


class MakesIterators(DataLoader[Any]):
    """Makes batches in a way of its own, below `__iter__`."""

    def _get_iterator(self) -> Any:
        return iter([torch.full((2,), 7.0)])


def test_a_loader_with_iterators_of_its_own_keeps_them() -> None:
    """As it happened: it was served as if it were a plain one."""
    made = exact_and_say(MakesIterators(NUMBERS), 5, At(), 0, lambda text: None)
    assert type(made) is EpochLoader
    assert [batch.tolist() for batch in made] == [[7.0, 7.0]]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_that_begins_anew_within_an_epoch_draws_other_numbers(workers: int) -> None:
    """As it happened: workers had the seed of the pass before, and numbers of batches came twice.

    Lightning fetches a batch ahead, so that the place is one behind.
    """
    place = At()
    loader: DataLoader[Any] = DataLoader(Draws(), 2, num_workers=workers)
    served = exact_and_say(loader, 5, place, 0, lambda text: None)
    passes = [list(served)]
    for _ in range(2):
        place.at = (0, len(passes) * len(passes[0]) - 1)
        passes.append(list(served))
    drawn = [tuple(map(str, batch)) for taken in passes for batch in taken]
    assert len(set(drawn)) == len(drawn) > 3
    restart_workers(served)


def test_a_view_is_compared_by_what_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it happened: a batch of 128 bytes took 0.8 s and all that lay behind it."""
    sizes: list[int] = []
    save = torch.save

    def saved(batch: Any, content: Any) -> None:
        save(batch, content)
        sizes.append(content.tell())

    monkeypatch.setattr(torch, "save", saved)
    whole = torch.arange(1_000_000)
    digests = [
        served_loader._digest({"x": own}) for own in (whole[:4], torch.arange(4), whole[4:8])
    ]
    assert digests[0] == digests[1] != digests[2]
    assert max(sizes) < 10_000


@pytest.mark.parametrize(("other", "is_told"), [(0, True), (1, False)])
def test_processes_that_train_on_the_same_batches_are_told_of(
    other: int, is_told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happened: of an iterable data set, each process had the whole stream, in silence."""
    digests: list[str] = []

    def gathered(own: str) -> list[str]:
        digests.append(own)
        return digests[:]

    monkeypatch.setattr("engine.processes.is_one_of_several", lambda: True)
    monkeypatch.setattr("engine.processes.gathered", gathered)
    said: list[str] = []
    for first in (other, 0):
        batches = [{"x": torch.arange(4) + first}, {"x": torch.arange(4)}]
        list(exact_and_say(batches, 5, At(), 0, said.append))
    assert len(digests) == 2
    text = (
        "list: each of 2 processes has got the same first batch, and trains on it.\nIf the data "
        "set is iterable, its __iter__ has to share the samples out, by "
        "torch.distributed.get_rank()."
    )
    assert [one for one in said if "first batch" in one] == [text] * is_told

"""Other people's loaders: every batch is a function of (seed, epoch, number of the batch)."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric.utilities.distributed import DistributedSamplerWrapper
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
    get_worker_info,
)

from engine.data.exact_loader import same
from engine.data.loader import exact as exact_and_say
from engine.data.served_loader import EpochLoader, StatefulLoader
from engine.seeds import random_states


def exact(loader: Any, seed: int, place: Any, rank: int = 0) -> Any:
    """Makes a loader exact of which there is nothing to say."""
    said: list[str] = []
    made = exact_and_say(loader, seed, place, rank, said.append)
    assert said == []
    return made


class At:
    """A place in training that a test sets."""

    def __init__(self, epoch: int = 0, batch: int = 0, cycles: bool = True) -> None:
        self.at = (epoch, batch)
        self.cycles = cycles
        self.number = 0

    def epoch(self) -> int:
        return self.at[0]

    def batch(self) -> int:
        return self.at[1]

    def is_cycled(self) -> bool:
        return self.cycles

    def loader(self, loader: object) -> int:
        return self.number


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


def test_batches_depend_on_seed_epoch_and_number_only() -> None:
    place = At()
    whole = epochs_of(exact(shuffled(), 5, place), place, 3)
    orders = [[index for batch in epoch for index in batch[0]] for epoch in whole]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    for workers in (0, 2):
        for epoch, batch in ((0, 2), (1, 0), (2, 3)):
            resumed = exact(shuffled(workers), 5, At(epoch, batch))
            assert same(list(resumed), whole[epoch][batch:])
    other = exact(shuffled(), 6, At())
    assert not same(list(other), whole[0])


def test_the_same_workers_serve_all_epochs() -> None:
    places = At(), At()
    alone = epochs_of(exact(shuffled(), 5, places[0], 0), places[0], 3)
    assert same(epochs_of(exact(shuffled(2), 5, places[1], 0), places[1], 3), alone)


def test_processes_draw_the_same_order_and_other_noise() -> None:
    first, second = (list(exact(shuffled(), 5, At(), rank)) for rank in (0, 1))
    assert [batch[0] for batch in first] == [batch[0] for batch in second]
    assert first[0][2] != second[0][2]


class Opened(Noisy):
    """Is opened in each worker, as files are."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        worker = get_worker_info()
        assert worker is not None
        assert worker.dataset is self
        return {"index": index, "opened": self.opened}


def opens(worker_id: int) -> None:
    get_worker_info().dataset.opened = worker_id


def test_a_worker_asks_for_the_users_data_set() -> None:
    loader = DataLoader(Opened(), batch_size=5, num_workers=2, worker_init_fn=opens)
    assert [batch["opened"].tolist() for batch in exact(loader, 5, At())] == [[0] * 5, [1] * 5]


def test_what_is_skipped_is_not_read() -> None:
    loader = shuffled()
    taken = list(exact(loader, 5, At(0, 2)))
    served = [index for batch in taken for index in batch[0]]
    # The first one is drawn twice more, to see whether that gives the same sample.
    assert loader.dataset.read == [served[0]] * 2 + served


def test_the_callers_generators_are_left_alone() -> None:
    before = random_states()
    list(exact(shuffled(), 5, At()))
    assert random_states() == before


NUMBERS = TensorDataset(torch.arange(10))


class Permuted:
    """A loader of a user's own, with a generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        return iter(torch.randperm(10, generator=self.generator).tolist())


OF_THE_CLOCK = {
    "the loader's": lambda generator: shuffled(generator=generator),
    "a sampler's": lambda generator: DataLoader(
        NUMBERS, batch_size=4, sampler=RandomSampler(NUMBERS, generator=generator)
    ),
    "a batch sampler's": lambda generator: DataLoader(
        NUMBERS,
        batch_sampler=BatchSampler(RandomSampler(NUMBERS, generator=generator), 4, False),
    ),
    "a sampler's that Lightning has wrapped for several processes": lambda generator: DataLoader(
        NUMBERS,
        batch_size=4,
        sampler=DistributedSamplerWrapper(
            WeightedRandomSampler([1.0, 2.0] * 5, 10, generator=generator), num_replicas=2, rank=1
        ),
    ),
    "a loader without numbers": Permuted,
    "workers of a stream": lambda generator: DataLoader(
        Draws(), num_workers=1, generator=generator
    ),
}


@pytest.mark.parametrize("kind", OF_THE_CLOCK)
def test_a_generator_that_the_clock_has_seeded_is_seeded_by_the_run(kind: str) -> None:
    taken = []
    for _ in range(2):
        generator = torch.Generator()
        generator.seed()
        said: list[str] = []
        place = At()
        loader = exact_and_say(OF_THE_CLOCK[kind](generator), 5, place, 0, said.append)
        assert "its torch.Generator is seeded by the run's seed" in said[0]
        taken.append(epochs_of(loader, place, 2))
    assert same(taken[0], taken[1])
    assert not same(taken[0][0], taken[0][1])


class MadeByTheClock(Sampler[int]):
    """An order that is drawn once, from a generator that nobody seeds."""

    def __init__(self, order: list[int]) -> None:
        self.order = order

    def __iter__(self) -> Iterator[int]:
        return iter(self.order)

    def __len__(self) -> int:
        return len(self.order)


def test_a_sampler_that_has_another_order_in_the_resumed_run_is_found() -> None:
    def resumed(order: list[int], rank: int = 0) -> list[str]:
        said: list[str] = []
        data = DataLoader(NUMBERS, batch_size=4, sampler=MadeByTheClock(order))
        exact_and_say(data, 5, At(), rank, said.append).load_state_dict(state)
        return said

    order = list(range(10))
    loader = exact(DataLoader(NUMBERS, batch_size=4, sampler=MadeByTheClock(order)), 5, At())
    list(loader)
    state = loader.state_dict()
    assert resumed(order) == []
    (says,) = resumed(order[::-1])
    assert says.startswith("DataLoader: not exact: its sampler has another order than before")
    assert resumed(order[::-1], rank=1) == []  # the checkpoint is that of the first process


@pytest.mark.parametrize("epoch", [0, 3])
def test_an_order_that_depends_on_the_epoch_is_known_again(epoch: int) -> None:
    def made(place: At) -> Any:
        sampler = DistributedSampler(NUMBERS, num_replicas=2, rank=0)
        return exact(DataLoader(NUMBERS, batch_size=2, sampler=sampler), 5, place)

    loader = made(At(epoch))
    list(loader)
    made(At(epoch + 1)).load_state_dict(loader.state_dict())  # says nothing


def test_two_loaders_of_one_length_have_orders_of_their_own() -> None:
    places = (At(), At())
    places[1].number = 1
    for make in (shuffled, lambda: DataLoader(Draws())):
        taken = [list(exact_and_say(make(), 5, place, 0, print)) for place in places]
        assert not same(taken[0], taken[1])


def test_each_generator_of_a_loader_has_numbers_of_its_own() -> None:
    inner, outer = torch.Generator(), torch.Generator()
    batches = BatchSampler(RandomSampler(NUMBERS, generator=inner), 4, False)
    batches.generator = outer  # type: ignore[attr-defined]
    list(exact_and_say(DataLoader(NUMBERS, batch_sampler=batches), 5, At(), 0, print))
    numbers = [torch.rand((), generator=one).item() for one in (inner, outer, torch.Generator())]
    assert len(set(numbers)) == 3


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


@pytest.mark.parametrize("workers", [0, 2])
def test_a_generator_of_the_data_set_is_found_out(
    workers: int,
) -> None:
    said: list[str] = []
    for dataset in (Noisy(), Own()):
        loader = DataLoader(dataset, batch_size=4, num_workers=workers)
        list(exact_and_say(loader, 5, At(), 0, said.append))
    (text,) = said
    assert text.startswith("Own: not exact: it gave two different samples")


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
        (DataLoader(NUMBERS, sampler=Moody()), "DataLoader: BatchSampler draws another order"),
        (DataLoader(NUMBERS, batch_sampler=Endless()), "DataLoader: Endless has no length"),
        (
            DataLoader(NUMBERS, batch_size=2, sampler=Endless()),
            "DataLoader: BatchSampler has no length",
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


class Draws(Stream):
    """Six numbers of three generators."""

    def __iter__(self) -> Iterator[Any]:
        for _ in range(6):
            yield random.random(), np.random.rand(), torch.rand(())


@pytest.mark.parametrize("persistent", [False, True])
def test_the_workers_of_a_stream_depend_on_seed_and_epoch(persistent: bool) -> None:
    def make() -> DataLoader[Any]:
        return DataLoader(Draws(), 2, num_workers=2, persistent_workers=persistent)

    place = At()
    whole = epochs_of(exact_and_say(make(), 5, place, 0, print), place, 3)
    assert not same(whole[1], whole[2])
    assert same(list(exact_and_say(make(), 5, At(2, 0), 0, print)), whole[2])


def stateful(place: At) -> Any:
    """Makes a loader with a state exact, of which it is said what the state has to have."""
    said: list[str] = []
    made = exact_and_say(Counted(), 5, place, 0, said.append)
    (text,) = said
    assert text.startswith("Counted: it is no DataLoader of PyTorch's. Within an epoch,")
    return made


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


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ({"a": [torch.tensor([1.0, float("nan")])]}, {"a": [torch.tensor([1.0, np.nan])]}, True),
        ((np.ones(3), "cat"), (np.ones(3), "cat"), True),
        ((np.ones(3), "cat"), (np.ones(3), "dog"), False),
        ([1, 2], [1, 2, 3], False),
        ({"a": 1}, {"b": 1}, False),
        (torch.ones(2, dtype=torch.bfloat16), torch.zeros(2, dtype=torch.bfloat16), False),
        (object(), object(), True),
        (torch.eye(2).to_sparse(), torch.eye(2).to_sparse(), True),
    ],
)
def test_same_compares_numbers(one: Any, other: Any, is_same: bool) -> None:
    assert same(one, other) == is_same


def test_same_compares_images() -> None:
    from PIL import Image

    black, white = (Image.new("RGB", (4, 4), colour) for colour in ("black", "white"))
    assert same(black, black.copy())
    assert not same(black, white)

"""Other people's loaders: a batch depends on seed, epoch and number alone."""

import copy
import os
import random
import time
from array import array
from collections.abc import Iterator
from multiprocessing import active_children
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
    RandomSampler,
    Sampler,
    Subset,
    WeightedRandomSampler,
    get_worker_info,
)

from engine.data.exact_loader import same
from engine.data.loader import exact as exact_and_say
from engine.fence.lightning import restart_workers
from engine.seeds import generator_states
from loaders import NUMBERS, At, Draws, Noisy, Own, Permuted, Stream, epochs_of, exact, shuffled


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
            restart_workers(resumed)
    other = exact(shuffled(), 6, At())
    assert not same(list(other), whole[0])


def test_the_same_workers_serve_all_epochs() -> None:
    places = At(), At()
    alone = epochs_of(exact(shuffled(), 5, places[0], 0), places[0], 3)
    served = exact(shuffled(2), 5, places[1], 0)
    assert same(epochs_of(served, places[1], 3), alone)
    restart_workers(served)


def test_processes_draw_the_same_order_and_other_noise() -> None:
    first, second = (list(exact(shuffled(), 5, At(), rank)) for rank in (0, 1))
    assert [batch[0] for batch in first] == [batch[0] for batch in second]
    assert first[0][2] != second[0][2]


class Turns(Sampler[Any]):
    """Yields numbers of NumPy's in an order that somebody may change."""

    def __init__(self) -> None:
        self.order = np.arange(10)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.order)

    def __len__(self) -> int:
        return len(self.order)


def test_where_a_sampler_has_changed_the_epoch_goes_on_in_its_order() -> None:
    """The state has the order, as the sampler would draw another one; the next epoch has that."""
    place = At()
    whole = DataLoader(Noisy(), batch_size=4, sampler=Turns())
    served = exact(whole, 5, place)
    batches = iter(served)
    first = next(batches)
    assert "order" not in served.state_dict()
    whole.sampler.order[:] = whole.sampler.order[::-1].copy()  # type: ignore[attr-defined]
    state = served.state_dict()
    assert len(state["order"]) == 3
    rest = list(batches)
    resumed = exact(DataLoader(Noisy(), batch_size=4, sampler=Turns()), 5, At(0, 1))
    resumed.load_state_dict(state)
    assert same([first, *list(resumed)], [first, *rest])


class Slotted:
    """A sampler without attributes that anybody sees."""

    __slots__ = ()

    def __iter__(self) -> Iterator[int]:
        return iter(range(9, -1, -1))

    def __len__(self) -> int:
        return 10


BACKWARDS = [*range(9, -1, -1)]
WITHOUT_ATTRIBUTES = {
    "a list": {"batch_size": 4, "sampler": BACKWARDS},
    "a range": {"batch_size": 4, "sampler": range(9, -1, -1)},
    "an array": {"batch_size": 4, "sampler": np.array(BACKWARDS)},
    "an array of Python's": {"batch_size": 4, "sampler": array("l", BACKWARDS)},
    "a tensor": {"batch_size": 4, "sampler": torch.tensor(BACKWARDS)},
    "slots": {"batch_size": 4, "sampler": Slotted()},
    "no batches": {"batch_size": None, "sampler": BACKWARDS},
    "batches": {"batch_sampler": [[3, 1], [0, 9, 2], [5]]},
    "an array of batches": {"batch_sampler": np.array([[3, 1], [0, 9], [5, 2]])},
}


@pytest.mark.parametrize("kind", WITHOUT_ATTRIBUTES)
def test_any_iterable_chooses_samples(kind: str) -> None:
    """As it happened: "vars() argument must have __dict__ attribute" ended the run."""
    plain: DataLoader[Any] = DataLoader(NUMBERS, **WITHOUT_ATTRIBUTES[kind])  # type: ignore[arg-type]
    expected = list(plain)
    place = At()
    assert same(epochs_of(exact(plain, 5, place), place, 2), [expected, expected])
    assert same(list(exact(plain, 5, At(1, 2))), expected[2:])


@pytest.mark.parametrize("kind", [list, torch.tensor, np.array])
def test_a_list_that_has_changed_is_in_the_checkpoint(kind: Any) -> None:
    """A resumed run has the list as it was given at first. It goes on in the epoch's order."""
    given = [kind(range(10)) for _ in range(3)]
    first, again, unchanged = (DataLoader(NUMBERS, batch_size=4, sampler=own) for own in given)
    place = At()
    served = exact(first, 5, place)
    batches = iter(served)
    next(batches)
    given[0][:] = kind(BACKWARDS)
    state = served.state_dict()
    rest = list(batches)
    place.at = (1, 0)
    following = list(served)
    place.at = (0, 1)
    resumed = exact(again, 5, place)
    resumed.load_state_dict(state)
    assert same(list(resumed), rest)
    place.at = (1, 0)
    assert same(list(resumed), following)
    assert not same(list(exact(unchanged, 5, place)), following)


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
    assert loader.dataset.read == served


def test_one_sample_is_drawn_twice_more_when_training_starts() -> None:
    """That says whether it gives the same sample once more. A resumed run knows it already."""
    loader = shuffled()
    served = [index for batch in exact(loader, 5, At()) for index in batch[0]]
    assert loader.dataset.read == [served[0]] * 2 + served


def test_the_callers_generators_are_left_alone() -> None:
    before = generator_states()
    list(exact(shuffled(), 5, At()))
    assert generator_states() == before


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
    places[1].number = "1"
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


class Clock(Noisy):
    """Has numbers that nothing in it tells."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"index": index, "drawn": time.perf_counter_ns()}


class Seldom(Noisy):
    """Draws from a generator of its own, which hardly ever shows."""

    def __init__(self) -> None:
        super().__init__()
        self.rng = random.Random(0)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"index": -index if self.rng.random() < 1e-9 else index}


class SeedsEach(Noisy):
    """Seeds a generator of its own by the number of the sample."""

    def __init__(self) -> None:
        super().__init__()
        self.own = torch.Generator()

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"drawn": torch.rand((), generator=self.own.manual_seed(index)).item()}


@pytest.mark.parametrize(
    ("data", "workers", "says"),
    [
        (Noisy, 0, ""),
        (Noisy, 1, ""),
        (Clock, 0, "it gave two different samples"),
        (Clock, 1, "it gave two different samples"),
        (Own, 0, ""),  # a checkpoint has its state
        (Own, 1, "it gave two different samples"),
        (Seldom, 0, ""),
        (Seldom, 1, "a generator of its own draws in each worker's copy"),
        (SeedsEach, 0, ""),
        (SeedsEach, 1, ""),
    ],
)
def test_a_generator_of_the_data_set_is_found_out(
    data: type[Noisy], workers: int, says: str
) -> None:
    """As it happened: one that hardly ever shows was not, and one in no worker was named, too."""
    said: list[str] = []
    loader = DataLoader(data(), batch_size=4, num_workers=workers)
    list(exact_and_say(loader, 5, At(), 0, said.append))
    assert [text.partition(":")[0] for text in said] == [data.__name__] * bool(says)
    assert not says or f": not exact: {says}" in said[0]


class Keeps(Noisy):
    """Draws a sample once, and keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: dict[int, Any] = {}

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index not in self.drawn:
            self.drawn[index] = super().__getitem__(index)
        return self.drawn[index]


class Reads(Noisy):
    """Keeps what it has read, which is the same each time."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.read.append(index)
        return {"index": index}


def test_what_workers_keep_of_what_they_drew_is_found_out() -> None:
    """As it happened: a resumed run drew other samples, and no line said so."""
    said: list[str] = []
    for workers, dataset in ((0, Keeps()), (1, Reads()), (1, Keeps())):
        loader = DataLoader(dataset, batch_size=4, num_workers=workers)
        list(exact_and_say(loader, 5, At(), 0, said.append))
    (text,) = said
    assert text.startswith("Keeps: not exact: a worker keeps random numbers that it drew")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_sampler_that_changes_within_an_epoch_is_named(workers: int) -> None:
    """As it happened: hard examples came an epoch later than with Lightning alone, in silence."""
    said: list[str] = []
    turns, place = Turns(), At()
    loader = DataLoader(NUMBERS, batch_size=5, sampler=turns, num_workers=workers)
    served = exact_and_say(loader, 5, place, 0, said.append)
    for epoch in range(2):
        place.at = (epoch, 0)
        for number, _ in enumerate(served):
            if (epoch, number) == (1, 0):
                turns.order = turns.order[::-1]
        assert bool(said) == (epoch == 1)
        turns.order = turns.order[::-1].copy()  # between epochs it counts at once
    (text,) = said
    assert text.startswith("Turns: something has changed it within an epoch")


def test_a_generator_of_a_collate_function_is_found_out_where_workers_call_it() -> None:
    """As it happened: each worker had one of its own, and no line said so."""

    def said_of(collate: Any, workers: int) -> list[str]:
        said: list[str] = []
        loader = DataLoader(NUMBERS, 4, num_workers=workers, collate_fn=collate)
        list(exact_and_say(loader, 5, At(), 0, said.append))
        return said

    rng = np.random.default_rng(1)
    assert said_of(lambda _: torch.rand(2), workers=1) == []
    assert said_of(lambda _: rng.random(), workers=0) == []  # a checkpoint may have its state
    (text,) = said_of(lambda _: rng.random(), workers=1)
    assert "or its collate function two batches" in text


@pytest.mark.parametrize("persistent", [False, True])
def test_the_workers_of_a_stream_depend_on_seed_and_epoch(persistent: bool) -> None:
    def make() -> DataLoader[Any]:
        return DataLoader(Draws(), 2, num_workers=2, persistent_workers=persistent)

    place = At()
    whole = epochs_of(exact_and_say(make(), 5, place, 0, print), place, 3)
    assert not same(whole[1], whole[2])
    assert same(list(exact_and_say(make(), 5, At(2, 0), 0, print)), whole[2])


@pytest.mark.parametrize("is_persistent", [False, True])
@pytest.mark.parametrize("data", [Noisy(), Draws()], ids=["by numbers", "stream"])
def test_workers_end_when_lightning_ends_those_of_the_loader(
    data: Any, is_persistent: bool
) -> None:
    """As it happened: those that were not persistent lived on until Python collected them."""
    loader: Any = DataLoader(data, 2, num_workers=2, persistent_workers=is_persistent)
    served = exact_and_say(loader, 5, At(), 0, lambda text: None)
    for _ in range(2):
        batch = next(iter(served))  # Lightning leaves a pass where the last batch was served
        workers = active_children()
        assert len(workers) == 2
        restart_workers(served)
        assert not any(worker.is_alive() for worker in workers)
    assert same(next(iter(served)), batch)
    restart_workers(served)


def test_a_users_own_pass_has_workers_of_its_own() -> None:
    """As it happened: persistent workers began anew for it, and the epoch ended without a word."""
    places = At(), At()
    loader = DataLoader(Draws(), 2, num_workers=1, persistent_workers=True)
    whole = list(exact_and_say(loader, 5, places[0], 0, lambda text: None))
    served = exact_and_say(loader, 5, places[1], 0, lambda text: None)
    batches = iter(served)
    got = [next(batches)]
    places[1].at, places[1].trains = (0, 1), False
    assert len(list(served)) == len(whole)
    places[1].trains = True
    assert same([*got, *batches], whole)
    restart_workers(served)


def test_a_copy_of_a_loader_is_the_users() -> None:
    loader = shuffled()
    served = exact(loader, 5, At())
    for copied in (copy.copy(served), copy.deepcopy(served)):
        assert type(copied) is DataLoader
        assert (copied.batch_size, len(copied)) == (3, 4)


class WithoutEnd(Sampler[int]):
    """Is as long as it says, and goes on."""

    def __iter__(self) -> Iterator[int]:
        while True:
            yield from torch.randperm(10).tolist()

    def __len__(self) -> int:
        return 10


def test_of_a_sampler_without_end_an_epoch_has_as_many_as_it_says() -> None:
    loader = DataLoader(NUMBERS, batch_size=5, sampler=WithoutEnd())
    place = At()
    served = exact(loader, 5, place)
    whole = epochs_of(served, place, 2)
    assert [sorted(torch.cat([batch[0] for batch in epoch]).tolist()) for epoch in whole] == [
        list(range(10))
    ] * 2
    assert same(list(exact(loader, 5, At(1, 1))), whole[1][1:])


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


def test_a_users_own_pass_within_an_epoch_is_whole_and_disturbs_nothing() -> None:
    """As it happened: a hook that looks at all samples got those that were left of the epoch."""
    place = At()
    whole = list(exact(shuffled(), 5, place))
    for workers in (0, 1):
        place = At()
        loader = exact(shuffled(workers), 5, place)
        batches = iter(loader)
        served = [next(batches)]
        place.at, place.trains = (0, 1), False
        own = [list(loader) for _ in range(2)]
        place.trains = True
        assert same([*served, *batches], whole)
        assert same(*own)  # a resumed run has the same pass
        assert sorted(index for batch in own[0] for index in batch[0]) == list(range(10))


def test_what_is_set_on_a_loader_is_the_users() -> None:
    """As it happened: mixed batches were not turned off."""
    theirs = DataLoader(list(range(4)), 2)  # type: ignore[arg-type]
    place = At()
    loader = exact(theirs, 5, place)
    assert [batch.tolist() for batch in loader] == [[0, 1], [2, 3]]
    loader.collate_fn = sum
    place.at = (1, 0)
    assert theirs.collate_fn is sum
    assert list(loader) == [1, 5]
    with pytest.raises(ValueError, match="dataset attribute should not be set"):
        loader.dataset = []


class Seeds(Dataset[int]):
    def __getitem__(self, index: int) -> int:
        information: Any = get_worker_info()
        return int(information.seed)

    def __len__(self) -> int:
        return 2


def seeds_seen(seed: int, at: tuple[int, int], persistent: bool = False) -> list[int]:
    loader = exact(DataLoader(Seeds(), num_workers=1, persistent_workers=persistent), seed, At(*at))
    seen = [int(batch) for batch in loader]
    restart_workers(loader)
    return seen


def test_workers_have_seeds_of_the_run() -> None:
    """As it happened: workers of a run that was resumed within an epoch had other ones."""
    assert seeds_seen(5, (0, 0)) == seeds_seen(5, (0, 0))
    assert seeds_seen(5, (0, 0)) != seeds_seen(6, (0, 0))
    assert seeds_seen(5, (0, 0)) != seeds_seen(5, (1, 0))
    assert seeds_seen(5, (1, 0))[1:] == seeds_seen(5, (1, 1))
    assert seeds_seen(5, (0, 0), persistent=True)[1:] == seeds_seen(5, (3, 1), persistent=True)


class Level(Dataset[Any]):
    """Gives the level that somebody sets, and the process that it is in."""

    def __init__(self) -> None:
        self.level = 0

    def __getitem__(self, index: int) -> Any:
        return self.level, os.getpid()

    def __len__(self) -> int:
        return 3


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize(
    "wrap", [lambda data: data, lambda data: Subset(data, range(3))], ids=["alone", "within"]
)
def test_workers_have_the_data_set_of_an_epochs_first_batch(wrap: Any, persistent: bool) -> None:
    """As it happened: those of a resumed run began before it had what the data set kept."""
    place, data = At(), Level()
    loader = exact(
        DataLoader(wrap(data), None, num_workers=1, persistent_workers=persistent), 5, place
    )
    processes = []
    for epoch, level in enumerate((4, 5, 5)):
        place.at = (epoch, 0)
        batches = iter(loader)
        data.level = level
        levels, (process, *_) = zip(*batches, strict=True)
        assert levels == (level,) * 3
        processes.append(process)
    restart_workers(loader)
    assert processes[0] != processes[1]
    assert (processes[1] == processes[2]) is persistent


def test_a_data_set_that_changes_while_workers_have_it_is_named() -> None:
    def said_after(level: int, workers: int) -> list[str]:
        place, data, said = At(), Level(), list[str]()
        loader = exact_and_say(DataLoader(data, num_workers=workers), 5, place, 0, said.append)
        batches = iter(loader)
        next(batches)
        place.at = (0, 1)
        data.level = level
        loader.state_dict()
        list(batches)
        return said

    assert said_after(0, workers=1) == said_after(1, workers=0) == []
    (text,) = said_after(1, workers=1)
    assert text.startswith("Level: not exact: it changes within an epoch. Workers have it as it")


class CountsEpochs(Sampler[int]):
    """Counts its epochs behind the last index, and has another order in each."""

    def __init__(self) -> None:
        self.epoch = 0

    def __iter__(self) -> Iterator[int]:
        yield from ((index + self.epoch) % 10 for index in range(10))
        self.epoch += 1

    def __len__(self) -> int:
        return 10


class CountsPasses(DataLoader[Any]):
    """Counts its passes, and shows the count in its batches."""

    passes = 0

    def __iter__(self) -> Any:
        self.passes += 1
        return (batch + 100 * self.passes for batch in super().__iter__())


def test_what_counts_its_epochs_itself_has_other_ones() -> None:
    sampled = DataLoader(NUMBERS, batch_size=5, sampler=CountsEpochs())
    counting = CountsPasses(Stream(), 2, num_workers=1, persistent_workers=True)
    for loader in (sampled, counting):
        place = At()
        served = exact_and_say(loader, 5, place, 0, lambda text: None)
        first, second, third = epochs_of(served, place, 3)
        assert not same(first, second)
        assert not same(second, third)
    restart_workers(counting)


class WarmsUp(Sampler[int]):
    """Gives samples 0 to 4 for two epochs, and 5 to 9 from then on; counts at the start."""

    def __init__(self) -> None:
        self.epoch = 0

    def __iter__(self) -> Iterator[int]:
        first = 0 if self.epoch < 2 else 5
        self.epoch += 1
        return iter(range(first, first + 5))

    def __len__(self) -> int:
        return 5


class Reuses(Sampler[Any]):
    """Gives one object again and again, with other numbers in it."""

    def __init__(self, batch: Any) -> None:
        self.batch = batch

    def __iter__(self) -> Iterator[Any]:
        batch = self.batch
        for first in range(0, 10, 2):
            batch[0], batch[1] = first, first + 1
            yield batch

    def __len__(self) -> int:
        return 5


def test_a_sampler_that_counts_begins_with_its_first_epoch() -> None:
    """As it happened: two draws of a try were its first two epochs."""
    place = At()
    loader: DataLoader[Any] = DataLoader(NUMBERS, batch_size=5, sampler=WarmsUp())
    epochs = epochs_of(exact_and_say(loader, 5, place, 0, lambda text: None), place, 3)
    assert [epoch[0][0].flatten().tolist() for epoch in epochs] == [
        *([[0.0, 1.0, 2.0, 3.0, 4.0]] * 2),
        [5.0, 6.0, 7.0, 8.0, 9.0],
    ]


@pytest.mark.parametrize("batch", [[0, 0], torch.zeros(2).long(), np.zeros(2, int)], ids=type)
def test_what_a_sampler_uses_again_is_many_batches(batch: Any) -> None:
    """As it happened: all batches of an epoch were the last one."""
    loader: DataLoader[Any] = DataLoader(NUMBERS, batch_sampler=Reuses(batch))
    batches = [batch[0].flatten().tolist() for batch in exact(loader, 5, At())]
    assert batches == [[float(n), n + 1.0] for n in range(0, 10, 2)]

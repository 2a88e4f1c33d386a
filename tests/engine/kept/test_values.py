"""Values of attributes as a checkpoint has them, and back; what is equal as long as they are."""

import copy
import ctypes
import io
import itertools
import mmap
import multiprocessing
import re
import threading
from array import array
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from contextvars import ContextVar
from datetime import datetime
from enum import Enum
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from engine.kept import values


class Phase(Enum):
    WARM = 1


class Step(NamedTuple):
    state: Any
    reward: float


MADE = [
    np.arange(3.0),
    np.float32(0.1),
    deque([1, (2.0, "a")], maxlen=4),
    {1, 2},
    Counter("aab"),
    OrderedDict(b=1, a=2),
    [{"steps": deque([Step(np.zeros(2), 1.0)])}],
    Phase.WARM,
    torch.Size([1, 2]),
    torch.bfloat16,
    datetime(2026, 1, 2, 3, 4),
    Path("b"),
    array("d", [0.1, 2.0]),
    bytearray(b"abc"),
    np.random.SeedSequence(2**100, spawn_key=(1,), n_children_spawned=2),
]


@pytest.mark.parametrize("value", MADE, ids=lambda value: type(value).__name__)
def test_a_value_is_made_anew_as_it_was(value: Any, tmp_path: Path) -> None:
    plain, fills = values.plain(value)
    torch.save(plain, tmp_path / "saved")
    found = values.made(torch.load(tmp_path / "saved", weights_only=True))
    assert fills is False
    assert type(found) is type(value)
    assert repr(found) == repr(value)
    assert getattr(found, "maxlen", None) == getattr(value, "maxlen", None)


def of_what_was_larger(*removed: int) -> set[Any]:
    pool = set(range(0, 1000, 7))
    for number in removed or range(0, 1000, 14):
        pool.discard(number)
    return pool


@pytest.mark.parametrize(
    "value",
    [
        {1, 2, 300},
        {(0, 1), (5, 3), (9, 9)},
        {"a", "b"},
        set(range(500)),
        of_what_was_larger(),
        of_what_was_larger(7),
        {f"{number}" for number in range(1000)},
        {number / 7 for number in range(100)},
        [{"a": frozenset(of_what_was_larger())}],
        deque([(of_what_was_larger(),)]),
    ],
)
def test_it_is_known_which_sets_come_back_in_another_order(value: Any) -> None:
    """As it happened: a sample of a pool that had shrunk was another one. Words are told apart."""
    plain, _ = values.plain(value)
    found = values.made(plain)
    assert found == value
    has_words = isinstance(value, set) and any(isinstance(one, str) for one in value)
    assert values.is_in_order(value) is (repr(found) == repr(value) or has_words)


def test_a_set_is_filled_in_the_order_that_it_is_made_in() -> None:
    first = set(range(0, 500, 7))
    now = set(range(2000))
    assert values.filled(now, values.made(values.plain(first, first)[0]))
    assert list(now) == list(first)


@pytest.mark.parametrize(
    "plain",
    [
        [values.MARK, "dtype", "torch.load"],
        [values.MARK, "enum", "os", "system", "true"],
        [values.MARK, "tuple", "engine.kept.values", "_Same", [1]],
        [values.MARK, "tuple", "no.such.module", "Step", [1, 2]],
    ],
)
def test_a_checkpoint_names_no_other_classes(plain: Any) -> None:
    """Somebody else may have made it."""
    with pytest.raises((LookupError, AttributeError)):
        values.made(plain)


@pytest.mark.parametrize(
    "make",
    [
        lambda: [1],
        lambda: {1},
        lambda: deque([1], 3),
        lambda: {1: 2},
        lambda: Counter("a"),
        lambda: array("i", [1]),
    ],
)
def test_what_is_still_in_its_place_is_filled(make: Any) -> None:
    """Others may refer to it. One that took its place is made anew."""
    first, now = make(), make()
    first.pop() if isinstance(first, array) else first.clear()
    plain, fills = values.plain(first, first)
    assert fills is True
    assert values.filled(now, values.made(plain))
    assert now == first
    assert values.plain(make(), first)[1] is False


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.zeros(4), np.zeros((2, 2))),
        (np.zeros(2, np.float32), np.zeros(2, np.int32)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        ([1], (1,)),
        ([nn.ReLU], [nn.Tanh]),
        (bytearray(b"a"), bytearray(b"b")),
        ({torch.zeros(2): 1}, {torch.zeros(2): 1}),
    ],
)
def test_other_values_have_other_marks(one: Any, other: Any) -> None:
    assert values.mark(one) == values.mark(one)
    assert values.mark(one) != values.mark(other)


@pytest.mark.parametrize(
    ("value", "go_on"),
    [
        (array("i", [1]), lambda one: one.append(2)),
        (itertools.count(), next),
        (itertools.cycle([1, 2]), next),
        (io.StringIO(), lambda one: one.write("a")),
        (enumerate([1, 2]), next),
        (iter([object(), object()]), next),
        (iter(DataLoader([1, 2])), next),  # type: ignore[arg-type]
        ((number for number in range(3)), next),
        ((None for _ in [object(), object()]), next),
        (np.array([[1], None], object), lambda one: one[0].append(2)),
        (np.zeros(2**22), lambda one: one.fill(1)),
        (np.random.SeedSequence(1), lambda one: one.spawn(1)),
        (memoryview(bytearray(2)), lambda one: one.__setitem__(0, 1)),
        (bytearray(2**25), lambda one: one.append(1)),
        (mmap.mmap(-1, 8), lambda one: one.__setitem__(0, 1)),
        ((ctypes.c_int * 2)(), lambda one: one.__setitem__(0, 1)),
        (RawArray("d", 2), lambda one: one.__setitem__(0, 1)),
        (np.zeros(1, [("loss", "f8")])[0], lambda one: one.__setitem__("loss", 1)),
        (torch.zeros(2).untyped_storage(), lambda one: one.__setitem__(0, 1)),
        (np.arange(2).flat, next),
        (map(abs, (number for number in range(3))), next),
        (ContextVar("one", default=0), lambda one: one.set(1)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_object_that_goes_on_has_another_mark(value: Any, go_on: Any) -> None:
    before = values.mark([value])
    assert values.mark([value]) == before
    go_on(value)
    assert values.mark([value]) != before


def test_a_generator_in_a_list_is_looked_at_beside_the_list() -> None:
    """Else the list would be one that no checkpoint can have."""
    generators = [np.random.default_rng(1), np.random.RandomState(1)]
    list_before, before = values.mark(generators), values.mark(generators[0])
    for generator in generators:
        generator.random()
    assert values.mark(generators) == list_before
    assert values.mark(generators[0]) != before


@pytest.mark.parametrize(
    "value",
    [
        itertools.cycle([b"a" * 2**17]),
        threading.Lock(),
        [].append,
        re.compile("a"),
        mmap.mmap(-1, 8, access=mmap.ACCESS_READ),
    ],
)
def test_an_object_in_c_that_cannot_be_written_is_itself(value: Any) -> None:
    assert values.mark(value) == values.mark(value)


@pytest.mark.parametrize(
    ("make", "go_on"),
    [
        (lambda: multiprocessing.Value("i", 1), lambda one: setattr(one, "value", 7)),
        (lambda: multiprocessing.Array("d", [1.0, 2.0]), lambda one: one.__setitem__(1, 0.5)),
    ],
)
def test_what_processes_share_is_filled(make: Any, go_on: Any) -> None:
    first, now = make(), make()
    before = values.mark(first)
    go_on(first)
    assert values.mark(first) != before
    plain, fills = values.plain(first, first)
    assert fills == values.STATE
    assert values.filled(now, values.made(plain))
    assert bytes(now.get_obj()) == bytes(first.get_obj())


def test_an_address_that_processes_share_is_not_kept() -> None:
    address = multiprocessing.Value(ctypes.c_void_p, 1)
    with pytest.raises(TypeError):
        values.plain(address, address)


@pytest.mark.parametrize("spawned", [0, 2])
def test_a_generator_goes_on_to_spawn_others(spawned: int) -> None:
    first, now = (np.random.default_rng(1) for _ in range(2))
    first.spawn(spawned)
    first.random()
    plain, _ = values.plain(first, first)
    assert values.filled(now, values.made(plain))
    assert now.random() == first.random()
    assert now.spawn(1)[0].random() == first.spawn(1)[0].random()


@pytest.mark.parametrize(("number", "sees"), [(9_999, True), (10_001, False)])
def test_of_10_000_values_all_are_looked_at(number: int, sees: bool) -> None:
    """Of more, which ones they are: the inner list stays the same one."""
    inner = [0]
    rows: list[Any] = [inner, *range(number - 3)]
    before = values.mark(rows)
    inner[0] = 1
    assert (values.mark(rows) != before) is sees
    rows[1] = "another"
    assert values.mark(rows) != before


class Grows(nn.Module):
    """Has a buffer, one that is None, and one that is in no state."""

    def __init__(self, length: int, own: Any = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))
        self.register_buffer("bank", torch.full((length,), 2.0))
        self.register_buffer("last", own)
        self.register_buffer("passing", torch.zeros(length), persistent=False)


def test_buffers_have_room_for_those_of_a_state() -> None:
    """A parameter of another shape is refused as ever."""
    saved = Grows(4, torch.ones(2, dtype=torch.half)).state_dict()
    own = Grows(0)
    with pytest.raises(RuntimeError, match="size mismatch for bank"):
        own.load_state_dict(saved)
    own.register_load_state_dict_pre_hook(values.make_room)
    mean = nn.ModuleDict({"copy": copy.deepcopy(own)})  # as one of the weights has it
    own.load_state_dict(saved)
    mean.load_state_dict({f"copy.{name}": value for name, value in saved.items()})
    for one in (own, mean["copy"]):
        found = one.state_dict()
        assert found.keys() == saved.keys()
        assert all(torch.equal(found[name], value) for name, value in saved.items())
        assert found["last"].dtype is torch.half
        assert len(one.passing) == 0  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        own.load_state_dict({**saved, "weight": torch.zeros(4)})


def test_a_buffer_that_two_layers_share_stays_one() -> None:
    own = nn.ModuleList([Grows(0), Grows(0)])
    own[1].bank = own[0].bank
    own.register_load_state_dict_pre_hook(values.make_room)
    own.load_state_dict(nn.ModuleList([Grows(4), Grows(4)]).state_dict())
    assert own[0].bank is own[1].bank
    assert len(own[0].bank) == 4  # type: ignore[arg-type]


def test_a_lazy_buffer_makes_room_itself() -> None:
    trained, own = nn.LazyBatchNorm1d(), nn.LazyBatchNorm1d()
    trained(torch.rand(5, 2))
    own.register_load_state_dict_pre_hook(values.make_room)
    own.load_state_dict(trained.state_dict())
    assert torch.equal(own.running_mean, trained.running_mean)  # type: ignore[arg-type]


def test_a_layer_that_is_filled_has_room() -> None:
    """Of a layer that PyTorch does not know of, such as one of a callback."""
    layer = Grows(0)
    state, _ = values.plain(Grows(5), layer)
    assert values.filled(layer, values.made(state))
    assert layer.state_dict()["bank"].tolist() == [2.0] * 5


def nested(depth: int) -> Any:
    """Returns an iterator that has each inner one twice."""
    inner: Any = iter([1])
    for _ in range(depth):
        inner = zip(inner, inner, strict=False)
    return inner


@pytest.mark.parametrize(
    ("make", "number"),
    [
        (lambda: zip(*[iter([1, 2])] * 500, strict=False), 1),
        (lambda: nested(18), 18),
        (lambda: iter(tuple(iter([n]) for n in range(100))), 0),
        (lambda: zip(*(iter([n]) for n in range(5000)), strict=False), values.MOST_WITHIN),
    ],
    ids=["groups", "each twice", "a tuple's own", "many"],
)
def test_what_is_within_an_iterator_is_looked_at_once(
    make: Callable[[], Any], number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happened: a mark of such iterators took seconds."""
    looked_at: list[Any] = []
    monkeypatch.setattr(values, "_pickled", looked_at.append)
    values._place(iterator := make())
    assert len(looked_at) == number
    del iterator


@pytest.mark.parametrize("code", ["d", "q"])
def test_any_byte_of_a_large_array_of_c_counts(code: str) -> None:
    """The low bytes of 1.0 and of 256 are 0."""
    numbers = array(code, bytes(8 * 2_200_000))
    before = values.mark(numbers)
    assert values.mark(numbers) == before
    for place in range(len(numbers)):
        numbers[place] = 256
    assert values.mark(numbers) != before

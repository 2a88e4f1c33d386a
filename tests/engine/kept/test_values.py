"""Values of attributes as a checkpoint has them, and back; what is equal as long as they are."""

from collections import Counter, OrderedDict, deque
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

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
    "make", [lambda: [1], lambda: {1}, lambda: deque([1], 3), lambda: {1: 2}, lambda: Counter("a")]
)
def test_what_is_still_in_its_place_is_filled(make: Any) -> None:
    """Others may refer to it. One that took its place is made anew."""
    first, now = make(), make()
    first.clear()
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
    ],
)
def test_other_values_have_other_marks(one: Any, other: Any) -> None:
    assert values.mark(one) == values.mark(one)
    assert values.mark(one) != values.mark(other)


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

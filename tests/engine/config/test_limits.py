"""The limits of values: what is inside, how they read."""

import math
import re
from typing import Any

import pytest
from lightning.pytorch import Trainer

from engine import UserError
from engine.config.limits import (
    COUNT,
    COUNT_OR_NULL,
    LIMITS,
    NOT_NEGATIVE_OR_NULL,
    POSITIVE_OR_NULL,
    SEED,
    Limit,
    check,
    one_of,
    shown,
)

NO_NUMBERS = [math.nan, math.inf, -math.inf, True, "0.5", "auto", [1]]
CASES = {
    "a whole number from 1": (COUNT, [1, 2, 10**400], [0, -1, 1.0, 2.5, None, *NO_NUMBERS]),
    "a whole number from 1 or null": (COUNT_OR_NULL, [1, None], [0, 1.0, "null", "None", False]),
    "a whole number from 1 to 1024 or auto": (
        LIMITS["trainer.devices"],
        [1, 1024, "auto"],
        [0, 1025, 5000, "Auto", "automatic", None, True],
    ),
    "a whole number from 1, or -1": (LIMITS["trainer.max_steps"], [-1, 1], [0, -2, 1.5, None]),
    "a share such as 0.5, a whole number from 1 or null": (
        LIMITS["trainer.limit_train_batches"],
        [1e-9, 1.0, 1, 2.0, 20, None],
        [0, 0.0, 1.5, -1, *NO_NUMBERS],
    ),
    "a share such as 0.5, a whole number from 0 or null": (
        LIMITS["trainer.overfit_batches"],
        [0, 0.5, 3, None],
        [2.5, -0.5, *NO_NUMBERS],
    ),
    "a share such as 0.5, a whole number from 1, a time such as 00:00:30:00 or null": (
        LIMITS["trainer.val_check_interval"],
        [0.5, 1, 7.0, None, "1:00:00:00", "0:0:30:0", {"days": 1}],
        [0, 2.5, "soon", "00:30", "0:0:0:30:0", *NO_NUMBERS],
    ),
    "a whole number from 0 to 4294967295": (SEED, [0, 2**32 - 1], [-1, 2**32, 3.0, None]),
    "a number above 0 or null": (
        POSITIVE_OR_NULL,
        [1e-30, 1, 1e30, None],
        [0, 0.0, -1, *NO_NUMBERS],
    ),
    "a number from 0 or null": (NOT_NEGATIVE_OR_NULL, [0, 0.5, None], [-1e-9, *NO_NUMBERS]),
    "one of: null, min, max": (
        one_of(None, "min", "max"),
        [None, "min"],
        ["mex", "null", 0, False],
    ),
}
ADVICE = (
    "It is a word: leave its quotes out, or write 'key=\"${oc.decode:${oc.env:NAME}}\"' "
    "for a variable."
)


@pytest.mark.parametrize(
    ("value", "as_typed"),
    [
        ("3", "'3'"),
        ("1 ", "'1 '"),
        ("1e-3", "'1e-3'"),
        ("True", "'True'"),
        ("null", "'null'"),
        ("auto", "auto"),
        ("nan", "'nan'"),
        (3, "3"),
        (True, "true"),
        (None, "null"),
        (["3"], "['3']"),
    ],
)
def test_a_word_that_reads_as_something_else_is_shown_in_quotes(
    value: object, as_typed: str
) -> None:
    assert shown(value) == as_typed


@pytest.mark.parametrize(("text", "case"), CASES.items(), ids=list(CASES))
def test_inside_and_outside(text: str, case: tuple[Limit, list[object], list[object]]) -> None:
    limit, inside, outside = case
    for value in inside:
        check("key", value, limit)
    for value in outside:
        with pytest.raises(UserError, match=rf"^key=.*: must be {text}\.") as refused:
            check("key", value, limit)
        _, *advice = str(refused.value).splitlines()
        meant = {"0.5": 0.5, "null": None}
        helps = value in list(meant) and is_within(meant[str(value)], limit)
        assert advice == ([ADVICE] if helps else [])


def is_within(value: object, limit: Limit) -> bool:
    try:
        check("key", value, limit)
    except UserError:
        return False
    return True


def test_names_the_word_that_was_meant() -> None:
    with pytest.raises(UserError, match=r"Did you mean max\?$"):
        check("mode", "mex", one_of(None, "min", "max"))


def test_the_time_in_a_message_is_one_that_lightning_takes() -> None:
    (time,) = re.findall(r"[\d:]{5,}", LIMITS["trainer.val_check_interval"].text)
    options: dict[str, Any] = {"logger": False, "enable_checkpointing": False}
    trainer = Trainer(accelerator="cpu", val_check_interval=time, **options)
    assert trainer._val_check_time_interval == 30 * 60  # seconds

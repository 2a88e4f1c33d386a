"""Limits of the engine's own keys: checked before anything large is imported."""

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, get_args

from annotated_types import Ge, Le, MinLen, Predicate

from engine.config.ranges import (
    Count,
    CountOrZero,
    FolderName,
    NotNegative,
    Positive,
    Seed,
    why_not,
)
from engine.errors import UserError, nearest

OTHERS = {"true": True, "false": False, "null": None}  # are no words without quotes
MOST_SHOWN = 200  # characters of a value in a message


@dataclass(frozen=True)
class Limit:
    """Says which values a key may have.

    Args:
        hint: an annotation that pydantic checks.
        text: says the same to the user.
        words: further values.
    """

    hint: Any
    text: str
    words: tuple[str | None, ...] = ()


def one_of(*words: str | None) -> Limit:
    """Returns the limit of a key that takes some words only."""
    return Limit(Literal[words], f"one of: {', '.join(map(shown, words))}")


def check(key: str, value: object, limit: Limit) -> None:
    """Refuses a value that is not within its limit.

    Raises:
        UserError: names the key, the value, what is allowed and the word most like the value.
    """
    if value not in limit.words and why_not(value, limit.hint):
        allowed = " or ".join([limit.text, *map(shown, limit.words)])
        words = [word for word in (*get_args(limit.hint), *limit.words) if isinstance(word, str)]
        meant = nearest(str(value), words)
        hint = limit.hint | None if None in limit.words else limit.hint
        raise UserError(
            f"{key}={shown(value)}: must be {allowed}.{meant}{advice_on(key, value, hint)}"
        )


def typed(value: object) -> str:
    """Returns a value as one writes it on the command line."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def shown(value: object) -> str:
    """Returns a value as one writes it on the command line, as far as a message has room."""
    text = f"'{value}'" if is_quoted(value) else typed(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


def is_quoted(value: object) -> bool:
    """Tells whether a value is a word that would be something else without quotes."""
    return isinstance(value, str) and not isinstance(without_quotes(value), str)


def without_quotes(word: str) -> object:
    """Returns what a word in quotes would be without them: a number, true, false or null."""
    if word.lower() in OTHERS:
        return OTHERS[word.lower()]
    for kind in (int, float):
        with suppress(ValueError):
            return kind(word)
    return word


def advice_on(key: str, value: object, hint: Any) -> str:
    """Says how to write a value that is a word by mistake; nothing of other values.

    Args:
        key: of the value.
        value: what was given.
        hint: an annotation of what is right.
    """
    if not isinstance(value, str) or not is_quoted(value) or why_not(without_quotes(value), hint):
        return ""
    decoded = f"""'{key}="${{oc.decode:${{oc.env:NAME}}}}"'"""
    return f"\nIt is a word: leave its quotes out, or write {decoded} for a variable."


def is_share_or_whole(number: float) -> bool:
    """Tells whether Lightning takes a number for batches: a share of all, or so many."""
    return number <= 1 or number % 1 == 0


def is_time(text: str) -> bool:
    """Tells whether Lightning takes a word for a time: DD:HH:MM:SS."""
    return bool(re.fullmatch(r"\d+(:\d+){3}", text))


COUNT = Limit(Count, "a whole number from 1")
COUNT_OR_ZERO = Limit(CountOrZero, "a whole number from 0")
COUNT_OR_NULL = replace(COUNT, words=(None,))
POSITIVE_OR_NULL = Limit(Positive, "a number above 0", (None,))
NOT_NEGATIVE_OR_NULL = Limit(NotNegative, "a number from 0", (None,))
SEED = Limit(Seed, "a whole number from 0 to 4294967295")
# Without a letter, as KEY=$UNSET in a shell, it would mean another place.
PATH = Limit(Annotated[str, MinLen(1)], "a path, such as ./2026")
BOOL = Limit(bool, "true or false")
# A thread has a stack, and a device has a process.
FEW = Limit(Annotated[Count, Le(1024)], "a whole number from 1 to 1024")
BATCHES = Annotated[Positive, Predicate(is_share_or_whole)]
SHARE = "a share such as 0.5, a whole number from"
BATCHES_OR_ZERO = Limit(Annotated[NotNegative, Predicate(is_share_or_whole)], f"{SHARE} 0", (None,))
FROM_MINUS_ONE = Limit(Annotated[int, Ge(-1)], "a whole number from -1")
STEPS = Limit(Count | Literal[-1], "a whole number from 1, or -1")
# The engine's own keys. What the arguments of a class may be, the class says by its annotations.
# Without a step or a batch of training, an untrained network would count as a result.
LIMITS = {
    "name": Limit(
        FolderName, "the name of a folder below paths.log_dir; it may not lead out of it"
    ),
    "threads": FEW,
    "compile": BOOL,
    "sweep.retry": one_of(None, "failed", "stale"),
    "sweep.force": BOOL,
    "sweep.dry_run": BOOL,
    "sweep.wait": BOOL,
    "paths.root": PATH,
    "paths.log_dir": PATH,
    "paths.data_dir": PATH,
    "init_from": replace(PATH, words=(None,)),
    "seed": SEED,
    "trainer.max_epochs": COUNT_OR_NULL,
    "trainer.max_steps": STEPS,
    "trainer.log_every_n_steps": replace(COUNT, words=("auto",)),
    "trainer.steps_per_call": COUNT,
    "trainer.check_val_every_n_epoch": COUNT_OR_NULL,
    "trainer.accumulate_grad_batches": COUNT,
    "trainer.val_check_interval": Limit(
        BATCHES | Annotated[str, Predicate(is_time)] | dict[str, Any],
        f"{SHARE} 1, a time such as 00:00:30:00",
        (None,),
    ),
    "trainer.limit_train_batches": Limit(BATCHES, f"{SHARE} 1", (None,)),
    "trainer.limit_val_batches": BATCHES_OR_ZERO,
    "trainer.limit_test_batches": BATCHES_OR_ZERO,
    "trainer.overfit_batches": BATCHES_OR_ZERO,
    "trainer.gradient_clip_val": NOT_NEGATIVE_OR_NULL,
    "trainer.devices": replace(FEW, words=("auto",)),
}

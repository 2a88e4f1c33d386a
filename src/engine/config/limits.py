"""Limits of the engine's own keys: checked before anything large is imported."""

import math
from dataclasses import dataclass

from engine.errors import UserError, nearest


@dataclass(frozen=True)
class Limit:
    """The values that a key may have: numbers from `low` to `high`, and `words`."""

    whole: bool
    low: float
    high: float = float("inf")
    open_low: bool = False
    open_high: bool = False
    words: tuple[str | None, ...] = ()

    def __contains__(self, value: object) -> bool:
        if value in self.words and not isinstance(value, bool | int | float):
            return True
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        if isinstance(value, float) and not math.isfinite(value):
            return False
        above = value > self.low if self.open_low else value >= self.low
        return above and (value < self.high if self.open_high else value <= self.high)

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        bounds = [f"{'above' if self.open_low else 'from'} {self.low:g}"]
        if self.high != float("inf"):
            bounds.append(f"{'below' if self.open_high else 'to'} {self.high:.10g}")
        words = "".join(f" or {shown(word)}" for word in self.words)
        return f"{kind} {' '.join(bounds)}{words}"


@dataclass(frozen=True)
class OneOf:
    """The words that a key may be set to."""

    words: tuple[str | None, ...]

    def __contains__(self, value: object) -> bool:
        return value in self.words

    def __str__(self) -> str:
        return f"one of: {', '.join(map(shown, self.words))}"


def check(key: str, value: object, limit: Limit | OneOf) -> None:
    """Refuse a value that is not within its limit.

    Raises:
        UserError: names the key, the value, what is allowed and the word most like it.
    """
    if value not in limit:
        raise UserError(
            f"{key}={shown(value)}: must be {limit}.{nearest(str(value), filter(None, limit.words))}"
        )


def shown(value: object) -> str:
    """A value as one writes it on the command line."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


COUNT = Limit(whole=True, low=1)
NOT_NEGATIVE = Limit(whole=False, low=0)
POSITIVE = Limit(whole=False, low=0, open_low=True)
# The engine's own keys. What the arguments of a class may be, the class says by its annotations.
LIMITS: dict[str, Limit | OneOf] = {
    "threads": COUNT,
    "sweep.retry": OneOf((None, "failed")),
    "seed": Limit(whole=True, low=0, high=2**32 - 1),
    "trainer.max_epochs": Limit(whole=True, low=1, words=(None,)),
    "trainer.max_steps": Limit(whole=True, low=-1),
    "trainer.log_every_n_steps": COUNT,
    "trainer.steps_per_call": COUNT,
    "trainer.check_val_every_n_epoch": Limit(whole=True, low=1, words=(None,)),
    "trainer.devices": Limit(whole=True, low=1, words=("auto",)),
}

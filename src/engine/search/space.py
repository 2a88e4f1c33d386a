"""The space of a search: Hydra's words for values, as Optuna's distributions."""

import itertools
import logging
import math
import typing
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    RangeSweep,
    Transformer,
)
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from engine.config.keys import TARGET
from engine.config.limits import shown, typed
from engine.config.objects import arguments_of, located
from engine.config.resolved import Config
from engine.errors import UserError, nearest

log = logging.getLogger(__name__)


def distribution(override: Override, config: Config) -> BaseDistribution:
    """Returns the distribution of a key that the command line sweeps.

    The word is `interval(a,b)`, `tag(log,interval(a,b))`, `range(a,b,step)`, `a,b` or a glob. An
    interval holds whole numbers if `int(interval(a,b))` says so, or if its bounds and the key's
    value in `config` are such and the class takes no others by its annotation. As in Hydra, a range
    ends before its second number; an interval has both its bounds.

    Raises:
        UserError: if there is nothing in it, a tag is unknown, or nobody says which numbers.
    """
    sweep: Any = override.value()
    tags: set[str] = getattr(sweep, "tags", set())
    for tag in tags - {"log"}:
        raise UserError(
            f"{override.input_line}: no such tag: {tag}.{nearest(tag, ['log'])} "
            "The only one is log."
        )
    if isinstance(sweep, IntervalSweep):
        return _interval(override, sweep, config)
    if isinstance(sweep, RangeSweep):
        return _range(override, sweep)
    if tags:
        raise UserError(f"{override.input_line}: log is for an interval or a range of numbers.")
    is_list = isinstance(sweep, ChoiceSweep)
    elements = sweep.list if is_list else override.sweep_iterator()  # of a glob
    choices = [x if isinstance(x, bool | int | float) else Transformer.str(x) for x in elements]
    if not choices:
        raise UserError(f"{override.input_line}: matches no choice.")
    for one, other in itertools.combinations(choices, 2):
        if one == other and type(one) is not type(other):
            raise UserError(
                f"{override.input_line}: {shown(one)} and {shown(other)} are equal numbers, which "
                "Optuna takes for one choice; try them in a sweep."
            )
    kept = list(dict.fromkeys(choices))
    if len(kept) < len(choices):  # as a sweep says it
        log.info("%s: a choice that stands there twice is tried as one", override.input_line)
    return CategoricalDistribution(kept)


def _interval(override: Override, sweep: IntervalSweep, config: Config) -> BaseDistribution:
    low: Any = sweep.start
    high: Any = sweep.end
    log = "log" in sweep.tags
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UserError(f"{override.input_line}: the bounds must be finite numbers.")
    if low > high:
        raise UserError(f"{override.input_line}: the first bound must not be above the second.")
    if log and low <= 0:
        raise UserError(f"{override.input_line}: a log scale must start above 0.")
    if isinstance(low, int) or _is_whole(override, low, high, config):
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(low, high, log=log)


def _is_whole(override: Override, low: float, high: float, config: Config) -> bool:
    """Tells whether an interval is of whole numbers: 0 in a config may stand for 0.0.

    Raises:
        UserError: if the bounds and the key's value are whole, and no annotation says more.
    """
    key = override.key_or_group
    word = str(override.input_line)
    if type(config.get(key)) is not int or not (low.is_integer() and high.is_integer()):
        return False
    parent, _, name = key.rpartition(".")
    node = config.get(parent) if parent else None
    target = node.get(TARGET) if isinstance(node, Mapping) else None
    takes = arguments_of(located(target, f"{parent}.{TARGET}")) if target else None
    hint = takes[name].annotation if takes and name in takes else Any
    # Where a class takes both, as for a number of batches or a share, a whole number means another.
    if "float(" not in word and not _names(hint, int) and not _names(hint, float):
        bounds = f"(interval({low:g},{high:g}))"
        raise UserError(f"{word}: of whole numbers, or of all? Say int{bounds} or float{bounds}.")
    return "float(" not in word and _names(hint, int)


def _names(hint: Any, kind: type) -> bool:
    return hint is kind or any(_names(inner, kind) for inner in typing.get_args(hint))


def _range(override: Override, sweep: RangeSweep) -> BaseDistribution:
    numbers: Any = sorted(sweep.range())
    log = "log" in sweep.tags
    if not numbers:
        raise UserError(f"{override.input_line}: a range without a number.")
    if log and (numbers[0] <= 0 or abs(sweep.step) != 1 or isinstance(numbers[0], float)):
        raise UserError(
            f"{override.input_line}: a range on a log scale is of whole numbers from 1 "
            "in steps of 1."
        )
    step: Any = abs(sweep.step)
    if isinstance(numbers[0], float):
        # Added up as they are written: 3 * 0.3 is less than 0.9, and Optuna would leave it out.
        first, by = Decimal(str(sweep.start)), Decimal(str(sweep.step))
        low, high = sorted([first, first + (len(numbers) - 1) * by])
        return FloatDistribution(float(low), float(high), step=step)
    return IntDistribution(numbers[0], numbers[-1], step=step, log=log)


def values(key: str, distribution: BaseDistribution) -> list[Any]:
    """Returns all values of a distribution, for a grid.

    Raises:
        UserError: if they cannot be counted.
    """
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    if distribution.step is None:
        interval = f"interval({distribution.low:g},{distribution.high:g})"
        raise UserError(f"{key}={interval}: a grid needs values, such as 1,2.")
    low, high, step = (
        Decimal(str(n)) for n in (distribution.low, distribution.high, distribution.step)
    )
    kind = float if isinstance(distribution, FloatDistribution) else int
    return [kind(low + i * step) for i in range(int((high - low) / step) + 1)]


def ends(distribution: BaseDistribution) -> list[Any]:
    """Returns the bounds of numbers, or all choices: what has to be right for all to be right."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return [distribution.low, distribution.high]


def size(space: Mapping[str, BaseDistribution]) -> int:
    """Returns the number of combinations."""
    return math.prod(len(values(key, distribution)) for key, distribution in space.items())


def words(params: Mapping[str, Any]) -> list[str]:
    """Returns a trial's parameters as overrides."""
    return [f"{key}={typed(value)}" for key, value in params.items()]

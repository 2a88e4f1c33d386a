"""Makes learning rates that change in training, by torch's own schedulers.

Each function is what `scheduler=` chooses. It returns the `lr_scheduler` config of Lightning's
`configure_optimizers`. Lengths are shares of the training, so that they fit any number of steps.
`configured` is the one place that calls a schedule, and that says what a schedule may return.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Literal

from annotated_types import Gt, Le, Lt
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from engine.config.ranges import Count, CountOrZero, Fraction, NotNegative
from engine.errors import UserError
from engine.steps.length import Interval

Share = Annotated[float, Gt(0), Le(1)]
AboveOne = Annotated[float, Gt(1), Lt(math.inf)]
Factor = Annotated[float, Gt(0), Le(1)]
# How many rates the whole training uses, for an interval and a frequency.
Rates = Callable[[Interval, int], float]
Config = dict[str, Any]  # with scheduler, interval and frequency, as Lightning takes it
OfTorch = Callable[[Optimizer], LRScheduler]  # a class of torch's, or a partial of one
Schedule = Callable[[Optimizer, Rates], LRScheduler | Mapping[str, Any]] | OfTorch
NEEDED = (
    "It needs a function of (optimizer, rates) that returns a scheduler or Lightning's "
    "lr_scheduler config, or a class of torch.optim.lr_scheduler."
)


def configured(schedule: Schedule, optimizer: Optimizer, rates: Rates) -> Config:
    """Calls a schedule, and returns Lightning's `lr_scheduler` config of what it makes.

    A class of torch's is called with the optimiser only, as everywhere. Lightning steps a scheduler
    without a config after each epoch.

    Args:
        schedule: as chosen.
        optimizer: has the first learning rates.
        rates: counts the rates that training uses.

    Raises:
        UserError: if the schedule takes other arguments, makes no scheduler, or makes one that
            follows a metric and names none.
    """
    call: Any = schedule
    inner: Any = schedule
    while isinstance(inner, partial):
        inner = inner.func
    owner = inner if hasattr(inner, "__qualname__") else type(inner)
    named = f"scheduler={owner.__module__}.{owner.__qualname__}"
    is_torchs = isinstance(inner, type) and issubclass(inner, LRScheduler)
    is_torchs = is_torchs and "rates" not in inspect.signature(inner).parameters
    given = (optimizer,) if is_torchs else (optimizer, rates)
    try:
        inspect.signature(schedule).bind(*given)
    except TypeError as error:
        raise UserError(f"{named}: {error}.\n{NEEDED}") from None
    except ValueError:  # of a function in C, Python may not know the arguments
        pass
    made = call(*given)
    config = {**made} if isinstance(made, Mapping) else {"scheduler": made}
    scheduler = config.get("scheduler")
    if not hasattr(scheduler, "step"):  # Lightning would keep the rate
        kind = "None" if scheduler is None else type(scheduler).__name__
        raise UserError(f"{named}: gives {kind}, not a scheduler.\n{NEEDED}")
    if follows_metric(config) and config.get("monitor") is None:
        raise UserError(
            f"{named}: {type(scheduler).__name__} follows a metric, and nothing names one.\n"
            "Choose scheduler=plateau, which has scheduler.monitor=val/loss, or return "
            '{"scheduler": …, "monitor": "val/loss"} from a function.'
        )
    return config


def follows_metric(config: Config) -> bool:
    """Tells whether the learning rate of an `lr_scheduler` config goes by a metric."""
    is_plateau = isinstance(config["scheduler"], ReduceLROnPlateau)
    return bool(config.get("reduce_on_plateau", is_plateau))


def cosine(
    optimizer: Optimizer,
    rates: Rates,
    warmup: Fraction = 0.05,
    floor: Fraction = 0.0,
    interval: Interval = "step",
    frequency: Count = 1,
) -> Config:
    """Raises the learning rate linearly, and lowers it by half a cosine (Loshchilov & Hutter 2017).

    With w of n rates in warm-up, rate k, from 0, is lr · (k + 1) / (w + 1) for k ≤ w, and
    lr · (floor + (1 - floor) · (1 + cos(π (k - w) / (n - w))) / 2) for k ≥ w.

    Args:
        optimizer: has the learning rates lr.
        rates: counts the rates that training uses.
        warmup: share of the training with a rising rate.
        floor: the rate at the end, as a share of lr; of the least lr, if there are several.
        interval: what a change of the rate follows.
        frequency: intervals from one change to the next.
    """
    number = _length(rates(interval, frequency))
    rising = int(warmup * number)
    least = floor * min(group["lr"] for group in optimizer.param_groups)
    falls = CosineAnnealingLR(optimizer, T_max=number - rising, eta_min=least)
    scheduler: LRScheduler = falls
    if rising:
        rises = LinearLR(optimizer, start_factor=1 / (rising + 1), total_iters=rising)
        scheduler = SequentialLR(optimizer, [rises, falls], milestones=[rising])
    return {"scheduler": scheduler, "interval": interval, "frequency": frequency}


def step(
    optimizer: Optimizer,
    rates: Rates,
    every: Share = 0.3,
    factor: Factor = 0.1,
    interval: Interval = "step",
    frequency: Count = 1,
) -> Config:
    """Multiplies the learning rate by `factor` after each share `every` of the training.

    Args:
        optimizer: has the first learning rates.
        rates: counts the rates that training uses.
        every: share of the training from one drop to the next.
        factor: what the rate is multiplied by.
        interval: what a change of the rate follows.
        frequency: intervals from one change to the next.
    """
    length = max(1, round(every * _length(rates(interval, frequency))))
    scheduler = StepLR(optimizer, step_size=length, gamma=factor)
    return {"scheduler": scheduler, "interval": interval, "frequency": frequency}


def one_cycle(
    optimizer: Optimizer,
    rates: Rates,
    rise: Fraction = 0.3,
    start: AboveOne = 25.0,
    end: AboveOne = 1e4,
    low_momentum: Fraction | None = 0.85,
    interval: Literal["step"] = "step",
    frequency: Count = 1,
) -> Config:
    """Raises the learning rate to the optimiser's, and lowers it far below (Smith & Topin 2018).

    Momentum, or Adam's beta1, goes the other way: from the optimiser's own down to `low_momentum`,
    and up again. An optimiser without momentum keeps none.

    Args:
        optimizer: has the highest learning rates lr.
        rates: counts the rates that training uses.
        rise: share of the training with a rising rate.
        start: the rate begins at lr / start.
        end: the rate ends at lr / start / end.
        low_momentum: the momentum at the highest rate; None keeps the optimiser's own.
        interval: what a change of the rate follows; Lightning advises against epochs.
        frequency: intervals from one change to the next.
    """
    number = max(_length(rates(interval, frequency)), 3)  # torch divides by zero for fewer
    rising = min(max(round(rise * number), 2), number - 1)
    groups = optimizer.param_groups
    momenta = [group.get("betas", [group.get("momentum", 0)])[0] for group in groups]
    scheduler = OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in groups],
        total_steps=number,
        pct_start=rising / number,
        div_factor=start,
        final_div_factor=end,
        cycle_momentum=low_momentum is not None and any(momenta),
        base_momentum=low_momentum or 0.0,
        max_momentum=momenta,
    )
    return {"scheduler": scheduler, "interval": interval, "frequency": frequency}


def plateau(
    optimizer: Optimizer,
    rates: Rates,
    monitor: str = "val/loss",
    mode: Literal["min", "max"] = "min",
    factor: Fraction = 0.1,
    patience: CountOrZero = 10,
    threshold: NotNegative = 1e-4,
    interval: Interval = "epoch",
    frequency: Count = 1,
) -> Config:
    """Multiplies the learning rate by `factor` where a metric is no better than it was.

    Args:
        optimizer: has the first learning rates.
        rates: unused, as this schedule has no length.
        monitor: the metric.
        mode: "min" or "max": which value of the metric is best.
        factor: what the rate is multiplied by.
        patience: updates without a better value that change nothing.
        threshold: share of the best value by which a better one must differ.
        interval: what a change of the rate follows.
        frequency: intervals from one change to the next.
    """
    scheduler = ReduceLROnPlateau(
        optimizer, mode=mode, factor=factor, patience=patience, threshold=threshold
    )
    return {
        "scheduler": scheduler,
        "interval": interval,
        "frequency": frequency,
        "monitor": monitor,
    }


def _length(rates: float) -> int:
    """Returns a number of rates, from 1.

    Raises:
        UserError: if training has no end.
    """
    if rates == math.inf:
        raise UserError(
            "scheduler: this schedule's lengths are shares of the training, and the training has "
            "no known end. Set trainer.max_epochs or trainer.max_steps, or choose scheduler=none."
        )
    return max(int(rates), 1)

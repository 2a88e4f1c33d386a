"""Makes learning rates that change in training, by torch's own schedulers.

Each function is what `scheduler=` chooses. It returns the `lr_scheduler` config of Lightning's
`configure_optimizers`. Lengths are shares of the training, so that they fit any number of steps.
"""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from annotated_types import Gt, Le
from lightning.pytorch import Trainer
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
from engine.fence.lightning import batches_of_epoch

Interval = Literal["step", "epoch"]
Share = Annotated[float, Gt(0), Le(1)]
AboveOne = Annotated[float, Gt(1)]
Factor = Annotated[float, Gt(0), Le(1)]
# How often Lightning calls a scheduler in the whole training, for an interval and a frequency.
Updates = Callable[[Interval, int], float]
Config = dict[str, Any]  # with scheduler, interval and frequency, as Lightning takes it
Schedule = Callable[[Optimizer, Updates], Mapping[str, Any]]


def cosine(
    optimizer: Optimizer,
    updates: Updates,
    warmup: Fraction = 0.05,
    floor: Fraction = 0.0,
    interval: Interval = "step",
    frequency: Count = 1,
) -> Config:
    """Raises the learning rate linearly, and lowers it by half a cosine (Loshchilov & Hutter 2017).

    With w updates of warm-up out of n, update k uses lr · (k + 1) / (w + 1) for k ≤ w, and
    lr · (floor + (1 - floor) · (1 + cos(π (k - w) / (n - w))) / 2) for k ≥ w.

    Args:
        optimizer: has the learning rates lr.
        updates: counts the updates of the training.
        warmup: share of the updates with a rising rate.
        floor: the rate at the end, as a share of lr; of the least lr, if there are several.
        interval: what an update follows.
        frequency: intervals from one update to the next.
    """
    number = _length(updates(interval, frequency))
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
    updates: Updates,
    every: Share = 0.3,
    factor: Factor = 0.1,
    interval: Interval = "step",
    frequency: Count = 1,
) -> Config:
    """Multiplies the learning rate by `factor` after each share `every` of the updates.

    Args:
        optimizer: has the first learning rates.
        updates: counts the updates of the training.
        every: share of the updates from one drop to the next.
        factor: what the rate is multiplied by.
        interval: what an update follows.
        frequency: intervals from one update to the next.
    """
    length = max(1, round(every * _length(updates(interval, frequency))))
    scheduler = StepLR(optimizer, step_size=length, gamma=factor)
    return {"scheduler": scheduler, "interval": interval, "frequency": frequency}


def one_cycle(
    optimizer: Optimizer,
    updates: Updates,
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
        updates: counts the updates of the training.
        rise: share of the updates with a rising rate.
        start: the rate begins at lr / start.
        end: the rate ends at lr / start / end.
        low_momentum: the momentum at the highest rate; None keeps the optimiser's own.
        interval: what an update follows; Lightning advises against epochs.
        frequency: intervals from one update to the next.
    """
    number = max(_length(updates(interval, frequency)), 3)  # torch divides by zero for fewer
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
    updates: Updates,
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
        updates: unused, as this schedule has no length.
        monitor: the metric.
        mode: "min" or "max": which value of the metric is best.
        factor: what the rate is multiplied by.
        patience: updates without a better value that change nothing.
        threshold: share of the best value by which a better one must differ.
        interval: what an update follows.
        frequency: intervals from one update to the next.
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


def updates_of(trainer: Trainer, interval: Interval, frequency: int) -> float:
    """Returns how often Lightning calls a scheduler in a Trainer's training; infinity if no end.

    It counts batches anew in each epoch, and looks at those only that end with a step.
    """
    steps = trainer.estimated_stepping_batches
    if steps in (-1, math.inf) or (interval, frequency) == ("step", 1):
        return math.inf if steps == -1 else steps
    batches = batches_of_epoch(trainer)
    window = trainer.accumulate_grad_batches
    if batches == math.inf:
        return math.inf
    numbers = range(1, int(batches) + 1)
    stepping = [n for n in numbers if n % window == 0 or n == batches]
    if interval == "epoch":
        return steps // len(stepping) // frequency
    due = [n % frequency == 0 for n in stepping]
    epochs, rest = divmod(int(steps), len(due))
    return epochs * sum(due) + sum(due[:rest])


def _length(updates: float) -> int:
    """Returns a number of updates, from 1.

    Raises:
        UserError: if training has no end.
    """
    if updates == math.inf:
        raise UserError(
            "scheduler: this schedule's lengths are shares of the training, and the training has "
            "no known end. Set trainer.max_epochs or trainer.max_steps, or choose scheduler=none."
        )
    return max(int(updates), 1)

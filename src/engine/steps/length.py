"""Counts the steps of a training before it begins, as Lightning will make them.

The windows of accumulated gradients may differ from epoch to epoch.
"""

import bisect
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Literal

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, GradientAccumulationScheduler

from engine.fence.lightning import batches_of_epoch

Interval = Literal["step", "epoch"]


def steps_of(trainer: Trainer) -> float:
    """Returns the steps of a Trainer's optimiser in all of its training; infinity if no end."""
    most = math.inf if trainer.max_steps == -1 else trainer.max_steps
    if trainer.max_epochs == -1 or math.isinf(batches := batches_of_epoch(trainer)):
        return most
    steps = 0
    for window in _windows(trainer):
        steps += math.ceil(batches / window)
        if steps >= most:
            return most
    return steps


def rates_of(trainer: Trainer, interval: Interval, frequency: int) -> float:
    """Returns how many learning rates a training uses; infinity if it has no end.

    This is one more than Lightning calls a scheduler before the last step. It counts batches anew
    in each epoch, and looks at those only that end with a step.

    Args:
        trainer: the training's.
        interval: what a call follows.
        frequency: intervals from one call to the next.
    """
    end = steps_of(trainer)
    if math.isinf(end) or (interval, frequency) == ("step", 1):
        return max(end, 1)
    batches = batches_of_epoch(trainer)
    if math.isinf(batches) or not batches:  # where an epoch ends is not known, or training is none
        return max(batches, 1)
    batches = int(batches)
    steps = int(end)
    rates = 1
    for epoch, window in enumerate(_windows(trainer), start=1):
        # A step ends each window, and the last batch of an epoch.
        common = math.lcm(window, frequency)
        if steps <= (number := math.ceil(batches / window)):  # the last epoch
            return rates + (window * (steps - 1) // common if interval == "step" else 0)
        steps -= number
        if interval == "step":
            rates += (batches - 1) // common + (batches % frequency == 0)
        else:
            rates += epoch % frequency == 0
    return rates


def batches_after(trainer: Trainer) -> Callable[[int], int]:
    """Returns a function that says how many batches were done after so many steps of a training."""
    windows: list[int] = []  # of the epochs so far
    ends = [0]  # steps before each epoch, and after the last one
    further = _windows(trainer, math.inf)
    batches = max(int(trainer.num_training_batches), 1)

    def after(step: int) -> int:
        while ends[-1] < step:
            windows.append(next(further))
            ends.append(ends[-1] + math.ceil(batches / windows[-1]))
        epoch = bisect.bisect_left(ends, step) - 1
        if epoch < 0:
            return 0
        return epoch * batches + min((step - ends[epoch]) * windows[epoch], batches)

    return after


def _windows(trainer: Trainer, epochs: float | None = None) -> Iterator[int]:
    """Yields, for each epoch, the batches whose gradients are accumulated for a step.

    Args:
        trainer: the training's.
        epochs: whose windows to yield; None for those of the training.
    """
    if epochs is None:
        # Lightning's own estimate counts one epoch at least.
        epochs = math.inf if trainer.max_epochs == -1 else max(trainer.max_epochs or 0, 1)
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    for epoch in itertools.count() if math.isinf(epochs) else range(int(epochs)):
        window = trainer.accumulate_grad_batches
        for callback in callbacks:
            if isinstance(callback, GradientAccumulationScheduler):
                window = callback.get_accumulate_grad_batches(epoch)
        yield window

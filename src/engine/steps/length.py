"""Counts the steps of a training before it begins, as Lightning will make them.

The windows of accumulated gradients may differ from epoch to epoch.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Literal

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, GradientAccumulationScheduler

from engine.fence.lightning import batches_of_epoch

Interval = Literal["step", "epoch"]


def steps_of(trainer: Trainer) -> float:
    """Returns the steps of a Trainer's optimiser in all of its training; infinity if no end."""
    most = _most(trainer)
    if math.isinf(batches_of_epoch(trainer)) or (trainer.max_epochs == -1 and math.isinf(most)):
        return most
    steps = 0
    for stepping in _epochs(trainer):
        steps += len(stepping)
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
    if math.isinf(batches_of_epoch(trainer)):
        return math.inf  # where an epoch ends is not known
    steps, calls = 0, 0
    for epoch, stepping in enumerate(_epochs(trainer), start=1):
        before = stepping[: int(end) - steps - 1]  # without the last step of all
        steps += len(stepping)
        if interval == "step":
            calls += sum(number % frequency == 0 for number in before)
        elif steps < end:
            calls += epoch % frequency == 0
        if steps >= end:
            break
    return calls + 1


def _epochs(trainer: Trainer) -> Iterator[Sequence[int]]:
    """Yields each epoch's batches that end with a step, by their numbers from 1.

    The last batch of an epoch does, too.
    """
    batches = int(batches_of_epoch(trainer))
    window = _windows(trainer)

    @cache
    def stepping(length: int) -> list[int]:
        return [*range(length, batches, length), batches]

    epochs = itertools.count() if trainer.max_epochs == -1 else range(trainer.max_epochs or 0)
    return (stepping(window(epoch)) for epoch in epochs)


def _windows(trainer: Trainer) -> Callable[[int], int]:
    """Returns a function of an epoch, from 0, that gives the batches of a step."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    changing = [own for own in callbacks if isinstance(own, GradientAccumulationScheduler)]
    if changing:
        return changing[-1].get_accumulate_grad_batches
    return lambda epoch: trainer.accumulate_grad_batches


def _most(trainer: Trainer) -> float:
    return math.inf if trainer.max_steps == -1 else trainer.max_steps

"""A longer run's learning rates: what would come to its end is refused before it begins."""

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    ConstantLR,
    LRScheduler,
    OneCycleLR,
    SequentialLR,
)

from engine.checks.schedules import check_schedules
from engine.errors import UserError
from fenced import Net


def cycle(optimizer: Optimizer, steps: int) -> LRScheduler:
    return OneCycleLR(optimizer, 0.1, total_steps=steps)


MADE: dict[str, Callable[[Optimizer], LRScheduler]] = {
    "alone": lambda own: cycle(own, 10),
    "chained": lambda own: ChainedScheduler([ConstantLR(own), cycle(own, 10)]),
    "last": lambda own: SequentialLR(own, [ConstantLR(own), cycle(own, 6)], [4]),
    "first": lambda own: SequentialLR(own, [cycle(own, 10), ConstantLR(own)], [11]),
    "first, too short": lambda own: SequentialLR(own, [cycle(own, 10), ConstantLR(own)], [12]),
    "within both": lambda own: ChainedScheduler(
        [SequentialLR(own, [ConstantLR(own), cycle(own, 7), ConstantLR(own)], [3, 12])]
    ),
}


def calls_without_an_error(make: Callable[[Optimizer], LRScheduler]) -> int:
    """Steps a schedule of PyTorch's for as long as it goes, and for 20 calls at most."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)
    schedule = make(optimizer)
    for number in range(20):
        optimizer.step()
        try:
            schedule.step()
        except ValueError:
            return number
    return 20


@pytest.mark.filterwarnings("ignore:Detected call of", "ignore:The epoch parameter")
@pytest.mark.parametrize("name", MADE)
def test_what_would_end_in_an_error_is_refused(
    name: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """As it happened: within a `SequentialLR`, a cycle ended the longer run by a traceback."""
    most = calls_without_an_error(MADE[name])
    assert most == (20 if name == "first" else 10)
    schedule = MADE[name](torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1))
    configs = [LRSchedulerConfig(schedule, interval="step")]

    def trainer(steps: int) -> Any:
        return SimpleNamespace(
            lightning_module=Net(), lr_scheduler_configs=configs, max_steps=steps, max_epochs=-1
        )

    with caplog.at_level(logging.WARNING):
        check_schedules(trainer(most), tmp_path)
    kind = type(schedule).__name__
    assert caplog.messages == [f"{kind} goes on as it was made: it may know the shorter length"]
    if most < 20:
        place = "" if name == "alone" else f" in {kind}"
        with pytest.raises(UserError, match=rf"^OneCycleLR{place}: goes on as it was made"):
            check_schedules(trainer(most + 1), tmp_path)

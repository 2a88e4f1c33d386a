"""Checks what the Trainer that a job of a stack sees shows of the stack's."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from engine import logged_step
from engine.vectorized import NotStacked
from engine.vectorized.job import TrainerOfJob


@pytest.fixture
def trainer(tmp_path: Path) -> Any:
    of_all = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, max_epochs=3)
    member = SimpleNamespace(
        folder=tmp_path,
        module=nn.Linear(1, 1),
        data=None,
        optimizer=torch.optim.SGD([nn.Parameter(torch.ones(1))]),
        callbacks=[],
        loggers=[],
        rows=[],
        draws=False,
    )
    return TrainerOfJob(of_all, SimpleNamespace(members=[member], refuse=NotStacked), 0)


@pytest.mark.parametrize(
    "name",
    ["strategy", "fit_loop", "validate_loop", "test_loop", "predict_loop", "_callback_connector"],
)
def test_parts_of_all_jobs_are_refused_to_a_users_code(name: str, trainer: Any) -> None:
    with pytest.raises(NotStacked, match=f"a callback asks for trainer.{name}"):
        getattr(trainer, name)


def test_what_the_engine_or_lightning_asks_these_parts_for_is_answered(trainer: Any) -> None:
    assert logged_step(trainer) == 0
    assert trainer.log_dir == trainer.default_root_dir
    assert (trainer.global_step, trainer.max_epochs, trainer.is_global_zero) == (0, 3, True)


def test_what_a_callback_keeps_in_the_trainer_is_its_own(trainer: Any) -> None:
    assert not hasattr(trainer, "_mine")
    trainer._mine = 1
    assert trainer._mine == 1

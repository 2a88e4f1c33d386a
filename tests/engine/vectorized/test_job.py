"""Checks what the Trainer that a job of a stack sees shows of the stack's."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch import nn
from torchmetrics import MeanMetric

from engine import logged_step
from engine.vectorized import NotStacked
from engine.vectorized.job import Member, TrainerOfJob


@pytest.fixture
def trainer(tmp_path: Path) -> Any:
    of_all = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, max_epochs=3)
    member = SimpleNamespace(
        folder=tmp_path,
        module=nn.Linear(1, 1),
        data=None,
        optimizer=torch.optim.SGD([nn.Parameter(torch.ones(1))]),
        callbacks=[EarlyStopping("val/loss")],
        loggers=[],
        rows=[],
        draws=False,
    )
    return TrainerOfJob(of_all, SimpleNamespace(members=[member], refuse=NotStacked), 0)


@pytest.mark.parametrize(
    "name",
    [
        *("strategy", "fit_loop", "validate_loop", "test_loop", "predict_loop"),
        *("callbacks", "progress_bar_callback", "_callback_connector"),
    ],
)
def test_parts_of_all_jobs_are_refused_to_a_users_code(name: str, trainer: Any) -> None:
    with pytest.raises(NotStacked, match=f"a callback asks for trainer.{name}"):
        getattr(trainer, name)


def test_what_the_engine_or_lightning_asks_these_parts_for_is_answered(trainer: Any) -> None:
    assert [type(own) for own in trainer.early_stopping_callbacks] == [EarlyStopping]
    assert logged_step(trainer) == 0
    assert trainer.log_dir == trainer.default_root_dir
    assert (trainer.global_step, trainer.max_epochs, trainer.is_global_zero) == (0, 3, True)


def test_what_a_callback_keeps_in_the_trainer_is_its_own(trainer: Any) -> None:
    assert not hasattr(trainer, "_mine")
    trainer._mine = 1
    assert trainer._mine == 1


@pytest.fixture
def member() -> Member:
    """Returns a job whose evaluation ends, without the parts that nothing is logged to."""
    made = object.__new__(Member)
    made.logged, made.hidden = {}, set()
    return made


def test_numbers_of_any_kind_are_logged_one_by_one_or_in_a_dict(member: Member) -> None:
    """As it happened: only tensors went, and the options that `log_dict` hands on were refused."""
    module = LightningModule()
    vars(module)["log"] = member.log
    module.log("val/norm", 0.25, True)
    module.log_dict({"val/count": 3, "val/half": np.float32(0.5), "val/mean": torch.tensor([2.0])})
    module.log("val/bytes", torch.tensor(4, dtype=torch.uint8), logger=True, on_step=False)
    assert member.logged is not None
    found = {name: value.item() for name, value in member.logged.items()}
    shown = {"val/norm": 0.25}
    hidden = {"val/count": 3, "val/half": 0.5, "val/mean": 2, "val/bytes": 4}
    assert found == shown | hidden
    assert all(value.dtype == torch.float32 for value in member.logged.values())
    assert member.hidden == hidden.keys()


@pytest.mark.parametrize(
    ("value", "options", "reason"),
    [
        (torch.ones(2), {}, "val/x, which is no single number"),
        (MeanMetric(), {}, "val/x, which is no single number"),
        (1.0, {"reduce_fx": "max"}, "val/x with reduce_fx=max"),
        (1.0, {"on_step": True}, "val/x with on_step=True"),
    ],
)
def test_what_is_logged_in_another_way_ends_a_stack(
    value: Any, options: dict[str, Any], reason: str, member: Member
) -> None:
    with pytest.raises(NotStacked, match=f"a callback logs {reason}"):
        member.log("val/x", value, **options)

"""Several processes share the batches of our data."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from lightning.pytorch import LightningModule, Trainer
from torch import nn

from engine.checks.device import check_shares, check_strategy
from engine.config import objects
from engine.config.resolved import Config
from engine.errors import UserError
from engine.supervised import SupervisedModule
from fitting import Arrays


class Plain(LightningModule):
    """A module of somebody else's."""


def shares(batch_size: int, processes: int, module: LightningModule) -> str | None:
    samples = np.zeros((10, 1), np.float32)
    trainer: Any = SimpleNamespace(world_size=processes)
    return check_shares(
        trainer, module, Arrays({"train": (samples, samples)}, batch_size=batch_size)
    )


@pytest.mark.parametrize(
    ("batch_size", "processes", "sizes"),
    [
        (4, 1, None),
        (4, 2, None),
        (10, 2, None),
        (100, 2, None),
        (5, 2, "5"),
        (7, 2, "3 and of 7"),
        (100, 3, "10"),
    ],
)
def test_unequal_shares_are_told_of(batch_size: int, processes: int, sizes: str | None) -> None:
    said = shares(batch_size, processes, Plain())
    assert said == (
        sizes
        and f"{processes} processes have unequal shares of a batch of {sizes}, and average the "
        "gradients of Plain: these are not those of one process."
    )


@pytest.mark.parametrize(("batch_size", "processes"), [(9, 2), (3, 2), (100, 11)])
def test_an_empty_share_is_refused(batch_size: int, processes: int) -> None:
    rest = {9: 1, 3: 1, 100: 10}[batch_size]
    with pytest.raises(UserError) as raised:
        shares(batch_size, processes, Plain())
    assert str(raised.value) == (
        f"datamodule.batch_size={batch_size}: of 10 training samples, the last batch has {rest}, "
        f"and Plain needs one for each of {processes} processes."
    )


class Own(SupervisedModule):
    """Has a step of its own."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.loss(self(batch[0]), batch[1])


def test_the_step_of_a_supervised_module_weighs_its_shares() -> None:
    assert shares(9, 2, SupervisedModule(nn.Linear(1, 1), nn.MSELoss())) is None
    assert "of Own: these are not" in str(shares(7, 2, Own(nn.Linear(1, 1), nn.MSELoss())))


DDP = "lightning.pytorch.strategies.DDPStrategy"


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        ("ddp_notebook", "=ddp_notebook: "),
        ("ddp_spawn", "=ddp_spawn: "),
        ({"_target_": DDP, "start_method": "fork"}, f": {DDP}: "),
        ({"_target_": DDP}, None),
        ("ddp", None),
    ],
)
def test_a_strategy_that_trains_in_copies_is_refused(
    strategy: str | dict[str, str], said: str | None
) -> None:
    """As it happened: exit code 0, "finished after 0 steps", and no objective."""
    config = Config({"trainer": {"strategy": strategy}})
    made = strategy if isinstance(strategy, str) else objects.build(strategy, "trainer.strategy")
    trainer = Trainer(accelerator="cpu", devices=2, strategy=made, logger=False)
    if said is None:
        check_strategy(trainer, config)
        return
    with pytest.raises(UserError) as refused:
        check_strategy(trainer, config)
    assert str(refused.value).startswith(f"trainer.strategy{said}trains in processes that end")

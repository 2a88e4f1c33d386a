"""Divergence, against the recursion of SGD in float32."""

import logging
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from engine.callbacks.checkpoints import Checkpoints
from engine.callbacks.divergence import StopOnDivergence
from fitting import columns, plain_trainer
from project.datamodules.line import LineDataModule
from project.modules.linear import LinearRegressor


def regressor(lr: float) -> LinearRegressor:
    module = LinearRegressor(optimizer=partial(torch.optim.SGD, lr=lr))
    torch.nn.init.constant_(module.network.weight, 1.0)
    return module


def first_infinite_loss(lr: float) -> int:
    """The step whose loss overflows float32, for a start at w = 1."""
    w, x = 1.0, np.array([1.0, 2.0, 3.0])
    for step in range(1000):
        if ((w * x - 2 * x) ** 2).sum() > np.finfo(np.float32).max:
            return step
        w -= lr * 2 * (x * (w * x - 2 * x)).sum()
    raise AssertionError


@pytest.mark.parametrize(
    ("every", "steps_per_epoch"),
    [(1, 100), (5, 100), (50, 10)],
    ids=["a row a step", "rows of 5", "a row an epoch"],
)
def test_training_stops_at_the_first_row_with_an_infinite_loss(
    every: int, steps_per_epoch: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    callback = StopOnDivergence()
    data = LineDataModule(seed=0, batch_size=3, steps_per_epoch=steps_per_epoch)
    trainer = plain_trainer(tmp_path, max_epochs=20, log_every_n_steps=every, callbacks=[callback])
    with caplog.at_level(logging.WARNING, logger="engine"):
        trainer.fit(regressor(lr=1.0), data)
    row = min(every, steps_per_epoch)
    stop = first_infinite_loss(1.0) // row * row + row
    assert stop > row
    assert (callback.diverged, trainer.global_step) == (True, stop)
    assert columns(tmp_path, "step")[0][-1] == stop - 1
    assert callback.cause == f"train/loss is inf at step {stop - 1}"
    assert [r.getMessage() for r in caplog.records] == [f"{callback.cause}: diverged"]


def test_a_run_that_converges_is_left_alone(tmp_path: Path) -> None:
    callback = StopOnDivergence()
    trainer = plain_trainer(tmp_path, max_epochs=2, callbacks=[callback])
    trainer.fit(regressor(lr=0.01), LineDataModule(seed=0, batch_size=3, steps_per_epoch=3))
    assert (callback.diverged, trainer.global_step) == (False, 6)


def test_a_diverged_run_does_not_go_on_when_resumed(tmp_path: Path) -> None:
    data = LineDataModule(seed=0, batch_size=3, steps_per_epoch=30)
    ends = []
    for last in (None, tmp_path / "checkpoints" / "last.ckpt"):
        callbacks = [callback := StopOnDivergence(), Checkpoints(1000, "val/loss", "min")]
        trainer = plain_trainer(
            tmp_path, max_epochs=2, callbacks=callbacks, enable_checkpointing=True
        )
        trainer.fit(regressor(lr=1.0), data, ckpt_path=last, weights_only=True)
        assert callback.diverged
        ends.append((trainer.global_step, callback.cause))
    step = first_infinite_loss(1.0)
    assert ends == [(step + 1, f"train/loss is inf at step {step}")] * 2


def points() -> DataLoader[tuple[Tensor, ...]]:
    x = torch.tensor([[0.5], [1.0], [2.0], [3.0]])
    return DataLoader(TensorDataset(x, 2 * x), batch_size=2)


class Two(LightningModule):
    """Two layers, of which the loss depends as a test says."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.first, self.last = nn.Linear(1, 3), nn.Linear(3, 1)
        if way == "zero":
            for own in self.parameters():
                nn.init.zeros_(own)
        self.first.bias.requires_grad_(way != "frozen")
        if way == "half":
            self.last.bfloat16()
        if way == "complex":
            self.last.to(torch.complex64)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor | None:
        x, y = batch
        hidden = self.first(x)
        if self.way == "detached":
            hidden = hidden.detach()
        hidden = hidden.to(self.last.weight.dtype)
        now = hidden @ self.last.weight.T if self.way == "left out" else self.last(hidden)
        loss: Tensor = (now.real - y).square().mean()
        return None if self.way == "no loss" else loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        own = self.first.parameters() if self.way == "half given" else self.parameters()
        return torch.optim.SGD(own, lr=0 if self.way == "no rate" else 0.01)


NAMES = ["first.weight", "first.bias", "last.weight", "last.bias"]
UNTRAINED = {
    "all": [],
    "half": [],
    "complex": [],
    "frozen": [],
    "detached": NAMES[:2],
    "left out": NAMES[3:],
    "half given": NAMES[2:],
    "zero": NAMES[:3],
    "no rate": NAMES,
}


@pytest.mark.filterwarnings("ignore:Complex modules are a new feature")
@pytest.mark.parametrize("way", UNTRAINED)
def test_weights_that_no_step_of_the_first_epoch_changes_are_named(
    way: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Those of zeros have no gradient, but for the last bias: each is multiplied by the others."""
    trainer = plain_trainer(tmp_path, max_epochs=2, callbacks=[StopOnDivergence()])
    with caplog.at_level(logging.WARNING, logger="engine"):
        trainer.fit(Two(way), points())
    names = UNTRAINED[way]
    said = f"not trained: no step of the first epoch has changed {len(names)} of 4 weights: "
    assert [r.getMessage() for r in caplog.records] == ([said + ", ".join(names)] if names else [])


def test_a_weight_whose_numbers_change_places_is_trained(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: the sum of its bits was the same."""

    class Turns(Two):
        def on_train_batch_end(self, *_: object) -> None:
            for weight in self.parameters():
                weight.data = weight.data.flip(0) + torch.tensor(1e-3) * (len(weight) == 1)

    trainer = plain_trainer(tmp_path, max_epochs=1, callbacks=[StopOnDivergence()])
    with caplog.at_level(logging.WARNING, logger="engine"):
        trainer.fit(Turns("no rate"), DataLoader(TensorDataset(*2 * [torch.ones(1, 1)])))
    assert caplog.records == []


@pytest.mark.parametrize("most", [0, 2**20])
def test_large_weights_are_known_by_a_sum(
    most: int, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.callbacks.divergence.MOST", most)
    trainer = plain_trainer(tmp_path, max_epochs=1, callbacks=[StopOnDivergence()])
    with caplog.at_level(logging.WARNING, logger="engine"):
        trainer.fit(Two("detached"), points())
    (record,) = caplog.records
    assert record.getMessage().endswith("2 of 4 weights: first.weight, first.bias")


@pytest.mark.filterwarnings("ignore:`training_step` returned `None`")
def test_a_training_step_that_returns_no_loss_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: a training_step that forgets its return trained nothing, and "finished"."""
    trainer = plain_trainer(tmp_path, max_epochs=2, callbacks=[StopOnDivergence()])
    with caplog.at_level(logging.WARNING, logger="engine"):
        trainer.fit(Two("no loss"), points())
    (record,) = caplog.records
    said = "not trained: no step of the first epoch has changed 4 of 4 weights: first.weight, "
    assert record.getMessage().startswith(said)
    assert record.getMessage().endswith("last.bias\nIts training_step returns no loss.")

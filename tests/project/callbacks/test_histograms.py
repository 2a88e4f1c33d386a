"""Histograms as TensorBoard reads them, against weights and gradients from the recursion of SGD."""

from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins import MixedPrecision
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from engine.callbacks.grad_norm import GradNorm
from engine.run.loggers.table import MetricsCSV
from engine.supervised import SupervisedModule
from fitting import Arrays, columns, plain_trainer
from project.callbacks.histograms import Histograms
from project.datamodules.line import LineDataModule
from project.modules.linear import LinearRegressor


def histograms(folder: Path, lr: float, steps: int, every_n_steps: int) -> EventAccumulator:
    """The events of training w on y = 2x, from w = 1."""
    module = LinearRegressor(optimizer=partial(torch.optim.SGD, lr=lr))
    torch.nn.init.constant_(module.network.weight, 1.0)
    loggers = [TensorBoardLogger(folder, name="", version="")]
    trainer = plain_trainer(
        folder, max_epochs=1, logger=loggers, callbacks=[Histograms(every_n_steps)]
    )
    trainer.fit(module, LineDataModule(seed=0, batch_size=3, steps_per_epoch=steps))
    return EventAccumulator(str(folder), size_guidance={"histograms": 0}).Reload()


def test_weights_and_gradients_are_those_before_the_step(tmp_path: Path) -> None:
    events = histograms(tmp_path, lr=0.01, steps=8, every_n_steps=3)
    assert set(events.Tags()["histograms"]) == {
        "weights/weight",
        "gradients/weight",
    }
    x, weights, gradients, w = np.array([1.0, 2.0, 3.0]), [], [], 1.0
    for _ in range(8):
        gradient = 2 * (x * (w * x - 2 * x)).sum()
        weights.append(w)
        gradients.append(gradient)
        w -= 0.01 * gradient
    for kind, expected in (("weights", weights), ("gradients", gradients)):
        found = events.Histograms(f"{kind}/weight")
        assert [event.step for event in found] == [0, 3, 6]
        for event in found:
            value = event.histogram_value
            assert (value.num, value.min) == (1, value.max)
            assert value.sum == pytest.approx(expected[event.step], rel=1e-4)


@pytest.mark.parametrize("fused", [True, False])
def test_gradients_of_mixed_precision_are_those_of_the_loss(tmp_path: Path, fused: bool) -> None:
    """As it happened: with a fused optimiser, they were as many times as large as the scale is."""
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 1.0)
    sgd = partial(torch.optim.SGD, lr=0.0, fused=fused)
    trainer = plain_trainer(
        tmp_path,
        max_epochs=1,
        logger=[TensorBoardLogger(tmp_path, name="", version=""), MetricsCSV(tmp_path)],
        callbacks=[Histograms(2), GradNorm(2)],
        plugins=[MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", 1024.0))],
    )
    data = {"train": (np.array([[1], [2]], np.float32), np.array([[2], [4]], np.float32))}
    module = SupervisedModule(network, nn.MSELoss(), optimizer=sgd)
    trainer.fit(module, Arrays(data, steps_per_epoch=4))
    events = EventAccumulator(str(tmp_path), size_guidance={"histograms": 0}).Reload()
    gradients = [event.histogram_value.sum for event in events.Histograms("gradients/weight")]
    assert gradients == [-5, -5]  # of ((w - 2)² + (2w - 4)²) / 2 at w = 1
    assert columns(tmp_path, "grad_norm/total") == [[5, 5]]


def test_what_tensorboard_cannot_draw_is_left_out(tmp_path: Path) -> None:
    events = histograms(
        tmp_path, lr=1e18, steps=6, every_n_steps=1
    )  # w: 1, 3e19, -8e38 (infinite), NaN
    assert [event.step for event in events.Histograms("weights/weight")] == [0, 1]
    assert [event.step for event in events.Histograms("gradients/weight")] == [0]


class Words(nn.Module):
    """An embedding with sparse gradients, and a parameter without numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 2, sparse=True)
        self.empty = nn.Parameter(torch.zeros(0))

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.embedding(words)


def test_gradients_may_be_sparse_and_parameters_empty(tmp_path: Path) -> None:
    module = SupervisedModule(Words(), nn.MSELoss(), optimizer=partial(torch.optim.SGD, lr=0.1))
    logger = TensorBoardLogger(tmp_path, name="", version="")
    trainer = plain_trainer(tmp_path, max_epochs=1, logger=logger, callbacks=[Histograms(1)])
    data = {"train": (np.array([1, 1, 4]), np.ones((3, 2), np.float32))}
    trainer.fit(module, Arrays(data, steps_per_epoch=1))
    events = EventAccumulator(str(tmp_path), size_guidance={"histograms": 0}).Reload()
    names = {"weights/embedding.weight", "gradients/embedding.weight"}
    assert set(events.Tags()["histograms"]) == names
    (gradients,) = events.Histograms("gradients/embedding.weight")
    assert gradients.histogram_value.num == 10  # five words of two numbers, the unused ones 0


def test_a_step_of_lbfgs_is_shown_once(tmp_path: Path) -> None:
    module = SupervisedModule(nn.Linear(3, 2), nn.MSELoss(), optimizer=torch.optim.LBFGS)
    numbers = torch.Generator().manual_seed(0)
    data = {"train": (torch.rand(8, 3, generator=numbers), torch.rand(8, 2, generator=numbers))}
    loggers = [TensorBoardLogger(tmp_path, name="", version="")]
    trainer = plain_trainer(tmp_path, max_epochs=1, logger=loggers, callbacks=[Histograms(2)])
    trainer.fit(module, Arrays(data, steps_per_epoch=3))
    events = EventAccumulator(str(tmp_path), size_guidance={"histograms": 0}).Reload()
    assert [event.step for event in events.Histograms("gradients/weight")] == [0, 2]


class Two(LightningModule):
    """Trains two numbers by two optimisers; the loss of the first has a gradient by both."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.made, self.judge = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(own.parameters(), lr=0.1) for own in (self.made, self.judge)]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Is not called: there is nothing to validate on."""

    def training_step(self, batch: Any, batch_idx: int) -> None:
        first, second = cast(Any, self.optimizers())
        self.manual_backward((self.made.weight * self.judge.weight).sum())
        first.step()
        second.zero_grad()
        self.manual_backward(self.judge.weight.sum() * 3)
        second.step()


def test_each_of_two_optimisers_shows_what_it_updates(tmp_path: Path) -> None:
    loggers = [TensorBoardLogger(tmp_path, name="", version="")]
    trainer = plain_trainer(
        tmp_path, max_epochs=1, logger=loggers, callbacks=[Histograms(every_n_steps=4)]
    )
    trainer.fit(Two(), LineDataModule(seed=0, batch_size=3, steps_per_epoch=4))
    events = EventAccumulator(str(tmp_path), size_guidance={"histograms": 0}).Reload()
    for name in ("made", "judge"):
        for kind in ("weights", "gradients"):
            found = events.Histograms(f"{kind}/{name}.weight")
            assert [event.step for event in found] == [0, 2]
    assert [e.histogram_value.sum for e in events.Histograms("gradients/judge.weight")] == [3, 3]

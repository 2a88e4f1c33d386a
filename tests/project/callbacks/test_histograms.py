"""Histograms as TensorBoard reads them, against weights and gradients from the recursion of SGD."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fitting import plain_trainer
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
        "weights/network.weight",
        "gradients/network.weight",
    }
    x, weights, gradients, w = np.array([1.0, 2.0, 3.0]), [], [], 1.0
    for _ in range(8):
        gradient = 2 * (x * (w * x - 2 * x)).sum()
        weights.append(w)
        gradients.append(gradient)
        w -= 0.01 * gradient
    for kind, expected in (("weights", weights), ("gradients", gradients)):
        found = events.Histograms(f"{kind}/network.weight")
        assert [event.step for event in found] == [0, 3, 6]
        for event in found:
            value = event.histogram_value
            assert (value.num, value.min) == (1, value.max)
            assert value.sum == pytest.approx(expected[event.step], rel=1e-4)


def test_what_tensorboard_cannot_draw_is_left_out(tmp_path: Path) -> None:
    events = histograms(
        tmp_path, lr=1e18, steps=6, every_n_steps=1
    )  # w: 1, 3e19, -8e38 (infinite), NaN
    assert [event.step for event in events.Histograms("weights/network.weight")] == [0, 1]
    assert [event.step for event in events.Histograms("gradients/network.weight")] == [0]

"""The curve's figure: drawn when it should be, and of what it should be."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fitting import Arrays, plain_trainer
from project.callbacks.curve import CurveFigure, _draw
from project.datamodules.parabola import ParabolaDataModule
from project.modules.curve_mlp import CurveMLP
from project.modules.linear import LinearRegressor
from ways import Ordinary, Small, TwoOptimizers


def test_it_is_drawn_every_n_steps_and_at_the_end(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = CurveMLP(optimizer=partial(torch.optim.SGD, lr=0.1))
    data = ParabolaDataModule(samples=20, seed=0, batch_size=20, steps_per_epoch=7)
    logger = TensorBoardLogger(tmp_path, name="", version="")
    trainer = plain_trainer(
        tmp_path, max_epochs=1, logger=logger, callbacks=[CurveFigure(every_n_steps=3)]
    )
    trainer.fit(module, data)

    drawn = EventAccumulator(str(tmp_path)).Reload().Images("train/curve")
    assert [image.step for image in drawn] == [2, 5]
    assert drawn[0].encoded_image_string != drawn[1].encoded_image_string
    assert (tmp_path / "figures" / "curve.png").read_bytes().startswith(b"\x89PNG")

    (axes,) = (figure := _draw(trainer, module)).axes
    points = data.splits["train"]
    drawn_points, truth, model = axes.lines
    np.testing.assert_array_equal(drawn_points.get_xdata(), points.inputs[:, 0])
    np.testing.assert_array_equal(drawn_points.get_ydata(), points.targets[:, 0])
    x, y = (np.asarray(values).flatten() for values in model.get_data())
    np.testing.assert_allclose(x, np.linspace(-1, 1, 200), atol=1e-6)
    np.testing.assert_allclose(y, by_hand(module, x), atol=1e-5)
    np.testing.assert_allclose(np.ravel(truth.get_ydata()), x**2 + 0.1, atol=1e-6)
    # The error is of the weights that are drawn, which no row of the training has.
    error = np.mean((by_hand(module, points.inputs.numpy()) - points.targets.numpy()[:, 0]) ** 2)
    assert figure.texts[0].get_text() == f"after 7 steps: mean squared error {error:.4f}"


def by_hand(module: CurveMLP, x: np.ndarray) -> np.ndarray:
    """Returns what the network makes of x, (N,) or (N, 1)."""
    w1, b1, w2, b2 = (p.detach().numpy() for p in module.network.parameters())
    return (np.maximum(np.outer(x, w1) + b1, 0) @ w2.T + b2)[:, 0]


class WithNorm(CurveMLP):
    """Has a layer that counts what passes it in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.network = torch.nn.Sequential(torch.nn.BatchNorm1d(1), torch.nn.Linear(1, 1))


def test_a_drawing_does_not_change_what_is_trained(tmp_path: Path) -> None:
    def states(callbacks: list[Any]) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        module = WithNorm()
        data = ParabolaDataModule(samples=20, seed=0, batch_size=20, steps_per_epoch=5)
        plain_trainer(tmp_path, max_epochs=1, logger=False, callbacks=callbacks).fit(module, data)
        assert all(layer.training for layer in module.network)
        return module.state_dict()

    plain, drawn = states([]), states([CurveFigure(1)])
    assert plain["network.0.num_batches_tracked"] == 5
    for name, values in plain.items():
        assert torch.equal(values, drawn[name]), name


ROWS = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
OTHER_DATA = [
    (Small, lambda: Arrays({"train": (ROWS, ROWS[:, :1])})),
    (lambda: LinearRegressor(1, 3), lambda: Arrays({"train": (ROWS[:, :1], ROWS)})),
    (TwoOptimizers, lambda: Ordinary(batch_size=5)),
]


@pytest.mark.parametrize(("make_module", "make_data"), OTHER_DATA)
def test_of_other_data_there_is_no_curve_and_a_line_says_so(
    make_module: Any, make_data: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    module, data = make_module(), make_data()
    trainer = plain_trainer(tmp_path, max_epochs=2, callbacks=[CurveFigure(1)], logger=False)
    trainer.fit(module, data)
    assert not (tmp_path / "figures").exists()
    lines = [r.getMessage() for r in caplog.records if r.name == "project.callbacks.curve"]
    assert lines == ["CurveFigure: no curve, as inputs and targets are not (N, 1)"]


class Shifted(ParabolaDataModule):
    """Gives the network x - 1."""

    def prepare_inputs(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs - 1


def test_the_curve_is_of_prepared_inputs(tmp_path: Path) -> None:
    """The network never sees the inputs as they are stored."""
    module, data = CurveMLP(), Shifted(samples=20, seed=0, batch_size=20, steps_per_epoch=1)
    trainer = plain_trainer(tmp_path, max_epochs=1, logger=False)
    trainer.fit(module, data)
    x, y = _draw(trainer, module).axes[0].lines[-1].get_data()
    with torch.no_grad():
        expected = module(torch.tensor(x).reshape(-1, 1) - 1).flatten()
    np.testing.assert_allclose(np.ravel(y), expected, rtol=1e-6)


class ByHand(TwoOptimizers):
    """Optimises by hand, so that a step returns no loss, on one column."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(1, 4)


def test_a_step_may_return_no_loss(tmp_path: Path) -> None:
    data: LightningDataModule = ParabolaDataModule(
        samples=20, seed=0, batch_size=20, steps_per_epoch=2
    )
    trainer = plain_trainer(tmp_path, max_epochs=1, logger=False, callbacks=[CurveFigure(1)])
    trainer.fit(ByHand(), data)
    assert (tmp_path / "figures" / "curve.png").exists()

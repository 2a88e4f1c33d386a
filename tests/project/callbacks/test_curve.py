"""The curve's figure: drawn when it should be, and of what it should be."""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from engine.run.loggers import MetricsCSV
from fitting import columns, plain_trainer
from project.callbacks.curve import CurveFigure
from project.datamodules.parabola import ParabolaDataModule
from project.modules.curve_mlp import CurveMLP


def test_it_is_drawn_every_n_steps_and_at_the_end(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = CurveMLP(optimizer=partial(torch.optim.SGD, lr=0.1))
    data = ParabolaDataModule(samples=20, seed=0, batch_size=20, steps_per_epoch=7)
    loggers = [TensorBoardLogger(tmp_path, name="", version=""), MetricsCSV(tmp_path)]
    trainer = plain_trainer(
        tmp_path, max_epochs=1, logger=loggers, callbacks=[CurveFigure(every_n_steps=3)]
    )
    trainer.fit(module, data)

    drawn = EventAccumulator(str(tmp_path)).Reload().Images("train/curve")
    assert [image.step for image in drawn] == [2, 5]
    assert drawn[0].encoded_image_string != drawn[1].encoded_image_string
    assert (tmp_path / "figures" / "curve.png").read_bytes().startswith(b"\x89PNG")

    (losses,) = columns(tmp_path, "train/loss")
    (axes,) = CurveFigure._draw(trainer, module, losses[-1]).axes
    assert axes.get_title() == f"step 6, loss {losses[-1]:.4f}"
    points = data.splits["train"]
    np.testing.assert_array_equal(
        axes.collections[0].get_offsets(), np.hstack([points.inputs, points.targets])
    )
    x, y = axes.lines[0].get_data()
    w1, b1, w2, b2 = (p.detach().numpy() for p in module.network.parameters())
    np.testing.assert_allclose(x.flatten(), np.linspace(-1, 1, 200), atol=1e-6)
    np.testing.assert_allclose(
        y.flatten(), (np.maximum(np.outer(x, w1) + b1, 0) @ w2.T + b2)[:, 0], atol=1e-5
    )

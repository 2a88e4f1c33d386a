"""Draws the curve that a model of one input and one output has learned so far."""

import logging
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from matplotlib.figure import Figure

from engine import Count, StepCallback, figures, looks, reached

log = logging.getLogger(__name__)


class CurveFigure(StepCallback):
    """Draws the training points, the model's line, and the truth that the points scatter around.

    TensorBoard gets a drawing every n steps, and figures/curve.png is the last one. The truth is
    the data module's `truth(x)`, (N, 1) -> (N, 1), where there is one. Where the data have no
    splits with inputs (N, 1) and targets (N, 1), nothing is drawn, and the log says so.

    Args:
        every_n_steps: steps from one drawing to the next.
    """

    in_a_stack = "each job"

    def __init__(self, every_n_steps: Count = 10) -> None:
        self.every_n_steps = every_n_steps
        self._draws = False

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        train: Any = getattr(data, "splits", {}).get("train")
        self._draws = bool(train) and train.inputs.shape[1:] == train.targets.shape[1:] == (1,)
        if not self._draws and stage == "fit":
            log.info("%s: no curve, as inputs and targets are not (N, 1)", type(self).__name__)

    def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
        return self._draws and (step + 1) % self.every_n_steps == 0

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._draws and reached(trainer, self.every_n_steps) and figures.are_wanted(trainer):
            # TensorBoard counts from 0. A resumed run hides what has the step it begins with.
            step = trainer.global_step - 1
            figures.show(trainer, "train/curve", _draw(trainer, module), step)

    # Not on_train_end, which Lightning skips in a resumed run without a step left.
    def on_fit_end(self, trainer: Trainer, module: LightningModule) -> None:
        if self._draws and figures.are_wanted(trainer):
            figures.save(trainer, "curve", _draw(trainer, module))


@torch.no_grad()
def _draw(trainer: Trainer, module: LightningModule) -> Figure:
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    points = data.splits["train"]
    x = torch.linspace(points.inputs.min(), points.inputs.max(), 200).unsqueeze(1)  # (200, 1)
    inputs = torch.cat([x, points.inputs]).to(next(module.parameters()))
    modes = {layer: layer.training for layer in module.modules()}
    module.eval()  # a drawing must not change the running means of batch normalisation
    y = module(data.prepare_inputs(inputs)).float().cpu()  # (200 + N, 1)
    for layer, mode in modes.items():
        layer.training = mode
    error = (y[200:] - points.targets).square().mean()
    title = f"after {trainer.global_step} steps: mean squared error {error:.4f}"
    figure, (axes,) = looks.panels((looks.WIDTH, 3.3), (0.75, 0.15, 0.5, 0.55), title)
    axes.plot(points.inputs, points.targets, "o", ms=3, color=looks.FAINT, label="data")
    if hasattr(data, "truth"):
        axes.plot(x, data.truth(x), color=looks.INK, ls=looks.DASHES[1], label="truth")
    axes.plot(x, y[:200], color=looks.WRONG, lw=2.5, label="model")
    axes.set(xlabel="x", ylabel="y")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, borderpad=0)
    return figure

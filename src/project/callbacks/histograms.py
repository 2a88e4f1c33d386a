"""Histograms of weights and gradients in TensorBoard."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer

from project.callbacks.figures import tensorboards


class Histograms(Callback):
    """Logs `weights/<parameter>` and `gradients/<parameter>`, as they are right before an optimiser step.

    Args:
        every_n_steps: steps between two of them; the first step has one.
    """

    def __init__(self, every_n_steps: int = 100) -> None:
        self.every_n_steps = every_n_steps

    def on_before_optimizer_step(self, trainer: Trainer, module: LightningModule, optimizer: Optimizer) -> None:
        if trainer.global_step % self.every_n_steps:
            return
        for logger in tensorboards(trainer):
            self._log(logger.experiment, module, trainer.global_step)

    @staticmethod
    def _log(writer: Any, module: LightningModule, step: int) -> None:
        for name, parameter in module.named_parameters():
            for kind, values in (("weights", parameter), ("gradients", parameter.grad)):
                if values is not None and values.abs().max() < 9e19:  # NaN is not; TensorBoard's last bin ends there
                    writer.add_histogram(f"{kind}/{name}", values, step)

"""Shows activations and their gradients, layer by layer, while a network trains."""

from contextlib import ExitStack
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from engine import Count, StepCallback, figures
from project.analysis.watch import watched


class Layers(StepCallback):
    """Logs the outputs of each activation function, and the loss's gradients by these outputs.

    TensorBoard gets the histograms `activations/<layer>` and `activation_gradients/<layer>`. The
    standard deviations are metrics: `activations_std/<layer>` and
    `activation_gradients_std/<layer>`. All are of the batch of a step, before the step's update.

    The gradients are those of the loss of the whole batch, by the activations of this process's
    share of the batch. With accumulated gradients, they are of the last batch of the step.

    Args:
        every_n_steps: steps from one histogram to the next; the first step has one.
    """

    looks_inside = True

    def __init__(self, every_n_steps: Count = 10) -> None:
        self.every_n_steps = every_n_steps
        self._watch = ExitStack()

    def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
        return step % self.every_n_steps == 0

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._watch.close()
        if trainer.global_step % self.every_n_steps == 0:
            self._outputs = self._watch.enter_context(watched(module))

    def on_before_optimizer_step(
        self, trainer: Trainer, module: LightningModule, optimizer: Any
    ) -> None:
        if trainer.global_step % self.every_n_steps:
            return
        factor = self._factor(trainer)
        stds = {}
        for layer, output in self._outputs.items():
            layer = layer.removeprefix("network.")
            gradient = None if output.grad is None else output.grad * factor
            for name, values in (("activations", output), ("activation_gradients", gradient)):
                if values is not None:
                    stds[f"{name}_std/{layer}"] = values.detach().std().item()
                    figures.show_histogram(trainer, f"{name}/{layer}", values, trainer.global_step)
        for logger in trainer.loggers:
            logger.log_metrics({**stds, "epoch": trainer.current_epoch}, step=trainer.global_step)

    @staticmethod
    def _factor(trainer: Trainer) -> float:
        """Returns the factor that turns a gradient as autograd has it into one of the loss.

        Lightning divides the loss by the number of accumulated batches, each process has the mean
        over its own share, and 16-mixed precision multiplies the loss by a scale.
        """
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        scale = scaler.get_scale() if scaler else 1
        return trainer.accumulate_grad_batches / trainer.world_size / scale

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._watch.close()

    def on_exception(
        self, trainer: Trainer, module: LightningModule, exception: BaseException
    ) -> None:
        self._watch.close()

"""Shows activations and their gradients, layer by layer, while a network trains."""

import logging
from contextlib import ExitStack
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from engine import Count, StepCallback, figures, logged_step
from project.analysis.watch import layers, watched

log = logging.getLogger(__name__)


class Layers(StepCallback):
    """Logs the outputs of each activation function, and the loss's gradients by these outputs.

    TensorBoard gets the histograms `activations/<layer>` and `activation_gradients/<layer>`. The
    standard deviations are metrics: `activations_std/<layer>` and
    `activation_gradients_std/<layer>`. All are of the batch of a step, before the step's update. A
    layer that the network uses again has its second use as `<layer>.2`, and so on.

    The gradients are those of the loss of the whole batch, by the activations of this process's
    share of the batch. With accumulated gradients, they are of the last batch of the step.

    A model without layers of activation functions, such as `nn.ReLU`, is not watched, and the log
    says so.

    Args:
        every_n_steps: steps from one histogram to the next; the first step has one.
    """

    looks_inside = True

    def __init__(self, every_n_steps: Count = 10) -> None:
        self.every_n_steps = every_n_steps
        self._watch = ExitStack()
        self._outputs: dict[str, Tensor] = {}
        self._has_layers = False
        self._last: int | None = None  # LBFGS computes the gradients of a step several times

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        self._has_layers = bool(layers(module))
        if not self._has_layers and stage == "fit":
            log.info(
                "%s: nothing to watch, as %s has no layer nn.ReLU or the like",
                type(self).__name__,
                type(module).__name__,
            )

    def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
        return self._has_layers and step % self.every_n_steps == 0

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._has_layers and trainer.global_step % self.every_n_steps == 0:
            self._outputs = self._watch.enter_context(watched(module))

    def on_before_optimizer_step(
        self, trainer: Trainer, module: LightningModule, optimizer: Any
    ) -> None:
        outputs = {name.removeprefix("network."): own for name, own in self._outputs.items()}
        self._outputs.clear()  # what follows is of the next step
        step = trainer.global_step
        if step % self.every_n_steps or step == self._last or not outputs:
            return
        self._last = step
        factor = self._factor(trainer)
        stds = {}
        for layer, output in outputs.items():
            gradient = None if output.grad is None else output.grad * factor
            for name, values in (("activations", output), ("activation_gradients", gradient)):
                if values is not None:
                    stds[f"{name}_std/{layer}"] = values.detach().std().item()
                    figures.show_histogram(trainer, f"{name}/{layer}", values, logged_step(trainer))
        for logger in trainer.loggers:
            logger.log_metrics({**stds, "epoch": trainer.current_epoch}, step=logged_step(trainer))

    @staticmethod
    def _factor(trainer: Trainer) -> float:
        """Returns the factor that turns a gradient as autograd has it into one of the loss.

        Lightning divides the loss by the number of accumulated batches, each process has the mean
        over its own share, and 16-mixed precision multiplies the loss by a scale.
        """
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        scale = scaler.get_scale() if scaler else 1
        return trainer.accumulate_grad_batches / trainer.world_size / scale

    def on_train_batch_end(self, *args: Any, **options: Any) -> None:
        self._watch.close()  # before a validation

    on_train_epoch_end = on_train_batch_end  # a module may end an epoch within a batch

    def on_exception(
        self, trainer: Trainer, module: LightningModule, exception: BaseException
    ) -> None:
        self._watch.close()

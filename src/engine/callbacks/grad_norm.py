"""Logs how large the gradients are, layer by layer."""

from collections.abc import Iterable
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from engine.config.ranges import Count
from engine.fence.lightning import logged_step
from engine.steps.callback import StepCallback, own_parameters, scale_of_gradients


class GradNorm(StepCallback):
    """Logs the 2-norms of the gradients right before an optimiser step, and before clipping.

    The metrics are `grad_norm/<layer>`, over the parameters of a layer, and `grad_norm/total`. Of
    several optimisers, each has a record of the parameters that it updates, and a total of its own:
    `grad_norm/total_0`, and so on.

    Args:
        every_n_steps: steps from one record to the next; the first step has one. Of several
            optimisers, each has one in its first step from there on.
    """

    looks_inside = True

    def __init__(self, every_n_steps: Count = 100) -> None:
        self.every_n_steps = every_n_steps
        self._windows: dict[int, int] = {}  # of n steps, the last one that an optimiser has shown

    @property
    def state_key(self) -> str:
        """Returns a key by which several such callbacks are told apart in a checkpoint."""
        return f"{type(self).__qualname__}, every {self.every_n_steps} steps"

    def state_dict(self) -> dict[str, Any]:
        return {"windows": dict(self._windows)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._windows = dict(state_dict["windows"])

    def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
        return step % self.every_n_steps == 0

    def on_before_optimizer_step(
        self, trainer: Trainer, module: LightningModule, optimizer: Optimizer
    ) -> None:
        step = trainer.global_step
        optimizers = trainer.optimizers
        number = optimizers.index(optimizer)
        window = step // self.every_n_steps
        if self._windows.get(number) == window:  # LBFGS computes gradients several times a step
            return
        self._windows[number] = window
        own = set(own_parameters(trainer, module, optimizer).values())

        def gradients_of(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
            return [p.grad for p in parameters if p in own and p.grad is not None]

        layers = {
            name.removeprefix("network."): gradients_of(layer.parameters(recurse=False))
            for name, layer in module.named_modules()
        }
        total = f"total_{number}" if len(optimizers) > 1 else "total"
        layers[total] = gradients_of(module.parameters())
        scale = scale_of_gradients(trainer, optimizer)
        norms = {}
        for name, gradients in layers.items():
            if gradients:
                norms[f"grad_norm/{name}"] = get_total_norm(gradients).item() / scale
        for logger in trainer.loggers:
            logger.log_metrics({**norms, "epoch": trainer.current_epoch}, step=logged_step(trainer))

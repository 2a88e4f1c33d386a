"""Logs how large the gradients are, layer by layer."""

from lightning.pytorch import LightningModule, Trainer
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from engine.config.ranges import Count
from engine.steps.callback import StepCallback


class GradNorm(StepCallback):
    """Logs the 2-norms of the gradients right before an optimiser step, and before clipping.

    The metrics are `grad_norm/<layer>`, over the parameters of a layer, and `grad_norm/total`.

    Args:
        every_n_steps: steps from one record to the next; the first step has one.
    """

    looks_inside = True

    def __init__(self, every_n_steps: Count = 100) -> None:
        self.every_n_steps = every_n_steps
        self._last: int | None = None  # LBFGS computes the gradients of a step several times

    def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
        return step % self.every_n_steps == 0

    def on_before_optimizer_step(
        self, trainer: Trainer, module: LightningModule, optimizer: Optimizer
    ) -> None:
        step = trainer.global_step
        if step % self.every_n_steps or step == self._last:
            return
        self._last = step
        layers = {
            name.removeprefix("network."): [p.grad for p in layer.parameters(recurse=False)]
            for name, layer in module.named_modules()
        }
        layers["total"] = [parameter.grad for parameter in module.parameters()]
        scale = self._scale(trainer, optimizer)
        norms = {}
        for name, gradients in layers.items():
            if there := [gradient for gradient in gradients if gradient is not None]:
                norms[f"grad_norm/{name}"] = get_total_norm(there).item() / scale
        for logger in trainer.loggers:
            logger.log_metrics({**norms, "epoch": trainer.current_epoch}, step=step)

    @staticmethod
    def _scale(trainer: Trainer, optimizer: Optimizer) -> float:
        """Returns the scale of the gradients: 16-mixed precision leaves it to a fused optimiser."""
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        is_fused = any(group.get("fused") for group in optimizer.param_groups)
        return float(scaler.get_scale()) if scaler and is_fused else 1.0

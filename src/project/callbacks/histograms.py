"""Shows histograms of weights and gradients in TensorBoard."""

from lightning.pytorch import LightningModule, Trainer
from torch.optim import Optimizer

from engine import Count, StepCallback, figures, logged_step, own_gradients, own_parameters


class Histograms(StepCallback):
    """Logs `weights/<parameter>` and `gradients/<parameter>` right before an optimiser step.

    Of several optimisers, each has histograms of the parameters that it updates.

    Args:
        every_n_steps: steps from one histogram to the next; the first step has one. Of several
            optimisers, each has one in its first step from there on.
    """

    looks_inside = True

    def __init__(self, every_n_steps: Count = 100) -> None:
        self.every_n_steps = every_n_steps
        self._windows: dict[int, int] = {}  # of n steps, the last one that an optimiser has shown

    def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
        return step % self.every_n_steps == 0

    def on_before_optimizer_step(
        self, trainer: Trainer, module: LightningModule, optimizer: Optimizer
    ) -> None:
        step, number = trainer.global_step, trainer.optimizers.index(optimizer)
        if self._windows.get(number) == step // self.every_n_steps:  # LBFGS comes several times
            return
        self._windows[number] = step // self.every_n_steps
        own = {
            "weights": own_parameters(trainer, module, optimizer).items(),
            "gradients": own_gradients(trainer, module, optimizer),
        }
        for kind, shown in own.items():
            for name, values in shown:
                tag = f"{kind}/{name.removeprefix('network.')}"
                figures.show_histogram(trainer, tag, values, logged_step(trainer))

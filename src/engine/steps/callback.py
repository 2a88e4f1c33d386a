"""engine.steps.callback"""

from collections.abc import Sequence

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden

PER_STEP = (
    "on_train_batch_start", "on_train_batch_end", "on_before_zero_grad", "on_before_backward", "on_after_backward",
    "on_before_optimizer_step",
)  # fmt: skip


class StepCallback(Callback):
    """A callback that goes with blocks: it says which steps it has to see as ordinary ones."""

    looks_inside = False  # whether it wants to see activations or gradients of those steps, which a compiled one hides

    def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
        """Whether its hooks have something to do at optimiser step `step` (from 0), batch `batch_idx` of the epoch."""
        return False

    def on_step_start(self, trainer: Trainer, module: LightningModule, batch: int) -> None:
        """Called before each step of a block but its first, which has `on_train_batch_start`.

        Args:
            batch: its number, counted from the start of training.
        """


def overrides(made: object, base: type, hooks: Sequence[str]) -> list[str]:
    """Those hooks that an object has of its own, not of `base`."""
    return [hook for hook in hooks if is_overridden(hook, made, base)]

"""Callbacks that say which steps they watch, and what jobs that train together may do with them."""

from collections.abc import Sequence

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden

PER_STEP = (
    "on_train_batch_start", "on_train_batch_end", "on_before_zero_grad", "on_before_backward", "on_after_backward",
    "on_before_optimizer_step",
)  # fmt: skip


# What a callback's own class may set `in_a_stack` to, if jobs that train together go with it. A
# subclass that says nothing does not go with it, as its hooks are not known.
EACH_JOB = "each job"  # one callback a job: each sees its own job's Trainer and module
ONCE = "once"  # one callback for all jobs, which sees the Trainer of all
LEFT_OUT = "left out"  # none: it has nothing to do there


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


def in_a_stack(kind: type) -> str | None:
    """Return what a callback's class says of jobs that train together: `EACH_JOB`, `ONCE`, `LEFT_OUT` or None."""
    return vars(kind).get("in_a_stack")

"""Callbacks that say which steps they watch, and what jobs that train together do with them."""

from collections.abc import Iterator, Sequence

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

PER_STEP = (
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
)

# A callback's class sets `in_a_stack` to one of these values if the callback can be used where jobs
# train together. A subclass has to say so again, because its hooks are not known.
EACH_JOB = "each job"  # one callback for each job: it sees its own job's Trainer and module
ONCE = "once"  # one callback for all jobs: it sees the Trainer of all of them
LEFT_OUT = "left out"  # no callback: it would have nothing to do


class StepCallback(Callback):
    """Says which steps a callback has to see as ordinary steps of Lightning's."""

    # Whether the callback looks at activations or gradients of the steps that it watches. A
    # compiled step hides them.
    looks_inside = False

    def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
        """Tells whether the callback's hooks have something to do at a step.

        Args:
            trainer: the run's.
            step: number of the optimiser step, from 0 in training.
            batch_idx: number of the batch, from 0 in each epoch.
        """
        return False

    def on_step_start(self, trainer: Trainer, module: LightningModule, batch: int) -> None:
        """Runs before each step of a block but the first, which has `on_train_batch_start`.

        Args:
            trainer: the run's.
            module: the one that is trained.
            batch: number of the batch, from 0 in training.
        """

    def on_training_begun(self, trainer: Trainer, module: LightningModule) -> None:
        """Runs before the first batch, after the module's own `on_train_start`."""

    def on_batch_done(self, trainer: Trainer, module: LightningModule) -> None:
        """Runs after a batch, or a block of batches, when Lightning has done all of it.

        The module's `on_train_batch_end`, rows and a validation come before.
        """

    def on_epoch_done(self, trainer: Trainer, module: LightningModule) -> None:
        """Runs after an epoch, when learning rates have followed their metrics, too.

        `on_train_epoch_end` comes before.
        """


def reached(trainer: Trainer, every: int) -> bool:
    """Tells whether the batch that ends has brought training to a multiple of `every` steps.

    A batch takes no step while gradients are accumulated, and several where a module says so.
    """
    step = trainer.global_step
    before: int = getattr(trainer, "steps_before_batch", step - 1)
    return step // every > before // every


def own_parameters(
    trainer: Trainer, module: LightningModule, optimizer: Optimizer
) -> dict[str, nn.Parameter]:
    """Returns a module's parameters by name, without those that only other optimisers update.

    In a step of this one, these may have gradients all the same: of its loss.
    """

    def ids(own: Optimizer) -> set[int]:
        return {id(parameter) for group in own.param_groups for parameter in group["params"]}

    others = set().union(*map(ids, trainer.optimizers)) - ids(optimizer)
    return {name: own for name, own in module.named_parameters() if id(own) not in others}


def own_gradients(
    trainer: Trainer, module: LightningModule, optimizer: Optimizer
) -> Iterator[tuple[str, Tensor]]:
    """Yields the gradients of the loss by an optimiser's own parameters, with their names.

    A parameter's `grad` may be a multiple of it, see `scale_of_gradients`.
    """
    scale = scale_of_gradients(trainer, optimizer)
    for name, parameter in own_parameters(trainer, module, optimizer).items():
        if (gradient := parameter.grad) is not None:
            yield name, gradient if scale == 1 else gradient / scale


def scale_of_gradients(trainer: Trainer, optimizer: Optimizer) -> float:
    """Returns the factor of the gradients before a step of an optimiser.

    Mixed precision with 16 bits multiplies the loss, and leaves it to a fused optimiser to divide.
    """
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    is_fused = any(group.get("fused") for group in optimizer.param_groups)
    return float(scaler.get_scale()) if scaler and is_fused else 1.0


def overrides(made: object, base: type, hooks: Sequence[str]) -> list[str]:
    """Returns the hooks that an object has of its own, instead of those of `base`."""
    found = {hook: getattr(made, hook, None) for hook in hooks}
    functions = {hook: getattr(one, "__func__", one) for hook, one in found.items()}
    return [h for h, own in functions.items() if own not in (None, getattr(base, h, None))]


def in_a_stack(kind: type) -> str | None:
    """Returns a callback class's own `in_a_stack`: `EACH_JOB`, `ONCE`, `LEFT_OUT` or None."""
    return vars(kind).get("in_a_stack")

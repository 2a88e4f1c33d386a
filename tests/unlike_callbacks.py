"""Callbacks of which a stack would know too little."""

import random
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.nn.modules.module import register_module_forward_hook
from torch.optim import SGD

from engine import StepCallback
from engine.steps.callback import EACH_JOB
from engine.vectorized.eligible import CALLED


class Notes(StepCallback):
    """Is told when the hooks that a stack calls are called: see `noting`."""

    in_a_stack = EACH_JOB

    def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
        return True


def noting() -> set[str]:
    """Returns a set that gets the names of the hooks of `Notes` that are called from now on.

    Nothing puts it back at the end of a run, as it is in no file and no class.
    """
    called: set[str] = set()

    def note(hook: str) -> Callable[..., None]:
        return lambda self, *_: called.add(hook)

    for hook in CALLED:
        setattr(Notes, hook, note(hook))
    return called


class Follows(StepCallback):
    """Writes down the step at which its job's loss is below a bound, and watches until then."""

    in_a_stack = EACH_JOB

    def __init__(self, bound: float) -> None:
        self.bound, self.is_below = bound, False

    def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
        return not self.is_below

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if not self.is_below and trainer.callback_metrics["train/loss"] < self.bound:
            self.is_below = True
            (Path(trainer.default_root_dir) / "below.txt").write_text(str(trainer.global_step))

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        best: Any = trainer.checkpoint_callback
        path = Path(best.best_model_path).relative_to(trainer.default_root_dir)
        with open(Path(trainer.default_root_dir) / "below.txt", "a", encoding="utf-8") as file:
            file.write(f" {path} {best.best_model_score:.3g} {trainer.is_last_batch}")


class Misspelt(StepCallback):
    in_a_stack = "each_job"


class Tallies(StepCallback):
    """Counts the epochs of all jobs in its class."""

    in_a_stack = EACH_JOB
    epochs = 0

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        Tallies.epochs += 1


class HalvesGradients(StepCallback):
    in_a_stack = EACH_JOB

    def on_after_backward(self, trainer: Trainer, module: LightningModule) -> None:
        for parameter in module.parameters():
            assert parameter.grad is not None
            parameter.grad *= 0.5


class LogsAtTheEnd(StepCallback):
    in_a_stack = EACH_JOB

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        module.log("train/one", torch.ones(()))


class LogsByHand(StepCallback):
    """Logs by the Trainer's logger, and by one that it keeps, and notes in the run's folder."""

    in_a_stack = EACH_JOB
    said = ""
    logger: Any = None

    def setup(self, trainer: Any, module: LightningModule, stage: str) -> None:
        self.said += stage
        Path(trainer.log_dir, "said.txt").write_text(self.said)

    def on_train_start(self, trainer: Any, module: LightningModule) -> None:
        self.logger = trainer.logger

    def on_train_epoch_end(self, trainer: Any, module: LightningModule) -> None:
        assert [trainer.logger, module.logger, self.logger] == [trainer.loggers[0]] * 3
        trainer.logger.log_metrics({"by_hand": trainer.current_epoch + 0.5}, trainer.global_step)

    def on_validation_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.logger.log_metrics({"begins": 1.0}, trainer.global_step)  # after the row of training


class LogsOtherwise(StepCallback):
    """Logs a value that no logger is to have."""

    in_a_stack = EACH_JOB

    def on_validation_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        module.log("val/one", torch.ones(()), logger=False)


class Limits(StepCallback):
    """Sets an option of the Trainer on the way."""

    in_a_stack = EACH_JOB

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        trainer.limit_val_batches = 1


class AsksForLoader(StepCallback):
    """Looks at the samples of the first batch, if it gets one."""

    in_a_stack = EACH_JOB

    def on_train_epoch_end(self, trainer: Any, module: LightningModule) -> None:
        with suppress(Exception):
            next(iter(trainer.train_dataloader))


class Lengthens(StepCallback):
    """Lets training go on for longer."""

    in_a_stack = EACH_JOB

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        trainer.fit_loop.max_epochs += 1  # type: ignore[operator]


class Draws(StepCallback):
    """Draws a number at the end of an epoch."""

    in_a_stack = EACH_JOB

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        random.random()


class StopsOne(StepCallback):
    in_a_stack = EACH_JOB

    def on_train_epoch_end(self, trainer: Any, module: LightningModule) -> None:
        trainer.should_stop = str(trainer.default_root_dir).count("seed=1") > 0


class Tires(StepCallback):
    """Stops its job after two epochs, which it counts in an attribute, or fails; notes each one.

    Args:
        fails: whether it fails in place of stopping the job where jobs train together.
    """

    in_a_stack = EACH_JOB

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.epochs = 0

    def on_train_epoch_end(self, trainer: Any, module: LightningModule) -> None:
        self.epochs += 1
        with open(Path(trainer.default_root_dir) / "epochs.txt", "a", encoding="utf-8") as file:
            file.write(f"{self.epochs}\n")
        if self.epochs == 2 and self.fails and not isinstance(trainer, Trainer):
            raise ValueError("no Trainer of Lightning's")
        trainer.should_stop = self.epochs == 2


class SetsRate(StepCallback):
    """Halves the learning rate at the end of an epoch."""

    in_a_stack = EACH_JOB

    def on_train_epoch_end(self, trainer: Any, module: LightningModule) -> None:
        trainer.optimizers[0].param_groups[0]["lr"] *= 0.5


class SetsRateAtFirst(StepCallback):
    """Halves the learning rate at the beginning."""

    in_a_stack = EACH_JOB

    def on_train_start(self, trainer: Any, module: LightningModule) -> None:
        trainer.optimizers[0].param_groups[0]["lr"] *= 0.5


class DropsRate(StepCallback):
    """Makes the learning rate much smaller within the first epoch."""

    in_a_stack = EACH_JOB

    def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
        return step == 1

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 2:
            trainer.optimizers[0].param_groups[0]["lr"] *= 0.01


class Clips(Callback):
    """Clips the weights after each step, as an ordinary callback of Lightning's."""

    in_a_stack = EACH_JOB

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        for parameter in module.parameters():
            parameter.data.clamp_(-0.5, 0.5)


class AddsNoise(StepCallback):
    """Changes the samples, which jobs with one seed for their data share."""

    in_a_stack = EACH_JOB

    def setup(self, trainer: Any, module: LightningModule, stage: str) -> None:
        trainer.datamodule.splits["train"].targets.add_(0.5)


class AnnealsSome(StepCallback):
    """Lets a number of the loss grow in the second job."""

    in_a_stack = EACH_JOB

    def on_train_epoch_end(self, trainer: Trainer, module: Any) -> None:
        if "seed=1" in str(trainer.default_root_dir):
            module.loss.weight *= 2


class Freezes(StepCallback):
    """Freezes the first layer after the first epoch."""

    in_a_stack = EACH_JOB

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        next(module.parameters()).requires_grad_(False)


class Replaces(StepCallback):
    """Replaces a tensor of weights by another."""

    in_a_stack = EACH_JOB

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        first = next(module.parameters())
        first.data = 0.5 * first.data


class PutsBack(StepCallback):
    """Changes something within an epoch, and puts it back before the epoch ends.

    Args:
        what: to change.
    """

    in_a_stack = EACH_JOB

    def __init__(self, what: str) -> None:
        self.what = what
        self.own: Any = None

    def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
        return step in (0, 1)

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        (group,) = trainer.optimizers[0].param_groups
        if self.what == "rate" and trainer.global_step < 3:
            self.own = self.own or group["lr"]
            group["lr"] = self.own if trainer.global_step == 2 else 0.1 * self.own

    def on_validation_epoch_start(self, trainer: Trainer, module: Any) -> None:
        if self.what == "weights":
            self.own = [own.data for own in module.parameters()]
            for own in module.parameters():
                own.data = 0.5 * own.data

    def on_validation_epoch_end(self, trainer: Trainer, module: Any) -> None:
        for own, data in zip(module.parameters(), self.own or (), strict=False):
            own.data = data


class SetsUp(StepCallback):
    """Changes in `setup` what training is made of.

    Args:
        what: to change.
    """

    in_a_stack = EACH_JOB

    def __init__(self, what: str) -> None:
        self.what = what

    def setup(self, trainer: Any, module: Any, stage: str) -> None:
        match self.what:
            case "optimizer":
                module.optimizer = partial(SGD, lr=0.5)
            case "batch_size":
                trainer.datamodule.batch_size = 7


class Meddles(StepCallback):
    """Does something at the end of each epoch that a stack would not follow."""

    in_a_stack = EACH_JOB

    def __init__(self, what: str) -> None:
        self.what = what

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        optimizer: Any = trainer.optimizers[0]
        match self.what:
            case "clears":
                optimizer.state.clear()
            case "asks":
                module.optimizers().state.clear()
            case "writes":
                for tensors in optimizer.state.values():
                    tensors["exp_avg"].zero_()
            case "counts":
                assert len(optimizer.state)
            case "loss":
                module.loss = nn.L1Loss()
            case "optimiser":
                trainer.optimizers[0] = SGD(module.parameters(), lr=0.001)
            case "sums":
                module.averages_loss = False
            case "evaluates":
                module.network.eval()
            case "maximises":
                optimizer.param_groups[0]["maximize"] = True
            case "reorders":
                optimizer.param_groups[0]["params"].reverse()


class LooksAtBatch(StepCallback):
    """Looks at the samples of some steps, or of a validation, if there are such."""

    in_a_stack = EACH_JOB

    def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
        return step == 1

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if isinstance(batch, tuple | list):
            assert len(batch) == 2


class LogsGradients(StepCallback):
    """Logs the sum of the gradients after some steps."""

    in_a_stack = EACH_JOB

    def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
        return step % 2 == 0

    def on_train_batch_end(self, trainer: Any, module: LightningModule, *_: Any) -> None:
        if trainer.global_step % 2:
            gradients: Any = [parameter.grad for parameter in module.parameters()]
            total = sum(float(own.sum()) for own in gradients)
            trainer.logger.log_metrics({"gradients": total}, trainer.global_step - 1)


class Anneals(StepCallback):
    """Lets a number of the loss grow from epoch to epoch."""

    in_a_stack = EACH_JOB

    def on_train_epoch_end(self, trainer: Trainer, module: Any) -> None:
        module.loss.weight *= 2


class HooksAll(StepCallback):
    """Halves what each linear layer gives, by a hook for all modules."""

    in_a_stack = EACH_JOB

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.handle = register_module_forward_hook(self.halve)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.handle.remove()

    @staticmethod
    def halve(layer: nn.Module, inputs: Any, outputs: Any) -> Any:
        return outputs / 2 if isinstance(layer, nn.Linear) else None

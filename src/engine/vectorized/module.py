"""Several jobs' modules as one for Lightning's Trainer, each with its own data order, rows and checkpoints."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from engine import rows
from engine.fence.lightning import (
    batch_of_training,
    is_last_batch,
    logged_step,
    validates_after_epoch,
    whole_checkpoint,
)
from engine.run.folders import BEST
from engine.steps.callback import StepCallback
from engine.vectorized import job_log
from engine.vectorized.data import StackedData
from engine.vectorized.disk import synced_together
from engine.vectorized.job import Member, TrainerOfJob
from engine.vectorized.network import stacked, stacked_loss
from engine.vectorized.optimizer import StackedOptimizer

FLUSH_SECONDS = 10.0  # between two writings of rows


class Watch(StepCallback):
    """For the stack's Trainer, what the callbacks of its jobs watch, which are the same for each.

    Args:
        callbacks: those of one job.
    """

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self.callbacks = [callback for callback in callbacks if isinstance(callback, StepCallback)]

    def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
        return any(callback.watches(trainer, step, batch_idx) for callback in self.callbacks)


class StackedModule(LightningModule):
    """Trains the modules of several jobs, which are of one kind, by one step for all.

    A job whose loss is no number stops as it would alone; what the others compute does not depend on it.

    Args:
        members: the jobs.
        data: theirs.
    """

    def __init__(self, members: Sequence[Member], data: StackedData) -> None:
        super().__init__()
        self.members, self.data = list(members), data
        self.modules_of_jobs = nn.ModuleList(
            member.module for member in members
        )  # for Lightning to see
        first = members[0]
        self.names = [name for name, _ in first.module.network.named_parameters()]
        self.weights = nn.ParameterList(
            torch.stack([member.module.network.get_parameter(name).detach() for member in members])
            for name in self.names
        )
        self.loss, self.averages_loss = first.module.loss, first.module.averages_loss
        self.has_metrics = bool(first.module.train_metrics)
        self._forward, self._losses = stacked(first.module.network), stacked_loss(self.loss)
        # Of each step: losses (J,), size of a batch; predictions and targets, if there are metrics.
        self._since_row: list[tuple[Tensor, int, tuple[Tensor, ...]]] = []
        self._not_finite: list[int] = []  # jobs whose last row has no number for a loss
        self._flushed = time.monotonic()
        self._dumped: dict[str, Any] | None = (
            None  # what a checkpoint has of the Trainer, in the hook that is called
        )
        self.running = list(
            range(len(members))
        )  # the numbers of those that neither diverged nor ended

    # ------------------------------------------------------------------ weights

    def on_fit_start(self) -> None:
        self.tie()
        for number, member in enumerate(self.members):
            trainer: Any = TrainerOfJob(self.trainer, self, number)
            member.trainer = member.module.trainer = member.data.trainer = trainer
        self._call("setup", self.running, lambda job: ("fit",))

    def on_test_start(self) -> None:
        """The best weights by validation, or the last ones, as alone."""
        self.tie()
        for number in self.running:
            member = self.members[number]
            if (best := member.folder / BEST).exists():
                saved = torch.load(best, weights_only=True, map_location=self.device)
                member.module.load_state_dict(saved["state_dict"])

    def tie(self) -> None:
        """Make each job's weights views of the stack's, wherever and in whatever precision these are now."""
        for number, member in enumerate(self.members):
            for parameter, weights in zip(
                member.module.network.parameters(), self.weights, strict=True
            ):
                parameter.data = weights.data[number]

    def forward(self, inputs: Tensor) -> Tensor:
        """Predictions (J, B, …)."""
        return self._forward(dict(zip(self.names, self.weights, strict=True)), inputs)

    def configure_callbacks(self) -> list[Callback]:
        return [Watch(self.members[0].callbacks)]

    def why_no_blocks(self) -> None:
        """Nothing: those that are told of its batches and steps are the jobs' callbacks."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return StackedOptimizer(list(self.weights), [member.optimizer for member in self.members])

    def checkpoint_of(self, number: int) -> dict[str, Any]:
        """What a job's Trainer would save, if it were alone at this step."""
        trainer, member = self.trainer, self.members[number]
        optimizer: Any = trainer.optimizers[0]
        states = {callback.state_key: callback.state_dict() for callback in member.callbacks}
        if self._dumped is None:
            self._dumped = whole_checkpoint(trainer)
        checkpoint = self._dumped | {
            "state_dict": {
                name: value.clone() for name, value in member.module.state_dict().items()
            },
            "optimizer_states": [optimizer.state_of(number)],
            "callbacks": {key: state for key, state in states.items() if state},
        }
        member.module._since_row = [
            (losses[number].clone(), size, tuple(part[number].clone() for part in seen))
            for losses, size, seen in self._since_row
        ]
        member.module.on_save_checkpoint(checkpoint)
        return checkpoint

    # ------------------------------------------------------------------ training

    def on_train_start(self) -> None:
        self._call("on_train_start", self.running)

    def training_step(self, steps: int, batch_idx: int) -> Tensor:
        """The sum of the jobs' losses at the last step of a block; those before it are done, update and all."""
        trainer: Any = self.trainer
        optimizer, first = trainer.optimizers[0], self.global_step
        training_ends = (
            first + steps == trainer.max_steps or batch_idx + steps == trainer.num_training_batches
        )
        batches = self.data.batches(batch_of_training(trainer), steps)
        for step, (inputs, targets) in enumerate(batches):
            predictions = self(inputs)
            losses = self._losses(predictions, targets)
            self._last_losses = losses.detach()
            seen = (predictions.detach(), targets) if self.has_metrics else ()
            self._since_row.append((self._last_losses, targets.shape[1], seen))
            ends = step + 1 == steps
            if (batch_idx + step + 1) % trainer.log_every_n_steps == 0 or (ends and training_ends):
                self._write_rows(first + step)
            if ends or self._not_finite:  # they are to stop here
                break
            optimizer.zero_grad()
            torch.autograd.backward(losses.sum())
            optimizer.step()
            trainer.next_step()
        return losses.sum()

    def on_train_batch_end(self, outputs: Any, batch: int, batch_idx: int) -> None:
        trainer: Any = self.trainer
        (watch,) = [callback for callback in trainer.callbacks if isinstance(callback, Watch)]
        due = watch.watches(trainer, trainer.global_step - 1, batch_idx)
        ends = is_last_batch(trainer)
        told = self.running if due or ends else self._not_finite  # alone, they stop their block
        last = self._last_losses.cpu()
        self._call("on_train_batch_end", told, lambda job: ({"loss": last[job]}, None, batch_idx))
        self._not_finite = []
        if not ends:
            self._stop(
                [number for number in self.running if self.members[number].trainer.should_stop]
            )
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush(self.running)
            self._flushed = time.monotonic()

    def on_train_epoch_end(self) -> None:
        self._call("on_train_epoch_end", self.running)
        self._stop(
            [number for number in self.running if self.members[number].trainer.should_stop],
            within_epoch=False,
        )

    def on_fit_end(self) -> None:
        self._call("on_train_end", self.running)
        self._call("on_fit_end", self.running)

    def _stop(self, jobs: Sequence[int], within_epoch: bool = True) -> None:
        """End jobs here, as Lightning ends a run that is to stop: with a validation, and the epoch's end."""
        if not jobs:
            return
        trainer: Any = self.trainer
        if within_epoch:
            if validates_after_epoch(trainer):
                self._validate(jobs, list(trainer.val_dataloaders)[: trainer.num_val_batches[0]])
            self._call("on_train_epoch_end", jobs)
        self._call("on_train_end", jobs)
        self._call("on_fit_end", jobs)
        self._flush(jobs)
        self.end(jobs)
        trainer.should_stop = not self.running

    def end(self, jobs: Sequence[int]) -> None:
        """Do no more with these jobs."""
        for number in jobs:
            self.members[number].ended = time.monotonic()
            self.members[number].trainer.global_step = self.global_step  # it counts no further
        self.running = [number for number in self.running if number not in jobs]

    def _flush(self, jobs: Sequence[int]) -> None:
        with synced_together():
            for number in jobs:
                self.members[number].flush()

    def _write_rows(self, step: int) -> None:
        """A row for each job, as `SupervisedModule` writes it."""
        losses, sizes, seen = zip(*self._since_row, strict=True)
        self._since_row.clear()
        of_jobs = torch.stack(losses).T.tolist()  # (J, steps)
        means = [rows.mean_loss(own, sizes, self.averages_loss) for own in of_jobs]
        if self.has_metrics:
            predictions, targets = (torch.cat(parts, dim=1) for parts in zip(*seen, strict=True))
        epoch = self.current_epoch
        for number in self.running:
            member, row = self.members[number], {"train/loss": means[number]}
            if self.has_metrics:
                own_seen = predictions[number], targets[number]
                row |= rows.metrics(member.module.train_metrics, own_seen)
            member.trainer.metrics |= row
            if not math.isfinite(means[number]):
                self._not_finite.append(number)
            member.write(
                {**row, "lr": member.optimizer.param_groups[0]["lr"], "epoch": epoch}, step
            )
        if finite := [means[number] for number in self.running if math.isfinite(means[number])]:
            self.log(
                "train/loss", sum(finite) / len(finite), logger=False, prog_bar=True, batch_size=1
            )

    # ------------------------------------------------------------------ evaluation

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self._count("validation", "val", self.running, batch)

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        self._count("test", self.members[0].data.test_split, self.running, batch)

    def on_validation_epoch_start(self) -> None:
        self._call("on_validation_epoch_start", self.running)

    def on_validation_epoch_end(self) -> None:
        self._conclude("validation", self.running)

    def on_validation_end(self) -> None:
        self._call("on_validation_end", self.running)

    def on_test_epoch_start(self) -> None:
        self._call("on_test_epoch_start", self.running)

    def on_test_epoch_end(self) -> None:
        self._conclude("test", self.running)

    def _validate(self, jobs: Sequence[int], batches: Sequence[Tensor]) -> None:
        trained = [module for module in self.modules() if module.training]
        self.eval()
        self._call("on_validation_epoch_start", jobs)
        for batch in batches:
            self._count("validation", "val", jobs, batch)
        self._conclude("validation", jobs)
        self._call("on_validation_end", jobs)
        for module in trained:
            module.training = True

    @torch.no_grad()
    def _count(self, stage: str, split: str, jobs: Sequence[int], batch: Tensor) -> None:
        """Show the jobs the samples of a batch, in parts, so that the samples of all are no more than those of one.

        The networks of the other jobs see them, too: what one job gets must not depend on how many there are still.
        """
        if not jobs:
            return
        seen = []
        for part in torch.split(batch.cpu(), max(1, len(batch) // len(self.members))):
            inputs, targets = self.data.gather(split, part.expand(len(self.members), -1))
            seen.append((self(inputs), targets))
        predictions, targets = (torch.cat(parts, dim=1) for parts in zip(*seen, strict=True))
        losses = self._losses(predictions, targets)
        weight = {"weight": len(batch)} if self.averages_loss else {}
        for number in jobs:
            loss, metrics = self._loss_and_metrics(stage, number)
            loss.update(losses[number], **weight)
            metrics.update(predictions[number], targets[number])
        outputs = [
            {"predictions": p, "targets": t} for p, t in zip(predictions, targets, strict=True)
        ]
        self._call(f"on_{stage}_batch_end", jobs, lambda job: (outputs[job], None, 0))

    def _conclude(self, stage: str, jobs: Sequence[int]) -> None:
        step = logged_step(self.trainer)
        name = {"validation": "val", "test": "test"}[stage]
        for number in jobs:
            loss, metrics = self._loss_and_metrics(stage, number)
            self.members[number].logged = {f"{name}/loss": loss.compute(), **metrics.compute()}
            loss.reset()
            metrics.reset()
        self._call(f"on_{stage}_epoch_end", jobs)
        for member in [self.members[number] for number in jobs]:
            values = {key: value.item() for key, value in member.logged.items()}
            member.trainer.metrics |= member.logged
            member.write({**values, "epoch": self.current_epoch}, step)

    def on_test_end(self) -> None:
        self._call("on_test_end", self.running)

    def _loss_and_metrics(self, stage: str, number: int) -> tuple[Any, Any]:
        module = self.members[number].module
        if stage == "validation":
            return module.val_loss, module.val_metrics
        return module.test_loss, module.test_metrics

    def _call(
        self,
        hook: str,
        jobs: Sequence[int],
        arguments: Callable[[int], Sequence[Any]] = lambda job: (),
    ) -> None:
        """A hook of the jobs' callbacks; the files that they write in it are on disk at its end."""
        with synced_together():
            for number in jobs:
                member = self.members[number]
                with job_log.collected(member.said):
                    for callback in member.callbacks:
                        getattr(callback, hook)(member.trainer, member.module, *arguments(number))
        self._dumped = None

"""Trains several jobs' modules as one; each job has its own data order, rows and checkpoints."""

import itertools
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property, partial
from inspect import signature
from itertools import chain
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torchmetrics import Metric

from engine.data.datamodule import TensorDataModule
from engine.fence.lightning import (
    batch_of_training,
    hyper_parameters,
    is_last_batch,
    logged_step,
    restore_metrics,
    validates_after_epoch,
    whole_checkpoint,
)
from engine.fence.torch import has_gradient_hooks, hooks_of, hooks_of_all, version_of
from engine.kept import between
from engine.kept.attributes import marks_beside_states, may_read, written_by
from engine.kept.values import mark, package_of
from engine.run.checkpoint import choice
from engine.run.folders import BEST
from engine.run.objective import chooser, has_diverged
from engine.schedules import configured
from engine.seeds import generator_states
from engine.steps import rows
from engine.steps.callback import StepCallback, overrides
from engine.steps.length import rates_of
from engine.vectorized import NotStacked, first_of, job_log
from engine.vectorized.alike import Glance, attributes, replaced
from engine.vectorized.data import StackedData
from engine.vectorized.disk import synced_together
from engine.vectorized.job import Member, TrainerOfJob, refusing
from engine.vectorized.network import stacked, stacked_loss
from engine.vectorized.optimizer import StackedOptimizer, StackedSchedule

FLUSH_SECONDS = 10.0  # from one writing of the rows to the next
SMALL = 2**12  # bytes of a tensor that is copied for each job
SPLITS = {"validation": "val", "test": "test"}  # the names of metrics begin so
# Attributes of any data module by which a stack has made its samplers, or a job alone its loaders.
OF_DATA = {*signature(TensorDataModule).parameters, "test_split"}


class Watch(StepCallback):
    """Tells the stack's Trainer which steps the jobs' callbacks watch.

    The engine's go by the step alone, and those of one job stand for all. A user's may go by what
    its own job has logged.

    Args:
        members: the jobs.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        steppers: list[list[Any]] = [
            [own for own in member.callbacks if overrides(own, StepCallback, ["watches"])]
            for member in members
        ]
        self.own = [
            (n, one) for n, own in enumerate(steppers) for one in own if not _is_engines(one)
        ]
        self.common = [one for one in steppers[0] if _is_engines(one)]

    def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
        asked = [(trainer, one) for one in self.common]
        if self.own:
            stack: Any = trainer.lightning_module
            running = set(stack.running)
            asked += [(self.members[n].trainer, one) for n, one in self.own if n in running]
        return any(callback.watches(own, step, batch_idx) for own, callback in asked)

    def on_batch_done(self, trainer: Trainer, module: Any) -> None:
        module.on_batch_done()

    def on_epoch_done(self, trainer: Trainer, module: Any) -> None:
        module.on_epoch_done()


def _is_engines(callback: Callback) -> bool:
    return package_of(type(callback)) == "engine"


def _shown(value: Any) -> Any:
    """Returns a number or a word; of another object which one it is, and how often it changed.

    Of a small tensor these are its numbers: `prepare_inputs` may move it to where the inputs are.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor) and value.nbytes <= SMALL:
        return mark(value.cpu())
    return id(value), version_of(value) if isinstance(value, Tensor) else 0


def parts_of(batch: Tensor, jobs: int) -> tuple[Tensor, ...]:
    """Divides samples (N,) into parts of about N / J for J networks, of two samples at least.

    Of a part of one sample, a network that ends with `squeeze()` would lose the samples' dimension.
    """
    size = max(2, len(batch) // jobs)
    return torch.tensor_split(batch, max(1, len(batch) // size))


class StackedModule(LightningModule):
    """Trains the modules of J jobs, which are of one class, by one step for all.

    A job whose loss is no number stops as it would alone, and changes no number of another job.

    Args:
        members: the jobs.
        data: the data of these jobs.
        files: the user's modules that they import, by import path.
        shared: marks of what is in these, from before the jobs were built.
    """

    def __init__(
        self,
        members: Sequence[Member],
        data: StackedData,
        files: Collection[str],
        shared: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.members, self.data, self.files, self.shared = list(members), data, files, shared
        # Lightning moves modules to the device that it finds here.
        self.modules_of_jobs = nn.ModuleList(member.module for member in members)
        first = members[0]
        self.watch = Watch(self.members)
        self.names = [name for name, _ in first.module.network.named_parameters()]
        self.weights = nn.ParameterList(
            torch.stack([member.module.network.get_parameter(name).detach() for member in members])
            for name in self.names
        )
        self.loss, self.averages_loss = first.module.loss, first.module.averages_loss
        self.has_metrics = bool(first.module.train_metrics)
        self._forward, self._losses = stacked(first.module.network), stacked_loss(self.loss)
        # Of each step: losses (J,); their weights, (J,) or one for all; predictions and targets, if
        # there are metrics.
        self._since_row: list[tuple[Tensor, int | Tensor, tuple[Tensor, ...]]] = []
        self._not_finite: list[int] = []  # jobs whose last row has no finite loss
        self._flushed = time.monotonic()
        # The Trainer's part of a checkpoint: the same for all jobs within one hook.
        self._dumped: dict[str, Any] | None = None
        self.schedules: list[Any] = []  # each job's own, if there are schedulers
        self.has_kept = True  # whether callbacks of a user's have other attributes than at first
        self.refused = ""  # why the jobs cannot go on together, if a callback catches the error
        self.running = list(range(len(members)))  # the jobs that neither diverged nor ended

    # ------------------------------------------------------------------ weights

    def on_fit_start(self) -> None:
        self.tie()
        for number, member in enumerate(self.members):
            trainer: Any = TrainerOfJob(self.trainer, self, number)
            member.trainer = member.module.trainer = member.data.trainer = trainer
        self._built = [self._attributes(number) for number in self.running]
        self._prepared = [self._data_of(number) for number in self.running]
        self._measured = [self._metrics_of(number) for number in self.running]
        self._drawn = generator_states()
        self._hooks = hooks_of_all()
        self._of_loss = self._buffers_of_loss()
        self._call("setup", self.running, lambda job: ("fit",))

    def on_test_start(self) -> None:
        """Loads each job's best weights by validation, if there are such, as a job alone does."""
        self.tie()
        self._call("setup", self.running, lambda job: ("test",))
        for member in self._members(self.running):
            is_chosen = getattr(chooser(member.trainer), "best_score", None) is not None
            if saved := choice.best(member.folder, member.job.config, is_chosen):
                member.module.load_state_dict(saved["state_dict"])
            member.trainer.tested = str(member.folder / BEST) if saved else ""

    def tie(self) -> None:
        """Makes each job's weights views of the stack's, whose device and precision may be new."""
        for number, member in enumerate(self.members):
            own = member.module.network.parameters()
            for parameter, weights in zip(own, self.weights, strict=True):
                parameter.data = weights.data[number]

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns predictions (J, B, …) for inputs (J, B, …)."""
        return self._forward(dict(zip(self.names, self.weights, strict=True)), inputs)

    def refuse(self, reason: str) -> NotStacked:
        """Returns an error, which ends the stack even if a callback catches it."""
        self.refused = reason
        return NotStacked(reason)

    @cached_property
    def _glance(self) -> Glance:
        return Glance(self.members)

    @cached_property
    def no_batch(self) -> Any:
        """Stands for the batch of a job: the samples of a block are not gathered job by job."""
        return refusing(partial(self.refuse, "a callback looks at a batch"))

    def why_no_blocks(self) -> None:
        """Returns None: `Watch` tells which steps the jobs' callbacks have to see."""

    def configure_optimizers(self) -> Any:
        singles = [member.optimizer for member in self.members]
        rates = partial(rates_of, self.trainer)
        configs = [
            configured(member.module.scheduler, member.optimizer, rates)
            for member in self.members
            if member.module.scheduler
        ]
        optimizer = StackedOptimizer(list(self.weights), singles)
        if not configs:
            return optimizer
        self.schedules = [config["scheduler"] for config in configs]
        common, *others = [{**config, "scheduler": None} for config in configs]
        if any(other != common for other in others):
            raise NotStacked("the jobs' schedules have other intervals")
        schedule = {**common, "scheduler": StackedSchedule(optimizer, configs)}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        scheduler.step()  # none follows a metric, see `eligible`

    def checkpoint_of(self, number: int) -> dict[str, Any]:
        """Returns the checkpoint that a job's Trainer would save, if the job were alone."""
        member = self.members[number]
        optimizer: Any = self.trainer.optimizers[0]
        states = {callback.state_key: callback.state_dict() for callback in member.callbacks}
        weights = {name: value.clone() for name, value in member.module.state_dict().items()}
        if self._dumped is None:  # before anything is saved in this hook
            self._check_callbacks()
            self._dumped = whole_checkpoint(self.trainer)
        checkpoint = self._dumped | {
            "state_dict": weights,
            "optimizer_states": [optimizer.state_of(number)],
            "lr_schedulers": [schedule.state_dict() for schedule in self.schedules[number:][:1]],
            "callbacks": {key: state for key, state in states.items() if state},
        }
        member.module.steps_since_row = [
            (
                losses[number].clone(),
                weight[number].clone() if isinstance(weight, Tensor) else weight,
                tuple(part[number].clone() for part in seen),
            )
            for losses, weight, seen in self._since_row
        ]
        checkpoint |= hyper_parameters(member.module, member.data)
        if of_data := member.data.state_dict():
            checkpoint[type(member.data).__qualname__] = of_data
        for callback in member.callbacks:
            callback.on_save_checkpoint(member.trainer, member.module, checkpoint)
        member.module.on_save_checkpoint(checkpoint)
        return checkpoint

    # ------------------------------------------------------------------ training

    def on_train_start(self) -> None:
        self._call("on_train_start", self.running)
        self._check_callbacks()
        self._kept_first = self._kept()

    def training_step(self, steps: int, batch_idx: int) -> Tensor:
        """Takes the steps of a block, all but the last one's update, which Lightning does.

        Returns:
            The sum of the jobs' losses at the last step.
        """
        trainer: Any = self.trainer
        optimizer, first = trainer.optimizers[0], self.global_step
        end = batch_idx + steps
        training_ends = first + steps == trainer.max_steps or end == trainer.num_training_batches
        batches = self.data.batches(batch_of_training(trainer), steps)
        shown = None
        for step, (inputs, targets) in enumerate(batches):
            predictions = self(inputs)
            losses = self._losses(predictions, targets)
            self._last_losses = losses.detach()
            seen = (predictions.detach(), targets) if self.has_metrics else ()
            weight = rows.weight_of(self.loss, targets, jobs=1)
            self._since_row.append((self._last_losses, weight, seen))
            ends = step + 1 == steps
            if (batch_idx + step + 1) % trainer.log_every_n_steps == 0 or (ends and training_ends):
                shown = self._write_rows(first + step)
            if ends or self._not_finite:  # the jobs without a finite loss stop here
                break
            optimizer.zero_grad()
            torch.autograd.backward(losses.sum())
            optimizer.step()
            trainer.next_step()
        if shown is not None:  # not by `log`: the checkpoints of jobs would have it
            last = {"train/loss": torch.tensor(shown)}
            restore_metrics(trainer, {"callback_metrics": last, "progress_bar_metrics": last})
        return losses.sum()

    def on_train_batch_end(self, outputs: Any, batch: int, batch_idx: int) -> None:
        ends = is_last_batch(self.trainer)
        watched = ends or self.watch.watches(self.trainer, self.global_step - 1, batch_idx)
        # Alone, a job without a finite loss would end its block, and its callbacks would see it.
        jobs = self.running if watched else self._not_finite
        last = self._last_losses.cpu()
        self._call(
            "on_train_batch_end", jobs, lambda job: ({"loss": last[job]}, self.no_batch, batch_idx)
        )
        self._not_finite = []
        if not ends:
            self._stop(within_epoch=True)
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush(self.running)

    def on_train_epoch_end(self) -> None:
        self._call("on_train_epoch_end", self.running)

    def on_batch_done(self) -> None:
        self._call("on_batch_done", self.running)

    def on_epoch_done(self) -> None:
        self._call("on_epoch_done", self.running)
        self._check_callbacks()
        self._stop(within_epoch=False)
        self.has_kept = self._kept() != self._kept_first

    def on_fit_end(self) -> None:
        self._call("on_train_end", self.running)
        self._call("on_fit_end", self.running)

    def _check_callbacks(self) -> None:
        """Refuses what training has changed and a stack would not follow.

        Alone, a job has generators of random numbers of its own. A metric or a schedule that draws
        is found here: a look at the generators in each step would take as long as the step.
        """
        optimizer: Any = self.trainer.optimizers[0]
        optimizer.check_numbers()
        optimizer.check_options()
        reasons = {
            "a metric, a schedule or a layer draws random numbers": (
                generator_states() != self._drawn
            ),
            # Alone, a job has those of its own callbacks only.
            "a callback registers a hook for all modules or all optimisers": (
                hooks_of_all() != self._hooks
            ),
            # It is the first job's, for all.
            "training changes a buffer of the loss": self._buffers_of_loss() != self._of_loss,
        }
        if self.running and (name := between.changed(self.shared, self.files)):
            reasons[f"training changes {name}, which is another one for each job alone"] = True
        changes = map(self._changed_of, self.running)
        if reason := next(filter(None, (first_of(reasons), *changes)), None):
            raise NotStacked(reason)

    def _changed_of(self, number: int) -> str | None:
        """Says what training has changed of a job that a stack would not follow."""
        member = self.members[number]
        own = member.module.network.parameters()
        places = [one.data_ptr() for one in own if one.requires_grad]  # as all do
        measured, first = self._metrics_of(number), self._measured[number]
        reasons = {
            "a callback replaces the optimiser": member.trainer.optimizers != [member.optimizer],
            "a callback freezes or replaces weights": (
                places != [weights.data[number].data_ptr() for weights in self.weights]
            ),
            "a callback changes an attribute of a layer or a loss, or what its module has": (
                self._attributes(number) != self._built[number]
            ),
            "a callback changes the data module or its samples": (
                self._data_of(number) != self._prepared[number]
            ),
            **{
                f"{name} keeps more than its states, which is in no checkpoint": own
                != first.get(name)
                for name, own in measured.items()
            },
        }
        return first_of(reasons)

    def _buffers_of_loss(self) -> list[Any]:
        return [mark(own.cpu()) for own in self.loss.buffers()]

    def _attributes(self, number: int) -> list[Any]:
        """Returns a job's layers and loss with their attributes, and what else its module does.

        Of modes it is whether they are those of the stack, which is evaluated in between.
        """
        member = self.members[number]
        module = member.module
        parts = (*module.network.modules(), *module.loss.modules())
        made_of: Any = module.optimizer, module.scheduler, replaced(module)
        own = [*made_of, module.averages_loss, *module.transforms, *module.train_metrics]
        own.append(has_gradient_hooks(module.network, member.optimizer))
        for part in parts:
            own += [id(part), type(part), hooks_of(part), part.training == self.training]
            own.append(attributes(part, module))
        return own

    def _data_of(self, number: int) -> dict[str, Any]:
        """Returns what changes with a job's samples, and with what its data module keeps."""
        data = self.members[number].data
        kind: Any = type(data)
        names = (written_by(kind) | OF_DATA) & vars(data).keys()
        own = {name: vars(data)[name] for name in names} | {"replaced": replaced(data)}
        for name, split in data.splits.items():
            own |= {f"{name}.inputs": split.inputs, f"{name}.targets": split.targets}
        # A copy of large values for each of hundreds of jobs would not be small.
        return {name: _shown(value) for name, value in own.items()}

    def _metrics_of(self, number: int) -> dict[str, Any]:
        """Returns what a job's metrics have beside their states, but those of the test.

        No job that has a test goes on from a checkpoint in its midst.
        """
        module = self.members[number].module
        found = {
            f"{stage}.{name}": part
            for stage in ("train_metrics", "val_metrics")
            for name, part in getattr(module, stage).named_modules()
            if isinstance(part, Metric)
        }
        return {name: marks_beside_states(part) for name, part in found.items()}

    def _stop(self, within_epoch: bool) -> None:
        """Ends the jobs whose callbacks asked for it, as Lightning ends a run.

        Within an epoch, a validation and the hooks of the epoch's end come first.
        """
        jobs = [number for number in self.running if self.members[number].trainer.should_stop]
        if not jobs:
            return
        if not all(has_diverged(member.trainer) for member in self._members(jobs)):
            raise NotStacked("a callback stops a job")
        trainer: Any = self.trainer
        if within_epoch:
            if validates_after_epoch(trainer):
                self._validate(jobs, list(trainer.val_dataloaders)[: trainer.num_val_batches[0]])
            self._call("on_train_epoch_end", jobs)
            self._call("on_epoch_done", jobs)
        self._call("on_train_end", jobs)
        self._call("on_fit_end", jobs)
        self._flush(jobs)
        self.end(jobs)
        trainer.should_stop = not self.running

    def end(self, jobs: Sequence[int]) -> None:
        """Ends these jobs: they take no further steps, and their Trainers stop to count."""
        for member in self._members(jobs):
            member.ended = time.monotonic()
            vars(member.trainer)["global_step"] = self.global_step
        self.running = [number for number in self.running if number not in jobs]

    def _flush(self, jobs: Sequence[int]) -> None:
        self._flushed = time.monotonic()
        with synced_together():
            for member in self._members(jobs):
                member.flush()

    def _kept(self) -> list[Any]:
        """Returns what changes with attributes of callbacks, which no checkpoint of a stack has."""
        callbacks = chain(*(member.callbacks for member in self.members))
        return [mark(vars(own)) for own in callbacks if not _is_engines(own)]

    def _members(self, jobs: Sequence[int]) -> list[Member]:
        return [self.members[number] for number in jobs]

    def _write_rows(self, step: int) -> float | None:
        """Writes a row for each job, as `SupervisedModule` writes it.

        Returns:
            The mean of the jobs' losses that are numbers; None if there are none.
        """
        losses, weights, seen = zip(*self._since_row, strict=True)
        self._since_row.clear()
        self.written_row = rows.LastRow(len(losses), ("train/loss",))
        of_jobs = torch.stack(losses).T.tolist()  # (J, steps)
        has_own = isinstance(weights[0], Tensor)
        of_each: Any = torch.stack(weights).T.tolist() if has_own else itertools.repeat(weights)
        pairs = zip(of_jobs, of_each, strict=False)
        weighted = (rows.weighted_loss(*pair, self.averages_loss) for pair in pairs)
        # Labels that are all ignored have no loss.
        means = [total / weight if weight else None for total, weight in weighted]
        parts = [torch.cat(steps, dim=1) for steps in zip(*seen, strict=True)]  # (J, N, …) each
        epoch = self.current_epoch
        for number in self.running:
            member = self.members[number]
            mean = means[number]
            row = {} if mean is None else {"train/loss": mean}
            if has_own:
                member.module.weight_in_last_row = of_each[number][-1]
            if self.has_metrics:
                seen_of = [part[number] for part in parts]
                row |= rows.metrics(member.module.train_metrics, [seen_of])
            member.trainer.metrics.update(row)
            lr = member.optimizer.param_groups[0]["lr"]
            member.write({**row, "lr": lr, "epoch": epoch}, step)
        found = {job: mean for job in self.running if (mean := means[job]) is not None}
        self._not_finite = [job for job, mean in found.items() if not math.isfinite(mean)]
        finite = [mean for mean in found.values() if math.isfinite(mean)]
        return sum(finite) / len(finite) if finite else None

    # ------------------------------------------------------------------ evaluation

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self._count("validation", self.running, batch, batch_idx)

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        self._count("test", self.running, batch, batch_idx)

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

    # Validates the jobs that stop. All modules were in training mode: `fit_to` sees to that.
    def _validate(self, jobs: Sequence[int], batches: Sequence[Tensor]) -> None:
        self.eval()
        self._call("on_validation_epoch_start", jobs)
        for batch_idx, batch in enumerate(batches):
            self._count("validation", jobs, batch, batch_idx)
        self._conclude("validation", jobs)
        self._call("on_validation_end", jobs)
        self.train()

    @torch.no_grad()
    def _count(self, stage: str, jobs: Sequence[int], batch: Tensor, batch_idx: int) -> None:
        """Adds the samples of a batch to the jobs' losses and metrics.

        All networks see the samples, since a job's numbers must not depend on how many other jobs
        still run. The batch is divided, so that J networks take no more memory than one.

        Args:
            stage: `validation` or `test`.
            jobs: the numbers of the jobs.
            batch: sample numbers, (N,).
            batch_idx: number of the batch.
        """
        if not jobs:
            return
        split = self.data.data[0].test_split if stage == "test" else SPLITS[stage]
        seen = []
        for part in parts_of(batch.cpu(), len(self.members)):
            inputs, targets = self.data.gather(split, part.expand(len(self.members), -1))
            seen.append((self(inputs), targets))
        predictions, targets = (torch.cat(parts, dim=1) for parts in zip(*seen, strict=True))
        losses = self._losses(predictions, targets)
        for number in jobs:
            loss, metrics = self._loss_and_metrics(stage, number)
            self.members[number].module.add_loss(loss, losses[number], targets[number])
            metrics.update(predictions[number], targets[number])
        outputs = [
            {"predictions": p, "targets": t} for p, t in zip(predictions, targets, strict=True)
        ]
        self._call(
            f"on_{stage}_batch_end", jobs, lambda job: (outputs[job], self.no_batch, batch_idx)
        )

    def _conclude(self, stage: str, jobs: Sequence[int]) -> None:
        step = logged_step(self.trainer)
        for number in jobs:
            loss, metrics = self._loss_and_metrics(stage, number)
            logged = {f"{SPLITS[stage]}/loss": loss.compute(), **metrics.compute()}
            self.members[number].logged = logged
            loss.reset()
            metrics.reset()
        self._call(f"on_{stage}_epoch_end", jobs)
        for member in self._members(jobs):
            logged, member.logged = member.logged or {}, None
            values = {key: value.item() for key, value in logged.items()}
            member.trainer.metrics.update(logged)
            member.write({**values, "epoch": self.current_epoch}, step)

    def on_test_end(self) -> None:
        self._call("on_test_end", self.running)
        self._check_callbacks()

    def _loss_and_metrics(self, stage: str, number: int) -> tuple[Any, Any]:
        module = self.members[number].module
        return getattr(module, f"{SPLITS[stage]}_loss"), getattr(module, f"{SPLITS[stage]}_metrics")

    @contextmanager
    def _gradients(self, jobs: Sequence[int]) -> Iterator[None]:
        """Gives the jobs' weights the gradients of the step that ends.

        For hundreds of jobs this takes as long as a step, so not every callback is given them.
        """
        weights_of = [list(member.module.network.parameters()) for member in self._members(jobs)]
        of_all = [weights.grad for weights in self.weights]
        for number, own in zip(jobs, weights_of, strict=True):
            for parameter, gradient in zip(own, of_all, strict=True):
                parameter.grad = None if gradient is None else gradient[number]
        yield
        for parameter in chain(*weights_of):  # they would keep old gradients in memory
            parameter.grad = None

    def _call(
        self,
        hook: str,
        jobs: Sequence[int],
        arguments: Callable[[int], Sequence[Any]] = lambda job: (),
    ) -> None:
        """Calls a hook of the jobs' callbacks, of those that have it.

        The files that they write are on disk afterwards.
        """
        # All jobs have callbacks of the same classes.
        first = self.members[0].callbacks
        own = [n for n, one in enumerate(first) if overrides(one, StepCallback, [hook])]
        kinds: list[Any] = [type(first[n]) for n in own]
        # The engine's own draw nothing and change nothing: to ask takes a small sweep's time.
        is_theirs = bool(jobs) and any(package_of(kind) != "engine" for kind in kinds)
        drawn = generator_states() if is_theirs else None
        if is_theirs:
            self._glance.note()
        # Elsewhere a job alone has none: a step of a block leaves its weights without.
        asks = hook == "on_train_batch_end" and any(may_read(kind, "grad") for kind in kinds)
        gradients = self._gradients(jobs) if asks else nullcontext()
        with synced_together(), job_log.collected() as collector, gradients:
            for number in jobs if own else ():
                member = self.members[number]
                collector.buffer = member.messages
                for call in (getattr(member.callbacks[n], hook) for n in own):
                    call(member.trainer, member.module, *arguments(number))
        if self.refused:
            raise NotStacked(self.refused)
        if is_theirs and generator_states() != drawn:  # alone, a job has generators of its own
            raise NotStacked("a callback draws random numbers")
        if is_theirs and self._glance.has_changed():  # before the next hook puts it back
            self._check_callbacks()
        self._dumped = None

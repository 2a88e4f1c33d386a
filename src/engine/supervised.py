"""Has the supervised step, the metrics and the optimiser, once for every model."""

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial, wraps
from typing import Any, ParamSpec, TypedDict

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torchmetrics import MeanMetric, Metric, MetricCollection, SumMetric

from engine.data.augment import Transform
from engine.errors import UserError
from engine.fence.lightning import (
    batch_of_log,
    batch_of_training,
    hook_of,
    log_as_batch,
    logging_as,
)
from engine.fence.torch import backward, hooks_of, only_forwards, take_step
from engine.kept.gradients import reads_gradients
from engine.schedules import Schedule, configured
from engine.steps import rows
from engine.steps.block import Batch, Block
from engine.steps.callback import PER_STEP, StepCallback, overrides
from engine.steps.length import rates_of
from engine.steps.trainer import BlockTrainer

# Hooks that look into a step. A subclass that overrides one gets each step in a call of its own.
STEP_HOOKS = (
    *PER_STEP,
    "training_step",
    "compute_loss",
    "backward",
    "optimizer_step",
    "optimizer_zero_grad",
    "configure_gradient_clipping",
    "lr_scheduler_step",
    "on_before_batch_transfer",
    "transfer_batch_to_device",
    "on_after_batch_transfer",
)
BEGINS = "on_train_batch_start"
# The hooks as which code of a step logs, but for those of callbacks that watch the step.
LOGGED_AS = {"backward", *STEP_HOOKS}.difference(PER_STEP)


P = ParamSpec("P")
LEFT = object()  # what an initialisation returns that is meant to fill nothing


class _Empty:
    """Has what Python writes into each class, and nothing else."""

    nothing: None


# Of what a step does, neither a constructor says anything, nor warnings, nor what Python writes.
SAYS_NOTHING = ("__init__", "HARMLESS", "example_input_array", *vars(_Empty))


def _reduction(loss: object) -> str:
    """Returns how a loss puts its samples together: "mean" unless it says otherwise."""
    if isinstance(loss, partial):
        return str(loss.keywords.get("reduction") or _reduction(loss.func))
    return str(getattr(loss, "reduction", "mean"))


def leaves_all(init: Callable[P, None]) -> Callable[P, None]:
    """Marks an initialisation that is meant to leave the weights as their constructors drew them.

    Of others, a run names the weights that they leave.
    """

    @wraps(init)
    def marked(*args: P.args, **options: P.kwargs) -> Any:
        init(*args, **options)
        return LEFT  # which goes through whatever wraps the function

    return marked


def _not_filled(network: nn.Module, init: Callable[[nn.Module], object]) -> list[str]:
    """Fills the weights, and returns the names of those that stay as their constructors drew them.

    Biases are not counted, nor what a constructor sets to one number.
    """
    drawn = {
        name: weight.detach().clone()
        for name, weight in network.named_parameters()
        if not is_lazy(weight) and weight.dim() > 1 and weight.numel()
        if (weight != weight.flatten()[0]).any()
    }
    if init(network) is LEFT:
        return []
    now = dict(network.named_parameters())
    return [
        name for name, weight in drawn.items() if name in now and torch.equal(weight, now[name])
    ]


def _kind(made: object) -> str:
    return "None" if made is None else type(made).__name__


def _by_name(metrics: Any, owner: str) -> dict[str, Any]:
    """Returns metrics by name: of a dict, of torch's or of torchmetrics'.

    Raises:
        UserError: if they are something else, or one is no metric.
    """
    if not isinstance(metrics, Mapping | nn.ModuleDict):
        raise UserError(
            f"{owner}: metrics must be torchmetrics by name, such as "
            f'{{"mae": MeanAbsoluteError()}}, not {_kind(metrics)}.'
        )
    for name, metric in metrics.items():
        if not isinstance(metric, Metric | MetricCollection):
            is_class = isinstance(metric, type)
            kind = f"the class {metric.__name__}" if is_class else f"a {_kind(metric)}"
            raise UserError(
                f'{owner}: metrics["{name}"] is {kind}, and must be an object of torchmetrics, such'
                " as MeanAbsoluteError().\nOne of your own is a subclass of torchmetrics.Metric, "
                "with update(predictions, targets) and compute()."
            )
    return dict(metrics.items())


def _pair(batch: Any) -> Batch:
    """Returns the inputs (B, …) and targets (B, …) of a batch.

    Raises:
        UserError: if the batch has other parts.
    """
    is_sequence = isinstance(batch, tuple | list)
    if is_sequence and len(batch) == 2 and isinstance(batch[1], Tensor):
        return batch[0], batch[1]
    parts = map(_kind, batch) if is_sequence else map(str, batch) if isinstance(batch, dict) else ()
    raise UserError(
        f"a loader gives a {_kind(batch)} ({', '.join(parts)}), and a SupervisedModule takes "
        "(inputs, targets), the targets a tensor.\nOverride training_step, validation_step and "
        "test_step, or let the collate_fn of the DataLoader give such pairs."
    )


class StepOptions(TypedDict, total=False):
    """Holds the options that every model's constructor passes on to `SupervisedModule`."""

    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]
    scheduler: Schedule | None
    augment: Mapping[str, Transform | None] | None
    init: Callable[[nn.Module], object]


def additions(module: LightningModule) -> list[str]:
    """Returns the names of what a module's classes have beside those of `SupervisedModule`.

    These are methods, properties and the like, and values in place of its own.
    """
    kinds = [kind for kind in type(module).__mro__ if kind not in SupervisedModule.__mro__]
    kinds = [kind for kind in kinds if kind.__module__ not in ("typing", "abc")]  # such as Generic
    return [
        name
        for kind in kinds
        for name, value in vars(kind).items()
        if name not in SAYS_NOTHING
        and (callable(value) or hasattr(value, "__get__") or hasattr(SupervisedModule, name))
    ]


class SupervisedModule(LightningModule):
    """Trains a network by one optimiser, on batches (inputs, targets), with a loss and metrics.

    Logs `train/loss`, `lr` and `train/<metric>` every `log_every_n_steps` steps and at the end of
    an epoch, over all the steps since the last such row, and `val/…` and `test/…` over the whole
    split. The loss of a row is the mean over samples. For a loss with `reduction="sum"` it is the
    mean over steps of each step's sum (train), or the sum over the split (val, test). `lr` is the
    rate that the row's last step used. Under data parallelism, the gradients are those of the one,
    global batch.

    Args:
        network: maps inputs (N, …) to predictions (N, …).
        loss: maps (predictions, targets) to a scalar: the mean over the samples, or the sum if its
            `reduction` is "sum", an attribute or an argument of a partial function.
        metrics: torchmetrics by name, in a dict or a MetricCollection; updated with (predictions,
            targets).
        optimizer: makes the optimiser from the parameters; Adam with lr 1e-3 if not given.
        init: fills the network's weights; PyTorch's own values stay if not given.
        scheduler: makes the learning rate's scheduler, as `engine.schedules.configured` calls it;
            the rate stays as it is if not given.
        augment: transforms of the inputs of training, by name, one after the other.

    Raises:
        UserError: if the loss is a class.
    """

    weight_in_last_row: float = 1  # of the last step in the last row
    written_row: rows.LastRow | None = None
    # Warnings of Lightning's that say nothing about these models: see engine/messages.py.
    HARMLESS = (
        (
            r".*is smaller than the logging interval",
            "a row of metrics is written at the end of each epoch, too",
        ),
    )

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        metrics: Mapping[str, Metric] | nn.ModuleDict | None = None,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] = torch.optim.Adam,
        init: Callable[[nn.Module], object] | None = None,
        scheduler: Schedule | None = None,
        augment: Mapping[str, Transform | None] | None = None,
    ) -> None:
        super().__init__()
        if isinstance(loss, type):
            raise UserError(f"loss={loss.__name__}: is a class; write {loss.__name__}().")
        self.network = network
        self.loss = loss
        self.optimizer, self.scheduler = optimizer, scheduler
        self.transforms = {name: own for name, own in (augment or {}).items() if own is not None}
        # Buffers of transforms go to the device, and into checkpoints.
        self.with_buffers = nn.ModuleList(
            own for own in self.transforms.values() if isinstance(own, nn.Module)
        )
        self.averages_loss = _reduction(loss) != "sum"  # batchmean is a mean, too
        named = _by_name(metrics or {}, type(self).__name__)
        # Groups would be metrics that agree on the first batch, such as two with other thresholds.
        self.train_metrics, self.val_metrics, self.test_metrics = (
            MetricCollection(copy.deepcopy(named), prefix=f"{split}/", compute_groups=False)
            for split in ("train", "val", "test")
        )
        epoch_loss = MeanMetric if self.averages_loss else SumMetric
        # A NaN stays a NaN; by default, torchmetrics averages over the other numbers.
        keep = {"nan_strategy": math.nan}
        self.val_loss, self.test_loss = epoch_loss(**keep), epoch_loss(**keep)
        self.steps_since_row: list[rows.Step] = []  # that are in no row yet
        # The batch that is in a row last: its number, targets, and inputs as the network took them.
        self._counted: tuple[tuple[int, int, int], Tensor, Tensor] | None = None
        self._has_augmented = not self.transforms
        self._step_logs = False  # or has, in this training or one before: more than rows
        self._logs_row = False
        self.not_filled = _not_filled(network, init) if init is not None else []

    def forward(self, inputs: Tensor) -> Tensor:
        predictions: Tensor = self.network(inputs)
        return predictions

    def training_step(self, batch: Batch | Block, batch_idx: int) -> Tensor:
        """Returns the loss of the last step of a block; a batch is a block of one step.

        The steps before the last one are complete when this method returns, update and all.
        Lightning does the update of the last step.
        """
        trainer: Any = self.trainer
        batch = batch if isinstance(batch, Block) else _pair(batch)
        # A search of Lightning's for a size or a rate sets the number of the batch back.
        trainings = trainer.trainings if isinstance(trainer, BlockTrainer) else 0
        now = id(trainer), trainings, batch_of_training(trainer)
        # An optimiser such as LBFGS evaluates a step several times, always on the same inputs.
        last = self._counted
        if last and last[0] == now and torch.equal(batch[1], last[1]):
            again, _ = self.compute_loss(last[2], batch[1])
            return self._share_of_global_loss(again, len(batch[1]))
        steps = batch.steps if isinstance(batch, Block) else 1
        every = trainer.log_every_n_steps * trainer.accumulate_grad_batches
        first = self.global_step
        end = batch_idx + steps
        training_ends = first + steps == trainer.max_steps or end == trainer.num_training_batches
        has_compiled = isinstance(trainer, BlockTrainer)
        compiled = trainer.compiled_step(batch, batch_idx) if has_compiled else None
        compute = compiled or self.compute_loss
        update = None if compiled else self._update_of(trainer)
        has_metrics = len(self.train_metrics) > 0
        row: dict[str, float] = {}
        batches = batch.batches() if isinstance(batch, Block) else [batch]
        for number, served in enumerate(batches, start=batch_idx + 1):
            if steps > 1:
                trainer.batch_of_step = served
            if number > batch_idx + 1:
                trainer.next_step()
            inputs, targets = served
            inputs = self.augmented(inputs)
            loss, predictions = compute(inputs, targets)
            value = loss.item() if loss.is_cpu else loss.detach()
            seen = (predictions.detach(), targets) if has_metrics else ()
            self.steps_since_row.append((value, rows.weight_of(self.loss, targets), seen))
            if number % every == 0 or (number == end and training_ends):
                row = self._write_row(first + number - batch_idx - 1)
                if number < end:
                    trainer.row_of_block = row
                if not math.isfinite(row.get("train/loss", 0)):  # a callback may stop training here
                    break
            # Lightning ends the last step, and one that logs or changes what steps go by.
            if number == end or self._step_logs or trainer.has_changed():
                break
            if update:
                update(loss)
        self._counted = (now, targets, inputs) if steps == 1 else None
        if steps > 1:
            log_as_batch(trainer, served)
            trainer.end_block()
        if row:
            self.log_row(row)
        if compiled:
            # Nothing leads back to the parameters, so that Lightning's update finds no gradients.
            return loss.requires_grad_()
        return self._share_of_global_loss(loss, len(targets))

    def _update_of(self, trainer: Any) -> Callable[[Tensor], None]:
        """Returns what Lightning does with the loss that `training_step` returns."""
        optimizer = trainer.optimizers[0]
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        ones: Tensor | None = None

        def update(loss: Tensor) -> None:
            nonlocal ones
            for parameter in parameters:
                # optimizer.zero_grad() would tell the profiler, which takes 7 µs.
                parameter.grad = None
            ones = torch.ones_like(loss) if ones is None else ones
            backward(loss, ones)
            if clip := trainer.gradient_clip_val:
                self.configure_gradient_clipping(optimizer, clip, trainer.gradient_clip_algorithm)
            take_step(optimizer)

        return update

    def augmented(self, inputs: Tensor) -> Tensor:
        """Returns inputs of training (B, …) as `augment` changes them.

        A `training_step` of your own calls it once a step, before the network.
        """
        if not self._has_augmented:  # to set an attribute of a module takes 4 µs
            self._has_augmented = True
        if self.transforms and len(inputs):  # a process's share of a batch may be empty
            with torch.no_grad():
                for transform in self.transforms.values():
                    inputs = transform(inputs)
        return inputs

    def on_before_backward(self, loss: Tensor) -> None:
        if not self._has_augmented:
            raise UserError(
                f"augment: {type(self).__name__}.training_step changes no inputs by it. "
                "Call self.augmented(inputs) there, or use augment=none."
            )

    def compute_loss(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the loss of a training batch, a scalar, and the predictions (B, …)."""
        # A call of the module, which does the same, takes small steps 2 % longer.
        is_same = only_forwards(self, SupervisedModule.forward)
        predictions = self.network(inputs) if is_same else self(inputs)
        return self._loss(predictions, targets), predictions

    def on_train_epoch_end(self) -> None:
        if self.steps_since_row:  # training stops within an epoch
            self.log_row(self._write_row(self.global_step - 1))

    def log_row(self, row: Mapping[str, float]) -> None:
        """Logs a row for the progress bar and for callbacks."""
        self._logs_row = True
        try:
            self.log_dict(row, logger=False, prog_bar=True)
        finally:
            self._logs_row = False

    def log(self, *args: Any, **options: Any) -> None:
        """Logs a value as Lightning does; a block ends with the step that logs one."""
        hook = hook_of(self) or ""
        begins = hook == BEGINS and isinstance(block := batch_of_log(self.trainer), Block)
        if self._logs_row or not (begins or hook in LOGGED_AS):
            super().log(*args, **options)
            return
        self._step_logs = True
        trainer: Any = self.trainer
        batch = next(block.batches()) if begins else getattr(trainer, "batch_of_step", None)
        if batch is not None:
            log_as_batch(trainer, batch)
        with logging_as(self, BEGINS if getattr(trainer, "begins_step", False) else hook):
            super().log(*args, **options)

    def why_no_blocks(self) -> str | None:
        """Returns why each step needs a call of its own, if so."""
        hooks = overrides(self, SupervisedModule, STEP_HOOKS)
        name = type(self).__name__
        if hooks:
            return f"{name}.{hooks[0]} wants every step"
        if not self.automatic_optimization:
            return f"{name}.automatic_optimization=False"
        return f"a step of {name} logs something" if self._step_logs else None

    def why_not_compiled(self) -> str | None:
        """Returns why a step is more than network, loss and optimiser, if so."""
        own = overrides(self, SupervisedModule, ["_loss", "forward"])
        # A property, say, which may be another one from step to step.
        own += [name for name in ("network", "loss") if hasattr(type(self), name)]
        own += ["forward hook"] * bool(hooks_of(self))
        if own:
            return f"{type(self).__name__} has a {own[0]} of its own"
        callbacks: Any = self.trainer.callbacks  # type: ignore[attr-defined]
        # A compiled step leaves none behind. A StepCallback says which steps it looks into.
        ordinary = [callback for callback in callbacks if not isinstance(callback, StepCallback)]
        owners = (*self.modules(), *ordinary)
        return next(
            (f"{type(own).__name__} reads gradients" for own in owners if reads_gradients(own)),
            None,
        )

    def metric_names(self, data: Any) -> list[str] | None:
        """Returns the metrics that training with these data logs; None for a class that adds to it.

        Args:
            data: the data module.
        """
        if additions(self):
            return None
        validated = ["val/loss", *self.val_metrics] if "val" in getattr(data, "splits", ()) else []
        return ["train/loss", *self.train_metrics, *validated]

    def validation_step(
        self, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> dict[str, Tensor]:
        return self._evaluate("val", batch, batch_idx, self.val_loss, self.val_metrics)

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        return self._evaluate("test", batch, batch_idx, self.test_loss, self.test_metrics)

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.parameters())
        if not hasattr(optimizer, "param_groups"):  # Lightning would take no step
            raise UserError(f"module.optimizer: gives {_kind(optimizer)}, not an optimizer.")
        return self.scheduled(optimizer)

    def scheduled(self, optimizer: Optimizer) -> Any:
        """Returns an optimiser with the schedule that `scheduler` makes for it.

        A `configure_optimizers` of your own returns it, for parameter groups of its own.

        Raises:
            TypeError: for what is no optimiser, such as `self.optimizer`, which makes one.
        """
        if not hasattr(optimizer, "param_groups"):
            raise TypeError(
                "scheduled() takes an optimizer, such as self.optimizer(self.parameters()), "
                f"not {_kind(optimizer)}"
            )
        if self.scheduler is None:
            return optimizer
        config = configured(self.scheduler, optimizer, partial(rates_of, self.trainer))
        return {"optimizer": optimizer, "lr_scheduler": config}

    def _evaluate(
        self, split: str, batch: Batch, batch_idx: int, loss: Metric, metrics: MetricCollection
    ) -> dict[str, Tensor]:
        inputs, targets = _pair(batch)
        if batch_idx == 0:  # of the second loader, say: Lightning has logged those of the first
            loss.reset()
            metrics.reset()
        predictions = self(inputs)
        self.add_loss(loss, self._loss(predictions, targets), targets)
        metrics.update(predictions, targets)
        self.log(f"{split}/loss", loss, on_step=False, on_epoch=True, prog_bar=split == "val")
        self.log_dict(dict(metrics.items()), on_step=False, on_epoch=True, prog_bar=split == "val")
        return {"predictions": predictions, "targets": targets}

    def add_loss(self, metric: Metric, value: Tensor, targets: Tensor) -> None:
        """Adds the loss of a batch to that of the split, which is then that of all samples at once.

        Args:
            metric: of the split.
            value: the loss of the batch, a scalar.
            targets: of the batch, (B, …).
        """
        if value.dtype == torch.float64 != metric.dtype:
            metric.set_dtype(torch.float64)  # else from the second batch of a process on
        if not self.averages_loss:
            metric.update(value)
            return
        weight = rows.weight_of(self.loss, targets)
        if isinstance(weight, Tensor):  # of sequences, each batch may have another length
            value = torch.where(weight > 0, value, 0.0)
        metric.update(value, weight=weight)

    def _loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Returns the loss of a batch, or of this process's share of the batch.

        An empty share has a loss of zero: its mean would be NaN.
        """
        loss: Tensor = self.loss(predictions, targets) if targets.numel() else predictions.sum() * 0
        return loss

    def _write_row(self, step: int) -> dict[str, float]:
        """Logs and returns the row of the steps since the last row.

        One step's row by itself would take longer than the step. The row goes straight to the
        loggers: Lightning writes the rows of `self.log` only after the step's checkpoint, so that
        a kill between the two would lose a row.
        """
        losses, weights, seen = zip(*self.steps_since_row, strict=True)
        self.steps_since_row.clear()
        pair = rows.numbers(losses), rows.numbers(weights)
        self.weight_in_last_row = pair[1][-1]
        total, weight = rows.weighted_loss(*pair, self.averages_loss)
        if self.trainer.world_size > 1:  # of a sum, each process has a part
            totals = torch.tensor([total, weight], dtype=torch.float64, device=self.device)
            total, weight = self.trainer.strategy.reduce(totals, reduce_op="sum").tolist()
            weight /= 1 if self.averages_loss else self.trainer.world_size
        row = {"train/loss": total / weight} if weight else {}  # of labels that are all ignored
        if self.train_metrics:
            row |= rows.metrics(self.train_metrics, rows.joined(seen))
        self.written_row = rows.LastRow(len(losses), tuple(row))
        lr = self.trainer.optimizers[0].param_groups[0]["lr"]
        values = {**row, "lr": lr, "epoch": self.current_epoch}
        for logger in self.loggers:
            logger.log_metrics(values, step=step)
        return row

    def _share_of_global_loss(self, loss: Tensor, size: int) -> Tensor:
        """Returns the loss whose gradients, averaged over processes, are the global batch's.

        The strategy averages gradients over processes, whatever the sizes of their shares.
        """
        world_size = self.trainer.world_size
        if world_size == 1:
            return loss
        if not self.averages_loss:
            return loss * world_size
        sizes = torch.tensor(float(size), device=self.device)
        return loss * (size * world_size / self.trainer.strategy.reduce(sizes, reduce_op="sum"))

    @property
    def weight_of_last_step(self) -> float | Tensor:
        """Returns what the last step weighs; 0 for labels that are all ignored: its loss is NaN."""
        return self.steps_since_row[-1][1] if self.steps_since_row else self.weight_in_last_row

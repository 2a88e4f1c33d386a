"""Holds one job of a stack: its own parts, and its view of the stack's Trainer."""

import functools
import inspect
import logging
import time
from collections.abc import Callable, Sequence
from numbers import Number
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from engine.data.datamodule import TensorDataModule
from engine.errors import blamed_on
from engine.run.checkpoint.file import WholeFileIO
from engine.run.loggers.table import MetricsCSV, Row
from engine.run.loggers.tensorboard import TensorBoard
from engine.supervised import SupervisedModule
from engine.sweep.jobs import Job
from engine.vectorized import NotStacked


class Member:
    """Holds one job of a stack, with all the parts that the job would have alone, except a Trainer.

    Args:
        job: the job.
        folder: the job's folder.
        data: the job's data module; jobs whose splits are equal share one copy of the splits.
        module: the job's module; its weights become views of the stack's weights.
        callbacks: the job's callbacks.
        loggers: the job's loggers.
        draws: whether the callbacks draw figures.
    """

    def __init__(
        self,
        job: Job,
        folder: Path,
        data: TensorDataModule,
        module: SupervisedModule,
        callbacks: Sequence[Callback],
        loggers: Sequence[MetricsCSV | TensorBoard],
        draws: bool,
    ) -> None:
        self.job, self.folder, self.data, self.module, self.draws = job, folder, data, module, draws
        self.callbacks, self.loggers = list(callbacks), list(loggers)
        with blamed_on("optimizer"):
            self.optimizer: Optimizer = module.optimizer(module.parameters())
        self.began, self.ended = time.monotonic(), 0.0
        self.messages: list[logging.LogRecord] = []
        self.rows: list[Row] = []  # that are in no file
        self.logged: dict[str, Tensor] | None = None  # by the evaluation that ends, if one does
        self.hidden: set[str] = set()  # metrics that are not for the progress bar
        self.trainer: Any = None
        for logger in self.loggers:  # a callback may keep one, and log by hand
            vars(logger)["log_metrics"] = functools.partial(self._log_by_hand, logger.log_metrics)
        # Lightning's would tell of all jobs.
        vars(module).update(log=self.log, optimizers=self.optimizers)

    def log(self, name: str, value: Any, *others: Any, **options: Any) -> None:
        """Takes a number that a callback logs through the module, at the end of an evaluation.

        Raises:
            NotStacked: for a number of another moment, which has a row of its own where a job is
                alone, for one that is not logged in the usual way, and for what is no number.
        """
        if self.logged is None:
            raise NotStacked(f"a callback logs {name} at another moment than an evaluation's end")
        if not isinstance(value, Tensor | Number) or torch.as_tensor(value).numel() != 1:
            raise NotStacked(f"a callback logs {name}, which is no single number")
        given = LOG.bind(self, name, value, *others, **options).arguments
        is_shown = given.pop("prog_bar", False)
        for option, usual in USUAL.items():
            if given.get(option) not in (None, usual):
                raise NotStacked(f"a callback logs {name} with {option}={given[option]}")
        number = torch.as_tensor(value).squeeze()
        # As Lightning keeps a whole number, too.
        is_whole = not number.is_floating_point()
        self.logged[name] = number.to(torch.get_default_dtype()) if is_whole else number
        if not is_shown:
            self.hidden.add(name)

    def optimizers(self, use_pl_optimizer: bool = True) -> Optimizer:
        """Returns the job's optimiser, for a callback that asks the module for it."""
        return self.optimizer

    def _log_by_hand(self, log_metrics: Callable[..., None], *row: Any, **options: Any) -> None:
        """Logs a row after those that there are so far."""
        self.flush()
        log_metrics(*row, **options)

    def write(self, values: dict[str, Any], step: int) -> None:
        """Adds a row for all loggers; the row is in no file before the next flush."""
        self.rows.append(Row(step, values, time.time()))

    def flush(self) -> None:
        """Writes all rows to the files."""
        rows, self.rows = self.rows, []
        for logger in self.loggers:
            logger.log_rows(rows)
            logger.save()


# Of the stack's Trainer, this is of all jobs, and another thing than a job's own would be.
OF_ALL_JOBS = {
    *(f"{name}_dataloader{'s' * (name != 'train')}" for name in ("train", "val", "test")),
    *("model", "lr_scheduler_configs", "fit", "validate", "test", "predict"),
}
# Parts of a Trainer that are of all jobs, too, or of which a job has some: the engine and Lightning
# look at them.
PARTS = {"strategy", *(f"{name}_loop" for name in ("fit", "validate", "test", "predict"))}
PARTS |= {"callbacks", "progress_bar_callback"}
# What properties of a Trainer may follow from, and is a job's own.
OWN = ("loggers", "callbacks", "default_root_dir", "lightning_module", "datamodule", "optimizers")
LOG = inspect.signature(LightningModule.log)
# Options of `log` that make a difference at the end of an evaluation, as they are if not given.
USUAL = {
    "enable_graph": False,
    "logger": True,
    "metric_attribute": None,
    "on_step": False,
    "reduce_fx": "mean",
    "sync_dist_group": None,
}

ARITHMETIC = (
    "add",
    "sub",
    "mul",
    "matmul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "and",
    "or",
    "xor",
)
# By what Python looks at an object or into one.
ASKED = (
    *("__getattribute__", "__setattr__", "__len__", "__iter__", "__contains__", "__bool__"),
    *("__getitem__", "__setitem__", "__delitem__", "__eq__", "__repr__", "__hash__", "__call__"),
    *("__next__", "__reversed__", "__float__", "__int__", "__index__", "__enter__"),
    *("__lt__", "__le__", "__gt__", "__ge__", "__neg__", "__abs__", "__invert__"),
    *(f"__{kind}{name}__" for kind in ("", "r", "i") for name in ARITHMETIC),
)


@functools.cache
def _derived(kind: type) -> dict[str, Callable[[Any], Any]]:
    """Returns what computes the properties of a Trainer that follow from what is a job's own."""
    items = [(name, own) for one in kind.__mro__ for name, own in vars(one).items()]
    gets = {name: own.fget for name, own in reversed(items) if isinstance(own, property)}
    known = set(OWN)
    for _ in gets:  # one may follow from another
        known |= {name for name, get in gets.items() if get and known & {*get.__code__.co_names}}
    return {name: get for name, get in gets.items() if get and name in known}


def _is_asked_by_users() -> bool:
    """Tells whether it is a user's code that asks for an attribute."""
    frame: Any = inspect.currentframe()
    asks = str(frame.f_back.f_back.f_globals.get("__name__")).partition(".")[0]
    return asks not in ("engine", "lightning")


def refusing(refuse: Callable[[], NotStacked]) -> Any:
    """Returns an object that stands for what a stack does not have, or has once for all jobs.

    Args:
        refuse: returns the error that is raised whatever is asked of the object.
    """

    def ask(*_: Any) -> Any:
        raise refuse()

    return type("Refusing", (), dict.fromkeys(ASKED, ask))()


class TrainerOfJob:
    """Shows a job the stack's Trainer, but with the job's own folder, module, metrics and so on.

    What a Trainer derives from these, such as `log_dir`, is the job's own, too.

    Raises:
        NotStacked: where somebody asks for what is of all jobs, or sets an option of the Trainer,
            or where a user's code asks for a loop, the strategy, all callbacks or a hidden part of
            it.
    """

    def __init__(self, trainer: Trainer, stack: Any, number: int) -> None:
        member = stack.members[number]
        kind: Any = type(trainer)
        own: dict[str, Any] = {
            "_trainer": trainer,
            "_derived": _derived(kind) | {"callbacks": lambda _: member.callbacks},
            "_stack": stack,
            "_number": number,
            "_member": member,
            "default_root_dir": str(member.folder),
            "draws": member.draws,
            "lightning_module": member.module,
            "datamodule": member.data,
            "optimizers": [member.optimizer],
            "metrics": {},
            "tested": None,
            "should_stop": False,
        }
        vars(self).update(own)
        looks = functools.partial(stack.refuse, "a callback looks at the state of the optimiser")
        single: Any = member.optimizer
        single.state = refusing(looks)  # the stack has it, in tensors of all jobs
        single.state_dict = lambda: trainer.optimizers[0].state_of(number)  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        is_hidden = name.startswith("_") and hasattr(self._trainer, name)
        if name in OF_ALL_JOBS or ((name in PARTS or is_hidden) and _is_asked_by_users()):
            raise self._stack.refuse(f"a callback asks for trainer.{name}")
        derived = self._derived.get(name)
        return derived(self) if derived else getattr(self._trainer, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in vars(self) and hasattr(self._trainer, name):
            raise self._stack.refuse(f"a callback sets trainer.{name}")
        vars(self)[name] = value

    @property
    def loggers(self) -> list[MetricsCSV | TensorBoard]:
        """Returns the job's loggers, which have all rows so far: who logs by hand adds to these."""
        if self._member.rows:
            self._member.flush()
        found: list[MetricsCSV | TensorBoard] = self._member.loggers
        return found

    @property
    def callback_metrics(self) -> dict[str, Tensor]:
        """Returns the last value of each metric, those of a row in the job's precision.

        In 64 bits a loss of 1e39 would be finite, and the job would not count as diverged.
        """
        dtype = self.lightning_module.dtype
        for key, value in self.metrics.items():
            if isinstance(value, float):
                self.metrics[key] = torch.tensor(value, dtype=dtype)
        return dict(self.metrics)

    @property
    def logged_metrics(self) -> dict[str, Tensor]:
        """Returns what was logged by `log`, as the rows of training are not."""
        found = self.callback_metrics.items()
        return {key: value for key, value in found if not key.startswith("train/")}

    @property
    def progress_bar_metrics(self) -> dict[str, float]:
        shown = self.callback_metrics.keys() - self._member.hidden
        found = self.callback_metrics.items()
        return {k: v.item() for k, v in found if k in shown and not k.startswith("test/")}

    def save_checkpoint(self, path: str | Path, weights_only: bool | None = None) -> None:
        """Writes the checkpoint that the job would write alone."""
        self._member.flush()  # a kill must lose no row before a checkpoint
        checkpoint = self._stack.checkpoint_of(self._number)
        WholeFileIO(self._member.job.config).save_checkpoint(checkpoint, path)

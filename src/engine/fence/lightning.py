"""Lightning: what is used of it beyond its documentation."""

import csv
import io
import math
import signal
import subprocess
import time
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, cast

from lightning.fabric.loggers.logger import rank_zero_experiment as rank_zero_experiment
from lightning.fabric.utilities.distributed import DistributedSamplerWrapper
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    LearningRateFinder,
    StochasticWeightAveraging,
    TQDMProgressBar,
    WeightAveraging,
)
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.logger import DummyLogger as DummyLogger
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from lightning.pytorch.trainer.connectors.logger_connector.result import (
    _Metadata,
    _ResultCollection,
    _ResultMetric,
    _Sync,
)
from lightning.pytorch.tuner.lr_finder import _determine_lr_attr_name, _LRFinder
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.combined_loader import (
    CombinedLoader,
    _shutdown_workers_and_reset_iterator,
)
from lightning.pytorch.utilities.parsing import lightning_setattr
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torchmetrics import Metric

from engine.fence import replaced
from engine.fence import torchmetrics as metrics
from engine.files import whole_lines, write_whole

OF_LOOPS = ("_last_val_time",)  # what Lightning's loops put on a Trainer that has been made


class LoopCounts:
    """Lightning's counts of batches and steps, for steps that Lightning does not take itself.

    It is made anew for each epoch, which may have a loader of its own.

    Args:
        trainer: whose counts they are.
        schedules: whether there are learning rates that change with steps.
    """

    def __init__(self, trainer: Trainer, schedules: bool) -> None:
        loop: Any = trainer.fit_loop.epoch_loop
        fetcher: Any = trainer.fit_loop._data_fetcher
        optimizer = loop.automatic_optimization.optim_progress.optimizer
        counted = (loop.batch_progress, optimizer.zero_grad, optimizer.step)
        pairs = [(progress.total, progress.current) for progress in counted]
        self._schedules = schedules
        self._counts = (loop, fetcher, *pairs)

    def count_step(self) -> int:
        """Counts the step that was just taken, as Lightning would; returns the next one's batch.

        The batch's number counts from the start of training.
        """
        loop, fetcher, batches, gradients, steps = self._counts
        if self._schedules:
            loop.update_lr_schedulers("step", update_plateau_schedulers=False)
        for progress in batches:  # a loop for each class: Python is twice as fast by one class
            progress.ready += 1
            progress.started += 1
            progress.processed += 1
            progress.completed += 1
        for progress in gradients:
            progress.ready += 1
            progress.started += 1
            progress.completed += 1
        for progress in steps:
            progress.ready += 1
            progress.completed += 1
        loop._batches_that_stepped += 1
        fetcher.fetched += 1
        fetcher.done = loop.batch_progress.is_last_batch = fetcher.fetched >= fetcher.length
        batch: int = loop.total_batch_idx
        return batch


def watch_loops(
    trainer: Trainer,
    begun: Callable[[], None],
    batch_done: Callable[[], None],
    epoch_done: Callable[[], None],
) -> None:
    """Calls functions at moments of training for which Lightning has no hook.

    What is saved at the last two goes on with the next batch, or with the next epoch, whole.

    Args:
        trainer: a new one.
        begun: when all that belongs to `on_train_start` is done, the module's hook included.
        batch_done: when all that belongs to a batch is done: the module's hook, learning rates
            that follow a metric, rows, a validation. `on_train_batch_end` comes before.
        epoch_done: the same of an epoch. `on_train_epoch_end` comes before.
    """
    loop: Any = trainer.fit_loop
    batches = loop.epoch_loop
    end = loop.on_advance_end

    def start_run() -> None:
        if batches.batch_progress.current.ready == 0:
            # At an epoch's start nothing of it is left to do, and its batches are drawn now.
            batches.restarting = False
            loop._resuming_from_checkpoint = False
        begun()

    def begin_epoch() -> None:
        batches.restarting = False  # what was saved had its validation already

    def end_epoch() -> None:
        # Lightning would not let learning rates follow a metric in an epoch that was resumed.
        loop._restarting = False
        end()
        results_of_training(trainer).forget()
        # A batch that `on_train_batch_start` has skipped counts in two of four. Lightning would
        # take a checkpoint for one within a batch, and count a step more.
        total = batches.batch_progress.total
        total.started = total.processed = total.completed = total.ready
        batches.batch_progress.reset_on_run()
        batches.scheduler_progress.reset_on_run()
        batches.automatic_optimization.optim_progress.reset_on_run()
        batches.val_loop.batch_progress.total.reset()
        epoch_done()

    _watch_data(trainer)
    _after(loop, "on_run_start", start_run)
    _after(batches, "on_run_start", begin_epoch)
    _after(batches, "on_advance_end", batch_done)
    loop.on_advance_end = end_epoch
    # A place for what modules log, which a checkpoint can have.
    batches._results = Results(training=True)


@contextmanager
def asked_of_trainers() -> Iterator[list[str]]:
    """Gathers what code asks of Trainers, by modules, data modules or the Trainers themselves.

    It looks at Lightning's classes, so that it sees who asks by a closure, a weak reference or a
    copy, too. Where there is no Trainer yet, to ask is an error: it ends the block, no more.
    """
    asked: list[str] = []

    def kept_as(name: str) -> property:
        def get(own: Any) -> Any:
            asked.append(name)
            return vars(own).get(name)

        def put(own: Any, value: Any) -> None:
            vars(own)[name] = value

        return property(get, put)

    def get_of_trainer(trainer: Trainer, name: str) -> Any:
        asked.append(name)
        return object.__getattribute__(trainer, name)

    spies: dict[tuple[type, str], Any] = {
        (LightningModule, "_trainer"): kept_as("_trainer"),
        (LightningDataModule, "trainer"): kept_as("trainer"),
        (Trainer, "__getattribute__"): get_of_trainer,
    }
    for (kind, name), spy in spies.items():
        setattr(kind, name, spy)
    try:
        yield asked
    except Exception:
        if not asked:
            raise
    finally:
        for kind, name in spies:
            delattr(kind, name)


def _after(loop: Any, name: str, then: Callable[[], None]) -> None:
    """Has a loop call a function at the end of one of its methods."""
    method = getattr(loop, name)

    def both(*args: Any) -> None:
        method(*args)
        then()

    setattr(loop, name, both)


def _watch_data(trainer: Trainer) -> None:
    """Has the batches begin where training goes on, also where they were loaded before.

    Whoever asks for `estimated_stepping_batches` loads them before the checkpoint is read.
    Lightning begins them at once, at the first, and gives their loaders no state later.
    """
    loop: Any = trainer.fit_loop
    load = loop.setup_data
    are_in_place = False

    def setup_data() -> None:
        nonlocal are_in_place
        before = loop._data_fetcher
        load()
        if loop.restarting and not are_in_place:
            are_in_place = True
            if loop._data_fetcher is before:
                loop._load_combined_loader_states()
                iter(loop._data_fetcher)

    loop.setup_data = setup_data


class Place:
    """Tells a loader how far training is. Each pass over one of validation is whole.

    Args:
        trainer: whose training it is.
        is_of_training: whether the loader is one of training, and not of validation.
    """

    def __init__(self, trainer: Trainer, is_of_training: bool = True) -> None:
        self._loop: Any = trainer.fit_loop
        self.is_of_training = is_of_training

    def epoch(self) -> int:
        """Returns the number of the current epoch, from 0."""
        return int(self._loop.epoch_progress.current.completed)

    def batch(self) -> int:
        """Returns the number of batches of the current epoch that are done."""
        return int(self._loop.batch_idx + 1) if self.is_of_training else 0

    def is_start(self) -> bool:
        """Tells whether no batch of training is done."""
        return self.is_of_training and self.epoch() == self.batch() == 0

    def moment(self) -> str:
        """Returns what tells the passes over a loader apart.

        That is the number of the epoch; in validation, that of the last batch of training, too.
        """
        epoch = str(self.epoch())
        return epoch if self.is_of_training else f"{epoch}/{self._loop.total_batch_idx}"

    def loader(self, loader: object) -> str:
        """Returns the number of a loader among those of training, or of validation."""
        loop = self._loop if self.is_of_training else self._loop.epoch_loop.val_loop
        loaders = enumerate(loop._combined_loader.flattened)
        number = next((number for number, other in loaders if other is loader), 0)
        return str(number) if self.is_of_training else f"val/{number}"

    def is_cycled(self) -> bool:
        """Tells whether a loader begins anew, where a longer one beside it goes on."""
        return self.is_of_training and self._loop._combined_loader._mode == "max_size_cycle"

    def is_asked_for_by(self, frame: FrameType) -> bool:
        """Tells whether code that asks a loader for batches trains on them, as Lightning's does."""
        return frame.f_globals.get("__name__") == CombinedLoader.__module__


def training_loaders(trainer: Trainer) -> list[object]:
    """Returns the loaders of training."""
    combined: Any = trainer.fit_loop._combined_loader
    return [] if combined is None else list(combined.flattened)  # it may have no length yet


def validation_loaders(trainer: Trainer) -> list[object]:
    """Returns the loaders of validation, as far as they are made."""
    combined: Any = trainer.fit_loop.epoch_loop.val_loop._combined_loader
    return [] if combined is None else list(combined.flattened)


def training_sizes(trainer: Trainer) -> list[int]:
    """Returns the number of samples behind each loader of training; none where nobody knows it."""
    datasets: list[Any] = [getattr(loader, "dataset", None) for loader in training_loaders(trainer)]
    return [len(dataset) for dataset in datasets if hasattr(dataset, "__len__")]


def around_loading(
    trainer: Trainer,
    within: Callable[[str], AbstractContextManager[None]],
    process: Callable[[object, bool], object],
) -> None:
    """Has the loaders of `fit` made within a context, and processed by a function.

    The loop that makes a loader says what it is for. The Trainer's state does not: the end of a
    `BatchSizeFinder`, or a callback, may have loaders of validation made while it trains.

    Args:
        trainer: whose loaders they are.
        within: is given what tells the makings apart: of training or of validation, and the epoch
            where loaders are made anew for each.
        process: is given a loader, after Lightning and the strategy, and whether it is of training;
            otherwise it is of validation.
    """
    of_training: Any = trainer.fit_loop
    before = trainer.strategy.process_dataloader
    for name, loop in (("train", of_training), ("val", of_training.epoch_loop.val_loop)):

        def processed(loader: object, is_of_training: bool = name == "train") -> object:
            return process(before(loader), is_of_training)

        loop.setup_data = partial(_load, trainer, loop.setup_data, name, within, processed)


def beside_loading(trainer: Trainer, then: Callable[[], None]) -> None:
    """Calls a function before and after the loaders of a test, or of `validate`, are made.

    Lightning's hooks of the start come after it has begun to iterate over the loaders, which draws
    the seed of their workers.
    """
    loops: list[Any] = [trainer.validate_loop, trainer.test_loop]
    for loop in loops:
        loop.setup_data = partial(_load_between, loop.setup_data, then)


def _load_between(load: Callable[[], None], then: Callable[[], None]) -> None:
    then()
    load()
    then()


def _load(
    trainer: Any,
    load: Callable[[], None],
    name: str,
    within: Callable[[str], Any],
    processed: Callable[[object], object],
) -> None:
    number = trainer.current_epoch if trainer.reload_dataloaders_every_n_epochs else 0
    with within(f"{name}/{number}"), replaced(trainer.strategy, process_dataloader=processed):
        load()


def skip_searches(trainer: Trainer, hook: str) -> None:
    """Has Lightning's own finders search no more in a hook, such as `on_validation_start`."""
    for finder in _finders(trainer):
        setattr(finder, hook, _no_search)  # a lambda could not go to another process


def _no_search(*_: object) -> None:
    """Searches for nothing."""


def found_by_searches(trainer: Trainer) -> list[Any]:
    """Returns what each of Lightning's own finders has found; None where it finds nothing.

    Of a search for a rate, that is the loss at each rate, which says which rate it is.
    """
    return [
        finder.optimal_batch_size
        if isinstance(finder, BatchSizeFinder)
        else finder.optimal_lr and finder.optimal_lr.results
        for finder in _finders(trainer)
    ]


def go_on_with_found(trainer: Trainer, found: list[Any]) -> bool:
    """Has each of Lightning's own finders set what it has found, where it would search in `fit`.

    Returns:
        whether the finders are those that have found it; else nothing is set.
    """
    finders = _finders(trainer)
    fit = len(finders) == len(found) and all(
        result is None or isinstance(result, dict) == isinstance(finder, LearningRateFinder)
        for finder, result in zip(finders, found, strict=False)
    )
    for finder, result in zip(finders, found if fit else (), strict=False):
        cast(Any, finder).on_fit_start = partial(_set_found, finder, result)
    return fit


def _set_found(finder: Any, result: Any, trainer: Trainer, module: LightningModule) -> None:
    """Sets a size or a rate as a search does; loaders that are there already are made anew."""
    del finder.on_fit_start  # it searches in another training
    if result is None:
        return
    if isinstance(finder, LearningRateFinder):
        own = _LRFinder(finder._mode, finder._min_lr, finder._max_lr, finder._num_training_steps)
        own.results = result
        finder.optimal_lr = own
        rate = own.suggestion() if finder._update_attr else None
        if rate is not None:
            lightning_setattr(module, _determine_lr_attr_name(module, finder._attr_name), rate)
        return
    finder.optimal_batch_size = result
    lightning_setattr(module, finder._batch_arg_name, result)
    of_training: Any = trainer.fit_loop
    for loop in (of_training, of_training.epoch_loop.val_loop):
        loop._combined_loader = None


def _finders(trainer: Trainer) -> list[BatchSizeFinder | LearningRateFinder]:
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return [own for own in callbacks if type(own) in (BatchSizeFinder, LearningRateFinder)]


def reloads_each_epoch(trainer: Trainer) -> bool:
    """Tells whether loaders are made anew for each epoch."""
    every: int = trainer.reload_dataloaders_every_n_epochs  # type: ignore[attr-defined]
    return every == 1


def wrapped_sampler(sampler: object) -> object:
    """Returns the user's sampler within the one that Lightning gives to several processes."""
    if isinstance(sampler, DistributedSamplerWrapper):
        return cast(Any, sampler.dataset)._sampler
    return None


def restart_workers(loader: object) -> None:
    """Makes a DataLoader with persistent workers start new ones for its next epoch."""
    _shutdown_workers_and_reset_iterator(loader)


class ServesLoader:
    """Looks like a loader whose workers Lightning ends when training ends.

    Lightning finds the workers by an attribute of the loader, and sets it to None.
    """

    _source: Any  # the loader that has the workers

    @property
    def _iterator(self) -> Any:
        return getattr(self._source, "_iterator", None)

    @_iterator.setter
    def _iterator(self, iterator: Any) -> None:
        self.end_pass()
        if hasattr(self._source, "_iterator"):
            self._source._iterator = iterator

    def end_pass(self) -> None:
        """Ends the pass that is served, and its workers."""


def taken_children(trainer: Trainer) -> list[subprocess.Popen[Any]]:
    """Returns the processes that were started for further devices, which Lightning forgets.

    Its observer would kill this process for the end of one of them, up to 5 seconds later, when
    this one may be at the next job of a sweep.
    """
    own = getattr(trainer.strategy.launcher, "procs", [])
    taken = [*own]
    own.clear()
    return taken


def kill_children(trainer: Trainer, patience: float = 0.0) -> list[int]:
    """Kills the processes that were started for further devices.

    Args:
        trainer: of this process, which has started them.
        patience: the seconds in which those may end that are ending already.

    Returns:
        the ranks of those that somebody else has killed, as the system does without memory.
    """
    killed = []
    until = time.monotonic() + patience
    for rank, process in enumerate(taken_children(trainer), start=1):
        with suppress(subprocess.TimeoutExpired):
            if process.wait(max(0.0, until - time.monotonic())) == -signal.SIGKILL:
                killed.append(rank)
        process.kill()
        process.wait()
    return killed


def trains_in_copies(trainer: Trainer) -> bool:
    """Tells whether all processes that train are copies, and this one waits for their end."""
    return isinstance(trainer.strategy.launcher, _MultiProcessingLauncher)


def average_whole_numbers(trainer: Trainer) -> None:
    """Lets several processes average whole numbers as numbers.

    Lightning averages how many samples each process has logged a mean of, and rounds down.
    """
    strategy: Any = trainer.strategy
    reduce = strategy.reduce

    def average(tensor: Any, group: Any = None, reduce_op: Any = "mean") -> Any:
        is_whole = isinstance(tensor, Tensor) and not tensor.is_floating_point()
        averages = reduce_op in (None, "mean", "avg")
        return reduce(tensor.float() if is_whole and averages else tensor, group, reduce_op)

    strategy.reduce = average


def before_stage(trainer: Trainer, then: Callable[[], None]) -> None:
    """Calls a function where a training or a test begins, before the first of its hooks.

    Its checkpoint is loaded then. A `BatchSizeFinder` loads another one in the first hook.
    """
    made: Any = trainer
    run_stage = made._run_stage

    def first() -> Any:
        then()
        return run_stage()

    made._run_stage = first


def before_optimizers(trainer: Trainer, then: Callable[[], None]) -> None:
    """Calls a function once, when a module has its layers, and nothing is made of them yet.

    Lightning has no hook between a module's `setup` and `configure_model`, which may make layers,
    and the strategy's own `setup`, which makes the optimisers.
    """
    strategy: Any = trainer.strategy
    setup = strategy.setup

    def first(own: Trainer) -> None:
        strategy.setup = setup
        then()
        setup(own)

    strategy.setup = first


def stops(trainer: Trainer) -> bool:
    """Tells whether training stops because somebody asked for it, and has its least length."""
    return trainer.should_stop and trainer.fit_loop._can_stop_early


class Results(_ResultCollection):
    """Keeps what a module logs in an epoch of training, so that a checkpoint can have it."""

    def __init__(self, training: bool) -> None:
        super().__init__(training)
        self._before: dict[str, dict[str, Any]] = {}  # by key; not logged since the run was resumed
        self.of_epoch: frozenset[str] = frozenset()  # names of what the last epoch has logged

    def reset(self, metrics: bool | None = None, fx: str | None = None) -> None:
        self.of_epoch = frozenset(self.metrics(on_step=False)["callback"])
        super().reset(metrics, fx)

    def __contains__(self, key: object) -> bool:
        return key not in self._before and super().__contains__(key)  # made anew, as logged now

    def __setitem__(self, key: str, result: Any) -> None:
        super().__setitem__(key, result)
        metrics.resume(result, self._before.pop(key, {}).get("state", {}))

    def state(self) -> dict[str, dict[str, Any]]:
        """Returns what is logged of the current epoch so far, and how, by key."""
        return {key: _as_logged(result) for key, result in self.valid_items()}

    def resume(self, state: dict[str, dict[str, Any]], module: LightningModule) -> None:
        """Goes on with what `state` returned; what is not logged again in the epoch is in it, too.

        Args:
            state: of a run that was killed.
            module: the one that logs; it has the metrics of torchmetrics that were logged.
        """
        connector: Any = module.trainer._logger_connector
        connector._first_loop_iter = False  # in an epoch's first batch, Lightning drops the sums
        parts = dict(module.named_modules())
        for key, saved in state.items():
            meta = _Metadata(**saved["how"])
            meta.sync = _Sync(fn=module.trainer.strategy.reduce, **saved["sync"])
            result: Any = _ResultMetric(meta, is_tensor="value" in saved["state"])
            if not result.is_tensor:
                if meta.metric_attribute not in parts:  # it is in a list: found when it is logged
                    continue
                result.value = parts[meta.metric_attribute]
            metrics.resume(result, saved["state"])
            result._forward_cache = saved["last"]
            self[key] = result
        self._before = {key: saved for key, saved in state.items() if key in self}

    def forget(self) -> None:
        """Drops what was not logged again in the epoch that was resumed, when that has ended."""
        for key in self._before:
            del self[key]
        self._before = {}


def _as_logged(result: Any) -> dict[str, Any]:
    how = {**vars(result.meta), "reduce_fx": result.meta.reduce_fx.__name__}
    sync = how.pop("_sync")
    return {
        "how": how,
        "sync": {"_should": sync.should, "rank_zero_only": sync.rank_zero_only},
        "state": metrics.state_of(result),
        "last": result._forward_cache,
    }


def results_of_training(trainer: Trainer) -> Results:
    """Returns what the module has logged in the current epoch of training."""
    results: Any = trainer.fit_loop.epoch_loop._results
    assert isinstance(results, Results)
    return results


def logged_of_epoch(trainer: Trainer) -> frozenset[str]:
    """Returns the names of what training has logged of the epoch that ends in `on_epoch_done`."""
    return results_of_training(trainer).of_epoch


def reset_after_validation(trainer: Trainer) -> list[Metric]:
    """Returns the metrics that Lightning resets when the validation ends in which a hook runs."""
    results: Any = trainer._results if trainer.validating else None
    return [own.value for own in results.values() if not own.is_tensor] if results else []


def is_within_epoch(trainer: Trainer) -> bool:
    """Tells whether the current epoch has begun and has not ended."""
    return trainer.fit_loop.epoch_loop.batch_progress.current.ready > 0


def hook_of(module: LightningModule) -> str | None:
    """Returns the hook that runs, and as whose what a module logs counts."""
    return module._current_fx_name


def logging_as(module: LightningModule, hook: str) -> AbstractContextManager[None]:
    """Has what a module logs count as that of a hook."""
    return replaced(module, _current_fx_name=hook)


def batch_of_log(trainer: Trainer) -> Any:
    """Returns the batch whose samples count in a mean of what is logged."""
    results: Any = trainer._results
    return results.batch


def log_as_batch(trainer: Trainer, batch: Any) -> None:
    """Has what is logged from now on count as that of a batch, until Lightning begins another."""
    results: Any = trainer._results
    results.batch, results.batch_size = batch, None


def steps_to_row(trainer: Trainer) -> float:
    """Returns the steps up to Lightning's next row of what is logged in training.

    It writes the last value of each metric until the epoch ends; without one, it is infinity.
    """
    loop: Any = trainer.fit_loop.epoch_loop
    has_row = any(own.meta.on_step and own.meta.logger for _, own in loop._results.valid_items())
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
    return every - loop._batches_that_stepped % every if has_row else math.inf


def restore_metrics(trainer: Trainer, logged: Mapping[str, Mapping[str, Any]]) -> None:
    """Gives a Trainer metrics, as if they had been logged, by the name of the property."""
    for name, values in logged.items():
        getattr(trainer._logger_connector, f"_{name}").update(values)


def seen_in_validation(trainer: Trainer) -> dict[int, int]:
    """Returns the batches of all validations so far, which are the steps of their rows, by loader.

    These are rows of `on_step=True`. Loaders that are made anew count from 0.
    """
    loop = trainer.fit_loop.epoch_loop.val_loop
    return {} if loop._should_reload_val_dl else dict(loop._seen_batches_per_dataloader)


def _load_validation(trainer: Trainer) -> None:
    """Loads the data of validation within a training, as Lightning does."""
    trainer.validating = True
    trainer.fit_loop.epoch_loop.val_loop.setup_data()
    trainer.training = True


def has_validation(trainer: Trainer) -> bool:
    """Tells whether a training validates at all; loads the data for it, if they are not there."""
    every = trainer.check_val_every_n_epoch or 0
    epochs = trainer.max_epochs or 0
    if not trainer.enable_validation or (epochs != -1 and every > epochs):
        return False
    if trainer.val_dataloaders is None:
        _load_validation(trainer)
    return bool(sum(trainer.num_val_batches))


def go_on_in_validation(trainer: Trainer, seen: Mapping[int, int]) -> None:
    """Counts on from what `seen_in_validation` returned; loads the data, which count from 0."""
    loop = trainer.fit_loop.epoch_loop.val_loop
    if seen and trainer.val_dataloaders is None:
        _load_validation(trainer)
    loop._seen_batches_per_dataloader.update(seen)


def has_measured(trainer: Trainer) -> bool:
    """Tells whether `validate` or `test` has measured a batch."""
    loops: Any = (trainer.validate_loop, trainer.test_loop)
    return any(loop.batch_progress.total.completed for loop in loops)


def batch_of_epoch(trainer: Trainer) -> int:
    """Returns the number of the current batch, from 0 in each epoch; within a block, it grows.

    The hooks' `batch_idx` is that of a block's first batch.
    """
    return trainer.fit_loop.batch_idx


def batch_of_training(trainer: Trainer) -> int:
    """Returns the number of the current batch, from 0 in training; -1 before the first."""
    return trainer.fit_loop.total_batch_idx


def is_last_batch(trainer: Trainer) -> bool:
    """Tells whether the current batch is the last of its epoch."""
    return trainer.fit_loop.epoch_loop.batch_progress.is_last_batch


def logged_step(trainer: Trainer) -> int:
    """Returns the step under which Lightning logs: the number of batches that had a step.

    Of a module with several optimisers, `trainer.global_step` counts the steps of all.
    """
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def batches_that_stepped(checkpoint: Mapping[str, Any]) -> int:
    """Returns the number of batches with a step, under which Lightning logs, of a checkpoint."""
    return int(checkpoint["loops"]["fit_loop"]["epoch_loop.state_dict"]["_batches_that_stepped"])


def batches_of_epoch(trainer: Trainer) -> int | float:
    """Returns the batches of an epoch, or infinity; loads its data, if they are not there."""
    if trainer.train_dataloader is None:  # else, as an epoch ends, the next one's would be loaded
        trainer.fit_loop.setup_data()
    return trainer.num_training_batches


def validation_interval(trainer: Trainer) -> int | None:
    """Returns the batches from one validation to the next; None if their number does not say it."""
    interval = trainer.val_check_batch
    return interval if isinstance(interval, int) else None


def validates_after_epoch(trainer: Trainer) -> bool:
    """Tells whether Lightning validates after the current epoch; if so, loads the data for it.

    Lightning loads them itself only before its own validation.
    """
    loop = trainer.fit_loop.epoch_loop
    if not loop._should_check_val_epoch():
        return False
    _load_validation(trainer)
    return bool(sum(trainer.num_val_batches))


def average_of(callback: WeightAveraging | StochasticWeightAveraging) -> nn.Module | None:
    """Returns the module that has a callback's mean; None where there is no training."""
    average = callback._average_model
    return average.module if isinstance(average, AveragedModel) else average


def has_no_mean_yet(callback: WeightAveraging | StochasticWeightAveraging) -> bool:
    """Tells whether a callback keeps the initial weights, as its mean is to begin later."""
    if isinstance(callback, StochasticWeightAveraging):
        return callback.n_averaged is None and not callback._init_n_averaged
    averaged = callback._average_model
    return averaged is not None and not int(averaged.n_averaged)


def whole_checkpoint(trainer: Trainer) -> dict[str, Any]:
    """Returns what `save_checkpoint` would write."""
    return trainer._checkpoint_connector.dump_checkpoint(weights_only=False)


def hyper_parameters(*owners: Any) -> dict[str, Any]:
    """Returns what `save_checkpoint` writes of the hyper-parameters of a module and its data."""
    saved: dict[str, Any] = {}
    for own in owners:
        if not own.hparams:
            continue
        if hasattr(own, "_hparams_name"):
            saved[own.CHECKPOINT_HYPER_PARAMS_NAME] = own._hparams_name
        is_dict = isinstance(own.hparams, dict)  # else it is a config of OmegaConf's
        saved[own.CHECKPOINT_HYPER_PARAMS_KEY] = dict(own.hparams) if is_dict else own.hparams
        if not is_dict:
            saved[own.CHECKPOINT_HYPER_PARAMS_TYPE] = type(own.hparams)
    return saved


class ProgressBar(TQDMProgressBar):
    """Lightning's bar, drawn whenever `is_due` says so: by itself, it is drawn every n batches."""

    @abstractmethod
    def is_due(self, current: int, total: int) -> bool:
        """Tells whether to draw an enabled bar, at batch `current` of `total`."""

    def _should_update(self, current: int, total: int) -> bool:
        return self.is_enabled and self.is_due(current, total)


def prefix_of(logger: TensorBoardLogger) -> str:
    """Returns what a logger writes before the name of each metric; mostly nothing."""
    return logger._prefix


def writer_of(logger: TensorBoardLogger) -> Any:
    """Returns a logger's writer, if it has one yet: its public property would make one."""
    return logger._experiment


def open_writer(logger: TensorBoardLogger, kind: Callable[..., Any]) -> Any:
    """Returns a logger's writer, made by `kind` if it has none yet."""
    if logger._experiment is None:
        logger._experiment = kind(log_dir=logger.log_dir, **logger._kwargs)
    return logger._experiment


@rank_zero_only
def keep_rows(logger: CSVLogger, end: int) -> None:
    """Lets a logger of Lightning's go on with the rows before step `end`, which it would delete.

    While it deletes its file, the rows are in a file beside it: a kill leaves one of the two.
    """
    path = Path(logger.log_dir, "metrics.csv")
    kept = path.with_suffix(".kept")
    source = kept if kept.exists() else path
    header, *rows = csv.reader(io.StringIO(whole_lines(source))) if source.exists() else [[]]
    if header:
        file = io.StringIO()
        step = header.index("step")
        csv.writer(file).writerows([header, *(row for row in rows if int(row[step]) < end)])
        write_whole(kept, file.getvalue())
    with warnings.catch_warnings(action="ignore"):  # it warns of what it deletes
        writer: Any = logger.experiment
    if header:
        kept.replace(path)
        writer.metrics_keys = header

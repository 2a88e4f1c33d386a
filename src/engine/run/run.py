"""One run, from its config to summary.json: what a user's `train(run)` is given."""

import logging
import math
import re
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from engine import files, messages, signals
from engine.config import objects
from engine.config.resolved import Config
from engine.errors import Pruned, RunFailed, Stopped, UserError, blamed_on, named
from engine.run import folders, identity, summaries
from engine.run.children import await_others, end_others, joinable
from engine.run.objective import chooser, compared, has_diverged, outcome
from engine.run.records import read

if TYPE_CHECKING:  # the command answers `--help` and mistakes before Lightning is imported
    from lightning.pytorch import LightningDataModule, LightningModule, Trainer

    from engine.run.checkpoint.choice import Found

log = logging.getLogger(__name__)


class Run:
    """Makes the parts of a run that its config names, and records how the run ends.

    Nothing is written before `trainer()`: a mistake in the config or in the data leaves nothing
    behind. Where the folder has a checkpoint, the run goes on from it. Until its end, no other
    process may write into its folder.

    Args:
        config: the run's.
        folder: the run's; None for a new one, below `paths.log_dir`.
        door: the import path of the command, such as `mine.train`.
        insists: whether to go on though data or code have changed since the run began.
    """

    def __init__(
        self, config: Config, folder: Path | None, door: str, insists: bool = False
    ) -> None:
        self.config = config
        self.door = door
        self.insists = insists
        self._made_of: dict[str, Any] = {}
        self._lost: list[str] = []  # rows of metrics, which the user goes on without
        self._weights: Path | None = None  # the file that layers which come later begin from
        self._filled: dict[str, Any] = {}  # the module's tensors that have weights of it
        self._begins_from = ""
        self._partials: dict[str, objects.Noted] = {}
        self._folder = folder
        self._is_new = folder is None or not folder.exists()
        self._above = folders.nearest_existing(folder or folders.above_run(config))
        self._found: Found | None = None
        self._had: set[object] = set()  # the results that there were before this process
        self._until_the_end = ExitStack()
        self._until_the_end.callback(self._remove_unused)
        self._trainer: Trainer | None = None
        self._trainers: WeakSet[Trainer] = WeakSet()  # that this run has made
        self._leaves_nothing = False
        self._seconds = 0.0  # of the processes before, as far as they have recorded their end
        self._fits = 0  # trainings so far
        self._drawn: list[Any] = []  # states of the generators as a training began
        self._steps: int | None = None  # of the training, once it is over

    @property
    def folder(self) -> Path:
        """Returns the run's folder, and makes it at the first call."""
        if self._folder is None:
            from engine.run.checkpoint.choice import begun_from

            parent = self._parent
            self._folder = (
                begun_from(parent, self.config) if parent else folders.new_run_dir(self.config)
            )
            self._take(self._folder)
        return self._folder

    def _take(self, folder: Path) -> None:
        """Takes a folder until the run's end, and finds the checkpoint in it to go on from.

        Of several processes that train together, the first one takes the folder for all.

        Raises:
            UserError: if another process has it, or the checkpoints in it are lost.
        """
        from engine import processes  # imports torch
        from engine.run.checkpoint.choice import to_go_on_from

        is_first = processes.is_first()
        if is_first:
            self._until_the_end.enter_context(folders.held(folder))
            if (summaries.load(folder) or {}).get("status") in summaries.COMPLETE:
                raise UserError(f"{folder}: another process has just finished it.")
        self._found = to_go_on_from(folder, self.config)
        self._had = folders.results(folder)
        last = folder / folders.LAST
        if is_first and self._found and self._found.path != last and last.exists():
            last.replace(last.with_suffix(".unusable"))  # the next one would make it the previous

    @property
    def _parent(self) -> Path | None:
        """Returns the folder of the run that this one makes longer, if there is one."""
        path = self.config.get("parent.run")
        return path and Path(path)

    @property
    def checkpoint(self) -> Path | None:
        """Returns the checkpoint to go on from, if the folder has one."""
        return self._found.path if self._found else None

    def datamodule(self) -> "LightningDataModule":
        """Builds the data module; its data are on disk and checked."""
        from engine.run import build

        return build.datamodule(self.config)

    def module(self, data: "LightningDataModule") -> "LightningModule":
        """Builds the module, its initial weights drawn from the seed alone.

        With `init_from`, a new run takes the weights of another run or file, as far as they match.

        Raises:
            UserError: if the module does not fit the data, or no weight matches; or if data or code
                have changed since the run began.
        """
        from engine.checks.fit import may_make_layers
        from engine.kept.values import make_room
        from engine.run import build
        from engine.run.checkpoint import choice, file

        self._partials = objects.partials_of(self.config["module"], "module")
        model = build.module(self.config, data, self._partials)
        source = self.config.get("init_from")
        goes_on = self.checkpoint or self._parent  # with the weights that it has
        if source and not goes_on:
            weights = choice.to_begin_with(Path(source))
            is_whole = not may_make_layers(model)
            self._weights = None if is_whole else weights
            self._begins_from = file.load_weights(model, weights, self._filled, is_whole)
        model.register_load_state_dict_pre_hook(make_room)  # type: ignore[no-untyped-call]
        self._made_of = identity.record(self.config, data, self.door)
        if self._lost:  # the Trainer was made before the module
            self._made_of["mixed"] = list(self._lost)
        if before := self._folder or self._parent:
            was = identity.load(before) or {}
            if goes_on:  # it has not begun anew from the weights that are there now
                self._made_of["begins_from"] = was.get("begins_from")
            self._made_of["of_length"] = was.get("of_length", self._made_of["of_length"])
            identity.compare(before, self._made_of, self.insists)
        return model

    def trainer(self) -> "Trainer":
        """Builds the Trainer; from here on the run has a folder, and how it ends is recorded.

        Raises:
            UserError: if the accelerator is not there, or options exclude each other.
        """
        from engine import processes
        from engine.run import build
        from engine.run.loggers.tensorboard import go_on_from, tensorboards

        folder = self.folder
        is_first = self._trainer is None  # a door of a user's may train several times
        progress = self._found.progress if self._found and is_first else None
        goes_on_at = progress.row if progress else 0 if is_first else None
        made = build.trainer(self.config, folder, goes_on_at)
        made.only_by_run = True  # type: ignore[attr-defined]
        self._trainers.add(made)
        if is_first:  # all that follows is there for a later training
            if progress and processes.is_first():
                self._compare_rows(made, progress.rows)
                for logger, places in zip(tensorboards(made), progress.events, strict=False):
                    go_on_from(logger, places, progress.row)
            if processes.is_first():  # of an interrupted run: it runs again
                before = summaries.load(folder) or {}
                self._seconds = (before.get("seconds") or 0.0) if self._found else 0.0
                (folder / summaries.SUMMARY).unlink(missing_ok=True)
            digest = folders.save_config(folder, self.config, self.door)
            if identity.is_whole(self._made_of):
                identity.save(folder, self._made_of)
            self._until_the_end.enter_context(messages.to_file(folder / "train.log"))
            self._until_the_end.enter_context(joinable(folder, self.door, digest))
            if made.world_size > 1:
                self._until_the_end.enter_context(signals.counted_while_waiting())
            self._began = time.monotonic()
        self._trainer = made
        return made

    def _check_trainer(self, trainer: "Trainer") -> None:
        """Refuses a Trainer with neither the folder nor the callbacks and loggers of this run."""
        if trainer not in self._trainers:
            raise UserError(
                f"train() has made this {type(trainer).__name__} itself: use run.trainer().\n"
                "conf/trainer has its options; trainer._target_ chooses its class."
            )

    def _compare_rows(self, trainer: "Trainer", marks: Sequence[Any]) -> None:
        """Compares the rows of metrics that there are with those of the checkpoint's moment.

        Raises:
            UserError: if some are lost, unless the user insists.
        """
        from engine.run.loggers.table import Mark, MetricsCSV

        tables = [logger for logger in trainer.loggers if isinstance(logger, MetricsCSV)]
        for table, mark in zip(tables, marks, strict=False):
            table.until = Mark(*mark)
            if not (lost := table.lost()):
                continue
            if not self.insists:
                raise UserError(
                    f"{table.path}: {lost}.\n"
                    "Put the file back, begin a new run, or go on without them: add insist=true"
                )
            log.warning("not exact: %s: %s", table.path, lost)
            table.put_aside()
            self._lost.append(lost)
            if self._made_of:
                self._made_of["mixed"] = [*self._made_of.get("mixed", []), lost]

    def fit(
        self, trainer: "Trainer", module: "LightningModule", data: "LightningDataModule"
    ) -> None:
        """Trains, from the run's checkpoint where it has one.

        Of several trainings, the one goes on that the checkpoint is of. A run that was stopped in a
        later one than the first does not go on: what the earlier ones gave is gone.

        Raises:
            UserError: if the checkpoint is of a later training, or the Trainer is not the run's.
        """
        self._check_trainer(trainer)
        from engine.checks.device import check_shares
        from engine.checks.fit import may_make_layers
        from engine.checks.monitors import wrong_ways
        from engine.fence.lightning import before_optimizers
        from engine.run.loggers import tabs
        from engine.run.loggers.options import that_begin_anew
        from engine.run.loggers.table import without_table
        from engine.seeds import generator_states

        self._fits += 1
        self._steps = None
        if self._fits > 1:
            log.warning(
                "training %d of this run: if it is stopped here, it cannot go on", self._fits
            )
        number = self._found.progress.fit if self._found else self._fits
        if self._fits < number:
            raise UserError(
                f"{self.folder}: was stopped in its training {number}, and what the earlier ones "
                "gave is gone.\nRemove the folder to run it anew. A run that trains once can go on."
            )
        checkpoint = self.checkpoint if self._fits == number else None
        trainer.fit_number = self._fits  # type: ignore[attr-defined]
        log.debug("%s", self.config.yaml)
        log.info("run folder: %s", messages.short(self.folder))
        if may_make_layers(module):
            before_optimizers(trainer, partial(self._begin_with, trainer, module, data))
        else:
            self._begin_with(trainer, module, data)
        if self.config.overrides:
            log.info("overrides: %s", shlex.join(self.config.overrides))
        if swept := _swept_by_the_experiment():
            log.info("one run of a sweep over %s: add -m for all of it", ", ".join(swept))
        told = [
            check_shares(trainer, module, data),
            *wrong_ways(self.config),
            *without_table(trainer.loggers),
            *(that_begin_anew(map(type, trainer.loggers)) if self.checkpoint else []),
            self._without_checkpoints(),
        ]
        for said in filter(None, told):
            log.warning("%s", said)
        if self._parent:
            log.info("goes on from step %d of %s", self.config["parent.step"], self._parent)
        # A resumed run purges what a run without a checkpoint has written.
        if self._fits == 1 and not self.checkpoint:
            tabs.log_start(trainer, self.config, self.door)
        if self._found:
            self._found.warn()
        elif not self._is_new:
            log.info("there is no checkpoint, so the run begins with its first step")
        if identity.is_whole(self._made_of):  # the Trainer may have been made before the module
            identity.save(self.folder, self._made_of)
        # Lightning does so after it has loaded a checkpoint, whose digits would be lost.
        trainer.precision_plugin.convert_module(module)
        trainer.before_training = partial(self._check_at_start, trainer, data)  # type: ignore[attr-defined]
        self._drawn = generator_states()
        trainer.only_by_run = False  # type: ignore[attr-defined]
        with mistakes_as_lightning_says(self.config, trainer), messages.silenced(module, data):
            trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
        trainer.only_by_run = True  # type: ignore[attr-defined]
        self._steps = trainer.global_step  # BatchSizeFinder counts anew in a test
        if trainer.num_training_batches == 0 and trainer.limit_train_batches:
            raise UserError(
                f"{type(data).__name__}: its loader of training gives no batch: is the batch size "
                "above the number of samples, with drop_last=True?"
            )
        self._validate_mean(trainer, module, data)

    def _validate_mean(
        self, trainer: "Trainer", module: "LightningModule", data: "LightningDataModule"
    ) -> None:
        """Validates a mean of weights that the end of training has made, in a row of its own.

        It is tested, so that the run is compared by it. No epoch has ended with these weights. Code
        that validates within a training only loses the run nothing but this.
        """
        from engine.fence.lightning import has_validation, skip_searches

        callback = chooser(trainer)
        has_mean = getattr(callback, "ends_with_mean", False)
        if not has_mean or has_diverged(trainer) or not has_validation(trainer):
            return
        skip_searches(trainer, "on_validation_start")  # for a batch size, as within a training
        try:
            with signals.undisguised():
                best = self.folder / folders.BEST
                self._measure(trainer.validate, trainer, module, data, best)
        except (UserError, RunFailed, Pruned):
            raise
        except Exception as error:
            if files.cannot_write(error):
                raise
            log.warning("the mean of the last epochs is not validated: %s", named(error))
        else:
            callback.mean_score = trainer.callback_metrics.get(callback.monitor)

    def _measure(
        self,
        measure: Callable[..., Any],
        trainer: "Trainer",
        module: "LightningModule",
        data: "LightningDataModule",
        checkpoint: Path | None,
    ) -> bool:
        """Calls the Trainer's method that validates or tests; tells whether it gave a metric."""
        from engine.seeds import restore_generators

        if self._drawn:  # a `setup` that divides the data at random divides them as for training
            restore_generators(self._drawn)
        with mistakes_as_lightning_says(self.config, trainer), messages.silenced(module, data):
            found = measure(module, data, ckpt_path=checkpoint, verbose=False, weights_only=True)
        return any(found)

    def _begin_with(
        self, trainer: "Trainer", module: "LightningModule", data: "LightningDataModule"
    ) -> None:
        """Gives layers that `setup` or `configure_model` has made their weights, and describes all.

        Raises:
            UserError: if no weight of `init_from` matches.
        """
        from engine.run import build
        from engine.run.checkpoint import file

        if self._weights:
            self._begins_from = file.load_weights(module, self._weights, self._filled)
            self._weights = None  # a later training goes on with what it has
        is_new = not (self.checkpoint or self._begins_from or self._parent)
        log.info("%s", build.describe(trainer, module, data, is_new))
        log.debug("%s", getattr(module, "network", module))
        if self._begins_from:
            log.info("%s", self._begins_from)

    @property
    def _keeps_checkpoints(self) -> bool:
        """Tells whether a callback writes what the run can go on from."""
        return hasattr(chooser(self._trainer), "best_score")

    def _without_checkpoints(self) -> str:
        """Says what a run lacks of which the callbacks are not the default ones; "" if nothing.

        Words such as callbacks.checkpoints=null say that there are to be none.
        """
        words = [*(self.config.get("callbacks") or ()), *self.config.overrides]
        says_so = any(re.search(r"(^|callbacks\.)checkpoints\b", word) for word in words)
        if says_so or self._keeps_checkpoints:
            return ""
        chosen = [word for word in self.config.overrides if word.startswith("callbacks=")]
        names = chosen[-1].partition("=")[2].strip("[]") if chosen else ""
        choice = f'"callbacks=[default,{names}]"' if names else "callbacks=default"
        return (
            "no callbacks.checkpoints: if it is interrupted, this run begins anew, and it has no "
            f"best.ckpt.\nTo keep the default callbacks, write {choice}"
        )

    def _check_at_start(self, trainer: "Trainer", data: "LightningDataModule") -> None:
        """Checks what is known when optimisers and loaders are made."""
        from engine.checks.partials import check_partials
        from engine.checks.schedules import check_schedules
        from engine.checks.unsaved import unsaved

        check_partials(self._partials, self.config, type(trainer.lightning_module).__name__)
        for said in unsaved(trainer, trainer.lightning_module):
            log.warning("%s", said)
        if self._parent:
            if keys := self._made_of.get("of_length"):
                said = "goes on with what was made of the shorter length: %s"
                log.warning(said, ", ".join(keys))
            check_schedules(trainer, self._parent)
        from engine.data.served_loader import EpochLoader
        from engine.fence.lightning import training_loaders

        loaders = training_loaders(trainer)
        are_numbered = not any(isinstance(loader, EpochLoader) for loader in loaders)
        if not self._made_of or (identity.is_whole(self._made_of) and are_numbered):
            return
        if not are_numbered:
            self._made_of["data"]["workers"] = identity.workers_of(self.config)
        if not identity.is_whole(self._made_of):
            identity.look_again(self._made_of, self.config)
            self._made_of["data"]["samples"] = self._sizes(trainer, data)
        if trainer.is_global_zero:
            # A longer run's new folder has no record yet.
            before = self._parent if self._is_new and self._parent else self.folder
            identity.compare(before, self._made_of, self.insists)
            identity.save(self.folder, self._made_of)

    def _sizes(self, trainer: "Trainer", data: "LightningDataModule") -> dict[str, int]:
        """Returns the number of samples of each loader of training, as far as it can be known."""
        from engine.fence.lightning import training_sizes

        found = training_sizes(trainer)
        names = ["training"] if len(found) == 1 else [f"loader {n}" for n in range(len(found))]
        # Those of an epoch say nothing of another one's.
        is_one = not trainer.reload_dataloaders_every_n_epochs  # type: ignore[attr-defined]
        sizes = dict(zip(names, found, strict=True)) if is_one else {}
        known = ["their classes", *["the number of samples"] * bool(sizes)]
        known += ["the files that the config names"] * bool(self._made_of["data"]["files"])
        log.info(
            "%s has no fingerprint(): a resumed run knows the data again by %s only",
            type(data).__name__,
            " and ".join([", ".join(known[:-1]), known[-1]] if known[1:] else known),
        )
        return sizes

    def test(
        self, trainer: "Trainer", module: "LightningModule", data: "LightningDataModule"
    ) -> None:
        """Tests the best weights by validation, or the last ones where there is no validation.

        A run that diverged is not tested, nor one without a test split or a `test_step`.

        Raises:
            UserError: if the Trainer is not the run's.
        """
        self._check_trainer(trainer)
        from engine.run import build
        from engine.run.checkpoint import choice

        if has_diverged(trainer):
            return
        loaders = build.serving(module, data)
        if not build.has_test(loaders):
            if build.has_own_test(module):
                log.info("not tested: %s has no data for a test", type(loaders).__name__)
            return
        if "test" not in build.ways_to_measure(module, data):
            log.info("not tested: %s has no test_step", type(module).__name__)
            return
        is_chosen = getattr(chooser(trainer), "best_score", None) is not None
        best = choice.best(self.folder, self.config, is_chosen)
        checkpoint = self.folder / folders.BEST if best else None
        if not self._measure(trainer.test, trainer, module, data, checkpoint):
            log.info("not tested: %s", build.why_nothing(trainer, "test", data))

    def objective(self, trainer: "Trainer") -> float:
        """Returns what a sweep compares; NaN for a run that diverged.

        It is the best value of the metric that the checkpoints follow, or without validation the
        training loss over the last pass over the data; the log says which.
        """
        if has_diverged(trainer):
            return math.nan
        columns, rows = read.rows(self.folder / summaries.METRICS)
        metrics = summaries.last_values(columns, rows)
        found = compared(trainer, metrics, rows)
        if found is None:
            names = ", ".join(name for name in metrics if not name.startswith("test")) or "nothing"
            advice = "callbacks.checkpoints says which metric to compare"
            if self._keeps_checkpoints:
                advice = f"set callbacks.checkpoints.monitor to one of what was logged: {names}"
            log.warning("objective: none; %s", advice)
            return math.nan
        if math.isfinite(found.value):
            log.info("objective: %s", found.name)
        else:
            what = "no number (NaN)" if math.isnan(found.value) else "infinite"
            log.warning("objective: none; %s is %s", found.metric, what)
        return found.value

    def execute(self, train: Callable[["Run"], float]) -> float:
        """Runs a user's function and records its end, short of SIGKILL; returns the objective."""
        # Until something else is known for sure: a signal may come in any of these lines, too.
        summary: dict[str, Any] = {"status": "interrupted", "error": None, "objective": None}
        with self._until_the_end:
            try:
                with signals.undisguised():
                    if self._folder:
                        self._take(self._folder)
                    summary["objective"] = _number(train(self))
                    diverged = self._trainer is not None and has_diverged(self._trainer)
                summary["status"] = "diverged" if diverged else "finished"
            except Pruned:
                summary |= {"status": "pruned", "study": self.config["sweep.trial.study"]}
            except Exception as exception:
                if self._trainer is not None:
                    end_others(self._trainer)
                if isinstance(exception, UserError):  # found no earlier; no traceback
                    said = messages.redacted(str(exception))
                    summary |= {"status": "failed", "error": said}
                    self._leaves_nothing = not self._is_begun
                    raise
                refused = files.cannot_write(exception, self._folder)
                if not self._is_begun and not (self._trainer and refused):
                    self._leaves_nothing = True
                    if refused:
                        raise refused from exception
                    summary["status"] = "failed"
                    with blamed_on("before the first step", is_node=False):
                        raise
                if refused:
                    summary["error"] = str(refused)
                    raise self._stopped_by(refused) from exception
                said = messages.redacted(named(exception))
                summary |= {"status": "failed", "error": said}
                log.exception("run failed: %s", self.folder)
                raise RunFailed(summary["error"]) from exception
            finally:
                if self._trainer is not None:
                    self._end(self._trainer, summary)
        if self._trainer is not None:
            await_others(self._trainer)
        return summaries.objective(summary)

    @property
    def _is_begun(self) -> bool:
        """Tells whether there is a run to lose, whichever process or Trainer took its steps."""
        if self._trainer is None:
            return False
        steps_before = self.config.get("parent.step") or 0
        has_stepped = self._trainer.global_step > steps_before or not self._is_new
        return has_stepped or bool(folders.results(self.folder) - self._had)

    def _remove_unused(self) -> None:
        """Removes the folder of a new run that was refused before its first step was taken."""
        if self._is_new and self._leaves_nothing and self._folder:
            folders.remove(self._folder, self._above)

    @property
    def _goes_on(self) -> str:
        """Says how the run goes on, or begins anew, and gives the command."""
        folder = messages.short(self.folder)
        if self._fits > 1:
            return f"run it anew, as it was in training {self._fits}: remove\n  {folder}"
        trust = " trust=true" if self.config.is_trusted else ""
        has_none = self._trainer is not None and not self._keeps_checkpoints
        how = "begin anew, as it has no checkpoint," if has_none else "go on"
        return f"{how} with:\n  python -m {self.door} resume={folder}{trust}"

    def say_how_to_go_on(self) -> None:
        """Says so of a run that was stopped while it began, or while it recorded its end."""
        if self._folder and (self._folder / folders.CONFIG).exists():
            done = summaries.load(self._folder) or {"status": "begun"}
            if done["status"] not in (*summaries.COMPLETE, "pruned", "interrupted"):
                log.info("interrupted; %s", self._goes_on)

    def _stopped_by(self, refused: files.CannotWrite) -> Stopped:
        """Says what stopped the run, and how to go on; returns what to raise."""
        what = str(refused).partition("\n")[0]
        if self.folder.exists():
            log.error("%s When that is mended, %s", what, self._goes_on)
        else:
            log.error("%s\nSomebody has removed the run's folder: begin a new run.", what)
        return Stopped(what)

    def _end(self, trainer: "Trainer", summary: dict[str, Any]) -> None:
        """Records how the run ended, as far as the system lets files be written."""
        was_told = bool(summary["error"])
        is_known = summary["status"] == "interrupted"
        try:
            with signals.answered() if is_known else nullcontext():
                self._write_end(trainer, summary)
        except Exception as error:
            refused = files.cannot_write(error, self.folder)
            if refused is None:
                raise
            if was_told:
                if summary["status"] == "failed":
                    what = str(refused).partition("\n")[0]
                    log.error("%s So the run has no %s.", what, summaries.SUMMARY)
                return
            stop = self._stopped_by(refused)
            if summary["status"] != "interrupted":
                raise stop from error

    def _write_end(self, trainer: "Trainer", summary: dict[str, Any]) -> None:
        from engine.run.loggers.tensorboard import close, tensorboards

        summary |= outcome(self.config, self.folder, trainer, summary)
        if self._steps is not None:
            summary["steps"] = self._steps
        summary["seconds"] = round(self._seconds + time.monotonic() - self._began, 3)
        for logger in tensorboards(trainer):
            close(logger)
        if trainer.is_global_zero:  # last: a run that says it is finished has all its files
            summaries.save(self.folder, summary)
        if summary["status"] in (*summaries.COMPLETE, "pruned"):
            log.info("\n%s", summaries.closing_words(summary, self.folder))
            log.info("\n%s", summaries.next_commands(self.folder.parent, self.door))
        if summary["status"] == "interrupted" and not summary["error"]:
            log.info("interrupted at step %s; %s", f"{trainer.global_step:,}", self._goes_on)


@contextmanager
def mistakes_as_lightning_says(config: Config, trainer: "Trainer") -> Iterator[None]:
    """Shows what Lightning calls a misconfiguration as a mistake of the user's.

    So it does with a checkpoint that cannot be loaded.

    Raises:
        UserError: names the key of a metric that nobody logs; else it has the text of Lightning's
            error, which often names no key.
    """
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    from engine.checks.monitors import follows_nothing
    from engine.run.checkpoint.file import refused_if_unlike

    try:
        with refused_if_unlike(trainer):
            yield
    except (MisconfigurationException, RuntimeError) as error:
        if mistake := follows_nothing(error, config, trainer):
            raise mistake from error
        if isinstance(error, MisconfigurationException):
            raise UserError(f"Lightning: {error}") from error
        raise


def _swept_by_the_experiment() -> list[str]:
    """Returns the keys of the sweep that the choices of a single run have and do not begin."""
    if not HydraConfig.initialized():  # the run is resumed
        return []
    hydras: Any = HydraConfig.get()
    return list(hydras.sweeper.get("params") or ()) if hydras.mode == RunMode.RUN else []


def _number(returned: Any) -> float | None:
    """Returns what a user's function has returned as a number: it may be a tensor of one.

    Raises:
        UserError: if it is none.
    """
    if returned is None:
        log.warning("train() returns nothing, so this run has no objective: return a number")
        return None
    with suppress(TypeError, ValueError, RuntimeError, OverflowError):
        if not isinstance(returned, str):
            return float(returned)
    kind = type(returned).__name__
    raise UserError(f"train() returns a {kind}: must be a number, such as run.objective(trainer).")

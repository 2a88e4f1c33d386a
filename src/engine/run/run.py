"""One run, from its config to summary.json: what a user's `train(run)` is given."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import files, messages
from engine.config import objects
from engine.config.resolved import Config
from engine.errors import FAILED, Pruned, RunFailed, UserError
from engine.run import folders, identity, summaries
from engine.run.children import joinable
from engine.run.records import read
from engine.run.records.read import BrokenFile

if TYPE_CHECKING:  # the command answers `--help` and mistakes before Lightning is imported
    from lightning.pytorch import LightningDataModule, LightningModule, Trainer

log = logging.getLogger(__name__)


class Run:
    """Makes the parts of a run that its config names, and records how the run ends.

    Nothing is written before `trainer()`: a mistake in the config or in the data leaves nothing
    behind. Where the folder has a checkpoint, the run goes on from it.

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
        self._begins_from = ""
        self._partials: dict[str, objects.Noted] = {}
        self._folder = folder
        self._until_the_end = ExitStack()
        self._trainer: Trainer | None = None
        self._leaves_nothing = False

    @property
    def folder(self) -> Path:
        """Returns the run's folder, and makes it at the first call."""
        if self._folder is None:
            self._folder = folders.new_run_dir(self.config)
            if self._parent:
                folders.go_on_from(self._parent, self._folder)
        return self._folder

    @property
    def _parent(self) -> Path | None:
        """Returns the folder of the run that this one makes longer, if there is one."""
        path = self.config.get("parent.run")
        return path and Path(path)

    @property
    def checkpoint(self) -> Path | None:
        """Returns the checkpoint to go on from, if the folder has one."""
        path = self._folder and self._folder / folders.LAST
        return path if path and path.exists() else None

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
        from engine.run import build, checkpoint_file

        self._partials = objects.partials_of(self.config["module"], "module")
        model = build.module(self.config, data, self._partials)
        source = self.config.get("init_from")
        if source and not self.checkpoint:
            weights = folders.weights_file(Path(source))
            self._begins_from = checkpoint_file.load_weights(model, weights)
        self._made_of = identity.record(self.config, data, self.door)
        if before := self._folder or self._parent:
            identity.compare(before, self._made_of, self.insists)
            if self.checkpoint:  # it has not begun anew from the weights that are there now
                self._made_of["begins_from"] = identity.begins_from(before)
        return model

    def trainer(self) -> "Trainer":
        """Builds the Trainer; from here on the run has a folder, and how it ends is recorded.

        Raises:
            UserError: if the accelerator is not there, or options exclude each other.
        """
        from engine.run import build
        from engine.run.checkpoint_file import progress_of

        is_new = self._folder is None or not self._folder.exists()
        folder = self.folder
        try:
            progress = progress_of(self.checkpoint) if self.checkpoint else None
            made = build.trainer(self.config, folder, progress.row if progress else 0)
            if progress and made.is_global_zero:
                self._compare_rows(made, progress.rows)
            folders.save_config(self.folder, self.config, self.door)
            if identity.is_whole(self._made_of):
                identity.save(self.folder, self._made_of)
        except Exception:
            if is_new:
                folders.remove(self.folder)
            raise
        if is_new:
            self._until_the_end.callback(self._remove_unused)
        self._until_the_end.enter_context(messages.told_once())
        self._until_the_end.enter_context(messages.to_file(self.folder / "train.log"))
        self._until_the_end.enter_context(joinable(self.folder, self.door))
        self._began = time.monotonic()
        self._trainer = made
        return made

    def _compare_rows(self, trainer: "Trainer", counts: Sequence[int]) -> None:
        """Compares the rows of metrics that there are with those of the checkpoint's moment.

        Raises:
            UserError: if some are lost, unless the user insists.
        """
        from engine.run.loggers import MetricsCSV

        tables = [logger for logger in trainer.loggers if isinstance(logger, MetricsCSV)]
        for table, count in zip(tables, counts, strict=False):
            if not (lost := table.lost(count)):
                continue
            if not self.insists:
                raise UserError(
                    f"{table.path}: {lost}.\n"
                    "Put the file back, begin a new run, or go on without them: add insist=true"
                )
            log.warning("not exact: %s: %s", table.path, lost)
            table.put_aside()
            if self._made_of:
                self._made_of["mixed"] = [*self._made_of.get("mixed", []), lost]

    def fit(
        self, trainer: "Trainer", module: "LightningModule", data: "LightningDataModule"
    ) -> None:
        """Trains, from the run's checkpoint where it has one."""
        from engine.run import build, hparams, loggers

        log.info("%s\nrun folder: %s", folders.as_yaml(self.config.values_by_node), self.folder)
        log.info("%s", build.describe(trainer, module, data))
        if self._begins_from:
            log.info("%s", self._begins_from)
        if self._parent:
            log.info("goes on from step %d of %s", self.config["parent.step"], self._parent)
        shown = hparams.hyperparameters(self.config)
        hparams.log_start(trainer, shown, ["objective", *hparams.names_of_tests(module)])
        if identity.is_whole(self._made_of):  # the Trainer may have been made before the module
            identity.save(self.folder, self._made_of)
        build.cast(trainer, module)
        trainer.before_training = partial(self._check_at_start, trainer, data)  # type: ignore[attr-defined]
        if self.checkpoint:
            for logger in trainer.loggers:
                if not loggers.goes_on(type(logger)):
                    log.warning(
                        "%s has no purge_step: it may show steps twice, or begin anew",
                        type(logger).__name__,
                    )
        with mistakes_as_lightning_says(), messages.silenced(module, data):
            trainer.fit(module, data, ckpt_path=self.checkpoint, weights_only=True)

    def _check_at_start(self, trainer: "Trainer", data: "LightningDataModule") -> None:
        """Checks what is known when optimisers and loaders are made."""
        from engine.checks.partials import check_partials

        check_partials(self._partials, self.config, type(trainer.lightning_module).__name__)
        for schedule in trainer.lr_scheduler_configs if self._parent else ():
            if not schedule.reduce_on_plateau:
                kind = type(schedule.scheduler).__name__
                log.warning("%s goes on as it was made: it may know the shorter length", kind)
        if not self._made_of or identity.is_whole(self._made_of):
            return
        from engine.fence.lightning import training_sizes

        log.info(
            "%s has no fingerprint(): a resumed run knows the data again by their classes and the "
            "number of samples only",
            type(data).__name__,
        )
        sizes = {f"loader {n}": size for n, size in enumerate(training_sizes(trainer))}
        self._made_of["data"]["samples"] = sizes
        if trainer.is_global_zero:
            identity.compare(self.folder, self._made_of, self.insists)
            identity.save(self.folder, self._made_of)

    def test(
        self, trainer: "Trainer", module: "LightningModule", data: "LightningDataModule"
    ) -> None:
        """Tests the best weights by validation, or the last ones where there is no validation.

        A run that diverged is not tested, nor one without a test split or a `test_step`.
        """
        from engine.run import build

        if has_diverged(trainer) or not build.has_test(data):
            return
        if "test" not in build.ways_to_measure(module, data):
            log.info("not tested: %s has no test_step", type(module).__name__)
            return
        best = self.folder / folders.BEST
        checkpoint = best if best.exists() else None
        with mistakes_as_lightning_says(), messages.silenced(module, data):
            trainer.test(module, data, ckpt_path=checkpoint, verbose=False, weights_only=True)

    def objective(self, trainer: "Trainer") -> float:
        """Returns what a sweep compares; NaN for a run that diverged.

        It is the best value of the metric that the checkpoints follow, or the last training loss;
        the log says which.
        """
        if has_diverged(trainer):
            return math.nan
        name, value = compared(trainer, self.folder)
        if name is None:
            metrics = ", ".join(summaries.final_metrics(self.folder)) or "nothing"
            log.warning(
                "objective: none; set callbacks.checkpoints.monitor to one of what was logged: %s",
                metrics,
            )
        else:
            log.info("objective: %s", name)
        return value

    def execute(self, train: Callable[["Run"], float]) -> float:
        """Runs a user's function and records its end, short of SIGKILL; returns the objective."""
        summary: dict[str, Any] = {"status": "failed", "error": None, "objective": None}
        with self._until_the_end:
            try:
                summary["objective"] = train(self)
                diverged = self._trainer is not None and has_diverged(self._trainer)
                summary["status"] = "diverged" if diverged else "finished"
            except Pruned:
                summary |= {"status": "pruned", "study": self.config["sweep.trial.study"]}
            except (KeyboardInterrupt, SystemExit) as stop:
                summary["status"] = "interrupted"
                # Lightning makes this exit code of Ctrl-C.
                if isinstance(stop, SystemExit) and stop.code == FAILED:
                    raise KeyboardInterrupt from None
                raise
            except UserError as mistake:  # found no earlier; no traceback
                summary["error"] = str(mistake)
                self._leaves_nothing = not (self._trainer and self._trainer.global_step)
                raise
            except Exception as exception:
                if self._trainer is None:
                    raise
                if refused := files.cannot_write(exception, self.folder):
                    summary |= {"status": "interrupted", "error": str(refused)}
                    raise self._stopped_by(refused) from exception
                summary["error"] = f"{type(exception).__name__}: {exception}"
                log.exception("run failed: %s", self.folder)
                raise RunFailed(summary["error"]) from exception
            finally:
                if self._trainer is not None:
                    self._end(self._trainer, summary)
        return summaries.objective(summary)

    def _remove_unused(self) -> None:
        """Removes the folder of a new run whose first step found a mistake of the user's."""
        if self._leaves_nothing:
            folders.remove(self.folder)

    def _stopped_by(self, refused: files.CannotWrite) -> RunFailed:
        """Says what stopped the run, and how to go on; returns what to raise."""
        what = str(refused).partition("\n")[0]
        how = f"When that is mended, go on: python -m {self.door} resume={self.folder}"
        if not self.folder.exists():
            how = "Somebody has removed the run's folder: begin a new run."
        log.error("%s\n%s", what, how)
        return RunFailed(what)

    def _end(self, trainer: "Trainer", summary: dict[str, Any]) -> None:
        """Records how the run ended, as far as the system lets files be written."""
        try:
            self._write_end(trainer, summary)
        except Exception as error:
            refused = files.cannot_write(error, self.folder)
            if refused is None:
                raise
            if summary["error"]:  # it has been said
                return
            stop = self._stopped_by(refused)
            if summary["status"] != "interrupted":
                raise stop from error

    def _write_end(self, trainer: "Trainer", summary: dict[str, Any]) -> None:
        from engine.run.loggers import TensorBoard

        summary |= outcome(self.config, self.folder, trainer, summary)
        summary["seconds"] = round(time.monotonic() - self._began, 3)
        if trainer.is_global_zero:
            summaries.save(self.folder, summary)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoard):
                logger.close()
        if summary["status"] in (*summaries.COMPLETE, "pruned"):
            log.info("\n%s", summaries.closing_words(summary, self.folder))


@contextmanager
def mistakes_as_lightning_says() -> Iterator[None]:
    """Shows what Lightning calls a misconfiguration as a mistake of the user's.

    Raises:
        UserError: with the text of Lightning's error.
    """
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    try:
        yield
    except MisconfigurationException as error:
        raise UserError(str(error)) from error


def train_one(
    train: Callable[[Run], float],
    config: Config,
    run_dir: Path | None,
    door: str,
    insists: bool = False,
) -> float:
    """Does one run, start to finish; returns the objective that a sweep compares.

    A run that has finished already is not done again.

    Raises:
        UserError: if the config or the data are wrong; then nothing is left behind.
        RunFailed: if the run failed; its log says how.
    """
    messages.to_terminal()
    if run_dir and (done := summaries.load(run_dir)) and done["status"] in summaries.COMPLETE:
        log.info("%s already, nothing to do: %s", done["status"], run_dir)
        return summaries.objective(done)
    from engine.checks.config import check

    messages.silence_harmless()
    check(config)
    return Run(config, run_dir, door, insists).execute(train)


def has_diverged(trainer: "Trainer") -> bool:
    """Tells whether training was stopped for, or ended with, a loss that is no number."""
    callbacks: Any = trainer.callbacks  # type: ignore[attr-defined]
    stopped = any(getattr(callback, "diverged", False) for callback in callbacks)
    return stopped or not math.isfinite(trainer.callback_metrics.get("train/loss", 0.0))


def objective(trainer: "Trainer", run_dir: Path) -> float:
    """Returns what a sweep compares of a run; NaN if it diverged."""
    return math.nan if has_diverged(trainer) else compared(trainer, run_dir)[1]


def compared(trainer: "Trainer", run_dir: Path) -> tuple[str | None, float]:
    """Returns the name and the value of what a sweep compares of a run; None and NaN for nothing.

    It is the best value of the metric that the checkpoints follow. Where no validation has that
    metric, it is the metric's last value; where there is none, that of the training loss.
    """
    callback = trainer.checkpoint_callback
    monitor, best = getattr(callback, "monitor", None), getattr(callback, "best_score", None)
    if best is not None:
        return f"best {monitor}", float(best)
    metrics = summaries.final_metrics(run_dir)
    name = monitor if monitor in metrics else summaries.training_loss(metrics)
    return (f"last {name}", metrics[name]) if name else (None, math.nan)


def outcome(
    config: Config, run_dir: Path, trainer: "Trainer", summary: dict[str, Any]
) -> dict[str, Any]:
    """Returns summary.json without status and error; logs the final metrics to HParams, too."""
    from engine.run import hparams, versions

    broken = None
    columns: list[str] = []
    rows: list[dict[str, str]] = []
    try:
        columns, rows = read.rows(run_dir / summaries.METRICS)
    except BrokenFile as error:  # somebody has changed it since its last row
        broken = str(error)
        log.warning("%s", broken)
    metrics = summaries.last_values(columns, rows)
    compared = summary["objective"] if summary["status"] == "finished" else None
    if summary["status"] == "finished":
        tests = hparams.names_of_tests(trainer.lightning_module)
        tested = {name: value for name, value in metrics.items() if name in tests}
        final = math.nan if compared is None else compared
        hparams.log_final(trainer, {"objective": final, **tested})
    return {
        "error": summary["error"] or broken,
        "objective": compared,
        "metrics": metrics,
        "rows": len(rows),
        "config_hash": config.hash,
        "seed": config["seed"],
        "steps": trainer.global_step,
        "device": versions.device(trainer),
        "versions": versions.versions(),
        "git": versions.git_commit(Path(config["paths.root"])),
    }

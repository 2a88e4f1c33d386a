"""The sweepers: what all have in common, and `hydra/sweeper=grid`, the default."""

import copy
import itertools
import logging
import shlex
import sys
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from engine import files, locks, messages, signals
from engine.config import secrets
from engine.config.limits import typed
from engine.config.overrides import check_overrides
from engine.config.resolved import absolute
from engine.errors import UserError, blamed_on
from engine.run import folders
from engine.sweep.compose import PARAMS, Composer
from engine.sweep.jobs import Job, Launch, check_all, conclude, run_all, table

log = logging.getLogger(__name__)


class JobSweeper(Sweeper):
    """Runs a sweep: its jobs are claimed, skipped and listed as `engine.sweep.jobs` does.

    Args:
        params: values to sweep over by key, as on the command line, which has precedence.
    """

    def __init__(self, params: dict[str, str] | None = None) -> None:
        self.params = params or {}

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context = hydra_context
        self.config = config
        self.task: Any = task_function
        mentioned = getattr(task_function, "mentioned", None)
        self.compose = Composer(hydra_context.config_loader, config, mentioned)
        door: Any = getattr(task_function, "door", None)
        self.door: str = door.module if door else ""
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=_placed(config)
        )

    def sweep(self, arguments: list[str]) -> Any:
        try:
            return self.run(arguments)
        finally:
            # The processes of some launchers wait for further jobs.
            getattr(self.launcher, "close", lambda: None)()

    @contextmanager
    def goes_on(self, table: Callable[[], str]) -> Iterator[None]:
        """Shows a table, and the command that goes on with the sweep, if a signal ends it."""
        try:
            yield
        except signals.Interrupted:
            command = f"python -m {self.door} {shlex.join(sys.argv[1:])}"
            with signals.answered():
                shown = table()
            log.info("\n%s\ninterrupted; the same command goes on:\n  %s", shown, command)
            raise

    def launch(self, jobs: Sequence[Job]) -> Sequence[JobReturn]:
        """Has the launcher run jobs, which are as they were composed and checked."""
        one_by_one: Launch = partial(self.task.launched, self.launcher)
        launch: Launch = getattr(self.launcher, "launch_jobs", one_by_one)
        return launch(jobs) if len(jobs) > 1 else one_by_one(jobs)

    @abstractmethod
    def run(self, arguments: list[str]) -> Any:
        """Does the sweep that the words of the command line ask for."""

    def overrides(self, arguments: list[str]) -> dict[str, Override]:
        """Returns the overrides by key: a later word replaces an earlier one."""
        assert self.hydra_context is not None
        assert self.config is not None
        if not isinstance(self.params, Mapping):
            raise UserError(f"{PARAMS}={self.params}: must be a mapping, such as {{seed: '1,2'}}.")
        params = [f"{key}={typed(value)}" for key, value in self.params.items()]
        secrets.check_words([*params, *arguments])
        parser = OverridesParser.create(self.hydra_context.config_loader)
        with blamed_on(PARAMS):
            parsed = parser.parse_overrides(params)
        parsed += parser.parse_overrides(arguments)
        found = {override.get_key_element(): override for override in parsed}
        for own in found.values():
            if own.key_or_group.startswith("sweep.") and own.is_sweep_override():
                raise UserError(f"{own.input_line}: is for the whole sweep; give it one value.")
        if params:  # the words of the command line are right already
            chosen = [own for own in self.config.hydra.overrides.hydra if own.startswith("hydra/")]
            try:
                check_overrides(["-m", *chosen, *(str(own.input_line) for own in found.values())])
            except UserError as error:
                raise UserError(f"{PARAMS}: {error}") from None
        return found

    @contextmanager
    def begun(self, sweep_dirs: Collection[Path]) -> Iterator[None]:
        """Makes the folders of jobs, one for each experiment, with the sweep's own config in it.

        Where all jobs of a new folder were refused, it is taken back at the end, unless another
        process is at work in it.
        """
        secrets.check_written(OmegaConf.to_container(self.config, resolve=False))
        new = {path: folders.nearest_existing(path) for path in sweep_dirs if not path.exists()}
        try:
            for path in sweep_dirs:
                files.make_folder(path)
                files.write_whole(path / folders.SWEEP, OmegaConf.to_yaml(self.config))
            yield
        finally:
            for path, above in new.items():
                _take_back(path, above)


def _placed(sweep: DictConfig) -> DictConfig:
    """Returns a sweep's config in which the folder of jobs has its whole path, as jobs have it.

    Hydra's launcher makes that folder, and again for each job, and takes `~` for a folder's name.
    """
    try:
        folder = str(sweep.hydra.sweep.dir)
    except OmegaConfBaseException:  # it may be wrong for the sweep, and right for jobs
        return sweep
    if (whole := absolute(folder)) == folder:
        return sweep
    placed = copy.deepcopy(sweep)
    with read_write(placed), open_dict(placed):
        placed.hydra.sweep.dir = whole
        quoted = QuotedString(whole, Quote.single).with_quotes()
        placed.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted}")  # jobs have these words
    return placed


def _take_back(sweep_dir: Path, above: Path) -> None:
    """Removes the folder of a sweep that has no jobs; whatever another process makes stays."""
    if {path.name for path in sweep_dir.glob("*")} <= {folders.SWEEP.name, locks.LOCKS}:
        locks.remove(sweep_dir / locks.LOCKS)
        if not (sweep_dir / locks.LOCKS).exists():
            with suppress(OSError):  # the folder may not be there
                (sweep_dir / folders.SWEEP).unlink()
            folders.remove_empty(sweep_dir, above)


def _each_once(jobs: Sequence[Job], swept: Sequence[str]) -> list[Job]:
    """Leaves out the jobs that another one does, and says so.

    Args:
        jobs: of a sweep.
        swept: how the words begin in which they differ.
    """
    kept: dict[tuple[Path, str], Job] = {}
    for job in jobs:
        if kept.setdefault((job.sweep_dir, job.config.hash), job) is not job:
            words = [word for word in job.overrides if word.startswith(tuple(swept))]
            log.info("left out: %s, which another job does already", " ".join(words))
    return list(kept.values())


class GridSweeper(JobSweeper):
    """Runs every combination of the values once, whichever process does; then shows a table."""

    def run(self, arguments: list[str]) -> list[Job]:
        assert self.config is not None
        messages.to_terminal()
        swept = [f"{key}=" for key, o in self.overrides(arguments).items() if o.is_sweep_override()]
        jobs = _each_once([self.compose(words) for words in self._grid(arguments)], swept)
        if self.config.sweep.dry_run:
            log.info("%s", table(jobs))
            return jobs
        # With nothing to do it writes nothing: the folder may be one that can only be read.
        sweep_dirs = {job.sweep_dir for job in jobs} if check_all(jobs) else set()
        with self.goes_on(lambda: table(jobs)), self.begun(sweep_dirs):
            states = run_all(jobs, self.launch)
        conclude(jobs, states, self.door)
        return jobs

    def _grid(self, arguments: list[str]) -> Iterator[tuple[str, ...]]:
        """Returns the overrides of every job."""
        choices = {}
        for key, override in self.overrides(arguments).items():
            if not override.is_sweep_override():
                choices[key] = [str(override.input_line)]
            elif override.is_discrete_sweep():
                values = override.sweep_string_iterator()
                choices[key] = [f"{key}={value}" for value in values]
            else:
                raise UserError(
                    f"{override.input_line}: a grid needs values, such as 1,2 or range(1,4)."
                )
        return itertools.product(*choices.values())

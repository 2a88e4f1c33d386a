"""The sweepers: what all have in common, and `hydra/sweeper=grid`, the default."""

import itertools
import logging
import shlex
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from engine import messages, signals
from engine.errors import UserError
from engine.sweep.compose import Composer
from engine.sweep.jobs import Job, check_all, conclude, run_all, table

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
        mentioned = getattr(task_function, "mentioned", None)
        self.compose = Composer(hydra_context.config_loader, config, mentioned)
        door: Any = getattr(task_function, "door", None)
        self.door: str = door.module if door else ""
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
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
            log.info("\n%s\ninterrupted; the same command goes on:\n  %s", table(), command)
            raise

    @abstractmethod
    def run(self, arguments: list[str]) -> Any:
        """Does the sweep that the words of the command line ask for."""

    def overrides(self, arguments: list[str]) -> dict[str, Override]:
        """Returns the overrides by key: a later word replaces an earlier one."""
        assert self.hydra_context is not None
        words = [*(f"{key}={value}" for key, value in self.params.items()), *arguments]
        parsed = OverridesParser.create(self.hydra_context.config_loader).parse_overrides(words)
        return {override.get_key_element(): override for override in parsed}

    def begin(self, folders: Iterable[Path]) -> None:
        """Makes the folders of jobs, one for each experiment, with the sweep's own config in it."""
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            OmegaConf.save(self.config, folder / "multirun.yaml")


class GridSweeper(JobSweeper):
    """Runs every combination of the values once, whichever process does; then shows a table."""

    def run(self, arguments: list[str]) -> list[Job]:
        assert self.config is not None
        messages.to_terminal()
        jobs = [self.compose(words) for words in self._grid(arguments)]
        if self.config.sweep.dry_run:
            log.info("%s", table(jobs))
            return jobs
        check_all(jobs)
        with self.goes_on(lambda: table(jobs)):
            self.begin({job.sweep_dir for job in jobs})
            run_all(jobs, self.launcher)
        conclude(jobs, self.door)
        return jobs

    def _grid(self, arguments: list[str]) -> Iterator[tuple[str, ...]]:
        """Returns the overrides of every job."""
        choices = {}
        for key, override in self.overrides(arguments).items():
            values: Iterable[str]
            if not override.is_sweep_override():
                values = [override.get_value_element_as_str()]
            elif override.is_discrete_sweep():
                values = override.sweep_string_iterator()
            else:
                raise UserError(
                    f"{override.input_line}: a grid needs values, such as 1,2 or range(1,4)."
                )
            choices[key] = [f"{key}={value}" for value in values]
        return itertools.product(*choices.values())

"""What Hydra finds by `hydra/sweeper=grid`, the default."""

import itertools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from project import messages
from project.errors import UserError
from project.sweeps import Job, conclude, run_all, table

log = logging.getLogger("project")


class GridSweeper(Sweeper):
    """Every combination of the values that are given, each run once, whoever runs it; a table of all at the end.

    Args:
        params: values to sweep over by key, as on the command line, which has precedence.
    """

    def __init__(self, params: dict[str, str] | None = None) -> None:
        self.params = params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[Job]:
        assert self.config is not None
        messages.to_terminal()
        jobs = [self._job(list(words)) for words in self._grid(arguments)]
        if self.config.sweep.dry_run:
            log.info("%s", table(jobs))
            return jobs
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        run_all(jobs, self.launcher)
        conclude(jobs)
        return jobs

    def _grid(self, arguments: list[str]) -> Iterator[tuple[str, ...]]:
        """The overrides of every job."""
        assert self.hydra_context is not None
        words = [*(f"{key}={value}" for key, value in self.params.items()), *arguments]
        choices = {}  # by key: a later word replaces an earlier
        for override in OverridesParser.create(self.hydra_context.config_loader).parse_overrides(words):
            key = override.get_key_element()
            if override.is_sweep_override() and not override.is_discrete_sweep():
                raise UserError(f"{override.input_line}: a grid needs values, such as 1,2 or range(1,4).")
            values = override.sweep_string_iterator() if override.is_sweep_override() else [override]
            choices[key] = [
                f"{key}={value}" if isinstance(value, str) else f"{key}={value.get_value_element_as_str()}"
                for value in values
            ]
        return itertools.product(*choices.values())

    def _job(self, words: list[str]) -> Job:
        assert self.hydra_context is not None
        assert self.config is not None
        composed: Any = self.hydra_context.config_loader.load_sweep_config(self.config, words)
        own = OmegaConf.masked_copy(composed, [key for key in composed if key != "hydra"])
        return Job(own, words, composed.hydra.sweep.dir)

"""Searches with Optuna: `hydra/sweeper=optuna`."""

import logging
from functools import partial
from typing import Any

from omegaconf import OmegaConf

from engine import messages
from engine.errors import UserError
from engine.sweep.sweepers import JobSweeper

log = logging.getLogger(__name__)


class OptunaSweeper(JobSweeper):
    """Runs a search: each trial of an Optuna study is a job.

    conf/hydra/sweeper/optuna.yaml explains the options.
    """

    def __init__(self, params: dict[str, str] | None = None, **options: Any) -> None:
        super().__init__(params)
        self.options = options

    def run(self, arguments: list[str]) -> None:
        assert self.config is not None
        try:
            from engine.search import search, study
        except ModuleNotFoundError as error:
            if error.name != "optuna":
                raise
            raise UserError(
                'hydra/sweeper=optuna: pip install -c constraints.txt -e ".[optuna]" first.'
            ) from None
        messages.to_terminal()
        options = study.Options(**self.options)
        typed = OmegaConf.to_container(self.config.hydra.sweeper, resolve=False)
        storage = str(typed.get("storage") or "")  # type: ignore[union-attr]
        overrides = self.overrides(arguments)
        made = search.Search(options, overrides, arguments, self.compose, storage)
        if self.config.sweep.dry_run:
            log.info("%s", made.table())
            return
        made.check()
        with self.goes_on(partial(made.table, is_whole=False)), self.begun([made.base.sweep_dir]):
            made.run(self.launch)
        made.conclude(self.door)

"""engine.search.sweeper"""

from typing import Any

from engine import messages
from engine.errors import UserError
from engine.sweep.sweepers import JobSweeper


class OptunaSweeper(JobSweeper):
    """A search: trials of an Optuna study, each a job; its options are in conf/hydra/sweeper/optuna.yaml."""

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
        made = search.Search(study.Options(**self.options), self.overrides(arguments), self.job)
        if self.config.sweep.dry_run:
            made.show()
            return
        made.check()
        self.begin([made.base.sweep_dir])
        made.run(self.launcher)
        made.conclude()

"""Measures a run with what it had in memory when it tested its weights itself."""

import logging
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from engine.callbacks.so_far import restore_to_measure
from engine.run.checkpoint.file import WholeFileIO, some

log = logging.getLogger(__name__)


class AsInTraining(WholeFileIO):
    """Restores attributes and metrics of a run that is measured, before its checkpoint is read.

    The run itself has them in memory when it reads the weights that it tests. What hooks such as
    `on_load_checkpoint` take from the checkpoint comes later, here as there.

    Args:
        trainer: the one that measures.
        saved: what the newest checkpoint of the run has of `so_far`; {}: nothing is restored.
        with_data: whether the data are those of the run. Others keep what they have.
    """

    def __init__(self, trainer: Trainer, saved: dict[str, Any], with_data: bool) -> None:
        super().__init__()
        self._trainer, self._saved, self._with_data = trainer, saved, with_data

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        if self._saved:
            module = self._trainer.lightning_module
            if refused := restore_to_measure(self._trainer, module, self._saved, self._with_data):
                log.warning("not exact: these take no value of a checkpoint: %s", some(refused))
        return super().load_checkpoint(path, map_location, weights_only)

"""Measures a run with what it had in memory when it tested its weights itself."""

import logging
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from engine.callbacks.so_far import restore_to_measure
from engine.run.checkpoint.file import some

log = logging.getLogger(__name__)


class AsInTraining(Callback):
    """Restores attributes and metrics of a run that is measured: its checkpoint has weights, too.

    Args:
        saved: what the newest checkpoint of the run has of `so_far`; {}: nothing is restored.
        has_other_data: whether the data are not those of the run. They keep what they have.
    """

    def __init__(self, saved: dict[str, Any], has_other_data: bool) -> None:
        self._saved, self._has_other_data = saved, has_other_data

    def on_load_checkpoint(
        self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if not self._saved:
            return
        data: object = trainer.datamodule  # type: ignore[attr-defined]
        without = type(data).__name__ if self._has_other_data else ""
        if refused := restore_to_measure(trainer, module, self._saved, without):
            log.warning("not exact: these take no value of a checkpoint: %s", some(refused))

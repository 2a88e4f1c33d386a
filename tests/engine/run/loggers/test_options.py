"""What loggers of several kinds are given."""

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.loggers import (
    CSVLogger,
    Logger,
    MLFlowLogger,
    TensorBoardLogger,
    WandbLogger,
)

from engine.run.loggers import options
from engine.run.loggers.table import MetricsCSV
from engine.run.loggers.tensorboard import TensorBoard


class Own(Logger):
    """A logger that is no file of the run's."""

    name = version = "own"

    def __init__(self, purge_step: int | None = None) -> None:
        super().__init__()

    def log_metrics(self, *args: Any) -> None: ...

    def log_hyperparams(self, *args: Any, **others: Any) -> None: ...


@pytest.mark.parametrize(
    ("kind", "node", "expected"),
    [
        (MetricsCSV, {}, {"save_dir": "/run", "purge_step": 7}),
        (TensorBoard, {"version": ""}, {"save_dir": "/run", "purge_step": 7}),
        (TensorBoardLogger, {}, {"save_dir": "/run", "purge_step": 7, "version": 0}),
        (CSVLogger, {}, {"save_dir": "/run", "version": 0}),
        (CSVLogger, {"version": "mine"}, {"save_dir": "/run"}),
        (WandbLogger, {}, {"save_dir": "/run"}),
        (MLFlowLogger, {}, {"save_dir": "/run"}),
        (Own, {}, {"purge_step": 7}),
    ],
)
def test_a_logger_is_given_what_it_takes(
    kind: type[Logger], node: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert options.given(kind, node, Path("/run"), 7) == expected
    assert any(options.that_begin_anew([kind])) == (kind in (WandbLogger, MLFlowLogger))

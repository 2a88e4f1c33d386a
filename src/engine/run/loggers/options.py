"""Says what the engine gives each logger of a config, beside the options of its node."""

from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from engine.config.keys import TARGET
from engine.config.objects import arguments_of
from engine.run import plain

PLACE = (TARGET, "name", "version")  # what a logger's folder depends on


def given(
    kind: type[Logger],
    node: Mapping[str, Any],
    folder: Path,
    resumes_at: int | None,
    before: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Returns the options that the engine gives a logger, beside those of its node.

    Args:
        kind: the logger's class.
        node: of the config.
        folder: the run's.
        resumes_at: the step that a resumed run goes on with.
        before: the nodes of the loggers that are built before.
    """
    options: dict[str, Any] = {"save_dir": str(folder)} if _takes(kind, "save_dir") else {}
    if _takes(kind, "purge_step") or issubclass(kind, TensorBoardLogger):
        options["purge_step"] = resumes_at
    if issubclass(kind, CSVLogger | TensorBoardLogger) and node.get("version") is None:
        # Lightning would begin another version at each resume. Two loggers have two.
        alike = [own for own in before if all(own.get(key) == node.get(key) for key in PLACE)]
        options["version"] = len(alike)
    return options


def in_words(logger: Logger) -> Logger:
    """Makes a logger take hyper-parameters as `plain.in_words` returns them."""
    log_hyperparams = logger.log_hyperparams

    def log_words(params: Any, *args: Any, **options: Any) -> None:
        named = vars(params) if isinstance(params, Namespace) else params
        log_hyperparams(plain.in_words(named or {}), *args, **options)

    vars(logger)["log_hyperparams"] = log_words
    return logger


def that_begin_anew(kinds: Iterable[type[Logger]]) -> list[str]:
    """Says of which loggers the rows of a resumed run do not follow those before, each once."""
    said = "has no purge_step: it may show steps twice, or begin anew"
    others = [kind for kind in kinds if not issubclass(kind, CSVLogger | TensorBoardLogger)]
    return [f"{kind.__name__} {said}" for kind in others if not _takes(kind, "purge_step")]


def _takes(kind: type, argument: str) -> bool:
    return argument in (arguments_of(kind) or ())

"""Finds what no checkpoint has, so that a resumed run would differ, and what is not trained."""

from collections.abc import Iterator

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    LearningRateFinder,
    ModelPruning,
    Timer,
)
from torch import nn

FINDERS = (BatchSizeFinder, LearningRateFinder)
# Callbacks of Lightning's, with what they do when a run goes on.
UNSAVED = {
    **dict.fromkeys(FINDERS, "it searches once more in a resumed run"),
    ModelPruning: "no checkpoint has its masks",
    Timer: "training ends by the clock",
}


def unsaved(trainer: Trainer, module: LightningModule) -> Iterator[str]:
    """Yields what will not be as it was in a resumed run, one sentence each.

    Args:
        trainer: the run's.
        module: the one that is trained.
    """
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    for callback in callbacks:
        for kind, reason in UNSAVED.items():
            # A run that goes on has what Lightning's own finders have found.
            if isinstance(callback, kind) and type(callback) not in FINDERS:
                yield f"{type(callback).__name__}: not exact: {reason}."
    if not getattr(trainer, "has_step_seed", False):
        yield "callbacks.step_seed is left out: not exact: a resumed run draws other numbers."
    yield from _hidden_layers(module)


def _hidden_layers(module: LightningModule) -> Iterator[str]:
    """Yields where layers are kept in a list or a dict of Python's, which PyTorch does not see."""
    known = {id(part) for part in module.modules()}
    for part in module.modules():
        for name, value in vars(part).items():
            kind = type(value)  # a dead weakref.proxy answers for its object, with an error
            is_plain = issubclass(kind, list | tuple | dict) and not name.startswith("_")
            inner = value.values() if issubclass(kind, dict) else value
            layers = [one for one in (inner if is_plain else ()) if isinstance(one, nn.Module)]
            if any(id(layer) not in known and [*layer.parameters()] for layer in layers):
                yield (
                    f"{type(part).__name__}.{name}: not trained: its layers are in a "
                    f"{type(value).__name__} of Python's.\nTo train them, write "
                    f"nn.Module{'Dict' if isinstance(value, dict) else 'List'}(…)."
                )

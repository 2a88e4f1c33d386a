"""What no checkpoint has of what a user brings."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    LearningRateFinder,
    ModelPruning,
    Timer,
)
from torch import nn

from engine.callbacks.step_seed import StepSeed
from engine.checks.unsaved import unsaved
from fitting import plain_trainer


class Has(LightningModule):
    """Has a layer, and attributes."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        vars(self).update(attributes)


class SearchesAgain(LearningRateFinder):
    """Searches in the middle of training, as an example of Lightning's documents does."""


class SizesAgain(BatchSizeFinder):
    """Does so for a batch size."""


def seeded(*callbacks: Callback) -> Trainer:
    """A Trainer whose steps are seeded."""
    seed = StepSeed(0)
    trainer = plain_trainer(Path(), callbacks=[seed, *callbacks])
    seed.setup(trainer, Has(), "validate")
    return trainer


def said(module: LightningModule, *callbacks: Callback) -> list[str]:
    """What is said, up to the reason."""
    trainer = seeded(*callbacks)
    return [text.partition(": not exact: ")[0] for text in unsaved(trainer, module)]


def test_callbacks_of_lightning_that_do_not_go_on_are_named() -> None:
    own = [SearchesAgain(), SizesAgain(), Timer("00:00:01:00"), ModelPruning("l1_unstructured")]
    names = ["SearchesAgain", "SizesAgain", "Timer", "ModelPruning"]
    assert said(Has(), LearningRateFinder(), BatchSizeFinder(), *own) == names


def test_others_are_not() -> None:
    assert said(Has(number=3, names=["a"])) == []


def test_a_run_that_leaves_the_steps_seed_out_says_so() -> None:
    assert list(unsaved(plain_trainer(Path()), Has())) == [
        "callbacks.step_seed is left out: not exact: a resumed run draws other numbers."
    ]


def test_layers_that_pytorch_does_not_see_are_named() -> None:
    module = Has(
        layers=[nn.Linear(1, 1)],
        by_name={"a": nn.Linear(1, 1)},
        kinds=[nn.ReLU()],
        kept=[],
        numbers=(1, 2),
        _teacher=[nn.Linear(1, 1)],
    )
    module.kept.append(module.layer)  # type: ignore[union-attr,operator]
    assert list(unsaved(seeded(), module)) == [
        "Has.layers: not trained: its layers are in a list of Python's.\n"
        "To train them, write nn.ModuleList(…).",
        "Has.by_name: not trained: its layers are in a dict of Python's.\n"
        "To train them, write nn.ModuleDict(…).",
    ]

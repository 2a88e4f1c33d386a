"""What no checkpoint has of what a user brings."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder, ModelPruning
from torch import nn

from engine import SupervisedModule
from engine.callbacks.step_seed import StepSeed
from engine.checks.unsaved import unsaved
from fitting import plain_trainer


class Draws(LightningModule):
    """Has a generator, and a layer that has another."""

    def __init__(self, **generators: Any) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        vars(self).update(generators)


class SavesIt(Draws):
    """Saves the state of its generator."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["rng"] = None


class Shuffles(Callback):
    """Has a generator of Python's."""

    def __init__(self) -> None:
        self.rng = random.Random(1)


class ShufflesAsBefore(Shuffles):
    """Saves the state of its generator."""

    def state_dict(self) -> dict[str, Any]:
        return {"rng": self.rng.getstate()}


class SearchesAgain(LearningRateFinder):
    """Searches in the middle of training, as an example of Lightning's documents does."""


def said(module: LightningModule, *callbacks: Callback) -> list[str]:
    """What is said, up to the reason."""
    trainer = plain_trainer(Path(), callbacks=[StepSeed(0), *callbacks])
    return [text.partition(": not exact: ")[0] for text in unsaved(trainer, module)]


@pytest.mark.parametrize(
    "generator",
    [torch.Generator(), np.random.default_rng(1), np.random.RandomState(1), random.Random(1)],
    ids=lambda made: f"{type(made).__module__}.{type(made).__name__}",
)
def test_a_generator_of_a_module_is_named(generator: Any) -> None:
    assert said(Draws(rng=generator)) == ["Draws.rng"]
    assert said(SavesIt(rng=generator)) == []


def test_those_of_layers_and_callbacks_are_named_too() -> None:
    module = Draws()
    vars(module.layer)["noise"] = np.random.default_rng(1)
    assert said(module, Shuffles(), ShufflesAsBefore()) == ["Linear.noise", "Shuffles.rng"]
    saves = SavesIt()  # it may save those of its layers, too
    vars(saves.layer)["noise"] = np.random.default_rng(1)
    assert said(saves) == []


def test_callbacks_of_lightning_that_do_not_go_on_are_named() -> None:
    own = [LearningRateFinder(), SearchesAgain(), BatchSizeFinder()]
    names = ["SearchesAgain", "BatchSizeFinder", "ModelPruning"]
    assert said(Draws(), *own, ModelPruning("l1_unstructured")) == names


def test_others_are_not() -> None:
    assert said(Draws(number=3, names=["a"])) == []


def test_a_run_that_leaves_the_steps_seed_out_says_so() -> None:
    assert list(unsaved(plain_trainer(Path()), Draws())) == [
        "callbacks.step_seed is left out: not exact: a resumed run draws other numbers."
    ]


def test_layers_that_pytorch_does_not_see_are_named() -> None:
    module = Draws(
        layers=[nn.Linear(1, 1)],
        by_name={"a": nn.Linear(1, 1)},
        kinds=[nn.ReLU()],
        kept=[],
        numbers=(1, 2),
        _teacher=[nn.Linear(1, 1)],
    )
    module.kept.append(module.layer)  # type: ignore[union-attr,operator]
    trainer = plain_trainer(Path(), callbacks=[StepSeed(0)])
    assert list(unsaved(trainer, module)) == [
        "Draws.layers: not trained: its layers are in a list of Python's.\n"
        "To train them, write nn.ModuleList(…).",
        "Draws.by_name: not trained: its layers are in a dict of Python's.\n"
        "To train them, write nn.ModuleDict(…).",
    ]


class Ours(SupervisedModule):
    """Is of our base class, which saves the rows of metrics."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(1, 1), nn.MSELoss())
        self.rng = np.random.default_rng(1)


class OursSavesIt(Ours):
    """Saves the state of its generator."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)


def test_a_generator_of_one_of_our_modules_is_named_too() -> None:
    """As it happened: what our base class saves counted as the user's."""
    assert said(Ours()) == ["Ours.rng"]
    assert said(OursSavesIt()) == []

"""Objects made from a config in a short way, beside what Hydra's `instantiate` and Lightning make."""

import os
import random
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.pytorch import seed_everything

from engine.config import objects
from engine.errors import describe
from engine.vectorized import make
from project.modules.curve_mlp import CurveMLP


def node(hidden: Any = 4, lr: float = 0.1, **more: Any) -> dict[str, Any]:
    optimizer = {"_target_": "torch.optim.SGD", "_partial_": True, "lr": lr, **more}
    return {
        "_target_": "project.modules.curve_mlp.CurveMLP",
        "hidden": hidden,
        "optimizer": optimizer,
    }


@pytest.fixture(autouse=True)
def nothing_made_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make, "_made_before", set())


def test_a_second_object_is_as_hydra_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    make.make({"module": node(momentum=0.5)}, "module")
    monkeypatch.setattr(objects, "build", None)  # not needed any more
    for hidden, lr in ((4, 0.1), (7, 2)):
        config = {"module": node(hidden, lr, momentum=0)}
        ours, theirs = make.make(config, "module"), instantiate(config["module"])
        assert type(ours) is type(theirs) is CurveMLP
        shapes = [[parameter.shape for parameter in made.parameters()] for made in (ours, theirs)]
        assert shapes[0] == shapes[1]
        assert (ours.optimizer.func, ours.optimizer.args) == (torch.optim.SGD, ())
        assert ours.optimizer.keywords == {"lr": lr, "momentum": 0} == theirs.optimizer.keywords
        assert type(ours.optimizer.keywords["lr"]) is type(lr)


@pytest.mark.parametrize(
    ("changed", "short_later"),
    [
        (node(name="x"), True), (node(nesterov=True), True),
        ({**node(), "optimizer": {**node()["optimizer"], "_partial_": False}}, True),
        ({**node(), "_target_": "project.modules.linear.LinearRegressor"}, True),
        ({**node(), "_convert_": "all"}, False), (node(hidden=[1]), False), ({**node(), "optimizer": {"lr": 1}}, False),
    ],
    ids=["a word", "true", "another flag", "another target", "_convert_", "a list", "a mapping"],
)  # fmt: skip
def test_hydra_makes_first_what_differs_by_more_than_a_number(
    changed: dict[str, Any], short_later: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    make.make({"module": node()}, "module")
    asked: list[str] = []
    monkeypatch.setattr(objects, "build", lambda *_: asked.append("Hydra"))
    monkeypatch.setattr(make, "_made", lambda *_: asked.append("short"))
    for _ in range(2):
        make.make({"module": changed}, "module")
    assert asked == ["Hydra", "short" if short_later else "Hydra"]


WRONG = [node(hidden=-1), {**node(), "optimizer": {"_target_": "torch.optim.SGD", "lr": -1}}]


@pytest.mark.parametrize("wrong", WRONG, ids=["of the module", "within it"])
def test_errors_are_hydras(wrong: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    config, said = {"module": wrong}, []
    for before in (set(), {repr(make._without_numbers(wrong))}):
        monkeypatch.setattr(make, "_made_before", before)
        with pytest.raises(InstantiationException) as error:
            make.make(config, "module")
        said.append((str(error.value), repr(error.value.__cause__), describe(error.value)))
    assert said[0] == said[1]
    assert said[0][2].startswith("module")


def test_seeds_are_lightnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make, "_has_gpu", lambda: False)
    drawn = []
    for seed in (partial(seed_everything, workers=True, verbose=False), make._seed):
        for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
            monkeypatch.setenv(name, "")
        seed(7)
        told = os.environ["PL_GLOBAL_SEED"], os.environ["PL_SEED_WORKERS"]
        drawn.append((random.random(), np.random.rand(), torch.rand(1).item(), told))
    assert drawn[0] == drawn[1]

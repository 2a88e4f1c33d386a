"""Objects made from a config in a short way, beside what Hydra's `instantiate` and Lightning make."""

import gc
import random
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.pytorch import seed_everything
from omegaconf import OmegaConf

from project import build, garbage
from project.modules.curve_mlp import CurveMLP


def node(hidden: Any = 4, lr: float = 0.1, **more: Any) -> dict[str, Any]:
    optimizer = {"_target_": "torch.optim.SGD", "_partial_": True, "lr": lr, **more}
    return {"_target_": "project.modules.curve_mlp.CurveMLP", "hidden": hidden, "optimizer": optimizer}


@pytest.fixture(autouse=True)
def nothing_made_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_made_before", set())


@pytest.mark.parametrize("kind", [dict, OmegaConf.create])
def test_a_second_object_is_as_hydra_makes_it(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    build.make(kind(node(momentum=0.5)))
    monkeypatch.setattr(build, "instantiate", None)  # not needed any more
    for hidden, lr in ((4, 0.1), (7, 2)):
        ours, theirs = (make(kind(node(hidden, lr, momentum=0))) for make in (build.make, instantiate))
        assert type(ours) is type(theirs) is CurveMLP
        shapes = [[parameter.shape for parameter in made.parameters()] for made in (ours, theirs)]
        assert shapes[0] == shapes[1]
        assert (ours.optimizer.func, ours.optimizer.args) == (torch.optim.SGD, ())
        assert ours.optimizer.keywords == {"lr": lr, "momentum": 0} == theirs.optimizer.keywords
        assert type(ours.optimizer.keywords["lr"]) is type(lr)


@pytest.mark.parametrize(
    "changed",
    [
        node(name="x"), node(nesterov=True), {**node(), "optimizer": {**node()["optimizer"], "_partial_": False}},
        {**node(), "_target_": "project.modules.linear.Linear"}, {**node(), "_convert_": "all"}, node(hidden=[1]),
        {**node(), "optimizer": {"lr": 1}},
    ],
    ids=["a word", "true", "another flag", "another target", "_convert_", "a list", "a mapping"],
)  # fmt: skip
def test_what_differs_by_more_than_a_number_is_hydras(changed: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    build.make(node())
    asked: list[Any] = []
    monkeypatch.setattr(build, "instantiate", asked.append)
    build.make(changed)
    build.make(changed)
    simple = not any(isinstance(value, list) for value in changed.values()) and "_convert_" not in changed
    assert len(asked) >= 1
    if not simple:
        assert len(asked) == 2


def test_errors_are_hydras() -> None:
    build.make(node())
    with pytest.raises(InstantiationException, match="CurveMLP"):
        build.make(node(hidden=-1))


def test_seeds_are_lightnings() -> None:
    drawn = []
    for seed in (partial(seed_everything, workers=True, verbose=False), build._seed):
        seed(7)
        drawn.append((random.random(), np.random.rand(), torch.rand(1).item()))
    assert drawn[0] == drawn[1]


def test_what_stays_is_not_searched_until_it_may_go() -> None:
    assert gc.isenabled()
    with garbage.made_to_stay():
        assert not gc.isenabled()
        made: list[Any] = [[] for _ in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() > len(made)
    garbage.let_go()
    assert gc.get_freeze_count() == 0

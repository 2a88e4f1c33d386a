"""The regressor with a gradient by hand, under Lightning: no autograd, the same steps, limits."""

from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

import project.init as init
from engine.errors import UserError
from fitting import columns, plain_trainer
from project.datamodules.random_regression import RandomRegressionDataModule
from project.modules.two_layer_by_hand import BY_HAND, TwoLayerByHand
from project.references import two_layer_numpy, two_layer_torch

EVERY = ["numpy", "manual", "autograd"]


def made(gradients: str) -> TwoLayerByHand:
    sgd = partial(torch.optim.SGD, lr=1e-6, fused=True)
    return TwoLayerByHand(gradients=gradients, optimizer=sgd, init=partial(init.randn, seed=0))


class SeesGraphs(Callback):
    """Notes whether the loss of each step came with a graph to go back through."""

    def __init__(self) -> None:
        self.graphs: list[bool] = []

    def on_before_backward(
        self, trainer: Trainer, module: LightningModule, loss: torch.Tensor
    ) -> None:
        self.graphs.append(loss.requires_grad)


@pytest.mark.parametrize("gradients", EVERY)
def test_steps_are_those_of_the_page_in_numpy(gradients: str, tmp_path: Path) -> None:
    data = RandomRegressionDataModule(seed=0, batch_size=64, steps_per_epoch=20)
    module, seen = made(gradients), SeesGraphs()
    w1, w2 = (weight.detach().double().numpy().T.copy() for weight in module.weights)
    x, y = (t.double().numpy() for t in (data.splits["train"].inputs, data.splits["train"].targets))
    plain_trainer(tmp_path, max_epochs=1, callbacks=[seen]).fit(module, data)
    w1, w2, losses = two_layer_numpy.train(x, y, w1, w2, steps=20)
    assert columns(tmp_path, "train/loss") == [pytest.approx(losses, rel=1e-4)]
    for weight, expected in zip(module.weights, (w1, w2), strict=True):
        np.testing.assert_allclose(weight.detach().T, expected, rtol=1e-3, atol=1e-4)
    assert seen.graphs == [gradients == "autograd"] * 20


@pytest.mark.parametrize(
    ("gradients", "page"), [("numpy", two_layer_numpy), ("manual", two_layer_torch)]
)
def test_by_hand_it_is_the_page_that_makes_the_gradient_and_no_autograd(
    gradients: str, page: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("autograd")

    calls: list[type] = []
    own = page.gradients

    def spy(*arrays: Any) -> Any:
        calls.append(type(arrays[0]))
        return own(*arrays)

    monkeypatch.setattr(page, "gradients", spy)
    monkeypatch.setattr(torch.autograd, "grad", refuse)
    monkeypatch.setattr(torch.autograd, "backward", refuse)
    monkeypatch.setattr(torch.Tensor, "backward", refuse)
    data = RandomRegressionDataModule(seed=0, batch_size=64, steps_per_epoch=3)
    plain_trainer(tmp_path, max_epochs=1).fit(made(gradients), data)
    assert calls == [np.ndarray if gradients == "numpy" else torch.Tensor] * 3


@pytest.mark.parametrize("gradients", EVERY)
def test_accumulated_gradients_are_a_mean(gradients: str, tmp_path: Path) -> None:
    def weights(**options: Any) -> list[torch.Tensor]:
        data = RandomRegressionDataModule(seed=0, batch_size=64, steps_per_epoch=4)
        plain_trainer(tmp_path, max_epochs=1, **options).fit(module := made(gradients), data)
        return [weight.detach() for weight in module.weights]

    for ours, theirs in zip(
        weights(accumulate_grad_batches=2), weights(limit_train_batches=2), strict=True
    ):
        torch.testing.assert_close(ours, theirs)  # each batch is the whole data


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
@pytest.mark.parametrize("gradients", ["numpy", "manual"])
def test_what_by_hand_does_not_go_with(gradients: str, precision: str, tmp_path: Path) -> None:
    data = RandomRegressionDataModule(seed=0, batch_size=64)
    with pytest.raises(
        UserError,
        match=f"^module.gradients={gradients}: by hand does not go with trainer.precision=",
    ):
        plain_trainer(tmp_path, max_epochs=1, precision=precision).fit(made(gradients), data)


def test_an_unknown_way() -> None:
    with pytest.raises(
        UserError, match=r"^module.gradients=hand: must be one of: numpy, manual, autograd\.$"
    ):
        TwoLayerByHand(gradients="hand")


def test_the_ways_are_the_same_wherever_they_are_named() -> None:
    hint = get_type_hints(TwoLayerByHand.__init__)["gradients"]
    assert get_args(hint) == (*BY_HAND, "autograd") == tuple(EVERY)

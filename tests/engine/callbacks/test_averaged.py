"""A mean of weights that begins later, and what is validated until then."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, StochasticWeightAveraging
from torch import Tensor, nn

from engine.callbacks.checkpoints import Checkpoints
from engine.callbacks.step_seed import StepSeed
from engine.run.folders import BEST
from engine.supervised import SupervisedModule
from fitting import Arrays, columns, plain_trainer

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(12, 4)).astype(np.float32), RNG.normal(size=(12, 1)).astype(np.float32)


def fitted(
    folder: Path, *callbacks: Any, normalises: bool = True, **options: Any
) -> tuple[list[float], dict[str, Tensor], Any]:
    """Trains for 4 × 3 steps; returns the losses of validation, the weights and best.ckpt."""
    folder.mkdir()
    torch.manual_seed(0)
    middle = nn.BatchNorm1d(3) if normalises else nn.Tanh()
    network = nn.Sequential(nn.Linear(4, 3), middle, nn.Linear(3, 1))
    module = SupervisedModule(network, nn.MSELoss(), optimizer=partial(torch.optim.SGD, lr=0.1))
    checkpoints = Checkpoints(every_n_steps=100, monitor="val/loss", mode="min")
    given = [StepSeed(0), *callbacks, checkpoints]
    options = {"max_epochs": 4, "enable_checkpointing": True, **options}
    trainer = plain_trainer(folder, callbacks=given, **options)
    data = Arrays({"train": (X, Y), "val": (X, Y)}, seed=0, batch_size=4)
    trainer.fit(module, data)
    best = torch.load(folder / BEST, weights_only=True)
    return columns(folder, "val/loss")[0], dict(module.state_dict()), best


@pytest.mark.filterwarnings("ignore:.*is smaller than the logging interval")
def test_until_a_mean_begins_the_trained_weights_are_validated_and_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: the initial ones were, and a mean that never began left them."""
    caplog.set_level("INFO")
    losses, weights, best = fitted(tmp_path / "alone")
    fitted(tmp_path / "at once", EMAWeightAveraging(decay=0.9))
    assert "no mean yet" not in caplog.text
    mean = EMAWeightAveraging(decay=0.9, update_starting_at_step=1000)
    others, same, best_of_mean = fitted(tmp_path / "never", mean)
    assert caplog.text.count("no mean yet: until it begins, the trained weights are validated") == 1
    assert others == losses
    assert all(torch.equal(own, same[name]) for name, own in weights.items())
    assert best_of_mean["global_step"] == best["global_step"]
    for name, own in best["state_dict"].items():
        assert torch.equal(own, best_of_mean["state_dict"][name])
    late = EMAWeightAveraging(decay=0.9, update_starting_at_step=6)
    begun, with_mean, _ = fitted(tmp_path / "late", late)
    assert begun[:2] == losses[:2]
    assert begun[3] != losses[3]
    assert not torch.equal(with_mean["network.0.weight"], weights["network.0.weight"])


@pytest.mark.filterwarnings("ignore:.*is smaller than the logging interval")
@pytest.mark.parametrize("limit", [{"max_epochs": None, "max_steps": 11}, {"max_epochs": 4}])
def test_a_mean_of_the_last_epochs_that_never_begins_leaves_the_trained_weights(
    limit: dict[str, Any], tmp_path: Path
) -> None:
    """As it happened: the run ended with the initial ones, and so did its best.ckpt."""
    options: dict[str, Any] = {**limit, "normalises": False}
    losses, weights, best = fitted(tmp_path / "alone", **options)
    mean = StochasticWeightAveraging(swa_lrs=0.1, swa_epoch_start=9)
    others, same, best_of_mean = fitted(tmp_path / "never", mean, **options)
    assert others == losses
    assert all(torch.equal(own, same[name]) for name, own in weights.items())
    for name, own in best["state_dict"].items():
        assert torch.equal(own, best_of_mean["state_dict"][name])
    assert best_of_mean["global_step"] == best["global_step"]


@pytest.mark.filterwarnings("ignore:.*is smaller than the logging interval")
def test_without_a_number_of_epochs_best_ckpt_has_the_mean_of_the_last_ones(tmp_path: Path) -> None:
    """The mean is over the weights with which each epoch begins, from the second on."""
    options: dict[str, Any] = {"max_epochs": None, "max_steps": 12, "normalises": False}
    seen: list[Tensor] = []

    class Sees(Callback):
        def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
            if trainer.current_epoch:
                seen.append(module.network[0].weight.detach().clone())

    mean = StochasticWeightAveraging(swa_lrs=0.1, swa_epoch_start=2, annealing_epochs=1)
    _, weights, best = fitted(tmp_path / "mean", mean, Sees(), **options)
    expected = torch.stack(seen).mean(0)
    assert len(seen) == 3
    for found in (weights, best["state_dict"]):
        torch.testing.assert_close(found["network.0.weight"], expected)

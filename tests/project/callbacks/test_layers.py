"""What the callback logs of the layers of a network that trains."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from engine.run.loggers.table import MetricsCSV
from engine.supervised import SupervisedModule
from fitting import Arrays, columns, plain_trainer
from project.callbacks.layers import Layers
from project.modules.deep_mlp import DeepMLP
from project.modules.linear import LinearRegressor
from project.modules.two_layer_by_hand import TwoLayerByHand

RNG = np.random.default_rng(0)
X, Y = (
    RNG.standard_normal((8, 3)).astype(np.float32),
    RNG.standard_normal((8, 2)).astype(np.float32),
)


def fit(folder: Path, module: SupervisedModule, **options: object) -> None:
    loggers = [TensorBoardLogger(folder, name="", version=""), MetricsCSV(folder)]
    trainer = plain_trainer(
        folder, max_epochs=1, logger=loggers, callbacks=[Layers(every_n_steps=2)], **options
    )
    trainer.fit(module, Arrays({"train": (X, Y)}, steps_per_epoch=5))
    for layer in module.modules():
        assert not layer._forward_hooks


def test_standard_deviations_and_histograms(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = DeepMLP(3, 4, 2, 2, optimizer=partial(torch.optim.SGD, lr=0.1))
    a1 = torch.tanh(torch.tensor(X) @ module.network.linear1.weight.T).detach().requires_grad_()
    a2 = torch.tanh(a1 @ module.network.linear2.weight.T)
    a2.retain_grad()
    (a2 @ module.network.output.weight.T - torch.tensor(Y)).square().mean().backward()
    fit(tmp_path, module)
    for layer, activations in (("tanh1", a1), ("tanh2", a2)):
        names = f"activations_std/{layer}", f"activation_gradients_std/{layer}"
        forward, back, steps = columns(tmp_path, *names, "step")
        logged = [(step, std, grad) for step, std, grad in zip(steps, forward, back, strict=True)]
        assert [step for step, _, _ in logged] == [0, 2, 4]
        assert logged[0][1:] == pytest.approx(
            (activations.std().item(), activations.grad.std().item()), rel=1e-5
        )
        assert logged[0][1] != logged[1][1]
    events = EventAccumulator(str(tmp_path), size_guidance={"histograms": 0}).Reload()
    assert set(events.Tags()["histograms"]) == {
        f"{name}/tanh{n}" for name in ("activations", "activation_gradients") for n in (1, 2)
    }
    for name, values in (("activations", a1), ("activation_gradients", a1.grad)):
        first = events.Histograms(f"{name}/tanh1")[0].histogram_value
        assert (first.sum, first.sum_squares) == pytest.approx(
            (values.sum().item(), values.square().sum().item()), rel=1e-4, abs=1e-7
        )
    assert [(h.step, h.histogram_value.num) for h in events.Histograms("activations/tanh1")] == [
        (0, 32), (2, 32), (4, 32)
    ]  # fmt: skip


def test_with_accumulation_once_per_optimiser_step(tmp_path: Path) -> None:
    fit(tmp_path, DeepMLP(3, 4, 1, 2), accumulate_grad_batches=2)
    assert columns(tmp_path, "activations_std/tanh1", "step")[1] == [0, 2]


@pytest.mark.parametrize("parts", [2, 4])
def test_gradients_are_those_of_the_whole_batch_s_loss(parts: int, tmp_path: Path) -> None:
    def gradients(folder: Path, rows: int, **options: object) -> list[float]:
        torch.manual_seed(0)
        folder.mkdir()
        logger = MetricsCSV(folder)
        trainer = plain_trainer(
            folder, max_epochs=1, logger=logger, callbacks=[Layers(every_n_steps=1)], **options
        )
        data = {"train": (np.tile(X[:2], (rows // 2, 1)), np.tile(Y[:2], (rows // 2, 1)))}
        trainer.fit(DeepMLP(3, 4, 1, 2), Arrays(data, steps_per_epoch=parts if options else 1))
        return columns(folder, "activation_gradients_std/tanh1")[0]

    (whole,) = gradients(tmp_path / "whole", 2)
    (accumulated,) = gradients(tmp_path / "parts", 2, accumulate_grad_batches=parts)
    assert accumulated == pytest.approx(whole, rel=1e-5)


def test_gradients_by_hand_leave_none_at_the_activations(tmp_path: Path) -> None:
    fit(tmp_path, TwoLayerByHand(3, 4, 2, optimizer=partial(torch.optim.SGD, lr=1e-3)))
    header = (tmp_path / "metrics.csv").read_text().splitlines()[0].split(",")
    assert [name for name in header if "std" in name] == ["activations_std/relu1"]


def test_a_model_without_such_layers_is_not_watched_and_a_line_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    fit(tmp_path, LinearRegressor(3, 2))
    lines = [r.getMessage() for r in caplog.records if r.name == "project.callbacks.layers"]
    assert lines == [
        "Layers: nothing to watch, as LinearRegressor has no layer nn.ReLU or the like"
    ]
    steps = columns(tmp_path, "train/loss", "step")[1]
    assert steps == [0, 1, 2, 3, 4]
    rows = (tmp_path / "metrics.csv").read_text().splitlines()
    assert len(rows) == 1 + len(steps)


class ThreeByHand(LightningModule):
    """Takes three steps a batch, by hand, so that a step that is watched begins within a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.01)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer: Any = self.optimizers()
        for _ in range(3):
            optimizer.zero_grad()
            self.manual_backward((self.network(batch[0]) - batch[1]).square().mean())
            optimizer.step()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Is not called: there is nothing to validate on."""


def test_steps_that_begin_within_a_batch_are_not_watched(tmp_path: Path) -> None:
    trainer = plain_trainer(tmp_path, max_epochs=1, callbacks=[Layers(every_n_steps=2)])
    trainer.fit(ThreeByHand(), Arrays({"train": (X, Y)}, steps_per_epoch=3))
    assert trainer.global_step == 9
    names = "activations_std/1", "activation_gradients_std/1", "step"
    assert columns(tmp_path, *names)[2] == [0, 0, 2, 2]  # of batches
    header = (tmp_path / "metrics.csv").read_text().splitlines()[0]
    assert "std/1.2" not in header  # another step's pass is no second use


def test_a_validation_is_not_watched(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    passes: list[int] = []

    class Counts(Layers):
        def on_validation_batch_end(self, *args: Any) -> None:
            passes.append(len(network[1]._forward_hooks))

    trainer = plain_trainer(tmp_path, max_epochs=2, callbacks=[Counts(every_n_steps=1)])
    module = SupervisedModule(network, nn.MSELoss())
    trainer.fit(module, Arrays({"train": (X, Y), "val": (X, Y)}, steps_per_epoch=3))
    assert passes == [0, 0]


def test_a_step_of_lbfgs_is_shown_once(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    module = SupervisedModule(network, nn.MSELoss(), optimizer=torch.optim.LBFGS)
    trainer = plain_trainer(tmp_path, max_epochs=1, callbacks=[Layers(every_n_steps=2)])
    trainer.fit(module, Arrays({"train": (X, Y)}, steps_per_epoch=3))
    assert columns(tmp_path, "activations_std/1", "step")[1] == [0, 2]


class Skips(SupervisedModule):
    """Ends its first epoch as its second batch begins, as Lightning allows."""

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        return -1 if batch_idx == 1 and self.current_epoch == 0 else None


def test_a_batch_that_is_skipped_is_watched_no_longer(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    trainer = plain_trainer(tmp_path, max_epochs=1, callbacks=[Layers(every_n_steps=1)])
    trainer.fit(Skips(network, nn.MSELoss()), Arrays({"train": (X, Y)}, steps_per_epoch=3))
    assert trainer.global_step == 1
    assert not network[1]._forward_hooks

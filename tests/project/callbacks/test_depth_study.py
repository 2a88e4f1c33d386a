"""The study before training: what it leaves, once."""

import csv
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from engine.errors import UserError
from engine.supervised import SupervisedModule
from fitting import Arrays, plain_trainer
from project.analysis.depth import measure
from project.callbacks.depth_study import DepthStudy
from project.datamodules.random_regression import RandomRegressionDataModule
from project.modules.deep_mlp import DeepMLP, deep_network
from ways import Ordinary, TwoOptimizers

SCHEMES = {"half": {"scheme": "randn", "scale": 0.5}, "he": {"scheme": "he"}}


def test_what_it_leaves(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    torch.manual_seed(0)
    module = DeepMLP(
        in_features=6, width=5, depth=2, out_features=3, optimizer=partial(torch.optim.SGD, lr=0.0)
    )
    before = [parameter.clone() for parameter in module.parameters()]
    study = DepthStudy(SCHEMES, ["tanh", "relu"], depth=4, width=7, seeds=3, seed=11)
    logger = TensorBoardLogger(tmp_path, name="", version="")
    data = RandomRegressionDataModule(
        samples=9, in_features=6, out_features=3, seed=0, batch_size=9
    )
    plain_trainer(tmp_path, max_epochs=1, callbacks=[study], logger=logger).fit(module, data)

    with open(tmp_path / "figures/depth_study.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["activation"], row["scheme"], row["layer"]) for row in rows] == [
        (activation, scheme, layer)
        for activation in ("tanh", "relu")
        for scheme in SCHEMES
        for layer in "1234"
    ]
    assert {row["seeds"] for row in rows} == {"3"}
    split = data.splits["train"]
    networks = {name: partial(deep_network, 6, 7, 4, 3, name) for name in ("tanh", "relu")}
    cells = measure(networks, study.schemes, split.inputs, split.targets, seeds=(11, 12, 13))
    assert [float(row["activation_std"]) for row in rows] == [
        cell.row()["activation_std"] for cell in cells
    ]
    assert [float(row["gradient_std"]) for row in rows] == [
        cell.row()["gradient_std"] for cell in cells
    ]
    assert all(float(row["activation_std"]) > 0 < float(row["gradient_std_sd"]) for row in rows)
    for name in ("tanh", "relu", "distributions"):
        picture = tmp_path / f"figures/depth_study_{name}.png"
        assert picture.read_bytes().startswith(b"\x89PNG")
    reader = EventAccumulator(str(tmp_path)).Reload()
    (drawn,) = reader.Histograms("depth study, relu, he/layer 02")
    (cell,) = [
        cell for cell in cells if (cell.activation, cell.scheme, cell.layer) == ("relu", "he", 2)
    ]
    assert drawn.histogram_value.sum == pytest.approx(cell.sample.sum().item(), rel=1e-5)
    events = reader.Tags()
    pictures = [f"depth study/{name}" for name in ("tanh", "relu", "distributions")]
    assert sorted(events["images"]) == sorted(pictures)
    assert set(events["histograms"]) == {
        f"depth study, {activation}, {scheme}/layer 0{layer}"
        for activation in ("tanh", "relu")
        for scheme in SCHEMES
        for layer in range(1, 5)
    }
    assert [
        record.message.splitlines()[0] for record in caplog.records if "std of" in record.message
    ] == [f"std of {activation} activations, mean of 3 seeds" for activation in ("tanh", "relu")]
    for ours, theirs in zip(module.parameters(), before, strict=True):
        assert torch.equal(ours, theirs)  # its own networks, not the one that trains


def test_a_resumed_run_does_not_repeat_it(tmp_path: Path) -> None:
    data = RandomRegressionDataModule(
        samples=9, in_features=6, out_features=3, seed=0, batch_size=9
    )
    trainer = plain_trainer(tmp_path, max_epochs=1)
    trainer.fit(DeepMLP(6, 5, 2, 3), data)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    study = DepthStudy(SCHEMES, ["tanh"], depth=2, width=3)
    resumed = plain_trainer(tmp_path, max_epochs=2, callbacks=[study])
    resumed.fit(DeepMLP(6, 5, 2, 3), data, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert resumed.global_step == 2
    assert not (tmp_path / "figures").exists()


@pytest.mark.parametrize(
    ("schemes", "activations", "says"),
    [
        (
            {"k": {"scheme": "kaiming"}},
            ["tanh"],
            "scheme kaiming: no such initialisation. It is one of: default, zero",
        ),
        (
            {"k": {"scheme": "he", "gian": 1}},
            ["tanh"],
            "scheme he: has no gian; its options: gain.",
        ),
        (
            {"k": {"scheme": "zero", "scale": 1}},
            ["tanh"],
            "scheme zero: has no scale; its options: none.",
        ),
        (
            {"k": {"scheme": "he", "gain": "tan"}},
            ["tanh"],
            "scheme he: gain=tan: must be a number, or one of: lin",
        ),
        (
            {"k": {"scheme": "randn", "scale": "a"}},
            ["tanh"],
            "scheme randn: scale=a: must be a number.",
        ),
        (
            {"k": {"scale": 1}},
            ["tanh"],
            "callbacks.depth_study.schemes.k: must name a scheme, like {scheme: he}.",
        ),
        (
            {"k": None},
            ["tanh"],
            "callbacks.depth_study.schemes.k: must name a scheme, like {scheme: he}.",
        ),
        (
            {},
            ["tanh"],
            "callbacks.depth_study: needs at least one of schemes and one of activations.",
        ),
        (
            SCHEMES,
            [],
            "callbacks.depth_study: needs at least one of schemes and one of activations.",
        ),
        (
            SCHEMES,
            ["rely"],
            "activation=rely: no such activation function. Did you mean relu? It is one of: tanh, ",
        ),
    ],
)
def test_mistakes(schemes: dict[str, dict[str, Any]], activations: list[str], says: str) -> None:
    with pytest.raises(UserError) as refused:
        DepthStudy(schemes, activations, depth=2, width=3)
    assert str(refused.value).startswith(says)


@pytest.mark.parametrize(
    ("module", "data"),
    [
        (
            SupervisedModule(nn.Sequential(nn.Flatten(), nn.Linear(12, 1)), nn.MSELoss()),
            Arrays({"train": (np.zeros((5, 3, 2, 2), np.float32), np.zeros((5, 1), np.float32))}),
        ),
        (
            SupervisedModule(nn.Linear(3, 2), nn.CrossEntropyLoss()),
            Arrays({"train": (np.zeros((5, 3), np.float32), np.array([0, 1, 1, 0, 1]))}),
        ),
        (TwoOptimizers(), Ordinary(batch_size=5)),
    ],
    ids=["images", "labels", "a plain data module"],
)
def test_of_other_data_there_is_no_study_and_a_line_says_so(
    module: LightningModule,
    data: LightningDataModule,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    study = DepthStudy(SCHEMES, ["tanh"], depth=4, width=7)
    plain_trainer(tmp_path, max_epochs=1, callbacks=[study], logger=False).fit(module, data)
    assert not (tmp_path / "figures").exists()
    lines = [r.getMessage() for r in caplog.records if r.name == "project.callbacks.depth_study"]
    assert lines == ["DepthStudy: no study, as inputs and targets are no columns"]

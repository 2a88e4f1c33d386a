"""The study before training: what it leaves, once."""

import csv
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fitting import plain_trainer
from project.callbacks.depth_study import DepthStudy
from project.datamodules.random_regression import RandomRegressionDataModule
from project.errors import UserError
from project.modules.deep_mlp import DeepMLP

SCHEMES = {"half": {"scheme": "randn", "scale": 0.5}, "he": {"scheme": "he"}}


def test_what_it_leaves(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    torch.manual_seed(0)
    module = DeepMLP(in_features=6, width=5, depth=2, out_features=3, optimizer=partial(torch.optim.SGD, lr=0.0))
    before = [parameter.clone() for parameter in module.parameters()]
    study = DepthStudy(SCHEMES, ["tanh", "relu"], depth=4, width=7, seeds=3, seed=11)
    logger = TensorBoardLogger(tmp_path, name="", version="")
    data = RandomRegressionDataModule(samples=9, in_features=6, out_features=3, seed=0, batch_size=9)
    plain_trainer(tmp_path, max_epochs=1, callbacks=[study], logger=logger).fit(module, data)

    with open(tmp_path / "figures/depth_study.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["activation"], row["scheme"], row["layer"]) for row in rows] == [
        (activation, scheme, layer) for activation in ("tanh", "relu") for scheme in SCHEMES for layer in "1234"
    ]
    assert {row["seeds"] for row in rows} == {"3"}
    assert all(float(row["activation_std"]) > 0 < float(row["gradient_std_sd"]) for row in rows)
    assert (tmp_path / "figures/depth_study.png").read_bytes().startswith(b"\x89PNG")
    events = EventAccumulator(str(tmp_path)).Reload().Tags()
    assert events["images"] == ["depth study"]
    assert set(events["histograms"]) == {
        f"depth study, {activation}, {scheme}/layer 0{layer}"
        for activation in ("tanh", "relu")
        for scheme in SCHEMES
        for layer in range(1, 5)
    }
    assert [record.message.splitlines()[0] for record in caplog.records if "std of" in record.message] == [
        f"std of {activation} activations, mean of 3 seeds" for activation in ("tanh", "relu")
    ]
    for ours, theirs in zip(module.parameters(), before, strict=True):
        assert torch.equal(ours, theirs)  # its own networks, not the one that trains


def test_an_unknown_scheme() -> None:
    with pytest.raises(UserError, match=r"^init=kaiming: no such scheme\. init is one of: default, zero, randn, "):
        DepthStudy({"k": {"scheme": "kaiming"}}, ["tanh"], depth=2, width=3)

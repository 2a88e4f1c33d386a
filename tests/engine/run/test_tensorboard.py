"""The HParams view, as TensorBoard's own reader sees it."""

import math
from pathlib import Path

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from engine.config.resolved import Config
from engine.run import hparams
from engine.run.loggers import MetricsCSV
from fitting import Arrays, plain_trainer
from project.modules.linear import LinearRegressor

OVERRIDES = [
    "experiment=lenet",
    "init=he",
    "seed=3",
    "datamodule.steps_per_epoch=7",
    "+trainer.gradient_clip_val=0.5",
    "datamodule.mean=[0.5]",
    "datamodule.num_workers=2",
    "trainer.devices=1",
    "paths.log_dir=/x",
    "~callbacks.curve",
    "name=x",
    "+names=mine",
]
VALUES = {
    "module": "LeNet5",
    "datamodule": "DigitsDataModule",
    "optimizer": "SGD",
    "init": "he",
    "scheduler": "cosine",
    "scheduler.warmup": 0.1,
    "augment": "flip_crop + mine",
    "augment.flip_crop.padding": 4,
    "seed": 3,
    "module.num_classes": 10,
    "optimizer.lr": 0.001,
    "optimizer.nesterov": True,
    "init.scale": 2.0,
    "datamodule.batch_size": 4,
    "trainer.max_epochs": 5,
    "datamodule.steps_per_epoch": 7,
    "trainer.gradient_clip_val": 0.5,
    "names": "mine",
}


@pytest.fixture
def config() -> Config:
    written = OmegaConf.create(
        {
            "name": "x",
            "seed": 3,
            "paths": {"log_dir": "/x"},
            "module": {
                "_target_": "a.b.LeNet5",
                "num_classes": 10,
                "optimizer": "${optimizer}",
                "init": "${init}",
            },
            "datamodule": {
                "_target_": "a.DigitsDataModule",
                "batch_size": 4,
                "mean": [0.5],
                "steps_per_epoch": 7,
                "num_workers": 2,
                "eval_batch_size": 1000,
            },
            "optimizer": {
                "_target_": "torch.optim.SGD",
                "_partial_": True,
                "lr": 0.001,
                "nesterov": True,
            },
            "init": {
                "_target_": "project.init.he",
                "_partial_": True,
                "seed": "${seed}",
                "scale": 2.0,
            },
            "scheduler": {
                "_target_": "engine.schedules.cosine",
                "_partial_": True,
                "warmup": 0.1,
            },
            "augment": {
                "flip_crop": {"_target_": "engine.augment.FlipCrop", "padding": 4},
                "erase": None,
                "mine": {"_target_": "a.mine", "_partial_": True},
            },
            "trainer": {
                "_target_": "lightning.pytorch.Trainer",
                "max_epochs": 5,
                "gradient_clip_val": 0.5,
                "devices": 1,
                "max_steps": -1,
            },
            "logger": {},
            "callbacks": {},
            "names": "mine",
        }
    )
    return Config.resolve(written, OVERRIDES)


def test_columns_are_the_choices_their_numbers_and_what_was_overridden(config: Config) -> None:
    assert hparams.hyperparameters(config) == VALUES


def test_a_run_is_entered_with_open_metrics_and_filled_in_at_the_end(tmp_path: Path) -> None:
    loggers = [
        TensorBoardLogger(tmp_path, name="", version="", default_hp_metric=False),
        MetricsCSV(tmp_path),
    ]
    trainer = plain_trainer(tmp_path, max_epochs=1, logger=loggers)
    hparams.log_start(trainer, VALUES, ["objective", "test/acc"])
    trainer.fit(
        LinearRegressor(),
        Arrays({"train": (torch.ones(1, 1), torch.ones(1, 1))}, steps_per_epoch=5),
    )
    hparams.log_final(trainer, {"objective": 0.25, "test/acc": 0.75})
    loggers[0].experiment.flush()

    events = EventAccumulator(str(tmp_path)).Reload()
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    entered = HParamsPluginData.FromString(content).session_start_info.hparams
    values = {key: getattr(value, value.WhichOneof("kind")) for key, value in entered.items()}
    assert values == VALUES
    for name, value in {"objective": 0.25, "test/acc": 0.75}.items():
        first, last = events.Scalars(f"final/{name}")
        assert (first.step, last.step, last.value) == (0, 5, value)
        assert math.isnan(first.value)
    content = events.SummaryMetadata("_hparams_/experiment").plugin_data.content
    shown = HParamsPluginData.FromString(content).experiment.metric_infos
    assert {info.name.tag for info in shown} == {"final/objective", "final/test/acc"}
    assert "final" not in (tmp_path / "metrics.csv").read_text()

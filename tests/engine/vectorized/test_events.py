"""Checks that events written late read like events written at once."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from torch import nn

from engine.run.loggers import Row, TensorBoard
from engine.vectorized.events import BufferedEvents, BufferedTensorBoard

ROWS = [(step, {"train/loss": 1 / (step + 1), "lr": 0.1}) for step in range(20)]


class Net(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.example_input_array = nn.Linear(2, 3), torch.ones(1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layer(x)
        return out


def written(kind: type[TensorBoard], folder: Path) -> Path:
    logger = kind(
        str(folder), name="", version="", default_hp_metric=False, log_graph=True, purge_step=0
    )
    logger.log_hyperparams({"seed": 1, "optimizer": "SGD"}, {"final/objective": float("nan")})
    logger.log_graph(Net())
    for step, row in ROWS:
        logger.log_metrics(row, step)
    logger.experiment.add_histogram("weights", torch.arange(10.0), 3)
    logger.experiment.add_figure("figure", Figure(), 4)
    logger.finalize("success")
    return folder


def read(folder: Path) -> dict[str, Any]:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {
        "scalars": {
            tag: [(e.step, repr(e.value)) for e in events.Scalars(tag)]
            for tag in events.Tags()["scalars"]
        },
        "graph": events.Graph().SerializeToString(),
        "hparams": {
            name: data.plugin_data.content for name, data in events.summary_metadata.items()
        },
        "histogram": events.Histograms("weights")[0].histogram_value,
        "image": events.Images("figure")[0].encoded_image_string,
        "files": sorted(
            path.name for path in folder.iterdir() if not path.name.startswith("events.")
        ),
    }


def test_reads_like_tensorboards_own(tmp_path: Path) -> None:
    ours, theirs = (
        read(written(kind, tmp_path / kind.__name__)) for kind in (BufferedTensorBoard, TensorBoard)
    )
    assert ours == theirs


def test_events_come_to_the_file_when_flushed_and_rows_from_a_killed_run_are_hidden(
    tmp_path: Path,
) -> None:
    for purge in (0, 5):
        logger = BufferedTensorBoard(
            str(tmp_path), name="", version="", default_hp_metric=False, purge_step=purge
        )
        for step, row in ROWS[purge : purge + 10]:
            logger.log_metrics(row, step)
        assert len(list(tmp_path.glob("events.*"))) == purge // 5
        logger.save()
        logger.save()
        assert len(list(tmp_path.glob("events.*"))) == purge // 5 + 1
    events = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0}).Reload()
    assert [event.step for event in events.Scalars("lr")] == list(range(15))


def test_rows_together_are_the_events_that_they_are_one_by_one(tmp_path: Path) -> None:
    """By TensorBoard's own reader, which compares the records' checksums."""
    written = []
    for together in (False, True):
        logger = BufferedTensorBoard(
            str(tmp_path / str(together)), name="", version="", default_hp_metric=False
        )
        if together:
            logger.log_rows([Row(step, row, 1e9 + step) for step, row in ROWS])
        else:
            for step, row in ROWS:
                logger.log_metrics(row, step)
        logger.save()
        (file,) = (tmp_path / str(together)).iterdir()
        written.append(list(EventFileLoader(str(file)).Load()))
    assert [event.wall_time for event in written[1][1:]] == [1e9 + step for step, _ in ROWS]
    for event in (*written[0], *written[1]):
        event.wall_time = 0
    assert written[0] == written[1]
    assert len(written[0]) == 1 + len(ROWS)


def test_rows_have_the_prefix_that_is_asked_for(tmp_path: Path) -> None:
    logger = BufferedTensorBoard(
        str(tmp_path), name="", version="", default_hp_metric=False, prefix="p"
    )
    logger.log_rows([Row(step, row) for step, row in ROWS])
    logger.finalize("success")
    events = EventAccumulator(str(tmp_path)).Reload()
    assert sorted(events.Tags()["scalars"]) == ["p-loss/train", "p-lr"]
    assert [event.step for event in events.Scalars("p-lr")] == [step for step, _ in ROWS]


def test_a_wrong_byte_is_noticed(tmp_path: Path) -> None:
    events = BufferedEvents(str(tmp_path))
    events.add_event(Event(step=1))
    events.flush()
    whole = bytearray(events.path.read_bytes())
    assert [event.step for event in EventFileLoader(str(events.path)).Load()] == [0, 1]
    whole[-5] ^= 1  # the last before the checksum
    events.path.write_bytes(whole)
    assert [event.step for event in EventFileLoader(str(events.path)).Load()] == [0]

"""What is written late reads as what is written at once."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from project.buffered_loggers import BufferedCSV, BufferedTensorBoard
from project.loggers import MetricsCSV, TensorBoard

ROWS = [(step, {"train/loss": 1 / (step + 1), "lr": 0.1}) for step in range(20)]


class Net(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.example_input_array = nn.Linear(2, 3), torch.ones(1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layer(x)
        return out


def written(kind: type[TensorBoard], folder: Path) -> Path:
    logger = kind(str(folder), name="", version="", default_hp_metric=False, log_graph=True, purge_step=0)
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
        "scalars": {tag: [(e.step, repr(e.value)) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]},
        "graph": events.Graph().SerializeToString(),
        "hparams": {name: data.plugin_data.content for name, data in events.summary_metadata.items()},
        "histogram": events.Histograms("weights")[0].histogram_value,
        "image": events.Images("figure")[0].encoded_image_string,
        "files": sorted(path.name for path in folder.iterdir() if not path.name.startswith("events.")),
    }


def test_reads_like_tensorboards_own(tmp_path: Path) -> None:
    ours, theirs = (read(written(kind, tmp_path / kind.__name__)) for kind in (BufferedTensorBoard, TensorBoard))
    assert ours == theirs


def test_events_come_to_the_file_when_flushed_and_rows_from_a_killed_run_are_hidden(tmp_path: Path) -> None:
    for purge in (0, 5):
        logger = BufferedTensorBoard(str(tmp_path), name="", version="", default_hp_metric=False, purge_step=purge)
        for step, row in ROWS[purge : purge + 10]:
            logger.log_metrics(row, step)
        assert len(list(tmp_path.glob("events.*"))) == purge // 5
        logger.flush()
        logger.flush()
        assert len(list(tmp_path.glob("events.*"))) == purge // 5 + 1
    events = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0}).Reload()
    assert [event.step for event in events.Scalars("lr")] == list(range(15))


def test_a_table_reads_like_one_written_row_by_row(tmp_path: Path) -> None:
    tables = []
    for kind in (BufferedCSV, MetricsCSV):
        (tmp_path / kind.__name__).mkdir()
        for purge in (None, 15):  # a run, and the same one resumed
            logger = kind(tmp_path / kind.__name__, purge)
            assert logger.experiment == tmp_path / kind.__name__ / "metrics.csv"
            for step, row in ROWS[purge or 0 :]:
                logger.log_metrics({**row, "epoch": step // 4}, step)
                if step % 4 == 3:
                    logger.log_metrics({"val/loss": row["train/loss"] / 2, "epoch": step // 4}, step)
            logger.finalize("success")
        tables.append((tmp_path / kind.__name__ / "metrics.csv").read_text())
    assert tables[0] == tables[1]
    assert len(tables[0].splitlines()) == 26


def test_rows_come_to_the_table_when_flushed(tmp_path: Path) -> None:
    logger = BufferedCSV(tmp_path)
    for step, row in ROWS[:5]:
        logger.log_metrics(row, step)
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 2  # the header with the first row
    logger.flush()
    logger.flush()
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 6

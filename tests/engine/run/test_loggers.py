"""metrics.csv, as Python's own csv reader sees it; TensorBoard's events, as its own reader does."""

import csv
import errno
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.loggers import (
    CSVLogger,
    Logger,
    MLFlowLogger,
    TensorBoardLogger,
    WandbLogger,
)
from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from commands import seem_older
from engine.config.resolved import Config
from engine.errors import UserError
from engine.fence.tensorboard import events_of
from engine.run import build, loggers
from engine.run.loggers import MetricsCSV, Row, TensorBoard


def read(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metrics.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def reopened(folder: Path, purge_step: int | None = None) -> MetricsCSV:
    """The logger of a resumed run, after what Lightning asks of it before training."""
    logger = MetricsCSV(folder, purge_step)
    assert logger.experiment is not None
    return logger


def test_every_number_reads_back_exactly(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    numbers = [
        0.1,
        1 / 3,
        -2.5e-300,
        5e-324,
        1.7976931348623157e308,
        2.0**53,
        1e15,
        123_456_789.0,
        0.0,
        7,
        True,
        *rng.normal(size=100),
        *rng.integers(0, 2**63, 100).view(np.float64),
        torch.tensor(0.1).item(),
        torch.tensor(1 / 3),
        np.float32(0.7),
    ]
    logger = MetricsCSV(tmp_path)
    for step, number in enumerate(numbers):
        logger.log_metrics({"a/b": number}, step)
    rows = read(tmp_path)
    assert [int(row["step"]) for row in rows] == list(range(len(numbers)))
    np.testing.assert_array_equal(
        [float(row["a/b"]) for row in rows], [float(number) for number in numbers]
    )


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_what_is_no_number_reads_back_too(number: str, tmp_path: Path) -> None:
    MetricsCSV(tmp_path).log_metrics({"a": float(number)}, 0)
    assert str(float(read(tmp_path)[0]["a"])) == number


def test_the_file_is_plain_text_with_short_numbers(tmp_path: Path) -> None:
    logger = MetricsCSV(tmp_path)
    logger.log_metrics({"train/loss": 0.1, "epoch": 0}, 1)
    logger.log_metrics({"train/loss": 2.0, "epoch": 1}, 12_000)
    assert (tmp_path / "metrics.csv").read_bytes() == b"epoch,step,train/loss\n0,1,0.1\n1,12000,2\n"


def test_new_columns_keep_the_old_rows(tmp_path: Path) -> None:
    logger = MetricsCSV(tmp_path)
    logger.log_metrics({"train/loss": 2.5, "epoch": 0}, 0)
    logger.log_metrics({"val/loss": 1.5, "epoch": 0}, 0)
    logger.log_metrics({"train/loss": 0.5, "epoch": 1}, 1)
    logger.log_metrics({"test/acc": 0.25}, 2)
    assert [list(row.values()) for row in read(tmp_path)] == [
        ["0", "0", "2.5", "", ""],
        ["0", "0", "", "1.5", ""],
        ["1", "1", "0.5", "", ""],
        ["", "2", "", "", "0.25"],
    ]
    assert list(read(tmp_path)[0]) == ["epoch", "step", "train/loss", "val/loss", "test/acc"]


def test_a_row_is_on_disk_at_once(tmp_path: Path) -> None:
    logger = MetricsCSV(tmp_path)
    for step in range(3):
        logger.log_metrics({"a": step}, step)
        assert len(read(tmp_path)) == step + 1


@pytest.mark.parametrize(
    "name",
    ["val/acc/a, b", 'val/acc/"c"', "val/acc/für", "val/acc/a\u2028b"],
    ids=["comma", "quotes", "umlaut", "Unicode's line separator"],
)
def test_a_column_may_have_any_name(name: str, tmp_path: Path) -> None:
    logger = MetricsCSV(tmp_path)
    logger.log_metrics({name: 0.5}, 0)
    logger.log_metrics({name: 0.25, "other": 1}, 1)
    reopened(tmp_path).log_metrics({name: 0.125}, 2)
    assert [row[name] for row in read(tmp_path)] == ["0.5", "0.25", "0.125"]
    assert [row["other"] for row in read(tmp_path)] == ["", "1", ""]


@pytest.mark.parametrize(
    ("purge_step", "kept"), [(None, [0, 1, 2, 3]), (2, [0, 1]), (0, []), (9, [0, 1, 2, 3])]
)
def test_a_resumed_run_keeps_the_rows_before_its_step(
    purge_step: int | None, kept: list[int], tmp_path: Path
) -> None:
    logger = MetricsCSV(tmp_path)
    for step in range(4):
        logger.log_metrics({"a": step / 4}, step)
    reopened(tmp_path, purge_step).log_metrics({"a": -1, "b": 1}, 100)
    rows = read(tmp_path)
    assert [int(row["step"]) for row in rows] == [*kept, 100]
    assert [float(row["a"]) for row in rows] == [*(step / 4 for step in kept), -1]


def test_rows_together_make_the_table_that_they_make_one_by_one(tmp_path: Path) -> None:
    """With a column that comes late, and in a table that is there already."""
    rows = [
        Row(step, {"a": step / 3, "epoch": 0, **({"b": 1.0} if step == 2 else {})})
        for step in range(4)
    ]
    tables = []
    for together in (False, True):
        (folder := tmp_path / str(together)).mkdir()
        for part in (rows[:1], rows[1:], []):
            logger = reopened(folder)
            if together:
                logger.log_rows(part)
            for row in [] if together else part:
                logger.log_metrics(row.values, row.step)
        tables.append((folder / "metrics.csv").read_text())
    assert tables[0] == tables[1]
    assert tables[1].splitlines()[0] == "epoch,step,a,b"
    assert [row["step"] for row in read(tmp_path / "True")] == ["0", "1", "2", "3"]


@pytest.mark.parametrize("cut", [1, 2, 5, 8], ids=lambda cut: f"{cut} bytes short")
def test_a_row_that_a_kill_cut_short_is_dropped(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    logger = MetricsCSV(tmp_path)
    for step in range(3):
        logger.log_metrics({"a": 0.1234, "b": step}, step)
    torn = path.read_bytes()
    assert torn.endswith(b",2,0.1234,2\n")
    path.write_bytes(torn[:-cut])
    reopened(tmp_path).log_metrics({"a": 0.5, "b": 9}, 2)
    assert [(row["step"], row["a"], row["b"]) for row in read(tmp_path)] == [
        ("0", "0.1234", "0"),
        ("1", "0.1234", "1"),
        ("2", "0.5", "9"),
    ]


def test_a_column_that_somebody_has_added_meanwhile_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "metrics.csv"
    logger = MetricsCSV(tmp_path)
    logger.log_metrics({"a": 0.5}, 0)
    path.write_text("step,a,remark\n0,0.5,7\n")
    logger.log_metrics({"a": 0.25}, 1)
    assert path.read_text() == "epoch,step,a,remark\n,0,0.5,7\n,1,0.25,\n"
    logger.log_metrics({"a": 0.125, "b": 3}, 2)
    assert path.read_text().splitlines()[1:] == [",0,0.5,7,", ",1,0.25,,", ",2,0.125,,3"]
    (message,) = caplog.messages
    assert message.startswith(f"{path}: somebody else has changed it; it goes on with the 1 rows")


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a folder: (step, value) by tag."""
    shown = EventAccumulator(str(folder))
    shown.Reload()
    return {
        tag: [(event.step, event.value) for event in shown.Scalars(tag)]
        for tag in shown.Tags()["scalars"]
    }


@pytest.mark.parametrize(
    ("metric", "tag"),
    [
        ("train/loss", "loss/train"),
        ("val/acc", "acc/val"),
        ("test/acc", "test/acc"),
        ("val/acc/cat", "per class/val/acc/cat"),
        ("lr", "lr"),
        ("train_loss", "train_loss"),
        ("grad_norm/conv1", "grad_norm/conv1"),
    ],
)
def test_names_in_tensorboard(metric: str, tag: str) -> None:
    assert loggers.tag_of(metric) == tag


@pytest.mark.parametrize(
    "row",
    [
        {"train/loss": 0.1, "lr": torch.tensor(1e-3), "epoch": 2},
        {"loss": {"train": 0.5, "val": 0.7}, "lr": 1.0, "epoch": 2},
    ],
    ids=["numbers", "numbers in a mapping"],
)
def test_a_row_of_tensorboard_is_what_lightning_writes(row: dict[str, Any], tmp_path: Path) -> None:
    """But for the names, and for the epoch, which has no curve."""
    named = {loggers.tag_of(name): value for name, value in row.items() if name != "epoch"}
    for kind in (TensorBoard, TensorBoardLogger):
        logger = kind(tmp_path / kind.__name__, name="", version="")
        for step in (0, 7):
            logger.log_metrics(row if kind is TensorBoard else named, step)
        logger.finalize("success")
        logger.log_metrics({"accuracy": 0.75}, 9)  # after its file was closed
        logger.finalize("success")
    ours, theirs = (scalars(tmp_path / kind.__name__) for kind in (TensorBoard, TensorBoardLogger))
    assert ours == theirs
    assert ours["accuracy"] == [(9, 0.75)]
    assert ours["lr"] == [
        (0, pytest.approx(float(row["lr"]))),
        (7, pytest.approx(float(row["lr"]))),
    ]


class Net(LightningModule):
    """Has a graph."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.example_input_array = torch.ones(1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layer(x)
        return out


def test_a_run_has_one_graph_though_it_is_tested_killed_and_resumed(tmp_path: Path) -> None:
    """The second process begins with the first step once more, and hides what the first logged."""
    for purge_step in (0, 0, 7):
        seem_older(tmp_path)
        logger = TensorBoard(tmp_path, name="", version="", log_graph=True, purge_step=purge_step)
        for _ in range(2):
            logger.log_graph(Net())
        logger.close()
    shown = plugin_event_accumulator.EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in shown.Tensors("__run_graph__")] == [0]


def test_a_row_is_one_event(tmp_path: Path) -> None:
    logger = TensorBoard(tmp_path, name="", version="")
    logger.log_metrics({"a": 1.0, "b": 2.0, "c": 3.0}, 5)
    logger.finalize("success")
    (path,) = tmp_path.glob("events*")
    events = [event for event in EventFileLoader(str(path)).Load() if event.step == 5]
    assert [[value.tag for value in event.summary.value] for event in events] == [["a", "b", "c"]]


def test_without_tensorboard_whoever_writes_to_it_is_told_so(tmp_path: Path) -> None:
    writer = MetricsCSV(tmp_path).experiment
    assert not hasattr(writer, "add_image")  # whoever asks is answered
    says = r"^self\.logger\.experiment\.add_image: needs TensorBoard; choose logger=tensorboard\.$"
    with pytest.raises(UserError, match=says):
        writer.add_image("image", None)


class Own(Logger):
    """A logger that is no file of the run's."""

    name = version = "own"

    def __init__(self, purge_step: int | None = None) -> None:
        super().__init__()

    def log_metrics(self, *args: Any) -> None: ...

    def log_hyperparams(self, *args: Any, **options: Any) -> None: ...


@pytest.mark.parametrize(
    ("kind", "node", "expected"),
    [
        (MetricsCSV, {}, {"save_dir": "/run", "purge_step": 7}),
        (TensorBoard, {"version": ""}, {"save_dir": "/run", "purge_step": 7}),
        (TensorBoardLogger, {}, {"save_dir": "/run", "purge_step": 7, "version": 0}),
        (CSVLogger, {}, {"save_dir": "/run", "version": 0}),
        (CSVLogger, {"version": "mine"}, {"save_dir": "/run"}),
        (WandbLogger, {}, {"save_dir": "/run"}),
        (MLFlowLogger, {}, {"save_dir": "/run"}),
        (Own, {}, {"purge_step": 7}),
    ],
)
def test_a_logger_is_given_what_it_takes(
    kind: type[Logger], node: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert loggers.given(kind, node, Path("/run"), 7) == expected
    assert loggers.goes_on(kind) == (kind not in (WandbLogger, MLFlowLogger))


def test_events_of_a_resumed_run_come_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two files of one second, that of the lower process number would come first."""
    now = 1_700_000_000.5

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(loggers, "time", SimpleNamespace(time=lambda: now, sleep=sleep))
    loggers.wait_for_a_later_name(tmp_path)
    assert now == 1_700_000_000.5  # there are no events yet
    (tmp_path / f"events.out.tfevents.1700000000.{socket.gethostname()}.99999999.0").touch()
    loggers.wait_for_a_later_name(tmp_path)
    assert 1_700_000_001 <= now < 1_700_000_001.1
    (tmp_path / f"events.out.tfevents.1700000002.{socket.gethostname()}.0.0").touch()
    loggers.wait_for_a_later_name(tmp_path)
    assert 1_700_000_002 <= now < 1_700_000_002.1


def test_the_loggers_of_a_run_are_made_when_their_names_come_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[Path] = []
    monkeypatch.setattr(loggers, "wait_for_a_later_name", waited.append)
    assert build._loggers(Config({}), tmp_path, None) == []
    assert waited == [tmp_path]


def test_events_that_a_kill_has_cut_are_not_blamed_on_somebody_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cut = tmp_path / "events.out.tfevents.1700000000.host.1.0"
    cut.write_bytes(b"part of the first record")
    logger = TensorBoard(tmp_path, name="", version="")
    logger.log_metrics({"train/loss": 1.0}, step=0)
    own = Path(events_of(logger.experiment)._file_name)
    logger.close()
    assert caplog.messages == []
    own.write_bytes(cut.read_bytes())
    logger.close()
    assert caplog.messages == [f"{own}: its beginning is lost: somebody else has changed it"]


def test_a_table_that_was_removed_is_not_made_empty_by_whoever_finds_that_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table is written whole then; if there is no space for that, there is no file."""
    logger = MetricsCSV(tmp_path)
    logger.log_metrics({"train/loss": 1.0}, step=1)
    logger.path.unlink()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(loggers, "write_whole", full)
    with pytest.raises(OSError, match="No space"):
        logger.log_metrics({"train/loss": 0.5}, step=2)
    assert not logger.path.exists()

"""TensorBoard's events, as its own reader sees them, and as Lightning's logger writes them."""

import copy
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.figure import Figure
from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from torch import nn

from engine.errors import UserError
from engine.fence.lightning import writer_of
from engine.run.loggers.table import Row
from engine.run.loggers.tensorboard import (
    TensorBoard,
    close,
    go_on_from,
    places_of,
    tag_of,
    write_events,
)

ROWS = [(step, {"train/loss": 1 / (step + 1), "lr": 0.1}) for step in range(20)]


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
        ("val/acc/cat/dataloader_idx_1", "per class/val/acc/cat/dataloader_idx_1"),
        ("val/acc/dataloader_idx_1", "acc/dataloader_idx_1/val"),
        ("val/f1/macro", "f1/macro/val"),  # there is no val/f1
        ("lr", "lr"),
        ("train_loss", "train_loss"),
        ("grad_norm/conv1", "grad_norm/conv1"),
    ],
)
def test_names_in_tensorboard(metric: str, tag: str) -> None:
    assert tag_of(metric, ["val/acc", "val/acc/dataloader_idx_1"]) == tag


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
    named = {tag_of(name): value for name, value in row.items() if name != "epoch"}
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


@pytest.mark.parametrize("value", [0.5, {"own": 0.5}], ids=["numbers", "numbers in a mapping"])
def test_two_metrics_in_one_chart_are_told_once(
    value: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: the curve went to and fro between the two, and nothing said why."""
    logger = TensorBoard(tmp_path, name="", version="")
    for step in range(3):
        logger.log_metrics({"train/loss": value, "epoch": 0}, step)
        logger.log_metrics({"loss/train": value, "val/loss": value}, step)
    assert caplog.messages == [
        "TensorBoard shows loss/train and train/loss in one chart, loss/train: log them by other "
        "names; metrics.csv has them apart"
    ]


class Net(LightningModule):
    """Has a graph."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.example_input_array = torch.ones(1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layer(x)
        return out


def test_a_run_has_one_graph_though_it_is_tested_killed_and_resumed(tmp_path: Path) -> None:
    """The second process begins with the first step once more, and hides what the first logged."""
    for purge_step in (0, 0, 7):
        logger = TensorBoard(tmp_path, name="", version="", log_graph=True, purge_step=purge_step)
        for _ in range(2):
            logger.log_graph(Net())
        close(logger)
    shown = plugin_event_accumulator.EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in shown.Tensors("__run_graph__")] == [0]


def test_what_cannot_be_drawn_has_no_graph_and_a_line_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: a layer with a backward hook ended a run that wanted no compiled step."""
    caplog.set_level("INFO")
    net = Net()
    net.layer.register_full_backward_hook(lambda *_: None)
    logger = TensorBoard(tmp_path, name="", version="", log_graph=True)
    logger.log_graph(net)
    close(logger)
    says = "no graph in TensorBoard: Modules that have backward hooks assigned can't be compiled"
    assert says in caplog.text


class Random(Net):
    """Draws, as a variational autoencoder does: two traces of it differ."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x + torch.randn_like(x))


def test_a_graph_of_what_draws_is_drawn_without_a_warning(tmp_path: Path) -> None:
    logger = TensorBoard(tmp_path, name="", version="", log_graph=True)
    logger.log_graph(Random())
    close(logger)
    shown = plugin_event_accumulator.EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in shown.Tensors("__run_graph__")] == [0]


def test_a_row_is_one_event(tmp_path: Path) -> None:
    logger = TensorBoard(tmp_path, name="", version="")
    logger.log_metrics({"a": 1.0, "b": 2.0, "c": 3.0}, 5)
    logger.finalize("success")
    (path,) = tmp_path.glob("events*")
    events = [event for event in EventFileLoader(str(path)).Load() if event.step == 5]
    assert [[value.tag for value in event.summary.value] for event in events] == [["a", "b", "c"]]


def written(kind: type[TensorBoardLogger], folder: Path, holds: bool = False) -> Path:
    logger = kind(
        str(folder), name="", version="", default_hp_metric=False, log_graph=True, purge_step=0
    )
    vars(logger)["holds"] = holds
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


@pytest.mark.parametrize("holds", [False, True], ids=["at once", "late"])
def test_reads_like_lightnings(holds: bool, tmp_path: Path) -> None:
    """But for the names of metrics, and the list of columns that TensorBoard takes for all runs."""
    ours = read(written(TensorBoard, tmp_path / "ours", holds))
    theirs = read(written(TensorBoardLogger, tmp_path / "theirs"))
    theirs["scalars"] = {tag_of(name): points for name, points in theirs["scalars"].items()}
    theirs["files"].remove("hparams.yaml")
    del theirs["hparams"]["_hparams_/experiment"]
    assert ours["scalars"] == theirs["scalars"]
    assert ours == theirs


def test_an_event_is_in_the_file_at_once(tmp_path: Path) -> None:
    logger = TensorBoard(tmp_path, name="", version="")
    for step, row in ROWS:
        logger.log_metrics(row, step)
        assert scalars(tmp_path)["lr"][-1][0] == step


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda own: pickle.loads(pickle.dumps(own))])
def test_a_copy_writes_its_own_rows(copied: Any, tmp_path: Path) -> None:
    """As the processes of a spawning strategy get one."""
    logger = TensorBoard(tmp_path, name="", version="")
    logger.log_metrics({"a": 1.0}, 0)
    copied(logger).log_metrics({"a": 2.0}, 1)
    logger.log_metrics({"a": 3.0}, 2)
    close(logger)
    assert sorted(scalars(tmp_path)["a"]) == [(0, 1), (1, 2), (2, 3)]


def test_rows_that_a_run_holds_come_to_the_file_when_saved_and_those_of_a_killed_run_are_hidden(
    tmp_path: Path,
) -> None:
    for purge in (0, 5):
        logger = TensorBoard(tmp_path, default_hp_metric=False, purge_step=purge)
        logger.holds = True
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
        logger = TensorBoard(tmp_path / str(together), default_hp_metric=False)
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
    logger = TensorBoard(tmp_path, default_hp_metric=False, prefix="p")
    logger.log_rows([Row(step, row) for step, row in ROWS])
    logger.finalize("success")
    events = EventAccumulator(str(tmp_path)).Reload()
    assert sorted(events.Tags()["scalars"]) == ["p-loss/train", "p-lr"]
    assert [event.step for event in events.Scalars("p-lr")] == [step for step, _ in ROWS]


def test_numbers_in_a_mapping_are_in_their_files_at_once(tmp_path: Path) -> None:
    """Each in a folder of its own; SummaryWriter has a thread for each of them."""
    threads = threading.active_count()
    logger = TensorBoard(tmp_path, default_hp_metric=False)
    for step in range(5):
        logger.log_metrics({"loss": {"train": step / 2, "val": step}, "lr": 0.1}, step)
        for name in ("train", "val"):
            assert [point for point, _ in scalars(tmp_path / f"loss_{name}")["loss"]] == [
                *range(step + 1)
            ]
    assert threading.active_count() == threads


def test_numbers_in_folders_of_their_own_come_once_though_a_run_is_killed(tmp_path: Path) -> None:
    """Also what was there before the checkpoint, under the step that a resumed run goes on with."""
    killed = TensorBoard(tmp_path, default_hp_metric=False)
    for step in range(5):
        killed.experiment.add_scalars("both", {"a": step, "b": -step}, step)
    places = places_of(killed)
    for step in (4, 5, 6):  # nobody knows of these
        killed.experiment.add_scalars("both", {"a": step, "c": step}, step)
    resumed = TensorBoard(tmp_path, default_hp_metric=False, purge_step=4)
    write_events(resumed, tmp_path)
    go_on_from(resumed, places, 4)
    for step in (5, 6, 7):
        resumed.experiment.add_scalars("both", {"a": step, "b": -step, "c": step}, step)
    for name, sign in (("a", 1), ("b", -1)):
        points = scalars(tmp_path / f"both_{name}")["both"]
        assert points == [(step, sign * step) for step in range(8)]
    assert scalars(tmp_path / "both_c")["both"] == [(5, 5), (6, 6), (7, 7)]


def test_nobody_writes_where_a_checkpoint_of_somebody_leads(tmp_path: Path) -> None:
    places = []
    for name in ("run", "other"):
        (tmp_path / name).mkdir()
        board = TensorBoard(tmp_path / name, default_hp_metric=False)
        write_events(board, tmp_path / name)
        board.experiment.add_scalar("x", 1.0, 3)
        board.experiment.flush()
        places += places_of(board)
        board.experiment.close()
    own, (name, size) = places
    before = sorted((tmp_path / "other").iterdir())
    resumed = TensorBoard(tmp_path / "run", default_hp_metric=False, purge_step=2)
    write_events(resumed, tmp_path / "run")
    go_on_from(resumed, [own, (f"../other/{name}", size)], 2)
    resumed.experiment.flush()
    assert sorted((tmp_path / "other").iterdir()) == before


def test_of_a_logger_of_lightnings_no_file_is_read_too_early(tmp_path: Path) -> None:
    """It begins a file at each stage; TensorBoard reads them in the order of their names."""
    threads = threading.active_count()
    logger = TensorBoardLogger(tmp_path, name="", version="", purge_step=0)
    write_events(logger, tmp_path)
    for step in range(12):
        logger.log_metrics({"a": step / 2}, step)
        logger.finalize("success")
    shown = EventAccumulator(str(tmp_path), purge_orphaned_data=True).Reload()
    assert [event.step for event in shown.Scalars("a")] == [*range(12)]
    assert len(list(tmp_path.glob("events*"))) == 12
    assert threading.active_count() == threads


@pytest.mark.parametrize("kind", [TensorBoard, TensorBoardLogger])
def test_the_second_process_of_a_resumed_run_writes_nothing(
    kind: type[TensorBoardLogger], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would hide what the first one has logged."""
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = kind(tmp_path, name="", version="", purge_step=3)
    write_events(logger, tmp_path)
    logger.log_metrics({"a": 1.0}, 3)
    logger.save()
    logger.finalize("success")
    close(logger)
    assert not list(tmp_path.rglob("*"))


class Elsewhere(TensorBoardLogger):
    """Writes into a folder that nobody has made."""

    def __init__(self, save_dir: Path) -> None:
        super().__init__(save_dir / "new", name="", version="")


class Own(TensorBoardLogger):
    """Has a writer of its own."""

    @property
    def experiment(self) -> Any:
        return "mine"


def test_a_logger_of_a_class_of_your_own_writes_where_and_by_what_it_says(tmp_path: Path) -> None:
    write_events(logger := Elsewhere(tmp_path), tmp_path)
    logger.log_metrics({"a": 0.5}, 1)
    assert scalars(tmp_path / "new")["a"] == [(1, 0.5)]
    for other in (Own(tmp_path), TensorBoardLogger("memory://x", name="", version="")):
        write_events(other, tmp_path)
        assert writer_of(other) is None


def test_rows_of_several_threads_are_whole(tmp_path: Path) -> None:
    """Somebody's monitor logs beside the steps."""
    logger = TensorBoard(tmp_path, default_hp_metric=False)
    rows = 300

    def log(own: int) -> None:
        for step in range(rows):
            logger.log_metrics({f"of {own % 2}": own * rows + step}, own * rows + step)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(log, range(4)))
    finally:
        sys.setswitchinterval(before)
    close(logger)
    shown = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0}).Reload()
    points = [(e.step, e.value) for own in range(2) for e in shown.Scalars(f"of {own}")]
    assert sorted(points) == [(number, number) for number in range(4 * rows)]


def test_a_url_is_refused() -> None:
    with pytest.raises(UserError, match="save_dir=s3://b: only Lightning's TensorBoardLogger"):
        TensorBoard("s3://b")

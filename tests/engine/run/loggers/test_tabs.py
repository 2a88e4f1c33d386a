"""What TensorBoard shows of runs, as its own server answers: with its data server, and without."""

import html
import json
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from board import Server
from commands import run_train
from engine.callbacks.checkpoints import Checkpoints
from engine.config.resolved import Config
from engine.run import versions
from engine.run.loggers import tabs
from engine.run.loggers.table import MetricsCSV
from engine.run.loggers.tensorboard import TensorBoard
from engine.run.objective import outcome

# 10 steps of a small regressor, with validation and test
RUN = [
    "experiment=linear",
    "accelerator=cpu",
    "module._target_=ways.Small",
    "datamodule._target_=ways.Points",
    "datamodule.batch_size=5",
    "datamodule.steps_per_epoch=null",
    "trainer.max_epochs=1",
]
# The last rate diverges.
RATES = ["optimizer.lr=0.01,0.001,1e30", "trainer.gradient_clip_val=null,0.5"]
INITS = ["init=zero,he", "datamodule.batch_size=5,10"]


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sweeps over other keys, of 10 jobs together, and a run."""
    logs = tmp_path_factory.mktemp("logs")
    here = f"paths.log_dir={logs}"
    # TensorBoard would take its list of columns for all runs.
    own = [word.replace("ways.Small", "ways.LogsHyperparameters") for word in RUN]
    run_train("-m", *own, *RATES, "name=rates", here, draws=False)
    run_train("-m", *RUN, *INITS, "name=inits", here, draws=False)
    run_train(*RUN, "seed=7", here, draws=False)
    return logs


@pytest.fixture(scope="module", params=["true", "false"], ids=["data server", "no data server"])
def of_all(request: pytest.FixtureRequest, logs: Path) -> Server:
    server = Server(logs, request.param)
    server.wait_for(runs=11, jobs=10)
    return server


@pytest.fixture(scope="module", params=["true", "false"], ids=["data server", "no data server"])
def of_one(request: pytest.FixtureRequest, logs: Path) -> Server:
    server = Server(logs / "sweeps/rates", request.param)
    server.wait_for(runs=6, jobs=6)
    return server


def visible(infos: list[dict[str, Any]]) -> list[str]:
    """Returns the columns that the page shows at first: five, those that differ before others."""
    return [info["name"] for info in sorted(infos, key=lambda info: not info["differs"])[:5]]


def test_one_sweep_shows_what_it_sweeps_over_and_its_objective_last(of_one: Server) -> None:
    infos, metrics, rows = of_one.hparams()
    assert visible(infos) == ["optimizer.lr", "trainer.gradient_clip_val"]
    assert all(info["differs"] for info in infos)  # nothing else is there
    assert metrics == ["test/loss", "★ val/loss, best epoch"]
    assert len(rows) == 6
    given = {
        (row["hparams"]["optimizer.lr"], row["hparams"]["trainer.gradient_clip_val"])
        for row in rows
    }
    assert given == {(lr, clip) for lr in (0.01, 0.001, 1e30) for clip in ("null", 0.5)}
    for row in rows:
        values = {value["name"]["tag"]: value["value"] for value in row.get("metricValues", [])}
        # Parallel coordinates leave out a row that lacks a column.
        ended = row["hparams"]["optimizer.lr"] < 1
        assert list(values) == (metrics if ended else [])
        assert all(isinstance(value, float) for value in values.values())


def test_rows_have_the_numbers_of_the_summaries(of_one: Server, logs: Path) -> None:
    _, _, rows = of_one.hparams()
    for row in rows:
        summary = json.loads((logs / "sweeps" / row["name"] / "summary.json").read_text())
        values = {value["name"]["tag"]: value["value"] for value in row.get("metricValues", [])}
        assert values.get("★ val/loss, best epoch") == (
            summary["objective"] and pytest.approx(summary["objective"], rel=1e-6)
        )


def test_several_sweeps_show_all_jobs_and_all_keys_that_differ(of_all: Server) -> None:
    infos, metrics, rows = of_all.hparams()
    keys = {"optimizer.lr", "trainer.gradient_clip_val", "init", "datamodule.batch_size"}
    assert set(visible(infos)) == keys
    assert metrics == ["test/loss", "★ val/loss, best epoch"]
    assert len(rows) == 10
    assert {row["hparams"].get("init") for row in rows} == {None, "zero", "he"}


def test_the_first_screen(of_one: Server) -> None:
    tags = of_one.ask("plugin/scalars/tags")
    curves = {"loss/train", "loss/val", "test/loss", "lr", "hp/acc"}
    jobs = {run: set(own) for run, own in tags.items() if not run.endswith("/hparams")}
    assert len(jobs) == 6
    for run, own in jobs.items():
        assert own == curves if "lr=1e" not in run else own <= curves, run
        for tag in own if "lr=1e" not in run else ():
            points = of_one.ask("plugin/scalars/scalars", run=run, tag=tag)
            assert all(math.isfinite(value) for _, _, value in points)


def test_a_chart_has_training_and_validation(of_one: Server) -> None:
    (category,) = of_one.ask("plugin/custom_scalars/layout")["category"]
    charts = {chart["title"]: chart["multiline"]["tag"] for chart in category["chart"]}
    assert list(charts) == ["loss"]
    run = next(run for run in of_one.ask("runs") if "lr=0.01" in run and "hparams" not in run)
    for name, (pattern,) in charts.items():
        found = of_one.ask("plugin/custom_scalars/scalars", run=run, tag=pattern)
        assert set(found["tag_to_events"]) == {f"{name}/train", f"{name}/val"}


def test_texts(of_all: Server, logs: Path) -> None:
    runs = of_all.ask("plugin/text/tags")
    assert len(runs) == 11
    (run,) = (run for run in runs if run.startswith("runs/"))
    texts = {}
    for tag in runs[run]:
        (shown,) = of_all.ask("plugin/text/text", run=run, tag=tag)
        texts[tag.removesuffix("/text_summary")] = shown["text"]
    words = " ".join([*RUN, "seed=7"])
    assert f"python -m project.train {words}" in texts["command"]
    assert "steps_per_epoch: null" in texts["config"]
    summary = json.loads((logs / run / "summary.json").read_text())
    for number in (summary["objective"], *summary["metrics"].values()):
        assert f"<td>{number:.6g}</td>" in texts["result"]


def test_one_graph_a_run(of_all: Server) -> None:
    graphs = of_all.ask("plugin/graphs/info")
    assert len(graphs) == 11
    assert all(run["run_graph"] for run in graphs.values())


def end(folder: Path, metrics: dict[str, float], *callbacks: Callback) -> Path:
    """Ends a job of a sweep as a training does; returns its folder."""
    config = Config({"seed": 0}, [])
    run_dir = folder / f"job-{config.hash[:8]}"
    run_dir.mkdir()
    logger = TensorBoard(run_dir)
    MetricsCSV(run_dir).log_metrics(metrics, 3)
    ours = Checkpoints(1, "val/acc", "max")
    ours.best_score = 0.5
    trainer: Any = SimpleNamespace(
        is_global_zero=True,
        loggers=[logger],
        checkpoint_callbacks=[*callbacks, ours],
        checkpoint_callback=[*callbacks, ours][0],  # as Lightning chooses it
        global_step=3,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        world_size=1,
    )
    with mock.patch.object(versions, "root", return_value=folder):
        outcome(config, run_dir, trainer, {"status": "finished", "error": None})
    logger.experiment.flush()
    return run_dir


def test_another_callback_that_writes_checkpoints_does_not_choose_the_test(tmp_path: Path) -> None:
    """As it happened: the first one did, so that test/loss stood beside ★ val/acc."""
    metrics = {"test/loss": 0.75, "test/acc": 0.25}
    run_dir = end(tmp_path, metrics, ModelCheckpoint(monitor="val/loss"))
    row = EventAccumulator(str(run_dir / "hparams")).Reload()
    shown = {tag: row.Scalars(tag)[0].value for tag in row.Tags()["scalars"]}
    assert shown == {"test/acc": 0.25, "★ val/acc, best epoch": 0.5}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_metric_of_any_name_keeps_its_value_in_the_text(tmp_path: Path) -> None:
    """As it happened: a name with `|` had two cells, and the value none."""
    from tensorboard.plugin_util import markdown_to_safe_html  # it warns of its own libraries

    names = ["val/a|b", "*x* _y_ `z`", "<b>&lt;", "train/loss", "ü [1](2) \\", "#~!{}+>"]
    metrics = {name: number + 0.5 for number, name in enumerate(names)}
    (text,) = EventAccumulator(str(end(tmp_path, metrics))).Reload().Tensors("result/text_summary")
    shown = markdown_to_safe_html(text.tensor_proto.string_val[0])
    cells = [html.unescape(cell) for cell in re.findall(r"<td>(.*)</td>", shown)]
    assert cells[:2] == ["<strong>objective: val/acc, best epoch</strong>", "0.5"]
    said = dict(zip(cells[2::2], cells[3::2], strict=True))
    assert said == {name: f"{value:g}" for name, value in metrics.items()}


def test_values_are_numbers_or_words() -> None:
    values = {
        "optimizer": {"_target_": "torch.optim.SGD", "lr": 0.1},
        "scheduler": None,
        "datamodule": {"mean": [0.5, 0.25], "folds": None},
        "compile": True,
        "seed": 3,
    }
    words = [
        "optimizer=sgd_plain",
        "optimizer.lr=0.1",
        "scheduler=none",
        "datamodule.mean=[0.5,0.25]",
        "+datamodule.folds=null",
        "compile=true",
        "seed=3",
        "~callbacks.curve",
    ]
    assert tabs.values_of(Config(values), words) == {
        "optimizer": "sgd_plain",
        "optimizer.lr": 0.1,
        "scheduler": "none",
        "datamodule.mean": "[0.5,0.25]",
        "datamodule.folds": "null",
        "compile": True,
        "seed": 3,
        "callbacks.curve": "",
    }

"""Any LightningModule trains, or is refused before training by a line that says why."""

import copy
import csv
import json
import pickle
import re
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import odd_modules
from commands import (
    CONF,
    begin,
    composed,
    only_run,
    run_evaluate,
    run_train,
    train_in_process,
)
from engine.checks.fit import fit_to
from engine.evaluation import measure
from engine.run import build, folders
from identical import assert_bit_identical, scalars
from moments import as_killed
from project.modules.linear import LinearRegressor
from ways import Ordinary, Points

# What Lightning advises for other people's loaders.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*is smaller than the logging interval"),
]

# 10 steps an epoch, rows every 4 steps
RUN = [
    "experiment=linear",
    "accelerator=cpu",
    "datamodule._target_=ways.Ordinary",
    "datamodule.batch_size=5",
    "datamodule.steps_per_epoch=null",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=4",
]


def of(module: str) -> str:
    return f"module._target_=odd_modules.{module}"


def run(folder: Path, *words: str) -> tuple[Path, dict[str, Any]]:
    """Does a run; returns its folder and its summary."""
    run_train(*RUN, *words, f"paths.log_dir={folder}", draws=False)
    run_dir = only_run(folder)
    return run_dir, json.loads((run_dir / "summary.json").read_text())


def refused(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Does a run that is refused; returns what it says."""
    with pytest.raises(SystemExit) as stop:
        run_train(*RUN, *words, f"paths.log_dir={folder}", draws=False)
    assert stop.value.code == 2
    return capsys.readouterr().err


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# --- what a checkpoint cannot have ---


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(
            [of("Tested"), "+callbacks.mine._target_=odd_modules.WithState"],
            "WithState: callbacks.WithState.best.model (PosixPath)",
            id="a callback's state",
        ),
        pytest.param(
            [of("Tested"), "+callbacks.mine._target_=odd_modules.WithEntry"],
            "on_save_checkpoint of WithEntry: mine.network (Tested)",
            id="a callback's entry",
        ),
        pytest.param(
            [of("AddsEntry")], "on_save_checkpoint of AddsEntry: extra (ndarray)", id="a module's"
        ),
        pytest.param(
            [of("WarmsUp")], "Warmup: lr_schedulers.0.after (StepLR)", id="a scheduler's state"
        ),
        pytest.param(
            [of("Tested"), "datamodule._target_=odd_modules.OrdinaryWithState"],
            "OrdinaryWithState: OrdinaryWithState.order (range)",
            id="a data module's state",
        ),
    ],
)
def test_what_a_resume_would_lack_is_refused_before_training(
    words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = refused(tmp_path, capsys, *words).splitlines()
    lacks = "cannot be in a checkpoint, so a resumed run would lack it."
    assert first == f"error: {says} {lacks}"
    assert second.startswith("Save plain values: ")
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_of_such_jobs_leaves_none_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_train("-m", *RUN, of("AddsEntry"), "seed=0,1", f"paths.log_dir={tmp_path}")
    assert stop.value.code == 2
    says = "error: on_save_checkpoint of AddsEntry: extra (ndarray) cannot be in a checkpoint"
    assert capsys.readouterr().err.startswith(says)
    assert list(tmp_path.glob("**/config.yaml")) == []


def test_states_that_the_first_step_makes_are_refused_after_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    says = "error: KeepsObjects: optimizer_states.0.state.0.by (KeepsObjects) cannot be in"
    assert refused(tmp_path, capsys, of("StepsOddly")).startswith(says)
    summary = json.loads((only_run(tmp_path) / "summary.json").read_text())
    assert (summary["status"], summary["steps"]) == ("failed", 1)


def test_hyper_parameters_of_all_kinds(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    run_dir, _ = run(tmp_path, of("SavesAll"))
    said = "net (Linear), optimizer (partial), nested.net (Linear), layers.0 (Linear)"
    assert caplog.text.count(f"hyper-parameters that are no plain values: {said};") == 1
    path = run_dir / "checkpoints/last.ckpt"
    saved = torch.load(path, weights_only=True)["hyper_parameters"]
    assert saved == {
        "root": "/data",
        "rate": 0.5,
        "count": 3,
        "config": {"a": 1, "b": 1, "c": [1, 2]},
        "nested": {"width": 8},
        "words": ("a", None, True),
        "lr": 0.05,
    }
    module = odd_modules.Tested.load_from_checkpoint(path, weights_only=True, bias=True)
    assert torch.equal(module.net.weight, torch.load(path)["state_dict"]["net.weight"])


def test_loggers_of_lightnings_write_no_weights(tmp_path: Path) -> None:
    """They write hparams.yaml, from hyper-parameters that a module does not keep to itself."""
    loggers = [
        f"+logger.{name}._target_=lightning.pytorch.loggers.{name}"
        for name in ("CSVLogger", "TensorBoardLogger")
    ]
    threads = threading.active_count()
    run_dir, _ = run(tmp_path, of("SavesAll"), "+module.logger=true", *loggers)
    assert threading.active_count() == threads
    files = [path.name for path in (run_dir / "lightning_logs/version_0").glob("events*")]
    assert all(re.search(r"\.\d{9}$", name) for name in files), "not ours"
    shown = EventAccumulator(str(run_dir / "lightning_logs/version_0")).Reload()
    assert len(shown.Tensors("result/text_summary")) == 1
    written = (run_dir / "lightning_logs/version_0/hparams.yaml").read_text()
    assert "net: Linear(in_features=3, out_features=1, bias=True)\n" in written
    assert "rate: 0.5\n" in written
    assert "!!python" not in written


# --- other names, and none ---


def test_metrics_under_other_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    run_dir, summary = run(tmp_path, of("Tested"))
    # It has a validation, so that its training loss is no objective.
    assert (summary["objective"], summary["objective_of"]) == (None, None)
    assert (
        "objective: none; set callbacks.checkpoints.monitor to one of what was logged: train_loss"
        in caplog.text
    )
    says = (
        "callbacks.checkpoints.monitor=val/loss: not logged by the end of epoch 1, so that nothing "
        "chooses best.ckpt. Did you mean val_loss? Logged are: train_loss, val_loss"
    )
    assert caplog.text.count(says) == 1
    assert caplog.text.count("no best.ckpt, so the last weights take its place") == 1
    assert not (run_dir / "checkpoints/best.ckpt").exists()
    assert "epoch 2/2: train_loss " in caplog.text


def test_a_run_with_several_loaders_is_measured_on_all_of_them_once_more(tmp_path: Path) -> None:
    """As it happened: only the first one's metrics were told."""
    data = "datamodule._target_=odd_modules.TwoTests"
    run_dir, summary = run(tmp_path, of("TestedOnTwo"), data)
    names = ["test_loss/dataloader_idx_0", "test_loss/dataloader_idx_1"]
    run_evaluate(f"run={run_dir}", draws=False)
    again = json.loads((run_dir / "evaluation/test.json").read_text())["metrics"]
    assert again == {name: summary["metrics"][name] for name in names}


def test_each_loader_of_a_supervised_module_has_a_loss_of_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: that of the second one was the mean over both."""
    words = ["datamodule._target_=odd_modules.ThreeOfEach", "optimizer.lr=0.05"]
    own = "callbacks.checkpoints.monitor=val/loss/dataloader_idx_0"
    words += ["trainer.max_epochs=1", own]
    _, summary = run(tmp_path, of("Small"), *words)
    metrics = summary["metrics"]
    validated, tested = (
        [metrics[f"{split}/loss/dataloader_idx_{number}"] for number in range(3)]
        for split in ("val", "test")
    )
    assert tested == validated[::-1]
    assert len(set(validated)) == 3
    shown = {f"dataloader_idx_{number} {value:.4g}" for number, value in enumerate(validated)}
    (line,) = (text for text in caplog.messages if text.startswith("epoch 1/1: train loss "))
    assert {text for text in shown if text in line} == shown
    assert ", val/loss dataloader_idx_" in line


def test_a_module_may_make_its_loaders_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: there was no way to say so, and an empty data module was refused."""
    caplog.set_level("INFO")
    data = [word for word in RUN if word.startswith("datamodule.")]
    rest = [word for word in RUN[1:] if word not in data]
    words = ["module=linear", "callbacks=default", *rest]
    found = []
    for module, own in (
        ("MakesItsTest", ["datamodule=of_module"]),
        ("MakesItsLoaders", ["datamodule=of_module"]),
        ("Tested", ["datamodule=line", *data]),
    ):
        run_train(*words, *own, of(module), f"paths.log_dir={tmp_path / module}", draws=False)
        run_dir = only_run(tmp_path / module)
        found.append(json.loads((run_dir / "summary.json").read_text())["metrics"])
    assert found[0] == found[2]
    assert found[1] == {name: own for name, own in found[0].items() if name != "test_loss"}
    assert "not tested: MakesItsLoaders has no data for a test" in caplog.text
    run_evaluate(f"run={only_run(tmp_path / 'MakesItsTest')}", draws=False)
    again = only_run(tmp_path / "MakesItsTest") / "evaluation/test.json"
    assert json.loads(again.read_text())["metrics"] == {"test_loss": found[0]["test_loss"]}


def test_a_monitor_that_is_logged_now_and_then(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: the first epoch said that the last weights would be tested."""
    words = ["callbacks.checkpoints.monitor=score", "trainer.max_epochs=3"]
    run_dir, summary = run(tmp_path, of("ScoresNowAndThen"), *words)
    assert summary["objective"] == 1.0
    best = torch.load(run_dir / "checkpoints/best.ckpt", weights_only=True)
    assert best["global_step"] == 2 * 10
    assert "monitor=score: not logged by the end of epoch 1" in caplog.text
    assert "no best.ckpt" not in caplog.text


@pytest.mark.parametrize("metric", ["mean", "least", "both_epoch", "hook"])
@pytest.mark.parametrize(("mode", "steps", "best"), [("min", 20, 1.0), ("max", 10, 3.0)])
def test_a_metric_of_training_chooses_the_weights_of_its_own_epoch(
    metric: str,
    mode: str,
    steps: int,
    best: float,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As it happened: a validation found the value of the epoch before, and never the last one."""
    words = [f"callbacks.checkpoints.monitor={metric}", f"callbacks.checkpoints.mode={mode}"]
    run_dir, summary = run(tmp_path, of("ScoresItsTraining"), *words, "trainer.max_epochs=3")
    assert summary["objective"] == best
    assert summary["objective_of"]["taken"] == "best epoch"
    checkpoint = torch.load(run_dir / "checkpoints/best.ckpt", weights_only=True)
    assert checkpoint["global_step"] == steps
    assert "chooses best.ckpt" not in caplog.text


def test_the_last_epoch_of_a_training_may_be_the_best(tmp_path: Path) -> None:
    words = ["callbacks.checkpoints.monitor=mean", "trainer.max_epochs=2"]
    run_dir, summary = run(tmp_path, of("ScoresItsTraining"), *words)
    assert summary["objective"] == 1.0
    checkpoint = torch.load(run_dir / "checkpoints/best.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 20


def test_a_monitor_under_another_name(tmp_path: Path) -> None:
    run_dir, summary = run(tmp_path, of("Tested"), "callbacks.checkpoints.monitor=val_loss")
    values = [float(row["val_loss"]) for row in rows(run_dir / "metrics.csv") if row["val_loss"]]
    assert summary["objective"] == min(values)
    assert summary["objective_of"] == {"metric": "val_loss", "taken": "best epoch", "mode": "min"}
    best = torch.load(run_dir / "checkpoints/best.ckpt", weights_only=True)
    assert best["global_step"] == 10 * (1 + values.index(min(values)))


def test_a_training_metric_is_compared_where_there_is_no_validation(tmp_path: Path) -> None:
    words = ["callbacks.checkpoints.monitor=train_loss", "trainer.limit_val_batches=0"]
    run_dir, summary = run(tmp_path, of("LogsMeans"), *words)
    last = [row for row in rows(run_dir / "metrics.csv") if row["train_loss_epoch"]][-1]
    # Lightning gives a metric that is logged for steps and for epochs two names.
    assert summary["objective"] == float(last["train_loss_epoch"])


def test_without_a_validation_the_training_loss_is_compared(tmp_path: Path) -> None:
    run_dir, summary = run(tmp_path, of("Tested"), "trainer.limit_val_batches=0")
    last = [row for row in rows(run_dir / "metrics.csv") if row["train_loss"]][-3:]
    # Rows of 4 steps are 8, 12, 16 and 20 of 20, and an epoch has 10 steps.
    assert [row["step"] for row in last] == ["11", "15", "19"]
    losses = [float(row["train_loss"]) for row in last]
    expected = (2 * losses[0] + 4 * losses[1] + 4 * losses[2]) / 10
    assert summary["objective"] == pytest.approx(expected, rel=1e-12)
    assert summary["objective_of"] == {"metric": "train_loss", "taken": "last pass", "mode": "min"}


def test_a_run_whose_validation_is_nan_has_no_objective(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = ["callbacks.checkpoints.monitor=val_loss"]
    _, summary = run(tmp_path, of("ValidatesToNaN"), *words)
    assert (summary["status"], summary["objective"]) == ("finished", None)
    assert summary["metrics"]["train_loss"] > 0
    assert summary["objective_of"] == {"metric": "val_loss", "taken": "best epoch", "mode": "min"}
    assert "objective: none; val_loss is no number (NaN)" in caplog.text


def test_a_run_whose_best_value_is_infinite_has_no_objective(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: no line said so."""
    words = ["callbacks.checkpoints.monitor=hook", "callbacks.checkpoints.mode=max"]
    _, summary = run(tmp_path, of("ScoresInfinity"), *words)
    assert summary["objective"] is None
    assert "objective: none; hook is infinite" in caplog.text


def test_a_module_that_logs_nothing_has_no_objective(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, summary = run(tmp_path, of("LogsNothing"))
    assert (summary["status"], summary["objective"]) == ("finished", None)
    assert "objective: none; set callbacks.checkpoints.monitor to one of what was" in caplog.text


def test_two_loggers_of_a_class_have_two_folders(tmp_path: Path) -> None:
    """As it happened: both wrote one table, which ended the run after its first rows."""
    csv_logger = "lightning.pytorch.loggers.CSVLogger"
    words = [f"+logger.{name}._target_={csv_logger}" for name in ("a", "b", "named")]
    run_dir, _ = run(
        tmp_path, of("Plain"), *words, "+logger.b.prefix=b", "+logger.named.name=named"
    )
    tables = sorted(path.relative_to(run_dir) for path in run_dir.rglob("version_*/metrics.csv"))
    assert list(map(str, tables)) == [
        "lightning_logs/version_0/metrics.csv",
        "lightning_logs/version_1/metrics.csv",
        "named/version_0/metrics.csv",
    ]
    first, second = (
        list(csv.reader((run_dir / path).read_text().splitlines())) for path in tables[:2]
    )
    assert [f"b-{name}" for name in first[0] if name != "step"] == [
        name for name in second[0] if name != "step"
    ]
    assert len(first) == len(second) > 2


def test_a_run_without_our_table_says_what_it_lacks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, summary = run(tmp_path, of("Plain"), "logger.csv=null")
    assert caplog.text.count("no logger.csv: summary.json and reports have no metrics") == 1
    assert summary["metrics"] == {}


def test_a_module_without_a_test_step(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("INFO")
    run_dir, summary = run(tmp_path, of("Plain"), "callbacks.checkpoints.monitor=val_loss")
    assert summary["status"] == "finished"
    assert caplog.text.count("not tested: Plain has no test_step") == 1
    run_evaluate(f"run={run_dir}", "split=val")
    found = json.loads((run_dir / "evaluation/val.json").read_text())["metrics"]
    assert found == {"val_loss": summary["objective"]}
    capsys.readouterr()
    with pytest.raises(SystemExit):
        run_evaluate(f"run={run_dir}")
    says = "error: split=test: Plain on the data of Ordinary measures only: val.\n"
    assert capsys.readouterr().err == says


@pytest.mark.parametrize(
    ("module", "data", "words", "reason"),
    [
        ("Tested", "odd_modules.EmptyTest", [], "EmptyTest.test_dataloader gives no batch"),
        ("SilentTest", "ways.Ordinary", [], "SilentTest.test_step logs nothing"),
        (
            "Tested",
            "ways.Ordinary",
            ["trainer.limit_test_batches=0"],
            "trainer.limit_test_batches=0",
        ),
    ],
    ids=["empty", "silent", "no batch"],
)
def test_what_measures_nothing_says_why(
    module: str,
    data: str,
    words: list[str],
    reason: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As it happened: a key was blamed that nobody had set, or an empty result was written."""
    caplog.set_level("INFO")
    run_dir, _ = run(tmp_path, of(module), f"datamodule._target_={data}", *words)
    assert caplog.text.count(f"not tested: {reason}") == 1
    for more, split, why in (
        ([], "test", reason),
        (["split=val", "trainer.limit_val_batches=0"], "val", "trainer.limit_val_batches=0"),
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            run_evaluate(f"run={run_dir}", *words, *more, draws=False)
        assert stop.value.code == 2
        says = f"error: split={split}: nothing is measured: {why}.\n"
        assert capsys.readouterr().err.endswith(says)
        assert not (run_dir / f"evaluation/{split}.json").exists()


def test_what_lightning_refuses_in_an_evaluation_is_refused_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it happened: a traceback, where training says it in a line."""
    run_dir, _ = run(tmp_path, of("Tested"))
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run_evaluate(f"run={run_dir}", "trainer.limit_test_batches=0.01", draws=False)
    assert stop.value.code == 2
    assert "Lightning: " in capsys.readouterr().err


def test_a_module_with_a_test_step_whose_data_have_no_test(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    _, summary = run(tmp_path / "plain", of("Tested"), "datamodule._target_=odd_modules.Untested")
    assert caplog.text.count("not tested: Untested has no data for a test") == 1
    assert (summary["status"], "test_loss" in summary["metrics"]) == ("finished", False)
    caplog.clear()  # nobody expects a test, and no line speaks of one
    run(tmp_path / "neither", of("Plain"), "datamodule._target_=odd_modules.Untested")
    assert caplog.text.count("no best.ckpt, so the last weights take its place") == 1
    assert "tested" not in caplog.text.replace("Untested", "")
    caplog.clear()  # every module of ours has a test_step, and not all data have a test
    run_train("experiment=linear", "trainer.max_steps=1", f"paths.log_dir={tmp_path}", draws=False)
    assert "not tested" not in caplog.text


@pytest.mark.filterwarnings("ignore:.*Lazy modules are a new feature")
def test_layers_that_the_first_batch_makes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    words = [*RUN, of("Lazy"), "callbacks.checkpoints.every_n_steps=3"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with as_killed("on_train_batch_end:14", whole, killed):
        begin(composed(words), whole)
    assert "model: Lazy, 0 parameters and 2 tensors that the first batch makes, on" in caplog.text
    run_train(f"resume={killed}", draws=False)
    assert_bit_identical(killed, whole)


def test_a_folder_of_a_loggers_own_is_not_used_and_a_line_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = f"{{_target_: lightning.pytorch.loggers.CSVLogger, save_dir: {tmp_path / 'own'}}}"
    run_dir, _ = run(tmp_path, of("Tested"), f"+logger.mine={own}")
    assert not (tmp_path / "own").exists()
    assert (run_dir / "lightning_logs/version_0/metrics.csv").exists()
    says = "not used, as a logger writes into the run's folder"
    assert caplog.text.count(f"logger.mine.save_dir={tmp_path / 'own'}: {says}") == 1


def test_names_that_mean_something_in_our_classes_mean_nothing_in_others(tmp_path: Path) -> None:
    data = "datamodule._target_=odd_modules.OrdinaryWithNamesOfOurs"
    run_dir, summary = run(tmp_path, of("NamesOfOurs"), data)
    assert summary["status"] == "finished"
    assert measure(run_dir, folders.load_config(run_dir), "test", [], CONF) == {
        "test_loss": summary["metrics"]["test_loss"]
    }


def test_a_network_that_was_compiled_in_training_is_evaluated(tmp_path: Path) -> None:
    run_dir, summary = run(tmp_path, of("Compiles"), "trainer.max_epochs=1")
    saved = torch.load(run_dir / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert list(saved) == ["net._orig_mod.weight", "net._orig_mod.bias"]
    assert measure(run_dir, folders.load_config(run_dir), "test", [], CONF) == {
        "test_loss": summary["metrics"]["test_loss"]
    }


def test_the_ways_to_measure_by_module_and_data() -> None:
    ours, theirs = Points(seed=0, batch_size=5), Ordinary(batch_size=5)
    assert build.ways_to_measure(odd_modules.Plain(), theirs) == {"val": "validate"}
    assert build.ways_to_measure(odd_modules.Plain(), ours) == {"val": "validate"}
    both = {"val": "validate", "test": "test"}
    assert build.ways_to_measure(odd_modules.Tested(), theirs) == both
    of_ours = dict.fromkeys(("val", "train", "test"), "test")
    # As it happened: its test_step measured the validation split, where a run had measured other
    # numbers.
    assert build.ways_to_measure(odd_modules.Tested(), ours) == {**of_ours, "val": "validate"}
    assert build.ways_to_measure(LinearRegressor(), ours) == of_ours


# --- divergence ---


@pytest.mark.parametrize(
    ("module", "says", "steps"),
    [
        ("Tested", "train_loss is inf at step 3: diverged", 4),
        ("LogsNothing", "the loss is inf at step 3: diverged", 4),
        ("ByHand", "a weight is nan at step 9: diverged", 10),  # seen at the epoch's end
    ],
)
def test_divergence_is_found_whatever_a_module_logs(
    module: str, says: str, steps: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, summary = run(tmp_path, of(module), "+module.lr=1e18")
    assert (summary["status"], summary["steps"]) == ("diverged", steps)
    assert says in caplog.text
    assert says == f"{summary['error']}: diverged"


# --- what a module does by itself ---


def test_an_example_of_its_own_is_left_alone(tmp_path: Path) -> None:
    run_dir, summary = run(tmp_path, of("OwnExample"), "datamodule._target_=ways.Points")
    assert summary["status"] == "finished"
    module = odd_modules.OwnExample()
    fit_to(module, Points(seed=0, batch_size=5))
    assert torch.equal(module.example_input_array, torch.ones(2, 3))
    assert EventAccumulator(str(run_dir)).Reload().Tags()["graph"]


def test_its_logger_is_tensorboards_whatever_else_there_is(tmp_path: Path) -> None:
    run_dir, summary = run(tmp_path, of("DrawsItself"))
    assert summary["status"] == "finished"
    events = EventAccumulator(str(run_dir), size_guidance={"histograms": 0}).Reload()
    assert [one.step for one in events.Histograms("weights")] == [10, 20, 20]
    measure(run_dir, folders.load_config(run_dir), "test", [], CONF)  # where it goes nowhere


def test_without_tensorboard_it_is_told_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    says = "self.logger.experiment.add_histogram: needs TensorBoard; choose logger=tensorboard."
    assert refused(tmp_path, capsys, of("DrawsItself"), "logger=csv") == f"error: {says}\n"


def test_a_metric_of_ours_that_is_no_scalar_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [of("WithMatrix"), "datamodule._target_=ways.Points"]
    first, second = refused(tmp_path, capsys, *words).splitlines()
    says = "its metric matrix gives 4 numbers, and a row of metrics takes one number."
    assert first == f"error: WithMatrix: {says}"
    assert (
        second == "Leave it out of `metrics`; a callback can draw it, a module of yours can log it."
    )
    assert list(tmp_path.iterdir()) == []


def test_one_that_a_module_logs_fails_as_lightning_says(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(SystemExit) as stop:
        run(tmp_path, of("LogsMatrix"))
    assert stop.value.code == 1
    assert "does not contain a single element" in caplog.text


@pytest.mark.parametrize("word", ["val/acc", "val/lss"])
def test_a_monitor_that_no_validation_of_ours_has_is_refused(
    word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = ["module._target_=ways.Small", "datamodule._target_=ways.Points"]
    says = refused(tmp_path, capsys, *ours, f"callbacks.checkpoints.monitor={word}")
    assert says == (
        f"error: callbacks.checkpoints.monitor={word}: Small logs no such metric."
        f"{' Did you mean val/loss?' if word == 'val/lss' else ''} It logs: train/loss, val/loss.\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["callbacks=[default,early_stopping]"], "callbacks.early_stopping.monitor=val/loss"),
        (
            ["+callbacks.mine={_target_: lightning.pytorch.callbacks.ModelCheckpoint, monitor: v}"],
            "callbacks.mine.monitor=v",
        ),
        ([of("Follows")], "ReduceLROnPlateau: monitor=val/loss"),
    ],
    ids=["early stopping", "a checkpoint", "a rate"],
)
def test_a_metric_that_a_users_module_does_not_log_is_named_when_it_is_followed(
    words: list[str], key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Early stopping's own error is no misconfiguration for Lightning: a traceback, exit code 1."""
    module = [] if words[0].startswith("module") else [of("Tested")]
    says = refused(tmp_path, capsys, *module, *words)
    name = "Tested" if module else "Follows"
    near = "" if key.endswith("=v") else " Did you mean val_loss?"
    assert says == (
        f"error: {key}: {name} logs no such metric.{near} It logs: train_loss, val_loss.\n"
    )
    summary = json.loads((only_run(tmp_path) / "summary.json").read_text())
    assert summary["status"] == "failed"
    assert summary["error"].startswith(key)


def test_what_lightning_calls_a_misconfiguration_is_a_mistake_of_the_users(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "No `training_step()` method" in refused(tmp_path, capsys, of("TrainsNot"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:`torch.jit")  # deprecated, and still in use
def test_a_trained_module_is_scripted_traced_exported_copied_and_pickled(tmp_path: Path) -> None:
    run_dir, _ = run(tmp_path, "module._target_=ways.Small", "datamodule._target_=ways.Points")
    trained: list[Any] = []
    build_module = build.module

    def noted(*args: Any) -> Any:
        trained.append(build_module(*args))
        return trained[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "module", noted)
        measure(run_dir, folders.load_config(run_dir), "test", [], CONF)
    module, x = trained[0].eval(), torch.rand(5, 3)
    expected = module(x)
    made = {
        "scripted": torch.jit.script(module.network),
        "traced": torch.jit.trace(module.network, x),
        "exported": torch.export.export(module.network, (x,)).module(),
        "copied": copy.deepcopy(module),
        "pickled": pickle.loads(pickle.dumps(module)),
    }
    for how, other in made.items():
        assert torch.equal(other(x), expected), how


# --- loggers beside ours ---

BESIDE = [
    "+logger.mine._target_=lightning.pytorch.loggers.CSVLogger",
    "+logger.board._target_=lightning.pytorch.loggers.TensorBoardLogger",
    "+logger.other._target_=odd_modules.ForeignLogger",
]


@pytest.mark.slow
@pytest.mark.parametrize("data", ["Ordinary", "Points"])
def test_loggers_of_lightnings_go_on_where_a_killed_run_stopped(data: str, tmp_path: Path) -> None:
    kind = of("Tested") if data == "Ordinary" else "module._target_=ways.Small"
    words = [kind, f"datamodule._target_=ways.{data}", *BESIDE, "trainer.max_epochs=3"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with as_killed("on_train_batch_end:18", whole, killed):
        begin(composed([*RUN, *words]), whole)
    command = [f"resume={killed}"]
    assert train_in_process(command, kill_at="on_validation_batch_end:30") == -signal.SIGKILL
    run_train(*command, draws=False)
    logs = "lightning_logs/version_0"
    assert [path.name for path in (killed / "lightning_logs").iterdir()] == ["version_0"]
    assert rows(killed / logs / "metrics.csv") == rows(whole / logs / "metrics.csv")
    assert len(rows(whole / logs / "metrics.csv")) > 6
    assert scalars(killed / logs) == scalars(whole / logs) != {}
    assert (killed / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    if data == "Points":
        assert_bit_identical(killed, whole)
    says = "ForeignLogger has no purge_step: it may show steps twice, or begin anew"
    assert (killed / "train.log").read_text().count(says) == 2

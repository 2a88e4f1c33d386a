"""The training command: how a run ends, what is refused, and where it lies."""

import dataclasses
import importlib.util
import json
import math
import re
import signal
import sys
import threading
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from commands import only_run, run_train, train_in_process
from engine.config.resolved import Config
from engine.messages import short
from engine.run import build, folders
from engine.run.checkpoint.file import WholeFileIO
from project.train import train
from resuming import RUN
from ways import FailsAtOnce
from whole_runs import LINEAR, SHORT, column, composed, done, files, run, summary_of

# --- how a run ends ---


def test_a_diverged_run_is_done(tmp_path: Path) -> None:
    run_dir = run(tmp_path, *LINEAR, "optimizer.lr=100")
    summary = summary_of(run_dir)
    assert (summary["status"], summary["objective"]) == ("diverged", None)
    assert summary["error"] == f"train/loss is inf at step {summary['steps'] - 1}"
    assert summary["metrics"] == {"train/loss": None}
    assert summary["steps"] < 20
    losses = column(run_dir, "train/loss")
    assert [math.isfinite(loss) for loss in losses] == [True] * (len(losses) - 1) + [
        False
    ]  # stopped at once

    before = files(run_dir)
    assert math.isnan(train.do(folders.load_config(run_dir), run_dir))  # a sweep's objective
    assert files(run_dir) == before


def test_the_objective_is_returned(tmp_path: Path) -> None:
    chosen = composed(*LINEAR, "trainer.max_steps=2")
    assert done(chosen, tmp_path) == column(tmp_path, "train/loss")[-1]


def test_a_run_has_one_file_of_events_and_no_thread_that_writes_it(tmp_path: Path) -> None:
    before = threading.active_count()
    for number in range(3):
        run_dir = run(
            tmp_path / str(number),
            *SHORT,
            "experiment=lenet",
            "datamodule=digits",
            "logger=tensorboard",
            "callbacks.classification=null",
        )
        assert len(list(run_dir.glob("events*"))) == 1
        tags = EventAccumulator(str(run_dir)).Reload().Tags()["scalars"]
        assert {"loss/train", "test/loss"} <= set(tags)
    assert threading.active_count() <= before + 1  # tqdm's


def test_an_exception_in_a_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SystemExit) as stop:
        run(
            tmp_path,
            "experiment=two_layer",
            *SHORT,
            "+callbacks.fails._target_=ways.FailsOnColumns",
        )
    assert stop.value.code == 1
    run_dir = only_run(tmp_path)
    summary = summary_of(run_dir)
    assert (summary["status"], summary["objective"], list(summary["metrics"])) == (
        "failed",
        None,
        ["train/loss"],
    )
    assert summary["error"] == "RuntimeError: 1000 columns"
    text = (run_dir / "train.log").read_text()
    assert (
        f"ERROR engine.run.run: run failed: {run_dir}\nTraceback (most recent call last):\n" in text
    )
    assert text.rstrip().endswith(summary["error"].rstrip())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stopped_by", "code"),
    [
        pytest.param(signal.SIGTERM, 143, id="SIGTERM"),
        pytest.param(signal.SIGINT, 130, id="Ctrl-C"),
    ],
)
def test_a_stopped_run_can_be_resumed(stopped_by: int, code: int, tmp_path: Path) -> None:
    words = [*LINEAR, f"paths.log_dir={tmp_path}", "callbacks.checkpoints.every_n_steps=5"]
    assert train_in_process(words, kill_at="on_train_batch_end:7", kill_with=stopped_by) == code
    run_dir = only_run(tmp_path)
    summary = summary_of(run_dir)
    assert (summary["status"], summary["steps"], summary["error"]) == ("interrupted", 7, None)
    (run_dir / "summary.json").write_text(json.dumps({**summary, "seconds": 1000.0}))
    run_train(f"resume={run_dir}")
    summary = summary_of(run_dir)
    assert (summary["status"], summary["steps"]) == ("finished", 20)
    assert 1000 < summary["seconds"] < 1100  # of both processes
    assert summary["metrics"]["train/loss"] == pytest.approx(1.6635e-4, abs=1e-8)


# --- mistakes that only the data, the model or the machine can show ---


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(
            ["module.num_classes=7"],
            "module.num_classes=7: DigitsDataModule has 10 classes; set module.num_classes=10.",
            id="classes",
        ),
        pytest.param(
            ["datamodule.val_fraction=0.001"],
            "datamodule.val_fraction=0.001 divides 1,437 samples into 1,435 and 2: "
            "each part needs 10 or more, for 10 classes.",
            id="validation split",
        ),
        pytest.param(
            ["datamodule.test_fraction=0.001"],
            "datamodule.test_fraction=0.001 divides 1,797 samples into 1,795 and 2: "
            "each part needs 10 or more, for 10 classes.",
            id="test split",
        ),
        pytest.param(
            ["accelerator=gpu"],
            (
                f"accelerator=gpu: PyTorch {torch.__version__} sees no GPU; use "
                "accelerator=cpu or accelerator=auto."
            ),
            id="gpu",
        ),
        pytest.param(
            ["+optimizer.nesterovv=true"],
            "optimizer.nesterovv: SGD takes no such argument. Did you mean nesterov? "
            "It takes params, lr, momentum, "
            "dampening, weight_decay, nesterov, maximize, foreach, differentiable, fused.",
            id="the optimiser's argument",
        ),
        pytest.param(
            ["+optimizer.nesterov=true", "optimizer.momentum=0"],
            "optimizer: Nesterov momentum requires a momentum and zero dampening",
            id="the optimiser's arguments together",
        ),
        pytest.param(
            ["+trainer.max_tim=3"],
            "trainer.max_tim: BlockTrainer takes no such argument. Did you mean max_time?",
            id="the Trainer's argument",
        ),
        pytest.param(
            ["trainer.gradient_clip_val=0.5", "trainer.precision=bf16-mixed"],
            "trainer.gradient_clip_val=0.5 with trainer.precision=bf16-mixed needs "
            "optimizer.fused=false: "
            "a fused optimiser unscales the gradients itself, after they would be clipped.",
            id="clipping what is scaled",
        ),
        pytest.param(
            ["module=two_layer"],
            "TwoLayerRegressor does not take the samples of DigitsDataModule, (3, 32, 32): "
            "addmm: mat1 and mat2 shapes cannot be multiplied (192x32 and 1000x100)",
            id="a network for other data",
        ),
        pytest.param(
            ["module.optimizer=null"],
            "module.optimizer=null: must be callable, by the signature of LeNet5.",
            id="no optimiser",
        ),
        pytest.param(
            ["+optimizer.foreach=true"],
            "optimizer: `fused` and `foreach` cannot be `True` together.",
            id="options of the optimiser that exclude each other",
        ),
        pytest.param(
            ["logger.tensorboard=${seed}"],
            "logger.tensorboard=0: each object of logger has a name; in conf/logger/NAME.yaml, "
            "write `NAME:` and, below it, `_target_:` and its arguments.",
            id="a number in place of a logger",
        ),
        pytest.param(
            ["experiment=tabular", "callbacks=default"],
            "callbacks.classification={{'grid_images': 0}}: sets an object that the choice of "
            'callbacks leaves out.\nChoose it, too: "callbacks=[classification,…]", or leave it '
            "out: callbacks.classification=null",
            id="an experiment's options of a callback that is not chosen",
        ),
        pytest.param(
            ["experiment=curve_fit", "datamodule.samples=1000000000000"],
            "datamodule.samples=1000000000000: must be less than or equal to 10000000, by the "
            "signature of ParabolaDataModule.",
            id="samples for terabytes",
        ),
        pytest.param(
            ["module=deep_mlp", "datamodule=random_regression", "module.depth=1000000000000"],
            "module.depth=1000000000000: must be less than or equal to 1000, by the signature of "
            "DeepMLP.",
            id="layers for years",
        ),
        pytest.param(
            ["datamodule.num_workers=1000000000000"],
            "datamodule.num_workers=1000000000000: must be less than or equal to 1024, by the "
            "signature of DigitsDataModule.",
            id="processes for ever",
        ),
        pytest.param(
            ["+trainer.num_nodes=0"],
            "trainer: `num_nodes` must be a positive integer, but got 0.",
            id="what Lightning refuses",
        ),
        pytest.param(
            ["accelerator=cpu", "trainer.devices=2", "trainer.strategy=ddp_fork"],
            "trainer.strategy=ddp_fork: trains in processes that end before the run records "
            "anything. Use trainer.strategy=ddp (of an object: start_method=popen).",
            id="processes that are copies",
        ),
        pytest.param(
            ["+trainer.logger=false"],
            "trainer.logger=false: the run gives it; choose loggers with logger=",
            id="loggers elsewhere",
        ),
        pytest.param(
            ["+trainer.callbacks=[]"],
            "trainer.callbacks=[]: the run gives it; choose callbacks with callbacks=",
            id="callbacks elsewhere",
        ),
        pytest.param(
            ["+trainer.enable_checkpointing=false"],
            "trainer.enable_checkpointing=false: the run gives it; for no checkpoints, write "
            "callbacks.checkpoints=null",
            id="no checkpoints",
        ),
        pytest.param(
            ["+trainer.enable_progress_bar=false"],
            "trainer.enable_progress_bar=false: the run gives it; for no bar, write "
            "callbacks.progress_bar=null",
            id="no bar",
        ),
        pytest.param(
            ["+trainer.default_root_dir=here"],
            "trainer.default_root_dir=here: the run gives it; runs have their folders below "
            "paths.log_dir",
            id="a folder elsewhere",
        ),
        pytest.param(
            ["+callbacks.none._target_=ways.FailsAtOnce"],
            "before the first step: no such thing\nRaised in {ways}, line {line}; "
            "HYDRA_FULL_ERROR=1 shows the traceback.",
            id="a callback that fails at once",
        ),
        pytest.param(
            ["optimizer.lr=${nosuch}"],
            "optimizer.lr: refers to nosuch, which these choices do not have.",
            id="interpolation",
        ),
    ],
)
def test_refused(
    words: list[str],
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    failing = FailsAtOnce.on_train_start.__code__
    place = {"ways": short(Path(failing.co_filename)), "line": failing.co_firstlineno + 1}
    with pytest.raises(SystemExit) as stop:
        run_train(*words, f"paths.log_dir={tmp_path / 'logs'}")
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"error: {says.format(**place)}\n"
    assert list(tmp_path.iterdir()) == []


def test_what_lightning_tells_on_request_is_shown_and_what_it_tells_always_is_not(
    tmp_path: Path,
) -> None:
    """As it happened: a summary of the model that was asked for, and batch sizes, were lost."""
    finder = "+callbacks.finder={_target_: lightning.pytorch.callbacks.BatchSizeFinder, "
    run_train(
        *["experiment=lenet", "datamodule=digits", "datamodule.steps_per_epoch=20", *SHORT],
        "+trainer.enable_model_summary=true",
        *[f"{finder} max_trials: 2}}", f"paths.log_dir={tmp_path}"],
    )
    log = (only_run(tmp_path) / "train.log").read_text()
    assert "| Name          | Type             | Params | Mode" in log
    assert "Finished batch size finder, will continue with full run using batch size 4\n" in log
    assert not re.search("available|Tip|stopped|Restor|Loaded|configured|weights_only", log)
    assert json.loads((only_run(tmp_path) / "summary.json").read_text())["steps"] == 3


def test_plugins_of_a_users_go_with_the_runs_own(tmp_path: Path) -> None:
    """As it happened: they were left out in silence."""
    slurm = "lightning.pytorch.plugins.environments.SLURMEnvironment"
    node = f"{{_target_: {slurm}, auto_requeue: false}}"
    for given in (node, f"[{node}]"):
        made = build.trainer(Config(composed(*LINEAR, f"+trainer.plugins={given}")), tmp_path)
        own: Any = made._accelerator_connector.cluster_environment  # its only user is a test
        assert type(own).__name__ == "SLURMEnvironment"
        assert own.auto_requeue is False
        assert isinstance(made.strategy.checkpoint_io, WholeFileIO)


def test_what_does_not_fit_in_memory_is_refused_by_the_node_that_asks_for_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log_dir = f"paths.log_dir={tmp_path / 'logs'}"
    width = "module.hidden=1000000000000"
    sweep = ["-m", "seed=1,2"]
    for words in ([width], [*sweep, width]):
        with pytest.raises(SystemExit) as stop:
            run_train(*words, "experiment=curve_fit", log_dir)
        assert stop.value.code == 2
        first, second, third = capsys.readouterr().err.splitlines()
        assert re.match(r"error: module: .*(memory|alloc)", first)
        assert re.match(r"Raised in .*modules/curve_mlp\.py, line \d+; HYDRA_FULL_ERROR", second)
        assert third == f"The command says: {width}"
        assert list(tmp_path.iterdir()) == []  # of the sweep, neither multirun.yaml nor locks


def test_a_choice_that_no_part_of_the_run_reads_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it happened: four optimisers gave four equal runs under four names."""
    words = [*LINEAR, "~module.optimizer", f"paths.log_dir={tmp_path}"]
    for command in ([*words, "optimizer=adam"], ["-m", *words, "optimizer=sgd,adam"]):
        with pytest.raises(SystemExit) as stop:
            run_train(*command)
        assert stop.value.code == 2
        choice = "optimizer=sgd" if "-m" in command else "optimizer=adam"
        answer = capsys.readouterr().err
        assert answer.startswith(f"error: {choice}: no part of this run refers to optimizer, so")
        assert len(answer.splitlines()) == 2
    assert list(tmp_path.iterdir()) == []
    left_out = run(tmp_path, *words[:-1])
    assert "optimizer" not in OmegaConf.load(left_out / folders.CONFIG)


def test_a_choice_that_the_module_never_uses_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    of_ways = ["module._target_=ways.IgnoresItsOptimizer", "datamodule._target_=ways.Points"]
    words = [*LINEAR, *of_ways, "trainer.max_steps=3", f"paths.log_dir={tmp_path}"]
    for word in ("optimizer=adam", "optimizer.lr=0.3"):
        with pytest.raises(SystemExit) as stop:
            run_train(*words, word, draws=False)
        assert stop.value.code == 2
        assert capsys.readouterr().err.splitlines() == [
            f"error: {word}: IgnoresItsOptimizer takes optimizer and never calls it, so this would "
            "change nothing.",
            "Call self.optimizer(self.parameters()) in configure_optimizers, or leave it out.",
        ]
    assert list(tmp_path.iterdir()) == []
    run_train(*words, "init=he", draws=False)
    assert "IgnoresItsOptimizer takes optimizer and never calls it" in caplog.text
    assert "takes init" not in caplog.text


def test_resume_of_what_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run_train(f"resume={tmp_path}")
    assert stop.value.code == 2
    assert (
        capsys.readouterr().err
        == f"error: {tmp_path}: not a run's folder (it has no .hydra/config.yaml).\n"
    )
    assert files(tmp_path) == {}


def test_resume_takes_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run_train(f"resume={tmp_path}", "optimizer.lr=1")
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: optimizer.lr=1: resume= goes on with the run's own config. Beside insist=true it "
        "takes trainer.max_epochs=N and trainer.max_steps=N, to train longer.",
        f"To begin from its weights with another config: init_from={tmp_path}",
    ]


# --- where ---


def test_the_folder_that_a_command_is_started_in_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "root"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with mock.patch.object(sys, "argv", ["train", *LINEAR, "trainer.max_steps=1"]):
        dataclasses.replace(train, root=root)()
    assert only_run(root).parent == root / "logs" / "runs" / "linear"
    assert list(elsewhere.iterdir()) == []


def test_two_runs_of_one_second_have_two_folders(tmp_path: Path) -> None:
    chosen = Config.resolve(composed(f"paths.log_dir={tmp_path}"))
    made = [folders.new_run_dir(chosen) for _ in range(3)]
    assert len({*made}) == 3
    assert all(path.is_dir() and path.parent == tmp_path / "runs" / "lenet" for path in made)


def test_what_reads_the_cpu_is_refused_without_psutil(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec

    def without(name: str, *package: str) -> Any:
        return None if name == "psutil" else find(name, *package)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    words = ["experiment=linear", "accelerator=cpu", "callbacks=[default,device_stats]"]
    with pytest.raises(SystemExit) as stop:
        run_train(*words, f"paths.log_dir={tmp_path}", draws=False)
    assert stop.value.code == 2
    says = "error: DeviceStatsMonitor: reads a CPU by psutil. Run: pip install psutil\n"
    assert capsys.readouterr().err == says
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("word", ["trainer.max_epochs=5,6", "trainer.max_epochs=range(5,7)"])
def test_a_longer_run_takes_one_value(
    word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it happened: "Unexpected type annotation: Set[str]"."""
    run_train(*RUN, "trainer.max_epochs=1", f"paths.log_dir={tmp_path}", draws=False)
    with pytest.raises(SystemExit) as stop:
        run_train(f"resume={only_run(tmp_path)}", word)
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"error: {word}: has several values; give one.\n"

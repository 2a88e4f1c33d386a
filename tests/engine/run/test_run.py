"""The training command: what a run leaves behind, and how it ends."""

import csv
import dataclasses
import importlib.util
import json
import logging
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
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from commands import CONF, only_run, run_train, train_in_process
from engine.config.resolved import Config
from engine.messages import short
from engine.run import folders
from engine.run.loggers import tag_of
from project.train import train
from ways import FailsAtOnce

EXPERIMENTS = sorted(path.stem for path in CONF.glob("experiment/*.yaml"))
SCHEMES = sorted(path.stem for path in CONF.glob("init/*.yaml"))
MODELS = {
    "lenet": "digits",
    "linear": "line",
    "curve_mlp": "parabola",
    "two_layer": "random_regression",
    "two_layer_by_hand": "random_regression",
    "deep_mlp": "random_regression",
    "resnet": "digits",
    "tabular_mlp": "breast_cancer",
}
SHORT = ["accelerator=cpu", "logger=csv", "trainer.max_steps=3", "trainer.log_every_n_steps=1"]
NO_EVALUATION = ["trainer.limit_val_batches=0", "trainer.limit_test_batches=0"]
LINEAR = ["experiment=linear", "accelerator=cpu", "logger=csv"]


def run(log_dir: Path, *words: str) -> Path:
    """The folder of a run that is the only one below `log_dir`."""
    run_train(*words, f"paths.log_dir={log_dir}")
    return only_run(log_dir)


def summary_of(run_dir: Path) -> dict[str, Any]:
    return json.loads((run_dir / "summary.json").read_text())


def column(run_dir: Path, name: str) -> list[float]:
    """The values of a metric in metrics.csv, in order."""
    with open(run_dir / "metrics.csv", newline="") as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def files(run_dir: Path) -> dict[str, int]:
    """Every file below a folder, and when it was last written."""
    return {
        str(path.relative_to(run_dir)): path.stat().st_mtime_ns
        for path in run_dir.rglob("*")
        if path.is_file()
    }


# --- the systems to reproduce; the numbers are those of plain PyTorch ---


def test_linear_gives_the_numbers_of_the_plain_loop(tmp_path: Path) -> None:
    run_dir = run(tmp_path, *LINEAR)
    losses = column(run_dir, "train/loss")
    assert len(losses) == 20
    assert losses[0] == pytest.approx(43.8908, abs=1e-4)
    assert losses[-1] == pytest.approx(1.6635e-4, abs=1e-8)
    weight = torch.load(run_dir / folders.LAST, weights_only=True)["state_dict"]["network.weight"]
    assert weight.item() == pytest.approx(1.99752, abs=1e-5)


@pytest.mark.slow
def test_two_layer_gives_the_numbers_of_the_plain_loop(tmp_path: Path) -> None:
    losses = column(
        run(tmp_path, "experiment=two_layer", "accelerator=cpu", "logger=csv"), "train/loss"
    )
    assert len(losses) == 500
    for step, low, high in [
        (0, 600, 760),
        (99, 40, 75),
        (199, 0.7, 2.3),
        (299, 3e-3, 5e-2),
        (499, 1e-10, 4e-6),
    ]:
        assert low < losses[step] < high, step


@pytest.mark.slow
def test_curve_fit_fits_and_draws(tmp_path: Path) -> None:
    run_dir = run(tmp_path, "experiment=curve_fit", "accelerator=cpu")
    losses = column(run_dir, "train/loss")
    assert len(losses) == 100
    assert (
        0.04 / 12 < losses[-1] < 0.05
    )  # from the variance of the noise to the worst of five plain runs
    assert (run_dir / "figures" / "curve.png").read_bytes().startswith(b"\x89PNG")
    drawn = (
        EventAccumulator(str(run_dir), size_guidance={"images": 0}).Reload().Images("train/curve")
    )
    assert [image.step for image in drawn] == list(range(9, 100, 10))


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LeNet-5, two epochs on the digits, with all that a run writes."""
    words = [
        "datamodule.batch_size=16",
        "optimizer=adam",
        "trainer.max_epochs=2",
        "trainer.log_every_n_steps=20",
    ]
    words.append("datamodule.steps_per_epoch=null")
    root, level = logging.getLogger(), logging.getLogger().level
    root.setLevel(logging.INFO)  # as `messages.to_terminal` does where pytest is not before it
    run_dir = run(tmp_path_factory.mktemp("digits"), *words, "accelerator=cpu", "seed=5")
    root.setLevel(level)
    return run_dir


@pytest.mark.slow
class TestWhatARunLeaves:
    def test_files(self, digits: Path) -> None:
        names = {re.sub(r"events\.out\.tfevents.*", "events", name) for name in files(digits)}
        assert names == {
            ".hydra/config.yaml",
            ".hydra/door",
            ".hydra/lock",
            ".hydra/made_of.json",
            ".hydra/overrides.yaml",
            ".hydra/trained",
            "checkpoints/best.ckpt",
            "checkpoints/last.ckpt",
            "checkpoints/previous.ckpt",
            "events",
            "figures/test_confusion_matrix.png",
            "figures/test_images.png",
            "metrics.csv",
            "summary.json",
            "train.log",
        }

    def test_folder(self, digits: Path) -> None:
        assert re.fullmatch(r".*/runs/lenet/\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", str(digits))

    def test_config_is_resolved_and_overrides_are_as_typed(self, digits: Path) -> None:
        text = (digits / ".hydra" / "config.yaml").read_text()
        assert "${" not in text
        saved = OmegaConf.create(text)
        assert saved.seed == saved.datamodule.seed == saved.callbacks.step_seed.seed == 5
        assert saved.module.optimizer == saved.optimizer
        overrides = OmegaConf.load(digits / ".hydra" / "overrides.yaml")
        assert list(overrides) == [
            "datamodule.batch_size=16",
            "optimizer=adam",
            "trainer.max_epochs=2",
            "trainer.log_every_n_steps=20",
            "datamodule.steps_per_epoch=null",
            "accelerator=cpu",
            "seed=5",
            f"paths.log_dir={digits.parents[2]}",
        ]

    def test_summary(self, digits: Path) -> None:
        summary = summary_of(digits)
        best = max(column(digits, "val/acc"))
        assert {key: type(value) for key, value in summary.items()} == {
            "status": str,
            "error": type(None),
            "objective": float,
            "objective_of": dict,
            "metrics": dict,
            "rows": int,
            "config_hash": str,
            "seed": int,
            "steps": int,
            "device": str,
            "versions": dict,
            "git": str,
            "seconds": float,
        }
        assert (summary["status"], summary["seed"], summary["steps"]) == ("finished", 5, 154)
        assert summary["objective"] == best
        assert summary["objective_of"] == {
            "metric": "val/acc",
            "taken": "best epoch",
            "mode": "max",
        }
        assert summary["config_hash"] == folders.load_config(digits).hash
        assert re.fullmatch(r"[0-9a-f]{64}", summary["config_hash"])
        assert re.fullmatch(r"[0-9a-f]{40}\+?", summary["git"])
        assert summary["versions"].keys() == {"python", "torch", "lightning"}
        assert summary["versions"]["torch"] == torch.__version__
        assert summary["device"].startswith("1 × cpu")
        assert 0 < summary["seconds"] < 120

    def test_metrics(self, digits: Path) -> None:
        metrics = summary_of(digits)["metrics"]
        per_class = {f"{split}/acc/{digit}" for split in ("val", "test") for digit in range(10)}
        measured = {
            f"{split}/{name}" for split in ("train", "val", "test") for name in ("loss", "acc")
        }
        assert metrics.keys() == per_class | measured
        assert metrics == {name: column(digits, name)[-1] for name in metrics}
        assert metrics["test/acc"] > 0.85
        mean = sum(metrics[f"test/acc/{digit}"] for digit in range(10)) / 10
        assert metrics["test/acc"] == pytest.approx(
            mean, abs=0.01
        )  # the classes are nearly of one size

    def test_rows(self, digits: Path) -> None:
        with open(digits / "metrics.csv", newline="") as file:
            rows = [
                (int(row["epoch"]), int(row["step"]))
                for row in csv.DictReader(file)
                if row["train/loss"]
            ]
        # 77 steps an epoch: every 20 steps, and at the end
        assert rows == [(0, 19), (0, 39), (0, 59), (0, 76), (1, 96), (1, 116), (1, 136), (1, 153)]
        assert column(digits, "lr") == [0.001] * 8

    def test_train_log(self, digits: Path) -> None:
        text = (digits / "train.log").read_text()
        assert f"run folder: {digits}" in text
        assert "data: DigitsDataModule, 1,221 train, 216 val, 360 test samples" in text
        assert "model: LeNet5, 62,006 parameters" in text
        assert re.search(r"INFO engine.*: epoch 2/2: train loss 0\.\d+", text)

    def test_tensorboard(self, digits: Path) -> None:
        events = EventAccumulator(str(digits), size_guidance={"scalars": 0}).Reload()
        tags = events.Tags()
        metrics = summary_of(digits)["metrics"]
        assert set(tags["scalars"]) == {"lr", *map(tag_of, metrics)}
        assert tags["graph"]
        assert tags["images"] == ["test/confusion_matrix", "test/images"]
        for name, last in metrics.items():
            shown = events.Scalars(tag_of(name))[-1]
            assert shown.value == pytest.approx(last, rel=1e-6), name

    def test_best_checkpoint_is_the_tested_one(self, digits: Path) -> None:
        best = torch.load(digits / folders.BEST, weights_only=True)
        scores = column(digits, "val/acc")
        assert best["epoch"] == scores.index(max(scores))

    def test_started_again_it_says_so_and_runs_nothing(
        self, digits: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "engine")
        before = files(digits)
        run_train(f"resume={digits}")
        assert caplog.messages == [f"finished already, nothing to do: {digits}"]
        assert files(digits) == before


# --- every experiment, and every scheme with every model ---


def composed(*words: str) -> DictConfig:
    train.open()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=list(words))


def done(chosen: DictConfig, run_dir: Path) -> float:
    """The objective of a run of this config in a folder."""
    return train.do(Config.resolve(chosen), run_dir)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_trains(experiment: str, tmp_path: Path) -> None:
    chosen = composed(f"experiment={experiment}", *SHORT)
    if re.search("cifar10|image_folder", chosen.datamodule._target_):  # no download here
        chosen.datamodule = composed("datamodule=digits").datamodule
    if experiment == "init_depth":
        chosen.callbacks.depth_study.seeds = 1  # of five
        chosen.datamodule.samples = 100  # of 1,000: they would take three seconds
    done(chosen, tmp_path)
    summary = summary_of(tmp_path)
    assert (summary["status"], summary["steps"]) == ("finished", 3)
    assert math.isfinite(summary["metrics"]["train/loss"])


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["lenet", "curve_fit"])
@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "bf16-mixed"])
def test_other_precisions(precision: str, experiment: str, tmp_path: Path) -> None:
    words = [
        f"experiment={experiment}",
        "accelerator=cpu",
        "trainer.max_steps=3",
        f"trainer.precision={precision}",
    ]
    lenet = ["datamodule=digits", "callbacks.classification.grid_images=0"]
    run_dir = run(tmp_path, *words, *(lenet if experiment == "lenet" else []))
    assert (summary_of(run_dir)["status"], summary_of(run_dir)["steps"]) == ("finished", 3)
    assert all(map(math.isfinite, summary_of(run_dir)["metrics"].values()))
    assert list(run_dir.glob("figures/*.png"))


def test_the_lenet_study_holds_images_out_and_sweeps_over_what_it_says() -> None:
    chosen = composed("experiment=lenet_init")
    assert (
        chosen.datamodule.val_fraction,
        chosen.datamodule.batch_size,
        chosen.trainer.max_epochs,
    ) == (0.1, 64, 2)
    text = (CONF / "experiment/lenet_init.yaml").read_text()
    assert OmegaConf.create(text).hydra.sweeper.params == {
        "optimizer": "sgd,adam",
        "init": "default,zero,randn,xavier,he",
        "seed": "0,1,2",
    }


@pytest.mark.slow
@pytest.mark.parametrize("module", MODELS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_starts_every_model(scheme: str, module: str, tmp_path: Path) -> None:
    words = [
        f"module={module}",
        f"datamodule={MODELS[module]}",
        f"init={scheme}",
        "optimizer=adam",
        *SHORT,
    ]
    done(composed(*words, "callbacks=default", *NO_EVALUATION), tmp_path)
    summary, losses = summary_of(tmp_path), column(tmp_path, "train/loss")
    assert (summary["status"], summary["steps"]) == ("finished", 3)
    assert len(losses) == 3
    assert all(map(math.isfinite, losses))
    if scheme == "zero" and module == "lenet":
        assert losses[0] == pytest.approx(math.log(10))  # all logits alike


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


def test_a_run_has_one_file_of_events_and_ends_the_thread_that_writes_it(tmp_path: Path) -> None:
    """TensorBoard would read the tenth file of a process before its ninth, and drop metrics."""
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
    run_train(f"resume={run_dir}")
    summary = summary_of(run_dir)
    assert (summary["status"], summary["steps"]) == ("finished", 20)
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
            "datamodule.val_fraction=0.001 cannot be split off by class: "
            "The test_size = 2 should be greater or equal to the number of classes = 10",
            id="validation split",
        ),
        pytest.param(
            ["datamodule.test_fraction=0.001"],
            "datamodule.test_fraction=0.001 cannot be split off by class: "
            "The test_size = 2 should be greater or equal to the number of classes = 10",
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
            "addmm: mat1 and mat2 shapes cannot be multiplied (96x32 and 1000x100)",
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
            ["+callbacks.none._target_=ways.FailsAtOnce"],
            "before the first step: no such thing\nRaised in {ways}, line {line}; "
            "HYDRA_FULL_ERROR=1 shows the traceback.",
            id="a callback that fails at once",
        ),
        pytest.param(
            ["optimizer.lr=${nosuch}"],
            "Interpolation key 'nosuch' not found\nfull_key: optimizer.lr",
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
        first, second = capsys.readouterr().err.splitlines()
        assert re.match(r"error: module: .*(memory|alloc)", first)
        assert re.match(r"Raised in .*modules/curve_mlp\.py, line \d+; HYDRA_FULL_ERROR", second)
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

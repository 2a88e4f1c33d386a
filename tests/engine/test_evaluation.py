"""`project.evaluate`: a run's metrics once more, from its own folder alone."""

import csv
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import odd_modules
from commands import CONF, only_run, run_evaluate, run_train
from engine.evaluation import USAGE
from engine.run import folders
from engine.run.checkpoint.file import FORMAT, FORMAT_KEY
from engine.seeds import seed_all
from keeping import Divides
from project.datamodules.digits import DigitsDataModule
from resuming import SMALL

DATA = ", ".join(sorted(path.stem for path in CONF.glob("datamodule/*.yaml")))
RUN = [
    "datamodule.batch_size=64",
    "datamodule.steps_per_epoch=null",
    "optimizer=adam",
    "trainer.max_epochs=2",
    "trainer.limit_train_batches=10",
    "accelerator=cpu",
    "logger=csv",
    "callbacks.classification.grid_images=4",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    log_dir = tmp_path_factory.mktemp("trained")
    run_train(*RUN, f"paths.log_dir={log_dir}")
    return only_run(log_dir)


@pytest.fixture
def moved(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run in another folder, with its own name, which its figures say."""
    return Path(shutil.copytree(trained, tmp_path / trained.parent.name / trained.name))


def metrics_of(run_dir: Path, split: str) -> dict[str, float]:
    """The metrics of a split that the run itself found."""
    metrics = json.loads((run_dir / "summary.json").read_text())["metrics"]
    return {name: value for name, value in metrics.items() if name.startswith(f"{split}/")}


def report(run_dir: Path, split: str) -> dict[str, Any]:
    return json.loads((run_dir / "evaluation" / f"{split}.json").read_text())


def validations(run_dir: Path) -> list[float]:
    """The losses of a run's validations."""
    with (run_dir / "metrics.csv").open() as file:
        return [float(row["val/loss"]) for row in csv.DictReader(file) if row["val/loss"]]


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a refused command says."""
    with pytest.raises(SystemExit) as stop:
        run_evaluate(*words)
    assert stop.value.code == 2
    out, complaint = capsys.readouterr()
    assert out == ""
    return complaint


@pytest.mark.parametrize("best", ["chosen", "none"])
def test_a_module_that_keeps_what_it_has_seen_is_measured_with_it(
    best: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = [*SMALL, "module._target_=keeping.IsMeasuredSo"]
    words += ["datamodule._target_=keeping.CountsEpochs", f"paths.log_dir={tmp_path}"]
    if best == "none":
        words.append("trainer.limit_val_batches=0")
    run_train(*words, "trainer.max_epochs=4", "optimizer.lr=0.3", draws=False)
    run_dir = only_run(tmp_path)
    own = metrics_of(run_dir, "test")
    assert own["test/loss"] > 440  # 40 batches, and 100 for each epoch
    run_evaluate(f"run={run_dir}", draws=False)
    assert report(run_dir, "test")["metrics"] == own
    # Data that are named anew keep what they have, which is 0 epochs of 4; the module does not.
    run_evaluate(f"run={run_dir}", "datamodule.batch_size=5", draws=False)
    new = report(run_dir, "test")["metrics"]["test/loss"]
    assert new == pytest.approx(own["test/loss"] - 400, abs=1e-3)
    if best == "chosen":
        run_evaluate(f"run={run_dir}", "split=val", draws=False)
        logged = validations(run_dir)
        assert report(run_dir, "val")["metrics"]["val/loss"] == min(logged)
        assert len(logged) == 4
    assert "not exact" not in caplog.text


def test_what_a_module_takes_from_its_best_checkpoint_is_measured(tmp_path: Path) -> None:
    """As it happened: what it had at the end of training took the place of that."""
    words = [*SMALL, "module._target_=odd_modules.SavesItsThreshold"]
    words += ["datamodule._target_=ways.Ordinary", f"paths.log_dir={tmp_path}"]
    words += ["callbacks.checkpoints.monitor=score", "trainer.max_epochs=4"]
    run_train(*words, draws=False)
    run_dir = only_run(tmp_path)
    assert metrics_of(run_dir, "test") == {"test/threshold": 2.0}
    run_evaluate(f"run={run_dir}", draws=False)
    assert report(run_dir, "test")["metrics"] == {"test/threshold": 2.0}


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_an_error_before_the_first_batch_is_shown_as_one_of_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happened: each of them was a traceback, and told nothing of the stage."""
    words = [*SMALL, "module._target_=odd_modules.Tested", "trainer.max_epochs=1"]
    words += ["datamodule._target_=odd_modules.DividesForTraining", f"paths.log_dir={tmp_path}"]
    run_train(*words, draws=False)
    run_dir = only_run(tmp_path)
    capsys.readouterr()
    says = refused(capsys, f"run={run_dir}", "split=val").splitlines()
    assert says[0] == (
        "error: split=val, where Lightning calls DividesForTraining.setup"
        "(stage=\"validate\"): AttributeError: 'DividesForTraining' object has no attribute 'held'"
    )
    assert re.fullmatch(
        r"Raised in tests/odd_modules.py, line \d+; HYDRA_FULL_ERROR=1 shows the traceback.",
        says[1],
    )
    assert len(says) == 2

    def fails(module: Any, batch: Any, batch_idx: int) -> None:
        module.log("test_loss", 1.0)
        if batch_idx == first:
            raise RuntimeError(f"batch {batch_idx}")

    monkeypatch.setattr(odd_modules.Tested, "test_step", fails)
    first = 0
    says = refused(capsys, f"run={run_dir}").splitlines()
    assert says[0] == "error: split=test: batch 0"
    assert says[1].startswith("Raised in tests/engine/test_evaluation.py, line ")
    first = 1
    with pytest.raises(RuntimeError, match=r"^batch 1$"):
        run_evaluate(f"run={run_dir}")
    monkeypatch.setattr(odd_modules.Tested, "test_step", lambda *_: sys.exit())
    says = refused(capsys, f"run={run_dir}").splitlines()  # it was nothing at all, and code 0
    assert says[0] == "error: split=test: the code would end the process: SystemExit"


def test_metrics_that_lightning_resets_begin_anew(tmp_path: Path) -> None:
    """As it happened: best.ckpt is written before they are reset, and the split counted twice."""
    words = [*SMALL, "module._target_=keeping.Sums", f"paths.log_dir={tmp_path}"]
    run_train(*words, "trainer.max_epochs=3", draws=False)
    run_dir = only_run(tmp_path)
    for split in ("val", "test"):
        run_evaluate(f"run={run_dir}", f"split={split}", draws=False)
    validated = report(run_dir, "val")["metrics"]
    assert validated["val/loss"] == validated["val/running"] == min(validations(run_dir))
    assert report(run_dir, "test")["metrics"] == metrics_of(run_dir, "test")


def test_data_that_are_divided_at_random_are_divided_by_the_seed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happened: `setup` divided them anew before the test, which had seen training samples.

    What is drawn before the module is made depended on what the process had drawn before.
    """
    words = [*SMALL, "datamodule._target_=keeping.Divides", "trainer.max_epochs=2"]
    tables, losses = [], []
    tests: list[list[int]] = []  # the test samples after each `setup`
    setup = Divides.setup

    def set_up(self: Divides, stage: str) -> None:
        setup(self, stage)
        tests.append(list(self.parts[2].indices))

    monkeypatch.setattr(Divides, "setup", set_up)
    for number in range(2):
        tests.clear()
        seed_all(number)
        run_train(*words, f"paths.log_dir={tmp_path / str(number)}", draws=False)
        run_dir = only_run(tmp_path / str(number))
        run_evaluate(f"run={run_dir}", draws=False)
        first, *others = tests
        assert others == 2 * [first]
        tables.append((run_dir / "metrics.csv").read_text())
        losses.append(metrics_of(run_dir, "test"))
        assert report(run_dir, "test")["metrics"] == losses[-1]
    assert tables[0] == tables[1]


def test_attributes_of_another_engine_are_not_restored_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_train(*SMALL, "trainer.max_epochs=1", f"paths.log_dir={tmp_path}", draws=False)
    run_dir = only_run(tmp_path)
    path = run_dir / folders.LAST
    saved = torch.load(path, weights_only=True)
    torch.save({**saved, FORMAT_KEY: FORMAT - 1}, path)
    run_evaluate(f"run={run_dir}", draws=False)
    assert report(run_dir, "test")["metrics"] == metrics_of(run_dir, "test")
    assert "not exact: only weights are measured, not what attributes had: " in caplog.text


def test_the_test_split_gives_the_run_s_own_metrics_to_the_last_bit(moved: Path) -> None:
    own, before = (
        metrics_of(moved, "test"),
        {path: path.read_bytes() for path in moved.rglob("*") if path.is_file()},
    )
    assert len(own) == 12
    run_evaluate(f"run={moved}")
    assert {path: path.read_bytes() for path in before} == before
    new = {path for path in moved.rglob("*.*") if path.is_file() and path not in before}
    assert {str(path.relative_to(moved)) for path in new} == {
        ".hydra/test.lock",
        "evaluation/test.json",
        "evaluation/figures/test_confusion_matrix.png",
        "evaluation/figures/test_images.png",
    }
    evaluated = report(moved, "test")
    assert evaluated["metrics"] == own
    assert evaluated["run"] == str(moved)
    assert evaluated["checkpoint"] == "checkpoints/best.ckpt"
    assert evaluated["overrides"] == []
    assert evaluated["device"].startswith("1 × cpu")
    figures = {
        path.name: path.read_bytes() for path in (moved / "evaluation" / "figures").iterdir()
    }
    assert figures == {name: (moved / "figures" / name).read_bytes() for name in figures}


def test_a_run_whose_folder_cannot_be_written_to_is_measured(
    moved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: a run on a disk that is only read gave no number."""
    caplog.set_level("INFO")
    (moved / "evaluation").write_text("")  # root may write anywhere but here
    (moved / ".hydra" / "test.lock").mkdir()
    before = sorted(moved.rglob("*"))
    run_evaluate(f"run={moved}")
    assert sorted(moved.rglob("*")) == before
    table, not_saved = caplog.messages[-2:]
    shown = {
        f"test/{name}": float(value) for name, value in re.findall(r"(\S+) +([\d.]+)\n", table)
    }
    assert shown == pytest.approx(metrics_of(moved, "test"), rel=1e-3)
    assert not_saved.startswith(f"not saved: {moved / 'evaluation'}: cannot be written: ")
    assert not_saved.endswith(
        "\nGive the command with a copy of the folder that can be written to."
    )


def test_the_validation_split_gives_the_best_epoch_s_metrics_to_the_last_bit(moved: Path) -> None:
    with open(moved / "metrics.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["val/acc"]]
    best = max(rows, key=lambda row: float(row["val/acc"]))
    run_evaluate("split=val", f"run={moved}")
    assert report(moved, "val")["metrics"] == {
        name: float(best[name]) for name in metrics_of(moved, "val")
    }
    assert (moved / "evaluation" / "figures" / "val_confusion_matrix.png").exists()


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (["trainer.limit_test_batches=1"], ""),
        (["trainer.limit_val_batches=2"], "limit_val_batches=2"),
        (["trainer.overfit_batches=2"], "overfit_batches=2"),
    ],
)
def test_as_much_is_measured_as_the_run_s_validation_measured(
    limits: list[str], said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: 20 of 216 samples by the test's limit, and all by validation's own."""
    words = ["datamodule.eval_batch_size=20", "trainer.max_epochs=1", "callbacks=default"]
    run_train(*RUN[:-1], *words, *limits, f"paths.log_dir={tmp_path}")
    run_dir = only_run(tmp_path)
    run_evaluate(f"run={run_dir}", "split=val")
    assert report(run_dir, "val")["metrics"] == pytest.approx(metrics_of(run_dir, "val"), rel=1e-6)
    told = [line for line in caplog.messages if "not all" in line]
    assert told == ([f"val: not all of it is measured, by trainer.{said}"] if said else [])
    if not said:
        run_evaluate(f"run={run_dir}")
        assert "test: not all of it is measured, by trainer.limit_test_batches=1" in caplog.messages
        assert report(run_dir, "test")["metrics"] == metrics_of(run_dir, "test")


def test_the_training_split(moved: Path) -> None:
    run_evaluate(f"run={moved}", "split=train")
    metrics = report(moved, "train")["metrics"]
    assert metrics.keys() == {
        "train/loss",
        "train/acc",
        *(f"train/acc/{digit}" for digit in range(10)),
    }
    counts = (
        DigitsDataModule(seed=0, batch_size=1).splits["train"].targets.bincount()
    )  # of each class
    accuracies = torch.tensor([metrics[f"train/acc/{digit}"] for digit in range(10)])
    assert metrics["train/acc"] == pytest.approx(
        (accuracies * counts).sum().item() / 1221, abs=1e-6
    )


def test_other_data_and_another_batch_size(moved: Path, caplog: pytest.LogCaptureFixture) -> None:
    words = [
        "datamodule=digits",
        "datamodule.eval_batch_size=50",
        "trainer.limit_test_batches=1.0",
        "accelerator=cpu",
    ]
    run_evaluate(f"run={moved}", *words)
    evaluated = report(moved, "test")
    assert evaluated["overrides"] == words
    assert evaluated["metrics"] == pytest.approx(metrics_of(moved, "test"), rel=1e-5)
    caplog.set_level("INFO")
    run_evaluate(f"run={moved}", "datamodule=digits", "datamodule.test_fraction=0.5")
    assert f"test.json: what was measured with {' '.join(words)} is replaced" in caplog.text
    assert report(moved, "test")["metrics"] != pytest.approx(metrics_of(moved, "test"), rel=1e-5)


@pytest.mark.parametrize(
    ("words", "of"),
    [
        (["datamodule.folds=3", "datamodule.fold=1"], "val"),
        (["datamodule.batch_size=7", "datamodule.eval_batch_size=9"], "val"),
        (["datamodule.seed=3"], "train"),
    ],
    ids=["other samples", "the same samples", "the training samples"],
)
def test_samples_that_a_run_was_trained_on_are_told_of(
    words: list[str], of: str, moved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: a fold was measured by a run of another fold, 0.96 in place of 0.93."""
    run_evaluate(f"run={moved}", f"split={of}", *words, draws=False)
    own = {
        one.numpy().tobytes()
        for one in DigitsDataModule(seed=0, batch_size=64).splits["train"].inputs
    }
    fold = DigitsDataModule(seed=0, batch_size=64, folds=3, fold=1).splits["val"].inputs
    number = sum(one.numpy().tobytes() in own for one in fold)
    assert 0 < number < len(fold)
    said = [text for text in caplog.messages if "was trained on" in text]
    expected = f"{' '.join(words)}: the run was trained on {number} of these {len(fold)} samples"
    assert said == ([expected] if "datamodule.folds=3" in words else [])


@pytest.mark.parametrize("data", ["Centred", "Forgets"])
def test_other_data_are_prepared_as_the_training_samples_were(
    data: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: the mean was that of the other data, without a word."""
    caplog.set_level("WARNING", logger="engine")
    words = [f"datamodule._target_=ways.{data}", "trainer.max_epochs=1"]
    run_train(*SMALL, *words, f"paths.log_dir={tmp_path}", draws=False)
    run_dir = only_run(tmp_path)
    own = metrics_of(run_dir, "test")
    run_evaluate(f"run={run_dir}", draws=False)
    assert report(run_dir, "test")["metrics"] == own
    assert "prepare_inputs" not in caplog.text
    run_evaluate(f"run={run_dir}", "+datamodule.shift=5.0", draws=False)
    says = f"{data}.prepare_inputs gives a sample other numbers than in training."
    if data == "Centred":
        assert report(run_dir, "test")["metrics"] == own
        assert says not in caplog.text
    else:
        assert report(run_dir, "test")["metrics"]["test/loss"] > 2 * own["test/loss"]
        assert caplog.text.count(says) == 1


def test_other_samples_for_training_change_no_measure_of_a_standardised_test(
    tmp_path: Path,
) -> None:
    """As it happened: the experiment's own accuracy was another one."""
    words = ["experiment=tabular", "accelerator=cpu", "trainer.max_epochs=1"]
    run_train(*words, f"paths.log_dir={tmp_path}", draws=False)
    run_dir = only_run(tmp_path)
    run_evaluate(f"run={run_dir}", "datamodule.val_fraction=0.9", draws=False)
    assert report(run_dir, "test")["metrics"] == metrics_of(run_dir, "test")


def test_without_validation_the_last_checkpoint_is_taken(tmp_path: Path) -> None:
    words = [*RUN, "datamodule.val_fraction=0", "trainer.max_epochs=1"]
    run_train(*words, f"paths.log_dir={tmp_path}", draws=False)
    run_dir = only_run(tmp_path)
    assert not (run_dir / folders.BEST).exists()
    run_evaluate(f"run={run_dir}", draws=False)
    assert report(run_dir, "test")["checkpoint"] == "checkpoints/last.ckpt"
    assert report(run_dir, "test")["metrics"] == metrics_of(run_dir, "test")


def test_weights_that_training_has_made_are_refused_by_their_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it happened: a traceback of PyTorch's, of ten lines."""
    words = [*SMALL, "module._target_=keeping.Prunes", "trainer.limit_val_batches=0"]
    run_train(*words, "trainer.max_epochs=2", f"paths.log_dir={tmp_path}", draws=False)
    run_dir = only_run(tmp_path)
    capsys.readouterr()
    first, second = refused(capsys, f"run={run_dir}").splitlines()
    names = "network.0.weight_orig, network.0.weight_mask, network.0.weight"
    assert first == (
        f"error: {run_dir / folders.LAST}: does not fit Prunes, whose layers training or changed "
        f"code has made otherwise: {names}."
    )
    assert second == (
        "Take the code of then, begin a new run, or make in on_load_checkpoint what training has "
        "made."
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(
            ["split=val", "split=test"], "split=val split=test: give one.", id="two splits"
        ),
        pytest.param(["split=tset"], "split=tset: must be test, val or train.", id="split"),
        pytest.param(
            ["split=val", "datamodule.val_fraction=0"],
            "split=val: DigitsDataModule has only: train, test.",
            id="a split that is not there",
        ),
        pytest.param(
            ["optimizer.lr=1"],
            "optimizer.lr: not for evaluation. "
            "It takes run, split, trust, datamodule, accelerator, trainer.",
            id="not for evaluation",
        ),
        pytest.param(
            ["datamodul.batch_size=3"],
            "datamodul.batch_size: not for evaluation. Did you mean datamodule? "
            "It takes run, split, trust, datamodule, accelerator, trainer.",
            id="key",
        ),
        pytest.param(
            ["datamodule=digitz"],
            "datamodule=digitz: no such choice. Did you mean digits? datamodule is one of: "
            f"{DATA}.",
            id="choice",
        ),
        pytest.param(
            ["datamodule.batch_size=0"],
            "datamodule.batch_size=0: must be greater than or equal to 1, "
            "by the signature of DigitsDataModule.",
            id="range",
        ),
        pytest.param(
            ["test"],
            "test: not for evaluation. "
            "It takes run, split, trust, datamodule, accelerator, trainer.",
            id="word",
        ),
        pytest.param(
            ["datamodule=line"],
            "split=test: LineDataModule has only: train.",
            id="data without such a split",
        ),
    ],
)
def test_refused(
    words: list[str], says: str, moved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, f"run={moved}", *words) == f"error: {says}\n"
    assert not (moved / "evaluation").exists()


def test_what_is_no_run(tmp_path: Path, moved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = "error: run: missing; write run=RUN_DIR, the folder of a run.\n"
    assert refused(capsys, "split=val") == refused(capsys, "run=") == missing
    both = [f"run={moved}", "run=/nonexistent"]
    assert refused(capsys, *both) == f"error: {' '.join(both)}: give one.\n"
    says = f"error: {tmp_path}: not a run's folder (it has no .hydra/config.yaml).\n"
    assert refused(capsys, f"run={tmp_path}") == says
    shutil.rmtree(moved / "checkpoints")
    lost = refused(capsys, f"run={moved}")
    assert lost.startswith(f"error: {moved / folders.LAST}: is not there.\n")
    (moved / folders.TRAINED).unlink()  # as in a run that was killed before its first checkpoint
    assert refused(capsys, f"run={moved}") == f"error: {moved}: has no checkpoint yet.\n"
    assert not (moved / "evaluation").exists()


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]], ids=["nothing", "--help", "-h"])
def test_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run_evaluate(*words)
    text = USAGE.format(command="project.evaluate")
    assert capsys.readouterr() == (f"{text}\n", "")
    assert max(map(len, text.splitlines())) <= 80

"""Checks that each job of a stack leaves the same files as the job alone.

The tolerances are those of float32 over some hundred steps: the first row agrees to 1e-6, the later
rows to 1e-4 of their values.
"""

import csv
import errno
import gc
import json
import math
import re
import signal
import weakref
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from lightning.pytorch.trainer.connectors.checkpoint_connector import _CheckpointConnector
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from commands import run_evaluate, run_report, run_train, train_in_process
from engine.data.split import Split
from engine.errors import Stopped
from engine.run import folders
from engine.run.checkpoint.file import WholeFileIO
from engine.vectorized import together
from engine.vectorized.module import StackedModule
from fitting import Arrays
from project.train import train
from together import CURVE, folder, jobs, statuses, summary, sweep

FIRST, LATER = 1e-6, 1e-4
SHORT_LENET = [
    "experiment=lenet",
    "datamodule=digits",
    "accelerator=cpu",
    "datamodule.steps_per_epoch=40",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=15",
]
SWEEPS = {
    "curve_fit": [*CURVE, "init=default,xavier", "seed=0,3"],
    "Adam": [
        *CURVE,
        "optimizer=adam",
        "optimizer.lr=0.01,0.1",
        "optimizer.betas=[0.9,0.999],[0.8,0.99]",
        "seed=2",
    ],
    "64 bits": [
        *CURVE,
        "trainer.precision=64-true",
        "optimizer=sgd",
        "optimizer.momentum=0,0.9",
        "seed=1,2",
    ],
    "linear": ["experiment=linear", "accelerator=cpu", "seed=0,1", "optimizer.lr=0.01,1e30"],
    "two_layer": [
        "experiment=two_layer",
        "accelerator=cpu",
        "datamodule.steps_per_epoch=60",
        "seed=0,1,2",
    ],
    "lenet": [*SHORT_LENET, "init=default,he", "optimizer.weight_decay=0.001,0"],
    # A step of RMSprop has hardly any size but its rate's: near zero, gradients round to any sign.
    "RMSprop and one cycle": [
        *CURVE,
        "trainer.precision=64-true",
        "optimizer=rmsprop",
        "optimizer.momentum=0,0.9",
        "scheduler=one_cycle",
        "scheduler.low_momentum=0.7",
        "seed=1",
    ],
    "AdamW and cosine": [
        *SHORT_LENET,
        "optimizer=adamw",
        "scheduler=cosine",
        "scheduler.warmup=0,0.3",
        "scheduler.floor=0.1",
    ],
    # The jobs have their drops at other steps, and one diverges.
    "steps": [
        *CURVE,
        "trainer.precision=64-true",
        "scheduler=step",
        "scheduler.every=0.2,0.3",
        "optimizer.lr=0.2,1e20",
    ],
    "validation within epochs": [
        *SHORT_LENET,
        "trainer.val_check_interval=15",
        "optimizer.lr=0.01,0.02",
    ],
    "epochs": [
        *CURVE,
        "trainer.precision=64-true",
        "datamodule.batch_size=30",
        "datamodule.steps_per_epoch=null",
        "trainer.max_epochs=8",
        "scheduler=cosine",
        "scheduler.warmup=0.25,0.5",
        "scheduler.interval=epoch",
        "scheduler.frequency=2",
        "optimizer=adamw",
    ],
    # Jobs that diverge compute in 64 bits: numbers that explode part in 32 bits by their rounding.
    "diverges": [*SHORT_LENET, "trainer.precision=64-true", "optimizer.lr=0.01,1e20"],
    "weighted": [*SHORT_LENET, "module._target_=modules_of_tests.WeightedLeNet", "seed=0,1"],
    # It diverges within the first epoch that is followed by a validation.
    "second epoch": [
        "experiment=lenet",
        "datamodule=digits",
        "accelerator=cpu",
        "datamodule.steps_per_epoch=2",
        "trainer.max_epochs=2",
        "trainer.log_every_n_steps=1",
        "trainer.check_val_every_n_epoch=2",
        "optimizer.lr=0.01,1e30",
        "trainer.precision=64-true",
    ],
    "minibatches": [
        *CURVE,
        "datamodule.batch_size=30",
        "trainer.max_epochs=3",
        "trainer.log_every_n_steps=7",
        "datamodule.folds=3",
        "datamodule.steps_per_epoch=null",
        "seed=0,1",
    ],
}


def rows(run_dir: Path) -> list[dict[str, str]]:
    with open(run_dir / "metrics.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def numbers(row: dict[str, str]) -> dict[str, float]:
    return {key: float(text) for key, text in row.items() if text}


def scalars(run_dir: Path) -> tuple[dict[str, list[tuple[int, float]]], list[str], bool]:
    """Returns TensorBoard's scalars, the HParams view's names, and whether there is a graph."""
    read = EventAccumulator(str(run_dir), size_guidance={"scalars": 0})
    read.Reload()
    values = {
        tag: [(event.step, event.value) for event in read.Scalars(tag)]
        for tag in read.Tags()["scalars"]
    }
    return values, sorted(read.summary_metadata), bool(read.Tags()["graph"])


def files(run_dir: Path) -> set[str]:
    names = {str(path.relative_to(run_dir)) for path in run_dir.rglob("*") if path.is_file()}
    return {name for name in names if not name.startswith(("events.", "figures/"))}


def assert_same_run(ours: Path, theirs: Path) -> None:
    """Compares every file of a run that trained with others with the same run's file alone."""
    assert files(ours) == files(theirs)
    for name in (".hydra/overrides.yaml", ".hydra/config.yaml"):
        text, right = (
            (run / name).read_text().partition("# signed")[0].replace(str(run.parents[2]), "")
            for run in (ours, theirs)
        )
        assert text == right
    one, other = summary(ours), summary(theirs)
    assert one.keys() == other.keys()
    same = "status", "error", "config_hash", "seed", "steps", "device", "versions", "git"
    assert {key: one[key] for key in same} == {key: other[key] for key in same}
    assert (one["objective"] is None) == (other["objective"] is None)
    assert one["objective"] == (other["objective"] and pytest.approx(other["objective"], rel=LATER))

    table, expected = rows(ours), rows(theirs)
    assert len(table) == len(expected)
    assert list(table[0]) == list(expected[0])
    for number, (row, right) in enumerate(zip(table, expected, strict=True)):
        tolerance = LATER if number else FIRST
        assert numbers(row) == pytest.approx(numbers(right), rel=tolerance, abs=1e-9, nan_ok=True)

    values, known, graph = scalars(ours)
    right_values, right_known, right_graph = scalars(theirs)
    assert (set(known), graph) == (set(right_known), right_graph)
    assert values.keys() == right_values.keys()
    for tag, points in right_values.items():
        assert [step for step, _ in values[tag]] == [step for step, _ in points]
        expected_values = [value for _, value in points]
        assert [value for _, value in values[tag]] == pytest.approx(
            expected_values, rel=LATER, abs=1e-9, nan_ok=True
        )

    for path in theirs.glob("checkpoints/*"):
        saved, whole = (
            torch.load(run / "checkpoints" / path.name, weights_only=True) for run in (ours, theirs)
        )
        assert list(saved) == list(whole)
        assert saved["callbacks"].keys() == whole["callbacks"].keys()
        assert saved["global_step"] == whole["global_step"]
        if one["status"] == "finished":
            assert saved["loops"] == whole["loops"]
        torch.testing.assert_close(
            saved["state_dict"], whole["state_dict"], rtol=1e-3, atol=1e-5, equal_nan=True
        )
        assert saved["lr_schedulers"] == whole["lr_schedulers"]
        torch.testing.assert_close(
            saved["optimizer_states"],
            whole["optimizer_states"],
            rtol=1e-3,
            atol=1e-5,
            equal_nan=True,
        )


@pytest.mark.slow
@pytest.mark.parametrize("words", SWEEPS.values(), ids=SWEEPS)
def test_a_job_leaves_what_it_leaves_alone(
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    ours, theirs = (
        jobs(sweep(tmp_path / "a", *words)),
        jobs(sweep(tmp_path / "b", *words, together=False)),
    )
    assert f"{len(ours)} jobs together" in caplog.text
    assert ours.keys() == theirs.keys()
    for name, run_dir in ours.items():
        assert_same_run(run_dir, theirs[name])


@pytest.mark.slow
def test_a_diverging_job_does_not_touch_the_others(tmp_path: Path) -> None:
    """Compares to the last bit: beside a job that diverges, and beside one that does not."""
    with_it = sweep(tmp_path / "a", *SHORT_LENET, "optimizer.lr=0.01,1e20,0.02")
    without = sweep(tmp_path / "b", *SHORT_LENET, "optimizer.lr=0.01,0.015,0.02")
    assert statuses(with_it) == {
        "lr=0.01": "finished",
        "lr=1e+20": "diverged",
        "lr=0.02": "finished",
    }
    others = jobs(without)
    for name, run_dir in jobs(with_it).items():
        if name in others:
            assert (run_dir / "metrics.csv").read_text() == (
                others[name] / "metrics.csv"
            ).read_text()
            weights, right = (
                torch.load(run / folders.LAST, weights_only=True)["state_dict"]
                for run in (run_dir, others[name])
            )
            assert all(torch.equal(weights[key], right[key]) for key in right)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        [*SWEEPS["minibatches"], "callbacks.checkpoints.every_n_steps=5"],
        [*SHORT_LENET, "optimizer.lr=0.01,1e20,0.02"],
        [*CURVE, "seed=0,1"],
    ],
    ids=["a short last batch", "a job that diverges", "one batch for all steps"],
)
def test_blocks_of_steps_change_no_bit(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    training_step = StackedModule.training_step

    def noted(self: StackedModule, steps: int, batch_idx: int) -> torch.Tensor:
        sizes.append(steps)
        return training_step(self, steps, batch_idx)

    monkeypatch.setattr(StackedModule, "training_step", noted)
    single = jobs(sweep(tmp_path / "1", *words, "trainer.steps_per_call=1"))
    assert set(sizes) == {1}
    for most in (4, 1000):
        sizes.clear()
        made = jobs(sweep(tmp_path / str(most), *words, f"trainer.steps_per_call={most}"))
        assert max(sizes) > 1
        for name, theirs in single.items():
            assert (made[name] / "metrics.csv").read_text() == (theirs / "metrics.csv").read_text()
            for path in theirs.glob("checkpoints/*"):
                both = (run / "checkpoints" / path.name for run in (made[name], theirs))
                saved, right = (torch.load(file, weights_only=True) for file in both)
                assert saved["loops"] == right["loops"]
                for key in ("state_dict", "optimizer_states", "steps_since_row"):
                    torch.testing.assert_close(
                        saved[key], right[key], rtol=0, atol=0, equal_nan=True
                    )


def test_data_are_prepared_and_loaded_once_if_they_do_not_depend_on_the_seed() -> None:
    class Counted(Arrays):
        prepared: ClassVar[list[int]] = []
        loaded: ClassVar[list[int]] = []

        def prepare_data(self) -> None:
            self.prepared.append(self.seed)

        def load(self) -> dict[str, Split]:
            self.loaded.append(self.seed)
            return super().load()

    class Broken(Arrays):
        def prepare_data(self) -> None:
            raise OSError("no such file")

    same = [Counted({"train": ([[1.0]], [2.0])}, seed=seed) for seed in (3, 3, 4, 5)]
    assert together._share(same)
    assert Counted.prepared == Counted.loaded == [3, 4]
    assert all(data.splits is same[0].splits for data in same)
    one_seed = [Counted({"train": ([[math.nan]], [2.0])}, seed=6) for _ in range(2)]
    assert together._share(one_seed)
    assert Counted.prepared == Counted.loaded == [3, 4, 6]
    differ = [Arrays({"train": ([[float(seed)]], [2.0])}, seed=seed) for seed in (3, 4, 4)]
    assert not together._share(differ)
    assert [data.splits["train"].inputs.item() for data in differ] == [3, 4, 4]
    assert not together._share([Broken({"train": ([[1.0]], [2.0])})])


@pytest.mark.slow
def test_lightning_is_asked_for_its_state_once_for_all_checkpoints_of_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()

    def counted(kind: type, name: str) -> None:
        do = getattr(kind, name)

        def wrapper(*args: Any, **options: Any) -> Any:
            calls[name] += 1
            return do(*args, **options)

        monkeypatch.setattr(kind, name, wrapper)

    counted(_CheckpointConnector, "dump_checkpoint")
    counted(WholeFileIO, "save_checkpoint")
    sweep(tmp_path, *CURVE, "seed=0,1,2", "callbacks.checkpoints.every_n_steps=25")
    assert calls == {
        "dump_checkpoint": 4,
        "save_checkpoint": 3 * 4,
    }  # at steps 25, 50, 75 and 100, the epoch's end


@pytest.mark.slow
def test_in_chunks_it_is_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    words = [*CURVE, "callbacks=default", "seed=range(5)"]
    whole = jobs(sweep(tmp_path / "a", *words))
    parts = jobs(sweep(tmp_path / "b", *words, "hydra.launcher.chunk=2"))
    assert re.findall(r"(\d) jobs together", caplog.text) == ["5", "2", "2"]
    assert "1 of 5 jobs one by one" in caplog.text
    for name, run_dir in whole.items():
        ours, theirs = (numbers(rows(run)[-1]) for run in (run_dir, parts[name]))
        assert ours == pytest.approx(theirs, rel=LATER)


def test_a_chunk_is_gone_before_the_next_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries a chunk with a circular reference, and one in the traceback of a job's error."""
    chunks: list[weakref.ref[Any]] = []

    class Chunk:
        def __init__(self, jobs: list[Any], options: Any) -> None:
            assert [chunk() for chunk in chunks] == [None] * len(chunks)
            chunks.append(weakref.ref(self))
            self.jobs, self.alone, self.circle = jobs, Counter[str](), self

        def run(self) -> dict[Any, Any]:
            return (
                {} if self.jobs[0] is every[0] else self.build()
            )  # that chunk could not be trained

        def build(self) -> dict[Any, Any]:
            try:
                raise ValueError("no")
            except ValueError as error:
                return dict.fromkeys(self.jobs, error)

    class Job:
        def __init__(self, group: str) -> None:
            self.config = group

    monkeypatch.setattr(together, "_Chunk", Chunk)
    monkeypatch.setattr(together, "_chunks", lambda group, options: [[job] for job in group])
    monkeypatch.setattr(together, "obstacle", lambda config: None)
    monkeypatch.setattr(together, "common", lambda config: config)
    monkeypatch.setattr(together.gpus, "claim", lambda config: None)
    every: list[Any] = [Job(group) for group in "aaabb"]
    gc.disable()
    try:
        answers = together.run_together(every, together.Options(train))
    finally:
        gc.enable()
    assert list(answers) == every[1:]
    assert {str(answer) for answer in answers.values()} == {"no"}
    assert [chunk() for chunk in chunks] == [None] * 5  # before that job runs alone
    assert len(chunks) == 5


@pytest.mark.slow
def test_nothing_is_run_twice_and_a_sweep_grows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = sweep(tmp_path, *CURVE, "seed=0,1")
    before = {path: path.stat().st_mtime_ns for path in made.glob("*-????????/**/*")}
    caplog.set_level("INFO")
    sweep(tmp_path, *CURVE, "seed=0,1,2,3")
    assert "2 jobs together" in caplog.text
    assert (
        before.items()
        <= {path: path.stat().st_mtime_ns for path in made.glob("*-????????/**/*")}.items()
    )
    assert len(jobs(made)) == 4
    sweep(tmp_path, *CURVE, "seed=0,1", "sweep.force=true")
    assert len(list(made.glob("*.1"))) == 2
    run_report(str(made))
    assert (made / "report.md").exists()


STOPPED = [*SHORT_LENET, "seed=0,1", "callbacks.checkpoints.every_n_steps=20"]


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return jobs(sweep(tmp_path_factory.mktemp("alone"), *STOPPED, together=False))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_a_stopped_sweep_goes_on(
    sent: int, code: int, tmp_path: Path, left_alone: dict[str, Path]
) -> None:
    command = ["-m", *STOPPED, "hydra/launcher=vectorized", f"paths.log_dir={tmp_path / 'a'}"]
    assert train_in_process(command, kill_at="on_train_batch_end:30", kill_with=sent) == code
    left = jobs(folder(tmp_path / "a"))
    assert len(left) == 2
    for run_dir in left.values():
        assert torch.load(run_dir / folders.LAST, weights_only=True)["global_step"] == 20
        if sent != signal.SIGKILL:
            assert (summary(run_dir)["status"], summary(run_dir)["steps"]) == ("interrupted", 30)
    run_train(*command, draws=False)
    for name, run_dir in left.items():
        assert summary(run_dir)["status"] == "finished"
        assert len(rows(run_dir)) == len(rows(left_alone[name]))
        for row, right in zip(rows(run_dir), rows(left_alone[name]), strict=True):
            assert numbers(row) == pytest.approx(numbers(right), rel=LATER)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hook", "status"),
    [("on_train_batch_end:50", "interrupted"), ("on_test_epoch_start:80", "diverged")],
)
def test_an_interrupted_job_whose_loss_is_no_number_goes_on_unless_it_was_at_its_end(
    hook: str, status: str, tmp_path: Path
) -> None:
    """Nothing watches for divergence: only the end of a run says that it diverged, as alone."""
    words = [*SHORT_LENET, "optimizer.lr=0.01,1e20", "callbacks.divergence=null"]
    command = ["-m", *words, "hydra/launcher=vectorized", f"paths.log_dir={tmp_path}"]
    assert train_in_process(command, kill_at=hook, kill_with=signal.SIGINT) == 130
    assert statuses(folder(tmp_path)) == {"lr=0.01": "interrupted", "lr=1e+20": status}
    run_train(*command, draws=False)
    assert statuses(folder(tmp_path)) == {"lr=0.01": "finished", "lr=1e+20": "diverged"}


def test_a_mistake_in_any_job_is_found_before_the_first_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    betas = "optimizer.betas=[0.9,0.999],[0.9,0.99],[0.9,2.0]"
    with pytest.raises(SystemExit) as stop:
        sweep(tmp_path, *CURVE, "optimizer=adam", betas, "datamodule.steps_per_epoch=2")
    assert stop.value.code == 2
    assert "error: optimizer: Invalid beta parameter at index 1: 2.0" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_figures(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Draws the same figures as alone."""
    caplog.set_level("INFO")
    words = ["seed=0,1", "hydra.launcher.figures=true"]
    lenet = [*SHORT_LENET, "callbacks.classification.grid_images=4"]
    for run_dir in jobs(sweep(tmp_path / "lenet", *lenet, *words)).values():
        assert {path.name for path in run_dir.glob("figures/*")} == {
            "test_confusion_matrix.png",
            "test_images.png",
        }
    curve = [*CURVE, "datamodule.steps_per_epoch=30"]
    for run_dir in jobs(sweep(tmp_path / "curve", *curve, *words)).values():
        read = EventAccumulator(str(run_dir)).Reload()
        assert len(read.Images("train/curve")) == 3
        assert (run_dir / "figures/curve.png").exists()
    assert "one by one" not in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_evaluation(precision: str, tmp_path: Path) -> None:
    """The evaluating command finds the best weights."""
    made = jobs(sweep(tmp_path, *SHORT_LENET, "seed=0,1", f"trainer.precision={precision}"))
    for run_dir in made.values():
        before = summary(run_dir)["metrics"]
        run_evaluate(f"run={run_dir}", draws=False)
        after = json.loads((run_dir / "evaluation" / "test.json").read_text())["metrics"]
        assert after == pytest.approx({key: before[key] for key in after}, rel=LATER)


def test_options_that_are_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option, error in (
        ("chunk=0", "chunk=0: must be a whole number from 1 or null."),
        ("figures=1", "figures=1: must be true or false."),
    ):
        with pytest.raises(SystemExit) as stop:
            sweep(tmp_path, *CURVE, "seed=0,1", f"hydra.launcher.{option}")
        assert stop.value.code == 2
        assert f"error: hydra.launcher.{error}" in capsys.readouterr().err
    assert not list(tmp_path.glob("sweeps/*/*-*"))


def test_jobs_that_find_no_space_say_that_they_can_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    unused: Any = None
    chunk = together._Chunk([], unused)
    chunk.members[unused] = unused
    monkeypatch.setattr(chunk, "_run", full)
    (answer,) = chunk.run().values()
    assert isinstance(answer, Stopped)

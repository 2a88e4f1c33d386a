"""Checks how jobs train together: their data, their chunks, their figures, and what is refused."""

import errno
import gc
import json
import math
import warnings
import weakref
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from commands import run_evaluate, run_report
from engine.data.split import Split
from engine.errors import Stopped
from engine.vectorized import together
from fitting import Arrays
from project.train import train
from together import CURVE, LATER, SHORT_LENET, WITHOUT_GRAPH, jobs, summary, sweep


def test_data_are_loaded_once_for_each_seed_and_shared_if_they_do_not_depend_on_it() -> None:
    class Counted(Arrays):
        prepared: ClassVar[list[int]] = []
        loaded: ClassVar[list[int]] = []

        def prepare_data(self) -> None:
            self.prepared.append(self.seed)

        def load(self) -> dict[str, Split]:
            self.loaded.append(self.seed)
            self.class_names = ["a", "b"]
            return super().load()

    class Broken(Arrays):
        def prepare_data(self) -> None:
            raise OSError("no such file")

    same = [Counted({"train": ([[1.0]], [2.0])}, seed=seed) for seed in (3, 3, 4, 5)]
    assert together._share(same, [3, 3, 4, 5])
    assert Counted.prepared == Counted.loaded == [3, 4, 5]
    assert all(data.splits is same[0].splits for data in same)
    assert all(data.class_names == ["a", "b"] for data in same)
    one_seed = [Counted({"train": ([[math.nan]], [2.0])}, seed=6) for _ in range(2)]
    assert together._share(one_seed, [6, 6])
    assert Counted.prepared == Counted.loaded == [3, 4, 5, 6]
    differ = [Arrays({"train": ([[float(seed)]], [2.0])}, seed=seed) for seed in (3, 4, 4)]
    assert not together._share(differ, [3, 4, 4])
    assert [data.splits["train"].inputs.item() for data in differ] == [3, 4, 4]
    assert not together._share([Broken({"train": ([[1.0]], [2.0])})], [0])


def test_of_the_data_of_all_seeds_those_of_two_are_in_memory() -> None:
    """As it happened: those of each seed stayed until the last one was compared."""
    alive: list[weakref.ref[Any]] = []
    counts = []

    class Loads(Arrays):
        def load(self) -> dict[str, Split]:
            loaded = {"train": Split(torch.ones(2, 1), torch.ones(2, 1))}
            counts.append(sum(one() is not None for one in alive))
            alive.append(weakref.ref(loaded["train"]))
            return loaded

    data = [Loads({"train": ([[1.0]], [2.0])}, seed=seed) for seed in range(4)]
    assert together._share(data, [0, 1, 2, 3])
    assert counts == [0, 1, 1, 1]


def test_a_chunk_is_gone_before_the_next_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries a chunk with a circular reference, and one in the traceback of a job's error."""
    chunks: list[weakref.ref[Any]] = []

    class Chunk:
        def __init__(self, jobs: list[Any], *others: Any) -> None:
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
    monkeypatch.setattr(together, "_chunks", lambda group, *_: [[job] for job in group])
    monkeypatch.setattr(together, "obstacle", lambda config: None)
    monkeypatch.setattr(together, "common", lambda config: config)
    monkeypatch.setattr(together.code, "digests", lambda config, door: {})
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
    words = [*CURVE, WITHOUT_GRAPH, "datamodule.steps_per_epoch=5"]
    made = sweep(tmp_path, *words, "seed=0,1")
    before = {path: path.stat().st_mtime_ns for path in made.glob("*-????????/**/*")}
    caplog.set_level("INFO")
    sweep(tmp_path, *words, "seed=0,1,2,3")
    assert "2 jobs together" in caplog.text
    assert (
        before.items()
        <= {path: path.stat().st_mtime_ns for path in made.glob("*-????????/**/*")}.items()
    )
    assert len(jobs(made)) == 4
    sweep(tmp_path, *words, "seed=0,1", "sweep.force=true")
    assert len(list(made.glob("*.1"))) == 2
    run_report(str(made))
    assert (made / "report.md").exists()


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
    words = [WITHOUT_GRAPH, "seed=0,1", "hydra.launcher.figures=true"]
    lenet = [*SHORT_LENET, "callbacks.classification.grid_images=4"]
    for run_dir in jobs(sweep(tmp_path / "lenet", *lenet, *words)).values():
        assert {path.name for path in run_dir.glob("figures/*")} == {
            "test_confusion_matrix.png",
            "test_images.png",
        }
    for run_dir in jobs(sweep(tmp_path / "curve", *CURVE, *words)).values():
        read = EventAccumulator(str(run_dir)).Reload()
        assert len(read.Images("train/curve")) == 3
        assert (run_dir / "figures/curve.png").exists()
    assert "one by one" not in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_evaluation(precision: str, tmp_path: Path) -> None:
    """The evaluating command finds the best weights."""
    made = jobs(
        sweep(tmp_path, *SHORT_LENET, "logger=csv", "seed=0,1", f"trainer.precision={precision}")
    )
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
    chunk = together._Chunk([], unused, [])
    chunk.members[unused] = unused
    monkeypatch.setattr(chunk, "_run", full)
    (answer,) = chunk.run().values()
    assert isinstance(answer, Stopped)


def test_jobs_without_validation_get_no_warning_that_there_is_no_loader(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")  # before the filters that each test has
        sweep(tmp_path, *CURVE, WITHOUT_GRAPH, "seed=1,2")
    assert not [one for one in seen if "Total length" in str(one.message)]

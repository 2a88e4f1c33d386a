"""Checks that each job of a stack leaves the same files as the job alone."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from commands import own_schedule
from engine.callbacks.checkpoints import Checkpoints
from engine.run import folders
from together import (
    CURVE,
    FIRST,
    LATER,
    MINIBATCHES,
    SHORT_LENET,
    WITHOUT_GRAPH,
    folder,
    jobs,
    numbers,
    rows,
    statuses,
    summary,
    sweep,
)

CSV = "logger=csv"  # where TensorBoard is told nothing that other cases do not show
HYPER_PARAMETERS = ("hparams_name", "hyper_parameters", "datamodule_hyper_parameters")
SWEEPS = {
    "curve_fit": [*CURVE, "init=default,xavier", "seed=0,3"],
    "Adam": [
        *CURVE,
        CSV,
        "optimizer=adam",
        "optimizer.lr=0.01,0.1",
        "optimizer.betas=[0.9,0.999],[0.8,0.99]",
        "seed=2",
    ],
    "64 bits": [
        *CURVE,
        CSV,
        "trainer.precision=64-true",
        "optimizer=sgd",
        "optimizer.momentum=0,0.9",
        "seed=1",
    ],
    "linear": [
        "experiment=linear",
        "accelerator=cpu",
        WITHOUT_GRAPH,
        "seed=1",
        "optimizer.lr=0.01,1e30",
    ],
    "two_layer": [
        "experiment=two_layer",
        "accelerator=cpu",
        WITHOUT_GRAPH,
        "datamodule.steps_per_epoch=20",
        "seed=0,1",
    ],
    "lenet": [
        *SHORT_LENET,
        "trainer.val_check_interval=5",
        "init=default,he",
        "optimizer.weight_decay=0.001,0",
    ],
    # A step of RMSprop has hardly any size but its rate's: near zero, gradients round to any sign.
    "RMSprop and one cycle": [
        *CURVE,
        CSV,
        "trainer.precision=64-true",
        "optimizer=rmsprop",
        "optimizer.momentum=0,0.9",
        "scheduler=one_cycle",
        "scheduler.low_momentum=0.7",
        "seed=1",
    ],
    "AdamW and cosine": [
        *SHORT_LENET,
        CSV,
        "optimizer=adamw",
        "scheduler=cosine",
        "scheduler.warmup=0,0.3",
        "scheduler.floor=0.1",
    ],
    # The jobs have their drops at other steps, and one diverges.
    "steps": [
        *CURVE,
        WITHOUT_GRAPH,
        "trainer.precision=64-true",
        "scheduler=step",
        "scheduler.every=0.2,0.3",
        "optimizer.lr=0.2,1e20",
    ],
    "epochs": [
        *CURVE,
        WITHOUT_GRAPH,
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
    "diverges": [
        *SHORT_LENET,
        WITHOUT_GRAPH,
        "trainer.precision=64-true",
        "optimizer.lr=0.01,1e20",
    ],
    "weighted": [
        *SHORT_LENET,
        CSV,
        "module._target_=modules_of_tests.WeightedLeNet",
        "seed=0,1",
    ],
    # It diverges within the first epoch that is followed by a validation.
    "second epoch": [
        *[word for word in SHORT_LENET if "steps" not in word],
        WITHOUT_GRAPH,
        "datamodule.steps_per_epoch=2",
        "trainer.log_every_n_steps=1",
        "trainer.check_val_every_n_epoch=2",
        "optimizer.lr=0.01,1e30",
        "trainer.precision=64-true",
    ],
    "minibatches": [*MINIBATCHES, WITHOUT_GRAPH],
    "hyper-parameters": [
        *CURVE,
        CSV,
        "seed=0,1",
        "datamodule.steps_per_epoch=5",
        "module._target_=tried.KeepsOptions",
        "datamodule._target_=tried.KeepsFolds",
        "datamodule.folds=3",
    ],
    "a loss of its own in evaluation": [
        *MINIBATCHES,
        CSV,
        "trainer.max_epochs=1",
        "module._target_=tried.HasLoss",
        "+module.kind=HalvesEvaluations",
    ],
}


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


def assert_same_events(ours: Path, theirs: Path) -> None:
    """Compares what TensorBoard is told, if it is told anything."""
    logged = [bool(list(run.glob("events.*"))) for run in (ours, theirs)]
    assert logged[0] == logged[1]
    if not logged[0]:
        return
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
    same = "status", "error", "tested", "config_hash", "seed", "steps", "device", "versions", "git"
    assert {key: one[key] for key in same} == {key: other[key] for key in same}
    assert (one["objective"] is None) == (other["objective"] is None)
    assert one["objective"] == (other["objective"] and pytest.approx(other["objective"], rel=LATER))

    table, expected = rows(ours), rows(theirs)
    assert len(table) == len(expected)
    assert list(table[0]) == list(expected[0])
    for number, (row, right) in enumerate(zip(table, expected, strict=True)):
        tolerance = LATER if number else FIRST
        assert numbers(row) == pytest.approx(numbers(right), rel=tolerance, abs=1e-9, nan_ok=True)

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
        for name in (*HYPER_PARAMETERS, "lr_schedulers"):
            assert saved.get(name) == whole.get(name)
        ended, alone = (own["so_far"]["processes"][0] for own in (saved, whole))
        assert ended["logged"] == {}  # what one Trainer logs is of all jobs
        followed, right = ended["followed"], alone["followed"]
        torch.testing.assert_close(followed, right, rtol=LATER, atol=1e-9, equal_nan=True)
        torch.testing.assert_close(
            saved["optimizer_states"],
            whole["optimizer_states"],
            rtol=1e-3,
            atol=1e-5,
            equal_nan=True,
        )

    assert_same_events(ours, theirs)


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
    with_it = sweep(tmp_path / "a", *SHORT_LENET, CSV, "optimizer.lr=0.01,1e20,0.02")
    without = sweep(tmp_path / "b", *SHORT_LENET, CSV, "optimizer.lr=0.01,0.015,0.02")
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


def test_labels_that_are_all_ignored_stop_no_job(tmp_path: Path) -> None:
    """As it happened: a step without a label that counts was a divergence."""
    words = ["datamodule.batch_size=1", "trainer.log_every_n_steps=1", "seed=0,1", CSV]
    words += [*SHORT_LENET[:-1], "module._target_=modules_of_tests.IgnoresFours"]
    stacked, alone = (sweep(tmp_path / str(t), *words, together=t) for t in (True, False))
    assert statuses(stacked) == {"seed=0": "finished", "seed=1": "finished"}
    for name, run_dir in jobs(alone).items():
        theirs, ours = rows(run_dir), rows(jobs(stacked)[name])
        without = [row["step"] for row in ours if not row["train/loss"] and row["lr"]]
        assert 0 < len(without) < 24
        assert without == [row["step"] for row in theirs if not row["train/loss"] and row["lr"]]
        assert not any("nan" in row.values() for row in ours)


def test_a_job_says_that_its_weights_are_not_trained(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = sweep(tmp_path, *CURVE, CSV, "callbacks=default", "optimizer.lr=0.01,0")
    said = {name[:-9]: (run / "train.log").read_text() for name, run in jobs(made).items()}
    line = "not trained: no step of the first epoch has changed 4 of 4 weights: network.linear1"
    assert line in said["lr=0"]
    assert "not trained" not in said["lr=0.01"]
    assert f"1 of 2 jobs: {line}" in caplog.text


@pytest.mark.slow
def test_in_chunks_it_is_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    words = [*CURVE, CSV, "callbacks=default", "seed=range(5)"]
    whole = jobs(sweep(tmp_path / "a", *words))
    parts = jobs(sweep(tmp_path / "b", *words, "hydra.launcher.chunk=2"))
    assert re.findall(r"(\d) jobs together", caplog.text) == ["5", "2", "2"]
    assert "1 of 5 jobs one by one" in caplog.text
    for name, run_dir in whole.items():
        ours, theirs = (numbers(rows(run)[-1]) for run in (run_dir, parts[name]))
        assert ours == pytest.approx(theirs, rel=LATER)


@pytest.mark.slow
def test_a_job_whose_table_somebody_has_broken_fails_as_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table has what a sweep compares. A job that diverged needs none, and stays diverged."""
    on_fit_end = Checkpoints.on_fit_end

    def broken(self: Checkpoints, trainer: Any, module: Any) -> None:
        on_fit_end(self, trainer, module)
        if trainer.datamodule.seed == 1:
            Path(trainer.default_root_dir, "metrics.csv").write_text("no table\n")

    monkeypatch.setattr(Checkpoints, "on_fit_end", broken)
    ended = {}
    words = [*CURVE, CSV, "seed=0,1", "optimizer.lr=0.2,1e30"]
    for way, together in (("alone", False), ("together", True)):
        with pytest.raises(SystemExit) as stop:
            sweep(tmp_path / way, *words, together=together)
        made = jobs(folder(tmp_path / way))
        parts = [summary(run_dir) for run_dir in made.values()]
        kept = [(one["status"], one["error"], one["objective"] is None) for one in parts]
        ended[way] = stop.value.code, str(kept).replace(f"/{way}/", "/")
    assert "('failed', " in ended["alone"][1]
    assert "('finished', None, False)" in ended["alone"][1]
    assert ended["alone"][1].count("'diverged', ") == 2
    assert ended["together"] == ended["alone"]


def test_rates_of_jobs_change_by_a_scheduler_without_a_config(tmp_path: Path) -> None:
    """It was refused, as Lightning's config was asked for; each job's rate has a closed form."""
    words = ["experiment=linear", "accelerator=cpu", CSV, "datamodule.steps_per_epoch=2"]
    schedule = own_schedule("unlike.bare", "+scheduler.gamma=0.5,0.1", "trainer.max_epochs=3")
    made = jobs(sweep(tmp_path, *words, *schedule))
    assert len(made) == 2
    for name, run_dir in made.items():
        gamma = float(name.split("gamma=")[1].split("-")[0])
        rates = [float(row["lr"]) for row in rows(run_dir) if row.get("lr")]
        assert rates == pytest.approx([0.01 * gamma ** (n // 2) for n in range(6)], rel=1e-12)
        assert "one of 2 jobs that train together" in (run_dir / "train.log").read_text()

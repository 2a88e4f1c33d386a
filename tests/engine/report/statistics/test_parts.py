"""Which runs are ranked against each other."""

from pathlib import Path
from typing import Any

from engine.report.read.collect import Run
from engine.report.statistics.parts import split
from engine.run.summaries import Objective

ACC = Objective("val/acc", "best epoch", "max", 0.5)
LOSS = Objective("train/loss", "last value", "min", 2.0)


def a_run(
    data: str = "a.Digits",
    experiment: str = "lenet",
    objective: Objective | None = ACC,
    **config: Any,
) -> Run:
    flat = {"datamodule._target_": data, **{k.replace("__", "."): v for k, v in config.items()}}
    words = (f"experiment={experiment}",) if experiment else ()
    status = "finished" if objective else "diverged"
    return Run(Path(), "", flat, status, {}, objective=objective, overrides=words)


def sizes(*runs: Run) -> list[tuple[str, int]]:
    return [(part.title, len(part.runs)) for part in split(runs)]


def test_settings_of_one_task_are_one_part() -> None:
    assert sizes(a_run(optimizer__lr=0.1), a_run(optimizer__lr=0.2, name="other")) == [
        ("lenet on Digits", 2)
    ]


def test_experiments_data_and_folders_of_data_are_parts() -> None:
    runs = [
        a_run(),
        a_run(),
        a_run(experiment="resnet"),
        a_run("a.Cifar10"),
        a_run(datamodule__data_dir="/data/x"),
        a_run(experiment=""),
    ]
    assert sizes(*runs) == [
        ("lenet on Digits: data_dir=–", 2),
        ("lenet on Digits: data_dir=/data/x", 1),
        ("resnet on Digits", 1),
        ("lenet on Cifar10", 1),
        ("Digits", 1),
    ]


def test_a_project_s_data_may_lie_elsewhere() -> None:
    runs = [
        a_run(datamodule__data_dir=f"{home}/digits", paths__data_dir=home) for home in ("/a", "/b")
    ]
    assert len(split(runs)) == 1


def test_objectives_are_parts_and_a_diverged_run_goes_where_its_checkpoints_point() -> None:
    runs = [
        a_run(),
        a_run(),
        a_run(objective=LOSS),
        a_run(objective=None, callbacks__checkpoints__monitor="train/loss"),
        a_run(objective=None, callbacks__checkpoints__monitor="val/acc"),
        a_run(objective=None),
    ]
    first, second = split(runs)
    assert first.runs == [runs[i] for i in (0, 1, 4, 5)]
    assert second.runs == [runs[i] for i in (2, 3)]
    assert len(split(runs, "val/acc")) == 1  # what a user asks for is one


def test_parts_of_one_task_say_in_what_they_differ() -> None:
    """As it happened: two tables had one title, and what made them two was nowhere."""
    swa = {"callbacks__swa___target_": "lightning.SWA", "callbacks__swa__rate": 1}
    last = ACC._replace(taken="last value")
    runs = [a_run(seed=seed, optimizer__lr=lr) for seed in range(2) for lr in (1, 2)]
    runs += [a_run(seed=seed, objective=last, **swa) for seed in range(2)]
    assert sizes(*runs) == [
        ("lenet on Digits: val/acc, best epoch (max); swa=–", 4),
        ("lenet on Digits: val/acc, last value (max); swa=SWA", 2),
    ]
    assert sizes(*runs[:4]) == [("lenet on Digits", 4)]


def test_runs_that_differ_in_what_is_better_are_parts() -> None:
    """As it happened: the largest losses came first, and were compared with the least."""
    worst = ACC._replace(mode="min")
    runs = [
        a_run(),
        a_run(),
        a_run(objective=worst),
        a_run(
            objective=None,
            callbacks__checkpoints__monitor="val/acc",
            callbacks__checkpoints__mode="min",
        ),
    ]
    assert [part.runs for part in split(runs)] == [runs[:2], runs[2:]]


def test_a_run_whose_objective_is_nan_stays_with_its_like() -> None:
    assert len(split([a_run(), a_run(objective=ACC._replace(value=float("nan")))])) == 1

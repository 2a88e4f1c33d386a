"""summary.json, and what is said of it."""

import json
import math
import os
import re
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.io_wrapper import GetLogdirSubdirectories

from engine.run import summaries


def test_summary_is_strict_json_without_nan(tmp_path: Path) -> None:
    summary = {
        "status": "diverged",
        "objective": math.nan,
        "metrics": {"a": math.inf, "b": 0.1},
        "steps": 3,
    }
    summaries.save(tmp_path, summary)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    expected = {
        "status": "diverged",
        "objective": None,
        "metrics": {"a": None, "b": 0.1},
        "steps": 3,
    }
    assert json.loads((tmp_path / "summary.json").read_text(), parse_constant=refuse) == expected
    assert summaries.load(tmp_path) == expected


def test_no_summary_is_none(tmp_path: Path) -> None:
    assert summaries.load(tmp_path) is None


@pytest.mark.parametrize("objective", [0.5, 0, None], ids=["number", "zero", "none"])
def test_objective(objective: float | None) -> None:
    found = summaries.objective({"objective": objective})
    assert found == objective if objective is not None else math.isnan(found)
    assert math.isnan(summaries.objective({}))


def test_an_objective_has_a_name() -> None:
    of = {"metric": "val/acc", "taken": "best epoch", "mode": "max"}
    found = summaries.objective_of({"objective": 0.5, "objective_of": of})
    assert found == ("val/acc", "best epoch", "max", 0.5)
    assert summaries.objective_name({"objective": None, "objective_of": of}) == (
        "val/acc, best epoch"
    )
    assert summaries.objective_name({"status": "failed", "objective_of": None}) == ""
    assert summaries.objective_name({}) == ""  # the summary of an older version
    assert summaries.Objective("returned by train(run)", "", "min").name == "returned by train(run)"


@pytest.mark.parametrize("name", ["val/acc", "val_loss", "valid/f1", "validation.loss"])
def test_a_metric_of_validation_is_known_by_its_name(name: str) -> None:
    assert summaries.is_validation(name)
    assert not summaries.is_validation(name.replace("val", "train"))


def test_a_value_is_no_validation() -> None:
    assert not summaries.is_validation("value_loss")


@pytest.mark.parametrize(
    ("metric", "tested"),
    [("val/acc", {"test/acc": 0.5}), ("train/loss", {"test/loss": 2.0}), ("val_f1", {})],
)
def test_the_metric_of_the_test_is_the_one_of_the_objective(
    metric: str, tested: dict[str, float]
) -> None:
    of = {"metric": metric, "taken": "best epoch", "mode": "max"}
    metrics = {"val/acc": 0.6, "test/acc": 0.5, "test/loss": 2.0, "test_f1": None}
    summary = {"objective": 0.6, "objective_of": of, "metrics": metrics}
    assert summaries.tested(summary) == tested
    assert summaries.tested({**summary, "metrics": None}) == {}
    assert summaries.tested({**summary, "tested": "best.ckpt"}) == tested
    assert summaries.tested({**summary, "tested": "last.ckpt"}) == {}
    assert summaries.tested({**summary, "objective_of": None}) == {}


def test_final_metrics_are_the_last_value_of_each_column_in_whole_lines(tmp_path: Path) -> None:
    assert summaries.final_metrics(tmp_path) == {}
    (tmp_path / "metrics.csv").write_text(
        "epoch,step,lr,train/loss,val/acc\n0,9,0.1,2.5,\n0,9,,,0.25\n1,19,0.1,1e-3,\n1,19,,,nan\n2,29,0.1,0.125,\n"
        "2,39,0.1,0.0"
    )
    found = summaries.final_metrics(tmp_path)
    assert found["train/loss"] == 0.125
    assert math.isnan(found["val/acc"])
    assert list(found) == ["train/loss", "val/acc"]


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        (["val/loss", "train/loss", "loss"], "train/loss"),
        (["train_acc", "train_loss_epoch", "train_loss_step"], "train_loss_epoch"),
        (["g_loss", "loss"], "loss"),
        (["val_loss", "test_loss", "g_loss", "train_acc"], None),
        ([], None),
    ],
)
def test_the_training_loss_is_known_by_its_name(metrics: list[str], expected: str | None) -> None:
    assert summaries.training_loss(metrics) == expected
    assert summaries.training_loss(dict.fromkeys(metrics, 0.5)) == expected


def test_closing_words_read_well(tmp_path: Path) -> None:
    metrics = {"train/loss": 1.5, "val/acc": 0.123456789, "val/loss": 2.0, "my_loss": 12}
    summary = {
        "status": "finished",
        "steps": 62_500,
        "seconds": 59.96,
        "metrics": metrics,
        "objective": 0.123456,
        "objective_of": {"metric": "val/acc", "taken": "best epoch", "mode": "max"},
    }
    words = re.sub(r"\x1b\[\d*m", "", summaries.closing_words(summary, Path("/logs/x")))
    assert words.splitlines() == [
        "                train         val       value",
        "  loss            1.5           2",
        "  acc                      0.1235",
        "  my_loss                                  12",
        "train: the last row of metrics.csv",
        "val/acc, best epoch: 0.1235",
        "finished after 62,500 steps, 60.0 s: /logs/x",
    ]
    summary["metrics"] = {f"test/acc/{'very ' * 24}{which}": 0.5 for which in ("large", "small")}
    words = re.sub(r"\x1b\[\d*m", "", summaries.closing_words(summary, tmp_path)).splitlines()
    assert {len(word) for word in words[:3]} == {2 + 40 + 12}
    assert [word.split()[-2] for word in words[1:3]] == ["large", "small"]
    summary["metrics"] = {"val/acc": 0.25, "test/acc": 0.5}
    whose = "test: with best.ckpt; val: the last ones logged"
    for recorded in ({}, {"tested": "the weights that the module had"}):
        assert whose not in summaries.closing_words({**summary, **recorded}, tmp_path)
    said = summaries.closing_words({**summary, "tested": "/x/best.ckpt"}, tmp_path)
    assert said.splitlines()[2] == "test: with /x/best.ckpt"
    summary["tested"] = "best.ckpt"
    assert summaries.closing_words(summary, tmp_path).splitlines()[2] == whose
    summary["metrics"] |= {"train/loss": 1.5}
    lines = summaries.closing_words(summary, tmp_path).splitlines()
    assert lines[3] == f"{whose}; train: the last row of metrics.csv"
    summary["objective"] = 1.5  # it is compared by that row
    assert summaries.closing_words(summary, tmp_path).splitlines()[3] == whose
    summary |= {"steps": 1, "objective": None, "metrics": {}}
    words = re.sub(r"\x1b\[\d*m", "", summaries.closing_words(summary, Path.cwd() / "x y"))
    assert words == "finished after 1 step, 60.0 s: 'x y'"


def test_the_next_commands_can_be_pasted() -> None:
    assert summaries.next_commands(Path("/logs/x"), "mine.train").splitlines()[1:] == [
        "  tensorboard --logdir /logs/x",
        "  python -m mine.report /logs/x",
    ]


@pytest.mark.parametrize("parent", ["", "a"])
def test_of_many_runs_the_page_of_tensorboard_selects_none(parent: str, tmp_path: Path) -> None:
    """It lists a job's row of HParams as a run, too, and no folder of locks or figures."""

    def add(name: str) -> int:
        """Adds a file of events, and returns how many runs TensorBoard finds."""
        (tmp_path / parent / name).mkdir(parents=True)
        (tmp_path / parent / name / "events.out.tfevents.1.here").touch()
        return len([*GetLogdirSubdirectories(str(tmp_path))])

    for folder in (".locks", "figures", "optuna"):
        (tmp_path / folder).mkdir()
    for number in range(20):
        add(f"job {number}")
        listed = add(f"job {number}/hparams")
    assert listed == 40
    assert len(summaries.next_commands(tmp_path, "mine.train").splitlines()) == 3
    assert add("job 20") == 41
    assert summaries.next_commands(tmp_path, "mine.train").splitlines()[3:] == [
        "Of more than 40 runs, TensorBoard selects none: tick the box above their list."
    ]


def test_a_folder_that_may_not_be_listed_has_its_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happened: a finished run ended with a traceback, below a folder of mode 711."""

    def refuse(folder: object) -> None:
        raise PermissionError(13, "Permission denied", folder)

    with monkeypatch.context() as limited:
        for name in ("listdir", "scandir"):
            limited.setattr(os, name, refuse)
        said = summaries.next_commands(tmp_path, "mine.train")
    assert said.splitlines()[1:] == [
        f"  tensorboard --logdir {tmp_path}",
        f"  python -m mine.report {tmp_path}",
    ]


def table_of(*points: tuple[int, int, float]) -> list[dict[str, str]]:
    """Rows of a table: epoch, step and training loss."""
    return [
        {"epoch": str(epoch), "step": str(step), "train/loss": str(loss)}
        for epoch, step, loss in points
    ]


@pytest.mark.parametrize(
    ("points", "of_pass", "expected"),
    [
        # 5 samples in batches of 2: steps of 2, 2 and 1 samples.
        ([(0, 2, 9), (1, 3, 1), (1, 4, 2), (1, 5, 4)], (5, 2), (2 * 1 + 2 * 2 + 4) / 5),
        ([(0, 2, 9), (1, 4, 1.5), (1, 5, 4)], (5, 2), (4 * 1.5 + 4) / 5),
        ([(0, 2, 9), (1, 5, 2)], (5, 2), 2),
        ([(0, 2, 9), (1, 3, 1), (1, 4, 2)], (5, 2), (9 + 2 * 1 + 2 * 2) / 5),  # from within a pass
        ([(0, 0, 9), (0, 1, 0.1), (0, 2, 0.3)], (7, 7), 0.3),  # a step is a pass
        ([(0, 9, 9), (0, 19, 0.3)], (7, 7), 0.3),  # a row has ten passes
        ([(0, 0, 0.5)], (5, 2), 0.5),  # less than a pass
        ([(0, 0, 9), (0, 2, 9), (1, 3, 1), (1, 5, 4)], (None, 1), (1 + 2 * 4) / 3),
        ([(0, 1, 3), (0, 3, 9), (1, 4, 1), (1, 5, 4)], (None, 1), (2 * 9 + 1 + 4) / 4),
        ([(0, 0, 9), (0, 1, 9), (0, 0, 1), (0, 1, 4)], (None, 1), 2.5),  # a second training
    ],
)
def test_a_loss_of_the_last_pass(
    points: list[tuple[int, int, float]], of_pass: tuple[int | None, int], expected: float
) -> None:
    found = summaries.of_last_pass(table_of(*points), "train/loss", *of_pass)
    assert found == pytest.approx(expected, rel=1e-15)


def test_rows_that_are_logged_by_hand_have_no_pass() -> None:
    """Their steps may be anything, such as the number of the epoch."""
    assert summaries.of_last_pass([{"step": "0", "loss": "1"}], "loss") is None
    rows = [*table_of((0, 0, 1), (0, 1, 2)), {"step": "2", "train/loss": "9"}, {"step": "2"}]
    assert summaries.of_last_pass(rows, "train/loss") == 1.5

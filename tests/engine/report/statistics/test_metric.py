"""Which metric is compared, and which way is better."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.errors import UserError
from engine.report.read.collect import Run
from engine.report.statistics.metric import choose, direction, lacks, of_tests, value_of
from engine.run.summaries import BEST_EPOCH, Objective


def runs(*names: Sequence[str]) -> list[Run]:
    return [Run(Path(), "", {}, "finished", dict.fromkeys(own, 0.5)) for own in names]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([["train/loss", "val/loss", "val/acc", "val/acc/3", "test/acc"]], "val/acc"),
        ([["train/loss", "val/loss", "test/acc"]], "val/loss"),
        ([["train/acc", "train/loss", "test/loss"]], "test/loss"),
        ([["train/loss"]], "train/loss"),
        (
            [["train/loss"], ["train/loss"], ["train/loss", "val/acc"]],
            "train/loss",
        ),  # of a third of the runs only
        ([["train/loss", "val/acc"], ["train/loss"]], "val/acc"),
        ([["val/width", "val/loss"]], "val/loss"),  # of which we know what is better
        ([["val/acc/0", "val/loss"]], "val/loss"),  # of all classes
    ],
)
def test_default(names: list[list[str]], expected: str) -> None:
    assert choose(runs(*names))[:3] == (expected, "last value", direction(expected))


def test_asked_for() -> None:
    assert choose(runs(["val/acc"], ["test/acc"]), "test/acc").name == "test/acc, last value"


def test_unknown() -> None:
    with pytest.raises(UserError) as error:
        choose(runs(["val/acc", "val/acc/3", "train/loss"]), "val/ac")
    assert (
        str(error.value)
        == "--metric val/ac: no run has it. Did you mean val/acc? They have: train/loss, val/acc."
    )
    with pytest.raises(UserError, match=r"^none of the runs has logged a metric yet\.$"):
        choose(runs([]))


def test_where_all_runs_have_failed_their_first_error_is_told() -> None:
    """As it happened: the refusal hid why no run had logged a metric."""
    own = [
        Run(Path(), "lr=1", {}, "interrupted", {}),
        Run(Path(), "lr=2", {}, "failed", {}, error="RuntimeError: no room"),
        Run(Path(), "lr=3", {}, "failed", {}, error="ValueError: later"),
    ]
    with pytest.raises(UserError) as error:
        choose(own)
    assert str(error.value) == (
        "none of the runs has logged a metric yet. They are: 2 failed, 1 interrupted. The first "
        "error, of lr=2: RuntimeError: no room"
    )


def of(metric: str | None, value: float = 0.5, **metrics: float) -> Run:
    """Returns a run with an objective."""
    found = metric and Objective(metric, BEST_EPOCH, "max", value)
    return Run(Path(), "", {}, "finished", metrics, objective=found or None)


def test_the_objective_of_most_runs_is_compared() -> None:
    some = [of("val/acc", 0.5), of("val/acc", 0.6), of("val/f1"), of(None, test_acc=0.9)]
    assert choose(some).name == "val/acc, best epoch"
    assert choose(some).mode == "max"
    assert choose(some, mode="min").mode == "min"
    assert choose(some, "test_acc").name == "test_acc, last value"


def test_a_run_with_another_objective_has_no_value() -> None:
    compared = choose([of("val/acc")])
    assert [lacks(run, compared, True) for run in (of("val/acc"), of("val/f1"), of(None))] == [
        False,
        True,
        True,
    ]
    assert value_of(of("val/acc", 0.75), compared) == 0.75


def test_metrics_of_the_test_stand_beside() -> None:
    names = ["test/loss", "test/acc", "test/acc/0", "val/acc", "test/f1", "tested"]
    assert of_tests(runs(names), choose([of("val/acc")])) == ["test/acc", "test/f1"]
    assert of_tests(runs(names), choose([of("val/loss")])) == ["test/loss", "test/acc"]
    names = ["test/acc", "test/f1/macro", "test/loss", "val/f1/macro"]  # without a test/f1
    assert of_tests(runs(names), choose([of("val/f1/macro")])) == ["test/f1/macro", "test/acc"]


@pytest.mark.parametrize(
    ("metric", "mode"),
    [
        ("val/loss", "min"),
        ("train/mse", "min"),
        ("val/top1_error", "min"),
        ("val/acc", "max"),
        ("test/acc/3", "max"),
        ("val/macro_F1", "max"),
        ("val/r2", "max"),
        ("val_loss", "min"),
        ("perplexity", "min"),
    ],
)
def test_direction(metric: str, mode: str) -> None:
    assert direction(metric) == mode
    assert direction(metric, "max" if mode == "min" else "min") != mode


def follows(metric: str, mode: str, *logged: str) -> Run:
    config = {"callbacks.checkpoints.monitor": metric, "callbacks.checkpoints.mode": mode}
    return Run(Path(), "", config, "running", dict.fromkeys(logged, 0.5))


def test_runs_say_which_way_is_better_and_names_where_they_do_not() -> None:
    """As it happened: a score of which less is better was taken for one of which more is."""
    logged = ("val_fid_score", "test_fid_score", "val_loss", "test_acc")
    some = [follows("val_fid_score", "min", *logged), *runs(logged)]
    found = Objective("val_fid_score", "last value", "min")
    assert choose(some)[:3] == found[:3]
    for name, mode in (("test_fid_score", "min"), ("val_loss", "min"), ("test_acc", "max")):
        assert choose(some, name).mode == mode
    assert choose(some, "val_fid_score", "max").mode == "max"
    found = Objective("val_fid_score", BEST_EPOCH, "min", 0.5)
    done = Run(Path(), "", {}, "finished", dict.fromkeys(logged, 0.5), objective=found)
    assert choose([done], "test_fid_score").mode == "min"
    assert choose([follows("val_other", "min", "test_acc", "val_loss")]).metric == "val_loss"


def test_what_is_said_of_a_metric_says_nothing_of_another_one() -> None:
    some = [follows("brier_score", "min", "brier_score", "f1_score", "val/loss")]
    assert choose(some, "f1_score").mode == "max"
    with pytest.raises(UserError):
        choose([follows("val_loss", "min", "neg_loss")], "neg_loss")
    many = [follows("val/loss", "min", "val/loss"), *runs(*[["val/acc"]] * 9)]
    assert choose(many).metric == "val/acc"  # the other is that of a tenth of the runs


def test_direction_that_nobody_knows() -> None:
    for name in ("val/neg_mse", "val/negative_log_loss"):
        with pytest.raises(UserError):
            direction(name)
    assert direction("val/width", "min") == "min"
    with pytest.raises(
        UserError, match=r"^--metric val/width: .*; add --mode min or --mode max\.$"
    ):
        direction("val/width")
    with pytest.raises(UserError) as error:
        choose(runs(["val/width"]))  # nobody has typed --metric
    assert str(error.value) == (
        "no run has an objective, so val/width is compared: its name does not say which way is "
        "better; add --mode min or --mode max."
    )

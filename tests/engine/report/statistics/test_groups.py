"""Groups of runs against NumPy and the definition of the t interval."""

import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from engine.report.page.tables import of_runs, ranking, runs
from engine.report.statistics.findings import notes
from engine.report.statistics.groups import ranks
from engine.run.summaries import BEST_EPOCH, LAST_VALUE, Objective
from synthetic_runs import content_of, write_run

ACC = {"sgd": [0.81, 0.84, 0.79, 0.86], "adam": [0.91, 0.88]}


def write_group(folder: Path, optimizer: str, accuracies: list[float]) -> None:
    for seed, acc in enumerate(accuracies):
        write_run(
            folder / f"{optimizer}{seed}",
            optimizer=optimizer,
            seed=seed,
            metrics={"val/acc": acc},
            seconds=10.0 * (seed + 1) ** 2,
        )


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_mean_interval_best_and_time(tmp_path: Path, alpha: float) -> None:
    for optimizer, accuracies in ACC.items():
        write_group(tmp_path, optimizer, accuracies)
    content = content_of(tmp_path, alpha=alpha)
    assert content.keys == ["optimizer"]
    assert list(content.groups["optimizer"]) == ["Adam", "SGD"]  # best first
    for (_, group), accuracies in zip(
        content.groups.iterrows(), [ACC["adam"], ACC["sgd"]], strict=True
    ):
        n = len(accuracies)
        half = stats.t.ppf(1 - alpha / 2, n - 1) * np.std(accuracies, ddof=1) / math.sqrt(n)
        assert group["n"] == n
        assert group["mean"] == pytest.approx(np.mean(accuracies), rel=1e-12)
        assert group["low"] == pytest.approx(np.mean(accuracies) - half, rel=1e-12)
        assert group["high"] == pytest.approx(np.mean(accuracies) + half, rel=1e-12)
        assert group["best"] == max(accuracies)
        assert group["seconds"] == np.median([10.0 * (seed + 1) ** 2 for seed in range(n)])
    assert list(content.groups["rank"]) == [1, 2]


def test_lower_is_better_for_a_loss_and_where_one_says_so(tmp_path: Path) -> None:
    for optimizer, losses in {"sgd": [3.0, 1.0], "adam": [1.5, 1.6]}.items():
        for seed, loss in enumerate(losses):
            write_run(
                tmp_path / f"{optimizer}{seed}",
                optimizer=optimizer,
                seed=seed,
                metrics={"val/loss": loss},
            )
    assert list(content_of(tmp_path).groups["label"]) == ["Adam", "SGD"]
    assert list(content_of(tmp_path).groups["best"]) == [1.5, 1.0]
    upwards = content_of(tmp_path, mode="max")
    assert list(upwards.groups["label"]) == ["SGD", "Adam"]
    assert list(upwards.groups["best"]) == [3.0, 1.6]


def test_ties_share_a_rank(tmp_path: Path) -> None:
    for name, acc in {"sgd": 0.5, "adam": 0.5}.items():
        write_group(tmp_path, name, [acc])
    write_run(tmp_path / "xavier", init="xavier", metrics={"val/acc": 0.25})
    assert list(content_of(tmp_path).groups["rank"]) == [1, 1, 3]


def test_one_run_has_no_interval_and_equal_runs_one_of_no_width(tmp_path: Path) -> None:
    write_group(tmp_path, "sgd", [0.5])
    write_group(tmp_path, "adam", [0.25, 0.25, 0.25])
    sgd, adam = (group for _, group in content_of(tmp_path).groups.iterrows())
    assert math.isnan(sgd["low"])
    assert math.isnan(sgd["high"])
    assert (adam["low"], adam["high"]) == (0.25, 0.25)


def test_runs_that_repeat_one_another_count_once(tmp_path: Path) -> None:
    """As it happened: of three seeds, each run twice, the interval was 2.6 times too narrow."""
    seeds = np.array([[0.81, 0.83], [0.84, 0.84], [0.76, 0.79]])
    for number in range(2):
        write_group(tmp_path / str(number), "sgd", list(seeds[:, number]))
        write_run(tmp_path / f"{number}/fold", seed=2, status="failed")
    for seed, status in ((5, "failed"), (5, "diverged"), (0, "failed")):
        write_run(tmp_path / f"{seed}{status}", seed=seed, status=status, optimizer="sgd")
    (group,) = (group for _, group in content_of(tmp_path).groups.iterrows())
    means = seeds.mean(axis=1)
    half = stats.t.ppf(0.975, 2) * np.std(means, ddof=1) / math.sqrt(3)
    assert (group["n"], group["runs"]) == (3, 4)
    assert group["mean"] == pytest.approx(means.mean(), rel=1e-12)
    assert group["high"] == pytest.approx(means.mean() + half, rel=1e-12)
    assert group["left_out"] in ("1 failed", "1 diverged")


def test_what_does_not_count_is_counted_apart(tmp_path: Path) -> None:
    write_group(tmp_path, "sgd", [0.5, 0.7])
    for seed, status in enumerate(
        ["diverged", "failed", "failed", "interrupted", "pruned", None], start=2
    ):
        write_run(
            tmp_path / f"sgd{seed}", seed=seed, status=status, metrics={"val/acc": 0.0}, seconds=1e6
        )
    write_run(tmp_path / "nan", seed=8, metrics={"val/acc": math.nan})
    # As it happened: an infinite value was called NaN.
    write_run(tmp_path / "infinite", seed=10, metrics={"val/acc": math.inf})
    write_run(tmp_path / "without", seed=9, metrics={"val/loss": 1.0})
    write_run(tmp_path / "empty", optimizer="adam", status="diverged", metrics={"val/acc": 1.0})
    content = content_of(tmp_path)
    sgd, adam = (group for _, group in content.groups.iterrows())
    assert (sgd["runs"], sgd["n"], sgd["seconds"]) == (
        11,
        2,
        10.0,
    )  # of 10, 40, 10, 10 s: those that finished
    assert sgd["mean"] == pytest.approx(0.6, rel=1e-12)
    reasons = "1 diverged, 2 failed, 1 interrupted, 1 pruned, 1 running, 2 not finite"
    assert set(sgd["left_out"].split(", ")) == {*reasons.split(", "), "1 without val/acc"}
    assert (adam["n"], adam["left_out"], adam["label"]) == (0, "1 diverged", "Adam")
    assert math.isnan(adam["rank"])


def test_group_by_some_keys(tmp_path: Path) -> None:
    accuracies = np.random.default_rng(0).uniform(size=(2, 2, 3))
    for i, optimizer in enumerate(["sgd", "adam"]):
        for j, init in enumerate(["he", "xavier"]):
            for seed in range(3):
                write_run(
                    tmp_path / f"{optimizer}{init}{seed}",
                    optimizer=optimizer,
                    init=init,
                    seed=seed,
                    metrics={"val/acc": accuracies[i, j, seed]},
                )
    content = content_of(tmp_path, group_by=["init"])
    assert (content.keys, content.others) == (["init"], ["optimizer"])
    means = dict(zip(content.groups["init"], content.groups["mean"], strict=True))
    assert means == pytest.approx(
        {"he": accuracies[:, 0].mean(), "xavier": accuracies[:, 1].mean()}, rel=1e-12
    )
    whole = content_of(tmp_path)
    assert (whole.keys, len(whole.groups), set(whole.groups["n"])) == (
        ["optimizer", "init"],
        4,
        {3},
    )


def test_a_key_that_goes_with_the_chosen_one_differs_within_no_group(tmp_path: Path) -> None:
    """As it happened: nothing was tested, as no two runs agreed in the other key."""
    for optimizer, best in (("sgd", 0.5), ("adam", 0.75)):
        for seed, init in product(range(3), ("he", "xavier")):
            acc = best + 0.01 * seed + 0.02 * (init == "he") + 0.001 * seed * (optimizer == "sgd")
            write_run(
                tmp_path / f"{optimizer}{init}{seed}",
                optimizer=optimizer,
                init=init,
                seed=seed,
                metrics={"val/acc": acc},
            )
    asked = content_of(tmp_path, group_by=["optimizer.betas"])
    assert (asked.keys, asked.tied, asked.others) == (["optimizer.betas"], ["optimizer"], ["init"])
    assert list(of_runs(asked)["optimizer"]) == ["Adam"] * 6 + ["SGD"] * 6
    by_choice = content_of(tmp_path, group_by=["optimizer"])
    assert (by_choice.tied, by_choice.others) == ([], ["init"])
    assert list(asked.groups["verdict"]) == list(by_choice.groups["verdict"]) == ["best", "worse"]
    assert asked.groups["p"].iloc[1] == by_choice.groups["p"].iloc[1]
    assert asked.groups["common"].iloc[1] == 6


def test_runs_that_are_groups_by_themselves_tell_of_no_key_that_it_follows(tmp_path: Path) -> None:
    for number, init in enumerate(("he", "xavier", "he")):
        changes = {"optimizer.lr": 0.1 + number}
        write_run(tmp_path / str(number), init=init, metrics={"val/acc": 0.5}, changes=changes)
    asked = content_of(tmp_path, group_by=["optimizer.lr"])
    assert (asked.tied, asked.others) == ([], ["init"])
    assert not any("ithin groups differ" in note for note in notes(asked))


def test_keys_tied_to_others_are_shown_where_there_is_room(tmp_path: Path) -> None:
    for number in range(2):
        ties = {f"trainer.tie{i}": number for i in range(5)}
        write_run(
            tmp_path / str(number),
            metrics={"val/acc": 0.5},
            changes={"trainer.max_epochs": number, **ties},
        )
    content = content_of(tmp_path)
    assert content.keys == content.distinguishing == ["trainer.max_epochs"]
    assert content.tied == [f"trainer.tie{i}" for i in range(5)]
    assert {"trainer.max_epochs", *content.tied} < {*of_runs(content)}
    for path in tmp_path.glob("*/.hydra/config.yaml"):
        path.write_text(path.read_text().replace("tie4", "x: 0 # "))
    content = content_of(tmp_path)
    assert (len(content.keys), content.distinguishing, content.tied) == (
        5,
        ["trainer.max_epochs"],
        [],
    )


@pytest.mark.parametrize("by_a_search", [True, False])
def test_many_keys_that_were_drawn_are_all_shown(tmp_path: Path, by_a_search: bool) -> None:
    """As it happened: two keys of six told all trials apart, and the others were called tied."""
    names = [f"a.{name}" for name in "uvwxyz"]
    drawn = np.random.default_rng(0).integers(0, 4, size=(12, 6))
    for number, values in enumerate(drawn.tolist()):
        trial = {"sweep.trial.number": number} if by_a_search else {}
        changes = {**dict(zip(names, values, strict=True)), **trial}
        write_run(tmp_path / f"{number:02}", metrics={"val/acc": number}, changes=changes)
    content = content_of(tmp_path)
    assert content.keys == content.distinguishing == names
    assert content.tied == []
    best = ", ".join(f"{name[-1]}={value}" for name, value in zip(names, drawn[-1], strict=True))
    assert content.groups["label"].iloc[0] == best
    assert of_runs(content)[names].to_numpy().tolist() == drawn.tolist()


def test_a_search_shows_keys_that_seem_to_say_each_other(tmp_path: Path) -> None:
    for number in range(3):
        changes = {"a.x": number, "a.y": -number, "sweep.trial.number": number}
        write_run(tmp_path / str(number), metrics={"val/acc": number}, changes=changes)
    assert list(content_of(tmp_path).groups["label"]) == ["x=2, y=-2", "x=1, y=-1", "x=0, y=0"]


def test_ranks_against_scipy_but_for_rounding() -> None:
    means = pd.Series([0.3, 0.5, np.nan, 0.5 + 2e-8, 0.1, 0.5 - 3e-8])
    exact = means.round(6)
    for mode, sign in (("min", 1), ("max", -1)):
        expected = stats.rankdata(sign * exact, method="min", nan_policy="omit")
        np.testing.assert_array_equal(ranks(means, mode), expected)


def test_settings_are_written_with_as_many_digits_as_tell_them_apart(tmp_path: Path) -> None:
    for rate in (0.12341, 0.12342):
        write_run(tmp_path / f"{rate}", metrics={"val/acc": rate}, changes={"optimizer.lr": rate})
    labels = list(content_of(tmp_path).groups["label"])
    assert labels == ["lr=0.12342", "lr=0.12341"]


def write_keys(folder: Path, key: str) -> None:
    """Writes three seeds of two values of a key; the larger one is better."""
    for value in (50, 100):
        for seed in range(3):
            acc = value / 200 + seed * value / 10**4
            write_run(
                folder / f"{value}-{seed}",
                seed=seed,
                metrics={"val/acc": acc},
                objective=Objective("val/acc", BEST_EPOCH, "max", acc),
                changes={key: value},
            )


def test_a_key_of_any_name_is_a_column_of_its_own(tmp_path: Path) -> None:
    write_keys(tmp_path / "plain", "width")
    plain = content_of(tmp_path / "plain")
    columns = {*plain.rows, *plain.groups, *of_runs(plain), "order", "trial"}
    names = sorted({column for column in columns if column.isidentifier()} - {"seed"})
    assert len(names) > 25
    for name in names:
        write_keys(tmp_path / name, name)
        content = content_of(tmp_path / name)
        assert list(content.groups["label"]) == [f"{name}=100", f"{name}=50"]
        for column in ("n", "mean", "best", "rank", "difference"):
            found = content.groups[column].to_numpy()
            assert np.array_equal(found, plain.groups[column].to_numpy(), equal_nan=True), column
        assert content.keys == [f"config.{name}"]
        table = of_runs(content)
        assert list(table[f"config.{name}"]) == [100] * 3 + [50] * 3
        assert list(table["val/acc"]) == list(of_runs(plain)["val/acc"])
        heads = [column.name for column in ranking(content)]
        assert (heads[1], heads[2]) == (name, "n")
        assert {column.name for column in runs(content)} >= {"folder", "status", name, "seed"}
    with_n = content_of(tmp_path / "n", group_by=["n"])
    assert list(with_n.groups["label"]) == ["n=100", "n=50"]


def test_a_group_without_a_node_is_called_by_its_key(tmp_path: Path) -> None:
    """As it happened: "Best: –, val/acc", for the runs without a mean of the weights."""
    nodes: dict[str, dict[str, Any]] = {
        "plain": {},
        "ema": {"callbacks.ema._target_": "engine.Averaging"},
        "step": {"scheduler._target_": "torch.optim.lr_scheduler.StepLR"},
    }
    for number, (name, changes) in enumerate(nodes.items()):
        accuracy = {"val/acc": 0.5 + number / 10}
        write_run(tmp_path / name, metrics=accuracy, changes=changes)
    labels = content_of(tmp_path).groups.sort_values("mean")["label"]
    assert list(labels) == [
        "ema=–, scheduler=–",
        "Averaging, scheduler=–",
        "ema=–, StepLR",
    ]


def test_a_metric_that_is_asked_for_counts_in_all_runs_that_have_it(tmp_path: Path) -> None:
    """As it happened: where it was the objective of some runs, the others were left out."""
    for seed, loss in enumerate((0.25, 0.5)):
        ours = Objective("train/loss", LAST_VALUE, "min", loss)
        others = Objective("val/loss", BEST_EPOCH, "min", 0.125)
        metrics = {"train/loss": loss}
        write_run(tmp_path / f"a{seed}", seed=seed, metrics=metrics, objective=ours)
        metrics = {"train/loss": loss / 2, "val/loss": 0.75}
        write_run(
            tmp_path / f"b{seed}", optimizer="adam", seed=seed, metrics=metrics, objective=others
        )
    groups = content_of(tmp_path, metric_name="train/loss").groups
    assert list(groups["label"]) == ["Adam", "SGD"]
    assert list(groups["mean"]) == [0.1875, 0.375]
    assert list(groups["n"]) == [2, 2]
    assert list(groups["left_out"]) == ["", ""]

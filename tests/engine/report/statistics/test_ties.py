"""Which curves are one curve."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from engine.report.page import curves
from engine.report.page.page import part_of
from engine.report.statistics.content import Content
from engine.report.statistics.ties import with_ties
from engine.run.summaries import BEST_EPOCH, Objective
from synthetic_runs import content_of, write_run

STEPS = np.arange(0, 500, 10)


def of_curves(folder: Path, losses: dict[str, np.ndarray], seeds: int = 3) -> Content:
    """Reports on runs with a curve for each seed, and finds ties."""
    for name, own in losses.items():
        for seed in range(seeds):
            values = own * (1 + seed)
            steps = STEPS[: len(values)]
            write_run(
                folder / f"{name}{seed}",
                seed=seed,
                metrics={"train/loss": values[-1]},
                curve={int(s): {"train/loss": v} for s, v in zip(steps, values, strict=True)},
                changes={"module.way": name},
            )
    content = content_of(folder)
    return with_ties(content, curves.collect(content).frames)


def falling(rate: float, noise: float = 0.0, late: float = 0.0) -> np.ndarray:
    """Returns a loss that falls, with relative noise, and more of it in the second half."""
    rng = np.random.default_rng(int(1e6 * (noise + late)))
    spread = np.where(STEPS < 300, noise, late)
    return np.asarray(1e6 * np.exp(-STEPS * rate) * (1 + spread * rng.uniform(-1, 1, len(STEPS))))


def test_one_curve_with_another_rounding_is_a_tie(tmp_path: Path) -> None:
    losses = {"a": falling(0.03), "b": falling(0.03, 0.001, 0.5), "c": falling(0.029)}
    groups = of_curves(tmp_path, losses).groups
    found = groups.set_index("module.way")
    assert list(found.loc[["a", "b", "c"], "rank"]) == [1, 1, 3]
    assert set(found.loc[["a", "b"], "verdict"]) == {"best", "same curve"}
    tied = groups[groups["verdict"] == "same curve"].iloc[0]
    assert math.isnan(tied["p_holm"])


@pytest.mark.parametrize(("noise", "verdict"), [(1e-6, "same curve"), (1e-4, "worse")])
def test_a_rounding_that_is_always_the_worse_one_is_a_tie(
    noise: float, verdict: str, tmp_path: Path
) -> None:
    """A test tells the ends apart at every seed; the beginnings tell whether anything differs."""
    late = falling(0.03, noise) * np.where(STEPS < 300, 1, 1.02)
    content = of_curves(tmp_path, {"a": falling(0.03), "b": late}, seeds=8)
    assert list(content.groups["verdict"]) == ["best", verdict]
    untied = content_of(tmp_path).groups
    assert list(untied["verdict"]) == ["best", "worse"]
    assert list(content.groups["rank"]) == [1, 1 if verdict == "same curve" else 2]
    assert content.groups["p"].iloc[1] == untied["p"].iloc[1] < 0.05  # which the report keeps


def test_what_begins_later_is_no_rounding(tmp_path: Path) -> None:
    late = falling(0.03) * np.where(STEPS < 100, 1, 1.002)
    content = of_curves(tmp_path, {"a": falling(0.03), "b": late}, seeds=8)
    assert list(content.groups["verdict"]) == ["best", "worse"]


@pytest.mark.parametrize(
    "other",
    [
        falling(0.0303),
        np.where(STEPS < 300, falling(0.03), 2e5),
        falling(0.03)[:5].repeat(10),
        falling(0.03) * np.where(STEPS < 300, 1, 1.01),
        falling(0.03)[:40],
    ],
    ids=["another rate", "another end", "another beginning", "a late effect", "a shorter run"],
)
def test_another_curve_is_none(tmp_path: Path, other: np.ndarray) -> None:
    groups = of_curves(tmp_path, {"a": falling(0.03), "b": other}).groups
    assert "same curve" not in list(groups["verdict"])
    assert list(groups["rank"]) == [1, 2]


@pytest.mark.parametrize("size", [1.003, 1 + 1e-6])
def test_curves_that_are_one_at_first_and_part_later_are_two(tmp_path: Path, size: float) -> None:
    """As it happened: a loss that falls by little, and ends 6 % of its span higher, was a tie."""
    slow = 2 + 0.1 * falling(0.03) / 1e6
    late = slow * np.where(STEPS < 300, 1, size)
    groups = of_curves(tmp_path, {"a": slow, "b": late}).groups
    assert "same curve" not in list(groups["verdict"])


def test_curves_that_are_the_same_numbers_are_a_tie(tmp_path: Path) -> None:
    groups = of_curves(tmp_path, {"a": falling(0.03), "b": falling(0.03)}).groups
    assert list(groups["verdict"]) == ["best", "same curve"]


def test_a_curve_of_another_metric_makes_no_tie(tmp_path: Path) -> None:
    """As it happened: a mean of the weights trained the same, was validated worse, and tied."""
    rng = np.random.default_rng(0)
    losses = {"plain": rng.normal(0.3, 0.02, 5), "mean": rng.normal(0.9, 0.02, 5)}
    for name, validated in losses.items():
        curve = falling(0.03) * (1 + 1e-7 * (name == "mean"))
        for seed, loss in enumerate(validated):
            rows = {int(s): {"train/loss": v} for s, v in zip(STEPS, curve, strict=True)}
            write_run(
                tmp_path / f"{name}{seed}",
                seed=seed,
                metrics={"val/loss": loss},
                curve={**rows, 500: {"val/loss": loss}},
                objective=Objective("val/loss", BEST_EPOCH, "min", loss),
                changes={"module.weights": name},
            )
    made = part_of(content_of(tmp_path), "project.train").content
    assert list(made.groups["rank"]) == [1, 2]
    assert list(made.groups["verdict"]) == ["best", "worse"]
    expected = stats.ttest_rel(losses["plain"], losses["mean"]).pvalue
    assert made.groups["p_holm"].iloc[1] == pytest.approx(expected)


def test_the_other_tests_are_corrected_over_those_that_are_left(tmp_path: Path) -> None:
    """A tie that came last by its mean leaves the ranks after its own, and takes no test along."""
    losses = {"a": falling(0.03), "b": falling(0.03, 0.001, 0.5), "c": falling(0.0299)}
    found = of_curves(tmp_path, losses).groups.set_index("module.way")
    assert sorted(found["rank"]) == [1, 1, 3]
    assert found.loc["c", "rank"] == 3
    assert found.loc["c", "p_holm"] == found.loc["c", "p"]  # of one test


def test_a_step_with_two_rows_counts_by_the_last(tmp_path: Path) -> None:
    losses = {"a": falling(0.03), "b": falling(0.03)}
    of_curves(tmp_path, losses)
    for table in tmp_path.glob("*/metrics.csv"):
        first, *lines = table.read_text().splitlines()
        table.write_text("\n".join([first, lines[0].replace(",1", ",9"), *lines]) + "\n")
    content = content_of(tmp_path)
    groups = with_ties(content, curves.collect(content).frames).groups
    assert list(groups["rank"]) == [1, 1]

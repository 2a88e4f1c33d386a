"""Paired tests against SciPy's and their definitions, and Holm's correction worked out by hand."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from engine.report.statistics.content import Content
from engine.report.statistics.significance import corrected_by_holm
from synthetic_runs import content_of, write_run

RNG = np.random.default_rng(0)
BASE = 0.9 + 0.01 * RNG.normal(size=10)  # what a seed brings, whatever the batch size
# Group (by batch size) -> value by seed: two that are equal but for noise, one far worse, one a
# little worse, one of other seeds, one of fewer seeds.
VALUES: dict[int, dict[int, float]] = {
    1: dict(enumerate(BASE + 0.004 + 0.002 * RNG.normal(size=10))),
    2: dict(enumerate(BASE + 0.004 + 0.002 * RNG.normal(size=10))),
    3: dict(enumerate(BASE - 0.1 + 0.002 * RNG.normal(size=10))),
    4: dict(enumerate(BASE - 0.01 + 0.004 * RNG.normal(size=10))),
    5: {seed: BASE[seed % 10] - 0.05 + 0.01 * RNG.normal() for seed in range(6, 14)},
    6: {seed: 0.5 + 0.01 * seed for seed in (3, 20, 21)},
}


def report_on(
    folder: Path, values: Mapping[int, Mapping[int, float]], metric: str = "val/acc"
) -> Content:
    for group, by_seed in values.items():
        for seed, value in by_seed.items():
            write_run(
                folder / f"{group}-{seed}",
                seed=seed,
                metrics={metric: value},
                changes={"datamodule.batch_size": group},
            )
    return content_of(folder)


def by_group(content: Content) -> dict[int, pd.Series]:
    return {group["datamodule.batch_size"]: group for _, group in content.groups.iterrows()}


def paired_p(differences: np.ndarray) -> float:
    """Student's paired test, two-sided."""
    t = differences.mean() / (differences.std(ddof=1) / math.sqrt(len(differences)))
    return float(2 * stats.t.sf(abs(t), len(differences) - 1))


def step_levels(p: Sequence[float], alpha: float) -> list[float]:
    """Walks down Holm's steps: the level at which each hypothesis is tested, or is no more."""
    levels = dict.fromkeys(range(len(p)), 0.0)
    level = 0.0
    goes_on = True
    for step, i in enumerate(np.argsort(p)):
        level = alpha / (len(p) - step) if goes_on else level
        goes_on = goes_on and p[i] <= level
        levels[int(i)] = level
    return list(levels.values())


def test_an_interval_leaves_out_zero_exactly_where_holm_shows_a_difference(tmp_path: Path) -> None:
    """Of 40 tests, whose raw p-values lie on both sides of every level of Holm's method."""
    rng = np.random.default_rng(3)
    values = {
        group: dict(enumerate(0.9 - 0.0008 * group + 0.01 * rng.normal(size=8)))
        for group in range(41)
    }
    groups = report_on(tmp_path, values).groups
    tested = groups[groups["p"].notna()]
    shown = tested["p_holm"] <= 0.05
    alone = tested["p"] <= 0.05
    assert 0 < shown.sum() < alone.sum() < len(tested) == 40
    leaves_out = (tested["diff_low"] > 0) | (tested["diff_high"] < 0)
    assert list(leaves_out) == list(shown)
    assert list(tested["verdict"] != "not shown to differ") == list(shown)


def test_holm_by_hand() -> None:
    """Two are equal, one is below a smaller one's, and one is above 1."""
    p = np.array([0.7, 0.01, 0.03, 0.6, 0.03])
    # In order: 5 × 0.01, 4 × 0.03, 3 × 0.03 (0.09, so 0.12), 2 × 0.6 (1.2, so 1), 1 × 0.7 (so 1).
    assert corrected_by_holm(p) == pytest.approx([1.0, 0.05, 0.12, 1.0, 0.12], rel=1e-12)


def test_numbers(tmp_path: Path) -> None:
    found = by_group(report_on(tmp_path, VALUES))
    best = max(VALUES, key=lambda group: np.mean(list(VALUES[group].values())))
    assert found[best]["verdict"] == "best"
    tested = [group for group in (1, 2, 3, 4, 5) if group != best]
    differences = {}
    for group in tested:
        common = sorted(VALUES[best].keys() & VALUES[group].keys())
        assert found[group]["common"] == len(common) == (4 if group == 5 else 10)
        differences[group] = np.array([VALUES[group][seed] - VALUES[best][seed] for seed in common])
    p = [paired_p(differences[group]) for group in tested]
    levels = dict(zip(tested, step_levels(p, 0.05), strict=True))
    assert found[tested[int(np.argmin(p))]]["p_holm"] == pytest.approx(4 * min(p), rel=1e-9)
    for group, raw in zip(tested, p, strict=True):
        d = differences[group]
        level = levels[group]
        half = stats.t.ppf(1 - level / 2, len(d) - 1) * d.std(ddof=1) / math.sqrt(len(d))
        assert found[group]["p"] == pytest.approx(raw, rel=1e-9)
        assert found[group]["difference"] == pytest.approx(d.mean(), rel=1e-9)
        assert found[group]["diff_low"] == pytest.approx(d.mean() - half, rel=1e-9)
        assert found[group]["diff_high"] == pytest.approx(d.mean() + half, rel=1e-9)


def test_verdicts(tmp_path: Path) -> None:
    found = by_group(report_on(tmp_path, VALUES))
    verdicts = {group: row["verdict"] for group, row in found.items()}
    assert sorted([verdicts.pop(1), verdicts.pop(2)]) == ["best", "not shown to differ"]
    assert verdicts == {3: "worse", 4: "worse", 5: "worse", 6: "not tested"}
    assert (found[6]["common"], math.isnan(found[6]["p_holm"])) == (1, True)


def test_holm_takes_back_what_one_test_alone_would_say(tmp_path: Path) -> None:
    few = {0: {0: 0.9, 1: 0.91, 2: 0.9}, 1: {0: 0.885, 1: 0.893, 2: 0.89}}
    (_, alone) = (group for _, group in report_on(tmp_path / "alone", few).groups.iterrows())
    assert (alone["verdict"], alone["p"] < 0.05, alone["p_holm"]) == (
        "worse",
        True,
        pytest.approx(alone["p"]),
    )
    noise = {
        group: {seed: 0.8 + 0.05 * ((seed + group) % 3) for seed in range(3)} for group in (2, 3, 4)
    }
    one_of_four = by_group(report_on(tmp_path / "four", {**few, **noise}))[1]
    assert one_of_four["p"] == pytest.approx(alone["p"])
    assert (one_of_four["verdict"], one_of_four["p_holm"] > 0.05) == ("not shown to differ", True)


def test_seeds_pair_their_runs(tmp_path: Path) -> None:
    """A difference far below the spread over seeds is seen, for every seed shows it."""
    wide = np.linspace(0.2, 0.9, 5)
    content = report_on(
        tmp_path,
        {1: dict(enumerate(wide)), 2: dict(enumerate(wide - [0.01, 0.011, 0.009, 0.01, 0.012]))},
    )
    assert by_group(content)[2]["verdict"] == "worse"
    assert stats.ttest_ind(wide, wide - 0.01).pvalue > 0.9


def test_differences_without_spread_are_not_tested(tmp_path: Path) -> None:
    seeds = range(4)
    content = report_on(
        tmp_path,
        {
            1: {seed: 0.5 + 0.1 * seed for seed in seeds},
            2: {seed: 0.5 + 0.1 * seed for seed in seeds},
            3: {seed: 0.25 + 0.1 * seed for seed in seeds},
        },
    )
    found = by_group(content)
    assert [found[group]["verdict"] for group in (1, 2, 3)] == [
        "best",
        "same values",
        "constant difference",
    ]
    assert found[3]["difference"] == pytest.approx(-0.25)
    assert content.groups["p"].isna().all()


def test_a_group_that_is_better_where_both_ran(tmp_path: Path) -> None:
    """Of unequal seeds: the one mean is higher, but for a seed that the other group lacks."""
    values = {1: {0: 0.5, 1: 0.51, 2: 0.5, 9: 0.99}, 2: {0: 0.55, 1: 0.562, 2: 0.549}}
    assert by_group(report_on(tmp_path, values))[2]["verdict"] == "better at common seeds"
    losses = {
        group: {seed: 1 - value for seed, value in own.items()} for group, own in values.items()
    }
    assert (
        by_group(report_on(tmp_path / "loss", losses, "val/loss"))[2]["verdict"]
        == "better at common seeds"
    )


def test_lower_is_better(tmp_path: Path) -> None:
    losses = {
        1: dict(enumerate(BASE)),
        2: dict(enumerate(BASE + 0.1 + 0.002 * RNG.normal(size=10))),
    }
    assert [
        row["verdict"] for row in by_group(report_on(tmp_path, losses, "val/loss")).values()
    ] == ["best", "worse"]


def test_folds_pair_too_and_repetitions_count_once(tmp_path: Path) -> None:
    rng, values = np.random.default_rng(1), {}
    for optimizer in ("sgd", "adam"):
        for seed in range(2):
            for fold in range(3):
                for copy in range(2):  # the same config and seed twice
                    acc = 0.5 + 0.2 * fold + 0.01 * rng.normal() + 0.1 * (optimizer == "adam")
                    values[optimizer, seed, fold, copy] = acc
                    write_run(
                        tmp_path / f"{optimizer}{seed}{fold}{copy}",
                        optimizer=optimizer,
                        seed=seed,
                        metrics={"val/acc": acc},
                        changes={"datamodule.fold": fold},
                    )
    content = content_of(tmp_path)
    _, sgd = (group for _, group in content.groups.iterrows())
    d = np.array(
        [
            np.mean([values["sgd", s, f, c] - values["adam", s, f, c] for c in range(2)])
            for s in range(2)
            for f in range(3)
        ]
    )
    assert (sgd["n"], sgd["common"], sgd["verdict"]) == (6, 6, "worse")
    assert sgd["p"] == pytest.approx(paired_p(d), rel=1e-9)
    by_fold = content_of(tmp_path, group_by=["datamodule.fold"]).groups
    assert list(by_fold["common"]) == [0, 4, 4]  # of two optimisers and two seeds


def test_one_seed_only(tmp_path: Path) -> None:
    content = report_on(tmp_path, {1: {0: 0.5}, 2: {0: 0.6}})
    assert list(content.groups["verdict"]) == ["best", "not tested"]
    assert content.groups[["p", "p_holm", "low", "high"]].isna().all(axis=None)


def test_what_differs_in_the_rounding_of_float32_only_is_constant_or_the_same(
    tmp_path: Path,
) -> None:
    """As it happened: two pairs that differ by 7 of 69 samples had p < 0.001."""
    right = {1: [60, 62], 2: [53, 55], 3: [60, 62]}
    values = {
        group: {seed: float(np.float32(n / 69)) for seed, n in enumerate(own)}
        for group, own in right.items()
    }
    values[3][0] += 6e-8
    groups = by_group(report_on(tmp_path, values))
    assert values[1][0] - values[2][0] != values[1][1] - values[2][1]
    assert {groups[1]["verdict"], groups[3]["verdict"]} == {"best", "same values"}
    assert groups[2]["verdict"] == "constant difference"
    assert math.isnan(groups[2]["p_holm"])
    assert [groups[n]["rank"] for n in (1, 2, 3)] == [1, 3, 1]


def test_a_spread_that_no_number_can_hold_is_no_warning(tmp_path: Path) -> None:
    values = {n: {seed: 1e200 * (n + seed * (n + seed)) for seed in range(3)} for n in (1, 2)}
    content = report_on(tmp_path, values)
    assert list(content.groups["verdict"]) == ["best", "not shown to differ"]
    assert content.groups["diff_high"].iloc[1] == math.inf

"""What a report says in words."""

import json
import math
from pathlib import Path

import pytest

from engine.report.statistics import numbers
from engine.report.statistics.findings import failures, notes, statements
from synthetic_runs import content_of, write_run

WORSE = "Worse than the best by more than noise (paired t-test, Holm, α = 0.05):"
NOISE = (
    "Not shown to differ from the best; these runs cannot tell them apart, "
    "which does not make them equal:"
)


def test_numbers_as_people_read_them() -> None:
    assert numbers.mean(0.96451, 0.01757) == "0.965 ± 0.018"
    assert numbers.mean(34.951, 28.29) == "35 ± 28"
    assert numbers.mean(2.3025531, 0.0000251) == "2.303 ± 2.5e-05"
    assert numbers.mean(2.3025531, 0.00251) == "2.3026 ± 0.0025"
    assert numbers.mean(5.5e170, math.inf) == "5.5e+170 ± ∞"
    assert numbers.difference(2.5, -math.inf, math.inf) == "+2.5 (CI −inf to +inf)"
    assert numbers.mean(2.5e7, 1.3e5) == "2.500e+07 ± 1.3e+05"
    assert numbers.mean(123456, 150) == "123456 ± 150"
    assert numbers.mean(0.003412, 3.3e-6) == "3.4120e-03 ± 3.3e-06"
    assert numbers.mean(0.5, float("nan")) == "0.5"
    assert numbers.mean(0.5, 0.0) == "0.5 (all equal)"
    assert [numbers.setting(value) for value in (0.0012345678, 3, "he", 1e-5)] == [
        "0.001235",
        "3",
        "he",
        "1e-05",
    ]
    assert numbers.difference(-0.0316, -0.0584, -0.0048) == "−0.032 (CI −0.058 to −0.005)"
    assert numbers.difference(-0.05, -0.11, -0.0003) == "−0.05 (CI −0.11 to −0.0003)"
    assert numbers.difference(-0.03, -1.1, 1.04) == "−0.03 (CI −1.1 to +1)"
    assert [numbers.p(p) for p in (0.5, 0.0312, 0.00099, 0.0)] == [
        "0.5",
        "0.031",
        "< 0.001",
        "< 0.001",
    ]
    seconds = [float("nan"), 0.0551, 9.96, 75, 150, 9000]
    assert [numbers.duration(s) for s in seconds] == [
        "–",
        "0.055 s",
        "10 s",
        "75 s",
        "2.5 min",
        "2.5 h",
    ]


def test_statements(tmp_path: Path) -> None:
    runs = {
        ("sgd", "he"): [0.90, 0.92, 0.91],
        ("adam", "he"): [0.901, 0.917, 0.911],
        ("sgd", "xavier"): [0.5, 0.519, 0.511],
    }
    for (optimizer, init), accuracies in runs.items():
        for seed, acc in enumerate(accuracies):
            write_run(
                tmp_path / f"{optimizer}{init}{seed}",
                optimizer=optimizer,
                init=init,
                seed=seed,
                metrics={"val/acc": acc},
            )
    write_run(
        tmp_path / "lonely", optimizer="adam", init="xavier", seed=0, metrics={"val/acc": 0.1}
    )
    best, worse, noise, untested, few = statements(content_of(tmp_path))
    assert best.text == "Best: SGD, he, val/acc, last value: 0.910 ± 0.025 (n = 3)."
    assert worse.text == WORSE
    assert worse.items == ("SGD, xavier: −0.4000 (CI −0.4036 to −0.3964), Holm p < 0.001, 3 pairs",)
    assert noise.text == NOISE
    assert noise.items == ("Adam, he: −0.0003 (CI −0.0061 to +0.0054), Holm p = 0.83, 3 pairs",)
    assert untested.text == "Not tested, for a paired test needs two seeds in common with the best:"
    assert untested.items == ("Adam, xavier: 1 pair",)
    assert few.text == "A paired test of 3 seeds finds large differences only."
    assert "One run only, so no interval: Adam, xavier." in notes(
        content_of(tmp_path, metric_name="val/acc")
    )
    assert (
        "Groups differ in their seeds; each mean is over its own, each test over those in common."
        in notes(content_of(tmp_path, metric_name="val/acc"))
    )


def test_one_seed_only(tmp_path: Path) -> None:
    for optimizer, acc in {"sgd": 0.5, "adam": 0.6}.items():
        write_run(tmp_path / optimizer, optimizer=optimizer, metrics={"val/acc": acc})
    content = content_of(tmp_path, metric_name="val/acc")
    assert notes(content) == [
        "Every group has one run only: no intervals, no tests; "
        "run more seeds, such as seed=0,1,2,3,4."
    ]
    assert statements(content)[0].text == "Best: Adam, val/acc, last value: 0.6 (n = 1)."


def test_nothing_to_note_of_a_tidy_sweep(tmp_path: Path) -> None:
    for seed, acc in enumerate([0.5, 0.6]):
        write_run(tmp_path / str(seed), seed=seed, metrics={"val/acc": acc})
    content = content_of(tmp_path, metric_name="val/acc")
    assert notes(content) == []
    assert statements(content) == []  # one group


@pytest.mark.parametrize(
    ("key", "is_noted"),
    [("val_fraction", True), ("split_seed", True), ("folds", True), ("batch_size", False)],
)
def test_other_samples_to_validate_on_are_noted(key: str, is_noted: bool, tmp_path: Path) -> None:
    for seed in range(2):
        for value in (2, 4):
            write_run(
                tmp_path / f"{value}{seed}",
                seed=seed,
                metrics={"val/acc": 0.5 + seed / value},
                changes={f"datamodule.{key}": value},
            )
    said = f"Runs may be validated on other samples, as they differ in datamodule.{key}."
    assert notes(content_of(tmp_path, metric_name="val/acc")) == [said] * is_noted


def test_code_that_changed_between_runs_is_noted(tmp_path: Path) -> None:
    """A sweep's table calls the older ones stale."""
    data = {"digest": "a", "samples": {}, "classes": [], "files": None}
    for seed, digest in enumerate(("one", "one", "other")):
        run_dir = write_run(tmp_path / str(seed), seed=seed, metrics={"val/acc": 0.5 + seed / 10})
        code = {"project.modules.lenet": digest, "project.init": "same"}
        made_of = {"data": data, "code": code, "begins_from": None, "versions": {}}
        (run_dir / ".hydra/made_of.json").write_text(json.dumps(made_of))
    assert notes(content_of(tmp_path, metric_name="val/acc")) == [
        "The code changed from run to run: lenet.py."
    ]


@pytest.mark.parametrize("known_by", ["digest", "files"])
@pytest.mark.parametrize(
    ("seeds", "key", "is_noted"),
    [
        ((0, 0), "optimizer.lr", True),
        ((0, 0), "datamodule.num_workers", True),
        ((0, 0), "datamodule.batch_size", True),
        ((0, 1), "optimizer.lr", False),
        ((0, 0), "datamodule.fold", False),
        ((0, 0), "datamodule.subset", False),
    ],
    ids=str,
)
def test_data_that_changed_between_runs_are_noted(
    seeds: tuple[int, int], key: str, is_noted: bool, known_by: str, tmp_path: Path
) -> None:
    """As it happened: a table had runs of two contents of one file. Other seeds may draw others."""
    for number, seed in enumerate(seeds):
        name = ("adam", "sgd")[number]
        metrics = {"val/acc": 0.5 + number / 10}
        changes = {key: number}
        run_dir = write_run(tmp_path / name, seed=seed, metrics=metrics, changes=changes)
        data = {"digest": None, "samples": {}, "classes": [], "files": None}
        data[known_by] = f"digest {number}"
        made_of = {"data": data, "code": {}, "begins_from": None, "versions": {}}
        (run_dir / ".hydra/made_of.json").write_text(json.dumps(made_of))
    said = "The data changed from run to run: with one config of the data, runs had other samples."
    assert (said in notes(content_of(tmp_path, metric_name="val/acc"))) == is_noted


@pytest.mark.parametrize("follows", [False, True], ids=["own seed", "the run's seed"])
@pytest.mark.parametrize(
    ("digests", "is_noted"),
    [
        ("aab", True),  # a sweep that grew after the data had changed
        ("aaa", False),
        ("abc", False),  # drawn from the seed, as far as one can see
    ],
)
def test_data_that_are_not_drawn_from_the_seed_are_known_by_other_seeds(
    digests: str, is_noted: bool, follows: bool, tmp_path: Path
) -> None:
    """As it happened: the mean was over seeds of two contents of one file, and nothing said so."""
    for seed, digest in enumerate(digests):
        changes = {"datamodule.seed": seed if follows else 7, "datamodule.data_dir": "/data"}
        metrics = {"val/acc": 0.5 + seed / 10}
        run_dir = write_run(tmp_path / str(seed), seed=seed, metrics=metrics, changes=changes)
        data = {"digest": digest, "samples": {}, "classes": [], "files": None}
        made_of = {"data": data, "code": {}, "begins_from": None, "versions": {}}
        (run_dir / ".hydra/made_of.json").write_text(json.dumps(made_of))
    said = "The data changed from run to run: with one config of the data, runs had other samples."
    assert (said in notes(content_of(tmp_path, metric_name="val/acc"))) == is_noted


def test_what_limits_the_numbers(tmp_path: Path) -> None:
    for seed in range(2):
        for fold in range(2):
            write_run(
                tmp_path / f"a{seed}{fold}",
                seed=seed,
                metrics={"val/acc": 0.5 + 0.1 * seed + 0.01 * fold},
                changes={"datamodule.fold": fold},
            )
    write_run(tmp_path / "again", seed=1, metrics={"val/acc": 0.5}, changes={"datamodule.fold": 1})
    write_run(tmp_path / "diverged", optimizer="adam", status="diverged")
    write_run(tmp_path / "failed", seed=5, status="failed", error="KeyError: 'lr'")
    (write_run(tmp_path / "broken") / "summary.json").write_text("[]")
    summary = tmp_path / "a00" / "summary.json"
    summary.write_text(summary.read_text().replace("2.15.0", "2.14.0"))
    content = content_of(tmp_path)
    guessed, left_out, no_rank, repeats, folds, versions, unread = notes(content)
    assert guessed.startswith("No run has an objective, so val/acc is compared, for its name: ")
    asked = notes(content_of(tmp_path, metric_name="val/acc"))
    assert asked == [left_out, no_rank, repeats, folds, versions, unread]
    means = "Means are over finished runs with a number for val/acc, last value; left out: "
    assert left_out.startswith(means)
    assert {"1 diverged", "1 failed"} == set(
        left_out.partition("left out: ")[2].rstrip(".").split(", ")
    )
    assert no_rank == "Without any such run, and so without a rank: Adam."
    assert (
        repeats == "1 run repeats another's config and seed; such runs count once, by their mean."
    )
    assert folds.startswith("Folds share training data")
    assert versions == "The runs differ in torch; see how it was computed."
    assert unread == "Left out: broken/summary.json: not a mapping."
    assert failures(content) == [
        {"folder": "diverged", "status": "diverged", "error": ""},
        {"folder": "failed", "status": "failed", "error": "KeyError: 'lr'"},
    ]


def test_what_limits_means_of_tests_and_of_folds_is_said(tmp_path: Path) -> None:
    """As it happened: means left out NaN, and fewer folds in a group, without a word."""
    for optimizer, folds in (("sgd", range(3)), ("adam", range(2))):
        for fold in folds:
            test = math.nan if fold == 0 else 1.0
            write_run(
                tmp_path / f"{optimizer}{fold}",
                optimizer=optimizer,
                metrics={"val/acc": 0.5 + fold / 10, "test/acc": test},
                changes={"datamodule.fold": fold},
            )
    said = notes(content_of(tmp_path, metric_name="val/acc"))
    assert "test/acc: 2 runs without a number; means leave it out." in said
    assert any(note.startswith("Groups differ in their folds; ") for note in said)

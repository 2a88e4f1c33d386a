"""Learning curves against NumPy."""

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from scipy import stats

from engine.report.page import curves
from engine.report.page.curves import POINTS, band, binned, candidates, once, read
from engine.report.page.drawing import svg
from engine.report.read.collect import Problem
from engine.report.statistics.ties import with_ties
from synthetic_runs import content_of, write_curve, write_run


def frames_of(folder: Path, names: list[str]) -> tuple[pd.DataFrame, list[Problem]]:
    content = content_of(folder, metric_name=names[0])
    return read(dict(enumerate(content.runs)), dict(content.rows["group"]), names)


def test_mean_and_interval_by_step(tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(size=(4, 5))  # run, step
    for seed, own in enumerate(values):
        last = 3 if seed == 3 else 5  # one has not come further
        curve = {10 * i: {"val/acc": own[i]} for i in range(last)} | {7: {"train/loss": 1.0}}
        write_run(tmp_path / str(seed), seed=seed, metrics={"val/acc": own[-1]}, curve=curve)
    frames, problems = frames_of(tmp_path, ["val/acc"])
    assert problems == []
    bands = band(binned(frames, "val/acc"), "val/acc", 0.9)
    assert list(bands["step"]) == [0, 10, 20, 30, 40]
    for i, row in bands.iterrows():
        there = values[: 4 if i < 3 else 3, i]
        half = stats.t.ppf(0.95, len(there) - 1) * there.std(ddof=1) / math.sqrt(len(there))
        assert (row["mean"], row["low"], row["high"]) == pytest.approx(
            (there.mean(), there.mean() - half, there.mean() + half), rel=1e-9
        )
        assert row["median"] == pytest.approx(np.median(there), rel=1e-12)


def test_runs_that_repeat_one_another_are_one_curve(tmp_path: Path) -> None:
    """As in the table: of three seeds, each run twice, the interval was too narrow."""
    values = np.random.default_rng(0).uniform(size=(3, 2, 5))  # seed, run, step
    for seed, number in np.ndindex(3, 2):
        own = values[seed, number]
        curve = {10 * step: {"val/acc": value} for step, value in enumerate(own)}
        path = tmp_path / f"{seed}{number}"
        write_run(path, seed=seed, metrics={"val/acc": own[-1]}, curve=curve)
    content = content_of(tmp_path, metric_name="val/acc")
    frames, _ = frames_of(tmp_path, ["val/acc"])
    bands = band(once(content, binned(frames, "val/acc"), "val/acc"), "val/acc", 0.95)
    means = values.mean(axis=1)
    half = stats.t.ppf(0.975, 2) * means.std(axis=0, ddof=1) / math.sqrt(3)
    np.testing.assert_allclose(bands["mean"], means.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(bands["high"], means.mean(axis=0) + half, rtol=1e-12)
    (group,) = (group for _, group in content.groups.iterrows())
    assert bands["high"].iloc[-1] == pytest.approx(group["high"], rel=1e-12)


def test_many_steps_are_binned_alike(tmp_path: Path) -> None:
    loss = np.random.default_rng(0).uniform(size=(2, 1000))
    for seed, own in enumerate(loss):
        curve = {step: {"train/loss": value} for step, value in enumerate(own)}
        write_run(tmp_path / str(seed), seed=seed, metrics={"train/loss": own[-1]}, curve=curve)
    frames, _ = frames_of(tmp_path, ["train/loss"])
    bands = band(binned(frames, "train/loss"), "train/loss", 0.95)
    assert len(bands) == POINTS == 200
    np.testing.assert_allclose(bands["mean"], loss.reshape(2, 200, 5).mean(axis=(0, 2)), rtol=1e-12)
    np.testing.assert_allclose(bands["step"], np.arange(200) * 5 + 2)


def test_few_points_are_not_binned(tmp_path: Path) -> None:
    curve = {step: {"val/acc": 0.1 * i} for i, step in enumerate([1, 2, 5000, 5001])}
    write_run(tmp_path / "a", metrics={"val/acc": 0.3}, curve=curve)
    assert list(
        band(binned(frames_of(tmp_path, ["val/acc"])[0], "val/acc"), "val/acc", 0.95)["step"]
    ) == [
        1,
        2,
        5000,
        5001,
    ]


def test_infinite_and_missing_values_are_gaps(tmp_path: Path) -> None:
    curve = {
        0: {"val/loss": 1.0},
        1: {"val/loss": math.inf},
        2: {"val/loss": math.nan},
        3: {"val/loss": 2.0},
    }
    write_run(tmp_path / "a", metrics={"val/loss": 2.0}, curve=curve)
    bands = band(binned(frames_of(tmp_path, ["val/loss"])[0], "val/loss"), "val/loss", 0.95)
    assert (list(bands["step"]), list(bands["mean"])) == ([0, 3], [1.0, 2.0])
    assert bands["low"].isna().all()  # one run has no interval


def test_a_torn_last_line_is_left_out_and_a_broken_table_named(tmp_path: Path) -> None:
    for name in "abc":
        write_run(
            tmp_path / name,
            metrics={"val/acc": 0.5},
            curve={0: {"val/acc": 0.1}, 1: {"val/acc": 0.2}},
        )
    with open(tmp_path / "a" / "metrics.csv", "a") as file:
        file.write("0,2,0.")
    (tmp_path / "b" / "metrics.csv").write_text("epoch,step,val/acc\n0,0,what\n")
    (tmp_path / "c" / "metrics.csv").write_text("epoch,val/acc\n0,0.5\n")
    (write_run(tmp_path / "d", status=None) / "metrics.csv").write_text(
        "epoch,st"
    )  # about to begin
    frames, problems = frames_of(tmp_path, ["val/acc"])
    assert list(frames["val/acc"]) == [0.1, 0.2]
    assert [problem.file for problem in problems] == ["b/metrics.csv", "c/metrics.csv"]
    assert problems[0].reason == "could not convert string to float: 'what'; without its curve"
    assert "step" in problems[1].reason


def test_what_is_drawn(tmp_path: Path) -> None:
    curve = {0: {"val/acc": 0.1, "train/loss": 2.0}, 1: {"val/acc": 0.2, "train/loss": 1.0}}
    for number in range(12):
        write_run(
            tmp_path / str(number),
            metrics={"val/acc": 0.01 * number, "test/acc": 0.5},
            curve=curve,
            status=["finished", None][number % 2],
            changes={"datamodule.batch_size": number},
        )
    write_run(
        tmp_path / "failed", status="failed", curve=curve, changes={"datamodule.batch_size": 99}
    )
    content = content_of(tmp_path)
    lines = curves.collect(content)
    assert (curves.drawn(content, lines), lines.problems) == (7, [])
    assert lines.names == ["val/acc", "train/loss"]
    text = "".join(svg(panel, "x") for panel in curves.draw(content, lines))
    assert "batch_size=10" in text  # the best
    assert "batch_size=99" not in text
    labels = re.findall(r">batch_size=\d+( \(equal to batch_size=10\))?<", text)
    assert sorted(map(bool, labels)) == [False] + 6 * [True]
    for path in tmp_path.iterdir():
        write_curve(path, {0: {"test/acc": 0.5}})
    content = content_of(tmp_path, metric_name="test/acc")
    lines = curves.collect(content)
    assert (curves.draw(content, lines), curves.drawn(content, lines)) == ([], 0)
    assert candidates("test/acc") == ["test/acc", "val/acc", "train/acc", "train/loss"]


def test_a_tie_is_said_in_the_legend(tmp_path: Path) -> None:
    for way, rounding in {"by hand": 0.0, "autograd": 1e-6}.items():
        loss = {step: {"train/loss": 0.5**step * (1 + rounding * step)} for step in range(20)}
        changes = {"module.way": way}
        write_run(tmp_path / way, metrics=loss[19], curve=loss, changes=changes)
    content = content_of(tmp_path)
    lines = curves.collect(content)
    (panel,) = curves.draw(with_ties(content, lines.frames), lines)
    (legend,) = panel.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "way=by hand",
        "way=autograd (same curve as the best)",
    ]


def test_runs_are_thin_lines_and_one_that_diverged_ends_in_a_cross(tmp_path: Path) -> None:
    """The lines of matplotlib's figure have the numbers of the files."""
    values = np.random.default_rng(0).uniform(size=(3, 5))
    for seed, own in enumerate(values):
        write_run(
            tmp_path / str(seed),
            seed=seed,
            metrics={"val/acc": own[-1]},
            status="diverged" if seed == 2 else "finished",
            curve={step: {"val/acc": value} for step, value in enumerate(own)},
        )
    content = content_of(tmp_path)
    (panel,) = curves.draw(content, curves.collect(content))
    (axes,) = panel.figure.axes
    thin = [one for one in axes.collections if isinstance(one, LineCollection)]
    drawn = [line[:, 1] for one in thin for line in one.get_segments()]
    np.testing.assert_allclose(drawn, values)
    lines = axes.get_lines()
    (cross,) = [line for line in lines if line.get_marker() == "x"]
    assert cross.get_xydata().tolist() == [[4, values[2, -1]]]
    (mean,) = [line for line in lines if line.get_label() == "all runs"]
    np.testing.assert_allclose(mean.get_ydata(), values[:2].mean(axis=0))
    (said,) = panel.texts.values()
    assert said[0].startswith("all runs, step 0: mean ")
    assert said[0].endswith(f", median {np.median(values[:2, 0]):.4g}, n = 2")


def test_runs_with_rows_at_other_steps_have_common_bins(tmp_path: Path) -> None:
    """As it happened: folds of 100 and 101 steps an epoch had means over half of them each."""
    for seed, every in enumerate((100, 101, 100)):
        curve = {every * (i + 1) - 1: {"val/acc": seed + i} for i in range(4)}
        write_run(tmp_path / str(seed), seed=seed, metrics={"val/acc": 1}, curve=curve)
    frames, _ = frames_of(tmp_path, ["val/acc"])
    bands = band(binned(frames, "val/acc"), "val/acc", 0.9)
    assert list(bands["count"]) == [3] * 4
    assert list(bands["mean"]) == [1, 2, 3, 4]
    assert list(bands["step"]) == pytest.approx([(299 + i * 301 + 1) / 3 for i in range(4)], abs=1)


def test_one_group_with_rows_at_other_steps_leaves_the_others_their_points(tmp_path: Path) -> None:
    rows = {"a": (range(9, 40, 10), (5, 25)), "b": (range(50), range(50)), "c": ((0, 1000),) * 2}
    for group, (name, own) in enumerate(rows.items()):
        for seed, steps in enumerate(own):
            write_run(
                tmp_path / f"{name}{seed}",
                seed=seed,
                metrics={"val/acc": 1},
                curve={step: {"val/acc": 1.0} for step in steps},
                changes={"datamodule.batch_size": group},
            )
    frames, _ = frames_of(tmp_path, ["val/acc"])
    points = binned(frames, "val/acc").groupby("run").size()
    assert sorted(points) == [2, 2, 2, 2, 50, 50]

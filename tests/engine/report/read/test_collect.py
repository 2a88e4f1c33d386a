"""The runs below a folder."""

import math
import os
import time
from pathlib import Path

import pytest
from filelock import FileLock

from engine.errors import UserError
from engine.report.read.collect import RECENT, collect
from engine.run.summaries import BEST_EPOCH, Objective
from synthetic_runs import write_run


def test_runs_at_any_depth_without_older_copies(tmp_path: Path) -> None:
    for name in (
        "a",
        "sweeps/lenet/init=he-0123abcd",
        "runs/lenet/2026-01-01_10-00-00_2",
        "x/seed=1.5",
    ):
        write_run(tmp_path / name, metrics={"val/acc": 0.5})
    for name in (
        "sweeps/lenet/init=he-0123abcd.1",
        "sweeps/lenet/init=he-0123abcd.12",
        "a/inside/a/run",
    ):
        write_run(tmp_path / name, metrics={"val/acc": 0.1})
    runs, problems = collect(tmp_path)
    assert problems == []
    assert sorted(run.folder for run in runs) == [
        "a",
        "runs/lenet/2026-01-01_10-00-00_2",
        "sweeps/lenet/init=he-0123abcd",
        "x/seed=1.5",
    ]


def test_the_folder_itself_may_be_a_run(tmp_path: Path) -> None:
    write_run(tmp_path / "init=he-0123abcd.1", seed=3, changes={"datamodule.fold": 2})
    ((run,), _) = collect(tmp_path / "init=he-0123abcd.1")
    assert (run.folder, run.seed, run.fold) == (".", 3, 2)


def test_what_a_summary_tells(tmp_path: Path) -> None:
    metrics = {"val/acc": 0.5, "val/loss": math.nan}
    error = "\n  RuntimeError: out of memory\nTraceback"
    write_run(tmp_path / "a", status="failed", metrics=metrics, error=error, seconds=2.5)
    ((run,), _) = collect(tmp_path)
    assert (run.status, run.seconds, run.error) == ("failed", 2.5, "RuntimeError: out of memory")
    assert run.metrics["val/acc"] == 0.5
    assert math.isnan(run.metrics["val/loss"])  # null in the file
    assert run.made_with == {"device": "1 × cpu", "git": "0123abc", "torch": "2.15.0"}
    assert run.config["optimizer.lr"] == 0.01
    assert run.config["init.seed"] == 0


def test_what_made_a_run_and_what_it_is_compared_by(tmp_path: Path) -> None:
    objective = Objective("val/acc", BEST_EPOCH, "max", 0.5)
    words = ["experiment=lenet", "seed=3"]
    trial = {"sweep.trial": {"study": "x", "number": 4}}
    write_run(tmp_path / "a", objective=objective, words=words, changes=trial)
    write_run(tmp_path / "b", objective=objective._replace(value=math.nan))
    write_run(tmp_path / "c")
    (tmp_path / "c/.hydra/overrides.yaml").unlink()
    (one, other, old), _ = collect(tmp_path)
    assert (one.objective, one.overrides, one.said["experiment"], one.trial) == (
        objective,
        tuple(words),
        "lenet",
        4,
    )
    assert other.objective
    assert math.isnan(other.objective.value)
    assert (old.objective, old.overrides, old.said, old.trial) == (None, (), {}, None)


def test_a_run_that_goes_on_and_one_that_was_killed(tmp_path: Path) -> None:
    curve = {0: {"train/loss": 2.0}, 1: {"train/loss": 1.0}, 2: {"val/acc": 0.25}}
    going, killed = (
        write_run(tmp_path / name, status=None, curve=curve) for name in ("going", "killed")
    )
    with open(going / "metrics.csv", "a") as file:
        file.write("0,3,0.12")  # torn: 0.125 on its way
    before = time.time() - RECENT - 60
    for path in [killed / "metrics.csv", killed / ".hydra" / "config.yaml"]:
        os.utime(path, (before, before))
    runs, problems = collect(tmp_path)
    assert problems == []
    assert {run.folder: run.status for run in runs} == {
        "going": "running",
        "killed": "interrupted or running",
    }
    assert [run.metrics for run in runs] == [{"train/loss": 1.0, "val/acc": 0.25}] * 2


def test_a_sweep_s_job_runs_as_long_as_its_lock_is_held(tmp_path: Path) -> None:
    for job in ("0123abcd", "4567abcd"):
        write_run(tmp_path / f"seed=0-{job}", status=None)
    lock = FileLock(tmp_path / ".locks" / "0123abcd.lock")
    (tmp_path / ".locks").mkdir()
    (tmp_path / ".locks" / "4567abcd.lock").touch()
    with lock:
        runs, _ = collect(tmp_path)
    assert [run.status for run in runs] == ["running", "interrupted"]
    runs, _ = collect(tmp_path)
    assert [run.status for run in runs] == ["interrupted", "interrupted"]


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("summary.json", "{torn", "Expecting property name"),
        ("summary.json", "[1]", "not a mapping"),
        ("summary.json", "{}", "has no status"),
        ("summary.json", '{"status": "fine"}', "status: should be 'finished', 'diverged', "),
        ("summary.json", '{"status": "finished", "objective": "0.5"}', "objective: should be "),
        ("summary.json", "[" * 100_000, "recursion"),
        (
            "summary.json",
            '{"status": "finished", "metrics": {"val/acc": "good"}}',
            "metrics: should be a valid number",
        ),
        ("summary.json", '{"status": "finished", "metrics": [1]}', "metrics: should be "),
        (".hydra/config.yaml", "a: [1", "while parsing a flow sequence"),
        (".hydra/config.yaml", "just words", "not a mapping"),
        (".hydra/config.yaml", "", "not a mapping"),
        (".hydra/config.yaml", "seed: 1\npaths:\n  data_dir: /data\n", "its end is missing"),
        (".hydra/config.yaml", "seed: 1\npaths:\n  log_dir: /lo", "its end is missing"),
        (".hydra/made_of.json", "{}", "has no data"),
        (".hydra/made_of.json", '{"data": {}, "code": {}, "versions": {}}', "has no classes"),
        (".hydra/overrides.yaml", "a: [1", "while parsing a flow sequence"),
        (".hydra/overrides.yaml", "seed=1", "not a list"),
        ("summary.json", '{"status": "finished", "objective_of": {"metric": "a"}}', "has no taken"),
    ],
)
def test_a_broken_file_is_named_and_its_run_left_out(
    tmp_path: Path, file: str, text: str, reason: str
) -> None:
    write_run(tmp_path / "whole", metrics={"val/acc": 0.5})
    (write_run(tmp_path / "broken", metrics={"val/acc": 0.9}) / file).write_text(text)
    runs, (problem,) = collect(tmp_path)
    assert [run.folder for run in runs] == ["whole"]
    assert problem.file == f"broken/{file}"
    assert reason in problem.reason


def test_broken_metrics_of_a_run_without_summary(tmp_path: Path) -> None:
    write_run(tmp_path / "whole")
    (write_run(tmp_path / "broken", status=None) / "metrics.csv").write_text(
        "epoch,step,val/acc\n0,0,what\n"
    )
    runs, (problem,) = collect(tmp_path)
    assert [run.folder for run in runs] == ["whole"]
    assert (problem.file, problem.reason) == (
        "broken/metrics.csv",
        "line 2: could not convert string to float: 'what'",
    )


def test_nothing_to_report_on(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: no such folder\.$"):
        collect(tmp_path / "nowhere")
    with pytest.raises(
        UserError, match=r"no runs in it \(folders with a \.hydra/config\.yaml\)\.$"
    ):
        collect(tmp_path)
    (write_run(tmp_path / "a") / "summary.json").write_text("[]")
    with pytest.raises(
        UserError, match=r"The first that cannot be read: a/summary\.json: not a mapping$"
    ):
        collect(tmp_path)


def test_links_that_lead_out_of_the_folder_are_followed_and_each_run_counts_once(
    tmp_path: Path,
) -> None:
    for name in ("elsewhere/a", "elsewhere/b", "here/c"):
        write_run(tmp_path / name, metrics={"val/acc": 0.5})
    here = tmp_path / "here"
    (here / "all").symlink_to(tmp_path / "elsewhere")
    (here / "b").symlink_to(tmp_path / "elsewhere" / "b")
    (here / "again").symlink_to(here / "c")
    (here / "circle").symlink_to(here)
    (tmp_path / "elsewhere" / "back").symlink_to(here)
    runs, problems = collect(here)
    assert problems == []
    assert sorted(run.folder for run in runs) == ["all/a", "all/b", "c"]


def test_a_file_that_has_strayed_among_runs_hides_none(tmp_path: Path) -> None:
    write_run(tmp_path / "cv" / "a", metrics={"val/acc": 0.5})
    (tmp_path / "cv" / "metrics.csv").write_text("step\n")
    runs, problems = collect(tmp_path)
    assert [run.folder for run in runs] == ["cv/a"]
    assert [problem.file for problem in problems] == ["cv/.hydra/config.yaml"]

"""`project.report`: the command."""

import csv
import re
import shlex
from pathlib import Path

import pytest

from commands import run_report, run_train
from engine.report.report import USAGE
from engine.run.summaries import BEST_EPOCH, Objective
from synthetic_runs import write_run, write_sweep

FILES = ["report.html", "report.md", "runs.csv"]


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "80")
    return write_sweep(tmp_path / "sweep")


def test_three_files_and_a_table(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in sweep.rglob("*") if path.is_file()}
    run_report(str(sweep))
    out, err = capsys.readouterr()
    assert err == ""
    first, _, header = out.splitlines()[:3]
    assert first == "12 runs (12 finished) in 4 groups; val/acc, best epoch: higher is better"
    assert header.startswith("rank  optimizer  init    n  mean ± 95 % CI  ")
    assert "test/acc" in header
    assert out.endswith(f"\n\n{sweep / 'report.html'}\n")
    assert sorted(path.name for path in sweep.iterdir() if path.is_file()) == FILES
    assert {path: path.read_bytes() for path in before} == before
    assert f"python -m project.report {sweep}<" in (sweep / "report.html").read_text()
    run_report(str(sweep))  # once more, over them
    assert sorted(path.name for path in sweep.iterdir() if path.is_file()) == FILES


def test_options(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_report(
        str(sweep), "--metric=val/width", "--mode=min", "--group-by=optimizer", "--alpha=0.1"
    )
    header, _, first = capsys.readouterr().out.splitlines()[2:5]
    assert header.startswith("rank  optimizer  n  mean ± 90 % CI  test/acc  ")
    assert first.split()[:3] == ["1", "SGD", "6"]


def test_a_broken_table_of_metrics_is_named_in_all_documents(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sweep / "sgdhe0" / "metrics.csv").write_text("epoch,step,val/acc\n0,0,what\n")
    run_report(str(sweep))
    said = "sgdhe0/metrics.csv: could not convert string to float: 'what'; without its curve"
    assert said in " ".join(capsys.readouterr().out.split())
    assert said.replace("'", "&#39;") in (sweep / "report.html").read_text()
    assert said in (sweep / "report.md").read_text()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["--metric", "val/acc"],
            "DIR: missing; name the folder of a sweep, such as logs/sweeps/lenet.",
        ),
        (
            ["DIR", "--metric", "val/ac"],
            "--metric val/ac: no run has it. Did you mean val/acc? "
            "They have: test/acc, val/acc, val/width.",
        ),
        (
            ["DIR", "--metric", "val/width"],
            "--metric val/width: its name does not say which way is better; "
            "add --mode min or --mode max.",
        ),
        (
            ["DIR", "--metric", "lr"],
            "--metric lr: epoch, step and lr (the learning rate) are no metrics.\n"
            "To compare one of your module's, log it under another name.",
        ),
        (
            ["DIR", "--group-by", "optimiser"],
            "--group-by optimiser: no such key. Did you mean optimizer? "
            "Those that differ: optimizer, init.",
        ),
        (
            ["DIR", "--metrics", "val/acc"],
            "--metrics: no such option. Did you mean --metric? "
            "There are --metric, --mode, --group-by, --alpha, --latex.",
        ),
        (["DIR", "--alpha", "5"], "--alpha 5: must be a number between 0 and 1."),
        (["DIR", "--alpha", "x"], "--alpha: invalid float value: 'x'."),
        (["DIR", "--metric"], "--metric: expected one argument."),
        ([""], "DIR: is empty; give it a value, or leave it out."),
        (["DIR", "--metric="], "--metric: is empty; give it a value, or leave it out."),
        (["DIR", "--group-by", ""], "--group-by: is empty; give it a value, or leave it out."),
        (["DIR/nowhere"], "DIR/nowhere: no such folder."),
        (
            ["DIR/sgdhe0/.hydra"],
            "DIR/sgdhe0/.hydra: no runs in it (folders with a .hydra/config.yaml).",
        ),
    ],
)
def test_refused(
    words: list[str], says: str, sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_report(*(word.replace("DIR", str(sweep)) for word in words))
    assert stop.value.code == 2
    expected = says if says.startswith("DIR:") else says.replace("DIR", str(sweep))
    assert capsys.readouterr() == ("", f"error: {expected}\n")
    assert [path.name for path in sweep.iterdir() if path.is_file()] == []


def test_what_cannot_be_written(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sweep / "report.html").mkdir()
    with pytest.raises(SystemExit) as stop:
        run_report(str(sweep))
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert "rank" in out  # what was compared is shown all the same
    assert err == (
        f"error: {sweep}/report.html: cannot be written: Is a directory.\n"
        "Give the command with a copy of the folder that can be written to.\n"
    )


def test_papers_get_a_table_and_figures(sweep: Path) -> None:
    run_report(str(sweep), "--latex")
    table = (sweep / "report.tex").read_text()
    for word in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert table.count(word) == 1
    rows = [line for line in table.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 5
    assert [r"\textbf{Adam}" in row for row in rows].count(True) == 1
    assert r"\pm" in rows[1]
    pictures = sorted(path.name for path in (sweep / "figures").iterdir())
    assert pictures == [
        f"{name}.{kind}" for name in ("curves", "heatmap", "points") for kind in ("pdf", "svg")
    ]
    for path in (sweep / "figures").glob("*.pdf"):
        assert path.read_bytes().startswith(b"%PDF-")
    for path in (sweep / "figures").glob("*.svg"):
        assert not re.search("var\\(|currentColor", path.read_text())


def test_runs_of_other_data_are_ranked_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, (data, value) in enumerate([("a.Digits", 0.9), ("a.Digits", 0.8), ("a.Line", 0.1)]):
        write_run(
            tmp_path / str(number),
            seed=number,
            metrics={"val/loss": value},
            objective=Objective("val/loss", BEST_EPOCH, "min", value),
            changes={"datamodule._target_": data},
            words=["experiment=mine"],
        )
    run_report(str(tmp_path))
    out = capsys.readouterr().out
    assert "mine on Digits\n2 runs (2 finished) in 1 group" in out
    assert "mine on Line\n1 run (1 finished) in 1 group" in out
    page = (tmp_path / "report.html").read_text()
    assert page.count("Ranking by val/loss, best epoch") == 4  # a label and a caption each
    assert len((tmp_path / "runs.csv").read_text().splitlines()) == 4


def test_what_parts_differ_in_is_in_the_table_of_all_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, taken in enumerate((BEST_EPOCH, "last value", "last value")):
        write_run(
            tmp_path / f"{number}",
            metrics={"val/loss": number},
            objective=Objective("val/loss", taken, "min", number),
            changes={"callbacks.more": [number > 0], "optimizer.lr": number},
            words=["experiment=mine"],
        )
    run_report(str(tmp_path))
    out = capsys.readouterr().out
    assert "mine on DigitsDataModule: val/loss, last value (min); more=[true]\n2 runs" in out
    assert "mine on DigitsDataModule: val/loss, best epoch (min); more=[false]\n1 run" in out
    with (tmp_path / "runs.csv").open(newline="") as file:
        rows = [(row["callbacks.more"], row["optimizer.lr"]) for row in csv.DictReader(file)]
    assert rows == [("[false]", "0"), ("[true]", "1"), ("[true]", "2")]


@pytest.mark.parametrize("words", [[], ["--help"], ["DIR", "-h"]], ids=["nothing", "--help", "-h"])
def test_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run_report(*words)
    text = USAGE.format(command="project.report")
    assert capsys.readouterr() == (f"{text}\n", "")
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.slow
def test_a_real_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_train(
        "-m",
        "experiment=linear",
        "optimizer=sgd,adam",
        "seed=0,1",
        "accelerator=cpu",
        "logger=csv",
        f"paths.log_dir={tmp_path}",
        draws=False,
    )
    capsys.readouterr()
    run_report(f"{tmp_path}/sweeps/linear")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == ("4 runs (4 finished) in 2 groups; train/loss, last pass: lower is better")
    text = (tmp_path / "sweeps/linear/report.md").read_text()
    # Both commands make these runs again, so that nothing is run twice.
    told = dict(re.findall(r"^(.+):\n\n```bash\n(.+)\n```$", text, re.MULTILINE))
    assert told["The sweep"].startswith("python -m project.train -m experiment=linear optimizer=sg")
    assert told["The best run, once more"].startswith(
        "python -m project.train experiment=linear optimizer=sgd seed="
    )
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("metrics.csv")}
    run_train(*shlex.split(told["The sweep"])[3:])
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("metrics.csv")} == before
    assert {tuple(line.split()[:3]) for line in lines[4:6]} == {
        ("1", "SGD", "2"),
        ("2", "Adam", "2"),
    }


def test_runs_without_the_metric_that_is_asked_for_are_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it happened: the runs of another experiment were in no table and in no note."""
    write_sweep(tmp_path / "sweep")
    for seed in range(2):
        write_run(
            tmp_path / f"line{seed}",
            seed=seed,
            metrics={"train/loss": 0.5},
            changes={"datamodule._target_": "project.datamodules.line.LineDataModule"},
            objective=Objective("train/loss", "last value", "min", 0.5),
        )
    run_report(str(tmp_path), "--metric", "val/acc")
    said = " ".join((tmp_path / "report.md").read_text().split())
    assert "no run of it has val/acc" in said

"""`project.report`: the command."""

from pathlib import Path

import pytest

from commands import run_report, run_train
from engine.report.report import USAGE
from synthetic_runs import write_sweep

FILES = ["report.html", "report.md", "runs.csv"]


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return write_sweep(tmp_path / "sweep")


def test_three_files_and_a_table(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in sweep.rglob("*") if path.is_file()}
    run_report(str(sweep), "--metric", "val/acc")
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith(
        "12 runs (12 finished) in 4 groups; val/acc, higher is better\n\nrank  optimizer  init"
    )
    assert out.endswith(f"\n\n{sweep / 'report.html'}\n")
    assert sorted(path.name for path in sweep.iterdir() if path.is_file()) == FILES
    assert {path: path.read_bytes() for path in before} == before
    assert (
        f"python -m project.report {sweep} --metric val/acc" in (sweep / "report.html").read_text()
    )
    run_report(str(sweep))  # once more, over them
    assert sorted(path.name for path in sweep.iterdir() if path.is_file()) == FILES


def test_options(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_report(
        str(sweep), "--metric=val/width", "--mode=min", "--group-by=optimizer", "--alpha=0.1"
    )
    header, _, first = capsys.readouterr().out.splitlines()[2:5]
    assert header.split()[:7] == ["rank", "optimizer", "n", "val/width", "±", "90", "%"]
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
            "--metric val/ac: no run has it. Did you mean val/acc? They have: val/acc, val/width.",
        ),
        (
            ["DIR", "--metric", "val/width"],
            "--metric val/width: its name does not say which way is better; "
            "add --mode min or --mode max.",
        ),
        (
            ["DIR", "--group-by", "optimiser"],
            "--group-by optimiser: no such key. Did you mean optimizer? "
            "Those that differ: optimizer, init.",
        ),
        (
            ["DIR", "--metrics", "val/acc"],
            "--metrics: no such option. Did you mean --metric? "
            "There are --metric, --mode, --group-by, --alpha.",
        ),
        (["DIR", "--alpha", "5"], "--alpha 5: must be a number between 0 and 1."),
        (["DIR", "--alpha", "x"], "--alpha: invalid float value: 'x'."),
        (["DIR", "--metric"], "--metric: expected one argument."),
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
    assert capsys.readouterr() == (
        "",
        f"error: {sweep}/report.html: cannot be written: Is a directory.\n"
        "Choose a folder that can be written to, such as paths.log_dir=DIR.\n",
    )


@pytest.mark.parametrize("words", [[], ["--help"], ["DIR", "-h"]], ids=["nothing", "--help", "-h"])
def test_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run_report(*words)
    assert capsys.readouterr() == (USAGE.format(command="project.report") + "\n", "")


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
    )
    capsys.readouterr()
    run_report(f"{tmp_path}/sweeps/linear")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "4 runs (4 finished) in 2 groups; train/loss, lower is better"
    assert {tuple(line.split()[:3]) for line in lines[4:6]} == {
        ("1", "SGD", "2"),
        ("2", "Adam", "2"),
    }

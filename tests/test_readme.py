"""Every command of the README runs, made small."""

import dataclasses
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

import project.modules
from commands import ROOT, run_evaluate, run_report, run_train
from project.train import train
from warm import python

README = (ROOT / "README.md").read_text()
COMMANDS = [
    line.partition("#")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]
INSTALL = [
    "python3 -m venv .venv",
    "source .venv/bin/activate",
    'pip install -c constraints.txt -e ".[dev]"',
]
JOBS = {"lenet": 8, "lenet_init": 5, "two_layer_by_hand": 3, "curve_fit": 3}  # of the sweeps
OWN = "small_mlp"  # a model that only the README has
SMALL = ["trainer.max_epochs=1", "trainer.limit_train_batches=3", "trainer.limit_val_batches=1"]


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Makes two small images of each of ten classes, for training and for test."""
    for name in [
        f"{split}/{label}/{number}"
        for split in ("train", "test")
        for label in range(10)
        for number in (0, 1)
    ]:
        path = tmp_path / "images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (25 * int(path.parent.name), 0, 0)).save(path)
    return tmp_path / "images"


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        command
        for command in COMMANDS
        if "project.train" in command
        and not any(word in command for word in ("RUN_DIR", "ddp", "launcher=", OWN))
    ],
)
def test_training(
    command: str, tmp_path: Path, image_folder: Path, small_cifar10_archive: bytes
) -> None:
    words = shlex.split(command.replace("FOLDER", str(image_folder)))
    assert words[:3] == ["python", "-m", "project.train"]
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10/cifar-10-python.tar.gz").write_bytes(small_cifar10_archive)
    (experiment,) = [
        word.removeprefix("experiment=") for word in words if word.startswith("experiment=")
    ]
    sweep = "-m" in words[3:]
    # Every experiment's own figures are drawn in tests/engine/run/test_experiments.py.
    other_figures = any("histograms" in word or "image_folder" in word for word in words)
    less = ["logger=csv"] if sweep else []
    less += ["seed=0", "optimizer=adam"] if experiment == "lenet_init" else []  # of three and two
    if experiment == "init_depth":  # of five seeds and 1,000 samples
        less += ["callbacks.depth_study.seeds=1", "datamodule.samples=100"]
    less += ["hydra.sweeper.n_trials=3"] if "hydra/sweeper=optuna" in words else []
    run_train(
        *words[3:],
        *SMALL,
        *less,
        f"paths.log_dir={tmp_path}/logs",
        f"paths.data_dir={tmp_path}",
        "accelerator=cpu",
        draws=other_figures,
    )
    jobs = (5 if "datamodule.folds=5" in words else JOBS[experiment]) if sweep else 1
    assert len(list(tmp_path.glob("logs/**/summary.json"))) == jobs


@pytest.mark.slow
def test_a_model_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Runs the commands under "Make it your own", with the files that stand there."""
    files = dict(re.findall(r"^`((?:src|conf)/\S+)`, .*?\n```\w+\n(.*?)```", README, re.M | re.S))
    model, node, experiment = files
    shutil.copytree(train.conf, tmp_path / "conf")
    (tmp_path / Path(model).name).write_text(files[model])
    for config in (node, experiment):
        (tmp_path / config).write_text(files[config])
    monkeypatch.setattr(project.modules, "__path__", [*project.modules.__path__, str(tmp_path)])
    door = dataclasses.replace(train, conf=tmp_path / "conf")
    commands = [c for c in COMMANDS if OWN in c]
    for command in commands:
        words = [*shlex.split(command)[2:], *SMALL, f"paths.log_dir={tmp_path}", "accelerator=cpu"]
        monkeypatch.setattr(sys, "argv", words)
        door()
    summaries = [path.read_text() for path in tmp_path.glob("**/summary.json")]
    assert len(summaries) == len(commands) == 2
    assert all('"status": "finished"' in summary for summary in summaries)
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", [*words, "module.depth=9"])
    with pytest.raises(SystemExit, match="2"):
        door()
    answer = capsys.readouterr().err.removeprefix("error: ").strip()
    assert answer.startswith("module.depth=9: ")
    assert f"`{answer}`" in " ".join(README.split())


@pytest.mark.slow
def test_training_in_several_processes(tmp_path: Path) -> None:
    (command,) = [c for c in COMMANDS if "ddp" in c]
    words = [python(), *shlex.split(command)[1:], *SMALL, f"paths.log_dir={tmp_path}"]
    subprocess.run(words, check=True, timeout=120)
    assert len(list(tmp_path.glob("**/summary.json"))) == 1


@pytest.mark.slow
def test_what_is_done_with_a_run(tmp_path: Path) -> None:
    commands = [c for c in COMMANDS if "RUN_DIR" in c]
    assert len(commands) == 5
    run_train(
        "experiment=lenet",
        "datamodule=digits",
        *SMALL,
        f"paths.log_dir={tmp_path}",
        "accelerator=cpu",
        draws=False,
    )
    (summary,) = tmp_path.glob("**/summary.json")
    before = summary.read_text()
    summary.unlink()  # as after a kill
    for command in commands:
        _, _, module, *words = shlex.split(command.replace("RUN_DIR", str(summary.parent)))
        is_new = "resume" not in command and module == "project.train"
        words += [*SMALL, "datamodule=digits", f"paths.log_dir={tmp_path}"] if is_new else []
        command_of = {"project.train": run_train, "project.evaluate": run_evaluate}
        command_of[module](*words, draws=False)
    assert len(list(tmp_path.glob("**/summary.json"))) == 3
    assert summary.read_text().partition('"steps"')[0] == before.partition('"steps"')[0]
    assert {path.name for path in summary.parent.glob("evaluation/*.json")} == {
        "test.json",
        "val.json",
    }


@pytest.mark.slow
def test_tensorboard(tmp_path: Path) -> None:
    (command,) = [c for c in COMMANDS if c.startswith("tensorboard")]
    words = [*shlex.split(command.replace("logs", str(tmp_path))), "--port=0", "--host=127.0.0.1"]
    run_train("experiment=linear", f"paths.log_dir={tmp_path}", "accelerator=cpu")
    with subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", *words[1:]], stderr=subprocess.PIPE
    ) as server:
        try:
            assert server.stderr is not None
            url = next(
                m[0] for line in server.stderr if (m := re.search(r"http://\S+/", line.decode()))
            )
            until = time.monotonic() + 30
            while (
                answer := urllib.request.urlopen(url + "data/runs").read()
            ) == b"[]" and time.monotonic() < until:
                time.sleep(0.5)
        finally:
            server.terminate()
            # It says something at its end; with nobody to read that, it has gone on.
            server.wait(timeout=30)
    assert b"runs/linear/" in answer


@pytest.mark.slow
def test_report(tmp_path: Path) -> None:
    (command,) = [c for c in COMMANDS if "project.report" in c]
    _, _, module, *words = shlex.split(command.replace("logs/", f"{tmp_path}/"))
    assert module == "project.report"
    sweep = ["-m", "experiment=lenet", "datamodule=digits", "optimizer=sgd,adam"]
    words_of_a_test = ["logger=csv", f"paths.log_dir={tmp_path}", "accelerator=cpu"]
    run_train(*sweep, *SMALL, *words_of_a_test, draws=False)
    run_report(*words)
    assert {path.name for path in tmp_path.glob("sweeps/lenet/r*")} == {
        "report.html",
        "report.md",
        "runs.csv",
    }
    assert (
        len((tmp_path / "sweeps/lenet/runs.csv").read_text().splitlines()) == 3
    )  # a header and two runs


def test_make() -> None:
    def last_line(target: str) -> str:
        planned = subprocess.run(
            ["make", "--no-print-directory", "-n", target],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        return planned.stdout.splitlines()[-1]

    assert [c for c in COMMANDS if c.startswith("make")] == ["make run", "make test"]
    assert (
        last_line("run") == ".venv/bin/python -m project.train experiment=lenet datamodule=digits"
    )
    workers = "-n auto --maxprocesses 4 --dist worksteal"
    assert last_line("test") == f".venv/bin/python -m pytest {workers}"
    assert (
        "python -m project.train experiment=lenet datamodule=digits" in COMMANDS
    )  # which test_training runs


def test_plain_installation_is_what_make_does() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert [c for c in COMMANDS if c in INSTALL] == INSTALL
    assert "-c constraints.txt -e '.[dev]'" in makefile


def test_no_command_is_left_out() -> None:
    run = [
        c
        for c in COMMANDS
        if c.startswith(("make ", "python -m project.", "tensorboard ")) or c in INSTALL
    ]
    assert run == COMMANDS

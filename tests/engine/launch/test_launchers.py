"""What all launchers have in common: the README's words, options, and how a sweep is stopped."""

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from commands import environment, killable, run_train
from engine.config.resolved import Config
from engine.errors import WorkerLost
from engine.launch.launcher import Answers, WorkerLauncher
from engine.launch.worker import Work
from engine.run import identity
from engine.signals import Interrupted
from launching import (
    CURVE,
    ENDLESS,
    Run,
    assert_interrupted,
    folders,
    in_readme,
    wait_for_checkpoint,
)


@pytest.mark.slow
def test_vectorized(tmp_path: Path, run: Run) -> None:
    """The README has 256 jobs, whose files take most of the time."""
    words = in_readme("vectorized")
    assert "seed=range(256)" in words
    printed = run(tmp_path, *words, "seed=range(10)", "accelerator=cpu")
    assert "10 jobs together" in printed
    assert "\n10 jobs: 10 finished\n" in printed
    summaries = [
        json.loads(path.read_text()) for path in tmp_path.glob("sweeps/curve_fit/*/summary.json")
    ]
    assert sorted(summary["seed"] for summary in summaries) == list(range(10))
    assert {summary["status"] for summary in summaries} == {"finished"}
    assert all(
        (folder / "metrics.csv").read_text().count("\n") == 101
        for folder in folders(tmp_path).values()
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "sent", "code"),
    [("joblib", signal.SIGKILL, -9), ("submitit_local", signal.SIGTERM, 143)],
)
def test_a_stopped_sweep(launcher: str, sent: int, code: int, tmp_path: Path, run: Run) -> None:
    words = killable(["-m", *ENDLESS, f"hydra/launcher={launcher}", f"paths.log_dir={tmp_path}"])
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
    ) as process:
        try:
            wait_for_checkpoint(tmp_path)
            process.send_signal(sent)
            printed, _ = process.communicate(timeout=15)  # no worker has its end of the pipe
        finally:
            process.kill()
    assert process.returncode == code
    assert "Traceback" not in printed
    assert_interrupted(tmp_path, launcher, run)


class Kills(WorkerLauncher):
    """A launcher whose workers are all killed."""

    def answers(self, works: Sequence[Work]) -> Answers:
        yield from ((number, WorkerLost()) for number, _ in enumerate(works))


def set_up(launcher: Any, jobs: dict[int, Any]) -> WorkerLauncher:
    """Gives a launcher what Hydra does."""
    launcher.hydra_context = launcher.config = object()
    launcher.task = SimpleNamespace(door=SimpleNamespace(module="mine.train"), jobs=jobs)
    launcher.state = {}
    return launcher  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("folder", "name"), [(Path("sweeps/linear/seed=3-0123"), "seed=3-0123"), (None, "the job")]
)
def test_a_job_that_is_tried_alone_is_named_by_its_folder(
    folder: Path | None, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: of three killed jobs, each was "1 of 1: the job"."""
    caplog.set_level("INFO")
    job = SimpleNamespace(folder=folder, summary={})
    launcher = set_up(Kills(), {0: job})
    launcher.launch([["seed=3"]], 0)
    launcher.launch([["seed=3"], ["seed=4"]], 0)
    assert caplog.messages == [
        f"1 of 1: {name}: its process was killed",
        "1 of 2: seed=3: its process was killed",
        "2 of 2: seed=4: its process was killed",
    ]


class Edits(WorkerLauncher):
    """A launcher while whose workers run somebody writes files; it is interrupted, maybe."""

    def __init__(self, texts: dict[Path, str], is_interrupted: bool) -> None:
        self.texts, self.is_interrupted = texts, is_interrupted

    def answers(self, works: Sequence[Work]) -> Answers:
        for path, text in self.texts.items():
            path.write_text(text)
        if self.is_interrupted:
            raise Interrupted(130)
        yield 0, 0.5


@pytest.mark.parametrize("is_interrupted", [False, True])
def test_files_that_change_while_workers_run_are_looked_at_anew(
    is_interrupted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happened: the table called jobs of the edited file stale, and finished those before."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / ".hydra").mkdir()
    (tmp_path / "data").mkdir()
    module, data = tmp_path / f"edited_{is_interrupted}.py", tmp_path / "data/rows.csv"
    old, new = {module: "A = 1\n", data: "1, 2"}, {module: "A = 2\n", data: "1, 2, 3"}
    config = Config({"datamodule": {"_target_": "mine.Rows", "folder": str(data.parent)}})

    def found(of: dict[Path, str]) -> identity.Changed:
        """Compares with a record of files, as a worker makes it."""
        content = hashlib.sha256(of[data].encode()).hexdigest()[:16]
        known = {"digest": None, "files": "of the worker's", "content": {"0:rows.csv": content}}
        digest = hashlib.sha256(of[module].strip().encode()).hexdigest()[:16]
        made = {"data": known, "code": {module.stem: digest}, "begins_from": None}
        made["data"] |= {"samples": {}, "classes": []}
        identity.save(tmp_path, {**made, "versions": {}})
        return identity.changed(tmp_path, config)

    for path, text in old.items():
        path.write_text(text)
    both = identity.Changed("data", (module.name,))
    assert (found(old), found(new)) == (identity.Changed(), both)
    interrupted = pytest.raises(Interrupted) if is_interrupted else nullcontext()
    with interrupted:
        set_up(Edits(new, is_interrupted), {}).launch([["seed=3"]], 0)
    assert (found(old), found(new)) == (both, identity.Changed())


@pytest.mark.parametrize(
    ("launcher", "package"), [("joblib",) * 2, ("submitit_slurm", "submitit"), ("ray",) * 2]
)
def test_a_missing_extra(
    launcher: str,
    package: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    with pytest.raises(SystemExit) as stop:
        run_train("-m", *CURVE, f"hydra/launcher={launcher}", f"paths.log_dir={tmp_path}")
    assert stop.value.code == 2
    install = f'pip install -c constraints.txt -e ".[{package}]"'
    needs = f"hydra/launcher={launcher} needs {package}: {install}"
    assert capsys.readouterr().err.splitlines() == [f"error: {needs}"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (
            ["joblib", "hydra.launcher.n_jobs=0"],
            "hydra.launcher.n_jobs=0: must be a whole number from 1 or null.",
        ),
        (
            ["submitit_slurm"],
            'hydra.launcher: Could not detect "srun", are you indeed on a slurm cluster?',
        ),
        (
            ["ray", "hydra.launcher.address=127.0.0.1:1"],
            "hydra.launcher.address=127.0.0.1:1: no Ray cluster there; ",
        ),
    ],
    ids=["joblib", "submitit_slurm", "ray"],
)
def test_an_option_that_is_wrong(
    words: list[str], error: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_train(
            "-m",
            *CURVE,
            "seed=1,2",
            f"hydra/launcher={words[0]}",
            *words[1:],
            f"paths.log_dir={tmp_path}",
        )
    assert stop.value.code == 2
    assert f"error: {error}" in capsys.readouterr().err
    assert not folders(tmp_path)


def test_what_a_launcher_needs_is_imported_when_it_launches() -> None:
    ask = "from hydra.core.plugins import Plugins; Plugins.instance(); "
    ask += "import sys; print(*sys.modules)"
    asked = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    modules = set(asked.stdout.split())
    assert {"engine.vectorized.launcher", "engine.launch.submitit_launcher"} <= modules
    assert not modules & {"joblib", "submitit", "ray", "torch"}

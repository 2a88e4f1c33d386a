"""Puts a foreign project into a copy of this one, by adding files only, and runs commands there."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import warm
from commands import only_run, skip_if_edited, train
from house.copies import copied

HERE = Path(__file__).parent


class Foreign:
    """A copy of the project with a foreign module, a data module and an experiment.

    Args:
        folder: of the copy.
        name: of the foreign project: a folder beside this file, with the folders `modules` and
            `datamodules` of the users' package, and `conf`.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = copied(folder)
        package = self.folder / "src" / train.train.__module__.partition(".")[0]
        for path in sorted((HERE / name).rglob("*.*")):
            home = package if path.suffix == ".py" else self.folder
            place = home / path.relative_to(HERE / name)
            if path.suffix in (".py", ".yaml"):
                assert not place.exists(), place  # files are added only
                shutil.copy(path, place)

    def train(self, *words: str, kill_at: str = "never") -> str:
        """Runs the training command; returns what it says.

        Args:
            words: of the command line.
            kill_at: the moment of a SIGKILL, as `moments.at` takes it; never for none.
        """
        killed = kill_at != "never"
        command = ["-m", "killable", kill_at, str(int(signal.SIGKILL)), *words]
        return self._run(*command, code=-signal.SIGKILL if killed else 0)

    def evaluate(self, *words: str) -> str:
        """Runs the evaluating command; returns what it says."""
        return self._run("-m", "project.evaluate", *words)

    def killed_and_resumed(self, words: list[str], moments: list[str]) -> Path:
        """Trains, killed at each moment and resumed; returns the run's folder."""
        log_dir = self.folder / "killed"
        command = [*words, f"paths.log_dir={log_dir}"]
        for moment in [*moments, "never"]:
            self.train(*command, kill_at=moment)
            command = [f"resume={only_run(log_dir)}"]
        return only_run(log_dir)

    def swept(self, words: list[str], launcher: str) -> tuple[str, list[dict[str, Any]]]:
        """Trains two seeds; returns what the sweep says, and the metrics of its jobs."""
        log_dir = self.folder / launcher
        skip_if_edited([f"hydra/launcher={launcher}"])
        said = self.train(
            "-m",
            *words,
            "seed=0,1",
            f"hydra/launcher={launcher}",
            f"name={launcher}",
            f"paths.log_dir={log_dir}",
        )
        runs = sorted(log_dir.glob("sweeps/*/seed=*"))
        return said, [json.loads((run / "summary.json").read_text())["metrics"] for run in runs]

    def _run(self, *words: str, code: int = 0) -> str:
        paths = [str(self.folder / "src"), str(self.folder / "tests")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
        # No pipe: the workers of a killed process have its end for seconds, until they look.
        with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as complained:
            ended = subprocess.run(
                [warm.python(), *words],
                cwd=self.folder,
                env=environment,
                stdout=printed,
                stderr=complained,
                timeout=120,
            )
            for file in (printed, complained):
                file.seek(0)
            said = printed.read()
            assert ended.returncode == code, said + complained.read()
            return said

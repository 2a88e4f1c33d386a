"""What a run's numbers depend on besides its config."""

import subprocess
from pathlib import Path

from commands import ROOT
from engine.run import versions


def test_git_commit_is_that_of_the_project() -> None:
    head = ["git", "rev-parse", "HEAD"]
    try:
        ended = subprocess.run(head, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        assert versions.git_commit(ROOT) is None
    else:
        assert versions.git_commit(ROOT) in (ended.stdout.strip(), ended.stdout.strip() + "+")


def test_outside_git_there_is_no_commit(tmp_path: Path) -> None:
    assert versions.git_commit(tmp_path) is None

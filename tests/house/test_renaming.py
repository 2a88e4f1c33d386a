"""A fork may rename the package of its own: the engine does not know its name."""

import re
import subprocess
from pathlib import Path

import pytest

from house.copies import PARTS, copied, python

# What shows in a few seconds that all still fits together. The whole suite passes as well.
TESTS = [
    "tests/house/test_arrows.py",
    "tests/engine/config",
    "tests/project/modules",
    "tests/engine/sweep/test_gpus.py",
]


@pytest.mark.slow
def test_the_suite_passes_under_another_name_with_the_engine_untouched(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    engine = {
        path: path.read_bytes() for path in (folder / "src/engine").rglob("*") if path.is_file()
    }
    (folder / "src/project").rename(folder / "src/mine")
    for part in PARTS:
        there = folder / part
        for path in there.rglob("*") if there.is_dir() else [there]:
            if path.suffix in (".py", ".yaml", ".md", ".toml") or path.name == "Makefile":
                text = path.read_text(encoding="utf-8")
                text = re.sub(r"\bproject\.", "mine.", text).replace("src/project", "src/mine")
                path.write_text(text, encoding="utf-8")
    assert {path: path.read_bytes() for path in engine} == engine
    trained = python(
        folder, "-m", "mine.train", "experiment=linear", "accelerator=cpu", "trainer.max_steps=2"
    )
    assert trained.returncode == 0, trained.stderr
    (run_dir,) = (folder / "logs/runs/linear").iterdir()
    assert (run_dir / ".hydra/door").read_text() == "mine.train\n"
    words = [
        "-m",
        "mine.train",
        "-m",
        "experiment=linear",
        "accelerator=cpu",
        "seed=1,2",
        "hydra/launcher=joblib",
    ]
    swept = python(folder, *words, "trainer.max_steps=2")
    assert swept.returncode == 0, swept.stderr
    assert "2 jobs: 2 finished" in swept.stdout
    ended: subprocess.CompletedProcess[str] = python(
        folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-x", *TESTS
    )
    assert ended.returncode == 0, ended.stdout[-3000:]

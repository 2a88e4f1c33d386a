"""A fork may rename the package of its own: the engine does not know its name."""

import re
import subprocess
from pathlib import Path

import pytest

from house.copies import PARTS, copied, python

# What shows in a few seconds that all still fits together. A run in a process of its own is the
# sweep above; for one that is killed, the copy would start its own warm Python.
TESTS = [
    *("-k", "not killed"),
    "tests/house/test_arrows.py",
    "tests/engine/config/test_objects.py",
    "tests/project/modules",
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
    words = ["experiment=linear", "accelerator=cpu", "trainer.max_steps=2", "seed=1,2"]
    swept = python(
        folder,
        *("-m", "mine.train", "-m", *words, "hydra/launcher=joblib", "hydra.launcher.n_jobs=1"),
    )
    assert swept.returncode == 0, swept.stderr
    assert "2 jobs: 2 finished" in swept.stdout
    doors = [path.read_text() for path in (folder / "logs/sweeps/linear").glob("*/.hydra/door")]
    assert doors == ["mine.train\n"] * 2
    ended: subprocess.CompletedProcess[str] = python(
        folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-x", *TESTS
    )
    assert ended.returncode == 0, ended.stdout[-3000:]

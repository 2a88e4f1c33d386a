"""Makes what the payloads of a received folder need."""

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch

from engine.config import objects
from payloads import OWN, Evil


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A path beside which there is all that a payload needs."""
    marker = tmp_path / "marker"
    leaves = f"import os\nos.path.exists({str(marker)!r}) or os.mkdir({str(marker)!r})\n"
    for name in ("marker.py", "libraries/evil_of_tests.py", "run/inside_of_tests.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(leaves)
    own = "import os\nclass Net:\n    save = os.mkdir\n"
    for name, text in {
        f"libraries/{OWN}/__init__.py": own,
        f"libraries/{OWN}/__main__.py": leaves,
        f"libraries/{OWN}/leaves_a_marker.py": leaves,
        "run/spaces_of_tests/evil.py": leaves,
        "marker.folder/x": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    evil = Evil(marker)
    (tmp_path / "marker.pickle").write_bytes(pickle.dumps(evil))
    torch.save(evil, tmp_path / "marker.pt")
    joblib.dump(evil, tmp_path / "marker.joblib")
    np.save(tmp_path / "marker.npy", np.array([evil], dtype=object), allow_pickle=True)
    monkeypatch.setattr(
        sys, "path", [*sys.path, str(tmp_path / "libraries"), str(tmp_path / "run")]
    )
    yield marker
    for name in {"evil_of_tests", "inside_of_tests", "spaces_of_tests", OWN} & set(sys.modules):
        del sys.modules[name]
    objects.located.cache_clear()

"""What every test gets: the harmless warnings silenced, as in a run, and one thread."""

import os
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from project import messages

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _as_in_a_run() -> Iterator[None]:
    messages.silence_harmless()
    environment = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(environment)

"""What the tests of reports get: a garbage collector with little to look at."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def _frozen() -> Iterator[None]:
    """Hide what is imported from the collector: statsmodels calls it, for 0.25 s with torch."""
    gc.freeze()
    yield
    gc.unfreeze()

"""A process that may write no file larger than some bytes, as on a disk that is full.

    python -m limited BYTES …    the words of project.train

There are no figures.
"""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import kept_configs
from commands import run_train


@contextmanager
def limited_to(most: int) -> Iterator[None]:
    """Lets this process write no file larger than some bytes; Python ignores the signal."""
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))


if __name__ == "__main__":
    most, *words = sys.argv[1:]
    with limited_to(int(most)), kept_configs.keeping():
        run_train(*words, draws=False)

"""Trains in a process that may write no file larger than some bytes, as on a disk that is full.

    python -m limited BYTES …    the words of project.train

There are no figures.
"""

import resource
import sys

import kept_configs
from commands import run_train

if __name__ == "__main__":
    most, *words = sys.argv[1:]
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(most), hard))  # Python ignores the signal
    with kept_configs.keeping():
        run_train(*words, draws=False)

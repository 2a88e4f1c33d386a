"""Trains in a process that gets a signal at a chosen moment.

    python -m killable <hook of Callback>:<global step> SIGNAL …   the words of project.train
    python -m killable never 0 …
    python -m killable never 0 in=FOLDER …   a new run in this folder

There are no figures.
"""

import os
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import kept_configs
from commands import begin, composed, run_train
from moments import at

if __name__ == "__main__":
    moment, number, *words = sys.argv[1:]
    die = partial(os.kill, os.getpid(), int(number))
    with kept_configs.keeping(), nullcontext() if moment == "never" else at(moment, die):
        if words[0].startswith("in="):
            begin(composed(words[1:]), Path(words[0].removeprefix("in=")))
        else:
            run_train(*words, draws=False)

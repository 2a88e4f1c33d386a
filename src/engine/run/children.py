"""The processes that Lightning starts for further devices."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from engine.errors import WANTS_TRACEBACK


@contextmanager
def joinable(run_dir: Path) -> Iterator[None]:
    """Let the processes that Lightning starts for further devices join this run, whatever command it came from.

    They get this process's command line, which may be a whole sweep's, or that of a launcher's worker; here it is
    `resume=RUN_DIR`. Afterwards no trace of them is left: in the environment, where the next job of a sweep would take
    itself for one of them, and in torch.distributed, where it would talk to processes that are gone.
    """
    from torch import distributed

    main = sys.modules["__main__"]
    words, spec, environment = sys.argv[1:], main.__spec__, dict(os.environ)
    sys.argv[1:] = [f"resume={run_dir}"]
    main.__spec__ = find_spec("project.train")  # in a launcher's worker it is another's
    if not WANTS_TRACEBACK:
        os.environ.pop("HYDRA_FULL_ERROR", None)  # ours, not the user's: theirs is not to be told of
    try:
        yield
    finally:
        sys.argv[1:] = words
        main.__spec__ = spec
        os.environ.clear()
        os.environ.update(environment)
        if distributed.is_available() and distributed.is_initialized():
            distributed.destroy_process_group()

"""Finds objects, each in a process that has imported nothing else of ours: -m alone PATH…."""

import os
import sys

from hydra.utils import get_object


def is_found(path: str) -> bool:
    """Tells whether an object is found in a process of its own, which says why not."""
    if child := os.fork():
        return os.waitpid(child, 0)[1] == 0
    try:
        get_object(path)
    except Exception as error:
        print(f"{path}: {error.__cause__ or error}", flush=True)
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    assert "engine" not in sys.modules
    sys.exit(sum(not is_found(path) for path in sys.argv[1:]))

"""Lets the first check of a config, which imports PyTorch and Lightning, import in less time."""

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def large() -> Iterator[None]:
    """Collects no garbage within this context, in which PyTorch and Lightning are imported.

    They make half a million objects, which stay. Python would look at them for garbage several
    times meanwhile, which takes a seventh of the import, and again and again afterwards. What a
    process has before its first run is frozen: nobody looks at it any more. What its runs make is
    collected as ever. A report makes a million objects that stay, at which Python would look again
    and again, too, and so does a stack of hundreds of jobs.
    """
    is_first = "torch" not in sys.modules
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_first:
            freeze()
        if was_enabled:
            gc.enable()


def freeze() -> None:
    """Has Python look for no garbage among what this process has so far, until it ends."""
    gc.freeze()
    atexit.register(gc.unfreeze)  # libraries in C++ look whether all is freed in the end

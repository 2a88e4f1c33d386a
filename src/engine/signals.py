"""Handles signals: who handles which, and which processes get none."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def keeps_sigterm() -> Iterator[None]:
    """Puts this process's SIGTERM handler back at the end, where a library sets one of its own."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def exits_on_sigterm(code: int) -> Iterator[None]:
    """Makes SIGTERM raise SystemExit with an exit code inside: Lightning would end with 0."""
    with keeps_sigterm():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(code))
        yield


@contextmanager
def out_of_reach_of_ctrl_c() -> Iterator[None]:
    """Keeps Ctrl-C from processes that are started inside: this process gets it and stops them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # children inherit the mask
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """Ends this process within a second of its parent, even if the parent was killed."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()

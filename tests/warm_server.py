"""Forks processes that have their imports behind them: python warm_server.py FOLDER.

Two servers listen at sockets in the folder: `libraries` has imported other people's packages,
`project` has imported ours, too. A process begins as `python -m MODULE …` would: with the
arguments, environment, folder and standard streams of the program that asked for it
(warm_client.py), and with random numbers of its own. That program sends on its signals, one byte
each. When it is gone, its process is killed.
"""

import atexit
import contextlib
import functools
import gc
import importlib.metadata
import json
import os
import random
import runpy
import selectors
import signal
import socket
import sys
import threading
from typing import Any

LIBRARIES = (
    "lightning",
    "matplotlib.figure",
    "optuna",
    "pandas",
    "pydantic.fields",
    "pydantic.type_adapter",
    "sklearn.datasets",
    "sklearn.model_selection",
    "submitit.core._submit",
    "tensorboard.plugins.hparams.metadata",
    "torch._inductor.compile_fx",
    "torch.utils.serialization.config",
    "torch.utils.tensorboard",
    "torchvision",
)
OURS = (
    "engine.callbacks.checkpoints",
    "engine.callbacks.divergence",
    "engine.callbacks.progress_bar",
    "engine.callbacks.step_seed",
    "engine.checks.partials",
    "engine.data.loader",
    "engine.door",
    "engine.evaluation",
    "engine.figures",
    "engine.run.build",
    "engine.run.tensorboard",
    "engine.steps.trainer",
    "hydra_plugins.engine_plugins",
    "project.callbacks.classification",
    "project.callbacks.curve",
    "project.datamodules.digits",
    "project.datamodules.parabola",
    "project.init",
    "project.modules.curve_mlp",
    "project.modules.lenet",
    "project.train",
)
Request = dict[str, Any]
FOR_EVER = contextlib.ExitStack()


def check_a_run() -> None:
    """Checks a run: what a check has made once, of classes, limits and sources, all forks have."""
    from hydra import compose, initialize_config_dir

    from engine.checks.config import check
    from engine.config.resolved import Config
    from engine.run import code
    from project.train import train

    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    import kept_configs

    sys.path.pop()
    FOR_EVER.enter_context(kept_configs.keeping())  # as in the tests' own process
    train.open()
    with initialize_config_dir(str(train.conf), version_base="1.3"):
        config = Config.resolve(compose("config", overrides=["experiment=linear"]))
    check(config)
    code.digests(config, train.module)


def serve(listener: socket.socket, session: int) -> Request:
    """Forks a process for each request; returns in such a process only, with its request.

    Ends this process when that of the test session is gone.
    """
    running: dict[int, socket.socket] = {}  # the connection of each process
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker.fileno())
    with selectors.DefaultSelector() as selector:
        for end in (listener, woken):
            selector.register(end, selectors.EVENT_READ)
        while True:
            os.kill(session, 0)  # raises an error when there is no such process
            for key, _ in selector.select(timeout=5):
                end = key.fileobj
                if end is listener:
                    connection, _ = listener.accept()
                    if (request := received(connection)) is None:
                        continue
                    if (pid := os.fork()) == 0:
                        for mine in (listener, woken, waker, connection, *running.values()):
                            mine.close()
                        return request
                    for stream in request["streams"]:
                        os.close(stream)
                    running[pid] = connection
                    selector.register(connection, selectors.EVENT_READ, pid)
                elif end is woken:
                    woken.recv(1000)
                    for pid, status in ended():
                        if connection := running.pop(pid, None):
                            selector.unregister(connection)
                            with connection, contextlib.suppress(OSError):
                                connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
                elif key.data in running:
                    for number in end.recv(100) or [signal.SIGKILL]:
                        os.kill(key.data, number)


def received(connection: socket.socket) -> Request | None:
    """Reads a request: its size, which the standard streams come with, then JSON."""
    size, streams, _, _ = socket.recv_fds(connection, 8, 3)
    with connection.makefile("rb") as file:
        text = file.read(int.from_bytes(size))
    return {**json.loads(text), "streams": streams} if text and len(streams) == 3 else None


def ended() -> list[tuple[int, int]]:
    """Returns the number and status of every process that has ended since."""
    found = []
    with contextlib.suppress(ChildProcessError):
        while (one := os.waitpid(-1, os.WNOHANG))[0]:
            found.append(one)
    return found


def become(request: Request) -> None:
    """Makes this process what `python -m …` would have made it; then nothing is left but to run."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a job in the background
    for number, stream in enumerate(request["streams"]):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:0] = [request["folder"], *paths]
    sys.argv = ["-m", *request["words"][1:]]
    sys.executable = request["python"]
    import numpy as np
    import torch

    random.seed()
    np.random.seed()
    torch.seed()


def run(name: str) -> None:
    """Runs a module as `python -m` does, and ends without taking down what was imported.

    Python takes seconds for that, as the memory is shared with the server.
    """
    code: Any = 0
    try:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    except SystemExit as stop:
        code = stop.code or 0
        if not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException as error:
        sys.excepthook(*sys.exc_info())
        code = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def main() -> None:
    folder = sys.argv[1]
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number in (1, 2):
        os.dup2(os.open(f"{folder}/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.fsync = lambda descriptor: None  # as in warm.py, which would import the engine
    os.sync = lambda: None
    del sys.path[0]  # this file's
    # As in conftest.py.
    importlib.metadata.entry_points = functools.cache(importlib.metadata.entry_points)
    gc.disable()  # as at the imports of a command
    for name in LIBRARIES:
        importlib.import_module(name)
    ours = os.fork() == 0
    for name in OURS if ours else ():
        importlib.import_module(name)
    if ours:
        check_a_run()
    gc.freeze()  # a collection in a forked process would touch, and so copy, all that is shared
    gc.enable()
    path = f"{folder}/{'project' if ours else 'libraries'}"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{path}.new")
    listener.listen(100)
    os.rename(f"{path}.new", path)
    with open(f"{folder}/session") as file:
        session = int(file.read())
    become(request := serve(listener, session))
    run(request["words"][0])


if __name__ == "__main__":
    main()

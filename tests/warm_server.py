"""Forks processes that have their imports behind them: python warm_server.py FOLDER.

Two servers listen at sockets in the folder: `libraries` has imported other people's packages,
`project` has imported ours, too. A process begins as `python -m MODULE …` would: with the
arguments, environment, folder and open files of the program that asked for it (warm_client.py),
and with random numbers of its own. That program sends on its signals, one byte each. When it is
gone, its process is killed.
"""

import atexit
import contextlib
import ctypes
import fcntl
import functools
import gc
import importlib
import importlib.metadata
import json
import logging
import os
import random
import re
import runpy
import selectors
import shutil
import signal
import socket
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# No Hydra: pytest, which runs in a copy of the sources, wants to import its plugin itself.
LIBRARIES = (
    "joblib.externals.loky",
    "lightning",
    "matplotlib.figure",
    "omegaconf",
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
    "unittest.mock",
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
    "engine.launch.joblib_launcher",
    "engine.run.build",
    "engine.run.loggers.tabs",
    "engine.search.search",
    "engine.steps.trainer",
    "engine.vectorized.together",
    "hydra._internal.hydra",
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
# Of a small run as most of the tests' processes do one.
REHEARSED = (
    "experiment=linear",
    "accelerator=cpu",
    "callbacks.progress_bar=null",  # which has a thread
    "logger.tensorboard.log_graph=false",
    "module._target_=ways.Small",
    "datamodule._target_=ways.Points",
    "datamodule.batch_size=5",
    "datamodule.steps_per_epoch=4",
    "optimizer=sgd",
    "callbacks.checkpoints.every_n_steps=3",
    "trainer.max_epochs=1",
)
# Words of other kinds, which the parser learns to read.
READ = (
    "+callbacks.breaks.file=events*",
    "callbacks=[default,early_stopping]",
    "module.augment={noise: {_target_: ways.Noise}}",
    "optimizer.lr=tag(log,interval(0.001,1e-1))",
    "paths.log_dir=/tmp/a-b_c.d/1",
    "resume=/tmp/runs/linear/2026-01-02_03-04-05",
    "seed=range(3)",
    "seed=1,2",
    "trainer.val_check_interval=0.5",
)
Request = dict[str, Any]
FOR_EVER = contextlib.ExitStack()
CONF = Path(__file__).parents[1] / "conf"
MOST_FILES = 64
LARGE = 2**21  # bytes of a large page
MADV_COLLAPSE = 25  # since Linux 6.1
OWN_MEMORY = re.compile(r"(\w+)-(\w+) rw-p \w+ 00:00 0\s*(?:\[heap\])?$")  # of no file
TARGETS = re.compile(r"^[^#\n]*_target_: ([\w.]+)", re.MULTILINE)  # of the config files


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
                    for file in request["sent"]:
                        os.close(file)
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
    """Reads a request: its size, which the open files come with, then JSON."""
    size, sent, _, _ = socket.recv_fds(connection, 8, MOST_FILES)
    with connection.makefile("rb") as file:
        text = file.read(int.from_bytes(size))
    return {**json.loads(text), "sent": sent} if text and len(sent) >= 3 else None


def ended() -> list[tuple[int, int]]:
    """Returns the number and status of every process that has ended since."""
    found = []
    with contextlib.suppress(ChildProcessError):
        while (one := os.waitpid(-1, os.WNOHANG))[0]:
            found.append(one)
    return found


def parent(program: int, own: int, real: Callable[[], int]) -> int:
    """Returns the number of the process that started a program whose process is `own`.

    A child that `own` forks has its real parent.
    """
    if os.getpid() != own:
        return real()
    try:
        with open(f"/proc/{program}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except FileNotFoundError:  # it has been killed, and so will this process be
        return 1


def become(request: Request) -> None:
    """Makes this process what `python -m …` would have made it; then nothing is left but to run."""
    if request["leads"]:  # a group, which somebody may end whole: not this server's
        os.setpgid(0, 0)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a job in the background
    above = 1 + max(request["files"])  # the number of no file that was asked for
    sent = [fcntl.fcntl(file, fcntl.F_DUPFD, above) for file in request["sent"]]
    for file in request["sent"]:
        os.close(file)
    for number, file in zip(request["files"], sent, strict=True):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:0] = [request["folder"], *paths]
    sys.argv = ["-m", *request["words"][1:]]
    sys.executable = request["python"]
    if os.path.exists("/proc"):  # on Linux
        os.getppid = functools.partial(parent, request["program"], os.getpid(), os.getppid)
    import numpy as np
    import torch

    random.seed()
    np.random.seed()
    torch.seed()


def run(name: str) -> None:
    """Runs a module as `python -m` does, or a file, and ends without taking down what was imported.

    Python takes seconds for that, as the memory is shared with the server.
    """
    code: Any = 0
    try:
        if os.path.isabs(name):
            runpy.run_path(name, run_name="__main__")
        else:
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


def keep_configs() -> None:
    """Has all processes keep what Hydra composes, as the tests' own does."""
    sys.path.append(str(Path(__file__).parent))
    import kept_configs

    sys.path.pop()
    FOR_EVER.enter_context(kept_configs.keeping())


def remember() -> None:
    """Fills the engine's caches of types, signatures and sources, which each process would fill."""
    from engine import UserError
    from engine.config import limits, objects, ranges
    from engine.run import code
    from project.datamodules import digits

    hints = [limit.hint for limit in limits.LIMITS.values()] + list(objects.FLAGS.values())
    for path in sorted(CONF.glob("**/*.yaml")):
        for target in re.findall(TARGETS, path.read_text(encoding="utf-8")):
            with contextlib.suppress(UserError):  # a class of a user's that cannot be imported
                arguments = objects.arguments_of(objects.located(target, path.stem)) or {}
                hints += [argument.annotation for argument in arguments.values()]
                code.source(target.rpartition(".")[0])
    digits._digits()
    for hint in hints:
        ranges.why_not(None, hint)
    code.of_the_engine()


def rehearse(folder: str) -> None:
    """Does a small run: the first one of a process takes half as long again as the second.

    What it leaves is the memory of Python and its libraries; the state that a command makes for
    itself is put back. Not where there is a GPU: PyTorch has threads for it after the first step,
    and refuses a fork.
    """
    import torch

    if torch.cuda.is_available():
        return
    tests = str(Path(__file__).parent)
    sys.path.append(tests)
    modules = set(sys.modules)
    with as_before(), warnings.catch_warnings():
        from hydra.core.override_parser.overrides_parser import OverridesParser

        from commands import begin, composed
        from engine.config.overrides import check_command_line

        path = Path(folder, "rehearsed")
        OverridesParser.create().parse_overrides(list(READ))
        check_command_line(list(REHEARSED), CONF)
        begin(composed(list(REHEARSED)), path)
        shutil.rmtree(path)
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(tests):
            del sys.modules[name]
    sys.path.remove(tests)
    assert threading.active_count() == 1, threading.enumerate()


@contextlib.contextmanager
def as_before() -> Iterator[None]:
    """Puts back what a run sets for its process: messages, exactness, what OmegaConf knows."""
    import torch
    from omegaconf import OmegaConf

    root, fills = logging.getLogger(), torch.utils.deterministic.fill_uninitialized_memory
    handlers, levels = root.handlers[:], levels_of_logging()
    is_exact = torch.are_deterministic_algorithms_enabled()
    yield
    OmegaConf.clear_resolver("root")
    torch.use_deterministic_algorithms(is_exact)
    torch.utils.deterministic.fill_uninitialized_memory = fills
    root.handlers[:] = handlers
    for name in levels_of_logging():
        logging.getLogger(name).setLevel(levels.get(name, logging.NOTSET))


def levels_of_logging() -> dict[str, int]:
    """Returns the level of each logger that there is; "" is the root."""
    root = logging.getLogger()
    known = root.manager.loggerDict.items()
    found = {name: made.level for name, made in known if isinstance(made, logging.Logger)}
    return {"": root.level, **found}


def use_large_pages() -> None:
    """Has Linux gather this process's memory in pages of 2 MB, of which a fork copies fewer.

    A process then takes two thirds of the time to begin and to end. What cannot be gathered stays.
    """
    libc = ctypes.CDLL(None)
    if sys.platform != "linux" or not hasattr(libc, "madvise"):
        return
    for line in Path("/proc/self/maps").read_text().splitlines():
        if own := OWN_MEMORY.match(line):
            first, last = (int(end, 16) for end in own.groups())
            for place in range(-(-first // LARGE) * LARGE, last - LARGE + 1, LARGE):
                libc.madvise(ctypes.c_void_p(place), ctypes.c_size_t(LARGE), MADV_COLLAPSE)


def main() -> None:
    folder = sys.argv[1]
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number in (1, 2):
        os.dup2(os.open(f"{folder}/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.fsync = lambda descriptor: None  # as in warm.py, which would import the engine
    os.sync = lambda: None
    importlib.metadata.entry_points = functools.cache(importlib.metadata.entry_points)
    del sys.path[0]  # this file's
    gc.disable()  # as at the imports of a command
    for name in LIBRARIES:
        importlib.import_module(name)
    ours = os.fork() == 0
    if ours:
        for name in OURS:
            importlib.import_module(name)
        keep_configs()
        remember()
        rehearse(folder)
    for known in list(weakref.finalize._registry):  # torch takes its libraries down one by one
        known.atexit = False
    gc.freeze()  # a collection in a forked process would touch, and so copy, all that is shared
    gc.enable()
    gc.set_threshold(50_000, 5, 5)  # as in warm.py
    use_large_pages()
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

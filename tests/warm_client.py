"""Asks the server beside this program for a process, and ends as that process ends.

warm.py makes a program of this file. It runs without site-packages, which take longer to find than
a process takes to fork.
"""

import contextlib
import json
import os
import signal
import socket
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = sys.executable  # by the first line of the program
# Modules that the server may run. Others may need what a forked process has not: a number that its
# parent knows, say.
RUN = (
    "alone",
    "file_events",
    "joblib.externals.loky.backend.popen_loky_posix",
    "killable",
    "limited",
    "memory",
    "mine.",
    "project.",
    "pytest",
    "soak",
    "stages",
    "submitit.core.",
)
SENT_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
WORKER = "ray/_private/workers/default_worker.py"  # a file that Ray runs


def open_files() -> list[int]:
    """Returns the numbers of the files that this process was given, its standard streams first."""
    found = []
    for number in sorted(map(int, os.listdir("/dev/fd"))):
        with contextlib.suppress(OSError):  # the folder itself was among them
            os.fstat(number)
            found.append(number)
    return found


def main() -> None:
    words = sys.argv[2:] if sys.argv[1:2] == ["-u"] else sys.argv[1:]
    if words[:1] == ["-m"] and words[1].startswith(RUN):
        del words[0]
    elif not words or not words[0].endswith(WORKER):
        os.execv(PYTHON, [PYTHON, *sys.argv[1:]])
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    # The tests have a folder of that name, too, which is no package.
    found = [path for path in paths if path and os.path.isfile(f"{path}/engine/__init__.py")]
    with open(os.path.join(HERE, "sources")) as file:
        served = file.read()
    own = bool(found) and os.path.realpath(found[0]) != served  # a copy of the sources
    files = open_files()
    request = {
        "files": files,
        "leads": os.getpgrp() == os.getpid(),
        "words": words,
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "program": os.getpid(),
        "python": os.path.abspath(__file__),
    }
    text = json.dumps(request).encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(os.path.join(HERE, "libraries" if own else "project"))
        socket.send_fds(server, [len(text).to_bytes(8, "big")], files)
        server.sendall(text)

        def send_on(number, frame):
            with contextlib.suppress(OSError):  # the process may have ended
                server.send(bytes([number]))

        for number in SENT_ON:
            signal.signal(number, send_on)
        answer = server.recv(100)
    code = int(answer or b"1")
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    sys.exit(code)


main()

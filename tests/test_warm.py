"""What the warm Python runs is what the real Python runs."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import engine
import warm

SAYS = """
import os, random, signal, sys, time
from pathlib import Path

if __name__ == "__main__":
    how, *words = sys.argv[1:]
    warm = [name in sys.modules for name in ("torch", "engine.door")]
    print(words, os.getcwd(), os.environ["WHO"], warm, sys.path[:2])
    assert os.getppid() == int(os.environ["PARENT"])
    os.write(int(os.environ.get("FILE", "2")), b"open")
    print(random.random(), file=sys.stderr)
    if how == "waits":
        print("ready", flush=True)
        time.sleep(60)
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "raises":
        raise ValueError("no")
    sys.exit(int(how))
"""


@pytest.fixture
def program(tmp_path: Path) -> dict[str, Any]:
    """Makes a package `mine`; returns options of a process that runs there."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/says.py").write_text(SAYS)
    environment = {**os.environ, "WHO": "me", "PYTHONPATH": str(tmp_path)}
    environment["PARENT"] = str(os.getpid())
    return {"cwd": tmp_path, "env": environment, "text": True}


def start(program: dict[str, Any], *words: str) -> "subprocess.Popen[str]":
    command = [warm.python(), "-m", "mine.says", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **program)


@pytest.mark.parametrize(
    ("how", "code"), [("0", 0), ("7", 7), ("raises", 1), ("killed", -signal.SIGKILL)]
)
def test_words_folder_environment_streams_and_exit_code(
    how: str, code: int, program: dict[str, Any]
) -> None:
    with start(program, how, "a b", "c") as process:
        printed, complained = process.communicate(timeout=60)
    assert process.returncode == code
    if how != "killed":  # which writes nothing of what is buffered
        folder = str(program["cwd"])
        assert printed == f"{['a b', 'c']} {folder} me [True, True] {[folder, folder]}\n"
    assert ("ValueError: no" in complained) == (how == "raises")


@pytest.mark.parametrize("is_relative", [False, True])
def test_the_sources_themselves_are_no_copy(is_relative: bool, program: dict[str, Any]) -> None:
    """As it happened with PYTHONPATH=src: each process imported the engine anew."""
    sources = str(Path(engine.__file__).parents[1])
    if is_relative:
        sources = os.path.relpath(sources, program["cwd"])
    program["env"]["PYTHONPATH"] = os.pathsep.join([str(program["cwd"]), sources])
    with start(program, "0") as process:
        printed, _ = process.communicate(timeout=60)
    assert " me [True, True] " in printed


@pytest.mark.parametrize(
    ("file", "ours"), [("engine/test_errors.py", True), ("engine/__init__.py", False)]
)
def test_only_a_copy_of_the_sources_begins_without_ours(
    file: str, ours: bool, program: dict[str, Any]
) -> None:
    """As it happened: the folder of the engine's tests was taken for a copy of the engine."""
    other = program["cwd"] / "other"
    (other / file).parent.mkdir(parents=True)
    (other / file).touch()
    program["env"]["PYTHONPATH"] += f"{os.pathsep}{other}"
    with start(program, "0") as process:
        assert f" [True, {ours}] " in process.communicate(timeout=60)[0]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signals_come_to_the_process_and_end_it(sent: int, program: dict[str, Any]) -> None:
    with start(program, "waits") as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        assert process.stdout.readline() == "ready\n"
        process.send_signal(sent)
        process.communicate(timeout=20)  # ends when no process has the other end of the pipes
    assert process.returncode == -sent


def test_random_numbers_are_those_of_no_other_process(program: dict[str, Any]) -> None:
    drawn = set()
    for _ in range(2):
        with start(program, "0") as process:
            drawn.add(process.communicate(timeout=60)[1])
    assert len(drawn) == 2


def test_a_file_that_the_program_was_given_is_open(program: dict[str, Any]) -> None:
    end, given = os.pipe()
    program["env"]["FILE"] = str(given)
    with start({**program, "pass_fds": [given]}, "0") as process:
        os.close(given)
        process.communicate(timeout=60)
    with open(end, "rb") as file:
        assert file.read() == b"open"


@pytest.mark.slow
def test_a_run_has_the_bits_of_the_real_python(tmp_path: Path) -> None:
    """Of a sweep, whose jobs Hydra composes by itself in the real Python."""
    words = ["experiment=curve_fit", "callbacks=default", "logger=csv", "accelerator=cpu"]
    sweeps = []
    for name in (sys.executable, warm.python()):
        log_dir = tmp_path / str(len(sweeps))
        command = [
            name,
            "-m",
            "project.train",
            "-m",
            *words,
            "seed=1,2",
            f"paths.log_dir={log_dir}",
        ]
        subprocess.run(command, check=True, timeout=120, stdout=subprocess.DEVNULL)
        sweeps.append(
            {
                str(path.relative_to(log_dir)): unsigned(path).replace(str(log_dir), "LOG_DIR")
                for path in log_dir.rglob("*")
                if path.suffix in (".csv", ".yaml")
            }
        )
    assert len(sweeps[0]) == 1 + 2 * 3
    assert sweeps[0] == sweeps[1]


def unsigned(path: Path) -> str:
    """Returns the lines of a file but for its signature."""
    lines = path.read_text().splitlines()
    return "\n".join(line for line in lines if not line.startswith("#"))


STATE = """
import logging, sys
import torch
from omegaconf import OmegaConf

import lightning, engine.run.build

names = ("", "engine", "hydra", "lightning.pytorch")
print([logging.getLogger(name).level for name in names], logging.getLogger().handlers)
print(torch.are_deterministic_algorithms_enabled(), OmegaConf.has_resolver("root"))
print(torch.utils.deterministic.fill_uninitialized_memory, torch.get_num_threads())
print([name for name in ("commands", "moments", "ways") if name in sys.modules])
"""


def test_a_process_begins_as_if_nothing_had_been_rehearsed(program: dict[str, Any]) -> None:
    """The real Python prints the same, and takes six seconds."""
    (program["cwd"] / "mine/state.py").write_text(STATE)
    command = [warm.python(), "-m", "mine.state"]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, **program).stdout
    assert said == "[30, 0, 0, 20] []\nFalse False\nTrue 1\n[]\n"

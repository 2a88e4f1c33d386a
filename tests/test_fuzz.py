"""Random command lines: each one runs, or is refused in a few lines and leaves nothing behind."""

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import fuzz
import fuzz_judge
from engine.door import Door
from engine.errors import RunFailed, UserError, blamed_on, nearest
from engine.run.run import Run
from fuzz_judge import Judge
from fuzz_lines import SMALLEST, Line, Lines
from fuzz_verdict import AT_FIRST, is_about
from project.train import train


@pytest.mark.slow
def test_two_thousand_command_lines(tmp_path: Path) -> None:
    report = fuzz.fuzz(2000, 0, tmp_path)
    assert not report.violations, str(report)
    assert report.outcomes.total() == 2000
    assert report.trained.total() >= 90
    # A generator of lines that are all wrong at first sight would try nothing.
    assert report.outcomes["ran"] > 150
    assert report.trained["ran"] > 75
    # What no one part of the config is to blame for is rare.
    assert report.outcomes[AT_FIRST] <= 20
    assert report.trained[AT_FIRST] <= 5


def test_a_seed_gives_the_same_different_lines_and_many_are_of_sweeps() -> None:
    lines = list(itertools.islice(Lines(0), 400))
    assert len(set(lines)) == 400
    assert lines == list(itertools.islice(Lines(0), 400))
    assert len({*lines, *itertools.islice(Lines(1), 400)}) > 600
    assert sum("-m" in line or "--multirun" in line for line in lines) >= 30
    assert sum(line[-1:] == line[-2:-1] for line in lines) < 80


def test_pieces_of_a_fuzz_are_summed() -> None:
    pieces = {
        "1": {"lines": 3, "outcomes": {"ran": 1, "refused": 2}, "trained": {"ran": 1}},
        "2": {"lines": 2, "outcomes": {"ran": 1, "exit code 1": 1}, "trained": {}},
    }
    violations = ({}, {"exit code 1": "seed=1"})
    for piece, found, seconds in zip(pieces.values(), violations, (5, 7), strict=True):
        piece |= {"violations": found, "seconds": seconds}
    summed = fuzz.together(pieces)
    assert summed["lines"] == 5
    assert summed["outcomes"] == {"ran": 2, "refused": 2, "exit code 1": 1}
    assert summed["trained"] == {"ran": 1}
    assert summed["violations"] == {"exit code 1": "seed=1"}
    assert summed["seconds"] == 12
    assert summed["pieces"] == pieces


def raises(error: BaseException) -> Callable[[Run], float]:
    def do(run: Run) -> float:
        raise error

    return do


def fails_before_a_step(kind: type[Exception] | None) -> Callable[[Run], float]:
    """Fails in this file, or with None in the engine."""

    def do(run: Run) -> float:
        with blamed_on(AT_FIRST):
            if kind:
                raise kind("no")
            nearest("a", None)  # type: ignore[arg-type]
        return 0.0

    return do


def leaves(run: Run) -> float:
    Path("left").touch()
    raise UserError("seed=1: no")


def tells(run: Run) -> float:
    print("Traceback (most recent call last):")
    return 0.0


def waits(run: Run) -> float:
    time.sleep(5)
    return 0.0


@pytest.mark.parametrize(
    ("ends", "outcome"),
    [
        pytest.param(lambda run: 0.0, "ran", id="ran"),
        pytest.param(raises(UserError("seed=1: no")), "refused", id="refused"),
        pytest.param(raises(UserError("no")), "names nothing", id="names nothing"),
        pytest.param(fails_before_a_step(KeyError), AT_FIRST, id="at first"),
        pytest.param(fails_before_a_step(None), "2: TypeError", id="a bug of the engine"),
        pytest.param(raises(SystemExit(1)), AT_FIRST, id="an exit at first"),
        pytest.param(raises(RunFailed("no")), "exit code 1", id="exit code"),
        pytest.param(leaves, "leaves left", id="leaves a file"),
        pytest.param(tells, "a traceback, and exit code 0", id="a traceback"),
        pytest.param(waits, "too long: ", id="too long"),
    ],
)
def test_the_judge_finds(
    ends: Callable[[Run], float], outcome: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz_judge, "SECONDS", 3)
    door = Door(ends, train.root, train.conf)
    judged = Judge(tmp_path, door)(("seed=1",), trains=True)
    assert judged.outcome.startswith(outcome)


@pytest.mark.parametrize(
    ("message", "line", "is_named"),
    [
        ("seed=x: must be a number", (SMALLEST, "seed=x"), True),
        ("curve_fit: no", (SMALLEST, "seed=x"), False),
        ("seeds: no", ("seed=x",), False),
        ("no", ("-m", "seed=x"), False),
        ("'-x': not an override", ("-x", "seed=x"), True),
        ("error: trainer.max_epochs: no", ("trainer.max_epochs=x",), True),
        ("error: trainer.max_steps: no", ("trainer.max_epochs=x",), False),
        ("error: threads: at most 10", ("seed=10",), False),
        ("error: threads: a - b", ("-",), False),
        ("error: '~01': no", ("~01",), True),
        ("error: 01: no", ("~02",), False),
        ("error: '~01': no", ("~0",), False),
        ("error: '': no", ("", ""), True),
        ("error: '': no", ("=5",), False),
        ("error: 'ab' is bad", ("a=1",), False),
        ("error: 'a' is bad", ("a=1",), True),
        ("error: trainer: no", ("=5",), False),
        ("error: threads: no", ("t=1",), False),
        ("error: moduleX: no", ("module=1",), False),
        ("error: module.x: no", ("module=1",), True),
        ("error: seed=10: no", ("seed=1",), True),
    ],
)
def test_what_a_message_names(message: str, line: Line, is_named: bool) -> None:
    assert is_about(message, line) == is_named


def test_a_traceback_is_found_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(config: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(fuzz_judge, "check", check)
    judge = Judge(tmp_path)
    verdict = judge(("seed=1", "threads=1"))
    assert verdict.outcome.startswith("traceback: ZeroDivisionError: a bug")
    assert verdict.is_violation
    assert fuzz.shortest(judge, ("seed=1", "threads=1"), False, verdict.outcome) == ()

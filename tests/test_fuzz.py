"""Random command lines: each one runs, or is refused in a few lines and leaves nothing behind."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

import fuzz
from engine.door import Door
from engine.errors import UserError, blamed_on, nearest
from engine.run.run import Run
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
    assert report.outcomes[fuzz.AT_FIRST] <= 20
    assert report.trained[fuzz.AT_FIRST] <= 5


def test_the_lines_are_different_and_many_are_of_sweeps() -> None:
    lines = fuzz.generated(200, 0)
    assert len(set(lines)) == len(lines) == 200
    assert sum("-m" in line for line in lines) >= 10
    assert sum(line[-1:] == line[-2:-1] for line in lines) < 40


def raises(error: BaseException) -> Callable[[Run], float]:
    def do(run: Run) -> float:
        raise error

    return do


def fails_before_a_step(kind: type[Exception] | None) -> Callable[[Run], float]:
    """Fails in this file, or with None in the engine."""

    def do(run: Run) -> float:
        with blamed_on(fuzz.AT_FIRST):
            if kind:
                raise kind("no")
            nearest("a", None)  # type: ignore[arg-type]
        return 0.0

    return do


def leaves(run: Run) -> float:
    Path("left").touch()
    raise UserError("seed=1: no")


def waits(run: Run) -> float:
    time.sleep(5)
    return 0.0


@pytest.mark.parametrize(
    ("ends", "outcome"),
    [
        pytest.param(lambda run: 0.0, "ran", id="ran"),
        pytest.param(raises(UserError("seed=1: no")), "refused", id="refused"),
        pytest.param(raises(UserError("no")), "names nothing", id="names nothing"),
        pytest.param(fails_before_a_step(KeyError), fuzz.AT_FIRST, id="at first"),
        pytest.param(fails_before_a_step(None), "2: TypeError", id="a bug of the engine"),
        pytest.param(raises(SystemExit(1)), "exit code 1", id="exit code"),
        pytest.param(leaves, "leaves left", id="leaves a file"),
        pytest.param(waits, "too long: ", id="too long"),
    ],
)
def test_the_judge_finds(
    ends: Callable[[Run], float], outcome: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz, "SECONDS", 3)
    door = Door(ends, train.root, train.conf)
    judged = fuzz.Judge(tmp_path, door)(("seed=1",), trains=True)
    assert judged.outcome.startswith(outcome)


@pytest.mark.parametrize(
    ("message", "line", "is_about"),
    [
        ("seed=x: must be a number", (fuzz.SMALLEST, "seed=x"), True),
        ("curve_fit: no", (fuzz.SMALLEST, "seed=x"), False),
        ("seeds: no", ("seed=x",), False),
        ("no", ("-m", "seed=x"), False),
        ("'-x': not an override", ("-x", "seed=x"), True),
    ],
)
def test_what_a_message_names(message: str, line: fuzz.Line, is_about: bool) -> None:
    assert fuzz._is_about(message, line) == is_about


def test_a_traceback_is_found_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(config: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(fuzz, "check", check)
    judge = fuzz.Judge(tmp_path)
    verdict = judge(("seed=1", "threads=1"))
    assert verdict.outcome.startswith("traceback: ZeroDivisionError: a bug")
    assert verdict.is_violation
    assert fuzz.shortest(judge, ("seed=1", "threads=1"), False, verdict.outcome) == ()

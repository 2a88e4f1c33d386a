"""The benchmarks run, made small; and the README shows what they measured."""

import contextlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from commands import ROOT
from engine.report.read.collect import collect
from warm import python


@pytest.fixture
def benchmarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns the folder that the benchmarks write their results to."""
    import measuring

    monkeypatch.setattr(measuring, "RESULTS", tmp_path)
    return tmp_path


def written(folder: Path, name: str) -> Any:
    return json.loads((folder / f"{name}.json").read_text())


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:.*multi-threaded, use of fork:DeprecationWarning"
)  # the tutorial's workers
def test_step_time(
    benchmarks: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import step_time

    small = {
        "lenet-4": step_time.Case("lenet", 6, batch_size=4),
        "linear": step_time.Case("linear", 6),
    }
    monkeypatch.setattr(step_time, "CASES", small)
    monkeypatch.setattr(step_time, "WARM_UP", 2)
    monkeypatch.setattr(step_time, "IMAGES", 64)
    loops = ["eager", "single", "rows", "template", "tutorial"]
    monkeypatch.setattr(sys, "argv", ["step_time.py", "--rounds", "1", "--loops", *loops])
    step_time.main()
    result = written(benchmarks, "step_time.part")
    assert {"cpu", "torch", "lightning", "python", "OMP_NUM_THREADS"} <= set(result["machine"])
    assert set(result["cases"]["lenet-4"]["ms_per_step"]) == {
        "hand",
        "eager",
        "single",
        "template",
        "tutorial",
    }
    assert set(result["cases"]["linear"]["ms_per_step"]) == {
        "hand",
        "eager",
        "single",
        "template",
        "rows",
    }
    for case in result["cases"].values():
        assert all(0 < values[0] < 1000 for values in case["ms_per_step"].values())
        assert case["ratio_to_hand"]["hand"]["median"] == 1
    assert "lenet-4  tutorial" in capsys.readouterr().out
    loops = ["flip_crop", "each", "--against", "eager"]
    monkeypatch.setattr(
        sys, "argv", ["step_time.py", "--rounds", "1", "--cases", "lenet-4", "--loops", *loops]
    )
    step_time.main()
    (case,) = written(benchmarks, "step_time.part")["cases"].values()
    assert set(case["ratio_to_eager"]) == {"eager", "flip_crop", "each"}
    assert case["ratio_to_eager"]["eager"]["median"] == 1


@pytest.mark.slow
def test_start_up(benchmarks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import start_up

    seconds = start_up.seconds

    def without_import(words: list[str], code: int = 0) -> float:
        return 1.0 if words == ["-c", "import lightning"] else seconds(words, code)

    monkeypatch.setattr(start_up, "seconds", without_import)  # which can only take long
    monkeypatch.setattr(sys, "executable", python())
    monkeypatch.setattr(sys, "argv", ["start_up.py", "--rounds", "1"])
    # A limit of the engine's, to which the command imports little.
    monkeypatch.setattr(start_up, "LIMITS", {"seed=-1": ["experiment=curve_fit"]})
    start_up.main()
    result = written(benchmarks, "start_up")
    four = {"import", "step", "help", "mistake"}
    assert set(result["seconds"]) == {*four, "seed=-1", "seed=-1 alone"}
    command, alone = (result["seconds"][name][0] for name in ("seed=-1", "seed=-1 alone"))
    assert result["limit_over_imports"] == pytest.approx(command - alone)


@pytest.mark.slow
def test_memory(benchmarks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import memory

    monkeypatch.setattr(sys, "executable", python())
    monkeypatch.setattr(memory, "SIZES", [100])
    monkeypatch.setattr(memory, "LOOPS", ["eager"])
    monkeypatch.setattr(sys, "argv", ["memory.py", "--rounds", "1"])
    memory.main()
    alone, eager = written(benchmarks, "memory")["peaks"]
    assert 100 < alone["megabytes"] < eager["megabytes"] < 5000


@pytest.mark.slow
def test_soak(benchmarks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a second, which is too short to say whether it holds."""
    import soak

    monkeypatch.setattr(sys, "executable", python())
    less = ["trainer.log_every_n_steps=10", "logger.tensorboard.log_graph=false"]
    monkeypatch.setattr(soak, "LESS", less)
    monkeypatch.setattr(sys, "argv", ["soak.py", "--minutes", "0.01"])
    with contextlib.suppress(SystemExit):
        soak.main()
    results = written(benchmarks, "soak.part")["results"]
    assert list(results) == ["run", "vectorised sweep"]
    for found in results.values():
        assert 100 < found["megabytes in use"][0] <= found["resident megabytes"][0] < 5000
        assert found["steps"] >= 9
        assert 0 < found["open files"][0] < 100


def test_what_a_soak_calls_a_leak() -> None:
    import soak

    sound = [
        soak.Look(s, 900 + s % 3 + s / 3, s / 3, 8 - (s % 7 == 0), 5000 + 70 * s, 50 * s)
        for s in range(100)
    ]
    assert soak.judged(sound, 99 / 60)["holds"]
    assert not soak.judged(sound, 2)["holds"]  # it has ended too early
    assert soak.judged(sound, 99 / 60)["event bytes a step"] == pytest.approx(1.4)
    leaks = {
        "megabytes": lambda one: one.megabytes + 0.5 * one.seconds,
        "files": lambda one: one.files + (one.seconds > 50),
        "event_bytes": lambda one: one.event_bytes + int(one.seconds**2),
    }
    for name, leak in leaks.items():
        looks = [one._replace(**{name: leak(one)}) for one in sound]
        assert not soak.judged(looks, 99 / 60)["holds"], name


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is on Linux")
def test_the_memory_in_use_is_without_what_the_allocator_keeps() -> None:
    """Small pieces are freed below one that stays: their pages cannot go back to the system."""
    import soak

    pieces = [torch.empty(4096) for _ in range(2000)]  # 16 KB each, from the heap
    before = soak.look(Path("/nowhere"), 0.0)
    last = torch.empty(4096)
    pieces = [piece for number, piece in enumerate(pieces) if number % 2]
    after = soak.look(Path("/nowhere"), 0.0)
    assert after.free - before.free == pytest.approx(1000 * 4096 * 4 / 2**20, rel=0.05)
    assert len(last) == 4096


@pytest.mark.slow
def test_sweep_time(
    benchmarks: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sweep_time

    words = ["experiment=curve_fit", "datamodule.steps_per_epoch=5", "logger=csv"]
    small = {"curve_fit": sweep_time.Sweep(words, [2, 3], ["callbacks=default"], first=1, timed=1)}
    monkeypatch.setattr(sweep_time, "SWEEPS", small)
    monkeypatch.setattr(sweep_time, "LAUNCHERS", {"basic": ()})
    monkeypatch.setattr(sys, "argv", ["sweep_time.py", "--rounds", "1"])
    sweep_time.main()
    result = written(benchmarks, "sweep_time")["sweeps"]["curve_fit"]
    assert set(result["seconds together"]) == {"2", "3"}
    alone = {"basic", "basic, 2 threads", "basic, figures"}
    assert set(result["seconds a job"]) == alone
    for jobs, ratios in result["ratio_to_together"].items():
        (whole,), (single,) = result["seconds together"][jobs], result["seconds a job"]["basic"]
        assert set(ratios) == alone | ({"together, 2 threads"} if jobs == "3" else set())
        assert ratios["basic"]["median"] == pytest.approx(int(jobs) * single / whole)
    assert "3 curve_fit" in capsys.readouterr().out


def test_the_readme_shows_what_was_measured(benchmarks: Path) -> None:
    import show

    measured = show.load("step_time")
    readme = (ROOT / "README.md").read_text()
    assert show.markdown(measured["cases"]) in readme
    assert show.sweeps_markdown(show.load("sweep_time")["sweeps"]) in readme
    show.draw(benchmarks)
    words = [
        re.findall("<!-- (.*?) -->", (folder / "speed.svg").read_text())
        for folder in (ROOT / "docs", benchmarks)
    ]
    assert words[0] == words[1]
    values = [
        show.ratio(measured["cases"], case, loop) for case in show.CASES for loop in show.LOOPS
    ]
    assert {f"{value:.2f} ×" for value in values if value is not None} <= set(words[0])


@pytest.mark.slow
def test_report_time(benchmarks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import report_time

    monkeypatch.setattr(sys, "executable", python())
    monkeypatch.setattr(sys, "argv", ["report_time.py", "--rounds", "1", "--runs", "20"])
    report_time.main()
    result = written(benchmarks, "report_time")
    assert 0 < result["processor"][0] < 60
    assert set(result["hparams"]) == {"fast", "plain"}


def test_runs_that_report_time_makes_up_are_whole(tmp_path: Path) -> None:
    import report_time

    report_time.Runs(tmp_path).write(0)
    runs, problems = collect(tmp_path)
    assert ([run.status for run in runs], problems) == (["finished"], [])


@pytest.mark.slow
def test_pictures(
    benchmarks: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The pictures that need no browser; tests/test_in_a_browser.py has the others."""
    import pictures

    monkeypatch.setattr(sys, "executable", python())
    less = [f"datamodule.{word}=20" for word in ("samples", "batch_size", "steps_per_epoch")]
    monkeypatch.setattr(pictures, "LESS", [*less, "logger.tensorboard.log_graph=false"])
    monkeypatch.setattr(pictures, "CHROMIUM", None)
    monkeypatch.setattr(sys, "argv", ["pictures.py", str(benchmarks)])
    pictures.main()
    assert "no Chromium here: apt-get install chromium" in capsys.readouterr().out
    for name in ("curve_fit.png", "lessons/depth_study.png"):
        with Image.open(benchmarks / name) as picture, Image.open(ROOT / "docs" / name) as shown:
            assert (picture.format, picture.size) == ("PNG", shown.size)
    assert (benchmarks / "speed.svg").exists()
    assert not list(benchmarks.glob("report*"))

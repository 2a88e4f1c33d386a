"""Trials: which process runs which, with which parameters, and what if the process dies."""

import math
import random
import re
from pathlib import Path
from typing import Any

import optuna
import pytest
from filelock import FileLock
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

from engine.search import study, trials
from engine.search.trials import Trials
from searching import options

SPACE: dict[str, BaseDistribution] = {
    "lr": FloatDistribution(0.001, 1, log=True),
    "hidden": IntDistribution(5, 50),
    "init": CategoricalDistribution(["he", "xavier"]),
}
GRID: dict[str, BaseDistribution] = {
    "hidden": IntDistribution(1, 3),
    "init": CategoricalDistribution(["he", "xavier"]),
}
COMPLETE, RUNNING, FAIL = TrialState.COMPLETE, TrialState.RUNNING, TrialState.FAIL


def process(
    folder: Path, n_trials: int = 6, space: dict[str, BaseDistribution] = SPACE, **given: Any
) -> Trials:
    """What a process does that joins a search."""
    storage = study.opened(str(folder / "study.log"))
    shared = optuna.create_study(study_name="s", storage=storage, load_if_exists=True)
    return Trials(shared, options(**given), space, n_trials, folder / ".locks")


def value(params: dict[str, Any]) -> float:
    return float((params.get("lr", 0.0) - 0.3) ** 2 + (params["hidden"] - 20) ** 2 / 1000)


def end(made: Trials, claimed: dict[int, FileLock]) -> None:
    for number, lock in claimed.items():
        made.tell(number, COMPLETE, value(made.all()[number].params), status="finished")
        lock.release()


def die(claimed: dict[int, FileLock]) -> None:
    """What the system does for a process that is killed."""
    for lock in claimed.values():
        lock.release()


def undisturbed(folder: Path, **given: Any) -> list[dict[str, Any]]:
    made = process(folder, **given)
    while claimed := made.claim():
        end(made, claimed)
    return [trial.params for trial in made.all()]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_seed_gives_the_trials(sampler: str, tmp_path: Path) -> None:
    first = undisturbed(tmp_path / "a", sampler=sampler)
    assert undisturbed(tmp_path / "b", sampler=sampler) == first
    assert undisturbed(tmp_path / "c", sampler=sampler, seed=1) != first
    assert len({params["lr"] for params in first}) == 6


@pytest.mark.parametrize("n_jobs", [1, 2, 4])
@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_search_killed_at_any_moment_draws_what_it_would_have_drawn(
    sampler: str, n_jobs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, suggest, deaths = random.Random(n_jobs), trials._suggest, 0

    def suggest_or_die(*args: Any) -> None:
        if rng.random() < 0.1:
            raise MemoryError
        suggest(*args)

    monkeypatch.setattr(trials, "_suggest", suggest_or_die)
    claimed: dict[int, FileLock] = {0: FileLock(tmp_path / "any")}
    while claimed:
        made = process(tmp_path / "a", n_trials=12, sampler=sampler, n_jobs=n_jobs)
        try:
            claimed = made.claim()
        except MemoryError:
            deaths += 1
            continue
        told = dict(list(claimed.items())[: rng.randint(0, len(claimed))])
        end(made, told)
        die({number: lock for number, lock in claimed.items() if number not in told})
        deaths += len(told) < len(claimed)
    monkeypatch.undo()
    assert deaths > 3
    assert [trial.state for trial in made.all()] == [COMPLETE] * 12
    expected = undisturbed(tmp_path / "b", n_trials=12, sampler=sampler, n_jobs=n_jobs)
    assert [trial.params for trial in made.all()] == expected


def test_searches_whose_names_are_alike_have_locks_of_their_own(tmp_path: Path) -> None:
    """With one lock for both, a trial of the one would wait for a trial of the other."""
    made = process(tmp_path)
    names = ["a/b", "a_b", "a%2Fb", "a%b"]
    paths = set()
    for name in names:
        made.study = optuna.create_study(study_name=name)
        paths.add(made._lock_path(0))
    assert len(paths) == len(names)
    assert {path.parent for path in paths} == {tmp_path / ".locks"}


def test_a_trial_whose_process_is_gone_comes_before_a_new_one(tmp_path: Path) -> None:
    first, second = process(tmp_path), process(tmp_path)
    lost, kept = first.claim(), second.claim()
    assert (list(lost), list(kept)) == ([0], [1])
    die(lost)
    third = process(tmp_path)
    claims = third.claim(), third.claim()
    assert [list(claimed) for claimed in claims] == [[0], [2]]


def test_a_trial_that_ends_while_another_process_looks_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = process(tmp_path), process(tmp_path)
    running = first.claim()
    acquire = trials.acquire

    def acquire_once_it_has_ended(path: Path) -> FileLock | None:
        end(first, running)
        running.clear()
        return acquire(path)

    monkeypatch.setattr(trials, "acquire", acquire_once_it_has_ended)
    assert list(second.claim()) == [1]
    monkeypatch.undo()
    assert [trial.state for trial in first.all()] == [COMPLETE, RUNNING]
    with FileLock(first._lock_path(0)).acquire(timeout=0):  # nobody has it
        pass


def test_new_trials_come_in_batches_and_end(tmp_path: Path) -> None:
    made = process(tmp_path, n_trials=7, n_jobs=3)
    for expected in ([0, 1, 2], [3, 4, 5], [6], []):
        claimed = made.claim()
        assert list(claimed) == expected
        end(made, claimed)


def test_nobody_leaves_while_a_trial_runs_that_may_be_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = process(tmp_path, n_trials=1), process(tmp_path, n_trials=1)
    lost = first.claim()
    waited_for = []

    class Lock(FileLock):
        def __enter__(self) -> "Lock":
            if "study.lock" not in str(self.lock_file):
                waited_for.append(Path(self.lock_file).name)
                die(lost)
            super().__enter__()
            return self

    monkeypatch.setattr(trials, "FileLock", Lock)
    assert list(second.claim()) == [0]
    assert waited_for == ["s-0.lock"]


@pytest.mark.parametrize("n_jobs", [1, 4])
def test_a_grid_is_covered_exactly(n_jobs: int, tmp_path: Path) -> None:
    drawn = undisturbed(tmp_path, space=GRID, sampler="grid", n_jobs=n_jobs)
    assert sorted((params["hidden"], params["init"]) for params in drawn) == [
        (hidden, init) for hidden in (1, 2, 3) for init in ("he", "xavier")
    ]


def test_a_trial_that_a_user_enqueued_is_run_with_his_values(tmp_path: Path) -> None:
    made = process(tmp_path)
    made.study.enqueue_trial({"lr": 0.5, "hidden": 7, "init": "he"})
    end(made, made.claim())
    assert made.all()[0].params == {"lr": 0.5, "hidden": 7, "init": "he"}


def test_the_table_counts_the_trials_that_it_leaves_out(tmp_path: Path) -> None:
    """As it happened: of 12 trials that had finished, 10 were there, and no line said so."""
    made = process(tmp_path, n_trials=12)
    while claimed := made.claim():
        end(made, claimed)
    _, *rows, said, count, _, _ = trials.table(made.study, 12, {}, tmp_path).splitlines()
    assert len(rows) == 10
    assert said == "  2 more have finished, none of them better; a report has all."
    assert count == "12 trials: 12 finished"
    made = process(tmp_path / "ten", n_trials=10)
    while claimed := made.claim():
        end(made, claimed)
    assert len(trials.table(made.study, 10, {}, tmp_path).splitlines()) == 1 + 10 + 3


def test_the_table_names_the_log_of_a_failed_trial_that_has_a_folder(tmp_path: Path) -> None:
    made = process(tmp_path)
    for params in (
        {"lr": 0.5, "hidden": 7, "init": "he"},
        {"lr": 0.123456789, "hidden": 8, "init": "xavier"},
    ) * 2:
        made.study.enqueue_trial(params)
    endings: list[dict[str, Any]] = [
        {
            "state": FAIL,
            "value": math.nan,
            "status": "failed",
            "error": "OSError: disk full",
            "folder": "lr=0.5-0123abcd",
        },
        {
            "state": FAIL,
            "value": math.nan,
            "status": "failed",
            "error": "lr=0.25: no",
            "folder": None,
        },
        {
            "state": COMPLETE,
            "value": math.inf,
            "status": "diverged",
            "error": "train/loss is nan at step 3",
            "folder": "lr=0.5-4567abcd",
        },
        {
            "state": COMPLETE,
            "value": 0.125,
            "status": "finished",
            "error": "",
            "folder": "lr=0.25-89ababcd",
        },
        {
            "state": FAIL,
            "value": math.nan,
            "status": "stale (net.py)",  # as a study of before was told
            "error": "summary.json has no objective",
            "folder": "lr=0.5-cdef0123",
        },
    ]
    for number, ending in enumerate(endings):
        claimed = made.claim()
        made.tell(number, **ending)
        claimed[number].release()
    made.name("val/loss, best epoch")
    made.name("another")  # a name stays
    for folder in ("lr=0.5-0123abcd", "lr=0.25-89ababcd"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "train.log").touch()
    table = trials.table(made.study, 6, {}, tmp_path)
    assert re.sub(r"\x1b\[\d*m", "", table).splitlines() == [
        "  trial  status       val/loss, best epoch  parameters",
        "      3  finished                    0.125  lr=0.1235 hidden=8 init=xavier",
        "      0  failed                             lr=0.5 hidden=7 init=he",
        "         OSError: disk full",
        "         lr=0.5-0123abcd/train.log",
        "      1  failed                             lr=0.1235 hidden=8 init=xavier",
        "         lr=0.25: no",
        "      2  diverged                           lr=0.5 hidden=7 init=he",
        "         train/loss is nan at step 3",
        "      4  failed                             lr=0.005975 hidden=36 init=he",
        "         summary.json has no objective",
        "6 trials: 3 failed, 1 diverged, 1 finished, 1 to come",
        "best:",
        "  lr=0.123456789 hidden=8 init=xavier",
    ]
    (tmp_path / "lr=0.5-0123abcd/train.log").unlink()  # as on a full disk, it was named
    assert set(table.splitlines()) - set(
        trials.table(made.study, 6, {}, tmp_path).splitlines()
    ) == {"         lr=0.5-0123abcd/train.log"}
    # A study goes on with another number.
    fewer = trials.table(made.study, 3, {}, tmp_path, ["seed=3"]).splitlines()
    assert fewer[-1] == "  seed=3 lr=0.123456789 hidden=8 init=xavier"
    assert fewer[-3] == "5 trials: 3 failed, 1 diverged, 1 finished"
    marked = trials.table(made.study, 6, {3: "stale (net.py)"}, tmp_path)
    marked = re.sub(r"\x1b\[\d*m", "", marked)
    assert marked.splitlines()[2] == "         stale (net.py)"
    assert marked.splitlines()[-3:-1] == [
        "6 trials: 3 failed, 1 diverged, 1 stale (net.py), 1 to come",
        "best, stale (net.py):",
    ]

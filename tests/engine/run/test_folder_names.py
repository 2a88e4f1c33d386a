"""The names of runs' folders."""

from pathlib import Path

import pytest

from engine.run import folder_names


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        pytest.param(
            ["init=he", "optimizer.lr=0.1"], "init=he-lr=0.1", id="browsers break at hyphens"
        ),
        pytest.param(
            ["callbacks/curve=none", "seed=1"], "curve=none-seed=1", id="group in a group"
        ),
        pytest.param([], "default", id="none"),
        pytest.param(
            ["+trainer.max_steps=5", "~callbacks.curve"],
            "max_steps=5-curve=",
            id="added and deleted",
        ),
        pytest.param(["datamodule.mean=[0.5, 0.5]"], "mean=_0.5,_0.5_", id="list"),
        pytest.param(["datamodule.url=http://a/b"], "url=http_a_b", id="slashes"),
        pytest.param(["datamodule.data_set=für 猫"], "data_set=für_猫", id="letters of any script"),
        pytest.param(["optimizer.lr=1e-3,1e-4"], "lr=1e-3,1e-4", id="exponent"),
        pytest.param(
            ["optimizer.lr=0.0123456789", "seed=123456", "x=[1.23456e-7, 0.10]"],
            "lr=0.01235-seed=123456-x=_1.235e-07,_0.1_",
            id="4 digits of numbers that are not whole",
        ),
    ],
)
def test_slug(overrides: list[str], expected: str) -> None:
    assert folder_names.slug(overrides) == expected


def test_a_name_is_read_as_it_is_made() -> None:
    name = folder_names.job_name(["init=he"], "0123abcd" + 56 * "e")
    assert name == "init=he-0123abcd"
    assert folder_names.digest_of(Path("/sweep") / name) == "0123abcd"
    assert folder_names.is_of_job(Path("/sweep") / name)
    assert not folder_names.is_of_job(Path("/runs/2026-01-02_03-04-05"))
    assert not folder_names.is_set_aside(name)
    assert folder_names.is_set_aside(f"{name}.1")
    assert not folder_names.is_set_aside("init=he-0123abcx.1")


def test_a_run_has_one_lock_by_whatever_path_it_is_reached(tmp_path: Path) -> None:
    """That of a job is what the sweep claims it by."""
    job, alone = tmp_path / "sweep/seed=1-0123abcd", tmp_path / "2026-01-02_03-04-05"
    link = tmp_path / "link-00000000"
    job.mkdir(parents=True)
    link.symlink_to(job)
    claim = tmp_path / "sweep/.locks/0123abcd.lock"
    assert [folder_names.lock_of(path) for path in (job, link)] == [claim, claim]
    for path in (alone, job.with_name(f"{job.name}.1")):
        assert folder_names.lock_of(path) == path / ".hydra/lock"

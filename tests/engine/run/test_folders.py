"""The folder of a run."""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from engine.config import signature
from engine.config.resolved import Config
from engine.errors import UserError
from engine.run import folders
from engine.run.run import Run


def made(overrides: Sequence[str] = ()) -> Config:
    values = {"name": "lenet", "seed": 0, "paths": {"log_dir": "/logs"}, "sweep": {"trial": None}}
    return Config(values, overrides=overrides)


@pytest.fixture
def sweep(tmp_path: Path) -> str:
    """A sweep's folder, as Hydra leaves it before the first job."""
    own = ["experiment=lenet", "datamodule.data_dir=${paths.root}/x", "init=zero,he"]
    OmegaConf.save(
        OmegaConf.create({"hydra": {"overrides": {"task": own}}}), tmp_path / "multirun.yaml"
    )
    return str(tmp_path)


@pytest.mark.parametrize("letter", ["x", "ü", "猫"])
def test_slug_and_hash_fit_a_file_name_however_long(letter: str, sweep: str) -> None:
    folder = folders.job_dir(made(), Path(sweep), [f"module.note={letter * 300}", "seed=1"])
    folder.mkdir()
    assert folder.name.startswith(f"note={letter}")


def test_job_dir_tells_what_the_sweep_varies(sweep: str) -> None:
    overrides = ["experiment=lenet", "datamodule.data_dir=${paths.root}/x", "init=he"]
    digits = made().hash[:8]
    assert folders.job_dir(made(), Path(sweep), overrides) == Path(sweep) / f"init=he-{digits}"


def test_a_folder_set_aside_keeps_what_it_has(tmp_path: Path) -> None:
    for text in ("one", "two", "three"):
        (tmp_path / "init=he-0123").mkdir()
        (tmp_path / "init=he-0123/summary.json").write_text(text)
        folders.set_aside(tmp_path / "init=he-0123")
    kept = {path.parent.name: path.read_text() for path in tmp_path.glob("*/summary.json")}
    assert kept == {"init=he-0123.1": "one", "init=he-0123.2": "two", "init=he-0123.3": "three"}


def test_a_folder_set_aside_has_no_row_in_tensorboard(tmp_path: Path) -> None:
    """As it happened: TensorBoard showed the mean of the old row and the new one."""
    row = tmp_path / "init=he-0123" / folders.HPARAMS
    row.parent.mkdir(parents=True)
    row.write_text("old")
    (row.parent.parent / "events.out.tfevents.1").write_text("scalars")
    folders.set_aside(tmp_path / "init=he-0123")
    files = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    assert files == ["init=he-0123.1/events.out.tfevents.1"]


def test_run_dirs_of_the_same_second_differ(tmp_path: Path) -> None:
    chosen = Config({"name": "lenet", "paths": {"log_dir": str(tmp_path)}})
    before = datetime.now()
    with ThreadPoolExecutor(8) as pool:
        run_dirs = list(pool.map(lambda _: folders.new_run_dir(chosen), range(40)))
    seconds = (datetime.now() - before) / timedelta(seconds=1)
    assert len(set(run_dirs)) == 40 > 2 * (seconds + 1), "too slow to have two in a second"
    for folder in run_dirs:
        assert folder.is_dir()
        assert folder.parent == tmp_path / "runs" / "lenet"
        stamp, _, count = folder.name.partition("_")[2].partition("_")
        datetime.strptime(f"{folder.name[:10]} {stamp}", "%Y-%m-%d %H-%M-%S")
        assert count == "" or int(count) > 1


def test_config_comes_back_its_overrides_as_typed_and_written_once(tmp_path: Path) -> None:
    overrides = ["seed=0", "datamodule.data_dir=${paths.root}/x"]
    folders.save_config(tmp_path, made(overrides), "mine.train")
    written = (tmp_path / folders.CONFIG).stat()
    folders.save_config(tmp_path, made(), "another.door")
    assert (tmp_path / folders.CONFIG).stat().st_mtime_ns == written.st_mtime_ns
    loaded = folders.load_config(tmp_path)
    assert {**loaded} == {**made()}
    assert loaded.overrides == overrides
    assert (tmp_path / folders.DOOR).read_text() == "mine.train\n"


@pytest.mark.parametrize(
    "other", [{"sweep": {"trial": {"study": "x"}}}, {"seed": 7}, {"callbacks": {"x": {"y": 1}}}]
)
def test_another_config_is_written_over(other: dict[str, Any], tmp_path: Path) -> None:
    """The processes of further devices read there what they are to do, and trust it."""
    folders.save_config(tmp_path, made(), "mine.train")
    config = Config({**made(), **other})
    folders.save_config(tmp_path, config, "mine.train")
    assert {**folders.load_config(tmp_path)} == {**config}
    assert signature.is_ours((tmp_path / folders.CONFIG).read_text())


def test_words_that_somebody_else_has_written_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folders.save_config(tmp_path, made(["seed=0"]), "mine.train")
    (tmp_path / folders.OVERRIDES).write_text("- seed=0; rm -r /\n")
    assert folders.load_config(tmp_path).overrides == []
    assert "overrides.yaml: missing, or not written by you" in caplog.text


def test_a_config_that_was_trusted_once_is_not_signed(tmp_path: Path) -> None:
    file = tmp_path / folders.CONFIG
    folders.save_config(tmp_path, made(), "mine.train")
    file.write_text(file.read_text().rpartition("# signed")[0])
    trusted = folders.load_config(tmp_path, trust="true")
    trusted.values_by_node["seed"] = 1  # as a reference in it may be another value now
    digest = folders.save_config(tmp_path, trusted, "mine.train")
    assert folders.as_written(tmp_path)["seed"] == 1
    assert not signature.is_ours(file.read_text())
    assert digest == signature.digest_of(file.read_text())
    assert Run(trusted, tmp_path, "mine.train")._goes_on.endswith(" trust=true")


def test_a_folder_without_a_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^{re.escape(str(tmp_path))}: not a run's folder"):
        folders.load_config(tmp_path)


def test_remove_takes_back_a_run_and_the_folders_that_are_empty_then(tmp_path: Path) -> None:
    for name in ("lenet/other", "lenet/run/checkpoints", "linear/run/.hydra"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    for name in ("lenet/run", "linear/run", "linear/missing"):
        folders.remove(tmp_path / "runs" / name, tmp_path / "runs")
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == [
        "runs",
        "runs/lenet",
        "runs/lenet/other",
    ]


def test_what_a_run_has_left_is_taken_back_but_what_was_there_before_stays(tmp_path: Path) -> None:
    here, new = tmp_path / "here", tmp_path / "new"
    (here / "notes").mkdir(parents=True)
    (here / "notes" / "mine.txt").touch()
    found = set(here.rglob("*"))
    for run_dir in (here, new):
        for name in (folders.TRAINED, folders.LAST, folders.BEST, "metrics.csv", "notes/its.txt"):
            (run_dir / name).parent.mkdir(parents=True, exist_ok=True)
            (run_dir / name).touch()
        (run_dir / "link").symlink_to(tmp_path)
    folders.take_back(here, found)
    folders.take_back(new, [])
    folders.take_back(new, [])
    assert set(tmp_path.rglob("*")) == {here, *found}


def test_a_folder_that_does_not_empty_ends_no_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS keeps a file that somebody has open, under another name."""
    (tmp_path / "run/figures").mkdir(parents=True)
    (tmp_path / "run/figures/open").touch()
    unlink = Path.unlink

    def silly(path: Path, missing_ok: bool = False) -> None:
        if path.name == "open":
            path.rename(path.parent / ".nfs")
        else:
            unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", silly)
    folders.take_back(tmp_path / "run", [])
    assert (tmp_path / "run/figures/.nfs").exists()


def test_a_kill_while_a_run_is_taken_back_leaves_rows_as_long_as_there_is_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [folders.TRAINED, folders.LAST, folders.PREVIOUS, Path("metrics.csv")]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    unlink = Path.unlink
    seen = []

    def noted(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok)
        seen.append([name for name in names if (tmp_path / name).exists()])

    monkeypatch.setattr(Path, "unlink", noted)
    folders.take_back(tmp_path, [])
    assert [names[1:], names[2:], names[3:], []] == [left for n, left in enumerate(seen) if n < 4]

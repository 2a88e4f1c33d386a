"""What a run is made of: a change of data or code is found, and said."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

import engine
import ways
from commands import only_run, run_evaluate, run_train, train_in_process
from engine.config.resolved import Config
from engine.report.read.collect import collect
from engine.run import code, identity
from engine.run.identity import forget
from identical import assert_bit_identical
from moments import as_killed

ENGINE = Path(engine.__file__).parent
MODULE = """
from torch import nn
from engine import SupervisedModule
{more}

class Mine(SupervisedModule):
    def __init__(self, in_features=1, out_features=1, bias=False, **step):
        super().__init__(nn.Linear(1, 1, bias=False), nn.MSELoss(), **step)
"""
HELPER = "SIZE = {size}\n"
RUN = [
    "experiment=linear",
    "accelerator=cpu",
    "logger=csv",
    "trainer.max_epochs=2",
    "callbacks.checkpoints.every_n_steps=10",
    "module._target_=own_package.model.Mine",
]


@pytest.fixture
def own_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's package with a model, which imports another module, in the folder `tmp_path`."""
    folder = tmp_path / "own_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "model.py").write_text(MODULE.format(more="from own_package.sizes import SIZE"))
    (folder / "sizes.py").write_text(HELPER.format(size=1))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    yield folder
    forget()
    for name in [name for name in sys.modules if name.startswith("own_package")]:
        del sys.modules[name]


def words(log_dir: Path, root: Path) -> list[str]:
    return [*RUN, f"paths.log_dir={log_dir}", f"paths.root={root}"]


def made_of(run_dir: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((run_dir / identity.MADE_OF).read_text())
    return read


def refused(capsys: pytest.CaptureFixture[str], *command: str) -> list[str]:
    with pytest.raises(SystemExit) as stop:
        run_train(*command, draws=False)
    assert stop.value.code == 2
    return capsys.readouterr().err.splitlines()


def test_a_run_records_its_data_its_code_and_versions(own_package: Path, tmp_path: Path) -> None:
    run_train(*words(tmp_path / "logs", tmp_path), draws=False)
    recorded = made_of(only_run(tmp_path / "logs"))
    data = recorded["data"]
    assert data["samples"] == {"train": 3}
    assert data["digest"].startswith("train ")
    names = set(recorded["code"])
    assert {"own_package", "own_package.model", "own_package.sizes", "project.train"} <= names
    assert "project.datamodules.line" in names
    assert "project.modules.lenet" not in names  # another run of this process may import it
    assert not any(name.startswith(("engine", "torch")) for name in names)
    assert recorded["versions"]["torch"] == torch.__version__
    sources = b"".join(path.read_bytes() for path in sorted(ENGINE.rglob("*.py")))
    assert recorded["versions"]["engine"] == hashlib.sha256(sources).hexdigest()[:16]


def test_another_engine_is_told_of(
    own_package: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    command = words(tmp_path / "logs", tmp_path)
    assert train_in_process(command, kill_at="on_train_batch_end:15") == -9
    resume = f"resume={only_run(tmp_path / 'logs')}"
    before = code.of_the_engine()
    with mock.patch.object(code, "of_the_engine", return_value="another"):
        run_train(resume, draws=False)
    assert f"not exact: engine was {before} and is another" in caplog.text


def test_resume_refuses_other_code_and_says_how_to_insist(
    own_package: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    sweep = ["-m", *words(tmp_path / "logs", tmp_path), "seed=3"]
    assert train_in_process(sweep, kill_at="on_train_batch_end:30") == -9
    run_dir = only_run(tmp_path / "logs")
    rows = (run_dir / "metrics.csv").read_text()
    (own_package / "sizes.py").write_text(HELPER.format(size=2))
    forget()
    assert refused(capsys, f"resume={run_dir}") == [
        f"error: {run_dir}: since this run began, code changed (sizes.py).",
        "Put that back, begin a new run, or go on all the same: add insist=true",
    ]
    assert (run_dir / "metrics.csv").read_text() == rows
    assert not (run_dir / "summary.json").exists()
    run_train(f"resume={run_dir}", "insist=true", draws=False)
    assert json.loads((run_dir / "summary.json").read_text())["status"] == "finished"
    assert "not exact: since this run began, code changed (sizes.py)" in caplog.text

    caplog.clear()
    run_train(*sweep, draws=False)
    assert f"  finished (mixed)  {run_dir.name}" in caplog.text
    assert "1 job: 1 finished (mixed)" in caplog.text
    run_evaluate(f"run={run_dir}", "split=train", draws=False)
    assert f"not exact: since {run_dir} began, code changed (sizes.py)" in caplog.text
    ((run,), _) = collect(run_dir)
    assert run.error == "not exact: since it began, code changed (sizes.py)"


def test_an_evaluation_says_what_is_not_as_it_was(
    own_package: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: other images, and a network with another layer, gave other metrics."""
    run_train(*words(tmp_path / "logs", tmp_path), draws=False)
    run_dir = only_run(tmp_path / "logs")
    run_evaluate(f"run={run_dir}", "split=train", draws=False)
    assert "not as in training" not in caplog.text
    (own_package / "sizes.py").write_text(HELPER.format(size=2))
    broken = {**made_of(run_dir)["data"], "digest": "train 0"}
    (run_dir / identity.MADE_OF).write_text(json.dumps({**made_of(run_dir), "data": broken}))
    forget()
    run_evaluate(f"run={run_dir}", "split=train", draws=False)
    said = f"not as in training: since {run_dir} began, "
    assert f"{said}the content of the data changed" in caplog.text
    assert f"{said}code changed (sizes.py)" in caplog.text
    caplog.clear()
    run_evaluate(f"run={run_dir}", "split=train", "datamodule.batch_size=2", draws=False)
    assert f"{said}code changed (sizes.py)" in caplog.text
    assert "the content of the data changed" not in caplog.text


def test_a_sweep_lists_stale_jobs_and_runs_them_again_if_told(
    own_package: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    sweep = ["-m", *words(tmp_path / "logs", tmp_path), "seed=0,1"]
    run_train(*sweep, draws=False)
    caplog.clear()
    (own_package / "sizes.py").write_text(HELPER.format(size=2))
    forget()
    run_train(*sweep, draws=False)
    assert caplog.text.count("  stale (sizes.py)  seed=") == 2
    assert "2 jobs: 2 stale (sizes.py)" in caplog.text
    caplog.clear()
    run_train(*sweep, "sweep.retry=stale", draws=False)
    assert "2 jobs: 2 finished" in caplog.text
    folders = sorted(path.name for path in (tmp_path / "logs/sweeps/linear").glob("seed*"))
    assert [name.endswith(".1") for name in folders] == [False, True, False, True]


def test_an_interrupted_job_with_other_code_begins_anew(
    own_package: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    sweep = ["-m", *words(tmp_path / "logs", tmp_path), "seed=3"]
    assert train_in_process(sweep, kill_at="on_train_batch_end:30") == -9
    (own_package / "sizes.py").write_text(HELPER.format(size=2))
    forget()
    run_train(*sweep, draws=False)
    assert "begins anew, as its code (sizes.py) changed" in caplog.text
    assert len(list((tmp_path / "logs/sweeps/linear").glob("*.1"))) == 1


def images(folder: Path, *, classes: tuple[str, ...] = ("ant", "bee"), count: int = 6) -> None:
    """Image files of one colour each, by class and number."""
    for split in ("train", "test"):
        for number, name in enumerate(classes):
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                pixels = np.full((8, 8, 3), 40 * number + 10 * index, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{index}.png")


def of_images(folder: Path, log_dir: Path) -> list[str]:
    return [
        "experiment=lenet",
        "datamodule=image_folder",
        f"datamodule.data_dir={folder}",
        f"datamodule.cache_dir={log_dir}/cache",
        "module.num_classes=2",
        "trainer.max_epochs=1",
        "accelerator=cpu",
        "logger=csv",
        f"paths.log_dir={log_dir}",
    ]


def test_a_sweep_runs_jobs_anew_whose_images_changed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: after the folder had grown, a sweep answered "2 finished"."""
    caplog.set_level("INFO")
    folder, log_dir = tmp_path / "images", tmp_path / "logs"
    images(folder)
    sweep = ["-m", *of_images(folder, log_dir), "seed=0,1"]
    run_train(*sweep, draws=False)
    forget()
    caplog.clear()
    run_train(*sweep, draws=False)
    assert "2 jobs: 2 finished" in caplog.text

    shutil.copytree(folder, tmp_path / "copy")  # the same images, with other times
    shutil.rmtree(folder)
    (tmp_path / "copy").rename(folder)
    os.utime(folder / "train/ant/0.png", (1, 1))
    forget()
    caplog.clear()
    run_train(*sweep, draws=False)
    assert "2 jobs: 2 finished" in caplog.text
    assert not list((log_dir / "sweeps/lenet").glob("*.1"))

    images(folder, count=8)
    forget()
    caplog.clear()
    run_train(*sweep, draws=False)
    assert "2 jobs: 2 other data" in caplog.text
    assert len(list((log_dir / "sweeps/lenet").glob("*.1"))) == 2
    (again,) = (path for path in (log_dir / "sweeps/lenet").glob("seed=0*") if "." not in path.name)
    assert made_of(again)["data"]["samples"] == {"train": 16, "test": 16}


@pytest.mark.parametrize(("data", "is_read_by_each"), [("Ordinary", False), ("Streams", True)])
def test_a_job_whose_workers_read_a_stream_runs_anew_with_other_workers(
    data: str, is_read_by_each: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: with two workers, a stream that they do not share has twice the steps."""
    caplog.set_level("INFO")
    sweep = ["-m", "experiment=linear", "accelerator=cpu", "logger=csv", "seed=1,2"]
    sweep += ["module._target_=ways.Small", f"datamodule._target_=ways.{data}"]
    sweep += ["trainer.max_steps=2", f"paths.log_dir={tmp_path}"]
    run_train(*sweep, draws=False)
    (one, _) = (path for path in (tmp_path / "sweeps/linear").glob("seed=*"))
    made = made_of(one)
    assert made["data"].get("workers") == (0 if is_read_by_each else None)
    caplog.clear()
    run_train(*sweep, "datamodule.num_workers=2", "sweep.dry_run=true")
    status = "other datamodule.num_workers" if is_read_by_each else "finished"
    assert f"2 jobs: 2 {status}" in caplog.text
    other = {**made, "data": {**made["data"], "workers": 2}}
    said = "datamodule.num_workers changed from 0 to 2, and each reads the loader by itself"
    assert identity.differences(made, other) == [said] * is_read_by_each


class Owner:
    """A data module that says nothing of its data."""

    def prepare_data(self) -> None:
        """Does nothing."""


@pytest.mark.parametrize("key", ["data_dir", "csv"])
@pytest.mark.parametrize("digest", [None, "0123"])
def test_files_of_others_are_known_by_names_sizes_and_times(
    key: str, digest: str | None, tmp_path: Path
) -> None:
    """Whatever key names them, folders behind links too, where nothing else tells."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real/a.txt").write_text("a")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/linked").symlink_to(tmp_path / "real")
    (tmp_path / "data/circle").symlink_to(tmp_path / "data")
    named = tmp_path / ("data" if key == "data_dir" else "real/a.txt")
    config = Config({"datamodule": {"_target_": f"{__name__}.Owner", key: str(named)}})
    state = identity._state_of_data(config, is_known=digest is not None)
    data = {"digest": digest, "samples": {}, "classes": [], "files": state}
    made = {"data": data, "code": {}, "begins_from": None, "versions": {}}
    (tmp_path / ".hydra").mkdir()
    identity.save(tmp_path, made)
    assert not identity.changed(tmp_path, config).data
    (tmp_path / "real/a.txt").write_text("another")
    forget()
    with mock.patch.object(identity, "_digest_now", return_value="4567"):
        assert identity.changed(tmp_path, config).data == "data"
    with mock.patch.object(identity, "_digest_now", return_value="0123"):
        assert identity.changed(tmp_path, config).data == ("data" if digest is None else "")
    assert identity.load(tmp_path) == made


@pytest.mark.parametrize(("read", "is_by_times"), [(2**28, False), (3, True)])
def test_files_of_others_are_compared_by_their_content_unless_they_are_large(
    read: int,
    is_by_times: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As it happened: a resumed run went on with other numbers in as many rows."""
    monkeypatch.setattr(identity, "CONTENT_BYTES", read)
    file = tmp_path / "data" / "a.txt"
    file.parent.mkdir()
    file.write_text("1, 2")
    config = Config({"datamodule": {"_target_": f"{__name__}.Owner", "folder": f"{tmp_path}/data"}})

    def now() -> dict[str, Any]:
        forget()
        return identity.record(config, Owner(), "project.train")  # type: ignore[arg-type]

    first = now()
    (tmp_path / ".hydra").mkdir()
    identity.save(tmp_path, first)
    said = [] if is_by_times else ["the files of the data changed"]

    def warned() -> bool:
        caplog.clear()
        identity.warn_of_files(first, now())
        return "not exact if the data are others" in caplog.text

    assert identity.differences(first, now()) == []
    assert not warned()
    os.utime(file, (1, 1))
    assert identity.differences(first, now()) == []
    assert warned() == is_by_times
    assert identity.changed(tmp_path, config).data == "data" * is_by_times
    file.write_text("1, 3")
    assert identity.differences(first, now()) == said
    assert warned() == is_by_times
    forget()
    assert identity.changed(tmp_path, config).data == "data"
    file.unlink()
    assert identity.differences(first, now()) == said
    older = {**first, "data": {**first["data"], "files": None}}  # of before there were files
    del older["data"]["content"]
    assert identity.differences(older, now()) == []


def test_what_is_written_beside_the_data_is_no_other_data(tmp_path: Path) -> None:
    """As it happened: a lock of LMDB's, or the run's own files, were taken for other data."""
    data = tmp_path / "data"
    (data / "logs").mkdir(parents=True)
    (data / "table.txt").write_text("1, 2")
    (data / "lock.mdb").write_text("process 1")
    node = {"_target_": f"{__name__}.Owner", "folder": str(data)}
    config = Config({"datamodule": node, "paths": {"log_dir": str(data / "logs")}})

    def now() -> dict[str, Any]:
        forget()
        return identity.record(config, Owner(), "project.train")  # type: ignore[arg-type]

    first = now()
    assert [*first["data"]["content"]] == ["0:table.txt"]
    (data / "lock.mdb").write_text("process 2")
    (data / "logs/metrics.csv").write_text("step")
    (data / ".cache").mkdir()
    (data / ".cache/index").write_text("1")
    (data / "gone").symlink_to(data / "nothing")
    assert now()["data"] == first["data"]
    (data / "index.cache").write_text("1")  # what is new may be a cache, for a resumed run
    assert identity.differences(first, now()) == []
    (tmp_path / ".hydra").mkdir()
    identity.save(tmp_path, first)
    forget()
    assert identity.changed(tmp_path, config).data == "data"


class Makes(ways.Ordinary):
    """Makes a file, before the loaders or after the end."""

    def __init__(self, early: str = "", late: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.early, self.late = early, late

    def setup(self, stage: str) -> None:
        if self.early:
            (folder := Path(self.early)).mkdir(exist_ok=True)
            (folder / "made.txt").write_text("made")

    def teardown(self, stage: str) -> None:
        if self.late:
            Path(self.late).write_text("made")


@pytest.mark.parametrize(
    ("key", "content"), [("early", {"0:made.txt": "ea0890697a77af0a"}), ("late", None)]
)
def test_files_that_jobs_make_themselves_are_no_other_data(
    key: str, content: dict[str, str] | None, tmp_path: Path
) -> None:
    """As it happened: the second job of a process knew no files, and a sweep ran it anew."""
    command = ["-m", "experiment=linear", "accelerator=cpu", "logger=csv", "trainer.max_steps=2"]
    command += ["module._target_=ways.Small", f"datamodule._target_={__name__}.Makes"]
    command += [f"+datamodule.{key}={tmp_path}/a,{tmp_path}/b", f"paths.log_dir={tmp_path}/log"]
    for _ in range(2):
        run_train(*command, draws=False)
        forget()
    made = [json.loads(path.read_text()) for path in tmp_path.glob("log/**/made_of.json")]
    assert [one["data"]["content"] for one in made] == [content] * 2


class Table(ways.Ordinary):
    """Has its points in a file of a folder, to which `setup` adds another one."""

    def __init__(self, folder: str, **options: Any) -> None:
        super().__init__(**options)
        self.folder = Path(folder)

    def setup(self, stage: str) -> None:
        numbers = [float(word) for word in (self.folder / "table.txt").read_text().split()]
        self.points["train"].inputs[:, 0] = torch.tensor(numbers)
        (self.folder / "made.txt").write_text("made of the table")


def test_a_run_goes_on_with_a_copy_of_its_files_and_with_no_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    (data := tmp_path / "data").mkdir()
    (data / "table.txt").write_text("0.25 " * 50)
    command = ["experiment=linear", "accelerator=cpu", "logger=csv", "trainer.max_steps=9"]
    command += ["module._target_=ways.Small", f"datamodule._target_={__name__}.Table"]
    command += [f"+datamodule.folder={data}", "callbacks.checkpoints.every_n_steps=4"]
    log_dir, left = tmp_path / "log", tmp_path / "left"
    with as_killed("on_train_batch_end:6", log_dir, left):
        run_train(*command, f"paths.log_dir={log_dir}", draws=False)
    whole, killed = only_run(log_dir), only_run(left)
    (data / "table.txt").write_text("0.75 " * 50)
    forget()
    assert refused(capsys, f"resume={killed}") == [
        f"error: {killed}: since this run began, the files of the data changed.",
        "Put that back, begin a new run, or go on all the same: add insist=true",
    ]
    run_evaluate(f"run={whole}", draws=False)
    said = f"not as in training: since {whole} began, the files of the data changed"
    assert said in caplog.text
    (data / "table.txt").write_text("0.25 " * 50)
    forget()
    caplog.clear()
    run_train(f"resume={killed}", draws=False)
    run_evaluate(f"run={killed}", draws=False)
    assert "files of the data" not in caplog.text
    assert_bit_identical(killed, whole)


class InOrder:
    """Data that depend on the order and the kinds of the keys in an argument."""

    def __init__(self, parts: dict[Any, str]) -> None:
        self.parts = parts

    def prepare_data(self) -> None:
        """Does nothing."""

    def fingerprint(self) -> str:
        return str(self.parts)


def test_moved_files_of_data_are_compared_by_the_config_as_it_is(tmp_path: Path) -> None:
    parts = {1: str(tmp_path / "b.txt"), 0: "a"}
    (tmp_path / "b.txt").write_text("b")
    config = Config({"datamodule": {"_target_": f"{__name__}.InOrder", "parts": parts}})
    data = {"digest": str(parts), "samples": {}, "classes": [], "files": "others"}
    (tmp_path / ".hydra").mkdir()
    identity.save(tmp_path, {"data": data, "code": {}, "begins_from": None, "versions": {}})
    assert not identity.changed(tmp_path, config).data


def test_files_are_known_by_names_without_a_folder_and_within_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happened: only what had a "/" counted as a path."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.pt", "b.pt"):
        (tmp_path / name).write_text(name)
        config = Config({"datamodule": {"file": "a.pt", "others": [{"more": "b.pt"}]}})
        before = identity._state_of_data(config, is_known=False)
        forget()
        (tmp_path / name).write_text("another one")
        assert identity._state_of_data(config, is_known=False) != before


def test_a_file_that_another_key_names_counts_as_data(
    own_package: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As it happened: a sweep answered "finished" for weights that were others by then."""
    caplog.set_level("INFO")
    weights = tmp_path / "weights.pt"
    weights.write_text("one")
    text = MODULE.format(more="").replace("bias=False, **", "bias=False, weights=None, **")
    (own_package / "begun.py").write_text(text)
    sweep = ["-m", *words(tmp_path / "logs", tmp_path), "seed=0,1"]
    sweep += ["module._target_=own_package.begun.Mine", f"+module.weights=[{weights}]"]
    assert train_in_process(sweep, kill_at="on_train_batch_end:30") == -9
    run_dir = only_run(tmp_path / "logs")
    assert made_of(run_dir)["files"].keys() == {"module.weights.0"}
    weights.write_text("other")
    forget()
    assert refused(capsys, f"resume={run_dir}")[0] == (
        f"error: {run_dir}: since this run began, the file of module.weights.0 changed."
    )
    run_train(*sweep, draws=False)
    assert "begins anew, as its module.weights.0 changed" in caplog.text
    weights.write_text("third")
    forget()
    caplog.clear()
    run_train(*sweep, draws=False)
    assert "2 jobs: 2 other module.weights.0" in caplog.text
    forget()
    caplog.clear()
    run_train(*sweep, draws=False)
    assert "2 jobs: 2 finished" in caplog.text


def test_resume_refuses_other_weights_to_begin_with_until_there_is_a_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: a run that began anew took the other weights, and no line said so."""
    torch.save({"network.weight": torch.rand(1, 1)}, weights := tmp_path / "weights.pt")
    command = ["experiment=linear", "accelerator=cpu", "logger=csv", "trainer.max_steps=9"]
    command += ["callbacks.checkpoints.every_n_steps=4", f"init_from={weights}"]
    left = [tmp_path / "before step 4", tmp_path / "after step 4"]
    with (
        as_killed("on_train_batch_end:2", tmp_path / "log", left[0]),
        as_killed("on_train_batch_end:6", tmp_path / "log", left[1]),
    ):
        run_train(*command, f"paths.log_dir={tmp_path / 'log'}", draws=False)
    torch.save({"network.weight": torch.rand(1, 1)}, weights)
    forget()
    without, having = map(only_run, left)
    assert refused(capsys, f"resume={without}") == [
        f"error: {without}: since this run began, the weights of init_from changed.",
        "Put that back, begin a new run, or go on all the same: add insist=true",
    ]
    run_train(f"resume={having}", draws=False)
    assert "not exact" not in caplog.text
    run_train(f"resume={without}", "insist=true", draws=False)
    assert "not exact: since this run began, the weights of init_from changed" in caplog.text
    assert made_of(without)["mixed"] == ["the weights of init_from changed"]
    assert "mixed" not in made_of(having)


def test_resume_refuses_other_images_and_names_the_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, log_dir = tmp_path / "images", tmp_path / "logs"
    images(folder)
    killed = [*of_images(folder, log_dir), "callbacks.checkpoints.every_n_steps=1"]
    assert train_in_process(killed, kill_at="on_train_batch_end:2") == -9
    run_dir = only_run(log_dir)
    images(folder, count=8)
    forget()
    says, how = refused(capsys, f"resume={run_dir}")
    assert says == (
        f"error: {run_dir}: since this run began, the data changed from 12 train, 12 test to "
        "16 train, 16 test samples."
    )
    assert how.endswith("add insist=true")


@pytest.mark.parametrize(
    ("classes", "says"),
    [(("cat", "dog"), "these data have cat, dog."), (("bee", "ant"), None)],
    ids=["other classes", "the same, as folders are sorted"],
)
def test_evaluate_refuses_other_classes(
    classes: tuple[str, ...],
    says: str | None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    log_dir = tmp_path / "logs"
    images(tmp_path / "images")
    run_train(*of_images(tmp_path / "images", log_dir), draws=False)
    run_dir = only_run(log_dir)
    images(tmp_path / "others", classes=classes)
    command = [f"run={run_dir}", f"datamodule.data_dir={tmp_path / 'others'}"]
    if says is None:
        run_evaluate(*command, draws=False)
        return
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run_evaluate(*command, draws=False)
    assert stop.value.code == 2
    answer = capsys.readouterr().err.splitlines()
    assert answer[0] == f"error: {run_dir}: was trained on the classes ant, bee; {says}"
    assert len(answer) == 2
    assert not (run_dir / "evaluation").exists()


class Renamed(ways.Points):
    """Points with classes in another order."""

    class_names = ["b", "a"]


def test_evaluate_says_where_only_the_order_of_classes_differs(tmp_path: Path) -> None:
    from engine.errors import UserError
    from engine.evaluation import _check_classes

    made_of = {"data": {"classes": ["a", "b"]}}
    with pytest.raises(UserError, match="these data have b, a in another order"):
        _check_classes(tmp_path, Renamed(seed=0, batch_size=1), made_of)


def test_other_peoples_data_are_known_by_their_sizes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [
        "experiment=linear",
        "accelerator=cpu",
        "logger=csv",
        "module._target_=ways.Small",
        "datamodule._target_=ways.Ordinary",
        "datamodule.batch_size=5",
        "trainer.max_epochs=2",
        "callbacks.checkpoints.every_n_steps=5",
        f"paths.log_dir={tmp_path}",
    ]
    assert train_in_process(command, kill_at="on_train_batch_end:8") == -9
    run_dir = only_run(tmp_path)
    assert "Ordinary has no fingerprint()" in (run_dir / "train.log").read_text()
    assert made_of(run_dir)["data"]["samples"] == {"training": 50}
    whole = ways.Noisy.__len__
    monkeypatch.setattr(ways.Noisy, "__len__", lambda self: whole(self) - 1)
    says = refused(capsys, f"resume={run_dir}")[0]
    assert says.endswith("the data changed from 50 training to 49 training samples.")

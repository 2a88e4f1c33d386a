"""A checkpoint that is damaged, lost, another run's or another engine's is found out.

No run trains on it, and none tests it, but for the weights of another engine's.
"""

import json
import logging
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from commands import begin, composed, only_run, run_evaluate, run_train, train_in_process
from engine.errors import UserError
from engine.run import folders
from engine.run.checkpoint.choice import of_no_use, to_go_on_from, to_measure
from engine.run.checkpoint.file import WholeFileIO, read
from engine.vectorized.disk import synced_together
from identical import assert_bit_identical, assert_equal
from moments import as_killed
from resuming import RUN, contents, refused


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one run in three states: whole, and as kills at two steps would leave it."""
    runs = tmp_path_factory.mktemp("runs")
    whole = runs / "whole"
    with (
        as_killed("on_train_batch_end:2", whole, runs / "2"),
        as_killed("on_train_batch_end:17", whole, runs / "17"),
    ):
        begin(composed(RUN), whole)
    return runs


@pytest.fixture(scope="module")
def whole(runs: Path) -> Path:
    """A run that was left alone."""
    return runs / "whole"


@pytest.fixture
def killed(runs: Path, tmp_path: Path) -> Path:
    """A run with checkpoints of the steps 12 and 15, and a best.ckpt of step 10."""
    return Path(shutil.copytree(runs / "17", tmp_path / "killed"))


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def damage(path: Path) -> None:
    """Flips a bit in the first weight of a checkpoint."""
    with zipfile.ZipFile(path) as archive:
        (first,) = (info for info in archive.infolist() if info.filename.endswith("/data/0"))
        content = archive.read(first)
    flip(path, 8 * path.read_bytes().index(content))


def test_a_checkpoint_names_its_config_and_its_step(killed: Path) -> None:
    config = folders.load_config(killed)
    steps = {folders.LAST: 15, folders.PREVIOUS: 12, folders.BEST: 10}
    for name, step in steps.items():
        saved = torch.load(killed / name, weights_only=True)
        assert (saved["config_hash"], saved["global_step"]) == (config.hash, step)
        assert json.loads(saved["config"])["optimizer.lr"] == 0.05
    found = to_go_on_from(killed, config)
    assert found
    assert (found.path, found.progress.steps, found.passed_over) == (killed / folders.LAST, 15, [])


def kinds(value: Any) -> Any:
    """Says what a value is made of."""
    if isinstance(value, dict):
        return {key: kinds(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [kinds(inner) for inner in value]
    return type(value).__name__


LOGGED = {
    "how": {
        **dict.fromkeys(("fx", "name", "reduce_fx"), "str"),
        **dict.fromkeys(("prog_bar", "logger", "on_step", "on_epoch"), "bool"),
        **dict.fromkeys(("enable_graph", "add_dataloader_idx"), "bool"),
        **dict.fromkeys(("dataloader_idx", "metric_attribute"), "NoneType"),
    },
    "sync": {"_should": "bool", "rank_zero_only": "bool"},
    "state": {"value": "Tensor", "cumulated_batch_size": "Tensor", "_update_count": "int"},
    "last": "Tensor",
}


def test_the_number_of_the_format_stands_for_what_a_run_goes_on_from(killed: Path) -> None:
    """Whoever changes what is expected here makes it the next number."""
    saved = torch.load(killed / folders.LAST, weights_only=True)
    of_lightning = ("state_dict", "optimizer_states", "loops", "pytorch-lightning_version")
    own = {key: value for key, value in saved.items() if key not in of_lightning}
    assert own["format"] == 15
    process = {
        "attributes": {},
        "averaged": {},
        "gradients": {},
        "generators": [["int", "str", "NoneType"], ["str", "str", "int", "int", "float"], ["str"]],
        "followed": {
            "callback_metrics": {"train/loss": "Tensor", "val/loss": "Tensor"},
            "logged_metrics": {"val/loss": "Tensor"},
            "progress_bar_metrics": {"train/loss": "float", "val/loss": "float"},
        },
        "steps": [["float"], ["int"]],
        "logged": {"training_step.train/loss": LOGGED},
        "metrics": {},
    }
    assert kinds(own) == {
        "config": "str",
        "config_hash": "str",
        "format": "int",
        "epoch": "int",
        "global_step": "int",
        "lr_schedulers": [],
        "rows": [["int", "int"]],
        "events": [[["str", "int"]]],
        "fit": "int",
        "has_best": "bool",
        "so_far": {
            "stopped": "bool",
            "log_every_n_steps": "int",
            "trainer": {
                "accumulate_grad_batches": "int",
                "gradient_clip_val": "NoneType",
                "check_val_every_n_epoch": "int",
            },
            "found": [],
            "groups": [[4 * ["str"]]],
            "optimizers": ["str"],
            "gradients": {},
            "frozen": [],
            "seen_in_validation": {0: "int"},
            "untracked": [],
            "evaluating": [],
            "processes": [process],
        },
        "callbacks": {
            "Checkpoints": {"best_score": "float"},
            "StopOnDivergence": {"diverged": "bool", "cause": "str"},
        },
    }


def test_it_stands_for_the_state_of_loaders_and_of_means_too(tmp_path: Path) -> None:
    own = ["datamodule._target_=ways.Ordinary", "module._target_=logged.LogsMeans"]
    with as_killed("on_train_batch_end:17", tmp_path / "whole", tmp_path / "killed"):
        begin(composed([*RUN, *own]), tmp_path / "whole")
    saved = torch.load(tmp_path / "killed" / folders.LAST, weights_only=True)
    assert saved["format"] == 15
    loader = {"stream": "str", "rank": "int", "epoch": "int", "digest": "str"}
    assert kinds(saved["loops"]["fit_loop"]["state_dict"]) == {"combined_loader": [loader]}
    (process,) = kinds(saved["so_far"])["processes"]
    assert process["logged"]["training_step.mean/loss"] == {**LOGGED, "last": "NoneType"}
    state = {"_update_count": "int", "sum_abs_error": "Tensor", "total": "Tensor"}
    assert process["metrics"]["error"] == state


Change = Callable[[dict[str, Any]], object]
CHANGES: dict[str, Change] = {
    "nothing else": lambda saved: None,
    "no number": lambda saved: saved.pop("format"),
    "a word": lambda saved: saved.update(format="\x1b[31m\n1"),
    "many numbers": lambda saved: saved.update(format=torch.ones(2)),
    "true": lambda saved: saved.update(format=True),
    "a list": lambda saved: saved.update(so_far=[]),
    "no loops": lambda saved: saved.pop("loops"),
    "another hash": lambda saved: saved.update(config_hash="x"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_checkpoint_of_another_engine_is_not_gone_on_with(
    change: str, killed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (folders.LAST, folders.PREVIOUS):
        saved = torch.load(killed / name, weights_only=True)
        saved["format"] = 99
        CHANGES[change](saved)
        torch.save(saved, killed / name)
    shown = {"no number": "0", "a word": "unknown", "many numbers": "unknown", "true": "unknown"}
    before = contents(killed)
    first, second = refused(run_train, capsys, f"resume={killed}").splitlines()
    assert first == (
        f"error: {killed / folders.LAST}: was written by another version of the engine (its format "
        f"is {shown.get(change, '99')}, not 15), so the run cannot go on exactly."
    )
    assert second == (
        f"Go on with that version, or begin a new run with its weights: init_from={killed}"
    )
    assert contents(killed) == before
    assert of_no_use(killed, folders.load_config(killed)) == "is of another version of the engine"


def test_the_weights_of_another_engine_s_checkpoint_are_as_good_as_any(
    killed: Path, tmp_path: Path
) -> None:
    for name in (folders.LAST, folders.PREVIOUS, folders.BEST):
        saved = torch.load(killed / name, weights_only=True)
        torch.save({**saved, "format": 99, "so_far": [], "has_best": False}, killed / name)
    log_dir = f"paths.log_dir={tmp_path / 'new'}"
    run_train(*RUN, f"init_from={killed}", log_dir, draws=False)
    assert "4 of 4 tensors" in (only_run(tmp_path / "new") / "train.log").read_text()
    config = folders.load_config(killed)
    run_evaluate(f"run={killed}", draws=False)
    assert to_measure(killed, config) == killed / folders.BEST
    (killed / folders.BEST).unlink()
    assert to_measure(killed, config) == killed / folders.LAST


@pytest.mark.parametrize("launcher", ["basic", "vectorized"])
def test_a_job_with_a_checkpoint_of_another_engine_begins_anew(
    launcher: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = ["logger=csv", "callbacks.checkpoints.every_n_steps=3"]
    sweep = ["seed=1,2", f"hydra/launcher={launcher}", f"paths.log_dir={tmp_path}"]
    words = ["-m", "experiment=linear", "accelerator=cpu", *options, *sweep]
    assert train_in_process(words, kill_at="on_train_batch_end:15") == -9
    jobs = sorted(tmp_path.glob("sweeps/linear/*seed=*"))
    assert len(jobs) == {"basic": 1, "vectorized": 2}[launcher]
    for job in jobs:
        for name in (folders.LAST, folders.PREVIOUS):
            saved = torch.load(job / name, weights_only=True)
            torch.save({**saved, "format": 99}, job / name)
    with caplog.at_level(logging.INFO):
        run_train(*words, draws=False)
    assert ("2 jobs together" in caplog.text) == (launcher == "vectorized")
    for job in jobs:
        assert f"{job}: begins anew, as its checkpoint is of another version of the" in caplog.text
        assert (job.with_name(f"{job.name}.1") / folders.LAST).exists()
    seeds = list(tmp_path.glob("sweeps/linear/*seed=?-????????"))
    assert len(seeds) == 2
    for seed in seeds:
        assert json.loads((seed / "summary.json").read_text())["status"] == "finished"
        assert (seed / "train.log").read_text().count("run folder: ") == 1


@pytest.mark.parametrize("key", ["epoch", "loops"])
def test_a_checkpoint_that_lacks_what_ours_have_is_named(key: str, killed: Path) -> None:
    config = folders.load_config(killed)
    saved = read(killed / folders.LAST)
    del saved[key]
    for _ in (folders.PREVIOUS, folders.LAST):
        WholeFileIO(config).save_checkpoint(saved, killed / folders.LAST)
    with pytest.raises(UserError) as refused:
        to_go_on_from(killed, config)
    says, _ = str(refused.value).splitlines()
    assert says == f"{killed / folders.LAST}: is no checkpoint of a run: it has no {key}."


@pytest.mark.parametrize("so_far", [[], None, {"stopped": 3, "processes": 1}])
def test_what_is_saved_of_a_run_has_to_be_what_ours_save(so_far: Any, killed: Path) -> None:
    config = folders.load_config(killed)
    for name in (folders.LAST, folders.PREVIOUS):
        saved = torch.load(killed / name, weights_only=True)
        torch.save({**saved, "so_far": so_far, "rows": 3}, killed / name)
    with pytest.raises(UserError) as refused:
        to_go_on_from(killed, config)
    says, _ = str(refused.value).splitlines()
    assert says == f"{killed / folders.LAST}: is no checkpoint of a run."


def test_whichever_bit_of_a_checkpoint_is_flipped_it_is_found_or_changes_nothing(
    killed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = killed / folders.LAST
    before = path.read_bytes()
    right = torch.load(path, weights_only=True)
    found = harmless = 0
    bits = random.Random(0).sample(range(8 * len(before)), 300)
    for bit in bits:
        flip(path, bit)
        try:
            saved = read(path)
        except UserError as error:
            found += str(error).startswith(f"{path}: cannot be read: ")
        else:
            assert_equal(saved, right)
            harmless += 1
        path.write_bytes(before)
    assert found + harmless == 300
    assert min(found, harmless) > 15  # torch fills the file up with zeros that nobody reads
    damage(path)
    monkeypatch.setattr(zipfile.ZipFile, "testzip", lambda archive: None)
    with pytest.raises(AssertionError):  # by itself, torch takes such a file
        assert_equal(read(path), right)


def lose(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:2000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def of_lightning(path: Path) -> None:
    torch.save({"state_dict": {}, "global_step": 3, "epoch": 0}, path)


def of_words(path: Path) -> None:
    torch.save(["words"], path)


SPOILS = [lose, damage, cut, empty, of_lightning, of_words]


@pytest.mark.parametrize("spoil", SPOILS)
def test_the_one_before_is_used_and_the_run_ends_with_the_same_bits(
    spoil: Callable[[Path], None], killed: Path, whole: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without last.ckpt, too: so a kill between the two renames of a writing leaves the folder."""
    spoil(killed / folders.LAST)
    run_train(f"resume={killed}", draws=False)
    (warning,) = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert warning.startswith(f"{killed / folders.LAST}: ")
    assert warning.endswith(f"\nso {killed / folders.PREVIOUS} is used, of step 12")
    assert warning in (killed / "train.log").read_text()
    (killed / folders.LAST).with_suffix(".unusable").unlink(missing_ok=True)
    assert_bit_identical(killed, whole)


@pytest.mark.parametrize("spoil", SPOILS)
def test_without_a_sound_checkpoint_nothing_begins_anew(
    spoil: Callable[[Path], None], killed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (folders.LAST, folders.PREVIOUS):
        spoil(killed / name)
    before = contents(killed)
    says = refused(run_train, capsys, f"resume={killed}")
    assert says.startswith(f"error: {killed / folders.LAST}: ")
    assert says.endswith(f"run it anew: remove the folder {killed}\n")
    assert refused(run_train, capsys, f"resume={killed}", "trainer.max_epochs=9") == says
    assert contents(killed) == before


def test_without_the_folder_of_its_checkpoints_a_run_does_not_begin_anew(
    killed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(killed / "checkpoints")
    before = contents(killed)
    says = f"error: {killed / folders.LAST}: is not there.\n"
    assert refused(run_train, capsys, f"resume={killed}").startswith(says)
    assert contents(killed) == before


def test_killed_before_its_first_checkpoint_a_run_says_that_it_begins_anew(
    runs: Path, whole: Path, tmp_path: Path
) -> None:
    run_dir = Path(shutil.copytree(runs / "2", tmp_path / "killed"))
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.INFO)
    run_train(f"resume={run_dir}", draws=False)
    root.setLevel(before)
    says = "there is no checkpoint, so the run begins with its first step"
    assert says in (run_dir / "train.log").read_text()
    assert_bit_identical(run_dir, whole)


def test_an_edited_config_is_refused_and_the_way_out_works(
    killed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = killed / folders.CONFIG
    text = path.read_text()
    path.write_text(text.replace("lr: 0.05", "lr: 0.5"))
    before = contents(killed)
    says = refused(run_train, capsys, f"resume={killed}", "trust=true")  # it names ways.Small
    keys = "module.optimizer.lr was 0.05 and is 0.5, optimizer.lr was 0.05 and is 0.5"
    assert says.splitlines() == [
        f"error: {killed / folders.LAST}: is of another config: {keys}.",
        f"Put the config back, or begin a new run with its weights: init_from={killed}",
    ]
    assert f"is of another config: {keys}." in refused(
        run_evaluate, capsys, f"run={killed}", "trust=true"
    )
    assert contents(killed) == before
    words = [*RUN, "optimizer.lr=0.5", f"init_from={killed}", "trainer.max_epochs=1"]
    run_train(*words, f"paths.log_dir={tmp_path / 'new'}", draws=False)
    path.write_text(text)
    run_train(f"resume={killed}", draws=False)


def test_values_that_change_no_result_may_be_edited(killed: Path, whole: Path) -> None:
    path = killed / folders.CONFIG
    path.write_text(path.read_text().replace("steps_per_call: 1000", "steps_per_call: 1"))
    assert "steps_per_call: 1\n" in path.read_text()
    run_train(f"resume={killed}", "trust=true", draws=False)
    assert_bit_identical(killed, whole)


def test_another_run_s_checkpoint_is_not_gone_on_with(
    killed: Path, whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = [*RUN, "seed=7", "trainer.max_epochs=1", f"paths.log_dir={tmp_path / 'other'}"]
    run_train(*words, draws=False)
    shutil.copy(only_run(tmp_path / "other") / folders.LAST, killed / folders.LAST)
    caplog.clear()
    run_train(f"resume={killed}", draws=False)
    assert f"{killed / folders.LAST}: is of another config: " in caplog.text
    (killed / folders.LAST).with_suffix(".unusable").unlink()
    assert_bit_identical(killed, whole)


@pytest.mark.parametrize("spoil", [lose, damage])
def test_without_its_best_weights_a_run_is_not_gone_on_with_nor_measured(
    spoil: Callable[[Path], None], killed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it happened: the last weights, or what a flipped bit made of the best, were tested."""
    spoil(killed / folders.BEST)
    before = contents(killed)
    says = f"error: {killed / folders.BEST}: {'is not there.' if spoil is lose else 'cannot'}"
    assert refused(run_train, capsys, f"resume={killed}").startswith(says)
    assert refused(run_evaluate, capsys, f"run={killed}").startswith(says)
    assert contents(killed) == before


def test_a_run_does_not_begin_with_last_weights_where_there_were_best_ones(
    killed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (killed / folders.BEST).unlink()
    words = [*RUN, "trainer.max_steps=1", f"paths.log_dir={tmp_path / 'logs'}"]
    says = refused(run_train, capsys, *words, f"init_from={killed}")
    way_out = f"init_from={killed / folders.LAST}"
    assert says.splitlines() == [
        f"error: init_from={killed}: has no checkpoints/best.ckpt, though validation chose one.",
        f"To begin with its last weights: {way_out}",
    ]
    assert not (tmp_path / "logs").exists()
    run_train(*words, way_out, draws=False)


def test_a_best_checkpoint_that_is_lost_before_the_test_ends_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loses = "+callbacks.loses._target_=odd_modules.LosesBest"
    words = [*RUN, loses, f"paths.log_dir={tmp_path}"]
    says = refused(run_train, capsys, *words)
    run_dir = only_run(tmp_path)
    assert says == f"error: {run_dir / folders.BEST}: is not there.\n"
    read_summary: dict[str, Any] = json.loads((run_dir / "summary.json").read_text())
    assert read_summary["status"] == "failed"
    assert not any(name.startswith("test/") for name in read_summary["metrics"])


def test_jobs_that_train_together_do_not_begin_anew_either(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["logger=csv", "callbacks.checkpoints.every_n_steps=3"]
    sweep = ["seed=1,2", "hydra/launcher=vectorized", f"paths.log_dir={tmp_path}"]
    words = ["-m", "experiment=linear", "accelerator=cpu", *options, *sweep]
    assert train_in_process(words, kill_at="on_train_batch_end:15") == -9
    jobs = sorted(tmp_path.glob("sweeps/linear/*seed=*"))
    assert len(jobs) == 2  # together: the second would not have begun yet
    for job in jobs:
        assert (job / folders.PREVIOUS).exists()
        shutil.rmtree(job / "checkpoints")
    says = refused(run_train, capsys, *words)
    assert says.startswith(f"error: {jobs[0] / folders.LAST}: is not there.")
    assert [job for job in jobs if (job / "summary.json").exists()] == []


def test_the_last_two_are_kept_whichever_disk_is_used(tmp_path: Path) -> None:
    """Files that are synced together are renamed at the end only, in the right order."""
    last, previous = tmp_path / folders.LAST, tmp_path / folders.PREVIOUS

    def step(path: Path) -> int:
        return int(torch.load(path, weights_only=True)["step"])

    WholeFileIO().save_checkpoint({"step": 1}, last)
    assert not previous.exists()
    WholeFileIO().save_checkpoint({"step": 2}, last)
    assert (step(previous), step(last)) == (1, 2)
    with synced_together():
        WholeFileIO().save_checkpoint({"step": 3}, last)
        assert (step(previous), step(last)) == (1, 2)
        WholeFileIO().save_checkpoint({"step": 4}, last)
    assert (step(previous), step(last)) == (2, 4)
    WholeFileIO().save_checkpoint({"step": 5}, tmp_path / folders.BEST)
    WholeFileIO().save_checkpoint({"step": 6}, tmp_path / folders.BEST)
    assert (step(previous), step(last)) == (2, 4)

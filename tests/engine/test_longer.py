"""A run that is made longer, and a run that begins from the weights of another."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import ways
from commands import only_run, run_train, train_in_process
from engine.config.resolved import Config
from engine.run import folders, identity
from engine.run.checkpoint.file import load_weights
from fitting import columns
from identical import assert_bit_identical, assert_equal
from resuming import RUN, SMALL


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    log_dir = tmp_path_factory.mktemp("parent")
    run_train(*RUN, f"paths.log_dir={log_dir}", draws=False)
    return only_run(log_dir)


def only_other(run_dir: Path) -> Path:
    """Returns the folder beside a run's."""
    (other,) = (path for path in run_dir.parent.iterdir() if path != run_dir)
    return other


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run_train(*words, draws=False)
    assert stop.value.code == 2
    return capsys.readouterr().err.splitlines()


def test_a_longer_run_ends_with_the_bits_of_one_of_that_length(tmp_path: Path) -> None:
    """The longer run is killed, too: it goes on from its own checkpoint, in its own folder."""
    run_train(*RUN, "trainer.max_epochs=4", f"paths.log_dir={tmp_path / 'whole'}", draws=False)
    run_train(*RUN, f"paths.log_dir={tmp_path / 'short'}", draws=False)
    short = only_run(tmp_path / "short")
    before = {path: path.read_bytes() for path in short.rglob("*.*") if path.is_file()}
    command = [f"resume={short}", "trainer.max_epochs=4"]
    assert train_in_process(command, kill_at="on_train_batch_end:35") == -9
    longer = only_other(short)
    assert not (longer / "summary.json").exists()
    run_train(f"resume={longer}", draws=False)
    whole = only_run(tmp_path / "whole")
    assert_bit_identical(longer, whole)
    assert {path: path.read_bytes() for path in before} == before
    config = folders.load_config(longer)
    parent_hash = folders.load_config(short).hash
    assert config["parent"] == {"run": str(short), "hash": parent_hash, "step": 20}
    assert config["trainer.max_epochs"] == 4
    assert config.hash != folders.load_config(whole).hash
    assert f"goes on from step 20 of {short}" in (longer / "train.log").read_text()
    saved = torch.load(longer / folders.LAST, weights_only=True)
    assert saved["config_hash"] == config.hash
    moved = {**config.values_by_node, "parent": {**config["parent"], "run": "/elsewhere"}}
    assert Config(moved).hash == config.hash


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_other_peoples_data_are_compared_with_those_of_the_shorter_run(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As it happened: the new folder had no record, so that nothing was compared."""
    words = ["datamodule._target_=ways.Ordinary", "datamodule.steps_per_epoch=null"]
    run_train(*RUN, *words, f"paths.log_dir={tmp_path}", draws=False)
    short = only_run(tmp_path)
    caplog.clear()
    with monkeypatch.context() as patch:
        whole = ways.Noisy.__len__
        patch.setattr(ways.Noisy, "__len__", lambda data: whole(data) - 1)
        first, *_ = refused(capsys, f"resume={short}", "trainer.max_epochs=4")
    said = "since this run began, the data changed from 50 training to 49 training samples."
    assert first == f"error: {short}: {said}"
    assert only_run(tmp_path) == short
    run_train(f"resume={short}", "trainer.max_epochs=4", draws=False)
    assert "are not compared" not in caplog.text
    assert (only_other(short) / identity.MADE_OF).exists()


def test_rows_of_a_longer_run_stay_as_long_as_they_were(tmp_path: Path) -> None:
    """By itself, the longer run would have rows of 3 steps, and the shorter one has rows of 2."""
    auto = [
        *RUN,
        "datamodule.steps_per_epoch=60",
        "trainer.log_every_n_steps=auto",
        "callbacks.checkpoints.every_n_steps=1000",
    ]
    runs = {}
    for epochs in (2, 4):
        log_dir = tmp_path / str(epochs)
        run_train(*auto, f"trainer.max_epochs={epochs}", f"paths.log_dir={log_dir}", draws=False)
        runs[epochs] = only_run(log_dir)
    run_train(f"resume={runs[2]}", "trainer.max_epochs=4", draws=False)
    longer = only_other(runs[2])
    assert columns(longer, "train/loss", "step")[1] == list(range(1, 240, 2))
    assert columns(runs[4], "train/loss", "step")[1] == list(range(2, 240, 3))
    weights = [
        torch.load(run_dir / folders.LAST, weights_only=True)["state_dict"]
        for run_dir in (longer, runs[4])
    ]
    assert_equal(*weights)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["optimizer.lr=1"], "optimizer.lr=1: resume= goes on with the run's own config. Beside"),
        (["trainer.max_epochs=2"], "trainer.max_epochs=2: {run} has 2 epochs behind it."),
        (
            ["trainer.max_steps=30"],
            "trainer.max_steps=30: trainer.max_epochs=2: {run} has 2 epochs behind it.\n"
            "Give trainer.max_epochs, too: null for no limit.",
        ),
        (["trainer.max_epochs=x"], "trainer.max_epochs=x: must be a whole number from 1 or null."),
    ],
)
def test_what_is_no_longer_training_is_refused(
    words: list[str], says: str, parent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = refused(capsys, f"resume={parent}", *words)
    assert "\n".join(answer).startswith(f"error: {says.format(run=parent)}")
    assert len(answer) <= 2
    assert len(list(parent.parent.iterdir())) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["scheduler=cosine"], "the lengths of scheduler=engine.schedules.cosine may be shares"),
        (
            [
                "callbacks=[default,early_stopping]",
                "callbacks.early_stopping.patience=1",
                "callbacks.early_stopping.min_delta=9",
                "trainer.max_epochs=9",
            ],
            "was stopped at step 20, for a reason that its train.log has",
        ),
    ],
    ids=["a schedule with an end", "early stopping"],
)
def test_a_run_that_cannot_be_longer(
    words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_train(*RUN, *words, f"paths.log_dir={tmp_path}", draws=False)
    run_dir = only_run(tmp_path)
    answer = refused(capsys, f"resume={run_dir}", "trainer.max_epochs=12")
    assert says in answer[0]
    assert answer[1].endswith(f"init_from={run_dir}")
    assert len(list(run_dir.parent.iterdir())) == 1


def test_values_of_the_shorter_length_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: they went on, and nothing said so."""
    every = "callbacks.checkpoints.every_n_steps"
    words = [*SMALL, f"{every}=${{trainer.max_epochs}}", "trainer.max_epochs=1"]
    run_train(*words, f"paths.log_dir={tmp_path}", draws=False)
    run_dir = only_run(tmp_path)
    for epochs in (2, 3):
        caplog.clear()
        before = set(run_dir.parent.iterdir())
        run_train(f"resume={run_dir}", f"trainer.max_epochs={epochs}", draws=False)
        said = f"goes on with what was made of the shorter length: {every}"
        assert caplog.messages.count(said) == 1
        (run_dir,) = set(run_dir.parent.iterdir()) - before
        assert folders.load_config(run_dir)[every] == 1


def test_a_schedule_that_would_end_before_the_training_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it happened: the first step that it had no rate for ended in a traceback."""
    words = ["module._target_=ways.CyclesOnce", "trainer.max_epochs=1"]
    run_train(*SMALL, *words, f"paths.log_dir={tmp_path}", draws=False)
    run_dir = only_run(tmp_path)
    assert refused(capsys, f"resume={run_dir}", "trainer.max_epochs=2") == [
        "error: OneCycleLR: goes on as it was made, and ends after total_steps=10: this training "
        "has 20.",
        f"Begin a new schedule from the weights: init_from={run_dir}",
    ]
    assert [*run_dir.parent.iterdir()] == [run_dir]


@pytest.mark.parametrize(
    "words",
    [
        ["module._target_=ways.SlowsDown", "+module.total_steps=5"],
        ["module._target_=ways.SlowsDown", "+module.total_steps=null"],
        ["module._target_=ways.CyclesOnceAndStays"],
    ],
    ids=["without an end", "without a number", "of the module"],
)
def test_a_schedule_that_goes_on_without_an_end_is_not_refused(
    words: list[str], tmp_path: Path
) -> None:
    run_train(*SMALL, *words, "trainer.max_epochs=1", f"paths.log_dir={tmp_path}", draws=False)
    run_train(f"resume={(short := only_run(tmp_path))}", "trainer.max_epochs=2", draws=False)
    assert json.loads((only_other(short) / "summary.json").read_text())["steps"] == 20


def test_a_learning_rate_that_follows_a_metric_goes_on(tmp_path: Path) -> None:
    plateau = ["scheduler=plateau", "scheduler.patience=0", "scheduler.threshold=0.5"]
    run_train(*RUN, *plateau, f"paths.log_dir={tmp_path / 'short'}", draws=False)
    short = only_run(tmp_path / "short")
    run_train(f"resume={short}", "trainer.max_epochs=4", draws=False)
    whole = [*RUN, *plateau, "trainer.max_epochs=4", f"paths.log_dir={tmp_path / 'whole'}"]
    run_train(*whole, draws=False)
    assert_bit_identical(only_other(short), only_run(tmp_path / "whole"))


@pytest.mark.parametrize("file", ["", "checkpoints/best.ckpt", "checkpoints/last.ckpt"])
def test_a_run_begins_from_weights(
    file: str, parent: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    source = parent / file if file else parent
    words = [*RUN, f"init_from={source}", "trainer.max_steps=1", "optimizer.lr=0"]
    run_train(*words, f"paths.log_dir={tmp_path}", draws=False)
    run_dir = only_run(tmp_path)
    ours, theirs = (
        torch.load(path, weights_only=True)["state_dict"]
        for path in (run_dir / folders.LAST, parent / (file or folders.BEST))
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert f"init_from={parent / (file or folders.BEST)}: 4 of 4 tensors" in caplog.text
    assert folders.load_config(run_dir)["init_from"] == str(source)


def test_what_matched_is_said(tmp_path: Path) -> None:
    one = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 5), nn.Linear(1, 1))
    other = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 4))
    other.extra = nn.Linear(1, 1)
    torch.save(other.state_dict(), tmp_path / "weights.pt")
    said = load_weights(one, tmp_path / "weights.pt")
    assert torch.equal(one[0].weight, other[0].weight)
    assert said.splitlines() == [
        f"init_from={tmp_path / 'weights.pt'}: 2 of 6 tensors",
        "  other shape: 1.weight is (5, 2), there (4, 2)",
        "  other shape: 1.bias is (5,), there (4,)",
        "  not there: 2.weight, 2.bias",
        "  not in the module: extra.weight, extra.bias",
    ]


LATE = {
    "MakesItsHead": {"backbone.weight": (3, 3), "backbone.bias": (3,)},
    "ConfiguresItsModel": {},
}


@pytest.mark.parametrize("name", LATE)
def test_layers_that_hooks_make_begin_from_weights(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: one was refused, the other's head began anew, and neither was counted."""
    caplog.set_level("INFO")
    shapes: dict[str, Any] = {**LATE[name], "net.weight": (1, 3), "net.bias": (1,)}
    weights = {key: torch.rand(shape) for key, shape in shapes.items()}
    torch.save(weights, source := tmp_path / "weights.pt")
    words = [*SMALL, f"module._target_=odd_modules.{name}", "trainer.max_steps=1", "+module.lr=0"]
    run_train(*words, f"init_from={source}", f"paths.log_dir={tmp_path / 'logs'}", draws=False)
    saved = torch.load(only_run(tmp_path / "logs") / folders.LAST, weights_only=True)
    assert_equal(saved["state_dict"], weights)
    count = len(weights)
    assert [said for said in caplog.messages if "init_from" in said.partition("=")[0]] == [
        f"init_from={source}: {count} of {count} tensors"
    ]
    numbers = sum(one.numel() for one in weights.values())
    assert f"model: {name}, {numbers} parameters, on " in caplog.text


def test_weights_for_none_of_the_layers_that_hooks_make(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = foreign(tmp_path)
    words = [*SMALL, "module._target_=odd_modules.ConfiguresItsModel", f"init_from={source}"]
    assert refused(capsys, *words, f"paths.log_dir={tmp_path / 'logs'}") == [
        f"error: init_from={source}: has no weights for ConfiguresItsModel. It has weight, bias; "
        "the module has net.weight, net.bias."
    ]
    assert not (tmp_path / "logs").exists()


def test_weights_keep_the_layers_that_were_filled_before(tmp_path: Path) -> None:
    """Layers that a hook wraps have their weights from before, and other names."""
    torch.save({"0.weight": torch.ones(2, 2), "1.weight": torch.ones(2, 2)}, tmp_path / "file.pt")
    net = nn.Sequential(nn.Linear(2, 2, bias=False))
    filled: dict[str, Any] = {}
    load_weights(net, tmp_path / "file.pt", filled, is_whole=False)
    whole = nn.Sequential(nn.Sequential(net[0], nn.Linear(2, 3)), nn.Linear(2, 2, bias=False))
    said = load_weights(whole, tmp_path / "file.pt", filled)
    assert [own.weight.sum().item() for own in (whole[0][0], whole[1])] == [4, 4]
    assert said.splitlines() == [
        f"init_from={tmp_path / 'file.pt'}: 2 of 4 tensors",
        "  not there: 0.1.weight, 0.1.bias",
    ]


def test_what_a_hook_has_changed_since_stays(tmp_path: Path) -> None:
    """As it happened: a new head, or a layer that was set to zero, had the file's weights again."""
    ones = {f"{number}.weight": torch.ones(2, 2) for number in range(3)}
    torch.save(ones, tmp_path / "file.pt")
    net = nn.Sequential(*(nn.Linear(2, 2, bias=False) for _ in range(2)))
    filled: dict[str, Any] = {}
    load_weights(net, tmp_path / "file.pt", filled, is_whole=False)
    net[0] = nn.Linear(2, 2, bias=False)
    nn.init.constant_(net[0].weight, 5)
    nn.init.zeros_(net[1].weight)
    net.append(nn.Linear(2, 2, bias=False))
    said = load_weights(net, tmp_path / "file.pt", filled)
    assert [own.weight.sum().item() for own in net] == [20, 0, 4]
    assert said.splitlines() == [
        f"init_from={tmp_path / 'file.pt'}: 2 of 3 tensors",
        "  taken, and replaced by setup or configure_model since: 0.weight",
    ]


def test_weights_that_a_hook_keeps_in_other_tensors_are_not_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2, 2)}, tmp_path / "file.pt")
    layer, filled = nn.Linear(2, 2, bias=False), {}
    load_weights(layer, tmp_path / "file.pt", filled, is_whole=False)
    weight_norm(layer)
    said = load_weights(layer, tmp_path / "file.pt", filled).splitlines()
    torch.testing.assert_close(layer.weight, torch.ones(2, 2))
    assert said[0] == f"init_from={tmp_path / 'file.pt'}: 0 of 2 tensors"
    assert said[1] == "  taken, and replaced by setup or configure_model since: weight"


class OwnState(nn.Linear):
    def state_dict(self) -> dict[str, Any]:  # type: ignore[override]
        """Returns the state as Lightning asks for it."""
        return super().state_dict()


def test_a_state_of_ones_own_takes_no_arguments(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2, 2)}, tmp_path / "file.pt")
    layer = OwnState(2, 2, bias=False)
    assert load_weights(layer, tmp_path / "file.pt").endswith("1 of 1 tensors")
    assert torch.equal(layer.weight, torch.ones(2, 2))


def test_a_longer_run_does_not_begin_from_the_file_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: where a module has a `setup`, the weights of the shorter run were lost.

    A file that was gone was asked for, and one that was another was recorded as its beginning.
    """
    caplog.set_level("INFO")
    torch.save({"backbone.weight": torch.rand(3, 3)}, source := tmp_path / "weights.pt")
    words = [*SMALL, "module._target_=odd_modules.MakesItsHead", f"init_from={source}"]
    for name, epochs in (("short", 1), ("whole", 2)):
        log_dir = f"paths.log_dir={tmp_path / name}"
        run_train(*words, f"trainer.max_epochs={epochs}", log_dir, draws=False)
    short, whole = only_run(tmp_path / "short"), only_run(tmp_path / "whole")
    source.unlink()
    identity._file_digest.cache_clear()
    caplog.clear()
    run_train(f"resume={short}", "trainer.max_epochs=2", draws=False)
    longer = only_other(short)
    assert "tensors" not in caplog.text
    begun = [identity.load(run_dir)["begins_from"] for run_dir in (short, longer)]  # type: ignore[index]
    assert len(begun[0]) == 16
    assert begun[1] == begun[0]
    assert (longer / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    ours, theirs = (
        torch.load(run_dir / folders.LAST, weights_only=True)["state_dict"]
        for run_dir in (longer, whole)
    )
    assert_equal(ours, theirs)


def broken(folder: Path) -> Path:
    (folder / "broken.ckpt").write_text("no checkpoint")
    return folder / "broken.ckpt"


def foreign(folder: Path) -> Path:
    torch.save(nn.Conv2d(1, 1, 3).state_dict(), folder / "foreign.pt")
    return folder / "foreign.pt"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda folder: folder / "missing",
            "must be a checkpoint, or a run's folder that has one.",
        ),
        (broken, "cannot be read: "),
        (foreign, "has no weights for Small. It has weight, bias; the module has network.0.weight"),
    ],
    ids=["missing", "broken", "foreign"],
)
def test_weights_that_are_none(
    make: Any, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make(tmp_path)
    answer = refused(capsys, *RUN, f"init_from={source}", f"paths.log_dir={tmp_path / 'logs'}")
    assert answer[0].startswith(f"error: init_from={source}: {says}")
    assert len(answer) == 1
    assert not (tmp_path / "logs").exists()


def test_a_job_from_other_weights_is_run_anew(parent: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights.ckpt"
    weights.write_bytes((parent / folders.BEST).read_bytes())
    sweep = ["-m", *RUN, f"init_from={weights}", "seed=1,2", f"paths.log_dir={tmp_path / 'logs'}"]
    run_train(*sweep, draws=False)
    run_train(*sweep, draws=False)
    jobs = tmp_path / "logs/sweeps/linear"
    assert not list(jobs.glob("*.1"))
    weights.write_bytes((parent / folders.LAST).read_bytes())
    identity._file_digest.cache_clear()
    run_train(*sweep, draws=False)
    assert len(list(jobs.glob("*.1"))) == 2
    for summary in jobs.glob("*/summary.json"):
        assert json.loads(summary.read_text())["status"] == "finished"


def test_a_run_whose_steps_were_limited_may_not_go_on_as_one_of_that_length(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_train(
        *SMALL,
        "trainer.max_epochs=4",
        "trainer.max_steps=5",
        f"paths.log_dir={tmp_path}",
        draws=False,
    )
    run_train(f"resume={only_run(tmp_path)}", "trainer.max_steps=8", draws=False)
    assert "not exact, unless step 5 ends an epoch: trainer.max_steps has cut" in caplog.text

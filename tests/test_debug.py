"""Each preset of `debug=` is a run that does what its file says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from commands import only_run, run_train
from engine.config.resolved import Config
from engine.data.sampler import StepSampler
from engine.run import build, folders
from fitting import columns
from together import summary
from whole_runs import composed

DIGITS = ["experiment=lenet", "datamodule=digits", "accelerator=cpu", "logger=csv"]


def debug(folder: Path, preset: str, *words: str) -> Path:
    run_train(*DIGITS, f"debug={preset}", *words, f"paths.log_dir={folder}", draws=False)
    return only_run(folder)


def test_fast_takes_a_batch_of_each_kind_and_writes_all_files(tmp_path: Path) -> None:
    made = debug(tmp_path, "fast")
    read = summary(made)
    assert (read["status"], read["steps"]) == ("finished", 1)
    assert {"train/loss", "val/loss", "test/loss"} <= read["metrics"].keys()
    assert {path.name for path in (made / "checkpoints").iterdir()} == {"last.ckpt", "best.ckpt"}


def test_limit_takes_a_few_batches_of_two_epochs(tmp_path: Path) -> None:
    made = debug(tmp_path, "limit")
    assert summary(made)["steps"] == 40
    assert columns(made, "val/loss", "epoch")[1] == [0, 1]


def test_overfit_takes_the_same_batches_in_each_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By blocks; and learns them by heart, in a third of the epochs by ten times the rate."""
    seen: list[np.ndarray] = []
    indices = StepSampler.indices

    def noted(self: StepSampler, step: int, steps: int = 1) -> Any:
        chosen = indices(self, step, steps)
        seen.append(chosen.numpy())
        return chosen

    monkeypatch.setattr(StepSampler, "indices", noted)
    third = ["trainer.max_epochs=100", "trainer.check_val_every_n_epoch=100"]
    made = debug(tmp_path, "overfit", "optimizer.lr=0.01", *third)
    training = np.concatenate([chosen for chosen in seen if len(chosen) <= 8])
    assert summary(made)["steps"] == 200
    np.testing.assert_array_equal(training.reshape(-1, 8), np.tile(np.arange(8), (100, 1)))
    loss = columns(made, "train/loss")[0]
    assert loss[-1] < 0.01 * loss[0]


def test_overfit_has_steps_enough_for_the_experiment_of_the_readme() -> None:
    """As it happened: after all its steps, LeNet-5 on the digits had a loss of 2.1."""
    chosen = composed(*DIGITS, "debug=overfit")
    config = Config.resolve(chosen)
    data = build.datamodule(config)
    module = build.module(config, data)
    optimizer, train = module.configure_optimizers(), data.splits["train"]
    size = config["datamodule.batch_size"]
    batches = [train.select(torch.arange(n * size, (n + 1) * size)) for n in range(2)]
    assert config["trainer.overfit_batches"] == len(batches)
    for _ in range(config["trainer.max_epochs"]):
        right, losses = 0, []
        for inputs, targets in batches:
            loss, logits = module.compute_loss(data.prepare_inputs(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            right += int((logits.argmax(1) == targets).sum())
            losses.append(loss.item())
    assert right == 2 * size
    assert max(losses) < 0.01


def test_overfit_changes_no_sample() -> None:
    assert composed("experiment=resnet").augment is not None
    assert composed("experiment=resnet", "debug=overfit").augment is None


def test_profiler_writes_into_the_runs_folder(tmp_path: Path) -> None:
    made = debug(tmp_path, "profiler", "trainer.limit_train_batches=3")
    for stage in ("fit", "test"):
        assert "Total time (s)" in (made / f"{stage}-profile.txt").read_text()


def test_anomaly_names_the_operation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        debug(tmp_path, "anomaly", "module._target_=modules_of_tests.RootOfZero")
    assert stop.value.code == 2
    assert "'SqrtBackward0' returned nan values" in capsys.readouterr().err


def test_a_profiler_makes_no_other_run(tmp_path: Path) -> None:
    """Its result may be compared with that of the run without it."""
    preset = folders.load_config(debug(tmp_path, "fast"))
    values = {**preset.values_by_node}
    profiled = {**values, "trainer": {**values["trainer"], "profiler": "simple"}}
    assert Config(profiled).hash == Config(values).hash

"""Every experiment and scheme trains; the systems to reproduce have the numbers of PyTorch."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from commands import CONF, EXPERIMENTS, SCHEMES
from engine.config.resolved import Config
from engine.run import build, folders
from fitting import plain_trainer
from whole_runs import LINEAR, SHORT, column, composed, done, run, summary_of

MODELS = {
    "lenet": "digits",
    "linear": "line",
    "curve_mlp": "parabola",
    "two_layer": "random_regression",
    "two_layer_by_hand": "random_regression",
    "deep_mlp": "random_regression",
    "resnet": "digits",
    "tabular_mlp": "breast_cancer",
}


# --- the systems to reproduce; the numbers are those of plain PyTorch ---


def test_linear_gives_the_numbers_of_the_plain_loop(tmp_path: Path) -> None:
    run_dir = run(tmp_path, *LINEAR)
    losses = column(run_dir, "train/loss")
    assert len(losses) == 20
    assert losses[0] == pytest.approx(43.8908, abs=1e-4)
    assert losses[-1] == pytest.approx(1.6635e-4, abs=1e-8)
    weight = torch.load(run_dir / folders.LAST, weights_only=True)["state_dict"]["network.weight"]
    assert weight.item() == pytest.approx(1.99752, abs=1e-5)


@pytest.mark.slow
def test_two_layer_gives_the_numbers_of_the_plain_loop(tmp_path: Path) -> None:
    losses = column(
        run(tmp_path, "experiment=two_layer", "accelerator=cpu", "logger=csv"), "train/loss"
    )
    assert len(losses) == 500
    for step, low, high in [
        (0, 600, 760),
        (99, 40, 75),
        (199, 0.7, 2.3),
        (299, 3e-3, 5e-2),
        (499, 1e-10, 4e-6),
    ]:
        assert low < losses[step] < high, step


@pytest.mark.slow
def test_curve_fit_fits_and_draws(tmp_path: Path) -> None:
    run_dir = run(tmp_path, "experiment=curve_fit", "accelerator=cpu")
    losses = column(run_dir, "train/loss")
    assert len(losses) == 100
    assert (
        0.04 / 12 < losses[-1] < 0.05
    )  # from the variance of the noise to the worst of five plain runs
    assert (run_dir / "figures" / "curve.png").read_bytes().startswith(b"\x89PNG")
    drawn = (
        EventAccumulator(str(run_dir), size_guidance={"images": 0}).Reload().Images("train/curve")
    )
    assert [image.step for image in drawn] == list(range(9, 100, 10))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_trains(experiment: str, tmp_path: Path) -> None:
    chosen = composed(f"experiment={experiment}", *SHORT)
    if re.search("cifar10|image_folder", chosen.datamodule._target_):  # no download here
        chosen.datamodule = composed("datamodule=digits").datamodule
    if experiment == "init_depth":
        chosen.callbacks.depth_study.seeds = 1  # of five
        chosen.datamodule.samples = 100  # of 1,000: they would take three seconds
    if experiment == "curve_fit":
        chosen.callbacks.curve.every_n_steps = 1
    chosen.datamodule.steps_per_epoch, chosen.trainer.max_epochs = 2, 2
    done(chosen, tmp_path)
    summary = summary_of(tmp_path)
    assert (summary["status"], summary["steps"]) == ("finished", 3)
    assert math.isfinite(summary["metrics"]["train/loss"])
    # As it happened: a figure and a confusion matrix in attributes of our own callbacks.
    assert not re.search("not exact|not trained", (tmp_path / "train.log").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["lenet", "curve_fit"])
@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "bf16-mixed"])
def test_other_precisions(precision: str, experiment: str, tmp_path: Path) -> None:
    words = [
        f"experiment={experiment}",
        "accelerator=cpu",
        "trainer.max_steps=3",
        f"trainer.precision={precision}",
    ]
    lenet = ["datamodule=digits", "callbacks.classification.grid_images=0"]
    run_dir = run(tmp_path, *words, *(lenet if experiment == "lenet" else []))
    assert (summary_of(run_dir)["status"], summary_of(run_dir)["steps"]) == ("finished", 3)
    assert all(map(math.isfinite, summary_of(run_dir)["metrics"].values()))
    assert list(run_dir.glob("figures/*.png"))


def test_the_lenet_study_sweeps_over_what_it_says() -> None:
    text = (CONF / "experiment/lenet_init.yaml").read_text()
    assert OmegaConf.create(text).hydra.sweeper.params == {
        "optimizer": "sgd_batch_64,adam",
        "init": "default,zero,randn,xavier,he",
        "seed": "0,1,2",
    }


def test_another_optimizer_keeps_the_numbers_of_the_experiment() -> None:
    """As the README says."""
    chosen = composed("experiment=curve_fit", "optimizer=adam").optimizer
    assert (chosen._target_, chosen.lr) == ("torch.optim.Adam", 0.2)


@pytest.fixture(scope="module")
def schemes() -> dict[str, Any]:
    """The node of each scheme."""
    return {scheme: composed(f"init={scheme}").init for scheme in SCHEMES}


@pytest.mark.parametrize("name", MODELS)
def test_every_scheme_starts_every_model(
    name: str, schemes: dict[str, Any], tmp_path: Path
) -> None:
    words = ["optimizer=adam", "callbacks=default", *SHORT]
    chosen = composed(f"module={name}", f"datamodule={MODELS[name]}", *words)
    data = build.datamodule(Config.resolve(chosen))
    for scheme, node in schemes.items():
        chosen.init = node
        module = build.module(Config.resolve(chosen), data)
        (folder := tmp_path / scheme).mkdir()
        plain_trainer(folder, max_steps=3, limit_val_batches=0).fit(module, data)
        losses = column(folder, "train/loss")
        assert len(losses) == 3
        assert all(map(math.isfinite, losses))
        if scheme == "zero" and name == "lenet":
            assert losses[0] == pytest.approx(math.log(10))  # all logits alike

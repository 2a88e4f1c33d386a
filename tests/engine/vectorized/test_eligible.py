"""Checks which jobs of a sweep train together, and what the log says of the others."""

import math
from pathlib import Path

import pytest

from together import CURVE, folder, jobs, statuses, summary, sweep

FEW = ["logger=csv", "callbacks=default", "datamodule.steps_per_epoch=2", "seed=0,1"]


def test_groups_and_what_runs_one_by_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    callbacks = [
        "callbacks=default,[default,histograms]",
        "logger=csv",
        "datamodule.steps_per_epoch=4",
    ]
    made = sweep(tmp_path, *CURVE, *callbacks, "module.hidden=5,10", "seed=0,1")
    assert set(statuses(made).values()) == {"finished"}
    assert len(jobs(made)) == 8
    assert caplog.text.count("2 jobs together") == 2
    assert "4 of 8 jobs one by one: callbacks.histograms" in caplog.text


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["trainer.gradient_clip_val=1"], "trainer.gradient_clip_val=1"),
        (["trainer.accumulate_grad_batches=2"], "trainer.accumulate_grad_batches=2"),
        (["datamodule.num_workers=1"], "datamodule.num_workers=1 gathers batches ahead"),
        (["experiment=two_layer_by_hand"], "TwoLayerByHand has a setup of its own"),
        (["+optimizer.nesterov=true", "optimizer=sgd"], "optimizer.nesterov=True"),
        (["callbacks=[default,ema,grad_norm]"], "callbacks.ema"),
        (["trainer.overfit_batches=1"], "trainer.overfit_batches=1"),
        (["optimizer=lbfgs", "optimizer.max_iter=2"], "optimizer LBFGS"),
        (
            ["module.augment={drop: {_target_: torch.nn.Dropout, p: 0.1}}"],
            "augment: each job's step draws random numbers",
        ),
        (
            ["scheduler=plateau", "scheduler.monitor=train/loss"],
            "scheduler: the learning rate of each job follows a metric of the job",
        ),
        (["scheduler=cosine,step", "seed=0"], "there is none to train it with"),
        (
            ["datamodule._target_=modules_of_tests.CentredParabola"],
            "CentredParabola prepares the same inputs",
        ),
        (
            ["datamodule._target_=modules_of_tests.ParabolaWithValidation"],
            "ParabolaWithValidation has a val_data",
        ),
        (
            ["datamodule.folds=5", "datamodule.seed=0", "datamodule.fold=${seed}"],
            "there is none to train it with",
        ),
        (["datamodule.steps_per_epoch=${seed}", "seed=2,3"], "there is none to train it with"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_stacked(
    words: list[str], reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    set_anew = {word.partition("=")[0] for word in words}
    made = sweep(
        tmp_path, *CURVE, *[word for word in FEW if word.partition("=")[0] not in set_anew], *words
    )
    assert f"2 of 2 jobs one by one: {reason}" in caplog.text
    assert set(statuses(made).values()) == {"finished"}


def test_optimisers_differ_only_in_numbers_that_a_stack_has_a_column_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    sweep(tmp_path, *CURVE, *FEW, "optimizer=sgd", "+optimizer.dampening=0,0.5")
    assert caplog.text.count("2 jobs together") == 1
    assert "2 of 4 jobs one by one: optimizer.dampening=0.5" in caplog.text


def test_jobs_that_cannot_be_built_leave_the_others_together(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    targets = "modules_of_tests.CannotBeBuilt,project.modules.curve_mlp.CurveMLP"
    with pytest.raises(SystemExit):
        sweep(tmp_path, *CURVE, *FEW, f"module._target_={targets}")
    assert caplog.text.count("2 jobs together") == 1
    assert "2 of 4 jobs one by one: a mistake in the config or in the data" in caplog.text
    assert (
        sorted(summary(run_dir)["status"] for run_dir in jobs(folder(tmp_path)).values())
        == ["finished"] * 2
    )


def test_a_network_that_draws_random_numbers_runs_one_by_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    made = sweep(tmp_path, *CURVE, *FEW, "module._target_=modules_of_tests.WithDropout")
    reason = "vmap: called random operation while in randomness error mode"
    assert f"2 of 2 jobs one by one: WithDropout: {reason}" in caplog.text
    assert not any(math.isnan(summary(run_dir)["objective"]) for run_dir in jobs(made).values())

"""Jobs that differ in more than weights and numbers run one by one, and the log says in what."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from commands import only_run, run_train
from engine.fence.lightning import asked_of_trainers
from engine.vectorized import alike, eligible, together
from engine.vectorized.alike import Glance, attributes
from engine.vectorized.eligible import CALLED
from engine.vectorized.module import StackedModule
from together import CURVE, jobs, numbers, rows, statuses, summary, sweep
from unlike_callbacks import noting
from unlike_data import ClampedBySeed, HalfAsManySeeds, NeedsTrainer, PreparedBySeed, ThreeSplits

FEW = [*CURVE, "logger=csv", "callbacks=default", "datamodule.steps_per_epoch=3"]
PLAIN = ["optimizer=sgd_plain", "~optimizer.fused"]
SCHEDULE = ["scheduler=step", *(f"~scheduler.{key}" for key in ("every", "factor", "interval"))]
SCHEDULE += ["~scheduler.frequency"]
MEDDLES = [
    "+callbacks.meddles._target_=unlike_callbacks.Meddles",
    "optimizer=adam",
    "trainer.max_epochs=2",
]
LOTS = ["module._target_=unlike.HasLots", "datamodule._target_=unlike_data.ThreeSplits"]
DRAWN = "the optimiser or the schedule draws random numbers as it is made"
DRAWS = "a metric, a schedule or a layer draws random numbers"
HALVES = ["scheduler._target_=unlike.halves", "+scheduler.each=epoch"]


def assert_ends_as(made: Path, alone: Path) -> None:
    """Compares all numbers of the jobs of two sweeps."""
    assert len(jobs(made)) == len(jobs(alone)) >= 2
    for one, other in zip(jobs(made).values(), jobs(alone).values(), strict=True):
        pairs = zip(rows(one), rows(other), strict=True)
        assert all(numbers(a) == pytest.approx(numbers(b), rel=1e-5) for a, b in pairs)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            ["optimizer._target_=unlike.matrices", *PLAIN],
            "an optimiser with some of the parameters, or",
        ),
        (
            ["optimizer._target_=unlike.reverse", *PLAIN],
            "an optimiser with some of the parameters, or",
        ),
        (
            ["optimizer._target_=unlike.clipped", *PLAIN],
            "SGD has a step of its own, set on the object",
        ),
        (["module._target_=unlike.SetsLoss"], "SetsLoss has a compute_loss of its own, set on"),
        (
            ["module._target_=unlike.HasLoss", "+module.kind=Penalised"],
            "HasLoss: its loss looks at the weights",
        ),
        (
            ["module._target_=unlike.HasLoss", "+module.kind=CountsInBuffer"],
            "HasLoss: its loss changes a buffer in each step",
        ),
        (
            ["module._target_=unlike.WarmsUp", "+module.part=loss"],
            "WarmsUp: its network or loss goes by what its trainer says",
        ),
        (
            ["module._target_=unlike.WarmsUp", "+module.part=network"],
            "WarmsUp: its network or loss goes by what its trainer says",
        ),
        (
            [
                *("module._target_=tried.HasLoss", "+module.kind=CountsOthers"),
                *("datamodule.batch_size=30", "datamodule.folds=3"),
            ],
            "training changes a buffer of the loss",
        ),
        (["module._target_=unlike.Tied"], "Tied has layers that share weights"),
        (
            ["module._target_=unlike.LossOfAFunction"],
            "LossOfAFunction: its loss is no nn.Module",
        ),
        (["module._target_=unlike.HasHook"], "HasHook has hooks of its own"),
        (["module._target_=unlike.DrawsLoss"], "DrawsLoss gives other numbers in a stack"),
        (
            ["module._target_=unlike.HasLoss", "+module.kind=Noisy"],
            "HasLoss: vmap: called random operation",
        ),
        (
            ["module._target_=unlike.HasLoss", "+module.kind=SeesWeights", "init=zero"],
            "HasLoss: its loss looks at the weights",
        ),
        (["module._target_=unlike.Has", "+module.kind=Weighs"], "Has gives other numbers in a"),
        (
            ["init._target_=unlike.halved", "+init.freezes=false,true"],
            "CurveMLP is not the same network and loss in each job: what is trained of network.lin",
        ),
        (
            ["module._target_=unlike.Has", "+module.kind=OfTheBatch"],
            "Has: its predictions depend on the other samples of a batch",
        ),
        (
            ["module._target_=unlike.Has", "+module.kind=Skips"],
            "Has: each step draws random numbers",
        ),
        (
            ["module._target_=unlike.Has", "+module.kind=Counts"],
            "Counts keeps calls in an attribute",
        ),
        (
            [*SCHEDULE, "scheduler._target_=unlike.raises"],
            "a schedule changes weight_decay, which was 0",
        ),
        (
            [*SCHEDULE, "scheduler._target_=unlike.halves", "+scheduler.each=step,epoch"],
            "the jobs' schedules have other intervals",
        ),
        (
            ["datamodule._target_=unlike_data.DrawsAsItPrepares"],
            "DrawsAsItPrepares draws random numbers in prepare_data",
        ),
        (
            ["+callbacks.clips._target_=unlike_callbacks.Clips"],
            "callbacks.clips.on_train_batch_end wants every step",
        ),
        (
            ["+callbacks.adds._target_=unlike_callbacks.AddsNoise"],
            "a callback changes the data module or its samples",
        ),
        (
            [
                "module._target_=unlike.WeightedMLP",
                "+callbacks.anneals._target_=unlike_callbacks.AnnealsSome",
                "trainer.max_epochs=2",
            ],
            "a callback changes an attribute of a layer or a loss",
        ),
        (
            ["+callbacks.drops._target_=unlike_callbacks.DropsRate", "trainer.max_epochs=2"],
            "a callback changes a number of the optimiser",
        ),
        (
            ["datamodule._target_=unlike_data.GrowsByEpoch"],
            "GrowsByEpoch prepares inputs by what its trainer says",
        ),
        (
            ["datamodule._target_=unlike_data.GrowsElsewhere"],
            "GrowsElsewhere prepares inputs by what its trainer says",
        ),
        (
            ["+callbacks.halves._target_=unlike_callbacks.HalvesGradients"],
            "callbacks.halves: a stack does not call on_after_backward",
        ),
        (
            ["+callbacks.logs._target_=unlike_callbacks.LogsAtTheEnd"],
            "a callback logs train/one at another moment than an evaluation's end",
        ),
        (
            ["+callbacks.goes_on._target_=unlike_callbacks.Lengthens"],
            "a callback asks for trainer.fit_loop",
        ),
        (["+callbacks.stops._target_=unlike_callbacks.StopsOne"], "a callback stops a job"),
        (
            ["+callbacks.limits._target_=unlike_callbacks.Limits"],
            "a callback sets trainer.limit_val_batches",
        ),
        (
            ["+callbacks.asks._target_=unlike_callbacks.AsksForLoader"],
            "a callback asks for trainer.train_dataloader",
        ),
        (
            [*MEDDLES, "+callbacks.meddles.what=clears"],
            "a callback looks at the state of the optimiser",
        ),
        (
            [*MEDDLES, "+callbacks.meddles.what=asks"],
            "a callback looks at the state of the optimiser",
        ),
        (
            [*MEDDLES, "+callbacks.meddles.what=writes"],
            "a callback looks at the state of the optimiser",
        ),
        (
            [*MEDDLES, "+callbacks.meddles.what=counts"],
            "a callback looks at the state of the optimiser",
        ),
        (
            [*MEDDLES, "+callbacks.meddles.what=loss"],
            "a callback changes an attribute of a layer or a loss",
        ),
        ([*MEDDLES, "+callbacks.meddles.what=optimiser"], "a callback replaces the optimiser"),
        (
            [*MEDDLES, "+callbacks.meddles.what=sums"],
            "a callback changes an attribute of a layer or a loss",
        ),
        (
            [*MEDDLES, "+callbacks.meddles.what=evaluates"],
            "a callback changes an attribute of a layer or a loss",
        ),
        (
            [*MEDDLES, "+callbacks.meddles.what=maximises"],
            "training changes an option or the parameters of the optimiser",
        ),
        (
            [*MEDDLES, "+callbacks.meddles.what=reorders"],
            "training changes an option or the parameters of the optimiser",
        ),
        (
            ["+callbacks.back._target_=unlike_callbacks.PutsBack", "+callbacks.back.what=rate"],
            "a callback changes a number of the optimiser",
        ),
        (
            [
                "+callbacks.back._target_=unlike_callbacks.PutsBack",
                "+callbacks.back.what=weights",
                "datamodule._target_=unlike_data.ThreeSplits",
            ],
            "a callback freezes or replaces weights",
        ),
        (
            ["+callbacks.sets._target_=unlike_callbacks.SetsUp", "+callbacks.sets.what=optimizer"],
            "a callback changes an attribute of a layer or a loss, or what its module has",
        ),
        (
            ["+callbacks.sets._target_=unlike_callbacks.SetsUp", "+callbacks.sets.what=batch_size"],
            "a callback changes the data module or its samples",
        ),
        (
            ["+callbacks.looks._target_=unlike_callbacks.LooksAtBatch"],
            "a callback looks at a batch",
        ),
        ([*SCHEDULE, "scheduler._target_=unlike.noisy"], DRAWS),
        ([*LOTS, "+module.adds=false", "+module.splits=train"], DRAWS),
        ([*LOTS, "+module.adds=true", "+module.splits=val"], DRAWS),
        ([*LOTS, "+module.adds=false", "+module.splits=test"], DRAWS),
        (
            [
                "module._target_=unlike.HasLeast",
                "datamodule._target_=unlike_data.ThreeSplits",
                "trainer.max_epochs=2",
            ],
            "val_metrics.least keeps more than its states",
        ),
        (
            ["+callbacks.hooks._target_=unlike_callbacks.HooksAll"],
            "a callback registers a hook for all modules or all optimisers",
        ),
        (["+callbacks.draws._target_=unlike_callbacks.Draws"], "a callback draws random numbers"),
        (
            ["+callbacks.tallies._target_=unlike_callbacks.Tallies"],
            "training changes unlike_callbacks.Tallies.epochs, which",
        ),
        (
            [
                "+callbacks.logs._target_=unlike_callbacks.LogsOtherwise",
                "datamodule._target_=unlike_data.ThreeSplits",
            ],
            "a callback logs val/one with logger=False",
        ),
        (
            ["+callbacks.sets._target_=unlike_callbacks.SetsRate"],
            "a callback changes a number of the optimiser",
        ),
        (
            ["+callbacks.sets._target_=unlike_callbacks.SetsRateAtFirst", *SCHEDULE, *HALVES],
            "a callback changes a number of the optimiser",
        ),
        (
            ["+callbacks.freezes._target_=unlike_callbacks.Freezes"],
            "a callback freezes or replaces weights",
        ),
        (
            [
                "module._target_=unlike.WeightedMLP",
                "+callbacks.anneals._target_=unlike_callbacks.Anneals",
            ],
            "a callback changes an attribute of a layer or a loss",
        ),
        (
            ["+callbacks.replaces._target_=unlike_callbacks.Replaces"],
            "a callback freezes or replaces weights",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_alike_runs_one_by_one_and_ends_as_alone(
    words: list[str], reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    own = [*FEW, *words, "seed=0,1"]
    made = sweep(tmp_path / "together", *own)
    assert f"one by one: {reason}" in caplog.text
    assert set(statuses(made).values()) == {"finished"}
    if "2 jobs together" in caplog.text:  # to rounding: with a checkpoint by then, a job goes on
        assert_ends_as(made, sweep(tmp_path / "alone", *own, together=False))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            ["module._target_=counting.Shrinks"],
            "building a job changes counting.Shrinks.made",
        ),
        (
            ["datamodule._target_=counting.LoadsOnce"],
            "building a job changes counting.loaded",
        ),
        (
            ["optimizer._target_=counting.slower"],
            "building a job changes counting.optimizers",
        ),
        (
            [*SCHEDULE, "scheduler._target_=counting.falls"],
            "training changes counting.Falls.made",
        ),
        (["optimizer._target_=counting.drawn"], DRAWN),
        ([*SCHEDULE, "scheduler._target_=counting.falls_by_chance"], DRAWN),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_what_building_a_job_changes_or_draws_leaves_them_as_alone(
    words: list[str], reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    made = sweep(tmp_path / "together", *FEW, *words, "seed=1,2")
    assert f"2 of 2 jobs one by one: {reason}" in caplog.text
    for name, job in jobs(made).items():
        log_dir = tmp_path / name[-8:]
        run_train(*FEW, *words, name[:-9], f"paths.log_dir={log_dir}", draws=False)
        assert rows(job) == rows(only_run(log_dir))


@pytest.mark.parametrize("chunk", [[], ["hydra.launcher.chunk=2"]], ids=["whole", "chunks"])
def test_jobs_of_one_group_may_have_init_of_several_files(
    chunk: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: only the first job's file was looked at and put back."""
    caplog.set_level("INFO")
    words = [*FEW, "init=he", "init.gain=0.5"]
    inits = "init._target_=project.init.he,counting.wider"
    made = sweep(tmp_path / "together", *words, inits, "seed=1,2", *chunk)
    assert "one by one: building a job changes counting.filled" in caplog.text
    ours = "init._target_=counting.wider"
    for seed in (1, 2):
        log_dir = tmp_path / str(seed)
        run_train(*words, ours, f"seed={seed}", f"paths.log_dir={log_dir}", draws=False)
        (job,) = (own for name, own in jobs(made).items() if "wider" in name and f"={seed}" in name)
        assert rows(job) == rows(only_run(log_dir))


BY_SEED = ["datamodule._target_=unlike_data.OtherBySeed", "seed=0,2,1"]
BY_RATE = [*PLAIN, "optimizer._target_=unlike.by_rate", "optimizer.lr=0.01,0.1"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([*BY_RATE, "+optimizer.what=class"], "the jobs' optimisers are of other classes, or"),
        ([*BY_RATE, "+optimizer.what=momentum"], "optimizer.nesterov=True"),
        ([*BY_RATE, "+optimizer.what=maximize"], "optimizer.maximize=True"),
        ([*BY_RATE, "+optimizer.what=centered"], "the jobs' optimisers are of other classes, or"),
        ([*BY_RATE, "+optimizer.what=groups"], "an optimiser of several groups of parameters"),
        ([*BY_SEED, "+datamodule.what=splits"], "OtherBySeed has other splits, shapes or classes"),
        ([*BY_SEED, "+datamodule.what=sizes"], "OtherBySeed has other splits, shapes or classes"),
        ([*BY_SEED, "+datamodule.what=types"], "OtherBySeed has other splits, shapes or classes"),
        ([*BY_SEED, "+datamodule.what=classes"], "OtherBySeed has other splits, shapes or class"),
        (
            [
                "datamodule._target_=unlike_data.PreparedBySeed",
                "datamodule.batch_size=20",
                "seed=0,1",
            ],
            "PreparedBySeed prepares the same inputs otherwise for each job",
        ),
        (
            [
                "datamodule._target_=unlike_data.ClampedBySeed",
                "datamodule.batch_size=20",
                "seed=0,1",
            ],
            "ClampedBySeed prepares the same inputs otherwise for each job",
        ),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_what_some_jobs_have_otherwise_is_found_in_any_job(
    words: list[str], reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A try of the first jobs finds nothing odd here."""
    caplog.set_level("INFO")
    made = sweep(tmp_path, *FEW, *words)
    number = len(jobs(made))
    assert f"{number} of {number} jobs one by one: {reason}" in caplog.text
    assert "jobs together" not in caplog.text
    assert set(statuses(made).values()) == {"finished"}


def test_who_logs_by_hand_finds_the_loggers_and_the_folder_of_the_job(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    own = [
        *FEW,
        "+callbacks.logs._target_=unlike_callbacks.LogsByHand",
        "seed=0,1",
        "trainer.max_epochs=2",
    ]
    own.append("datamodule._target_=unlike_data.ThreeSplits")
    made = sweep(tmp_path / "together", *own)
    assert "2 jobs together" in caplog.text
    assert "one by one" not in caplog.text
    alone = sweep(tmp_path / "alone", *own, together=False)
    assert_ends_as(made, alone)
    for run in (*jobs(made).values(), *jobs(alone).values()):
        assert [row["by_hand"] for row in rows(run) if row["by_hand"]] == ["0.5", "1.5"]
        assert (run / "said.txt").read_text() == "fittest"


def test_callbacks_see_the_gradients_of_the_last_step_as_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    own = [
        *FEW,
        "+callbacks.logs._target_=unlike_callbacks.LogsGradients",
        "seed=0,1",
        "trainer.max_epochs=2",
    ]
    made = sweep(tmp_path / "together", *own)
    assert "2 jobs together" in caplog.text
    assert "one by one" not in caplog.text
    assert_ends_as(made, sweep(tmp_path / "alone", *own, together=False))
    for run in jobs(made).values():
        assert [bool(row["gradients"]) for row in rows(run)].count(True) == 3


@pytest.mark.parametrize(
    ("kind", "own"), [("Has", "Scales"), ("HasLoss", "NoNumber"), ("Has", "bounded")]
)
def test_odd_weights_and_a_loss_that_is_no_number_hinder_nothing(
    kind: str, own: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as a weight without dimensions, and one that PyTorch computes from others."""
    caplog.set_level("INFO")
    words = [*FEW, f"module._target_=unlike.{kind}", f"+module.kind={own}", "seed=0,1"]
    made = sweep(tmp_path / "together", *words)
    assert "2 jobs together" in caplog.text
    assert "one by one" not in caplog.text
    alone = sweep(tmp_path / "alone", *words, together=False)
    assert statuses(made) == statuses(alone)
    if kind == "Has":
        assert_ends_as(made, alone)


def test_what_asks_its_trainer_is_told_though_there_is_none() -> None:
    data = NeedsTrainer(samples=5, batch_size=5, seed=0)
    with asked_of_trainers() as asked:
        eligible.training_batch(data)
    assert asked
    data.trainer = None
    with pytest.raises(AttributeError):
        data.prepare_inputs(data.splits["train"].inputs)


def test_functions_are_alike_that_keep_the_same() -> None:
    def adds(number: float, of: nn.Module | None = None) -> nn.Module:
        layer: Any = nn.Identity()
        layer.adds = lambda x, factor=2.0: factor * (x + number) + (0 if of is None else layer(x))
        return layer

    def seen(layer: nn.Module) -> Any:
        return attributes(layer, nn.Sequential(layer))

    one, same, other = adds(1.0), adds(1.0), adds(2.0)
    assert seen(one) == seen(same) != seen(other)
    assert seen(adds(1.0, nn.Linear(1, 1))) != seen(adds(1.0, nn.Linear(1, 1)))

    def again(depth: int) -> int:
        return again(depth - 1) if depth else 0

    vars(one)["adds"] = again
    assert seen(one) == seen(one) != seen(same)


def test_a_gradient_that_is_0_but_for_rounding_hinders_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    own = ["module._target_=unlike.HasLoss", "+module.kind=Centred", "seed=0,1"]
    sweep(tmp_path, *FEW, *own)
    assert "2 jobs together" in caplog.text


def test_a_loss_that_works_in_place_changes_no_target_of_the_next_step(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened where one batch has all samples: the targets became smaller and smaller."""
    caplog.set_level("INFO")
    own = [*FEW, "module._target_=unlike.HasLoss", "+module.kind=Shrinks", "seed=0,1"]
    own += ["datamodule.batch_size=1000"]
    made = sweep(tmp_path / "together", *own)
    assert "2 jobs together" in caplog.text
    alone = sweep(tmp_path / "alone", *own, together=False)
    single = sweep(tmp_path / "single", *own, "trainer.steps_per_call=1", together=False)
    assert_ends_as(made, alone)
    for one, step in zip(jobs(alone).values(), jobs(single).values(), strict=True):
        assert (one / "metrics.csv").read_text() == (step / "metrics.csv").read_text()


@pytest.mark.parametrize("words", [[], ["datamodule.seed=0"]], ids=["each seed", "one seed"])
def test_data_that_draw_as_they_load_draw_the_same_numbers_as_alone(
    words: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    own = [*FEW, "datamodule._target_=unlike_data.DrawsAsItLoads", "seed=0,1", *words]
    made = sweep(tmp_path / "together", *own)
    assert "2 jobs together" in caplog.text
    assert_ends_as(made, sweep(tmp_path / "alone", *own, together=False))


def test_a_data_module_may_move_a_tensor_to_where_the_inputs_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    sweep(tmp_path, *FEW, "datamodule._target_=unlike_data.MovesItsFactor", "seed=0,1")
    assert "2 jobs together" in caplog.text
    assert "one by one" not in caplog.text


def test_the_data_of_each_seed_are_compared() -> None:
    data = [HalfAsManySeeds(seed=seed, samples=5, batch_size=5, noise=0.0) for seed in range(4)]
    assert not together._share(data, [0, 1, 2, 3])
    first, same, *others = [own.splits["train"].targets for own in data]
    assert first.equal(same)
    assert not any(first.equal(other) for other in others)


def test_a_stack_calls_the_hooks_that_it_says_as_a_run_alone_does(tmp_path: Path) -> None:
    words = [*FEW, "datamodule._target_=unlike_data.ThreeSplits", "seed=0,1"]
    words.append("+callbacks.notes._target_=unlike_callbacks.Notes")
    for is_stacked in (True, False):
        called = noting()
        sweep(tmp_path / str(is_stacked), *words, together=is_stacked)
        assert called == {*CALLED}


@pytest.mark.parametrize("fails", [False, True])
def test_jobs_that_cannot_go_on_together_begin_anew(fails: bool, tmp_path: Path) -> None:
    """As it happened: they went on from checkpoints without the attributes of callbacks."""
    words = [*FEW, "seed=0,1", "trainer.max_epochs=4", "init=zero"]
    words += ["+callbacks.tires._target_=unlike_callbacks.Tires", f"+callbacks.tires.fails={fails}"]
    left = []
    for is_stacked in (True, False):
        made = jobs(sweep(tmp_path / str(is_stacked), *words, together=is_stacked))
        names = "metrics.csv", "epochs.txt"
        left.append([[(run / name).read_text() for name in names] for run in made.values()])
        for run in made.values():
            assert "not trained: " in (run / "train.log").read_text()
            assert summary(run)["steps"] == 6
    assert left[0] == left[1]


def test_after_an_error_jobs_go_on_from_their_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too little memory in the test, say, must not cost a night."""

    def fails(self: StackedModule, *batch: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(StackedModule, "test_step", fails)
    words = ["experiment=lenet", "datamodule=digits", "seed=0,1", "trainer.max_epochs=1"]
    words += ["datamodule.steps_per_epoch=5", "trainer.limit_test_batches=1"]
    for run in jobs(sweep(tmp_path, *words)).values():
        assert (summary(run)["status"], summary(run)["steps"]) == ("finished", 5)
        assert "epoch 1/1:" not in (run / "train.log").read_text()  # it is not trained again


def test_each_job_says_which_steps_its_callback_watches(tmp_path: Path) -> None:
    """As it happened: the first job's callback said it for all."""
    words = [*FEW, "seed=1,0,3", "datamodule.steps_per_epoch=60", "trainer.log_every_n_steps=1"]
    words += ["+callbacks.mine._target_=unlike_callbacks.Follows", "+callbacks.mine.bound=0.05"]
    words += ["callbacks.checkpoints.monitor=train/loss"]  # which best is told, too
    below = []
    for is_stacked in (True, False):
        made = sweep(tmp_path / str(is_stacked), *words, together=is_stacked)
        below.append({path.parent.name: path.read_text() for path in made.glob("*/below.txt")})
    assert below[0] == below[1]
    assert len(set(below[0].values())) == 3


def test_what_prepares_inputs_by_more_than_attributes_is_known_by_all_samples_only() -> None:
    options: dict[str, Any] = {"samples": 20, "batch_size": 5, "seed": 1}
    known = [alike._knowledge(ClampedBySeed(**{**options, "seed": seed})) for seed in (0, 1, 3)]
    assert None not in known
    assert known[0] != known[1] == known[2]
    assert alike._knowledge(PreparedBySeed(**options)) is None
    first, same, other = (ClampedBySeed(**{**options, "seed": seed}) for seed in (1, 3, 0))
    assert alike._prepare_alike([same], first, is_known=False)
    assert alike._prepare_alike([same, other], first, is_known=True)  # the ends do not show it
    assert not alike._prepare_alike([same, other], first, is_known=False)


@pytest.fixture
def members() -> list[Any]:
    """Returns two jobs, as far as a glance looks at them."""
    made = []
    for seed in range(2):
        module = nn.Module()
        module.network = nn.Sequential(nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 1))
        module.loss = nn.CrossEntropyLoss(weight=torch.ones(3))
        single = torch.optim.SGD(module.network.parameters(), lr=0.1)
        made.append(
            SimpleNamespace(
                module=module,
                optimizer=single,
                trainer=SimpleNamespace(optimizers=[single]),
                data=ThreeSplits(samples=5, batch_size=5, seed=seed),
            )
        )
    return made


def of_layers(names: str) -> nn.Module:
    return nn.ModuleDict({name: nn.Linear(1, 1) for name in names})


def of_weights(names: str) -> nn.Module:
    made = nn.Module()
    for name in names:
        made.register_parameter(name, nn.Parameter(torch.ones(1)))
    return made


@pytest.mark.parametrize(
    ("make", "differs"),
    [(of_layers, "the order of its layers"), (of_weights, "what is trained of network")],
)
def test_a_network_with_its_parts_in_another_order_is_another_one(
    make: Callable[[str], nn.Module], differs: str, members: list[Any]
) -> None:
    """As it happened: it went over them, and together all jobs had the order of the first."""
    found = []
    for names in ("ab", "ba"):
        for member, own in zip(members, ("ab", names), strict=True):
            network = member.module.network = make(own)
            member.optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        found.append(alike.why_unlike(members))
    text = f"Module is not the same network and loss in each job: {differs} differs"
    assert found == [None, text]


def replace_weights(job: Any) -> None:
    first = job.module.network[0]
    first.weight.data = first.weight.data.clone()


def replace_weight(job: Any) -> None:
    job.module.network[0].weight = nn.Parameter(torch.zeros(3, 1))


CHANGES: dict[str, Callable[[Any], object]] = {
    "rate": lambda job: job.optimizer.param_groups[0].update(lr=0.01),
    "group": lambda job: job.optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))]}),
    "order": lambda job: job.optimizer.param_groups[0]["params"].reverse(),
    "optimiser": lambda job: job.trainer.optimizers.append(job.optimizer),
    "frozen": lambda job: job.module.network[2].bias.requires_grad_(False),
    "weights": replace_weights,
    "weight": replace_weight,
    "layer": lambda job: setattr(job.module.network, "1", nn.ReLU()),
    "loss": lambda job: setattr(job.module, "loss", nn.MSELoss()),
    "smoothing": lambda job: setattr(job.module.loss, "label_smoothing", 0.1),
    "buffer": lambda job: job.module.loss.weight.mul_(2),
    "hook": lambda job: job.module.network[1].register_forward_hook(print),
    "mode": lambda job: job.module.network.eval(),
    "size": lambda job: setattr(job.data, "batch_size", 3),
    "samples": lambda job: job.data.splits["train"].targets.add_(1),
    "split": lambda job: job.data.splits.pop("val"),
}


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_of_any_job_is_seen(
    change: Callable[[Any], object], number: int, members: list[Any]
) -> None:
    _ = [member.data.splits for member in members]  # are loaded where somebody asks for them
    glance = Glance(members)
    assert not glance.has_changed()
    change(members[number])
    assert glance.has_changed()


def test_what_changes_between_hooks_is_no_change_of_a_hook(members: list[Any]) -> None:
    glance = Glance(members)
    for mode in (False, True):
        for member in members:
            member.module.train(mode)
            member.optimizer.param_groups[0]["lr"] *= 0.5
            member.module.network[0].weight.data.mul_(0.9)  # as a step does, or a callback may
        glance.note()
        assert not glance.has_changed()

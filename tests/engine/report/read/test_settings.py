"""The keys that tell runs apart."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.config.nested import dotted
from engine.errors import UserError
from engine.report.read.collect import Run
from engine.report.read.settings import (
    chosen,
    comparable,
    differing,
    distinguishing,
    short_names,
    varies,
)

OPTIMIZERS = {
    "SGD": {"_target_": "torch.optim.SGD", "lr": 0.01, "momentum": 0.9},
    "Adam": {"_target_": "torch.optim.Adam", "lr": 0.001},
}


def a_run(optimizer: str = "SGD", *, seed: int = 0, lr: float | None = None, **changes: Any) -> Run:
    made = {**OPTIMIZERS[optimizer], **({} if lr is None else {"lr": lr})}
    config = {
        "seed": seed,
        "module": {"_target_": "project.modules.LeNet5", "optimizer": made, "init": {"seed": seed}},
        "optimizer": made,
        "init": {"seed": seed},
        "name": f"name{seed}",
        "paths": {"data_dir": f"/data{seed}"},
        "trainer": {"accelerator": f"kind{seed}"},
        "logger": {"csv": {"purge_step": seed}},
        "callbacks": {"progress_bar": {"refresh_seconds": seed}},
        "datamodule": {"cache_dir": f"/c{seed}", "data_dir": f"/data{seed}/digits", "fold": seed},
    }
    flat = dotted(config) | {key.replace("__", "."): value for key, value in changes.items()}
    return Run(Path(), "", flat, "finished", {})


def test_seed_fold_and_what_cannot_change_a_result_define_no_group() -> None:
    assert differing([a_run(seed=0), a_run(seed=1), a_run(seed=2)]) == {}


def test_data_elsewhere_differ_beyond_the_project_s_data_folder_only() -> None:
    other = a_run(datamodule__data_dir="/data0/other")
    assert differing([a_run(), other]) == {"datamodule.data_dir": ["digits", "other"]}


def test_a_choice_stands_for_its_keys() -> None:
    assert differing([a_run("SGD"), a_run("Adam")]) == {"optimizer": ["SGD", "Adam"]}


def test_a_choice_of_nothing_is_shown_once() -> None:
    crop = "augment.flip_crop._target_"
    changed = a_run(**{crop: "a.Crop", f"module.{crop}": "a.Crop"})
    plain = a_run(augment=None, module__augment=None)
    assert differing([changed, plain]) == {
        "augment": ["–", "null"],
        "augment.flip_crop": ["Crop", "–"],
    }


def test_numbers_that_differ_within_a_choice_are_shown_beside_it() -> None:
    runs = [a_run("SGD", lr=0.1), a_run("SGD", lr=0.2), a_run("Adam")]
    assert differing(runs) == {
        "optimizer": ["SGD", "SGD", "Adam"],
        "optimizer.lr": [0.1, 0.2, 0.001],
    }


def test_another_order_of_transforms_is_another_setting() -> None:
    """As it happened: jobs of unlike results were one group, and averaged."""
    flip, erase = {"augment.flip.p": 0.5}, {"augment.erase.size": 3}
    base = a_run()
    one, other, more = (
        replace(base, config={**base.config, **order})
        for order in ({**flip, **erase}, {**erase, **flip}, {**flip, "augment.more": None})
    )
    assert differing([one, one]) == {}
    assert differing([one, other]) == {"augment": ["flip, erase", "erase, flip"]}
    assert "augment" not in differing([one, more])
    asked = chosen([one, other, base], ["augment"])
    assert asked == {"augment": ["flip, erase", "erase, flip", "–"]}


def test_a_key_that_a_run_lacks() -> None:
    plain = {key: value for key, value in a_run().config.items() if "momentum" not in key}
    runs = [a_run(), Run(Path(), "", plain, "finished", {})]
    assert differing(runs) == {"optimizer.momentum": [0.9, "–"]}


def test_values_that_python_takes_for_equal_and_that_it_cannot_compare() -> None:
    values: list[Any] = [True, 1, None, [1, 2], "1", float("nan"), float("nan")]
    assert differing([a_run(x__y=value) for value in values]) == {
        "x.y": ["true", 1, "null", "[1, 2]", '"1"', "NaN", "NaN"]
    }


def test_a_whole_number_and_its_float_are_other_settings() -> None:
    """As it happened: one batch and all batches were one group, with their mean."""
    runs = [a_run(trainer__limit_train_batches=value) for value in (1, 1.0, 0.5)]
    assert differing(runs) == {"trainer.limit_train_batches": [1, "1.0", 0.5]}


def test_a_seed_that_is_not_the_run_s_is_a_setting() -> None:
    fixed = [a_run(seed=0, init__seed=7), a_run(seed=7, init__seed=7), a_run(seed=1, init__seed=7)]
    assert differing(fixed) == {}  # the same in all, though once also the run's
    runs = [a_run(seed=0, init__seed=5), a_run(seed=0, init__seed=6), a_run(seed=1, init__seed=5)]
    assert differing(runs) == {"init.seed": [5, 6, 5]}


def test_a_seed_that_the_command_line_varies_beside_the_run_s_is_a_setting() -> None:
    """As it happened: runs where both are the same made a group of their own."""
    runs = [a_run(seed=a, init__seed=b) for a in range(2) for b in range(2)]
    said = [replace(run, overrides=(f"init.seed={run.config['init.seed']}",)) for run in runs]
    assert differing(said) == {"init.seed": [0, 1, 0, 1]}
    by_hand = [replace(a_run(seed=n), overrides=(f"init.seed={n}",)) for n in range(3)]
    assert differing(by_hand) == {}  # both were said, and are one
    followed = [a_run(seed=0), a_run(seed=1)]
    assert differing([replace(run, overrides=("init.seed=${seed}",)) for run in followed]) == {}


def test_classes_of_one_name_in_other_modules_are_other_settings() -> None:
    """As it happened: torch's SGD and one of a user's were one group."""
    own = {"optimizer._target_": "project.optim.SGD"}
    mine = a_run(**own, **{f"module.{key}": value for key, value in own.items()})
    assert differing([a_run(), mine]) == {"optimizer": ["torch.optim.SGD", "project.optim.SGD"]}
    assert differing([a_run("Adam"), mine]) == {"optimizer": ["Adam", "SGD"]}


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        # As it happened: the report said `apply`, and the sweep's table `gu`.
        (["init=gu", "init=orth"], ["gu", "orth"]),
        (["init=gu", ""], ["gu", "orthogonal"]),
        (["", ""], ["apply", "orthogonal"]),
        (["init=gu", "init=orth", "init=mine"], ["apply", "orth", "apply"]),  # two words for one
        (["init=gu", "init=orth", ""], ["apply", "orth", "apply"]),
        (["init=gu", "init=gu"], ["apply", "orthogonal"]),  # one word for two
        (["init=orthogonal", ""], ["apply", "orthogonal"]),  # which is the other's name
        (["init=gu init._target_=project.h_init.apply", "init=orth"], ["apply", "orth"]),
        (["init=${its}", "init=orth"], ["apply", "orth"]),
        (["optimizer=mine init=gu", "optimizer=other init=orth"], ["gu", "orth"]),
    ],
)
def test_a_function_is_called_as_the_command_line_chose_it(
    words: list[str], shown: list[str]
) -> None:
    targets = ["project.h_init.apply", "project.init.orthogonal", "project.h_init.apply"]
    runs = [
        replace(a_run(**{"init._target_": target}), overrides=tuple(own.split()))
        for target, own in zip(targets, words, strict=False)
    ]
    assert differing(runs) == chosen(runs, ["init"]) == {"init": shown}


def test_a_choice_that_is_null_in_some_runs_is_called_by_its_word_too() -> None:
    words = ["scheduler=none", "scheduler=cosine", "scheduler=step"]
    nodes: list[dict[str, Any]] = [
        {"scheduler": None},
        {"scheduler._target_": "engine.schedules.cosine"},
        {"scheduler._target_": "engine.schedules.step"},
    ]
    pairs = zip(nodes, words, strict=True)
    runs = [replace(a_run(**node), overrides=(word,)) for node, word in pairs]
    assert differing(runs) == {"scheduler": ["none", "cosine", "step"]}
    silent = [replace(run, overrides=()) for run in runs]
    assert differing(silent) == {"scheduler": ["null", "cosine", "step"]}


def test_runs_that_were_made_longer_are_grouped_over_their_seeds() -> None:
    runs = [a_run(seed=seed, parent__hash=str(seed), parent__step=20) for seed in range(3)]
    assert differing(runs) == {}


def test_group_by_takes_short_and_dotted_names_and_choices() -> None:
    runs = [a_run("SGD", lr=0.1, seed=3), a_run("Adam", seed=4)]
    assert chosen(runs, ["lr"]) == {"optimizer.lr": [0.1, 0.001]}
    assert chosen(runs, ["optimizer", "seed"]) == {"optimizer": ["SGD", "Adam"], "seed": [3, 4]}
    assert chosen(runs, ["datamodule.fold"]) == {"datamodule.fold": [3, 4]}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("optimiser", "no such key. Did you mean optimizer? Those that differ: optimizer."),
        ("learning_rate", "no such key. Those that differ: optimizer."),
        ("data_dir", "which of paths.data_dir, datamodule.data_dir?"),
    ],
)
def test_group_by_a_key_that_is_none_or_many(name: str, says: str) -> None:
    with pytest.raises(UserError) as error:
        chosen([a_run("SGD"), a_run("Adam")], [name])
    assert str(error.value) == f"--group-by {name}: {says}"


def test_short_names() -> None:
    keys = ["optimizer", "optimizer.lr", "init.gain", "module.gain", "a.b.c", "x.b.c", "seed"]
    assert list(short_names(keys).values()) == [
        "optimizer",
        "lr",
        "init.gain",
        "module.gain",
        "a.b.c",
        "x.b.c",
        "seed",
    ]


def test_keys_that_tell_groups_apart() -> None:
    columns = {
        "module": ["a", "a", "b", "b"],
        "epochs": [1, 1, 2, 2],
        "lr": [1, 2, 1, 2],
        "both": [1, 2, 3, 4],  # by both: nobody can tell from what was drawn by itself
        "same": [1, 1, 1, 1],
    }
    assert distinguishing(columns) == ["module", "lr", "both"]
    assert distinguishing({}) == []


def test_a_word_that_reads_like_a_value_is_in_quotes_and_no_other_is(tmp_path: Path) -> None:
    """As it happened: runs with null and with the word "null" were one group."""
    values: list[Any] = [None, "null", True, "true", "True", [1], "[1]", 1, "1", 1.5, "1.5"]
    values += [{}, "{}", "a b", ""]
    configs = [{"module.note": value} for value in values]
    shown = [comparable(config, "module.note") for config in configs]
    assert shown == [
        *("null", '"null"', "true", '"true"', "True", "[1]", '"[1]"', 1, '"1"', 1.5, '"1.5"'),
        *("{}", '"{}"', "a b", '""'),
    ]
    assert varies(configs[:2], "module.note")


def test_a_word_that_would_break_a_table_is_in_quotes() -> None:
    values = ["a\nb", "\x1b[31mred", "a\u2028b", ["a\x85b"], "naïve 学"]
    shown = [comparable({"module.note": value}, "module.note") for value in values]
    assert shown == ['"a\\nb"', '"\\u001b[31mred"', '"a\\u2028b"', '["a\\u0085b"]', "naïve 学"]

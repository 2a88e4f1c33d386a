"""Where a search looks, against Optuna's own distributions."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from engine.config.resolved import Config
from engine.errors import UserError
from engine.search import space

CONFIG = Config(
    {
        "lr": 0.1,
        "hidden": 10,
        "fused": True,
        "scheme": "he",
        "optimizer": {"_target_": "torch.optim.SGD", "weight_decay": 0},
        "trainer": {"_target_": "engine.BlockTrainer", "limit_train_batches": 5},
        "module": {"_target_": "torch.nn.Linear", "in_features": 3},
    }
)
SPACES: dict[str, BaseDistribution] = {
    "lr=interval(0.1,0.5)": FloatDistribution(0.1, 0.5),
    "lr=interval(1,5)": FloatDistribution(1.0, 5.0),  # for the key's value is no whole number
    "lr=tag(log,interval(0.001,1))": FloatDistribution(0.001, 1.0, log=True),
    "lr=range(0.1,0.5,0.1)": FloatDistribution(0.1, 0.4, step=0.1),
    "hidden=int(interval(5,50))": IntDistribution(5, 50),
    "hidden=float(interval(0,1))": FloatDistribution(0.0, 1.0),
    "hidden=tag(log,float(interval(5,50)))": FloatDistribution(5.0, 50.0, log=True),
    "hidden=tag(log,int(interval(5,50)))": IntDistribution(5, 50, log=True),
    "other=int(interval(5,50))": IntDistribution(5, 50),
    "other=interval(5,50)": FloatDistribution(5.0, 50.0),
    "other=int(interval(0.5,3.7))": IntDistribution(0, 3),  # as Hydra makes whole numbers
    # As it happened: 0 stood for 0.0, and was the only value that was tried.
    "optimizer.weight_decay=interval(0,1)": FloatDistribution(0.0, 1.0),
    "trainer.limit_train_batches=interval(2,10)": IntDistribution(2, 10),  # 1.0 is all of them
    "module.in_features=interval(2,8)": IntDistribution(2, 8),
    "module.in_features=tag(log,interval(2,8))": IntDistribution(2, 8, log=True),
    "hidden=interval(0.2,0.8)": FloatDistribution(0.2, 0.8),
    "hidden=tag(log,interval(0.5,8))": FloatDistribution(0.5, 8.0, log=True),
    "lr=range(0,1,0.3)": FloatDistribution(0.0, 0.9, step=0.3),
    "lr=range(0.5,0,-0.1)": FloatDistribution(0.1, 0.5, step=0.1),
    "hidden=range(5,50)": IntDistribution(5, 49),
    "hidden=range(5,50,10)": IntDistribution(5, 45, step=10),
    "hidden=range(9,0,-4)": IntDistribution(1, 9, step=4),
    "hidden=tag(log,range(1,9))": IntDistribution(1, 8, log=True),
    "lr=0.1,0.2": CategoricalDistribution([0.1, 0.2]),
    "hidden=shuffle(3,1,2)": CategoricalDistribution([3, 1, 2]),  # the same for every process
    "lr=0.3,0.30,3e-1,0.1": CategoricalDistribution([0.3, 0.1]),
    "fused=true,false": CategoricalDistribution([True, False]),
    "scheme=choice(he,zero)": CategoricalDistribution(["he", "zero"]),
    "scheme=null,'b c',[1,2]": CategoricalDistribution(["null", "'b c'", "[1,2]"]),
}
REFUSED = {
    "lr=interval(1,0.1)": "the first bound must not be above the second.",
    "lr=interval(0,inf)": "the bounds must be finite numbers.",
    # As it happened: only 0 and 1 were tried.
    "hidden=interval(0,1)": (
        "of whole numbers, or of all? Say int(interval(0,1)) or float(interval(0,1))."
    ),
    "lr=interval(nan,1)": "the bounds must be finite numbers.",
    "lr=tag(log,interval(0,1))": "a log scale must start above 0.",
    "lr=tag(lgo,interval(1,2))": "no such tag: lgo. Did you mean log? The only one is log.",
    "lr=tag(log,choice(1,2))": "log is for an interval or a range of numbers.",
    "lr=range(5,5)": "a range without a number.",
    "hidden=1,2,1.0": (
        "1 and 1.0 are equal numbers, which Optuna takes for one choice; try them in a sweep."
    ),
    "a=tag(log,range(0,5))": "a range on a log scale is of whole numbers from 1 in steps of 1.",
}


def distribution(word: str) -> BaseDistribution:
    (override,) = OverridesParser.create().parse_overrides([word])
    return space.distribution(override, CONFIG)


@pytest.mark.parametrize(("word", "expected"), SPACES.items(), ids=list(SPACES))
def test_distribution(word: str, expected: BaseDistribution) -> None:
    assert distribution(word) == expected


@pytest.mark.parametrize(("word", "says"), REFUSED.items(), ids=list(REFUSED))
def test_refused(word: str, says: str) -> None:
    with pytest.raises(UserError) as error:
        distribution(word)
    assert str(error.value) == f"{word}: {says}"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("hidden=range(5,50,10)", [5, 15, 25, 35, 45]),
        ("module.in_features=interval(1,3)", [1, 2, 3]),
        ("lr=range(0.1,0.6,0.1)", [0.1, 0.2, 0.3, 0.4, 0.5]),
        ("scheme=he,zero", ["he", "zero"]),
    ],
)
def test_values(word: str, expected: list[object]) -> None:
    assert space.values("key", distribution(word)) == expected


def test_a_grid_of_an_interval_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"^lr=interval\(0.1,0.5\): a grid needs values, such as 1,2.$"
    ):
        space.values("lr", FloatDistribution(0.1, 0.5))


def test_ends_are_the_bounds_or_all_choices() -> None:
    words = ["lr=tag(log,interval(0.001,1))", "hidden=range(5,50,10)", "scheme=he,zero,randn"]
    ends = [space.ends(distribution(word)) for word in words]
    assert ends == [[0.001, 1.0], [5, 45], ["he", "zero", "randn"]]


def test_size_is_the_number_of_combinations() -> None:
    assert (
        space.size({"a": IntDistribution(5, 45, step=10), "b": CategoricalDistribution(["x", "y"])})
        == 10
    )


def test_words_are_what_was_typed() -> None:
    params = {"lr": 1e-05, "hidden": 5, "fused": True, "scheme": "'b c'", "other": "null"}
    assert space.words(params) == [
        "lr=1e-05",
        "hidden=5",
        "fused=true",
        "scheme='b c'",
        "other=null",
    ]
    long = "x" * 1000  # a message would cut it
    assert space.words({"name": long}) == [f"name={long}"]
    parsed = OverridesParser.create().parse_overrides(space.words(params))
    assert [override.value() for override in parsed] == [1e-05, 5, True, "b c", None]

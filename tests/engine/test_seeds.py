"""The derivation of seeds, against SplitMix64 in NumPy."""

import random
import zlib
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from engine import seeds
from engine.seeds import derive, generator, generator_states, kept, mix, of_stream, seed_all

STEPS = 100_000


def splitmix64(state: np.ndarray) -> np.ndarray:
    """Returns the first output of Steele, Lea and Flood's generator from each state (uint64)."""
    z = state + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def add(state: np.ndarray, word: int) -> np.ndarray:
    return state + np.uint64(0x9E3779B97F4A7C15 * word % 2**64)


@pytest.fixture(scope="module")
def derived() -> np.ndarray:
    """Of seed 0 and stream "order", the seeds of the first steps."""
    return np.array([derive(0, "order", step) for step in range(STEPS)], dtype=np.uint64)


def test_splitmix64_of_this_file_is_the_published_one() -> None:
    assert splitmix64(np.array([0, 1234567], dtype=np.uint64)).tolist() == [
        0xE220A8397B1DCDAF,
        6457827717110365317,
    ]


@pytest.mark.parametrize(
    ("seed", "stream", "step", "expected"),
    [
        (0, "order", 0, 0xD8904B2CD66244D0),
        (0, "order", 1, 0x7CBC55EEA644DD4F),
        (1, "order", 0, 0x97FC4E91D7BD6C70),
        (0, "step/0", 0, 0x0BAA8BE082068546),
        (2**32, "order", 0, 0xCEAFEBB3D105C93F),
        (7, "init/0", 123_456, 0xA87AC7365A81D23D),
    ],
)
def test_derived_seeds_stay_what_they_were(
    seed: int, stream: str, step: int, expected: int
) -> None:
    state = splitmix64(add(np.array([seed], dtype=np.uint64), zlib.crc32(stream.encode())))
    assert splitmix64(add(state, step)).item() == expected
    assert derive(seed, stream, step) == expected


def test_low_32_bits_differ_across_seeds_streams_and_steps() -> None:
    streams = ("order", "data", "init/0", "init/3", "step/0", "step/1")
    low = {derive(*key) % 2**32 for key in product(range(10), streams, range(100))}
    assert len(low) == 10 * len(streams) * 100


def test_steps_collide_no_more_than_chance_has_it(derived: np.ndarray) -> None:
    assert len(np.unique(derived)) == STEPS
    # of 32-bit numbers drawn at random, 1.2 pairs would be equal
    assert STEPS - len(np.unique(derived % 2**32)) <= 5


def test_every_bit_is_fair_and_flips_from_step_to_step(derived: np.ndarray) -> None:
    bits = (derived[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    tolerance = 5 * 0.5 / STEPS**0.5
    np.testing.assert_allclose(bits.mean(axis=0), 0.5, atol=tolerance)
    np.testing.assert_allclose((bits[1:] != bits[:-1]).mean(axis=0), 0.5, atol=tolerance)


def test_generator_draws_what_pytorch_draws_from_the_low_32_bits() -> None:
    expected = torch.rand(3, generator=torch.Generator().manual_seed(0xA644DD4F))
    assert torch.equal(torch.rand(3, generator=generator(0, "order", 1)), expected)


def test_generator_leaves_the_global_one_alone() -> None:
    before = torch.get_rng_state()
    torch.rand(3, generator=generator(0, "order"))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("seed", [0, 7, 2**64 - 1, -1])
@pytest.mark.parametrize("step", [0, 999, 2**40])
def test_the_seed_of_a_step_is_mixed_from_that_of_its_stream(seed: int, step: int) -> None:
    assert mix(of_stream(seed, "step/0"), step) == derive(seed, "step/0", step)


def test_generators_go_on_where_their_states_were_read(tmp_path: Path) -> None:
    """By a checkpoint that is read with `weights_only`; a half-drawn pair of Gaussians counts."""

    def draw() -> list[float]:
        numbers = [random.gauss(0, 1), random.random(), np.random.randn(), np.random.rand()]
        return [*numbers, torch.rand(()).item()]

    seeds.seed_plain(2**40 + 3)
    torch.manual_seed(5)
    draw()
    torch.save(seeds.generator_states(), tmp_path / "states")
    drawn = draw()
    seeds.seed_plain(1)
    torch.manual_seed(1)
    assert draw() != drawn
    seeds.restore_generators(torch.load(tmp_path / "states", weights_only=True))
    assert draw() == drawn


def test_kept_puts_all_states_back_nested_or_not() -> None:
    before = generator_states()
    drawn = []
    with kept():
        seed_all(3)
        with kept():
            seed_all(4)
            numbers()
        drawn.append(numbers())
    assert generator_states() == before
    with pytest.raises(ZeroDivisionError), kept():
        seed_all(1 // 0)
    assert generator_states() == before
    with kept():
        seed_all(3)
        drawn.append(numbers())
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    assert drawn == [numbers()] * 2


def numbers() -> list[float]:
    """Draws a number of each generator."""
    return [random.random(), np.random.rand(), float(torch.rand(()))]

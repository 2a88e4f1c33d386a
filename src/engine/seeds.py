"""Random numbers as a function of (seed, stream, step), never of how often somebody drew before."""

import random
import zlib
from typing import Any

import numpy as np
import torch

_MASK = 2**64 - 1


def derive(seed: int, stream: str, step: int = 0) -> int:
    """A 64-bit seed for one stream ("order", "step", …) at one step: SplitMix64 (Steele et al. 2014) over the three.

    All 64 bits are mixed because PyTorch's CPU generator looks at the lowest 32 only, so that
    `seed * 2**32 + step` would give every seed the same numbers.
    """
    return mix(of_stream(seed, stream), step)


def of_stream(seed: int, stream: str) -> int:
    """What `derive` mixes with a step."""
    return mix(seed & _MASK, zlib.crc32(stream.encode()))


def mix(state: int, word: int) -> int:
    """The next 64-bit state of SplitMix64, one for each word: `derive` is two of them."""
    state = (state + (word + 1) * 0x9E3779B97F4A7C15) & _MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)


def mix_all(state: int, first: int, count: int) -> list[int]:
    """`mix` of a state with each of the words `first`, `first + 1`, …, faster than one by one."""
    z = np.uint64(state) + np.arange(first + 1, first + count + 1, dtype=np.uint64) * np.uint64(
        0x9E3779B97F4A7C15
    )
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    seeds: list[int] = (z ^ (z >> np.uint64(31))).tolist()
    return seeds


def generator(seed: int, stream: str, step: int = 0) -> torch.Generator:
    """A CPU generator of its own for one stream at one step."""
    return torch.Generator().manual_seed(derive(seed, stream, step))


def random_states() -> tuple[object, ...]:
    """Return the states of Python's, NumPy's and torch's generators: equal if nobody drew."""
    numpy_state: Any = np.random.get_state()
    torch_state = torch.get_rng_state().numpy().tobytes()
    return random.getstate(), numpy_state[1].tobytes(), numpy_state[2:], torch_state

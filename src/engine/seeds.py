"""Makes random numbers a function of (seed, stream, step), never of how often somebody drew."""

import random
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

_MASK = 2**64 - 1
_spare: list[Any] = []  # bit generators of NumPy's: to make one takes 200 µs


def derive(seed: int, stream: str, step: int = 0) -> int:
    """Returns a 64-bit seed for one stream ("order", "step", …) at one step.

    SplitMix64 (Steele et al. 2014) mixes all 64 bits of the three, because PyTorch's CPU generator
    looks at the lowest 32 bits only: `seed * 2**32 + step` would give every seed the same numbers.
    """
    return mix(of_stream(seed, stream), step)


def of_stream(seed: int, stream: str) -> int:
    """Returns the state that `derive` mixes with a step."""
    return mix(seed & _MASK, zlib.crc32(stream.encode()))


def mix(state: int, word: int) -> int:
    """Returns the state of SplitMix64 that follows a 64-bit state and a word."""
    state = (state + (word + 1) * 0x9E3779B97F4A7C15) & _MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)


def generator(seed: int, stream: str, step: int = 0) -> torch.Generator:
    """Returns a CPU generator of its own for one stream at one step."""
    return torch.Generator().manual_seed(derive(seed, stream, step))


def generator_states() -> list[Any]:
    """Returns the states of Python's, NumPy's and torch's generators: equal if nobody drew.

    They are plain values. The numbers of each are one text, in hexadecimal: torch.load reads a list
    of 625 one by one.
    """
    version, numbers, gauss = random.getstate()
    numpy_state: Any = np.random.get_state()
    kind, keys, *rest = numpy_state
    has_gpu = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    cuda = torch.cuda.get_rng_state_all() if has_gpu else []
    states = [state.numpy().tobytes().hex() for state in (torch.get_rng_state(), *cuda)]
    return [[version, _text(numbers), gauss], [kind, _text(keys), *rest], states]


def restore_generators(states: Sequence[Any]) -> None:
    """Sets the generators that `generator_states` has read."""
    (version, numbers, gauss), (kind, keys, *rest), of_torch = states
    random.setstate((version, tuple(_numbers(numbers).tolist()), gauss))
    np.random.set_state((kind, _numbers(keys), *rest))
    cpu, *cuda = [torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8) for text in of_torch]
    torch.set_rng_state(cpu)
    if len(cuda) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(cuda)


def _text(numbers: Any) -> str:
    """Writes integers of 32 bits as one text, in hexadecimal."""
    return np.array(numbers, dtype="<u4").tobytes().hex()


def _numbers(text: str) -> Any:
    """Reads what `_text` has written: uint32 array (N,)."""
    return np.frombuffer(bytes.fromhex(text), dtype="<u4")


def seed_plain(seed: int) -> None:
    """Seeds Python's and NumPy's generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)


def seed_all(seed: int) -> None:
    """Seeds Python's, NumPy's and torch's generators, but for those of GPUs."""
    seed_plain(seed)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed takes 300 µs


@contextmanager
def kept(seed: int | None = None) -> Iterator[None]:
    """Puts the states of Python's, NumPy's and torch's generators back at the end.

    Args:
        seed: of the three, inside; if None, NumPy's has to be seeded before it is used.
    """
    python = random.getstate()
    numpy_random: Any = np.random  # its types lack two functions
    numpy_generator = numpy_random.get_bit_generator()  # to read its state takes 50 µs
    spare = _spare.pop() if _spare else np.random.MT19937()
    numpy_random.set_bit_generator(spare)
    torch_state = torch.get_rng_state()
    try:
        if seed is not None:
            seed_all(seed)
        yield
    finally:
        random.setstate(python)
        numpy_random.set_bit_generator(numpy_generator)
        _spare.append(spare)
        torch.set_rng_state(torch_state)

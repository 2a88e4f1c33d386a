"""Makes the command lines that fuzz.py tries, at random, of what conf/ has."""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import fuzz_values as odd
import fuzz_words
from engine.config.nested import dotted
from project.train import train

Line = tuple[str, ...]
SMALLEST = "experiment=curve_fit"
MULTIRUN = ("-m", "--multirun")
OPTUNA = "hydra/sweeper=optuna"
# What people get wrong about a key.
MISSPELT: tuple[Callable[[str], str], ...] = (
    lambda key: key.rpartition(".")[2],
    lambda key: f"{key}s",
    lambda key: key[:-1],
    lambda key: f"{key}.x",
    lambda key: f"{key}._target_",
    lambda key: f"{key}._partial_",
    lambda key: f"{key}.0",
    lambda key: f"x.{key}",
    lambda key: key.replace(".", "/"),
    lambda key: key.upper(),
    lambda key: f"{key}.",
    lambda key: f"{key}@x",
    lambda key: f"hydra.{key}",
)


class Lines:
    """Makes different command lines, without end; a seed gives the same ones each time.

    Args:
        seed: of the random numbers.
    """

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.odd = [*odd.VALUES, *odd.made(seed)]
        train.open()
        self.choices: dict[str, list[str]] = {}
        for path in sorted(train.conf.glob("*/*.yaml")):
            self.choices.setdefault(path.parent.name, []).append(path.stem)
        self.keys = self._composed()
        inner = {key.rsplit(".", n)[0] for key in self.keys for n in range(1, key.count(".") + 1)}
        self.names = sorted({*self.keys, *inner})
        self.known = sorted(set(self.keys.values()))

    def _composed(self) -> dict[str, str]:
        """Returns all keys of all experiments, each with its value as one of these has it."""
        keys: dict[str, str] = {}
        with initialize_config_dir(str(train.conf), version_base="1.3"):
            for experiment in self.choices["experiment"]:
                config = compose("config", overrides=[f"experiment={experiment}"])
                plain: Any = OmegaConf.to_container(config)
                keys |= {key: str(value) for key, value in dotted(plain).items()}
        return keys

    def __iter__(self) -> Iterator[Line]:
        made: set[Line] = set()
        while True:
            line = self._line()
            if line not in made:
                made.add(line)
                yield line

    def _one(self, weighted: dict[Any, int]) -> Any:
        (chosen,) = self.random.choices([*weighted], [*weighted.values()])
        return chosen

    def _line(self) -> Line:
        """Makes a line of its beginning and a few parts; the last word may come twice."""
        begin = self._one({self._run: 180, self._sweep: 18, self._search: 2})()
        size = self._one({1: 4, 2: 2, 3: 1})
        parts = [self._part() for _ in range(size)]
        options: Line = ()
        if self._one({True: 1, False: 24}):
            options = tuple(self.random.choice(fuzz_words.OPTIONS).replace("''", " ").split(" "))
        line = (*options, *begin, *itertools.chain(*parts))
        if self._one({True: 1, False: 60}):
            line = tuple(self.random.sample(line, len(line)))
        return (*line, *line[-1:] * self._one({0: 9, 1: 1}))

    def _run(self) -> Line:
        return self._one({(SMALLEST,): 16, (): 3})

    def _sweep(self) -> Line:
        key, value = self._fitting()
        return (self.random.choice(MULTIRUN), SMALLEST, f"{key}={value},{self._like(key)}")

    def _search(self) -> Line:
        key, _ = self._fitting()
        where = [f"{key}={self._like(key)},{self._like(key)}", f"{key}={self._odd()}"]
        where += ["optimizer.lr=interval(0.01,0.1)", "seed=range(1,3)"]
        where += ["optimizer.lr=tag(log,interval(0.001,0.1))", "init=xavier,he", "init=glob(*)"]
        return (
            "-m",
            SMALLEST,
            OPTUNA,
            "hydra.sweeper.n_trials=2",
            self.random.choice(where),
            self.random.choice(fuzz_words.SEARCHES),
        )

    def _part(self) -> Line:
        return self._one(
            {
                lambda: (self._setting(),): 30,
                lambda: (self._choice(),): 7,
                lambda: (f"--{self._key()}", self._value()): 1,
                lambda: (f"{self._key()}=[0.9,", "0.99]"): 1,
                lambda: (self.random.choice(fuzz_words.NO_WORDS),): 3,
                lambda: (self.random.choice(fuzz_words.HYDRAS),): 2,
                lambda: (self.random.choice(MULTIRUN),): 1,
            }
        )()

    def _setting(self) -> str:
        """Makes a word about a key: a wild value, one of the key's kind, or that it goes."""
        kind = self._one({"wild": 5, "fitting": 5, "gone": 1})
        if kind == "gone":
            return f"~{self._key()}{self._one({'': 3, f'={self._value()}': 1})}"
        if kind == "fitting":
            return "=".join(self._fitting())
        return f"{self._one({'': 4, '+': 1, '++': 1})}{self._key()}={self._value()}"

    def _key(self) -> str:
        name = self.random.choice(self.names)
        return self._one({name: 4, self.random.choice(MISSPELT)(name): 1})

    def _value(self) -> str:
        plain = [*odd.NUMBERS, *odd.HUGE, "null", "true", *odd.REFERENCES, *odd.OBJECTS]
        other = self._one({self.random.choice(self.known): 1, f"${{{self._key()}}}": 1})
        return self._one({self.random.choice(plain): 2, self._odd(): 4, other: 1})

    def _odd(self) -> str:
        return self.random.choice(self.odd)

    def _fitting(self) -> tuple[str, str]:
        """Makes a key and a value of its kind."""
        key = self.random.choice([*self.keys])
        return key, self._like(key)

    def _like(self, key: str) -> str:
        """Makes a value of the kind that a key has."""
        value = self.keys[key]
        if value in ("True", "False"):
            return self.random.choice(["true", "false"])
        is_number = re.fullmatch(r"-?[\d.]+(e-?\d+)?", value)
        numbers = ["1", "2", "3", "5", "0", "0.1", "0.5", "null"]
        return self.random.choice(numbers if is_number else [value, "null", "1"])

    def _choice(self) -> str:
        """Makes a word that chooses from a group."""
        group, names = self.random.choice([*self.choices.items()])
        chosen = self._chosen(names)
        package = self._one({"": 12, "@": 1, "@x": 1, "@module": 1, f"@{self._key()}": 1})
        prefix = self._one({"": 12, "+": 2, "++": 1, "~": 1})
        return f"{prefix}{group}{package}={chosen}"

    def _chosen(self, names: Sequence[str]) -> str:
        name, other = self.random.choice(names), self.random.choice(names)
        wrong = [name[:-1], name.upper(), f"{name}.yaml", f"../{name}", f"{name}/", "", "null"]
        listed = [
            f"[{name},{other}]",
            f"{name},{other}",
            f"[{name}],[{other}]",
            f"[{name},[{other}]]",
        ]
        listed += [
            f"[{name},{name}]",
            f"choice({name},{other})",
            f"{{{name}:{other}}}",
            f"[{name},null]",
        ]
        return self._one(
            {
                name: 4,
                self.random.choice(wrong): 3,
                self.random.choice(listed): 3,
                self._value(): 1,
            }
        )

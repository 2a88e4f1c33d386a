"""Measures a finished run once more: `python -m project.evaluate run=RUN_DIR`; --help says more."""

from engine import evaluate
from project.train import train

if __name__ == "__main__":
    evaluate(train)

"""Compares the runs below a folder: `python -m project.report DIR`; --help says more."""

from engine import report
from project.train import train

if __name__ == "__main__":
    report(train)

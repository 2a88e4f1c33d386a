"""Takes one run from its config to summary.json.

Nothing is written before the Trainer is made: a mistake in the config leaves no folder behind.
From then on the run's folder records how the run ends, whatever happens, short of SIGKILL. A run
with a checkpoint goes on from it and gives what it would have given without the interruption.
"""

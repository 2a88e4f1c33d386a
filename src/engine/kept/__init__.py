"""Keeps for checkpoints what objects of a user's have in attributes, and puts it back.

It knows nothing of runs: a checkpoint asks it, and so does a loader about its sampler. What a run
changes for its whole process, it puts back when it is told that the run is over.
"""

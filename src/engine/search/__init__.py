"""Searches for good values with Optuna: each trial of a study is a job of a sweep.

A killed search goes on with the same command, and several processes can share one search. What a
trial tries depends on the seed, the trial's number and the trials that ended before. A pruned run
is left as after a kill, so that another sweep can finish it.
"""

"""Runs the jobs of a sweep in other processes: with joblib, with submitit on Slurm, or with Ray.

A process that is killed takes no other job with it, and its own job goes on from its checkpoint.
Ctrl-C ends all processes. A worker prints warnings and errors only; the job's train.log has
everything. Each launcher needs its own extra, and says so if the extra is missing.
"""

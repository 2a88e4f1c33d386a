"""Writes the metrics of a run to TensorBoard and to metrics.csv, a table of the same numbers.

Each row is in both files at once, so that a kill leaves the same rows in both. A run that goes on
writes each row once more, and none twice. A file that somebody else changes meanwhile is noticed.
"""

"""Reads the files that a run has left, each of which somebody may have broken.

A sweep, a report, an evaluation and a run that is resumed read them here only. They get content
that is checked, or one error that names the file and what is wrong with it.
"""

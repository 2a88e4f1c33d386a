"""Reads runs from their files, and finds the keys by which their configs differ.

A run that is still going on, was killed or is broken is no error: the report says so. Nothing here
knows which run is better.
"""

"""Reads runs from their files, and finds the keys by which their configs differ."""

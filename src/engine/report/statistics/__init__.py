"""Computes what a report says: groups of runs, their means, the tests, and findings in words."""

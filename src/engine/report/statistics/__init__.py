"""Computes what a report says: groups of runs, their means, the tests, and findings in words.

A group is all runs that agree in everything but seed and fold. Only finished runs count, and the
report says how many others there are. Nothing here draws or formats a page.
"""
